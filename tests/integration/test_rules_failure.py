"""Rules 16 to 19: errors, skips, timeouts, and the end of runs."""

from __future__ import annotations

import asyncio
import gc
import threading
from typing import TYPE_CHECKING, Any

import pytest
from langchain_core.messages import AIMessage, HumanMessage, ToolMessage
from langchain_core.tools import ToolException, tool
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.errors import GraphRecursionError
from langgraph.graph import START, MessagesState, StateGraph
from langgraph.prebuilt import ToolNode

from langchain_asyncfc import AsyncFCToolNode, Effects, effects
from langchain_asyncfc.testing import call, in_virtual_time, run_virtual

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.integration.conftest import Ask, Gate, MakeAgent, Mode, Workshop

PURE = Effects()
THREAD = {"configurable": {"thread_id": "t"}}


class Broken(Exception):
    """Raised by tools."""


def answers(messages: list[Any]) -> list[ToolMessage]:
    """The tool messages, without those that answer control calls."""
    names = ("await_future", "cancel_future")
    return [m for m in messages if isinstance(m, ToolMessage) and m.name not in names]


def now() -> float:
    """The virtual time."""
    return asyncio.get_running_loop().time()


def go() -> dict[str, Any]:
    """A new human message."""
    return {"messages": [HumanMessage("go")]}


# -- rule 16: handled errors -----------------------------------------------------------------------

HANDLERS = [
    True,
    "a fixed text",
    lambda e: f"handled {e}",
    Broken,
    (KeyError, Broken),
]


KINDS = [
    (kind, handler)
    for kind in ("raises", "bad arguments", "unknown tool", "tool's own")
    for handler in range(len(HANDLERS))
    # Bad arguments are no `Broken`: `ToolNode` raises them under the last two.
    if kind != "bad arguments" or handler < 3
]


@pytest.mark.parametrize(("kind", "handler"), KINDS)
def test_rule_16_handled_errors_read_as_in_tool_node(
    mode: Mode,
    make_agent: MakeAgent,
    workshop: Workshop,
    gate: Gate,
    ask: Ask,
    handler: int,
    kind: str,
) -> None:
    """A late error has the very text and status that `ToolNode` gives."""
    error = ToolException("own") if kind == "tool's own" else Broken("broken")
    flags = {"handle_tool_error": True} if kind == "tool's own" else {}

    @tool
    def strict(n: int) -> str:
        """Take a number."""
        return str(n)

    made = {
        "raises": call("bad"),
        "tool's own": call("bad"),
        "bad arguments": call("strict", n="x"),
        "unknown tool": call("nothing"),
    }[kind]
    slow = workshop.tool("bad", gate, error=error, **flags)

    def second(messages: list[Any]) -> Any:
        gate.open()
        return ask(call("await_future"))

    option = HANDLERS[handler]
    agent = make_agent([slow, strict], [ask(made), second, "done"], handle_tool_errors=option)
    [answer] = answers(agent.run(mode))

    builder = StateGraph(MessagesState)
    builder.add_node("tools", ToolNode([slow, strict], handle_tool_errors=option))
    builder.add_edge(START, "tools")
    value = {"messages": [HumanMessage("go"), ask(made)]}
    expected = mode.run(builder.compile(), value)["messages"][-1]
    assert (answer.content, answer.status) == (expected.content, "error")


# -- rule 16: raised errors ------------------------------------------------------------------------


@in_virtual_time
async def test_rule_16_error_is_raised_at_the_next_boundary(
    make_agent: MakeAgent, ask: Ask, workshop: Workshop, make_gate: type[Gate], no_tasks: Any
) -> None:
    """What `ToolNode` would raise is raised before the next model call, siblings cancelled."""
    bad, forever = make_gate(), make_gate()

    def second(messages: list[Any]) -> Any:
        bad.open()
        return ask(call("fast"))

    agent = make_agent(
        [
            workshop.tool("bad", bad, error=Broken("broken"), does=PURE),
            workshop.tool("forever", forever, does=PURE),
            workshop.tool("fast", does=PURE),
        ],
        [ask(call("bad"), call("forever")), second],
        handle_tool_errors=False,
    )
    with pytest.raises(Broken, match="broken"):
        await agent.graph.ainvoke(go())
    no_tasks()
    assert "forever cancelled" in workshop.log
    assert len(agent.calls) == 2


