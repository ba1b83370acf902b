"""DependencyTracker: which calls may start, as a plain state machine.

Theory of operation
-------------------
The tracker holds a graph. Its nodes are unfinished calls, its edges say "waits for" and only
point to earlier calls, so no cycle is possible (rule 7). It takes events (`issue`, `finish`,
`cancel`, `refine`) and answers each with `Steps`: the calls that may start now, and those that
never will. It has no clock, no I/O and no thread; whoever runs it decides what "start" means.

A call waits for

- the futures that its arguments refer to (rule 2),
- earlier calls with a hazard towards it (rule 3), found by the `HazardIndex`,
- with no declared effects: every call of earlier batches; and every call of a later batch waits
  for it (rule 4). Inside one batch it waits for nothing else (rule 5),
- as a fence: every earlier call, its own batch's too.

Rule 4 would need an edge to each of many calls from each of many others. A `_Join` stands
between: a node that runs nothing and is finished as soon as all that it waits for is. At most two
joins are made a batch, and each covers the one before it, so the cost of a call does not grow
with the number of calls before it.

When a waiting call is cancelled or skipped, whoever waited for it only for the sake of order now
waits for what it had waited for; and what it had covered in the index is entered again. Order is
thus kept although the middle of a chain is gone; it may be kept more strictly than the effects
of the calls that are left would need.

The idea of a core that takes events and gives instructions is dask.distributed's scheduler.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Final

from langchain_asyncfc.effects import Access
from langchain_asyncfc.futures import FutureState
from langchain_asyncfc.hazards import Hazard, HazardIndex, hazard
from langchain_asyncfc.reasons import reason

__all__ = ["DependencyTracker", "Freed", "Skipped", "Steps"]


@dataclass(frozen=True, slots=True)
class Skipped:
    """A call that will not run, and the call whose failure is the root of it."""

    call: int
    cause: int


@dataclass(frozen=True, slots=True)
class Freed:
    """A call that no longer waits for an earlier one, and why it did."""

    call: int
    earlier: int
    reason: str


@dataclass(slots=True)
class Steps:
    """What follows from an event, each list in the order in which it came about."""

    ready: list[int] = field(default_factory=list)
    skipped: list[Skipped] = field(default_factory=list)
    freed: list[Freed] = field(default_factory=list, compare=False)  # tells, and changes nothing


_NOTHING: Final[frozenset[int]] = frozenset()


def _with(members: set[int] | frozenset[int], key: int) -> set[int]:
    if isinstance(members, frozenset):
        return {*members, key}
    members.add(key)
    return members


def _without(members: set[int] | frozenset[int], key: int) -> set[int] | frozenset[int]:
    if isinstance(members, set):
        members.discard(key)
    return members


class _Node:
    """An unfinished call, or a join."""

    __slots__ = (
        "access",
        "batch",
        "dependents",
        "fence",
        "is_call",
        "key",
        "last",
        "references",
        "started",
        "waits",
    )

    def __init__(self, key: int, batch: int, access: Access | None, fence: bool) -> None:
        self.key = key
        self.batch = batch
        self.access = access
        self.fence = fence
        self.is_call = key > 0
        self.started = False
        # Of a join, the call whose end was the last that it had to wait for.
        self.last = key
        self.references = _NOTHING
        # Most calls wait for nothing and are waited for by nobody. Ten thousand empty sets would
        # cost more in garbage collections than all else together.
        self.waits: set[int] | frozenset[int] = _NOTHING
        self.dependents: set[int] | frozenset[int] = _NOTHING


class DependencyTracker:
    """Orders the calls of one run. Not thread-safe: its owner serialises the events."""

    def __init__(self) -> None:
        self._nodes: dict[int, _Node] = {}
        self._ends: dict[int, FutureState] = {}
        self._causes: dict[int, int] = {}
        self._index = HazardIndex()
        self._batch = 0
        self._last_join = 0
        self._last_undeclared = 0
        self._undeclared_batch = 0
        # Calls of this batch, and those of earlier batches that no join covers yet.
        self._current: dict[int, None] = {}
        self._uncovered: dict[int, None] = {}
        # Calls of this batch that no fence waits for yet, and the last fence itself.
        self._unfenced: dict[int, None] = {}
        self._everything_before: int | None = None
        self._undeclared_now: list[int] = []
        self._undeclared_before: int | None = None
        self._fences: dict[int, None] = {}
        self._unseen_failures: dict[int, None] = {}

    # -- questions ------------------------------------------------------------------------------

    def __len__(self) -> int:
        """The number of unfinished calls."""
        return sum(node.is_call for node in self._nodes.values())

    def state(self, call: int) -> FutureState | None:
        """The state of a call; `None` if it was never issued."""
        node = self._nodes.get(call)
        if node is not None:
            return FutureState.RUNNING if node.started else FutureState.WAITING
        return self._ends.get(call)

    def referrers(self, call: int) -> list[int]:
        """Unfinished calls whose arguments refer to an unfinished call, in issue order."""
        node = self._nodes.get(call)
        if node is None:
            return []
        return sorted(d for d in node.dependents if call in self._nodes[d].references)

    def conflict_since(self, call: int, access: Access, batch: int | None = None) -> bool:
        """Whether a call issued after `call`, and not finished, conflicts with `access`.

        Args:
            call: An unfinished call.
            access: What a newer call reads and writes.
            batch: The newer call's batch. If it is a later one, an undeclared call of the batch
                of `call` conflicts as well: `call` runs beside it, the newer one after it.
        """
        if self._last_undeclared > call:
            return True
        node = self._nodes.get(call)
        is_later = batch is not None and node is not None and batch != node.batch
        if is_later and node is not None and self._undeclared_batch == node.batch:
            return True
        return any(c > call for c in self._index.conflicts(access))

    def is_free(self, access: Access) -> bool:
        """Whether a call would wait for nothing if it were issued now, as the next batch.

        Args:
            access: What it reads and writes. It refers to nothing, and is no fence.
        """
        undeclared = [*self._live(self._undeclared_before), *self._undeclared_now]
        return not any(key in self._nodes for key in undeclared) and not self._index.conflicts(
            access
        )

    def reason(self, call: int, earlier: int) -> Hazard | None:
        """The hazard for which `call` waits for `earlier`, if it is one on a resource."""
        later_node, earlier_node = self._nodes.get(call), self._nodes.get(earlier)
        if not later_node or not earlier_node:
            return None
        if later_node.access is None or earlier_node.access is None:
            return None
        return hazard(earlier_node.access, later_node.access)

    def waits_for(self, call: int) -> list[int]:
        """The earlier calls that a waiting call waits for, joins resolved, in issue order."""
        return self._calls_behind(self._nodes[call].waits) if call in self._nodes else []

    # -- events ---------------------------------------------------------------------------------

    def issue(
        self,
        call: int,
        *,
        batch: int,
        access: Access | None,
        references: Iterable[int] = (),
        fence: bool = False,
    ) -> Steps:
        """Accept a call.

        Args:
            call: Its ordinal; greater than every one before.
            batch: The number of its batch; never smaller than the one before.
            access: What it reads and writes; `None` if that is not declared.
            references: Ordinals of the futures that its arguments refer to, all older.
            fence: Whether it waits for every earlier call and needs their success.

        Returns:
            The call itself as ready or skipped, or nothing when it waits.
        """
        if batch != self._batch:
            self._next_batch(batch)
        steps = Steps()
        self._ends.pop(call, None)  # a call that an interrupt ended is issued again
        self._unseen_failures.pop(call, None)
        node = _Node(call, batch, access, fence)
        node.references = frozenset(references) or _NOTHING
        cause = self._cause_to_skip(node)
        if cause is not None:
            self._end(call, FutureState.SKIPPED, self._root(cause))
            steps.skipped.append(Skipped(call, self._root(cause)))
            return steps
        waits = {r for r in node.references if r in self._nodes}
        waits.update(self._live(self._undeclared_before))
        if fence or access is None:
            self._cover()
            waits.update(self._live(self._everything_before))
        if access is not None:
            waits |= self._index.conflicts(access)
        if fence:
            waits.update(self._unfenced)
            self._unfenced.clear()
            self._fences[call] = None
        self._enter(node, waits)
        if access is None:
            self._undeclared_now.append(call)
            self._last_undeclared, self._undeclared_batch = call, batch
        else:
            self._index.add(call, access)
        self._current[call] = None
        self._unfenced[call] = None
        if not node.waits:
            steps.ready.append(call)
        return steps

    def start(self, call: int) -> None:
        """Note that a ready call was started."""
        self._nodes[call].started = True

    def finish(self, call: int, state: FutureState) -> Steps:
        """Note the end of a call that was started or could not be.

        Args:
            call: An unfinished call.
            state: One of the final states.
        """
        steps = Steps()
        self._settle([(call, state, call)], steps)
        steps.skipped = [fallen for fallen in steps.skipped if fallen.call != call]
        return steps

    def cancel(self, call: int) -> Steps:
        """Note that a call which was not started is cancelled."""
        return self.finish(call, FutureState.CANCELLED)

    def refine(self, call: int, access: Access) -> Steps:
        """Shrink the resources of a call whose templates can be filled further.

        Edges that were there only for the wider resources go away, on both sides.
        """
        steps = Steps()
        node = self._nodes.get(call)
        if node is None or node.access is None or node.access == access:
            return steps
        self._index.discard(call, node.access)
        self._index.restore(call, access)
        wider, node.access = node.access, access
        for earlier in [w for w in node.waits if self._only_hazard(w, call)]:
            before = self._nodes[earlier].access
            if before is not None and hazard(before, access) is None:
                self._disconnect(earlier, call)
                steps.freed.append(Freed(call, earlier, reason(before, wider)))
        if not node.waits and not node.started:
            steps.ready.append(call)
        for later in sorted(node.dependents):
            if not self._only_hazard(call, later):
                continue
            after = self._nodes[later].access
            if after is None or hazard(wider, after) is None or hazard(access, after) is not None:
                continue
            self._disconnect(call, later)
            steps.freed.append(Freed(later, call, reason(wider, after)))
            if not self._nodes[later].waits:
                steps.ready.append(later)
        return steps

    def part(self, call: int, earlier: int, access: Access) -> None:
        """Let a call that refers to an earlier one run by itself, once that one has ended.

        Args:
            call: A waiting call that was issued as one with nothing but this reference.
            earlier: The unfinished call that it refers to.
            access: What it reads from now on. It must not conflict with anything issued between
                the two.
        """
        node = self._nodes[call]
        node.references -= {earlier}
        node.access = access
        self._index.restore(call, access)
        for later in self._nodes[earlier].dependents:
            if later > call:
                self._enter(self._nodes[later], [call])

    def follow(self, call: int, earlier: int, other: int) -> None:
        """Let a waiting call refer to another earlier call instead."""
        node = self._nodes[call]
        node.references = node.references - {earlier} | {other}
        self._disconnect(earlier, call)
        self._enter(node, [other])

    def seen(self, call: int) -> None:
        """Note that the model was told of a call's end, so that fences disregard its failure."""
        self._unseen_failures.pop(call, None)

    # -- the graph ------------------------------------------------------------------------------

    def _enter(self, node: _Node, waits: Iterable[int]) -> None:
        self._nodes[node.key] = node
        for earlier in waits:
            node.waits = _with(node.waits, earlier)
            before = self._nodes[earlier]
            before.dependents = _with(before.dependents, node.key)

    def _disconnect(self, earlier: int, later: int) -> None:
        before, after = self._nodes[earlier], self._nodes[later]
        before.dependents = _without(before.dependents, later)
        after.waits = _without(after.waits, earlier)

    def _only_hazard(self, earlier: int, later: int) -> bool:
        """Whether an edge is there for nothing but a hazard between declared effects."""
        first, second = self._nodes[earlier], self._nodes[later]
        return (
            first.is_call
            and second.is_call
            and not second.fence
            and second.access is not None
            and earlier not in second.references
        )

    def _live(self, join: int | None) -> list[int]:
        return [join] if join is not None and join in self._nodes else []

    def _calls_behind(self, waits: Iterable[int]) -> list[int]:
        """The calls among these nodes and behind the joins among them, in issue order."""
        found: set[int] = set()
        passed: set[int] = set()
        stack = list(waits)
        while stack:
            key = stack.pop()
            if key > 0:
                found.add(key)
            elif key not in passed:
                passed.add(key)
                stack.extend(self._nodes[key].waits)
        return sorted(found)

    def _join(self, waits: Iterable[int]) -> int | None:
        live = [key for key in waits if key in self._nodes]
        if not live:
            return None
        self._last_join -= 1
        self._enter(_Node(self._last_join, self._batch, None, False), live)
        return self._last_join

    def _next_batch(self, batch: int) -> None:
        self._batch = batch
        undeclared = [call for call in self._undeclared_now if call in self._nodes]
        self._undeclared_now.clear()
        if undeclared:
            self._undeclared_before = self._join(
                [*self._live(self._undeclared_before), *undeclared]
            )
            # Undeclared calls wait for all earlier batches, so they stand in for them too.
            self._index = HazardIndex()
            self._restore(self._current)
        self._uncovered.update(self._current)
        self._current.clear()
        self._unfenced.clear()

    def _restore(self, calls: Iterable[int]) -> None:
        """Enter calls in the index again, as far as they are unfinished and declared."""
        for call in calls:
            node = self._nodes.get(call)
            if node is not None and node.access is not None:
                self._index.restore(call, node.access)

    def _cover(self) -> None:
        """Put one join over all calls of earlier batches."""
        if self._uncovered:
            before = self._live(self._everything_before)
            self._everything_before = self._join([*before, *self._uncovered])
            self._uncovered.clear()

    # -- ends -----------------------------------------------------------------------------------

    def _root(self, call: int) -> int:
        return self._causes.get(call, call)

    def _cause_to_skip(self, node: _Node) -> int | None:
        """An ended call that keeps this one from ever starting."""
        for earlier in sorted(node.references):
            if self._ends.get(earlier, FutureState.RESOLVED) is not FutureState.RESOLVED:
                return earlier
        return next(iter(self._unseen_failures), None) if node.fence else None

    def _end(self, call: int, state: FutureState, cause: int) -> None:
        self._ends[call] = state
        if state is not FutureState.RESOLVED:
            self._unseen_failures[call] = None
            if cause != call:
                self._causes[call] = cause

    def _settle(self, ends: Iterable[tuple[int, FutureState, int]], steps: Steps) -> None:
        """Take ended nodes out of the graph, and whatever falls with them."""
        work = deque(ends)
        while work:
            key, state, cause = work.popleft()
            node = self._nodes.pop(key, None)
            if node is None:
                continue
            if node.is_call:
                if state is FutureState.SKIPPED:
                    steps.skipped.append(Skipped(key, cause))
                self._leave(node, state, cause)
            failed = node.is_call and state is not FutureState.RESOLVED
            if failed:
                doomed = [f for f in self._fences if f > key and not self._nodes[f].started]
                work.extend((f, FutureState.SKIPPED, cause) for f in doomed)
            for later in sorted(node.dependents):
                self._release(node, self._nodes[later], failed, cause, work, steps)
        # A call may have lost its last wait before it was found to fall with another.
        steps.ready = [call for call in steps.ready if call in self._nodes]

    def _leave(self, node: _Node, state: FutureState, cause: int) -> None:
        """Take a call out of every list, and put back what it had covered if it never ran."""
        self._end(node.key, state, cause)
        for listing in (self._current, self._uncovered, self._unfenced, self._fences):
            listing.pop(node.key, None)
        if node.access is not None:
            self._index.discard(node.key, node.access)
        if node.waits:
            covered = self._calls_behind(node.waits)
            self._restore(covered)
            if node.fence:
                self._unfenced.update((c, None) for c in covered if c in self._current)
        for earlier in node.waits:
            before = self._nodes[earlier]
            before.dependents = _without(before.dependents, node.key)

    def _freed(self, later: _Node, node: _Node) -> Freed:
        """That a call no longer waits for a node; behind a join stands the last call it was for."""
        refers = node.key in later.references
        why = reason(node.access, later.access, refers=refers, fence=later.fence)
        return Freed(later.key, node.last, why)

    def _release(
        self,
        node: _Node,
        later: _Node,
        failed: bool,
        cause: int,
        work: deque[tuple[int, FutureState, int]],
        steps: Steps,
    ) -> None:
        """Let a dependent go on without an ended node, or fall with it."""
        later.waits = _without(later.waits, node.key)
        self._enter(later, node.waits)
        if later.is_call:
            steps.freed.append(self._freed(later, node))
        else:
            later.last = node.last
        if failed and node.key in later.references:
            work.append((later.key, FutureState.SKIPPED, cause))
        elif failed and later.fence:
            return  # on the work list already
        elif not later.waits:
            if later.is_call:
                steps.ready.append(later.key)
            else:
                work.append((later.key, FutureState.RESOLVED, later.key))
