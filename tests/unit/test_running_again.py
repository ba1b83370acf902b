"""Tests of calls that run in the foreground of a step, and of their time limits."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from typing import Any

import pytest
from langchain_core.messages import ToolCall, ToolMessage
from langchain_core.runnables import RunnableConfig, RunnableLambda
from langchain_core.tools import BaseTool
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.graph import START, MessagesState, StateGraph
from langgraph.prebuilt.tool_node import ToolCallRequest, ToolRuntime
from langgraph.types import Command, interrupt

from langchain_asyncfc.calls import read_call
from langchain_asyncfc.effects import Effects
from langchain_asyncfc.executors import worker_pool
from langchain_asyncfc.futures import FutureState, Outcome
from langchain_asyncfc.invocations import Invocation
from langchain_asyncfc.keeping import RECORD, Kept, outcome_of
from langchain_asyncfc.running_again import RunAgain, run_again
from langchain_asyncfc.testing import run_virtual
from langchain_asyncfc.toolbox import ToolFacts
from tests.integration.conftest import PATIENCE, declared

ON: RunnableConfig = {"configurable": {"thread_id": "t"}}
ENDED = "Tool 'pay' was ended after its timeout of {:g} seconds."


class Pay:
    """A tool.

    Attributes:
        log: What it did, in order; first the name of its thread.
    """

    def __init__(self, act: Callable[[], Any], aact: Callable[[], Any] | None = None) -> None:
        self.log: list[str] = []
        self._act, self._aact = act, aact

    def tool(self) -> BaseTool:
        """The tool."""

        def run() -> str:
            self.log.append(threading.current_thread().name)
            result = self._act()
            self.log.append("end")
            return str(result)

        async def arun() -> str:
            self.log.append(threading.current_thread().name)
            try:
                result = self._act() if self._aact is None else await self._aact()
            except asyncio.CancelledError:
                self.log.append("cancelled")
                raise
            self.log.append("end")
            return str(result)

        return declared(run, arun, "pay", Effects(), {})


def execute(request: ToolCallRequest) -> Any:
    """Run a tool in a thread, as `ToolNode` does."""
    return request.tool.invoke(request.tool_call, request.runtime.config)


async def aexecute(request: ToolCallRequest) -> Any:
    """Run a tool on an event loop, as `ToolNode` does."""
    return await request.tool.ainvoke(request.tool_call, request.runtime.config)


class Case:
    """A graph whose only step runs one call, in a thread or on an event loop.

    Attributes:
        ended: What is kept of the call, and its outcome as it is, when it has ended.
        graph: The graph.
    """

    def __init__(
        self, tool: BaseTool, limit: float | None, *, is_async: bool, run_by: Any = None
    ) -> None:
        self.is_async = is_async
        self.ended: list[tuple[Kept, Outcome | None]] = []
        tool_call = ToolCall(name="pay", args={}, id="c1", type="tool_call")
        call = read_call(1, tool_call, ToolFacts(tool, Effects(), timeout=limit))
        run_by = run_by or (aexecute if is_async else execute)

        def made(config: RunnableConfig) -> RunAgain:
            runtime: Any = ToolRuntime({}, None, config, print, "c1", None)
            request = ToolCallRequest(tool_call, tool, {}, runtime)
            invocation = Invocation(request, run_by, None, False, tool=tool)
            return RunAgain(call, tool_call, invocation, None)

        def step(state: MessagesState, config: RunnableConfig) -> None:
            again = made(config)
            self.ended.append((again.run(), again.outcome))

        async def astep(state: MessagesState, config: RunnableConfig) -> None:
            again = made(config)
            self.ended.append((await again.arun(), again.outcome))

        builder = StateGraph(MessagesState)
        builder.add_node("step", RunnableLambda(step, astep))
        builder.add_edge(START, "step")
        self.graph = builder.compile(checkpointer=InMemorySaver())

    async def arun(self, value: Any = None) -> None:
        """Run it on this event loop."""
        await self.graph.ainvoke(value or {"messages": []}, ON)

    def run(self, value: Any = None) -> Outcome | None:
        """Run it; the outcome, which is as what is kept says, or `None` where there is none."""
        if self.is_async:
            run_virtual(self.arun(value))
        else:
            self.graph.invoke(value or {"messages": []}, ON)
        return self.outcome()

    def outcome(self) -> Outcome | None:
        """What the call came to; `None` if it did not end."""
        if not self.ended:
            return None
        ((kept, outcome),) = self.ended
        assert outcome is not None
        assert outcome_of(kept[RECORD], "c1") == outcome
        return outcome


@pytest.fixture(params=[True, False], ids=["async", "sync"])
def is_async(request: pytest.FixtureRequest) -> bool:
    """In threads and on event loops."""
    return request.param


@pytest.mark.parametrize("limit", [None, 1000.0])
def test_a_call_in_time(is_async: bool, limit: float | None) -> None:
    """It comes to its value; where there is a limit, in a thread that can be left behind."""
    pay = Pay(lambda: "paid")
    assert Case(pay.tool(), limit, is_async=is_async).run() == Outcome(
        FutureState.RESOLVED, "paid", ToolMessage("paid", name="pay", tool_call_id="c1")
    )
    in_worker = limit is not None and not is_async
    assert pay.log == ["asyncfc-worker" if in_worker else "MainThread", "end"]


@pytest.mark.parametrize("limit", [None, 1000.0])
def test_a_call_asks(is_async: bool, limit: float | None) -> None:
    """Rule 20: it can ask in the step, with a limit or without, and goes on with the answer."""
    pay = Pay(lambda: interrupt("how much?"))
    case = Case(pay.tool(), limit, is_async=is_async)
    assert case.run() is None
    assert [i.value for i in case.graph.get_state(ON).interrupts] == ["how much?"]
    outcome = case.run(Command(resume="3"))
    assert outcome is not None
    assert (outcome.state, outcome.value) == (FutureState.RESOLVED, "3")
    assert pay.log.count("end") == 1


@pytest.mark.parametrize("limit", [None, 1000.0])
def test_an_error_is_raised(is_async: bool, limit: float | None) -> None:
    """Rule 16: as `ToolNode` raises it; there is no outcome."""

    def act() -> str:
        raise ZeroDivisionError("no money")

    case = Case(Pay(act).tool(), limit, is_async=is_async)
    with pytest.raises(ZeroDivisionError, match="no money"):
        case.run()
    assert case.ended == []


def test_a_thread_is_left_when_its_time_is_over() -> None:
    """Rule 18: a sync tool that does not end has failed, and the step goes on."""
    go = threading.Event()

    def act() -> str:
        assert go.wait(PATIENCE)
        return "late"

    case = Case(Pay(act).tool(), 0.001, is_async=False)
    try:
        assert case.run() == Outcome(FutureState.FAILED, note=ENDED.format(0.001))
    finally:
        go.set()
    worker_pool().rest(PATIENCE)
    assert len(case.ended) == 1  # what it returns late is dropped


@pytest.mark.parametrize("of_tool", [True, False])
def test_a_call_is_cancelled_when_its_time_is_over(of_tool: bool) -> None:
    """Rule 18: it ends exactly then, be it in its tool or in what runs around that."""
    pay = Pay(lambda: "", lambda: asyncio.sleep(3600, "late"))

    async def never(request: ToolCallRequest) -> Any:
        try:
            await asyncio.sleep(3600)
        finally:
            pay.log.append("never came to the tool")

    case = Case(pay.tool(), 30.0, is_async=True, run_by=None if of_tool else never)

    async def timed() -> float:
        loop = asyncio.get_running_loop()
        begin = loop.time()
        await case.arun()
        return loop.time() - begin

    assert run_virtual(timed()) == pytest.approx(30.0)
    assert case.outcome() == Outcome(FutureState.FAILED, note=ENDED.format(30))
    assert pay.log == (["MainThread", "cancelled"] if of_tool else ["never came to the tool"])


def test_cancelling_the_step_is_no_time_limit() -> None:
    """Rule 19: who cancels the run cancels the call, which comes to nothing."""
    pay = Pay(lambda: "", lambda: asyncio.sleep(3600))
    case = Case(pay.tool(), 1000.0, is_async=True)

    async def cancelled() -> None:
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(case.arun(), 10)

    run_virtual(cancelled())
    assert pay.log == ["MainThread", "cancelled"]
    assert case.ended == []


def test_nothing_to_run() -> None:
    """No task is begun for no calls."""
    with pytest.raises(StopIteration) as stop:
        next(run_again([]))
    assert stop.value.value == []
