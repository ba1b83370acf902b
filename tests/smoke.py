"""What an installed wheel must be able to do, in an environment with nothing but it."""

from __future__ import annotations

import asyncio

from langchain_core.messages import AIMessage, HumanMessage
from langchain_core.tools import tool
from langgraph.graph import START, MessagesState, StateGraph

from langchain_asyncfc import AsyncFCToolNode, Effects, tools_condition
from langchain_asyncfc.testing import ScriptedChatModel, assert_valid_history, call


@tool
async def slow(seconds: float) -> str:
    """Take time."""
    await asyncio.sleep(seconds)
    return "slept"


def main() -> None:
    """Run one turn with one future."""
    node = AsyncFCToolNode([slow], effects={"slow": Effects()})
    model = ScriptedChatModel.replies(
        [AIMessage("", tool_calls=[call("slow", seconds=0.1)]), "early", "done"]
    ).bind_tools(node.model_tools)

    async def agent(state: MessagesState) -> dict[str, object]:
        return {"messages": [await model.ainvoke(state["messages"])]}

    builder = StateGraph(MessagesState)
    builder.add_node("agent", agent)
    builder.add_node("tools", node)
    builder.add_edge(START, "agent")
    builder.add_conditional_edges("agent", tools_condition)
    builder.add_edge("tools", "agent")
    result = asyncio.run(builder.compile().ainvoke({"messages": [HumanMessage("go")]}))
    assert_valid_history(result["messages"])
    assert [m.text for m in result["messages"]][2::3] == ["slept", "done"], result
    print("smoke: ok")


main()
