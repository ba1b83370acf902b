"""Rule 20 for any number of questions, in any order of answers."""

from __future__ import annotations

import random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from langchain_core.messages import HumanMessage
from langgraph.types import Command

from langchain_asyncfc import Effects
from tests.integration.reliability.interrupts import PURE, Case, Way, check_same, opened, yes

WRITES = Effects(writes=("late",))
LATE = "turn 0"  # five seconds later


def _case(times: list[int], placed: list[bool], early: int = 0) -> Case:
    """As many tools as there are numbers, each of which asks so often, and two that work.

    So many calls more were made by an earlier message, and ask when it is over.
    """

    def tools(desk: Any) -> Any:
        asking = [
            desk.ask(f"ask_{n}", PURE, times=often, until=LATE if late else None)
            for n, (often, late) in enumerate(zip(times, placed, strict=True))
        ]
        late = [desk.ask(f"ask_early_{n}", WRITES, until="turn 1") for n in range(early)]
        return [*asking, *late, desk.work("work", PURE), desk.work("slow", PURE, until="turn 0")]

    asks = [(f"ask_{n}", {"x": "a"}) for n in range(len(times))]
    message = [("work", {"x": "a"}), *asks, ("slow", {"x": "a"})]
    script = [message, [("work", {"x": "b"})]]
    if early:
        script.insert(0, [(f"ask_early_{n}", {"x": "a"}) for n in range(early)])
    return Case(tools, script)


@pytest.mark.parametrize("face", ["node", "middleware"])
@given(data=st.data())
@settings(max_examples=20, deadline=None)
def test_any_order_of_answers(face: Any, data: st.DataObject) -> None:
    """Whichever of the open questions are answered first, the end is the same."""
    times = data.draw(st.lists(st.integers(1, 3), min_size=1, max_size=4), label="times")
    placed = data.draw(
        st.lists(st.booleans(), min_size=len(times), max_size=len(times)), label="placed"
    )
    early = data.draw(st.integers(0, 2), label="early")
    rng = random.Random(data.draw(st.integers(0, 1_000_000), label="answered"))
    case = _case(times, placed, early)
    desk, talk = opened(case, Way(face, is_async=True))
    talk.run({"messages": [HumanMessage("go")]})
    for _ in range(sum(times) + early + 1):
        asked = talk.asked()
        if not asked:
            break
        chosen = rng.sample(asked, rng.randint(1, len(asked)))
        talk.run(Command(resume={i.id: yes(i.value) for i in chosen}))
    check_same(case, desk, talk.messages())
