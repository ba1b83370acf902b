"""Who has to wait for whom, read off the contract call by call: slow, and easy to check by eye."""

from __future__ import annotations

from dataclasses import dataclass, field

from langchain_asyncfc.effects import Levels

RESOURCES: tuple[Levels, ...] = (
    (),
    ("fs:",),
    ("fs:", "a"),
    ("fs:", "a", "b"),
    ("fs:", "a", "c"),
    ("fs:", "d"),
    ("db:",),
    ("db:", "x"),
)
"""A small tree of resources at several depths, so that random calls meet often."""


@dataclass(eq=False)
class Spec:
    """One call, as the oracle sees it.

    Attributes:
        reads: The paths that it reads in the end.
        writes: The paths that it writes in the end.
        hides: Indices into `reads + writes` whose last level stands in `hidden_by`.
        hidden_by: The future with whose value the hidden levels become known.
        known: Whether that value is taken into account by now.
    """

    ordinal: int
    batch: int
    declared: bool
    reads: tuple[Levels, ...] = ()
    writes: tuple[Levels, ...] = ()
    fence: bool = False
    references: frozenset[int] = frozenset()
    hides: frozenset[int] = frozenset()
    hidden_by: int | None = None
    known: bool = field(default=True)

    def paths(self, *, widest: bool = False) -> tuple[tuple[Levels, ...], tuple[Levels, ...]]:
        """The paths read and written, as far as they are known now, or before anything was."""
        if (self.known and not widest) or self.hidden_by is None:
            return self.reads, self.writes
        paths = [
            path[:-1] if index in self.hides else path
            for index, path in enumerate(self.reads + self.writes)
        ]
        return tuple(paths[: len(self.reads)]), tuple(paths[len(self.reads) :])


def overlap(one: Levels, other: Levels) -> bool:
    """Whether one path lies on the way to the other."""
    return all(a == b for a, b in zip(one, other, strict=False))


def conflict(one: Spec, other: Spec, *, widest: bool = False) -> bool:
    """Whether two calls with declared effects touch one resource, and one of them writes it."""
    reads, writes = one.paths(widest=widest)
    other_reads, other_writes = other.paths(widest=widest)
    return any(overlap(p, q) for p in writes for q in other_reads + other_writes) or any(
        overlap(p, q) for p in reads for q in other_writes
    )


def must_wait(later: Spec, earlier: Spec, *, widest: bool = False) -> bool:
    """Whether rules 2 to 5 and 17 make a call wait for the end of an earlier one."""
    if earlier.ordinal >= later.ordinal:
        return False
    if earlier.ordinal in later.references or later.fence:
        return True
    if earlier.declared and later.declared:
        return conflict(earlier, later, widest=widest)
    return earlier.batch != later.batch
