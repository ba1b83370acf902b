"""Tests of what a tool's parameters take."""

from __future__ import annotations

import datetime as dt
import gc
import urllib.request
from collections.abc import Callable
from typing import Any, Literal, TypeAlias

import pytest
from langchain_core.tools import StructuredTool, Tool, tool
from pydantic import BaseModel
from pydantic import v1 as pydantic_v1
from pydantic.errors import PydanticUserError

from langchain_asyncfc.parameters import (
    _READ,
    check_value,
    parameters,
    schema_of,
    takes_only_text,
    without_nulls,
)

Hook: TypeAlias = Callable[[int], int]


class Handle:
    """Something that JSON cannot say."""


class OldHook(pydantic_v1.BaseModel):
    back: Handle

    class Config:
        arbitrary_types_allowed = True


class Item(BaseModel):
    name: str
    count: int = 1
    note: str | None = None


@tool
def order(
    title: str,
    day: dt.date,
    mode: Literal["a", "b"],
    size: int,
    either: str | int,
    maybe: str | None,
    anything: Any,
    items: list[Item],
    tags: dict[str, str],
    pair: tuple[int, str],
) -> str:
    """Order."""
    return title


def remote(schema: dict[str, Any]) -> StructuredTool:
    """A tool with a dict schema, as MCP adapters make them."""

    def call(**arguments: Any) -> str:
        return str(arguments)

    return StructuredTool(name="remote", description="Remote.", args_schema=schema, func=call)


REMOTE_REF = {"$ref": "https://example.com/schema.json"}
REMOTE: dict[str, Any] = {
    "type": "object",
    "properties": {
        "limit": {"type": "integer", "minimum": 1, "maximum": 10},
        "name": {"type": ["string", "null"]},
        "ratio": {"type": "number"},
        "mode": {"enum": ["a", "b"]},
        "rows": {"type": "array", "items": {"$ref": "#/$defs/Row"}},
        "union": {"anyOf": [{"type": "integer"}, {"type": "array", "items": {"type": "integer"}}]},
        "free": {},
        "code": {"type": "string", "pattern": "^[a-z]+$"},
    },
    "patternProperties": {"^x-": {"type": "integer"}, "(": {"type": "null"}},
    "additionalProperties": False,
    "$defs": {
        "Row": {
            "type": "object",
            "properties": {"id": {"type": "integer"}, "next": {"$ref": "#/$defs/Row"}},
            "required": ["id"],
        }
    },
}


@pytest.mark.parametrize(
    ("place", "only_text"),
    [
        (("title",), True),
        (("day",), True),
        (("mode",), True),
        (("maybe",), True),
        (("size",), False),
        (("either",), False),
        (("anything",), False),
        (("items",), False),
        (("items", 0), False),
        (("items", 0, "name"), True),
        (("items", 3, "note"), True),
        (("items", 0, "count"), False),
        (("tags", "any"), True),
        (("pair", 0), False),
        (("pair", 1), True),
        (("title", "inside"), False),
        (("unknown",), False),
    ],
)
def test_only_text_is_taken_where_the_schema_says_string(
    place: tuple[str | int, ...], only_text: bool
) -> None:
    """A string parameter, also nullable or nested, takes only text."""
    assert takes_only_text(order, place) is only_text


def test_only_text_follows_every_way_to_say_it() -> None:
    """`allOf`, `oneOf`, `const`, old tuples and recursion are understood."""
    text = {"type": "string"}
    said = remote(
        {
            "properties": {
                "all": {"allOf": [{"type": ["string", "integer"]}, {"type": ["string", "null"]}]},
                "one": {"oneOf": [{"const": "a"}, {"enum": ["b", None]}]},
                "old": {"items": [{"type": "integer"}, text], "additionalItems": text},
                "loop": {"$ref": "#/$defs/Loop"},
                "lost": {"$ref": "#/$defs/Lost"},
                "deep": {
                    "anyOf": [
                        {"type": "object", "properties": {"a": text}},
                        {"type": "array", "items": text},
                    ]
                },
                "wide": {"anyOf": [{"type": "object"}, {"properties": {"a": text}}]},
                "both": {"allOf": [{"properties": {"a": {}}}, {"properties": {"a": text}}]},
                "none": {"anyOf": [{"type": "integer"}, {"type": "null"}]},
            },
            "$defs": {"Loop": {"anyOf": [{"$ref": "#/$defs/Loop"}, text]}},
        }
    )
    for place in (("all",), ("one",), ("old", 1), ("old", 5), ("loop",), ("both", "a")):
        assert takes_only_text(said, place), place
    for place in (
        ("old", 0),
        ("lost",),
        ("none", 0),
        ("wide", "a"),
        ("lost", "a"),
        ("none", "a"),
        ("deep",),
    ):
        assert not takes_only_text(said, place), place
    assert takes_only_text(said, ("deep", 0))
    assert takes_only_text(said, ("deep", "a"))


