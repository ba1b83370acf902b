"""What a tool really returned, before it becomes the text of a message.

`ToolNode` hands on messages only, and a value cannot be parsed back out of a text. So the tool
that `ToolNode` invokes is a copy of the real one whose `_run` and `_arun` note what the real ones
return. Calls that run at the same time share one, unless the tool's attributes were changed between
them; the noting functions are made once a class, with their signatures worked out, since LangChain
inspects them at every call.
"""

from __future__ import annotations

import asyncio
import contextlib
import copy
import inspect
import typing
from collections.abc import Callable, Mapping
from concurrent.futures import CancelledError
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any, Final
from weakref import WeakKeyDictionary, WeakValueDictionary

from langchain_core.messages import ToolMessage
from langchain_core.runnables import RunnableConfig
from langchain_core.tools import BaseTool, StructuredTool, Tool
from langgraph.errors import GraphBubbleUp
from langgraph.types import Command

from langchain_asyncfc.errors import ToolCancelled, ToolStopped
from langchain_asyncfc.executors import background_loop, worker_pool
from langchain_asyncfc.values import plain_value

__all__ = ["Noting", "Recording", "RecordingTool", "noting", "recorded"]

FUTURE_METADATA: Final = "asyncfc_future"
"""The key of a future's id in the metadata of its tool's run."""

_OWN: Final = ("_run", "_arun")
_MISSING: Final = object()
_NOTHING_TOLD: Final[Mapping[str, Any]] = {}


class Recording:
    """What is noted of one running call.

    Attributes:
        future: The id of the call's future, put into the metadata of the tool's run.
        tool: The tool that runs; set when it is invoked.
        stop: Set by the runtime when it ends the call early; the reason.
        in_queue: Whether the call waits for a thread.
        began: When the call itself began, by the given clock; `None` if it has not.
        config: The config to run the tool with, in place of that of the step that issued it.
        told: What the metadata of the tool's run say beside the future's id.
        begun: The run of the tool that began before its call was issued, until the call comes to
            invoke the tool (see `begun`).
    """

    __slots__ = (
        "_message",
        "_now",
        "_own",
        "_raw",
        "_task",
        "_traced",
        "began",
        "begun",
        "config",
        "future",
        "in_queue",
        "stop",
        "told",
        "tool",
    )

    def __init__(self, now: Callable[[], float], future: str | None = None) -> None:
        self.future: str | None = future
        self._now = now
        self._task: asyncio.Task[Any] | None = None
        self._traced = False
        self.in_queue: bool = False
        self.began: float | None = None
        self.config: RunnableConfig | None = None
        self.tool: Any = None
        self.stop: ToolStopped | None = None
        self.told: Mapping[str, Any] = _NOTHING_TOLD
        self._raw: Any = _MISSING
        self._message: Any = None
        self._own: Any = None
        self.begun: Any = None

    def begin(self, *, early: bool = False) -> None:
        """Note that the call begins now, if it has not; a later mark is the better one.

        Args:
            early: Whether it is the early run itself that says so.
        """
        if early or self.begun is None:
            self._mark()

    def _mark(self) -> None:
        self.began = self._now()
        self.in_queue = False

    async def in_pool(self, work: Callable[[], Any]) -> Any:
        """Do the call's work in the pool for sync tools; it begins when a thread comes to it."""

        def run() -> Any:
            self._mark()
            return work()

        self.in_queue = True
        return await asyncio.get_running_loop().run_in_executor(worker_pool(), run)

    def interrupt(self) -> bool:
        """End an async tool; `False` if it is not known where it runs.

        The tool itself is ended, and not what LangChain does around it: a trace whose opening is
        cancelled is never closed. `stop` is set by then, so that a tool that has not begun never
        does.
        """
        traced, task = self._traced, self._task  # another thread may end the tool meanwhile
        if task is None:
            return traced
        with contextlib.suppress(RuntimeError):  # its loop was closed
            task.get_loop().call_soon_threadsafe(task.cancel)
        return True

    def trace(self, tool: BaseTool | None) -> None:
        """Note that LangChain runs a tool from now on, whose trace it opens and closes.

        Args:
            tool: The tool; `None` when LangChain has run it.
        """
        self._traced = tool is not None and _twins_of(tool).calls_arun

    def run(self) -> None:
        """Note that the tool itself runs from now on, as a task of its own.

        Raises:
            ToolStopped: When the call was ended before.
        """
        self._task = asyncio.current_task()  # first, or who ends the call now would miss it
        if self.stop is not None:
            raise self.stop

    def ran(self) -> None:
        """Note that the tool itself has ended."""
        self._task = None

    def returned(self, raw: Any) -> None:
        """Note what the tool itself returned."""
        self._raw = raw

    def made(self, result: Any) -> None:
        """Note the tool's own message. Where wrappers stand further inside, it tells of them."""
        self._own = result if isinstance(result, ToolMessage) else None

    def answered(self, result: Any) -> None:
        """Note what `ToolNode` made of it, before wrappers see it."""
        self._message = result.content if isinstance(result, ToolMessage) else None

    def let_go(self) -> None:
        """Drop what was noted of the call's result, once its outcome is made."""
        self._raw, self._message, self._own, self.tool = _MISSING, None, None, None
        self.begun = None

    def value(self, tool: BaseTool | None, result: Any, call_id: str | None) -> Any:
        """The value that references to this call get.

        It is what the tool returned, unless a wrapper has put another answer in its place.

        Args:
            tool: The tool, for its response format.
            result: The final answer: a `ToolMessage`, a `Command`, or a list of both.
            call_id: The tool call's id, to find the message that answers it.
        """
        message = answer_in(result, call_id)
        content = None if message is None else message.content
        raw = self._raw
        if raw is _MISSING or message is not result or content != self._message:
            return content
        if self._own is not None and content != self._own.content:
            return content
        if getattr(tool, "response_format", "content") == "content_and_artifact":
            raw = plain_value(*raw) if isinstance(raw, tuple) else raw
        return content if isinstance(raw, ToolMessage | Command) else raw


