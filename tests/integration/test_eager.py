"""Eager start in graphs: when calls start, and that nothing else differs."""

from __future__ import annotations

import asyncio
import gc
import threading
from collections.abc import Sequence
from typing import Any

import pytest
from langchain_core.callbacks import BaseCallbackHandler
from langchain_core.messages import AIMessage, BaseMessage, HumanMessage, ToolMessage
from langchain_core.runnables import RunnableLambda
from langchain_core.tools import ToolException, tool
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.config import get_stream_writer
from langgraph.graph import START, MessagesState, StateGraph
from langgraph.types import Command, interrupt

from langchain_asyncfc import AsyncFCToolNode, Effects, effects
from langchain_asyncfc.testing import (
    ManualExecutor,
    ScriptedChatModel,
    call,
    in_virtual_time,
    run_virtual,
)
from langchain_asyncfc.timeline import Timeline
from tests.integration.eager_agents import PACE, Clocked, Cut, CutModel, make_graph, talk, wired

THREAD = {"configurable": {"thread_id": "t"}}


def ask(*calls: Any) -> AIMessage:
    """The model's message that makes these calls; a name and an argument take a second each."""
    return AIMessage("", tool_calls=list(calls))


def plain(messages: Sequence[BaseMessage]) -> list[tuple[Any, ...]]:
    """What a model sees of messages, without the ids of calls that the runtime makes."""
    return [
        (
            m.type,
            m.content,
            [(c["name"], c["args"]) for c in getattr(m, "tool_calls", ())],
            getattr(m, "status", None),
        )
        for m in messages
    ]


@pytest.fixture
def clocked() -> Clocked:
    """Makes tools that write down when they run."""
    return Clocked()


# -- when calls start ------------------------------------------------------------------------------


@in_virtual_time
async def test_calls_start_when_they_are_written(clocked: Clocked) -> None:
    """Each call starts when its arguments are complete, not when the message is."""
    look = clocked.tool("look")
    await talk([look], [ask(call("look", x=1), call("look", x=2), call("look", x=3))])
    assert clocked.starts() == [("look(1)", 3.0), ("look(2)", 5.0), ("look(3)", 7.0)]


@in_virtual_time
async def test_without_eager_start_calls_start_with_the_step(clocked: Clocked) -> None:
    """It is off by default."""
    look = clocked.tool("look")
    calls = ask(call("look", x=1), call("look", x=2))
    await talk([look], [calls], graph={"eager": False})
    assert clocked.starts() == [("look(1)", 5.0), ("look(2)", 5.0)]


@in_virtual_time
async def test_a_call_that_has_ended_needs_no_placeholder(clocked: Clocked) -> None:
    """What ended while the message was written is answered with its result at once."""
    look = clocked.tool("look", 1.5)
    messages = await talk([look], [ask(call("look", x=1), call("look", x=2))], grace=0.6)
    assert clocked.starts() == [("look(1)", 3.0), ("look(2)", 5.0)]
    assert messages[2].text == "look of 1"
    assert "asyncfc" not in messages[2].additional_kwargs


FS = Effects(reads="fs:{x}")


@pytest.mark.parametrize(
    ("tools", "calls", "starts"),
    [
        (
            {"write": Effects(writes="fs:{x}")},
            [call("write", x="a"), call("write", x="b")],
            [("write(a)", 5.0), ("write(b)", 5.0)],
        ),
        ({"any": None}, [call("any", x=1), call("any", x=2)], [("any(1)", 5.0), ("any(2)", 5.0)]),
        (
            {"look": Effects(fence=True)},
            [call("look", x=1), call("look", x=2)],
            [("look(1)", 5.0), ("look(2)", 10.0)],
        ),
        (
            {"look": FS, "write": Effects(writes="fs:{x}")},
            [call("write", x="a"), call("look", x="a"), call("look", x="b"), call("write", x="c")],
            [("look(b)", 7.0), ("write(a)", 9.0), ("write(c)", 9.0), ("look(a)", 14.0)],
        ),
        (
            {"look": FS, "any": None},
            [call("any", x="a"), call("look", x="a"), call("look", x="b")],
            [("look(a)", 5.0), ("look(b)", 7.0), ("any(a)", 7.0)],
        ),
        (
            {"look": FS},
            [call("look", x="a"), call("look", x="future_1"), call("look", x="c")],
            [("look(a)", 3.0), ("look(c)", 7.0), ("look(look of a)", 8.0)],
        ),
        (
            {"look": FS},
            [call("look", x="a"), call("look", x="a"), call("look", x="b")],
            [("look(a)", 3.0), ("look(b)", 7.0)],
        ),
    ],
)
@in_virtual_time
async def test_what_starts_early_in_a_message(
    clocked: Clocked, tools: dict[str, Effects | None], calls: list[Any], starts: list[Any]
) -> None:
    """Writers, fences and what is undeclared do not, nor what waits, refers or joins."""
    made = [clocked.tool(name, does=does) for name, does in tools.items()]
    await talk(made, [ask(*calls)], grace=0)
    assert clocked.starts() == starts


