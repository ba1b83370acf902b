from __future__ import annotations

from typing import Any

import pytest

from langchain_asyncfc.estimate import dataflow
from langchain_asyncfc.estimate.dataflow import careful, hopeful
from langchain_asyncfc.estimate.story import Job, Step, Story


def story(result: str, args: dict[str, Any], *, asked: str = "", text: str = "") -> Story:
    """A call with a result, then one with these arguments and text."""
    first = Step(1, (Job(1, "find", {"q": "weather"}, 1, result=result),), asked=asked)
    return Story((first, Step(1, (Job(2, "use", args, 1),), text=text)))


@pytest.mark.parametrize(
    ("result", "argument"),
    [
        ("AB-1234", "AB-1234"),
        ('{"id": "AB-1234", "n": 1}', "AB-1234"),
        ('{"items": [{"id": 1234}]}', 1234),
        ('{"id": "AB-1234"}', "please look at AB-1234 now"),
        ('{"id": "AB-1234"}', {"deep": ["AB-1234"]}),
    ],
)
def test_values_can_be_passed_by_reference(result: str, argument: Any) -> None:
    """The whole result, a value of its JSON, or one inside a longer text."""
    told = story(result, {"x": argument})
    assert hopeful(told).references == {2: {"x": {1}}}
    assert hopeful(told).reads == {}
    assert careful(told).reads == {1: {1}}


def test_quotes_from_a_text_have_to_be_read() -> None:
    """A reference has no way into a text."""
    told = story("The order AB-1234 was shipped.", {"x": "AB-1234"})
    assert hopeful(told).references == {}
    assert hopeful(told).reads == careful(told).reads == {1: {1}}


def test_a_choice_from_a_list_has_to_be_read() -> None:
    """Which of several items a reference would name is only known to whoever read them."""
    told = story('{"items": [{"id": "AB-1234"}, {"id": "CD-5678"}]}', {"x": "CD-5678"})
    assert hopeful(told).references == {}
    assert hopeful(told).reads == {1: {1}}


def test_echoes_count_for_the_careful_reading_only() -> None:
    """A word of a result in the text of the message, or in a text made of several."""
    for told in (
        story("Shipped to Aberdeen.", {"x": 1}, text="So it is in Aberdeen."),
        story("Shipped to Aberdeen.", {"x": "hotels near aberdeen"}),
    ):
        assert hopeful(told).reads == {}
        assert careful(told).reads == {1: {1}}


@pytest.mark.parametrize("argument", ["weather", "Paris", "ok", 1, True, None, "status"])
def test_what_was_known_before_shows_nothing(argument: Any) -> None:
    """Words of the user, of the call itself, and everyday values."""
    result = (
        '{"city": "Paris", "kind": "weather", "state": "ok", "n": 1, "on": true, "s": "status"}'
    )
    told = story(result, {"x": argument}, asked="How is it in Paris?")
    assert hopeful(told).references == {}
    assert hopeful(told).reads == careful(told).reads == {}


def test_errors_are_read_before_the_next_message() -> None:
    """Whatever the next message says."""
    failed = Step(1, (Job(1, "find", {}, 1, result="boom", failed=True),))
    told = Story((failed, Step(1, (Job(2, "use", {"x": 5}, 1),))))
    assert hopeful(told).reads == careful(told).reads == {1: {1}}


def test_calls_of_one_message_cannot_have_seen_each_other() -> None:
    """A value that a sibling returns is a coincidence."""
    siblings = (Job(1, "a", {}, 1, result="AB-1234"), Job(2, "b", {"x": "AB-1234"}, 1))
    told = Story((Step(1, siblings),))
    assert hopeful(told).references == {}


def test_the_latest_call_that_gave_a_value_counts() -> None:
    """A value that was read back after it was changed comes from the reading."""
    told = Story(
        (
            Step(1, (Job(1, "a", {}, 1, result="AB-1234"),)),
            Step(1, (Job(2, "b", {}, 1, result="AB-1234"),)),
            Step(1, (Job(3, "c", {"x": "AB-1234"}, 1),)),
        )
    )
    assert hopeful(told).references == {3: {"x": {2}}}


def test_no_pattern_is_made_of_long_results(monkeypatch: pytest.MonkeyPatch) -> None:
    """Results that are nowhere in what was known are not searched for as regular expressions."""
    monkeypatch.setattr("re.search", None)
    assert dataflow._is_telling("a page that is long " * 5_000, "what was known before")
