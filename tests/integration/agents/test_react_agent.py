"""`create_react_agent(model, AsyncFCToolNode(...))`, with and without the node's review hook."""

from __future__ import annotations

import asyncio
import logging
from typing import Any

import pytest
from langchain_core.messages import AIMessage, HumanMessage, ToolMessage
from langchain_core.tools import tool
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.prebuilt import create_react_agent
from pydantic import BaseModel

from langchain_asyncfc import AsyncFCToolNode, effects
from langchain_asyncfc.records import read_thread
from langchain_asyncfc.testing import (
    ScriptedChatModel,
    assert_valid_history,
    call,
    in_virtual_time,
)

pytestmark = pytest.mark.filterwarnings("ignore:create_react_agent has been moved")

VERSIONS = pytest.mark.parametrize("version", ["v1", "v2"])
FORMS = pytest.mark.parametrize(
    ("version", "hooked"),
    # `create_react_agent` takes a `post_model_hook` in version 2 only.
    [("v1", False), ("v2", False), ("v2", True)],
    ids=["v1", "v2", "v2-hook"],
)
DELIVERIES = pytest.mark.parametrize("delivery", ["in_place", "append"])
THREAD = {"configurable": {"thread_id": "t"}}


class Weather(BaseModel):
    """The weather."""

    degrees: int


@effects()
@tool
async def slow(x: Any = None) -> str:
    """Take five seconds."""
    await asyncio.sleep(5)
    return f"slow {x}"


@effects()
@tool
async def fails(x: Any = None) -> str:
    """Fail late."""
    await asyncio.sleep(5)
    raise ValueError("broken")


@effects()
@tool(return_direct=True)
def direct(x: Any = None) -> str:
    """Answer the user."""
    return f"direct {x}"


def ask(*calls: Any, text: str = "") -> AIMessage:
    """The model's message that makes these calls."""
    return AIMessage(text, tool_calls=list(calls))


class Talk:
    """An agent in both forms."""

    def __init__(
        self,
        *replies: Any,
        hooked: bool = True,
        version: Any = "v2",
        options: dict[str, Any] | None = None,
        **node: Any,
    ) -> None:
        self.model = ScriptedChatModel.replies(replies, check_history=True)
        self.node = AsyncFCToolNode([slow, fails, direct], **node)
        self.agent = create_react_agent(
            self.model,
            self.node,
            version=version,
            post_model_hook=self.node.review_hook if hooked else None,
            **(options or {}),
        )

    async def run(self, config: Any = None) -> list[Any]:
        """The final messages, which are valid; no task is left."""
        final = await self.agent.ainvoke({"messages": [HumanMessage("go")]}, config)
        self.final = final
        assert_valid_history(final["messages"])
        assert not asyncio.all_tasks() - {asyncio.current_task()}
        return final["messages"]


def results(messages: list[Any]) -> list[str]:
    """The texts of the answers of tools."""
    kept = [m for m in messages if isinstance(m, ToolMessage) and m.name != "await_future"]
    return [m.text for m in kept]


@in_virtual_time
async def test_review_hook() -> None:
    """Turns overlap with tools; the premature answer is reviewed."""
    talk = Talk(ask(call("slow", x=1)), ask(call("slow", x="future_1")), "early", "done")
    messages = await talk.run()
    assert results(messages) == ["slow 1", "slow slow 1"]
    assert messages[-1].text == "done"
    assert not read_thread(messages).pending
    assert results(talk.model.calls[1])[0].startswith("future_1 is running")


@VERSIONS
@in_virtual_time
async def test_without_the_hook(version: str, caplog: pytest.LogCaptureFixture) -> None:
    """Every result is waited for, and a warning says why, once."""
    caplog.set_level(logging.WARNING)
    talk = Talk(
        ask(call("slow", x=1), call("slow", x=2)),
        ask(call("slow", x="future_1")),
        "done",
        hooked=False,
        version=version,
    )
    messages = await talk.run()
    assert results(messages) == ["slow 1", "slow 2", "slow slow 1"]
    assert "future" not in str([m.text for m in messages])
    assert [r for r in caplog.records if "review_hook" in r.getMessage()][1:] == []
    assert asyncio.get_running_loop().time() == pytest.approx(10)


