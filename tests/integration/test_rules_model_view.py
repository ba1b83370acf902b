"""Rules 8 to 15: what the model sees of its calls."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest
from langchain_core.messages import AIMessage, HumanMessage, ToolMessage
from langchain_core.runnables import RunnableLambda
from langchain_core.tools import StructuredTool, tool
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.graph import START, MessagesState, StateGraph
from langgraph.prebuilt import ToolNode
from langgraph.prebuilt import tools_condition as plain_condition

from langchain_asyncfc import Effects, effects
from langchain_asyncfc.testing import ScriptedChatModel, assert_valid_history, call, in_virtual_time

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.integration.conftest import Ask, Gate, MakeAgent, Mode, Workshop

PURE = Effects()
THREAD = {"configurable": {"thread_id": "t"}}


def answers(messages: list[Any], *, control: bool = False) -> list[ToolMessage]:
    """The tool messages, without those that answer control calls."""
    found = [m for m in messages if isinstance(m, ToolMessage)]
    return [m for m in found if control or m.name not in ("await_future", "cancel_future")]


def told(messages: list[Any]) -> list[str]:
    """The texts that answer control calls."""
    return [m.text for m in answers(messages, control=True) if m.name.endswith("_future")]


def go() -> dict[str, Any]:
    """A new human message; an old one would keep its id and change the past."""
    return {"messages": [HumanMessage("go")]}


def now() -> float:
    """The virtual time."""
    return asyncio.get_running_loop().time()


def timed(name: str, *seconds: float, **declared: Any) -> Any:
    """A tool without effects on others whose n-th call takes the n-th time, the last one again."""
    left = list(seconds)

    @effects(**declared)
    @tool(name)
    async def run(x: Any = None) -> str:
        """Take some time."""
        await asyncio.sleep(left.pop(0) if len(left) > 1 else left[0])
        return f"{name}({'' if x is None else x})"

    return run


# -- rule 8: the grace period ----------------------------------------------------------------------


@in_virtual_time
async def test_rule_8_fast_result_is_tool_nodes_own(make_agent: MakeAgent, ask: Ask) -> None:
    """Next to a slow call, a fast one is answered with a message equal to `ToolNode`'s."""
    fast, slow = timed("fast", 0.005), timed("slow", 5)
    agent = make_agent([fast, slow], [ask(call("fast"), call("slow")), "early", "done"])
    await agent.arun()
    first, second = answers(agent.calls[1])
    expected = ToolMessage("fast()", name="fast", tool_call_id=first.tool_call_id, id=first.id)
    assert first == expected
    assert first.additional_kwargs == {}
    assert "future_2 is running" in second.text


@in_virtual_time
async def test_rule_8_step_ends_with_its_last_fast_call(make_agent: MakeAgent, ask: Ask) -> None:
    """The grace period is a limit: when all calls have finished, the model is called at once."""
    agent = make_agent([timed("fast", 0.2)], [ask(call("fast")), "done"], grace=10)
    await agent.arun()
    assert now() == pytest.approx(0.2)


@in_virtual_time
async def test_rule_8_grace_is_not_spent_on_slow_tools(make_agent: MakeAgent, ask: Ask) -> None:
    """A tool is waited for until it was slow once, and again when a call of it was fast."""
    at: list[float] = []

    def noting(reply: Any) -> Callable[[list[Any]], Any]:
        def policy(messages: list[Any]) -> Any:
            at.append(now())
            return reply

        return policy

    agent = make_agent(
        [timed("t", 5, 0.2, 0.2), timed("other", 9)],
        [
            ask(call("t", x=1)),  # slow: the whole period is spent
            noting(ask(call("t", x=2))),  # known as slow: nothing is spent
            noting(ask(call("await_future"))),  # the second one took 0.2 s: fast again
            noting(ask(call("t", x=3))),  # waited for
            noting("done"),
        ],
        grace=0.5,
    )
    await agent.arun()
    assert at == pytest.approx([0.5, 0.5, 5.0, 5.2])
    assert [m.text for m in answers(agent.calls[4])][-1] == "t(3)"


@in_virtual_time
async def test_rule_8_no_grace_for_a_call_that_waits(make_agent: MakeAgent, ask: Ask) -> None:
    """A call that waits for a slow one is not waited for, even if its own tool is fast."""
    agent = make_agent(
        [timed("slow", 5), timed("fast", 0.1)],
        [
            ask(call("slow")),
            ask(call("fast", x="future_1")),
            lambda _: ask(call("await_future")) if now() == pytest.approx(1.0) else "too late",
            "done",
        ],
        grace=1.0,
    )
    messages = await agent.arun()
    assert [m.text for m in answers(messages)] == ["slow()", "fast(slow())"]


def test_rule_8_grace_zero_never_waits(
    mode: Mode, make_agent: MakeAgent, workshop: Workshop, gate: Gate, ask: Ask
) -> None:
    """Without a grace period a call that has not ended becomes a future at once."""

    def second(messages: list[Any]) -> Any:
        gate.open()
        return ask(call("await_future"))

    agent = make_agent([workshop.tool("slow", gate)], [ask(call("slow")), second, "."], grace=0)
    messages = agent.run(mode)
    assert "future_1 is running" in agent.seen(1)[0]
    assert answers(messages)[0].text == "slow()"


# -- rule 8: await_result --------------------------------------------------------------------------


