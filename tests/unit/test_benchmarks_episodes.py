from __future__ import annotations

from dataclasses import replace

import pytest
from langchain_core.messages import AIMessage, HumanMessage, ToolMessage

from benchmarks.caching import tokens_of, uncached
from benchmarks.episodes import Episodes, Node
from benchmarks.ideal import Batches, bound, one_by_one, synchronous
from benchmarks.measuring import NODES, Plan, play
from benchmarks.pace import Pace, pace
from benchmarks.players import FLAG_TOKENS, Player, contents
from benchmarks.stage import Outcome, WrongResult
from benchmarks.workloads.conflicts import dependencies
from benchmarks.workloads.tasks import Task, with_references
from langchain_asyncfc import Effects
from langchain_asyncfc.testing import run_virtual
from tests.unit.benchmark_tasks import DOUBLE, add, cell_task, even_pace, from_call, look_up


def _run(
    task: Task, node: Node, times: Pace, batches: Batches | None = None, *, free: bool = False
) -> Outcome:
    messages = one_by_one(task) if batches is None else batches

    async def run() -> Outcome:
        return await Episodes(task, node, messages, free=free).run(times)

    return run_virtual(run())


def test_toolnode_takes_what_its_formula_says() -> None:
    """A run of ToolNode is as long as the sum of its parts, to the last digits."""
    task = cell_task([add(1), DOUBLE, look_up(2)])
    times = even_pace(1.0, 3.0, 0.5)
    assert _run(task, "toolnode", times).seconds == pytest.approx(
        synchronous(times, one_by_one(task)), abs=1e-9
    )


@pytest.mark.parametrize("node", ["labelled", "append"])
def test_labelled_run_comes_to_its_bound(node: Node) -> None:
    """With waiting free of tokens, what is left over the bound are grace periods."""
    task = cell_task([look_up(1), add(1), DOUBLE, look_up(2, sources=from_call(0))])
    times = even_pace(3.0, 2.0, 3.0, 0.5)
    taken = _run(task, node, times, free=True).seconds
    least = bound(task, times, dependencies(task), one_by_one(task))
    assert least <= taken <= least + 3 * 0.01 + 1e-9


def test_waiting_is_paid_for_in_tokens() -> None:
    """The flag in the last call before an answer takes as long as its tokens."""
    task = cell_task([look_up(1)])
    times = even_pace(3.0)
    free, paid = (_run(task, "labelled", times, free=free) for free in (True, False))
    assert paid.output - free.output == FLAG_TOKENS
    assert paid.seconds - free.seconds == pytest.approx(FLAG_TOKENS / 60)


def test_wrong_labels_show() -> None:
    """A task whose tools wrongly claim to touch nothing ends with wrong results."""
    task = cell_task([add(1), DOUBLE], effects=Effects())
    with pytest.raises(WrongResult):
        _run(task, "labelled", even_pace(9.0, 1.0))


def test_calls_that_depend_on_each_other_in_one_message_show() -> None:
    """ToolNode given dependent calls in one message ends with wrong results."""
    task = cell_task([add(1), DOUBLE])
    with pytest.raises(WrongResult):
        _run(task, "toolnode", even_pace(9.0, 1.0), [[[0, 1]]])


def test_our_node_keeps_the_order_inside_a_message() -> None:
    """The same message with labels gives the results of running one by one."""
    task = cell_task([add(1), DOUBLE])
    times = even_pace(9.0, 1.0)
    taken = _run(task, "labelled", times, [[[0, 1]]], free=True).seconds
    assert taken == pytest.approx(0.4 + 2 + 10 + 1.4, abs=0.03)


def test_a_task_is_played_the_same_twice() -> None:
    """All figures of two runs are equal."""
    task = cell_task([look_up(1), add(1), DOUBLE, look_up(2, sources=from_call(0))])
    plan = Plan(2, lambda way, median: 2, medians=(1.0,))
    first, second = (run_virtual(play(task, plan)) for _ in range(2))
    assert first == second
    assert set(first[0].outcomes) == {"a", "b", "c", "d", "e", "append", "free"}


