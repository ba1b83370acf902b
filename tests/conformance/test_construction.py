"""How a node is built, and what it says about itself.

| statement of `ToolNode` | test |
|---|---|
| is a `ToolNode`, a `Runnable` | `test_is_a_tool_node_and_a_runnable` |
| takes tools, then keyword arguments with these defaults | \
`test_signature_holds_all_of_tool_nodes` |
| `name`: default "tools"; any other | `test_name` |
| the name identifies the node in a graph | `test_name_is_the_nodes_name_in_a_graph` |
| `tags`: default none; any list | `test_tags` |
| `tools_by_name` maps names to the very objects given | \
`test_tools_by_name_holds_the_objects_given` |
| plain functions become tools with inferred schemas | `test_plain_function_becomes_a_tool` |
| plain functions run, sync and async | `test_plain_functions_are_answered` |
| tools of both kinds in one node | `test_tools_and_functions_mix` |
| any sequence of tools | `test_any_sequence_of_tools` |
| no tools at all | `test_no_tools` |
| a tool added to `tools_by_name` later is found | `test_tool_added_later` |
| attributes of a tool changed later are honoured | `test_tool_changed_later` |
| a `Runnable`: batch, stream, pipe, bound config, fallbacks | \
`test_batch`, `test_stream_of_the_node`, \
`test_pipe`, `test_with_config`, `test_fallbacks_take_over` |
| one node serves many calls and graphs | `test_two_graphs_share_a_node` |
"""

from __future__ import annotations

import inspect
from typing import TYPE_CHECKING, Any

import pytest
from langchain_core.messages import ToolMessage
from langchain_core.runnables import Runnable, RunnableLambda
from langchain_core.tools import BaseTool, tool
from langgraph.config import get_config
from langgraph.graph import START, MessagesState, StateGraph
from langgraph.prebuilt import ToolNode

if TYPE_CHECKING:
    from tests.conformance.conftest import Ask, MakeNode, Mode, NodeClass, Way


@tool
def add(a: int, b: int) -> int:
    """Add two numbers."""
    return a + b


def double(x: int) -> int:
    """Double a number."""
    return 2 * x


async def triple(x: int) -> int:
    """Triple a number."""
    return 3 * x


def test_is_a_tool_node_and_a_runnable(make_node: MakeNode) -> None:
    """Code that checks for a `ToolNode` or a `Runnable` accepts the node."""
    node = make_node([add])
    assert isinstance(node, ToolNode)
    assert isinstance(node, Runnable)


def test_signature_holds_all_of_tool_nodes(node_class: NodeClass) -> None:
    """Each parameter of `ToolNode` is there, of the same kind and with the same default."""
    ours = inspect.signature(node_class).parameters
    for name, parameter in inspect.signature(ToolNode).parameters.items():
        assert ours[name].kind == parameter.kind
        assert ours[name].default == parameter.default
    added = ours.keys() - inspect.signature(ToolNode).parameters.keys()
    assert all(ours[name].kind is inspect.Parameter.KEYWORD_ONLY for name in added)


def test_name(make_node: MakeNode) -> None:
    """A node is called "tools" unless another name is given."""
    assert make_node([add]).get_name() == "tools"
    assert make_node([add], name="helpers").get_name() == "helpers"
    assert make_node([add], name="helpers").name == "helpers"


def test_name_is_the_nodes_name_in_a_graph(make_node: MakeNode, mode: Mode, ask: Ask) -> None:
    """A graph that is given the node alone calls it by its own name."""
    builder = StateGraph(MessagesState)
    builder.add_node(make_node([add], name="helpers"))
    builder.add_edge(START, "helpers")
    chunks = mode.stream(
        builder.compile(), {"messages": [ask(("add", {"a": 1, "b": 2}))]}, stream_mode="updates"
    )
    assert [list(chunk) for chunk in chunks] == [["helpers"]]


def test_tags(make_node: MakeNode) -> None:
    """The tags stay on the node."""
    assert make_node([add]).tags is None
    assert make_node([add], tags=["a", "b"]).tags == ["a", "b"]


def test_tools_by_name_holds_the_objects_given(make_node: MakeNode) -> None:
    """The mapping keeps the order and the very objects, not copies."""

    @tool
    def other(x: int) -> int:
        """Another tool."""
        return x

    by_name = make_node([add, other]).tools_by_name
    assert list(by_name) == ["add", "other"]
    assert by_name["add"] is add
    assert by_name["other"] is other


def test_plain_function_becomes_a_tool(make_node: MakeNode) -> None:
    """Name, description and schema are inferred from the function."""
    made = make_node([double]).tools_by_name["double"]
    assert isinstance(made, BaseTool)
    assert made.description == "Double a number."
    assert made.args == {"x": {"title": "X", "type": "integer"}}


def test_plain_functions_are_answered(make_node: MakeNode, way: Way) -> None:
    """Functions run like tools; a coroutine function under the async entry points."""
    if way.mode.is_async:
        assert way.answer(make_node([triple]), ("triple", {"x": 2})) == [
            ToolMessage("6", name="triple", tool_call_id="1")
        ]
    assert way.answer(make_node([double]), ("double", {"x": 2})) == [
        ToolMessage("4", name="double", tool_call_id="1")
    ]


