"""What `create_agent` does with calls of tools holds with the middleware added.

As in `test_create_agent_arguments`, both agents are run and compared.

| statement of `create_agent`, or of its tools' node | test |
|---|---|
| calls of one message are all made, answered in call order | `test_parallel_calls` |
| ... fifty as well | `test_many_calls` |
| the loop goes on until no call is made | `test_turns_follow_each_other` |
| text beside calls is kept | `test_text_beside_calls` |
| tools of an error that is not about arguments raise it | `test_an_error_is_raised` |
| ... beside other calls too | `test_an_error_is_raised_beside_other_calls` |
| arguments that do not fit are told to the model | `test_arguments_that_do_not_fit` |
| `ToolException` is told where the tool handles it | `test_errors_that_the_tool_handles` |
| a name that no tool has is told to the model | `test_unknown_tools` |
| a call that could not be parsed is told to the model | `test_invalid_calls` |
| ... beside calls that could | `test_invalid_calls_beside_others` |
| a call without an id | `test_calls_without_an_id` |
| `return_direct` ends the run on the tool's answer | `test_return_direct` |
| ... only where all calls do so | `test_return_direct_beside_others` |
| ... also when it fails | `test_return_direct_that_fails` |
| a tool may answer with a `Command` that updates the state | `test_commands` |
| ... beside other calls | `test_commands_beside_other_calls` |
| ... that jumps | `test_commands_that_jump` |
| ... or with a list | `test_lists_of_answers` |
| a tool may answer with a message of its own, an artifact, blocks | `test_answers_of_each_kind` |
| `ToolRuntime`: state, context, config, call id, store, writer | `test_tool_runtime` |
| `InjectedState`, `InjectedStore`, `InjectedToolCallId` | `test_injected_arguments` |
| `interrupt` stops the run, and its answer is what the tool gets | `test_interrupt` |
| ... of several calls | `test_interrupts_of_several_calls` |
| `wrap_tool_call` of another middleware: retry, short-circuit, change | `test_wrap_tool_call` |
| ... may answer with a command | `test_wrap_tool_call_gives_a_command` |
| ... may handle what the tool raises | `test_wrap_tool_call_handles_errors` |
| ... may serve names that no tool has | `test_wrap_tool_call_serves_unknown_names` |
| a middleware's `tools` are the agent's | `test_tools_of_a_middleware` |
| provider tools are not run here | `test_calls_that_the_provider_ran` |
"""

from __future__ import annotations

import asyncio
from typing import Annotated, Any

import pytest
from langchain.agents import AgentState, create_agent
from langchain.agents.middleware import AgentMiddleware, wrap_tool_call
from langchain.tools import ToolRuntime
from langchain_core.messages import AIMessage, ToolMessage
from langchain_core.tools import InjectedToolCallId, StructuredTool, ToolException, tool
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.prebuilt import InjectedState, InjectedStore
from langgraph.store.memory import InMemoryStore
from langgraph.types import Command, interrupt

from langchain_asyncfc.testing import call
from tests.integration.agents.twins import GO, Twins

THREAD = {"configurable": {"thread_id": "t"}}


class UserState(AgentState[Any]):
    """A state with a field."""

    user: str


@tool
def add(a: int, b: int) -> int:
    """Add two numbers."""
    return a + b


def ask(*calls: Any, text: str = "") -> AIMessage:
    """The model's message that makes these calls."""
    return AIMessage(text, tool_calls=list(calls))


def agent_of(*tools: Any, middleware: Any = (), **options: Any) -> Any:
    """A function that builds an agent; `checkpointer` is a class."""
    saver = options.pop("checkpointer", lambda: None)

    def build(model: Any, first: Any) -> Any:
        return create_agent(
            model,
            list(tools),
            middleware=[*first, *middleware],
            checkpointer=saver(),
            **options,
        )

    return build


# -- calls -----------------------------------------------------------------------------------------


def test_parallel_calls(twins: Twins) -> None:
    """The answers stand in call order."""
    calls = ask(call("add", a=1, b=2), call("add", a=3, b=4), call("add", a=5, b=6))
    seen = twins.run(agent_of(add), [calls, "done"])
    assert seen.texts == ["go", "", "3", "7", "11", "done"]


def test_many_calls(twins: Twins) -> None:
    """Also of fifty."""
    calls = ask(*(call("add", a=n, b=0) for n in range(50)))
    seen = twins.run(agent_of(add), [calls, "done"])
    assert seen.texts[2:-1] == [str(n) for n in range(50)]


