"""The servers themselves: what the services refuse, they refuse.

For each protocol there is one conversation that is accepted, and a list of changes to it, each of
which must be refused with the words that the service has for it.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import pytest

from tests.integration.providers import anthropic_messages, gemini, openai_chat, openai_responses
from tests.integration.providers.conversation import (
    Asked,
    Assistant,
    RefusedError,
    Reply,
    Result,
    User,
    View,
    ask,
    say,
    together,
)
from tests.integration.providers.server import Protocol

Change = Callable[[list[Any]], Any]


def refused(protocol: Protocol, path: str, body: dict[str, Any]) -> str:
    """The words in which a request is refused; every kind of error has a body of its own."""
    with pytest.raises(RefusedError) as caught:
        protocol.read(path, HEADERS, body)
    error = protocol.error(caught.value)["error"]
    assert error["message"] == caught.value.message
    return caught.value.message


HEADERS = {
    "authorization": "Bearer key",
    "x-api-key": "key",
    "anthropic-version": "1",
    "x-goog-api-key": "key",
}


def change(number: int, **fields: Any) -> Change:
    """Set fields of an item."""

    def edit(items: list[Any]) -> None:
        items[number].update(fields)

    return edit


def drop(*numbers: int) -> Change:
    """Leave items out."""

    def edit(items: list[Any]) -> None:
        for number in sorted(numbers, reverse=True):
            del items[number]

    return edit


def insert(number: int, *new: Any) -> Change:
    """Put items in."""

    def edit(items: list[Any]) -> None:
        items[number:number] = copy.deepcopy(list(new))

    return edit


def move(source: int, target: int) -> Change:
    """Put an item elsewhere."""

    def edit(items: list[Any]) -> None:
        items.insert(target, items.pop(source))

    return edit


def inside(number: int, key: str, edit: Change) -> Change:
    """Change the list that an item holds."""
    return lambda items: edit(items[number][key])


def edited(items: list[Any], edit: Change) -> list[Any]:
    """A changed copy."""
    changed = copy.deepcopy(items)
    edit(changed)
    return changed


A, B = Asked("c1", "a", {"x": 1}), Asked("c2", "b", {})
READ = View(
    (
        User("go"),
        Assistant("so", (A, B)),
        Result(A, "one"),
        Result(B, "two"),
        Assistant("there"),
        User("more"),
    )
)

# -- OpenAI's Chat Completions ---------------------------------------------------------------------


def chat_call(id_: str, name: str, arguments: str) -> dict[str, Any]:
    """A call as Chat Completions has it."""
    return {"id": id_, "type": "function", "function": {"name": name, "arguments": arguments}}


CHAT: list[Any] = [
    {"role": "user", "content": "go"},
    {
        "role": "assistant",
        "content": "so",
        "tool_calls": [chat_call("c1", "a", '{"x": 1}'), chat_call("c2", "b", "{}")],
    },
    {"role": "tool", "tool_call_id": "c1", "content": "one"},
    {"role": "tool", "tool_call_id": "c2", "content": [{"type": "text", "text": "two"}]},
    {"role": "assistant", "content": "there"},
    {"role": "user", "content": "more"},
]
ORPHAN = "must be a response to a preceding message"
UNANSWERED = "did not have response messages"


def test_chat_reads() -> None:
    """A valid request is read as it is meant."""
    protocol = openai_chat.ChatCompletions()
    body = {"model": "m", "messages": CHAT}
    assert protocol.read("/v1/chat/completions", HEADERS, body) == READ


@pytest.mark.parametrize(
    ("edit", "words"),
    [
        (drop(0, 1, 2, 3, 4, 5), "empty array"),
        (drop(2), UNANSWERED),
        (drop(2, 3), UNANSWERED),
        (drop(1), ORPHAN),
        (move(3, 4), UNANSWERED),
        (insert(3, {"role": "user", "content": "well?"}), UNANSWERED),
        (insert(5, CHAT[2]), ORPHAN),
        (insert(3, CHAT[2]), "Duplicate value for 'tool_call_id'"),
        (change(2, tool_call_id="c3"), ORPHAN),
        (change(2, name="a"), "Extra inputs"),
        (change(2, content=None), "Invalid type"),
        (change(2, content=[{"type": "image", "text": ""}]), "Invalid value"),
        (change(0, role="human"), "Invalid value"),
        (change(1, tool_calls=[]), "empty array"),
        (change(1, asyncfc={}), "Extra inputs"),
        (inside(1, "tool_calls", change(1, id="c1")), "Duplicate"),
        (inside(1, "tool_calls", change(1, id=None)), "Missing"),
        (inside(1, "tool_calls", change(1, index=1)), "Extra inputs"),
        (inside(1, "tool_calls", insert(0, chat_call("c0", "a", "{"))), "no JSON"),
        (inside(1, "tool_calls", insert(0, chat_call("c0", "a", "[]"))), "no object"),
        (inside(1, "tool_calls", insert(0, chat_call("c0", "a b", "{}"))), "pattern"),
        (change(4, content=None), "got null"),
        (insert(5, CHAT[4]), "two assistant messages"),
        (drop(5), "must not end with an assistant"),
        (drop(2, 3, 4, 5), UNANSWERED),
    ],
)
def test_chat_refuses(edit: Change, words: str) -> None:
    """Chat Completions: pairs, order, roles and forms."""
    body = {"model": "m", "messages": edited(CHAT, edit)}
    assert words in refused(openai_chat.ChatCompletions(), "/v1/chat/completions", body)


# -- OpenAI's Responses ----------------------------------------------------------------------------


def answer_text(text: str, **fields: Any) -> dict[str, Any]:
    """An assistant's message as Responses has it."""
    content = [{"type": "output_text", "text": text, "annotations": []}]
    return {"type": "message", "role": "assistant", "content": content, **fields}


