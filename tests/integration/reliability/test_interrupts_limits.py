"""Tools that ask, and all that may come between: errors, time limits, wrappers, other orders.

Rule 20 with rules 15 to 19, 22 and 26.
"""

from __future__ import annotations

import asyncio
import re
from typing import Any

import pytest
from langchain.agents import create_agent
from langchain.agents.middleware import AgentMiddleware
from langchain_core.messages import HumanMessage, ToolMessage
from langchain_core.tools import tool
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.types import Command, interrupt

from langchain_asyncfc import AsyncFCMiddleware, AsyncFCToolNode, Effects, effects, tools_condition
from langchain_asyncfc.testing import (
    ScriptedChatModel,
    VirtualTimeLoop,
    assert_valid_history,
    run_virtual,
)
from tests.integration.agents.helpers import quiet, unfinished
from tests.integration.conftest import assert_no_tasks
from tests.integration.reliability.faces import Agent, Face, go, loop, on
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


@pytest.fixture(params=[way for way in WAYS if way.delivery == "in_place"], ids=str)
def way(request: pytest.FixtureRequest) -> Way:
    """Both faces, in threads and on event loops."""
    return request.param


@pytest.fixture(params=["node", "middleware"])
def face(request: pytest.FixtureRequest) -> Face:
    """Both faces."""
    return Face(request.param)


# -- ends of turns ---------------------------------------------------------------------------------


ENDS = {
    "at-the-end": Case(
        lambda d: [d.ask("ask", PURE, until=LATE), d.work("work", PURE)],
        [[("ask", A), ("work", A), ("ask", B)]],
    ),
    "in-the-middle": Case(
        lambda d: [
            d.ask("ask", PURE),
            d.work("slow", PURE, until=ASKED),
            d.work("work", PURE),
        ],
        [[("slow", A), ("ask", A)], [("work", A)], [("work", B)]],
    ),
}


@pytest.mark.parametrize("on_final", ["settle", "detach"])
@pytest.mark.parametrize("case", ENDS.values(), ids=ENDS)
def test_other_ends_of_turns(case: Case, way: Way, on_final: str) -> None:
    """However turns end, what is asked is asked, and values come when the option says."""
    desk, talk = opened(case, Way(way.face, way.is_async, way.delivery, on_final))
    with asyncio.Runner(loop_factory=VirtualTimeLoop) as talk.runner:
        talk.detached = on_final == "detach"
        talk.talk("map")
        if on_final == "detach":
            if way.is_async:
                talk.runner.run(asyncio.sleep(100))
            talk.run({"messages": [HumanMessage("go on")]})
            talk.answer_all("map")
    messages = talk.messages()
    assert_valid_history(messages)
    calls = {c["id"] for m in messages for c in getattr(m, "tool_calls", [])}
    told = {m.tool_call_id: m.text for m in messages if isinstance(m, ToolMessage)}
    assert {i for i in calls if i.startswith("c")} <= set(told)
    assert not unfinished(messages)
    assert all(n == 1 for n in desk.count("end").values()), desk.log
    for name, x in desk.count("end"):
        text = f"{name}({x})" + (f": {yes(f'ask({x}) 0?')}" if name == "ask" else "")
        assert text in told.values()


# -- errors ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("placed", [False, True])
def test_error_after_the_answer_is_handled(face: Face, placed: bool) -> None:
    """An error that is handled is the call's answer, and its siblings have theirs."""
    case = Case(
        lambda d: [
            d.ask("ask", PURE, until=LATE if placed else None, error=ValueError),
            d.work("work", PURE),
        ],
        [[("ask", A), ("work", A)], [("work", B)]],
    )
    desk = Desk()
    tools = case.tools(desk)
    for one in tools:
        one.handle_tool_error = True
    options = {"handle_tool_errors": "handled"} if face.name == "node" else {}
    if face.name == "middleware":
        pytest.skip("an agent's own middleware handles errors; see the wrappers below")
    agent = face.build(tools, desk.policy(case.script), checkpointer=InMemorySaver(), **options)
    messages = Talk(agent, is_async=True).talk()
    told = {m.tool_call_id: m for m in messages if isinstance(m, ToolMessage)}
    assert (told["c1"].text, told["c1"].status) == ("handled", "error")
    assert told["c2"].text == "work(a)"
    assert desk.count("end") == {("ask", "a"): 1, ("work", "a"): 1, ("work", "b"): 1}


