"""What LangGraph notes in the config of a task, as far as calls need it.

The namespace is public. The other two have no public name; this is the one place that touches
them, and without them only graphs that are run by tools, and interrupts, are affected.
"""

from __future__ import annotations

import dataclasses
import itertools
from typing import Any, Final

from langchain_core.runnables import RunnableConfig
from langgraph.errors import GraphInterrupt
from langgraph.types import Interrupt

__all__ = ["going_on", "graph_that_asked", "is_resumed", "namespace", "numbered"]

_RESUMING: Final = "__pregel_resuming"
"""Where LangGraph notes in a config that a run goes on from a checkpoint. It has no public name."""


_SCRATCHPAD: Final = "__pregel_scratchpad"
"""Where LangGraph keeps what a task counts, among others the graphs that it runs."""
_NAMESPACE: Final = "checkpoint_ns"
_MAP: Final = "checkpoint_map"
_ROOM: Final = 1 << 16
"""How many graphs each call of a step can run before their numbers reach those of the next call."""


def namespace(config: RunnableConfig) -> str:
    """Where graphs keep their checkpoints that are run with a config."""
    return str((config.get("configurable") or {}).get(_NAMESPACE) or "")


def numbered(config: RunnableConfig, number: int) -> RunnableConfig:
    """A config for one of several calls of a step, whose graphs have a namespace of their own.

    LangGraph numbers the graphs that a task runs as they come. Of calls beside each other, that
    may be another order each time, and a graph would go on where another one had stopped.
    """
    known = config.get("configurable") or {}
    pad = known.get(_SCRATCHPAD)
    if not number or not dataclasses.is_dataclass(pad) or isinstance(pad, type):
        return config
    own: Any = dataclasses.replace(pad, subgraph_counter=itertools.count().__next__)
    place = f"{namespace(config)}|{number * _ROOM}"
    return {**config, "configurable": {**known, _SCRATCHPAD: own, _NAMESPACE: place}}


def graph_that_asked(asked: GraphInterrupt, where: str) -> str | None:
    """Where the graph has its checkpoints that was run by a tool and was stopped by an interrupt.

    Args:
        asked: What the tool raised.
        where: Where it was run.

    Returns:
        `None` where the tool itself asked. An interrupt's id is made from where it was raised.
    """
    interrupts = asked.args[0] if asked.args else ()
    own = Interrupt.from_ns(None, where).id
    return where if interrupts and all(i.id != own for i in interrupts) else None


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
