"""What a node takes.

| statement of `ToolNode` | test |
|---|---|
| graph state with a "messages" key | `test_state_dict` |
| `messages_key`: another key, in and out | `test_custom_messages_key`, \
`test_custom_messages_key_in_a_graph` |
| a list of messages, in and out | `test_message_list` |
| state as a pydantic model or a dataclass | `test_state_object`, `test_state_object_in_a_graph` |
| state objects with a custom key | `test_state_object_with_a_custom_key` |
| tool calls directly | `test_direct_tool_calls` |
| a tool call with its state (`ToolCallWithContext`) | `test_tool_call_with_context` |
| `Send` with a tool call and its state | `test_send_of_a_tool_call_with_context` |
| `Send` of a list of tool calls; state read from the channels | `test_send_of_tool_calls` |
| direct tool calls outside of a graph have an empty state | \
`test_direct_tool_calls_have_an_empty_state_outside_of_a_graph` |
| the calls are those of the latest `AIMessage`, wherever it stands | \
`test_latest_ai_message_counts` |
| no tool calls: nothing to answer | `test_no_tool_calls`, `test_no_tool_calls_in_a_graph` |
| "No message found in input" | `test_no_messages` |
| "No AIMessage found in input" | `test_no_ai_message` |
| outside of a graph a `Runtime` is needed, by config or by keyword | `test_no_runtime`, \
`test_runtime_by_keyword` |
| calls with one id are each answered | `test_equal_ids` |
| a state without a reducer, or with one that only appends | `test_other_reducers` |
| answers come in the order of the calls | `test_answers_in_call_order` |
| calls of one message run in parallel | `test_calls_run_in_parallel`, \
`test_coroutines_run_in_parallel` |
| the input is left as it was | `test_input_is_not_changed` |
"""

from __future__ import annotations

import asyncio
import copy
import operator
import threading
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Annotated, Any

import pytest
from langchain_core.messages import AIMessage, AnyMessage, HumanMessage, ToolMessage
from langchain_core.tools import tool
from langgraph.graph import END, START, MessagesState, StateGraph
from langgraph.graph.message import add_messages
from langgraph.prebuilt import InjectedState
from langgraph.runtime import Runtime
from langgraph.types import Send
from pydantic import BaseModel
from typing_extensions import TypedDict

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.conformance.conftest import Ask, MakeNode, Mode, Way


@tool
def add(a: int, b: int) -> int:
    """Add two numbers."""
    return a + b


@tool
def see(state: Annotated[Any, InjectedState]) -> str:
    """Tell the foo of the state."""
    return f"foo is {state.get('foo')}"


CALL = ("add", {"a": 1, "b": 2})
THREE = ToolMessage("3", name="add", tool_call_id="1")
DIRECT = {"name": "add", "args": {"a": 1, "b": 2}, "id": "1", "type": "tool_call"}


class ModelState(BaseModel):
    """State as a pydantic model."""

    messages: Annotated[list[AnyMessage], add_messages] = []
    history: list[AnyMessage] = []


@dataclass
class DataState:
    """State as a dataclass."""

    messages: Annotated[list[AnyMessage], add_messages] = field(default_factory=list)
    history: list[AnyMessage] = field(default_factory=list)


class HistoryState(TypedDict):
    """State with another key for the messages."""

    history: Annotated[list[AnyMessage], add_messages]


def test_state_dict(make_node: MakeNode, mode: Mode, ask: Ask) -> None:
    """State in, an update of the state out."""
    value = {"messages": [HumanMessage("hi"), ask(CALL)], "other": 1}
    assert mode.bare(make_node([add]), value) == {"messages": [THREE]}


def test_custom_messages_key(make_node: MakeNode, mode: Mode, ask: Ask) -> None:
    """The same key is read and written."""
    node = make_node([add], messages_key="history")
    assert mode.bare(node, {"history": [ask(CALL)], "messages": []}) == {"history": [THREE]}


def test_custom_messages_key_in_a_graph(
    make_node: MakeNode, mode: Mode, ask: Ask, graph_of: Any, without_ids: Any
) -> None:
    """A graph with another messages channel gets its answers there."""
    graph = graph_of(make_node([add], messages_key="history"), schema=HistoryState)
    final = mode.call(graph, {"history": [ask(CALL)]})
    assert without_ids(final["history"][1:]) == [THREE]


def test_message_list(make_node: MakeNode, mode: Mode, ask: Ask) -> None:
    """Messages in, messages out."""
    assert mode.bare(make_node([add]), [HumanMessage("hi"), ask(CALL)]) == [THREE]


@pytest.mark.parametrize("schema", [ModelState, DataState])
def test_state_object(make_node: MakeNode, mode: Mode, ask: Ask, schema: Any) -> None:
    """State objects are read by attribute; the answer is a dict, which they load from."""
    assert mode.bare(make_node([add]), schema(messages=[ask(CALL)])) == {"messages": [THREE]}


