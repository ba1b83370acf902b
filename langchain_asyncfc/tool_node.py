"""AsyncFCToolNode: a `ToolNode` that answers with placeholders instead of waiting.

`ToolNode` still parses the input, builds each call's request and later runs it. The node's own
wrapper does not run anything: it keeps the request and the function that executes it, for the
scheduler to use when the call's time has come. So state and store injection, validation, error
handling and output forms are `ToolNode`'s own.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any, Final, Literal

from langchain_core.messages import AIMessage, AnyMessage, ToolCall
from langchain_core.runnables import Runnable, RunnableConfig, RunnableLambda
from langchain_core.runnables.config import ensure_config
from langchain_core.tools import BaseTool
from langchain_core.tools import tool as create_tool
from langgraph.prebuilt import ToolNode
from langgraph.prebuilt import tools_condition as _tools_condition
from langgraph.prebuilt.tool_node import AsyncToolCallWrapper, ToolCallRequest, ToolCallWrapper
from pydantic import BaseModel

from langchain_asyncfc.control import control_tools
from langchain_asyncfc.delivery import Answer, output_form
from langchain_asyncfc.eager import watched
from langchain_asyncfc.effects import Effects
from langchain_asyncfc.engine import Engine
from langchain_asyncfc.executors import Executor
from langchain_asyncfc.invocations import Invocation, changed
from langchain_asyncfc.native import marked
from langchain_asyncfc.records import AWAIT_FUTURE, waits_at_end
from langchain_asyncfc.runs import known_thread, mark_reviewed
from langchain_asyncfc.schemas import model_tools
from langchain_asyncfc.steps import Step
from langchain_asyncfc.toolbox import Toolbox
from langchain_asyncfc.waiting import Flow
from langchain_asyncfc.work import Work

__all__ = ["AsyncFCToolNode", "tools_condition"]

_HANDLE_TOOL_ERRORS: Any = inspect.signature(ToolNode).parameters["handle_tool_errors"].default
"""`ToolNode`'s own default."""
_CALLING: Final = AIMessage(
    "", tool_calls=[ToolCall(name=AWAIT_FUTURE, args={}, id="", type="tool_call")]
)
"""A message whose call stands in for those of a step; no tool has this name."""


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
        stream_events: bool = False,
        async_calls: Literal["auto", "native", "placeholder"] = "placeholder",
        journal: bool = True,
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
            stream_events: Whether `stream_mode="custom"` is told when a future is issued, runs,
                ends and is delivered, beside what the tools write there.
            async_calls: How the model is shown calls that have not finished: by a `"placeholder"`,
                or not at all, so that the result comes late, for a model that takes asynchronous
                tools (OpenAI's Responses API) and is given `native_history(messages)`. `"native"`
                marks all tools for that, `"auto"` leaves marks by `@tool(extras={"async": True})`.
            journal: Whether calls are noted in the graph's store, if it has one, so that what has
                finished survives a crash, and nothing is started twice (see `journal`).

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
        self._wrapper = wrap_tool_call
        self._awrapper = awrap_tool_call
        self._key = messages_key
        self._errors = handle_tool_errors
        self._async_calls = async_calls
        toolbox = Toolbox(
            effects=effects,
            trust_mcp_hints=trust_mcp_hints,
            timeout=timeout,
            wraps=wrap_tool_call is not None or awrap_tool_call is not None,
        )
        toolbox.add_all(prepared)
        self._engine = Engine(
            toolbox,
            grace=grace,
            delivery=delivery,
            on_final=on_final,
            max_concurrency=max_concurrency,
            executor=executor,
            stream_events=stream_events,
            async_calls=async_calls,
            journal=journal,
            messages_key=messages_key,
        )

    # -- for the model and the graph ------------------------------------------------------------

    @functools.cached_property
    def model_tools(self) -> list[BaseTool]:
        """What to bind the model to: `model.bind_tools(node.model_tools)`.

        The tools' schemas, in which every argument also takes a reference and each call may ask
        for `await_result`; then `await_future` and `cancel_future`. The originals work as well,
        but then a model can pass references only where a tool takes any string.
        """
        return [*self._shadows(strict=False), *control_tools()]

    @functools.cached_property
    def strict_model_tools(self) -> list[BaseTool]:
        """The same in the form that OpenAI's strict schemas must have.

        For `model.bind_tools(node.strict_model_tools, strict=True)`.
        """
        self._engine.policy = replace(self._engine.policy, strict=True)
        return [*self._shadows(strict=True), *control_tools(strict=True)]

    def _shadows(self, *, strict: bool) -> list[BaseTool]:
        shadows = model_tools(self.tools_by_name.values(), strict=strict)
        if self._async_calls == "auto":
            return shadows
        toolbox = self._engine.policy.toolbox
        native = self._async_calls == "native"
        return [marked(t, native=native and not toolbox.on(t.name).foreground) for t in shadows]

    def eager(self, model: Any) -> Any:
        """A copy of a model whose calls may start while it still writes their message.

        A call starts early if it can be dropped without a trace: its tool is declared to write
        nothing, and it has nothing to wait for. Any other starts when its message is complete, as
        without this. The copy streams, also under `invoke`.

        ```python
        model = node.eager(model).bind_tools(node.model_tools)
        ```

        Args:
            model: A chat model, before or after `bind_tools`.

        Raises:
            TypeError: When it is anything else, such as a chain.
            ValueError: When the node has a wrapper around tool calls, which has to see them before
                they run, or an executor of your own.
        """
        if self._wrapper is not None or self._awrapper is not None:
            msg = (
                "Calls cannot start early in a node with wrap_tool_call or awrap_tool_call: the "
                "wrapper has to see them before they run. Leave out the wrapper, or node.eager."
            )
            raise ValueError(msg)
        self._engine.check_eager()
        return watched(model, self._engine, self._key, str(self.name))

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
        self._engine.policy = replace(self._engine.policy, may_end=True)

        def condition(state: Any) -> str:
            messages = _messages(state, self._key)
            last = messages[-1] if messages else None
            over = isinstance(last, AIMessage) and not last.tool_calls
            return "__end__" if over else model_node

        return condition

    @functools.cached_property
    def review_hook(self) -> Runnable[Any, Any]:
        """A node that looks after unfinished futures when the model has answered.

        For graphs that are not routed by `tools_condition`, as `create_react_agent`:

        ```python
        create_react_agent(model, node, post_model_hook=node.review_hook)
        ```
        """
        self._engine.policy = replace(self._engine.policy, may_end=True)

        def review(state: Any, config: RunnableConfig) -> Any:
            mark_reviewed(config)
            messages = _messages(state, self._key)
            if not _is_over(messages):
                return None
            answers = self._engine.step(config, messages, Step.end_turn)
            return output_form(answers, self._key, as_list=isinstance(state, list))

        async def areview(state: Any, config: RunnableConfig) -> Any:
            mark_reviewed(config)
            messages = _messages(state, self._key)
            if not _is_over(messages):
                return None
            answers = await self._engine.astep(config, messages, Step.end_turn)
            return output_form(answers, self._key, as_list=isinstance(state, list))

        return RunnableLambda(review, afunc=areview, name="review_hook")

    async def aclose(self) -> None:
        """Cancel the detached futures of this node, and wait for them."""
        await self._engine.aclose()

    def close(self) -> None:
        """Cancel the detached futures of runs by `invoke` and `stream`."""
        self._engine.close()

    # -- running --------------------------------------------------------------------------------

    async def ainvoke(self, input: Any, config: RunnableConfig | None = None, **kwargs: Any) -> Any:
        """Answer the last message's tool calls, or wait at the end of a turn."""
        config = ensure_config() if config is None else config
        calls = _calls(input, self._key)
        asked = self._without_state(input) if calls else input
        kept = _Kept(await super().ainvoke(asked, config, **kwargs))
        plan = self._plan(kept, calls, input, config)
        answers = await self._engine.astep(config, self._messages(input, kept, calls), plan)
        return output_form(answers, self._key, as_list=kept.as_list)

    def invoke(self, input: Any, config: RunnableConfig | None = None, **kwargs: Any) -> Any:
        """Answer the last message's tool calls, or wait at the end of a turn."""
        config = ensure_config() if config is None else config
        calls = _calls(input, self._key)
        asked = self._without_state(input) if calls else input
        kept = _Kept(super().invoke(asked, config, **kwargs))
        plan = self._plan(kept, calls, input, config)
        answers = self._engine.step(config, self._messages(input, kept, calls), plan)
        return output_form(answers, self._key, as_list=kept.as_list)

    def _without_state(self, input: Any) -> Any:
        """An input of the same form with a single call, for which `ToolNode` makes a request.

        What else stands in it, all calls of the step have in common, and `ToolNode` takes its time
        to make one for each.
        """
        return [_CALLING] if isinstance(input, list) else {self._key: [_CALLING]}

    def _messages(self, input: Any, kept: _Kept, calls: Sequence[ToolCall]) -> list[Any]:
        """The thread's messages: those of the state that `ToolNode` found for the calls."""
        found = not calls and kept.requests
        return _messages(kept.requests[0][0].state if found else input, self._key)

    def _plan(
        self, kept: _Kept, calls: Sequence[ToolCall], input: Any, config: RunnableConfig
    ) -> Callable[[Step], Flow[list[Answer]]]:
        if not kept.requests:
            return lambda step: step.end_turn(self._template(input, config))
        arrivals = self._arrivals(kept, calls, input) if calls else self._arrivals_of(kept)
        return lambda step: step.answer_calls(arrivals)

    def _arrivals(
        self, kept: _Kept, calls: Sequence[ToolCall], state: Any
    ) -> list[tuple[ToolCall, Invocation]]:
        """Calls of a state, with a request that was made without it."""
        by_tool = {name: self.tools_by_name.get(name) for name in {c["name"] for c in calls}}
        first = self._invocation(kept)
        request = first.request
        runtime = changed(request.runtime, state=state)
        first = replace(first, request=changed(request, state=state, runtime=runtime))
        run_by = {name: first.of(tool) for name, tool in by_tool.items()}
        return [(call, run_by[call["name"]]) for call in calls]

    def _arrivals_of(self, kept: _Kept) -> list[tuple[ToolCall, Invocation]]:
        """Calls that were sent to the node by themselves, as `ToolNode` found them."""
        first = self._invocation(kept)
        return [(made.tool_call, first.of(made.tool)) for made, _ in kept.requests]

    def _invocation(self, kept: _Kept) -> Invocation:
        # The calls of a step have their state and runtime in common, so one request serves all.
        request, execute = kept.requests[0]
        wrapper = self._awrapper if inspect.iscoroutinefunction(execute) else self._wrapper
        announces = self._engine.stream_events
        return Invocation(request, execute, wrapper, self._errors, announces=announces)

    def _template(self, input: Any, config: RunnableConfig) -> Work:
        """Gives what runs calls in a step that no calls came in with."""
        asked = self._without_state(input)

        def run() -> Invocation:
            kept = _Kept(super(AsyncFCToolNode, self).invoke(asked, config))
            return self._arrivals(kept, _CALLING.tool_calls, input)[0][1]

        async def arun() -> Invocation:
            kept = _Kept(await super(AsyncFCToolNode, self).ainvoke(asked, config))
            return self._arrivals(kept, _CALLING.tool_calls, input)[0][1]

        return Work(run, arun)


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


def _calls(input: Any, key: str) -> Sequence[ToolCall]:
    """The calls of the last `AIMessage` of a state; none where `ToolNode` has to look for them.

    They may also be sent to the node by themselves, with or without a state.
    """
    if isinstance(input, Mapping) and "__type" in input:
        return ()
    messages = _messages(input, key)
    last = next((m for m in reversed(messages) if isinstance(m, AIMessage)), None)
    return () if last is None else last.tool_calls


def _messages(state: Any, key: str) -> list[Any]:
    """The messages in a state of any form."""
    if isinstance(state, list):
        return state
    found = state.get(key) if isinstance(state, Mapping) else getattr(state, key, None)
    return list(found or ())


def _is_over(messages: Sequence[Any]) -> bool:
    """Whether the model has ended its turn: its last message calls no tool."""
    last = next((m for m in reversed(messages) if isinstance(m, AIMessage)), None)
    return last is not None and not last.tool_calls


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
    mark_reviewed()
    if _tools_condition(state, messages_key) == "tools":
        return "tools"
    thread = known_thread(_messages(state, messages_key))
    # Where the last calls are answered, the tools node would run them again.
    over = thread.batch is not None and not thread.batch.tool_calls
    return "tools" if over and waits_at_end(thread) else "__end__"
