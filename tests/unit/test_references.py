"""Tests of references in arguments."""

from __future__ import annotations

import dataclasses
import datetime as dt
from collections import defaultdict
from types import MappingProxyType
from typing import Any, NamedTuple

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import BaseModel, computed_field

from langchain_asyncfc.errors import MalformedReference, ReferencePathError
from langchain_asyncfc.references import (
    Reference,
    Site,
    find_references,
    lookup,
    place,
    substitute,
    text_of,
)


def filled(args: dict[str, Any], value: Any = "V", *, text: bool = False) -> dict[str, Any]:
    """The arguments with every reference answered by one value, its path followed."""
    return substitute(args, find_references(args), lambda r: lookup(value, r), lambda _: text)


@pytest.mark.parametrize(
    ("text", "path"),
    [
        ("future_3", ()),
        ("future_3.title", ("title",)),
        ("future_3.items[0].id", ("items", 0, "id")),
        ("future_3[-1]", (-1,)),
        ('future_3["a key"]', ("a key",)),
        ("future_3['a.b'].c", ("a.b", "c")),
        ('future_3[""]', ("",)),
        ("future_3.größe", ("größe",)),
        ("future_3.0", ("0",)),
        ("${future_3}", ()),
        ("${ future_3.title }", ("title",)),
    ],
)
def test_a_whole_argument_is_a_reference(text: str, path: tuple[str | int, ...]) -> None:
    """Rule 2: a future id, optionally with a path."""
    assert find_references({"a": text}) == (Site(("a",), (Reference(3, path),)),)


@pytest.mark.parametrize(
    "text",
    [
        "future_plans",
        "future_3 is done",
        "see future_3",
        "${HOME}",
        "${future_plans}",
        "$future_3",
        "{future_3}",
        "future_3\n",
        "future_3. It is done",
        "future_1234567890",
        "Future_3",
        "future_3x",
        "\\n future_",
        "",
    ],
)
def test_other_texts_are_literals(text: str) -> None:
    """Rule 14: what merely resembles a reference is left alone."""
    assert find_references({"a": text}) == ()


@pytest.mark.parametrize(
    "text",
    [
        "future_3.",
        "future_3..a",
        "future_3[",
        "future_3[a]",
        "future_3[1.5]",
        'future_3["a]',
        "future_3.a[0",
        "go to ${future_3.} now",
        "${future_3-1}",
    ],
)
def test_a_malformed_reference_is_told_with_its_place(text: str) -> None:
    """Rule 14: the message quotes the text, says where it stands and how to write it."""
    with pytest.raises(MalformedReference) as raised:
        find_references({"a": [{"b": text}]})
    message = str(raised.value)
    assert repr(text) in message
    assert "argument 'a[0].b'" in message
    assert "future_3.items[0].id" in message


def test_a_long_malformed_reference_is_quoted_in_few_words() -> None:
    """Rule 14: a model is told what is wrong, and not all that it wrote."""
    long = "x" * 100_000
    for text in (f"future_3..{long}", f"future_3[{long}", f"{long} ${{future_3[{long}}}"):
        with pytest.raises(MalformedReference) as raised:
            find_references({long: text})
        assert len(str(raised.value)) < 500


def test_a_text_is_read_in_one_pass() -> None:
    """Texts may be megabytes long: one of backslashes alone takes no more time than another.

    If it did, this would take hours.
    """
    assert find_references({"a": "\\" * 1_000_000 + "future_"}) == ()


@pytest.mark.parametrize(
    ("escaped", "literal"),
    [
        ("\\future_3", "future_3"),
        ("\\\\future_3.a", "\\future_3.a"),
        ("\\${future_3}", "${future_3}"),
        ("a \\\\${future_3} b", "a \\${future_3} b"),
    ],
)
def test_a_backslash_makes_a_literal(escaped: str, literal: str) -> None:
    """Rule 14: one backslash in front is taken away, and nothing is referred to."""
    (site,) = find_references({"a": escaped})
    assert site.references == ()
    assert filled({"a": escaped}) == {"a": literal}


def test_backslashes_elsewhere_stay() -> None:
    """Rule 14: only what would be a reference needs an escape."""
    for text in ("C:\\future_plans", "\\future_3 is done", "\\${HOME}", "a\\b"):
        assert find_references({"a": text}) == ()