def test_tools_and_functions_mix(make_node: MakeNode, way: Way) -> None:
    """One node takes tools and functions together."""
    calls = ("add", {"a": 1, "b": 2}), ("double", {"x": 2})
    assert way.answer(make_node([add, double]), *calls) == [
        ToolMessage("3", name="add", tool_call_id="1"),
        ToolMessage("4", name="double", tool_call_id="2"),
    ]


def test_any_sequence_of_tools(make_node: MakeNode) -> None:
    """A tuple does as well as a list."""
    assert list(make_node((add, double)).tools_by_name) == ["add", "double"]


def test_no_tools(make_node: MakeNode, way: Way) -> None:
    """A node without tools can be built; each call is then unknown."""
    node = make_node([])
    assert node.tools_by_name == {}
    assert way.answer(node, ("add", {})) == [
        ToolMessage(
            "Error: add is not a valid tool, try one of [].",
            name="add",
            tool_call_id="1",
            status="error",
        )
    ]


def test_tool_added_later(make_node: MakeNode, way: Way) -> None:
    """The mapping is live: what is put there later can be called."""
    node = make_node([])
    node.tools_by_name["add"] = add
    assert way.answer(node, ("add", {"a": 1, "b": 2})) == [
        ToolMessage("3", name="add", tool_call_id="1")
    ]


def test_tool_changed_later(make_node: MakeNode, way: Way) -> None:
    """Each call looks at the tool as it is then."""

    @tool
    def answer() -> Any:
        """Answer."""
        return "content", {"rows": 1}

    node = make_node([answer])
    answer.response_format = "content_and_artifact"
    assert way.answer(node, ("answer", {})) == [
        ToolMessage("content", artifact={"rows": 1}, name="answer", tool_call_id="1")
    ]
    answer.response_format = "content"
    answer.func = lambda: "another function"
    assert way.answer(node, ("answer", {})) == [
        ToolMessage("another function", name="answer", tool_call_id="1")
    ]


def test_batch(make_node: MakeNode, ask: Ask, graph_of: Any) -> None:
    """A graph with the node answers a batch of inputs, each on its own."""
    inputs = [{"messages": [ask(("double", {"x": x}))]} for x in range(3)]
    results = graph_of(make_node([double])).batch(inputs)
    assert [result["messages"][-1].content for result in results] == ["0", "2", "4"]


def test_stream_of_the_node(make_node: MakeNode, mode: Mode, ask: Ask) -> None:
    """Streaming the bare node gives its output as one chunk."""

    class Streamed:
        def __init__(self, node: Any) -> None:
            self.invoke = lambda *args: list(node.stream(*args))
            self.node = node

        async def ainvoke(self, *args: Any) -> list[Any]:
            return [chunk async for chunk in self.node.astream(*args)]

    value = [ask(("double", {"x": 2}))]
    assert mode.bare(Streamed(make_node([double])), value) == [
        [ToolMessage("4", name="double", tool_call_id="1")]
    ]


def test_pipe(make_node: MakeNode, mode: Mode, ask: Ask) -> None:
    """The node is a link of a chain like any runnable."""
    chain = make_node([double]) | RunnableLambda(lambda messages: messages[0].content)
    assert mode.bare(chain, [ask(("double", {"x": 2}))]) == "4"


def test_with_config(make_node: MakeNode, mode: Mode, ask: Ask) -> None:
    """Config bound to the node reaches the tools."""
    seen: list[Any] = []

    @tool
    def look() -> str:
        """Look."""
        seen.append(get_config()["metadata"]["who"])
        return "ok"

    mode.bare(make_node([look]).with_config(metadata={"who": "me"}), [ask(("look", {}))])
    assert seen == ["me"]


def test_fallbacks_take_over(make_node: MakeNode, way: Way) -> None:
    """With `with_fallbacks`, an error that the node raises is handed to the fallback."""

    @tool
    def fail() -> str:
        """Fail."""
        raise ValueError("boom")

    def fallback(state: dict[str, Any]) -> dict[str, Any]:
        call = state["messages"][-1].tool_calls[0]
        return {"messages": [ToolMessage(repr(state["error"]), tool_call_id=call["id"])]}

    node = make_node([fail], handle_tool_errors=False).with_fallbacks(
        [RunnableLambda(fallback)], exception_key="error"
    )
    assert way.answer(node, ("fail", {})) == [ToolMessage("ValueError('boom')", tool_call_id="1")]


@pytest.mark.parametrize("rounds", [2])
def test_two_graphs_share_a_node(
    make_node: MakeNode, mode: Mode, ask: Ask, graph_of: Any, rounds: int
) -> None:
    """One node object serves two graphs, one after the other and again."""
    node = make_node([double])
    graphs = [graph_of(node), graph_of(node)]
    for n in range(rounds):
        for graph in graphs:
            final = mode.call(graph, {"messages": [ask(("double", {"x": n}))]})
            assert [m.content for m in final["messages"]] == ["", str(2 * n)]
