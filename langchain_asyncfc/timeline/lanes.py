"""Where spans stand in a picture: in as few lanes as fit, the model's above those of the tools."""

from __future__ import annotations

import heapq
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from langchain_asyncfc.timeline.spans import Reply, RunRecord, Span

__all__ = ["Group", "extent", "groups_of"]


@dataclass(frozen=True, slots=True)
class Group:
    """Lanes that belong together.

    Attributes:
        name: What they show: a model, or a tool.
        is_model: Whether they show replies.
        first: The number of the first of them; lanes are numbered from 0, from above.
        lanes: How many there are.
        spans: What stands in them, each with the number of its lane.
    """

    name: str
    is_model: bool
    first: int
    lanes: int
    spans: tuple[tuple[int, Span], ...]


def extent(span: Span) -> tuple[float, float]:
    """The time for which a span takes its lane: a call, until the model was told of it."""
    if isinstance(span, Reply):
        return span.start, span.end
    # Of a call that ran again, when it had asked for something, each run takes its own time only.
    return span.issued if span.waits else span.start, max(span.end, span.delivered or 0.0)


def groups_of(record: RunRecord) -> list[Group]:
    """The lanes of a record: a group for each agent's replies, then one for each tool.

    Groups stand in the order in which their first span began.
    """
    models: dict[str, list[Span]] = {}
    tools: dict[str, list[Span]] = {}
    names = {tool.call: tool.tool for tool in record.tools}
    for reply in record.replies:
        models.setdefault(_model_name(reply, names), []).append(reply)
    for tool in record.tools:
        tools.setdefault(tool.tool, []).append(tool)
    groups: list[Group] = []
    for named, is_model in ((models, True), (tools, False)):
        for name, spans in named.items():
            first = groups[-1].first + groups[-1].lanes if groups else 0
            placed = _packed(spans)
            lanes = 1 + max(lane for lane, _ in placed)
            shifted = tuple((first + lane, span) for lane, span in placed)
            groups.append(Group(name, is_model, first, lanes, shifted))
    return groups


def _model_name(reply: Reply, tools: Mapping[str, str]) -> str:
    """A model lane's name; that of a subagent names the tool, or the node, that runs it."""
    if reply.within:
        return f"{tools.get(reply.within, reply.within)}: model"
    node = reply.agent.rpartition("|")[2].partition(":")[0]
    return f"{node}: model" if node else "model"


def _packed(spans: Sequence[Span]) -> list[tuple[int, Span]]:
    """Put each span into the first lane that is free when it begins."""
    free: list[int] = []
    busy: list[tuple[float, int]] = []
    lanes = 0
    placed = []
    for span in _in_order(spans):
        start, end = extent(span)
        while busy and busy[0][0] <= start:
            heapq.heappush(free, heapq.heappop(busy)[1])
        if free:
            lane = heapq.heappop(free)
        else:
            lane, lanes = lanes, lanes + 1
        heapq.heappush(busy, (end, lane))
        placed.append((lane, span))
    return placed


def _in_order(spans: Iterable[Span]) -> list[Span]:
    return sorted(spans, key=extent)