@pytest.mark.parametrize("placed", [False, True])
def test_error_after_the_answer_is_raised(way: Way, placed: bool) -> None:
    """An error that is not handled is raised by the run that gave the answer."""
    case = Case(
        lambda d: [
            d.ask("ask", PURE, until=LATE if placed else None, error=ZeroDivisionError),
            d.work("work", PURE),
        ],
        [[("ask", A), ("work", A)], [("work", B)]],
    )
    more = {"handle_tool_errors": False} if way.face == "node" else {}
    desk, talk = opened(case, way, **more)
    with pytest.raises(ZeroDivisionError, match=r"ask\(a\) failed"):
        talk.talk()
    assert desk.count("end")["ask", "a"] == 1
    assert desk.count("end")["work", "a"] == 1


def test_references_to_a_call_that_fails_after_its_answer(face: Face) -> None:
    """What depends on it is skipped, with the root cause."""
    desk = Desk()
    bad = desk.ask("ask", PURE, until=LATE)
    bad.func, bad.coroutine = _failing(desk)
    bad.handle_tool_error = True
    script = [[("ask", A)], [("await_future", {})], [("work", {"x": "future_1"}), ("work", B)]]
    agent = face.build(
        [bad, desk.work("work", PURE)], desk.policy(script), checkpointer=InMemorySaver()
    )
    messages = Talk(agent, is_async=True).talk()
    told = {m.tool_call_id: m for m in messages if isinstance(m, ToolMessage)}
    assert told["c1"].status == told["c2"].status == "error"
    assert "future_1" in told["c2"].text
    assert told["c3"].text == "work(b)"
    assert ("work", "future_1") not in desk.count("start")


def _failing(desk: Desk) -> Any:
    from langchain_core.tools import ToolException

    def run(x: str = "") -> str:
        interrupt("?")
        desk.log.append(("end", "ask", x))
        raise ToolException("no")

    async def arun(x: str = "") -> str:
        await asyncio.sleep(5)
        return run(x)

    return run, arun


# -- time limits -----------------------------------------------------------------------------------


def test_a_person_may_take_hours(face: Face) -> None:
    """The limit of a call counts neither while it waits to ask nor while a person thinks."""
    case = Case(
        lambda d: [d.ask("ask", PURE), d.work("slow", PURE, until=ASKED)],
        [[("slow", A), ("ask", A)], [("slow", B)]],
        {"timeout": {"ask": 10.0}},
    )
    way = Way(face.name, is_async=True)
    desk, talk = opened(case, way, delay=3600.0)
    check_same(case, desk, talk.talk())


@pytest.mark.parametrize("placed", [False, True])
@pytest.mark.parametrize("siblings", [False, True])
def test_limit_after_the_answer(face: Face, placed: bool, siblings: bool) -> None:
    """A call that goes on after its answer has its limit again."""
    desk = Desk()

    @effects()
    @tool
    async def ask(x: str) -> str:
        """Ask, then take long."""
        if placed:
            await asyncio.sleep(5)
        said = interrupt("?")
        await asyncio.sleep(50)
        return f"{x} {said}"

    script = [[("ask", A), *([("work", A)] if siblings else [])], [("work", B)]]
    agent = face.build(
        [ask, desk.work("work", PURE)],
        desk.policy(script),
        checkpointer=InMemorySaver(),
        timeout={"ask": 20.0},
    )
    messages = Talk(agent, is_async=True).talk()
    told = {m.tool_call_id: m for m in messages if isinstance(m, ToolMessage)}
    assert told["c1"].status == "error"
    assert "'ask'" in told["c1"].text
    assert "20 seconds" in told["c1"].text


# -- wrappers --------------------------------------------------------------------------------------


