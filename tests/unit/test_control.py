"""Tests of the control tools."""

from __future__ import annotations

import threading
from typing import Any

import pytest
from langchain_core.messages import ToolCall
from langchain_core.utils.function_calling import convert_to_openai_tool

from langchain_asyncfc.control import control_tools, named_futures, timeout_of
from langchain_asyncfc.errors import InvalidControlCall


def call(name: str = "await_future", **args: Any) -> ToolCall:
    return ToolCall(name=name, args=args, id="c1", type="tool_call")


@pytest.mark.parametrize(
    ("futures", "named"),
    [
        (None, None),
        ([], None),
        (["future_2", "future_1"], [2, 1]),
        (("future_3",), [3]),
        ("future_2", [2]),
    ],
)
def test_futures_are_named_in_their_order(futures: Any, named: Any) -> None:
    """Rule 12: named futures, or all where none is named; a lone id is taken as well."""
    assert named_futures(call(futures=futures), 3) == named


def test_no_argument_names_none() -> None:
    """Rule 12: `await_future()` is about all older futures."""
    assert named_futures(call(), 3) is None
    assert timeout_of(call()) is None


@pytest.mark.parametrize("name", ["future_4", "future_0", "future_1.a", "first", 1, None])
def test_an_unknown_future_is_answered_with_the_known_ones(name: Any) -> None:
    """Rule 14: the error names what was given and the known futures."""
    with pytest.raises(InvalidControlCall) as raised:
        named_futures(call("cancel_future", futures=["future_1", name]), 3)
    expected = (
        f"cancel_future: unknown future {name!r}: the futures so far are future_1 to future_3."
    )
    assert str(raised.value) == expected


def test_ids_come_as_a_text_too() -> None:
    """Rule 12: models often write a list as text, as JSON or with commas."""
    assert named_futures(call(futures='["future_2", "future_1"]'), 3) == [2, 1]
    assert named_futures(call(futures="future_2, future_1"), 3) == [2, 1]


def nested(levels: int) -> list[Any]:
    """A list in a list in a list."""
    value: list[Any] = []
    for _ in range(levels):
        value = [value]
    return value


@pytest.mark.parametrize(
    ("futures", "shown"),
    [
        ("[" * 100_000, "'" + "[" * 59 + "…"),
        ("x" * 100_000, "'" + "x" * 59 + "…"),
        ([10**5000], "a value of type int"),
        ([nested(5000)], "a value of type list"),
    ],
    ids=["text nested too deep", "long text", "huge number", "list nested too deep"],
)
def test_what_cannot_be_written_out_is_refused_in_few_words(futures: Any, shown: str) -> None:
    """Rule 14: nothing that a model gives is raised, and an error stays short."""
    with pytest.raises(InvalidControlCall) as raised:
        named_futures(call(futures=futures), 3)
    assert str(raised.value) == (
        f"await_future: unknown future {shown}: the futures so far are future_1 to future_3."
    )


def test_futures_that_are_no_list_are_refused() -> None:
    """Bad input: the error says what was expected."""
    with pytest.raises(
        InvalidControlCall, match=r"must be a list of ids such as .*, not \{'a': 1\}"
    ):
        named_futures(call(futures={"a": 1}), 3)


@pytest.mark.parametrize(("given", "seconds"), [(0, 0.0), (1.5, 1.5), (None, None)])
def test_timeouts_are_seconds(given: Any, seconds: float | None) -> None:
    """Rule 12: an optional timeout in seconds."""
    assert timeout_of(call(timeout=given)) == seconds


@pytest.mark.parametrize(
    "given", [10**400, 1e300, float("inf")], ids=["huge number", "huge float", "infinite"]
)
def test_a_timeout_beyond_what_can_be_waited_is_the_longest(given: float) -> None:
    """Rule 12: a thread cannot wait for longer than `TIMEOUT_MAX`, nor a float hold more."""
    assert timeout_of(call(timeout=given)) == threading.TIMEOUT_MAX


@pytest.mark.parametrize("given", [-1, "3", True, float("nan"), [1]])
def test_other_timeouts_are_refused(given: Any) -> None:
    """Bad input: a timeout is a number that is not negative."""
    with pytest.raises(InvalidControlCall, match="'timeout' must be a number of seconds"):
        timeout_of(call(timeout=given))


def test_a_timeout_that_cannot_be_written_out_is_refused_in_few_words() -> None:
    """Rule 14: nothing that a model gives is raised, and an error stays short."""
    for given, shown in ((nested(5000), "list"), (-(10**5000), "int")):
        with pytest.raises(InvalidControlCall, match=f"not a value of type {shown}\\.$"):
            timeout_of(call(timeout=given))


def test_the_tools_are_bound_like_any_other() -> None:
    """Rule 12: two tools, and none to poll with."""
    wait, cancel = (convert_to_openai_tool(t)["function"] for t in control_tools())
    assert (wait["name"], cancel["name"]) == ("await_future", "cancel_future")
    assert set(wait["parameters"]["properties"]) == {"futures", "timeout"}
    assert cancel["parameters"]["required"] == ["futures"]


def test_the_strict_form_names_every_property() -> None:
    """Strict schemas stay strict: all properties required, and no others."""
    for tool in control_tools(strict=True):
        schema = convert_to_openai_tool(tool)["function"]["parameters"]
        assert set(schema["required"]) == set(schema["properties"])
        assert schema["additionalProperties"] is False
    assert "additionalProperties" not in control_tools()[0].args_schema  # type: ignore[operator]


def test_they_are_not_run_as_tools() -> None:
    """A control call that reaches a plain ToolNode says where it belongs."""
    with pytest.raises(TypeError, match="'await_future' is carried out by the node"):
        control_tools()[0].invoke({})
