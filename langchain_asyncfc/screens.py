"""Personal data is taken out of results when they come, not where they are put.

`PIIMiddleware` looks for results behind the last `AIMessage`, and a late one may stand before it.
So each result goes through the middleware's own hook when the call ends. Where that changes it,
the value that references get is the changed text: a model can pass on what it was shown only.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from langchain.agents.middleware import PIIMiddleware
from langchain_core.messages import AIMessage, ToolMessage
from langgraph.prebuilt.tool_node import ToolCallRequest
from langgraph.types import Command

__all__ = ["Screens"]


class Screens:
    """What results go through.

    Args:
        screens: The middleware, in order.
    """

    def __init__(self, screens: Sequence[PIIMiddleware[Any, Any]]) -> None:
        self._screens = tuple(screens)

    def wrapper(self, execute: Callable[..., Any]) -> Callable[..., Any] | None:
        """What to wrap around the running of a call; `None` for nothing.

        Args:
            execute: Runs the call; says if the wrapper has to be a coroutine function.
        """
        if not self._screens:
            return None
        return self._aexecute if inspect.iscoroutinefunction(execute) else self._execute

    async def _aexecute(self, request: ToolCallRequest, execute: Callable[..., Any]) -> Any:
        return self._screened(await execute(request), request.runtime)

    def _execute(self, request: ToolCallRequest, execute: Callable[..., Any]) -> Any:
        return self._screened(execute(request), request.runtime)

    def _screened(self, result: Any, runtime: Any) -> Any:
        if isinstance(result, list):
            return [self._screened(item, runtime) for item in result]
        if isinstance(result, ToolMessage):
            return self._message(result, runtime)
        if isinstance(result, Command) and isinstance(result.update, Mapping):
            update = {key: self._field(value, runtime) for key, value in result.update.items()}
            if any(update[key] is not value for key, value in result.update.items()):
                return replace(result, update=update)
        return result

    def _field(self, value: Any, runtime: Any) -> Any:
        if not isinstance(value, list):
            return value
        screened = [
            self._message(item, runtime) if isinstance(item, ToolMessage) else item
            for item in value
        ]
        changed = any(new is not old for new, old in zip(screened, value, strict=True))
        return screened if changed else value

    def _message(self, message: ToolMessage, runtime: Any) -> ToolMessage:
        for screen in self._screens:
            update = screen.before_model({"messages": [AIMessage(""), message]}, runtime)
            if update is not None:
                message = update["messages"][-1]
        return message
