"""Runs of the benchmark in which calls start early."""

from __future__ import annotations

import pytest

from benchmarks.episodes import Episodes
from benchmarks.opponents.playing import whole_turns
from benchmarks.pace import TOKENS_PER_SECOND, TTFT, pace
from benchmarks.stage import Outcome
from benchmarks.workloads.tasks import Task
from langchain_asyncfc.testing import run_virtual
from tests.unit.benchmark_tasks import add, cell_task, even_pace, look_up


def _play(task: Task, times: object, *, eager: bool) -> Outcome:
    async def main() -> Outcome:
        return await Episodes(task, "labelled", whole_turns(task), eager=eager).run(times)  # type: ignore[arg-type]

    return run_virtual(main())


def test_the_first_call_starts_when_it_is_decoded() -> None:
    """Of two calls that only read, the first overlaps with the decoding of the other."""
    task = cell_task([look_up(3), look_up(4)])
    times = even_pace(5.0, 1.0)
    late, eager = _play(task, times, eager=False), _play(task, times, eager=True)
    assert eager.seconds == pytest.approx(
        late.seconds - times.tokens[1] / TOKENS_PER_SECOND, abs=0.1
    )
    assert eager.seconds > TTFT + 5.0
    assert (eager.turns, eager.output, eager.uncached) == (late.turns, late.output, late.uncached)


def test_what_writes_is_as_late_as_before() -> None:
    """Both ways take the same time where nothing may start early."""
    task = cell_task([add(1), add(2), add(3)])
    times = pace(task, 1.0, 0)
    late, eager = _play(task, times, eager=False), _play(task, times, eager=True)
    assert eager.seconds == pytest.approx(late.seconds, abs=1e-9)
    assert eager.output == late.output
