"""Virtual time: exact durations, real threads and sockets, clear errors, a clean end."""

from __future__ import annotations

import asyncio
import gc
import selectors
import socket
import threading
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import pytest

from langchain_asyncfc.testing import (
    VirtualTimeDeadlock,
    VirtualTimeLoop,
    hold_clock,
    in_virtual_time,
    run_virtual,
)


def now() -> float:
    """The running loop's clock."""
    return asyncio.get_running_loop().time()


@contextmanager
def running(action: Callable[[], object]) -> Iterator[None]:
    """Run `action` in a thread that the loop does not know; joined at the end."""
    thread = threading.Thread(target=action)
    thread.start()
    try:
        yield
    finally:
        thread.join()


class IdleAware(VirtualTimeLoop):
    """A loop that tells a thread when it has nothing to do, so that the thread comes too late."""

    def __init__(self, **options: Any) -> None:
        self.idle = threading.Event()
        super().__init__(**options)

    def _wait(
        self, selector: selectors.BaseSelector, timeout: float | None
    ) -> list[tuple[selectors.SelectorKey, int]]:
        if timeout != 0:
            self.idle.set()
        return super()._wait(selector, timeout)


class TestClock:
    """What moves the clock, and how far."""

    @in_virtual_time
    async def test_starts_at_zero(self) -> None:
        """A new loop's clock stands at 0."""
        assert now() == 0.0

    @pytest.mark.parametrize("seconds", [1e-6, 0.1, 3600.0, 100_000.0])
    @in_virtual_time
    async def test_sleeping_is_exact(self, seconds: float) -> None:
        """A sleep moves the clock by exactly its length, also beyond asyncio's longest select."""
        await asyncio.sleep(seconds)
        assert now() == seconds

    @in_virtual_time
    async def test_sleeps_add_up_as_floats_do(self) -> None:
        """A chain of sleeps ends at the sum of its lengths, to the last bit."""
        expected = 0.0
        for seconds in [0.1, 0.2, 1 / 3, 3600.0, 1e-3]:
            await asyncio.sleep(seconds)
            expected += seconds
            assert now() == expected

    @in_virtual_time
    async def test_decades_pass(self) -> None:
        """A clock far beyond the resolution of nanoseconds still finds its timers due."""
        await asyncio.sleep(1e9)
        await asyncio.sleep(1.5)
        assert now() == 1e9 + 1.5

    @in_virtual_time
    async def test_order_is_that_of_real_time(self) -> None:
        """Concurrent sleepers wake in the order of their deadlines, each at its own."""
        woken: list[tuple[float, int]] = []

        async def sleeper(number: int, seconds: float) -> None:
            await asyncio.sleep(seconds)
            woken.append((now(), number))

        await asyncio.gather(sleeper(1, 30), sleeper(2, 10), sleeper(3, 20), sleeper(4, 10))
        assert woken == [(10, 2), (10, 4), (20, 3), (30, 1)]

    def test_cancelled_timers_do_not_move_the_clock(self) -> None:
        """The clock jumps to the next timer that is still wanted, not to a cancelled one."""
        stops: list[float] = []

        class Recording(VirtualTimeLoop):
            def _jump(self) -> None:
                super()._jump()
                stops.append(self.time())

        async def main() -> None:
            loop = asyncio.get_running_loop()
            for seconds in (1, 2, 6):
                loop.call_later(seconds, stops.clear).cancel()
            loop.call_at(5, int)
            await asyncio.sleep(7)

        with asyncio.Runner(loop_factory=Recording) as runner:
            runner.run(main())
        assert stops == [5, 7]

    @in_virtual_time
    async def test_many_cancelled_timeouts_do_not_pile_up(self) -> None:
        """Timers that were set and cancelled are forgotten, so that long runs do not grow."""
        loop = asyncio.get_running_loop()
        assert isinstance(loop, VirtualTimeLoop)
        sleeper = asyncio.create_task(asyncio.sleep(60))
        for _ in range(1000):
            async with asyncio.timeout(3600):
                await asyncio.sleep(0)
        assert len(loop._timers) < 200
        await sleeper
        assert now() == 60

    @in_virtual_time
    async def test_computing_takes_no_time(self) -> None:
        """Any number of turns of the loop passes at one instant."""
        for _ in range(100):
            await asyncio.sleep(0)
        assert now() == 0.0


