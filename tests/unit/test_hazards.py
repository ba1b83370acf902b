"""Tests of conflicts between calls."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from langchain_asyncfc.effects import Access, levels_of
from langchain_asyncfc.hazards import Hazard, HazardIndex, HazardKind, hazard


def access(reads: str = "", writes: str = "", *, exact: bool = True) -> Access:
    return Access(
        tuple(map(levels_of, reads.split())), tuple(map(levels_of, writes.split())), exact
    )


@pytest.mark.parametrize(
    ("earlier", "later", "text"),
    [
        (access(writes="fs:/src"), access(reads="fs:/src/a.py"), "RAW on fs:/src/a.py"),
        (access(reads="fs:"), access(writes="fs:/src"), "WAR on fs:/src"),
        (access(writes="fs:a"), access(writes="fs:"), "WAW on fs:/a"),
        (access(writes="/"), access(reads="x/y"), "RAW on /x/y"),
        (access(writes="/"), access(writes="/"), "WAW on /"),
        (access("a", "a"), access("a", "a"), "RAW on /a"),
    ],
)
def test_hazards_are_named(earlier: Access, later: Access, text: str) -> None:
    """Rule 3: RAW, WAR and WAW on the narrower of two resources on one path."""
    found = hazard(earlier, later)
    assert found is not None
    assert str(found) == text


@pytest.mark.parametrize(
    ("earlier", "later"),
    [
        (access("fs:a"), access("fs:a")),
        (access(writes="fs:/src"), access("fs:/docs", "fs:/srcs")),
        (access(writes="fs:a"), access("a", "db:a")),
        (access(), access("/", "/")),
    ],
)
def test_what_does_not_conflict(earlier: Access, later: Access) -> None:
    """Rule 3: two reads, or resources side by side, are no reason to wait."""
    assert hazard(earlier, later) is None
    assert hazard(later, earlier) is None


def test_a_hazard_is_data() -> None:
    """The kind is said from the later call's side."""
    assert hazard(access("a"), access("", "a/b")) == Hazard(HazardKind.WAR, ("a", "b"))


def test_a_certain_writer_stands_in_for_what_it_covers() -> None:
    """Cost: a chain of writers stays a chain, each waits for the one before it alone."""
    index = HazardIndex()
    index.add(1, access(writes="fs:a"))
    index.add(2, access(reads="fs:a/b"))
    index.add(3, access(writes="fs:a"))
    assert index.conflicts(access("fs:a")) == {3}
    index.add(4, access(writes="/"))
    assert index.conflicts(access("/", "/")) == {4}
    index.discard(3, access(writes="fs:a"))
    assert index.conflicts(access("fs:a")) == {4}


def test_an_uncertain_writer_stands_in_for_nothing() -> None:
    """Rule 3: what may yet shrink does not hide what it only seems to cover."""
    index = HazardIndex()
    index.add(1, access(writes="fs:a"))
    index.add(2, access(writes="fs:", exact=False))
    assert index.conflicts(access("fs:a")) == {1, 2}


PATHS = ["/", "fs:", "fs:a", "fs:a/b", "fs:a/c", "db:"]
accesses = st.builds(
    lambda reads, writes: access(" ".join(reads), " ".join(writes)),
    st.lists(st.sampled_from(PATHS), max_size=2),
    st.lists(st.sampled_from(PATHS), max_size=2),
)


@settings(max_examples=150, deadline=None, derandomize=True)
@given(st.lists(accesses, max_size=8), accesses, st.sets(st.integers(1, 8)))
def test_the_index_answers_as_the_pairwise_rule_does(
    issued: list[Access], asked: Access, gone: set[int]
) -> None:
    """Rule 3: entered without covering, the index finds all conflicts and no other, and no
    branch of it is left when its calls are gone.
    """
    index = HazardIndex()
    calls = dict(enumerate(issued, start=1))
    for call, each in calls.items():
        index.restore(call, each)
    for call in gone & calls.keys():
        index.discard(call, calls.pop(call))
    conflicting = {call for call, each in calls.items() if hazard(each, asked)}
    assert index.conflicts(asked) == conflicting
    for call, each in calls.items():
        index.discard(call, each)
    assert not index._readers.branches
    assert not index._writers.branches


def test_covering_leaves_no_empty_branches() -> None:
    """Cost: what is covered goes away with the branches that only it needed."""
    index = HazardIndex()
    for call in range(1, 20, 2):
        index.add(call, access(reads=f"d{call}/x"))
        index.add(call + 1, access(writes=f"d{call}/x"))
        index.discard(call, access(reads=f"d{call}/x"))
        index.discard(call + 1, access(writes=f"d{call}/x"))
    assert not index._readers.branches
    assert not index._writers.branches
