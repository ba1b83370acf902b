"""Tests of reading tool calls."""

from __future__ import annotations

from typing import Any

import pytest
from langchain_core.messages import ToolCall
from langchain_core.tools import tool

from langchain_asyncfc.calls import Call, is_control, known_futures, read_call
from langchain_asyncfc.errors import MalformedReference, UnknownReference
from langchain_asyncfc.references import Reference
from langchain_asyncfc.toolbox import ToolFacts


@tool
def search(query: str, limit: int = 3) -> str:
    """Search."""
    return query


FACTS = ToolFacts(search, flagged=True)


def read(ordinal: int = 3, facts: ToolFacts = FACTS, strict: bool = False, **args: Any) -> Call:
    call = ToolCall(name="search", args=args, id="c1", type="tool_call")
    return read_call(ordinal, call, facts, strict=strict)


def test_a_call_without_references_is_taken_as_it_is() -> None:
    """Calls that refer to nothing cost nothing: the arguments are the very same."""
    call = read(query="x")
    assert (call.future, call.name, call.id) == ("future_3", "search", "c1")
    assert call.sites == ()
    assert call.references == ()
    assert call.problem is None
    assert call.args is call.tool_call["args"]
    assert call.with_args(call.args) is call.tool_call


def test_other_arguments_make_another_tool_call() -> None:
    """Rule 2: the call that runs keeps its id and name."""
    call = read(query="future_1")
    assert call.with_args({"query": "x"}) == {**call.tool_call, "args": {"query": "x"}}
    assert call.tool_call["args"] == {"query": "future_1"}


def test_references_are_found_everywhere() -> None:
    """Rule 2: whole arguments, and parts of longer strings."""
    call = read(query="${future_1.a} and ${future_2}", limit="future_2[0]")
    assert set(call.references) == {Reference(1, ("a",)), Reference(2), Reference(2, (0,))}


@pytest.mark.parametrize(
    ("ordinal", "known"),
    [
        (1, "no future exists yet"),
        (2, "the only future is future_1"),
        (3, "the futures so far are future_1 to future_2"),
    ],
)
def test_an_unknown_reference_names_the_known_futures(ordinal: int, known: str) -> None:
    """Rule 14: a call may only refer to older futures, hence no cycle (rule 7)."""
    for text in (f"future_{ordinal}", f"future_{ordinal + 5}.a", "future_0", "x ${future_99}"):
        problem = read(ordinal, query=text).problem
        assert isinstance(problem, UnknownReference)
        assert known in str(problem)
        assert "backslash" in str(problem)
    assert known_futures(ordinal - 1) == known


def test_a_long_unknown_reference_is_quoted_in_few_words() -> None:
    """Rule 14: a model is told what is wrong, and not all that it wrote."""
    problem = read(3, query="future_3." + "x" * 100_000).problem
    assert isinstance(problem, UnknownReference)
    assert len(str(problem)) < 300


def test_a_malformed_reference_is_a_problem_of_the_call() -> None:
    """Rule 14: its text and place are named, and how to write it."""
    call = read(query="future_1.items[")
    assert isinstance(call.problem, MalformedReference)
    assert call.sites == ()
    assert "'future_1.items['" in str(call.problem)
    assert "argument 'query'" in str(call.problem)


@pytest.mark.parametrize(
    ("flag", "wanted"),
    [
        (True, True),
        ("all", "all"),
        ("true", True),
        ("True", True),
        (False, False),
        (None, False),
        ("no", False),
        (1, False),
    ],
)
def test_the_flag_is_read_and_taken_out(flag: Any, wanted: Any) -> None:
    """Rule 8: `await_result` is the runtime's, and not seen by the tool."""
    call = read(query="x", await_result=flag)
    assert call.await_result == wanted
    assert call.args == {"query": "x"}


def test_a_tools_own_argument_of_that_name_stays() -> None:
    """Rule 8: where the flag was not offered it is not read."""
    call = read(facts=ToolFacts(search), await_result=True)
    assert call.await_result is False
    assert call.args == {"await_result": True}


def test_nulls_of_strict_schemas_mean_not_given() -> None:
    """Strict schemas stay strict: `null` says that an optional argument is not given."""
    assert read(query="x", limit=None, strict=True).args == {"query": "x"}
    assert read(query="x", limit=None).args == {"query": "x", "limit": None}
    assert read(facts=ToolFacts(None), limit=None, strict=True).args == {"limit": None}


def test_identical_calls_have_one_identity() -> None:
    """Rule 15: the order of arguments does not matter, what they are does."""
    assert read(query="x", limit=1).identity() == read(4, limit=1, query="x").identity()
    assert read(query="x").identity() != read(query="y").identity()
    assert read(query="x", await_result=True).identity() == read(query="x").identity()
    assert read(query=object()).identity() is None


def nested(levels: int) -> list[Any]:
    """A list in a list in a list, around a null."""
    value: list[Any] = [None]
    for _ in range(levels):
        value = [value]
    return value


def test_arguments_nested_too_deep_have_no_identity() -> None:
    """Bad input: what JSON cannot write down joins no other call, and nothing is raised."""
    assert read(query=nested(5000)).identity() is None


def test_nulls_of_arguments_nested_too_deep_stay() -> None:
    """Bad input: reading a call never raises, however deep a model nests."""
    deep = nested(5000)
    call = read(query=deep, limit=None, strict=True)
    assert call.problem is None
    assert call.args["query"] is deep


@pytest.mark.parametrize(
    ("name", "control"), [("await_future", True), ("cancel_future", True), ("search", False)]
)
def test_control_calls_are_told_apart(name: str, control: bool) -> None:
    """Rule 12: calls to the runtime itself get no future."""
    assert is_control(ToolCall(name=name, args={}, id="c1", type="tool_call")) is control