class TestThreads:
    """Thread jobs take no virtual time."""

    @in_virtual_time
    async def test_a_job_takes_no_virtual_time(self) -> None:
        """While a job is awaited the clock stands still, although a timer is set."""
        released = threading.Event()

        def job() -> str:
            # The loop is inside of its real wait by now or soon; either way it must not jump.
            assert released.wait(10)
            return "done"

        ticks: list[float] = []
        loop = asyncio.get_running_loop()
        loop.call_later(3600, lambda: ticks.append(now()))
        loop.call_soon(lambda: loop.call_soon(released.set))
        assert await asyncio.to_thread(job) == "done"
        assert (now(), ticks) == (0.0, [])
        await asyncio.sleep(3600)
        assert (now(), ticks) == (3600.0, [3600.0])

    @in_virtual_time
    async def test_any_executor_counts(self) -> None:
        """An executor of one's own holds the clock too, for queued jobs as well as running ones."""
        loop = asyncio.get_running_loop()
        with ThreadPoolExecutor(1) as pool:
            jobs = [loop.run_in_executor(pool, pow, 2, n) for n in range(50)]
            sleeper = asyncio.create_task(asyncio.sleep(60))
            assert await asyncio.gather(*jobs) == [2**n for n in range(50)]
            assert now() == 0.0
        await sleeper
        assert now() == 60.0

    @in_virtual_time
    async def test_a_failed_job_releases_the_clock(self) -> None:
        """A job that raises gives its error to the caller and lets time go on."""
        with pytest.raises(ZeroDivisionError):
            await asyncio.to_thread(lambda: 1 / 0)
        await asyncio.sleep(5)
        assert now() == 5.0

    @in_virtual_time
    async def test_a_cancelled_job_releases_the_clock(self) -> None:
        """A job that nobody waits for any more does not hold the clock, although it runs on."""
        loop = asyncio.get_running_loop()
        running, released = asyncio.Event(), threading.Event()

        def job() -> None:
            loop.call_soon_threadsafe(running.set)
            released.wait(10)

        task = asyncio.create_task(asyncio.to_thread(job))
        await running.wait()
        task.cancel()
        try:
            await asyncio.sleep(5)
            assert now() == 5.0
        finally:
            released.set()

    @in_virtual_time
    async def test_a_known_job_can_call_back(self) -> None:
        """A job's `call_soon_threadsafe` reaches the loop at the instant at which the job runs."""
        loop = asyncio.get_running_loop()
        called: asyncio.Future[float] = loop.create_future()
        await asyncio.gather(
            asyncio.to_thread(loop.call_soon_threadsafe, lambda: called.set_result(now())),
            asyncio.sleep(9),
        )
        assert called.result() == 0.0

    def test_a_foreign_thread_is_waited_for_when_asked(self) -> None:
        """With `foreign_threads` an idle loop waits for a thread that it does not know."""

        async def main() -> str:
            loop = asyncio.get_running_loop()
            assert isinstance(loop, IdleAware)
            answer: asyncio.Future[str] = loop.create_future()
            with running(
                lambda: loop.idle.wait(10) and loop.call_soon_threadsafe(answer.set_result, "hello")
            ):
                return await answer

        with asyncio.Runner(loop_factory=lambda: IdleAware(foreign_threads=True)) as runner:
            assert runner.run(main()) == "hello"

    def test_hold_clock_waits_for_a_foreign_thread(self) -> None:
        """Inside of `hold_clock` the loop waits for any thread, and no timer fires meanwhile."""

        async def main() -> tuple[str, float]:
            loop = asyncio.get_running_loop()
            answer: asyncio.Future[str] = loop.create_future()
            timer = asyncio.create_task(asyncio.sleep(60))
            assert isinstance(loop, IdleAware)
            with (
                running(
                    lambda: (
                        loop.idle.wait(10) and loop.call_soon_threadsafe(answer.set_result, "hello")
                    )
                ),
                hold_clock(),
            ):
                text = await answer
                held_until = now()
            await timer
            assert now() == 60.0
            return text, held_until

        with asyncio.Runner(loop_factory=IdleAware) as runner:
            assert runner.run(main()) == ("hello", 0.0)

    def test_hold_clock_is_harmless_elsewhere(self) -> None:
        """Under an ordinary event loop `hold_clock` does nothing."""

        async def main() -> str:
            with hold_clock():
                return "fine"

        assert asyncio.run(main()) == "fine"

    def test_hold_clock_needs_a_loop(self) -> None:
        """Without a running loop there is no clock to hold."""
        with pytest.raises(RuntimeError, match="no running event loop"), hold_clock():
            pass  # pragma: no cover


