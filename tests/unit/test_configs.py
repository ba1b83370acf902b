"""What is read from the config that LangGraph gives a task."""

from __future__ import annotations

from typing import Any

import pytest
from langchain_core.runnables import RunnableLambda
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.errors import GraphInterrupt
from langgraph.graph import START, MessagesState, StateGraph
from langgraph.types import Command, interrupt

from langchain_asyncfc.configs import graph_that_asked, namespace


def _inner() -> Any:
    def ask(state: Any) -> Any:
        interrupt("inner?")
        return {}

    builder = StateGraph(MessagesState)
    builder.add_node("ask", ask)
    builder.add_edge(START, "ask")
    return builder.compile()


@pytest.mark.parametrize("answered", [0, 1, 2])
@pytest.mark.parametrize("by_graph", [False, True], ids=["itself", "graph"])
def test_who_has_asked(answered: int, by_graph: bool) -> None:
    """Whether a tool asks by itself or a graph that it runs, however often it was answered."""
    found: list[tuple[str | None, str]] = []
    inner = _inner()

    def node(state: Any, config: Any) -> Any:
        try:
            for number in range(answered + 1):
                if number == answered and by_graph:
                    inner.invoke({"messages": []}, config)
                interrupt(number)
        except GraphInterrupt as asked:
            found.append((graph_that_asked(asked, config), namespace(config)))
            raise
        return {}

    builder = StateGraph(MessagesState)
    builder.add_node("node", RunnableLambda(node))
    builder.add_edge(START, "node")
    graph = builder.compile(checkpointer=InMemorySaver())
    config = {"configurable": {"thread_id": "t"}}
    graph.invoke({"messages": []}, config)
    for _ in range(answered):
        graph.invoke(Command(resume="yes"), config)
    where, here = found[-1]
    assert where == (here if by_graph else None)
