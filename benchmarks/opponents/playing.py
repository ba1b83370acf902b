"""Runs tasks in every way and keeps what each run took."""

from __future__ import annotations

import functools
import itertools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from multiprocessing.pool import Pool
from typing import Final, Protocol

from benchmarks.episodes import Episodes
from benchmarks.ideal import Batches, one_by_one, synchronous
from benchmarks.measuring import MEDIANS, WORKLOADS
from benchmarks.opponents.compiler import Compiler
from benchmarks.opponents.harness import Harness
from benchmarks.opponents.polling import Polling
from benchmarks.pace import Pace, pace
from benchmarks.stage import Outcome
from benchmarks.workloads.conflicts import dependencies, safe_batches
from benchmarks.workloads.tasks import Task
from langchain_asyncfc.testing import run_virtual


class Runner(Protocol):
    """Runs of one task in one way."""

    async def run(self, times: Pace) -> Outcome:
        """Run the task once, in virtual time."""
        ...


def whole_turns(task: Task) -> Batches:
    """All calls of a turn in one message, which ends only before a call that must read a result."""
    turns: list[list[list[int]]] = []
    for turn in task.turns:
        messages: list[list[int]] = []
        for k in turn:
            if messages and not task.calls[k].sees.intersection(messages[-1]):
                messages[-1].append(k)
            else:
                messages.append([k])
        turns.append(messages)
    return turns


def _own(task: Task) -> Batches:
    """The messages of (d): one call each, but where the task itself has several in one."""
    return safe_batches(task, dependencies(task)) if task.batched else one_by_one(task)


WAYS: Final[Mapping[str, Callable[[Task], Runner]]] = {
    "a": lambda task: Episodes(task, "toolnode", one_by_one(task)),
    "b": lambda task: Episodes(task, "toolnode", safe_batches(task, dependencies(task))),
    "d": lambda task: Episodes(task, "labelled", _own(task)),
    "e": lambda task: Episodes(task, "labelled", safe_batches(task, dependencies(task))),
    "f": lambda task: Episodes(task, "labelled", whole_turns(task)),
    "g": lambda task: Episodes(task, "labelled", whole_turns(task), eager=True),
    "published": lambda task: Compiler(task, ordered=False),
    "ordered": lambda task: Compiler(task, ordered=True),
    "poll": lambda task: Polling(task, "poll"),
    "wait": lambda task: Polling(task, "wait"),
    "harness": Harness,
}


RACING: Final = "published"
"""The way in which calls can race."""


@dataclass(frozen=True, slots=True)
class Plan:
    """How much is run.

    Attributes:
        tasks: Of each workload, evenly spread over it; all where there are fewer.
        seeds: How many draws of times, for each median.
        races: How many of them for the plan as published, of which some runs are wrong by chance.
        medians: Medians of the tools' times, in seconds.
    """

    tasks: int
    seeds: int
    races: int
    medians: tuple[float, ...] = MEDIANS


FULL: Final = Plan(24, 1, 10)
QUICK: Final = Plan(2, 1, 2, (1.0,))


@dataclass(frozen=True, slots=True)
class Match:
    """One run.

    Attributes:
        task: Name of the task.
        median: Of the tools' times.
        way: How it was run.
        toolnode: Seconds of one call a turn with `ToolNode`, with the same draw of times.
        outcome: What the run took, and whether it was right.
    """

    task: str
    median: float
    way: str
    toolnode: float
    outcome: Outcome


def chosen(key: str, plan: Plan) -> Sequence[int]:
    """Indices of the tasks of a workload that are run."""
    number = len(WORKLOADS[key].tasks())
    return (
        [n * number // plan.tasks for n in range(plan.tasks)]
        if plan.tasks < number
        else range(number)
    )


def measure(key: str, pool: Pool, plan: Plan) -> list[Match]:
    """Run a workload, a task a job.

    Raises:
        WrongResult: When a run of `ToolNode` or of ours differs from running the calls one by one.
    """
    job = functools.partial(_run_task, key, plan)
    return [match for found in pool.imap(job, chosen(key, plan)) for match in found]


def _run_task(key: str, plan: Plan, index: int) -> list[Match]:
    return run_virtual(play(WORKLOADS[key].tasks()[index], plan))


async def play(task: Task, plan: Plan) -> list[Match]:
    """Run a task in all ways, with all draws of times.

    Raises:
        WrongResult: When a run of `ToolNode` or of ours differs from running the calls one by one.
    """
    found = []
    runners = {way: make(task) for way, make in WAYS.items()}
    for median, seed in itertools.product(plan.medians, range(max(plan.seeds, plan.races))):
        times = pace(task, median, seed)
        before = synchronous(times, one_by_one(task))
        for way, runner in runners.items():
            if seed >= (plan.races if way == RACING else plan.seeds):
                continue
            outcome = await runner.run(times)
            found.append(Match(task.name, median, way, before, outcome))
    return found
