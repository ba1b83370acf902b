"""The part of a step that delivers: which outcomes go out now, and where.

What is pending is read from the messages, what has finished from the scheduler.
"""

from __future__ import annotations

from collections.abc import Sequence

from langchain_core.messages import AIMessage, ToolCall, ToolMessage
from langgraph.errors import GraphBubbleUp, GraphInterrupt

from langchain_asyncfc.calls import Call, read_call
from langchain_asyncfc.control_calls import ControlCalls
from langchain_asyncfc.delivery import (
    LOST,
    Answer,
    Riders,
    answer_in_place,
    carrier_among,
    ride,
    tool_messages_in,
    updated_keys,
    without_keys,
)
from langchain_asyncfc.futures import Outcome, future_id
from langchain_asyncfc.policy import Policy
from langchain_asyncfc.records import (
    Thread,
    is_pending,
    literal_calls,
)
from langchain_asyncfc.scheduler import Lane, Scheduler, ToolFuture
from langchain_asyncfc.waiting import Flow, Wait

__all__ = ["Delivering"]


class Delivering:
    """A step as far as it delivers, over the messages of a thread and the futures of a run.

    Args:
        policy: How to answer.
        lane: How calls are run.
        scheduler: Owner of the run's futures.
        thread: The thread as the step finds it.
        in_run: Whether later steps can deliver. If not, everything is waited for.
        waits: Whether everything is waited for all the same.
        place: What tells the thread's graph from others: the thread's id, and where the graph
            stands in a larger one.
        whole: Whether all open calls of the last message are to come, in this step or beside it.
        begins: Whether the run begins with this step, as one that goes on after an interrupt or a
            crash.
        resumed: Whether the run goes on from a checkpoint, from here or an earlier step.
    """

    def __init__(
        self,
        policy: Policy,
        lane: Lane,
        scheduler: Scheduler,
        thread: Thread,
        *,
        in_run: bool,
        waits: bool = False,
        whole: bool = True,
        place: tuple[str | None, str] = (None, ""),
        begins: bool = False,
        resumed: bool = False,
    ) -> None:
        self._policy = policy
        self._lane = lane
        self._scheduler = scheduler
        self._thread = thread
        self._in_run = in_run
        self._waits = waits or not in_run
        self._whole = whole
        self._place = place
        self._nested = bool(place[1])
        self._begins = begins
        self._resumed = resumed
        self._issued = range(0)
        self._edited: set[int] = set()
        self._unstarted: set[str | None] = set()
        self._beside: set[str | None] = set()
        self._arriving: set[str | None] = set()
        self._unanswered: dict[int, GraphInterrupt] = {}
        self._updated: dict[str, int] = {}
        self._goes_on = False
        self._control = ControlCalls(scheduler, thread, policy.grace)

    @property
    def goes_on(self) -> bool:
        """Whether the model has to be called again, or the tools, before the turn can end."""
        return self._goes_on

    @property
    def shown(self) -> set[str]:
        """The ids of the messages in whose place a step may put others."""
        replaceable = [*self._thread.pending.values(), *self._thread.tail]
        return {message.id for message in replaceable if message.id is not None}

    @property
    def last(self) -> int:
        """The highest number that a future of the thread has."""
        return max(self._thread.highest, self._scheduler.last)

    @property
    def _in_place(self) -> bool:
        """Whether outcomes go where the placeholder is: where that is asked for, and seen."""
        return self._policy.delivery == "in_place" and not self._thread.chained

    def _due(
        self, *, in_place: bool, can_ride: bool
    ) -> list[tuple[int, str, Outcome, ToolMessage | None]]:
        """Outcomes to be delivered now: ordinal, call id, outcome, and placeholder if there is one.

        Args:
            in_place: Whether outcomes go where the placeholder is.
            can_ride: Whether there is a message for outcomes to ride on; those that need one and
                have none stay for a later step.
        """
        due: list[tuple[int, str, Outcome, ToolMessage | None]] = []
        claim = self._thread.batch.id if self._thread.batch is not None else None
        for ordinal, message in self._thread.pending.items():
            future = self._scheduler.get(ordinal)
            if not (in_place or can_ride or self._is_native(message)):
                continue
            if future is None:
                # Of an earlier run; a step that can run tools looks after it, if there is a call.
                if self._thread.origin(ordinal) is None:
                    due.append((ordinal, message.tool_call_id, LOST, message))
                continue
            if future.outcome is not None and self._fits(future) and future.claim(claim):
                self._take(future)
                due.append((ordinal, message.tool_call_id, future.outcome, message))
        for future in self._unplaced() if can_ride else ():
            if future.outcome is not None and self._fits(future):
                self._scheduler.mark_delivered(future)
                due.append((future.call.ordinal, future.call.id or "", future.outcome, None))
        return due

    def _fits(self, future: ToolFuture) -> bool:
        """Whether an outcome can go out with the others of this step.

        A state key without a reducer takes one value a step. Where it is not known which keys
        have one, the second of two outcomes of different messages that update one key waits for
        the next step. Outcomes of one message go out together, as with `ToolNode`.
        """
        keys = self._keys(future)
        if self._policy.all_keys_known:
            return True
        if any(self._updated.get(key, future.batch) != future.batch for key in keys):
            return False
        self._updated.update(dict.fromkeys(keys, future.batch))
        return True

    def _overtakes(self, future: ToolFuture) -> bool:
        """Whether an outcome that is to go out would update a key before an older one does."""
        keys = self._keys(future)
        return (
            bool(keys)
            and not self._policy.all_keys_known
            and any(
                older.call.ordinal < future.call.ordinal
                and older.batch != future.batch
                and keys & self._keys(older)
                for older in self._scheduler.undelivered()
            )
        )

    def _read(
        self,
        ordinal: int,
        tool_call: ToolCall,
        first: int,
        *,
        literal: bool = False,
        message: AIMessage | None = None,
    ) -> Call:
        """A call.

        Args:
            ordinal: Its number.
            tool_call: As it came.
            first: The number of its message's first call.
            literal: Whether its arguments hold no references.
            message: Its message, by default the last one.
        """
        literals = self._thread.literal if message is None else literal_calls(message)
        return read_call(
            ordinal,
            tool_call,
            self._policy.toolbox.on(tool_call["name"]),
            first=first,
            strict=self._policy.strict,
            literal=literal or tool_call["id"] in literals,
        )

    def _in_turn(
        self, due: Sequence[tuple[int, str, Outcome, ToolMessage | None]]
    ) -> list[tuple[int, str, Outcome, ToolMessage | None]]:
        """What goes out, so that of several values for a key without a reducer the last counts.

        That is what it comes to when they go out one after the other.
        """
        due = sorted(due, key=lambda item: item[0])
        if not self._policy.all_keys_known:
            return due
        for ordinal, _, outcome, _ in due:
            self._note_update(ordinal, updated_keys(outcome) - self._policy.reduced_keys)
        last = self._scheduler.latest
        in_turn = []
        for ordinal, call_id, outcome, message in due:
            older = {key for key in updated_keys(outcome) if last.get(key, ordinal) != ordinal}
            kept = without_keys(outcome, older) if older else outcome
            in_turn.append((ordinal, call_id, kept, message))
        return in_turn

    def _note_update(self, ordinal: int, keys: set[str]) -> None:
        """Note which state keys without a reducer a call updates."""
        last = self._scheduler.latest
        for key in keys:
            last[key] = max(last.get(key, 0), ordinal)

    def _keys(self, future: ToolFuture) -> set[str]:
        """The state keys that an outcome updates and of which it is not known how."""
        if future.outcome is None:
            return set()
        return updated_keys(future.outcome) - self._policy.reduced_keys

    def _unplaced(self) -> list[ToolFuture]:
        """Futures, unfinished or not delivered, whose placeholder was removed from the history."""
        futures = [*self._scheduler.undelivered(), *self._scheduler.live()]
        known = self._thread.pending
        return [
            future
            for future in futures
            if future.call.ordinal not in known
            and future.call.ordinal not in self._issued  # its placeholder is yet to come
            and future.is_provided
        ]

    def _deliver(self, answers: Sequence[Answer], *, in_place: bool = False) -> list[Answer]:
        """Add what became finished to a step's answers.

        Args:
            answers: The answers.
            in_place: Deliver in place although the policy says otherwise, as the run may be over.
        """
        if not self._thread.pending and self._scheduler.is_idle():
            return [*answers]
        in_place = in_place or self._in_place
        seen = [item for item in answers if not self._is_hidden(item)]
        carrier = carrier_among(seen)
        riders = Riders()
        replaced: list[Answer] = []
        due = self._due(in_place=in_place, can_ride=carrier is not None)
        # What the model was not sent yet can be replaced anyway.
        unseen = {id(message) for message in self._thread.tail}
        for ordinal, call_id, outcome, message in self._in_turn(due):
            if message is not None and self._is_native(message):
                last = next((a.id for a in reversed(answers) if isinstance(a, ToolMessage)), None)
                after = last or self._thread.messages[-1].id
                replaced += answer_in_place(future_id(ordinal), message, outcome, after=after)
            elif message is not None and (in_place or id(message) in unseen):
                replaced += answer_in_place(future_id(ordinal), message, outcome)
            else:
                riders.add(future_id(ordinal), call_id, outcome, message)
        if riders.parts and carrier is not None:
            # What takes the carrier's own place carries on for it.
            own = {message.id for message in tool_messages_in(carrier)} - {None}
            over = [a for a in replaced if own & {m.id for m in tool_messages_in(a)}]
            chosen = over[0] if over else carrier
            answers = [ride(a, riders) if a is chosen else a for a in answers]
            replaced = [ride(a, riders) if a is chosen else a for a in replaced]
        return [*answers, *replaced, *riders.others]

    def _is_hidden(self, item: Answer) -> bool:
        """Whether an answer is a placeholder that the model is not shown."""
        return isinstance(item, ToolMessage) and self._is_native(item) and is_pending(item)

    def _is_native(self, placeholder: ToolMessage) -> bool:
        return self._policy.native and placeholder.tool_call_id in self._thread.native

    def deliver(self) -> Flow[list[Answer]]:
        """Deliver what has become finished, where all calls of the last message are answered.

        Returns:
            The messages that change or are new, and what else the results bring.

        Raises:
            BaseException: What `ToolNode` would raise for one of the run's calls.
        """
        self._scheduler.withdraw_unprovided()
        yield from self._raise_failure([])
        told = self._thread.tail
        known = {id(message) for message in told}
        return [answered for answered in self._deliver(told) if id(answered) not in known]

    def _note_speed(self, future: ToolFuture, *, fast: bool) -> None:
        if fast:
            self._policy.slow.discard(future.call.name)
        else:
            self._policy.slow.add(future.call.name)

    def _take(self, future: ToolFuture) -> None:
        """Note that a future's outcome goes out, and whether its tool has become fast."""
        self._scheduler.mark_delivered(future)
        if future.seconds is not None and future.seconds <= self._policy.grace:
            self._note_speed(future, fast=True)

    def _raise_failure(self, arrived: Sequence[ToolFuture | None]) -> Flow[None]:
        """Raise what `ToolNode` would raise: once, and again when the same step is tried again."""
        ended = (f for f in (self._scheduler.failure(), *arrived) if f is not None)
        errors = map(self._scheduler.error_that_ended, ended)
        error = next((error for error in errors if error is not None), None)
        if error is None:
            return
        self._scheduler.take_failure()
        self._scheduler.leave_entries()
        for future in arrived:
            if future is not None:
                # No message of this step is written, so the journal has to keep what they came to.
                self._scheduler.journaled.pop(future.call.ordinal, None)
                self._scheduler.mark_delivered(future)  # whoever catches the error answers
        if not isinstance(error, GraphBubbleUp):
            siblings = self._scheduler.live()
            self._scheduler.end_by(error, siblings)
            yield Wait(siblings, until_failure=False)
        raise error
