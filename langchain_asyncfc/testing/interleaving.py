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
        self._moved = asyncio.Event()

    def budget(self, actor: int) -> int | None:
        """How many steps the actor may take now: 0 for none, `None` for any number."""
        if self._jobs or not self._segments or self._segments[0][0] != actor:
            return 0
        steps: int | None = self._segments[0][1]
        return steps

    async def turn(self, actor: int) -> None:
        """Wait for the actor's turn, or until nothing else can happen."""
        while self.budget(actor) == 0:
            self._moved.clear()
            try:
                async with asyncio.timeout(_PATIENCE):
                    await self._moved.wait()
            except TimeoutError:
                return

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
        self._moved.set()


class _Loop(VirtualTimeLoop):
    """Virtual time, and a gate before each step of a task that belongs to an actor."""

    gate: _Gate | None = None

    def __init__(self) -> None:
        super().__init__()
        self.set_task_factory(_gated_task)  # type: ignore[arg-type]

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
