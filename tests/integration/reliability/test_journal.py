"""What a run that has ended leaves in the journal: nothing that a later one could take."""

from __future__ import annotations

from typing import Any

from langchain_core.messages import AIMessage, BaseMessage
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.store.memory import InMemoryStore

from langchain_asyncfc import AsyncFCToolNode, tools_condition
from langchain_asyncfc.testing import ScriptedChatModel, call, run_virtual
from tests.integration.reliability.faces import (
    Lab,
    batches,
    everything,
    from_here,
    go,
    is_placeholder,
    loop,
    on,
)

JOURNAL = ("asyncfc",)


def graph(lab: Lab, store: InMemoryStore, kept: list[int]) -> Any:
    """An agent that pays in the background, and notes how much the journal holds meanwhile."""

    def policy(messages: list[BaseMessage]) -> AIMessage | str:
        if not batches(messages):
            return AIMessage("", id="calls", tool_calls=[call("pay", "c1", x=1)])
        kept.append(len(store.search(JOURNAL)))
        lab.gate.open()
        return "done"

    node = AsyncFCToolNode([lab.tool("pay", slow=True)], grace=0)
    model = ScriptedChatModel(policy=policy)
    builder = loop(model.bind_tools(node.model_tools), node, tools_condition)
    builder.add_conditional_edges("tools", node.review_condition("agent"), ["agent", "__end__"])
    return builder.compile(checkpointer=InMemorySaver(), store=store)


def test_nothing_is_left_when_a_run_has_ended() -> None:
    """Entries are removed, and a replay from before the call starts it again."""
    lab, store = Lab(), InMemoryStore()
    lab.begin("first", closed=True)
    kept: list[int] = []
    agent = graph(lab, store, kept)

    async def scene() -> None:
        final = await agent.ainvoke(go(), on("t"))
        assert "first pay(1)" in everything(final["messages"])
        assert kept[0] == 1  # it was noted before it started
        assert store.search(JOURNAL) == []

        states = [state async for state in agent.aget_state_history(on("t"))]
        assert any(is_placeholder(m) for s in states for m in s.values.get("messages", []))
        [before] = [s for s in states if s.next == ("tools",) and len(s.values["messages"]) == 2]
        lab.begin("second")
        final = await agent.ainvoke(None, from_here(before.config))
        assert "second pay(1)" in everything(final["messages"])
        assert "first" not in everything(final["messages"])
        assert store.search(JOURNAL) == []

    run_virtual(scene())
