"""What futures cost while they are pending: time to issue, memory, time to deliver.

One message makes all calls, so that nothing but their number grows. A future is "running" where
its tool has begun and waits for something, and "waiting" where its tool may not begin yet, as it
has no declared effects and an earlier call runs.
"""

from __future__ import annotations

import asyncio
import gc
import statistics
import subprocess
import sys
import time
import tracemalloc
from collections.abc import Callable
from dataclasses import dataclass

from langchain_core.messages import AIMessage, AnyMessage, ToolCall
from langchain_core.tools import tool
from langgraph.graph import END, START, MessagesState, StateGraph
from langgraph.prebuilt import ToolNode
from langgraph.prebuilt import tools_condition as toolnode_condition

from benchmarks.load import resident
from langchain_asyncfc import AsyncFCToolNode, Effects, tools_condition

__all__ = ["Cost", "cost", "memory", "resident_memory"]


@dataclass(frozen=True, slots=True)
class Cost:
    """What a future took.

    Attributes:
        issue: Microseconds to issue it: from the model's message to the model's next call.
        deliver: Microseconds to run its tool to the end and deliver the outcome.
    """

    issue: float
    deliver: float


class _Case:
    """A graph whose model makes calls that all wait until it has seen what is pending."""

    def __init__(self, count: int, *, ours: bool, waiting: bool = False) -> None:
        self.count = count
        self.marks: list[float] = []
        self.look: Callable[[], None] = lambda: None
        self._ours = ours
        self._started = 0
        self._begun: asyncio.Event
        self._go: asyncio.Event

        @tool
        async def hold(n: int) -> str:
            """Wait until told to go on."""
            self._started += 1
            if self._started == self.count:
                self._begun.set()
                if not self._ours:
                    self._reach()
            await self._go.wait()
            return str(n)

        node: ToolNode = ToolNode([hold])
        condition: Callable[..., str] = toolnode_condition
        if ours:
            effects = None if waiting else {"hold": Effects()}
            node, condition = AsyncFCToolNode([hold], effects=effects, grace=0), tools_condition
        self._waiting = waiting
        builder = StateGraph(MessagesState)
        builder.add_node("agent", self._agent)
        builder.add_node("tools", node)
        builder.add_edge(START, "agent")
        builder.add_conditional_edges("agent", condition, ["tools", END])
        builder.add_edge("tools", "agent")
        self.graph = builder.compile()

    def _reach(self) -> None:
        """Everything is pending now."""
        self.marks.append(time.process_time())
        self.look()
        self.marks.append(time.process_time())
        self._go.set()

    async def _agent(self, state: MessagesState) -> dict[str, list[AnyMessage]]:
        made = sum(isinstance(m, AIMessage) for m in state["messages"])
        if self._waiting and made == 0:
            return {"messages": [AIMessage("", tool_calls=_calls(1))]}
        if made == self._waiting:
            self.marks.append(time.process_time())
            return {"messages": [AIMessage("", tool_calls=_calls(self.count))]}
        if not self._go.is_set():
            if not self._waiting:
                await self._begun.wait()
            self._reach()
        else:
            self.marks.append(time.process_time())
        return {"messages": [AIMessage("Done.")]}

    async def run(self) -> Cost:
        """Run it once."""
        self.marks, self._started = [], 0
        self._begun, self._go = asyncio.Event(), asyncio.Event()
        await self.graph.ainvoke({"messages": []}, {"recursion_limit": 20})
        made, reached, went_on, delivered = self.marks[:4]
        scale = 1e6 / self.count
        return Cost((reached - made) * scale, (delivered - went_on) * scale)


def _calls(count: int) -> list[ToolCall]:
    return [
        ToolCall(name="hold", args={"n": n}, id=f"call_{n}", type="tool_call") for n in range(count)
    ]


def cost(count: int, runs: int, *, ours: bool) -> Cost:
    """What a future, or a call of `ToolNode`, takes among so many: the median of some runs."""
    case = _Case(count, ours=ours)
    gc.collect()
    gc.freeze()
    found = [asyncio.run(case.run()) for _ in range(runs + 1)][1:]
    gc.unfreeze()
    return Cost(
        statistics.median(c.issue for c in found), statistics.median(c.deliver for c in found)
    )


def memory(count: int, *, ours: bool, waiting: bool = False, traced: bool) -> float:
    """Bytes that a pending call holds, its message included, while all of them are pending.

    Args:
        count: How many calls there are.
        ours: Whether they are futures, or calls that run in `ToolNode`.
        waiting: Whether they are futures that have not begun.
        traced: By `tracemalloc`; if not, by what the process has.
    """
    case = _Case(count, ours=ours, waiting=waiting)
    found: list[float] = []

    def held() -> float:
        gc.collect()
        return float(tracemalloc.get_traced_memory()[0] if traced else resident())

    case.look = lambda: found.append(held())
    asyncio.run(_Case(10, ours=ours, waiting=waiting).run())  # what is made once a process
    if traced:
        tracemalloc.start()
    before = held()
    asyncio.run(case.run())
    if traced:
        tracemalloc.stop()
    return (found[-1] - before) / count


def resident_memory(count: int, *, ours: bool) -> float:
    """Bytes of the process that a pending call takes, in a new process."""
    program = (
        f"from benchmarks.pending import memory; print(memory({count}, ours={ours}, traced=False))"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], check=True, stdout=subprocess.PIPE, text=True
    )
    return float(done.stdout)
