"""The demo's broken project, and the agent's tools on it."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from pathlib import Path

import pytest
from langchain_core.tools import BaseTool, ToolException

from examples.repair.knowledge import FIXES
from examples.repair.tools import make_tools
from examples.repair.workspace import CASES, Workspace, failing_tests, run_process, unpack


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    return unpack(tmp_path / "repository", tick=0.02)


@pytest.fixture
def tools(workspace: Workspace) -> dict[str, BaseTool]:
    return {tool.name: tool for tool in make_tools(workspace)}


def git(workspace: Workspace, *arguments: str) -> str:
    command = ["git", *arguments]
    done = subprocess.run(
        command, cwd=workspace.root, env=workspace.environment(), capture_output=True, check=True
    )
    return done.stdout.decode()


def test_it_is_committed_without_any_configuration(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A machine on which git was never used will do."""
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("XDG_CONFIG_HOME", raising=False)
    workspace = unpack(tmp_path / "repository")
    assert git(workspace, "rev-list", "--count", "HEAD") == "1\n"
    assert git(workspace, "status", "--porcelain") == ""
    assert workspace.diff() == ""


def test_a_smaller_task_has_no_other_cases(tmp_path: Path) -> None:
    """Neither the modules nor the tests of the cases that were left out are there."""
    workspace = unpack(tmp_path, ["cache"])
    modules = {path.name for path in (tmp_path / "relay").iterdir()}
    assert workspace.test_files == ["tests/test_cache.py"]
    assert modules == {"__init__.py", "errors.py", "store.py", "cache.py"}
    assert not (tmp_path / "tests/test_server.py").exists()


def test_an_unknown_case_is_refused(tmp_path: Path) -> None:
    """The error names it."""
    with pytest.raises(ValueError, match="unknown cases \\['chache'\\]"):
        unpack(tmp_path, ["chache"])


@pytest.mark.asyncio
async def test_every_case_is_red_and_its_fixes_make_it_green(tmp_path: Path) -> None:
    """What the engineer knows is right, and each of the cases needs it."""
    broken, fixed = unpack(tmp_path / "a", tick=0.04), unpack(tmp_path / "b", tick=0.04)
    edit = {tool.name: tool for tool in make_tools(fixed)}["apply_edit"]
    for fix in FIXES:
        [path] = [
            f"relay/{case}.py"
            for case in CASES
            if fix.old in (fixed.root / f"relay/{case}.py").read_text()
        ]
        edit.invoke({"path": path, "old": fix.old, "new": fix.new})
    assert await failing_tests([broken, fixed]) == [broken.test_files, []]


def test_files_are_listed_under_their_own_names(tools: dict[str, BaseTool]) -> None:
    """Git's folder and the suffix of the stored files do not show."""
    listed = tools["list_files"].invoke({}).splitlines()
    assert "relay/cache.py" in listed
    assert not [path for path in listed if path.startswith(".git") or path.endswith(".txt")]


PATHS = ["../secret", "/etc/passwd", ".git/config", "relay", "relay/no.py", "./relay/cache.py", ""]


@pytest.mark.parametrize("path", [*PATHS, "."])
@pytest.mark.parametrize("name", ["read_file", "run_tests", "apply_edit"])
@pytest.mark.asyncio
async def test_nothing_outside_can_be_named(
    tools: dict[str, BaseTool], name: str, path: str
) -> None:
    """A path that list_files does not give is an error for the model."""
    with pytest.raises(ToolException):
        await tools[name].ainvoke({"path": path, "old": "a", "new": "b"})


def test_a_link_is_not_followed(tools: dict[str, BaseTool], workspace: Workspace) -> None:
    """A file has one name, or effects would miss a conflict."""
    (workspace.root / "link.py").symlink_to(workspace.root / "relay/cache.py")
    with pytest.raises(ToolException):
        tools["read_file"].invoke({"path": "link.py"})


def test_an_edit_shows_in_the_diff(tools: dict[str, BaseTool], workspace: Workspace) -> None:
    """It says where the text stood."""
    arguments = {"path": "relay/cache.py", "old": "del self._entries[key]\n            return"}
    said = tools["apply_edit"].invoke({**arguments, "new": "return"})
    assert said == "edited relay/cache.py at line 22"
    assert "-            del self._entries[key]\n" in workspace.diff()


@pytest.mark.parametrize(("old", "times"), [("self", 16), ("nowhere", 0)])
def test_an_edit_needs_a_text_that_stands_there_once(
    tools: dict[str, BaseTool], workspace: Workspace, old: str, times: int
) -> None:
    """Otherwise nothing is changed, and the model is told how often it stands there."""
    with pytest.raises(ToolException, match=f"{times} times instead of once"):
        tools["apply_edit"].invoke({"path": "relay/limiter.py", "old": old, "new": "x"})
    assert workspace.diff() == ""


def test_grep_gives_path_line_and_text(tools: dict[str, BaseTool]) -> None:
    """Over all files, tests included."""
    hits = tools["grep"].invoke({"pattern": r"^class \w+Job\b"})
    assert hits == "relay/errors.py:12: class UnknownJob(RelayError):"
    assert tools["grep"].invoke({"pattern": "n0where"}) == "no matches"
    with pytest.raises(ToolException, match="not a regular expression"):
        tools["grep"].invoke({"pattern": "("})


@pytest.mark.asyncio
async def test_running_tests_leaves_nothing_behind(
    tools: dict[str, BaseTool], workspace: Workspace
) -> None:
    """As declared, it only reads the project; the result begins with the exit status."""
    output = await tools["run_tests"].ainvoke({"path": "tests/test_cache.py"})
    assert output.startswith("exit status 1\n")
    assert "assert 'abc' is None" in output
    assert git(workspace, "status", "--porcelain", "--ignored") == ""


@pytest.mark.asyncio
async def test_git_diff_is_the_change(tools: dict[str, BaseTool], workspace: Workspace) -> None:
    """The tool and the final comparison see the same text."""
    assert await tools["git_diff"].ainvoke({}) == "no changes"
    (workspace.root / "relay/errors.py").write_text("")
    assert await tools["git_diff"].ainvoke({}) == workspace.diff() != ""


SLEEPER = (
    "import os, pathlib, time; pathlib.Path('pid').write_text(str(os.getpid())); time.sleep(60)"
)


@pytest.mark.asyncio
async def test_cancelling_kills_the_process(workspace: Workspace) -> None:
    """Nothing runs on when a run of the graph is given up."""
    pid = workspace.root / "pid"
    task = asyncio.create_task(run_process([sys.executable, "-c", SLEEPER], workspace, limit=50))
    while not (pid.exists() and pid.read_text()):  # noqa: ASYNC110 - another process writes it
        await asyncio.sleep(0.01)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    with pytest.raises(ProcessLookupError):
        os.kill(int(pid.read_text()), 0)


@pytest.mark.asyncio
async def test_a_process_has_a_time_limit(workspace: Workspace) -> None:
    """It is killed after that many seconds."""
    with pytest.raises(TimeoutError):
        await run_process([sys.executable, "-c", SLEEPER], workspace, limit=0.05)
