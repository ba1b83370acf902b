"""Rules 21 and 24 to 27: runs apart from each other, and what tools can do in the background."""

from __future__ import annotations

import asyncio
import dataclasses
import operator
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Annotated, Any, TypedDict

import pytest
from langchain_core.callbacks import AsyncCallbackHandler, BaseCallbackHandler
from langchain_core.messages import (
    AIMessage,
    AnyMessage,
    HumanMessage,
    RemoveMessage,
    ToolMessage,
)
from langchain_core.runnables import RunnableConfig  # LangGraph reads annotations
from langchain_core.tools import InjectedToolCallId, tool
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.config import get_stream_writer
from langgraph.graph import END, START, MessagesState, StateGraph
from langgraph.graph.message import add_messages
from langgraph.prebuilt import InjectedState, InjectedStore, ToolRuntime
from langgraph.store.memory import InMemoryStore
from langgraph.types import Command, RetryPolicy, Send, interrupt
from pydantic import BaseModel

from langchain_asyncfc import AsyncFCToolNode, Effects, effects, tools_condition
from langchain_asyncfc.effects import UNDECLARED
from langchain_asyncfc.testing import assert_valid_history, call, in_virtual_time

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.integration.conftest import Ask, Gate, MakeAgent, Mode, Workshop

PURE = Effects()
THREAD = {"configurable": {"thread_id": "t"}}


class State(MessagesState, total=False):
    """Messages and a few free fields."""

    note: str
    notes: Annotated[list[str], operator.add]


class PydanticState(BaseModel):
    """The same as a pydantic model."""

    messages: Annotated[list[AnyMessage], add_messages] = []
    note: str = ""


class Point(BaseModel):
    """A data object."""

    x: int


@dataclasses.dataclass
class DataclassState:
    """The same as a dataclass."""

    messages: Annotated[list[AnyMessage], add_messages] = dataclasses.field(default_factory=list)
    note: str = ""


class OtherKey(TypedDict, total=False):
    """Messages under another name."""

    talk: Annotated[list[AnyMessage], add_messages]


def answers(messages: list[Any]) -> list[ToolMessage]:
    """The tool messages, without those that answer control calls."""
    names = ("await_future", "cancel_future")
    return [m for m in messages if isinstance(m, ToolMessage) and m.name not in names]


def texts(messages: list[Any]) -> list[str]:
    """The texts of the answers."""
    return [m.text for m in answers(messages)]


def now() -> float:
    """The virtual time."""
    return asyncio.get_running_loop().time()


def go(text: str = "go") -> dict[str, Any]:
    """A new human message."""
    return {"messages": [HumanMessage(text)]}


def turn(messages: list[Any]) -> int:
    """How often the model has spoken since the last human message."""
    last = max(i for i, m in enumerate(messages) if isinstance(m, HumanMessage))
    return sum(isinstance(m, AIMessage) for m in messages[last:])


@effects()
@tool
async def wait(seconds: float, name: str = "") -> str:
    """Wait."""
    await asyncio.sleep(seconds)
    return f"waited {name or seconds}"


# -- rule 21 ---------------------------------------------------------------------------------------


def echo_policy(ask: Ask) -> Callable[[list[Any]], Any]:
    """Calls with the human's text, passes the future on, ends early, then says what came."""

    def policy(messages: list[Any]) -> Any:
        said = [m.text for m in messages if isinstance(m, HumanMessage)][-1]
        number = sum(isinstance(m, ToolMessage) and m.name == "slow" for m in messages)
        match turn(messages):
            case 0:
                return ask(call("slow", x=said))
            case 1:
                return ask(call("slow", x=f"future_{number}"))
            case 2:
                return "early"
        return texts(messages)[-1]

    return policy


@pytest.mark.parametrize("threads", [True, False])
@in_virtual_time
async def test_rule_21_runs_at_once(make_agent: MakeAgent, ask: Ask, threads: bool) -> None:
    """Runs of one compiled graph that overlap have futures of their own."""

    @effects()
    @tool
    async def slow(x: Any) -> str:
        """Take as long as the text says."""
        await asyncio.sleep(len(x))
        return f"<{x}>"

    agent = make_agent(
        [slow], [echo_policy(ask)] * 100, checkpointer=InMemorySaver() if threads else None
    )

    async def run(number: int) -> str:
        config = {"configurable": {"thread_id": str(number)}} if threads else None
        said = "x" * number
        final = await agent.graph.ainvoke(go(said), config)
        assert_valid_history(final["messages"])
        assert texts(final["messages"]) == [f"<{said}>", f"<<{said}>>"]
        return final["messages"][-1].text

    results = await asyncio.gather(*(run(number) for number in range(1, 11)))
    assert results == [f"<<{'x' * number}>>" for number in range(1, 11)]


def test_rule_21_runs_at_once_in_threads(
    make_agent: MakeAgent, workshop: Workshop, ask: Ask
) -> None:
    """The same under `invoke` in several threads; all first calls are in flight at once."""
    barrier = threading.Barrier(4, timeout=20)

    @effects()
    @tool
    def slow(x: Any) -> str:
        """Meet the other runs at the first call."""
        if not x.startswith("<"):
            barrier.wait()
        return f"<{x}>"

    agent = make_agent([slow], [echo_policy(ask)] * 100, grace=0)

    def run(said: str) -> list[str]:
        return texts(agent.graph.invoke(go(said))["messages"])

    with ThreadPoolExecutor(4) as pool:
        results = list(pool.map(run, "abcd"))
    assert results == [[f"<{said}>", f"<<{said}>>"] for said in "abcd"]


def test_rule_21_numbers_go_on_in_the_next_run(
    mode: Mode, make_agent: MakeAgent, workshop: Workshop, ask: Ask, delivery: str
) -> None:
    """An id is never used again in its thread; another thread begins with 1."""
    agent = make_agent(
        [workshop.tool("slow")],
        [echo_policy(ask)] * 40,
        grace=0,
        checkpointer=InMemorySaver(),
        delivery=delivery,
    )
    inputs = [("a", "t"), ("b", "t"), ("c", "other")]
    for said, thread in inputs:
        agent.run(mode, said, {"configurable": {"thread_id": thread}})
    expected = ["a", "slow(a)", "b", "slow(b)", "c", "slow(c)"]
    assert [x for _, x in workshop.inputs] == expected


@pytest.mark.parametrize("how", ["edges", "send"])
@in_virtual_time
async def test_rule_21_parallel_subgraphs(make_agent: MakeAgent, ask: Ask, how: str) -> None:
    """Subgraphs that run at once in one thread have futures of their own."""

    @effects()
    @tool
    async def slow(x: Any) -> str:
        """Take a second."""
        await asyncio.sleep(1)
        return f"<{x}>"

    inner = make_agent([slow], [echo_policy(ask)] * 100)

    class Outer(TypedDict, total=False):
        found: Annotated[list[str], operator.add]
        said: str

    async def ask_inner(state: Any) -> Any:
        final = await inner.graph.ainvoke(go(state["said"]))
        return {"found": [final["messages"][-1].text]}

    builder = StateGraph(Outer)
    if how == "send":
        builder.add_node("inner", ask_inner)
        builder.add_conditional_edges(
            START, lambda _: [Send("inner", {"said": said}) for said in "abc"], ["inner"]
        )
        expected = ["<<a>>", "<<b>>", "<<c>>"]
    else:
        for name in "abc":
            builder.add_node(name, ask_inner)
            builder.add_edge(START, name)
        expected = ["<<go>>"] * 3
    graph = builder.compile(checkpointer=InMemorySaver())
    final = await graph.ainvoke({"said": "go"}, THREAD)
    assert sorted(final["found"]) == expected
    assert now() == pytest.approx(2, abs=0.1)


@pytest.mark.parametrize("delivered", ["in_place", "append"])
@in_virtual_time
async def test_rule_21_agent_in_a_tool_of_an_agent(
    make_agent: MakeAgent, ask: Ask, no_tasks: Any, delivered: str
) -> None:
    """A tool in the background may run a graph with futures of its own, even the same graph."""
    graph: list[Any] = []

    @effects()
    @tool
    async def delegate(x: str) -> str:
        """Have another agent do it."""
        final = await graph[0].ainvoke(go(f"{x}!"))
        return final["messages"][-1].text

    def policy(messages: list[Any]) -> Any:
        said = messages[0].text
        match turn(messages), len(said) < 4:
            case 0, True:
                return ask(call("delegate", x=said), call("wait", seconds=2, name=said))
            case 0, False:
                return ask(call("wait", seconds=5, name=said))
            case 1, _:
                return "early"
        found = "\n".join(m.text for m in messages if isinstance(m, ToolMessage))
        assert f"waited {said}" in found
        return f"{said} done"

    agent = make_agent([delegate, wait], [policy] * 30, delivery=delivered)
    graph.append(agent.graph)
    messages = await agent.arun("a")
    assert messages[-1].text == "a done"
    assert now() < 10


