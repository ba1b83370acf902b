"""Timelines of agents by `create_agent`, whose truth is known in virtual time."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from langchain.agents import create_agent
from langchain_core.messages import AIMessage, HumanMessage
from langchain_core.tools import tool

from langchain_asyncfc import AsyncFCMiddleware, effects
from langchain_asyncfc.testing import ScriptedChatModel, call, run_virtual
from langchain_asyncfc.timeline import Timeline

GO = {"messages": [HumanMessage("go")]}


@effects()
@tool
async def search(query: str) -> str:
    """Search for 4 s."""
    await asyncio.sleep(4)
    return f"results for {query}"


def agent_of(tools: list[Any], replies: list[Any], *, asyncfc: bool = True, **options: Any) -> Any:
    """An agent that takes a second for each reply."""
    model = ScriptedChatModel.replies(replies, ttft=1.0)
    middleware = [AsyncFCMiddleware(**({"grace": 0.0} | options))] if asyncfc else []
    return create_agent(model, tools, middleware=middleware)


def timed(agent: Any) -> tuple[Timeline, float]:
    """The timeline of a run, and how long it took in virtual time."""
    timeline = Timeline()

    async def main() -> float:
        await agent.ainvoke(GO, {"callbacks": [timeline]})
        return asyncio.get_running_loop().time()

    return timeline, run_virtual(main())


def asked() -> list[AIMessage]:
    """Two searches beside each other, then one more."""
    return [
        AIMessage("", tool_calls=[call("search", query="a"), call("search", query="b")]),
        AIMessage("", tool_calls=[call("search", query="c")]),
    ]


@pytest.mark.parametrize("delivery", ["in_place", "append"])
def test_figures_are_what_the_agent_takes(delivery: str) -> None:
    """The wall time is the run's, the synchronous time that of the agent without middleware."""
    _, synchronous = timed(agent_of([search], [*asked(), "done"], asyncfc=False))
    agent = agent_of([search], [*asked(), "too early", "done"], delivery=delivery)
    timeline, seconds = timed(agent)
    figures = timeline.figures()
    assert figures.wall == pytest.approx(seconds) == pytest.approx(7)
    assert figures.synchronous == pytest.approx(synchronous) == pytest.approx(11)
    assert (figures.replies, figures.extra_replies, figures.calls) == (4, 1, 3)
    assert {run.delivered for run in timeline.record().tools} == {6}


@pytest.mark.parametrize("delivery", ["in_place", "append"])
def test_subagents_beside_each_other(delivery: str) -> None:
    """Each counts its own futures; none is told of those of another one that have the same ids."""
    length = {"a": 1.0, "b": 3.0}

    @effects()
    @tool
    async def look(what: str) -> str:
        """Look for a while."""
        await asyncio.sleep(length[what])
        return what

    @effects()
    @tool
    async def delegate(what: str) -> str:
        """Have another agent do it."""
        calls = AIMessage("", tool_calls=[call("look", what=what)])
        inner = agent_of([look], [calls, "too early", f"{what} is done"], delivery=delivery)
        return str((await inner.ainvoke(GO))["messages"][-1].text)

    calls = AIMessage("", tool_calls=[call("delegate", what=what) for what in length])
    timeline, seconds = timed(agent_of([delegate], [calls, "too early", "done"]))
    record = timeline.record()
    looks = {str(run.args["what"]): run for run in record.tools if run.tool == "look"}
    assert {run.future for run in looks.values()} == {"future_1"}
    assert {what: (r.start, r.end, r.delivered) for what, r in looks.items()} == {
        "a": (2, 3, 3),
        "b": (2, 5, 5),
    }
    outer = [run for run in record.tools if run.tool == "delegate"]
    assert [(run.start, run.end, run.delivered) for run in outer] == [(1, 4, 6), (1, 6, 6)]
    assert seconds == record.end == pytest.approx(7)
    assert [span.end for span in timeline.figures().path] == [1, 6, 7]


@pytest.mark.parametrize("asyncfc", [True, False])
def test_in_threads(asyncfc: bool) -> None:
    """Under `invoke` every call is seen, with times that are in order."""

    @effects()
    @tool
    def work(x: int) -> int:
        """Work."""
        return x

    calls = AIMessage("", tool_calls=[call("work", x=n) for n in range(3)])
    model = ScriptedChatModel.replies([calls, "done", "done"])
    middleware = [AsyncFCMiddleware(grace=0.0)] if asyncfc else []
    timeline = Timeline()
    agent = create_agent(model, [work], middleware=middleware)
    agent.invoke(GO, {"callbacks": [timeline]})
    record = timeline.record()
    assert [run.args["x"] for run in record.tools] == [0, 1, 2]
    for run in record.tools:
        assert run.issued <= run.start <= run.end <= (run.delivered or 0) <= record.end
        assert bool(run.future) == asyncfc
    figures = timeline.figures()
    assert asyncfc or figures.synchronous == pytest.approx(figures.wall)
