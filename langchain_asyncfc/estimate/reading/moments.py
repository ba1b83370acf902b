"""Points in time, in whichever form they were saved."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any, Final

__all__ = ["seconds_of"]

_MILLISECONDS: Final = 1e11
"""A number above it is no time in seconds before the year 5000, so it counts milliseconds."""


def seconds_of(moment: Any) -> float | None:
    """A moment as seconds: a number, ISO 8601 text, or a `datetime`; `None` if it is none.

    Text without a time zone is taken as UTC, which is how LangSmith means it.
    """
    if isinstance(moment, bool) or moment is None:
        return None
    if isinstance(moment, int | float):
        number = float(moment)
        if number != number or number in (float("inf"), float("-inf")):  # noqa: PLR0124 - nan
            return None
        return number / 1000 if abs(number) > _MILLISECONDS else number
    if isinstance(moment, str):
        try:
            moment = datetime.fromisoformat(moment.strip())
        except ValueError:
            return None
    if not isinstance(moment, datetime):
        return None
    aware = moment if moment.tzinfo is not None else moment.replace(tzinfo=UTC)
    return aware.timestamp()