@pytest.mark.parametrize("last", ["await", "early", "fast"])
def test_rule_16_raised_in_each_mode(
    mode: Mode, make_agent: MakeAgent, workshop: Workshop, gate: Gate, ask: Ask, last: str
) -> None:
    """An error that is not handled ends the run: while awaiting, at the end, and in the grace."""

    def second(messages: list[Any]) -> Any:
        gate.open()
        return ask(call("await_future")) if last == "await" else "early"

    agent = make_agent(
        [workshop.tool("bad", None if last == "fast" else gate, error=Broken("broken"))],
        [ask(call("bad")), second],
        handle_tool_errors=False,
        grace=60 if last == "fast" else 0.01,
    )
    with pytest.raises(Broken, match="broken"):
        agent.run(mode)


@in_virtual_time
async def test_rule_16_error_ends_what_another_call_awaits(
    make_agent: MakeAgent, workshop: Workshop, gate: Gate, ask: Ask
) -> None:
    """The error of one call ends a step that waits for another, as it does in `ToolNode`."""

    @effects()
    @tool
    async def bad() -> str:
        """Fail."""
        await asyncio.sleep(1)
        raise Broken("broken")

    @effects()
    @tool
    async def long() -> str:
        """Take long."""
        await asyncio.sleep(1000)
        return "long"

    for made in (
        ask(call("bad"), call("long", await_result=True)),
        ask(call("bad"), call("long"), call("await_future", futures=["future_2"])),
    ):
        began = now()
        agent = make_agent([bad, long], [made], handle_tool_errors=False)
        with pytest.raises(Broken):
            await agent.arun()
        assert now() - began < 10


@in_virtual_time
async def test_rule_16_cancelled_siblings_are_awaited(make_agent: MakeAgent, ask: Ask) -> None:
    """The error is raised after its siblings have cleaned up."""
    log: list[str] = []

    @effects()
    @tool
    async def slow(x: int) -> str:
        """Clean up for two seconds."""
        try:
            await asyncio.sleep(100)
        finally:
            await asyncio.sleep(2)
            log.append("clean")
        return "never"

    @effects()
    @tool
    async def bad(x: int) -> str:
        """Fail after a second."""
        await asyncio.sleep(1)
        raise Broken

    agent = make_agent(
        [slow, bad], [ask(call("slow", x=1), call("bad", x=1)), "early"], handle_tool_errors=False
    )
    with pytest.raises(Broken):
        await agent.arun()
    assert log == ["clean"]
    assert now() == pytest.approx(3.0)


@in_virtual_time
async def test_rule_16_a_failed_run_leaves_the_thread_usable(
    make_agent: MakeAgent, workshop: Workshop, ask: Ask
) -> None:
    """After an error, the thread goes on: what may run again does, and the rest is lost."""
    failures = [Broken()]

    @effects(writes="disk:")
    @tool
    async def slow(x: int) -> str:
        """Take long."""
        await asyncio.sleep(100)
        return "slow"

    @effects()
    @tool
    async def bad(x: int) -> str:
        """Fail after a second, once."""
        await asyncio.sleep(1)
        if failures:
            raise failures.pop()
        return "good"

    agent = make_agent(
        [slow, bad],
        [
            ask(call("slow", x=1), call("bad", x=1)),
            ask(call("await_future")),
            # the second run
            ask(call("await_future")),
            "done",
        ],
        handle_tool_errors=False,
        checkpointer=InMemorySaver(),
    )
    with pytest.raises(Broken):
        await agent.arun(config=THREAD)
    snapshot = await agent.graph.aget_state(THREAD)
    open_calls = snapshot.values["messages"][-1]
    # The run ended in the tools: it is gone on with, as LangGraph users do.
    assert isinstance(open_calls, AIMessage)
    final = await agent.graph.ainvoke(None, THREAD)
    lost, good = [m.text for m in answers(final["messages"])]
    assert "future_1 was lost" in lost
    assert "slow may or may not have taken effect" in lost
    assert good == "good"


