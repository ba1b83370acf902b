"""What `create_agent` says of middleware holds with `AsyncFCMiddleware` added.

As in `test_create_agent_arguments`, both agents are run and compared.

| statement of `AgentMiddleware` | test |
|---|---|
| hooks run in their documented order | `test_order_of_hooks` |
| hooks may update the state | `test_hooks_update_the_state` |
| each hook may jump to where it says it can | `test_jumps` |
| ... also with calls of its own | `test_jump_to_tools_with_calls` |
| ... and back to calls that are answered: a difference | `test_jump_back_to_answered_calls` |
| a hook's error ends the run | `test_errors_of_hooks` |
| `dynamic_prompt` | `test_dynamic_prompt` |
| `wrap_model_call` may change model, messages, settings, tools | `test_requests_may_be_changed` |
| ... may leave out tools | `test_tools_may_be_left_out` |
| ... may add tools that it serves in `wrap_tool_call`, before or after | `test_dynamic_tools` |
| ... must not add tools that nobody serves | `test_dynamic_tools_that_nobody_serves` |
| ... may call the model again | `test_model_is_called_again` |
| ... may answer by itself | `test_short_circuits` |
| ... may give a command with its answer | `test_extended_model_response` |
| ... may change or drop the response format | `test_response_format_may_be_changed` |
| ... may handle the model's error | `test_errors_of_the_model` |
| ... may answer calls itself by messages | `test_synthetic_answers` |
| a middleware's `state_schema` is merged | `test_state_of_a_middleware` |
| only sync or only async hooks: the other kind of run says so | `test_hooks_of_one_kind` |
| runs side by side on one agent do not meet | `test_concurrent_runs` |
| `batch` and `abatch` | `test_batch` |
| an agent may be a subgraph | `test_agent_as_a_subgraph` |
| ... or a tool | `test_agent_as_a_tool` |
| `astream_events` | `test_events` |
"""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from langchain.agents import AgentState, create_agent
from langchain.agents.middleware import (
    AgentMiddleware,
    ExtendedModelResponse,
    ModelResponse,
    dynamic_prompt,
    hook_config,
)
from langchain.agents.structured_output import ToolStrategy
from langchain_core.messages import AIMessage, HumanMessage, SystemMessage, ToolMessage
from langchain_core.tools import tool
from langgraph.graph import START, MessagesState, StateGraph
from langgraph.types import Command
from pydantic import BaseModel

from langchain_asyncfc import AsyncFCMiddleware
from langchain_asyncfc.testing import ScriptedChatModel, call
from tests.integration.agents.twins import GO, GRACE, Twins


@tool
def add(a: int, b: int) -> int:
    """Add two numbers."""
    return a + b


@tool
def late(x: int) -> str:
    """Be added later."""
    return f"late {x}"


def ask(*calls: Any, text: str = "") -> AIMessage:
    """The model's message that makes these calls."""
    return AIMessage(text, tool_calls=list(calls))


def one_and_two() -> AIMessage:
    """A call for a sum."""
    return ask(call("add", a=1, b=2))


def agent_of(*middleware: Any, tools: Any = (add,), **options: Any) -> Any:
    """A function that builds an agent with this middleware."""

    def build(model: Any, first: Any) -> Any:
        return create_agent(model, list(tools), middleware=[*first, *middleware], **options)

    return build


HOOKS = ["before_agent", "before_model", "after_model", "after_agent"]


def hooks(name: str, **functions: Any) -> AgentMiddleware:
    """A middleware of this name, with hooks for both kinds of run."""

    def twice(function: Any) -> tuple[Any, Any]:
        def sync_hook(self: Any, state: Any, runtime: Any) -> Any:
            return function(state)

        async def async_hook(self: Any, state: Any, runtime: Any) -> Any:
            return function(state)

        if hasattr(function, "__can_jump_to__"):
            for hook in (sync_hook, async_hook):
                hook.__can_jump_to__ = function.__can_jump_to__  # type: ignore[attr-defined]
        return sync_hook, async_hook

    members: dict[str, Any] = {}
    for hook, function in functions.items():
        members[hook], members[f"a{hook}"] = twice(function)
    return type(name, (AgentMiddleware,), members)()


