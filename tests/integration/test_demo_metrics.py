"""The demo's figures, on intervals made by hand."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from examples.repair.metrics import Interval, Metrics, intersection, measure, total, union
from examples.repair.recording import CallRecord, RunLog, Turn
from examples.repair.report import Result, attribution, is_good, verdict
from examples.repair.view import lanes


def spans(*pairs: tuple[float, float]) -> list[Interval]:
    return [Interval(start, end) for start, end in pairs]


def test_a_synchronous_run_saves_nothing() -> None:
    """One thing after the other: wall time is the serial time."""
    metrics = measure(spans((0, 2), (5, 6)), spans((2, 5)), wall=6)
    assert metrics == Metrics(wall=6, decode=3, tools=3, overlap=0, parallel=0)
    assert metrics.serial == 6
    assert metrics.idle == 0


def test_overlap_is_time_of_decoding_with_any_tool_running() -> None:
    """Two tools under one decoding interval overlap with it once, not twice."""
    metrics = measure(spans((0, 10)), spans((2, 6), (3, 7)), wall=10)
    assert metrics.overlap == 5
    assert metrics.parallel == 3
    assert metrics.idle == 0


def test_parallel_is_what_side_by_side_tools_save() -> None:
    """Three tools of 3, 2 and 1 seconds at once save 3 seconds."""
    metrics = measure(spans((0, 1)), spans((1, 4), (1, 3), (1, 2)), wall=5)
    assert metrics.parallel == 3
    assert metrics.overlap == 0
    assert metrics.idle == 1


def test_a_tool_over_several_turns_overlaps_with_each() -> None:
    """The pause between two turns does not count as overlap."""
    metrics = measure(spans((0, 2), (3, 5)), spans((1, 4)), wall=5)
    assert metrics.overlap == 2
    assert metrics.idle == 0


def test_touching_intervals_become_one() -> None:
    """A union is disjoint, and empty intersections are left out."""
    assert union(spans((2, 3), (0, 1), (1, 2))) == spans((0, 3))
    assert intersection(spans((0, 1)), spans((1, 2))) == []


_spans = st.lists(
    st.tuples(st.integers(0, 50), st.integers(0, 50)).map(
        lambda pair: Interval(min(pair), max(pair))
    )
)


@given(decoding=_spans, tools=_spans)
def test_the_parts_add_up(decoding: list[Interval], tools: list[Interval]) -> None:
    """Wall time is decode + tools - overlap - parallel + idle, with idle never negative."""
    decoding = union(decoding)
    wall = 60.0
    metrics = measure(decoding, tools, wall)
    busy = sum(
        any(one.start <= moment < one.end for one in [*decoding, *tools]) for moment in range(60)
    )
    assert metrics.idle == wall - busy
    assert 0 <= metrics.overlap <= min(metrics.decode, total(union(tools)))


def run(diff: str, red: list[str], wall: float = 4) -> Result:
    log = RunLog("node", wall=wall)
    log.turns = [Turn(0, 2), Turn(3, 4)]
    log.calls = {"a": CallRecord(1, "run_tests", {}, issued=1, started=1, ended=3)}
    return Result(log, diff, red)


def test_a_log_gives_its_metrics() -> None:
    """Turns are the decoding intervals and calls the tool intervals."""
    assert run("", []).metrics == Metrics(wall=4, decode=3, tools=2, overlap=1, parallel=0)


def test_lanes_show_decoding_and_the_number_of_tools() -> None:
    """One character stands for one second here."""
    log = run("", []).log
    log.calls["b"] = CallRecord(1, "run_tests", {}, issued=1, started=2, ended=4)
    assert lanes(log, width=8, longest=8, mark="#") == ["## #", " 121"]


@pytest.mark.parametrize(
    ("results", "good"),
    [
        ([run("d", []), run("d", [])], True),
        ([run("d", [])], True),
        ([run("d", []), run("e", [])], False),
        ([run("d", []), run("d", ["tests/test_a.py"])], False),
        ([run("d", ["tests/test_a.py"]), run("d", [])], False),
        ([run("", []), run("", [])], False),
    ],
)
def test_good_means_green_changed_and_the_same(results: list[Result], good: bool) -> None:
    """The exit status depends on tests and diffs of all runs."""
    assert is_good(results) is good


def test_the_verdict_names_what_is_wrong() -> None:
    """A failing file and different diffs are said."""
    lines = verdict([run("diff --git a", []), run("", ["tests/test_a.py"])])
    assert lines == [
        "node: all tests green, 1 files changed",
        "node: RED: tests/test_a.py, 0 files changed",
        "The diffs DIFFER.",
    ]


def test_saved_seconds_are_attributed_in_full() -> None:
    """Overlap, parallel tools and the rest add up to the difference of the wall times."""
    before = Metrics(wall=10, decode=5, tools=5, overlap=0, parallel=0)
    after = Metrics(wall=6, decode=6, tools=5, overlap=4, parallel=1.5)
    assert attribution(before, after) == (
        "Speedup 1.67x. Of the 4.0 s saved, 4.0 s come from overlap with decoding, 1.5 s from "
        "parallel tools, and -1.5 s from changes of decode, tools and idle themselves."
    )
