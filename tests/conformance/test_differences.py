"""Where the two classes are meant to differ: what each does, side by side.

One test for each row, in this order.

| case | `ToolNode` | `AsyncFCToolNode` |
|---|---|---|
| coroutine tool under sync entry points | raises `NotImplementedError` | runs |
| unhandled error beside running calls, bare or in a graph | leaves them running | cancels and \
awaits them (rule 16) |
| a tool that raises `CancelledError` | fails the graph: `NodeCancelledError` | \
the call's error (rule 16) |
| a retry policy, for a call that failed | starts every call again | starts none again (rule 22) |
| a coroutine tool under a sync wrapper, in an async run | raises `NotImplementedError` | runs |
| `max_concurrency` of the config in async runs | ignored | honoured |
| two tools of one name | the last one wins | `ValueError` |
| a tool named like a control tool | an ordinary tool | `ValueError` |
| a string that looks like a reference | passed on | unknown: an error (rule 14) |
| ... with a backslash before it | passed on | passed on without the backslash |
| an argument `await_result` | the tool's business | the node's: the tool doesn't get it (rule 8) |
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest
from langchain_core.messages import ToolMessage
from langchain_core.tools import StructuredTool, tool
from langgraph.errors import NodeCancelledError
from langgraph.graph import START, MessagesState, StateGraph
from langgraph.runtime import Runtime
from langgraph.types import RetryPolicy

if TYPE_CHECKING:
    from tests.conformance.conftest import Ask, MakeNode, Mode, Way


@tool
async def later(x: int) -> str:
    """Answer from a coroutine."""
    await asyncio.sleep(0)
    return f"later {x}"


@tool
def echo(text: str) -> str:
    """Give the text back."""
    return text


def test_coroutine_tool_under_sync_entry_points(
    make_node: MakeNode, way: Way, asyncfc: bool
) -> None:
    """`ToolNode` has no event loop to run it in."""
    node = make_node([later])
    if way.mode.is_async or asyncfc:
        assert way.answer(node, ("later", {"x": 1})) == [
            ToolMessage("later 1", name="later", tool_call_id="1")
        ]
    else:
        with pytest.raises(NotImplementedError, match="does not support sync invocation"):
            way.answer(node, ("later", {"x": 1}))


@pytest.mark.parametrize("place", ["bare", "graph"])
def test_unhandled_error_and_its_siblings(
    make_node: MakeNode, ask: Ask, graph_of: Any, asyncfc: bool, place: str
) -> None:
    """What becomes of a call that runs while another one's error ends the step."""

    async def run() -> list[str]:
        log: list[str] = []
        started = asyncio.Event()

        @tool
        async def wait() -> str:
            """Wait until cancelled."""
            started.set()
            try:
                await asyncio.Event().wait()
            finally:
                await asyncio.sleep(0)
                log.append("cancelled and awaited")
            return "not reached"

        @tool
        async def fail() -> str:
            """Fail beside the other."""
            await started.wait()
            raise ValueError("boom")

        node: Any = make_node([wait, fail])
        if place == "graph":
            node = graph_of(node)
        runtime = {"configurable": {"__pregel_runtime": Runtime()}}
        value = {"messages": [ask(("wait", {}), ("fail", {}))]}
        answer = node.ainvoke(value, runtime if place == "bare" else None)
        with pytest.raises(ValueError, match="boom"):
            await asyncio.wait_for(answer, 3)  # the sibling alone would wait for ever
        return list(log)

    assert asyncio.run(run()) == (["cancelled and awaited"] if asyncfc else [])


def test_cancelled_error_of_a_tool(
    make_node: MakeNode, ask: Ask, graph_of: Any, asyncfc: bool
) -> None:
    """A tool that is cancelled from within has failed; nobody has cancelled the run."""

    @tool
    async def cancelled() -> str:
        """Raise what asyncio raises into cancelled tasks."""
        raise asyncio.CancelledError("by a library")

    graph = graph_of(make_node([cancelled, later], handle_tool_errors=True))
    value = {"messages": [ask(("cancelled", {}), ("later", {"x": 1}))]}

    async def run() -> Any:
        return await graph.ainvoke(value)

    if not asyncfc:
        with pytest.raises(NodeCancelledError):
            asyncio.run(run())
        return
    first, second = asyncio.run(run())["messages"][1:]
    assert (first.tool_call_id, first.status) == ("1", "error")
    assert second.content == "later 1"


