"""What a story takes under other rules: a little simulation of discrete events, without I/O.

The clock is virtual. The calls are ordered by the package's own `DependencyTracker`, and a step
waits as `AsyncFCToolNode` does. What is assumed:

- The model decodes each of its messages in the time that it took, and makes the same calls.
- A tool runs as long as it did, whenever it starts and whatever runs beside it. Its errors come
  back as they did, and nothing is skipped for them.
- What the model must have read before a reply (`Needs.reads`) it waits for: by `await_result` in
  the message that makes the call, or by an `await_future` beside later calls. In the last message
  before an answer it asks for all results. Each costs tokens, decoded at the trace's own speed.
- What it passes on and has not seen (`Needs.references`) it passes on by reference: the call waits
  for the result, the model does not.
- A call that is new or was fast is given the grace period.
- Two equal calls run twice.
"""

from __future__ import annotations

import heapq
from bisect import bisect_left
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Final

from langchain_asyncfc.effects import UNDECLARED, Access, Effects, access_of
from langchain_asyncfc.estimate.story import Job, Step, Story
from langchain_asyncfc.futures import FutureState
from langchain_asyncfc.timeline.spans import Reply, RunRecord, ToolRun, Wait
from langchain_asyncfc.tracker import DependencyTracker

__all__ = ["Needs", "as_it_was", "with_asyncfc"]

FLAG_TOKENS: Final = 5
"""Tokens of `,"await_result":true` (or `"all"`): a comma, the name in two, a colon, the value."""

AWAIT_TOKENS: Final = 20
"""Tokens of a whole call to `await_future`: a call with hardly any arguments."""

GRACE: Final = 0.01
"""Seconds; the default of `AsyncFCToolNode`."""


@dataclass(frozen=True, slots=True)
class Needs:
    """What the model needs from results, and when.

    Attributes:
        reads: By index of a step, the calls whose results it must have read before that reply.
        references: By number of a call and name of an argument, the calls whose results it can
            pass on by reference.
    """

    reads: Mapping[int, frozenset[int]] = field(default_factory=dict)
    references: Mapping[int, Mapping[str, frozenset[int]]] = field(default_factory=dict)


def as_it_was(story: Story) -> RunRecord:
    """The run with each message's calls side by side, and the model waiting for all of them."""
    now = 0.0
    replies: list[Reply] = []
    tools: list[ToolRun] = []
    for step in story.steps:
        start = now + step.lead
        now = start + step.decode
        replies.append(_reply(start, now, step))
        issued, ends = now, [now]
        for job in step.jobs:
            begun = issued + job.lag
            ends.append(begun + job.seconds)
            tools.append(_tool_run(job, issued, begun, ends[-1], ()))
        now = max(ends)
    return RunRecord(tuple(replies), _told(replies, tools), now + story.tail, story.name)


def with_asyncfc(
    story: Story, needs: Needs, effects: Mapping[str, Effects], *, grace: float = GRACE
) -> RunRecord:
    """The run as `AsyncFCToolNode` would have it.

    Args:
        story: What happened.
        needs: What the model needs from results.
        effects: What the tools read and write, by name; one that is not there is undeclared.
        grace: Seconds that a step waits for calls that may be fast.
    """
    return _Run(story, needs, effects, grace).play()


def _reply(start: float, end: float, step: Step) -> Reply:
    calls = tuple(job.call or str(job.number) for job in step.jobs)
    tools = tuple(job.tool for job in step.jobs)
    return Reply(start, end, calls=calls, tools=tools, text=step.text)


def _tool_run(
    job: Job, issued: float, start: float, end: float, waits: tuple[Wait, ...], future: str = ""
) -> ToolRun:
    state = "failed" if job.failed else "resolved"
    call = job.call or str(job.number)
    return ToolRun(call, job.tool, issued, start, end, job.args, future, state, job.result, waits)


def _told(replies: Sequence[Reply], tools: Sequence[ToolRun]) -> tuple[ToolRun, ...]:
    """The tools, each with the reply that was the first to be sent its outcome."""
    starts = [reply.start for reply in replies]
    first = [bisect_left(starts, run.end) for run in tools]
    return tuple(
        replace(run, delivered=starts[n]) if n < len(starts) else run
        for run, n in zip(tools, first, strict=True)
    )


@dataclass(slots=True)
class _Live:
    """A call of the run, once it is issued."""

    job: Job
    issued: float
    effects: Effects
    access: Access | None
    references: Mapping[str, frozenset[int]]
    after: dict[int, str]
    start: float | None = None
    end: float | None = None
    waits: list[Wait] = field(default_factory=list)


