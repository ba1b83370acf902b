from __future__ import annotations

from collections.abc import Callable
from importlib.util import find_spec

import pytest

from benchmarks.opponents.compiler import FINISH_TOKENS, REPLAN_TOKENS, Compiler
from benchmarks.opponents.plans import AFTER_TOKENS, JOIN_TOKENS, LINE_TOKENS, orders, rounds
from benchmarks.opponents.polling import Polling
from benchmarks.opponents.starter import IDLE_TOKENS
from benchmarks.pace import Pace, pace
from benchmarks.players import AWAIT_TOKENS, FLAG_TOKENS
from benchmarks.stage import Outcome
from benchmarks.workloads.conflicts import dependencies
from benchmarks.workloads.tasks import Task
from langchain_asyncfc.testing import run_virtual
from tests.unit.benchmark_tasks import DOUBLE, add, cell_task, even_pace, from_call, look_up

needs_harness = pytest.mark.skipif(
    find_spec("pydantic_ai_harness") is None,
    reason="pydantic-ai-harness is installed by the benchmarks only",
)

# A message of one call takes 1.4 s to decode, and so does an answer. Of a plan, a line takes 1 s
# and the tokens of its number.
LINE, JOIN, FINISH = LINE_TOKENS / 60, JOIN_TOKENS / 60, 1.4 + FINISH_TOKENS / 60
AFTER, REPLAN, FLAG = AFTER_TOKENS / 60, 0.4 + REPLAN_TOKENS / 60, FLAG_TOKENS / 60
ASK, IDLE = 0.4 + AWAIT_TOKENS / 60, 0.4 + IDLE_TOKENS / 60

Make = Callable[[Task], "Compiler | Polling"]


def _compiler(task: Task, times: Pace, *, ordered: bool = False) -> Outcome:
    async def run() -> Outcome:
        return await Compiler(task, ordered=ordered).run(times)

    return run_virtual(run())


def _polling(task: Task, times: Pace, waiting: str) -> Outcome:
    async def run() -> Outcome:
        return await Polling(task, waiting).run(times)

    return run_virtual(run())


def _harness(task: Task, times: Pace) -> Outcome:
    from benchmarks.opponents.harness import Harness

    async def run() -> Outcome:
        return await Harness(task).run(times)

    return run_virtual(run())


# -- LLMCompiler --------------------------------------------------------------------------------


def test_a_plan_races_where_calls_touch_the_same_thing() -> None:
    """As published, a slow writer is overtaken by a fast one, and the run is counted as wrong."""
    task = cell_task([add(1), DOUBLE])
    outcome = _compiler(task, even_pace(9.0, 1.0))
    assert outcome.wrong is not None
    assert "call 0 gave" in outcome.wrong


def test_an_ordered_plan_does_not_race() -> None:
    """The same task with the order written down is right, and takes the words and the wait."""
    outcome = _compiler(cell_task([add(1), DOUBLE]), even_pace(9.0, 1.0), ordered=True)
    assert outcome.wrong is None
    assert outcome.output == 120 + 2 * LINE_TOKENS + AFTER_TOKENS + JOIN_TOKENS + 60 + FINISH_TOKENS
    assert outcome.seconds == pytest.approx(0.4 + 1 + LINE + 9 + 1 + FINISH)


def test_a_plan_of_values_alone_does_not_race() -> None:
    """As published, a call waits for the call whose value it takes, and gets that value."""
    task = cell_task([look_up(1), look_up(2, sources=from_call(0)), look_up(7)])
    outcome = _compiler(task, even_pace(5.0, 1.0, 0.5))
    assert outcome.wrong is None
    assert outcome.turns == 2
    assert outcome.seconds == pytest.approx(0.4 + 1 + LINE + 5 + 1 + FINISH)


def test_calls_start_while_the_plan_is_decoded() -> None:
    """Three fast calls end before the plan does; the plan is the longest thing there."""
    task = cell_task([look_up(1), look_up(2), look_up(3)])
    outcome = _compiler(task, even_pace(2.0, 1.0, 0.01))
    assert outcome.seconds == pytest.approx(0.4 + 3 * (1 + LINE) + JOIN + FINISH)


def test_a_result_that_must_be_read_takes_a_new_plan() -> None:
    """The joiner says so, and the planner writes the rest; what needs no look was in the first."""
    task = cell_task([look_up(1), look_up(2, sees=frozenset({0})), look_up(5)])
    outcome = _compiler(task, even_pace(3.0, 1.0, 1.0))
    assert outcome.wrong is None
    assert outcome.turns == 4
    first = 0.4 + 1 + LINE + 3
    second = 0.4 + 1 + LINE + 1
    assert outcome.seconds == pytest.approx(first + REPLAN + second + FINISH)


def test_a_call_is_not_planned_before_one_that_it_waits_for() -> None:
    """What conflicts with a call of the second plan is in the second plan too."""
    task = cell_task([look_up(1), add(2, sees=frozenset({0})), DOUBLE, look_up(9)])
    assert rounds(task, range(4), dependencies(task)) == [[0, 3], [1, 2]]


def test_orders_that_others_imply_are_not_written() -> None:
    """Of a chain of three, the last names only the one before it."""
    deps = [frozenset[int](), frozenset({0}), frozenset({0, 1})]
    assert orders(deps, [0, 1, 2], 2) == [1]


def test_a_value_that_a_race_made_another_is_passed_on_as_it_is() -> None:
    """A call that takes the result of a racing call takes what really came of it."""
    task = cell_task([add(1), DOUBLE, look_up(4, sources=(_value_of(1),))])
    outcome = _compiler(task, even_pace(9.0, 1.0, 1.0))
    assert outcome.wrong is not None
    right = _compiler(task, even_pace(9.0, 1.0, 1.0), ordered=True)
    assert right.wrong is None


