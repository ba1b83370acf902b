"""Agents in larger graphs: subgraphs, supervisors, swarms, hand-offs by `Command`.

Slow calls run while agents hand over to each other. Nothing may be lost, the parent's history stays
valid, and nothing runs on when the run is over.
"""

from __future__ import annotations

import asyncio
from typing import Annotated, Any

import pytest
from langchain.agents import create_agent
from langchain.agents.middleware import AgentMiddleware
from langchain_core.messages import AIMessage, HumanMessage, ToolMessage
from langchain_core.tools import InjectedToolCallId, tool
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.graph import START, MessagesState, StateGraph
from langgraph.prebuilt import InjectedState
from langgraph.types import Command

from langchain_asyncfc import AsyncFCMiddleware, effects
from langchain_asyncfc.records import read_thread
from langchain_asyncfc.testing import (
    ScriptedChatModel,
    assert_valid_history,
    call,
    in_virtual_time,
)

pytestmark = pytest.mark.filterwarnings(
    "ignore:create_react_agent has been moved", "ignore:.*is deprecated"
)

DELIVERIES = pytest.mark.parametrize("delivery", ["in_place", "append"])
THREAD = {"configurable": {"thread_id": "t"}}


@effects()
@tool
async def slow(x: Any = None) -> str:
    """Take five seconds."""
    await asyncio.sleep(5)
    return f"slow {x}"


def ask(*calls: Any, text: str = "") -> AIMessage:
    """The model's message that makes these calls."""
    return AIMessage(text, tool_calls=list(calls))


def model_of(*replies: Any) -> ScriptedChatModel:
    """A model that rejects what a provider would reject."""
    return ScriptedChatModel.replies(replies, check_history=True)


def checked(final: Any) -> list[Any]:
    """The messages of a final state, which are valid and whole; no task is left."""
    messages = final["messages"]
    assert_valid_history(messages)
    assert not read_thread(messages).pending
    assert not any("lost" in m.text for m in messages if isinstance(m, ToolMessage))
    assert not asyncio.all_tasks() - {asyncio.current_task()}
    return messages


def go() -> dict[str, Any]:
    """The input of a run."""
    return {"messages": [HumanMessage("go")]}


def results(messages: list[Any]) -> list[str]:
    """The texts of the answers of tools, hand-offs and control calls left out."""
    kept = [m for m in messages if isinstance(m, ToolMessage) and m.name in ("slow", "direct")]
    return [m.text for m in kept]


# -- subgraphs -------------------------------------------------------------------------------------


@DELIVERIES
@in_virtual_time
async def test_subgraphs_in_a_row(delivery: str) -> None:
    """Two agents share one history; the second's futures go on from the first's numbers."""
    one = create_agent(
        model_of(ask(call("slow", x=1)), "early", "one done"),
        [slow],
        middleware=[AsyncFCMiddleware(delivery=delivery)],
    )
    second = model_of(
        ask(call("slow", x=2)),
        ask(call("slow", x="future_2"), call("slow", x="future_1")),
        "e",
        "d",
    )
    two = create_agent(second, [slow], middleware=[AsyncFCMiddleware(delivery=delivery)])
    builder = StateGraph(MessagesState)
    builder.add_node("one", one)
    builder.add_node("between", lambda _: {"messages": [HumanMessage("now you")]})
    builder.add_node("two", two)
    builder.add_edge(START, "one")
    builder.add_edge("one", "between")
    builder.add_edge("between", "two")
    final = await builder.compile().ainvoke(go())
    messages = final["messages"]
    assert_valid_history(messages)
    assert messages[-1].text == "d"
    everything = " ".join(m.text for m in messages)
    for text in ("slow 1", "slow 2", "slow slow 2", "slow slow 1"):
        assert text in everything


@in_virtual_time
async def test_subgraphs_side_by_side() -> None:
    """Rule 21: two agents in one step of the parent, each with a private history."""

    class Keep(AgentMiddleware):
        pass

    def one(name: str) -> Any:
        agent = create_agent(
            model_of(ask(call("slow", x=name)), ask(call("slow", x="future_1")), "early", "done"),
            [slow],
            middleware=[AsyncFCMiddleware(), Keep()],
        )

        async def run(state: Any) -> Any:
            messages = checked_late((await agent.ainvoke(go()))["messages"])
            return {"messages": [AIMessage(f"{name}: {results(messages)}")]}

        return run

    def checked_late(messages: list[Any]) -> list[Any]:
        assert_valid_history(messages)
        return messages

    builder = StateGraph(MessagesState)
    builder.add_node("a", one("a"))
    builder.add_node("b", one("b"))
    builder.add_edge(START, "a")
    builder.add_edge(START, "b")
    final = await builder.compile().ainvoke(go())
    assert sorted(m.text for m in final["messages"][1:]) == [
        "a: ['slow a', 'slow slow a']",
        "b: ['slow b', 'slow slow b']",
    ]
    assert asyncio.get_running_loop().time() < 11