class Around(AgentMiddleware):
    """Wraps model calls by a generator: it yields requests and is sent responses."""

    def __init__(self, steps: Any) -> None:
        super().__init__()
        self.steps = steps

    def wrap_model_call(self, request: Any, handler: Any) -> Any:
        """Drive the generator."""
        steps = self.steps(request)
        resume: Any = (steps.send, None)
        while True:
            try:
                wanted = resume[0](resume[1])
            except StopIteration as stop:
                return stop.value
            try:
                resume = (steps.send, handler(wanted))
            except Exception as error:  # noqa: BLE001 - the generator's to judge
                resume = (steps.throw, error)

    async def awrap_model_call(self, request: Any, handler: Any) -> Any:
        """Drive the generator."""
        steps = self.steps(request)
        resume: Any = (steps.send, None)
        while True:
            try:
                wanted = resume[0](resume[1])
            except StopIteration as stop:
                return stop.value
            try:
                resume = (steps.send, await handler(wanted))
            except Exception as error:  # noqa: BLE001 - the generator's to judge
                resume = (steps.throw, error)


# -- hooks -----------------------------------------------------------------------------------------


class LogState(AgentState[Any]):
    """A state with a log."""

    log: list[str]


def test_order_of_hooks(twins: Twins) -> None:
    """Before: in order; after: in reverse order; those of the agent once."""

    def build(model: Any, first: Any) -> Any:
        def noting(name: str) -> AgentMiddleware:
            def note(hook: str) -> Any:
                return lambda state: {"log": [*state.get("log", []), f"{name}.{hook}"]}

            return hooks(name, **{hook: note(hook) for hook in HOOKS})

        return agent_of(noting("One"), noting("Two"), state_schema=LogState)(model, first)

    seen = twins.run(build, [one_and_two(), "done"])
    turn = ["One.before_model", "Two.before_model", "Two.after_model", "One.after_model"]
    assert seen.state["log"] == [
        "One.before_agent",
        "Two.before_agent",
        *turn,
        *turn,
        "Two.after_agent",
        "One.after_agent",
    ]


@pytest.mark.parametrize("hook", HOOKS)
def test_hooks_update_the_state(twins: Twins, hook: str) -> None:
    """Messages are added, other keys are set."""

    def update(state: Any) -> Any:
        if any(m.text == "noted" for m in state["messages"]):
            return None
        return {"messages": [HumanMessage("noted")], "log": [hook]}

    noted = hooks("Notes", **{hook: update})
    seen = twins.run(agent_of(noted, state_schema=LogState), [one_and_two(), "done"])
    assert seen.state["log"] == [hook]
    assert "noted" in seen.texts


@pytest.mark.parametrize(
    ("hook", "to"),
    [(hook, to) for hook in HOOKS for to in ("end", "model", "tools")],
)
def test_jumps(twins: Twins, hook: str, to: str) -> None:
    """From each hook to each place, once."""

    def build(model: Any, first: Any) -> Any:
        jumped: list[int] = []

        @hook_config(can_jump_to=[to])
        def jump(state: Any) -> Any:
            if to == "tools" and not any(getattr(m, "tool_calls", ()) for m in state["messages"]):
                return None
            answered = any(isinstance(m, ToolMessage) for m in state["messages"])
            if jumped or (to == "tools" and answered):
                return None
            jumped.append(1)
            return {"jump_to": to}

        # Of the very first `before_model`, LangChain does not take a jump to the model.
        other = hooks("Other", before_model=lambda _: None)
        return agent_of(other, hooks("Jumps", **{hook: jump}))(model, first)

    twins.run(build, [one_and_two(), "two", "three", "four"])