def answer_in(result: Any, call_id: str | None) -> ToolMessage | None:
    """The tool message that answers a call, wherever it stands in the result."""
    for item in result if isinstance(result, list) else [result]:
        if isinstance(item, ToolMessage) and item.tool_call_id == call_id:
            return item
        if isinstance(item, Command):
            for message in _messages_in(item):
                if isinstance(message, ToolMessage) and message.tool_call_id == call_id:
                    return message
    return None


def readdressed(result: Any, call_id: str | None, other_id: str | None) -> ToolMessage | None:
    """A result's message as the answer to another, identical call, without its updates."""
    message = answer_in(result, call_id)
    if message is None:
        return None
    return message.model_copy(update={"tool_call_id": other_id, "id": None})


def _messages_in(command: Command[Any]) -> list[Any]:
    update = command.update
    if isinstance(update, list):
        return update
    values = update.values() if isinstance(update, dict) else ()
    return [m for value in values if isinstance(value, list) for m in value]


_recording: ContextVar[Recording] = ContextVar("asyncfc_recording")


def recorded(tool: BaseTool | None, recording: Recording) -> Any:
    """What notes how a tool runs, in its place."""
    return None if tool is None else RecordingTool(tool, recording)


class RecordingTool:
    """Stands in for a tool while `ToolNode` executes one call of it.

    Everything but running it is the real tool's.

    Args:
        tool: The tool.
        recording: Notes what it returns.
        early: Whether this is the run that begins before its call is issued. It must not take the
            result of such a run, which is its own: its thread may come to it after the call was
            issued.
    """

    def __init__(self, tool: BaseTool, recording: Recording, *, early: bool = False) -> None:
        self._tool = tool
        self._recording = recording
        self._early = early

    def __getattr__(self, name: str) -> Any:
        """Any other attribute is the real tool's."""
        return getattr(self._tool, name)

    def invoke(self, call: Any, config: RunnableConfig | None = None, **kwargs: Any) -> Any:
        """Run the tool in this thread; an async-only one on the background loop."""
        if _is_async_only(self._tool):
            self._recording.trace(self._tool)
            try:
                return self._invoke(call, config, self._ainvoke_on_background_loop, **kwargs)
            finally:
                self._recording.trace(None)
        return self._invoke(call, config, lambda tool: tool.invoke, **kwargs)

    def _invoke(
        self,
        call: Any,
        config: RunnableConfig | None,
        how: Callable[[BaseTool], Callable[..., Any]],
        **kwargs: Any,
    ) -> Any:
        if self._recording.stop is not None:
            raise self._recording.stop  # a wrapper tries again although the call was ended
        if not self._early and (begun := self._recording.begun) is not None:
            self._recording.begun = None
            with contextlib.suppress(GraphBubbleUp):  # who asks can only be answered in a step
                return begun.result()
        held = noting(self._tool)
        copied = held.of(self._tool)
        self._recording.tool = self._tool
        token = _recording.set(self._recording)
        try:
            result = how(copied)(call, self._named(config), **kwargs)
            self._recording.made(result)
            return result
        finally:
            _recording.reset(token)

    def _named(self, config: RunnableConfig | None) -> RunnableConfig:
        """The config with what traces and event streams tell of the future in the metadata."""
        known = self._recording.config or config or {}
        own = {FUTURE_METADATA: self._recording.future, **self._recording.told}
        metadata = {**(known.get("metadata") or {}), **own}
        return {**known, "metadata": metadata}

    def _ainvoke_on_background_loop(self, tool: BaseTool) -> Callable[..., Any]:
        def run(*args: Any, **kwargs: Any) -> Any:
            running: Any = tool.ainvoke(*args, **kwargs)
            try:
                return asyncio.run_coroutine_threadsafe(running, background_loop()).result()
            except CancelledError as error:
                raise self._recording.stop or ToolCancelled("The tool was cancelled.") from error

        return run

    async def ainvoke(self, call: Any, config: RunnableConfig | None = None, **kwargs: Any) -> Any:
        """Run the tool on this loop; a sync-only one in the worker pool."""
        if self._recording.stop is not None:
            raise asyncio.CancelledError
        if not self._early and (begun := self._recording.begun) is not None:
            self._recording.begun = None
            with contextlib.suppress(GraphBubbleUp):  # who asks can only be answered in a step
                return await begun.aresult()
        held = noting(self._tool)
        copied = held.of(self._tool)
        config = self._named(config)
        self._recording.tool = self._tool
        token = _recording.set(self._recording)
        try:
            if _is_async(self._tool):
                self._recording.trace(self._tool)
                result = await copied.ainvoke(call, config, **kwargs)
            else:
                result = await self._recording.in_pool(
                    lambda: copied.invoke(call, config, **kwargs)
                )
            self._recording.made(result)
            return result
        finally:
            self._recording.trace(None)
            _recording.reset(token)


