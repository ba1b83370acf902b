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
from typing import Any

from langgraph.config import get_config
from langgraph.errors import GraphInterrupt

from langchain_asyncfc.durable import asked, once_for_all
from langchain_asyncfc.futures import FutureState, Outcome
from langchain_asyncfc.keeping import Kept, kept_outcome, outcome_of
from langchain_asyncfc.recording import Recording
from langchain_asyncfc.resuming import Resuming
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
        return [f for f in self._scheduler.asking() if f in own or (leads and f.placed)]

    def _run_in_step(self, asks: Sequence[ToolFuture]) -> Flow[None]:
        """Run calls that ask in the foreground of this step, beside each other.

        Raises:
            GraphInterrupt: With everything that they ask.
        """
        if not asks:
            return
        live: dict[ToolFuture, Outcome] = {}
        results: list[Any] = yield asked(
            [_Run(self._scheduler.arguments(f), f, live).run for f in asks],
            [_Run(self._scheduler.arguments(f), f, live).arun for f in asks],
        )
        interrupts = [error for error in results if isinstance(error, GraphInterrupt)]
        if interrupts:
            self._scheduler.stop()
            raise GraphInterrupt(tuple(i for error in interrupts for i in error.args[0]))
        for future, result in zip(asks, results, strict=True):
            if isinstance(result, BaseException):
                outcome = Outcome(FutureState.FAILED, error=result, note=repr(result))
            else:
                known = live.get(future) or outcome_of(result, future.call.id)
                outcome = known or Outcome(FutureState.LOST, note="its outcome cannot be read")
            self._scheduler.settle(future, outcome)


def _joined(asks: Sequence[ToolFuture]) -> GraphInterrupt:
    return GraphInterrupt(tuple(i for f in asks if f.asks and f.asks.args for i in f.asks.args[0]))


class _Run:
    """One call, run in a task of the step.

    Args:
        tool_call: The call with values for references.
        future: Its future.
        live: Takes the outcome as it is; what the task returns is what is kept of it.
    """

    def __init__(self, tool_call: Any, future: ToolFuture, live: dict[ToolFuture, Outcome]) -> None:
        self._tool_call = tool_call
        self._future = future
        self._live = live

    def run(self) -> Kept:
        """Run it in this thread."""
        invocation, recording = self._begin()
        return self._end(invocation.run(self._tool_call, recording))

    async def arun(self) -> Kept:
        """Run it on this event loop."""
        invocation, recording = self._begin()
        return self._end(await invocation.arun(self._tool_call, recording))

    def _begin(self) -> tuple[Any, Recording]:
        future = self._future
        assert future.provided is not None  # noqa: S101 - it was started before
        recording = future.recording = future.recording.again(get_config())
        return future.provided[0], recording

    def _end(self, outcome: Outcome) -> Kept:
        if outcome.error is not None:
            raise outcome.error
        self._live[self._future] = outcome
        return kept_outcome(self._future.call.id, outcome)
