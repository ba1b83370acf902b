"""From a record to the rows of which a picture is drawn: bars, arrows and moments.

Plain data without a drawing library. A picture of thousands of spans is kept usable by leaving
out what nobody could read: texts for hovering get shorter, only the longest spans are labelled,
and only the longest waits have arrows.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

from langchain_asyncfc.timeline.critical import critical_path
from langchain_asyncfc.timeline.figures import extra_replies
from langchain_asyncfc.timeline.lanes import Group, groups_of
from langchain_asyncfc.timeline.links import Links
from langchain_asyncfc.timeline.spans import Reply, RunRecord, Span, ToolRun
from langchain_asyncfc.timeline.words import (
    arguments,
    label,
    seconds,
    shortened,
    title,
    waiting,
)

__all__ = ["KINDS", "Marks", "marks_of"]

PREFILL: Final = "waiting for the first token"
DECODING: Final = "decoding"
EXTRA: Final = "decoding, an extra turn"
RUNNING: Final = "tool running"
WAITING: Final = "tool call waiting"
READY: Final = "result ready, model not told"
ASKED: Final = "stopped to ask a person"
FAILED: Final = "failed or cancelled"

KINDS: Final = {
    PREFILL: "#9BC8E6",
    DECODING: "#0072B2",
    EXTRA: "#CC79A7",
    RUNNING: "#009E73",
    WAITING: "#C4C4C4",
    READY: "#8FD1BD",
    ASKED: "#E69F00",
    FAILED: "#D55E00",
}
"""The kinds of bars with their colours. Source: the palette of Okabe and Ito, which people with
any colour vision tell apart; its blue and green also in a lighter shade."""

_KIND_OF: Final = {"resolved": RUNNING, "running": RUNNING, "interrupted": ASKED}

_HALF: Final = 0.38
_HALF_WAIT: Final = 0.14
_HALF_READY: Final = 0.07
"""Half the height of bars, in lanes: what works is thick, what waits is thin."""

_MANY: Final = 2000
"""Spans from which texts are shorter: some 200 bytes each are megabytes of a page then."""
_LABELS: Final = 1000
_ARROWS: Final = 800
"""How many of the longest are drawn: more were black rather than readable."""
_LETTER: Final = 5.5
"""Pixels of a letter in a label, about. Source: Vega's sans-serif at a size of 10."""
_ROOM: Final = 40
"""Pixels that a bar needs for a label that may be cut."""


@dataclass(frozen=True, slots=True)
class Marks:
    """What to draw.

    Attributes:
        groups: The lanes.
        bars: With `start`, `end`, `top`, `bottom`, `kind`, and texts.
        labels: Texts in bars: `start`, `end`, `lane`, `label`, and `room`, the pixels it needs.
        arrows: From an earlier call's end (`x`, `y`) to a waiting call's start (`x2`, `y2`).
        told: Moments at which the model was told of a call: `time`, `lane`.
        path: The critical path, as `start`, `end`, `top`, `bottom` of its bars.
    """

    groups: list[Group]
    bars: list[dict[str, Any]]
    labels: list[dict[str, Any]]
    arrows: list[dict[str, Any]]
    told: list[dict[str, Any]]
    path: list[dict[str, Any]]

    @property
    def signs(self) -> list[str]:
        """What its signs other than bars mean."""
        told = [
            (self.path, "outlined: the critical path"),
            (self.told, "diamond: the model is told of the result"),
            (self.arrows, "line to a triangle: waited for"),
        ]
        return [text for rows, text in told if rows]

    @property
    def kinds(self) -> list[str]:
        """The kinds of bars that it has."""
        present = {bar["kind"] for bar in self.bars}
        return [kind for kind in KINDS if kind in present]

    @property
    def lanes(self) -> int:
        """How many lanes there are."""
        return sum(group.lanes for group in self.groups)


def marks_of(record: RunRecord) -> Marks:
    """What to draw of a record."""
    return _Maker(record).made()


