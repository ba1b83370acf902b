"""From traces to what they would take with AsyncFC."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from langchain_asyncfc.effects import Effects
from langchain_asyncfc.estimate.advice import Advice, advise, pure
from langchain_asyncfc.estimate.dataflow import readings
from langchain_asyncfc.estimate.simulation import Needs, as_it_was, with_asyncfc
from langchain_asyncfc.estimate.story import Story, tell
from langchain_asyncfc.estimate.traces import Trace
from langchain_asyncfc.timeline.spans import RunRecord

__all__ = ["ASSUMPTIONS", "Estimate", "Range", "RunEstimate", "estimate"]

ASSUMPTIONS: Final = (
    (
        "The model makes the same calls in the same messages, decoded in the same time, and a "
        "tool takes as long as it did whatever runs beside it."
    ),
    (
        "Careful: the model waits for every result of which anything shows up in its next "
        "messages. Hopeful: it passes values on by reference, and waits only where it quotes "
        "from a longer text. Both wait for errors, and for all results before an answer."
    ),
    (
        "A model that decides what to do next by a result of which it writes nothing has to "
        "wait for it too; with such decisions the time lies between careful and as it was."
    ),
    (
        "At most with labels: every tool without labels is taken to read and write nothing. "
        "What your tools really share costs some of it."
    ),
    (
        "Each wait that the model asks for costs 5 tokens (await_result), or 20 where it asks "
        "later (await_future). The time between an answer and the user's next message does "
        "not count."
    ),
)
"""What the figures rest on, in sentences."""


@dataclass(frozen=True, slots=True)
class Range:
    """Two times between which one lies, in seconds."""

    careful: float
    hopeful: float

    def __add__(self, other: Range) -> Range:
        return Range(self.careful + other.careful, self.hopeful + other.hopeful)


@dataclass(frozen=True, slots=True)
class RunEstimate:
    """What one run would take.

    Attributes:
        name: Of the run.
        before: What it took, in seconds.
        unlabelled: With AsyncFC, no tool labelled.
        labelled: With the labels that were given; `None` if there were none.
        most: With every tool that has none labelled as reading and writing nothing.
        replies: Calls of the model.
        calls: Calls of tools.
        told: The run as it was, as spans.
        best: The run with AsyncFC and what labels there are, read hopefully, as spans.
        notes: What was left out or assumed.
    """

    name: str
    before: float
    unlabelled: Range
    labelled: Range | None
    most: Range
    replies: int
    calls: int
    told: RunRecord
    best: RunRecord
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Estimate:
    """What the runs of a file would take.

    Attributes:
        runs: Each of them.
        advice: Tools without labels, those to label first in front.
    """

    runs: tuple[RunEstimate, ...]
    advice: tuple[Advice, ...]

    @property
    def before(self) -> float:
        """What all runs took, one after another, in seconds."""
        return sum(run.before for run in self.runs)

    @property
    def unlabelled(self) -> Range:
        """All runs with AsyncFC, no tool labelled."""
        return sum((run.unlabelled for run in self.runs), Range(0.0, 0.0))

    @property
    def labelled(self) -> Range | None:
        """All runs with the labels that were given; `None` if there were none."""
        found = [run.labelled for run in self.runs if run.labelled is not None]
        return sum(found, Range(0.0, 0.0)) if found else None

    @property
    def most(self) -> Range:
        """All runs with the most that labels could give."""
        return sum((run.most for run in self.runs), Range(0.0, 0.0))


@dataclass(frozen=True, slots=True)
class _Read:
    """A story and both readings of what the model needed."""

    story: Story
    careful: Needs
    hopeful: Needs

    def range(self, effects: Mapping[str, Effects]) -> Range:
        return Range(
            with_asyncfc(self.story, self.careful, effects).end,
            with_asyncfc(self.story, self.hopeful, effects).end,
        )


def estimate(traces: Sequence[Trace], effects: Mapping[str, Effects] | None = None) -> Estimate:
    """Say what runs would take with AsyncFC.

    Args:
        traces: What was measured; from `read_file`.
        effects: What tools read and write, by name.
    """
    given = dict(effects or {})
    reads = []
    for trace in traces:
        story = tell(trace.record, trace.asked)
        reads.append(_Read(story, *readings(story)))

    def seconds(labels: Mapping[str, Effects]) -> float:
        return sum(with_asyncfc(read.story, read.hopeful, labels).end for read in reads)

    runs = tuple(
        _run(trace, read, given, labelled=effects is not None)
        for trace, read in zip(traces, reads, strict=True)
    )
    return Estimate(runs, tuple(advise([read.story for read in reads], given, seconds)))


def _run(
    trace: Trace, read: _Read, effects: Mapping[str, Effects], *, labelled: bool
) -> RunEstimate:
    story = read.story
    unknown = {job.tool for job in story.jobs} - {n for n, e in effects.items() if e.declared}
    everything = {**effects, **{tool: pure(effects.get(tool)) for tool in unknown}}
    told = as_it_was(story)
    return RunEstimate(
        story.name,
        told.end,
        read.range({}),
        read.range(effects) if labelled else None,
        read.range(everything),
        len(story.steps),
        sum(1 for _ in story.jobs),
        told,
        with_asyncfc(story, read.hopeful, effects if labelled else everything),
        (*trace.notes, *story.notes),
    )
