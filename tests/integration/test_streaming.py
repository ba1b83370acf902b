"""What a user interface sees of calls while a run goes on, in each stream mode.

| what | how it is told |
|---|---|
| `"custom"` | `{"type": "asyncfc", "event", "future", …}`, with `stream_events=True` |
| `"messages"`, `"updates"` | the records of placeholders and of delivered messages |
| `"tools"` | LangGraph's own events, by `tool_call_id`, which the placeholder maps to the future |
| `astream_events` | LangChain's tool events, with the future's id in their metadata |

One talk has it all: a slow call that writes progress, identical ones, a failure, a call that
depends on it, a cancellation, a timeout and a fast call. It is told in every mode, through both
faces, on an event loop and in threads, in both modes of delivery.
"""

from __future__ import annotations

import asyncio
import subprocess
import sys
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextvars import Context
from dataclasses import dataclass, field
from typing import Annotated, Any, TypedDict

import pytest
from langchain_core.messages import AIMessage, BaseMessage, HumanMessage, ToolMessage
from langchain_core.runnables import RunnableConfig, RunnableLambda
from langchain_core.tools import BaseTool, InjectedToolCallId, StructuredTool, tool
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.config import get_config, get_stream_writer
from langgraph.graph import START, MessagesState, StateGraph
from langgraph.prebuilt import ToolRuntime
from langgraph.types import Command, RetryPolicy, interrupt

from langchain_asyncfc import AsyncFCToolNode, Effects, effects, tools_condition
from langchain_asyncfc.recording import FUTURE_METADATA
from langchain_asyncfc.records import CONTROL_TOOLS
from langchain_asyncfc.testing import (
    ManualExecutor,
    ScriptedChatModel,
    call,
    in_virtual_time,
    run_virtual,
)
from tests.integration.conftest import Ask, Gate, assert_no_tasks

PURE = Effects()
DELTAS = hasattr(ToolRuntime, "emit_output_delta")
STEPS = {"recursion_limit": 100}
THREAD = {"configurable": {"thread_id": "t"}, **STEPS}

Reply = AIMessage | str | Callable[[list[BaseMessage]], AIMessage | str]


# -- agents ----------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Face:
    """Builds agents: a graph with the node, or `create_agent` with the middleware.

    Attributes:
        name: Which.
    """

    name: str

    def build(
        self,
        tools: Sequence[BaseTool],
        replies: Iterable[Reply],
        *,
        checkpointer: Any = None,
        inner: Sequence[Any] = (),
        ttft: float = 0.0,
        **options: Any,
    ) -> Any:
        """A compiled graph.

        Args:
            tools: The tools.
            replies: What the model says, in order; a function is asked when its turn has come.
            checkpointer: Of the graph.
            inner: More middleware, for `create_agent` only.
            ttft: Seconds that a reply takes.
            **options: Of the node or the middleware.
        """
        rest = iter(replies)

        def policy(messages: list[BaseMessage]) -> AIMessage | str:
            reply = next(rest)
            return reply(messages) if callable(reply) else reply

        model = ScriptedChatModel(policy=policy, check_history=True, ttft=ttft)
        options = {"stream_events": True, **options}
        if self.name == "node":
            node = AsyncFCToolNode(tools, handle_tool_errors=_told, **options)
            return _graph(model, node, checkpointer)
        from langchain.agents import create_agent

        from langchain_asyncfc import AsyncFCMiddleware

        middleware = [AsyncFCMiddleware(**options), _handling_errors(), *inner]
        return create_agent(model, tools, middleware=middleware, checkpointer=checkpointer)


def _told(error: ValueError) -> str:
    """What the model is told of a tool's error. Interrupts are none."""
    return f"Error: {error}"


def _handling_errors() -> Any:
    from langchain.agents.middleware import AgentMiddleware

    class Handling(AgentMiddleware):
        """Does in `create_agent` what `handle_tool_errors` does in the node."""

        def wrap_tool_call(self, request: Any, handler: Any) -> Any:
            try:
                return handler(request)
            except ValueError as error:
                return self._message(request, error)

        async def awrap_tool_call(self, request: Any, handler: Any) -> Any:
            try:
                return await handler(request)
            except ValueError as error:
                return self._message(request, error)

        def _message(self, request: Any, error: ValueError) -> ToolMessage:
            called = request.tool_call
            text = _told(error)
            return ToolMessage(text, name=called["name"], tool_call_id=called["id"], status="error")

    return Handling()


def _graph(model: Any, node: Any, checkpointer: Any = None, **of_tools: Any) -> Any:
    def think(state: Any, config: Any) -> Any:
        return {"messages": [model.invoke(state["messages"], config)]}

    async def athink(state: Any, config: Any) -> Any:
        return {"messages": [await model.ainvoke(state["messages"], config)]}

    builder = StateGraph(MessagesState)
    builder.add_node("agent", RunnableLambda(think, athink))
    builder.add_node("tools", node, **of_tools)
    builder.add_edge(START, "agent")
    builder.add_conditional_edges("agent", tools_condition)
    builder.add_edge("tools", "agent")
    return builder.compile(checkpointer=checkpointer)


