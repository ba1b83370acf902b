"""What is known of each tool before it is called: its effects, its timeout, how it is to be run.

All of it is worked out and checked once, when a tool is first seen.
"""

from __future__ import annotations

import inspect
import typing
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Any, Final

from langchain_core.tools import BaseTool
from langgraph.types import Command

from langchain_asyncfc.effects import UNDECLARED, Effects, effects_of
from langchain_asyncfc.recording import Noting, noting
from langchain_asyncfc.records import CONTROL_TOOLS
from langchain_asyncfc.schemas import takes_await_result

__all__ = ["Origin", "ToolFacts", "Toolbox", "find_effects"]

_EVERYTHING: Final = "/"

_HANDOFF: Final = "__handoff_destination"
"""The key by which `langgraph-supervisor` and `langgraph-swarm` mark tools that hand over to
another agent, in `tool.metadata`."""


class Origin(StrEnum):
    """Where the effects of a tool come from."""

    MAPPING = "effects="
    DECORATOR = "@effects"
    TRUSTED_HINTS = "MCP hints"
    UNTRUSTED_HINTS = "MCP hints, not trusted"  # so it counts as undeclared
    NONE = "none"


@dataclass(frozen=True, slots=True)
class ToolFacts:
    """One tool, as the scheduler needs to know it.

    Attributes:
        tool: The tool; `None` for a name that no tool has.
        effects: What it reads and writes; `UNDECLARED` where nothing was said.
        timeout: Seconds that a call may run; `None` for no limit.
        foreground: Whether its calls run in the step and never become futures.
        approved: Whether a person sees its arguments before it runs.
        comes_last: Whether its calls may end the run (by an interrupt or a hand-off), so that
            everything else has to be finished and delivered first.
        may_hand_off: Whether its calls may hand over to another agent where the graph is part of
            a larger one; they count as foreground and `comes_last` there.
        shareable: Whether an identical call may join one that runs (rule 15).
        flagged: Whether `await_result` among its arguments is meant for the runtime.
    """

    tool: BaseTool | None
    effects: Effects = UNDECLARED
    timeout: float | None = None
    foreground: bool = False
    approved: bool = False
    comes_last: bool = False
    may_hand_off: bool = False
    shareable: bool = False
    flagged: bool = False


