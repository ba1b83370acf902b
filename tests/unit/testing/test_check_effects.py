"""Tests of checking labels by running calls against each other."""

from __future__ import annotations

import asyncio
import functools
import itertools
import threading
from contextlib import asynccontextmanager, contextmanager
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from langchain_core.tools import BaseTool, StructuredTool, ToolException

from langchain_asyncfc import Effects
from langchain_asyncfc.effects import access_of
from langchain_asyncfc.hazards import hazard
from langchain_asyncfc.testing import LabelReport, WrongLabelsError, call, check_effects
from langchain_asyncfc.testing.interleaving import Actor, interleave, run_on_loop, schedules


class KeyValues:
    """A world of numbers by key, with tools that read, write and change them."""

    def __init__(self, *, threads: bool = False) -> None:
        self.values: dict[str, int] = {}
        make = self._plain if threads else self._coroutines
        self.tools: list[BaseTool] = make()

    def fresh(self) -> Any:
        self.values.clear()
        self.values.update(a=1, b=2, c=3)
        return lambda: dict(self.values)

    def _coroutines(self) -> list[BaseTool]:
        async def read(key: str) -> int:
            """Read."""
            await asyncio.sleep(1)
            return self.values.get(key, 0)

        async def write(key: str, value: int) -> str:
            """Write."""
            await asyncio.sleep(2)
            self.values[key] = value
            return "written"

        async def add(key: str, value: int) -> str:
            """Add, with a pause between reading and writing."""
            old = self.values.get(key, 0)
            await asyncio.sleep(1)
            self.values[key] = old + value
            return "added"

        made = [StructuredTool.from_function(coroutine=each) for each in (read, write, add)]
        return list(made)

    def _plain(self) -> list[BaseTool]:
        def read(key: str) -> int:
            """Read."""
            return self.values.get(key, 0)

        def write(key: str, value: int) -> str:
            """Write."""
            self.values[key] = value
            return "written"

        def add(key: str, value: int) -> str:
            """Add, with a line between reading and writing."""
            old = self.values.get(key, 0)
            new = old + value
            self.values[key] = new
            return "added"

        return [StructuredTool.from_function(each) for each in (read, write, add)]


KEY = "kv:{key}"
TRUE = {
    "read": Effects(KEY),
    "write": Effects(writes=KEY),
    "add": Effects(KEY, KEY),
}


@pytest.fixture(params=["coroutines", "threads"])
def world(request: Any) -> KeyValues:
    return KeyValues(threads=request.param == "threads")


def check(world: KeyValues, calls: list[Any], **wrong: Effects) -> LabelReport:
    return check_effects(world.tools, calls, world.fresh, effects={**TRUE, **wrong})


EVERY = [
    call("read", key="a"),
    call("read", key="b"),
    call("write", key="a", value=7),
    call("write", key="b", value=8),
    call("add", key="a", value=10),
    call("add", key="a", value=20),
]


def test_sound_labels_are_not_blamed(world: KeyValues) -> None:
    """With true labels nothing is wrong, and conflicts that matter are not called too strict."""
    report = check(world, EVERY)
    report.assert_sound()
    assert report.wrong == ()
    assert report.unrepeatable == ()
    assert report.pairs == 15
    # Adding commutes one after the other, but not interleaved: so it is no false conflict.
    assert report.perhaps_too_strict == ()


def test_a_reader_that_does_not_say_what_it_reads(world: KeyValues) -> None:
    """A missing read is found by the value that it changes, and the writer's path is enough."""
    report = check(world, EVERY[:3], read=Effects())
    [found] = report.wrong
    assert found.calls == ("read(key='a')", "write(key='a', value=7)")
    assert "read(key='a') gives '7' instead of '1'" in found.why
    assert found.enough == {"read": Effects(reads="kv:a")}
    assert "@effects(reads='kv:a')" in str(report)
    with pytest.raises(WrongLabelsError, match="instead of '1'"):
        report.assert_sound()