@pytest.fixture(params=["node", "middleware"])
def face(request: pytest.FixtureRequest) -> Face:
    """Both faces."""
    if request.param == "middleware":
        pytest.importorskip("langchain", minversion="1.4.6")
    return Face(request.param)


def go(text: str = "go") -> dict[str, Any]:
    """The input of a run."""
    return {"messages": [HumanMessage(text)]}


# -- streams ---------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Told:
    """One thing that a stream tells of one call.

    Attributes:
        mode: The stream mode, or `"events"`.
        call: The call: its future's id where the mode has it, else the tool call's.
        event: What happens.
        namespace: Of the graph, where subgraphs are streamed.
        payload: As it came.
    """

    mode: str
    call: str
    event: str
    namespace: tuple[str, ...] = ()
    payload: Any = field(default=None, compare=False)


_OF_TOOLS = {
    "tool-started": "started",
    "tool-output-delta": "progress",
    "tool-finished": "finished",
    "tool-error": "error",
}
_OF_EVENTS = {"on_tool_start": "started", "on_tool_end": "finished", "on_tool_error": "error"}


def told(mode: str, chunk: Any, namespace: tuple[str, ...] = ()) -> Iterator[Told]:
    """What a chunk of a stream tells of calls."""
    if mode == "custom":
        event = chunk["event"] if chunk.get("type") == "asyncfc" else "progress"
        yield Told(mode, chunk["future"], event, namespace, chunk)
    elif mode == "tools":
        yield Told(mode, chunk["tool_call_id"], _OF_TOOLS[chunk["event"]], namespace, chunk)
    elif mode == "messages":
        yield from _of_messages(mode, [chunk[0]], namespace)
    elif mode == "updates":
        for update in chunk.values():
            for part in update if isinstance(update, list) else [update or {}]:
                if isinstance(part, dict):  # and no interrupt
                    yield from _of_messages(mode, part.get("messages", []), namespace)


def _of_messages(mode: str, messages: Any, namespace: tuple[str, ...]) -> Iterator[Told]:
    for message in messages:
        if not isinstance(message, ToolMessage):
            continue
        record = message.additional_kwargs.get("asyncfc", {})
        if "state" in record:
            yield Told(mode, record["future"], record["state"], namespace, message)
        elif message.name not in CONTROL_TOOLS:
            yield Told(mode, message.tool_call_id, "answered", namespace, message)
        for future, kept in record.get("delivered", {}).items():
            yield Told(mode, future, kept["state"], namespace, message)


def stories(entries: Iterable[Told]) -> dict[str, list[str]]:
    """What is told of each call, in order.

    A message that comes again, with outcomes that ride on it, is the same answer.
    """
    found: dict[str, list[str]] = {}
    shown: set[str] = set()
    for entry in entries:
        if entry.event == "answered":
            if entry.payload.id in shown:
                continue
            shown.add(entry.payload.id)
        found.setdefault(entry.call, []).append(entry.event)
    return found


async def listen_async(
    graph: Any,
    modes: Sequence[str],
    value: Any = None,
    config: Any = None,
    on: Callable[[Told], None] = lambda _: None,
) -> list[Told]:
    """Stream a run on this event loop; no task may remain."""
    entries: list[Told] = []

    def hear(found: Iterable[Told]) -> None:
        for entry in found:
            entries.append(entry)
            on(entry)

    value = go() if value is None else value
    config = config or STEPS
    if list(modes) == ["events"]:
        async for event in graph.astream_events(value, config, version="v2"):
            if event["event"] in _OF_EVENTS:
                future = event["metadata"][FUTURE_METADATA]
                hear([Told("events", future, _OF_EVENTS[event["event"]], payload=event)])
    else:
        stream = graph.astream(value, config, stream_mode=list(modes), subgraphs=True)
        async for namespace, mode, chunk in stream:
            hear(told(mode, chunk, namespace))
    assert_no_tasks()
    return entries


def listen(graph: Any, modes: Sequence[str], value: Any = None, config: Any = None) -> list[Told]:
    """Stream a run in threads."""
    stream = graph.stream(value or go(), config or STEPS, stream_mode=list(modes), subgraphs=True)
    return [entry for ns, mode, chunk in stream for entry in told(mode, chunk, ns)]


@dataclass(frozen=True, slots=True)
class Entry:
    """`stream` or `astream`, behind a method that blocks.

    Attributes:
        name: Which.
    """

    name: str

    def listen(self, graph: Any, modes: Sequence[str], value: Any = None) -> list[Told]:
        """What a run's stream tells."""
        if self.name == "stream":
            return listen(graph, modes, value)
        return run_virtual(listen_async(graph, modes, value))


