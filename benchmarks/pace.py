"""How long things take in the end-to-end benchmark: decoding, and each call's tool."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass

from benchmarks.workloads.tasks import Task

TTFT = 0.4
"""Seconds to the first token."""
TOKENS_PER_SECOND = 60.0
ANSWER_TOKENS = 60
SIGMA = 0.6
"""Of the lognormal distribution of tool times."""


def decode(tokens: int) -> float:
    """Seconds for one message."""
    return TTFT + tokens / TOKENS_PER_SECOND


@dataclass(frozen=True, slots=True)
class Pace:
    """The times of one run; the same for each way of running the task.

    Attributes:
        tokens: Of each call.
        seconds: That each call's tool takes.
        moments: When in that time the call takes effect, as a share of it.
    """

    tokens: Sequence[int]
    seconds: Sequence[float]
    moments: Sequence[float]


def pace(task: Task, median: float, seed: int) -> Pace:
    """Draw the times of a run.

    Args:
        task: The task.
        median: Of the tools' times, in seconds. The draws scale with it.
        seed: Number of the draw.
    """
    rng = random.Random(f"times of {task.name}, {seed}")
    seconds = [median * rng.lognormvariate(0.0, SIGMA) for _ in task.calls]
    return Pace(task.tokens(), seconds, [rng.random() for _ in task.calls])
