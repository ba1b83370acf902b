"""The demo's chat-completions service: what it refuses, and what it streams."""

from __future__ import annotations

import copy
import http.client
import json
from collections.abc import Iterator
from typing import Any
from urllib.parse import urlsplit

import pytest
from langchain_core.messages import AIMessage, HumanMessage, ToolMessage
from langchain_core.tools import tool
from openai import DefaultAsyncHttpxClient

from examples.repair.agent import chat_openai
from examples.scripted.endpoint import Endpoint
from examples.scripted.pace import Pace, tokens
from examples.scripted.replies import Action, Reply
from examples.scripted.wire import BadRequestError, Request, parse

FAST = Pace(first=0, rate=1e9)


def user(text: str = "hello") -> dict[str, Any]:
    return {"role": "user", "content": text}


def assistant(*ids: str, content: str | None = None) -> dict[str, Any]:
    message: dict[str, Any] = {"role": "assistant", "content": content}
    if ids:
        message["tool_calls"] = [
            {"id": one, "type": "function", "function": {"name": "read", "arguments": "{}"}}
            for one in ids
        ]
    return message


def answer(call_id: str) -> dict[str, Any]:
    return {"role": "tool", "tool_call_id": call_id, "content": "text"}


def body(*messages: dict[str, Any], **fields: Any) -> dict[str, Any]:
    return {"model": "any", "messages": list(messages), **fields}


def call_with(**fields: Any) -> dict[str, Any]:
    message = copy.deepcopy(assistant("a"))
    message["tool_calls"][0].update(fields)
    return message


def function(name: str, **fields: Any) -> dict[str, Any]:
    return {"type": "function", "function": {"name": name, "parameters": {}, **fields}}


VALID = {
    "one user message": body(user()),
    "developer, user": body({"role": "developer", "content": "be brief"}, user()),
    "two calls, both answered": body(user(), assistant("a", "b"), answer("a"), answer("b")),
    "answers in another order": body(user(), assistant("a", "b"), answer("b"), answer("a")),
    "two rounds": body(user(), assistant("a"), answer("a"), assistant("b"), answer("b")),
    "text parts": body({"role": "user", "content": [{"type": "text", "text": "hello"}]}),
    "sampling options": body(user(), temperature=0, parallel_tool_calls=True),
}


@pytest.mark.parametrize("request_body", VALID.values(), ids=VALID.keys())
def test_valid_requests_are_accepted(request_body: dict[str, Any]) -> None:
    """What providers accept in common is accepted."""
    assert parse(request_body).messages


INVALID = {
    "unanswered call": (
        body(user(), assistant("a", "b"), answer("a")),
        "did not have response messages: b",
        "messages.[1].role",
    ),
    "answer after another message": (
        body(user(), assistant("a"), user(), answer("a")),
        "did not have response messages: a",
        "messages.[1].role",
    ),
    "orphan at the start": (
        body(user(), answer("a")),
        "must be a response to a preceding message with 'tool_calls'",
        "messages.[1].role",
    ),
    "orphan in a group": (
        body(user(), assistant("a"), answer("a"), answer("z")),
        "must be a response to a preceding message with 'tool_calls'",
        "messages.[3].role",
    ),
    "orphan after text": (
        body(user(), assistant(content="hi"), answer("a")),
        "must be a response to a preceding message with 'tool_calls'",
        "messages.[2].role",
    ),
    "call answered twice": (
        body(user(), assistant("a"), answer("a"), answer("a")),
        "Duplicate tool message",
        "messages.[3].tool_call_id",
    ),
    "call id used again": (
        body(user(), assistant("a"), answer("a"), assistant("a"), answer("a")),
        "Duplicate tool call id 'a'",
        "messages.[3]",
    ),
    "call id twice in a message": (
        body(user(), assistant("a", "a"), answer("a")),
        "Duplicate tool call id 'a'",
        "messages.[1]",
    ),
    "two assistant messages": (
        body(user(), assistant(content="a"), assistant(content="b")),
        "Two assistant messages in a row",
        "messages.[2].role",
    ),
    "unknown role": (
        body({"role": "robot", "content": "hi"}),
        "does not match any of the expected tags",
        "messages.[0]",
    ),
    "unknown field of a message": (
        body({**user(), "mood": "good"}),
        "Extra inputs are not permitted",
        "messages.[0].mood",
    ),
    "unknown field of a tool message": (
        body(user(), assistant("a"), {**answer("a"), "status": "error"}),
        "Extra inputs are not permitted",
        "messages.[2].status",
    ),
    "unknown field of a call": (
        body(user(), call_with(args={}), answer("a")),
        "Extra inputs are not permitted",
        "messages.[1].tool_calls.[0].args",
    ),
    "unknown field of a call's function": (
        body(user(), call_with(function={"name": "f", "arguments": "", "args": 1}), answer("a")),
        "Extra inputs are not permitted",
        "messages.[1].tool_calls.[0].function.args",
    ),
    "arguments that are no string": (
        body(user(), call_with(function={"name": "f", "arguments": {}}), answer("a")),
        "Input should be a valid string",
        "messages.[1].tool_calls.[0].function.arguments",
    ),
    "assistant message without anything": (
        body(user(), assistant()),
        "content is required unless tool_calls is given",
        "messages.[1]",
    ),
    "empty list of calls": (
        body(user(), {"role": "assistant", "content": None, "tool_calls": []}),
        "at least 1 item",
        "messages.[1].tool_calls",
    ),
    "tool message without content": (
        body(user(), assistant("a"), {**answer("a"), "content": None}),
        "Input should be a valid string",
        "messages.[2].content.str",
    ),
    "no messages": (body(), "at least 1 item", "messages"),
    "no model": ({"messages": [user()]}, "Field required", "model"),
    "two tools of one name": (
        body(user(), tools=[function("read"), function("read")]),
        "Duplicate function name 'read'",
        "tools.[1]",
    ),
    "a tool's name with a space": (
        body(user(), tools=[function("read it")]),
        "String should match pattern",
        "tools.[0].function.name",
    ),
    "no object": ([], "valid dictionary", ""),
}


