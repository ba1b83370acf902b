"""Arguments that the system gives to a tool, and the model never sees.

| statement of `ToolNode` | test |
|---|---|
| `InjectedState`: the whole state | `test_whole_state`, `test_whole_state_object` |
| ... a field of it | `test_field_of_the_state`, `test_field_of_a_state_object` |
| ... several in one tool, beside the model's arguments | `test_several_fields` |
| ... annotation as class or instance, inside of `Optional` | `test_spellings` |
| ... field that is missing: `KeyError`, `AttributeError` | `test_missing_field` |
| ... unless the argument has a default | `test_missing_field_with_a_default` |
| ... the error is raised, whatever `handle_tool_errors` says | `test_missing_field` |
| ... message list: as the messages of a state | `test_message_list_as_state` |
| ... message list without the field: an error that names it | `test_message_list_lacks_fields` |
| ... the docstring's example | `test_docstring_example` |
| ... custom `messages_key` | `test_message_list_under_a_custom_key` |
| `InjectedStore`: the graph's store | `test_store` |
| ... without a store: an error that says so | `test_no_store` |
| `InjectedToolCallId` | `test_tool_call_id` |
| what the model gives for injected arguments is dropped | `test_forged_arguments` |
| ... also for a bare `InjectedToolArg` | `test_forged_plain_injected_argument` |
| injected arguments are not in the model's schema | `test_not_in_the_schema` |
| the call itself is not changed | `test_call_is_not_changed` |
| injected twice: an error at construction | `test_injected_twice` |
"""

from __future__ import annotations

import copy
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Annotated, Any

import pytest
from langchain_core.messages import AnyMessage, ToolMessage
from langchain_core.tools import InjectedToolArg, InjectedToolCallId, tool
from langgraph.prebuilt import InjectedState, InjectedStore
from langgraph.store.base import BaseStore
from langgraph.store.memory import InMemoryStore
from pydantic import BaseModel
from typing_extensions import TypedDict

if TYPE_CHECKING:
    from tests.conformance.conftest import Ask, MakeNode, Mode, Way


class AgentState(TypedDict):
    """The state of the docstring's example."""

    messages: list[AnyMessage]
    foo: str


class ModelState(BaseModel):
    """State as a pydantic model."""

    messages: list[AnyMessage] = []
    foo: str = "model"


@dataclass
class DataState:
    """State as a dataclass."""

    messages: list[AnyMessage] = field(default_factory=list)
    foo: str = "data"


@tool
def whole(x: int, state: Annotated[Any, InjectedState]) -> str:
    """Look at the whole state."""
    if isinstance(state, dict):
        return f"{x} {state.get('foo')} {len(state['messages'])}"
    return f"{x} {type(state).__name__} {state.foo}"


@tool
def foo_of(x: int, foo: Annotated[str, InjectedState("foo")]) -> str:
    """Look at a field of the state."""
    return f"{x} {foo}"


def _text(way_or_answers: Any) -> list[Any]:
    return [message.content for message in way_or_answers]


def test_whole_state(make_node: MakeNode, way: Way) -> None:
    """The tool gets the state as the node got it."""
    answers = way.answer(make_node([whole]), ("whole", {"x": 1}), state={"foo": "bar"})
    assert _text(answers) == ["1 bar 2"]


@pytest.mark.parametrize("schema", [ModelState, DataState])
def test_whole_state_object(make_node: MakeNode, mode: Mode, ask: Ask, schema: Any) -> None:
    """A state object is injected as it is."""
    value = schema(messages=[ask(("whole", {"x": 1}))])
    output = mode.bare(make_node([whole]), value)
    assert _text(output["messages"]) == [f"1 {schema.__name__} {value.foo}"]


def test_field_of_the_state(make_node: MakeNode, way: Way) -> None:
    """The tool gets the field."""
    answers = way.answer(make_node([foo_of]), ("foo_of", {"x": 1}), state={"foo": "bar"})
    assert _text(answers) == ["1 bar"]


@pytest.mark.parametrize("schema", [ModelState, DataState])
def test_field_of_a_state_object(make_node: MakeNode, mode: Mode, ask: Ask, schema: Any) -> None:
    """A field of an object is its attribute."""
    value = schema(messages=[ask(("foo_of", {"x": 1}))])
    assert _text(mode.bare(make_node([foo_of]), value)["messages"]) == [f"1 {value.foo}"]


