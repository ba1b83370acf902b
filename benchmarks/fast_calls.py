"""What a call costs over ToolNode where there is nothing to gain: calls that finish at once."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final, Self

from langchain.agents import create_agent
from langchain.agents.middleware import AgentMiddleware
from langchain_core.language_models import BaseChatModel
from langchain_core.messages import AIMessage, AnyMessage, BaseMessage, HumanMessage, ToolCall
from langchain_core.outputs import ChatGeneration, ChatResult
from langchain_core.tools import tool
from langgraph.graph import END, START, MessagesState, StateGraph
from langgraph.prebuilt import ToolNode
from langgraph.prebuilt import tools_condition as toolnode_condition

from benchmarks.pairs import Effort, Pairs, in_turn
from langchain_asyncfc import AsyncFCMiddleware, AsyncFCToolNode, tools_condition

__all__ = [
    "KINDS",
    "SIZES",
    "Kind",
    "agent_calls",
    "agent_turns",
    "idle_hooks",
    "node_calls",
    "steps",
    "yardstick",
]

SIZES: Final = (1, 10, 100, 1_000)
_STEPS: Final = 20
"""Steps of a graph that has no tools."""


@tool
async def async_noop(x: int) -> str:
    """Return at once."""
    return str(x)


@tool
def sync_noop(x: int) -> str:
    """Return at once."""
    return str(x)


@dataclass(frozen=True, slots=True)
class Kind:
    """A kind of tool and of run.

    Attributes:
        title: What it is.
        tool: The tool's name.
        is_async: Whether the graph is run by `ainvoke`.
    """

    title: str
    tool: str
    is_async: bool


KINDS: Final = (
    Kind("async tools, `ainvoke`", "async_noop", is_async=True),
    Kind("sync tools, `ainvoke`", "sync_noop", is_async=True),
    Kind("sync tools, `invoke`", "sync_noop", is_async=False),
)


class Runs:
    """Runs graphs on one event loop, or without one."""

    def __init__(self, *, is_async: bool) -> None:
        self._loop = asyncio.new_event_loop() if is_async else None

    def __enter__(self) -> Self:
        """Open the loop."""
        return self

    def __exit__(self, *_: object) -> None:
        """Close it."""
        if self._loop is not None:
            self._loop.run_until_complete(self._loop.shutdown_default_executor())
            self._loop.close()

    def of(self, graph: Any, state: Callable[[], Any]) -> Callable[[], Any]:
        """Runs a graph with a new state each time."""
        loop = self._loop
        if loop is None:
            return lambda: graph.invoke(state())
        return lambda: loop.run_until_complete(graph.ainvoke(state()))


def _tool_calls(name: str, size: int) -> list[ToolCall]:
    return [
        ToolCall(name=name, args={"x": n}, id=f"call_{n}", type="tool_call") for n in range(size)
    ]


def _graph(node: ToolNode, condition: Callable[..., str]) -> Any:
    """A graph that carries out one message's calls, and asks then whether the turn is over."""

    def answer(state: MessagesState) -> dict[str, list[AnyMessage]]:  # noqa: ARG001
        return {"messages": [AIMessage("Done.")]}

    builder = StateGraph(MessagesState)
    builder.add_node("tools", node)
    builder.add_node("agent", answer)
    builder.add_conditional_edges(START, condition, ["tools", END])
    builder.add_edge("tools", "agent")
    builder.add_conditional_edges("agent", condition, ["tools", END])
    return builder.compile()


def node_calls(kind: Kind, size: int, effort: Effort) -> tuple[Pairs, str]:
    """Calls of one message, by `ToolNode` and by ours, and how many of ours got placeholders."""
    tools = [async_noop, sync_noop]
    calls = _tool_calls(kind.tool, size)

    def state() -> dict[str, Any]:
        return {"messages": [AIMessage("", tool_calls=calls)]}

    graph = _graph(AsyncFCToolNode(tools), tools_condition)
    results: list[Any] = []
    with Runs(is_async=kind.is_async) as runs:
        ours = runs.of(graph, state)
        theirs = runs.of(_graph(ToolNode(tools), toolnode_condition), state)
        found = in_turn(theirs, lambda: results.append(ours()), effort=effort, units=size)
    answers = [m for result in results for m in result["messages"][1:-1]]
    pending = sum("asyncfc" in m.additional_kwargs for m in answers)
    return found, f"{pending:,} / {len(answers):,}"