def test_turns_follow_each_other(twins: Twins) -> None:
    """A later turn uses what an earlier one gave."""
    replies = [
        ask(call("add", a=1, b=2)),
        lambda messages: ask(call("add", "c2", a=int(messages[-1].text), b=10)),
        lambda messages: f"it is {messages[-1].text}",
    ]
    seen = twins.run(agent_of(add), replies)
    assert seen.texts == ["go", "", "3", "", "13", "it is 13"]


def test_text_beside_calls(twins: Twins) -> None:
    """Text, blocks and what else is in the message."""
    message = AIMessage(
        [{"type": "text", "text": "I add."}],
        tool_calls=[call("add", a=1, b=2)],
        response_metadata={"model": "m"},
        additional_kwargs={"own": 1},
    )
    seen = twins.run(agent_of(add), [message, "done"])
    assert seen.texts == ["go", "I add.", "3", "done"]


# -- errors ----------------------------------------------------------------------------------------


@tool
def broken(error: str = "value") -> str:
    """Fail."""
    raise {"value": ValueError, "connection": ConnectionError}[error](f"a {error} error")


@pytest.mark.parametrize("error", ["value", "connection"])
def test_an_error_is_raised(twins: Twins, error: str) -> None:
    """The run ends with the tool's error, and the state stays as it was."""
    seen = twins.run(agent_of(broken), [ask(call("broken", error=error))])
    assert str(seen.error) == f"a {error} error"
    assert seen.texts == ["go", ""]


def test_an_error_is_raised_beside_other_calls(twins: Twins) -> None:
    """Where one of several calls fails."""
    # Whether the other call comes to its end differs from run to run.
    calls = ask(call("add", a=1, b=1), call("broken"))
    seen = twins.run(agent_of(add, broken), [calls], but=["updates", "tokens"])
    assert str(seen.error) == "a value error"


def test_arguments_that_do_not_fit(twins: Twins) -> None:
    """The model is told, in the very words."""
    replies = [ask(call("add", a="x", b=1), call("add", a=1), call("add")), "done"]
    seen = twins.run(agent_of(add), replies)
    answers = [m for m in seen.messages if isinstance(m, ToolMessage)]
    assert [m.status for m in answers] == ["error"] * 3
    assert "Please fix the error and try again" in answers[0].text


@pytest.mark.parametrize("handled", [True, "handled so", lambda error: f"handled: {error}"])
def test_errors_that_the_tool_handles(twins: Twins, handled: Any) -> None:
    """By `handle_tool_error` and `handle_validation_error`."""

    def run(x: int) -> str:
        raise ToolException("not today")

    made = StructuredTool.from_function(
        run,
        name="moody",
        description="Be moody.",
        handle_tool_error=handled,
        handle_validation_error=handled,
    )
    replies = [ask(call("moody", x=1), call("moody", x="no")), "done"]
    seen = twins.run(agent_of(made), replies)
    assert [m.status for m in seen.messages if isinstance(m, ToolMessage)] == ["error", "error"]


def test_unknown_tools(twins: Twins) -> None:
    """Alone, and beside a known one."""
    replies = [ask(call("nope", x=1)), ask(call("add", a=1, b=1), call("nope")), "done"]
    seen = twins.run(agent_of(add), replies)
    assert [m.status for m in seen.messages if isinstance(m, ToolMessage)] == [
        "error",
        "success",
        "error",
    ]


def broken_call(id_: str = "bad") -> dict[str, Any]:
    """A call whose arguments are not JSON."""
    return {
        "name": "add",
        "args": "not json",
        "id": id_,
        "error": "no",
        "type": "invalid_tool_call",
    }


def test_invalid_calls(twins: Twins) -> None:
    """Alone it ends the run, and is answered at the next one."""
    first = AIMessage("", invalid_tool_calls=[broken_call()])
    seen = twins.run(
        agent_of(add, checkpointer=InMemorySaver), [first, "two"], GO, GO, config=THREAD
    )
    assert "could not be executed" in seen.texts[2]
    assert seen.texts[-1] == "two"


def test_invalid_calls_beside_others(twins: Twins) -> None:
    """The others are made, and the history is made valid before the model sees it."""
    first = AIMessage(
        "", tool_calls=[call("add", a=1, b=2)], invalid_tool_calls=[broken_call("b1")]
    )
    seen = twins.run(agent_of(add), [first, "done"])
    assert "3" in seen.texts
    assert any("could not be executed" in text for text in seen.texts)


