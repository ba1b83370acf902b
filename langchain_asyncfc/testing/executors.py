"""An executor that a test drives by hand."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from langchain_core.messages import ToolMessage

from langchain_asyncfc.executors import Job
from langchain_asyncfc.futures import FutureState, Outcome
from langchain_asyncfc.references import text_of

__all__ = ["ManualExecutor"]


class ManualExecutor:
    """Starts nothing by itself: a test says when and how each call ends.

    Calls are named by future id (`"future_1"`), or by tool name, which means the oldest running
    call of that tool.

    Example:
        ```python
        executor = ManualExecutor()
        node = AsyncFCToolNode([search], executor=executor)
        ...
        assert executor.running == ["future_1"]
        executor.resolve("future_1", {"title": "AsyncFC"})
        ```

    Attributes:
        started: Every job that was handed over, in order.
        cancelled: Future ids whose cancellation was asked for, in order. Unless
            `ends_when_cancelled` is set, such a call runs on until the test ends it.
    """

    def __init__(self, *, ends_when_cancelled: bool = True) -> None:
        self.started: list[Job] = []
        self.cancelled: list[str] = []
        self._ends_when_cancelled = ends_when_cancelled
        self._running: dict[str, tuple[Job, Callable[[Outcome], None]]] = {}

    def submit(self, job: Job, done: Callable[[Outcome], None]) -> Callable[[], None]:
        """Take a job over; part of the `Executor` protocol."""
        future = _future_of(job)
        self.started.append(job)
        self._running[job.id] = (job, done)

        def cancel() -> None:
            self.cancelled.append(future)
            if self._ends_when_cancelled and job.id in self._running:
                self._end(job, Outcome(FutureState.CANCELLED))

        return cancel

    @property
    def running(self) -> list[str]:
        """Ids of the futures whose calls were started and have not ended, oldest first."""
        return [_future_of(job) for job, _ in self._running.values()]

    def job(self, call: str) -> Job:
        """The job of a running call.

        Raises:
            LookupError: When no such call is running. The message names those that are.
        """
        for job, _ in self._running.values():
            if call in (_future_of(job), job.tool, job.id):
                return job
        msg = f"No call {call!r} is running; running: {self.running}."
        raise LookupError(msg)

    def resolve(self, call: str, value: Any = "done") -> None:
        """End a call with a value."""
        job = self.job(call)
        message = ToolMessage(text_of(value), name=job.tool, tool_call_id=job.call_id)
        self._end(job, Outcome(FutureState.RESOLVED, value, message))

    def fail(self, call: str, text: str = "failed") -> None:
        """End a call with an error that the model is told."""
        job = self.job(call)
        message = ToolMessage(text, name=job.tool, tool_call_id=job.call_id, status="error")
        self._end(job, Outcome(FutureState.FAILED, text, message, note=text))

    def crash(self, call: str, error: BaseException) -> None:
        """End a call with an error that the graph raises."""
        self._end(self.job(call), Outcome(FutureState.FAILED, error=error, note=repr(error)))

    async def run(self, call: str) -> None:
        """Run a call for real, on this event loop."""
        job = self.job(call)
        self._end(job, await job.arun())

    def _end(self, job: Job, outcome: Outcome) -> None:
        _, done = self._running.pop(job.id)
        done(outcome)


def _future_of(job: Job) -> str:
    return job.id.rpartition("/")[2]
