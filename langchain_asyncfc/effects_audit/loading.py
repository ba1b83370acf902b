"""Getting hold of what a user names on the command line: tools, and a mapping of effects."""

from __future__ import annotations

import asyncio
import importlib
import inspect
import json
import traceback
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, fields
from pathlib import Path
from types import TracebackType
from typing import Any, Final

from langchain_core.tools import BaseTool
from langgraph.prebuilt import ToolNode

from langchain_asyncfc.effects import Effects
from langchain_asyncfc.tool_node import AsyncFCToolNode

__all__ = ["BadInput", "Loaded", "effects_in", "load_effects", "load_tools"]

_SHOWN: Final = 6
"""Frames of a user's own traceback that are shown: enough to see who called what."""


class BadInput(Exception):
    """Raised when what was named cannot be audited. The message is for the user."""


@dataclass(frozen=True, slots=True)
class Loaded:
    """Tools as they were found, and what a node was told of them.

    Attributes:
        tools: Tools, functions and schemas.
        effects: The `effects=` of the node that they were found in.
        trust_mcp_hints: Whether that node trusts MCP hints.
    """

    tools: tuple[Any, ...]
    effects: Mapping[str, Effects]
    trust_mcp_hints: bool = False


def load_tools(target: str) -> Loaded:
    """Import what `module:name` names, and find the tools in it.

    The name may stand for a list or tuple of tools, a dict with tools as values, one tool, a
    `ToolNode`, or a function without arguments that returns one of these. An async function is
    awaited; an async context manager is entered, so that a session may be open meanwhile.

    Raises:
        BadInput: When it cannot be imported, or is none of these.
    """
    found = _named(target)
    if _is_factory(found):
        found = _called(found, target)
    return _tools_in(found, target)


def load_effects(source: str) -> dict[str, Effects]:
    """The effects in a JSON file, or in what `module:name` names.

    A file holds an object by tool name: `{"search": {}, "save": {"writes": "notes:{name}"}}`.

    Raises:
        BadInput: When it cannot be read or has another form.
    """
    if not source.endswith(".json"):
        return _mapping(_named(source), source)
    return effects_in(source)


def effects_in(path: str | Path) -> dict[str, Effects]:
    """The effects in a JSON file.

    Raises:
        BadInput: When it cannot be read or has another form.
    """
    try:
        read = json.loads(Path(path).read_text(encoding="utf-8-sig"))
    except OSError as error:
        msg = f"--effects {path}: {error.strerror or error}."
        raise BadInput(msg) from error
    except (ValueError, RecursionError) as error:
        msg = f"--effects {path}: this is not JSON: {error}."
        raise BadInput(msg) from error
    return _mapping(read, str(path))


def _mapping(found: Any, source: str) -> dict[str, Effects]:
    if not isinstance(found, Mapping):
        msg = f"--effects {source}: expected a mapping by tool name, got {_kind(found)}."
        raise BadInput(msg)
    return {str(name): _effects(value, f"{source}, {name!r}") for name, value in found.items()}


def _effects(value: Any, where: str) -> Effects:
    if isinstance(value, Effects):
        return value
    known = {field.name: field.type for field in fields(Effects)}
    if not isinstance(value, Mapping):
        msg = f'--effects {where}: expected an object as {{"reads": "fs:"}}, got {_kind(value)}.'
        raise BadInput(msg)
    for name, given in value.items():
        if name not in known:
            fits = ", ".join(known)
            msg = f"--effects {where}: {name!r} is no field of Effects; they are {fits}."
            raise BadInput(msg)
        if known[name] == "bool" and not isinstance(given, bool):
            msg = f"--effects {where}: {name} must be true or false, not {given!r}."
            raise BadInput(msg)
        if known[name] != "bool" and not isinstance(given, str | list | tuple | None):
            msg = f"--effects {where}: {name} must be a path or a list of paths, not {given!r}."
            raise BadInput(msg)
    try:
        return Effects(**value)
    except (TypeError, ValueError) as error:
        msg = f"--effects {where}: {error}"
        raise BadInput(msg) from error