def output(id_: str, text: Any) -> dict[str, Any]:
    """A call's result as Responses has it."""
    return {"type": "function_call_output", "call_id": id_, "output": text}


ITEMS: list[Any] = [
    {"type": "message", "role": "user", "content": "go"},
    answer_text("so", id="msg_1"),
    {"type": "function_call", "id": "fc_1", "call_id": "c1", "name": "a", "arguments": '{"x": 1}'},
    {"type": "function_call", "call_id": "c2", "name": "b", "arguments": "{}"},
    output("c1", "one"),
    output("c2", [{"type": "input_text", "text": "two"}]),
    answer_text("there"),
    {"role": "user", "content": [{"type": "input_text", "text": "more"}]},
]
NO_CALL = "No tool call found for function call output"
NO_OUTPUT = "No tool output found for function call"


def responses(items: Any, **fields: Any) -> dict[str, Any]:
    """A request to Responses."""
    return {"model": "m", "input": items, **fields}


def test_responses_reads() -> None:
    """A valid request is read as it is meant."""
    protocol = openai_responses.Responses()
    assert protocol.read("/v1/responses", HEADERS, responses(ITEMS)) == READ


@pytest.mark.parametrize(
    ("edit", "words"),
    [
        (drop(0, 1, 2, 3, 4, 5, 6, 7), "nothing to answer"),
        (drop(4), NO_OUTPUT),
        (drop(4, 5), NO_OUTPUT),
        (drop(2), NO_CALL),
        (move(2, 4), NO_CALL),
        (move(5, 6), NO_OUTPUT),
        (insert(5, ITEMS[0]), NO_OUTPUT),
        (insert(5, ITEMS[4]), "Duplicate function call output"),
        (insert(7, ITEMS[4]), "Duplicate function call output"),
        (insert(4, ITEMS[3]), "Duplicate function call"),
        (change(4, call_id="c3"), NO_CALL),
        (change(4, output=None), "Invalid type"),
        (change(4, name="a"), "Extra inputs"),
        (change(2, call_id=None), "Missing"),
        (change(2, id="call_1"), "Expected an ID that begins with 'fc'"),
        (change(1, id="lc_run-1"), "Expected an ID that begins with 'msg'"),
        (change(6, id="msg_1"), "Duplicate item found with id"),
        (change(1, role="ai"), "Invalid value"),
        (change(1, type="tool_use"), "Invalid value"),
        (change(1, content=[{"type": "text", "text": "so"}]), "Invalid value"),
        (drop(7), "must not end with an assistant"),
        (drop(4, 5, 6, 7), NO_OUTPUT),
        (insert(7, {"type": "reasoning", "id": "rs_1", "summary": []}), "required following item"),
        (insert(8, {"type": "reasoning", "id": "rs_1", "summary": []}), "required following item"),
    ],
)
def test_responses_refuses(edit: Change, words: str) -> None:
    """Responses: pairs, order, ids and forms of items."""
    protocol = openai_responses.Responses()
    assert words in refused(protocol, "/v1/responses", responses(edited(ITEMS, edit)))


