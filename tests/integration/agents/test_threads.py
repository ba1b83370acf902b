"""Agents that run in threads, where only event loops were looked at elsewhere.

Structured answers of `create_agent` with references, and the review hook of `create_react_agent`,
under `invoke` and `stream`: rule 27.
"""

from __future__ import annotations

from typing import Any

import pytest
from langchain.agents import create_agent
from langchain.agents.structured_output import (
    StructuredOutputError,
    StructuredOutputValidationError,
    ToolStrategy,
)
from langchain_core.messages import AIMessage, BaseMessage, HumanMessage, ToolMessage
from langchain_core.tools import BaseTool
from langgraph.prebuilt import create_react_agent
from pydantic import BaseModel, Field, field_validator

from langchain_asyncfc import AsyncFCMiddleware, AsyncFCToolNode, Effects
from langchain_asyncfc.records import read_thread
from langchain_asyncfc.testing import ScriptedChatModel, assert_valid_history, call
from tests.integration.conftest import Gate, Workshop

PURE = Effects()
GO = {"messages": [HumanMessage("go")]}


class Weather(BaseModel):
    """The weather."""

    degrees: int = Field(ge=-50, le=60)
    sky: str = "clear"


class Talk:
    """A model's script; the gate of its tools opens before the reply with a number, from 0.

    Attributes:
        calls: What the model was sent.
    """

    def __init__(self, replies: list[AIMessage | str], gate: Gate, opens: int) -> None:
        self._replies = iter(replies)
        self.calls: list[list[BaseMessage]] = []

        def policy(messages: list[BaseMessage]) -> AIMessage | str:
            if len(self.calls) == opens:
                gate.open()
            self.calls.append(messages)
            return next(self._replies)

        self.model = ScriptedChatModel(policy=policy, check_history=True)


def ask(*calls: Any) -> AIMessage:
    """The model's message that makes these calls."""
    return AIMessage("", tool_calls=list(calls))


def measuring(degrees: Any) -> tuple[list[BaseTool], Gate]:
    """A tool behind a gate."""
    gate = Gate()
    return [Workshop().tool("measure", gate, result=degrees, does=PURE)], gate


def answered(
    degrees: Any,
    *replies: AIMessage | str,
    ended: bool = False,
    schema: Any = Weather,
    **strategy: Any,
) -> tuple[list[Any], Any]:
    """The messages and the structured answer of a run in threads.

    Args:
        degrees: What is measured.
        *replies: What the model says after it has asked for that.
        ended: Whether the tool has ended before the first of them.
        schema: Of the answer.
        **strategy: More of how it is given.
    """
    tools, gate = measuring(degrees)
    measure = call("measure", await_result=True) if ended else call("measure")
    talk = Talk([ask(measure), *replies], gate, opens=0 if ended else 1)
    agent = create_agent(
        talk.model,
        tools,
        middleware=[AsyncFCMiddleware(grace=0)],
        response_format=ToolStrategy(schema, **strategy),
    )
    try:
        final = agent.invoke(GO)
    finally:
        gate.open()
    assert_valid_history(final["messages"])
    assert not read_thread(final["messages"]).pending
    return final["messages"], final["structured_response"]


# -- structured answers ---------------------------------------------------------------------------


def test_a_reference_in_an_answer() -> None:
    """It waits for the value and has its type; the model's message shows the value."""
    messages, found = answered(7, ask(call("Weather", degrees="future_1", sky="${future_1} stars")))
    assert found == Weather(degrees=7, sky="7 stars")
    taken = [m for m in messages if isinstance(m, AIMessage)][-1]
    assert taken.tool_calls[0]["args"] == {"degrees": 7, "sky": "7 stars"}


def test_a_value_that_does_not_fit_an_answer() -> None:
    """It is an error as any other, and the model is asked again."""
    _, found = answered(
        99, ask(call("Weather", degrees="future_1")), ask(call("Weather", degrees=1))
    )
    assert found == Weather(degrees=1)
    with pytest.raises(StructuredOutputError):
        answered(99, ask(call("Weather", degrees="future_1")), handle_errors=False)


class Careful(BaseModel):
    """The weather, checked by code."""

    degrees: int = 0
    sky: str = "clear"

    @field_validator("sky", "degrees")
    @classmethod
    def _check(cls, value: Any) -> Any:
        if value in ("unknown", 99):
            raise ValueError("nobody knows")
        return value


