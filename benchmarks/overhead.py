"""What the node costs over ToolNode where there is nothing to gain: calls that finish at once.

Both nodes stand in the same graph (one step, one message), in one process, and run in turn, so
that a change of the machine's speed hits both. The figure is the median of the pairwise ratios.
"""

from __future__ import annotations

import asyncio
import gc
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from langchain_core.messages import AIMessage
from langchain_core.tools import tool
from langgraph.graph import START, MessagesState, StateGraph
from langgraph.prebuilt import ToolNode

from langchain_asyncfc import AsyncFCToolNode

SIZES = (1, 10, 100, 1_000)
_WARM_UP = 2


@tool
async def async_noop(x: int) -> str:
    """Return at once."""
    return str(x)


@tool
def sync_noop(x: int) -> str:
    """Return at once."""
    return str(x)


@tool
def sync_50ms(x: int) -> str:
    """Return after 50 ms."""
    time.sleep(0.05)
    return str(x)


def _graph(node: ToolNode) -> Any:
    builder = StateGraph(MessagesState)
    builder.add_node("tools", node)
    builder.add_edge(START, "tools")
    return builder.compile()


def _message(name: str, size: int) -> dict[str, Any]:
    calls = [
        {"name": name, "args": {"x": n}, "id": f"call_{n}", "type": "tool_call"}
        for n in range(size)
    ]
    return {"messages": [AIMessage("", tool_calls=calls)]}


@dataclass(frozen=True, slots=True)
class Overhead:
    """One row.

    Attributes:
        what: Kind of tool and of run.
        size: Calls a message.
        theirs: Microseconds a call with ToolNode.
        ours: Microseconds a call with AsyncFCToolNode.
        ratio: Median of the pairwise ratios.
        placeholders: How many of our calls got a placeholder, of all that were made.
    """

    what: str
    size: int
    theirs: float
    ours: float
    ratio: float
    placeholders: str


def _pairs(
    one: Callable[[], Any], other: Callable[[], Any], count: int
) -> tuple[list[float], list[float], list[Any]]:
    theirs, ours, results = [], [], []
    for n in range(count + _WARM_UP):
        gc.collect() if n % 50 == 0 else None
        began = time.perf_counter()
        one()
        between = time.perf_counter()
        result = other()
        ended = time.perf_counter()
        if n >= _WARM_UP:
            theirs.append(between - began)
            ours.append(ended - between)
            results.append(result)
    return theirs, ours, results


def measure(what: str, name: str, size: int, rounds: int, *, use_async: bool) -> Overhead:
    """Measure one kind of tool at one size."""
    tools = [async_noop, sync_noop]
    theirs, ours = _graph(ToolNode(tools)), _graph(AsyncFCToolNode(tools))
    loop = asyncio.new_event_loop()

    def run(graph: Any) -> Callable[[], Any]:
        if use_async:
            return lambda: loop.run_until_complete(graph.ainvoke(_message(name, size)))
        return lambda: graph.invoke(_message(name, size))

    a, b, results = _pairs(run(theirs), run(ours), rounds)
    loop.run_until_complete(loop.shutdown_default_executor())
    loop.close()
    answers = [m for result in results for m in result["messages"][1:]]
    pending = sum("asyncfc" in m.additional_kwargs for m in answers)
    scale = 1e6 / size
    ratio = statistics.median(y / x for x, y in zip(a, b, strict=True))
    return Overhead(
        what,
        size,
        statistics.median(a) * scale,
        statistics.median(b) * scale,
        ratio,
        f"{pending} / {len(answers)}",
    )


def sync_tools_of_50ms() -> tuple[float, float]:
    """Seconds for 100 sync tools of 50 ms under `ainvoke`: with ToolNode, with ours."""
    times = []
    for node in (ToolNode([sync_50ms]), AsyncFCToolNode([sync_50ms], grace=5)):
        graph = _graph(node)
        began = time.perf_counter()
        asyncio.run(graph.ainvoke(_message("sync_50ms", 100)))
        times.append(time.perf_counter() - began)
    return times[0], times[1]


def report(*, quick: bool) -> list[str]:
    """The tables, as Markdown lines."""
    lines = [
        "| tools | calls a message | ToolNode, µs a call | ours | ratio | placeholders |",
        "|---|---|---|---|---|---|",
    ]
    budget = 400 if quick else 4_000
    for what, name, use_async in (
        ("async, `ainvoke`", "async_noop", True),
        ("sync, `ainvoke`", "sync_noop", True),
        ("sync, `invoke`", "sync_noop", False),
    ):
        for size in SIZES:
            rounds = max(5, min(budget // size, 100 if quick else 600))
            row = measure(what, name, size, rounds, use_async=use_async)
            lines.append(
                f"| {row.what} | {row.size:,} | {row.theirs:.0f} | {row.ours:.0f} | "
                f"{row.ratio:.2f} | {row.placeholders} |"
            )
    theirs, ours = sync_tools_of_50ms()
    told = f"100 sync tools of 50 ms under `ainvoke`: ToolNode {theirs:.2f} s, ours {ours:.2f} s."
    return [*lines, "", told]