# -- rule 17 ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("how", ["failed", "cancelled", "timed out"])
@in_virtual_time
async def test_rule_17_skips_are_transitive_and_name_the_root(
    make_agent: MakeAgent, workshop: Workshop, ask: Ask, how: str, delivery: str
) -> None:
    """Dependents by reference do not run, and each is told the root cause, not its neighbour."""

    @effects()
    @tool
    async def root(x: int = 0) -> str:
        """End badly."""
        await asyncio.sleep(5)
        raise Broken("the disk is full")

    use = workshop.tool("use", does=PURE)
    end = (
        call("cancel_future", futures=["future_1"]) if how == "cancelled" else call("await_future")
    )
    agent = make_agent(
        [root, use],
        [
            ask(call("root")),
            ask(call("use", x="future_1.a"), call("use", x="${future_2}!"), call("use", x=1)),
            ask(end),
            ask(call("use", x="future_3")),
            "done",
            "done",
        ],
        handle_tool_errors=True,
        delivery=delivery,
        timeout={"root": 2.0} if how == "timed out" else None,
    )
    final = await agent.graph.ainvoke(go())
    text = "\n".join(m.text for m in final["messages"] if isinstance(m, ToolMessage))
    reason = {
        "failed": "future_1 (root) failed",
        "timed out": "future_1 (root) failed: Tool 'root' was ended after its timeout",
        "cancelled": "future_1 (root) cancelled",
    }[how]
    for number in (2, 3, 5):
        assert f"future_{number} was not run, because {reason}" in text
    if how == "failed":
        assert "the disk is full" in text
    assert workshop.inputs == [("use", 1)]


def test_rule_17_skip_in_each_mode(
    mode: Mode, make_agent: MakeAgent, workshop: Workshop, gate: Gate, ask: Ask
) -> None:
    """A reference to a failed call is answered with a skip, before and after its failure."""

    def second(messages: list[Any]) -> Any:
        gate.open()
        return ask(call("await_future"))

    agent = make_agent(
        [workshop.tool("bad", gate, error=Broken("no")), workshop.tool("use")],
        [
            ask(call("bad"), call("use", x="future_1")),
            second,
            ask(call("use", x="future_1", await_result=True)),
            "done",
        ],
        handle_tool_errors=True,
    )
    messages = agent.run(mode)
    _, before, after = answers(messages)
    for number, answer in ((2, before), (3, after)):
        assert answer.status == "error"
        assert f"future_{number} was not run, because future_1 (bad) failed" in answer.text
    assert workshop.started() == ["bad"]


def test_rule_17_reference_to_a_failure_of_an_earlier_run(
    mode: Mode, make_agent: MakeAgent, workshop: Workshop, gate: Gate, ask: Ask
) -> None:
    """A future that failed in an earlier run has no value; the message says so."""

    def second(messages: list[Any]) -> Any:
        gate.open()
        return ask(call("await_future"))

    agent = make_agent(
        [workshop.tool("bad", gate, error=Broken("no")), workshop.tool("use")],
        [
            ask(call("bad")),
            second,
            "one",
            ask(call("use", x="future_1", await_result=True)),
            "two",
        ],
        handle_tool_errors=True,
        checkpointer=InMemorySaver(),
    )
    agent.run(mode, config=THREAD)
    answer = answers(agent.run(mode, config=THREAD))[-1]
    assert answer.status == "error"
    assert "future_1" in answer.text
    assert "failed" in answer.text
    assert workshop.started() == ["bad"]


@in_virtual_time
async def test_rule_17_hazard_alone_does_not_skip(
    make_agent: MakeAgent, workshop: Workshop, gate: Gate, ask: Ask
) -> None:
    """A call that was only ordered behind a failed one runs."""
    write = Effects(writes="fs:")

    def second(messages: list[Any]) -> Any:
        gate.open()
        return ask(call("await_future"))

    agent = make_agent(
        [
            workshop.tool("bad", gate, error=Broken("no"), does=write),
            workshop.tool("next", does=write),
            workshop.tool("undeclared"),
        ],
        [ask(call("bad"), call("next")), ask(call("undeclared")), second, "done"],
        handle_tool_errors=True,
    )
    messages = await agent.arun()
    assert [m.status for m in answers(messages)] == ["error", "success", "success"]


@pytest.mark.parametrize("failing", [False, True])
def test_rule_17_fence(
    mode: Mode, make_agent: MakeAgent, workshop: Workshop, gate: Gate, ask: Ask, failing: bool
) -> None:
    """A fence waits for every earlier call, and is skipped if one of them failed."""

    def last(messages: list[Any]) -> Any:
        assert workshop.started() == ["maybe"]
        gate.open()
        return ask(call("await_future"))

    agent = make_agent(
        [
            workshop.tool("maybe", gate, error=Broken("no") if failing else None, does=PURE),
            workshop.tool("commit", does=Effects(writes="git:", fence=True)),
        ],
        [ask(call("maybe")), ask(call("commit")), last, "done"],
        handle_tool_errors=True,
    )
    answer = answers(agent.run(mode))[1]
    if failing:
        assert "was not run, because future_1 (maybe) failed" in answer.text
        assert workshop.started() == ["maybe"]
    else:
        assert answer.text == "commit()"


