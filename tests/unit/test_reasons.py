"""Why a call waited: worked out by the tracker, kept by the future, told to logs and traces."""

from __future__ import annotations

import asyncio
import logging
from typing import Any

import pytest
from langchain_core.messages import AIMessage, HumanMessage, ToolCall
from langchain_core.tools import BaseTool, StructuredTool
from langgraph.config import get_config
from langgraph.graph import START, MessagesState, StateGraph

from langchain_asyncfc import AsyncFCToolNode, Effects, tools_condition
from langchain_asyncfc.effects import Access
from langchain_asyncfc.futures import FutureState
from langchain_asyncfc.reasons import (
    WAITED_METADATA,
    Waited,
    decisive,
    explanation,
    reason,
    waits_in,
    waits_metadata,
)
from langchain_asyncfc.testing import ScriptedChatModel, call, run_virtual
from langchain_asyncfc.tracker import DependencyTracker, Freed

PURE = Effects()
SOURCE = Access(reads=(("fs:", "src"),))
WRITES = Access(writes=(("fs:", "src"),))


@pytest.mark.parametrize(
    ("earlier", "later", "said"),
    [
        (WRITES, SOURCE, "RAW on fs:/src"),
        (SOURCE, WRITES, "WAR on fs:/src"),
        (WRITES, WRITES, "WAW on fs:/src"),
        (None, SOURCE, "no declared effects"),
        (SOURCE, None, "no declared effects"),
        (SOURCE, SOURCE, "order"),
    ],
)
def test_reasons_of_effects(earlier: Access | None, later: Access | None, said: str) -> None:
    """The hazard is named, or that there is nothing to tell it by."""
    assert reason(earlier, later) == said


def test_references_and_fences_come_first() -> None:
    """A reference is a reason by itself, and so is being a fence."""
    assert reason(WRITES, SOURCE, refers=True, fence=True) == "reference"
    assert reason(None, SOURCE, fence=True) == "fence"


def test_the_sentence_names_the_wait_that_ended_last() -> None:
    """The call could start when the last of its waits ended; the time counts from the first."""
    waits = [Waited("reference", "future_1", 1.0, 2.0), Waited("fence", "future_2", 1.5, 3.1)]
    assert decisive(waits) == waits[1]
    assert explanation("future_4", waits) == "future_4 waited 2.1 s: fence after future_2"
    assert explanation("future_4", []) == ""


def test_short_waits_are_told_in_milliseconds() -> None:
    """A wait of a fraction of a second keeps its digits; one for no call names none."""
    queued = [Waited("max_concurrency", "", 0.0, 0.0125)]
    assert explanation("future_2", queued) == "future_2 waited 12.5 ms: max_concurrency"


def test_metadata_keep_the_waits() -> None:
    """What the metadata say is read back, in seconds since the call was issued."""
    waits = [Waited("reference", "future_1", 10.0, 12.0)]
    assert waits_in(waits_metadata("future_2", waits, 10.0)) == [
        Waited("reference", "future_1", 0.0, 2.0)
    ]
    assert waits_metadata("future_2", [], 10.0) == {}


def test_metadata_are_bounded() -> None:
    """Of a thousand waits the trace of a run holds those that ended last."""
    waits = [Waited("fence", f"future_{n}", 0.0, float(n)) for n in range(1, 1001)]
    told = waits_in(waits_metadata("future_1001", waits, 0.0))
    assert [waited.after for waited in told] == [f"future_{n}" for n in range(1000, 980, -1)]


@pytest.mark.parametrize(
    "value",
    [
        None,
        7,
        [7],
        [{}],
        [{"reason": 1, "after": "", "start": 0, "end": 1}],
        [{"reason": "x", "after": None, "start": 0, "end": 1}],
        [{"reason": "x", "after": "", "start": "0", "end": 1}],
    ],
)
def test_foreign_metadata_are_left_out(value: Any) -> None:
    """Metadata may come from anywhere; what is not of this form is no wait."""
    assert waits_in({"asyncfc_waits": value}) == []
    assert waits_in(None) == []


# -- the tracker says when a wait ends -------------------------------------------------------------


def _tracker() -> DependencyTracker:
    tracker = DependencyTracker()
    tracker.issue(1, batch=1, access=None)
    tracker.issue(2, batch=1, access=WRITES)
    return tracker


def test_a_call_behind_a_join_names_the_last_call_of_it() -> None:
    """A call without effects waits for a whole batch: the one counts whose end set it free."""
    tracker = _tracker()
    tracker.issue(3, batch=2, access=None)
    assert tracker.finish(1, FutureState.RESOLVED).ready == []
    steps = tracker.finish(2, FutureState.RESOLVED)
    assert steps.ready == [3]
    assert steps.freed == [Freed(3, 2, "no declared effects")]


def test_a_call_in_the_place_of_a_cancelled_one() -> None:
    """What it takes over is a matter of order."""
    tracker = DependencyTracker()
    tracker.issue(1, batch=1, access=Access(reads=(("b",),), writes=(("a",),)))
    tracker.issue(2, batch=2, access=Access(writes=(("a",), ("c",))))
    tracker.issue(3, batch=3, access=Access(reads=(("c",),)))
    assert tracker.cancel(2).freed == [Freed(3, 2, "RAW on /c")]
    assert tracker.finish(1, FutureState.RESOLVED).freed == [Freed(3, 1, "order")]