class TestSockets:
    """Real I/O is seen."""

    @in_virtual_time
    async def test_real_sockets_are_polled(self) -> None:
        """Bytes on a real socket are seen before the clock jumps to a timer."""
        here, there = socket.socketpair()
        reader, writer = await asyncio.open_connection(sock=here)
        peer_reader, peer_writer = await asyncio.open_connection(sock=there)

        async def echo() -> None:
            peer_writer.write(await peer_reader.readexactly(4))
            await peer_writer.drain()

        echoing = asyncio.create_task(echo())
        writer.write(b"ping")
        async with asyncio.timeout(30):
            assert await reader.readexactly(4) == b"ping"
        assert now() == 0.0
        await echoing
        for stream in (writer, peer_writer):
            stream.close()
            await stream.wait_closed()

    def test_an_open_socket_is_waited_for(self) -> None:
        """An idle loop with a real socket waits for it: that is no deadlock."""

        async def main() -> None:
            loop = asyncio.get_running_loop()
            assert isinstance(loop, IdleAware)
            here, there = socket.socketpair()
            reader, writer = await asyncio.open_connection(sock=here)
            with running(lambda: there.send(b"pong" if loop.idle.wait(10) else b"")):
                assert await reader.readexactly(4) == b"pong"
            there.close()
            writer.close()
            await writer.wait_closed()

        with asyncio.Runner(loop_factory=IdleAware) as runner:
            runner.run(main())

    def test_selector_modify_and_unregister_reach_the_platform(self) -> None:
        """A socket that is watched for reading and writing is watched for each on its own."""

        async def main() -> list[str]:
            loop = asyncio.get_running_loop()
            here, there = socket.socketpair()
            seen: list[str] = []
            done: asyncio.Future[None] = loop.create_future()

            def on_write() -> None:
                seen.append("writable")
                loop.remove_writer(here)
                there.sendall(b"x")

            def on_read() -> None:
                seen.append("readable")
                loop.remove_reader(here)
                done.set_result(None)

            loop.add_reader(here, on_read)
            loop.add_writer(here, on_write)
            await done
            here.close()
            there.close()
            return seen

        assert run_virtual(main()) == ["writable", "readable"]