class Wrap(AgentMiddleware):
    """Marks results, and notes what came in."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[Any] = []

    def wrap_tool_call(self, request: Any, handler: Any) -> Any:
        """Mark the result."""
        self.seen.append(request.tool_call["args"])
        return self._marked(handler(request))

    async def awrap_tool_call(self, request: Any, handler: Any) -> Any:
        """Mark the result."""
        self.seen.append(request.tool_call["args"])
        return self._marked(await handler(request))

    def _marked(self, message: ToolMessage) -> ToolMessage:
        return message.model_copy(update={"content": f"<{message.content}>"})


@pytest.mark.parametrize("is_async", [True, False])
@pytest.mark.parametrize("kind", ["node", "middleware"])
@pytest.mark.parametrize("placed", [False, True])
def test_wrappers_around(kind: str, is_async: bool, placed: bool) -> None:
    """A wrapper wraps the call that is run again, with values where references stand."""
    desk, wrap = Desk(), Wrap()
    tools = [desk.ask("ask", PURE, until=LATE if placed else None), desk.work("work", PURE)]
    script = [
        [("work", A), ("ask", A)],
        [("ask", {"x": "${future_1}!"}), ("work", B)],
    ]
    model = ScriptedChatModel(policy=desk.policy(script), check_history=True)
    if kind == "node":
        node = AsyncFCToolNode(
            tools, wrap_tool_call=wrap.wrap_tool_call, awrap_tool_call=wrap.awrap_tool_call
        )
        builder = loop(model.bind_tools(node.model_tools), node, tools_condition)
        builder.add_edge("tools", "agent")
        agent = Agent(builder.compile(checkpointer=InMemorySaver()), "agent", node, model)
    else:
        middleware = AsyncFCMiddleware()
        graph = create_agent(
            model, tools, middleware=[middleware, wrap], checkpointer=InMemorySaver()
        )
        agent = Agent(graph, "model", middleware, model)
    messages = Talk(agent, is_async=is_async).talk()
    told = {m.tool_call_id: m.text for m in messages if isinstance(m, ToolMessage)}
    assert told["c1"] == "<work(a)>"
    assert told["c2"] == "<ask(a): yes to ask(a) 0?>"
    assert told["c3"] == "<ask(<work(a)>!): yes to ask(<work(a)>!) 0?>"
    assert told["c4"] == "<work(b)>"
    assert desk.count("end")["ask", "a"] == 1
    assert {"x": "<work(a)>!"} in wrap.seen
    assert not any("future" in str(args) for args in wrap.seen)


# -- something else than an answer -----------------------------------------------------------------


def test_cancelled_before_it_asks(way: Way) -> None:
    """A call that is cancelled asks nobody."""
    case = Case(
        lambda d: [d.ask("ask", PURE, until="never"), d.work("work", PURE)],
        [[("ask", A), ("work", A)], [("cancel_future", {"futures": ["future_1"]})], [("work", B)]],
    )
    if not way.is_async:
        pytest.skip("a sync tool cannot be stopped")
    desk, talk = opened(case, way)
    messages = talk.talk()
    assert not talk.stops
    told = {m.tool_call_id: m.text for m in messages if isinstance(m, ToolMessage)}
    assert "cancel" in told["c1"]
    assert told["c3"] == "work(b)"
    assert desk.count("end") == {("work", "a"): 1, ("work", "b"): 1}


def test_cancelled_while_it_would_ask(face: Face) -> None:
    """A call that wants to ask when it is cancelled asks nobody, and what waits for it goes on."""
    desk = Desk(delay=5.0)

    @effects()
    @tool
    async def slow_model(x: str) -> str:
        """Work for as long as the model below."""
        return x

    script = [[("ask", A)], [("cancel_future", {"futures": ["future_1"]}), ("work", A)]]
    policy = desk.policy(script)

    async def reply(messages: list[Any]) -> Any:
        said = policy(messages)
        await asyncio.sleep(20)  # the tool wants to ask while the model speaks
        return said

    agent = face.build(
        [desk.ask("ask", Effects(writes="db:"), until="turn 0"), desk.work("work", PURE)],
        reply,  # type: ignore[arg-type]
        checkpointer=InMemorySaver(),
    )
    talk = Talk(agent, is_async=True)
    messages = talk.talk()
    assert not talk.stops
    told = {m.tool_call_id: m.text for m in messages if isinstance(m, ToolMessage)}
    assert "cancel" in told["c1"]
    assert told["c2"] == "work(a)"


def test_a_message_instead_of_an_answer(way: Way) -> None:
    """Whoever says something else gets an answer; the call that asked has not taken effect."""
    case = Case(
        lambda d: [
            d.ask("ask", Effects(writes="db:"), until=LATE),
            d.work("slow", Effects(writes="disk:")),
        ],
        [[("slow", A), ("ask", A)]],
    )
    desk, talk = opened(case, way)
    talk.run({"messages": [HumanMessage("go")]})
    assert [i.value for i in talk.asked()] == ["ask(a) 0?"]
    talk.warns = re.compile("future_2 .ask. is lost")
    talk.run({"messages": [HumanMessage("never mind")]})
    talk.answer_all()
    messages = talk.messages()
    assert_valid_history(messages)
    assert not unfinished(messages)
    assert desk.count("end")["slow", "a"] == 1
    assert desk.count("start")["slow", "a"] == 1


def test_replay_after_the_answer(way: Way) -> None:
    """A replay from before the answer asks again, and each branch has its own answer."""
    case = Case(
        lambda d: [d.ask("ask", PURE, until=LATE), d.work("work", PURE)],
        [[("work", A), ("ask", A)], [("work", B)]],
    )
    desk, talk = opened(case, way)
    first = talk.talk()
    assert "ask(a): yes to ask(a) 0?" in [m.text for m in first]
    graph = talk.agent.graph
    past = [s for s in graph.get_state_history(talk.config) if s.interrupts]
    assert past
    talk.config = {**past[0].config, "recursion_limit": 40}
    with quiet():
        if way.is_async:
            run_virtual(graph.ainvoke(None, talk.config))
        else:
            graph.invoke(None, talk.config)
    talk.config = on("t")
    asked = talk.asked()
    assert [i.value for i in asked] == ["ask(a) 0?"]
    talk.run(Command(resume="other"))
    messages = talk.answer_all()
    assert_valid_history(messages)
    texts = [m.text for m in messages]
    assert "ask(a): other" in texts
    assert "ask(a): yes to ask(a) 0?" not in texts
    assert not unfinished(messages)
    assert desk.count("end")["ask", "a"] == 2


def test_an_answer_with_an_update(way: Way) -> None:
    """`Command(resume=..., update=...)` gives the answer and adds to the state."""
    case = Case(lambda d: [d.ask("ask", PURE), d.work("work", PURE)], [[("work", A), ("ask", A)]])
    desk, talk = opened(case, way)
    talk.run({"messages": [HumanMessage("go")]})
    (asked,) = talk.asked()
    state = talk.agent.graph.get_state(talk.config)
    last = state.values["messages"][0]
    update = {"messages": [last.model_copy(update={"name": "named"})]}
    talk.run(Command(resume={asked.id: "ok"}, update=update))
    messages = talk.messages()
    assert "ask(a): ok" in [m.text for m in messages]
    assert [m.name for m in messages if m.id == last.id] == ["named"]
    assert desk.count("end") == {("ask", "a"): 1, ("work", "a"): 1}


def test_futures_turned_off(way: Way) -> None:
    """A run may be without futures, also the one that gives the answer."""
    case = Case(
        lambda d: [d.ask("ask", PURE), d.work("work", PURE)],
        [[("work", A), ("ask", A), ("work", B)], [("work", C)]],
    )
    for switches in ([False, False], [True, False], [False, True]):
        desk, talk = opened(case, way)
        for value in ({"messages": [HumanMessage("go")]}, None):
            talk.config = on("t", asyncfc=switches.pop(0))
            asked = talk.asked()
            talk.run(value or Command(resume={i.id: yes(i.value) for i in asked}))
        check_same(case, desk, talk.messages())


# -- streams ---------------------------------------------------------------------------------------


STREAMS = ["updates", "values", "messages", "tasks", "debug", "custom"]


@pytest.mark.parametrize("placed", [False, True])
def test_streams_show_each_once(way: Way, placed: bool) -> None:
    """Each interrupt and each outcome is shown once in each mode."""
    case = Case(
        lambda d: [
            d.ask("ask", PURE, until=LATE if placed else None),
            d.work("slow", PURE, until=ASKED),
        ],
        [[("slow", A), ("ask", A)], [("slow", B)]],
    )
    desk, talk = opened(case, way)
    graph = talk.agent.graph

    def stream(value: Any) -> list[Any]:
        if not way.is_async:
            return list(graph.stream(value, talk.config, stream_mode=STREAMS))

        async def collect() -> list[Any]:
            found = [c async for c in graph.astream(value, talk.config, stream_mode=STREAMS)]
            assert_no_tasks()
            return found

        return run_virtual(collect(), timeout=100_000)

    with quiet():
        first = stream(go())
        shown = [c["__interrupt__"] for m, c in first if m == "updates" and "__interrupt__" in c]
        assert [[i.value for i in one] for one in shown] == [["ask(a) 0?"]]
        shown = [c["__interrupt__"] for m, c in first if m == "values" and "__interrupt__" in c]
        assert [[i.value for i in one] for one in shown] == [["ask(a) 0?"]]
        second = stream(Command(resume={i.id: yes(i.value) for i in talk.asked()}))
    chunks = [*first, *second]
    for text in ("slow(a)", "ask(a): yes to ask(a) 0?"):
        told = [c[0] for m, c in chunks if m == "messages" and c[0].type == "tool"]
        assert [m.text for m in told].count(text) == 1
        updated = [
            message.text
            for m, c in chunks
            if m == "updates" and "__metadata__" not in c  # that of a task that is not run again
            for node, update in c.items()
            if not node.startswith(("__", "asyncfc_")) and isinstance(update, dict)
            for message in update.get("messages", [])
        ]
        assert updated.count(text) == 1, updated
    for mode in ("tasks", "debug"):
        for m, c in chunks:
            if m == mode and "interrupts" in str(c):
                assert str(c).count("ask(a) 0?") <= 2, c
    check_same(case, desk, talk.messages())
