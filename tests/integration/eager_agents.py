"""Agents whose model takes its time, for the tests of eager start."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from typing import Any

from langchain_core.messages import AIMessage, BaseMessage, HumanMessage
from langchain_core.outputs import ChatGenerationChunk
from langchain_core.runnables import RunnableLambda
from langchain_core.tools import BaseTool, StructuredTool
from langgraph.graph import START, MessagesState, StateGraph
from pydantic import Field

from langchain_asyncfc import AsyncFCToolNode, Effects, effects, tools_condition
from langchain_asyncfc.testing import ScriptedChatModel, assert_valid_history

PURE = Effects()
PACE: dict[str, Any] = {"ttft": 1.0, "tokens_per_second": 1.0, "count_tokens": bool}
"""A second for the first token, then one for a call's name, and one for its arguments."""


class Cut(Exception):
    """The connection to the model is lost."""


class CutModel(ScriptedChatModel):
    """A scripted model some of whose streams are cut after so many chunks."""

    cuts: list[int | None] = Field(default_factory=list)
    """Call by call after how many chunks; `None` for a stream that is whole."""

    def _cut(self) -> int | None:
        return self.cuts.pop(0) if self.cuts else None

    def _stream(self, *args: Any, **kwargs: Any) -> Iterator[ChatGenerationChunk]:
        cut = self._cut()
        for number, chunk in enumerate(super()._stream(*args, **kwargs)):
            if number == cut:
                raise Cut
            yield chunk

    async def _astream(self, *args: Any, **kwargs: Any) -> AsyncIterator[ChatGenerationChunk]:
        cut, number = self._cut(), 0
        async for chunk in super()._astream(*args, **kwargs):
            if number == cut:
                raise Cut
            number += 1
            yield chunk


class Clocked:
    """Tools that take their time on an event loop, and write down when they do what.

    Attributes:
        log: What they did, with the virtual time.
    """

    def __init__(self) -> None:
        self.log: list[tuple[str, float]] = []

    def tool(
        self,
        name: str,
        seconds: float = 5.0,
        *,
        does: Effects | None = PURE,
        error: BaseException | None = None,
        gives: Callable[[Any], Any] | None = None,
        **options: Any,
    ) -> BaseTool:
        """A tool with one argument `x`."""

        async def run(x: Any = None) -> Any:
            self._note(f"{name}({x}) starts")
            try:
                await asyncio.sleep(seconds)
            except asyncio.CancelledError:
                self._note(f"{name}({x}) cancelled")
                raise
            self._note(f"{name}({x}) ends")
            if error is not None:
                raise error
            return f"{name} of {x}" if gives is None else gives(x)

        made = StructuredTool.from_function(
            coroutine=run, name=name, description=f"The tool {name}.", **options
        )
        if does is None:
            return made
        return effects(reads=does.reads, writes=does.writes, fence=does.fence)(made)

    def _note(self, what: str) -> None:
        self.log.append((what, round(asyncio.get_running_loop().time(), 3)))

    def starts(self) -> list[tuple[str, float]]:
        """When which call started."""
        return [(what.removesuffix(" starts"), at) for what, at in self.log if "starts" in what]


def wired(
    think: Any,
    tools: Any,
    *,
    route: Callable[[Any], Any] = tools_condition,
    checkpointer: Any = None,
) -> Any:
    """An agent of any model's step and any tools' step.

    Args:
        think: The model's step.
        tools: The tools' step.
        route: Where to go when the model has spoken.
        checkpointer: As for LangGraph.
    """
    builder = StateGraph(MessagesState)
    builder.add_node("agent", think)
    builder.add_node("tools", tools)
    builder.add_edge(START, "agent")
    builder.add_conditional_edges("agent", route)
    builder.add_edge("tools", "agent")
    return builder.compile(checkpointer=checkpointer)


def make_graph(
    model: Any,
    node: AsyncFCToolNode,
    *,
    eager: bool = True,
    edit: Callable[[AIMessage], Any] | None = None,
    checkpointer: Any = None,
    retry: bool = False,
) -> Any:
    """An agent.

    Args:
        model: The model, without tools.
        node: Its tools.
        eager: Whether calls may start early.
        edit: What becomes of the model's messages before they are in the state.
        checkpointer: As for LangGraph.
        retry: Whether the model is called again when its stream is cut.
    """
    bound = (node.eager(model) if eager else model).bind_tools(node.model_tools)

    def think(state: MessagesState) -> Any:
        try:
            said = bound.invoke(state["messages"])
        except Cut:
            if not retry:
                raise
            said = bound.invoke(state["messages"])
        return {"messages": [edit(said) if edit else said]}

    async def athink(state: MessagesState) -> Any:
        try:
            said = await bound.ainvoke(state["messages"])
        except Cut:
            if not retry:
                raise
            said = await bound.ainvoke(state["messages"])
        return {"messages": [edit(said) if edit else said]}

    return wired(RunnableLambda(think, athink), node, checkpointer=checkpointer)


async def talk(
    tools: Sequence[BaseTool],
    replies: Sequence[Any],
    *,
    config: Any = None,
    graph: dict[str, Any] | None = None,
    cuts: Sequence[int | None] = (),
    **options: Any,
) -> list[BaseMessage]:
    """The messages of a run by `ainvoke`; they are a valid history, and no task remains."""
    script = [*replies, "done"]
    calls = iter(range(1000))

    def policy(messages: list[BaseMessage]) -> Any:
        reply = script[min(next(calls), len(script) - 1)]
        return reply(messages) if callable(reply) else reply

    model = CutModel(policy=policy, cuts=list(cuts), check_history=True, **PACE)
    node = AsyncFCToolNode(tools, **options)
    before = asyncio.all_tasks()
    try:
        final = await make_graph(model, node, **(graph or {})).ainvoke(
            {"messages": [HumanMessage("go")]}, {"recursion_limit": 100, **(config or {})}
        )
    finally:
        assert asyncio.all_tasks() == before
    assert_valid_history(final["messages"])
    return list(final["messages"])
