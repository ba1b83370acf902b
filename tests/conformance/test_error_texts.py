"""What the model is told about its own mistakes, and who has the first word on an error.

| statement of `ToolNode` and of `BaseTool` | test |
|---|---|
| unknown tool: an error that names the tools there are | `test_unknown_tool` |
| ... whatever `handle_tool_errors` says | `test_unknown_tool_is_always_answered` |
| ... the other calls are run | `test_unknown_tool_among_others` |
| bad arguments: tool, arguments, a line for each mistake | `test_bad_arguments` |
| ... nested places, custom validators | `test_nested_place`, `test_validator` |
| ... the tool does not run | `test_tool_does_not_run` |
| ... injected arguments are neither shown nor reported | `test_injected_arguments_are_not_shown` |
| `ToolInvocationError` has name, arguments, source and errors | `test_invocation_error` |
| ... is a `ToolException` | `test_invocation_error` |
| ... is handled, or not, as any other by `handle_tool_errors` | \
`test_invocation_error_is_handled`, `test_invocation_error_is_raised` |
| a pydantic error in the tool's body counts as bad arguments | \
`test_validation_error_of_the_body` |
| surplus arguments are dropped, missing ones with defaults filled in | `test_lenient_arguments` |
| arguments are coerced by the schema | `test_lenient_arguments` |
| a tool's own `handle_tool_error` comes first | `test_own_tool_error_handler` |
| a tool's own `handle_validation_error` comes first | `test_own_validation_error_handler` |
| ... for `ToolException` only | `test_own_handler_is_for_tool_exceptions` |
| dict schemas are not validated | `test_dict_schema` |
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import pytest
from langchain_core.messages import ToolMessage
from langchain_core.tools import StructuredTool, ToolException, tool
from langgraph.prebuilt import InjectedState, ToolRuntime
from langgraph.prebuilt.tool_node import ToolInvocationError
from pydantic import BaseModel, ValidationError, field_validator

if TYPE_CHECKING:
    from tests.conformance.conftest import MakeNode, Way

NOT_AN_INT = "Input should be a valid integer, unable to parse string as an integer"


@tool
def add(a: int, b: int, c: int = 0) -> int:
    """Add two or three numbers."""
    return a + b + c


class Item(BaseModel):
    """A nested argument."""

    size: int

    @field_validator("size")
    @classmethod
    def _positive(cls, size: int) -> int:
        if size < 0:
            raise ValueError("size must not be negative")
        return size


@tool
def pack(items: list[Item]) -> int:
    """Pack the items."""
    return sum(item.size for item in items)


def _error(content: Any, name: str, id_: str = "1") -> ToolMessage:
    return ToolMessage(content, name=name, tool_call_id=id_, status="error")


def _invocation_text(name: str, kwargs: dict[str, Any], *lines: str) -> str:
    errors = "\n".join(lines)
    return (
        f"Error invoking tool '{name}' with kwargs {kwargs} with error:\n {errors}\n"
        " Please fix the error and try again."
    )


def test_unknown_tool(make_node: MakeNode, way: Way) -> None:
    """The text names the tool asked for and those there are, in their order."""
    assert way.answer(make_node([pack, add]), ("substract", {"a": 1})) == [
        _error("Error: substract is not a valid tool, try one of [pack, add].", "substract")
    ]


@pytest.mark.parametrize("setting", [False, True, KeyError, "Sorry."])
def test_unknown_tool_is_always_answered(make_node: MakeNode, way: Way, setting: Any) -> None:
    """An unknown tool is not an error in the sense of `handle_tool_errors`."""
    node = make_node([add], handle_tool_errors=setting)
    assert way.answer(node, ("other", {})) == [
        _error("Error: other is not a valid tool, try one of [add].", "other")
    ]


def test_unknown_tool_among_others(make_node: MakeNode, way: Way) -> None:
    """The calls that can be run are run."""
    calls: Any = ("add", {"a": 1, "b": 2}), ("other", {}), ("add", {"a": 3, "b": 4})
    assert way.answer(make_node([add]), *calls) == [
        ToolMessage("3", name="add", tool_call_id="1"),
        _error("Error: other is not a valid tool, try one of [add].", "other", "2"),
        ToolMessage("7", name="add", tool_call_id="3"),
    ]


@pytest.mark.parametrize(
    ("args", "lines"),
    [
        ({"a": "one", "b": 2}, [f"a: {NOT_AN_INT}"]),
        ({"a": 1}, ["b: Field required"]),
        ({}, ["a: Field required", "b: Field required"]),
        ({"a": "one", "d": 3}, [f"a: {NOT_AN_INT}", "b: Field required"]),
        ({"a": None, "b": 2}, ["a: Input should be a valid integer"]),
        ({"a": 1, "b": 2, "c": None}, ["c: Input should be a valid integer"]),
    ],
)
def test_bad_arguments(
    make_node: MakeNode, way: Way, args: dict[str, Any], lines: list[str]
) -> None:
    """The text has the arguments as given and a line for each mistake."""
    assert way.answer(make_node([add]), ("add", args)) == [
        _error(_invocation_text("add", args, *lines), "add")
    ]


def test_nested_place(make_node: MakeNode, way: Way) -> None:
    """The place of a mistake is a dotted path."""
    args = {"items": [{"size": 1}, {"size": "big"}]}
    assert way.answer(make_node([pack]), ("pack", args)) == [
        _error(_invocation_text("pack", args, f"items.1.size: {NOT_AN_INT}"), "pack")
    ]


def test_validator(make_node: MakeNode, way: Way) -> None:
    """A validator's own text is shown."""
    args = {"items": [{"size": -1}]}
    line = "items.0.size: Value error, size must not be negative"
    assert way.answer(make_node([pack]), ("pack", args)) == [
        _error(_invocation_text("pack", args, line), "pack")
    ]


