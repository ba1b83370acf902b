"""Which calls may start while the model still writes its message: rules without I/O.

A call that starts early takes effect before anybody but the model has seen it, and may never be
issued: a stream may be cut, a message changed. So only what can be dropped without a trace starts,
and only where it finds what it would find later. `CallsBefore` goes through the table of that;
`CallsInWriting` tells from the chunks of a stream when a call is complete.

What unfinished calls of earlier messages stand for is the scheduler's to say (see
`Scheduler.begin`). It also has the last word when the call is issued.

Source: LLMCompiler (arXiv 2312.04511), whose plans are carried out while they are streamed.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from enum import StrEnum
from typing import Any

from langchain_core.messages import ToolCall

from langchain_asyncfc.calls import Call
from langchain_asyncfc.effects import Access, access_of
from langchain_asyncfc.hazards import hazard

__all__ = ["CallsBefore", "CallsInWriting", "NotEarly"]


class NotEarly(StrEnum):
    """Why a call starts when its message is complete, and not before."""

    NO_TOOL = "no tool of this graph has its name"
    NO_ID = "the model gave it no id of its own, by which it could be found again"
    UNDECLARED = "nothing is declared of what its tool reads and writes"
    WRITES = "its tool writes"
    FENCE = "its tool is a fence"
    FOREGROUND = "its tool runs in the step: a person approves it, it may interrupt or end the run"
    INJECTED = "its tool takes arguments that are not the model's, such as the state"
    PROBLEM = "a reference in its arguments cannot be used"
    REFERENCE = "its arguments hold a reference, or what looks like one"
    UNKNOWN_ARGUMENTS = "its arguments cannot be compared with others"
    IDENTICAL = "it joins an identical call of its message"
    UNWRITTEN = "an earlier call of its message is not complete"
    CONFLICT = "an earlier call of its message writes what it reads"


class CallsBefore:
    """The calls of a message before the one that is complete now: each is looked at once."""

    def __init__(self) -> None:
        self._all_complete = True
        self._ids: set[str | None] = set()
        self._identities: set[str | None] = set()
        self._writing: list[Access] = []

    def add(self, call: Call | None) -> None:
        """Take in the next call; `None` for one that is not complete."""
        if call is None:
            self._all_complete = False
            return
        self._ids.add(call.id)
        self._identities.add(call.identity())
        # What is undeclared orders nothing inside of a message (rule 5).
        access = _access(call)
        if access is not None and access.writes:
            self._writing.append(access)

    def against(self, call: Call) -> NotEarly | None:
        """Why the next call may not start before its message is complete."""
        against = _of_tool(call) or _of_arguments(call)
        if against is not None:
            return against
        if not self._all_complete:
            return NotEarly.UNWRITTEN
        if call.id in self._ids:
            return NotEarly.NO_ID
        if call.identity() in self._identities:
            return NotEarly.IDENTICAL
        own = _access(call)
        if own is not None and any(hazard(access, own) for access in self._writing):
            return NotEarly.CONFLICT
        return None


def _of_tool(call: Call) -> NotEarly | None:
    facts = call.facts
    if facts.tool is None:
        return NotEarly.NO_TOOL
    if facts.foreground or facts.approved or facts.comes_last or facts.tool.return_direct:
        return NotEarly.FOREGROUND
    if not facts.effects.declared:
        return NotEarly.UNDECLARED
    if not facts.effects.writes_nothing:
        return NotEarly.WRITES
    if facts.effects.fence:
        return NotEarly.FENCE
    # Of what is left, just the calls whose tools take nothing but the model's arguments are shared.
    return None if facts.shareable else NotEarly.INJECTED


def _of_arguments(call: Call) -> NotEarly | None:
    if not call.id:
        return NotEarly.NO_ID
    if call.problem is not None:
        return NotEarly.PROBLEM
    if call.sites:
        return NotEarly.REFERENCE
    return NotEarly.UNKNOWN_ARGUMENTS if call.identity() is None else None


def _access(call: Call) -> Access | None:
    """What a call reads and writes, with the parent where an argument holds a reference."""
    unknown = frozenset(str(site.location[0]) for site in call.sites)
    return access_of(call.facts.effects, call.args, unknown)


class CallsInWriting:
    """The calls of one message while a model writes it, from the chunks of its stream.

    Chunks belong together as LangChain adds them up: by a number, unless their ids differ.

    Attributes:
        calls: The calls so far, in order; `None` for one that is not complete.
        names: Their names.
    """

    def __init__(self) -> None:
        self.calls: list[ToolCall | None] = []
        self.names: list[str] = []
        self._writing: list[_Writing] = []

    def feed(self, chunks: Sequence[Mapping[str, Any]]) -> list[int]:
        """Take in the tool call chunks of one message chunk.

        Returns:
            The places of the calls that are complete now and were not before.
        """
        completed: list[int] = []
        for chunk in chunks:
            place = self._place(chunk)
            if place is None:
                # The next one begins: what has no arguments by now has none.
                completed += [n for n, w in enumerate(self._writing) if self._ends(n, w.empty())]
                place = len(self._writing)
                self._writing.append(_Writing(chunk.get("index")))
                self.calls.append(None)
                self.names.append("")
            args = self._writing[place].add(chunk)
            self.names[place] = self._writing[place].name
            if self._ends(place, args):
                completed.append(place)
        return completed

    def _place(self, chunk: Mapping[str, Any]) -> int | None:
        index, id_ = chunk.get("index"), chunk.get("id")
        if not isinstance(index, int) and not (isinstance(index, str) and index[:3] == "lc_"):
            return None
        for place, writing in enumerate(self._writing):
            if writing.index == index and (not id_ or not writing.id or writing.id == id_):
                return place
        return None

    def _ends(self, place: int, args: dict[str, Any] | None) -> bool:
        if args is None or self.calls[place] is not None:
            return False
        writing = self._writing[place]
        self.calls[place] = ToolCall(name=writing.name, args=args, id=writing.id, type="tool_call")
        return True


class _Writing:
    """One call that is being written, and how deep in its JSON the model is."""

    __slots__ = ("_depth", "_escaped", "_in_text", "_parts", "id", "index", "name")

    def __init__(self, index: Any) -> None:
        self.index = index
        self.id: str | None = None
        self.name = ""
        self._parts: list[str] = []
        self._depth = 0
        self._in_text = False
        self._escaped = False

    def add(self, chunk: Mapping[str, Any]) -> dict[str, Any] | None:
        """Take in a chunk; the arguments, once their object is closed."""
        self.id = self.id or chunk.get("id")
        self.name += chunk.get("name") or ""
        text = chunk.get("args")
        if not isinstance(text, str) or not text:
            return None
        self._parts.append(text)
        return self._parsed() if self._closes(text) else None

    def empty(self) -> dict[str, Any] | None:
        """No arguments, if none was written."""
        return None if "".join(self._parts).strip() else {}

    def _closes(self, text: str) -> bool:
        """Whether the outermost object ends with this text."""
        closed = False
        for letter in text:
            if self._escaped:
                self._escaped = False
            elif self._in_text:
                self._escaped = letter == "\\"
                self._in_text = letter != '"'
            elif letter == '"':
                self._in_text = True
            elif letter in "{[":
                self._depth += 1
            elif letter in "}]":
                self._depth -= 1
                closed = closed or self._depth == 0
        return closed

    def _parsed(self) -> dict[str, Any] | None:
        try:
            # As LangChain reads it, which takes line breaks inside of texts.
            args = json.loads("".join(self._parts), strict=False)
        except (ValueError, RecursionError):
            return None
        return args if isinstance(args, dict) else None
