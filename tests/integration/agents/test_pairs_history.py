"""`AsyncFCMiddleware` next to middleware that edits or hides messages.

A late value is never lost, never an answer to a call that is gone, and is seen by the model; and
what must be kept from the model is.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from langchain.agents import create_agent
from langchain.agents.middleware import (
    ClearToolUsesEdit,
    ContextEditingMiddleware,
    HumanInTheLoopMiddleware,
    ModelCallLimitMiddleware,
    PIIMiddleware,
    SummarizationMiddleware,
    ToolRetryMiddleware,
)
from langchain_core.messages import AIMessage, HumanMessage, ToolMessage
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.types import Command

from langchain_asyncfc import AsyncFCMiddleware
from langchain_asyncfc.testing import ScriptedChatModel, assert_valid_history, call, run_virtual
from tests.integration.agents.helpers import (
    PURE,
    Comparison,
    Later,
    Talk,
    ask,
    go,
    quiet,
    texts,
)
from tests.integration.conftest import Gate, Mode, Workshop

THREAD = {"configurable": {"thread_id": "t"}}
SECRET = "ann@mail.org"

Around = Callable[[AsyncFCMiddleware], list[Any]]


def slow_and_fast(workshop: Workshop, gate: Gate, result: Any = None) -> list[Any]:
    """A slow tool and a fast one."""
    return [
        workshop.tool("slow", gate, result=result, does=PURE),
        workshop.tool("fast", does=PURE),
    ]


def gated(around: Around, *turns: Any, result: Any = None, **options: Any) -> tuple[Any, Talk]:
    """An agent whose slow tool ends when the model first gives its answer.

    A turn `open` opens it earlier, and is left out.
    """
    gate = Gate()
    said: list[Any] = []
    opens = False
    for turn in turns:
        if turn is open:
            opens = True
        elif opens:
            said.append(lambda _, turn=turn: gate.open() or turn)
            opens = False
        else:
            said.append(turn)
    talk = Talk(said, gates=[gate])
    checkpointer = options.pop("checkpointer", None)
    agent = create_agent(
        talk.model,
        slow_and_fast(Workshop(), gate, result),
        middleware=around(AsyncFCMiddleware(**options)),
        checkpointer=checkpointer,
    )
    return agent, talk


def run(mode: Mode, agent: Any, config: Any = None, text: str = "go") -> list[Any]:
    """The final messages, a valid history."""
    with quiet():
        final = mode.run(agent, go(text), config)
    assert_valid_history(final["messages"])
    return final["messages"]


# -- PIIMiddleware ---------------------------------------------------------------------------------


def tool_pii(strategy: Any = "redact") -> PIIMiddleware[Any, Any]:
    """Keeps mail addresses in results from the model."""
    return PIIMiddleware("email", strategy=strategy, apply_to_tool_results=True)


@pytest.mark.parametrize("strategy", ["redact", "mask", "block"])
def test_pii_in_results(entry: Mode, strategy: Any) -> None:
    """No late result reaches the model as it is; the history is that of a run without futures."""
    Comparison(
        lambda workshop, gate: slow_and_fast(workshop, gate, SECRET),
        lambda fc: [*fc, tool_pii(strategy)],
        lambda: [ask(call("slow", "a", x="1"), call("fast", "b", x="2")), ask(call("fast", "c"))],
    ).check(entry)


@pytest.mark.parametrize(
    "last",
    [
        ask(call("fast", x="2"), call("await_future")),
        ask(call("fast", x="2", await_result="all")),
        ask(call("await_future", futures=["future_1"])),
        ask(call("fast", x="is it ${future_1}?", await_result=True)),
    ],
    ids=["await_future", "all", "named", "passed on"],
)
def test_pii_in_results_within_a_turn(entry: Mode, last: Any) -> None:
    """Nor does one that comes before the end of the turn, or is passed on and comes back."""
    agent, talk = gated(
        lambda fc: [fc, tool_pii()], ask(call("slow", x="1")), open, last, result=SECRET
    )
    run(entry, agent)
    assert talk.saw("[REDACTED_EMAIL]")
    assert not talk.saw(SECRET)


def test_pii_in_results_before(entry: Mode) -> None:
    """Nor does one that is delivered after the other middleware has looked."""
    agent, talk = gated(
        lambda fc: [tool_pii(), fc],
        ask(call("slow", x="1")),
        open,
        ask(call("fast", x="2"), call("await_future")),
        result=SECRET,
    )
    run(entry, agent)
    assert talk.saw("[REDACTED_EMAIL]")
    assert not talk.saw(SECRET)


@pytest.mark.parametrize("argument", ["future_1", "something else"])
def test_pii_in_results_before_an_approval(entry: Mode, argument: str) -> None:
    """Nor does one that is delivered because a person is asked."""
    person = HumanInTheLoopMiddleware({"fast": True})
    agent, talk = gated(
        lambda fc: [person, fc, tool_pii()],
        ask(call("slow", x="1")),
        open,
        ask(call("fast", x=argument)),
        result=SECRET,
        checkpointer=InMemorySaver(),
    )
    entry.run(agent, go(), THREAD)
    resume = Command(resume={"decisions": [{"type": "approve"}]})
    assert_valid_history(entry.run(agent, resume, THREAD)["messages"])
    assert not talk.saw(SECRET)


def test_pii_in_results_at_the_end_of_a_run() -> None:
    """Nor does one that is delivered as the run ends, in the thread's next run."""
    talk = Talk([ask(call("slow", x="1"))])
    agent = create_agent(
        talk.model,
        slow_and_fast(Workshop(), Later(), SECRET),
        middleware=[AsyncFCMiddleware(), tool_pii(), ModelCallLimitMiddleware(run_limit=1)],
        checkpointer=InMemorySaver(),
    )
    run(Mode("ainvoke"), agent, THREAD)
    run(Mode("ainvoke"), agent, THREAD, "and now?")
    assert len(talk.calls) == 2
    assert not talk.saw(SECRET)


