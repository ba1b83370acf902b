"""What each stream mode shows of calls that end in their step.

| statement of LangGraph on `ToolNode` | test |
|---|---|
| "updates": the node's output under its name | `test_updates` |
| "values": the state before and after | `test_values` |
| "messages": each answer, with the step's metadata | `test_messages` |
| "custom": what tools write | `test_custom` |
| "tools": start, deltas and end of each tool run | `test_tools` |
| ... errors of tools, handled or not | `test_tools_with_an_error` |
| ... calls side by side are told apart by id | `test_tools_side_by_side` |
| several modes at once | `test_several_modes` |
| events of `astream_events` | `test_events` |
| commands are shown as updates | `test_updates_of_a_command` |
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Annotated, Any

import pytest
from langchain_core.messages import ToolMessage
from langchain_core.tools import InjectedToolCallId, tool
from langgraph.config import get_stream_writer
from langgraph.prebuilt import ToolRuntime
from langgraph.types import Command

if TYPE_CHECKING:
    from tests.conformance.conftest import Ask, MakeNode, Mode


@tool
def add(a: int, b: int) -> int:
    """Add two numbers."""
    return a + b


@tool
def write(n: int, runtime: ToolRuntime[Any, Any]) -> str:
    """Write to the streams."""
    runtime.stream_writer({"n": n, "by": "runtime"})
    get_stream_writer()({"n": n, "by": "function"})
    runtime.emit_output_delta({"part": n})
    return f"wrote {n}"


@tool
def fail() -> str:
    """Fail."""
    raise ValueError("boom")


ADD = ("add", {"a": 1, "b": 2})
WRITE = ("write", {"n": 1})
THREE = ToolMessage("3", name="add", tool_call_id="1")
WROTE = ToolMessage("wrote 1", name="write", tool_call_id="2")


def _plain(message: Any) -> Any:
    """The message without the id that a reducer has set."""
    return message.model_copy(update={"id": None})


@pytest.fixture
def stream(make_node: MakeNode, mode: Mode, ask: Ask, graph_of: Any) -> Any:
    """Streams a graph with the node over some calls."""

    def run(*calls: Any, stream_mode: Any, **options: Any) -> list[Any]:
        graph = graph_of(make_node([add, write, fail, *options.pop("tools", ())], **options))
        return mode.stream(graph, {"messages": [ask(*calls)]}, stream_mode=stream_mode)

    return run


def test_updates(stream: Any) -> None:
    """One update with all answers."""
    [chunk] = stream(ADD, WRITE, stream_mode="updates")
    assert list(chunk) == ["tools"]
    assert list(chunk["tools"]) == ["messages"]
    assert [_plain(message) for message in chunk["tools"]["messages"]] == [THREE, WROTE]


def test_updates_of_a_command(stream: Any) -> None:
    """Each channel that a command updates stands beside the other answers."""

    @tool
    def command(tool_call_id: Annotated[str, InjectedToolCallId]) -> Command:
        """Command."""
        done = ToolMessage("done", tool_call_id=tool_call_id)
        return Command(update={"foo": 1, "messages": [done]})

    [chunk] = stream(ADD, ("command", {}), stream_mode="updates", tools=[command])
    first, second, third = chunk["tools"]
    assert [_plain(message) for message in first["messages"]] == [THREE]
    assert second == {"foo": 1}
    assert [_plain(message) for message in third["messages"]] == [
        ToolMessage("done", name="command", tool_call_id="2")
    ]


def test_values(stream: Any) -> None:
    """The state twice: as it came, and with all answers."""
    before, after = stream(ADD, WRITE, stream_mode="values")
    assert len(before["messages"]) == 1
    assert [_plain(message) for message in after["messages"][1:]] == [THREE, WROTE]


def test_messages(stream: Any) -> None:
    """Each answer once, in call order, from the node."""
    chunks = stream(ADD, WRITE, stream_mode="messages")
    assert [_plain(message) for message, _ in chunks] == [THREE, WROTE]
    assert {metadata["langgraph_node"] for _, metadata in chunks} == {"tools"}
    assert {metadata["langgraph_step"] for _, metadata in chunks} == {1}


def test_custom(stream: Any) -> None:
    """What is written comes in the order of writing."""
    assert stream(WRITE, ADD, stream_mode="custom") == [
        {"n": 1, "by": "runtime"},
        {"n": 1, "by": "function"},
    ]


def test_tools(stream: Any) -> None:
    """The life of a tool run."""
    *events, finished = stream(WRITE, stream_mode="tools")
    assert events == [
        {
            "event": "tool-started",
            "tool_call_id": "1",
            "tool_name": "write",
            "input": {"n": 1},
        },
        {"event": "tool-output-delta", "tool_call_id": "1", "delta": {"part": 1}},
    ]
    assert finished.keys() == {"event", "tool_call_id", "output"}
    assert (finished["event"], finished["tool_call_id"]) == ("tool-finished", "1")
    assert _plain(finished["output"]) == ToolMessage("wrote 1", name="write", tool_call_id="1")


def test_tools_with_an_error(stream: Any) -> None:
    """A handled error is shown as the tool's error."""
    events = stream(("fail", {}), stream_mode="tools", handle_tool_errors=True)
    assert events == [
        {"event": "tool-started", "tool_call_id": "1", "tool_name": "fail", "input": {}},
        {"event": "tool-error", "tool_call_id": "1", "message": "boom"},
    ]


def test_tools_side_by_side(stream: Any) -> None:
    """Each call has its events under its id."""
    events = stream(ADD, WRITE, ADD, stream_mode="tools")
    by_id: dict[str, list[str]] = {}
    for event in events:
        by_id.setdefault(event["tool_call_id"], []).append(event["event"])
    assert by_id == {
        "1": ["tool-started", "tool-finished"],
        "2": ["tool-started", "tool-output-delta", "tool-finished"],
        "3": ["tool-started", "tool-finished"],
    }


def test_several_modes(stream: Any) -> None:
    """Modes asked for together tell the same as alone, in the order of events."""
    chunks = stream(WRITE, stream_mode=["updates", "messages", "custom", "tools", "values"])
    assert [kind for kind, _ in chunks] == [
        "values",
        "tools",
        "custom",
        "custom",
        "tools",
        "tools",
        "messages",
        "updates",
        "values",
    ]


def test_events(make_node: MakeNode, ask: Ask, graph_of: Any) -> None:
    """`astream_events` shows a tool's run inside of the step's."""

    async def run() -> list[Any]:
        graph = graph_of(make_node([add]))
        return [e async for e in graph.astream_events({"messages": [ask(ADD)]}, version="v2")]

    events = asyncio.run(run())
    started = [e for e in events if e["event"] == "on_tool_start"]
    ended = [e for e in events if e["event"] == "on_tool_end"]
    assert [e["name"] for e in started] == ["add"]
    assert [e["data"]["input"] for e in started] == [{"a": 1, "b": 2}]
    assert [_plain(e["data"]["output"]) for e in ended] == [THREE]
    names = [(e["event"], e["name"]) for e in events if e["name"] in ("tools", "add")]
    assert names == [
        ("on_chain_start", "tools"),
        ("on_tool_start", "add"),
        ("on_tool_end", "add"),
        ("on_chain_stream", "tools"),
        ("on_chain_end", "tools"),
    ]