@pytest.mark.parametrize(
    ("value", "field", "good"),
    [
        ("unknown", "sky", {"sky": "blue"}),
        (99, "degrees", {"degrees": 3}),
    ],
)
def test_a_value_that_only_code_refuses(value: Any, field: str, good: dict[str, Any]) -> None:
    """No reference gets into an answer, and the model is asked again."""
    again = [ask(call("Careful", **good))] * 2
    refers = ask(call("Careful", **{field: "future_1"}))
    _, found = answered(value, refers, *again, ended=True, schema=Careful)
    assert found == Careful(**good)


def test_a_value_that_only_code_refuses_is_raised() -> None:
    """Where the agent is not to handle such errors."""
    refers = ask(call("Careful", degrees="future_1"))
    with pytest.raises(StructuredOutputValidationError):
        answered(99, refers, ended=True, schema=Careful, handle_errors=False)


UNKNOWN = ask(call("Weather", degrees=1, sky="future_9"))


@pytest.mark.parametrize(
    ("handle", "told"),
    [
        (True, "Error: "),
        ("Try again.", "Try again."),
        (lambda error: f"A {type(error).__name__}.", "A StructuredOutputValidationError."),
        (StructuredOutputError, "Error: "),
        ((KeyError, StructuredOutputValidationError), "Error: "),
    ],
    ids=["true", "text", "function", "type", "types"],
)
def test_a_reference_to_nothing_in_an_answer(handle: Any, told: str) -> None:
    """Rule 14: the model is told as `handle_errors` says, with the futures that there are."""
    messages, found = answered(
        7, UNKNOWN, ask(call("Weather", degrees=1)), ended=True, handle_errors=handle
    )
    assert found == Weather(degrees=1)
    [text] = [m.text for m in messages if isinstance(m, ToolMessage) and m.status == "error"]
    assert text.startswith(told)
    assert ("future_1" in text) is (told == "Error: ")


@pytest.mark.parametrize("handle", [False, KeyError, (KeyError, ZeroDivisionError)])
def test_a_reference_to_nothing_is_raised(handle: Any) -> None:
    """Where the agent is not to handle such errors."""
    with pytest.raises(StructuredOutputValidationError, match="future_9"):
        answered(7, UNKNOWN, ended=True, handle_errors=handle)


# -- the review hook ------------------------------------------------------------------------------


@pytest.mark.filterwarnings("ignore:create_react_agent has been moved")
@pytest.mark.parametrize("run", ["invoke", "stream"])
def test_the_review_hook(run: str) -> None:
    """A premature answer is reviewed, and one that comes when all is done is not."""
    tools, gate = measuring(7)
    node = AsyncFCToolNode(tools, grace=0)
    talk = Talk([ask(call("measure")), "early", "done"], gate, opens=1)
    agent = create_react_agent(talk.model, node, post_model_hook=node.review_hook)
    if run == "invoke":
        final = agent.invoke(GO)
    else:
        final = list(agent.stream(GO, stream_mode="values"))[-1]
    assert_valid_history(final["messages"])
    assert not read_thread(final["messages"]).pending
    assert final["messages"][-1].text == "done"
    assert len(talk.calls) == 3
    assert talk.calls[1][-1].text.startswith("future_1 is running")
    assert "7" in [m.text for m in talk.calls[2] if isinstance(m, ToolMessage)]


@pytest.mark.filterwarnings("ignore:create_react_agent has been moved")
def test_the_review_hook_has_no_effect_on_a_call() -> None:
    """A message with calls is no answer: it is not waited for what runs in the background."""
    tools, gate = measuring(7)
    node = AsyncFCToolNode(tools, grace=0)
    replies = [ask(call("measure")), ask(call("measure", x=2)), "done", "done"]
    talk = Talk(replies, gate, opens=2)
    agent = create_react_agent(talk.model, node, post_model_hook=node.review_hook)
    final = agent.invoke(GO)
    texts = [m.text for m in talk.calls[2] if isinstance(m, ToolMessage)]
    assert [text.split(" ")[0] for text in texts] == ["future_1", "future_2"]
    assert not read_thread(final["messages"]).pending
