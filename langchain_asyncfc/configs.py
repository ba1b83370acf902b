"""What LangGraph notes in the config of a task, as far as calls need it.

The namespace is public. The others have no public name; this is the one place that touches them,
and without them only graphs that are run by tools, interrupts and eager start are affected.
"""

from __future__ import annotations

import dataclasses
import itertools
from typing import Any, Final

from langchain_core.runnables import RunnableConfig
from langgraph.errors import GraphInterrupt
from langgraph.types import Interrupt

__all__ = [
    "apart",
    "going_on",
    "graph_that_asked",
    "is_answered",
    "is_resumed",
    "namespace",
    "state_of",
]

_RESUMING: Final = "__pregel_resuming"
"""Where LangGraph notes in a config that a run goes on from a checkpoint. It has no public name."""


_SCRATCHPAD: Final = "__pregel_scratchpad"
"""Where LangGraph keeps what a task counts: the graphs that it runs, and the interrupts."""
_READ: Final = "__pregel_read"
"""Where LangGraph has what reads the state as a step found it."""

_NAMESPACE: Final = "checkpoint_ns"
_MAP: Final = "checkpoint_map"
_ROOM: Final = 1 << 16
"""How many graphs each call of a step can run before their numbers reach those of the next call."""


def namespace(config: RunnableConfig) -> str:
    """Where graphs keep their checkpoints that are run with a config."""
    return str((config.get("configurable") or {}).get(_NAMESPACE) or "")


def state_of(config: RunnableConfig, key: str) -> Any:
    """What the state held under a key when a step began; `None` if that is not known."""
    read = (config.get("configurable") or {}).get(_READ)
    try:
        return read(key) if callable(read) else None
    except LookupError:  # the graph has no such key
        return None


def apart(config: RunnableConfig, number: int) -> RunnableConfig:
    """A config for a call that is not the only one that runs in a step.

    LangGraph counts the interrupts of a task, and the graphs that it runs, as they come. Of calls
    beside each other that may be another order each time, so that one would get the other's
    answer, or go on with the other's graph. So a call of several asks nobody yet (see `asking`),
    and its graphs have a namespace of their own.

    Args:
        config: The config of the step.
        number: What tells the call from others of the step; 0 for one.
    """
    known = config.get("configurable") or {}
    pad = _scratchpad(config)
    if pad is None:
        return config
    own: Any = dataclasses.replace(
        pad,
        subgraph_counter=itertools.count().__next__,
        interrupt_counter=itertools.count().__next__,
        get_null_resume=_no_answer,
        resume=[],
    )
    place = f"{namespace(config)}|{number * _ROOM}" if number else namespace(config)
    return {**config, "configurable": {**known, _SCRATCHPAD: own, _NAMESPACE: place}}


def is_answered(config: RunnableConfig) -> bool:
    """Whether the step of a config was stopped by an interrupt that is answered now."""
    pad = _scratchpad(config)
    return pad is not None and (bool(pad.resume) or pad.get_null_resume(False) is not None)


def _scratchpad(config: RunnableConfig) -> Any:
    """What LangGraph counts for the task of a config; `None` outside of one."""
    pad = (config.get("configurable") or {}).get(_SCRATCHPAD)
    return pad if dataclasses.is_dataclass(pad) and not isinstance(pad, type) else None


def _no_answer(consume: bool = False) -> None:  # noqa: ARG001 - LangGraph's signature
    return None


def graph_that_asked(asked: GraphInterrupt, config: RunnableConfig) -> str | None:
    """Where the graph has its checkpoints that was run by a tool and was stopped by an interrupt.

    Args:
        asked: What the tool raised.
        config: The config with which it was run.

    Returns:
        `None` where the tool itself asked. An interrupt's id is made from where it was raised, and
        in newer versions from how many were answered there before.
    """
    where = namespace(config)
    pad = _scratchpad(config)
    answered = 0 if pad is None else len(pad.resume)
    own = {Interrupt.from_ns(None, where).id}
    own |= {Interrupt.from_ns(None, f"{where}|{n + 1}").id for n in range(answered)}
    interrupts = asked.args[0] if asked.args else ()
    return where if interrupts and all(i.id not in own for i in interrupts) else None


def going_on(config: RunnableConfig, where: str) -> RunnableConfig:
    """A config in which graphs go on from checkpoints that they have in a namespace."""
    known = config.get("configurable") or {}
    # A checkpoint that the map names would be gone on from, and there it is that of the step.
    above = {ns: found for ns, found in (known.get(_MAP) or {}).items() if ns != where}
    changed = {_NAMESPACE: where, _MAP: above, _RESUMING: True}
    return {**config, "configurable": {**known, **changed}}


def is_resumed(config: RunnableConfig) -> bool:
    """Whether a step belongs to a run that goes on from a checkpoint."""
    return bool((config.get("configurable") or {}).get(_RESUMING))
