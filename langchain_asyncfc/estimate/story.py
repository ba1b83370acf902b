"""A trace as a story to be told again under other rules: who waited how long, for what.

A step is a reply of the model and the tools that it called. What lies between the end of a step
and the next reply (other nodes of the graph, network, retries) is the next step's lead; it is
kept as it was. The time between an answer and the next reply is the user's, and does not count.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from statistics import fmean
from typing import Any, Final

from langchain_asyncfc.records import CONTROL_TOOLS
from langchain_asyncfc.schemas import AWAIT_RESULT
from langchain_asyncfc.timeline.spans import Reply, RunRecord, ToolRun

__all__ = ["Job", "Step", "Story", "tell"]

TOKENS_PER_SECOND: Final = 60.0
"""Where a trace does not say how fast its model decodes; the pace of the project's benchmarks."""

_LATE: Final = 0.001
"""Seconds that a reply may begin before a tool has ended: clocks of two processes differ."""

_FEWEST: Final = 3
"""Replies that a line is fitted to, to tell the first token's time from that of the others."""


@dataclass(frozen=True, slots=True)
class Job:
    """One tool call.

    Attributes:
        number: Its ordinal in the story, from 1; its future would be `future_<number>`.
        tool: The tool's name.
        args: Its arguments.
        seconds: That the tool took.
        lag: Seconds from the end of the message to the start of the tool, waits not counted.
        result: Its result as text.
        failed: Whether it ended with an error.
        call: The id of the tool call.
    """

    number: int
    tool: str
    args: Mapping[str, Any]
    seconds: float
    lag: float = 0.0
    result: str = ""
    failed: bool = False
    call: str = ""


@dataclass(frozen=True, slots=True)
class Step:
    """One reply of the model, and the calls that it made.

    Attributes:
        decode: Seconds from the call of the model to the end of its message.
        jobs: The calls of which it is known how long they took.
        lead: Seconds between the end of the step before and the call of the model.
        text: Of the message.
        asked: What others than tools told the model right before it.
        answers: Whether it calls no tool and so ends a turn.
    """

    decode: float
    jobs: tuple[Job, ...] = ()
    lead: float = 0.0
    text: str = ""
    asked: str = ""
    answers: bool = False


@dataclass(frozen=True, slots=True)
class Story:
    """A run, step by step.

    Attributes:
        steps: In their order.
        token: Seconds that one more token takes to decode.
        tail: Seconds after the last step.
        name: Of the run.
        notes: What had to be assumed to tell it, in sentences.
    """

    steps: tuple[Step, ...]
    token: float = 1 / TOKENS_PER_SECOND
    tail: float = 0.0
    name: str = ""
    notes: tuple[str, ...] = field(default=())

    @property
    def jobs(self) -> Iterator[Job]:
        """All calls in issue order."""
        return (job for step in self.steps for job in step.jobs)


def tell(record: RunRecord, asked: Mapping[int, str] | None = None) -> Story:
    """Turn the spans of a run into its story.

    Args:
        record: The spans.
        asked: What others than tools told the model before each reply, by the reply's index.
    """
    record, notes = _outermost(record)
    runs = {run.call: run for run in record.tools}
    token, how = _token_time(record.replies)
    notes.append(how)
    steps: list[Step] = []
    made: dict[str, int] = {}
    last, overlaps = 0.0, 0
    lent = ""
    for index, reply in enumerate(record.replies):
        lent += (asked or {}).get(index, "")
        if reply.failed:
            continue  # its time is part of the next step's lead
        own = [runs[call] for call in reply.calls if call in runs and call not in made]
        made.update({run.call: len(made) + k for k, run in enumerate(own, 1)})
        jobs = tuple(_job(run, made[run.call]) for run in own)
        overlaps += last > reply.start + _LATE
        answered = bool(steps) and steps[-1].answers
        lead = 0.0 if answered else max(0.0, reply.start - last)
        decode = max(0.0, reply.end - reply.start)
        steps.append(Step(decode, jobs, lead, reply.text, lent, not reply.calls))
        lent = ""
        last = max([reply.end, *(run.end for run in own)])
    if overlaps:
        notes.append(
            f"{overlaps} replies began while tools of earlier messages still ran: this run "
            "overlapped them already. All figures compare with running the same calls without."
        )
    if steps and not steps[-1].jobs:
        steps[-1] = replace(steps[-1], answers=True)  # a structured answer is a call, too
    return Story(tuple(steps), token, max(0.0, record.end - last), record.name, tuple(notes))


def _outermost(record: RunRecord) -> tuple[RunRecord, list[str]]:
    """The record without what ran inside of tools, and without calls to the runtime."""
    # A record of what runs inside of what may lack these fields.
    replies = tuple(reply for reply in record.replies if not getattr(reply, "within", ""))
    outer = [run for run in record.tools if not getattr(run, "within", "")]
    tools = tuple(run for run in outer if run.tool not in CONTROL_TOOLS)
    notes = []
    if len(tools) < len(outer):
        left = len(outer) - len(tools)
        notes.append(f"{left} calls of await_future or cancel_future were left out.")
    inner = len(record.replies) - len(replies) + len(record.tools) - len(outer)
    if inner:
        notes.append(f"{inner} replies and tools inside of tools are part of those tools.")
    return replace(record, replies=replies, tools=tools), notes


def _job(run: ToolRun, number: int) -> Job:
    args = {name: value for name, value in run.args.items() if name != AWAIT_RESULT}
    free = max([run.issued, *(wait.end for wait in run.waits)])
    return Job(
        number,
        run.tool,
        args,
        max(0.0, run.end - run.start),
        max(0.0, run.start - free),
        run.result,
        run.state == "failed",
        run.call,
    )


def _token_time(replies: Sequence[Reply]) -> tuple[float, str]:
    """Seconds a token, and where the figure comes from."""
    counted = [(r, r.output_tokens) for r in replies if r.output_tokens and not r.failed]
    seen = [(r.end - r.first_token, n) for r, n in counted if r.first_token is not None]
    if sum(seconds for seconds, _ in seen) > 0:
        token = sum(seconds for seconds, _ in seen) / sum(n for _, n in seen)
        return token, f"The model decodes {1 / token:.0f} tokens/s after its first token."
    times = [r.end - r.start for r, _ in counted]
    token = _slope([float(n) for _, n in counted], times)
    if token > 0:
        how = f"The model decodes about {1 / token:.0f} tokens/s, by its times and tokens."
        return token, how
    if sum(times) > 0:
        token = sum(times) / sum(n for _, n in counted)
        return token, f"The model decodes {1 / token:.0f} tokens/s, all waiting for it included."
    return 1 / TOKENS_PER_SECOND, (
        "The trace does not count tokens: extra tokens are taken to be decoded at "
        f"{TOKENS_PER_SECOND:.0f} tokens/s."
    )


def _slope(tokens: Sequence[float], times: Sequence[float]) -> float:
    """Of the line of least squares; 0 where there is none, or one that begins below zero."""
    if len(tokens) < _FEWEST:
        return 0.0
    middle, level = fmean(tokens), fmean(times)
    spread = sum((n - middle) ** 2 for n in tokens)
    if not spread:
        return 0.0
    slope = sum((n - middle) * (t - level) for n, t in zip(tokens, times, strict=True)) / spread
    return slope if level - slope * middle >= 0 else 0.0