@pytest.mark.parametrize(
    ("place", "value"),
    [
        (("limit",), 5),
        (("limit",), 5.0),
        (("name",), None),
        (("ratio",), 3),
        (("mode",), "a"),
        (("rows",), [{"id": 1, "next": {"id": 2}}]),
        (("rows",), ({"id": 1},)),
        (("rows", 0), {"id": 1}),
        (("rows", 0, "next", "next"), {"id": 1}),
        (("union",), [1]),
        (("union", 0), 1),
        (("free",), object()),
        (("x-a",), 1),
    ],
)
def test_a_value_that_fits_passes(place: tuple[str | int, ...], value: object) -> None:
    """Nothing is said about a value that is valid at its place."""
    if not isinstance(value, (int, float, str, list, tuple, dict, type(None))):
        value = [value]
    assert check_value(remote(REMOTE), place, value) is None


@pytest.mark.parametrize(
    ("place", "value", "message"),
    [
        (("limit",), "abc", "argument 'limit': expected integer, got a string ('abc')"),
        (("limit",), 50, "argument 'limit': expected at most 10, got a number (50)"),
        (("limit",), 2.5, "argument 'limit': expected integer, got a number (2.5)"),
        (("limit",), True, "argument 'limit': expected integer, got a boolean (True)"),
        (("limit",), None, "argument 'limit': expected integer, got null"),
        (("name",), 3, "argument 'name': expected string or null, got a number (3)"),
        (("mode",), "c", """argument 'mode': expected one of "a", "b", got a string ('c')"""),
        (("rows",), [{"id": 1}, {}],
         """argument 'rows[1]': expected an object with "id", got an object ({})"""),
        (("rows", 2), {"id": "x"}, "argument 'rows[2].id': expected integer, got a string ('x')"),
        (("rows", 0, "next"), [], "argument 'rows[0].next': expected object, got an array ([])"),
        (("union",), "x", "argument 'union': expected array or integer, got a string ('x')"),
        (("union", 0), "x", "argument 'union[0]': expected integer, got a string ('x')"),
        (("code",), "A",
         """argument 'code': expected text that matches "^[a-z]+$", got a string ('A')"""),
        (("x-a",), "x", "argument 'x-a': expected integer, got a string ('x')"),
        (("more",), 1, "argument 'more': this tool takes no such argument"),
    ],
)  # fmt: skip
def test_a_value_that_does_not_fit_is_explained(
    place: tuple[str | int, ...], value: object, message: str
) -> None:
    """The message names the argument, what was expected and what came."""
    assert check_value(remote(REMOTE), place, value) == message


def test_a_long_value_is_cut_in_the_message() -> None:
    """A result of a megabyte does not come back in an error message."""
    message = check_value(remote(REMOTE), ("limit",), "x" * 1_000_000)
    assert message is not None
    assert len(message) < 150


def test_values_are_checked_as_json_carries_them() -> None:
    """A model counts as an object; what JSON cannot carry is named by its type."""
    tool_ = remote({"properties": {"o": {"type": "object", "required": ["name"]}}})
    assert check_value(tool_, ("o",), Item(name="a")) is None
    message = check_value(tool_, ("o",), object())
    assert message is not None
    assert message.startswith("argument 'o': expected object, got an object (<object object")


def test_a_value_that_json_cannot_carry_is_checked_as_it_is() -> None:
    """Bytes that are no text, or what holds itself: the message says what came, nothing raises."""
    tool_ = remote({"properties": {"a": {"type": "array"}, "t": {"type": "string"}}})
    loop: list[Any] = []
    loop.append(loop)
    assert check_value(tool_, ("a",), loop) is None
    for value, got in ((loop, "an array ([[...]])"), (b"\xff", "a bytes (b'\\xff')")):
        message = f"argument 't': expected string, got {got}"
        assert check_value(tool_, ("t",), value) == message


def test_tools_with_a_model_are_not_checked_here() -> None:
    """`ToolNode` validates them itself, with coercion."""
    assert check_value(order, ("size",), "5") is None


