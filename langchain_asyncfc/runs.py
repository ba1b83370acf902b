"""Which run a step belongs to, and when that run ends.

Futures belong to one run of one graph: two threads, runs or subgraphs never see each other's,
though they share one compiled graph (rule 21), and when the run ends, however it ends, its calls
are cancelled and awaited (rule 19).

The seam is LangChain's public `register_configure_hook`: every root run gets a `RunWatch` as an
inheritable callback handler. All chains below report their start and end to it, so it knows the
run of the graph that a step belongs to, also without a thread id and inside subgraphs, and it is
called, and awaited, at the end of that run in all six ways in which one ends: return, error,
cancellation, timeout, `aclose()` and a generator that is dropped. What it holds is gone with the
run. It handles chain events only, inline.
"""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import Callable, Coroutine, Mapping, Sequence
from typing import Any, Final
from uuid import UUID

from langchain_core.callbacks import BaseCallbackHandler, BaseCallbackManager
from langchain_core.runnables import RunnableConfig
from langchain_core.tracers.context import register_configure_hook
from langgraph.config import get_config
from langgraph.types import Command

from langchain_asyncfc.begun import await_ends, wait_for_ends
from langchain_asyncfc.configs import is_resumed
from langchain_asyncfc.executors import (
    LoopHome,
    TaskExecutor,
    ThreadExecutor,
    ThreadHome,
)
from langchain_asyncfc.once import once
from langchain_asyncfc.records import Thread, ThreadReader, read_thread
from langchain_asyncfc.scheduler import Scheduler
from langchain_asyncfc.waiting import Wait, drive, drive_async

__all__ = [
    "DetachedRuns",
    "GraphRun",
    "graph_run",
    "is_idle",
    "known_thread",
    "mark_reviewed",
    "new_scheduler",
    "thread_key",
    "watch_runs",
]


_logger = logging.getLogger(__name__)

_UNKNOWN: Final = object()


class Reading:
    """What has been read of the messages of a graph's run."""

    __slots__ = ("_read", "_reader")

    def __init__(self) -> None:
        self._read: tuple[Sequence[Any], Thread] | None = None
        self._reader = ThreadReader()

    def thread(self, messages: Sequence[Any]) -> Thread:
        """What the messages say; read once for all tasks that see the same list of them."""
        known = self._read
        if known is None or known[0] is not messages or len(known[1].messages) != len(messages):
            known = self._read = (messages, self._reader.read(messages))
        return known[1]


class GraphRun:
    """One run of one graph, as far as steps with futures see it.

    Attributes:
        scheduler: Owns the run's futures.
        on_end: Called with the run's error, or `None`, before its futures are cancelled; may
            take the scheduler away by returning `True`.
        reviewed: Whether somebody asks at the end of each turn if futures are unfinished. If not,
            a step must not leave any behind.
        resumed: Whether the run goes on from a checkpoint.
        reading: What has been read of its messages.
        warns: Whether to warn of futures that are unfinished although the run ended well: its
            graph has an end that does not ask `tools_condition`.
    """

    def __init__(self, scheduler: Scheduler, *, is_async: bool, warns: bool = False) -> None:
        self.scheduler = scheduler
        self.is_async = is_async
        self.warns = warns
        self.reviewed = False
        self.resumed = False
        self._first_step: Any = _UNKNOWN
        self.reading: Reading = Reading()
        self.on_end: Callable[[BaseException | None], bool] = lambda _: False

    def begins_with(self, config: RunnableConfig) -> bool:
        """Whether a step is one of those with which the run goes on from a checkpoint."""
        step = (config.get("metadata") or {}).get("langgraph_step")
        if self._first_step is _UNKNOWN:
            self._first_step = None if self.reviewed else step
        return step is not None and step == self._first_step and is_resumed(config)

    def thread(self, messages: Sequence[Any]) -> Thread:
        """What the messages say."""
        return self.reading.thread(messages)

    def _settled(self, error: BaseException | None) -> bool:
        if self.on_end(error):
            return True
        live = self.scheduler.live()
        if live and error is None and self.warns and not self.scheduler.interrupted:
            _logger.warning(
                "A run stopped while %s ran; they are cancelled. If this was the end of a turn, "
                "route with langchain_asyncfc.tools_condition, which waits for them.",
                ", ".join(future.id for future in live),
            )
        return not live

    async def aend(self, error: BaseException | None) -> None:
        """End the run on its event loop: cancel what is unfinished and await it."""
        if begun := self.scheduler.end_begun():
            await await_ends(begun)
        if not self._settled(error):
            await drive_async(self.scheduler, _close(self.scheduler))
        if self.scheduler.journaled:
            await drive_async(self.scheduler, _forget(self.scheduler))

    def end(self, error: BaseException | None) -> None:
        """End the run in this thread."""
        if begun := self.scheduler.end_begun():
            wait_for_ends(begun)
        if not self._settled(error):
            drive(self.scheduler, _close(self.scheduler))
        if self.scheduler.journaled:
            drive(self.scheduler, _forget(self.scheduler))


