"""Isolation: runs that share a compiled graph, a node, a thread or a process do not mix.

The anchor of each comparison is the same run alone, on a graph of its own. Every tool says for
whom it ran, in its own words and by the config that it was given.
"""

from __future__ import annotations

import asyncio
import logging
import operator
import re
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Annotated, Any, TypedDict

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from langchain.agents import create_agent
from langchain_core.messages import AIMessage, BaseMessage, HumanMessage, ToolMessage
from langchain_core.runnables import (
    RunnableConfig,  # LangGraph reads annotations
    RunnableLambda,
)
from langchain_core.tools import BaseTool, StructuredTool, tool
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.graph import START, StateGraph
from langgraph.types import Send

from langchain_asyncfc import Effects, effects, tools_condition
from langchain_asyncfc.testing import (
    ScriptedChatModel,
    assert_valid_history,
    call,
    in_virtual_time,
    run_virtual,
)
from tests.integration.conftest import Gate, assert_no_tasks
from tests.integration.reliability.faces import (
    FACES,
    LIMIT,
    Agent,
    Face,
    batches,
    everything,
    go,
    loop,
    on,
    outcomes,
    since_human,
)

PURE = Effects()
WRITES = Effects(writes="db:")
THREADS = 8


@pytest.fixture(params=FACES)
def face(request: pytest.FixtureRequest) -> Face:
    """Each way to have futures."""
    return Face(request.param)


@pytest.fixture(params=["in_place", "append"])
def delivery(request: pytest.FixtureRequest) -> str:
    """Each way of delivery."""
    return request.param


@contextmanager
def silence() -> Iterator[None]:
    """Assert that neither the library nor asyncio complains, but for what is lost."""
    said: list[str] = []
    handler = logging.Handler(logging.WARNING)
    handler.emit = lambda record: said.append(record.getMessage())  # type: ignore[method-assign]
    loggers = [logging.getLogger(name) for name in ("langchain_asyncfc", "asyncio")]
    for logger in loggers:
        logger.addHandler(handler)
    try:
        yield
    finally:
        for logger in loggers:
            logger.removeHandler(handler)
    said = [text for text in said if " is lost: " not in text]
    assert not said, said


# -- talks -----------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Made:
    """One call of a talk.

    Attributes:
        name: The tool.
        seconds: How long it takes.
        refers: How many calls of the thread before it the one stands to which it refers; 0 for
            none.
    """

    name: str = "look"
    seconds: float = 1.0
    refers: int = 0


Turn = tuple[tuple[Made, ...], ...]
"""The messages with calls of one turn."""


def whose(config: RunnableConfig) -> str:
    """For whom a tool runs."""
    return str((config.get("configurable") or {}).get("owner"))


def talk_tools() -> list[BaseTool]:
    """Tools that take their time and say for whom they ran."""

    def tool_named(name: str, does: Effects | None) -> BaseTool:
        def run(token: str, config: RunnableConfig, seconds: float = 0, got: str = "") -> str:
            return f"{whose(config)} {name} {token} [{got}]"

        async def arun(
            token: str, config: RunnableConfig, seconds: float = 0, got: str = ""
        ) -> str:
            await asyncio.sleep(seconds)
            return run(token, config, seconds, got)

        made = StructuredTool.from_function(run, arun, name=name, description=f"Can {name}.")
        return made if does is None else effects(reads=does.reads, writes=does.writes)(made)

    return [tool_named("look", PURE), tool_named("write", WRITES), tool_named("guess", None)]