@pytest.mark.parametrize("first", [True, False])
def test_pii_in_input_and_output(entry: Mode, first: bool) -> None:
    """What is done to the human's and the model's messages is the same on either side."""

    def both(fc: list[Any]) -> list[Any]:
        pii = PIIMiddleware("email", apply_to_output=True)
        return [pii, *fc] if first else [*fc, pii]

    result = Comparison(
        slow_and_fast,
        both,
        lambda: [ask(call("slow", "a", x="1"), text=f"I ask {SECRET}"), ask(call("fast", "b"))],
        final=f"It was {SECRET}",
        value=lambda: go(f"I am {SECRET}"),
    ).check(entry)
    assert not result.talk.saw(SECRET)
    assert result.messages[-1].text == "It was [REDACTED_EMAIL]"


# -- ContextEditingMiddleware ----------------------------------------------------------------------


def clearing(keep: int, **options: Any) -> ContextEditingMiddleware[Any, Any]:
    """Clears all tool messages but the newest."""
    return ContextEditingMiddleware(edits=[ClearToolUsesEdit(trigger=1, keep=keep, **options)])


@pytest.mark.parametrize("first", [True, False])
def test_context_editing(entry: Mode, first: bool) -> None:
    """A late value is among the newest when it comes, however old its call is."""
    agent, talk = gated(
        lambda fc: [clearing(1), fc] if first else [fc, clearing(1)],
        ask(call("slow", x="1")),
        *(ask(call("fast", x=n)) for n in range(4)),
        open,
        ask(call("fast", x="last", await_result="all")),
        ask(call("fast", x="after")),
        result="LATE",
    )
    run(entry, agent)
    assert "LATE" in talk.seen(6)[-1]
    assert not any("LATE" in text for text in talk.seen(7))


@pytest.mark.parametrize("first", [True, False])
def test_context_editing_at_the_end_of_a_turn(entry: Mode, first: bool) -> None:
    """The same for what is waited for when the model gives its answer."""
    agent, talk = gated(
        lambda fc: [clearing(1), fc] if first else [fc, clearing(1)],
        ask(call("slow", x="1"), call("slow", x="2")),
        *(ask(call("fast", x=n)) for n in range(3)),
    )
    run(entry, agent)
    assert all(text in talk.seen(-1)[-1] for text in ("slow(1)", "slow(2)"))


@pytest.mark.parametrize("keep", [1, 2])
def test_context_editing_keeps_a_late_value_of_a_group(entry: Mode, keep: int) -> None:
    """A late value is not cleared before the model has seen it, whatever came with it."""
    agent, talk = gated(
        lambda fc: [fc, clearing(keep)],
        ask(call("slow", x="1")),
        open,
        ask(call("fast", x=1), call("fast", x=2), call("fast", x=3, await_result="all")),
        result="LATE",
    )
    run(entry, agent)
    assert talk.saw("LATE")


def test_context_editing_leaves_the_state(entry: Mode) -> None:
    """It edits what the model is sent only; the state is that of a run without futures."""
    Comparison(
        slow_and_fast,
        lambda fc: [*fc, clearing(1, clear_tool_inputs=True)],
        lambda: [
            ask(call("slow", "a", x="1")),
            ask(call("fast", "b", x="2"), call("slow", "c", x="3")),
            ask(call("fast", "d", x="4")),
        ],
    ).check(entry)


# -- SummarizationMiddleware -----------------------------------------------------------------------


def summary(trigger: int, keep: int) -> SummarizationMiddleware[Any, Any]:
    """Puts a summary in place of all messages but the last ones."""
    return SummarizationMiddleware(
        ScriptedChatModel(policy=lambda _: "what happened"),
        trigger=("messages", trigger),
        keep=("messages", keep),
    )


ORDERS = pytest.mark.parametrize("first", [True, False])