@pytest.mark.parametrize("middleware", [[], [AsyncFCMiddleware()]], ids=["plain", "asyncfc"])
def test_jump_back_to_answered_calls(middleware: list[Any]) -> None:
    """Where LangChain makes the calls again, and answers them twice, they keep their answers."""
    runs: list[int] = []

    @tool
    def count() -> str:
        """Count the runs."""
        runs.append(1)
        return f"run {len(runs)}"

    jumped: list[int] = []

    @hook_config(can_jump_to=["tools"])
    def jump(state: Any) -> Any:
        if jumped or not isinstance(state["messages"][-1], ToolMessage):
            return None
        jumped.append(1)
        return {"jump_to": "tools"}

    model = ScriptedChatModel.replies([ask(call("count")), "done"])
    agent = create_agent(model, [count], middleware=[*middleware, hooks("J", before_model=jump)])
    texts = [m.text for m in agent.invoke(GO)["messages"]]
    again = [] if middleware else ["run 2"]
    assert texts == ["go", "", "run 1", *again, "done"]


@pytest.mark.parametrize("hook", ["before_agent", "before_model"])
def test_jump_to_tools_with_calls(twins: Twins, hook: str) -> None:
    """The calls are not the model's; they come in one message to one task."""
    made = ask(call("add", "c1", a=1, b=2), call("add", "c2", a=3, b=4))

    @hook_config(can_jump_to=["tools"])
    def put_in(state: Any) -> Any:
        if len(state["messages"]) > 1:
            return None
        return {"messages": [made], "jump_to": "tools"}

    seen = twins.run(agent_of(hooks("Puts", **{hook: put_in})), ["done"])
    assert seen.texts == ["go", "", "3", "7", "done"]


@pytest.mark.parametrize("hook", HOOKS)
def test_errors_of_hooks(twins: Twins, hook: str) -> None:
    """They are raised as they are."""

    def fail(state: Any) -> Any:
        raise LookupError(f"in {hook}")

    seen = twins.run(agent_of(hooks("Fails", **{hook: fail})), [one_and_two(), "done"])
    assert str(seen.error) == f"in {hook}"


# -- requests --------------------------------------------------------------------------------------


def test_dynamic_prompt(twins: Twins) -> None:
    """It is made anew for each call."""

    @dynamic_prompt
    def prompt(request: Any) -> str:
        return f"{len(request.messages)} messages"

    seen = twins.run(agent_of(prompt), [one_and_two(), "done"])
    assert [sent[0].text for sent in seen.sent] == ["1 messages", "3 messages"]


def test_requests_may_be_changed(twins: Twins) -> None:
    """Model, messages, settings, prompt, choice of tool."""

    def build(model: Any, first: Any) -> Any:
        def steps(request: Any) -> Any:
            return (
                yield request.override(
                    model=model.model_copy(update={"ttft": 0.0}),
                    messages=[*request.messages, HumanMessage("psst")],
                    model_settings={"temperature": 0.5},
                    system_message=SystemMessage("changed"),
                    tool_choice="any",
                )
            )

        return agent_of(Around(steps))(model, first)

    seen = twins.run(build, [one_and_two(), "done"])
    assert [m.text for m in seen.sent[0]] == ["changed", "go", "psst"]
    assert seen.model.call_kwargs[0]["temperature"] == 0.5
    assert seen.model.call_kwargs[0]["tool_choice"] == "any"


def test_tools_may_be_left_out(twins: Twins) -> None:
    """By name; all of them; and of a call that was made nevertheless the tool is there."""

    def steps(request: Any) -> Any:
        kept = [t for t in request.tools if getattr(t, "name", "") == "late"]
        return (yield request.override(tools=kept))

    build = agent_of(Around(steps), tools=[add, late])
    seen = twins.run(build, [one_and_two(), "done"])
    assert seen.texts == ["go", "", "3", "done"]
    assert [t["function"]["name"] for t in seen.model.call_kwargs[0]["tools"]] == ["late"]

    def none(request: Any) -> Any:
        return (yield request.override(tools=[]))

    seen = twins.run(agent_of(Around(none)), ["done"])
    assert "tools" not in seen.model.call_kwargs[0]


