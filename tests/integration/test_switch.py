"""Futures can be turned off for a run."""

from __future__ import annotations

import asyncio
from typing import Any

from langchain_core.messages import AIMessage, HumanMessage, ToolMessage
from langchain_core.tools import tool
from langgraph.graph import START, MessagesState, StateGraph

from langchain_asyncfc import AsyncFCToolNode, Effects, tools_condition
from langchain_asyncfc.testing import ScriptedChatModel, call, in_virtual_time


@tool
async def slow(seconds: float) -> str:
    """Take time."""
    await asyncio.sleep(seconds)
    return f"{seconds} s"


@in_virtual_time
async def test_a_run_with_futures_turned_off_waits_for_each_message() -> None:
    """With `asyncfc: False` a step answers as `ToolNode` does; the next run has futures again."""

    def reply(messages: list[Any]) -> AIMessage:
        asked = [m for m in messages if isinstance(m, AIMessage)]
        return (
            AIMessage("", tool_calls=[call("slow", seconds=3)]) if not asked else AIMessage("done")
        )

    model = ScriptedChatModel(policy=reply)

    async def agent(state: MessagesState) -> dict[str, Any]:
        return {"messages": [await model.ainvoke(state["messages"])]}

    builder = StateGraph(MessagesState)
    builder.add_node("agent", agent)
    builder.add_node("tools", AsyncFCToolNode([slow], effects={"slow": Effects()}))
    builder.add_edge(START, "agent")
    builder.add_conditional_edges("agent", tools_condition)
    builder.add_edge("tools", "agent")
    graph = builder.compile()
    go = {"messages": [HumanMessage("go")]}
    off = await graph.ainvoke(go, {"configurable": {"asyncfc": False}})
    on = await graph.ainvoke(go)
    [answer] = [m for m in off["messages"] if isinstance(m, ToolMessage)]
    assert (answer.text, answer.additional_kwargs) == ("3.0 s", {})
    assert len(off["messages"]) == 4
    assert any("asyncfc" in m.additional_kwargs for m in on["messages"])
