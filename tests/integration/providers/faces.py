"""The agents that are tested: a graph with the node, and `create_agent` with the middleware."""

from __future__ import annotations

import asyncio
import importlib.util
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from langchain_core.language_models import BaseChatModel
from langchain_core.runnables import RunnableLambda
from langchain_core.tools import BaseTool
from langgraph.graph import START, MessagesState, StateGraph
from langgraph.prebuilt import ToolNode
from langgraph.prebuilt import tools_condition as plain_condition

from langchain_asyncfc import AsyncFCToolNode, native_history, tools_condition


@dataclass(frozen=True, slots=True)
class Agent:
    """A compiled graph, and how to end what it has detached."""

    graph: Any
    close: Callable[[], None] = lambda: None
    aclose: Callable[[], Any] | None = None


Face = Callable[..., Agent]


def _graph(
    model: BaseChatModel,
    bound: Sequence[BaseTool],
    node: ToolNode,
    after: Any,
    checkpointer: Any,
    show: Callable[[Sequence[Any]], list[Any]] = list,
) -> Any:
    chat = model.bind_tools(bound)

    def think(state: Any, config: Any) -> Any:
        return {"messages": [chat.invoke(show(state["messages"]), config)]}

    async def athink(state: Any, config: Any) -> Any:
        return {"messages": [await chat.ainvoke(show(state["messages"]), config)]}

    builder = StateGraph(MessagesState)
    builder.add_node("agent", RunnableLambda(think, athink))
    builder.add_node("tools", node)
    builder.add_edge(START, "agent")
    asynchronous = isinstance(node, AsyncFCToolNode)
    route = tools_condition if asynchronous else plain_condition
    builder.add_conditional_edges("agent", route, ["tools", "__end__"])
    if after is None:
        builder.add_edge("tools", "agent")
    else:
        builder.add_conditional_edges("tools", after, ["agent", "__end__"])
    return builder.compile(checkpointer=checkpointer)


def node_face(
    model: BaseChatModel,
    tools: Sequence[BaseTool],
    checkpointer: Any = None,
    *,
    eager: bool = False,
    **options: Any,
) -> Agent:
    """A graph with `AsyncFCToolNode`."""
    node = AsyncFCToolNode(tools, **options)
    if eager:
        model = node.eager(model)
    settles = options.get("on_final") == "settle"
    after = node.review_condition("agent") if settles else None
    native = options.get("async_calls", "placeholder") != "placeholder"
    show = native_history if native else list
    graph = _graph(model, node.model_tools, node, after, checkpointer, show)
    return Agent(graph, node.close, node.aclose)


def middleware_face(
    model: BaseChatModel, tools: Sequence[BaseTool], checkpointer: Any = None, **options: Any
) -> Agent:
    """`create_agent` with `AsyncFCMiddleware`."""
    from langchain.agents import create_agent

    from langchain_asyncfc import AsyncFCMiddleware  # type: ignore[attr-defined]

    middleware = AsyncFCMiddleware(**options)
    graph = create_agent(model, list(tools), middleware=[middleware], checkpointer=checkpointer)
    close = getattr(middleware, "close", lambda: None)
    return Agent(graph, close, getattr(middleware, "aclose", None))


def plain_face(
    model: BaseChatModel, tools: Sequence[BaseTool], checkpointer: Any = None, **_: Any
) -> Agent:
    """The same with LangGraph's own `ToolNode`: the synchronous run."""
    node = ToolNode(tools)
    return Agent(_graph(model, tools, node, None, checkpointer))


FACES: dict[str, Face] = {"node": node_face}
if importlib.util.find_spec("langchain_asyncfc.middleware") is not None:
    FACES["middleware"] = middleware_face


@dataclass(frozen=True, slots=True)
class Mode:
    """One of the four entry points of a graph, behind a method that blocks.

    Attributes:
        name: The entry point.
        runner: The event loop of those that need one.
    """

    name: Literal["invoke", "stream", "ainvoke", "astream"]
    runner: asyncio.Runner

    @property
    def streams(self) -> bool:
        """Whether the client is made to stream."""
        return self.name.endswith("stream")

    def run(self, agent: Agent, value: Any, config: Any = None) -> tuple[list[Any], list[Any]]:
        """Run to the end: the final messages, and those that were streamed."""
        if self.name == "invoke":
            return agent.graph.invoke(value, config)["messages"], []
        if self.name == "stream":
            return _sorted(agent.graph.stream(value, config, stream_mode=["messages", "values"]))
        return self.runner.run(self._arun(agent, value, config))

    async def _arun(self, agent: Agent, value: Any, config: Any) -> tuple[list[Any], list[Any]]:
        if self.name == "ainvoke":
            return (await agent.graph.ainvoke(value, config))["messages"], []
        stream = agent.graph.astream(value, config, stream_mode=["messages", "values"])
        return _sorted([item async for item in stream])

    def close(self, agent: Agent) -> None:
        """End what the agent has detached."""
        if self.name.startswith("a") and agent.aclose is not None:
            self.runner.run(agent.aclose())
        else:
            agent.close()


def _sorted(items: Any) -> tuple[list[Any], list[Any]]:
    values: list[Any] = []
    streamed: list[Any] = []
    for mode, item in items:
        if mode == "values":
            values = item["messages"]
        else:
            streamed.append(item[0])
    return values, streamed
