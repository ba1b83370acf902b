"""The picture of a run, drawn by Altair: in notebooks, as a page, and as an image.

Lanes of the model above those of the tools, time from left to right. Wheel and drag change the
time that is seen; labels come as soon as there is room for them. The marks are drawn on a canvas,
which holds ten thousand of them.
"""

from __future__ import annotations

import functools
import html
import json
from typing import Any, Final

from langchain_asyncfc.timeline.figures import figures_of
from langchain_asyncfc.timeline.marks import KINDS, Marks, marks_of
from langchain_asyncfc.timeline.spans import RunRecord
from langchain_asyncfc.timeline.words import shortened

try:
    import altair as alt
    import vl_convert
except ImportError as _error:
    _MESSAGE = (
        "The picture of a timeline needs Altair and vl-convert: "
        "pip install 'langchain-asyncfc[viz]'. Its numbers, and to_chrome_trace, do not."
    )
    raise ImportError(_MESSAGE) from _error

__all__ = ["chart", "frame", "image", "page"]

_HEIGHT: Final = 26
"""Pixels of a lane, where there are few."""
_TALLEST: Final = 1100
"""Pixels of all lanes: what a screen shows, and a little to scroll. More lanes get thinner."""
_THINNEST: Final = 2
_VERSION: Final = ".".join(alt.SCHEMA_VERSION.removeprefix("v").split(".")[:2])
"""The version of Vega-Lite for which Altair writes, as vl-convert names it."""
_INK: Final = "#333333"
_MANY: Final = 2000
"""Marks from which what parts them is left out, and moments are small."""
_ROOM: Final = 30
"""Pixels that a bar needs to be labelled."""


def chart(record: RunRecord, *, width: int | str = 960) -> alt.LayerChart:
    """The picture as a chart.

    Args:
        record: The run.
        width: In pixels; `"container"` for that of what it stands in.
    """
    marks = marks_of(record)
    made = _empty_chart(record, marks, width)
    made.datasets = _datasets(record, marks)
    return made


def _spec(record: RunRecord, marks: Marks, width: int | str = 960) -> dict[str, Any]:
    """The picture as Vega-Lite has it. The rows come last: Altair would check each of them."""
    spec: dict[str, Any] = _empty_chart(record, marks, width).to_dict()
    return {**spec, "datasets": _datasets(record, marks)}


def _lane_height(marks: Marks) -> int:
    return max(_THINNEST, min(_HEIGHT, _TALLEST // max(1, marks.lanes)))


def _empty_chart(record: RunRecord, marks: Marks, width: int | str) -> alt.LayerChart:
    height = _lane_height(marks)
    x = alt.X(
        "start:Q",
        title="seconds",
        scale=alt.Scale(domain=[0, record.end or 1.0], nice=False),
        axis=alt.Axis(grid=True, gridColor="#EEEEEE", domain=False, tickColor="#CCCCCC"),
    )
    y = _lanes_axis(marks)
    layers = [_grounds(y), *_bars(marks, x, y)]
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
            width=width,
            height=max(2, marks.lanes) * height,
            title=_title(record, marks),
            padding={"left": 8, "right": 16, "top": 8, "bottom": 8},
        )
        .configure_view(stroke=None)
        .configure_axis(labelColor=_INK, titleColor=_INK, labelFontSize=11)
        .configure_legend(labelFontSize=11, labelColor=_INK)
    )
    return made


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
    told = " : ".join(f"datum.value == {at} ? {name!r}" for at, name in names.items())
    return alt.Y(
        "top:Q",
        title=None,
        scale=alt.Scale(
            domain=[-0.5, max(1, marks.lanes) - 0.5], reverse=True, nice=False, zero=False
        ),
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


def _name(record: RunRecord) -> str:
    """The run's name before other words; not the one that LangGraph gives to all graphs."""
    return f"{record.name}: " if record.name not in {"", "LangGraph"} else ""


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
    return alt.TitleParams(
        text=f"{_name(record)}{figures.headline()}",
        subtitle=[line for line in lines if line],
        anchor="start",
        color=_INK,
        subtitleColor="#666666",
        fontSize=15,
        subtitleFontSize=12,
        subtitlePadding=5,
        offset=12,
    )


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


def _bars(marks: Marks, x: alt.X, y: alt.Y) -> list[alt.Chart]:
    many = len(marks.bars) > _MANY
    kinds = [kind for kind in KINDS if any(bar["kind"] == kind for bar in marks.bars)]
    scale = alt.Scale(domain=kinds, range=[KINDS[kind] for kind in kinds])
    legend = (
        alt.Legend(title=None, orient="bottom", columns=4, symbolType="square") if kinds else None
    )
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
    colour = alt.Color("kind:N", scale=scale, legend=legend)
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
    size = 45 if len(marks.told) <= _MANY else 10
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
            opacity=alt.ExprRef(f"{room} > {_ROOM} ? 1 : 0"),
        )
        .encode(x=alt.X("start:Q"), y=alt.Y("lane:Q"), text="label:N", color=alt.value("white"))
    )
    return made


# -- what a chart becomes --------------------------------------------------------------------------


_PAGE: Final = """\
<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<title>{title}</title>
<style>
body {{ margin: 8px; background: white; font-family: sans-serif; }}
#timeline {{ width: 100%; }}
</style>
</head>
<body>
<div id="timeline"></div>
<script type="application/json" id="chart">{chart}</script>
<script>{code}</script>
</body>
</html>
"""

_SNIPPET: Final = """\
const chart = JSON.parse(document.getElementById("chart").textContent);
vegaEmbed("#timeline", chart, {
  renderer: "canvas",
  actions: { export: true, source: false, compiled: false, editor: false },
});
"""


def page(record: RunRecord) -> str:
    """One page that holds all that it needs, and works offline."""
    spec = _spec(record, marks_of(record), "container")
    spec["autosize"] = {"type": "fit-x", "contains": "padding"}
    title = html.escape(f"{_name(record)}{figures_of(record).headline()}")
    # What tools return may hold anything, also what would end the script.
    written = json.dumps(spec).replace("<", "\\u003c")
    return _PAGE.format(title=title, chart=written, code=_code())


@functools.cache
def _code() -> str:
    """Vega and all that it needs, and the line that draws."""
    return str(vl_convert.javascript_bundle(_SNIPPET, vl_version=_VERSION))


def frame(record: RunRecord) -> str:
    """The page in a frame, for notebooks: what it loads does not meet what they have loaded."""
    marks = marks_of(record)
    height = _lane_height(marks) * max(2, marks.lanes)
    inner = html.escape(page(record), quote=True)
    style = f"width: 100%; height: {height + 190}px; border: none"
    return f'<iframe style="{style}" srcdoc="{inner}"></iframe>'


def image(record: RunRecord, *, scale: float = 2.0) -> bytes:
    """The picture as a PNG.

    Args:
        record: The run.
        scale: Pixels of the image for one of the chart.
    """
    spec = _spec(record, marks_of(record))
    return bytes(vl_convert.vegalite_to_png(spec, vl_version=_VERSION, scale=scale))
