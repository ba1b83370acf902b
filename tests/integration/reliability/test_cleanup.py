"""Nothing is left of a run (rule 19): every end x both faces x sync and async x kinds of tools.

In each cell the model makes two calls, of which the second waits for the first. When it is called
again the first is held for ever, and the run ends there. After it no task is left, no thread is
busy, the second call has not begun, and all that callbacks were told has begun, has ended, once.

A sync tool cannot be stopped. Its thread is busy until it is released, and then nothing happens:
its result is dropped, the thread's state is the same, and nobody complains.
"""

from __future__ import annotations

import asyncio
import gc
import logging
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, Literal
from uuid import UUID

import pytest
from langchain_core.callbacks import AsyncCallbackHandler, BaseCallbackHandler
from langchain_core.messages import AIMessage, BaseMessage, HumanMessage
from langchain_core.runnables import RunnableLambda
from langchain_core.tools import BaseTool, StructuredTool
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.config import get_stream_writer
from langgraph.errors import GraphRecursionError
from langgraph.graph import END, START, MessagesState, StateGraph

from langchain_asyncfc import AsyncFCToolNode, effects, tools_condition
from langchain_asyncfc.executors import background_loop, worker_pool
from langchain_asyncfc.testing import ScriptedChatModel, call, in_virtual_time
from tests.integration.conftest import PATIENCE, assert_no_tasks

Entry = Literal["async", "sync"]
Kind = Literal["async tool", "sync tool", "nested", "subgraph", "sync tool, closed loop"]

STEP_TIMEOUT = 0.5
"""Seconds: enough for a step that does nothing, and waited for once a test."""
LIMIT = 16
"""Steps: more than the calls need to be made."""


STANDING = ("cancel", "timeout", "step_timeout", "aclose events", "drop events")
"""Ends for which the model does not answer. A node that is ended before it has come to anything
would leave its own trace open; that is LangGraph's."""


class Stop(Exception):
    """Raised by the model."""


class Traces(BaseCallbackHandler):
    """Notes what begins and what ends."""

    run_inline = True

    def __init__(self, on_tool: Callable[[], None] = lambda: None) -> None:
        self.begun: dict[UUID, str] = {}
        self.ended: list[UUID] = []
        self._on_tool = on_tool

    def on_chain_start(self, serialized: Any, inputs: Any, *, run_id: UUID, **kwargs: Any) -> None:
        """Note a chain."""
        self.begun[run_id] = f"chain {kwargs.get('name')}"

    def on_tool_start(self, serialized: Any, text: Any, *, run_id: UUID, **kwargs: Any) -> None:
        """Note a tool."""
        self.begun[run_id] = f"tool {serialized['name']}"
        self._on_tool()

    def _end(self, _: Any, *, run_id: UUID, **kwargs: Any) -> None:
        self.ended.append(run_id)

    on_chain_end = on_chain_error = on_tool_end = on_tool_error = _end

    def open(self) -> list[str]:
        """What has begun and not ended. Nothing has ended that did not begin, or twice."""
        assert len(self.ended) == len(set(self.ended))
        assert set(self.ended) <= set(self.begun)
        return [name for run_id, name in self.begun.items() if run_id not in self.ended]

    def tools(self) -> list[str]:
        """The tools that have begun, in order."""
        return [name[5:] for name in self.begun.values() if name.startswith("tool ")]


