"""Small tasks of known times for the tests of the benchmarks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from benchmarks.pace import Pace
from benchmarks.workloads.tasks import Planned, Source, Task, ToolSpec
from langchain_asyncfc import Effects

_NUMBER = {"type": "object", "properties": {"n": {"type": "integer"}}}


class Cell:
    """A number that is added to and doubled: the order of the two shows in it."""

    def __init__(self) -> None:
        self._value = 1

    def act(self, tool: str, args: Mapping[str, Any]) -> Any:
        if tool == "add":
            self._value += args["n"]
        elif tool == "double":
            self._value *= 2
        elif tool == "look_up":
            return {"n": args["n"] + 1}
        return {"value": self._value}

    def state(self) -> Any:
        return self._value


def cell_task(
    calls: Sequence[Planned],
    *,
    effects: Effects | None = None,
    turns: Sequence[Sequence[int]] | None = None,
) -> Task:
    """A task over a cell; `add` and `double` write it unless other effects are given."""
    writes = Effects(writes="cell") if effects is None else effects
    tools = (
        ToolSpec("add", "Add.", _NUMBER, writes),
        ToolSpec("double", "Double.", {"type": "object", "properties": {}}, writes),
        ToolSpec("look_up", "Look up.", _NUMBER, Effects()),
    )
    parts = turns if turns is not None else [range(len(calls))]
    return Task("cell", tuple(calls), tuple(map(tuple, parts)), tools, Cell)


def add(n: int, **more: Any) -> Planned:
    """A planned call of `add`."""
    return Planned("add", {"n": n}, **more)


def look_up(n: int, **more: Any) -> Planned:
    """A planned call of `look_up`, which gives `n + 1`."""
    return Planned("look_up", {"n": n}, **more)


DOUBLE = Planned("double", {})


def from_call(index: int) -> tuple[Source, ...]:
    """That `n` comes from the field `n` of an earlier call."""
    return (Source(("n",), index, ("n",)),)


def even_pace(*seconds: float) -> Pace:
    """Calls of 60 tokens, one second to decode after the first token, that act at their middle."""
    return Pace([60] * len(seconds), seconds, [0.5] * len(seconds))
