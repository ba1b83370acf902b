"""Tests of what messages remember of futures."""

from __future__ import annotations

import json
import random
from typing import Any

import pytest
from langchain_core.messages import (
    AIMessage,
    AnyMessage,
    BaseMessage,
    HumanMessage,
    SystemMessage,
    ToolMessage,
    messages_from_dict,
    messages_to_dict,
)
from langgraph.checkpoint.serde.jsonplus import JsonPlusSerializer

from langchain_asyncfc import records
from langchain_asyncfc.errors import FailedReference
from langchain_asyncfc.futures import FutureState, Outcome
from langchain_asyncfc.records import (
    ThreadReader,
    is_pending,
    left_open,
    native_calls,
    outcome_record,
    pending_record,
    read_thread,
    seen_again,
    waits_at_end,
    with_record,
)


def ai(*names: str, first: int = 1) -> AIMessage:
    calls = [{"name": n, "args": {}, "id": f"c{first + i}"} for i, n in enumerate(names)]
    return AIMessage("", tool_calls=calls)


def told(
    call: int, record: dict[str, Any] | None = None, text: str = "x", **more: Any
) -> AnyMessage:
    message = ToolMessage(text, tool_call_id=f"c{call}", id=f"m{call}", **more)
    return message if record is None else with_record(message, record)


def pending(call: int, *, detach: bool = False) -> AnyMessage:
    return told(call, pending_record(f"future_{call}", detach=detach))


def nested(levels: int) -> list[Any]:
    """A list in a list in a list."""
    value: list[Any] = []
    for _ in range(levels):
        value = [value]
    return value


def test_calls_are_counted_through_the_thread() -> None:
    """Rule 2: `future_n` is the n-th tool call, control calls not counted."""
    thread = read_thread(
        [HumanMessage("hi"), ai("a", "await_future", "b"), told(1), ai("c", first=4), told(4)]
    )
    assert thread.issued_before == 2
    assert thread.batch is thread.messages[3]
    assert thread.highest == 2
    assert thread.last_human == 0


def test_an_empty_thread_is_read() -> None:
    """Items that are no messages are passed over, and nothing is known."""
    thread = read_thread(["text", {"role": "user"}])
    assert thread.batch is None
    assert thread.unanswered() == []
    assert (thread.highest, thread.last_human, thread.instructed) == (0, -1, False)
    assert waits_at_end(thread) == []


def test_what_is_pending_follows_from_the_messages() -> None:
    """Rule 23: a placeholder is pending until an outcome stands in its place or rode by."""
    done = told(2, {"future": "future_2", "state": "resolved", "value": [1]})
    rider = told(4, {"delivered": {"future_3": {"state": "failed"}, "x": {}, "future_9": 1}})
    thread = read_thread([ai("a", "b", "c"), pending(1), done, pending(3), ai("d", first=4), rider])
    assert list(thread.pending) == [1]
    assert thread.ended.keys() == {2, 3}
    assert thread.instructed
    assert thread.highest == 3


def test_a_removed_placeholder_breaks_nothing() -> None:
    """Rule 23: removing messages loses the record, and no more."""
    thread = read_thread([ai("a", "b"), pending(2)])
    assert list(thread.pending) == [2]
    assert thread.unanswered() == [True, False]


@pytest.mark.parametrize(
    "record",
    [
        "text",
        {"future": 1, "state": "pending"},
        {"future": "futur_1"},
        {"delivered": ["future_1"]},
        {"delivered": {1: {}}},
        None,
    ],
)
def test_what_is_not_a_record_is_not_read(record: Any) -> None:
    """Rule 23: a record is data from a message, and may be anything."""
    message = ToolMessage("x", tool_call_id="c1", additional_kwargs={"asyncfc": record, "o": 1})
    thread = read_thread([SystemMessage("s"), ai("a"), message])
    assert (thread.pending, thread.ended, thread.instructed) == ({}, {}, False)


