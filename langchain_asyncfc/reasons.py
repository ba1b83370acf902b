"""Why a call waited before it started: in words for people, and as data.

    future_4 waited 2.1 s: RAW on fs:/src after future_2

A call may have waited for several others. All of its waits are kept; the sentence names the one
that ended last, since the call could start when that one did.

| reason | the call waited |
|---|---|
| `reference` | for a future that its arguments refer to |
| `RAW on fs:/src` | as it reads what the other writes; `WAR` and `WAW` likewise |
| `fence` | as a fence, which waits for every earlier call |
| `no declared effects` | as nobody said what it, or the other, reads and writes |
| `identical call` | for the value of an unfinished call that does the same |
| `order` | in the place of a call that was cancelled or skipped, and that waited itself |
| `max_concurrency` | for a place among the calls that may run at once |
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from langchain_asyncfc.effects import Access
from langchain_asyncfc.hazards import hazard

__all__ = [
    "IDENTICAL_CALL",
    "MAX_CONCURRENCY",
    "WAITED_METADATA",
    "WAITS_METADATA",
    "Waited",
    "decisive",
    "explanation",
    "reason",
    "waits_in",
    "waits_metadata",
]

REFERENCE: Final = "reference"
FENCE: Final = "fence"
NO_EFFECTS: Final = "no declared effects"
ORDER: Final = "order"
IDENTICAL_CALL: Final = "identical call"
MAX_CONCURRENCY: Final = "max_concurrency"

WAITED_METADATA: Final = "asyncfc_waited"
"""The key of the sentence in the metadata of a tool's run."""
WAITS_METADATA: Final = "asyncfc_waits"
"""The key of the waits as data in the metadata of a tool's run."""

_MOST: Final = 20
"""Waits that the metadata of a run holds: a trace is sent over the wire with each tool's run."""


@dataclass(frozen=True, slots=True)
class Waited:
    """A time that a call spent waiting.

    Attributes:
        reason: What for; see the table above.
        after: The id of the future that it waited for; empty if it waited for none.
        start: When it began to wait, in seconds by the clock of its run.
        end: When it no longer had to.
    """

    reason: str
    after: str
    start: float
    end: float

    @property
    def seconds(self) -> float:
        """How long it waited."""
        return self.end - self.start

    def __str__(self) -> str:
        return f"{self.reason} after {self.after}" if self.after else self.reason


def reason(
    earlier: Access | None, later: Access | None, *, refers: bool = False, fence: bool = False
) -> str:
    """Why a call waits for an earlier one.

    Args:
        earlier: What the earlier call reads and writes; `None` if that is not declared.
        later: The same of the later one.
        refers: Whether the later call's arguments refer to the earlier one.
        fence: Whether the later call is a fence.
    """
    if refers:
        return REFERENCE
    if fence:
        return FENCE
    if earlier is None or later is None:
        return NO_EFFECTS
    found = hazard(earlier, later)
    return ORDER if found is None else str(found)


def decisive(waits: Sequence[Waited]) -> Waited | None:
    """The wait that ended last; of several that did, the first to be noted."""
    return max(waits, key=lambda waited: waited.end, default=None)


def explanation(future: str, waits: Sequence[Waited]) -> str:
    """Why a call waited, as a sentence; empty if it did not.

    Args:
        future: The id of its future.
        waits: Its waits.
    """
    last = decisive(waits)
    if last is None:
        return ""
    seconds = last.end - min(waited.start for waited in waits)
    return f"{future} waited {_duration(seconds)}: {last}"


def _duration(seconds: float) -> str:
    return f"{seconds:.1f} s" if seconds >= 1 else f"{seconds * 1000:.3g} ms"


def waits_metadata(future: str, waits: Sequence[Waited], issued: float) -> dict[str, Any]:
    """What the metadata of a tool's run say of its waits: plain data that every tracer keeps.

    Args:
        future: The id of its future.
        waits: Its waits; the longest ones are said.
        issued: When it was issued, by the clock of the waits. Times count from there.
    """
    if not waits:
        return {}
    longest = sorted(waits, key=lambda waited: -waited.end)[:_MOST]
    listed = [
        {
            "reason": waited.reason,
            "after": waited.after,
            "start": waited.start - issued,
            "end": waited.end - issued,
        }
        for waited in longest
    ]
    return {WAITED_METADATA: explanation(future, waits), WAITS_METADATA: listed}


def waits_in(metadata: Mapping[str, Any] | None) -> list[Waited]:
    """The waits that the metadata of a tool's run tell of, in seconds since the call was issued.

    What has another form is left out: metadata may come from anywhere.
    """
    listed = (metadata or {}).get(WAITS_METADATA)
    return [waited for item in _items(listed) if (waited := _waited(item)) is not None]


def _items(listed: Any) -> Iterable[Any]:
    return listed if isinstance(listed, list) else ()


def _waited(item: Any) -> Waited | None:
    if not isinstance(item, Mapping):
        return None
    told, after = item.get("reason"), item.get("after")
    start, end = item.get("start"), item.get("end")
    if not isinstance(told, str) or not isinstance(after, str):
        return None
    if not isinstance(start, int | float) or not isinstance(end, int | float):
        return None
    return Waited(told, after, float(start), float(end))
