"""The part of a step that takes up what earlier runs of the thread left.

When a process is gone, its futures are gone with it; their placeholders are not. The first step of
a later run that can run tools makes a future for each of them again (rule 22):

| what is known of the call | its future |
|---|---|
| its outcome was kept, by a step that stopped with an interrupt | has that outcome |
| it was not started | waits, as it did |
| its tool writes nothing, or was declared idempotent | runs again |
| anything else | is `lost`: the call may or may not have taken effect |

A placeholder is a message, and a message may be anything. So what could not have been a future, as
a call that a person has to approve, is never run from here.

All that follows, for what refers to them and for what is ordered after them, is as for any future.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping, Sequence
from contextvars import copy_context
from typing import Any

from langchain_core.messages import AIMessage, ToolCall

from langchain_asyncfc.calls import Call, is_control
from langchain_asyncfc.delivering import Delivering
from langchain_asyncfc.durable import once_for_all
from langchain_asyncfc.futures import FutureState, Outcome, future_id, ordinal_of
from langchain_asyncfc.invocations import Invocation
from langchain_asyncfc.keeping import kept_outcome, outcome_of
from langchain_asyncfc.scheduler import ToolFuture
from langchain_asyncfc.waiting import Flow

__all__ = ["Resuming"]

_logger = logging.getLogger(__name__)

_RECORD = "asyncfc"


class Resuming(Delivering):
    """A step as far as it takes up what earlier runs of the thread left."""

    def _take_up(self, template: Invocation) -> Flow[None]:
        """Make futures for what is pending in the thread and not known in this run.

        Args:
            template: Runs a call in this step.
        """
        if not self._in_run:
            return
        if self._begins:
            yield from self._go_on(template)
        self._revive(self._unknown(), template, unstarted=())

    def _go_on(self, template: Invocation) -> Flow[None]:
        """Go on where this very step was stopped by interrupts, as often as it was.

        Each time it kept what the run had come to, and then let tools ask. Both are done again in
        the same order, which gives what was kept, and the answers.
        """
        while True:
            ran_now: list[bool] = []

            def nothing(ran_now: list[bool] = ran_now) -> None:
                ran_now.append(True)

            kept = yield once_for_all(nothing)
            if ran_now:
                return  # this far it was never stopped
            record = kept.get(_RECORD) if isinstance(kept, Mapping) else None
            if isinstance(record, Mapping):
                yield from self._restore(record, template)

    def _restore(self, record: Mapping[str, Any], template: Invocation) -> Flow[None]:
        """Take over what a stopped step kept."""
        outcomes = record["outcomes"]
        self._revive_batch(outcomes)
        asking = [ordinal for f in record["asks"] if (ordinal := ordinal_of(f)) is not None]
        unstarted = [ordinal for f in record["unstarted"] if (ordinal := ordinal_of(f)) is not None]
        self._revive(
            self._unknown(), template, outcomes=outcomes, unstarted=unstarted, asking=asking
        )
        asks = [f for ordinal in asking if (f := self._scheduler.get(ordinal)) is not None]
        yield from self._run_in_step([future for future in asks if future.asks is not None])

    def _run_in_step(self, asks: Sequence[ToolFuture]) -> Flow[None]:
        """Run calls in the foreground of this step; see `Asking`."""
        raise NotImplementedError

    def _unknown(self) -> list[int]:
        """Pending futures that this run does not know of, in issue order."""
        known = self._scheduler.get
        return sorted(o for o in self._thread.pending if known(o) is None)

    def _to_keep(self, asks: Iterable[ToolFuture]) -> dict[str, Any]:
        """What a step keeps that is about to be stopped, since it is run again from its beginning.

        Args:
            asks: The futures that it lets ask, but for those that came in with it.
        """
        pending = self._thread.pending
        undelivered = self._scheduler.undelivered()
        mine = (self._scheduler.get(ordinal) for ordinal in self._issued)
        ended = {f.call.ordinal: f for f in (*undelivered, *mine) if f is not None}
        record = {
            "outcomes": {
                f.id: {**kept_outcome(f.call.id, f.outcome), "delivered": f not in undelivered}
                for f in ended.values()
                if f.outcome is not None
            },
            "unstarted": [
                f.id
                for f in self._scheduler.live()
                if f.state is FutureState.WAITING and f.call.ordinal in pending
            ],
            "asks": [f.id for f in asks],
        }
        return {_RECORD: record} if any(record.values()) else {}

    def _revive_batch(self, outcomes: Mapping[str, Any]) -> None:
        """Take over what was kept of the calls of the last message, which nothing answers yet."""
        batch = self._thread.batch
        if batch is None:
            return
        first = self._scheduler.first_ordinal(
            batch.id or object(), batch.tool_calls, self._thread.highest
        )
        made = [call for call in batch.tool_calls if not is_control(call)]
        ended: list[tuple[Call, Outcome | None]] = []
        seen: list[int] = []
        for n, call in enumerate(made):
            kept = outcomes.get(future_id(first + n))
            outcome = outcome_of(kept, call["id"])
            if outcome is None or self._scheduler.get(first + n) is not None:
                continue
            ended.append((self._read(first + n, call, first), outcome))
            if outcomes[future_id(first + n)].get("delivered"):
                seen.append(first + n)
        for future in self._scheduler.restore(ended, self._lane, self._thread.value_of):
            if future.call.ordinal in seen:
                self._scheduler.mark_delivered(future)

    def _revive(
        self,
        ordinals: Sequence[int],
        template: Invocation,
        *,
        outcomes: Mapping[str, Any] = {},
        unstarted: Sequence[int],
        asking: Sequence[int] = (),
    ) -> None:
        """Make futures for pending calls.

        Args:
            ordinals: Their numbers.
            template: Runs a call in this step.
            outcomes: What was kept, by future.
            unstarted: Those that are known not to have been started.
            asking: Those that were to ask in this step.
        """
        groups: dict[str, list[tuple[int, ToolCall, AIMessage, int]]] = {}
        for ordinal in ordinals:
            origin = self._thread.origin(ordinal)
            if origin is None:
                continue
            key = str(origin.first)
            groups.setdefault(key, []).append(
                (ordinal, origin.tool_call, origin.message, origin.first)
            )
        for group in groups.values():
            calls: list[tuple[Call, Outcome | None]] = []
            for ordinal, tool_call, message, first in group:
                call = self._read(ordinal, tool_call, first, message=message)
                outcome = outcome_of(outcomes.get(call.future), call.id)
                if outcome is None:
                    started = ordinal not in unstarted and ordinal not in asking
                    outcome = _again_or_lost(call, first, started=started)
                calls.append((call, outcome))
            for future in self._scheduler.restore(calls, self._lane, self._thread.value_of):
                future.placed = True
                future.in_step = future.call.ordinal in asking
                tool_call = future.call.tool_call
                self._scheduler.provide(
                    future, template.of(tool_call, future.call.facts.tool), copy_context()
                )


def _again_or_lost(call: Call, first: int, *, started: bool) -> Outcome | None:
    """What becomes of a call of an earlier run: `None` if it is run.

    Args:
        call: The call.
        first: The number of the first call of its message, by what its placeholder says.
        started: Whether it may have been started.
    """
    facts = call.facts
    could_be_a_future = first > 0 and facts.tool is not None and not facts.foreground
    harmless = not started or facts.effects.idempotent or facts.effects.writes_nothing
    if could_be_a_future and harmless:
        return None
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
