"""Tests of how outcomes become messages."""

from __future__ import annotations

from typing import Any

import pytest
from langchain_core.messages import AIMessage, HumanMessage, ToolCall, ToolMessage
from langgraph.types import Command, Send

from langchain_asyncfc.calls import Call, read_call
from langchain_asyncfc.delivery import (
    LOST,
    Riders,
    answer,
    answer_in_place,
    carrier_among,
    output_form,
    ride,
    tool_messages_in,
)
from langchain_asyncfc.futures import FutureState, Outcome
from langchain_asyncfc.placeholders import placeholder
from langchain_asyncfc.toolbox import ToolFacts


def call(n: int = 1) -> Call:
    tool_call = ToolCall(name="search", args={}, id=f"c{n}", type="tool_call")
    return read_call(n, tool_call, ToolFacts(None))


def told(text: str | list[Any] = "found", n: int = 1, **more: Any) -> ToolMessage:
    return ToolMessage(text, name="search", tool_call_id=f"c{n}", **more)


def resolved(result: Any, value: Any = "v") -> Outcome:
    return Outcome(FutureState.RESOLVED, value, result)


HOLDER = placeholder(call(), full=True, detach=False)


@pytest.mark.parametrize(
    ("outcome", "text", "status"),
    [
        (Outcome(FutureState.FAILED, note="no such path"), "Error: no such path", "error"),
        (Outcome(FutureState.CANCELLED), "future_1 was cancelled.", "error"),
        (
            Outcome(FutureState.SKIPPED, note="future_0 (a) failed: x"),
            "Error: future_1 was not run, because future_0 (a) failed: x.",
            "error",
        ),
        (Outcome(FutureState.RESOLVED), "future_1 has finished.", "success"),
    ],
)
def test_an_outcome_without_a_result_is_explained(outcome: Outcome, text: str, status: str) -> None:
    """Rule 17: the model is told what became of a call that gave no message itself."""
    (message,) = answer(call(), outcome)
    assert message == ToolMessage(text, name="search", tool_call_id="c1", status=status)
    (late,) = answer_in_place("future_1", HOLDER, outcome)
    assert isinstance(late, ToolMessage)
    assert (late.content, late.status, late.id) == (text, status, HOLDER.id)


def test_a_lost_call_may_have_taken_effect() -> None:
    """Rule 22: a lost future is an error that says so."""
    (message,) = answer_in_place("future_1", HOLDER, LOST)
    assert isinstance(message, ToolMessage)
    assert message.status == "error"
    assert "may or may not have taken effect" in message.text
    assert message.additional_kwargs["asyncfc"] == {"future": "future_1", "state": "lost"}


def test_an_ordinary_answer_is_the_very_result() -> None:
    """Rule 8: a call that finished at once is answered as by ToolNode."""
    one, several = told(), [told(), Command(update={})]
    assert answer(call(), resolved(one)) == [one]
    assert answer(call(), resolved(several)) is several


def test_a_message_takes_the_place_of_the_placeholder() -> None:
    """Rule 11: the value stands under the placeholder's own message id, with its record."""
    (message,) = answer_in_place("future_1", HOLDER, resolved(told(artifact=[1]), {"k": 1}))
    assert isinstance(message, ToolMessage)
    assert (message.content, message.artifact, message.id) == ("found", [1], HOLDER.id)
    assert message.additional_kwargs["asyncfc"] == {
        "future": "future_1",
        "state": "resolved",
        "value": {"k": 1},
    }


def test_other_messages_of_a_result_stay_as_they_are() -> None:
    """Rule 25: only the first message that answers the call is put in the placeholder's place."""
    other, again = told("other", 2), told("again")
    first, second, third = answer_in_place("future_1", HOLDER, resolved([other, told(), again]))
    assert first is other
    assert isinstance(second, ToolMessage)
    assert second.id == HOLDER.id
    assert third is again


@pytest.mark.parametrize("as_list", [True, False])
def test_a_command_is_applied_at_delivery(as_list: bool) -> None:
    """Rule 25: updates and jumps happen at delivery; only the answering message is changed."""
    human = HumanMessage("hi")
    messages = [human, told()]
    update: Any = messages if as_list else {"messages": messages, "seen": 1, "todo": ["x"]}
    command = Command(update=update, goto="next")
    (late,) = answer_in_place("future_1", HOLDER, resolved(command))
    assert isinstance(late, Command)
    assert late.goto == "next"
    assert tool_messages_in(late)[0].id == HOLDER.id
    if not as_list:
        assert late.update["seen"] == 1  # type: ignore[index]
        assert late.update["todo"] == ["x"]  # type: ignore[index]
    assert messages[1].id is None


@pytest.mark.parametrize("update", [None, {"seen": 1}, {"messages": [told("x", 9)]}])
def test_a_command_without_the_answer_comes_with_an_explanation(update: Any) -> None:
    """Rule 10: each tool call has exactly one tool message, whatever its tool returned."""
    command = Command(update=update, goto="next")
    first, second = answer_in_place("future_1", HOLDER, resolved(command))
    assert isinstance(first, ToolMessage)
    assert first.id == HOLDER.id
    assert first.text == "future_1 has finished."
    assert second is command