@pytest.mark.parametrize(
    ("earlier", "start"),
    [
        (Effects(writes="fs:a"), 23.0),
        (Effects(writes="fs:"), 23.0),
        (None, 23.0),
        (Effects(writes="fs:b"), 6.0),
        (Effects(reads="fs:a"), 6.0),
    ],
)
@in_virtual_time
async def test_what_waits_for_an_earlier_message_is_not_early(
    clocked: Clocked, earlier: Effects | None, start: float
) -> None:
    """A call that has to wait for an unfinished call starts when that has ended."""
    tools = [clocked.tool("first", 20.0, does=earlier), clocked.tool("look", does=FS)]
    second = ask(call("look", x="a"), call("look", x="z"), call("look", x="zz"))
    await talk(tools, [ask(call("first")), second], grace=0)
    assert dict(clocked.starts())["look(a)"] == start


@in_virtual_time
async def test_what_would_join_an_unfinished_call_does_not_start(clocked: Clocked) -> None:
    """An identical call of an earlier message runs; the later one gets its outcome (rule 15)."""
    look = clocked.tool("look", 9.0)
    messages = await talk(
        [look], [ask(call("look", x=1)), ask(call("look", x=1), call("look", x=2))], grace=0
    )
    assert [name for name, _ in clocked.starts()] == ["look(1)", "look(2)"]
    assert [m.text for m in messages if isinstance(m, ToolMessage)][:2] == ["look of 1"] * 2


@in_virtual_time
async def test_a_later_writer_of_the_message_waits_for_a_reader_that_runs(clocked: Clocked) -> None:
    """What started early stands in the order like any call (WAR)."""
    tools = [clocked.tool("look", 9.0, does=FS), clocked.tool("write", does=Effects(writes="fs:"))]
    await talk(tools, [ask(call("look", x="a"), call("write"))], grace=0)
    assert clocked.starts() == [("look(a)", 3.0), ("write(None)", 12.0)]


@pytest.mark.parametrize(
    ("config", "options"),
    [
        ({"configurable": {"asyncfc": False}}, {}),
        ({"max_concurrency": 5}, {}),
        ({}, {"max_concurrency": 5}),
    ],
)
@in_virtual_time
async def test_runs_in_which_nothing_starts_early(
    clocked: Clocked, config: Any, options: dict[str, Any]
) -> None:
    """With futures off, or a limit of calls that run at once."""
    look = clocked.tool("look")
    await talk([look], [ask(call("look", x=1), call("look", x=2))], config=config, **options)
    assert clocked.starts() == [("look(1)", 5.0), ("look(2)", 5.0)]


@in_virtual_time
async def test_a_model_that_does_not_stream_is_as_before(clocked: Clocked) -> None:
    """Where no chunk comes, calls start with the step."""
    look = clocked.tool("look")
    node = AsyncFCToolNode([look])
    model = ScriptedChatModel.replies(
        [ask(call("look", x=1), call("look", x=2)), "wait", "done"], disable_streaming=True, **PACE
    )
    await make_graph(model, node).ainvoke({"messages": [HumanMessage("go")]})
    assert clocked.starts() == [("look(1)", 5.0), ("look(2)", 5.0)]


@in_virtual_time
async def test_a_detaching_node_starts_early_once_a_step_was_there(clocked: Clocked) -> None:
    """What an earlier run left is known then, and not before."""
    look = clocked.tool("look", 1.0)
    expected = [("look(1)", 5.0), ("look(2)", 5.0), ("look(3)", 9.0), ("look(4)", 11.0)]
    two = [ask(call("look", x=n), call("look", x=n + 1)) for n in (1, 3)]
    await talk([look], two, on_final="detach", grace=2)
    assert clocked.starts() == expected


# -- nothing else differs --------------------------------------------------------------------------


def _both(tools: Any, replies: Any, **options: Any) -> list[list[BaseMessage]]:
    """The messages of the same talk with eager start and without."""
    return [
        run_virtual(talk(tools, replies, graph={"eager": eager}, **options))
        for eager in (True, False)
    ]


@pytest.mark.parametrize("grace", [0, 60])
def test_messages_are_the_same(clocked: Clocked, grace: float) -> None:
    """Final messages, with usage, are those of a run without eager start."""
    tools = [clocked.tool("look"), clocked.tool("write", does=Effects(writes="/"))]
    calls = [call("look", x=1), call("write", x=2), call("look", x=[{"a": "}"}])]
    eager, late = _both(tools, [ask(*calls)], grace=grace)
    assert plain(eager) == plain(late)
    assert [getattr(m, "usage_metadata", 0) for m in eager] == [
        getattr(m, "usage_metadata", 0) for m in late
    ]


