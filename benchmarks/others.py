"""The same tasks with the same draws of times in other ways, in one run, in virtual time.

Each way has a scripted model that is as competent as that of "End to end", decodes as fast, and
takes the same tokens for a call. Each is given its best honest case:

- (a), (b), (d), (e): as in "End to end": `ToolNode`, one call a turn; `ToolNode`, calls that do
  not depend on each other in one message; `AsyncFCToolNode` with labels, one call a turn, and with
  the messages of (b).
- (f) `AsyncFCToolNode` with labels, all calls of a user's turn in one message, with references
  among them: what a plan is, written as function calls. It ends only before a call that cannot be
  written without reading a result. Calls start when the message is complete.
- (g) as (f), with eager start: calls that only read, refer to nothing and wait for nothing start
  while the rest of their message is decoded.
- LLMCompiler (Kim et al., arXiv 2312.04511) as a LangGraph graph: a planner writes all calls of a
  turn with `$1` where a value comes from another call, each starts while the rest is decoded, and
  a joiner answers or asks for a new plan where a result had to be read. 3 tokens a line, 8 for
  `join()`, 4 for the joiner's `Finish`, 15 for its `Replan`. A plan knows nothing of what tools
  read and write: as published, only values order calls. In the ordered variant the planner also
  writes, without error, after which others a call must run (4 tokens each).
- Background tasks: `ToolNode` with each tool a second time as `start_<tool>`, which answers with
  a task's id, and `check_task`, which the model calls until a task has finished, or `wait_task`,
  which blocks (20 tokens, like `await_future`). Whatever must wait for a task, the model makes
  only after it has read that it finished: it keeps the order itself.
- Pydantic AI with `BackgroundTools` of pydantic-ai-harness, its own tools in the background: the
  model says `run_in_background` (5 tokens) where it has something else to do, results come by
  themselves with its next request, and it waits by ending its response (10 tokens).

A run is wrong if any result, as the tool gave it or as the model read it, or the final state
differs from running the calls one by one. `ToolNode` and ours would end the benchmark by that; the
others are counted. Wrong runs are in the speedups too.

A streamed plan has two advantages that no label gives: one first token a turn instead of one a
call, which (f) and (g) have too, and calls that start while the rest is still decoded, which (g)
has for calls that only read and refer to nothing. Its price is that everything must be
known beforehand: a planner that never errs is assumed here, in the ordered variant even about
which calls touch the same things.
"""

from __future__ import annotations

import multiprocessing
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from statistics import fmean, median

from benchmarks.measuring import WORKLOADS
from benchmarks.opponents.playing import FULL, QUICK, Match, Plan, measure

NAMES: Mapping[str, str] = {
    "b": "(b) ToolNode, shared messages",
    "d": "(d) ours, one call a turn",
    "e": "(e) ours, shared messages",
    "f": "(f) ours, a turn in one message",
    "g": "(g) ours, a turn in one message, eager",
    "published": "LLMCompiler, as published",
    "ordered": "LLMCompiler, ordered",
    "poll": "background tasks, polled",
    "wait": "background tasks, waited for",
    "harness": "Pydantic AI, BackgroundTools",
}

_COSTS_AT = 1.0
"""The tools' median, in seconds, at which model calls and tokens are compared."""


def report(*, quick: bool) -> list[str]:
    """The tables, as Markdown lines.

    Raises:
        WrongResult: When a run of `ToolNode` or of ours differs from running the calls one by one.
    """
    plan = QUICK if quick else FULL
    for workload in WORKLOADS.values():
        workload.tasks()  # before the processes fork, so that they need not load them again
    measured: dict[str, list[Match]] = {}
    with multiprocessing.Pool() as pool:
        for key in WORKLOADS:
            start = time.monotonic()
            measured[key] = measure(key, pool, plan)
            print(f"{key}: {time.monotonic() - start:.0f} s", file=sys.stderr)
    return tables(measured, plan)