def _close(scheduler: Scheduler) -> Any:
    futures = scheduler.live()
    scheduler.leave_entries()
    scheduler.cancel(futures)
    yield Wait(futures, until_failure=False)


def _forget(scheduler: Scheduler) -> Any:
    entries = scheduler.take_settled_entries()
    if entries:
        yield entries[0].journal.forget([entry.key for entry in entries])


class _Seen:
    """A chain run that has begun, as its watch knows it.

    Attributes:
        above: The run that it is a part of; `None` where that is not known.
        namespace: The checkpoint namespace in which it stands.
        resumed: Whether it goes on from a checkpoint.
        reviewed: Whether somebody asks at the end of each turn of it; see `GraphRun`.
        runs: What steps know of it, where it is a graph's: for steps on an event loop and others.
        reading: What has been read of its messages, where it is a graph's and somebody has.
        has_ended: Whether it is over.
    """

    __slots__ = ("above", "has_ended", "namespace", "reading", "resumed", "reviewed", "runs")

    def __init__(self, above: _Seen | None, namespace: str | None, *, resumed: bool) -> None:
        self.above: _Seen | None = above
        self.namespace: str | None = namespace
        self.resumed: bool = resumed
        self.reviewed: bool = False
        self.runs: Sequence[GraphRun] = ()
        self.reading: Reading | None = None
        self.has_ended: bool = False

    def thread(self, messages: Sequence[Any]) -> Thread:
        """What the messages of a graph's run say."""
        if self.reading is None:
            self.reading = Reading()
        return self.reading.thread(messages)


