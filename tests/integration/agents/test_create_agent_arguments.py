"""What `create_agent` says of its arguments holds with the middleware added.

Each test runs an agent without and with `AsyncFCMiddleware` and compares what can be seen of both
(see `twins`): state, messages, streams, what the model is sent, errors.

| statement of `create_agent` | test |
|---|---|
| `system_prompt` is a text or a `SystemMessage`; it goes before the messages | \
`test_system_prompt` |
| ... also with content blocks; the middleware's instructions come after it | \
`test_instructions_follow_the_system_prompt` |
| `tools` are tools, functions or dicts | `test_tools_of_each_kind` |
| ... a dict is bound as it is and runs at the provider | `test_dict_tools_are_bound_as_they_are` |
| no tools, `None` or empty: a model without a loop of tools | `test_no_tools` |
| ... also with structured output | `test_no_tools_with_structured_output` |
| `state_schema` extends the state | `test_state_schema` |
| ... and the input | `test_input_may_hold_dicts` |
| `context_schema`: the run's context reaches prompts and tools | `test_context_schema` |
| `checkpointer`: a thread keeps its messages | `test_checkpointer` |
| ... a run that failed goes on where it stood | `test_resume_after_an_error` |
| ... a thread may be replayed and edited | `test_replay`, `test_update_state` |
| `store`: shared by threads | `test_store` |
| `interrupt_before`, `interrupt_after`: nodes to stop at | `test_static_interrupts` |
| `debug`: prints | `test_debug` |
| `name`: the graph's name, and the messages' | `test_name` |
| `cache`: for nodes that have a cache policy | `test_cache` |
| `transformers`: see the stream | `test_transformers` |
| duplicate middleware is refused | `test_duplicate_middleware_is_refused` |
| the recursion limit is far away | `test_long_runs` |
"""

from __future__ import annotations

import dataclasses
from typing import Annotated, Any

import pytest
from langchain.agents import AgentState, create_agent
from langchain.agents.middleware import dynamic_prompt
from langchain.agents.structured_output import ToolStrategy
from langchain.tools import ToolRuntime
from langchain_core.messages import AIMessage, HumanMessage, SystemMessage, ToolMessage
from langchain_core.tools import tool
from langgraph.cache.memory import InMemoryCache
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.prebuilt import InjectedState, InjectedStore
from langgraph.store.memory import InMemoryStore
from pydantic import BaseModel

from langchain_asyncfc import AsyncFCMiddleware
from langchain_asyncfc.placeholders import asyncfc_instructions
from langchain_asyncfc.testing import ScriptedChatModel, call
from tests.integration.agents.twins import GO, Twins

THREAD = {"configurable": {"thread_id": "t"}}


@tool
def add(a: int, b: int) -> int:
    """Add two numbers."""
    return a + b


def ask(*calls: Any) -> AIMessage:
    """The model's message that makes these calls."""
    return AIMessage("", tool_calls=list(calls))


def one_and_two() -> AIMessage:
    """A call for a sum."""
    return ask(call("add", a=1, b=2))


# -- the system prompt -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    "prompt",
    [
        None,
        "",
        "Be brief.",
        SystemMessage("Be brief."),
        SystemMessage([{"type": "text", "text": "Be"}, {"type": "text", "text": "brief."}]),
    ],
    ids=["none", "empty", "text", "message", "blocks"],
)
def test_system_prompt(twins: Twins, prompt: Any) -> None:
    """It is the first thing that the model is sent, at each call, and no part of the state."""

    def build(model: Any, first: Any) -> Any:
        return create_agent(model, [add], system_prompt=prompt, middleware=first)

    seen = twins.run(build, [one_and_two(), "done"])
    assert seen.texts == ["go", "", "3", "done"]
    said = prompt.content if isinstance(prompt, SystemMessage) else prompt
    for sent in seen.sent:
        assert [m.content for m in sent if isinstance(m, SystemMessage)] == [said][
            : prompt is not None
        ]


