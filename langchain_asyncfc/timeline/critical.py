"""What the length of a run comes from: its critical path."""

from __future__ import annotations

from bisect import bisect_right
from collections import defaultdict

from langchain_asyncfc.timeline.links import Links
from langchain_asyncfc.timeline.spans import Reply, RunRecord, Span, ToolRun

__all__ = ["critical_path"]


def critical_path(record: RunRecord) -> tuple[Span, ...]:
    """The spans that the end of a run waited for, each after the one before it.

    It begins at the outermost span that ended last, and goes back from each span to the one that
    ended last among those without which it could not have begun:

    - a reply: the reply before it, and the calls of whose outcomes it was the first to be told;
    - a tool call: the reply that made it, and the calls that it waited for.

    No two of its spans overlap, so its length is at most that of the run. What lies between them
    is the framework's own time, or waiting that has no span. Making a span shorter that is not
    on the path does not make the run shorter.
    """
    return _Walk(record).path()


class _Walk:
    """The way back through a record."""

    def __init__(self, record: RunRecord) -> None:
        self._links = Links(record)
        self._spans: list[Span] = [
            *(reply for reply in record.replies if not reply.within),
            *(tool for tool in record.tools if not tool.within and tool.end > tool.start),
        ]
        self._told: dict[float, list[ToolRun]] = defaultdict(list)
        for tool in record.tools:
            if tool.delivered is not None and not tool.within and tool.end > tool.start:
                self._told[tool.delivered].append(tool)
        self._replies = sorted(
            (reply for reply in record.replies if not reply.within), key=lambda reply: reply.end
        )
        self._ends = [reply.end for reply in self._replies]

    def path(self) -> tuple[Span, ...]:
        """From the first span to the last."""
        span = max(self._spans, key=lambda span: span.end, default=None)
        found: list[Span] = []
        seen: set[int] = set()
        while span is not None and id(span) not in seen:
            seen.add(id(span))
            found.append(span)
            span = self._before(span)
        return tuple(reversed(found))

    def _before(self, span: Span) -> Span | None:
        candidates: list[Span | None]
        if isinstance(span, ToolRun):
            waited = [earlier for _, earlier in self._links.waited_for(span)]
            candidates = [self._links.maker(span.call), *waited]
        else:
            told = [tool for tool in self._told[span.start] if tool.agent == span.agent]
            candidates = [self._reply_before(span), *told]
        possible = [c for c in candidates if c is not None and c.end <= span.start]
        return max(possible, key=lambda c: c.end, default=None)

    def _reply_before(self, reply: Reply) -> Reply | None:
        """The last reply that had ended of its agent, or of one inside of it; else of any."""
        before = range(bisect_right(self._ends, reply.start) - 1, -1, -1)
        ended = (self._replies[n] for n in before if self._replies[n] is not reply)
        first = next(ended, None)
        if first is None or first.agent.startswith(reply.agent):
            return first
        return next((other for other in ended if other.agent.startswith(reply.agent)), first)
