"""An estimate in words, and as JSON."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

from langchain_asyncfc.estimate.advice import Advice
from langchain_asyncfc.estimate.estimates import ASSUMPTIONS, Estimate, Range, RunEstimate

__all__ = ["as_json", "as_text"]

_LEAST: Final = 0.0005
"""Seconds that show in three digits; less is no gain."""
_MOST_RUNS: Final = 20
"""Runs that are listed one by one."""


def as_text(found: Estimate) -> str:
    """The report that the command prints."""
    return "\n".join(_lines(found)) + "\n"


def _lines(found: Estimate) -> Iterator[str]:
    runs = found.runs
    replies, calls = sum(r.replies for r in runs), sum(r.calls for r in runs)
    yield (
        f"{_many(len(runs), 'run')}: {_many(replies, 'reply', 'replies')} of the model, "
        f"{_many(calls, 'tool call')}, {_s(found.before)}"
    )
    yield ""
    yield from _table(found)
    if len(runs) > 1:
        yield ""
        yield from _each(runs)
    if found.advice:
        yield ""
        yield from _advice(found.advice)
    yield ""
    yield "What these figures rest on:"
    yield from (f"- {sentence}" for sentence in ASSUMPTIONS)
    notes = list(dict.fromkeys(note for run in runs for note in run.notes))
    if notes:
        yield ""
        yield "About this file:"
        yield from (f"- {note}" for note in notes)


def _table(found: Estimate) -> Iterator[str]:
    yield f"{'':<32}{'careful':>18}{'hopeful':>18}"
    yield f"{'as it was':<32}{_s(found.before):>10}{'':8}{_s(found.before):>10}"
    yield _row("AsyncFC without labels", found.before, found.unlabelled)
    if found.labelled is not None:
        yield _row("AsyncFC with your labels", found.before, found.labelled)
    yield _row("AsyncFC, at most with labels", found.before, found.most)


def _row(name: str, before: float, times: Range) -> str:
    cells = [f"{_s(t):>10}{_times(before, t):>8}" for t in (times.careful, times.hopeful)]
    return f"{name:<32}{''.join(cells)}"


def _each(runs: tuple[RunEstimate, ...]) -> Iterator[str]:
    yield "Each run, from careful to hopeful:"
    for run in runs[:_MOST_RUNS]:
        times = run.labelled or run.unlabelled
        label = "your labels" if run.labelled is not None else "no labels"
        yield (
            f"  {run.name[:36]:<36} {_s(run.before):>9}  {label}: "
            f"{_times(run.before, times.careful)} to {_times(run.before, times.hopeful)}, at most "
            f"{_times(run.before, run.most.hopeful)}"
        )
    if len(runs) > _MOST_RUNS:
        yield f"  and {len(runs) - _MOST_RUNS} more"


def _advice(advice: tuple[Advice, ...]) -> Iterator[str]:
    worth = [one for one in advice if max(one.gain, one.alone) > _LEAST]
    if not worth:
        yield (
            "No label would save time on this: what is left is decoding, and waiting for results "
            "that the model needs."
        )
        return
    yield "Label these tools first (time saved if they read and write nothing; hopeful):"
    width = max(len(one.tool) for one in worth)
    yield f"  {'tool':<{width}}  {'calls':>5}  {'ran for':>9}  {'alone':>9}  {'in turn':>9}"
    for one in worth:
        yield (
            f"  {one.tool:<{width}}  {one.calls:>5}  {_s(one.seconds):>9}  {_s(one.alone):>9}  "
            f"{_s(one.gain):>9}"
        )
    yield ""
    yield "Lines to begin with, guessed from names alone. Check what each tool touches:"
    yield from (f"  {one.tool}: {one.line}" for one in worth)


def as_json(found: Estimate) -> dict[str, Any]:
    """The same as data; times in seconds."""
    return {
        "before": found.before,
        **_times_as_json(found),
        "runs": [
            {
                "name": run.name,
                "before": run.before,
                "replies": run.replies,
                "calls": run.calls,
                **_times_as_json(run),
                "notes": list(run.notes),
            }
            for run in found.runs
        ],
        "advice": [
            {
                "tool": one.tool,
                "calls": one.calls,
                "seconds": one.seconds,
                "alone": one.alone,
                "in_turn": one.gain,
                "line": one.line,
            }
            for one in found.advice
        ],
        "assumptions": list(ASSUMPTIONS),
    }


def _times_as_json(found: Estimate | RunEstimate) -> dict[str, Any]:
    ways = {"unlabelled": found.unlabelled, "labelled": found.labelled, "most": found.most}
    return {
        name: None if times is None else {"careful": times.careful, "hopeful": times.hopeful}
        for name, times in ways.items()
    }


def _s(seconds: float) -> str:
    return f"{seconds:.2f} s"


def _times(before: float, after: float) -> str:
    return f"{before / after:.2f}x" if after > 0 else "-"


def _many(number: int, one: str, more: str = "") -> str:
    return f"{number} {one if number == 1 else more or one + 's'}"
