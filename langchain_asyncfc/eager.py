"""Eager start: calls start while the model still writes the message that makes them.

A handler on a copy of the model sees its stream. As soon as a call is complete, and `early` finds
nothing against it, its tool begins (see `begun`), in the context of the model's step. The step
that issues the call takes up what has begun; see `Scheduler.begin` for why that changes nothing.
What nobody takes up is ended when its stream fails, when its message comes without it, when
another message is issued, or with the run.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any
from uuid import UUID
from weakref import WeakValueDictionary

from langchain_core.callbacks import AsyncCallbackManager, BaseCallbackHandler, BaseCallbackManager
from langchain_core.language_models import BaseChatModel
from langchain_core.messages import AIMessage
from langchain_core.runnables import RunnableConfig
from langchain_core.runnables.base import RunnableBindingBase
from langgraph.config import get_config

from langchain_asyncfc.begun import Begun
from langchain_asyncfc.calls import Call, is_control, read_call
from langchain_asyncfc.configs import apart, state_of
from langchain_asyncfc.early import CallsBefore, CallsInWriting
from langchain_asyncfc.engine import Engine
from langchain_asyncfc.runs import known_thread
from langchain_asyncfc.scheduler import Lane, Scheduler

if TYPE_CHECKING:
    from langchain_core.messages import ToolCall

__all__ = ["watched"]

_logger = logging.getLogger(__name__)


def watched(model: Any, engine: Engine, messages_key: str, node: str) -> Any:
    """A copy of a model that streams, and whose calls may start early.

    Args:
        model: A chat model, or what binds something to one, as `bind_tools` does.
        engine: Runs the calls.
        messages_key: Where the thread is in the state.
        node: The name of the node that issues the calls.

    Raises:
        TypeError: When it is something else, of which it is not known whether it shows its stream.
    """
    if isinstance(model, BaseChatModel):
        watch = CallWatch(engine, messages_key, node)
        return model.model_copy(update={"callbacks": _with(model.callbacks, watch), **_STREAMS})
    if isinstance(model, RunnableBindingBase):
        bound = watched(model.bound, engine, messages_key, node)
        return model.model_copy(update={"bound": bound})
    msg = (
        f"Calls of {type(model).__name__} cannot be started early: only the stream of a chat model "
        "can be watched, also behind bind_tools, bind, with_config or with_retry. Wrap the chat "
        "model itself before it is put into anything else."
    )
    raise TypeError(msg)


_STREAMS = {"streaming": True}
"""Has LangChain stream under `invoke` too, also models that have no such field of their own."""


def _with(callbacks: Any, watch: CallWatch) -> Any:
    if isinstance(callbacks, BaseCallbackManager):
        changed = callbacks.copy()
        changed.add_handler(watch, inherit=False)
        return changed
    return [*(c for c in callbacks or () if not watch.replaces(c)), watch]


class CallWatch(BaseCallbackHandler):
    """Sees the streams of one model, and has calls begin.

    Args:
        engine: Runs the calls.
        messages_key: Where the thread is in the state.
        node: The name of the node that issues the calls.
    """

    run_inline = True
    ignore_chain = True
    ignore_agent = True
    ignore_retriever = True
    ignore_retry = True
    ignore_custom_event = True

    def __init__(self, engine: Engine, messages_key: str, node: str) -> None:
        self._engine = engine
        self._key = messages_key
        self._node = node
        # A stream that is cancelled has no end that is told here. It goes with its run.
        self._streams: WeakValueDictionary[UUID, _Stream] = WeakValueDictionary()

    def __copy__(self) -> CallWatch:
        """The same object: what it knows belongs to the engine, not to a model."""
        return self

    def __deepcopy__(self, memo: dict[int, Any]) -> CallWatch:
        """The same object; see `__copy__`."""
        return self

    def replaces(self, other: Any) -> bool:
        """Whether another handler does the same."""
        return isinstance(other, CallWatch) and other._engine is self._engine

    def on_chat_model_start(
        self,
        serialized: dict[str, Any],  # noqa: ARG002 - LangChain's signature
        messages: list[list[Any]],
        *,
        run_id: UUID,
        **kwargs: Any,  # noqa: ARG002
    ) -> None:
        """Look where the model is called."""
        try:
            config = get_config()
        except RuntimeError:  # outside of a graph
            return
        is_async = isinstance(config.get("callbacks"), AsyncCallbackManager)
        if is_async and not _on_loop():
            return  # in a thread of a run on an event loop, where nothing can be started
        # What the model is sent may be less than the thread.
        thread = state_of(config, self._key) or messages[0]
        place = self._engine.around_model(config, thread, is_async=is_async)
        if place is None:
            return
        scheduler, lane = place
        config = _in_node(config, self._node)
        stream = _Stream(self._engine, scheduler, lane, thread, config, run_id, is_async)
        self._streams[run_id] = scheduler.streams[run_id] = stream

    def on_llm_new_token(
        self,
        token: Any,  # noqa: ARG002 - LangChain's signature
        *,
        chunk: Any = None,
        run_id: UUID,
        **kwargs: Any,  # noqa: ARG002
    ) -> None:
        """Take in a chunk."""
        stream = self._streams.get(run_id)
        chunks = getattr(getattr(chunk, "message", None), "tool_call_chunks", None)
        if stream is not None and chunks:
            stream.feed(chunks)

    def on_llm_end(self, response: Any, *, run_id: UUID, **kwargs: Any) -> None:  # noqa: ARG002
        """End what the message does not hold."""
        stream = self._streams.pop(run_id, None)
        if stream is not None:
            stream.end(_calls_in(response))

    def on_llm_error(
        self,
        error: BaseException,  # noqa: ARG002 - LangChain's signature
        *,
        run_id: UUID,
        **kwargs: Any,  # noqa: ARG002
    ) -> None:
        """End what a stream has begun that is cut."""
        stream = self._streams.pop(run_id, None)
        if stream is not None:
            stream.end(())


class _Stream:
    """One message that is written in a run with futures.

    Args:
        engine: Runs its calls.
        scheduler: That of the run.
        lane: How the calls are run.
        messages: The thread.
        config: The config of the model's step.
        run_id: That of the model's run.
        is_async: Whether that is one of a run on an event loop.
    """

    def __init__(
        self,
        engine: Engine,
        scheduler: Scheduler,
        lane: Lane,
        messages: Sequence[Any],
        config: RunnableConfig,
        run_id: UUID,
        is_async: bool,
    ) -> None:
        thread = known_thread(messages)
        self._policy = engine.policy
        self._scheduler = scheduler
        self._lane = lane
        self._first = max(thread.highest, scheduler.last) + 1
        # What an earlier run has left goes on in the next step, and may be in the way of others.
        self._closed = any(scheduler.get(ordinal) is None for ordinal in thread.pending)
        self._config = config
        self._id = run_id
        self._is_async = is_async
        self._task: asyncio.Task[Any] | None = None
        self._writing = CallsInWriting()
        self._considered = 0
        self._number = 0
        self._before = CallsBefore()
        self._begun: list[Begun] = []

    def feed(self, chunks: Sequence[Any]) -> None:
        """Take in chunks, and have the calls begin that are complete and may."""
        places = self._writing.feed(chunks)
        if not self._closed:
            for place in places:
                self._consider(place)
        if self._is_async and self._begun and self._task is None:
            # LangChain tells of no end when `ainvoke` is cancelled; its task does.
            self._task = asyncio.current_task()
            if self._task is not None:
                self._task.add_done_callback(self._is_over)

    def _is_over(self, task: asyncio.Task[Any]) -> None:
        if task.cancelled():
            self.end(())

    def _consider(self, complete: int) -> None:
        """Have the call at a place begin if it may; each place up to it is read once."""
        for place in range(self._considered, complete + 1):
            self._considered = place + 1
            if is_control({"name": self._writing.names[place]}):  # type: ignore[typeddict-item]
                continue
            call = self._read(self._writing.calls[place])
            if call is not None and place == complete:
                self._begin(call)
            self._before.add(call)

    def _begin(self, call: Call) -> None:
        against = self._before.against(call)
        if against is not None:
            _logger.debug("%s does not start early: %s.", call.name, against)
            return
        begun = self._scheduler.begin(call, self._lane, self._start)
        if begun is not None:
            self._begun.append(begun)

    def _read(self, tool_call: ToolCall | None) -> Call | None:
        """The next call; `None` for one that is not complete."""
        number, self._number = self._number, self._number + 1
        if tool_call is None:
            return None
        facts = self._policy.toolbox.on(tool_call["name"])
        strict = self._policy.strict
        return read_call(self._first + number, tool_call, facts, first=self._first, strict=strict)

    def _start(self, begun: Begun) -> None:
        # As a call of several: what it asks or runs is told from what the model's step does.
        config = apart(self._config, begun.call.ordinal)
        if self._is_async:
            begun.start_task(config)
        else:
            begun.start_thread(config)

    def end(self, calls: Sequence[ToolCall]) -> None:
        """End what has begun and is not among the calls of the message."""
        self._scheduler.streams.pop(self._id, None)
        ids = {call["id"] for call in calls}
        if lost := [begun for begun in self._begun if begun.call.id not in ids]:
            self._scheduler.end_begun(lost)


def _in_node(config: RunnableConfig, node: str) -> RunnableConfig:
    """The config of a step as far as it is told in streams: where a call stands that runs there."""
    return {**config, "metadata": {**config.get("metadata", {}), "langgraph_node": node}}


def _on_loop() -> bool:
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return False
    return True


def _calls_in(response: Any) -> list[ToolCall]:
    """The calls of the message that a model has given."""
    generations = [g for row in getattr(response, "generations", ()) for g in row]
    messages = [getattr(generation, "message", None) for generation in generations]
    return [c for message in messages if isinstance(message, AIMessage) for c in message.tool_calls]