class RunWatch(BaseCallbackHandler):
    """Sees the chain runs of one root run come and go."""

    run_inline = True
    ignore_llm = True
    ignore_chat_model = True
    ignore_agent = True
    ignore_retriever = True
    ignore_retry = True
    ignore_custom_event = True

    def __init__(self) -> None:
        self._seen: dict[UUID, _Seen] = {}
        self._on_loops = 0  # runs of graphs that have something to await
        self._lock = threading.Lock()

    def __copy__(self) -> RunWatch:
        """The same object: what it knows belongs to the run, not to a manager."""
        return self

    def __deepcopy__(self, memo: dict[int, Any]) -> RunWatch:
        """The same object; see `__copy__`."""
        return self

    def on_chain_start(
        self,
        serialized: dict[str, Any] | None,  # noqa: ARG002 - LangChain's signature
        inputs: Any,
        *,
        run_id: UUID,
        parent_run_id: UUID | None = None,
        metadata: dict[str, Any] | None = None,
        **kwargs: Any,  # noqa: ARG002
    ) -> None:
        """Note where a run stands."""
        above = None if parent_run_id is None else self._seen.get(parent_run_id)
        # LangGraph itself says that a run goes on from a checkpoint only in the first step of it.
        resumed = inputs is None or isinstance(inputs, Command)
        self._seen[run_id] = _Seen(
            above,
            (metadata or {}).get("langgraph_checkpoint_ns"),
            resumed=resumed or (above is not None and above.resumed),
        )

    def graph_of(self, step: UUID, namespace: str) -> _Seen | None:
        """The run of the graph that a step belongs to.

        Args:
            step: A run inside the step.
            namespace: The checkpoint namespace of the step. Everything in the step has it; the
                first run above that does not is the graph's.
        """
        run = self._seen.get(step)
        while run is not None and not run.has_ended:
            if run.namespace != namespace:
                return run
            run = run.above
        return None

    def graph_run_of(
        self, graph: _Seen, make: Callable[[], GraphRun] | None, *, is_async: bool
    ) -> GraphRun | None:
        """What steps know of a graph's run, made on first sight.

        Args:
            graph: The run of the graph.
            make: Makes the graph run; `None` to make none.
            is_async: Whether the step runs on an event loop. A graph whose steps do both keeps
                them apart.
        """
        with self._lock:
            found = next((run for run in graph.runs if run.is_async == is_async), None)
            if found is None:
                if make is None:
                    return None
                found = make()
                found.resumed = graph.resumed
                graph.reading = found.reading = graph.reading or found.reading
                graph.runs = [*graph.runs, found]
                self._on_loops += is_async
            found.reviewed = graph.reviewed
            return found

    def _take(self, result: Any, run_id: UUID) -> tuple[Sequence[GraphRun], BaseException | None]:
        ended = self._seen.pop(run_id, None)
        if ended is None:
            return (), None
        with self._lock:
            ended.has_ended = True
            self._on_loops -= sum(run.is_async for run in ended.runs)
        return ended.runs, result if isinstance(result, BaseException) else None

    def _end(self, result: Any, *, run_id: UUID, **_: Any) -> None:
        runs, error = self._take(result, run_id)
        for run in runs:
            run.end(error)

    async def _aend(self, result: Any, *, run_id: UUID, **_: Any) -> None:
        runs, error = self._take(result, run_id)
        for run in runs:
            if run.is_async:
                await run.aend(error)
            else:
                run.end(error)

    @property
    def _ended(self) -> Callable[..., Coroutine[Any, Any, None] | None]:
        # LangChain looks at the attribute to see whether to await it. A sync manager runs
        # coroutines in a loop of their own, which is slow and wrong here, so it gets none unless
        # there is something on an event loop to await.
        return self._aend if self._on_loops else self._end

    on_chain_end = _ended
    on_chain_error = _ended


class _NewWatch:
    """In the place of a context variable: a new watch for each root run."""

    def get(self) -> RunWatch:
        """A watch; LangChain adds it only where none is inherited."""
        return RunWatch()


@once
def watch_runs() -> None:
    """Have every root run from now on watched. Called when the first node is built."""
    register_configure_hook(_NewWatch(), inheritable=True, handle_class=RunWatch)  # type: ignore[arg-type]


def new_scheduler(key: str, *, is_async: bool) -> Scheduler:
    """A scheduler on the running event loop, or among threads."""
    if is_async:
        loop = asyncio.get_running_loop()
        return Scheduler(TaskExecutor(loop), LoopHome(loop), key)
    return Scheduler(ThreadExecutor(), ThreadHome(), key)


def graph_run(
    config: RunnableConfig | None, make: Callable[[], GraphRun] | None, *, is_async: bool
) -> GraphRun | None:
    """The run of the graph that a step belongs to; made on first sight, if there is how.

    Returns:
        `None` outside of a graph, where no later step can deliver anything.
    """
    watch, graph = _watched(config)
    if watch is None or graph is None:
        return None
    return watch.graph_run_of(graph, make, is_async=is_async)


def mark_reviewed(config: RunnableConfig | None = None) -> None:
    """Note that this run of a graph asks at the end of each turn if futures are unfinished.

    Args:
        config: Of the step; by default that of the running one. Outside of a graph nothing is
            noted.
    """
    _, graph = _watched(config or _current_config())
    if graph is not None:
        graph.reviewed = True


def known_thread(messages: Sequence[Any]) -> Thread:
    """What messages say, of which the running graph's steps may have read the most."""
    _, graph = _watched(_current_config())
    return read_thread(messages) if graph is None else graph.thread(messages)


