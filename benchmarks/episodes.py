"""Runs of tasks on graphs with `ToolNode` and with ours, which must give what one by one gives."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import Any, Literal

from langchain_core.messages import AnyMessage, HumanMessage
from langchain_core.runnables import RunnableConfig
from langchain_core.tools import BaseTool
from langgraph.graph import START, MessagesState, StateGraph
from langgraph.prebuilt import ToolNode
from langgraph.prebuilt import tools_condition as toolnode_condition

from benchmarks.caching import uncached
from benchmarks.ideal import Batches
from benchmarks.pace import Pace, decode
from benchmarks.players import Player, contents
from benchmarks.stage import Outcome, Stage, Truth, WrongResult, tool_of
from benchmarks.streaming import StreamingModel
from benchmarks.workloads.tasks import Task
from langchain_asyncfc import AsyncFCToolNode, tools_condition
from langchain_asyncfc.testing import assert_valid_history

Node = Literal["toolnode", "unlabelled", "labelled", "append"]

_CONFIG: RunnableConfig = {"recursion_limit": 1_000}


class Episodes:
    """Runs of one task on one graph, with different times.

    The graph and its node serve all of them, as they do where they are deployed.

    Args:
        task: The task.
        node: Which node runs the tools.
        batches: Which calls stand together in a message.
        free: Whether it costs no tokens to say what is waited for.
        eager: Whether calls that only read start while their message is decoded.
    """

    def __init__(
        self,
        task: Task,
        node: Node,
        batches: Batches,
        *,
        free: bool = False,
        eager: bool = False,
    ) -> None:
        self._task = task
        self._free = free
        self._eager = eager
        self._node = node
        self._batches = batches
        self._stage = Stage(task)
        self._player: Player
        self._graph = self._build([tool_of(spec, self._stage) for spec in task.tools])
        self._truth = Truth(task)

    async def run(self, times: Pace) -> Outcome:
        """Run the task once, in virtual time.

        Raises:
            WrongResult: When a result or the final state is not that of running the calls one
                by one.
        """
        self._stage.begin(times)
        waits = self._node != "toolnode"
        player = Player(self._task, self._batches, times.tokens, waits, self._free)
        self._player = player
        clock = asyncio.get_running_loop().time
        start = clock()
        messages = await self._converse()
        seconds = clock() - start
        self._check(messages)
        return Outcome(seconds, len(player.output), sum(player.output), uncached(player.asked))

    def _build(self, tools: list[BaseTool]) -> Any:
        async def agent(state: MessagesState) -> dict[str, Any]:
            reply = self._player.reply(state["messages"])
            await asyncio.sleep(decode(self._player.output[-1]))
            return {"messages": [reply]}

        node, condition = self._tool_node(tools)
        if self._eager:
            assert isinstance(node, AsyncFCToolNode)
            model = node.eager(StreamingModel(player=lambda: self._player))

        async def eager_agent(state: MessagesState) -> dict[str, Any]:
            return {"messages": [await model.ainvoke(state["messages"])]}

        async def route(state: MessagesState) -> str:
            # As a plain function it would be run in a thread, which costs most of the real time.
            return condition(state)

        builder = StateGraph(MessagesState)
        builder.add_node("agent", eager_agent if self._eager else agent)
        builder.add_node("tools", node)
        builder.add_edge(START, "agent")
        builder.add_conditional_edges("agent", route)
        builder.add_edge("tools", "agent")
        return builder.compile()

    def _tool_node(self, tools: list[BaseTool]) -> tuple[ToolNode, Callable[..., str]]:
        if self._node == "toolnode":
            return ToolNode(tools), toolnode_condition
        effects = {spec.name: spec.effects for spec in self._task.tools}
        node = AsyncFCToolNode(
            tools,
            effects=None if self._node == "unlabelled" else effects,
            delivery="append" if self._node == "append" else "in_place",
        )
        return node, tools_condition

    async def _converse(self) -> list[AnyMessage]:
        """Say the user's turns one after another."""
        messages: list[AnyMessage] = []
        for number, _ in enumerate(self._batches):
            messages = [*messages, HumanMessage(f"Request {number}")]
            messages = (await self._graph.ainvoke({"messages": messages}, _CONFIG))["messages"]
        return messages

    def _check(self, messages: Sequence[AnyMessage]) -> None:
        assert_valid_history(messages)
        wrong = self._truth.difference(self._stage, contents(messages))
        if wrong is not None:
            raise WrongResult(f"{self._task.name} with {self._node}: {wrong}.")
