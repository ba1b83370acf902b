"""Points in time, in whichever form they were saved."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any, Final

__all__ = ["seconds_of"]

_MILLISECONDS: Final = 1e11
"""A number above it is no time in seconds before the year 5000, so it counts milliseconds."""
_NONE: Final = 1e14
"""A number above it is no time in milliseconds before the year 5000 either."""


def seconds_of(moment: Any) -> float | None:
    """A moment as seconds: a number, ISO 8601 text, or a `datetime`; `None` if it is none.

    A text before 1970 is none.

    Text without a time zone is taken as UTC, which is how LangSmith means it.
    """
    if isinstance(moment, bool) or moment is None:
        return None
    if isinstance(moment, int | float):
        if not abs(moment) <= _NONE:  # it may be no number, or an integer too large for a float
            return None
        return moment / 1000 if abs(moment) > _MILLISECONDS else float(moment)
    if isinstance(moment, str):
        try:
            moment = datetime.fromisoformat(moment.strip())
        except ValueError:
            return None
    if not isinstance(moment, datetime):
        return None
    aware = moment if moment.tzinfo is not None else moment.replace(tzinfo=UTC)
    seconds = aware.timestamp()
    return seconds if seconds >= 0 else None  # year 1 is how some programs write "not yet"
