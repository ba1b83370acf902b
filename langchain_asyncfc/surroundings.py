"""What stands around the middleware in `create_agent`: the other middleware and the tools.

Some middleware cannot do its work when it stands on the wrong side of this one, some asks a
person, and some looks at new tool messages only. LangChain hands a middleware nothing of that, so
it is read from the arguments `tools` and `middleware` of the running `create_agent` call, at the
one moment when that looks at the `tools` of each middleware. Where there is no such call, nothing
is known, and everything works but the checks.
"""

from __future__ import annotations

import sys
import typing
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from langchain.agents import create_agent
from langchain.agents.middleware import (
    AgentMiddleware,
    ContextEditingMiddleware,
    HumanInTheLoopMiddleware,
    LLMToolEmulator,
    PIIMiddleware,
    ShellToolMiddleware,
    TodoListMiddleware,
    ToolCallLimitMiddleware,
    ToolRetryMiddleware,
)
from langchain_core.tools import BaseTool
from langchain_core.tools import tool as create_tool
from langgraph.channels import AnyValue, EphemeralValue, LastValue, UntrackedValue
from langgraph.channels.base import BaseChannel

from langchain_asyncfc.effects import Effects

__all__ = ["Surroundings", "running_create_agent"]

_WORK_ON_RESULTS = (ToolRetryMiddleware, LLMToolEmulator)
_MAX_FRAMES = 20
_PLAIN = (AnyValue, EphemeralValue, LastValue, UntrackedValue)
"""Channels that take one value a step, or keep one of several."""


@dataclass(frozen=True)
class Surroundings:
    """The arguments of a `create_agent` call.

    Attributes:
        middleware: All middleware, in order.
        tools: The tools that are not the middleware's own.
        state_schema: The schema of the agent's state, `None` for the ordinary one.
        stops: Whether runs stop before or after certain nodes, by `interrupt_before` or
            `interrupt_after`.
    """

    middleware: Sequence[Any] = ()
    tools: Sequence[Any] = ()
    state_schema: Any = None
    stops: bool = False

    def check_order(self, here: Any) -> None:
        """Check that every middleware can do its work where it stands.

        Raises:
            ValueError: When one cannot. The message says which order works.
        """
        place = next(i for i, m in enumerate(self.middleware) if m is here)
        for other in self.middleware[:place]:
            if isinstance(other, _works_on_results()):
                _refuse(here, other, "after", "it would see placeholders instead of results")
            if isinstance(other, ToolCallLimitMiddleware) and other.tool_name is None:
                _refuse(here, other, "after", "it would count the calls by which a turn waits")
            if isinstance(other, HumanInTheLoopMiddleware) and _mode(other) == "per_call":
                _refuse(here, other, "after", "a person would see futures instead of values")
        for other in self.middleware[place + 1 :]:
            if isinstance(other, ShellToolMiddleware):
                _refuse(here, other, "before", "its shell would be closed while calls run in it")
            if isinstance(other, HumanInTheLoopMiddleware) and _mode(other) == "batched":
                _refuse(here, other, "before", "a person would see futures instead of values")

    def approved(self) -> set[str]:
        """Names of the tools whose calls a person approves."""
        found: set[str] = set()
        for other in self.middleware:
            if isinstance(other, HumanInTheLoopMiddleware):
                found.update(other.interrupt_on)
        return found

    def reads_new_messages_only(self) -> bool:
        """Whether some middleware would miss a value that is put where its placeholder was.

        It takes the oldest messages for old.
        """
        return (
            any(isinstance(other, ContextEditingMiddleware) for other in self.middleware)
            or self.forgets()
        )

    def forgets(self) -> bool:
        """Whether some middleware replaces old messages by a summary.

        That of deepagents is none of LangChain's; it only hides them from the model.
        """
        return any(
            "SummarizationMiddleware" in kind.__name__
            for other in self.middleware
            for kind in type(other).__mro__
        )

    def in_step(self) -> set[str]:
        """Names of tools that only work inside the step that they are called in.

        The file tools of deepagents write to the graph's state through the step's own config.
        What is written there when the step is over is silently lost.
        """
        return {
            tool.name
            for other in self.middleware
            if any(kind.__name__ == "FilesystemMiddleware" for kind in type(other).__mro__)
            for tool in getattr(other, "tools", ())
        }

    def screens(self) -> list[PIIMiddleware[Any, Any]]:
        """Middleware that takes personal data out of results, where it finds them new."""
        return [
            other
            for other in self.middleware
            if isinstance(other, PIIMiddleware) and other.apply_to_tool_results
        ]

    def wraps_tool_calls(self, here: Any) -> bool:
        """Whether some other middleware wraps tool calls, so that it may serve unknown names."""
        base = AgentMiddleware
        return any(
            type(other).wrap_tool_call is not base.wrap_tool_call
            or type(other).awrap_tool_call is not base.awrap_tool_call
            for other in self.middleware
            if other is not here
        )

    def stand_between(self, here: Any) -> list[str]:
        """Names of middleware that may change or refuse calls between the model and the tools.

        It wraps tool calls, or looks at what the model has said. Approvals are known by tool, and
        the to-do list refuses its own tool only.
        """
        return [m.name for m in self.middleware if m is not here and _stands_between(m)]

    def may_add_tools(self, here: Any) -> bool:
        """Whether some other middleware may show the model tools that are not known here."""
        base = AgentMiddleware
        return any(
            type(other).wrap_model_call is not base.wrap_model_call
            or type(other).awrap_model_call is not base.awrap_model_call
            for other in self.middleware
            if other is not here
        )

    def all_tools(self, here: Any) -> Iterator[BaseTool]:
        """The agent's tools that run in this process, without those of the middleware itself."""
        # A second one of this kind is refused by `create_agent` itself.
        others = [other for other in self.middleware if type(other) is not type(here)]
        own = [tool for other in others for tool in getattr(other, "tools", ())]
        for tool in [*own, *self.tools]:
            if isinstance(tool, BaseTool):
                yield tool
            elif callable(tool):
                yield create_tool(tool)

    def reduced_keys(self) -> set[str]:
        """The keys of the agent's state that have a reducer, so that they take several values."""
        schemas = [getattr(other, "state_schema", None) for other in self.middleware]
        found = {"messages"}
        for schema in [*schemas, self.state_schema]:
            if schema is not None:
                hints = typing.get_type_hints(schema, include_extras=True)
                found.update(key for key, hint in hints.items() if _has_reducer(hint))
        return found

    def known_effects(self) -> dict[str, Effects]:
        """What tools of shipped middleware read and write, where it is one key of the state."""
        todo = any(isinstance(other, TodoListMiddleware) for other in self.middleware)
        return {"write_todos": Effects(writes="state:todos")} if todo else {}


