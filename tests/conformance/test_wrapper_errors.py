"""Errors in and under a wrapper.

| statement of `ToolNode` | test |
|---|---|
| a wrapper's error is handled by `handle_tool_errors` | `test_handled_error_of_the_wrapper` |
| ... of any type: types given there are those of tools | `test_types_do_not_choose` |
| ... by default and with `False` it is raised | `test_unhandled_error_of_the_wrapper` |
| `execute` gives the answer of a handled error | `test_execute_answers_handled_errors` |
| `execute` raises an unhandled one, which the wrapper may catch | \
`test_wrapper_catches_unhandled_errors` |
| ... or let go: it is then handled like the wrapper's own | `test_error_through_the_wrapper` |
| mistakes of the program raised by `execute` are handled likewise | \
`test_missing_state_under_a_wrapper` |
| other calls are answered beside it | `test_siblings` |
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import pytest
from langchain_core.messages import ToolMessage
from langchain_core.tools import tool
from langgraph.prebuilt import InjectedState

if TYPE_CHECKING:
    from tests.conformance.conftest import Way, Wrapped


@tool
def add(a: int, b: int) -> int:
    """Add two numbers."""
    return a + b


@tool
def fail() -> str:
    """Fail."""
    raise KeyError("of the tool")


ADD = ("add", {"a": 1, "b": 2})


def _error(content: str, name: str = "add", id_: str = "1") -> ToolMessage:
    return ToolMessage(content, name=name, tool_call_id=id_, status="error")


def _raising(request: Any) -> Any:
    yield request
    raise ValueError("of the wrapper")


def _passing(request: Any) -> Any:
    return (yield request)


BLOCKS: Any = [{"type": "text", "text": "handled"}]
SETTINGS: list[tuple[Any, Any]] = [
    (True, "Error: ValueError('of the wrapper')\n Please fix your mistakes."),
    ("Sorry.", "Sorry."),
    (ValueError, "Error: ValueError('of the wrapper')\n Please fix your mistakes."),
    ((ValueError, OSError), "Error: ValueError('of the wrapper')\n Please fix your mistakes."),
    (lambda error: f"handled {error!r}", "handled ValueError('of the wrapper')"),
    (lambda error: BLOCKS, BLOCKS),
]


@pytest.mark.parametrize(("setting", "content"), SETTINGS)
def test_handled_error_of_the_wrapper(
    wrapped: Wrapped, way: Way, setting: Any, content: str
) -> None:
    """The answer bears the name and id of the call."""
    node = wrapped([add], _raising, handle_tool_errors=setting)
    assert way.answer(node, ADD) == [_error(content)]


@pytest.mark.parametrize("setting", [KeyError, (KeyError, OSError)])
def test_types_do_not_choose(wrapped: Wrapped, way: Way, setting: Any) -> None:
    """A wrapper's error is handled even if it is of none of the types given."""
    node = wrapped([add], _raising, handle_tool_errors=setting)
    assert way.answer(node, ADD) == [
        _error("Error: ValueError('of the wrapper')\n Please fix your mistakes.")
    ]


@pytest.mark.parametrize("options", [{}, {"handle_tool_errors": False}])
def test_unhandled_error_of_the_wrapper(
    wrapped: Wrapped, way: Way, options: dict[str, Any]
) -> None:
    """The node raises what the wrapper raises."""
    with pytest.raises(ValueError, match=r"^of the wrapper"):
        way.answer(wrapped([add], _raising, **options), ADD)


def test_execute_answers_handled_errors(wrapped: Wrapped, way: Way) -> None:
    """A wrapper sees a handled error as a message."""
    seen: list[Any] = []

    def steps(request: Any) -> Any:
        answer = yield request
        seen.append((answer.status, answer.content))
        return answer

    node = wrapped([fail, add], steps, handle_tool_errors="Sorry.")
    way.answer(node, ("fail", {}))
    way.answer(node, ("add", {"a": "one"}))
    assert seen == [("error", "Sorry."), ("error", "Sorry.")]


@pytest.mark.parametrize("options", [{}, {"handle_tool_errors": ValueError}])
def test_wrapper_catches_unhandled_errors(
    wrapped: Wrapped, way: Way, options: dict[str, Any]
) -> None:
    """A wrapper can turn an error that the node doesn't handle into an answer."""

    def steps(request: Any) -> Any:
        try:
            answer = yield request
        except KeyError as error:
            return ToolMessage(f"caught {error}", tool_call_id=request.tool_call["id"])
        return answer

    assert way.answer(wrapped([fail], steps, **options), ("fail", {})) == [
        ToolMessage("caught 'of the tool'", tool_call_id="1")
    ]


def test_error_through_the_wrapper(wrapped: Wrapped, way: Way) -> None:
    """An error that the node doesn't handle for the tool becomes one of the wrapper."""
    node = wrapped([fail], _passing, handle_tool_errors=ValueError)
    assert way.answer(node, ("fail", {})) == [
        _error("Error: KeyError('of the tool')\n Please fix your mistakes.", "fail")
    ]
    with pytest.raises(KeyError, match="of the tool"):
        way.answer(wrapped([fail], _passing), ("fail", {}))


def test_missing_state_under_a_wrapper(wrapped: Wrapped, way: Way) -> None:
    """What would be raised without a wrapper is handled with one."""

    @tool
    def need(foo: Annotated[str, InjectedState("missing")]) -> str:
        """Need a field."""
        return foo

    assert way.answer(wrapped([need], _passing, handle_tool_errors=True), ("need", {})) == [
        _error("Error: KeyError('missing')\n Please fix your mistakes.", "need")
    ]
    with pytest.raises(KeyError, match="missing"):
        way.answer(wrapped([need], _passing), ("need", {}))


def test_siblings(wrapped: Wrapped, way: Way) -> None:
    """The calls whose wrapper raised nothing are answered as usual."""

    def steps(request: Any) -> Any:
        if request.tool_call["id"] == "2":
            raise ValueError("of the wrapper")
        return (yield request)

    node = wrapped([add], steps, handle_tool_errors="Sorry.")
    assert way.answer(node, ADD, ADD, ADD) == [
        ToolMessage("3", name="add", tool_call_id="1"),
        _error("Sorry.", id_="2"),
        ToolMessage("3", name="add", tool_call_id="3"),
    ]
