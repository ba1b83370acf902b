"""What a run's spans come to: its time, what a synchronous run would have taken, and why.

The comparison is with `ToolNode`: the calls of a message run beside each other, and the model is
called again when all of them have ended. A synchronous run is taken to have

- the same replies, each as long as it was, but for the extra ones: those that only awaited or
  cancelled futures, and those that ended a turn too early, while outcomes were to come;
- the same tool calls, each as long as it was, all calls of a message starting at once. Messages
  none of whose calls became futures were run by `ToolNode` itself, and take what they took;
- the same time in which neither the model nor a tool worked.

`ToolNode` has a pool of threads for tools that are not async, of as many as the machine has cores
and four more, at most 32. Of more such calls in a message some would have waited for a thread,
which a record cannot tell: that synchronous run would have taken longer than is said here.

So the time of a synchronous run and that of the run itself differ by four parts, exactly:

    synchronous = wall + saved_by_overlap + saved_by_parallel
                       - spent_on_order - spent_on_extra_turns

What a tool runs itself, as a subagent, is a part of that tool's time. Agents that run beside each
other would have done so in a synchronous run too: of those, the one counts whose synchronous run
would have ended last.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Final

from langchain_asyncfc.timeline.critical import critical_path
from langchain_asyncfc.timeline.spans import Reply, RunRecord, Span, ToolRun

__all__ = ["Figures", "extra_replies", "figures_of"]

AWAITING: Final = frozenset({"await_future", "cancel_future"})
"""The tools of the runtime itself: a reply that calls nothing else is an extra one."""

_LEAST: Final = 0.0005
"""Seconds below which a part is not worth a word: it would be told as 0 ms."""

Interval = tuple[float, float]


@dataclass(frozen=True, slots=True)
class Figures:
    """A run in numbers. Times are in seconds.

    Attributes:
        wall: How long the run took.
        decoding: The time in which the model decoded.
        running: The time in which at least one tool ran.
        both: The time in which both happened.
        idle: The time in which neither happened: the framework's own, waiting for people, and
            what has no span.
        synchronous: What the run would have taken synchronously, if threads were never short.
        saved_by_overlap: As tools ran while the model decoded.
        saved_by_parallel: As tools of different messages ran beside each other.
        spent_on_order: As calls of one message did not all run at once, but waited for other calls
            or for a place among `max_concurrency`; `ToolNode` would have run them at once.
        spent_on_extra_turns: On replies that a synchronous run does not have.
        one_at_a_time: What a synchronous run would have taken whose tool calls of a message run
            one after the other.
        critical: The length of the critical path.
        path: Its spans, in their order; see `critical_path`.
        replies: How often the model was called.
        extra_replies: How many of these a synchronous run does not have.
        calls: How many tool calls ran.
        waited: How many of them waited before they started.
    """

    wall: float
    decoding: float
    running: float
    both: float
    idle: float
    synchronous: float
    saved_by_overlap: float
    saved_by_parallel: float
    spent_on_order: float
    spent_on_extra_turns: float
    one_at_a_time: float
    critical: float
    path: tuple[Span, ...]
    replies: int
    extra_replies: int
    calls: int
    waited: int

    @property
    def saved(self) -> float:
        """What the run took less than a synchronous one; negative if it took more."""
        return self.synchronous - self.wall

    @property
    def speedup(self) -> float:
        """How many times as long a synchronous run would have taken; 1 if nothing took time."""
        return self.synchronous / self.wall if self.wall > 0 else 1.0

    def share(self, seconds: float) -> float:
        """A time as a share of the wall time, from 0 to 1."""
        return seconds / self.wall if self.wall > 0 else 0.0

    def parts(self) -> str:
        """What makes the difference to a synchronous run, in a line; empty if there is none."""
        told = [
            f"{_s(seconds)} {what}"
            for seconds, what in (
                (self.saved_by_overlap, "saved by overlap with decoding"),
                (self.saved_by_parallel, "saved by parallel tools"),
                (self.spent_on_order, "spent on order inside of messages"),
                (self.spent_on_extra_turns, "spent on extra turns"),
            )
            if seconds >= max(_LEAST, 0.001 * self.wall)
        ]
        return ", ".join(told)

    def headline(self) -> str:
        """The run in a line."""
        if not self.wall:
            return "Nothing that took time was recorded"
        if not self.parts():
            turns = ", synchronous: nothing overlapped" if self.calls else ""
            return f"{_s(self.wall)}{turns}"
        text = f"{_s(self.wall)}; a synchronous run would have taken {_s(self.synchronous)}"
        if abs(self.saved) >= 0.005 * self.wall:
            text += f" ({self.speedup:.2f}x)"
        return text

    def __str__(self) -> str:
        """All of it, a line each."""
        lines = [
            ("wall time", self.wall, self._counts()),
            ("model decoding", self.decoding, self._percent(self.decoding)),
            ("tools running", self.running, self._percent(self.running)),
            ("both at once", self.both, self._percent(self.both)),
            ("neither", self.idle, self._percent(self.idle)),
            ("synchronous run", self.synchronous, self._compared()),
            ("  saved by overlap with decoding", self.saved_by_overlap, ""),
            ("  saved by parallel tools", self.saved_by_parallel, "of different messages"),
            ("  spent on order", self.spent_on_order, "inside of messages"),
            ("  spent on extra turns", self.spent_on_extra_turns, self._extra()),
            ("one tool at a time", self.one_at_a_time, ""),
            ("critical path", self.critical, f"{len(self.path)} spans"),
        ]
        return "\n".join(
            f"{name:<34}{seconds:>9.2f} s  {note}".rstrip() for name, seconds, note in lines
        )

    def _compared(self) -> str:
        if not self.parts():
            return "this run was one: nothing overlapped"
        return f"{self.speedup:.2f} times as long"

    def _extra(self) -> str:
        return _many(self.extra_replies, "reply", "replies") if self.extra_replies else ""

    def _percent(self, seconds: float) -> str:
        return f"{self.share(seconds):.0%}"

    def _counts(self) -> str:
        return (
            f"{_many(self.replies, 'reply', 'replies')}, "
            f"{_many(self.calls, 'tool call', 'tool calls')}, {self.waited} of them waited"
        )


def _many(number: int, one: str, more: str) -> str:
    return f"{number} {one if number == 1 else more}"


def _s(seconds: float) -> str:
    return f"{seconds:.1f} s" if seconds >= 1 else f"{seconds * 1000:.0f} ms"


@dataclass(frozen=True, slots=True)
class _Parts:
    """By what an agent's time differs from that of its synchronous run."""

    overlap: float = 0.0
    parallel: float = 0.0
    order: float = 0.0
    extra: float = 0.0
    within_messages: float = 0.0

    @property
    def saved(self) -> float:
        """What the run took less than a synchronous one."""
        return self.overlap + self.parallel - self.order - self.extra

    def __add__(self, other: _Parts) -> _Parts:
        return _Parts(*(getattr(self, f.name) + getattr(other, f.name) for f in fields(self)))


