from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from langchain_core.tools import BaseTool, tool

from langchain_asyncfc import AsyncFCToolNode, Effects, effects
from langchain_asyncfc.estimate.__main__ import main
from tests.unit.estimate.traces import two_searches


@effects()
@tool
def search(q: str) -> str:
    """Search."""
    return q


TOOLS = [search]
NODE = AsyncFCToolNode([search], effects={"search": Effects(reads="web:")})
HERE = "tests.unit.estimate.test_command"


def made() -> list[BaseTool]:
    return TOOLS


@pytest.fixture
def trace(tmp_path: Path) -> str:
    path = tmp_path / "trace.json"
    path.write_text(json.dumps(two_searches()))
    return str(path)


def test_it_says_what_would_be_saved(trace: str, capsys: pytest.CaptureFixture[str]) -> None:
    """The searches overlap once labelled; without labels only decoding overlaps."""
    assert main([trace, "--json"]) == 0
    said = json.loads(capsys.readouterr().out)
    flag = 5 / 60  # of the answer's `await_result`, at the pace of a trace without token counts
    assert said["before"] == pytest.approx(7)
    assert said["unlabelled"]["hopeful"] == pytest.approx(1 + 2 + 2 + 1)
    assert said["most"]["hopeful"] == pytest.approx(1 + 0.01 + 1 + flag + 2 + 1)
    assert said["labelled"] is None
    [advice] = said["advice"]
    assert advice["tool"] == "search"
    assert advice["alone"] == pytest.approx(6 - 5.01 - flag)


@pytest.mark.parametrize(
    "name", [f"{HERE}:TOOLS", f"{HERE}:NODE", f"{HERE}:search", f"{HERE}:made"]
)
def test_labels_of_tools(trace: str, name: str, capsys: pytest.CaptureFixture[str]) -> None:
    """A list of tools, a node with effects of its own, a tool, and a function that makes tools."""
    assert main([trace, "--tools", name, "--json"]) == 0
    said = json.loads(capsys.readouterr().out)
    assert said["labelled"] == said["most"]
    assert said["advice"] == []


def test_labels_in_a_file(trace: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """They win over those of the tools."""
    path = tmp_path / "effects.json"
    path.write_text('{"search": {"writes": "web:"}}')
    assert main([trace, "--tools", f"{HERE}:TOOLS", "--effects", str(path), "--json"]) == 0
    said = json.loads(capsys.readouterr().out)
    assert said["labelled"]["hopeful"] == pytest.approx(said["unlabelled"]["hopeful"])


def test_the_report_is_readable(trace: str, capsys: pytest.CaptureFixture[str]) -> None:
    """The table, the advice, and what it all rests on."""
    assert main([trace]) == 0
    out = capsys.readouterr().out
    assert "1 run: 3 replies of the model, 2 tool calls, 7.00 s" in out
    assert "AsyncFC without labels" in out
    assert "search: @effects()" in out
    assert "What these figures rest on:" in out


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--tools", "nowhere"], "must have the form module:name"),
        (["--tools", "no_such_module:x"], "There is no module 'no_such_module'"),
        (["--tools", f"{HERE}:NONE"], "there is no 'NONE'"),
        (["--tools", f"{HERE}:HERE"], "is a str. Expected a list"),
        (["--effects", "none.json"], "none.json: No such file"),
    ],
)
def test_labels_that_are_none(
    trace: str, arguments: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """Exit code 2, one line that says what is wrong, no traceback."""
    assert main([trace, *arguments]) == 2
    err = capsys.readouterr().err
    assert said in err
    assert err.startswith("estimate: ")
    assert err.count("\n") == 1


def test_labels_of_tools_that_were_not_called(
    trace: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A misspelt name in a file of labels is pointed out; the estimate is made all the same."""
    path = tmp_path / "effects.json"
    path.write_text('{"serach": {}}')
    assert main([trace, "--effects", str(path)]) == 0
    assert "no call of serach is in the trace; called are search." in capsys.readouterr().err


@pytest.mark.parametrize(
    "content",
    ["[", "[]", '{"search": {"reeds": "x"}}', '{"search": 3}', '{"search": {"reads": 5}}'],
)
def test_effects_files_that_are_none(
    trace: str, tmp_path: Path, content: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """JSON of something else, and fields that effects do not have."""
    path = tmp_path / "effects.json"
    path.write_text(content)
    assert main([trace, "--effects", str(path)]) == 2
    assert str(path) in capsys.readouterr().err


def test_a_trace_from_standard_input(
    trace: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """`-` reads it, and a standard input that is closed is said to be."""
    with Path(trace).open() as file:
        monkeypatch.setattr(sys, "stdin", file)
        assert main(["-"]) == 0
    assert "2 tool calls, 7.00 s" in capsys.readouterr().out
    monkeypatch.setattr(sys, "stdin", None)
    assert main(["-"]) == 2
    assert "standard input is closed" in capsys.readouterr().err


def test_the_command_itself(tmp_path: Path) -> None:
    """As a process: a file that is no trace gives exit code 2 and one line."""
    path = tmp_path / "trace.json"
    path.write_text("hello")
    command = [sys.executable, "-m", "langchain_asyncfc.estimate", str(path)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert done.stdout == ""
    assert done.stderr.startswith(f"estimate: {path}: this is no JSON")
    assert "Traceback" not in done.stderr
