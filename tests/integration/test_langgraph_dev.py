"""The example agent under `langgraph dev`: a real server, in an environment without any key.

The server raises an error in code that blocks its event loop, and logs what goes wrong in the
background, so its log is part of what is tested.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import httpx
import pytest
from langchain_core.messages import BaseMessage, ToolMessage, convert_to_messages
from langgraph_sdk.client import SyncLangGraphClient

from langchain_asyncfc.testing import assert_valid_history

pytestmark = [
    pytest.mark.skipif(
        find_spec("langgraph_cli") is None or find_spec("langgraph_api") is None,
        reason="needs langgraph dev: pip install 'langgraph-cli[inmem]'",
    ),
    pytest.mark.skipif(sys.platform == "win32", reason="looks for processes by their group"),
]

ROOT = Path(__file__).parents[2]
EXAMPLE = ROOT / "examples" / "langgraph_dev"
PATIENCE = 60.0
"""Seconds of wall time after which a server that does not start or stop fails the test."""
STEP = 0.1
"""Seconds between two looks at a server that is starting."""

QUIET = {
    "LANGGRAPH_CLI_NO_ANALYTICS": "1",
    "LANGGRAPH_NO_VERSION_CHECK": "true",
    "LANGSMITH_TRACING": "false",
}
"""Settings with which the server calls nobody on the network."""

HISTORY = "Alexandria: The lighthouse of Alexandria was built about 280 BC."
TECHNIQUE = "Lenses: The first Fresnel lens was lit in 1823, in the lighthouse of Cordouan."

BLOCKING_THREAD = "00000000-0000-4000-8000-000000000000"
"""The only thread of the graph that blocks; its errors are expected."""

BLOCKING_GRAPH = '''\
"""An agent whose async tool blocks the event loop."""

import time

from langchain.agents import create_agent
from langchain_core.messages import AIMessage
from langchain_core.tools import tool

from langchain_asyncfc import AsyncFCMiddleware
from langchain_asyncfc.testing import ScriptedChatModel, call


@tool
async def block() -> str:
    """Block."""
    time.sleep(0)
    return "slept"


model = ScriptedChatModel.replies([AIMessage("", tool_calls=[call("block")]), "done"])
agent = create_agent(model, [block], middleware=[AsyncFCMiddleware()])
'''


# -- the server -----------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Server:
    """A running `langgraph dev`.

    Attributes:
        process: Its first process, which leads a process group of its own.
        log: The file that it writes to.
        client: Talks to it.
    """

    process: subprocess.Popen[bytes]
    log: Path
    client: SyncLangGraphClient

    def stop(self) -> None:
        """Stop the server as Ctrl-C does."""
        os.killpg(self.process.pid, signal.SIGINT)
        self.process.wait(PATIENCE)

    def is_gone(self) -> bool:
        """Whether no process of the server's group is left."""
        try:
            os.killpg(self.process.pid, 0)
        except ProcessLookupError:
            return True
        return False

    def complaints(self) -> list[str]:
        """What the log has of warnings, errors and tracebacks.

        What was expected of the blocking graph is left out, and how long the machine takes.
        """
        found = []
        for line in self.log.read_text().splitlines():
            try:
                entry = json.loads(line)
            except ValueError:
                # Not from the server's loggers: Python's own words on the standard error stream.
                if "Traceback" in line or "Warning: " in line or "Exception ignored" in line:
                    found.append(line)
                continue
            is_bad = entry["level"] not in ("debug", "info")
            if is_bad and ".timing" not in entry["logger"] and BLOCKING_THREAD not in line:
                found.append(line)
        return found


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _environment(folder: Path, settings: dict[str, str]) -> dict[str, str]:
    """An environment in which nothing of the tests' own is left, keys least of all."""
    home = folder / "home"
    home.mkdir()
    log = {"LOG_JSON": "true", "LOG_LEVEL": "INFO", "PYTHONUNBUFFERED": "1"}
    path = {"PATH": os.defpath, "HOME": str(home), "PYTHONPATH": str(ROOT)}
    return {**path, **log, **QUIET, "PACE": "0.2", **settings}


def _example(folder: Path) -> Path:
    """A copy of the example, where the server may write, with one more graph."""
    copy = folder / "example"
    shutil.copytree(EXAMPLE, copy, ignore=shutil.ignore_patterns("__pycache__", ".langgraph_api"))
    (copy / "blocking.py").write_text(BLOCKING_GRAPH)
    config = json.loads((copy / "langgraph.json").read_text())
    config["graphs"]["blocking"] = "./blocking.py:agent"
    (copy / "langgraph.json").write_text(json.dumps(config))
    return copy