def test_calls_without_an_id(twins: Twins) -> None:
    """What a few local models do."""
    nameless = {"name": "add", "args": {"a": 1, "b": 2}, "id": None, "type": "tool_call"}
    twins.run(agent_of(add), [AIMessage("", tool_calls=[nameless]), "done"])


# -- return_direct ---------------------------------------------------------------------------------


@tool(return_direct=True)
def direct(x: str) -> str:
    """Answer the user."""
    return f"direct {x}"


def test_return_direct(twins: Twins) -> None:
    """One, and several."""
    seen = twins.run(agent_of(direct), [ask(call("direct", x="a"))])
    assert seen.texts == ["go", "", "direct a"]
    seen = twins.run(agent_of(direct), [ask(call("direct", x="a"), call("direct", x="b"))])
    assert seen.texts == ["go", "", "direct a", "direct b"]


def test_return_direct_beside_others(twins: Twins) -> None:
    """The model is called again."""
    calls = ask(call("direct", x="a"), call("add", a=1, b=1))
    seen = twins.run(agent_of(add, direct), [calls, "done"])
    assert seen.texts == ["go", "", "direct a", "2", "done"]


def test_return_direct_that_fails(twins: Twins) -> None:
    """A wrong argument ends the run as well, as LangChain has it."""
    seen = twins.run(agent_of(direct), [ask(call("direct"))])
    assert [m.status for m in seen.messages if isinstance(m, ToolMessage)] == ["error"]


# -- answers of each kind --------------------------------------------------------------------------


@tool
def login(user: str, tool_call_id: Annotated[str, InjectedToolCallId]) -> Command[Any]:
    """Log in."""
    answer = ToolMessage(f"hello {user}", tool_call_id=tool_call_id, name="login")
    return Command(update={"user": user, "messages": [answer]})


def test_commands(twins: Twins) -> None:
    """The update is in the state before the model is called again."""
    seen = twins.run(
        agent_of(login, state_schema=UserState),
        [ask(call("login", user="me")), "done"],
        {**GO, "user": "nobody"},
    )
    assert seen.texts == ["go", "", "hello me", "done"]
    assert seen.state["user"] == "me"


def test_commands_beside_other_calls(twins: Twins) -> None:
    """Each gives its part."""
    seen = twins.run(
        agent_of(login, add, state_schema=UserState),
        [ask(call("add", a=1, b=1), call("login", user="me"), call("add", a=2, b=2)), "done"],
    )
    assert seen.texts == ["go", "", "2", "hello me", "4", "done"]


def test_commands_that_jump(twins: Twins) -> None:
    """To a node of the parent graph: `create_agent` in a graph of two agents."""
    from langgraph.graph import START, MessagesState, StateGraph

    @tool
    def transfer(tool_call_id: Annotated[str, InjectedToolCallId]) -> Command[Any]:
        """Hand over."""
        answer = ToolMessage("over to b", tool_call_id=tool_call_id)
        return Command(graph=Command.PARENT, goto="b", update={"messages": [answer]})

    def build(model: Any, first: Any) -> Any:
        builder = StateGraph(MessagesState)
        builder.add_node("a", create_agent(model, [transfer], middleware=first), destinations=["b"])
        builder.add_node("b", lambda _: {"messages": [AIMessage("I am b")]})
        builder.add_edge(START, "a")
        return builder.compile()

    seen = twins.run(build, [ask(call("transfer"))])
    assert seen.texts == ["go", "over to b", "I am b"]


def test_lists_of_answers(twins: Twins) -> None:
    """A tool may give several commands and messages."""

    @tool
    def several(tool_call_id: Annotated[str, InjectedToolCallId]) -> list[Any]:
        """Give several."""
        answer = ToolMessage("answer", tool_call_id=tool_call_id, name="several")
        return [Command(update={"user": "me"}), Command(update={"messages": [answer]})]

    seen = twins.run(
        agent_of(several, add, state_schema=UserState),
        [ask(call("several"), call("add", a=1, b=1)), "done"],
    )
    assert seen.error is not None or seen.state["user"] == "me"


