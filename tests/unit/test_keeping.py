"""Tests of outcomes as data: what is read back, and what is no outcome."""

from __future__ import annotations

from typing import Any

import pytest
from langchain_core.messages import HumanMessage, ToolMessage
from langgraph.errors import GraphInterrupt
from langgraph.types import Command

from langchain_asyncfc.futures import FutureState, Outcome
from langchain_asyncfc.keeping import kept_outcome, outcome_of, result_of

ANSWER = ToolMessage("3", name="pay", tool_call_id="c1")
KEPT: dict[str, Any] = {
    "call": "c1",
    "state": "resolved",
    "note": "",
    "result": ANSWER,
    "value": 3,
}


@pytest.mark.parametrize(
    "kept",
    [
        None,
        "resolved",
        ["c1", "resolved"],
        {},
        {**KEPT, "call": "c2"},
        {**KEPT, "call": None},
        {**KEPT, "state": "waiting"},
        {**KEPT, "state": "running"},
        {**KEPT, "state": "paid"},
        {**KEPT, "state": None},
        {**KEPT, "state": ["resolved"]},
        {**KEPT, "result": "3"},
        {**KEPT, "result": HumanMessage("3")},
        {**KEPT, "result": [ANSWER, "3"]},
        {**KEPT, "result": [[ANSWER]]},
        {**KEPT, "result": {"content": "3"}},
    ],
)
def test_what_is_no_outcome(kept: Any) -> None:
    """Rule 23: what was kept is data, and may be anything; only its own form is taken."""
    assert outcome_of(KEPT, "c1") == Outcome(FutureState.RESOLVED, 3, ANSWER)
    assert outcome_of(kept, "c1") is None
    assert result_of(kept, "c1") is None


@pytest.mark.parametrize(
    "result", [None, ANSWER, Command(), [], [ANSWER, Command(), None], [Command(), ANSWER]]
)
def test_the_forms_of_an_answer(result: Any) -> None:
    """Rule 25: whatever a tool node may answer with is kept as it is."""
    outcome = Outcome(FutureState.RESOLVED, 3, result)
    assert outcome_of(kept_outcome("c1", outcome), "c1") == outcome


@pytest.mark.parametrize(
    ("answer", "value"),
    [
        (ToolMessage("a text", tool_call_id="c1"), "a text"),
        (ToolMessage('{"n": 1}', tool_call_id="c1"), '{"n": 1}'),
        (ToolMessage([{"type": "text", "text": "a block"}], tool_call_id="c1"), "a block"),
        (ToolMessage("2 rows", tool_call_id="c1", artifact={"structured_content": 1}), "2 rows"),
        (Command(update={"messages": [ToolMessage("in it", tool_call_id="c1")]}), "in it"),
        ([ToolMessage("other", tool_call_id="c2"), ANSWER], "3"),
        (ToolMessage("other", tool_call_id="c2"), None),
        (Command(), None),
        (None, None),
    ],
)
def test_a_value_that_was_not_kept_is_read_from_the_answer(answer: Any, value: Any) -> None:
    """Rule 2: a reference to what JSON does not keep gets what the call's answer says."""
    kept = kept_outcome("c1", Outcome(FutureState.RESOLVED, object(), answer))
    assert "value" not in kept
    found = outcome_of(kept, "c1")
    assert found is not None
    assert found.value == value


@pytest.mark.parametrize("note", ["", "was cancelled", "ZeroDivisionError('no')"])
def test_the_note_of_an_outcome(note: str) -> None:
    """Rule 17: the reason why a call did not resolve is kept, as what refers to it names it."""
    kept = kept_outcome("c1", Outcome(FutureState.CANCELLED, note=note))
    found = outcome_of(kept, "c1")
    assert found is not None
    assert (found.state, found.note) == (FutureState.CANCELLED, note)


def test_an_error_that_was_raised_is_an_outcome() -> None:
    """Rule 16: what the task of a call raises is raised by the step."""
    error = ZeroDivisionError("no")
    found = result_of(error, "c1")
    assert found is not None
    assert (found.state, found.error) == (FutureState.FAILED, error)
    asks = GraphInterrupt(())
    assert (found := result_of(asks, "c1")) is not None
    assert found.error is asks


def test_an_outcome_is_one_already() -> None:
    """What was run in this process is taken as it is, whatever its value."""
    outcome = Outcome(FutureState.RESOLVED, object())
    assert result_of(outcome, "c1") is outcome
