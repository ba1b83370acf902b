"""Carrying out calls to the control tools: wait, cancel, and say how it stands."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, Literal
from uuid import uuid4

from langchain_core.messages import ToolCall, ToolMessage

from langchain_asyncfc.calls import is_control, known_futures
from langchain_asyncfc.control import named_futures, timeout_of
from langchain_asyncfc.errors import InvalidControlCall
from langchain_asyncfc.futures import FutureState, future_id
from langchain_asyncfc.records import AWAIT_FUTURE, Thread
from langchain_asyncfc.scheduler import Scheduler, ToolFuture
from langchain_asyncfc.waiting import Flow, Wait

__all__ = ["ControlCalls", "control_message"]

_CANCEL_SECONDS: Final = 0.01
"""How long a step waits for cancelled tools to end; the default grace period."""


class ControlCalls:
    """The calls of one step to `await_future` and `cancel_future`.

    Args:
        scheduler: Owner of the run's futures.
        thread: The thread as the step finds it.
        grace: Seconds that a step waits for calls that may be fast.
    """

    def __init__(self, scheduler: Scheduler, thread: Thread, grace: float) -> None:
        self._scheduler = scheduler
        self._thread = thread
        self._grace = grace

    def cancel(self, call: ToolCall) -> Flow[None]:
        """Cancel what a call names."""
        named = self._named(call)
        if named is not None and not isinstance(named, InvalidControlCall):
            self._scheduler.cancel(named)
            # Most tools end as soon as they are cancelled; the model is told so at once.
            yield Wait(named, max(self._grace, _CANCEL_SECONDS), patient=True)

    def wait(self, call: ToolCall) -> Flow[None]:
        """Wait for what a call names, as long as it says."""
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
        return [f for f in live if f.call.ordinal <= highest and f.is_provided]

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

    def answer(self, call: ToolCall) -> ToolMessage:
        """The answer to a call, once it was carried out."""
        try:
            ordinals = named_futures(call, self._ordinal_before(call))
            if call["name"] == AWAIT_FUTURE:
                timeout_of(call)
            elif ordinals is None:
                _refuse_nameless(self._scheduler.last)
        except InvalidControlCall as error:
            return control_message(call, f"Error: {error}", "error")
        if ordinals is None:
            ordinals = [*self._thread.pending]
        return control_message(call, self.report(ordinals))

    def report(self, ordinals: Sequence[int]) -> str:
        """Which of these futures are in which state, in words."""
        by_state: dict[str, list[str]] = {}
        for ordinal in ordinals:
            future = self._scheduler.get(ordinal)
            if future is None:
                state = "lost" if ordinal in self._thread.pending else "finished"
            elif future.outcome is None:
                state = "still running" if future.stopped_by is None else "being cancelled"
            elif future.state is FutureState.RESOLVED:
                state = "finished"
            else:
                state = str(future.state)
            by_state.setdefault(state, []).append(future_id(ordinal))
        parts = [f"{state.capitalize()}: {', '.join(ids)}." for state, ids in by_state.items()]
        return " ".join(parts) or "Nothing was running."


def _refuse_nameless(last: int) -> None:
    msg = f"cancel_future: name the futures to cancel; {known_futures(last)}."
    raise InvalidControlCall(msg)


def control_message(
    call: ToolCall, text: str, status: Literal["success", "error"] = "success"
) -> ToolMessage:
    """The answer to a call to a control tool."""
    return ToolMessage(
        text, name=call["name"], tool_call_id=call["id"] or "", status=status, id=str(uuid4())
    )
