"""The part of a step that lets tools ask: `interrupt()` in a call (rule 20).

An interrupt stops the run, can only be answered where it was raised in a step, and what that step
would have returned is lost. So a call that asks is parked until a step can let it ask. A call that
came alone has asked in this very step, so its interrupt is raised as it is. Any other is run again,
in a task of this step; several ask at once, and can be answered in any order. Before the step
stops the run it waits until nothing else runs, and keeps what everything has come to (see
`resuming`).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from langgraph.errors import GraphInterrupt

from langchain_asyncfc.durable import once_for_all
from langchain_asyncfc.futures import FutureState, Outcome
from langchain_asyncfc.keeping import RECORD, result_of
from langchain_asyncfc.resuming import Resuming
from langchain_asyncfc.running_again import RunAgain, run_again
from langchain_asyncfc.scheduler import ToolFuture
from langchain_asyncfc.waiting import Flow, Wait

__all__ = ["Asking"]


class Asking(Resuming):
    """A step as far as it lets tools ask."""

    def _let_ask(self, arrived: Sequence[ToolFuture | None], *, leads: bool) -> Flow[bool]:
        """Let those calls ask that want to, until none does.

        Args:
            arrived: The calls that came in with this step.
            leads: Whether it also looks after calls of earlier steps.

        Returns:
            Whether any did, and was answered.

        Raises:
            GraphInterrupt: When they ask; or when the run stops before a call was started.
        """
        own = [future for future in arrived if future is not None]
        is_alone = len(own) == len(arrived) == 1 and not own[0].in_step
        # What nobody has answered yet is asked again.
        known = map(self._scheduler.get, sorted(self._unanswered))
        still = [future for future in known if future is not None and future.asked_by is self]
        asked, interrupts = set(still), _interrupts(still)
        while True:
            if not all(future.done for future in asked):
                yield from self._let_end()
            asks = yield from self._who_asks(own, asked, leads=leads)
            if not asks:
                break
            self._scheduler.interrupting = True
            if not all(future.in_step for future in asks):
                yield from self._let_end()
                asks = [f for f in self._asking(own, leads=leads) if f not in asked]
            asked.update(asks)
            # A call that came alone has asked in this very step.
            here = [future for future in asks if is_alone and future in own]
            apart = [future for future in asks if future not in here]
            interrupts += yield from self._run_in_step(own, apart)
            interrupts += _interrupts(here)
        if not all(future.done for future in asked):
            yield from self._stop(own, interrupts)
        if self._scheduler.interrupted and (
            not all(future.done for future in own) or self._keeps_alone(own)
        ):
            yield from self._stop(own, ())  # it was not started, and comes in again
        return bool(asked)

    def _who_asks(
        self, own: Sequence[ToolFuture], asked: set[ToolFuture], *, leads: bool
    ) -> Flow[list[ToolFuture]]:
        """The calls that this step lets ask now; those that came in may still come to ask."""
        while True:
            asks = [f for f in self._asking(own, leads=leads) if f not in asked]
            if asks or not (self._scheduler.interrupted and any(f.goes_on for f in own)):
                return asks
            yield Wait(own, until_failure=False)

    def _let_end(self) -> Flow[None]:
        """Wait until nothing runs."""
        while running := self._scheduler.running():
            yield Wait(running, until_failure=False)

    def _stop(self, own: Sequence[ToolFuture], interrupts: Sequence[Any]) -> Flow[None]:
        """Stop the run with interrupts.

        Args:
            own: The calls that came in with this step.
            interrupts: What they ask; nothing where another task of the step stops the run.

        Raises:
            GraphInterrupt: Always.
        """
        self._scheduler.stop()
        kept = self._to_keep(own)
        self._scheduler.kept.update(kept.get("outcomes", ()), kept.get("unstarted", ()))
        if not interrupts:
            for future in own:
                future.placed = True  # this step ends without it
        if self._in_run and kept:
            yield once_for_all(lambda: {RECORD: kept})
        raise GraphInterrupt(tuple(interrupts))

    def _keeps_alone(self, own: Sequence[ToolFuture]) -> bool:
        """Whether only this step knows something that has to be kept while the run is stopped."""
        kept = self._to_keep(own)
        known = {*kept.get("outcomes", ()), *kept.get("unstarted", ())}
        return not known <= {*self._scheduler.kept, *(future.id for future in own)}

    def _asking(self, own: Sequence[ToolFuture], *, leads: bool) -> list[ToolFuture]:
        """The calls that this step lets ask.

        A step that stops the run takes those of earlier steps along: for one of them, several
        tasks of a step may come into question.
        """
        asking = self._scheduler.asking()
        if leads or any(future in own for future in asking):
            for future in asking:
                if future.placed and future.asked_by is None:
                    future.asked_by = self
        return [future for future in asking if future in own or future.asked_by is self]

    def _run_in_step(
        self, own: Sequence[ToolFuture], asks: Sequence[ToolFuture]
    ) -> Flow[list[Any]]:
        """Run calls that ask in the foreground of this step, beside each other.

        Returns:
            What they ask; those that ask nothing have ended.
        """
        if not self._in_run or not asks:
            return _interrupts(asks)
        for future in asks:
            self._policy.slow.discard(future.call.name)  # not the tool was slow
        calls = []
        for future in asks:
            assert future.provided is not None  # noqa: S101 - it was started before
            tool_call = self._scheduler.arguments(future)
            where = self._asked_in(future)
            calls.append(RunAgain(future.call, tool_call, future.provided, where))
        kept = {RECORD: {**self._to_keep(own), "asks": self._asking_again(calls)}}
        yield once_for_all(lambda: kept)
        results = yield from run_again(calls)
        interrupts: list[Any] = []
        for future, call, result in zip(asks, calls, results, strict=True):
            if isinstance(result, GraphInterrupt):
                interrupts += result.args[0]
            else:
                found = call.outcome or result_of(result, future.call.id)
                outcome = found or Outcome(FutureState.LOST, note="its outcome cannot be read")
                self._scheduler.settle(future, outcome)
        return interrupts


def _interrupts(asks: Sequence[ToolFuture]) -> list[Any]:
    return [i for f in asks if f.asks is not None and f.asks.args for i in f.asks.args[0]]
