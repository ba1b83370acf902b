"""What can be said of tools side by side. Each rule takes all surveys and yields findings."""

from __future__ import annotations

import difflib
import itertools
import re
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import replace
from typing import Final

from langchain_asyncfc.effects import Effects, levels_of
from langchain_asyncfc.effects_audit.findings import Finding
from langchain_asyncfc.effects_audit.meeting import (
    Meeting,
    meeting,
    pair_counts,
    reads_of,
    root_of,
    writes_of,
)
from langchain_asyncfc.effects_audit.surveys import Survey
from langchain_asyncfc.effects_audit.tool_rules import path_arguments
from langchain_asyncfc.effects_audit.words import reading_verb, same_thing
from langchain_asyncfc.toolbox import Origin

__all__ = ["SET_RULES", "unknown_names"]

_CLOSE: Final = 0.75
"""`difflib`'s ratio from which two names count as spellings of one: `user` and `users` have 0.89,
`calendar` and `calender` 0.88, `docs` and `logs` 0.5."""

_COMMON: Final = frozenset({"id", "key", "name", "query", "text", "title"})
"""Arguments that many tools have, so that sharing one says nothing."""


def _found(code: str, tools: Sequence[Survey], what: str, advice: str) -> Finding:
    names = tuple(dict.fromkeys(tool.name for tool in tools))
    where = tuple(dict.fromkeys(tool.where for tool in tools if tool.where))
    return Finding(code, names, what, advice, where)


def unknown_names(given: Collection[str], known: Collection[str]) -> Iterator[Finding]:
    """A002: effects are given for a name that no tool has."""
    for name in sorted(set(given) - set(known)):
        close = difflib.get_close_matches(name, known, 1)
        meant = f"Perhaps '{close[0]}' is meant." if close else "Take it out, or add the tool."
        what = f"effects= names '{name}', which is no tool; a node refuses that"
        yield Finding("A002", (name,), what, meant)


def same_names(tools: Sequence[Survey]) -> Iterator[Finding]:
    """A003: a model could not tell them apart."""
    by_name: dict[str, list[Survey]] = {}
    for tool in tools:
        by_name.setdefault(tool.name, []).append(tool)
    for name, group in by_name.items():
        if len(group) > 1:
            what = f"{len(group)} tools are named '{name}'; a node refuses that"
            yield _found("A003", group, what, "Rename all but one.")


class _Roots:
    """The first levels of all labels, with the tools and labels behind them."""

    def __init__(self, tools: Sequence[Survey]) -> None:
        self.readers: dict[str, list[tuple[Survey, str]]] = {}
        self.writers: dict[str, list[tuple[Survey, str]]] = {}
        for side, paths_of in ((self.readers, reads_of), (self.writers, writes_of)):
            for tool in tools:
                for path in paths_of(tool):
                    if root := root_of(path):
                        side.setdefault(root, []).append((tool, path))

    def all(self) -> list[str]:
        """Every root, in the order of the tools that read it, then of those that write."""
        return list(dict.fromkeys((*self.readers, *self.writers)))

    def users(self, *roots: str) -> list[Survey]:
        """The tools whose labels stand under these."""
        sides = (self.readers, self.writers)
        return [tool for root in roots for side in sides for tool, _ in side.get(root, ())]

    def arguments(self, root: str) -> set[str]:
        """The arguments that the labels under a root name."""
        paths = [path for side in (self.readers, self.writers) for _, path in side.get(root, ())]
        return {name for path in paths for name in Effects(reads=path).arguments()}


def _bare(root: str) -> str:
    return root.rstrip(":").lower()


def _alike(one: str, other: str) -> bool:
    """Whether two names differ by so little that one may be a slip for the other."""
    first, second = _bare(one), _bare(other)
    if first == second:
        return True
    if re.sub(r"\d", "", first) == re.sub(r"\d", "", second):
        return False  # db1 and db2 are meant to differ
    return difflib.SequenceMatcher(None, first, second).ratio() >= _CLOSE


def near_misses(tools: Sequence[Survey]) -> Iterator[Finding]:
    """A020: a slip in a name makes two resources of one."""
    roots = _Roots(tools)
    for one, other in itertools.combinations(roots.all(), 2):
        if _alike(one, other):
            yield _found(
                "A020",
                roots.users(one, other),
                f"'{one}' and '{other}' are two resources; calls on them never wait for each other",
                "Use one spelling, if one thing is meant.",
            )


