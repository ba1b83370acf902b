"""A model that plays a task's ground truth as a competent model would.

It reads the messages that it is sent and nothing else. What it has not seen it passes on by
reference; what it must read it waits for: by `await_result` in the call that gives it, or, where
that was an earlier call, by an `await_future` beside the call that it makes meanwhile. In the last
message before an answer it asks for all results. Each of these costs tokens, and so time.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from langchain_core.messages import AIMessage, AnyMessage, HumanMessage, ToolCall, ToolMessage

from benchmarks.ideal import Batches
from benchmarks.pace import ANSWER_TOKENS
from benchmarks.workloads.tasks import Task, with_references

FLAG_TOKENS = 5
"""Tokens of `,"await_result":true` (or `"all"`): a comma, the name in two, a colon, the value."""

AWAIT_TOKENS = 20
"""Tokens of a whole call to `await_future`: a call with hardly any arguments."""

AWAIT_ID = "await"


@dataclass(slots=True)
class Player:
    """Plays one run of a task.

    Attributes:
        task: The task.
        batches: Which calls stand together in a message.
        tokens: Of each call.
        waits: Whether calls are answered with futures, so that it says what it waits for.
        free: Whether saying so costs no tokens.
        output: Tokens of each message that it decoded.
        asked: The messages that it was sent, each time.
    """

    task: Task
    batches: Batches
    tokens: Sequence[int]
    waits: bool
    free: bool = False
    output: list[int] = field(default_factory=list)
    asked: list[list[AnyMessage]] = field(default_factory=list)

    def reply(self, messages: list[AnyMessage]) -> AIMessage:
        """The next message."""
        self.asked.append(messages)
        turn = sum(isinstance(message, HumanMessage) for message in messages) - 1
        made = sum(
            _plays(call) for m in messages if isinstance(m, AIMessage) for call in m.tool_calls
        )
        rest = [batch for batch in self.batches[turn] if batch[0] >= made]
        if not rest:
            self.output.append(ANSWER_TOKENS)
            return AIMessage("Done.")
        seen = _seen(messages)
        calls = [self._call(k, seen) for k in rest[0]]
        spent = sum(self.tokens[k] for k in rest[0])
        if self.waits:
            waiting = self._wait(calls, rest, seen)
            spent += 0 if self.free else waiting
        self.output.append(spent)
        return AIMessage("", tool_calls=calls)

    def _call(self, k: int, seen: frozenset[int]) -> ToolCall:
        planned = self.task.calls[k]
        args = with_references(planned, seen.__contains__)
        return ToolCall(name=planned.tool, args=args, id=f"call_{k}", type="tool_call")

    def _wait(
        self, calls: list[ToolCall], rest: Sequence[Sequence[int]], seen: frozenset[int]
    ) -> int:
        """Say in a message what it waits for, if anything; the tokens that it takes."""
        if len(rest) == 1:
            calls[-1]["args"]["await_result"] = "all"
            return FLAG_TOKENS
        now, following = rest[0], rest[1]
        needed = sorted({i for k in following for i in self.task.calls[k].sees} - seen)
        here = [i for i in needed if i in now]
        for i in here:
            calls[now.index(i)]["args"]["await_result"] = True
        earlier = [f"future_{i + 1}" for i in needed if i not in now]
        if earlier:
            args = {"futures": earlier}
            name = f"{AWAIT_ID}_{now[0]}"
            calls.append(ToolCall(name="await_future", args=args, id=name, type="tool_call"))
        return FLAG_TOKENS * len(here) + AWAIT_TOKENS * bool(earlier)


def _plays(call: ToolCall) -> bool:
    return not (call["id"] or "").startswith(AWAIT_ID)


def played(call: ToolCall) -> int | None:
    """The index of a call in its task; `None` for an await."""
    return int((call["id"] or "").partition("_")[2]) if _plays(call) else None


def call_number(message: ToolMessage) -> int | None:
    """The index of the call that a tool message answers; `None` for an await."""
    kind, _, number = message.tool_call_id.partition("_")
    return int(number) if kind == "call" else None


def is_placeholder(message: ToolMessage) -> bool:
    """Whether a model reads in a message that a future is running."""
    number = call_number(message)
    return number is not None and str(message.content).startswith(f"future_{number + 1} is running")


def _seen(messages: Sequence[AnyMessage]) -> frozenset[int]:
    return frozenset(contents(messages))


def contents(messages: Sequence[AnyMessage]) -> dict[int, str]:
    """Each result that stands in the messages, by call: as its answer, or riding on another."""
    found: dict[int, str] = {}
    for message in messages:
        if not isinstance(message, ToolMessage):
            continue
        own, *riders = str(message.content).split("\n\n[future_")
        number = call_number(message)
        if number is not None and not is_placeholder(message):
            found[number] = own
        for rider in riders:
            future, _, value = rider.partition("] ")
            found[int(future) - 1] = value
    return found