@in_virtual_time
async def test_rule_17_fence_after_a_failure_that_was_told(
    make_agent: MakeAgent, workshop: Workshop, ask: Ask
) -> None:
    """A failure that the model knows of does not stop a fence that it issues afterwards."""
    agent = make_agent(
        [
            workshop.tool("bad", error=Broken("no"), does=PURE),
            workshop.tool("commit", does=Effects(writes="git:", fence=True)),
        ],
        [
            ask(call("bad", await_result=True)),
            ask(call("commit", await_result=True)),
            ask(call("bad"), call("commit", await_result=True)),
            "done",
        ],
        handle_tool_errors=True,
    )
    messages = await agent.arun()
    texts = [m.text for m in answers(messages)]
    assert texts[1] == "commit()"
    assert "future_4 was not run, because future_3 (bad) failed" in texts[3]


# -- rule 18 ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("form", ["number", "mapping"])
@in_virtual_time
async def test_rule_18_timeout_ends_only_that_call(
    make_agent: MakeAgent, ask: Ask, form: str, delivery: str
) -> None:
    """A call that runs too long ends with an error that names tool and limit; others go on."""

    @effects()
    @tool
    async def work(seconds: float) -> str:
        """Work."""
        await asyncio.sleep(seconds)
        return f"worked {seconds}"

    agent = make_agent(
        [work],
        [ask(call("work", seconds=100), call("work", seconds=2)), ask(call("await_future")), "."],
        timeout=3.0 if form == "number" else {"work": 3.0},
        delivery=delivery,
    )
    messages = await agent.arun()
    text = "\n".join(m.text for m in messages if isinstance(m, ToolMessage))
    assert "Tool 'work' was ended after its timeout of 3 seconds" in text
    assert "worked 2" in text
    assert now() == pytest.approx(3.0)


@in_virtual_time
async def test_rule_18_waiting_does_not_count(make_agent: MakeAgent, ask: Ask) -> None:
    """The limit begins when the call starts, not while it waits for others or for a permit."""

    @tool
    async def work(x: Any) -> str:
        """Work for two seconds."""
        await asyncio.sleep(2)
        return "worked"

    agent = make_agent(
        [work],
        [ask(call("work", x=1)), ask(call("work", x="future_1")), ask(call("work", x=3)), "e", "."],
        timeout=3.0,
        max_concurrency=1,
    )
    messages = await agent.arun()
    assert [m.text for m in answers(messages)] == ["worked"] * 3


@in_virtual_time
async def test_rule_18_timeout_within_the_grace_and_awaited(
    make_agent: MakeAgent, ask: Ask
) -> None:
    """A timeout that comes while the step waits is the ordinary answer of the call."""

    @effects()
    @tool
    async def work(seconds: float) -> str:
        """Work."""
        await asyncio.sleep(seconds)
        return "never"

    agent = make_agent(
        [work], [ask(call("work", seconds=9, await_result=True)), "done"], timeout=1.0
    )
    [answer] = answers(await agent.arun())
    assert (answer.status, now()) == ("error", pytest.approx(1.0))
    assert "Tool 'work' was ended after its timeout of 1 seconds" in answer.text


def test_rule_18_timeout_of_a_sync_tool(
    make_agent: MakeAgent, workshop: Workshop, gate: Gate, ask: Ask
) -> None:
    """Under `invoke` a timed-out thread is left behind, and its late value is dropped."""
    agent = make_agent(
        [workshop.tool("slow", gate)],
        [ask(call("slow")), ask(call("await_future")), "done"],
        timeout=0.05,
    )
    messages = agent.graph.invoke(go())["messages"]
    gate.open()
    assert "Tool 'slow' was ended after its timeout of 0.05 seconds" in answers(messages)[0].text


