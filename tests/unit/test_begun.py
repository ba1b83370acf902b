"""What a scheduler takes up of what began before it was issued, and what it ends."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextvars import copy_context
from typing import Any

import pytest
from langchain_core.messages import ToolCall
from langchain_core.tools import tool
from langgraph.prebuilt import ToolRuntime
from langgraph.prebuilt.tool_node import ToolCallRequest

from langchain_asyncfc.begun import Begun, await_ends
from langchain_asyncfc.calls import Call, read_call
from langchain_asyncfc.effects import Effects
from langchain_asyncfc.executors import LoopHome, TaskExecutor
from langchain_asyncfc.futures import FutureState, Outcome
from langchain_asyncfc.invocations import Invocation
from langchain_asyncfc.scheduler import Lane, Scheduler, ToolFuture
from langchain_asyncfc.testing import ManualExecutor, in_virtual_time
from langchain_asyncfc.toolbox import ToolFacts

READS = Effects(reads="fs:/a")
WRITES = Effects(writes="fs:/a")
LANE = Lane()


class Runs:
    """A tool that says how often it runs."""

    def __init__(self) -> None:
        self.count = 0

        @tool
        async def look(x: int = 0) -> str:
            """Look."""
            self.count += 1
            await asyncio.sleep(10)
            return "seen"

        self.tool = look

    def facts(self, effects: Effects = READS, timeout: float | None = None) -> ToolFacts:
        return ToolFacts(self.tool, effects, timeout, shareable=effects.writes_nothing)


@pytest.fixture
def runs() -> Iterator[Runs]:
    """A tool that says how often it runs."""
    return Runs()


def make(facts: ToolFacts, ordinal: int = 1, id_: str = "c", **args: Any) -> Call:
    """A call."""
    made = ToolCall(name="look", args=args, id=id_, type="tool_call")
    return read_call(ordinal, made, facts)


def new_scheduler(executor: Any = None) -> Scheduler:
    """A scheduler on the running loop."""
    loop = asyncio.get_running_loop()
    return Scheduler(executor or TaskExecutor(loop), LoopHome(loop), "key")


def begin(scheduler: Scheduler, call: Call, lane: Lane = LANE) -> Begun | None:
    """Have a call begin, if it may."""
    return scheduler.begin(call, lane, lambda begun: begun.start_task({}))


def invocation(call: Call) -> Invocation:
    """Runs a call as `ToolNode` does, without what it does around the tool."""
    runtime: Any = ToolRuntime(
        state={}, context=None, config={}, stream_writer=print, tool_call_id="c", store=None
    )
    request = ToolCallRequest(call.tool_call, call.facts.tool, {}, runtime)

    async def execute(request: ToolCallRequest) -> Any:
        assert request.tool is not None
        return await request.tool.ainvoke({**request.tool_call, "type": "tool_call"}, {})

    return Invocation(request, execute, None, False, tool=call.facts.tool)


def issue(
    scheduler: Scheduler,
    call: Call,
    message: str = "m",
    *,
    provide: bool = True,
    lane: Lane = LANE,
) -> ToolFuture:
    """Issue a call, and say how it is run."""
    (future,) = scheduler.issue(message, [call], lane, {}.__getitem__)
    if provide:
        scheduler.provide(future, invocation(call), copy_context())
    return future


async def finished(scheduler: Scheduler, future: ToolFuture) -> Outcome:
    """The outcome of a future."""
    ended = asyncio.Event()
    if scheduler.when_done(future, ended.set):
        await ended.wait()
    assert future.outcome is not None
    return future.outcome


@in_virtual_time
async def test_what_began_is_taken_up(runs: Runs) -> None:
    """The tool runs once, and ends ten seconds after it began."""
    scheduler = new_scheduler()
    begun = begin(scheduler, make(runs.facts()))
    assert begun is not None
    await asyncio.sleep(4)
    future = issue(scheduler, make(runs.facts()))
    outcome = await finished(scheduler, future)
    assert (outcome.state, outcome.value) == (FutureState.RESOLVED, "seen")
    assert runs.count == 1
    assert asyncio.get_running_loop().time() == 10
    assert future.seconds == 10
    assert not scheduler.end_begun()


@pytest.mark.parametrize(
    "other",
    [
        {"id_": "other"},
        {"x": 1},
        {"x": True},
        {"x": 0.0},
    ],
)
@in_virtual_time
async def test_only_the_same_call_takes_it_up(runs: Runs, other: dict[str, Any]) -> None:
    """Another id or argument is another call, also where Python calls the arguments equal."""
    scheduler = new_scheduler()
    begun = begin(scheduler, make(runs.facts(), x=0))
    assert begun is not None
    await asyncio.sleep(1)
    future = issue(scheduler, make(runs.facts(), **{"x": 0, **other}))
    assert (await finished(scheduler, future)).state is FutureState.RESOLVED
    assert runs.count == 2
    assert begun.done
    assert not begun.usable


@in_virtual_time
async def test_another_tool_of_the_name_takes_nothing_up(runs: Runs) -> None:
    """A tool may have been replaced since."""
    scheduler = new_scheduler()
    begin(scheduler, make(runs.facts()))
    await asyncio.sleep(1)
    other = Runs()
    await finished(scheduler, issue(scheduler, make(other.facts())))
    assert (runs.count, other.count) == (1, 1)


@in_virtual_time
async def test_a_call_that_is_changed_after_it_was_issued_takes_nothing_up(runs: Runs) -> None:
    """A middleware may edit its arguments when it brings the call."""
    scheduler = new_scheduler()
    begun = begin(scheduler, make(runs.facts(), x=1))
    await asyncio.sleep(1)
    future = issue(scheduler, make(runs.facts(), x=1), provide=False)
    edited = make(runs.facts(), x=2)
    scheduler.provide(future, invocation(edited), copy_context(), edited)
    await finished(scheduler, future)
    assert runs.count == 2
    assert begun is not None
    assert scheduler.end_begun() == []
    assert not begun.usable


@pytest.mark.parametrize("effects", [WRITES, Effects(writes="fs:/b"), Effects()])
@pytest.mark.parametrize("how", ["the same node", "another node", "an earlier run"])
@in_virtual_time
async def test_nothing_is_taken_up_when_another_call_came_between(
    runs: Runs, effects: Effects, how: str
) -> None:
    """It may have written what the call had read; so the call runs after it, anew (rule 6)."""
    scheduler = new_scheduler()
    begun = begin(scheduler, make(runs.facts(), ordinal=2))
    await asyncio.sleep(1)
    between = Runs()
    other = make(between.facts(effects), 1, "b")
    if how == "an earlier run":
        (first,) = scheduler.restore("other message", [(other, None)], LANE, {}.__getitem__)
        scheduler.provide(first, invocation(other), copy_context())
    else:
        lane = LANE if how == "the same node" else Lane()
        first = issue(scheduler, other, "other message", lane=lane)
    await finished(scheduler, first)
    future = issue(scheduler, make(runs.facts(), ordinal=2))
    assert begun is not None
    assert not begun.usable
    await finished(scheduler, future)
    assert (between.count, runs.count) == (1, 2)


@in_virtual_time
async def test_two_nodes_take_up_their_calls_of_one_message(runs: Runs) -> None:
    """What the one issues first is no reason to end what has begun for the other."""
    scheduler = new_scheduler()
    lanes = [LANE, Lane()]
    calls = [make(runs.facts(), n, f"c{n}", x=n) for n in (1, 2)]
    for call, lane in zip(calls, lanes, strict=True):
        begin(scheduler, call, lane)
    await asyncio.sleep(1)
    for call, lane in zip(calls, lanes, strict=True):
        await finished(scheduler, issue(scheduler, call, lane=lane))
    assert runs.count == 2


@in_virtual_time
async def test_nothing_is_taken_up_where_the_call_has_to_wait(runs: Runs) -> None:
    """An earlier call of the message as it is issued writes what the call reads."""
    scheduler = new_scheduler()
    begin(scheduler, make(runs.facts(), ordinal=2))
    writer = Runs()
    calls = [make(writer.facts(WRITES), 1, "w"), make(runs.facts(), 2)]
    futures = scheduler.issue("m", calls, LANE, {}.__getitem__)
    for future, call in zip(futures, calls, strict=True):
        scheduler.provide(future, invocation(call), copy_context())
    await finished(scheduler, futures[1])
    assert runs.count == 1, "the first run was ended before it began"
    assert asyncio.get_running_loop().time() == 20


@pytest.mark.parametrize(
    ("pending", "free"),
    [
        (WRITES, False),
        (Effects(writes="fs:"), False),
        (Effects(reads=None, writes=None), False),
        (Effects(fence=True, writes=None, reads=None), False),
        (Effects(writes="fs:/b"), True),
        (Effects(reads="fs:/a"), True),
        (Effects(fence=True), True),
    ],
)
@in_virtual_time
async def test_it_begins_only_where_it_would_start_at_once(
    runs: Runs, pending: Effects, free: bool
) -> None:
    """Unfinished calls that it would wait for keep it from beginning, until they have ended."""
    executor = ManualExecutor()
    scheduler = new_scheduler(executor)
    future = issue(scheduler, make(Runs().facts(pending), 1, "p", x=9), "before")
    begun = begin(scheduler, make(runs.facts(), 2))
    assert (begun is not None) is free
    scheduler._finish(future, Outcome(FutureState.RESOLVED, 1))
    assert begin(scheduler, make(runs.facts(), 2)) is not None
    await await_ends(scheduler.end_begun())


@pytest.mark.parametrize("state", ["interrupted", "interrupting", "ended"])
@in_virtual_time
async def test_nothing_begins_in_a_run_that_is_about_to_stop(runs: Runs, state: str) -> None:
    """Nobody would take it up."""
    scheduler = new_scheduler()
    setattr(scheduler, state, True)
    assert begin(scheduler, make(runs.facts())) is None


@in_virtual_time
async def test_nothing_begins_when_a_call_has_failed_the_run(runs: Runs) -> None:
    """The graph is about to raise its error."""
    scheduler = new_scheduler(ManualExecutor())
    future = issue(scheduler, make(Runs().facts(), 1, "p"), "before")
    scheduler._finish(future, Outcome(FutureState.FAILED, error=ValueError()))
    assert begin(scheduler, make(runs.facts(), 2)) is None


@pytest.mark.parametrize("lane", [Lane(limit=9), Lane(ManualExecutor())])
@in_virtual_time
async def test_nothing_begins_in_a_lane_of_its_own(runs: Runs, lane: Lane) -> None:
    """Neither where only so many calls may run, nor where they run elsewhere."""
    assert begin(new_scheduler(), make(runs.facts()), lane) is None


@in_virtual_time
async def test_what_is_begun_again_runs_on(runs: Runs) -> None:
    """A second stream that makes the very same call finds it running."""
    scheduler = new_scheduler()
    first = begin(scheduler, make(runs.facts()))
    await asyncio.sleep(1)
    assert begin(scheduler, make(runs.facts())) is first
    second = begin(scheduler, make(runs.facts(), x=2))
    assert second is not first
    assert first is not None
    assert not first.usable
    await asyncio.sleep(1)
    assert first.done
    assert runs.count == 2
    await await_ends(scheduler.end_begun())


@in_virtual_time
async def test_the_end_of_the_run_ends_it(runs: Runs) -> None:
    """It is cancelled, can be awaited, and nothing more begins."""
    scheduler = new_scheduler()
    begun = begin(scheduler, make(runs.facts(timeout=5)))
    await asyncio.sleep(1)
    left = scheduler.end_begun()
    assert left == [begun]
    await await_ends(left)
    assert begun is not None
    assert begun.done
    assert scheduler.end_begun() == []
    assert begin(scheduler, make(runs.facts())) is None


@in_virtual_time
async def test_time_runs_from_when_it_began(runs: Runs) -> None:
    """Also for a call that is issued when its time is over."""
    for wait in (0, 3, 8):
        scheduler = new_scheduler()
        start = asyncio.get_running_loop().time()
        begin(scheduler, make(runs.facts(timeout=5)))
        await asyncio.sleep(wait)
        future = issue(scheduler, make(runs.facts(timeout=5)))
        outcome = await finished(scheduler, future)
        assert outcome.state is FutureState.FAILED
        assert "timeout of 5 seconds" in outcome.note
        assert future.finished_at is not None
        assert future.finished_at - start == max(wait, 5)


@in_virtual_time
async def test_cancelling_a_future_ends_what_it_took_up(runs: Runs) -> None:
    """The tool is cancelled, as one that began with its call."""
    scheduler = new_scheduler()
    begun = begin(scheduler, make(runs.facts()))
    await asyncio.sleep(1)
    future = issue(scheduler, make(runs.facts()))
    await asyncio.sleep(1)
    scheduler.cancel([future])
    assert (await finished(scheduler, future)).state is FutureState.CANCELLED
    assert begun is not None
    assert begun.done
    assert runs.count == 1


@in_virtual_time
async def test_cancelling_a_future_that_nobody_came_to_run(runs: Runs) -> None:
    """What began for it is ended with the run."""
    scheduler = new_scheduler()
    begun = begin(scheduler, make(runs.facts()))
    await asyncio.sleep(1)
    scheduler.cancel([issue(scheduler, make(runs.facts()), provide=False)])
    assert scheduler.end_begun() == [begun]
    await await_ends([begun] if begun else [])
    assert begun is not None
    assert begun.done
