"""Pauses and other control flow that leaves a tool as an exception.

| statement of `ToolNode` | test |
|---|---|
| `interrupt()` in a tool stops the run; resuming answers the call | `test_interrupt_and_resume` |
| ... with two interrupts in one tool | `test_two_interrupts_in_one_tool` |
| ... whatever `handle_tool_errors` says | `test_interrupt_and_resume` |
| ... through a wrapper | `test_interrupt_through_a_wrapper` |
| ... of a graph that a tool runs | `test_interrupt_of_a_graph_in_a_tool` |
| a resume value that doesn't fit its schema fails the run and can be given again | \
`test_invalid_resume`, `test_invalid_resume_through_a_wrapper` |
| a graph that pauses before the node, and one whose calls are edited there | \
`test_pause_before_the_node`, `test_edit_before_the_node` |
| every `GraphBubbleUp` is raised outside of a graph | `test_bubble_up_of_a_bare_node` |
| a command for the parent of a graph that a tool runs | \
`test_parent_command_of_a_graph_in_a_tool` |
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from langchain_core.messages import ToolMessage
from langchain_core.tools import tool
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.errors import GraphBubbleUp, GraphInterrupt
from langgraph.graph import START, MessagesState, StateGraph
from langgraph.types import Command, interrupt
from pydantic import BaseModel, ValidationError

if TYPE_CHECKING:
    from tests.conformance.conftest import Ask, MakeNode, Mode, Wrapped

CONFIG = {"configurable": {"thread_id": "t"}}


@tool
def approve(what: str) -> str:
    """Ask for approval."""
    return f"{what}: {interrupt({'approve': what})}"


APPROVE = ("approve", {"what": "lunch"})
APPROVED = ToolMessage("lunch: yes", name="approve", tool_call_id="1")


def _check_pause_and_resume(mode: Mode, graph: Any, message: Any, without_ids: Any) -> None:
    """Runs into the interrupt, resumes with "yes" and compares the answer."""
    paused = mode.call(graph, {"messages": [message]}, CONFIG)
    assert [each.value for each in paused["__interrupt__"]] == [{"approve": "lunch"}]
    assert [m.type for m in paused["messages"]] == ["ai"]
    final = mode.call(graph, Command(resume="yes"), CONFIG)
    assert without_ids(final["messages"][1:]) == [APPROVED]
    assert "__interrupt__" not in final


@pytest.mark.parametrize("options", [{}, {"handle_tool_errors": True}, {"handle_tool_errors": ""}])
def test_interrupt_and_resume(
    make_node: MakeNode, mode: Mode, ask: Ask, graph_of: Any, without_ids: Any, options: Any
) -> None:
    """An interrupt is no error: the run pauses, and goes on with the value it is given."""
    graph = graph_of(make_node([approve], **options), checkpointer=InMemorySaver())
    _check_pause_and_resume(mode, graph, ask(APPROVE), without_ids)


def test_interrupt_through_a_wrapper(
    wrapped: Wrapped, mode: Mode, ask: Ask, graph_of: Any, without_ids: Any
) -> None:
    """A wrapper's error handling leaves interrupts alone."""

    def steps(request: Any) -> Any:
        return (yield request)

    node = wrapped([approve], steps, handle_tool_errors=True)
    graph = graph_of(node, checkpointer=InMemorySaver())
    _check_pause_and_resume(mode, graph, ask(APPROVE), without_ids)


def test_two_interrupts_in_one_tool(
    make_node: MakeNode, mode: Mode, ask: Ask, graph_of: Any
) -> None:
    """A tool may ask again; it runs from its start each time."""

    @tool
    def ask_twice() -> str:
        """Ask twice."""
        return f"{interrupt('first')} {interrupt('second')}"

    graph = graph_of(make_node([ask_twice]), checkpointer=InMemorySaver())
    paused = mode.call(graph, {"messages": [ask(("ask_twice", {}))]}, CONFIG)
    assert [each.value for each in paused["__interrupt__"]] == ["first"]
    paused = mode.call(graph, Command(resume="a"), CONFIG)
    assert [each.value for each in paused["__interrupt__"]] == ["second"]
    final = mode.call(graph, Command(resume="b"), CONFIG)
    assert [m.content for m in final["messages"]] == ["", "a b"]


def test_interrupt_of_a_graph_in_a_tool(
    make_node: MakeNode, mode: Mode, ask: Ask, graph_of: Any
) -> None:
    """A graph called by a tool pauses the graph that the tool is in."""

    def question(state: MessagesState) -> dict[str, Any]:
        return {"messages": [("ai", interrupt("inner question"))]}

    inner = StateGraph(MessagesState)
    inner.add_node("question", question)
    inner.add_edge(START, "question")
    compiled = inner.compile()

    @tool
    def delegate() -> str:
        """Run a graph."""
        return str(compiled.invoke({"messages": []})["messages"][-1].content)

    graph = graph_of(make_node([delegate], handle_tool_errors=True), checkpointer=InMemorySaver())
    paused = mode.call(graph, {"messages": [ask(("delegate", {}))]}, CONFIG)
    assert [each.value for each in paused["__interrupt__"]] == ["inner question"]
    final = mode.call(graph, Command(resume="an answer"), CONFIG)
    assert [m.content for m in final["messages"]] == ["", "an answer"]


