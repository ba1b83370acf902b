"""What a future looks like to the model, and what the model is told about futures.

The texts are as short as they can be. "Waiting…" makes models call again, and a text about the
coming message makes them write that message themselves (rule 9), so a placeholder says four
things: the future's id, that the call is running, how to use the id, and not to repeat the call
or guess its result.
"""

from __future__ import annotations

from typing import Final
from uuid import uuid4

from langchain_core.messages import ToolMessage

from langchain_asyncfc.calls import Call
from langchain_asyncfc.records import as_kwargs, pending_record

__all__ = ["asyncfc_instructions", "placeholder"]

_FULL: Final = (
    '{id} is running. Use its result in later calls by passing "{id}" as an argument, or a part '
    'of it such as "{id}.items[0].name"; inside a longer string write ${{{id}}}. '
    "Do not repeat this call and do not guess its result."
)
_SHORT: Final = (
    '{id} is running. Pass "{id}" on where its result is needed; do not repeat this call or guess '
    "its result."
)

_INSTRUCTIONS: Final = """\
Tools run in the background. A call that takes time is answered at once with a future such as \
future_1; its result comes later by itself.
- Go on with whatever does not need that result: think, and make other calls.
- To use a result that is not there yet (or is long), pass the future's id as an argument: \
"future_1", or a part of it as "future_1.items[0].id". Inside a longer string write \
${future_1.title}. The value is put in before the call starts.
- Futures are numbered by your tool calls: the n-th call of the conversation is future_n. So you \
may refer to an earlier call of the same message.
- Do not repeat a running call, and never make up its result.
- If you must see a result before you can go on, set await_result to true in that call, or to \
"all" to wait for every unfinished result. Do so in the last calls before your answer.
- await_future waits for futures, cancel_future cancels them. There is nothing to poll.
- Calls that depend on each other through files or other resources keep their order by themselves.
- To pass a text that looks like a future's id literally, put a backslash in front of it."""


def asyncfc_instructions() -> str:
    """A prompt text that tells a model how to work with futures; add it to the system message."""
    return _INSTRUCTIONS


def placeholder(call: Call, *, full: bool, detach: bool) -> ToolMessage:
    """The message that stands for a future that has not finished.

    Args:
        call: The call.
        full: Whether to give the full text, which a thread shows once.
        detach: Whether the future may outlive the run.
    """
    text = (_FULL if full else _SHORT).format(id=call.future)
    kwargs = as_kwargs(pending_record(call.future, detach=detach))
    return ToolMessage(
        text,
        name=call.name,
        tool_call_id=call.id or "",
        id=str(uuid4()),
        additional_kwargs=kwargs,
    )
