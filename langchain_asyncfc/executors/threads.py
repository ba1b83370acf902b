"""Jobs in threads: what runs under `invoke` and `stream`, and sync tools everywhere.

Neither of the pools at hand fits. asyncio's default executor has `cpu + 4` threads, which sync
tools in the background would fill until sync model calls starve. `ThreadPoolExecutor` threads are
joined at exit, so one hung tool keeps the process from ending; and with any fixed size, tools
that run graphs of their own can wait for each other's workers for ever.

Nothing can stop a running thread, and a daemon thread dies where it stands when the process ends:
a tool might be in the middle of writing a file. So the exit of the process waits for tools that
still run, but not for long; `wait_at_exit` says how long.
"""

from __future__ import annotations

import asyncio
import atexit
import contextlib
import functools
import logging
import queue
import threading
import time
from collections.abc import Callable
from concurrent.futures import Executor as FuturesExecutor
from concurrent.futures import Future
from contextvars import Context, ContextVar, copy_context
from typing import Any, Final, ParamSpec, TypeVar
from weakref import WeakSet

from langchain_asyncfc.executors.base import Job
from langchain_asyncfc.futures import FutureState, Outcome
from langchain_asyncfc.once import once

__all__ = [
    "ThreadExecutor",
    "ThreadHome",
    "WorkerPool",
    "background_loop",
    "wait_at_exit",
    "worker_pool",
]

_logger = logging.getLogger(__name__)

_P = ParamSpec("_P")
_T = TypeVar("_T")

_AT_ONCE: Final = 16
"""Threads that are started without a second thought. More would only fight for the interpreter
lock where tools are fast."""
_LIMIT: Final = 256
"""Threads at most, nested work excepted: blocked I/O needs many, memory wants them bounded."""
_RELIEF_SECONDS: Final = 0.005
"""How long work may queue before threads are added: the interpreter's own switch interval."""
_IDLE_SECONDS: Final = 10.0
"""How long a thread without work is kept; what anyio keeps its worker threads."""
_EXIT_SECONDS: Final = 2.0
"""How long the exit of the process waits for sync tools: enough to end a write, no nuisance."""

_in_worker: ContextVar[bool] = ContextVar("asyncfc_in_worker", default=False)


_Item = tuple[Future[Any], Callable[[], Any]]

_pools: WeakSet[WorkerPool] = WeakSet()
_exit_seconds: float | None = _EXIT_SECONDS


class WorkerPool(FuturesExecutor):
    """Daemon threads that are started when needed and end when idle.

    Work that comes from inside a worker never queues behind other work: a tool that runs a graph
    with sync tools of its own would otherwise hold the thread that its own tools wait for.
    """

    def __init__(
        self, limit: int = _LIMIT, at_once: int = _AT_ONCE, idle_seconds: float = _IDLE_SECONDS
    ) -> None:
        self._limit = limit
        self._at_once = min(at_once, limit)
        self._idle_seconds = idle_seconds
        self._lock = threading.Lock()
        self._work: queue.SimpleQueue[_Item] = queue.SimpleQueue()
        self._queued = 0
        self._idle = 0
        self._threads = 0
        self._taken = 0
        self._relieving = False
        self._unfinished = 0
        self._at_rest = threading.Condition(self._lock)
        _pools.add(self)

    def submit(self, fn: Callable[_P, _T], /, *args: _P.args, **kwargs: _P.kwargs) -> Future[_T]:
        """Run a function in a worker, in a copy of the caller's context."""
        return self.submit_in(copy_context(), functools.partial(fn, *args, **kwargs))

    def submit_in(self, context: Context, fn: Callable[[], _T]) -> Future[_T]:
        """Run a function in a worker, in the given context, which nobody else may be in."""
        future: Future[_T] = Future()
        nested = _in_worker.get()
        with self._lock:
            busy = self._queued + 1 > self._idle
            grow = busy and (nested or self._threads < self._at_once)
            self._queued += not (grow and nested)
            self._threads += grow
            self._unfinished += 1
            relieve = busy and not grow and not self._relieving
            self._relieving = self._relieving or relieve
        item = (future, functools.partial(context.run, _marked, fn))
        if grow and nested:
            self._start_thread(item)
            return future
        self._work.put(item)
        if grow:
            self._start_thread()
        if relieve:
            background_loop().call_soon_threadsafe(self._watch_queue, self._taken)
        return future

    def rest(self, timeout: float | None) -> int:
        """Wait until no work is left.

        Args:
            timeout: Seconds at most; `None` for no limit.

        Returns:
            How many calls have not finished.
        """
        with self._at_rest:
            self._at_rest.wait_for(lambda: not self._unfinished, timeout)
            return self._unfinished

    def _start_thread(self, first: _Item | None = None) -> None:
        thread = threading.Thread(
            target=self._serve, args=(first,), name="asyncfc-worker", daemon=True
        )
        thread.start()

    def _watch_queue(self, taken: int) -> None:
        background_loop().call_later(_RELIEF_SECONDS, self._relieve, taken)

    def _relieve(self, taken: int) -> None:
        """Add threads when the queue would last for more than a few such periods."""
        with self._lock:
            waiting = self._queued - self._idle
            stuck = waiting > 4 * (self._taken - taken)
            new = max(0, min(waiting, self._limit - self._threads)) if stuck else 0
            self._threads += new
            self._relieving = waiting > 0 and self._threads < self._limit
            again = self._relieving
        for _ in range(new):
            self._start_thread()
        if again:
            self._watch_queue(self._taken)

    def _serve(self, first: _Item | None) -> None:
        if first is not None:
            self._complete(*first)
            del first
        while True:
            with self._lock:
                self._idle += 1
            try:
                future, work = self._work.get(timeout=self._idle_seconds)
            except queue.Empty:
                with self._lock:
                    self._idle -= 1
                    if self._queued > self._idle:
                        continue  # work came in at the last moment and counted on this thread
                    self._threads -= 1
                    return
            with self._lock:
                self._idle -= 1
                self._queued -= 1
                self._taken += 1
            self._complete(future, work)
            del future, work

    def _complete(self, future: Future[Any], work: Callable[[], Any]) -> None:
        _run(future, work)
        with self._at_rest:
            self._unfinished -= 1
            if not self._unfinished:
                self._at_rest.notify_all()


