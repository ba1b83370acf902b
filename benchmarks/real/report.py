"""The figures of a model as a page of its own."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from benchmarks.real.cache import Record
from benchmarks.real.compare import Interval, bootstrap, mcnemar, share
from benchmarks.real.costs import Tokens, in_words
from benchmarks.real.suite import SCRIPTED, Suite
from benchmarks.real.ways import STEPS, WAYS
from benchmarks.summary import percentile

Pair = tuple[Record, Record]
"""A task's run in way (a) and in another, with the same draw of times."""

_ACCURACY: Final = (
    "Right is what BFCL's own checker accepts. Runs without a result, since the model's service "
    "failed, are neither right nor wrong. Messages, calls and tokens are of the model, per run; "
    "cached are those of its input that the service had in its cache."
)
_PAIRS: Final = (
    "Against (a), on the same tasks with the same draws of the tools' times: the difference in "
    "accuracy with the limits of a bootstrap and the chance of such a difference between equals "
    "(McNemar's exact test); the speedup of all runs together, of single runs, and of all runs "
    "that are right in both ways."
)


def page(suite: Suite) -> str:
    """The page, as Markdown."""
    records = suite.records()
    lines = [*_head(suite, records), "", *_accuracy(records), "", *_pairs(records)]
    wrong = [record for record in records if not record.valid and not record.failure]
    if wrong:
        lines += ["", *_reasons("Why runs are wrong:", [(r, r.why) for r in wrong])]
    failed = [record for record in records if record.failure]
    if failed:
        title = "Why runs have no result; the next start of the same command makes them again:"
        lines += ["", *_reasons(title, [(r, r.failure) for r in failed])]
    return "\n".join(lines) + "\n"


def _head(suite: Suite, records: Sequence[Record]) -> Iterator[str]:
    plan = suite.plan
    yield f"# {plan.model}"
    yield ""
    if plan.model == SCRIPTED:
        yield "**Not a model**: the ground truth, played on this machine to try the benchmark out."
    if records:
        first, last = (choose(record.at for record in records) for choose in (min, max))
        versions = "; ".join(sorted({record.versions for record in records}))
        yield f"Measured from {first} to {last}, in wall-clock time, on {versions}."
    missing = len(suite.missing())
    number = len(suite.jobs())
    state = "all are finished" if not missing else f"**{missing} have no result**"
    yield f"Of {number} runs {state}."
    if plan.where:
        yield f"The service: {plan.where}."
    if plan.options:
        listed = ", ".join(f"{key}={value!r}" for key, value in sorted(plan.options.items()))
        yield f"The model is asked for: {listed}."
    at_a_time = sorted({record.concurrency for record in records})
    yield (
        f"Tools take lognormal times with a median of {plan.median:g} s. Tasks that run at a time: "
        f"{' or '.join(map(str, at_a_time or [plan.concurrency]))}. "
        f"A model that writes more than {STEPS} messages in a turn is wrong. "
        "What the client computes, and waits for where the service puts a request off, is part of "
        "the time."
    )
    taken = Tokens(sum(r.input for r in records), sum(r.output for r in records))
    yield f"All runs together took {in_words(taken, plan.prices)}."
    if not all(record.told for record in records):
        yield "The service does not tell all its tokens: some are guessed, four characters each."
    yield ""
    yield from (f"- ({way}) {WAYS[way]}" for way in plan.ways)


def _accuracy(records: Sequence[Record]) -> Iterator[str]:
    yield _ACCURACY
    yield ""
    yield (
        "| | way | runs | right | 95% | no result | seconds | messages | calls | tokens in "
        "| cached | tokens out |"
    )
    yield "|---|---|---|---|---|---|---|---|---|---|---|---|"
    for workload, way in sorted({(record.workload, record.way) for record in records}):
        chosen = [r for r in records if (r.workload, r.way) == (workload, way)]
        done = [record for record in chosen if not record.failure]
        if not done:
            yield f"| {workload} | ({way}) | 0 | - | - | {len(chosen)} | - | - | - | - | - | - |"
            continue
        right = sum(record.valid for record in done)
        means = [
            sum(values) / len(done)
            for values in zip(
                *((r.seconds, r.requests, r.calls, r.input, r.cached, r.output) for r in done),
                strict=True,
            )
        ]
        cells = [f"{means[0]:.1f}", *(f"{m:.1f}" for m in means[1:3]), *map(_whole, means[3:])]
        limits = _limits(share(right, len(done)), "{:.1%}")
        yield (
            f"| {workload} | ({way}) | {len(done)} | {right / len(done):.1%} | {limits} "
            f"| {len(chosen) - len(done)} | {' | '.join(cells)} |"
        )


