"""Starts processes of `crash_app`, kills them where a test says, and reads what is left."""

from __future__ import annotations

import contextlib
import json
import os
import re
import select
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from langchain_core.messages import (
    AIMessage,
    BaseMessage,
    HumanMessage,
    ToolMessage,
    messages_from_dict,
)

import langchain_asyncfc
from langchain_asyncfc.testing import assert_valid_history
from tests.integration.reliability.crash_app import own_calls

PATIENCE = 20.0
"""Seconds after which something that does not happen fails its test."""
POLL = 0.002
APP = Path(__file__).with_name("crash_app.py")
KILLED = -signal.SIGKILL

Event = dict[str, Any]


def _environment() -> dict[str, str]:
    """That of the processes: they import the package that is tested."""
    package = Path(langchain_asyncfc.__file__).parents[1]
    return {**os.environ, "PYTHONPATH": str(package)}


class Child(Protocol):
    """A process that was started."""

    def kill(self) -> None:
        """Kill it by SIGKILL, if it has not ended."""

    def has_ended(self) -> bool:
        """Whether it has ended."""

    def join(self) -> int:
        """Wait for its end; its exit code, or minus the signal that killed it."""


class Forks:
    """Starts processes fast: it forks them from one that has imported everything.

    One at a time, and each has to be joined.
    """

    def __init__(self) -> None:
        self._server = subprocess.Popen(
            [sys.executable, str(APP), "serve"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env=_environment(),
        )
        assert self._read(PATIENCE * 2) == "ready"

    def _read(self, patience: float) -> str | None:
        """A line of the server, `None` if none comes."""
        assert self._server.stdout is not None
        if not select.select([self._server.stdout], [], [], patience)[0]:
            return None
        # Unbuffered below `readline` would be wrong with `select`, so byte by byte.
        line = bytearray()
        while not line.endswith(b"\n"):
            byte = os.read(self._server.stdout.fileno(), 1)
            assert byte, "the server of processes has ended"
            line += byte
        return line.decode().strip()

    def start(self, path: Path) -> Child:
        """Fork a process."""
        assert self._server.stdin is not None
        self._server.stdin.write(f"{path}\n".encode())
        self._server.stdin.flush()
        pid = self._read(PATIENCE)
        assert pid is not None, "no process was forked"
        return _Fork(int(pid), self._read)

    def close(self) -> None:
        """End the server."""
        assert self._server.stdin is not None
        self._server.stdin.close()
        try:
            self._server.wait(PATIENCE)
        except subprocess.TimeoutExpired:
            self._server.kill()
            self._server.wait()
        assert self._server.stdout is not None
        self._server.stdout.close()


@dataclass
class _Fork:
    pid: int
    read: Callable[[float], str | None]
    code: int | None = None

    def kill(self) -> None:
        if self.code is None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.pid, signal.SIGKILL)

    def has_ended(self) -> bool:
        if self.code is None:
            said = self.read(0)
            self.code = None if said is None else int(said)
        return self.code is not None

    def join(self) -> int:
        if self.code is None:
            said = self.read(PATIENCE)
            if said is None:
                self.kill()
                said = self.read(PATIENCE)
            assert said is not None
            self.code = int(said)
        return self.code


class Fresh:
    """Starts processes as users do, with an interpreter of their own."""

    def start(self, path: Path) -> Child:
        """Start a process."""
        process = subprocess.Popen([sys.executable, str(APP), "run", path], env=_environment())
        return _Process(process)


@dataclass
class _Process:
    process: subprocess.Popen[bytes]

    def kill(self) -> None:
        self.process.kill()

    def has_ended(self) -> bool:
        return self.process.poll() is not None

    def join(self) -> int:
        return self.process.wait(PATIENCE)


@dataclass(frozen=True)
class Setup:
    """One way to run an agent.

    Attributes:
        face: `"node"` or `"middleware"`.
        entry: `"ainvoke"` or `"invoke"`.
        saver: `"sqlite"` or `"postgres"`.
        durability: As for LangGraph.
    """

    face: str
    entry: str
    saver: str
    durability: str

    def __str__(self) -> str:
        return f"{self.face}-{self.entry}-{self.saver}-{self.durability}"


