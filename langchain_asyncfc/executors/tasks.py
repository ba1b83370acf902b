"""Jobs as asyncio tasks: what runs under `ainvoke` and `astream`."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import Callable

from langchain_asyncfc.executors.base import Job
from langchain_asyncfc.futures import FutureState, Outcome

__all__ = ["LoopHome", "TaskExecutor"]


class TaskExecutor:
    """Runs each job as a task of one event loop, in the context of the step that issued it."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._tasks: set[asyncio.Task[None]] = set()  # the loop itself only keeps weak references

    def submit(self, job: Job, done: Callable[[Outcome], None]) -> Callable[[], None]:
        """Start a job on the loop; to be called in the loop's thread."""
        task = self._loop.create_task(_run(job, done), context=job.context)
        self._tasks.add(task)

        def ended(task: asyncio.Task[None]) -> None:
            self._tasks.discard(task)
            if task.cancelled():
                done(Outcome(FutureState.CANCELLED))
            elif (error := task.exception()) is not None:
                done(Outcome(FutureState.FAILED, error=error))

        task.add_done_callback(ended)

        def cancel() -> None:
            if not job.interrupt():
                task.cancel()

        return cancel


async def _run(job: Job, done: Callable[[Outcome], None]) -> None:
    done(await job.arun())


class LoopHome:
    """A scheduler's home on an event loop; a loop in virtual time moves everything with it."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.loop = loop
        self.now: Callable[[], float] = loop.time
        self._thread = threading.get_ident()

    def is_here(self) -> bool:
        """Whether the running event loop is this one."""
        with contextlib.suppress(RuntimeError):
            return asyncio.get_running_loop() is self.loop
        return False

    def is_gone(self) -> bool:
        """Whether the event loop is closed."""
        return self.loop.is_closed()

    def call_later(self, seconds: float, callback: Callable[[], None]) -> Callable[[], None]:
        """Call back on the loop after some seconds."""
        return self.loop.call_later(seconds, callback).cancel

    def post(self, callback: Callable[[], None]) -> None:
        """Call back in the loop's thread. After the loop was closed nothing happens."""
        if threading.get_ident() == self._thread:
            callback()
        else:
            with contextlib.suppress(RuntimeError):
                self.loop.call_soon_threadsafe(callback)