def stored(reply: Reply, *, reasons: bool = False) -> tuple[Protocol, dict[str, Any]]:
    """A server that has given one answer, and the answer."""
    protocol = openai_responses.Responses(reasons=reasons)
    body = responses("go")
    protocol.read("/v1/responses", HEADERS, body)
    return protocol, protocol.answer(body, reply)


LATE = [
    {"role": "user", "content": "go"},
    {"type": "function_call", "call_id": "c1", "name": "a", "arguments": "{}", "async": True},
    {"type": "function_call", "call_id": "c2", "name": "b", "arguments": "{}"},
    {"type": "function_call_output", "call_id": "c2", "output": "two"},
    {"role": "assistant", "content": "so"},
    {"role": "user", "content": "more"},
    {"type": "function_call_output", "call_id": "c1", "output": "one"},
]
"""A conversation with an asynchronous call, whose output comes late."""


@pytest.mark.parametrize(
    ("edit", "times"), [(drop(), 1), (drop(6), 0), (move(6, 5), 1), (move(6, 3), 1)]
)
def test_responses_takes_late_outputs(edit: Change, times: int) -> None:
    """The output of an asynchronous call may come anywhere behind the call, or not yet."""
    protocol = openai_responses.Responses()
    view = protocol.read("/v1/responses", HEADERS, responses(edited(LATE, edit)))
    assert view.count("one") == times


@pytest.mark.parametrize(
    ("edit", "words"),
    [
        (drop(3), NO_OUTPUT),
        (change(1, **{"async": False}), NO_OUTPUT),
        (change(1, **{"async": "yes"}), "Invalid type"),
        (insert(4, LATE[6]), "Duplicate function call output"),
        (move(6, 1), NO_CALL),
        (drop(5, 6), "must not end with an assistant"),
        (drop(2, 3, 4, 5, 6), "must not end with an assistant"),
    ],
)
def test_responses_refuses_with_asynchronous_calls(edit: Change, words: str) -> None:
    """Ordinary calls keep their rules, no output comes twice, and there is something to answer."""
    protocol = openai_responses.Responses()
    assert words in refused(protocol, "/v1/responses", responses(edited(LATE, edit)))


def test_responses_remembers_asynchronous_calls() -> None:
    """Calls of tools that the request declares so are marked, and answered once in a chain."""
    protocol = openai_responses.Responses()
    tools = [
        {"type": "function", "name": name, "parameters": {"type": "object"}, "async": name == "a"}
        for name in "ab"
    ]
    body = responses("go", tools=tools)
    protocol.read("/v1/responses", HEADERS, body)
    first = protocol.answer(body, together(ask("a"), ask("b")))
    assert [item.get("async") for item in first["output"]] == [True, None]
    one, two = (item["call_id"] for item in first["output"])

    def more(items: Any, previous: dict[str, Any]) -> dict[str, Any]:
        return responses(items, previous_response_id=previous["id"])

    def words(items: Any, previous: dict[str, Any]) -> str:
        return refused(protocol, "/v1/responses", more(items, previous))

    assert NO_OUTPUT in words([output(one, "1")], first)
    second_body = more([output(two, "2")], first)
    protocol.read("/v1/responses", HEADERS, second_body)
    second = protocol.answer(second_body, say("so"))
    assert "nothing to answer" in words([], second)
    third_body = more([output(one, "1")], second)
    assert protocol.read("/v1/responses", HEADERS, third_body).of("a") == ["1"]
    third = protocol.answer(third_body, say("there"))
    assert "Duplicate function call output" in words([output(one, "1")], third)
    assert "Invalid type" in refused(
        protocol, "/v1/responses", responses("go", tools=[{**tools[0], "async": 1}])
    )


