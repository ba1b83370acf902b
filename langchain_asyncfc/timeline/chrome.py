"""A run as a trace that Perfetto (https://ui.perfetto.dev) and chrome://tracing open.

Source: the Trace Event Format of Chrome. Lanes are threads of two processes, the model and the
tools; arrows lead from a call to those that waited for it.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any, Final

from langchain_asyncfc.timeline.lanes import groups_of
from langchain_asyncfc.timeline.links import Links
from langchain_asyncfc.timeline.spans import Reply, RunRecord, Span, ToolRun
from langchain_asyncfc.timeline.words import arguments, shortened, title, waiting

__all__ = ["chrome_trace"]

_MODEL: Final = 1
_TOOLS: Final = 2
_TEXT: Final = 500
"""Characters of a text that are shown."""


def chrome_trace(record: RunRecord) -> dict[str, Any]:
    """The run as an object for JSON. Times are microseconds, by the wall clock if that is known."""
    trace = _Trace(record)
    other = {"name": record.name}
    if record.began is not None:
        other["began"] = datetime.fromtimestamp(record.began, UTC).isoformat()
    return {"traceEvents": list(trace.events()), "displayTimeUnit": "ms", "otherData": other}


class _Trace:
    """Makes the events of a record."""

    def __init__(self, record: RunRecord) -> None:
        self._record = record
        self._origin = record.began or 0.0
        self._groups = groups_of(record)
        self._where: dict[int, tuple[int, int]] = {}

    def events(self) -> Iterator[dict[str, Any]]:
        """Names of lanes, spans, and arrows."""
        for process, name in ((_MODEL, "model"), (_TOOLS, "tools")):
            yield {"ph": "M", "pid": process, "name": "process_name", "args": {"name": name}}
            order = {"sort_index": process}
            yield {"ph": "M", "pid": process, "name": "process_sort_index", "args": order}
        for group in self._groups:
            process = _MODEL if group.is_model else _TOOLS
            for n in range(group.lanes):
                lane = {"ph": "M", "pid": process, "tid": group.first + n}
                name = group.name if group.lanes == 1 else f"{group.name} {n + 1}"
                yield {**lane, "name": "thread_name", "args": {"name": name}}
                order = {"sort_index": group.first + n}
                yield {**lane, "name": "thread_sort_index", "args": order}
            for lane_number, span in group.spans:
                self._where[id(span)] = process, lane_number
                if isinstance(span, Reply):
                    yield self._reply(span)
                else:
                    yield from self._tool(span)
        yield from self._arrows()

    def _at(self, time: float) -> float:
        return round((self._origin + time) * 1_000_000, 3)

    def _span(self, span: Span, name: str, start: float, end: float, **told: Any) -> dict[str, Any]:
        process, lane = self._where[id(span)]
        duration = round((end - start) * 1_000_000, 3)
        where = {"pid": process, "tid": lane, "ts": self._at(start), "dur": duration}
        return {"ph": "X", "name": name, "args": told, **where}

    def _reply(self, reply: Reply) -> dict[str, Any]:
        told: dict[str, Any] = {"model": reply.model, "text": shortened(reply.text, _TEXT)}
        told |= {"calls": ", ".join(reply.tools), "failed": reply.failed}
        told |= {"input_tokens": reply.input_tokens, "output_tokens": reply.output_tokens}
        if reply.first_token is not None:
            told["seconds_to_first_token"] = reply.first_token - reply.start
        told = {name: value for name, value in told.items() if value not in (None, "")}
        return self._span(reply, title(reply), reply.start, reply.end, **told)

    def _tool(self, tool: ToolRun) -> Iterator[dict[str, Any]]:
        if tool.waits:
            reasons = waiting(tool, _TEXT)
            yield self._span(tool, f"{title(tool)} waits", tool.issued, tool.start, reasons=reasons)
        told = {"arguments": arguments(tool.args, _TEXT), "result": shortened(tool.result, _TEXT)}
        told |= {"state": tool.state, "call": tool.call}
        yield self._span(tool, title(tool), tool.start, tool.end, **told)
        if tool.delivered is not None:
            process, lane = self._where[id(tool)]
            where = {"pid": process, "tid": lane, "ts": self._at(tool.delivered)}
            yield {"ph": "i", "s": "t", "name": f"{title(tool)} delivered", **where}

    def _arrows(self) -> Iterator[dict[str, Any]]:
        links = Links(self._record)
        number = 0
        for tool in self._record.tools:
            for wait, earlier in links.waited_for(tool):
                number += 1
                # Arrows bind to the spans around their ends: one to the last instant before its
                # end, the other to the beginning.
                ends = (
                    ("s", earlier, max(earlier.start, earlier.end - 1e-6)),
                    ("f", tool, tool.start),
                )
                for phase, span, time in ends:
                    process, lane = self._where[id(span)]
                    arrow = {"ph": phase, "id": number, "name": wait.reason, "cat": "waits"}
                    bound = {"bp": "e"} if phase == "f" else {}
                    yield {**arrow, **bound, "pid": process, "tid": lane, "ts": self._at(time)}