@in_virtual_time
async def test_rule_21_outer_and_inner_agent(
    make_agent: MakeAgent, ask: Ask, script: Any, no_tasks: Any
) -> None:
    """An agent that is a node of another agent's graph has futures of its own."""

    def inner_policy(messages: list[Any]) -> Any:
        return [ask(call("wait", seconds=3, name="inner")), "early", "inner done"][turn(messages)]

    inner = make_agent([wait], [inner_policy] * 9)
    model = script(
        ask(call("wait", seconds=9, name="outer")),
        ask(call("wait", seconds=1, name="future_1")),
        "early",
        "done",
    )
    node = AsyncFCToolNode([wait])
    builder = StateGraph(State)

    async def think(state: Any) -> Any:
        return {"messages": [await model.ainvoke(state["messages"])]}

    async def consult(state: Any) -> Any:
        final = await inner.graph.ainvoke(go())
        return {"notes": texts(final["messages"])}

    builder.add_node("agent", think)
    builder.add_node("tools", node)
    builder.add_node("inner", consult)
    builder.add_edge(START, "agent")
    builder.add_conditional_edges("agent", tools_condition)
    builder.add_edge("tools", "inner")
    builder.add_edge("inner", "agent")
    final = await builder.compile().ainvoke(go())
    no_tasks()
    assert final["notes"] == ["waited inner"] * 3
    assert texts(final["messages"]) == ["waited outer", "waited waited outer"]


@in_virtual_time
async def test_rule_21_two_nodes_in_one_graph(ask: Ask, script: Any, workshop: Workshop) -> None:
    """Two asynchronous tool nodes of one graph share its thread: numbers, references, delivery."""
    read = workshop.tool("read")
    one = AsyncFCToolNode([wait], name="one")
    two = AsyncFCToolNode([read], name="two", delivery="in_place")
    model = script(
        ask(call("wait", seconds=3)),
        ask(call("read", x="future_1")),
        ask(call("wait", seconds=1)),
        "early",
        "done",
    )
    builder = StateGraph(MessagesState)

    async def think(state: Any) -> Any:
        return {"messages": [await model.ainvoke(state["messages"])]}

    def route(state: Any) -> str:
        if tools_condition(state) == END:
            return END
        made = state["messages"][-1].tool_calls
        return "two" if made and made[0]["name"] == "read" else "one"

    builder.add_node("agent", think)
    builder.add_node("one", one)
    builder.add_node("two", two)
    builder.add_edge(START, "agent")
    builder.add_conditional_edges("agent", route, ["one", "two", END])
    builder.add_edge("one", "agent")
    builder.add_edge("two", "agent")
    final = await builder.compile().ainvoke(go())
    assert_valid_history(final["messages"])
    assert texts(final["messages"]) == ["waited 3.0", "read(waited 3.0)", "waited 1.0"]


# -- Send branches ---------------------------------------------------------------------------------


@pytest.mark.parametrize("last", ["early", "await"])
def test_rule_5_each_call_in_a_task_of_its_own(
    mode: Mode,
    workshop: Workshop,
    gate: Gate,
    ask: Ask,
    script: Any,
    delivery: str,
    last: str,
) -> None:
    """Where a graph sends each call to the node by itself, numbers and deliveries stay the same."""

    def third(messages: list[Any]) -> Any:
        gate.open()
        return "early" if last == "early" else ask(call("await_future"))

    node = AsyncFCToolNode(
        [workshop.tool("slow", gate, does=PURE), workshop.tool("use", does=PURE)], delivery=delivery
    )
    model = script(
        ask(call("slow", x=1), call("use", x="future_1"), call("slow", x=3)),
        ask(call("use", x="future_3"), call("use", x="future_2")),
        third,
        "done",
    )
    builder = StateGraph(MessagesState)

    def think(state: Any) -> Any:
        return {"messages": [model.invoke(state["messages"])]}

    def route(state: Any) -> Any:
        if tools_condition(state) == END:
            return END
        made = state["messages"][-1].tool_calls
        return [
            Send(
                "tools",
                {"__type": "tool_call_with_context", "tool_call": one, "state": state},
            )
            for one in made
        ] or "tools"

    builder.add_node("agent", think)
    builder.add_node("tools", node)
    builder.add_edge(START, "agent")
    builder.add_conditional_edges("agent", route, ["tools", END])
    builder.add_edge("tools", "agent")
    final = mode.run(builder.compile(), go())
    messages = final["messages"]
    assert_valid_history(messages)
    expected = ["slow(1)", "use(slow(1))", "slow(3)", "use(slow(3))", "use(use(slow(1)))"]
    if delivery == "in_place":
        assert texts(messages) == expected
    else:
        everything = "\n".join(m.text for m in messages if isinstance(m, ToolMessage))
        for number, text in enumerate(expected, 1):
            assert everything.count(f"[future_{number}] {text}") == 1


# -- states ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("schema", [MessagesState, PydanticState, DataclassState])
def test_rule_23_any_form_of_state(
    mode: Mode,
    make_agent: MakeAgent,
    workshop: Workshop,
    gate: Gate,
    ask: Ask,
    schema: Any,
    delivery: str,
) -> None:
    """Dict, pydantic and dataclass states work alike, without a key of ours."""

    def second(messages: list[Any]) -> Any:
        gate.open()
        return "early"

    agent = make_agent(
        [workshop.tool("slow", gate)],
        [ask(call("slow")), second, "done"],
        schema=schema,
        delivery=delivery,
    )
    messages = agent.run(mode)
    assert messages[-1].text == "done"
    assert "slow()" in "\n".join(m.text for m in messages if isinstance(m, ToolMessage))


def test_rule_23_custom_messages_key(
    mode: Mode, make_agent: MakeAgent, workshop: Workshop, gate: Gate, ask: Ask
) -> None:
    """Messages under another key are read and written there."""

    def second(messages: list[Any]) -> Any:
        gate.open()
        return "early"

    agent = make_agent(
        [workshop.tool("slow", gate)],
        [ask(call("slow")), second, "done"],
        schema=OtherKey,
        messages_key="talk",
    )
    final = mode.run(agent.graph, {"talk": [HumanMessage("go")]})
    assert texts(final["talk"]) == ["slow()"]
    assert_valid_history(final["talk"])


# -- rule 24 ---------------------------------------------------------------------------------------


def test_rule_24_return_direct(
    mode: Mode, make_agent: MakeAgent, workshop: Workshop, gate: Gate, ask: Ask
) -> None:
    """A `return_direct` tool waits for its references, runs in the step, and has no placeholder."""

    def second(messages: list[Any]) -> Any:
        gate.open()
        return ask(call("direct", x="future_1"))

    agent = make_agent(
        [workshop.tool("slow", gate), workshop.tool("direct", return_direct=True)],
        [ask(call("slow")), second, "done"],
        grace=0,
    )
    messages = agent.run(mode)
    assert texts(messages) == ["slow()", "direct(slow())"]
    assert answers(messages)[1].additional_kwargs == {}
    assert len(agent.calls) == 3


@pytest.mark.needs_langgraph("1.1")
def test_rule_24_foreground_interrupt(
    mode: Mode, make_agent: MakeAgent, workshop: Workshop, gate: Gate, ask: Ask
) -> None:
    """A foreground tool interrupts with its references resolved, and goes on when resumed."""
    asked: list[Any] = []

    @effects(foreground=True)
    @tool
    def approve(amount: Any) -> str:
        """Ask a human."""
        asked.append(amount)
        return f"approved: {interrupt({'amount': amount})}"

    def second(messages: list[Any]) -> Any:
        gate.open()
        return ask(call("await_future"))

    agent = make_agent(
        [workshop.tool("slow", gate, result={"n": 7}), approve],
        [ask(call("slow")), second, ask(call("approve", amount="future_1.n")), "done"],
        checkpointer=InMemorySaver(),
    )
    first = mode.run(agent.graph, go(), THREAD)
    assert len(agent.calls) == 3
    state = agent.graph.get_state(THREAD)
    [pending] = state.interrupts
    assert pending.value == {"amount": 7}
    assert len(first["messages"]) == 6
    final = mode.run(agent.graph, Command(resume="yes"), THREAD)
    assert texts(final["messages"]) == ['{"n": 7}', "approved: yes"]
    assert asked == [7, 7]
    assert workshop.started() == ["slow"]
    assert_valid_history(final["messages"])


