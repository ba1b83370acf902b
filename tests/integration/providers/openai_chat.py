"""OpenAI's Chat Completions."""

from __future__ import annotations

import json
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
from tests.integration.providers.tool_schemas import check_json_schema, check_name, check_strict

_REQUEST = frozenset(
    {"model", "messages", "tools", "tool_choice", "parallel_tool_calls", "stream"}
    | {"stream_options", "temperature", "max_completion_tokens", "store"}
)
_MESSAGE = {
    "system": frozenset({"role", "content", "name"}),
    "developer": frozenset({"role", "content", "name"}),
    "user": frozenset({"role", "content", "name"}),
    "assistant": frozenset({"role", "content", "name", "tool_calls", "refusal"}),
    "tool": frozenset({"role", "content", "tool_call_id"}),
}


class ChatCompletions(Protocol):
    """`POST /v1/chat/completions`."""

    def read(self, path: str, headers: dict[str, str], body: dict[str, Any]) -> View:
        """Check a request and read the conversation in it."""
        require(path == "/v1/chat/completions", f"Invalid URL (POST {path})")
        require(headers.get("authorization", "").startswith("Bearer "), "No API key provided.")
        only_keys(body, _REQUEST, "request")
        for number, tool in enumerate(body.get("tools", ())):
            check_tool(tool, tool.get("function"), f"tools[{number}].function")
            only_keys(tool, ("type", "function"), f"tools[{number}]")
        return View(tuple(read_messages(body.get("messages"))))

    def streams(self, path: str, body: dict[str, Any]) -> bool:
        """Whether the request asks for a stream."""
        return bool(body.get("stream"))

    def answer(self, body: dict[str, Any], reply: Reply) -> dict[str, Any]:
        """The answer to a request that was read."""
        message: dict[str, Any] = {"role": "assistant", "content": reply.text or None}
        if reply.calls:
            message["tool_calls"] = [
                {
                    "id": self.number("call_"),
                    "type": "function",
                    "function": {"name": name, "arguments": json.dumps(args)},
                }
                for name, args in reply.calls
            ]
        finish = "tool_calls" if reply.calls else "stop"
        return {
            "id": self.number("chatcmpl-"),
            "object": "chat.completion",
            "created": 1,
            "model": body["model"],
            "choices": [{"index": 0, "message": message, "finish_reason": finish}],
            "usage": {"prompt_tokens": 1, "completion_tokens": 1, "total_tokens": 2},
        }

    def events(self, body: dict[str, Any], answer: dict[str, Any]) -> Iterator[str]:
        """The same answer as lines of server-sent events."""
        choice = answer["choices"][0]
        head = {**answer, "object": "chat.completion.chunk"}
        del head["usage"], head["choices"]

        def chunk(delta: dict[str, Any], finish: str | None = None) -> str:
            return event(
                {**head, "choices": [{"index": 0, "delta": delta, "finish_reason": finish}]}
            )

        yield chunk({"role": "assistant", "content": ""})
        for text in pieces(choice["message"]["content"] or ""):
            yield chunk({"content": text})
        for index, call in enumerate(choice["message"].get("tool_calls", ())):
            function = call["function"]
            opening = {**call, "index": index, "function": {**function, "arguments": ""}}
            yield chunk({"tool_calls": [opening]})
            for text in pieces(function["arguments"]):
                yield chunk({"tool_calls": [{"index": index, "function": {"arguments": text}}]})
        yield chunk({}, choice["finish_reason"])
        if body.get("stream_options", {}).get("include_usage"):
            yield event({**head, "choices": [], "usage": answer["usage"]})
        yield event("[DONE]")

    def error(self, refused: RefusedError) -> dict[str, Any]:
        """The body of a 400."""
        return openai_error(refused)


def openai_error(refused: RefusedError) -> dict[str, Any]:
    """OpenAI's kind of error."""
    return {
        "error": {
            "message": refused.message,
            "type": "invalid_request_error",
            "param": refused.param,
            "code": refused.code,
        }
    }


def check_tool(tool: dict[str, Any], function: Any, where: str) -> None:
    """Refuse what is no function tool; both of OpenAI's protocols."""
    require(tool.get("type") == "function", f"Invalid value for '{where}.type'.", where)
    require(isinstance(function, dict), f"Missing '{where}'.", where)
    check_name(function.get("name"), f"{where}.name")
    parameters = function.get("parameters")
    check_json_schema(parameters, f"{where}.parameters")
    if function.get("strict"):
        check_strict(parameters, f"{where}.parameters")