def test_outcomes_ride_after_the_content_of_a_message() -> None:
    """Rule 11: with append, each rides on the next tool message, marked with its id."""
    riders = Riders()
    riders.add("future_1", "c1", resolved(told("one"), 1), HOLDER)
    riders.add("future_2", "c2", Outcome(FutureState.CANCELLED), None)
    carrier = told("own", 3)
    loaded = ride(carrier, riders)
    assert isinstance(loaded, ToolMessage)
    assert loaded.text == "own\n\n[future_1] one\n\n[future_2] future_2 was cancelled."
    assert loaded.additional_kwargs["asyncfc"]["delivered"] == {
        "future_1": {"state": "resolved", "value": 1},
        "future_2": {"state": "cancelled"},
    }
    assert riders.others == []
    assert carrier.content == "own"


@pytest.mark.parametrize(
    ("own", "came", "expected"),
    [
        ("", "one", "[future_1] one"),
        (
            [{"type": "text", "text": "own"}],
            "one",
            [
                {"type": "text", "text": "own"},
                {"type": "text", "text": "[future_1]"},
                {"type": "text", "text": "one"},
            ],
        ),
        (
            "",
            [{"type": "image", "url": "u"}],
            [{"type": "text", "text": "[future_1]"}, {"type": "image", "url": "u"}],
        ),
        (
            "own",
            ["plain"],
            [{"type": "text", "text": "own"}, {"type": "text", "text": "[future_1]"}, "plain"],
        ),
    ],
)
def test_content_blocks_ride_too(own: Any, came: Any, expected: Any) -> None:
    """Rule 25: content blocks stay blocks."""
    riders = Riders()
    riders.add("future_1", "c1", resolved(told(came)), HOLDER)
    loaded = ride(told(own, 3), riders)
    assert isinstance(loaded, ToolMessage)
    assert loaded.content == expected


def test_an_artifact_goes_to_its_placeholder() -> None:
    """Rule 25: the model is not sent artifacts, so they may be put where they belong."""
    riders = Riders()
    riders.add("future_1", "c1", resolved(told(artifact={"rows": 3})), HOLDER)
    (other,) = riders.others
    assert isinstance(other, ToolMessage)
    assert (other.id, other.artifact, other.content) == (HOLDER.id, {"rows": 3}, HOLDER.content)
    gone = Riders()
    gone.add("future_1", "c1", resolved(told(artifact={"rows": 3})), None)
    assert gone.others == []


def test_what_else_a_command_brings_comes_along() -> None:
    """Rule 25: the message rides, the update is applied; an empty command is dropped."""
    riders = Riders()
    both = Command(update={"messages": [told("one")], "seen": 1})
    bare = Command(update={"messages": [told("two", 2)]})
    jump = Command(update=[told("three", 3)], goto="next")
    for n, command in enumerate((both, bare, jump), start=1):
        riders.add(f"future_{n}", f"c{n}", resolved(command), None)
    assert [text for _, text in riders.parts] == ["one", "two", "three"]
    assert riders.others == [
        Command(update={"messages": [], "seen": 1}),
        Command(update=[], goto="next"),
    ]


def test_a_plain_message_is_the_better_carrier() -> None:
    """Rule 11: outcomes ride on a tool message, one in a command if there is no other."""
    message, command = told(), Command(update={"messages": [told("in", 2)]})
    assert carrier_among([command, message]) is message
    assert carrier_among([AIMessage("x"), Command(goto="a"), command]) is command
    assert carrier_among([AIMessage("x"), Command(update=[HumanMessage("x")])]) is None


def test_outcomes_ride_on_a_message_in_a_command() -> None:
    """Rule 11: the command's update carries the loaded message."""
    riders = Riders()
    riders.add("future_1", "c1", resolved(told("one")), None)
    loaded = ride(Command(update={"messages": [told("own", 2)], "seen": 1}), riders)
    assert isinstance(loaded, Command)
    assert [m.text for m in tool_messages_in(loaded)] == ["own\n\n[future_1] one"]
    assert loaded.update["seen"] == 1  # type: ignore[index]


def test_messages_alone_are_a_list_or_an_update() -> None:
    """Outputs: the form in which the state came in."""
    assert output_form([told()], "messages", as_list=True) == [told()]
    assert output_form([told()], "chat", as_list=False) == {"chat": [told()]}


def test_with_commands_each_answer_stands_by_itself() -> None:
    """Outputs: as ToolNode's, sends to the parent graph become one command."""
    to_parent = [
        Command(graph=Command.PARENT, goto=[Send("a", 1)]),
        Command(graph=Command.PARENT, goto=[Send("b", 2)]),
    ]
    plain, named = Command(goto="x"), Command(graph=Command.PARENT, goto="y")
    answers = [told(), plain, named, *to_parent]
    merged = Command(graph=Command.PARENT, goto=[Send("a", 1), Send("b", 2)])
    as_update = output_form(answers, "messages", as_list=False)
    assert as_update == [{"messages": [told()]}, plain, named, merged]
    assert output_form(answers, "messages", as_list=True)[0] == [told()]