@in_virtual_time
async def test_rule_24_foreground_beside_futures(
    make_agent: MakeAgent, workshop: Workshop, ask: Ask
) -> None:
    """A foreground call is answered in its step while others of its message become futures."""
    agent = make_agent(
        [wait, workshop.tool("front", does=Effects(foreground=True))],
        [ask(call("wait", seconds=5), call("front"), call("front", x="future_1.x")), "e", "d"],
    )
    messages = await agent.arun()
    seen = agent.seen(1)
    assert seen[1] == "front()"
    assert answers(messages)[2].status == "error"
    assert now() == pytest.approx(5.0)


@pytest.mark.parametrize("on_final", ["review", "settle", "detach"])
@in_virtual_time
async def test_rule_24_foreground_interrupt_beside_futures(
    make_agent: MakeAgent, ask: Ask, on_final: str, no_tasks: Any
) -> None:
    """An interrupt while futures run can be resumed, and the thread comes to its end."""

    @effects(foreground=True)
    @tool
    def approve(x: str) -> str:
        """Ask a human."""
        return f"approved: {interrupt(x)}"

    agent = make_agent(
        [wait, approve],
        [ask(call("wait", seconds=5)), ask(call("approve", x="go?")), "early", "done"],
        checkpointer=InMemorySaver(),
        on_final=on_final,
    )
    await agent.graph.ainvoke(go(), THREAD)
    state = await agent.graph.aget_state(THREAD)
    assert [pending.value for pending in state.interrupts] == ["go?"]
    await asyncio.sleep(10)
    final = await agent.graph.ainvoke(Command(resume="yes"), THREAD)
    assert texts(final["messages"])[1] == "approved: yes"
    if on_final == "detach":
        assert texts(final["messages"])[0] == "waited 5.0"
    assert_valid_history(final["messages"])
    no_tasks()


# -- rule 25 ---------------------------------------------------------------------------------------


@in_virtual_time
async def test_rule_25_command_update_at_delivery(
    make_agent: MakeAgent, ask: Ask, delivery: str
) -> None:
    """A late `Command` updates the state when it is delivered, once."""

    @effects()
    @tool
    async def note(text: str, tool_call_id: Annotated[str, InjectedToolCallId]) -> Any:
        """Write a note."""
        await asyncio.sleep(2)
        message = ToolMessage(f"noted {text}", tool_call_id=tool_call_id)
        return Command(update={"messages": [message], "notes": [text]})

    agent = make_agent(
        [note],
        [ask(call("note", text="a"), call("note", text="b")), "early", "done"],
        schema=State,
        delivery=delivery,
    )
    final = await agent.graph.ainvoke(go())
    assert_valid_history(final["messages"])
    assert sorted(final["notes"]) == ["a", "b"]
    text = "\n".join(m.text for m in final["messages"] if isinstance(m, ToolMessage))
    assert text.count("noted a") == text.count("noted b") == 1


@pytest.mark.parametrize("late", [True, False])
@in_virtual_time
async def test_rule_25_goto(ask: Ask, script: Any, late: bool, delivery: str) -> None:
    """A late `Command` goes where it says, at delivery."""
    visited: list[str] = []

    @effects()
    @tool
    async def jump(tool_call_id: Annotated[str, InjectedToolCallId]) -> Any:
        """Go to another node."""
        await asyncio.sleep(2 if late else 0)
        message = ToolMessage("jumped", tool_call_id=tool_call_id)
        return Command(goto="other", update={"messages": [message]})

    node = AsyncFCToolNode([jump], delivery=delivery)
    model = script(ask(call("jump")), "early", *(["done"] if late else []))
    builder = StateGraph(MessagesState)

    async def think(state: Any) -> Any:
        return {"messages": [await model.ainvoke(state["messages"])]}

    def other(state: Any) -> Any:
        visited.append("other")
        return {}

    builder.add_node("agent", think)
    builder.add_node("tools", node, destinations=("other", "agent"))
    builder.add_node("other", other)
    builder.add_edge(START, "agent")
    builder.add_conditional_edges("agent", tools_condition)
    builder.add_edge("tools", "agent")
    final = await builder.compile().ainvoke(go())
    assert visited == ["other"]
    assert_valid_history(final["messages"])
    text = "\n".join(m.text for m in final["messages"] if isinstance(m, ToolMessage))
    assert text.count("jumped") == 1


@in_virtual_time
async def test_rule_25_parent_command(make_agent: MakeAgent, ask: Ask, no_tasks: Any) -> None:
    """A late `Command` to the parent graph reaches it, and ends the subgraph's run cleanly."""

    @effects()
    @tool
    async def leave(tool_call_id: Annotated[str, InjectedToolCallId]) -> Any:
        """Hand over to another agent."""
        await asyncio.sleep(2)
        message = ToolMessage("left", tool_call_id=tool_call_id)
        return Command(
            graph=Command.PARENT,
            goto="other",
            update={"note": "from inside", "messages": [message]},
        )

    inner = make_agent(
        [leave, wait], [ask(call("leave"), call("wait", seconds=99)), "early"], schema=State
    )
    builder = StateGraph(State)
    seen: list[Any] = []

    def other(state: Any) -> Any:
        seen.append(state["note"])
        return {}

    builder.add_node("inner", inner.graph, destinations=("other",))
    builder.add_node("other", other)
    builder.add_edge(START, "inner")
    await builder.compile().ainvoke(go())
    assert seen == ["from inside"]
    no_tasks()


@in_virtual_time
async def test_rule_25_remaining_kinds_of_results(make_agent: MakeAgent, ask: Ask) -> None:
    """Artifacts, content blocks and tool messages of the tool's own arrive late unchanged."""

    @effects()
    @tool(response_format="content_and_artifact")
    async def file(x: int = 0) -> Any:
        """Make a file."""
        await asyncio.sleep(1)
        return "a file", {"bytes": b"123"}

    @effects()
    @tool
    async def blocks(x: int = 0) -> Any:
        """Make blocks."""
        await asyncio.sleep(1)
        return [{"type": "text", "text": "one"}, {"type": "text", "text": "two"}]

    @effects()
    @tool
    async def own(tool_call_id: Annotated[str, InjectedToolCallId]) -> Any:
        """Make a message."""
        await asyncio.sleep(1)
        return ToolMessage(
            "mine", tool_call_id=tool_call_id, artifact=5, additional_kwargs={"k": "v"}
        )

    agent = make_agent(
        [file, blocks, own], [ask(call("file"), call("blocks"), call("own")), "early", "done"]
    )
    first, second, third = answers(await agent.arun())
    assert (first.content, first.artifact) == ("a file", {"bytes": b"123"})
    assert second.content == [{"type": "text", "text": "one"}, {"type": "text", "text": "two"}]
    assert (third.content, third.artifact, third.additional_kwargs["k"]) == ("mine", 5, "v")


def test_rule_25_injection_in_the_background(
    mode: Mode, make_agent: MakeAgent, make_gate: type[Gate], ask: Ask
) -> None:
    """State, store and runtime are there when the call runs late: the state is that of its step."""
    gate, seen = make_gate(), []
    store = InMemoryStore()
    store.put(("n",), "k", {"v": 1})

    @tool
    def look(
        x: str,
        state: Annotated[dict[str, Any], InjectedState],
        note: Annotated[str, InjectedState("note")],
        kept: Annotated[Any, InjectedStore()],
        runtime: ToolRuntime[Any, Any],
    ) -> str:
        """Look around."""
        kept.put(("n",), "written", {"v": x})
        seen.append(
            (
                x,
                note,
                len(state["messages"]),
                kept.get(("n",), "k").value,
                runtime.context,
                runtime.tool_call_id,
                runtime.state["note"],
                runtime.config["configurable"]["thread_id"],
            )
        )
        return "looked"

    class Slow:
        def run(self, x: str) -> str:
            gate.wait()
            return "value"

        async def arun(self, x: str) -> str:
            await gate.wait_async()
            return "value"

    from langchain_core.tools import StructuredTool

    slow = StructuredTool.from_function(
        Slow().run, Slow().arun, name="slow", description="Be slow."
    )

    def second(messages: list[Any]) -> Any:
        gate.open()
        return ask(call("await_future"))

    made = call("look", x="future_1")
    agent = make_agent(
        [slow, look],
        [ask(call("slow", x=""), made), second, "done"],
        schema=State,
        store=store,
        context_schema=dict,
        checkpointer=InMemorySaver(),
    )
    value = {**go(), "note": "a note"}
    final = mode.run(agent.graph, value, THREAD, context={"who": "me"})
    assert texts(final["messages"]) == ["value", "looked"]
    assert seen == [("value", "a note", 2, {"v": 1}, {"who": "me"}, made["id"], "a note", "t")]
    assert store.get(("n",), "written").value == {"v": "value"}


