"""Random talks with slow tools end as a run with fast ones, but for `await_future`.

A talk is a list of turns; a turn is a list of calls, with literals or references to earlier calls.
What each call has to give is worked out beforehand, one call after the other (rule 6). The same
talk then runs through `create_agent` with `AsyncFCMiddleware` in virtual time, with random times of
tools and model, and through `create_agent` alone with the values written out. All must agree:
answers, final text, what the tools did. Every request is valid (rule 10), futures are numbered by
position (rule 2), nothing runs on (rule 19).
"""

from __future__ import annotations

import asyncio
import json
import threading
from dataclasses import dataclass, field
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from langchain.agents import create_agent
from langchain.agents.middleware import AgentMiddleware
from langchain_core.messages import AIMessage, HumanMessage, ToolMessage
from langchain_core.tools import ToolException, tool
from langgraph.checkpoint.memory import InMemorySaver

from langchain_asyncfc import AsyncFCMiddleware, effects
from langchain_asyncfc.records import read_thread
from langchain_asyncfc.testing import (
    ScriptedChatModel,
    assert_valid_history,
    call,
    in_virtual_time,
    run_virtual,
)
from tests.integration.agents.helpers import CONTROL, record, substance

THREAD = {"configurable": {"thread_id": "t"}}
FAILS = "fails"


@dataclass(frozen=True, slots=True)
class Made:
    """One call of a talk.

    Attributes:
        tool: The tool's name.
        x: A number, or the reference's target: the call's place in the talk, from 1.
        refers: Whether `x` is a reference.
        seconds: How long the tool takes.
        flag: `await_result`.
    """

    tool: str
    x: int
    refers: bool
    seconds: float
    flag: Any


@dataclass(slots=True)
class World:
    """What tools work on: a list that they write, one after the other."""

    written: list[Any] = field(default_factory=list)

    def do(self, name: str, x: Any) -> Any:
        """What a call does and gives."""
        if name == "pure":
            return {"x": x}
        if name == "read":
            return f"{len(self.written)} entries for {x}"
        if name == FAILS:
            raise ToolException(f"no {x}")
        self.written.append((name, x))
        return f"{name} {len(self.written)} {x}"

    def tools(self, seconds: list[float]) -> list[Any]:
        """The tools, which look up how long they take by their argument `n`."""
        declared: dict[str, Any] = {
            "pure": effects(),
            "read": effects(reads="db"),
            "write": effects(writes="db"),
            "any": lambda made: made,
            FAILS: effects(),
            "ack": effects(writes="db", ack=True),
        }

        def make(name: str) -> Any:
            @tool(name)
            async def run(n: int, x: Any = None) -> Any:
                """Do something."""
                if seconds:
                    await asyncio.sleep(seconds[n])
                return self.do(name, x)

            run.handle_tool_error = True
            return declared[name](run)

        return [make(name) for name in declared]


@st.composite
def talks(draw: st.DrawFn) -> list[list[Made]]:
    """Talks of up to four turns, of up to four calls each; undeclared ones are alone (rule 5)."""
    turns: list[list[Made]] = []
    count = 0
    for _ in range(draw(st.integers(1, 4))):
        turn = []
        size = draw(st.integers(0, 4))  # none stands for one undeclared call
        for _ in range(size or 1):
            refers = count > 0 and draw(st.booleans())
            turn.append(
                Made(
                    draw(st.sampled_from(["pure", "read", "write", FAILS, "ack"]))
                    if size
                    else "any",
                    draw(st.integers(1, count)) if refers else draw(st.integers(0, 3)),
                    refers,
                    draw(st.sampled_from([0.0, 0.001, 0.5, 1.0, 5.0])),
                    draw(st.sampled_from([None, None, None, True, "all"])),
                )
            )
            count += 1
        turns.append(turn)
    return turns


@dataclass(slots=True)
class Expected:
    """What a talk has to come to.

    Attributes:
        answers: For each call its text, or `None` for one that fails or is skipped.
        values: For each call what a reference gives.
        written: What was written in the end.
    """

    answers: list[str | None] = field(default_factory=list)
    values: list[Any] = field(default_factory=list)
    written: list[Any] = field(default_factory=list)


def one_by_one(turns: list[list[Made]]) -> Expected:
    """Run the calls of a talk one after the other."""
    world, expected = World(), Expected()
    for made in [made for turn in turns for made in turn]:
        x = expected.values[made.x - 1] if made.refers else made.x
        skipped = made.refers and expected.answers[made.x - 1] is None
        try:
            value = None if skipped else world.do(made.tool, x)
        except ToolException:
            value, skipped = None, True
        expected.values.append(value)
        expected.answers.append(None if skipped else _text(value))
    expected.written = world.written
    return expected


