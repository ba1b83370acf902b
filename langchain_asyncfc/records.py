"""What the messages of a thread remember of its futures.

A placeholder carries a record in `additional_kwargs["asyncfc"]`, which no provider is sent. What
is pending and what was delivered is derived from these records alone (rule 23), so that replays,
forks and restarts see the thread as it is; process memory is a cache.

| message | record |
|---|---|
| placeholder | `{"future": id, "state": "pending"}`; with `"detach": True` if nobody waits for it |
| outcome in place of it | `{"future": id, "state": …}`; with `"value"` if JSON keeps it exactly |
| the same of a native call | also `"after"`: the id of the message after which it was delivered |
| message that outcomes rode on | `{"delivered": {id: {"state": …, "value": …}}}` |
| `AIMessage` with values for references | `{"literal": [call id, …], "values_of": [id, …]}` |

A record is data from a message: whatever does not have this form is not a record.
"""

from __future__ import annotations

import itertools
import operator
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Final, TypeVar

from langchain_core.messages import AIMessage, BaseMessage, HumanMessage, ToolCall, ToolMessage

from langchain_asyncfc.errors import FailedReference
from langchain_asyncfc.futures import FutureState, Outcome, future_id, ordinal_of
from langchain_asyncfc.values import plain_value

__all__ = [
    "CONTROL_TOOLS",
    "Thread",
    "ThreadReader",
    "outcome_record",
    "read_thread",
    "with_record",
]

AWAIT_FUTURE: Final = "await_future"
CANCEL_FUTURE: Final = "cancel_future"
CONTROL_TOOLS: Final = frozenset({AWAIT_FUTURE, CANCEL_FUTURE})
"""Names of the tools that are calls to the runtime itself; they get no future."""

_KEY: Final = "asyncfc"
_PENDING: Final = "pending"
_DEEPEST: Final = 64
"""Levels that a kept value may have. LangGraph's serializer takes some 250, other ones fewer."""
_LEAST: Final = -(2**63)
_GREATEST: Final = 2**64 - 1
_OTHER_TYPES: Final = frozenset({float, bool, type(None)})
_NONE: Final[frozenset[Any]] = frozenset()


def _record(message: BaseMessage) -> Mapping[str, Any]:
    record = message.additional_kwargs.get(_KEY)
    return record if isinstance(record, Mapping) else {}


_Message = TypeVar("_Message", bound=BaseMessage)


def with_record(message: _Message, record: Mapping[str, Any], **changes: Any) -> _Message:
    """A copy of a message with a record, merged into one that it has."""
    kwargs = {**message.additional_kwargs, **as_kwargs({**_record(message), **record})}
    return message.model_copy(update={**changes, "additional_kwargs": kwargs})


def as_kwargs(record: Mapping[str, Any]) -> dict[str, Any]:
    """What a new message that has a record has as its `additional_kwargs`."""
    return {_KEY: record}


def literal_record(call_ids: Iterable[str | None], futures: Iterable[str]) -> dict[str, Any]:
    """The record of a message in whose calls the references were replaced by values.

    Args:
        call_ids: The calls.
        futures: What they referred to.
    """
    return {"literal": list(call_ids), "values_of": list(futures)}


def literal_calls(message: AIMessage) -> frozenset[Any]:
    """Ids of a message's calls whose arguments hold no references."""
    ids = _record(message).get("literal")
    return frozenset(i for i in ids if isinstance(i, str)) if isinstance(ids, list) else _NONE


def native_calls(message: AIMessage) -> frozenset[str]:
    """Ids of a message's calls that the model itself made as asynchronous ones (see `native`)."""
    if not isinstance(message.content, list):
        return _NONE
    found = set()
    for block in message.content:
        if not isinstance(block, Mapping):
            continue
        extras = block.get("extras")
        if block.get("async") is True or (isinstance(extras, Mapping) and extras.get("async")):
            call_id = block.get("call_id") or block.get("id")
            if isinstance(call_id, str):
                found.add(call_id)
    return frozenset(i for call in message.tool_calls if (i := call["id"]) and i in found)


def came_after(message: ToolMessage) -> str | None:
    """The id of the message after which the output of a native call was delivered."""
    after = _record(message).get("after")
    return after if isinstance(after, str) else None


def is_pending(message: BaseMessage) -> bool:
    """Whether a message is a placeholder."""
    return _record(message).get("state") == _PENDING


