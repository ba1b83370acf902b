"""The picture of a run, drawn by Altair: in notebooks, as a page, and as an image.

Lanes of the model above those of the tools, time from left to right. Wheel and drag change the
time that is seen; labels come as soon as there is room for them. The marks are drawn on a canvas,
which holds ten thousand of them.
"""

from __future__ import annotations

import html
from typing import Any, Final

from langchain_asyncfc.timeline.figures import figures_of
from langchain_asyncfc.timeline.marks import KINDS, Marks, marks_of
from langchain_asyncfc.timeline.spans import RunRecord
from langchain_asyncfc.timeline.words import shortened

try:
    import altair as alt
    import vl_convert
except ImportError as error:
    _MESSAGE = (
        "The picture of a timeline needs Altair and vl-convert: "
        "pip install 'langchain-asyncfc[viz]'. Its numbers, and to_chrome_trace, do not."
    )
    raise ImportError(_MESSAGE) from error

__all__ = ["chart", "frame", "image", "page"]

_HEIGHT: Final = 26
"""Pixels of a lane, where there are few."""
_TALLEST: Final = 1100
"""Pixels of all lanes: what a screen shows, and a little to scroll. More lanes get thinner."""
_THINNEST: Final = 2
_INK: Final = "#333333"
_ROOM: Final = 30
"""Pixels that a bar needs to be labelled."""


