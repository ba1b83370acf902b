"""The benchmark with a real model: whole runs of its command against a service on loopback."""

from __future__ import annotations

import itertools
import json
import re
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("bfcl_eval")
pytest.importorskip("mpmath")
pytest.importorskip("uvicorn")
pytest.importorskip("langchain.chat_models")
pytest.importorskip("langchain_openai")

from benchmarks.real.cli import main
from benchmarks.real.endpoint import play
from benchmarks.real.questions import drawn
from examples.scripted.endpoint import Endpoint
from examples.scripted.pace import Pace
from examples.scripted.replies import Action, Reply
from examples.scripted.wire import Request, ServiceError, UserMessage, text_of

AT_ONCE = Pace(first=0, rate=1e9)
MODEL = "openai:scripted"

SECONDS = itertools.count(60)

Model = Callable[[Request], Reply]


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """A key for the client, and no proxy between it and loopback."""
    monkeypatch.setenv("OPENAI_API_KEY", "none")
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")


@contextmanager
def service(model: Model = play) -> Iterator[Endpoint]:
    with Endpoint(AT_ONCE, model) as running:
        yield running


class Command:
    """The command line of one test, with its files in a folder of its own."""

    def __init__(self, folder: Path, endpoint: Endpoint | None, *more: str) -> None:
        self.page = folder / "page.md"
        self.cache = folder / "cache"
        self.words = [f"--model={MODEL}", "--tool-median=0", "--retry-pause=0", "--yes"]
        self.words += [f"--cache={self.cache}", f"--output={self.page}"]
        if endpoint is not None:
            self.words.append(f"--base-url={endpoint.base_url}")
        self.words += more

    def run(self, *more: str) -> int:
        # LangChain keeps a client by its settings, bound to the event loop that it met first.
        return main([*self.words, f"--request-timeout={next(SECONDS)}", *more])

    def start(self, *more: str) -> subprocess.Popen[str]:
        """Run it in a process of its own."""
        return subprocess.Popen(
            [sys.executable, "-m", "benchmarks", *self.words, *more],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    @property
    def file(self) -> Path:
        return self.cache / "openai-scripted.jsonl"

    def records(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.file.read_text().splitlines()]

    def table(self, which: int) -> list[list[str]]:
        """The cells of the page's first or second table, without its head."""
        table = re.findall(r"(?:^\|.*\n)+", self.page.read_text(), re.MULTILINE)[which]
        return [[c.strip() for c in line.split("|")[1:-1]] for line in table.splitlines()[2:]]

    def accuracy(self) -> list[tuple[str, str, str, str]]:
        """Workload, way, runs and share of right ones."""
        return [(row[0], row[1], row[2], row[3]) for row in self.table(0)]

    def timeless(self) -> list[list[str]]:
        """The first table without the times."""
        return [[*row[:6], *row[7:]] for row in self.table(0)]


def offers_futures(request: Request) -> bool:
    return any(tool.function.name == "await_future" for tool in request.tools)


def said(request: Request) -> str:
    """What the user said first."""
    return next(text_of(m.content) for m in request.messages if isinstance(m, UserMessage))


def failing(status: int, *, times: int | None = None) -> Model:
    """The ground truth, after some requests were put off."""
    left = [times]

    def model(request: Request) -> Reply:
        if left[0] is None or left[0] > 0:
            left[0] = None if left[0] is None else left[0] - 1
            headers = {"retry-after-ms": "1"}
            raise ServiceError("Not now.", status=status, kind="put_off", headers=headers)
        return play(request)

    return model


class Gate:
    """The ground truth, held up in front of one request until it is let go."""

    def __init__(self, before: int) -> None:
        self.reached = threading.Event()
        self.open = threading.Event()
        self.asked: list[tuple[str, bool]] = []
        self._before = before

    def __call__(self, request: Request) -> Reply:
        self.asked.append((said(request), offers_futures(request)))
        if len(self.asked) == self._before:
            self.reached.set()
            assert self.open.wait(30)
        return play(request)


@pytest.mark.parametrize("options", [[], ["--option=streaming=true", "--option=stream_usage=true"]])
def test_the_ground_truth_is_right_in_all_ways(tmp_path: Path, options: list[str]) -> None:
    """BFCL's checkers accept every run of all workloads, streamed or not."""
    with service() as endpoint:
        command = Command(tmp_path, endpoint, "--tasks=2", "--workload", "W1", "W2", "W3", *options)
        assert command.run() == 0
    expected = [(w, f"({way})", "2", "100.0%") for w in ("W1", "W2", "W3") for way in "acd"]
    assert command.accuracy() == expected
    assert endpoint.refused == []
    records = command.records()
    assert sum(record["requests"] for record in records) == endpoint.requests
    assert all(record["told"] and record["input"] and record["output"] for record in records)
    assert [row[2] for row in command.table(1)] == ["2"] * 6


def test_a_wrong_call_is_marked_wrong(tmp_path: Path) -> None:
    """A model that leaves a call out where it has no futures is wrong in way (a) alone."""

    def forgetful(request: Request) -> Reply:
        reply = play(request)
        if offers_futures(request):
            return reply
        return replace(reply, actions=()) if request.messages[-1].role == "user" else reply

    with service(forgetful) as endpoint:
        command = Command(tmp_path, endpoint, "--tasks=3")
        assert command.run() == 0
    assert [row[3] for row in command.accuracy()] == ["0.0%", "100.0%", "100.0%"]
    assert [row[3:8] for row in command.table(1)] == [
        ["+100.0%", "+100.0% to +100.0%", "0", "3", "0.25"]
    ] * 2
    assert "multi_turn:empty_turn_model_response" in command.page.read_text()


def test_wrong_arguments_are_marked_wrong(tmp_path: Path) -> None:
    """A model that calls the right functions with other values is wrong."""

    def sloppy(request: Request) -> Reply:
        reply = play(request)
        wrong = [
            replace(
                action,
                arguments={**action.arguments, **dict.fromkeys(list(action.arguments)[:1], "no")},
            )
            for action in reply.actions
        ]
        return replace(reply, actions=tuple(wrong))

    with service(sloppy) as endpoint:
        command = Command(tmp_path, endpoint, "--tasks=2", "--workload", "W2", "W3")
        assert command.run() == 0
    assert {row[3] for row in command.accuracy()} == {"0.0%"}


def test_a_model_without_end_is_wrong(tmp_path: Path) -> None:
    """A model that only goes on calling is stopped; that is no failure of its service."""
    [question] = drawn("W3", 1)
    tool = question.tools[0].name

    def endless(request: Request) -> Reply:
        return Reply("", (Action(tool, {}),))

    with service(endless) as endpoint:
        command = Command(tmp_path, endpoint, "--tasks=1", "--workload=W3")
        assert command.run() == 0
    assert {record["why"] for record in command.records()} == {"too many steps"}
    assert {record["requests"] for record in command.records()} == {40}


def test_a_killed_run_goes_on_where_it_was(tmp_path: Path) -> None:
    """After kill -9 and a torn line, the same figures come out, and nothing is asked twice."""
    more = ("--tasks=2", "--concurrency=1", "--workload", "W1", "W3")
    with service() as endpoint:
        whole = Command(tmp_path / "whole", endpoint, *more)
        assert whole.run() == 0
    gate = Gate(before=endpoint.requests // 2)
    with service(gate) as endpoint:
        command = Command(tmp_path / "killed", endpoint, *more)
        process = command.start()
        assert gate.reached.wait(60)
        process.kill()
        process.communicate()
        gate.open.set()
        finished = command.records()
        assert 0 < len(finished) < 12
        with command.file.open("a") as file:
            file.write(json.dumps(finished[0])[:40])
        del gate.asked[:]
        assert command.run() == 0
        texts = {question.name: question.turns[0] for question in drawn("W1", 2)}
        for record in finished:
            if record["way"] == "a":
                assert (texts[record["task"]], False) not in gate.asked
        left = sum(record["requests"] for record in command_records(command)[len(finished) :])
        assert len(gate.asked) == left
        assert command.timeless() == whole.timeless()
        page = command.page.read_text()
        assert command.run() == 0
        assert len(gate.asked) == left
        assert command.page.read_text() == page


def command_records(command: Command) -> list[dict[str, Any]]:
    """The records, without the torn line."""
    lines = command.file.read_text().splitlines()
    torn = [line for line in lines if not line.endswith("}")]
    assert len(torn) == 1
    return [json.loads(line) for line in lines if line not in torn]


def test_ctrl_c_keeps_what_is_finished(tmp_path: Path) -> None:
    """An interrupt ends the command with status 130 and a page of the runs until then."""
    gate = Gate(before=10)
    with service(gate) as endpoint:
        command = Command(tmp_path, endpoint, "--tasks=4", "--concurrency=1", "--workload=W3")
        process = command.start()
        assert gate.reached.wait(60)
        finished = len(command.records())
        process.send_signal(signal.SIGINT)
        gate.open.set()
        _, errors = process.communicate(timeout=60)
    assert process.returncode == 130
    assert errors == "Interrupted. The same command goes on from here.\n"
    assert finished > 0
    assert f"**{12 - len(command.records())} have no result**" in command.page.read_text()


@pytest.mark.parametrize("status", [429, 500])
@pytest.mark.parametrize(("retries", "runs"), [(2, 0), (0, 1)])
def test_a_service_that_puts_off_is_asked_again(
    tmp_path: Path, status: int, retries: int, runs: int
) -> None:
    """The client repeats a request; where it does not, the run is made again."""
    with service(failing(status, times=1 + (retries > 0))) as endpoint:
        command = Command(tmp_path, endpoint, "--tasks=1", "--concurrency=1", "--workload=W3")
        assert command.run(f"--max-retries={retries}") == 0
    assert len(endpoint.refused) == 1 + (retries > 0)
    assert [record["failure"] for record in command.records()] == ["", "", ""]
    assert [row[3] for row in command.accuracy()] == ["100.0%"] * 3


def test_failures_are_shown_and_made_again(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A service that never answers leaves failures, not wrong runs; the next start makes them."""
    healthy = [False]

    def model(request: Request) -> Reply:
        return play(request) if healthy[0] else failing(503)(request)

    with service(model) as endpoint:
        command = Command(
            tmp_path, endpoint, "--tasks=2", "--concurrency=1", "--max-retries=0", "--workload=W3"
        )
        assert command.run() == 1
        assert "5 runs in a row failed" in capsys.readouterr().err
        assert [row[2:6] for row in command.table(0)] == [
            ["0", "-", "-", "1"],
            ["0", "-", "-", "2"],
            ["0", "-", "-", "2"],
        ]
        assert len(endpoint.refused) == 2 * 5
        healthy[0] = True
        assert command.run() == 0
    assert [row[2:4] for row in command.table(0)] == [["2", "100.0%"]] * 3
    assert "no result;" not in command.page.read_text()


def test_costs_are_told_and_confirmed_before_anything_is_sent(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Tokens and dollars stand on the screen when the question is asked; a no sends nothing."""
    answers = iter(["", "y"])
    with service() as endpoint:
        command = Command(
            tmp_path, endpoint, "--tasks=1", "--price-in=2", "--price-out=8", "--workload=W3"
        )
        command.words.remove("--yes")

        def asked(_: str) -> str:
            told = capsys.readouterr().out
            assert re.search(r"about [\d,]+ tokens in and [\d,]+ out, \d+\.\d\d USD", told)
            assert endpoint.requests == 0
            return next(answers)

        monkeypatch.setattr("builtins.input", asked)
        assert command.run() == 2
        assert "Nothing was sent." in capsys.readouterr().err
        assert endpoint.requests == 0
        assert command.run() == 0
    assert endpoint.requests > 0


def test_without_a_terminal_nothing_is_sent(tmp_path: Path) -> None:
    """A question that nobody can answer is answered with no."""
    with service() as endpoint:
        command = Command(tmp_path, endpoint, "--tasks=1")
        command.words.remove("--yes")
        process = subprocess.run(
            [sys.executable, "-m", "benchmarks", *command.words],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
        )
    assert process.returncode == 2
    assert "tokens in" in process.stdout
    assert endpoint.requests == 0


def test_a_budget_ends_the_runs(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """No run is begun that would cost more than is left."""
    with service() as endpoint:
        command = Command(
            tmp_path, endpoint, "--tasks=4", "--price-in=1000", "--price-out=1000", "--workload=W3"
        )
        assert command.run("--budget=8") == 1
    assert "budget" in capsys.readouterr().err
    spent = sum(record["input"] + record["output"] for record in command.records()) / 1e3
    assert 0 < len(command.records()) < 12
    assert spent < 8 + 3


def test_errors_of_the_setup_are_one_paragraph(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A wrong provider, no key, no service, a wrong key, a budget without prices: status 2."""

    def message(command: Command, *more: str) -> str:
        assert command.run("--tasks=1", "--max-retries=0", *more) == 2
        told = capsys.readouterr().err
        assert told.startswith("benchmarks: ")
        assert told.count("\n") == 1
        return told

    nowhere = Command(tmp_path, None, "--base-url=http://127.0.0.1:9/v1")
    assert "openai:scripted at http://127.0.0.1:9/v1 failed" in message(nowhere)
    assert "refused" in message(nowhere) or "Connect" in message(nowhere)
    assert "--price-in and --price-out" in message(nowhere, "--budget=1")
    assert "temperature" not in message(nowhere, "--option=temperature=0")
    assert "KEY=VALUE" in message(nowhere, "--option=temperature")
    assert "provider" in message(nowhere, "--model=nobody:nothing")
    with service(failing(401)) as endpoint:
        assert "Not now." in message(Command(tmp_path, endpoint))
    monkeypatch.delenv("OPENAI_API_KEY")
    assert "OPENAI_API_KEY" in message(nowhere)
    assert not nowhere.cache.exists()
    assert not nowhere.page.exists()


def test_other_settings_are_other_runs(tmp_path: Path) -> None:
    """A run with other options or another draw of times is not taken from the cache."""
    with service() as endpoint:
        command = Command(tmp_path, endpoint, "--tasks=1", "--workload=W3", "--ways", "a")
        assert command.run() == 0
        once = endpoint.requests
        assert command.run() == 0
        assert endpoint.requests == once
        assert command.run("--option=temperature=0") == 0
        assert endpoint.requests == 2 * once
        assert command.run("--seeds=2") == 0
        assert endpoint.requests == 3 * once