def yardstick(effort: Effort) -> float:
    """Microseconds that LangChain itself takes for one call of a tool: how fast the machine is."""
    call = _tool_calls("async_noop", 1)[0]

    async def many() -> None:
        for _ in range(100):
            await async_noop.ainvoke(call)

    loop = asyncio.new_event_loop()
    found = in_turn(lambda: loop.run_until_complete(many()), lambda: None, effort=effort, units=100)
    loop.close()
    return found.base


def steps(effort: Effort, *, is_async: bool) -> Pairs:
    """Steps of a graph that has nothing to do with tools, in a process that has the package."""

    def nothing(state: MessagesState) -> dict[str, list[AnyMessage]]:  # noqa: ARG001
        return {"messages": []}

    async def anothing(state: MessagesState) -> dict[str, list[AnyMessage]]:  # noqa: ARG001
        return {"messages": []}

    AsyncFCToolNode([async_noop])
    builder = StateGraph(MessagesState)
    names = [f"step {n}" for n in range(_STEPS)]
    for name in names:
        builder.add_node(name, anothing if is_async else nothing)
    for before, after in zip([START, *names], [*names, END], strict=True):
        builder.add_edge(before, after)
    graph = builder.compile()
    with Runs(is_async=is_async) as runs:
        run = runs.of(graph, lambda: {"messages": [HumanMessage("Go.")]})
        return in_turn(run, run, effort=effort, units=_STEPS)


class _Model(BaseChatModel):
    """Calls a tool as often as it is told to, a message at a time, and answers then."""

    turns: int
    size: int
    name_of_tool: str

    @property
    def _llm_type(self) -> str:
        return "benchmark"

    def bind_tools(self, tools: Sequence[Any], **kwargs: Any) -> Any:  # noqa: ARG002
        """The model itself: what it says is known."""
        return self

    def _generate(self, messages: list[BaseMessage], *_: Any, **__: Any) -> ChatResult:
        made = sum(isinstance(m, AIMessage) for m in messages)
        calls = _tool_calls(self.name_of_tool, self.size) if made < self.turns else []
        said = AIMessage("" if calls else "Done.", tool_calls=calls)
        return ChatResult(generations=[ChatGeneration(message=said)])

    async def _agenerate(self, messages: list[BaseMessage], *_: Any, **__: Any) -> ChatResult:
        return self._generate(messages)


class _Idle(AgentMiddleware[Any, Any, Any]):
    """Has the hooks that the package's middleware has, and does nothing in them."""

    async def abefore_model(self, state: Any, runtime: Any) -> None:
        """Do nothing."""

    async def aafter_model(self, state: Any, runtime: Any) -> None:
        """Do nothing."""

    async def aafter_agent(self, state: Any, runtime: Any) -> None:
        """Do nothing."""

    async def awrap_model_call(self, request: Any, handler: Any) -> Any:
        """Call the model."""
        return await handler(request)

    async def awrap_tool_call(self, request: Any, handler: Any) -> Any:
        """Call the tool."""
        return await handler(request)


def _agents(turns: int, size: int, kind: Kind, other: AgentMiddleware | None) -> Iterator[Any]:
    tools = [async_noop, sync_noop]
    for middleware in ([], [other or AsyncFCMiddleware()]):
        model = _Model(turns=turns, size=size, name_of_tool=kind.tool)
        yield create_agent(model, tools, middleware=middleware)


def _agent_pairs(
    turns: int,
    size: int,
    kind: Kind,
    *,
    effort: Effort,
    units: int,
    other: AgentMiddleware | None = None,
) -> Pairs:
    theirs, ours = _agents(turns, size, kind, other)

    def state() -> dict[str, Any]:
        return {"messages": [HumanMessage("Go.")]}

    with Runs(is_async=kind.is_async) as runs:
        return in_turn(runs.of(theirs, state), runs.of(ours, state), effort=effort, units=units)


def agent_calls(kind: Kind, size: int, effort: Effort) -> Pairs:
    """Calls of one message in `create_agent`, with the calls of the model around them."""
    return _agent_pairs(1, size, kind, effort=effort, units=size)


def agent_turns(kind: Kind, effort: Effort) -> Pairs:
    """A call of the model in `create_agent` that calls no tool: the middleware's hooks."""
    return _agent_pairs(0, 0, kind, effort=effort, units=1)


def idle_hooks(size: int, effort: Effort) -> Pairs:
    """What hooks that do nothing cost in `create_agent`, with async tools.

    Args:
        size: Calls of the message; 0 for a model that calls no tool.
        effort: How often.
    """
    turns, units = min(size, 1), max(size, 1)
    return _agent_pairs(turns, size, KINDS[0], effort=effort, units=units, other=_Idle())
