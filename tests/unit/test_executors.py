"""Tests of where calls run."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Awaitable, Callable
from contextvars import Context, ContextVar, copy_context
from typing import Any

import pytest

from langchain_asyncfc.executors import (
    Job,
    LoopHome,
    TaskExecutor,
    ThreadExecutor,
    ThreadHome,
    WorkerPool,
    background_loop,
    worker_pool,
)
from langchain_asyncfc.futures import FutureState, Outcome
from langchain_asyncfc.testing import run_virtual

LIMIT = 10.0  # seconds until a hung thread fails a test; never waited for otherwise
RESOLVED = Outcome(FutureState.RESOLVED, 1)
NAME: ContextVar[str] = ContextVar("name", default="none")


async def never() -> Outcome:
    raise AssertionError


def job(
    run: Callable[[], Outcome] = lambda: RESOLVED,
    arun: Callable[[], Awaitable[Outcome]] = never,
    interrupt: Callable[[], bool] = lambda: False,
    context: Context | None = None,
) -> Job:
    return Job("k/future_1", "c1", "search", {}, run, arun, interrupt, context or copy_context())


def in_context(name: str) -> Context:
    context = copy_context()
    context.run(NAME.set, name)
    return context


class Ended:
    """Collects outcomes from any thread."""

    def __init__(self) -> None:
        self.outcomes: list[Outcome] = []
        self.threads: list[str] = []
        self._one = threading.Semaphore(0)

    def __call__(self, outcome: Outcome) -> None:
        self.outcomes.append(outcome)
        self.threads.append(threading.current_thread().name)
        self._one.release()

    def wait(self) -> Outcome:
        assert self._one.acquire(timeout=LIMIT)
        return self.outcomes[-1]


# -- tasks --------------------------------------------------------------------------------------


def test_a_job_is_a_task_in_its_own_context() -> None:
    """Rule 25: a call sees the context variables of the step that issued it."""

    async def body() -> None:
        ended = Ended()

        async def arun() -> Outcome:
            await asyncio.sleep(3600)
            return Outcome(FutureState.RESOLVED, NAME.get())

        executor = TaskExecutor(asyncio.get_running_loop())
        executor.submit(job(arun=arun, context=in_context("step")), ended)
        assert ended.outcomes == []
        await asyncio.sleep(3601)
        assert ended.outcomes == [Outcome(FutureState.RESOLVED, "step")]
        assert not executor._tasks

    run_virtual(body())


def test_a_cancelled_task_reports_when_it_has_ended() -> None:
    """Rule 19: cancelled calls are awaited: the outcome comes after the tool's own clean-up."""

    async def body() -> None:
        ended, cleaned = Ended(), []

        async def arun() -> Outcome:
            try:
                await asyncio.sleep(3600)
            finally:
                await asyncio.sleep(5)
                cleaned.append(True)
            return RESOLVED

        cancel = TaskExecutor(asyncio.get_running_loop()).submit(job(arun=arun), ended)
        await asyncio.sleep(1)
        cancel()
        await asyncio.sleep(4)
        assert not ended.outcomes
        await asyncio.sleep(2)
        assert cleaned == [True]
        assert ended.outcomes == [Outcome(FutureState.CANCELLED)]

    run_virtual(body())


def test_a_task_that_raises_is_reported() -> None:
    """Rule 16: nothing that a job does gets lost."""

    async def body() -> None:
        ended, error = Ended(), RuntimeError("bug")

        async def arun() -> Outcome:
            raise error

        TaskExecutor(asyncio.get_running_loop()).submit(job(arun=arun), ended)
        await asyncio.sleep(1)
        assert ended.outcomes == [Outcome(FutureState.FAILED, error=error)]

    run_virtual(body())