def test_a_writer_that_says_it_writes_nothing(world: KeyValues) -> None:
    """What changes the world by itself needs no partner to be found."""
    report = check(world, [call("write", key="a", value=7)], write=Effects())
    [found] = report.wrong
    assert found.calls == ("write(key='a', value=7)",)
    assert "'a' is 1 against 7" in found.why
    assert found.enough == {"write": Effects(writes="world:a")}


def test_a_race_that_serial_runs_do_not_show(world: KeyValues) -> None:
    """Two additions commute one after the other; only interleaving shows the lost update."""
    calls = [call("add", key="a", value=10), call("add", key="a", value=20)]
    report = check(world, calls, add=Effects(KEY, "log:{value}"))
    [found] = report.wrong
    assert "the world differs: 'a' is 31 against" in found.why
    assert "step" in found.why


def test_two_names_for_one_thing(world: KeyValues) -> None:
    """Labels that name one thing in two ways do not meet, and that is seen."""
    report = check(world, EVERY[:3], read=Effects("vk:{key}"))
    assert [found.calls for found in report.wrong] == [("read(key='a')", "write(key='a', value=7)")]


def test_conflicts_without_a_difference_are_for_information(world: KeyValues) -> None:
    """Labels that are too wide are told of, with the hazard, and are no error."""
    calls = [call("read", key="a"), call("write", key="b", value=8)]
    report = check(world, calls, read=Effects("kv:"))
    report.assert_sound()
    [found] = report.perhaps_too_strict
    assert found.calls == ("read(key='a')", "write(key='b', value=8)")
    assert found.hazard == "WAR on kv:/b"
    assert found.runs > 2


def test_undeclared_tools_are_never_wrong(world: KeyValues) -> None:
    """A tool of which nothing is said waits for everything: neither wrong nor too strict."""
    calls = [call("read", key="a"), call("write", key="a", value=7), call("read", key="b")]
    labels = {"read": Effects(KEY), "write": Effects(reads=None, writes=None)}
    report = check_effects(world.tools, calls, world.fresh, effects=labels)
    report.assert_sound()
    assert report.perhaps_too_strict == ()


def test_a_fence_does_not_hold_up_what_comes_later(world: KeyValues) -> None:
    """A fence waits, but nobody waits for it: as an order between two calls it does not count."""
    report = check(world, EVERY[:3], write=Effects(writes="kw:{key}", fence=True))
    assert len(report.wrong) == 1


def test_a_tool_that_is_not_idempotent(world: KeyValues) -> None:
    """`idempotent=True` is held against what a second time does."""
    calls = [call("add", key="a", value=10), call("write", key="a", value=5)]
    labels = {
        "add": Effects(KEY, KEY, idempotent=True),
        "write": Effects(writes=KEY, idempotent=True),
    }
    [found] = check(world, calls, **labels).wrong
    assert found.calls == ("add(key='a', value=10)",)
    assert "'a' is 11 against 21" in found.why
    assert found.enough == {"add": Effects(KEY, KEY)}


def test_one_call_given_twice_meets_itself(world: KeyValues) -> None:
    """A call is tried against itself when it is given twice."""
    twice = [call("add", key="a", value=1), call("add", key="a", value=1)]
    wrong = Effects(writes="log:{value}")
    assert check(world, twice[:1], add=wrong).pairs == 0
    assert check(world, twice, add=Effects("log:", "log:")).wrong == ()


def test_errors_are_outcomes() -> None:
    """What a call raises counts as its result."""
    state: list[int] = []

    def take() -> int:
        """Take the last."""
        if not state:
            raise ToolException("nothing left")
        return state.pop()

    def put() -> str:
        """Put one."""
        state.append(1)
        return "put"

    def fresh() -> Any:
        state.clear()
        return lambda: list(state)

    tools = [StructuredTool.from_function(each) for each in (take, put)]
    labels = {"take": Effects(writes="in:"), "put": Effects(writes="out:")}
    [found] = check_effects(tools, [call("take"), call("put")], fresh, effects=labels).wrong
    assert "ToolException: nothing left" in found.why