@pytest.mark.parametrize("flag", [True, "true", "True"])
@in_virtual_time
async def test_rule_8_await_result(make_agent: MakeAgent, ask: Ask, flag: Any) -> None:
    """The step waits for this result; other calls stay in the background."""
    agent = make_agent(
        [timed("a", 1), timed("b", 5)],
        [ask(call("b"), call("a", await_result=flag)), "early", "done"],
    )
    messages = await agent.arun()
    assert now() == pytest.approx(5.0)
    pending, plain = answers(agent.calls[1])
    assert (plain.text, plain.additional_kwargs) == ("a()", {})
    assert "future_1 is running" in pending.text
    assert [m.text for m in answers(messages)] == ["b()", "a()"]


@in_virtual_time
async def test_rule_8_await_all(make_agent: MakeAgent, ask: Ask, delivery: str) -> None:
    """`"all"` waits for every unfinished result, of earlier batches too, and delivers them."""
    agent = make_agent(
        [timed("a", 1), timed("b", 5)],
        [ask(call("b")), ask(call("a", await_result="all"), call("b", x=2)), "done"],
        delivery=delivery,
    )
    await agent.arun()
    assert len(agent.calls) == 3
    texts = agent.seen(2)
    if delivery == "in_place":
        assert texts == ["b()", "a()", "b(2)"]
    else:
        assert "future_1 is running" in texts[0]
        assert texts[1:] == ["a()", "b(2)\n\n[future_1] b()"]


@in_virtual_time
async def test_rule_8_await_result_of_a_dependent_call(make_agent: MakeAgent, ask: Ask) -> None:
    """To wait for a call means to wait for what it waits for."""
    agent = make_agent(
        [timed("a", 3), timed("b", 2)],
        [ask(call("a")), ask(call("b", x="future_1", await_result=True)), "done"],
    )
    messages = await agent.arun()
    assert [m.text for m in answers(messages)] == ["a()", "b(a())"]
    assert now() == pytest.approx(5.0)


@pytest.mark.parametrize("flag", [False, None, "no", 0])
@in_virtual_time
async def test_rule_8_await_result_not_asked(make_agent: MakeAgent, ask: Ask, flag: Any) -> None:
    """Any other value of the flag asks for nothing, and never reaches the tool."""
    agent = make_agent([timed("a", 1)], [ask(call("a", await_result=flag)), "early", "done"])
    messages = await agent.arun()
    assert "future_1 is running" in agent.seen(1)[0]
    assert answers(messages)[0].text == "a()"


def test_rule_8_await_result_in_each_mode(
    mode: Mode, make_agent: MakeAgent, workshop: Workshop, ask: Ask
) -> None:
    """A strictly sequential chain needs no extra turn: one turn a call."""
    agent = make_agent(
        [workshop.tool("t")],
        [*(ask(call("t", x=n, await_result=True)) for n in range(3)), "done"],
        grace=0,
    )
    messages = agent.run(mode)
    assert [m.text for m in answers(messages)] == ["t(0)", "t(1)", "t(2)"]
    assert all(m.additional_kwargs == {} for m in answers(messages))


# -- rule 9 ----------------------------------------------------------------------------------------


@in_virtual_time
async def test_rule_9_full_text_once_a_thread(make_agent: MakeAgent, ask: Ask) -> None:
    """The first placeholder of a thread is full, all later ones are short, over runs too."""
    agent = make_agent(
        [timed("t", 5)],
        [
            ask(call("t", x=1), call("t", x=2)),
            ask(call("t", x=3)),
            "early",
            "done",
            ask(call("t", x=4)),
            "early",
            "done",
        ],
        checkpointer=InMemorySaver(),
    )
    await agent.arun(config=THREAD)
    await agent.arun(config=THREAD)
    texts = [agent.seen(1)[0], agent.seen(1)[1], agent.seen(2)[2], agent.seen(5)[-1]]
    for number, text in enumerate(texts, 1):
        assert text.startswith(f"future_{number} is running")
        assert "repeat" in text
        assert "guess" in text
        assert "wait" not in text.lower()
    full, *short = texts
    assert all(len(text) < len(full) / 2 for text in short), (full, short)
    assert len({text.replace(f"future_{n}", "") for n, text in enumerate(short, 2)}) == 1


# -- rules 10 and 11 -------------------------------------------------------------------------------


def history_of_tool_node(mode: Mode, tools: list[Any], replies: list[Any]) -> list[Any]:
    """What the same model and tools give with `ToolNode`."""
    rest = iter(replies)
    model = ScriptedChatModel(policy=lambda _: next(rest))
    builder = StateGraph(MessagesState)

    def think(state: Any) -> Any:
        return {"messages": [model.invoke(state["messages"])]}

    builder.add_node("agent", RunnableLambda(think))
    builder.add_node("tools", ToolNode(tools))
    builder.add_edge(START, "agent")
    builder.add_conditional_edges("agent", plain_condition)
    builder.add_edge("tools", "agent")
    return mode.run(builder.compile(), {"messages": [HumanMessage("go")]})["messages"]


def comparable(messages: list[Any]) -> list[Any]:
    """Messages without what differs from run to run, and without records."""
    return [
        m.model_dump(exclude={"id", "additional_kwargs", "response_metadata", "usage_metadata"})
        for m in messages
    ]