@in_virtual_time
async def test_rule_25_stream_writers_late(make_agent: MakeAgent, ask: Ask) -> None:
    """Both kinds of stream writers write while the tool runs, after its step has ended."""

    @effects()
    @tool
    async def talk(runtime: ToolRuntime) -> str:
        """Report progress."""
        write = get_stream_writer()
        for number in range(3):
            await asyncio.sleep(1)
            (write if number % 2 else runtime.stream_writer)({"n": number, "at": now()})
        return "talked"

    agent = make_agent([talk], [ask(call("talk")), "early", "done"], model={"ttft": 1.5}, grace=0)
    seen: list[Any] = []
    async for chunk in agent.graph.astream(go(), stream_mode="custom"):
        seen.append((chunk["n"], chunk["at"], now()))
    assert [n for n, _, _ in seen] == [0, 1, 2]
    assert all(written == read for _, written, read in seen)


# -- rule 26 ---------------------------------------------------------------------------------------


class Tracer(AsyncCallbackHandler):
    """Notes runs: their names and parents, and when they start and end."""

    def __init__(self) -> None:
        self.parents: dict[Any, Any] = {}
        self.names: dict[Any, str] = {}
        self.tools: dict[Any, list[Any]] = {}

    async def on_chain_start(self, serialized: Any, inputs: Any, **kwargs: Any) -> None:
        """Note a chain."""
        self.names[kwargs["run_id"]] = kwargs.get("name") or ""
        self.parents[kwargs["run_id"]] = kwargs["parent_run_id"]

    async def on_tool_start(self, serialized: Any, input_str: str, **kwargs: Any) -> None:
        """Note a tool's start."""
        self.parents[kwargs["run_id"]] = kwargs["parent_run_id"]
        self.tools[kwargs["run_id"]] = [kwargs.get("inputs"), now(), None, None]

    async def on_tool_end(self, output: Any, **kwargs: Any) -> None:
        """Note a tool's end."""
        self.tools[kwargs["run_id"]][2:] = ["end", now()]

    async def on_tool_error(self, error: BaseException, **kwargs: Any) -> None:
        """Note a tool's error."""
        self.tools[kwargs["run_id"]][2:] = [type(error).__name__, now()]


@pytest.mark.parametrize("end", ["cancel_future", "timeout", "run cancelled"])
@in_virtual_time
async def test_rule_26_traces(make_agent: MakeAgent, ask: Ask, end: str) -> None:
    """A tool's run is the child of its step, begins and ends when it does, however it ends."""
    tracer = Tracer()

    def third(messages: list[Any]) -> Any:
        if end == "cancel_future":
            return ask(call("cancel_future", futures=["future_2"]))
        return ask(call("await_future"))

    agent = make_agent(
        [wait],
        [ask(call("wait", seconds=2), call("wait", seconds=1000)), third, "d", "d"],
        model={"ttft": 1.0},
        grace=0,
        timeout=7.0 if end == "timeout" else None,
    )
    config = {"callbacks": [tracer]}
    task = asyncio.create_task(agent.graph.ainvoke(go(), config))
    if end == "run cancelled":
        await asyncio.sleep(4)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
    else:
        await task
    short, long = tracer.tools.values()
    assert short[1:] == [1.0, "end", 3.0]
    assert (
        long[2:]
        == {
            "cancel_future": ["ToolCancelled", 2.0],
            "timeout": ["ToolTimeout", 8.0],
            "run cancelled": ["ToolCancelled", 4.0],
        }[end]
    )
    for run_id in tracer.tools:
        assert tracer.names[tracer.parents[run_id]] == "tools"


def test_rule_26_traces_under_invoke(
    make_agent: MakeAgent, workshop: Workshop, gate: Gate, ask: Ask
) -> None:
    """Under `invoke` a tool's run is the child of its step as well."""
    names: dict[Any, str] = {}
    seen: list[Any] = []

    class Handler(BaseCallbackHandler):
        def on_chain_start(self, serialized: Any, inputs: Any, **kwargs: Any) -> None:
            names[kwargs["run_id"]] = kwargs.get("name")

        def on_tool_start(self, serialized: Any, input_str: str, **kwargs: Any) -> None:
            seen.append(("start", names[kwargs["parent_run_id"]]))

        def on_tool_end(self, output: Any, **kwargs: Any) -> None:
            seen.append(("end", names[kwargs["parent_run_id"]]))

    def second(messages: list[Any]) -> Any:
        gate.open()
        return ask(call("await_future"))

    agent = make_agent([workshop.tool("slow", gate)], [ask(call("slow")), second, "done"])
    agent.graph.invoke(go(), {"callbacks": [Handler()]})
    assert seen == [("start", "tools"), ("end", "tools")]


@in_virtual_time
async def test_rule_26_events_while_it_runs(make_agent: MakeAgent, ask: Ask) -> None:
    """`astream_events` shows a tool's start and end when they happen."""
    agent = make_agent(
        [wait], [ask(call("wait", seconds=2.5)), "early", "done"], model={"ttft": 1.0}, grace=0
    )
    seen: dict[str, tuple[float, Any]] = {}
    async for event in agent.graph.astream_events(go(), version="v2"):
        if event["event"] in ("on_tool_start", "on_tool_end"):
            seen[event["event"]] = now(), event["data"].get("output")
    assert seen["on_tool_start"][0] == 1.0
    at, output = seen["on_tool_end"]
    assert at == 3.5
    assert output.content == "waited 2.5"


@in_virtual_time
async def test_rule_26_events_of_a_cancelled_tool(make_agent: MakeAgent, ask: Ask) -> None:
    """A cancelled tool's run is closed with an event too."""
    agent = make_agent(
        [wait],
        [ask(call("wait", seconds=99)), ask(call("cancel_future", futures=["future_1"])), "d", "d"],
    )
    seen = [
        event["event"]
        async for event in agent.graph.astream_events(go(), version="v2")
        if event["event"].startswith("on_tool")
    ]
    assert seen == ["on_tool_start", "on_tool_error"]


@in_virtual_time
async def test_rule_26_stream_mode_messages(make_agent: MakeAgent, ask: Ask, delivery: str) -> None:
    """`stream_mode="messages"` shows the placeholder and then the delivered value."""
    agent = make_agent(
        [wait],
        [ask(call("wait", seconds=2)), "early", "done"],
        delivery=delivery,
    )
    seen = [
        (message.text, metadata["langgraph_node"])
        async for message, metadata in agent.graph.astream(go(), stream_mode="messages")
        if isinstance(message, ToolMessage)
    ]
    assert "future_1 is running" in seen[0][0]
    shown = [text for text, _ in seen[1:] if "waited 2.0" in text]
    assert len(shown) == 1
    assert all(node == "tools" for _, node in seen)


@in_virtual_time
async def test_rule_26_stream_mode_updates(make_agent: MakeAgent, ask: Ask) -> None:
    """`stream_mode="updates"` shows the delivered value as an update of the tools."""
    agent = make_agent([wait], [ask(call("wait", seconds=2)), "early", "done"])
    updates = [
        texts(chunk["tools"]["messages"])
        async for chunk in agent.graph.astream(go(), stream_mode="updates")
        if "tools" in chunk
    ]
    assert "future_1 is running" in updates[0][0]
    assert updates[1] == ["waited 2.0"]


@pytest.mark.needs_langgraph("1.2")
@in_virtual_time
async def test_rule_26_stream_mode_tools(make_agent: MakeAgent, ask: Ask) -> None:
    """`stream_mode="tools"` shows a tool's start and end when they happen."""
    agent = make_agent(
        [wait], [ask(call("wait", seconds=2.5)), "early", "done"], model={"ttft": 1.0}, grace=0
    )
    seen = []
    async for chunk in agent.graph.astream(go(), stream_mode="tools"):
        seen.append((now(), chunk))
    assert [at for at, _ in seen] == [1.0, 3.5]


# -- rule 27, and graphs of all kinds --------------------------------------------------------------


def test_rule_27_async_only_tool(mode: Mode, make_agent: MakeAgent, ask: Ask) -> None:
    """A tool with only a coroutine runs under each entry point, in the background too."""

    @tool
    async def only(x: int) -> str:
        """Be a coroutine."""
        await asyncio.sleep(0)
        return f"only {x}"

    agent = make_agent(
        [only], [ask(call("only", x=1)), ask(call("only", x=2)), "early", "done"], grace=0
    )
    replies = agent.run(mode)
    assert texts(replies) == ["only 1", "only 2"]