@pytest.fixture(params=["astream", "stream"])
def entry(request: pytest.FixtureRequest) -> Entry:
    """On an event loop in virtual time, and in threads."""
    return Entry(request.param)


# -- one talk that has it all ----------------------------------------------------------------------


class Talk:
    """Tools that a script ends, and the script; future n belongs to call "c<n>"."""

    def __init__(self) -> None:
        self.work, self.other = Gate(), Gate()

    def tools(self) -> list[BaseTool]:
        """The tools."""

        def write(runtime: ToolRuntime, n: int) -> None:
            future = get_config()["metadata"][FUTURE_METADATA]
            writer = get_stream_writer() if n == 1 else runtime.stream_writer
            writer({"future": future, "n": n})
            if DELTAS:
                runtime.emit_output_delta(n)

        def work(runtime: ToolRuntime) -> str:
            write(runtime, 1)
            self.work.wait()
            write(runtime, 2)
            return "worked"

        async def awork(runtime: ToolRuntime) -> str:
            write(runtime, 1)
            await self.work.wait_async()
            write(runtime, 2)
            return "worked"

        def twin(x: int) -> str:
            self.other.wait()
            return f"twin {x}"

        async def atwin(x: int) -> str:
            await self.other.wait_async()
            return f"twin {x}"

        def broken() -> str:
            self.other.wait()
            raise ValueError("boom")

        async def abroken() -> str:
            await self.other.wait_async()
            raise ValueError("boom")

        async def for_ever() -> str:
            await asyncio.Event().wait()
            raise AssertionError

        async def apply(x: str) -> str:
            return f"applied {x}"

        return [
            _tool("work", work, awork),
            _tool("twin", twin, atwin),
            _tool("broken", broken, abroken),
            _tool("apply", None, apply),
            _tool("stuck", None, for_ever),
            _tool("late", None, for_ever),
        ]

    def replies(self, ask: Ask) -> list[Reply]:
        """What the model says."""

        def open_all(messages: list[BaseMessage]) -> str:
            # The first progress is written, so that both sides of the gate are seen.
            assert self.work.entered.wait(20)
            self.work.open()
            self.other.open()
            return "early"

        def entered(messages: list[BaseMessage]) -> AIMessage:
            return ask(call("twin", "c2", x=1), call("twin", "c3", x=1))

        return [
            ask(call("work", "c1")),
            entered,
            ask(call("broken", "c4"), call("apply", "c5", x="future_4")),
            ask(call("stuck", "c6"), call("late", "c7", await_result=True)),
            ask(
                call("cancel_future", "k1", futures=["future_6"]),
                call("apply", "c8", x="fast", await_result=True),
            ),
            open_all,
            "done",
        ]


def _tool(name: str, function: Any, coroutine: Any) -> BaseTool:
    made = StructuredTool.from_function(function, coroutine, name=name, description=f"{name}.")
    return effects()(made)


CUSTOM = {
    "future_1": ["issued", "running", "progress", "progress", "resolved", "delivered"],
    "future_2": ["issued", "running", "resolved", "delivered"],
    "future_3": ["issued", "resolved", "delivered"],  # it has joined future_2
    "future_4": ["issued", "running", "failed", "delivered"],
    "future_5": ["issued", "skipped", "delivered"],
    "future_6": ["issued", "running", "cancelled", "delivered"],
    "future_7": ["issued", "running", "failed", "delivered"],
    "future_8": ["issued", "running", "resolved", "delivered"],
}
MESSAGES = {
    "future_1": ["pending", "resolved"],
    "future_2": ["pending", "resolved"],
    "future_3": ["pending", "resolved"],
    "future_4": ["pending", "failed"],
    "future_5": ["pending", "skipped"],
    "future_6": ["pending", "cancelled"],
    "c7": ["answered"],  # in its step, so that no future is shown
    "c8": ["answered"],
}
TOOLS = {
    "c1": ["started", *(["progress", "progress"] if DELTAS else []), "finished"],
    "c2": ["started", "finished"],
    "c4": ["started", "error"],
    "c6": ["started", "error"],
    "c7": ["started", "error"],
    "c8": ["started", "finished"],
}
EVENTS = {
    f"future_{call_id[1:]}": [event for event in story if event != "progress"]
    for call_id, story in TOOLS.items()
}
EXPECTED = {
    "custom": CUSTOM,
    "messages": MESSAGES,
    "updates": MESSAGES,
    "tools": TOOLS,
    "events": EVENTS,
}

tools_mode = pytest.mark.needs_langgraph("1.2")
STREAM_MODES = ["custom", "messages", "updates", pytest.param("tools", marks=tools_mode)]


def _agent(face: Face, ask: Ask, delivery: str, **options: Any) -> Any:
    talk = Talk()
    options = {"grace": 0, "timeout": {"late": 0.01}, "delivery": delivery, **options}
    return face.build(talk.tools(), talk.replies(ask), **options)


