"""Anthropic's Messages."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

from tests.integration.providers.conversation import (
    Asked,
    Assistant,
    Entry,
    RefusedError,
    Reply,
    Result,
    User,
    View,
    only_keys,
    require,
)
from tests.integration.providers.server import Protocol, event, pieces
from tests.integration.providers.tool_schemas import check_json_schema, check_name

_REQUEST = frozenset(
    {"model", "max_tokens", "messages", "system", "tools", "tool_choice", "stream", "thinking"}
    | {"temperature", "metadata", "stop_sequences", "top_k", "top_p"}
)
_BLOCK = {
    "text": frozenset({"type", "text", "cache_control", "citations"}),
    "tool_use": frozenset({"type", "id", "name", "input", "cache_control"}),
    "tool_result": frozenset({"type", "tool_use_id", "content", "is_error", "cache_control"}),
    "thinking": frozenset({"type", "thinking", "signature"}),
}
_ROLE_BLOCKS = {
    "user": frozenset({"text", "tool_result"}),
    "assistant": frozenset({"text", "tool_use", "thinking"}),
}
_ID = re.compile(r"[a-zA-Z0-9_-]+")


class Messages(Protocol):
    """`POST /v1/messages`."""

    def read(self, path: str, headers: dict[str, str], body: dict[str, Any]) -> View:
        """Check a request and read the conversation in it."""
        require(path == "/v1/messages", f"Not found: {path}")
        key = headers.get("x-api-key") or headers.get("authorization")
        require(key, "x-api-key header is required")
        require(headers.get("anthropic-version"), "anthropic-version: header is required")
        only_keys(body, _REQUEST, "request")
        require(isinstance(body.get("max_tokens"), int), "max_tokens: Field required")
        for number, tool in enumerate(body.get("tools", ())):
            where = f"tools.{number}.custom"
            only_keys(tool, ("name", "description", "input_schema", "cache_control"), where)
            check_name(tool.get("name"), f"{where}.name")
            check_json_schema(tool.get("input_schema"), f"{where}.input_schema")
        entries = tuple(read_messages(body.get("messages")))
        if (body.get("thinking") or {}).get("type") == "enabled":
            check_thinking(body["messages"])
        return View(entries)

    def streams(self, path: str, body: dict[str, Any]) -> bool:
        """Whether the request asks for a stream."""
        return bool(body.get("stream"))

    def answer(self, body: dict[str, Any], reply: Reply) -> dict[str, Any]:
        """The answer to a request that was read."""
        content: list[dict[str, Any]] = []
        if (body.get("thinking") or {}).get("type") == "enabled":
            thought = f"Thought {self.number('')}."
            content.append({"type": "thinking", "thinking": thought, "signature": sign(thought)})
        if reply.text:
            content.append({"type": "text", "text": reply.text})
        for name, args in reply.calls:
            id_ = self.number("toolu_")
            content.append({"type": "tool_use", "id": id_, "name": name, "input": args})
        return {
            "id": self.number("msg_"),
            "type": "message",
            "role": "assistant",
            "model": body["model"],
            "content": content,
            "stop_reason": "tool_use" if reply.calls else "end_turn",
            "stop_sequence": None,
            "usage": {"input_tokens": 1, "output_tokens": 1},
        }

    def events(self, body: dict[str, Any], answer: dict[str, Any]) -> Iterator[str]:
        """The same answer as lines of server-sent events."""

        def send(kind: str, **data: Any) -> str:
            return event({"type": kind, **data}, kind)

        start = {**answer, "content": [], "stop_reason": None}
        yield send("message_start", message=start)
        for index, block in enumerate(answer["content"]):
            yield send("content_block_start", index=index, content_block=_opening(block))
            for delta in _deltas(block):
                yield send("content_block_delta", index=index, delta=delta)
            yield send("content_block_stop", index=index)
        delta = {"stop_reason": answer["stop_reason"], "stop_sequence": None}
        yield send("message_delta", delta=delta, usage={"output_tokens": 1})
        yield send("message_stop")

    def error(self, refused: RefusedError) -> dict[str, Any]:
        """The body of a 400."""
        error = {"type": "invalid_request_error", "message": refused.message}
        return {"type": "error", "error": error}


def sign(thought: str) -> str:
    """The signature of a thought: any change of the text makes it wrong."""
    return f"signed-{len(thought)}-{sum(map(ord, thought))}"


def _opening(block: dict[str, Any]) -> dict[str, Any]:
    empty = {
        "text": {"text": ""},
        "thinking": {"thinking": "", "signature": ""},
        "tool_use": {"input": {}},
    }
    return {**block, **empty[block["type"]]}


def _deltas(block: dict[str, Any]) -> Iterator[dict[str, Any]]:
    if block["type"] == "text":
        for text in pieces(block["text"]):
            yield {"type": "text_delta", "text": text}
    elif block["type"] == "thinking":
        for text in pieces(block["thinking"]):
            yield {"type": "thinking_delta", "thinking": text}
        yield {"type": "signature_delta", "signature": block["signature"]}
    else:
        for text in ["", *pieces(json.dumps(block["input"]))]:
            yield {"type": "input_json_delta", "partial_json": text}


def read_messages(messages: Any) -> Iterator[Entry]:
    """Check messages and read them, one by one."""
    require(isinstance(messages, list) and messages, "messages: at least one message is required")
    open_calls: dict[str, Asked] = {}
    used: set[str] = set()
    for number, message in enumerate(messages):
        where = f"messages.{number}"
        only_keys(message, ("role", "content"), where)
        role = message.get("role")
        expected = "assistant" if number % 2 else "user"
        require(role in _ROLE_BLOCKS, f"{where}.role: Input should be 'user' or 'assistant'")
        if role != expected:
            msg = f'{where}: roles must alternate between "user" and "assistant"'
            raise RefusedError(msg)
        blocks = list(_blocks(message.get("content"), role, where))
        if role == "user":
            yield from _results(blocks, open_calls, number)
            text = "".join(block["text"] for block in blocks if block["type"] == "text")
            if text:
                yield User(text)
            continue
        open_calls = _uses(blocks, used, where)
        text = "".join(block["text"] for block in blocks if block["type"] == "text")
        yield Assistant(text, tuple(open_calls.values()))
    if messages[-1]["role"] != "user":
        msg = (
            "This model does not support assistant message prefill. The conversation must end "
            "with a user message."
        )
        raise RefusedError(msg)


def _blocks(content: Any, role: str, where: str) -> Iterator[dict[str, Any]]:
    if isinstance(content, str):
        content = [{"type": "text", "text": content}]
    require(isinstance(content, list) and content, f"{where}: messages must have non-empty content")
    for number, block in enumerate(content):
        here = f"{where}.content.{number}"
        kind = block.get("type") if isinstance(block, dict) else None
        require(kind in _ROLE_BLOCKS[role], f"{here}: Input tag {kind!r} found for role {role}")
        only_keys(block, _BLOCK[kind], f"{here}.{kind}")
        if kind == "text":
            _check_text(block, here)
        elif kind == "tool_result":
            _check_result(block, here)
        elif kind == "tool_use":
            require(isinstance(block.get("input"), dict), f"{here}.tool_use.input: a dictionary")
            fits = _ID.fullmatch(str(block.get("id") or ""))
            require(fits, f"{here}.tool_use.id: String should match pattern '^[a-zA-Z0-9_-]+$'")
            check_name(block.get("name"), f"{here}.tool_use.name")
        else:
            signed = block.get("signature") == sign(block.get("thinking") or "")
            require(signed, f"{here}: Invalid `signature` in `thinking` block")
        yield block


def _check_text(block: dict[str, Any], where: str) -> None:
    text = block.get("text")
    require(isinstance(text, str), f"{where}.text.text: Field required")
    require(str(text).strip(), f"{where}: text content blocks must contain non-whitespace text")


def _check_result(block: dict[str, Any], where: str) -> None:
    require(isinstance(block.get("tool_use_id"), str), f"{where}.tool_use_id: Field required")
    require(isinstance(block.get("is_error", False), bool), f"{where}.is_error: a boolean")
    content = block.get("content", "")
    if isinstance(content, str):
        return
    require(isinstance(content, list), f"{where}.tool_result.content: a list or a string")
    for inner in content:
        only_keys(inner, _BLOCK["text"], f"{where}.tool_result.content")
        _check_text(inner, where)


def _uses(blocks: list[dict[str, Any]], used: set[str], where: str) -> dict[str, Asked]:
    calls: dict[str, Asked] = {}
    for block in blocks:
        if block["type"] == "tool_use":
            require(block["id"] not in used, f"{where}: `tool_use` ids must be unique")
            used.add(block["id"])
            calls[block["id"]] = Asked(block["id"], block["name"], block["input"])
    return calls


def _results(
    blocks: list[dict[str, Any]], open_calls: dict[str, Asked], number: int
) -> Iterator[Result]:
    where = f"messages.{number}"
    answered: set[str] = set()
    others = False
    for block in blocks:
        if block["type"] != "tool_result":
            others = True
            continue
        id_ = block["tool_use_id"]
        require(not others, f"{where}: tool_result blocks must come first in the content")
        if id_ not in open_calls:
            msg = (
                f"{where}: unexpected `tool_use_id` found in `tool_result` blocks: {id_}. Each "
                "`tool_result` block must have a corresponding `tool_use` block in the previous "
                "message."
            )
            raise RefusedError(msg)
        require(id_ not in answered, f"{where}: each tool_use must have a single result: {id_}")
        answered.add(id_)
        content = block.get("content", "")
        text = content if isinstance(content, str) else "".join(inner["text"] for inner in content)
        yield Result(open_calls[id_], text)
    missing = [id_ for id_ in open_calls if id_ not in answered]
    if missing:
        msg = (
            f"messages.{number - 1}: `tool_use` ids were found without `tool_result` blocks "
            f"immediately after: {', '.join(missing)}."
        )
        raise RefusedError(msg)


def check_thinking(messages: list[dict[str, Any]]) -> None:
    """Refuse a tool loop whose assistant messages do not start with what was thought."""
    for number in range(len(messages) - 1, -1, -1):
        message = messages[number]
        blocks = message["content"] if isinstance(message["content"], list) else []
        if message["role"] == "user":
            if not any(block["type"] == "tool_result" for block in blocks):
                return  # here the current turn has begun
        elif not blocks or blocks[0]["type"] != "thinking":
            msg = (
                f"messages.{number}.content.0.type: Expected `thinking` or `redacted_thinking`. "
                "When `thinking` is enabled, a final `assistant` message must start with a "
                "thinking block."
            )
            raise RefusedError(msg)
