"""Timelines of real runs, whose truth is known in virtual time."""

from __future__ import annotations

import asyncio
import json
import threading
from pathlib import Path
from typing import Any

import pytest
from langchain_core.language_models import FakeListLLM
from langchain_core.messages import AIMessage, HumanMessage
from langchain_core.runnables import RunnableLambda
from langchain_core.tools import BaseTool, tool
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.graph import START, MessagesState, StateGraph
from langgraph.prebuilt import ToolNode
from langgraph.types import Command, interrupt

from langchain_asyncfc import AsyncFCToolNode, effects, tools_condition
from langchain_asyncfc.testing import ScriptedChatModel, call, run_virtual
from langchain_asyncfc.timeline import RunRecord, Timeline, ToolRun, from_json, to_json

GO = {"messages": [HumanMessage("go")]}

of_which_call = pytest.mark.needs_langgraph("1.1")
"""The langchain-core of older ones does not tell which call a run is of that gives no result."""


@effects(reads="web:")
@tool
async def search(query: str) -> str:
    """Search for 4 s."""
    await asyncio.sleep(4)
    return f"results for {query}"


@effects(writes="fs:{path}")
@tool
async def write(path: str, text: str) -> str:
    """Write for 1.5 s."""
    await asyncio.sleep(1.5)
    return f"{len(text)} characters in {path}"


@effects(reads="fs:{path}")
@tool
def read(path: str) -> str:
    """Read at once, in a thread."""
    assert threading.current_thread() is not threading.main_thread()
    return f"text of {path}"


@effects()
@tool
async def fail(seconds: float) -> str:
    """Fail after a while."""
    await asyncio.sleep(seconds)
    raise ValueError("no such thing")


TOOLS: list[BaseTool] = [search, write, read, fail]


def graph_of(node: Any, replies: list[Any], *, saver: Any = None, **model: Any) -> Any:
    """An agent: a second for each reply, unless another pace is given."""
    scripted = ScriptedChatModel.replies(replies, **({"ttft": 1.0} | model))

    async def agent(state: MessagesState) -> Any:
        return {"messages": [await scripted.ainvoke(state["messages"])]}

    def in_thread(state: MessagesState) -> Any:
        return {"messages": [scripted.invoke(state["messages"])]}

    graph = StateGraph(MessagesState)
    graph.add_node("agent", RunnableLambda(in_thread, agent))
    graph.add_node("tools", node)
    graph.add_edge(START, "agent")
    graph.add_conditional_edges("agent", tools_condition)
    graph.add_edge("tools", "agent")
    return graph.compile(checkpointer=saver)


def asyncfc(**options: Any) -> AsyncFCToolNode:
    """The node, without a grace period."""
    errors = {"handle_tool_errors": True}
    return AsyncFCToolNode(TOOLS, **({"grace": 0.0} | errors | options))


def timed(graph: Any, *, timeline: Timeline | None = None) -> tuple[Timeline, float]:
    """The timeline of a run, and how long it took in virtual time."""
    timeline = timeline or Timeline()

    async def main() -> float:
        await graph.ainvoke(GO, {"callbacks": [timeline]})
        return asyncio.get_running_loop().time()

    return timeline, run_virtual(main())


def script() -> list[AIMessage]:
    """Two searches; a text that needs one of them is written; it is read."""
    return [
        AIMessage("", tool_calls=[call("search", query="a"), call("search", query="b")]),
        AIMessage("", tool_calls=[call("write", path="/x", text="${future_1}")]),
        AIMessage("", tool_calls=[call("read", path="/x")]),
    ]


def by_future(record: RunRecord) -> dict[str, ToolRun]:
    """The calls of a run by the ids of their futures."""
    return {run.future: run for run in record.tools}


def test_a_synchronous_run() -> None:
    """Of a run of `ToolNode` everything is seen, and its synchronous time is its own."""
    graph = graph_of(ToolNode(TOOLS), [*script(), "done"])
    timeline, seconds = timed(graph)
    record = timeline.record()
    assert record.end == pytest.approx(seconds) == pytest.approx(9.5)
    assert [(r.start, r.end) for r in record.replies] == [(0, 1), (5, 6), (7.5, 8.5), (8.5, 9.5)]
    assert [(t.tool, t.issued, t.start, t.end, t.delivered) for t in record.tools] == [
        ("search", 1, 1, 5, 5),
        ("search", 1, 1, 5, 5),
        ("write", 6, 6, 7.5, 7.5),
        ("read", 8.5, 8.5, 8.5, 8.5),
    ]
    assert [t.call for t in record.tools] == [c for r in record.replies for c in r.calls]
    assert record.tools[2].result == "11 characters in /x"
    figures = timeline.figures()
    assert figures.synchronous == pytest.approx(seconds)
    assert figures.extra_replies == 0