def test_several_fields(make_node: MakeNode, way: Way) -> None:
    """Injected arguments of all kinds stand beside the model's."""

    @tool
    def mixed(
        x: int,
        foo: Annotated[str, InjectedState("foo")],
        messages: Annotated[list, InjectedState("messages")],
        state: Annotated[dict, InjectedState()],
        store: Annotated[Any, InjectedStore()],
        call_id: Annotated[str, InjectedToolCallId],
        y: int = 5,
    ) -> str:
        """Take everything."""
        return f"{x} {y} {foo} {len(messages)} {sorted(state)} {store is not None} {call_id}"

    answers = way.answer(
        make_node([mixed]), ("mixed", {"x": 1}), state={"foo": "bar"}, store=InMemoryStore()
    )
    assert _text(answers) == ["1 5 bar 2 ['foo', 'messages'] True 1"]


def test_spellings(make_node: MakeNode, way: Way) -> None:
    """The annotation may be a class or an instance, and stand in a union."""

    @tool
    def spelt(
        a: Annotated[dict, InjectedState],
        b: Annotated[dict, InjectedState()],
        c: Annotated[str | None, InjectedState("foo")],
    ) -> str:
        """Take it in several spellings."""
        return f"{a['foo']} {b['foo']} {c}"

    answers = way.answer(make_node([spelt]), ("spelt", {}), state={"foo": "bar"})
    assert _text(answers) == ["bar bar bar"]


@pytest.mark.parametrize("setting", [True, False, "Sorry."])
def test_missing_field(
    make_node: MakeNode, mode: Mode, ask: Ask, graph_of: Any, setting: Any
) -> None:
    """A field that the state lacks is a mistake in the program, not the model's."""

    @tool
    def need(bar: Annotated[str, InjectedState("missing")]) -> str:
        """Need a field."""
        return bar

    node = make_node([need], handle_tool_errors=setting)
    message = ask(("need", {}))
    with pytest.raises(KeyError, match="missing"):
        mode.bare(node, {"messages": [message]})
    with pytest.raises(KeyError, match="missing"):
        mode.call(graph_of(node), {"messages": [message]})
    with pytest.raises(AttributeError, match="missing"):
        mode.bare(node, ModelState(messages=[message]))


def test_missing_field_with_a_default(make_node: MakeNode, mode: Mode, way: Way, ask: Ask) -> None:
    """The default stands in for a field that the state lacks."""

    @tool
    def may(
        here: Annotated[str | None, InjectedState("foo")] = None,
        gone: Annotated[str | None, InjectedState("missing")] = "default",
    ) -> str:
        """Use a field if there is one."""
        return f"{here} {gone}"

    node = make_node([may])
    assert _text(way.answer(node, ("may", {}), state={"foo": "bar"})) == ["bar default"]
    output = mode.bare(node, ModelState(messages=[ask(("may", {}))]))
    assert _text(output["messages"]) == ["model default"]


def test_message_list_as_state(make_node: MakeNode, mode: Mode, ask: Ask) -> None:
    """A message list is injected as a state with that list, or as its messages field."""

    @tool
    def count(messages: Annotated[list, InjectedState("messages")]) -> str:
        """Count the messages."""
        return str(len(messages))

    node = make_node([whole, count])
    message = ask(("whole", {"x": 1}), ("count", {}))
    assert _text(mode.bare(node, [message])) == ["1 None 1", "1"]


def test_message_list_under_a_custom_key(make_node: MakeNode, mode: Mode, ask: Ask) -> None:
    """The node's key names the list."""

    @tool
    def keys(state: Annotated[dict, InjectedState]) -> str:
        """Tell the keys."""
        return str(list(state))

    node = make_node([keys], messages_key="history")
    assert _text(mode.bare(node, [ask(("keys", {}))])) == ["['history']"]


def test_message_list_lacks_fields(make_node: MakeNode, mode: Mode, ask: Ask) -> None:
    """Other fields can't come from a message list."""
    with pytest.raises(ValueError) as raised:
        mode.bare(make_node([foo_of], handle_tool_errors=True), [ask(("foo_of", {"x": 1}))])
    assert str(raised.value) == (
        "Invalid input to ToolNode. Tool foo_of requires graph state dict as input."
        " State should contain fields foo."
    )


