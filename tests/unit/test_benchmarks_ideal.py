from __future__ import annotations

import pytest

from benchmarks.ideal import bound, eager_bound, one_by_one, synchronous
from benchmarks.workloads.conflicts import dependencies, in_order, safe_batches
from benchmarks.workloads.tasks import Planned, Task, ToolSpec, World
from langchain_asyncfc import Effects
from tests.unit.benchmark_tasks import (
    DOUBLE,
    Cell,
    add,
    cell_task,
    even_pace,
    from_call,
    look_up,
)

# A message of one call takes 1.4 s to decode, and so does an answer.


def test_synchronous_time_is_the_sum_of_all() -> None:
    """One call a turn: decoding and tools never overlap."""
    task = cell_task([look_up(1), look_up(2)])
    assert synchronous(even_pace(1.0, 3.0), one_by_one(task)) == pytest.approx(3 * 1.4 + 4.0)


def test_independent_calls_overlap_with_decoding() -> None:
    """B* of two independent calls is the chain to the end of the later one, then the answer."""
    task = cell_task([look_up(1), look_up(2)])
    times = even_pace(1.0, 3.0)
    assert bound(task, times, dependencies(task), one_by_one(task)) == pytest.approx(2.8 + 3 + 1.4)


def test_a_conflict_lets_the_later_call_wait_but_not_its_decoding() -> None:
    """Two writers run one after the other, while the second is decoded beside the first."""
    task = cell_task([add(1), DOUBLE])
    times = even_pace(3.0, 1.0)
    assert bound(task, times, dependencies(task), one_by_one(task)) == pytest.approx(1.4 + 4 + 1.4)


def test_a_result_that_must_be_read_holds_decoding_up() -> None:
    """A call that needs to see a result is decoded after it."""
    task = cell_task([look_up(1), look_up(2, sees=frozenset({0}))])
    times = even_pace(3.0, 1.0)
    expected = 1.4 + 3 + 1.4 + 1 + 1.4
    assert bound(task, times, dependencies(task), one_by_one(task)) == pytest.approx(expected)


def test_an_answer_waits_for_all_results_of_its_turn() -> None:
    """The second turn begins after the answer to the first."""
    task = cell_task([look_up(1), look_up(2)], turns=[[0], [1]])
    times = even_pace(1.0, 3.0)
    expected = (1.4 + 1 + 1.4) + (1.4 + 3 + 1.4)
    assert bound(task, times, dependencies(task), one_by_one(task)) == pytest.approx(expected)


def test_eager_start_begins_a_call_before_its_message_is_complete() -> None:
    """With one message, the first call starts when its own tokens are there."""
    task = cell_task([look_up(1), look_up(2)])
    times = even_pace(3.0, 1.0)
    assert eager_bound(task, times, dependencies(task)) == pytest.approx(0.4 + 1 + 3 + 1.4)


def test_eager_start_opens_a_message_for_a_call_that_must_read() -> None:
    """A call that reads a result of its turn is decoded in a new message, after that result."""
    task = cell_task([look_up(1), look_up(2, sees=frozenset({0}))])
    times = even_pace(3.0, 1.0)
    expected = 1.4 + 3 + 1.4 + 1 + 1.4
    assert eager_bound(task, times, dependencies(task)) == pytest.approx(expected)


def _files(*calls: Planned) -> Task:
    schema = {"type": "object", "properties": {}}
    tools = (
        ToolSpec("read", "", schema, Effects(reads="fs/{path}")),
        ToolSpec("write", "", schema, Effects(writes="fs/{path}")),
        ToolSpec("sweep", "", schema, Effects(writes="fs")),
    )

    def world() -> World:
        return Cell()

    return Task("files", calls, (tuple(range(len(calls))),), tools, world)


def test_dependencies_follow_paths_with_the_calls_own_values() -> None:
    """Writers and readers of one path conflict, those of others do not, and a parent meets all."""
    task = _files(
        Planned("write", {"path": "a"}),
        Planned("read", {"path": "a"}),
        Planned("read", {"path": "b"}),
        Planned("sweep", {}),
        Planned("read", {}),
    )
    expected = [set(), {0}, set(), {0, 1, 2}, {0, 3}]
    assert [set(waits) for waits in dependencies(task)] == expected


def test_dependencies_hold_sources_and_what_must_be_read() -> None:
    """Where a value comes from is waited for, whatever the effects."""
    task = cell_task(
        [look_up(1), look_up(2, sources=from_call(0)), look_up(5, sees=frozenset({1}))]
    )
    assert [set(waits) for waits in dependencies(task)] == [set(), {0}, {1}]


def test_messages_end_where_a_call_depends_on_one_in_them() -> None:
    """Calls share a message as long as none depends on another, in their order."""
    task = cell_task([look_up(1), add(1), DOUBLE, look_up(2), add(3)])
    assert safe_batches(task, dependencies(task)) == [[[0, 1], [2, 3], [4]]]


def test_without_labels_calls_wait_for_earlier_messages() -> None:
    """Calls of one message do not wait for each other, but for all before it."""
    task = cell_task([look_up(1), look_up(2), look_up(3)])
    waits = in_order(task, [[[0, 1], [2]]])
    assert [set(each) for each in waits] == [set(), set(), {0, 1}]
