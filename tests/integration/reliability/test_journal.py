"""What a run leaves in the journal: nothing, if it has ended; else what must not start again."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterable
from typing import Any

import pytest
from langchain.agents import create_agent
from langchain_core.messages import AIMessage, BaseMessage
from langchain_core.tools import StructuredTool
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.store.memory import InMemoryStore

from langchain_asyncfc import AsyncFCMiddleware, AsyncFCToolNode, Effects, tools_condition
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


# -- a process that is killed ----------------------------------------------------------------------


class Stop(Exception):
    """Ends a run in the place of its process."""


class Saver(InMemorySaver):
    """A checkpointer whose process is killed when it has saved the model's calls, and no more."""

    killed = False
    mortal = True

    def put(self, config: Any, checkpoint: Any, *rest: Any) -> Any:
        """Save a checkpoint, if the process lives."""
        if self.killed:
            return config
        messages = checkpoint["channel_values"].get("messages", [])
        self.killed = self.mortal and bool(batches(messages))
        return super().put(config, checkpoint, *rest)

    def put_writes(self, *args: Any, **kwargs: Any) -> None:
        """Save what a task wrote, if the process lives."""
        if not self.killed:
            super().put_writes(*args, **kwargs)


class Store(InMemoryStore):
    """A store that takes its time, so that whoever does not wait for it goes ahead."""

    def __init__(self, paid: threading.Event) -> None:
        super().__init__()
        self.killed = False
        self._paid = paid

    def batch(self, ops: Iterable[Any]) -> list[Any]:
        """Read and write, if the process lives."""
        found = [] if self.killed else super().batch(ops)
        self._paid.wait(0.05)
        return found

    async def abatch(self, ops: Iterable[Any]) -> list[Any]:
        """Read and write, if the process lives."""
        found = [] if self.killed else await super().abatch(ops)
        await asyncio.sleep(1)
        return found


@pytest.mark.parametrize("is_async", [True, False], ids=["async", "sync"])
def test_no_call_starts_before_the_journal_was_read(is_async: bool) -> None:
    """Each call comes to a task of its own, and none goes ahead while another one still reads.

    The checkpoint from which the run goes on is that of the model, so that the step of the tools
    is not its first.
    """
    lab, saver, paid = Lab(), Saver(), threading.Event()
    store = Store(paid)
    calls = [call("look", "c1", x=1), call("pay", "c2"), call("look", "c3", x=3)]

    def policy(messages: list[BaseMessage]) -> AIMessage | str:
        return "done" if batches(messages) else AIMessage("", id="calls", tool_calls=calls)

    def pay() -> str:
        """Pay."""
        lab.ran.append((lab.era, "pay", 2))
        if lab.era == "first":
            store.killed = True
            raise Stop
        paid.set()
        return "paid"

    async def apay() -> str:
        return pay()

    agent = create_agent(
        ScriptedChatModel(policy=policy),
        [lab.tool("look", does=Effects()), StructuredTool.from_function(pay, apay)],
        middleware=[AsyncFCMiddleware(grace=60, instructions="")],
        checkpointer=saver,
        store=store,
    )

    def run(value: Any) -> list[BaseMessage]:
        if is_async:
            return run_virtual(agent.ainvoke(value, on("t")))["messages"]
        return agent.invoke(value, on("t"))["messages"]

    with pytest.raises(Stop):
        run(go())
    assert agent.get_state(on("t")).next == ("AsyncFCMiddleware.after_model",)
    saver.mortal = saver.killed = store.killed = False
    lab.begin("second")
    messages = run(None)
    assert "pay may or may not have taken effect" in everything(messages)
    assert "look(1)" in everything(messages)
    assert "look(3)" in everything(messages)
    assert messages[-1].text == "done"
    assert ("pay", 2) not in lab.ran_in("second")