def test_tool_does_not_run(make_node: MakeNode, way: Way) -> None:
    """Arguments are checked before anything is done."""
    ran: list[Any] = []

    @tool
    def act(n: int) -> str:
        """Act."""
        ran.append(n)
        return "done"

    way.answer(make_node([act]), ("act", {"n": "x"}), ("act", {"n": 2}))
    assert ran == [2]


@tool
def inject(
    n: int,
    runtime: ToolRuntime,
    state: Annotated[Any, InjectedState],
    foo: Annotated[int, InjectedState("foo")],
) -> int:
    """Take everything."""
    return n


def test_injected_arguments_are_not_shown(make_node: MakeNode, way: Way) -> None:
    """The model reads only of the arguments that it can mend."""
    node = make_node([inject])
    state = {"foo": "not an int"}
    assert way.answer(node, ("inject", {"n": "x"}), state=state) == [
        _error(_invocation_text("inject", {"n": "x"}, f"n: {NOT_AN_INT}"), "inject")
    ]
    # With a mistake in an injected argument alone there is nothing left to tell.
    assert way.answer(node, ("inject", {"n": 1}), state=state) == [
        _error(_invocation_text("inject", {"n": 1}), "inject")
    ]


def test_invocation_error(make_node: MakeNode, way: Way) -> None:
    """A handler gets the error with all that is known about it."""
    seen: list[ToolInvocationError] = []

    def handle(error: Any) -> str:
        seen.append(error)
        return "handled"

    handle.__annotations__["error"] = ToolInvocationError
    node = make_node([add], handle_tool_errors=handle)
    assert way.answer(node, ("add", {"a": "one", "b": 2})) == [_error("handled", "add")]
    [error] = seen
    assert isinstance(error, ToolException)
    assert error.tool_name == "add"
    assert error.tool_kwargs == {"a": "one", "b": 2}
    assert isinstance(error.source, ValidationError)
    assert error.__cause__ is error.source
    assert error.filtered_errors is not None
    assert [e["loc"] for e in error.filtered_errors] == [("a",)]
    assert error.message == str(error)


@pytest.mark.parametrize("setting", [True, ToolException, (ToolInvocationError, KeyError)])
def test_invocation_error_is_handled(make_node: MakeNode, way: Way, setting: Any) -> None:
    """Bad arguments are one more error: the default text with its `repr`."""
    [answer] = way.answer(make_node([add], handle_tool_errors=setting), ("add", {"a": 1}))
    text = _invocation_text("add", {"a": 1}, "b: Field required")
    assert answer == _error(
        f"Error: ToolInvocationError({text!r})\n Please fix your mistakes.", "add"
    )


