"""Arbitrary calls and messages against the tool node."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from langchain_core.messages import AIMessage, BaseMessage, HumanMessage
from langgraph.graph.message import add_messages
from langgraph.prebuilt import ToolNode
from langgraph.runtime import Runtime

from langchain_asyncfc import AsyncFCToolNode
from tests.fuzz.hostile import (
    CONTROL,
    EFFECTS,
    FUZZ,
    WATCH,
    Bench,
    Draft,
    Numbers,
    Parrot,
    agent,
    answers_of,
    asked_in,
    check_runs,
    drafts,
    is_plain,
    messages,
    plain_values,
    raised_by_package,
    run,
)

BOTH = pytest.mark.parametrize("is_async", [False, True], ids=["sync", "async"])


def _bare(node: ToolNode, calls: Sequence[BaseMessage], *, is_async: bool) -> Any:
    config = {"configurable": {"__pregel_runtime": Runtime()}}
    return run(node, {"messages": list(calls)}, is_async=is_async, config=config)["messages"]


def _outcome(node: ToolNode, asked: BaseMessage, *, is_async: bool) -> Any:
    """The answers to a message's calls, or the type of the error."""
    try:
        answers = _bare(node, [HumanMessage("go"), asked], is_async=is_async)
    except Exception as error:  # noqa: BLE001 - compared
        return type(error)
    return [(m.content, m.name, m.tool_call_id, m.status) for m in answers]


@BOTH
@FUZZ
@given(calls=st.lists(drafts(plain_values), min_size=1, max_size=4))
def test_without_references_the_outcome_is_that_of_tool_node(
    calls: list[Draft], is_async: bool
) -> None:
    """Calls without references get the same answers, or the same error, and the same runs."""
    calls = [call for call in calls if call[0] not in CONTROL and is_plain(call)]
    for _, args, _ in calls:
        args.pop("await_result", None)
    asked = Numbers().ask(calls, id="asked")
    plain, ours = Bench(), Bench()
    expected = _outcome(ToolNode(plain.tools()), asked, is_async=is_async)
    unfenced = {name: declared for name, declared in EFFECTS.items() if not declared.fence}
    node = AsyncFCToolNode(ours.tools(), effects=unfenced)
    with WATCH.watching():
        found = _outcome(node, asked, is_async=is_async)
    assert repr(found) == repr(expected)
    if isinstance(expected, list):
        assert sorted(map(repr, ours.runs)) == sorted(map(repr, plain.runs))


@BOTH
@pytest.mark.parametrize("delivery", ["in_place", "append"])
@FUZZ
@given(data=st.data())
def test_any_messages_and_calls(data: st.DataObject, is_async: bool, delivery: Any) -> None:
    """Whatever a thread holds and a model says, it ends, and runs only what is asked for.

    Each call is answered once, or the error is one of `ToolNode` or of a tool.
    """
    numbers, bench = Numbers(), Bench()
    history = data.draw(st.lists(messages(numbers), max_size=5))
    if data.draw(st.booleans()):
        history = [*history, numbers.ask(data.draw(st.lists(drafts(), max_size=4)))]
    replies = [
        numbers.ask(
            data.draw(st.lists(drafts(), max_size=3)),
            id=data.draw(st.sampled_from([None, f"r{n}"])),
        )
        for n in range(data.draw(st.integers(0, 2)))
    ]
    node = AsyncFCToolNode(
        bench.tools(seconds=1.0),
        effects=EFFECTS,
        handle_tool_errors=data.draw(st.sampled_from([True, True, "failed", False])),
        grace=data.draw(st.sampled_from([0, 0.01])),
        delivery=delivery,
        on_final=data.draw(st.sampled_from(["review", "settle"])),
    )
    model = Parrot(replies=replies)
    graph = agent(node, model)
    given_ = [HumanMessage("go"), *history]
    merged: Any = add_messages([], [m.model_copy() for m in given_])  # some share an id
    last = next((m for m in reversed(merged) if isinstance(m, AIMessage)), AIMessage(""))
    if not (isinstance(merged[-1], AIMessage) and merged[-1].tool_calls):
        last = AIMessage("")  # the model speaks first, and what is open stays so
    may_run = numbers.of(last).union(*map(numbers.of, replies))
    error = None
    final: list[BaseMessage] = []
    try:
        with WATCH.watching():
            final = run(
                graph, {"messages": given_}, is_async=is_async, config={"recursion_limit": 60}
            )["messages"]
    except Exception as raised:  # noqa: BLE001 - judged
        error = raised
    check_runs(bench, numbers, may_run, set(numbers.given))
    if error is not None:
        assert not raised_by_package(error), repr(error)
        assert "GraphRecursionError" not in type(error).__name__
        return
    _check_answers(given_, model.said, last, final)


def _check_answers(
    before: Sequence[BaseMessage],
    replies: Sequence[AIMessage],
    last: AIMessage,
    final: Sequence[BaseMessage],
) -> None:
    """Each call that was open is answered by one message, and no other gets one."""
    if len({m.id for m in before if m.id}) < sum(bool(m.id) for m in before):
        return  # the reducer of the graph has put messages in the place of others
    expected = answers_of(before) + sum(map(asked_in, [last, *replies]), asked_in(AIMessage("")))
    awaited = [m for m in final if isinstance(m, AIMessage) and m.tool_calls]
    own = sum(
        (asked_in(m) for m in awaited if m.tool_calls[0]["id"].__str__().startswith("call_")),
        asked_in(AIMessage("")),
    )
    assert answers_of(final) == expected + own
