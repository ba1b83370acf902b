"""Begun: one run of a tool that began before its call was issued.

It is the innermost part of a call only, what `ToolNode` calls `tool.invoke`. All around it comes
when the call is issued and started: the stand-in for the tool (`RecordingTool`) then gives what
has begun here in place of running the tool. So error handling, output forms and delivery are those
of any other call, and an error is kept until then.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from concurrent.futures import wait as wait_for_threads
from contextvars import copy_context
from typing import Any

from langchain_core.runnables import RunnableConfig

from langchain_asyncfc.calls import Call
from langchain_asyncfc.errors import ToolStopped, ToolTimeout
from langchain_asyncfc.executors import worker_pool
from langchain_asyncfc.recording import Recording, RecordingTool

__all__ = ["Begun", "await_ends", "wait_for_ends"]


class Begun:
    """One run of a tool that began before its call was issued.

    Args:
        call: The call as it will be issued, if the message stays as it is.
        lane: How the calls of its node are run.
        recording: Notes what happens to it.
        entered: How many calls the scheduler had taken in when it began.
        now: When that was, in seconds of the scheduler's clock.

    Attributes:
        call_off_timeout: Calls off the end of its time, if that is limited.
    """

    __slots__ = (
        "_endable",
        "_running",
        "call",
        "call_off_timeout",
        "entered",
        "lane",
        "on_loop",
        "recording",
        "since",
    )

    def __init__(
        self, call: Call, lane: object, recording: Recording, entered: int, now: float
    ) -> None:
        self.call: Call = call
        self.lane: object = lane
        self.recording: Recording = recording
        self.entered: int = entered
        self.since: float = now
        self.on_loop: bool = False
        self.call_off_timeout: Callable[[], None] | None = None
        self._running: Any = None
        self._endable = True

    def start_task(self, config: RunnableConfig) -> None:
        """Run the tool on this event loop, in this context."""
        self.on_loop = True
        tool, call = self._prepared()
        self._running = asyncio.get_running_loop().create_task(self._arun(tool, call, config))
        self._running.add_done_callback(_heard)

    def start_thread(self, config: RunnableConfig) -> None:
        """Run the tool in a thread, in a copy of this context."""
        tool, call = self._prepared()

        def run() -> Any:
            self.recording.begin(early=True)
            return tool.invoke(call, config)

        self._running = worker_pool().submit_in(copy_context(), run)

    def _prepared(self) -> tuple[RecordingTool, dict[str, Any]]:
        """The tool and the call in the form in which `ToolNode` invokes it."""
        tool = self.call.facts.tool
        assert tool is not None  # noqa: S101 - calls without one never start early
        tool_call = self.call.with_args(self.call.args)
        return RecordingTool(tool, self.recording, early=True), {**tool_call, "type": "tool_call"}

    async def _arun(self, tool: RecordingTool, call: Any, config: RunnableConfig) -> Any:
        self.recording.begin(early=True)
        return await tool.ainvoke(call, config)

    @property
    def done(self) -> bool:
        """Whether it has ended."""
        return self._running is None or bool(self._running.done())

    @property
    def usable(self) -> bool:
        """Whether a call may take it up. One that ran out of time has ended, by that."""
        return self.recording.stop is None or isinstance(self.recording.stop, ToolTimeout)

    @property
    def waits_to_end(self) -> bool:
        """Whether it will end by itself although it was stopped: not so a thread."""
        return self._endable and not self.done

    def is_for(self, call: Call) -> bool:
        """Whether a call that is issued is the one that was begun."""
        same = call.id == self.call.id and call.facts.tool is self.call.facts.tool
        is_plain = call.problem is None and not call.sites
        return same and is_plain and call.identity() == self.call.identity()

    def stop(self, reason: ToolStopped) -> None:
        """End it, if nobody has; a thread runs on, and what it returns is dropped."""
        if self.recording.stop is not None:
            return
        self.recording.stop = reason
        if self.call_off_timeout is not None:
            self.call_off_timeout()
        if self.done or self.recording.interrupt():
            return
        self._endable = self._running.cancel() or self.on_loop

    async def aresult(self) -> Any:
        """What the tool gives, on its event loop; cancelling this cancels the tool."""
        return await self._running

    def result(self) -> Any:
        """What the tool gives, in a thread."""
        return self._running.result()

    def wait_handle(self) -> Any:
        """The task, or the thread's future."""
        return self._running


def _heard(task: asyncio.Task[Any]) -> None:
    """Take note of the error of a task, so that asyncio does not complain if nobody else does."""
    if not task.cancelled():
        task.exception()


async def await_ends(begun: Sequence[Begun]) -> None:
    """Wait on their event loop until what was stopped has ended."""
    if tasks := [one.wait_handle() for one in begun if one.waits_to_end]:
        await asyncio.wait(tasks)


def wait_for_ends(begun: Sequence[Begun]) -> None:
    """Wait in a thread until what was stopped, and can be, has ended."""
    threads: list[Future[Any]] = [one.wait_handle() for one in begun if one.waits_to_end]
    wait_for_threads(threads)