def _marked(fn: Callable[[], _T]) -> _T:
    _in_worker.set(True)
    return fn()


def _run(future: Future[Any], work: Callable[[], Any]) -> None:
    if not future.set_running_or_notify_cancel():
        return
    try:
        result = work()
    except BaseException as error:  # noqa: BLE001 - it belongs to whoever waits for the future
        future.set_exception(error)
    else:
        future.set_result(result)


@once
def worker_pool() -> WorkerPool:
    """The pool that all sync tools of this process share."""
    return WorkerPool()


def wait_at_exit(seconds: float | None) -> None:
    """Say how long the exit of the process waits for sync tools that still run.

    Python cannot stop a running thread: a sync tool runs on after its call was cancelled or timed
    out, and after the run that called it. When the main thread has ended, the process waits until
    such tools have finished, so that none is cut off in the middle of a write; after this time it
    ends all the same, and a warning says how many were cut off. It waits only while a tool runs.
    A process that is killed by a signal does not wait.

    Args:
        seconds: Seconds at most; 2 unless this is called. 0 does not wait, `None` waits for ever.

    Raises:
        ValueError: When the time is negative.
    """
    global _exit_seconds  # noqa: PLW0603 - a process has one exit
    if seconds is not None and not seconds >= 0:
        msg = f"seconds must not be negative, not {seconds!r}."
        raise ValueError(msg)
    _exit_seconds = seconds


def _exit() -> None:
    end = None if _exit_seconds is None else time.monotonic() + _exit_seconds
    left = 0
    with contextlib.suppress(KeyboardInterrupt):  # whoever cannot wait may say so
        for pool in list(_pools):
            left += pool.rest(None if end is None else max(0.0, end - time.monotonic()))
    if left:
        _logger.warning(
            "%d sync tool(s) still ran %g seconds after the main thread had ended, and are cut "
            "off. See langchain_asyncfc.executors.wait_at_exit.",
            left,
            _exit_seconds or 0,
        )


atexit.register(_exit)


@once
def background_loop() -> asyncio.AbstractEventLoop:
    """The loop, in a thread of its own, on which async-only tools run under `invoke`."""
    loop = asyncio.new_event_loop()
    threading.Thread(target=loop.run_forever, name="asyncfc-loop", daemon=True).start()
    return loop


class ThreadExecutor:
    """Runs each job in a worker thread.

    A running thread cannot be stopped. Cancelling its job reports `cancelled` at once; the thread
    runs on, and what it returns is dropped. Only a tool that runs on the background loop can be
    ended, and reports when it has.
    """

    def __init__(self, pool: WorkerPool | None = None) -> None:
        self._pool = pool or worker_pool()

    def submit(self, job: Job, done: Callable[[Outcome], None]) -> Callable[[], None]:
        """Start a job in a worker; `done` is called in that worker."""

        def work() -> None:
            try:
                outcome = job.run()
            except BaseException as error:  # noqa: BLE001 - nothing that a job does may get lost
                outcome = Outcome(FutureState.FAILED, error=error)
            done(outcome)

        self._pool.submit_in(job.context, work)

        def cancel() -> None:
            if not job.interrupt():
                done(Outcome(FutureState.CANCELLED))

        return cancel


class ThreadHome:
    """A scheduler's home among threads, in real time. Its events happen in any thread."""

    now: Callable[[], float] = staticmethod(time.monotonic)

    def is_here(self) -> bool:
        """Threads are everywhere."""
        return True

    def is_gone(self) -> bool:
        """There are always threads."""
        return False

    def call_later(self, seconds: float, callback: Callable[[], None]) -> Callable[[], None]:
        """Call back in the background loop's thread after some seconds."""
        loop = background_loop()
        armed: list[asyncio.TimerHandle] = []
        called_off = threading.Event()

        def arm() -> None:
            if not called_off.is_set():
                armed.append(loop.call_later(seconds, callback))

        def disarm() -> None:
            for handle in armed:
                handle.cancel()

        def call_off() -> None:
            called_off.set()
            loop.call_soon_threadsafe(disarm)

        loop.call_soon_threadsafe(arm)
        return call_off

    def post(self, callback: Callable[[], None]) -> None:
        """Call back in this thread."""
        callback()
