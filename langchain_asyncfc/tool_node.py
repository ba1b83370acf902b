"""AsyncFCToolNode: a `ToolNode` that answers with placeholders instead of waiting.

`ToolNode` still parses the input, builds each call's request and later runs it. The node's own
wrapper does not run anything: it keeps the request and the function that executes it, for the
scheduler to use when the call's time has come. So state and store injection, validation, error
handling and output forms are `ToolNode`'s own.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Generator, Mapping, Sequence
from dataclasses import replace
from typing import Any, Literal, get_args
from uuid import uuid4

from langchain_core.messages import AIMessage, AnyMessage, ToolMessage
from langchain_core.runnables import RunnableConfig
from langchain_core.runnables.config import ensure_config
from langchain_core.tools import BaseTool
from langchain_core.tools import tool as create_tool
from langgraph.graph.message import push_message
from langgraph.prebuilt import ToolNode
from langgraph.prebuilt import tools_condition as _tools_condition
from langgraph.prebuilt.tool_node import AsyncToolCallWrapper, ToolCallRequest, ToolCallWrapper
from pydantic import BaseModel

from langchain_asyncfc.control import control_tools
from langchain_asyncfc.delivery import Answer, output_form, tool_messages_in
from langchain_asyncfc.effects import Effects
from langchain_asyncfc.executors import Executor
from langchain_asyncfc.invocations import Invocation
from langchain_asyncfc.records import read_thread, waits_at_end
from langchain_asyncfc.runs import (
    DetachedRuns,
    GraphRun,
    graph_run,
    new_scheduler,
    thread_key,
    watch_runs,
)
from langchain_asyncfc.scheduler import Lane, Scheduler
from langchain_asyncfc.schemas import model_tools
from langchain_asyncfc.steps import Delivery, OnFinal, Policy, Step
from langchain_asyncfc.toolbox import gather_facts
from langchain_asyncfc.waiting import Wait, drive, drive_async

__all__ = ["AsyncFCToolNode", "tools_condition"]

_HANDLE_TOOL_ERRORS: Any = inspect.signature(ToolNode).parameters["handle_tool_errors"].default
"""`ToolNode`'s own default."""


