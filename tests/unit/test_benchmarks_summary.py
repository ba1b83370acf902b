from __future__ import annotations

import pytest

from benchmarks.measuring import Run
from benchmarks.stage import Outcome
from benchmarks.summary import (
    near,
    per_task,
    percentile,
    speed,
    speed_if_free,
    toolnode_speed,
)


def _run(task: str, before: float, now: float, *, ideal: float = 1.0, median: float = 1.0) -> Run:
    outcome = Outcome(seconds=now, turns=3, output=100, uncached=7)
    toolnode = {"a": before, "b": before / 2}
    return Run(task, median, ideal, ideal, ideal, ideal, toolnode, {"d": outcome})


def test_speed_weighs_tasks_by_their_time() -> None:
    """All tasks together is the ratio of sums; each task's own is over its draws."""
    runs = [_run("x", 4.0, 2.0), _run("x", 2.0, 1.0), _run("y", 3.0, 6.0)]
    found = speed(runs, "d", 1.0)
    assert found.total == pytest.approx(1.0)
    assert found.tasks == [2.0, 0.5]
    assert (found.slower, found.slowest) == (0.5, 0.5)


def test_two_percent_is_not_slower() -> None:
    """A task counts as slower only beyond two percent."""
    assert speed([_run("x", 100.0, 101.9)], "d", 1.0).slower == 0
    assert speed([_run("x", 100.0, 102.1)], "d", 1.0).slower == 1


def test_only_runs_with_the_median_and_the_way_count() -> None:
    """Other medians and ways are left out."""
    runs = [_run("x", 4.0, 2.0), _run("x", 9.0, 1.0, median=3.0)]
    assert speed(runs, "d", 1.0).total == 2.0
    assert toolnode_speed(runs, 3.0) == 2.0
    assert per_task(runs, "d", 1.0, "output") == 100


def test_what_fewer_draws_gain_is_applied_to_all() -> None:
    """The speedup without the cost of waiting is scaled from the draws that have both."""
    both = _run("x", 4.0, 2.0)
    both.outcomes["free"] = Outcome(seconds=1.0, turns=3, output=95, uncached=7)
    assert speed_if_free([both, _run("x", 4.0, 6.0)], 1.0) == pytest.approx(2.0)


def test_nearness_is_the_bound_over_the_time() -> None:
    """Mean and fifth percentile of the shares."""
    runs = [_run(f"t{n}", 4.0, 2.0, ideal=n / 10) for n in range(20)]
    found = near(runs, "d", "ideal", 1.0)
    assert found.mean == pytest.approx(sum(n / 20 for n in range(20)) / 20)
    assert found.p5 == pytest.approx(0.05)


def test_percentile_is_a_value_of_the_list() -> None:
    """By the nearest rank, whatever the order."""
    assert [percentile([5, 1, 3], share) for share in (0.0, 0.5, 0.99)] == [1, 3, 5]