def test_answers_of_each_kind(twins: Twins) -> None:
    """A message, an artifact, content blocks, JSON, nothing."""

    @tool
    def message(tool_call_id: Annotated[str, InjectedToolCallId]) -> ToolMessage:
        """Give a message."""
        return ToolMessage("own", tool_call_id=tool_call_id, additional_kwargs={"own": 1})

    @tool(response_format="content_and_artifact")
    def artifact() -> tuple[str, list[int]]:
        """Give an artifact."""
        return "content", [1, 2]

    @tool
    def blocks() -> list[dict[str, str]]:
        """Give content blocks."""
        return [{"type": "text", "text": "block"}]

    @tool
    def data() -> dict[str, Any]:
        """Give data."""
        return {"a": [1, None, "ü"]}

    @tool
    def nothing() -> None:
        """Give nothing."""

    names = ["message", "artifact", "blocks", "data", "nothing"]
    tools = [message, artifact, blocks, data, nothing]
    seen = twins.run(agent_of(*tools), [ask(*(call(name) for name in names)), "done"])
    assert seen.texts[2:-1] == ["own", "content", "block", '{"a": [1, null, "ü"]}', "null"]
    assert seen.messages[3].artifact == [1, 2]


# -- what tools are given --------------------------------------------------------------------------


def test_tool_runtime(twins: Twins) -> None:
    """State, context, config, call id, store, stream writer."""

    @tool
    def look(x: int, runtime: ToolRuntime[str, UserState]) -> str:
        """Look around."""
        runtime.stream_writer({"wrote": x})
        runtime.store.put(("seen",), "x", {"x": x})
        state = runtime.state
        return (
            f"{state['user']} {len(state['messages'])} {runtime.context} {runtime.tool_call_id} "
            f"{runtime.config['configurable']['own']}"
        )

    seen = twins.run(
        agent_of(look, state_schema=UserState, store=InMemoryStore(), context_schema=str),
        [ask(call("look", "c1", x=1)), "done"],
        {**GO, "user": "me"},
        config={"configurable": {"own": "mine"}},
        context="given",
    )
    assert seen.texts == ["go", "", "me 2 given c1 mine", "done"]
    assert seen.custom == [{"wrote": 1}]


def test_injected_arguments(twins: Twins) -> None:
    """By annotation, one part or all of the state."""

    @tool
    def look(
        state: Annotated[dict, InjectedState],
        user: Annotated[str, InjectedState("user")],
        store: Annotated[Any, InjectedStore()],
        tool_call_id: Annotated[str, InjectedToolCallId],
    ) -> str:
        """Look around."""
        keys = sorted(key for key in state if key not in ("jump_to", "structured_response"))
        return f"{keys} {user} {store is not None} {tool_call_id}"

    seen = twins.run(
        agent_of(look, state_schema=UserState, store=InMemoryStore()),
        [ask(call("look", "c1")), "done"],
        {**GO, "user": "me"},
    )
    assert seen.texts[2] == "['messages', 'user'] me True c1"


# -- interrupts ------------------------------------------------------------------------------------


@tool
def confirm(what: str) -> str:
    """Ask a person."""
    return f"{what}: {interrupt({'sure': what})}"


def test_interrupt(twins: Twins) -> None:
    """The tool gets what the run is resumed with."""
    seen = twins.run(
        agent_of(confirm, checkpointer=InMemorySaver),
        [ask(call("confirm", what="delete")), "done"],
        GO,
        Command(resume="yes"),
        config=THREAD,
    )
    assert seen.interrupts == [[{"sure": "delete"}]]
    assert seen.texts == ["go", "", "delete: yes", "done"]


def test_interrupts_of_several_calls(twins: Twins) -> None:
    """Each gets its own answer, in whatever order they are given."""
    agents: list[Any] = []

    def build(model: Any, first: Any) -> Any:
        saver = InMemorySaver()
        agent = create_agent(model, [confirm, add], checkpointer=saver, middleware=first)
        agents.append(agent)
        agent.invoke(GO, THREAD)
        waiting = [i for task in agent.get_state(THREAD).tasks for i in task.interrupts]
        answers = {i.id: f"yes to {i.value['sure']}" for i in waiting}
        agent.invoke(Command(resume=answers), THREAD)
        return agent

    calls = ask(call("confirm", what="a"), call("add", a=1, b=1), call("confirm", what="b"))
    seen = twins.run(build, [calls, "one", "two"], config=THREAD)
    assert seen.texts[:6] == ["go", "", "a: yes to a", "2", "b: yes to b", "one"]


# -- wrappers of tool calls ------------------------------------------------------------------------