@pytest.mark.parametrize("schema", [ModelState, DataState])
def test_state_object_in_a_graph(
    make_node: MakeNode, mode: Mode, ask: Ask, graph_of: Any, without_ids: Any, schema: Any
) -> None:
    """A graph whose state is an object has its calls answered."""
    final = mode.call(graph_of(make_node([add]), schema=schema), {"messages": [ask(CALL)]})
    assert without_ids(final["messages"][1:]) == [THREE]


@pytest.mark.parametrize("schema", [ModelState, DataState])
def test_state_object_with_a_custom_key(
    make_node: MakeNode, mode: Mode, ask: Ask, schema: Any
) -> None:
    """A custom key names the attribute."""
    node = make_node([add], messages_key="history")
    assert mode.bare(node, schema(history=[ask(CALL)])) == {"history": [THREE]}


def test_direct_tool_calls(make_node: MakeNode, mode: Mode) -> None:
    """Tool calls without a message; the answer is an update of the state."""
    second = {**DIRECT, "args": {"a": 3, "b": 4}, "id": "second"}
    assert mode.bare(make_node([add]), [DIRECT, second]) == {
        "messages": [THREE, ToolMessage("7", name="add", tool_call_id="second")]
    }


def test_direct_tool_calls_have_an_empty_state_outside_of_a_graph(
    make_node: MakeNode, mode: Mode
) -> None:
    """There are no channels to read the state from."""
    call = {"name": "see", "args": {}, "id": "1", "type": "tool_call"}
    assert mode.bare(make_node([see]), [call]) == {
        "messages": [ToolMessage("foo is None", name="see", tool_call_id="1")]
    }


def test_tool_call_with_context(make_node: MakeNode, mode: Mode) -> None:
    """One call with the state that it is to see."""
    call = {"name": "see", "args": {}, "id": "1", "type": "tool_call"}
    value = {"__type": "tool_call_with_context", "tool_call": call, "state": {"foo": "bar"}}
    assert mode.bare(make_node([see]), value) == {
        "messages": [ToolMessage("foo is bar", name="see", tool_call_id="1")]
    }


class FooState(MessagesState, total=False):
    """Messages and a field."""

    foo: str


def _sending_graph(node: Any, packed: Callable[[Any, Any], Any]) -> Any:
    """A graph that sends each call of the last message to the node on its own."""

    def fan_out(state: FooState) -> list[Send]:
        calls = state["messages"][-1].tool_calls  # type: ignore[union-attr]
        return [Send("tools", packed(call, state)) for call in calls]

    builder = StateGraph(FooState)
    builder.add_node("tools", node)
    builder.add_conditional_edges(START, fan_out, ["tools"])
    builder.add_edge("tools", END)
    return builder.compile()


SENT_ANSWERS = [
    ToolMessage("foo is bar", name="see", tool_call_id="1"),
    ToolMessage("3", name="add", tool_call_id="2"),
    ToolMessage("foo is bar", name="see", tool_call_id="3"),
]


def test_send_of_a_tool_call_with_context(
    make_node: MakeNode, mode: Mode, ask: Ask, without_ids: Any
) -> None:
    """Each call sent with a snapshot of the state is answered, in order."""

    def packed(call: Any, state: Any) -> Any:
        return {"__type": "tool_call_with_context", "tool_call": call, "state": state}

    graph = _sending_graph(make_node([add, see]), packed)
    message = ask(("see", {}), CALL, ("see", {}))
    final = mode.call(graph, {"messages": [message], "foo": "bar"})
    assert without_ids(final["messages"][1:]) == SENT_ANSWERS


def test_send_of_tool_calls(make_node: MakeNode, mode: Mode, ask: Ask, without_ids: Any) -> None:
    """A list of calls sent alone sees the state in the graph's channels."""
    graph = _sending_graph(make_node([add, see]), lambda call, state: [call])
    message = ask(("see", {}), CALL, ("see", {}))
    final = mode.call(graph, {"messages": [message], "foo": "bar"})
    assert without_ids(final["messages"][1:]) == SENT_ANSWERS


def test_latest_ai_message_counts(make_node: MakeNode, mode: Mode, ask: Ask) -> None:
    """Older calls are not run again, and other messages may follow the latest one."""
    older = ask(("add", {"a": 9, "b": 9}))
    value = [older, ToolMessage("18", tool_call_id="1"), ask(CALL), HumanMessage("well?")]
    assert mode.bare(make_node([add]), value) == [THREE]


def test_no_tool_calls(make_node: MakeNode, mode: Mode) -> None:
    """A message without calls is answered by nothing."""
    assert mode.bare(make_node([add]), {"messages": [AIMessage("hi")]}) == {"messages": []}
    assert mode.bare(make_node([add]), [AIMessage("hi")]) == []


