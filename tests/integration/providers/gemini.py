"""Gemini's generateContent and streamGenerateContent."""

from __future__ import annotations

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
from tests.integration.providers.tool_schemas import check_gemini, check_json_schema, check_name

_PATH = re.compile(r"/v1beta/models/([\w.-]+):(generateContent|streamGenerateContent)(\?alt=sse)?")
_REQUEST = frozenset(
    {"contents", "tools", "toolConfig", "systemInstruction", "generationConfig", "safetySettings"}
)
_DATA = ("text", "functionCall", "functionResponse")
_PART = frozenset({*_DATA, "thought", "thoughtSignature"})
_DECLARATION = frozenset(
    {"name", "description", "parameters", "parametersJsonSchema", "behavior", "response"}
)
SKIP_SIGNATURE = "skip_thought_signature_validator"
_SIGNATURE = "c2lnbmVk"


class GenerateContent(Protocol):
    """`POST /v1beta/models/<model>:generateContent`, and the same as a stream."""

    def read(self, path: str, headers: dict[str, str], body: dict[str, Any]) -> View:
        """Check a request and read the conversation in it."""
        found = _PATH.fullmatch(path)
        require(found, f"Not found: {path}")
        require(headers.get("x-goog-api-key"), "Method doesn't allow unregistered callers.")
        only_keys(body, _REQUEST, "request")
        for tool in body.get("tools", ()):
            only_keys(tool, ("functionDeclarations",), "tools[0]")
            for declaration in tool["functionDeclarations"]:
                check_declaration(declaration)
        entries = tuple(read_contents(body.get("contents")))
        if found and found[1].startswith("gemini-3"):
            check_signatures(body["contents"])
        return View(entries)

    def streams(self, path: str, body: dict[str, Any]) -> bool:
        """Whether the request asks for a stream."""
        return "streamGenerateContent" in path

    def answer(self, body: dict[str, Any], reply: Reply) -> dict[str, Any]:
        """The answer to a request that was read."""
        parts: list[dict[str, Any]] = [{"text": reply.text}] if reply.text else []
        parts += [{"functionCall": {"name": name, "args": args}} for name, args in reply.calls]
        first = next((part for part in parts if "functionCall" in part), None)
        if first is not None:
            first["thoughtSignature"] = _SIGNATURE
        return _candidate(parts, "STOP")

    def events(self, body: dict[str, Any], answer: dict[str, Any]) -> Iterator[str]:
        """The same answer as lines of server-sent events."""
        for part in answer["candidates"][0]["content"]["parts"]:
            if "text" in part:
                for text in pieces(part["text"]):
                    yield event(_candidate([{"text": text}], None))
            else:
                yield event(_candidate([part], None))
        yield event(_candidate([{"text": ""}], "STOP"))

    def error(self, refused: RefusedError) -> dict[str, Any]:
        """The body of a 400."""
        status = {"code": 400, "message": refused.message, "status": "INVALID_ARGUMENT"}
        return {"error": status}


def _candidate(parts: list[dict[str, Any]], finish: str | None) -> dict[str, Any]:
    candidate: dict[str, Any] = {"content": {"parts": parts, "role": "model"}, "index": 0}
    if finish is not None:
        candidate["finishReason"] = finish
    usage = {"promptTokenCount": 1, "candidatesTokenCount": 1, "totalTokenCount": 2}
    return {"candidates": [candidate], "usageMetadata": usage, "modelVersion": "gemini"}


def check_declaration(declaration: Any) -> None:
    """Refuse what is no function declaration."""
    only_keys(declaration, _DECLARATION, "function_declarations")
    check_name(declaration.get("name"), "function_declarations.name")
    where = f"function_declarations[{declaration['name']}].parameters"
    both = "parameters" in declaration and "parametersJsonSchema" in declaration
    require(not both, f"{where}: parameters and parameters_json_schema are exclusive")
    if "parametersJsonSchema" in declaration:
        check_json_schema(declaration["parametersJsonSchema"], where)
    if "parameters" in declaration:
        require(declaration["parameters"].get("type") == "OBJECT", f"{where}.type: not OBJECT")
        check_gemini(declaration["parameters"], where)


