"""What becomes of a run when something goes wrong in the scheduler or in what it calls.

Nobody hears an error there: outcomes are reported by an executor, from whatever thread. So it ends
the call in whose way it came, is logged, and everything else goes on.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from contextvars import copy_context
from typing import Any

import pytest
from langchain_core.messages import ToolCall
from langgraph.prebuilt import ToolRuntime
from langgraph.prebuilt.tool_node import ToolCallRequest

from langchain_asyncfc.calls import read_call
from langchain_asyncfc.effects import Effects
from langchain_asyncfc.executors import Job
from langchain_asyncfc.futures import FutureState, Outcome
from langchain_asyncfc.invocations import Invocation
from langchain_asyncfc.scheduler import Lane, Scheduler, ToolFuture
from langchain_asyncfc.testing import ManualExecutor
from langchain_asyncfc.toolbox import ToolFacts

PURE = Effects()
LANES = [Lane(), Lane(limit=1)]


class Home:
    """A home in which everything happens at once."""

    def now(self) -> float:
        return 0.0

    def is_here(self) -> bool:
        return True

    def post(self, callback: Callable[[], None]) -> None:
        callback()

    def call_later(self, seconds: float, callback: Callable[[], None]) -> Callable[[], None]:
        return lambda: None


class Refusing(ManualExecutor):
    """An executor that takes no call of a tool named "refused"."""

    def submit(self, job: Job, done: Callable[[Outcome], None]) -> Callable[[], None]:
        if job.tool == "refused":
            msg = "can't start new thread"
            raise RuntimeError(msg)
        return super().submit(job, done)


def _unused(*_: Any) -> Any:
    raise AssertionError


def _invocation(tool_call: ToolCall, write: Callable[[Any], None]) -> Invocation:
    runtime = ToolRuntime(
        state={}, context=None, config={}, stream_writer=write, tool_call_id="", store=None
    )
    request = ToolCallRequest(tool_call, None, {}, runtime)
    return Invocation(request, _unused, None, None, announces=True)


class Bench:
    """A scheduler and its executor.

    Args:
        lane: How calls are run.
        write: Takes what is announced.
    """

    def __init__(self, lane: Lane, write: Callable[[Any], None] = lambda _: None) -> None:
        self.executor = Refusing()
        self.scheduler = Scheduler(self.executor, Home(), "run")
        self._lane = lane
        self._write = write

    def issue(self, *calls: tuple[str, str], does: Effects = PURE) -> list[ToolFuture]:
        """Issue calls of one message, given by tool and argument, and provide for them."""
        made = [
            ToolCall(name=name, args={"x": x}, id=f"c{n}", type="tool_call")
            for n, (name, x) in enumerate(calls, 1)
        ]
        read = [read_call(n, call, ToolFacts(None, does)) for n, call in enumerate(made, 1)]
        futures = self.scheduler.issue("message", read, self._lane, _unused)
        for future in futures:
            invocation = _invocation(future.call.tool_call, self._write)
            self.scheduler.provide(future, invocation, copy_context())
        return futures


@pytest.mark.parametrize("lane", LANES)
def test_a_call_that_the_executor_does_not_take_fails(
    lane: Lane, caplog: pytest.LogCaptureFixture
) -> None:
    """An executor may be at its end, also when the call could start outside of any step."""
    bench = Bench(lane)
    first, refused, skipped, other = bench.issue(
        ("tool", "a"), ("refused", "future_1"), ("tool", "future_2"), ("tool", "future_1")
    )
    bench.executor.resolve("future_1", "value")
    assert first.state is FutureState.RESOLVED
    assert refused.state is FutureState.FAILED
    assert refused.outcome is not None
    assert refused.outcome.note == (
        "future_2 (refused) could not be started: RuntimeError. The application's log says more."
    )
    assert skipped.state is FutureState.SKIPPED
    assert bench.executor.running == [other.id]
    bench.executor.resolve(other.id)
    assert bench.scheduler.live() == []
    assert [r.levelno for r in caplog.records] == [logging.ERROR]
    assert caplog.records[0].exc_info


@pytest.mark.parametrize("lane", LANES)
@pytest.mark.parametrize(
    "reported", [None, Outcome(FutureState.WAITING), Outcome(FutureState.SKIPPED)]
)
def test_a_report_that_is_no_end_fails_the_call(
    lane: Lane, reported: Any, caplog: pytest.LogCaptureFixture
) -> None:
    """What an executor reports may be anything; the call has ended then all the same."""
    bench = Bench(lane)
    first, skipped, other = bench.issue(("tool", "a"), ("tool", "future_1"), ("tool", "b"))
    woken: list[str] = []
    assert bench.scheduler.when_done(first, lambda: woken.append("first"))
    bench.executor._end(bench.executor.job("future_1"), reported)
    assert first.state is FutureState.FAILED
    assert first.outcome is not None
    assert "could not be ended" in first.outcome.note
    assert woken == ["first"]
    assert skipped.state is FutureState.SKIPPED
    assert bench.executor.running == [other.id]
    bench.executor.resolve(other.id)
    assert bench.scheduler.live() == []
    assert [r.levelno for r in caplog.records] == [logging.ERROR]


@pytest.mark.parametrize("event", ["running", "resolved"])
@pytest.mark.parametrize("lane", LANES)
def test_an_error_while_a_call_is_announced_holds_nobody_up(
    lane: Lane, event: str, caplog: pytest.LogCaptureFixture
) -> None:
    """A stream's writer is not ours; the call is run, and what waits for it goes on."""

    def write(told: Any) -> None:
        if (told["future"], told["event"]) == ("future_2", event):
            raise ZeroDivisionError

    bench = Bench(lane, write)
    first, second, third = bench.issue(
        ("tool", "a"), ("tool", "future_1"), ("tool", "b"), does=Effects(writes="x")
    )
    woken: list[str] = []
    assert bench.scheduler.when_done(second, lambda: woken.append("second"))
    bench.executor.resolve(first.id, "value")
    bench.executor.resolve(second.id, "value")
    assert second.state is FutureState.RESOLVED
    assert woken == ["second"]
    assert bench.executor.running == [third.id]
    bench.executor.resolve(third.id)
    assert bench.scheduler.live() == []
    assert [r.levelno for r in caplog.records] == [logging.ERROR]


