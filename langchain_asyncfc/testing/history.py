"""Is a message history one that OpenAI, Anthropic and Gemini accept?

`assert_valid_history(messages)` knows the rules on which a request is answered with a 400 instead
of a completion. They are about ids and the order of messages, not about models or meaning.

| rule | openai | anthropic | gemini |
|---|---|---|---|
| `unanswered-call`: a call has a tool message in the group right after its message | x | x | x |
| `orphan-tool-message`: a tool message has its call in the assistant message before | x | x | x |
| `answered-twice`: no call has two tool messages | x | x | x |
| `missing-id`: each call has an id | x | x | |
| `duplicate-id`: no two calls of one message share an id | x | x | x |
| `reused-id`: no two calls of the history share an id | | x | x |
| `adjacent-assistants`: no two assistant messages stand together | x | x | x |
| `late-system`: system messages only at the start | | x | x |
| `first-not-user`: a user message comes first, after the system messages | | x | x |
| `empty-content`: user, system and assistant messages say something | | x | x |
| `no-message`: there is a message to answer (with `for_model_call`) | x | x | x |
| `ends-with-assistant`: what is there was not answered yet (with `for_model_call`) | | x | x |
| `unknown-role`: each message has a role that providers have | x | x | x |

Where a rule comes from:

- `unanswered-call`, `orphan-tool-message`: OpenAI "An assistant message with 'tool_calls' must be
  followed by tool messages responding to each 'tool_call_id'" (agno-agi/agno#3105); Anthropic "Each
  `tool_use` block must have a corresponding `tool_result` block in the next message"
  (anthropics/claude-code#7929) and the reverse (anthropics/claude-code#18947); Gemini "the number
  of function response parts is equal to the number of function call parts of the function call
  turn" (google-gemini/gemini-cli#4217). langchain-google-genai hides some of these: it looks for a
  call's tool message in the whole history, and drops the others.
- `answered-twice`: OpenAI "Duplicate value for 'tool_call_id'" (agno-agi/agno#5116); Gemini counts.
- `duplicate-id`, `reused-id`: Anthropic "`tool_use` ids must be unique", in the whole request
  (anthropics/claude-code#28515, HKUDS/nanobot#4444). Gemini's calls have no ids, but
  langchain-google-genai finds results by id: the second of two equal ids in one message gets none,
  and a reused id gets the old result, silently.
- `adjacent-assistants`: Gemini "function call turn comes immediately after a user turn or after a
  function response turn" (google-gemini/gemini-cli#26486); Claude on Bedrock "must alternate
  between user and assistant roles" (microsoft/semantic-kernel#10277); behind OpenAI's protocol,
  Mistral and DeepSeek (microsoft/autogen#5965). OpenAI and Anthropic themselves accept it,
  Anthropic by merging the two. It is a rule for all three because the library promises it for all.
- `late-system`: langchain-anthropic "Received multiple non-consecutive system messages"
  (langchain-ai/langchain#20835); Google "SystemMessage should be the first"
  (langchain-ai/langgraph#628), today moved to the start or dropped.
- `first-not-user`: Anthropic "first message must use the user role" (posit-dev/py-shiny#1530);
  Gemini, when a history starts with a function call (google-gemini/gemini-cli#11814).
- `empty-content`: Anthropic "all messages must have non-empty content except for the optional final
  assistant message" (langchain-ai/langchain#35081) and "text content blocks must contain
  non-whitespace text" (home-assistant/core#175637), tool results excepted; Gemini "it has an empty
  text parameter" (google-gemini/deprecated-generative-ai-python#697).
- `no-message`: OpenAI "Invalid 'messages': empty array" (CopilotKit/CopilotKit#529); Gemini
  "contents is not specified" (langchain-ai/langchain-google#1298).
- `ends-with-assistant`: Anthropic, from Claude 4.6 on, "does not support assistant message prefill.
  The conversation must end with a user message" (agenticloops-ai/agentic-ai-engineering#43); Gemini
  (crewAIInc/crewAI#6973).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, TypeAlias, get_args

from langchain_core.messages import (
    AIMessage,
    BaseMessage,
    HumanMessage,
    MessageLikeRepresentation,
    SystemMessage,
    ToolMessage,
    convert_to_messages,
)

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

Provider: TypeAlias = Literal["openai", "anthropic", "gemini"]
"""Whose rules: OpenAI's Chat Completions, Anthropic's Messages, Gemini's generateContent."""