def _stands_between(other: Any) -> bool:
    if isinstance(other, HumanInTheLoopMiddleware):
        return type(other) is not HumanInTheLoopMiddleware or _mode(other) != "batched"
    hooks = ["wrap_tool_call", "awrap_tool_call"]
    if type(other) is not TodoListMiddleware:
        hooks += ["after_model", "aafter_model"]
    return any(getattr(type(other), h) is not getattr(AgentMiddleware, h) for h in hooks)


def _has_reducer(hint: Any) -> bool:
    if typing.get_origin(hint) in (typing.Required, typing.NotRequired):
        (hint,) = typing.get_args(hint)
    return any(map(_reduces, getattr(hint, "__metadata__", ())))


def _reduces(extra: Any) -> bool:
    """Whether what stands beside a type takes several values a step: a function or a channel."""
    kind = extra if isinstance(extra, type) else type(extra)
    return not issubclass(kind, _PLAIN) if issubclass(kind, BaseChannel) else callable(extra)


def _works_on_results() -> tuple[type, ...]:
    try:
        from langchain.agents.middleware import ToolErrorMiddleware  # noqa: PLC0415 - newer ones
    except ImportError:
        return _WORK_ON_RESULTS
    return (*_WORK_ON_RESULTS, ToolErrorMiddleware)


def _mode(other: Any) -> str:
    return str(getattr(other, "interrupt_mode", "batched"))


def _refuse(here: Any, other: Any, place: str, why: str) -> None:
    name = other.name
    order = f"[{here.name}, {name}]" if place == "after" else f"[{name}, {here.name}]"
    msg = (
        f"create_agent: {name} has to stand {place} {here.name} in the list of middleware, "
        f"or {why}. The order that works: middleware={order}."
    )
    raise ValueError(msg)


def running_create_agent(here: Any) -> Surroundings | None:
    """The `create_agent` call that is looking at a middleware; `None` where there is none."""
    code = create_agent.__code__
    frame = sys._getframe(1)
    for _ in range(_MAX_FRAMES):
        if frame.f_code is code:
            middleware = frame.f_locals.get("middleware") or ()
            if not any(other is here for other in middleware):
                return None
            tools = [t for t in frame.f_locals.get("tools") or () if not isinstance(t, dict)]
            return Surroundings(tuple(middleware), tuple(tools), frame.f_locals.get("state_schema"))
        if frame.f_back is None:
            return None
        frame = frame.f_back
    return None