def test_a_world_with_chance_is_not_blamed_on_labels() -> None:
    """What differs from run to run by itself is said to be so, and is no label error."""
    numbers = itertools.count()

    def draw() -> int:
        """Draw a number."""
        return next(numbers)

    tools = [StructuredTool.from_function(draw)]
    report = check_effects(tools, [call("draw")], lambda: lambda: 0, effects={"draw": Effects()})
    assert report.wrong == ()
    assert report.unrepeatable == ("draw()",)
    with pytest.raises(WrongLabelsError, match="Not repeatable"):
        report.assert_sound()


def test_forms_of_worlds() -> None:
    """A world may be a function, a context manager or the async forms of both; each is left."""
    world = KeyValues()
    left: list[str] = []

    @contextmanager
    def managed() -> Any:
        yield world.fresh()
        left.append("managed")

    async def awaited() -> Any:
        return world.fresh()

    @asynccontextmanager
    async def async_managed() -> Any:
        snapshot = world.fresh()

        async def take() -> Any:
            return snapshot()

        yield take
        left.append("async")

    for state in (managed, awaited, async_managed):
        report = check_effects(world.tools, EVERY[:3], state, effects=TRUE)
        report.assert_sound()
        assert len(check_effects(world.tools, EVERY[:3], state, effects={}).wrong) == 0
    assert {*left} == {"managed", "async"}


def test_bad_input() -> None:
    """Bad input: a call of an unknown tool, a world without a snapshot, wrong labels."""
    world = KeyValues()
    with pytest.raises(ValueError, match=r"calls has raed\(\), but the tools are read, write, add"):
        check_effects(world.tools, [call("raed")], world.fresh)
    with pytest.raises(TypeError, match=r"state must make a function .*; it made 7"):
        check_effects(world.tools, EVERY[:1], lambda: 7)
    with pytest.raises(ValueError, match="names the argument 'k'"):
        check_effects(world.tools, [], world.fresh, effects={"read": Effects("kv:{k}")})


def test_the_same_report_each_time(world: KeyValues) -> None:
    """A check is deterministic, also with threads."""
    wrong = {"read": Effects(), "add": Effects(writes="log:{value}")}
    reports = [str(check(world, EVERY, **wrong)) for _ in range(2)]
    assert reports[0] == reports[1]


def test_nothing_is_left_running(world: KeyValues) -> None:
    """No thread outlives a check."""
    before = set(threading.enumerate())
    check(world, EVERY)
    assert set(threading.enumerate()) <= before


def test_no_more_runs_than_allowed(world: KeyValues) -> None:
    """`most` limits the runs of a pair, and one after the other always comes first."""
    calls = [call("add", key="a", value=1), call("add", key="b", value=1)]
    report = check_effects(world.tools, calls, world.fresh, effects=TRUE, most=2)
    assert report.runs == 2 * 3 + 2


# -- any world --------------------------------------------------------------------------------

STEPS = st.lists(
    st.tuples(st.sampled_from(["read", "write", "add"]), st.sampled_from("abc")),
    min_size=1,
    max_size=3,
)


def _tool(name: str, steps: list[tuple[str, str]], values: dict[str, int], amount: int) -> BaseTool:
    """A tool that does these steps, with a pause after each."""

    async def run() -> list[int]:
        seen = []
        for what, key in steps:
            old = values[key]
            if what != "write":
                seen.append(old)
            await asyncio.sleep(1)
            if what != "read":
                values[key] = amount if what == "write" else old + amount
        return seen

    return StructuredTool.from_function(coroutine=run, name=name, description="Does its steps.")


def _true_effects(steps: list[tuple[str, str]]) -> Effects:
    reads = sorted({f"kv:{key}" for what, key in steps if what != "write"})
    writes = sorted({f"kv:{key}" for what, key in steps if what != "read"})
    return Effects(reads, writes)


