"""Runs every task of a workload in every way and keeps what each run took."""

from __future__ import annotations

import functools
import itertools
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from multiprocessing.pool import Pool
from typing import Final

from benchmarks.episodes import Episodes, Node
from benchmarks.ideal import Batches, bound, eager_bound, one_by_one, synchronous
from benchmarks.pace import Pace, pace
from benchmarks.stage import Outcome, WrongResult
from benchmarks.workloads.bfcl import multi_turn
from benchmarks.workloads.conflicts import dependencies, in_order, safe_batches
from benchmarks.workloads.mixed import interleaved
from benchmarks.workloads.nestful import nestful
from benchmarks.workloads.single import parallel
from benchmarks.workloads.tasks import Task
from langchain_asyncfc.testing import run_virtual

MEDIANS: Final = (0.2, 1.0, 3.0)
"""Of the tools' times, in seconds."""

_EXACT = 1e-6
"""Seconds by which a run of `ToolNode` may differ from its formula: the rounding of floats."""


@dataclass(frozen=True, slots=True)
class Workload:
    """A set of tasks.

    Attributes:
        key: Its name in the tables.
        title: What it is.
        tasks: Gives the tasks.
    """

    key: str
    title: str
    tasks: Callable[[], tuple[Task, ...]]


WORKLOADS: Final = {
    w.key: w
    for w in (
        Workload(
            "W1",
            "BFCL multi_turn_base, the user's turns one after another",
            functools.partial(multi_turn, merged=False),
        ),
        Workload(
            "W2",
            "BFCL multi_turn_base, the turns of a task merged into one",
            functools.partial(multi_turn, merged=True),
        ),
        Workload("W3", "BFCL parallel and parallel_multiple, all calls in one message", parallel),
        Workload("W4", "NESTFUL", nestful),
        *(
            Workload(
                f"W5, {n} tasks",
                f"{n} BFCL tasks interleaved",
                functools.partial(interleaved, n),
            )
            for n in (2, 3, 4)
        ),
    )
}

NODES: Final[dict[str, Node]] = {
    "a": "toolnode",
    "b": "toolnode",
    "c": "unlabelled",
    "d": "labelled",
    "e": "labelled",
    "append": "append",
    "free": "labelled",
}
"""By the way's name: the node. In (b) and (e) calls share a message if none needs another; "free"
is (d) where it costs no tokens to say what is waited for."""


@dataclass(frozen=True, slots=True)
class Plan:
    """How much is run.

    Attributes:
        seeds: How many draws of times there are.
        runs: With how many of them each way is run, for each median. `ToolNode`'s other times
            follow from its formula, which its runs confirm.
        stride: In a workload of many tasks each is run with every so-manyth of these draws,
            another one first than the task before: all of them are run, with a share of the tasks.
        tasks: How many tasks of each workload are run; `None` for all.
        medians: Medians of the tools' times.
    """

    seeds: int
    runs: Callable[[str, float], int]
    stride: int = 1
    tasks: int | None = None
    medians: tuple[float, ...] = MEDIANS


def _full_runs(way: str, median: float) -> int:
    if way == "d" or (way == "c" and median == 1.0):
        return 20
    return {"a": 1, "b": 1, "c": 2, "e": 2, "append": 1, "free": 2}[way]


FULL: Final = Plan(20, _full_runs, stride=4)
QUICK: Final = Plan(
    2, lambda way, _: 1 if way in ("a", "b", "append") else 2, tasks=8, medians=(1.0,)
)
_MANY: Final = 200
"""So many tasks even out what chance does to one of them."""


@dataclass(frozen=True, slots=True)
class Run:
    """One draw of times for one task, in all ways that were run with it.

    Attributes:
        task: Name of the task.
        median: Of the tools' times.
        ideal: B* of the messages that (c) and (d) decode, with labels.
        ideal_unlabelled: The same without labels.
        ideal_shared: B* where calls that do not depend on each other share a message.
        ideal_eager: B* with eager start.
        toolnode: Seconds of (a) and (b).
        outcomes: What runs took, by way.
    """

    task: str
    median: float
    ideal: float
    ideal_unlabelled: float
    ideal_shared: float
    ideal_eager: float
    toolnode: dict[str, float]
    outcomes: dict[str, Outcome]


def measure(workload: Workload, pool: Pool, *, quick: bool) -> list[Run]:
    """Run a workload, a task a job.

    Raises:
        WrongResult: When any run differs from running the calls one by one.
    """
    plan = QUICK if quick else FULL
    number = len(workload.tasks()[: plan.tasks])
    job = functools.partial(_run_task, workload.key, quick)
    return [run for runs in pool.imap(job, range(number), chunksize=2) for run in runs]


def _run_task(key: str, quick: bool, index: int) -> list[Run]:
    tasks = WORKLOADS[key].tasks()
    plan = QUICK if quick else FULL
    if len(tasks) < _MANY:
        plan = replace(plan, stride=1)
    return run_virtual(play(tasks[index], plan, first=index % plan.stride))


async def play(task: Task, plan: Plan, *, first: int = 0) -> list[Run]:
    """Run a task in all ways, with its draws of times.

    Args:
        task: The task.
        plan: How much is run.
        first: The first of its draws.

    Raises:
        WrongResult: When any run differs from running the calls one by one.
    """
    each = Ways(task)
    graphs = {
        way: Episodes(task, node, each.batches(way), free=way == "free")
        for way, node in NODES.items()
        if not (task.batched and way == "e")  # the same as (d)
    }
    found = []
    seeds = range(first, plan.seeds, plan.stride)
    for median, seed in itertools.product(plan.medians, seeds):
        times = pace(task, median, seed)
        outcomes = {
            way: await graph.run(times)
            for way, graph in graphs.items()
            if seed - first < plan.runs(way, median)
        }
        found.append(each.compared(median, times, outcomes))
    return found


class Ways:
    """The messages of a task in each way, and what its calls depend on."""

    def __init__(self, task: Task) -> None:
        self._task = task
        self._deps = dependencies(task)
        self._single: Batches = one_by_one(task)
        self._shared: Batches = safe_batches(task, self._deps)
        self._own = self._shared if task.batched else self._single

    def batches(self, way: str) -> Batches:
        """The messages in a way."""
        return {"a": self._single, "b": self._shared, "e": self._shared}.get(way, self._own)

    def compared(self, median: float, times: Pace, outcomes: dict[str, Outcome]) -> Run:
        """What a draw of times took, beside its bounds."""
        task = self._task
        toolnode = {
            "a": synchronous(times, self._single),
            "b": synchronous(times, self._shared),
        }
        for way, seconds in toolnode.items():
            if way in outcomes and abs(outcomes[way].seconds - seconds) > _EXACT:
                raise WrongResult(f"{task.name}: {outcomes[way]} is not {seconds} s.")
        return Run(
            task.name,
            median,
            bound(task, times, self._deps, self._own),
            bound(task, times, in_order(task, self._own), self._own),
            bound(task, times, self._deps, self._shared),
            eager_bound(task, times, self._deps),
            toolnode,
            outcomes,
        )


def having(runs: Sequence[Run], way: str, median: float) -> Iterator[tuple[Run, Outcome]]:
    """The runs with a median that were run in a way."""
    for run in runs:
        if run.median == median and way in run.outcomes:
            yield run, run.outcomes[way]
