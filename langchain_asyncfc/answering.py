"""The part of a step that answers calls: issue them, wait as long as the rules say, answer."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from contextvars import copy_context
from dataclasses import dataclass

from langchain_core.messages import AIMessage, ToolCall

from langchain_asyncfc.asking import Asking
from langchain_asyncfc.calls import Call, is_control
from langchain_asyncfc.configs import is_answered
from langchain_asyncfc.delivery import (
    Answer,
    answer,
)
from langchain_asyncfc.invocations import Invocation
from langchain_asyncfc.placeholders import placeholder
from langchain_asyncfc.records import (
    AWAIT_FUTURE,
    CANCEL_FUTURE,
)
from langchain_asyncfc.scheduler import ToolFuture
from langchain_asyncfc.waiting import Flow, Wait

__all__ = ["Answering"]


@dataclass(frozen=True, slots=True)
class Batch:
    """The calls of one message, once they are issued.

    Attributes:
        message: The message; `None` for calls that came without one.
        calls: All of its calls.
        ordinals: Their numbers, control calls not counted.
        futures: By call id the calls as the model made them, each with its future. Control calls,
            and calls that are answered already or not this node's, are not there.
        first_open: The id of the first call that is not answered.
        comes_last: Whether one of them may end the run.
        native: Whether the model made all of them as asynchronous ones.
    """

    message: AIMessage | None
    calls: Sequence[ToolCall]
    ordinals: range
    futures: Mapping[str | None, Sequence[tuple[ToolCall, ToolFuture]]]
    first_open: str | None
    comes_last: bool
    native: bool

    @property
    def made(self) -> list[ToolFuture]:
        """The futures of its calls."""
        return [future for known in self.futures.values() for _, future in known]


class Answering(Asking):
    """A step as far as it answers the calls of a message."""

    _answered = False

    def answer_calls(
        self, arrivals: Sequence[tuple[ToolCall, Invocation]], *, deliver: bool = True
    ) -> Flow[list[Answer]]:
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
        template = arrivals[0][1]
        config = template.request.runtime.config
        self._answered = len(arrivals) == 1 and self._begins and is_answered(config)
        self._arriving = {call["id"] for call, _ in arrivals}
        yield from self._take_up(template)
        batch, arrived = self._arrive(arrivals)
        yield from self._wait(batch, arrivals, arrived)
        # Where a graph sends each call to a task of its own, one of them looks after all others.
        first = arrivals[0][0]["id"] == batch.first_open
        leads = first or any(call["name"] == AWAIT_FUTURE for call, _ in arrivals)
        while True:
            while (yield from self._let_ask(arrived, leads=leads)):
                yield from self._wait(batch, arrivals, arrived)
            left = [f for f in arrived if f is not None and not f.done]
            if self._scheduler.place(left):
                break
            yield Wait(left, until_failure=False)
        yield from self._raise_failure(arrived)
        answers = self._answers(arrivals, arrived)
        if not deliver:
            return answers
        if self._in_run and all(self._ends_run(call) for call in batch.calls):
            # A prebuilt agent ends its run after them.
            yield Wait([f for f in self._scheduler.live() if f.is_provided])
            return self._deliver(answers, in_place=True)
        return self._deliver(answers) if self._in_run and leads else answers

    def _arrive(
        self, arrivals: Sequence[tuple[ToolCall, Invocation]]
    ) -> tuple[Batch, list[ToolFuture | None]]:
        """Issue the message's calls; the futures of the arrivals, `None` for control calls."""
        batch: Batch | None = self._scheduler.batch
        if (
            batch is None
            or batch.message is not self._thread.batch
            or not self._whole
            or any(c["id"] not in batch.futures for c, _ in arrivals if not is_control(c))
        ):
            batch = self._issue(self._message(arrivals), arrivals)
        self._issued = batch.ordinals
        several = len(arrivals) > 1
        arrived = [self._bring(batch, call, by, several=several) for call, by in arrivals]
        for future in batch.made if self._unstarted else ():
            if future.call.id in self._unstarted and not future.is_provided:
                future.placed = True
                self._run_by(arrivals[0][1], future, self._thread.batch)
        return batch, arrived

    def _bring(
        self, batch: Batch, tool_call: ToolCall, invocation: Invocation, *, several: bool
    ) -> ToolFuture | None:
        """Say how a call is run that came in.

        Args:
            batch: The calls of its message.
            tool_call: The call.
            invocation: Runs it.
            several: Whether others came in with it.

        Returns:
            Its future; `None` for a control call.
        """
        if is_control(tool_call):
            return None
        # A model may give one id to several calls. Each task then brings another one of them.
        known = sorted(batch.futures[tool_call["id"]], key=lambda made: made[0] != tool_call)
        for as_made, future in known:
            if future.is_provided:
                continue
            ordinal = future.call.ordinal
            same = tool_call is as_made or tool_call == as_made
            call = None if same else self._changed(ordinal, tool_call, as_made, batch.ordinals)
            # Where several calls may ask, each does so in a task of its own.
            future.in_step = several and self._in_run and future.call.facts.effects.foreground
            number = ordinal - batch.ordinals.start if several else None
            run_by = invocation.of(invocation.tool, number) if several else invocation
            run_by = self._noted(run_by, future.call, self._thread.batch)
            if self._scheduler.provide(future, run_by, copy_context(), call):
                return future
        return known[0][1]

    def _changed(
        self, ordinal: int, tool_call: ToolCall, as_made: ToolCall, ordinals: range
    ) -> Call:
        """A call that came with other arguments than the model's."""
        # What a person put in their place is no reference.
        edited = self._is_approved(as_made)
        if edited:
            self._edited.add(ordinal)
        return self._read(ordinal, tool_call, ordinals.start, literal=edited)

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
            # The first were answered, which is not shown here; the others come in beside this one.
            arrived |= self._unstarted | self._beside
            unanswered = [is_open and call["id"] in arrived for call, is_open in pairs]
        batch = list(zip(message.tool_calls, unanswered, strict=True))
        # By id, since a wrapper may have put other arguments into a call that a person edited.
        at: dict[str | None, list[int]] = defaultdict(list)
        for n, (call, is_open) in enumerate(batch):
            if is_open:
                at[call["id"]].append(n)
        for call in calls:
            places = at[call["id"]]
            if not places:
                return [(call, True) for call in calls]
            # A model may give one id to several calls, which may even be equal.
            n = min(places, key=lambda n: (batch[n][0] is not call, batch[n][0] != call))
            places.remove(n)
            batch[n] = (call, True)  # what arrived, so that it can be found again
        return batch

    def _issue(
        self,
        message: list[tuple[ToolCall, bool]],
        arrivals: Sequence[tuple[ToolCall, Invocation]],
    ) -> Batch:
        """Issue the message's calls.

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
                same = tool_call is as_made or tool_call == as_made
                calls.append(
                    self._read(ordinal, tool_call, first)
                    if same
                    else self._changed(ordinal, tool_call, as_made, range(first, ordinal))
                )
            ordinal += 1
        self._issued = range(first, ordinal)
        futures = self._scheduler.issue(known_as, calls, self._lane, self._thread.value_of)
        issued = self._batch_of(message, made, futures, place)
        is_whole = all(is_control(call) or id(call) in place for call, _ in message)
        self._scheduler.batch = issued if is_whole else None
        return issued

    def _batch_of(
        self,
        message: Sequence[tuple[ToolCall, bool]],
        made: Sequence[ToolCall],
        futures: Sequence[ToolFuture],
        place: Mapping[int, int],
    ) -> Batch:
        """What other tasks that bring calls of the same message need to know of it."""
        opened = [call for call, is_open in message if is_open]
        known: dict[str | None, list[tuple[ToolCall, ToolFuture]]] = defaultdict(list)
        for (call, _), as_made in zip(message, made, strict=True):
            if id(call) in place:
                known[call["id"]].append((as_made, futures[place[id(call)]]))
        return Batch(
            self._thread.batch,
            [call for call, _ in message],
            self._issued,
            known,
            opened[0]["id"],
            any(self._comes_last(call) for call in opened),
            all(call["id"] in self._thread.native for call, _ in message),
        )

    def _wait(
        self,
        batch: Batch,
        arrivals: Sequence[tuple[ToolCall, Invocation]],
        arrived: Sequence[ToolFuture | None],
    ) -> Flow[None]:
        own = [future for future in arrived if future is not None]
        for call, _ in arrivals:
            if call["name"] == CANCEL_FUTURE:
                yield from self._control.cancel(call)
        fast = self._likely_fast(own)
        if fast:
            yield Wait(fast, self._policy.grace, patient=True)
            for future in fast:
                self._note_speed(future, fast=future.done or future.asks is not None)
        if self._waits or batch.comes_last:
            yield Wait(own)
        yield from self._wait_for_own(batch, own)
        if any(future.call.await_result == "all" for future in own):
            # Not for calls of this message that another task has yet to bring.
            yield Wait([f for f in self._scheduler.live() if f.is_provided])
        for call, _ in arrivals:
            if call["name"] == AWAIT_FUTURE:
                yield from self._control.wait(call)

    def _wait_for_own(self, batch: Batch, own: Sequence[ToolFuture]) -> Flow[None]:
        """Wait for those of this step's calls that have to be answered with results."""
        yield Wait([f for f in own if self._is_foreground(f.call) or f.call.await_result])
        # What a person edited gets a note around its result, by the middleware that asked.
        yield Wait([f for f in own if f.call.ordinal in self._edited])
        if self._scheduler.interrupting:
            yield Wait(own)  # no later step of this run will deliver
        if self._answered:
            yield Wait(own)  # it asked, and can only get its answers in this step
        if self._policy.native and batch.native:
            # The model has gone on already as far as it can, and is shown no placeholder.
            yield from self._wait_for_news(batch)

    def _wait_for_news(self, batch: Batch) -> Flow[None]:
        """Wait until there is something new to tell the model."""
        made = batch.made
        native = self._thread.native
        ended = self._scheduler.undelivered()
        # What is no native call has to be put in the place of a placeholder that was shown.
        if any(f.done for f in made) or any(self._in_place or f.call.id in native for f in ended):
            return
        running = [f for f in self._scheduler.live() if f.call.id in native]
        # Those of this message count even if another task has yet to bring them.
        yield Wait([f for f in running if f in made or f.is_provided], first=True)

    def _comes_last(self, call: ToolCall) -> bool:
        """Whether a call may end the run, so that everything else has to be delivered before."""
        facts = self._policy.toolbox.on(call["name"])
        return facts.comes_last or (self._nested and facts.may_hand_off)

    def _is_approved(self, call: ToolCall) -> bool:
        return self._policy.toolbox.on(call["name"]).approved

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

    def _answers(
        self,
        arrivals: Sequence[tuple[ToolCall, Invocation]],
        arrived: Sequence[ToolFuture | None],
    ) -> list[Answer]:
        answers: list[Answer] = []
        for (tool_call, _), future in zip(arrivals, arrived, strict=True):
            if future is None:
                answers.append(self._control.answer(tool_call))
            elif future.outcome is not None and not self._overtakes(future):
                self._take(future)
                if keys := self._keys(future):
                    self._updated.update(dict.fromkeys(keys, future.batch))
                    self._note_update(future.call.ordinal, keys)
                answers.extend(answer(future.call, future.outcome))
            else:
                detach = self._policy.on_final == "detach"
                future.placed = True
                full = not self._thread.instructed and self._scheduler.is_first_placeholder()
                shown = placeholder(future.call, full=full, detach=detach)
                future.placeholder = shown.id
                answers.append(shown)
        return answers
