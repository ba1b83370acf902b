"""The node inside of agents.

| statement | test |
|---|---|
| `create_react_agent` takes a node in place of tools, versions 1 and 2 | `test_react_agent` |
| ... the model is bound to the node's tools | `test_react_agent_binds_the_nodes_tools` |
| ... the node's settings are kept | `test_settings_are_kept` |
| ... state, store and call ids reach the tools | `test_injection_in_an_agent` |
| ... commands work | `test_command_in_an_agent` |
| ... `return_direct` ends the run on the tool's answer | `test_return_direct` |
| a graph of model, node and `tools_condition` keeps a conversation | `test_conversation` |
| one graph serves concurrent runs | `test_concurrent_runs` |
| a run that failed goes on where it stood | `test_run_again_after_an_error` |
| a replay from before the calls makes them again | `test_replay` |
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Annotated, Any, Literal

import pytest
from langchain_core.messages import AIMessage, HumanMessage, ToolMessage
from langchain_core.tools import InjectedToolCallId, tool
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.graph import START, MessagesState, StateGraph
from langgraph.prebuilt import InjectedState, InjectedStore, create_react_agent, tools_condition
from langgraph.prebuilt.chat_agent_executor import AgentState
from langgraph.store.memory import InMemoryStore
from langgraph.types import Command

if TYPE_CHECKING:
    from tests.conformance.conftest import Ask, MakeNode, Mode

pytestmark = pytest.mark.filterwarnings("ignore:create_react_agent has been moved")


class UserState(AgentState):
    """An agent's state with a field."""

    user: str


@tool
def add(a: int, b: int) -> int:
    """Add two numbers."""
    return a + b


ADD = ("add", {"a": 1, "b": 2})


@pytest.fixture(params=["v1", "v2"])
def version(request: pytest.FixtureRequest) -> Literal["v1", "v2"]:
    """The ways in which `create_react_agent` runs tools: in one step, or a step for each call."""
    return request.param


def _contents(state: Any) -> list[Any]:
    return [message.content for message in state["messages"]]


def test_react_agent(
    make_node: MakeNode, mode: Mode, ask: Ask, scripted_model: Any, version: Any, without_ids: Any
) -> None:
    """Calls are answered in order, over two turns."""
    model = scripted_model(ask(ADD, ("add", {"a": 3, "b": 4})), ask(ADD), AIMessage("done"))
    agent = create_react_agent(model, make_node([add]), version=version)
    final = mode.call(agent, {"messages": [("user", "go")]})
    assert _contents(final) == ["go", "", "3", "7", "", "3", "done"]
    assert without_ids(final["messages"][2:4]) == [
        ToolMessage("3", name="add", tool_call_id="1"),
        ToolMessage("7", name="add", tool_call_id="2"),
    ]


def test_react_agent_binds_the_nodes_tools(
    make_node: MakeNode, scripted_model: Any, version: Any
) -> None:
    """The agent binds the tool objects that the node was given."""
    bound: list[Any] = []
    model = scripted_model(AIMessage("done"))
    model_class = type(model)

    class Binding(model_class):  # type: ignore[misc, valid-type]
        def bind_tools(self, tools: Any, **kwargs: Any) -> Any:
            bound.extend(tools)
            return self

    create_react_agent(Binding(replies=[]), make_node([add]), version=version)
    assert bound == [add]
    assert bound[0] is add


def test_settings_are_kept(
    make_node: MakeNode, mode: Mode, ask: Ask, scripted_model: Any, version: Any
) -> None:
    """The node's own error handling is the agent's."""

    @tool
    def fail() -> str:
        """Fail."""
        raise ValueError("boom")

    model = scripted_model(ask(("fail", {})), AIMessage("done"))
    node = make_node([fail], handle_tool_errors="Sorry.")
    final = mode.call(create_react_agent(model, node, version=version), {"messages": []})
    assert _contents(final) == ["", "Sorry.", "done"]
    model = scripted_model(ask(("fail", {})), AIMessage("done"))
    agent = create_react_agent(model, make_node([fail]), version=version)
    with pytest.raises(ValueError, match="boom"):
        mode.call(agent, {"messages": []})


def test_injection_in_an_agent(
    make_node: MakeNode, mode: Mode, ask: Ask, scripted_model: Any, version: Any
) -> None:
    """Tools in an agent see its state and its store."""

    @tool
    def look(
        user: Annotated[str, InjectedState("user")],
        messages: Annotated[list, InjectedState("messages")],
        store: Annotated[Any, InjectedStore()],
        tool_call_id: Annotated[str, InjectedToolCallId],
    ) -> str:
        """Look around."""
        store.put(("seen",), tool_call_id, {"user": user})
        return f"{user} {len(messages)} {tool_call_id}"

    store = InMemoryStore()
    agent = create_react_agent(
        scripted_model(ask(("look", {}), ("look", {})), AIMessage("done")),
        make_node([look]),
        version=version,
        store=store,
        state_schema=UserState,
    )
    final = mode.call(agent, {"messages": [("user", "go")], "user": "me"})
    assert _contents(final) == ["go", "", "me 2 1", "me 2 2", "done"]
    assert sorted(item.key for item in store.search(("seen",))) == ["1", "2"]