def outcomes_in(message: BaseMessage) -> dict[str, str]:
    """The futures of whose outcome a message tells, by id, each with its state."""
    record = _record(message)
    told = record.get("delivered")
    found: dict[str, Any] = {}
    if isinstance(told, Mapping):
        found = {i: kept.get("state") for i, kept in told.items() if isinstance(kept, Mapping)}
    if isinstance(future := record.get("future"), str) and record.get("state") != _PENDING:
        found[future] = record.get("state")
    return {i: state for i, state in found.items() if isinstance(state, str)}


def pending_record(future: str, *, detach: bool) -> dict[str, Any]:
    """The record of a placeholder."""
    return {"future": future, "state": _PENDING, **({"detach": True} if detach else {})}


def outcome_record(outcome: Outcome) -> dict[str, Any]:
    """What is kept of a delivered outcome: its state, and its value where JSON keeps it exactly."""
    kept: dict[str, Any] = {"state": str(outcome.state)}
    if outcome.state is FutureState.RESOLVED and is_json(outcome.value):
        kept["value"] = outcome.value
    return kept


def is_json(value: Any) -> bool:
    """Whether a value is made of JSON's own types only, so that it survives a checkpoint.

    It does not if it is nested too deep, holds itself, or has numbers or texts that msgpack, in
    which checkpointers write, does not know: its integers have 64 bits, and its texts are UTF-8.
    """
    level = [value]
    for _ in range(_DEEPEST):
        below: dict[int, Any] = {}  # by identity, since one that holds itself may do so often
        for item in level:
            kind = type(item)
            if kind is list:
                below[id(item)] = item
            elif kind is dict and all(type(key) is str and _is_utf8(key) for key in item):
                below[id(item)] = item.values()
            elif not (
                (kind is str and (item.isascii() or _is_utf8(item)))
                or (kind is int and _LEAST <= item <= _GREATEST)
                or kind in _OTHER_TYPES
            ):
                return False
        if not below:
            return True
        level = list(itertools.chain.from_iterable(below.values()))
    return False


def _is_utf8(text: str) -> bool:
    """Whether a text has no half of a surrogate pair, which comes back as something else."""
    if text.isascii():
        return True
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


@dataclass(frozen=True, slots=True)
class Origin:
    """Where a call stands in its thread.

    Attributes:
        message: The message that made it.
        tool_call: The call.
        first: The number of the message's first call, control calls not counted.
    """

    message: AIMessage
    tool_call: ToolCall
    first: int


def _place(messages: Sequence[BaseMessage], message: BaseMessage) -> int:
    return next(i for i, other in enumerate(messages) if other is message)


