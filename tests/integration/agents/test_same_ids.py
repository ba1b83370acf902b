"""A model that gives one id to several calls of a message. `ToolNode` runs each; so do futures."""

from __future__ import annotations

import threading
from typing import Any

import pytest
from langchain.agents import create_agent
from langchain_core.messages import AIMessage, HumanMessage, ToolCall, ToolMessage
from langchain_core.tools import tool
from langgraph.graph import END
from langgraph.prebuilt import ToolNode
from langgraph.prebuilt import tools_condition as plain_condition
from langgraph.types import Send

from langchain_asyncfc import AsyncFCMiddleware, AsyncFCToolNode, effects, tools_condition
from langchain_asyncfc.testing import ScriptedChatModel, run_virtual
from tests.integration.reliability.faces import loop

SAME = [{"x": "a"}, {"x": "a"}]
OTHER = [{"x": "a"}, {"x": "b"}]


def _messages(face: str, script: list[Any], tools: list[Any], *, is_async: bool) -> list[Any]:
    model = ScriptedChatModel.replies(script)
    if face == "middleware":
        graph: Any = create_agent(model, tools, middleware=[AsyncFCMiddleware()])
    else:
        node = AsyncFCToolNode(tools) if face == "node" else ToolNode(tools)
        condition = tools_condition if face == "node" else plain_condition
        builder = loop(model, node, condition)
        builder.add_edge("tools", "agent")
        graph = builder.compile()
    begin = {"messages": [HumanMessage("go")]}
    final = run_virtual(graph.ainvoke(begin)) if is_async else graph.invoke(begin)
    return list(final["messages"])


@pytest.mark.parametrize("is_async", [False, True], ids=["invoke", "ainvoke"])
@pytest.mark.parametrize("wanted", [False, "all"], ids=["", "all"])
@pytest.mark.parametrize("args", [SAME, OTHER], ids=["same-arguments", "other-arguments"])
@pytest.mark.parametrize("face", ["node", "middleware"])
def test_each_call_is_run_and_answered(
    face: str, args: list[dict[str, Any]], wanted: bool | str, is_async: bool
) -> None:
    """Each comes to its own end, as with `ToolNode`, also where it comes in a task of its own."""
    ran: list[str] = []
    lock = threading.Lock()

    @tool
    def work(x: str) -> str:
        """Work."""
        with lock:
            ran.append(x)
        return f"done {x}"

    def script(flag: dict[str, Any]) -> list[Any]:
        calls = [ToolCall(name="work", args={**a, **flag}, id="c", type="tool_call") for a in args]
        return [AIMessage("", tool_calls=calls), "Done."]

    expected = _messages("ToolNode", script({}), [work], is_async=is_async)
    as_before, ran[:] = sorted(ran), []
    flag = {"await_result": wanted} if wanted else {}
    messages = _messages(face, script(flag), [work], is_async=is_async)
    assert sorted(ran) == as_before
    told = sorted(m.text for m in messages if isinstance(m, ToolMessage))
    assert told == sorted(m.text for m in expected if isinstance(m, ToolMessage))
    assert messages[-1].text == "Done."


@pytest.mark.parametrize("args", [SAME, OTHER], ids=["same-arguments", "other-arguments"])
def test_tasks_come_in_another_order(args: list[dict[str, Any]]) -> None:
    """Each brings a call of its own, and the calls keep their numbers and their turns."""
    ran: list[str] = []

    @effects(writes="db:")
    @tool
    async def work(x: str) -> str:
        """Work."""
        ran.append(x)
        return f"done {x}"

    def route(state: Any) -> Any:
        if tools_condition(state) == END:
            return END
        context = "tool_call_with_context"
        calls = state["messages"][-1].tool_calls
        return [
            Send("tools", {"__type": context, "tool_call": one, "state": state})
            for one in reversed(calls)
        ] or "tools"

    calls = [ToolCall(name="work", args=a, id="c", type="tool_call") for a in args]
    node = AsyncFCToolNode([work], grace=0)
    model = ScriptedChatModel.replies([AIMessage("", tool_calls=calls), "Early.", "Done."])
    builder = loop(model, node, route)
    builder.add_edge("tools", "agent")
    final = run_virtual(builder.compile().ainvoke({"messages": [HumanMessage("go")]}))
    expected = [a["x"] for a in args]
    assert ran == expected
    told = [m for m in final["messages"] if m.type == "tool" and m.tool_call_id == "c"]
    assert {m.additional_kwargs["asyncfc"]["future"]: m.text for m in told} == {
        f"future_{n}": f"done {x}" for n, x in enumerate(expected, 1)
    }