def test_rule_18_timeout_of_a_sync_tool_on_a_loop(make_agent: MakeAgent, ask: Ask) -> None:
    """Under `ainvoke` the same holds for a tool that blocks a worker thread."""
    release = threading.Event()

    @effects()
    @tool
    def block(x: int = 0) -> str:
        """Block a thread."""
        release.wait(20)
        return "late"

    agent = make_agent([block], [ask(call("block", await_result=True)), "done"], timeout=0.05)
    [answer] = answers(asyncio.run(agent.arun()))
    release.set()
    assert "Tool 'block' was ended after its timeout of 0.05 seconds" in answer.text


# -- rule 19 ---------------------------------------------------------------------------------------


def endless(log: list[str]) -> Any:
    """A tool that never ends, and needs a second to be cancelled."""

    @effects()
    @tool
    async def forever(x: Any = 0) -> str:
        """Run for ever."""
        log.append("start")
        try:
            await asyncio.Event().wait()
        finally:
            await asyncio.sleep(1)
            log.append("end")
        return "never"

    return forever


async def _cancel(graph: Any, value: Any) -> None:
    task = asyncio.create_task(graph.ainvoke(value))
    await asyncio.sleep(5)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


async def _time_out(graph: Any, value: Any) -> None:
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(5):
            await graph.ainvoke(value)


async def _close(graph: Any, value: Any) -> None:
    stream = graph.astream(value, stream_mode="updates")
    async for chunk in stream:
        if "tools" in chunk:
            break
    await stream.aclose()


async def _drop(graph: Any, value: Any) -> None:
    stream = graph.astream(value, stream_mode="updates")
    async for chunk in stream:
        if "tools" in chunk:
            break
    del stream
    gc.collect()
    await asyncio.sleep(5)


async def _drop_events(graph: Any, value: Any) -> None:
    stream = graph.astream_events(value, version="v2")
    async for event in stream:
        if event["event"] == "on_chain_end" and event["name"] == "tools":
            break
    await stream.aclose()


async def _recursion(graph: Any, value: Any) -> None:
    with pytest.raises(GraphRecursionError):
        await graph.ainvoke(value, {"recursion_limit": 6})


async def _model_error(graph: Any, value: Any) -> None:
    with pytest.raises(Broken):
        await graph.ainvoke(value)


async def _batch(graph: Any, value: Any) -> None:
    task = asyncio.create_task(graph.abatch([value, go()]))
    await asyncio.sleep(5)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


ENDS = {
    "cancel": _cancel,
    "timeout": _time_out,
    "aclose": _close,
    "drop": _drop,
    "events": _drop_events,
    "recursion": _recursion,
    "model error": _model_error,
    "batch": _batch,
}


# The stream of an outer graph shows no inner steps, after which to stop it.
PLACES = [
    (place, end)
    for place in ("graph", "subgraph")
    for end in ENDS
    if place == "graph" or end not in ("aclose", "drop", "events")
]


@pytest.mark.parametrize(("place", "end"), PLACES)
@pytest.mark.parametrize("on_final", ["review", "settle", "detach"])
@in_virtual_time
async def test_rule_19_nothing_outlives_its_run(
    make_agent: MakeAgent,
    ask: Ask,
    no_tasks: Callable[[], None],
    end: str,
    on_final: str,
    place: str,
) -> None:
    """However a run ends early, its calls are cancelled and awaited, and no task remains."""
    log: list[str] = []

    def second(messages: list[Any]) -> Any:
        if end == "model error":
            raise Broken
        return ask(call("forever", x="future_1"))

    def reply(messages: list[Any]) -> Any:  # by the messages: a batch runs two graphs at once
        if isinstance(messages[-1], HumanMessage):
            return ask(call("forever"), call("forever", x=2), call("forever", x="future_1"))
        return second(messages) if later else ask(call("await_future"))

    later = end in ("recursion", "model error")
    agent = make_agent([endless(log)], [reply] * 20, on_final=on_final)
    graph = agent.graph
    if place == "subgraph":
        builder = StateGraph(MessagesState)
        builder.add_node("inner", graph)
        builder.add_edge(START, "inner")
        graph = builder.compile()
    await ENDS[end](graph, go())
    no_tasks()
    if on_final == "detach":
        await agent.node.aclose()
        no_tasks()
    assert log.count("start") == log.count("end") == (4 if end == "batch" else 2)