@dataclass
class Lab:
    """A thread of one agent, and the processes that work on it one after the other.

    Attributes:
        directory: Where log, gates and results are.
        starter: Starts processes.
        settle: Waits until what a killed process asked of its database is done.
        options: What all processes are told (see `crash_app.Spec`).
    """

    directory: Path
    starter: Forks | Fresh
    settle: Callable[[], None]
    options: dict[str, Any]
    children: list[Child] = field(default_factory=list)

    def start(self, *todo: list[Any], closed: Sequence[str] = (), **more: Any) -> None:
        """Start the next process.

        Args:
            *todo: What it does.
            closed: The gates at which it stops.
            **more: Further fields of its `Spec`.
        """
        number = len(self.children) + 1
        spec = {**self.options, "directory": str(self.directory), "number": number}
        spec |= {"todo": list(todo), "closed": list(closed), **more}
        path = self.directory / f"spec{number}"
        path.write_text(json.dumps(spec))
        self.children.append(self.starter.start(path))

    def open(self, gate: str) -> None:
        """Let the process through a gate."""
        (self.directory / gate).touch()

    def kill(self) -> bool:
        """Kill the process; whether it had not ended before."""
        self.children[-1].kill()
        code = self.children[-1].join()
        assert code in (0, KILLED), self.errors()
        self.settle()
        return code == KILLED

    def run(self, *todo: list[Any], **more: Any) -> list[Result]:
        """Start a process and wait for its end; what came of each thing that it did."""
        self.start(*todo, **more)
        return self.finish()

    def finish(self) -> list[Result]:
        """Wait for the end of the process; what came of each thing that it did."""
        code = self.children[-1].join()
        assert code == 0, f"exit code {code}: {self.errors()}"
        assert "Traceback" not in self.errors(), self.errors()
        found = json.loads((self.directory / f"result{len(self.children)}").read_text())
        return [Result(messages_from_dict(r["messages"]), r["interrupts"]) for r in found]

    def close(self) -> None:
        """Kill what is left, as where the test has failed."""
        for child in self.children:
            child.kill()
            child.join()

    # -- what is left ----------------------------------------------------------------------------

    def errors(self) -> str:
        """What the process wrote on its standard error."""
        path = self.directory / f"errors{len(self.children)}"
        return path.read_text() if path.exists() else ""

    def log(self) -> list[Event]:
        """All that was noted, in order."""
        path = self.directory / "log"
        lines = path.read_bytes().split(b"\n")[:-1] if path.exists() else []
        return [json.loads(line) for line in lines]

    def noted(self, what: str, **more: Any) -> list[Event]:
        """What was noted of a kind."""
        wanted = {"what": what, **more}.items()
        return [event for event in self.log() if wanted <= _flat(event).items()]

    def until(self, what: str, *, times: int = 1, **more: Any) -> None:
        """Wait until the running process has noted something."""
        number = len(self.children)
        self.until_true(
            lambda: len(self.noted(what, process=number, **more)) >= times, f"{what} {more}"
        )

    def until_true(self, condition: Callable[[], object], text: str) -> None:
        """Wait until something holds."""
        deadline = time.monotonic() + PATIENCE
        while not condition():
            is_last_look = self.children[-1].has_ended() or time.monotonic() > deadline
            assert not is_last_look or condition(), self._stuck(text)
            time.sleep(POLL)

    def _stuck(self, text: str) -> str:
        lines = "\n".join(map(str, self.log()))
        return f"never came to {text!r}\n{lines}\n{self.errors()}"

    def starts(self, tool: str, x: str) -> int:
        """How often a call began, over all processes."""
        return len(self.noted("start", tool=tool, x=x))

    def ends(self, tool: str, x: str) -> int:
        """How often a call ended, over all processes."""
        return len(self.noted("end", tool=tool, x=x))

    def found(self) -> Event:
        """What the last process found in the checkpointer."""
        return self.noted("found", process=len(self.children))[-1]


def _flat(event: Event) -> Mapping[str, Any]:
    return {key: value for key, value in event.items() if not isinstance(value, list)}


@dataclass
class Outcome:
    """What the model was told in the end of a call.

    Attributes:
        state: `"resolved"`, `"lost"`, `"skipped"`, …
        text: The text.
    """

    state: str
    text: str


@dataclass
class Result:
    """The state of the thread after something was done.

    Attributes:
        messages: The history.
        interrupts: How many interrupts wait for an answer.
    """

    messages: list[BaseMessage]
    interrupts: int

    def check(self, turns: int) -> dict[str, Outcome]:
        """Check that all turns are complete: a valid history, and one outcome for each call.

        Args:
            turns: How many there are.

        Returns:
            The outcomes by call id.
        """
        assert_valid_history(self.messages)
        assert not self.interrupts
        humans = [message.text for message in self.messages if isinstance(message, HumanMessage)]
        assert humans == [f"turn {n}" for n in range(1, turns + 1)]
        assert self.messages[-1].text == f"done {turns}"
        assert isinstance(self.messages[-1], AIMessage)
        found = outcomes(self.messages)
        for message in self.messages:
            for call in own_calls(message):
                assert len(found[call["id"]]) == 1, (call, found[call["id"]])
        return {call: told[0] for call, told in found.items()}


def outcomes(messages: Sequence[BaseMessage]) -> dict[str, list[Outcome]]:
    """What these messages tell of each call: in its place, or riding on a later message."""
    found: dict[str, list[Outcome]] = {
        call["id"]: [] for message in messages for call in own_calls(message)
    }
    call_of: dict[str, str] = {}
    for message in messages:
        if not isinstance(message, ToolMessage):
            continue
        record = message.additional_kwargs.get("asyncfc") or {}
        call_of.setdefault(record.get("future", ""), message.tool_call_id)
        parts = dict(_parts(message.text))
        if record.get("state") != "pending" and message.tool_call_id in found:
            state = record.get("state") or _state_told(message.status, parts[""])
            found[message.tool_call_id].append(Outcome(state, parts[""]))
        for future, kept in (record.get("delivered") or {}).items():
            found[call_of[future]].append(Outcome(kept["state"], parts[future]))
    return found


def _state_told(status: str, told: str) -> str:
    """What an answer says that was given at once, without a placeholder or a record."""
    if status == "success":
        return "resolved"
    words = {"was lost": "lost", "was not run": "skipped"}
    return next((state for text, state in words.items() if text in told), "error")


def _parts(text: str) -> Iterator[tuple[str, str]]:
    """A message's own text under no name, and what rides on it by future."""
    own, *rest = re.split(r"(?:\n\n|^)\[(future_\d+)\] ", text)
    yield "", own
    yield from zip(rest[::2], rest[1::2], strict=True)
