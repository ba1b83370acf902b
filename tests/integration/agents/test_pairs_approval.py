"""`AsyncFCMiddleware` next to `HumanInTheLoopMiddleware`: what a person sees and decides.

Every run is on a freshly built agent, as in a new process; only the checkpointer stays.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import pytest
from langchain.agents import create_agent
from langchain.agents.middleware import (
    AgentMiddleware,
    HumanInTheLoopMiddleware,
    SummarizationMiddleware,
    ToolRetryMiddleware,
)
from langchain_core.messages import BaseMessage
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.types import Command

from langchain_asyncfc import AsyncFCMiddleware, Effects
from langchain_asyncfc.testing import ScriptedChatModel, assert_valid_history, call
from tests.integration.agents.helpers import (
    PURE,
    Later,
    Talk,
    answers,
    ask,
    go,
    is_placeholder,
    quiet,
    substance,
    texts,
)
from tests.integration.conftest import Mode, Workshop

THREAD = {"configurable": {"thread_id": "t"}}
APPROVE = {"type": "approve"}
REJECT = {"type": "reject", "message": "not now"}
RESPOND = {"type": "respond", "message": "done by hand"}

Asks = Literal["batched", "per_call"]


def edit(x: Any, name: str = "pay") -> dict[str, Any]:
    """The decision to make another call."""
    return {"type": "edit", "edited_action": {"name": name, "args": {"x": x}}}


@pytest.fixture(params=["batched", "per_call"])
def asks(request: pytest.FixtureRequest) -> Asks:
    """How the person is asked."""
    return request.param


@dataclass
class Office:
    """Agents in which a person approves payments, one a run, on one checkpointer.

    Attributes:
        turns: What the model says.
        asks: How the person is asked.
        futures: Whether the agents have `AsyncFCMiddleware`.
        around: Further middleware, after it.
        only: What is approved.
    """

    turns: list[Any]
    asks: Asks
    futures: bool = True
    around: list[AgentMiddleware[Any, Any, Any]] = field(default_factory=list)
    only: dict[str, Any] = field(default_factory=lambda: {"pay": True})
    pays: Effects = PURE
    options: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.workshop = Workshop()
        self.talk = Talk(self.turns)
        self._saver = InMemorySaver()
        self.asked: list[Any] = []

    def build(self) -> Any:
        """A new agent."""
        slow = Later()
        tools = [
            self.workshop.tool("slow", slow, does=PURE),
            self.workshop.tool("fast", does=PURE),
            self.workshop.tool("pay", does=self.pays),
        ]
        person = HumanInTheLoopMiddleware(self.only, interrupt_mode=self.asks)
        own = [AsyncFCMiddleware(**self.options)] if self.futures else []
        pair = [person, *own] if self.asks == "batched" else [*own, person]
        return create_agent(
            self.talk.model, tools, middleware=[*pair, *self.around], checkpointer=self._saver
        )

    def run(self, mode: Mode, *decisions: list[Any]) -> list[BaseMessage]:
        """Run to the end, with the person's decisions, one list a time it is asked."""
        with quiet():
            messages = self._run(mode, decisions)
        assert_valid_history(messages)
        return messages

    def _run(self, mode: Mode, decisions: Sequence[list[Any]]) -> list[BaseMessage]:
        state = mode.run(self.build(), go(), THREAD)
        for decided in decisions:
            interrupts = sorted(
                state["__interrupt__"], key=lambda i: i.value.get("tool_call_id", "")
            )
            assert not any(is_placeholder(m) for m in state["messages"])
            self.asked += [interrupt.value for interrupt in interrupts]
            if self.asks == "batched":
                value: Any = {"decisions": decided}
            else:
                pairs = zip(interrupts, decided, strict=False)
                value = {interrupt.id: decision for interrupt, decision in pairs}
            state = mode.run(self.build(), Command(resume=value), THREAD)
        assert not state.get("__interrupt__")
        messages: list[BaseMessage] = state["messages"]
        return messages

    @property
    def shown(self) -> list[Any]:
        """The arguments that the person was shown."""
        found = []
        for value in self.asked:
            requests = value["action_requests"] if self.asks == "batched" else [value]
            found += [request["args"]["x"] for request in requests]
        return found


def pay_the_result(*siblings: Any) -> Any:
    """Has a slow result paid, beside other calls; once with a reference, once with the value."""

    def turns(future: str) -> list[Any]:
        return [
            ask(call("slow", "a", x="1")),
            ask(call("pay", "b", x=future), *siblings),
        ]

    return turns


