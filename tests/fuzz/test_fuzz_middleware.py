"""Arbitrary calls and messages against an agent with the middleware."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from langchain.agents import create_agent
from langchain_core.messages import AIMessage, BaseMessage, HumanMessage

from langchain_asyncfc import AsyncFCMiddleware
from tests.fuzz.hostile import (
    EFFECTS,
    FUZZ,
    WATCH,
    Bench,
    Numbers,
    Parrot,
    check_runs,
    drafts,
    messages,
    raised_by_package,
    run,
)


@pytest.mark.parametrize("is_async", [False, True], ids=["sync", "async"])
@pytest.mark.parametrize("delivery", ["in_place", "append"])
@FUZZ
@given(data=st.data())
def test_any_messages_and_calls(data: st.DataObject, is_async: bool, delivery: Any) -> None:
    """Whatever a thread holds and a model says, it ends, and runs only what is asked for."""
    numbers, bench = Numbers(), Bench()
    history = data.draw(st.lists(messages(numbers), max_size=5))
    replies = [
        numbers.ask(data.draw(st.lists(drafts(), max_size=3)))
        for _ in range(data.draw(st.integers(0, 3)))
    ]
    middleware = AsyncFCMiddleware(
        effects=EFFECTS,
        grace=data.draw(st.sampled_from([0, 0.01])),
        delivery=delivery,
        on_final=data.draw(st.sampled_from(["review", "settle", "detach"])),
    )
    model = Parrot(replies=replies)
    graph = create_agent(model, bench.tools(seconds=1.0), middleware=[middleware])
    given_ = [HumanMessage("go"), *history]
    error = None
    final: list[BaseMessage] = []
    try:
        with WATCH.watching():
            final = run(
                graph, {"messages": given_}, is_async=is_async, config={"recursion_limit": 90}
            )["messages"]
    except Exception as raised:  # noqa: BLE001 - judged
        error = raised
    finally:
        middleware.close()
    may_run = set().union(*map(numbers.of, replies))
    check_runs(bench, numbers, may_run, set(numbers.given))
    if error is not None:
        assert not raised_by_package(error), repr(error)
        assert "GraphRecursionError" not in type(error).__name__
        return
    asked = {
        call["id"] for said in model.said for call in said.tool_calls if call["id"] is not None
    }
    answered = {m.tool_call_id for m in final if m.type == "tool"}  # type: ignore[attr-defined]
    assert asked <= answered
    assert any(isinstance(m, AIMessage) for m in final)