@pytest.mark.parametrize(
    ("prompt", "expected"),
    [
        (None, asyncfc_instructions()),
        ("Be brief.", f"Be brief.\n\n{asyncfc_instructions()}"),
        (
            SystemMessage([{"type": "text", "text": "Be brief."}], id="s"),
            [
                {"type": "text", "text": "Be brief."},
                {"type": "text", "text": f"\n\n{asyncfc_instructions()}"},
            ],
        ),
    ],
    ids=["none", "text", "blocks"],
)
def test_instructions_follow_the_system_prompt(prompt: Any, expected: Any) -> None:
    """A prefix that a provider caches stays as it is; nothing piles up from call to call."""
    model = ScriptedChatModel.replies([one_and_two(), "done"])
    agent = create_agent(model, [add], system_prompt=prompt, middleware=[AsyncFCMiddleware()])
    agent.invoke(GO)
    assert [sent[0].content for sent in model.calls] == [expected, expected]
    assert not isinstance(prompt, SystemMessage) or len(prompt.content) == 1


# -- tools -----------------------------------------------------------------------------------------


def test_tools_of_each_kind(twins: Twins) -> None:
    """A function and a tool are served; a dict is not."""

    def double(x: int) -> int:
        """Double a number."""
        return 2 * x

    def build(model: Any, first: Any) -> Any:
        return create_agent(model, [add, double, {"type": "web_search"}], middleware=first)

    seen = twins.run(build, [ask(call("add", a=1, b=2), call("double", x=4)), "done"])
    assert seen.texts == ["go", "", "3", "8", "done"]


def test_dict_tools_are_bound_as_they_are() -> None:
    """The middleware widens only what it runs."""
    searched = {"type": "web_search", "filters": {"domains": ["a.b"]}}
    bound: list[Any] = []

    class Model(ScriptedChatModel):
        def bind_tools(self, tools: Any, **kwargs: Any) -> Any:
            bound.append(list(tools))
            return super().bind_tools([t for t in tools if not isinstance(t, dict)], **kwargs)

    for tools in ([add, searched], [searched]):
        model = Model(policy=lambda _: "done")
        create_agent(model, tools, middleware=[AsyncFCMiddleware()]).invoke(GO)
    first, second = bound
    names = [t if isinstance(t, dict) else t.name for t in first]
    assert names == ["add", searched, "await_future", "cancel_future"]
    assert second == [searched]  # nothing runs here, so there is nothing to wait for


@pytest.mark.parametrize("tools", [None, []], ids=["none", "empty"])
def test_no_tools(twins: Twins, tools: Any) -> None:
    """Nothing is bound, nothing is added to the prompt, the model is called once."""

    def build(model: Any, first: Any) -> Any:
        return create_agent(model, tools, middleware=first)

    seen = twins.run(build, ["done"])
    assert seen.texts == ["go", "done"]
    assert seen.model.call_kwargs == [{}]
    model = ScriptedChatModel.replies(["done"])
    create_agent(model, tools, middleware=[AsyncFCMiddleware()]).invoke(GO)
    assert [m.text for m in model.calls[0]] == ["go"]


def test_no_tools_with_structured_output(twins: Twins) -> None:
    """The only tool that the model has is the answer's."""

    class Answer(BaseModel):
        """An answer."""

        x: int

    def build(model: Any, first: Any) -> Any:
        return create_agent(model, response_format=ToolStrategy(Answer), middleware=first)

    seen = twins.run(build, [ask(call("Answer", x="no")), ask(call("Answer", x=1))])
    assert seen.state["structured_response"] == Answer(x=1)
    for kwargs in seen.model.call_kwargs:
        assert [bound["function"]["name"] for bound in kwargs["tools"]] == ["Answer"]


# -- schemas ---------------------------------------------------------------------------------------


class UserState(AgentState[Any]):
    """A state with a field."""

    user: str


def test_state_schema(twins: Twins) -> None:
    """Its fields are taken in, reach the tools, and are given back."""

    @tool
    def who(user: Annotated[str, InjectedState("user")]) -> str:
        """Say who it is."""
        return user

    def build(model: Any, first: Any) -> Any:
        return create_agent(model, [who], state_schema=UserState, middleware=first)

    seen = twins.run(build, [ask(call("who")), "done"], {**GO, "user": "me"})
    assert seen.texts == ["go", "", "me", "done"]
    assert seen.state["user"] == "me"


