"""The picture of a run as an image, and several of them below each other.

An image shows nothing that is smaller than its pixels, so of thousands of spans only what makes a
difference is drawn: that takes seconds in place of minutes.
"""

from __future__ import annotations

import html
import re
from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Any, Final

from langchain_asyncfc.timeline.drawing import Look, specification
from langchain_asyncfc.timeline.libraries import VERSION, vl_convert
from langchain_asyncfc.timeline.marks import Marks, marks_of
from langchain_asyncfc.timeline.spans import RunRecord

__all__ = ["image", "stacked"]

_MANY: Final = 2000
"""Bars from which they are thinned out."""
_ARROWS: Final = 100
"""How many of the longest are drawn then."""
_SHAPE: Final = ("start", "end", "top", "bottom", "kind")
_GAP: Final = 20
"""Pixels between one picture and the next."""
_HEADING: Final = 30
"""Pixels of a heading."""
_SIZE: Final = re.compile(r'<svg[^>]*?\bwidth="([\d.]+)"[^>]*?\bheight="([\d.]+)"')
_FONT: Final = 'font-family="sans-serif" font-size="16" font-weight="bold" fill="#222222"'

_SMALL: Final = 'font-family="sans-serif" font-size="12" fill="#666666"'


def image(record: RunRecord, *, width: int = 960, scale: float = 2.0) -> bytes:
    """The picture as a PNG.

    Args:
        record: The run.
        width: Of the lanes, in pixels of the chart.
        scale: Pixels of the image for one of the chart.
    """
    spec = _spec(record, Look(width, hover=False))
    return bytes(vl_convert.vegalite_to_png(spec, vl_version=VERSION, scale=scale))


def stacked(
    runs: Sequence[tuple[str, RunRecord]],
    *,
    width: int = 960,
    titled: bool = True,
    scale: float = 2.0,
) -> bytes:
    """Several pictures below each other as one PNG, with the same scale of time.

    Args:
        runs: A heading and a run for each, from above.
        width: Of the lanes, in pixels of the chart.
        titled: Whether each picture has its own title, with its figures, below the heading. If
            not, only the last one says what colours and signs mean.
        scale: Pixels of the image for one of the chart.
    """
    until = max((record.end for _, record in runs), default=0.0)
    parts, top, wide = [], 0.0, 0.0
    for number, (text, record) in enumerate(runs):
        last = number == len(runs) - 1
        look = Look(width, until, titled=titled, legend=titled or last, hover=False)
        svg = _svg(record, look)
        size = _SIZE.search(svg)
        assert size is not None  # noqa: S101 - Vega always gives the size
        parts.append(f'<text x="8" y="{top + 20:.0f}" {_FONT}>{html.escape(text)}</text>')
        moved = f'<g transform="translate(0 {top + _HEADING:.0f})">'
        parts.append(f"{moved}{_own_names(svg, f'part{number}-')}</g>")
        top += _HEADING + float(size[2]) + (0 if last else _GAP)
        wide = max(wide, float(size[1]))
    if runs and not titled:
        signs = "; ".join(marks_of(runs[-1][1]).signs)
        parts.append(f'<text x="8" y="{top + 8:.0f}" {_SMALL}>{html.escape(signs)}</text>')
        top += _GAP
    whole = (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{wide:.0f}" height="{top:.0f}">'
        f'<rect width="100%" height="100%" fill="white"/>{"".join(parts)}</svg>'
    )
    return bytes(vl_convert.svg_to_png(whole, scale=scale))


def _svg(record: RunRecord, look: Look) -> str:
    return str(vl_convert.vegalite_to_svg(_spec(record, look), vl_version=VERSION))


def _own_names(svg: str, prefix: str) -> str:
    """Give the ids inside an image names of their own, so that two can stand in one."""
    named = re.sub(r'\bid="', f'id="{prefix}', svg)
    return re.sub(r'(url\(#|href="#)', rf"\g<1>{prefix}", named)


def _spec(record: RunRecord, look: Look) -> dict[str, Any]:
    marks = marks_of(record)
    pixel = (look.until or record.end or 1.0) / int(look.width)
    # Nobody can zoom into an image, so a label for which there is no room is never seen.
    seen = [row for row in marks.labels if row["end"] - row["start"] > row["room"] * pixel]
    marks = replace(marks, labels=seen)
    if len(marks.bars) > _MANY:
        marks = _thinned(marks, pixel)
    return specification(record, marks, look)


def _thinned(marks: Marks, pixel: float) -> Marks:
    """What can be seen of many marks.

    Args:
        marks: The marks.
        pixel: Seconds of a pixel.
    """
    told = {(int(row["time"] / pixel / 2), row["lane"]): row for row in marks.told}
    return replace(
        marks,
        bars=_joined(marks.bars, pixel),
        path=_joined(marks.path, pixel),
        arrows=marks.arrows[:_ARROWS],
        told=list(told.values()),
    )


def _joined(bars: Iterable[dict[str, Any]], pixel: float) -> list[dict[str, Any]]:
    """Bars without texts; those of one kind in one lane with less than a pixel between as one."""
    joined: list[dict[str, Any]] = []
    last: dict[tuple[Any, ...], dict[str, Any]] = {}
    for bar in sorted(bars, key=lambda bar: bar["start"]):
        lane = (bar.get("kind"), bar["top"], bar["bottom"])
        before = last.get(lane)
        if before is not None and bar["start"] - before["end"] < pixel:
            before["end"] = max(before["end"], bar["end"])
        else:
            row: dict[str, Any] = {name: bar[name] for name in _SHAPE if name in bar}
            last[lane] = row
            joined.append(row)
    return joined
