"""`wrap_tool_call` and `awrap_tool_call`: functions around each call.

| statement of `ToolNode` | test |
|---|---|
| passthrough: as without a wrapper | `test_passthrough` |
| `request`: call, tool, state and runtime, the very objects | `test_request`, \
`test_request_of_a_message_list` |
| ... `tool` is `None` for an unregistered tool | `test_unregistered_tool` |
| ... `override` gives a new request, the old one stays | `test_override` |
| ... `override(tool_call=)` changes arguments or the tool to run | `test_changed_arguments`, \
`test_changed_id`, `test_changed_name_alone` |
| ... `override(tool=)` runs a tool that the node doesn't have | `test_dynamic_tool`, \
`test_dynamic_tool_replaces_a_registered_one` |
| ... setting an attribute warns | `test_setting_an_attribute_warns` |
| `execute` may be called again: retries | `test_retry` |
| ... or not at all: cache, refusal | `test_short_circuit` |
| ... for an unregistered tool: the usual error | `test_unregistered_tool` |
| ... answers handled errors, raises others into the wrapper | \
`test_wrapper_errors.py` |
| the result is the answer: message or command, or a list from the tool | \
`test_changed_answer`, `test_command`, `test_list_of_the_tool` |
| each call is wrapped on its own | `test_each_call` |
| injection happens inside of the wrapper | `test_wrapper_sees_no_injected_arguments` |
| async runs prefer `awrap_tool_call`, fall back on `wrap_tool_call` | \
`test_choice_of_the_wrapper`, `test_async_wrapper_alone` |
| sync runs have no use for `awrap_tool_call` | `test_async_wrapper_in_a_sync_run` |
| the wrapper's own error | `test_wrapper_errors.py` |
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import pytest
from langchain_core.messages import ToolMessage
from langchain_core.tools import tool
from langgraph.prebuilt import InjectedState, ToolRuntime
from langgraph.prebuilt.tool_node import ToolCallRequest
from langgraph.types import Command

if TYPE_CHECKING:
    from tests.conformance.conftest import Ask, MakeNode, Mode, Way, Wrapped


@tool
def add(a: int, b: int) -> int:
    """Add two numbers."""
    return a + b


ADD = ("add", {"a": 1, "b": 2})
THREE = ToolMessage("3", name="add", tool_call_id="1")


def test_passthrough(wrapped: Wrapped, way: Way) -> None:
    """A wrapper that only executes changes nothing."""

    def steps(request: Any) -> Any:
        return (yield request)

    assert way.answer(wrapped([add], steps), ADD, ADD) == [
        THREE,
        ToolMessage("3", name="add", tool_call_id="2"),
    ]


def test_request(wrapped: Wrapped, way: Way) -> None:
    """The request tells all about the call, the tool as the object that was given."""
    seen: list[ToolCallRequest] = []

    def steps(request: Any) -> Any:
        seen.append(request)
        return (yield request)

    way.answer(wrapped([add], steps), ADD, state={"foo": "bar"})
    [request] = seen
    assert isinstance(request, ToolCallRequest)
    assert request.tool_call == {"name": "add", "args": ADD[1], "id": "1", "type": "tool_call"}
    assert request.tool is add
    assert request.state["foo"] == "bar"
    assert request.runtime.state is request.state
    assert isinstance(request.runtime, ToolRuntime)
    assert request.runtime.tool_call_id == "1"
    assert request.runtime.tools == [add]


def test_request_of_a_message_list(wrapped: Wrapped, mode: Mode, ask: Ask) -> None:
    """The state is the input as it was given."""
    seen: list[Any] = []

    def steps(request: Any) -> Any:
        seen.append(request.state)
        return (yield request)

    messages = [ask(ADD)]
    assert mode.bare(wrapped([add], steps), messages) == [THREE]
    assert seen == [messages]


def test_override(wrapped: Wrapped, way: Way) -> None:
    """An override leaves the request alone, and can change the state that tools see."""
    kept: list[bool] = []

    @tool
    def see(foo: Annotated[str, InjectedState("foo")]) -> str:
        """Tell foo."""
        return foo

    def steps(request: Any) -> Any:
        changed = request.override(state={**request.state, "foo": "changed"})
        kept.append(changed is not request and request.state["foo"] == "bar")
        return (yield changed)

    answers = way.answer(wrapped([see], steps), ("see", {}), state={"foo": "bar"})
    # Tools are injected from the request's runtime, which an override of `state` leaves alone.
    assert [message.content for message in answers] == ["bar"]
    assert kept == [True]


def test_changed_arguments(wrapped: Wrapped, way: Way) -> None:
    """The tool runs with the arguments of the request that is executed."""

    def steps(request: Any) -> Any:
        args = {**request.tool_call["args"], "b": 10}
        return (yield request.override(tool_call={**request.tool_call, "args": args}))

    assert way.answer(wrapped([add], steps), ADD) == [
        ToolMessage("11", name="add", tool_call_id="1")
    ]


def test_changed_id(wrapped: Wrapped, way: Way) -> None:
    """So it does with the id."""

    def steps(request: Any) -> Any:
        return (yield request.override(tool_call={**request.tool_call, "id": "changed"}))

    assert way.answer(wrapped([add], steps), ADD) == [
        ToolMessage("3", name="add", tool_call_id="changed")
    ]


def test_changed_name_alone(wrapped: Wrapped, way: Way) -> None:
    """A tool is chosen by the request's tool, not by the name in its call."""

    def steps(request: Any) -> Any:
        return (yield request.override(tool_call={**request.tool_call, "name": "other"}))

    assert way.answer(wrapped([add], steps), ADD) == [THREE]