def _await_ready(process: subprocess.Popen[bytes], client: httpx.Client, log: Path) -> None:
    for _ in range(int(PATIENCE / STEP)):
        try:
            if client.get("/ok").is_success:
                return
        except httpx.TransportError:
            pass
        try:
            process.wait(STEP)
        except subprocess.TimeoutExpired:
            continue
        break
    pytest.fail(f"langgraph dev did not start:\n{log.read_text()}")


@contextmanager
def _serving(folder: Path, **settings: str) -> Iterator[Server]:
    port, log = _free_port(), folder / "log"
    command = [sys.executable, "-m", "langgraph_cli", "dev", "--no-browser", "--no-reload"]
    options = ["--host", "127.0.0.1", "--port", str(port), "--n-jobs-per-worker", "4"]
    with log.open("wb") as output:
        process = subprocess.Popen(
            [*command, *options],
            cwd=_example(folder),
            env=_environment(folder, settings),
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    # The server is on this machine: proxies and keys in the environment are not asked.
    http = httpx.Client(
        base_url=f"http://127.0.0.1:{port}", timeout=PATIENCE, trust_env=False, verify=False
    )
    server = Server(process, log, SyncLangGraphClient(http))
    try:
        with http:
            _await_ready(process, http, log)
            yield server
    finally:
        if not server.is_gone():
            os.killpg(process.pid, signal.SIGKILL)
        process.wait(PATIENCE)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server for several tests."""
    with _serving(tmp_path_factory.mktemp("langgraph_dev")) as running:
        yield running


# -- runs -----------------------------------------------------------------------------------------


def _asks(question: str) -> dict[str, Any]:
    return {"messages": [{"role": "user", "content": question}]}


def _record(message: BaseMessage) -> dict[str, Any]:
    return message.additional_kwargs.get("asyncfc", {})


def _history(server: Server, thread: str) -> list[BaseMessage]:
    state: Any = server.client.threads.get_state(thread)
    return convert_to_messages(state["values"]["messages"])


def _answers(messages: list[BaseMessage]) -> dict[str, ToolMessage]:
    """The answers to tool calls, by the future's id; `await_future` has none."""
    found = [m for m in messages if isinstance(m, ToolMessage) and m.name != "await_future"]
    return {f"future_{number}": message for number, message in enumerate(found, 1)}


def _state(message: BaseMessage) -> str:
    """The state in a message's record; calls that were fast have none."""
    return str(_record(message).get("state", "answered"))


def _new_thread(server: Server) -> str:
    return server.client.threads.create()["thread_id"]


def _stream_until(server: Server, thread: str, run: str, future: str) -> None:
    """Follow a run until a future of it is pending."""
    for part in server.client.runs.join_stream(thread, run, stream_mode="values"):
        if part.event == "values" and f"{future} is running" in json.dumps(part.data):
            return
    pytest.fail(f"{future} was never pending")


def _start(server: Server, thread: str, question: str) -> str:
    made = server.client.runs.create(
        thread, "research", input=_asks(question), stream_mode="values", stream_resumable=True
    )
    return made["run_id"]


# -- the tests ------------------------------------------------------------------------------------


def test_the_agent_is_served(server: Server) -> None:
    """The server shows the graph with the middleware's steps, its tools and its schemas."""
    [assistant] = server.client.assistants.search(graph_id="research")
    graph: Any = server.client.assistants.get_graph(assistant["assistant_id"])
    nodes = {node["id"]: node for node in graph["nodes"]}
    assert {"model", "tools", "AsyncFCMiddleware.before_model"} <= set(nodes)
    shown = nodes["tools"]["metadata"]["__tools"]
    assert {"search", "read_page", "save_note", "await_future", "cancel_future"} <= set(shown)
    schemas = server.client.assistants.get_schemas(assistant["assistant_id"])
    assert "messages" in json.dumps(schemas["input_schema"])


def test_two_runs_of_a_thread(server: Server) -> None:
    """Futures are pending and delivered, in state and stream, and the second run goes on."""
    thread = _new_thread(server)
    for number, question in enumerate(["who kept the lights", "and their lenses"]):
        pending: dict[str, str | None] = {}
        streamed: defaultdict[str | None, list[str]] = defaultdict(list)
        parts = server.client.runs.stream(
            thread, "research", input=_asks(question), stream_mode=["values", "messages-tuple"]
        )
        for part in parts:
            assert part.event in ("metadata", "values", "messages"), part
            if part.event == "values":
                answers = _answers(convert_to_messages(part.data["messages"]))
                pending |= {f: m.id for f, m in answers.items() if _state(m) == "pending"}
            elif part.event == "messages" and part.data[0]["type"] == "tool":
                [message] = convert_to_messages([part.data[0]])
                streamed[message.id].append(_state(message))

        messages = _history(server, thread)
        assert_valid_history(messages)
        answers = _answers(messages)
        assert list(answers) == [f"future_{n}" for n in range(1, 6 * number + 7)]
        futures = list(answers)[6 * number :]
        # The searches take far longer than the grace period; the others may find them finished.
        assert {*futures[:2]} <= set(pending) <= {*futures}
        for future in pending:
            assert _record(answers[future])["future"] == future
            assert answers[future].id == pending[future]
            assert streamed[pending[future]] == ["pending", "resolved"]
        assert not {_state(answers[future]) for future in futures} - {"resolved", "answered"}

        first, _, history, technique, saved, listed = (answers[future] for future in futures)
        assert _record(first)["value"][0] == {"page": "h1", "title": "Alexandria"}
        assert [history.text, technique.text] == [HISTORY, TECHNIQUE]
        assert saved.text == f"saved {question!r}"
        assert question in json.loads(listed.text)  # listing waited for the note
        assert HISTORY in messages[-1].text
        item = server.client.store.get_item(("notes",), key=question)
        assert item["value"] == {"text": f"{HISTORY}\n{TECHNIQUE}"}
    assert not server.complaints()


def test_a_stopped_run(server: Server) -> None:
    """Stopping a run cancels its calls; the next run of the thread is told and goes on."""
    thread = _new_thread(server)
    run = _start(server, thread, "never saved")
    _stream_until(server, thread, run, "future_1")
    server.client.runs.cancel(thread, run, wait=True)
    left = _answers(_history(server, thread))
    assert _state(left["future_1"]) == "pending"

    server.client.runs.wait(thread, "research", input=_asks("again"))
    messages = _history(server, thread)
    assert_valid_history(messages)
    answers = list(_answers(messages).values())
    assert _state(answers[0]) != "pending"
    assert len(answers) == len(left) + 6
    *_, saved, listed = answers
    assert saved.text == "saved 'again'"
    assert "never saved" not in json.loads(listed.text)
    assert not server.complaints()


def test_blocking_calls_are_noticed(server: Server) -> None:
    """The server sees a call that blocks its loop in a future: a quiet log means there is none."""
    server.client.threads.create(thread_id=BLOCKING_THREAD)
    with pytest.raises(Exception, match="BlockingError"):
        server.client.runs.wait(BLOCKING_THREAD, "blocking", input=_asks("go"))
    assert "Blocking call to time.sleep" in server.log.read_text()


def test_runs_side_by_side_on_loops_of_their_own(tmp_path: Path) -> None:
    """Runs at the same time, each on an event loop of its own, never see each other's futures."""
    with _serving(tmp_path, BG_JOB_ISOLATED_LOOPS="true") as server:
        for number in range(2):
            threads = [_new_thread(server) for _ in range(3)]
            runs = [_start(server, thread, f"{number} {thread}") for thread in threads]
            for thread, run in zip(threads, runs, strict=True):
                server.client.runs.join(thread, run)
                messages = _history(server, thread)
                assert_valid_history(messages)
                *_, history, technique, saved, listed = _answers(messages).values()
                assert [history.text, technique.text] == [HISTORY, TECHNIQUE]
                assert saved.text == f"saved '{number} {thread}'"
                assert f"{number} {thread}" in json.loads(listed.text)
        assert not server.complaints()
        server.stop()
        assert server.is_gone()
        # The server leaves a task of its own store in each of its loops.
        assert not [line for line in server.complaints() if "langchain_asyncfc" in line]


def test_stopping_the_server_while_futures_are_pending(tmp_path: Path) -> None:
    """No process is left behind, and nothing in the log comes from a future."""
    with _serving(tmp_path, PACE="1") as server:
        thread = _new_thread(server)
        _stream_until(server, thread, _start(server, thread, "lenses"), "future_1")
        server.stop()
        assert server.is_gone()
        # The server itself warns that it cancels the run, and will retry it when it is started.
        cancelled = [line for line in server.complaints() if "CancelledError" in line]
        assert server.complaints() == cancelled
        assert not [line for line in cancelled if "langchain_asyncfc" in line]
