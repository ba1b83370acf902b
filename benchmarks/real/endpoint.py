"""A stand-in for a real model: it plays the ground truth over HTTP, as chat completions.

It knows a request and nothing else: which task it is from the user's words, whether it can wait
for futures from the tools that it is offered, and what was called from the messages.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import cast

from langchain_core.messages import (
    AnyMessage,
    HumanMessage,
    SystemMessage,
    convert_to_messages,
)

from benchmarks.ideal import Batches, one_by_one
from benchmarks.players import Player
from benchmarks.real.questions import WORKLOADS, Question, tool_name
from benchmarks.workloads.conflicts import dependencies, safe_batches
from benchmarks.workloads.tasks import Task
from examples.scripted.replies import Action, Reply
from examples.scripted.wire import BadRequestError, Request


def play(request: Request) -> Reply:
    """Say what the ground truth says next.

    Raises:
        BadRequestError: The user's words are of no task.
    """
    sent = [{"content": "", **m.model_dump(exclude_none=True)} for m in request.messages]
    spoken = [m for m in convert_to_messages(sent) if not isinstance(m, SystemMessage)]
    messages = cast(list[AnyMessage], spoken)
    plan = _question(messages).plan
    waits = any(tool.function.name == "await_future" for tool in request.tools)
    reply = Player(plan, _batches(plan), plan.tokens(), waits).reply(messages)
    return Reply(
        reply.text,
        tuple(Action(tool_name(c["name"]), c["args"], c["id"]) for c in reply.tool_calls),
    )


def _question(messages: Sequence[AnyMessage]) -> Question:
    """The task in which the user has said these things; two begin alike, and call the same."""
    said = tuple(message.text for message in messages if isinstance(message, HumanMessage))
    for question in _beginning(said[0]):
        if question.turns[: len(said)] == said:
            return question
    raise BadRequestError("These user messages are of no task.", "messages")


@functools.cache
def _openings() -> dict[str, list[Question]]:
    found: dict[str, list[Question]] = {}
    for questions in WORKLOADS.values():
        for question in questions():
            found.setdefault(question.turns[0], []).append(question)
    return found


def _beginning(text: str) -> Sequence[Question]:
    return _openings().get(text, ())


def _batches(task: Task) -> Batches:
    return safe_batches(task, dependencies(task)) if task.batched else one_by_one(task)
