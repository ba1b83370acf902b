"""The pure core: what it costs to issue, order and finish futures, and how the cost grows.

The garbage collector runs as always, but what the process held before is kept out of its sight
(`gc.freeze`): a collection would walk every imported module, which is no cost of a future.
"""

from __future__ import annotations

import gc
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass

from langchain_asyncfc.effects import Access
from langchain_asyncfc.futures import FutureState
from langchain_asyncfc.tracker import DependencyTracker

_BEST_OF = 5

Accesses = Callable[[int], Access | None]

WORKLOADS: dict[str, Accesses] = {
    "nothing shared": lambda n: Access(reads=(("fs:", str(n)),), writes=(("fs:", str(n)),)),
    "one chain of writers": lambda _: Access(writes=(("fs:", "a"),)),
    "readers of everything": lambda _: Access(reads=((),)),
    "no declared effects": lambda _: None,
    "fifty files, one undeclared in ten": lambda n: (
        None if n % 10 == 0 else Access(writes=(("fs:", str(n % 50)),))
    ),
}


@dataclass(frozen=True, slots=True)
class Growth:
    """Seconds for 1,000 and for 10,000 futures, and how the cost of one grew between them."""

    workload: str
    small: float
    large: float

    @property
    def ratio(self) -> float:
        """Cost of one future among 10,000, over its cost among 1,000; 1 is linear growth."""
        return self.large / self.small / 10


def issue_and_finish(count: int, access: Accesses) -> float:
    """Seconds to issue `count` calls, one a batch, and then to start and finish each."""
    tracker = DependencyTracker()
    began = time.perf_counter()
    ready: list[int] = []
    for call in range(1, count + 1):
        ready += tracker.issue(call, batch=call, access=access(call)).ready
    finished = 0
    while ready:
        call = ready.pop()
        tracker.start(call)
        ready += tracker.finish(call, FutureState.RESOLVED).ready
        finished += 1
    seconds = time.perf_counter() - began
    if finished != count:
        msg = f"Only {finished} of {count} calls came to their end."
        raise AssertionError(msg)
    return seconds


def measure(repeats: int) -> list[Growth]:
    """Measure each workload at both sizes, in turn: the median of the best of a few runs each."""
    found = []
    gc.collect()
    gc.freeze()
    for name, access in WORKLOADS.items():
        issue_and_finish(1_000, access)
        small, large = [], []
        for _ in range(repeats):
            small.append(min(issue_and_finish(1_000, access) for _ in range(_BEST_OF)))
            large.append(min(issue_and_finish(10_000, access) for _ in range(_BEST_OF)))
        found.append(Growth(name, statistics.median(small), statistics.median(large)))
    gc.unfreeze()
    return found


def report(*, quick: bool) -> list[str]:
    """The table, as Markdown lines."""
    lines = [
        "| calls | 1,000 futures | 10,000 futures | growth of the cost of one |",
        "|---|---|---|---|",
    ]
    lines += [
        f"| {g.workload} | {g.small * 1e3:.1f} ms | {g.large * 1e3:.0f} ms | {g.ratio:.2f} |"
        for g in measure(3 if quick else 9)
    ]
    return lines