@pytest.mark.parametrize("end", ["cancel", "timeout", "aclose"])
@in_virtual_time
async def test_rule_19_joined_calls_end_with_their_run(
    make_agent: MakeAgent, ask: Ask, no_tasks: Callable[[], None], end: str
) -> None:
    """A run that several identical calls share ends with the run of the graph."""
    log: list[str] = []
    agent = make_agent(
        [endless(log)],
        [ask(call("forever"), call("forever")), ask(call("await_future"))],
    )
    await ENDS[end](agent.graph, go())
    no_tasks()
    assert log == ["start", "end"]


@in_virtual_time
async def test_rule_19_end_while_the_grace_period_runs(
    make_agent: MakeAgent, ask: Ask, no_tasks: Callable[[], None]
) -> None:
    """A run that is cancelled inside the step that issued its calls leaves nothing either."""
    log: list[str] = []
    agent = make_agent([endless(log)], [ask(call("forever"), call("forever", x=1))], grace=100)
    await _cancel(agent.graph, go())
    no_tasks()
    assert log == ["start", "start", "end", "end"]


@in_virtual_time
async def test_rule_19_nobody_asks_at_the_end_of_a_turn(
    ask: Ask, script: Any, no_tasks: Callable[[], None], caplog: pytest.LogCaptureFixture
) -> None:
    """With LangGraph's own `tools_condition` every result is waited for, and one warning says why.

    Such a graph would end with futures open, and they would be lost.
    """
    from langgraph.prebuilt import tools_condition

    @effects()
    @tool
    async def slow() -> str:
        """Take a while."""
        await asyncio.sleep(5)
        return "slow value"

    node = AsyncFCToolNode([slow])
    model = script(ask(call("slow")), ask(call("slow")), "done")
    builder = StateGraph(MessagesState)

    async def think(state: Any) -> Any:
        return {"messages": [await model.ainvoke(state["messages"])]}

    builder.add_node("agent", think)
    builder.add_node("tools", node)
    builder.add_edge(START, "agent")
    builder.add_conditional_edges("agent", tools_condition)
    builder.add_edge("tools", "agent")
    final = await builder.compile().ainvoke(go())
    no_tasks()
    assert [m.text for m in final["messages"] if m.type == "tool"] == ["slow value"] * 2
    assert final["messages"][-1].text == "done"
    (warning,) = [r.getMessage() for r in caplog.records if r.levelname == "WARNING"]
    assert "langchain_asyncfc.tools_condition" in warning


@pytest.mark.parametrize("on_final", ["review", "settle"])
def test_rule_19_error_under_invoke(
    make_agent: MakeAgent, workshop: Workshop, gate: Gate, ask: Ask, on_final: str
) -> None:
    """Under `invoke` an error of the model ends the run at once; a blocked thread is let go."""

    def second(messages: list[Any]) -> Any:
        raise Broken("model")

    agent = make_agent(
        [workshop.tool("slow", gate)], [ask(call("slow")), second], on_final=on_final
    )
    with pytest.raises(Broken, match="model"):
        agent.graph.invoke(go())
    gate.open()


def test_rule_19_closing_a_sync_stream(
    make_agent: MakeAgent, workshop: Workshop, make_gate: type[Gate], ask: Ask
) -> None:
    """A closed `stream` starts nothing that still waits."""
    gates = [make_gate(), make_gate()]
    agent = make_agent(
        [workshop.tool("a", gates[0]), workshop.tool("b", gates[1])],
        [ask(call("a"), call("b", x="future_1")), "never"],
    )
    stream = agent.graph.stream(go(), stream_mode="updates")
    for chunk in stream:
        if "tools" in chunk:
            break
    stream.close()
    gates[0].open()
    gates[1].open()
    from langchain_asyncfc.executors import worker_pool

    worker_pool().submit(int).result(timeout=20)
    assert workshop.started() == ["a"]


def test_rule_19_async_only_tool_is_stopped_under_invoke(make_agent: MakeAgent, ask: Ask) -> None:
    """A coroutine that runs on the background loop of an `invoke` is cancelled with its run."""
    started, stopped = threading.Event(), threading.Event()

    @effects()
    @tool
    async def forever(x: int = 0) -> str:
        """Run for ever."""
        started.set()
        try:
            await asyncio.Event().wait()
        finally:
            stopped.set()
        return "never"

    def second(messages: list[Any]) -> Any:
        assert started.wait(20)
        raise Broken("model")

    agent = make_agent([forever], [ask(call("forever")), second])
    with pytest.raises(Broken, match="model"):
        agent.graph.invoke(go())
    assert stopped.wait(5)


