"""What was measured, on disk: a line of JSON a run, written when the run is over.

A file may end in half a line, since a process can be killed while it writes: such a line is left
out, and the next one begins on a line of its own. Of several lines with the same key the last one
counts. Nothing is ever taken out of a file.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any, Self


@dataclass(frozen=True, slots=True)
class Record:
    """What came of a run.

    Attributes:
        key: Tells the run from all others: see `key`.
        model: The model's name.
        workload: `W1`, `W2` or `W3`.
        task: BFCL's id.
        way: How its calls were answered.
        seed: Number of the draw of the tools' times.
        at: When it ended, ISO 8601 in UTC.
        versions: Of the packages that it ran on.
        concurrency: How many runs went on at a time.
        failure: Why there is no result; empty if there is one.
        valid: BFCL's verdict.
        why: The checker's reason for a wrong run.
        seconds: What the run took.
        requests: Messages that the model wrote.
        calls: Tool calls that it made.
        input: Tokens sent to the model.
        cached: Those of them that its service had in its cache.
        output: Tokens that it wrote.
        told: Whether the service told all these tokens; if not, some are guessed.
        acted: The calls that took effect: turn, tool, arguments.
    """

    key: str
    model: str
    workload: str
    task: str
    way: str
    seed: int
    at: str
    versions: str
    concurrency: int
    failure: str = ""
    valid: bool = False
    why: str = ""
    seconds: float = 0.0
    requests: int = 0
    calls: int = 0
    input: int = 0
    cached: int = 0
    output: int = 0
    told: bool = True
    acted: Sequence[Sequence[Any]] = ()

    @classmethod
    def read(cls, line: str) -> Self | None:
        """The record of a line; `None` if the line is no whole record."""
        try:
            found = json.loads(line)
            return cls(**{field.name: found[field.name] for field in fields(cls)})
        except (ValueError, TypeError, KeyError):
            return None


def key(parts: Mapping[str, Any]) -> str:
    """A short text for everything that determines a run."""
    text = json.dumps(parts, sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def file_name(model: str) -> str:
    """A model's name as the stem of a file's name."""
    return re.sub(r"[^\w.-]+", "-", model)


class Cache:
    """The records in a file.

    Args:
        path: The file; it and its folder are made when the first record is added.

    Attributes:
        torn: How many lines were no whole records.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.torn = 0
        self._records: dict[str, Record] = {}
        for record in self._read():
            self._records[record.key] = record

    def _read(self) -> Iterator[Record]:
        if not self.path.exists():
            return
        for line in self.path.read_bytes().decode(errors="replace").splitlines():
            record = Record.read(line)
            if record is not None:
                yield record
            elif line.strip():
                self.torn += 1

    def finished(self, run: str) -> Record | None:
        """The record of a run that has a result."""
        record = self._records.get(run)
        return None if record is None or record.failure else record

    def last(self, run: str) -> Record | None:
        """The record of a run, also if it failed."""
        return self._records.get(run)

    def add(self, record: Record) -> None:
        """Keep a record; it is on the disk when this returns."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with self.path.open("ab+") as file:
            text = json.dumps(asdict(record), default=str) + "\n"
            file.write(self._opening(file) + text.encode())
            file.flush()
            os.fsync(file.fileno())
        self._records[record.key] = record

    @staticmethod
    def _opening(file: Any) -> bytes:
        """What makes the next record begin a line: nothing, or the end of a torn one."""
        if not file.seek(0, os.SEEK_END):
            return b""
        file.seek(-1, os.SEEK_END)
        return b"" if file.read(1) == b"\n" else b"\n"
