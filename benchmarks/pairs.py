"""Two ways to do the same, timed in turn, so that a change of the machine's speed hits both.

Times are the process's own processor time, all threads together: what other processes take is not
in them. A figure is a median over pairs; its quartiles say how noisy the machine was.
"""

from __future__ import annotations

import gc
import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from langchain_core.tracers.context import _configure_hooks

__all__ = ["Pairs", "in_turn", "quartiles", "unwatched"]

_WARM_UP = 3
_COLLECT = 20
"""Pairs between two collections of garbage by hand, so that neither side pays for the other's."""


@dataclass(frozen=True, slots=True)
class Pairs:
    """What both ways took, pair by pair.

    Attributes:
        theirs: Microseconds a unit.
        ours: Microseconds a unit.
    """

    theirs: Sequence[float]
    ours: Sequence[float]

    @property
    def base(self) -> float:
        """What theirs took, in microseconds: the median."""
        return statistics.median(self.theirs)

    @property
    def ratio(self) -> float:
        """Ours over theirs: the median of the pairs'."""
        return statistics.median(b / a for a, b in zip(self.theirs, self.ours, strict=True))

    @property
    def best(self) -> float:
        """Microseconds that the fastest of ours took more than the fastest of theirs."""
        return min(self.ours) - min(self.theirs)

    @property
    def extra(self) -> tuple[float, float, float]:
        """Microseconds that ours took more: the quartiles of the pairs' differences."""
        return quartiles([b - a for a, b in zip(self.theirs, self.ours, strict=True)])


def quartiles(values: Sequence[float]) -> tuple[float, float, float]:
    """The lower quartile, the median and the upper quartile; of one value, itself."""
    if len(values) == 1:
        return values[0], values[0], values[0]
    low, middle, high = statistics.quantiles(values, n=4, method="inclusive")
    return low, middle, high


@contextmanager
def unwatched() -> Iterator[None]:
    """A time without the hook by which the package watches the runs of graphs.

    The package registers it for the whole process, so the other side would pay for it as well.
    """
    kept = list(_configure_hooks)
    _configure_hooks[:] = [hook for hook in kept if not _is_ours(hook[0])]
    try:
        yield
    finally:
        _configure_hooks[:] = kept


def _is_ours(variable: Any) -> bool:
    return type(variable).__module__.startswith("langchain_asyncfc.")


def in_turn(
    theirs: Callable[[], Any], ours: Callable[[], Any], *, pairs: int, units: int = 1
) -> Pairs:
    """Time two functions in turn, and each goes first in every second pair.

    Args:
        theirs: Does it without the package.
        ours: Does it with the package.
        pairs: How often.
        units: How many units each does, as calls.
    """
    found: tuple[list[float], list[float]] = ([], [])
    for n in range(-_WARM_UP, pairs):
        if n % _COLLECT == 0:
            gc.collect()
        times = [0.0, 0.0]
        for side in (0, 1) if n % 2 else (1, 0):
            times[side] = _timed(ours) if side else _timed_unwatched(theirs)
        if n >= 0:
            for taken, seconds in zip(found, times, strict=True):
                taken.append(seconds / units * 1e6)
    return Pairs(*found)


def _timed(work: Callable[[], Any]) -> float:
    began = time.process_time()
    work()
    return time.process_time() - began


def _timed_unwatched(work: Callable[[], Any]) -> float:
    with unwatched():
        return _timed(work)
