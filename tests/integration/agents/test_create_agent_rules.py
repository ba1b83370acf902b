"""Rules 1 to 27 hold through `create_agent` and `AsyncFCMiddleware`: the node's own tests.

The tests in `tests/integration/test_rules_*.py` build their agents by the fixture `make_agent`,
from tools, replies and the node's options. Here that fixture builds an agent with the middleware,
and the tests are run again. What is left out is said in `_LEFT_OUT`, with the reason.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import pytest
from langchain.agents import AgentState, create_agent
from langchain_core.messages import AIMessage, HumanMessage, ToolMessage
from langchain_core.tools import tool
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.graph import MessagesState
from langgraph.types import Command, interrupt

from langchain_asyncfc import AsyncFCMiddleware, effects
from langchain_asyncfc.testing import ScriptedChatModel, assert_valid_history, call, in_virtual_time
from tests.integration import conftest as parts
from tests.integration import (
    test_rules_failure,
    test_rules_model_view,
    test_rules_order,
    test_rules_state,
)

_OF_THE_NODE = {"handle_tool_errors", "wrap_tool_call", "awrap_tool_call", "name", "tags"}
"""Options that `create_agent` does not have."""

_LEFT_OUT = {
    "test_rule_8_await_all": "another message carries late outcomes; see below",
    "test_rule_24_return_direct": "ends the run here; see test_structured_output",
    "test_rule_26_stream_mode_messages": "names the graph's nodes; see below",
    "test_rule_26_stream_mode_updates": "names the graph's nodes; see below",
    "test_rule_22_from_before_the_call_was_issued": "names the graph's nodes; see below",
    "test_rule_22_from_after_the_call_was_issued": "names the graph's nodes; see below",
    "test_rule_10_every_request_is_valid": "random talks; see test_create_agent_slow",
}
"""Tests that make no sense here, with the reason."""

THREAD = {"configurable": {"thread_id": "t"}}


@dataclass(slots=True)
class Agent(parts.Agent):
    """An agent with the middleware where the node's tests expect one with the node."""


def _make_agent(
    tools: Sequence[Any],
    replies: Sequence[parts.Reply],
    *,
    schema: Any = MessagesState,
    checkpointer: Any = None,
    store: Any = None,
    model: dict[str, Any] | None = None,
    messages_key: str = "messages",
    context_schema: Any = None,
    **options: Any,
) -> Agent:
    if messages_key != "messages" or _OF_THE_NODE & set(options):
        pytest.skip("create_agent has no such option")  # neither for the key nor for errors
    middleware = AsyncFCMiddleware(instructions="", **options)
    scripted: ScriptedChatModel = parts._script(replies, **(model or {}))
    state = AgentState if schema is MessagesState else schema
    graph = create_agent(
        scripted,
        list(tools),
        middleware=[middleware],
        state_schema=state,
        checkpointer=checkpointer,
        store=store,
        context_schema=context_schema,
    )
    return Agent(graph, scripted, middleware)  # type: ignore[arg-type]


@pytest.fixture(params=["ainvoke", "invoke"])
def mode(request: pytest.FixtureRequest) -> parts.Mode:
    """On an event loop in virtual time, and in threads (rule 27)."""
    return parts.Mode(request.param)


@pytest.fixture
def make_agent() -> Callable[..., Agent]:
    """Builds an agent by `create_agent`."""
    return _make_agent


for _module in (test_rules_order, test_rules_model_view, test_rules_failure, test_rules_state):
    globals().update(parts.agent_tests(_module, _LEFT_OUT))


# -- what is special to create_agent ---------------------------------------------------------------


def go() -> dict[str, Any]:
    """The input of a run."""
    return {"messages": [HumanMessage("go")]}


@effects()
@tool
async def wait(seconds: float) -> str:
    """Wait."""
    await asyncio.sleep(seconds)
    return f"waited {seconds}"


