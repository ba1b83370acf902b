"""What tools read and write, as given on the command line; read as the audit reads them."""

from __future__ import annotations

from pathlib import Path

from langchain_asyncfc.effects import Effects
from langchain_asyncfc.effects_audit import audit
from langchain_asyncfc.effects_audit.loading import BadInput, effects_in, load_tools

__all__ = ["LabelsError", "effects_in_file", "effects_of_tools"]


class LabelsError(ValueError):
    """Raised when labels cannot be read: what is wrong, where, what to do."""


def effects_of_tools(name: str) -> dict[str, Effects]:
    """The effects of tools that a module holds, as a node would take them.

    Args:
        name: `module:attribute`; the attribute is a list or mapping of tools, a tool, a tool
            node, or a function without arguments that returns one of these.

    Raises:
        LabelsError: When there is no such thing.
    """
    try:
        loaded = load_tools(name)
        found = audit(loaded.tools, loaded.effects, trust_mcp_hints=loaded.trust_mcp_hints)
    except (BadInput, TypeError, ValueError) as error:
        raise LabelsError(f"--tools {name}: {error}") from error
    return {tool.name: tool.effects for tool in found.tools}


def effects_in_file(path: str | Path) -> dict[str, Effects]:
    """The effects in a JSON file: `{"search": {}, "read": {"reads": "fs:{path}"}}`.

    Raises:
        LabelsError: When it is no such file.
    """
    try:
        return effects_in(path)
    except BadInput as error:
        raise LabelsError(str(error)) from error
