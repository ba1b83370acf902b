"""The command: `python -m langchain_asyncfc.estimate TRACE`."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path

from langchain_asyncfc.commands import say
from langchain_asyncfc.effects import Effects
from langchain_asyncfc.estimate.drawing import save
from langchain_asyncfc.estimate.estimates import Estimate, estimate
from langchain_asyncfc.estimate.labels import LabelsError, effects_in_file, effects_of_tools
from langchain_asyncfc.estimate.reading import read_file
from langchain_asyncfc.estimate.report import as_json, as_text
from langchain_asyncfc.estimate.traces import TraceError

__all__ = ["main"]


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m langchain_asyncfc.estimate",
        description="Say how much time AsyncFC would save on a run that was measured.",
    )
    parser.add_argument(
        "trace",
        metavar="TRACE",
        help="exported LangSmith runs (JSON or JSON lines), a message history with timings, or a "
        "saved timeline; - reads standard input",
    )
    parser.add_argument(
        "--tools",
        metavar="MODULE:NAME",
        help="a list of tools, a tool node, or a function that returns one; their labels count",
    )
    parser.add_argument(
        "--effects",
        metavar="FILE",
        help='labels as JSON: {"read": {"reads": "fs:{path}"}}; they win over --tools',
    )
    parser.add_argument("--html", metavar="PATH", help="draw the longest run, before and after")
    parser.add_argument("--png", metavar="PATH", help="the same as an image")
    parser.add_argument("--json", action="store_true", help="print the figures as JSON")
    return parser


def _labels(tools: str | None, file: str | None) -> dict[str, Effects] | None:
    if tools is None and file is None:
        return None
    found = effects_of_tools(tools) if tools is not None else {}
    return {**found, **(effects_in_file(file) if file is not None else {})}


def _warn_of_unknown(file: str | None, found: Estimate) -> None:
    """Say which names in a file of labels no call has: they may be misspelt."""
    called = {run.tool for one in found.runs for run in one.told.tools}
    unknown = sorted(set(effects_in_file(file)) - called) if file is not None else []
    if unknown:
        print(  # noqa: T201 - this is a command
            f"estimate: --effects {file}: no call of {', '.join(unknown)} is in the trace; called "
            f"are {', '.join(sorted(called))}.",
            file=sys.stderr,
        )


def _draw(found: Estimate, html: str | None, png: str | None) -> None:
    run = max(found.runs, key=lambda one: one.before)
    labels = "at most with labels" if run.labelled is None else "with your labels"
    for path, ending in ((html, ".html"), (png, ".png")):
        if path is not None:
            target = path if path.endswith(ending) else path + ending
            save(run, target, labels=labels)
            print(f"Drawn: {target}", file=sys.stderr)  # noqa: T201 - this is a command


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command.

    Args:
        argv: Its arguments; those of the process by default.

    Returns:
        The exit code: 0, or 2 when a file or label is wrong. argparse exits with 2 by itself.
    """
    args = _parser().parse_args(argv)
    sys.path.insert(0, str(Path.cwd()))  # for --tools, also where the command is not run by -m
    try:
        effects = _labels(args.tools, args.effects)
        found = estimate(read_file(args.trace), effects)
        _warn_of_unknown(args.effects, found)
        say(json.dumps(as_json(found), indent=2) if args.json else as_text(found).rstrip("\n"))
        _draw(found, args.html, args.png)
    except (TraceError, LabelsError, ImportError, OSError) as error:
        print(f"estimate: {error}", file=sys.stderr)  # noqa: T201 - this is a command
        return 2
    finally:
        sys.path.remove(str(Path.cwd()))
    return 0


if __name__ == "__main__":
    sys.exit(main())