class _Run:
    """One run in virtual time."""

    def __init__(
        self, story: Story, needs: Needs, effects: Mapping[str, Effects], grace: float
    ) -> None:
        self._story, self._needs, self._effects, self._grace = story, needs, effects, grace
        self._tracker = DependencyTracker()
        self._now = 0.0
        self._ends: list[tuple[float, int]] = []
        self._calls: dict[int, _Live] = {}
        self._done: set[int] = set()
        self._seen: set[int] = set()
        self._slow: set[str] = set()

    def play(self) -> RunRecord:
        replies: list[Reply] = []
        steps = self._story.steps
        for index, step in enumerate(steps):
            following = steps[index + 1] if index + 1 < len(steps) else None
            reads = self._needs.reads.get(index + 1, frozenset())
            start = self._now + step.lead
            tokens = self._asking(step, following, reads)
            self._pass(start + step.decode + tokens * self._story.token)
            replies.append(_reply(start, self._now, step))
            self._issue(index, step)
            self._linger(step)
            self._await(
                [job.number for job in step.jobs if self._calls[job.number].effects.foreground]
            )
            if following is not None:
                self._await(list(self._calls) if following.answers else reads)
            self._deliver()
        self._await(list(self._calls))
        tools = _told(replies, [self._tool_run(live) for live in self._calls.values()])
        return RunRecord(tuple(replies), tools, self._now + self._story.tail, self._story.name)

    def _asking(self, step: Step, following: Step | None, reads: frozenset[int]) -> int:
        """Tokens by which a message says what it waits for."""
        if following is None or not step.jobs:
            return 0
        if following.answers:
            return FLAG_TOKENS
        needed = reads - self._seen
        here = needed.intersection(job.number for job in step.jobs)
        return FLAG_TOKENS * len(here) + AWAIT_TOKENS * bool(needed - here)

    # -- the clock ------------------------------------------------------------------------------

    def _pass(self, until: float) -> None:
        """Let time go by."""
        while self._ends and self._ends[0][0] <= until:
            self._end_next()
        self._now = max(self._now, until)

    def _end_next(self) -> None:
        when, number = heapq.heappop(self._ends)
        self._now = max(self._now, when)
        referrers = self._tracker.referrers(number)
        self._done.add(number)
        freed: set[int] = set()
        for referrer in referrers:
            freed.update(self._refine(self._calls[referrer]))
        freed.update(self._tracker.finish(number, FutureState.RESOLVED).ready)
        for live in self._calls.values():
            if live.start is None and number in live.after:
                live.waits.append(Wait(live.issued, when, live.after[number], f"future_{number}"))
        for ready in sorted(freed):
            self._start(self._calls[ready], when)

    def _await(self, numbers: Collection[int]) -> None:
        """Wait until calls have ended."""
        left = set(numbers) - self._done
        while left:
            self._end_next()
            left -= self._done

    def _linger(self, step: Step) -> None:
        """Spend the grace period, where it may pay."""
        fast: set[int] = set()
        for job in step.jobs:
            waits = self._tracker.waits_for(job.number)
            if (
                job.number not in self._done
                and job.tool not in self._slow
                and fast.issuperset(waits)
            ):
                fast.add(job.number)
        until = self._now + self._grace
        while fast - self._done and self._ends and self._ends[0][0] <= until:
            self._end_next()
        if fast - self._done:
            self._now = until
        for number in fast:
            self._note_speed(self._calls[number].job.tool, number in self._done)

    def _note_speed(self, tool: str, fast: bool) -> None:
        (self._slow.discard if fast else self._slow.add)(tool)

    # -- the calls ------------------------------------------------------------------------------

    def _issue(self, batch: int, step: Step) -> None:
        for job in step.jobs:
            references = {
                name: earlier - self._seen
                for name, earlier in self._needs.references.get(job.number, {}).items()
                if earlier - self._seen
            }
            effects = self._effects.get(job.tool, UNDECLARED)
            live = _Live(job, self._now, effects, None, references, {})
            live.access = self._access(live)
            self._calls[job.number] = live
            steps = self._tracker.issue(
                job.number,
                batch=batch,
                access=live.access,
                references=frozenset[int]().union(*references.values()),
                fence=effects.fence,
            )
            live.after = {n: self._reason(live, n) for n in self._tracker.waits_for(job.number)}
            for ready in steps.ready:
                self._start(self._calls[ready], self._now)

    def _access(self, live: _Live) -> Access | None:
        """What a call reads and writes, as far as its arguments are known now."""
        unknown = {name for name, earlier in live.references.items() if earlier - self._done}
        return access_of(live.effects, live.job.args, frozenset(unknown))

    def _refine(self, live: _Live) -> list[int]:
        if live.start is not None or live.access is None or live.access.exact:
            return []
        access = self._access(live)
        if access is None:
            return []
        live.access = access
        return self._tracker.refine(live.job.number, access).ready

    def _reason(self, live: _Live, earlier: int) -> str:
        """Why a call waits for an earlier one, in words."""
        if any(earlier in numbers for numbers in live.references.values()):
            return "reference"
        found = self._tracker.reason(live.job.number, earlier)
        if found is not None:
            return str(found)
        return "fence" if live.effects.fence else "no declared effects"

    def _start(self, live: _Live, when: float) -> None:
        live.start = max(when, live.issued + live.job.lag)
        live.end = live.start + live.job.seconds
        self._tracker.start(live.job.number)
        heapq.heappush(self._ends, (live.end, live.job.number))

    def _deliver(self) -> None:
        """Show the model what has ended."""
        for number in self._done - self._seen:
            job = self._calls[number].job
            if job.seconds <= self._grace:
                self._note_speed(job.tool, fast=True)
        self._seen |= self._done

    def _tool_run(self, live: _Live) -> ToolRun:
        assert live.start is not None and live.end is not None  # noqa: S101, PT018 - all have ended
        future = f"future_{live.job.number}"
        # Only the last of them held it up; those before passed meanwhile.
        waits = tuple(wait for wait in live.waits if wait.end > wait.start)
        return _tool_run(live.job, live.issued, live.start, live.end, waits, future)