@FORMS
@DELIVERIES
@in_virtual_time
async def test_several_turns(version: str, hooked: bool, delivery: str) -> None:
    """Calls in parallel, references in and between messages, waits, a cancellation."""
    talk = Talk(
        ask(call("slow", x=1), call("slow", x="future_1")),
        ask(call("slow", x=3), call("await_future", futures=["future_1"])),
        ask(call("slow", x="future_3"), call("slow", x=5, await_result=True)),
        "early",
        *(["done"] if hooked else []),
        hooked=hooked,
        version=version,
        delivery=delivery,
    )
    messages = await talk.run()
    everything = " ".join(m.text for m in messages)
    for text in ("slow 1", "slow slow 1", "slow 3", "slow slow 3", "slow 5"):
        assert text in everything


DELIVERERS = {
    "a call and what awaits": ask(call("slow", x=2, await_result=True), call("await_future")),
    "two that await": ask(
        call("await_future", futures=["future_1"]), call("await_future", futures=["future_1"])
    ),
    "two that end the run": ask(call("direct", x=2), call("direct", x=3)),
}
"""Messages with two calls, of which each looks after earlier futures in a task of its own."""


@pytest.mark.parametrize("message", DELIVERERS)
@DELIVERIES
@in_virtual_time
async def test_two_tasks_of_a_step_that_deliver(delivery: str, message: str) -> None:
    """Each sees the placeholder, and one of them delivers: the outcome is told once."""
    talk = Talk(ask(call("slow", x=1)), DELIVERERS[message], "done", delivery=delivery)
    told: list[str] = []
    shown = talk.agent.astream({"messages": [HumanMessage("go")]}, stream_mode="updates")
    async for update in shown:
        told += [m.text for m in (update.get("tools") or {}).get("messages", ())]
    assert " ".join(told).count("slow 1") == 1, told


@FORMS
@in_virtual_time
async def test_an_error_is_raised(version: str, hooked: bool) -> None:
    """At the next boundary, and nothing is left."""
    talk = Talk(ask(call("fails"), call("slow")), "early", hooked=hooked, version=version)
    with pytest.raises(ValueError, match="broken"):
        await talk.run()
    assert not asyncio.all_tasks() - {asyncio.current_task()}


@pytest.mark.parametrize("on_final", ["review", "settle"])
@in_virtual_time
async def test_response_format(on_final: str) -> None:
    """The answer is asked for when the results are there."""

    class Model(ScriptedChatModel):
        def with_structured_output(self, schema: Any, **kwargs: Any) -> Any:
            from langchain_core.runnables import RunnableLambda

            def answer(messages: Any) -> Any:
                assert "slow 1" in str(messages)
                return Weather(degrees=7)

            return RunnableLambda(answer)

    replies = iter([ask(call("slow", x=1)), "early", *(["done"] if on_final == "review" else [])])
    model = Model(policy=lambda _: next(replies))
    node = AsyncFCToolNode([slow], on_final=on_final)
    agent = create_react_agent(
        model, node, response_format=Weather, post_model_hook=node.review_hook
    )
    final = await agent.ainvoke({"messages": [HumanMessage("go")]})
    assert final["structured_response"] == Weather(degrees=7)
    assert_valid_history(final["messages"])
    assert results(final["messages"]) == ["slow 1"]


@FORMS
@in_virtual_time
async def test_return_direct(version: str, hooked: bool) -> None:
    """Ends the run; older futures are not lost."""
    talk = Talk(
        ask(call("slow", x=1)), ask(call("direct", x="future_1")), hooked=hooked, version=version
    )
    messages = await talk.run()
    assert messages[-1].text == "direct slow 1"
    assert results(messages)[0] == "slow 1"


@FORMS
@in_virtual_time
async def test_return_direct_with_an_unrelated_future(version: str, hooked: bool) -> None:
    """The same where it does not refer to them."""
    talk = Talk(ask(call("slow", x=1)), ask(call("direct", x=2)), hooked=hooked, version=version)
    messages = await talk.run()
    assert results(messages) == ["slow 1", "direct 2"]


@in_virtual_time
async def test_detached() -> None:
    """Delivered at the thread's next run."""
    talk = Talk(
        ask(call("slow", x=1)),
        "later",
        "not yet",
        "done",
        on_final="detach",
        options={"checkpointer": InMemorySaver()},
    )
    final = await talk.agent.ainvoke({"messages": [HumanMessage("go")]}, THREAD)
    assert final["messages"][-1].text == "later"
    await asyncio.sleep(6)
    final = await talk.agent.ainvoke({"messages": [HumanMessage("and?")]}, THREAD)
    assert_valid_history(final["messages"])
    assert results(final["messages"]) == ["slow 1"]
    assert final["messages"][-1].text == "done"
    await talk.node.aclose()
    assert not asyncio.all_tasks() - {asyncio.current_task()}