@in_virtual_time
async def test_rule_8_await_all_in_a_split_message(ask: parts.Ask, delivery: str) -> None:
    """`"all"` waits also for a later call of the same message, and each value comes once."""
    agent = _make_agent(
        [wait],
        [
            ask(call("wait", seconds=4.5)),
            ask(call("wait", seconds=1.5, await_result="all"), call("wait", seconds=3.5)),
            "done",
        ],
        delivery=delivery,
    )
    messages = await agent.arun()
    everything = " ".join(m.text for m in messages)
    for seconds in (4.5, 1.5, 3.5):
        assert everything.count(f"waited {seconds}") == 1
    assert len(agent.calls) == 3


@pytest.mark.parametrize("calls", [1, 3])
@in_virtual_time
async def test_rule_26_delivered_values_are_streamed_once(
    calls: int, ask: parts.Ask, delivery: str
) -> None:
    """`"messages"` and `"updates"` show each placeholder, and each value once."""
    agent = _make_agent(
        [wait],
        [ask(*(call("wait", seconds=n + 2.5) for n in range(calls))), "early", "done"],
        delivery=delivery,
    )
    shown: list[str] = []
    updated: list[str] = []
    async for kind, chunk in agent.graph.astream(go(), stream_mode=["messages", "updates"]):
        if kind == "messages" and isinstance(chunk[0], ToolMessage):
            shown.append(chunk[0].text)
        elif kind == "updates":
            for update in chunk.values():
                new = (update or {}).get("messages", []) if isinstance(update, dict) else []
                updated += [m.text for m in new if isinstance(m, ToolMessage)]
    for found in (shown, updated):
        for n in range(calls):
            assert sum(f"future_{n + 1} is running" in text for text in found) == 1, found
            assert sum(f"waited {n + 2.5}" in text for text in found) == 1, found


def _replayable(ask: parts.Ask) -> Callable[[list[Any]], Any]:
    """What a model says at any point of a talk with one call."""

    def reply(messages: list[Any]) -> Any:
        if not any(isinstance(m, ToolMessage) for m in messages):
            return ask(call("slow", "c1"))
        return "done"

    return reply


def test_rule_22_replay_makes_the_call_again(
    mode: parts.Mode, workshop: parts.Workshop, ask: parts.Ask, delivery: str
) -> None:
    """From before the call was issued."""
    results = iter(["first", "second"])
    agent = _make_agent(
        [workshop.tool("slow", result=lambda _: next(results))],
        [_replayable(ask)] * 20,
        grace=0,
        checkpointer=InMemorySaver(),
        delivery=delivery,
    )
    agent.run(mode, config=THREAD)
    [before] = [s for s in agent.graph.get_state_history(THREAD) if s.next == ("tools",)]
    final = mode.run(agent.graph, None, before.config)
    everything = " ".join(m.text for m in final["messages"])
    assert "second" in everything
    assert "first" not in everything
    assert_valid_history(final["messages"])


def test_rule_22_replay_from_a_placeholder(
    mode: parts.Mode, workshop: parts.Workshop, gate: parts.Gate, ask: parts.Ask, delivery: str
) -> None:
    """Ends, and gives no value of the old run."""

    def reply(messages: list[Any]) -> Any:
        if any(isinstance(m, ToolMessage) for m in messages):
            gate.open()  # the placeholder is written by now
        return _replayable(ask)(messages)

    agent = _make_agent(
        [workshop.tool("slow", gate, result="first")],
        [reply] * 20,
        grace=0,
        checkpointer=InMemorySaver(),
        delivery=delivery,
    )
    agent.run(mode, config=THREAD)
    pending = [
        state
        for state in agent.graph.get_state_history(THREAD)
        if state.next == ("AsyncFCMiddleware.before_model",) and len(state.values["messages"]) == 3
    ]
    final = mode.run(agent.graph, None, {**pending[-1].config, "recursion_limit": 30})
    everything = " ".join(m.text for m in final["messages"])
    assert "lost" in everything
    assert "first" not in everything
    assert final["messages"][-1].text == "done"
    assert_valid_history(final["messages"])