class Scene:
    """A graph, its tools and its model.

    Attributes:
        held: Set when the tool is held.
        here: Set when the model was called while it was.
        release: Lets a sync tool end.
        log: What the tools did.
        traces: What callbacks were told.
    """

    def __init__(self, face: str, entry: Entry, kind: Kind, end: str) -> None:
        self.face, self.entry, self.kind, self.ending = face, entry, kind, end
        self.held = threading.Event()
        self.here = threading.Event()
        self.release = threading.Event()
        self.log: list[str] = []
        self.traces = Traces()
        self.config = {"callbacks": [self.traces], "configurable": {"thread_id": "t"}}
        self.stoppable = not kind.startswith("sync tool") and (entry, kind) != ("sync", "nested")
        self.graph = self._graph()

    # -- the model ----------------------------------------------------------------------------

    def _first(self, messages: Sequence[BaseMessage]) -> AIMessage | None:
        if isinstance(messages[-1], HumanMessage):
            calls = [call("hold", "c1"), call("after", "c2", x="future_1")]
            return AIMessage("", tool_calls=calls)
        return None

    def _second(self) -> AIMessage | str:
        if self.ending == "raise":
            raise Stop
        return AIMessage("", tool_calls=[call("quick")]) if self.ending == "recursion" else "bye"

    def policy(self, messages: list[BaseMessage]) -> AIMessage | str:
        """What the model says in a thread."""
        first = self._first(messages)
        if first is not None:
            return first
        assert self.held.wait(PATIENCE)
        self.here.set()
        if self.ending == "step_timeout":
            time.sleep(2 * STEP_TIMEOUT)  # nothing ends a thread
        return self._second()

    async def apolicy(self, messages: list[BaseMessage]) -> AIMessage | str:
        """What the model says on an event loop."""
        first = self._first(messages)
        if first is not None:
            return first
        await until(self.held)
        self.here.set()
        if self.ending in STANDING:
            await asyncio.Event().wait()
        return self._second()

    # -- the graph ----------------------------------------------------------------------------

    def _tools(self) -> list[BaseTool]:
        inner: Any = None
        if self.kind == "nested":
            inner = self._agent([made("hold_inside", *self._hold())], inside=True)

        def hold() -> str:
            return inner.invoke(go())["messages"][-1].text

        async def ahold() -> str:
            return (await inner.ainvoke(go()))["messages"][-1].text

        def after(x: str) -> str:
            self.log.append("after")
            return x

        async def quick() -> str:
            return "quick"

        held = self._hold() if inner is None else (hold, ahold)
        return [made("hold", *held), made("after", after), made("quick", None, quick)]

    def _hold(self) -> tuple[Any, Any]:
        def hold() -> str:
            self.held.set()
            assert self.release.wait(PATIENCE)
            get_stream_writer()("late")
            self.log.append("late")
            return "late"

        async def ahold() -> str:
            self.held.set()
            try:
                await asyncio.Event().wait()
            finally:
                self.log.append("cancelled")
            raise AssertionError

        return (None, ahold) if self.stoppable else (hold, None)

    def _agent(self, tools: list[BaseTool], *, inside: bool = False, **of_graph: Any) -> Any:
        policy = self._inside if inside else self.policy
        if self.entry == "async" and not inside:
            policy = self.apolicy  # type: ignore[assignment]
        model = ScriptedChatModel(policy=policy)
        if self.face == "middleware":
            return self._with_middleware(model, tools, **of_graph)
        return self._with_node(model, tools, self.ending == "return" and not inside, **of_graph)

    def _inside(self, messages: list[BaseMessage]) -> AIMessage | str:
        if isinstance(messages[-1], HumanMessage):
            return AIMessage("", tool_calls=[call("hold_inside")])
        return "done"

    def _with_node(self, model: Any, tools: list[BaseTool], leaves: bool, **of_graph: Any) -> Any:
        def think(state: Any, config: Any) -> Any:
            return {"messages": [model.invoke(state["messages"], config)]}

        async def athink(state: Any, config: Any) -> Any:
            return {"messages": [await model.ainvoke(state["messages"], config)]}

        def route(state: Any) -> str:
            asked = tools_condition(state)
            return END if leaves and state["messages"][-1].text else asked

        builder = StateGraph(MessagesState)
        builder.add_node("agent", RunnableLambda(think, athink))
        builder.add_node("tools", AsyncFCToolNode(tools, grace=0))
        builder.add_edge(START, "agent")
        builder.add_conditional_edges("agent", route, ["tools", "agent", END])
        builder.add_edge("tools", "agent")
        return builder.compile(**of_graph)

    def _with_middleware(self, model: Any, tools: list[BaseTool], **of_graph: Any) -> Any:
        from langchain.agents import create_agent

        from langchain_asyncfc import AsyncFCMiddleware

        middleware = [AsyncFCMiddleware(grace=0)]
        return create_agent(model, tools, middleware=middleware, **of_graph)

    def _graph(self) -> Any:
        saver = InMemorySaver()
        agent = self._agent(self._tools(), checkpointer=None if self.kind == "subgraph" else saver)
        if self.ending == "step_timeout":
            # Of the graph whose step it is: the one above would wait for the thread, which is
            # LangGraph's to end.
            agent.step_timeout = STEP_TIMEOUT
        if self.kind == "subgraph":
            builder = StateGraph(MessagesState)
            builder.add_node("inner", agent)
            builder.add_edge(START, "inner")
            return builder.compile(checkpointer=saver)
        return agent

    # -- afterwards ---------------------------------------------------------------------------

    def state(self) -> Any:
        """What the checkpointer has."""
        state = self.graph.get_state(self.config, subgraphs=True)
        return [state.values, state.next, state.config, state.tasks]

    def assert_all_ended(self) -> None:
        """Assert that nothing is left; a sync tool is released first."""
        assert self.held.is_set() or self.ending == "step_timeout"
        if not self.stoppable and self.held.is_set() and not self.release.is_set():
            before = self.state()
            assert worker_pool().rest(0) >= 1
            self.release.set()
            assert worker_pool().rest(PATIENCE) == 0
            assert self.state() == before
        assert worker_pool().rest(PATIENCE) == 0
        assert asyncio.all_tasks(background_loop()) == set()
        # On a busy machine the model's own node may be ended too early in spite of that.
        mine = [n for n in self.traces.open() if self.ending not in STANDING or n != "chain model"]
        assert mine == []
        assert "after" not in self.log
        if self.stoppable and self.held.is_set():
            assert self.log == ["cancelled"]


