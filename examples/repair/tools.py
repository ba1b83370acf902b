"""What the agent can do: real files, real processes, and what each call reads and writes.

Resources are the project's paths under `fs:`. Tests import whatever they like, so `run_tests`
reads all of `fs:`; an edit writes one file. An edit therefore waits for the test runs that were
started before it, and test runs go side by side with each other and with reading.
"""

from __future__ import annotations

import re
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Annotated

from langchain_core.tools import BaseTool, ToolException, tool
from pydantic import Field

from examples.repair.workspace import Workspace, pytest_command, run_process
from langchain_asyncfc import effects

if TYPE_CHECKING:
    from collections.abc import Iterator

TEST_LIMIT = 60.0
"""Seconds after which a test run is killed."""

OUTPUT_LIMIT = 6_000
"""Characters of test output that a model gets; the end says most."""

RelativePath = Annotated[str, Field(description="path as list_files gives it, e.g. relay/cache.py")]


def _files(root: Path) -> Iterator[str]:
    for path in sorted(root.rglob("*")):
        relative = path.relative_to(root)
        if path.is_file() and relative.parts[0] != ".git":
            yield relative.as_posix()


def _resolve(root: Path, path: str) -> Path:
    """Return the file that `path` names; nothing outside of the project can be named."""
    plain = PurePosixPath(path)
    outside = plain.is_absolute() or ".." in plain.parts or plain.parts[:1] == (".git",)
    if outside or str(plain) != path:
        raise ToolException(f"{path!r} is not a path as list_files gives it")
    target = root / plain
    if not target.is_file() or target.is_symlink():
        raise ToolException(f"there is no file {path!r}")
    return target


def make_tools(workspace: Workspace) -> list[BaseTool]:
    """Return the agent's tools on one workspace, in the order in which a model is told of them."""
    root = workspace.root

    @effects(reads="fs:")
    @tool
    def list_files() -> str:
        """List all files of the project."""
        return "\n".join(_files(root))

    @effects(reads="fs:{path}")
    @tool
    def read_file(path: RelativePath) -> str:
        """Read a file of the project."""
        return _resolve(root, path).read_text()

    @effects(reads="fs:")
    @tool
    def grep(pattern: Annotated[str, Field(description="a Python regular expression")]) -> str:
        """Find the lines that match a pattern, in all files."""
        try:
            wanted = re.compile(pattern)
        except re.error as error:
            raise ToolException(f"{pattern!r} is not a regular expression: {error}") from error
        hits = [
            f"{path}:{number}: {line}"
            for path in _files(root)
            for number, line in enumerate((root / path).read_text().splitlines(), 1)
            if wanted.search(line)
        ]
        return "\n".join(hits) or "no matches"

    @effects(reads="fs:")
    @tool
    async def run_tests(path: RelativePath) -> str:
        """Run one test file with pytest."""
        _resolve(root, path)
        try:
            status, output = await run_process(pytest_command(path), workspace, TEST_LIMIT)
        except TimeoutError as error:
            raise ToolException(f"{path} took more than {TEST_LIMIT:g} s") from error
        return f"exit status {status}\n{output[-OUTPUT_LIMIT:]}"

    @effects(reads="fs:{path}", writes="fs:{path}", idempotent=False)
    @tool
    def apply_edit(
        path: RelativePath,
        old: Annotated[str, Field(description="text that stands in the file exactly once")],
        new: Annotated[str, Field(description="text to put in its place")],
    ) -> str:
        """Replace a piece of text in a file."""
        target = _resolve(root, path)
        text = target.read_text()
        if (count := text.count(old)) != 1 or not old:
            raise ToolException(f"old stands in {path} {count} times instead of once")
        target.write_text(text.replace(old, new))
        return f"edited {path} at line {text[: text.index(old)].count(chr(10)) + 1}"

    @effects(reads="fs:")
    @tool
    async def git_diff() -> str:
        """Show all changes so far as a diff."""
        command = ["git", "--no-optional-locks", "diff", "--no-color", "--no-ext-diff"]
        _, output = await run_process(command, workspace, limit=20)
        return output or "no changes"

    return [list_files, read_file, grep, run_tests, apply_edit, git_diff]