# Long enough to know a message again, short enough for one line of a test log.
SUMMARY_CHARACTERS = 60

PROVIDERS: tuple[Provider, ...] = get_args(Provider)


class InvalidHistoryError(AssertionError):
    """Raised by `assert_valid_history`; `findings` has all that is wrong, in message order."""

    def __init__(self, findings: Sequence[Finding], messages: Sequence[BaseMessage]) -> None:
        self.findings: tuple[Finding, ...] = tuple(findings)
        lines = [f"  {finding}" for finding in self.findings]
        listing = [f"  {index}: {_summary(message)}" for index, message in enumerate(messages)]
        super().__init__("\n".join(["Invalid history:", *lines, "The messages:", *listing]))


@dataclass(frozen=True, slots=True)
class Finding:
    """One reason to reject a history."""

    index: int
    """The message that is at fault, counted from 0."""
    rule: str
    """A rule's name, as in the table of this module."""
    text: str
    """What is wrong, in words."""
    providers: tuple[Provider, ...] = ()
    """Who rejects it."""

    def __str__(self) -> str:
        return f"message {self.index}: {self.rule}: {self.text} ({', '.join(self.providers)})"


def assert_valid_history(
    messages: Sequence[MessageLikeRepresentation],
    provider: Provider | None = None,
    *,
    for_model_call: bool = False,
) -> None:
    """Assert that a provider would accept these messages; the rules are this module's table.

    Args:
        messages: The history, oldest first.
        provider: Only this provider's rules. None is all three, which is what this library
            promises.
        for_model_call: Also check that there is something to answer: a finished history may end
            with an assistant message, a request may not.

    Raises:
        InvalidHistoryError: An `AssertionError` that names each message at fault, the rule that it
            breaks, and the providers that reject it.
        ValueError: If there is no such provider.
    """
    if provider is not None and provider not in PROVIDERS:
        raise ValueError(f"provider must be one of {', '.join(PROVIDERS)}, not {provider!r}")
    history = convert_to_messages(messages)
    rejected: dict[Finding, list[Provider]] = {}
    for name in PROVIDERS if provider is None else (provider,):
        for finding in _findings(history, name, for_model_call):
            rejected.setdefault(finding, []).append(name)
    if rejected:
        findings = [
            Finding(finding.index, finding.rule, finding.text, tuple(providers))
            for finding, providers in rejected.items()
        ]
        raise InvalidHistoryError(sorted(findings, key=lambda finding: finding.index), history)


def _findings(
    history: list[BaseMessage], provider: Provider, for_model_call: bool
) -> Iterator[Finding]:
    yield from _check_groups(history, provider)
    yield from _check_ids(history, provider)
    yield from _check_order(history, provider)
    if provider != "openai":
        yield from _check_contents(history, provider)
    if for_model_call:
        yield from _check_request(history, provider)


def _check_groups(history: list[BaseMessage], provider: Provider) -> Iterator[Finding]:
    """Calls and tool messages: a group of tool messages answers the message right before it."""
    for start in range(-1, len(history)):  # -1: a group at the very start, with no caller
        caller = history[start] if start >= 0 else None
        if isinstance(caller, ToolMessage):
            continue
        calls = _calls(caller, provider) if caller else []
        group = _group(history, start + 1)
        yield from _check_answers(group, {id_ for id_, _ in calls})
        answered = {answer.tool_call_id for _, answer in group}
        for id_, name in calls:
            if id_ not in answered:
                text = f"call {id_!r} of {name!r} has no tool message right after it"
                yield Finding(start, "unanswered-call", text)


def _check_answers(group: list[tuple[int, ToolMessage]], called: set[str]) -> Iterator[Finding]:
    seen: dict[str, int] = {}
    for index, answer in group:
        id_ = answer.tool_call_id
        if id_ not in called:
            text = f"the assistant message right before it has no call {id_!r}"
            yield Finding(index, "orphan-tool-message", text)
        elif id_ in seen:
            text = f"call {id_!r} was already answered by message {seen[id_]}"
            yield Finding(index, "answered-twice", text)
        seen.setdefault(id_, index)