@pytest.mark.parametrize("grace", [0, 60])
@pytest.mark.parametrize("handler", [True, "a text", lambda e: f"handled {e}"])
@pytest.mark.parametrize("error", [ValueError("broken"), ToolException("own")])
def test_errors_are_handled_as_in_the_step(
    clocked: Clocked, error: Exception, handler: Any, grace: float
) -> None:
    """An error of a call that started early has the same text and status (rule 16)."""
    look = clocked.tool("look", 0.5, error=error)
    calls = ask(call("look", x=1), call("look", x=2))
    eager, late = _both([look], [calls], grace=grace, handle_tool_errors=handler)
    assert plain(eager) == plain(late)
    assert clocked.starts()[0][1] == 3.0
    assert any(m.status == "error" for m in eager if isinstance(m, ToolMessage))


def test_arguments_that_do_not_fit_are_told_as_in_the_step() -> None:
    """A validation error of a call that started early reads the same."""

    @effects()
    @tool
    async def count(n: int) -> int:
        """Count."""
        return n

    calls = ask(call("count", n="many"), call("count", n=2))
    eager, late = _both([count], [calls], grace=1)
    assert plain(eager) == plain(late)
    assert "valid integer" in eager[2].text


@in_virtual_time
async def test_an_error_that_the_graph_raises_comes_with_the_step(clocked: Clocked) -> None:
    """It does not disturb the model's stream, and is raised at the turn boundary."""
    look = clocked.tool("look", 0.5, error=ValueError("broken"))
    other = clocked.tool("other", 50.0)
    calls = ask(call("look", x=1), call("other", x=2), call("other", x=3))
    with pytest.raises(ValueError, match="broken"):
        await talk([look, other], [calls], handle_tool_errors=False)
    assert ("other(2) cancelled", 7.0) in clocked.log
    assert asyncio.get_running_loop().time() == 7.0


def test_values_keep_their_type(clocked: Clocked) -> None:
    """A reference gets what the tool returned, not the text of its message (rule 2)."""
    value = {"items": [1.5]}
    make, use = clocked.tool("make", gives=lambda _: value), clocked.tool("use", gives=repr)
    calls = ask(call("make"), call("use", x="future_1.items"))
    eager, late = _both([make, use], [calls], grace=60)
    assert plain(eager) == plain(late)
    assert eager[3].text == "[1.5]"


def test_commands_and_artifacts(clocked: Clocked) -> None:
    """A `Command` updates the state at delivery, and an artifact is kept (rule 25)."""

    def command(x: Any) -> Any:
        return Command(update={"messages": [ToolMessage(f"updated {x}", tool_call_id="c1")]})

    look = clocked.tool("look", gives=command)
    other = clocked.tool(
        "other", gives=lambda x: ("text", x), response_format="content_and_artifact"
    )
    calls = ask(call("look", "c1", x=1), call("other", "c2", x=2))
    eager, late = _both([look, other], [calls], grace=60)
    assert plain(eager) == plain(late)
    assert eager[2].text == "updated 1"
    assert eager[3].artifact == 2


@in_virtual_time
async def test_stream_writers_write_to_the_run(clocked: Clocked) -> None:
    """What an early call writes is seen while the model still writes (rule 26)."""

    @effects()
    @tool
    async def look(x: int) -> int:
        """Look."""
        get_stream_writer()({"looks": x})
        return x

    node = AsyncFCToolNode([look])
    model = ScriptedChatModel.replies([ask(call("look", x=1), call("look", x=2)), "done"], **PACE)
    clock = asyncio.get_running_loop().time
    seen = [
        (clock(), chunk)
        async for chunk in make_graph(model, node).astream(
            {"messages": [HumanMessage("go")]}, stream_mode="custom"
        )
    ]
    assert seen == [(3.0, {"looks": 1}), (5.0, {"looks": 2})]


class Tracer(BaseCallbackHandler):
    """Writes down the runs of tools and what is above them."""

    run_inline = True

    def __init__(self) -> None:
        self.names: dict[Any, str] = {}
        self.parents: dict[Any, Any] = {}
        self.tools: dict[Any, list[Any]] = {}

    def on_chain_start(self, serialized: Any, inputs: Any, **kwargs: Any) -> None:
        self.names[kwargs["run_id"]] = kwargs.get("name", "")

    def on_tool_start(self, serialized: Any, input_str: str, **kwargs: Any) -> None:
        run = kwargs["run_id"]
        future = kwargs["metadata"]["asyncfc_future"]
        self.parents[run] = kwargs["parent_run_id"]
        self.tools[run] = [future, asyncio.get_running_loop().time()]

    def on_tool_end(self, output: Any, **kwargs: Any) -> None:
        self.tools[kwargs["run_id"]] += ["end", asyncio.get_running_loop().time()]

    def on_tool_error(self, error: BaseException, **kwargs: Any) -> None:
        self.tools[kwargs["run_id"]] += ["error", asyncio.get_running_loop().time()]