def test_rule_27_sync_only_tool(mode: Mode, make_agent: MakeAgent, ask: Ask, delivery: str) -> None:
    """A tool with only a function runs in a thread, in the background too."""
    idents: list[int] = []

    @tool
    def only(x: int) -> str:
        """Be a function."""
        idents.append(threading.get_ident())
        return f"only {x}"

    agent = make_agent(
        [only],
        [ask(call("only", x=1)), ask(call("only", x=2)), ask(call("await_future")), "done"],
        grace=0,
        delivery=delivery,
    )
    messages = agent.run(mode)
    everything = "\n".join(m.text for m in messages if isinstance(m, ToolMessage))
    assert everything.count("only 1") == everything.count("only 2") == 1
    assert threading.get_ident() not in idents


@pytest.mark.parametrize("on_model", [True, False])
@in_virtual_time
async def test_rule_22_retry_starts_no_call_twice(
    ask: Ask, script: Any, workshop: Workshop, make_gate: type[Gate], on_model: bool
) -> None:
    """A `RetryPolicy` on any node does not start an issued call again."""
    gate = make_gate()
    failures = [ConnectionError("once")]

    def flaky(messages: list[Any]) -> Any:
        if failures and on_model:
            raise failures.pop()
        gate.open()
        return ask(call("await_future"))

    slow = workshop.tool("slow", gate, does=PURE)
    bad = workshop.tool("bad", error=ConnectionError("always"), does=PURE)
    node = AsyncFCToolNode([slow, bad], handle_tool_errors=False)
    first = ask(call("slow"), *([] if on_model else [call("bad")]))
    model = script(first, flaky, flaky, "done")
    builder = StateGraph(MessagesState)

    async def think(state: Any) -> Any:
        return {"messages": [await model.ainvoke(state["messages"])]}

    policy = RetryPolicy(initial_interval=1.0, jitter=False, max_attempts=3)
    builder.add_node("agent", think, retry_policy=policy)
    builder.add_node("tools", node, retry_policy=policy)
    builder.add_edge(START, "agent")
    builder.add_conditional_edges("agent", tools_condition)
    builder.add_edge("tools", "agent")
    graph = builder.compile()
    if on_model:
        final = await graph.ainvoke(go())
        assert texts(final["messages"]) == ["slow()"]
        assert workshop.started() == ["slow"]
    else:
        with pytest.raises(ConnectionError, match="always"):
            await graph.ainvoke(go())
        assert sorted(workshop.started()) == ["bad", "slow"]


@pytest.mark.parametrize(("version", "hook"), [("v1", False), ("v2", False), ("v2", True)])
@pytest.mark.parametrize("last", ["waits", "early"])
@in_virtual_time
async def test_create_react_agent(
    ask: Ask, script: Any, no_tasks: Any, version: Any, last: str, hook: bool
) -> None:
    """In LangGraph's own agent results are waited for; with the review hook they come later."""
    import warnings

    from langgraph.prebuilt import create_react_agent

    @effects()
    @tool
    async def slow(x: int = 0) -> str:
        """Take a while."""
        await asyncio.sleep(5)
        return f"slow value {x}"

    node = AsyncFCToolNode([slow])
    seen: list[str] = []

    def second(messages: list[Any]) -> Any:
        seen.extend(texts(messages))
        return ask(call("await_future")) if last == "waits" else "early"

    replies = [ask(call("slow", x=1)), second] + ["done"] * (hook or last == "waits")
    model = script(*replies, "hello")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        more = {"post_model_hook": node.review_hook} if hook else {}
        agent = create_react_agent(
            model, node, version=version, checkpointer=InMemorySaver(), **more
        )
    final = await agent.ainvoke(go(), THREAD)
    no_tasks()
    assert ("future_1 is running" in seen[0]) is hook
    assert_valid_history(final["messages"])
    assert texts(final["messages"]) == ["slow value 1"]
    assert final["messages"][-1].text == ("done" if len(replies) == 3 else "early")
    final = await agent.ainvoke(go(), THREAD)
    assert_valid_history(final["messages"])
    assert final["messages"][-1].text == "hello"


@pytest.mark.parametrize("what", ["placeholder", "exchange", "everything"])
@in_virtual_time
async def test_rule_23_removed_messages(
    ask: Ask, script: Any, delivery: str, what: str, no_tasks: Any
) -> None:
    """An outcome whose placeholder was removed is dropped or appended, never orphaned."""
    node = AsyncFCToolNode([wait], delivery=delivery)
    model = script(
        ask(call("wait", seconds=3, name="a")),
        ask(call("wait", seconds=9, name="b")),
        ask(call("await_future")),
        "early",
        "done",
        "done",
    )
    builder = StateGraph(MessagesState)
    done: list[bool] = []

    async def think(state: Any) -> Any:
        return {"messages": [await model.ainvoke(state["messages"])]}

    def forget(state: Any) -> Any:
        messages = state["messages"]
        if done or len(answers(messages)) < 2:
            return {}
        done.append(True)
        kept = {"placeholder": messages[1:3], "exchange": messages[1:3], "everything": messages[1:]}
        return {"messages": [RemoveMessage(m.id) for m in kept[what]]}

    builder.add_node("agent", think)
    builder.add_node("tools", node)
    builder.add_node("forget", forget)
    builder.add_edge(START, "agent")
    builder.add_conditional_edges("agent", tools_condition)
    builder.add_edge("tools", "forget")
    builder.add_edge("forget", "agent")
    final = await builder.compile().ainvoke(go())
    assert_valid_history(final["messages"])
    no_tasks()
    everything = "\n".join(m.text for m in final["messages"] if isinstance(m, ToolMessage))
    assert everything.count("waited a") <= 1
    if what != "everything":
        assert everything.count("waited b") == 1


@in_virtual_time
async def test_rule_23_trimmed_history(ask: Ask, script: Any, delivery: str) -> None:
    """A model that is sent only the last messages does not change what is delivered."""
    node = AsyncFCToolNode([wait], delivery=delivery)
    model = script(
        ask(call("wait", seconds=3, name="a")),
        ask(call("wait", seconds=1, name="b", await_result=True)),
        ask(call("await_future")),
        "done",
    )
    builder = StateGraph(MessagesState)

    async def think(state: Any) -> Any:
        messages = state["messages"]
        start = max(i for i, m in enumerate(messages) if not isinstance(m, ToolMessage))
        return {"messages": [await model.ainvoke([messages[0], *messages[max(start, 1) :]])]}

    builder.add_node("agent", think)
    builder.add_node("tools", node)
    builder.add_edge(START, "agent")
    builder.add_conditional_edges("agent", tools_condition)
    builder.add_edge("tools", "agent")
    final = await builder.compile().ainvoke(go())
    assert_valid_history(final["messages"])
    everything = "\n".join(m.text for m in final["messages"] if isinstance(m, ToolMessage))
    assert everything.count("waited a") == everything.count("waited b") == 1


def replayable(ask: Ask) -> Callable[[list[Any]], Any]:
    """A policy that depends on the messages alone."""

    def policy(messages: list[Any]) -> Any:
        return [ask(call("slow", _id="the-id", x="old")), "early", "done"][min(turn(messages), 2)]

    return policy


@pytest.mark.parametrize("kind", ["replay", "fork"])
def test_rule_22_from_before_the_call_was_issued(
    mode: Mode, make_agent: MakeAgent, workshop: Workshop, ask: Ask, delivery: str, kind: str
) -> None:
    """A replay or fork from before an issue starts the call again and never gets the old value."""
    results = iter(["first", "second"])
    agent = make_agent(
        [workshop.tool("slow", result=lambda x: f"{next(results)} {x}")],
        [replayable(ask)] * 20,
        grace=0,
        checkpointer=InMemorySaver(),
        delivery=delivery,
    )
    agent.run(mode, config=THREAD)
    [before] = [
        state
        for state in agent.graph.get_state_history(THREAD)
        if state.next == ("tools",) and len(state.values["messages"]) == 2
    ]
    config = before.config
    if kind == "fork":
        edited = before.values["messages"][-1].model_copy(deep=True)
        edited.tool_calls[0]["args"] = {"x": "new"}
        config = agent.graph.update_state(config, {"messages": [edited]}, as_node="agent")
    final = mode.run(agent.graph, None, config)
    everything = "\n".join(m.text for m in final["messages"] if isinstance(m, ToolMessage))
    assert ("second old" if kind == "replay" else "second new") in everything
    assert "first" not in everything
    assert_valid_history(final["messages"])


