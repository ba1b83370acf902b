"""The dependency tracker against `naive_order`, with random calls, ends and orders of completion.

Each invariant was seen to fail on a tracker broken on purpose:

| invariant | seen to fail with |
|---|---|
| no call runs with one that it must wait for | refining drops every edge |
| the same | an uncertain writer stands in for others |
| waits for all that it must wait for | edges past a call that never ran left out |
| the same | the hazard index not asked |
| no call is held back without a reason (rules 3, 5) | undeclared calls wait for their own batch |
| skipped if and only if it must be (rule 17) | fences blind to earlier failures |
| the cause is the root (rule 17) | the direct cause handed on |
| a call is ready or skipped, never both | ready calls that fall in the same event kept |
| what conflicts since (rule 15) | undeclared calls in between overlooked |
| the same | the index not restored, or dropped for a dead undeclared call |
| what would start at once (eager start) | undeclared calls of the last batch overlooked |
| all ends, nothing is left (rule 7) | a join that never ends; branches not pruned |
"""

from __future__ import annotations

import os
import sys
from dataclasses import dataclass

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from langchain_asyncfc.effects import Access, Levels
from langchain_asyncfc.futures import FutureState
from langchain_asyncfc.tracker import DependencyTracker, Steps
from tests.stateful.naive_order import RESOURCES, Spec, conflict, must_wait

UNSUCCESSFUL = (FutureState.FAILED, FutureState.CANCELLED, FutureState.SKIPPED)


@dataclass(frozen=True)
class Draft:
    """A call to come; references count backwards from it."""

    declared: bool
    fence: bool
    reads: tuple[Levels, ...]
    writes: tuple[Levels, ...]
    back: frozenset[int]
    hides: frozenset[int]


# The root and other wide resources seldom: they make everything wait for everything.
_paths = st.lists(st.sampled_from(RESOURCES + RESOURCES[2:]), max_size=2).map(tuple)
drafts = st.builds(
    Draft,
    declared=st.sampled_from([True, True, True, False]),
    fence=st.sampled_from([False, False, False, False, True]),
    reads=_paths,
    writes=_paths,
    back=st.frozensets(st.integers(1, 6), max_size=2),
    hides=st.sampled_from([frozenset(), frozenset({0}), frozenset({0, 1, 2, 3})]),
)


def spec_of(draft: Draft, ordinal: int, batch: int) -> Spec:
    """A draft in its place among the calls."""
    references = frozenset(ordinal - back for back in draft.back if back < ordinal)
    paths = draft.reads + draft.writes
    hides = frozenset(i for i in draft.hides if i < len(paths) and paths[i])
    hidden_by = min(references) if draft.declared and hides and references else None
    return Spec(
        ordinal,
        batch,
        draft.declared,
        draft.reads if draft.declared else (),
        draft.writes if draft.declared else (),
        draft.fence,
        references,
        hides,
        hidden_by,
        known=hidden_by is None,
    )


def access(spec: Spec) -> Access | None:
    """What the tracker is told of a call's resources."""
    return Access(*spec.paths(), exact=spec.known) if spec.declared else None


