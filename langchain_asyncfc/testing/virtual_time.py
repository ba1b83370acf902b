"""Run asyncio code in virtual time: hours take milliseconds, and every duration is exact.

The idea: an event loop asks its selector to wait until the next timer is due. Here the selector
does not wait. When nothing is ready it moves the loop's clock to the next timer and returns. The
order of everything that happens is the order that real time would have given; only the waiting is
gone.

    async def main() -> float:
        await asyncio.sleep(3600)
        return asyncio.get_running_loop().time()

    assert run_virtual(main()) == 3600.0

What moves the clock and what does not:

- Timers (`asyncio.sleep`, `asyncio.timeout`, `loop.call_later`) move it, and nothing else does.
  Computing takes no virtual time.
- Jobs in `loop.run_in_executor`, in any executor, take no virtual time: while one is awaited, the
  clock stands still and the loop really waits. LangChain runs sync tools and sync models this way.
  A job whose future was cancelled no longer holds the clock, although its thread runs on.
- Real sockets and pipes are polled before each jump. A peer that answers at once (the same loop, or
  loopback) is seen in time; wait for a slower one, or for a subprocess, inside of `hold_clock()`.
- Threads that the loop does not know can wake it with `call_soon_threadsafe` at any time, but it
  cannot foresee that they will. Wait for them inside of `hold_clock()`, or pass
  `foreign_threads=True` if they are only waited for while no timer is set. Examples are anyio's
  worker threads, and checkpointers on aiosqlite: override their methods to hold the clock.
"""

from __future__ import annotations

import asyncio
import functools
import heapq
import itertools
import math
import selectors
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar, TypeVarTuple, overload

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Coroutine, Iterator, Mapping
    from concurrent.futures import Executor
    from contextvars import Context

    from _typeshed import FileDescriptorLike

T = TypeVar("T")
P = ParamSpec("P")
Ts = TypeVarTuple("Ts")

# Seconds of wall time. Long enough for any sane thread job in a test, short enough for a CI log to
# show the error before the CI job's own limit ends it silently.
DEFAULT_MAX_WAIT = 60.0


class VirtualTimeDeadlock(RuntimeError):
    """Raised when nothing can ever happen again: no ready callback, no timer, no job, no socket.

    Also raised when the loop really waited for a thread or a socket for `max_wait` seconds of wall
    time. The message lists the tasks that are still waiting.
    """


class VirtualTimeLoop(asyncio.SelectorEventLoop):
    """An asyncio event loop whose clock jumps to the next timer when nothing is ready.

    `time()` is the virtual clock, in seconds; it starts at 0.

    Args:
        foreign_threads: Do not call an idle loop a deadlock, really wait instead, because a thread
            that the loop does not know is going to call `call_soon_threadsafe`. Timers still move
            the clock.
        max_wait: The longest real wait for threads and sockets, in seconds of wall time, before
            `VirtualTimeDeadlock` is raised. None waits for ever.
    """

    def __init__(
        self, *, foreign_threads: bool = False, max_wait: float | None = DEFAULT_MAX_WAIT
    ) -> None:
        self._now = 0.0
        self._holds = 0
        self._foreign_threads = foreign_threads
        self._max_wait = max_wait
        # The loop keeps its timers private, so they are counted a second time at the public door.
        self._timers: list[tuple[float, int, asyncio.TimerHandle]] = []
        self._timer_number = itertools.count()
        self._compact_at = 128
        super().__init__(_JumpingSelector(self._wait))

    def time(self) -> float:
        """The virtual clock, in seconds since the loop was made."""
        return self._now

    @contextmanager
    def hold_clock(self) -> Iterator[None]:
        """While entered, the clock stands still and the loop waits for threads and sockets."""
        self._holds += 1
        try:
            yield
        finally:
            self._holds -= 1

    def call_at(
        self,
        when: float,
        callback: Callable[[*Ts], object],
        *args: *Ts,
        context: Context | None = None,
    ) -> asyncio.TimerHandle:
        """Schedule a callback at a virtual time, as the base class does, and remember the timer."""
        handle = super().call_at(when, callback, *args, context=context)
        heapq.heappush(self._timers, (when, next(self._timer_number), handle))
        if len(self._timers) > self._compact_at:
            # Timeouts that were set and cancelled a million times must not pile up.
            self._timers = [t for t in self._timers if not t[2].cancelled()]
            heapq.heapify(self._timers)
            self._compact_at = max(128, 2 * len(self._timers))
        return handle

    def run_in_executor(
        self, executor: Executor | None, func: Callable[[*Ts], T], *args: *Ts
    ) -> asyncio.Future[T]:
        """Run a job in a thread, as the base class does; until it is done the clock stands."""
        future = super().run_in_executor(executor, func, *args)
        self._holds += 1
        # The asyncio future, not the thread's one: it is done in the loop, after the wake-up came,
        # so there is no instant in which the job is over and its result is not yet ready here.
        future.add_done_callback(self._release)
        return future

    async def shutdown_default_executor(self, *args: Any, **kwargs: Any) -> None:
        """Join the default executor's threads; asyncio does so in a thread of its own."""
        with self.hold_clock():
            await super().shutdown_default_executor(*args, **kwargs)

    def _release(self, _: asyncio.Future[Any]) -> None:
        self._holds -= 1

    def _wait(
        self, selector: selectors.BaseSelector, timeout: float | None
    ) -> list[tuple[selectors.SelectorKey, int]]:
        """Answer the loop's "wait for `timeout` seconds"; nothing is ready if that is not 0."""
        events = selector.select(0)
        if events or (timeout is not None and timeout <= 0):
            return events
        if self._holds == 0:
            if timeout is not None:
                self._jump()
                return []
            # One registered descriptor is the loop's own wake-up pipe.
            if len(selector.get_map()) <= 1 and not self._foreign_threads:
                raise VirtualTimeDeadlock(self._describe("Nothing can happen any more"))
        events = selector.select(self._max_wait)
        if not events:
            raise VirtualTimeDeadlock(
                self._describe(
                    f"Nothing happened in {self._max_wait:g} s of wall time, while "
                    f"{self._holds} thread jobs or clock holds were open"
                )
            )
        return events

    def _jump(self) -> None:
        while self._timers and (self._timers[0][2].cancelled() or self._timers[0][0] <= self._now):
            heapq.heappop(self._timers)
        self._now = self._timers[0][0]
        # After 194 days, the clock's usual resolution is lost in the rounding of floats, and the
        # base class would never find the timer due. It has no public door for this.
        self._clock_resolution = max(1e-9, math.ulp(self._now))

    def _describe(self, what: str) -> str:
        tasks = [repr(task) for task in asyncio.all_tasks(self)]
        waiting = "\n".join(f"  {task}" for task in sorted(tasks))
        return (
            f"{what} (virtual time {self._now:g} s). Waiting tasks:\n{waiting}\n"
            "Do they wait for a thread that the loop does not know? See hold_clock() and "
            "foreign_threads."
        )


