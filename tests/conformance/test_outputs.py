"""What a tool's return value becomes.

| statement of `ToolNode` and of `BaseTool` | test |
|---|---|
| text stays; JSON values become JSON text, other characters kept | `test_content` |
| what is not JSON becomes its `str` | `test_content` |
| content blocks stay; a tuple of them becomes a list | `test_content` |
| a list of strings becomes JSON text; an empty list stays | `test_content` |
| `content_and_artifact` | `test_content_and_artifact`, `test_artifact_keeps_its_identity` |
| `content_and_artifact` without a pair: an error that says so | `test_not_a_pair` |
| the answer has name, call id, status "success", nothing else | `test_the_whole_message` |
| a `ToolMessage` made by the tool stays: id, name, status, artifact | \
`test_own_message_stays`, `test_own_message_is_the_same_object` |
| its content is converted like any other | `test_content_of_an_own_message_is_converted` |
| a list of `ToolMessage`s from one tool | `test_list_of_messages` |
| such a list needs exactly one message that answers the call | \
`test_list_needs_one_answer` |
| a list of messages and other things is no message content: its text | \
`test_mixed_list_becomes_text` |
| two calls of one tool have an answer each | `test_same_tool_twice` |
| equal values, with and without a reducer | `test_id_of_the_answer` |
"""

from __future__ import annotations

import datetime as dt
import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any

import pytest
from langchain_core.messages import ToolMessage
from langchain_core.tools import InjectedToolCallId, tool
from pydantic import BaseModel

if TYPE_CHECKING:
    from tests.conformance.conftest import Ask, MakeNode, Mode, Way


class Point(BaseModel):
    """A pydantic value."""

    x: int = 1
    y: int = 2


@dataclass
class Pair:
    """A dataclass value."""

    left: int = 1


class Odd:
    """A value that JSON doesn't know."""

    def __str__(self) -> str:
        """Say something else than the default."""
        return "odd one"


TEXT = {"type": "text", "text": "hello"}
IMAGE = {"type": "image_url", "image_url": {"url": "https://example.org/a.png"}}

VALUES: list[tuple[Any, Any]] = [
    ("plain", "plain"),
    ("", ""),
    ("42", "42"),
    ('{"already": "json"}', '{"already": "json"}'),
    ("grüße 你好", "grüße 你好"),
    (42, "42"),
    (1.5, "1.5"),
    (True, "true"),
    (None, "null"),
    ({"a": "ü", "b": [1, None]}, '{"a": "ü", "b": [1, null]}'),
    ([1, 2], "[1, 2]"),
    ((1, 2), "[1, 2]"),
    ([[1], [2]], "[[1], [2]]"),
    ([], []),
    (["ä", "b"], '["ä", "b"]'),
    ([TEXT, IMAGE], [TEXT, IMAGE]),
    ((TEXT, IMAGE), [TEXT, IMAGE]),
    ([TEXT, "more"], json.dumps([TEXT, "more"])),
    ([{"type": "unheard_of"}], '[{"type": "unheard_of"}]'),
    ([{"no": "type"}], '[{"no": "type"}]'),
    (Odd(), "odd one"),
    (Point(), "x=1 y=2"),
    (Pair(), "Pair(left=1)"),
    (b"bytes", "b'bytes'"),
    ({1}, "{1}"),
    (dt.date(2024, 1, 2), "2024-01-02"),
    ({"when": dt.date(2024, 1, 2)}, "{'when': datetime.date(2024, 1, 2)}"),
    (float("inf"), "Infinity"),
]


def _returning(value: Any, **options: Any) -> Any:
    @tool(**options)
    def give() -> Any:
        """Give the value."""
        return value

    return give


@pytest.mark.parametrize(("value", "content"), VALUES, ids=lambda value: repr(value)[:25])
def test_content(make_node: MakeNode, way: Way, value: Any, content: Any) -> None:
    """Each kind of value has its content."""
    assert way.answer(make_node([_returning(value)]), ("give", {})) == [
        ToolMessage(content, name="give", tool_call_id="1")
    ]


@pytest.mark.parametrize(("value", "content"), VALUES[:12], ids=lambda value: repr(value)[:25])
def test_content_and_artifact(make_node: MakeNode, way: Way, value: Any, content: Any) -> None:
    """The first of the pair is the content, the second the artifact, unconverted."""
    give = _returning((value, {"rows": [1, 2]}), response_format="content_and_artifact")
    assert way.answer(make_node([give]), ("give", {})) == [
        ToolMessage(content, artifact={"rows": [1, 2]}, name="give", tool_call_id="1")
    ]


def test_artifact_keeps_its_identity(make_node: MakeNode, mode: Mode, ask: Ask) -> None:
    """An artifact is any object, and is not copied."""
    artifact = Odd()
    give = _returning(("text", artifact), response_format="content_and_artifact")
    [answer] = mode.bare(make_node([give]), [ask(("give", {}))])
    assert answer.artifact is artifact