def summing(first: bool, trigger: int = 6, keep: int = 2) -> Around:
    """Summaries before or after the middleware."""
    return lambda fc: [summary(trigger, keep), fc] if first else [fc, summary(trigger, keep)]


@ORDERS
def test_summary_of_a_placeholder(entry: Mode, first: bool) -> None:
    """A value whose placeholder is gone comes with the next tool message, and stays known."""
    agent, talk = gated(
        summing(first),
        ask(call("slow", x="1")),
        *(ask(call("fast", x=n)) for n in range(4)),
        open,
        ask(call("fast", x="again ${future_1}", await_result="all")),
        ask(call("fast", x="and again ${future_1}")),
        result="LATE",
    )
    messages = run(entry, agent)
    assert isinstance(messages[0], HumanMessage)
    assert "what happened" in messages[0].text
    assert "LATE" in talk.seen(6)[-1]
    assert "fast(and again LATE)" in texts(messages)[-1]


@ORDERS
def test_summary_of_what_was_delivered(entry: Mode, first: bool) -> None:
    """A value that was delivered and summarised away stays good for references in this run."""
    agent, _ = gated(
        summing(first),
        ask(call("slow", x="1")),
        open,
        ask(call("fast", x="0", await_result="all")),
        *(ask(call("fast", x=n)) for n in range(5)),
        ask(call("fast", x="at last ${future_1}")),
        result="LATE",
    )
    messages = run(entry, agent)
    assert "fast(at last LATE)" in texts(messages)[-1]


@pytest.mark.parametrize(("first", "on_final"), [(True, "review"), (False, "settle")])
def test_end_of_a_turn_after_a_summary_of_the_only_placeholder(
    entry: Mode, first: bool, on_final: str
) -> None:
    """A call whose placeholder is gone is waited for, and its value is seen by the model."""
    agent, talk = gated(
        summing(first),
        ask(call("slow", x="1")),
        *(ask(call("fast", x=n)) for n in range(4)),
        result="LATE",
        on_final=on_final,
    )
    messages = run(entry, agent)
    assert any("LATE" in m.text for m in messages)
    assert talk.saw("LATE") or on_final == "settle"


@ORDERS
def test_end_of_a_turn_after_a_summary(entry: Mode, first: bool) -> None:
    """With another one pending, both values come when the model gives its answer."""
    agent, talk = gated(
        summing(first),
        ask(call("slow", x="1")),
        *(ask(call("fast", x=n)) for n in range(3)),
        ask(call("slow", x="2")),
    )
    run(entry, agent)
    assert talk.saw("slow(1)")
    assert talk.saw("slow(2)")


def test_numbers_go_on_after_a_summary() -> None:
    """A future's id is not used again in the thread, though no message tells of it."""
    agent, talk = gated(
        summing(first=False),
        *(ask(call("fast", x=n)) for n in range(4)),
        "first answer",
        ask(call("slow", x="1")),
        checkpointer=InMemorySaver(),
    )
    run(Mode("ainvoke"), agent, THREAD)
    run(Mode("ainvoke"), agent, THREAD, "more")
    assert talk.saw("future_5 is running")


def test_detached_calls_and_a_summary() -> None:
    """A detached call whose placeholder is summarised away is delivered all the same."""

    async def two_runs() -> Talk:
        talk = Talk(
            [
                ask(call("slow", x="1")),
                "first answer",
                *(ask(call("fast", x=n)) for n in range(4)),
                ask(call("fast", x="last", await_result="all")),
            ]
        )
        futures = AsyncFCMiddleware(on_final="detach")
        agent = create_agent(
            talk.model,
            slow_and_fast(Workshop(), Later(), "LATE"),
            middleware=[futures, summary(6, 2)],
            checkpointer=InMemorySaver(),
        )
        await agent.ainvoke(go(), THREAD)
        await agent.ainvoke(go("more"), THREAD)
        await futures.aclose()
        return talk

    assert run_virtual(two_runs()).saw("LATE")


def test_all_of_them(entry: Mode) -> None:
    """Summaries, edits, redaction and retries together lose nothing and leak nothing."""
    agent, talk = gated(
        lambda fc: [
            fc,
            ToolRetryMiddleware(max_retries=1, initial_delay=0, jitter=False),
            summary(7, 3),
            clearing(2),
            tool_pii(),
        ],
        ask(call("slow", x="1")),
        *(ask(call("fast", x=n)) for n in range(4)),
        open,
        ask(call("fast", x="so ${future_1}", await_result=True)),
        ask(call("slow", x="2")),
        result=f"LATE {SECRET}",
    )
    messages = run(entry, agent)
    assert talk.saw("LATE [REDACTED_EMAIL]")
    assert not talk.saw(SECRET)
    assert not any(SECRET in m.text for m in messages)
    assert isinstance(messages[-1], AIMessage)
    assert all(m.text for m in messages if isinstance(m, ToolMessage))
