"""The graph, the same for both tool nodes, and the model behind it."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from langchain.chat_models import init_chat_model
from langchain_core.messages import AIMessage, BaseMessage, HumanMessage, SystemMessage
from langchain_openai import ChatOpenAI
from langgraph.graph import END, START, MessagesState, StateGraph
from langgraph.graph.state import CompiledStateGraph

if TYPE_CHECKING:
    from langchain_core.language_models import BaseChatModel
    from langchain_core.runnables import Runnable
    from langgraph.prebuilt import ToolNode

Agent = CompiledStateGraph[MessagesState, None, MessagesState, MessagesState]
Condition = Callable[[Any], str]

OPENAI_MODEL = "gpt-4.1"
"""The model when only `OPENAI_API_KEY` is set; `--model openai:NAME` takes another."""

INSTRUCTIONS = """\
You repair Python projects with the tools that you have. Find the cause of each failure in the \
code and fix it there with the smallest edit; never change a test. Work on one test file after \
the other. Run a test file again after each fix for it. Before you answer, look at the diff."""


def task(test_files: Sequence[str]) -> HumanMessage:
    """Return what the user asks for."""
    listed = "\n".join(f"- {path}" for path in test_files)
    return HumanMessage(f"CI is red. These test files fail, please repair the code:\n{listed}")


def chat_openai(**options: Any) -> BaseChatModel:
    """Return a `ChatOpenAI`; unless told otherwise it streams chat completions with usage."""
    streams = {"streaming": True, "stream_usage": True, "use_responses_api": False}
    return ChatOpenAI(**{**streams, **options})


def named_model(name: str | None) -> BaseChatModel | None:
    """Return the real model to use, or `None` for the embedded one.

    Args:
        name: `provider:name` as `langchain.chat_models.init_chat_model` takes it, `embedded`, or
            `None`: OpenAI's if `OPENAI_API_KEY` is set, else the embedded one.
    """
    if name == "embedded" or (name is None and not os.environ.get("OPENAI_API_KEY")):
        return None
    if name is None:
        return chat_openai(model=OPENAI_MODEL)
    return init_chat_model(name)


def build(
    model: Runnable[Any, AIMessage], node: ToolNode, condition: Condition, instructions: str
) -> Agent:
    """Return the agent: a model node, a tools node, and a condition between them.

    Args:
        model: The model with its tools bound.
        node: `ToolNode` or `AsyncFCToolNode`.
        condition: The `tools_condition` that belongs to the node.
        instructions: The system prompt.
    """

    async def agent(state: MessagesState) -> dict[str, list[BaseMessage]]:
        prompt = [SystemMessage(instructions), *state["messages"]]
        return {"messages": [await model.ainvoke(prompt)]}

    graph = StateGraph(MessagesState)
    graph.add_node("agent", agent)
    graph.add_node("tools", node)
    graph.add_edge(START, "agent")
    graph.add_conditional_edges("agent", condition, ["tools", END])
    graph.add_edge("tools", "agent")
    return graph.compile()
