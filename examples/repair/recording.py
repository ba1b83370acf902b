"""What happened in a run and when: written by callbacks, read by the view and the report."""

# ruff: noqa: ARG002 - the signatures of the callbacks are LangChain's

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from langchain_core.callbacks import BaseCallbackHandler
from langchain_core.messages import AIMessage, BaseMessage, ToolMessage
from langchain_core.outputs import ChatGeneration, LLMResult

from examples.repair.history import CONTROL_TOOLS
from examples.repair.metrics import Interval, Metrics, measure

if TYPE_CHECKING:
    from uuid import UUID


@dataclass(slots=True)
class CallRecord:
    """A tool call of the model's; times are seconds since the start of the run.

    Attributes:
        turn: The turn in which it was made, from 1.
        name: The tool.
        arguments: Its arguments.
        future: The future's id, once a placeholder was shown to the model.
        issued: When the model had written it.
        started: When the tool began to run.
        ended: When the tool was done.
        delivered: When the result was in the messages.
        failed: Whether the result is an error.
    """

    turn: int
    name: str
    arguments: Mapping[str, Any]
    issued: float
    future: str | None = None
    started: float | None = None
    ended: float | None = None
    delivered: float | None = None
    failed: bool = False

    @property
    def is_control(self) -> bool:
        """Whether the call is about futures and runs nothing itself."""
        return self.name in CONTROL_TOOLS


@dataclass(slots=True)
class Turn:
    """One answer of the model's; times are seconds since the start of the run."""

    start: float
    end: float | None = None
    text: str = ""


Listener = Callable[[str, CallRecord | Turn], None]
"""Is told an event's name (`turn`, `said`, `issued`, `started`, `ended`, `future`, `delivered`)
and what it is about."""


@dataclass(slots=True)
class RunLog:
    """A run so far.

    Attributes:
        title: The name of the tool node.
        turns: The model's answers, the last one perhaps unfinished.
        calls: Its tool calls by id, in the order in which they were made.
        input_tokens: Tokens that the model has read.
        output_tokens: Tokens that the model has written.
        wall: Seconds that the whole run took, once it is over.
    """

    title: str
    origin: float = field(default_factory=time.perf_counter)
    turns: list[Turn] = field(default_factory=list)
    calls: dict[str, CallRecord] = field(default_factory=dict)
    input_tokens: int = 0
    output_tokens: int = 0
    wall: float | None = None

    def now(self) -> float:
        """Return the seconds since the start of the run, or its length once it is over."""
        return time.perf_counter() - self.origin if self.wall is None else self.wall

    def decoding(self) -> list[Interval]:
        """Return when the model was busy."""
        return [Interval(turn.start, turn.end) for turn in self.turns if turn.end is not None]

    def running(self) -> list[Interval]:
        """Return when each tool call that is over was running."""
        return [
            Interval(call.started, call.ended)
            for call in self.calls.values()
            if call.started is not None and call.ended is not None
        ]

    def metrics(self) -> Metrics:
        """Return where the time went so far."""
        return measure(self.decoding(), self.running(), self.now())