def figures_of(record: RunRecord) -> Figures:
    """Work out the figures of a run."""
    outer_replies = [reply for reply in record.replies if not reply.within]
    outer_tools = [tool for tool in record.tools if not tool.within]
    extra = extra_replies(record)
    parts = _parts(outer_replies, outer_tools, record)
    decoding = _union((reply.start, reply.end) for reply in outer_replies)
    running = _union((tool.start, tool.end) for tool in outer_tools)
    worked = _length(_union([*decoding, *running]))
    synchronous = record.end + parts.saved
    path = critical_path(record)
    return Figures(
        wall=record.end,
        decoding=_length(decoding),
        running=_length(running),
        both=_length(decoding) + _length(running) - worked,
        idle=record.end - worked,
        synchronous=synchronous,
        saved_by_overlap=parts.overlap,
        saved_by_parallel=parts.parallel,
        spent_on_order=parts.order,
        spent_on_extra_turns=parts.extra,
        one_at_a_time=synchronous + parts.within_messages,
        critical=sum(span.end - span.start for span in path),
        path=path,
        replies=len(record.replies),
        extra_replies=len(extra),
        calls=len(record.tools),
        waited=sum(bool(tool.waits) for tool in record.tools),
    )


def extra_replies(record: RunRecord) -> set[int]:
    """The positions of the replies that a synchronous run does not have.

    Those that called nothing but `await_future` and `cancel_future`; and those that ended a turn
    too early: they call nothing, and the model's next call in the same run was told of a call that
    an older reply had made.
    """
    makers = {call: n for n, reply in enumerate(record.replies) for call in reply.calls}
    oldest_told: dict[float, int] = {}
    for tool in record.tools:
        maker = makers.get(tool.call)
        if maker is not None and tool.delivered is not None:
            oldest_told[tool.delivered] = min(maker, oldest_told.get(tool.delivered, maker))
    found = set()
    following: dict[tuple[str, int, str], Reply] = {}
    for n in range(len(record.replies) - 1, -1, -1):
        reply = record.replies[n]
        loop = (reply.agent, reply.run, reply.within)
        after = following.get(loop)
        following[loop] = reply
        if reply.tools:
            if AWAITING.issuperset(reply.tools):
                found.add(n)
        elif after is not None and not reply.failed and oldest_told.get(after.start, n) < n:
            found.add(n)
    return found


# -- agents ----------------------------------------------------------------------------------------


@dataclass(slots=True)
class _Agent:
    """What one agent did, with those that ran inside of its graph."""

    replies: list[Reply]
    extra: list[Reply]
    tools: list[ToolRun]
    inner: list[_Agent]

    def parts(self, batches: Mapping[str, int]) -> _Parts:
        """The parts of its own, and those of the agents inside of it."""
        own = _own_parts(self.replies, self.extra, self.tools, batches)
        return sum((_weightiest(group, batches) for group in _beside(self.inner)), own)

    @property
    def span(self) -> Interval:
        spans: list[Span] = [*self.replies, *self.tools]
        times = [(span.start, span.end) for span in spans]
        times += [inner.span for inner in self.inner]
        return min(start for start, _ in times), max(end for _, end in times)


