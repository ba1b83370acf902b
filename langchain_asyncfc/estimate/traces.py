"""What is read from a file: the spans of a run, and what the model was asked in it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from langchain_asyncfc.timeline.spans import RunRecord

__all__ = ["Trace", "TraceError"]


class TraceError(ValueError):
    """Raised when a file is no trace that can be estimated: what is wrong, where, what to do."""


@dataclass(frozen=True, slots=True)
class Trace:
    """One run that was measured.

    Attributes:
        record: Its spans.
        asked: What others than tools told the model before a reply (users, the system), as text,
            by the reply's index. What stands there did not come from a tool's result.
        notes: What was left out or assumed while reading, in sentences.
    """

    record: RunRecord
    asked: Mapping[int, str] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