@dataclass(slots=True)
class Thread:
    """What a thread's messages say of its futures.

    Attributes:
        messages: The messages, oldest first.
        batch: The last `AIMessage`, `None` where there is none.
        issued_before: The number of tool calls before `batch`, control calls not counted.
        pending: Placeholders whose outcome was not delivered, by ordinal, in message order.
        ended: Records of delivered outcomes, by ordinal.
        last_human: Index of the last human message, -1 where there is none.
        instructed: Whether a placeholder was shown before.
        chained: Whether the model keeps the conversation itself and is sent only what came after
            its last message (OpenAI's response ids), so that it never sees an edited one.
        floor: A number up to which ids are taken, though no message may tell of them.
        native: Ids of the calls whose outputs the model takes whenever they come.
        counted: The number of tool calls, those of `batch` too, control calls not counted.
        named: The highest ordinal that a record names.
        awaiting: Indices of the messages that wait for futures.
    """

    messages: Sequence[BaseMessage]
    batch: AIMessage | None = None
    issued_before: int = 0
    pending: dict[int, ToolMessage] = field(default_factory=dict)
    ended: dict[int, Mapping[str, Any]] = field(default_factory=dict)
    last_human: int = -1
    instructed: bool = False
    chained: bool = False
    native: frozenset[Any] = _NONE
    floor: int = 0
    counted: int = 0
    named: int = 0
    awaiting: tuple[int, ...] = ()

    @property
    def literal(self) -> frozenset[Any]:
        """Ids of calls of the batch whose arguments hold no references."""
        return literal_calls(self.batch) if self.batch is not None else _NONE

    def origin(self, ordinal: int) -> Origin | None:
        """Where a pending call was made; `None` where its message is gone."""
        placeholder = self.pending[ordinal]
        calls: list[ToolCall] = []
        for message in reversed(self.messages[: _place(self.messages, placeholder)]):
            calls = message.tool_calls if isinstance(message, AIMessage) else []
            if any(call["id"] == placeholder.tool_call_id for call in calls):
                break
        for index, call in enumerate(calls):
            if call["id"] == placeholder.tool_call_id and call["name"] not in CONTROL_TOOLS:
                before = sum(c["name"] not in CONTROL_TOOLS for c in calls[:index])
                assert isinstance(message, AIMessage)  # noqa: S101 - it has the call
                return Origin(message, call, ordinal - before)
        return None

    @property
    def values_of(self) -> frozenset[int]:
        """Futures to which the batch referred, and whose values it holds now."""
        ids = _record(self.batch).get("values_of") if self.batch is not None else None
        found = (_ordinal(i) for i in ids) if isinstance(ids, list) else ()
        return frozenset(ordinal for ordinal in found if ordinal is not None)

    @property
    def tail(self) -> list[ToolMessage]:
        """The tool messages after the batch."""
        after: list[ToolMessage] = []
        for message in reversed(self.messages):
            if not isinstance(message, ToolMessage):
                break
            after.append(message)
        return after[::-1]

    @property
    def highest(self) -> int:
        """The highest ordinal that a message names or counts up to."""
        return max(self.issued_before, self.named, self.floor)

    def value_of(self, ordinal: int) -> Any:
        """The value of a future of an earlier run.

        It is the kept one, or the text of an answer with which nothing was kept, as one that was
        fast. A text stays a text: no type is guessed.

        Raises:
            KeyError: When there is none.
            FailedReference: When the call did not resolve.
        """
        record = self.ended.get(ordinal)
        if record is None:
            return self._text_of(ordinal)
        if record.get("state") != FutureState.RESOLVED:
            raise FailedReference(f"{future_id(ordinal)} {record.get('state')}")
        return record["value"]

    def _text_of(self, ordinal: int) -> Any:
        """The text of an ordinary answer, of which no record is kept."""
        counted = 0
        for index, message in enumerate(self.messages):
            for call in message.tool_calls if isinstance(message, AIMessage) else ():
                counted += call["name"] not in CONTROL_TOOLS
                if counted == ordinal:
                    return _answer_after(self.messages[index + 1 :], call["id"], ordinal)
        raise KeyError(ordinal)

    def unanswered(self) -> list[bool]:
        """For each tool call of the batch, whether no tool message answers it yet."""
        if self.batch is None:
            return []
        answered: set[Any] = set()
        for message in reversed(self.messages):
            if message is self.batch:
                break
            if isinstance(message, ToolMessage):
                answered.add(message.tool_call_id)
        return [call["id"] not in answered for call in self.batch.tool_calls]


def _answer_after(messages: Sequence[BaseMessage], call_id: str | None, ordinal: int) -> Any:
    for message in messages:
        if isinstance(message, ToolMessage) and message.tool_call_id == call_id:
            if _record(message).get("state") == _PENDING:
                break
            if message.status == "error":
                raise FailedReference(f"{future_id(ordinal)} failed: {message.text}")
            value = plain_value(message.content, message.artifact)
            return str(message.text) if value is message.content else value
    raise KeyError(ordinal)


def read_thread(messages: Iterable[Any]) -> Thread:
    """Read a thread in one pass. Items that are no messages are passed over."""
    return ThreadReader().read(messages)


class ThreadReader:
    """Reads a thread that grows: what it has read before and is unchanged, it passes over.

    It keeps what the messages say up to the first one that is about to change: a placeholder or
    the last `AIMessage`. That counts only as long as the very same message objects stand there, so
    it is the messages that decide, as if they were all read again (rule 23). Threads may share
    one: what is kept is never changed, only replaced.
    """

    __slots__ = ("_settled",)

    def __init__(self) -> None:
        self._settled = Thread(())

    def read(self, messages: Iterable[Any]) -> Thread:
        """Read a thread. Items that are no messages are passed over."""
        items = list(messages)
        settled = self._settled
        start = len(settled.messages)
        if start > len(items) or not all(map(operator.is_, settled.messages, items)):
            settled, start = Thread(()), 0
        found = items[:start] + [m for m in items[start:] if isinstance(m, BaseMessage)]
        thread = _read_on(settled, found)
        end = _settled_part(thread, start)
        self._settled = _read_on(settled, found[:end]) if end > start else settled
        return thread


def _settled_part(thread: Thread, start: int) -> int:
    """How many messages come before the first that is about to change, `start` at least."""
    changing = {id(message) for message in (thread.batch, *thread.pending.values())}
    rest = range(start, len(thread.messages))
    return next((i for i in rest if id(thread.messages[i]) in changing), len(thread.messages))


