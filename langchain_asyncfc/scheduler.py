"""The scheduler: the one room that joins the tracker and the executors.

It owns every live future of one run of one graph. Calls come in by `issue`, what runs them by
`provide`; the tracker says which may start; an executor starts them; their outcomes come back by
`_finish`, whatever the thread. All changes of state happen under one lock, so the same code
serves an event loop (where nobody ever waits for the lock) and threads.
"""

from __future__ import annotations

import functools
import heapq
import logging
import threading
from collections import defaultdict
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from contextvars import Context
from dataclasses import replace
from typing import Any

from langchain_core.messages import ToolCall
from langgraph.errors import GraphBubbleUp, GraphInterrupt

from langchain_asyncfc.arguments import Values
from langchain_asyncfc.begun import Begun
from langchain_asyncfc.calls import Call
from langchain_asyncfc.effects import Access, covers
from langchain_asyncfc.errors import (
    FailedReference,
    ReferenceProblem,
    ToolCancelled,
    ToolTimeout,
    UnfitValue,
)
from langchain_asyncfc.executors import Executor, Home, Job
from langchain_asyncfc.futures import FutureState, Outcome, future_id
from langchain_asyncfc.handles import DELIVERED, Lane, ToolFuture
from langchain_asyncfc.invocations import Invocation
from langchain_asyncfc.journal import Entry
from langchain_asyncfc.reasons import IDENTICAL_CALL, MAX_CONCURRENCY, Waited, waits_metadata
from langchain_asyncfc.recording import Recording, readdressed
from langchain_asyncfc.tracker import DependencyTracker, Freed, Steps

__all__ = ["Lane", "Scheduler", "ToolFuture"]

_logger = logging.getLogger(__name__)

_WAITING, _RUNNING = FutureState.WAITING, FutureState.RUNNING
_FAILED, _CANCELLED = FutureState.FAILED, FutureState.CANCELLED
_SKIPPED = FutureState.SKIPPED