def test_rule_22_from_after_the_call_was_issued(
    mode: Mode, make_agent: MakeAgent, workshop: Workshop, ask: Ask, delivery: str
) -> None:
    """A replay from a checkpoint with a placeholder ends, and gives no value of the old run."""
    agent = make_agent(
        [workshop.tool("slow", result="first")],
        [replayable(ask)] * 20,
        grace=0,
        checkpointer=InMemorySaver(),
        delivery=delivery,
    )
    agent.run(mode, config=THREAD)
    pending = [
        state
        for state in agent.graph.get_state_history(THREAD)
        if state.next == ("agent",) and len(state.values["messages"]) == 3
    ]
    final = mode.run(agent.graph, None, {**pending[-1].config, "recursion_limit": 15})
    everything = "\n".join(m.text for m in final["messages"] if isinstance(m, ToolMessage))
    assert "lost" in everything
    assert "first" not in everything
    assert final["messages"][-1].text == "done"
    assert_valid_history(final["messages"])


def test_rule_23_placeholder_without_a_future(
    mode: Mode, make_agent: MakeAgent, workshop: Workshop, ask: Ask, delivery: str
) -> None:
    """A pending record that no run owns is delivered as lost, whatever the model does first."""
    record = {"asyncfc": {"future": "future_1", "state": "pending"}}
    old = [
        HumanMessage("go"),
        ask(call("slow", _id="old")),
        ToolMessage(
            "future_1 is running.",
            name="slow",
            tool_call_id="old",
            id="p",
            additional_kwargs=record,
        ),
        HumanMessage("again"),
    ]
    for first in ("early", ask(call("await_future")), ask(call("use", x=1, await_result=True))):
        agent = make_agent(
            [workshop.tool("slow"), workshop.tool("use")],
            [first, "more", "done"],
            delivery=delivery,
        )
        final = mode.run(agent.graph, {"messages": [m.model_copy() for m in old]})
        everything = "\n".join(m.text for m in final["messages"] if isinstance(m, ToolMessage))
        assert everything.count("future_1 was lost") == 1
        assert_valid_history(final["messages"])
    agent = make_agent([workshop.tool("use")], [ask(call("use", x="future_1")), "e", "d"])
    final = mode.run(agent.graph, {"messages": [m.model_copy() for m in old]})
    assert "future_1" in texts(final["messages"])[-1]
    assert answers(final["messages"])[-1].status == "error"


# -- odd graphs ------------------------------------------------------------------------------------


def split_graph(nodes: dict[str, Any], model: Any, by_tool: Callable[[str], str]) -> Any:
    """A graph that sends each call to one of several nodes, by the tool's name."""

    def think(state: Any) -> Any:
        return {"messages": [model.invoke(state["messages"])]}

    def route(state: Any) -> Any:
        if tools_condition(state) == END:
            return END
        made = state["messages"][-1].tool_calls
        if not made:
            return next(iter(nodes))
        context = "tool_call_with_context"
        return [
            Send(by_tool(one["name"]), {"__type": context, "tool_call": one, "state": state})
            for one in made
        ]

    builder = StateGraph(MessagesState)
    builder.add_node("agent", think)
    for name, node in nodes.items():
        builder.add_node(name, node)
        builder.add_edge(name, "agent")
    builder.add_edge(START, "agent")
    builder.add_conditional_edges("agent", route, [*nodes, END])
    return builder.compile()


def test_rule_5_await_all_with_one_step_at_a_time(
    mode: Mode, workshop: Workshop, ask: Ask, script: Any
) -> None:
    """A graph that runs its tasks one by one does not hang when the first call awaits all."""
    node = AsyncFCToolNode([workshop.tool("t", does=PURE)])
    model = script(
        ask(call("t", x=1, await_result="all"), call("t", x=2), call("t", x="future_2")),
        ask(call("await_future"), call("t", x=3)),
        "early",
        "done",
        "done",
    )
    graph = split_graph({"tools": node}, model, lambda _: "tools")
    final = mode.run(graph, go(), {"max_concurrency": 1})
    assert texts(final["messages"]) == ["t(1)", "t(2)", "t(t(2))", "t(3)"]
    assert_valid_history(final["messages"])


def test_rule_3_two_nodes_share_one_message(
    mode: Mode, workshop: Workshop, gate: Gate, ask: Ask, script: Any
) -> None:
    """Where calls of one message go to two asynchronous nodes, each tool keeps its own facts.

    In threads either node may come first, so a reference between them may be refused there; see
    the next test.
    """

    def second(messages: list[Any]) -> Any:
        assert not ordered or workshop.started() == ["write"]
        gate.open()
        return ask(call("write", x=9, await_result="all"))

    one = AsyncFCToolNode([workshop.tool("write", gate, does=Effects(writes="fs:"))], name="one")
    two = AsyncFCToolNode([workshop.tool("read", does=Effects(reads="fs:"))], name="two")
    ordered = mode.name in ("ainvoke", "astream")
    x = "${future_1}!" if ordered else "!"
    model = script(ask(call("write"), call("read", x=x)), second, "early", "done")
    graph = split_graph(
        {"one": one, "two": two}, model, lambda name: "two" if name == "read" else "one"
    )
    final = mode.run(graph, go())
    assert_valid_history(final["messages"])
    read = "read(write()!)" if ordered else "read(!)"
    assert texts(final["messages"])[:2] == ["write()", read]


@in_virtual_time
async def test_rule_2_two_nodes_share_one_message_in_any_order(
    workshop: Workshop, ask: Ask, script: Any
) -> None:
    """A reference to a call that another node has yet to issue is refused, and nothing hangs."""
    one = AsyncFCToolNode([workshop.tool("make", does=PURE)], name="one")
    two = AsyncFCToolNode([workshop.tool("use", does=PURE)], name="two")

    async def late_one(state: Any, config: RunnableConfig) -> Any:
        await asyncio.sleep(1)
        return await one.ainvoke(state, config)

    model = script(ask(call("make"), call("use", x="future_1")), "early", "done")

    async def think(state: Any) -> Any:
        return {"messages": [await model.ainvoke(state["messages"])]}

    def route(state: Any) -> Any:
        context = "tool_call_with_context"
        return [
            Send(
                "two" if made["name"] == "use" else "one",
                {"__type": context, "tool_call": made, "state": state},
            )
            for made in state["messages"][-1].tool_calls
        ] or ("two" if tools_condition(state) == "tools" else END)

    builder = StateGraph(MessagesState)
    builder.add_node("agent", think)
    builder.add_node("one", late_one)
    builder.add_node("two", two)
    builder.add_edge(START, "agent")
    builder.add_conditional_edges("agent", route, ["one", "two", END])
    builder.add_edge("one", "agent")
    builder.add_edge("two", "agent")
    final = await builder.compile().ainvoke(go())
    made, used = texts(final["messages"])
    assert made == "make()"
    assert "future_1" in used
    assert used.startswith("Error: ")
    assert_valid_history(final["messages"])


@in_virtual_time
async def test_rule_27_a_message_shared_with_a_plain_tool_node(
    workshop: Workshop, ask: Ask, script: Any
) -> None:
    """Calls of the same message that another node answers hold nothing up."""
    from langgraph.prebuilt import ToolNode

    one = AsyncFCToolNode([wait])
    two = ToolNode([workshop.tool("other")])
    model = script(
        ask(call("wait", seconds=2, await_result="all"), call("other")),
        ask(call("other"), call("wait", seconds=3)),
        ask(call("await_future")),
        "done",
    )

    async def think(state: Any) -> Any:
        return {"messages": [await model.ainvoke(state["messages"])]}

    def route(state: Any) -> Any:
        if tools_condition(state) == END:
            return END
        made = state["messages"][-1].tool_calls
        context = "tool_call_with_context"
        return [
            Send(
                "two" if one["name"] == "other" else "tools",
                {"__type": context, "tool_call": one, "state": state},
            )
            for one in made
        ] or "tools"

    builder = StateGraph(MessagesState)
    builder.add_node("agent", think)
    builder.add_node("tools", one)
    builder.add_node("two", two)
    builder.add_edge(START, "agent")
    builder.add_conditional_edges("agent", route, ["tools", "two", END])
    builder.add_edge("tools", "agent")
    builder.add_edge("two", "agent")
    async with asyncio.timeout(1000):
        final = await builder.compile().ainvoke(go())
    assert sorted(texts(final["messages"])) == ["other()", "other()", "waited 2.0", "waited 3.0"]