def assert_all_told(mode: str, entry: Entry, found: dict[str, list[str]]) -> None:
    """Assert that a stream tells all of the talk.

    In threads a worker may come to a tool only when its call has been ended: then the tool never
    begins, and there is nothing to tell of it. What has begun, has ended.
    """
    expected = EXPECTED[mode]
    if (mode, entry.name) == ("tools", "stream"):
        ended = {call_id for call_id in ("c6", "c7") if call_id not in found}
        expected = {c: story for c, story in expected.items() if c not in ended}
    assert found == expected, mode


@pytest.mark.parametrize("stream_mode", STREAM_MODES)
def test_each_mode(face: Face, entry: Entry, delivery: str, ask: Ask, stream_mode: str) -> None:
    """Everything is told exactly once, in order and under the call's id."""
    entries = entry.listen(_agent(face, ask, delivery), [stream_mode])
    assert_all_told(stream_mode, entry, stories(entries))


@in_virtual_time
async def test_astream_events(face: Face, delivery: str, ask: Ask) -> None:
    """Each tool's run is told once, with the future's id in its metadata."""
    entries = await listen_async(_agent(face, ask, delivery), ["events"])
    assert stories(entries) == EVENTS


@tools_mode
def test_modes_together(face: Face, entry: Entry, delivery: str, ask: Ask) -> None:
    """The modes agree, and what happens is told in the order in which it happens."""
    modes = ["custom", "messages", "updates", "tools"]
    entries = entry.listen(_agent(face, ask, delivery), modes)
    for mode in modes:
        assert_all_told(mode, entry, stories(e for e in entries if e.mode == mode))
    at = {}
    for n, e in enumerate(entries):
        future = e.call.replace("c", "future_") if e.call.startswith("c") else e.call
        at.setdefault((future, e.mode, e.event), n)
    for future in CUSTOM:
        _assert_order(at, future)


def _assert_order(at: dict[tuple[str, str, str], int], future: str) -> None:
    ways = [
        [("custom", "issued"), ("custom", "running"), ("tools", "started"), ("custom", "progress")],
        [("custom", "issued"), ("messages", "pending")],
        [("custom", "issued"), ("updates", "pending")],
    ]
    end = next(e for e in ("resolved", "failed", "cancelled", "skipped") if e in CUSTOM[future])
    for mode in ("messages", "updates"):
        ways += [[("custom", end), ("custom", "delivered"), (mode, end)]]
        ways += [[("custom", end), ("custom", "delivered"), (mode, "answered")]]
    for last in ("finished", "error"):
        ways += [[("tools", "started"), ("tools", "progress"), ("tools", last), ("custom", end)]]
    for way in ways:
        places = [at[future, *step] for step in way if (future, *step) in at]
        assert places == sorted(places), (future, way)


def test_call_ids_lead_to_futures(face: Face, entry: Entry, delivery: str, ask: Ask) -> None:
    """A placeholder says which future belongs to a tool call, as do the custom events."""
    entries = entry.listen(_agent(face, ask, delivery), ["custom", "updates"])
    placeholders = {e.payload.tool_call_id: e.call for e in entries if e.event == "pending"}
    assert placeholders == {f"c{n}": f"future_{n}" for n in range(1, 7)}
    events = {e.payload["tool_call_id"]: e.call for e in entries if e.event == "issued"}
    assert events == {f"c{n}": f"future_{n}" for n in range(1, 9)}


def test_notes(face: Face, entry: Entry, delivery: str, ask: Ask) -> None:
    """The custom events say why a call did not resolve."""
    entries = entry.listen(_agent(face, ask, delivery), ["custom"])
    notes = {(e.call, e.event): e.payload["note"] for e in entries if "note" in e.payload}
    assert notes["future_4", "failed"] == "Error: boom"
    assert notes["future_5", "skipped"] == "future_4 (broken) failed: Error: boom"
    assert "'late' was ended after its timeout of 0.01 seconds" in notes["future_7", "failed"]
    assert {call for call, _ in notes} == {"future_4", "future_5", "future_7"}


def test_without_stream_events(face: Face, entry: Entry, delivery: str, ask: Ask) -> None:
    """Unless asked for, only what tools write is in `"custom"`."""
    entries = entry.listen(_agent(face, ask, delivery, stream_events=False), ["custom"])
    assert stories(entries) == {"future_1": ["progress", "progress"]}


# -- subgraphs, and runs side by side --------------------------------------------------------------


class Pair(TypedDict):
    """The state of a graph with two agents."""

    messages: Annotated[list[Any], lambda left, right: [*left, *right]]


