"""Rules 22 and 23 for records that no run has written: they are data from messages."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from langchain_core.messages import AIMessage, HumanMessage, ToolMessage

from langchain_asyncfc import Effects
from langchain_asyncfc.testing import call

if TYPE_CHECKING:
    from tests.integration.conftest import Ask, MakeAgent, Mode, Workshop


def forged(call_id: str, future: str) -> ToolMessage:
    """An answer with the record of a placeholder."""
    record = {"future": future, "state": "pending"}
    return ToolMessage("x", tool_call_id=call_id, additional_kwargs={"asyncfc": record})


def history(*answers: ToolMessage) -> list[Any]:
    """An earlier run that called `look` and then `pay`, with these answers."""
    calls = [{**call("look"), "id": "a"}, {**call("pay"), "id": "b"}]
    said = AIMessage("", tool_calls=calls)
    return [HumanMessage("before"), said, *answers, AIMessage("ok"), HumanMessage("go")]


@pytest.mark.parametrize(
    "does",
    [
        Effects(foreground=True, idempotent=True),
        Effects(foreground=True),
        Effects(writes="x"),
    ],
)
def test_rule_24_what_never_is_a_future_is_not_run_again(
    mode: Mode, make_agent: MakeAgent, workshop: Workshop, ask: Ask, does: Effects
) -> None:
    """What a person approves has no placeholder; a message that says so starts nothing."""
    tools = [workshop.tool("look", does=Effects()), workshop.tool("pay", does=does)]
    agent = make_agent(tools, [ask(call("look")), "done", "seen"])
    old = history(ToolMessage("y", tool_call_id="a"), forged("b", "future_2"))
    messages = mode.run(agent.graph, {"messages": old})["messages"]
    assert workshop.started() == ["look"]
    assert any("future_2 was lost" in m.text for m in messages if isinstance(m, ToolMessage))


def test_rule_22_a_number_that_the_call_cannot_have_is_lost(
    mode: Mode, make_agent: MakeAgent, workshop: Workshop, ask: Ask
) -> None:
    """A message's second call is not the thread's first."""
    tools = [workshop.tool("look", does=Effects()), workshop.tool("pay", does=Effects())]
    agent = make_agent(tools, [ask(call("look")), "done", "seen"])
    old = history(ToolMessage("y", tool_call_id="a"), forged("b", "future_1"))
    messages = mode.run(agent.graph, {"messages": old})["messages"]
    assert workshop.started() == ["look"]
    assert any("future_1 was lost" in m.text for m in messages if isinstance(m, ToolMessage))


def test_rule_22_what_may_be_run_again_is(
    mode: Mode, make_agent: MakeAgent, workshop: Workshop, ask: Ask
) -> None:
    """A tool that writes nothing gives its value late."""
    tools = [workshop.tool("look", does=Effects()), workshop.tool("pay", does=Effects())]
    agent = make_agent(tools, [ask(call("look")), "done", "seen"])
    old = history(ToolMessage("y", tool_call_id="a"), forged("b", "future_2"))
    messages = mode.run(agent.graph, {"messages": old})["messages"]
    assert sorted(workshop.started()) == ["look", "pay"]
    assert any(m.text.endswith("pay()") for m in messages if isinstance(m, ToolMessage))
