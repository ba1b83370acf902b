"""What load and time do: many runs at once with things going wrong in them, and very many calls.

**Many runs at once.** A run is a script of 20 calls in messages of one to four. A tenth of the
calls raise, a tenth are ended by their timeout, a tenth hang until the model cancels them, and a
tenth refer to an earlier call, which may be one of those. A tenth of the runs are cancelled on the
way, or stopped by an error of the model. What must come of each call is known from the script, and
compared with the final messages and with what the tools noted: "wrong" counts calls without
exactly one outcome and one delivery, invalid histories, calls, tasks and threads left behind,
warnings and log records. Async runs all stand on one event loop, sync ones in 64 threads. Memory is
counted before and after: objects that the garbage collector knows and that are there more; where it
is traced, what Python holds; and what the process has, also at most.

**Very many calls.** One compiled graph each for `ToolNode` and for ours, in one process; they run
in turn, so that a change of the machine's speed hits both. Every call becomes a future (`grace=0`).
"Growth" is the processor time per call in the last tenth over that in the first; the ratio is ours
over `ToolNode`'s, in the first and in the last tenth; objects are what both left behind, a call.
Bytes are what a call leaves in Python's memory, in a first and in a second half of 1,200 calls: in
one run, that a finished future can still be referred to.
"""

from __future__ import annotations

import asyncio
import gc
import itertools
import json
import statistics
import subprocess
import sys
import time
import tracemalloc
from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import dataclass, field
from typing import Any, Final

from langchain_core.messages import AIMessage, AnyMessage, HumanMessage, RemoveMessage
from langchain_core.runnables import RunnableConfig
from langchain_core.tools import tool
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.graph import START, MessagesState, StateGraph
from langgraph.prebuilt import ToolNode
from langgraph.prebuilt import tools_condition as toolnode_condition

from benchmarks.load import Row, held, measure
from langchain_asyncfc import AsyncFCToolNode, Effects, tools_condition

_BLOCKS: Final = 50
_TENTH: Final = _BLOCKS // 10
_KEPT: Final = 20
"""Messages that trimming leaves."""
_THREAD_CALLS: Final = 60
"""Calls after which another thread follows, where there are many."""


@tool
async def look_up(key: int) -> str:
    """Look something up."""
    await asyncio.sleep(0)
    return f"value of {key}"


class Side:
    """One graph and its model, which makes calls as long as it is told to.

    Attributes:
        made: Calls so far.
        goal: The model answers when it has made so many.
    """

    def __init__(self, shape: Shape, node: ToolNode, condition: Any) -> None:
        self.made = self.goal = 0
        self.shape = shape
        self.saver = InMemorySaver() if shape.saved else None
        builder = StateGraph(MessagesState)
        builder.add_node("agent", self._agent)
        builder.add_node("tools", node)
        builder.add_edge(START, "agent")
        builder.add_conditional_edges("agent", condition)
        builder.add_edge("tools", "agent")
        self.graph: Any = builder.compile(checkpointer=self.saver)

    async def _agent(self, state: MessagesState) -> dict[str, Any]:
        messages = state["messages"]
        old = messages[:-_KEPT] if self.shape.trims else []
        while old and not isinstance(messages[len(old)], AIMessage):
            old = old[:-1]  # not between calls and their answers
        removed = [RemoveMessage(id=str(m.id)) for m in old]
        calls = [
            {"name": "look_up", "args": {"key": n}, "id": f"call_{n}", "type": "tool_call"}
            for n in range(self.made, min(self.goal, self.made + self.shape.batch))
        ]
        self.made += len(calls)
        return {"messages": [*removed, AIMessage("" if calls else "Done.", tool_calls=calls)]}

    async def play(self) -> AsyncGenerator[None, None]:
        """Make calls for ever, a step at a time; `made` says how many."""
        turns, thread = 0, 0
        kept: list[AnyMessage] = []
        while True:
            self.goal = self.made + self.shape.turn_calls
            config: RunnableConfig = {
                "configurable": {"thread_id": str(thread)},
                "recursion_limit": 10 * self.shape.turn_calls + 100,
            }
            start = {"messages": [*kept, HumanMessage(f"Turn {turns}")]}
            async with aclosing(self.graph.astream(start, config, stream_mode="updates")) as steps:
                async for _ in steps:
                    yield
            turns += 1
            if self.saver is not None and self.shape.trims:
                # The same thread goes on, without its checkpoints: they are all kept for ever.
                kept = (await self.graph.aget_state(config)).values["messages"]
                self.saver.delete_thread(str(thread))
            elif self.saver is not None and turns * self.shape.turn_calls % _THREAD_CALLS == 0:
                self.saver.delete_thread(str(thread))
                thread += 1


@dataclass(frozen=True, slots=True)
class Shape:
    """How many calls are made.

    Attributes:
        title: What it is.
        calls: All in all.
        batch: Calls a message.
        turn_calls: Calls a run.
        saved: Whether there is a checkpointer.
        trims: Whether the model's node removes all but the last messages.
        traced: Calls of the shorter run in which memory is traced.
    """

    title: str
    calls: int
    batch: int
    turn_calls: int
    saved: bool
    trims: bool
    traced: int = 1_200

    def sides(self) -> tuple[Side, Side]:
        """`ToolNode`'s graph, and ours."""
        ours = AsyncFCToolNode([look_up], effects={"look_up": Effects()}, grace=0)
        return Side(self, ToolNode([look_up]), toolnode_condition), Side(
            self, ours, tools_condition
        )


