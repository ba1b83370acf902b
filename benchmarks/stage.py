"""Where the tools of a task act, and how a run is compared with running the calls one by one."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from langchain_core.tools import BaseTool, StructuredTool

from benchmarks.pace import Pace
from benchmarks.workloads.tasks import Task, ToolSpec, World, frozen, replay


class WrongResult(AssertionError):
    """Raised when a run differs from running the calls one by one."""


@dataclass(slots=True)
class Stage:
    """Where the tools of a graph act: set anew for each run.

    A call acts at a random moment of its time, so that a wrong order shows. It is known by its
    tool and arguments; equal calls are taken in their order.
    """

    task: Task
    world: World = field(init=False)
    times: Pace = field(init=False)
    results: dict[int, Any] = field(init=False)
    waiting: dict[str, list[int]] = field(init=False)

    def begin(self, times: Pace) -> None:
        """Make a new world."""
        self.world, self.times, self.results = self.task.world(), times, {}
        self.waiting = {}
        for k, call in enumerate(self.task.calls):
            self.waiting.setdefault(frozen([call.tool, call.args]), []).append(k)

    async def play(self, tool: str, args: Mapping[str, Any]) -> Any:
        """Run one call."""
        return await self.act(self.take(tool, args), args)

    def take(self, tool: str, args: Mapping[str, Any]) -> int:
        """Which call of the task this is.

        Raises:
            WrongResult: When it is none.
        """
        planned = self.waiting.get(frozen([tool, args]))
        if not planned:
            raise WrongResult(f"{self.task.name}: {tool}({args}) is no call of the task.")
        return planned.pop(0)

    async def act(self, k: int, args: Mapping[str, Any]) -> Any:
        """Run call `k`, with whatever arguments it came to."""
        seconds, moment = self.times.seconds[k], self.times.moments[k]
        await asyncio.sleep(seconds * moment)
        result = self.results[k] = self.world.act(self.task.calls[k].tool, args)
        await asyncio.sleep(seconds * (1 - moment))
        return result


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a run took.

    Attributes:
        seconds: Until the last answer.
        turns: Calls of the model.
        output: Tokens decoded.
        uncached: Tokens sent to the model that no earlier request began with.
        wrong: What differs from running the calls one by one; `None` if nothing does.
    """

    seconds: float
    turns: int
    output: int
    uncached: int
    wrong: str | None = None


class Truth:
    """What running a task's calls one by one gives."""

    def __init__(self, task: Task) -> None:
        results, self._state = replay(task)
        self._results = [frozen(result) for result in results]

    def difference(self, stage: Stage, told: Mapping[int, str]) -> str | None:
        """What a run did otherwise, in words.

        Args:
            stage: Where it acted.
            told: What the model read of each call, as the tool message or as `frozen` text.
        """
        for k, expected in enumerate(self._results):
            if k in stage.results and frozen(stage.results[k]) != expected:
                return f"call {k} gave {stage.results[k]!r}, not {expected}"
            if _read(told.get(k)) != expected:
                return f"the model read {told.get(k)!r} of call {k}, not {expected}"
        return None if stage.world.state() == self._state else "the final state differs"


def _read(content: str | None) -> str | None:
    """A tool message's content in the form of `frozen`."""
    if content is None:
        return None
    try:
        return frozen(json.loads(content))
    except ValueError:
        return frozen(content)


def tool_of(spec: ToolSpec, stage: Stage) -> BaseTool:
    """A tool that acts on a stage."""

    async def act(**args: Any) -> Any:
        return await stage.play(spec.name, args)

    return StructuredTool(
        name=spec.name, description=spec.description, args_schema=dict(spec.schema), coroutine=act
    )