class _Maker:
    def __init__(self, record: RunRecord) -> None:
        self._record = record
        self._groups = groups_of(record)
        self._lane = {id(span): lane for group in self._groups for lane, span in group.spans}
        self._many = len(record.replies) + len(record.tools) > _MANY
        self._most = 70 if self._many else 240
        extra = extra_replies(record)
        self._extra = {id(reply) for n, reply in enumerate(record.replies) if n in extra}
        self._bars: list[dict[str, Any]] = []
        self._told: list[dict[str, Any]] = []

    def made(self) -> Marks:
        """All marks."""
        for reply in self._record.replies:
            self._reply(reply)
        for tool in self._record.tools:
            self._tool(tool)
        return Marks(
            self._groups, self._bars, self._labels(), self._arrows(), self._told, self._path()
        )

    def _bar(
        self, span: Span, kind: str, start: float, end: float, half: float, **told: Any
    ) -> None:
        told = {name: text for name, text in told.items() if text}
        lane = self._lane[id(span)]
        where = {"start": start, "end": end, "top": lane - half, "bottom": lane + half}
        self._bars.append({**where, "kind": kind, "what": title(span), **told})

    def _reply(self, reply: Reply) -> None:
        kind = FAILED if reply.failed else EXTRA if id(reply) in self._extra else DECODING
        first = reply.first_token
        made = f"{reply.output_tokens} tokens" if reply.output_tokens is not None else ""
        calls = f"calls {', '.join(reply.tools)}" if reply.tools else ""
        told = {
            "took": seconds(reply.end - reply.start),
            "result": shortened("; ".join(t for t in (reply.text, calls, made) if t), self._most),
            "args": f"{reply.input_tokens} tokens" if reply.input_tokens is not None else "",
        }
        if first is not None:
            told["waited"] = f"{seconds(first - reply.start)} for the first token"
            self._bar(reply, PREFILL, reply.start, first, _HALF, **told)
        self._bar(reply, kind, reply.start if first is None else first, reply.end, _HALF, **told)

    def _tool(self, tool: ToolRun) -> None:
        told = {
            "took": seconds(tool.end - tool.start),
            "args": arguments(tool.args, self._most),
            "result": shortened(tool.result, self._most),
            "waited": waiting(tool, self._most),
            "state": "" if tool.state == "resolved" else tool.state,
        }
        if tool.waits:
            self._bar(tool, WAITING, tool.issued, tool.start, _HALF_WAIT, **told)
        kind = _KIND_OF.get(tool.state, FAILED)
        self._bar(tool, kind, tool.start, tool.end, _HALF, **told)
        if tool.delivered is not None:
            if tool.delivered > tool.end and not self._many:
                self._bar(tool, READY, tool.end, tool.delivered, _HALF_READY, **told)
            self._told.append({"time": tool.delivered, "lane": self._lane[id(tool)]})

    def _labels(self) -> list[dict[str, Any]]:
        spans: list[Span] = [*self._record.replies, *self._record.tools]
        spans.sort(key=lambda span: span.start - span.end)
        return [
            {
                "start": start,
                "end": span.end,
                "lane": self._lane[id(span)],
                "label": text,
                "room": len(text) * _LETTER + 8 if isinstance(span, Reply) else _ROOM,
            }
            for span in spans[:_LABELS]
            for start in [getattr(span, "first_token", None) or span.start]
            if (text := label(span)) and span.end > start
        ]

    def _arrows(self) -> list[dict[str, Any]]:
        links = Links(self._record)
        found = [
            (wait.end - wait.start, wait, earlier, tool)
            for tool in self._record.tools
            for wait, earlier in links.waited_for(tool)
        ]
        found.sort(key=lambda item: -item[0])
        return [
            {
                "x": earlier.end,
                "y": self._lane[id(earlier)],
                "x2": tool.start,
                "y2": self._lane[id(tool)],
                "what": f"{title(tool)} waited {seconds(waited)}",
                "waited": f"{wait.reason} after {title(earlier)}",
            }
            for waited, wait, earlier, tool in found[:_ARROWS]
        ]

    def _path(self) -> list[dict[str, Any]]:
        return [
            {"start": span.start, "end": span.end, "top": lane - _HALF, "bottom": lane + _HALF}
            for span in critical_path(self._record)
            for lane in [self._lane[id(span)]]
        ]