@in_virtual_time
async def test_traces_nest_below_the_model_step(clocked: Clocked) -> None:
    """An early call's run is there once, with its true start and end and its future (rule 26)."""
    tracer = Tracer()
    look = clocked.tool("look", 1.0)
    calls = ask(call("look", x=1), call("await_future"), call("look", x=2))
    await talk([look], [calls], config={"callbacks": [tracer]})
    first, second = tracer.tools.values()
    assert first == ["future_1", 3.0, "end", 4.0]
    assert second == ["future_2", 7.0, "end", 8.0]
    above = {tracer.names[parent] for parent in tracer.parents.values()}
    assert above <= {"agent", "athink", "RunnableLambda", "think"}


@pytest.mark.needs_langgraph("1.2")
@in_virtual_time
async def test_streams_show_a_call_when_it_runs(clocked: Clocked) -> None:
    """`stream_mode="tools"` and `astream_events` tell of it while the model still writes."""
    node = AsyncFCToolNode([clocked.tool("look", 1.0)], grace=60)
    model = ScriptedChatModel.replies(
        [ask(call("look", x=1), call("look", x=2)), "done"] * 2, **PACE
    )
    graph, go = make_graph(model, node), {"messages": [HumanMessage("go")]}
    clock = asyncio.get_running_loop().time
    # By itself, "tools" is only looked at when a step ends.
    tools = [
        (clock(), chunk["event"])
        async for _, chunk in graph.astream(go, stream_mode=["tools", "custom"])
    ]
    assert tools == [
        (3.0, "tool-started"),
        (4.0, "tool-finished"),
        (5.0, "tool-started"),
        (6.0, "tool-finished"),
    ]
    began = clock()
    events = [
        (clock() - began, event["event"])
        async for event in graph.astream_events(go, version="v2")
        if event["event"].startswith("on_tool")
    ]
    assert events == [
        (3.0, "on_tool_start"),
        (4.0, "on_tool_end"),
        (5.0, "on_tool_start"),
        (6.0, "on_tool_end"),
    ]


@in_virtual_time
async def test_messages_are_streamed_once(clocked: Clocked) -> None:
    """`stream_mode="messages"` shows what it shows without eager start."""
    shown = []
    for eager in (True, False):
        node = AsyncFCToolNode([clocked.tool("look", 1.5)], grace=0)
        calls = ask(call("look", "c1", x=1), call("look", "c2", x=2))
        model = ScriptedChatModel.replies([calls, ask(call("await_future", "c3")), "done"], **PACE)
        graph = make_graph(model, node, eager=eager)
        stream = graph.astream({"messages": [HumanMessage("go")]}, stream_mode="messages")
        shown.append([(m.type, m.text) async for m, _ in stream])
    eager_ones, late_ones = shown
    assert [m for m in eager_ones if m[0] != "tool"] == [m for m in late_ones if m[0] != "tool"]
    assert ("tool", "look of 2") in eager_ones


@in_virtual_time
async def test_graphs_in_graphs_have_their_own(clocked: Clocked) -> None:
    """An agent that is a node of a larger graph, and one that a tool runs, start calls early."""
    look = clocked.tool("look", 1.0)

    def agent(tools: Any) -> Any:
        name = tools[0].name
        replies = [ask(call(name, x=1), call(name, x=2)), "done"]
        model = ScriptedChatModel.replies(replies, **PACE)
        return make_graph(model, AsyncFCToolNode(tools, grace=60))

    @effects()
    @tool
    async def inner(x: int) -> str:
        """Run an agent."""
        final = await agent([look]).ainvoke({"messages": [HumanMessage("go")]})
        return f"{x}: {[m.text for m in final['messages'][2:4]]}"

    builder = StateGraph(MessagesState)
    builder.add_node("outer", agent([inner]))
    builder.add_edge(START, "outer")
    final = await builder.compile(checkpointer=InMemorySaver()).ainvoke(
        {"messages": [HumanMessage("go")]}, THREAD
    )
    found = "['look of 1', 'look of 2']"
    assert [m.text for m in final["messages"][2:]] == [f"1: {found}", f"2: {found}", "done"]
    assert clocked.starts() == [
        ("look(1)", 6.0),
        ("look(1)", 8.0),
        ("look(2)", 8.0),
        ("look(2)", 10.0),
    ]


