"""What a prompt cache can reuse: a request's part that an earlier request began with too."""

from __future__ import annotations

import json
from collections.abc import Sequence

from langchain_core.messages import AIMessage, AnyMessage

CHARACTERS_PER_TOKEN = 4
"""The usual rule of thumb for English text."""


def tokens_of(message: AnyMessage) -> int:
    """Tokens of a message as it is sent."""
    size = len(str(message.content))
    if isinstance(message, AIMessage):
        size += sum(
            len(call["name"]) + len(json.dumps(call["args"])) for call in message.tool_calls
        )
    return -(-size // CHARACTERS_PER_TOKEN)


def _same(one: AnyMessage, other: AnyMessage) -> bool:
    if one is other:
        return True
    return (
        type(one) is type(other)
        and one.content == other.content
        and getattr(one, "tool_calls", None) == getattr(other, "tool_calls", None)
    )


def uncached(requests: Sequence[Sequence[AnyMessage]]) -> int:
    """Tokens of all requests of a conversation that no request before began with.

    A request's messages are compared with those of the one before, up to the first that differs:
    the history only ever grows, so an older request does not reach further.
    """
    total = 0
    before: Sequence[AnyMessage] = ()
    for request in requests:
        same = 0
        for one, other in zip(before, request, strict=False):
            if not _same(one, other):
                break
            same += 1
        total += sum(tokens_of(message) for message in request[same:])
        before = request
    return total
