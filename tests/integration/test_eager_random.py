"""Random messages with random effects: outcomes and final state are those of serial execution.

Each tool reads or writes slots of one shared list at its end, so that a call that runs too early or
too late reads or leaves another value. The same talk runs with eager start and without, in virtual
time, and one call after the other.
"""

from __future__ import annotations

import asyncio
import os
from dataclasses import dataclass
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from langchain_core.messages import AIMessage, BaseMessage, ToolMessage
from langchain_core.tools import BaseTool, tool

from langchain_asyncfc import effects
from langchain_asyncfc.testing import call, run_virtual
from tests.integration.eager_agents import talk

EXAMPLES = int(os.environ.get("ASYNCFC_EAGER_EXAMPLES", "40"))
SLOTS = ("a", "b")


@dataclass(frozen=True)
class Made:
    """A call to come.

    Attributes:
        tool: "get", "put", or "get_any" and "put_any" of which nothing is declared.
        slot: What it reads or writes.
        seconds: How long it takes.
        back: How many calls before it the one stands that it refers to; 0 for none.
    """

    tool: str
    slot: str
    seconds: float
    back: int


calls = st.builds(
    Made,
    tool=st.sampled_from(["get", "get", "get", "put", "put", "put_any", "get_any"]),
    slot=st.sampled_from(SLOTS),
    seconds=st.sampled_from([0.0, 0.5, 2.5, 6.5]),
    back=st.sampled_from([0, 0, 0, 1, 2]),
)
# What is undeclared orders nothing in its own message (rule 5), so it is alone there.
declared = calls.filter(lambda made: "any" not in made.tool)
messages = st.lists(declared, min_size=1, max_size=4) | st.lists(calls, min_size=1, max_size=1)


def _tools(slots: dict[str, Any], serial: bool) -> list[BaseTool]:
    """Tools over slots. Each looks and changes when it has begun and when it ends."""

    async def _get(slot: str, seconds: float) -> str:
        first = slots[slot]
        await asyncio.sleep(0 if serial else seconds)
        assert slots[slot] == first, "somebody wrote meanwhile"
        return f"{slot}={first}"

    async def _put(slot: str, value: str, seconds: float) -> str:
        before = slots[slot]
        await asyncio.sleep(0 if serial else seconds)
        assert slots[slot] == before, "somebody wrote meanwhile"
        slots[slot] = f"({value})"
        return f"put {value} for {before}"

    @effects(reads="slots:/{slot}")
    @tool
    async def get(slot: str, seconds: float, after: str = "") -> str:
        """Read a slot."""
        return await _get(slot, seconds) + after

    @effects(writes="slots:/{slot}")
    @tool
    async def put(slot: str, value: str, seconds: float) -> str:
        """Write a slot."""
        return await _put(slot, value, seconds)

    @tool
    async def get_any(slot: str, seconds: float, after: str = "") -> str:
        """Read a slot."""
        return await _get(slot, seconds) + after

    @tool
    async def put_any(slot: str, value: str, seconds: float) -> str:
        """Write a slot."""
        return await _put(slot, value, seconds)

    return [get, put, get_any, put_any]


def _message(script: list[list[Made]], number: int) -> AIMessage:
    first = 1 + sum(map(len, script[:number]))
    made = []
    for ordinal, draft in enumerate(script[number], first):
        target = ordinal - draft.back
        reference = f"future_{target}" if draft.back and target >= 1 else ""
        argument = {"after": reference} if "get" in draft.tool else {"value": reference or "new"}
        made.append(
            call(draft.tool, f"c{ordinal}", slot=draft.slot, seconds=draft.seconds, **argument)
        )
    return AIMessage("", tool_calls=made)


def _outcomes(script: list[list[Made]], *, eager: bool, serial: bool) -> tuple[list[str], Any]:
    """What each call came to in issue order, and the slots in the end."""
    slots: dict[str, Any] = dict.fromkeys(SLOTS, "nothing")
    grace = 1000 if serial else 0
    replies = [_message(script, number) for number in range(len(script))]
    if serial:
        replies = [AIMessage("", tool_calls=[made]) for m in replies for made in m.tool_calls]
    said: list[BaseMessage] = run_virtual(
        talk(_tools(slots, serial), replies, graph={"eager": eager}, grace=grace)
    )
    texts = {m.tool_call_id: m.text for m in said if isinstance(m, ToolMessage)}
    count = sum(map(len, script))
    return [texts[f"c{n}"] for n in range(1, count + 1)], slots


@settings(max_examples=EXAMPLES, deadline=None)
@given(st.lists(messages, min_size=1, max_size=3))
def test_outcomes_are_those_of_serial_execution(script: list[list[Made]]) -> None:
    """Every outcome and the final state equal those of running the calls one by one (rule 6)."""
    serial = _outcomes(script, eager=False, serial=True)
    assert not any("Error" in text for text in serial[0])
    assert _outcomes(script, eager=False, serial=False) == serial
    assert _outcomes(script, eager=True, serial=False) == serial
