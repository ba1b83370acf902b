"""Agents by `create_agent` with and without `AsyncFCMiddleware`, to be compared.

The anchor of a comparison is the same agent without `AsyncFCMiddleware`. It is compared with two
runs that have it: one in which all tools are fast (on an event loop only, to save time), and one in
which a gate holds them until the model gives its answer too early.
"""

from __future__ import annotations

import asyncio
import logging
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from langchain.agents import create_agent
from langchain_core.messages import AIMessage, BaseMessage, HumanMessage, ToolMessage

from langchain_asyncfc import AsyncFCMiddleware, Effects
from langchain_asyncfc.testing import ScriptedChatModel, assert_valid_history
from tests.integration.conftest import Gate, Mode, Workshop

PURE = Effects()
CONTROL = {"await_future", "cancel_future"}

Turn = AIMessage | str | BaseException | Callable[[list[BaseMessage]], AIMessage | str]


@contextmanager
def quiet() -> Iterator[None]:
    """Assert that the library warns of nothing."""
    said: list[str] = []
    handler = logging.Handler(logging.WARNING)
    handler.emit = lambda record: said.append(record.getMessage())  # type: ignore[method-assign]
    logger = logging.getLogger("langchain_asyncfc")
    logger.addHandler(handler)
    try:
        yield
    finally:
        logger.removeHandler(handler)
    assert not said, said


def record(message: BaseMessage) -> dict[str, Any]:
    """What a message remembers of futures."""
    return dict(message.additional_kwargs.get("asyncfc", {}))


def is_placeholder(message: BaseMessage) -> bool:
    """Whether a message stands for a future that has not finished."""
    return record(message).get("state") == "pending"


def ask(*calls: Any, text: str = "") -> AIMessage:
    """The model's message that makes these calls."""
    return AIMessage(text, tool_calls=list(calls))


def go(text: str = "go") -> dict[str, Any]:
    """The input of a run."""
    return {"messages": [HumanMessage(text)]}


@dataclass
class Talk:
    """What a model says, call by call, and the model that says it.

    Attributes:
        turns: What it says; an exception is raised.
        final: What it says when the turns are used up, as often as it is called. Before it says
            so for the first time, the gates are opened.
        gates: What it opens.
    """

    turns: Sequence[Turn]
    final: Turn = "done"
    gates: Sequence[Gate] = ()
    check_history: bool = True
    said: int = 0
    model: ScriptedChatModel = field(init=False)

    def __post_init__(self) -> None:
        self.model = ScriptedChatModel(policy=self._policy, check_history=self.check_history)

    def _policy(self, messages: list[BaseMessage]) -> AIMessage | str:
        self.said += 1
        turn = self.turns[self.said - 1] if self.said <= len(self.turns) else self.final
        if self.said > len(self.turns):
            for gate in self.gates:
                gate.open()
        if isinstance(turn, BaseException):
            raise turn
        return turn(messages) if callable(turn) else turn

    @property
    def calls(self) -> list[list[BaseMessage]]:
        """What the model was sent, call by call."""
        return self.model.calls

    def seen(self, call: int) -> list[str]:
        """The texts of the tool messages that the model was sent at a call."""
        return [m.text for m in self.calls[call] if isinstance(m, ToolMessage)]

    def saw(self, text: str) -> bool:
        """Whether a text was ever sent to the model, in a message or in the arguments of a call."""
        return any(text in shown(message) for sent in self.calls for message in sent)

    @property
    def placeholders(self) -> int:
        """How many placeholders the model was shown."""
        return len({m.id for sent in self.calls for m in sent if is_placeholder(m)})


def shown(message: BaseMessage) -> str:
    """All that a model sees of a message."""
    calls = message.tool_calls if isinstance(message, AIMessage) else []
    return f"{message.content} {[call['args'] for call in calls]}"


def answers(messages: Iterable[BaseMessage]) -> list[ToolMessage]:
    """The tool messages, without those that answer control calls."""
    return [m for m in messages if isinstance(m, ToolMessage) and m.name not in CONTROL]


def texts(messages: Iterable[BaseMessage]) -> list[str]:
    """The texts of the answers."""
    return [m.text for m in answers(messages)]


def substance(messages: Sequence[BaseMessage]) -> list[tuple[Any, ...]]:
    """A history without `await_future` exchanges and records of futures.

    What was appended to a later tool message is put back to the call that it answers.
    """
    contents, late = _unloaded(messages)
    found: list[tuple[Any, ...]] = []
    for message, own in zip(messages, contents, strict=True):
        content = own
        if isinstance(message, AIMessage):
            calls = [c for c in message.tool_calls if c["name"] not in CONTROL]
            if calls or not message.tool_calls:
                found.append(("ai", content, [(c["name"], c["args"], c["id"]) for c in calls]))
        elif isinstance(message, ToolMessage):
            if message.name in CONTROL:
                continue
            future = record(message).get("future")
            status = message.status
            if is_placeholder(message) and future in late:
                content, status = late[future]
            found.append(("tool", content, message.tool_call_id, status, message.artifact))
        else:
            found.append((message.type, content))
    return found