def go() -> dict[str, Any]:
    """The input of a run."""
    return {"messages": [HumanMessage("go")]}


def made(name: str, function: Any, coroutine: Any = None) -> BaseTool:
    """A tool that writes nothing."""
    return effects()(StructuredTool.from_function(function, coroutine, name=name, description=name))


async def until(event: threading.Event) -> None:
    """Wait for an event that a thread may set."""
    while not event.is_set():  # noqa: ASYNC110 - another thread may set it
        await asyncio.sleep(0.001)


# -- how a run ends --------------------------------------------------------------------------------


async def _return(scene: Scene) -> None:
    await scene.graph.ainvoke(go(), scene.config)


async def _raise(scene: Scene) -> None:
    with pytest.raises(Stop):
        await scene.graph.ainvoke(go(), scene.config)


async def _cancel(scene: Scene) -> None:
    task = asyncio.create_task(scene.graph.ainvoke(go(), scene.config))
    await until(scene.here)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


async def _timeout(scene: Scene) -> None:
    async def limited() -> None:
        async with asyncio.timeout(None) as limit:
            watch = asyncio.create_task(until(scene.here))
            watch.add_done_callback(lambda _: limit.reschedule(0))
            await scene.graph.ainvoke(go(), scene.config)

    with pytest.raises(TimeoutError):
        await limited()


async def _step_timeout(scene: Scene) -> None:
    with pytest.raises(TimeoutError):
        await scene.graph.ainvoke(go(), scene.config)


async def _recursion(scene: Scene) -> None:
    with pytest.raises(GraphRecursionError):
        await scene.graph.ainvoke(go(), {**scene.config, "recursion_limit": LIMIT})


async def _to_the_middle(scene: Scene) -> Any:
    stream = scene.graph.astream(go(), scene.config, stream_mode="updates", subgraphs=True)
    async for _, chunk in stream:
        if "tools" in chunk:
            break
    await until(scene.held)
    return stream


async def _aclose(scene: Scene) -> None:
    await (await _to_the_middle(scene)).aclose()


async def _drop(scene: Scene) -> None:
    await _to_the_middle(scene)
    await _only_task()


async def _events_to_the_middle(scene: Scene) -> Any:
    stream = scene.graph.astream_events(go(), scene.config, version="v2")
    async for event in stream:
        asked = event["event"] == "on_chat_model_start"
        if asked and len(event["data"]["input"]["messages"][0]) > 1:
            break
    await until(scene.here)
    return stream


async def _aclose_events(scene: Scene) -> None:
    await (await _events_to_the_middle(scene)).aclose()


async def _drop_events(scene: Scene) -> None:
    await _events_to_the_middle(scene)
    await _only_task()


async def _raise_events(scene: Scene) -> None:
    scene.ending = "raise"
    with pytest.raises(Stop):
        async for _ in scene.graph.astream_events(go(), scene.config, version="v2"):
            pass


async def _only_task() -> None:
    """Wait until a stream that was dropped has been closed by the event loop."""
    gc.collect()
    async with asyncio.timeout(PATIENCE):
        while len(asyncio.all_tasks()) > 1:  # noqa: ASYNC110 - nobody else tells
            await asyncio.sleep(0.001)


ASYNC_ENDS = {
    "return": _return,
    "raise": _raise,
    "cancel": _cancel,
    "timeout": _timeout,
    "step_timeout": _step_timeout,
    "recursion": _recursion,
    "aclose": _aclose,
    "drop": _drop,
    "aclose events": _aclose_events,
    "drop events": _drop_events,
    "raise events": _raise_events,
}


def _sync_return(scene: Scene) -> None:
    scene.graph.invoke(go(), scene.config)


def _sync_raise(scene: Scene) -> None:
    with pytest.raises(Stop):
        scene.graph.invoke(go(), scene.config)


def _sync_step_timeout(scene: Scene) -> None:
    with pytest.raises(TimeoutError):
        scene.graph.invoke(go(), scene.config)


