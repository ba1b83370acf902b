"""How a step waits for futures: the one place where sync and async differ.

The logic of a step is a generator that yields `Wait`s and goes on when each is over, and `Work`
whose result it gets. One driver awaits them on an event loop, the other blocks a thread; both thus
keep the same rules (rule 27).
"""

from __future__ import annotations

import asyncio
import itertools
import threading
import time
from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass
from typing import Any, Final, TypeVar

from langchain_asyncfc.scheduler import Scheduler, ToolFuture
from langchain_asyncfc.work import Work

__all__ = ["Flow", "Wait", "drive", "drive_async"]

_T = TypeVar("_T")

_LATE: Final = 0.1
"""The part of its length by which a wait ends too late in a busy process; an idle one is exact."""
_MOST_EXTENSIONS: Final = 100
"""How often a patient wait is begun again; bounds it to 100 times its length."""


@dataclass(frozen=True, slots=True)
class Wait:
    """What a step waits for.

    Attributes:
        futures: All of these, or the first of them.
        timeout: Seconds at most; `None` for no limit.
        patient: Begin again when the timeout came late, or some calls have not had their turn
            yet. A busy process is late with everything: a thousand calls that each finish at
            once keep it busy for longer than a grace period, and none of them is slow.
        first: Wait for the first of the futures only.
        until_failure: End as soon as there is an error that the graph has to raise.
    """

    futures: Sequence[ToolFuture]
    timeout: float | None = None
    patient: bool = False
    until_failure: bool = True
    first: bool = False


Flow = Generator[Wait | Work, Any, _T]
"""A step, or a part of one, and what it comes to."""


async def drive_async(scheduler: Scheduler, steps: Flow[_T]) -> _T:
    """Carry out a step on the running event loop. Cancelling it ends the step where it waits."""
    done: Any = None
    try:
        while True:
            item, done = steps.send(done), None
            if isinstance(item, Work):
                done = await item.arun()
            else:
                await _wait_async(scheduler, item)
    except StopIteration as stop:
        result: _T = stop.value
        return result
    finally:
        steps.close()


def drive(scheduler: Scheduler, steps: Flow[_T]) -> _T:
    """Carry out a step in this thread."""
    done: Any = None
    try:
        while True:
            item, done = steps.send(done), None
            if isinstance(item, Work):
                done = item.run()
            else:
                _wait(scheduler, item)
    except StopIteration as stop:
        result: _T = stop.value
        return result
    finally:
        steps.close()


def _watch(scheduler: Scheduler, wait: Wait, over: Callable[[], None]) -> Callable[[], None] | None:
    """Have a function called when a wait is over but for its timeout.

    Returns:
        What calls it off, or `None` when the wait is over already.
    """
    if wait.until_failure and not scheduler.when_failed(over):
        return None
    # No lock: futures end in any thread, and `next` gives each of them another number.
    ends = itertools.count(1)
    all_ends = len(wait.futures) + 1  # this function itself too, when every future is watched

    def one_done() -> None:
        if next(ends) == all_ends:
            over()

    ended = over if wait.first else one_done
    watched: list[ToolFuture] = []
    for future in wait.futures:
        if scheduler.when_done(future, ended):
            watched.append(future)
        else:
            next(ends)

    def call_off() -> None:
        for future in watched:
            scheduler.forget(future, ended)
        scheduler.forget_failure(over)

    if not watched or (wait.first and len(watched) < len(wait.futures)):
        call_off()
        return None
    one_done()
    return call_off


def _is_early(wait: Wait, late: float) -> bool:
    """Whether to begin a patient wait again, which ended `late` seconds after its time."""
    if not wait.patient or wait.timeout is None:
        return False
    return late > _LATE * wait.timeout or any(future.is_queued for future in wait.futures)


async def _wait_async(scheduler: Scheduler, wait: Wait) -> None:
    if not wait.futures or (wait.timeout is not None and wait.timeout <= 0):
        return
    loop = asyncio.get_running_loop()
    over: asyncio.Future[None] = loop.create_future()

    def end() -> None:
        if not over.done():
            over.set_result(None)

    call_off = _watch(scheduler, wait, end)
    if call_off is None:
        return
    timer: list[asyncio.TimerHandle] = []

    def arm(extensions: int) -> None:
        assert wait.timeout is not None  # noqa: S101 - only called with one
        due = loop.time() + wait.timeout
        timer[:] = [loop.call_at(due, ring, due, extensions)]

    def ring(due: float, extensions: int) -> None:
        if extensions and _is_early(wait, loop.time() - due):
            arm(extensions - 1)
        else:
            end()

    if wait.timeout is not None:
        arm(_MOST_EXTENSIONS)
    try:
        await over
    finally:
        call_off()
        for handle in timer:
            handle.cancel()


def _wait(scheduler: Scheduler, wait: Wait) -> None:
    if not wait.futures or (wait.timeout is not None and wait.timeout <= 0):
        return
    over = threading.Event()
    call_off = _watch(scheduler, wait, over.set)
    if call_off is None:
        return
    try:
        for _ in range(_MOST_EXTENSIONS if wait.patient else 1):
            began = time.monotonic()
            if over.wait(wait.timeout) or wait.timeout is None:
                return
            if not _is_early(wait, time.monotonic() - began - wait.timeout):
                return
    finally:
        call_off()