def _is_async(tool: BaseTool) -> bool:
    """Whether LangChain runs the tool on the event loop, and not its whole `invoke` in a thread."""
    if isinstance(tool, StructuredTool | Tool) and tool.coroutine is None:
        libraries_own = (StructuredTool, Tool)
        return any(
            getattr(type(tool), name) not in [getattr(base, name) for base in libraries_own]
            for name in ("_arun", "arun", "ainvoke")
        )
    return True  # at least its callbacks run on the loop; see `_make_arun`


def _calls_arun(kind: type[BaseTool]) -> bool:
    """Whether a tool is run by LangChain's own `ainvoke`, so that `_arun` says when it begins."""
    libraries_own = (BaseTool, StructuredTool, Tool)
    return all(
        getattr(kind, name) in [getattr(base, name) for base in libraries_own]
        for name in ("arun", "ainvoke")
    )


def _is_async_only(tool: BaseTool) -> bool:
    """Whether a function tool has a coroutine and no function."""
    return getattr(tool, "coroutine", None) is not None and getattr(tool, "func", True) is None


class Noting:
    """Holds the copy of a tool that notes what it returns."""

    __slots__ = ("__weakref__", "_copy")

    def __init__(self) -> None:
        self._copy: BaseTool | None = None

    def of(self, tool: BaseTool) -> BaseTool:
        """The copy, with the attributes that the tool has now."""
        copied = self._copy
        if copied is None or not _is_copy(copied, tool):
            copied = self._copy = copy.copy(tool)
            twins = _twins_of(tool)
            # Straight into `__dict__`: pydantic refuses to set attributes that are no fields.
            copied.__dict__.update(_run=twins.run, _arun=twins.arun)
            for shared in ("__pydantic_private__", "__pydantic_extra__"):
                object.__setattr__(copied, shared, getattr(tool, shared))
        return copied