def talker(talks: dict[str, Sequence[Turn]]) -> Callable[[list[BaseMessage]], AIMessage | str]:
    """A model that has several talks at once; the human's text tells it which turn of which."""

    def policy(messages: list[BaseMessage]) -> AIMessage | str:
        last = since_human(messages)
        token, number = last[0].text.split(":")
        turn = talks[token][int(number)]
        said = len(batches(last))
        if said == len(turn):
            return f"{token} done"
        before = sum(
            c["name"] not in {"await_future", "cancel_future"}
            for m in messages
            if isinstance(m, AIMessage)
            for c in m.tool_calls
        )
        calls = []
        for place, made in enumerate(turn[said]):
            args: dict[str, Any] = {"token": token, "seconds": made.seconds}
            if 0 < made.refers <= before:
                args["got"] = f"future_{before - made.refers + 1}"
            calls.append(call(made.name, f"{token}-{number}-{said}-{place}", **args))
        return AIMessage("", tool_calls=calls)

    return policy


def plain(messages: Sequence[BaseMessage]) -> list[Any]:
    """Messages without the ids that are made up on the way."""
    found: list[Any] = []
    for m in messages:
        calls = m.tool_calls if isinstance(m, AIMessage) else []
        made = [(c["name"], c["args"], c["name"] == "await_future" or c["id"]) for c in calls]
        status = m.status if isinstance(m, ToolMessage) else ""
        found.append((m.type, m.content, made, status, m.additional_kwargs.get("asyncfc")))
    return found


async def have(
    agent: Agent, token: str, turns: int, *, pause: float, start: float = 0, saved: bool = True
) -> list[list[Any]]:
    """Have one talk; the messages after each turn.

    Args:
        agent: With whom.
        token: Which one; also the thread.
        turns: How many turns.
        pause: Seconds between them.
        start: Seconds before the first.
        saved: Whether the graph keeps the thread; if not, each run is given the history.
    """
    await asyncio.sleep(start)
    configurable = {"owner": token, **({"thread_id": token} if saved else {})}
    config = {"configurable": configurable, "recursion_limit": LIMIT}
    found = []
    messages: list[Any] = []
    for number in range(turns):
        human = HumanMessage(f"{token}:{number}", id=f"{token}:{number}")
        value = [human] if saved else [*messages, human]
        messages = (await agent.graph.ainvoke({"messages": value}, config))["messages"]
        found.append(plain(messages))
        assert_valid_history(messages)
        await asyncio.sleep(pause)
    return found


def talk(seed: int) -> list[Turn]:
    """One of many different talks."""
    spread = [0.0, 0.4, 1.1, 2.3, 3.7, 5.9, 8.2]
    names = ["look", "write", "look", "guess"]

    def made(n: int) -> Made:
        return Made(names[n % 4], spread[(seed * 5 + n * 3) % 7], (seed + n) % 4)

    return [
        ((made(0), made(1)), (made(2),)),
        ((made(3), made(4)),),
        ((made(5),),),
    ]


def told(found: list[list[Any]]) -> str:
    """What a talk came to, but for which of several placeholders was written first.

    That one explains references at length. Tasks of one step may come in any order.
    """
    return re.sub(r"(future_\d+ is running\.).*?guess its result\.", r"\1", repr(found))


async def together_and_alone(
    build: Callable[[Any], Agent],
    talks: dict[str, Sequence[Turn]],
    *,
    pause: float,
    starts: dict[str, float],
    saved: bool = True,
) -> None:
    """Have all talks at once on one graph, and each alone; they go the same way."""
    policy = talker(talks)

    async def one(agent: Agent, token: str) -> list[list[Any]]:
        return await have(
            agent, token, len(talks[token]), pause=pause, start=starts[token], saved=saved
        )

    shared = build(policy)
    found = await asyncio.gather(*(one(shared, token) for token in talks))
    await shared.owner.aclose()
    assert_no_tasks()
    alone: dict[Any, str] = {}
    for token, got in zip(talks, found, strict=True):
        # Talks that are the same but for their names go the same way.
        kind = (tuple(talks[token]), starts[token])
        if kind not in alone:
            agent = build(policy)
            alone[kind] = told(await one(agent, token)).replace(token, "*")
            await agent.owner.aclose()
        assert told(got).replace(token, "*") == alone[kind]
        said = [text for m in got[-1] if m[0] == "tool" for text in str(m[1]).split("\n")]
        for text in said:
            for other in talks:
                assert other == token or f"{other} " not in text, (token, text)


