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
    ids = {message.id for message in messages}
    late: dict[str, list[AnyMessage]] = {}
    kept: list[AnyMessage] = []
    for message in messages:
        if isinstance(message, ToolMessage) and message.tool_call_id in native:
            if is_pending(message):
                continue
            after = came_after(message)
            if after is not None and after in ids:
                late.setdefault(after, []).append(message)
                continue
        kept.append(message)
    return _with_late(kept, late)


def _with_late(kept: list[AnyMessage], late: dict[str, list[AnyMessage]]) -> list[AnyMessage]:
    """Put late outputs in, after all outputs of the group in which they were delivered."""
    shown: list[AnyMessage] = []
    due: list[AnyMessage] = []
    for message in kept:
        if due and not isinstance(message, ToolMessage):
            shown += due
            due = []
        shown.append(message)
        due += late.pop(message.id, []) if message.id is not None else []
    # What came after a placeholder that is itself not shown.
    return [*shown, *due, *(message for others in late.values() for message in others)]


def takes_native_calls(model: Any) -> bool:
    """Whether a model is one that can take outputs late: OpenAI's, by the Responses API."""
    if not is_openai(model):
        return False
    by_version = str(getattr(model, "output_version", None) or "").startswith("responses/")
    chained = getattr(model, "use_previous_response_id", False)
    return bool(getattr(model, "use_responses_api", None) or by_version or chained)


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
