"""Tests of which calls may start, one rule at a time."""

from __future__ import annotations

from collections.abc import Iterable

import pytest

from langchain_asyncfc.effects import Access, levels_of
from langchain_asyncfc.futures import FutureState
from langchain_asyncfc.tracker import DependencyTracker, Skipped, Steps

RESOLVED, FAILED, CANCELLED = FutureState.RESOLVED, FutureState.FAILED, FutureState.CANCELLED
SKIPPED = FutureState.SKIPPED


def access(reads: str = "", writes: str = "", *, exact: bool = True) -> Access:
    return Access(
        tuple(map(levels_of, reads.split())), tuple(map(levels_of, writes.split())), exact
    )


class Calls:
    """A tracker whose ready calls are started at once."""

    def __init__(self) -> None:
        self.tracker = DependencyTracker()
        self.last = 0

    def issue(
        self,
        batch: int,
        reads: str = "",
        writes: str = "",
        *,
        refs: Iterable[int] = (),
        fence: bool = False,
        declared: bool = True,
        exact: bool = True,
    ) -> Steps:
        self.last += 1
        return self.start(
            self.tracker.issue(
                self.last,
                batch=batch,
                access=access(reads, writes, exact=exact) if declared else None,
                references=refs,
                fence=fence,
            )
        )

    def undeclared(self, batch: int, **more: bool) -> Steps:
        return self.issue(batch, declared=False, **more)

    def start(self, steps: Steps) -> Steps:
        for call in steps.ready:
            self.tracker.start(call)
        return steps

    def finish(self, call: int, state: FutureState = RESOLVED) -> Steps:
        return self.start(self.tracker.finish(call, state))

    def cancel(self, call: int) -> Steps:
        return self.start(self.tracker.cancel(call))


@pytest.fixture
def calls() -> Calls:
    return Calls()


def test_what_does_not_conflict_starts_at_once(calls: Calls) -> None:
    """Rule 3: two calls with declared effects wait for each other only on a hazard."""
    assert calls.issue(1, writes="fs:/src").ready == [1]
    assert calls.issue(1, reads="fs:/docs").ready == [2]
    assert calls.issue(2, writes="db:").ready == [3]
    assert calls.issue(2, reads="fs:/src/a.py").ready == []
    assert calls.tracker.waits_for(4) == [1]
    assert str(calls.tracker.reason(4, 1)) == "RAW on fs:/src/a.py"
    assert len(calls.tracker) == 4
    assert calls.finish(1).ready == [4]


def test_hazards_order_within_a_batch(calls: Calls) -> None:
    """Rule 5: inside one batch declared hazards order calls, in call order."""
    calls.issue(1, reads="a")
    assert calls.issue(1, writes="a").ready == []
    assert calls.issue(1, reads="a").ready == []
    assert calls.finish(1).ready == [2]
    assert calls.finish(2).ready == [3]


def test_undeclared_calls_of_one_batch_run_side_by_side(calls: Calls) -> None:
    """Rule 5: never less parallel than ToolNode."""
    assert calls.undeclared(1).ready == [1]
    assert calls.issue(1, writes="/").ready == [2]
    assert calls.undeclared(1).ready == [3]


def test_undeclared_calls_keep_batches_apart(calls: Calls) -> None:
    """Rule 4: one waits for all calls of earlier batches, and all later batches wait for it."""
    calls.issue(1, reads="a")
    calls.issue(1)
    assert calls.undeclared(2).ready == []
    assert calls.issue(3).ready == []
    assert calls.tracker.waits_for(3) == [1, 2]
    assert calls.tracker.waits_for(4) == [3]
    assert calls.tracker.reason(4, 3) is None
    assert calls.finish(1).ready == []
    assert calls.finish(2).ready == [3]
    assert calls.finish(3).ready == [4]


def test_a_reference_waits_and_needs_success(calls: Calls) -> None:
    """Rules 2 and 17: a failure takes what refers to it along, and names the root."""
    calls.issue(1)
    calls.issue(1, refs=[1])
    calls.issue(2, refs=[2])
    calls.issue(2, refs=[1])
    assert calls.tracker.referrers(1) == [2, 4]
    steps = calls.finish(1, FAILED)
    assert sorted(steps.skipped, key=lambda s: s.call) == [Skipped(n, 1) for n in (2, 3, 4)]
    assert steps.ready == []
    assert calls.tracker.state(3) is SKIPPED
    assert calls.tracker.referrers(1) == []


@pytest.mark.parametrize("state", [FAILED, CANCELLED])
def test_a_reference_to_what_did_not_resolve_is_skipped_at_issue(
    calls: Calls, state: FutureState
) -> None:
    """Rule 17: also when the failure came first; the cause is the root, not the middle."""
    calls.issue(1)
    calls.finish(1, state)
    assert calls.issue(2, refs=[1]).skipped == [Skipped(2, 1)]
    assert calls.issue(3, refs=[2]).skipped == [Skipped(3, 1)]


