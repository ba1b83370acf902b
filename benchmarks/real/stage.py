"""What the tools of one run act on, and how long they take.

A call takes a lognormal time, drawn from its tool, its arguments and how often it was made before,
so that the same call takes the same time in all ways of running the task. It takes effect at a
random moment of this time, so that a race shows.
"""

from __future__ import annotations

import asyncio
import copy
import random
from collections import Counter
from collections.abc import Mapping
from typing import Any

from langchain_core.tools import BaseTool, StructuredTool

from benchmarks.pace import SIGMA
from benchmarks.real.checker import Acted
from benchmarks.real.questions import Question
from benchmarks.workloads.tasks import ToolSpec, frozen


class Stage:
    """The tools of one run.

    Args:
        question: The task.
        median: Of the tools' times, in seconds; 0 for tools that answer at once.
        seed: Number of the draw of times.

    Attributes:
        acted: The calls in the order in which they took effect.
        turn: The user's turn that runs, from 0.
        tools: The tools.
    """

    def __init__(self, question: Question, median: float, seed: int) -> None:
        self.acted: list[Acted] = []
        self.turn = 0
        self.tools = [self._tool(spec) for spec in question.tools]
        self._world = question.world()
        self._name = question.name
        self._median = median
        self._seed = seed
        self._made: Counter[str] = Counter()

    def _tool(self, spec: ToolSpec) -> BaseTool:
        async def act(**args: Any) -> Any:
            return await self._play(spec.name, args)

        return StructuredTool(
            name=spec.name,
            description=spec.description,
            args_schema=dict(spec.schema),
            coroutine=act,
        )

    async def _play(self, tool: str, args: Mapping[str, Any]) -> Any:
        turn = self.turn
        seconds, moment = self._times(tool, args)
        await asyncio.sleep(seconds * moment)
        self.acted.append(Acted(turn, tool, copy.deepcopy(dict(args))))
        result = self._world.act(tool, args)
        await asyncio.sleep(seconds * (1 - moment))
        return result

    def _times(self, tool: str, args: Mapping[str, Any]) -> tuple[float, float]:
        call = frozen([tool, args])
        self._made[call] += 1
        rng = random.Random(f"{self._name} {call} {self._made[call]} {self._seed}")
        return self._median * rng.lognormvariate(0.0, SIGMA), rng.random()