def two_names(tools: Sequence[Survey]) -> Iterator[Finding]:
    """A021: what some only read and others only write may be one thing under two names."""
    roots = _Roots(tools)
    only_read = [root for root in roots.readers if root not in roots.writers]
    only_written = [root for root in roots.writers if root not in roots.readers]
    for read, written in itertools.product(only_read, only_written):
        shared = (roots.arguments(read) & roots.arguments(written)) - _COMMON
        if _alike(read, written) or not (shared or same_thing(_bare(read), _bare(written))):
            continue
        both = f"; both are named by the argument {min(shared)}" if shared else ""
        yield _found(
            "A021",
            roots.users(read, written),
            f"'{read}' is only read and '{written}' only written{both}",
            "Use one name, if it is one thing: else readers do not wait for writers.",
        )


def never_written(tools: Sequence[Survey]) -> Iterator[Finding]:
    """A022: a label that no labelled tool can come into conflict with."""
    writes = [path for tool in tools for path in writes_of(tool)]
    for tool in tools:
        named = [path for path in reads_of(tool) if levels_of(path)]
        idle = [path for path in named if not _meets(path, writes)]
        if idle:
            yield _found(
                "A022",
                [tool],
                f"no labelled tool writes {_listed(idle)}",
                "Leave it out, or look for a tool that does write it and does not say so.",
            )


def of_no_concern(tools: Sequence[Survey]) -> Iterator[Finding]:
    """A023: a write that only orders a tool's own calls."""
    for tool in tools:
        others = [
            path
            for other in tools
            if other is not tool
            for path in (*reads_of(other), *writes_of(other))
        ]
        idle = [path for path in writes_of(tool) if not _meets(path, (*others, *reads_of(tool)))]
        if idle:
            yield _found(
                "A023",
                [tool],
                f"no other labelled tool reads or writes {_listed(idle)}, so it orders this "
                "tool's own calls only",
                "Nothing, if that is meant; else look for a reader that does not say so.",
            )


def _meets(path: str, others: Collection[str]) -> bool:
    return any(meeting(path, other) is not Meeting.NEVER for other in others)


def _listed(paths: Sequence[str]) -> str:
    return ", ".join(f"'{path}'" for path in paths)


def spellings(tools: Sequence[Survey]) -> Iterator[Finding]:
    """A024: `a.py` and `/home/me/a.py` are two resources."""
    by_root: dict[str, list[Survey]] = {}
    for tool in tools:
        arguments = tool.effects.arguments()
        for name in path_arguments(tool):
            if name in arguments:
                by_root.setdefault(root_of(arguments[name]), []).append(tool)
    for root, users in by_root.items():
        if any(writes_of(tool) for tool in users):
            yield _found(
                "A024",
                users,
                f"paths under '{root}' come from the model: '..' and './' are worked out, but "
                "'a.py' and '/srv/a.py' are two resources, and so are a link and its target",
                "Have the tools refuse all but one form, such as paths relative to the project.",
            )


def undeclared(tools: Sequence[Survey]) -> Iterator[Finding]:
    """A030, A031: tools without labels order everything."""
    silent = [tool for tool in tools if not tool.declared]
    readers = [tool.name for tool in silent if reading_verb(tool.name)]
    if len(tools) == 1:
        return
    if silent and len(silent) == len(tools):
        first = f" By their names: {', '.join(readers)}." if readers else ""
        yield _found(
            "A031",
            silent,
            "calls of different messages run one after the other; only decoding overlaps with them",
            f"Begin with the slowest tool that changes nothing: @effects().{first}",
        )
        return
    now = pair_counts(tools)
    for tool in silent:
        if tool.origin in (Origin.DECORATOR, Origin.MAPPING):
            continue  # A034: on purpose
        pure = replace(tool, effects=replace(tool.effects, reads=(), writes=()))
        then = pair_counts([pure if other is tool else other for other in tools])
        sounds = "It sounds like a reader. " if tool.name in readers else ""
        yield _found(
            "A030",
            [tool],
            "its calls wait for all calls of earlier messages, and all later ones for it: of "
            f"{sum(now.values())} pairs of tools {now[Meeting.ALWAYS]} always wait for each other, "
            f"{then[Meeting.ALWAYS]} if this one read and wrote nothing",
            f"{sounds}Say what it reads and writes, if that is known.",
        )


SET_RULES: Final[tuple[Callable[[Sequence[Survey]], Iterator[Finding]], ...]] = (
    same_names,
    near_misses,
    two_names,
    never_written,
    of_no_concern,
    spellings,
    undeclared,
)
"""Every rule, in the order of the codes."""
