"""The public names as a user writes them; checked by mypy in strict mode, never run."""

from __future__ import annotations

from typing import assert_type

from langchain_core.language_models import BaseChatModel
from langchain_core.tools import BaseTool, tool
from langgraph.graph import START, MessagesState, StateGraph
from langgraph.prebuilt import ToolNode

from langchain_asyncfc import (
    AsyncFCToolNode,
    Effects,
    asyncfc_instructions,
    effects,
    tools_condition,
)
from langchain_asyncfc.executors import Executor
from langchain_asyncfc.testing import ManualExecutor, ScriptedChatModel, assert_valid_history


@effects(reads="fs:{path}", idempotent=True)
@tool
def read_file(path: str) -> str:
    """Read a file."""
    return path


@effects(reads=("db:users", "db:groups"))
def plain(x: int) -> int:
    """Add one."""
    return x + 1


assert_type(plain(1), int)
assert_type(asyncfc_instructions(), str)

executor: Executor = ManualExecutor()
node = AsyncFCToolNode(
    [read_file, plain],
    handle_tool_errors=True,
    effects={"plain": Effects()},
    grace=0.0,
    delivery="append",
    on_final="settle",
    timeout={"plain": 3.0},
    max_concurrency=4,
    executor=executor,
)
as_tool_node: ToolNode = node
assert_type(node.model_tools, list[BaseTool])

model: BaseChatModel = ScriptedChatModel.replies(["done"])
bound = model.bind_tools(node.model_tools)


async def agent(state: MessagesState) -> dict[str, object]:
    """Call the model."""
    assert_valid_history(state["messages"], for_model_call=True)
    return {"messages": [await bound.ainvoke(state["messages"])]}


builder = StateGraph(MessagesState)
builder.add_node("agent", agent)
builder.add_node("tools", node)
builder.add_edge(START, "agent")
builder.add_conditional_edges("agent", tools_condition)
builder.add_conditional_edges("tools", node.review_condition("agent"))
