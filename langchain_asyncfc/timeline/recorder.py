"""From the events of a run to its record: a callback handler.

LangChain calls a handler from the event loop of a run and from threads alike, so all that changes
is changed under a lock. Nothing is worked out while the run goes on: an event notes a time and
keeps what it was given; `record` makes spans of it.
"""

from __future__ import annotations

import asyncio
import itertools
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final
from uuid import UUID

from langchain_core.callbacks import BaseCallbackHandler
from langchain_core.messages import AIMessage, BaseMessage, ToolMessage
from langchain_core.outputs import LLMResult
from langgraph.errors import GraphBubbleUp

from langchain_asyncfc.errors import ToolCancelled
from langchain_asyncfc.reasons import waits_in
from langchain_asyncfc.recording import FUTURE_METADATA, answer_in
from langchain_asyncfc.records import CONTROL_TOOLS, is_pending, outcomes_in
from langchain_asyncfc.timeline.clock import Clock
from langchain_asyncfc.timeline.spans import Reply, RunRecord, ToolRun, Wait

__all__ = ["MAX_TEXT", "Recorder"]

_NAMESPACE: Final = "langgraph_checkpoint_ns"
"""Where LangGraph says in metadata which task runs: the graph's namespace, `|`, node and task."""
MAX_TEXT: Final = 100_000
"""Characters of a text that a record has by default: some 25,000 tokens, more than most tools
give that have an eye on a model's context, and no megabytes for each of thousands of calls."""


@dataclass(slots=True)
class _Place:
    """Where an event stands: its outermost run, and the tool that was running it."""

    root: UUID
    run: int
    within: _OpenTool | None = None


@dataclass(slots=True)
class _OpenReply:
    start: float
    model: str
    agent: str
    place: _Place
    end: float | None = None
    first_token: float | None = None
    message: AIMessage | None = None
    text: str = ""
    failed: bool = False


@dataclass(slots=True)
class _OpenTool:
    start: float
    tool: str
    agent: str
    place: _Place
    args: Mapping[str, Any]
    call: str
    future: str
    waits: Sequence[Any] = ()
    end: float | None = None
    state: str = "running"
    result: Any = ""
    delivered: float | None = None


@dataclass(slots=True)
class _Call:
    """A call of a reply, before anything ran it.

    Attributes:
        runs: What ran it: nothing yet, or once, or again after an error or an interrupt.
    """

    name: str
    args: Mapping[str, Any]
    issued: float
    agent: str
    place: _Place
    runs: list[_OpenTool] = field(default_factory=list)
    delivered: float | None = None
    state: str = ""
    result: Any = ""
    future: str = ""


