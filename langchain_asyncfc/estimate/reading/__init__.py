"""Reads the files that an estimate is made from, whichever form they have."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from langchain_asyncfc.estimate.reading.histories import read_history
from langchain_asyncfc.estimate.reading.langsmith import looks_like_run, read_runs
from langchain_asyncfc.estimate.reading.messages import looks_like_message
from langchain_asyncfc.estimate.traces import Trace, TraceError
from langchain_asyncfc.timeline.saved import FORMAT, from_json

__all__ = ["read_data", "read_file"]

_FORMS: Final = (
    "Expected are exported LangSmith runs (JSON or JSON lines), a message history with timings, "
    "or a saved timeline."
)

_GZIP: Final = b"\x1f\x8b"


def read_file(path: str | Path) -> list[Trace]:
    """Read every trace in a file.

    Args:
        path: The file; `-` is standard input.

    Raises:
        TraceError: When it is no trace. The message begins with the path, and says what to do.
    """
    path = Path(path)
    try:
        return read_data(_parse(_text(path)), path.stem)
    except TraceError as error:
        raise TraceError(f"{path}: {error}") from error


def _text(path: Path) -> str:
    try:
        raw = sys.stdin.buffer.read() if str(path) == "-" else path.read_bytes()
    except FileNotFoundError:
        raise TraceError("there is no such file.") from None
    except IsADirectoryError:
        raise TraceError("this is a folder; give one file in it.") from None
    except AttributeError:
        raise TraceError("standard input is closed.") from None
    except OSError as error:
        raise TraceError(f"it cannot be read: {error.strerror}.") from None
    if not raw.strip():
        raise TraceError(f"the file is empty. {_FORMS}")
    if raw.startswith(_GZIP):
        raise TraceError("this is packed by gzip; unpack it first.")
    try:
        return raw.decode(json.detect_encoding(raw)).removeprefix("\ufeff")
    except UnicodeDecodeError:
        raise TraceError(f"this is no text in UTF-8, so it is no JSON. {_FORMS}") from None


def _parse(text: str) -> Any:
    try:
        return json.loads(text)
    except RecursionError:
        raise TraceError("its JSON is nested too deep.") from None
    except ValueError as error:
        whole = error
    lines = [(n, line) for n, line in enumerate(text.split("\n"), 1) if line.strip()]
    found = []
    for number, line in lines:
        try:
            found.append(json.loads(line))
        except (ValueError, RecursionError) as error:
            if not found or len(lines) == 1:
                raise TraceError(f"this is no JSON: {whole}. {_FORMS}") from None
            raise TraceError(
                f"line {number} is no JSON: {error}. The lines before it are, so the file may have "
                "been cut off; export it again."
            ) from None
    return found


def read_data(data: Any, name: str = "") -> list[Trace]:
    """Read every trace in parsed JSON.

    Args:
        data: The parsed JSON.
        name: For traces that have none.

    Raises:
        TraceError: When there is none.
    """
    if isinstance(data, Mapping):
        return _read_object(data, name)
    if not isinstance(data, list):
        raise TraceError(f"this is JSON, but only a {type(data).__name__}. {_FORMS}")
    if not data:
        raise TraceError(f"this is an empty list. {_FORMS}")
    if any(looks_like_run(item) for item in data):
        traces = read_runs([item for item in data if looks_like_run(item)])
        others = sum(not looks_like_run(item) for item in data)
        note = f"{others} entries that are no runs were left out."
        if others:
            traces[0] = Trace(traces[0].record, traces[0].asked, (*traces[0].notes, note))
        return traces
    if any(looks_like_message(item) for item in data):
        return [read_history(data, name=name)]
    if all(isinstance(item, Mapping | list) for item in data):
        return _read_several(data, name)
    raise TraceError(f"this is a list of {type(data[0]).__name__}. {_FORMS}")


def _read_object(data: Mapping[str, Any], name: str) -> list[Trace]:
    if data.get("format") == FORMAT:
        return [_saved(data)]
    if looks_like_run(data):
        return read_runs([data])
    if isinstance(data.get("runs"), list):
        if not data["runs"]:
            raise TraceError("its list 'runs' is empty: the export found nothing.")
        return read_data(data["runs"], name)
    if isinstance(data.get("messages"), list):
        return [read_history(data["messages"], data.get("timings"), str(data.get("name") or name))]
    if isinstance(
        data.get("values"), Mapping
    ):  # the state of a thread, as LangGraph's server has it
        return _read_object(data["values"], name)
    fields = ", ".join(repr(key) for key in list(data)[:6]) or "no fields"
    raise TraceError(f"this is a JSON object with {fields}, but no trace. {_FORMS}")


def _read_several(data: Sequence[Any], name: str) -> list[Trace]:
    traces: list[Trace] = []
    for index, item in enumerate(data):
        try:
            traces += read_data(item, f"{name} {index + 1}")
        except TraceError as error:
            raise TraceError(f"entry {index + 1} of {len(data)}: {error}") from error
    return traces


def _saved(data: Mapping[str, Any]) -> Trace:
    try:
        record = from_json(data)
    except ValueError as error:
        raise TraceError(str(error)) from error
    if not record.tools:
        raise TraceError("no tool ran in it, so nothing could run in the background.")
    return Trace(record)