def test_tasks_share_the_draws_between_them() -> None:
    """With a stride, tasks in a row take other draws, and together all; each way has its first."""
    task = cell_task([look_up(1), DOUBLE])
    plan = Plan(6, lambda way, median: 6 if way == "d" else 1, stride=3, medians=(1.0,))
    shares = [run_virtual(play(task, plan, first=first)) for first in range(3)]
    whole = run_virtual(play(task, replace(plan, stride=1)))
    alternating = [run for draws in zip(*shares, strict=True) for run in draws]
    assert [run.toolnode for run in alternating] == [run.toolnode for run in whole]
    for runs in shares:
        assert [set(run.outcomes) for run in runs] == [set(NODES), {"d"}]


def test_draws_scale_with_the_median() -> None:
    """The same draw at another median is the same but for the scale."""
    task = cell_task([look_up(1), DOUBLE])
    slow, fast = pace(task, 3.0, 7), pace(task, 1.0, 7)
    assert slow.seconds == pytest.approx([3 * seconds for seconds in fast.seconds])
    assert slow.moments == fast.moments
    assert pace(task, 1.0, 8) != fast


def _player(task: Task) -> Player:
    return Player(task, one_by_one(task), [60] * len(task.calls), waits=True)


def _answer(number: int, content: str) -> ToolMessage:
    return ToolMessage(content, tool_call_id=f"call_{number}")


def test_a_value_that_was_not_seen_is_passed_by_reference() -> None:
    """A pending result is named, a delivered one is copied."""
    task = cell_task([look_up(1), look_up(2, sources=from_call(0)), DOUBLE])
    asking = _player(task).reply([HumanMessage("go")])
    for content, expected in (
        ("future_1 is running. …", 'future_1["n"]'),
        ('{"n": 2}', 2),
    ):
        reply = _player(task).reply([HumanMessage("go"), asking, _answer(0, content)])
        assert reply.tool_calls[0]["args"] == {"n": expected}


def test_part_of_a_text_is_passed_in_braces() -> None:
    """A value inside a longer text becomes a reference in braces."""
    source = from_call(0)[0]
    part = look_up(0, sources=())
    call = type(part)("look_up", {"n": "id: 17!"}, (type(source)(("n",), 0, ("n",), "17"),))
    assert with_references(call, lambda _: False) == {"n": 'id: ${future_1["n"]}!'}


def test_what_must_be_read_next_is_awaited_in_its_own_call() -> None:
    """The call whose result comes first in the next decision carries the flag."""
    task = cell_task([look_up(1), look_up(2, sees=frozenset({0})), DOUBLE])
    reply = _player(task).reply([HumanMessage("go")])
    assert [call["args"] for call in reply.tool_calls] == [{"n": 1, "await_result": True}]


def test_what_was_asked_for_earlier_is_awaited_beside_a_call() -> None:
    """A result that still runs when it is needed next is awaited by its id."""
    task = cell_task([look_up(1), add(1), look_up(2, sees=frozenset({0}))])
    player = _player(task)
    first = player.reply([HumanMessage("go")])
    history = [HumanMessage("go"), first, _answer(0, "future_1 is running. …")]
    made = player.reply(history).tool_calls
    assert [call["name"] for call in made] == ["add", "await_future"]
    assert made[1]["args"] == {"futures": ["future_1"]}


def test_the_last_message_before_an_answer_asks_for_all() -> None:
    """So that no turn is added."""
    task = cell_task([look_up(1)])
    assert _player(task).reply([HumanMessage("go")]).tool_calls[0]["args"]["await_result"] == "all"


def test_results_that_ride_on_others_are_read() -> None:
    """An outcome after another message's content counts as seen, a placeholder does not."""
    messages = [
        _answer(0, "future_1 is running. …"),
        _answer(1, 'own\n\n[future_1] {"n": 2}'),
        _answer(2, "future_3 is running. …"),
    ]
    assert contents(messages) == {0: '{"n": 2}', 1: "own"}


def test_a_cache_reuses_what_the_request_before_began_with() -> None:
    """New messages count once; from an edited one on, all count again."""
    user, asks = HumanMessage("x" * 40), AIMessage("", tool_calls=[])
    pending, done = ToolMessage("y" * 80, tool_call_id="1"), ToolMessage("z" * 20, tool_call_id="1")
    more = HumanMessage("w" * 4)
    assert uncached([[user], [user, asks, pending]]) == 10 + 0 + 20
    assert uncached([[user, asks, pending, more], [user, asks, done, more]]) == (
        10 + 20 + 1 + 5 + 1
    )
    assert tokens_of(more) == 1