@in_virtual_time
async def test_agents_as_tools_run_side_by_side() -> None:
    """A subagent is a slow tool: two of them take as long as one."""

    def delegate(name: str) -> Any:
        @effects()
        @tool(name)
        async def run(task: str) -> str:
            """Delegate."""
            inner = create_agent(
                model_of(ask(call("slow", x=task)), "early", f"{name} did {task}"),
                [slow],
                middleware=[AsyncFCMiddleware()],
            )
            return (await inner.ainvoke(go()))["messages"][-1].text

        return run

    model = model_of(
        ask(call("one", task="a")),
        ask(call("two", task="b")),
        ask(call("one", task="future_2")),
        "early",
        "done",
    )
    agent = create_agent(
        model, [delegate("one"), delegate("two")], middleware=[AsyncFCMiddleware()]
    )
    messages = checked(await agent.ainvoke(go()))
    texts = [m.text for m in messages if isinstance(m, ToolMessage) and m.name in ("one", "two")]
    assert texts == ["one did a", "two did b", "one did two did b"]
    assert asyncio.get_running_loop().time() == pytest.approx(10, abs=0.5)


# -- hand-offs by Command --------------------------------------------------------------------------


def transfer_to(name: str, **options: Any) -> Any:
    """A tool that hands over to another agent of the parent, as LangGraph's guide has it."""

    @tool(f"transfer_to_{name}", **options)
    def transfer(
        state: Annotated[Any, InjectedState],
        tool_call_id: Annotated[str, InjectedToolCallId],
    ) -> Command[Any]:
        """Hand over."""
        answer = ToolMessage(
            f"Transferred to {name}", name=f"transfer_to_{name}", tool_call_id=tool_call_id
        )
        return Command(
            goto=name, graph=Command.PARENT, update={"messages": [*state["messages"], answer]}
        )

    return transfer


def team(*agents: Any, **options: Any) -> Any:
    """A parent graph of agents that hand over to each other."""
    names = [agent.name for agent in agents]
    builder = StateGraph(MessagesState)
    for agent in agents:
        builder.add_node(agent.name, agent, destinations=tuple(names))
    builder.add_edge(START, names[0])
    return builder.compile(**options)


@pytest.mark.parametrize("declared", ["plain", "foreground"])
@DELIVERIES
@in_virtual_time
async def test_hand_off_while_a_call_runs(delivery: str, declared: str) -> None:
    """What runs is waited for and handed over with the history."""
    transfer = transfer_to("b")
    if declared == "foreground":
        transfer = effects(foreground=True)(transfer)
    model = model_of("b done")
    early = [] if declared == "foreground" else ["I am waiting."]
    a = create_agent(
        model_of(ask(call("slow", x=1)), ask(call("transfer_to_b")), *early),
        [slow, transfer],
        middleware=[AsyncFCMiddleware(delivery=delivery)],
        name="a",
    )
    b = create_agent(model, [slow], middleware=[AsyncFCMiddleware(delivery=delivery)], name="b")
    messages = checked(await team(a, b).ainvoke(go()))
    assert messages[-1].text == "b done"
    assert "slow 1" in str(model.calls[0])


@DELIVERIES
@in_virtual_time
async def test_hand_off_beside_a_slow_call(delivery: str) -> None:
    """In one message with the hand-off, whose update leaves the other call out, as in LangGraph."""
    model = ScriptedChatModel.replies(["b done"])
    a = create_agent(
        model_of(ask(call("slow", x=1), call("transfer_to_b"))),
        [slow, effects(foreground=True)(transfer_to("b"))],
        middleware=[AsyncFCMiddleware(delivery=delivery)],
        name="a",
    )
    b = create_agent(model, [slow], middleware=[AsyncFCMiddleware()], name="b")
    final = await team(a, b).ainvoke(go())
    assert final["messages"][-1].text == "b done"
    assert not asyncio.all_tasks() - {asyncio.current_task()}


# -- swarm -----------------------------------------------------------------------------------------


