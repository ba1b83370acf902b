"""The seam between the scheduler and whatever runs a call.

An executor is handed jobs that may start now, and reports one outcome for each. It knows nothing
of futures, order or messages. The protocol leaves room for a remote one: the caller chooses a
job's id; submitting an id twice must start it once; a terminal outcome is final, and the
scheduler drops whatever is reported after it.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from contextvars import Context
from dataclasses import dataclass
from typing import Any, Protocol

from langchain_asyncfc.futures import Outcome

__all__ = ["Executor", "Home", "Job"]


@dataclass(frozen=True, slots=True)
class Job:
    """One call, ready to run: dependencies are met and references are replaced by values.

    Attributes:
        id: Chosen by the caller; unique among the jobs of an executor. It ends with the future's.
        call_id: The id that the model gave the call; its answer names it.
        tool: The tool's name.
        args: The arguments with which the tool runs, without injected ones.
        run: Runs the call in this thread and gives its outcome; never raises an `Exception`.
        arun: Runs it on the running event loop; cancelling it cancels the tool.
        interrupt: Ends a call that `run` runs, if it can be ended: `False` says that it cannot.
        context: The context variables of the step that issued the call.
    """

    id: str
    call_id: str
    tool: str
    args: Mapping[str, Any]
    run: Callable[[], Outcome]
    arun: Callable[[], Awaitable[Outcome]]
    interrupt: Callable[[], bool]
    context: Context


class Executor(Protocol):
    """Runs jobs."""

    def submit(self, job: Job, done: Callable[[Outcome], None]) -> Callable[[], None]:
        """Start a job; never blocks on it.

        Args:
            job: What to run.
            done: To be called once with the outcome, from any thread, also when the job was
                cancelled.

        Returns:
            A function that asks for the job's cancellation. `done` is still called: when the job
            has ended, or at once where it cannot be stopped.
        """
        ...


class Home(Protocol):
    """Where a scheduler lives: its time, and the thread in which its events happen."""

    def now(self) -> float:
        """Seconds since some fixed point; never goes back."""
        ...

    def is_here(self) -> bool:
        """Whether this is the place: the same event loop, or any thread."""
        ...

    def is_gone(self) -> bool:
        """Whether nothing will ever happen here again: the event loop is closed."""
        ...

    def call_later(self, seconds: float, callback: Callable[[], None]) -> Callable[[], None]:
        """Call back after some seconds. The returned function calls it off."""
        ...

    def post(self, callback: Callable[[], None]) -> None:
        """Call back where events belong: at once if this is the place, else as soon as may be."""
        ...
