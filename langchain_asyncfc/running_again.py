"""Running a call in the foreground of a step, in a task of its own, where it can ask."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from langchain_core.messages import ToolCall
from langgraph.config import get_config

from langchain_asyncfc.configs import going_on
from langchain_asyncfc.durable import asked
from langchain_asyncfc.futures import Outcome
from langchain_asyncfc.invocations import Invocation
from langchain_asyncfc.keeping import Kept, kept_outcome
from langchain_asyncfc.recording import Recording
from langchain_asyncfc.waiting import Flow

__all__ = ["RunAgain", "run_again"]


@dataclass(slots=True)
class RunAgain:
    """One call.

    Attributes:
        future: The id of its future.
        tool_call: The call, with values for references.
        invocation: Runs it.
        namespace: Where a graph that its tool runs has the checkpoint from which it goes on, if
            there is one.
        outcome: What it came to as it is, once it was run here. What its task returns is only what
            can be kept.
    """

    future: str
    tool_call: ToolCall
    invocation: Invocation
    namespace: str | None
    outcome: Outcome | None = field(default=None)

    def run(self) -> Kept:
        """Run it in this thread."""
        return self._kept(self._here().run(self.tool_call, Recording(_no_clock, self.future)))

    async def arun(self) -> Kept:
        """Run it on this event loop."""
        recording = Recording(_no_clock, self.future)
        return self._kept(await self._here().arun(self.tool_call, recording))

    def _here(self) -> Invocation:
        config = get_config()
        if self.namespace is not None:
            config = going_on(config, self.namespace)
        return self.invocation.within(config)

    def _kept(self, outcome: Outcome) -> Kept:
        if outcome.error is not None:
            raise outcome.error
        self.outcome = outcome
        return kept_outcome(self.tool_call["id"], outcome)


def run_again(calls: Sequence[RunAgain]) -> Flow[list[Any]]:
    """Run calls beside each other.

    Returns:
        For each what is kept of its outcome, or the exception that it raised.
    """
    if not calls:
        return []
    results: list[Any] = yield asked([call.run for call in calls], [call.arun for call in calls])
    return results


def _no_clock() -> float:
    return 0.0
