"""The picture of a run as a page that works offline, and in a notebook.

What is said around the lanes, and what the colours mean, is text of the page, so that it has as
many lines as the width needs.
"""

from __future__ import annotations

import functools
import html
import json
from typing import Final

from langchain_asyncfc.timeline.drawing import Look, heading, lane_height, specification
from langchain_asyncfc.timeline.figures import figures_of
from langchain_asyncfc.timeline.libraries import VERSION, vl_convert
from langchain_asyncfc.timeline.marks import KINDS, Marks, marks_of
from langchain_asyncfc.timeline.spans import RunRecord

__all__ = ["frame", "page"]

_AROUND: Final = 230
"""Pixels of a page above and below its lanes, where nobody can say how many they are."""

_PAGE: Final = """\
<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<title>{title}</title>
<style>
body {{ margin: 12px; background: white; color: #333; font: 12px sans-serif; }}
h1 {{ font-size: 16px; margin: 0 0 4px; }}
p {{ color: #666; margin: 0 0 2px; }}
#timeline {{ width: 100%; margin-top: 8px; }}
ul {{ list-style: none; margin: 4px 0 0; padding: 0; }}
li {{ display: inline-block; margin: 0 16px 4px 0; white-space: nowrap; }}
li i {{ display: inline-block; width: 11px; height: 11px; margin-right: 5px; }}
</style>
</head>
<body>
{figures}<p>{signs}</p>
<div id="timeline"></div>
<ul>{legend}</ul>
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
}).then(() => {
  // In a notebook, the frame becomes as tall as what it holds, where it may.
  try {
    const frame = window.frameElement;
    if (frame) frame.style.height = document.documentElement.scrollHeight + "px";
  } catch (error) {}
});
"""


def page(record: RunRecord, *, until: float | None = None, titled: bool = True) -> str:
    """One page that holds all that it needs, and works offline.

    Args:
        record: The run.
        until: The end of the time that is shown, in seconds; the end of the run by default.
        titled: Whether its figures stand above it.
    """
    marks, figures = marks_of(record), figures_of(record)
    spec = specification(record, marks, Look("container", until, titled=False, legend=False))
    spec["autosize"] = {"type": "fit-x", "contains": "padding"}
    # What tools return may hold anything, also what would end the script.
    written = json.dumps(spec).replace("<", "\\u003c")
    title = html.escape(f"{heading(record)}{figures.headline()}")
    return _PAGE.format(
        title=title if titled else "Timeline",
        figures=f"<h1>{title}</h1>\n<p>{html.escape(figures.parts())}</p>\n" if titled else "",
        signs=html.escape("; ".join(marks.signs)),
        legend=_legend(marks),
        chart=written,
        code=_code(),
    )


def _legend(marks: Marks) -> str:
    entry = '<li><i style="background: {colour}"></i>{kind}</li>'
    return "".join(entry.format(colour=KINDS[kind], kind=kind) for kind in marks.kinds)


@functools.cache
def _code() -> str:
    """Vega and all that it needs, and the line that draws."""
    return str(vl_convert.javascript_bundle(_SNIPPET, vl_version=VERSION))


def frame(record: RunRecord, *, until: float | None = None, titled: bool = True) -> str:
    """The page in a frame, for notebooks: what it loads does not meet what they have loaded.

    Args:
        record: The run.
        until: The end of the time that is shown, in seconds; the end of the run by default.
        titled: Whether its figures stand above it.
    """
    marks = marks_of(record)
    height = lane_height(marks) * max(2, marks.lanes) + _AROUND
    inner = html.escape(page(record, until=until, titled=titled), quote=True)
    return (
        f'<iframe style="width: 100%; height: {height}px; border: none" srcdoc="{inner}"></iframe>'
    )
