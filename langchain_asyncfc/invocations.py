"""Running one call the way `ToolNode` runs it, later and elsewhere.

`ToolNode` hands its wrapper a request and an `execute` function, which injects state and store,
validates, runs the tool and handles its errors. Both stay usable after the node has returned, so
an invocation keeps them and runs the user's own wrapper around them when its time has come.
"""

from __future__ import annotations

import asyncio
import contextlib
import inspect
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from typing import Any, Final, TypeVar

from langchain_core.messages import ToolCall, ToolMessage
from langchain_core.runnables import RunnableConfig
from langchain_core.tools import BaseTool
from langgraph.config import get_stream_writer
from langgraph.errors import GraphBubbleUp
from langgraph.prebuilt.tool_node import TOOL_CALL_ERROR_TEMPLATE, ToolCallRequest

from langchain_asyncfc.configs import apart
from langchain_asyncfc.executors import worker_pool
from langchain_asyncfc.futures import FutureState, Outcome
from langchain_asyncfc.journal import Entry
from langchain_asyncfc.recording import Recording, answer_in, recorded

__all__ = ["Invocation", "changed"]

_T = TypeVar("_T")

_FAILED: Final = FutureState.FAILED


@dataclass(frozen=True, slots=True)
class Invocation:
    """Everything that is needed to run one call.

    A call that waits holds no request of its own. It shares one with the calls beside it, and gets
    its own when it runs: ten thousand calls that wait would otherwise hold as many configs.

    Attributes:
        request: A request that `ToolNode` made in the step that issued the call: for this call, or
            for another one of the step.
        execute: Runs a request; a coroutine function, or a plain one for calls that run in
            threads.
        wrapper: The user's wrapper around it, of the same kind.
        handle_tool_errors: The node's option; it also covers errors of the wrapper.
        announces: Whether `stream_mode="custom"` is told what happens to the call.
        tool: The call's tool, `None` where there is none of that name.
        config: The config to run the tool with; `None` for that of the step.
        number: What tells the call from others that run in its step (see `configs.apart`); `None`
            for a call that is alone there.
        entry: Where the journal notes it.
    """

    request: ToolCallRequest
    execute: Callable[[ToolCallRequest], Any]
    wrapper: Callable[[ToolCallRequest, Callable[[ToolCallRequest], Any]], Any] | None
    handle_tool_errors: Any
    announces: bool = False
    tool: BaseTool | None = None
    config: RunnableConfig | None = None
    number: int | None = None
    entry: Entry | None = None

    @property
    def runs_in(self) -> RunnableConfig:
        """The config with which the tool is run."""
        config = self.config or self.request.runtime.config
        return config if self.number is None else apart(config, self.number)

    def within(self, config: RunnableConfig) -> Invocation:
        """The same with another config for the tool, also where the tool asks for its runtime."""
        return replace(self, config=config, number=None)

    def of(
        self, tool: BaseTool | None, number: int | None = None, entry: Entry | None = None
    ) -> Invocation:
        """What runs a call that came in beside this one: in the same step, by the same rules.

        Args:
            tool: The other call's tool.
            number: What tells it from others that run in the step.
            entry: Where the journal notes it.
        """
        return Invocation(
            self.request,
            self.execute,
            self.wrapper,
            self.handle_tool_errors,
            self.announces,
            tool,
            self.config,
            number,
            entry,
        )

    def announce(
        self,
        call: ToolCall,
        future: str,
        event: str,
        outcome: Outcome | None,
        *,
        here: bool = False,
    ) -> None:
        """Write to the stream of the step that issued the call what happens to it.

        Args:
            call: The call.
            future: The future's id.
            event: `"issued"`, `"delivered"`, or the state that the future has come to.
            outcome: Its outcome, once there is one.
            here: Write to the stream of the step that runs now.
        """
        if not self.announces:
            return
        told = {"type": "asyncfc", "event": str(event), "future": future}
        told |= {"tool": call["name"], "tool_call_id": call["id"] or ""}
        if outcome is not None and outcome.note:
            told["note"] = outcome.note
        writer = self.request.runtime.stream_writer
        if here:
            with contextlib.suppress(RuntimeError, KeyError):  # called outside of a graph
                writer = get_stream_writer()
        writer(told)

    def arun(self, tool_call: ToolCall, recording: Recording) -> Awaitable[Outcome]:
        """Run the call on this event loop. Cancelling it cancels the tool."""
        # What waits for a tool holds every frame between: the fewer, the better.
        if self.entry is None:
            return self._arun(tool_call, recording)
        return self._anoted(self.entry, tool_call, recording)

    async def _anoted(self, entry: Entry, tool_call: ToolCall, recording: Recording) -> Outcome:
        recording.begin()
        await entry.abegin()
        outcome = await self._arun(tool_call, recording)
        await entry.aend(outcome)
        return outcome

    def run(self, tool_call: ToolCall, recording: Recording) -> Outcome:
        """Run the call in this thread."""
        if self.entry is None:
            return self._run(tool_call, recording)
        recording.begin()
        self.entry.begin()
        outcome = self._run(tool_call, recording)
        self.entry.end(outcome)
        return outcome

    async def _arun(self, tool_call: ToolCall, recording: Recording) -> Outcome:
        if not inspect.iscoroutinefunction(self.execute):
            # A sync wrapper with no async twin: `ToolNode` would block the loop with it.
            recording.in_queue = True
            return await asyncio.get_running_loop().run_in_executor(
                worker_pool(), self._run, tool_call, recording
            )

        recording.begin()
        try:
            if self.wrapper is None:
                result = await self.execute(self._recorded(tool_call, recording))
                recording.answered(result)
            else:
                result = await self._awrapped(self.wrapper, tool_call, recording)
            return self._outcome(result, tool_call, recording)
        except Exception as error:  # noqa: BLE001 - sorted below
            return self._failure(error, tool_call, recording)

    def _run(self, tool_call: ToolCall, recording: Recording) -> Outcome:
        recording.begin()
        try:
            if self.wrapper is None:
                result = self.execute(self._recorded(tool_call, recording))
                recording.answered(result)
            else:
                result = self._wrapped(self.wrapper, tool_call, recording)
            return self._outcome(result, tool_call, recording)
        except Exception as error:  # noqa: BLE001 - sorted below
            return self._failure(error, tool_call, recording)

    async def _awrapped(
        self, wrapper: Callable[..., Any], tool_call: ToolCall, recording: Recording
    ) -> Any:
        async def execute(request: ToolCallRequest) -> Any:
            tool = recorded(request.tool, recording)
            result = await self.execute(changed(request, tool=tool))
            recording.answered(result)
            return result

        return await wrapper(self._request(tool_call, recording, self.tool), execute)

    def _wrapped(
        self, wrapper: Callable[..., Any], tool_call: ToolCall, recording: Recording
    ) -> Any:
        def execute(request: ToolCallRequest) -> Any:
            result = self.execute(changed(request, tool=recorded(request.tool, recording)))
            recording.answered(result)
            return result

        return wrapper(self._request(tool_call, recording, self.tool), execute)

    def _recorded(self, tool_call: ToolCall, recording: Recording) -> ToolCallRequest:
        """The request whose tool notes what it returns."""
        return self._request(tool_call, recording, recorded(self.tool, recording))

    def _request(self, tool_call: ToolCall, recording: Recording, tool: Any) -> ToolCallRequest:
        """The request as `ToolNode` would make it for this call in its own config."""
        request = self.request
        config = recording.config = self.runs_in
        runtime = changed(request.runtime, config=config, tool_call_id=tool_call["id"])
        return changed(request, tool_call=tool_call, tool=tool, runtime=runtime)

    def _outcome(self, result: Any, tool_call: ToolCall, recording: Recording) -> Outcome:
        if recording.stop is not None:
            return Outcome(FutureState.CANCELLED)
        call_id = tool_call["id"]
        message = answer_in(result, call_id)
        if message is not None and message.status == "error":
            return Outcome(_FAILED, message.content, result, note=str(message.text))
        value = recording.value(self.tool, result, call_id)
        return Outcome(FutureState.RESOLVED, value, result)

    def _failure(self, error: Exception, call: ToolCall, recording: Recording) -> Outcome:
        """What an error comes to that `execute` or the wrapper let through."""
        if recording.stop is not None:
            return Outcome(FutureState.CANCELLED)
        flag = self.handle_tool_errors
        if self.wrapper is None or not flag or isinstance(error, GraphBubbleUp) or _resume(error):
            return Outcome(_FAILED, error=error, note=repr(error))
        try:
            content = _content(error, flag)
        except Exception as raised:  # noqa: BLE001 - a handler may refuse an error by raising
            return Outcome(_FAILED, error=raised, note=repr(raised))
        message = ToolMessage(content, name=call["name"], tool_call_id=call["id"], status="error")
        return Outcome(_FAILED, content, message, note=str(message.text))


def changed(data: _T, **changes: Any) -> _T:
    """A copy of a dataclass object with other values.

    `dataclasses.replace` does the same by way of `__init__`. A request checks each attribute that
    is set there, which takes longer than all else that is done to run a call.
    """
    copied = object.__new__(type(data))
    own = copied.__dict__
    own.update(data.__dict__)
    own.update(changes)
    return copied


def _resume(error: Exception) -> bool:
    """Whether the error is a resume value that does not fit an interrupt; it is never handled."""
    try:
        from langgraph.errors import is_invalid_resume  # noqa: PLC0415 - not in older versions
    except ImportError:
        return False
    return bool(is_invalid_resume(error))


def _content(error: Exception, flag: Any) -> Any:
    """The text of a handled error, by `ToolNode`'s documented meaning of `handle_tool_errors`."""
    if isinstance(flag, str):
        return flag
    if callable(flag) and not isinstance(flag, type):
        return flag(error)
    if not isinstance(flag, bool | tuple | type):
        msg = f"handle_tool_errors must be a bool, text, exception type or callable, not {flag!r}."
        raise ValueError(msg) from error  # noqa: TRY004 - what `ToolNode` raises
    return str(TOOL_CALL_ERROR_TEMPLATE.format(error=repr(error)))