def _sync_recursion(scene: Scene) -> None:
    with pytest.raises(GraphRecursionError):
        scene.graph.invoke(go(), {**scene.config, "recursion_limit": LIMIT})


def _sync_to_the_middle(scene: Scene) -> Iterator[Any]:
    stream = scene.graph.stream(go(), scene.config, stream_mode="updates", subgraphs=True)
    for _, chunk in stream:
        if "tools" in chunk:
            break
    assert scene.held.wait(PATIENCE)
    return stream


def _sync_close(scene: Scene) -> None:
    _sync_to_the_middle(scene).close()  # type: ignore[attr-defined]


def _sync_drop(scene: Scene) -> None:
    _sync_to_the_middle(scene)
    gc.collect()


SYNC_ENDS = {
    "return": _sync_return,
    "raise": _sync_raise,
    "step_timeout": _sync_step_timeout,
    "recursion": _sync_recursion,
    "close": _sync_close,
    "drop": _sync_drop,
}


# -- the tests -------------------------------------------------------------------------------------


def cells(ends: Iterable[str]) -> list[tuple[str, str]]:
    """Both faces with each end. However an agent returns, the middleware waits for its calls."""
    return [
        (face, end)
        for face in ("node", "middleware")
        for end in ends
        if (face, end) != ("middleware", "return")
    ]


@pytest.fixture(params=["node", "middleware"])
def face(request: pytest.FixtureRequest) -> str:
    """Both faces."""
    if request.param == "middleware":
        pytest.importorskip("langchain", minversion="1.4.6")
    return request.param


@pytest.fixture
def make_scene() -> Iterator[Callable[..., Scene]]:
    """Sets scenes; lets go of what a failed test holds."""
    scenes: list[Scene] = []

    def make(*args: Any) -> Scene:
        scenes.append(Scene(*args))
        return scenes[-1]

    yield make
    for scene in scenes:
        scene.release.set()


@pytest.fixture(autouse=True)
def quiet(caplog: pytest.LogCaptureFixture, request: pytest.FixtureRequest) -> Iterator[None]:
    """Nothing is logged as a warning, but that a run has left calls behind."""
    assert worker_pool().rest(PATIENCE) == 0
    yield
    gc.collect()
    records = [r for r in caplog.get_records("call") if r.levelno >= logging.WARNING]
    # A task of a node may end while LangGraph shuts its own threads down.
    told = [r.getMessage() for r in records if r.name != "concurrent.futures"]
    if "return" in request.node.name:
        assert [text.split(";")[0] for text in told] == [
            "A run stopped while future_1, future_2 ran"
        ]
    else:
        assert told == []


@pytest.mark.parametrize(
    "kind", ["async tool", "sync tool", "sync tool, closed loop", "nested", "subgraph"]
)
@pytest.mark.parametrize(("face", "end"), cells(ASYNC_ENDS), indirect=["face"])
def test_nothing_is_left_on_an_event_loop(
    face: str, kind: Kind, end: str, make_scene: Callable[..., Scene]
) -> None:
    """However the run ends."""
    scene = make_scene(face, "async", kind, end)
    complaints: list[Any] = []

    async def main() -> None:
        asyncio.get_running_loop().set_exception_handler(lambda _, c: complaints.append(c))
        await ASYNC_ENDS[end](scene)
        assert_no_tasks()
        if kind != "sync tool, closed loop":
            scene.assert_all_ended()
            await _only_task()  # what was dropped may be closed late

    asyncio.run(main())
    scene.assert_all_ended()
    assert complaints == []


@pytest.mark.parametrize("kind", ["async tool", "sync tool", "nested", "subgraph"])
@pytest.mark.parametrize(("face", "end"), cells(SYNC_ENDS), indirect=["face"])
def test_nothing_is_left_in_threads(
    face: str, kind: Kind, end: str, make_scene: Callable[..., Scene]
) -> None:
    """However the run ends; an async-only tool is ended on the background loop."""
    if kind == "subgraph" and end in ("close", "drop"):
        pytest.skip("LangGraph waits for a subgraph's thread, and so for its tools, as ever")
    scene = make_scene(face, "sync", kind, end)
    SYNC_ENDS[end](scene)
    scene.assert_all_ended()


# -- a call that is ended while its trace is opened or closed --------------------------------------