def _parts(replies: Sequence[Reply], tools: Sequence[ToolRun], record: RunRecord) -> _Parts:
    """The parts of all agents together."""
    extra = extra_replies(record)
    extras = {id(reply) for n, reply in enumerate(record.replies) if n in extra}
    batches = {call: n for n, reply in enumerate(record.replies) for call in reply.calls}
    makers = {call: reply.run for reply in record.replies for call in reply.calls}
    chains = _chains(replies)
    agents: dict[tuple[int, str], _Agent] = {}
    spans: list[Span] = [*replies, *tools]
    for span in spans:
        run = makers.get(span.call, span.run) if isinstance(span, ToolRun) else span.run
        key = (chains.get(run, 0), span.agent)
        agent = agents.setdefault(key, _Agent([], [], [], []))
        if isinstance(span, ToolRun):
            agent.tools.append(span)
        else:
            agent.replies.append(span)
            if id(span) in extras:
                agent.extra.append(span)
    outermost = _nested(agents)
    return sum((_weightiest(group, batches) for group in _beside(outermost)), _Parts())


def _chains(replies: Iterable[Reply]) -> dict[int, int]:
    """Runs by which of them came one after another, as the turns of a talk do."""
    spans: dict[int, Interval] = {}
    for reply in replies:
        start, end = spans.get(reply.run, (reply.start, reply.end))
        spans[reply.run] = (min(start, reply.start), max(end, reply.end))
    ends: list[float] = []
    chains: dict[int, int] = {}
    for run, (start, end) in sorted(spans.items(), key=lambda item: item[1]):
        free = next((n for n, last in enumerate(ends) if last <= start), len(ends))
        ends[free : free + 1] = [end]
        chains[run] = free
    return chains


def _nested(agents: Mapping[tuple[int, str], _Agent]) -> list[_Agent]:
    """Put agents into those in whose graph they ran; the outermost ones are left."""
    outermost: list[_Agent] = []
    for (chain, name), agent in agents.items():
        above, found = name, None
        while above and found is None:
            above = above.rpartition("|")[0]
            found = agents.get((chain, above))
        (outermost if found is None else found.inner).append(agent)
    return outermost


def _beside(agents: Sequence[_Agent]) -> list[list[_Agent]]:
    """Groups of agents that ran at the same time."""
    groups: list[list[_Agent]] = []
    last = float("-inf")
    for agent in sorted(agents, key=lambda agent: agent.span):
        start, end = agent.span
        if start >= last:
            groups.append([])
        groups[-1].append(agent)
        last = max(last, end)
    return groups


def _weightiest(group: Sequence[_Agent], batches: Mapping[str, int]) -> _Parts:
    """The parts of the agent whose synchronous run would have ended last."""
    parts = [(agent.span[1] + (own := agent.parts(batches)).saved, own) for agent in group]
    return max(parts, key=lambda item: item[0])[1]


def _own_parts(
    replies: Sequence[Reply],
    extra: Sequence[Reply],
    tools: Sequence[ToolRun],
    batches: Mapping[str, int],
) -> _Parts:
    decoding = _union((reply.start, reply.end) for reply in replies)
    extras = {id(reply) for reply in extra}
    kept = _union((reply.start, reply.end) for reply in replies if id(reply) not in extras)
    messages: dict[object, list[ToolRun]] = defaultdict(list)
    for tool in tools:
        messages[batches.get(tool.call, ("issued", tool.issued))].append(tool)
    running = _length(_union((tool.start, tool.end) for tool in tools))
    each = longest = total = 0.0
    for calls in messages.values():
        spent: dict[str, float] = defaultdict(float)
        for tool in calls:
            spent[tool.call] += tool.end - tool.start
        took = _length(_union((tool.start, tool.end) for tool in calls))
        each += took
        longest += max(spent.values()) if any(tool.future for tool in calls) else took
        total += sum(spent.values())
    worked = _length(_union([*decoding, *((tool.start, tool.end) for tool in tools)]))
    return _Parts(
        overlap=_length(decoding) + running - worked,
        parallel=each - running,
        order=each - longest,
        extra=_length(decoding) - _length(kept),
        within_messages=total - longest,
    )


# -- intervals -------------------------------------------------------------------------------------


def _union(intervals: Iterable[Interval]) -> list[Interval]:
    """What is covered by at least one of some intervals, as intervals apart from each other."""
    merged: list[Interval] = []
    for start, end in sorted(intervals):
        if merged and start <= merged[-1][1]:
            merged[-1] = (merged[-1][0], max(merged[-1][1], end))
        else:
            merged.append((start, end))
    return merged


def _length(intervals: Iterable[Interval]) -> float:
    return sum(end - start for start, end in intervals)