@in_virtual_time
async def test_a_timeline_shows_each_call_once(clocked: Clocked) -> None:
    """With its true start, as a call of the message that was written meanwhile."""
    timeline = Timeline()
    calls = ask(call("look", "c1", x=1), call("look", "c2", x=2))
    tools = [clocked.tool("look", 1.0)]
    await talk(tools, [calls], config={"callbacks": [timeline]}, grace=60)
    shown = [(run.call, run.start, run.end, run.delivered) for run in timeline.record().tools]
    assert shown == [("c1", 3.0, 4.0, 6.0), ("c2", 5.0, 6.0, 6.0)]


# -- what is not taken up --------------------------------------------------------------------------


@in_virtual_time
async def test_a_stream_that_is_cut_leaves_nothing(clocked: Clocked) -> None:
    """What it had begun is cancelled and awaited, and the model's error is raised."""
    look = clocked.tool("look")
    with pytest.raises(Cut):
        await talk([look], [ask(call("look", x=1), call("look", x=2))], cuts=[3])
    assert clocked.log == [("look(1) starts", 3.0), ("look(1) cancelled", 5.0)]


@pytest.mark.parametrize("ids", [("c1", "c1"), ("c1", "other")])
@in_virtual_time
async def test_a_stream_that_is_tried_again_runs_its_calls_again(
    clocked: Clocked, ids: tuple[str, str]
) -> None:
    """The first run is ended when its stream is cut; only the second one counts."""
    look = clocked.tool("look")
    tries = [ask(call("look", id_, x=1), call("look", x=2)) for id_ in ids]
    messages = await talk([look], tries, cuts=[3], graph={"retry": True}, grace=60)
    assert clocked.log[:3] == [
        ("look(1) starts", 3.0),
        ("look(1) cancelled", 5.0),
        ("look(1) starts", 8.0),
    ]
    assert len(clocked.starts()) == 3
    assert [m.text for m in messages if isinstance(m, ToolMessage)] == ["look of 1", "look of 2"]


def _without_the_first(message: AIMessage) -> AIMessage:
    return message.model_copy(update={"tool_calls": message.tool_calls[1:]})


def _with_another_argument(message: AIMessage) -> AIMessage:
    calls: list[Any] = [{**c, "args": {"x": "edited"}} for c in message.tool_calls[:1]]
    return message.model_copy(update={"tool_calls": [*calls, *message.tool_calls[1:]]})


def _with_other_ids(message: AIMessage) -> AIMessage:
    calls: list[Any] = [{**c, "id": f"new {c['id']}"} for c in message.tool_calls]
    return message.model_copy(update={"tool_calls": calls})


@pytest.mark.parametrize(
    ("edit", "log", "cancelled"),
    [
        (_without_the_first, ["look(1) starts", "look(2) starts"], [1]),
        (
            _with_another_argument,
            ["look(1) starts", "look(2) starts", "look(edited) starts"],
            [1],
        ),
        (
            _with_other_ids,
            ["look(1) starts", "look(2) starts", "look(1) starts", "look(2) starts"],
            [1, 2],
        ),
    ],
)
@in_virtual_time
async def test_a_message_that_was_changed(
    clocked: Clocked, edit: Any, log: list[str], cancelled: list[int]
) -> None:
    """What is issued is what counts; what began otherwise is cancelled, and leaves no trace."""
    look = clocked.tool("look", 9.0)
    seen: list[AIMessage] = []

    def edited(message: AIMessage) -> AIMessage:
        changed = edit(message) if not seen else message
        seen.append(changed)
        return changed

    calls = ask(call("look", x=1), call("look", x=2))
    messages = await talk([look], [calls], graph={"edit": edited}, grace=60)
    expected = [f"look of {c['args']['x']}" for c in seen[0].tool_calls]
    assert [m.text for m in messages if isinstance(m, ToolMessage)] == expected
    assert [what for what, _ in clocked.log if "starts" in what] == log
    ended = sorted(what for what, _ in clocked.log if "starts" not in what)
    kept = [f"look({c['args']['x']}) ends" for c in seen[0].tool_calls]
    assert ended == sorted([*kept, *(f"look({n}) cancelled" for n in cancelled)])


@in_virtual_time
async def test_a_message_that_is_thrown_away(clocked: Clocked) -> None:
    """What nobody issues is cancelled and awaited when the run ends."""
    look = clocked.tool("look", 50.0)
    messages = await talk(
        [look],
        [ask(call("look", x=1), call("look", x=2))],
        graph={"edit": lambda _: AIMessage("no tools, please")},
    )
    assert [m.type for m in messages] == ["human", "ai"]
    assert [what for what, _ in clocked.log] == [
        "look(1) starts",
        "look(2) starts",
        "look(1) cancelled",
        "look(2) cancelled",
    ]


