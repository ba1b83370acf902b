"""The part of a step that lets tools ask: `interrupt()` in a call (rule 20).

An interrupt stops the run, can only be answered where it was raised in a step, and what that step
would have returned is lost. So a call that asks is parked until a step can let it ask, and that
step

1. waits until nothing else runs, and keeps what everything has come to (see `resuming`),
2. raises the interrupt.

A call that came alone has asked in this very step, so its interrupt is raised as it is. Any other
is run again, in a task of this step; several ask at once, and can be answered in any order.
"""

from __future__ import annotations

from collections.abc import Sequence

from langgraph.errors import GraphInterrupt

from langchain_asyncfc.durable import once_for_all
from langchain_asyncfc.futures import FutureState, Outcome
from langchain_asyncfc.keeping import outcome_of
from langchain_asyncfc.resuming import Resuming
from langchain_asyncfc.running_again import RunAgain, run_again
from langchain_asyncfc.scheduler import ToolFuture
from langchain_asyncfc.waiting import Flow, Wait

__all__ = ["Asking"]


class Asking(Resuming):
    """A step as far as it lets tools ask."""

    def _let_ask(self, arrived: Sequence[ToolFuture | None], *, leads: bool) -> Flow[None]:
        """Let those calls ask that want to, until none does.

        Args:
            arrived: The calls that came in with this step.
            leads: Whether it also looks after calls of earlier steps.

        Raises:
            GraphInterrupt: When they ask; or when the run stops before a call was started.
        """
        own = [future for future in arrived if future is not None]
        while asks := self._asking(own, leads=leads):
            self._scheduler.interrupting = True
            while running := self._scheduler.running():
                yield Wait(running, until_failure=False)
            asks = self._asking(own, leads=leads)
            alone = len(own) == len(arrived) == 1 and asks == own and not own[0].in_step
            keep = self._to_keep([] if alone else asks)
            if not self._in_run:
                raise _joined(asks)
            for future in asks:
                self._policy.slow.discard(future.call.name)  # not the tool was slow
            if keep:
                yield once_for_all(lambda keep=keep: keep)  # type: ignore[misc]
            if alone:
                self._scheduler.stop()
                raise _joined(asks)
            yield from self._run_in_step(asks)
        if self._scheduler.interrupted and not all(future.done for future in own):
            for future in own:
                future.placed = True  # this step ends without it
            raise GraphInterrupt(())  # it was not started, and comes in again

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

    def _run_in_step(self, asks: Sequence[ToolFuture]) -> Flow[None]:
        """Run calls that ask in the foreground of this step, beside each other.

        Raises:
            GraphInterrupt: With everything that they ask.
        """
        calls = []
        for future in asks:
            assert future.provided is not None  # noqa: S101 - it was started before
            own = future.provided[0]
            tool_call = self._scheduler.arguments(future)
            calls.append(RunAgain(future.id, tool_call, own, self._asked_in(future)))
        results = yield from run_again(calls)
        interrupts = [i for r in results if isinstance(r, GraphInterrupt) for i in r.args[0]]
        if interrupts:
            self._scheduler.stop()
            raise GraphInterrupt(tuple(interrupts))
        for future, call, result in zip(asks, calls, results, strict=True):
            if isinstance(result, BaseException):
                outcome = Outcome(FutureState.FAILED, error=result, note=repr(result))
            else:
                found = call.outcome or outcome_of(result, future.call.id)
                outcome = found or Outcome(FutureState.LOST, note="its outcome cannot be read")
            self._scheduler.settle(future, outcome)


def _joined(asks: Sequence[ToolFuture]) -> GraphInterrupt:
    return GraphInterrupt(tuple(i for f in asks if f.asks and f.asks.args for i in f.asks.args[0]))