def test_command_in_an_agent(
    make_node: MakeNode, mode: Mode, ask: Ask, scripted_model: Any, version: Any
) -> None:
    """A tool's command updates the agent's state."""

    @tool
    def login(user: str, tool_call_id: Annotated[str, InjectedToolCallId]) -> Command:
        """Log in."""
        answer = ToolMessage(f"hello {user}", tool_call_id=tool_call_id)
        return Command(update={"user": user, "messages": [answer]})

    agent = create_react_agent(
        scripted_model(ask(("login", {"user": "me"}), ADD), AIMessage("done")),
        make_node([login, add]),
        version=version,
        state_schema=UserState,
    )
    final = mode.call(agent, {"messages": [], "user": "nobody"})
    assert final["user"] == "me"
    assert _contents(final) == ["", "hello me", "3", "done"]


def test_return_direct(
    make_node: MakeNode, mode: Mode, ask: Ask, scripted_model: Any, version: Any
) -> None:
    """The run ends without another turn of the model."""
    direct = add.model_copy(update={"return_direct": True})
    model = scripted_model(ask(ADD), AIMessage("not reached"))
    agent = create_react_agent(model, make_node([direct]), version=version)
    assert _contents(mode.call(agent, {"messages": [("user", "go")]})) == ["go", "", "3"]


def _agent_graph(node: Any, model: Any, **options: Any) -> Any:
    builder = StateGraph(MessagesState)
    builder.add_node("model", lambda state: {"messages": [model(state)]})
    builder.add_node("tools", node)
    builder.add_edge(START, "model")
    builder.add_conditional_edges("model", tools_condition)
    builder.add_edge("tools", "model")
    return builder.compile(**options)


def _echo_model(ask: Any) -> Any:
    """A model that adds the numbers of the last human message, then says the sum."""

    def model(state: Any) -> AIMessage:
        last = state["messages"][-1]
        if isinstance(last, ToolMessage):
            return AIMessage(f"it is {last.content}")
        a, b = map(int, last.content.split())
        return ask(("add", {"a": a, "b": b}))

    return model


def test_conversation(make_node: MakeNode, mode: Mode, ask: Ask) -> None:
    """Turns of a thread follow each other, also with equal call ids."""
    graph = _agent_graph(make_node([add]), _echo_model(ask), checkpointer=InMemorySaver())
    config = {"configurable": {"thread_id": "t"}}
    for question in ("1 2", "3 4"):
        final = mode.call(graph, {"messages": [HumanMessage(question)]}, config)
    assert _contents(final) == ["1 2", "", "3", "it is 3", "3 4", "", "7", "it is 7"]


def test_concurrent_runs(make_node: MakeNode, ask: Ask) -> None:
    """Runs side by side, with equal call ids, don't meet."""
    graph = _agent_graph(make_node([add]), _echo_model(ask))

    async def run() -> list[Any]:
        questions = [{"messages": [HumanMessage(f"{n} {n}")]} for n in range(20)]
        return await asyncio.gather(*[graph.ainvoke(question) for question in questions])

    finals = asyncio.run(run())
    assert [final["messages"][-1].content for final in finals] == [
        f"it is {2 * n}" for n in range(20)
    ]


def test_run_again_after_an_error(make_node: MakeNode, mode: Mode, ask: Ask) -> None:
    """With a checkpointer, the step that failed is run again."""
    runs: list[int] = []

    @tool
    def add(a: int, b: int) -> int:
        """Fail once."""
        runs.append(1)
        if len(runs) == 1:
            raise ConnectionError("try again")
        return a + b

    graph = _agent_graph(make_node([add]), _echo_model(ask), checkpointer=InMemorySaver())
    config = {"configurable": {"thread_id": "t"}}
    with pytest.raises(ConnectionError):
        mode.call(graph, {"messages": [HumanMessage("1 2")]}, config)
    assert _contents(mode.call(graph, None, config)) == ["1 2", "", "3", "it is 3"]
    assert len(runs) == 2


def test_replay(make_node: MakeNode, mode: Mode, ask: Ask) -> None:
    """A replay runs the tools anew and gives what they give now."""
    runs: list[int] = []

    @tool
    def add(a: int, b: int) -> int:
        """Add two numbers and the number of runs."""
        runs.append(1)
        return a + b + 100 * len(runs)

    graph = _agent_graph(make_node([add]), _echo_model(ask), checkpointer=InMemorySaver())
    config = {"configurable": {"thread_id": "t"}}
    mode.call(graph, {"messages": [HumanMessage("1 2")]}, config)
    [before] = [s for s in graph.get_state_history(config) if s.next == ("tools",)]
    final = mode.call(graph, None, before.config)
    assert _contents(final) == ["1 2", "", "203", "it is 203"]
