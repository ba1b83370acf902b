"""A chart of groups of bars as SVG, drawn by Altair: the same text for the same figures."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import altair as alt
import vl_convert

COLOURS = ("#9aa0a6", "#8ab4f8", "#1a73e8", "#0b3d91")
"""Of the bars of a group, from top to bottom."""

MARK = "#d93025"

_WIDTH, _BAR, _PADDING = 600, 11, 0.22
"""Pixels of the plot's width and of a bar; the share of a group that is left free below it."""

_CROSSED = 0.5
"""Share of a group that its mark crosses: of four bars the two in the middle."""

_BESIDE = 0.09
"""Share of the scale that a figure takes: it stands behind the mark where it would touch it."""


@dataclass(frozen=True, slots=True)
class Group:
    """Bars that belong together.

    Attributes:
        name: What stands beside them.
        values: Their lengths.
        mark: Where a line is drawn across those in the middle.
    """

    name: str
    values: Sequence[float]
    mark: float


def bars(title: str, names: Sequence[str], groups: Sequence[Group]) -> str:
    """Draw groups of bars, one below the other, on a scale that begins at 1.

    Args:
        title: Stands on top.
        names: Of the bars of a group, then of the mark.
        groups: The groups.
    """
    return vl_convert.vegalite_to_svg(chart(title, names, groups).to_dict()) + "\n"


def chart(title: str, names: Sequence[str], groups: Sequence[Group]) -> Any:
    """The same as a chart of Altair's."""
    data = {"values": list(_rows(names, groups))}
    group = alt.Y(
        "group:N",
        title=None,
        sort=[group.name for group in groups],
        scale=alt.Scale(padding=_PADDING),
        axis=alt.Axis(ticks=False, domain=False, labelPadding=8, labelFontSize=11),
    )
    offset = alt.YOffset("name:N", sort=list(names[:-1]))
    colour = alt.Color(
        "name:N",
        scale=alt.Scale(domain=list(names), range=[*COLOURS[: len(names) - 1], MARK]),
        legend=alt.Legend(title=None, orient="top", columns=3, labelLimit=0, symbolType="square"),
    )
    length = alt.X(
        "length:Q",
        title=None,
        scale=alt.Scale(domainMin=1, nice=0.5),
        axis=alt.Axis(format="~g", labelExpr="datum.label + 'x'", orient="top", tickMinStep=0.5),
    )
    drawn = alt.Chart().transform_filter(alt.datum.name != names[-1])
    marks = alt.Chart().transform_filter(alt.datum.name == names[-1])
    return (
        alt.layer(
            drawn.mark_bar().encode(
                x=length, x2=alt.datum(1), y=group, yOffset=offset, color=colour
            ),
            drawn.mark_text(align="left", dx=4, fontSize=9, color="#5f6368").encode(
                x=alt.X("at:Q"),
                y=group,
                yOffset=offset,
                text=alt.Text("value:Q", format=".2f"),
            ),
            marks.mark_tick(thickness=2, opacity=1, height={"band": _CROSSED}).encode(
                x=alt.X("length:Q"), y=group, color=colour
            ),
            data=data,
        )
        .properties(
            title=alt.TitleParams(title, anchor="start", fontSize=15, offset=10),
            width=_WIDTH,
            height=alt.Step(_BAR, **{"for": "offset"}),
        )
        .configure_view(stroke=None)
        .configure(font="sans-serif", background="#ffffff")
    )


def _rows(names: Sequence[str], groups: Sequence[Group]) -> Iterator[dict[str, Any]]:
    """A bar or a mark a row; `at` is where its figure stands.

    What lies below 1 has no length: cutting it off in the chart would number the cut, and a
    process that draws twice would number on.
    """
    most = max(max(*group.values, group.mark) for group in groups) - 1
    for group in groups:
        for number, (name, value) in enumerate(
            zip(names, [*group.values, group.mark], strict=True)
        ):
            crossed = 0 < number < len(group.values) - 1
            touches = crossed and value <= group.mark < value + _BESIDE * most
            length = max(1.0, value)
            at = group.mark if touches else length
            yield {
                "group": group.name,
                "name": name,
                "value": round(value, 4),
                "length": round(length, 4),
                "at": round(at, 4),
            }
