"""What a future is: its id, its states and the outcome that it gets once.

A future is the runtime's handle on one issued tool call. Its states are a table, not code:

```
waiting ──► running ──► resolved | failed
   │           └──────► cancelled
   ├──────────────────► cancelled
   ├──────────────────► skipped      something that it depends on did not resolve
   └──────────────────► failed       its references turned out not to fit when it was to start
lost                                 only after a crash: nobody knows whether the call took effect
```

Everything here is plain data: no clock, no I/O.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from types import MappingProxyType
from typing import Any, Final

from langchain_asyncfc.errors import InvalidTransition

__all__ = ["FINAL", "TRANSITIONS", "FutureState", "Outcome", "future_id", "ordinal_of"]


class FutureState(StrEnum):
    """Where a future is between its issue and its outcome."""

    WAITING = "waiting"
    RUNNING = "running"
    RESOLVED = "resolved"
    FAILED = "failed"
    CANCELLED = "cancelled"
    SKIPPED = "skipped"
    LOST = "lost"


_W, _R = FutureState.WAITING, FutureState.RUNNING
_RESOLVED, _FAILED = FutureState.RESOLVED, FutureState.FAILED
_CANCELLED, _SKIPPED, _LOST = FutureState.CANCELLED, FutureState.SKIPPED, FutureState.LOST

TRANSITIONS: Final[Mapping[FutureState, frozenset[FutureState]]] = MappingProxyType(
    {
        _W: frozenset({_R, _CANCELLED, _SKIPPED, _FAILED}),
        _R: frozenset({_RESOLVED, _FAILED, _CANCELLED}),
        _RESOLVED: frozenset(),
        _FAILED: frozenset(),
        _CANCELLED: frozenset(),
        _SKIPPED: frozenset(),
        _LOST: frozenset(),
    }
)
"""For each state, the states that may follow it."""

FINAL: Final = frozenset(state for state, following in TRANSITIONS.items() if not following)
"""The states that end a future: an outcome is set once and never changed."""


def check_transition(now: FutureState, then: FutureState) -> None:
    """Check one step of a future against the table.

    Raises:
        InvalidTransition: When `TRANSITIONS` has no such step.
    """
    if then not in TRANSITIONS[now]:
        msg = f"A future cannot go from '{now}' to '{then}'."
        raise InvalidTransition(msg)


_ID = re.compile(r"future_([0-9]{1,9})\Z")


def future_id(ordinal: int) -> str:
    """The id of a thread's `ordinal`-th tool call; the first is `future_1`."""
    return f"future_{ordinal}"


def ordinal_of(text: str) -> int | None:
    """The ordinal in a future id, or `None` when `text` is no future id."""
    match = _ID.match(text)
    return int(match[1]) if match else None


@dataclass(frozen=True, slots=True)
class Outcome:
    """The end of a call: set once, delivered once.

    Attributes:
        state: One of the final states.
        value: What the tool returned, as a Python object. References get this.
        result: What `ToolNode` makes of it: a `ToolMessage`, a `Command` or a list of both.
            `None` when the call did not run or its error is to be raised.
        error: An exception that `ToolNode` would have raised; it is raised by the graph at the
            next turn boundary (rule 16).
        note: Why the call did not resolve, for the model and for messages of dependents.
    """

    state: FutureState
    value: Any = None
    result: Any = None
    error: BaseException | None = None
    note: str = ""
