"""The picture of a run as a chart of Altair, which pages and images are made of.

Lanes of the model above those of the tools, time from left to right. Wheel and drag change the
time that is seen; labels come as soon as there is room for them. The marks are drawn on a canvas,
which holds ten thousand of them.
"""

from __future__ import annotations

import itertools
import textwrap
from dataclasses import dataclass
from typing import Any, Final

from langchain_asyncfc.timeline.figures import figures_of
from langchain_asyncfc.timeline.libraries import alt
from langchain_asyncfc.timeline.marks import KINDS, Marks, marks_of
from langchain_asyncfc.timeline.spans import RunRecord
from langchain_asyncfc.timeline.words import shortened

__all__ = ["Look", "chart", "heading", "lane_height", "specification"]

_HEIGHT: Final = 26
"""Pixels of a lane, where there are few."""
_TALLEST: Final = 1100
"""Pixels of all lanes: what a screen shows, and a little to scroll. More lanes get thinner."""
_THINNEST: Final = 2
_INK: Final = "#333333"
_MANY: Final = 2000
"""Marks from which what parts them is left out, and moments are small."""
_FEW: Final = 60
"""Arrows or moments that a picture shows in full; more stand in each other's way."""
_LEGEND: Final = 190
"""Pixels of an entry of the legend, about: the longest text and its square."""
_LETTER: Final = 6.4
_LARGE_LETTER: Final = 8.6
"""Pixels of a letter in the subtitle and in the title, about. Source: Vega's sans-serif."""
_NAME: Final = (7, 12)
"""Pixels of the smallest and of the largest letters of a lane's name."""
_ASIDE: Final = 100
"""Pixels of the names of lanes, about, beside which a title may stand."""


@dataclass(frozen=True, slots=True)
class Look:
    """How a chart is made.

    Attributes:
        width: Of the lanes in pixels; `"container"` for that of what it stands in.
        until: The end of the time that is shown, in seconds; the end of the run by default.
        titled: Whether it has a title.
        legend: Whether it says what its colours and signs mean.
        hover: Whether it has texts for hovering.
    """

    width: int | str = 960
    until: float | None = None
    titled: bool = True
    legend: bool = True
    hover: bool = True


def chart(record: RunRecord, *, width: int | str = 960) -> alt.LayerChart:
    """The picture as a chart.

    Args:
        record: The run.
        width: In pixels; `"container"` for that of what it stands in.
    """
    marks = marks_of(record)
    made = _empty_chart(record, marks, Look(width))
    made.datasets = _datasets(record, marks)
    return made


def specification(record: RunRecord, marks: Marks, look: Look) -> dict[str, Any]:
    """The picture as Vega-Lite has it. The rows come last: Altair would check each of them."""
    spec: dict[str, Any] = _empty_chart(record, marks, look).to_dict()
    return {**spec, "datasets": _datasets(record, marks)}


