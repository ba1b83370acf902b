"""Several BFCL tasks in one conversation: their calls are made in turn, their turns are merged.

Each task has its tools and its world to itself, told from the others' by a prefix.
"""

from __future__ import annotations

import functools
import random
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from benchmarks.workloads.bfcl import multi_turn
from benchmarks.workloads.tasks import Planned, Task, ToolSpec, World
from langchain_asyncfc import Effects

GROUPS = {2: 8, 3: 20, 4: 8}
"""How many groups there are of how many tasks."""


class Worlds:
    """The worlds of several tasks, which share nothing."""

    def __init__(self, tasks: Sequence[Task]) -> None:
        self._worlds: list[World] = [task.world() for task in tasks]

    def act(self, tool: str, args: Mapping[str, Any]) -> Any:
        """Call a tool in the world that its prefix names."""
        number, _, name = tool.partition("_")
        return self._worlds[int(number[1:])].act(name, args)

    def state(self) -> Any:
        """The states of all."""
        return [world.state() for world in self._worlds]


@functools.cache
def interleaved(size: int) -> tuple[Task, ...]:
    """Groups of tasks, drawn at random but the same each time."""
    rng = random.Random(f"groups of {size}")
    tasks = multi_turn(merged=True)
    return tuple(_together(n, rng.sample(tasks, size)) for n in range(GROUPS[size]))


def _together(number: int, tasks: Sequence[Task]) -> Task:
    longest = max(len(task.calls) for task in tasks)
    order = [
        (which, k)
        for k in range(longest)
        for which, task in enumerate(tasks)
        if k < len(task.calls)
    ]
    place = {which_k: n for n, which_k in enumerate(order)}
    calls = tuple(_moved(tasks[which].calls[k], which, place) for which, k in order)
    tools = tuple(_prefixed(spec, which) for which, task in enumerate(tasks) for spec in task.tools)
    name = f"{len(tasks)} tasks, group {number}"
    world = functools.partial(Worlds, tuple(tasks))
    return Task(name, calls, (tuple(range(len(calls))),), tools, world)


def _moved(call: Planned, which: int, place: Mapping[tuple[int, int], int]) -> Planned:
    sources = tuple(replace(source, call=place[which, source.call]) for source in call.sources)
    sees = frozenset(place[which, i] for i in call.sees)
    return Planned(f"t{which}_{call.tool}", call.args, sources, sees)


def _prefixed(spec: ToolSpec, which: int) -> ToolSpec:
    def under(paths: Any) -> tuple[str, ...]:
        return tuple(f"t{which}/{path}" for path in paths or ())

    effects = Effects(under(spec.effects.reads), under(spec.effects.writes))
    return replace(spec, name=f"t{which}_{spec.name}", effects=effects)