def unfinished(messages: Sequence[BaseMessage]) -> list[Any]:
    """The futures whose placeholders stand in a history that does not tell their outcomes."""
    _, late = _unloaded(messages)
    futures = [record(m)["future"] for m in messages if is_placeholder(m)]
    return [future for future in futures if future not in late]


def _unloaded(
    messages: Sequence[BaseMessage],
) -> tuple[list[Any], dict[str, tuple[Any, str]]]:
    """The contents of messages without what rides on them, and that by future."""
    contents: list[Any] = []
    late: dict[str, tuple[Any, str]] = {}
    for message in messages:
        content = message.content
        delivered = record(message).get("delivered") or {}
        if isinstance(content, str) and delivered:
            content, *rest = re.split(r"(?:\n\n|^)\[(future_\d+)\] ", content)
            for future, text in zip(rest[::2], rest[1::2], strict=True):
                good = delivered[future]["state"] == "resolved"
                late[future] = (text, "success" if good else "error")
        contents.append(content)
    return contents, late


@dataclass
class Result:
    """A run's end.

    Attributes:
        talk: The model and what it was sent.
        workshop: The tools' log.
        state: The final state; `None` where the run raised.
        error: What it raised.
    """

    talk: Talk
    workshop: Workshop
    state: dict[str, Any] | None = None
    error: Exception | None = None

    @property
    def messages(self) -> list[BaseMessage]:
        """The final messages."""
        assert self.state is not None, self.error
        return list(self.state["messages"])

    @property
    def others(self) -> dict[str, Any]:
        """The final state but for the messages."""
        assert self.state is not None, self.error
        return {key: value for key, value in self.state.items() if key != "messages"}


MakeTools = Callable[[Workshop, Gate], Sequence[Any]]
MakeMiddleware = Callable[[list[Any]], Sequence[Any]]
"""From `[AsyncFCMiddleware(...)]`, or nothing for the anchor, to all middleware."""


@dataclass
class Comparison:
    """An agent to be run without and with futures.

    Attributes:
        tools: Makes the tools; the gate holds slow ones.
        middleware: Makes the middleware.
        turns: Makes what the model says.
        final: What it says at the end.
        options: Options of `AsyncFCMiddleware`.
        agent: Options of `create_agent`.
        value: The run's input.
    """

    tools: MakeTools
    middleware: MakeMiddleware
    turns: Callable[[], Sequence[Turn]]
    final: Turn = "done"
    options: dict[str, Any] = field(default_factory=dict)
    agent: Callable[[], dict[str, Any]] = dict
    value: Callable[[], dict[str, Any]] = go

    def run(self, mode: Mode, *, futures: bool, slow: bool) -> Result:
        """Run the agent once."""
        gate, workshop = Gate(), Workshop()
        if not slow:
            gate.open()
        talk = Talk(self.turns(), self.final, [gate])
        own = [AsyncFCMiddleware(**self.options)] if futures else []
        result = Result(talk, workshop)
        agent = create_agent(
            talk.model,
            self.tools(workshop, gate),
            middleware=self.middleware(own),
            **self.agent(),
        )
        try:
            with quiet():
                result.state = mode.run(agent, self.value())
        except Exception as error:  # noqa: BLE001 - it is compared
            result.error = error
        finally:
            gate.open()
        return result

    def check(self, mode: Mode, *, slow: bool = True) -> Result:
        """Compare all runs.

        Args:
            mode: How they are run.
            slow: Whether the model has to see a placeholder in the last one.

        Returns:
            The last one.
        """
        anchor = self.run(mode, futures=False, slow=False)
        for gated in (False, True) if mode.is_async else (True,):
            result = self.run(mode, futures=True, slow=gated)
            assert repr(result.error) == repr(anchor.error)
            if anchor.error is None:
                assert_valid_history(result.messages)
                assert not unfinished(result.messages)
                assert substance(result.messages) == substance(anchor.messages)
                assert result.others == anchor.others
                assert sorted(result.workshop.started()) == sorted(anchor.workshop.started())
        assert result.talk.placeholders or not slow
        return result


class Later(Gate):
    """Holds a tool for some seconds of virtual time; in threads it holds nobody."""

    def wait(self) -> None:
        """Pass."""

    async def wait_async(self) -> None:
        """Wait; nobody opens it."""
        await asyncio.sleep(5)