class Scheduler:
    """Runs the calls of one run of one graph.

    Args:
        executor: Where calls run whose lane names no other executor.
        home: Its time, and where its events happen.
        key: A prefix that makes job ids unique among runs.

    Attributes:
        latest: By key of the state the ordinal of the youngest call that updated it.
        batch: What steps remember of the message that was issued last.
        journaled: By ordinal where the journal notes a call.
        journal_read: Whether a step has looked there for what earlier runs left.
        interrupting: Whether the run is about to stop, so that no later step of it delivers.
        interrupted: Whether it stops with an interrupt now; see `stop`.
        kept: The ids of futures whose outcomes are kept by steps that have stopped.
        streams: What models write now whose calls may begin before they are issued.
        ended: Whether its run has ended, so that no call begins before it is issued.
    """

    def __init__(self, executor: Executor, home: Home, key: str) -> None:
        self._executor = executor
        self._home = home
        self._key = key
        self._lock = threading.RLock()
        self._tracker = DependencyTracker()
        self._futures: dict[int, ToolFuture] = {}
        self._live: dict[int, ToolFuture] = {}
        self._last = 0
        self._undelivered: dict[int, ToolFuture] = {}
        self._failure: ToolFuture | None = None
        self._ended_by: dict[int, BaseException] = {}
        self._withdrawn: dict[int, ToolFuture] = {}
        self._placeholders = False
        self.latest: dict[str, int] = {}
        self.batch: Any = None
        self.journaled: dict[int, Entry] = {}
        self.journal_read: bool = False
        self.interrupting: bool = False
        self.interrupted: bool = False
        self.kept: set[str] = set()
        self.streams: dict[object, object] = {}
        self.ended: bool = False
        self._failure_callbacks: list[Callable[[], None]] = []
        self._batch = 0
        self._latest = 0
        self._message: object = None
        self._messages: dict[object, tuple[list[ToolCall], int]] = {}
        self._twins: dict[tuple[Lane, str], ToolFuture] = {}
        self._values = Values(self._futures)
        self._running: dict[Lane, int] = defaultdict(int)
        self._begun: list[Begun] = []
        self._entered = 0
        self._entered_before = 0
        self._asks: set[int] = set()
        self._queues: dict[Lane, list[tuple[int, ToolFuture]]] = defaultdict(list)

    # -- questions ------------------------------------------------------------------------------

    @property
    def last(self) -> int:
        """The highest ordinal issued here; 0 if none was."""
        return self._last

    def at_home(self) -> bool:
        """Whether futures can go on from here: on the event loop where they began."""
        return self._home.is_here()

    def is_gone(self) -> bool:
        """Whether no future can go on any more: the event loop is closed."""
        return self._home.is_gone()

    def is_idle(self) -> bool:
        """Whether no future is unfinished, and no outcome or error has yet to be given out."""
        with self._lock:
            return not (self._live or self._undelivered or self._failure)

    def get(self, ordinal: int) -> ToolFuture | None:
        """The future with this ordinal, if it was issued in this run and came to be run."""
        return self._futures.get(ordinal)

    def live(self) -> list[ToolFuture]:
        """The unfinished futures, in issue order."""
        with self._lock:
            return list(self._live.values())

    def take_settled_entries(self) -> list[Entry]:
        """The entries of the journal that are no longer needed, once the run has ended.

        What was delivered stands in messages, and what was finished at an interrupt was kept.
        """
        with self._lock:
            needed = {*self._live, *(() if self.interrupted else self._undelivered)}
            settled = [ordinal for ordinal in self.journaled if ordinal not in needed]
            return [self.journaled.pop(ordinal) for ordinal in settled]

    def leave_entries(self) -> None:
        """Have the journal say no more of unfinished calls than that they were started."""
        with self._lock:
            for ordinal in self._live:
                if (entry := self.journaled.get(ordinal)) is not None:
                    entry.left = True

    def undelivered(self) -> list[ToolFuture]:
        """The finished futures whose outcome was not delivered, in issue order."""
        with self._lock:
            return list(self._undelivered.values())

    def waits_for(self, future: ToolFuture) -> list[int]:
        """Ordinals of the earlier calls that a waiting one waits for."""
        with self._lock:
            return self._tracker.waits_for(future.call.ordinal)

    def take_failure(self) -> None:
        """Note that the error has been raised, so that it is not raised again at each step."""
        with self._lock:
            self._failure = None

    def failure(self) -> ToolFuture | None:
        """The first future whose error the graph has to raise (rule 16)."""
        return self._failure

    # -- events ---------------------------------------------------------------------------------

    def belongs_to(self, placeholders: Iterable[str | None]) -> bool:
        """Whether what is left here are the futures that a thread's messages tell of.

        If not, it belongs to another branch of the thread, or to another graph. The placeholder of
        a future may be gone, as after a summary, but not the youngest one: a branch that has that
        one has all that came before.

        Args:
            placeholders: The ids of the thread's placeholders.
        """
        known = set(placeholders)
        with self._lock:
            left = {**self._live, **self._undelivered}
            return bool(left) and left[max(left)].placeholder in known

    def first_ordinal(self, message: object, calls: Sequence[ToolCall], highest: int) -> int:
        """The ordinal of a message's first call, the same each time the message comes in.

        Args:
            message: What tells the message from others of this run.
            calls: Its calls. A message that comes in with other calls counts as another one.
            highest: The highest ordinal that the thread's messages know of.
        """
        with self._lock:
            known = self._messages.get(message)
            if known is None or known[0] != calls:
                known = (list(calls), max(highest, self._last) + 1)
                self._messages[message] = known
            return known[1]

    def issue(
        self,
        message: object,
        calls: Sequence[Call],
        lane: Lane,
        earlier_value: Callable[[int], Any],
    ) -> list[ToolFuture]:
        """Accept calls of one message, in the model's order. They start once provided for.

        Issuing a call again gives the same future and starts nothing twice.

        Args:
            message: What tells the message from others of this run.
            calls: Some or all of its calls, numbered from `first_ordinal`.
            lane: How they are run.
            earlier_value: Gives the value of a future of an earlier run by its ordinal; raises
                `KeyError` when there is none, and `FailedReference` when it did not resolve.
        """
        with self._lock:
            if message != self._message and any(self._known(c.ordinal) is None for c in calls):
                # What was taken over since the last message may still come, in another task.
                self._withdraw(f for f in self._live.values() if f.batch <= self._latest)
                self._message = message
                self._batch += 1
                self._latest = self._batch
                self._entered_before = self._entered
            self._values.earlier = earlier_value
            futures = [self._known(call.ordinal) or self._issue(call, lane) for call in calls]
            if self._begun:
                self._find_begun(futures, lane)
            return futures

    def begin(self, call: Call, lane: Lane, start: Callable[[Begun], None]) -> Begun | None:
        """Run the tool of a call that is not issued yet, if that can change nothing.

        The call must read only, have nothing to wait for in its own message, and stand in the
        message that is issued next. It starts if it would start at once, were it issued now. When
        it is issued it is taken up only if the scheduler has taken in no call in between, and if it
        may start at once: then nothing that conflicts with it can have run or begun meanwhile.

        Args:
            call: The call, as it will be issued.
            lane: How it is run.
            start: Starts what has begun.

        Returns:
            What has begun; `None` where it may not.
        """
        with self._lock:
            for known in [b for b in self._begun if b.call.id == call.id]:
                same = known.lane is lane and known.is_for(call)
                if known.usable and same and known.entered == self._entered:
                    return known  # a stream that was cut has begun it
                known.stop(_not_issued(known))
            self._begun = [b for b in self._begun if b.usable or not b.done]
            if not self._can_begin(call, lane):
                return None
            now = self._home.now()
            recording = Recording(self._home.now, call.future)
            begun = Begun(call, lane, recording, self._entered, now)
            start(begun)
            self._begun.append(begun)
            if call.facts.timeout is not None:
                begun.call_off_timeout = self._home.call_later(
                    call.facts.timeout, functools.partial(self._time_out_begun, begun)
                )
            return begun

    def _can_begin(self, call: Call, lane: Lane) -> bool:
        """Whether a call that is not issued yet would start at once, and as a call of its own."""
        if lane.executor is not None or lane.limit is not None:
            return False
        if self.ended or self.interrupting or self.interrupted or self._failure is not None:
            return False  # the run is about to stop, or has
        twin = self._twins.get((lane, call.identity() or ""))
        access = self._values.access(call)
        return twin is None and access is not None and self._tracker.is_free(access)

    def _find_begun(self, futures: Iterable[ToolFuture], lane: Lane) -> None:
        """Find what has begun of calls that are issued now and may start; the rest of it ends."""
        fresh = [b for b in self._begun if b.entered == self._entered_before]
        for future in futures:
            if future.ready and not future.is_provided and future.leader is None:
                mine = (b for b in fresh if b.lane is lane and b.is_for(future.call))
                future.begun = next(mine, None)
        found = [future.begun for future in futures]
        for begun in self._begun:
            # Another node may issue calls of the same message, which it has begun.
            if begun not in found and (begun not in fresh or begun.lane is lane):
                begun.stop(_not_issued(begun))

    def _take_up(self, future: ToolFuture) -> Begun | None:
        """What has begun of a call that starts now, if it is still the same call."""
        begun, future.begun = future.begun, None
        if begun not in self._begun or not begun.usable or not begun.is_for(future.call):
            return None
        self._begun.remove(begun)
        if begun.call_off_timeout is not None:
            begun.call_off_timeout()
        begun.recording.begun = begun
        return begun

    def end_begun(self, begun: Iterable[Begun] | None = None) -> list[Begun]:
        """End what has begun and was not taken up.

        Args:
            begun: Some of it; by default all, and nothing more begins in this run.

        Returns:
            What has not ended yet.
        """
        with self._lock:
            self.ended = self.ended or begun is None
            ended = [b for b in self._begun if begun is None or b in begun]
            for one in ended:
                one.stop(_not_issued(one))
            return [one for one in ended if not one.done]

    def _known(self, ordinal: int) -> ToolFuture | None:
        """The future with this ordinal, also if nobody came to run it."""
        return self._futures.get(ordinal) or self._withdrawn.get(ordinal)

    def resolved(self, call: Call, earlier_value: Callable[[int], Any]) -> Mapping[str, Any] | None:
        """A call's arguments with values for references; `None` while one has not finished.

        Raises:
            ReferenceProblem: When a value is not there or does not fit.
        """
        with self._lock:
            self._values.earlier = earlier_value
            futures = [self._futures.get(reference.ordinal) for reference in call.references]
            if any(future is not None and not future.done for future in futures):
                return None
            for future in futures:
                if future is not None and future.state is not FutureState.RESOLVED:
                    raise FailedReference(f"{future.id} ({future.call.name}) {future.state}")
            failure = self._values.earlier_failure(call)
            if failure is not None:
                raise failure
            return self._values.final(call)

    def provide(
        self, future: ToolFuture, invocation: Invocation, context: Context, call: Call | None = None
    ) -> bool:
        """Say how a call is run. A call that may start starts now.

        Args:
            future: The call's future.
            invocation: Runs it.
            context: The context in which it runs.
            call: The call as it came in, where somebody changed it since it was issued. It keeps
                its place among the others.

        Returns:
            Whether nobody had said it before.
        """
        with self._lock:
            is_first = not future.is_provided
            if is_first:
                if call is not None and not future.done:
                    future.call = call
                future.provided, future.context = invocation, context
                future.is_provided = True
                if self._withdrawn.pop(future.call.ordinal, None):  # somebody came after all
                    self._futures[future.call.ordinal] = future
                    self._undelivered[future.call.ordinal] = future
                future.announce("issued")
                if future.done:
                    if future.ran_before:
                        future.announce(_RUNNING)
                    future.announce(future.state)
                    future.let_go()
                if future.ready and self._tracker.state(future.call.ordinal) is _WAITING:
                    self._enqueue(future)
            return is_first

    def cancel(self, futures: Iterable[ToolFuture]) -> None:
        """Cancel futures. A waiting one ends at once, a running one when its tool has ended.

        A sync tool cannot be stopped: its future ends at once, and what the tool returns is
        dropped. When identical calls have joined a cancelled one, the first of them runs itself.
        """
        # Those that wait go first and the latest before the others, or the end of one would start
        # the next.
        with self._lock:
            for future in sorted(futures, key=_latest_waiting_first):
                if not future.done:
                    self._cancel(future)

    def end_by(self, error: BaseException, futures: Iterable[ToolFuture]) -> None:
        """Cancel futures because the graph raises the error of another call.

        Where a graph has sent them to tasks of their own, each raises the error as well, once: a
        result that nobody cancelled them for would be kept.
        """
        with self._lock:
            for future in futures:
                self._ended_by[future.call.ordinal] = error
            self.cancel(futures)

    def error_that_ended(self, future: ToolFuture) -> BaseException | None:
        """The error that the graph has to raise for a future that has ended, if there is one."""
        if future.outcome is None:
            return None
        return future.outcome.error or self._ended_by.pop(future.call.ordinal, None)

    def restore(
        self,
        message: object,
        calls: Sequence[tuple[Call, Outcome | None]],
        lane: Lane,
        earlier_value: Callable[[int], Any],
    ) -> list[ToolFuture]:
        """Take over calls of one message that an earlier run issued.

        Where several tasks of a step do so at once, each call is taken over by one of them.

        Args:
            message: What tells the message from others of this run.
            calls: The calls in the model's order, each with its outcome if it has ended; the
                others start once provided for.
            lane: How they are run.
            earlier_value: As for `issue`.

        Returns:
            The futures of those that nobody has said yet how they are run.
        """
        with self._lock:
            if message != self._message and any(
                self.get(call.ordinal) is None for call, _ in calls
            ):
                self._message = message
                self._batch += 1
            self._values.earlier = earlier_value
            taken = [self._take_over(call, lane, outcome) for call, outcome in calls]
            return [future for future in taken if not future.is_provided]

    def asking(self) -> list[ToolFuture]:
        """The futures whose tools ask for something, in issue order."""
        with self._lock:
            if not self._asks:
                return []  # as most times, and thousands may be live
            return [future for future in self._live.values() if future.asks is not None]

    def running(self) -> list[ToolFuture]:
        """The futures that will end by themselves, in issue order."""
        with self._lock:
            return [future for future in self._live.values() if future.goes_on]

    def place(self, futures: Sequence[ToolFuture]) -> bool:
        """Have a step leave unfinished calls behind, with placeholders.

        Returns:
            Whether it may. It may not leave a call behind that asks, or while the run is about to
            stop, since nobody would look after it.
        """
        with self._lock:
            for future in futures:
                stays = self.interrupted or (self.interrupting and future.state is _RUNNING)
                if not future.done and (stays or future.asks is not None):
                    return False
            for future in futures:
                future.placed = True
            return True

    def arguments(self, future: ToolFuture) -> ToolCall:
        """The tool call of a running future, with values for references."""
        with self._lock:
            return future.call.with_args(self._values.final(future.call))

    def stop(self) -> None:
        """Note that the run stops with an interrupt, so that no later step delivers.

        Only calls whose own step waits for them are started from now on.
        """
        with self._lock:
            self.interrupted = True
            self._give_up_waiting()

    def _is_stuck(self) -> bool:
        """Whether waiting calls wait for those that ask, or for nothing: the run stops."""
        return bool(self.interrupted or self._asks) and not any(self._running.values())

    def _give_up_waiting(self) -> None:
        if self._is_stuck():
            for future in [f for f in self._live.values() if f.state is _WAITING]:
                self._notify(future)

    def settle(self, future: ToolFuture, outcome: Outcome) -> None:
        """Take the outcome of a call that asked and was run in the foreground."""
        with self._lock:
            if future.asks is not None and not future.done:
                self._no_longer_asks(future)
                self._end(future, outcome)

    def _no_longer_asks(self, future: ToolFuture) -> None:
        future.asks = None
        self._asks.discard(future.call.ordinal)

    def mark_delivered(self, future: ToolFuture) -> None:
        """Note that the model was told of an outcome."""
        with self._lock:
            if self._undelivered.pop(future.call.ordinal, None) is not None:
                future.announce(DELIVERED)
                future.let_go(delivered=True)
            self._tracker.seen(future.call.ordinal)

    def is_first_placeholder(self) -> bool:
        """Whether no placeholder was written in this run yet; asked when one is."""
        with self._lock:
            first, self._placeholders = not self._placeholders, True
            return first

    def when_done(self, future: ToolFuture, callback: Callable[[], None]) -> bool:
        """Have a function called when a future ends or asks, in the thread in which it does.

        It is also called when the call waits for one that asks, and when the run stops before.

        Returns:
            Whether there is something to wait for; else the function is never called.
        """
        with self._lock:
            if future.done or future.asks is not None:
                return False
            if future.state is _WAITING and self._is_stuck():
                return False
            future.callbacks = (*future.callbacks, callback)
            return True

    def forget(self, future: ToolFuture, callback: Callable[[], None]) -> None:
        """Call off `when_done`."""
        with self._lock:
            future.callbacks = tuple(c for c in future.callbacks if c != callback)

    def when_failed(self, callback: Callable[[], None]) -> bool:
        """Have a function called when a call ends with an error that the graph has to raise.

        Returns:
            Whether there is none yet; else the function is never called.
        """
        with self._lock:
            if self._failure is not None:
                return False
            self._failure_callbacks.append(callback)
            return True

    def forget_failure(self, callback: Callable[[], None]) -> None:
        """Call off `when_failed`."""
        with self._lock:
            if callback in self._failure_callbacks:
                self._failure_callbacks.remove(callback)

    # -- issue ----------------------------------------------------------------------------------

    def _issue(self, call: Call, lane: Lane) -> ToolFuture:
        future = self._enlist(call, lane)
        future.access = self._values.access(call)
        twin = self._twin(future)
        if twin is not None:
            # It waits for the other's value; nothing of its own runs.
            twin.share_with(future)
            self._apply(
                self._tracker.issue(
                    call.ordinal,
                    batch=self._batch,
                    access=Access(),
                    references=[twin.call.ordinal],
                )
            )
            return future
        problem = call.problem or self._values.earlier_failure(call)
        steps = self._tracker.issue(
            call.ordinal,
            batch=self._batch,
            access=Access() if problem is not None else future.access,
            references=[r.ordinal for r in call.references if r.ordinal in self._futures],
            fence=call.facts.effects.fence,
        )
        if problem is not None and not steps.skipped:
            self._end(future, _problem(problem))
        else:
            self._apply(steps)
        return future

    def _enlist(self, call: Call, lane: Lane) -> ToolFuture:
        future = ToolFuture(call, lane, self._home.now())
        future.batch = self._batch
        self._entered += 1
        self._futures[call.ordinal] = future
        self._live[call.ordinal] = future
        self._withdrawn.pop(call.ordinal, None)
        self._last = max(self._last, call.ordinal)
        return future

    def _take_over(self, call: Call, lane: Lane, outcome: Outcome | None) -> ToolFuture:
        """The future of a call of an earlier run, ended if it has ended there."""
        future = self.get(call.ordinal)
        if outcome is None:
            return future or self._issue(call, lane)
        if future is None:
            future = self._enlist(call, lane)
            self._tracker.issue(call.ordinal, batch=self._batch, access=Access())
        if not future.done and not future.is_provided:
            future.state = outcome.state
            future.ran_before = outcome.state in {FutureState.RESOLVED, _FAILED}
            self._end(future, outcome)
        return future

    def _twin(self, future: ToolFuture) -> ToolFuture | None:
        """An unfinished identical call that this one may join (rule 15)."""
        call = future.call
        if not call.facts.shareable or future.access is None or call.problem is not None:
            return None
        identity = call.identity()
        if identity is None:
            return None
        key = (future.lane, identity)
        twin = self._twins.get(key)
        if twin is not None and not self._tracker.conflict_since(
            twin.call.ordinal, future.access, self._batch
        ):
            return twin
        self._twins[key] = future
        future.twin_key = key
        return None

    def _unshare(self, future: ToolFuture) -> None:
        """Let those that joined a call go on without it: the first of them runs for itself."""
        heirs = [sharer for sharer in future.sharers if not sharer.done]
        future.sharers = ()
        if future.twin_key is not None and self._twins.get(future.twin_key) is future:
            del self._twins[future.twin_key]
        if not heirs:
            return
        heir, *others = heirs
        heir.leader = None
        heir.twin_key = future.twin_key
        if heir.twin_key is not None:
            self._twins[heir.twin_key] = heir
        self._tracker.part(heir.call.ordinal, future.call.ordinal, heir.access or Access())
        for other in others:
            heir.share_with(other)
            self._tracker.follow(other.call.ordinal, future.call.ordinal, heir.call.ordinal)

    def withdraw_unprovided(self) -> None:
        """End calls of which it is clear now that nobody comes to run them.

        Somebody else answered them: a middleware, or the run that this one resumes. What refers
        to them later gets what the messages say.
        """
        with self._lock:
            self._withdraw(self._live.values())

    def _withdraw(self, futures: Iterable[ToolFuture]) -> None:
        withdrawn = [future for future in futures if not future.is_provided]
        for future in withdrawn:
            if not future.done:
                self._cancel(future)
        for future in withdrawn:
            self._undelivered.pop(future.call.ordinal, None)
            self._withdrawn[future.call.ordinal] = future
            del self._futures[future.call.ordinal]
            self._tracker.seen(future.call.ordinal)  # it did not fail, as far as is known here

    # -- starting -------------------------------------------------------------------------------

    def _apply(self, steps: Steps) -> None:
        self._note_waits(steps.freed)
        for skipped in steps.skipped:
            cause = self._known(skipped.cause)
            assert cause is not None  # noqa: S101 - what ended was issued here
            reason = cause.outcome.note if cause.outcome is not None else ""
            note = f"{cause.id} ({cause.call.name}) {cause.state}" + (
                f": {reason}" if reason else ""
            )
            future = self._futures[skipped.call]
            if future.leader is not None and future.leader.outcome is not None:
                self._conclude(future, self._shared_outcome(future))
            else:
                self._conclude(future, Outcome(_SKIPPED, note=note))
        for ordinal in steps.ready:
            future = self._futures[ordinal]
            future.ready = True
            if future.leader is not None:
                self._share(future)
            elif future.is_provided:
                self._enqueue(future)

    def _note_waits(self, freed: Sequence[Freed]) -> None:
        """Note what calls have waited for. Only those come here that did."""
        now = self._home.now() if freed else 0.0
        for free in freed:
            future = self._futures.get(free.call)
            if future is not None:
                why = free.reason if future.leader is None else IDENTICAL_CALL
                future.note_wait(Waited(why, future_id(free.earlier), future.issued_at, now))

    def _tell_waits(self, future: ToolFuture, recording: Recording) -> None:
        """Say why a call that starts now waited, in the log and to the trace of its run."""
        if future.queued_at is not None:
            future.note_wait(Waited(MAX_CONCURRENCY, "", future.queued_at, self._home.now()))
        if future.waits:
            told = waits_metadata(future.id, future.waits, future.issued_at)
            recording.told = told
            _logger.info("%s (%s)", future.waited, future.call.name)

    def _share(self, future: ToolFuture) -> None:
        """End a call that joined another with the other's outcome."""
        future.move(_RUNNING)
        self._tracker.start(future.call.ordinal)
        self._end(future, self._shared_outcome(future))

    def _shared_outcome(self, future: ToolFuture) -> Outcome:
        leader = future.leader
        assert leader is not None  # noqa: S101 - only asked of one that joined another
        assert leader.outcome is not None  # noqa: S101 - which has ended
        answer = readdressed(leader.outcome.result, leader.call.id, future.call.id)
        return replace(leader.outcome, result=answer)

    def _enqueue(self, future: ToolFuture) -> None:
        lane = future.lane
        if lane.limit is None:
            self._start(future)
        else:
            heapq.heappush(self._queues[lane], (future.call.ordinal, future))
            self._drain(lane)
            if self._tracker.state(future.call.ordinal) is _WAITING:
                future.queued_at = self._home.now()

    def _drain(self, lane: Lane) -> None:
        """Start queued calls as far as the lane's limit allows, oldest first."""
        queue = self._queues[lane]
        while queue and lane.limit is not None and self._running[lane] < lane.limit:
            future = heapq.heappop(queue)[1]
            if self._tracker.state(future.call.ordinal) is _WAITING:
                self._start(future)

    def _start(self, future: ToolFuture) -> None:
        if self.interrupted and future.placed and not future.in_step:
            return  # the run stops, and no step of it delivers; the next one starts it
        call = future.call
        try:
            args = self._values.final(call)
            if future.misfit is not None:
                raise future.misfit
        except ReferenceProblem as problem:
            self._end(future, _problem(problem))
            return
        try:
            self._run_with(future, args)
        except Exception as error:  # noqa: BLE001 - an executor may be at its end
            # Most calls start when another ends, where nobody would hear of the error.
            outcome = _broken(future, "could not be started", error)
            if self._tracker.state(call.ordinal) is _RUNNING:
                self._finish(future, outcome)
            else:
                self._end_broken(future, outcome)

    def _run_with(self, future: ToolFuture, args: Mapping[str, Any]) -> None:
        call = future.call
        invocation, context = future.provided, future.context
        assert invocation is not None  # noqa: S101 - only provided calls are enqueued
        assert context is not None  # noqa: S101 - which comes with it
        tool_call = call.with_args(args)
        begun = self._take_up(future) if future.begun is not None else None
        recording = begun.recording if begun else Recording(self._home.now, call.future)
        future.recording = recording
        self._tell_waits(future, recording)
        future.move(_RUNNING)
        future.announce(_RUNNING)
        self._tracker.start(call.ordinal)
        if future.in_step:
            self._ask(future, GraphInterrupt(()))
            return
        self._running[future.lane] += 1
        started = _Started(self, future, invocation, tool_call, recording)
        job = Job(
            f"{self._key}/{call.future}",
            call.id or "",
            call.name,
            args,
            started.run,
            started.arun,
            recording.interrupt,
            context,
        )
        if call.facts.timeout is not None and (begun is None or not begun.done):
            past = 0.0 if begun is None else self._home.now() - begun.since
            future.call_off_timeout = self._home.call_later(
                max(0.0, call.facts.timeout - past), functools.partial(self._time_out, future)
            )
        executor = future.lane.executor or self._executor
        stop = executor.submit(job, started.report)
        if not future.done:
            future.stop = stop

    # -- ending ---------------------------------------------------------------------------------

    def report(self, future: ToolFuture, outcome: Outcome) -> None:
        """Take the outcome of a call that an executor runs, in any thread."""
        self._home.post(functools.partial(self._finish, future, outcome))

    def _finish(self, future: ToolFuture, outcome: Outcome) -> None:
        """Take the outcome of a running call. What comes after the first is dropped."""
        with self._lock:
            if self._tracker.state(future.call.ordinal) is not _RUNNING:
                return
            self._running[future.lane] -= 1
            if future.call_off_timeout is not None:
                future.call_off_timeout()
            stop = future.stopped_by
            if isinstance(stop, ToolTimeout):
                outcome = Outcome(_FAILED, note=str(stop))
            try:
                if isinstance(outcome.error, GraphInterrupt):
                    self._ask(future, outcome.error)
                else:
                    self._end(future, outcome)
            except Exception as error:  # noqa: BLE001 - an executor's report may be anything
                self._end_broken(future, _broken(future, "could not be ended", error))
            if future.lane.limit is not None:
                self._drain(future.lane)
            self._give_up_waiting()

    def _end(self, future: ToolFuture, outcome: Outcome) -> None:
        """End a call, and let those go on that waited for it."""
        ordinal = future.call.ordinal
        referrers = self._tracker.referrers(ordinal)
        self._conclude(future, outcome)
        freed: set[int] = set()
        for referrer in referrers:
            freed.update(self._refine(self._futures[referrer]))
        steps = self._tracker.finish(ordinal, outcome.state)
        steps.ready = sorted(freed.union(steps.ready))
        self._apply(steps)

    def _end_broken(self, future: ToolFuture, outcome: Outcome) -> None:
        """End a call whose end failed halfway, so that nobody waits for it for ever."""
        if future.done:
            self._notify(future)
        else:
            self._conclude(future, outcome)
        if self._tracker.state(future.call.ordinal) in (_WAITING, _RUNNING):
            self._apply(self._tracker.finish(future.call.ordinal, future.state))

    def _ask(self, future: ToolFuture, asked: GraphInterrupt) -> None:
        """Note that a call's tool asked for something. It waits for a step that lets it ask."""
        future.asks = asked
        self._asks.add(future.call.ordinal)
        self._notify(future)
        self._give_up_waiting()

    def _conclude(self, future: ToolFuture, outcome: Outcome) -> None:
        if future.state is not outcome.state:
            future.move(outcome.state)
        future.outcome = outcome
        if future.twin_key is not None and self._twins.get(future.twin_key) is future:
            del self._twins[future.twin_key]
        future.finished_at = self._home.now()
        del self._live[future.call.ordinal]
        self._undelivered[future.call.ordinal] = future
        future.announce(outcome.state)
        future.let_go()
        if isinstance(outcome.error, GraphBubbleUp) and not future.placed:
            self.interrupting = True  # the call's own step raises it, and nobody else
        elif outcome.error is not None and self._failure is None:
            self._failure = future
        self._notify(future)

    def _notify(self, future: ToolFuture) -> None:
        callbacks, future.callbacks = [*future.callbacks], ()
        if future is self._failure:
            callbacks += self._failure_callbacks
            self._failure_callbacks = []
        for callback in callbacks:
            callback()

    def _refine(self, future: ToolFuture) -> list[int]:
        """Narrow the resources of a waiting call, now that more of its arguments is known.

        Returns:
            The calls that may start because of it.
        """
        if future.state is not _WAITING or future.access is None or future.access.exact:
            return []
        access = self._values.access(future.call)
        if access is None:
            return []
        if not covers(future.access, access):
            msg = (
                f"The arguments of {future.id} ({future.call.name}) lead out of the resources that "
                "its place among other calls was decided by. Write the value itself instead of a "
                "reference."
            )
            future.misfit = UnfitValue(msg)
            return []
        future.access = access
        steps = self._tracker.refine(future.call.ordinal, access)
        self._note_waits(steps.freed)
        return steps.ready

    def _cancel(self, future: ToolFuture) -> None:
        self._unshare(future)
        if future.leader is not None and future in (sharers := future.leader.sharers):
            assert isinstance(sharers, list)  # noqa: S101 - it is in there
            sharers.remove(future)
        if future.state is _WAITING or future.asks is not None:
            self._no_longer_asks(future)
            self._end(future, Outcome(_CANCELLED))
        else:
            self._stop(future, ToolCancelled(f"{future.id} ({future.call.name}) was cancelled."))

    def _time_out_begun(self, begun: Begun) -> None:
        with self._lock:
            if begun in self._begun and not begun.done:
                begun.stop(timed_out(begun.call))

    def _time_out(self, future: ToolFuture) -> None:
        with self._lock:
            self._stop(future, timed_out(future.call))

    def _stop(self, future: ToolFuture, reason: ToolCancelled | ToolTimeout) -> None:
        if future.recording is not None and future.recording.stop is None:
            future.recording.stop = reason
            if future.stop is not None:
                future.stop()
            if future.done:
                _logger.info(
                    "%s A sync tool cannot be stopped; what it returns is dropped.", reason
                )


