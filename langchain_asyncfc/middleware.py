"""AsyncFCMiddleware: the same as `AsyncFCToolNode`, for `langchain.agents.create_agent`.

| hook | what it does |
|---|---|
| `wrap_model_call` | binds the widened tools, adds the instructions |
| `after_model` | at the end of a turn waits for what is unfinished and delivers it |
| `wrap_tool_call` | issues the call and answers it, with its result or a placeholder |
| `before_model` | delivers what has become finished |
| `after_agent` | waits and delivers where the run ends without another call of the model |

`create_agent` sends each call of a message to a task of its own; the first of them issues them
all, in the model's order.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Annotated, Any, Final, Literal, NotRequired, cast

from langchain.agents.middleware import (
    AgentMiddleware,
    AgentState,
    ModelRequest,
    ModelResponse,
)
from langchain.agents.middleware.types import PrivateStateAttr
from langchain.agents.structured_output import StructuredOutputError
from langchain_core.language_models import BaseChatModel
from langchain_core.messages import AIMessage, SystemMessage, ToolMessage
from langchain_core.runnables import RunnableConfig
from langchain_core.tools import BaseTool
from langgraph.config import get_config
from langgraph.prebuilt.tool_node import ToolCallRequest
from langgraph.types import Command

from langchain_asyncfc.control import control_tools
from langchain_asyncfc.delivery import Answer, output_form
from langchain_asyncfc.eager import watched
from langchain_asyncfc.effects import Effects
from langchain_asyncfc.engine import Engine
from langchain_asyncfc.errors import ReferenceProblem
from langchain_asyncfc.executors import Executor
from langchain_asyncfc.invocations import Invocation
from langchain_asyncfc.native import is_openai, marked, native_history, takes_native_calls
from langchain_asyncfc.placeholders import asyncfc_instructions
from langchain_asyncfc.records import CONTROL_TOOLS, read_thread, waits_at_end
from langchain_asyncfc.references import holds_references
from langchain_asyncfc.runs import is_idle, known_thread, mark_reviewed
from langchain_asyncfc.schemas import model_tool
from langchain_asyncfc.screens import Screens
from langchain_asyncfc.steps import Step
from langchain_asyncfc.structured import (
    answer_tools,
    is_plain,
    parsed_again,
    refused,
    unparsed,
)
from langchain_asyncfc.surroundings import running_create_agent
from langchain_asyncfc.toolbox import Toolbox
from langchain_asyncfc.waiting import Flow

__all__ = ["AsyncFCMiddleware"]

if TYPE_CHECKING:
    _AgentMiddleware = AgentMiddleware[Any, Any, Any]
else:
    _AgentMiddleware = AgentMiddleware  # of two parameters in older versions

_logger = logging.getLogger(__name__)

_MESSAGES: Final = "messages"
_TOOLS: Final = "tools"
"""How `create_agent` names the node of its tools."""
_COPIES: Final = 8
"""Models of one agent whose watched copies are kept: a middleware may choose among some."""
_LAST: Final = "asyncfc_last"
_STRUCTURED: Final = "structured_response"


class _NumberedState(AgentState[Any]):
    """State beside a middleware that forgets messages: ids of futures are never used again."""

    asyncfc_last: NotRequired[Annotated[int, PrivateStateAttr]]


class AsyncFCMiddleware(_AgentMiddleware):
    """Lets an agent's tools run in the background while its model goes on.

    The same as swapping `ToolNode` for `AsyncFCToolNode`, by the same rules: a call that does not
    finish within the grace period is answered with a placeholder that names its future, the model
    may pass the future's id on as an argument, and gets the result at a later turn.

    It belongs first in the list of middleware, only `HumanInTheLoopMiddleware` goes before it
    (unless its `interrupt_mode` is `"per_call"`). `create_agent` fails with an error that names
    the right order where one cannot work. Tools that a person approves run when everything else
    is finished and delivered, and the person sees values where the model wrote references.

    One object serves one agent. `config={"configurable": {"asyncfc": False}}` turns futures off
    for a run. Cancelling a run, an error in it or closing its stream early cancels its calls and
    waits for them.

    Example:
        ```python
        agent = create_agent(model, [search, read_file], middleware=[AsyncFCMiddleware()])
        ```

    Source: AsyncFC (arXiv 2605.15077).
    """

    def __init__(
        self,
        *,
        effects: Mapping[str, Effects] | None = None,
        trust_mcp_hints: bool = False,
        grace: float = 0.01,
        delivery: Literal["in_place", "append"] = "in_place",
        on_final: Literal["review", "settle", "detach"] = "review",
        timeout: float | Mapping[str, float] | None = None,
        max_concurrency: int | None = None,
        executor: Executor | None = None,
        stream_events: bool = False,
        async_calls: Literal["auto", "native", "placeholder"] = "auto",
        journal: bool = True,
        instructions: str | None = None,
        eager: bool = False,
    ) -> None:
        """Build the middleware.

        Args:
            effects: What tools read and write, by tool name, for tools that cannot be decorated.
            trust_mcp_hints: Whether MCP tool annotations count as effects: `readOnlyHint` as
                reading everything, `destructiveHint` as a fence, `idempotentHint` as idempotent.
            grace: Seconds that a step waits for calls that may be fast, before it answers them
                with placeholders. 0 never waits.
            delivery: `"in_place"` replaces placeholders; `"append"` never edits the history, and
                lets outcomes ride on the next tool message. Append is also used where the model,
                or a middleware that looks at new tool messages only, would miss what is replaced.
            on_final: What happens when the model ends its turn with futures unfinished:
                `"review"` waits, delivers and calls the model again; `"settle"` calls it again
                only if something failed; `"detach"` ends the run and delivers at the next run of
                the thread.
            timeout: Seconds that a call may run, for every tool or by tool name.
            max_concurrency: How many calls of one run may run at once.
            executor: Where calls run; by default asyncio tasks, or threads under `invoke`.
            stream_events: Whether `stream_mode="custom"` is told when a future is issued, runs,
                ends and is delivered, beside what the tools write there.
            async_calls: How a model is shown calls that have not finished. `"placeholder"`: by a
                placeholder. `"native"`: not at all, and the result comes late, for models that
                take asynchronous tools (OpenAI's Responses API); placeholders for others.
                `"auto"`: native for tools that are marked so, by `@tool(extras={"async": True})`.
            journal: Whether calls are noted in the graph's store, if it has one, so that what has
                finished survives a crash, and nothing is started twice (see `journal`).
            instructions: What the model is told about futures, at the end of its system message.
                By default `asyncfc_instructions()`; `""` for nothing.
            eager: Whether calls that only read may start while the model still writes the message
                that makes them. The model then streams. It has no effect beside middleware that
                wraps tool calls, or may refuse them after the model; a warning says so.

        Raises:
            ValueError: When a number or option is out of range. When the agent is built: when
                effects or timeouts name an unknown tool, a tool has a control tool's name, an
                effects path names an unknown argument, or the order of middleware cannot work.
        """
        super().__init__()
        self._toolbox = Toolbox(
            effects=effects, trust_mcp_hints=trust_mcp_hints, timeout=timeout, wraps=True
        )
        self._engine = Engine(
            self._toolbox,
            grace=grace,
            delivery=delivery,
            on_final=on_final,
            max_concurrency=max_concurrency,
            executor=executor,
            stream_events=stream_events,
            async_calls=async_calls,
            journal=journal,
            reviews=True,
        )
        self._async_calls = async_calls
        self._instructions = asyncfc_instructions() if instructions is None else instructions
        self._shadows: dict[tuple[str, bool, bool | None], tuple[BaseTool, BaseTool]] = {}
        self._screens = Screens(())
        self._eager = eager
        if eager:
            self._engine.check_eager()
        self._surrounded = True
        self._copies: list[tuple[BaseChatModel, Any]] = []
        self._control = {strict: control_tools(strict=strict) for strict in (False, True)}

    @property
    def tools(self) -> Sequence[BaseTool]:  # type: ignore[override]
        """The control tools that the agent gets: `await_future` and `cancel_future`.

        `create_agent` looks here once; what it is called with is looked at in turn.
        """
        self._look_around()
        return self._control[False]

    def _look_around(self) -> None:
        around = running_create_agent(self)
        if around is None:
            return
        around.check_order(self)
        toolbox = self._toolbox
        toolbox.wraps = around.wraps_tool_calls(self)
        toolbox.needs_approval |= around.approved()
        toolbox.in_step |= around.in_step()
        self._engine.waits = self._engine.waits or around.stops
        toolbox.defaults.update(around.known_effects())
        tools = list(around.all_tools(self))
        for tool in tools:
            toolbox.add(tool)
        if not around.may_add_tools(self):
            toolbox.check_names({tool.name for tool in tools})
        self._screens = Screens(around.screens())
        if around.forgets():
            self.state_schema = _NumberedState
        reduced = self._engine.policy.reduced_keys | around.reduced_keys()
        self._engine.policy = replace(
            self._engine.policy, reduced_keys=reduced, all_keys_known=True
        )
        if around.reads_new_messages_only():
            self._engine.policy = replace(self._engine.policy, delivery="append")
        between = around.stand_between(self)
        self._surrounded = bool(between)
        if self._eager and between:
            _logger.warning(
                "eager=True has no effect: %s may change or refuse calls before they run.",
                ", ".join(between),
            )

    async def aclose(self) -> None:
        """Cancel the detached futures, and wait for them."""
        await self._engine.aclose()

    def close(self) -> None:
        """Cancel the detached futures of runs by `invoke` and `stream`."""
        self._engine.close()

    # -- the model ------------------------------------------------------------------------------

    def wrap_model_call(
        self,
        request: ModelRequest[Any],
        handler: Callable[[ModelRequest[Any]], ModelResponse[Any]],
    ) -> ModelResponse[Any]:
        """Let the model know of futures."""
        call = _ModelCall(request)
        try:
            response = handler(self._prepared(call))
        except StructuredOutputError as error:
            response = call.caught(error)
        if not call.refers(response):
            return response
        try:
            answers = self._engine.step(get_config(), call.messages(response), call.plan)
        except ReferenceProblem as problem:
            return call.refused(response, problem)
        return call.settled(response, answers)

    async def awrap_model_call(
        self,
        request: ModelRequest[Any],
        handler: Callable[[ModelRequest[Any]], Awaitable[ModelResponse[Any]]],
    ) -> ModelResponse[Any]:
        """Let the model know of futures."""
        call = _ModelCall(request)
        try:
            response = await handler(self._prepared(call))
        except StructuredOutputError as error:
            response = call.caught(error)
        if not call.refers(response):
            return response
        try:
            answers = await self._engine.astep(get_config(), call.messages(response), call.plan)
        except ReferenceProblem as problem:
            return call.refused(response, problem)
        return call.settled(response, answers)

    def _prepared(self, call: _ModelCall) -> ModelRequest[Any]:
        request = call.request
        own = [
            tool
            for tool in request.tools
            if isinstance(tool, BaseTool) and tool.name not in CONTROL_TOOLS
        ]
        if not own:
            return request.override(tools=[t for t in request.tools if isinstance(t, dict)])
        for tool in own:
            self._toolbox.add(tool)
        strict = _binds_strictly(request)
        if strict and not self._engine.policy.strict:
            self._engine.policy = replace(self._engine.policy, strict=True)
        native = self._engine.policy.native and takes_native_calls(request.model)
        mark = None if native and self._async_calls == "auto" else native
        bound = [
            self._shadow(tool, strict, mark) if isinstance(tool, BaseTool) else tool
            for tool in request.tools
            if isinstance(tool, dict) or tool.name not in CONTROL_TOOLS
        ]
        changed = request.override(
            tools=[*bound, *self._control[strict]],
            system_message=self._instructed(request.system_message),
        )
        if native:
            changed = changed.override(messages=native_history(request.messages))
        if self._eager and not self._surrounded and isinstance(request.model, BaseChatModel):
            changed = changed.override(model=self._watched(request.model))
        return changed

    def _watched(self, model: BaseChatModel) -> Any:
        """The watched copy of a model: the same each time, since models note things in fields."""
        known = next((copy for original, copy in self._copies if original is model), None)
        if known is None:
            known = watched(model, self._engine, _MESSAGES, _TOOLS)
        others = [pair for pair in self._copies if pair[0] is not model]
        self._copies = [(model, known), *others[: _COPIES - 1]]
        return known

    def _shadow(self, tool: BaseTool, strict: bool, native: bool | None) -> BaseTool:
        """What the model is bound to in place of a tool.

        Args:
            tool: The tool.
            strict: In the form of OpenAI's strict schemas.
            native: Marked as asynchronous or not; `None` as the tool is.
        """
        known = self._shadows.get((tool.name, strict, native))
        if known is None or known[0] is not tool:
            shadow = model_tool(tool, strict=strict)
            if native is not None:
                foreground = self._toolbox.on(tool.name).foreground
                shadow = marked(shadow, native=native and not foreground)
            known = self._shadows[tool.name, strict, native] = (tool, shadow)
        return known[1]

    def _instructed(self, system: SystemMessage | None) -> SystemMessage | None:
        if not self._instructions:
            return system
        if system is None or not system.content:
            return SystemMessage(self._instructions)
        if isinstance(system.content, str):
            content: Any = f"{system.content}\n\n{self._instructions}"
        else:
            content = [*system.content, {"type": "text", "text": f"\n\n{self._instructions}"}]
        return system.model_copy(update={"content": content})

    # -- the end of a turn ----------------------------------------------------------------------

    def after_model(self, state: Any, runtime: Any) -> Any:  # noqa: ARG002 - LangChain's signature
        """At the end of a turn, wait for what is unfinished and deliver it."""
        return _update(self._step(state, _after_model(state)))

    async def aafter_model(self, state: Any, runtime: Any) -> Any:  # noqa: ARG002
        """At the end of a turn, wait for what is unfinished and deliver it."""
        return _update(await self._astep(state, _after_model(state)))

    def before_model(self, state: Any, runtime: Any) -> Any:  # noqa: ARG002
        """Deliver what has become finished."""
        return _update(self._step(state, self._noting(state, Step.deliver)))

    async def abefore_model(self, state: Any, runtime: Any) -> Any:  # noqa: ARG002
        """Deliver what has become finished."""
        return _update(await self._astep(state, self._noting(state, Step.deliver)))

    def after_agent(self, state: Any, runtime: Any) -> Any:  # noqa: ARG002
        """Wait and deliver, where the run ends without another call of the model."""
        return _update(self._step(state, self._noting(state, Step.end_run)))

    async def aafter_agent(self, state: Any, runtime: Any) -> Any:  # noqa: ARG002
        """Wait and deliver, where the run ends without another call of the model."""
        return _update(await self._astep(state, self._noting(state, Step.end_run)))

    def _step(self, state: Any, plan: _Plan) -> list[Answer]:
        config = get_config()
        mark_reviewed(config)
        if self._has_nothing_to_do(config, state[_MESSAGES]):
            return []
        return self._engine.step(config, state[_MESSAGES], plan, floor=_floor(state))

    async def _astep(self, state: Any, plan: _Plan) -> list[Answer]:
        config = get_config()
        mark_reviewed(config)
        if self._has_nothing_to_do(config, state[_MESSAGES]):
            return []
        return await self._engine.astep(config, state[_MESSAGES], plan, floor=_floor(state))

    def _has_nothing_to_do(self, config: RunnableConfig, messages: Sequence[Any]) -> bool:
        """Whether a hook has nothing to wait for, to deliver or to note, as most times."""
        if self.state_schema is _NumberedState or not is_idle(config, messages):
            return False
        last = next((m for m in reversed(messages) if isinstance(m, AIMessage)), None)
        facts = [self._toolbox.on(c["name"]) for c in last.tool_calls] if last is not None else []
        return not any(fact.comes_last or fact.may_hand_off for fact in facts)

    def _noting(self, state: Any, plan: _Plan) -> _Plan:
        """A plan that also keeps the highest number of a future, where messages may forget it."""
        if self.state_schema is not _NumberedState:
            return plan

        def noting(step: Step) -> Flow[list[Answer]]:
            answers = yield from plan(step)
            if step.last > _floor(state):
                answers.append(Command(update={_LAST: step.last}))
            return answers

        return noting

    # -- the tools ------------------------------------------------------------------------------

    def wrap_tool_call(
        self,
        request: ToolCallRequest,
        handler: Callable[[ToolCallRequest], ToolMessage | Command[Any]],
    ) -> Any:
        """Issue a call, and answer it with its result or a placeholder."""
        plan = self._call(request, handler)
        return _single(
            self._engine.step(
                request.runtime.config, _thread_of(request), plan, floor=_floor(request.state)
            )
        )

    async def awrap_tool_call(
        self,
        request: ToolCallRequest,
        handler: Callable[[ToolCallRequest], Awaitable[ToolMessage | Command[Any]]],
    ) -> Any:
        """Issue a call, and answer it with its result or a placeholder."""
        plan = self._call(request, handler)
        return _single(
            await self._engine.astep(
                request.runtime.config, _thread_of(request), plan, floor=_floor(request.state)
            )
        )

    def _call(self, request: ToolCallRequest, handler: Callable[..., Any]) -> _Plan:
        if request.tool is not None and request.tool_call["name"] not in CONTROL_TOOLS:
            self._toolbox.add(request.tool)
        # Errors that the tools node would raise are raised, and handled by it.
        wrapper = self._screens.wrapper(handler)
        invocation = Invocation(
            request,
            handler,
            wrapper,
            False,
            announces=self._engine.stream_events,
            tool=request.tool,
        )
        arrivals = [(request.tool_call, invocation)]
        return lambda step: step.answer_calls(arrivals, deliver=False)


_Plan = Callable[[Step], Flow[list[Answer]]]


class _ModelCall:
    """One call of the model, as far as structured answers are concerned."""

    def __init__(self, request: ModelRequest[Any]) -> None:
        self.request = request
        self._answers = answer_tools(request.response_format)
        self._error: Exception | None = None

    def caught(self, error: StructuredOutputError) -> ModelResponse[Any]:
        """What the model said, if an answer that cannot be parsed is no answer yet."""
        response = unparsed(error)
        if response is None or not (self._is_early(response) or self.refers(response)):
            raise error
        self._error = error
        return response

    def _is_early(self, response: ModelResponse[Any]) -> bool:
        """Whether it is given as a text while futures are unfinished."""
        thread = read_thread(self.messages(response))
        return not (thread.batch and thread.batch.tool_calls) and bool(waits_at_end(thread))

    def refers(self, response: ModelResponse[Any]) -> bool:
        """Whether the model gives a structured answer in which references stand."""
        calls = [
            call
            for message in response.result
            if isinstance(message, AIMessage)
            for call in message.tool_calls
            if call["name"] in self._answers
        ]
        return len(calls) == 1 and holds_references(calls[0]["args"])

    def messages(self, response: ModelResponse[Any]) -> list[Any]:
        """The thread with the model's message at its end."""
        said = [message for message in response.result if isinstance(message, AIMessage)]
        return [*self.request.state[_MESSAGES], *said]

    def plan(self, step: Step) -> Flow[list[Answer]]:
        """Put values where references stand in the structured answer."""
        return step.resolve({name: binding.tool for name, binding in self._answers.items()})

    def refused(self, response: ModelResponse[Any], problem: Exception) -> ModelResponse[Any]:
        """The response to an answer whose references have no values, or none that fit."""
        message = self.messages(response)[-1]
        return refused(message, self._answers, self.request.response_format, problem)

    def settled(self, response: ModelResponse[Any], answers: list[Answer]) -> ModelResponse[Any]:
        """The response with values, if they fit."""
        if answers:
            message = cast("AIMessage", answers[0])
            try:
                return parsed_again(message, self._answers, self.request.response_format)
            except Exception as problem:  # noqa: BLE001 - of any schema
                if self._error is None:  # it was an answer with the references in it
                    return self.refused(response, problem)
        if self._error is not None:
            raise self._error
        return response


def _after_model(state: Any) -> _Plan:
    """What to do when the model has spoken."""

    def plan(step: Step) -> Flow[list[Answer]]:
        thread = known_thread(state[_MESSAGES])
        has_answer = state.get(_STRUCTURED) is not None
        if any(thread.unanswered()) and not has_answer:
            return (yield from step.finish_before())
        if thread.batch is not None and thread.batch.tool_calls and not has_answer:
            return []  # all calls are answered, as by a middleware; the model is called again
        answers = yield from step.end_turn()
        if step.goes_on and has_answer:
            answers.append(Command(update={_STRUCTURED: None}))
        return [*answers, *(yield from step.finish_before())]

    return plan


def _update(answers: list[Answer]) -> Any:
    """Answers as the output of a hook."""
    return output_form(answers, _MESSAGES, as_list=False) if answers else None


def _single(answers: list[Answer]) -> Any:
    """Answers as the result of one tool call."""
    return answers[0] if len(answers) == 1 else answers


def _floor(state: Any) -> int:
    """The highest number of a future that the state tells of."""
    last = state.get(_LAST)
    return last if isinstance(last, int) else 0


def _thread_of(request: ToolCallRequest) -> list[Any]:
    messages: list[Any] = request.state[_MESSAGES]
    return messages


def _binds_strictly(request: ModelRequest[Any]) -> bool:
    """Whether the model will be bound to strict schemas.

    `create_agent` does so by itself for a provider's structured output at OpenAI.
    """
    if request.model_settings.get("strict"):
        return True
    return is_plain(request.response_format) and is_openai(request.model)