def test_a_loop_home_knows_its_loop() -> None:
    """Rule 21: events happen on the loop where the run lives, with that loop's time."""

    async def body() -> LoopHome:
        loop = asyncio.get_running_loop()
        home = LoopHome(loop)
        assert home.is_here()
        begin, rung = home.now(), []
        home.call_later(60, lambda: rung.append(home.now() - begin))
        home.call_later(61, lambda: rung.append(-1))()
        home.post(lambda: rung.append("here"))
        assert rung == ["here"]
        await asyncio.sleep(100)
        assert rung == ["here", 60]
        return home

    home = run_virtual(body())
    assert not home.is_here()


@pytest.mark.asyncio
async def test_a_loop_home_takes_events_from_other_threads() -> None:
    """Rule 27: what a thread reports is handled in the loop's thread."""
    home = LoopHome(asyncio.get_running_loop())
    came: asyncio.Future[str] = home.loop.create_future()
    there: list[bool] = []

    def elsewhere() -> None:
        there.append(home.is_here())
        home.post(lambda: came.set_result(threading.current_thread().name))

    thread = threading.Thread(target=elsewhere)
    thread.start()
    assert await came == threading.current_thread().name
    thread.join()
    assert there == [False]


def test_a_closed_loop_takes_no_events() -> None:
    """Rule 19: what ends after its run is over is dropped without a word."""
    loop = asyncio.new_event_loop()
    home = LoopHome(loop)
    loop.close()
    called: list[int] = []
    thread = threading.Thread(target=lambda: home.post(lambda: called.append(1)))
    thread.start()
    thread.join()
    assert called == []


# -- threads ------------------------------------------------------------------------------------


def test_a_job_runs_in_a_worker_with_its_context() -> None:
    """Rule 25: context variables are carried into threads."""
    ended = Ended()
    run = lambda: Outcome(FutureState.RESOLVED, NAME.get())  # noqa: E731
    ThreadExecutor().submit(job(run, context=in_context("step")), ended)
    assert ended.wait() == Outcome(FutureState.RESOLVED, "step")
    assert ended.threads == ["asyncfc-worker"]


@pytest.mark.parametrize("error", [RuntimeError("bug"), SystemExit(3), KeyboardInterrupt()])
def test_a_thread_that_raises_is_reported(error: BaseException) -> None:
    """Rule 16: nothing that a job does gets lost, and the worker lives on."""

    def run() -> Outcome:
        raise error

    ended = Ended()
    executor = ThreadExecutor(WorkerPool())
    executor.submit(job(run), ended)
    assert ended.wait() == Outcome(FutureState.FAILED, error=error)
    executor.submit(job(), ended)
    assert ended.wait() == RESOLVED


def test_a_thread_that_cannot_be_stopped_is_reported_at_once() -> None:
    """Rule 19: a run does not wait for a hung sync tool; its late outcome comes second."""
    ended, go = Ended(), threading.Event()

    def run() -> Outcome:
        assert go.wait(LIMIT)
        return RESOLVED

    cancel = ThreadExecutor().submit(job(run), ended)
    cancel()
    assert ended.wait() == Outcome(FutureState.CANCELLED)
    go.set()
    assert ended.wait() == RESOLVED


def test_a_thread_that_can_be_interrupted_reports_when_it_has_ended() -> None:
    """Rule 19: an async-only tool under `invoke` is cancelled and awaited."""
    ended, go = Ended(), threading.Event()

    def run() -> Outcome:
        assert go.wait(LIMIT)
        return Outcome(FutureState.CANCELLED)

    def interrupt() -> bool:
        assert not ended.outcomes
        go.set()
        return True

    ThreadExecutor().submit(job(run, interrupt=interrupt), ended)()
    assert ended.wait() == Outcome(FutureState.CANCELLED)
    assert len(ended.outcomes) == 1


def test_a_thread_home_is_everywhere() -> None:
    """Rule 27: sync runs have no loop of their own; time comes from the background loop."""
    home = ThreadHome()
    rung = threading.Event()
    called: list[int] = []
    assert home.is_here()
    home.post(lambda: called.append(1))
    assert called == [1]
    home.call_later(0, rung.set)
    assert rung.wait(LIMIT)
    assert home.now() >= 0