@in_virtual_time
async def test_a_run_that_is_cancelled_while_the_model_writes(clocked: Clocked) -> None:
    """Its early calls are cancelled and awaited (rule 19)."""
    look = clocked.tool("look")
    calls = ask(call("look", x=1), call("look", x=2), call("look", x=3))
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(talk([look], [calls]), 5.5)
    assert clocked.log == [
        ("look(1) starts", 3.0),
        ("look(2) starts", 5.0),
        ("look(1) cancelled", 5.5),
        ("look(2) cancelled", 5.5),
    ]


@in_virtual_time
async def test_a_cancelled_stream_is_forgotten(clocked: Clocked) -> None:
    """LangChain tells no handler of its end, and nothing of the run may stay with the model."""
    node = AsyncFCToolNode([clocked.tool("look")])
    model = ScriptedChatModel.replies([ask(call("look", x=1), call("look", x=2))], **PACE)
    watched = node.eager(model)
    (watch,) = watched.callbacks

    async def think(state: MessagesState) -> Any:
        return {"messages": [await watched.ainvoke(state["messages"])]}

    builder = StateGraph(MessagesState)
    builder.add_node("agent", think)
    builder.add_edge(START, "agent")
    graph = builder.compile()
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(graph.ainvoke({"messages": [HumanMessage("go")]}), 3.5)
    assert clocked.log[-1] == ("look(1) cancelled", 3.5)
    gc.collect()
    assert not list(watch._streams)


# -- timeouts --------------------------------------------------------------------------------------


@pytest.mark.parametrize(("seconds", "ends"), [(1.5, 4.5), (4.5, 7.5)])
@in_virtual_time
async def test_the_timeout_counts_from_the_true_start(
    clocked: Clocked, seconds: float, ends: float
) -> None:
    """Before the message is complete and after (rule 18)."""
    look = clocked.tool("look", 50.0)
    calls = ask(call("look", x=1), call("look", x=2))
    messages = await talk([look], [calls], timeout=seconds, grace=60)
    assert ("look(1) cancelled", ends) in clocked.log
    told = [m for m in messages if isinstance(m, ToolMessage)]
    limit = f"Error: Tool 'look' was ended after its timeout of {seconds:g} seconds."
    assert [m.text for m in told] == [limit] * 2
    assert {m.status for m in told} == {"error"}
    assert len(clocked.starts()) == 2


@in_virtual_time
async def test_a_call_that_ended_in_time_does_not_time_out_later(clocked: Clocked) -> None:
    """The message may be complete only after the limit."""
    look = clocked.tool("look", 1.0)
    calls = ask(call("look", x=1), call("look", x=2), call("look", x=3))
    messages = await talk([look], [calls], timeout=1.5, grace=60)
    texts = [m.text for m in messages if isinstance(m, ToolMessage)]
    assert texts == ["look of 1", "look of 2", "look of 3"]


# -- threads, runs, interrupts ---------------------------------------------------------------------


@in_virtual_time
async def test_runs_beside_each_other_have_their_own(clocked: Clocked) -> None:
    """Two threads of one graph, with equal calls and equal call ids (rule 21)."""
    look = clocked.tool("look")
    calls = ask(call("look", "c1", x=1), call("look", "c2", x=2))
    said: dict[int, int] = {}

    def policy(messages: list[BaseMessage]) -> Any:
        return calls if len(messages) == 1 else "done"

    model = ScriptedChatModel(policy=policy, **PACE)
    graph = make_graph(model, AsyncFCToolNode([look], grace=60), checkpointer=InMemorySaver())
    results = await asyncio.gather(
        *(
            graph.ainvoke(
                {"messages": [HumanMessage("go")]}, {"configurable": {"thread_id": str(n)}}
            )
            for n in range(2)
        )
    )
    assert not said
    assert [at for _, at in clocked.starts()] == [3.0, 3.0, 5.0, 5.0]
    for result in results:
        assert [m.text for m in result["messages"][2:4]] == ["look of 1", "look of 2"]


@pytest.mark.parametrize("several", [False, True])
@in_virtual_time
async def test_a_tool_that_asks_asks_in_the_step(several: bool) -> None:
    """An interrupt in an early call is not raised; the call runs again where it can be answered."""
    asked: list[Any] = []

    @effects()
    @tool
    async def look(x: int) -> str:
        """Look."""
        asked.append(x)
        return f"{x}: {interrupt(f'{x}?')}"

    calls = [call("look", x=n) for n in range(1 + several)]
    model = ScriptedChatModel.replies([ask(*calls), "done"], **PACE)
    graph = make_graph(model, AsyncFCToolNode([look]), checkpointer=InMemorySaver())
    stopped = await graph.ainvoke({"messages": [HumanMessage("go")]}, THREAD)
    questions = stopped["__interrupt__"]
    assert {q.value for q in questions} == {f"{n}?" for n in range(1 + several)}
    answers = {q.id: f"yes {q.value}" for q in questions}
    final = await graph.ainvoke(Command(resume=answers), THREAD)
    texts = [m.text for m in final["messages"] if isinstance(m, ToolMessage)]
    assert texts == [f"{n}: yes {n}?" for n in range(1 + several)]


