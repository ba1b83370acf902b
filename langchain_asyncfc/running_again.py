"""Running a call in the foreground of a step, in a task of its own, where it can ask."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from langchain_core.messages import ToolCall
from langgraph.config import get_config

from langchain_asyncfc.calls import Call
from langchain_asyncfc.configs import going_on
from langchain_asyncfc.durable import asked
from langchain_asyncfc.executors import worker_pool
from langchain_asyncfc.futures import FutureState, Outcome
from langchain_asyncfc.invocations import Invocation
from langchain_asyncfc.keeping import RECORD, Kept, kept_outcome
from langchain_asyncfc.recording import Recording
from langchain_asyncfc.scheduler import timed_out
from langchain_asyncfc.waiting import Flow

__all__ = ["RunAgain", "run_again"]


@dataclass(slots=True)
class RunAgain:
    """One call.

    Attributes:
        call: The call as the model made it.
        tool_call: The same, with values for references.
        invocation: Runs it.
        namespace: Where a graph that its tool runs has the checkpoint from which it goes on, if
            there is one.
        outcome: What it came to as it is, once it was run here. What its task returns is only what
            can be kept.
    """

    call: Call
    tool_call: ToolCall
    invocation: Invocation
    namespace: str | None
    outcome: Outcome | None = field(default=None)

    def run(self) -> Kept:
        """Run it in this thread; where it has a time limit, in one that can be left behind."""
        recording = Recording(time.monotonic, self.call.future)
        limit = self.call.facts.timeout
        here = self._here()
        if limit is None:
            return self._kept(here.run(self.tool_call, recording))
        running = worker_pool().submit(here.run, self.tool_call, recording)
        try:
            return self._kept(running.result(limit))
        except TimeoutError:
            recording.stop = timed_out(self.call)
            recording.interrupt()
            return self._kept(Outcome(FutureState.FAILED, note=str(recording.stop)))

    async def arun(self) -> Kept:
        """Run it on this event loop."""
        loop = asyncio.get_running_loop()
        recording = Recording(loop.time, self.call.future)
        running = asyncio.ensure_future(self._here().arun(self.tool_call, recording))

        def end() -> None:
            recording.stop = timed_out(self.call)
            if not recording.interrupt():
                running.cancel()

        limit = self.call.facts.timeout
        timer = None if limit is None else loop.call_later(limit, end)
        try:
            outcome = await running
        except asyncio.CancelledError:
            if recording.stop is None:
                raise
        finally:
            if timer is not None:
                timer.cancel()
        if recording.stop is not None:
            outcome = Outcome(FutureState.FAILED, note=str(recording.stop))
        return self._kept(outcome)

    def _here(self) -> Invocation:
        config = get_config()
        if self.namespace is not None:
            config = going_on(config, self.namespace)
        return self.invocation.within(config)

    def _kept(self, outcome: Outcome) -> Kept:
        if outcome.error is not None:
            raise outcome.error
        self.outcome = outcome
        return {RECORD: kept_outcome(self.tool_call["id"], outcome)}


def run_again(calls: Sequence[RunAgain]) -> Flow[list[Any]]:
    """Run calls beside each other.

    Returns:
        For each what is kept of its outcome, or the exception that it raised.
    """
    if not calls:
        return []
    results: list[Any] = yield asked([call.run for call in calls], [call.arun for call in calls])
    return [r.get(RECORD) if isinstance(r, Mapping) else r for r in results]