class TrackerMachine(RuleBasedStateMachine):
    """Events come in any order that a scheduler may send them in."""

    def __init__(self) -> None:
        super().__init__()
        self.tracker = DependencyTracker()
        self.specs: dict[int, Spec] = {}
        self.ended: dict[int, FutureState] = {}
        self.roots: dict[int, int] = {}
        self.unseen: set[int] = set()
        self.ready: set[int] = set()
        self.started: set[int] = set()
        self.never_ran: set[int] = set()
        self.batch = 0

    # -- the model ----------------------------------------------------------------------------

    def unfinished(self) -> list[Spec]:
        return [spec for n, spec in self.specs.items() if n not in self.ended]

    def blockers(self, spec: Spec) -> set[int]:
        return {other.ordinal for other in self.unfinished() if must_wait(spec, other)}

    def end(self, call: int, state: FutureState, root: int) -> None:
        self.ended[call] = state
        self.ready.discard(call)
        if call not in self.started:
            self.never_ran.add(call)
        if state in UNSUCCESSFUL:
            self.roots[call] = root
            self.unseen.add(call)

    def doomed(self, failed: int) -> set[int]:
        """What falls with a call: by reference, or as a fence, transitively (rule 17)."""
        found = {failed}
        for spec in self.unfinished():  # in issue order, so one pass is enough
            by_reference = bool(spec.references & found)
            if by_reference or (spec.fence and spec.ordinal > failed):
                found.add(spec.ordinal)
        return found - {failed}

    def take(self, steps: Steps) -> None:
        """Note the calls that may start, each of which has nothing left to wait for."""
        for call in steps.ready:
            assert call in self.specs, "only calls start"
            assert call not in self.started, f"{call} was started already"
            assert call not in self.ended, f"{call} has ended already"
            self.ready.add(call)
        assert len(set(steps.ready)) == len(steps.ready)

    # -- events -------------------------------------------------------------------------------

    @rule(batch=st.lists(drafts, min_size=1, max_size=4))
    def issue(self, batch: list[Draft]) -> None:
        self.batch += 1
        for draft in batch:
            spec = spec_of(draft, len(self.specs) + 1, self.batch)
            if spec.hidden_by in self.ended:
                spec.known = True
            causes = {r for r in spec.references if self.ended.get(r) in UNSUCCESSFUL}
            if spec.fence:
                causes |= self.unseen
            call = spec.ordinal
            plain = draft is batch[0] and spec.declared and not spec.fence and not spec.references
            is_free = plain and self.tracker.is_free(access(spec) or Access())
            assert not (is_free and self.blockers(spec))
            steps = self.tracker.issue(
                call,
                batch=self.batch,
                access=access(spec),
                references=spec.references,
                fence=spec.fence,
            )
            assert not plain or is_free == (steps.ready == [call])
            self.specs[call] = spec
            if causes:
                assert [s.call for s in steps.skipped] == [call]
                assert steps.skipped[0].cause in {self.roots[cause] for cause in causes}
                self.end(call, FutureState.SKIPPED, steps.skipped[0].cause)
            else:
                assert not steps.skipped
            self.take(steps)

    def finish(self, call: int, state: FutureState, *, refine: bool) -> None:
        doomed = set() if state is FutureState.RESOLVED else self.doomed(call)
        referrers = [s for s in self.unfinished() if call in s.references]
        assert self.tracker.referrers(call) == [s.ordinal for s in referrers]
        if state is FutureState.CANCELLED and call not in self.started:
            steps = self.tracker.cancel(call)
        else:
            steps = self.tracker.finish(call, state)
        self.end(call, state, call)
        assert {s.call for s in steps.skipped} == doomed
        assert all(s.cause == call for s in steps.skipped)
        for skipped in steps.skipped:
            self.end(skipped.call, FutureState.SKIPPED, call)
        self.take(steps)
        for spec in referrers:
            if refine and spec.hidden_by == call and spec.ordinal not in self.ended:
                spec.known = True
                self.take(self.tracker.refine(spec.ordinal, access(spec) or Access()))

    @precondition(lambda self: self.ready - self.started)
    @rule(data=st.data())
    def start(self, data: st.DataObject) -> None:
        call = data.draw(st.sampled_from(sorted(self.ready - self.started)), "call")
        self.tracker.start(call)
        self.started.add(call)
        self.ready.discard(call)

    @precondition(lambda self: self.started - self.ended.keys())
    @rule(
        data=st.data(),
        state=st.sampled_from(
            [FutureState.RESOLVED, FutureState.RESOLVED, FutureState.FAILED, FutureState.CANCELLED]
        ),
        refine=st.sampled_from([True, True, False]),
    )
    def end_running(self, data: st.DataObject, state: FutureState, *, refine: bool) -> None:
        running = sorted(self.started - self.ended.keys())
        self.finish(data.draw(st.sampled_from(running), "call"), state, refine=refine)

    @precondition(lambda self: self.ready)
    @rule(data=st.data())
    def fail_to_start(self, data: st.DataObject) -> None:
        """A value does not fit the parameter."""
        call = data.draw(st.sampled_from(sorted(self.ready)), "call")
        self.finish(call, FutureState.FAILED, refine=True)

    @precondition(lambda self: self.specs.keys() - self.ended.keys() - self.started)
    @rule(data=st.data())
    def cancel_waiting(self, data: st.DataObject) -> None:
        waiting = sorted(self.specs.keys() - self.ended.keys() - self.started)
        call = data.draw(st.sampled_from(waiting), "call")
        self.finish(call, FutureState.CANCELLED, refine=True)

    @precondition(lambda self: self.unseen)
    @rule(data=st.data())
    def tell_the_model(self, data: st.DataObject) -> None:
        call = data.draw(st.sampled_from(sorted(self.unseen)), "call")
        self.tracker.seen(call)
        self.unseen.discard(call)

    # -- invariants ---------------------------------------------------------------------------

    @invariant()
    def no_call_runs_with_one_that_it_must_wait_for(self) -> None:
        """Rules 2 to 6: safety."""
        for call in self.ready | (self.started - self.ended.keys()):
            assert not self.blockers(self.specs[call]), call

    @invariant()
    def no_call_is_held_back_without_a_reason(self) -> None:
        """Rules 3 and 5: minimality.

        One excess is meant: what waited for a call that never ran goes on waiting for what that
        call had waited for.
        """
        for spec in self.unfinished():
            call = spec.ordinal
            if call in self.ready | self.started or self.blockers(spec):
                continue
            inherited, gone, stack = set[int](), set[int](), [spec]
            while stack:
                later = stack.pop()
                behind = {
                    s.ordinal for s in self.specs.values() if must_wait(later, s, widest=True)
                }
                inherited |= set() if later is spec else behind - self.ended.keys()
                stack += [self.specs[n] for n in behind & self.never_ran - gone]
                gone |= behind & self.never_ran
            assert inherited, f"{call} waits for nothing"

    @invariant()
    def answers_agree_with_the_model(self) -> None:
        """States, and what is said of whom a call waits for."""
        assert len(self.tracker) == len(self.unfinished())
        waits = {spec.ordinal: set[int]() for spec in self.unfinished()}
        for spec in self.unfinished():
            call = spec.ordinal
            running = call in self.started
            state = FutureState.RUNNING if running else FutureState.WAITING
            assert self.tracker.state(call) is state
            waited_for = self.tracker.waits_for(call)
            assert waited_for == sorted(waited_for)
            assert bool(waited_for) == (call not in self.ready | self.started)
            for earlier in waited_for:
                assert earlier < call
                waits[call] |= {earlier} | waits[earlier]
            assert self.blockers(spec) <= waits[call], "waits for all that it must wait for"
        for call, state in self.ended.items():
            assert self.tracker.state(call) is state

    @invariant()
    def knows_what_conflicts_since(self) -> None:
        """Rule 15: what was issued in between."""
        for spec in self.unfinished():
            if not spec.declared:
                continue
            later = [s for s in self.specs.values() if s.ordinal > spec.ordinal]
            conflicting = [s for s in later if not s.declared or conflict(spec, s)]
            asked = self.tracker.conflict_since(spec.ordinal, access(spec) or Access())
            # What runs beside an undeclared call of its batch may not answer a later batch.
            beside = any(
                not s.declared and s.batch == spec.batch
                for s in self.specs.values()
                if s.ordinal < spec.ordinal
            )
            if asked:
                wider = any(conflict(spec, s, widest=True) for s in later)
                assert conflicting or wider or beside
            else:
                assert all(s.ordinal in self.ended for s in conflicting)

    def teardown(self) -> None:
        """Let everything end: nothing may be left waiting, and nothing left behind (rule 7)."""
        if sys.exc_info()[0]:
            return
        while running := sorted(self.ready | (self.started - self.ended.keys())):
            call = running[-1]
            if call in self.ready:
                self.tracker.start(call)
                self.started.add(call)
            self.finish(call, FutureState.RESOLVED, refine=True)
            self.no_call_runs_with_one_that_it_must_wait_for()
        assert not self.unfinished(), "a call waits for ever"
        assert not self.tracker._nodes, "a join is left"
        for tree in (self.tracker._index._readers, self.tracker._index._writers):
            assert not tree.calls
            assert not tree.branches


TestTracker = TrackerMachine.TestCase
TestTracker.settings = settings(
    max_examples=int(os.environ.get("STATEFUL_EXAMPLES", "150")),
    stateful_step_count=30,
    deadline=None,
    derandomize="CI" in os.environ,
    report_multiple_bugs=False,
)