@pytest.mark.parametrize("value", ["text", ("a", "b", "c"), None])
def test_not_a_pair(make_node: MakeNode, way: Way, value: Any) -> None:
    """What is not a pair is the tool's error, handled like any of its errors."""
    give = _returning(value, response_format="content_and_artifact")
    [answer] = way.answer(make_node([give], handle_tool_errors=True), ("give", {}))
    assert answer.status == "error"
    assert "a two-tuple of the message content and raw tool output is expected" in answer.content
    with pytest.raises(ValueError, match="two-tuple"):
        way.answer(make_node([give]), ("give", {}))


def test_the_whole_message(make_node: MakeNode, mode: Mode, ask: Ask) -> None:
    """No field but the ordinary ones is set."""
    [answer] = mode.bare(make_node([_returning("text")]), [ask(("give", {}))])
    assert answer.model_dump() == {
        "content": "text",
        "additional_kwargs": {},
        "response_metadata": {},
        "type": "tool",
        "name": "give",
        "id": None,
        "tool_call_id": "1",
        "artifact": None,
        "status": "success",
    }


@tool
def own(
    content: Any, tool_call_id: Annotated[str, InjectedToolCallId], status: Any = "success"
) -> ToolMessage:
    """Make a message."""
    return ToolMessage(
        content,
        tool_call_id=tool_call_id,
        name="a name of its own",
        status=status,
        artifact={"kept": True},
        additional_kwargs={"also": "kept"},
    )


@pytest.mark.parametrize("status", ["success", "error"])
def test_own_message_stays(make_node: MakeNode, way: Way, status: Any) -> None:
    """A tool that makes its message has the last word on it."""
    assert way.answer(make_node([own]), ("own", {"content": "text", "status": status})) == [
        ToolMessage(
            "text",
            tool_call_id="1",
            name="a name of its own",
            status=status,
            artifact={"kept": True},
            additional_kwargs={"also": "kept"},
        )
    ]


def test_own_message_is_the_same_object(make_node: MakeNode, mode: Mode, ask: Ask) -> None:
    """The object itself is answered, with its id and with no name put on it."""
    message = ToolMessage("text", tool_call_id="1", id="mine")
    [answer] = mode.bare(make_node([_returning(message)]), [ask(("give", {}))])
    assert answer is message
    assert answer.name is None
    assert answer.id == "mine"


def test_content_of_an_own_message_is_converted(make_node: MakeNode, way: Way) -> None:
    """A list of strings, which a message may hold, becomes JSON text here too."""
    [answer] = way.answer(make_node([own]), ("own", {"content": ["a", "b"]}))
    assert answer.content == '["a", "b"]'
    [answer] = way.answer(make_node([own]), ("own", {"content": [TEXT]}))
    assert answer.content == [TEXT]


def test_list_of_messages(make_node: MakeNode, way: Way) -> None:
    """All messages of the list are answered in its order, one of them for the call."""

    @tool
    def several(tool_call_id: Annotated[str, InjectedToolCallId]) -> Any:
        """Answer twice."""
        return [
            ToolMessage(["x", "y"], tool_call_id="another"),
            ToolMessage("mine", tool_call_id=tool_call_id),
        ]

    assert way.answer(make_node([several, own]), ("several", {}), ("own", {"content": "z"}))[
        :2
    ] == [
        ToolMessage('["x", "y"]', tool_call_id="another"),
        ToolMessage("mine", tool_call_id="1"),
    ]


@pytest.mark.parametrize("ids", [["other"], ["1", "1"], ["other", "1", "1"]])
def test_list_needs_one_answer(make_node: MakeNode, way: Way, ids: list[str]) -> None:
    """None or two messages for the call are the tool's error."""
    give = _returning([ToolMessage("m", tool_call_id=id_) for id_ in ids])
    [answer] = way.answer(make_node([give], handle_tool_errors=True), ("give", {}))
    assert answer == ToolMessage(
        f'Error: ValueError("Tool give returned a list with {ids.count("1")} messages bound to '
        "tool_call_id '1'; expected exactly one terminating ToolMessage.\")\n"
        " Please fix your mistakes.",
        name="give",
        tool_call_id="1",
        status="error",
    )
    with pytest.raises(ValueError, match="expected exactly one terminating ToolMessage"):
        way.answer(make_node([give]), ("give", {}))


def test_mixed_list_becomes_text(make_node: MakeNode, way: Way) -> None:
    """A list of a message and something else is a value like any other that is not JSON."""
    give = _returning([ToolMessage("m", tool_call_id="1"), "text"])
    [answer] = way.answer(make_node([give]), ("give", {}))
    assert answer.content.startswith("[ToolMessage(content='m'")


def test_same_tool_twice(make_node: MakeNode, way: Way) -> None:
    """Calls are told apart by their ids, also when all else is equal."""
    calls = [("own", {"content": "same"})] * 2
    assert [m.tool_call_id for m in way.answer(make_node([own]), *calls)] == ["1", "2"]


def test_id_of_the_answer(make_node: MakeNode, mode: Mode, ask: Ask, graph_of: Any) -> None:
    """The node sets no message id; the reducer does, one for each."""
    node = make_node([_returning("text")])
    message = ask(("give", {}), ("give", {}))
    assert [m.id for m in mode.bare(node, [message])] == [None, None]
    ids = {m.id for m in mode.call(graph_of(node), {"messages": [message]})["messages"]}
    assert len(ids) == 3
    assert None not in ids
