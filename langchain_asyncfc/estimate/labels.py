"""What tools read and write, as given on the command line."""

from __future__ import annotations

import importlib
import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from langchain_core.tools import BaseTool
from langgraph.prebuilt import ToolNode

from langchain_asyncfc.effects import Effects, effects_of
from langchain_asyncfc.tool_node import AsyncFCToolNode

__all__ = ["LabelsError", "effects_in_file", "effects_of_tools"]


class LabelsError(ValueError):
    """Raised when labels cannot be read: what is wrong, where, what to do."""


def effects_of_tools(name: str) -> dict[str, Effects]:
    """The declared effects of tools that a module holds.

    Args:
        name: `module:attribute`; the attribute is a list or mapping of tools, a tool, or a
            tool node.

    Raises:
        LabelsError: When there is no such thing.
    """
    module_name, _, attribute = name.partition(":")
    if not module_name or not attribute:
        raise LabelsError(f"--tools {name!r} must be module:attribute, as in my_agent.tools:tools.")
    try:
        found: Any = importlib.import_module(module_name)
    except Exception as error:  # a module's own code may raise anything
        msg = f"--tools {name!r}: importing {module_name} failed: {type(error).__name__}: {error}."
        raise LabelsError(msg) from error
    for part in attribute.split("."):
        if not hasattr(found, part):
            raise LabelsError(f"--tools {name!r}: {module_name} has no attribute {attribute!r}.")
        found = getattr(found, part)
    tools = _tools_in(found)
    if tools is None:
        msg = (
            f"--tools {name!r} is a {type(found).__name__}; it must be a list or mapping of tools, "
            "a tool, or a tool node."
        )
        raise LabelsError(msg)
    known = {tool_name: _declared(found, tool_name, tool) for tool_name, tool in tools.items()}
    return {tool_name: effects for tool_name, effects in known.items() if effects is not None}


def _tools_in(found: Any) -> dict[str, Any] | None:
    if isinstance(found, ToolNode):
        return dict(found.tools_by_name)
    items: Iterable[Any]
    if isinstance(found, Mapping):
        items = found.values()
    elif isinstance(found, list | tuple | set | frozenset):
        items = found
    else:
        items = [found]
    tools = {}
    for item in items:
        if isinstance(item, BaseTool):
            tools[item.name] = item
        elif callable(item) and hasattr(item, "__name__"):
            tools[item.__name__] = item
        else:
            return None
    return tools


def _declared(holder: Any, name: str, tool: Any) -> Effects | None:
    if isinstance(holder, AsyncFCToolNode):
        return holder._engine.policy.toolbox.on(name).effects
    return effects_of(tool)


def effects_in_file(path: str | Path) -> dict[str, Effects]:
    """The effects in a JSON file: `{"search": {}, "read": {"reads": "fs:{path}"}}`.

    Raises:
        LabelsError: When it is no such file.
    """
    where = f"--effects {path}"
    try:
        data = json.loads(Path(path).read_text(encoding="utf-8"))
    except OSError as error:
        raise LabelsError(f"{where}: it cannot be read: {error.strerror}.") from None
    except (ValueError, RecursionError) as error:
        raise LabelsError(f"{where}: this is no JSON: {error}.") from None
    if not isinstance(data, dict):
        raise LabelsError(f'{where}: it must be an object like {{"search": {{}}}}.')
    found = {}
    for name, fields in data.items():
        try:
            found[name] = Effects(**fields)
        except (TypeError, ValueError) as error:
            raise LabelsError(f"{where}: the effects of {name!r}: {error}") from None
    return found
