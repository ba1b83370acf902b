"""What a model can know from the messages that it was sent: its calls and their results so far.

Nothing is remembered between requests. A call whose tool message is a placeholder counts as
unfinished, and its future's id is taken from the placeholder's text, as a model would. Its result
may come in the placeholder's place, or behind the content of a later tool message, after the
future's id in brackets.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from examples.scripted.wire import AssistantMessage, Message, ToolMessage, text_of

if TYPE_CHECKING:
    from collections.abc import Sequence

CONTROL_TOOLS = frozenset({"await_future", "cancel_future"})
"""Calls about futures, which say nothing about the project."""

_PLACEHOLDER = re.compile(r"^\W*(future_\d+)\W+is\s+(?:still\s+)?(?:running|waiting|pending)\b")
_RIDER = re.compile(r"(?:\A|\n\n)\[(future_\d+)\] ")


@dataclass(frozen=True, slots=True)
class Call:
    """A tool call and what is known of it.

    Attributes:
        position: Its place among all calls of the conversation, from 0.
        name: The tool.
        arguments: Its arguments.
        result: The result's text, or `None` while there is only a placeholder.
        future: The future's id, if the call's tool message is a placeholder.
    """

    position: int
    name: str
    arguments: dict[str, Any]
    result: str | None
    future: str | None = None

    @property
    def pending(self) -> bool:
        """Whether the result is still to come."""
        return self.result is None

    @property
    def failed(self) -> bool:
        """Whether the tool answered with an error."""
        return self.result is not None and self.result.startswith("Error")


def placeholder(content: str) -> str | None:
    """Return the future's id if a tool message's text is a placeholder, else `None`."""
    match = _PLACEHOLDER.match(content)
    return match[1] if match else None


def calls_of(messages: Sequence[Message]) -> list[Call]:
    """Return all calls to the project's tools, in the order in which they were made."""
    contents: dict[str, str] = {}
    results: dict[str, str] = {}
    for message in messages:
        if isinstance(message, ToolMessage):
            own, *riders = _RIDER.split(text_of(message.content))
            contents[message.tool_call_id] = own
            results.update(zip(riders[::2], riders[1::2], strict=True))
    calls: list[Call] = []
    for message in messages:
        for call in (message.tool_calls or ()) if isinstance(message, AssistantMessage) else ():
            if call.function.name in CONTROL_TOOLS:
                continue
            content = contents[call.id]
            future = placeholder(content)
            result = results.get(future) if future else content
            arguments = json.loads(call.function.arguments)
            calls.append(Call(len(calls), call.function.name, arguments, result, future))
    return calls
