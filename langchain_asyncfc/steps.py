"""One step of the tool node: issue calls, wait as long as the rules say, answer.

A step is a generator that yields what it waits for, so it is written once for `invoke` and
`ainvoke` (see `waiting`). There are two kinds:

- `answer_calls`: the last `AIMessage` has tool calls. Issue them, wait for the grace period and
  for whatever must be waited for, answer each call with its result or a placeholder, and deliver
  what has become finished meanwhile.
- `end_turn`: it has none, and futures are unfinished. Wait, deliver, and make the premature
  answer one that awaits, so that the history stays valid for every provider.
"""

from __future__ import annotations

from collections.abc import Generator, Sequence
from contextvars import copy_context
from dataclasses import dataclass, field
from typing import Final, Literal
from uuid import uuid4

from langchain_core.messages import ToolCall, ToolMessage
from langgraph.errors import GraphBubbleUp

from langchain_asyncfc.calls import Call, is_control, known_futures, read_call
from langchain_asyncfc.control import named_futures, timeout_of
from langchain_asyncfc.delivery import (
    LOST,
    Answer,
    Riders,
    answer,
    answer_in_place,
    carrier_among,
    ride,
)
from langchain_asyncfc.errors import InvalidControlCall
from langchain_asyncfc.futures import FutureState, Outcome, future_id
from langchain_asyncfc.invocations import Invocation
from langchain_asyncfc.placeholders import placeholder
from langchain_asyncfc.records import AWAIT_FUTURE, CANCEL_FUTURE, Thread, seen_again, waits_at_end
from langchain_asyncfc.scheduler import Lane, Scheduler, ToolFuture
from langchain_asyncfc.toolbox import Toolbox
from langchain_asyncfc.waiting import Wait

__all__ = ["Policy", "Step"]

_CANCEL_SECONDS: Final = 0.01
"""How long a step waits for cancelled tools to end; the default grace period."""

Delivery = Literal["in_place", "append"]
OnFinal = Literal["review", "settle", "detach"]


@dataclass(frozen=True, slots=True)
class Policy:
    """How a node answers.

    Attributes:
        toolbox: Its tools.
        grace: Seconds that a step waits for calls that may be fast.
        delivery: Where outcomes go.
        on_final: What happens at the end of a turn with futures unfinished.
        may_end: Whether the graph asks after the step if the turn is over, so that it need not
            call the model again.
        strict: Whether the model is bound to strict schemas.
        slow: Names of tools whose last call took longer than `grace`; kept by the steps.
    """

    toolbox: Toolbox
    grace: float
    delivery: Delivery
    on_final: OnFinal
    may_end: bool = False
    strict: bool = False
    slow: set[str] = field(default_factory=set)


