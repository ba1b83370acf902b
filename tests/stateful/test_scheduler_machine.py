"""The scheduler on an executor that is driven by hand, against a serial run of the same calls.

Tools are simulated: each reads and writes leaves of a small tree of resources, early, late or
astride its run, and returns a digest of its arguments and of what it read. So a wrong order shows
in a value, and every start is checked against `naive_order` as well.

Each invariant was seen to fail on a scheduler broken on purpose:

| invariant | seen to fail with |
|---|---|
| no call runs with one that it must wait for (rules 2-6) | the hazard index not asked |
| equal to a serial run (rule 6) | the path of a reference ignored |
| nothing is held back (rules 3, 7) | hazards that never shrink; a slot not given back |
| all ends (rule 7) | a freed slot not used |
| the limit is kept | one call more than the limit |
| identical calls run once (rule 15) | calls that never join |
| a joined call sees what it would see by itself (rules 4, 15) | joining across a conflict |
| only what was cancelled is cancelled (rule 15) | no heir for a cancelled call |
| a cancellation starts nothing (rule 19) | cancelling in issue order |
| skipped if and only if it must be (rule 17) | references not waited for |
| states follow the table, one outcome each | a second outcome taken |
| nothing starts twice | a batch issued twice |
| a timeout ends with its call (rule 18) | timeouts not called off |
| undelivered, and waiters called once | delivered outcomes kept; callbacks lost |
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import sys
from collections.abc import Callable
from contextvars import copy_context
from dataclasses import dataclass
from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
)
from langchain_core.messages import ToolCall

from langchain_asyncfc.calls import read_call
from langchain_asyncfc.effects import UNDECLARED, Effects, Levels, levels_of
from langchain_asyncfc.executors import Job
from langchain_asyncfc.futures import TRANSITIONS, FutureState, Outcome
from langchain_asyncfc.invocations import Invocation
from langchain_asyncfc.scheduler import Lane, Scheduler, ToolFuture
from langchain_asyncfc.testing.executors import ManualExecutor
from langchain_asyncfc.toolbox import ToolFacts
from tests.stateful.naive_order import Spec, conflict, must_wait, overlap

UNUSED: Any = Invocation(None, lambda _: None, None, None)  # type: ignore[arg-type]
"""The executor is a manual one, which does not run what it is given."""

TOOLS: dict[str, Effects] = {
    "read": Effects(reads="fs:{path}"),
    "write": Effects(writes="fs:{path}"),
    "edit": Effects(reads="fs:{path}", writes="fs:{path}"),
    "copy": Effects(reads="fs:{path}", writes="fs:{to}"),
    "query": Effects(reads="db:"),
    "store": Effects(reads="fs:{path}", writes="db:x"),
    "pure": Effects(),
    "unknown": UNDECLARED,
    "commit": Effects(reads="fs:", writes="db:", fence=True),
    "gate": Effects(fence=True),
}
SHAREABLE = {"read", "query", "pure"}
PATHS = ("a", "a/b", "a/c", "d")
LEAVES: tuple[Levels, ...] = (("fs:", "a", "b"), ("fs:", "a", "c"), ("fs:", "d"), ("db:", "x"))
HIDDEN: Levels = ("hidden",)
"""What only undeclared tools touch."""
REFERENCE = re.compile(r"future_(\d+)")
ELSEWHERE = {"path": "a", "digest": 0}
"""The value of a call that nobody brought, as somebody else has answered it."""
TIMEOUT = 5.0
LANE = Lane()


@dataclass(frozen=True)
class Draft:
    """A call to come.

    Attributes:
        path: Its path, or how many calls back the future is whose value holds it.
        to: The same for a second path.
        value: `None`, or how many calls back the future is that it passes on.
        broken: Whether the reference in `value` has a path that is not there.
        mode: When its effects happen: both early, both late, or reads early and writes late.
    """

    tool: str
    path: str | int
    to: str | int
    value: int | None
    broken: bool
    mode: str
    timeout: bool
    provided: bool


_path = st.one_of(st.sampled_from(PATHS), st.integers(1, 4))
drafts = st.builds(
    Draft,
    tool=st.sampled_from(sorted(TOOLS)),
    path=_path,
    to=_path,
    value=st.one_of(st.none(), st.none(), st.integers(1, 5)),
    broken=st.sampled_from([False, False, False, False, True]),
    mode=st.sampled_from(["early", "late", "astride"]),
    timeout=st.sampled_from([False, False, True]),
    provided=st.sampled_from([True] * 7 + [False]),
)


def arguments(draft: Draft, ordinal: int) -> dict[str, Any]:
    """The arguments as a model would write them."""

    def path(given: str | int) -> str:
        if isinstance(given, str):
            return given
        return f"future_{ordinal - given}.path" if given < ordinal else "a"

    named = TOOLS[draft.tool].arguments()
    args: dict[str, Any] = {n: path(getattr(draft, n)) for n in ("path", "to") if n in named}
    if draft.value is not None:  # may point at no future at all: a problem at issue
        args["value"] = f"future_{ordinal - draft.value}" + (".nope" if draft.broken else "")
    return args


def digest(*parts: Any) -> int:
    """A number that tells different parts apart."""
    text = json.dumps(parts, sort_keys=True)
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:6], "big")


class Run(Spec):
    """The model of one call; its paths shrink as the values that they name come in."""

    def __init__(self, ordinal: int, batch: int, draft: Draft, lane: Lane) -> None:
        self.draft = draft
        self.lane = lane
        self.args = arguments(draft, ordinal)
        named = {int(n) for text in self.args.values() for n in REFERENCE.findall(text)}
        self.problem = any(not 1 <= n < ordinal for n in named)
        effects = TOOLS[draft.tool]
        super().__init__(
            ordinal,
            batch,
            # A call that cannot run touches nothing.
            declared=effects.declared or self.problem,
            fence=effects.fence,
            references=frozenset() if self.problem else frozenset(named),
        )
        self.future: ToolFuture = None  # type: ignore[assignment]
        self.values: dict[int, Any] = {}
        self.elsewhere: dict[int, Any] = {}
        self.delivered = False
        self.joined: list[Run] = []
        self.unended: set[int] = set()
        self.cancel_requested = False
        self.leaves: tuple[Levels, ...] | None = None
        self.snapshot: dict[Levels, int] | None = None
        self.wrote = False
        self.job_args: dict[str, Any] | None = None
        self.outcome: Outcome | None = None
        self.calls_back = 0

    @property
    def identity(self) -> tuple[int, str]:
        return id(self.lane), json.dumps([self.draft.tool, self.args], sort_keys=True)

    @property
    def is_lost(self) -> bool:
        """Whether a value came in which has not what the call asks of it."""
        asked = _named(self.args.get("value", ""))
        return self.draft.broken and any(reference in self.values for reference in asked)

    @property
    def started(self) -> bool:
        return self.job_args is not None

    @property
    def done(self) -> bool:
        return self.future.done

    def paths(self, *, widest: bool = False) -> tuple[tuple[Levels, ...], tuple[Levels, ...]]:
        effects = TOOLS[self.draft.tool]
        if self.problem or not effects.declared:
            return (), ()
        known = self.elsewhere if widest else self.values
        broken = self.is_lost and not widest
        reads = tuple(self._levels(path, known, wide=broken) for path in effects.reads or ())
        return reads, tuple(self._levels(p, known, wide=broken) for p in effects.writes or ())

    def _levels(self, path: str, known: dict[int, Any], *, wide: bool) -> Levels:
        for name in ("path", "to"):
            if "{" + name + "}" in path:
                text = self.args[name]
                references = _named(text)
                if references and (wide or references[0] not in known):
                    return ("fs:",)
                value = known[references[0]]["path"] if references else text
                return levels_of(path.format(**{name: value}))
        return levels_of(path)

    def touched(self) -> tuple[list[Levels], list[Levels]]:
        """The leaves that its tool really reads and writes."""
        if self.leaves is not None:
            return list(self.leaves), list(self.leaves)
        reads, writes = self.paths()
        return (
            [leaf for leaf in LEAVES if any(overlap(leaf, path) for path in reads)],
            [leaf for leaf in LEAVES if any(overlap(leaf, path) for path in writes)],
        )

    def read(self, world: dict[Levels, int]) -> dict[Levels, int]:
        return {leaf: world[leaf] for leaf in self.touched()[0]}

    def result(self, args: dict[str, Any], seen: dict[Levels, int]) -> dict[str, Any]:
        number = digest(self.draft.tool, args, sorted((list(k), v) for k, v in seen.items()))
        return {"path": PATHS[number % len(PATHS)], "digest": number}

    def write(self, world: dict[Levels, int], value: dict[str, Any]) -> None:
        for leaf in self.touched()[1]:
            world[leaf] = digest(list(leaf), value["digest"])


def _named(text: str) -> list[int]:
    return [int(n) for n in REFERENCE.findall(text)]


class Clock:
    """A home whose time a test moves."""

    def __init__(self) -> None:
        self.time = 0.0
        self.timers: list[tuple[float, Callable[[], None]]] = []

    def now(self) -> float:
        return self.time

    def is_here(self) -> bool:
        return True

    def call_later(self, seconds: float, callback: Callable[[], None]) -> Callable[[], None]:
        timer = (self.time + seconds, callback)
        self.timers.append(timer)
        return lambda: self.timers.remove(timer) if timer in self.timers else None

    def post(self, callback: Callable[[], None]) -> None:
        callback()

    def advance(self, seconds: float) -> None:
        self.time += seconds
        for due, callback in sorted(self.timers, key=lambda timer: timer[0]):
            if due <= self.time and (due, callback) in self.timers:
                self.timers.remove((due, callback))
                callback()


class Checked(ManualExecutor):
    """Tells the machine of each start, before the call runs."""

    def __init__(self, started: Callable[[int, Job], None], *, ends_when_cancelled: bool) -> None:
        super().__init__(ends_when_cancelled=ends_when_cancelled)
        self.on_start = started
        self.reports: dict[int, Callable[[Outcome], None]] = {}

    def submit(self, job: Job, done: Callable[[Outcome], None]) -> Callable[[], None]:
        ordinal = int(job.id.rpartition("_")[2])
        assert ordinal not in self.reports, f"future_{ordinal} was started twice"
        self.reports[ordinal] = done
        stop = super().submit(job, done)
        self.on_start(ordinal, job)
        return stop


class SchedulerMachine(RuleBasedStateMachine):
    """Batches, ends, cancellations, timeouts and deliveries in any order."""

    def __init__(self) -> None:
        super().__init__()
        self.clock = Clock()
        self.lanes = (Lane(), Lane(limit=2))
        self.runs: dict[int, Run] = {}
        self.world: dict[Levels, int] = dict.fromkeys((*LEAVES, HIDDEN), 0)
        self.batches = 0
        self.withdrawn: set[int] = set()
        self.states: dict[int, FutureState] = {}

    @initialize(ends_when_cancelled=st.booleans())
    def begin(self, *, ends_when_cancelled: bool) -> None:
        self.executor = Checked(self.started, ends_when_cancelled=ends_when_cancelled)
        self.scheduler = Scheduler(self.executor, self.clock, "key")

    # -- the simulated tools ------------------------------------------------------------------

    def started(self, ordinal: int, job: Job) -> None:
        run = self.runs[ordinal]
        assert run.job_args is None, "no call starts twice"
        self.learn()
        run.unended = {r.ordinal for r in self.unfinished()}
        blocking = [n for n in run.unended if must_wait(run, self.runs[n]) and not self.settled(n)]
        assert not blocking, f"future_{ordinal} runs with {blocking}"
        in_lane = [n for n in self.executor.running if self.run_of(n).lane is run.lane]
        assert run.lane.limit is None or len(in_lane) <= run.lane.limit
        for other in self.runs.values():
            self.check_not_repeated(run, other)
        run.job_args = dict(job.args)
        run.snapshot = run.read(self.world)
        if run.draft.mode == "early":
            run.write(self.world, run.result(run.job_args, run.snapshot))
            run.wrote = True

    def settled(self, ordinal: int) -> bool:
        """Whether its end is decided, of which it is yet to be told.

        By the call that it joined, or because its reference leads nowhere: it will not run.
        """
        run = self.runs[ordinal]
        leader = run.future.leader
        return run.is_lost or (leader is not None and leader.done)

    def check_not_repeated(self, run: Run, other: Run) -> None:
        """Rule 15: an identical call does not run twice at a time."""
        if (
            other.ordinal >= run.ordinal
            or other.done
            or other.cancel_requested
            or run.draft.tool not in SHAREABLE
            or other.identity != run.identity
        ):
            return
        between = [self.runs[n] for n in range(other.ordinal + 1, run.ordinal)]
        beside = [r for r in self.runs.values() if r.batch == other.batch != run.batch]
        # An undeclared call counts although it could not run: nobody needs more sharing.
        all_declared = all(TOOLS[b.draft.tool].declared for b in between + beside)
        conflicting = any(conflict(b, run, widest=True) for b in between)
        assert conflicting or not all_declared, f"future_{run.ordinal} repeats {other.future}"

    def ending(self, run: Run, *, writes: bool) -> dict[str, Any]:
        """Let a simulated tool come to its end; its value."""
        assert run.job_args is not None
        assert run.snapshot is not None
        seen = run.snapshot if run.draft.mode != "late" else run.read(self.world)
        value = run.result(run.job_args, seen)
        if run.draft.mode != "early" and writes:
            run.write(self.world, value)
            run.wrote = True
        return value

    def run_of(self, future: str) -> Run:
        return self.runs[int(future.rpartition("_")[2])]

    # -- the model ----------------------------------------------------------------------------

    def unfinished(self) -> list[Run]:
        return [run for run in self.runs.values() if not run.done]

    def learn(self) -> None:
        """Take the values that came in into account."""
        for run in self.runs.values():
            for reference in run.references - run.values.keys():
                outcome = self.runs[reference].future.outcome
                if outcome is not None and outcome.state is FutureState.RESOLVED:
                    run.values[reference] = outcome.value

    def earlier_value(self, ordinal: int) -> Any:
        if ordinal in self.withdrawn:
            return ELSEWHERE
        raise KeyError(ordinal)

    # -- events -------------------------------------------------------------------------------

    @rule(batch=st.lists(drafts, min_size=1, max_size=4), lane=st.sampled_from([0, 0, 1]))
    def issue(self, batch: list[Draft], lane: int) -> None:
        self.withdrawn |= {r.ordinal for r in self.unfinished() if r.future.provided is None}
        number, first = self.batches, len(self.runs) + 1
        runs = [Run(first + i, number, d, self.lanes[lane]) for i, d in enumerate(batch)]
        for run in runs:
            run.elsewhere = dict.fromkeys(run.references & self.withdrawn, ELSEWHERE)
            run.values.update(run.elsewhere)
            run.references -= self.withdrawn
        undeclared = [run for run in runs if not run.declared]
        for run in undeclared:
            run.leaves = (
                ()
                if len(undeclared) > 1
                else (HIDDEN,)
                if len(runs) > 1
                else (
                    *LEAVES,
                    HIDDEN,
                )
            )
        calls = []
        for run in runs:
            tool = run.draft.tool
            facts = ToolFacts(
                None,
                TOOLS[tool],
                timeout=TIMEOUT if run.draft.timeout else None,
                shareable=tool in SHAREABLE,
            )
            tool_call = {"name": tool, "args": run.args, "id": f"call_{run.ordinal}"}
            calls.append(read_call(run.ordinal, {**tool_call, "type": "tool_call"}, facts))
        futures = self.scheduler.issue(number, calls, self.lanes[lane], self.earlier_value)
        self.batches += 1
        for run, future in zip(runs, futures, strict=True):
            run.future = future
            self.runs[run.ordinal] = run
            if not self.scheduler.when_done(future, lambda run=run: self.called_back(run)):
                run.calls_back += 1
        for run in runs:
            if run.draft.provided:
                self.provide(run)
        again = self.scheduler.issue(number, calls, self.lanes[lane], self.earlier_value)
        assert all(a is b for a, b in zip(again, futures, strict=True))
        for run in runs:
            if run.future.provided is not None:
                self.provide(run)

    def called_back(self, run: Run) -> None:
        assert run.done
        run.calls_back += 1

    def provide(self, run: Run) -> None:
        self.scheduler.provide(run.future, UNUSED, copy_context())

    @precondition(lambda self: any(r.future.provided is None for r in self.unfinished()))
    @rule()
    def provide_late(self) -> None:
        for run in self.unfinished():
            if run.future.provided is None:
                self.provide(run)

    @precondition(lambda self: self.executor.running)
    @rule(data=st.data(), how=st.sampled_from(["resolve", "resolve", "resolve", "fail", "crash"]))
    def end(self, data: st.DataObject, how: str) -> None:
        future = data.draw(st.sampled_from(self.executor.running), "future")
        self.end_one(future, how)

    def end_one(self, future: str, how: str, *, writes: bool = True) -> None:
        run = self.run_of(future)
        value = self.ending(run, writes=writes)
        if how == "resolve":
            self.executor.resolve(future, value)
        elif how == "fail":
            self.executor.fail(future, "it broke")
        else:
            self.executor.crash(future, RuntimeError("it crashed"))
        assert run.done, "an ended call has its outcome"
        outcome = run.future.outcome
        self.executor.reports[run.ordinal](Outcome(FutureState.RESOLVED, "late"))
        assert run.future.outcome is outcome, "what comes after the first outcome is dropped"

    @precondition(lambda self: self.unfinished())
    @rule(data=st.data())
    def cancel(self, data: st.DataObject) -> None:
        ordinals = [run.ordinal for run in self.unfinished()]
        chosen = data.draw(st.lists(st.sampled_from(ordinals), min_size=1, max_size=3, unique=True))
        self.cancel_all([self.runs[ordinal] for ordinal in chosen])

    def cancel_all(self, runs: list[Run]) -> None:
        waiting = [run for run in runs if not run.started]
        for run in runs:
            run.cancel_requested = True
        self.scheduler.cancel([run.future for run in runs])
        for run in waiting:
            assert not run.started, "to be cancelled with others starts nothing"
            # It may have fallen with another of them.
            assert run.future.state in (FutureState.CANCELLED, FutureState.SKIPPED)
        for run in runs:
            assert run.done or run.future.id in self.executor.cancelled

    @precondition(lambda self: self.clock.timers)
    @rule(seconds=st.sampled_from([1.0, 3.0]))
    def advance(self, seconds: float) -> None:
        """Time goes by, and timeouts ring."""
        self.clock.advance(seconds)

    @precondition(lambda self: self.scheduler.undelivered())
    @rule(data=st.data())
    def deliver(self, data: st.DataObject) -> None:
        ordinals = [future.call.ordinal for future in self.scheduler.undelivered()]
        run = self.runs[data.draw(st.sampled_from(ordinals), "future")]
        run.delivered = True
        self.scheduler.mark_delivered(run.future)

    # -- invariants ---------------------------------------------------------------------------

    @invariant()
    def states_follow_the_table(self) -> None:
        """One outcome each, final states for ever, and what the scheduler lists agrees."""
        for ordinal, run in self.runs.items():
            before = self.states.get(ordinal, FutureState.WAITING)
            now = run.future.state
            assert now in reachable(before), f"{before} -> {now}"
            self.states[ordinal] = now
            assert run.done == (not TRANSITIONS[now])
            assert run.calls_back == run.done, "waiters are called once"
            if run.outcome is not None:
                assert run.future.outcome is run.outcome, "an outcome is set once"
            run.outcome = run.future.outcome
            if run.outcome is not None:
                assert run.outcome.state is now
            if now is FutureState.CANCELLED:
                assert run.cancel_requested or ordinal in self.withdrawn, "nobody cancelled it"
        assert (
            self.scheduler.live() == [run.future for run in self.unfinished()]
            if self.runs
            else True
        )
        undelivered = {
            n
            for n, run in self.runs.items()
            if run.done and not run.delivered and n not in self.withdrawn
        }
        assert {future.call.ordinal for future in self.scheduler.undelivered()} == undelivered

    @invariant()
    def what_runs_is_what_was_started(self) -> None:
        """A job runs if and only if its future does."""
        if not self.runs:
            return
        running = {run.future.id for run in self.unfinished() if run.started}
        assert set(self.executor.running) == running
        assert len(self.clock.timers) <= len(running), "a timeout is left"

    @invariant()
    def skipped_if_and_only_if_something_it_needs_failed(self) -> None:
        """Rule 17: by reference or as a fence, transitively, and the message names the root."""
        failed: set[int] = set()
        for ordinal, run in self.runs.items():
            by_reference = run.references & failed
            if run.future.state is FutureState.SKIPPED:
                assert by_reference or (run.fence and failed) or run.joined
                root = self.run_of(run.future.outcome.note.partition(" ")[0])  # type: ignore[union-attr]
                assert root.future.state in (FutureState.FAILED, FutureState.CANCELLED)
                assert root.ordinal < ordinal
            elif by_reference:
                assert run.future.state is FutureState.CANCELLED, f"{run.future} had to be skipped"
            if run.done and run.future.state is not FutureState.RESOLVED:
                failed.add(ordinal)

    @invariant()
    def nothing_is_held_back(self) -> None:
        """A waiting call has a reason, or no slot; waiting ones take none (rule 7)."""
        self.learn()
        for run in self.unfinished():
            leader = run.future.leader
            if leader is not None:
                self.check_joined(run, self.runs[leader.call.ordinal])
                if not leader.done:
                    continue
            if run.started or run.future.provided is None:
                continue
            in_lane = [n for n in self.executor.running if self.run_of(n).lane is run.lane]
            if run.lane.limit is not None and len(in_lane) == run.lane.limit:
                continue
            assert self.has_reason(run), f"{run.future} waits for nothing"

    def check_joined(self, run: Run, leader: Run) -> None:
        """Rule 15: it gets the value that it would have got by itself."""
        assert leader.identity == run.identity
        before = range(1, leader.ordinal)
        missed = [n for n in before if n in leader.unended and must_wait(run, self.runs[n])]
        assert not missed, f"{run.future} joined {leader.future}, which ran beside {missed}"
        if leader not in run.joined:
            run.joined.append(leader)

    def has_reason(self, run: Run) -> bool:
        """Whether it must wait, be it for the sake of a call that never ran."""
        if any(must_wait(run, other) for other in self.unfinished()):
            return True
        gone, stack = set[int](), [run]
        while stack:
            later = stack.pop()
            behind = {r.ordinal for r in self.runs.values() if must_wait(later, r, widest=True)}
            # Whoever waited for a call that was cancelled waits for the one that runs instead.
            near = {r.ordinal for r in self.runs.values() for n in r.joined if n.ordinal in behind}
            near |= {leader.ordinal for leader in later.joined}
            inherited = near if later is run else near | behind
            if any(not self.runs[n].done for n in inherited - {run.ordinal}):
                return True
            new = {n for n in near | behind if self.runs[n].done and not self.runs[n].started}
            stack += [self.runs[n] for n in new - gone]
            gone |= new
        return False

    def teardown(self) -> None:
        """All ends, and the world is as if the calls had run one by one (rules 6, 7 and 19)."""
        if not self.runs or sys.exc_info()[0]:
            return
        for run in self.unfinished():
            if run.future.provided is None:
                self.provide(run)
        if len(self.runs) % 3 == 0:
            self.cancel_all(self.unfinished())
            assert len(self.executor.running) == len(self.unfinished())
        while self.executor.running:
            self.end_one(self.executor.running[-1], "resolve")
        self.states_follow_the_table()
        self.skipped_if_and_only_if_something_it_needs_failed()
        assert not self.unfinished(), "a call waits for ever"
        assert not self.clock.timers
        self.equals_a_serial_run()

    def equals_a_serial_run(self) -> None:
        """Rule 6. A call that joined another runs by itself here (rule 15)."""
        world: dict[Levels, int] = dict.fromkeys((*LEAVES, HIDDEN), 0)
        values: dict[int, Any] = dict.fromkeys(self.withdrawn, ELSEWHERE)
        self.learn()
        for run in self.runs.values():
            outcome = run.future.outcome
            assert outcome is not None
            resolved = outcome.state is FutureState.RESOLVED
            if not run.started and not resolved:
                continue
            args = {name: follow(text, values) for name, text in run.args.items()}
            assert run.job_args in (None, args)
            value = run.result(args, run.read(world))
            if run.wrote:
                run.write(world, value)
            if resolved:
                assert outcome.value == value, f"{run.future} saw another world"
                values[run.ordinal] = value
        assert self.world == world


def follow(text: str, values: dict[int, Any]) -> Any:
    """An argument with its reference's value."""
    references = _named(text)
    if not references:
        return text
    value = values[references[0]]
    return value["path"] if text.endswith(".path") else value


