"""What there is to know of a tool before it is called: its labels, parameters, hints and place.

The rules see this and nothing else, so that they are plain functions of plain data.
"""

from __future__ import annotations

import inspect
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from langchain_core.tools import BaseTool

from langchain_asyncfc.effects import Effects
from langchain_asyncfc.json_schemas import json_types
from langchain_asyncfc.parameters import parameters
from langchain_asyncfc.toolbox import Origin, Toolbox, find_effects

__all__ = ["Survey", "survey"]


@dataclass(frozen=True, slots=True)
class Survey:
    """One tool, as the rules see it.

    Attributes:
        name: Its name.
        effects: What it is taken to read and write.
        origin: Where that comes from.
        description: What the model is told of it.
        parameters: The names of the model's arguments, each with its JSON types (none where the
            schema does not say).
        required: Those that have to be given.
        hints: MCP annotations, as far as there are any.
        where: `file.py:12`, or an empty text where that is not known.
        return_direct: Whether its result ends the run.
        interrupts: Whether its function calls `interrupt`.
        refused: Why a node refuses it with these labels; empty where it does not.
    """

    name: str
    effects: Effects
    origin: Origin
    description: str = ""
    parameters: Mapping[str, frozenset[str]] = field(default_factory=dict)
    required: frozenset[str] = frozenset()
    hints: Mapping[str, bool] = field(default_factory=dict)
    where: str = ""
    return_direct: bool = False
    interrupts: bool = False
    refused: str = ""

    @property
    def declared(self) -> bool:
        """Whether both sides are known."""
        return self.effects.declared

    @property
    def only_reads(self) -> bool:
        """Whether it is taken to write nothing."""
        return self.effects.writes_nothing


_HINTS = ("readOnlyHint", "destructiveHint", "idempotentHint")


def survey(tool: BaseTool, given: Mapping[str, Effects], *, trust_mcp_hints: bool) -> Survey:
    """Look at one tool.

    Args:
        tool: The tool.
        given: Effects by tool name, as for the node.
        trust_mcp_hints: As for the node.

    Raises:
        ValueError: When what is given for the tool is no `Effects` object.
    """
    found, origin = find_effects(tool, given, trust_mcp_hints=trust_mcp_hints)
    try:
        Toolbox(effects=given, trust_mcp_hints=trust_mcp_hints).add(tool)
    except ValueError as error:
        refused = str(error)
    else:
        refused = ""
    read = parameters(tool)
    metadata = tool.metadata or {}
    run = _function(tool)
    return Survey(
        name=tool.name,
        effects=found,
        origin=origin,
        description=tool.description or "",
        parameters={
            name: json_types(read.at((name,)), read.schema) for name in sorted(read.names())
        },
        required=frozenset(read.names()).intersection(read.schema.get("required") or ()),
        hints={hint: metadata[hint] for hint in _HINTS if isinstance(metadata.get(hint), bool)},
        where=_where(run),
        return_direct=tool.return_direct,
        interrupts=_interrupts(run),
        refused=refused,
    )


def _function(tool: BaseTool) -> Any:
    """The function of a tool: the developer's own where there is one."""
    run = getattr(tool, "coroutine", None) or getattr(tool, "func", None)
    if run is None:
        own = type(tool)
        run = own._arun if "_run" not in vars(own) and "_arun" in vars(own) else own._run
    try:
        return inspect.unwrap(run)
    except ValueError:  # wrapped in a circle
        return run


def _where(run: Any) -> str:
    """Where a tool is written, when that is a file of the user's."""
    code = getattr(run, "__code__", None)
    if code is None or code.co_filename.startswith("<") or "site-packages" in code.co_filename:
        return ""
    path = os.path.relpath(code.co_filename)
    shown = code.co_filename if path.startswith("..") else path
    return f"{shown}:{code.co_firstlineno}"


def _interrupts(run: Any) -> bool:
    """Whether a function itself calls LangGraph's `interrupt`."""
    code = getattr(run, "__code__", None)
    if code is None or "interrupt" not in code.co_names:
        return False
    known = getattr(run, "__globals__", {}).get("interrupt")
    return getattr(known, "__module__", "langgraph").startswith("langgraph")