@pytest.mark.parametrize(
    ("delivery", "final_option", "saved"),
    [
        ("in_place", "review", True),
        ("append", "settle", False),
        ("in_place", "detach", False),
        ("append", "detach", True),
    ],
)
@in_virtual_time
async def test_many_threads_at_once(
    face: Face, delivery: str, final_option: str, saved: bool
) -> None:
    """Threads have three turns each on one graph; each goes as it goes alone.

    Each of the seven talks begins at each of two times.
    """
    talks = {f"<{n}>": talk(n % 7) for n in range(14)}

    def build(policy: Any) -> Agent:
        return face.build(
            talk_tools(),
            policy,
            checkpointer=InMemorySaver() if saved else None,
            grace=0,
            delivery=delivery,
            on_final=final_option,
        )

    starts = {token: n % 2 * 0.5 for n, token in enumerate(talks)}
    await together_and_alone(build, talks, pause=1.5, starts=starts, saved=saved)


# Not 0 s: LangChain goes through threads around each call of create_agent, and which of two things
# that take no time is first would then be left to chance. The clock stands while threads work.
made_calls = st.builds(
    Made,
    st.sampled_from(["look", "write", "guess"]),
    st.sampled_from([0.01, 0.3, 1.0, 2.5, 7.0]),
    st.integers(0, 3),
)
turns = st.lists(
    st.lists(made_calls, min_size=1, max_size=3).map(tuple), min_size=1, max_size=3
).map(tuple)


@pytest.mark.parametrize("name", FACES)
@settings(max_examples=6, deadline=None, suppress_health_check=list(HealthCheck))
@given(
    talks=st.lists(st.lists(turns, min_size=1, max_size=3), min_size=2, max_size=6),
    starts=st.lists(st.sampled_from([0.0, 0.3, 1.0, 4.0]), min_size=6, max_size=6),
    pause=st.sampled_from([0.0, 1.0, 10.0]),
    delivery=st.sampled_from(["in_place", "append"]),
    final_option=st.sampled_from(["review", "settle", "detach"]),
    limit=st.sampled_from([None, 1, 2]),
    saved=st.booleans(),
)
def test_any_talks_at_once(
    name: Any,
    talks: list[list[Turn]],
    starts: list[float],
    pause: float,
    delivery: str,
    final_option: str,
    limit: int | None,
    saved: bool,
) -> None:
    """Talks of any form, begun at any time, each go as they go alone."""
    named = {f"<{n}>": turns for n, turns in enumerate(talks)}

    def build(policy: Any) -> Agent:
        return Face(name).build(
            talk_tools(),
            policy,
            checkpointer=InMemorySaver() if saved else None,
            grace=0,
            delivery=delivery,
            on_final=final_option,
            max_concurrency=limit,
        )

    run_virtual(
        together_and_alone(
            build, named, pause=pause, starts=dict(zip(named, starts, strict=False)), saved=saved
        )
    )


# -- runs without a thread, and loops --------------------------------------------------------------


def gated(gates: dict[str, Gate], does: Effects = PURE) -> BaseTool:
    """A tool that waits at the gate of its caller, if there is one."""

    def wait(x: str) -> str:
        if x in gates:
            gates[x].wait()
        return f"<{x}>"

    async def await_(x: str) -> str:
        if x in gates:
            await gates[x].wait_async()
        return f"<{x}>"

    made = StructuredTool.from_function(wait, await_, name="slow", description="Wait.")
    return effects(reads=does.reads, writes=does.writes)(made)


async def entered(*gates: Gate) -> None:
    """Let the loop go on until tools have come to these gates."""
    for _ in range(100_000):
        if all(gate.entered.is_set() for gate in gates):
            return
        await asyncio.sleep(0)
    raise AssertionError(gates)