@tool
def dynamic(x: int, foo: Annotated[str, InjectedState("foo")]) -> str:
    """A tool that the node is not given."""
    return f"{x} {foo}"


def test_dynamic_tool(wrapped: Wrapped, way: Way) -> None:
    """A tool that comes with the request runs, injected arguments and all."""

    def steps(request: Any) -> Any:
        return (yield request.override(tool=dynamic))

    answers = way.answer(
        wrapped([add], steps), ("dynamic", {"x": 1, "foo": "forged"}), state={"foo": "bar"}
    )
    assert answers == [ToolMessage("1 bar", name="dynamic", tool_call_id="1")]


def test_dynamic_tool_replaces_a_registered_one(wrapped: Wrapped, way: Way) -> None:
    """The request's tool also wins over the registered one of that name."""

    @tool("add")
    def better_add(a: int, b: int) -> str:
        """Add better."""
        return f"exactly {a + b}"

    def steps(request: Any) -> Any:
        return (yield request.override(tool=better_add))

    assert way.answer(wrapped([add], steps), ADD) == [
        ToolMessage("exactly 3", name="add", tool_call_id="1")
    ]


def test_unregistered_tool(wrapped: Wrapped, way: Way) -> None:
    """A wrapper may answer for a tool that is not there; executing is the usual error."""

    def steps(request: Any) -> Any:
        assert request.tool is None
        if request.tool_call["args"].get("answer"):
            return ToolMessage("answered", tool_call_id=request.tool_call["id"])
        return (yield request)

    assert way.answer(wrapped([add], steps), ("ghost", {"answer": True}), ("ghost", {})) == [
        ToolMessage("answered", tool_call_id="1"),
        ToolMessage(
            "Error: ghost is not a valid tool, try one of [add].",
            name="ghost",
            tool_call_id="2",
            status="error",
        ),
    ]


def test_setting_an_attribute_warns(wrapped: Wrapped, way: Way) -> None:
    """Changing a request in place still works, with a warning."""

    def steps(request: Any) -> Any:
        with pytest.warns(DeprecationWarning, match="Setting attribute 'tool_call'"):
            request.tool_call = {**request.tool_call, "args": {"a": 5, "b": 5}}
        return (yield request)

    assert way.answer(wrapped([add], steps), ADD)[0].content == "10"


def test_retry(wrapped: Wrapped, way: Way) -> None:
    """Executing again runs the tool again."""
    runs: list[int] = []

    @tool
    def flaky() -> str:
        """Fail twice."""
        runs.append(1)
        if len(runs) < 3:
            raise ConnectionError("try again")
        return "there"

    def steps(request: Any) -> Any:
        for _ in range(5):
            answer = yield request
            if answer.status != "error":
                return answer
        return None

    node = wrapped([flaky], steps, handle_tool_errors=True)
    assert way.answer(node, ("flaky", {})) == [ToolMessage("there", name="flaky", tool_call_id="1")]
    assert len(runs) == 3


