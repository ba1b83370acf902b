"""`tools_condition`: whether to go to the tools or to end.

Runs on the function of LangGraph and on the one of this package.

| statement of `tools_condition` | test |
|---|---|
| the last message has tool calls: "tools" | `test_calls_lead_to_the_tools` |
| otherwise: "__end__" | `test_no_calls_lead_to_the_end` |
| takes a state and a key | `test_signature` |
| a dict with messages, a list of messages, an object with messages | the first two |
| `messages_key` names the key or attribute | `test_messages_key` |
| only the last message counts | `test_last_message_counts` |
| no messages: an error that says so | `test_no_messages` |
| routes in a graph, without and with a path map | `test_routes_in_a_graph` |
| a custom condition may call it | `test_custom_condition` |
"""

from __future__ import annotations

import inspect
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import pytest
from langchain_core.messages import AIMessage, AnyMessage, HumanMessage, ToolMessage
from langchain_core.tools import tool
from langgraph.graph import START, MessagesState, StateGraph
from langgraph.prebuilt import tools_condition as langgraph_condition
from pydantic import BaseModel

from langchain_asyncfc import tools_condition as asyncfc_condition

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.conformance.conftest import Ask, MakeNode, Mode

    Condition = Callable[..., str]


class ModelState(BaseModel):
    """State as a pydantic model."""

    messages: list[AnyMessage] = []
    history: list[AnyMessage] = []


@dataclass
class DataState:
    """State as a dataclass."""

    messages: list[AnyMessage] = field(default_factory=list)
    history: list[AnyMessage] = field(default_factory=list)


@tool
def add(a: int, b: int) -> int:
    """Add two numbers."""
    return a + b


ADD = ("add", {"a": 1, "b": 2})
FORMS: dict[str, Any] = {
    "dict": lambda messages: {"messages": messages},
    "list": list,
    "model": lambda messages: ModelState(messages=messages),
    "dataclass": lambda messages: DataState(messages=messages),
}


@pytest.fixture(params=[langgraph_condition, asyncfc_condition], ids=["langgraph", "asyncfc"])
def condition(request: pytest.FixtureRequest) -> Condition:
    """The function under test."""
    return request.param


@pytest.fixture(params=list(FORMS))
def form(request: pytest.FixtureRequest) -> Any:
    """A form of state, as a function of the messages."""
    return FORMS[request.param]


def test_signature(condition: Condition) -> None:
    """State, then the key."""
    parameters = inspect.signature(condition).parameters
    assert list(parameters)[:2] == ["state", "messages_key"]
    assert parameters["messages_key"].default == "messages"


def test_calls_lead_to_the_tools(condition: Condition, form: Any, ask: Ask) -> None:
    """One call or more."""
    assert condition(form([HumanMessage("hi"), ask(ADD)])) == "tools"
    assert condition(form([ask(ADD, ADD)])) == "tools"


@pytest.mark.parametrize(
    "last", [AIMessage("hi"), HumanMessage("hi"), ToolMessage("3", tool_call_id="1")]
)
def test_no_calls_lead_to_the_end(condition: Condition, form: Any, last: Any) -> None:
    """No calls, or a message that can't have any."""
    assert condition(form([HumanMessage("go"), last])) == "__end__"


def test_last_message_counts(condition: Condition, form: Any, ask: Ask) -> None:
    """Answered calls lead nowhere."""
    messages = [ask(ADD), ToolMessage("3", tool_call_id="1"), AIMessage("three")]
    assert condition(form(messages)) == "__end__"


@pytest.mark.parametrize("schema", [dict, ModelState, DataState])
def test_messages_key(condition: Condition, schema: Any, ask: Ask) -> None:
    """Another key, by position or by name; messages elsewhere don't count."""
    state = schema(history=[ask(ADD)], messages=[AIMessage("hi")])
    assert condition(state, "history") == "tools"
    assert condition(state, messages_key="history") == "tools"
    assert condition(state) == "__end__"


@pytest.mark.parametrize(
    "state", [{}, {"messages": []}, {"other": 1}, ModelState(), DataState()], ids=repr
)
def test_no_messages(condition: Condition, state: Any) -> None:
    """The error shows the state."""
    with pytest.raises(ValueError) as raised:
        condition(state)
    assert str(raised.value) == f"No messages found in input state to tool_edge: {state}"


@pytest.mark.parametrize("path_map", [None, {"tools": "tools", "__end__": "__end__"}])
def test_routes_in_a_graph(
    condition: Condition, make_node: MakeNode, mode: Mode, ask: Ask, path_map: Any
) -> None:
    """A loop of model and tools ends when the model makes no more calls."""

    def model(state: MessagesState) -> dict[str, Any]:
        answers = [m for m in state["messages"] if isinstance(m, ToolMessage)]
        return {"messages": [AIMessage("done") if len(answers) == 2 else ask(ADD)]}

    builder = StateGraph(MessagesState)
    builder.add_node("model", model)
    builder.add_node("tools", make_node([add]))
    builder.add_edge(START, "model")
    builder.add_conditional_edges("model", condition, path_map)
    builder.add_edge("tools", "model")
    final = mode.call(builder.compile(), {"messages": [HumanMessage("go")]})
    assert [m.content for m in final["messages"]] == ["go", "", "3", "", "3", "done"]


def test_custom_condition(condition: Condition, ask: Ask) -> None:
    """The docstring's way to another key."""

    def custom_condition(state: Any) -> str:
        return condition(state, messages_key="chat_history")

    assert custom_condition({"chat_history": [ask(ADD)]}) == "tools"
