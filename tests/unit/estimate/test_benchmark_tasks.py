"""Estimates of tasks of the function-calling benchmark, beside what was measured of them."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from pathlib import Path

import pytest

from benchmarks.ideal import one_by_one
from benchmarks.pace import ANSWER_TOKENS, TOKENS_PER_SECOND, TTFT, Pace, decode, pace
from benchmarks.workloads import bfcl
from benchmarks.workloads.tasks import Task, replay
from langchain_asyncfc.estimate.dataflow import careful, hopeful
from langchain_asyncfc.estimate.simulation import with_asyncfc
from langchain_asyncfc.estimate.story import tell
from langchain_asyncfc.timeline.spans import Reply, RunRecord, ToolRun

pytest.importorskip("bfcl_eval")
pytest.importorskip("mpmath")

ROOT = Path(__file__).resolve().parents[3]


def recorded(task: Task, times: Pace) -> RunRecord:
    """The task with one call a message and the model waiting for each: the benchmark's (a)."""
    results, _ = replay(task)
    replies: list[Reply] = []
    tools: list[ToolRun] = []
    now = 0.0

    def say(tokens: int, calls: tuple[str, ...]) -> None:
        nonlocal now
        end = now + decode(tokens)
        replies.append(Reply(now, end, calls=calls, first_token=now + TTFT, output_tokens=tokens))
        now = end

    for turn in one_by_one(task):
        for [k] in turn:
            say(times.tokens[k], (f"call_{k}",))
            call, end = task.calls[k], now + times.seconds[k]
            text = results[k] if isinstance(results[k], str) else json.dumps(results[k])
            tools.append(ToolRun(f"call_{k}", call.tool, now, now, end, call.args, result=text))
            now = end
        say(ANSWER_TOKENS, ())
    assert TOKENS_PER_SECOND == 60
    return RunRecord(tuple(replies), tuple(tools), now, task.name)


def measured(workload: str, median: str) -> tuple[float, float]:
    """The speedups of (c) and (d) in the table of the benchmarks."""
    text = (ROOT / "docs" / "benchmarks.md").read_text()
    row = re.search(rf"^\| {workload} \| {median} \|([^\n]*)$", text, re.MULTILINE)
    assert row is not None
    cells = [float(cell) for cell in row[1].strip(" |").split("|")]
    return cells[1], cells[2]


def speedups(tasks: Sequence[Task], median: float) -> dict[bool, tuple[float, float]]:
    """Careful and hopeful speedups of all tasks together, without labels and with them."""
    before = 0.0
    after = {False: [0.0, 0.0], True: [0.0, 0.0]}
    for task in tasks:
        labels = {spec.name: spec.effects for spec in task.tools}
        record = recorded(task, pace(task, median, 0))
        story = tell(record)
        before += record.end
        for labelled, total in after.items():
            effects = labels if labelled else {}
            total[0] += with_asyncfc(story, careful(story), effects).end
            total[1] += with_asyncfc(story, hopeful(story), effects).end
    return {way: (before / total[0], before / total[1]) for way, total in after.items()}


@pytest.mark.parametrize(("workload", "merged"), [("W1", False), ("W2", True)])
@pytest.mark.parametrize("median", [1.0, 3.0])
def test_the_hopeful_reading_is_near_what_was_measured(
    workload: str, merged: bool, median: float
) -> None:
    """From the runs of (a) alone, the speedups of (c) and (d), to 1.5%; the careful one below."""
    told = speedups(bfcl.multi_turn(merged=merged), median)
    for (low, high), truth in zip(told.values(), measured(workload, f"{median:g} s"), strict=True):
        assert 1 <= low <= high
        assert high == pytest.approx(truth, rel=0.015)