def test_docstring_example(make_node: MakeNode, mode: Mode) -> None:
    """The example of `InjectedState` gives what it says."""

    @tool
    def state_tool(x: int, state: Annotated[dict, InjectedState]) -> str:
        """Do something with state."""
        return state["foo"] + str(x) if len(state["messages"]) > 2 else "not enough messages"

    @tool
    def foo_tool(x: int, foo: Annotated[str, InjectedState("foo")]) -> str:
        """Do something else with state."""
        return foo + str(x + 1)

    call1 = {"name": "state_tool", "args": {"x": 1}, "id": "1", "type": "tool_call"}
    call2 = {"name": "foo_tool", "args": {"x": 1}, "id": "2", "type": "tool_call"}
    state = {
        "__type": "tool_call_with_context",
        "state": {"messages": [], "foo": "bar"},
    }
    node = make_node([state_tool, foo_tool])
    answers = [
        mode.bare(node, {**state, "tool_call": call})["messages"][0] for call in (call1, call2)
    ]
    assert answers == [
        ToolMessage("not enough messages", name="state_tool", tool_call_id="1"),
        ToolMessage("bar2", name="foo_tool", tool_call_id="2"),
    ]


@tool
def remember(key: str, store: Annotated[BaseStore, InjectedStore()]) -> str:
    """Remember a key."""
    known = store.get(("keys",), key)
    store.put(("keys",), key, {"n": 1})
    return "known" if known else "new"


def test_store(make_node: MakeNode, way: Way) -> None:
    """The tool works on the graph's store, which outlives the run."""
    store = InMemoryStore()
    node = make_node([remember])
    assert _text(way.answer(node, ("remember", {"key": "a"}), store=store)) == ["new"]
    assert _text(way.answer(node, ("remember", {"key": "a"}), store=store)) == ["known"]
    assert [item.key for item in store.search(("keys",))] == ["a"]


@pytest.mark.parametrize("setting", [True, False])
def test_no_store(make_node: MakeNode, way: Way, setting: bool) -> None:
    """A store that is not there is a mistake in the program, not the model's."""
    with pytest.raises(ValueError) as raised:
        way.answer(make_node([remember], handle_tool_errors=setting), ("remember", {"key": "a"}))
    assert str(raised.value) == (
        "Cannot inject store into tools with InjectedStore annotations - "
        "please compile your graph with a store."
    )


def test_tool_call_id(make_node: MakeNode, way: Way) -> None:
    """Each call gets its own id."""

    @tool
    def who(tool_call_id: Annotated[str, InjectedToolCallId]) -> str:
        """Tell the id."""
        return tool_call_id

    assert _text(way.answer(make_node([who]), ("who", {}), ("who", {}))) == ["1", "2"]


def test_forged_arguments(make_node: MakeNode, way: Way) -> None:
    """The system's values win over what the model gives under their names."""

    @tool
    def guarded(
        state: Annotated[dict, InjectedState],
        foo: Annotated[str, InjectedState("foo")],
        store: Annotated[Any, InjectedStore()],
        tool_call_id: Annotated[str, InjectedToolCallId],
        gone: Annotated[str | None, InjectedState("missing")] = None,
    ) -> str:
        """Trust the arguments."""
        return f"{state['foo']} {foo} {type(store).__name__} {tool_call_id} {gone}"

    forged = dict.fromkeys(["state", "foo", "store", "tool_call_id", "gone"], "forged")
    answers = way.answer(
        make_node([guarded]), ("guarded", forged), state={"foo": "bar"}, store=InMemoryStore()
    )
    assert _text(answers) == ["bar bar InMemoryStore 1 None"]


def test_forged_plain_injected_argument(make_node: MakeNode, way: Way) -> None:
    """An injected argument that the node knows no source for can't be given by the model."""

    @tool
    def admin(user: Annotated[str, InjectedToolArg] = "nobody") -> str:
        """Act as the user."""
        return user

    assert _text(way.answer(make_node([admin]), ("admin", {"user": "root"}))) == ["nobody"]


def test_not_in_the_schema(make_node: MakeNode) -> None:
    """The model's schema has only the model's arguments."""
    schema: Any = make_node([whole]).tools_by_name["whole"].tool_call_schema
    assert list(schema.model_json_schema()["properties"]) == ["x"]


def test_call_is_not_changed(make_node: MakeNode, mode: Mode, ask: Ask) -> None:
    """What is injected stays out of the message."""
    message = ask(("whole", {"x": 1, "state": "forged"}))
    before = copy.deepcopy(message)
    mode.bare(make_node([whole]), {"messages": [message]})
    assert message == before


def test_injected_twice(make_node: MakeNode) -> None:
    """One argument can't have two sources of one kind."""

    @tool
    def torn(foo: Annotated[str, InjectedState("foo"), InjectedState("bar")]) -> str:
        """Take one of two."""
        return foo

    with pytest.raises(ValueError, match="should not be annotated with InjectedState more than"):
        make_node([torn])