@in_virtual_time
async def test_an_answer_to_the_model_step_is_not_taken(clocked: Clocked) -> None:
    """A question of the model's own step gets its answer, whatever its early calls ask."""

    @effects()
    @tool
    async def look(x: int) -> str:
        """Look."""
        return f"{x}: {interrupt(f'{x}?')}"

    node = AsyncFCToolNode([look])
    model = ScriptedChatModel.replies([ask(call("look", x=1), call("look", x=2)), "done"], **PACE)
    bound = node.eager(model).bind_tools(node.model_tools)
    heard: list[Any] = []

    async def think(state: MessagesState) -> Any:
        if len(state["messages"]) > 1:
            return {"messages": [AIMessage("done")]}
        said = await bound.ainvoke(state["messages"])
        heard.append(interrupt("go on?"))
        return {"messages": [said]}

    graph = wired(think, node, checkpointer=InMemorySaver())
    stopped = await graph.ainvoke({"messages": [HumanMessage("go")]}, THREAD)
    assert [q.value for q in stopped["__interrupt__"]] == ["go on?"]
    model2 = ScriptedChatModel.replies([ask(call("look", x=1), call("look", x=2))], **PACE)
    bound = node.eager(model2).bind_tools(node.model_tools)
    stopped = await graph.ainvoke(Command(resume="yes"), THREAD)
    assert heard == ["yes"]
    assert {q.value for q in stopped["__interrupt__"]} == {"1?", "2?"}


@in_virtual_time
async def test_a_resumed_run_starts_its_calls_anew(clocked: Clocked) -> None:
    """After a crash before the tools' step the issued calls run, and the next message is eager."""
    look = clocked.tool("look", 1.0)
    turns = [ask(call("look", x=1), call("look", x=2)), ask(call("look", x=3), call("look", x=4))]
    model = ScriptedChatModel.replies([*turns, "done"], **PACE)
    graph = make_graph(model, AsyncFCToolNode([look], grace=60), checkpointer=InMemorySaver())
    await graph.ainvoke({"messages": [HumanMessage("go")]}, THREAD, interrupt_before=["tools"])
    assert clocked.log[-1] == ("look(2) cancelled", 5.0)
    final = await graph.ainvoke(None, THREAD)
    assert clocked.starts()[2:] == [
        ("look(1)", 5.0),
        ("look(2)", 5.0),
        ("look(3)", 9.0),
        ("look(4)", 11.0),
    ]
    assert final["messages"][-1].text == "done"


# -- in threads ------------------------------------------------------------------------------------


class Watching(CutModel):
    """A model that writes its second call only when the tool of the first one runs."""

    running: Any = None

    def _stream(self, *args: Any, **kwargs: Any) -> Any:
        for number, chunk in enumerate(super()._stream(*args, **kwargs)):
            if number == 2 and self.running is not None:
                assert self.running.wait(20), "the first call did not start early"
            yield chunk


@pytest.mark.parametrize("colour", ["sync", "async"])
def test_calls_start_early_in_threads(colour: str) -> None:
    """Under `invoke` a tool runs in a thread while the model writes on (rule 27)."""
    running = threading.Event()
    ran: list[int] = []

    @effects()
    @tool
    def look(x: int) -> str:
        """Look."""
        ran.append(x)
        running.set()
        return f"look of {x}"

    @effects()
    @tool("look")
    async def alook(x: int) -> str:
        """Look."""
        return str(look.func(x))  # type: ignore[attr-defined]

    calls = ask(call("look", x=1), call("look", x=2))
    model = Watching(
        policy=lambda messages: calls if len(messages) == 1 else "done",
        running=running,
        count_tokens=bool,
    )
    node = AsyncFCToolNode([look if colour == "sync" else alook], grace=60)
    final = make_graph(model, node).invoke({"messages": [HumanMessage("go")]})
    assert [m.text for m in final["messages"][2:]] == ["look of 1", "look of 2", "done"]
    assert sorted(ran) == [1, 2]


def test_a_cut_stream_ends_early_calls_of_async_tools_in_threads() -> None:
    """They are cancelled and awaited when the run of `invoke` ends."""
    running = threading.Event()
    log: list[str] = []

    @effects()
    @tool
    async def look(x: int) -> str:
        """Look."""
        log.append("starts")
        running.set()
        try:
            await asyncio.sleep(60)
        finally:
            log.append("cancelled")
        return ""

    model = Watching(
        policy=lambda _: ask(call("look", x=1), call("look", x=2)),
        running=running,
        cuts=[3],
        count_tokens=bool,
    )
    with pytest.raises(Cut):
        make_graph(model, AsyncFCToolNode([look])).invoke({"messages": [HumanMessage("go")]})
    assert log == ["starts", "cancelled"]


