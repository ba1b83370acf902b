"""Tests of what the end of the process does about tools that still run in threads."""

from __future__ import annotations

import logging
import queue
import threading
from collections.abc import Callable, Iterator
from typing import Any
from weakref import WeakSet

import pytest

from langchain_asyncfc.executors import WorkerPool, threads, wait_at_exit

PATIENCE = 20.0  # seconds until a hung thread fails a test; never waited for otherwise


class Pool(WorkerPool):
    """A pool that says when somebody waits for it."""

    def __init__(self, waiting: Callable[[], None] = lambda: None) -> None:
        super().__init__()
        self.waited: list[float | None] = []
        self._waiting = waiting

    def rest(self, timeout: float | None) -> int:
        """Wait until no work is left."""
        self.waited.append(timeout)
        self._waiting()
        return super().rest(timeout)


@pytest.fixture(autouse=True)
def pools(monkeypatch: pytest.MonkeyPatch) -> WeakSet[WorkerPool]:
    """The pools of the process: none but a test's own. The time of an exit is as at its begin."""
    own: WeakSet[WorkerPool] = WeakSet()
    monkeypatch.setattr(threads, "_pools", own)
    monkeypatch.setattr(threads, "_exit_seconds", threads._EXIT_SECONDS)
    return own


@pytest.fixture
def go() -> Iterator[threading.Event]:
    """What tools wait for."""
    event = threading.Event()
    yield event
    event.set()


def said(caplog: pytest.LogCaptureFixture) -> list[str]:
    """What was warned of."""
    return [r.getMessage() for r in caplog.records if r.levelno >= logging.WARNING]


# -- rest -----------------------------------------------------------------------------------------


def test_a_pool_without_work_is_at_rest() -> None:
    """Nobody waits where there is nothing to wait for."""
    assert WorkerPool().rest(None) == 0
    pool = WorkerPool()
    assert pool.submit(int, "7").result(PATIENCE) == 7
    assert pool.rest(PATIENCE) == 0


def test_a_pool_is_at_rest_when_its_work_has_ended(go: threading.Event) -> None:
    """Queued work counts like running work, and so does work that fails."""
    pool = WorkerPool(limit=1)
    ran: list[int] = []
    pool.submit(go.wait, PATIENCE)
    pool.submit(divmod, 1, 0)
    pool.submit(ran.append, 1)
    assert pool.rest(0) == 3
    go.set()
    assert pool.rest(PATIENCE) == 0
    assert ran == [1]


def test_cancelled_work_is_no_work(go: threading.Event) -> None:
    """What was cancelled while it queued does not keep the pool from its rest."""
    pool = WorkerPool(limit=1)
    pool.submit(go.wait, PATIENCE)
    assert pool.submit(divmod, 1, 0).cancel()
    go.set()
    assert pool.rest(PATIENCE) == 0


# -- the exit -------------------------------------------------------------------------------------


def test_the_exit_waits_for_a_tool(go: threading.Event, caplog: pytest.LogCaptureFixture) -> None:
    """What runs is not cut off in the middle, if it ends in time."""
    pool, ended = Pool(go.set), []

    def write() -> None:
        assert go.wait(PATIENCE)
        ended.append("written")

    pool.submit(write)
    threads._exit()
    assert ended == ["written"]
    assert said(caplog) == []
    ((timeout),) = pool.waited
    assert timeout == pytest.approx(2.0, abs=0.5)


def test_a_tool_that_hangs_does_not_keep_the_process(
    go: threading.Event, caplog: pytest.LogCaptureFixture
) -> None:
    """0 does not wait; a warning says how many tools were cut off."""
    first, second = Pool(), Pool()
    first.submit(go.wait, PATIENCE)
    second.submit(go.wait, PATIENCE)
    second.submit(go.wait, PATIENCE)
    wait_at_exit(0)
    threads._exit()
    (text,) = said(caplog)
    assert text.startswith("3 sync tool(s) still ran 0 seconds after")
    assert (first.waited, second.waited) == ([0.0], [0.0])


def test_the_exit_may_wait_for_ever(go: threading.Event, caplog: pytest.LogCaptureFixture) -> None:
    """`None` has no limit."""
    pool = Pool(go.set)
    pool.submit(go.wait, PATIENCE)
    wait_at_exit(None)
    threads._exit()
    assert pool.waited == [None]
    assert said(caplog) == []


def test_all_pools_share_the_time_of_the_exit(pools: WeakSet[WorkerPool]) -> None:
    """The limit is one of the process, whatever the number of pools."""
    made = [Pool() for _ in range(3)]
    assert set(pools) == set(made)
    wait_at_exit(1000.0)
    threads._exit()
    waited = [timeout for pool in made for timeout in pool.waited]
    assert len(waited) == 3
    assert all(timeout is not None and 900 < timeout <= 1000 for timeout in waited)


def test_an_exit_that_is_interrupted(go: threading.Event, caplog: pytest.LogCaptureFixture) -> None:
    """Whoever cannot wait says so with Ctrl-C, and sees no traceback."""

    def interrupt() -> None:
        raise KeyboardInterrupt

    pool = Pool(interrupt)
    pool.submit(go.wait, PATIENCE)
    threads._exit()
    assert len(pool.waited) == 1
    assert said(caplog) == []


@pytest.mark.parametrize("seconds", [-1, -0.001, float("nan")])
def test_a_time_that_is_none(seconds: float) -> None:
    """A negative time is refused, and changes nothing."""
    with pytest.raises(ValueError, match="must not be negative"):
        wait_at_exit(seconds)
    assert threads._exit_seconds == threads._EXIT_SECONDS


# -- idle threads ---------------------------------------------------------------------------------


def test_work_that_comes_in_when_a_thread_was_about_to_end() -> None:
    """It counted on the idle thread, so no other one was started; the thread takes it."""
    pool = WorkerPool(idle_seconds=0.001)
    late: list[Any] = []

    class Queue(queue.SimpleQueue[Any]):
        def get(self, block: bool = True, timeout: float | None = None) -> Any:
            try:
                return super().get(block, timeout)
            except queue.Empty:
                if not late:
                    late.append(pool.submit(threading.current_thread))
                raise

    pool._work = Queue()
    first = pool.submit(threading.current_thread).result(PATIENCE)
    first.join(PATIENCE)
    assert not first.is_alive()
    assert late[0].result(0) is first
    assert pool._threads == 0