def test_rule_11_finished_history_reads_like_a_synchronous_one(
    mode: Mode, make_agent: MakeAgent, workshop: Workshop, make_gate: type[Gate], ask: Ask
) -> None:
    """Delivered in place, the messages equal those of `ToolNode` with the same calls."""
    blocks = [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]

    def tools(*gates: Any) -> list[Any]:
        return [
            workshop.tool("text", gates[0], does=PURE),
            workshop.tool("blocks", gates[1], result=blocks, does=PURE),
            workshop.tool(
                "file",
                gates[2],
                result=("short", {"big": 1}),
                response_format="content_and_artifact",
                does=PURE,
            ),
            workshop.tool(
                "bad", gates[3], error=ValueError("no"), handle_tool_error=True, does=PURE
            ),
        ]

    calls = [call("text", x=1), call("blocks"), call("file"), call("text", y=1)]
    last = call("text", x="last", await_result="all")
    plain = {**last, "args": {"x": "last"}}
    gates = [make_gate() for _ in range(4)]

    def second(messages: list[Any]) -> Any:
        for gate in gates:
            gate.open()
        return ask(last)

    agent = make_agent(tools(*gates), [ask(*calls), second, "done"])
    messages = agent.run(mode)
    expected = history_of_tool_node(
        mode, tools(None, None, None, None), [ask(*calls), ask(plain), "done"]
    )
    got = comparable(messages)
    got[6]["tool_calls"][0]["args"].pop("await_result")
    assert got == comparable(expected)


def test_rule_11_placeholder_is_replaced_under_its_own_id(
    mode: Mode, make_agent: MakeAgent, workshop: Workshop, gate: Gate, ask: Ask
) -> None:
    """Position and message id of a placeholder stay when its value takes its place."""

    def second(messages: list[Any]) -> Any:
        gate.open()
        return ask(call("await_future"))

    agent = make_agent([workshop.tool("slow", gate)], [ask(call("slow")), second, "done"])
    agent.run(mode)
    before, after = agent.calls[1][2], agent.calls[2][2]
    assert before.id == after.id
    assert (before.tool_call_id, after.text) == (after.tool_call_id, "slow()")


@pytest.mark.parametrize("last", ["await", "early", "all"])
def test_rule_11_append_never_edits(
    mode: Mode, make_agent: MakeAgent, workshop: Workshop, gate: Gate, ask: Ask, last: str
) -> None:
    """Each list that the model is sent continues the one before, and tells each value once."""

    def third(messages: list[Any]) -> Any:
        gate.open()
        return {
            "await": ask(call("await_future")),
            "early": "early",
            "all": ask(call("other", await_result="all")),
        }[last]

    agent = make_agent(
        [workshop.tool("slow", gate, does=PURE), workshop.tool("other", does=PURE)],
        [ask(call("slow", x=1)), ask(call("slow", x=2), call("slow", x=3)), third, "done"],
        delivery="append",
    )
    messages = agent.run(mode)
    for earlier, later in zip(agent.calls, agent.calls[1:], strict=False):
        assert comparable(later[: len(earlier)]) == comparable(earlier)
    text = "\n".join(agent.seen(3))
    for number in (1, 2, 3):
        assert text.count(f"[future_{number}] slow({number})") == 1
    carrier = answers(messages, control=True)[-1]
    assert carrier.text.index("[future_1]") < carrier.text.index("[future_2]")
    if last == "all":
        assert carrier.text.startswith("other()\n\n[future_1]")


@in_virtual_time
async def test_rule_11_append_rides_on_a_placeholder(make_agent: MakeAgent, ask: Ask) -> None:
    """An outcome rides on any next tool message, and on none again."""
    agent = make_agent(
        [timed("a", 1), timed("b", 5)],
        [ask(call("a")), ask(call("b")), ask(call("b", x=2)), "early", "done"],
        model={"ttft": 0.7},
        delivery="append",
    )
    await agent.arun()
    assert agent.seen(3)[2].startswith("future_3 is running")
    assert agent.seen(3)[2].endswith("\n\n[future_1] a()")
    everything = "\n".join(agent.seen(4))
    assert [everything.count(f"[future_{n}]") for n in (1, 2, 3)] == [1, 1, 1]


@in_virtual_time
async def test_rule_11_append_content_blocks_and_artifact(make_agent: MakeAgent, ask: Ask) -> None:
    """Content blocks stay blocks when they ride, and an artifact reaches the state."""

    @effects()
    @tool(response_format="content_and_artifact")
    async def picture() -> Any:
        """Draw."""
        await asyncio.sleep(1)
        block = {"type": "image", "url": "data:image/png;base64,AA=="}
        return [{"type": "text", "text": "see"}, block], {"bytes": 3}

    agent = make_agent([picture], [ask(call("picture")), "early", "done"], delivery="append")
    messages = await agent.arun()
    carrier = answers(messages, control=True)[-1]
    assert carrier.name == "await_future"
    assert carrier.content[1:] == [
        {"type": "text", "text": "[future_1]"},
        {"type": "text", "text": "see"},
        {"type": "image", "url": "data:image/png;base64,AA=="},
    ]
    [placeholder] = answers(messages)
    assert placeholder.artifact == {"bytes": 3}
    assert placeholder.text == agent.seen(1)[0]


