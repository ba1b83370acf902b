"""Which errors become messages: `handle_tool_errors`.

| statement of `ToolNode` | test |
|---|---|
| `True`: all errors, default text | `test_true` |
| `str`: all errors, this text | `test_str` |
| an exception type: only such errors, default text | `test_exception_type` |
| a tuple of exception types: the same | `test_exception_types` |
| a callable: errors of its parameter's type, its text | `test_typed_callable` |
| ... a union of types, in both spellings | `test_union_callable` |
| ... without an annotation: all errors | `test_untyped_callable` |
| ... a method, a class and a static method | `test_method`, \
`test_unbound_method_like_function` |
| ... annotated with something else: an error that says so | `test_callable_of_no_exception`, \
`test_union_of_no_exceptions` |
| ... that raises: its error is the node's | `test_callable_that_raises` |
| `False`: all errors propagate | `test_false` |
| default: invocation errors answered, execution errors raised | `test_default` |
| the answer has status "error", the tool's name, the call's id | all |
| an unhandled error fails the graph | `test_unhandled_error_fails_the_graph` |
| other calls of the message are answered beside a handled error | `test_siblings` |
| sync and coroutine tools alike | `test_coroutine_tool` |
| what is no `Exception` is never handled | `test_base_exception`, \
`test_base_exception_of_a_coroutine` |
| anything else as `handle_tool_errors`: an error that says so | `test_unexpected_setting`, \
`test_none_is_false` |
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Union

import pytest
from langchain_core.messages import ToolMessage
from langchain_core.tools import ToolException, tool
from langgraph.prebuilt.tool_node import ToolInvocationError

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.conformance.conftest import Ask, MakeNode, Mode, Way

ERRORS: dict[str, type[Exception]] = {
    "value": ValueError,
    "key": KeyError,
    "type": TypeError,
    "tool": ToolException,
    "unicode": UnicodeError,
}


@tool
def fail(kind: str) -> str:
    """Raise an error of this kind."""
    raise ERRORS[kind]("boom")


@tool
def add(a: int, b: int) -> int:
    """Add two numbers."""
    return a + b


def _default_text(error: Exception) -> str:
    return f"Error: {error!r}\n Please fix your mistakes."


def _check(
    way: Way, node: Any, handled: dict[str, str], raised: dict[str, type[Exception]]
) -> None:
    """Calls `fail` once for each kind and compares what becomes of its error."""
    for kind, text in handled.items():
        assert way.answer(node, ("fail", {"kind": kind})) == [
            ToolMessage(text, name="fail", tool_call_id="1", status="error")
        ]
    for kind, error in raised.items():
        with pytest.raises(error, match="boom") as caught:
            way.answer(node, ("fail", {"kind": kind}))
        assert type(caught.value) is error


def test_true(make_node: MakeNode, way: Way) -> None:
    """Each error becomes a message with its `repr`."""
    handled = {kind: _default_text(error("boom")) for kind, error in ERRORS.items()}
    _check(way, make_node([fail], handle_tool_errors=True), handled, {})


def test_str(make_node: MakeNode, way: Way) -> None:
    """Each error becomes the given text."""
    _check(way, make_node([fail], handle_tool_errors="Sorry."), dict.fromkeys(ERRORS, "Sorry."), {})


def test_exception_type(make_node: MakeNode, way: Way) -> None:
    """Errors of the type and of its subclasses become messages, others are raised."""
    _check(
        way,
        make_node([fail], handle_tool_errors=ValueError),
        {
            "value": _default_text(ValueError("boom")),
            "unicode": _default_text(UnicodeError("boom")),
        },
        {"type": TypeError, "key": KeyError},
    )


def test_exception_types(make_node: MakeNode, way: Way) -> None:
    """Errors of any of the types become messages, others are raised."""
    _check(
        way,
        make_node([fail], handle_tool_errors=(ValueError, ToolException)),
        {
            "value": _default_text(ValueError("boom")),
            "tool": _default_text(ToolException("boom")),
        },
        {"type": TypeError},
    )


def test_typed_callable(make_node: MakeNode, way: Way) -> None:
    """The annotation of the parameter chooses the errors."""

    def handle(error: ValueError) -> str:
        return f"handled {error!r}"

    _check(
        way,
        make_node([fail], handle_tool_errors=handle),
        {"value": "handled ValueError('boom')", "unicode": "handled UnicodeError('boom')"},
        {"type": TypeError},
    )


def _union(error: Any) -> str:
    return f"handled {error!r}"


def _bar(error: Any) -> str:
    return f"handled {error!r}"


# Set on the functions as objects: `ToolNode` looks for the union in the signature itself, where
# postponed annotations are strings.
_union.__annotations__["error"] = Union[ValueError, KeyError]  # noqa: UP007
_bar.__annotations__["error"] = ValueError | KeyError


@pytest.mark.parametrize("handle", [_union, _bar])
def test_union_callable(make_node: MakeNode, way: Way, handle: Callable[..., str]) -> None:
    """Each type of a union is handled."""
    _check(
        way,
        make_node([fail], handle_tool_errors=handle),
        {"value": "handled ValueError('boom')", "key": "handled KeyError('boom')"},
        {"type": TypeError},
    )


def test_untyped_callable(make_node: MakeNode, way: Way) -> None:
    """Without an annotation, all errors are handled."""
    handled = {kind: f"handled {error('boom')!r}" for kind, error in ERRORS.items()}
    node = make_node([fail], handle_tool_errors=lambda error: f"handled {error!r}")
    _check(way, node, handled, {})


class Handlers:
    """Handlers of each kind of method."""

    def method(self, error: ValueError) -> str:
        """Handle as a method."""
        return f"handled {error!r}"

    @classmethod
    def of_class(cls, error: ValueError) -> str:
        """Handle as a class method."""
        return f"handled {error!r}"

    @staticmethod
    def static(error: ValueError) -> str:
        """Handle as a static method."""
        return f"handled {error!r}"


@pytest.mark.parametrize("handle", [Handlers().method, Handlers.of_class, Handlers.static])
def test_method(make_node: MakeNode, way: Way, handle: Callable[..., str]) -> None:
    """Methods are read like functions, past `self`."""
    _check(
        way,
        make_node([fail], handle_tool_errors=handle),
        {"value": "handled ValueError('boom')"},
        {"type": TypeError},
    )


def test_unbound_method_like_function(make_node: MakeNode, way: Way) -> None:
    """A first of two parameters named `self` is passed over when types are read."""

    def handle(self: ValueError, error: str = "") -> str:
        return f"handled {self!r}"

    handle.__annotations__ = {"error": ValueError}
    _check(
        way,
        make_node([fail], handle_tool_errors=handle),
        {"value": "handled ValueError('boom')"},
        {"type": TypeError},
    )


def test_callable_that_raises(make_node: MakeNode, way: Way) -> None:
    """A handler may raise the error on, or another one."""

    def handle(error: Exception) -> str:
        if isinstance(error, ValueError):
            raise error
        raise RuntimeError("boom of the handler")

    node = make_node([fail], handle_tool_errors=handle)
    _check(way, node, {}, {"value": ValueError, "type": RuntimeError})


def test_callable_of_no_exception(make_node: MakeNode, way: Way) -> None:
    """An annotation that is no exception is refused when the first error is to be handled."""

    def handle(error: int) -> str:
        return "handled"

    node = make_node([fail], handle_tool_errors=handle)
    with pytest.raises(ValueError, match=r"^Arbitrary types are not supported"):
        way.answer(node, ("fail", {"kind": "value"}))


def test_union_of_no_exceptions(make_node: MakeNode, way: Way) -> None:
    """The same for a union with something else in it."""

    def handle(error: Any) -> str:
        return "handled"

    handle.__annotations__["error"] = ValueError | int
    node = make_node([fail], handle_tool_errors=handle)
    with pytest.raises(ValueError, match=r"^All types in the error handler error annotation"):
        way.answer(node, ("fail", {"kind": "value"}))


def test_false(make_node: MakeNode, way: Way) -> None:
    """No error is handled, not even one of bad arguments."""
    node = make_node([fail, add], handle_tool_errors=False)
    _check(way, node, {}, ERRORS)
    with pytest.raises(ToolInvocationError, match="Error invoking tool 'add'"):
        way.answer(node, ("add", {"a": "one"}))


def test_default(make_node: MakeNode, way: Way) -> None:
    """Errors of execution are raised, errors of invocation answered."""
    node = make_node([fail, add])
    _check(way, node, {}, ERRORS)
    [answer] = way.answer(node, ("add", {"a": "one", "b": 2}))
    assert answer.status == "error"
    assert answer.content.startswith("Error invoking tool 'add' with kwargs")


def test_unhandled_error_fails_the_graph(
    make_node: MakeNode, mode: Mode, ask: Ask, graph_of: Any
) -> None:
    """The very error object comes out of the graph."""
    error = ValueError("boom")

    @tool
    def raising() -> str:
        """Raise."""
        raise error

    with pytest.raises(ValueError, match="boom") as raised:
        mode.call(graph_of(make_node([raising])), {"messages": [ask(("raising", {}))]})
    assert raised.value is error


def test_siblings(make_node: MakeNode, way: Way) -> None:
    """A handled error is one answer among the others, in its place."""
    node = make_node([fail, add], handle_tool_errors=True)
    calls = ("add", {"a": 1, "b": 2}), ("fail", {"kind": "key"}), ("add", {"a": 3, "b": 4})
    assert way.answer(node, *calls) == [
        ToolMessage("3", name="add", tool_call_id="1"),
        ToolMessage(_default_text(KeyError("boom")), name="fail", tool_call_id="2", status="error"),
        ToolMessage("7", name="add", tool_call_id="3"),
    ]


def test_coroutine_tool(make_node: MakeNode, async_way: Way) -> None:
    """Coroutine tools fail like others."""

    @tool("fail")
    async def fail_later(kind: str) -> str:
        """Raise an error of this kind."""
        raise ERRORS[kind]("boom")

    _check(
        async_way,
        make_node([fail_later], handle_tool_errors=ValueError),
        {"value": _default_text(ValueError("boom"))},
        {"type": TypeError},
    )


def test_unexpected_setting(make_node: MakeNode, way: Way) -> None:
    """A setting of no known form is refused when the first error is to be handled."""
    node = make_node([fail], handle_tool_errors=42)
    with pytest.raises(ValueError, match=r"^Got unexpected type of `handle_tool_error`"):
        way.answer(node, ("fail", {"kind": "value"}))


def test_none_is_false(make_node: MakeNode, way: Way) -> None:
    """Nothing given as the setting disables handling like `False`."""
    _check(way, make_node([fail], handle_tool_errors=None), {}, ERRORS)


class Stop(BaseException):
    """What no handler of errors may take for an error."""


def test_base_exception(make_node: MakeNode, way: Way) -> None:
    """It leaves the node whatever the setting."""

    @tool
    def stop() -> str:
        """Stop everything."""
        raise Stop

    with pytest.raises(Stop):
        way.answer(make_node([stop], handle_tool_errors=True), ("stop", {}))


def test_base_exception_of_a_coroutine(make_node: MakeNode, async_way: Way) -> None:
    """The same for a coroutine tool."""

    @tool
    async def stop() -> str:
        """Stop everything."""
        raise Stop

    with pytest.raises(Stop):
        async_way.answer(make_node([stop], handle_tool_errors=True), ("stop", {}))