def caller(gates: dict[str, Gate]) -> Callable[[list[BaseMessage]], AIMessage | str]:
    """Calls with the human's text and says "bye"; told "get x", opens the gate of x and awaits."""

    def policy(messages: list[BaseMessage]) -> AIMessage | str:
        last = since_human(messages)
        said = any(isinstance(m, AIMessage) for m in last)
        match last[0].text.split():
            case ["get", *names]:
                for name in names:
                    gates[name].open()
                return "done" if said else AIMessage("", tool_calls=[call("await_future")])
            case [x]:
                return "bye" if said else AIMessage("", tool_calls=[call("slow", x=x)])
        raise AssertionError(last)

    return policy


@pytest.mark.parametrize("final_option", ["review", "detach"])
@pytest.mark.parametrize("saved", [True, False], ids=["thread", "no thread"])
def test_an_event_loop_a_turn(face: Face, delivery: str, final_option: str, saved: bool) -> None:
    """Each turn on a loop of its own: nothing hangs, and what was left behind is lost, once."""
    gates: dict[str, Gate] = {}
    agent = face.build(
        [gated(gates, WRITES)],
        caller(gates),
        checkpointer=InMemorySaver() if saved else None,
        grace=0,
        delivery=delivery,
        on_final=final_option,
    )
    messages: list[Any] = []

    def run(text: str) -> list[Any]:
        value = [HumanMessage(text)] if saved else [*messages, HumanMessage(text)]
        final = asyncio.run(agent.graph.ainvoke({"messages": value}, on("t") if saved else None))
        assert_valid_history(final["messages"])
        return list(final["messages"])

    with silence():
        for x in ("a", "b", "c"):
            gates[x] = Gate()
            if final_option == "review":
                gates[x].open()
            messages = run(x)
        messages = run("get a b c")
    texts = [str(content) for _, _, content in outcomes(messages)]
    if final_option == "review":
        assert texts == ["<a>", "<b>", "<c>"]
    else:
        assert [f"future_{n} was lost" in text for n, text in enumerate(texts, 1)] == [True] * 3
        assert everything(messages).count("was lost") == 3
    asyncio.run(agent.owner.aclose())


@pytest.mark.parametrize("kept", [True, False], ids=["checkpointer", "no checkpointer"])
@in_virtual_time
async def test_two_runs_of_one_thread(face: Face, delivery: str, kept: bool) -> None:
    """Of two runs that begin from the same state, neither hears of the other's call."""
    gates = {"a": Gate(), "b": Gate()}
    agent = face.build(
        [gated(gates, WRITES)],
        caller(gates),
        checkpointer=InMemorySaver() if kept else None,
        grace=0,
        delivery=delivery,
    )
    runs = [
        asyncio.create_task(agent.graph.ainvoke(go(x), on("t")))  # both wait at their turns' ends
        for x in ("a", "b")
    ]
    await entered(*gates.values())
    gates["b"].open()
    second = await runs[1]
    gates["a"].open()
    first = await runs[0]
    for own, final in (("a", first), ("b", second)):
        assert_valid_history(final["messages"])
        assert [text for _, _, text in outcomes(final["messages"])] == [f"<{own}>"]
    assert_no_tasks()


