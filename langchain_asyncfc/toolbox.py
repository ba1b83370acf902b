"""What is known of each tool before it is called: its effects, its timeout, how it is to be run.

All of it is worked out and checked once, when a node is built.
"""

from __future__ import annotations

import inspect
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

from langchain_core.tools import BaseTool

from langchain_asyncfc.effects import UNDECLARED, Effects, effects_of
from langchain_asyncfc.records import CONTROL_TOOLS
from langchain_asyncfc.schemas import takes_await_result

__all__ = ["ToolFacts", "gather_facts", "unknown_tool"]

_EVERYTHING: Final = "/"


@dataclass(frozen=True, slots=True)
class ToolFacts:
    """One tool, as the scheduler needs to know it.

    Attributes:
        tool: The tool; `None` for a name that no tool has.
        effects: What it reads and writes; `UNDECLARED` where nothing was said.
        timeout: Seconds that a call may run; `None` for no limit.
        foreground: Whether its calls run in the step and never become futures.
        shareable: Whether an identical call may join one that runs (rule 15).
        flagged: Whether `await_result` among its arguments is meant for the runtime.
    """

    tool: BaseTool | None
    effects: Effects = UNDECLARED
    timeout: float | None = None
    foreground: bool = False
    shareable: bool = False
    flagged: bool = False


def unknown_tool(*, handled: bool) -> ToolFacts:
    """Facts on a name that no tool has.

    Args:
        handled: Whether a wrapper may serve it all the same. If not, the call is answered with
            an error at once, as by `ToolNode`.
    """
    return ToolFacts(None) if handled else ToolFacts(None, Effects(), foreground=True)


def gather_facts(
    tools: Sequence[BaseTool],
    *,
    effects: Mapping[str, Effects] | None,
    trust_mcp_hints: bool,
    timeout: float | Mapping[str, float] | None,
) -> dict[str, ToolFacts]:
    """Work out and check the facts on a set of tools.

    Args:
        tools: The tools.
        effects: Effects by tool name; they win over declared ones.
        trust_mcp_hints: Whether a tool's MCP annotations count where it declares no effects.
        timeout: Seconds for every tool, or by tool name.

    Raises:
        ValueError: When two tools have one name, a tool is named like a control tool, effects or
            timeouts are given for an unknown tool, a template names an unknown argument, or a
            timeout is not positive.
    """
    by_name = _by_name(tools)
    _check_names("effects", effects, by_name)
    timeouts = dict(timeout) if isinstance(timeout, Mapping) else dict.fromkeys(by_name, timeout)
    _check_names("timeout", timeouts, by_name)
    facts = {}
    for name, tool in by_name.items():
        declared = _effects(tool, effects or {}, trust_mcp_hints)
        _check_templates(tool, declared)
        limit = timeouts.get(name)
        if limit is not None and not limit > 0:
            msg = f"timeout for tool {name!r} must be a positive number of seconds, not {limit!r}."
            raise ValueError(msg)
        facts[name] = ToolFacts(
            tool,
            declared,
            limit,
            foreground=declared.foreground or tool.return_direct,
            # What is injected may differ from call to call although the model's arguments do not.
            shareable=declared.writes_nothing and not _is_injected(tool),
            flagged=takes_await_result(tool),
        )
    return facts


def _by_name(tools: Sequence[BaseTool]) -> dict[str, BaseTool]:
    by_name: dict[str, BaseTool] = {}
    for tool in tools:
        if tool.name in CONTROL_TOOLS:
            msg = (
                f"A tool is named {tool.name!r}, which is the name of a control tool of the "
                "runtime. Rename the tool."
            )
            raise ValueError(msg)
        if by_name.setdefault(tool.name, tool) is not tool:
            msg = (
                f"Two tools are named {tool.name!r}. A model could not tell them apart; rename one."
            )
            raise ValueError(msg)
    return by_name


def _check_names(option: str, given: Mapping[str, Any] | None, known: Mapping[str, Any]) -> None:
    for name in given or ():
        if name not in known:
            msg = f"{option} names {name!r}, but the tools are {sorted(known)}."
            raise ValueError(msg)


def _check_templates(tool: BaseTool, declared: Effects) -> None:
    named = declared.arguments()
    if not named:
        return
    known = _argument_names(tool)
    for argument, path in named.items():
        if known is not None and argument not in known:
            msg = (
                f"Effects of tool {tool.name!r}: path {path!r} names the argument {argument!r}, "
                f"but its arguments are {sorted(known)}."
            )
            raise ValueError(msg)


def _effects(tool: BaseTool, given: Mapping[str, Any], trust_mcp_hints: bool) -> Effects:
    if tool.name in given:
        found = given[tool.name]
        if not isinstance(found, Effects):
            msg = f"effects[{tool.name!r}] must be an Effects object, not {found!r}."
            raise ValueError(msg)
        return found
    declared = effects_of(tool)
    if declared is None and trust_mcp_hints:
        declared = _from_hints(tool.metadata or {})
    return UNDECLARED if declared is None else declared


def _from_hints(metadata: Mapping[str, Any]) -> Effects | None:
    """Effects from MCP tool annotations, as `langchain-mcp-adapters` keeps them in `metadata`.

    Source: tool annotations in the Model Context Protocol specification. They are the server's
    word alone, hence to be trusted on request only.
    """
    idempotent = metadata.get("idempotentHint") is True
    if metadata.get("readOnlyHint") is True:
        return Effects(reads=_EVERYTHING, idempotent=True)
    if metadata.get("destructiveHint") is True:
        return replace(UNDECLARED, fence=True, idempotent=idempotent)
    return replace(UNDECLARED, idempotent=True) if idempotent else None


def _is_injected(tool: BaseTool) -> bool:
    """Whether a tool takes arguments that are not the model's: state, store, runtime, call id."""
    schema: Any = tool.get_input_schema()
    # pydantic v1 has no `model_fields`, and v2 warns of `__fields__`.
    fields = schema.model_fields if hasattr(schema, "model_fields") else schema.__fields__
    run = getattr(tool, "func", None) or getattr(tool, "coroutine", None) or tool._run
    taken = {
        name
        for name, parameter in inspect.signature(run).parameters.items()
        if parameter.kind not in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD)
    }
    if isinstance(tool.args_schema, dict):
        return False
    visible = _argument_names(tool)
    of_langchain = {"config", "run_manager", "callbacks"}
    return visible is None or not (taken | set(fields)) <= visible | of_langchain


def _argument_names(tool: BaseTool) -> set[str] | None:
    """The names of the model's arguments; `None` where they have no schema."""
    try:
        schema: Any = tool.tool_call_schema  # `tool.args` has injected ones too in older versions
    except Exception:  # noqa: BLE001 - pydantic versions differ in what they raise
        return None
    if isinstance(schema, dict):
        return set(schema.get("properties", ()))
    fields = schema.model_fields if hasattr(schema, "model_fields") else schema.__fields__
    aliases = {field.alias for field in fields.values() if field.alias}
    return set(fields) | aliases
