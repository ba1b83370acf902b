"""NESTFUL: sequences of calls in which arguments name results of earlier calls.

The data stands in `data/nestful.json`: for each task its calls, where `$var1.field$` means a
field of the result of the call with that label. The tools are stubs made to have those fields.

Source: NESTFUL, A Benchmark for Evaluating LLMs on Nested Sequences of API Calls (Basu et al.,
2024, arXiv 2409.03797), Apache-2.0.
"""

from __future__ import annotations

import functools
import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from benchmarks.workloads.stubs import StubWorld
from benchmarks.workloads.tasks import Location, Planned, Source, Task, ToolSpec, at

DATA = Path(__file__).parent.parent / "data" / "nestful.json"

_VALUE = re.compile(r"\$(var\d+)\.([\w.\[\]]+)\$")


@functools.cache
def nestful() -> tuple[Task, ...]:
    """The 215 tasks."""
    return tuple(_task(row) for row in json.loads(DATA.read_text()))


def _task(row: dict[str, Any]) -> Task:
    fields: dict[str, dict[Location, None]] = {}
    places = [_places(row["calls"], k) for k in range(len(row["calls"]))]
    for source, _ in (place for of_call in places for place in of_call):
        fields.setdefault(row["calls"][source.call]["name"], {})[source.path] = None
    world = functools.partial(StubWorld, {name: tuple(paths) for name, paths in fields.items()})
    running = world()
    results: list[Any] = []
    calls: list[Planned] = []
    for made, of_call in zip(row["calls"], places, strict=True):
        planned = _planned(made, of_call, results)
        calls.append(planned)
        results.append(running.act(planned.tool, planned.args))
    tools = tuple(_spec(name, row["calls"]) for name in dict.fromkeys(c.tool for c in calls))
    return Task(row["id"], tuple(calls), (tuple(range(len(calls))),), tools, world)


def _places(made: list[dict[str, Any]], k: int) -> list[tuple[Source, str]]:
    """Where a call's arguments name earlier results, each with the text that does so.

    A label that is used twice means the latest call before.
    """
    calls = {call["label"]: i for i, call in enumerate(made[:k])}
    return [
        (Source(location, calls[found[1]], _steps(found[2])), found[0])
        for location, text in _texts(made[k]["arguments"], ())
        for found in _VALUE.finditer(text)
    ]


def _planned(made: dict[str, Any], places: list[tuple[Source, str]], results: list[Any]) -> Planned:
    args = json.loads(json.dumps(made["arguments"]))
    sources = []
    for source, mark in places:
        value = at(results[source.call], source.path)
        holder, key = at(args, source.location[:-1]), source.location[-1]
        whole = holder[key] == mark
        holder[key] = holder[key].replace(mark, value)
        sources.append(Source(source.location, source.call, source.path, None if whole else value))
    return Planned(made["name"], args, tuple(sources))


def _spec(name: str, made: list[dict[str, Any]]) -> ToolSpec:
    """A tool that takes what its calls give it; the data does not say of which types."""
    named: dict[str, Any] = {
        arg: {} for call in made if call["name"] == name for arg in call["arguments"]
    }
    return ToolSpec(name, name, {"type": "object", "properties": named})


def _steps(path: str) -> Location:
    """`movies[0]` → `("movies", 0)`."""
    return tuple(int(s) if s.isdigit() else s for s in re.split(r"[.\[\]]+", path) if s)


def _texts(value: Any, location: Location) -> Iterator[tuple[Location, str]]:
    if isinstance(value, Mapping):
        for key, inner in value.items():
            yield from _texts(inner, (*location, key))
    elif isinstance(value, list):
        for index, inner in enumerate(value):
            yield from _texts(inner, (*location, index))
    elif isinstance(value, str):
        yield location, value
