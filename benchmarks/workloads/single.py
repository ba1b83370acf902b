"""BFCL's `parallel` and `parallel_multiple`: one request, several calls that share nothing.

The model makes them in one message. The tools are stubs; what they are told of comes from the
data, as do the calls: the first of the answers that the data accepts.

Source: Berkeley Function-Calling Leaderboard (Patil et al., 2025), Apache-2.0.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping
from typing import Any

from benchmarks.workloads.bfcl import json_schema, rows
from benchmarks.workloads.stubs import StubWorld
from benchmarks.workloads.tasks import Planned, Task, ToolSpec


@functools.cache
def parallel() -> tuple[Task, ...]:
    """The 400 tasks."""
    found = []
    for kind in ("parallel", "parallel_multiple"):
        file = f"BFCL_v4_{kind}.json"
        truths = {row["id"]: row["ground_truth"] for row in rows(f"possible_answer/{file}")}
        found += [_task(row, truths[row["id"]]) for row in rows(file)]
    return tuple(found)


def _task(row: dict[str, Any], truth: list[dict[str, dict[str, Any]]]) -> Task:
    calls = tuple(
        Planned(tool, _accepted(args)) for answer in truth for tool, args in answer.items()
    )
    used = {call.tool for call in calls}
    tools = tuple(
        ToolSpec(doc["name"], doc["description"], json_schema(doc["parameters"]))
        for doc in {doc["name"]: doc for doc in row["function"]}.values()
        if doc["name"] in used
    )
    return Task(row["id"], calls, (tuple(range(len(calls))),), tools, StubWorld, batched=True)


def _accepted(args: Mapping[str, Any]) -> dict[str, Any]:
    """The first accepted value of each argument; an empty text says that it may be left out."""
    found = {}
    for name, values in args.items():
        first = values[0] if isinstance(values, list) else values
        if first != "":
            found[name] = _accepted(first) if isinstance(first, Mapping) else first
    return found
