"""A Postgres server of its own, for the time of a test session.

The programs are those of the system: `apt-get install postgresql` on Debian, or `initdb` and
`postgres` on the path. The server listens on loopback only, its data is in a temporary directory,
and it does not wait for the disk: what the tests kill is never the server. It refuses to run as
root, so root starts it as another user.
"""

from __future__ import annotations

import contextlib
import importlib
import itertools
import os
import pwd
import re
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

STARTING = 60.0
"""Seconds that the server may take to start, on a busy machine."""
STOPPING = 20.0
"""Seconds that it may take to stop before it is killed."""
_PORTS = 10
"""How many ports are tried; one that is free may be taken a moment later."""

_OPTIONS = {
    "listen_addresses": "127.0.0.1",
    "fsync": "off",
    "synchronous_commit": "off",
    "full_page_writes": "off",
    "shared_buffers": "16MB",
    "max_connections": "50",
}


def missing() -> str | None:
    """Why there can be no server here; `None` when there can be one."""
    for package in ("langgraph.checkpoint.postgres", "psycopg"):
        try:
            importlib.import_module(package)
        except ImportError as error:
            return f"a Python package for Postgres is not there: {error}"
    if programs() is None:
        return "no Postgres server is installed (Debian: apt-get install postgresql)"
    return None


def programs() -> Path | None:
    """The directory of `initdb` and `postgres`; the newest version where there are several."""
    on_path = shutil.which("initdb")
    if on_path and (Path(on_path).parent / "postgres").exists():
        return Path(on_path).parent
    found = [p.parent for p in Path("/usr/lib/postgresql").glob("*/bin/postgres")]
    versions = {float(re.sub(r"[^0-9.]", "", path.parent.name) or 0): path for path in found}
    return versions[max(versions)] if versions else None


@dataclass
class Server:
    """A running server.

    Attributes:
        port: Its port on loopback.
    """

    port: int
    _count: Iterator[int] = field(default_factory=itertools.count)

    def dsn(self, database: str) -> str:
        """How to connect to a database."""
        return f"postgresql://postgres@127.0.0.1:{self.port}/{database}"

    def run(self, command: str) -> Any:
        """Run an SQL command on its own; its rows, if it gives any."""
        import psycopg

        with psycopg.connect(self.dsn("postgres"), autocommit=True) as connection:
            cursor = connection.execute(command)
            return cursor.fetchall() if cursor.description else []

    def create(self, template: str = "template0") -> str:
        """Make a database, and give its name."""
        name = f"db{next(self._count)}"
        self.run(f"CREATE DATABASE {name} TEMPLATE {template}")
        return name

    def drop(self, name: str) -> None:
        """Remove a database, and end its connections."""
        self.run(f"DROP DATABASE {name} WITH (FORCE)")

    def settle(self, name: str) -> None:
        """Wait until the server has done what killed processes had asked it to do."""
        query = f"SELECT count(*) FROM pg_stat_activity WHERE datname = '{name}'"
        deadline = time.monotonic() + STOPPING
        while self.run(query) != [(0,)]:
            assert time.monotonic() < deadline, "connections of killed processes remain"
            time.sleep(0.005)


@contextlib.contextmanager
def running_server() -> Iterator[Server]:
    """Start a server, and stop it at the end whatever happened."""
    directory = programs()
    assert directory is not None, missing()
    # Not below pytest's directories: another user cannot get there, and the path of a socket
    # must be short.
    home = Path(tempfile.mkdtemp(prefix="pg-"))
    user = _server_user()
    if user:
        shutil.chown(home, user["user"], user["group"])
    try:
        data = home / "data"
        options = ["--no-sync", "--auth=trust", "--username=postgres", "--encoding=UTF8"]
        made = subprocess.run(
            [directory / "initdb", *options, "--no-locale", "--pgdata", data],
            cwd=home,
            capture_output=True,
            text=True,
            check=False,
            **user,
        )
        assert made.returncode == 0, made.stdout + made.stderr
        process, port = _start(directory, home, user)
        try:
            yield Server(port)
        finally:
            _stop(process)
    finally:
        shutil.rmtree(home, ignore_errors=True)


def _server_user() -> dict[str, Any]:
    """As whom to start it, as options of `subprocess`."""
    if os.geteuid() != 0:
        return {}
    names = {entry.pw_name for entry in pwd.getpwall()}
    name = "postgres" if "postgres" in names else "nobody"
    group = pwd.getpwnam(name).pw_gid
    return {"user": name, "group": group, "extra_groups": []}


def _start(
    directory: Path, home: Path, user: dict[str, Any]
) -> tuple[subprocess.Popen[bytes], int]:
    options = [f"--{name}={value}" for name, value in _OPTIONS.items()]
    for _ in range(_PORTS):
        port = _free_port()
        with (home / "log").open("ab") as log:
            process = subprocess.Popen(
                [
                    directory / "postgres",
                    "-D",
                    home / "data",
                    "-p",
                    str(port),
                    "-k",
                    home,
                    *options,
                ],
                cwd=home,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                **user,
            )
        try:
            if _is_ready(process, port):
                return process, port
        except BaseException:
            _stop(process)
            raise
    raise AssertionError((home / "log").read_text())


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _is_ready(process: subprocess.Popen[bytes], port: int) -> bool:
    """Wait until the server answers; `False` when it has ended, as when its port is taken."""
    import psycopg

    deadline = time.monotonic() + STARTING
    while process.poll() is None:
        try:
            Server(port).run("SELECT 1")
        except psycopg.OperationalError:
            assert time.monotonic() < deadline, "the server does not answer"
            time.sleep(0.02)
        else:
            return process.poll() is None
    return False


def _stop(process: subprocess.Popen[bytes]) -> None:
    process.send_signal(signal.SIGINT)  # does not wait for clients
    try:
        process.wait(STOPPING)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