def test_chat_completions_refuses_asynchronous_tools() -> None:
    """Chat Completions knows no such tools."""
    function = {"name": "a", "parameters": {"type": "object"}}
    body = {
        "model": "m",
        "messages": [{"role": "user", "content": "go"}],
        "tools": [{"type": "function", "function": function, "async": True}],
    }
    protocol = openai_chat.ChatCompletions()
    assert "tools[0].async" in refused(protocol, "/v1/chat/completions", body)


def test_responses_continues_a_stored_conversation() -> None:
    """After a previous response only what is new is sent, and all of it is read."""
    protocol, first = stored(together(say("so"), ask("a", x=1)))
    id_ = first["output"][1]["call_id"]
    body = responses([output(id_, "one")], previous_response_id=first["id"])
    view = protocol.read("/v1/responses", HEADERS, body)
    call = Asked(id_, "a", {"x": 1})
    assert view == View((User("go"), Assistant("so", (call,)), Result(call, "one")))
    second = protocol.answer(body, say("there"))
    more = responses("more", previous_response_id=second["id"])
    assert protocol.read("/v1/responses", HEADERS, more).entries[3:] == (
        Assistant("there"),
        User("more"),
    )
    # The first response can be gone on from in another way.
    assert protocol.read("/v1/responses", HEADERS, body) == view


def test_responses_refuses_to_continue_wrongly() -> None:
    """Calls of the previous response are answered once, at once, and no others."""
    protocol, first = stored(together(ask("a"), ask("b")))
    one, two = (item["call_id"] for item in first["output"])
    both = [output(one, "1"), output(two, "2")]

    def words(items: Any, previous: str = first["id"]) -> str:
        body = responses(items, previous_response_id=previous)
        return refused(protocol, "/v1/responses", body)

    assert NO_OUTPUT in words(both[:1])
    assert NO_OUTPUT in words([ITEMS[0]])
    assert NO_OUTPUT in words([ITEMS[0], *both])
    assert NO_CALL in words([*both, output("c9", "made up")])
    assert "Duplicate function call output" in words([*both, both[0]])
    assert "Duplicate item" in words([first["output"][0], *both])
    assert "not found" in words(both, "resp_9999")
    assert "not found" in words(both, "chatcmpl-1")
    body = responses(both, previous_response_id=first["id"])
    assert protocol.read("/v1/responses", HEADERS, body).count("2") == 1
    later = protocol.answer(body, say("there"))["id"]
    assert "Duplicate function call output" in words([both[0]], later)


def test_responses_wants_reasoning_with_its_item() -> None:
    """A reasoning item and what came after it go together."""
    protocol, first = stored(ask("a"), reasons=True)
    thought, call = first["output"]
    user, result = ITEMS[0], output(call["call_id"], "1")
    good = responses([user, thought, call, result])
    assert protocol.read("/v1/responses", HEADERS, good).count("1") == 1
    for items, words in (
        ([user, call, result], "without its required 'reasoning' item"),
        ([user, thought, user], "required following item"),
        ([user, thought, {**call, "id": None}, result], "required following item"),
    ):
        assert words in refused(protocol, "/v1/responses", responses(items))


# -- Anthropic's Messages --------------------------------------------------------------------------


def tool_use(id_: str, name: str, args: Any) -> dict[str, Any]:
    """A call as Messages has it."""
    return {"type": "tool_use", "id": id_, "name": name, "input": args}


def tool_result(id_: str, content: Any, **fields: Any) -> dict[str, Any]:
    """A result as Messages has it."""
    return {"type": "tool_result", "tool_use_id": id_, "content": content, **fields}


TEXT = {"type": "text", "text": "well?"}
MESSAGES: list[Any] = [
    {"role": "user", "content": "go"},
    {
        "role": "assistant",
        "content": [
            {"type": "text", "text": "so"},
            tool_use("c1", "a", {"x": 1}),
            tool_use("c2", "b", {}),
        ],
    },
    {
        "role": "user",
        "content": [
            tool_result("c1", "one", is_error=False),
            tool_result("c2", [{"type": "text", "text": "two"}]),
        ],
    },
    {"role": "assistant", "content": "there"},
    {"role": "user", "content": "more"},
]
MISSING_RESULT = "were found without `tool_result` blocks"
UNEXPECTED = "unexpected `tool_use_id` found in `tool_result` blocks"


def anthropic(messages: Any, **fields: Any) -> dict[str, Any]:
    """A request to Messages."""
    return {"model": "m", "max_tokens": 9, "messages": messages, **fields}


