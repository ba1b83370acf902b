"""Tests of which run a step belongs to, where there is less around it than in a graph."""

from __future__ import annotations

import copy
from typing import Any, cast
from uuid import UUID, uuid4

import pytest
from langchain_core.callbacks import CallbackManager
from langchain_core.messages import AIMessage, HumanMessage, ToolMessage
from langchain_core.runnables import RunnableConfig

from langchain_asyncfc.calls import read_call
from langchain_asyncfc.runs import (
    GraphRun,
    RunWatch,
    graph_run,
    is_idle,
    mark_reviewed,
    new_scheduler,
)
from langchain_asyncfc.scheduler import Lane
from langchain_asyncfc.toolbox import ToolFacts

INSIDE = {"langgraph_checkpoint_ns": "tools:1"}


def made() -> GraphRun:
    """A run of a graph."""
    return GraphRun(new_scheduler("run", is_async=False), is_async=False)


def config(manager: Any, metadata: dict[str, str]) -> RunnableConfig:
    """The config of a step."""
    return {"callbacks": manager, "metadata": metadata}


def watched(graph: UUID | None = None) -> tuple[RunWatch, CallbackManager]:
    """A watch that has seen a graph and a step of it, and the step's callbacks."""
    watch, graph, step = RunWatch(), graph or uuid4(), uuid4()
    watch.on_chain_start(None, {}, run_id=graph)
    watch.on_chain_start(None, {}, run_id=step, parent_run_id=graph, metadata=INSIDE)
    return watch, CallbackManager([watch], [watch], step)


def test_a_step_belongs_to_the_run_of_its_graph() -> None:
    """Every step of the run finds the same, and only it."""
    _, manager = watched()
    found = graph_run(config(manager, INSIDE), made, is_async=False)
    assert found is not None
    assert graph_run(config(manager, INSIDE), made, is_async=False) is found
    _, other = watched()
    assert graph_run(config(other, INSIDE), made, is_async=False) is not found


@pytest.mark.parametrize(
    ("manager", "metadata"),
    [
        (None, INSIDE),
        ([], INSIDE),
        (watched()[1], {}),
        (CallbackManager([]), INSIDE),
        (CallbackManager([], [], uuid4()), INSIDE),
        (CallbackManager([RunWatch()], [], uuid4()), INSIDE),
    ],
    ids=["no-callbacks", "list", "no-namespace", "no-parent", "not-watched", "unknown-parent"],
)
def test_a_step_outside_of_a_graph(manager: Any, metadata: dict[str, str]) -> None:
    """It belongs to no run, and nothing is noted of one."""
    asked = config(manager, metadata)
    mark_reviewed(asked)
    assert graph_run(asked, made, is_async=False) is None


def test_a_run_that_is_looked_after() -> None:
    """Rule 13: it is noted for the run, until it ends."""
    _, manager = watched()
    asked = config(manager, INSIDE)
    run = graph_run(asked, made, is_async=False)
    assert run is not None
    assert not run.reviewed
    mark_reviewed(asked)
    again = graph_run(asked, made, is_async=False)
    assert again is run
    assert run.reviewed


@pytest.mark.parametrize("copied", [copy.copy, copy.deepcopy])
def test_a_copy_of_a_watch_is_the_watch(copied: Any) -> None:
    """Callback managers are copied with their handlers; what a run knows stays one."""
    watch = RunWatch()
    assert copied(watch) is watch
    assert copied([watch])[0] is watch


def test_nothing_is_known_of_a_run_that_has_ended() -> None:
    """Rule 21: a step with its callbacks, which somebody kept, finds nothing of it."""
    graph = uuid4()
    watch, manager = watched(graph)
    asked = config(manager, INSIDE)
    assert graph_run(asked, made, is_async=False) is not None
    watch.on_chain_end({}, run_id=graph)
    assert graph_run(asked, made, is_async=False) is None


PENDING = ToolMessage(
    "", tool_call_id="c1", additional_kwargs={"asyncfc": {"future": "future_1", "state": "pending"}}
)
AWAITING = AIMessage("", tool_calls=[{"name": "await_future", "args": {}, "id": "c2"}])


@pytest.mark.parametrize(
    ("messages", "idle"),
    [([], True), ([HumanMessage("Go.")], True), ([PENDING], False), ([AWAITING], False)],
    ids=["nothing", "no-call", "pending", "awaiting"],
)
def test_a_run_is_idle_where_no_message_tells_of_a_future(messages: list[Any], idle: bool) -> None:
    """A hook then has nothing to deliver and nothing to wait for."""
    _, manager = watched()
    assert is_idle(config(manager, INSIDE), messages) is idle


def test_a_run_that_has_a_live_future_is_not_idle() -> None:
    """Its placeholder may be gone from the messages."""
    _, manager = watched()
    asked = config(manager, INSIDE)
    run = graph_run(asked, made, is_async=False)
    assert run is not None
    assert is_idle(asked, [])
    call = read_call(1, {"name": "t", "args": {}, "id": "c1"}, ToolFacts(None))
    run.scheduler.issue("message", [call], Lane(), lambda _: None)
    assert not is_idle(asked, [])
    run.scheduler.cancel(run.scheduler.live())
    assert not is_idle(asked, [])  # it was not delivered
    run.scheduler.mark_delivered(run.scheduler.undelivered()[0])
    assert is_idle(asked, [])


def test_where_it_is_not_known_nothing_is_idle() -> None:
    """Outside of a graph, and where a run goes on from a checkpoint."""
    _, manager = watched()
    assert not is_idle(config(None, INSIDE), [])
    resumed = {**config(manager, INSIDE), "configurable": {"__pregel_resuming": True}}
    assert not is_idle(cast("RunnableConfig", resumed), [])