class AsyncFCToolNode(ToolNode):
    """A `ToolNode` whose calls run in the background while the model goes on.

    It takes everything that `ToolNode` takes and does the same with it. A call that finishes
    within the grace period is answered with its ordinary result. Any other is answered at once
    with a placeholder that names its future; the result is delivered at a later step, and until
    then the model may pass the future's id on as an argument.

    Route to it with this package's `tools_condition`, which also does so when futures are
    unfinished at the end of a turn. Called by itself, with a runtime in the config as `ToolNode`
    needs it, there is no later step, so it waits for all results. The same for a run with
    `config={"configurable": {"asyncfc": False}}`, which turns futures off.

    Cancelling a run, an error in it or closing its stream early cancels its calls and waits for
    them. Sync tools cannot be stopped; their late results are dropped.

    Example:
        ```python
        node = AsyncFCToolNode([search, read_file])
        model = model.bind_tools(node.model_tools)
        builder.add_node("tools", node)
        builder.add_conditional_edges("model", tools_condition)
        builder.add_edge("tools", "model")
        ```

    Source: AsyncFC (arXiv 2605.15077).
    """

    def __init__(
        self,
        tools: Sequence[BaseTool | Callable[..., Any]],
        *,
        name: str = "tools",
        tags: list[str] | None = None,
        handle_tool_errors: bool
        | str
        | Callable[..., str]
        | type[Exception]
        | tuple[type[Exception], ...] = _HANDLE_TOOL_ERRORS,
        messages_key: str = "messages",
        wrap_tool_call: ToolCallWrapper | None = None,
        awrap_tool_call: AsyncToolCallWrapper | None = None,
        effects: Mapping[str, Effects] | None = None,
        trust_mcp_hints: bool = False,
        grace: float = 0.01,
        delivery: Literal["in_place", "append"] = "in_place",
        on_final: Literal["review", "settle", "detach"] = "review",
        timeout: float | Mapping[str, float] | None = None,
        max_concurrency: int | None = None,
        executor: Executor | None = None,
    ) -> None:
        """Build the node.

        Args:
            tools: As for `ToolNode`.
            name: As for `ToolNode`.
            tags: As for `ToolNode`.
            handle_tool_errors: As for `ToolNode`.
            messages_key: As for `ToolNode`.
            wrap_tool_call: As for `ToolNode`. It runs when the call runs.
            awrap_tool_call: As for `ToolNode`. It runs when the call runs.
            effects: What tools read and write, by tool name, for tools that cannot be decorated.
            trust_mcp_hints: Whether MCP tool annotations count as effects: `readOnlyHint` as
                reading everything, `destructiveHint` as a fence, `idempotentHint` as idempotent.
            grace: Seconds that a step waits for calls that may be fast, before it answers them
                with placeholders. 0 never waits.
            delivery: `"in_place"` replaces placeholders; `"append"` never edits the history, and
                lets outcomes ride on the next tool message.
            on_final: What happens when the model ends its turn with futures unfinished:
                `"review"` waits, delivers and calls the model again; `"settle"` calls it again
                only if something failed (see `review_condition`); `"detach"` ends the run and
                delivers at the next run of the thread.
            timeout: Seconds that a call may run, for every tool or by tool name.
            max_concurrency: How many calls of one run may run at once.
            executor: Where calls run; by default asyncio tasks, or threads under `invoke`.

        Raises:
            ValueError: When two tools have one name, a tool has a control tool's name, effects or
                timeouts name an unknown tool, an effects path names an unknown argument, or a
                number or option is out of range.
        """
        prepared = [tool if isinstance(tool, BaseTool) else create_tool(tool) for tool in tools]
        # With no asynchronous wrapper a synchronous one serves both, as in `ToolNode`.
        takes_async = awrap_tool_call is not None or wrap_tool_call is None
        super().__init__(
            prepared,
            name=name,
            tags=tags,
            handle_tool_errors=handle_tool_errors,
            messages_key=messages_key,
            wrap_tool_call=_keep,
            awrap_tool_call=_akeep if takes_async else None,
        )
        _check_options(grace, delivery, on_final, max_concurrency)
        self._wrapper = wrap_tool_call
        self._awrapper = awrap_tool_call
        self._key = messages_key
        self._errors = handle_tool_errors
        self._executor = executor
        self._max_concurrency = max_concurrency
        self._lanes: dict[int | None, Lane] = {}
        self._detached = DetachedRuns()
        facts = gather_facts(
            prepared, effects=effects, trust_mcp_hints=trust_mcp_hints, timeout=timeout
        )
        wraps = wrap_tool_call is not None or awrap_tool_call is not None
        self._policy = Policy(facts, wraps, grace, delivery, on_final)
        watch_runs()

    # -- for the model and the graph ------------------------------------------------------------

    @functools.cached_property
    def model_tools(self) -> list[BaseTool]:
        """What to bind the model to: `model.bind_tools(node.model_tools)`.

        The tools' schemas, in which every argument also takes a reference and each call may ask
        for `await_result`; then `await_future` and `cancel_future`. The originals work as well,
        but then a model can pass references only where a tool takes any string.
        """
        return [*model_tools(self.tools_by_name.values()), *control_tools()]

    @functools.cached_property
    def strict_model_tools(self) -> list[BaseTool]:
        """The same in the form that OpenAI's strict schemas must have.

        For `model.bind_tools(node.strict_model_tools, strict=True)`.
        """
        self._policy = replace(self._policy, strict=True)
        return [
            *model_tools(self.tools_by_name.values(), strict=True),
            *control_tools(strict=True),
        ]

    def review_condition(self, model_node: str = "agent") -> Callable[[Any], str]:
        """A conditional edge out of this node, which may end the turn after the node.

        With a fixed edge from the tools to the model, the model is called again after every
        step. With `on_final="settle"`, or tools declared `ack`, that call is not needed when all
        went well, and this condition leaves it out:

        ```python
        builder.add_conditional_edges("tools", node.review_condition("agent"))
        ```

        Args:
            model_node: The node that calls the model.
        """
        self._policy = replace(self._policy, may_end=True)

        def condition(state: Any) -> str:
            messages = _messages(state, self._key)
            last = messages[-1] if messages else None
            over = isinstance(last, AIMessage) and not last.tool_calls
            return "__end__" if over else model_node

        return condition

    async def aclose(self) -> None:
        """Cancel the detached futures of this node, and wait for them."""
        await self._detached.aclose()

    def close(self) -> None:
        """Cancel the detached futures of runs by `invoke` and `stream`."""
        self._detached.close()

    # -- running --------------------------------------------------------------------------------

    async def ainvoke(self, input: Any, config: RunnableConfig | None = None, **kwargs: Any) -> Any:
        """Answer the last message's tool calls, or wait at the end of a turn."""
        config = ensure_config() if config is None else config
        kept = _Kept(await super().ainvoke(input, config, **kwargs))
        run, scheduler = self._scheduler(config, is_async=True)
        messages = self._messages(input, kept)
        step = self._step(messages, config, kept, scheduler, in_run=run is not None)
        try:
            answers = await drive_async(scheduler, step)
        finally:
            if run is None:
                await GraphRun(scheduler, is_async=True).aend(None)
        return self._output(answers, messages, kept, in_run=run is not None)

    def invoke(self, input: Any, config: RunnableConfig | None = None, **kwargs: Any) -> Any:
        """Answer the last message's tool calls, or wait at the end of a turn."""
        config = ensure_config() if config is None else config
        kept = _Kept(super().invoke(input, config, **kwargs))
        run, scheduler = self._scheduler(config, is_async=False)
        messages = self._messages(input, kept)
        step = self._step(messages, config, kept, scheduler, in_run=run is not None)
        try:
            answers = drive(scheduler, step)
        finally:
            if run is None:
                GraphRun(scheduler, is_async=False).end(None)
        return self._output(answers, messages, kept, in_run=run is not None)

    def _scheduler(
        self, config: RunnableConfig | None, *, is_async: bool
    ) -> tuple[GraphRun | None, Scheduler]:
        """The run that a step belongs to, and the scheduler of its futures."""
        thread = thread_key(config)

        def make() -> GraphRun:
            scheduler = self._detached.take(thread, is_async=is_async)
            scheduler = scheduler or new_scheduler(uuid4().hex, is_async=is_async)
            run = GraphRun(scheduler, is_async=is_async, warns=True)
            if self._policy.on_final == "detach":
                run.on_end = functools.partial(self._detached.keep, thread, scheduler, is_async)
            return run

        run = graph_run(config, make, is_async=is_async)
        if run is not None:
            return run, run.scheduler
        return None, new_scheduler(uuid4().hex, is_async=is_async)

    def _messages(self, input: Any, kept: _Kept) -> list[Any]:
        """The thread's messages: those of the state that `ToolNode` found for the calls."""
        return _messages(kept.requests[0][0].state if kept.requests else input, self._key)

    def _step(
        self,
        messages: list[Any],
        config: RunnableConfig | None,
        kept: _Kept,
        scheduler: Scheduler,
        *,
        in_run: bool,
    ) -> Generator[Wait, None, list[Answer]]:
        thread = read_thread(messages)
        lane = self._lane((config or {}).get("max_concurrency"))
        switch = ((config or {}).get("configurable") or {}).get("asyncfc", True)
        step = Step(self._policy, lane, scheduler, thread, in_run=in_run, waits=switch is False)
        if not kept.requests:
            return step.end_turn()
        return step.answer_calls(
            [
                (request.tool_call, self._invocation(request, execute))
                for request, execute in kept.requests
            ]
        )

    def _invocation(self, request: ToolCallRequest, execute: Callable[..., Any]) -> Invocation:
        wrapper = self._awrapper if inspect.iscoroutinefunction(execute) else self._wrapper
        return Invocation(request, execute, wrapper, self._errors)

    def _lane(self, asked: int | None) -> Lane:
        """How calls are run under the node's limit and the run's."""
        limits = [limit for limit in (asked, self._max_concurrency) if limit is not None]
        limit = min(limits, default=None)
        if limit not in self._lanes:
            self._lanes[limit] = Lane(self._executor, limit)
        return self._lanes[limit]

    def _output(
        self, answers: list[Answer], messages: list[Any], kept: _Kept, *, in_run: bool
    ) -> Any:
        if in_run:
            _stream_again(answers, messages)
        return output_form(answers, self._key, as_list=kept.as_list)