@pytest.mark.parametrize("ending", ["cancelled", "closed"])
@in_virtual_time
async def test_the_end_of_one_run_leaves_the_other(face: Face, delivery: str, ending: str) -> None:
    """A run that is cancelled or closed ends its own calls, and no others of the same thread."""
    gates = {"a": Gate(), "b": Gate()}
    agent = face.build([gated(gates, WRITES)], caller(gates), grace=0, delivery=delivery)

    async def closed() -> None:
        stream = agent.graph.astream(go("a"), on("t"), stream_mode="values")
        async for state in stream:
            if isinstance(state["messages"][-1], ToolMessage):
                break  # the placeholder; the next thing would be the end
        await entered(*gates.values())
        await stream.aclose()

    if ending == "cancelled":
        one = asyncio.create_task(agent.graph.ainvoke(go("a"), on("t")))
    else:
        one = asyncio.create_task(closed())
    other = asyncio.create_task(agent.graph.ainvoke(go("b"), on("t")))
    await entered(*gates.values())
    if ending == "cancelled":
        one.cancel()
    await asyncio.wait([one])
    assert not other.done()
    gates["b"].open()
    final = await other
    assert [text for _, _, text in outcomes(final["messages"])] == ["<b>"]
    assert_no_tasks()


@in_virtual_time
async def test_a_run_that_begins_while_another_has_futures(face: Face, delivery: str) -> None:
    """It finds the other's placeholder in the thread, and is told that the future is lost to it."""
    gates = {"a": Gate(), "b": Gate()}
    agent = face.build(
        [gated(gates, WRITES)],
        caller(gates),
        checkpointer=InMemorySaver(),
        grace=0,
        delivery=delivery,
    )
    one = asyncio.create_task(agent.graph.ainvoke(go("a"), on("t")))
    await entered(gates["a"])
    await asyncio.sleep(1)  # its placeholder is saved
    final = await agent.graph.ainvoke(go("get b"), on("t"))
    assert not one.done()
    assert_valid_history(final["messages"])
    assert "<a>" not in everything(final["messages"])
    assert "future_1 was lost" in everything(final["messages"])
    gates["a"].open()
    first = await one
    assert [text for _, _, text in outcomes(first["messages"])] == ["<a>"]
    assert_no_tasks()


# -- graphs that share an agent --------------------------------------------------------------------


class Outer(TypedDict, total=False):
    """The state of a graph around agents."""

    found: Annotated[list[str], operator.add]
    said: str


@pytest.mark.parametrize("is_async", [True, False], ids=["async", "sync"])
@pytest.mark.parametrize("how", ["nodes", "send"])
def test_parallel_subgraphs(face: Face, delivery: str, how: str, is_async: bool) -> None:
    """One agent several times at once in one thread of a graph: each has its own calls only."""
    meeting = threading.Barrier(3, timeout=20)

    @effects()
    @tool
    def meet(x: str) -> str:
        """Meet the other agents' calls."""
        meeting.wait()
        return f"<{x}>"

    def policy(messages: list[BaseMessage]) -> AIMessage | str:
        if not batches(messages):
            return AIMessage("", tool_calls=[call("meet", "the-id", x=messages[0].text)])
        return everything(messages) or "nothing"

    inner = face.build([meet], policy, grace=0, delivery=delivery)

    def ask(state: Any) -> Any:
        return {"found": [inner.graph.invoke(go(state["said"]))["messages"][-1].text]}

    async def aask(state: Any) -> Any:
        final = await inner.graph.ainvoke(go(state["said"]))
        return {"found": [final["messages"][-1].text]}

    builder = StateGraph(Outer)
    if how == "send":
        builder.add_node("inner", RunnableLambda(ask, aask))
        builder.add_conditional_edges(
            START, lambda _: [Send("inner", {"said": said}) for said in "abc"], ["inner"]
        )
    else:
        for said in "abc":
            chosen = RunnableLambda(lambda _, x=said: {"said": x})  # type: ignore[misc]
            builder.add_node(said, chosen | RunnableLambda(ask, aask))
            builder.add_edge(START, said)
    graph = builder.compile(checkpointer=InMemorySaver())
    for _ in range(3):
        if is_async:
            final = asyncio.run(graph.ainvoke({"said": ""}, on("t")))
        else:
            final = graph.invoke({"said": ""}, on("t"))
    for said in "abc":
        assert sum(f"<{said}>" in text for text in final["found"]) == 3
    assert all(text.count("<") == 1 for text in final["found"])


