"""Tools that ask from below and beside: graphs and agents as tools, approvals, other nodes.

Rule 20 where the interrupt is not the tool's own.
"""

from __future__ import annotations

import asyncio
import re
from typing import Any, TypedDict

import pytest
from langchain.agents import create_agent
from langchain.agents.middleware import HumanInTheLoopMiddleware
from langchain_core.messages import AIMessage, HumanMessage, ToolMessage
from langchain_core.runnables import RunnableLambda
from langchain_core.tools import BaseTool, StructuredTool
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.graph import START, MessagesState, StateGraph
from langgraph.types import Command, interrupt

from langchain_asyncfc import AsyncFCMiddleware, AsyncFCToolNode, effects, tools_condition
from langchain_asyncfc.testing import ScriptedChatModel, VirtualTimeLoop, assert_valid_history
from tests.integration.agents.helpers import unfinished
from tests.integration.reliability.faces import Agent, Face, loop, on
from tests.integration.reliability.interrupts import (
    PURE,
    WAYS,
    Case,
    Desk,
    Talk,
    Way,
    check_same,
    opened,
    yes,
)

A, B, C = {"x": "a"}, {"x": "b"}, {"x": "c"}
LATE, ASKED = "turn 1", "asked"
WARNED = re.compile("future_2 .unsafe. is lost|A run stopped while future_1, future_2 ran")


@pytest.fixture(params=[way for way in WAYS if way.delivery == "in_place"], ids=str)
def way(request: pytest.FixtureRequest) -> Way:
    """Both faces, in threads and on event loops."""
    return request.param


class Below(TypedDict):
    """The state of a graph that a tool runs."""

    x: str
    done: str


def graph_tool(desk: Desk, name: str, *, until: str | None = None, times: int = 1) -> BaseTool:
    """A tool that runs a graph: a node with a side effect, one that asks, one that ends it.

    Args:
        desk: Notes what runs.
        name: The tool's name.
        until: The gate that it passes before it asks.
        times: How many nodes ask.
    """

    def before(state: Any) -> Any:
        desk.log.append(("end", "before", state["x"]))
        desk.log.append(("start", "before", state["x"]))
        return {"done": f"{state['x']}:"}

    def wait(state: Any) -> Any:
        del state
        desk._pass(until)
        return {}

    async def await_(state: Any) -> Any:
        del state
        await desk._apass(until)
        return {}

    def asking(n: int) -> Any:
        def node(state: Any) -> Any:
            said = desk._ask(f"{name}({state['x']}) {n}?")
            desk.log.append(("end", f"ask node {n}", state["x"]))
            return {"done": f"{state['done']} {said}"}

        return node

    builder = StateGraph(Below)
    builder.add_node("before", before)
    builder.add_node("wait", RunnableLambda(wait, await_))
    builder.add_edge(START, "before")
    builder.add_edge("before", "wait")
    above = "wait"
    for n in range(times):
        builder.add_node(f"ask{n}", asking(n))
        builder.add_edge(above, f"ask{n}")
        above = f"ask{n}"
    graph = builder.compile()

    def run(x: str) -> str:
        return str(graph.invoke({"x": x, "done": ""})["done"])

    async def arun(x: str) -> str:
        return str((await graph.ainvoke({"x": x, "done": ""}))["done"])

    made = StructuredTool.from_function(run, arun, name=name, description="Runs a graph.")
    return effects()(made)


GRAPHS = {
    "alone": Case(lambda d: [graph_tool(d, "sub")], [[("sub", A)]]),
    "beside-fast": Case(
        lambda d: [graph_tool(d, "sub"), d.work("work", PURE)],
        [[("work", A), ("sub", A), ("work", B)], [("work", C)]],
    ),
    "beside-slow": Case(
        lambda d: [graph_tool(d, "sub"), d.work("slow", PURE, until=ASKED)],
        [[("slow", A), ("sub", A), ("slow", B)], [("slow", C)]],
    ),
    "placed": Case(
        lambda d: [graph_tool(d, "sub", until=LATE), d.work("work", PURE)],
        [[("sub", A), ("work", A)], [("work", B)], [("work", C)]],
    ),
    "placed-alone": Case(lambda d: [graph_tool(d, "sub", until=LATE)], [[("sub", A)]]),
    "two": Case(
        lambda d: [graph_tool(d, "sub"), d.work("work", PURE)],
        [[("sub", A), ("sub", B), ("work", A)], [("work", B)]],
    ),
    "two-placed": Case(
        lambda d: [graph_tool(d, "sub", until=LATE), d.work("work", PURE)],
        [[("sub", A), ("sub", B), ("work", A)], [("work", B)]],
    ),
    "twice": Case(
        lambda d: [graph_tool(d, "sub", times=2), d.work("work", PURE)],
        [[("sub", A), ("work", A)], [("work", B)]],
        stops=2,
    ),
    "twice-placed": Case(
        lambda d: [graph_tool(d, "sub", until=LATE, times=2), d.work("work", PURE)],
        [[("sub", A), ("work", A)], [("work", B)]],
        stops=2,
    ),
    "beside-a-plain-one": Case(
        lambda d: [graph_tool(d, "sub"), d.ask("ask", PURE), d.work("slow", PURE, until=ASKED)],
        [[("sub", A), ("ask", A), ("slow", A)], [("slow", B)]],
    ),
}


