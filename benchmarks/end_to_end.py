"""Whole tasks in virtual time, on real graphs, with `ToolNode` as the opponent.

A scripted model plays the ground truth as a competent model would: it passes a value on by
reference where it has not seen it, says `await_result` or `await_future` where it must, and asks
for all results in the last message before an answer. It decodes 60 tokens a second after 0.4 s;
a call has 40 to 80 tokens, an answer 60; `await_result` is counted as 5 more, `await_future` as
20. Tools take lognormal times (sigma 0.6), the same in all ways, and act at a random moment of
their time, so that a race would show. There are 20 draws of times for each median. W1 to W4 have
200 tasks and more, and each task is run with five of the draws, so that all of them are run with
a fourth of the tasks; those of W5 are run with all 20.

- (a) `ToolNode`, one call a turn.
- (b) `ToolNode`, calls that do not depend on each other in one message.
- (c) `AsyncFCToolNode` without labels, one call a turn.
- (d) `AsyncFCToolNode` with labels, one call a turn.
- (e) `AsyncFCToolNode` with labels and the messages of (b).
- B* is the bound for the messages of (d), without the tokens of `await_result`: call k starts
  after its own decoding and after everything that it depends on, and an answer is decoded after
  all results. With eager start, a turn's calls stand in one message, and each starts while the
  rest is decoded. It counts every call; the package runs equal calls that only read once, so a
  task that has such, as one of W3 does, can be faster.

Every run of (a) to (e) is compared with running the calls one by one: each result as the tool
gave it and as the model read it, and the whole final state, public and private.
"""

from __future__ import annotations

import multiprocessing
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks.bars import Group, bars
from benchmarks.measuring import FULL, MEDIANS, QUICK, WORKLOADS, Run, measure
from benchmarks.pace import ANSWER_TOKENS, TOKENS_PER_SECOND, decode
from benchmarks.players import FLAG_TOKENS
from benchmarks.summary import (
    ideal_speed,
    near,
    per_task,
    percentile,
    speed,
    speed_if_free,
    toolnode_speed,
)

PLOT = Path(__file__).parent.parent / "docs" / "benchmarks-end-to-end.svg"


def report(*, quick: bool) -> list[str]:
    """The tables, as Markdown lines.

    Raises:
        WrongResult: When any run differs from running the calls one by one.
    """
    for workload in WORKLOADS.values():
        workload.tasks()  # before the processes fork, so that they need not load them again
    measured: dict[str, list[Run]] = {}
    with multiprocessing.Pool() as pool:
        for key, workload in WORKLOADS.items():
            start = time.monotonic()
            measured[key] = measure(workload, pool, quick=quick)
            print(f"{key}: {time.monotonic() - start:.0f} s", file=sys.stderr)
    medians = (QUICK if quick else FULL).medians
    if not quick:
        PLOT.write_text(_plot(measured, medians))
    return [
        *_workloads(measured),
        "",
        *_speeds(measured, medians),
        "",
        f"![Speedup over one call a turn with ToolNode]({PLOT.name})",
        "",
        *_distributions(measured, medians),
        "",
        *_costs(measured, medians),
        "",
        *_targets(measured, medians),
    ]


def _workloads(measured: dict[str, list[Run]]) -> Iterator[str]:
    yield "| | workload | tasks | runs compared | differences |"
    yield "|---|---|---|---|---|"
    for key, runs in measured.items():
        number = sum(len(run.outcomes) for run in runs)
        tasks = len({run.task for run in runs})
        yield f"| {key} | {WORKLOADS[key].title} | {tasks} | {number:,} | 0 |"


def _speeds(measured: dict[str, list[Run]], medians: Sequence[float]) -> Iterator[str]:
    yield "Speedup over (a), all tasks together:"
    yield ""
    yield "| | tool median | (b) | (c) | (d) | (e) | B* | B* with eager start |"
    yield "|---|---|---|---|---|---|---|---|"
    for key, median, runs in _each(measured, medians):
        figures = " | ".join(f"{figure:.3f}" for figure in _figures(runs, median))
        yield f"| {key} | {median:g} s | {figures} |"


