"""Tests of what becomes of a call whose run is gone."""

from __future__ import annotations

import pytest
from langchain_core.messages import ToolCall
from langchain_core.tools import tool

from langchain_asyncfc.calls import Call, read_call
from langchain_asyncfc.effects import UNDECLARED, Effects
from langchain_asyncfc.futures import FutureState
from langchain_asyncfc.resuming import _again_or_lost
from langchain_asyncfc.toolbox import ToolFacts


@tool
def pay(amount: int = 1) -> str:
    """Pay."""
    return f"paid {amount}"


def call(facts: ToolFacts) -> Call:
    """The second call of a thread."""
    return read_call(2, ToolCall(name="pay", args={}, id="c2", type="tool_call"), facts)


@pytest.mark.parametrize(
    ("facts", "first", "started", "again"),
    [
        (ToolFacts(pay, Effects()), 1, True, True),
        (ToolFacts(pay, Effects(reads="x")), 1, True, True),
        (ToolFacts(pay, Effects(writes="x", idempotent=True)), 1, True, True),
        (ToolFacts(pay, Effects(writes="x")), 1, True, False),
        (ToolFacts(pay, UNDECLARED), 1, True, False),
        (ToolFacts(pay, UNDECLARED), 1, False, True),
        (ToolFacts(pay, Effects(writes="x")), 1, False, True),
        (ToolFacts(pay, Effects(), foreground=True, approved=True), 1, True, False),
        (ToolFacts(pay, Effects(), foreground=True, approved=True), 1, False, False),
        (ToolFacts(pay, Effects(idempotent=True), foreground=True), 1, True, False),
        (ToolFacts(None), 1, False, False),
        (ToolFacts(None, Effects(), foreground=True), 1, True, False),
        (ToolFacts(pay, Effects()), 0, True, False),
        (ToolFacts(pay, Effects()), -3, False, False),
    ],
)
def test_what_is_run_again(facts: ToolFacts, first: int, started: bool, again: bool) -> None:
    """Rule 22: only what is harmless or was not started, and only what can be a future at all."""
    outcome = _again_or_lost(call(facts), first, started=started)
    assert (outcome is None) is again
    if outcome is not None:
        assert outcome.state is FutureState.LOST
        assert "may or may not have taken effect" in outcome.note