@pytest.mark.parametrize("on_final", ["review", "settle", "detach"])
@in_virtual_time
async def test_rule_10_every_request_is_valid(
    make_agent: MakeAgent, ask: Ask, delivery: str, on_final: str
) -> None:
    """Long random agents never send what a provider rejects, and end valid."""
    import random

    for seed in range(12):
        rng = random.Random(seed)
        tools = [timed(f"t{n}", *(rng.choice([0, 0.5, 2, 9]) for _ in range(9))) for n in range(3)]
        tools.append(timed("u", 1, reads=None, writes=None))
        tools.append(timed("ack", 3, ack=True))

        def policy(messages: list[Any], rng: random.Random = rng) -> Any:
            assert_valid_history(messages, for_model_call=True)
            if sum(isinstance(m, AIMessage) for m in messages) > 12 or rng.random() < 0.25:
                return "an answer"
            made = []
            for _ in range(rng.randint(1, 3)):
                kind = rng.random()
                n = rng.randint(1, 12)
                if kind < 0.15:
                    made.append(call("await_future", timeout=rng.choice([0, 1, None])))
                elif kind < 0.25:
                    made.append(call("cancel_future", futures=[f"future_{n}"]))
                elif kind < 0.4:
                    made.append(call("u", x=f"future_{n}"))
                else:
                    name = rng.choice(["t0", "t1", "t2", "ack", "unknown"])
                    made.append(call(name, x=rng.choice([n, f"future_{n}", "${future_1}"])))
            return ask(*made, text=rng.choice(["", "thinking"]))

        agent = make_agent(
            tools,
            [policy] * 60,
            delivery=delivery,
            on_final=on_final,
            model={"ttft": 0.3},
            checkpointer=InMemorySaver(),
        )
        try:
            for _ in range(3):
                final = await agent.graph.ainvoke(go(), {**THREAD, "recursion_limit": 100})
                assert_valid_history(final["messages"])
        finally:
            await agent.node.aclose()


# -- rule 12: await_future -------------------------------------------------------------------------


@in_virtual_time
async def test_rule_12_await_named(make_agent: MakeAgent, ask: Ask, delivery: str) -> None:
    """Only the named futures are waited for."""
    agent = make_agent(
        [timed("a", 1), timed("b", 5), timed("c", 3)],
        [
            ask(call("a"), call("b"), call("c")),
            ask(call("await_future", futures=["future_3"])),
            lambda _: "early" if now() == pytest.approx(3.0) else "not at 3 s",
            "done",
        ],
        delivery=delivery,
    )
    messages = await agent.arun()
    assert now() == pytest.approx(5.0)
    assert told(agent.calls[2])[0].startswith("Finished: future_3.")
    assert messages[-1].text == "done"


@pytest.mark.parametrize("futures", ["future_2", ["future_2"], ("future_2",)])
@in_virtual_time
async def test_rule_12_names_as_text_or_list(make_agent: MakeAgent, ask: Ask, futures: Any) -> None:
    """One id need not be a list."""
    agent = make_agent(
        [timed("a", 9), timed("b", 2)],
        [ask(call("a"), call("b")), ask(call("await_future", futures=futures)), "early", "done"],
    )
    await agent.arun()
    assert told(agent.calls[2]) == ["Finished: future_2."]


@pytest.mark.parametrize("futures", [None, []])
@in_virtual_time
async def test_rule_12_await_unnamed_is_all_older(
    make_agent: MakeAgent, ask: Ask, futures: Any
) -> None:
    """Without names all futures older than the call are waited for, none behind it."""
    agent = make_agent(
        [timed("a", 1), timed("b", 2), timed("c", 9)],
        [
            ask(call("a")),
            ask(call("b"), call("await_future", futures=futures), call("c")),
            lambda _: "early" if now() == pytest.approx(2.0) else f"at {now()}",
            "done",
        ],
        grace=0,
    )
    messages = await agent.arun()
    assert messages[-1].text == "done"
    texts = agent.seen(2)
    assert texts[:2] == ["a()", "b()"]
    assert "future_3 is running" in texts[3]
    assert now() == pytest.approx(9.0)


@in_virtual_time
async def test_rule_12_await_with_timeout(make_agent: MakeAgent, ask: Ask, delivery: str) -> None:
    """After the timeout the model goes on, and is told what still runs."""
    agent = make_agent(
        [timed("a", 1), timed("b", 50)],
        [ask(call("a"), call("b")), ask(call("await_future", timeout=10)), "early", "done"],
        delivery=delivery,
    )
    await agent.arun()
    assert "Finished: future_1." in told(agent.calls[2])[0]
    assert "Still running: future_2." in told(agent.calls[2])[0]
    assert now() == pytest.approx(50.0)


@pytest.mark.parametrize(
    "arguments",
    [
        {"futures": ["future_9"]},
        {"futures": ["nonsense"]},
        {"futures": [1]},
        {"futures": 7},
        {"futures": ["future_1.items"]},
        {"futures": ["future_0"]},
        {"timeout": -1},
        {"timeout": "soon"},
        {"timeout": True},
        {"futures": {"a": 1}},
    ],
)
@pytest.mark.parametrize("control", ["await_future", "cancel_future"])
@in_virtual_time
async def test_rule_12_bad_arguments(
    make_agent: MakeAgent, ask: Ask, control: str, arguments: dict[str, Any]
) -> None:
    """What does not fit is answered with an error that says what was expected; nothing happens."""
    agent = make_agent(
        [timed("a", 5)],
        [
            ask(call("a")),
            ask(call(control, **arguments)),
            lambda _: "early" if now() < 1 else f"at {now()}",
            "done",
        ],
    )
    messages = await agent.arun()
    answer = agent.calls[2][-1]
    assert (answer.name, answer.status) == (control, "error")
    if "timeout" not in arguments:
        assert "future_1" in answer.text
    assert answers(messages)[0].text == "a()"
    assert now() == pytest.approx(5.0)


@in_virtual_time
async def test_rule_12_await_one_unknown_among_known(make_agent: MakeAgent, ask: Ask) -> None:
    """A control call in a message is no future, and does not count."""
    agent = make_agent(
        [timed("a", 5)],
        [
            ask(call("await_future"), call("a"), call("await_future", futures=["future_2"])),
            ask(call("a", x=1), call("await_future", futures=["future_1", "future_2"])),
            "done",
        ],
    )
    await agent.arun()
    first, _, last = (m.text for m in agent.calls[1] if isinstance(m, ToolMessage))
    assert first == "Nothing was running."
    assert "future_1" in last
    assert told(agent.calls[2])[-1] == "Finished: future_1, future_2."


