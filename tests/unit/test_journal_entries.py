"""Tests of what the journal writes into a store, and of stores that fail."""

from __future__ import annotations

import asyncio
import base64
import logging
import threading
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from langchain_core.messages import ToolMessage
from langgraph.errors import GraphInterrupt
from langgraph.store.memory import InMemoryStore
from langgraph.types import Command

from langchain_asyncfc.futures import FutureState, Outcome
from langchain_asyncfc.journal import Entry, Journal, read_entry
from langchain_asyncfc.keeping import outcome_of
from langchain_asyncfc.testing import run_virtual
from langchain_asyncfc.work import Work

PAID = Outcome(
    FutureState.RESOLVED, {"paid": 3}, ToolMessage('{"paid": 3}', name="pay", tool_call_id="c1")
)
ASKS = Outcome(FutureState.FAILED, error=GraphInterrupt(()))


class BrokenStore(InMemoryStore):
    """A store whose server is gone, from when it is told so.

    Attributes:
        gone: Whether it is.
        asked: How often it was asked for something since.
    """

    def __init__(self, *, gone: bool = True) -> None:
        super().__init__()
        self.gone = gone
        self.asked = 0

    def _answer(self) -> None:
        if self.gone:
            self.asked += 1
            raise ConnectionError("the store is gone")

    def batch(self, ops: Any) -> Any:
        """Do what is asked for."""
        self._answer()
        return super().batch(ops)

    async def abatch(self, ops: Any) -> Any:
        """Do what is asked for."""
        self._answer()
        return await super().abatch(ops)


class Way:
    """Uses a journal in a thread or on an event loop."""

    def __init__(self, *, is_async: bool) -> None:
        self.is_async = is_async

    def _do(self, here: Callable[[], Any], there: Callable[[], Awaitable[Any]]) -> Any:
        async def run() -> Any:
            return await there()

        return run_virtual(run()) if self.is_async else here()

    def do(self, work: Work) -> Any:
        """Have something done."""
        return self._do(work.run, work.arun)

    def begin(self, entry: Entry) -> None:
        """Begin a call."""
        self._do(entry.begin, entry.abegin)

    def end(self, entry: Entry, outcome: Outcome) -> None:
        """End a call."""
        self._do(lambda: entry.end(outcome), lambda: entry.aend(outcome))


@pytest.fixture(params=[True, False], ids=["async", "sync"])
def way(request: pytest.FixtureRequest) -> Way:
    """In threads and on event loops."""
    return Way(is_async=request.param)


def journal_in(store: InMemoryStore, thread: str = "t", graph: str = "") -> Journal:
    """The journal of a thread."""
    journal = Journal.of(store, (thread, graph))
    assert journal is not None
    return journal


def pay(journal: Journal, call: str = "c1", *, message: str = "m1", ahead: bool = True) -> Entry:
    """The entry of a payment."""
    return journal.entry(message, call, ahead=ahead)


# -- what is written ------------------------------------------------------------------------------


@pytest.mark.parametrize("ahead", [True, False])
def test_what_is_noted_before_a_call_starts(way: Way, ahead: bool) -> None:
    """A call that must not start twice is noted before it starts; any other is not."""
    journal = journal_in(InMemoryStore())
    entry = pay(journal, ahead=ahead)
    way.begin(entry)
    entries = way.do(journal.read())
    assert entries == ({entry.key: {"call": "c1"}} if ahead else {})
    assert read_entry(entries, entry) == (ahead, None)


def test_an_outcome_is_read_as_it_was(way: Way) -> None:
    """Value, message and state outlive the process."""
    journal = journal_in(InMemoryStore())
    entry = pay(journal)
    way.begin(entry)
    way.end(entry, PAID)
    is_there, kept = read_entry(way.do(journal.read()), entry)
    assert is_there
    assert outcome_of(kept, "c1") == PAID


def test_nothing_is_embedded() -> None:
    """A store with a search index is not asked to embed the values of calls."""
    embedded: list[str] = []

    def embed(texts: list[str]) -> list[list[float]]:
        embedded.extend(texts)
        return [[0.0] for _ in texts]

    store = InMemoryStore(index={"dims": 1, "embed": embed})
    entry = pay(journal_in(store))
    entry.begin()
    entry.end(PAID)
    assert embedded == []
    store.put(("others",), "key", {"text": "is embedded"})
    assert embedded


