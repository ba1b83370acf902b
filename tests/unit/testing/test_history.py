"""The rules of providers about message histories."""

from __future__ import annotations

from typing import Any

import pytest
from langchain_core.messages import (
    AIMessage,
    BaseMessage,
    HumanMessage,
    InvalidToolCall,
    RemoveMessage,
    SystemMessage,
    ToolMessage,
)

from langchain_asyncfc.testing import InvalidHistoryError, Provider, assert_valid_history, call

EVERYONE = ("openai", "anthropic", "gemini")
SYSTEM = SystemMessage("Be brief.")
USER = HumanMessage("Hello")
ANSWER = AIMessage("Hi")


def calls(*ids: str, text: str = "") -> AIMessage:
    """An assistant message with calls of these ids."""
    return AIMessage(text, tool_calls=[call("search", id_, query="x") for id_ in ids])


def answers(*ids: str, text: str = "found") -> list[BaseMessage]:
    """A tool message for each of these ids."""
    return [ToolMessage(text, tool_call_id=id_) for id_ in ids]


def broken(id_: str) -> AIMessage:
    """An assistant message with a call whose arguments are not JSON."""
    bad = InvalidToolCall(type="invalid_tool_call", name="search", args="{", id=id_, error=None)
    return AIMessage("", invalid_tool_calls=[bad])


VALID: dict[str, list[BaseMessage]] = {
    "nothing": [],
    "a question": [USER],
    "an answer": [SYSTEM, USER, ANSWER],
    "two system messages at the start": [SYSTEM, SYSTEM, USER],
    "two user messages": [USER, USER],
    "a call": [USER, calls("a"), *answers("a")],
    "calls with text": [USER, calls("a", "b", text="Both."), *answers("a", "b"), ANSWER],
    "answers in another order": [USER, calls("a", "b", "c"), *answers("c", "a", "b")],
    "calls in a row": [USER, calls("a"), *answers("a"), calls("b"), *answers("b"), ANSWER, USER],
    "an empty tool result": [USER, calls("a"), *answers("a", text="")],
    "an empty last answer": [USER, AIMessage("")],
    "an image without text": [HumanMessage([{"type": "image", "url": "https://x/y.png"}])],
    "text as strings and blocks": [HumanMessage(["", {"type": "text", "text": "Hello"}])],
}


@pytest.mark.parametrize("name", VALID)
@pytest.mark.parametrize("provider", [None, *EVERYONE])
def test_valid_histories_pass(name: str, provider: Provider | None) -> None:
    """What every provider accepts is accepted, under each one's rules and all together."""
    assert_valid_history(VALID[name], provider)


def case(messages: list[BaseMessage], index: int, rule: str, *providers: str) -> Any:
    """A history, where it is wrong, which rule it breaks, and who rejects it."""
    return pytest.param(messages, index, rule, providers or EVERYONE, id=f"{rule}-{index}")


INVALID = [
    case([USER, calls("a")], 1, "unanswered-call"),
    case([USER, calls("a", "b"), *answers("b")], 1, "unanswered-call"),
    case([USER, calls("a"), USER], 1, "unanswered-call"),
    case([USER, broken("a")], 1, "unanswered-call", "openai"),
    case([USER, *answers("a")], 1, "orphan-tool-message"),
    case([USER, ANSWER, *answers("a")], 2, "orphan-tool-message"),
    case([*answers("a"), USER], 0, "orphan-tool-message"),
    case([USER, calls("a"), *answers("a", "b")], 3, "orphan-tool-message"),
    case(
        [USER, calls("a"), *answers("a"), calls("b"), *answers("b", "a")], 5, "orphan-tool-message"
    ),
    case([USER, broken("a"), *answers("a")], 2, "orphan-tool-message", "anthropic", "gemini"),
    case([USER, calls("a"), *answers("a", "a")], 3, "answered-twice"),
    case([USER, calls("a", "b"), *answers("a", "b", "a")], 4, "answered-twice"),
    case([USER, calls("a", "a"), *answers("a")], 1, "duplicate-id"),
    case(
        [USER, calls("a"), *answers("a"), calls("a"), *answers("a")],
        3,
        "reused-id",
        "anthropic",
        "gemini",
    ),
    case([USER, ANSWER, ANSWER], 2, "adjacent-assistants"),
    case([USER, ANSWER, calls("a"), *answers("a")], 2, "adjacent-assistants"),
    case([SYSTEM, USER, SYSTEM], 2, "late-system", "anthropic", "gemini"),
    case([USER, calls("a"), *answers("a"), SYSTEM, USER], 3, "late-system", "anthropic", "gemini"),
    case([ANSWER, USER], 0, "first-not-user", "anthropic", "gemini"),
    case([SYSTEM, calls("a"), *answers("a")], 1, "first-not-user", "anthropic", "gemini"),
    case([HumanMessage("")], 0, "empty-content", "anthropic", "gemini"),
    case([HumanMessage(" \n")], 0, "empty-content", "anthropic"),
    case([HumanMessage([])], 0, "empty-content", "anthropic", "gemini"),
    case([HumanMessage([{"type": "text", "text": ""}])], 0, "empty-content", "anthropic", "gemini"),
    case([SystemMessage(""), USER], 0, "empty-content", "anthropic", "gemini"),
    case([USER, AIMessage(""), USER], 1, "empty-content", "anthropic", "gemini"),
    case([USER, RemoveMessage(id="x")], 1, "unknown-role"),
]


