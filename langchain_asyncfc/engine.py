"""What the tool node and the middleware share: options, and the run that a step belongs to.

A face (`tool_node`, `middleware`) turns what LangGraph or LangChain hands it into calls, and
answers into what they expect. Everything between is done here and in the rooms below: find the
run's scheduler, carry out the step, and clean up where there is no run.
"""

from __future__ import annotations

import functools
import logging
from collections.abc import Callable, Collection, Sequence
from typing import Any, Literal, get_args
from uuid import uuid4

from langchain_core.runnables import RunnableConfig
from langgraph.graph.message import push_message

from langchain_asyncfc.configs import is_resumed
from langchain_asyncfc.delivery import Answer, tool_messages_in
from langchain_asyncfc.executors import Executor
from langchain_asyncfc.policy import Delivery, OnFinal, Policy
from langchain_asyncfc.records import Thread, read_thread
from langchain_asyncfc.runs import (
    DetachedRuns,
    GraphRun,
    graph_run,
    new_scheduler,
    thread_key,
    watch_runs,
)
from langchain_asyncfc.scheduler import Lane, Scheduler
from langchain_asyncfc.steps import Step
from langchain_asyncfc.toolbox import Toolbox
from langchain_asyncfc.waiting import Flow, drive, drive_async

__all__ = ["Engine"]

_logger = logging.getLogger(__name__)

Plan = Callable[[Step], Flow[list[Answer]]]
"""What a step does."""