def test_the_entry_of_a_call_that_asks_is_removed(way: Way) -> None:
    """It is run again when it has been answered, so it is not lost if the process ends."""
    journal = journal_in(InMemoryStore())
    entry = pay(journal)
    way.begin(entry)
    way.end(entry, ASKS)
    assert way.do(journal.read()) == {}


def test_only_what_is_named_is_forgotten(way: Way) -> None:
    """Other entries of the thread, and the same of other threads, stay."""
    store = InMemoryStore()
    journal, other = journal_in(store), journal_in(store, "another")
    for entry in (first := pay(journal), second := pay(journal, "c2"), pay(other)):
        way.begin(entry)
    way.do(journal.forget([first.key]))
    assert way.do(journal.read()) == {second.key: {"call": "c2"}}
    assert way.do(other.read()) == {first.key: {"call": "c1"}}


@pytest.mark.parametrize(
    "places",
    [
        (("t", ""), ("u", "")),
        (("t", ""), ("t", "graph")),
        (("a", "b"), ("a, b", "")),
        (("a.b", ""), ("a", "b")),
        (("", ""), ("None", "")),
    ],
)
def test_threads_do_not_see_each_other(way: Way, places: tuple[Any, Any]) -> None:
    """Rule 21: two threads, and two graphs of one thread, have journals of their own."""
    store = InMemoryStore()
    mine, other = (journal_in(store, *place) for place in places)
    way.begin(pay(mine))
    assert len(way.do(mine.read())) == 1
    assert way.do(other.read()) == {}


def test_calls_have_entries_of_their_own() -> None:
    """An id that the model gives a second time, in another message, is another call."""
    journal = journal_in(InMemoryStore())
    made = [("m1", "c1"), ("m1", "c2"), ("m2", "c1"), ("m1c", "1"), (None, "c1"), ("m1", None)]
    entries = [journal.entry(message, call, ahead=True) for message, call in made]
    assert len({entry.key for entry in entries}) == len(made)


@pytest.mark.parametrize("thread", ["a.b", "langgraph", "", "a" * 1000, "\N{SNOWMAN}\n"])
def test_a_thread_may_have_any_name(way: Way, thread: str) -> None:
    """Stores do not allow every character in a namespace; threads may have any."""
    journal = journal_in(InMemoryStore(), thread)
    way.begin(pay(journal))
    assert len(way.do(journal.read())) == 1


def test_what_has_no_journal() -> None:
    """Without a store there is none, nor without a thread to come back to."""
    assert Journal.of(None, ("t", "")) is None
    assert Journal.of({}, ("t", "")) is None
    assert Journal.of(InMemoryStore(), (None, "")) is None


# -- what cannot be written or read ---------------------------------------------------------------


def test_an_outcome_that_cannot_be_written(way: Way) -> None:
    """A tool may return anything; then no more is known than that its call was started."""
    journal = journal_in(InMemoryStore())
    entry = pay(journal, ahead=False)
    message = ToolMessage("done", tool_call_id="c1", artifact=threading.Lock())
    way.end(entry, Outcome(FutureState.RESOLVED, "done", message))
    entries = way.do(journal.read())
    assert entries == {entry.key: {"call": "c1", "outcome": None}}
    assert read_entry(entries, entry) == (True, None)


def test_an_error_is_kept_as_a_text(way: Way) -> None:
    """An exception is not written down; what it said is."""
    journal = journal_in(InMemoryStore())
    entry = pay(journal)
    way.end(entry, Outcome(FutureState.FAILED, error=ZeroDivisionError("no money")))
    _, kept = read_entry(way.do(journal.read()), entry)
    found = outcome_of(kept, "c1")
    assert found is not None
    assert (found.state, found.error) == (FutureState.FAILED, None)
    assert found.note == "ZeroDivisionError('no money')"


@pytest.mark.parametrize(
    "value",
    [
        None,
        "text",
        [],
        {},
        {"outcome": None},
        {"call": "c2"},
        {"call": ["c1"]},
        {"call": None, "outcome": ["json", ""]},
    ],
)
def test_what_is_no_entry_of_a_call(value: Any) -> None:
    """Whatever else stands in the store under the key of a call says nothing of it."""
    entry = pay(journal_in(InMemoryStore()))
    assert read_entry({entry.key: value}, entry) == (False, None)


