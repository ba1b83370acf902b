"""The part of a step that takes up what earlier runs of the thread left.

When a process is gone, its futures are gone with it; their placeholders are not. The first step of
a later run that can run tools makes a future for each of them again (rule 22):

| what is known of the call | its future |
|---|---|
| its outcome was kept, by the journal or a step that stopped with an interrupt | has it |
| it was not started | waits, as it did |
| its tool writes nothing, or was declared idempotent | runs again |
| anything else | is `lost`: the call may or may not have taken effect |

A placeholder is a message, and a message may be anything. So what could not have been a future, as
a call that a person has to approve, is never run from here.

All that follows, for what refers to them and for what is ordered after them, is as for any future.
"""

from __future__ import annotations

import logging
from collections.abc import Collection, Mapping, Sequence
from contextvars import copy_context
from dataclasses import replace
from typing import Any, cast

from langchain_core.messages import AIMessage, ToolCall
from langgraph.errors import GraphInterrupt

from langchain_asyncfc.calls import Call, is_control
from langchain_asyncfc.configs import graph_that_asked
from langchain_asyncfc.delivering import Delivering
from langchain_asyncfc.durable import once_for_all
from langchain_asyncfc.futures import FutureState, Outcome, future_id, ordinal_of
from langchain_asyncfc.invocations import Invocation
from langchain_asyncfc.journal import Journal, read_entry
from langchain_asyncfc.keeping import RECORD, kept_outcome, result_of
from langchain_asyncfc.records import Origin, is_json
from langchain_asyncfc.running_again import RunAgain, run_again
from langchain_asyncfc.scheduler import ToolFuture
from langchain_asyncfc.waiting import Flow

__all__ = ["Resuming"]

_logger = logging.getLogger(__name__)