@pytest.mark.parametrize("delivery", ["in_place", "append"])
def test_what_a_synchronous_run_would_have_taken(delivery: str) -> None:
    """It is worked out from a run in the background, and is what `ToolNode` really takes."""
    node = asyncfc(delivery=delivery)
    timeline, seconds = timed(graph_of(node, [*script(), "too early", "done"]))
    _, synchronous = timed(graph_of(ToolNode(TOOLS), [*script(), "done"]))
    figures = timeline.figures()
    assert figures.wall == pytest.approx(seconds) == pytest.approx(7.5)
    assert figures.synchronous == pytest.approx(synchronous)
    assert figures.extra_replies == 1
    assert figures.critical == pytest.approx(seconds)
    calls = by_future(timeline.record())
    assert {run.delivered for run in calls.values()} == {6.5}


def test_waits_and_their_reasons() -> None:
    """A call knows what it waited for, when, and why."""
    timeline, _ = timed(graph_of(asyncfc(), [*script(), "too early", "done"]))
    calls = by_future(timeline.record())
    [reference] = calls["future_3"].waits
    assert (reference.reason, reference.after) == ("reference", "future_1")
    assert (reference.start, reference.end) == (2, 5)
    [hazard] = calls["future_4"].waits
    assert (hazard.reason, hazard.after) == ("RAW on fs:/x", "future_3")
    assert (hazard.start, hazard.end) == (3, 6.5)
    assert calls["future_3"].args["text"] == "results for a"


@of_which_call
def test_calls_that_failed_or_never_ran() -> None:
    """What failed is failed, and what needed it was skipped: both were told to the model."""
    replies = [
        AIMessage("", tool_calls=[call("fail", seconds=2)]),
        AIMessage("", tool_calls=[call("write", path="/x", text="future_1")]),
        "too early",
        "done",
    ]
    timeline, _ = timed(graph_of(asyncfc(), replies))
    calls = by_future(timeline.record())
    assert calls["future_1"].state == "failed"
    assert calls["future_1"].result == "ValueError: no such thing"
    skipped = calls["future_2"]
    assert (skipped.state, skipped.issued, skipped.start, skipped.end) == ("skipped", 2, 3, 3)
    assert "future_1" in skipped.result


@of_which_call
def test_cancelled_calls() -> None:
    """A call that the model cancels ends there."""
    replies = [
        AIMessage("", tool_calls=[call("search", query="a")]),
        AIMessage("", tool_calls=[call("cancel_future", futures=["future_1"])]),
        "done",
    ]
    timeline, _ = timed(graph_of(asyncfc(), replies))
    [run] = timeline.record().tools
    assert (run.state, run.start, run.end) == ("cancelled", 1, 2)
    assert timeline.figures().extra_replies == 1


def test_first_tokens_and_usage() -> None:
    """Where a model streams, its first token is seen; its usage always is."""
    reply = AIMessage("four words are here")
    pace = {"ttft": 0.4, "tokens_per_second": 10.0}
    for streaming in (True, False):
        timeline, _ = timed(graph_of(asyncfc(), [reply], streaming=streaming, **pace))
        [seen] = timeline.record().replies
        assert (seen.first_token is not None) == streaming
        assert (seen.first_token or 0.0) < 0.6  # the first one, not the last
        assert seen.output_tokens == 5
        assert seen.end == pytest.approx(0.9)
        assert seen.model == "ScriptedChatModel"
        assert seen.text == "four words are here"


def test_a_model_that_fails() -> None:
    """A call of the model that raises is recorded as failed."""
    timeline = Timeline()
    with pytest.raises(OSError, match="gone"):
        timed(graph_of(asyncfc(), [OSError("gone")]), timeline=timeline)
    [reply] = timeline.record().replies
    assert reply.failed
    assert reply.text == "OSError: gone"


def test_a_plain_language_model() -> None:
    """A model that is no chat model has replies without calls."""
    model = FakeListLLM(responses=["plain words"])

    def write_on(state: MessagesState) -> Any:
        return {"messages": [AIMessage(model.invoke("go"))]}

    graph = StateGraph(MessagesState)
    graph.add_node("agent", write_on)
    graph.add_edge(START, "agent")
    timeline = Timeline()
    graph.compile().invoke(GO, {"callbacks": [timeline]})
    [reply] = timeline.record().replies
    assert (reply.text, reply.calls, reply.model) == ("plain words", (), "FakeListLLM")


