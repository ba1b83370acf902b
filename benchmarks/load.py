"""Many runs at once in one process, checked call by call (see `scripts` for what they do).

Run as a program it measures one row in a process of its own, and prints it as JSON. Tracing memory
(`python -X tracemalloc`) makes it several times slower.
"""

from __future__ import annotations

import asyncio
import gc
import json
import logging
import re
import sys
import threading
import time
import tracemalloc
import warnings
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

from langchain.agents import create_agent
from langchain_core.messages import AIMessage, BaseMessage, HumanMessage
from langchain_core.runnables import RunnableConfig, RunnableLambda
from langchain_core.tools import BaseTool, ToolException, tool
from langgraph.graph import START, MessagesState, StateGraph

from benchmarks.scripts import (
    CALLS,
    PATIENCE,
    TEXT,
    TIMEOUT,
    Fate,
    Ledger,
    RunStopped,
    write_script,
)
from langchain_asyncfc import AsyncFCMiddleware, AsyncFCToolNode, Effects, tools_condition
from langchain_asyncfc.executors import background_loop, worker_pool
from langchain_asyncfc.testing import ScriptedChatModel

THREADS: Final = 64
_IDLE: Final = 12.0
"""Seconds after which workers without work have ended."""
_LIMIT: Final[RunnableConfig] = {"recursion_limit": 200}


def async_tools(ledger: Ledger) -> list[BaseTool]:
    """The tools of the scripts as coroutines."""

    @tool
    async def work(run: int, n: int, seconds: float, seen: str = "") -> str:
        """Take some time."""
        with ledger.note(run, n):
            await asyncio.sleep(seconds)
            return f"{run}:{n}<{seen}" if seen else f"{run}:{n}"

    @tool
    async def fail(run: int, n: int) -> str:
        """Fail, at once or later."""
        with ledger.note(run, n):
            await asyncio.sleep(0.005 * (n % 3))
            raise ToolException(TEXT[Fate.RAISES])

    @tool
    async def outlast(run: int, n: int) -> None:
        """Take longer than the timeout."""
        with ledger.note(run, n):
            await asyncio.Event().wait()

    @tool
    async def hang(run: int, n: int) -> None:
        """Take for ever."""
        with ledger.note(run, n):
            await asyncio.Event().wait()

    return [work, fail, outlast, hang]


def sync_tools(ledger: Ledger) -> list[BaseTool]:
    """The tools of the scripts as functions. They cannot be stopped, so they run on for a while."""

    @tool
    def work(run: int, n: int, seconds: float, seen: str = "") -> str:
        """Take some time."""
        with ledger.note(run, n):
            time.sleep(seconds)
            return f"{run}:{n}<{seen}" if seen else f"{run}:{n}"

    @tool
    def fail(run: int, n: int) -> str:
        """Fail."""
        with ledger.note(run, n):
            raise ToolException(TEXT[Fate.RAISES])

    @tool
    def outlast(run: int, n: int) -> None:
        """Take longer than the timeout."""
        with ledger.note(run, n):
            ledger.block(run, n)

    @tool
    def hang(run: int, n: int) -> None:
        """Take until it is of no use any more."""
        with ledger.note(run, n):
            ledger.block(run, n)

    return [work, fail, outlast, hang]


def build(ledger: Ledger, tools: Sequence[BaseTool], face: str, delivery: Any) -> Any:
    """A graph, with the node or with the middleware."""
    for each in tools:
        each.handle_tool_error = True
    effects = {each.name: Effects(writes="run:{run}/{n}") for each in tools}
    timeout = {"outlast": TIMEOUT}
    if face == "middleware":
        middleware = AsyncFCMiddleware(effects=effects, timeout=timeout, delivery=delivery)
        return create_agent(_model(ledger), list(tools), middleware=[middleware])

    def agent(state: MessagesState) -> dict[str, Any]:
        return {"messages": [ledger.reply(state["messages"])]}

    async def aagent(state: MessagesState) -> dict[str, Any]:
        return agent(state)

    node = AsyncFCToolNode(tools, effects=effects, timeout=timeout, delivery=delivery)
    builder = StateGraph(MessagesState)
    builder.add_node("agent", RunnableLambda(agent, afunc=aagent))
    builder.add_node("tools", node)
    builder.add_edge(START, "agent")
    builder.add_conditional_edges("agent", tools_condition)
    builder.add_edge("tools", "agent")
    return builder.compile()


def _model(ledger: Ledger) -> ScriptedChatModel:
    def policy(messages: list[BaseMessage]) -> AIMessage:
        model.calls.clear()  # or it would keep all that it was ever sent
        model.call_kwargs.clear()
        return ledger.reply(messages)

    model = ScriptedChatModel(policy=policy)
    return model


@dataclass(frozen=True, slots=True)
class Row:
    """What came of many runs.

    Attributes:
        runs: How many.
        fates: Of the calls of the runs that came to their end: how many by fate.
        stopped: How many runs were stopped on the way.
        seconds: For all.
        wrong: What is not as it must be, in words; tasks, threads, warnings and logs among it.
        objects: Objects that the garbage collector knows, before (after a few runs to warm up) and
            after.
        traced: Bytes that Python holds, before and after; 0 where memory is not traced.
        rss: Resident bytes of the process: before, at most so far, and after.
    """

    runs: int
    fates: dict[str, int]
    stopped: int
    seconds: float
    wrong: list[str]
    objects: tuple[int, int]
    traced: tuple[int, int]
    rss: tuple[int, int, int]


