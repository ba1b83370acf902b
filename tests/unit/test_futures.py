"""Tests of a future's id and states."""

from __future__ import annotations

import ast
import itertools
from pathlib import Path

import pytest

import langchain_asyncfc.futures as module
from langchain_asyncfc.errors import InvalidTransition
from langchain_asyncfc.futures import (
    FINAL,
    TRANSITIONS,
    FutureState,
    check_transition,
    future_id,
    ordinal_of,
)

ALLOWED = {
    ("waiting", "running"),
    ("waiting", "cancelled"),
    ("waiting", "skipped"),
    ("waiting", "failed"),
    ("running", "resolved"),
    ("running", "failed"),
    ("running", "cancelled"),
}


STEPS = list(itertools.product(FutureState, FutureState))


@pytest.mark.parametrize(("now", "then"), STEPS)
def test_a_future_takes_the_steps_of_the_table(now: FutureState, then: FutureState) -> None:
    """States: the contract's steps are allowed, and every other one is refused by name."""
    if (now, then) in ALLOWED:
        check_transition(now, then)
    else:
        with pytest.raises(InvalidTransition, match=f"from '{now}' to '{then}'"):
            check_transition(now, then)


def test_an_outcome_ends_a_future() -> None:
    """States: from a final state no step leads on, and every state is in the table."""
    assert {"resolved", "failed", "cancelled", "skipped", "lost"} == FINAL
    assert TRANSITIONS.keys() == set(FutureState)
    with pytest.raises(TypeError):
        TRANSITIONS[FutureState.LOST] = frozenset()  # type: ignore[index]


@pytest.mark.parametrize("ordinal", [1, 10, 999_999_999])
def test_ids_read_back(ordinal: int) -> None:
    """Words: the id of the n-th call is `future_n`."""
    assert ordinal_of(future_id(ordinal)) == ordinal


@pytest.mark.parametrize(
    "text", ["future_", "future_x", "future_1.a", " future_1", "future_1\n", "future_" + "1" * 10]
)
def test_other_texts_are_no_ids(text: str) -> None:
    """Rule 14: only a whole id is an id."""
    assert ordinal_of(text) is None


@pytest.mark.parametrize("name", ["hazards", "tracker", "futures", "references", "effects"])
def test_the_core_knows_neither_asyncio_nor_langgraph(name: str) -> None:
    """The house: the pure core does no I/O, and imports nothing that does."""
    source = Path(module.__file__).with_name(f"{name}.py").read_text(encoding="utf-8")
    imported = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            imported |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            imported.add((node.module or "").partition(".")[0])
    forbidden = {"asyncio", "langgraph", "langchain_core", "threading", "time"}
    assert imported
    assert not imported & forbidden
