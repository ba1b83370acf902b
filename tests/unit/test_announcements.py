"""What a scheduler announces of each future: exactly once, in order, whatever happens in between.

Calls are issued in batches, joined, referred to, provided for late, twice or never, and ended,
cancelled, timed out and delivered in any order that hypothesis finds.
"""

from __future__ import annotations

from collections.abc import Callable
from contextvars import copy_context
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from langchain_core.messages import ToolCall
from langgraph.errors import GraphInterrupt
from langgraph.prebuilt import ToolRuntime
from langgraph.prebuilt.tool_node import ToolCallRequest

from langchain_asyncfc.calls import read_call
from langchain_asyncfc.effects import Effects
from langchain_asyncfc.futures import FutureState
from langchain_asyncfc.invocations import Invocation
from langchain_asyncfc.scheduler import Lane, Scheduler, ToolFuture
from langchain_asyncfc.testing import ManualExecutor
from langchain_asyncfc.toolbox import ToolFacts

LANE = Lane(limit=2)
TIMEOUT = 5.0


class FakeHome:
    """A home in which time passes when a test says so."""

    def __init__(self) -> None:
        self.timers: list[tuple[Callable[[], None], list[bool]]] = []

    def now(self) -> float:
        return 0.0

    def is_here(self) -> bool:
        return True

    def post(self, callback: Callable[[], None]) -> None:
        callback()

    def call_later(self, seconds: float, callback: Callable[[], None]) -> Callable[[], None]:
        active = [True]
        self.timers.append((callback, active))
        return lambda: active.__setitem__(0, False)

    def ring(self) -> None:
        """Let the oldest timer that was not called off go off."""
        while self.timers:
            callback, active = self.timers.pop(0)
            if active[0]:
                callback()
                return


class Bench:
    """A scheduler, and what it has announced.

    Attributes:
        told: By future what was announced, in order.
    """

    def __init__(self) -> None:
        self.executor = ManualExecutor()
        self.home = FakeHome()
        self.scheduler = Scheduler(self.executor, self.home, "run")
        self.futures: list[ToolFuture] = []
        self.told: dict[str, list[str]] = {}
        self.delivered: set[str] = set()
        self.provided: set[str] = set()
        self.batch = 0

    def issue(self, drafts: list[tuple[int, int | None]]) -> None:
        """Issue a batch: an argument for each call, and how far back the future is it refers to."""
        self.batch += 1
        calls = []
        for offset, (x, back) in enumerate(drafts):
            ordinal = len(self.futures) + offset + 1
            refers = back is not None and back < ordinal
            args = {"x": f"future_{ordinal - back}" if refers and back else x}
            tool_call = ToolCall(name="pure", args=args, id=f"c{ordinal}", type="tool_call")
            facts = ToolFacts(None, Effects(), timeout=TIMEOUT)
            calls.append(read_call(ordinal, tool_call, facts))
        self.futures += self.scheduler.issue(self.batch, calls, LANE, _nothing_earlier)

    def provide(self, n: int) -> None:
        """Provide for a future, also when that was done."""
        future = self.futures[n % len(self.futures)]
        invocation = Invocation(self._request(future), _unused, None, None, announces=True)
        self.scheduler.provide(future, invocation, copy_context())
        self.provided.add(future.id)

    def _request(self, future: ToolFuture) -> ToolCallRequest:
        def write(event: Any) -> None:
            assert event["type"] == "asyncfc"
            assert (event["tool"], event["tool_call_id"]) == ("pure", future.call.id)
            self.told.setdefault(event["future"], []).append(event["event"])

        runtime = ToolRuntime(
            state={}, context=None, config={}, stream_writer=write, tool_call_id="", store=None
        )
        tool_call = ToolCall(name="pure", args={}, id=future.call.id, type="tool_call")
        return ToolCallRequest(tool_call, None, {}, runtime)

    def end(self, n: int, how: str) -> None:
        """End one of the running calls."""
        if not self.executor.running:
            return
        future = self.executor.running[n % len(self.executor.running)]
        if how == "resolve":
            self.executor.resolve(future, "v")
        elif how == "fail":
            self.executor.fail(future)
        else:
            self.executor.crash(future, GraphInterrupt(()))

    def cancel(self, n: int) -> None:
        """Cancel a future, also one that has ended."""
        self.scheduler.cancel([self.futures[n % len(self.futures)]])

    def deliver(self, n: int) -> None:
        """Deliver a future if it has ended, also when that was done.

        A step that delivers one has provided for it before.
        """
        future = self.futures[n % len(self.futures)]
        if future.done and future.id in self.provided:
            self.scheduler.mark_delivered(future)
            self.delivered.add(future.id)

    def expected(self, future: ToolFuture) -> list[str]:
        """What must have been announced by now."""
        if future.id not in self.provided:
            return []
        ran = any(job.id.endswith(f"/{future.id}") for job in self.executor.started)
        events = ["issued", *(["running"] if ran else [])]
        if future.outcome is not None and not isinstance(future.outcome.error, GraphInterrupt):
            events.append(str(future.state))
            if future.id in self.delivered:
                events.append("delivered")
        return events


def _unused(request: Any) -> Any:
    raise AssertionError


def _nothing_earlier(ordinal: int) -> Any:
    raise KeyError(ordinal)


_drafts = st.lists(
    st.tuples(st.integers(0, 1), st.one_of(st.none(), st.integers(1, 4))), min_size=1, max_size=3
)
_which = st.integers(0, 11)
_actions = st.one_of(
    st.tuples(st.just("issue"), _drafts),
    st.tuples(st.just("provide"), _which),
    st.tuples(st.just("provide"), _which),
    st.tuples(st.just("end"), _which, st.sampled_from(["resolve", "resolve", "fail", "interrupt"])),
    st.tuples(st.just("cancel"), _which),
    st.tuples(st.just("deliver"), _which),
    st.tuples(st.just("ring")),
)


@given(_drafts, st.lists(_actions, max_size=30))
@example([(0, None)], [("issue", [(0, None)]), ("provide", 0), ("deliver", 0)])
def test_each_is_announced_once(first: list[Any], actions: list[Any]) -> None:
    """After each event, what was announced of every future is what has happened to it."""
    bench = Bench()
    bench.issue(first)
    for name, *arguments in actions:
        if name == "ring":
            bench.home.ring()
        else:
            getattr(bench, name)(*arguments)
        for future in bench.futures:
            assert bench.told.get(future.id, []) == bench.expected(future), future


@pytest.mark.parametrize("states", [1, 2, 3])
def test_what_ended_before_it_was_provided_for(states: int) -> None:
    """A call whose task comes late is told of from the beginning."""
    bench = Bench()
    bench.issue([(0, None), *[(0, n + 1) for n in range(states)]])
    bench.provide(0)
    bench.executor.fail("future_1")
    for n in range(states):
        bench.provide(n + 1)
        assert bench.told[f"future_{n + 2}"] == ["issued", "skipped"]


def test_nobody_is_told_unless_asked() -> None:
    """Without `stream_events` nothing is written."""
    bench = Bench()
    bench.issue([(0, None)])
    [future] = bench.futures
    bench.scheduler.provide(
        future, Invocation(bench._request(future), _unused, None, None), copy_context()
    )
    bench.executor.resolve("future_1")
    bench.scheduler.mark_delivered(future)
    assert future.state is FutureState.RESOLVED
    assert bench.told == {}