def _text(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def messages_of(turns: list[list[Made]], values: list[Any] | None) -> list[AIMessage]:
    """The model's messages, with references, or with values in their place."""
    out, n = [], 0
    for turn in turns:
        calls = []
        for made in turn:
            x: Any = made.x
            if made.refers:
                x = f"future_{made.x}" if values is None else values[made.x - 1]
            flag = {"await_result": made.flag} if made.flag is not None and values is None else {}
            calls.append(call(made.tool, f"call_{n}", n=n, x=x, **flag))
            n += 1
        out.append(AIMessage("", tool_calls=calls))
    return out


def model_of(turns: list[AIMessage], ttft: float) -> ScriptedChatModel:
    """A model that makes the calls, then says "done" as often as it is asked."""
    rest = iter(turns)
    return ScriptedChatModel(
        policy=lambda _: next(rest, None) or "done", ttft=ttft, check_history=True
    )


def answers_by_call(messages: list[Any]) -> dict[str, tuple[str, str]]:
    """The text and status of each call's answer, wherever it stands."""
    found = [part for part in substance(messages) if part[0] == "tool"]
    return {part[2]: (part[1], part[3]) for part in found}


async def check(turns: list[list[Made]], ttft: float, **options: Any) -> None:
    """Run a talk and compare."""
    expected, world = one_by_one(turns), World()
    times = [made.seconds for turn in turns for made in turn]
    model = model_of(messages_of(turns, None), ttft)
    agent = create_agent(model, world.tools(times), middleware=[AsyncFCMiddleware(**options)])
    final = await agent.ainvoke({"messages": [HumanMessage("go")]})
    messages = final["messages"]
    assert asyncio.all_tasks() == {asyncio.current_task()}
    assert_valid_history(messages)
    assert not read_thread(messages).pending
    assert world.written == expected.written
    found = answers_by_call(messages)
    for n, text in enumerate(expected.answers):
        said, status = found[f"call_{n}"]
        assert (text is None) == (status == "error"), (n, said)
        assert text is None or said == text
    for message in messages:
        future = record(message).get("future")
        assert future is None or message.tool_call_id == f"call_{int(future[7:]) - 1}"
    if all(text is not None for text in expected.answers):
        await _same_as_synchronous(turns, expected, messages)


async def _same_as_synchronous(
    turns: list[list[Made]], expected: Expected, messages: list[Any]
) -> None:
    """The history equals that of `create_agent` alone, but for `await_future` and arguments.

    `create_agent` runs the calls of a message at once and in no order, so it gets one at a time.
    """
    one_each = [[made] for turn in turns for made in turn]
    model = model_of(messages_of(one_each, expected.values), 0)
    agent = create_agent(model, World().tools([]))
    final = await agent.ainvoke({"messages": [HumanMessage("go")]})
    plainly = [part[:3] for part in substance(final["messages"]) if part[0] == "tool"]
    found = [part[:3] for part in substance(messages) if part[0] == "tool"]
    assert found == plainly
    assert messages[-1].text == final["messages"][-1].text
    roles = [m.type for m in messages if isinstance(m, AIMessage) and not _only_waits(m)]
    assert len(roles) <= len(turns) + 1


def _only_waits(message: AIMessage) -> bool:
    return bool(message.tool_calls) and all(c["name"] in CONTROL for c in message.tool_calls)


@settings(
    max_examples=30,
    deadline=None,
    derandomize=True,
    phases=[Phase.generate],  # a talk is short enough as it is, and to shrink one takes minutes
    suppress_health_check=[HealthCheck.too_slow],
)
@given(
    turns=talks(),
    ttft=st.sampled_from([0.0, 0.3, 2.0]),
    delivery=st.sampled_from(["in_place", "append"]),
    on_final=st.sampled_from(["review", "settle"]),
    grace=st.sampled_from([0, 0.01, 1.5]),
    limit=st.sampled_from([None, 1, 2]),
)
def test_rule_6_random_talks(
    turns: list[list[Made]], ttft: float, delivery: Any, on_final: Any, grace: float, limit: Any
) -> None:
    """Sequential equivalence, valid requests, numbers by position, nothing left."""
    run_virtual(
        check(
            turns,
            ttft,
            delivery=delivery,
            on_final=on_final,
            grace=grace,
            max_concurrency=limit,
        )
    )


async def check_detached(turns: list[list[Made]], pause: float, delivery: Any) -> None:
    """Two runs of a thread: what the first leaves is delivered in the second."""
    expected, world = one_by_one(turns), World()
    times = [made.seconds for turn in turns for made in turn]
    model = model_of(messages_of(turns, None), 0.3)
    middleware = AsyncFCMiddleware(on_final="detach", delivery=delivery)
    agent = create_agent(
        model, world.tools(times), middleware=[middleware], checkpointer=InMemorySaver()
    )
    final = await agent.ainvoke({"messages": [HumanMessage("go")]}, THREAD)
    assert_valid_history(final["messages"])
    await asyncio.sleep(pause)
    for _ in range(3):
        await asyncio.sleep(30)
        final = await agent.ainvoke({"messages": [HumanMessage("and?")]}, THREAD)
    messages = final["messages"]
    await middleware.aclose()
    assert asyncio.all_tasks() == {asyncio.current_task()}
    assert_valid_history(messages)
    assert not read_thread(messages).pending
    assert world.written == expected.written
    found = answers_by_call(messages)
    for n, text in enumerate(expected.answers):
        said, status = found[f"call_{n}"]
        assert (text is None) == (status == "error"), (n, said)
        assert text is None or said == text


@settings(
    max_examples=10,
    deadline=None,
    derandomize=True,
    phases=[Phase.generate],  # a talk is short enough as it is, and to shrink one takes minutes
    suppress_health_check=[HealthCheck.too_slow],
)
@given(
    turns=talks(),
    pause=st.sampled_from([0.0, 2.0, 60.0]),
    delivery=st.sampled_from(["in_place", "append"]),
)
def test_rule_13_random_talks_detached(
    turns: list[list[Made]], pause: float, delivery: Any
) -> None:
    """What is detached is delivered at the next runs of the thread, and nothing is lost."""
    run_virtual(check_detached(turns, pause, delivery))


# -- control calls, fences -------------------------------------------------------------------------


@effects()
@tool
async def slow(x: Any = None) -> str:
    """Take five seconds."""
    await asyncio.sleep(5)
    return f"slow {x}"


@effects(fence=True)
@tool
async def fence() -> str:
    """Wait for all."""
    return "fenced"


@effects()
@tool
async def fails() -> str:
    """Fail."""
    await asyncio.sleep(1)
    raise ToolException("no")


fails.handle_tool_error = True


def ask(*calls: Any, text: str = "") -> AIMessage:
    """The model's message that makes these calls."""
    return AIMessage(text, tool_calls=list(calls))


TALKS: dict[str, tuple[list[Any], list[str]]] = {
    "cancel": (
        [
            ask(call("slow", x=1), call("slow", x=2)),
            ask(call("cancel_future", futures=["future_1"]), call("slow", x="future_2")),
        ],
        ["future_1 was cancelled.", "slow 2", "slow slow 2"],
    ),
    "cancel-skips": (
        [
            ask(call("slow", x=1)),
            ask(call("slow", x="future_1")),
            ask(call("cancel_future", futures=["future_1"])),
        ],
        ["future_1 was cancelled.", "Error: future_2 was not run, because future_1"],
    ),
    "await": (
        [ask(call("slow", x=1)), ask(call("await_future", futures=["future_1"]))],
        ["slow 1"],
    ),
    "await-beside": (
        [ask(call("slow", x=1)), ask(call("await_future"), call("slow", x="future_1"))],
        ["slow 1", "slow slow 1"],
    ),
    "await-timeout": (
        [ask(call("slow", x=1)), ask(call("await_future", timeout=1)), ask(call("await_future"))],
        ["slow 1"],
    ),
    "await-nothing": ([ask(call("await_future"))], []),
    "fence": ([ask(call("slow", x=1)), ask(call("fence"))], ["slow 1", "fenced"]),
    "fence-fails": (
        [ask(call("fails"), call("slow", x=1)), ask(call("fence"))],
        ["no", "slow 1", "Error: future_3 was not run, because future_1 (fails) failed: no"],
    ),
    "embedded": (
        [ask(call("slow", x=1)), ask(call("slow", x="<${future_1}>"))],
        ["slow 1", "slow <slow 1>"],
    ),
    "same-message": (
        [ask(call("slow", x=1), call("slow", x="future_1"), call("slow", x="future_2"))],
        ["slow 1", "slow slow 1", "slow slow slow 1"],
    ),
    "unknown-reference": (
        [ask(call("slow", x="future_7"))],
        ["Error: Unknown reference 'future_7'"],
    ),
    "escape": ([ask(call("slow", x="\\future_1"))], ["slow future_1"]),
    "unknown-tool": (
        [ask(call("slow", x=1), call("nope")), ask(call("slow", x="future_1"))],
        ["slow 1", "Error: nope is not a valid tool", "slow slow 1"],
    ),
    "joins": ([ask(call("slow", x=1)), ask(call("slow", x=1))], ["slow 1", "slow 1"]),
}


@pytest.mark.parametrize("on_final", ["review", "settle"])
@pytest.mark.parametrize("delivery", ["in_place", "append"])
@pytest.mark.parametrize("name", TALKS)
def test_rule_12_control_calls(name: str, delivery: Any, on_final: Any) -> None:
    """Each talk comes to its end with these answers, whatever the options."""

    async def run() -> None:
        turns, expected = TALKS[name]
        model = model_of(turns, 0.1)
        middleware = AsyncFCMiddleware(delivery=delivery, on_final=on_final)
        agent = create_agent(model, [slow, fence, fails], middleware=[middleware])
        final = await agent.ainvoke({"messages": [HumanMessage("go")]})
        messages = final["messages"]
        assert asyncio.all_tasks() == {asyncio.current_task()}
        assert_valid_history(messages)
        assert not read_thread(messages).pending
        found = [part[1] for part in substance(messages) if part[0] == "tool"]
        assert len(found) == len(expected)
        for text, wanted in zip(found, expected, strict=True):
            assert text.startswith(wanted)
        assert messages[-1].text == "done"

    run_virtual(run())


def test_rule_10_premature_answers_with_content_blocks() -> None:
    """A premature answer of blocks, with metadata, keeps them when it is made to wait."""

    async def run() -> None:
        early = AIMessage(
            [{"type": "text", "text": "early"}],
            response_metadata={"model": "m"},
            additional_kwargs={"own": 1},
        )
        replies = iter([ask(call("slow", x=1)), early, "done"])
        model = ScriptedChatModel(policy=lambda _: next(replies), check_history=True)
        agent = create_agent(model, [slow], middleware=[AsyncFCMiddleware()], name="me")
        messages = (await agent.ainvoke({"messages": [HumanMessage("go")]}))["messages"]
        assert_valid_history(messages)
        [waits] = [m for m in messages if isinstance(m, AIMessage) and _only_waits(m)]
        assert waits.text == "early"
        assert waits.name == "me"
        assert waits.response_metadata["model"] == "m"
        assert isinstance(messages[4], ToolMessage)

    run_virtual(run())


# -- ends of a run that other middleware makes -----------------------------------------------------


def hook(name: str, function: Any, *jumps: str) -> Any:
    """A middleware with one hook, for asynchronous runs."""

    async def run(self: Any, state: Any, runtime: Any) -> Any:
        return function(state)

    if jumps:
        run.__can_jump_to__ = list(jumps)  # type: ignore[attr-defined]
    return type("Other", (AgentMiddleware,), {name: run})()


async def run_with(other: Any, replies: list[Any], tools: Any = (slow,), **options: Any) -> Any:
    """The messages of a run with another middleware; they are valid and whole."""
    rest = iter(replies)
    model = ScriptedChatModel(policy=lambda _: next(rest), check_history=True)
    agent = create_agent(model, list(tools), middleware=[AsyncFCMiddleware(**options), other])
    messages = (await agent.ainvoke({"messages": [HumanMessage("go")]}))["messages"]
    assert asyncio.all_tasks() == {asyncio.current_task()}
    assert_valid_history(messages)
    assert not read_thread(messages).pending
    return messages


@pytest.mark.parametrize("delivery", ["in_place", "append"])
@in_virtual_time
async def test_rule_13_jump_to_the_end_while_calls_run(delivery: str) -> None:
    """A hook that ends the run before the model is called: what runs is waited for."""

    def end_after_tools(state: Any) -> Any:
        return {"jump_to": "end"} if isinstance(state["messages"][-1], ToolMessage) else None

    other = hook("abefore_model", end_after_tools, "end")
    messages = await run_with(other, [ask(call("slow", x=1))], delivery=delivery)
    assert [m.text for m in messages] == ["go", "", "slow 1"]


@pytest.mark.parametrize("delivery", ["in_place", "append"])
@in_virtual_time
async def test_rule_13_jump_to_the_model_while_calls_run(delivery: str) -> None:
    """A hook that does not accept the premature answer either."""

    def refuse(state: Any) -> Any:
        if state["messages"][-1].text != "early":
            return None
        return {"messages": [HumanMessage("no, go on")], "jump_to": "model"}

    replies = [ask(call("slow", x=1)), "early", ask(call("slow", x="future_1")), "again", "done"]
    other = hook("aafter_model", refuse, "model")
    messages = await run_with(other, replies, delivery=delivery)
    found = [part[1] for part in substance(messages) if part[0] == "tool"]
    assert found == ["slow 1", "slow slow 1"]
    assert messages[-1].text == "done"


@in_virtual_time
async def test_rule_24_answers_by_other_middleware_are_counted() -> None:
    """Calls that a hook answers get no future, and keep their numbers."""

    def answer_first(state: Any) -> Any:
        calls = getattr(state["messages"][-1], "tool_calls", [])
        if len(calls) != 2:
            return None
        return {"messages": [ToolMessage("made up", tool_call_id=calls[0]["id"], name="slow")]}

    replies = [
        ask(call("slow", x=1), call("slow", x=2)),
        ask(call("slow", x="future_2")),
        ask(call("slow", x="future_1")),
        "early",
        "done",
    ]
    messages = await run_with(hook("aafter_model", answer_first), replies)
    found = [m.text for m in messages if isinstance(m, ToolMessage) and m.name == "slow"]
    assert found == ["made up", "slow 2", "slow slow 2", "slow made up"]


@in_virtual_time
async def test_rule_1_edited_calls() -> None:
    """A hook that changes the calls of the model's message before they are made."""

    def edit(state: Any) -> Any:
        last = state["messages"][-1]
        if not getattr(last, "tool_calls", None) or last.tool_calls[0]["args"]["x"] == 9:
            return None
        calls = [{**made, "args": {"x": 9}} for made in last.tool_calls]
        return {"messages": [last.model_copy(update={"tool_calls": calls})]}

    messages = await run_with(hook("aafter_model", edit), [ask(call("slow", x=1)), "early", "done"])
    assert messages[2].text == "slow 9"


@in_virtual_time
async def test_rule_22_static_interrupts_lose_nothing_silently() -> None:
    """A run that stops before its tools has no later step: what ran is given or said to be lost."""
    model = model_of([ask(call("slow", x=1)), ask(call("slow", x=2))], 0.1)
    agent = create_agent(
        model,
        [slow],
        middleware=[AsyncFCMiddleware()],
        checkpointer=InMemorySaver(),
        interrupt_before=["tools"],
    )
    await agent.ainvoke({"messages": [HumanMessage("go")]}, THREAD)
    for _ in range(3):
        final = await agent.ainvoke(None, THREAD)
        assert asyncio.all_tasks() == {asyncio.current_task()}
    messages = final["messages"]
    assert_valid_history(messages)
    assert not read_thread(messages).pending
    found = [part[1] for part in substance(messages) if part[0] == "tool"]
    assert found[0] == "slow 1" or "lost" in found[0]
    assert found[1] == "slow 2"


def test_rule_27_coroutine_tools_in_sync_runs() -> None:
    """Where `create_agent` alone raises, they run, and side by side."""
    entered = threading.Barrier(2)

    @effects()
    @tool
    async def meet(x: int) -> str:
        """Wait for the other call."""
        await asyncio.to_thread(entered.wait, 20)
        return f"met {x}"

    model = model_of([ask(call("meet", x=1)), ask(call("meet", x=2))], 0)
    agent = create_agent(model, [meet], middleware=[AsyncFCMiddleware()])
    messages = agent.invoke({"messages": [HumanMessage("go")]})["messages"]
    assert_valid_history(messages)
    found = [part[1] for part in substance(messages) if part[0] == "tool"]
    assert found == ["met 1", "met 2"]
    plainly = create_agent(model_of([ask(call("meet", x=1))], 0), [meet])
    with pytest.raises(NotImplementedError):
        plainly.invoke({"messages": [HumanMessage("go")]})


def test_rule_21_one_agent_in_threads_at_once() -> None:
    """Sync runs of one agent in several threads do not meet."""
    gate = threading.Barrier(4)

    @effects()
    @tool
    def meet(x: int) -> str:
        """Wait for the other runs."""
        gate.wait(20)
        return f"met {x}"

    def policy(messages: list[Any]) -> Any:
        last = messages[-1]
        if isinstance(last, HumanMessage):
            return ask(call("meet", "same", x=int(last.text)))
        return "done"

    agent = create_agent(
        ScriptedChatModel(policy=policy, check_history=True),
        [meet],
        middleware=[AsyncFCMiddleware(grace=0)],
    )
    inputs = [{"messages": [HumanMessage(str(n))]} for n in range(4)]
    finals = agent.batch(inputs, {"max_concurrency": 4})
    for n, final in enumerate(finals):
        assert f"met {n}" in [m.text for m in final["messages"]]
        assert_valid_history(final["messages"])