@in_virtual_time
async def test_sync_tools_start_early_on_an_event_loop() -> None:
    """A sync tool runs in the pool while the model still writes."""
    ran: list[float] = []
    loop = asyncio.get_running_loop()

    @effects()
    @tool
    def look(x: int) -> str:
        """Look."""
        ran.append(loop.time())
        return f"look of {x}"

    messages = await talk([look], [ask(call("look", x=1), call("look", x=2))], grace=60)
    assert [m.text for m in messages[2:4]] == ["look of 1", "look of 2"]
    assert len(ran) == 2
    assert ran[0] < 5.0


def test_a_sync_model_step_in_a_run_on_an_event_loop_is_as_before() -> None:
    """There the stream is in a thread, from which nothing can be started on the loop."""
    ran: list[int] = []

    @effects()
    @tool
    async def look(x: int) -> str:
        """Look."""
        ran.append(x)
        return f"look of {x}"

    calls = ask(call("look", x=1), call("look", x=2))
    model = ScriptedChatModel.replies([calls, "done"])
    node = AsyncFCToolNode([look], grace=60)
    bound = node.eager(model).bind_tools(node.model_tools)

    def think(state: MessagesState) -> Any:
        return {"messages": [bound.invoke(state["messages"])]}

    final = asyncio.run(wired(think, node).ainvoke({"messages": [HumanMessage("go")]}))
    assert [m.text for m in final["messages"][2:]] == ["look of 1", "look of 2", "done"]
    assert sorted(ran) == [1, 2]


# -- what can be watched ---------------------------------------------------------------------------


@in_virtual_time
async def test_a_model_may_be_watched_after_its_tools_are_bound(clocked: Clocked) -> None:
    """`node.eager` goes before or behind what binds something to the model."""
    look = clocked.tool("look")
    node = AsyncFCToolNode([look])
    model = ScriptedChatModel.replies(
        [ask(call("look", x=1), call("look", x=2)), "wait", "done"], **PACE
    )
    bound = node.eager(model.bind_tools(node.model_tools).with_config(tags=["a"]).with_retry())

    async def think(state: MessagesState) -> Any:
        return {"messages": [await bound.ainvoke(state["messages"])]}

    await wired(think, node).ainvoke({"messages": [HumanMessage("go")]})
    assert clocked.starts() == [("look(1)", 3.0), ("look(2)", 5.0)]
    assert not model.streaming, "the model itself stays as it is"


def test_handlers_of_the_model_stay(clocked: Clocked) -> None:
    """A model's own callbacks go on to see its stream; watching twice is watching once."""
    tokens: list[Any] = []

    class Own(BaseCallbackHandler):
        def on_llm_new_token(self, token: Any, **_: Any) -> None:
            tokens.append(token)

    node = AsyncFCToolNode([clocked.tool("look")])
    model = ScriptedChatModel.replies(["hello you all"], callbacks=[Own()])
    twice = node.eager(node.eager(model))
    assert len(twice.callbacks) == 2
    assert twice.invoke("hi").text == "hello you all"
    assert "".join(tokens) == "hello you all"


@pytest.mark.parametrize("model", [RunnableLambda(lambda x: x), "gpt", None])
def test_what_cannot_be_watched_is_refused(clocked: Clocked, model: Any) -> None:
    """The error says what can."""
    node = AsyncFCToolNode([clocked.tool("look")])
    with pytest.raises(TypeError, match=r"Calls of .* cannot be started early"):
        node.eager(model)


def test_nodes_in_which_nothing_may_start_early_refuse(clocked: Clocked) -> None:
    """A wrapper has to see calls before they run, and an executor of one's own runs issued ones."""
    model = ScriptedChatModel.replies([])
    wrapped = AsyncFCToolNode([clocked.tool("look")], wrap_tool_call=lambda r, e: e(r))
    with pytest.raises(ValueError, match="wrapper has to see them"):
        wrapped.eager(model)
    elsewhere = AsyncFCToolNode([clocked.tool("look")], executor=ManualExecutor())
    with pytest.raises(ValueError, match="ManualExecutor"):
        elsewhere.eager(model)


def test_outside_of_a_graph_a_watched_model_is_a_model(clocked: Clocked) -> None:
    """There is nothing that could take up what would begin."""
    node = AsyncFCToolNode([clocked.tool("look")])
    made = ask(call("look", x=1))
    model = node.eager(ScriptedChatModel.replies([made]))
    assert model.invoke("hi").tool_calls == made.tool_calls
    assert not clocked.log
