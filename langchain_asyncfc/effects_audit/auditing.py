"""The audit itself: tools in, data out."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from langchain_core.tools import BaseTool, StructuredTool
from langchain_core.tools import tool as create_tool
from langchain_core.utils.function_calling import convert_to_openai_tool

from langchain_asyncfc.effects import Effects
from langchain_asyncfc.effects_audit.findings import CODES, Finding, Level
from langchain_asyncfc.effects_audit.meeting import Meeting, pair_counts
from langchain_asyncfc.effects_audit.set_rules import SET_RULES, unknown_names
from langchain_asyncfc.effects_audit.surveys import Survey, survey
from langchain_asyncfc.effects_audit.tool_rules import TOOL_RULES

__all__ = ["Audit", "audit"]


@dataclass(frozen=True, slots=True)
class Audit:
    """What an audit came to.

    Attributes:
        tools: What was found out of each tool, in the order given.
        findings: What is worth a look, by code and then by tool.
        pairs: How many pairs of tools, each with itself too, wait for each other in different
            messages: never, for some arguments, always.
    """

    tools: tuple[Survey, ...]
    findings: tuple[Finding, ...]
    pairs: Mapping[Meeting, int]

    @property
    def warnings(self) -> tuple[Finding, ...]:
        """The findings that are probably mistakes."""
        return tuple(found for found in self.findings if found.level is Level.WARNING)

    @property
    def notes(self) -> tuple[Finding, ...]:
        """The findings that may be just as they are meant."""
        return tuple(found for found in self.findings if found.level is Level.NOTE)


def audit(
    tools: Iterable[BaseTool | Callable[..., Any] | dict[str, Any]],
    effects: Mapping[str, Effects] | None = None,
    *,
    trust_mcp_hints: bool = False,
    ignore: Collection[str] = (),
) -> Audit:
    """Look the labels of tools over for the usual mistakes.

    It reads names, schemas, hints and labels, and calls nothing. So it can be wrong both ways: it
    warns of what is meant, and it cannot see what a tool really does.
    [`check_effects`][langchain_asyncfc.testing.label_checks.check_effects] runs calls to find out.

    Args:
        tools: Tools, plain functions, or schemas as `bind_tools` takes them.
        effects: As for the node: effects by tool name, which win over declared ones.
        trust_mcp_hints: As for the node.
        ignore: Codes of findings to leave out.

    Raises:
        ValueError: When a code to ignore does not exist, or `effects` holds something else than
            `Effects`.
        TypeError: When something among the tools is no tool.

    Example:
        ```python
        report = audit([read_file, write_file], effects={"read_file": Effects(reads="fs:{path}")})
        assert not report.warnings
        ```
    """
    for code in ignore:
        if code not in CODES:
            msg = f"ignore names {code!r}, but the codes of the audit are {', '.join(CODES)}."
            raise ValueError(msg)
    given = dict(effects or {})
    prepared = [_prepared(tool) for tool in tools]
    seen = tuple(survey(tool, given, trust_mcp_hints=trust_mcp_hints) for tool in prepared)
    found = list(unknown_names(given, [tool.name for tool in seen]))
    found += [finding for tool in seen for rule in TOOL_RULES for finding in rule(tool)]
    found += [finding for set_rule in SET_RULES for finding in set_rule(seen)]
    kept = sorted((f for f in found if f.code not in ignore), key=lambda finding: finding.code)
    return Audit(seen, tuple(kept), pair_counts(seen))


def _prepared(tool: Any) -> BaseTool:
    """A tool of what `ToolNode` or `bind_tools` would take for one."""
    if isinstance(tool, BaseTool):
        return tool
    if isinstance(tool, Mapping):
        return _of_schema(dict(tool))
    if callable(tool):
        made: BaseTool = create_tool(tool)
        return made
    msg = f"{tool!r} is no tool: it must be a BaseTool, a function or a schema as a dict."
    raise TypeError(msg)


def _of_schema(schema: dict[str, Any]) -> BaseTool:
    """A tool of a schema, which nobody can call."""
    try:
        function = convert_to_openai_tool(schema)["function"]
        name = function["name"]
    except (KeyError, TypeError, ValueError) as error:
        msg = f"The schema {schema!r} is none that bind_tools takes: {error}"
        raise TypeError(msg) from error
    parameters = function.get("parameters") or {"type": "object", "properties": {}}
    return StructuredTool(
        name=name,
        description=function.get("description") or name,
        args_schema=parameters,
        func=None,
        metadata=schema.get("metadata"),
    )