def compare(
    mode: Mode, asks: Asks, turns: Any, *decisions: list[Any], **options: Any
) -> tuple[Office, list[BaseMessage]]:
    """Run with futures, and compare with a run without."""
    plain = Office(turns("slow(1)"), asks, futures=False, **options)
    expected = plain.run(mode, *decisions)
    office = Office(turns("future_1"), asks, **options)
    messages = office.run(mode, *decisions)
    assert substance(messages) == substance(expected)
    assert office.shown == plain.shown
    assert sorted(office.workshop.started()) == sorted(plain.workshop.started())
    return office, messages


DECISIONS = pytest.mark.parametrize(
    "decision",
    [APPROVE, edit("other"), REJECT, RESPOND],
    ids=["approve", "edit", "reject", "respond"],
)


@DECISIONS
def test_decisions(asks: Asks, decision: Any) -> None:
    """A person sees the value of a reference, and each decision does what it says."""
    office, messages = compare(Mode("ainvoke"), asks, pay_the_result(), [decision])
    assert office.shown == ["slow(1)"]
    paid = {"approve": [("pay", "slow(1)")], "edit": [("pay", "other")]}
    assert office.workshop.inputs[1:] == paid.get(decision["type"], [])
    assert answers(messages)[1].tool_call_id == "b"


@pytest.mark.parametrize("decision", [APPROVE, edit("other")], ids=["approve", "edit"])
def test_older_slow_calls_are_finished_first(entry: Mode, asks: Asks, decision: Any) -> None:
    """What runs when the person is asked is finished and delivered, and never run again."""

    def turns(future: str) -> list[Any]:
        return [
            ask(call("slow", "a", x="1")),
            ask(call("slow", "b", x="2"), call("fast", "c", x="3")),
            ask(call("pay", "d", x=future)),
            ask(call("fast", "e", x="4")),
        ]

    compare(entry, asks, turns, [decision])


@pytest.mark.parametrize("decision", [APPROVE, REJECT], ids=["approve", "reject"])
def test_siblings_batched(entry: Mode, decision: Any) -> None:
    """Calls beside an approved one run once the person has answered, whatever the answer."""
    siblings = [call("slow", "c", x="2"), call("fast", "d", x="3")]
    compare(entry, "batched", pay_the_result(*siblings), [decision])


@pytest.mark.parametrize("name", ["pay", "slow"])
@pytest.mark.parametrize("first", [True, False])
def test_edit_beside_siblings_batched(entry: Mode, name: str, first: bool) -> None:
    """A call that a person edits, to another tool even, runs as edited; its siblings as written."""
    siblings = [call("slow", "c", x="2"), call("fast", "d", x="3")]

    def turns(future: str) -> list[Any]:
        pay = call("pay", "b", x=future)
        return [
            ask(call("slow", "a", x="1")),
            ask(pay, *siblings) if first else ask(*siblings, pay),
        ]

    office, _ = compare(entry, "batched", turns, [edit("other", name)])
    assert (name, "other") in office.workshop.inputs


@DECISIONS
def test_siblings_per_call(entry: Mode, decision: Any) -> None:
    """Calls beside an approved one end in the run that asks, and do not run again."""
    siblings = [call("slow", "c", x="2"), call("fast", "d", x="3")]
    office, _ = compare(entry, "per_call", pay_the_result(*siblings), [decision])
    assert office.workshop.started().count("slow") == 2


def test_conflict_with_a_sibling_per_call(entry: Mode) -> None:
    """An approved call that writes what a sibling wrote runs after it, also in the next run."""

    def turns(future: str) -> list[Any]:
        return [
            ask(call("slow", "a", x="1")),
            ask(call("slow", "c", x="2"), call("pay", "b", x=future)),
        ]

    writes = Effects(writes="db:x")
    compare(entry, "per_call", turns, [APPROVE], pays=writes, options={"effects": {"slow": writes}})


def two_payments(*between: Any) -> Any:
    """Has two results paid in one message."""

    def turns(future: str) -> list[Any]:
        other = future.replace("1", "2")
        return [
            ask(call("slow", "a", x="1"), call("slow", "b", x="2")),
            ask(call("pay", "c", x=future), *between, call("pay", "d", x=other)),
        ]

    return turns


@pytest.mark.parametrize(("first", "second"), [(APPROVE, APPROVE), (RESPOND, REJECT)])
def test_two_approvals_batched(entry: Mode, first: Any, second: Any) -> None:
    """Two calls of one message are shown and decided together."""
    office, _ = compare(entry, "batched", two_payments(call("fast", "e", x="3")), [first, second])
    assert office.shown == ["slow(1)", "slow(2)"]