@in_virtual_time
async def test_rule_16_an_error_that_the_graph_handles(
    workshop: Workshop, ask: Ask, script: Any
) -> None:
    """An error is raised once: a graph that has caught it goes on."""
    node = AsyncFCToolNode(
        [workshop.tool("bad", error=KeyError("x"), does=PURE), workshop.tool("good", does=PURE)],
        handle_tool_errors=False,
    )
    model = script(ask(call("bad")), ask(call("good")), "done")

    async def think(state: Any) -> Any:
        return {"messages": [await model.ainvoke(state["messages"])]}

    async def tools(state: Any, config: RunnableConfig) -> Any:
        try:
            return await node.ainvoke(state, config)
        except KeyError:
            [made] = state["messages"][-1].tool_calls
            message = ToolMessage("handled here", name="bad", tool_call_id=made["id"])
            return {"messages": [message]}

    builder = StateGraph(MessagesState)
    builder.add_node("agent", think)
    builder.add_node("tools", tools)
    builder.add_edge(START, "agent")
    builder.add_conditional_edges("agent", tools_condition)
    builder.add_edge("tools", "agent")
    final = await builder.compile().ainvoke(go())
    assert texts(final["messages"]) == ["handled here", "good()"]


@in_virtual_time
async def test_rule_1_node_called_by_a_function_of_the_graph(
    ask: Ask, script: Any, no_tasks: Any
) -> None:
    """A function node that calls the tool node, config left to context, gets futures as well."""
    node = AsyncFCToolNode([wait])
    model = script(ask(call("wait", seconds=3)), "early", "done")

    async def think(state: Any) -> Any:
        return {"messages": [await model.ainvoke(state["messages"])]}

    async def tools(state: Any) -> Any:
        return await node.ainvoke(state)

    builder = StateGraph(MessagesState)
    builder.add_node("agent", think)
    builder.add_node("tools", tools)
    builder.add_edge(START, "agent")
    builder.add_conditional_edges("agent", tools_condition)
    builder.add_edge("tools", "agent")
    final = await builder.compile().ainvoke(go())
    no_tasks()
    assert texts(final["messages"]) == ["waited 3.0"]
    assert "future_1 is running" in model.calls[1][-1].text


@in_virtual_time
async def test_rule_22_calls_edited_within_a_run(ask: Ask, script: Any, workshop: Workshop) -> None:
    """Calls that the graph edits and runs again, under their old ids, get no old value."""
    node = AsyncFCToolNode([workshop.tool("t", does=PURE)])
    model = script(ask(call("t", x="wrong")), "done")
    fixed: list[bool] = []

    async def think(state: Any) -> Any:
        return {"messages": [await model.ainvoke(state["messages"])]}

    def fix(state: Any) -> Any:
        fixed.append(True)
        asked = state["messages"][1].model_copy(deep=True)
        asked.tool_calls[0]["args"] = {"x": "right"}
        return {"messages": [asked, RemoveMessage(state["messages"][2].id)]}

    builder = StateGraph(MessagesState)
    builder.add_node("agent", think)
    builder.add_node("tools", node)
    builder.add_node("fix", fix)
    builder.add_edge(START, "agent")
    builder.add_conditional_edges("agent", tools_condition)
    builder.add_conditional_edges("tools", lambda _: "agent" if fixed else "fix", ["agent", "fix"])
    builder.add_edge("fix", "tools")
    final = await builder.compile().ainvoke(go())
    assert texts(final["messages"]) == ["t(right)"]


@pytest.mark.parametrize("cancelled", [1, 2])
@in_virtual_time
async def test_rule_17_reference_to_a_cancelled_one_of_joined_calls(
    make_agent: MakeAgent, workshop: Workshop, gate: Gate, ask: Ask, cancelled: int
) -> None:
    """A reference to the cancelled one of two joined calls is skipped, to the other one not."""

    def third(messages: list[Any]) -> Any:
        gate.open()
        return ask(call("await_future"))

    agent = make_agent(
        [workshop.tool("slow", gate, does=PURE), workshop.tool("use", does=PURE)],
        [
            ask(call("slow"), call("slow"), call("use", x="future_1"), call("use", x="future_2.x")),
            ask(call("cancel_future", futures=[f"future_{cancelled}"])),
            third,
            ask(call("use", x=f"future_{cancelled}", await_result=True)),
            "done",
        ],
    )
    got = texts(await agent.arun())
    assert f"because future_{cancelled} (slow) cancelled" in got[cancelled + 1]
    assert f"because future_{cancelled} (slow) cancelled" in got[4]
    other = got[4 - cancelled]
    assert other == "use(slow())" if cancelled == 2 else "is the text" in other


@in_virtual_time
async def test_rule_13_breakpoint_with_detach(make_agent: MakeAgent, ask: Ask) -> None:
    """With `detach`, futures go on over a breakpoint, and the resumed run gets their values."""
    agent = make_agent(
        [wait],
        [
            ask(call("wait", seconds=5)),
            ask(call("wait", seconds=1)),
            ask(call("await_future")),
            ".",
        ],
        on_final="detach",
        checkpointer=InMemorySaver(),
    )
    value: Any = go()
    for _ in range(4):
        final = await agent.graph.ainvoke(value, THREAD, interrupt_before=["tools"])
        value = None
        await asyncio.sleep(1)
    assert texts(final["messages"]) == ["waited 5.0", "waited 1.0"]
    assert_valid_history(final["messages"])


@pytest.mark.parametrize("does", [Effects(), Effects(idempotent=True, writes="disk:"), None])
def test_rule_13_detached_on_another_loop(
    make_agent: MakeAgent, ask: Ask, does: Effects | None
) -> None:
    """On another event loop a call runs again if it may; if not, the future is lost."""
    agent = make_agent(
        [wait],
        [ask(call("wait", seconds=500)), "bye", ask(call("await_future")), "done"],
        effects={"wait": UNDECLARED if does is None else does},
        on_final="detach",
        checkpointer=InMemorySaver(),
    )
    from langchain_asyncfc.testing import run_virtual

    run_virtual(agent.graph.ainvoke(go(), THREAD))
    final = run_virtual(agent.graph.ainvoke(go(), THREAD))
    assert_valid_history(final["messages"])
    told = texts(final["messages"])[0]
    assert "future_1 was lost" in told if does is None else told == "waited 500.0"


@in_virtual_time
async def test_rule_25_settled_command(make_agent: MakeAgent, ask: Ask) -> None:
    """With `settle`, a late `Command` still updates the state when the turn is over."""

    @effects()
    @tool
    async def note(text: str, tool_call_id: Annotated[str, InjectedToolCallId]) -> Any:
        """Write a note."""
        await asyncio.sleep(2)
        message = ToolMessage(f"noted {text}", tool_call_id=tool_call_id)
        return Command(update={"messages": [message], "notes": [text]})

    agent = make_agent(
        [note], [ask(call("note", text="a")), "early"], schema=State, on_final="settle"
    )
    final = await agent.graph.ainvoke(go())
    assert final["notes"] == ["a"]
    assert texts(final["messages"]) == ["noted a"]
    assert final["messages"][-1].text == "early"
    assert_valid_history(final["messages"])


@in_virtual_time
async def test_rule_25_writer_of_a_detached_call(
    make_agent: MakeAgent, ask: Ask, no_tasks: Any
) -> None:
    """A detached tool that writes to the stream of a run that is over does no harm."""

    @effects()
    @tool
    async def talk(x: int = 0) -> str:
        """Report late."""
        write = get_stream_writer()
        await asyncio.sleep(5)
        write("late")
        return "talked"

    agent = make_agent(
        [talk],
        [ask(call("talk")), "bye", "hello", "done"],
        on_final="detach",
        checkpointer=InMemorySaver(),
    )
    async for _ in agent.graph.astream(go(), THREAD, stream_mode=["custom", "values"]):
        pass
    await asyncio.sleep(10)
    final = await agent.graph.ainvoke(go(), THREAD)
    assert texts(final["messages"]) == ["talked"]
    no_tasks()


