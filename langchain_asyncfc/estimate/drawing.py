"""A run before and after, one timeline above the other. Needs the extra `viz`."""

from __future__ import annotations

import html
from dataclasses import replace
from importlib import import_module
from pathlib import Path

from langchain_asyncfc.estimate.estimates import RunEstimate
from langchain_asyncfc.timeline.spans import RunRecord

__all__ = ["image", "page", "save"]


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
    """Both timelines as one page, which holds all that it needs, with the same scale of time."""
    pages = import_module("langchain_asyncfc.timeline.pages")
    both = _both(run, labels)
    until = max(record.end for _, record in both)
    # What a timeline says of its run would be worked out from an estimate, not from a run.
    parts = [
        f"<h2>{html.escape(title)}</h2>{pages.frame(record, until=until, titled=False)}"
        for title, record in both
    ]
    style = "body { font-family: sans-serif; margin: 16px } h2 { font-size: 18px; margin: 8px 0 }"
    return (
        f'<!doctype html><html lang="en"><head><meta charset="utf-8"><title>Estimate</title>'
        f"<style>{style}</style></head><body>{''.join(parts)}</body></html>"
    )


def image(run: RunEstimate, *, labels: str, scale: float = 2.0) -> bytes:
    """Both timelines as one PNG, with the same scale of time.

    Args:
        run: The run.
        labels: What the second timeline is drawn with, in words.
        scale: Pixels of the image for one of the charts.
    """
    images = import_module("langchain_asyncfc.timeline.images")
    return bytes(images.stacked(_both(run, labels), titled=False, scale=scale))


def _both(run: RunEstimate, labels: str) -> list[tuple[str, RunRecord]]:
    speed = run.before / run.best.end if run.best.end else 1.0
    return [
        (f"As it was: {run.before:.2f} s", replace(run.told, name="")),
        (
            f"AsyncFC {labels}, hopeful: {run.best.end:.2f} s, {speed:.2f}x",
            replace(run.best, name=""),
        ),
    ]