class TestErrors:
    """What cannot go on is an error."""

    def test_a_deadlock_is_an_error_that_names_the_tasks(self) -> None:
        """Where a real loop would hang for ever, the error says at which time, and who waits."""

        async def main() -> None:
            await asyncio.sleep(12)
            await asyncio.create_task(asyncio.Event().wait(), name="the one that waits")

        with pytest.raises(VirtualTimeDeadlock, match="the one that waits") as caught:
            run_virtual(main())
        assert "virtual time 12 s" in str(caught.value)

    def test_a_deadlock_cancels_the_coroutine(self) -> None:
        """A deadlocked coroutine runs its cleanup before the error is raised."""
        cleaned: list[bool] = []

        async def main() -> None:
            try:
                await asyncio.Event().wait()
            finally:
                await asyncio.sleep(1)
                cleaned.append(True)

        with pytest.raises(VirtualTimeDeadlock):
            run_virtual(main())
        assert cleaned == [True]

    @pytest.mark.parametrize("max_wait", [7.0, None])
    def test_the_real_wait_is_as_long_as_asked(self, max_wait: float | None) -> None:
        """`max_wait` is what the platform's selector is told, after a look without waiting."""
        asked: list[float | None] = []
        event = (selectors.SelectorKey(0, 0, 0, None), 0)

        class Fake(selectors.SelectSelector):
            def select(self, timeout: float | None = None) -> Any:
                asked.append(timeout)
                return [event] if timeout != 0 else []

        loop = VirtualTimeLoop(max_wait=max_wait)
        with loop.hold_clock(), Fake() as fake:
            assert loop._wait(fake, 3600) == [event]
        loop.close()
        assert asked == [0, max_wait]

    @pytest.mark.parametrize("foreign_threads", [True, False])
    def test_a_real_wait_has_an_end(self, foreign_threads: bool) -> None:
        """A thread that never answers is an error after `max_wait`, not a hanging test."""

        async def main() -> None:
            with hold_clock():
                await asyncio.Event().wait()

        with pytest.raises(VirtualTimeDeadlock, match=r"in 0\.01 s of wall time, while 1 "):
            run_virtual(main(), foreign_threads=foreign_threads, max_wait=0.01)

    def test_the_timeout_is_virtual(self) -> None:
        """A coroutine that needs more virtual seconds than allowed is cancelled at the limit."""
        ended: list[float] = []

        async def main() -> None:
            try:
                await asyncio.sleep(100)
            finally:
                ended.append(now())

        with pytest.raises(TimeoutError):
            run_virtual(main(), timeout=99)
        assert ended == [99.0]
        run_virtual(main(), timeout=101)
        assert ended == [99.0, 100.0]

    def test_only_a_coroutine_can_be_run(self) -> None:
        """A function that was not called is refused with a clear error."""

        async def main() -> None: ...

        with pytest.raises(TypeError, match="needs a coroutine"):
            run_virtual(main)  # type: ignore[arg-type]

    def test_no_loop_inside_of_a_loop(self) -> None:
        """Inside of a running loop the call is refused and the coroutine is closed."""

        async def inner() -> None: ...

        async def outer() -> None:
            with pytest.raises(RuntimeError, match="while an event loop is running"):
                run_virtual(inner())
            gc.collect()  # A coroutine that was never awaited would warn here.

        run_virtual(outer())

    def test_exceptions_come_through(self) -> None:
        """What the coroutine raises is what the caller gets."""

        async def main() -> None:
            await asyncio.sleep(1)
            raise KeyError("mine")

        with pytest.raises(KeyError, match="mine"):
            run_virtual(main())