class Slow(AsyncCallbackHandler):
    """Takes a second for each event of a tool, as one that writes to a server."""

    def __init__(self) -> None:
        self.begun: list[UUID] = []
        self.ended: list[UUID] = []

    async def on_tool_start(self, serialized: Any, text: Any, *, run_id: UUID, **_: Any) -> None:
        """Note a tool."""
        await asyncio.sleep(1)
        self.begun.append(run_id)

    async def _end(self, _: Any, *, run_id: UUID, **kwargs: Any) -> None:
        await asyncio.sleep(1)
        self.ended.append(run_id)

    on_tool_end = on_tool_error = _end


@pytest.mark.parametrize("seconds", [0.5, 1.0, 1.5, 2.0, 2.5, 3.0, 3.5])
@in_virtual_time
async def test_a_trace_that_takes_its_time(face: str, seconds: float) -> None:
    """Whether a handler is told of a tool's start, or of its end, when the call times out."""
    slow, traces = Slow(), Traces()

    async def work() -> str:
        await asyncio.sleep(1)
        return "worked"

    graph = one_call(face, made("work", None, work), timeout=seconds)
    final = await graph.ainvoke(go(), {"callbacks": [slow, traces]})
    assert final["messages"][-1].text == "done"
    assert slow.begun == slow.ended
    assert len(slow.begun) == 1
    assert traces.open() == []


@pytest.mark.parametrize("rounds", range(8))
@in_virtual_time
async def test_a_run_that_is_cancelled_at_the_start_of_a_tool(face: str, rounds: int) -> None:
    """However few rounds of the event loop it has been told of."""
    loop = asyncio.get_running_loop()
    log: list[str] = []

    async def work() -> str:
        log.append("start")
        try:
            await asyncio.Event().wait()
        finally:
            log.append("end")
        raise AssertionError

    def count(left: int) -> None:
        if left:
            loop.call_soon(count, left - 1)
        else:
            task.cancel()

    traces = Traces(lambda: count(rounds))
    graph = one_call(face, made("work", None, work))
    task = asyncio.create_task(graph.ainvoke(go(), {"callbacks": [traces]}))
    with pytest.raises(asyncio.CancelledError):
        await task
    assert_no_tasks()
    assert traces.tools() == ["work"]
    assert traces.open() == []
    assert log in ([], ["start", "end"])


def test_an_async_tool_that_is_ended_at_its_start_in_threads(face: str) -> None:
    """On the background loop, too, its trace is closed."""
    begun, log = threading.Event(), []

    async def work() -> str:
        log.append("start")
        await asyncio.Event().wait()
        raise AssertionError

    def begin() -> None:
        begun.set()
        time.sleep(0.1)  # meanwhile the run ends, in another thread

    def fail() -> AIMessage:
        assert begun.wait(PATIENCE)
        raise Stop

    traces = Traces(begin)
    graph = one_call(face, made("work", None, work), second=fail)
    with pytest.raises(Stop):
        graph.invoke(go(), {"callbacks": [traces]})
    assert traces.open() == []
    assert worker_pool().rest(PATIENCE) == 0


@in_virtual_time
async def test_a_tool_whose_trace_is_its_own(face: str) -> None:
    """A tool with an `ainvoke` of its own is cancelled there: nobody else knows where it is."""
    log: list[str] = []

    class Own(BaseTool):
        name: str = "work"
        description: str = "work"

        def _run(self) -> str:
            raise AssertionError

        async def ainvoke(self, *args: Any, **kwargs: Any) -> Any:
            try:
                await asyncio.sleep(100)
            finally:
                log.append("end")

    graph = one_call(face, effects()(Own()), timeout=1.0)
    final = await graph.ainvoke(go())
    assert final["messages"][-1].text == "done"
    assert asyncio.get_running_loop().time() < 10
    assert log == ["end"]


def one_call(
    face: str,
    of: BaseTool,
    *,
    second: Callable[[], AIMessage | str] = lambda: "done",
    **options: Any,
) -> Any:
    """A graph whose model calls one tool."""

    def policy(messages: list[BaseMessage]) -> AIMessage | str:
        first = isinstance(messages[-1], HumanMessage)
        return AIMessage("", tool_calls=[call(of.name)]) if first else second()

    model = ScriptedChatModel(policy=policy)
    if face == "middleware":
        from langchain.agents import create_agent

        from langchain_asyncfc import AsyncFCMiddleware

        return create_agent(model, [of], middleware=[AsyncFCMiddleware(grace=0, **options)])

    def think(state: Any) -> Any:
        return {"messages": [model.invoke(state["messages"])]}

    builder = StateGraph(MessagesState)
    builder.add_node("agent", think)
    builder.add_node("tools", AsyncFCToolNode([of], grace=0, **options))
    builder.add_edge(START, "agent")
    builder.add_conditional_edges("agent", tools_condition)
    builder.add_edge("tools", "agent")
    return builder.compile()
