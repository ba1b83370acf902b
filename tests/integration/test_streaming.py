"""What each stream shows of a call that runs in the background (rule 26).

| what happens | test |
|---|---|
| issued, delivered, failed, cancelled in messages and updates | `test_messages`, `test_updates` |
| runs and their ends in `"tools"` | `test_tools` |
| all of it in `"custom"` on request | `test_custom`, `test_custom_is_silent` |
| runs and their ends in `astream_events` | `test_events` |
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest
from langchain_core.messages import AIMessage, BaseMessage, ToolMessage
from langchain_core.tools import tool
from langgraph.config import get_config, get_stream_writer
from langgraph.graph import START, MessagesState, StateGraph

from langchain_asyncfc import AsyncFCToolNode, effects, tools_condition
from langchain_asyncfc.testing import ScriptedChatModel, call, in_virtual_time

Make = Callable[..., Any]


@effects()
@tool
async def slow(x: str) -> str:
    """Take a while, and say so."""
    get_stream_writer()({"progress": x, "future": get_config()["metadata"]["asyncfc_future"]})
    await asyncio.sleep(5)
    return f"slow {x}"


@effects()
@tool
async def bad(x: str) -> str:
    """Fail after a while."""
    await asyncio.sleep(2)
    msg = f"no {x}"
    raise ValueError(msg)


slow.handle_tool_error = bad.handle_tool_error = True

REPLIES = [
    AIMessage(
        "",
        tool_calls=[
            call("slow", "c1", x="a"),
            call("slow", "c2", x="b"),
            call("bad", "c3", x="c"),
            call("slow", "c4", x="future_3"),
        ],
    ),
    AIMessage("", tool_calls=[call("cancel_future", "c5", futures=["future_2"])]),
    "early",
    "done",
]
CALLS = {"future_1": "c1", "future_2": "c2", "future_3": "c3", "future_4": "c4"}
STATES = {
    "future_1": "resolved",
    "future_2": "cancelled",
    "future_3": "failed",
    "future_4": "skipped",
}


def node_agent(**options: Any) -> Any:
    """A graph with the node."""
    node = AsyncFCToolNode([slow, bad], handle_tool_errors=True, **options)
    model = ScriptedChatModel.replies(REPLIES, ttft=1.0)

    async def agent(state: MessagesState) -> Any:
        return {"messages": [await model.ainvoke(state["messages"])]}

    builder = StateGraph(MessagesState)
    builder.add_node("agent", agent)
    builder.add_node("tools", node)
    builder.add_edge(START, "agent")
    builder.add_conditional_edges("agent", tools_condition)
    builder.add_edge("tools", "agent")
    return builder.compile()


def middleware_agent(**options: Any) -> Any:
    """An agent with the middleware, and one that handles errors as the node does."""
    middleware = pytest.importorskip("langchain.agents.middleware", reason="needs langchain 1.4.6")
    if not hasattr(middleware, "ToolErrorMiddleware"):
        pytest.skip("needs langchain 1.4.6")
    from langchain.agents import create_agent

    from langchain_asyncfc import AsyncFCMiddleware

    return create_agent(
        ScriptedChatModel.replies(REPLIES, ttft=1.0),
        [slow, bad],
        middleware=[
            AsyncFCMiddleware(**options),
            middleware.ToolErrorMiddleware(on_error=lambda error, _: str(error)),
        ],
    )


@pytest.fixture(params=[node_agent, middleware_agent], ids=["node", "middleware"])
def make(request: pytest.FixtureRequest) -> Make:
    """Makes the agent."""
    made: Make = request.param
    return made


def go() -> Any:
    """The input of a run."""
    return {"messages": [("human", "go")]}


async def stream(agent: Any, mode: str) -> list[Any]:
    """All that a stream shows."""
    return [shown async for shown in agent.astream(go(), stream_mode=mode)]


def records(messages: list[BaseMessage]) -> list[tuple[str, str]]:
    """The futures that messages tell of, each with its state, in order."""
    told: list[tuple[str, str]] = []
    for message in messages:
        record = message.additional_kwargs.get("asyncfc", {})
        if "future" in record:
            told.append((record["future"], record["state"]))
        told += [(f, r["state"]) for f, r in record.get("delivered", {}).items()]
    return told


def check(told: list[tuple[str, str]]) -> None:
    """Every future is shown once as pending and once with its outcome, in this order."""
    assert Counter(told) == Counter([*((future, "pending") for future in CALLS), *STATES.items()])
    for future, state in STATES.items():
        assert told.index((future, "pending")) < told.index((future, state))


@pytest.mark.parametrize("delivery", ["in_place", "append"])
@in_virtual_time
async def test_messages(make: Make, delivery: str) -> None:
    """`"messages"`: each placeholder once, and each outcome once, with the future's id."""
    shown = [message for message, _ in await stream(make(delivery=delivery), "messages")]
    check(records([m for m in shown if isinstance(m, ToolMessage)]))


