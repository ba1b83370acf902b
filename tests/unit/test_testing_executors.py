"""Tests of the executor that a test drives by hand."""

from __future__ import annotations

from contextvars import copy_context
from typing import Any

import pytest
from langchain_core.messages import ToolMessage

from langchain_asyncfc.executors import Job
from langchain_asyncfc.futures import FutureState, Outcome
from langchain_asyncfc.testing import ManualExecutor


class Bench:
    """A manual executor with some jobs handed over."""

    def __init__(self, *tools: str, **options: Any) -> None:
        self.executor = ManualExecutor(**options)
        self.outcomes: dict[int, Outcome] = {}
        self.cancels = [self._submit(n, tool) for n, tool in enumerate(tools, start=1)]

    def _submit(self, n: int, tool: str) -> Any:
        async def arun() -> Outcome:
            return Outcome(FutureState.RESOLVED, "real")

        def run() -> Outcome:
            raise AssertionError

        job = Job(f"r/future_{n}", f"c{n}", tool, {}, run, arun, lambda: False, copy_context())
        return self.executor.submit(job, lambda outcome: self.outcomes.update({n: outcome}))


def test_nothing_runs_by_itself() -> None:
    """A test sees what was started, oldest first."""
    bench = Bench("a", "b")
    assert bench.executor.running == ["future_1", "future_2"]
    assert [job.tool for job in bench.executor.started] == ["a", "b"]
    assert bench.outcomes == {}


@pytest.mark.parametrize("name", ["future_2", "b", "r/future_2"])
def test_calls_have_names(name: str) -> None:
    """A call is named by its future, its tool (the oldest running one) or its job."""
    bench = Bench("a", "b", "b")
    bench.executor.resolve(name, {"k": 1})
    message = ToolMessage('{"k": 1}', name="b", tool_call_id="c2")
    assert bench.outcomes == {2: Outcome(FutureState.RESOLVED, {"k": 1}, message)}
    assert bench.executor.running == ["future_1", "future_3"]
    assert len(bench.executor.started) == 3


def test_an_unknown_call_is_refused_with_the_running_ones() -> None:
    """A typo in a test says what was meant perhaps; an ended call has no second end."""
    bench = Bench("a", "b")
    bench.executor.resolve("a")
    with pytest.raises(LookupError, match=r"No call 'a' is running; running: \['future_2'\]"):
        bench.executor.fail("a")


def test_ways_to_end() -> None:
    """Rule 16: errors for the model, and errors that the graph raises."""
    bench = Bench("a", "b")
    bench.executor.fail("a", "broke")
    message = ToolMessage("broke", name="a", tool_call_id="c1", status="error")
    assert bench.outcomes[1] == Outcome(FutureState.FAILED, "broke", message, note="broke")
    error = RuntimeError("bug")
    bench.executor.crash("b", error)
    assert bench.outcomes[2] == Outcome(FutureState.FAILED, error=error, note=repr(error))


@pytest.mark.asyncio
async def test_a_call_may_be_run_for_real() -> None:
    """A test may let the tool itself give the outcome."""
    bench = Bench("a")
    await bench.executor.run("a")
    assert bench.outcomes[1].value == "real"


def test_cancelled_calls_end_at_once_by_default() -> None:
    """Rule 19: a cancelled call reports its end; asking again does nothing."""
    bench = Bench("a")
    bench.cancels[0]()
    bench.cancels[0]()
    assert bench.outcomes == {1: Outcome(FutureState.CANCELLED)}
    assert bench.executor.cancelled == ["future_1", "future_1"]
    assert bench.executor.running == []


def test_cancelled_calls_may_run_on() -> None:
    """Rule 19: a tool may take its time to end."""
    bench = Bench("a", ends_when_cancelled=False)
    bench.cancels[0]()
    assert bench.executor.cancelled == ["future_1"]
    assert bench.outcomes == {}
    bench.executor.resolve("a", 1)
    assert bench.outcomes[1].state is FutureState.RESOLVED