def test_a_callback_may_be_called_off() -> None:
    """Rule 18: a call that ends in time is not ended again, whenever it was called off."""
    home, called = ThreadHome(), []
    settled = threading.Event()
    early = home.call_later(0.0, lambda: called.append("early"))
    # Called off in the loop's own thread before the timer can be armed, and after it was.
    armed = home.call_later(3600, lambda: called.append("armed"))

    def later() -> None:
        armed()
        background_loop().call_soon(settled.set)

    blocked = threading.Event()
    off = threading.Event()
    background_loop().call_soon_threadsafe(blocked.wait, LIMIT)
    never_armed = home.call_later(0, lambda: called.append("never"))
    never_armed()
    off.set()
    blocked.set()
    background_loop().call_soon_threadsafe(later)
    assert settled.wait(LIMIT)
    early()
    assert set(called) <= {"early"}


# -- the pool -----------------------------------------------------------------------------------


def test_a_pool_gives_results_and_errors() -> None:
    """The pool is an ordinary `concurrent.futures` executor."""
    pool = WorkerPool()
    assert pool.submit(divmod, 7, 2).result(LIMIT) == (3, 1)
    with pytest.raises(ZeroDivisionError):
        pool.submit(divmod, 1, 0).result(LIMIT)
    NAME.set("caller")
    assert pool.submit(NAME.get).result(LIMIT) == "caller"


def test_a_pool_grows_with_the_work() -> None:
    """Rule 1: many blocked tools run side by side, more than the processors."""
    pool, together = WorkerPool(), threading.Barrier(40)
    futures = [pool.submit(together.wait, LIMIT) for _ in range(40)]
    assert sorted(future.result(LIMIT) for future in futures) == list(range(40))


def test_a_pool_keeps_to_its_limit() -> None:
    """Memory: work beyond the limit queues."""
    pool, go = WorkerPool(limit=2), threading.Event()
    futures = [pool.submit(go.wait, LIMIT) for _ in range(10)]
    assert pool._threads == 2
    go.set()
    assert all(future.result(LIMIT) for future in futures)


def test_nested_work_finds_a_thread_at_the_limit() -> None:
    """Rule 7: tools that run graphs of their own do not wait for each other for ever."""
    pool = WorkerPool(limit=1)

    def nested(depth: int) -> int:
        return 1 + pool.submit(nested, depth - 1).result(LIMIT) if depth else 0

    assert pool.submit(nested, 20).result(LIMIT) == 20


def test_nested_work_does_not_queue_behind_other_work() -> None:
    """Rule 7: a tool's own tools start although others queue for the pool."""
    pool, queued, release = WorkerPool(limit=1), threading.Event(), threading.Event()

    def outer() -> str:
        assert queued.wait(LIMIT)
        return pool.submit(str, "inner").result(2)

    first = pool.submit(outer)
    other = pool.submit(release.wait, LIMIT)
    queued.set()
    try:
        assert first.result(LIMIT) == "inner"
    finally:
        release.set()
        other.result(LIMIT)


def test_idle_threads_end() -> None:
    """Rule 19: no thread remains for long, and the pool works on."""
    pool = WorkerPool(idle_seconds=0.001)
    workers: list[Any] = [pool.submit(threading.current_thread).result(LIMIT) for _ in range(3)]
    for worker in workers:
        worker.join(LIMIT)
        assert not worker.is_alive()
        assert worker.daemon
    assert pool._threads == 0
    assert pool.submit(int, "7").result(LIMIT) == 7


def test_cancelled_work_does_not_run() -> None:
    """Work that was cancelled while it queued is passed over."""
    pool, go, ran = WorkerPool(limit=1), threading.Event(), []
    first = pool.submit(go.wait, LIMIT)
    second = pool.submit(ran.append, 1)
    assert second.cancel()
    go.set()
    assert first.result(LIMIT)
    assert pool.submit(len, ran).result(LIMIT) == 0


def test_what_is_shared_by_the_process() -> None:
    """One pool and one background loop serve every node."""
    assert worker_pool() is worker_pool()
    assert background_loop() is background_loop()
    assert background_loop().is_running()
