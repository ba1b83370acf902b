"""One suite, two classes: everything here runs on `ToolNode` and on `AsyncFCToolNode`.

The suite is about what the two have in common: a call that ends in the step that issued it. The
asynchronous node is therefore built with a grace period that no call of the suite outlasts, so
that no expectation depends on the speed of the machine.

Test modules take what they need from fixtures and import nothing from here at run time.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import pytest
from langchain_core.language_models import BaseChatModel
from langchain_core.messages import AIMessage, AnyMessage, BaseMessage, HumanMessage
from langchain_core.outputs import ChatGeneration, ChatResult
from langgraph.graph import END, START, MessagesState, StateGraph
from langgraph.prebuilt import ToolNode
from langgraph.runtime import Runtime
from langgraph.store.base import BaseStore

from langchain_asyncfc import AsyncFCToolNode

GRACE = 60.0
"""Seconds: longer than any call of this suite takes, so none of them becomes a future."""

RUNTIME_KEY = "__pregel_runtime"
"""Where LangGraph hands a node its `Runtime`, as its own tests of `ToolNode` do."""

Call = tuple[str, dict[str, Any]]
"""A tool's name and the arguments; the ids are "1", "2", ... in the order given."""

NodeClass = type[ToolNode]
MakeNode = Callable[..., ToolNode]
Ask = Callable[..., AIMessage]
Wrapped = Callable[..., ToolNode]


def _ask(*calls: Call) -> AIMessage:
    """The model's message that makes these calls, with the ids "1", "2", ..."""
    return AIMessage(
        "",
        tool_calls=[
            {"name": name, "args": args, "id": str(n), "type": "tool_call"}
            for n, (name, args) in enumerate(calls, start=1)
        ],
    )


def _without_id(message: AnyMessage) -> AnyMessage:
    return message.model_copy(update={"id": None})


class State(MessagesState, total=False):
    """The state of the graphs that `Way` builds: messages and a few free fields."""

    foo: Any
    bar: Any


@dataclass(frozen=True, slots=True)
class Mode:
    """The sync or the async entry points, behind methods that block."""

    name: Literal["sync", "async"]

    @property
    def is_async(self) -> bool:
        """Whether the async entry points are under test."""
        return self.name == "async"

    def call(self, runnable: Any, value: Any, config: Any = None, **options: Any) -> Any:
        """`invoke`, or `ainvoke` in an event loop of its own."""
        if not self.is_async:
            return runnable.invoke(value, config, **options)

        async def run() -> Any:
            return await runnable.ainvoke(value, config, **options)

        return asyncio.run(run())

    def stream(self, runnable: Any, value: Any, config: Any = None, **options: Any) -> list[Any]:
        """All chunks of `stream` or `astream`."""
        if not self.is_async:
            return list(runnable.stream(value, config, **options))

        async def run() -> list[Any]:
            return [chunk async for chunk in runnable.astream(value, config, **options)]

        return asyncio.run(run())

    def bare(
        self,
        node: Any,
        value: Any,
        config: dict[str, Any] | None = None,
        **runtime: Any,
    ) -> Any:
        """Call a node outside of a graph; `runtime` are the fields of its `Runtime`."""
        config = dict(config or {})
        config["configurable"] = {
            RUNTIME_KEY: Runtime(**runtime),
            **config.get("configurable", {}),
        }
        return self.call(node, value, config)


@dataclass(frozen=True, slots=True)
class Way:
    """One way to have a message's tool calls answered: bare or in a graph, in one mode."""

    mode: Mode
    place: Literal["bare", "invoke", "stream"]

    def answer(
        self,
        node: Any,
        *calls: Call,
        state: dict[str, Any] | None = None,
        config: dict[str, Any] | None = None,
        store: BaseStore | None = None,
        context: Any = None,
    ) -> list[Any]:
        """The messages that answer `calls`, in order, ids taken off.

        An id is `None` outside of a graph, and set by the reducer inside of one.
        """
        given = {"messages": [HumanMessage("go", id="go"), _ask(*calls)], **(state or {})}
        if self.place == "bare":
            answers = self.mode.bare(node, given, config, store=store, context=context)["messages"]
            assert all(message.id is None for message in answers)
            return list(answers)
        graph = one_step_graph(node, store)
        if self.place == "invoke":
            final = self.mode.call(graph, given, config, context=context)
        else:
            options = {"context": context, "stream_mode": "values"}
            final = self.mode.stream(graph, given, config, **options)[-1]
        answers = final["messages"][2:]
        assert all(isinstance(message.id, str) for message in answers)
        return [_without_id(message) for message in answers]


