"""Tests of what a future looks like to the model."""

from __future__ import annotations

import re

import pytest
from langchain_core.messages import ToolCall

from langchain_asyncfc.calls import read_call
from langchain_asyncfc.placeholders import asyncfc_instructions, placeholder
from langchain_asyncfc.references import find_references
from langchain_asyncfc.toolbox import ToolFacts

CALL = read_call(7, ToolCall(name="search", args={}, id="c7", type="tool_call"), ToolFacts(None))


@pytest.mark.parametrize("full", [True, False])
def test_a_placeholder_says_four_things(full: bool) -> None:
    """Rule 9: the id, that it runs, how to use it, and neither to repeat nor to guess."""
    text = placeholder(CALL, full=full, detach=False).text
    assert text.startswith("future_7 is running.")
    assert '"future_7"' in text
    assert re.search("[Dd]o not repeat this call", text)
    assert "guess its result" in text
    assert "{" not in re.sub(r"\$\{future_7\}", "", text)


def test_later_placeholders_are_short() -> None:
    """Rule 9: the full text appears once a thread."""
    full, short = (placeholder(CALL, full=f, detach=False).text for f in (True, False))
    assert len(short) < len(full) / 2
    assert "${future_7}" in full


@pytest.mark.parametrize("word", ["wait", "pending", "will appear", "soon", "message"])
def test_no_word_that_makes_models_call_again_or_forge(word: str) -> None:
    """Rule 9: nothing about waiting or of a coming message."""
    for full in (True, False):
        assert word not in placeholder(CALL, full=full, detach=False).text.lower()


def test_a_placeholder_answers_its_call_and_carries_its_record() -> None:
    """Rules 10 and 23: one tool message for the call, with a record outside of its content."""
    message = placeholder(CALL, full=True, detach=False)
    assert (message.tool_call_id, message.name, message.status) == ("c7", "search", "success")
    assert message.id
    assert message.id != placeholder(CALL, full=True, detach=False).id
    assert message.additional_kwargs == {"asyncfc": {"future": "future_7", "state": "pending"}}
    kept = placeholder(CALL, full=True, detach=True).additional_kwargs["asyncfc"]
    assert kept == {"future": "future_7", "state": "pending", "detach": True}


def test_the_notation_that_models_are_taught_is_understood() -> None:
    """Rule 9: every example in the texts parses as a reference."""
    texts = [asyncfc_instructions(), placeholder(CALL, full=True, detach=False).text]
    shown = [found for text in texts for found in re.findall(r'"(future_[^"]*)"', text)]
    embedded = [found for text in texts for found in re.findall(r"\$\{[^}]*\}", text)]
    assert len(shown) >= 4
    assert len(embedded) >= 2
    for example in shown + embedded:
        (site,) = find_references({"a": example})
        assert len(site.references) == 1, example


def test_the_prompt_names_what_is_offered() -> None:
    """Rules 8 and 12: the flag, its values and the two control tools."""
    for word in ("await_result", '"all"', "await_future", "cancel_future", "backslash"):
        assert word in asyncfc_instructions()
