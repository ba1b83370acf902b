"""Waiting for futures that end in other threads, and on an event loop.

Seen to fail: with the counter's lock held while futures are watched (a finishing call takes the
two locks the other way round), `test_a_call_that_ends_while_the_next_is_watched_blocks_nothing`.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from contextvars import copy_context
from typing import Any

import pytest
from langchain_core.messages import ToolCall, ToolMessage

from langchain_asyncfc.calls import read_call
from langchain_asyncfc.effects import Effects
from langchain_asyncfc.executors import LoopHome, TaskExecutor, ThreadExecutor, ThreadHome
from langchain_asyncfc.futures import FutureState, Outcome
from langchain_asyncfc.scheduler import Lane, Scheduler, ToolFuture
from langchain_asyncfc.testing import ManualExecutor, in_virtual_time
from langchain_asyncfc.toolbox import ToolFacts
from langchain_asyncfc.waiting import Wait, drive, drive_async


class _Quick:
    """An invocation that is over at once."""

    announces = False

    def run(self, call: ToolCall, recording: Any) -> Outcome:
        """Answer."""
        return Outcome(FutureState.RESOLVED, 1, ToolMessage("1", tool_call_id=call["id"] or ""))

    async def arun(self, call: ToolCall, recording: Any) -> Outcome:
        """Answer."""
        return self.run(call, recording)


LANE = Lane()


def _issue(
    scheduler: Scheduler,
    count: int,
    invocation: _Quick = _Quick(),  # noqa: B008
) -> list[ToolFuture]:
    facts = ToolFacts(None, Effects())
    calls = [
        read_call(n, ToolCall(name="t", args={}, id=str(n), type="tool_call"), facts)
        for n in range(1, count + 1)
    ]
    futures = scheduler.issue("message", calls, LANE, lambda n: n)
    for future in futures:
        scheduler.provide(future, invocation, copy_context())  # type: ignore[arg-type]
    return futures


def test_a_wait_for_calls_that_end_while_it_begins_is_over() -> None:
    """A thousand waits, each for calls that end in threads meanwhile, all come to their end."""
    for _ in range(1_000):
        scheduler = Scheduler(ThreadExecutor(), ThreadHome(), "key")
        futures = _issue(scheduler, 12)

        def steps(futures: list[ToolFuture] = futures) -> Any:
            yield Wait(futures)
            return [future.state for future in futures]

        assert drive(scheduler, steps()) == [FutureState.RESOLVED] * 12


class _Racing(Scheduler):
    """Lets the first watched call end, and tell so, before the second is watched."""

    def when_done(self, future: ToolFuture, callback: Callable[[], None]) -> bool:
        """Watch a future; hold the first one's call back until it is watched."""
        if future.call.ordinal > 1:
            return super().when_done(future, callback)
        telling = threading.Event()

        def tell() -> None:
            telling.set()
            callback()

        watched = super().when_done(future, tell)
        GO.set()
        telling.wait()
        return watched


GO = threading.Event()


class _Held(_Quick):
    def run(self, call: ToolCall, recording: Any) -> Outcome:
        """Answer when told to."""
        GO.wait()
        return super().run(call, recording)


def test_a_call_that_ends_while_the_next_is_watched_blocks_nothing() -> None:
    """A finishing call and a beginning wait never hold a lock that the other needs."""
    scheduler = _Racing(ThreadExecutor(), ThreadHome(), "key")
    futures = _issue(scheduler, 2, _Held())

    def steps() -> Any:
        yield Wait(futures)

    waiting = threading.Thread(target=drive, args=(scheduler, steps()), daemon=True)
    waiting.start()
    waiting.join(10)
    assert not waiting.is_alive()


@pytest.mark.asyncio
async def test_a_wait_on_the_loop_is_over_when_its_calls_are() -> None:
    """On an event loop a wait ends with the last of its calls."""
    loop = asyncio.get_running_loop()
    scheduler = Scheduler(TaskExecutor(loop), LoopHome(loop), "key")
    futures = _issue(scheduler, 12)

    def steps() -> Any:
        yield Wait(futures)
        return all(future.done for future in futures)

    assert await drive_async(scheduler, steps())


@in_virtual_time
async def test_a_timeout_ends_a_wait_exactly() -> None:
    """A wait with a timeout ends after just that time, and leaves its futures as they are."""
    loop = asyncio.get_running_loop()
    scheduler = Scheduler(ManualExecutor(), LoopHome(loop), "key")
    futures = _issue(scheduler, 2)

    def steps() -> Any:
        yield Wait(futures, 7.5)
        return [future.done for future in futures]

    assert await drive_async(scheduler, steps()) == [False, False]
    assert loop.time() == 7.5
    assert not any(future.callbacks for future in futures)


@in_virtual_time
async def test_a_failure_ends_a_wait_for_others() -> None:
    """Rule 16: an error that the graph has to raise ends a wait for something else."""
    loop = asyncio.get_running_loop()
    executor = ManualExecutor()
    scheduler = Scheduler(executor, LoopHome(loop), "key")
    futures = _issue(scheduler, 2)
    loop.call_later(3, executor.crash, "future_2", KeyError("x"))

    def steps() -> Any:
        yield Wait(futures[:1], 100)
        return futures[0].done

    assert await drive_async(scheduler, steps()) is False
    assert loop.time() == 3


@in_virtual_time
async def test_a_cancelled_step_leaves_nothing_behind() -> None:
    """Cancelling a step ends it where it waits, and calls its timer and callbacks off."""
    loop = asyncio.get_running_loop()
    scheduler = Scheduler(ManualExecutor(), LoopHome(loop), "key")
    futures = _issue(scheduler, 1)
    left = []

    def steps() -> Any:
        try:
            yield Wait(futures, 50)
        finally:
            left.append("step")

    task = asyncio.create_task(drive_async(scheduler, steps()))
    await asyncio.sleep(1)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert left == ["step"]
    assert not futures[0].callbacks