class Step:
    """One step, over the messages of a thread and the futures of a run.

    Args:
        policy: How to answer.
        lane: How calls are run.
        scheduler: Owner of the run's futures.
        thread: The thread as the step finds it.
        in_run: Whether later steps can deliver. If not, everything is waited for.
        waits: Whether everything is waited for all the same.
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
    ) -> None:
        self._policy = policy
        self._lane = lane
        self._scheduler = scheduler
        self._thread = thread
        self._in_run = in_run
        self._waits = waits or not in_run

    # -- a batch of calls -----------------------------------------------------------------------

    def answer_calls(
        self, arrivals: Sequence[tuple[ToolCall, Invocation]]
    ) -> Generator[Wait, None, list[Answer]]:
        """Issue the calls that came in and answer each.

        Args:
            arrivals: The calls and what runs them, in call order; a part of the batch where a
                graph sends each call to a task of its own.

        Returns:
            One answer for each arrival, in call order (a call may answer with several messages
            and commands), then what is delivered of earlier ones.

        Raises:
            BaseException: What `ToolNode` would raise for one of the run's calls.
        """
        message = self._message(arrivals)
        arrived = self._issue(message, arrivals)
        yield from self._wait(arrivals, arrived)
        yield from self._raise_failure(arrived)
        answers = self._answers(arrivals, arrived)
        # Where a graph sends each call to a task of its own, one of them delivers for all, and
        # one that awaited delivers what it awaited.
        first = next(call for call, is_open in message if is_open)
        delivers = arrivals[0][0] is first or any(c["name"] == AWAIT_FUTURE for c, _ in arrivals)
        return self._deliver(answers) if self._in_run and delivers else answers

    def _message(
        self, arrivals: Sequence[tuple[ToolCall, Invocation]]
    ) -> list[tuple[ToolCall, bool]]:
        """All calls of the message that the arrivals belong to, each with whether it is open."""
        calls = [call for call, _ in arrivals]
        message = self._thread.batch
        if message is None or len(calls) >= len(message.tool_calls):
            return [(call, True) for call in calls]
        unanswered = self._thread.unanswered()
        batch = list(zip(message.tool_calls, unanswered, strict=True))
        at = {call["id"]: n for n, (call, is_open) in enumerate(batch) if is_open}
        if not all(call["id"] in at and batch[at[call["id"]]][0] == call for call in calls):
            return [(call, True) for call in calls]
        for call in calls:
            batch[at[call["id"]]] = (call, True)  # what arrived, so that it can be found again
        return batch

    def _issue(
        self,
        message: list[tuple[ToolCall, bool]],
        arrivals: Sequence[tuple[ToolCall, Invocation]],
    ) -> list[ToolFuture | None]:
        """Issue the message's calls; the futures of the arrivals, `None` for control calls.

        Where the arrivals are only a part, the rest is issued with them, so that order does not
        depend on which task comes first. Calls that are answered already, and those of tools that
        this node does not have, are only counted.
        """
        batch = self._thread.batch
        known_as = batch.id if batch is not None and batch.id else object()
        ordinal = self._scheduler.first_ordinal(
            known_as, [call for call, _ in message], self._thread.highest
        )
        here = {id(call) for call, _ in arrivals}
        calls: list[Call] = []
        place: dict[int, int] = {}
        for tool_call, is_open in message:
            if is_control(tool_call):
                continue
            if id(tool_call) in here or (is_open and tool_call["name"] in self._policy.toolbox):
                place[id(tool_call)] = len(calls)
                facts = self._policy.toolbox.on(tool_call["name"])
                calls.append(read_call(ordinal, tool_call, facts, strict=self._policy.strict))
            ordinal += 1
        futures = self._scheduler.issue(known_as, calls, self._lane, self._thread.value_of)
        found: list[ToolFuture | None] = []
        for tool_call, invocation in arrivals:
            future = futures[place[id(tool_call)]] if id(tool_call) in place else None
            if future is not None:
                self._scheduler.provide(future, invocation, copy_context())
            found.append(future)
        return found

    # -- waiting --------------------------------------------------------------------------------

    def _wait(
        self,
        arrivals: Sequence[tuple[ToolCall, Invocation]],
        arrived: Sequence[ToolFuture | None],
    ) -> Generator[Wait, None, None]:
        own = [future for future in arrived if future is not None]
        for call, _ in arrivals:
            if call["name"] == CANCEL_FUTURE:
                yield from self._cancel(call)
        fast = self._likely_fast(own)
        if fast:
            yield Wait(fast, self._policy.grace, patient=True)
            for future in fast:
                self._note_speed(future, fast=future.done)
        if self._waits:
            yield Wait(own)
        yield Wait([f for f in own if f.call.facts.foreground or f.call.await_result])
        if any(future.call.await_result == "all" for future in own):
            # Not for calls of this message that another task has yet to bring.
            yield Wait([f for f in self._scheduler.live() if f.provided is not None])
        for call, _ in arrivals:
            if call["name"] == AWAIT_FUTURE:
                yield from self._await(call)

    def _likely_fast(self, futures: Sequence[ToolFuture]) -> list[ToolFuture]:
        """The calls for which a grace period may pay.

        Their tools were fast the last time, and nothing slow stands before them.
        """
        fast: dict[int, ToolFuture] = {}
        for future in futures:
            if future.done or future.call.name in self._policy.slow:
                continue
            if all(earlier in fast for earlier in self._scheduler.waits_for(future)):
                fast[future.call.ordinal] = future
        return list(fast.values())

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

    def _cancel(self, call: ToolCall) -> Generator[Wait, None, None]:
        named = self._named(call)
        if named is not None and not isinstance(named, InvalidControlCall):
            self._scheduler.cancel(named)
            # Most tools end as soon as they are cancelled; the model is told so at once.
            yield Wait(named, max(self._policy.grace, _CANCEL_SECONDS), patient=True)

    def _await(self, call: ToolCall) -> Generator[Wait, None, None]:
        named = self._named(call)
        if isinstance(named, InvalidControlCall):
            return
        futures = self._older_than(call) if named is None else named
        try:
            timeout = timeout_of(call)
        except InvalidControlCall:
            return
        yield Wait(futures, timeout)

    def _older_than(self, call: ToolCall) -> list[ToolFuture]:
        highest = self._ordinal_before(call)
        live = self._scheduler.live()
        return [f for f in live if f.call.ordinal <= highest and f.provided is not None]

    def _ordinal_before(self, call: ToolCall) -> int:
        """The highest ordinal issued before a control call."""
        message = self._thread.batch
        calls = message.tool_calls if message is not None else []
        later = 0
        for other in reversed(calls):
            if other is call or other == call:
                break
            later += not is_control(other)
        return max(self._scheduler.last, self._thread.highest) - later

    def _named(self, call: ToolCall) -> list[ToolFuture] | InvalidControlCall | None:
        """The futures of this run that a control call names, or what is wrong with it."""
        try:
            ordinals = named_futures(call, self._ordinal_before(call))
        except InvalidControlCall as error:
            return error
        if ordinals is None:
            return None
        return [f for o in ordinals if (f := self._scheduler.get(o)) is not None]

    # -- answering ------------------------------------------------------------------------------

    def _raise_failure(self, arrived: Sequence[ToolFuture | None]) -> Generator[Wait, None, None]:
        """Raise what `ToolNode` would raise: once, and again when the same step is tried again."""
        failures = (f for f in (self._scheduler.failure(), *arrived) if f is not None and f.outcome)
        error = next((f.outcome.error for f in failures if f.outcome and f.outcome.error), None)
        if error is None:
            return
        self._scheduler.take_failure()
        for future in arrived:
            if future is not None:
                self._scheduler.mark_delivered(future)  # whoever catches the error answers
        if not isinstance(error, GraphBubbleUp):
            siblings = self._scheduler.live()
            self._scheduler.cancel(siblings)
            yield Wait(siblings, until_failure=False)
        raise error

    def _answers(
        self,
        arrivals: Sequence[tuple[ToolCall, Invocation]],
        arrived: Sequence[ToolFuture | None],
    ) -> list[Answer]:
        answers: list[Answer] = []
        instructed = self._thread.instructed
        for (tool_call, _), future in zip(arrivals, arrived, strict=True):
            if future is None:
                answers.append(self._control_answer(tool_call))
            elif future.outcome is not None:
                self._take(future)
                answers.extend(answer(future.call, future.outcome))
            else:
                detach = self._policy.on_final == "detach"
                answers.append(placeholder(future.call, full=not instructed, detach=detach))
                instructed = True
        return answers

    def _control_answer(self, call: ToolCall) -> ToolMessage:
        try:
            ordinals = named_futures(call, self._ordinal_before(call))
            if call["name"] == AWAIT_FUTURE:
                timeout_of(call)
            elif ordinals is None:
                _refuse_nameless(self._scheduler.last)
        except InvalidControlCall as error:
            return _control_message(call, f"Error: {error}", "error")
        if ordinals is None:
            ordinals = [*self._thread.pending]
        return _control_message(call, self._report(ordinals))

    def _report(self, ordinals: Sequence[int]) -> str:
        """Which of these futures are in which state, in words."""
        by_state: dict[str, list[str]] = {}
        for ordinal in ordinals:
            future = self._scheduler.get(ordinal)
            if future is None:
                state = "lost" if ordinal in self._thread.pending else "finished"
            elif future.outcome is None:
                state = "still running" if future.recording.stop is None else "being cancelled"
            elif future.state is FutureState.RESOLVED:
                state = "finished"
            else:
                state = str(future.state)
            by_state.setdefault(state, []).append(future_id(ordinal))
        parts = [f"{state.capitalize()}: {', '.join(ids)}." for state, ids in by_state.items()]
        return " ".join(parts) or "Nothing was running."

    # -- delivering -----------------------------------------------------------------------------

    def _due(self, *, can_ride: bool) -> list[tuple[int, str, Outcome, ToolMessage | None]]:
        """Outcomes to be delivered now: ordinal, call id, outcome, and placeholder if there is one.

        Args:
            can_ride: Whether there is a message for outcomes to ride on; those that need one and
                have none stay for a later step.
        """
        due: list[tuple[int, str, Outcome, ToolMessage | None]] = []
        claim = self._thread.batch.id if self._thread.batch is not None else None
        in_place = self._policy.delivery == "in_place"
        for ordinal, message in self._thread.pending.items():
            future = self._scheduler.get(ordinal)
            if not (in_place or can_ride):
                continue
            if future is None:
                due.append((ordinal, message.tool_call_id, LOST, message))
            elif future.outcome is not None and future.claim(claim):
                self._take(future)
                due.append((ordinal, message.tool_call_id, future.outcome, message))
        for future in self._scheduler.undelivered() if can_ride else ():
            if future.call.ordinal <= self._thread.highest and future.outcome is not None:
                # Its placeholder was removed from the history.
                self._scheduler.mark_delivered(future)
                due.append((future.call.ordinal, future.call.id or "", future.outcome, None))
        return due

    def _deliver(self, answers: list[Answer]) -> list[Answer]:
        """Add what became finished to a step's answers."""
        carrier = carrier_among(answers)
        riders = Riders()
        in_place: list[Answer] = []
        for ordinal, call_id, outcome, message in self._due(can_ride=carrier is not None):
            if message is not None and self._policy.delivery == "in_place":
                in_place += answer_in_place(future_id(ordinal), message, outcome)
            else:
                riders.add(future_id(ordinal), call_id, outcome, message)
        if riders.parts and carrier is not None:
            answers = [ride(a, riders) if a is carrier else a for a in answers]
        return [*answers, *in_place, *riders.others]

    def end_turn(self) -> Generator[Wait, None, list[Answer]]:
        """Wait for what is unfinished at the end of a turn, and deliver it.

        Returns:
            Nothing where nothing is pending. Else the delivered messages, led by the premature
            answer, now with a call to `await_future`, and the answer to that call; they are left
            out where the turn is over without another call of the model.
        """
        final = self._thread.batch
        ordinals = waits_at_end(self._thread)
        if final is None or not ordinals or not self._in_run:
            return []
        futures = [f for o in ordinals if (f := self._scheduler.get(o)) is not None]
        if self._policy.on_final != "detach":
            yield Wait(futures)
        yield from self._raise_failure([])
        if self._may_end(ordinals):
            return self._deliver([])
        call = _await_call()
        asking = final.model_copy(update={"tool_calls": [call]})
        told = _control_message(call, self._report(ordinals))
        answers = self._deliver([told])
        for ordinal in ordinals:
            future = self._scheduler.get(ordinal)
            if future is not None and not future.done:  # detached, and goes on
                answers.append(seen_again(self._thread, self._thread.pending[ordinal]))
        return [asking, *answers]

    def _may_end(self, ordinals: Sequence[int]) -> bool:
        """Whether the turn is over although its futures only finished after the answer."""
        if not self._policy.may_end or self._policy.delivery != "in_place":
            return False
        futures = [self._scheduler.get(ordinal) for ordinal in ordinals]
        if not all(f is not None and f.state is FutureState.RESOLVED for f in futures):
            return False
        return self._policy.on_final == "settle" or all(
            f is not None and f.call.facts.effects.ack for f in futures
        )


def _refuse_nameless(last: int) -> None:
    msg = f"cancel_future: name the futures to cancel; {known_futures(last)}."
    raise InvalidControlCall(msg)


def _await_call() -> ToolCall:
    return ToolCall(name=AWAIT_FUTURE, args={}, id=f"call_{uuid4().hex[:24]}", type="tool_call")


def _control_message(
    call: ToolCall, text: str, status: Literal["success", "error"] = "success"
) -> ToolMessage:
    return ToolMessage(text, name=call["name"], tool_call_id=call["id"] or "", status=status)