def tables(measured: Mapping[str, Sequence[Match]], plan: Plan) -> list[str]:
    """The tables of what was measured."""
    return [
        *_speeds(measured, plan),
        "",
        *_wrong(measured),
        "",
        *_costs(measured),
    ]


def _speeds(measured: Mapping[str, Sequence[Match]], plan: Plan) -> Iterator[str]:
    yield (
        "Speedup over (a) with the same draws of times, all tasks together, and the median of all "
        f"rows. Draws for each task and median: {plan.seeds}; of LLMCompiler as published "
        f"{plan.races}, since its runs differ by chance:"
    )
    yield ""
    yield f"| | tasks | tool median | {' | '.join(NAMES.values())} |"
    yield f"|---|---|---|{'---|' * len(NAMES)}"
    columns: dict[str, list[float]] = {way: [] for way in NAMES}
    for key, matches in measured.items():
        tasks = len({match.task for match in matches})
        for seconds in plan.medians:
            figures = [speed(matches, way, seconds) for way in NAMES]
            for way, figure in zip(NAMES, figures, strict=True):
                columns[way].append(figure)
            yield f"| {key} | {tasks} | {seconds:g} s | {_row(f'{f:.3f}' for f in figures)} |"
    yield f"| median | | | {_row(f'{median(column):.3f}' for column in columns.values())} |"


def speed(matches: Sequence[Match], way: str, seconds: float) -> float:
    """A way's times against those of (a), all tasks together."""
    of_way = [match for match in matches if match.way == way and match.median == seconds]
    return sum(m.toolnode for m in of_way) / sum(m.outcome.seconds for m in of_way)


def _wrong(measured: Mapping[str, Sequence[Match]]) -> Iterator[str]:
    yield "Runs with a wrong result or final state, over all medians:"
    yield ""
    yield f"| | {' | '.join(NAMES.values())} |"
    yield f"|---|{'---|' * len(NAMES)}"
    every = [match for matches in measured.values() for match in matches]
    for key, matches in {**measured, "all": every}.items():
        yield f"| {key} | {_row(_share(matches, way) for way in NAMES)} |"


def wrong_share(matches: Sequence[Match], way: str) -> float:
    """The share of a way's runs that were wrong."""
    return fmean(match.outcome.wrong is not None for match in matches if match.way == way)


def _share(matches: Sequence[Match], way: str) -> str:
    runs = sum(match.way == way for match in matches)
    share = wrong_share(matches, way)
    return f"**{share:.1%}** of {runs:,}" if share else f"0 of {runs:,}"


def _costs(measured: Mapping[str, Sequence[Match]]) -> Iterator[str]:
    yield (
        f"What a task costs beyond (a), with tools of {_COSTS_AT:g} s: calls of the model / tokens "
        "decoded / tokens of its requests that a prompt cache could not reuse (four characters a "
        "token):"
    )
    yield ""
    yield f"| | (a) | {' | '.join(NAMES.values())} |"
    yield f"|---|---|{'---|' * len(NAMES)}"
    for key, matches in measured.items():
        plain = costs(matches, "a")
        more = [
            [new - old for new, old in zip(costs(matches, way), plain, strict=True)]
            for way in NAMES
        ]
        cells = (f"{calls:+.1f} / {out:+.0f} / {fresh:+.0f}" for calls, out, fresh in more)
        yield f"| {key} | {plain[0]:.1f} / {plain[1]:.0f} / {plain[2]:.0f} | {_row(cells)} |"


def costs(matches: Sequence[Match], way: str) -> tuple[float, float, float]:
    """Calls of the model, tokens decoded and tokens that were not cached: of a run, on average."""
    outcomes = [m.outcome for m in matches if m.way == way and m.median == _COSTS_AT]
    return (
        fmean(outcome.turns for outcome in outcomes),
        fmean(outcome.output for outcome in outcomes),
        fmean(outcome.uncached for outcome in outcomes),
    )


def _row(cells: Iterator[str]) -> str:
    return " | ".join(cells)