def test_anthropic_reads() -> None:
    """A valid request is read as it is meant."""
    protocol = anthropic_messages.Messages()
    assert protocol.read("/v1/messages", HEADERS, anthropic(MESSAGES)) == READ


@pytest.mark.parametrize(
    ("edit", "words"),
    [
        (drop(0, 1, 2, 3, 4), "at least one message"),
        (drop(0), "alternate"),
        (drop(3), "alternate"),
        (drop(4), "prefill"),
        (inside(2, "content", drop(0)), MISSING_RESULT),
        (change(2, content="well?"), MISSING_RESULT),
        (inside(2, "content", insert(0, TEXT)), "must come first"),
        (inside(2, "content", insert(1, TEXT)), "must come first"),
        (inside(2, "content", insert(1, tool_result("c1", "1"))), "single result"),
        (inside(2, "content", insert(1, tool_result("c3", "3"))), UNEXPECTED),
        (change(4, content=[tool_result("c1", "one")]), UNEXPECTED),
        (inside(2, "content", change(1, content=[{"type": "text", "text": ""}])), "non-whitespace"),
        (inside(2, "content", change(1, is_error="no")), "boolean"),
        (inside(1, "content", change(1, id="c 1")), "pattern"),
        (inside(1, "content", change(2, id="c1")), "must be unique"),
        (change(3, content=[tool_use("c1", "a", {})]), "must be unique"),
        (inside(1, "content", change(1, input="{}")), "dictionary"),
        (inside(1, "content", change(1, index=0)), "Extra inputs"),
        (inside(1, "content", change(0, text=" ")), "non-whitespace"),
        (change(3, content=""), "non-whitespace"),
        (change(3, content=[]), "non-empty content"),
        (change(3, content=[tool_result("c1", "one")]), "found for role assistant"),
        (change(4, content=[tool_use("c9", "a", {})]), "found for role user"),
        (change(0, role="system"), "Input should be"),
        (change(0, name="me"), "Extra inputs"),
        (
            inside(
                1, "content", insert(0, {"type": "thinking", "thinking": "?", "signature": "s"})
            ),
            "Invalid `signature`",
        ),
    ],
)
def test_anthropic_refuses(edit: Change, words: str) -> None:
    """Messages: alternation, results right after and first, and forms of blocks."""
    body = anthropic(edited(MESSAGES, edit))
    assert words in refused(anthropic_messages.Messages(), "/v1/messages", body)


def test_anthropic_wants_thoughts_back() -> None:
    """In a turn with tools the assistant's messages start with a thinking block."""
    protocol = anthropic_messages.Messages()
    thinking = {"type": "enabled", "budget_tokens": 1}
    current = MESSAGES[:3]
    thought = {"type": "thinking", "thinking": "?", "signature": anthropic_messages.sign("?")}
    with_thought = edited(current, inside(1, "content", insert(0, thought)))
    assert protocol.read("/v1/messages", HEADERS, anthropic(with_thought, thinking=thinking))
    assert protocol.read("/v1/messages", HEADERS, anthropic(MESSAGES, thinking=thinking))
    late = edited(current, inside(1, "content", insert(1, thought)))
    for messages in (current, late):
        body = anthropic(messages, thinking=thinking)
        assert "must start with a thinking block" in refused(protocol, "/v1/messages", body)


# -- Gemini's generateContent ----------------------------------------------------------------------


def function_call(name: str, args: dict[str, Any]) -> dict[str, Any]:
    """A call as Gemini has it."""
    return {"functionCall": {"name": name, "args": args}}


def function_response(name: str, text: str) -> dict[str, Any]:
    """A result as langchain-google-genai sends it."""
    return {"functionResponse": {"name": name, "response": {"output": text}}}


CONTENTS: list[Any] = [
    {"role": "user", "parts": [{"text": "go"}]},
    {
        "role": "model",
        "parts": [{"text": "so"}, function_call("a", {"x": 1}), function_call("b", {})],
    },
    {"role": "user", "parts": [function_response("a", "one"), function_response("b", "two")]},
    {"role": "model", "parts": [{"text": "there"}]},
    {"role": "user", "parts": [{"text": "more"}]},
]
COUNTS = "number of function response parts is equal"
GENERATE = "/v1beta/models/gemini-2.5-flash:generateContent"
THINKING = "/v1beta/models/gemini-3-pro-preview:streamGenerateContent?alt=sse"


