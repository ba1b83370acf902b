"""Both faces of the library, and the same agents without it, for tests that compare them.

A model's script is a function of the messages alone, so that it can be asked again from any
checkpoint, by any run, in any order.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from langchain.agents import create_agent
from langchain.agents.middleware import AgentMiddleware
from langchain_core.messages import AIMessage, BaseMessage, HumanMessage, ToolMessage
from langchain_core.runnables import RunnableLambda
from langchain_core.tools import BaseTool, StructuredTool
from langgraph.graph import START, MessagesState, StateGraph
from langgraph.prebuilt import ToolNode
from langgraph.prebuilt import tools_condition as plain_condition

from langchain_asyncfc import (
    AsyncFCMiddleware,
    AsyncFCToolNode,
    Effects,
    effects,
    tools_condition,
)
from langchain_asyncfc.testing import ScriptedChatModel, run_virtual
from tests.integration.agents.helpers import is_placeholder, record, substance
from tests.integration.conftest import Gate, assert_no_tasks

Policy = Callable[[list[BaseMessage]], AIMessage | str]

Between = Callable[[list[BaseMessage]], list[BaseMessage]]

FACES = ["node", "middleware"]
LIMIT = 40
"""Steps after which a run that goes round in circles fails its test."""


@dataclass(frozen=True, slots=True)
class Agent:
    """An agent, with futures or without.

    Attributes:
        graph: The compiled graph.
        model_node: The name of the node that calls the model; that of the tools is "tools".
        owner: The node or middleware, which owns detached futures; `None` without futures.
        model: The scripted model.
    """

    graph: Any
    model_node: str
    owner: Any
    model: ScriptedChatModel


@dataclass(frozen=True, slots=True)
class Face:
    """One of the two ways in which an agent comes to have futures."""

    name: Literal["node", "middleware"]

    def build(
        self,
        tools: Sequence[Any],
        policy: Policy,
        *,
        checkpointer: Any = None,
        check_history: bool = True,
        between: Between | None = None,
        **options: Any,
    ) -> Agent:
        """An agent with futures.

        Args:
            tools: Its tools.
            policy: What the model says.
            checkpointer: Its checkpointer.
            check_history: Whether the model rejects what a provider would reject.
            between: Called with the messages after the tools and before the model; what it gives
                goes into the state.
            **options: Of the node or the middleware.
        """
        model = ScriptedChatModel(policy=policy, check_history=check_history)
        if self.name == "middleware":
            middleware = AsyncFCMiddleware(instructions="", **options)
            others = [] if between is None else [_Between(between)]
            graph = create_agent(
                model, list(tools), middleware=[middleware, *others], checkpointer=checkpointer
            )
            return Agent(graph, "model", middleware, model)
        node = AsyncFCToolNode(tools, **options)
        builder = loop(model.bind_tools(node.model_tools), node, tools_condition)
        after = "agent"
        if between is not None:
            after = "between"
            builder.add_node("between", lambda state: {"messages": between(state["messages"])})
            builder.add_edge("between", "agent")
        builder.add_conditional_edges("tools", node.review_condition(after), [after, "__end__"])
        return Agent(builder.compile(checkpointer=checkpointer), "agent", node, model)

    def build_plain(
        self, tools: Sequence[Any], policy: Policy, *, checkpointer: Any = None
    ) -> Agent:
        """The same agent without futures."""
        model = ScriptedChatModel(policy=policy)
        if self.name == "middleware":
            graph = create_agent(model, list(tools), checkpointer=checkpointer)
            return Agent(graph, "model", None, model)
        builder = loop(model.bind_tools(tools), ToolNode(tools), plain_condition)
        builder.add_edge("tools", "agent")
        return Agent(builder.compile(checkpointer=checkpointer), "agent", None, model)


class _Between(AgentMiddleware):
    """Changes the messages before the model is called."""

    def __init__(self, change: Between) -> None:
        super().__init__()
        self._change = change

    def before_model(self, state: Any, runtime: Any) -> Any:
        """Change them."""
        return {"messages": self._change(state["messages"])}


def loop(model: Any, node: Any, condition: Any) -> StateGraph[Any]:
    """The graph of an agent but for the way from the tools back to the model."""

    def think(state: Any, config: Any) -> Any:
        return {"messages": [model.invoke(state["messages"], config)]}

    async def athink(state: Any, config: Any) -> Any:
        return {"messages": [await model.ainvoke(state["messages"], config)]}

    builder = StateGraph(MessagesState)
    builder.add_node("agent", RunnableLambda(think, athink))
    builder.add_node("tools", node)
    builder.add_edge(START, "agent")
    builder.add_conditional_edges("agent", condition, ["tools", "__end__"])
    return builder


def go(text: str = "go") -> dict[str, Any]:
    """The input of a run."""
    return {"messages": [HumanMessage(text)]}


def on(thread: str, **more: Any) -> dict[str, Any]:
    """The config of a thread."""
    return {"configurable": {"thread_id": thread, **more}, "recursion_limit": LIMIT}


def from_here(config: dict[str, Any]) -> dict[str, Any]:
    """The config of a run that begins at a checkpoint."""
    return {**config, "recursion_limit": LIMIT}


def since_human(messages: Sequence[BaseMessage]) -> Sequence[BaseMessage]:
    """The messages of the last turn of the human."""
    start = max((i for i, m in enumerate(messages) if isinstance(m, HumanMessage)), default=0)
    return messages[start:]


def batches(messages: Sequence[BaseMessage]) -> list[AIMessage]:
    """The messages that call tools, but for control calls."""
    control = {"await_future", "cancel_future"}
    return [
        m
        for m in messages
        if isinstance(m, AIMessage) and any(c["name"] not in control for c in m.tool_calls)
    ]


def everything(messages: Sequence[BaseMessage]) -> str:
    """All that tools have said."""
    return "\n".join(m.text for m in messages if isinstance(m, ToolMessage))


def outcomes(messages: Sequence[BaseMessage]) -> list[tuple[str, str, Any]]:
    """Each answer to a call, wherever it was delivered: call id, state or status, content."""
    return [(i[2], i[3], i[1]) for i in substance(messages) if i[0] == "tool"]


@dataclass(slots=True)
class Lab:
    """Makes tools that say in which era they ran; an era is a run, or a branch of the thread.

    Attributes:
        era: What runs now.
        gate: What holds the slow tools that start now.
        ran: Era, name and argument of each call, in the order in which they began.
    """

    era: str = "first"
    gate: Gate = field(default_factory=Gate)
    ran: list[tuple[str, str, Any]] = field(default_factory=list)

    def begin(self, era: str, *, closed: bool = False) -> None:
        """Begin an era with a gate of its own."""
        self.era = era
        self.gate = Gate()
        if not closed:
            self.gate.open()

    def ran_in(self, era: str) -> list[tuple[str, Any]]:
        """Name and argument of each call of an era, in the order in which they began."""
        return [(name, x) for when, name, x in self.ran if when == era]

    def tool(self, name: str, *, slow: bool = False, does: Effects | None = None) -> BaseTool:
        """A tool with one argument; a slow one waits at the gate of its era."""

        def enter(x: Any) -> tuple[str, Gate]:
            self.ran.append((self.era, name, x))
            return f"{self.era} {name}({x})", self.gate

        def run(x: Any) -> str:
            text, gate = enter(x)
            if slow:
                gate.wait()
            return text

        async def arun(x: Any) -> str:
            text, gate = enter(x)
            if slow:
                await gate.wait_async()
            return text

        made = StructuredTool.from_function(run, arun, name=name, description=f"The tool {name}.")
        if does is None:
            return made
        return effects(reads=does.reads, writes=does.writes, idempotent=does.idempotent)(made)


Scene = Generator[tuple[Any, Any, Any], dict[str, Any], None]
"""Yields what is to be run: a graph, its input, its config. Gets each run's final state."""


def play(scene: Scene, *, is_async: bool) -> None:
    """Carry out a scene: all of its runs in threads, or on one event loop in virtual time."""
    if is_async:
        run_virtual(_aplay(scene))
        return
    final: Any = None
    while (asked := _next(scene, final)) is not None:
        graph, value, config = asked
        final = graph.invoke(value, config)


async def _aplay(scene: Scene) -> None:
    final: Any = None
    while (asked := _next(scene, final)) is not None:
        graph, value, config = asked
        final = await graph.ainvoke(value, config)
    await asyncio.sleep(1)
    assert_no_tasks()


def _next(scene: Scene, final: Any) -> tuple[Any, Any, Any] | None:
    try:
        return scene.send(final)
    except StopIteration:
        return None


__all__ = [
    "FACES",
    "LIMIT",
    "Agent",
    "Between",
    "Face",
    "Lab",
    "Policy",
    "Scene",
    "batches",
    "everything",
    "from_here",
    "go",
    "is_placeholder",
    "on",
    "outcomes",
    "play",
    "record",
    "since_human",
    "substance",
]
