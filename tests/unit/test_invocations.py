"""Calls of one step share a request until they run; then each has its own."""

from __future__ import annotations

from typing import Any

from langchain_core.messages import ToolCall, ToolMessage
from langchain_core.tools import tool
from langgraph.prebuilt import ToolRuntime
from langgraph.prebuilt.tool_node import ToolCallRequest

from langchain_asyncfc.futures import FutureState
from langchain_asyncfc.invocations import Invocation, changed
from langchain_asyncfc.recording import Recording


@tool
def first() -> str:
    """Do the one thing."""
    return "first"


@tool
def second() -> str:
    """Do the other."""
    return "second"


def _call(name: str, call_id: str) -> ToolCall:
    return ToolCall(name=name, args={}, id=call_id, type="tool_call")


def _shared(seen: list[ToolCallRequest], wrapper: Any = None) -> Invocation:
    """What runs the call of `first` that `ToolNode` made a request for."""
    runtime: Any = ToolRuntime({}, None, {"configurable": {"a": 1}}, print, "c1", None)
    request = ToolCallRequest(_call("first", "c1"), first, {}, runtime)

    def execute(asked: ToolCallRequest) -> Any:
        seen.append(asked)
        assert asked.tool is not None
        return asked.tool.invoke({**asked.tool_call, "type": "tool_call"}, asked.runtime.config)

    return Invocation(request, execute, wrapper, False, tool=first)


def test_a_call_runs_as_itself_with_the_request_of_another() -> None:
    """A call that shares a request runs its own tool, under its own id and in its own config."""
    seen: list[ToolCallRequest] = []
    shared = _shared(seen)
    own = shared.of(second).within({"configurable": {"a": 2}})
    outcome = own.run(_call("second", "c2"), Recording(lambda: 0.0))
    assert outcome.state is FutureState.RESOLVED
    assert (outcome.value, outcome.result.tool_call_id) == ("second", "c2")
    assert seen[0].tool_call["id"] == seen[0].runtime.tool_call_id == "c2"
    assert seen[0].runtime.config == {"configurable": {"a": 2}}


def test_a_shared_request_is_left_as_it_is() -> None:
    """Running one call changes nothing for those that share its request."""
    shared = _shared([])
    shared.of(second).within({}).run(_call("second", "c2"), Recording(lambda: 0.0))
    request = shared.request
    assert (request.tool_call["id"], request.runtime.tool_call_id) == ("c1", "c1")
    assert request.tool is first
    assert request.runtime.config == {"configurable": {"a": 1}}


def test_a_wrapper_sees_the_tool_itself() -> None:
    """A wrapper gets the call's own tool, and not what notes what that returns."""
    seen: list[Any] = []

    def wrap(request: ToolCallRequest, execute: Any) -> Any:
        seen.append((request.tool, request.tool_call["id"]))
        return execute(request)

    outcome = _shared([], wrap).of(second).run(_call("second", "c2"), Recording(lambda: 0.0))
    assert seen == [(second, "c2")]
    assert isinstance(outcome.result, ToolMessage)


def test_an_error_in_a_wrapper_answers_the_call_itself() -> None:
    """What a wrapper raises is handled under the id of the call that ran."""

    def wrap(request: ToolCallRequest, execute: Any) -> Any:
        msg = "no"
        raise ValueError(msg)

    invocation = _shared([], wrap)
    handled = Invocation(
        invocation.request, invocation.execute, wrap, handle_tool_errors=True, tool=second
    )
    outcome = handled.run(_call("second", "c2"), Recording(lambda: 0.0))
    assert outcome.state is FutureState.FAILED
    assert (outcome.result.name, outcome.result.tool_call_id) == ("second", "c2")


def test_a_changed_copy_leaves_the_original() -> None:
    """A copy has the changes and shares everything else; the original stays as it was."""
    request = _shared([]).request
    copied = changed(request, tool=second)
    assert (copied.tool, copied.runtime) == (second, request.runtime)
    assert request.tool is first
    assert type(copied) is ToolCallRequest
