"""Saved message histories with timings.

Times may stand beside the messages, one entry a message (`None` for what took no time):

    {"messages": [...], "timings": [null, {"start": 0.0, "end": 1.4}, ...]}

or in each message, in its fields, its `response_metadata` or its `additional_kwargs`: `start` and
`end` (or `start_time` and `end_time`), or `created_at` (or `timestamp`), the moment when it was
complete. With the latter alone a reply is taken to begin when the message before it was complete,
and a tool when the reply that called it was.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from langchain_asyncfc.estimate.reading.messages import Message, read_message, unused
from langchain_asyncfc.estimate.reading.moments import seconds_of
from langchain_asyncfc.estimate.traces import Trace, TraceError
from langchain_asyncfc.timeline.spans import Reply, RunRecord, ToolRun

__all__ = ["read_history"]

_STARTS: Final = ("start", "start_time", "started_at")
_ENDS: Final = ("end", "end_time", "ended_at", "created_at", "timestamp")

_RECIPE: Final = (
    'Save {"messages": [...], "timings": [...]} with one {"start": seconds, "end": seconds} or '
    "null for each message, or give each message a created_at; the page 'Measure your own agent' "
    "of the documentation shows how."
)


@dataclass(frozen=True, slots=True)
class _Timed:
    """A message and when it began and was complete."""

    message: Message
    start: float | None
    end: float | None


def read_history(data: Sequence[Any], timings: Any = None, name: str = "") -> Trace:
    """Read a history.

    Args:
        data: Its messages.
        timings: One entry a message, if they do not carry their times themselves.
        name: Of the run.

    Raises:
        TraceError: When there are no times, no calls, or something that is no message.
    """
    if timings is not None and (not isinstance(timings, list) or len(timings) != len(data)):
        given = len(timings) if isinstance(timings, list) else type(timings).__name__
        raise TraceError(
            f"'timings' must have one entry for each of {len(data)} messages: {given}."
        )
    timed: list[_Timed] = []
    for index, item in enumerate(data):
        message = read_message(item)
        if message is None:
            raise TraceError(
                f"message {index} is none: it has no 'role' or 'type' of a message, but "
                f"{_shown(item)}."
            )
        timed.append(_Timed(message, *_times(message, timings[index] if timings else None)))
    if not any(t.message.calls for t in timed):
        raise TraceError("its messages call no tool, so nothing could run in the background.")
    if all(t.end is None for t in timed):
        raise TraceError(f"its {len(timed)} messages have no timings. {_RECIPE}")
    return _Reader(timed, name).read()


def _shown(item: Any) -> str:
    if isinstance(item, Mapping):
        return f"the fields {sorted(map(str, item))[:8]}"
    return f"a {type(item).__name__}"


def _times(message: Message, given: Any) -> tuple[float | None, float | None]:
    places = [given, message.fields]
    places += [message.fields.get("response_metadata"), message.fields.get("additional_kwargs")]
    if isinstance(given, list) and len(given) == 2:  # noqa: PLR2004 - start and end
        return seconds_of(given[0]), seconds_of(given[1])
    start = end = None
    for place in places:
        if isinstance(place, Mapping):
            start = _first(place, _STARTS) if start is None else start
            end = _first(place, _ENDS) if end is None else end
    return (start, end) if end is not None else (None, None)


def _first(place: Mapping[str, Any], names: Sequence[str]) -> float | None:
    return next((s for s in (seconds_of(place.get(n)) for n in names) if s is not None), None)


@dataclass(frozen=True, slots=True)
class _Answer:
    """The result of a call, and at which place in the history it stands."""

    index: int
    text: str
    failed: bool
    start: float | None
    end: float | None


class _Reader:
    """Reads the messages in turn."""

    def __init__(self, timed: Sequence[_Timed], name: str) -> None:
        self._timed, self._name = timed, name
        self._base = min(t for one in timed for t in (one.start, one.end) if t is not None)
        self._answers: dict[str, list[_Answer]] = {}
        for index, one in enumerate(timed):
            message = one.message
            found = dict(message.results)
            if message.answers:
                found[message.answers] = message.text
            for call, text in found.items():
                answer = _Answer(index, text, message.failed, one.start, one.end)
                self._answers.setdefault(call, []).append(answer)
        self._used: set[str] = set()
        self._guessed = 0
        self._left: list[str] = []

    def read(self) -> Trace:
        """Put replies and tools together."""
        replies: list[Reply] = []
        tools: list[ToolRun] = []
        asked: dict[int, str] = {}
        last = self._base
        said = ""
        for index, one in enumerate(self._timed):
            if one.message.role != "ai":
                if one.message.role in ("human", "system"):
                    said += f"\n{one.message.text}"
                last = max(last, one.end if one.end is not None else last)
                continue
            if one.end is None:
                self._left.append("a reply without a time")
                continue
            self._guessed += one.start is None
            start = min(one.start if one.start is not None else last, one.end)
            calls = tuple(unused(called.id, self._used) for called in one.message.calls)
            own = self._tools(index, one, calls)
            asked[len(replies)], said = said, ""
            replies.append(
                Reply(
                    start - self._base,
                    one.end - self._base,
                    one.message.model,
                    calls,
                    output_tokens=one.message.output_tokens,
                    text=one.message.text,
                )
            )
            tools += own
            last = max([one.end, *(run.end + self._base for run in own)])
        if not tools:
            raise TraceError(f"none of its tool results has a time. {_RECIPE}")
        end = max([*(r.end for r in replies), *(t.end for t in tools)])
        record = RunRecord(tuple(replies), tuple(tools), end, self._name)
        return Trace(record, asked, tuple(self._notes()))

    def _tools(self, index: int, reply: _Timed, calls: Sequence[str]) -> list[ToolRun]:
        found = []
        issued = reply.end or 0.0
        for own, called in zip(calls, reply.message.calls, strict=True):
            given = self._answers.get(called.id, [])
            # Some models number the calls of each message anew: the first answer after it is its.
            answer = next((one for one in given if one.index > index), None)
            if answer is None or answer.end is None:
                self._left.append(f"a call of {called.tool} without a timed result")
                continue
            given.remove(answer)
            self._guessed += answer.start is None
            begun = max(answer.start if answer.start is not None else issued, issued)
            found.append(
                ToolRun(
                    own,
                    called.tool,
                    issued - self._base,
                    begun - self._base,
                    max(answer.end, begun) - self._base,
                    called.args,
                    state="failed" if answer.failed else "resolved",
                    result=answer.text,
                )
            )
        return found

    def _notes(self) -> list[str]:
        notes = []
        if self._guessed:
            notes.append(
                f"{self._guessed} replies and tools have no start of their own: a reply is taken "
                "to begin when what came before it was complete, a tool when it was called."
            )
        notes += [
            f"Left out: {self._left.count(what)} times {what}."
            for what in dict.fromkeys(self._left)
        ]
        return notes