class Dynamic(AgentMiddleware):
    """Adds a tool that the agent was not built with, and serves it."""

    def wrap_model_call(self, request: Any, handler: Any) -> Any:
        """Show it to the model."""
        return handler(request.override(tools=[*request.tools, late]))

    async def awrap_model_call(self, request: Any, handler: Any) -> Any:
        """Show it to the model."""
        return await handler(request.override(tools=[*request.tools, late]))

    def wrap_tool_call(self, request: Any, handler: Any) -> Any:
        """Serve it."""
        if request.tool_call["name"] == "late":
            return handler(request.override(tool=late))
        return handler(request)

    async def awrap_tool_call(self, request: Any, handler: Any) -> Any:
        """Serve it."""
        if request.tool_call["name"] == "late":
            return await handler(request.override(tool=late))
        return await handler(request)


@pytest.mark.parametrize("tools", [[add], []], ids=["beside-another", "alone"])
@pytest.mark.parametrize("place", ["after", "before"])
def test_dynamic_tools(twins: Twins, place: str, tools: list[Any]) -> None:
    """Before and after `AsyncFCMiddleware` in the list."""

    def build(model: Any, first: Any) -> Any:
        middleware = [*first, Dynamic()] if place == "after" else [Dynamic(), *first]
        return create_agent(model, tools, middleware=middleware)

    seen = twins.run(build, [ask(call("late", x=1)), ask(call("late", x=2)), "done"])
    assert seen.texts == ["go", "", "late 1", "", "late 2", "done"]


def test_dynamic_tools_that_nobody_serves() -> None:
    """Without a wrapper of tool calls LangChain refuses them; with one the model is told."""

    def steps(request: Any) -> Any:
        return (yield request.override(tools=[*request.tools, late]))

    model = ScriptedChatModel.replies([ask(call("late", x=1)), "done"])
    agent = create_agent(model, [add], middleware=[AsyncFCMiddleware(), Around(steps)])
    messages = agent.invoke(GO)["messages"]
    assert messages[2].status == "error"
    assert "late is not a valid tool" in messages[2].text


def test_model_is_called_again(twins: Twins) -> None:
    """A retry; an answer that is thrown away."""

    def steps(request: Any) -> Any:
        try:
            return (yield request)
        except ConnectionError:
            pass
        response = yield request
        if response.result[0].text == "bad":
            response = yield request
        return response

    replies = [ConnectionError("gone"), "bad", one_and_two(), "done"]
    seen = twins.run(agent_of(Around(steps)), replies, but=["tokens"])
    assert seen.texts == ["go", "", "3", "done"]


@pytest.mark.parametrize("form", ["message", "response"])
def test_short_circuits(twins: Twins, form: str) -> None:
    """The model is not called; a call in the answer is made."""

    def build(model: Any, first: Any) -> Any:
        replies = iter([ask(call("add", "c1", a=1, b=2)), AIMessage("cached")])

        def steps(request: Any) -> Any:
            yield from ()
            reply = next(replies)
            return reply if form == "message" else ModelResponse(result=[reply])

        return agent_of(Around(steps))(model, first)

    seen = twins.run(build, [])
    assert seen.texts == ["go", "", "3", "cached"]


def test_extended_model_response(twins: Twins) -> None:
    """The command is applied after the answer."""

    def steps(request: Any) -> Any:
        response = yield request
        return ExtendedModelResponse(response, Command(update={"log": [response.result[0].text]}))

    seen = twins.run(agent_of(Around(steps), state_schema=LogState), [one_and_two(), "done"])
    assert seen.state["log"] == ["done"]


class Small(BaseModel):
    """A small answer."""

    x: int


class Large(BaseModel):
    """A large answer."""

    x: int
    y: int


