"""The control tools `await_future` and `cancel_future`: their schemas, and reading their calls.

They are never run as tools. The step that meets a call to one carries it out itself.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Sequence
from typing import Any, Final

from langchain_core.messages import ToolCall
from langchain_core.tools import BaseTool, StructuredTool

from langchain_asyncfc.calls import known_futures
from langchain_asyncfc.errors import InvalidControlCall
from langchain_asyncfc.futures import ordinal_of
from langchain_asyncfc.records import AWAIT_FUTURE, CANCEL_FUTURE
from langchain_asyncfc.values import shown

__all__ = ["control_tools", "named_futures", "timeout_of"]

_IDS: Final = {"type": "array", "items": {"type": "string", "pattern": "^future_[0-9]+$"}}

_AWAIT: Final[dict[str, Any]] = {
    "type": "object",
    "properties": {
        "futures": {
            "description": "Ids of the futures to wait for, such as future_1. Without it: all.",
            "anyOf": [_IDS, {"type": "null"}],
        },
        "timeout": {
            "description": "Seconds to wait at most. Without it: as long as it takes.",
            "anyOf": [{"type": "number", "minimum": 0}, {"type": "null"}],
        },
    },
}
_CANCEL: Final[dict[str, Any]] = {
    "type": "object",
    "properties": {"futures": {"description": "Ids of the futures to cancel.", **_IDS}},
    "required": ["futures"],
}


def control_tools(*, strict: bool = False) -> list[BaseTool]:
    """The two control tools, for the model to be bound to.

    Args:
        strict: Give them the form of OpenAI's strict schemas.
    """
    wait = dict(_AWAIT)
    cancel = dict(_CANCEL)
    if strict:
        wait |= {"required": ["futures", "timeout"], "additionalProperties": False}
        cancel |= {"additionalProperties": False}
    return [
        _tool(AWAIT_FUTURE, "Wait for the results of running calls and get them.", wait),
        _tool(CANCEL_FUTURE, "Cancel running calls whose results are not needed.", cancel),
    ]


def _tool(name: str, description: str, schema: dict[str, Any]) -> BaseTool:
    def run(**_: Any) -> Any:
        msg = (
            f"'{name}' is carried out by the node that the call is routed to; it is no tool to run."
        )
        raise TypeError(msg)

    return StructuredTool(name=name, description=description, args_schema=schema, func=run)


def named_futures(call: ToolCall, highest: int) -> list[int] | None:
    """The ordinals that a control call names, in its order; `None` when it names none.

    Args:
        call: The call.
        highest: The highest ordinal older than the call.

    Raises:
        InvalidControlCall: When an id is malformed or unknown. The message names the known ones.
    """
    given = call["args"].get("futures")
    if given is None or given == []:
        return None
    named = _ids_in(given) if isinstance(given, str) else given
    if not isinstance(named, Sequence):
        msg = (
            f"{call['name']}: 'futures' must be a list of ids such as [\"future_1\"], "
            f"not {shown(given)}."
        )
        raise InvalidControlCall(msg)
    ordinals = []
    for name in named:
        ordinal = ordinal_of(name) if isinstance(name, str) else None
        if ordinal is None or not 1 <= ordinal <= highest:
            msg = f"{call['name']}: unknown future {shown(name)}: {known_futures(highest)}."
            raise InvalidControlCall(msg)
        ordinals.append(ordinal)
    return ordinals


def _ids_in(text: str) -> list[Any]:
    """The ids in a text, as models often write a list: `["future_1"]`, or with commas."""
    try:
        listed = json.loads(text)
    except (ValueError, RecursionError):
        listed = None
    return listed if isinstance(listed, list) else [part.strip() for part in text.split(",")]


def timeout_of(call: ToolCall) -> float | None:
    """The timeout of an `await_future` call in seconds.

    Raises:
        InvalidControlCall: When it is no number, or negative.
    """
    given = call["args"].get("timeout")
    if given is None:
        return None
    if isinstance(given, bool) or not isinstance(given, int | float) or not given >= 0:
        msg = (
            "await_future: 'timeout' must be a number of seconds that is not negative, "
            f"not {shown(given)}."
        )
        raise InvalidControlCall(msg)
    # A thread can wait for no longer, and a float need not hold an integer that JSON has.
    return float(min(given, threading.TIMEOUT_MAX))
