"""Eager start where nodes, graphs, threads and runs are not as plain as one agent with one node."""

from __future__ import annotations

import asyncio
import copy
from collections.abc import Callable
from typing import Any

import pytest
from langchain_core.callbacks import BaseCallbackHandler
from langchain_core.messages import AIMessage, HumanMessage
from langchain_core.tools import tool
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.graph import START, MessagesState, StateGraph
from langgraph.types import Send

from langchain_asyncfc import AsyncFCToolNode, Effects, effects, tools_condition
from langchain_asyncfc.executors import worker_pool
from langchain_asyncfc.testing import ScriptedChatModel, call, in_virtual_time
from tests.integration.eager_agents import PACE, Clocked, make_graph, wired

THREAD: Any = {"configurable": {"thread_id": "t"}}


def go() -> Any:
    """A new message."""
    return {"messages": [HumanMessage("go")]}


def ask(*calls: Any) -> AIMessage:
    """The model's message that makes these calls."""
    return AIMessage("", tool_calls=list(calls))


TWO = ask(call("look", "a", x=1), call("look", "b", x=2))


@pytest.fixture
def clocked() -> Clocked:
    """Makes tools that write down when they run."""
    return Clocked()


def build(
    tools: Any,
    bound: Any,
    *,
    think: Callable[[Any], Any] | None = None,
    route: Callable[[Any], Any] = tools_condition,
    checkpointer: Any = None,
) -> Any:
    """An agent of any model's step and any tools' step."""

    async def call_model(state: MessagesState) -> Any:
        return {"messages": [await bound.ainvoke(state["messages"])]}

    return wired(think or call_model, tools, route=route, checkpointer=checkpointer)


@in_virtual_time
async def test_a_model_call_that_its_node_gives_up_ends_its_calls(clocked: Clocked) -> None:
    """LangChain tells of no end when `ainvoke` is cancelled, as by a timeout in the node."""
    node = AsyncFCToolNode([clocked.tool("look", 50.0)])
    bound = node.eager(ScriptedChatModel.replies([TWO], **PACE)).bind_tools(node.model_tools)

    async def think(state: MessagesState) -> Any:
        try:
            async with asyncio.timeout(4.5):
                said = await bound.ainvoke(state["messages"])
        except TimeoutError:
            await asyncio.sleep(20)
            said = AIMessage("later")
        return {"messages": [said]}

    await build(node, bound, think=think).ainvoke(go())
    assert clocked.log == [("look(1) starts", 3.0), ("look(1) cancelled", 4.5)]


@pytest.mark.parametrize("how", ["wrapper", "limit"])
@in_virtual_time
async def test_another_node_does_not_take_up_what_this_one_began(
    clocked: Clocked, how: str
) -> None:
    """What a node issues runs as that node says: behind its wrapper, within its limit."""
    look = clocked.tool("look", 5.0)
    seen: list[int] = []

    async def wrap(request: Any, execute: Any) -> Any:
        seen.append(request.tool_call["args"]["x"])
        return await execute(request)

    options: Any = {"awrap_tool_call": wrap} if how == "wrapper" else {"max_concurrency": 1}
    one, two = AsyncFCToolNode([look]), AsyncFCToolNode([look], grace=60, **options)
    model = ScriptedChatModel.replies([TWO, "done"], **PACE)
    await build(two, one.eager(model).bind_tools(one.model_tools)).ainvoke(go())
    second = 5.0 if how == "wrapper" else 10.0
    assert clocked.starts()[-2:] == [("look(1)", 5.0), ("look(2)", second)]
    assert seen == ([1, 2] if how == "wrapper" else [])


@in_virtual_time
async def test_tools_in_a_subgraph_are_not_begun_above_it_again(clocked: Clocked) -> None:
    """Its calls belong to another run than the model's; known from its second message on."""
    node = AsyncFCToolNode([clocked.tool("look", 1.0)], grace=60)
    turns = [TWO, ask(call("look", "c", x=3), call("look", "d", x=4)), "done"]
    inner = StateGraph(MessagesState)
    inner.add_node("tools", node)
    inner.add_edge(START, "tools")
    bound = node.eager(ScriptedChatModel.replies(turns, **PACE)).bind_tools(node.model_tools)
    final = await build(inner.compile(), bound).ainvoke(go())
    told = [m.text for m in final["messages"] if m.type == "tool"]
    assert told == [f"look of {n}" for n in (1, 2, 3, 4)]
    assert sorted(what for what, _ in clocked.starts()).count("look(3)") == 1