@in_virtual_time
async def test_rule_12_await_finished_future(make_agent: MakeAgent, ask: Ask) -> None:
    """To await what has been delivered already returns at once."""
    agent = make_agent(
        [timed("a", 1)],
        [
            ask(call("a", await_result=True)),
            ask(call("await_future", futures=["future_1"])),
            "done",
        ],
    )
    await agent.arun()
    assert told(agent.calls[2]) == ["Finished: future_1."]
    assert now() == pytest.approx(1.0)


# -- rule 12: cancel_future ------------------------------------------------------------------------


def test_rule_12_cancel_running(
    mode: Mode, make_agent: MakeAgent, workshop: Workshop, gate: Gate, ask: Ask, delivery: str
) -> None:
    """A cancelled call is told as cancelled, and its tool is stopped where that is possible."""
    agent = make_agent(
        [workshop.tool("slow", gate)],
        [ask(call("slow")), ask(call("cancel_future", futures=["future_1"])), "done"],
        delivery=delivery,
    )
    messages = agent.run(mode)
    gate.open()  # a thread cannot be stopped: it goes home afterwards
    if mode.is_async:
        assert workshop.log == ["slow start", "slow cancelled"]
    text = "\n".join(m.text for m in answers(messages, control=True))
    assert "future_1 was cancelled" in text
    assert messages[-1].text == "done"


@in_virtual_time
async def test_rule_12_cancel_in_the_same_message(
    make_agent: MakeAgent, workshop: Workshop, gate: Gate, ask: Ask
) -> None:
    """Control calls may stand in a message with other calls and name earlier ones in it."""
    agent = make_agent(
        [workshop.tool("slow", gate)],
        [ask(call("slow", x=1), call("cancel_future", futures=["future_1"])), "done"],
    )
    messages = await agent.arun()
    assert [m.text for m in answers(messages)] == ["future_1 was cancelled."]
    assert "Cancelled: future_1." in told(messages)[0]


@in_virtual_time
async def test_rule_12_cancel_waiting_call(
    make_agent: MakeAgent, workshop: Workshop, gate: Gate, ask: Ask
) -> None:
    """A call that has not started never starts, and what waits behind it keeps its order."""
    write = Effects(writes="fs:")
    tools = [workshop.tool(name, gate if name == "a" else None, does=write) for name in "abc"]

    def last(messages: list[Any]) -> Any:
        assert workshop.started() == ["a"]
        gate.open()
        return ask(call("await_future"))

    agent = make_agent(
        tools,
        [
            ask(call("a"), call("b"), call("c")),
            ask(call("cancel_future", futures=["future_2"])),
            last,
            "done",
        ],
    )
    messages = await agent.arun()
    assert [m.text for m in answers(messages)] == ["a()", "future_2 was cancelled.", "c()"]
    assert workshop.started() == ["a", "c"]


@in_virtual_time
async def test_rule_12_cancel_finished(make_agent: MakeAgent, ask: Ask) -> None:
    """Cancelling what has finished changes nothing."""
    agent = make_agent(
        [timed("a", 1)],
        [ask(call("a", await_result=True)), ask(call("cancel_future", futures="future_1")), "."],
    )
    messages = await agent.arun()
    assert answers(messages)[0].text == "a()"
    assert told(messages) == ["Finished: future_1."]


@pytest.mark.parametrize("arguments", [{}, {"futures": []}, {"futures": None}])
@in_virtual_time
async def test_rule_12_cancel_needs_names(
    make_agent: MakeAgent, ask: Ask, arguments: dict[str, Any]
) -> None:
    """Cancelling nothing in particular is an error, never everything."""
    agent = make_agent(
        [timed("a", 3)], [ask(call("a")), ask(call("cancel_future", **arguments)), "early", "done"]
    )
    messages = await agent.arun()
    assert "name the futures to cancel" in told(messages)[0]
    assert answers(messages)[0].text == "a()"


@in_virtual_time
async def test_rule_12_cancel_and_await_in_one_message(
    make_agent: MakeAgent, workshop: Workshop, gate: Gate, ask: Ask, delivery: str
) -> None:
    """Both orders of `cancel_future` and `await_future` in one message end, neither hangs."""
    for order in (0, 1):
        both = [call("cancel_future", futures=["future_1"]), call("await_future")]
        agent = make_agent(
            [workshop.tool("slow", gate)],
            [ask(call("slow")), ask(*(both if order == 0 else reversed(both))), "done"],
            delivery=delivery,
        )
        messages = await agent.arun()
        assert "future_1 was cancelled." in "\n".join(
            m.text for m in answers(messages, control=True)
        )


@in_virtual_time
async def test_rule_12_tool_that_resists_cancellation(make_agent: MakeAgent, ask: Ask) -> None:
    """A tool that swallows its cancellation still ends as cancelled, when it has ended."""

    @effects()
    @tool
    async def stubborn() -> str:
        """Clean up for long."""
        try:
            await asyncio.sleep(100)
        except asyncio.CancelledError:
            await asyncio.sleep(2)
        return "anyway"

    agent = make_agent(
        [stubborn],
        [ask(call("stubborn")), ask(call("cancel_future", futures=["future_1"])), "early", "done"],
    )
    messages = await agent.arun()
    assert answers(messages)[0].text == "future_1 was cancelled."
    assert now() == pytest.approx(2.01)


