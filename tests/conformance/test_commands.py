"""Tools that return commands.

| statement of `ToolNode` | test |
|---|---|
| a command is answered as `[Command]`; its answer gets the tool's name | `test_command_alone` |
| the tool's own command object is left as it was | `test_command_is_copied` |
| commands and messages: a list, in call order, messages in the input's form | \
`test_commands_and_messages`, `test_commands_and_messages_of_a_message_list` |
| a list update for a message list | `test_list_update` |
| a dict update is refused for a message list, a list update for a state | \
`test_update_of_the_wrong_form` |
| direct tool calls take a dict update | `test_dict_update_for_direct_tool_calls` |
| a command for this graph needs the call's answer | `test_answer_is_required` |
| a command without an update stays as it is | `test_command_without_update` |
| a command for the parent needs no answer | `test_parent_command_needs_no_answer` |
| removing all messages needs no answer | `test_removal_of_all_messages` |
| messages in dict form are understood | `test_messages_in_dict_form` |
| `messages_key` is the key of the update too | `test_custom_messages_key` |
| parent commands with `Send`s become one, at the end | `test_parent_sends_are_combined` |
| other parent commands stay apart | `test_other_parent_commands_stay_apart` |
| a list of commands and messages from one tool | `test_list_from_one_tool` |
| such a list needs exactly one answer, wherever it is | `test_list_needs_one_answer` |
| in a graph: state updates and goto apply | `test_update_and_goto_in_a_graph` |
| in a graph: updates of several commands go through the reducers in call order | \
`test_updates_apply_in_call_order` |
| in a subgraph: a parent command navigates the parent | `test_parent_goto_in_a_graph`, \
`test_parent_sends_in_a_graph` |
"""

from __future__ import annotations

import operator
from typing import TYPE_CHECKING, Annotated, Any

import pytest
from langchain_core.messages import HumanMessage, RemoveMessage, ToolMessage
from langchain_core.tools import InjectedToolCallId, tool
from langgraph.graph import END, START, MessagesState, StateGraph
from langgraph.graph.message import REMOVE_ALL_MESSAGES
from langgraph.types import Command, Send

if TYPE_CHECKING:
    from tests.conformance.conftest import Ask, MakeNode, Mode


@tool
def add(a: int, b: int) -> int:
    """Add two numbers."""
    return a + b


ADD = ("add", {"a": 1, "b": 2})
FOO_UPDATE = {"foo": "bar", "messages": [ToolMessage("done", tool_call_id="1")]}
NAMED_UPDATE = {"foo": "bar", "messages": [ToolMessage("done", tool_call_id="1", name="give")]}


def _giving(value: Any, name: str = "give") -> Any:
    @tool(name)
    def give() -> Any:
        """Give the value."""
        return value

    return give


def test_command_alone(make_node: MakeNode, mode: Mode, ask: Ask) -> None:
    """The output is a list with the command, whose answer bears the tool's name."""
    node = make_node([_giving(Command(update=FOO_UPDATE, goto="next"))])
    assert mode.bare(node, {"messages": [ask(("give", {}))]}) == [
        Command(update=NAMED_UPDATE, goto="next")
    ]


def test_command_is_copied(make_node: MakeNode, mode: Mode, ask: Ask) -> None:
    """What the tool keeps of its command is not changed."""
    command: Any = Command(update={"messages": [ToolMessage("done", tool_call_id="1")]})
    mode.bare(make_node([_giving(command)]), {"messages": [ask(("give", {}))]})
    assert command == Command(update={"messages": [ToolMessage("done", tool_call_id="1")]})


def test_commands_and_messages(make_node: MakeNode, mode: Mode, ask: Ask) -> None:
    """Messages are wrapped one by one as updates of the state."""
    node = make_node([add, _giving(Command(update=FOO_UPDATE))])
    message = ask(("give", {}), ADD, ADD)
    assert mode.bare(node, {"messages": [message]}) == [
        Command(update=NAMED_UPDATE),
        {"messages": [ToolMessage("3", name="add", tool_call_id="2")]},
        {"messages": [ToolMessage("3", name="add", tool_call_id="3")]},
    ]