def read_contents(contents: Any) -> Iterator[Entry]:
    """Check contents and read them, one by one."""
    require(isinstance(contents, list) and contents, "* contents: contents is not specified")
    waiting: list[Asked] = []
    before = None
    for number, content in enumerate(contents):
        where = f"contents[{number}]"
        only_keys(content, ("role", "parts"), where)
        role, parts = content.get("role"), content.get("parts")
        require(role in ("user", "model"), "Please use a valid role: user, model.")
        require(role != before, f"{where}: two contents of role {role} stand together")
        require(number or role == "user", "the first content should be with role 'user'")
        require(parts, f"* {where}.parts: contents.parts must not be empty.")
        for place, part in enumerate(parts):
            _check_part(part, role, f"{where}.parts[{place}]")
        results = [part["functionResponse"] for part in parts if "functionResponse" in part]
        _check_counts(results, waiting, parts)
        yield from _results(results, waiting, where)
        waiting = [
            Asked(f"{number}.{place}", part["functionCall"]["name"], part["functionCall"]["args"])
            for place, part in enumerate(parts)
            if "functionCall" in part
        ]
        text = "".join(part.get("text", "") for part in parts)
        if role == "model":
            yield Assistant(text, tuple(waiting))
        elif text:
            yield User(text)
        before = role
    require(before == "user", "Please ensure that the last content is of the role user.")


def _check_part(part: Any, role: str, where: str) -> None:
    only_keys(part, _PART, where)
    data = [key for key in _DATA if key in part]
    require(len(data) == 1, f"* {where}.data: required oneof field 'data' must have one field")
    if data == ["text"]:
        require(part["text"], "Unable to submit request because it has an empty text parameter.")
        return
    asks = data == ["functionCall"]
    require(asks == (role == "model"), f"{where}: {data[0]} is not for the role {role}")
    value = part[data[0]]
    only_keys(value, ("id", "name", "args" if asks else "response"), f"{where}.{data[0]}")
    check_name(value.get("name"), f"{where}.{data[0]}.name")
    given = value.setdefault("args", {}) if asks else value.get("response")
    require(isinstance(given, dict), f"{where}.{data[0]}: a Struct is expected")


def _check_counts(results: list[Any], waiting: list[Asked], parts: list[Any]) -> None:
    if len(results) != len(waiting):
        msg = (
            "Please ensure that the number of function response parts is equal to the number of "
            f"function call parts of the function call turn: {len(results)}, {len(waiting)}."
        )
        raise RefusedError(msg)
    if results and len(parts) != len(results):
        msg = "Please ensure that function response turn comes immediately after a function call."
        raise RefusedError(msg)


def _results(results: list[Any], waiting: list[Asked], where: str) -> Iterator[Result]:
    """Answers to calls: by name and order, as neither has an id."""
    for result, call in zip(results, waiting, strict=True):
        fits = result["name"] == call.name
        require(fits, f"{where}: a response of {result['name']} answers a call of {call.name}")
        response = result["response"]
        text = response.get("output", response.get("error", response))
        yield Result(call, text if isinstance(text, str) else repr(text))


def check_signatures(contents: list[dict[str, Any]]) -> None:
    """Refuse function calls of the current turn without the signature that they came with."""
    start = max(
        number
        for number, content in enumerate(contents)
        if content["role"] == "user" and any("text" in part for part in content["parts"])
    )
    for number, content in enumerate(contents[start:], start):
        calls = [part for part in content["parts"] if "functionCall" in part]
        if calls and calls[0].get("thoughtSignature") not in (_SIGNATURE, SKIP_SIGNATURE):
            name = calls[0]["functionCall"]["name"]
            msg = f"contents[{number}]: function call `{name}` is missing a `thought_signature`."
            raise RefusedError(msg)
