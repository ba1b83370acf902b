"""Native asynchronous tools: late outputs in the place of placeholders, where a model takes them.

Some models go on by themselves after a call of a tool that is marked `async`, and take its output
in any later request, under the id of the call (OpenAI's Responses API). For them the history is
shown differently: a call that has not finished has no output, and a late output stands where it
was delivered. The thread itself is the same as for any other model: a placeholder, and later the
result in place of it, with a record of where it came. So a thread can go on with another model.

Source: OpenAI, "Async tool calling", https://developers.openai.com/api/docs/guides/async-tool-calling
"""

from __future__ import annotations

from collections.abc import Sequence
from collections.abc import Set as AbstractSet
from typing import Any, Final

from langchain_core.messages import AIMessage, AnyMessage, ToolMessage
from langchain_core.tools import BaseTool

from langchain_asyncfc.records import came_after, is_pending, native_calls

__all__ = ["marked", "native_history", "takes_native_calls"]

_MARK: Final = "async"
"""The key in `tool.extras` that `langchain-openai` passes on."""


def native_history(messages: Sequence[AnyMessage]) -> list[AnyMessage]:
    """A thread as a model with native asynchronous tools expects it.

    `AsyncFCMiddleware` does this by itself. In a graph of your own, give the model
    `native_history(state["messages"])`, and the node `async_calls="native"` or `"auto"`.

    Args:
        messages: The thread.

    Returns:
        The same messages, but that placeholders of native calls are left out, and late outputs
        stand where they were delivered.
    """
    native = {i for m in messages if isinstance(m, AIMessage) for i in native_calls(m)}
    if not native:
        return list(messages)
    ids = {message.id for message in messages if message.id is not None}
    late: dict[str, list[AnyMessage]] = {}
    for message in messages:
        if not isinstance(message, ToolMessage) or message.tool_call_id not in native:
            continue
        after = came_after(message)
        if after is not None and after in ids:
            late.setdefault(after, []).append(message)
    moved = {id(message) for others in late.values() for message in others}
    shown: list[AnyMessage] = []
    due: list[AnyMessage] = []
    for message in messages:
        if not isinstance(message, ToolMessage):
            # Late outputs come after all outputs of the group in which they were delivered.
            shown += due
            due = []
        if id(message) not in moved and not _is_hidden(message, native):
            shown.append(message)
        due += late.get(message.id or "", [])
    return shown + due


def _is_hidden(message: AnyMessage, native: AbstractSet[str]) -> bool:
    """Whether a message is the placeholder of a native call."""
    return (
        isinstance(message, ToolMessage) and message.tool_call_id in native and is_pending(message)
    )


def takes_native_calls(model: Any) -> bool:
    """Whether a model is one that can take outputs late: OpenAI's, by the Responses API."""
    if not is_openai(model) or getattr(model, "use_responses_api", None) is False:
        return False
    # For some models the client chooses that API by itself, and only it knows for which.
    chooses = getattr(model, "_use_responses_api", None)
    if not callable(chooses):
        return bool(model.use_responses_api)
    return bool(chooses({"tools": [{"type": "function"}]}))


def is_openai(model: Any) -> bool:
    """Whether a model is a client of `langchain-openai`, or derived from one."""
    return any(kind.__name__ == "BaseChatOpenAI" for kind in type(model).__mro__)


def marked(tool: BaseTool, *, native: bool) -> BaseTool:
    """A tool for a model to be bound to, with or without the mark that it is asynchronous."""
    extras = dict(getattr(tool, "extras", None) or {})
    if native == bool(extras.get(_MARK)):
        return tool
    extras[_MARK] = native
    if not native:
        del extras[_MARK]
    return tool.model_copy(update={"extras": extras or None})