def test_retry_policy(make_node: MakeNode, mode: Mode, ask: Ask, asyncfc: bool) -> None:
    """A call that isn't known to be idempotent is never started twice by a retry."""
    runs: list[int] = []

    @tool
    def flaky() -> str:
        """Fail once."""
        runs.append(1)
        if len(runs) == 1:
            raise ConnectionError("try again")
        return "there"

    builder = StateGraph(MessagesState)
    policy = RetryPolicy(initial_interval=0.0, jitter=False)
    builder.add_node("tools", make_node([flaky]), retry_policy=policy)
    builder.add_edge(START, "tools")
    value = {"messages": [ask(("flaky", {}))]}
    if asyncfc:
        with pytest.raises(ConnectionError):
            mode.call(builder.compile(), value)
        assert len(runs) == 1
    else:
        assert mode.call(builder.compile(), value)["messages"][-1].content == "there"
        assert len(runs) == 2


def test_coroutine_tool_under_a_sync_wrapper(
    make_node: MakeNode, async_way: Way, asyncfc: bool
) -> None:
    """`ToolNode` runs the sync wrapper, and with it the tool, in the event loop's thread."""
    node = make_node([later], wrap_tool_call=lambda request, execute: execute(request))
    if asyncfc:
        assert async_way.answer(node, ("later", {"x": 1}))[0].content == "later 1"
    else:
        with pytest.raises(NotImplementedError, match="does not support sync invocation"):
            async_way.answer(node, ("later", {"x": 1}))


def test_max_concurrency_in_async_runs(
    make_node: MakeNode, ask: Ask, graph_of: Any, asyncfc: bool
) -> None:
    """How many of three calls have started before any has ended."""

    async def run() -> list[str]:
        log: list[str] = []

        @tool
        async def work() -> str:
            """Let others go first."""
            log.append("start")
            for _ in range(5):
                await asyncio.sleep(0)
            log.append("end")
            return "done"

        message = ask(*[("work", {})] * 3)
        config = {"max_concurrency": 1}
        await graph_of(make_node([work])).ainvoke({"messages": [message]}, config)
        return log

    assert asyncio.run(run()) == (["start", "end"] * 3 if asyncfc else ["start"] * 3 + ["end"] * 3)


def test_two_tools_of_one_name(make_node: MakeNode, way: Way, asyncfc: bool) -> None:
    """A mistake that `ToolNode` doesn't see."""

    @tool("echo")
    def second(text: str) -> str:
        """Give the text back twice."""
        return text * 2

    if asyncfc:
        with pytest.raises(ValueError, match="echo"):
            make_node([echo, second])
    else:
        node = make_node([echo, second])
        assert way.answer(node, ("echo", {"text": "a"}))[0].content == "aa"


@pytest.mark.parametrize("name", ["await_future", "cancel_future"])
def test_tool_named_like_a_control_tool(
    make_node: MakeNode, way: Way, asyncfc: bool, name: str
) -> None:
    """Two names are taken."""
    control = tool(name)(echo.func)  # type: ignore[attr-defined]
    if asyncfc:
        with pytest.raises(ValueError, match=name):
            make_node([control])
    else:
        assert way.answer(make_node([control]), (name, {"text": "a"}))[0].content == "a"


def test_text_like_a_reference(make_node: MakeNode, way: Way, asyncfc: bool) -> None:
    """A whole argument `future_9` is a reference to a future that isn't there."""
    [answer] = way.answer(make_node([echo]), ("echo", {"text": "future_9"}))
    if asyncfc:
        assert answer.status == "error"
        assert "future_9" in answer.content
    else:
        assert answer == ToolMessage("future_9", name="echo", tool_call_id="1")


def test_escaped_text_like_a_reference(make_node: MakeNode, way: Way, asyncfc: bool) -> None:
    """A backslash makes it plain text."""
    [answer] = way.answer(make_node([echo]), ("echo", {"text": "\\future_9"}))
    text = "future_9" if asyncfc else "\\future_9"
    assert answer == ToolMessage(text, name="echo", tool_call_id="1")


@pytest.mark.parametrize("value", [True, "all"])
def test_await_result_argument(make_node: MakeNode, way: Way, asyncfc: bool, value: Any) -> None:
    """The argument that every tool of the asynchronous node takes is not the tool's."""
    show = StructuredTool(
        name="show",
        description="Show the arguments.",
        args_schema={"type": "object", "properties": {"n": {"type": "integer"}}},
        func=lambda **kwargs: repr(kwargs),
    )
    [answer] = way.answer(make_node([show]), ("show", {"n": 1, "await_result": value}))
    assert answer.content == repr({"n": 1} if asyncfc else {"n": 1, "await_result": value})