@pytest.mark.parametrize(
    "value", [None, 7, 1.5, True, ["x"], {"k": 1}, "text", b"raw", dt.date(2025, 5, 1), object()]
)
def test_a_value_keeps_its_type(value: Any) -> None:
    """Rule 2: the very object takes the place of a whole argument."""
    result = filled({"a": "future_1", "b": {"c": ["future_1"]}}, value)
    assert result["a"] is value
    assert result["b"]["c"][0] is value


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ("x", "x"),
        (7, "7"),
        (True, "true"),
        (None, "null"),
        ({"ä": [1]}, '{"ä": [1]}'),
        (dt.date(2025, 5, 1), "2025-05-01"),
    ],
)
def test_inside_a_string_a_value_becomes_its_text(value: Any, text: str) -> None:
    """Rule 2: `${...}` in a longer string is replaced by the value's text."""
    given = {"a": "1: ${future_1}; 2: ${future_1}."}
    assert filled(given, value) == {"a": f"1: {text}; 2: {text}."}


@pytest.mark.parametrize(
    ("value", "result"), [(7, "7"), (1.5, "1.5"), (True, "true"), (None, None), ([1], [1])]
)
def test_a_scalar_for_a_text_parameter_becomes_text(value: Any, result: Any) -> None:
    """Rule 2: a scalar given to a string parameter becomes its text, nothing else does."""
    assert filled({"a": "future_1"}, value, text=True) == {"a": result}
    assert filled({"a": "future_1"}, value) == {"a": value}


def test_the_place_is_asked_for() -> None:
    """Rule 2: whether text is wanted is asked for each place."""
    args = {"a": "future_1", "b": ["x", "future_1"]}
    sites = find_references(args)
    result = substitute(args, sites, lambda _: 1, lambda where: where == ("b", 1))
    assert result == {"a": 1, "b": ["x", "1"]}


def test_the_given_arguments_are_not_changed() -> None:
    """The message keeps what the model wrote; only what is on the way is copied."""
    untouched: dict[str, Any] = {"x": []}
    args = {"a": {"b": ("future_1", "future_2", "y")}, "c": untouched}
    result = filled(args)
    assert result == {"a": {"b": ["V", "V", "y"]}, "c": untouched}
    assert result["c"] is untouched
    assert args["a"] == {"b": ("future_1", "future_2", "y")}


def test_references_are_found_in_order_and_at_any_depth() -> None:
    """Depth cannot break the search, however deep a model nests."""
    deep: Any = "future_2"
    for _ in range(5000):
        deep = [deep]
    sites = find_references({"a": "future_1", "b": deep, "c": "x${future_3}", "d": 4})
    assert [r.ordinal for site in sites for r in site.references] == [1, 2, 3]


class Model(BaseModel):
    title: str = "T"
    tags: list[str] = ["x", "y"]

    @computed_field
    def size(self) -> int:
        return 2

    def secret(self) -> str:
        return "no"


@dataclasses.dataclass
class Data:
    title: str = "T"


class Named(NamedTuple):
    title: str = "T"


@pytest.mark.parametrize(
    ("value", "path", "found"),
    [
        ({"a": {"b": [1, 2]}}, ("a", "b", -1), 2),
        ({"0": "zero"}, (0,), "zero"),
        ({0: "zero"}, (0,), "zero"),
        (MappingProxyType({"a": 1}), ("a",), 1),
        (["x", "y"], ("1",), "y"),
        (("x", "y"), (0,), "x"),
        (Model(), ("title",), "T"),
        (Model(), ("tags", 1), "y"),
        (Model(), ("size",), 2),
        (Data(), ("title",), "T"),
        (Named(), ("title",), "T"),
        (Named(), (0,), "T"),
        ('{"a": [1]}', ("a", 0), 1),
        (' [{"a": 1}]', (0, "a"), 1),
        ({"a": '{"b": 1}'}, ("a", "b"), 1),
        ("text", (), "text"),
    ],
)
def test_paths_lead_into_values(value: Any, path: tuple[str | int, ...], found: Any) -> None:
    """Rule 2: keys, indices, declared fields, and JSON texts."""
    assert lookup(value, Reference(1, path)) == found