def chart(record: RunRecord, *, width: int | str = 960) -> alt.LayerChart:
    """The picture as a chart.

    Args:
        record: The run.
        width: In pixels; `"container"` for that of what it stands in.
    """
    marks = marks_of(record)
    height = max(_THINNEST, min(_HEIGHT, _TALLEST // max(1, marks.lanes)))
    x = alt.X(
        "start:Q",
        title="seconds",
        scale=alt.Scale(domain=[0, record.end or 1.0], nice=False),
        axis=alt.Axis(grid=True, gridColor="#EEEEEE", domain=False, tickColor="#CCCCCC"),
    )
    y = _lanes_axis(marks)
    layers = [_grounds(record, marks, y), _bars(marks, x, y)]
    if marks.path:
        layers.append(_outlines(marks, y))
    if marks.arrows:
        layers += _arrows(marks)
    if marks.told:
        layers.append(_moments(marks))
    if height >= 12:  # noqa: PLR2004 - pixels that a line of text needs
        layers.append(_labels(marks))
    return (
        alt.layer(*layers)
        .properties(
            width=width,
            height=max(2, marks.lanes) * height,
            title=_title(record, marks),
            padding={"left": 8, "right": 16, "top": 8, "bottom": 8},
        )
        .configure_view(stroke=None)
        .configure_axis(labelColor=_INK, titleColor=_INK, labelFontSize=11)
        .configure_legend(labelFontSize=11, labelColor=_INK)
    )


def _data(rows: list[dict[str, Any]]) -> alt.InlineData:
    return alt.InlineData(values=rows)


def _lanes_axis(marks: Marks) -> alt.Y:
    """The vertical axis: a name for each group, in the middle of its lanes."""
    names = {group.first + (group.lanes - 1) / 2: shortened(group.name, 24) for group in marks.groups}
    told = " : ".join(f"datum.value == {at} ? {name!r}" for at, name in names.items())
    return alt.Y(
        "top:Q",
        title=None,
        scale=alt.Scale(domain=[-0.5, max(1, marks.lanes) - 0.5], reverse=True, nice=False, zero=False),
        axis=alt.Axis(
            values=list(names),
            labelExpr=f"{told} : ''" if told else "''",
            labelFontSize=12,
            labelOverlap=True,
            grid=False,
            ticks=False,
            domain=False,
        ),
    )


def _title(record: RunRecord, marks: Marks) -> alt.TitleParams:
    figures = figures_of(record)
    lines = [figures.parts()]
    signs = []
    if marks.path:
        signs.append("outlined: the critical path")
    if marks.told:
        signs.append("diamond: the model is told of the result")
    if marks.arrows:
        signs.append("line to a triangle: waited for")
    lines.append("; ".join(signs))
    name = f"{record.name}: " if record.name else ""
    return alt.TitleParams(
        text=f"{name}{figures.headline()}",
        subtitle=[line for line in lines if line],
        anchor="start",
        color=_INK,
        subtitleColor="#666666",
        fontSize=15,
        subtitleFontSize=12,
        subtitlePadding=5,
        offset=12,
    )


def _grounds(record: RunRecord, marks: Marks, y: alt.Y) -> alt.Chart:
    """A ground behind every other group, so that the eye keeps to its lanes."""
    rows = [
        {
            "start": 0.0,
            "end": record.end or 1.0,
            "top": group.first - 0.5,
            "bottom": group.first + group.lanes - 0.5,
        }
        for group in marks.groups[::2]
    ]
    return (
        alt.Chart(_data(rows))
        .mark_rect(color="#F6F6F4", clip=True)
        .encode(
            x=alt.X("start:Q"),
            x2="end:Q",
            y=y,
            y2="bottom:Q",
        )
    )


def _bars(marks: Marks, x: alt.X, y: alt.Y) -> alt.Chart:
    kinds = [kind for kind in KINDS if any(bar["kind"] == kind for bar in marks.bars)]
    scale = alt.Scale(domain=kinds, range=[KINDS[kind] for kind in kinds])
    legend = alt.Legend(title=None, orient="bottom", columns=4, symbolType="square")
    told = [("what", "span"), ("state", "state"), ("start", "from"), ("end", "until")]
    told += [("took", "took"), ("args", "arguments"), ("result", "result")]
    told += [("waited", "waited")]
    hover = [
        alt.Tooltip(f"{name}:Q", title=shown, format=".3f")
        if name in {"start", "end"}
        else alt.Tooltip(f"{name}:N", title=shown)
        for name, shown in told
    ]
    zoom = alt.selection_interval(bind="scales", encodings=["x"], name="time")
    return (
        alt.Chart(_data(marks.bars))
        # The stroke keeps a span visible that is shorter than a pixel.
        .mark_rect(clip=True, strokeWidth=0.8)
        .encode(
            x=x,
            x2="end:Q",
            y=y,
            y2="bottom:Q",
            color=alt.Color("kind:N", scale=scale, legend=legend),
            stroke=alt.Stroke("kind:N", scale=scale, legend=None),
            tooltip=hover,
        )
        .add_params(zoom)
    )


def _outlines(marks: Marks, y: alt.Y) -> alt.Chart:
    return (
        alt.Chart(_data(marks.path))
        .mark_rect(clip=True, filled=False, stroke="#111111", strokeWidth=1.6, tooltip=None)
        .encode(x=alt.X("start:Q"), x2="end:Q", y=y, y2="bottom:Q")
    )


def _arrows(marks: Marks) -> list[alt.Chart]:
    """Lines from the end of a call to the start of those that waited for it, with heads."""
    data = _data(marks.arrows)
    opacity = 0.9 if len(marks.arrows) <= 200 else 0.35  # noqa: PLR2004 - more overlap each other
    hover = [alt.Tooltip("what:N", title="arrow"), alt.Tooltip("waited:N", title="for")]
    lines = (
        alt.Chart(data)
        .mark_rule(clip=True, color=_INK, strokeWidth=1, opacity=opacity)
        .encode(x=alt.X("x:Q"), x2="x2:Q", y=alt.Y("y:Q"), y2="y2:Q", tooltip=hover)
    )
    heads = (
        alt.Chart(data)
        .mark_point(
            clip=True, shape="triangle-right", filled=True, color=_INK, size=55, opacity=opacity
        )
        .encode(x=alt.X("x2:Q"), y=alt.Y("y2:Q"), tooltip=hover)
    )
    return [lines, heads]


def _moments(marks: Marks) -> alt.Chart:
    return (
        alt.Chart(_data(marks.told))
        .mark_point(clip=True, shape="diamond", filled=True, color="#F0E442", size=45)
        .encode(
            x=alt.X("time:Q"),
            y=alt.Y("lane:Q"),
            stroke=alt.value(_INK),
            strokeWidth=alt.value(0.7),
            tooltip=[alt.Tooltip("time:Q", title="the model is told", format=".3f")],
        )
    )


def _labels(marks: Marks) -> alt.Chart:
    """Texts in bars, as far as there is room for them at the zoom of the moment."""
    room = "(scale('x', datum.end) - scale('x', datum.start))"
    return (
        alt.Chart(_data(marks.labels))
        .mark_text(
            clip=True,
            align="left",
            baseline="middle",
            dx=5,
            color="white",
            fontSize=10,
            limit=alt.ExprRef(f"max(1, {room} - 8)"),
            opacity=alt.ExprRef(f"{room} > {_ROOM} ? 1 : 0"),
        )
        .encode(x=alt.X("start:Q"), y=alt.Y("lane:Q"), text="label:N")
    )


# -- what a chart becomes --------------------------------------------------------------------------


def page(record: RunRecord) -> str:
    """One page that holds all that it needs, and works offline."""
    spec = chart(record, width="container").to_dict()
    spec["autosize"] = {"type": "fit-x", "contains": "padding"}
    made = vl_convert.vegalite_to_html(spec, bundle=True, renderer="canvas")
    name = html.escape(f"{record.name or 'Timeline'}: {figures_of(record).headline()}")
    return str(made).replace("<head>", f"<head><title>{name}</title>", 1)


def frame(record: RunRecord) -> str:
    """The page in a frame, for notebooks: what it loads does not meet what they have loaded."""
    marks = marks_of(record)
    height = max(_THINNEST, min(_HEIGHT, _TALLEST // max(1, marks.lanes))) * max(2, marks.lanes)
    inner = html.escape(page(record), quote=True)
    style = f"width: 100%; height: {height + 190}px; border: none"
    return f'<iframe style="{style}" srcdoc="{inner}"></iframe>'


def image(record: RunRecord, *, scale: float = 2.0) -> bytes:
    """The picture as a PNG.

    Args:
        record: The run.
        scale: Pixels of the image for one of the chart.
    """
    return bytes(vl_convert.vegalite_to_png(chart(record).to_dict(), scale=scale))