class _JumpingSelector(selectors.BaseSelector):
    """The platform's selector with another idea of waiting. All but `select` is handed on."""

    def __init__(
        self,
        wait: Callable[
            [selectors.BaseSelector, float | None], list[tuple[selectors.SelectorKey, int]]
        ],
    ) -> None:
        self._inner = selectors.DefaultSelector()
        self._wait = wait

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        return self._wait(self._inner, timeout)

    def register(
        self, fileobj: FileDescriptorLike, events: int, data: Any = None
    ) -> selectors.SelectorKey:
        return self._inner.register(fileobj, events, data)

    def unregister(self, fileobj: FileDescriptorLike) -> selectors.SelectorKey:
        return self._inner.unregister(fileobj)

    def modify(
        self, fileobj: FileDescriptorLike, events: int, data: Any = None
    ) -> selectors.SelectorKey:
        return self._inner.modify(fileobj, events, data)

    def get_map(self) -> Mapping[FileDescriptorLike, selectors.SelectorKey]:
        return self._inner.get_map()

    def close(self) -> None:
        self._inner.close()


@contextmanager
def hold_clock() -> Iterator[None]:
    """While entered, the virtual clock stands still and the loop waits for threads and sockets.

    For work that the loop does not know: a subprocess, a thread of your own, a server in another
    process. Under any other event loop it does nothing, so that a tool can use it always.

    Raises:
        RuntimeError: If no event loop runs in this thread.
    """
    loop = asyncio.get_running_loop()
    if isinstance(loop, VirtualTimeLoop):
        with loop.hold_clock():
            yield
    else:
        yield


def run_virtual(
    coro: Coroutine[Any, Any, T],
    *,
    timeout: float | None = None,
    foreign_threads: bool = False,
    max_wait: float | None = DEFAULT_MAX_WAIT,
) -> T:
    """Run a coroutine in virtual time and return its result: the twin of `asyncio.run`.

    Ends as `asyncio.run` does: remaining tasks are cancelled and awaited, async generators and the
    default executor are shut down, and the loop is closed.

    Args:
        coro: What to run.
        timeout: A limit in virtual seconds. None is no limit.
        foreign_threads: See `VirtualTimeLoop`.
        max_wait: See `VirtualTimeLoop`; in seconds of wall time.

    Raises:
        TimeoutError: If the coroutine needs more than `timeout` virtual seconds. It was cancelled.
        VirtualTimeDeadlock: If it can never finish. It was cancelled.
        RuntimeError: If an event loop is running in this thread already.
    """
    if not asyncio.iscoroutine(coro):
        raise TypeError(f"run_virtual() needs a coroutine, got {coro!r}")
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        pass
    else:
        coro.close()  # Else a warning about a coroutine that was never awaited hides the error.
        raise RuntimeError("run_virtual() cannot be called while an event loop is running")

    def make_loop() -> VirtualTimeLoop:
        return VirtualTimeLoop(foreign_threads=foreign_threads, max_wait=max_wait)

    with asyncio.Runner(loop_factory=make_loop) as runner:
        return runner.run(_bounded(coro, limit=timeout))


async def _bounded(awaitable: Awaitable[T], limit: float | None) -> T:
    async with asyncio.timeout(limit):
        return await awaitable


@overload
def in_virtual_time(test: Callable[P, Coroutine[Any, Any, T]], /) -> Callable[P, T]: ...


@overload
def in_virtual_time(
    *,
    timeout: float | None = None,
    foreign_threads: bool = False,
    max_wait: float | None = DEFAULT_MAX_WAIT,
) -> Callable[[Callable[P, Coroutine[Any, Any, T]]], Callable[P, T]]: ...


def in_virtual_time(
    test: Callable[..., Coroutine[Any, Any, Any]] | None = None, /, **options: Any
) -> Callable[..., Any]:
    """Make a plain test function of an async one, which runs in virtual time.

    Works as `@in_virtual_time` and as `@in_virtual_time(timeout=60)`; the options are
    `run_virtual`'s. Fixtures and parametrisation work as usual, because the signature is kept. Do
    not add `@pytest.mark.asyncio`: the function that pytest sees is not async. Async fixtures run
    on the loop of the plugin that makes them, not on this one.
    """
    if test is None:
        return functools.partial(in_virtual_time, **options)

    @functools.wraps(test)
    def run(*args: Any, **kwargs: Any) -> Any:
        return run_virtual(test(*args, **kwargs), **options)

    return run
