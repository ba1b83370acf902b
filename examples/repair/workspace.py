"""The broken project: unpacked into a folder, under git, with its whole test suite at the end."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

PROJECT = Path(__file__).parent / "project"
SUFFIX = ".txt"
"""Every file of the project is stored with this suffix, so that no tool takes it for ours."""

CASES = ("backoff", "cache", "limiter", "worker", "server")
"""The modules that are broken, each with its own test file."""

TICK = 0.1
"""Seconds: the unit of time of the project's own tests at full pace."""

_GIT = (
    "git",
    "-c",
    "user.name=demo",
    "-c",
    "user.email=demo@localhost",
    "-c",
    "commit.gpgsign=false",
    "-c",
    "core.autocrlf=false",
    "-c",
    "init.defaultBranch=main",
)
"""Git that needs no configuration of the user's and is not changed by it."""


@dataclass(frozen=True, slots=True)
class Workspace:
    """A copy of the project that an agent may change.

    Attributes:
        root: The folder of the repository.
        cases: The broken modules that it has, by name.
        tick: Seconds, the unit of time of its tests.
    """

    root: Path
    cases: tuple[str, ...] = CASES
    tick: float = TICK

    @property
    def test_files(self) -> list[str]:
        """Return the test files, relative to the root, one per case."""
        return [f"tests/test_{case}.py" for case in self.cases]

    def environment(self) -> dict[str, str]:
        """Return the environment for the project's processes.

        Tests only read the repository: no bytecode, no pytest cache. Plugins that happen to be
        installed, and options in the user's environment, change nothing.
        """
        return {
            **{key: value for key, value in os.environ.items() if not key.startswith("PYTEST_")},
            "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1",
            "PYTHONDONTWRITEBYTECODE": "1",
            "RELAY_TICK": str(self.tick),
            "GIT_CONFIG_GLOBAL": os.devnull,
            "GIT_CONFIG_NOSYSTEM": "1",
        }

    def diff(self) -> str:
        """Return `git diff` of all that was changed since the unpacking."""
        command = [*_GIT, "--no-optional-locks", "diff", "--no-color", "--no-ext-diff"]
        done = subprocess.run(
            command,
            cwd=self.root,
            env=self.environment(),
            capture_output=True,
            text=True,
            check=True,
        )
        return done.stdout


def unpack(root: Path, cases: Sequence[str] = CASES, tick: float = TICK) -> Workspace:
    """Write the broken project to `root` and commit it to a new git repository.

    Args:
        root: A folder that does not exist yet, or is empty.
        cases: The broken modules to include, from `CASES`.
        tick: Seconds, the unit of time of the project's tests.

    Raises:
        ValueError: A case is unknown.
    """
    if unknown := set(cases) - set(CASES):
        raise ValueError(f"unknown cases {sorted(unknown)}; known are {list(CASES)}")
    left_out = {f"{case}.py" for case in CASES if case not in cases}
    left_out |= {f"test_{name}" for name in left_out}
    for source in sorted(PROJECT.rglob(f"*{SUFFIX}")):
        target = root / source.relative_to(PROJECT).with_suffix("")
        if target.name not in left_out:
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(source.read_bytes())
    workspace = Workspace(root, tuple(cases), tick)
    for arguments in (["init", "-q"], ["add", "-A"], ["commit", "-q", "-m", "relay 0.3.0"]):
        subprocess.run([*_GIT, *arguments], cwd=root, env=workspace.environment(), check=True)
    return workspace


def pytest_command(path: str) -> list[str]:
    """Return the command that runs one test file of the project."""
    quiet = ["-q", "--tb=short", "--no-header", "-p", "no:cacheprovider"]
    return [sys.executable, "-m", "pytest", *quiet, path]


async def run_process(
    command: Sequence[str], workspace: Workspace, limit: float
) -> tuple[int, str]:
    """Run a command in the workspace and return its exit status and its output.

    Cancelling kills the process and waits for its end.

    Args:
        command: The program and its arguments.
        workspace: Where it runs, and with which environment.
        limit: Seconds after which it is killed.

    Raises:
        TimeoutError: It took longer than `limit`.
    """
    process = await asyncio.create_subprocess_exec(
        *command,
        cwd=workspace.root,
        env=workspace.environment(),
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    try:
        async with asyncio.timeout(limit):
            output, _ = await process.communicate()
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    assert process.returncode is not None
    return process.returncode, output.decode(errors="replace")


async def failing_tests(workspaces: Sequence[Workspace], at_once: int = 10) -> list[list[str]]:
    """Run every test file of each workspace anew and return those that are not green.

    Args:
        workspaces: The repositories to check.
        at_once: How many pytest processes run side by side.

    Returns:
        The failing test files, one list per workspace.
    """
    permits = asyncio.Semaphore(at_once)

    async def failing(workspace: Workspace, path: str) -> bool:
        async with permits:
            status, _ = await run_process(pytest_command(path), workspace, limit=60)
        return status != 0

    async def check(workspace: Workspace) -> list[str]:
        files = workspace.test_files
        red = await asyncio.gather(*(failing(workspace, path) for path in files))
        return [path for path, is_red in zip(files, red, strict=True) if is_red]

    return list(await asyncio.gather(*(check(workspace) for workspace in workspaces)))
