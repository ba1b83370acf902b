"""The journal: what calls came to, in the graph's store, as soon as they came to it.

Messages are written when a step ends, so a call that has finished while its step, or the model,
still ran is unknown after a crash. Where the graph has a `BaseStore`, each call has an entry there
until its outcome was delivered:

| entry | when |
|---|---|
| `{"call": id}` | before a call starts that must not be started twice |
| `{"call": id, "outcome": …}` | when it has ended, before anybody is told |

The next run of the thread takes the outcomes from there. A call that has an entry and no outcome
was running when the process ended: it is `lost`, also where its step had not written a placeholder
yet. Nothing is embedded for search. Where the store fails, a warning is logged and the call goes
on without.

Source: write-ahead logs; Temporal's event history of activities.
"""

from __future__ import annotations

import base64
import hashlib
import json
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from langgraph.checkpoint.serde.jsonplus import JsonPlusSerializer
from langgraph.errors import GraphBubbleUp
from langgraph.store.base import BaseStore

from langchain_asyncfc.futures import Outcome
from langchain_asyncfc.keeping import kept_outcome
from langchain_asyncfc.work import Work

__all__ = ["Entry", "Journal", "read_entry"]

_logger = logging.getLogger(__name__)

_ROOT: Final = "asyncfc"
_LIMIT: Final = 10_000
"""Entries of a thread that are read at most; each is a call that had not been delivered."""
_serde: Final = JsonPlusSerializer()


@dataclass(frozen=True, slots=True)
class Journal:
    """The entries of one thread of one graph.

    Attributes:
        store: The graph's store.
        place: The namespace of the thread's entries in it.
    """

    store: BaseStore
    place: tuple[str, ...]

    @classmethod
    def of(cls, store: Any, thread: tuple[str | None, str]) -> Journal | None:
        """The journal of a thread; `None` without a store or a thread id."""
        if not isinstance(store, BaseStore) or thread[0] is None:
            return None
        return cls(store, (_ROOT, _digest(*thread)))

    def entry(self, message: str | None, call: str | None, *, ahead: bool) -> Entry:
        """The entry of a call.

        Args:
            message: The id of the message that made it.
            call: The call's id.
            ahead: Whether it is written before the call starts.
        """
        return Entry(self, _digest(str(message), str(call)), call, ahead)

    def read(self) -> Work:
        """Gives what was written of all calls of the thread, by key."""

        def run() -> dict[str, Any]:
            try:
                return {i.key: i.value for i in self.store.search(self.place, limit=_LIMIT)}
            except Exception as error:  # noqa: BLE001 - any store may fail in any way
                _failed(error)
                return {}

        async def arun() -> dict[str, Any]:
            try:
                items = await self.store.asearch(self.place, limit=_LIMIT)
                return {item.key: item.value for item in items}
            except Exception as error:  # noqa: BLE001
                _failed(error)
                return {}

        return Work(run, arun)

    def forget(self, keys: Sequence[str]) -> Work:
        """Remove entries whose outcomes stand in messages."""

        def run() -> None:
            try:
                for key in keys:
                    self.store.delete(self.place, key)
            except Exception as error:  # noqa: BLE001
                _failed(error)

        async def arun() -> None:
            try:
                for key in keys:
                    await self.store.adelete(self.place, key)
            except Exception as error:  # noqa: BLE001
                _failed(error)

        return Work(run, arun)


@dataclass(slots=True)
class Entry:
    """One call in the journal.

    Attributes:
        journal: Where it is.
        key: Its key there.
        call: The call's id.
        ahead: Whether it is written before the call starts.
        left: Whether the run has ended before the call. What it comes to then is not its outcome:
            it was cancelled, or went on in a thread.
    """

    journal: Journal
    key: str
    call: str | None
    ahead: bool
    left: bool = False

    def begin(self) -> None:
        """Note that the call is about to start."""
        if self.ahead:
            self._put({"call": self.call})

    async def abegin(self) -> None:
        """Note that the call is about to start."""
        if self.ahead:
            await self._aput({"call": self.call})

    def end(self, outcome: Outcome) -> None:
        """Note what it has come to."""
        if not self.left:
            self._put(self._value(outcome))

    async def aend(self, outcome: Outcome) -> None:
        """Note what it has come to."""
        if not self.left:
            await self._aput(self._value(outcome))

    def _value(self, outcome: Outcome) -> dict[str, Any] | None:
        if isinstance(outcome.error, GraphBubbleUp) or (outcome.error and not self.ahead):
            return None  # it is run again
        return {"call": self.call, "outcome": _packed(kept_outcome(self.call, outcome))}

    def _put(self, value: dict[str, Any] | None) -> None:
        journal = self.journal
        try:
            if value is None:
                journal.store.delete(journal.place, self.key)
            else:
                journal.store.put(journal.place, self.key, value, index=False)
        except Exception as error:  # noqa: BLE001
            _failed(error)

    async def _aput(self, value: dict[str, Any] | None) -> None:
        journal = self.journal
        try:
            if value is None:
                await journal.store.adelete(journal.place, self.key)
            else:
                await journal.store.aput(journal.place, self.key, value, index=False)
        except Exception as error:  # noqa: BLE001
            _failed(error)


def read_entry(entries: Mapping[str, Any], entry: Entry) -> tuple[bool, Any]:
    """Whether a call has an entry, and what is kept of its outcome, `None` where nothing is."""
    found = entries.get(entry.key)
    if not isinstance(found, Mapping) or found.get("call") != entry.call:
        return False, None
    return True, _unpacked(found.get("outcome"))


def _packed(kept: Mapping[str, Any]) -> list[str] | None:
    try:
        kind, data = _serde.dumps_typed(dict(kept))
    except Exception:  # noqa: BLE001 - a tool may return anything; then only its start is known
        return None
    return [kind, base64.b64encode(data).decode()]


def _unpacked(packed: Any) -> Any:
    if not isinstance(packed, list):
        return None
    try:
        kind, data = packed
        return _serde.loads_typed((kind, base64.b64decode(data)))
    except Exception:  # noqa: BLE001 - what cannot be read was not kept
        return None


def _failed(error: Exception) -> None:
    _logger.warning("The journal cannot be used, calls go on without: %r", error)


def _digest(*parts: str | None) -> str:
    """Labels and keys of stores may not hold every character."""
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()