# -- rule 13 ---------------------------------------------------------------------------------------


def test_rule_13_review(
    mode: Mode, make_agent: MakeAgent, workshop: Workshop, gate: Gate, ask: Ask, delivery: str
) -> None:
    """An answer with futures unfinished is not the last: results come, and the model again."""

    def premature(messages: list[Any]) -> Any:
        gate.open()
        return AIMessage("early", id="premature")

    agent = make_agent(
        [workshop.tool("slow", gate)], [ask(call("slow")), premature, "done"], delivery=delivery
    )
    messages = agent.run(mode)
    assert messages[-1].text == "done"
    [rewritten] = [m for m in messages if m.id == "premature"]
    assert rewritten.text == "early"
    assert [made["name"] for made in rewritten.tool_calls] == ["await_future"]
    assert any("slow()" in text for text in agent.seen(2))


@pytest.mark.parametrize("failing", [False, True])
def test_rule_13_settle(
    mode: Mode, make_agent: MakeAgent, workshop: Workshop, gate: Gate, ask: Ask, failing: bool
) -> None:
    """With `settle` the model is called again only if something failed."""
    error = ValueError("broken") if failing else None

    def premature(messages: list[Any]) -> Any:
        gate.open()
        return "early"

    agent = make_agent(
        [workshop.tool("slow", gate, error=error)],
        [ask(call("slow")), premature, *(["sorry"] if failing else [])],
        on_final="settle",
        handle_tool_errors=True,
    )
    messages = agent.run(mode)
    assert messages[-1].text == ("sorry" if failing else "early")
    assert ("broken" if failing else "slow()") in answers(messages)[0].text
    assert len(agent.calls) == (3 if failing else 2)


@pytest.mark.parametrize("failing", [False, True])
def test_rule_13_settle_with_append(
    mode: Mode, make_agent: MakeAgent, workshop: Workshop, gate: Gate, ask: Ask, failing: bool
) -> None:
    """With `settle` and `append` the value gets into the history as well."""
    error = ValueError("broken") if failing else None

    def premature(messages: list[Any]) -> Any:
        gate.open()
        return "early"

    agent = make_agent(
        [workshop.tool("slow", gate, error=error)],
        [ask(call("slow")), premature, "again"],
        on_final="settle",
        delivery="append",
        handle_tool_errors=True,
    )
    messages = agent.run(mode)
    text = "\n".join(m.text for m in answers(messages, control=True))
    assert ("broken" if failing else "[future_1] slow()") in text


@pytest.mark.parametrize("failing", [False, True])
def test_rule_13_ack(
    mode: Mode, make_agent: MakeAgent, workshop: Workshop, gate: Gate, ask: Ask, failing: bool
) -> None:
    """A tool declared `ack` is waited for at the end, and reviewed only if it failed."""
    error = ValueError("broken") if failing else None

    def premature(messages: list[Any]) -> Any:
        gate.open()
        return "early"

    agent = make_agent(
        [workshop.tool("save", gate, error=error, does=Effects(writes="/", ack=True))],
        [ask(call("save")), premature, *(["sorry"] if failing else [])],
        handle_tool_errors=True,
    )
    messages = agent.run(mode)
    assert messages[-1].text == ("sorry" if failing else "early")
    assert workshop.log == ["save start", "save end"]


@in_virtual_time
async def test_rule_13_ack_beside_another(make_agent: MakeAgent, ask: Ask) -> None:
    """One future whose value is needed is enough for a review."""
    agent = make_agent(
        [timed("save", 1, ack=True), timed("look", 1)],
        [ask(call("save"), call("look")), "early", "done"],
    )
    messages = await agent.arun()
    assert messages[-1].text == "done"


@in_virtual_time
async def test_rule_13_settle_without_condition_reviews(ask: Ask, script: Any) -> None:
    """With a fixed edge from tools to model, `settle` keeps a valid history and calls it again."""
    from langchain_asyncfc import AsyncFCToolNode, tools_condition

    node = AsyncFCToolNode([timed("slow", 1)], on_final="settle")
    model = script(ask(call("slow")), "early", "done")
    builder = StateGraph(MessagesState)

    async def think(state: Any) -> Any:
        return {"messages": [await model.ainvoke(state["messages"])]}

    builder.add_node("agent", think)
    builder.add_node("tools", node)
    builder.add_edge(START, "agent")
    builder.add_conditional_edges("agent", tools_condition)
    builder.add_edge("tools", "agent")
    final = await builder.compile().ainvoke({"messages": [HumanMessage("go")]})
    assert final["messages"][-1].text == "done"
    assert_valid_history(final["messages"])


@in_virtual_time
async def test_rule_13_detach_delivers_in_the_next_run(
    make_agent: MakeAgent, ask: Ask, delivery: str
) -> None:
    """The run ends at once, and the next run of the thread tells the outcome."""
    agent = make_agent(
        [timed("slow", 5)],
        [ask(call("slow")), "bye", "hello again", "done"],
        on_final="detach",
        delivery=delivery,
        checkpointer=InMemorySaver(),
    )
    first = await agent.graph.ainvoke(go(), THREAD)
    assert now() < 1
    assert first["messages"][-1].text == "bye"
    assert "future_1 is running" in answers(first["messages"])[0].text
    await asyncio.sleep(10)
    second = await agent.graph.ainvoke(go(), THREAD)
    assert_valid_history(second["messages"])
    text = "\n".join(m.text for m in answers(second["messages"], control=True))
    assert text.count("slow()") == 1
    assert now() < 11