class _Kept:
    """What `ToolNode` returned when its wrapper kept every request instead of running it.

    Attributes:
        as_list: Whether the input was a list of messages, so that the output is one too.
        requests: The requests in call order, each with the function that executes it.
    """

    __slots__ = ("as_list", "requests")

    def __init__(self, output: Any) -> None:
        self.as_list = isinstance(output, list)
        (self.requests,) = (output,) if self.as_list else output.values()


def _keep(request: ToolCallRequest, execute: Callable[..., Any]) -> Any:
    return request, execute


async def _akeep(request: ToolCallRequest, execute: Callable[..., Any]) -> Any:
    return request, execute


def _check_options(grace: float, delivery: str, on_final: str, max_concurrency: int | None) -> None:
    if not grace >= 0:
        msg = f"grace must be a number of seconds that is not negative, not {grace!r}."
        raise ValueError(msg)
    for option, value, choices in (
        ("delivery", delivery, get_args(Delivery)),
        ("on_final", on_final, get_args(OnFinal)),
    ):
        if value not in choices:
            msg = f"{option} must be one of {', '.join(map(repr, choices))}, not {value!r}."
            raise ValueError(msg)
    if max_concurrency is not None and not max_concurrency >= 1:
        msg = f"max_concurrency must be at least 1, not {max_concurrency!r}."
        raise ValueError(msg)