class Resuming(Delivering):
    """A step as far as it takes up what earlier runs of the thread left."""

    _journal: Journal | None = None
    _coming: Collection[str] = ()
    _elsewhere: Collection[str] = ()

    def _take_up(self, template: Invocation) -> Flow[None]:
        """Make futures for what is pending in the thread and not known in this run.

        Args:
            template: Runs a call in this step.
        """
        if not self._in_run:
            return
        if self._policy.journal:
            self._journal = Journal.of(template.request.runtime.store, self._place)
        kept: dict[str, Any] = {}
        unstarted: Collection[str] = ()
        unknown = [o for o in self._thread.pending if self._scheduler.get(o) is None]
        first = self._resumed and not self._scheduler.journal_read
        reads = self._journal is not None and (first or self._begins or bool(unknown))
        if reads:
            yield from self._read_journal(sorted(unknown), kept)
        if self._begins:
            unstarted = yield from self._go_on(template, kept)
        unknown = [o for o in self._thread.pending if self._is_needed(o, kept)]
        if unknown:
            self._revive(sorted(unknown), template, kept, unstarted)
        # After those of earlier messages, to which they may refer.
        if kept or unstarted or self._coming or self._unanswered:
            self._restore_batch(template, kept, unstarted)
        # Not before: while one task of a step reads, the others must not start anything either.
        self._scheduler.journal_read |= reads

    def _is_needed(self, ordinal: int, kept: Mapping[str, Any]) -> bool:
        """Whether this step has to say what becomes of a pending call."""
        future = self._scheduler.get(ordinal)
        if future is None:
            return True
        # Another task of this step may know no more than that the call is pending.
        knows = future.id in kept or ordinal in self._unanswered
        return knows and not future.is_provided

    # -- the journal ----------------------------------------------------------------------------

    def _noted(self, invocation: Invocation, call: Call, message: AIMessage | None) -> Invocation:
        """What runs a call, and notes that in the journal if there is one."""
        if self._journal is None or message is None or call.facts.effects.foreground:
            return invocation
        entry = self._journal.entry(message.id, call.id, ahead=not _may_run_again(call))
        self._scheduler.journaled[call.ordinal] = entry
        return replace(invocation, entry=entry)

    def _read_journal(self, pending: Sequence[int], kept: dict[str, Any]) -> Flow[None]:
        """Take outcomes from the journal, and remove from it what is no longer needed.

        Args:
            pending: Pending futures that this run does not know of.
            kept: Takes the outcomes, by future.
        """
        journal = self._journal
        assert journal is not None  # noqa: S101 - asked before
        entries: dict[str, Any] = yield journal.read()
        if not entries:
            return
        first = self._first_of_batch()
        wanted = [*pending, *(range(first, first + len(self._made())) if self._resumed else ())]
        used: set[str] = set()
        for ordinal in wanted:
            origin = self._origin(ordinal)
            if origin is None:
                continue
            entry = journal.entry(origin.message.id, origin.tool_call["id"], ahead=False)
            is_there, outcome = read_entry(entries, entry)
            if not is_there:
                continue
            used.add(entry.key)
            future = self._scheduler.get(ordinal)
            if future is not None and future.is_provided:
                continue  # another task of this step has taken it over, or started it
            self._scheduler.journaled[ordinal] = entry
            call = self._read(ordinal, origin.tool_call, origin.first, message=origin.message)
            if outcome is None and not _may_run_again(call):
                outcome = kept_outcome(call.id, _lost(call))
            if outcome is not None:
                kept[call.future] = outcome
        # Where another run goes on beside this one, its entries are not this one's to remove.
        if self._begins and (stale := [key for key in entries if key not in used]):
            yield journal.forget(stale)

    def _made(self) -> list[ToolCall]:
        """The calls that the last message makes, without control calls."""
        batch = self._thread.batch
        return [] if batch is None else [c for c in batch.tool_calls if not is_control(c)]

    # -- where this step was stopped ------------------------------------------------------------

    def _to_keep(self, own: Sequence[ToolFuture]) -> dict[str, Any]:
        """What a step keeps that is about to be stopped, since it is run again from its beginning.

        That is what nobody was told of yet, what the calls of the last message came to, which
        calls have not been started, and which will come in again, or ask, in tasks beside this one.

        Args:
            own: The calls that came in with this step.
        """
        undelivered, live = self._scheduler.undelivered(), self._scheduler.live()
        mine = (self._scheduler.get(ordinal) for ordinal in self._issued)
        ended = {f.call.ordinal: f for f in (*undelivered, *mine) if f is not None}
        record = {
            "outcomes": {
                f.id: {**kept_outcome(f.call.id, f.outcome), "delivered": f not in undelivered}
                for f in ended.values()
                if f.outcome is not None
            },
            "unstarted": [
                f.id for f in live if f.state is FutureState.WAITING and f.placed and f.is_provided
            ],
            "coming": [
                f.id
                for f in live
                if f.call.ordinal in self._issued and not f.placed and f not in own
            ],
            "elsewhere": [f.id for f in live if f.placed and self._is_looked_after(f)],
        }
        return record if any(record.values()) else {}

    def _is_looked_after(self, future: ToolFuture) -> bool:
        """Whether a task beside this one lets the call ask, or is about to."""
        if not future.is_provided:
            return True
        return future.asks is not None and future.asked_by not in (None, self)

    def _asking_again(self, calls: Sequence[RunAgain]) -> dict[str, Any]:
        """What a step keeps of calls that ask, before it runs them."""
        return {
            c.call.future: {
                "args": c.tool_call["args"] if is_json(c.tool_call["args"]) else None,
                "namespace": c.namespace,
            }
            for c in calls
        }

    def _asked_in(self, future: ToolFuture) -> str | None:
        """Where a graph goes on that the call runs; see `RunAgain`."""
        if future.asks is None or future.provided is None:
            return None
        return graph_that_asked(future.asks, future.provided.runs_in)

    def _go_on(self, template: Invocation, kept: dict[str, Any]) -> Flow[Collection[str]]:
        """Go on where this very step was stopped by interrupts, as often as it was.

        What it kept, and the calls that it let ask, come in the same order as then; both give
        what they gave, and calls are run that had not been answered. Those that still are not, ask
        again.

        Args:
            template: Runs a call in this step.
            kept: Takes the outcomes, by future.

        Returns:
            The futures that were not started.
        """
        unstarted: Collection[str] = ()
        while True:
            looked: list[bool] = []

            def nothing(looked: list[bool] = looked) -> None:
                looked.append(True)

            found = yield once_for_all(nothing)
            if looked:
                break  # this far it was never stopped
            record = found.get(RECORD) if isinstance(found, Mapping) else None
            if not isinstance(record, Mapping):
                continue
            kept.update(record.get("outcomes", {}))
            unstarted = record.get("unstarted", unstarted)
            self._coming = frozenset(record.get("coming", ()))
            self._elsewhere = frozenset(record.get("elsewhere", ()))
            asks = record.get("asks", {})
            calls = [self._asked_again(future, asks[future], template) for future in asks]
            runs = [call for call in calls if call is not None]
            results = yield from run_again(runs)
            for run, result in zip(runs, results, strict=True):
                if isinstance(result, GraphInterrupt):
                    self._unanswered[run.call.ordinal] = result
                    self._scheduler.interrupting = True
                else:
                    kept[run.call.future] = run.outcome or result
        return unstarted

    def _asked_again(
        self, future: str, how: Mapping[str, Any], template: Invocation
    ) -> RunAgain | None:
        """A call that asked, to be run once more."""
        ordinal = ordinal_of(future)
        origin = self._origin(ordinal) if ordinal is not None else None
        if ordinal is None or origin is None:
            return None
        call = self._read(ordinal, origin.tool_call, origin.first, message=origin.message)
        tool_call = cast("ToolCall", {**origin.tool_call, "args": how["args"]})
        return RunAgain(call, tool_call, template.of(call.facts.tool), how["namespace"])

    def _origin(self, ordinal: int) -> Origin | None:
        """Where a call was made that is pending, or that the last message made."""
        if ordinal in self._thread.pending:
            return self._thread.origin(ordinal)
        batch = self._thread.batch
        first = self._first_of_batch()
        made = self._made()
        if batch is None or not 0 <= ordinal - first < len(made):
            return None
        return Origin(batch, made[ordinal - first], first)

    def _first_of_batch(self) -> int:
        batch = self._thread.batch
        if batch is None:
            return 1
        return self._scheduler.first_ordinal(
            batch.id or object(), batch.tool_calls, self._thread.highest
        )

    def _restore_batch(
        self, template: Invocation, kept: Mapping[str, Any], unstarted: Collection[str]
    ) -> None:
        """Take over what is known of the calls of the last message, which nothing answers yet.

        Where each came to a task of its own, some are answered already, and the others' tasks are
        not shown that. Those that were not started are issued with the ones that come in.

        Args:
            template: Runs a call in this step.
            kept: What was kept of some, by future.
            unstarted: Those that are known not to have been started.
        """
        first = self._first_of_batch()
        batch = self._thread.batch
        known: list[tuple[Call, Outcome | None]] = []
        for ordinal, tool_call in enumerate(self._made(), first):
            future = self._scheduler.get(ordinal)
            if ordinal in self._thread.pending or (future is not None and future.is_provided):
                continue
            outcome = result_of(kept.get(future_id(ordinal)), tool_call["id"])
            if outcome is not None or ordinal in self._unanswered:
                known.append((self._read(ordinal, tool_call, first), outcome))
            elif future_id(ordinal) in unstarted:
                self._unstarted.add(tool_call["id"])
            elif future_id(ordinal) in (*self._coming, *self._elsewhere):
                self._beside.add(tool_call["id"])
        known_as = batch.id if batch is not None else None
        for future in self._scheduler.restore(known_as, known, self._lane, self._thread.value_of):
            if not future.done:
                future.placed = future.call.id not in self._arriving
                self._run_by(template, future, batch)
            elif isinstance(found := kept.get(future.id), Mapping) and found.get("delivered"):
                self._scheduler.mark_delivered(future)

    def _run_by(self, template: Invocation, future: ToolFuture, message: AIMessage | None) -> None:
        """Say how a call is run that did not come in with this step."""
        call = future.call
        asks = self._unanswered.get(call.ordinal)
        future.in_step = asks is not None
        run_by = template.of(call.facts.tool, call.ordinal)
        if not future.done:
            run_by = self._noted(run_by, call, message)
        self._scheduler.provide(future, run_by, copy_context())
        if asks is not None and future.asks is not None:
            future.asks, future.asked_by = asks, self

    # -- what is pending ------------------------------------------------------------------------

    def _revive(
        self,
        ordinals: Sequence[int],
        template: Invocation,
        kept: Mapping[str, Any],
        unstarted: Collection[str],
    ) -> None:
        """Make futures for pending calls.

        Args:
            ordinals: Their numbers, in issue order.
            template: Runs a call in this step.
            kept: What was kept of some, by future.
            unstarted: Those that are known not to have been started.
        """
        messages: dict[int, tuple[AIMessage, list[tuple[Call, Outcome | None]]]] = {}
        for ordinal in ordinals:
            origin = self._thread.origin(ordinal)
            if origin is None:
                continue
            call = self._read(ordinal, origin.tool_call, origin.first, message=origin.message)
            outcome = result_of(kept.get(call.future), call.id)
            if outcome is None and ordinal not in self._unanswered and not self._is_elsewhere(call):
                started = call.future not in unstarted
                outcome = _again_or_lost(call, origin.first, started=started)
            calls = messages.setdefault(id(origin.message), (origin.message, []))[1]
            calls.append((call, outcome))
        for message, calls in messages.values():
            for future in self._scheduler.restore(
                message.id, calls, self._lane, self._thread.value_of
            ):
                future.placed = True
                future.placeholder = self._thread.pending[future.call.ordinal].id
                if future.done or not self._is_elsewhere(future.call):
                    self._run_by(template, future, message)

    def _is_elsewhere(self, call: Call) -> bool:
        """Whether a call asks in a task beside this one, which comes in again and has it."""
        return call.future in self._elsewhere and call.ordinal not in self._unanswered


def _may_run_again(call: Call) -> bool:
    """Whether a call that may have been started can be started once more."""
    effects = call.facts.effects
    return call.facts.tool is not None and (effects.idempotent or effects.writes_nothing)


def _again_or_lost(call: Call, first: int, *, started: bool) -> Outcome | None:
    """What becomes of a call of an earlier run: `None` if it is run.

    Args:
        call: The call.
        first: The number of the first call of its message, by what its placeholder says.
        started: Whether it may have been started.
    """
    could_be_a_future = first > 0 and call.facts.tool is not None and not call.facts.foreground
    if could_be_a_future and (not started or _may_run_again(call)):
        return None
    return _lost(call)


def _lost(call: Call) -> Outcome:
    _logger.warning(
        "%s (%s) is lost: the run that it belonged to is gone, and the call may or may not have "
        "taken effect. Tools that write nothing, or are declared idempotent, are run again.",
        call.future,
        call.name,
    )
    note = (
        f"the run that it belonged to is gone. {call.name} may or may not have taken effect; check "
        "what it was to change before you repeat it"
    )
    return Outcome(FutureState.LOST, note=note)
