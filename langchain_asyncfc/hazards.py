"""Why a later call must wait for an earlier one: RAW, WAR or WAW on a resource.

Two resources conflict when one lies on the path of the other. The pairwise rule is `hazard`; the
`HazardIndex` answers it for all live calls at once, in time that grows with the depth of the
path and the number of conflicts, not with the number of calls.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from langchain_asyncfc.effects import Access, Levels

__all__ = ["Hazard", "HazardIndex", "HazardKind", "hazard"]


class HazardKind(StrEnum):
    """The classical data hazards, named from the later call's side."""

    RAW = "RAW"  # it reads what the earlier one writes
    WAR = "WAR"  # it writes what the earlier one reads
    WAW = "WAW"  # both write it


@dataclass(frozen=True, slots=True)
class Hazard:
    """One reason to wait, with the narrower of the two resources."""

    kind: HazardKind
    resource: Levels

    def __str__(self) -> str:
        name = self.resource[0] if self.resource and self.resource[0].endswith(":") else ""
        return f"{self.kind} on {name}/{'/'.join(self.resource[bool(name) :])}"


def _overlap(one: Levels, other: Levels) -> Levels | None:
    short, long = (one, other) if len(one) <= len(other) else (other, one)
    return long if long[: len(short)] == short else None


def hazard(earlier: Access, later: Access) -> Hazard | None:
    """The first hazard between two calls with declared effects, or `None`."""
    for kind, firsts, seconds in (
        (HazardKind.RAW, earlier.writes, later.reads),
        (HazardKind.WAR, earlier.reads, later.writes),
        (HazardKind.WAW, earlier.writes, later.writes),
    ):
        for first in firsts:
            for second in seconds:
                if (shared := _overlap(first, second)) is not None:
                    return Hazard(kind, shared)
    return None


_NO_CALLS: Final[frozenset[int]] = frozenset()


class _Tree:
    """Calls by resource path. Branches without calls are pruned, so a walk only meets calls.

    What is empty shares one empty container: a tree of many leaves is garbage-collected often.
    """

    __slots__ = ("branches", "calls")

    def __init__(self) -> None:
        self.calls: set[int] | frozenset[int] = _NO_CALLS
        self.branches: dict[str, _Tree] | None = None

    @property
    def is_empty(self) -> bool:
        return not self.calls and not self.branches

    def add(self, path: Levels, call: int) -> None:
        node = self
        for level in path:
            if node.branches is None:
                node.branches = {}
            below = node.branches.get(level)
            if below is None:
                below = node.branches[level] = _Tree()
            node = below
        if isinstance(node.calls, set):
            node.calls.add(call)
        else:
            node.calls = {call}

    def discard(self, path: Levels, call: int) -> None:
        way = self._way(path)
        if way is not None and isinstance(way[-1].calls, set):
            way[-1].calls.discard(call)
            _prune(way, path)

    def touching(self, path: Levels) -> Iterator[int]:
        """Calls on the way to `path`, at it, and below it."""
        node = self
        for level in path:
            yield from node.calls
            below = node.branches.get(level) if node.branches else None
            if below is None:
                return
            node = below
        stack = [node]
        while stack:
            node = stack.pop()
            yield from node.calls
            if node.branches:
                stack.extend(node.branches.values())

    def clear_below(self, path: Levels) -> None:
        """Forget every call at `path` and below it."""
        way = self._way(path)
        if way is not None:
            way[-1].calls = _NO_CALLS
            way[-1].branches = None
            _prune(way, path)

    def _way(self, path: Levels) -> list[_Tree] | None:
        """The nodes down to the end of `path`, or `None` where it is not in the tree."""
        way = [self]
        for level in path:
            below = way[-1].branches.get(level) if way[-1].branches else None
            if below is None:
                return None
            way.append(below)
        return way


def _prune(way: list[_Tree], path: Levels) -> None:
    """Take away branches without calls, from the end of a path upwards."""
    for depth in range(len(path) - 1, -1, -1):
        branches = way[depth].branches
        if branches is None or not way[depth + 1].is_empty:
            return
        del branches[path[depth]]


class HazardIndex:
    """The live calls with declared effects, searchable by conflict.

    A call that writes a path for certain stands in for everything at and below that path: it
    waits for what was there, and whoever conflicts with that conflicts with it too. So `add`
    forgets what it covers, which keeps a chain of writers linear.
    """

    def __init__(self) -> None:
        self._readers = _Tree()
        self._writers = _Tree()

    def conflicts(self, access: Access) -> set[int]:
        """Every call in the index with a hazard towards a later call with this access."""
        found: set[int] = set()
        for path in access.reads:
            found.update(self._writers.touching(path))
        for path in access.writes:
            found.update(self._writers.touching(path))
            found.update(self._readers.touching(path))
        return found

    def add(self, call: int, access: Access) -> None:
        """Enter the newest call, which waits for all its conflicts."""
        if access.exact:
            for path in access.writes:
                self._readers.clear_below(path)
                self._writers.clear_below(path)
        self.restore(call, access)

    def restore(self, call: int, access: Access) -> None:
        """Enter a call without letting it stand in for others."""
        for path in access.reads:
            self._readers.add(path, call)
        for path in access.writes:
            self._writers.add(path, call)

    def discard(self, call: int, access: Access) -> None:
        """Take a call out. Nothing happens where it was covered by a later one."""
        for path in access.reads:
            self._readers.discard(path, call)
        for path in access.writes:
            self._writers.discard(path, call)