def test_input_may_hold_dicts(twins: Twins) -> None:
    """Messages may be given as dicts, as tuples or as one text."""

    def build(model: Any, first: Any) -> Any:
        return create_agent(model, [add], middleware=first)

    for given in ([{"role": "user", "content": "go"}], [("user", "go")], "go", HumanMessage("go")):
        seen = twins.run(build, [one_and_two(), "done"], {"messages": given})
        assert seen.texts == ["go", "", "3", "done"]


@dataclasses.dataclass
class Context:
    """What a run is given."""

    user: str


def test_context_schema(twins: Twins) -> None:
    """The context reaches the prompt and the tools."""

    @tool
    def who(runtime: ToolRuntime[Context]) -> str:
        """Say who it is."""
        return runtime.context.user

    @dynamic_prompt
    def prompt(request: Any) -> str:
        return f"Serve {request.runtime.context.user}."

    def build(model: Any, first: Any) -> Any:
        return create_agent(model, [who], context_schema=Context, middleware=[*first, prompt])

    seen = twins.run(build, [ask(call("who")), "done"], context=Context("me"))
    assert seen.texts == ["go", "", "me", "done"]
    assert [sent[0].text for sent in seen.sent] == ["Serve me.", "Serve me."]


# -- persistence -----------------------------------------------------------------------------------


def test_checkpointer(twins: Twins) -> None:
    """Runs of a thread follow each other, also with equal call ids."""
    calls = ask(call("add", "same", a=1, b=2))

    def build(model: Any, first: Any) -> Any:
        return create_agent(model, [add], checkpointer=InMemorySaver(), middleware=first)

    seen = twins.run(build, [calls, "one", calls, "two"], GO, GO, config=THREAD)
    assert seen.texts == ["go", "", "3", "one", "go", "", "3", "two"]


def test_resume_after_an_error(twins: Twins) -> None:
    """With a checkpointer, the step that failed is run again, and only it."""

    def build(model: Any, first: Any) -> Any:
        runs: list[str] = []

        @tool
        def flaky() -> str:
            """Fail once."""
            runs.append("flaky")
            if len(runs) == 1:
                raise ConnectionError("try again")
            return f"run {len(runs)}"

        return create_agent(model, [flaky], checkpointer=InMemorySaver(), middleware=first)

    seen = twins.run(build, [ask(call("flaky")), "done"], GO, None, config=THREAD)
    assert isinstance(seen.error, ConnectionError)
    assert seen.texts == ["go", "", "run 2", "done"]


def test_replay(twins: Twins) -> None:
    """A run from an old checkpoint makes the calls again and gives what they give now."""

    def build(model: Any, first: Any) -> Any:
        runs: list[int] = []

        @tool
        def count() -> int:
            """Count the runs."""
            runs.append(1)
            return len(runs)

        agent = create_agent(model, [count], checkpointer=InMemorySaver(), middleware=first)
        agent.invoke(GO, THREAD)
        [before] = [s for s in agent.get_state_history(THREAD) if s.next == ("tools",)]
        return agent.with_config(before.config)

    seen = twins.run(build, [ask(call("count")), "one", "two"], None)
    assert seen.texts == ["go", "", "2", "two"]


def test_update_state(twins: Twins) -> None:
    """A call that was edited by hand is made as it was edited."""

    def build(model: Any, first: Any) -> Any:
        agent = create_agent(
            model,
            [add],
            checkpointer=InMemorySaver(),
            middleware=first,
            interrupt_before=["tools"],
        )
        agent.invoke(GO, THREAD)
        last = agent.get_state(THREAD).values["messages"][-1]
        edited = last.model_copy(
            update={"tool_calls": [{**last.tool_calls[0], "args": {"a": 5, "b": 5}}]}
        )
        agent.update_state(THREAD, {"messages": [edited]})
        return agent

    seen = twins.run(build, [one_and_two(), "done"], None, config=THREAD)
    assert seen.texts == ["go", "", "10", "done"]


