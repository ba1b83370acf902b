"""Tests of values that are put into arguments, where a developer's object raises."""

from __future__ import annotations

from typing import Any

import pytest
from langchain_core.messages import ToolCall

from langchain_asyncfc.arguments import Values
from langchain_asyncfc.calls import Call, read_call
from langchain_asyncfc.effects import Effects
from langchain_asyncfc.errors import ReferencePathError, UnfitValue, UnknownReference
from langchain_asyncfc.toolbox import ToolFacts


class Broken:
    """An object that has no text."""

    def __str__(self) -> str:
        raise ZeroDivisionError


class Items(list[Any]):
    """A list that cannot be gone through."""

    def __iter__(self) -> Any:
        raise ZeroDivisionError


def call(does: Effects | None = None, **args: Any) -> Call:
    """A call that may refer to two futures."""
    tool_call = ToolCall(name="use", args=args, id="c3", type="tool_call")
    return read_call(3, tool_call, ToolFacts(None, does or Effects()))


def values(*earlier: Any) -> Values:
    """The values of earlier futures."""
    made = Values({})

    def value(ordinal: int) -> Any:
        try:
            return earlier[ordinal - 1]
        except IndexError:
            raise KeyError(ordinal) from None

    made.earlier = value
    return made


def test_a_value_that_cannot_be_read_does_not_fit() -> None:
    """Whatever an object raises becomes what the model is told: what it was, and what to do."""
    with pytest.raises(UnfitValue) as raised:
        values(Broken()).final(call(x="see ${future_1}", y="future_1"))
    assert str(raised.value) == (
        "future_1, future_1 cannot be used: to read it raised ZeroDivisionError. "
        "Refer to another part of it, or write the value itself."
    )


def test_other_problems_are_told_as_they_are() -> None:
    """A path that is not there, or a value that was not kept, has words of its own."""
    with pytest.raises(ReferencePathError, match=r"future_1\.a cannot be read"):
        values(7).final(call(x="future_1.a"))
    with pytest.raises(UnknownReference, match="no value of future_2 is kept"):
        values(7).final(call(x="future_2"))


@pytest.mark.parametrize("value", [Broken(), Items("ab")])
@pytest.mark.parametrize("reference", ["future_1", "x${future_1}"])
def test_a_resource_that_cannot_be_named_covers_the_parent(value: Any, reference: str) -> None:
    """Rule 3: what is not known of an argument is not needed to order its call."""
    reads = Effects(reads="fs:/{dir}/{x}")
    access = values(value).access(call(reads, dir="src", x=reference))
    assert access is not None
    assert access.reads == (("fs:", "src"),)
