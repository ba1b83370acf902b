"""The node in larger things: graphs in graphs, chains, tools that run graphs.

| statement | test |
|---|---|
| a node in a subgraph | `test_subgraph` |
| several nodes in one graph, under any names | `test_two_nodes_in_one_graph` |
| a node called by another node's function, config passed on or not | `test_called_by_a_node` |
| a chain with the node in it as a graph's node | `test_chain_as_a_node` |
| a node in a function of the functional API | `test_functional_api` |
| a tool that runs a graph with a node | `test_agent_as_a_tool`, `test_async_agent_as_a_tool` |
| ... many of them at once | `test_many_agents_as_tools` |
| the graph shows the node | `test_drawing` |
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest
from langchain_core.messages import AIMessage, HumanMessage, ToolMessage
from langchain_core.runnables import RunnableConfig, RunnableLambda
from langchain_core.tools import tool
from langgraph.func import entrypoint
from langgraph.graph import END, START, MessagesState, StateGraph
from langgraph.prebuilt import tools_condition
from langgraph.types import Send

if TYPE_CHECKING:
    from tests.conformance.conftest import Ask, MakeNode, Mode


@tool
def add(a: int, b: int) -> int:
    """Add two numbers."""
    return a + b


ADD = ("add", {"a": 1, "b": 2})


def _contents(state: Any) -> list[Any]:
    return [message.content for message in state["messages"]]


def _agent(node: Any, ask: Ask) -> Any:
    """A graph that adds the two numbers of a human message."""

    def model(state: MessagesState) -> dict[str, Any]:
        last = state["messages"][-1]
        if isinstance(last, ToolMessage):
            return {"messages": [AIMessage(f"it is {last.content}")]}
        a, b = map(int, str(last.content).split())
        return {"messages": [ask(("add", {"a": a, "b": b}))]}

    builder = StateGraph(MessagesState)
    builder.add_node("model", model)
    builder.add_node("tools", node)
    builder.add_edge(START, "model")
    builder.add_conditional_edges("model", tools_condition)
    builder.add_edge("tools", "model")
    return builder.compile()


def test_subgraph(make_node: MakeNode, mode: Mode, ask: Ask) -> None:
    """An agent that is a node of another graph answers there."""
    builder = StateGraph(MessagesState)
    builder.add_node("agent", _agent(make_node([add]), ask))
    builder.add_edge(START, "agent")
    graph = builder.compile()
    value = {"messages": [HumanMessage("1 2")]}
    assert _contents(mode.call(graph, value)) == ["1 2", "", "3", "it is 3"]
    chunks = mode.stream(graph, value, stream_mode="updates", subgraphs=True)
    assert [(len(ns), list(chunk)) for ns, chunk in chunks] == [
        (1, ["model"]),
        (1, ["tools"]),
        (1, ["model"]),
        (0, ["agent"]),
    ]


def test_two_nodes_in_one_graph(make_node: MakeNode, mode: Mode, ask: Ask) -> None:
    """Calls are sent to the node that has the tool; each answers its own."""

    @tool
    def shout(text: str) -> str:
        """Shout."""
        return text.upper()

    def route(state: MessagesState) -> list[Send]:
        names = {"add": "numbers", "shout": "words"}
        calls = state["messages"][-1].tool_calls  # type: ignore[union-attr]
        return [Send(names[call["name"]], [call]) for call in calls]

    builder = StateGraph(MessagesState)
    builder.add_node("numbers", make_node([add], name="first"))
    builder.add_node("words", make_node([shout], name="second"))
    builder.add_conditional_edges(START, route, ["numbers", "words"])
    message = ask(ADD, ("shout", {"text": "hi"}), ADD)
    final = mode.call(builder.compile(), {"messages": [message]})
    assert _contents(final) == ["", "3", "HI", "3"]


@pytest.mark.parametrize("passes_config", [True, False])
def test_called_by_a_node(
    make_node: MakeNode, mode: Mode, ask: Ask, graph_of: Any, passes_config: bool
) -> None:
    """A function around the node gives what the node gives."""
    node = make_node([add])

    def tools(state: MessagesState, config: RunnableConfig) -> Any:
        return node.invoke(state, *([config] if passes_config else []))

    async def atools(state: MessagesState, config: RunnableConfig) -> Any:
        return await node.ainvoke(state, *([config] if passes_config else []))

    graph = graph_of(atools if mode.is_async else tools)
    assert _contents(mode.call(graph, {"messages": [ask(ADD, ADD)]})) == ["", "3", "3"]


def test_chain_as_a_node(make_node: MakeNode, mode: Mode, ask: Ask, graph_of: Any) -> None:
    """What comes before and after the node in a chain is the chain's business."""
    before: Any = RunnableLambda(lambda state: [*state["messages"], ask(ADD)])
    after: Any = RunnableLambda(lambda answers: {"messages": answers})
    graph = graph_of(before | make_node([add]) | after)
    final = mode.call(graph, {"messages": [HumanMessage("go")]})
    assert _contents(final) == ["go", "3"]