def _figures(runs: Sequence[Run], median: float) -> list[float]:
    """The speedups of (b) to (e), of B* and of B* with eager start."""
    return [
        toolnode_speed(runs, median),
        speed(runs, "c", median).total,
        speed(runs, "d", median).total,
        speed(runs, _shared(runs), median).total,
        ideal_speed(runs, "ideal", median),
        ideal_speed(runs, "ideal_eager", median),
    ]


def _plot(measured: dict[str, list[Run]], medians: Sequence[float]) -> str:
    """The speedups as bars; B* is the mark over those of (c) and (d)."""
    groups = []
    for key, median, runs in _each(measured, medians):
        figures = _figures(runs, median)
        groups.append(Group(f"{key}, {median:g} s", figures[:4], figures[4]))
    names = [
        "(b) ToolNode, shared messages",
        "(c) ours, no labels",
        "(d) ours, labels",
        "(e) ours, labels, shared messages",
        "B*",
    ]
    return bars("Speedup over one call a turn with ToolNode", names, groups)


def _distributions(measured: dict[str, list[Run]], medians: Sequence[float]) -> Iterator[str]:
    yield (
        "With labels, (d): speedup per task (over its draws of times); phi, the share that B* is "
        "of a run's time; and tasks that are slower than (a) by more than 2%:"
    )
    yield ""
    yield (
        "| | tool median | p10 | p50 | p90 | phi mean | phi p5 | phi of (c) | phi of (e) | slower "
        "| slowest |"
    )
    yield "|---|---|---|---|---|---|---|---|---|---|---|"
    for key, median, runs in _each(measured, medians):
        labelled = speed(runs, "d", median)
        parts = " | ".join(f"{percentile(labelled.tasks, p):.3f}" for p in (0.1, 0.5, 0.9))
        phi = near(runs, "d", "ideal", median)
        plain = near(runs, "c", "ideal_unlabelled", median)
        shared = near(runs, _shared(runs), "ideal_shared", median)
        yield (
            f"| {key} | {median:g} s | {parts} | {phi.mean:.3f} | {phi.p5:.3f} | {plain.mean:.3f} "
            f"| {shared.mean:.3f} | {labelled.slower:.1%} | {labelled.slowest:.3f} |"
        )


def _costs(measured: dict[str, list[Run]], medians: Sequence[float]) -> Iterator[str]:
    yield (
        "What (d) costs a task beyond (a): calls of the model, tokens decoded; and the tokens of "
        "its requests that a prompt cache could not reuse, since no earlier request began with "
        "them (four characters a token):"
    )
    yield ""
    yield (
        "| | tool median | model calls of (a) | more of them | tokens of (a) | more of them "
        "| not reused by (a) | delivered in place | delivered by append |"
    )
    yield "|---|---|---|---|---|---|---|---|---|"
    for key, median, runs in _each(measured, medians):
        turns, output = (per_task(runs, "a", median, field) for field in ("turns", "output"))
        more_turns = per_task(runs, "d", median, "turns") - turns
        more_output = per_task(runs, "d", median, "output") - output
        fresh = [per_task(runs, way, median, "uncached") for way in ("a", "d", "append")]
        yield (
            f"| {key} | {median:g} s | {turns:.1f} | {more_turns:+.2f} | {output:.0f} "
            f"| {more_output:+.1f} | {' | '.join(f'{tokens:.0f}' for tokens in fresh)} |"
        )


TARGETS: dict[tuple[str, str, float], float] = {
    ("W1", "d", 0.2): 1.00,
    ("W1", "d", 1.0): 1.10,
    ("W1", "d", 3.0): 1.11,
    ("W2", "d", 0.2): 1.07,
    ("W2", "d", 1.0): 1.43,
    ("W2", "d", 3.0): 1.57,
    ("W4", "d", 0.2): 1.03,
    ("W4", "d", 1.0): 1.22,
    ("W4", "d", 3.0): 1.27,
    ("W5, 3 tasks", "d", 1.0): 1.70,
    ("W5, 3 tasks", "d", 3.0): 2.55,
    ("W1", "c", 1.0): 1.08,
    ("W2", "c", 1.0): 1.38,
    ("W3", "c", 1.0): 1.25,
    ("W4", "c", 1.0): 1.22,
}
"""What the speedups are meant to be at least. In W3, (d) is meant never to be below (b)."""

