"""Tests of values that lead out of the resources by which a call was put in its place."""

from __future__ import annotations

import pytest

from langchain_asyncfc.effects import Effects
from langchain_asyncfc.futures import FutureState
from langchain_asyncfc.scheduler import Lane
from tests.unit.test_scheduler import Bench

IN_DOCS = Effects(reads="fs:docs/{x}")


@pytest.mark.parametrize("value", ["../etc/passwd", "a/../../x"])
def test_a_value_that_leads_out_of_its_resources(value: str) -> None:
    """Rule 3: a call's place was decided by the parent path, so its value may not leave that."""
    bench = Bench(Lane())
    calls = [("read", "a"), ("read", "future_1"), ("read", "future_2")]
    first, second, third = bench.issue(*calls, does=IN_DOCS)
    bench.executor.resolve(first.id, value)
    assert second.outcome is not None
    assert second.state is FutureState.FAILED
    assert "lead out of the resources" in second.outcome.note
    assert third.state is FutureState.SKIPPED
    assert bench.executor.running == []
    assert bench.scheduler.live() == []


def test_a_value_that_stays_in_its_resources() -> None:
    """Rule 3: with the value known the call goes on."""
    bench = Bench(Lane())
    first, second = bench.issue(("read", "a"), ("read", "b/${future_1}"), does=IN_DOCS)
    bench.executor.resolve(first.id, "../c")
    assert bench.executor.running == [second.id]
    assert bench.scheduler.arguments(second)["args"] == {"x": "b/../c"}
