"""Every Python block of the documentation runs, and prints what the page says.

The blocks of a page run in order, in one namespace. `asyncio.run` runs them in virtual time, so a
tool that sleeps for seconds takes none. A `text` block holds what the blocks since the last one
print. A block under `<!-- not run: why -->` is only compiled.
"""

from __future__ import annotations

import ast
import asyncio
import io
import re
from contextlib import redirect_stdout
from pathlib import Path
from typing import Any

import pytest
from sybil import Example, Sybil
from sybil.parsers.markdown import CodeBlockParser

from langchain_asyncfc.testing import run_virtual

ROOT = Path(__file__).resolve().parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]

NOT_RUN = re.compile(r"<!-- not run: \S.* -->\s*\Z")


class Page:
    """Runs the blocks of one page, and keeps what they print."""

    def __init__(self) -> None:
        self.printed = io.StringIO()

    def run(self, example: Example) -> str | None:
        """Run a `python` block, or compile it where the page says that it is not run."""
        source = "\n" * (example.line + example.parsed.line_offset) + example.parsed
        if NOT_RUN.search(example.document.text[: example.start]):
            flags = ast.PyCF_ALLOW_TOP_LEVEL_AWAIT
            compile(source, example.path, "exec", flags, dont_inherit=True)
            return None
        code = compile(source, example.path, "exec", dont_inherit=True)
        with redirect_stdout(self.printed):
            exec(code, example.namespace)
        return None

    def compare(self, example: Example) -> str | None:
        """Compare a `text` block with what was printed since the last one."""
        printed, self.printed = self.printed.getvalue(), io.StringIO()
        said = str(example.parsed)
        if _lines(printed) == _lines(said):
            return None
        return f"The page says:\n{said}\nbut the code prints:\n{printed}"


def _lines(text: str) -> list[str]:
    return [line.rstrip() for line in text.strip().splitlines()]


@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_code_blocks_run(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The blocks run, and print what stands below them and nothing else."""
    monkeypatch.setattr(asyncio, "run", run_virtual)
    page = Page()
    parsers = [CodeBlockParser("python", page.run), CodeBlockParser("text", page.compare)]
    document = Sybil(parsers).parse(path)
    namespace: dict[str, Any] = document.namespace
    namespace["__name__"] = path.stem
    for example in document:
        example.evaluate()
    assert page.printed.getvalue() == "", "printed, but not shown on the page"


@pytest.mark.parametrize("page", ["README.md", "tutorial.md", "effects.md"])
def test_pages_have_code(page: str) -> None:
    """The pages that teach by code are found, and have some that runs."""
    [path] = [path for path in PAGES if path.name == page]
    document = Sybil([CodeBlockParser("python", lambda _: None)]).parse(path)
    assert len(list(document)) >= 2