@pytest.mark.parametrize("delivery", ["in_place", "append"])
@in_virtual_time
async def test_updates(make: Make, delivery: str) -> None:
    """`"updates"`: the same as updates of the state."""
    updates = await stream(make(delivery=delivery), "updates")
    parts = [part for update in updates for part in update.values()]
    flat = [p for part in parts for p in (part if isinstance(part, list) else [part]) if p]
    messages = [m for part in flat for m in part.get("messages", ())]
    check(records([m for m in messages if isinstance(m, ToolMessage)]))


@pytest.mark.needs_langgraph("1.2")
@in_virtual_time
async def test_tools(make: Make) -> None:
    """`"tools"`: each run starts once and ends once, by the id of its call."""
    shown = await stream(make(), "tools")
    told = Counter((told["event"], told["tool_call_id"]) for told in shown)
    assert set(told.values()) == {1}
    assert {i for event, i in told if event == "tool-started"} == {"c1", "c2", "c3"}
    assert ("tool-finished", "c1") in told
    assert ("tool-error", "c2") in told
    assert ("tool-error", "c3") in told


@in_virtual_time
async def test_custom(make: Make) -> None:
    """`"custom"` on request: the whole life of each future, once and in order."""
    shown = await stream(make(stream_events=True), "custom")
    ours = [told for told in shown if told.get("type") == "asyncfc"]
    assert all(told["tool_call_id"] == CALLS[told["future"]] for told in ours)
    lives: dict[str, list[str]] = {}
    for told in shown:
        lives.setdefault(told["future"], []).append(told.get("event", "progress"))
    assert lives == {
        "future_1": ["issued", "running", "progress", "resolved", "delivered"],
        "future_2": ["issued", "running", "progress", "cancelled", "delivered"],
        "future_3": ["issued", "running", "failed", "delivered"],
        "future_4": ["issued", "skipped", "delivered"],
    }
    (failed,) = [told for told in ours if told["event"] == "failed"]
    assert "no c" in failed["note"]


@in_virtual_time
async def test_custom_is_silent(make: Make) -> None:
    """Without asking for it, `"custom"` shows only what the tools write."""
    shown = await stream(make(), "custom")
    assert [told["progress"] for told in shown] == ["a", "b"]


@in_virtual_time
async def test_events(make: Make) -> None:
    """`astream_events`: each tool's run starts and ends once, with the future's id."""
    told = Counter(
        [
            (event["event"], event["metadata"]["asyncfc_future"])
            async for event in make().astream_events(go(), version="v2")
            if event["event"].startswith("on_tool")
        ]
    )
    assert told == Counter(
        [
            *(("on_tool_start", future) for future in ("future_1", "future_2", "future_3")),
            ("on_tool_end", "future_1"),
            ("on_tool_error", "future_2"),
            ("on_tool_error", "future_3"),
        ]
    )


def test_threads() -> None:
    """Under `stream` the same is told, from the threads in which the tools run."""

    @effects()
    @tool
    def threaded(x: str) -> str:
        """Answer from a thread."""
        get_stream_writer()({"progress": x})
        return x

    node = AsyncFCToolNode([threaded], stream_events=True)
    model = ScriptedChatModel.replies(
        [AIMessage("", tool_calls=[call("threaded", "c1", x="a", await_result=True)]), "done"]
    )
    builder = StateGraph(MessagesState)
    builder.add_node("agent", lambda state: {"messages": [model.invoke(state["messages"])]})
    builder.add_node("tools", node)
    builder.add_edge(START, "agent")
    builder.add_conditional_edges("agent", tools_condition)
    builder.add_edge("tools", "agent")
    shown = list(builder.compile().stream(go(), stream_mode="custom"))
    assert [told.get("event", "progress") for told in shown] == [
        "issued",
        "running",
        "progress",
        "resolved",
        "delivered",
    ]