def _check_ids(history: list[BaseMessage], provider: Provider) -> Iterator[Finding]:
    earlier: dict[str, int] = {}
    for index, message in enumerate(history):
        here: set[str] = set()
        for id_, name in _calls(message, provider):
            if not id_ and provider != "gemini":
                yield Finding(index, "missing-id", f"a call of {name!r} has no id")
            elif id_ in here:
                yield Finding(index, "duplicate-id", f"two calls have the id {id_!r}")
            elif id_ in earlier and provider != "openai":
                text = f"message {earlier[id_]} has a call {id_!r} too"
                yield Finding(index, "reused-id", text)
            here.add(id_)
        earlier.update(dict.fromkeys(here, index))


def _check_order(history: list[BaseMessage], provider: Provider) -> Iterator[Finding]:
    started = False
    for index, message in enumerate(history):
        if not isinstance(message, AIMessage | HumanMessage | SystemMessage | ToolMessage):
            text = f"no provider has a role for {type(message).__name__}"
            yield Finding(index, "unknown-role", text)
        if index and isinstance(message, AIMessage) and isinstance(history[index - 1], AIMessage):
            text = f"message {index - 1} is an assistant message too"
            yield Finding(index, "adjacent-assistants", text)
        if isinstance(message, SystemMessage):
            if started and provider != "openai":
                text = "a system message stands after the start of the conversation"
                yield Finding(index, "late-system", text)
            continue
        if not started and provider != "openai" and not isinstance(message, HumanMessage):
            text = f"the conversation starts with {_summary(message)}, not with a user message"
            yield Finding(index, "first-not-user", text)
        started = True


def _check_contents(history: list[BaseMessage], provider: Provider) -> Iterator[Finding]:
    for index, message in enumerate(history):
        is_final_answer = isinstance(message, AIMessage) and index == len(history) - 1
        if isinstance(message, ToolMessage) or is_final_answer or _calls(message, provider):
            continue
        if not _says_something(message, blank_counts=provider == "gemini"):
            yield Finding(index, "empty-content", f"{_summary(message)} has no content")


def _check_request(history: list[BaseMessage], provider: Provider) -> Iterator[Finding]:
    to_answer = [
        message
        for message in history
        # OpenAI accepts a system message alone; for the others it is not one of the messages.
        if provider == "openai" or not isinstance(message, SystemMessage)
    ]
    if not to_answer:
        yield Finding(max(0, len(history) - 1), "no-message", "there is no message to answer")
    elif isinstance(to_answer[-1], AIMessage) and provider != "openai":
        text = "the history ends with an assistant message, so there is nothing to answer"
        yield Finding(len(history) - 1, "ends-with-assistant", text)


def _group(history: list[BaseMessage], start: int) -> list[tuple[int, ToolMessage]]:
    """The tool messages that stand together from `start` on, with their indexes."""
    group = []
    for index in range(start, len(history)):
        message = history[index]
        if not isinstance(message, ToolMessage):
            break
        group.append((index, message))
    return group


def _calls(message: BaseMessage, provider: Provider) -> list[tuple[str, str]]:
    """The calls that are sent: id and name. langchain-openai also sends those with broken JSON."""
    if not isinstance(message, AIMessage):
        return []
    calls = [(call["id"] or "", call["name"]) for call in message.tool_calls]
    if provider == "openai":
        calls += [(bad["id"] or "", bad["name"] or "") for bad in message.invalid_tool_calls]
    return calls


def _says_something(message: BaseMessage, *, blank_counts: bool) -> bool:
    """Has the message text, or a block that is not text? Blank text counts as text where asked."""
    blocks = [message.content] if isinstance(message.content, str) else message.content
    for block in blocks:
        if isinstance(block, dict) and block.get("type") != "text":
            return True
        text = block if isinstance(block, str) else block.get("text", "")
        if text if blank_counts else text.strip():
            return True
    return False


def _summary(message: BaseMessage) -> str:
    """A message in a few words: its role, its calls, the start of its text."""
    words = [message.type]
    if isinstance(message, ToolMessage):
        words.append(f"for {message.tool_call_id!r}")
    if isinstance(message, AIMessage):
        words += [f"calls {call['name']}({call['id']})" for call in message.tool_calls]
    text = message.text
    if text:
        words.append(
            repr(text if len(text) <= SUMMARY_CHARACTERS else f"{text[:SUMMARY_CHARACTERS]}...")
        )
    return " ".join(words)
