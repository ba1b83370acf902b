"""OpenAI's Responses, which keeps every response on the server.

Calls of tools that the request declares with `async: true` have `async: true` as well. Their output
may come with any later request, once; those of other calls must come with the next.

Source: OpenAI, "Async tool calling", https://developers.openai.com/api/docs/guides/async-tool-calling
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, field
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
from tests.integration.providers.openai_chat import (
    arguments_of,
    check_tool,
    openai_error,
    text_of,
)
from tests.integration.providers.server import Protocol, event, pieces

_REQUEST = frozenset(
    {"model", "input", "tools", "tool_choice", "parallel_tool_calls", "stream", "temperature"}
    | {"previous_response_id", "instructions", "reasoning", "include", "store", "max_output_tokens"}
)
_TOOL = frozenset({"type", "name", "description", "parameters", "strict", "async"})
_ITEM = {
    "message": frozenset({"type", "role", "content", "id", "status", "phase"}),
    "function_call": frozenset({"type", "id", "call_id", "name", "arguments", "status", "async"}),
    "function_call_output": frozenset({"type", "id", "call_id", "output", "status"}),
    "reasoning": frozenset({"type", "id", "summary", "encrypted_content", "content", "status"}),
}
_PREFIX = {"message": "msg", "function_call": "fc", "reasoning": "rs"}
_PREFIX["function_call_output"] = "fc"


@dataclass(slots=True)
class _Reader:
    """Reads items one after another, and remembers what must still come.

    Attributes:
        answered: The ids of all calls with an output.
        calls: All calls so far, by id.
        open_calls: Ids of ordinary calls that have no output yet.
        native: Ids of the calls that were made as asynchronous ones: their outputs may come later
            or never, but not twice.
        ids: The ids of all items so far.
        entries: What was read.
        thought: A reasoning item whose next item is still to come.
    """

    answered: set[str] = field(default_factory=set)
    calls: dict[str, Asked] = field(default_factory=dict)
    open_calls: list[str] = field(default_factory=list)
    native: set[str] = field(default_factory=set)
    ids: set[str] = field(default_factory=set)
    entries: list[Entry] = field(default_factory=list)
    thought: str | None = None

    def item(self, item: Any, where: str, thoughts: dict[str, str]) -> None:
        """Check one item and read it."""
        kind = item.get("type", "message") if isinstance(item, dict) else None
        require(kind in _ITEM, f"Invalid value for '{where}.type': {kind!r}.", where)
        only_keys(item, _ITEM[kind], where)
        self._check_id(item, kind, where, thoughts)
        getattr(self, f"_{kind}")(item, where)

    def _check_id(self, item: dict[str, Any], kind: str, where: str, thoughts: Any) -> None:
        id_ = item.get("id")
        if id_ is not None:
            fits = isinstance(id_, str) and id_.startswith(_PREFIX[kind])
            msg = f"Invalid '{where}.id': {id_!r}. Expected an ID that begins with"
            require(fits, f"{msg} '{_PREFIX[kind]}'.", where)
            require(id_ not in self.ids, f"Duplicate item found with id {id_}.", where)
            self.ids.add(id_)
            need = thoughts.get(id_)
            if need is not None and need not in self.ids:
                msg = f"Item '{id_}' of type '{kind}' was provided without its required"
                raise RefusedError(f"{msg} 'reasoning' item: '{need}'.", where)
        if self.thought is not None:
            follows = id_ is not None and thoughts.get(id_) == self.thought
            self._need_follower(met=follows)

    def _need_follower(self, *, met: bool) -> None:
        if not met:
            msg = f"Item '{self.thought}' of type 'reasoning' was provided without its required"
            raise RefusedError(f"{msg} following item.")
        self.thought = None

    def _reasoning(self, item: dict[str, Any], where: str) -> None:
        require(item.get("id"), f"Missing '{where}.id'.", where)
        self.all_answered(where)
        self.thought = item["id"]

    def _message(self, item: dict[str, Any], where: str) -> None:
        role = item.get("role")
        known = role in ("user", "assistant", "system", "developer")
        require(known, f"Invalid value for '{where}.role': {role!r}.", where)
        self.all_answered(where)
        content = item.get("content")
        if role == "assistant":
            text = text_of(content, where, ("output_text",))
            last = self.entries[-1] if self.entries else None
            if isinstance(last, Assistant) and last.calls and not last.text:
                # The model has gone on after an asynchronous call.
                self.entries[-1] = Assistant(text, last.calls)
            else:
                self.entries.append(Assistant(text))
        elif role == "user":
            self.entries.append(User(text_of(content, where, ("input_text",))))

    def _function_call(self, item: dict[str, Any], where: str) -> None:
        id_ = item.get("call_id")
        require(isinstance(id_, str) and id_, f"Missing '{where}.call_id'.", where)
        require(id_ not in self.calls, f"Duplicate function call {id_}.", where)
        last = self.entries[-1] if self.entries else None
        if not isinstance(last, Assistant):
            self.all_answered(where)
            last = Assistant("")
            self.entries.append(last)
        call = Asked(id_, item["name"], arguments_of(item, where))
        self.calls[id_] = call
        mark = item.get("async")
        require(mark in (None, False, True), f"Invalid type for '{where}.async'.", where)
        if mark:
            self.native.add(id_)
        else:
            self.open_calls.append(id_)
        self.entries[-1] = Assistant(last.text, (*last.calls, call))

    def _function_call_output(self, item: dict[str, Any], where: str) -> None:
        id_ = item.get("call_id")
        if id_ not in self.calls:
            msg = f"No tool call found for function call output with call_id {id_}."
            raise RefusedError(msg, where)
        require(id_ not in self.answered, f"Duplicate function call output for {id_}.", where)
        self.answered.add(id_)
        if id_ not in self.native:
            self.open_calls.remove(id_)
        text = text_of(item.get("output"), where, ("input_text",))
        self.entries.append(Result(self.calls[id_], text))

    def all_answered(self, where: str) -> None:
        """Refuse ordinary calls without an output."""
        if self.open_calls:
            msg = f"No tool output found for function call {self.open_calls[0]}."
            raise RefusedError(msg, where)


class Responses(Protocol):
    """`POST /v1/responses`.

    Args:
        reasons: Whether each response starts with a reasoning item.
    """

    def __init__(self, *, reasons: bool = False) -> None:
        super().__init__()
        self.reasons = reasons
        self._stored: dict[str, list[dict[str, Any]]] = {}
        self._thoughts: dict[str, str] = {}

    def read(self, path: str, headers: dict[str, str], body: dict[str, Any]) -> View:
        """Check a request and read the conversation in it."""
        require(path == "/v1/responses", f"Invalid URL (POST {path})")
        require(headers.get("authorization", "").startswith("Bearer "), "No API key provided.")
        only_keys(body, _REQUEST, "request")
        for number, tool in enumerate(body.get("tools", ())):
            check_tool(tool, tool, f"tools[{number}]")
            only_keys(tool, _TOOL, f"tools[{number}]")
            asynchronous = tool.get("async", False)
            require(isinstance(asynchronous, bool), f"Invalid type for 'tools[{number}].async'.")
        given = items_of(body.get("input"))
        reader = _Reader()
        for item in self._before(body.get("previous_response_id")):
            reader.item(item, "the stored conversation", self._thoughts)
        for number, item in enumerate(given):
            reader.item(item, f"input[{number}]", self._thoughts)
        if reader.thought is not None:
            reader._need_follower(met=False)
        reader.all_answered("input")
        ended = isinstance(reader.entries[-1], Assistant)
        require(not ended, "The input must not end with an assistant message.", "input")
        return View(tuple(reader.entries))

    def _before(self, previous: Any) -> list[dict[str, Any]]:
        if previous is None:
            return []
        if previous not in self._stored:
            msg = f"Previous response with id '{previous}' not found."
            raise RefusedError(msg, "previous_response_id", "previous_response_not_found")
        return self._stored[previous]

    def streams(self, path: str, body: dict[str, Any]) -> bool:
        """Whether the request asks for a stream."""
        return bool(body.get("stream"))

    def answer(self, body: dict[str, Any], reply: Reply) -> dict[str, Any]:
        """The answer to a request that was read, which is stored."""
        output = list(self._output(reply, native_tools(body)))
        id_ = self.number("resp_")
        before = self._before(body.get("previous_response_id"))
        self._stored[id_] = [*before, *items_of(body["input"]), *_as_input(output)]
        return {
            "id": id_,
            "object": "response",
            "created_at": 1,
            "status": "completed",
            "model": body["model"],
            "output": output,
            "parallel_tool_calls": True,
            "tool_choice": "auto",
            "tools": [],
            "error": None,
            "incomplete_details": None,
            "instructions": None,
            "metadata": {},
            "previous_response_id": body.get("previous_response_id"),
            "usage": {
                "input_tokens": 1,
                "output_tokens": 1,
                "total_tokens": 2,
                "input_tokens_details": {"cached_tokens": 0},
                "output_tokens_details": {"reasoning_tokens": 0},
            },
        }

    def _output(self, reply: Reply, native: frozenset[str]) -> Iterator[dict[str, Any]]:
        thought = self.number("rs_") if self.reasons else None
        items: list[dict[str, Any]] = []
        if reply.text:
            content = [{"type": "output_text", "text": reply.text, "annotations": []}]
            items.append({"type": "message", "role": "assistant", "content": content})
        for name, args in reply.calls:
            call = {"type": "function_call", "name": name, "arguments": json.dumps(args)}
            mark = {"async": True} if name in native else {}
            items.append({**call, **mark, "call_id": self.number("call_")})
        if reply.text and all(name in native for name, _ in reply.calls):
            items.append(items.pop(0))  # it goes on after such calls
        if thought is not None:
            yield {"type": "reasoning", "id": thought, "summary": []}
        for item in items:
            id_ = self.number(_PREFIX[item["type"]] + "_")
            if thought is not None:
                self._thoughts[id_] = thought
            yield {**item, "id": id_, "status": "completed"}

    def events(self, body: dict[str, Any], answer: dict[str, Any]) -> Iterator[str]:
        """The same answer as lines of server-sent events."""
        order = iter(range(10_000))

        def send(kind: str, **data: Any) -> str:
            return event({"type": kind, "sequence_number": next(order), **data}, kind)

        started = {**answer, "output": [], "status": "in_progress", "usage": None}
        yield send("response.created", response=started)
        for index, item in enumerate(answer["output"]):
            empty = {"message": {"content": []}, "function_call": {"arguments": ""}}
            opening = {**item, **empty.get(item["type"], {}), "status": "in_progress"}
            yield send("response.output_item.added", output_index=index, item=opening)
            for kind, data in _parts(item):
                yield send(kind, output_index=index, item_id=item["id"], **data)
            yield send("response.output_item.done", output_index=index, item=item)
        yield send("response.completed", response=answer)

    def error(self, refused: RefusedError) -> dict[str, Any]:
        """The body of a 400."""
        return openai_error(refused)


def native_tools(body: dict[str, Any]) -> frozenset[str]:
    """The tools of a request that are declared as asynchronous ones."""
    return frozenset(tool["name"] for tool in body.get("tools", ()) if tool.get("async"))


def items_of(given: Any) -> list[Any]:
    """The items of an input, which may be a text."""
    if isinstance(given, str):
        given = [{"type": "message", "role": "user", "content": given}]
    require(isinstance(given, list) and given, "Invalid 'input': nothing to answer.", "input")
    return list(given)


def _as_input(output: list[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    for item in output:
        yield {key: value for key, value in item.items() if value is not None}


def _parts(item: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    if item["type"] == "message":
        part = item["content"][0]
        at = {"content_index": 0}
        empty = {**part, "text": ""}
        yield "response.content_part.added", {**at, "part": empty}
        for text in pieces(part["text"]):
            yield "response.output_text.delta", {**at, "delta": text, "logprobs": []}
        done = {**at, "text": part["text"], "logprobs": []}
        yield "response.output_text.done", done
        yield "response.content_part.done", {**at, "part": part}
    elif item["type"] == "function_call":
        for text in pieces(item["arguments"]):
            yield "response.function_call_arguments.delta", {"delta": text}
        done = {"arguments": item["arguments"], "name": item["name"]}
        yield "response.function_call_arguments.done", done