@pytest.mark.parametrize("second", [APPROVE, REJECT])
def test_two_approvals_per_call(entry: Mode, second: Any) -> None:
    """Two calls of one message are shown each by itself and may be decided together."""
    compare(entry, "per_call", two_payments(), [APPROVE, second])


def test_two_approvals_one_by_one(entry: Mode) -> None:
    """Two calls of one message may be decided one after the other; none runs twice."""
    compare(entry, "per_call", two_payments(), [APPROVE], [APPROVE])


def test_two_approvals_beside_a_slow_call(entry: Mode) -> None:
    """A slow call between two approved ones keeps its result."""
    compare(entry, "per_call", two_payments(call("slow", "e", x="3")), [APPROVE, APPROVE])


def test_reference_to_a_call_of_the_same_message(entry: Mode) -> None:
    """A person cannot see what a sibling will give, so such a call is answered with an error."""
    office = Office([ask(call("slow", "a", x="1"), call("pay", "b", x="future_1"))], "batched")
    messages = office.run(entry, [APPROVE])
    assert "made by this same message" in texts(messages)[1]
    assert "pay" not in office.workshop.started()


def test_only_some_calls_are_approved(entry: Mode, asks: Asks) -> None:
    """The predicate of `when` sees values; calls that it lets pass run without a person."""
    seen: list[Any] = []

    def when(request: Any) -> bool:
        seen.append(request.tool_call["args"]["x"])
        return request.tool_call["args"]["x"] == "slow(1)"

    only = {"pay": {"allowed_decisions": ["approve"], "when": when}}

    def turns(future: str) -> list[Any]:
        return [
            ask(call("slow", "a", x="1"), call("slow", "b", x="2")),
            ask(call("pay", "c", x=future.replace("1", "2"))),
            ask(call("pay", "d", x=future)),
        ]

    office, _ = compare(entry, asks, turns, [APPROVE], only=only)
    assert office.shown == ["slow(1)"]
    assert not any(str(value).startswith("future_") for value in seen)


def test_the_person_is_asked_again_next_turn(entry: Mode, asks: Asks) -> None:
    """Decisions of one message do not leak into the next, and results may be passed on."""

    def turns(future: str) -> list[Any]:
        second = "future_3" if future == "future_1" else "slow(pay(changed))"
        first = "future_2" if future == "future_1" else "pay(changed)"
        return [
            ask(call("slow", "a", x="1")),
            ask(call("pay", "b", x=future)),
            ask(call("slow", "c", x=first)),
            ask(call("pay", "d", x=second)),
        ]

    if asks == "batched":
        office = Office(turns("future_1"), asks)
        office.run(entry, [edit("changed")], [APPROVE])
        assert office.workshop.inputs[-1][1].endswith("pay(changed))")
    else:
        office = Office(turns("future_1"), asks)
        office.run(entry, [edit("changed")], [REJECT])
        assert office.workshop.started() == ["slow", "pay", "slow"]


def test_an_approved_text_that_looks_like_a_reference(entry: Mode, asks: Asks) -> None:
    """What a tool returned is passed on as it is, though it may look like a reference."""
    turns = [
        ask(call("fast", "a", x="\\future_9")),
        ask(call("pay", "b", x="${future_1} and more")),
    ]
    office = Office(turns, asks)
    office.run(entry, [APPROVE])
    assert office.workshop.inputs == [("fast", "future_9"), ("pay", "fast(future_9) and more")]


def test_four_together(entry: Mode) -> None:
    """With retries and a summary around them, a person sees the value and all is answered."""
    summary = SummarizationMiddleware(
        ScriptedChatModel(policy=lambda _: "what happened"),
        trigger=("messages", 5),
        keep=("messages", 3),
    )
    retry = ToolRetryMiddleware(max_retries=1, initial_delay=0, jitter=False)
    turns = [
        ask(call("slow", "a", x="1")),
        ask(call("fast", "b", x="2")),
        ask(call("fast", "c", x="3")),
        ask(call("pay", "d", x="future_1")),
    ]
    office = Office(turns, "batched", around=[retry, summary])
    messages = office.run(entry, [APPROVE])
    assert office.shown == ["slow(1)"]
    assert ("pay", "slow(1)") in office.workshop.inputs
    assert office.workshop.started().count("slow") == 1
    assert messages[-1].text == "done"