def test_what_waits_only_for_order_still_runs(calls: Calls) -> None:
    """Rule 17: a call ordered only by a hazard runs although the earlier one failed."""
    calls.issue(1, writes="a")
    calls.issue(2, reads="a")
    calls.undeclared(3)
    assert calls.finish(1, FAILED).ready == [2]
    assert calls.finish(2, FAILED).ready == [3]


def test_a_call_that_falls_is_not_ready_as_well(calls: Calls) -> None:
    """Rule 17: what refers to a failed call and waits for it by order is skipped, not started."""
    calls.issue(1)
    calls.undeclared(2)
    calls.last += 1
    calls.tracker.issue(3, batch=2, access=None, references=[1])
    steps = calls.finish(1, FAILED)
    assert steps.ready == [2]
    assert steps.skipped == [Skipped(3, 1)]


def test_a_fence_waits_for_everything(calls: Calls) -> None:
    """Words: a fence waits for every earlier call, its own batch's too; later ones pass it."""
    calls.issue(1)
    calls.undeclared(2)
    calls.finish(1)
    assert calls.issue(2, fence=True).ready == []
    assert calls.tracker.waits_for(3) == [2]
    assert calls.issue(2).ready == [4]
    assert calls.issue(2, fence=True).ready == []
    assert calls.finish(2).ready == [3]
    assert calls.finish(4).ready == []
    assert calls.finish(3).ready == [5]


def test_a_fence_falls_with_any_earlier_failure(calls: Calls) -> None:
    """Rule 17: a fence starts only if none of the earlier calls failed, whatever they touch."""
    calls.issue(1)
    calls.issue(1)
    calls.issue(1, fence=True)
    calls.issue(1, refs=[3])
    assert calls.finish(2, FAILED).skipped == [Skipped(3, 2), Skipped(4, 2)]
    assert calls.issue(2, fence=True).skipped == [Skipped(5, 2)]


def test_a_fence_overlooks_failures_that_the_model_was_told_of(calls: Calls) -> None:
    """Rule 17: a model that saw the failure and goes on means it."""
    calls.issue(1)
    calls.finish(1, FAILED)
    calls.tracker.seen(1)
    assert calls.issue(2, fence=True).ready == [2]


def test_a_fence_that_runs_is_past_failures(calls: Calls) -> None:
    """Rule 17: only what was not started is skipped."""
    calls.issue(1, fence=True)
    calls.issue(1)
    assert calls.finish(2, FAILED).skipped == []
    assert calls.finish(1).skipped == []


def test_order_is_kept_when_the_middle_is_cancelled(calls: Calls) -> None:
    """Rule 6: who waited for a cancelled call waits for what that one had waited for."""
    calls.issue(1, writes="a")
    calls.issue(1, writes="a")
    calls.issue(1, writes="a")
    assert calls.cancel(2) == Steps()
    assert calls.tracker.waits_for(3) == [1]
    assert calls.issue(2, reads="a").ready == []
    assert calls.finish(1).ready == [3]
    assert calls.finish(3).ready == [4]


def test_what_a_cancelled_call_covered_is_found_again(calls: Calls) -> None:
    """Rule 6: a call issued after the cancellation waits for what was covered."""
    calls.issue(1, writes="a")
    calls.issue(1, writes="a")
    calls.cancel(2)
    assert calls.issue(2, reads="a").ready == []
    assert calls.tracker.waits_for(3) == [1]


def test_an_undeclared_call_that_was_cancelled_hides_nothing(calls: Calls) -> None:
    """Rule 6: earlier calls still count when a dead undeclared call stood between."""
    calls.issue(1, writes="a")
    calls.undeclared(2)
    calls.cancel(2)
    assert calls.issue(3, reads="a").ready == []
    assert calls.issue(3, reads="b").ready == [4]


def test_what_a_cancelled_fence_covered_is_fenced_again(calls: Calls) -> None:
    """Rule 6: the next fence of the batch waits for what the cancelled one had waited for."""
    calls.issue(1)
    calls.issue(1, fence=True)
    calls.cancel(2)
    calls.tracker.seen(2)
    assert calls.issue(1, fence=True).ready == []
    assert calls.tracker.waits_for(3) == [1]


def test_hazards_shrink_on_both_sides(calls: Calls) -> None:
    """Rule 3: with the value known a call waits for less, and less waits for it."""
    calls.issue(1)
    calls.issue(1, reads="fs:a")
    calls.issue(1, writes="fs:", refs=[1], exact=False)
    calls.issue(1, reads="fs:b")
    calls.issue(1, reads="fs:c")
    calls.undeclared(2)
    assert calls.tracker.waits_for(3) == [1, 2]
    assert calls.start(calls.tracker.refine(3, access(writes="fs:b"))).ready == [5]
    assert calls.tracker.waits_for(3) == [1]
    assert calls.finish(1).ready == [3]
    assert calls.finish(3).ready == [4]