@pytest.mark.parametrize("is_async", [True, False], ids=["async", "sync"])
def test_detached_calls_of_parallel_subgraphs_have_an_owner(face: Face, is_async: bool) -> None:
    """Whatever several agents of one thread left behind ends when its owner is closed."""
    gates: dict[str, Gate] = {f"{run}{x}": Gate() for run in "12" for x in "abc"}
    ended: list[str] = []

    async def hold(x: str) -> str:
        try:
            await gates[x].wait_async()
        finally:
            ended.append(x)
        return x

    slow = effects()(StructuredTool.from_function(None, hold, name="slow", description="Wait."))
    inner = face.build([slow], caller(gates), grace=0, on_final="detach")

    def ask(state: Any) -> Any:
        return {"found": [inner.graph.invoke(go(state["said"]))["messages"][-1].text]}

    async def aask(state: Any) -> Any:
        final = await inner.graph.ainvoke(go(state["said"]))
        return {"found": [final["messages"][-1].text]}

    builder = StateGraph(Outer)
    builder.add_node("inner", RunnableLambda(ask, aask))
    builder.add_conditional_edges(
        START, lambda s: [Send("inner", {"said": s["said"] + x}) for x in "abc"], ["inner"]
    )
    graph = builder.compile(checkpointer=InMemorySaver())

    async def scene() -> None:
        for run in "12":
            await graph.ainvoke({"said": run}, on("t"))
        await entered(*gates.values())
        await inner.owner.aclose()
        assert sorted(ended) == sorted(gates)
        assert_no_tasks()

    if is_async:
        run_virtual(scene())
        return
    for run in "12":
        graph.invoke({"said": run}, on("t"))
    for gate in gates.values():
        assert gate.entered.wait(20)
    inner.owner.close()
    assert sorted(ended) == sorted(gates)


def two_graphs(
    face: Face, tools: list[BaseTool], policy: Any, **options: Any
) -> tuple[Any, Any, Any]:
    """Two graphs with one node or middleware, and that."""
    agent = face.build(tools, policy, checkpointer=InMemorySaver(), **options)
    if face.name == "middleware":
        model = ScriptedChatModel(policy=policy, check_history=True)
        other = create_agent(model, tools, middleware=[agent.owner], checkpointer=InMemorySaver())
        return agent.graph, other, agent.owner
    model = ScriptedChatModel(policy=policy, check_history=True)
    node = agent.owner
    builder = loop(model.bind_tools(node.model_tools), node, tools_condition)
    builder.add_conditional_edges("tools", node.review_condition("agent"), ["agent", "__end__"])
    return agent.graph, builder.compile(checkpointer=InMemorySaver()), node


@in_virtual_time
async def test_one_node_in_two_graphs(face: Face, delivery: str) -> None:
    """Two graphs that run at once under one thread id, with one node, have their own calls."""
    gates = {"a": Gate(), "b": Gate()}
    one, other, _ = two_graphs(face, [gated(gates)], caller(gates), grace=0, delivery=delivery)
    runs = [
        asyncio.create_task(graph.ainvoke(go(x), on("t")))
        for graph, x in ((one, "a"), (other, "b"))
    ]
    await entered(*gates.values())
    for gate in gates.values():
        gate.open()
    for x, final in zip("ab", await asyncio.gather(*runs), strict=True):
        assert [text for _, _, text in outcomes(final["messages"])] == [f"<{x}>"]