def lane_height(marks: Marks) -> int:
    """The height of a lane in pixels."""
    return max(_THINNEST, min(_HEIGHT, _TALLEST // max(1, marks.lanes)))


def _empty_chart(record: RunRecord, marks: Marks, look: Look) -> alt.LayerChart:
    height = lane_height(marks)
    x = alt.X(
        "start:Q",
        title="seconds",
        scale=alt.Scale(domain=[0, look.until or record.end or 1.0], nice=False),
        axis=alt.Axis(
            grid=True, gridColor="#EEEEEE", domain=False, tickColor="#CCCCCC", tickCount=10
        ),
    )
    y = _lanes_axis(marks)
    layers = [_grounds(y), *_bars(marks, x, y, look)]
    if marks.path:
        layers.append(_outlines(y))
    if marks.arrows:
        layers += _arrows(marks)
    if marks.told:
        layers.append(_moments(marks))
    if height >= 12:  # noqa: PLR2004 - pixels that a line of text needs
        layers.append(_labels())
    made: alt.LayerChart = (
        alt.layer(*layers)
        .properties(
            width=look.width,
            height=max(2, marks.lanes) * height,
            padding={"left": 8, "right": 16, "top": 8, "bottom": 8},
        )
        .configure(aria=False)
        .configure_view(stroke=None)
        .configure_axis(labelColor=_INK, titleColor=_INK, labelFontSize=11)
        .configure_legend(labelFontSize=11, labelColor=_INK)
    )
    return made.properties(title=_title(record, marks, look)) if look.titled else made


_DATA: Final = "asyncfc"


def _data(name: str) -> alt.NamedData:
    """Rows by name. They are given to the whole chart: Altair copies what a layer holds often."""
    return alt.NamedData(name=f"{_DATA}_{name}")


def _datasets(record: RunRecord, marks: Marks) -> dict[str, list[dict[str, Any]]]:
    rows = {
        "grounds": _ground_rows(record, marks),
        "bars": marks.bars,
        "slivers": _slivers(record, marks),
        "path": marks.path,
        "arrows": marks.arrows,
        "told": marks.told,
        "labels": marks.labels,
    }
    return {f"{_DATA}_{name}": given for name, given in rows.items()}


def _lanes_axis(marks: Marks) -> alt.Y:
    """The vertical axis: a name for each group, in the middle of its lanes."""
    names = {
        group.first + (group.lanes - 1) / 2: shortened(group.name, 24) for group in marks.groups
    }
    smallest, largest = _NAME
    places = list(names)
    steps = [later - earlier for earlier, later in itertools.pairwise(places)]
    gap = int(min(steps, default=1.0) * lane_height(marks))
    told = " : ".join(f"datum.value == {at} ? {name!r}" for at, name in names.items())
    return alt.Y(
        "top:Q",
        title=None,
        scale=alt.Scale(
            domain=[-0.5, max(1, marks.lanes) - 0.5], reverse=True, nice=False, zero=False
        ),
        axis=alt.Axis(
            values=places,
            tickCount=len(places) + 1,  # with fewer, Vega leaves out every other one of `values`
            labelExpr=f"{told} : ''" if told else "''",
            labelFontSize=max(smallest, min(largest, gap - 1)),
            # Names are left out only where not even small letters have room.
            labelOverlap="greedy" if gap < smallest else False,
            grid=False,
            ticks=False,
            domain=False,
        ),
    )


def heading(record: RunRecord) -> str:
    """The run's name before other words; not the one that LangGraph gives to all graphs."""
    return f"{record.name}: " if record.name not in {"", "LangGraph"} else ""


def _title(record: RunRecord, marks: Marks, look: Look) -> alt.TitleParams:
    """The title, in as many lines as its width needs."""
    figures = figures_of(record)
    wide = look.width + _ASIDE if isinstance(look.width, int) else None
    signs = "; ".join(marks.signs) if look.legend else ""
    lines = [line for text in (figures.parts(), signs) for line in _wrapped(text, wide, _LETTER)]
    return alt.TitleParams(
        text=_wrapped(f"{heading(record)}{figures.headline()}", wide, _LARGE_LETTER),
        subtitle=lines,
        anchor="start",
        color=_INK,
        subtitleColor="#666666",
        fontSize=15,
        subtitleFontSize=12,
        subtitlePadding=5,
        offset=12,
    )


def _wrapped(text: str, wide: int | None, letter: float) -> list[str]:
    """A text in lines of at most so many pixels, about."""
    if wide is None:
        return [text] if text else []
    return textwrap.wrap(text, max(20, int(wide / letter)))


def _ground_rows(record: RunRecord, marks: Marks) -> list[dict[str, Any]]:
    """A ground behind every other group, so that the eye keeps to its lanes."""
    return [
        {
            "start": 0.0,
            "end": record.end or 1.0,
            "top": group.first - 0.5,
            "bottom": group.first + group.lanes - 0.5,
        }
        for group in marks.groups[::2]
    ]


def _slivers(record: RunRecord, marks: Marks) -> list[dict[str, Any]]:
    """The bars that are narrower than half a pixel, so that nothing is to be seen of them."""
    return [bar for bar in marks.bars if bar["end"] - bar["start"] < record.end / 2000]


def _grounds(y: alt.Y) -> alt.Chart:
    made: alt.Chart = (
        alt.Chart(_data("grounds"))
        .mark_rect(color="#F6F6F4", clip=True)
        .encode(x=alt.X("start:Q"), x2="end:Q", y=y, y2="bottom:Q")
    )
    return made


def _legend(marks: Marks, look: Look) -> alt.Legend | None:
    """What the colours mean, in as many columns as there is room for."""
    if not (marks.kinds and look.legend):
        return None
    room = int(look.width + _ASIDE) // _LEGEND if isinstance(look.width, int) else 4
    columns = max(1, min(len(marks.kinds), room))
    return alt.Legend(
        title=None, orient="bottom", columns=columns, symbolType="square", labelLimit=_LEGEND
    )


def _hover() -> list[alt.Tooltip]:
    told = [("what", "span"), ("state", "state"), ("start", "from"), ("end", "until")]
    told += [("took", "took"), ("args", "arguments"), ("result", "result")]
    told += [("waited", "waited")]
    return [
        alt.Tooltip(f"{name}:Q", title=shown, format=".3f")
        if name in {"start", "end"}
        else alt.Tooltip(f"{name}:N", title=shown)
        for name, shown in told
    ]


def _bars(marks: Marks, x: alt.X, y: alt.Y, look: Look) -> list[alt.Chart]:
    many = len(marks.bars) > _MANY
    scale = alt.Scale(domain=marks.kinds, range=[KINDS[kind] for kind in marks.kinds])
    hover: Any = _hover() if look.hover else alt.value(None)
    zoom = alt.selection_interval(bind="scales", encodings=["x"], name="time")
    colour = alt.Color("kind:N", scale=scale, legend=_legend(marks, look))
    # A white edge parts spans that touch; among thousands nobody would see it.
    edge = 0.0 if many else 0.7
    bars = (
        alt.Chart(_data("bars"))
        .mark_rect(clip=True, stroke="white", strokeWidth=edge)
        .encode(x=x, x2="end:Q", y=y, y2="bottom:Q", color=colour, tooltip=hover)
        .add_params(zoom)
    )
    slivers = (
        alt.Chart(_data("slivers"))
        .mark_rule(clip=True, strokeWidth=1.5)
        .encode(x=alt.X("start:Q"), y=y, y2="bottom:Q", color=colour, tooltip=hover)
    )
    return [bars, slivers]


def _outlines(y: alt.Y) -> alt.Chart:
    made: alt.Chart = (
        alt.Chart(_data("path"))
        .mark_rect(clip=True, filled=False, stroke="#111111", strokeWidth=1.6, tooltip=None)
        .encode(x=alt.X("start:Q"), x2="end:Q", y=y, y2="bottom:Q")
    )
    return made


def _arrows(marks: Marks) -> list[alt.Chart]:
    """Lines from the end of a call to the start of those that waited for it, with heads."""
    data = _data("arrows")
    few = len(marks.arrows) <= _FEW
    opacity = 0.9 if few else 0.35
    hover = [alt.Tooltip("what:N", title="arrow"), alt.Tooltip("waited:N", title="for")]
    lines = (
        alt.Chart(data)
        .mark_rule(clip=True, color=_INK, strokeWidth=1, strokeOpacity=opacity)
        .encode(x=alt.X("x:Q"), x2="x2:Q", y=alt.Y("y:Q"), y2="y2:Q", tooltip=hover)
    )
    heads = (
        alt.Chart(data)
        .mark_point(
            clip=True,
            shape="triangle-right",
            filled=True,
            color=_INK,
            size=55 if few else 25,
            fillOpacity=opacity,
            strokeOpacity=opacity,
        )
        .encode(x=alt.X("x2:Q"), y=alt.Y("y2:Q"), tooltip=hover)
    )
    return [lines, heads]


def _moments(marks: Marks) -> alt.Chart:
    size = 45 if len(marks.told) <= _FEW else 20 if len(marks.told) <= _MANY else 10
    made: alt.Chart = (
        alt.Chart(_data("told"))
        .mark_point(clip=True, shape="diamond", filled=True, color="#F0E442", size=size)
        .encode(
            x=alt.X("time:Q"),
            y=alt.Y("lane:Q"),
            stroke=alt.value(_INK),
            strokeWidth=alt.value(0.7),
            tooltip=[alt.Tooltip("time:Q", title="the model is told", format=".3f")],
        )
    )
    return made


def _labels() -> alt.Chart:
    """Texts in bars, as far as there is room for them at the zoom of the moment."""
    room = "(scale('x', datum.end) - scale('x', datum.start))"
    made: alt.Chart = (
        alt.Chart(_data("labels"))
        .mark_text(
            clip=True,
            align="left",
            baseline="middle",
            dx=5,
            fontSize=10,
            limit=alt.ExprRef(f"max(1, {room} - 8)"),
            opacity=alt.ExprRef(f"{room} > datum.room ? 1 : 0"),
        )
        .encode(x=alt.X("start:Q"), y=alt.Y("lane:Q"), text="label:N", color=alt.value("white"))
    )
    return made