def test_gemini_reads() -> None:
    """A valid request is read as it is meant; calls get ids from their places."""
    view = gemini.GenerateContent().read(GENERATE, HEADERS, {"contents": copy.deepcopy(CONTENTS)})
    assert [type(entry) for entry in view.entries] == [type(entry) for entry in READ.entries]
    assert [result.text for result in view.results] == ["one", "two"]
    assert [(result.call.name, result.call.args) for result in view.results] == [
        ("a", {"x": 1}),
        ("b", {}),
    ]


@pytest.mark.parametrize(
    ("edit", "words"),
    [
        (drop(0, 1, 2, 3, 4), "contents is not specified"),
        (drop(0), "first content"),
        (drop(3), "stand together"),
        (drop(2), "stand together"),
        (drop(4), "last content"),
        (inside(2, "parts", drop(0)), COUNTS),
        (inside(2, "parts", insert(0, function_response("a", "one"))), COUNTS),
        (change(2, parts=[{"text": "well?"}]), COUNTS),
        (change(4, parts=[function_response("a", "one")]), COUNTS),
        (inside(2, "parts", insert(0, {"text": "well?"})), "immediately after"),
        (inside(2, "parts", move(1, 0)), "answers a call of"),
        (change(2, role="function"), "valid role"),
        (change(1, role="assistant"), "valid role"),
        (change(3, parts=[]), "must not be empty"),
        (change(3, parts=[{"text": ""}]), "empty text parameter"),
        (change(3, parts=[{}]), "oneof field"),
        (change(3, parts=[{"text": "a", **function_call("a", {})}]), "oneof field"),
        (change(3, parts=[function_response("a", "one")]), "not for the role model"),
        (change(4, parts=[function_call("a", {})]), "not for the role user"),
        (change(4, parts=[{"text": "a", "asyncfc": {}}]), "Extra inputs"),
        (
            inside(2, "parts", change(0, functionResponse={"name": "a", "response": "one"})),
            "Struct",
        ),
    ],
)
def test_gemini_refuses(edit: Change, words: str) -> None:
    """Gemini: as many responses as calls, together, in order, and forms of parts."""
    body = {"contents": edited(CONTENTS, edit)}
    assert words in refused(gemini.GenerateContent(), GENERATE, body)


def test_gemini_3_wants_signatures_back() -> None:
    """A call of the current turn comes back with the signature that it had."""
    protocol = gemini.GenerateContent()
    current = copy.deepcopy(CONTENTS[:3])
    assert "thought_signature" in refused(protocol, THINKING, {"contents": current})
    assert protocol.read(THINKING, HEADERS, {"contents": copy.deepcopy(CONTENTS)})
    reply = protocol.answer({}, ask("a"))["candidates"][0]["content"]["parts"][0]
    signed = edited(
        CONTENTS[:3],
        inside(1, "parts", change(1, thoughtSignature=reply["thoughtSignature"])),
    )
    assert protocol.read(THINKING, HEADERS, {"contents": signed})


# -- around the conversation -----------------------------------------------------------------------

GOOD = [
    (openai_chat.ChatCompletions, "/v1/chat/completions", {"model": "m", "messages": CHAT}),
    (openai_responses.Responses, "/v1/responses", responses(ITEMS)),
    (anthropic_messages.Messages, "/v1/messages", anthropic(MESSAGES)),
    (gemini.GenerateContent, GENERATE, {"contents": CONTENTS}),
]


@pytest.mark.parametrize(
    ("make", "path", "body"), GOOD, ids=["chat", "responses", "anthropic", "gemini"]
)
def test_every_server_wants_key_path_and_known_fields(make: Any, path: str, body: Any) -> None:
    """Without a key, at another address, or with an unknown field a request is refused."""
    protocol = make()
    assert protocol.read(path, HEADERS, copy.deepcopy(body))
    for other_path, headers, fields in (
        ("/v2" + path, HEADERS, {}),
        (path, {}, {}),
        (path, HEADERS, {"asyncfc": True}),
    ):
        with pytest.raises(RefusedError):
            protocol.read(other_path, headers, copy.deepcopy({**body, **fields}))
