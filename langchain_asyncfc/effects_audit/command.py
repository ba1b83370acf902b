"""The command: `python -m langchain_asyncfc.effects_audit module:tools`."""

from __future__ import annotations

import argparse
import json
import sys
import textwrap
from collections.abc import Iterator, Sequence
from typing import Any, Final

from langchain_asyncfc.commands import say
from langchain_asyncfc.effects_audit.auditing import Audit, audit
from langchain_asyncfc.effects_audit.findings import CODES, Finding
from langchain_asyncfc.effects_audit.loading import BadInput, load_effects, load_tools
from langchain_asyncfc.effects_audit.meeting import Meeting, reads_of, writes_of
from langchain_asyncfc.effects_audit.surveys import Survey

__all__ = ["as_json", "as_text", "main"]

_WIDTH: Final = 100
"""Columns of the report: what fits into most terminals and logs."""

_EPILOG: Final = """\
exit code: 0 when done, 1 with --strict and at least one warning, 2 when the input is no good
"""


def main(argv: Sequence[str] | None = None) -> int:
    """Audit what the arguments name, and print the report.

    Args:
        argv: The arguments; those of the process by default.

    Returns:
        The exit code: 0, 1 with `--strict` and warnings, 2 for bad input.
    """
    options = _parser().parse_args(argv)
    try:
        report = _audited(options)
    except BadInput as error:
        print(f"effects_audit: {error}", file=sys.stderr)  # noqa: T201
        return 2
    try:
        say(json.dumps(as_json(report), indent=2) if options.json else as_text(report))
    except OSError as error:
        print(f"effects_audit: {error}", file=sys.stderr)  # noqa: T201
        return 2
    return 1 if options.strict and report.warnings else 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m langchain_asyncfc.effects_audit",
        description="List tools with their effects, and warn of the usual mistakes.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "tools",
        metavar="module:name",
        help="a list, tuple or dict of tools, a ToolNode, or a function (also an async one) that "
        "takes no arguments and returns one of these",
    )
    parser.add_argument(
        "--effects",
        metavar="FILE.json",
        help="effects by tool name, as a JSON file or as module:name of a mapping; they win",
    )
    parser.add_argument(
        "--trust-mcp-hints", action="store_true", help="count the hints of MCP servers as effects"
    )
    parser.add_argument("--json", action="store_true", help="print data")
    parser.add_argument("--strict", action="store_true", help="exit with 1 if there are warnings")
    parser.add_argument(
        "--ignore",
        metavar="CODES",
        default="",
        help="leave these findings out, as in A010,A024",
    )
    return parser


def _audited(options: argparse.Namespace) -> Audit:
    ignore = [code.strip() for code in options.ignore.split(",") if code.strip()]
    unknown = [code for code in ignore if code not in CODES]
    if unknown:
        msg = f"--ignore names {', '.join(unknown)}; the codes are {', '.join(CODES)}."
        raise BadInput(msg)
    loaded = load_tools(options.tools)
    given = dict(loaded.effects)
    if options.effects:
        given |= load_effects(options.effects)
    trust = options.trust_mcp_hints or loaded.trust_mcp_hints
    try:
        return audit(loaded.tools, given, trust_mcp_hints=trust, ignore=ignore)
    except (TypeError, ValueError) as error:
        msg = f"{options.tools}: {error}"
        raise BadInput(msg) from error


# -- as text ------------------------------------------------------------------------------------


def as_text(report: Audit) -> str:
    """The report as people read it."""
    rows = [("tool", "reads", "writes", "more", "from")]
    rows += [_row(tool) for tool in report.tools]
    lines = [*_table(rows), "", _overlap(report)]
    for title, findings in (("Warnings", report.warnings), ("Notes", report.notes)):
        if findings:
            lines += ["", f"{title}:"]
            lines += [line for finding in findings for line in _finding_lines(finding)]
    if not report.warnings:
        lines += ["", "No warnings."]
    return "\n".join(lines)


def _row(tool: Survey) -> tuple[str, str, str, str, str]:
    effects = tool.effects
    flags = ("fence", "idempotent", "foreground", "ack")
    more = [flag for flag in flags if getattr(effects, flag)]
    more += ["return_direct"] if tool.return_direct else []
    reads = _paths(None if effects.reads is None else reads_of(tool))
    writes = _paths(None if effects.writes is None else writes_of(tool))
    return tool.name, reads, writes, " ".join(more) or "-", str(tool.origin)


def _paths(paths: Sequence[str] | None) -> str:
    return "everything?" if paths is None else " ".join(paths) or "nothing"


def _table(rows: Sequence[Sequence[str]]) -> Iterator[str]:
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        yield "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()


def _overlap(report: Audit) -> str:
    never, sometimes, always = (report.pairs[meeting] for meeting in Meeting)
    return (
        f"Pairs of calls in two messages: {never} never wait for each other, {sometimes} depending "
        f"on arguments, {always} always."
    )


def _finding_lines(finding: Finding) -> Iterator[str]:
    tools = ", ".join(finding.tools)
    where = f" ({', '.join(finding.where)})" if finding.where else ""
    yield f"  {finding.code} {tools}{where}"
    for text in (finding.what.removesuffix(".") + ".", finding.advice):
        yield from textwrap.wrap(
            text,
            _WIDTH,
            initial_indent=" " * 7,
            subsequent_indent=" " * 7,
            break_long_words=False,
            break_on_hyphens=False,
        )


# -- as data ------------------------------------------------------------------------------------


def as_json(report: Audit) -> dict[str, Any]:
    """The report as data. Names stay; new ones may be added."""
    return {
        "tools": [_tool_json(tool) for tool in report.tools],
        "pairs": {meeting.name.lower(): count for meeting, count in report.pairs.items()},
        "findings": [
            {
                "code": finding.code,
                "level": str(finding.level),
                "title": finding.title,
                "tools": list(finding.tools),
                "what": finding.what,
                "advice": finding.advice,
                "where": list(finding.where),
            }
            for finding in report.findings
        ],
    }


def _tool_json(tool: Survey) -> dict[str, Any]:
    effects = tool.effects
    return {
        "name": tool.name,
        "declared": tool.declared,
        "from": str(tool.origin),
        "reads": None if effects.reads is None else list(effects.reads),
        "writes": None if effects.writes is None else list(effects.writes),
        "fence": effects.fence,
        "idempotent": effects.idempotent,
        "foreground": effects.foreground,
        "ack": effects.ack,
        "return_direct": tool.return_direct,
        "hints": dict(tool.hints),
        "where": tool.where,
    }