@pytest.mark.parametrize(
    "schema",
    [
        {"properties": {"a": {"type": "wrong"}}},
        {"properties": {"a": {"pattern": "("}}},
        {"properties": {"a": REMOTE_REF}},
        {"properties": {"a": {"$ref": "#/$defs/Missing"}}},
    ],
)
def test_a_schema_that_cannot_be_checked_refuses_nothing(schema: dict[str, Any]) -> None:
    """A broken or remote schema is the server's affair."""
    assert check_value(remote(schema), ("a",), "text") is None
    assert check_value(remote(schema), ("a",), "text") is None


def test_a_remote_schema_is_never_fetched(monkeypatch: pytest.MonkeyPatch) -> None:
    """A `$ref` to another host opens no connection."""
    opened: list[Any] = []
    monkeypatch.setattr(urllib.request, "urlopen", opened.append)
    assert check_value(remote({"properties": {"a": REMOTE_REF}}), ("a",), "text") is None
    assert opened == []


def test_an_integer_is_a_number() -> None:
    """Parts of an `allOf` may name the wider and the narrower type."""
    both = remote({"properties": {"a": {"allOf": [{"type": "number"}, {"type": "integer"}]}}})
    assert check_value(both, ("a",), 1) is None
    assert check_value(both, ("a",), 1.5) is not None


def test_older_drafts_are_checked_by_their_own_rules() -> None:
    """`$schema` decides what a list under `items` means."""
    old = remote(
        {
            "$schema": "http://json-schema.org/draft-07/schema#",
            "properties": {"t": {"type": "array", "items": [{"type": "integer"}]}},
        }
    )
    message = check_value(old, ("t",), ["x"])
    assert message == "argument 't[0]': expected integer, got a string ('x')"


def test_nulls_of_optional_parameters_are_left_out() -> None:
    """Null means "not given", unless the parameter takes null or is required."""

    @tool
    def nested(size: int, limit: int = 3, note: str | None = "x", items: list[Item] = []) -> str:  # noqa: B006
        """Nested."""
        return ""

    given = {
        "size": None,
        "limit": None,
        "note": None,
        "items": [{"name": None, "count": None, "note": None}, "future_1", None],
        "unknown": None,
    }
    before = str(given)
    assert without_nulls(nested, given) == {
        "size": None,
        "note": None,
        "items": [{"name": None, "note": None}, "future_1", None],
        "unknown": None,
    }
    assert str(given) == before


def test_the_names_of_the_parameters() -> None:
    """Names come through branches and references; a single-input tool has langchain's."""
    schema = {
        "allOf": [{"$ref": "#/$defs/A"}, {"properties": {"b": True}}, True],
        "$defs": {"A": {"properties": {"a": True}}},
    }
    assert parameters(remote(schema)).names() == {"a", "b"}
    assert parameters(Tool(name="t", description="", func=str)).names() == {"__arg1"}


def test_nulls_are_found_at_any_depth() -> None:
    """The quick look for a null does not miss nested ones."""
    assert without_nulls(order, {"items": [{"name": "n", "count": None}]}) == {
        "items": [{"name": "n"}]
    }
    assert without_nulls(order, {"items": [1, {"a": "b"}]}) == {"items": [1, {"a": "b"}]}


def test_a_tool_that_no_model_can_be_bound_to_still_has_names() -> None:
    """An argument without a JSON schema does not keep the tool from being called."""

    @tool
    def call_back(n: int, back: Hook) -> str:
        """Call back."""
        return ""

    old = StructuredTool(name="old", description="O.", args_schema=OldHook, func=lambda **_: 0)
    assert parameters(call_back).names() == {"n", "back"}
    assert parameters(old).names() == {"back"}
    assert without_nulls(call_back, {"n": None}) == {"n": None}
    with pytest.raises(PydanticUserError):
        schema_of(call_back)


def test_a_schema_is_read_once_until_it_is_replaced() -> None:
    """The reading is kept for the tool and noticed to be old when `args_schema` changes."""
    tool_ = remote(REMOTE)
    first = parameters(tool_)
    assert parameters(tool_) is first
    tool_.args_schema = {"properties": {"limit": {"type": "string"}}}
    assert parameters(tool_) is not first
    assert takes_only_text(tool_, ("limit",))


def test_a_tool_that_is_gone_is_forgotten() -> None:
    """The memory of a tool does not outlive it."""
    tool_ = remote(REMOTE)
    parameters(tool_)
    key = id(tool_)
    assert key in _READ
    del tool_
    gc.collect()
    assert key not in _READ