def test_commands_and_messages_of_a_message_list(make_node: MakeNode, mode: Mode, ask: Ask) -> None:
    """For a message list, each message is wrapped in a list."""
    update = [ToolMessage("done", tool_call_id="2")]
    node = make_node([add, _giving(Command(update=update))])
    assert mode.bare(node, [ask(ADD, ("give", {}))]) == [
        [ToolMessage("3", name="add", tool_call_id="1")],
        Command(update=[ToolMessage("done", tool_call_id="2", name="give")]),
    ]


def test_list_update(make_node: MakeNode, mode: Mode, ask: Ask) -> None:
    """Other messages of the update are left alone."""
    update = [HumanMessage("hi"), ToolMessage("done", tool_call_id="1")]
    assert mode.bare(make_node([_giving(Command(update=update))]), [ask(("give", {}))]) == [
        Command(update=[HumanMessage("hi"), ToolMessage("done", tool_call_id="1", name="give")])
    ]


@pytest.mark.parametrize("given_list", [True, False])
def test_update_of_the_wrong_form(
    make_node: MakeNode, mode: Mode, ask: Ask, given_list: bool
) -> None:
    """The update has to be of the input's form; if not, it is the tool's error."""
    message = ask(("give", {}))
    update: Any = {"foo": 1} if given_list else [ToolMessage("done", tool_call_id="1")]
    value: Any = [message] if given_list else {"messages": [message]}
    text = (
        "Tools can provide a dict in Command.update only when using dict with 'messages' key as "
        f"ToolNode input, got: {update} for tool 'give'"
        if given_list
        else "Tools can provide a list of messages in Command.update only when using list of "
        f"messages as ToolNode input, got: {update} for tool 'give'"
    )
    tools = [_giving(Command(update=update))]
    with pytest.raises(ValueError) as raised:
        mode.bare(make_node(tools), value)
    assert str(raised.value) == text
    output = mode.bare(make_node(tools, handle_tool_errors=True), value)
    [answer] = output if given_list else output["messages"]
    assert answer.status == "error"
    assert answer.content == f"Error: {ValueError(text)!r}\n Please fix your mistakes."


def test_dict_update_for_direct_tool_calls(make_node: MakeNode, mode: Mode) -> None:
    """Direct tool calls count as state input."""
    node = make_node([_giving(Command(update=FOO_UPDATE))])
    call = {"name": "give", "args": {}, "id": "1", "type": "tool_call"}
    assert mode.bare(node, [call]) == [Command(update=NAMED_UPDATE)]


@pytest.mark.parametrize(
    "update", [{"foo": 1}, {}, {"messages": [ToolMessage("done", tool_call_id="other")]}]
)
def test_answer_is_required(make_node: MakeNode, mode: Mode, ask: Ask, update: Any) -> None:
    """Each call has to be answered by a message."""
    node = make_node([_giving(Command(update=update))])
    with pytest.raises(
        ValueError,
        match=r"^Expected to have a matching ToolMessage in Command.update for tool 'give'",
    ):
        mode.bare(node, {"messages": [ask(("give", {}))]})


@pytest.mark.parametrize("command", [Command(goto="next"), Command(), Command(resume=1)])
def test_command_without_update(make_node: MakeNode, mode: Mode, ask: Ask, command: Any) -> None:
    """Nothing is required of it, nothing changed."""
    output = mode.bare(make_node([_giving(command)]), {"messages": [ask(("give", {}))]})
    assert output == [command]


def test_parent_command_needs_no_answer(make_node: MakeNode, mode: Mode, ask: Ask) -> None:
    """What the parent's state needs is not this graph's business."""
    command: Any = Command(graph=Command.PARENT, update={"foo": 1}, goto="elsewhere")
    output = mode.bare(make_node([_giving(command)]), {"messages": [ask(("give", {}))]})
    assert output == [command]