def _named(target: str) -> Any:
    module_name, colon, name = target.partition(":")
    if not colon or not module_name or not name:
        msg = f"{target!r} must have the form module:name, as in my_agent.tools:tools."
        raise BadInput(msg)
    try:
        found: Any = importlib.import_module(module_name)
    except ModuleNotFoundError as error:
        if error.name is not None and (module_name + ".").startswith(error.name + "."):
            msg = (
                f"There is no module {error.name!r}. Run this where {module_name!r} can be "
                "imported, or set PYTHONPATH."
            )
            raise BadInput(msg) from error
        raise _own_error(f"Importing {module_name} failed", error) from error
    except (Exception, SystemExit) as error:
        raise _own_error(f"Importing {module_name} failed", error) from error
    for part in name.split("."):
        try:
            found = getattr(found, part)
        except AttributeError as error:
            names = [n for n in dir(found) if not n.startswith("_")]
            shown = ", ".join(names[:20]) + (", …" if len(names) > 20 else "")  # noqa: PLR2004
            msg = f"{target!r}: there is no {part!r}; there are {shown or 'no public names'}."
            raise BadInput(msg) from error
    return found


def _own_error(what: str, error: BaseException) -> BadInput:
    """An error of the user's code, with the end of its traceback from there on."""
    own = _after_import(error.__traceback__)
    shown = traceback.format_exception(type(error), error, own, limit=-_SHOWN)
    return BadInput(f"{what}:\n\n{''.join(shown).rstrip()}")


def _after_import(found: TracebackType | None) -> TracebackType | None:
    """The traceback without the frames of this module and of the import machinery."""
    machinery = (__file__, importlib.__file__, asyncio.__path__[0], "<frozen importlib")
    start = found
    while start is not None and start.tb_frame.f_code.co_filename.startswith(machinery):
        start = start.tb_next
    return start or found


def _is_factory(found: Any) -> bool:
    return callable(found) and not isinstance(found, BaseTool | ToolNode | Mapping)


def _called(factory: Callable[[], Any], target: str) -> Any:
    try:
        signature = inspect.signature(factory)
        signature.bind()
    except (TypeError, ValueError) as error:
        msg = (
            f"{target!r} is a function that needs arguments ({error}). A function that makes the "
            "tools takes none; a single function that is a tool stands in a list."
        )
        raise BadInput(msg) from error
    try:
        with ExitStack() as stack:
            made = factory()
            if hasattr(made, "__enter__") and hasattr(made, "__exit__"):
                made = stack.enter_context(made)
            if inspect.isawaitable(made) or hasattr(made, "__aenter__"):
                return asyncio.run(_awaited(made))
            return made
    except (Exception, SystemExit) as error:
        raise _own_error(f"Calling {target} failed", error) from error


async def _awaited(made: Any) -> Any:
    if inspect.isawaitable(made):
        made = await made
    if hasattr(made, "__aenter__"):
        async with made as entered:
            return entered
    return made


def _tools_in(found: Any, target: str) -> Loaded:
    if isinstance(found, AsyncFCToolNode):
        known = found._engine.policy.toolbox
        return Loaded(tuple(found.tools_by_name.values()), known.given, known.trusts_mcp_hints)
    if isinstance(found, ToolNode):
        return Loaded(tuple(found.tools_by_name.values()), {})
    if isinstance(found, BaseTool) or _is_schema(found):
        return Loaded((found,), {})
    if isinstance(found, Mapping):
        found = list(found.values())
    if isinstance(found, list | tuple):
        for item in found:
            if not (callable(item) or isinstance(item, BaseTool) or _is_schema(item)):
                msg = f"{target!r} holds {item!r}, which is no tool, function or schema."
                raise BadInput(msg)
        return Loaded(tuple(found), {})
    msg = (
        f"{target!r} is {_kind(found)}. Expected a list, tuple or dict of tools, a ToolNode, or a "
        "function that returns one."
    )
    raise BadInput(msg)


def _is_schema(found: Any) -> bool:
    """Whether a dict is the schema of one tool, in a form that `bind_tools` takes."""
    if not isinstance(found, Mapping):
        return False
    forms = {"function", "parameters", "input_schema", "properties"}
    return any(isinstance(found.get(form), Mapping) for form in forms)


def _kind(value: Any) -> str:
    name = type(value).__name__
    return f"{'an' if name[0] in 'aeiou' else 'a'} {name}"