@pytest.mark.parametrize(
    ("value", "path", "message"),
    [
        ({"a": {"b": 1}}, ("a", "c"), "future_1.a.c cannot be read: future_1.a is an object with"),
        ({}, ("a",), "future_1.a cannot be read: future_1 is"),
        ([1, 2], (5,), "future_1[5] cannot be read: future_1 is a list of 2 items"),
        ([1], ("x",), "future_1.x cannot be read: future_1 is a list of 1 items"),
        ([1], ("0x",), "cannot be read"),
        ([1], ("--1",), "cannot be read"),
        ([1], ("²",), "cannot be read"),
        ("short", ("a",), "future_1 is the text 'short'"),
        ("x" * 100, ("a",), "future_1 is a text."),
        ("{not json", ("a",), "future_1 is the text '{not json'"),
        ("[" * 100_000, (0,), "future_1 is a text."),
        (7, ("real",), "future_1 is of type int"),
        (None, ("a b",), 'future_1["a b"] cannot be read: future_1 is'),
        (Model(), ("secret",), "'title', 'tags', 'size'"),
        (Model(), ("__class__",), "cannot be read"),
        (Data(), ("__dict__",), "a Data with the fields 'title'"),
        (Data, ("title",), "of type type"),
        (Named(), ("count",), "a Named with the fields 'title'"),
        (b"raw", (0,), "of type bytes"),
        ({1, 2}, (0,), "of type set"),
    ],
)
def test_a_path_that_is_not_there_says_how_far_it_led(
    value: Any, path: tuple[str | int, ...], message: str
) -> None:
    """Bad input: a wrong path is an error that says what stands there, never null."""
    with pytest.raises(ReferencePathError) as raised:
        lookup(value, Reference(1, path))
    assert message in str(raised.value)


def test_looking_for_a_key_does_not_make_it() -> None:
    """Bad input: a mapping that makes up missing keys is not asked to, nor changed."""
    made = defaultdict(list, {"a": [1]})
    assert lookup(made, Reference(1, ("a", 0))) == 1
    for missing in ("b", 0):
        with pytest.raises(ReferencePathError, match="an object with the keys 'a'"):
            lookup(made, Reference(1, (missing,)))
    assert made == {"a": [1]}


def test_what_stands_there_is_described_in_few_words() -> None:
    """Bad input: keys may be of any size."""
    with pytest.raises(ReferencePathError, match=r"with the keys 'kkk.*…, a value of type int"):
        lookup({"k" * 1000: 1, 10**5000: 2}, Reference(1, ("a",)))


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ("x", "x"),
        (Model(), '{"title":"T","tags":["x","y"],"size":2}'),
        ([1, "ä"], '[1, "ä"]'),
        ({1}, "{1}"),
    ],
)
def test_the_text_of_a_value(value: Any, text: str) -> None:
    """Rule 2: a text as it is, anything else as JSON where that can be."""
    assert text_of(value) == text
    loop: list[Any] = []
    loop.append(loop)
    assert text_of(loop) == "[[...]]"
    model = Model(title="\ud800")
    assert text_of(model) == str(model)


def test_places_are_readable() -> None:
    """A place reads as the model would write it."""
    assert place(("filter", "ids", 0)) == "'filter.ids[0]'"


def test_arguments_that_hold_themselves_are_read_once() -> None:
    """Bad input: what no JSON can hold is no end to reading; each string is found where it is."""
    loop: dict[str, Any] = {"b": "future_2"}
    loop["a"] = [loop, "future_1", [loop]]
    found = {site.location for site in find_references({"x": loop, "y": loop})}
    assert found == {(at, *rest) for at in "xy" for rest in (("b",), ("a", 1))}


steps = st.one_of(
    st.integers(-99, 99),
    st.text(st.characters(exclude_characters="\"'[]", codec="utf-8"), max_size=8),
)


@settings(max_examples=200, deadline=None, derandomize=True)
@given(st.lists(steps, max_size=4).map(tuple))
def test_a_reference_reads_back_from_its_text(path: tuple[str | int, ...]) -> None:
    """Rule 14: what error messages show can be written in a call."""
    reference = Reference(7, path)
    assert find_references({"a": str(reference)}) == (Site(("a",), (reference,)),)


@settings(max_examples=200, deadline=None, derandomize=True)
@given(st.text(st.sampled_from("\\${}future_1.[]0 a\n"), max_size=24))
def test_any_text_is_read_or_refused(text: str) -> None:
    """Rule 14: a text is a literal, a reference or an error; literals come through unchanged."""
    try:
        sites = find_references({"a": text})
    except MalformedReference:
        return
    if not sites:
        assert "${future_1}" not in text.replace("\\${", "")
    assert sites or filled({"a": text}) == {"a": text}
