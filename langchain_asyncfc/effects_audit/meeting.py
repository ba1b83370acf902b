"""Which labels can meet: never, for some arguments, or always.

A template stands for any resource at its place and below it, so labels are compared level by
level up to the first template.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Sequence
from enum import IntEnum

from langchain_asyncfc.effects import Levels, levels_of
from langchain_asyncfc.effects_audit.surveys import Survey

__all__ = ["Meeting", "meeting", "pair_counts", "reads_of", "root_of", "tools_meet", "writes_of"]


class Meeting(IntEnum):
    """Whether two labels, or two tools, come into conflict."""

    NEVER = 0
    SOMETIMES = 1  # it depends on the arguments
    ALWAYS = 2


def meeting(one: str, other: str) -> Meeting:
    """Whether two paths can name overlapping resources."""
    for mine, yours in zip(levels_of(one), levels_of(other), strict=False):
        if "{" in mine or "{" in yours:
            return Meeting.SOMETIMES
        if mine != yours:
            return Meeting.NEVER
    return Meeting.ALWAYS


def reads_of(tool: Survey) -> tuple[str, ...]:
    """The paths that a tool is said to read."""
    return tuple(tool.effects.reads or ())


def writes_of(tool: Survey) -> tuple[str, ...]:
    """The paths that a tool is said to write."""
    return tuple(tool.effects.writes or ())


def root_of(path: str) -> str:
    """The first level of a path: `fs:` of `fs:{path}`; empty where it is a template or missing."""
    levels: Levels = levels_of(path)
    return "" if not levels or "{" in levels[0] else levels[0]


def _most(meetings: Iterable[Meeting]) -> Meeting:
    return max(meetings, default=Meeting.NEVER)


def tools_meet(one: Survey, other: Survey) -> Meeting:
    """Whether calls of two tools, in two messages, wait for each other."""
    if not (one.declared and other.declared) or one.effects.fence or other.effects.fence:
        return Meeting.ALWAYS
    return _most(
        meeting(first, second)
        for firsts, seconds in (
            (writes_of(one), reads_of(other)),
            (reads_of(one), writes_of(other)),
            (writes_of(one), writes_of(other)),
        )
        for first in firsts
        for second in seconds
    )


def pair_counts(tools: Sequence[Survey]) -> dict[Meeting, int]:
    """How many pairs of tools wait for each other never, sometimes and always.

    A tool makes a pair with itself too, for two calls of it.
    """
    counts = dict.fromkeys(Meeting, 0)
    for one, other in itertools.combinations_with_replacement(tools, 2):
        counts[tools_meet(one, other)] += 1
    return counts
