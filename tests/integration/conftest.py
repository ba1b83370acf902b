"""Agents on real graphs whose tools end when a test says so.

Tools are closed by gates, which the model's script opens: the order of all events is thus the
script's, in threads (`invoke`, `stream`) as on an event loop in virtual time (`ainvoke`,
`astream`). Every list of messages that a model is sent, and every final one, is checked against
the rules of the providers.
"""

from __future__ import annotations

import asyncio
import gc
import inspect
import logging
import threading
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass, field
from types import ModuleType
from typing import Any, Literal

import pytest
from langchain_core.messages import AIMessage, BaseMessage, HumanMessage, ToolCall, ToolMessage
from langchain_core.runnables import RunnableLambda
from langchain_core.tools import BaseTool, StructuredTool
from langgraph.graph import START, MessagesState, StateGraph

from langchain_asyncfc import AsyncFCToolNode, Effects, effects, tools_condition
from langchain_asyncfc.testing import ScriptedChatModel, assert_valid_history, run_virtual

PATIENCE = 20.0
"""Seconds of wall time after which a gate that nobody opens fails its test."""

Reply = AIMessage | str | Callable[[list[BaseMessage]], AIMessage | str]


_SCHEMAS: dict[tuple[str, str], Any] = {}
"""By a tool's name and signature the schema that LangChain infers for its arguments."""


class Gate:
    """Holds a tool until it is opened, in a thread or on an event loop.

    Attributes:
        entered: Set when a tool has come to the gate.
    """

    def __init__(self) -> None:
        self.entered = threading.Event()
        self._opened = threading.Event()
        self._waiting: list[asyncio.Event] = []

    def open(self) -> None:
        """Let everybody through, from now on."""
        self._opened.set()
        for event in self._waiting:
            event.set()

    def wait(self) -> None:
        """Stand at the gate in this thread."""
        self.entered.set()
        assert self._opened.wait(PATIENCE), "nobody opened the gate"

    async def wait_async(self) -> None:
        """Stand at the gate on this event loop."""
        self.entered.set()
        event = asyncio.Event()
        self._waiting.append(event)
        if not self._opened.is_set():
            await event.wait()


def declared(
    run: Any, arun: Any, name: str, does: Effects | None, options: dict[str, Any]
) -> BaseTool:
    """A tool of both colours, with effects if there are any.

    The schema of its arguments is made once for all tools of this name and signature: that takes
    longer than to make the rest of a small agent.
    """
    known = (name, str(inspect.signature(run)))
    if known in _SCHEMAS:
        options = {"args_schema": _SCHEMAS[known], **options}
    made = StructuredTool.from_function(
        run, arun, name=name, description=f"The tool {name}.", **options
    )
    if not options:
        _SCHEMAS[known] = made.args_schema
    if does is None:
        return made
    return effects(
        reads=does.reads,
        writes=does.writes,
        fence=does.fence,
        idempotent=does.idempotent,
        foreground=does.foreground,
        ack=does.ack,
    )(made)


@dataclass(slots=True)
class Workshop:
    """Makes tools that write a log.

    Attributes:
        log: `"<tool> start"` and `"<tool> end"` (or `"<tool> cancelled"`), in order.
        inputs: What each tool was called with, in order.
    """

    log: list[str] = field(default_factory=list)
    inputs: list[tuple[str, Any]] = field(default_factory=list)

    def tool(
        self,
        name: str,
        gate: Gate | None = None,
        *,
        result: Any = None,
        error: BaseException | None = None,
        does: Effects | None = None,
        **options: Any,
    ) -> BaseTool:
        """A tool with one optional argument `x`, of any type.

        Args:
            name: Its name.
            gate: What holds it.
            result: What it returns; by default a text with its name and argument. A function is
                called with the argument.
            error: What it raises instead.
            does: Its effects; undeclared without.
            **options: Fields of the tool.
        """

        def end(x: Any) -> Any:
            self.log.append(f"{name} end")
            if error is not None:
                raise error
            if callable(result):
                return result(x)
            return f"{name}({'' if x is None else x})" if result is None else result

        def run(x: Any = None) -> Any:
            self.inputs.append((name, x))
            self.log.append(f"{name} start")
            if gate is not None:
                gate.wait()
            return end(x)

        async def arun(x: Any = None) -> Any:
            self.inputs.append((name, x))
            self.log.append(f"{name} start")
            try:
                if gate is not None:
                    await gate.wait_async()
            except asyncio.CancelledError:
                self.log.append(f"{name} cancelled")
                raise
            return end(x)

        return declared(run, arun, name, does, options)

    def started(self) -> list[str]:
        """Names of the tools that have started, in order."""
        return [entry.removesuffix(" start") for entry in self.log if entry.endswith(" start")]