class TestEnd:
    """The end is as clean as that of `asyncio.run`."""

    def test_returns_the_result(self) -> None:
        """The value of the coroutine is the value of the run."""

        async def main() -> int:
            await asyncio.sleep(1)
            return 42

        assert run_virtual(main()) == 42

    def test_remaining_tasks_are_cancelled_and_awaited(self) -> None:
        """A background task is cancelled at the end and finishes its cleanup."""
        log: list[str] = []

        async def background() -> None:
            try:
                await asyncio.sleep(1e6)
            except asyncio.CancelledError:
                await asyncio.sleep(10)
                log.append("cleaned up")
                raise

        async def main() -> asyncio.Task[None]:
            task = asyncio.create_task(background())
            await asyncio.sleep(1)
            return task

        task = run_virtual(main())
        assert task.cancelled()
        assert log == ["cleaned up"]

    def test_async_generators_are_closed(self) -> None:
        """An async generator that was left half-way is closed while the loop still runs."""
        log: list[str] = []

        async def numbers() -> AsyncIterator[int]:
            try:
                yield 1
                yield 2  # pragma: no cover
            finally:
                await asyncio.sleep(1)
                log.append("closed")

        kept: list[AsyncIterator[int]] = []

        async def main() -> None:
            kept.append(numbers())
            await anext(kept[0])

        run_virtual(main())
        assert log == ["closed"]

    def test_loop_and_threads_are_gone(self) -> None:
        """The loop is closed, its threads have ended, and no resource is left to warn about."""
        before = threading.active_count()

        async def main() -> tuple[asyncio.AbstractEventLoop, selectors.BaseSelector]:
            await asyncio.gather(*(asyncio.to_thread(int) for _ in range(8)))
            loop: Any = asyncio.get_running_loop()
            assert len(loop._selector.get_map()) == 1
            return loop, loop._selector

        loop, selector = run_virtual(main())
        assert loop.is_closed()
        assert selector.get_map() is None
        assert threading.active_count() == before
        del loop
        gc.collect()  # An unclosed loop or selector would warn here.

    def test_running_jobs_are_joined(self) -> None:
        """A job that still runs at the end is waited for, as `asyncio.run` does."""
        finished: list[bool] = []
        released = threading.Event()

        async def main() -> None:
            loop = asyncio.get_running_loop()
            running = asyncio.Event()

            def job() -> None:
                loop.call_soon_threadsafe(running.set)
                released.wait(10)
                finished.append(True)

            task = asyncio.create_task(asyncio.to_thread(job))
            await running.wait()
            task.cancel()
            threading.Timer(0, released.set).start()

        run_virtual(main())
        assert finished == [True]


class TestDecorator:
    """`in_virtual_time` and its neighbours."""

    def test_keeps_name_doc_and_signature(self) -> None:
        """What pytest looks at (name, docstring, signature) is that of the async function."""

        @in_virtual_time
        async def example(fixture: int) -> int:
            """An example."""
            await asyncio.sleep(1)
            return fixture + 1

        assert (example.__name__, example.__doc__) == ("example", "An example.")
        assert not asyncio.iscoroutinefunction(example)
        assert example(1) == 2

    def test_takes_the_options_of_run_virtual(self) -> None:
        """Options are handed on: here the limit in virtual seconds."""

        @in_virtual_time(timeout=10)
        async def example(seconds: float) -> float:
            await asyncio.sleep(seconds)
            return now()

        assert example(9) == 9.0
        with pytest.raises(TimeoutError):
            example(11)

    @in_virtual_time
    async def test_fixtures_arrive(self, a_fixture: str) -> None:
        """Fixtures are passed to a decorated test."""
        await asyncio.sleep(3600)
        assert a_fixture == "value"

    @pytest.mark.asyncio
    async def test_plain_asyncio_tests_are_untouched(self) -> None:
        """A test under pytest-asyncio runs on an ordinary loop next to decorated ones."""
        assert not isinstance(asyncio.get_running_loop(), VirtualTimeLoop)


@pytest.fixture
def a_fixture() -> str:
    """A value to be passed through the decorator."""
    return "value"


def test_a_loop_of_ones_own_works_with_asyncio_runner() -> None:
    """`VirtualTimeLoop` is a loop factory for `asyncio.Runner`, without `run_virtual`."""

    async def main(work: Callable[[], Awaitable[None]]) -> float:
        await work()
        return now()

    with asyncio.Runner(loop_factory=VirtualTimeLoop) as runner:
        assert runner.run(main(lambda: asyncio.sleep(3600))) == 3600.0