@pytest.mark.parametrize(
    ("value", "kept"),
    [
        ({"a": [1, 2.5, None, True, "x"]}, True),
        ("text", True),
        (None, True),
        ((1, 2), False),
        ({1: 2}, False),
        ({"a": {1}}, False),
        (b"raw", False),
        (FutureState.LOST, False),
        (-(2**63), True),
        (2**64 - 1, True),
        (-(2**63) - 1, False),
        ({"a": 2**64}, False),
        ("ä€😀", True),
        ("\ud800", False),
        ({"\ud800": 1}, False),
        (nested(60), True),
        (nested(300), False),
    ],
)
def test_values_are_kept_if_json_keeps_them(value: Any, kept: bool) -> None:
    """Rule 23: what comes back from a checkpoint is what the tool returned, or nothing."""
    record = outcome_record(Outcome(FutureState.RESOLVED, value))
    assert record.get("value", "none") == (value if kept else "none")
    assert record["state"] == "resolved"
    if kept:
        assert json.loads(json.dumps(record)) == record


def test_a_value_that_holds_itself_is_not_kept() -> None:
    """Rule 23: no checkpoint can hold it, however often it holds itself."""
    loop: list[Any] = []
    loop += [loop, {"a": loop}, [loop, loop]]
    assert "value" not in outcome_record(Outcome(FutureState.RESOLVED, loop))


@pytest.mark.parametrize("value", [-(2**63), 2**64 - 1, nested(60), "ä€😀", {"ä": [0.1, None]}])
def test_what_is_kept_comes_back_from_a_checkpoint(value: Any) -> None:
    """Rule 23: LangGraph's own serializer keeps it exactly, deep in a message."""
    record = outcome_record(Outcome(FutureState.RESOLVED, value))
    serde = JsonPlusSerializer()
    [message] = serde.loads_typed(serde.dumps_typed([told(1, record)]))
    assert message.additional_kwargs["asyncfc"]["value"] == value


@pytest.mark.parametrize("block", [{"id": ["c1"]}, {"call_id": {}, "id": {}}, {"id": 1}, {}])
def test_a_block_whose_id_is_no_text_is_no_native_call(block: dict[str, Any]) -> None:
    """Rule 23: what is in a message may be anything, and a thread stays readable."""
    message = ai("a").model_copy(update={"content": [{"type": "x", "async": True, **block}]})
    assert native_calls(message) == frozenset()


def test_native_calls_are_told_by_their_blocks() -> None:
    """The call's own id wins over the block's."""
    blocks = [{"async": True, "call_id": "c1", "id": "c3"}, {"extras": {"async": 1}, "id": "c2"}]
    message = ai("a", "b", "c").model_copy(update={"content": blocks})
    assert native_calls(message) == {"c1", "c2"}


def test_only_resolved_values_are_kept() -> None:
    """Rule 17: a failed call has no value to refer to."""
    assert outcome_record(Outcome(FutureState.FAILED, "x")) == {"state": "failed"}


def test_values_of_earlier_runs() -> None:
    """Rule 2: every reference to a finished future stays valid in its thread."""
    thread = read_thread(
        [
            ai("a", "await_future", "b", "c", "d"),
            told(1, text="fast"),
            told(2, text="control"),
            told(3, {"future": "future_2", "state": "resolved", "value": {"k": 1}}),
            told(4, {"future": "future_3", "state": "resolved"}),
            told(5, {"future": "future_4", "state": "skipped"}),
            ai("e", "f", "g", first=6),
            told(6, text="broke", status="error"),
            told(7, pending_record("future_6", detach=False)),
        ]
    )
    assert thread.value_of(1) == "fast"
    assert thread.value_of(2) == {"k": 1}
    with pytest.raises(FailedReference, match="future_4 skipped"):
        thread.value_of(4)
    with pytest.raises(FailedReference, match="future_5 failed: broke"):
        thread.value_of(5)
    for unknown in (3, 6, 7, 8):
        with pytest.raises(KeyError):
            thread.value_of(unknown)


def test_records_are_merged_into_messages() -> None:
    """A message may answer a call and carry outcomes; others' extras stay."""
    message = ToolMessage("x", tool_call_id="c1", additional_kwargs={"o": 1})
    both = with_record(with_record(message, {"future": "future_1"}), {"delivered": {}}, content="y")
    assert both.additional_kwargs == {"o": 1, "asyncfc": {"future": "future_1", "delivered": {}}}
    assert both.content == "y"
    assert message.additional_kwargs == {"o": 1}


