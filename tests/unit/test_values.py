"""Tests of the value of a result, and of how values are quoted."""

from __future__ import annotations

from typing import Any

import pytest

from langchain_asyncfc.values import plain_value, shown


class Mute:
    """An object that has no text."""

    def __repr__(self) -> str:
        raise ZeroDivisionError


def nested(levels: int) -> list[Any]:
    """A list in a list in a list."""
    value: list[Any] = []
    for _ in range(levels):
        value = [value]
    return value


@pytest.mark.parametrize(
    ("value", "quoted"),
    [
        ("a", "'a'"),
        ({"a": 1}, "{'a': 1}"),
        ("x" * 58, f"'{'x' * 58}'"),
        ("x" * 59, f"'{'x' * 59}…"),
        pytest.param(10**5000, "a value of type int", id="huge number"),
        pytest.param(nested(5000), "a value of type list", id="nested too deep"),
        (Mute(), "a value of type Mute"),
    ],
)
def test_a_value_is_quoted_in_few_words(value: Any, quoted: str) -> None:
    """What a message quotes is short, and quoting never fails."""
    assert shown(value) == quoted


def test_a_text_nested_too_deep_is_no_json() -> None:
    """The text of a tool of MCP is compared with its structured content, and may be anything."""
    content = [{"type": "text", "text": "[" * 100_000}]
    assert plain_value(content, {"structured_content": {"result": 7}}) == 7
