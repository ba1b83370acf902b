"""The demo as a whole, as a user starts it."""

from __future__ import annotations

import io
import os
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from rich.console import Console

import examples.repair.__main__ as demo
from examples.repair import policy
from examples.repair.recording import CallRecord, RunLog, Turn
from examples.repair.view import picture
from examples.scripted.pace import Pace
from tests.integration.processes import interruptible

ROOT = Path(__file__).parents[2]


def test_both_runs_end_green_with_the_same_diff(tmp_path: Path) -> None:
    """The quick demo exits with 0 after both runs, and leaves nothing behind."""
    environment = {key: value for key, value in os.environ.items() if key != "OPENAI_API_KEY"}
    done = subprocess.run(
        [sys.executable, "-W", "error", "-m", "examples.repair", "--quick", "--plain"],
        cwd=ROOT,
        env={**environment, "TMPDIR": str(tmp_path), "LANGSMITH_TRACING": "false"},
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stderr == ""
    last = done.stdout.splitlines()[-3:]
    assert last == [
        "ToolNode: all tests green, 3 files changed",
        "AsyncFCToolNode: all tests green, 3 files changed",
        "Both runs ended in the same diff.",
    ]
    assert "run_tests(tests/test_backoff.py) is future_2" in done.stdout
    assert list(tmp_path.iterdir()) == []


SMALL = demo.Setting(cases=("backoff",), tick=0.01, pace=Pace(first=0, rate=1e6))


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where the demo works; the task is as small as it gets."""
    monkeypatch.setattr(demo, "QUICK", SMALL)
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    return tmp_path


def test_red_tests_are_exit_status_1(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """An engineer who knows nothing changes nothing, and the table says so."""
    monkeypatch.setattr(policy, "FIXES", ())
    assert demo.main(["--quick", "--plain"]) == 1
    printed = capsys.readouterr().out
    assert "AsyncFCToolNode: RED: tests/test_backoff.py, 0 files changed" in printed
    assert list(folder.iterdir()) == []


def test_an_unknown_model_is_said(capsys: pytest.CaptureFixture[str]) -> None:
    """Nothing is run, and the exit status is that of wrong options."""
    assert demo.main(["--model", "nobody:nothing"]) == 2
    assert "There is no model 'nobody:nothing'" in capsys.readouterr().err


@pytest.mark.parametrize("kind", ["node", "asyncfc"])
def test_interrupting_leaves_nothing_behind(kind: str, tmp_path: Path) -> None:
    """Ctrl-C in the middle of a test run ends the processes and removes the folder."""
    command = [sys.executable, "-m", "examples.repair", "--quick", "--plain", "--only", kind]
    with interruptible():
        demo_run = subprocess.Popen(
            [*command, "--model", "embedded"],
            cwd=ROOT,
            env={**os.environ, "TMPDIR": str(tmp_path), "PYTHONUNBUFFERED": "1"},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
    with demo_run:
        assert demo_run.stdout is not None
        for line in demo_run.stdout:
            if line.endswith("run_tests(tests/test_backoff.py) started\n"):
                break
        demo_run.send_signal(signal.SIGINT)
        rest = demo_run.stdout.read()
    assert (demo_run.returncode, list(tmp_path.iterdir())) == (130, []), rest
    assert "Traceback" not in rest


def test_one_node_can_be_run_alone_and_kept(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The repaired repository stays where the last line says."""
    assert demo.main(["--quick", "--plain", "--keep", "--only", "node"]) == 0
    printed = capsys.readouterr().out
    [kept] = folder.iterdir()
    assert printed.splitlines()[-1] == f"The repositories are in {kept}"
    assert "delay *= factor" in (kept / "node/relay/backoff.py").read_text()
    assert "AsyncFC" not in printed


@pytest.mark.usefixtures("folder")
def test_late_results_may_be_appended(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The engineer reads them there as well, and the futures are shown as delivered."""
    monkeypatch.setattr(demo, "QUICK", replace(SMALL, cases=("backoff", "server")))
    assert demo.main(["--quick", "--plain", "--only", "asyncfc", "--delivery", "append"]) == 0
    printed = capsys.readouterr().out
    assert "run_tests(tests/test_backoff.py) is future_2" in printed
    assert "run_tests(tests/test_backoff.py) delivered" in printed


def test_the_live_table_shows_turns_and_futures() -> None:
    """It names each call, its future and its state."""
    log = RunLog("AsyncFCToolNode", wall=5)
    log.turns = [Turn(0, 1, "I run the tests."), Turn(2)]
    path = {"path": "tests/[a].py", "await_result": True}
    log.calls = {
        "a": CallRecord(1, "run_tests", path, issued=1, future="future_1", started=1),
        "b": CallRecord(1, "read_file", {}, issued=1, started=1, ended=1.5, delivered=2),
        "c": CallRecord(2, "await_future", {"futures": ["future_1"]}, issued=3),
    }
    console = Console(width=90, record=True, file=io.StringIO())
    console.print(picture(log))
    shown = [" ".join(line.split()) for line in console.export_text().splitlines()]
    assert shown[0] == "AsyncFCToolNode 5.0 s turn 2 model decoding"
    assert "1 run_tests(tests/[a].py) (waits) future_1 running 4.0" in shown
    assert "1 read_file() delivered 0.5" in shown
    assert "2 await_future(future_1) waiting" in shown