def test_removal_of_all_messages(make_node: MakeNode, mode: Mode, ask: Ask) -> None:
    """Without messages there is nothing to answer."""
    command: Any = Command(update={"messages": [RemoveMessage(id=REMOVE_ALL_MESSAGES)]})
    output = mode.bare(make_node([_giving(command)]), {"messages": [ask(("give", {}))]})
    assert output == [command]


def test_messages_in_dict_form(make_node: MakeNode, mode: Mode, ask: Ask) -> None:
    """The check reads messages in any form; the update keeps the form it had."""
    raw = {"role": "tool", "content": "done", "tool_call_id": "1"}
    command: Any = Command(update={"messages": [raw]})
    output = mode.bare(make_node([_giving(command)]), {"messages": [ask(("give", {}))]})
    assert output == [command]


def test_custom_messages_key(make_node: MakeNode, mode: Mode, ask: Ask) -> None:
    """The answer is looked for, and put, under the node's key."""
    update = {"history": [ToolMessage("done", tool_call_id="1")]}
    node = make_node([add, _giving(Command(update=update))], messages_key="history")
    assert mode.bare(node, {"history": [ask(("give", {}), ADD)]}) == [
        Command(update={"history": [ToolMessage("done", tool_call_id="1", name="give")]}),
        {"history": [ToolMessage("3", name="add", tool_call_id="2")]},
    ]


def test_parent_sends_are_combined(make_node: MakeNode, mode: Mode, ask: Ask) -> None:
    """One command for the parent with all `Send`s, in call order, after all else."""
    first, second, third = (Send("worker", {"n": n}) for n in (1, 2, 3))
    node = make_node(
        [
            _giving(Command(graph=Command.PARENT, goto=[first, second], update={"foo": 1}), "one"),
            _giving(Command(graph=Command.PARENT, goto=[third]), "two"),
            add,
        ]
    )
    assert mode.bare(node, {"messages": [ask(("one", {}), ADD, ("two", {}))]}) == [
        {"messages": [ToolMessage("3", name="add", tool_call_id="2")]},
        Command(graph=Command.PARENT, goto=[first, second, third]),
    ]


def test_other_parent_commands_stay_apart(make_node: MakeNode, mode: Mode, ask: Ask) -> None:
    """A goto by name, or with names among the `Send`s, is not combined."""
    named = Command(graph=Command.PARENT, goto="worker")
    mixed = Command(graph=Command.PARENT, goto=[Send("worker", 1), "worker"])
    here: Any = Command(goto=[Send("worker", 2)])
    node = make_node([_giving(named, "one"), _giving(mixed, "two"), _giving(here, "three")])
    message = ask(("one", {}), ("two", {}), ("three", {}))
    assert mode.bare(node, {"messages": [message]}) == [named, mixed, here]


def test_list_from_one_tool(make_node: MakeNode, mode: Mode, ask: Ask) -> None:
    """The list is laid out flat, in its place among the other calls."""
    several: Any = [
        Command(update={"foo": "bar"}),
        ToolMessage("done", tool_call_id="1"),
        Command(goto="next"),
    ]
    node = make_node([add, _giving(several)])
    assert mode.bare(node, {"messages": [ask(("give", {}), ADD)]}) == [
        Command(update={"foo": "bar"}),
        {"messages": [ToolMessage("done", tool_call_id="1")]},
        Command(goto="next"),
        {"messages": [ToolMessage("3", name="add", tool_call_id="2")]},
    ]


def test_list_needs_one_answer(make_node: MakeNode, mode: Mode, ask: Ask) -> None:
    """The answer may stand in a command of the list, but only once in all."""
    inside: Any = Command(update=FOO_UPDATE)
    value = {"messages": [ask(("give", {}))]}
    assert mode.bare(make_node([_giving([inside, Command(goto="next")])]), value) == [
        Command(update=NAMED_UPDATE),
        Command(goto="next"),
    ]
    several: Any
    for several in ([inside, inside], [inside, ToolMessage("m", tool_call_id="1")], [Command()]):
        with pytest.raises(ValueError, match="expected exactly one terminating ToolMessage"):
            mode.bare(make_node([_giving(several)]), value)


