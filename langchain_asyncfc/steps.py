"""One step of a node or a middleware.

A step is a generator that yields what it waits for, so it is written once for `invoke` and
`ainvoke` (see `waiting`). It reads a thread and a run's futures, and gives the messages to write:

- `answer_calls` (in `answering`): the last `AIMessage` has tool calls. Issue them, wait for the
  grace period and for whatever must be waited for, and answer each with its result or a
  placeholder.
- `deliver` (in `delivering`): give out what has become finished.
- `end_turn`: the message has no calls, and futures are unfinished. Wait, deliver, and make the
  premature answer one that awaits, so that the history stays valid for every provider.
- `finish_before`: a call may end the run. Everything else is finished and delivered first.
- `end_run`: the run ends without another call of the model.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, cast
from uuid import uuid4

from langchain_core.messages import AIMessage, ToolCall, ToolMessage
from langchain_core.tools import BaseTool

from langchain_asyncfc.answering import Answering
from langchain_asyncfc.calls import Call, check_older, is_control
from langchain_asyncfc.control_calls import control_message
from langchain_asyncfc.delivery import (
    Answer,
)
from langchain_asyncfc.errors import ReferenceProblem
from langchain_asyncfc.futures import FutureState, future_id
from langchain_asyncfc.records import (
    AWAIT_FUTURE,
    left_open,
    literal_record,
    seen_again,
    unchained,
    waits_at_end,
    with_record,
)
from langchain_asyncfc.toolbox import ToolFacts
from langchain_asyncfc.waiting import Flow, Wait
from langchain_asyncfc.work import Work

__all__ = ["Step"]


class Step(Answering):
    """One step of a node or a middleware."""

    def end_turn(self, template: Work | None = None) -> Flow[list[Answer]]:
        """Wait for what is unfinished at the end of a turn, and deliver it.

        The turn ends with a message without calls, or with one whose calls give a structured
        answer and are answered already. Sets `goes_on` if the model has to be called again, or
        the tools.

        Args:
            template: Gives an invocation that runs calls in this step; `None` where no call can
                be run. What has to be run then waits for a step of the tools.

        Returns:
            Nothing where nothing is pending. Else the delivered messages, after what makes the
            premature answer a valid part of the history: the message itself, now with a call to
            `await_future`, and the answer to that call; or other answers to its calls. They are
            left out where the turn is over without another call of the model. The call is left
            open where the tools have to be asked.
        """
        final = self._thread.batch
        if final is None or not self._in_run:
            return []
        if template is not None and (self._begins or self._is_unknown()):
            yield from self._take_up((yield template))
        ordinals = self._left_at_end()
        if not ordinals:
            return []
        unseen = [ordinal for ordinal in ordinals if ordinal not in self._thread.values_of]
        yield from self._finish(ordinals)
        while template is not None and self._scheduler.asking():
            yield from self._let_ask([], leads=True)
            yield from self._finish(ordinals)
        if template is None and (self._scheduler.asking() or self._is_unknown()):
            return self._to_tools(final)
        if not unseen or self._may_end(unseen):
            return self._deliver([], in_place=True)
        self._goes_on = True
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

    def _is_unknown(self) -> bool:
        """Whether something is pending that this run knows nothing of."""
        return any(
            self._scheduler.get(ordinal) is None and self._thread.origin(ordinal) is not None
            for ordinal in self._thread.pending
        )

    def deliver(self) -> Flow[list[Answer]]:
        """Deliver what has become finished; see `Delivering.deliver`.

        A premature answer that called the tools is an answer again, if the run that was to go on
        from there was left.
        """
        delivered = yield from super().deliver()
        return [*map(_not_calling, left_open(self._thread)), *delivered]

    def _to_tools(self, final: AIMessage) -> list[Answer]:
        """Let the premature answer call the tools, where something has to be run."""
        self._goes_on = True
        seen: list[ToolMessage] = []
        call = _await_call()
        if self._policy.on_final == "detach" and not self._scheduler.asking():
            # What is detached goes on: the tools take it up, and wait for nothing.
            call["args"]["timeout"] = 0
            seen = [seen_again(self._thread, shown) for shown in self._thread.pending.values()]
        taken = [_not_taken(message, "a call") for message in self._thread.tail]
        asking = unchained(final).model_copy(update={"tool_calls": [*final.tool_calls, call]})
        return [asking, *taken, *seen]

    def end_run(self) -> Flow[list[Answer]]:
        """Wait for what is unfinished where the run ends without another call of the model.

        Returns:
            The delivered messages.
        """
        ordinals = self._left_at_end()
        if not ordinals or not self._in_run:
            return []
        yield from self._finish(ordinals)
        return self._deliver([], in_place=True)

    def finish_before(self) -> Flow[list[Answer]]:
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
        shown = [c for c in self._numbered() if c.facts.approved and c.id in open_ids]
        delivered = self._deliver([], in_place=True)
        return [*self._with_values(batch, shown), *delivered]

    def resolve(self, tools: Mapping[str, BaseTool]) -> Flow[list[Answer]]:
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
            for call in self._numbered()
            if call.name in tools
        ]
        wanted = {r.ordinal for call in calls for r in call.references}
        yield Wait([f for o in wanted if (f := self._scheduler.get(o)) is not None])
        first = self._first_of_batch()
        for call in calls:
            if call.problem is not None:
                raise call.problem
            check_older(call.sites, first)
        return list(self._with_values(batch, calls, strict=True))

    def _numbered(self) -> list[Call]:
        """The calls of the last message."""
        first = self._first_of_batch()
        return [self._read(n, call, first) for n, call in enumerate(self._made(), first)]

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

    def _finish(self, ordinals: Sequence[int]) -> Flow[None]:
        futures = [f for o in ordinals if (f := self._scheduler.get(o)) is not None]
        if self._policy.on_final != "detach":
            yield Wait(futures)
        yield from self._raise_failure([])

    def _may_end(self, ordinals: Sequence[int]) -> bool:
        """Whether the turn is over although its futures only finished after the answer."""
        if not self._policy.may_end:
            return False
        places = [self._thread.pending.get(ordinal) for ordinal in ordinals]
        if not all(place and (self._in_place or self._is_native(place)) for place in places):
            return False  # there is no place for it without another message
        futures = [self._scheduler.get(ordinal) for ordinal in ordinals]
        if not all(f is not None and f.state is FutureState.RESOLVED for f in futures):
            return False
        return self._policy.on_final == "settle" or all(
            f is not None and f.call.facts.effects.ack for f in futures
        )


def _await_call() -> ToolCall:
    return ToolCall(name=AWAIT_FUTURE, args={}, id=f"call_{uuid4().hex[:24]}", type="tool_call")


def _not_calling(message: AIMessage) -> AIMessage:
    """A message without the call to `await_future` that the runtime put into it."""
    calls = [call for call in message.tool_calls if call["name"] != AWAIT_FUTURE]
    return message.model_copy(update={"tool_calls": calls})


def _not_taken(message: ToolMessage, names: str) -> ToolMessage:
    """The answer to a call that gave a structured answer while futures were unfinished."""
    if message.status == "error":
        return message
    text = (
        f"Not taken as the answer: {names} had not finished when you gave it. The results are "
        "there now. Give the answer again."
    )
    return message.model_copy(update={"content": text, "status": "error"})
