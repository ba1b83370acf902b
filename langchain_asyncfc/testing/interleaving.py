"""Run calls against each other in an order that a schedule says, down to single steps.

A step of a coroutine is what runs between two of its suspensions, in whatever task of its own it
does so. A step of a plain function is a line of the user's own code; it runs in a thread that is
stopped before each line. One step runs at a time, so a schedule gives the same run each time.

A call that waits for another one (for a lock, say) cannot take its turn. Then the other is let
through, out of order: a schedule that is impossible becomes one that is not.

Source: schedules with few switches find most races; Musuvathi and Qadeer, "Iterative context
bounding for systematic testing of multithreaded programs" (PLDI 2007).
"""

from __future__ import annotations

import asyncio
import contextvars
import itertools
import sys
import sysconfig
import threading
import types
from collections.abc import Awaitable, Callable, Coroutine, Generator, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, TypeAlias

from langchain_asyncfc.testing.virtual_time import VirtualTimeLoop

__all__ = ["Actor", "Schedule", "interleave", "run_on_loop", "schedules"]

Schedule: TypeAlias = tuple[tuple[int, int | None], ...]
"""Who runs for how many steps, in order; `None` until the end. What is left over runs after it."""

_PATIENCE: Final = 1e6
"""Virtual seconds that a call waits for its turn: more than any tool sleeps. They cost nothing."""

_BLOCKED: Final = 0.5
"""Seconds of wall time after which a line of a plain function counts as blocked. A slow line that
is taken for one runs on while others take their turns, so only the schedule suffers."""

_STUCK: Final = 60
"""Times of `_BLOCKED` after which a line never ends: half a minute."""

_FOREIGN: Final = (
    *(sysconfig.get_path(name) for name in ("purelib", "platlib", "stdlib", "platstdlib")),
    str(Path(__file__).parents[1]),
    *("<frozen", "<string>", "<attrs"),
)
"""Where code lies whose lines are not steps: libraries, what they generate, and this one."""


@dataclass(frozen=True, slots=True)
class Actor:
    """One call that takes part.

    Attributes:
        run: What it does; a coroutine function, or a plain one that runs in a thread.
        threaded: Whether it is a plain one.
    """

    run: Callable[[], Any]
    threaded: bool


_ACTOR: contextvars.ContextVar[int | None] = contextvars.ContextVar("actor", default=None)


class _Gate:
    """Whose turn it is.

    Attributes:
        taken: How many steps each actor has taken.
    """

    def __init__(self, actors: int, schedule: Schedule) -> None:
        self.taken = [0] * actors
        self._over = [False] * actors
        self._jobs = 0
        ends: Schedule = tuple((actor, None) for actor in range(actors))
        self._segments = [list(segment) for segment in (*schedule, *ends)]
        self._waiting: list[asyncio.Future[None]] = []
        self.clocks = [_Clock() for _ in range(actors)]

    def budget(self, actor: int) -> int | None:
        """How many steps the actor may take now: 0 for none, `None` for any number."""
        if self._jobs or not self._segments or self._segments[0][0] != actor:
            return 0
        steps: int | None = self._segments[0][1]
        return steps

    async def turn(self, actor: int) -> None:
        """Wait for the actor's turn, or until nothing else can happen. Its clock stands still."""
        loop = asyncio.get_running_loop()
        assert isinstance(loop, _Loop)  # noqa: S101 - see `interleave`
        impatient = False

        def lose_patience(moved: asyncio.Future[None]) -> None:
            nonlocal impatient
            impatient = True
            _wake(moved)

        self.clocks[actor].stop(loop.time())
        try:
            while self.budget(actor) == 0 and not impatient:
                moved: asyncio.Future[None] = loop.create_future()
                self._waiting.append(moved)
                timer = loop.call_at_for_all(loop.time() + _PATIENCE, lose_patience, moved)
                try:
                    await moved
                finally:
                    timer.cancel()
        finally:
            self.clocks[actor].go_on(loop.time())

    def took(self, actor: int, steps: int = 1) -> None:
        """Note that the actor has taken steps."""
        self.taken[actor] += steps
        first = self._segments[0] if self._segments else None
        if first and first[0] == actor and first[1] is not None:
            first[1] = max(0, first[1] - steps)
        self._settle()

    def pass_on(self, actor: int) -> None:
        """Let the others go on, since the actor is blocked."""
        if self._segments and self._segments[0][0] == actor:
            self._segments.append(self._segments.pop(0))
        self._settle()

    def end(self, actor: int) -> None:
        """Note that the actor has ended."""
        self._over[actor] = True
        self._settle()

    def job(self, change: int) -> None:
        """Note that a job in a thread has begun (1) or ended (-1): nobody else runs meanwhile."""
        self._jobs += change
        self._settle()

    def _settle(self) -> None:
        while self._segments and (
            self._over[self._segments[0][0] or 0] or self._segments[0][1] == 0
        ):
            self._segments.pop(0)
        waiting, self._waiting = self._waiting, []
        for moved in waiting:
            _wake(moved)