@in_virtual_time
async def test_detached_calls_of_one_node_in_two_graphs(face: Face, delivery: str) -> None:
    """What one graph left behind is not given to the thread of the same id of the other graph."""
    gates = {x: Gate() for x in "abcd"}
    one, other, owner = two_graphs(
        face, [gated(gates)], caller(gates), grace=0, delivery=delivery, on_final="detach"
    )
    finals = []
    for graph, x in ((other, "a"), (one, "b"), (other, "c"), (one, "d")):
        await graph.ainvoke(go(x), on("t"))
    for gate in gates.values():
        gate.open()
    for graph in (one, other):
        finals.append(await graph.ainvoke(go("get"), on("t")))
    for own, final in zip(("bd", "ac"), finals, strict=True):
        assert_valid_history(final["messages"])
        assert [text for _, _, text in outcomes(final["messages"])] == [f"<{x}>" for x in own]
    await owner.aclose()
    assert_no_tasks()


@in_virtual_time
async def test_detached_calls_are_not_those_of_another_graph(face: Face, delivery: str) -> None:
    """A thread with nothing unfinished is given nothing of the other graph's thread of its id."""
    gates = {x: Gate() for x in "ab"}
    one, other, owner = two_graphs(
        face, [gated(gates)], caller(gates), grace=0, delivery=delivery, on_final="detach"
    )
    await other.ainvoke(go("a"), on("t"))
    await other.ainvoke(go("get a"), on("t"))
    await one.ainvoke(go("b"), on("t"))
    final = await other.ainvoke(go("get b"), on("t"))
    assert [text for _, _, text in outcomes(final["messages"])] == ["<a>"]
    assert "<b>" not in everything(final["messages"])
    final = await one.ainvoke(go("get"), on("t"))
    assert [text for _, _, text in outcomes(final["messages"])] == ["<b>"]
    await owner.aclose()
    assert_no_tasks()


@pytest.mark.parametrize("is_async", [True, False], ids=["async", "sync"])
@pytest.mark.parametrize("final_option", ["review", "detach"])
def test_graph_that_runs_itself_in_a_tool(
    face: Face, delivery: str, is_async: bool, final_option: str
) -> None:
    """Each depth of a graph that one of its own tools runs has its own calls and numbers."""
    graph: list[Any] = []

    def dig(depth: int) -> str:
        return graph[0].invoke(go(str(depth - 1)))["messages"][-1].text if depth else "ground"

    async def adig(depth: int) -> str:
        if not depth:
            return "ground"
        return (await graph[0].ainvoke(go(str(depth - 1))))["messages"][-1].text

    tool_ = effects()(StructuredTool.from_function(dig, adig, name="dig", description="Dig."))

    def policy(messages: list[BaseMessage]) -> AIMessage | str:
        depth = int(messages[0].text)
        match len(batches(messages)):
            case 0:
                return AIMessage("", tool_calls=[call("dig", "the-id", depth=depth)])
            case 1:
                made = call("dig", "other", depth=0, await_result="all")
                return AIMessage("", tool_calls=[made])
        return f"{depth}({' '.join(str(text) for _, _, text in outcomes(messages))})"

    agent = face.build(
        [tool_], policy, checkpointer=None, grace=0, delivery=delivery, on_final=final_option
    )
    graph.append(agent.graph)
    if is_async:
        final = run_virtual(agent.graph.ainvoke(go("4"), on("t")))
    else:
        final = agent.graph.invoke(go("4"), on("t"))
    expected = "0(ground ground)"
    for depth in range(1, 5):
        expected = f"{depth}({expected} ground)"
    assert final["messages"][-1].text == expected
    assert_valid_history(final["messages"])


# -- threads ---------------------------------------------------------------------------------------


def thread_talk(messages: list[BaseMessage]) -> AIMessage | str:
    """Two calls, one that takes the first's value, an early answer, and all values."""
    last = since_human(messages)
    token = last[0].text
    before = sum(len(m.tool_calls) for m in batches(messages[: -len(last)]))
    match len(batches(last)):
        case 0:
            calls = [call("slow", f"{token}-a", x=token), call("slow", f"{token}-b", x=f"{token}!")]
            return AIMessage("", tool_calls=calls)
        case 1:
            made = call("slow", f"{token}-c", x=f"future_{before + 1}")
            return AIMessage("", tool_calls=[made])
    return f"{token} done"