@pytest.mark.parametrize("how", ["map", "last"])
@pytest.mark.parametrize("case", GRAPHS.values(), ids=GRAPHS)
def test_graph_as_a_tool(case: Case, way: Way, how: Any) -> None:
    """A graph that asks goes on where it asked; what it did before is not done again."""
    desk, talk = opened(case, way)
    check_same(case, desk, talk.talk(how))


# -- agents ----------------------------------------------------------------------------------------


def _subagent(desk: Desk, *, futures: bool, until: str | None) -> BaseTool:
    """A tool that runs an agent whose own tool asks."""
    inner = Desk(is_open=not futures, delay=desk.delay)
    inner.log = desk.log
    tools = [inner.ask("ask_inner", PURE, until=until), inner.work("work_inner", PURE)]
    script = [[("work_inner", A), ("ask_inner", A)], [("work_inner", B)]]
    model = ScriptedChatModel(policy=inner.policy(script, plain=not futures), check_history=True)
    middleware = [AsyncFCMiddleware(instructions="")] if futures else []
    agent = create_agent(model, tools, middleware=middleware)

    def run(x: str) -> str:
        return _told(agent.invoke({"messages": [HumanMessage(x)]}))

    async def arun(x: str) -> str:
        return _told(await agent.ainvoke({"messages": [HumanMessage(x)]}))

    made = StructuredTool.from_function(run, arun, name="sub", description="An agent.")
    return effects()(made)


def _told(state: Any) -> str:
    """The results of an agent's tools."""
    found = [m for m in state["messages"] if isinstance(m, ToolMessage)]
    return " | ".join(m.text for m in found if m.name not in ("await_future", "cancel_future"))


@pytest.mark.parametrize("until", [None, LATE])
@pytest.mark.parametrize("outer", [[("sub", A)], [("work", A), ("sub", A)]])
def test_agent_with_futures_as_a_tool(way: Way, outer: Any, until: str | None) -> None:
    """A subagent with futures of its own asks from below; nothing in it runs twice."""

    def tools(futures: bool) -> Any:
        return lambda d: [_subagent(d, futures=futures, until=until), d.work("work", PURE)]

    script = [outer, [("work", B)]]
    desk, talk = opened(Case(tools(futures=True), script), way)
    messages = talk.talk()
    plain = Desk(is_open=True)
    agent = Face("middleware").build_plain(
        tools(futures=False)(plain), plain.policy(script, plain=True), checkpointer=InMemorySaver()
    )
    expected = Talk(agent, is_async=False).talk()
    told = {m.tool_call_id: m.text for m in messages if isinstance(m, ToolMessage)}
    wanted = {m.tool_call_id: m.text for m in expected if isinstance(m, ToolMessage)}
    assert {k: v for k, v in told.items() if k in wanted} == wanted
    assert not unfinished(messages)
    assert desk.count("end") == plain.count("end")
    for call, times in desk.count("start").items():
        assert times == 1 or call[0] == "ask_inner", desk.log


@pytest.mark.parametrize("placed", [False, True])
def test_agent_as_a_node(way: Way, placed: bool) -> None:
    """An agent with futures is a node of a larger graph, with a node before and one after it."""
    case = Case(
        lambda d: [
            d.ask("ask", PURE, until=LATE if placed else None),
            d.work("slow", PURE, until=ASKED),
        ],
        [[("slow", A), ("ask", A)], [("slow", B)]],
    )
    desk = Desk()
    inner = Face(way.face).build(case.tools(desk), desk.policy(case.script))
    ran: list[str] = []
    builder = StateGraph(MessagesState)
    builder.add_node("before", lambda _: ran.append("before"))
    builder.add_node("agent", inner.graph)
    builder.add_node("after", lambda _: ran.append("after"))
    builder.add_edge(START, "before")
    builder.add_edge("before", "agent")
    builder.add_edge("agent", "after")
    graph = builder.compile(checkpointer=InMemorySaver())
    talk = Talk(Agent(graph, "", inner.owner, inner.model), way.is_async)
    check_same(case, desk, talk.talk())
    assert ran == ["before", "after"]


# -- approvals -------------------------------------------------------------------------------------


