"""LLMCompiler: a planner writes all calls first, they run as their values come, a joiner decides.

Written as a LangGraph graph of two nodes, as in LangGraph's own tutorial on it. It is given its
best case: the plan is streamed, and a call starts as soon as its line is decoded and what it
waits for has finished; `$1` may carry a path into the result; a call's line takes the tokens that
the call takes as a function call, and a few for its number; the planner never errs. The joiner
reads all results: it answers, or, where a call could not be written without reading a result, says
so and the planner writes what remains.

A plan knows nothing of what tools read and write. Two variants:

- As published: a call waits for the calls whose values it takes. Calls that touch the same things
  race, and their runs are counted as wrong where that shows.
- Ordered: the planner also writes behind a call after which others it must run, and never errs.

Source: An LLM Compiler for Parallel Function Calling (Kim et al., 2024, arXiv 2312.04511), and the
graph's shape from LangGraph's tutorial on LLMCompiler.
"""

from __future__ import annotations

import asyncio
import operator
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Annotated, Any, Literal, TypedDict

from langchain_core.messages import AIMessage, AnyMessage, HumanMessage, ToolCall, ToolMessage
from langgraph.graph import END, START, StateGraph

from benchmarks.caching import uncached
from benchmarks.opponents.plans import JOIN_TOKENS, by_value, filled, line_tokens, rounds
from benchmarks.pace import ANSWER_TOKENS, TOKENS_PER_SECOND, TTFT, Pace, decode
from benchmarks.players import contents
from benchmarks.stage import Outcome, Stage, Truth
from benchmarks.workloads.conflicts import dependencies
from benchmarks.workloads.tasks import Task, frozen
from langchain_asyncfc.testing import assert_valid_history

FINISH_TOKENS = 4
"""Tokens of the joiner's `Action: Finish(…)` around its answer; no thought is counted."""

REPLAN_TOKENS = 15
"""Tokens of the joiner's `Thought: … Action: Replan()`, with a thought of one short sentence."""


class _State(TypedDict):
    messages: Annotated[list[AnyMessage], operator.add]
    number: int


@dataclass(slots=True)
class _Log:
    """What one run asked of its two models, and what they decoded."""

    output: list[int] = field(default_factory=list)
    planner: list[Sequence[AnyMessage]] = field(default_factory=list)
    joiner: list[Sequence[AnyMessage]] = field(default_factory=list)


class Compiler:
    """Runs of one task by plans.

    Args:
        task: The task.
        ordered: Whether the planner also writes which calls must run after others.
    """

    def __init__(self, task: Task, *, ordered: bool) -> None:
        everything = dependencies(task)
        self._task = task
        self._deps = everything if ordered else by_value(task)
        self._plans = [rounds(task, turn, everything) for turn in task.turns]
        self._turn = 0
        self._stage = Stage(task)
        self._truth = Truth(task)
        self._times: Pace
        self._log: _Log
        self._graph = self._build()

    async def run(self, times: Pace) -> Outcome:
        """Run the task once, in virtual time. The outcome says whether it was right."""
        self._stage.begin(times)
        self._times, self._log = times, _Log()
        clock = asyncio.get_running_loop().time
        start = clock()
        messages: list[AnyMessage] = []
        for turn in range(len(self._task.turns)):
            self._turn = turn
            said = [*messages, HumanMessage(f"Request {self._turn}")]
            messages = (await self._graph.ainvoke({"messages": said, "number": 0}))["messages"]
        seconds = clock() - start
        assert_valid_history(messages)
        log = self._log
        return Outcome(
            seconds,
            len(log.output),
            sum(log.output),
            uncached(log.planner) + uncached(log.joiner),
            self._truth.difference(self._stage, contents(messages)),
        )

    def _build(self) -> Any:
        async def route(state: _State) -> Literal["plan", "__end__"]:
            return "plan" if state["number"] < len(self._plans[self._turn]) else "__end__"

        builder = StateGraph(_State)
        builder.add_node("plan", self._plan)
        builder.add_node("join", self._join)
        builder.add_edge(START, "plan")
        builder.add_edge("plan", "join")
        builder.add_conditional_edges("join", route, {"plan": "plan", "__end__": END})
        return builder.compile()

    async def _plan(self, state: _State) -> dict[str, Any]:
        """Decode a plan and run its calls meanwhile."""
        self._log.planner.append(state["messages"])
        plan = self._plans[self._turn][state["number"]]
        running: dict[int, asyncio.Task[Any]] = {}
        spent = JOIN_TOKENS
        await asyncio.sleep(TTFT)
        async with asyncio.TaskGroup() as tasks:
            for k in plan:
                line = self._times.tokens[k] + line_tokens(self._task, plan, self._deps, k)
                spent += line
                await asyncio.sleep(line / TOKENS_PER_SECOND)
                running[k] = tasks.create_task(self._fetch(k, running))
            await asyncio.sleep(JOIN_TOKENS / TOKENS_PER_SECOND)
        self._log.output.append(spent)
        results = {k: task.result() for k, task in running.items()}
        return {"messages": _told(self._task, results), "number": state["number"] + 1}

    async def _fetch(self, k: int, running: dict[int, asyncio.Task[Any]]) -> Any:
        """Run a call of a plan as soon as what it waits for is there."""
        earlier = [running[i] for i in sorted(self._deps[k]) if i in running]
        if earlier:
            await asyncio.wait(earlier)
        args = filled(self._task.calls[k], list(running), self._stage.results)
        return await self._stage.act(k, args)

    async def _join(self, state: _State) -> dict[str, Any]:
        """Read all results; answer if nothing is left to plan."""
        self._log.joiner.append(state["messages"])
        ends = state["number"] == len(self._plans[self._turn])
        tokens = ANSWER_TOKENS + FINISH_TOKENS if ends else REPLAN_TOKENS
        self._log.output.append(tokens)
        await asyncio.sleep(decode(tokens))
        return {"messages": [AIMessage("Done.")] if ends else []}


def _told(task: Task, results: dict[int, Any]) -> list[AnyMessage]:
    """A plan that was run, as messages."""
    calls = [
        ToolCall(name=task.calls[k].tool, args=dict(task.calls[k].args), id=f"call_{k}")
        for k in results
    ]
    return [
        AIMessage("", tool_calls=calls),
        *(ToolMessage(frozen(result), tool_call_id=f"call_{k}") for k, result in results.items()),
    ]