def resident(what: str = "VmRSS") -> int:
    """Resident bytes of this process, now or (`VmHWM`) at most; 0 where there is no `/proc`."""
    status = Path("/proc/self/status")
    found = re.search(rf"{what}:\s+(\d+)", status.read_text()) if status.exists() else None
    return int(found[1]) * 1024 if found else 0


def held() -> tuple[int, int, int]:
    """Objects, traced bytes and resident bytes, once garbage was collected."""
    gc.collect()
    return len(gc.get_objects()), tracemalloc.get_traced_memory()[0], resident()


async def _arun(graph: Any, ledger: Ledger, run: int) -> None:
    try:
        result = await graph.ainvoke({"messages": [HumanMessage(str(run))]}, _LIMIT)
    except (RunStopped, asyncio.CancelledError):
        result = {"messages": None}
    begun, ended = (
        notes[run * CALLS : (run + 1) * CALLS] for notes in (ledger.begun, ledger.ended)
    )
    if begun != ended:
        ledger.wrong.append(f"run {run} left calls behind")
    ledger.check(run, result["messages"])


async def _run_all(graph: Any, ledger: Ledger) -> None:
    for run in range(len(ledger.scripts)):
        ledger.tasks[run] = asyncio.create_task(_arun(graph, ledger, run))
    await asyncio.gather(*ledger.tasks.values())
    ledger.tasks.clear()
    left = len(asyncio.all_tasks()) - 1
    if left:
        ledger.wrong.append(f"{left} tasks were left")


def _run(graph: Any, ledger: Ledger, run: int) -> None:
    try:
        result = graph.invoke({"messages": [HumanMessage(str(run))]}, _LIMIT)
    except RunStopped:
        result = {"messages": None}
    ledger.tell(run, range(CALLS))
    ledger.check(run, result["messages"])


def _play(ledger: Ledger, face: str, delivery: str, *, use_async: bool) -> None:
    """All runs at once, or as many as there are threads."""
    graph = build(ledger, (async_tools if use_async else sync_tools)(ledger), face, delivery)
    if use_async:
        asyncio.run(_run_all(graph, ledger))
    else:
        with ThreadPoolExecutor(THREADS) as pool:
            list(pool.map(lambda run: _run(graph, ledger, run), range(len(ledger.scripts))))
    if unfinished := worker_pool().rest(PATIENCE):
        ledger.wrong.append(f"{unfinished} calls were left in threads")
    ledger.check_calls()


@contextmanager
def _heard() -> Iterator[list[str]]:
    """Whatever is logged or warned of from here on, or goes wrong where nobody can catch it."""
    heard: list[str] = []

    class Handler(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            heard.append(f"logged: {record.getMessage()}")

    def unraisable(problem: Any) -> None:
        heard.append(f"unraisable: {problem.exc_value!r}")

    def shown(message: Warning | str, *_: Any, **__: Any) -> None:
        heard.append(f"warned: {message}")

    handler = Handler(logging.WARNING)
    logging.getLogger().addHandler(handler)
    sys.unraisablehook = threading.excepthook = unraisable
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        warnings.showwarning = shown
        try:
            yield heard
        finally:
            logging.getLogger().removeHandler(handler)
            sys.unraisablehook, threading.excepthook = (
                sys.__unraisablehook__,
                threading.__excepthook__,
            )


def _threads_left() -> list[str]:
    """Threads that are still there once idle workers had the time to end."""
    until = time.monotonic() + _IDLE
    while True:
        known = (threading.main_thread().name, "asyncfc-loop")
        left = [thread.name for thread in threading.enumerate() if thread.name not in known]
        if not left or time.monotonic() > until:
            return left
        time.sleep(0.1)


def measure(
    runs: int, face: str, delivery: str, *, use_async: bool, patient: bool, seed: int = 1
) -> Row:
    """Run the scripts, and count.

    Args:
        runs: How many.
        face: `"node"` or `"middleware"`.
        delivery: Where outcomes go.
        use_async: Whether all run at once on an event loop; if not, in threads.
        patient: Whether to wait until idle threads have ended.
        seed: Of the scripts.
    """
    with _heard() as heard:
        few = Ledger([write_script(run, seed + 1) for run in range(runs // 10 + 1)])
        _play(few, face, delivery, use_async=use_async)
        ledger = Ledger([write_script(run, seed) for run in range(runs)])
        before = held()
        began = time.perf_counter()
        _play(ledger, face, delivery, use_async=use_async)
        seconds = time.perf_counter() - began
        left = _threads_left() if patient else []
        after = held()
        tasks = asyncio.all_tasks(background_loop())
    wrong = [*few.wrong, *ledger.wrong, *heard, *(f"thread {name} was left" for name in left)]
    wrong += [f"task {task!r} was left" for task in tasks]
    whole = [script for script in ledger.scripts if script.stop is None]
    fates = {str(fate): sum(s.fates.count(fate) for s in whole) for fate in Fate}
    stopped = len(ledger.scripts) - len(whole)
    rss = (before[2], resident("VmHWM"), after[2])
    objects, memory = zip(before[:2], after[:2], strict=True)
    return Row(runs, fates, stopped, seconds, wrong, objects, memory, rss)


if __name__ == "__main__":
    print(json.dumps(asdict(measure(**json.loads(sys.argv[1])))))