class Engine:
    """Carries out steps under one set of options.

    Args:
        toolbox: The tools.
        grace: Seconds that a step waits for calls that may be fast.
        delivery: Where outcomes go.
        on_final: What happens at the end of a turn with futures unfinished.
        max_concurrency: How many calls of one run may run at once.
        executor: Where calls run; by default asyncio tasks, or threads in sync runs.
        stream_events: Whether `stream_mode="custom"` is told what happens to futures.
        async_calls: How a model is shown calls that it made as asynchronous ones.
        journal: Whether outcomes are noted in the graph's store, if it has one.
        messages_key: Where the messages are in the state.
        reviews: Whether every run comes back to this engine at the end of a turn. If not, the run
            has to be marked as one that does (see `runs.mark_reviewed`), or its steps wait for
            all results.

    Attributes:
        policy: The options that steps need.
        stream_events: As given.
        waits: Whether every step waits for all results, as where each run stops after a few steps.

    Raises:
        ValueError: When a number or option is out of range.
    """

    def __init__(
        self,
        toolbox: Toolbox,
        *,
        grace: float,
        delivery: Literal["in_place", "append"],
        on_final: Literal["review", "settle", "detach"],
        max_concurrency: int | None,
        executor: Executor | None,
        stream_events: bool,
        async_calls: Literal["auto", "native", "placeholder"],
        journal: bool = True,
        messages_key: str = "messages",
        reviews: bool = False,
    ) -> None:
        _check_options(grace, max_concurrency)
        _check_choice("delivery", delivery, get_args(Delivery))
        _check_choice("on_final", on_final, get_args(OnFinal))
        _check_choice("async_calls", async_calls, ("auto", "native", "placeholder"))
        native = async_calls != "placeholder"
        self.policy: Policy = Policy(
            toolbox,
            grace,
            delivery,
            on_final,
            may_end=reviews,
            native=native,
            journal=journal,
            reduced_keys=frozenset({messages_key}),
        )
        self.stream_events = stream_events
        self.waits = False
        self._reviews = reviews
        self._executor = executor
        self._max_concurrency = max_concurrency
        self._lanes: dict[int | None, Lane] = {}
        self._graphs: set[str] = set()
        self._detached = DetachedRuns()
        self._warned = False
        watch_runs()

    async def astep(
        self, config: RunnableConfig, messages: Sequence[Any], plan: Plan, *, floor: int = 0
    ) -> list[Answer]:
        """Carry out a step on this event loop. Cancelling it ends the step where it waits.

        Args:
            config: The config of the step.
            messages: The thread.
            plan: What the step does.
            floor: A number up to which ids of futures are taken.
        """
        run, scheduler = self._scheduler(config, messages, is_async=True)
        step = self._step(config, messages, run, scheduler, floor)
        try:
            answers = await drive_async(scheduler, plan(step))
        finally:
            if run is None:
                await GraphRun(scheduler, is_async=True).aend(None)
        if run is not None:
            _stream_again(answers, step.shown)
        return answers

    def step(
        self, config: RunnableConfig, messages: Sequence[Any], plan: Plan, *, floor: int = 0
    ) -> list[Answer]:
        """Carry out a step in this thread; see `astep`."""
        run, scheduler = self._scheduler(config, messages, is_async=False)
        step = self._step(config, messages, run, scheduler, floor)
        try:
            answers = drive(scheduler, plan(step))
        finally:
            if run is None:
                GraphRun(scheduler, is_async=False).end(None)
        if run is not None:
            _stream_again(answers, step.shown)
        return answers

    async def aclose(self) -> None:
        """Cancel the detached futures, and wait for them."""
        await self._detached.aclose()

    def close(self) -> None:
        """Cancel the detached futures of runs by `invoke` and `stream`."""
        self._detached.close()

    def _scheduler(
        self, config: RunnableConfig, messages: Sequence[Any], *, is_async: bool
    ) -> tuple[GraphRun | None, Scheduler]:
        """The run that a step belongs to, and the scheduler of its futures."""
        make = functools.partial(self._make_run, config, messages, is_async=is_async)
        run = graph_run(config, make, is_async=is_async)
        if run is not None:
            return run, run.scheduler
        return None, new_scheduler(uuid4().hex, is_async=is_async)

    def _make_run(
        self, config: RunnableConfig, messages: Sequence[Any], *, is_async: bool
    ) -> GraphRun:
        if self.policy.on_final != "detach":
            return GraphRun(
                new_scheduler(uuid4().hex, is_async=is_async), is_async=is_async, warns=True
            )
        thread = thread_key(config)
        placeholders = [m.id for m in read_thread(messages).pending.values()]
        scheduler = self._detached.take(thread, placeholders, is_async=is_async)
        scheduler = scheduler or new_scheduler(uuid4().hex, is_async=is_async)
        scheduler.ended = False
        run = GraphRun(scheduler, is_async=is_async, warns=True)
        run.on_end = functools.partial(self._detached.keep, thread, scheduler, is_async)
        return run

    def check_eager(self) -> None:
        """Check that calls can be run before they are issued.

        Raises:
            ValueError: When the executor is not one of the library's own.
        """
        if self._executor is not None:
            msg = (
                "Calls start early as asyncio tasks or threads only, not in an executor of your "
                f"own ({type(self._executor).__name__}). Leave out eager start, or executor=."
            )
            raise ValueError(msg)

    def around_model(
        self, config: RunnableConfig, messages: Sequence[Any], *, is_async: bool
    ) -> tuple[Scheduler, Lane] | None:
        """Where calls are run that a model writes now; `None` where none may start early.

        Where every step waits for all results, as in a run with futures off, calls start as in
        `ToolNode`. A model whose calls are issued in another graph, as in a subgraph of its own,
        belongs to another run; that is known once one has been.

        Args:
            config: The config of the model's step.
            messages: The thread.
            is_async: Whether the step is one of a run on an event loop.
        """
        switch = (config.get("configurable") or {}).get("asyncfc", True)
        if self.waits or switch is False:
            return None
        if self._graphs and thread_key(config)[1] not in self._graphs:
            return None
        make = functools.partial(self._make_run, config, messages, is_async=is_async)
        # What was detached is found by the whole thread, so a step has to come first.
        makes = make if self.policy.on_final != "detach" else None
        run = graph_run(config, makes, is_async=is_async)
        if run is None or not run.scheduler.at_home():
            return None
        return run.scheduler, self._lane(config.get("max_concurrency"))

    def _step(
        self,
        config: RunnableConfig,
        messages: Sequence[Any],
        run: GraphRun | None,
        scheduler: Scheduler,
        floor: int,
    ) -> Step:
        place = thread_key(config)
        self._graphs.add(place[1])
        lane = self._lane(config.get("max_concurrency"))
        thread = read_thread(messages) if run is None else run.thread(messages)
        thread.floor = max(thread.floor, floor)
        switch = (config.get("configurable") or {}).get("asyncfc", True)
        begins = run is not None and run.begins_with(config)
        resumed = is_resumed(config)
        if run is not None:
            resumed = run.resumed = run.resumed or resumed
        return Step(
            self.policy,
            lane,
            scheduler,
            thread,
            in_run=run is not None,
            waits=self.waits
            or switch is False
            or not self._comes_back(run, thread, begins=begins, alone=_is_first(config)),
            whole=run is None or run.reviewed,
            place=place,
            begins=begins,
            resumed=resumed,
        )

    def _comes_back(
        self, run: GraphRun | None, thread: Thread, *, begins: bool, alone: bool
    ) -> bool:
        """Whether futures may be left behind, since the run comes back at the end of its turn.

        Args:
            run: The run of the graph.
            thread: What its messages say.
            begins: Whether the step is one of those with which the run goes on.
            alone: Whether no step of the graph came before, so that no model has run in it. A
                node that is tried alone is not warned of.
        """
        if self._reviews or run is None or run.reviewed:
            return True
        if begins:
            return thread.instructed  # an earlier run of the graph left some
        if not self._warned and not alone:
            self._warned = True
            _logger.warning(
                "Every result is waited for, because nothing in this run looks after unfinished "
                "futures when the model has answered. Route with "
                "langchain_asyncfc.tools_condition, and call it before calls are sent to the "
                "tools; or give the node's review_hook to create_react_agent as post_model_hook."
            )
        return False

    def _lane(self, asked: int | None) -> Lane:
        """How calls are run under this engine's limit and the run's."""
        limits = [limit for limit in (asked, self._max_concurrency) if limit is not None]
        limit = min(limits, default=None)
        if limit not in self._lanes:
            self._lanes[limit] = Lane(self._executor, limit)
        return self._lanes[limit]


def _is_first(config: RunnableConfig) -> bool:
    """Whether a step is the first one of its graph, as far as LangGraph says."""
    return (config.get("metadata") or {}).get("langgraph_step") == 1


def _check_options(grace: float, max_concurrency: int | None) -> None:
    if not grace >= 0:
        msg = f"grace must be a number of seconds that is not negative, not {grace!r}."
        raise ValueError(msg)
    if max_concurrency is not None and not max_concurrency >= 1:
        msg = f"max_concurrency must be at least 1, not {max_concurrency!r}."
        raise ValueError(msg)


def _check_choice(option: str, value: str, choices: Sequence[str]) -> None:
    if value not in choices:
        msg = f"{option} must be one of {', '.join(map(repr, choices))}, not {value!r}."
        raise ValueError(msg)


def _stream_again(answers: Sequence[Answer], shown: Collection[str]) -> None:
    """Show delivered messages in `stream_mode="messages"`, which drops a second one of an id.

    Args:
        answers: What the step gives.
        shown: The ids under which messages were shown that a step can put others in place of.
    """
    for item in answers:
        for message in tool_messages_in(item):
            if message.id in shown:
                push_message(message, state_key=None)