def _messages(state: Any, key: str) -> list[Any]:
    """The messages in a state of any form."""
    if isinstance(state, list):
        return state
    found = state.get(key) if isinstance(state, Mapping) else getattr(state, key, None)
    return list(found or ())


def _stream_again(answers: Sequence[Answer], before: Sequence[Any]) -> None:
    """Show delivered messages in `stream_mode="messages"`, which drops a second one of an id."""
    shown = {m.id for m in before if isinstance(m, ToolMessage) and m.id is not None}
    for item in answers:
        for message in tool_messages_in(item):
            if message.id in shown:
                push_message(message, state_key=None)


def tools_condition(
    state: list[AnyMessage] | dict[str, Any] | BaseModel, messages_key: str = "messages"
) -> Literal["tools", "__end__"]:
    """Route to the tools when the last message calls them, or when futures are unfinished.

    LangGraph's `tools_condition` with one more reason to go to the tools: a turn that ends while
    calls run is not an answer yet (rule 13). What is unfinished is read from the messages.

    Args:
        state: The graph's state: a list of messages, a mapping or an object that holds one.
        messages_key: Where the messages are.

    Returns:
        `"tools"` or `"__end__"`.

    Raises:
        ValueError: When the state holds no messages.
    """
    if _tools_condition(state, messages_key) == "tools":
        return "tools"
    return "tools" if waits_at_end(read_thread(_messages(state, messages_key))) else "__end__"