def _wake(moved: asyncio.Future[None]) -> None:
    if not moved.done():
        moved.set_result(None)


class _Clock:
    """How long an actor was kept waiting for its turn: time that does not count for its timers."""

    def __init__(self) -> None:
        self._kept = 0.0
        self._stops = 0
        self._since = 0.0
        self._due: list[Callable[[], None]] = []

    def stop(self, now: float) -> None:
        """Note that it waits from now on. Several tasks of an actor may do so."""
        if not self._stops:
            self._since = now
        self._stops += 1

    def go_on(self, now: float) -> None:
        """Note that it has its turn. What came due meanwhile is looked at again."""
        self._stops -= 1
        if not self._stops:
            self._kept += now - self._since
            due, self._due = self._due, []
            for look in due:
                look()

    def kept(self, now: float) -> float:
        """Seconds that it was kept waiting until now."""
        return self._kept + (now - self._since if self._stops else 0.0)

    def put_off(self, look: Callable[[], None]) -> bool:
        """Keep something for when it goes on, if it is stopped."""
        if self._stops:
            self._due.append(look)
        return bool(self._stops)


class _Loop(VirtualTimeLoop):
    """Virtual time, and a gate before each step of a task that belongs to an actor."""

    gate: _Gate | None = None

    def __init__(self) -> None:
        super().__init__()
        self.set_task_factory(_gated_task)  # type: ignore[arg-type]

    def call_at(  # type: ignore[override]
        self, when: float, callback: Any, *args: Any, context: Any = None
    ) -> asyncio.TimerHandle:
        """Set a timer; one of an actor's own goes by the time in which it was not kept waiting.

        Else a call that is stopped while another one sleeps would run into its own timeouts, which
        says nothing of labels.
        """
        actor = (context or contextvars.copy_context()).get(_ACTOR)
        gate = self.gate
        if gate is None or actor is None:
            return super().call_at(when, callback, *args, context=context)
        clock = gate.clocks[actor]
        before = clock.kept(self.time())

        def look() -> None:
            nonlocal before
            if timer.cancelled() or clock.put_off(look):
                return
            kept = clock.kept(self.time())
            late, before = kept - before, kept
            if late > 0:
                self.call_at_for_all(self.time() + late, look, context=context)
            else:
                callback(*args)

        timer = self.call_at_for_all(when, look, context=context)
        return timer

    def call_at_for_all(
        self, when: float, callback: Any, *args: Any, context: Any = None
    ) -> asyncio.TimerHandle:
        """Set a timer that goes by the clock that all share."""
        return super().call_at(when, callback, *args, context=context)

    def run_in_executor(  # type: ignore[override]
        self, executor: Any, func: Any, *args: Any
    ) -> asyncio.Future[Any]:
        """Run a job in a thread; for an actor, as a part of its step."""
        future = super().run_in_executor(executor, func, *args)
        gate = self.gate
        if gate is not None and _ACTOR.get() is not None:
            gate.job(1)
            future.add_done_callback(lambda _: gate.job(-1))
        return future


def _gated_task(loop: _Loop, coro: Coroutine[Any, Any, Any], **options: Any) -> asyncio.Task[Any]:
    context = options.get("context")
    actor = _ACTOR.get() if context is None else context.get(_ACTOR)
    if actor is not None and loop.gate is not None:
        coro = _gated(coro, loop.gate, actor)
    return asyncio.Task(coro, loop=loop, **options)


async def _gated(coro: Coroutine[Any, Any, Any], gate: _Gate, actor: int) -> Any:
    return await _steps(coro, gate, actor)


@types.coroutine
def _steps(coro: Coroutine[Any, Any, Any], gate: _Gate, actor: int) -> Generator[Any, Any, Any]:
    """Drive a coroutine, each step at its turn."""
    error: BaseException | None = None
    while True:
        try:
            yield from gate.turn(actor).__await__()
        except BaseException as raised:  # noqa: BLE001 - a cancellation is the coroutine's
            error = raised
        try:
            waits = coro.send(None) if error is None else coro.throw(error)
        except StopIteration as stop:
            return stop.value
        finally:
            gate.took(actor)
        error = None
        try:
            yield waits
        except BaseException as raised:  # noqa: BLE001 - as above
            error = raised


