"""What the package costs, where it cannot gain anything.

Each figure is the difference from the same done without the package, in the same process and in
turn; both sides are the process's own processor time, and the other side runs without the hook by
which the package watches runs. "Extra" is the median of the pairs' differences, with its quartiles:
where they lie far apart, the machine was busy. "At best" is the fastest of ours less the fastest of
theirs. Pairs are taken until "extra" is known to 2% of what the other side takes, or until the row
has had its time. "Hooks that do nothing" are the hooks of `create_agent` that the package's
middleware has: what LangGraph takes for their steps, and LangChain for their traces.

The first line says how long LangChain itself takes for one call of an async tool on this machine at
that time. It is 120 to 135 µs on the machine on which the goals in microseconds were set, so the
goals also say what a figure comes to at that pace: an estimate, which takes it that everything is
slower by the same factor.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from benchmarks.fast_calls import (
    KINDS,
    Kind,
    agent_calls,
    agent_turns,
    idle_hooks,
    node_calls,
    steps,
    yardstick,
)
from benchmarks.imports import import_times
from benchmarks.pairs import Effort, Pairs, unwatched
from benchmarks.pending import Cost, cost, memory, resident_memory
from benchmarks.soak import Shape, compare

_HEAD: Final = (
    "| | calls a message | pairs | without, µs | extra, µs | quartiles | at best | ratio "
    "| placeholders |"
)
_PENDING_ABOUT: Final = (
    "Futures that are pending at once, all of one message: µs to issue and to deliver one, and "
    "bytes that one holds, its message included. A waiting one has not begun."
)
_PENDING_HEAD: Final = (
    "| futures | issue, ToolNode | ours | deliver, ToolNode | ours | traced bytes, ToolNode | ours "
    "| ours, waiting | bytes of the process, ToolNode | ours |"
)
_WHY: Final = (
    "Why goals are missed. A message with one call pays alone for what all calls of a message "
    "share: the objects of a run, a task and the timer of the grace period beside it, and the "
    "watch that LangChain calls at the start and end of each step. A future that runs holds, "
    "beside the tool as LangChain runs it, a task, its context and config, its placeholder "
    "and what is noted of it. Where issuing grows from 1,000 to 10,000, compare the column of "
    "ToolNode: what grows there too is asyncio, LangChain and the garbage collector. In "
    "`create_agent` most is what LangGraph and LangChain take for any middleware with these "
    "hooks, which stands beside it."
)
_GOAL_MICROSECONDS: Final = 20
_GOAL_BYTES: Final = 4_096
_GOAL_GROWTH: Final = 1.2
_GOAL_SIZES: Final = 100
"""Up to so many calls a message the goal holds."""
_GOAL_PACE: Final = 128
"""Microseconds that LangChain took for a call where the goals were set: 120 to 135."""
_TRACED: Final = 1_000
"""The most futures whose memory is traced: with more it takes minutes, and says the same."""
_RESIDENT: Final = 1_000
"""The fewest futures that are seen in the memory of the process, which comes in whole pages."""


@dataclass(frozen=True, slots=True)
class Scale:
    """How much is measured.

    Attributes:
        sizes: Calls a message.
        agents: Kinds of calls in `create_agent`.
        row: What is done for a row.
        pace: What is done to know the machine's pace beside a row.
        counts: Numbers of pending futures.
        runs: Runs with each of them.
        thread: Calls in one thread.
        imports: What is done for the imports.
    """

    sizes: tuple[int, ...]
    agents: tuple[Kind, ...]
    row: Effort
    pace: Effort
    counts: tuple[int, ...]
    runs: int
    thread: int
    imports: Effort


_FULL: Final = Scale(
    (1, 10, 100, 1_000),
    KINDS,
    Effort(4),
    Effort(0.5),
    (10, 100, 1_000, 10_000),
    5,
    600,
    Effort(25, least=3),
)
_QUICK: Final = Scale(
    (1, 10, 100),
    KINDS[:1],
    Effort(0.2, least=3),
    Effort(0.1, least=3),
    (10, 100),
    1,
    60,
    Effort(0, least=1),
)


@dataclass(frozen=True, slots=True)
class Extra:
    """What a call takes more, and how fast the machine was just then.

    Attributes:
        microseconds: What it takes more.
        pace: Microseconds that LangChain itself took for a call.
    """

    microseconds: float
    pace: float

    @property
    def scaled(self) -> float:
        """Microseconds at the pace at which the goals were set."""
        return self.microseconds * _GOAL_PACE / self.pace


def _row(what: str, size: int | str, pairs: Pairs, placeholders: str = "") -> str:
    low, middle, high = pairs.extra
    return (
        f"| {what} | {size} | {len(pairs.ours)} | {pairs.base:,.0f} | {middle:,.0f} | "
        f"{low:,.0f} to {high:,.0f} | {pairs.best:,.0f} | {pairs.ratio:.2f} | {placeholders} |"
    )


def _call_rows(scale: Scale, found: dict[str, Extra]) -> Iterator[str]:
    """Calls of a message, in a node and in `create_agent`."""
    for kind in KINDS:
        for size in scale.sizes:
            pace = yardstick(scale.pace)
            pairs, placeholders = node_calls(kind, size, scale.row)
            if size <= _GOAL_SIZES:
                found[f"a call, {kind.title}, {size} a message"] = Extra(pairs.extra[1], pace)
            yield _row(kind.title, f"{size:,}", pairs, placeholders)
    for kind in scale.agents:
        yield from _agent_rows(scale, kind)
    for size in (1, 0):
        title = "`create_agent` with hooks that do nothing, `ainvoke`"
        yield _row(title, size or "none", idle_hooks(size, scale.row))
    for is_async in (True, False):
        run = "`ainvoke`" if is_async else "`invoke`"
        yield _row(f"a step without tools, {run}", "", steps(scale.row, is_async=is_async))


def _agent_rows(scale: Scale, kind: Kind) -> Iterator[str]:
    for size in scale.sizes:
        if size <= _GOAL_SIZES:
            pairs = agent_calls(kind, size, scale.row)
            yield _row(f"`create_agent`, {kind.title}", size, pairs)
    turns = agent_turns(kind, scale.row)
    yield _row(f"`create_agent`, a call of the model, {kind.title}", "none", turns)


def _pending_rows(
    scale: Scale, costs: dict[int, Cost], held: dict[int, tuple[float, ...]]
) -> Iterator[str]:
    for count in scale.counts:
        runs = 1 if count > _TRACED else scale.runs
        with unwatched():
            theirs = cost(count, runs, ours=False)
        ours = costs[count] = cost(count, runs, ours=True)
        traced, resident = [""] * 3, [""] * 2
        if count <= _TRACED:
            held[count] = (
                memory(count, ours=False, traced=True),
                memory(count, ours=True, traced=True),
                memory(count, ours=True, waiting=True, traced=True),
            )
            traced = [f"{size:,.0f}" for size in held[count]]
        if count >= _RESIDENT:
            resident = [f"{resident_memory(count, ours=side):,.0f}" for side in (False, True)]
        yield (
            f"| {count:,} | {theirs.issue:,.0f} | {ours.issue:,.0f} | {theirs.deliver:,.0f} | "
            f"{ours.deliver:,.0f} | {' | '.join(traced)} | {' | '.join(resident)} |"
        )


def _growth(calls: int) -> str:
    """How the time of a call grows with its thread, in words."""
    pair = asyncio.run(compare(Shape("", calls, 1, 10**9, saved=False, trims=False)))
    return (
        f"One run of {calls:,} calls that keeps all messages: a call of the last tenth took "
        f"{pair.growth(0):.2f} times as long as one of the first with ToolNode, "
        f"{pair.growth(1):.2f} times with ours; ours over ToolNode was "
        f"{pair.ratio(last=False):.2f} in the first tenth and {pair.ratio(last=True):.2f} in the "
        "last."
    )


def _imports(effort: Effort) -> str:
    """What the import takes, in words."""
    pairs = import_times(effort)
    low, middle, high = (microseconds / 1e3 for microseconds in pairs.extra)
    return (
        f"Import: LangGraph {pairs.base / 1e3:,.0f} ms, the package {middle:,.0f} ms more "
        f"({low:,.0f} to {high:,.0f}), {pairs.ratio:.2f} times; pairs: {len(pairs.ours)}."
    )


def _verdict(what: str, goal: float, found: float, unit: str, scaled: str = "") -> str:
    met = "yes" if found <= goal else f"no, {found / goal:.1f} times"
    return f"| {what} | at most {goal:,.4g} {unit} | {found:,.4g} {unit} | {met} | {scaled} |"


def _held(held: dict[int, tuple[float, ...]]) -> Iterator[str]:
    """What a pending future holds, read in three ways."""
    call, running, waiting = held[max(held)]
    for what, size in (
        ("a future that waits", waiting),
        ("a future that runs, over a call that runs in ToolNode", running - call),
        ("a future that runs, with its tool as LangChain runs it", running),
    ):
        yield _verdict(what, _GOAL_BYTES, size, "bytes")


def _goals(
    calls: dict[str, Extra], costs: dict[int, Cost], held: dict[int, tuple[float, ...]]
) -> list[str]:
    rows = [
        _verdict(what, _GOAL_MICROSECONDS, extra.microseconds, "µs", f"{extra.scaled:,.4g} µs")
        for what, extra in calls.items()
    ]
    rows += _held(held)
    if 10_000 in costs:  # noqa: PLR2004
        small, large = costs[1_000], costs[10_000]
        for what, growth in (
            ("issue", large.issue / small.issue),
            ("deliver", large.deliver / small.deliver),
        ):
            title = f"time to {what} a future, 10,000 over 1,000"
            rows.append(_verdict(title, _GOAL_GROWTH, growth, "times"))
    scaled = f"the measured one at a pace of {_GOAL_PACE} µs a call of LangChain"
    return [f"| | goal | measured | met | {scaled} |", "|---|---|---|---|---|", *rows, "", _WHY]


def report(*, quick: bool) -> list[str]:
    """The tables, as Markdown lines."""
    scale = _QUICK if quick else _FULL
    calls: dict[str, Extra] = {}
    costs: dict[int, Cost] = {}
    held: dict[int, tuple[float, ...]] = {}
    lines = [f"One call of a tool by LangChain alone: {yardstick(scale.pace):,.0f} µs.", ""]
    lines += [_HEAD, "|---|---|---|---|---|---|---|---|---|", *_call_rows(scale, calls), ""]
    lines += [_PENDING_ABOUT, "", _PENDING_HEAD, "|---|---|---|---|---|---|---|---|---|---|"]
    lines += [*_pending_rows(scale, costs, held), ""]
    lines += [_growth(scale.thread), "", _imports(scale.imports), ""]
    return [*lines, *_goals(calls, costs, held)]