@pytest.mark.parametrize(("request_body", "message", "param"), INVALID.values(), ids=INVALID.keys())
def test_invalid_requests_are_refused(request_body: object, message: str, param: str) -> None:
    """The error says what is wrong and where."""
    with pytest.raises(BadRequestError) as refused:
        parse(request_body)
    assert message in refused.value.message
    assert refused.value.param == param


def play(request: Request) -> Reply:
    """Call a tool once, then say something."""
    if len(request.messages) == 1:
        return Reply("Let me look at two files.", tuple(Action("read", {"path": p}) for p in "ab"))
    return Reply("Both are\nempty.")


@pytest.fixture
def endpoint() -> Iterator[Endpoint]:
    with Endpoint(FAST, play) as running:
        yield running


def post(endpoint: Endpoint, content: bytes) -> tuple[int, Any]:
    address = urlsplit(endpoint.base_url)
    connection = http.client.HTTPConnection(str(address.hostname), address.port, timeout=10)
    try:
        headers = {"Content-Type": "application/json"}
        connection.request("POST", f"{address.path}/chat/completions", content, headers)
        response = connection.getresponse()
        return response.status, json.loads(response.read())
    finally:
        connection.close()


@pytest.mark.parametrize("request_body", [INVALID["unanswered call"][0], INVALID["no model"][0]])
def test_a_refusal_is_an_openai_error(endpoint: Endpoint, request_body: dict[str, Any]) -> None:
    """Over HTTP it is status 400 with OpenAI's error object, and is remembered."""
    status, answered = post(endpoint, json.dumps(request_body).encode())
    error = answered["error"]
    assert status == 400
    assert error.keys() == {"message", "type", "param", "code"}
    assert error["type"] == "invalid_request_error"
    assert endpoint.refused == [error["message"]]
    assert endpoint.requests == 0


def test_a_body_that_is_no_json_is_refused(endpoint: Endpoint) -> None:
    """It is the client's error, not the service's."""
    assert post(endpoint, b"{")[0] == 400


@tool
def read(path: str) -> str:
    """Read a file."""
    return path


@pytest.mark.asyncio
@pytest.mark.parametrize("stream", [True, False])
async def test_chat_openai_understands_the_answers(endpoint: Endpoint, stream: bool) -> None:
    """Text, calls, usage and finish reason arrive, streamed or not."""
    async with DefaultAsyncHttpxClient(trust_env=False) as client:
        model = chat_openai(
            model="any",
            base_url=endpoint.base_url,
            api_key="none",
            http_async_client=client,
            streaming=stream,
        ).bind_tools([read])
        first = await model.ainvoke([HumanMessage("hi")])
        answers = [ToolMessage("", tool_call_id=str(call["id"])) for call in first.tool_calls]
        second = await model.ainvoke([HumanMessage("hi"), first, *answers])
    assert first.text == "Let me look at two files."
    assert [call["args"] for call in first.tool_calls] == [{"path": "a"}, {"path": "b"}]
    assert len({call["id"] for call in first.tool_calls}) == 2
    assert first.response_metadata["finish_reason"] == "tool_calls"
    assert second.text == "Both are\nempty."
    assert second.response_metadata["finish_reason"] == "stop"
    for message in (first, second):
        assert isinstance(message, AIMessage)
        assert message.usage_metadata is not None
        assert message.usage_metadata["output_tokens"] >= len(tokens(message.text))
        assert message.usage_metadata["input_tokens"] > 0
    assert endpoint.requests == 2
    assert endpoint.refused == []


@pytest.mark.parametrize(
    "text", ["", "plain words", "  indented\n\tcode(x, y=[1, 2])\n", "naïve 漢字", "a_b__c", "\n"]
)
def test_tokens_joined_are_the_text(text: str) -> None:
    """Cutting into tokens loses nothing."""
    assert "".join(tokens(text)) == text


def test_pace_counts_from_the_request() -> None:
    """The first token comes after the wait, the others at the rate."""
    assert Pace(first=0.5, rate=10).due(20) == 2.5