def _is_copy(copied: BaseTool, tool: BaseTool) -> bool:
    """Whether a copy has the very attributes of a tool, but for what either has worked out."""
    own, now = copied.__dict__, tool.__dict__
    return type(copied) is type(tool) and all(
        now.get(name, value) is value for name, value in own.items() if name not in _OWN
    )


_noting: WeakValueDictionary[int, Noting] = WeakValueDictionary()
"""By the identity of the tool, as long as a call or a toolbox holds them."""


def noting(tool: BaseTool) -> Noting:
    """What holds the noting copy of a tool, for all who have one in hand."""
    return _noting.setdefault(id(tool), Noting())


@dataclass(frozen=True, slots=True)
class _Twins:
    """What is the same for all tools of a class.

    Attributes:
        run: The noting twin of `_run`.
        arun: That of `_arun`.
        calls_arun: See `_calls_arun`.
    """

    run: Callable[..., Any]
    arun: Callable[..., Any]
    calls_arun: bool


_twins: WeakKeyDictionary[type, _Twins] = WeakKeyDictionary()


def _twins_of(tool: BaseTool) -> _Twins:
    kind = type(tool)
    found = _twins.get(kind)
    if found is None:
        arun = _make_arun(has_own=kind._arun is not BaseTool._arun)
        found = _twins[kind] = _Twins(
            _as(tool._run, _make_run()), _as(tool._arun, arun), _calls_arun(kind)
        )
    return found


def _as(method: Any, twin: Any) -> Callable[..., Any]:
    """A twin with the signature of the method that it stands in for."""
    twin.__signature__ = inspect.signature(method)
    try:
        twin.__annotations__ = typing.get_type_hints(method)
    except Exception:  # noqa: BLE001 - annotations that do not resolve are LangChain's to judge
        twin.__annotations__ = getattr(method, "__annotations__", {})
    return twin  # type: ignore[no-any-return]


def _make_run() -> Callable[..., Any]:
    def _run(*args: Any, **kwargs: Any) -> Any:
        recording = _recording.get()
        raw = recording.tool._run(*args, **kwargs)
        recording.returned(raw)
        return raw

    return _run


async def _run_in_pool(recording: Recording, *args: Any, **kwargs: Any) -> Any:
    """Do what `BaseTool._arun` does, in the pool for sync tools instead of asyncio's."""
    manager = kwargs.get("run_manager")
    if manager is not None:
        kwargs["run_manager"] = manager.get_sync()

    return await recording.in_pool(lambda: recording.tool._run(*args, **kwargs))


def _make_arun(*, has_own: bool) -> Callable[..., Any]:
    async def _arun(*args: Any, **kwargs: Any) -> Any:
        recording = _recording.get()
        try:
            recording.run()
            if has_own:
                raw = await recording.tool._arun(*args, **kwargs)
            else:
                raw = await _run_in_pool(recording, *args, **kwargs)
        except asyncio.CancelledError as error:
            task = asyncio.current_task()
            if recording.stop is None and task is not None and task.cancelling():
                raise  # a wrapper gives up, or the event loop itself is shut down
            # As an `Exception`, or the tool's trace would never be closed: LangChain's `arun`
            # lets `CancelledError` pass without an event.
            raise recording.stop or ToolCancelled("The tool was cancelled.") from error
        finally:
            recording.ran()
        recording.returned(raw)
        return raw

    return _arun
