"""A run before and after, one timeline above the other. Needs the extra `viz`."""

from __future__ import annotations

from dataclasses import replace
from importlib import import_module
from pathlib import Path
from typing import Any, Final

from langchain_asyncfc.estimate.estimates import RunEstimate

__all__ = ["draw", "save"]

_WIDTH: Final = 960
"""Pixels of the longer run; the other has the same scale."""


def draw(run: RunEstimate, *, labels: str) -> Any:
    """Both timelines as one Altair chart, on one scale of time.

    Args:
        run: The run.
        labels: With what labels the second is drawn, for its title.

    Raises:
        ImportError: When Altair is not installed; says how to install it.
    """
    drawing = import_module("langchain_asyncfc.timeline.drawing")  # says which extra it needs
    alt = import_module("altair")

    speed = run.before / run.best.end if run.best.end else 1.0
    before = replace(run.told, name=f"As it was: {run.before:.2f} s")
    after = replace(run.best, name=f"AsyncFC {labels}: {run.best.end:.2f} s, {speed:.2f}x")
    # A run that ends earlier is drawn on the scale of the longer one.
    longest = max(before.end, after.end) or 1.0
    charts: list[Any] = []
    for record in (before, after):
        one: Any = drawing.chart(record, width=max(80, int(_WIDTH * record.end / longest)))
        one.config = alt.Undefined  # only the outermost chart may have one
        one.padding = alt.Undefined
        charts.append(one)
    return (
        alt.vconcat(*charts, spacing=40)
        .resolve_scale(x="independent", y="independent")
        .configure_view(stroke=None)
        .configure_axis(labelFontSize=11)
    )


def save(run: RunEstimate, path: str | Path, *, labels: str) -> None:
    """Draw a run into a file: HTML that works offline, or PNG, by the path's ending.

    Raises:
        ImportError: When what draws is not installed; says how to install it.
        OSError: When the file cannot be written.
    """
    chart = draw(run, labels=labels)
    if str(path).endswith(".png"):
        chart.save(str(path), format="png", scale_factor=2)
    else:
        chart.save(str(path), format="html", inline=True)
