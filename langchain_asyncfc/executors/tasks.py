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
        running = _Running(task, job.interrupt, done, self._tasks)
        task.add_done_callback(running.ended)
        return running.cancel


class _Running:
    """A job that runs. It does not hold the job, of which thousands may run at once."""

    __slots__ = ("_done", "_interrupt", "_task", "_tasks")

    def __init__(
        self,
        task: asyncio.Task[None],
        interrupt: Callable[[], bool],
        done: Callable[[Outcome], None],
        tasks: set[asyncio.Task[None]],
    ) -> None:
        self._task = task
        self._interrupt = interrupt
        self._done = done
        self._tasks = tasks

    def cancel(self) -> None:
        if not self._interrupt():
            self._task.cancel()

    def ended(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if task.cancelled():
            self._done(Outcome(FutureState.CANCELLED))
        elif (error := task.exception()) is not None:
            self._done(Outcome(FutureState.FAILED, error=error))


async def _run(job: Job, done: Callable[[Outcome], None]) -> None:
    running = job.arun()
    del job  # all that it holds would be held as long as it runs
    done(await running)


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