def test_records_survive_serialisation() -> None:
    """Rule 23: all that is needed is in the checkpointed messages."""
    messages = [ai("a", "b"), pending(1), pending(2, detach=True)]
    again = read_thread(messages_from_dict(messages_to_dict(messages)))
    assert list(again.pending) == [1, 2]
    assert waits_at_end(again) == [1]


def test_a_detached_future_is_looked_after_in_the_next_run() -> None:
    """Rule 13: it does not keep its own run from ending, but the next one, and only once."""
    messages: list[Any] = [HumanMessage("one", id="h1"), ai("a"), pending(1, detach=True)]
    assert waits_at_end(read_thread(messages)) == []
    messages += [AIMessage("bye"), HumanMessage("two", id="h2")]
    thread = read_thread(messages)
    assert waits_at_end(thread) == [1]
    messages[2] = seen_again(thread, thread.pending[1])
    assert waits_at_end(read_thread(messages)) == []
    messages.append(HumanMessage("three"))
    assert waits_at_end(read_thread(messages)) == [1]


def test_without_a_human_message_runs_are_one() -> None:
    """Rule 13: there is no mark then, and the future stays detached."""
    thread = read_thread([ai("a"), pending(1, detach=True)])
    assert waits_at_end(thread) == []
    assert seen_again(thread, thread.pending[1]).additional_kwargs["asyncfc"]["seen"] == ""


def _grown(rng: random.Random, messages: list[BaseMessage], next_id: int) -> list[BaseMessage]:
    """The thread a step later: new messages, a placeholder replaced, or old messages gone."""
    grown = [*messages]
    kind = rng.randrange(8)
    open_places = [i for i, m in enumerate(grown) if is_pending(m)]
    if kind == 0 and open_places:
        place = rng.choice(open_places)
        record = {"state": "resolved", "value": next_id}
        grown[place] = with_record(grown[place], record)
    elif kind == 1 and grown:
        del grown[: rng.randrange(len(grown))]
    elif kind == 2:
        grown.append(HumanMessage(f"Turn {next_id}", id=f"h{next_id}"))
    elif kind == 3 and open_places:
        future = grown[open_places[0]].additional_kwargs["asyncfc"]["future"]
        kept = {"delivered": {future: {"state": "resolved", "value": 1}}}
        grown.append(with_record(ToolMessage("t", tool_call_id="?", id=f"r{next_id}"), kept))
    else:
        name = "await_future" if kind == 4 else "look_up"
        call = {"name": name, "args": {}, "id": f"c{next_id}", "type": "tool_call"}
        grown.append(AIMessage("", tool_calls=[call], id=f"a{next_id}"))
        answered = ToolMessage("t", tool_call_id=f"c{next_id}", id=f"t{next_id}")
        if kind > 5:
            record = pending_record(f"future_{next_id}", detach=kind == 6)
            answered = with_record(answered, record)
        grown.append(answered)
    return grown


@pytest.mark.parametrize("seed", range(40))
def test_a_thread_that_is_read_on_says_what_it_says_when_read_at_once(seed: int) -> None:
    """What a reader remembers never shows: each time it is as if all messages were read."""
    rng = random.Random(seed)
    reader = ThreadReader()
    messages: list[BaseMessage] = []
    for step in range(1, 60):
        messages = _grown(rng, messages, step)
        read_on, at_once = reader.read(messages), read_thread(messages)
        assert read_on == at_once
        assert [id(m) for m in read_on.pending.values()] == [
            id(m) for m in at_once.pending.values()
        ]
        read_on.floor = 10_000  # what a step notes there is not kept
        assert left_open(read_on) == left_open(at_once)


def test_messages_that_were_read_before_are_not_read_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The cost of a step does not grow with what has happened before it."""
    read: list[int] = []
    original = records._read_message

    def counting(thread: Any, index: int, message: BaseMessage) -> None:
        read.append(index)
        original(thread, index, message)

    monkeypatch.setattr(records, "_read_message", counting)
    reader = ThreadReader()
    messages: list[BaseMessage] = []
    for n in range(1, 101):
        call = {"name": "look_up", "args": {}, "id": f"c{n}", "type": "tool_call"}
        messages.append(AIMessage("", tool_calls=[call]))
        messages.append(ToolMessage("t", tool_call_id=f"c{n}"))
        reader.read(messages)
    assert len(read) < 5 * len(messages)
