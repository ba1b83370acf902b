"""What LLMCompiler's planner writes for a task: rounds of calls, and what each call waits for.

A plan is written before anything has run, so a value that was not seen is passed on as `$1`. Where
the model has to read a result before it can write a call, no reference helps: the call is left to
a later round, together with everything that waits for it, and a new plan is written then.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from typing import Any

from benchmarks.workloads.tasks import Planned, Task, at

LINE_TOKENS = 3
"""Tokens of a line of a plan beside its call: the number, the dot, the end of the line."""

JOIN_TOKENS = 8
"""Tokens of the last line of a plan, `4. join()<END_OF_PLAN>`."""

AFTER_TOKENS = 4
"""Tokens of an order that no value gives, ` after $2`."""


def rounds(task: Task, turn: Sequence[int], deps: Sequence[frozenset[int]]) -> list[list[int]]:
    """A turn's calls by the plan that they stand in.

    No call is planned before one that it has to wait for. That knowledge is given to the planner
    in both variants: a plan may still forget to say so of two of its own calls.
    """
    number: dict[int, int] = {}
    for k in turn:
        inside = deps[k].intersection(turn)
        looked_at = task.calls[k].sees
        number[k] = max((number[i] + (i in looked_at) for i in inside), default=0)
    last = max(number.values(), default=-1)
    return [[k for k in turn if number[k] == n] for n in range(last + 1)]


def by_value(task: Task) -> list[frozenset[int]]:
    """For each call the earlier calls whose values it takes: all that a plan says as published."""
    return [frozenset(source.call for source in call.sources) for call in task.calls]


def orders(deps: Sequence[frozenset[int]], plan: Sequence[int], k: int) -> list[int]:
    """The calls of its plan that a call waits for, without those that others of them imply."""
    inside = deps[k].intersection(plan)
    implied: set[int] = set()
    for i in inside:
        implied |= _before(deps, i)
    return sorted(inside - implied)


def _before(deps: Sequence[frozenset[int]], k: int) -> set[int]:
    found: set[int] = set()
    rest = list(deps[k])
    while rest:
        i = rest.pop()
        if i not in found:
            found.add(i)
            rest += deps[i]
    return found


def line_tokens(task: Task, plan: Sequence[int], deps: Sequence[frozenset[int]], k: int) -> int:
    """Tokens of a line of a plan beyond its call."""
    referred = {source.call for source in task.calls[k].sources}
    said = [i for i in orders(deps, plan, k) if i not in referred]
    return LINE_TOKENS + AFTER_TOKENS * len(said)


def filled(call: Planned, plan: Sequence[int], results: Mapping[int, Any]) -> dict[str, Any]:
    """A call's arguments with the values of its plan's earlier calls, as they really came.

    A value that is not there, because a race made the result another one, leaves `$1` in its
    place.
    """
    args: Any = copy.deepcopy(dict(call.args))
    for source in call.sources:
        if source.call not in plan:
            continue  # the planner has read it
        try:
            value = at(results[source.call], source.path)
        except (LookupError, TypeError):
            value = f"${source.call + 1}"
        holder, key = at(args, source.location[:-1]), source.location[-1]
        whole = source.part is None
        holder[key] = value if whole else holder[key].replace(source.part, str(value), 1)
    assert isinstance(args, dict)
    return args
