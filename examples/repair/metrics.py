"""Where the time of a run went, from the intervals in which the model and the tools were busy.

With *decoding* the time during which the model had a request (one interval a turn, from sending
it to the end of the answer) and *tool time* the time during which a tool was running (one
interval a call), both measured by callbacks:

- **decode** is the sum of the decoding intervals, **tools** the sum of the tool intervals, and
  **serial** = decode + tools is how long the run would take with nothing side by side.
- **overlap** is the time during which the model was decoding and at least one tool was running.
- **parallel** is the sum of the tool intervals less the time during which at least one tool was
  running: what was saved by running tools side by side.
- **idle** is the rest of the wall time, in which neither was busy.

So that, exactly, wall = decode + tools - overlap - parallel + idle.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence


@dataclass(frozen=True, slots=True)
class Interval:
    """A stretch of time, in seconds since the start of the run."""

    start: float
    end: float

    @property
    def length(self) -> float:
        """Return the seconds from start to end."""
        return self.end - self.start


@dataclass(frozen=True, slots=True)
class Metrics:
    """Seconds, as the module's text defines them."""

    wall: float
    decode: float
    tools: float
    overlap: float
    parallel: float

    @property
    def serial(self) -> float:
        """Return how long the run would take with nothing side by side."""
        return self.decode + self.tools

    @property
    def idle(self) -> float:
        """Return the time in which neither the model nor a tool was busy."""
        return self.wall - (self.serial - self.overlap - self.parallel)


def measure(decoding: Sequence[Interval], tools: Sequence[Interval], wall: float) -> Metrics:
    """Return the metrics of one run.

    Args:
        decoding: One interval per turn.
        tools: One interval per tool call that ran.
        wall: Seconds from the start of the run to its end.
    """
    busy = union(tools)
    return Metrics(
        wall=wall,
        decode=total(decoding),
        tools=total(tools),
        overlap=total(intersection(union(decoding), busy)),
        parallel=total(tools) - total(busy),
    )


def total(intervals: Iterable[Interval]) -> float:
    """Return the sum of the lengths."""
    return sum(interval.length for interval in intervals)


def union(intervals: Iterable[Interval]) -> list[Interval]:
    """Return disjoint intervals, in order, that cover the same time."""
    merged: list[Interval] = []
    for interval in sorted(intervals, key=lambda one: one.start):
        if merged and interval.start <= merged[-1].end:
            merged[-1] = Interval(merged[-1].start, max(merged[-1].end, interval.end))
        else:
            merged.append(interval)
    return merged


def intersection(left: Sequence[Interval], right: Sequence[Interval]) -> list[Interval]:
    """Return the time that two lists of disjoint intervals have in common."""
    common = (
        Interval(max(one.start, other.start), min(one.end, other.end))
        for one in left
        for other in right
    )
    return [interval for interval in common if interval.length > 0]
