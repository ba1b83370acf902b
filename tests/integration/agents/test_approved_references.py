"""Calls that a person approves, whose arguments refer to what has no value: rules 14, 17 and 24."""

from __future__ import annotations

from typing import Any

import pytest
from langchain.agents import create_agent
from langchain.agents.middleware import HumanInTheLoopMiddleware
from langchain_core.messages import AIMessage, HumanMessage, ToolMessage
from langchain_core.tools import ToolException
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.types import Command

from langchain_asyncfc import AsyncFCMiddleware, Effects
from langchain_asyncfc.testing import ScriptedChatModel, assert_valid_history, call, run_virtual
from tests.integration.conftest import Workshop

THREAD: Any = {"configurable": {"thread_id": "t"}}
PURE = Effects()


class Office:
    """An agent that looks something up, and pays when a person approves."""

    def __init__(self, *replies: Any, is_async: bool) -> None:
        self._is_async = is_async
        self.shop = Workshop()
        error = ToolException("no account")
        tools = [
            self.shop.tool("fails", error=error, does=PURE, handle_tool_error=True),
            self.shop.tool("find", result="account 7", does=PURE),
            self.shop.tool("pay"),
        ]
        self.agent = create_agent(
            ScriptedChatModel.replies([*replies, "done"], check_history=True),
            tools,
            middleware=[
                HumanInTheLoopMiddleware(interrupt_on={"pay": True}),
                AsyncFCMiddleware(grace=0),
            ],
            checkpointer=InMemorySaver(),
        )

    def _run(self, value: Any) -> dict[str, Any]:
        if self._is_async:
            return run_virtual(self.agent.ainvoke(value, THREAD))
        return self.agent.invoke(value, THREAD)

    def shown(self) -> list[Any]:
        """The arguments of the calls that the person sees."""
        final = self._run({"messages": [HumanMessage("go")]})
        (asked,) = final["__interrupt__"]
        return [action["args"] for action in asked.value["action_requests"]]

    def approve(self, number: int = 1) -> dict[str, ToolMessage]:
        """Approve everything; the answers by call."""
        decisions = [{"type": "approve"}] * number
        final = self._run(Command(resume={"decisions": decisions}))
        assert_valid_history(final["messages"])
        return {m.tool_call_id: m for m in final["messages"] if isinstance(m, ToolMessage)}


@pytest.fixture(params=[True, False], ids=["ainvoke", "invoke"])
def is_async(request: pytest.FixtureRequest) -> bool:
    """In threads and on event loops."""
    return request.param


def ask(*calls: Any) -> AIMessage:
    """The model's message that makes these calls."""
    return AIMessage("", tool_calls=list(calls))


def test_a_person_sees_values_and_what_has_none(is_async: bool) -> None:
    """One call of a message has its value; the other refers to a failure, and never runs."""
    office = Office(
        ask(call("find", "c1"), call("fails", "c2")),
        ask(call("pay", "c3", x="future_1"), call("pay", "c4", x="future_2")),
        is_async=is_async,
    )
    assert office.shown() == [{"x": "account 7"}, {"x": "future_2"}]
    told = office.approve(2)
    assert told["c3"].text == "pay(account 7)"
    assert told["c4"].status == "error"
    assert "future_2" in told["c4"].text
    assert [x for name, x in office.shop.inputs if name == "pay"] == ["account 7"]


def test_a_reference_to_nothing(is_async: bool) -> None:
    """The call is answered with the error once it is approved, and does not run."""
    office = Office(ask(call("pay", "c1", x="future_9")), is_async=is_async)
    assert office.shown() == [{"x": "future_9"}]
    told = office.approve()
    assert told["c1"].status == "error"
    assert "future_9" in told["c1"].text
    assert office.shop.inputs == []
