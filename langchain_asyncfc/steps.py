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

from collections.abc import Generator, Mapping, Sequence
from contextvars import copy_context
from dataclasses import dataclass, field, replace
from typing import Any, Literal, cast
from uuid import uuid4

from langchain_core.messages import AIMessage, ToolCall, ToolMessage
from langchain_core.tools import BaseTool
from langgraph.errors import GraphBubbleUp

from langchain_asyncfc.calls import Call, check_older, is_control, read_call
from langchain_asyncfc.control_calls import ControlCalls, control_message
from langchain_asyncfc.delivery import (
    LOST,
    Answer,
    Riders,
    answer,
    answer_in_place,
    carrier_among,
    ride,
    updated_keys,
)
from langchain_asyncfc.errors import ReferenceProblem
from langchain_asyncfc.futures import FutureState, Outcome, future_id
from langchain_asyncfc.invocations import Invocation
from langchain_asyncfc.placeholders import placeholder
from langchain_asyncfc.records import (
    AWAIT_FUTURE,
    CANCEL_FUTURE,
    Thread,
    literal_record,
    seen_again,
    unchained,
    waits_at_end,
    with_record,
)
from langchain_asyncfc.scheduler import Lane, Scheduler, ToolFuture
from langchain_asyncfc.toolbox import Toolbox, ToolFacts
from langchain_asyncfc.waiting import Wait

