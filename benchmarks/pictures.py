"""The timelines in the README and in the documentation, drawn again by one command.

python -m benchmarks.pictures

It writes `docs/timeline-readme.png`: the same agent with `ToolNode` and with `AsyncFCToolNode`, on
one scale of time. The tools sleep and the model is scripted, in virtual time, so the picture is the
same each time. It needs the extra `viz`.
"""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any, Final

from langchain_core.messages import AIMessage, HumanMessage
from langchain_core.tools import BaseTool, tool
from langgraph.prebuilt import ToolNode

from benchmarks.bound import agent_graph
from langchain_asyncfc import AsyncFCToolNode, effects, tools_condition
from langchain_asyncfc.testing import ScriptedChatModel, call, run_virtual
from langchain_asyncfc.timeline import RunRecord, Timeline

DOCS: Final = Path(__file__).resolve().parents[1] / "docs"
WIDTH: Final = 720
"""Pixels of the lanes: with their names some 800, as wide as a README is shown."""


@effects()
@tool
async def search(query: str) -> str:
    """Search the web."""
    await asyncio.sleep(4)
    return f"pages on {query}"


@effects()
@tool
async def weather(city: str) -> str:
    """Ask for the weather."""
    await asyncio.sleep(3)
    return f"sun in {city}"


@effects(writes="notes:")
@tool
async def save_note(text: str) -> str:
    """Save a note."""
    await asyncio.sleep(1.5)
    return f"saved {len(text)} characters"


TOOLS: Final[list[BaseTool]] = [search, weather, save_note]


def _asked(*calls: Any) -> AIMessage:
    return AIMessage("", tool_calls=list(calls))


def script(text: str) -> list[Any]:
    """One call a message, as most models make them.

    Args:
        text: What is saved: what the first search found, or a reference to it.
    """
    return [
        _asked(call("search", query="kangaroo island")),
        _asked(call("search", query="great ocean road")),
        _asked(call("weather", city="Adelaide")),
        _asked(call("save_note", text=text)),
    ]


def record_of(node: ToolNode, replies: list[Any]) -> RunRecord:
    """What an agent with this node did."""
    pace = {"ttft": 0.4, "tokens_per_second": 20.0, "streaming": True}
    model = ScriptedChatModel.replies(replies, **pace)
    graph = agent_graph(model, node, tools_condition)
    timeline = Timeline()
    question: Any = {"messages": [HumanMessage("Plan my days off.")]}
    run_virtual(graph.ainvoke(question, {"callbacks": [timeline]}))
    return timeline.record()


def readme() -> bytes:
    """The picture for the README."""
    from langchain_asyncfc.timeline.images import stacked  # noqa: PLC0415 - needs an extra

    answer = "Three days on the island, and the coast road on the way back."
    before = record_of(ToolNode(TOOLS), [*script("pages on kangaroo island"), answer])
    awaiting = _asked(call("await_future"))
    replies = [*script("${future_1}"), awaiting, answer]
    after = record_of(AsyncFCToolNode(TOOLS, grace=0), replies)
    headings = (
        f"ToolNode: {before.end:.1f} s",
        f"AsyncFCToolNode: {after.end:.1f} s, {before.end / after.end:.2f} times as fast",
    )
    runs = list(zip(headings, (before, after), strict=True))
    return stacked(runs, width=WIDTH, titled=False)


def main() -> None:
    """Write the pictures."""
    path = DOCS / "timeline-readme.png"
    path.write_bytes(readme())
    print(f"{path}: {path.stat().st_size:,} bytes")


if __name__ == "__main__":
    main()