def test_response_format_may_be_changed(twins: Twins) -> None:
    """Dropped for one call, narrowed for the next."""

    def build(model: Any, first: Any) -> Any:
        calls: list[int] = []

        def steps(request: Any) -> Any:
            calls.append(1)
            wanted = None if len(calls) == 1 else ToolStrategy(Small)
            return (yield request.override(response_format=wanted))

        return agent_of(Around(steps), response_format=ToolStrategy(Small | Large))(model, first)

    seen = twins.run(build, [one_and_two(), ask(call("Small", x=3))])
    assert seen.state["structured_response"] == Small(x=3)
    bound = [[t["function"]["name"] for t in k["tools"]] for k in seen.model.call_kwargs]
    assert [[n for n in names if "future" not in n] for names in bound] == [
        ["add"],
        ["add", "Small"],
    ]


def test_errors_of_the_model(twins: Twins) -> None:
    """Raised, or handled by a middleware."""
    seen = twins.run(agent_of(), [one_and_two(), ConnectionError("gone")])
    assert str(seen.error) == "gone"

    def steps(request: Any) -> Any:
        try:
            return (yield request)
        except ConnectionError:
            return AIMessage("sorry")

    seen = twins.run(agent_of(Around(steps)), [one_and_two(), ConnectionError("gone")])
    assert seen.texts == ["go", "", "3", "sorry"]


def test_synthetic_answers(twins: Twins) -> None:
    """A hook that answers some calls leaves the others to the tools."""

    def answer_first(state: Any) -> Any:
        last = state["messages"][-1]
        if not getattr(last, "tool_calls", None):
            return None
        made = last.tool_calls[0]
        return {"messages": [ToolMessage("made up", tool_call_id=made["id"], name=made["name"])]}

    two = ask(call("add", a=1, b=2), call("add", a=3, b=4))
    seen = twins.run(agent_of(hooks("Answers", after_model=answer_first)), [two, "done"])
    assert seen.texts == ["go", "", "made up", "7", "done"]
    seen = twins.run(agent_of(hooks("Answers", after_model=answer_first)), [one_and_two(), "done"])
    assert seen.texts == ["go", "", "made up", "done"]


def test_state_of_a_middleware(twins: Twins) -> None:
    """Its fields are in the state."""
    counted = hooks("Counts", before_model=lambda state: {"log": [*state.get("log", []), "n"]})
    type(counted).state_schema = LogState
    seen = twins.run(agent_of(counted), [one_and_two(), "done"])
    assert seen.state["log"] == ["n", "n"]


@pytest.mark.parametrize("kind", ["sync", "async"])
def test_hooks_of_one_kind(twins: Twins, kind: str) -> None:
    """LangChain's own error where a wrapper is not there for this kind of run."""

    class OnlySync(AgentMiddleware):
        def wrap_model_call(self, request: Any, handler: Any) -> Any:
            return handler(request)

    class OnlyAsync(AgentMiddleware):
        async def awrap_model_call(self, request: Any, handler: Any) -> Any:
            return await handler(request)

    only = OnlySync() if kind == "sync" else OnlyAsync()
    seen = twins.run(agent_of(only), [one_and_two(), "done"])
    assert isinstance(seen.error, NotImplementedError) == (kind != twins.mode)


# -- runs ------------------------------------------------------------------------------------------


def policy(messages: list[Any]) -> Any:
    """Add the numbers of the last human message, then say the sum."""
    if isinstance(messages[-1], ToolMessage):
        return f"it is {messages[-1].text}"
    a, b = map(int, messages[-1].text.split())
    return ask(call("add", "same", a=a, b=b))


def questions(number: int) -> list[Any]:
    """What several runs begin with."""
    return [{"messages": [("user", f"{n} {n}")]} for n in range(number)]


@pytest.mark.parametrize("grace", [GRACE, 0], ids=["fast", "slow"])
def test_concurrent_runs(grace: float) -> None:
    """Equal call ids, one agent."""
    model = ScriptedChatModel(policy=_patient)
    agent = create_agent(model, [add], middleware=[AsyncFCMiddleware(grace=grace)])

    async def run() -> list[Any]:
        return await asyncio.gather(*[agent.ainvoke(question) for question in questions(20)])

    finals = asyncio.run(run())
    assert [f["messages"][-1].text for f in finals] == [f"it is {2 * n}" for n in range(20)]