class _Worker:
    """A thread that runs a plain function and stops before each line of the user's code."""

    def __init__(self, run: Callable[[], Any]) -> None:
        self._run = run
        self._state = threading.Condition()
        self._budget: int | None = 0
        self._steps = 0
        self._paused = False
        self.over = False
        self.result: Any = None
        self.error: BaseException | None = None
        self.thread = threading.Thread(
            target=contextvars.copy_context().run, args=(self._main,), daemon=True
        )

    def go(self, budget: int | None) -> None:
        """Let it run so many lines, or to its end."""
        with self._state:
            self._budget = budget
            self._paused = False
            self._state.notify_all()

    def wait(self) -> int:
        """Wait until it stops or is over, or counts as blocked.

        Returns:
            The lines run since the last time.
        """
        with self._state:
            self._state.wait_for(lambda: self._paused or self.over, _BLOCKED)
            steps, self._steps = self._steps, 0
            return steps

    @property
    def at_rest(self) -> bool:
        """Whether it has stopped or is over."""
        return self._paused or self.over

    def _main(self) -> None:
        before = sys.gettrace()
        try:
            self._stop()
            sys.settrace(self._trace)
            self.result = self._run()
        except BaseException as error:  # noqa: BLE001 - handed to who awaits the call
            self.error = error
        finally:
            sys.settrace(before)
            with self._state:
                self._steps += 1
                self.over = True
                self._state.notify_all()

    def _trace(self, frame: types.FrameType, _: str, __: Any) -> Any:
        return None if frame.f_code.co_filename.startswith(_FOREIGN) else self._line

    def _line(self, _: types.FrameType, event: str, __: Any) -> Any:
        if event == "line":
            self._stop()
        return self._line

    def _stop(self) -> None:
        with self._state:
            if self._budget == 0:
                self._paused = True
                self._state.notify_all()
                self._state.wait_for(lambda: self._budget != 0)
            if self._budget is not None:
                self._budget -= 1
            self._steps += 1


async def _threaded(run: Callable[[], Any], gate: _Gate, actor: int) -> Any:
    """Drive a plain function in a thread, each line at its turn."""
    worker = _Worker(run)
    worker.thread.start()
    loop = asyncio.get_running_loop()
    blocked = 0
    try:
        while not worker.over:
            if worker.at_rest:
                await gate.turn(actor)
                budget = gate.budget(actor)
                worker.go(1 if budget == 0 else budget)  # 0: nobody else can go on
            steps = await loop.run_in_executor(None, worker.wait)
            blocked = 0 if worker.at_rest else blocked + 1
            if steps:
                gate.took(actor, steps)
            if blocked:
                gate.pass_on(actor)
            if blocked > _STUCK:
                msg = f"A line of {run!r} does not end."
                raise TimeoutError(msg)
    finally:
        worker.go(None)
    if worker.error is not None:
        raise worker.error
    return worker.result


async def interleave(actors: Sequence[Actor], schedule: Schedule) -> tuple[list[Any], list[int]]:
    """Run calls against each other.

    Must run on the loop of `run_on_loop`.

    Args:
        actors: The calls.
        schedule: Who runs when. What it leaves over runs at the end, in the order of the calls.

    Returns:
        What they returned, an exception for one that raised; and how many steps each took.
    """
    loop = asyncio.get_running_loop()
    assert isinstance(loop, _Loop)  # noqa: S101 - see above
    gate = loop.gate = _Gate(len(actors), schedule)

    async def act(number: int, actor: Actor) -> Any:
        try:
            if actor.threaded:
                return await _threaded(actor.run, gate, number)
            return await _as_actor(loop, actor.run, number)
        except Exception as error:  # noqa: BLE001 - an outcome like any other
            return error
        finally:
            gate.end(number)

    try:
        tasks = [asyncio.ensure_future(act(*each)) for each in enumerate(actors)]
        return list(await asyncio.gather(*tasks)), gate.taken
    finally:
        loop.gate = None


def _as_actor(
    loop: asyncio.AbstractEventLoop, run: Callable[[], Awaitable[Any]], number: int
) -> asyncio.Task[Any]:
    async def main() -> Any:
        return await run()

    context = contextvars.copy_context()
    context.run(_ACTOR.set, number)
    return loop.create_task(main(), context=context)


def run_on_loop(main: Callable[[], Coroutine[Any, Any, Any]]) -> Any:
    """Run a coroutine function on a fresh loop in virtual time, on which `interleave` works.

    Raises:
        RuntimeError: When an event loop runs in this thread already.
    """
    with asyncio.Runner(loop_factory=_Loop) as runner:
        return runner.run(main())


def schedules(steps: Sequence[int], most: int) -> list[Schedule]:
    """Ways to run two calls against each other, those with fewer switches first.

    The first two run them one after the other.

    Args:
        steps: How many steps each takes by itself.
        most: How many ways at most. Where there are more, every second, third, … is taken.
    """
    serial: list[Schedule] = [((0, None), (1, None)), ((1, None), (0, None))]
    once: list[Schedule] = [
        ((actor, steps_before), (1 - actor, None), (actor, None))
        for actor in (0, 1)
        for steps_before in range(1, steps[actor])
    ]
    twice: list[Schedule] = [
        ((actor, first), (1 - actor, second), (actor, None), (1 - actor, None))
        for actor in (0, 1)
        for first, second in itertools.product(range(1, steps[actor]), range(1, steps[1 - actor]))
    ]
    left = max(0, most - len(serial))
    some = list(_thinned(once, left))
    return [*serial, *some, *_thinned(twice, left - len(some))][: max(most, len(serial))]


def _thinned(ways: Sequence[Schedule], most: int) -> Iterator[Schedule]:
    if most > 0:
        yield from ways[:: -(-len(ways) // most) or 1]