@dataclass(frozen=True, slots=True)
class Mode:
    """One of the four entry points of a graph, behind a method that blocks."""

    name: Literal["ainvoke", "astream", "invoke", "stream"]

    @property
    def is_async(self) -> bool:
        """Whether it runs on an event loop."""
        return self.name.startswith("a")

    def run(self, graph: Any, value: Any, config: Any = None, **options: Any) -> Any:
        """Run a graph to its end; its final state. No task may remain."""
        if not self.is_async:
            if self.name == "invoke":
                return graph.invoke(value, config, **options)
            return list(graph.stream(value, config, stream_mode="values", **options))[-1]
        return run_virtual(self._arun(graph, value, config, **options))

    async def _arun(self, graph: Any, value: Any, config: Any, **options: Any) -> Any:
        try:
            if self.name == "ainvoke":
                return await graph.ainvoke(value, config, **options)
            final = None
            async for final in graph.astream(value, config, stream_mode="values", **options):
                pass
            return final
        finally:
            assert_no_tasks()


def assert_no_tasks() -> None:
    """Assert that the running loop has no task but the current one."""
    others = asyncio.all_tasks() - {asyncio.current_task()}
    assert not others, others


@dataclass(slots=True)
class Agent:
    """A model and an asynchronous tool node in a graph.

    Attributes:
        graph: The compiled graph; its nodes are "agent" and "tools".
        model: The scripted model.
        node: The tool node.
    """

    graph: Any
    model: ScriptedChatModel
    node: AsyncFCToolNode

    @property
    def calls(self) -> list[list[BaseMessage]]:
        """What the model was sent, call by call."""
        return self.model.calls

    def seen(self, turn: int) -> list[str]:
        """The texts of the tool messages that the model was sent at a call, counted from 0."""
        return [m.text for m in self.calls[turn] if isinstance(m, ToolMessage)]

    def run(self, mode: Mode, text: str = "go", config: Any = None, **options: Any) -> list[Any]:
        """The messages of a run that begins with a human message; they are a valid history."""
        final = mode.run(self.graph, {"messages": [HumanMessage(text)]}, config, **options)
        assert_valid_history(final["messages"])
        return final["messages"]

    async def arun(self, text: str = "go", config: Any = None, **options: Any) -> list[Any]:
        """The same on the running event loop, where no task may remain."""
        final = await self.graph.ainvoke({"messages": [HumanMessage(text)]}, config, **options)
        assert_valid_history(final["messages"])
        assert_no_tasks()
        return final["messages"]


def _script(replies: Sequence[Reply], **options: Any) -> ScriptedChatModel:
    rest = iter(replies)

    def policy(messages: list[BaseMessage]) -> AIMessage | str:
        reply = next(rest, None)
        assert reply is not None, f"the model was called once more, with {messages}"
        return reply(messages) if callable(reply) else reply

    return ScriptedChatModel(policy=policy, **{"check_history": True, **options})


def agent_tests(
    module: ModuleType, left_out: Collection[str], *, prefix: str = "test_"
) -> dict[str, Any]:
    """The tests of a module that build their agents by the fixture, to be run with another one.

    Args:
        module: It.
        left_out: Names of tests of what is different there.
        prefix: What the names of the others begin with.
    """
    return {
        name: function
        for name, function in vars(module).items()
        if name.startswith(prefix)
        and name not in left_out
        and "make_agent" in inspect.signature(function).parameters
    }