def _value_of(index: int):
    source = from_call(index)[0]
    return type(source)(("n",), index, ("value",))


# -- tasks in the background --------------------------------------------------------------------


def test_a_task_is_polled_until_it_has_finished() -> None:
    """Every look at a running task is a call of the model."""
    task = cell_task([look_up(1), look_up(2)])
    outcome = _polling(task, even_pace(4.0, 0.5), "poll")
    assert outcome.wrong is None
    # The first is started (1.4 + flag), the second is in the foreground (1.4 + 0.5); the first has
    # 2.1 s to go, which are three looks.
    looks = 3
    assert outcome.turns == 2 + looks + 1
    expected = 1.4 + FLAG + 1.4 + 0.5 + looks * ASK + 1.4
    assert outcome.seconds == pytest.approx(expected)


def test_waiting_takes_no_more_turns() -> None:
    """`wait_task` stands beside the last call, and the answer follows all results."""
    task = cell_task([look_up(1), look_up(2)])
    outcome = _polling(task, even_pace(4.0, 0.5), "wait")
    assert outcome.wrong is None
    assert outcome.turns == 3
    assert outcome.seconds == pytest.approx(1.4 + FLAG + 4 + 1.4)


def test_a_conflicting_call_is_made_after_the_first_was_read() -> None:
    """The model itself keeps the order of what touches the same thing."""
    task = cell_task([add(1), DOUBLE])
    for waiting in ("poll", "wait"):
        outcome = _polling(task, even_pace(9.0, 1.0), waiting)
        assert outcome.wrong is None
        assert outcome.seconds == pytest.approx(1.4 + 9 + 1.4 + 1 + 1.4)


def test_another_call_is_made_while_one_must_wait() -> None:
    """What depends on nothing overtakes what does."""
    task = cell_task([add(1), DOUBLE, look_up(3)])
    outcome = _polling(task, even_pace(9.0, 1.0, 2.0), "wait")
    assert outcome.wrong is None
    # add in the background, look_up beside the wait for add, then double in the foreground.
    assert outcome.seconds == pytest.approx(1.4 + FLAG + 9 + 1.4 + 1 + 1.4, abs=1e-6)


# -- Pydantic AI --------------------------------------------------------------------------------


@needs_harness
def test_pydantic_ai_delivers_by_itself() -> None:
    """The run is resumed when the result is there, after the model said that it waits."""
    task = cell_task([look_up(1), look_up(2)])
    outcome = _harness(task, even_pace(6.0, 0.5))
    assert outcome.wrong is None
    assert outcome.turns == 4
    assert outcome.seconds == pytest.approx(1.4 + FLAG + 6 + 1.4)


@needs_harness
def test_pydantic_ai_keeps_the_order_by_its_model() -> None:
    """Conflicting calls run one after the other, as with ToolNode."""
    outcome = _harness(cell_task([add(1), DOUBLE]), even_pace(9.0, 1.0))
    assert outcome.wrong is None
    assert outcome.seconds == pytest.approx(1.4 + 9 + 1.4 + 1 + 1.4)


# -- all ----------------------------------------------------------------------------------------


@needs_harness
def test_all_ways_are_right_and_the_same_twice() -> None:
    """On a task with values, looks, conflicts and two turns, only the plan as published errs."""
    from benchmarks.opponents.playing import Plan, play

    task = cell_task(
        [
            look_up(1),
            add(2, sources=from_call(0)),
            DOUBLE,
            look_up(3, sees=frozenset({2})),
            add(4, sources=from_call(3)),
            DOUBLE,
        ],
        turns=[[0, 1, 2, 3], [4, 5]],
    )
    plan = Plan(1, 2, 8, (1.0,))
    first, second = (run_virtual(play(task, plan)) for _ in range(2))
    assert first == second
    assert {match.way for match in first if match.outcome.wrong} == {"published"}
    assert len(first) == 2 * 10 + 8
    plain = [m for m in first if m.way == "a"]
    assert [m.outcome.seconds for m in plain] == pytest.approx([m.toolnode for m in plain])
    assert pace(task, 1.0, 0) != pace(task, 1.0, 1)


@needs_harness
def test_the_tables_say_what_was_measured() -> None:
    """Speedups are of sums, wrong runs are counted, and costs are against (a)."""
    from benchmarks.opponents.playing import Match, Plan
    from benchmarks.others import NAMES, tables

    def matches(task: str, seconds: float, wrong: str | None) -> list[Match]:
        plain = Match(task, 1.0, "a", 10.0, Outcome(10.0, 5, 300, 80))
        other = Outcome(seconds, 4, 310, 100, wrong)
        return [plain, *(Match(task, 1.0, way, 10.0, other) for way in NAMES)]

    lines = tables(
        {"W1": matches("x", 4.0, None) + matches("y", 6.0, "differs")}, Plan(2, 1, 1, (1.0,))
    )
    each = len(NAMES)
    assert "| W1 | 2 | 1 s |" + " 2.000 |" * each in lines
    assert "| W1 |" + " **50.0%** of 2 |" * each in lines
    assert "| W1 | 5.0 / 300 / 80 |" + " -1.0 / +10 / +20 |" * each in lines


def test_a_task_that_finished_meanwhile_is_told_too() -> None:
    """Waiting for one task tells of every other that has ended, so that nobody asks for it."""
    task = cell_task([add(1), look_up(3), DOUBLE])
    outcome = _polling(task, even_pace(9.0, 2.0, 1.0), "wait")
    assert outcome.wrong is None
    # add and look_up in the background, a wait for add alone; then double, then the answer.
    assert outcome.turns == 4
