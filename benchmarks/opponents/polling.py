"""Tools that start tasks, and a tool that asks after them: what one writes with `ToolNode` alone.

Each tool stands there twice: as it is, and as `start_<tool>`, which answers with a task's id at
once. `check_task` tells of each task its result or that it is running: each look is a call of
the model. In the other variant `wait_task` blocks until all tasks that it is given have finished.
Both also tell the results of tasks that have finished meanwhile, so that none is asked for twice.

Source: the usual shape of such tool sets, for example the asynchronous subagents of deepagents
(`start_async_task`, `check_async_task`) and the tasks of MCP (2025-11-25), which are polled.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence
from typing import Any, Literal

from langchain_core.messages import AnyMessage, HumanMessage, ToolCall, ToolMessage
from langchain_core.runnables import RunnableConfig
from langchain_core.tools import BaseTool, StructuredTool
from langgraph.graph import START as BEGIN
from langgraph.graph import MessagesState, StateGraph
from langgraph.prebuilt import ToolNode, tools_condition

from benchmarks.caching import uncached
from benchmarks.opponents.starter import FOREGROUND, START, WAITING_TOOL, Starter, numbered
from benchmarks.pace import Pace, decode
from benchmarks.stage import Outcome, Stage, Truth, tool_of
from benchmarks.workloads.conflicts import dependencies
from benchmarks.workloads.tasks import Task, ToolSpec, frozen
from langchain_asyncfc.testing import assert_valid_history

_CONFIG: RunnableConfig = {"recursion_limit": 10_000}
"""A slow tool is polled many times."""

_TASKS = {
    "type": "object",
    "properties": {"tasks": {"type": "array", "items": {"type": "string"}}},
    "required": ["tasks"],
}


class Polling:
    """Runs of one task with tools that start tasks.

    Args:
        task: The task.
        waiting: Whether the model polls or blocks.
    """

    def __init__(self, task: Task, waiting: Literal["poll", "wait"]) -> None:
        self._task = task
        self._waiting: Literal["poll", "wait"] = waiting
        self._deps = dependencies(task)
        self._stage = Stage(task)
        self._truth = Truth(task)
        self._running: dict[str, asyncio.Task[Any]] = {}
        self._player: Starter
        self._graph = self._build()

    async def run(self, times: Pace) -> Outcome:
        """Run the task once, in virtual time. The outcome says whether it was right."""
        self._stage.begin(times)
        self._running = {}
        player = Starter(self._task, self._deps, times.tokens, self._waiting, self)
        self._player = player
        clock = asyncio.get_running_loop().time
        start = clock()
        messages: list[AnyMessage] = []
        for player.turn in range(len(self._task.turns)):
            said = [*messages, HumanMessage(f"Request {player.turn}")]
            messages = (await self._graph.ainvoke({"messages": said}, _CONFIG))["messages"]
        seconds = clock() - start
        assert_valid_history(messages)
        wrong = self._truth.difference(self._stage, self.read(messages))
        return Outcome(
            seconds, len(player.output), sum(player.output), uncached(player.asked), wrong
        )

    def background(self, call: ToolCall) -> ToolCall:
        """The call of `start_<tool>`."""
        number = numbered(call["id"], FOREGROUND)
        name = f"start_{call['name']}"
        return ToolCall(name=name, args=call["args"], id=f"{START}_{number}")

    def read(self, messages: Sequence[AnyMessage]) -> dict[int, str]:
        """Each result that stands in the messages, by call."""
        found: dict[int, str] = {}
        for message in messages:
            if not isinstance(message, ToolMessage):
                continue
            number = numbered(message.tool_call_id, FOREGROUND)
            if number is not None:
                found[number] = str(message.content)
            elif message.name == WAITING_TOOL[self._waiting]:
                for task, told in json.loads(str(message.content)).items():
                    if "result" in told:
                        found[int(task.partition("_")[2])] = frozen(told["result"])
        return found

    def _build(self) -> Any:
        async def agent(state: MessagesState) -> dict[str, Any]:
            reply = self._player.reply(state["messages"])
            await asyncio.sleep(decode(self._player.output[-1]))
            return {"messages": [reply]}

        async def route(state: MessagesState) -> str:
            # As a plain function it would be run in a thread, which costs most of the real time.
            return tools_condition(dict(state))

        builder = StateGraph(MessagesState)
        builder.add_node("agent", agent)
        builder.add_node("tools", ToolNode(self._tools()))
        builder.add_edge(BEGIN, "agent")
        builder.add_conditional_edges("agent", route)
        builder.add_edge("tools", "agent")
        return builder.compile()

    def _tools(self) -> list[BaseTool]:
        async def ask(tasks: list[str]) -> Any:
            return await self._ask(tasks)

        name = WAITING_TOOL[self._waiting]
        asking = StructuredTool(
            name=name, description="Ask after tasks.", args_schema=_TASKS, coroutine=ask
        )
        plain = [tool_of(spec, self._stage) for spec in self._task.tools]
        return [*plain, *(self._starting(spec) for spec in self._task.tools), asking]

    def _starting(self, spec: ToolSpec) -> BaseTool:
        async def start(**args: Any) -> str:
            k = self._stage.take(spec.name, args)
            self._running[f"task_{k}"] = asyncio.create_task(self._stage.act(k, args))
            return f"task_{k} started"

        return StructuredTool(
            name=f"start_{spec.name}",
            description=spec.description,
            args_schema=dict(spec.schema),
            coroutine=start,
        )

    async def _ask(self, tasks: Sequence[str]) -> dict[str, Any]:
        """Of each task its result, or that it is running; and what else has finished meanwhile."""
        if self._waiting == "wait":
            await asyncio.wait([self._running[task] for task in tasks])
        done = {task: running for task, running in self._running.items() if running.done()}
        self._running = {task: run for task, run in self._running.items() if task not in done}
        return {
            **{task: {"status": "running"} for task in tasks if task not in done},
            **{task: {"result": run.result()} for task, run in done.items()},
        }
