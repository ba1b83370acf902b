from __future__ import annotations

import random
from importlib.util import find_spec

import pytest

from benchmarks.workloads import bfcl
from benchmarks.workloads.conflicts import dependencies
from benchmarks.workloads.mixed import interleaved
from benchmarks.workloads.nestful import nestful
from benchmarks.workloads.single import parallel
from benchmarks.workloads.tasks import Source, Task, at, frozen, replay, with_references

needs_bfcl = pytest.mark.skipif(
    find_spec("bfcl_eval") is None or find_spec("mpmath") is None,
    reason="bfcl-eval is installed by the benchmarks only",
)


def _check_sources(task: Task) -> None:
    """Every value that is passed on stands where the task says it comes from."""
    results, _ = replay(task)
    for k, call in enumerate(task.calls):
        assert all(i < k for i in call.sees)
        for source in call.sources:
            assert source.call < k
            value = at(results[source.call], source.path)
            given = at(call.args, source.location)
            assert value == given if source.part is None else value in given


def test_nestful_values_come_from_where_it_says() -> None:
    """All 215 tasks: each reference of the data leads to the value in the arguments."""
    tasks = nestful()
    assert len(tasks) == 215
    assert sum(len(call.sources) for task in tasks for call in task.calls) > 250
    for task in tasks:
        _check_sources(task)
        assert not any("$var" in frozen(call.args) for call in task.calls)


def test_nestful_references_inside_texts_are_parts() -> None:
    """A text around a reference stays."""
    texts = [
        value
        for task in nestful()
        for call in task.calls
        for value in with_references(call, lambda _: False).values()
    ]
    assert 'Meeting ID: ${future_1["event_id"]}' in texts


@pytest.mark.parametrize(
    ("result", "value", "expected"),
    [
        ({"id": 17}, 17, (Source(("a",), 0, ("id",)),)),
        ({"cost": [420.0]}, 420.0, (Source(("a",), 0, ("cost", 0)),)),
        ({"names": ["x.txt", "y.txt"]}, "y.txt", {0}),
        ({"text": "see report.txt please"}, "report.txt", {0}),
        ({"text": "costs 45.5 in all"}, 45.5, {0}),
        ({"id": 17}, 17.0, ()),
        ({"id": 17}, "given", ()),
        ({"ok": True}, True, ()),
    ],
)
def test_origins_of_values(result: object, value: object, expected: object) -> None:
    """Fields can be passed on; what is chosen from a list or cut from a text must be read."""
    sources, sees = bfcl.origins({"a": value}, [result], "The user has given this, and 3.")
    assert (sources or set(sees) or ()) == expected


def test_the_latest_result_with_a_value_counts() -> None:
    """A value that two results have comes from the later one."""
    sources, _ = bfcl.origins({"a": 17}, [{"id": 17}, {"order": 17}], "")
    assert sources == (Source(("a",), 1, ("order",)),)


def test_schemas_become_json_schemas() -> None:
    """BFCL's type names are translated at every depth, and what is no type is left alone."""
    given = {
        "type": "dict",
        "properties": {
            "type": {"type": "float", "default": 1.0},
            "pairs": {"type": "array", "items": {"type": "tuple"}},
            "what": {"type": "any"},
        },
        "required": ["type"],
    }
    assert bfcl.json_schema(given) == {
        "type": "object",
        "properties": {
            "type": {"type": "number"},
            "pairs": {"type": "array", "items": {"type": "array"}},
            "what": {},
        },
        "required": ["type"],
    }


@needs_bfcl
@pytest.mark.parametrize("merged", [False, True])
def test_multi_turn_tasks_replay_the_same(merged: bool) -> None:
    """200 tasks with 1,142 calls; results and states of two replays are equal."""
    tasks = bfcl.multi_turn(merged=merged)
    assert (len(tasks), sum(len(task.calls) for task in tasks)) == (200, 1142)
    for task in tasks:
        _check_sources(task)
        (results, state), (again, state_again) = replay(task), replay(task)
        assert frozen(results) == frozen(again)
        assert state == state_again


@needs_bfcl
def test_labels_are_sound() -> None:
    """Every task in random orders that keep to the labels: the results and state of serial runs."""
    for task in bfcl.multi_turn(merged=True):
        deps = dependencies(task)
        results, state = replay(task)
        for draw in range(5):
            rng = random.Random(f"{task.name} {draw}")
            world, left = task.world(), set(range(len(task.calls)))
            while left:
                k = rng.choice(sorted(i for i in left if not deps[i] & left))
                left.remove(k)
                assert world.act(task.calls[k].tool, task.calls[k].args) == results[k], task.name
            assert world.state() == state, task.name


@needs_bfcl
def test_state_holds_private_attributes_and_is_not_the_first_one() -> None:
    """What calls change shows, private random numbers included."""
    task = next(t for t in bfcl.multi_turn(merged=True) if t.name.startswith("multi_turn_base_193"))
    before, (_, after) = task.world().state(), replay(task)
    assert before["TravelAPI"]["_random"] != after["TravelAPI"]["_random"]
    assert task.world().state() == before


@needs_bfcl
def test_parallel_tasks_have_calls_that_share_nothing() -> None:
    """400 tasks, each with its calls in one message."""
    tasks = parallel()
    assert len(tasks) == 400
    assert all(task.batched and len(task.turns) == 1 for task in tasks)
    assert not any(call.sources or call.sees for task in tasks for call in task.calls)


@needs_bfcl
def test_interleaved_tasks_do_not_share_their_worlds() -> None:
    """A group's results are those of its tasks, and values still come from where they came."""
    for task in interleaved(3)[:3]:
        _check_sources(task)
        assert {call.tool[:3] for call in task.calls} == {"t0_", "t1_", "t2_"}