@pytest.mark.parametrize("is_async", [True, False])
@pytest.mark.parametrize("decision", ["approve", "edit", "reject"])
def test_approval_beside_running_futures(is_async: bool, decision: str) -> None:
    """A person approves one call while others run; they are finished before and run once."""
    desk = Desk()
    tools = [desk.work("pay"), desk.work("slow", PURE, until=LATE)]
    script = [[("slow", A), ("slow", B)], [("pay", {"x": "${future_1}"}), ("slow", C)]]
    model = ScriptedChatModel(policy=desk.policy(script), check_history=True)
    approval = HumanInTheLoopMiddleware(interrupt_on={"pay": True})
    middleware = AsyncFCMiddleware(instructions="")
    graph = create_agent(
        model, tools, middleware=[approval, middleware], checkpointer=InMemorySaver()
    )
    talk = Talk(Agent(graph, "model", middleware, model), is_async)
    talk.run({"messages": [HumanMessage("go")]})
    (asked,) = talk.asked()
    (request,) = asked.value["action_requests"]
    assert request["args"] == {"x": "slow(a)"}
    edited = {"name": "pay", "args": {"x": "less"}}
    talk.run(
        Command(
            resume={
                "decisions": [
                    {"type": decision, **({"edited_action": edited} if decision == "edit" else {})}
                ]
            }
        )
    )
    assert not talk.asked()
    messages = talk.messages()
    assert_valid_history(messages)
    assert not unfinished(messages)
    paid = {"approve": {("pay", "slow(a)"): 1}, "edit": {("pay", "less"): 1}, "reject": {}}
    slow = {("slow", x): 1 for x in "abc"}
    assert desk.count("end") == desk.count("start") == {**slow, **paid[decision]}


@pytest.mark.parametrize("is_async", [True, False])
def test_approval_and_tools_that_ask(is_async: bool) -> None:
    """A person approves one call and another asks by itself, in the same message."""
    desk = Desk()
    tools = [desk.work("pay"), desk.ask("ask", PURE), desk.work("slow", PURE, until=LATE)]
    script = [[("slow", A)], [("pay", A), ("ask", A), ("slow", B)]]
    model = ScriptedChatModel(policy=desk.policy(script), check_history=True)
    middleware = AsyncFCMiddleware(instructions="")
    graph = create_agent(
        model,
        tools,
        middleware=[HumanInTheLoopMiddleware(interrupt_on={"pay": True}), middleware],
        checkpointer=InMemorySaver(),
    )
    talk = Talk(Agent(graph, "model", middleware, model), is_async)

    def answer(question: Any) -> Any:
        return {"decisions": [{"type": "approve"}]} if isinstance(question, dict) else yes(question)

    messages = talk.talk("map", answer)
    assert_valid_history(messages)
    assert not unfinished(messages)
    told = {m.tool_call_id: m.text for m in messages if isinstance(m, ToolMessage)}
    assert told["c2"] == "pay(a)"
    assert told["c3"] == "ask(a): yes to ask(a) 0?"
    expected = {("slow", "a"): 1, ("slow", "b"): 1, ("pay", "a"): 1}
    assert {k: n for k, n in desk.count("start").items() if k[0] != "ask"} == expected


# -- other nodes -----------------------------------------------------------------------------------


def _with_a_node_that_asks(desk: Desk, tools: Any, script: Any, **options: Any) -> Agent:
    """An agent in a `StateGraph`, with a node behind the tools that asks once."""
    node = AsyncFCToolNode(tools, **options)
    model = ScriptedChatModel(policy=desk.policy(script), check_history=True)
    builder = loop(model.bind_tools(node.model_tools), node, tools_condition)

    def check(state: Any) -> Any:
        if sum(isinstance(m, AIMessage) for m in state["messages"]) == 1:
            interrupt("go on?")
        return {}

    builder.add_node("check", check)
    builder.add_edge("tools", "check")
    builder.add_edge("check", "agent")
    graph = builder.compile(checkpointer=InMemorySaver())
    return Agent(graph, "agent", node, model)


@pytest.mark.parametrize("is_async", [True, False])
def test_another_node_asks_while_futures_run(is_async: bool) -> None:
    """What is safe runs again after the answer, anything else is lost, and nothing hangs."""
    desk = Desk()
    tools = [desk.work("safe", PURE, until="later"), desk.work("unsafe", until="later")]
    script = [[("safe", A), ("unsafe", A)], [("safe", {"x": "future_2"}), ("safe", B)]]
    agent = _with_a_node_that_asks(desk, tools, script, grace=0)
    # A thread cannot be stopped; it is let go below.
    talk = Talk(agent, is_async, warns=WARNED, detached=not is_async)
    talk.run({"messages": [HumanMessage("go")]})
    assert [i.value for i in talk.asked()] == ["go on?"]
    desk.open("later")
    messages = talk.answer_all()
    assert_valid_history(messages)
    assert not unfinished(messages)
    told = {m.tool_call_id: m for m in messages if isinstance(m, ToolMessage)}
    assert told["c1"].text == "safe(a)"
    assert "future_2 was lost" in told["c2"].text
    assert "may or may not have taken effect" in told["c2"].text
    assert told["c3"].status == "error"
    assert "future_2" in told["c3"].text
    assert told["c4"].text == "safe(b)"
    assert desk.count("start")["unsafe", "a"] <= 1
    assert ("safe", "future_2") not in desk.count("start")