@of_which_call
def test_an_interrupt_and_its_answer() -> None:
    """One timeline has both runs: the call that asked, and the same call when it was answered."""

    @effects(foreground=True)
    @tool
    async def ask_person(question: str) -> str:
        """Ask a person."""
        await asyncio.sleep(1)
        return str(interrupt(question))

    calls = [call("search", query="a"), call("ask_person", question="Which?")]
    replies = [AIMessage("", tool_calls=calls), "done"]
    node = AsyncFCToolNode([search, ask_person], grace=0.0)
    graph = graph_of(node, replies, saver=InMemorySaver())
    timeline = Timeline()

    async def main() -> Any:
        config = {"callbacks": [timeline], "configurable": {"thread_id": "1"}}
        stopped = await graph.ainvoke(GO, config)
        assert stopped["__interrupt__"]
        return await graph.ainvoke(Command(resume="the red one"), config)

    state = run_virtual(main())
    assert state["messages"][-1].text == "done"
    record = timeline.record()
    first, second = (run for run in record.tools if run.tool == "ask_person")
    assert (first.state, first.run, first.end - first.start) == ("interrupted", 1, 1)
    assert (second.state, second.run, second.result) == ("resolved", 2, "the red one")
    assert first.call == second.call
    assert second.start >= first.end
    assert (first.delivered, second.delivered is not None) == (None, True)
    [found] = (run for run in record.tools if run.tool == "search")
    assert (found.state, found.run, found.start, found.end) == ("resolved", 1, 1, 5)


def test_a_run_that_is_cancelled() -> None:
    """What ran then is cancelled, and ends there."""
    timeline = Timeline()
    graph = graph_of(asyncfc(), [*script(), "too early", "done"])

    async def main() -> None:
        running = asyncio.ensure_future(graph.ainvoke(GO, {"callbacks": [timeline]}))
        await asyncio.sleep(3.5)
        running.cancel()
        with pytest.raises(asyncio.CancelledError):
            await running

    run_virtual(main())
    timed(graph_of(asyncfc(), ["later"]), timeline=timeline)
    record = timeline.record()
    assert record.end == pytest.approx(4.5)
    searches = [run for run in record.tools if run.tool == "search"]
    assert [(run.state, run.end) for run in searches] == [("cancelled", 3.5)] * 2
    assert [(r.start, r.end) for r in record.replies if r.failed] == [(3, 3.5)]
    assert all(run.delivered is None for run in record.tools)


def test_a_tool_that_tool_node_was_running_when_its_run_was_cancelled() -> None:
    """It is cancelled, though LangChain says nothing of its end; later runs do not lengthen it."""
    timeline = Timeline()

    async def main() -> None:
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(
                graph_of(ToolNode(TOOLS), script()).ainvoke(GO, {"callbacks": [timeline]}), 3
            )

    run_virtual(main())
    timed(graph_of(asyncfc(), ["later"]), timeline=timeline)
    found = timeline.record().tools
    assert [(run.state, run.start, run.end) for run in found] == [("cancelled", 1, 3)] * 2


def test_whole_results_in_the_record() -> None:
    """Results are whole up to a limit, which can be set."""
    replies = [AIMessage("", tool_calls=[call("search", query="x" * 5000)]), "early", "done"]
    timeline, _ = timed(graph_of(asyncfc(), replies))
    assert timeline.record().tools[0].result == "results for " + "x" * 5000
    assert from_json(to_json(timeline.record())) == timeline.record()
    short, _ = timed(graph_of(asyncfc(), replies), timeline=Timeline(max_text=10))
    assert short.record().tools[0].result == "results f…"
    whole, _ = timed(graph_of(asyncfc(), ["y" * 200_000]), timeline=Timeline(max_text=None))
    assert len(whole.record().replies[0].text) == 200_000
    cut, _ = timed(graph_of(asyncfc(), ["y" * 200_000]))
    assert len(cut.record().replies[0].text) == 100_000
    with pytest.raises(ValueError, match="max_text must be a number of characters from 1 on"):
        Timeline(max_text=0)


def test_several_runs_in_a_row() -> None:
    """A talk's turns stand one after another, also where each has an event loop of its own."""
    timeline = Timeline("talk")
    for _ in range(2):
        timed(graph_of(asyncfc(), [*script(), "too early", "done"]), timeline=timeline)
    record = timeline.record()
    assert record.end == pytest.approx(15.0)
    assert sorted({reply.run for reply in record.replies}) == [1, 2]
    assert next(reply.start for reply in record.replies if reply.run == 2) == pytest.approx(7.5)
    once, _ = timed(graph_of(asyncfc(), [*script(), "too early", "done"]))
    assert timeline.figures().saved == pytest.approx(2 * once.figures().saved)
    timeline.clear()
    assert timeline.record().end == 0.0