def one_step_graph(
    node: Any, store: BaseStore | None = None, checkpointer: Any = None, schema: Any = State
) -> Any:
    """A compiled graph that only runs `node`, under the name "tools"."""
    builder = StateGraph(schema)
    builder.add_node("tools", node)
    builder.add_edge(START, "tools")
    builder.add_edge("tools", END)
    return builder.compile(store=store, checkpointer=checkpointer)


class ScriptedModel(BaseChatModel):
    """A model that says the n-th reply after n messages of its own."""

    replies: list[AIMessage]

    @property
    def _llm_type(self) -> str:
        return "scripted"

    def bind_tools(self, tools: Sequence[Any], **kwargs: Any) -> Any:
        """Need no tools."""
        return self

    def _generate(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: Any = None,
        **kwargs: Any,
    ) -> ChatResult:
        turn = sum(isinstance(message, AIMessage) for message in messages)
        return ChatResult(generations=[ChatGeneration(message=self.replies[turn])])


@pytest.fixture(params=[ToolNode, AsyncFCToolNode])
def node_class(request: pytest.FixtureRequest) -> NodeClass:
    """The class under test."""
    return request.param


@pytest.fixture
def asyncfc(node_class: NodeClass) -> bool:
    """Whether the class under test is `AsyncFCToolNode`, for documented differences."""
    return node_class is not ToolNode


@pytest.fixture
def make_node(node_class: NodeClass, asyncfc: bool) -> MakeNode:
    """Builds the node under test from `ToolNode`'s arguments."""

    def make(tools: Sequence[Any], **options: Any) -> ToolNode:
        if asyncfc:
            options.setdefault("grace", GRACE)
        return node_class(tools, **options)

    return make


@pytest.fixture(params=["sync", "async"])
def mode(request: pytest.FixtureRequest) -> Mode:
    """Sync and async entry points."""
    return Mode(request.param)


@pytest.fixture(params=["bare", "invoke", "stream"])
def way(request: pytest.FixtureRequest, mode: Mode) -> Way:
    """Each way to have calls answered: bare, by `invoke` and by `stream`, sync and async."""
    return Way(mode, request.param)


@pytest.fixture(params=["bare", "invoke", "stream"])
def async_way(request: pytest.FixtureRequest) -> Way:
    """The async half of `way`, for tools that have only a coroutine."""
    return Way(Mode("async"), request.param)


def _drive(steps: Callable[..., Any]) -> tuple[Any, Any]:
    """A sync and an async wrapper from one generator function.

    The generator gets the request, yields requests to be executed, is sent their answers or has
    their errors thrown into it, and returns the final answer.
    """

    def sync_wrapper(request: Any, execute: Any) -> Any:
        generator = steps(request)
        resume: tuple[Any, ...] = (generator.send, None)
        while True:
            try:
                wanted = resume[0](resume[1])
            except StopIteration as stop:
                return stop.value
            try:
                resume = (generator.send, execute(wanted))
            except Exception as error:  # noqa: BLE001 - the generator's to judge
                resume = (generator.throw, error)

    async def async_wrapper(request: Any, execute: Any) -> Any:
        generator = steps(request)
        resume: tuple[Any, ...] = (generator.send, None)
        while True:
            try:
                wanted = resume[0](resume[1])
            except StopIteration as stop:
                return stop.value
            try:
                resume = (generator.send, await execute(wanted))
            except Exception as error:  # noqa: BLE001 - the generator's to judge
                resume = (generator.throw, error)

    return sync_wrapper, async_wrapper


@pytest.fixture(params=["own", "fallback"])
def wrapped(request: pytest.FixtureRequest, make_node: MakeNode) -> Wrapped:
    """Builds a node whose wrapper is a generator function (see `_drive`).

    It stands behind the wrappers of both kinds ("own"), or behind the sync one alone, which async
    runs fall back on ("fallback").
    """

    def build(tools: Sequence[Any], steps: Callable[..., Any], **options: Any) -> ToolNode:
        sync_wrapper, async_wrapper = _drive(steps)
        if request.param == "own":
            options["awrap_tool_call"] = async_wrapper
        return make_node(tools, wrap_tool_call=sync_wrapper, **options)

    return build


@pytest.fixture
def ask() -> Ask:
    """Builds the model's message from calls."""
    return _ask


@pytest.fixture
def graph_of() -> Callable[..., Any]:
    """Builds a compiled graph that only runs the given node."""
    return one_step_graph


@pytest.fixture
def without_ids() -> Callable[[Sequence[AnyMessage]], list[AnyMessage]]:
    """Takes the ids off messages, where a reducer has set random ones."""
    return lambda messages: [_without_id(message) for message in messages]


@pytest.fixture
def scripted_model() -> Callable[..., ScriptedModel]:
    """Builds a chat model from its replies."""
    return lambda *replies: ScriptedModel(replies=list(replies))
