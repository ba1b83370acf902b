"""What a task is: planned calls in the user's turns, the tools that they call, and a world.

A task is the ground truth of a benchmark's data, as a competent model would play it. Of each
argument it says whether its value comes from the result of an earlier call, and of each call
which results the model has to read before it can write the call at all.
"""

from __future__ import annotations

import copy
import json
import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from langchain_asyncfc import Effects

Location = tuple[str | int, ...]

CALL_TOKENS = (40, 80)
"""Tokens of a call: its name, its arguments and the marks around it. Drawn for each call once."""


@dataclass(frozen=True, slots=True)
class Source:
    """Where the value of an argument comes from.

    Attributes:
        location: Keys and indices that lead to the value in the call's arguments.
        call: Index of the earlier call.
        path: Keys and indices that lead to the value in that call's result.
        part: The value, where it only is a part of a longer text.
    """

    location: Location
    call: int
    path: Location
    part: str | None = None

    def reference(self) -> str:
        """The same as a reference: futures are numbered from 1 by their place in the thread."""
        steps = "".join(
            f"[{step}]" if isinstance(step, int) else f'["{step}"]' for step in self.path
        )
        return f"future_{self.call + 1}{steps}"


@dataclass(frozen=True, slots=True)
class Planned:
    """A call that the model is going to make.

    Attributes:
        tool: Name of the tool.
        args: Arguments with all values in place.
        sources: Values among them that come from earlier results, for the model to pass on.
        sees: Indices of earlier calls whose results the model must have read.
    """

    tool: str
    args: Mapping[str, Any]
    sources: tuple[Source, ...] = ()
    sees: frozenset[int] = frozenset()


@dataclass(frozen=True, slots=True)
class ToolSpec:
    """A tool: what the model is told of it, and what it reads and writes."""

    name: str
    description: str
    schema: Mapping[str, Any]
    effects: Effects = field(default_factory=Effects)


class World(Protocol):
    """What the tools act on. One is made for each run."""

    def act(self, tool: str, args: Mapping[str, Any]) -> Any:
        """Carry a call out, all at once. What it returns is the caller's own."""
        ...

    def state(self) -> Any:
        """Everything there is, public and private, as plain data."""
        ...


@dataclass(frozen=True, slots=True)
class Task:
    """One task.

    Attributes:
        name: Unique among the tasks of all workloads; the seed of its random numbers.
        calls: Its calls in the order of the ground truth.
        turns: Indices of the calls of each of the user's turns.
        tools: The tools that it uses.
        world: Makes the world in its first state.
        batched: Whether several calls stand in one message wherever nothing forbids it.
    """

    name: str
    calls: tuple[Planned, ...]
    turns: tuple[tuple[int, ...], ...]
    tools: tuple[ToolSpec, ...]
    world: Callable[[], World]
    batched: bool = False

    def tokens(self) -> list[int]:
        """Tokens of each call; the same in every run."""
        rng = random.Random(f"tokens of {self.name}")
        return [rng.randint(*CALL_TOKENS) for _ in self.calls]


def at(value: Any, location: Sequence[str | int]) -> Any:
    """The value at a place in nested data."""
    for step in location:
        value = value[step]
    return value


def with_references(call: Planned, seen: Callable[[int], bool]) -> dict[str, Any]:
    """A call's arguments, with a reference wherever the value is of a result not yet seen."""
    args: Any = copy.deepcopy(dict(call.args))
    for source in call.sources:
        if not seen(source.call):
            holder, key = at(args, source.location[:-1]), source.location[-1]
            whole = source.part is None
            new = source.reference() if whole else f"${{{source.reference()}}}"
            holder[key] = new if whole else holder[key].replace(source.part, new, 1)
    assert isinstance(args, dict)
    return args


def frozen(value: Any) -> str:
    """A value as text that is the same for the same value, for comparing later."""
    return json.dumps(value, sort_keys=True, default=repr)


def replay(task: Task) -> tuple[list[Any], Any]:
    """The results and the final state of running a task's calls one by one."""
    world = task.world()
    results = [world.act(call.tool, call.args) for call in task.calls]
    return results, world.state()