def test_agents_inside_of_tools() -> None:
    """What a tool runs itself stands within its call."""
    inner = graph_of(ToolNode(TOOLS), [*script()[:1], "inner done"])

    @effects()
    @tool
    async def delegate(task: str) -> str:
        """Have another agent do it."""
        result = await inner.ainvoke({"messages": [HumanMessage(task)]})
        return str(result["messages"][-1].text)

    node = AsyncFCToolNode([delegate], grace=0.0)
    replies = [AIMessage("", tool_calls=[call("delegate", task="t")]), "too early", "done"]
    timeline, seconds = timed(graph_of(node, replies))
    record = timeline.record()
    outer = next(run for run in record.tools if run.tool == "delegate")
    within = [span for span in (*record.replies, *record.tools) if span.within]
    assert {span.within for span in within} == {outer.call}
    assert len(within) == 4
    assert (outer.start, outer.end) == (1, 7)
    assert timeline.figures().wall == pytest.approx(seconds) == pytest.approx(8)
    assert timeline.figures().synchronous == pytest.approx(8)  # 1 s overlap, 1 s for an extra turn


def test_subgraphs() -> None:
    """An agent that is a node of another graph is recorded under its name there."""
    inner = graph_of(asyncfc(), [*script(), "too early", "done"])
    outer = StateGraph(MessagesState)
    outer.add_node("helper", inner)
    outer.add_edge(START, "helper")
    timeline, seconds = timed(outer.compile())
    record = timeline.record()
    agents = {span.agent.partition(":")[0] for span in (*record.replies, *record.tools)}
    assert agents == {"helper"}
    assert timeline.figures().synchronous == pytest.approx(9.5)
    assert timeline.figures().wall == pytest.approx(seconds)


@pytest.mark.parametrize("kind", [ToolNode, AsyncFCToolNode])
def test_in_threads(kind: type[ToolNode]) -> None:
    """Under `invoke` the same is recorded, by the computer's clock."""

    @effects()
    @tool
    def work(x: int) -> int:
        """Work."""
        return x

    replies = [AIMessage("", tool_calls=[call("work", x=1), call("work", x=2)]), "done", "done"]
    timeline = Timeline()
    graph_of(kind([work]), replies, ttft=0.0).invoke(GO, {"callbacks": [timeline]})
    record = timeline.record()
    assert [run.args for run in record.tools] == [{"x": 1}, {"x": 2}]
    for run in record.tools:
        assert 0 <= run.issued <= run.start <= run.end <= record.end < 60
        assert run.delivered is not None
        assert run.delivered >= run.end
    assert {bool(run.future) for run in record.tools} == {kind is AsyncFCToolNode}


def test_a_trace_for_perfetto(tmp_path: Path) -> None:
    """Spans, names of lanes, and arrows whose two ends lie in spans."""
    timeline, _ = timed(graph_of(asyncfc(), [*script(), "too early", "done"]))
    timeline.to_chrome_trace(tmp_path / "run.json")
    events = json.loads((tmp_path / "run.json").read_text())["traceEvents"]
    spans = [event for event in events if event["ph"] == "X"]
    record = timeline.record()
    waits = sum(bool(run.waits) for run in record.tools)
    assert len(spans) == len(record.replies) + len(record.tools) + waits
    first = min(span["ts"] for span in spans)
    assert first == pytest.approx(1e6 * (record.began or 0))
    told = next(span for span in spans if span["name"] == "future_3 (write)")
    assert (told["ts"] - first, told["dur"]) == pytest.approx((5e6, 1.5e6), abs=1)
    arrows = [event for event in events if event["ph"] in "sf"]
    assert len(arrows) == 4
    for arrow in arrows:
        assert any(
            (span["pid"], span["tid"]) == (arrow["pid"], arrow["tid"])
            and span["ts"] <= arrow["ts"] <= span["ts"] + span["dur"]
            for span in spans
        ), arrow
    named = {(e["pid"], e["tid"]) for e in events if e["name"] == "thread_name"}
    assert {(span["pid"], span["tid"]) for span in spans} <= named


def test_the_text_of_a_timeline() -> None:
    """Printing it shows the numbers, its `repr` the headline."""
    timeline, _ = timed(graph_of(asyncfc(), [*script(), "too early", "done"]))
    assert str(timeline) == timeline.summary()
    assert repr(timeline) == ("<Timeline 7.5 s; a synchronous run would have taken 9.5 s (1.27x)>")


def test_a_wait_is_told_once() -> None:
    """A call without effects that waits for another is told of one wait, whatever led to it."""

    @tool
    async def slow(x: int) -> int:
        """Take 3 s."""
        await asyncio.sleep(3)
        return x

    replies = [AIMessage("", tool_calls=[call("slow", x=x)]) for x in range(2)]
    timeline = Timeline()
    graph = graph_of(AsyncFCToolNode([slow]), [*replies, "done", "done"])
    run_virtual(graph.ainvoke(GO, {"callbacks": [timeline]}))
    _, second = timeline.record().tools
    assert [(w.reason, w.after) for w in second.waits] == [("no declared effects", "future_1")]