class Recorder(BaseCallbackHandler):
    """Records the spans of runs that it is a callback handler of.

    Args:
        name: A name for titles; by default that of the first run.
        clock: Gives the time in seconds. By default that of the event loop where a run has one
            that keeps its own, as in virtual time, and else the computer's.
        max_text: The characters of a result, reply or error that a record has; `None` for all.

    Raises:
        ValueError: When `max_text` is less than 1.
    """

    run_inline = True
    """LangChain calls it at once, in the thread of the event, so that times are exact."""

    def __init__(
        self,
        name: str = "",
        *,
        clock: Callable[[], float] | None = None,
        max_text: int | None = MAX_TEXT,
    ) -> None:
        if max_text is not None and max_text < 1:
            msg = f"max_text must be a number of characters from 1 on, or None, not {max_text!r}."
            raise ValueError(msg)
        self._max_text = max_text
        self._name = name
        self._given_clock = clock
        self._lock = threading.Lock()
        self.clear()

    def clear(self) -> None:
        """Forget everything, to record another run from its beginning."""
        with self._lock:
            self._clock = Clock(self._given_clock)
            self._run_name = ""
            self._runs = 0
            self._open_roots: set[UUID] = set()
            self._places: dict[UUID, _Place] = {}
            self._replies: list[_OpenReply] = []
            self._open_replies: dict[UUID, _OpenReply] = {}
            self._tools: list[_OpenTool] = []
            self._open_tools: dict[UUID, _OpenTool] = {}
            self._calls: dict[str, _Call] = {}
            self._untold: dict[str, _Call] = {}
            self._end = 0.0

    # -- places --------------------------------------------------------------------------------

    def _place(self, run: UUID, parent: UUID | None, name: str | None = None) -> _Place:
        """Where a run stands, by the one that started it."""
        above = self._places.get(parent) if parent is not None else None
        if above is None:
            self._clock.look()
            self._runs += 1
            above = _Place(run, self._runs)
            self._open_roots.add(run)
            self._run_name = self._run_name or name or ""
        self._places[run] = above
        return above

    def _now(self) -> float:
        self._end = max(self._end, self._clock.time())
        return self._end

    def on_chain_start(
        self,
        serialized: dict[str, Any] | None,
        inputs: Any,
        *,
        run_id: UUID,
        parent_run_id: UUID | None = None,
        **kwargs: Any,
    ) -> None:
        """Note where a graph, or a node of it, stands."""
        del serialized, inputs
        with self._lock:
            self._place(run_id, parent_run_id, kwargs.get("name"))
            if parent_run_id is None:
                self._now()

    def on_chain_end(self, outputs: Any, *, run_id: UUID, **kwargs: Any) -> None:
        """Note the end of a run."""
        del outputs, kwargs
        self._chain_ended(run_id)

    def on_chain_error(self, error: BaseException, *, run_id: UUID, **kwargs: Any) -> None:
        """Note the end of a run."""
        del error, kwargs
        self._chain_ended(run_id)

    def _chain_ended(self, run_id: UUID) -> None:
        with self._lock:
            if run_id in self._open_roots:
                self._open_roots.discard(run_id)
                self._end_left(run_id, self._now())

    def _end_left(self, root: UUID, now: float) -> None:
        """End what a cancelled run has left: LangChain says nothing of the end of such spans.

        Detached futures go on, and what they run.
        """
        for run_id, reply in list(self._open_replies.items()):
            if reply.place.root == root and not _goes_on(reply.place.within):
                reply.end, reply.failed = now, True
                del self._open_replies[run_id]
        for run_id, tool in list(self._open_tools.items()):
            if tool.place.root == root and not _goes_on(tool):
                tool.end, tool.state = now, "cancelled"
                del self._open_tools[run_id]

    # -- replies ---------------------------------------------------------------------------------

    def on_chat_model_start(
        self,
        serialized: dict[str, Any],
        messages: list[list[BaseMessage]],
        *,
        run_id: UUID,
        parent_run_id: UUID | None = None,
        metadata: dict[str, Any] | None = None,
        **kwargs: Any,
    ) -> None:
        """Note that a chat model is called, and which outcomes it is told of."""
        with self._lock:
            reply = self._begin_reply(serialized, run_id, parent_run_id, metadata, kwargs)
            for batch in messages:
                self._note_deliveries(batch, reply)

    def on_llm_start(
        self,
        serialized: dict[str, Any],
        prompts: list[str],
        *,
        run_id: UUID,
        parent_run_id: UUID | None = None,
        metadata: dict[str, Any] | None = None,
        **kwargs: Any,
    ) -> None:
        """Note that a language model is called with a plain text."""
        del prompts
        with self._lock:
            self._begin_reply(serialized, run_id, parent_run_id, metadata, kwargs)

    def _begin_reply(
        self,
        serialized: dict[str, Any] | None,
        run_id: UUID,
        parent_run_id: UUID | None,
        metadata: dict[str, Any] | None,
        kwargs: Mapping[str, Any],
    ) -> _OpenReply:
        place = self._place(run_id, parent_run_id, kwargs.get("name"))
        now = self._now()
        model = (metadata or {}).get("ls_model_name") or kwargs.get("name")
        model = model or (serialized or {}).get("name") or ""
        reply = _OpenReply(now, str(model), _agent(metadata), place)
        self._replies.append(reply)
        self._open_replies[run_id] = reply
        return reply

    def on_llm_new_token(self, token: Any, *, run_id: UUID, **kwargs: Any) -> None:
        """Note when the first token came."""
        del token, kwargs
        reply = self._open_replies.get(run_id)
        if reply is not None and reply.first_token is None:
            with self._lock:
                reply.first_token = self._now()

    def on_llm_end(self, response: LLMResult, *, run_id: UUID, **kwargs: Any) -> None:
        """Note that a message is complete, and the calls in it."""
        del kwargs
        with self._lock:
            reply = self._open_replies.pop(run_id, None)
            if reply is None:
                return
            reply.end = self._now()
            generations = [made for batch in response.generations for made in batch]
            message = getattr(generations[0], "message", None) if generations else None
            if isinstance(message, AIMessage):
                reply.message = message
                for call in message.tool_calls:
                    if call["id"]:
                        self._note_call(call["id"], call["name"], call["args"], reply)
            elif generations:
                reply.text = generations[0].text

    def on_llm_error(self, error: BaseException, *, run_id: UUID, **kwargs: Any) -> None:
        """Note that a call of a model failed or was cancelled."""
        del kwargs
        with self._lock:
            reply = self._open_replies.pop(run_id, None)
            if reply is not None:
                reply.end, reply.failed = self._now(), True
                reply.text = f"{type(error).__name__}: {error}"

    def _note_call(
        self, call_id: str, name: str, args: Mapping[str, Any], reply: _OpenReply
    ) -> None:
        assert reply.end is not None  # noqa: S101 - it has just ended
        # With eager start its tool may run already.
        since = itertools.takewhile(lambda tool: tool.start >= reply.start, reversed(self._tools))
        runs = [tool for tool in since if tool.call == call_id][::-1]
        call = _Call(name, args, reply.end, reply.agent, reply.place, runs)
        self._calls[call_id] = call
        if name not in CONTROL_TOOLS:
            self._untold[call_id] = call

    # -- tools -----------------------------------------------------------------------------------

    def on_tool_start(
        self,
        serialized: dict[str, Any],
        input_str: str,
        *,
        run_id: UUID,
        parent_run_id: UUID | None = None,
        metadata: dict[str, Any] | None = None,
        inputs: dict[str, Any] | None = None,
        **kwargs: Any,
    ) -> None:
        """Note that a tool starts."""
        with self._lock:
            place = self._place(run_id, parent_run_id)
            name = str((serialized or {}).get("name") or kwargs.get("name") or "")
            args: Mapping[str, Any] = {"input": input_str} if inputs is None else inputs
            future = str((metadata or {}).get(FUTURE_METADATA) or "")
            call_id = str(kwargs.get("tool_call_id") or "")
            waits = waits_in(metadata)
            tool = _OpenTool(
                self._now(), name, _agent(metadata), place, args, call_id, future, waits
            )
            if call_id in self._calls:
                self._calls[call_id].runs.append(tool)
            self._tools.append(tool)
            self._open_tools[run_id] = tool
            self._places[run_id] = _Place(place.root, place.run, tool)

    def on_tool_end(self, output: Any, *, run_id: UUID, **kwargs: Any) -> None:
        """Note that a tool has ended."""
        del kwargs
        message = answer_in(output, None) if not isinstance(output, ToolMessage) else output
        failed = isinstance(message, ToolMessage) and message.status == "error"
        self._tool_ended(run_id, "failed" if failed else "resolved", output)

    def on_tool_error(self, error: BaseException, *, run_id: UUID, **kwargs: Any) -> None:
        """Note that a tool has failed, was cancelled, or asked for something."""
        del kwargs
        self._tool_ended(run_id, _state_of(error), f"{type(error).__name__}: {error}")

    def _tool_ended(self, run_id: UUID, state: str, result: Any) -> None:
        with self._lock:
            tool = self._open_tools.pop(run_id, None)
            if tool is None:
                return
            tool.end, tool.state, tool.result = self._now(), state, result
            if not tool.call:
                self._find_call(tool, result)

    def _find_call(self, tool: _OpenTool, result: Any) -> None:
        """Find the call that a tool ran for, where LangChain did not say so at its start."""
        if not isinstance(result, ToolMessage):
            return
        tool.call = result.tool_call_id
        known = self._calls.get(result.tool_call_id)
        if known is not None:  # else its message may still be written
            known.runs.append(tool)

    # -- deliveries ------------------------------------------------------------------------------

    def _note_deliveries(self, messages: Sequence[BaseMessage], reply: _OpenReply) -> None:
        """Note the calls of whose outcomes the model is told now, for the first time.

        What is new mostly stands at the end, so it is looked for from there, and no further than
        until everything was found.
        """
        if not self._untold:
            return
        futures = self._untold_futures(reply)
        for message in reversed(messages):
            if not self._untold:
                return
            if not isinstance(message, ToolMessage):
                continue
            states = outcomes_in(message)
            known = self._calls.get(message.tool_call_id)
            named = {run.future for run in known.runs} if known is not None else set()
            for future, state in states.items():
                if future in futures and future not in named:
                    self._tell(futures[future], reply.start, future, state, message)
            if not is_pending(message):
                own = next((i for i in states if i in named), "")
                own = own or next((i for i in states if i not in futures), "")
                state = "failed" if message.status == "error" else "resolved"
                told = states.get(own, state)
                self._tell(message.tool_call_id, reply.start, own, told, message)

    def _untold_futures(self, reply: _OpenReply) -> dict[str, str]:
        """The calls by the ids of their futures, as a reply's model knows them.

        Each agent counts its own futures, so several that run beside each other have calls of the
        same id. Those of the same agent go before those of another one that it shares messages
        with, and before those of an earlier run.
        """
        found: dict[str, tuple[int, str]] = {}
        for call_id, call in self._untold.items():
            beside = call.place.within is reply.place.within
            if not beside and call.place.root == reply.place.root:
                continue
            rank = (beside and call.agent == reply.agent) + beside
            for run in call.runs:
                if run.future and rank >= found.get(run.future, (0, ""))[0]:
                    found[run.future] = rank, call_id
        return {future: call_id for future, (_, call_id) in found.items()}

    def _tell(
        self, call_id: str, now: float, future: str, state: str, message: ToolMessage
    ) -> None:
        call = self._untold.pop(call_id, None)
        if call is not None:
            call.delivered, call.state, call.future = now, state, future
            call.result = message
            if call.runs:
                call.runs[-1].delivered = now

    # -- the record ------------------------------------------------------------------------------

    def record(self) -> RunRecord:
        """What was recorded so far. Spans that have not ended end now."""
        with self._lock:
            end = self._now() if self._open_roots else self._end
            replies = [self._reply(reply, end) for reply in self._replies]
            tools = [self._tool(tool, end) for tool in self._tools]
            tools += [
                self._never_started(call_id, call)
                for call_id, call in self._calls.items()
                if call.delivered is not None and not call.runs
            ]
            order = {call_id: n for n, call_id in enumerate(self._calls)}
            name, began = self._name or self._run_name, self._clock.began
        replies.sort(key=lambda reply: reply.start)
        tools.sort(key=lambda tool: (tool.issued, order.get(tool.call, -1), tool.start))
        return RunRecord(tuple(replies), tuple(tools), end, name, began)

    def _reply(self, reply: _OpenReply, now: float) -> Reply:
        message = reply.message
        usage: Mapping[str, Any] = (message.usage_metadata or {}) if message is not None else {}
        calls = [] if message is None else [call for call in message.tool_calls if call["id"]]
        return Reply(
            start=reply.start,
            end=now if reply.end is None else reply.end,
            model=reply.model,
            calls=tuple(call["id"] or "" for call in calls),
            first_token=reply.first_token,
            input_tokens=usage.get("input_tokens"),
            output_tokens=usage.get("output_tokens"),
            text=self._shortened(reply.text if message is None else str(message.text)),
            failed=reply.failed,
            tools=tuple(call["name"] for call in calls),
            agent=reply.agent,
            run=reply.place.run,
            within=_within(reply.place),
        )

    def _tool(self, tool: _OpenTool, now: float) -> ToolRun:
        call = self._calls.get(tool.call)
        longest = max((waited.end for waited in tool.waits), default=0.0)
        issued = max(0.0, tool.start - longest) if call is None else call.issued
        return ToolRun(
            call=tool.call,
            tool=tool.tool,
            issued=min(issued, tool.start),
            start=tool.start,
            end=now if tool.end is None else tool.end,
            args=tool.args,
            future=tool.future,
            state=tool.state,
            result=self._text_of(tool.result),
            waits=tuple(_waits(tool, issued)),
            delivered=tool.delivered,
            agent=tool.agent if call is None else call.agent,
            run=tool.place.run,
            within=_within(tool.place),
        )

    def _never_started(self, call_id: str, call: _Call) -> ToolRun:
        """The span of a call that ended before any tool ran: skipped, refused, or never valid."""
        assert call.delivered is not None  # noqa: S101 - only asked of those
        return ToolRun(
            call=call_id,
            tool=call.name,
            issued=call.issued,
            start=call.delivered,
            end=call.delivered,
            args=call.args,
            future=call.future,
            state=call.state,
            result=self._text_of(call.result),
            delivered=call.delivered,
            agent=call.agent,
            run=call.place.run,
            within=_within(call.place),
        )

    def _text_of(self, result: Any) -> str:
        if isinstance(result, BaseMessage):
            return self._shortened(str(result.text))
        return self._shortened(result if isinstance(result, str) else repr(result))

    def _shortened(self, text: str) -> str:
        most = self._max_text
        return text if most is None or len(text) <= most else f"{text[: most - 1]}…"


def _waits(tool: _OpenTool, issued: float) -> list[Wait]:
    """The waits of a tool's run, by the clock of the record."""
    return [
        Wait(
            min(issued + waited.start, tool.start),
            min(issued + waited.end, tool.start),
            waited.reason,
            waited.after,
        )
        for waited in tool.waits
    ]


def _goes_on(tool: _OpenTool | None) -> bool:
    """Whether a tool, or one that runs it, is a future that has not ended."""
    while tool is not None:
        if tool.future and tool.end is None:
            return True
        tool = tool.place.within
    return False


def _within(place: _Place) -> str:
    return place.within.call or place.within.tool if place.within is not None else ""


def _agent(metadata: Mapping[str, Any] | None) -> str:
    """Where the graph of a task stands: the task's namespace without the task itself."""
    return str((metadata or {}).get(_NAMESPACE) or "").rpartition("|")[0]


def _state_of(error: BaseException) -> str:
    if isinstance(error, GraphBubbleUp):
        return "interrupted"
    if isinstance(error, ToolCancelled | asyncio.CancelledError):
        return "cancelled"
    return "failed"