def _make_agent(
    tools: Sequence[Any],
    replies: Sequence[Reply],
    *,
    schema: Any = MessagesState,
    checkpointer: Any = None,
    store: Any = None,
    model: dict[str, Any] | None = None,
    messages_key: str = "messages",
    context_schema: Any = None,
    eager: bool = False,
    **options: Any,
) -> Agent:
    node = AsyncFCToolNode(tools, messages_key=messages_key, **options)
    scripted = _script(replies, **(model or {}))
    bound = scripted.bind_tools(node.model_tools)
    if eager and not {"wrap_tool_call", "awrap_tool_call", "executor"} & set(options):
        bound = node.eager(bound)

    def messages(state: Any) -> Any:
        return getattr(state, messages_key, None) or state[messages_key]

    def think(state: Any, config: Any) -> Any:
        return {messages_key: [bound.invoke(messages(state), config)]}

    async def athink(state: Any, config: Any) -> Any:
        return {messages_key: [await bound.ainvoke(messages(state), config)]}

    def route(state: Any) -> str:
        return tools_condition(state, messages_key)

    builder = StateGraph(schema, context_schema=context_schema)
    builder.add_node("agent", RunnableLambda(think, athink))
    builder.add_node("tools", node)
    builder.add_edge(START, "agent")
    builder.add_conditional_edges("agent", route, ["tools", "__end__"])
    builder.add_conditional_edges("tools", node.review_condition("agent"), ["agent", "__end__"])
    graph = builder.compile(checkpointer=checkpointer, store=store)
    return Agent(graph, scripted, node)


MakeAgent = Callable[..., Agent]
Ask = Callable[..., AIMessage]
Script = Callable[..., ScriptedChatModel]


@pytest.fixture(params=["ainvoke", "astream", "invoke", "stream"])
def mode(request: pytest.FixtureRequest) -> Mode:
    """Each entry point of a graph (rule 27)."""
    return Mode(request.param)


@pytest.fixture(params=["in_place", "append"])
def delivery(request: pytest.FixtureRequest) -> str:
    """Each way of delivery (rule 11)."""
    return request.param


@pytest.fixture
def workshop() -> Workshop:
    """Makes tools that write a log."""
    return Workshop()


@pytest.fixture
def gate() -> Gate:
    """Holds a tool until it is opened."""
    return Gate()


@pytest.fixture
def make_gate() -> type[Gate]:
    """Makes gates, where one is not enough."""
    return Gate


@pytest.fixture
def make_agent() -> MakeAgent:
    """Builds an agent from tools, the model's replies and the node's options.

    A reply is a message, a text, or a function of the messages that gives one.
    """
    return _make_agent


@pytest.fixture
def script() -> Script:
    """Builds a model from its replies; it rejects what a provider would reject."""
    return lambda *replies, **options: _script(replies, **options)


@pytest.fixture
def ask() -> Ask:
    """Builds the model's message that makes these calls."""

    def make(*calls: ToolCall, text: str = "") -> AIMessage:
        return AIMessage(text, tool_calls=list(calls))

    return make


@pytest.fixture
def no_tasks() -> Callable[[], None]:
    """Asserts that the running loop has no task but the current one."""
    return assert_no_tasks


@pytest.fixture(autouse=True)
def quiet_loop(request: pytest.FixtureRequest) -> Iterator[None]:
    """Nothing that a test of a rule does makes asyncio complain, in its log or to the loop."""
    if not request.node.path.name.startswith("test_rules_"):
        yield
        return
    records: list[str] = []
    handler = logging.Handler(logging.WARNING)
    handler.emit = lambda record: records.append(record.getMessage())  # type: ignore[method-assign]
    logger = logging.getLogger("asyncio")
    logger.addHandler(handler)
    yield
    gc.collect(1)  # what the test has just left; a full collection takes longer than the test
    logger.removeHandler(handler)
    assert not records, records