@pytest.mark.needs_langgraph("1.1")
@pytest.mark.parametrize("stream_mode", STREAM_MODES)
def test_subgraphs(face: Face, entry: Entry, delivery: str, ask: Ask, stream_mode: str) -> None:
    """Two agents at once, inside of one graph: each is told about under its own namespace."""
    builder = StateGraph(Pair)
    for name in ("left", "right"):
        builder.add_node(name, _agent(face, ask, delivery))
        builder.add_edge(START, name)
    entries = entry.listen(builder.compile(), [stream_mode])
    inner = [e for e in entries if e.namespace]
    for name in ("left", "right"):
        own = [e for e in inner if e.namespace[0].startswith(f"{name}:")]
        assert_all_told(stream_mode, entry, stories(own))
        assert len({e.namespace for e in own}) == 1
    assert {e.namespace[0].split(":")[0] for e in inner} == {"left", "right"}
    # What the graph itself shows of its agents is their final state.
    assert {e.mode for e in entries if not e.namespace} <= {"messages", "updates"}


def _echo(gate: Gate, calls: int) -> BaseTool:
    """A tool that writes who called it."""

    def write(tool_call_id: str) -> None:
        future = get_config()["metadata"][FUTURE_METADATA]
        get_stream_writer()({"future": future, "of": tool_call_id})

    def echo(tool_call_id: Annotated[str, InjectedToolCallId]) -> str:
        write(tool_call_id)
        gate.wait()
        write(tool_call_id)
        return "echo"

    async def aecho(tool_call_id: Annotated[str, InjectedToolCallId]) -> str:
        write(tool_call_id)
        await gate.wait_async()
        write(tool_call_id)
        return "echo"

    return _tool("echo", echo, aecho)


def test_runs_side_by_side(face: Face, entry: Entry, delivery: str, ask: Ask) -> None:
    """Runs of one compiled graph see nothing of each other."""
    runs = ["a", "b", "c"]
    gate = Gate()
    early = threading.Barrier(len(runs)) if entry.name == "stream" else None
    said: list[str] = []

    def policy(messages: list[BaseMessage]) -> AIMessage | str:
        own = next(m.text for m in messages if isinstance(m, HumanMessage))
        turn = sum(isinstance(m, AIMessage) for m in messages)
        if turn == 0:
            return ask(call("echo", own))
        if turn == 1:
            said.append(own)
            if early is not None:
                early.wait(20)
            if len(said) == len(runs):
                gate.open()
            return "early"
        return "done"

    graph = face.build([_echo(gate, 1)], _for_ever(policy), grace=0, delivery=delivery)
    modes = ["custom", "messages", "updates"]
    if entry.name == "stream":
        heard = _in_threads([lambda own=own: listen(graph, modes, go(own)) for own in runs])
    else:

        async def all_of_them() -> list[list[Told]]:
            return await asyncio.gather(*(_quietly(graph, modes, own) for own in runs))

        heard = run_virtual(all_of_them())
    for own, entries in zip(runs, heard, strict=True):
        custom = [e for e in entries if e.mode == "custom"]
        assert {e.payload.get("tool_call_id", e.payload.get("of")) for e in custom} == {own}
        story = ["issued", "running", "progress", "progress", "resolved", "delivered"]
        assert stories(custom) == {"future_1": story}
        for mode in ("messages", "updates"):
            shown = [e for e in entries if e.mode == mode]
            assert stories(shown) == {"future_1": ["pending", "resolved"]}


async def _quietly(graph: Any, modes: Sequence[str], text: str) -> list[Told]:
    stream = graph.astream(go(text), stream_mode=list(modes), subgraphs=True)
    return [entry async for ns, mode, chunk in stream for entry in told(mode, chunk, ns)]


def _for_ever(policy: Callable[[list[BaseMessage]], Any]) -> Iterator[Reply]:
    while True:
        yield policy