@in_virtual_time
async def test_calls_that_are_sent_to_tasks_of_their_own_are_taken_up(clocked: Clocked) -> None:
    """As those of one step are."""
    node = AsyncFCToolNode([clocked.tool("look", 5.0)], grace=60)
    message = ask(*TWO.tool_calls, call("look", "c", x=3))
    bound = node.eager(ScriptedChatModel.replies([message, "done"], **PACE))

    def split(state: MessagesState) -> Any:
        calls = getattr(state["messages"][-1], "tool_calls", None)
        if tools_condition(state) != "tools" or not calls:
            return tools_condition(state)
        given = {"__type": "tool_call_with_context", "state": state}
        return [Send("tools", {**given, "tool_call": each}) for each in calls]

    final = await build(node, bound.bind_tools(node.model_tools), route=split).ainvoke(go())
    told = [m.text for m in final["messages"] if m.type == "tool"]
    assert told == [f"look of {n}" for n in (1, 2, 3)]
    assert clocked.starts() == [("look(1)", 3.0), ("look(2)", 5.0), ("look(3)", 7.0)]


@in_virtual_time
async def test_nothing_starts_early_before_what_a_crash_left_is_taken_up(clocked: Clocked) -> None:
    """A reader would find what the writer that was killed has not written again."""
    write = clocked.tool("write", 20.0)
    look = clocked.tool("look", 1.0)
    node = AsyncFCToolNode(
        [write, look],
        grace=0,
        effects={
            "write": Effects(writes="fs:a", idempotent=True),
            "look": Effects(reads="fs:a"),
        },
    )
    turns = [ask(call("write", x=1)), TWO, TWO, "done", "done", "done"]
    graph = make_graph(ScriptedChatModel.replies(turns, **PACE), node, checkpointer=InMemorySaver())
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(graph.ainvoke(go(), THREAD, durability="sync"), 5.0)
    clocked.log.clear()
    await graph.ainvoke(None, THREAD)
    written = next(at for what, at in clocked.log if what == "write(1) ends")
    assert [what for what, _ in clocked.starts()] == ["write(1)", "look(1)", "look(2)"]
    assert all(at >= written for what, at in clocked.starts() if what.startswith("look"))


@in_virtual_time
async def test_ids_in_traces_are_those_of_the_whole_thread(clocked: Clocked) -> None:
    """Also where the model is sent less than that."""
    told: list[str] = []

    class Tracer(BaseCallbackHandler):
        run_inline = True

        def on_tool_start(self, *args: Any, **kwargs: Any) -> None:
            told.append(kwargs["metadata"]["asyncfc_future"])

    node = AsyncFCToolNode([clocked.tool("look", 1.0)], grace=60)
    turns = [TWO, "done", ask(call("look", "c", x=3), call("look", "d", x=4)), "done"]
    bound = node.eager(ScriptedChatModel.replies(turns, **PACE)).bind_tools(node.model_tools)

    async def think(state: MessagesState) -> Any:
        last = max(n for n, m in enumerate(state["messages"]) if m.type == "human")
        return {"messages": [await bound.ainvoke(state["messages"][last:])]}

    graph = build(node, bound, think=think, checkpointer=InMemorySaver())
    for _ in range(2):
        await graph.ainvoke(go(), {**THREAD, "callbacks": [Tracer()]})
    assert told == ["future_1", "future_2", "future_3", "future_4"]


@in_virtual_time
async def test_words_of_a_model_in_a_tool_are_the_tools(clocked: Clocked) -> None:
    """Who shows the agent's words by the name of its node does not show those."""
    shown = []
    for eager in (True, False):
        inner = ScriptedChatModel.replies(["inner words"] * 2, **PACE)

        @effects()
        @tool
        async def look(x: int) -> str:
            """Look."""
            return (await inner.ainvoke("summarise")).text  # noqa: B023 - it is run in this round

        model = ScriptedChatModel.replies([TWO, "done"], **PACE)
        graph = make_graph(model, AsyncFCToolNode([look], grace=60), eager=eager)
        stream = graph.astream(go(), stream_mode="messages")
        shown.append({(chunk.text, meta["langgraph_node"]) async for chunk, meta in stream})
    assert shown[0] == shown[1]


def test_calls_in_threads_do_not_wait_for_themselves() -> None:
    """A call may be issued before the thread of its early run comes to the tool."""

    @effects()
    @tool
    def look(x: int) -> int:
        """Look."""
        return x

    calls = ask(*(call("look", x=n) for n in range(60)))
    graph = make_graph(
        ScriptedChatModel.replies([calls, "done"]), AsyncFCToolNode([look], grace=60)
    )
    final = graph.invoke(go())
    assert [m.text for m in final["messages"] if m.type == "tool"] == [str(n) for n in range(60)]
    assert worker_pool().rest(10) == 0


def test_a_watched_model_can_be_copied(clocked: Clocked) -> None:
    """As the model itself can; what watches it stays the same."""
    watched = AsyncFCToolNode([clocked.tool("look")]).eager(ScriptedChatModel(policy=len))
    assert copy.deepcopy(watched).callbacks == watched.callbacks
