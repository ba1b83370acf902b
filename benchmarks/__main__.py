"""`python -m benchmarks [--quick] [PART …]`: measure, print, write docs/benchmarks.md, quote it."""

from __future__ import annotations

import argparse
import os
import platform
import sys
import time
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path

from benchmarks import bound, core, end_to_end, others, overhead, soak
from benchmarks.pages import with_section
from benchmarks.quoting import quote
from benchmarks.real import cli as real

ROOT = Path(__file__).parent.parent
PAGE = ROOT / "docs" / "benchmarks.md"
README = ROOT / "README.md"

PARTS: dict[str, tuple[str, str, Callable[..., list[str]]]] = {
    "bound": ("How near to the bound", bound.__doc__ or "", bound.report),
    "end_to_end": ("End to end", end_to_end.__doc__ or "", end_to_end.report),
    "others": ("Against other ways", others.__doc__ or "", others.report),
    "overhead": ("Overhead on fast calls", overhead.__doc__ or "", overhead.report),
    "core": ("The pure core", core.__doc__ or "", core.report),
    "soak": ("Load and soak", soak.__doc__ or "", soak.report),
}


APART = ("soak",)
"""Parts that take long; measured in full only when they are named."""


def main() -> None:
    """Run the chosen parts; a full run of a part writes its section of the page."""
    if any(word.split("=")[0] == "--model" for word in sys.argv[1:]):
        sys.exit(real.main(sys.argv[1:]))
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument(
        "names", nargs="*", choices=[*PARTS, []], help=f"parts; default: all but {', '.join(APART)}"
    )
    parser.add_argument("--quick", action="store_true", help="less exact, in under two minutes")
    parser.add_argument("--model", metavar="PROVIDER:NAME", help="a real model; has its own --help")
    asked = parser.parse_args()
    for name in asked.names or [part for part in PARTS if asked.quick or part not in APART]:
        title, about, report = PARTS[name]
        began = time.monotonic()
        lines = [*about.strip().splitlines(), "", *report(quick=asked.quick)]
        print("\n".join([f"## {title}", "", *lines, ""]), flush=True)
        print(f"{title}: {time.monotonic() - began:.0f} s in all", file=sys.stderr)
        if not asked.quick:
            _write(title, [f"Measured on {_machine()}.", "", *lines])


def _write(title: str, lines: list[str]) -> None:
    """Put a part's section into the page, and what README quotes of it into README."""
    order = [title for title, _, _ in PARTS.values()]
    page = with_section(PAGE.read_text(), title, lines, order)
    PAGE.write_text(page)
    README.write_text(quote(README.read_text(), page))
    print(f"Written to {PAGE}, quoted in {README}", file=sys.stderr)


def _machine() -> str:
    versions = ", ".join(f"{name} {version(name)}" for name in ("langgraph", "langchain-core"))
    return f"{os.cpu_count()} cores, Python {platform.python_version()}, {versions}"


if __name__ == "__main__":
    main()