def test_another_node_asks_and_futures_are_detached() -> None:
    """With `on_final="detach"` they go on in the process while the person thinks."""
    desk = Desk()
    tools = [desk.work("safe", PURE, until="later"), desk.work("unsafe", until="later")]
    script = [[("safe", A), ("unsafe", A)], [("safe", {"x": "${future_2}!"})]]
    agent = _with_a_node_that_asks(desk, tools, script, grace=0, on_final="detach")
    talk = Talk(agent, is_async=True, detached=True)
    with asyncio.Runner(loop_factory=VirtualTimeLoop) as talk.runner:
        talk.run({"messages": [HumanMessage("go")]})
        assert [i.value for i in talk.asked()] == ["go on?"]
        desk.open("later")
        talk.runner.run(asyncio.sleep(60))
        talk.answer_all()
        talk.runner.run(asyncio.sleep(60))
        talk.run({"messages": [HumanMessage("and?")]})
    messages = talk.messages()
    assert_valid_history(messages)
    assert not unfinished(messages)
    told = {m.tool_call_id: m.text for m in messages if isinstance(m, ToolMessage)}
    assert told["c1"] == "safe(a)"
    assert told["c2"] == "unsafe(a)"
    assert told["c3"] == "safe(unsafe(a)!)"
    assert desk.count("start") == desk.count("end")
    assert set(desk.count("start").values()) == {1}


@pytest.mark.parametrize("when", ["before-tools", "after-tools", "before-agent"])
def test_static_breakpoints_while_futures_run(way: Way, when: str) -> None:
    """A run that is stopped at a node and goes on ends as one that was not stopped."""
    case = Case(
        lambda d: [d.work("work", PURE), d.ask("ask", PURE)],
        [[("work", A), ("ask", A)], [("work", B)]],
    )
    desk, talk = opened(case, way)
    where, node = when.split("-")
    node = talk.agent.model_node if node == "agent" else node
    graph = talk.agent.graph
    if where == "before":
        graph.interrupt_before_nodes = [node]
    else:
        graph.interrupt_after_nodes = [node]
    talk.run({"messages": [HumanMessage("go")]})
    for _ in range(20):
        if not graph.get_state(talk.config).next:
            break
        asked = talk.asked()
        talk.run(Command(resume={i.id: yes(i.value) for i in asked}) if asked else None)
    check_same(case, desk, talk.messages())


def test_static_breakpoint_leaves_futures(way: Way) -> None:
    """Where it stops while a call runs, the call is safe and runs again, or is lost."""
    case = Case(
        lambda d: [d.work("safe", PURE, until="later"), d.work("unsafe", until="later")],
        [[("safe", A), ("unsafe", A)], [("safe", B)]],
        {"grace": 0},
    )
    desk, talk = opened(case, way)
    talk.warns, talk.detached = WARNED, not way.is_async  # a thread cannot be stopped
    graph = talk.agent.graph
    graph.interrupt_after_nodes = ["tools"]
    talk.run({"messages": [HumanMessage("go")]})
    assert graph.get_state(talk.config).next
    desk.open("later")
    graph.interrupt_after_nodes = []
    talk.run(None)
    messages = talk.messages()
    assert_valid_history(messages)
    assert not unfinished(messages)
    told = {m.tool_call_id: m.text for m in messages if isinstance(m, ToolMessage)}
    assert told["c1"] == "safe(a)"
    assert "future_2 was lost" in told["c2"]
    assert told["c3"] == "safe(b)"
    assert desk.count("start")["unsafe", "a"] <= 1


def test_two_threads_of_one_graph(way: Way) -> None:
    """Each thread has its own questions and answers."""
    case = Case(
        lambda d: [d.ask("ask", PURE, until=LATE), d.work("work", PURE)],
        [[("work", A), ("ask", A)], [("work", B)]],
    )
    desk, one = opened(case, way)
    two = Talk(one.agent, way.is_async, on("u"))
    for talk in (one, two):
        talk.run({"messages": [HumanMessage("go")]})
    for talk, said in ((two, "two"), (one, "one")):
        texts = [m.text for m in talk.answer_all("map", lambda _, said=said: said)]
        assert f"ask(a): {said}" in texts
    assert desk.count("end")["work", "a"] == 2
