"""Two ways to do the same, timed in turn, so that a change of the machine's speed hits both.

Times are the process's own processor time, all threads together: what other processes take is not
in them. A figure is a median over pairs; its quartiles say how noisy the machine was. Pairs are
taken until the median is known well enough or a time is up, never until it is as wanted.
"""

from __future__ import annotations

import gc
import math
import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Final

from langchain_core.tracers.context import _configure_hooks

__all__ = ["Effort", "Pairs", "in_turn", "quartiles", "unwatched"]

_WARM_UP: Final = 3
"""Pairs that are not counted, unless the first of them takes a good part of the time already."""
_COLLECT: Final = 20
"""Pairs between two collections of garbage by hand, so that neither side pays for the other's."""
_EXACT: Final = 0.02
"""How well a median is known in the end, of what the other side takes: the goals are a tenth."""


@dataclass(frozen=True, slots=True)
class Effort:
    """How much is done for one figure.

    Attributes:
        seconds: No pair begins after so many seconds.
        least: Pairs at least, however long they take.
        many: Pairs from which on an exact median is enough.
    """

    seconds: float
    least: int = 5
    many: int = 30


@dataclass(frozen=True, slots=True)
class Pairs:
    """What both ways took, pair by pair.

    Attributes:
        theirs: Microseconds a unit.
        ours: Microseconds a unit.
    """

    theirs: list[float]
    ours: list[float]

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
    def is_exact(self) -> bool:
        """Whether `extra` is known to 2% of what theirs takes.

        Source: the notches of box plots, which bound a median (McGill, Tukey and Larsen 1978).
        """
        low, _, high = self.extra
        return 1.57 * (high - low) / math.sqrt(len(self.ours)) <= _EXACT * self.base

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
    theirs: Callable[[], Any], ours: Callable[[], Any], *, effort: Effort, units: int = 1
) -> Pairs:
    """Time two functions in turn, and each goes first in every second pair.

    Args:
        theirs: Does it without the package.
        ours: Does it with the package.
        effort: How often.
        units: How many units each does, as calls.
    """
    began = time.monotonic()
    pairs = Pairs([], [])
    n = -_WARM_UP
    while n < 0 or not _is_enough(pairs, effort, time.monotonic() - began):
        if n % _COLLECT == 0:
            gc.collect()
        times = [0.0, 0.0]
        for side in (0, 1) if n % 2 else (1, 0):
            times[side] = _timed(ours) if side else _timed_unwatched(theirs)
        if n >= 0:
            pairs.theirs.append(times[0] / units * 1e6)
            pairs.ours.append(times[1] / units * 1e6)
        elif time.monotonic() - began > effort.seconds / 10:
            n = -1
        n += 1
    return pairs


def _is_enough(pairs: Pairs, effort: Effort, seconds: float) -> bool:
    if len(pairs.ours) < effort.least:
        return False
    return seconds > effort.seconds or (len(pairs.ours) >= effort.many and pairs.is_exact)


def _timed(work: Callable[[], Any]) -> float:
    began = time.process_time()
    work()
    return time.process_time() - began


def _timed_unwatched(work: Callable[[], Any]) -> float:
    with unwatched():
        return _timed(work)