class Decision(BaseModel):
    """What a human is asked for."""

    yes: bool


@pytest.mark.parametrize("options", [{}, {"handle_tool_errors": True}])
def test_invalid_resume(
    make_node: MakeNode, mode: Mode, ask: Ask, graph_of: Any, options: Any
) -> None:
    """The human's mistake is not the model's: the run fails, and can be resumed again."""

    @tool
    def decide() -> str:
        """Ask for a decision."""
        return f"decided {interrupt('well?', response_schema=Decision).yes}"

    graph = graph_of(make_node([decide], **options), checkpointer=InMemorySaver())
    mode.call(graph, {"messages": [ask(("decide", {}))]}, CONFIG)
    with pytest.raises(ValidationError):
        mode.call(graph, Command(resume={"yes": "perhaps"}), CONFIG)
    final = mode.call(graph, Command(resume={"yes": True}), CONFIG)
    assert [m.content for m in final["messages"]] == ["", "decided True"]


def test_invalid_resume_through_a_wrapper(
    wrapped: Wrapped, mode: Mode, ask: Ask, graph_of: Any
) -> None:
    """The same with a wrapper, whose errors are handled as well."""

    @tool
    def decide() -> str:
        """Ask for a decision."""
        return f"decided {interrupt('well?', response_schema=Decision).yes}"

    def steps(request: Any) -> Any:
        return (yield request)

    node = wrapped([decide], steps, handle_tool_errors=True)
    graph = graph_of(node, checkpointer=InMemorySaver())
    mode.call(graph, {"messages": [ask(("decide", {}))]}, CONFIG)
    with pytest.raises(ValidationError):
        mode.call(graph, Command(resume={"yes": "perhaps"}), CONFIG)
    final = mode.call(graph, Command(resume={"yes": True}), CONFIG)
    assert [m.content for m in final["messages"]] == ["", "decided True"]


@pytest.mark.parametrize("error", [GraphBubbleUp(), GraphInterrupt()])
@pytest.mark.parametrize("setting", [True, "Sorry.", Exception])
def test_bubble_up_of_a_bare_node(
    make_node: MakeNode, mode: Mode, ask: Ask, error: GraphBubbleUp, setting: Any
) -> None:
    """No setting keeps LangGraph's control flow in."""

    @tool
    def bubble() -> str:
        """Leave."""
        raise error

    with pytest.raises(type(error)):
        mode.bare(make_node([bubble], handle_tool_errors=setting), [ask(("bubble", {}))])


def test_parent_command_of_a_graph_in_a_tool(
    make_node: MakeNode, mode: Mode, ask: Ask, graph_of: Any
) -> None:
    """A graph called by a tool reaches past the tool into the graph that it is in."""

    def hand_over(state: MessagesState) -> Command:
        answer = ToolMessage("handed over", tool_call_id="1")
        return Command(graph=Command.PARENT, update={"messages": [answer]})

    inner = StateGraph(MessagesState)
    inner.add_node("hand_over", hand_over)
    inner.add_edge(START, "hand_over")
    compiled = inner.compile()

    @tool
    def delegate() -> str:
        """Run a graph."""
        compiled.invoke({"messages": []})
        return "not reached"

    final = mode.call(
        graph_of(make_node([delegate], handle_tool_errors=True)),
        {"messages": [ask(("delegate", {}))]},
    )
    assert [m.content for m in final["messages"]] == ["", "handed over"]


@tool
def double(x: int) -> int:
    """Double a number."""
    return 2 * x


def _paused_before(make_node: MakeNode, mode: Mode, message: Any) -> Any:
    builder = StateGraph(MessagesState)
    builder.add_node("tools", make_node([double]))
    builder.add_edge(START, "tools")
    graph = builder.compile(checkpointer=InMemorySaver(), interrupt_before=["tools"])
    paused = mode.call(graph, {"messages": [message]}, CONFIG)
    assert [m.type for m in paused["messages"]] == ["ai"]
    return graph


def test_pause_before_the_node(make_node: MakeNode, mode: Mode, ask: Ask) -> None:
    """Nothing has run before the pause, and all runs after it."""
    graph = _paused_before(make_node, mode, ask(("double", {"x": 1}), ("double", {"x": 2})))
    assert [m.content for m in mode.call(graph, None, CONFIG)["messages"]] == ["", "2", "4"]


def test_edit_before_the_node(make_node: MakeNode, mode: Mode, ask: Ask) -> None:
    """A human may rewrite the calls of a paused graph; the new ones are run."""
    message = ask(("double", {"x": 1})).model_copy(update={"id": "m"})
    graph = _paused_before(make_node, mode, message)
    edited = ask(("double", {"x": 5})).model_copy(update={"id": "m"})
    graph.update_state(CONFIG, {"messages": [edited]})
    final = mode.call(graph, None, CONFIG)
    assert [m.content for m in final["messages"]] == ["", "10"]
