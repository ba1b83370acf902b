"""A model that gives one id to several calls of a message. `ToolNode` runs each; so do futures."""

from __future__ import annotations

import threading
from typing import Any

import pytest
from langchain.agents import create_agent
from langchain_core.messages import AIMessage, HumanMessage, ToolCall, ToolMessage
from langchain_core.tools import tool
from langgraph.prebuilt import ToolNode
from langgraph.prebuilt import tools_condition as plain_condition

from langchain_asyncfc import AsyncFCMiddleware, AsyncFCToolNode, tools_condition
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