def test_store(twins: Twins) -> None:
    """What a tool writes there in one thread is found in another."""

    @tool
    def keep(value: str, store: Annotated[Any, InjectedStore()]) -> str:
        """Keep a value; give back the one before."""
        before = store.get(("kept",), "value")
        store.put(("kept",), "value", {"is": value})
        return before.value["is"] if before else "nothing"

    def build(model: Any, first: Any) -> Any:
        return create_agent(model, [keep], store=InMemoryStore(), middleware=first)

    replies = [ask(call("keep", value="a")), "one", ask(call("keep", value="b")), "two"]
    seen = twins.run(build, replies, GO, GO)
    assert seen.texts == ["go", "", "a", "two"]


@pytest.mark.parametrize(
    ("where", "nodes", "after_first"),
    [
        ("interrupt_before", ["tools"], ["go", ""]),
        ("interrupt_after", ["tools"], ["go", "", "3"]),
        ("interrupt_before", ["model"], ["go"]),
        ("interrupt_after", ["model"], ["go", ""]),
    ],
)
def test_static_interrupts(
    twins: Twins, where: str, nodes: list[str], after_first: list[str]
) -> None:
    """The run stops there each time, and goes on when it is called with `None`."""

    def build(model: Any, first: Any) -> Any:
        options = {where: nodes}
        return create_agent(model, [add], checkpointer=InMemorySaver(), middleware=first, **options)

    replies = [one_and_two(), ask(call("add", a=2, b=2)), "done"]
    once = twins.run(build, replies, config=THREAD)
    assert once.texts == after_first
    seen = twins.run(build, replies, GO, *[None] * 6, config=THREAD)
    assert seen.texts == ["go", "", "3", "", "4", "done"]


# -- the rest --------------------------------------------------------------------------------------


def test_debug(twins: Twins, capsys: pytest.CaptureFixture[str]) -> None:
    """It prints, and nothing else changes."""

    def build(model: Any, first: Any) -> Any:
        return create_agent(model, [add], debug=True, middleware=first)

    seen = twins.run(build, [one_and_two(), "done"])
    assert seen.texts == ["go", "", "3", "done"]
    assert "[values]" in capsys.readouterr().out


def test_name(twins: Twins) -> None:
    """The graph has it, and the model's messages."""

    def build(model: Any, first: Any) -> Any:
        return create_agent(model, [add], name="adder", middleware=first)

    seen = twins.run(build, [one_and_two(), "done"])
    assert seen.agent.name == "adder"
    assert [m.name for m in seen.messages if isinstance(m, AIMessage)] == ["adder", "adder"]


def test_cache(twins: Twins) -> None:
    """A cache alone changes nothing: each run calls its tools."""
    runs: list[int] = []

    @tool
    def count() -> str:
        """Count the runs."""
        runs.append(1)
        return "counted"

    def build(model: Any, first: Any) -> Any:
        return create_agent(model, [count], cache=InMemoryCache(), middleware=first)

    twins.run(build, [ask(call("count")), "done", ask(call("count")), "done"], GO, GO)
    assert len(runs) == 4  # two runs of each twin


def test_transformers(twins: Twins) -> None:
    """A stream transformer is built for each run and sees what it saw."""
    from langgraph.stream import StreamTransformer

    started: list[Any] = []

    class Watch(StreamTransformer):
        def __init__(self, scope: Any) -> None:
            super().__init__(scope)
            started.append(scope)

        def init(self) -> Any:
            return {}

        def process(self, event: Any) -> bool:
            return True

    def build(model: Any, first: Any) -> Any:
        return create_agent(model, [add], transformers=[Watch], middleware=first)

    twins.run(build, [one_and_two(), "done"])


def test_duplicate_middleware_is_refused() -> None:
    """The same as for any middleware."""
    model = ScriptedChatModel.replies([])
    with pytest.raises(AssertionError, match="duplicate middleware"):
        create_agent(model, [add], middleware=[AsyncFCMiddleware(), AsyncFCMiddleware()])


def test_long_runs(twins: Twins) -> None:
    """More turns than LangGraph's own recursion limit of 25 allows, also with more nodes a turn."""

    def build(model: Any, first: Any) -> Any:
        return create_agent(model, [add], middleware=first)

    seen = twins.run(build, [*(one_and_two() for _ in range(14)), "done"])
    assert [m.text for m in seen.messages if isinstance(m, ToolMessage)] == ["3"] * 14
