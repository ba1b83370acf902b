"""The same agent twice: as `create_agent` builds it, and with `AsyncFCMiddleware` added.

The tools are fast, so nothing may differ: not the state, not the messages, not what the model is
sent, not what the model's node and the tools' node stream, not the error.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from langchain.agents.middleware import AgentMiddleware
from langchain_core.messages import BaseMessage

from langchain_asyncfc import AsyncFCMiddleware
from langchain_asyncfc.testing import ScriptedChatModel

GRACE = 60.0
"""Seconds: longer than any fast call takes, so that none of them becomes a future."""

GO = {"messages": [("user", "go")]}
"""What most runs begin with."""

Build = Callable[[ScriptedChatModel, list[AgentMiddleware]], Any]
"""Builds an agent from its model and the middleware that goes first."""


def plain(value: Any) -> Any:
    """A value with every message in it as data, without the random ids."""
    if isinstance(value, BaseMessage):
        return {key: plain(part) for key, part in value.model_dump().items() if key != "id"}
    if isinstance(value, dict):
        return {key: plain(part) for key, part in value.items()}
    if isinstance(value, list | tuple):
        return [plain(part) for part in value]
    if isinstance(value, str):
        # LangChain's answer to an unknown name lists the agent's tools.
        return value.replace("[await_future, cancel_future, ", "[")
    return value


def _sorted_steps(updates: list[tuple[str, Any]]) -> list[Any]:
    """Updates in order, those of one step's tasks in a fixed one: they end when they end."""
    steps: list[tuple[str, list[Any]]] = []
    for node, update in updates:
        if not steps or steps[-1][0] != node:
            steps.append((node, []))
        steps[-1][1].append(update)
    return [(node, sorted(group, key=repr)) for node, group in steps]


@dataclass(slots=True)
class Seen:
    """What can be seen of one run.

    Attributes:
        state: The final state, without ids; `None` where there is none.
        messages: Its messages.
        error: What the run raised.
        updates: What the nodes "model" and "tools" streamed, step by step.
        custom: What tools wrote to the stream.
        tokens: The messages of `stream_mode="messages"`.
        sent: What the model was sent, call by call.
        model: The model.
        agent: The agent.
    """

    model: ScriptedChatModel
    agent: Any
    state: Any = None
    messages: list[Any] = field(default_factory=list)
    error: Exception | None = None
    updates: list[tuple[str, Any]] = field(default_factory=list)
    custom: list[Any] = field(default_factory=list)
    tokens: list[Any] = field(default_factory=list)
    interrupts: list[Any] = field(default_factory=list)

    def add(self, mode: str, chunk: Any) -> None:
        """Take one chunk of the stream in."""
        if mode == "values":
            self.state, self.messages = plain(chunk), chunk.get("messages", [])
        elif mode == "custom":
            self.custom.append(chunk)
        elif mode == "messages":
            message, metadata = chunk
            self.tokens.append((metadata["langgraph_node"], plain(message)))
        else:
            for node, update in chunk.items():
                if node == "__interrupt__":
                    self.interrupts.append([interrupt.value for interrupt in update])
                elif node in ("model", "tools"):
                    self.updates.append((node, plain(update)))

    @property
    def sent(self) -> list[list[BaseMessage]]:
        """What the model was sent, call by call."""
        return self.model.calls

    @property
    def texts(self) -> list[str]:
        """The texts of the final messages."""
        return [message.text for message in self.messages]

    def visible(self) -> dict[str, Any]:
        """Everything that must not differ."""
        return {
            "state": self.state,
            "error": (type(self.error), str(self.error)),
            "updates": _sorted_steps(self.updates),
            "custom": sorted(self.custom, key=repr),
            "tokens": _sorted_steps(self.tokens),
            "interrupts": self.interrupts,
            "sent": plain(self.sent),
        }


@dataclass(frozen=True, slots=True)
class Twins:
    """Runs an agent without and with the middleware, and compares."""

    mode: Literal["sync", "async"]

    def run(
        self,
        build: Build,
        replies: Sequence[Any],
        *values: Any,
        config: Any = None,
        model: dict[str, Any] | None = None,
        but: Sequence[str] = (),
        **options: Any,
    ) -> Seen:
        """Run both and assert that they do not differ.

        Args:
            build: Builds the agent.
            replies: The model's replies: messages, texts, errors, or functions of the messages.
            *values: What the agent is run with, one run after the other; `GO` by default.
            config: The config of the runs.
            model: Options of the model.
            but: What may differ, as it does from run to run.
            **options: Further arguments of `stream`.

        Returns:
            What was seen of the agent with the middleware.
        """
        seen = []
        for middleware in ([], [AsyncFCMiddleware(grace=GRACE, instructions="")]):
            scripted = _scripted(replies, model or {})
            one = Seen(scripted, build(scripted, list(middleware)))
            for value in values or (GO,):
                self._run(one, value, config, options)
            seen.append(one)
        plainly, asynchronously = seen
        expected, found = plainly.visible(), asynchronously.visible()
        for aspect, value in expected.items():
            if aspect not in but:
                assert found[aspect] == value, f"{aspect}: {found[aspect]} != {value}"
        return asynchronously

    def _run(self, seen: Seen, value: Any, config: Any, options: dict[str, Any]) -> None:
        modes = {"stream_mode": ["updates", "values", "custom", "messages"], **options}
        try:
            if self.mode == "sync":
                for mode, chunk in seen.agent.stream(value, config, **modes):
                    seen.add(mode, chunk)
            else:
                asyncio.run(_arun(seen, value, config, modes))
        except Exception as error:  # noqa: BLE001 - compared
            seen.error = error


async def _arun(seen: Seen, value: Any, config: Any, modes: dict[str, Any]) -> None:
    async for mode, chunk in seen.agent.astream(value, config, **modes):
        seen.add(mode, chunk)
    others = asyncio.all_tasks() - {asyncio.current_task()}
    assert not others, others


def _scripted(replies: Sequence[Any], options: dict[str, Any]) -> ScriptedChatModel:
    rest = iter(replies)

    def policy(messages: list[BaseMessage]) -> Any:
        reply = next(rest, None)
        assert reply is not None, f"the model was called once more, with {messages}"
        if isinstance(reply, BaseException):
            raise reply
        return reply(messages) if callable(reply) else reply

    return ScriptedChatModel(policy=policy, count_tokens=lambda _: 1, **options)
