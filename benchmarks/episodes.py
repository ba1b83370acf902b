"""Runs of tasks on real graphs in virtual time, checked against running their calls one by one."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from langchain_core.messages import AnyMessage, HumanMessage
from langchain_core.runnables import RunnableConfig
from langchain_core.tools import BaseTool, StructuredTool
from langgraph.graph import START, MessagesState, StateGraph
from langgraph.prebuilt import ToolNode
from langgraph.prebuilt import tools_condition as toolnode_condition

from benchmarks.caching import uncached
from benchmarks.ideal import Batches
from benchmarks.pace import Pace, decode
from benchmarks.players import Player, contents
from benchmarks.workloads.tasks import Task, ToolSpec, World, frozen, replay
from langchain_asyncfc import AsyncFCToolNode, tools_condition
from langchain_asyncfc.testing import assert_valid_history

Node = Literal["toolnode", "unlabelled", "labelled", "append"]

_CONFIG: RunnableConfig = {"recursion_limit": 1_000}


class WrongResult(AssertionError):
    """Raised when a run differs from running the calls one by one."""


@dataclass(slots=True)
class Stage:
    """Where the tools of a graph act: set anew for each run.

    A call acts at a random moment of its time, so that a wrong order shows. It is known by its
    tool and arguments; equal calls are taken in their order.
    """

    task: Task
    world: World = field(init=False)
    times: Pace = field(init=False)
    results: dict[int, Any] = field(init=False)
    waiting: dict[str, list[int]] = field(init=False)

    def begin(self, times: Pace) -> None:
        """Make a new world."""
        self.world, self.times, self.results = self.task.world(), times, {}
        self.waiting = {}
        for k, call in enumerate(self.task.calls):
            self.waiting.setdefault(frozen([call.tool, call.args]), []).append(k)

    async def play(self, tool: str, args: Mapping[str, Any]) -> Any:
        """Run one call."""
        planned = self.waiting.get(frozen([tool, args]))
        if not planned:
            raise WrongResult(f"{self.task.name}: {tool}({args}) is no call of the task.")
        k = planned.pop(0)
        seconds, moment = self.times.seconds[k], self.times.moments[k]
        await asyncio.sleep(seconds * moment)
        result = self.results[k] = self.world.act(tool, args)
        await asyncio.sleep(seconds * (1 - moment))
        return result


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a run took.

    Attributes:
        seconds: Until the last answer.
        turns: Calls of the model.
        output: Tokens decoded.
        uncached: Tokens sent to the model that no earlier request began with.
    """

    seconds: float
    turns: int
    output: int
    uncached: int


class Episodes:
    """Runs of one task on one graph, with different times.

    The graph and its node serve all of them, as they do where they are deployed.

    Args:
        task: The task.
        node: Which node runs the tools.
        batches: Which calls stand together in a message.
        free: Whether it costs no tokens to say what is waited for.
    """

    def __init__(self, task: Task, node: Node, batches: Batches, *, free: bool = False) -> None:
        self._task = task
        self._free = free
        self._node = node
        self._batches = batches
        self._stage = Stage(task)
        self._player: Player
        self._graph = self._build([_tool(spec, self._stage) for spec in task.tools])
        results, self._state = replay(task)
        self._results = [frozen(result) for result in results]

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

        async def route(state: MessagesState) -> str:
            # As a plain function it would be run in a thread, which costs most of the real time.
            return condition(state)

        builder = StateGraph(MessagesState)
        builder.add_node("agent", agent)
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
        name = f"{self._task.name} with {self._node}"
        assert_valid_history(messages)
        told = contents(messages)
        for k, expected in enumerate(self._results):
            acted = self._stage.results.get(k)
            if k in self._stage.results and frozen(acted) != expected:
                raise WrongResult(f"{name}: call {k} gave {acted!r}, not {expected}.")
            if _read(told.get(k)) != expected:
                raise WrongResult(f"{name}: the model read {told.get(k)!r}, not {expected}.")
        if self._stage.world.state() != self._state:
            raise WrongResult(f"{name}: the final state differs.")


def _read(content: str | None) -> str | None:
    """A tool message's content in the form of `frozen`."""
    if content is None:
        return None
    try:
        return frozen(json.loads(content))
    except ValueError:
        return frozen(content)


def _tool(spec: ToolSpec, stage: Stage) -> BaseTool:
    async def act(**args: Any) -> Any:
        return await stage.play(spec.name, args)

    return StructuredTool(
        name=spec.name, description=spec.description, args_schema=dict(spec.schema), coroutine=act
    )