def _in_threads(works: Sequence[Callable[[], Any]]) -> list[Any]:
    results: list[Any] = [None] * len(works)

    def work(n: int) -> None:
        results[n] = works[n]()

    threads = [threading.Thread(target=work, args=(n,)) for n in range(len(works))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    return results


# -- what could go missing or come twice -----------------------------------------------------------


@in_virtual_time
async def test_fast_calls(face: Face, delivery: str, ask: Ask) -> None:
    """A call that ends within the grace period is told of as well; it has no placeholder."""

    @effects()
    @tool
    async def fast(x: int) -> str:
        """Be fast."""
        await asyncio.sleep(0.005 * x)
        return f"fast {x}"

    replies = [ask(call("fast", "c1", x=0), call("fast", "c2", x=1)), "done"]
    graph = face.build([fast], replies, grace=0.01, delivery=delivery)
    entries = await listen_async(graph, ["custom", "messages", "updates"])
    story = ["issued", "running", "resolved", "delivered"]
    custom = stories(e for e in entries if e.mode == "custom")
    assert custom == {"future_1": story, "future_2": story}
    for mode in ("messages", "updates"):
        shown = stories(e for e in entries if e.mode == mode)
        assert shown == {"c1": ["answered"], "c2": ["answered"]}


@in_virtual_time
async def test_ended_between_steps(face: Face, delivery: str, ask: Ask) -> None:
    """A call that ends while no step runs is told of all the same."""
    gate = Gate()

    def on(entry: Told) -> None:
        if entry.mode == "updates" and entry.event == "pending":
            gate.open()  # the reader of the stream has the word; no step runs

    graph = face.build(
        [_echo(gate, 1)], [ask(call("echo", "c1")), "early", "done"], grace=0, delivery=delivery
    )
    entries = await listen_async(graph, ["custom", "updates"], on=on)
    custom = stories(e for e in entries if e.mode == "custom")
    story = ["issued", "running", "progress", "progress", "resolved", "delivered"]
    assert custom == {"future_1": story}
    assert stories(e for e in entries if e.mode == "updates") == {"future_1": MESSAGES["future_1"]}


@pytest.mark.parametrize("stream_mode", ["custom", pytest.param("tools", marks=tools_mode)])
def test_progress_from_worker_threads(
    face: Face, entry: Entry, delivery: str, ask: Ask, stream_mode: str
) -> None:
    """Sync tools write from their threads: nothing is lost or swapped, or comes after the end."""

    def chatter(x: int, runtime: ToolRuntime) -> str:
        future = get_config()["metadata"][FUTURE_METADATA]
        for n in range(50):
            get_stream_writer()({"future": future, "n": n})
            if stream_mode == "tools":
                runtime.emit_output_delta(n)
        return "said"

    calls = [call("chatter", f"c{n}", x=n) for n in (1, 2, 3)]
    graph = face.build(
        [_tool("chatter", chatter, None)], [ask(*calls), "early", "done"], grace=0, ttft=0.001
    )
    entries = entry.listen(graph, [stream_mode])
    for n in (1, 2, 3):
        own = [e for e in entries if e.call in (f"c{n}", f"future_{n}")]
        key = "n" if stream_mode == "custom" else "delta"
        progress = [e.payload[key] for e in own if e.event == "progress"]
        assert progress == list(range(50))
        others = [e.event for e in own if e.event != "progress"]
        before = own.index(next(e for e in own if e.event in ("resolved", "finished")))
        assert all(e.event != "progress" for e in own[before:])
        expected = ["issued", "running", "resolved", "delivered"]
        assert others == (expected if stream_mode == "custom" else ["started", "finished"])


@in_virtual_time
async def test_a_step_that_is_retried(delivery: str, ask: Ask) -> None:
    """A retry policy that starts a step again issues nothing again, and tells of nothing twice."""
    gate = Gate()
    node = AsyncFCToolNode([_echo(gate, 1)], grace=0, delivery=delivery, stream_events=True)
    tries = 0

    async def flaky(state: Any, config: RunnableConfig) -> Any:
        nonlocal tries
        answer = await node.ainvoke(state, config)
        tries += 1
        if tries == 1:
            raise ConnectionError
        return answer

    rest = iter([ask(call("echo", "c1")), "early", "done"])

    def policy(messages: list[BaseMessage]) -> AIMessage | str:
        reply = next(rest)
        if reply == "early":
            gate.open()
        return reply

    model = ScriptedChatModel(policy=policy)
    retry = RetryPolicy(retry_on=ConnectionError, initial_interval=0.1, jitter=False)
    graph = _graph(model, flaky, retry_policy=retry)
    entries = await listen_async(graph, ["custom", "updates"])
    assert tries == 3
    custom = stories(e for e in entries if e.mode == "custom")
    story = ["issued", "running", "progress", "progress", "resolved", "delivered"]
    assert custom == {"future_1": story}
    assert stories(e for e in entries if e.mode == "updates") == {"future_1": MESSAGES["future_1"]}


@tools_mode
@in_virtual_time
async def test_a_tool_that_is_retried(delivery: str, ask: Ask) -> None:
    """Each try is a run of the tool; to the future they are one."""
    pytest.importorskip("langchain", minversion="1.4.6")
    from langchain.agents.middleware import ToolRetryMiddleware

    tries = 0

    @effects()
    @tool
    async def flaky() -> str:
        """Fail once."""
        nonlocal tries
        tries += 1
        if tries == 1:
            raise ValueError("boom")
        return "ok"

    retry = ToolRetryMiddleware(max_retries=1, initial_delay=1.0, jitter=False)
    replies = [ask(call("flaky", "c1")), "early", "done"]
    graph = Face("middleware").build([flaky], replies, inner=[retry], delivery=delivery)
    entries = await listen_async(graph, ["custom", "tools"])
    assert stories(e for e in entries if e.mode == "tools") == {
        "c1": ["started", "error", "started", "finished"]
    }
    assert stories(e for e in entries if e.mode == "custom") == {"future_1": CUSTOM["future_2"]}


def test_a_joined_call_goes_on_alone(face: Face, entry: Entry, delivery: str, ask: Ask) -> None:
    """When a call that others joined is cancelled, the first of them runs, and says so."""
    runs: list[int] = []

    async def twin(x: int) -> str:
        runs.append(x)
        if len(runs) == 1:
            await asyncio.Event().wait()
        return f"twin {x}"

    replies = [
        ask(call("twin", "c1", x=1), call("twin", "c2", x=1), call("twin", "c3", x=1)),
        ask(call("cancel_future", "k1", futures=["future_1"])),
        "early",
        "done",
    ]
    graph = face.build([_tool("twin", None, twin)], replies, grace=0, delivery=delivery)
    entries = entry.listen(graph, ["custom"])
    assert stories(entries) == {
        "future_1": ["issued", "running", "cancelled", "delivered"],
        "future_2": ["issued", "running", "resolved", "delivered"],
        "future_3": ["issued", "resolved", "delivered"],
    }


def test_a_sync_tool_writes_on_after_its_cancellation(face: Face, delivery: str, ask: Ask) -> None:
    """It cannot be stopped: its progress goes on, and its future does not change any more."""
    gate, ended = Gate(), threading.Event()

    def stuck() -> str:
        future = get_config()["metadata"][FUTURE_METADATA]
        gate.wait()
        get_stream_writer()({"future": future})
        ended.set()
        return "late"

    def open_gate(messages: list[BaseMessage]) -> str:
        gate.open()
        assert ended.wait(20)
        return "done"

    cancel = ask(call("cancel_future", "k1", futures=["future_1"]))
    replies = [ask(call("stuck", "c1")), cancel, open_gate, "done"]
    graph = face.build([_tool("stuck", stuck, None)], replies, grace=0, delivery=delivery)
    entries = listen(graph, ["custom", "messages"])
    custom = stories(e for e in entries if e.mode == "custom")["future_1"]
    assert custom.index("cancelled") < custom.index("progress")
    assert sorted(custom) == ["cancelled", "delivered", "issued", "progress", "running"]
    shown = stories(e for e in entries if e.mode == "messages")
    assert shown == {"future_1": ["pending", "cancelled"]}


@in_virtual_time
async def test_a_stream_that_is_left_early(face: Face, delivery: str, ask: Ask) -> None:
    """Closing a stream ends its calls, without a word to anybody else."""
    complaints: list[Any] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, c: complaints.append(c))
    gate = Gate()
    rest = [ask(call("echo", "c1")), "early", ask(call("echo", "c2")), "early", "done"]
    graph = face.build([_echo(gate, 1)], rest, grace=0, delivery=delivery)
    stream = graph.astream(go(), stream_mode="custom")
    async for chunk in stream:
        if chunk.get("event") == "running":
            break
    await stream.aclose()
    assert_no_tasks()
    gate.open()
    assert complaints == []