@pytest.mark.parametrize(("messages", "index", "rule", "providers"), INVALID)
def test_invalid_histories_are_refused(
    messages: list[BaseMessage], index: int, rule: str, providers: tuple[str, ...]
) -> None:
    """The error has the message, the rule and the providers, and only those providers object."""
    with pytest.raises(InvalidHistoryError) as caught:
        assert_valid_history(messages)
    found = [f for f in caught.value.findings if (f.index, f.rule) == (index, rule)]
    assert [set(finding.providers) for finding in found] == [set(providers)]
    for provider in EVERYONE:
        reasons = rules_broken(messages, provider)
        assert ((index, rule) in reasons) == (provider in providers)


def rules_broken(messages: list[BaseMessage], provider: Any) -> list[tuple[int, str]]:
    """Where one provider objects, and by which rule."""
    try:
        assert_valid_history(messages, provider)
    except InvalidHistoryError as error:
        return [(f.index, f.rule) for f in error.findings if f.providers == (provider,)]
    return []


def test_missing_ids_are_refused() -> None:
    """A call without an id cannot be answered at OpenAI and Anthropic."""
    message = AIMessage("", tool_calls=[{"name": "search", "args": {}, "id": None}])
    history = [USER, message, ToolMessage("found", tool_call_id="")]
    for provider in ("openai", "anthropic"):
        assert rules_broken(history, provider) == [(1, "missing-id")]
    assert rules_broken(history, "gemini") == []


@pytest.mark.parametrize(
    ("messages", "rule", "providers"),
    [
        ([], "no-message", EVERYONE),
        ([SYSTEM], "no-message", ("anthropic", "gemini")),
        ([USER, ANSWER], "ends-with-assistant", ("anthropic", "gemini")),
        ([USER, calls("a"), *answers("a"), ANSWER], "ends-with-assistant", ("anthropic", "gemini")),
    ],
)
def test_a_request_needs_something_to_answer(
    messages: list[BaseMessage], rule: str, providers: tuple[str, ...]
) -> None:
    """A finished history is valid, but not as a request to the model."""
    assert_valid_history(messages)
    with pytest.raises(InvalidHistoryError, match=rule) as caught:
        assert_valid_history(messages, for_model_call=True)
    (finding,) = caught.value.findings
    assert set(finding.providers) == set(providers)


@pytest.mark.parametrize("messages", [[USER], [USER, calls("a"), *answers("a")]])
def test_a_request_with_something_to_answer_passes(messages: list[BaseMessage]) -> None:
    """A user message or tool results at the end can be answered."""
    assert_valid_history(messages, for_model_call=True)


def test_the_error_tells_it_all() -> None:
    """The message of the error lists every finding in order, and the messages."""
    history = [USER, calls("a"), HumanMessage("x" * 100), *answers("a"), SYSTEM]
    with pytest.raises(AssertionError) as caught:
        assert_valid_history(history)
    assert str(caught.value).splitlines() == [
        "Invalid history:",
        (
            "  message 1: unanswered-call: call 'a' of 'search' has no tool message "
            "right after it (openai, anthropic, gemini)"
        ),
        (
            "  message 3: orphan-tool-message: the assistant message right before it has no "
            "call 'a' (openai, anthropic, gemini)"
        ),
        (
            "  message 4: late-system: a system message stands after the start of the "
            "conversation (anthropic, gemini)"
        ),
        "The messages:",
        "  0: human 'Hello'",
        "  1: ai calls search(a)",
        f"  2: human '{'x' * 60}...'",
        "  3: tool for 'a' 'found'",
        "  4: system 'Be brief.'",
    ]


def test_takes_messages_in_any_form() -> None:
    """Dicts and pairs are read as messages, as everywhere in LangChain."""
    assert_valid_history([("user", "hi"), {"role": "assistant", "content": "hello"}])
    with pytest.raises(InvalidHistoryError, match="adjacent-assistants"):
        assert_valid_history([("user", "hi"), ("assistant", "a"), ("assistant", "b")])


def test_unknown_provider_is_refused() -> None:
    """A provider whose rules are not known is an error, not a pass."""
    with pytest.raises(ValueError, match="openai, anthropic, gemini, not 'mistral'"):
        assert_valid_history([USER], "mistral")  # type: ignore[arg-type]
