"""Building the node: bad input, and what the model is bound to."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from langchain_core.messages import AIMessage, HumanMessage
from langchain_core.tools import tool
from langchain_core.utils.function_calling import convert_to_openai_tool
from langgraph.graph import START, MessagesState, StateGraph

from langchain_asyncfc import AsyncFCToolNode
from langchain_asyncfc.testing import call


@tool
async def search(query: str, limit: int = 10) -> str:
    """Search."""
    return f"{query} {limit}"


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"grace": -0.1}, "grace must be a number of seconds that is not negative, not -0.1"),
        ({"grace": float("nan")}, "grace must be"),
        ({"delivery": "later"}, "delivery must be one of 'in_place', 'append', not 'later'"),
        ({"on_final": "stop"}, "on_final must be one of 'review', 'settle', 'detach', not 'stop'"),
        ({"max_concurrency": 0}, "max_concurrency must be at least 1, not 0"),
        ({"timeout": -1}, "timeout for tool 'search' must be a positive number of seconds, not -1"),
        ({"timeout": {"find": 1}}, r"timeout names 'find', but the tools are \['search'\]"),
    ],
)
def test_a_bad_option_is_a_value_error_that_says_what(options: dict[str, Any], said: str) -> None:
    """Bad input: construction fails with what was wrong and where."""
    with pytest.raises(ValueError, match=said):
        AsyncFCToolNode([search], **options)


def test_model_tools_end_with_the_control_tools() -> None:
    """The model is bound to the node's tools, widened, and to the two control tools."""
    node = AsyncFCToolNode([search])
    assert [t.name for t in node.model_tools] == ["search", "await_future", "cancel_future"]
    assert "await_result" in node.model_tools[0].args


def test_strict_model_tools_require_every_property() -> None:
    """Strict: each property is required and nothing else is allowed, in all three schemas."""
    for each in AsyncFCToolNode([search]).strict_model_tools:
        parameters = convert_to_openai_tool(each, strict=True)["function"]["parameters"]
        assert sorted(parameters["required"]) == sorted(parameters["properties"])
        assert parameters["additionalProperties"] is False


def test_a_null_of_a_strict_schema_is_an_argument_not_given() -> None:
    """A model bound to strict schemas says "not given" with null; the tool's default holds."""
    node = AsyncFCToolNode([search])
    assert node.strict_model_tools
    builder = StateGraph(MessagesState)
    builder.add_node("tools", node)
    builder.add_edge(START, "tools")
    asked = call("search", query="x", limit=None, await_result=None)
    messages = [HumanMessage("go"), AIMessage("", tool_calls=[asked])]
    result = asyncio.run(builder.compile().ainvoke({"messages": messages}))
    assert result["messages"][-1].text == "x 10"


def test_closing_a_node_with_nothing_detached_does_nothing() -> None:
    """`close` and `aclose` may be called at any time, and again."""
    node = AsyncFCToolNode([search], on_final="detach")
    node.close()
    asyncio.run(node.aclose())
    node.close()


@pytest.mark.parametrize("with_model", [False, True])
def test_a_graph_that_does_not_review_is_warned_of(
    with_model: bool, caplog: pytest.LogCaptureFixture
) -> None:
    """Every result is waited for, and a warning says why; not of a node that is tried alone."""
    calls = AIMessage("", tool_calls=[call("search", query="x")])
    graph = StateGraph(MessagesState)
    graph.add_node("tools", AsyncFCToolNode([search]))
    if with_model:
        graph.add_node("agent", lambda _: {"messages": [calls]})
        graph.add_edge(START, "agent")
        graph.add_edge("agent", "tools")
    else:
        graph.add_edge(START, "tools")
    given = [HumanMessage("go"), *([] if with_model else [calls])]
    state = asyncio.run(graph.compile().ainvoke({"messages": given}))
    assert state["messages"][-1].text == "x 10"
    warned = [r.message for r in caplog.records if "Every result is waited for" in r.message]
    assert len(warned) == (1 if with_model else 0)
