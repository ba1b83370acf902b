"""What happened in a run, as spans of time: replies of the model, and runs of tools.

Plain data that a recorder fills from callbacks, `estimate` from a trace or from what it works out,
and that figures and pictures are made of. All times are seconds since the beginning of the run.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, TypeAlias

__all__ = ["Reply", "RunRecord", "Span", "ToolRun", "Wait"]


@dataclass(frozen=True, slots=True)
class Reply:
    """One call of the model: it decodes a message.

    Attributes:
        start: When it was called.
        end: When its message was complete.
        model: Its name.
        calls: The ids of the tool calls in the message, in their order.
        first_token: When its first token came, if that was seen.
        input_tokens: Of the request, if the provider says so.
        output_tokens: Of the message, if the provider says so.
        text: The text of the message; the text of its error if it failed.
        failed: Whether the call ended with an error.
        tools: The names of the tools that it calls, in the order of `calls`.
        agent: Which of several agents it belongs to: where its graph stands in the outermost one,
            by LangGraph's namespace of checkpoints. Empty for the outermost graph itself.
        run: The number of the run that it belongs to, where several are recorded.
        within: The id of the tool call that was running it, as one to a subagent does; empty if
            none was.
    """

    start: float
    end: float
    model: str = ""
    calls: tuple[str, ...] = ()
    first_token: float | None = None
    input_tokens: int | None = None
    output_tokens: int | None = None
    text: str = ""
    failed: bool = False
    tools: tuple[str, ...] = ()
    agent: str = ""
    run: int = 0
    within: str = ""


@dataclass(frozen=True, slots=True)
class Wait:
    """A time that a call spent waiting before it started, and what for.

    Attributes:
        start: When it began to wait.
        end: When it no longer had to.
        reason: What for, in words: `"RAW on fs:/src"`, `"reference"`, `"no declared effects"`.
        after: The id of the future that it waited for, or of its tool call; empty if it waited for
            no call, as for a place among `max_concurrency` calls.
    """

    start: float
    end: float
    reason: str
    after: str = ""


@dataclass(frozen=True, slots=True)
class ToolRun:
    """One tool call, from the message that made it until the model was told of its outcome.

    Attributes:
        call: The id of the tool call.
        tool: The tool's name.
        issued: When the message that made it was complete.
        start: When the tool started.
        end: When the tool had ended.
        args: Its arguments, as they were when it started.
        future: The id of its future; empty for a call that never became one.
        state: How it ended: `"resolved"`, `"failed"`, `"cancelled"`, `"skipped"`, or
            `"interrupted"` if it asked for something, so that it runs again when it is answered;
            `"running"` if it had not ended. A call that never started begins and ends when the
            model was told so.
        result: Its result or error, as text; a long one may be cut, see `Timeline`.
        waits: What it waited for before it started.
        delivered: When a call of the model began that was sent its outcome; `None` if none was.
        agent: Which of several agents made it, as for `Reply`.
        run: The number of the run in which it ran, as for `Reply`.
        within: The id of the tool call that was running it; empty if none was.
    """

    call: str
    tool: str
    issued: float
    start: float
    end: float
    args: Mapping[str, Any] = field(default_factory=dict)
    future: str = ""
    state: str = "resolved"
    result: str = ""
    waits: tuple[Wait, ...] = ()
    delivered: float | None = None
    agent: str = ""
    run: int = 0
    within: str = ""


Span: TypeAlias = Reply | ToolRun


@dataclass(frozen=True, slots=True)
class RunRecord:
    """Everything that was seen of one run.

    Attributes:
        replies: In the order in which they began.
        tools: In the order in which they were issued.
        end: When the run ended, in seconds since its beginning.
        name: Of the run, for titles.
        began: When it began, in seconds since 1970, if that is known.
    """

    replies: tuple[Reply, ...]
    tools: tuple[ToolRun, ...]
    end: float
    name: str = ""
    began: float | None = None