def test_refining_may_set_a_call_free(calls: Calls) -> None:
    """Rule 3: the last edge may have been there only for the wider resources."""
    calls.issue(1, writes="fs:a")
    calls.issue(1, reads="fs:", exact=False)
    assert calls.start(calls.tracker.refine(2, access(reads="fs:b"))).ready == [2]


def test_refining_leaves_references_fences_and_undeclared_calls(calls: Calls) -> None:
    """Rule 3: only edges that stand for a hazard alone can go away."""
    calls.issue(1, writes="fs:", exact=False)
    calls.issue(1, reads="fs:a", refs=[1])
    calls.issue(1, reads="fs:a", fence=True)
    calls.undeclared(2)
    assert calls.tracker.refine(1, access(writes="fs:b")) == Steps()
    assert calls.tracker.waits_for(2) == [1]
    assert calls.tracker.waits_for(3) == [1, 2]


def test_refining_nothing_does_nothing(calls: Calls) -> None:
    """An ended call, an undeclared one or an unchanged access is left alone."""
    calls.issue(1, writes="a")
    calls.undeclared(1)
    for call in (1, 2, 9):
        assert calls.tracker.refine(call, access(writes="a")) == Steps()
    calls.finish(1)
    assert calls.tracker.refine(1, access()) == Steps()


def test_what_conflicts_in_between(calls: Calls) -> None:
    """Rule 15: a call joins another only if nothing that conflicts was issued in between."""
    calls.issue(1, reads="a")
    asked = access("a")
    assert not calls.tracker.conflict_since(1, asked)
    calls.issue(1, reads="a")
    calls.issue(1, writes="b")
    assert not calls.tracker.conflict_since(1, asked)
    calls.issue(1, writes="a/b")
    assert calls.tracker.conflict_since(1, asked)


def test_an_undeclared_call_in_between_conflicts(calls: Calls) -> None:
    """Rule 15: what touches everything conflicts with everything."""
    calls.issue(1, reads="a")
    calls.undeclared(1)
    assert calls.tracker.conflict_since(1, access("a"))


def test_a_call_that_parts_runs_for_itself(calls: Calls) -> None:
    """Rule 15: what joined a cancelled call keeps its place among the others."""
    calls.issue(1, reads="a")
    calls.issue(1, refs=[1])
    calls.issue(1, refs=[1])
    calls.issue(2, writes="a")
    calls.tracker.part(2, 1, access("a"))
    calls.tracker.follow(3, 1, 2)
    assert calls.finish(1, CANCELLED) == Steps([2], [])
    assert calls.tracker.waits_for(4) == [2]
    assert calls.finish(2).ready == [3, 4]


def test_states_are_told(calls: Calls) -> None:
    """States: a tracker knows every call that it was told of."""
    calls.issue(1)
    calls.issue(1, refs=[1])
    states = [calls.tracker.state(n) for n in (1, 2, 3)]
    assert states == [FutureState.RUNNING, FutureState.WAITING, None]
    calls.finish(1)
    assert calls.tracker.state(1) is RESOLVED
    assert calls.tracker.waits_for(1) == []
    assert calls.tracker.reason(2, 1) is None


def test_a_second_end_changes_nothing(calls: Calls) -> None:
    """An outcome is set once."""
    calls.issue(1)
    calls.finish(1)
    assert calls.finish(1, FAILED) == Steps()
    assert calls.tracker.state(1) is RESOLVED


@pytest.mark.parametrize("writes", ["a", "b:{n}"])
def test_the_edges_of_a_call_do_not_grow_with_what_came_before(calls: Calls, writes: str) -> None:
    """Cost: a chain of writers and alternating undeclared batches have few edges a call."""
    for n in range(1, 200):
        if n % 3:
            calls.issue(n, writes=writes.format(n=n))
        else:
            calls.undeclared(n)
    edges = sum(len(node.waits) for node in calls.tracker._nodes.values())
    assert edges < 4 * 200
    for n in range(1, 200):
        calls.finish(n)
    assert not calls.tracker._nodes


def test_joins_are_seen_through(calls: Calls) -> None:
    """Rule 4: whom a call waits for is told as calls, however many joins lie between."""
    calls.issue(1)
    calls.undeclared(2)
    calls.undeclared(3)
    calls.issue(3, fence=True)
    assert calls.tracker.waits_for(4) == [1, 2, 3]


def test_a_call_is_free_if_it_would_start_at_once(calls: Calls) -> None:
    """What would be issued next waits for nothing: no hazard, and nothing undeclared."""
    tracker = calls.tracker
    assert tracker.is_free(access("a"))
    calls.issue(1, writes="a")
    assert not tracker.is_free(access("a"))
    assert tracker.is_free(access("b"))
    calls.undeclared(2)
    assert not tracker.is_free(access("b"))
    calls.finish(1)
    calls.issue(3, reads="c")
    assert not tracker.is_free(access("b"))
    calls.finish(2)
    assert tracker.is_free(access("b"))