def is_idle(config: RunnableConfig, messages: Sequence[Any]) -> bool:
    """Whether nothing is pending: no message tells of a future, and no step has left one.

    `False` too where a run goes on from a checkpoint, or it is not known which run this is.

    Args:
        config: Of the step.
        messages: The thread.
    """
    _, graph = _watched(config)
    if graph is None or is_resumed(config):
        return False
    thread = graph.thread(messages)
    pending = thread.pending or thread.awaiting
    return not pending and all(run.scheduler.is_idle() for run in graph.runs)


def _current_config() -> RunnableConfig | None:
    try:
        return get_config()
    except RuntimeError:  # called outside of a graph
        return None


def _watched(config: RunnableConfig | None) -> tuple[RunWatch | None, _Seen | None]:
    callbacks: Any = (config or {}).get("callbacks")
    metadata: Mapping[str, Any] = (config or {}).get("metadata") or {}
    namespace = metadata.get("langgraph_checkpoint_ns")
    if not isinstance(callbacks, BaseCallbackManager) or not namespace:
        return None, None
    if callbacks.parent_run_id is None:
        return None, None
    for handler in callbacks.handlers:
        if isinstance(handler, RunWatch):
            return handler, handler.graph_of(callbacks.parent_run_id, namespace)
    return None, None


ThreadKey = tuple[str | None, str]


def thread_key(config: RunnableConfig | None) -> ThreadKey:
    """What tells one thread's graph from another's, over all its runs."""
    thread = ((config or {}).get("configurable") or {}).get("thread_id")
    namespace = str(((config or {}).get("metadata") or {}).get("langgraph_checkpoint_ns") or "")
    # A segment is "node:task id"; task ids differ from run to run.
    above = "|".join(part.split(":")[0] for part in namespace.split("|")[:-1])
    return (str(thread) if thread is not None else None, above)


class DetachedRuns:
    """Owns futures that outlive their run (`on_final="detach"`), until the next one or `close`."""

    def __init__(self) -> None:
        self._kept: dict[tuple[ThreadKey, bool], list[Scheduler]] = {}
        self._lock = threading.Lock()

    def keep(
        self, thread: ThreadKey, scheduler: Scheduler, is_async: bool, error: BaseException | None
    ) -> bool:
        """Keep a run's futures after its end, unless it ended with an error or an interrupt.

        Returns:
            Whether they are kept.
        """
        with self._lock:
            self._drop_finished()
            if (
                error is not None
                or scheduler.interrupted
                or not (scheduler.live() or scheduler.undelivered())
            ):
                return False
            self._kept.setdefault((thread, is_async), []).append(scheduler)
            return True

    def _drop_finished(self) -> None:
        """Without a thread nobody will ask for what is finished, nor after a loop was closed."""
        for key, kept in list(self._kept.items()):
            has_thread = key[0][0] is not None
            kept[:] = [s for s in kept if not s.is_gone() and (has_thread or s.live())]
            if not kept:
                del self._kept[key]

    def take(
        self, thread: ThreadKey, placeholders: Sequence[str | None], *, is_async: bool
    ) -> Scheduler | None:
        """The futures that a run of the thread left, if they can go on here.

        What other branches of the thread left, and other graphs that have a thread of this id,
        stays here.

        Args:
            thread: The thread.
            placeholders: The ids of the placeholders in its messages.
            is_async: Whether the run is on an event loop.
        """
        if thread[0] is None:
            return None
        with self._lock:
            kept = self._kept.get((thread, is_async), [])
            for scheduler in reversed(kept):
                if scheduler.at_home() and scheduler.belongs_to(placeholders):
                    kept.remove(scheduler)
                    return scheduler
        return None

    def _all(self, *, is_async: bool) -> list[Scheduler]:
        with self._lock:
            keys = [key for key in self._kept if key[1] == is_async]
            return [scheduler for key in keys for scheduler in self._kept.pop(key)]

    async def aclose(self) -> None:
        """Cancel what runs on event loops, and await it."""
        for scheduler in self._all(is_async=True):
            await GraphRun(scheduler, is_async=True).aend(None)
        self.close()

    def close(self) -> None:
        """Cancel what runs in threads."""
        for scheduler in self._all(is_async=False):
            GraphRun(scheduler, is_async=False).end(None)
