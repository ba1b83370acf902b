"""Which calls of a task must not change places, said without the package that is measured."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from benchmarks.workloads.tasks import Planned, Task

Path = tuple[str, ...]


def _paths(templates: Any, args: Mapping[str, Any]) -> list[Path]:
    """Resources with the call's own values; a template ends before an argument that is absent."""
    found = []
    for template in templates or ():
        levels: list[str] = []
        for level in template.split("/"):
            name = re.fullmatch(r"\{(\w+)\}", level)
            if name is None:
                levels.append(level)
            elif name[1] in args:
                levels.append(str(args[name[1]]))
            else:
                break
        found.append(tuple(levels))
    return found


def _meet(some: Iterable[Path], others: Iterable[Path]) -> bool:
    others = list(others)
    return any(a[: len(b)] == b or b[: len(a)] == a for a in some for b in others)


def dependencies(task: Task) -> list[frozenset[int]]:
    """For each call the earlier calls that it has to wait for."""
    specs = {spec.name: spec.effects for spec in task.tools}

    def touched(call: Planned) -> tuple[list[Path], list[Path]]:
        effects = specs[call.tool]
        return _paths(effects.reads, call.args), _paths(effects.writes, call.args)

    sides = [touched(call) for call in task.calls]
    found = []
    for k, (reads, writes) in enumerate(sides):
        waits = {source.call for source in task.calls[k].sources} | task.calls[k].sees
        for i, (earlier_reads, earlier_writes) in enumerate(sides[:k]):
            if _meet(earlier_writes, [*reads, *writes]) or _meet(earlier_reads, writes):
                waits.add(i)
        found.append(frozenset(waits))
    return found


def safe_batches(task: Task, deps: list[frozenset[int]]) -> list[list[list[int]]]:
    """For each turn its calls in messages in which no call depends on another.

    In the order of the calls: a message ends where the next call depends on one in it.
    """
    turns = []
    for turn in task.turns:
        batches: list[list[int]] = []
        for k in turn:
            if batches and not deps[k].intersection(batches[-1]):
                batches[-1].append(k)
            else:
                batches.append([k])
        turns.append(batches)
    return turns


def in_order(task: Task, turns: Sequence[Sequence[Sequence[int]]]) -> list[frozenset[int]]:
    """The same where nobody knows what tools read and write: all calls of earlier messages."""
    before: dict[int, frozenset[int]] = {}
    for turn in turns:
        for message in turn:
            own = (source.call for k in message for source in task.calls[k].sources)
            before.update(dict.fromkeys(message, frozenset(before).union(own)))
    return [before[k] for k in range(len(task.calls))]