class Recorder(BaseCallbackHandler):
    """Writes a `RunLog` from LangChain's callbacks and from the graph's messages.

    It runs inline, in the thread in which things happen, so that times are true.

    Args:
        log: Where to write.
        listener: Who else wants to know.
    """

    run_inline = True
    raise_error = True

    def __init__(self, log: RunLog, listener: Listener) -> None:
        self._log = log
        self._listener = listener
        self._lock = threading.Lock()
        self._running: dict[UUID, CallRecord] = {}

    def on_chat_model_start(
        self, serialized: dict[str, Any], messages: list[list[BaseMessage]], **kwargs: Any
    ) -> None:
        """Open a turn."""
        with self._lock:
            turn = Turn(self._log.now())
            self._log.turns.append(turn)
            self._listener("turn", turn)

    def on_llm_new_token(self, token: str | list[str | dict[str, Any]], **kwargs: Any) -> None:
        """Add a piece of text to the turn; content blocks come with the end."""
        if isinstance(token, str):
            with self._lock:
                self._log.turns[-1].text += token

    def on_llm_end(self, response: LLMResult, **kwargs: Any) -> None:
        """Close the turn; note its tool calls and tokens."""
        generation = response.generations[0][0]
        assert isinstance(generation, ChatGeneration)
        message = generation.message
        assert isinstance(message, AIMessage)
        with self._lock:
            turn = self._close_turn()
            turn.text = message.text
            if message.usage_metadata is not None:
                self._log.input_tokens += message.usage_metadata["input_tokens"]
                self._log.output_tokens += message.usage_metadata["output_tokens"]
            self._listener("said", turn)
            for call in message.tool_calls:
                self._issue(str(call["id"]), call["name"], call["args"])

    def on_llm_error(self, error: BaseException, **kwargs: Any) -> None:
        """Close the turn."""
        with self._lock:
            self._close_turn()

    def on_tool_start(
        self,
        serialized: dict[str, Any],
        input_str: str,
        *,
        run_id: UUID,
        tool_call_id: str | None = None,
        **kwargs: Any,
    ) -> None:
        """Note that a call's tool begins to run."""
        with self._lock:
            call = self._log.calls.get(tool_call_id or "")
            if call is not None and not call.is_control:
                self._running[run_id] = call
                call.started = self._log.now()
                self._listener("started", call)

    def on_tool_end(self, output: Any, *, run_id: UUID, **kwargs: Any) -> None:
        """Note that a call's tool is done."""
        self._end(run_id)

    def on_tool_error(self, error: BaseException, *, run_id: UUID, **kwargs: Any) -> None:
        """Note that a call's tool has failed."""
        self._end(run_id)

    def see(self, messages: Iterable[BaseMessage]) -> None:
        """Note which calls have a placeholder and which have their result."""
        with self._lock:
            for message in messages:
                if isinstance(message, ToolMessage):
                    self._answered(message)

    def _close_turn(self) -> Turn:
        turn = self._log.turns[-1]
        turn.end = self._log.now()
        return turn

    def _issue(self, call_id: str, name: str, arguments: Mapping[str, Any]) -> None:
        call = CallRecord(len(self._log.turns), name, arguments, self._log.now())
        self._log.calls[call_id] = call
        self._listener("issued", call)

    def _end(self, run_id: UUID) -> None:
        with self._lock:
            if (call := self._running.pop(run_id, None)) is not None:
                call.ended = self._log.now()
                self._listener("ended", call)

    def _answered(self, message: ToolMessage) -> None:
        for other in self._log.calls.values():
            if other.delivered is None and other.future in riders(message):
                self._deliver(other)
        call = self._log.calls.get(message.tool_call_id)
        if call is None or call.delivered is not None:
            return
        if (future := pending_future(message)) is None:
            call.failed = message.status == "error"
            self._deliver(call)
        elif call.future is None:
            call.future = future
            self._listener("future", call)

    def _deliver(self, call: CallRecord) -> None:
        call.delivered = self._log.now()
        self._listener("delivered", call)


def _record(message: ToolMessage) -> Mapping[str, Any]:
    """Return what the node noted on a message, unseen by the model; `ToolNode` notes nothing."""
    record = message.additional_kwargs.get("asyncfc")
    return record if isinstance(record, Mapping) else {}


def pending_future(message: ToolMessage) -> str | None:
    """Return the id of the future that a placeholder stands for, `None` for any other message."""
    record = _record(message)
    return str(record["future"]) if record.get("state") == "pending" else None


def riders(message: ToolMessage) -> Mapping[str, Any]:
    """Return the futures whose results ride on a message, by id."""
    delivered = _record(message).get("delivered")
    return delivered if isinstance(delivered, Mapping) else {}