@in_virtual_time
async def test_events_carry_the_other_modes(face: Face, delivery: str, ask: Ask) -> None:
    """`astream_events` takes `stream_mode`; what it asks for is in the root run's stream."""
    graph = _agent(face, ask, delivery)
    entries: list[Told] = []
    modes = ["custom", "updates"]
    async for event in graph.astream_events(go(), STEPS, version="v2", stream_mode=modes):
        if event["event"] == "on_chain_stream" and not event["parent_ids"]:
            entries += told(*event["data"]["chunk"])
    for mode in modes:
        assert stories(e for e in entries if e.mode == mode) == EXPECTED[mode]


# -- the end of a turn -----------------------------------------------------------------------------


@in_virtual_time
async def test_an_answer_that_was_too_early(face: Face, delivery: str, ask: Ask) -> None:
    """`"updates"` shows the answer again, under its id, as a message that waits."""
    gate = Gate()

    def early(messages: list[BaseMessage]) -> str:
        gate.open()
        return "early"

    graph = face.build(
        [_echo(gate, 1)], [ask(call("echo", "c1")), early, "done"], grace=0, delivery=delivery
    )
    said: list[AIMessage] = []
    waits: list[str] = []
    async for mode, chunk in graph.astream(go(), stream_mode=["updates", "messages"]):
        if mode == "updates":
            for update in chunk.values():
                said += [m for m in (update or {}).get("messages", []) if isinstance(m, AIMessage)]
        elif isinstance(chunk[0], ToolMessage) and chunk[0].name == "await_future":
            waits.append(chunk[0].tool_call_id)
    first, again = [m for m in said if m.text == "early"]
    assert first.id == again.id
    assert [c["name"] for c in again.tool_calls] == ["await_future"]
    assert waits == [again.tool_calls[0]["id"]]


# -- runs that follow each other -------------------------------------------------------------------


def _detached(face: Face, ask: Ask, seconds: float, **options: Any) -> Any:
    @effects()
    @tool
    async def slow() -> str:
        """Take a while."""
        await asyncio.sleep(seconds)
        return "slept"

    replies = [ask(call("slow", "c1")), "bye", "hello", "done", "done"]
    return face.build(
        [slow], replies, checkpointer=InMemorySaver(), on_final="detach", ttft=1.0, **options
    )


