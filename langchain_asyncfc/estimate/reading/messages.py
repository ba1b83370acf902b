"""One message of a chat, in whichever form it was saved.

Read are: LangChain's own JSON (`dumpd`: `{"lc": 1, "id": [..., "AIMessage"], "kwargs": {...}}`),
`message_to_dict` (`{"type": "ai", "data": {...}}`), `model_dump` (`{"type": "ai", ...}`), and what
OpenAI's and Anthropic's chat endpoints take and give (`{"role": "assistant", ...}`).
"""

from __future__ import annotations

import ast
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

__all__ = [
    "Called",
    "Message",
    "as_text",
    "looks_like_message",
    "read_arguments",
    "read_message",
    "unused",
]

_ROLES: Final = {
    "ai": "ai",
    "aimessage": "ai",
    "aimessagechunk": "ai",
    "assistant": "ai",
    "model": "ai",
    "tool": "tool",
    "toolmessage": "tool",
    "toolmessagechunk": "tool",
    "function": "tool",
    "functionmessage": "tool",
    "human": "human",
    "humanmessage": "human",
    "humanmessagechunk": "human",
    "user": "human",
    "system": "system",
    "systemmessage": "system",
    "developer": "system",
}


@dataclass(frozen=True, slots=True)
class Called:
    """A tool call in a message."""

    id: str
    tool: str
    args: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Message:
    """A message, as far as an estimate needs it.

    Attributes:
        role: `"ai"`, `"tool"`, `"human"` or `"system"`.
        text: Its text; that of a result, if it answers a call.
        calls: The calls that it makes.
        answers: The id of the call that it answers.
        failed: Whether it is the error of a tool.
        output_tokens: Tokens that were decoded for it, if that is said.
        model: The model's name, if that is said.
        results: By call id, results that stand in a user's message (Anthropic's form).
        fields: All that was saved, its `kwargs` or `data` taken out.
    """

    role: str
    text: str = ""
    calls: tuple[Called, ...] = ()
    answers: str = ""
    failed: bool = False
    output_tokens: int | None = None
    model: str = ""
    results: Mapping[str, str] = field(default_factory=dict)
    fields: Mapping[str, Any] = field(default_factory=dict)


def looks_like_message(data: Any) -> bool:
    """Whether something saved is one message."""
    return _role(data) is not None


def _role(data: Any) -> str | None:
    if not isinstance(data, Mapping):
        return None
    name = data.get("role") or data.get("type")
    if "lc" in data and isinstance(data.get("id"), list) and data["id"]:
        name = data["id"][-1]
    return _ROLES.get(str(name).lower())


def read_message(data: Any) -> Message | None:
    """Read one message; `None` if it is none."""
    role = _role(data)
    if role is None:
        return None
    fields: dict[str, Any] = {k: v for k, v in data.items() if k not in ("kwargs", "data")}
    for inner in ("kwargs", "data"):
        if isinstance(data.get(inner), Mapping):
            fields.update(data[inner])
    content = fields.get("content")
    return Message(
        role,
        as_text(content),
        tuple(_calls(fields, content)),
        str(fields.get("tool_call_id") or ""),
        fields.get("status") == "error",
        _tokens(fields),
        _model(fields),
        dict(_results(content)),
        fields,
    )


def as_text(content: Any) -> str:
    """The text of a content: a string, blocks of which some are text, or data as JSON."""
    if content is None:
        return ""
    if isinstance(content, str):
        return content
    if isinstance(content, list) and any(isinstance(b, Mapping) and "type" in b for b in content):
        texts = [b.get("text") for b in content if isinstance(b, Mapping)]
        return "".join(str(text) for text in texts if isinstance(text, str))
    return json.dumps(content, default=str, ensure_ascii=False)


def read_arguments(given: Any) -> dict[str, Any]:
    """The arguments of a call, from an object, its JSON or its Python text."""
    if isinstance(given, str):
        for parse in (json.loads, ast.literal_eval):
            try:
                given = parse(given)
                break
            except (ValueError, SyntaxError, RecursionError, MemoryError):
                continue
    if isinstance(given, Mapping):
        return {str(name): value for name, value in given.items()}
    return {} if given in (None, "") else {"input": given}


def unused(call: str, used: set[str]) -> str:
    """The id of a call, or one like it: some models number the calls of each message anew."""
    own, more = call, 1
    while own in used:
        more += 1
        own = f"{call} ({more})"
    used.add(own)
    return own


def _calls(fields: Mapping[str, Any], content: Any) -> Iterator[Called]:
    more = fields.get("additional_kwargs")
    raw = fields.get("tool_calls") or (
        more.get("tool_calls") if isinstance(more, Mapping) else None
    )
    blocks = content if isinstance(content, list) else []
    if not raw:
        raw = [b for b in blocks if isinstance(b, Mapping) and b.get("type") in _CALL_BLOCKS]
    for number, one in enumerate(raw if isinstance(raw, list) else []):
        if not isinstance(one, Mapping):
            continue
        function = one.get("function")
        named = function if isinstance(function, Mapping) else one
        args = next((named[k] for k in ("args", "arguments", "input") if k in named), None)
        made = str(one.get("id") or one.get("call_id") or f"{fields.get('id', '')}#{number}")
        yield Called(made, str(named.get("name") or "?"), read_arguments(args))


_CALL_BLOCKS: Final = ("tool_use", "tool_call", "function_call")


def _results(content: Any) -> Iterator[tuple[str, str]]:
    for block in content if isinstance(content, list) else []:
        if isinstance(block, Mapping) and block.get("type") == "tool_result":
            yield str(block.get("tool_use_id") or ""), as_text(block.get("content"))


def _tokens(fields: Mapping[str, Any]) -> int | None:
    metadata = fields.get("response_metadata")
    usages = [fields.get("usage_metadata"), fields.get("usage")]
    if isinstance(metadata, Mapping):
        usages += [metadata.get("token_usage"), metadata.get("usage")]
    for usage in usages:
        for name in ("output_tokens", "completion_tokens"):
            if isinstance(usage, Mapping) and isinstance(usage.get(name), int):
                return int(usage[name])
    return None


def _model(fields: Mapping[str, Any]) -> str:
    metadata = fields.get("response_metadata")
    for place in (fields, metadata if isinstance(metadata, Mapping) else {}):
        for name in ("model_name", "model"):
            if isinstance(place.get(name), str):
                return str(place[name])
    return ""