def _whole(value: float) -> str:
    return f"{value:,.0f}"


def _limits(found: Interval, form: str) -> str:
    return f"{form.format(found.low)} to {form.format(found.high)}"


def _pairs(records: Sequence[Record]) -> Iterator[str]:
    yield _PAIRS
    yield ""
    yield (
        "| | way | pairs | accuracy | 95% | only (a) right | only it right | chance | speedup "
        "| 95% | p10 | p50 | p90 | both right | speedup of these |"
    )
    yield "|---|---|---|---|---|---|---|---|---|---|---|---|---|---|---|"
    for workload, way in sorted({(r.workload, r.way) for r in records if r.way != "a"}):
        pairs = _paired(records, workload, way)
        if pairs:
            yield f"| {workload} | ({way}) | {compared(pairs).cells()} |"


def _paired(records: Sequence[Record], workload: str, way: str) -> list[Pair]:
    by_run = {
        (record.task, record.seed, record.way): record
        for record in records
        if record.workload == workload and not record.failure
    }
    return [
        (by_run[task, seed, "a"], record)
        for (task, seed, other), record in by_run.items()
        if other == way and (task, seed, "a") in by_run
    ]


@dataclass(frozen=True, slots=True)
class Compared:
    """A way against (a).

    Attributes:
        pairs: Runs of both.
        difference: Of the shares of right runs.
        around: Its limits.
        lost: Pairs that only (a) got right.
        won: Pairs that only the other got right.
        speedup: Of all together.
        speedup_around: Its limits.
        each: Speedups of the pairs.
        right: Pairs that both got right.
        speedup_right: Of these together.
    """

    pairs: int
    difference: float
    around: Interval
    lost: int
    won: int
    speedup: float
    speedup_around: Interval
    each: Sequence[float]
    right: int
    speedup_right: float | None

    def cells(self) -> str:
        """The cells of the table."""
        spread = " | ".join(f"{percentile(self.each, p):.2f}" for p in (0.1, 0.5, 0.9))
        right = "-" if self.speedup_right is None else f"{self.speedup_right:.2f}"
        return (
            f"{self.pairs} | {self.difference:+.1%} | {_limits(self.around, '{:+.1%}')} "
            f"| {self.lost} | {self.won} | {mcnemar(self.lost, self.won):.2f} "
            f"| {self.speedup:.2f} | {_limits(self.speedup_around, '{:.2f}')} | {spread} "
            f"| {self.right} | {right}"
        )


def compared(pairs: Sequence[Pair]) -> Compared:
    """Compare the runs of some tasks, each in both ways."""
    right = [(one, other) for one, other in pairs if one.valid and other.valid]
    return Compared(
        len(pairs),
        _difference(pairs),
        bootstrap(pairs, _difference),
        sum(one.valid and not other.valid for one, other in pairs),
        sum(other.valid and not one.valid for one, other in pairs),
        _speedup(pairs),
        bootstrap(pairs, _speedup),
        [one.seconds / other.seconds for one, other in pairs],
        len(right),
        _speedup(right) if right else None,
    )


def _difference(pairs: Sequence[Pair]) -> float:
    return sum(other.valid - one.valid for one, other in pairs) / len(pairs)


def _speedup(pairs: Sequence[Pair]) -> float:
    return sum(one.seconds for one, _ in pairs) / sum(other.seconds for _, other in pairs)


def _reasons(title: str, found: Sequence[tuple[Record, str]]) -> Iterator[str]:
    yield title
    yield ""
    yield "| | way | runs | reason |"
    yield "|---|---|---|---|"
    counted = Counter((record.workload, record.way, reason) for record, reason in found)
    for (workload, way, reason), number in sorted(counted.items()):
        yield f"| {workload} | ({way}) | {number} | {reason.replace('|', '/')} |"