def text_of(content: Any, where: str, kinds: tuple[str, ...] = ("text",)) -> str:
    """The text in a content; refuses what is neither text nor text blocks."""
    if isinstance(content, str):
        return content
    require(isinstance(content, list) and content, f"Invalid type for '{where}'.", where)
    for block in content:
        known = isinstance(block, dict) and block.get("type") in kinds
        require(known, f"Invalid value for '{where}.type'.", where)
        require(isinstance(block.get("text"), str), f"Missing '{where}.text'.", where)
    return "".join(block["text"] for block in content)


def read_messages(messages: Any) -> Iterator[Entry]:
    """Check messages and read them, one by one."""
    require(isinstance(messages, list) and messages, "Invalid 'messages': empty array.", "messages")
    calls: dict[str, Asked] = {}
    answered: set[str] = set()
    for number, message in enumerate(messages):
        where = f"messages[{number}]"
        role = message.get("role") if isinstance(message, dict) else None
        require(role in _MESSAGE, f"Invalid value for '{where}.role': {role!r}.", where)
        only_keys(message, _MESSAGE[role], where)
        if role == "tool":
            yield _result(message, calls, answered, where)
            continue
        _all_answered(calls, answered, where)
        calls, answered = {}, set()
        if role == "user":
            yield User(text_of(message.get("content"), f"{where}.content"))
        elif role == "assistant":
            before = messages[number - 1].get("role") if number else None
            require(before != "assistant", f"'{where}': two assistant messages together.", where)
            calls = _calls(message, where)
            content = message.get("content")
            require(content is not None or calls, f"'{where}.content': got null.", where)
            text = "" if content is None else text_of(content, f"{where}.content")
            yield Assistant(text, tuple(calls.values()))
    _all_answered(calls, answered, "messages")
    last = messages[-1]["role"]
    require(last != "assistant", "The conversation must not end with an assistant message.")


def _calls(message: dict[str, Any], where: str) -> dict[str, Asked]:
    given = message.get("tool_calls")
    if given is None:
        return {}
    require(given, f"Invalid '{where}.tool_calls': empty array.", where)
    calls: dict[str, Asked] = {}
    for call in given:
        only_keys(call, ("id", "type", "function"), f"{where}.tool_calls")
        require(call.get("type") == "function", f"Missing '{where}.tool_calls.type'.", where)
        require(call.get("id"), f"Missing '{where}.tool_calls.id'.", where)
        require(call["id"] not in calls, f"Duplicate value for 'tool_call_id' in {where}.", where)
        only_keys(call.get("function"), ("name", "arguments"), f"{where}.tool_calls.function")
        function = call["function"]
        check_name(function.get("name"), f"{where}.tool_calls.function.name")
        calls[call["id"]] = Asked(call["id"], function["name"], arguments_of(function, where))
    return calls


def arguments_of(function: dict[str, Any], where: str) -> dict[str, Any]:
    """A call's arguments, which are JSON in a string."""
    text = function.get("arguments")
    require(isinstance(text, str), f"Invalid type for '{where}.arguments'.", where)
    try:
        args = json.loads(text)
    except ValueError as error:
        raise RefusedError(f"Invalid '{where}.arguments': no JSON.", where) from error
    require(isinstance(args, dict), f"Invalid '{where}.arguments': no object.", where)
    return args


def _result(
    message: dict[str, Any], calls: dict[str, Asked], answered: set[str], where: str
) -> Result:
    id_ = message.get("tool_call_id")
    if id_ not in calls:
        msg = (
            "Invalid parameter: messages with role 'tool' must be a response to a preceding "
            "message with 'tool_calls'."
        )
        raise RefusedError(msg, where)
    require(id_ not in answered, f"Duplicate value for 'tool_call_id' of {id_!r} in {where}", where)
    answered.add(id_)
    return Result(calls[id_], text_of(message.get("content"), f"{where}.content"))


def _all_answered(calls: dict[str, Asked], answered: set[str], where: str) -> None:
    missing = [id_ for id_ in calls if id_ not in answered]
    if missing:
        msg = (
            "An assistant message with 'tool_calls' must be followed by tool messages responding "
            "to each 'tool_call_id'. The following tool_call_ids did not have response messages: "
            + ", ".join(missing)
        )
        raise RefusedError(msg, where)