@in_virtual_time
async def test_rule_13_detached_and_still_running_in_the_next_run(
    make_agent: MakeAgent, ask: Ask, no_tasks: Callable[[], None]
) -> None:
    """A next run that begins too early ends too, and does not loop; a third one gets the value."""
    agent = make_agent(
        [timed("slow", 100)],
        [ask(call("slow")), "bye", "hello", "not yet", "hello", "there"],
        on_final="detach",
        checkpointer=InMemorySaver(),
    )
    for _ in range(2):
        final = await agent.graph.ainvoke(go(), THREAD)
        assert "future_1 is running" in answers(final["messages"])[0].text
    assert now() < 1
    await asyncio.sleep(200)
    final = await agent.graph.ainvoke(go(), THREAD)
    assert answers(final["messages"])[0].text == "slow()"
    assert_valid_history(final["messages"])
    no_tasks()


@in_virtual_time
async def test_rule_13_detached_future_awaited_in_the_next_run(
    make_agent: MakeAgent, ask: Ask
) -> None:
    """A model may await, refer to and cancel what an earlier run detached."""
    agent = make_agent(
        [timed("slow", 5), timed("use", 0)],
        [
            ask(call("slow"), call("slow", x=2)),
            "bye",
            ask(
                call("use", x="future_1", await_result=True),
                call("cancel_future", futures=["future_2"]),
            ),
            "done",
        ],
        on_final="detach",
        checkpointer=InMemorySaver(),
    )
    await agent.graph.ainvoke(go(), THREAD)
    final = await agent.graph.ainvoke(go(), THREAD)
    texts = [m.text for m in answers(final["messages"])]
    assert texts == ["slow()", "future_2 was cancelled.", "use(slow())"]


@in_virtual_time
async def test_rule_13_aclose_cancels_detached(
    make_agent: MakeAgent, workshop: Workshop, gate: Gate, ask: Ask, no_tasks: Callable[[], None]
) -> None:
    """The node owns detached futures; closed, it leaves nothing, and the thread hears `lost`."""
    agent = make_agent(
        [workshop.tool("slow", gate)],
        [ask(call("slow")), "bye", "hello", "done"],
        on_final="detach",
        checkpointer=InMemorySaver(),
    )
    await agent.graph.ainvoke(go(), THREAD)
    await agent.node.aclose()
    no_tasks()
    assert workshop.log == ["slow start", "slow cancelled"]
    final = await agent.graph.ainvoke(go(), THREAD)
    assert "future_1" in answers(final["messages"])[0].text
    assert answers(final["messages"])[0].status == "error"
    no_tasks()


def test_rule_13_detach_under_invoke(
    make_agent: MakeAgent, workshop: Workshop, gate: Gate, ask: Ask
) -> None:
    """Detached threads go on after `invoke`, and the next `invoke` gets their values."""
    agent = make_agent(
        [workshop.tool("slow", gate)],
        [ask(call("slow")), "bye", ask(call("await_future")), "done"],
        on_final="detach",
        checkpointer=InMemorySaver(),
    )
    first = agent.graph.invoke(go(), THREAD)
    assert first["messages"][-1].text == "bye"
    gate.open()
    second = agent.graph.invoke(go(), THREAD)
    assert answers(second["messages"])[0].text == "slow()"
    assert_valid_history(second["messages"])


# -- rule 14 ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("argument", "part"),
    [
        ("future_5", "the only future is future_1"),
        ("future_0", "the only future is future_1"),
        ("a ${future_5.x} b", "the only future is future_1"),
        (["future_77"], "the only future is future_1"),
        ("future_1..x", "Malformed reference"),
        ("future_1[", "Malformed reference"),
        ("future_1[x]", "Malformed reference"),
        ("${future_1!}", "Malformed reference"),
        ("future_1.missing", "an object with the keys 'a'"),
        ("future_1.a.b", "future_1.a is of type int"),
        ("future_1[0]", "an object with the keys 'a'"),
    ],
)
@pytest.mark.parametrize("running", [True, False])
def test_rule_14_bad_reference(
    mode: Mode,
    make_agent: MakeAgent,
    workshop: Workshop,
    gate: Gate,
    ask: Ask,
    argument: Any,
    part: str,
    running: bool,
) -> None:
    """What cannot be read is an error message that says what there is; the call does not run."""

    def last(messages: list[Any]) -> Any:
        gate.open()
        return ask(call("await_future"))

    first = call("make", await_result=not running)
    if not running:
        gate.open()
    agent = make_agent(
        [workshop.tool("make", gate, result={"a": 1}, does=PURE), workshop.tool("use", does=PURE)],
        [ask(first), ask(call("use", x=argument)), last, "done"],
    )
    messages = agent.run(mode)
    answer = answers(messages)[1]
    assert answer.status == "error"
    assert part in answer.text
    assert answer.text.startswith("Error: ")
    assert "use" not in workshop.started()


@in_virtual_time
async def test_rule_14_unknown_reference_is_answered_at_once(
    make_agent: MakeAgent, workshop: Workshop, gate: Gate, ask: Ask
) -> None:
    """The error does not wait for anything that runs, not even for an undeclared call."""

    def third(messages: list[Any]) -> Any:
        assert "the futures so far are future_1 to future_2" in answers(messages)[-1].text
        gate.open()
        return ask(call("await_future"))

    agent = make_agent(
        [workshop.tool("slow", gate), workshop.tool("use")],
        [
            ask(call("slow", x=1), call("slow", x=2)),
            ask(call("use", x="future_9")),
            third,
            "done",
        ],
        grace=0,
    )
    await agent.arun()


