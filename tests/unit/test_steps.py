"""Tests of steps outside of a run, and of messages that hold nothing to do."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from langchain_core.messages import AIMessage, HumanMessage, ToolMessage
from langgraph.types import Command

from langchain_asyncfc.delivery import without_keys
from langchain_asyncfc.futures import FutureState, Outcome
from langchain_asyncfc.policy import Policy
from langchain_asyncfc.records import read_thread
from langchain_asyncfc.runs import new_scheduler
from langchain_asyncfc.scheduler import Lane
from langchain_asyncfc.steps import Step, _not_taken
from langchain_asyncfc.testing import call
from langchain_asyncfc.toolbox import Toolbox
from langchain_asyncfc.waiting import drive

Plan = Callable[[Step], Any]

PLANS: dict[str, Plan] = {
    "end_turn": lambda step: step.end_turn(),
    "end_run": lambda step: step.end_run(),
    "finish_before": lambda step: step.finish_before(),
    "resolve": lambda step: step.resolve({}),
    "deliver": lambda step: step.deliver(),
}


def carried_out(plan: Plan, messages: list[Any], *, in_run: bool) -> list[Any]:
    """What a step gives."""
    scheduler = new_scheduler("run", is_async=False)
    policy = Policy(Toolbox(), 0.0, "in_place", "review")
    step = Step(policy, Lane(), scheduler, read_thread(messages), in_run=in_run)
    return drive(scheduler, plan(step))


PENDING = ToolMessage(
    "future_1 is running",
    id="p",
    tool_call_id="c1",
    additional_kwargs={"asyncfc": {"future": "future_1", "state": "pending"}},
)
TURN = [HumanMessage("go"), AIMessage("", tool_calls=[call("pay", "c1")]), PENDING]


@pytest.mark.parametrize("name", ["end_turn", "end_run", "finish_before", "resolve"])
@pytest.mark.parametrize("last", [AIMessage("done"), AIMessage("", tool_calls=[call("pay")])])
def test_outside_of_a_run_no_turn_is_waited_for(name: str, last: AIMessage) -> None:
    """Where no later step delivers anything, nothing is changed."""
    assert carried_out(PLANS[name], [*TURN, last], in_run=False) == []


@pytest.mark.parametrize("name", PLANS)
@pytest.mark.parametrize("messages", [[], [HumanMessage("go")]], ids=["none", "human"])
@pytest.mark.parametrize("in_run", [True, False])
def test_messages_without_a_call(name: str, messages: list[Any], in_run: bool) -> None:
    """There is nothing to do before a model has spoken."""
    assert carried_out(PLANS[name], messages, in_run=in_run) == []


def test_what_is_not_taken_as_an_answer() -> None:
    """The model is told why it has to give it again; where it was wrong anyway, it knows that."""
    taken = ToolMessage("Returning structured response", tool_call_id="c1")
    told = _not_taken(taken, "future_1")
    assert told.status == "error"
    assert told.text.startswith("Not taken as the answer: future_1 had not finished")
    assert told.tool_call_id == "c1"
    wrong = ToolMessage("degrees is missing", tool_call_id="c1", status="error")
    assert _not_taken(wrong, "future_1") == wrong


@pytest.mark.parametrize(
    ("update", "left"),
    [
        ({"a": 1, "b": 2}, {"b": 2}),
        ({"b": 2}, {"b": 2}),
        ([("a", 1), ("b", 2)], [("a", 1), ("b", 2)]),
        (None, None),
    ],
)
@pytest.mark.parametrize("in_list", [True, False])
def test_updates_without_a_key(update: Any, left: Any, in_list: bool) -> None:
    """Only updates by key are narrowed; everything else of an outcome stays."""
    message = ToolMessage("a", tool_call_id="c1")
    command: Any = Command(update=update, goto=["there"])
    result = [message, command] if in_list else command
    found = without_keys(Outcome(FutureState.RESOLVED, 1, result), {"a"})
    rest: Any = Command(update=left, goto=["there"])
    assert found == Outcome(FutureState.RESOLVED, 1, [message, rest] if in_list else rest)
