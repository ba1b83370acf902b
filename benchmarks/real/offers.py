"""What a model is told before the user speaks: its tools, and how futures are used."""

from __future__ import annotations

import json
from dataclasses import dataclass

from langchain_core.utils.function_calling import convert_to_openai_tool

from benchmarks.real.questions import Question
from benchmarks.real.stage import Stage
from benchmarks.real.ways import Way, setup


@dataclass(frozen=True, slots=True)
class Offer:
    """The fixed part of all requests of a run.

    Attributes:
        tools: All tools in OpenAI's form, as JSON.
        instructions: The system message, if there is one.
    """

    tools: str
    instructions: str | None


class Offers:
    """Offers by question and way; tasks with the same tools share theirs."""

    def __init__(self) -> None:
        self._found: dict[tuple[Way, str], Offer] = {}

    def of(self, question: Question, way: Way) -> Offer:
        """The offer of a run."""
        told = json.dumps([[s.name, s.description, s.schema] for s in question.tools], default=str)
        if (way, told) not in self._found:
            chosen = setup(way, question, Stage(question, 0.0, 0).tools)
            tools = json.dumps([convert_to_openai_tool(tool) for tool in chosen.tools])
            self._found[way, told] = Offer(tools, chosen.instructions)
        return self._found[way, told]
