"""Detached calls of a process that is gone, in the next one (rules 13, 22 and 27)."""

from __future__ import annotations

import asyncio

import pytest
from langchain_core.messages import AIMessage, BaseMessage, ToolMessage
from langchain_core.tools import tool
from langgraph.checkpoint.memory import InMemorySaver

from langchain_asyncfc import effects
from langchain_asyncfc.testing import call, run_virtual
from tests.integration.reliability.faces import FACES, Agent, Face, go, on


@pytest.mark.parametrize("name", FACES)
def test_a_turn_does_not_wait_for_what_runs_again(name: str) -> None:
    """The next turn begins a call of an earlier process again, and ends at once as it would have.

    The model is told once that it still runs; a later turn has its value.
    """
    saver = InMemorySaver()

    def agent() -> Agent:
        @effects()
        @tool
        async def slow() -> str:
            """Take long."""
            await asyncio.sleep(1000)
            return "slow"

        def policy(messages: list[BaseMessage]) -> AIMessage | str:
            if len(messages) == 1:
                return AIMessage("", tool_calls=[call("slow", "c1")])
            return "bye"

        face = Face(name)  # type: ignore[arg-type]
        return face.build([slow], policy, checkpointer=saver, on_final="detach", grace=0)

    async def talk() -> tuple[float, int, list[BaseMessage]]:
        loop = asyncio.get_running_loop()
        first, second = agent(), agent()
        await first.graph.ainvoke(go(), on("t"))
        await first.owner.aclose()
        began = loop.time()
        await second.graph.ainvoke(go("again"), on("t"))
        took, asked = loop.time() - began, len(second.model.calls)
        await asyncio.sleep(1001)
        final = await second.graph.ainvoke(go("and now"), on("t"))
        await second.owner.aclose()
        return took, asked, final["messages"]

    took, asked, messages = run_virtual(talk())
    assert took == 0
    assert asked == 2
    assert [m.text for m in messages if isinstance(m, ToolMessage) and m.name == "slow"] == ["slow"]