def _without(labels: Effects, path: str) -> Effects:
    return Effects(
        [each for each in labels.reads or () if each != path],
        [each for each in labels.writes or () if each != path],
    )


def _try(one: Any, other: Any, labels: dict[str, Effects]) -> LabelReport:
    values: dict[str, int] = {}
    tools = [_tool("one", one, values, 10), _tool("other", other, values, 200)]

    def fresh() -> Any:
        values.update(a=1, b=2, c=3)
        return lambda: dict(values)

    return check_effects(tools, [call("one"), call("other")], fresh, effects=labels, most=40)


@given(STEPS, STEPS, st.data())
@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_any_two_tools(one: Any, other: Any, data: Any) -> None:
    """Sound labels are never blamed, also too wide ones; a wrong one is, where calls witness it.

    Witness: taking a path away leaves no conflict, and running the two one after the other in both
    orders comes to different ends.
    """
    labels = {"one": _true_effects(one), "other": _true_effects(other)}
    wider = data.draw(st.lists(st.sampled_from(["kv:a", "kv:", "/", "db:"]), max_size=2))
    side = data.draw(st.sampled_from(["one", "other"]))
    loose = Effects((*(labels[side].reads or ()), *wider), labels[side].writes)
    assert _try(one, other, {**labels, side: loose}).wrong == ()

    path = data.draw(st.sampled_from(["kv:a", "kv:b", "kv:c"]))
    tight = {**labels, side: _without(labels[side], path)}
    report = _try(one, other, tight)
    report_pairs = [found for found in report.wrong if len(found.calls) == 2]
    accesses = [access_of(tight[name], {}, frozenset()) for name in ("one", "other")]
    assert accesses[0] is not None
    assert accesses[1] is not None
    conflict = hazard(accesses[0], accesses[1])
    if conflict is not None:
        assert report_pairs == []
    elif _serial(one, other) != _serial(other, one, swapped=True):
        [found] = report_pairs
        _assert_enough(tight, found.enough)
    for found in report_pairs:
        _assert_enough(tight, found.enough)


def _serial(first: Any, second: Any, *, swapped: bool = False) -> Any:
    """The ends of running two lists of steps one after the other, by plain computing."""
    values = {"a": 1, "b": 2, "c": 3}
    seen = []
    amounts = (200, 10) if swapped else (10, 200)
    for steps, amount in zip((first, second), amounts, strict=True):
        mine = []
        for what, key in steps:
            old = values[key]
            if what != "write":
                mine.append(old)
            if what != "read":
                values[key] = amount if what == "write" else old + amount
        seen.append(mine)
    return (seen[::-1] if swapped else seen), values


def _assert_enough(labels: dict[str, Effects], enough: Any) -> None:
    """What a report says is enough makes the two conflict."""
    wider = {**labels, **enough}
    one, other = (access_of(wider[name], {}, frozenset()) for name in ("one", "other"))
    assert one is not None
    assert other is not None
    assert hazard(one, other) is not None


# -- interleaving -----------------------------------------------------------------------------


def test_every_order_of_two_coroutines_with_two_switches() -> None:
    """All orders of two times two steps come up, each by its schedule."""
    log: list[str] = []

    def actor(name: str) -> Actor:
        async def run() -> None:
            log.append(f"{name}1")
            await asyncio.sleep(5)
            log.append(f"{name}2")

        return Actor(run, threaded=False)

    seen = set()
    for way in schedules([2, 2], 100):
        log.clear()
        run_on_loop(lambda w=way: interleave([actor("a"), actor("b")], w))
        seen.add(" ".join(log))
    assert seen == {
        "a1 a2 b1 b2",
        "b1 b2 a1 a2",
        "a1 b1 b2 a2",
        "b1 a1 a2 b2",
        "a1 b1 a2 b2",
        "b1 a1 b2 a2",
    }


