"""ToolFuture: the runtime's handle on one issued call, with all that it knows of it."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from contextvars import Context
from dataclasses import dataclass
from typing import Final

from langgraph.errors import GraphBubbleUp, GraphInterrupt

from langchain_asyncfc.begun import Begun
from langchain_asyncfc.calls import Call
from langchain_asyncfc.effects import Access
from langchain_asyncfc.errors import ReferenceProblem, ToolStopped
from langchain_asyncfc.executors import Executor
from langchain_asyncfc.futures import FutureState, Outcome, check_transition
from langchain_asyncfc.invocations import Invocation
from langchain_asyncfc.reasons import Waited, explanation
from langchain_asyncfc.recording import Recording

__all__ = ["Lane", "ToolFuture"]

_logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, eq=False)
class Lane:
    """How the calls of one node are run.

    Attributes:
        executor: Where they run; `None` for the scheduler's own.
        limit: How many of them may run at once; `None` for no limit.
    """

    executor: Executor | None = None
    limit: int | None = None


DELIVERED: Final = "delivered"
"""The event that a step itself brings about."""


class ToolFuture:
    """The runtime's handle on one issued call. Only its scheduler changes it.

    Attributes:
        asks: The interrupt by which its tool asked for something, while nobody has answered. The
            call is not ended by that: a step has to run it, in the foreground.
        ran_before: Whether its call ran in an earlier run.
        asked_by: The step that lets it ask, if that is not the one that issued it.
        placeholder: The message id of its placeholder; `None` before that is written.
        in_step: Whether a step runs it in the foreground as soon as it may start.
        provided: What runs its call, from when that is known until it is no longer needed.
        context: The context in which it does.
        recording: What is noted of its call; made when that is started.
        begun: The run of its tool that began before it was issued, if there is one.
        sharers: The identical calls that joined it, in issue order.
        queued_at: Since when it waits for a place among `max_concurrency` calls, if it had to.
        waits: What it has waited for, each wait as soon as it has ended; see `reasons`.
    """

    __slots__ = (
        "access",
        "asked_by",
        "asks",
        "batch",
        "begun",
        "call",
        "call_off_timeout",
        "callbacks",
        "claimed_by",
        "context",
        "finished_at",
        "in_step",
        "is_provided",
        "issued_at",
        "lane",
        "leader",
        "misfit",
        "outcome",
        "placed",
        "placeholder",
        "provided",
        "queued_at",
        "ran_before",
        "ready",
        "recording",
        "sharers",
        "state",
        "stop",
        "twin_key",
        "waits",
    )

    def __init__(self, call: Call, lane: Lane, issued_at: float) -> None:
        self.call: Call = call
        self.lane: Lane = lane
        self.state: FutureState = FutureState.WAITING
        self.outcome: Outcome | None = None
        self.access: Access | None = None
        self.provided: Invocation | None = None
        self.context: Context | None = None
        self.is_provided: bool = False
        self.ready: bool = False
        self.batch: int = 0
        self.placed: bool = False
        self.placeholder: str | None = None
        self.asks: GraphInterrupt | None = None
        self.asked_by: object = None
        self.in_step: bool = False
        self.ran_before: bool = False
        self.leader: ToolFuture | None = None
        self.misfit: ReferenceProblem | None = None
        self.sharers: list[ToolFuture] | tuple[()] = ()
        self.recording: Recording | None = None
        self.begun: Begun | None = None
        self.claimed_by: object = None
        self.twin_key: tuple[Lane, str] | None = None
        self.issued_at: float = issued_at
        self.queued_at: float | None = None
        self.waits: Sequence[Waited] = ()
        self.finished_at: float | None = None
        self.callbacks: tuple[Callable[[], None], ...] = ()
        self.stop: Callable[[], None] | None = None
        self.call_off_timeout: Callable[[], None] | None = None

    @property
    def id(self) -> str:
        """The future's id."""
        return self.call.future

    @property
    def is_queued(self) -> bool:
        """Whether it was started and its turn has not come: on the loop, or for a thread."""
        if self.state is not FutureState.RUNNING or self.recording is None:
            return False
        return self.recording.began is None or self.recording.in_queue

    @property
    def seconds(self) -> float | None:
        """How long its call ran, once it has."""
        began = self.recording.began if self.recording is not None else None
        if began is None or self.finished_at is None:
            return None
        return self.finished_at - began

    @property
    def stopped_by(self) -> ToolStopped | None:
        """Why the runtime ends its call early, if it does."""
        return self.recording.stop if self.recording is not None else None

    @property
    def waited(self) -> str:
        """Why it waited before it started, and how long, as a sentence; empty if it did not."""
        return explanation(self.id, self.waits)

    @property
    def done(self) -> bool:
        """Whether it has its outcome."""
        return self.outcome is not None

    @property
    def goes_on(self) -> bool:
        """Whether its call runs, and will end by itself."""
        return self.state is FutureState.RUNNING and self.asks is None

    def move(self, state: FutureState) -> None:
        """Go on to another state.

        Raises:
            InvalidTransition: When the table has no such step.
        """
        check_transition(self.state, state)
        self.state = state

    def announce(self, event: str) -> None:
        """Tell `stream_mode="custom"` what happens to the future, where that is wanted."""
        if self.provided is None or not self.provided.announces:
            return
        if self.outcome is not None and isinstance(self.outcome.error, GraphBubbleUp):
            return  # an interrupt: the call has not ended, it runs again when it is answered
        invocation = self.provided
        if event == DELIVERED:
            # By the step that delivers, which may be one of a later run.
            invocation.announce(self.call.tool_call, self.id, event, self.outcome, here=True)
            return
        # In the context of the step that issued it, whoever reports: the writer looks there for
        # its graph. A copy, since the call may be running in the context itself.
        try:
            call = self.call.tool_call
            assert self.context is not None  # noqa: S101 - given with the invocation
            self.context.copy().run(invocation.announce, call, self.id, event, self.outcome)
        except Exception:  # whatever a stream does, calls begin and end
            _logger.exception("%s (%s) %s could not be announced.", self.id, self.call.name, event)

    def share_with(self, other: ToolFuture) -> None:
        """Let an identical call have its outcome. Most calls have no such, and no list of them."""
        other.leader = self
        if isinstance(self.sharers, list):
            self.sharers.append(other)
        else:
            self.sharers = [other]

    def note_wait(self, waited: Waited) -> None:
        """Keep a wait that has ended. Most calls have none, and share one empty tuple.

        What stands between a call and others may be in its way twice, for the same reason.
        """
        if isinstance(self.waits, list):
            if waited not in self.waits:
                self.waits.append(waited)
        else:
            self.waits = [waited]

    def let_go(self, *, delivered: bool = False) -> None:
        """Drop what only a call that runs needs: it holds the whole state of the step it came in.

        Args:
            delivered: Whether its outcome was delivered, so that nothing is left to be announced.
        """
        self.stop = self.call_off_timeout = None
        if self.recording is not None:
            self.recording.let_go()
        if delivered or self.provided is None or not self.provided.announces:
            self.provided = self.context = None

    def claim(self, claimant: object) -> bool:
        """Take the outcome for delivery; `False` when the same claimant has taken it already.

        Tasks of one step see the same messages, so messages cannot tell them who delivers.
        """
        if claimant is not None and self.claimed_by == claimant:
            return False
        self.claimed_by = claimant
        return True

    def __repr__(self) -> str:
        return f"<ToolFuture {self.id} {self.call.name} {self.state}>"
