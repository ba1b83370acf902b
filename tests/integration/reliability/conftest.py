"""Fixtures of the tests of crashes: a database server, and processes that may be killed."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from tests.integration.reliability.conversation import PAY, SCRIPT, SETUPS
from tests.integration.reliability.lab import Forks, Fresh, Lab, Setup
from tests.integration.reliability.postgres import Server, missing, running_server

MakeLab = Callable[..., Lab]


@pytest.fixture(scope="session")
def postgres() -> Iterator[Server]:
    """A Postgres server for the session; without one the test is skipped.

    Where it has to be there, as in CI, `ASYNCFC_POSTGRES=required` makes its absence an error.
    """
    why = missing()
    if why is not None:
        required = os.environ.get("ASYNCFC_POSTGRES") == "required"
        (pytest.fail if required else pytest.skip)(why)
    with running_server() as server:
        yield server


@pytest.fixture(scope="session")
def template(postgres: Server) -> str:
    """A database with all tables, to make others from: that is faster than making tables."""
    from langgraph.checkpoint.postgres import PostgresSaver
    from langgraph.store.postgres import PostgresStore

    name = postgres.create()
    with PostgresSaver.from_conn_string(postgres.dsn(name)) as saver:
        saver.setup()
    with PostgresStore.from_conn_string(postgres.dsn(name)) as store:
        store.setup()
    postgres.settle(name)
    return name


@pytest.fixture(scope="session")
def forks() -> Iterator[Forks]:
    """Starts processes fast."""
    starter = Forks()
    yield starter
    starter.close()


@pytest.fixture
def make_lab(request: pytest.FixtureRequest, tmp_path: Path, forks: Forks) -> Iterator[MakeLab]:
    """Makes a thread of an agent that runs as a setup says, on a database of its own."""
    with ExitStack() as stack:

        def make(setup: Setup, *, fresh: bool = False, **options: Any) -> Lab:
            saver, settle = _database(request, stack, tmp_path, setup)
            options = {
                "face": setup.face,
                "entry": setup.entry,
                "saver": saver,
                "durability": setup.durability,
                **options,
            }
            lab = Lab(tmp_path, Fresh() if fresh else forks, settle, options)
            stack.callback(lab.close)
            return lab

        yield make


@pytest.fixture(params=SETUPS, ids=str)
def setup(request: pytest.FixtureRequest) -> Setup:
    """Each face, entry, checkpointer and durability, and each two of them together."""
    return request.param


@pytest.fixture
def lab(make_lab: MakeLab, setup: Setup) -> Lab:
    """A thread whose first turn is about to begin."""
    return make_lab(setup, script=SCRIPT, focus=PAY)


def _database(
    request: pytest.FixtureRequest, stack: ExitStack, directory: Path, setup: Setup
) -> tuple[str, Callable[[], None]]:
    """A new database, and what waits for work that killed processes left it."""
    if setup.saver == "sqlite":
        return str(directory / "checkpoints.sqlite"), lambda: None
    server: Server = request.getfixturevalue("postgres")
    name = server.create(request.getfixturevalue("template"))
    stack.callback(server.drop, name)
    return server.dsn(name), lambda: server.settle(name)
