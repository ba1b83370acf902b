"""Rule 20 over savers and processes: each run has its own process, or its own graph and loop.

What one process asks another one answers; finished calls are not run again by it.
"""

from __future__ import annotations

import asyncio
import os
import pickle
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from langchain_core.messages import BaseMessage, HumanMessage
from langgraph.checkpoint.sqlite import SqliteSaver
from langgraph.checkpoint.sqlite.aio import AsyncSqliteSaver
from langgraph.types import Command

from tests.integration.reliability.faces import Face, on
from tests.integration.reliability.interrupts import Case, Desk, Way, check_same, yes
from tests.integration.reliability.postgres import Server
from tests.integration.reliability.test_interrupts import CASES
from tests.integration.reliability.test_interrupts_nested import GRAPHS

CHOSEN = {
    name: {**CASES, **{f"graph-{key}": case for key, case in GRAPHS.items()}}[name]
    for name in (
        "alone",
        "with-fast-pure",
        "with-slow-pure",
        "placed-slow",
        "end-of-turn-slow",
        "same-message-pure",
        "in-a-loop-placed",
        "graph-beside-slow",
        "graph-two-placed",
    )
}

FACES = [Way(face, is_async) for face in ("node", "middleware") for is_async in (True, False)]


@contextmanager
def _sync_saver(where: str) -> Iterator[Any]:
    if where.startswith("postgres"):
        from langgraph.checkpoint.postgres import PostgresSaver

        with PostgresSaver.from_conn_string(where) as saver:
            yield saver
        return
    with SqliteSaver.from_conn_string(where) as saver:
        yield saver


def _async_saver(where: str) -> Any:
    if where.startswith("postgres"):
        from langgraph.checkpoint.postgres.aio import AsyncPostgresSaver

        return AsyncPostgresSaver.from_conn_string(where)
    return AsyncSqliteSaver.from_conn_string(where)


Seen = tuple[list[BaseMessage], list[tuple[str, str]], list[Any]]
"""Messages, what is asked (id and question), and what tools did."""


def one_run(name: str, way: Way, where: str, answers: dict[str, Any] | None) -> Seen:
    """Begin or answer, with a graph, a saver and a loop of its own."""
    case = CHOSEN[name]
    desk = Desk(delay=0, is_open=answers is not None)
    value = {"messages": [HumanMessage("go")]} if answers is None else Command(resume=answers)

    def graph(saver: Any) -> Any:
        policy = desk.policy(case.script)
        face = Face(way.face)
        return face.build(case.tools(desk), policy, checkpointer=saver, **case.options).graph

    async def arun() -> Any:
        async with _async_saver(where) as saver:
            made = graph(saver)
            await made.ainvoke(value, on("t"))
            return await made.aget_state(on("t"))

    if way.is_async:
        state = asyncio.run(arun())
    else:
        with _sync_saver(where) as saver:
            made = graph(saver)
            made.invoke(value, on("t"))
            state = made.get_state(on("t"))
    return state.values["messages"], [(i.id, i.value) for i in state.interrupts], desk.log


PROCESS = """
import pickle, sys
from tests.integration.reliability.test_interrupts_savers import one_run
sys.stdout.buffer.write(pickle.dumps(one_run(*pickle.load(sys.stdin.buffer))))
"""


def _converse(case: Case, run: Any) -> None:
    desk = Desk()
    answers: dict[str, Any] | None = None
    for _ in range(10):
        messages, asked, log = run(answers)
        desk.log += log
        if not asked:
            break
        answers = {id_: yes(question) for id_, question in asked}
    else:
        pytest.fail("it is asked for ever")
    check_same(case, desk, messages)


@pytest.mark.parametrize("way", FACES, ids=str)
@pytest.mark.parametrize("name", CHOSEN)
def test_sqlite(name: str, way: Way, tmp_path: Path) -> None:
    """Each answer comes to a new graph with a new connection, on a new event loop."""
    where = str(tmp_path / "checkpoints.sqlite")
    _converse(CHOSEN[name], lambda answers: one_run(name, way, where, answers))


@pytest.mark.parametrize("way", FACES, ids=str)
@pytest.mark.parametrize("name", ["placed-slow", "same-message-pure", "graph-two-placed"])
def test_postgres(name: str, way: Way, postgres: Server, template: str) -> None:
    """The same on a Postgres server."""
    database = postgres.create(template)
    try:
        where = postgres.dsn(database)
        _converse(CHOSEN[name], lambda answers: one_run(name, way, where, answers))
    finally:
        postgres.drop(database)


@pytest.mark.parametrize(
    "way", [Way("node", is_async=True), Way("middleware", is_async=False)], ids=str
)
def test_new_process(way: Way, tmp_path: Path) -> None:
    """Each answer comes to a new process.

    In two of the ways: what a process forgets is what modules keep, and those are the same for
    both faces. `test_sqlite` begins anew in all ways.
    """
    where = str(tmp_path / "checkpoints.sqlite")

    def run(answers: dict[str, Any] | None) -> Seen:
        asked = pickle.dumps(("placed-slow", way, where, answers))
        done = subprocess.run(
            [sys.executable, "-c", PROCESS],
            input=asked,
            capture_output=True,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
            timeout=60,
            check=False,
        )
        assert done.returncode == 0, done.stderr.decode()
        assert not done.stderr, done.stderr.decode()
        seen: Seen = pickle.loads(done.stdout)
        return seen

    _converse(CHOSEN["placed-slow"], run)
