"""A process ends soon though sync tools still run, and does not cut off one that needs a little.

Each test is a process of its own. In it a run ends while a sync tool is in the middle of a write;
the tool goes on when the main thread has ended.
"""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

import pytest

from langchain_asyncfc.executors import wait_at_exit
from tests.integration.processes import interruptible

ROOT = Path(__file__).parents[3]
PATIENCE = 60.0
"""Seconds of wall time after which a process that does not end fails its test."""

PRELUDE = """
import asyncio, sys, threading, time
from pathlib import Path

from langchain_core.messages import AIMessage
from langchain_core.runnables import RunnableLambda
from langchain_core.tools import tool
from langgraph.graph import START, MessagesState, StateGraph

from langchain_asyncfc import AsyncFCToolNode, effects, tools_condition
from langchain_asyncfc.executors import wait_at_exit
from langchain_asyncfc.testing import ScriptedChatModel, call

FILE = Path(sys.argv[1])
ENDING = sys.argv[2]
entered = threading.Event()

def main_has_ended():
    threading.main_thread().join()
    time.sleep(0.2)  # longer than an interpreter takes to go away

def begin():
    FILE.write_text("half")
    entered.set()

@effects()
@tool
def write() -> str:
    "Write a file."
    begin()
    main_has_ended()
    FILE.write_text("whole")
    return "written"

@effects()
@tool
def hang() -> str:
    "Never end."
    begin()
    threading.Event().wait()

@effects()
@tool
async def awrite() -> str:
    "Write a file, on an event loop."
    begin()
    while threading.main_thread().is_alive():
        await asyncio.sleep(0.01)
    await asyncio.sleep(0.2)
    FILE.write_text("whole")
    return "written"

TOOLS = {"write": write, "hang": hang, "awrite": awrite}

class Stop(Exception):
    pass

async def stand():
    await asyncio.Event().wait()

def think(state):
    if len(state["messages"]) == 1:
        return {"messages": [AIMessage("", id="m1", tool_calls=[call(TOOL)])]}
    assert entered.wait(30)
    if ENDING == "detach":
        return {"messages": [AIMessage("bye", id="m2")]}
    raise Stop

async def athink(state):
    if len(state["messages"]) > 1 and ENDING in ("timeout", "aclose", "events"):
        await asyncio.to_thread(entered.wait, 30)
        came.set()
        await stand()
    return await asyncio.to_thread(think, state)

def graph(**options):
    node = AsyncFCToolNode(list(TOOLS.values()), grace=0, **options)
    builder = StateGraph(MessagesState)
    builder.add_node("agent", RunnableLambda(think, athink))
    builder.add_node("tools", node)
    builder.add_edge(START, "agent")
    builder.add_conditional_edges("agent", tools_condition)
    builder.add_edge("tools", "agent")
    return builder.compile()

GO = {"messages": [("user", "go")]}

def sync_main(config=None):
    options = {"on_final": "detach"} if ENDING == "detach" else {}
    try:
        graph(**options).invoke(GO, config)
    except Stop:
        pass

async def async_main(config=None):
    global came
    came = asyncio.Event()
    # Development mode would say of each callback how long it took on a busy machine.
    asyncio.get_running_loop().slow_callback_duration = 60
    made = graph()
    try:
        if ENDING == "error":
            await made.ainvoke(GO, config)
        elif ENDING == "timeout":
            task = asyncio.create_task(made.ainvoke(GO, config))
            await came.wait()
            task.cancel()
            await task
        elif ENDING == "aclose":
            stream = made.astream(GO, config, stream_mode="updates")
            async for chunk in stream:
                if "tools" in chunk:
                    await asyncio.to_thread(entered.wait, 30)
                    break
            await stream.aclose()
        elif ENDING == "events":
            stream = made.astream_events(GO, config, version="v2")
            async for event in stream:
                if event["event"] == "on_chain_end" and event["name"] == "tools":
                    await asyncio.to_thread(entered.wait, 30)
                    break
            await stream.aclose()
    except (Stop, asyncio.CancelledError):
        pass
"""

SYNC_ENDS = ["error", "detach"]
ASYNC_ENDS = ["error", "timeout", "aclose", "events"]