@pytest.mark.parametrize(
    "outcome",
    [
        "text",
        7,
        {"state": "resolved"},
        [],
        ["msgpack"],
        ["msgpack", "", ""],
        ["msgpack", "not base 64"],
        ["msgpack", base64.b64encode(b"\xc1").decode()],
        ["unknown", base64.b64encode(b"{}").decode()],
        [None, None],
        ["json", base64.b64encode(b"{").decode()],
    ],
)
def test_an_outcome_that_cannot_be_read(outcome: Any) -> None:
    """The call has an entry, so it was started; what it came to is not known."""
    entry = pay(journal_in(InMemoryStore()))
    assert read_entry({entry.key: {"call": "c1", "outcome": outcome}}, entry) == (True, None)


# -- stores that fail -----------------------------------------------------------------------------


def complaints(caplog: pytest.LogCaptureFixture) -> list[str]:
    """What the journal has warned of."""
    own = [r for r in caplog.records if r.name == "langchain_asyncfc.journal"]
    assert all(record.levelno == logging.WARNING for record in own)
    return [record.getMessage() for record in own]


def test_a_store_that_fails_stops_nothing(way: Way, caplog: pytest.LogCaptureFixture) -> None:
    """Each use that fails is warned of, and goes on as without a journal."""
    store = BrokenStore()
    journal = journal_in(store)
    entry = pay(journal)
    assert way.do(journal.read()) == {}
    way.do(journal.forget([entry.key, "another"]))
    way.begin(entry)
    way.end(entry, PAID)
    way.end(entry, ASKS)
    assert store.asked == 5
    assert (
        complaints(caplog)
        == ["The journal cannot be used, calls go on without: ConnectionError('the store is gone')"]
        * 5
    )


def test_a_store_that_fails_in_between(way: Way, caplog: pytest.LogCaptureFixture) -> None:
    """What was written before is there when the store is back."""
    store = BrokenStore(gone=False)
    journal = journal_in(store)
    entry = pay(journal)
    way.begin(entry)
    store.gone = True
    way.end(entry, PAID)
    store.gone = False
    assert way.do(journal.read()) == {entry.key: {"call": "c1"}}
    assert len(complaints(caplog)) == 1


def test_a_cancelled_call_does_not_wait_for_its_store() -> None:
    """Rule 19: cancelling is no error of the store; it ends the writing."""

    class SlowStore(InMemoryStore):
        async def abatch(self, ops: Any) -> Any:
            await asyncio.sleep(3600)
            return await super().abatch(ops)

    store = SlowStore()
    entry = pay(journal_in(store))

    async def body() -> None:
        writing = asyncio.ensure_future(entry.abegin())
        await asyncio.sleep(1)
        writing.cancel()
        with pytest.raises(asyncio.CancelledError):
            await writing

    run_virtual(body())
    assert store.search(("asyncfc",)) == []


# -- outcomes as data -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    "outcome",
    [
        Outcome(FutureState.RESOLVED, None, None),
        Outcome(FutureState.RESOLVED, [1, 2.5, None], ToolMessage("[1]", tool_call_id="c1")),
        Outcome(FutureState.CANCELLED, note="was cancelled"),
        Outcome(FutureState.LOST, note="may or may not"),
        Outcome(
            FutureState.RESOLVED,
            "x",
            [ToolMessage("x", tool_call_id="c1"), Command(update={"n": 1}, goto=["agent"])],
        ),
        Outcome(FutureState.FAILED, "no", ToolMessage("no", tool_call_id="c1", status="error")),
    ],
    ids=lambda o: f"{o.state}-{type(o.result).__name__}",
)
def test_every_outcome_comes_back(way: Way, outcome: Outcome) -> None:
    """What a call came to is the same after the way through the store."""
    journal = journal_in(InMemoryStore())
    entry = pay(journal)
    way.end(entry, outcome)
    _, kept = read_entry(way.do(journal.read()), entry)
    found = outcome_of(kept, "c1")
    assert found is not None
    assert (found.state, found.result, found.note) == (outcome.state, outcome.result, outcome.note)
    assert outcome.state is FutureState.FAILED or found.value == outcome.value
