"""Tests of the control tools."""

from __future__ import annotations

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


@pytest.mark.parametrize("given", [-1, "3", True, float("nan"), [1]])
def test_other_timeouts_are_refused(given: Any) -> None:
    """Bad input: a timeout is a number that is not negative."""
    with pytest.raises(InvalidControlCall, match="'timeout' must be a number of seconds"):
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