@in_virtual_time
async def test_rule_26_stream_mode_messages_of_single_calls(
    ask: Ask, script: Any, delivery: str
) -> None:
    """The delivered value is shown too where a graph sends each call to a task of its own."""
    node = AsyncFCToolNode([wait], delivery=delivery)
    model = script(
        ask(call("wait", seconds=2)),
        ask(call("wait", seconds=5, await_result=True), call("wait", seconds=1)),
        "early",
        "done",
    )

    async def think(state: Any) -> Any:
        return {"messages": [await model.ainvoke(state["messages"])]}

    def route(state: Any) -> Any:
        context = "tool_call_with_context"
        return [
            Send("tools", {"__type": context, "tool_call": one, "state": state})
            for one in state["messages"][-1].tool_calls
        ] or tools_condition(state)

    builder = StateGraph(MessagesState)
    builder.add_node("agent", think)
    builder.add_node("tools", node)
    builder.add_edge(START, "agent")
    builder.add_conditional_edges("agent", route, ["tools", END])
    builder.add_edge("tools", "agent")
    seen = [
        message.text
        async for message, _ in builder.compile().astream(go(), stream_mode="messages")
        if isinstance(message, ToolMessage)
    ]
    for seconds in (2.0, 5.0, 1.0):
        assert sum(f"waited {seconds}" in text for text in seen) == 1, seen


def test_rule_23_state_that_is_a_list(
    mode: Mode, workshop: Workshop, gate: Gate, ask: Ask, script: Any, delivery: str
) -> None:
    """A graph whose whole state is the list of messages works as well."""

    def second(messages: list[Any]) -> Any:
        gate.open()
        return "early"

    model = script(ask(call("slow")), second, "done")
    builder = StateGraph(Annotated[list[AnyMessage], add_messages])
    builder.add_node("agent", lambda messages: [model.invoke(messages)])
    builder.add_node("tools", AsyncFCToolNode([workshop.tool("slow", gate)], delivery=delivery))
    builder.add_edge(START, "agent")
    builder.add_conditional_edges("agent", tools_condition)
    builder.add_edge("tools", "agent")
    messages = mode.run(builder.compile(), [HumanMessage("go")])
    assert messages[-1].text == "done"
    assert "slow()" in "\n".join(m.text for m in messages if isinstance(m, ToolMessage))
    assert_valid_history(messages)


@pytest.mark.parametrize("fast", ["command", "blocks", "error"])
@in_virtual_time
async def test_rule_11_riders_on_any_answer(make_agent: MakeAgent, ask: Ask, fast: str) -> None:
    """Outcomes ride on commands, blocks and errors, after their own content."""

    @effects()
    @tool("quick")
    async def command(tool_call_id: Annotated[str, InjectedToolCallId]) -> Any:
        """Update the state."""
        message = ToolMessage("own", tool_call_id=tool_call_id)
        return Command(update={"messages": [message], "notes": ["noted"]})

    @effects()
    @tool("quick")
    async def blocks() -> Any:
        """Give blocks."""
        return [{"type": "text", "text": "own"}]

    @effects()
    @tool("quick")
    async def error() -> Any:
        """Fail."""
        raise ValueError("own")

    quick = {"command": command, "blocks": blocks, "error": error}[fast]
    agent = make_agent(
        [wait, quick],
        [ask(call("wait", seconds=1)), ask(call("quick")), "done"],
        model={"ttft": 3.0},
        schema=State,
        delivery="append",
        handle_tool_errors=True,
    )
    final = await agent.graph.ainvoke(go())
    assert_valid_history(final["messages"])
    carrier = answers(final["messages"])[-1]
    assert carrier.name == "quick"
    assert carrier.text.index("own") < carrier.text.index("[future_1]")
    assert carrier.text.endswith("waited 1.0")
    assert final.get("notes", []) == (["noted"] if fast == "command" else [])


@pytest.mark.needs_langgraph("1.2")
@in_virtual_time
async def test_rule_25_list_of_messages_and_commands(
    make_agent: MakeAgent, ask: Ask, delivery: str
) -> None:
    """A tool that returns a message and commands in a list has all of them applied late."""

    @effects()
    @tool
    async def both(tool_call_id: Annotated[str, InjectedToolCallId]) -> Any:
        """Answer and update."""
        await asyncio.sleep(2)
        return [
            ToolMessage("answered", tool_call_id=tool_call_id),
            Command(update={"notes": ["one"]}),
            Command(update={"notes": ["two"]}),
        ]

    agent = make_agent(
        [both], [ask(call("both")), "early", "done"], schema=State, delivery=delivery
    )
    final = await agent.graph.ainvoke(go())
    assert_valid_history(final["messages"])
    assert sorted(final["notes"]) == ["one", "two"]
    text = "\n".join(m.text for m in final["messages"] if isinstance(m, ToolMessage))
    assert text.count("answered") == 1


@in_virtual_time
async def test_rule_25_goto_send_late(ask: Ask, script: Any) -> None:
    """A late `Command` may send to other nodes."""
    sent: list[Any] = []

    @effects()
    @tool
    async def fan(tool_call_id: Annotated[str, InjectedToolCallId]) -> Any:
        """Send to workers."""
        await asyncio.sleep(2)
        message = ToolMessage("sent", tool_call_id=tool_call_id)
        targets = [Send("worker", {"n": n}) for n in range(3)]
        return Command(goto=targets, update={"messages": [message]})

    def worker(state: Any) -> Any:
        sent.append(state["n"])
        return {}

    model = script(ask(call("fan")), "early", "done")

    async def think(state: Any) -> Any:
        return {"messages": [await model.ainvoke(state["messages"])]}

    builder = StateGraph(MessagesState)
    builder.add_node("agent", think)
    builder.add_node("tools", AsyncFCToolNode([fan]))
    builder.add_node("worker", worker)
    builder.add_edge(START, "agent")
    builder.add_conditional_edges("agent", tools_condition)
    builder.add_edge("tools", "agent")
    final = await builder.compile().ainvoke(go())
    assert sorted(sent) == [0, 1, 2]
    assert texts(final["messages"]) == ["sent"]


@pytest.mark.parametrize("kept", [True, False])
@in_virtual_time
async def test_rule_13_detach_in_a_subgraph(
    make_agent: MakeAgent, ask: Ask, no_tasks: Any, kept: bool
) -> None:
    """A subgraph's detached future is delivered in the next run of its thread."""
    inner = make_agent(
        [wait],
        [ask(call("wait", seconds=5)), "bye", "hello", "done"],
        on_final="detach",
        checkpointer=kept or None,
    )
    builder = StateGraph(MessagesState)
    builder.add_node("inner", inner.graph)
    builder.add_edge(START, "inner")
    graph = builder.compile(checkpointer=InMemorySaver())
    await graph.ainvoke(go(), THREAD)
    await asyncio.sleep(10)
    final = await graph.ainvoke(go(), THREAD)
    assert "waited 5.0" in texts(final["messages"])
    assert_valid_history(final["messages"])
    no_tasks()


def test_rule_10_call_ids_that_repeat(
    mode: Mode, workshop: Workshop, make_agent: MakeAgent, gate: Gate, ask: Ask, delivery: str
) -> None:
    """Servers that number their calls anew in each message get each answer once."""

    def third(messages: list[Any]) -> Any:
        gate.open()
        return ask(call("await_future", _id="0"))

    agent = make_agent(
        [workshop.tool("slow", gate, does=PURE)],
        [
            ask(call("slow", _id="0", x=1), call("slow", _id="1", x=2)),
            ask(call("slow", _id="0", x=3)),
            third,
            "done",
        ],
        delivery=delivery,
        model={"check_history": False},  # Anthropic rejects such ids, with any tool node
    )
    final = mode.run(agent.graph, go())
    assert_valid_history(final["messages"], "openai")
    if delivery == "in_place":
        assert texts(final["messages"]) == ["slow(1)", "slow(2)", "slow(3)"]
    else:
        everything = "\n".join(m.text for m in final["messages"] if isinstance(m, ToolMessage))
        assert [everything.count(f"[future_{n}] slow({n})") for n in (1, 2, 3)] == [1, 1, 1]


def test_rule_2_value_of_an_earlier_run_that_is_no_json(
    mode: Mode, make_agent: MakeAgent, workshop: Workshop, gate: Gate, ask: Ask
) -> None:
    """What a checkpoint cannot keep exactly is never guessed: the value itself, or an error."""

    def second(messages: list[Any]) -> Any:
        gate.open()
        return ask(call("await_future"))

    agent = make_agent(
        [workshop.tool("make", gate, result=lambda _: Point(x=1)), workshop.tool("use")],
        [
            ask(call("make")),
            second,
            "one",
            ask(call("use", x="future_1.x", await_result=True)),
            "two",
        ],
        checkpointer=InMemorySaver(),
    )
    agent.run(mode, config=THREAD)
    answer = answers(agent.run(mode, config=THREAD))[-1]
    assert workshop.inputs[-1] == ("use", 1) or "future_1" in answer.text
    assert (answer.status == "error") == (workshop.inputs[-1][0] != "use")