def test_short_circuit(wrapped: Wrapped, way: Way) -> None:
    """A wrapper that doesn't execute answers without the tool."""
    ran: list[int] = []

    @tool
    def act() -> str:
        """Act."""
        ran.append(1)
        return "acted"

    def steps(request: Any) -> Any:
        return ToolMessage("cached", tool_call_id=request.tool_call["id"], artifact="a")
        yield request

    assert way.answer(wrapped([act], steps), ("act", {})) == [
        ToolMessage("cached", tool_call_id="1", artifact="a")
    ]
    assert ran == []


def test_changed_answer(wrapped: Wrapped, way: Way) -> None:
    """What the wrapper returns is the answer, unchecked."""

    def steps(request: Any) -> Any:
        answer = yield request
        return answer.model_copy(update={"content": ["not", "converted"], "name": "renamed"})

    assert way.answer(wrapped([add], steps), ADD) == [
        ToolMessage(["not", "converted"], name="renamed", tool_call_id="1")
    ]


def test_command(wrapped: Wrapped, mode: Mode, ask: Ask) -> None:
    """A command in place of a message is answered as a tool's command is."""

    def steps(request: Any) -> Any:
        answer = yield request
        return Command(update={"messages": [answer], "foo": "bar"})

    assert mode.bare(wrapped([add], steps), {"messages": [ask(ADD)]}) == [
        Command(update={"messages": [THREE], "foo": "bar"})
    ]


def test_list_of_the_tool(wrapped: Wrapped, mode: Mode, ask: Ask) -> None:
    """A tool's list of commands and messages passes through."""
    several = [Command(update={"foo": "bar"}), ToolMessage("done", tool_call_id="1")]

    @tool
    def give() -> Any:
        """Give several."""
        return several

    def steps(request: Any) -> Any:
        answer = yield request
        assert answer == several
        return answer

    assert mode.bare(wrapped([give], steps), {"messages": [ask(("give", {}))]}) == [
        Command(update={"foo": "bar"}),
        {"messages": [ToolMessage("done", tool_call_id="1")]},
    ]


def test_each_call(wrapped: Wrapped, way: Way) -> None:
    """The wrapper is called once for each call, and answers keep their order."""
    seen: list[str] = []

    def steps(request: Any) -> Any:
        seen.append(request.tool_call["id"])
        if request.tool_call["id"] == "2":
            return ToolMessage("second", tool_call_id="2")
        return (yield request)

    answers = way.answer(wrapped([add], steps), ADD, ADD, ADD)
    assert [message.content for message in answers] == ["3", "second", "3"]
    assert sorted(seen) == ["1", "2", "3"]


def test_wrapper_sees_no_injected_arguments(wrapped: Wrapped, way: Way) -> None:
    """The request has the model's arguments, the answer is of the injected ones."""
    seen: list[Any] = []

    def steps(request: Any) -> Any:
        seen.append(request.tool_call["args"])
        return (yield request)

    answers = way.answer(wrapped([dynamic], steps), ("dynamic", {"x": 1}), state={"foo": "bar"})
    assert [message.content for message in answers] == ["1 bar"]
    assert seen == [{"x": 1}]


def test_choice_of_the_wrapper(make_node: MakeNode, way: Way) -> None:
    """Sync runs use the sync wrapper, async runs the async one."""

    def sync_wrapper(request: Any, execute: Any) -> Any:
        return execute(request).model_copy(update={"name": "sync"})

    async def async_wrapper(request: Any, execute: Any) -> Any:
        return (await execute(request)).model_copy(update={"name": "async"})

    node = make_node([add], wrap_tool_call=sync_wrapper, awrap_tool_call=async_wrapper)
    assert [message.name for message in way.answer(node, ADD)] == [way.mode.name]


def test_async_wrapper_alone(make_node: MakeNode, async_way: Way) -> None:
    """No sync wrapper is needed for async runs."""

    async def async_wrapper(request: Any, execute: Any) -> Any:
        return (await execute(request)).model_copy(update={"name": "async"})

    node = make_node([add], awrap_tool_call=async_wrapper)
    assert [message.name for message in async_way.answer(node, ADD)] == ["async"]


def test_async_wrapper_in_a_sync_run(make_node: MakeNode, ask: Ask, graph_of: Any) -> None:
    """There is no loop to await it on: calls run unwrapped."""

    async def async_wrapper(request: Any, execute: Any) -> Any:
        raise AssertionError("not to be called")

    graph = graph_of(make_node([add], awrap_tool_call=async_wrapper))
    assert graph.invoke({"messages": [ask(ADD)]})["messages"][-1].content == "3"