class Toolbox:
    """The tools of a graph, and what is known of each.

    Args:
        effects: Effects by tool name; they win over declared ones.
        trust_mcp_hints: Whether a tool's MCP annotations count where it declares no effects.
        timeout: Seconds that a call may run, for every tool or by tool name.
        wraps: Whether a wrapper may serve names that no tool has.

    Attributes:
        needs_approval: Names of tools whose calls a person approves.
        in_step: Names of tools that only work inside the step that they are called in.
        defaults: Effects of tools that others bring along, where nothing else declares any.
    """

    def __init__(
        self,
        *,
        effects: Mapping[str, Effects] | None = None,
        trust_mcp_hints: bool = False,
        timeout: float | Mapping[str, float] | None = None,
        wraps: bool = False,
    ) -> None:
        self.wraps = wraps
        self.needs_approval: set[str] = set()
        self.in_step: set[str] = set()
        self.defaults: dict[str, Effects] = {}
        self._effects = dict(effects or {})
        self._trust_mcp_hints = trust_mcp_hints
        self._timeout = timeout
        self._facts: dict[str, ToolFacts] = {}
        self._noting: dict[str, Noting] = {}

    @property
    def given(self) -> Mapping[str, Effects]:
        """The effects that were given by tool name."""
        return self._effects

    @property
    def trusts_mcp_hints(self) -> bool:
        """Whether a tool's MCP annotations count where it declares no effects."""
        return self._trust_mcp_hints

    def __contains__(self, name: str) -> bool:
        """Whether a tool has this name."""
        return name in self._facts

    def on(self, name: str) -> ToolFacts:
        """What is known of a tool; of a name that no tool has, how it is answered."""
        found = self._facts.get(name)
        if found is not None:
            return found
        # A wrapper may serve the name. If not, the call is answered with an error at once, as by
        # `ToolNode`.
        return ToolFacts(None) if self.wraps else ToolFacts(None, Effects(), foreground=True)

    def add(self, tool: BaseTool) -> ToolFacts:
        """Take a tool in. One of the same name that was known before is replaced.

        Raises:
            ValueError: When the tool is named like a control tool, a template in its effects names
                an unknown argument, or its timeout is not positive.
        """
        known = self._facts.get(tool.name)
        if known is None or known.tool is not tool:
            known = self._facts[tool.name] = self._facts_on(tool)
            # Held here, or a call that runs alone would have to make the copy, and LangChain would
            # work out anew what it keeps in it.
            self._noting[tool.name] = noting(tool)
        return known

    def add_all(self, tools: Iterable[BaseTool]) -> None:
        """Take in all the tools that there are.

        Raises:
            ValueError: As `add`; and when two tools have one name, or effects or timeouts are
                given for a tool that is not among them.
        """
        by_name: dict[str, BaseTool] = {}
        for tool in tools:
            if by_name.setdefault(tool.name, tool) is not tool:
                msg = (
                    f"Two tools are named {tool.name!r}. A model could not tell them apart; "
                    "rename one."
                )
                raise ValueError(msg)
            self.add(tool)
        self.check_names(by_name)

    def check_names(self, known: Collection[str]) -> None:
        """Check that effects and timeouts are given for known tools only.

        Raises:
            ValueError: When they are not.
        """
        timeouts = self._timeout if isinstance(self._timeout, Mapping) else {}
        for option, given in (("effects", self._effects), ("timeout", timeouts)):
            for name in given:
                if name not in known:
                    msg = f"{option} names {name!r}, but the tools are {sorted(known)}."
                    raise ValueError(msg)

    def _facts_on(self, tool: BaseTool) -> ToolFacts:
        name = tool.name
        if name in CONTROL_TOOLS:
            msg = (
                f"A tool is named {name!r}, which is the name of a control tool of the "
                "runtime. Rename the tool."
            )
            raise ValueError(msg)
        declared, _ = find_effects(tool, self._effects, trust_mcp_hints=self._trust_mcp_hints)
        if declared is UNDECLARED:
            declared = self.defaults.get(name, UNDECLARED)
        _check_templates(tool, declared)
        limit = self._timeout.get(name) if isinstance(self._timeout, Mapping) else self._timeout
        if limit is not None and not limit > 0:
            msg = f"timeout for tool {name!r} must be a positive number of seconds, not {limit!r}."
            raise ValueError(msg)
        approved = name in self.needs_approval
        hands_off = _HANDOFF in (tool.metadata or {})
        return ToolFacts(
            tool,
            declared,
            limit,
            foreground=declared.foreground
            or tool.return_direct
            or approved
            or hands_off
            or name in self.in_step,
            approved=approved,
            comes_last=declared.foreground or approved or hands_off,
            may_hand_off=declared is UNDECLARED and _returns_command(tool),
            # What is injected may differ from call to call although the model's arguments do not.
            shareable=declared.writes_nothing and not _is_injected(tool),
            flagged=takes_await_result(tool),
        )


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


def find_effects(
    tool: BaseTool, given: Mapping[str, Any], *, trust_mcp_hints: bool = False
) -> tuple[Effects, Origin]:
    """The effects of a tool, and where they come from.

    Args:
        tool: The tool.
        given: Effects by tool name; they win over declared ones.
        trust_mcp_hints: Whether MCP annotations count where nothing else is declared.

    Raises:
        ValueError: When what is given for the tool is no `Effects` object.
    """
    if tool.name in given:
        found = given[tool.name]
        if not isinstance(found, Effects):
            msg = f"effects[{tool.name!r}] must be an Effects object, not {found!r}."
            raise ValueError(msg)
        return found, Origin.MAPPING
    declared = effects_of(tool)
    if declared is not None:
        return declared, Origin.DECORATOR
    hinted = _from_hints(tool.metadata or {})
    if hinted is None:
        return UNDECLARED, Origin.NONE
    if trust_mcp_hints:
        return hinted, Origin.TRUSTED_HINTS
    return UNDECLARED, Origin.UNTRUSTED_HINTS


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


def _returns_command(tool: BaseTool) -> bool:
    """Whether a tool says of itself that it may return a `Command`."""
    run = getattr(tool, "func", None) or getattr(tool, "coroutine", None) or tool._run
    try:
        returned = typing.get_type_hints(run).get("return")
    except Exception:  # noqa: BLE001 - annotations that do not resolve say nothing
        return False
    found = [returned]
    while found:
        part = found.pop()
        if part is Command or typing.get_origin(part) is Command:
            return True
        found.extend(typing.get_args(part))
    return False


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