PHI_MEAN, PHI_P5 = 0.97, 0.95
"""What phi of (d) is meant to be at least, in each workload and for each median."""

_ROUNDING = 1e-9
"""(b) itself is a goal in W3, and sums of floats differ in their last digits."""


@dataclass(frozen=True, slots=True)
class Goal:
    """Something that was to be reached.

    Attributes:
        what: The figure.
        key: Of the workload.
        median: Of the tools' times.
        wanted: The least that was wanted; of shares of slower tasks, the most.
        measured: What was measured.
        free: What it is where it costs no tokens to say what is waited for.
        most: Whether `wanted` is the most.
    """

    what: str
    key: str
    median: float
    wanted: float
    measured: float
    free: float
    most: bool = False

    def is_met_by(self, figure: float) -> bool:
        """Whether a figure is good enough."""
        if self.most:
            return figure <= self.wanted + _ROUNDING
        return figure >= self.wanted - _ROUNDING

    def line(self) -> str:
        """The goal as a line of the table."""
        form = "{:.1%}" if self.most else "{:.3f}"
        sign = "≤" if self.most else "≥"
        wanted, measured, free = map(form.format, (self.wanted, self.measured, self.free))
        met = "met" if self.is_met_by(self.measured) else "**missed**"
        return (
            f"| {self.what} | {self.key} | {self.median:g} s | {sign} {wanted} | {measured} "
            f"| {met} | {free} |"
        )


def _targets(measured: dict[str, list[Run]], medians: Sequence[float]) -> Iterator[str]:
    goals = [
        goal for key, median, runs in _each(measured, medians) for goal in _goals(key, median, runs)
    ]
    yield "The goals that were set beforehand:"
    yield ""
    yield "| goal | | tool median | wanted | measured | | if waiting cost no tokens |"
    yield "|---|---|---|---|---|---|---|"
    yield from (goal.line() for goal in goals)
    missed = [goal for goal in goals if not goal.is_met_by(goal.measured)]
    if missed and all(goal.is_met_by(goal.free) for goal in missed):
        seconds = FLAG_TOKENS / TOKENS_PER_SECOND
        yield ""
        yield (
            f"{len(missed)} of {len(goals)} goals are missed, all by the tokens of `await_result` "
            f"alone: {FLAG_TOKENS} tokens take {seconds * 1000:.0f} ms, once in each of the user's "
            f"turns, which is {seconds / _SHORT_TURN:.1%} of a turn with one call of a "
            f"{MEDIANS[0]:g} s tool. Such a turn has nothing to overlap, and `ToolNode` needs no "
            "word for waiting."
        )


def _goals(key: str, median: float, runs: Sequence[Run]) -> Iterator[Goal]:
    wanted = {way: TARGETS.get((key, way, median)) for way in ("c", "d")}
    if key == "W3":
        wanted["d"] = toolnode_speed(runs, median)
    for way, least in wanted.items():
        if least is not None:
            found = speed(runs, way, median).total
            free = speed_if_free(runs, median) if way == "d" else found
            yield Goal(f"speedup of ({way})", key, median, least, found, free)
    phi, free_phi = (near(runs, way, "ideal", median) for way in ("d", "free"))
    yield Goal("phi of (d), mean", key, median, PHI_MEAN, phi.mean, free_phi.mean)
    yield Goal("phi of (d), p5", key, median, PHI_P5, phi.p5, free_phi.p5)
    slower, free_slower = (speed(runs, way, median).slower for way in ("d", "free"))
    yield Goal("tasks slower by 2%", key, median, 0.0, slower, free_slower, most=True)


_SHORT_TURN = 2 * decode(ANSWER_TOKENS) + MEDIANS[0]
"""Seconds of a turn with a call as long as its answer."""


def _each(
    measured: dict[str, list[Run]], medians: Sequence[float]
) -> Iterator[tuple[str, float, list[Run]]]:
    for key, runs in measured.items():
        for median in medians:
            yield key, median, runs


def _shared(runs: Sequence[Run]) -> str:
    """The way in which calls share messages: in W3, (d) itself."""
    return "e" if any("e" in run.outcomes for run in runs) else "d"
