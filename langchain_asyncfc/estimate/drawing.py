"""A run before and after, one timeline above the other. Needs the extra `viz`."""

from __future__ import annotations

import html
import re
from dataclasses import replace
from importlib import import_module
from pathlib import Path
from typing import Any, Final

from langchain_asyncfc.estimate.estimates import RunEstimate
from langchain_asyncfc.timeline.spans import RunRecord

__all__ = ["image", "page", "save"]

_WIDTH: Final = 960
"""Pixels of the longer run in an image; the other has nearly the same scale."""
_GAP: Final = 24
"""Pixels between the two."""
_SIZE: Final = re.compile(r'<svg[^>]*?\bwidth="([\d.]+)"[^>]*?\bheight="([\d.]+)"')


def save(run: RunEstimate, path: str | Path, *, labels: str) -> None:
    """Draw a run into a file: a page that works offline, or an image if the path ends in `.png`.

    Args:
        run: The run.
        path: The file.
        labels: What the second timeline is drawn with, in words.

    Raises:
        ImportError: When what draws is not installed; says how to install it.
        OSError: When the file cannot be written.
    """
    path = Path(path)
    if path.suffix == ".png":
        path.write_bytes(image(run, labels=labels))
    else:
        path.write_text(page(run, labels=labels), encoding="utf-8")


def page(run: RunEstimate, *, labels: str) -> str:
    """Both timelines as one page, which holds all that it needs."""
    drawing = _drawing()
    longest = max(run.told.end, run.best.end) or 1.0
    parts = []
    for title, record in _both(run, labels):
        width = max(30.0, 100 * record.end / longest)  # one scale, but for names of lanes
        heading = f"<h2>{html.escape(title)}</h2>"
        parts.append(f'{heading}<div style="width: {width:.1f}%">{drawing.frame(record)}</div>')
    style = "body { font-family: sans-serif; margin: 16px } h2 { font-size: 18px; margin: 8px 0 }"
    return (
        f'<!doctype html><html lang="en"><head><meta charset="utf-8"><title>Estimate</title>'
        f"<style>{style}</style></head><body>{''.join(parts)}</body></html>"
    )


def image(run: RunEstimate, *, labels: str, scale: float = 2.0) -> bytes:
    """Both timelines as one PNG.

    Args:
        run: The run.
        labels: What the second timeline is drawn with, in words.
        scale: Pixels of the image for one of the charts.
    """
    drawing = _drawing()
    vl_convert = import_module("vl_convert")
    longest = max(run.told.end, run.best.end) or 1.0
    parts, top, wide = [], 0.0, 0.0
    for number, (title, record) in enumerate(_both(run, labels)):
        chart = drawing.chart(record, width=max(240, round(_WIDTH * record.end / longest)))
        svg = _own_names(str(vl_convert.vegalite_to_svg(chart.to_dict())), f"part{number}-")
        size = _SIZE.search(svg)
        assert size is not None  # noqa: S101 - Vega always gives the size
        parts.append(f'<text x="8" y="{top + 20:.0f}" {_FONT}>{html.escape(title)}</text>')
        parts.append(f'<g transform="translate(0 {top + 28:.0f})">{svg}</g>')
        top += 28 + float(size[2]) + _GAP
        wide = max(wide, float(size[1]))
    whole = (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{wide:.0f}" height="{top:.0f}">'
        f'<rect width="100%" height="100%" fill="white"/>{"".join(parts)}</svg>'
    )
    return bytes(vl_convert.svg_to_png(whole, scale=scale))


_FONT: Final = 'font-family="sans-serif" font-size="16" font-weight="bold" fill="#222222"'


def _drawing() -> Any:
    """What draws a timeline; says what to install where it is missing."""
    return import_module("langchain_asyncfc.timeline.drawing")


def _both(run: RunEstimate, labels: str) -> list[tuple[str, RunRecord]]:
    speed = run.before / run.best.end if run.best.end else 1.0
    return [
        (f"As it was: {run.before:.2f} s", replace(run.told, name="")),
        (
            f"AsyncFC {labels}, hopeful: {run.best.end:.2f} s, {speed:.2f}x",
            replace(run.best, name=""),
        ),
    ]


def _own_names(svg: str, prefix: str) -> str:
    """Give the ids inside an image names of their own, so that two can stand in one."""
    named = re.sub(r'\bid="', f'id="{prefix}', svg)
    return re.sub(r'(url\(#|href="#)', rf"\g<1>{prefix}", named)