def test_rule_19_no_task_is_left_for_asyncio_run(
    make_agent: MakeAgent, ask: Ask, caplog: pytest.LogCaptureFixture
) -> None:
    """A loop that ends with detached futures open ends quietly."""
    log: list[str] = []

    async def main() -> None:
        agent = make_agent(
            [endless(log)],
            [ask(call("forever")), "bye"],
            on_final="detach",
            checkpointer=InMemorySaver(),
        )
        await agent.graph.ainvoke(go(), THREAD)

    run_virtual(main())
    assert log == ["start", "end"]
    assert [record.getMessage() for record in caplog.records] == []


@in_virtual_time
async def test_rule_19_cancelled_twice(
    make_agent: MakeAgent, ask: Ask, no_tasks: Callable[[], None]
) -> None:
    """After a second cancellation, while calls are cleaning up, they still clean up to the end.

    LangGraph shields its last callbacks and goes on when it is cancelled there, so the run itself
    does not wait for them any more.
    """
    log: list[str] = []
    agent = make_agent(
        [endless(log)], [ask(call("forever"), call("forever", x=1)), ask(call("await_future"))]
    )
    task = asyncio.create_task(agent.graph.ainvoke(go()))
    await asyncio.sleep(5)
    task.cancel()
    await asyncio.sleep(0.5)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await asyncio.sleep(2)
    no_tasks()
    assert log == ["start", "start", "end", "end"]


def test_rule_19_dropped_sync_stream(
    make_agent: MakeAgent, workshop: Workshop, make_gate: type[Gate], ask: Ask
) -> None:
    """A `stream` that nobody reads any more starts nothing that still waits."""
    gates = [make_gate(), make_gate()]
    agent = make_agent(
        [workshop.tool("a", gates[0]), workshop.tool("b", gates[1])],
        [ask(call("a"), call("b", x="future_1")), "never"],
    )
    for chunk in agent.graph.stream(go(), stream_mode="updates"):
        if "tools" in chunk:
            break
    gc.collect()
    gates[0].open()
    gates[1].open()
    from langchain_asyncfc.executors import worker_pool

    worker_pool().submit(int).result(timeout=20)
    assert workshop.started() == ["a"]


@in_virtual_time
async def test_rule_16_error_of_a_detached_call(
    make_agent: MakeAgent, ask: Ask, no_tasks: Callable[[], None]
) -> None:
    """An unhandled error of a detached call is raised in the next run, and in no other."""

    @effects(writes="disk:")
    @tool
    async def bad(x: int = 0) -> str:
        """Fail later."""
        await asyncio.sleep(5)
        raise Broken("later")

    agent = make_agent(
        [bad],
        [ask(call("bad")), "bye", "hello", "hello", "done"],
        on_final="detach",
        handle_tool_errors=False,
        checkpointer=InMemorySaver(),
    )
    await agent.graph.ainvoke(go(), THREAD)
    await asyncio.sleep(10)
    with pytest.raises(Broken, match="later"):
        await agent.graph.ainvoke(go(), THREAD)
    final = await agent.graph.ainvoke(None, THREAD)
    assert final["messages"][-1].text == "hello"
    assert answers(final["messages"])[0].status == "error"
    no_tasks()


@pytest.mark.parametrize("how", ["events", "messages", "custom", "updates", "values", "debug"])
@in_virtual_time
async def test_rule_19_detached_call_after_its_stream(
    make_agent: MakeAgent,
    ask: Ask,
    no_tasks: Callable[[], None],
    caplog: pytest.LogCaptureFixture,
    how: Any,
) -> None:
    """A detached call that ends after the stream of its run complains nowhere."""

    @effects()
    @tool
    async def late(x: int = 0) -> str:
        """End late."""
        await asyncio.sleep(5)
        return "late"

    agent = make_agent(
        [late],
        [ask(call("late")), "bye", "hello", "done"],
        on_final="detach",
        checkpointer=InMemorySaver(),
    )
    if how == "events":
        async for _ in agent.graph.astream_events(go(), THREAD, version="v2"):
            pass
    else:
        async for _ in agent.graph.astream(go(), THREAD, stream_mode=how):
            pass
    assert now() < 1
    await asyncio.sleep(10)
    final = await agent.graph.ainvoke(go(), THREAD)
    assert answers(final["messages"])[0].text == "late"
    no_tasks()
    assert [record.getMessage() for record in caplog.records if record.levelname != "DEBUG"] == []