@in_virtual_time
async def test_a_detached_call_in_messages(face: Face, delivery: str, ask: Ask) -> None:
    """What is delivered in the next run of the thread is shown there, once."""
    graph = _detached(face, ask, 5, delivery=delivery)
    first = stories(await _detaching(graph, ["messages", "updates"]))
    assert first == {"future_1": ["pending"] * 2}
    await asyncio.sleep(10)
    entries = await listen_async(graph, ["messages", "updates"], config=THREAD)
    for mode in ("messages", "updates"):
        assert stories(e for e in entries if e.mode == mode) == {"future_1": ["resolved"]}


async def _detaching(graph: Any, modes: Sequence[str]) -> list[Told]:
    stream = graph.astream(go(), THREAD, stream_mode=list(modes), subgraphs=True)
    return [entry async for ns, mode, chunk in stream for entry in told(mode, chunk, ns)]


@in_virtual_time
async def test_a_detached_call_in_custom(face: Face, delivery: str, ask: Ask) -> None:
    """The run that delivers says so."""
    graph = _detached(face, ask, 5, delivery=delivery)
    assert stories(await _detaching(graph, ["custom"])) == {"future_1": ["issued", "running"]}
    await asyncio.sleep(10)
    entries = await listen_async(graph, ["custom"], config=THREAD)
    assert stories(entries)["future_1"][-1:] == ["delivered"]


@in_virtual_time
async def test_an_interrupt_is_no_failure(face: Face, delivery: str, ask: Ask) -> None:
    """Neither for the call that asks, nor for one that depends on it; both run when resumed."""

    @effects(foreground=True)
    @tool
    async def approve() -> str:
        """Ask a person."""
        return interrupt("ok?")

    @effects()
    @tool
    async def apply(x: str) -> str:
        """Apply it."""
        return f"applied {x}"

    replies = [ask(call("approve", "c1"), call("apply", "c2", x="future_1")), "done", "done"]
    graph = face.build([approve, apply], replies, checkpointer=InMemorySaver(), delivery=delivery)
    paused = stories(await listen_async(graph, ["custom"], config=THREAD))
    assert paused == {"future_1": ["issued", "running"], "future_2": ["issued"]}
    resumed = await listen_async(graph, ["custom"], Command(resume="yes"), THREAD)
    story = ["issued", "running", "resolved", "delivered"]
    assert stories(resumed) == {"future_1": story, "future_2": story}


# -- executors and threads -------------------------------------------------------------------------


@in_virtual_time
async def test_outcomes_reported_from_anywhere(face: Face, delivery: str, ask: Ask) -> None:
    """An executor may report where no run is known; its news reach the stream of the call."""
    executor = ManualExecutor()

    @effects()
    @tool
    async def slow() -> str:
        """Never called."""
        raise AssertionError

    replies = [ask(call("slow", "c1")), "early", "done"]
    graph = face.build([slow], replies, executor=executor, delivery=delivery, ttft=1.0)
    loop = asyncio.get_running_loop()
    loop.call_later(5, lambda: executor.resolve("future_1", "v"), context=Context())
    async with asyncio.timeout(60):
        entries = await listen_async(graph, ["custom", "messages"])
    custom = [e for e in entries if e.mode == "custom"]
    assert stories(custom) == {"future_1": CUSTOM["future_2"]}
    assert {e.namespace for e in custom} == {()}


@in_virtual_time
async def test_a_carrier_that_is_replaced_itself(ask: Ask) -> None:
    """Two outcomes at once, before the model sees the younger one's placeholder: each once."""
    pytest.importorskip("langchain", minversion="1.4.6")
    executor = ManualExecutor()

    @effects()
    @tool
    async def slow(x: int) -> str:
        """Never called."""
        raise AssertionError

    def on(entry: Told) -> None:
        if entry == Told("updates", "future_2", "pending") and executor.running:
            executor.resolve("future_1", "one")
            executor.resolve("future_2", "two")

    replies = [ask(call("slow", "c1", x=1)), ask(call("slow", "c2", x=2)), "early", "done"]
    graph = Face("middleware").build(
        [slow], replies, executor=executor, delivery="append", ttft=1.0, stream_events=False
    )
    entries = await listen_async(graph, ["updates"], on=on)
    shown = stories(entries)
    assert shown["future_1"] == ["pending", "resolved"]
    assert shown["future_2"] == ["pending", "resolved"]


def test_one_background_loop() -> None:
    """However many come first: a tool must be ended on the loop on which it runs."""
    script = """
import sys, threading
sys.setswitchinterval(1e-6)
from langchain_asyncfc.executors import background_loop, worker_pool
together = threading.Barrier(8)
found = []
def first():
    together.wait()
    found.append((background_loop(), worker_pool()))
threads = [threading.Thread(target=first) for _ in range(8)]
[t.start() for t in threads], [t.join() for t in threads]
print(len({id(loop) for loop, _ in found}), len({id(pool) for _, pool in found}))
"""
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True, timeout=60
    )
    assert done.stdout.split() == ["1", "1"]