def test_functional_api(make_node: MakeNode, mode: Mode, ask: Ask) -> None:
    """A node needs no graph that is drawn as one."""
    node = make_node([add])
    if mode.is_async:

        @entrypoint()
        async def workflow(message: AIMessage) -> Any:
            return await node.ainvoke([message])
    else:

        @entrypoint()
        def workflow(message: AIMessage) -> Any:
            return node.invoke([message])

    assert mode.call(workflow, ask(ADD)) == [ToolMessage("3", name="add", tool_call_id="1")]


def test_agent_as_a_tool(make_node: MakeNode, mode: Mode, ask: Ask) -> None:
    """An agent asks another one, in a tool, and both have nodes of this class."""
    inner = _agent(make_node([add]), ask)

    @tool("add")
    def delegate(a: int, b: int) -> str:
        """Ask the other agent."""
        return str(inner.invoke({"messages": [HumanMessage(f"{a} {b}")]})["messages"][-1].content)

    outer = _agent(make_node([delegate]), ask)
    final = mode.call(outer, {"messages": [HumanMessage("1 2")]})
    assert _contents(final) == ["1 2", "", "it is 3", "it is it is 3"]


def test_async_agent_as_a_tool(make_node: MakeNode, ask: Ask) -> None:
    """The same with coroutines."""
    inner = _agent(make_node([add]), ask)

    @tool("add")
    async def delegate(a: int, b: int) -> str:
        """Ask the other agent."""
        final = await inner.ainvoke({"messages": [HumanMessage(f"{a} {b}")]})
        return str(final["messages"][-1].content)

    outer = _agent(make_node([delegate]), ask)
    final = asyncio.run(outer.ainvoke({"messages": [HumanMessage("1 2")]}))
    assert _contents(final) == ["1 2", "", "it is 3", "it is it is 3"]


def test_many_agents_as_tools(make_node: MakeNode, ask: Ask, graph_of: Any) -> None:
    """Tools that hold a thread each while their own tools run don't starve each other."""
    inner = graph_of(make_node([add]))

    @tool
    def delegate() -> str:
        """Ask another graph."""
        return str(inner.invoke({"messages": [ask(ADD)]})["messages"][-1].content)

    graph = graph_of(make_node([delegate]))
    final = graph.invoke({"messages": [ask(*[("delegate", {})] * 40)]})
    assert _contents(final) == [""] + ["3"] * 40


def test_drawing(make_node: MakeNode, graph_of: Any) -> None:
    """The drawn graph has the node, and the node has a readable form."""
    node = make_node([add])
    drawn = graph_of(node).get_graph()
    assert set(drawn.nodes) == {START, "tools", END}
    assert drawn.nodes["tools"].data is node
    assert repr(node).startswith("tools(")