@DELIVERIES
@in_virtual_time
async def test_swarm(delivery: str) -> None:
    """`langgraph_swarm`: hand over while calls run, to and fro, over two runs of a thread."""
    from langgraph_swarm import create_handoff_tool, create_swarm

    middleware = {"delivery": delivery}
    a = create_agent(
        model_of(
            ask(call("slow", x=1)),
            ask(call("transfer_to_b")),
            ask(call("slow", x="future_1")),
            "early",
            "a done",
        ),
        [slow, create_handoff_tool(agent_name="b")],
        middleware=[AsyncFCMiddleware(**middleware)],
        name="a",
    )
    model = model_of(
        ask(call("slow", x=2)), ask(call("slow", x="future_3")), ask(call("transfer_to_a"))
    )
    b = create_agent(
        model,
        [slow, create_handoff_tool(agent_name="a")],
        middleware=[AsyncFCMiddleware(**middleware)],
        name="b",
    )
    swarm = create_swarm([a, b], default_active_agent="a").compile(checkpointer=InMemorySaver())
    final = await swarm.ainvoke(go(), THREAD)
    messages = final["messages"]
    assert_valid_history(messages)
    assert messages[-1].text == "a done"
    assert results(messages)[:3] == ["slow 1", "slow 2", "slow slow 2"]
    assert "slow slow 1" in " ".join(m.text for m in messages)
    assert not any("lost" in m.text for m in messages)
    assert not asyncio.all_tasks() - {asyncio.current_task()}


@in_virtual_time
async def test_swarm_hand_off_with_a_slow_call_in_one_message() -> None:
    """The model makes both at once."""
    from langgraph_swarm import create_handoff_tool, create_swarm

    a = create_agent(
        model_of(ask(call("slow", x=1), call("transfer_to_b"))),
        [slow, create_handoff_tool(agent_name="b")],
        middleware=[AsyncFCMiddleware()],
        name="a",
    )
    model = ScriptedChatModel.replies(["b done"])
    b = create_agent(model, [slow], middleware=[AsyncFCMiddleware()], name="b")
    swarm = create_swarm([a, b], default_active_agent="a").compile()
    final = await swarm.ainvoke(go())
    assert final["messages"][-1].text == "b done"
    assert not asyncio.all_tasks() - {asyncio.current_task()}


# -- supervisor ------------------------------------------------------------------------------------


@pytest.mark.parametrize("output_mode", ["full_history", "last_message"])
@DELIVERIES
@in_virtual_time
async def test_supervisor(delivery: str, output_mode: str) -> None:
    """`langgraph_supervisor` over agents that `create_agent` made."""
    from langgraph_supervisor import create_supervisor

    # The messages that the supervisor adds are not valid for every provider; not ours to check.
    worker = create_agent(
        ScriptedChatModel.replies(
            [ask(call("slow", x=1)), ask(call("slow", x=2)), "early", "worker done"]
        ),
        [slow],
        middleware=[AsyncFCMiddleware(delivery=delivery)],
        name="worker",
    )
    other = create_agent(
        ScriptedChatModel.replies([ask(call("slow", x=3)), "early", "other done"]),
        [slow],
        middleware=[AsyncFCMiddleware(delivery=delivery)],
        name="other",
    )
    model = ScriptedChatModel.replies(
        [ask(call("transfer_to_worker")), ask(call("transfer_to_other")), "all done"]
    )
    supervisor = create_supervisor([worker, other], model=model, output_mode=output_mode)
    final = await supervisor.compile().ainvoke(go())
    messages = final["messages"]
    assert messages[-1].text == "all done"
    if output_mode == "full_history":
        everything = " ".join(m.text for m in messages)
        for n in (1, 2, 3):
            assert f"slow {n}" in everything
    assert not any("lost" in m.text for m in messages)
    assert not asyncio.all_tasks() - {asyncio.current_task()}


@in_virtual_time
async def test_supervisor_with_slow_tools_of_its_own() -> None:
    """The supervisor's node is an `AsyncFCToolNode`-less agent; its workers run slow calls."""
    from langgraph_supervisor import create_handoff_tool

    worker = create_agent(
        model_of(ask(call("slow", x=2)), "early", "worker done"),
        [slow],
        middleware=[AsyncFCMiddleware()],
        name="worker",
    )
    model = model_of(
        ask(call("slow", x=1)), ask(call("transfer_to_worker")), ask(call("slow", x=3)), "e", "done"
    )
    boss = create_agent(
        model,
        [slow, create_handoff_tool(agent_name="worker")],
        middleware=[AsyncFCMiddleware()],
        name="boss",
    )
    builder = StateGraph(MessagesState)
    builder.add_node("boss", boss, destinations=("worker",))
    builder.add_node("worker", worker)
    builder.add_node("thanks", lambda _: {"messages": [HumanMessage("the worker is done")]})
    builder.add_edge(START, "boss")
    builder.add_edge("worker", "thanks")
    builder.add_edge("thanks", "boss")
    messages = checked(await builder.compile().ainvoke(go()))
    assert results(messages) == ["slow 1", "slow 2", "slow 3"]
    assert messages[-1].text == "done"