def start(path: Path, ending: str, script: str) -> subprocess.Popen[str]:
    """Start a process whose run ends in some way."""
    with interruptible():
        return subprocess.Popen(
            [sys.executable, "-W", "error", "-X", "dev", "-c", PRELUDE + script, str(path), ending],
            cwd=ROOT,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )


def run(path: Path, ending: str, script: str) -> str:
    """Run a process to its end, which must be a good one; what it had to complain about."""
    process = start(path, ending, script)
    try:
        out, complaints = process.communicate(timeout=PATIENCE)
    finally:
        process.kill()
    assert (process.returncode, out) == (0, "over\n"), complaints
    return complaints


SYNC = 'TOOL = "{tool}"\n{setting}\nsync_main()\nprint("over", flush=True)\n'
ASYNC = 'TOOL = "{tool}"\n{setting}\nasyncio.run(async_main())\nprint("over", flush=True)\n'


def scripted(entry: str, tool: str, setting: str = "") -> str:
    """The main program."""
    return (SYNC if entry == "invoke" else ASYNC).format(tool=tool, setting=setting)


WAYS = [("invoke", end) for end in SYNC_ENDS] + [("asyncio.run", end) for end in ASYNC_ENDS]


@pytest.mark.parametrize(("entry", "ending"), WAYS)
def test_a_tool_that_needs_a_little_ends_its_write(entry: str, ending: str, tmp_path: Path) -> None:
    """It is waited for by default, and nothing complains: not of a loop that is closed either."""
    file = tmp_path / "file"
    assert run(file, ending, scripted(entry, "write")) == ""
    assert file.read_text() == "whole"


@pytest.mark.parametrize(("entry", "ending"), WAYS)
def test_a_hung_tool_does_not_keep_the_process(entry: str, ending: str, tmp_path: Path) -> None:
    """After the time given the process ends well, with one warning."""
    complaints = run(tmp_path / "file", ending, scripted(entry, "hang", "wait_at_exit(0.1)"))
    (warning,) = complaints.splitlines()
    assert warning.startswith("1 sync tool(s) still ran 0.1 seconds after the main thread")


def test_the_time_is_limited_by_default(tmp_path: Path) -> None:
    """A process that sets nothing ends as well."""
    assert "still ran 2 seconds" in run(tmp_path / "file", "error", scripted("invoke", "hang"))


def test_not_waiting(tmp_path: Path) -> None:
    """With 0 the process ends at once, and the tool with it."""
    file = tmp_path / "file"
    assert "still ran 0 seconds" in run(
        file, "error", scripted("invoke", "write", "wait_at_exit(0)")
    )
    assert file.read_text() == "half"


def test_waiting_for_ever(tmp_path: Path) -> None:
    """With `None` the process lives as long as its tools; a signal still ends it."""
    setting = """
def main_has_ended():
    threading.main_thread().join()
    time.sleep(2.5)  # longer than the default
wait_at_exit(None)
"""
    file = tmp_path / "file"
    assert run(file, "error", scripted("invoke", "write", setting)) == ""
    assert file.read_text() == "whole"


def test_an_async_tool_of_a_detached_run(tmp_path: Path) -> None:
    """What runs on the background loop under `invoke`, and has no run any more, is waited for."""
    file = tmp_path / "file"
    assert run(file, "detach", scripted("invoke", "awrite")) == ""
    assert file.read_text() == "whole"


def test_an_interrupted_exit(tmp_path: Path) -> None:
    """Whoever cannot wait interrupts, as ever, and sees no traceback."""
    script = """
def begin():
    entered.set()
    threading.Thread(target=tell, daemon=True).start()
def tell():
    main_has_ended()
    print("waiting", flush=True)
wait_at_exit(None)
"""
    process = start(tmp_path / "file", "error", scripted("invoke", "hang", script))
    try:
        assert process.stdout is not None
        assert [process.stdout.readline() for _ in range(2)] == ["over\n", "waiting\n"]
        process.send_signal(signal.SIGINT)
        _, complaints = process.communicate(timeout=PATIENCE)
    finally:
        process.kill()
    assert (process.returncode, complaints) == (0, "")


def test_a_time_must_not_be_negative() -> None:
    """A mistake is told at once, and changes nothing."""
    with pytest.raises(ValueError, match="negative"):
        wait_at_exit(-1)
    with pytest.raises(ValueError, match="negative"):
        wait_at_exit(float("nan"))