__all__ = ["Policy", "Step"]

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
        native: Whether outputs of calls that the model made as asynchronous ones are shown to it
            when they come (see `native`).
        reduced_keys: Keys of the state that are known to have a reducer.
        slow: Names of tools whose last call took longer than `grace`; kept by the steps.
    """

    toolbox: Toolbox
    grace: float
    delivery: Delivery
    on_final: OnFinal
    may_end: bool = False
    strict: bool = False
    native: bool = False
    reduced_keys: frozenset[str] = frozenset({"messages"})
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
        nested: Whether the graph is part of a larger one.
        whole: Whether all open calls of the last message are to come, in this step or beside it.
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
        nested: bool = False,
    ) -> None:
        self._policy = policy
        self._lane = lane
        self._scheduler = scheduler
        self._thread = thread
        self._in_run = in_run
        self._waits = waits or not in_run
        self._whole = whole
        self._nested = nested
        self._issued = range(0)
        self._updated: dict[str, int] = {}
        self.goes_on = False
        self._control = ControlCalls(scheduler, thread, policy.grace)

    # -- a batch of calls -----------------------------------------------------------------------

    def answer_calls(
        self, arrivals: Sequence[tuple[ToolCall, Invocation]], *, deliver: bool = True
    ) -> Generator[Wait, None, list[Answer]]:
        """Issue the calls that came in and answer each.

        Args:
            arrivals: The calls and what runs them, in call order; a part of the batch where a
                graph sends each call to a task of its own.
            deliver: Whether to deliver earlier outcomes as well. If not, `deliver` has to follow.

        Returns:
            One answer for each arrival, in call order (a call may answer with several messages
            and commands), then what is delivered of earlier ones.

        Raises:
            BaseException: What `ToolNode` would raise for one of the run's calls.
        """
        message = self._message(arrivals)
        arrived = self._issue(message, arrivals)
        yield from self._wait(message, arrivals, arrived)
        yield from self._raise_failure(arrived)
        answers = self._answers(arrivals, arrived)
        if not deliver:
            return answers
        if self._in_run and all(self._ends_run(call) for call, _ in message):
            # A prebuilt agent ends its run after them.
            yield Wait([f for f in self._scheduler.live() if f.provided is not None])
            return self._deliver(answers, in_place=True)
        # Where a graph sends each call to a task of its own, one of them delivers for all, and
        # one that awaited delivers what it awaited.
        first = next(call for call, is_open in message if is_open)
        delivers = arrivals[0][0] is first or any(c["name"] == AWAIT_FUTURE for c, _ in arrivals)
        return self._deliver(answers) if self._in_run and delivers else answers

    def _message(
        self, arrivals: Sequence[tuple[ToolCall, Invocation]]
    ) -> list[tuple[ToolCall, bool]]:
        """All calls of the message that the arrivals belong to, each with whether it is open.

        Where a run begins with this step, as when it is resumed, the other calls of the message
        may be answered already, and only the arrivals are open.
        """
        calls = [call for call, _ in arrivals]
        message = self._thread.batch
        if message is None:
            return [(call, True) for call in calls]
        unanswered = self._thread.unanswered()
        if not self._whole:
            arrived = {call["id"] for call in calls}
            pairs = zip(message.tool_calls, unanswered, strict=True)
            unanswered = [is_open and call["id"] in arrived for call, is_open in pairs]
        batch = list(zip(message.tool_calls, unanswered, strict=True))
        # By id, since a wrapper may have put other arguments into a call that a person edited.
        at = {call["id"]: n for n, (call, is_open) in enumerate(batch) if is_open}
        if not all(call["id"] in at for call in calls):
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
        own = batch.tool_calls if batch is not None else []
        made = own if len(own) == len(message) else [call for call, _ in message]
        ordinal = first = self._scheduler.first_ordinal(known_as, made, self._thread.highest)
        here = {id(call) for call, _ in arrivals}
        calls: list[Call] = []
        place: dict[int, int] = {}
        for (tool_call, is_open), as_made in zip(message, made, strict=True):
            if is_control(tool_call):
                continue
            if id(tool_call) in here or (is_open and tool_call["name"] in self._policy.toolbox):
                place[id(tool_call)] = len(calls)
                # What somebody else put in place of the model's arguments is no reference.
                calls.append(self._read(ordinal, tool_call, first, literal=tool_call != as_made))
            ordinal += 1
        self._issued = range(first, ordinal)
        futures = self._scheduler.issue(known_as, calls, self._lane, self._thread.value_of)
        found: list[ToolFuture | None] = []
        for tool_call, invocation in arrivals:
            future = futures[place[id(tool_call)]] if id(tool_call) in place else None
            if future is not None:
                self._scheduler.provide(
                    future, invocation, copy_context(), calls[place[id(tool_call)]]
                )
            found.append(future)
        return found

    def _read(
        self, ordinal: int, tool_call: ToolCall, first: int, *, literal: bool = False
    ) -> Call:
        return read_call(
            ordinal,
            tool_call,
            self._policy.toolbox.on(tool_call["name"]),
            first=first,
            strict=self._policy.strict,
            literal=literal or tool_call["id"] in self._thread.literal,
        )

    # -- waiting --------------------------------------------------------------------------------

    def _wait(
        self,
        message: Sequence[tuple[ToolCall, bool]],
        arrivals: Sequence[tuple[ToolCall, Invocation]],
        arrived: Sequence[ToolFuture | None],
    ) -> Generator[Wait, None, None]:
        own = [future for future in arrived if future is not None]
        for call, _ in arrivals:
            if call["name"] == CANCEL_FUTURE:
                yield from self._control.cancel(call)
        fast = self._likely_fast(own)
        if fast:
            yield Wait(fast, self._policy.grace, patient=True)
            for future in fast:
                self._note_speed(future, fast=future.done)
        if self._waits or any(is_open and self._comes_last(call) for call, is_open in message):
            yield Wait(own)
        yield from self._wait_for_own(message, own)
        if any(future.call.await_result == "all" for future in own):
            # Not for calls of this message that another task has yet to bring.
            yield Wait([f for f in self._scheduler.live() if f.provided is not None])
        for call, _ in arrivals:
            if call["name"] == AWAIT_FUTURE:
                yield from self._control.wait(call)

    def _wait_for_own(
        self, message: Sequence[tuple[ToolCall, bool]], own: Sequence[ToolFuture]
    ) -> Generator[Wait, None, None]:
        """Wait for those of this step's calls that have to be answered with results."""
        yield Wait([f for f in own if self._is_foreground(f.call) or f.call.await_result])
        if self._scheduler.interrupted:
            yield Wait(own)  # no later step of this run will deliver
        if self._policy.native and all(call["id"] in self._thread.native for call, _ in message):
            # The model has gone on already as far as it can, and is shown no placeholder.
            yield Wait([f for f in self._scheduler.live() if f.provided is not None], first=True)

    def _comes_last(self, call: ToolCall) -> bool:
        """Whether a call may end the run, so that everything else has to be delivered before."""
        facts = self._policy.toolbox.on(call["name"])
        return facts.comes_last or (self._nested and facts.may_hand_off)

    def _ends_run(self, call: ToolCall) -> bool:
        tool = self._policy.toolbox.on(call["name"]).tool
        return tool is not None and tool.return_direct

    def _is_foreground(self, call: Call) -> bool:
        return call.facts.foreground or (self._nested and call.facts.may_hand_off)

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
        for (tool_call, _), future in zip(arrivals, arrived, strict=True):
            if future is None:
                answers.append(self._control.answer(tool_call))
            elif future.outcome is not None:
                self._take(future)
                self._updated.update(dict.fromkeys(self._keys(future), future.batch))
                answers.extend(answer(future.call, future.outcome))
            else:
                detach = self._policy.on_final == "detach"
                future.placed = True
                full = not self._thread.instructed and self._scheduler.is_first_placeholder()
                answers.append(placeholder(future.call, full=full, detach=detach))
        return answers

    # -- delivering -----------------------------------------------------------------------------

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
                due.append((ordinal, message.tool_call_id, LOST, message))
            elif future.outcome is not None and self._fits(future) and future.claim(claim):
                self._take(future)
                due.append((ordinal, message.tool_call_id, future.outcome, message))
        for future in self._unplaced() if can_ride else ():
            if future.outcome is not None and self._fits(future):
                self._scheduler.mark_delivered(future)
                due.append((future.call.ordinal, future.call.id or "", future.outcome, None))
        return due

    def _fits(self, future: ToolFuture) -> bool:
        """Whether an outcome can go out with the others of this step.

        A state key without a reducer takes one value a step. So of two outcomes of different
        messages that update one key the second waits for the next step, unless the key is known
        to have a reducer. Of one message they go out together, as with `ToolNode`.
        """
        keys = self._keys(future)
        if any(self._updated.get(key, future.batch) != future.batch for key in keys):
            return False
        self._updated.update(dict.fromkeys(keys, future.batch))
        return True

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
            and future.provided is not None
            # A thread that went back to an earlier checkpoint knows nothing of them.
            and (future.call.ordinal <= self._thread.highest or not self._scheduler.inherited)
        ]

    def _deliver(self, answers: Sequence[Answer], *, in_place: bool = False) -> list[Answer]:
        """Add what became finished to a step's answers.

        Args:
            answers: The answers.
            in_place: Deliver in place although the policy says otherwise, as the run may be over.
        """
        in_place = in_place or self._in_place
        carrier = carrier_among(answers)
        riders = Riders()
        replaced: list[Answer] = []
        due = self._due(in_place=in_place, can_ride=carrier is not None)
        for ordinal, call_id, outcome, message in due:
            if message is not None and self._is_native(message):
                last = next((a.id for a in reversed(answers) if isinstance(a, ToolMessage)), None)
                after = last or self._thread.messages[-1].id
                replaced += answer_in_place(future_id(ordinal), message, outcome, after=after)
            elif message is not None and in_place:
                replaced += answer_in_place(future_id(ordinal), message, outcome)
            else:
                riders.add(future_id(ordinal), call_id, outcome, message)
        if riders.parts and carrier is not None:
            answers = [ride(a, riders) if a is carrier else a for a in answers]
        return [*answers, *replaced, *riders.others]

    def _is_native(self, placeholder: ToolMessage) -> bool:
        return self._policy.native and placeholder.tool_call_id in self._thread.native

    def deliver(self) -> Generator[Wait, None, list[Answer]]:
        """Deliver what has become finished, where all calls of the last message are answered.

        Returns:
            The messages that change or are new, and what else the results bring.

        Raises:
            BaseException: What `ToolNode` would raise for one of the run's calls.
        """
        self._scheduler.withdraw_unprovided()
        yield from self._raise_failure([])
        told = self._thread.tail
        return [a for a in self._deliver(told) if not any(a is known for known in told)]

    def end_turn(self) -> Generator[Wait, None, list[Answer]]:
        """Wait for what is unfinished at the end of a turn, and deliver it.

        The turn ends with a message without calls, or with one whose calls give a structured
        answer and are answered already. Sets `goes_on` if the model has to be called again.

        Returns:
            Nothing where nothing is pending. Else the delivered messages, after what makes the
            premature answer a valid part of the history: the message itself, now with a call to
            `await_future`, and the answer to that call; or other answers to its calls. They are
            left out where the turn is over without another call of the model.
        """
        final = self._thread.batch
        ordinals = self._left_at_end()
        if final is None or not ordinals or not self._in_run:
            return []
        unseen = [ordinal for ordinal in ordinals if ordinal not in self._thread.values_of]
        yield from self._finish(ordinals)
        if not unseen or self._may_end(unseen):
            return self._deliver([], in_place=True)
        self.goes_on = True
        if final.tool_calls:
            names = ", ".join(map(future_id, unseen))
            return self._deliver([_not_taken(message, names) for message in self._thread.tail])
        call = _await_call()
        asking = unchained(final).model_copy(update={"tool_calls": [call]})
        told = control_message(call, self._control.report(ordinals))
        answers = self._deliver([told])
        for ordinal in ordinals:
            future = self._scheduler.get(ordinal)
            if future is not None and not future.done and ordinal in self._thread.pending:
                # It is detached, and goes on.
                answers.append(seen_again(self._thread, self._thread.pending[ordinal]))
        return [asking, *answers]

    def end_run(self) -> Generator[Wait, None, list[Answer]]:
        """Wait for what is unfinished where the run ends without another call of the model.

        Returns:
            The delivered messages.
        """
        ordinals = self._left_at_end()
        if not ordinals or not self._in_run:
            return []
        yield from self._finish(ordinals)
        return self._deliver([], in_place=True)

    def finish_before(self) -> Generator[Wait, None, list[Answer]]:
        """Finish and deliver everything, before a call is met that may end the run.

        That is a call that a person approves, one that may interrupt, or a hand-off to another
        agent. What the run leaves behind would be lost, and a person has to see values where
        references stand.

        Returns:
            Nothing where the last message has no such call. Else the delivered messages, led by
            the last message if its arguments changed.
        """
        batch = self._thread.batch
        if batch is None or not self._in_run:
            return []
        open_calls = [c for c, is_open in self._message([]) if is_open and not is_control(c)]
        if not any(self._comes_last(call) for call in open_calls):
            return []
        self._scheduler.withdraw_unprovided()
        yield Wait(self._scheduler.live())
        yield from self._raise_failure([])
        open_ids = {call["id"] for call in open_calls}
        shown = [c for c in self._numbered(batch) if c.facts.approved and c.id in open_ids]
        delivered = self._deliver([], in_place=True)
        return [*self._with_values(batch, shown), *delivered]

    def resolve(self, tools: Mapping[str, BaseTool]) -> Generator[Wait, None, list[Answer]]:
        """Put values where references stand in the last message's calls to some tools.

        For calls that never become futures, as the ones by which a model gives its structured
        answer: waits for the references.

        Args:
            tools: The tools, by name, for their schemas.

        Returns:
            The message, if it changed.

        Raises:
            ReferenceProblem: When a reference has no value, or one that does not fit.
        """
        batch = self._thread.batch
        if batch is None or not self._in_run:
            return []
        calls = [
            replace(call, facts=ToolFacts(tools[call.name]))
            for call in self._numbered(batch)
            if call.name in tools
        ]
        wanted = {r.ordinal for call in calls for r in call.references}
        yield Wait([f for o in wanted if (f := self._scheduler.get(o)) is not None])
        first = self._numbered(batch)[0].ordinal
        for call in calls:
            if call.problem is not None:
                raise call.problem
            check_older(call.sites, first)
        return list(self._with_values(batch, calls, strict=True))

    def _numbered(self, batch: AIMessage) -> list[Call]:
        """The calls of the last message."""
        first = self._scheduler.first_ordinal(
            batch.id or object(), batch.tool_calls, self._thread.highest
        )
        made = [call for call in batch.tool_calls if not is_control(call)]
        return [self._read(first + n, call, first) for n, call in enumerate(made)]

    def _with_values(
        self, batch: AIMessage, calls: Sequence[Call], *, strict: bool = False
    ) -> Sequence[AIMessage]:
        """The last message with values for references in some of its calls, if that changes it.

        Args:
            batch: The message.
            calls: The calls.
            strict: Whether a problem is raised; if not, the call is answered with it later.
        """
        args: dict[str | None, Mapping[str, Any]] = {}
        futures: set[str] = set()
        for call in calls:
            if not call.sites or call.problem is not None:
                continue
            try:
                values = self._scheduler.resolved(call, self._thread.value_of)
            except ReferenceProblem:
                if strict:
                    raise
                continue
            if values is not None:
                args[call.id] = values
                futures.update(future_id(r.ordinal) for r in call.references)
        if not args:
            return ()
        tool_calls = [
            cast("ToolCall", {**call, "args": dict(args[call["id"]])})
            if call["id"] in args
            else call
            for call in batch.tool_calls
        ]
        record = literal_record([*self._thread.literal, *args], sorted(futures))
        return (with_record(batch, record, tool_calls=tool_calls),)

    def _left_at_end(self) -> list[int]:
        """The futures that keep a turn from ending, by ordinal."""
        self._scheduler.withdraw_unprovided()
        if self._policy.on_final == "detach":
            return waits_at_end(self._thread)
        unplaced = (future.call.ordinal for future in self._unplaced())
        return [*waits_at_end(self._thread), *unplaced]

    def _finish(self, ordinals: Sequence[int]) -> Generator[Wait, None, None]:
        futures = [f for o in ordinals if (f := self._scheduler.get(o)) is not None]
        if self._policy.on_final != "detach":
            yield Wait(futures)
        yield from self._raise_failure([])

    def _may_end(self, ordinals: Sequence[int]) -> bool:
        """Whether the turn is over although its futures only finished after the answer."""
        if not self._policy.may_end or not self._in_place:
            return False
        if any(ordinal not in self._thread.pending for ordinal in ordinals):
            return False  # there is no place for it without another message
        futures = [self._scheduler.get(ordinal) for ordinal in ordinals]
        if not all(f is not None and f.state is FutureState.RESOLVED for f in futures):
            return False
        return self._policy.on_final == "settle" or all(
            f is not None and f.call.facts.effects.ack for f in futures
        )


def _await_call() -> ToolCall:
    return ToolCall(name=AWAIT_FUTURE, args={}, id=f"call_{uuid4().hex[:24]}", type="tool_call")


def _not_taken(message: ToolMessage, names: str) -> ToolMessage:
    """The answer to a call that gave a structured answer while futures were unfinished."""
    if message.status == "error":
        return message
    text = (
        f"Not taken as the answer: {names} had not finished when you gave it. The results are "
        "there now. Give the answer again."
    )
    return message.model_copy(update={"content": text, "status": "error"})