def _patient(messages: list[Any]) -> Any:
    """The same policy for an agent whose results may be late."""
    last = messages[-1]
    if isinstance(last, ToolMessage) and "future_1 is running" in last.text:
        return "too early"
    if isinstance(last, ToolMessage) and last.name == "await_future":
        return f"it is {messages[-3].text}"
    return policy(messages)


def test_batch(twins: Twins) -> None:
    """As many final states as inputs, in order."""
    for middleware in ([], [AsyncFCMiddleware(grace=GRACE)]):
        agent = create_agent(ScriptedChatModel(policy=policy), [add], middleware=middleware)
        if twins.mode == "sync":
            finals = agent.batch(questions(8))
        else:
            finals = asyncio.run(agent.abatch(questions(8)))
        assert [f["messages"][-1].text for f in finals] == [f"it is {2 * n}" for n in range(8)]


def test_agent_as_a_subgraph(twins: Twins) -> None:
    """Its messages are the parent's."""

    def build(model: Any, first: Any) -> Any:
        builder = StateGraph(MessagesState)
        builder.add_node("inner", agent_of(name="inner")(model, first))
        builder.add_node("after", lambda _: {"messages": [HumanMessage("and then?")]})
        builder.add_edge(START, "inner")
        builder.add_edge("inner", "after")
        return builder.compile()

    seen = twins.run(build, [one_and_two(), "done"])
    assert seen.texts == ["go", "", "3", "done", "and then?"]


def test_agent_as_a_tool(twins: Twins) -> None:
    """Both the inner and the outer agent have the middleware."""

    def build(model: Any, first: Any) -> Any:
        replies = [one_and_two(), "inner done"] * 2
        inner_model = ScriptedChatModel.replies(replies)
        again = [AsyncFCMiddleware(grace=GRACE, instructions="") for _ in first]
        inner = create_agent(inner_model, [add], middleware=again)

        @tool
        def delegate(task: str) -> str:
            """Delegate."""
            return inner.invoke({"messages": [("user", task)]})["messages"][-1].text

        return agent_of(tools=[delegate, add])(model, first)

    calls = ask(call("delegate", task="a"), call("add", a=1, b=1))
    seen = twins.run(build, [calls, ask(call("delegate", task="b")), "done"], but=["tokens"])
    assert seen.texts == ["go", "", "inner done", "2", "", "inner done", "done"]


def test_events() -> None:
    """The same starts and ends of model and tools."""

    async def events(middleware: list[Any]) -> list[Any]:
        model = ScriptedChatModel.replies([one_and_two(), "done"])
        agent = create_agent(model, [add], middleware=middleware)
        wanted = ("on_tool_start", "on_tool_end", "on_chat_model_start", "on_chat_model_end")
        return [
            (event["event"], event["name"])
            async for event in agent.astream_events(GO, version="v2")
            if event["event"] in wanted
        ]

    plainly = asyncio.run(events([]))
    assert asyncio.run(events([AsyncFCMiddleware(grace=GRACE)])) == plainly
    assert ("on_tool_end", "add") in plainly


def test_one_middleware_in_two_agents() -> None:
    """One object serves one agent, as is documented; runs of two of them still do not meet."""
    middleware = AsyncFCMiddleware(grace=GRACE)
    agents = [
        create_agent(ScriptedChatModel(policy=policy), [add], middleware=[middleware], name=name)
        for name in ("a", "b")
    ]

    async def run() -> list[Any]:
        runs = [agents[n % 2].ainvoke(question) for n, question in enumerate(questions(8))]
        return await asyncio.gather(*runs)

    finals = asyncio.run(run())
    assert [f["messages"][-1].text for f in finals] == [f"it is {2 * n}" for n in range(8)]