def test_no_tool_calls_in_a_graph(make_node: MakeNode, mode: Mode, graph_of: Any) -> None:
    """The graph's messages stay as they are."""
    message = AIMessage("hi", id="m")
    final = mode.call(graph_of(make_node([add])), {"messages": [message]})
    assert final["messages"] == [message]


@pytest.mark.parametrize("value", [{}, {"messages": []}, {"other": [1]}, ModelState()])
def test_no_messages(make_node: MakeNode, mode: Mode, value: Any) -> None:
    """Input without messages is refused."""
    with pytest.raises(ValueError, match=r"^No message found in input$"):
        mode.bare(make_node([add]), value)


@pytest.mark.parametrize("wrap", [list, lambda messages: {"messages": messages}])
def test_no_ai_message(make_node: MakeNode, mode: Mode, wrap: Any) -> None:
    """Messages none of which is the model's are refused."""
    with pytest.raises(ValueError, match=r"^No AIMessage found in input$"):
        mode.bare(make_node([add]), wrap([HumanMessage("hi")]))


def test_no_runtime(make_node: MakeNode, mode: Mode, ask: Ask) -> None:
    """A node that is called without a run to be part of says so."""
    with pytest.raises(ValueError, match=r"^Missing required config key"):
        mode.call(make_node([add]), [ask(CALL)])


def test_runtime_by_keyword(make_node: MakeNode, mode: Mode, ask: Ask) -> None:
    """The keyword does what the config does."""
    assert mode.call(make_node([add]), [ask(CALL)], None, runtime=Runtime()) == [THREE]


def test_equal_ids(make_node: MakeNode, mode: Mode, graph_of: Any, without_ids: Any) -> None:
    """Some models repeat ids; each call has its answer all the same."""
    message = AIMessage("", tool_calls=[DIRECT, {**DIRECT, "args": {"a": 3, "b": 4}}])  # type: ignore[list-item]
    seven = ToolMessage("7", name="add", tool_call_id="1")
    assert mode.bare(make_node([add]), [message]) == [THREE, seven]
    final = mode.call(graph_of(make_node([add])), {"messages": [message]})
    assert without_ids(final["messages"][1:]) == [THREE, seven]


class ReplacedState(TypedDict):
    """Messages without a reducer."""

    messages: list[AnyMessage]


class AppendedState(TypedDict):
    """Messages that are only ever appended."""

    messages: Annotated[list[AnyMessage], operator.add]


@pytest.mark.parametrize(("schema", "kept"), [(ReplacedState, 0), (AppendedState, 1)])
def test_other_reducers(
    make_node: MakeNode, mode: Mode, ask: Ask, graph_of: Any, schema: Any, kept: int
) -> None:
    """The update holds the answers and nothing else, and no ids appear."""
    message = ask(CALL)
    final = mode.call(graph_of(make_node([add]), schema=schema), {"messages": [message]})
    assert final["messages"] == [*[message][:kept], THREE]


def test_answers_in_call_order(make_node: MakeNode, way: Way) -> None:
    """The order is that of the calls, also when they end the other way round."""
    turns = [threading.Event() for _ in range(3)]
    turns[-1].set()

    @tool
    def last_first(n: int) -> int:
        """End after the next one has ended."""
        assert turns[n].wait(30)
        if n:
            turns[n - 1].set()
        return n

    calls = [("last_first", {"n": n}) for n in range(3)]
    assert way.answer(make_node([last_first]), *calls) == [
        ToolMessage(str(n), name="last_first", tool_call_id=str(n + 1)) for n in range(3)
    ]


def test_calls_run_in_parallel(make_node: MakeNode, way: Way) -> None:
    """Calls of one message that wait for each other all get through."""
    barrier = threading.Barrier(3, timeout=30)

    @tool
    def meet() -> str:
        """Wait for the others."""
        barrier.wait()
        return "met"

    assert way.answer(make_node([meet]), *[("meet", {})] * 3) == [
        ToolMessage("met", name="meet", tool_call_id=str(n)) for n in (1, 2, 3)
    ]


def test_coroutines_run_in_parallel(make_node: MakeNode, ask: Ask, graph_of: Any) -> None:
    """The same for coroutine tools on one event loop."""

    async def run() -> Any:
        barrier = asyncio.Barrier(3)

        @tool
        async def meet() -> str:
            """Wait for the others."""
            async with asyncio.timeout(30):
                await barrier.wait()
            return "met"

        graph = graph_of(make_node([meet]))
        return await graph.ainvoke({"messages": [ask(*[("meet", {})] * 3)]})

    assert [message.content for message in asyncio.run(run())["messages"][1:]] == ["met"] * 3


def test_input_is_not_changed(make_node: MakeNode, mode: Mode, ask: Ask) -> None:
    """Neither the state nor its messages change under the caller's hands."""
    state = {"messages": [HumanMessage("hi"), ask(CALL, ("see", {}))], "foo": "bar"}
    before = copy.deepcopy(state)
    mode.bare(make_node([add, see]), state)
    assert state == before
