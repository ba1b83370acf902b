"""What the package costs, where it cannot gain anything.

Each figure is the difference from the same done without the package, in the same process and in
turn; both sides are the process's own processor time, and the other side runs without the hook by
which the package watches runs. "Extra" is the median of the pairs' differences, with its quartiles:
where they lie far apart, the machine was busy. "At best" is the fastest of ours less the fastest of
theirs. The first line says how long LangChain itself takes for one call of an async tool on this
machine at that time: 120 to 135 µs on an idle one, on which the goals in microseconds were set.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from benchmarks.fast_calls import (
    KINDS,
    SIZES,
    agent_calls,
    agent_turns,
    node_calls,
    steps,
    yardstick,
)
from benchmarks.imports import import_times
from benchmarks.pairs import Pairs, unwatched
from benchmarks.pending import Cost, cost, memory, resident_memory
from benchmarks.soak import Shape, compare

_HEAD: Final = (
    "| | calls a message | without, µs | extra, µs | quartiles | at best | ratio | placeholders |"
)
_PENDING_ABOUT: Final = (
    "Futures that are pending at once, all of one message: µs to issue and to deliver one, and "
    "bytes that one holds, its message included. A waiting one has not begun."
)
_PENDING_HEAD: Final = (
    "| futures | issue, ToolNode | ours | deliver, ToolNode | ours | traced bytes, ToolNode | ours "
    "| ours, waiting | bytes of the process, ToolNode | ours |"
)
_GOAL_MICROSECONDS: Final = 20
_GOAL_BYTES: Final = 4_096
_GOAL_GROWTH: Final = 1.2
_GOAL_SIZES: Final = 100
"""Up to so many calls a message the goal holds."""


@dataclass(frozen=True, slots=True)
class Scale:
    """How much is measured.

    Attributes:
        calls: Pairs, times the calls of a message.
        most: Pairs at most.
        turns: Pairs for steps and calls of a model.
        counts: Numbers of pending futures.
        runs: Runs with each of them.
        thread: Calls in one thread.
        imports: Pairs of imports.
    """

    calls: int
    most: int
    turns: int
    counts: tuple[int, ...]
    runs: int
    thread: int
    imports: int


_FULL: Final = Scale(3_000, 300, 100, (10, 100, 1_000, 10_000), 5, 600, 15)
_QUICK: Final = Scale(100, 12, 6, (10, 100), 1, 60, 1)


def _row(what: str, size: int | str, pairs: Pairs, placeholders: str = "") -> str:
    low, middle, high = pairs.extra
    return (
        f"| {what} | {size} | {pairs.base:,.0f} | {middle:,.0f} | {low:,.0f} to {high:,.0f} | "
        f"{pairs.best:,.0f} | {pairs.ratio:.2f} | {placeholders} |"
    )


def _call_rows(scale: Scale, found: dict[str, float]) -> Iterator[str]:
    """Calls of a message, in a node and in `create_agent`."""
    for kind in KINDS:
        for size in SIZES:
            count = max(5, min(scale.calls // size, scale.most))
            pairs, placeholders = node_calls(kind, size, count)
            if size <= _GOAL_SIZES:
                found[f"a call, {kind.title}, {size} a message"] = pairs.extra[1]
            yield _row(kind.title, f"{size:,}", pairs, placeholders)
    for kind in KINDS:
        for size in SIZES[:-1]:
            count = max(5, min(scale.calls // size // 3, scale.turns))
            yield _row(f"`create_agent`, {kind.title}", size, agent_calls(kind, size, count))
        yield _row(
            f"`create_agent`, a call of the model, {kind.title}",
            "none",
            agent_turns(kind, scale.turns),
        )
    for is_async in (True, False):
        run = "`ainvoke`" if is_async else "`invoke`"
        yield _row(f"a step without tools, {run}", "", steps(scale.turns, is_async=is_async))


def _pending_rows(scale: Scale, costs: dict[int, Cost]) -> Iterator[str]:
    for count in scale.counts:
        runs = 1 if count > 1_000 else scale.runs  # noqa: PLR2004 - minutes otherwise
        with unwatched():
            theirs = cost(count, runs, ours=False)
        ours = costs[count] = cost(count, runs, ours=True)
        size = min(count, 1_000)
        held = [
            memory(size, ours=False, traced=True),
            memory(size, ours=True, traced=True),
            memory(size, ours=True, waiting=True, traced=True),
        ]
        resident = [resident_memory(count, ours=side) for side in (False, True)]
        yield (
            f"| {count:,} | {theirs.issue:,.0f} | {ours.issue:,.0f} | {theirs.deliver:,.0f} | "
            f"{ours.deliver:,.0f} | {' | '.join(f'{b:,.0f}' for b in held)} | "
            f"{' | '.join(f'{b:,.0f}' for b in resident)} |"
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


def _imports(count: int) -> str:
    """What the import takes, in words."""
    pairs = import_times(count)
    low, middle, high = (microseconds / 1e3 for microseconds in pairs.extra)
    return (
        f"Import: LangGraph {pairs.base / 1e3:,.0f} ms, the package {middle:,.0f} ms more "
        f"({low:,.0f} to {high:,.0f}), {pairs.ratio:.2f} times."
    )


def _verdict(what: str, goal: float, found: float, unit: str) -> str:
    met = "yes" if found <= goal else f"no, {found / goal:.1f} times"
    return f"| {what} | at most {goal:,.4g} {unit} | {found:,.4g} {unit} | {met} |"


def _held() -> Iterator[str]:
    """What a pending future holds, read in three ways."""
    call = memory(1_000, ours=False, traced=True)
    running = memory(1_000, ours=True, traced=True)
    waiting = memory(1_000, ours=True, waiting=True, traced=True)
    for what, held in (
        ("a future that waits", waiting),
        ("a future that runs, over a call that runs in ToolNode", running - call),
        ("a future that runs, with its tool as LangChain runs it", running),
    ):
        yield _verdict(what, _GOAL_BYTES, held, "bytes")


def _goals(calls: dict[str, float], costs: dict[int, Cost]) -> list[str]:
    rows = [_verdict(what, _GOAL_MICROSECONDS, extra, "µs") for what, extra in calls.items()]
    rows += _held()
    if 10_000 in costs:  # noqa: PLR2004
        small, large = costs[1_000], costs[10_000]
        for what, growth in (
            ("issue", large.issue / small.issue),
            ("deliver", large.deliver / small.deliver),
        ):
            title = f"time to {what} a future, 10,000 over 1,000"
            rows.append(_verdict(title, _GOAL_GROWTH, growth, "times"))
    return ["| | goal | measured | met |", "|---|---|---|---|", *rows]


def report(*, quick: bool) -> list[str]:
    """The tables, as Markdown lines."""
    scale = _QUICK if quick else _FULL
    calls: dict[str, float] = {}
    costs: dict[int, Cost] = {}
    lines = [f"One call of a tool by LangChain alone: {yardstick(10):,.0f} µs.", ""]
    lines += [_HEAD, "|---|---|---|---|---|---|---|---|", *_call_rows(scale, calls), ""]
    lines += [_PENDING_ABOUT, "", _PENDING_HEAD, "|---|---|---|---|---|---|---|---|---|---|"]
    lines += [*_pending_rows(scale, costs), ""]
    lines += [_growth(scale.thread), "", _imports(scale.imports), ""]
    return [*lines, *_goals(calls, costs)]