@pytest.mark.parametrize("threads", [False, True])
def test_a_call_that_waits_for_the_other_lets_it_go_on(threads: bool) -> None:
    """A lock held by a stopped call is no deadlock: the schedule gives way."""
    log: list[str] = []
    lock = threading.Lock()
    held = asyncio.Lock()

    def run(name: str) -> None:
        with lock:
            log.append(name)
            log.append(name)

    async def arun(name: str) -> None:
        async with held:
            log.append(name)
            await asyncio.sleep(1)
            log.append(name)

    actors = [Actor(functools.partial(run if threads else arun, n), threads) for n in "ab"]
    stopped_inside = ((0, 4 if threads else 1), (1, None), (0, None))
    results, _ = run_on_loop(lambda: interleave(actors, stopped_inside))
    assert results == [None, None]
    assert log == ["a", "a", "b", "b"]


def test_a_stopped_call_does_not_run_into_its_own_timeout() -> None:
    """Time that a call is kept waiting does not count for its timers, whatever the other does."""

    async def hurried() -> str:
        async with asyncio.timeout(3):
            await asyncio.sleep(1)
            await asyncio.sleep(1)
        return "in time"

    async def sleeper() -> str:
        await asyncio.sleep(100)
        await asyncio.sleep(100)
        return "slept"

    async def late() -> str:
        async with asyncio.timeout(3):
            await asyncio.sleep(5)
        return "never"

    actors = [Actor(hurried, threaded=False), Actor(sleeper, threaded=False)]
    for way in schedules([3, 3], 100):
        results, _ = run_on_loop(lambda w=way: interleave(actors, w))
        assert results == ["in time", "slept"]
    actors = [Actor(late, threaded=False), Actor(sleeper, threaded=False)]
    for way in schedules([2, 3], 100):
        results, _ = run_on_loop(lambda w=way: interleave(actors, w))
        assert isinstance(results[0], TimeoutError)


def test_a_coroutine_and_a_thread() -> None:
    """Both kinds take turns with each other."""
    log: list[str] = []

    async def slow() -> None:
        log.append("a1")
        await asyncio.sleep(1)
        log.append("a2")

    def plain() -> None:
        log.append("b1")
        log.append("b2")

    actors = [Actor(slow, threaded=False), Actor(plain, threaded=True)]
    seen = set()
    for way in schedules([2, 4], 100):
        log.clear()
        run_on_loop(lambda w=way: interleave(actors, w))
        seen.add(" ".join(log))
    assert {"a1 a2 b1 b2", "b1 b2 a1 a2", "a1 b1 b2 a2", "b1 a1 a2 b2", "a1 b1 a2 b2"} <= seen


def test_jobs_of_a_coroutine_belong_to_its_step() -> None:
    """What a coroutine does in `to_thread` is over before another one takes its turn."""
    log: list[str] = []

    async def with_job() -> None:
        await asyncio.to_thread(log.append, "a1")
        await asyncio.to_thread(log.append, "a2")

    async def plain() -> None:
        log.append("b1")

    actors = [Actor(with_job, threaded=False), Actor(plain, threaded=False)]
    orders = set()
    for way in schedules([3, 1], 100):
        log.clear()
        run_on_loop(lambda w=way: interleave(actors, w))
        orders.add(" ".join(log))
    assert orders == {"a1 a2 b1", "b1 a1 a2", "a1 b1 a2"}


def test_a_cancellation_reaches_the_coroutine() -> None:
    """A tool that cancels a task of its own sees it end, also between its steps."""
    log: list[str] = []

    async def child() -> None:
        try:
            await asyncio.sleep(100)
        except asyncio.CancelledError:
            log.append("cancelled")
            raise

    async def parent() -> str:
        task = asyncio.ensure_future(child())
        await asyncio.sleep(1)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        return "ended"

    [results, _] = run_on_loop(lambda: interleave([Actor(parent, threaded=False)], ()))
    assert results == ["ended"]
    assert log == ["cancelled"]
