"""A model that has tools in the background and nobody who orders them: it keeps the order itself.

It plays the ground truth as a competent model would. A call is made once the results of all calls
that it depends on were read, be it for a value or for what they change: tasks in the background
take no references, and nothing holds a later call back. If some call must wait, the next one that
need not is made instead. A call runs in the foreground if its result is what the next call waits
for, and in the background otherwise. If nothing can be started, the model waits as its tools allow.

It makes one call a message, as in (a) and (d); where a task's calls stand in one message there,
they do here.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal, Protocol

from langchain_core.messages import AIMessage, AnyMessage, ToolCall

from benchmarks.pace import ANSWER_TOKENS
from benchmarks.players import AWAIT_TOKENS, FLAG_TOKENS
from benchmarks.workloads.tasks import Task

Waiting = Literal["poll", "wait", "idle"]
"""How it waits: asks again and again; blocks; or says that it has nothing to do meanwhile."""

IDLE_TOKENS = 10
"""Tokens of a message that says that results are waited for."""

WAITING_TOOL: Mapping[Waiting, str] = {"poll": "check_task", "wait": "wait_task"}

START = "start"
"""Calls with this in their id run in the background."""

FOREGROUND = "call"


class Way(Protocol):
    """How a library runs tools in the background, as a model sees it."""

    def background(self, call: ToolCall) -> ToolCall:
        """The call as one that runs in the background."""
        ...

    def read(self, messages: Sequence[AnyMessage]) -> dict[int, str]:
        """Each result that stands in the messages, by call."""
        ...


@dataclass(slots=True)
class Starter:
    """Plays one run of a task.

    Attributes:
        task: The task.
        deps: What each call depends on.
        tokens: Of each call.
        waiting: How it waits.
        way: How a call is put into the background, and where results stand.
        turn: Number of the user's turn that is played.
        output: Tokens of each message that it decoded.
        asked: The messages that it was sent, each time.
    """

    task: Task
    deps: Sequence[frozenset[int]]
    tokens: Sequence[int]
    waiting: Waiting
    way: Way
    turn: int = 0
    output: list[int] = field(default_factory=list)
    asked: list[Sequence[AnyMessage]] = field(default_factory=list)

    def reply(self, messages: Sequence[AnyMessage]) -> AIMessage:
        """The next message."""
        self.asked.append(messages)
        made, known = _made(messages), frozenset(self.way.read(messages))
        todo = [k for k in self.task.turns[self.turn] if k not in made]
        ready = [k for k in todo if self.deps[k] <= known]
        if ready and self.task.batched:
            return self._say([self._call(k) for k in ready], sum(self.tokens[k] for k in ready))
        if ready:
            return self._start(ready, todo, made - known, known)
        if made - known:
            return self._wait(self._needed(todo, made - known, known), made - known)
        self.output.append(ANSWER_TOKENS)
        return AIMessage("Done.")

    def _start(
        self,
        ready: Sequence[int],
        todo: Sequence[int],
        running: frozenset[int],
        known: frozenset[int],
    ) -> AIMessage:
        """Make the first call that can be made."""
        k, *others = ready
        call, spent = self._call(k), self.tokens[k]
        rest = [j for j in todo if j != k]
        needed = self._needed(rest, running | {k}, known)
        if others or k not in needed:
            call = self.way.background(call)
            spent += FLAG_TOKENS
        calls = [call]
        if not others and self.waiting == "wait" and needed - {k}:
            calls.append(_waiting_call("wait", needed - {k}, len(self.output)))
            spent += AWAIT_TOKENS
        return self._say(calls, spent)

    def _wait(self, needed: frozenset[int], running: frozenset[int]) -> AIMessage:
        """Wait for what the next call needs."""
        if self.waiting == "idle":
            self.output.append(IDLE_TOKENS)
            return AIMessage("Waiting for results.")
        asked = running if self.waiting == "poll" else needed
        return self._say([_waiting_call(self.waiting, asked, len(self.output))], AWAIT_TOKENS)

    def _needed(
        self, todo: Sequence[int], running: frozenset[int], known: frozenset[int]
    ) -> frozenset[int]:
        """What the next call waits for; if none is left, everything."""
        return (self.deps[todo[0]] - known) & running if todo else running

    def _call(self, k: int) -> ToolCall:
        planned = self.task.calls[k]
        return ToolCall(name=planned.tool, args=dict(planned.args), id=f"{FOREGROUND}_{k}")

    def _say(self, calls: list[ToolCall], tokens: int) -> AIMessage:
        self.output.append(tokens)
        return AIMessage("", tool_calls=calls)


def _waiting_call(waiting: Waiting, tasks: frozenset[int], number: int) -> ToolCall:
    args = {"tasks": [f"task_{k}" for k in sorted(tasks)]}
    return ToolCall(name=WAITING_TOOL[waiting], args=args, id=f"{waiting}_{number}")


def _made(messages: Sequence[AnyMessage]) -> frozenset[int]:
    return frozenset(
        number
        for message in messages
        if isinstance(message, AIMessage)
        for call in message.tool_calls
        if (number := numbered(call["id"], FOREGROUND, START)) is not None
    )


def numbered(call_id: str | None, *kinds: str) -> int | None:
    """The index of the call that an id belongs to; `None` if it is of another kind."""
    kind, _, number = (call_id or "").partition("_")
    return int(number) if kind in kinds else None