class _Started:
    """A call that an executor runs, as one object: thousands may run at once."""

    __slots__ = ("_future", "_invocation", "_recording", "_scheduler", "_tool_call")

    def __init__(
        self,
        scheduler: Scheduler,
        future: ToolFuture,
        invocation: Invocation,
        tool_call: ToolCall,
        recording: Recording,
    ) -> None:
        self._scheduler = scheduler
        self._future = future
        self._invocation = invocation
        self._tool_call = tool_call
        self._recording = recording

    def run(self) -> Outcome:
        return self._invocation.run(self._tool_call, self._recording)

    def arun(self) -> Awaitable[Outcome]:
        return self._invocation.arun(self._tool_call, self._recording)

    def report(self, outcome: Outcome) -> None:
        self._scheduler.report(self._future, outcome)


def timed_out(call: Call) -> ToolTimeout:
    """What ends a call that has run for too long."""
    limit = call.facts.timeout
    return ToolTimeout(f"Tool '{call.name}' was ended after its timeout of {limit:g} seconds.")


def _not_issued(begun: Begun) -> ToolCancelled:
    """What ends a run of a tool that nobody takes up."""
    return ToolCancelled(f"'{begun.call.name}' was begun early, and its call was not issued.")


def _latest_waiting_first(future: ToolFuture) -> tuple[bool, int]:
    return future.state is _RUNNING, -future.call.ordinal


def _broken(future: ToolFuture, what: str, error: Exception) -> Outcome:
    """The outcome of a call in whose way an error came that is not its tool's."""
    where = f"{future.id} ({future.call.name})"
    _logger.error("%s %s.", where, what, exc_info=error)
    note = f"{where} {what}: {type(error).__name__}. The application's log says more."
    return Outcome(_FAILED, note=note)


def _problem(problem: ReferenceProblem) -> Outcome:
    """The outcome of a call that cannot run."""
    state = FutureState.SKIPPED if isinstance(problem, FailedReference) else _FAILED
    return Outcome(state, note=str(problem))