@pytest.mark.parametrize(
    ("value", "part"),
    [("text", "expected integer"), (None, "expected integer"), ({"a": 1}, "expected integer")],
)
def test_rule_14_misfit_to_a_dict_schema(
    mode: Mode,
    make_agent: MakeAgent,
    workshop: Workshop,
    ask: Ask,
    value: Any,
    part: str,
) -> None:
    """A value that does not fit a dict-schema (MCP) parameter is an error; the tool is not run."""
    ran: list[Any] = []
    use = StructuredTool(
        name="use",
        description="Use a number.",
        args_schema={
            "type": "object",
            "properties": {"n": {"type": "integer"}},
            "required": ["n"],
        },
        func=lambda **kwargs: ran.append(kwargs) or "used",
    )
    agent = make_agent(
        [workshop.tool("make", result=lambda _: value), use],
        [ask(call("make")), ask(call("use", n="future_1")), "done"],
        grace=60,
    )
    messages = agent.run(mode)
    answer = answers(messages)[1]
    assert answer.status == "error"
    assert part in answer.text
    assert ran == []


def test_rule_14_misfit_to_a_pydantic_schema(
    mode: Mode, make_agent: MakeAgent, workshop: Workshop, ask: Ask
) -> None:
    """A value that does not validate is answered as `ToolNode` answers bad arguments."""
    ran: list[Any] = []

    @tool
    def use(n: int) -> str:
        """Use a number."""
        ran.append(n)
        return "used"

    agent = make_agent(
        [workshop.tool("make", result="text"), use],
        [ask(call("make")), ask(call("use", n="future_1")), "done"],
        grace=60,
    )
    answer = answers(agent.run(mode))[1]
    assert answer.status == "error"
    assert "valid integer" in answer.text
    assert ran == []


# -- rule 15 ---------------------------------------------------------------------------------------


def test_rule_15_identical_call_joins(
    mode: Mode, make_agent: MakeAgent, workshop: Workshop, gate: Gate, ask: Ask, delivery: str
) -> None:
    """An identical call to a tool that writes nothing runs once and answers each call."""

    def third(messages: list[Any]) -> Any:
        gate.open()
        return ask(call("await_future"))

    agent = make_agent(
        [workshop.tool("slow", gate, does=Effects(reads="fs:"))],
        [
            ask(call("slow", x=1), call("slow", x=1)),
            ask(call("slow", x=1), call("slow", x=2), call("slow", x="future_2")),
            third,
            "done",
        ],
        delivery=delivery,
    )
    messages = agent.run(mode)
    assert sorted(str(x) for _, x in workshop.inputs) == ["1", "2", "slow(1)"]
    if delivery == "in_place":
        texts = [m.text for m in answers(messages)]
        assert texts == ["slow(1)", "slow(1)", "slow(1)", "slow(2)", "slow(slow(1))"]
        ids = [made["id"] for m in messages if isinstance(m, AIMessage) for made in m.tool_calls]
        assert [m.tool_call_id for m in answers(messages)] == ids[:5]


@pytest.mark.parametrize("case", ["writer", "undeclared", "finished", "conflict"])
@in_virtual_time
async def test_rule_15_no_join(
    make_agent: MakeAgent, workshop: Workshop, ask: Ask, case: str
) -> None:
    """No join to a tool that writes, to a finished call, or past a conflicting one."""
    does = {"writer": Effects(writes="fs:/x"), "undeclared": None}.get(case, Effects(reads="fs:"))
    runs: list[int] = []

    async def look() -> str:
        """Look."""
        runs.append(1)
        await asyncio.sleep(1)
        return f"look {len(runs)}"

    made: Any = StructuredTool.from_function(coroutine=look, description="Look.", name="look")
    if does is not None:
        made = effects(reads=does.reads, writes=does.writes)(made)
    write = timed("write", 1, writes="fs:")
    between = {
        "finished": [ask(call("await_future"))],
        "conflict": [ask(call("write"))],
    }.get(case, [])
    agent = make_agent(
        [made, write], [ask(call("look")), *between, ask(call("look")), "early", "done"]
    )
    await agent.arun()
    assert len(runs) == 2


@in_virtual_time
async def test_rule_15_cancel_one_of_two(
    make_agent: MakeAgent, workshop: Workshop, gate: Gate, ask: Ask
) -> None:
    """Cancelling one of two joined calls leaves the other its value, whichever was first."""
    for number in (1, 2):
        gate.__init__()  # type: ignore[misc]

        def third(messages: list[Any]) -> Any:
            gate.open()
            return ask(call("await_future"))

        agent = make_agent(
            [workshop.tool("slow", gate, does=PURE)],
            [
                ask(call("slow"), call("slow")),
                ask(call("cancel_future", futures=[f"future_{number}"])),
                third,
                "done",
            ],
        )
        texts = [m.text for m in answers(await agent.arun())]
        assert texts[number - 1] == f"future_{number} was cancelled."
        assert texts[2 - number] == "slow()"


@in_virtual_time
async def test_rule_15_cancel_both_of_two(
    make_agent: MakeAgent, workshop: Workshop, gate: Gate, ask: Ask
) -> None:
    """When nobody needs the run any more, the tool is stopped."""
    agent = make_agent(
        [workshop.tool("slow", gate, does=PURE)],
        [
            ask(call("slow"), call("slow")),
            ask(call("cancel_future", futures=["future_1", "future_2"])),
            "done",
        ],
    )
    messages = await agent.arun()
    assert [m.text for m in answers(messages)] == [
        "future_1 was cancelled.",
        "future_2 was cancelled.",
    ]
    assert workshop.log == ["slow start", "slow cancelled"]
