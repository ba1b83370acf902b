"""Figures over many runs."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from benchmarks.measuring import Run, having

SLOWER = 1.02
"""A task is slower where it takes this many times as long."""


@dataclass(frozen=True, slots=True)
class Speed:
    """How a way compares with (a), one call a turn with `ToolNode`.

    Attributes:
        total: All tasks together.
        tasks: Of each task, over its draws of times.
        slower: Share of the tasks that are slower by more than 2%.
        slowest: Of the slowest task.
    """

    total: float
    tasks: Sequence[float]
    slower: float
    slowest: float


@dataclass(frozen=True, slots=True)
class Near:
    """How near runs come to their bound: B* over the time that was taken."""

    mean: float
    p5: float


def percentile(values: Iterable[float], share: float) -> float:
    """The value below which a share of them lies, by the nearest rank."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))]


def speed(runs: Sequence[Run], way: str, median: float) -> Speed:
    """A way's times against those of (a) with the same draws."""
    pairs = [(run.task, run.toolnode["a"], out.seconds) for run, out in having(runs, way, median)]
    by_task: dict[str, list[float]] = {}
    for task, before, now in pairs:
        sums = by_task.setdefault(task, [0.0, 0.0])
        sums[0] += before
        sums[1] += now
    tasks = [before / now for before, now in by_task.values()]
    return Speed(
        sum(before for _, before, _ in pairs) / sum(now for *_, now in pairs),
        tasks,
        sum(SLOWER * task < 1 for task in tasks) / len(tasks),
        min(tasks),
    )


def speed_if_free(runs: Sequence[Run], median: float) -> float:
    """The speedup of (d) if it cost no tokens to say what is waited for.

    That was run with fewer draws of times than (d), so (d) is scaled by what it gains in these.
    """
    both = [run for run in runs if "free" in run.outcomes]
    gain = speed(both, "free", median).total / speed(both, "d", median).total
    return speed(runs, "d", median).total * gain


def ideal_speed(runs: Sequence[Run], field: str, median: float) -> float:
    """A bound against (a)."""
    chosen = [run for run in runs if run.median == median]
    bounds: list[float] = [getattr(run, field) for run in chosen]
    return sum(run.toolnode["a"] for run in chosen) / sum(bounds)


def toolnode_speed(runs: Sequence[Run], median: float) -> float:
    """(b) against (a)."""
    chosen = [run for run in runs if run.median == median]
    return sum(r.toolnode["a"] for r in chosen) / sum(r.toolnode["b"] for r in chosen)


def near(runs: Sequence[Run], way: str, field: str, median: float) -> Near:
    """How near a way's runs come to a bound."""
    shares = [getattr(run, field) / out.seconds for run, out in having(runs, way, median)]
    return Near(sum(shares) / len(shares), percentile(shares, 0.05))


def per_task(runs: Sequence[Run], way: str, median: float, field: str) -> float:
    """The mean of what a run took of something, such as turns or tokens."""
    taken: list[int] = [getattr(outcome, field) for _, outcome in having(runs, way, median)]
    return sum(taken) / len(taken)
