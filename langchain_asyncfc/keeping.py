"""Outcomes in a form that outlives the process: what checkpointers and stores are given.

A kept outcome is plain data beside the messages and commands that LangGraph keeps anyway:

| key | meaning |
|---|---|
| `"call"` | the id that the model gave the call |
| `"state"` | one of the final states |
| `"note"` | why the call did not resolve |
| `"result"` | the answer: a `ToolMessage`, a `Command`, a list of both, or `None` |
| `"value"` | what references get, where JSON keeps it exactly; else it is read from the answer |
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from langchain_core.messages import ToolMessage
from langgraph.types import Command

from langchain_asyncfc.futures import FINAL, FutureState, Outcome
from langchain_asyncfc.recording import answer_in
from langchain_asyncfc.records import outcome_record
from langchain_asyncfc.values import plain_value

__all__ = ["RECORD", "Kept", "kept_outcome", "outcome_of", "result_of"]

RECORD: Final = "asyncfc"
"""The key under which a step keeps things. Nothing is kept on top, where LangGraph would take a
message in it for one that was just made."""

Kept = Mapping[str, Any]


def kept_outcome(call_id: str | None, outcome: Outcome) -> Kept:
    """An outcome as data. One with an error that has to be raised keeps its text only."""
    note = outcome.note or (repr(outcome.error) if outcome.error is not None else "")
    kept = {"call": call_id, "note": note, "result": outcome.result}
    return {**kept, **outcome_record(outcome)}


def outcome_of(kept: Any, call_id: str | None) -> Outcome | None:
    """The outcome of a call from what was kept; `None` where that is not of its form."""
    if not isinstance(kept, Mapping) or kept.get("call") != call_id:
        return None
    state = kept.get("state")
    if not isinstance(state, str) or state not in FINAL:
        return None
    result = kept.get("result")
    items = result if isinstance(result, list) else [result]
    if not all(item is None or isinstance(item, ToolMessage | Command) for item in items):
        return None
    note = kept.get("note")
    return Outcome(
        FutureState(state), _value(kept, result, call_id), result, note=str(note) if note else ""
    )


def result_of(found: Any, call_id: str | None) -> Outcome | None:
    """The outcome of a call that was run in a task, from what that gave; see `outcome_of`."""
    if isinstance(found, BaseException):
        return Outcome(FutureState.FAILED, error=found, note=repr(found))
    return found if isinstance(found, Outcome) else outcome_of(found, call_id)


def _value(kept: Kept, result: Any, call_id: str | None) -> Any:
    if "value" in kept:
        return kept["value"]
    message = answer_in(result, call_id)
    if message is None:
        return None
    value = plain_value(message.content, message.artifact)
    return str(message.text) if value is message.content else value
