"""What a real model is asked: the user's words, all tools of the task, and the expected calls.

W1 to W3 are the workloads of the end-to-end benchmark of these names. There the model is scripted
and is told of the tools that it uses; here it gets all that BFCL gives. W4 and W5 are not asked:
NESTFUL's tools have neither types nor descriptions here, and BFCL has no checker for either.

Source: Berkeley Function-Calling Leaderboard (Patil et al., 2025), Apache-2.0.
"""

from __future__ import annotations

import functools
import random
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from benchmarks.workloads.bfcl import MULTI_TURN, ApiWorld, json_schema, methods, rows
from benchmarks.workloads.bfcl import multi_turn as planned_turns
from benchmarks.workloads.bfcl import spec as method_spec
from benchmarks.workloads.single import parallel as planned_parallel
from benchmarks.workloads.stubs import StubWorld
from benchmarks.workloads.tasks import Task, ToolSpec, World


@dataclass(frozen=True, slots=True)
class Question:
    """One task for a real model.

    Attributes:
        workload: `W1`, `W2` or `W3`.
        name: BFCL's id.
        turns: What the user says, one after another.
        tools: All that the model may call.
        plan: The ground truth, as a competent model would play it.
        entry: BFCL's own entry.
        truth: BFCL's own ground truth; of W2 it is one turn.
        world: Makes what the tools act on.
    """

    workload: str
    name: str
    turns: tuple[str, ...]
    tools: tuple[ToolSpec, ...]
    plan: Task = field(repr=False)
    entry: Mapping[str, Any] = field(repr=False)
    truth: Sequence[Any] = field(repr=False)
    world: Callable[[], World] = field(repr=False)


def tool_name(name: str) -> str:
    """A function's name as model services accept it: without dots, as BFCL does it too."""
    return re.sub(r"\.", "_", name)


def _multi_turn(*, merged: bool) -> tuple[Question, ...]:
    truths = {row["id"]: row["ground_truth"] for row in rows(f"possible_answer/{MULTI_TURN}")}
    tasks = planned_turns(merged=merged)
    found = []
    for row, task in zip(rows(MULTI_TURN), tasks, strict=True):
        turns = ["\n".join(m["content"] for m in turn) for turn in row["question"]]
        truth = truths[row["id"]]
        apis = row["involved_classes"]
        left_out = row.get("excluded_function", ())
        names = dict.fromkeys(n for api in apis for n in methods(api) if n not in left_out)
        found.append(
            Question(
                workload="W2" if merged else "W1",
                name=row["id"],
                turns=("\n".join(turns),) if merged else tuple(turns),
                tools=tuple(method_spec(name) for name in names),
                plan=task,
                entry=row,
                truth=[[call for turn in truth for call in turn]] if merged else truth,
                world=functools.partial(ApiWorld, row["initial_config"], apis),
            )
        )
    return tuple(found)


def _parallel() -> tuple[Question, ...]:
    plans = {task.name: task for task in planned_parallel()}
    found = []
    for kind in ("parallel", "parallel_multiple"):
        file = f"BFCL_v4_{kind}.json"
        truths = {row["id"]: row["ground_truth"] for row in rows(f"possible_answer/{file}")}
        for row in rows(file):
            [[message]] = row["question"]
            tools = {
                tool_name(doc["name"]): ToolSpec(
                    tool_name(doc["name"]), doc["description"], json_schema(doc["parameters"])
                )
                for doc in row["function"]
            }
            found.append(
                Question(
                    workload="W3",
                    name=row["id"],
                    turns=(message["content"],),
                    tools=tuple(tools.values()),
                    plan=plans[row["id"]],
                    entry=row,
                    truth=truths[row["id"]],
                    world=StubWorld,
                )
            )
    return tuple(found)


WORKLOADS: Final[dict[str, Callable[[], tuple[Question, ...]]]] = {
    "W1": functools.cache(functools.partial(_multi_turn, merged=False)),
    "W2": functools.cache(functools.partial(_multi_turn, merged=True)),
    "W3": functools.cache(_parallel),
}


def drawn(workload: str, number: int | None) -> tuple[Question, ...]:
    """Some questions of a workload, in an order drawn once for all: more of them include fewer.

    Args:
        workload: `W1`, `W2` or `W3`.
        number: How many; `None` for all.
    """
    questions = list(WORKLOADS[workload]())
    random.Random(f"order of {workload}").shuffle(questions)
    return tuple(questions[:number])
