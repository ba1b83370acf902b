"""A `RunRecord` as JSON, and back: for files that are looked at, or estimated, later."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from typing import Any, Final

from pydantic import TypeAdapter, ValidationError

from langchain_asyncfc.timeline.spans import RunRecord

__all__ = ["FORMAT", "from_json", "to_json"]

FORMAT: Final = "langchain_asyncfc.timeline/1"
"""Stands in the field `format` of such a file."""

_RECORD: Final = TypeAdapter(RunRecord)


def to_json(record: RunRecord, *, indent: int | None = None) -> str:
    """Write a record as JSON.

    Values in arguments that JSON does not have are written as their text.

    Args:
        record: The record.
        indent: Spaces a level; all on one line by default, so that several records in one file
            are JSON lines.
    """
    return json.dumps({"format": FORMAT, **_fields(record)}, default=_plain, indent=indent)


def from_json(saved: str | bytes | Mapping[str, Any]) -> RunRecord:
    """Read a record from what `to_json` wrote, or from its parsed JSON.

    Fields that are not known are ignored, so that newer files can be read.

    Raises:
        ValueError: When it is no such JSON. The message names the field that is wrong.
    """
    try:
        data = json.loads(saved) if isinstance(saved, str | bytes) else dict(saved)
    except ValueError as error:
        raise ValueError(f"This is no JSON: {error}.") from error
    if not isinstance(data, dict) or data.get("format") != FORMAT:
        found = data.get("format") if isinstance(data, dict) else type(data).__name__
        msg = f"This is no saved timeline: its field 'format' must be {FORMAT!r}, not {found!r}."
        raise ValueError(msg)
    try:
        return _RECORD.validate_python(data)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        raise ValueError(f"The saved timeline is wrong at {where!r}: {first['msg']}.") from error


def _fields(value: Any) -> dict[str, Any]:
    return {field.name: getattr(value, field.name) for field in fields(value)}


def _plain(value: Any) -> Any:
    """A value that JSON does not have in a form that it has."""
    if is_dataclass(value) and not isinstance(value, type):
        return _fields(value)
    return dict(value) if isinstance(value, Mapping) else str(value)