def test_each_call_of_an_earlier_run_is_taken_over_once() -> None:
    """Tasks of one step may all find the same placeholder, and only one of them makes a future."""
    bench = Bench(Lane())
    call = ToolCall(name="tool", args={"x": "a"}, id="c1", type="tool_call")
    read = read_call(1, call, ToolFacts(None, PURE))
    lost = Outcome(FutureState.LOST, note="gone")
    [future] = bench.scheduler.restore("message", [(read, lost)], Lane(), _unused)
    assert bench.scheduler.restore("message", [(read, lost)], Lane(), _unused) == [future]
    assert bench.scheduler.get(1) is future
    assert bench.scheduler.undelivered() == [future]
    assert bench.scheduler.provide(future, _invocation(call, lambda _: None), copy_context())
    assert bench.scheduler.restore("message", [(read, lost)], Lane(), _unused) == []
    assert not bench.scheduler.provide(future, _invocation(call, lambda _: None), copy_context())


def test_what_a_call_of_an_earlier_run_came_to_may_be_known_late() -> None:
    """One task of a step only knows that a call was made, another one also what it came to."""
    bench = Bench(Lane())
    made = [
        ToolCall(name="tool", args={"x": x}, id=f"c{n}", type="tool_call")
        for n, x in enumerate(["a", "future_1"], 1)
    ]
    first, second = (read_call(n, c, ToolFacts(None, PURE)) for n, c in enumerate(made, 1))
    beside, waits = bench.scheduler.issue("message", [first, second], Lane(), _unused)
    bench.scheduler.provide(waits, _invocation(made[1], lambda _: None), copy_context())
    assert bench.executor.running == []
    ended = Outcome(FutureState.RESOLVED, "value")
    assert bench.scheduler.restore("message", [(first, ended)], Lane(), _unused) == [beside]
    assert beside.outcome is ended
    assert bench.executor.job("future_2").args == {"x": "value"}


def test_what_another_answered_is_referred_to_by_its_value() -> None:
    """A call that nobody brings was answered elsewhere, where its value stands from then on."""
    bench = Bench(Lane())
    call = ToolCall(name="tool", args={"x": "a"}, id="c1", type="tool_call")
    elsewhere = read_call(1, call, ToolFacts(None, PURE))
    [future] = bench.scheduler.issue("first", [elsewhere], Lane(), _unused)
    later = ToolCall(name="tool", args={"x": "future_1"}, id="c2", type="tool_call")
    refers = read_call(2, later, ToolFacts(None, PURE))
    [second] = bench.scheduler.issue("second", [refers], Lane(), {1: "there"}.__getitem__)
    assert future.state is FutureState.CANCELLED
    assert bench.scheduler.get(1) is None
    assert bench.scheduler.undelivered() == []
    bench.scheduler.provide(second, _invocation(later, lambda _: None), copy_context())
    assert bench.executor.job("future_2").args == {"x": "there"}
