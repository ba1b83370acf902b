"""Tools that do nothing but answer: each result tells which call with which arguments it is of."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Any

from benchmarks.workloads.tasks import Location, frozen


def digest(tool: str, args: Mapping[str, Any]) -> str:
    """A short text that tells a call from others."""
    return hashlib.sha256(frozen([tool, args]).encode()).hexdigest()[:12]


class StubWorld:
    """A world without state.

    Args:
        fields: For each tool the places in its result that other calls ask for.
    """

    def __init__(self, fields: Mapping[str, tuple[Location, ...]] | None = None) -> None:
        self._fields = fields or {}

    def act(self, tool: str, args: Mapping[str, Any]) -> Any:
        """The result of a call: a text of its own in each place."""
        own = digest(tool, args)
        result: dict[str, Any] = {"result": own}
        for path in self._fields.get(tool, ()):
            _put(result, path, f"{'.'.join(map(str, path))} of {own}")
        return result

    def state(self) -> Any:
        """Nothing."""
        return None


def _put(result: dict[str, Any], path: Location, text: str) -> None:
    """Put a text at a place; indices only ever are 0."""
    holder: Any = result
    for step, following in zip(path, [*path[1:], None], strict=True):
        new: Any = text if following is None else [None] if following == 0 else {}
        if isinstance(holder, list):
            holder[0] = new
        else:
            new = holder.setdefault(step, new)
        holder = new