def test_invocation_error_is_raised(make_node: MakeNode, way: Way) -> None:
    """A setting that leaves it out has it raised."""
    with pytest.raises(ToolInvocationError, match=r"^Error invoking tool 'add'"):
        way.answer(make_node([add], handle_tool_errors=KeyError), ("add", {"a": 1}))


def test_validation_error_of_the_body(make_node: MakeNode, way: Way) -> None:
    """The node can't tell where a pydantic error comes from."""

    @tool
    def build(n: int) -> str:
        """Build something."""
        return str(Item.model_validate({"size": "big"}))

    assert way.answer(make_node([build]), ("build", {"n": 1})) == [
        _error(_invocation_text("build", {"n": 1}, f"size: {NOT_AN_INT}"), "build")
    ]


def test_lenient_arguments(make_node: MakeNode, way: Way) -> None:
    """What the schema lets pass, passes."""

    @tool
    def show(a: int, b: str = "default", c: list[int] | None = None) -> str:
        """Show the arguments."""
        return repr((a, b, c))

    calls = ("show", {"a": "7", "surplus": 1}), ("show", {"a": 1, "b": "x", "c": ["2"]})
    assert [m.content for m in way.answer(make_node([show]), *calls)] == [
        "(7, 'default', None)",
        "(1, 'x', [2])",
    ]


@tool
def refuse(*, how: str = "tool") -> str:
    """Raise an error."""
    raise {"tool": ToolException, "value": ValueError}[how]("boom")


HANDLERS: list[tuple[Any, Any]] = [
    (True, "boom"),
    ("Sorry.", "Sorry."),
    (lambda error: f"own {error!r}", "own ToolException('boom')"),
    (lambda error: [{"type": "text", "text": str(error)}], [{"type": "text", "text": "boom"}]),
]


@pytest.mark.parametrize(("handler", "content"), HANDLERS)
@pytest.mark.parametrize("setting", [False, True])
def test_own_tool_error_handler(
    make_node: MakeNode, way: Way, handler: Any, content: Any, setting: bool
) -> None:
    """The tool's answer to its `ToolException` is final."""
    own = refuse.model_copy(update={"handle_tool_error": handler})
    node = make_node([own], handle_tool_errors=setting)
    assert way.answer(node, ("refuse", {})) == [_error(content, "refuse")]


def test_own_handler_is_for_tool_exceptions(make_node: MakeNode, way: Way) -> None:
    """Other errors go past it, to the node."""
    own = refuse.model_copy(update={"handle_tool_error": True})
    node = make_node([own], handle_tool_errors="The node's text.")
    assert way.answer(node, ("refuse", {"how": "value"})) == [_error("The node's text.", "refuse")]


@pytest.mark.parametrize(
    ("handler", "content"),
    [
        (True, "Tool input validation error"),
        ("Sorry.", "Sorry."),
        (lambda error: f"{error.error_count()} mistakes", "2 mistakes"),
    ],
)
def test_own_validation_error_handler(
    make_node: MakeNode, way: Way, handler: Any, content: str
) -> None:
    """The tool's answer to bad arguments is final."""
    own = add.model_copy(update={"handle_validation_error": handler})
    assert way.answer(make_node([own]), ("add", {})) == [_error(content, "add")]


def test_dict_schema(make_node: MakeNode, way: Way) -> None:
    """Arguments under a JSON schema reach the function as the model gave them."""
    schema = {
        "type": "object",
        "title": "show",
        "description": "Show.",
        "properties": {"n": {"type": "integer"}},
        "required": ["n"],
    }
    show = StructuredTool(
        name="show", description="Show.", args_schema=schema, func=lambda **kwargs: repr(kwargs)
    )
    calls: Any = ("show", {"n": 1}), ("show", {"n": "x", "more": [1]}), ("show", {})
    assert [m.content for m in way.answer(make_node([show]), *calls)] == [
        "{'n': 1}",
        "{'n': 'x', 'more': [1]}",
        "{}",
    ]
