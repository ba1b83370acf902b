"""One run of a task with a real model: what it took, and BFCL's verdict."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass

from langchain_core.language_models import BaseChatModel
from langchain_core.messages import AnyMessage, HumanMessage
from langchain_core.runnables import RunnableConfig
from langgraph.errors import GraphRecursionError

from benchmarks.real.checker import Acted, Verdict, verdict
from benchmarks.real.questions import Question
from benchmarks.real.stage import Stage
from benchmarks.real.ways import Meter, TooManyStepsError, Way, build, setup

_CONFIG: RunnableConfig = {"recursion_limit": 1_000}


@dataclass(frozen=True, slots=True)
class Job:
    """One run that is to be made.

    Attributes:
        question: The task.
        way: How its calls are answered.
        seed: Number of the draw of the tools' times.
    """

    question: Question
    way: Way
    seed: int


@dataclass(frozen=True, slots=True)
class Episode:
    """What a run took.

    Attributes:
        seconds: From the user's first word to the model's last, in all turns together.
        verdict: BFCL's.
        acted: The calls in the order in which they took effect.
    """

    seconds: float
    verdict: Verdict
    acted: Sequence[Acted]


async def play(model: BaseChatModel, job: Job, median: float, meter: Meter) -> Episode:
    """Make a run.

    What the model's service raises is passed on; then the meter tells what was spent until then.

    Args:
        model: The model.
        job: The run.
        median: Of the tools' times, in seconds.
        meter: Counts what the model takes.
    """
    question = job.question
    stage = Stage(question, median, job.seed)
    graph = build(model, setup(job.way, question, stage.tools), meter)
    messages: list[AnyMessage] = []
    seconds = 0.0
    for number, text in enumerate(question.turns):
        stage.turn = number
        messages = [*messages, HumanMessage(text)]
        start = time.perf_counter()
        try:
            messages = (await graph.ainvoke({"messages": messages}, _CONFIG))["messages"]
        except (TooManyStepsError, GraphRecursionError):
            wrong = Verdict(False, "too many steps")
            return Episode(seconds + time.perf_counter() - start, wrong, stage.acted)
        seconds += time.perf_counter() - start
    return Episode(seconds, verdict(question, stage.acted), stage.acted)