_ALL: Final = 10**9
FULL: Final = (
    Shape("many short threads", 60_000, 5, 20, saved=True, trims=False),
    Shape("one thread, old messages removed", 33_000, 5, 20, saved=True, trims=True),
    Shape("one run, old messages removed", 5_000, 1, _ALL, saved=False, trims=True),
    Shape("one run, all messages kept", 2_000, 1, _ALL, saved=False, trims=False),
)
QUICK: Final = (
    Shape("many short threads", 250, 5, 20, saved=True, trims=False, traced=120),
    Shape("one run, old messages removed", 100, 1, _ALL, saved=False, trims=True, traced=120),
)


@dataclass(slots=True)
class Pair:
    """What `ToolNode` and ours took, block by block.

    Attributes:
        seconds: By side, for each block.
        objects: That both left behind.
    """

    seconds: tuple[list[float], list[float]] = field(default_factory=lambda: ([], []))
    objects: int = 0

    def growth(self, side: int) -> float:
        """Time of a block of the last tenth over one of the first."""
        seconds = self.seconds[side]
        return statistics.median(seconds[-_TENTH:]) / statistics.median(seconds[:_TENTH])

    def ratio(self, *, last: bool) -> float:
        """Our time over `ToolNode`'s, in the first or in the last tenth."""
        pairs = list(zip(*self.seconds, strict=True))
        return statistics.median(b / a for a, b in (pairs[-_TENTH:] if last else pairs[:_TENTH]))


async def _advance(side: Side, playing: AsyncGenerator[None, None], to: int) -> None:
    while side.made < to:
        await anext(playing)


async def compare(shape: Shape) -> Pair:
    """Make a shape's calls with both, in turn."""
    pair = Pair()
    sides = shape.sides()
    playing = [side.play() for side in sides]
    block = shape.calls // _BLOCKS
    before = 0
    for n in range(_BLOCKS + 1):
        for i, side in enumerate(sides):
            began = time.process_time()
            await _advance(side, playing[i], (n + 1) * block)
            if n:  # the first warms up
                pair.seconds[i].append(time.process_time() - began)
        if not n:
            before = held()[0]
            gc.freeze()  # or each collection would walk all imported modules
    for each in playing:
        await each.aclose()
    gc.unfreeze()
    pair.objects = held()[0] - before
    return pair


async def trace(side: Side, half: int) -> tuple[float, float]:
    """Bytes that a call leaves behind, in a first and in a second half of some calls."""
    playing = side.play()
    await _advance(side, playing, half)
    gc.freeze()
    tracemalloc.start()
    marks = []
    for n in (1, 2, 3):
        await _advance(side, playing, n * half)
        marks.append(held()[1])
    tracemalloc.stop()
    await playing.aclose()
    gc.unfreeze()
    first, second = ((b - a) / half for a, b in itertools.pairwise(marks))
    return first, second


def _many_runs(*, quick: bool) -> list[str]:
    """The table of many runs at once, as Markdown lines."""
    lines = [
        "| | runs | what came of calls | stopped | wrong | s | objects | traced MB | resident MB |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    problems: list[str] = []
    for title, face, delivery, use_async, traced, full in (
        ("node, `ainvoke`", "node", "in_place", True, False, 1_000),
        ("node, `ainvoke`, append", "node", "append", True, True, 250),
        ("node, `invoke`, append", "node", "append", False, False, 250),
        ("middleware, `ainvoke`, append", "middleware", "append", True, False, 250),
        ("middleware, `invoke`", "middleware", "in_place", False, False, 250),
    ):
        if quick and (traced or use_async == (face == "middleware")):
            continue
        runs = 4 if quick else full
        asked = {"runs": runs, "face": face, "delivery": delivery, "use_async": use_async}
        row = measured({**asked, "patient": not quick}, traced=traced, apart=not quick)
        fates = ", ".join(f"{count:,} {fate}" for fate, count in row.fates.items())
        memory = " to ".join(f"{size / 1e6:.2f}" for size in row.traced) if traced else ""
        before, most, after = (f"{size / 1e6:.0f}" for size in row.rss)
        lines.append(
            f"| {title} | {runs:,} | {fates} | {row.stopped} | {len(row.wrong)} | "
            f"{row.seconds:.0f} | {row.objects[1] - row.objects[0]} | {memory} | "
            f"{before}, at most {most}, then {after} |"
        )
        problems += [f"- {title}: {text}" for text in row.wrong[:5]]
    return [*lines, *(["", "What was wrong:", "", *problems] if problems else [])]


def measured(asked: dict[str, Any], *, traced: bool, apart: bool) -> Row:
    """A row of the table, measured in a process of its own if it is to be told apart."""
    if not apart:
        return measure(**asked)
    options = ["-X", "tracemalloc"] if traced else []
    command = [sys.executable, *options, "-m", "benchmarks.load", json.dumps(asked)]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
    return Row(**json.loads(done.stdout))


def _many_calls(*, quick: bool) -> list[str]:
    """The table of very many calls, as Markdown lines."""
    lines = [
        "| | calls | growth, ToolNode | ours | ratio | last | objects | bytes, ToolNode | ours |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for shape in QUICK if quick else FULL:
        pair = asyncio.run(compare(shape))
        halves = [asyncio.run(trace(side, shape.traced // 2)) for side in shape.sides()]
        theirs, ours = (f"{first:,.0f}, then {second:,.0f}" for first, second in halves)
        lines.append(
            f"| {shape.title} | {shape.calls:,} | {pair.growth(0):.2f} | {pair.growth(1):.2f} | "
            f"{pair.ratio(last=False):.2f} | {pair.ratio(last=True):.2f} | "
            f"{pair.objects / shape.calls:.2f} | {theirs} | {ours} |"
        )
    return lines


def report(*, quick: bool) -> list[str]:
    """The tables, as Markdown lines."""
    return [*_many_runs(quick=quick), "", *_many_calls(quick=quick)]