def test_a_wait_that_ends_as_resources_shrink() -> None:
    """An edge that was there for wider resources only ends when they are narrowed."""
    tracker = DependencyTracker()
    tracker.issue(1, batch=1, access=Access(writes=(("fs:",),), exact=False))
    tracker.issue(2, batch=1, access=SOURCE)
    steps = tracker.refine(1, Access(writes=(("fs:", "docs"),)))
    assert 2 in steps.ready
    assert steps.freed == [Freed(2, 1, "RAW on fs:/src")]


# -- on real graphs --------------------------------------------------------------------------------


class Workplace:
    """Tools of a given duration that note the metadata of their runs."""

    def __init__(self) -> None:
        self.metadata: dict[str, dict[str, Any]] = {}

    def tool(self, name: str, seconds: float) -> BaseTool:
        """A tool of both colours; only on a loop it takes its time."""

        def run(x: str = "") -> str:
            self.metadata[name] = dict(get_config()["metadata"])
            return x

        async def arun(x: str = "") -> str:
            run(x)
            await asyncio.sleep(seconds)
            return x

        return StructuredTool.from_function(run, arun, name=name, description=name)


def _graph(node: AsyncFCToolNode, *batches: list[ToolCall]) -> Any:
    replies = [AIMessage("", tool_calls=batch) for batch in batches]
    model = ScriptedChatModel.replies([*replies, "done", "done"])

    def agent(state: MessagesState) -> Any:
        return {"messages": [model.invoke(state["messages"])]}

    async def aagent(state: MessagesState) -> Any:
        return {"messages": [await model.ainvoke(state["messages"])]}

    from langchain_core.runnables import RunnableLambda

    graph = StateGraph(MessagesState)
    graph.add_node("agent", RunnableLambda(agent, aagent))
    graph.add_node("tools", node)
    graph.add_edge(START, "agent")
    graph.add_conditional_edges("agent", tools_condition)
    graph.add_edge("tools", "agent")
    return graph.compile()


GO = {"messages": [HumanMessage("go")]}


def _told(workplace: Workplace) -> dict[str, str]:
    return {name: told.get(WAITED_METADATA, "") for name, told in workplace.metadata.items()}


def test_a_run_says_why_its_calls_waited(caplog: pytest.LogCaptureFixture) -> None:
    """Metadata and log say it for each call that waited, and say nothing of the others."""
    caplog.set_level(logging.INFO, "langchain_asyncfc")
    place = Workplace()
    tools = [place.tool(name, seconds) for name, seconds in (("put", 2), ("get", 1), ("use", 1))]
    does = {"put": Effects(writes="fs:/src"), "get": Effects(reads="fs:/src/a"), "use": PURE}
    node = AsyncFCToolNode(tools, effects=does, grace=0)
    graph = _graph(node, [call("put", x="p")], [call("get", x="g"), call("use", x="future_2")])
    run_virtual(graph.ainvoke(GO))
    assert _told(place) == {
        "put": "",
        "get": "future_2 waited 2.0 s: RAW on fs:/src/a after future_1",
        "use": "future_3 waited 3.0 s: reference after future_2",
    }
    logged = [r.getMessage() for r in caplog.records if r.name == "langchain_asyncfc.scheduler"]
    assert logged == [f"{_told(place)['get']} (get)", f"{_told(place)['use']} (use)"]


def test_a_place_among_few(caplog: pytest.LogCaptureFixture) -> None:
    """With `max_concurrency` a call that may start can wait for a place; that is said too."""
    place = Workplace()
    node = AsyncFCToolNode([place.tool("work", 2)], effects={"work": PURE}, max_concurrency=1)
    graph = _graph(node, [call("work", x="1"), call("work", x="2")])
    run_virtual(graph.ainvoke(GO))
    assert _told(place) == {"work": "future_2 waited 2.0 s: max_concurrency"}


def test_joined_calls_run_once_and_say_nothing() -> None:
    """A call that joined an identical one has no run of its own."""
    place = Workplace()
    node = AsyncFCToolNode([place.tool("work", 2)], effects={"work": PURE}, grace=0)
    graph = _graph(node, [call("work", x="1"), call("work", x="1")])
    result = run_virtual(graph.ainvoke(GO))
    assert [m.content for m in result["messages"] if m.type == "tool"][:2] == ["1", "1"]
    assert _told(place) == {"work": ""}


def test_in_threads() -> None:
    """Under `invoke` the same is said."""
    place = Workplace()
    tools = [place.tool("make", 0), place.tool("use", 0)]
    node = AsyncFCToolNode(tools, effects={"make": PURE, "use": PURE}, grace=0)
    graph = _graph(node, [call("make", x="v"), call("use", x="future_1")])
    graph.invoke(GO)
    told = _told(place)
    assert told["make"] == ""
    assert told["use"].startswith("future_2 waited ")
    assert told["use"].endswith("s: reference after future_1")