def _read_on(settled: Thread, messages: Sequence[BaseMessage]) -> Thread:
    """Read messages of which the first are read already.

    Args:
        settled: What the first ones say; it stays as it is.
        messages: All messages.
    """
    start = len(settled.messages)
    thread = replace(
        settled, messages=messages, pending=dict(settled.pending), ended=dict(settled.ended)
    )
    for index in range(start, len(messages)):
        _read_message(thread, index, messages[index])
    return thread


def _read_message(thread: Thread, index: int, message: BaseMessage) -> None:
    if isinstance(message, AIMessage):
        thread.batch, thread.issued_before = message, thread.counted
        thread.chained = thread.chained or _response_id(message) is not None
        thread.native |= native_calls(message)
        for call in message.tool_calls:
            thread.counted += call["name"] not in CONTROL_TOOLS
        if any(call["name"] == AWAIT_FUTURE for call in message.tool_calls):
            thread.awaiting += (index,)
    elif isinstance(message, ToolMessage):
        if message.additional_kwargs:
            _read_records(thread, message)
    elif isinstance(message, HumanMessage):
        thread.last_human = index
        if message.additional_kwargs.get("lc_source") == "summarization":
            thread.counted = max(thread.counted, *_named_in(message), 0)


def _named_in(summary: HumanMessage) -> list[int]:
    """The futures that a summary names: their messages are gone, their ids are not free."""
    return [int(number) for number in re.findall(r"\bfuture_([1-9][0-9]{0,8})\b", summary.text)]


def _response_id(message: AIMessage) -> str | None:
    """The id under which OpenAI's Responses API keeps the conversation up to this message."""
    found = message.response_metadata.get("id")
    return found if isinstance(found, str) and found.startswith("resp_") else None


def unchained(message: AIMessage) -> AIMessage:
    """A message without its response id: what was changed in it is not what the model keeps."""
    if _response_id(message) is None:
        return message
    metadata = {k: v for k, v in message.response_metadata.items() if k != "id"}
    return message.model_copy(update={"response_metadata": metadata})


def _read_records(thread: Thread, message: ToolMessage) -> None:
    record = _record(message)
    ordinal = _ordinal(record.get("future"))
    if ordinal is not None:
        thread.instructed = True
        thread.named = max(thread.named, ordinal)
        if record.get("state") == _PENDING:
            thread.pending[ordinal] = message
        else:
            thread.ended[ordinal] = record
    delivered = record.get("delivered")
    if isinstance(delivered, Mapping):
        for future, kept in delivered.items():
            rider = _ordinal(future)
            if rider is not None and isinstance(kept, Mapping):
                thread.pending.pop(rider, None)
                thread.ended[rider] = kept
                thread.named = max(thread.named, rider)


def _ordinal(future: Any) -> int | None:
    return ordinal_of(future) if isinstance(future, str) else None


def waits_at_end(thread: Thread) -> list[int]:
    """The pending futures that keep a turn from ending, by ordinal.

    A detached one does not, unless it comes from an earlier run and this run has not looked after
    it yet: it is delivered at the next run of the thread (rule 13).
    """
    since = _seen_mark(thread)
    if not any(_record(message).get("detach") for message in thread.pending.values()):
        return [*thread.pending]
    places = {id(message): i for i, message in enumerate(thread.messages)}
    return [
        ordinal
        for ordinal, message in thread.pending.items()
        if not _record(message).get("detach")
        or (places[id(message)] < thread.last_human and _record(message).get("seen") != since)
    ]


def left_open(thread: Thread) -> list[AIMessage]:
    """The messages before the last human one that wait for futures and got no answer to that."""
    waiting = [thread.messages[i] for i in thread.awaiting if i < thread.last_human]
    if not waiting:
        return []
    before = thread.messages[: thread.last_human]
    answered = {m.tool_call_id for m in before if isinstance(m, ToolMessage)}
    return [
        message
        for message in waiting
        if isinstance(message, AIMessage)
        and any(c["name"] == AWAIT_FUTURE and c["id"] not in answered for c in message.tool_calls)
    ]


def _seen_mark(thread: Thread) -> str:
    """What tells the current run of a thread from earlier ones: its human message."""
    if thread.last_human < 0:
        return ""
    return str(thread.messages[thread.last_human].id or thread.last_human)


def seen_again(thread: Thread, placeholder: ToolMessage) -> ToolMessage:
    """A detached placeholder, marked as looked after in this run."""
    return with_record(placeholder, {"seen": _seen_mark(thread)})