def reachable(state: FutureState) -> set[FutureState]:
    """The states that may follow, over any number of steps."""
    found = {state}
    stack = [state]
    while stack:
        following = TRANSITIONS[stack.pop()] - found
        found |= following
        stack += following
    return found


TestScheduler = SchedulerMachine.TestCase
TestScheduler.settings = settings(
    max_examples=int(os.environ.get("STATEFUL_EXAMPLES", "200")),
    stateful_step_count=30,
    deadline=None,
    derandomize="CI" in os.environ,
    report_multiple_bugs=False,
)


@pytest.mark.parametrize("ended", [False, True])
def test_what_ran_beside_an_undeclared_call_answers_no_later_batch(*, ended: bool) -> None:
    """Rules 4 and 15: what a later batch waits for, a call of that batch may not have seen."""
    executor = ManualExecutor()
    scheduler = Scheduler(executor, Clock(), "key")

    def issue(batch: int, ordinal: int, name: str) -> None:
        facts = ToolFacts(None, TOOLS[name], shareable=name in SHAREABLE)
        tool_call = ToolCall(name=name, args={"path": "a"}, id=str(ordinal), type="tool_call")
        call = read_call(ordinal, tool_call, facts)
        (future,) = scheduler.issue(batch, [call], LANE, lambda n: n)
        scheduler.provide(future, UNUSED, copy_context())

    issue(1, 1, "unknown")
    issue(1, 2, "read")
    assert executor.running == ["future_1", "future_2"]
    if ended:
        executor.resolve("future_1")
    issue(2, 3, "read")
    if not ended:
        executor.resolve("future_1")
    assert executor.running == ["future_2", "future_3"]