def in_threads(count: int, work: Callable[[int], Any]) -> list[Any]:
    """What calls in several threads give, which all begin at once."""
    start = threading.Barrier(count, timeout=60)

    def run(number: int) -> Any:
        start.wait()
        return work(number)

    with ThreadPoolExecutor(count) as pool:
        return list(pool.map(run, range(count)))


@pytest.mark.parametrize("ids", ["own thread", "one thread", "no thread"])
def test_invoke_from_many_threads(face: Face, delivery: str, ids: str) -> None:
    """Sixteen threads use a graph that is still cold; each gets its own values, each time."""
    rounds = 3 if ids == "own thread" else 2
    for _ in range(2):
        agent = face.build(
            [gated({})],
            thread_talk,
            checkpointer=InMemorySaver() if ids == "own thread" else None,
            grace=0,
            delivery=delivery,
        )

        def work(number: int, agent: Agent = agent) -> list[list[Any]]:
            config = {
                "own thread": on(f"thread {number}"),
                "one thread": on("t"),
                "no thread": {"recursion_limit": LIMIT},
            }[ids]
            finals = []
            for turn in range(rounds):
                final = agent.graph.invoke(go(f"{number}.{turn}"), config)
                assert_valid_history(final["messages"])
                finals.append([text for _, _, text in outcomes(since_human(final["messages"]))])
            return finals

        with silence():
            found = in_threads(THREADS, work)
        for number, finals in enumerate(found):
            tokens = [f"{number}.{turn}" for turn in range(rounds)]
            assert finals == [[f"<{t}>", f"<{t}!>", f"<<{t}>>"] for t in tokens]


def test_invoke_and_ainvoke_at_once(face: Face, delivery: str) -> None:
    """Runs in threads and on event loops, of one graph, at once, of one thread id and of many."""
    agent = face.build([gated({})], thread_talk, grace=0, delivery=delivery)

    def work(number: int) -> list[Any]:
        config = on("t" if number % 2 else f"thread {number}")
        if number % 4 < 2:
            finals = [agent.graph.invoke(go(f"{number}.{turn}"), config) for turn in range(3)]
        else:

            async def several() -> list[Any]:
                values = [go(f"{number}.{turn}") for turn in range(3)]
                return await asyncio.gather(*(agent.graph.ainvoke(v, config) for v in values))

            finals = asyncio.run(several())
        return [[text for _, _, text in outcomes(final["messages"])] for final in finals]

    with silence():
        found = in_threads(8, work)
    for number, finals in enumerate(found):
        tokens = [f"{number}.{turn}" for turn in range(3)]
        assert finals == [[f"<{t}>", f"<{t}!>", f"<<{t}>>"] for t in tokens]


def test_detached_calls_in_many_threads(face: Face, delivery: str) -> None:
    """What a run leaves behind in one thread is delivered to its next run in another thread."""
    agent = face.build(
        [gated({}, WRITES)],
        caller({}),
        checkpointer=InMemorySaver(),
        grace=0,
        delivery=delivery,
        on_final="detach",
    )
    with silence():
        for turn in range(3):

            def leave(number: int, turn: int = turn) -> Any:
                return agent.graph.invoke(go(f"{number}.{turn}"), on(f"thread {number}"))

            def collect(number: int) -> list[str]:
                # Another number than before, so that another thread comes for it.
                other = (number + 5) % THREADS
                final = agent.graph.invoke(go("get"), on(f"thread {other}"))
                assert_valid_history(final["messages"])
                return [text for _, _, text in outcomes(final["messages"])]

            in_threads(THREADS, leave)
            for number, texts in enumerate(in_threads(THREADS, collect)):
                other = (number + 5) % THREADS
                assert texts == [f"<{other}.{past}>" for past in range(turn + 1)]
    agent.owner.close()