class Wrapper(AgentMiddleware):
    """Wraps tool calls by a generator: it yields requests and is sent answers."""

    def __init__(self, steps: Any) -> None:
        super().__init__()
        self.steps = steps

    def wrap_tool_call(self, request: Any, handler: Any) -> Any:
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

    async def awrap_tool_call(self, request: Any, handler: Any) -> Any:
        """Drive the generator."""
        steps = self.steps(request)
        resume: Any = (steps.send, None)
        while True:
            try:
                wanted = resume[0](resume[1])
            except StopIteration as stop:
                return stop.value
            try:
                await asyncio.sleep(0)
                resume = (steps.send, await handler(wanted))
            except Exception as error:  # noqa: BLE001 - the generator's to judge
                resume = (steps.throw, error)


def test_wrap_tool_call(twins: Twins) -> None:
    """It may change the call, make it again, or answer by itself."""

    def steps(request: Any) -> Any:
        made = request.tool_call
        if made["args"]["a"] == 0:
            return ToolMessage("zero", tool_call_id=made["id"], name="add")
        first = yield request
        if first.text == "3":
            args = {"a": 10, "b": 10}
            return (yield request.override(tool_call={**made, "args": args}))
        return first

    calls = ask(call("add", a=1, b=2), call("add", a=0, b=2), call("add", a=5, b=5))
    seen = twins.run(agent_of(add, middleware=[Wrapper(steps)]), [calls, "done"])
    assert seen.texts == ["go", "", "20", "zero", "10", "done"]


def test_wrap_tool_call_gives_a_command(twins: Twins) -> None:
    """In place of the message."""

    def steps(request: Any) -> Any:
        answer = yield request
        return Command(update={"user": "me", "messages": [answer]})

    seen = twins.run(
        agent_of(add, middleware=[Wrapper(steps)], state_schema=UserState),
        [ask(call("add", a=1, b=2)), "done"],
    )
    assert seen.texts == ["go", "", "3", "done"]
    assert seen.state["user"] == "me"


def test_wrap_tool_call_handles_errors(twins: Twins) -> None:
    """What the tool raises reaches it; what it raises ends the run."""

    def steps(request: Any) -> Any:
        try:
            return (yield request)
        except ValueError as error:
            return ToolMessage(f"handled {error}", tool_call_id=request.tool_call["id"])
        except ConnectionError as error:
            raise LookupError("gone") from error

    wrapper = Wrapper(steps)
    seen = twins.run(agent_of(broken, middleware=[wrapper]), [ask(call("broken")), "done"])
    assert seen.texts == ["go", "", "handled a value error", "done"]
    seen = twins.run(
        agent_of(broken, middleware=[wrapper]), [ask(call("broken", error="connection"))]
    )
    assert isinstance(seen.error, LookupError)


def test_wrap_tool_call_serves_unknown_names(twins: Twins) -> None:
    """A tool that the agent was not built with."""

    def steps(request: Any) -> Any:
        if request.tool_call["name"] == "late":
            return (yield request.override(tool=add))
        return (yield request)

    calls = ask(call("late", a=1, b=2), call("add", a=2, b=2))
    seen = twins.run(agent_of(add, middleware=[Wrapper(steps)]), [calls, "done"])
    assert seen.texts == ["go", "", "3", "4", "done"]


def test_wrap_tool_call_by_decorator(twins: Twins) -> None:
    """A function for each kind of run, as the decorator takes one only."""
    if twins.mode == "sync":

        @wrap_tool_call
        def shout(request: Any, handler: Any) -> Any:
            answer = handler(request)
            return answer.model_copy(update={"content": f"{answer.text}!"})
    else:

        @wrap_tool_call
        async def shout(request: Any, handler: Any) -> Any:
            answer = await handler(request)
            return answer.model_copy(update={"content": f"{answer.text}!"})

    seen = twins.run(agent_of(add, middleware=[shout]), [ask(call("add", a=1, b=2)), "done"])
    assert seen.texts == ["go", "", "3!", "done"]


def test_tools_of_a_middleware(twins: Twins) -> None:
    """They are bound and served like the agent's own."""

    class Brings(AgentMiddleware):
        tools = [add]  # noqa: RUF012 - as LangChain documents it

    seen = twins.run(agent_of(middleware=[Brings()]), [ask(call("add", a=1, b=2)), "done"])
    assert seen.texts == ["go", "", "3", "done"]


def test_calls_that_the_provider_ran(twins: Twins) -> None:
    """They stand in the message's content, and nothing is run here."""
    content = [
        {"type": "web_search_call", "id": "ws_1", "status": "completed"},
        {"type": "text", "text": "found"},
    ]
    seen = twins.run(agent_of(add, {"type": "web_search"}), [AIMessage(content)])
    assert seen.texts == ["go", "found"]