class LogState(MessagesState, total=False):
    """Messages, a value and a log."""

    foo: str
    log: Annotated[list[str], operator.add]


@tool
def note(text: str, tool_call_id: Annotated[str, InjectedToolCallId], goto: Any = ()) -> Command:
    """Log a text."""
    answer = ToolMessage(f"noted {text}", tool_call_id=tool_call_id)
    return Command(update={"log": [text], "foo": text, "messages": [answer]}, goto=goto)


def _log_graph(node: Any) -> Any:
    builder = StateGraph(LogState)
    builder.add_node("tools", node)
    builder.add_node("next", lambda state: {"log": ["next"]})
    builder.add_edge(START, "tools")
    return builder.compile()


def test_update_and_goto_in_a_graph(make_node: MakeNode, mode: Mode, ask: Ask) -> None:
    """The update is applied before the next node runs."""
    message = ask(("note", {"text": "a", "goto": "next"}))
    final = mode.call(_log_graph(make_node([note])), {"messages": [message]})
    assert final["log"] == ["a", "next"]
    assert final["foo"] == "a"
    assert [(m.content, m.name) for m in final["messages"][1:]] == [("noted a", "note")]


def test_updates_apply_in_call_order(make_node: MakeNode, mode: Mode, ask: Ask) -> None:
    """Reducers see the updates of commands and the messages in call order."""

    @tool
    def log(text: str, tool_call_id: Annotated[str, InjectedToolCallId]) -> Command:
        """Log a text, and nothing else."""
        answer = ToolMessage(f"logged {text}", tool_call_id=tool_call_id)
        return Command(update={"log": [text], "messages": [answer]})

    message = ask(("log", {"text": "a"}), ADD, ("log", {"text": "b"}))
    final = mode.call(_log_graph(make_node([log, add])), {"messages": [message]})
    assert final["log"] == ["a", "b"]
    assert [m.content for m in final["messages"][1:]] == ["logged a", "3", "logged b"]


def _nested_graph(node: Any) -> Any:
    """A graph whose subgraph is the node alone."""
    child = StateGraph(LogState)
    child.add_node("tools", node)
    child.add_edge(START, "tools")
    parent = StateGraph(LogState)
    parent.add_node("child", child.compile())
    parent.add_node("worker", lambda state: {"log": [f"worked on {state.get('item')}"]})
    parent.add_edge(START, "child")
    parent.add_edge("worker", END)
    return parent.compile()


def test_parent_goto_in_a_graph(make_node: MakeNode, mode: Mode, ask: Ask) -> None:
    """A tool in a subgraph updates and navigates the parent graph."""
    answer = ToolMessage("handed over", tool_call_id="1")
    command: Any = Command(graph=Command.PARENT, goto="worker", update={"messages": [answer]})
    graph = _nested_graph(make_node([_giving(command)]))
    final = mode.call(graph, {"messages": [ask(("give", {}))]})
    assert final["log"] == ["worked on None"]
    assert [m.content for m in final["messages"]] == ["", "handed over"]


def test_parent_sends_in_a_graph(make_node: MakeNode, mode: Mode, ask: Ask) -> None:
    """`Send`s of several calls all reach the parent graph."""

    @tool
    def send(item: int) -> Command:
        """Send an item to a worker."""
        return Command(graph=Command.PARENT, goto=[Send("worker", {"item": item})])

    graph = _nested_graph(make_node([send]))
    message = ask(*[("send", {"item": n}) for n in (1, 2, 3)])
    final = mode.call(graph, {"messages": [message]})
    assert final["log"] == ["worked on 1", "worked on 2", "worked on 3"]