@pytest.mark.parametrize("sibling", [0.0, 0.003, 5.0])
@in_virtual_time
async def test_rule_20_interrupts_among_other_calls(sibling: float, ask: parts.Ask) -> None:
    """Answers go to the right calls, the sibling runs once, and the resumed run ends."""
    runs: list[float] = []

    @effects()
    @tool
    async def other(seconds: float) -> str:
        """Take some time."""
        runs.append(seconds)
        await asyncio.sleep(seconds)
        return f"other {seconds}"

    @effects()
    @tool
    async def confirm(what: str) -> str:
        """Ask a person."""
        return f"{what}: {interrupt({'sure': what})}"

    agent = _make_agent(
        [other, confirm],
        [
            ask(
                call("confirm", what="a"), call("other", seconds=sibling), call("confirm", what="b")
            ),
            "early",
            "done",
        ],
        checkpointer=InMemorySaver(),
        grace=10,
    )
    await agent.graph.ainvoke(go(), THREAD)
    waiting = [i for task in agent.graph.get_state(THREAD).tasks for i in task.interrupts]
    assert sorted(i.value["sure"] for i in waiting) == ["a", "b"]
    answers = {i.id: f"yes to {i.value['sure']}" for i in waiting}
    async with asyncio.timeout(60):
        final = await agent.graph.ainvoke(Command(resume=answers), THREAD)
    assert [m.text for m in final["messages"] if isinstance(m, ToolMessage)] == [
        "a: yes to a",
        f"other {sibling}",
        "b: yes to b",
    ]
    assert runs == [sibling]


@in_virtual_time
async def test_rule_16_error_in_one_of_several_tasks(ask: parts.Ask) -> None:
    """The siblings of a call that raises are cancelled and awaited, also in tasks of their own."""
    log: list[str] = []

    @effects()
    @tool
    async def slow() -> str:
        """Take some time."""
        try:
            await asyncio.sleep(5)
        except asyncio.CancelledError:
            log.append("cancelled")
            raise
        return "slow"

    @effects()
    @tool
    async def broken() -> str:
        """Fail."""
        await asyncio.sleep(1)
        raise LookupError("broken")

    agent = _make_agent([slow, broken], [ask(call("slow"), call("broken")), "early"])
    with pytest.raises(LookupError, match="broken"):
        await agent.graph.ainvoke(go())
    assert log == ["cancelled"]
    assert asyncio.all_tasks() == {asyncio.current_task()}
    with pytest.raises(LookupError, match="broken"):
        await _make_agent(
            [slow, broken], [ask(call("slow"), call("broken"))], grace=10
        ).graph.ainvoke(go())
    assert asyncio.all_tasks() == {asyncio.current_task()}


@in_virtual_time
async def test_rules_12_and_8_numbers_by_position_in_a_split_message(ask: parts.Ask) -> None:
    """Control calls among others are not counted, whatever task comes first."""
    agent = _make_agent(
        [wait],
        [
            ask(call("await_future"), call("wait", seconds=3), call("wait", seconds="future_1")),
            ask(
                call("wait", seconds=2),
                call("cancel_future", futures=["future_3"]),
                call("wait", seconds=4),
            ),
            "early",
            "done",
        ],
    )
    final = await agent.graph.ainvoke(go())
    shown = {
        m.additional_kwargs["asyncfc"]["future"]: m.tool_call_id
        for m in final["messages"]
        if "future" in m.additional_kwargs.get("asyncfc", {})
    }
    made = [
        made["id"]
        for m in final["messages"]
        if isinstance(m, AIMessage)
        for made in m.tool_calls
        if made["name"] == "wait"
    ]
    for future, call_id in shown.items():
        assert made[int(future.removeprefix("future_")) - 1] == call_id
    assert len(shown) >= 3
    assert_valid_history(final["messages"])
