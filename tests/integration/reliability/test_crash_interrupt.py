"""Rules 20 and 22 together: processes that are killed around an interrupt."""

from __future__ import annotations

import pytest

from tests.integration.reliability.conftest import MakeLab
from tests.integration.reliability.conversation import LOOK, PAY, SCRIPT
from tests.integration.reliability.lab import Lab, Outcome, Result, Setup

ASK, OTHER = "t1b0c2", "t1b0c3"
ASKING = [[[["pay", "a"], ["look", "a"], ["ask", "a"], ["ask", "b"]]], *SCRIPT[1:]]


@pytest.fixture
def lab(make_lab: MakeLab, setup: Setup) -> Lab:
    """A thread whose first turn asks a human two things, and pays and looks beside."""
    return make_lab(setup, script=ASKING, focus=PAY)


def check(lab: Lab, results: list[Result]) -> None:
    """Check that both answers came to their calls, and that all others ran once."""
    first, second = results
    told = first.check(1)
    assert told[PAY] == Outcome("resolved", "pay a")
    assert told[LOOK] == Outcome("resolved", "look a")
    assert told[ASK] == Outcome("resolved", "ask a yes")
    assert told[OTHER] == Outcome("resolved", "ask b yes")
    assert (lab.starts("pay", "a"), lab.ends("pay", "a")) == (1, 1)
    assert (lab.ends("ask", "a"), lab.ends("ask", "b")) == (1, 1)
    assert second.check(2)["t2b0c0"] == Outcome("resolved", "pay c")


def start_asking(lab: Lab, gate: str) -> None:
    """Start a process that asks at the end of the turn, and bring it to a gate."""
    lab.start(["turn", 1], closed=["ask a", "ask b", "model 1", gate], focus=ASK)
    lab.until("gate", gate="model 1")
    lab.until("saved", by="put", state="pending")
    for earlier in ("ask a", "ask b", "model 1"):
        lab.open(earlier)
    lab.until("gate", gate=gate)


def test_killed_while_a_human_is_asked(lab: Lab) -> None:
    """The answers reach their calls in a new process, and nothing that has finished runs again."""
    start_asking(lab, "exit")
    assert lab.kill()
    results = lab.run(["answer", "yes"], ["turn", 2])
    check(lab, results)
    assert lab.starts("look", "a") == 1


def test_a_question_stays_after_a_resume_without_an_answer(lab: Lab) -> None:
    """Whoever resumes without an answer is asked again."""
    start_asking(lab, "exit")
    assert lab.kill()
    (asked,) = lab.run(["turn", 1])
    assert asked.interrupts == 2
    check(lab, lab.run(["answer", "yes"], ["turn", 2]))


def answered(lab: Lab) -> Result:
    """Go on with the first turn, and answer what is asked: after a crash perhaps one by one."""
    (result,) = lab.run(["turn", 1])
    for _ in range(2):
        if result.interrupts:
            (result,) = lab.run(["answer", "yes"])
    return result


def test_killed_before_the_interrupt_is_saved(lab: Lab, setup: Setup) -> None:
    """What was kept before the question is not done again; the question is asked again."""
    start_asking(lab, "before writes interrupt")
    lab.until("saved", by="writes", state="kept")
    # With the checkpoint that it belongs to: an agent asks one step after the model's.
    lab.until("saved", by="put", over=True, times=1 if setup.face == "node" else 2)
    assert lab.kill()
    first = answered(lab)
    check(lab, [first, *lab.run(["turn", 2])])


def test_killed_after_the_answer(lab: Lab, setup: Setup) -> None:
    """An answer that was taken, but is not delivered, is kept, or the question is asked again."""
    start_asking(lab, "exit")
    assert lab.kill()
    gates = ["before writes answered", "before put answered"]
    lab.start(["answer", "yes"], closed=gates, focus=ASK)
    lab.until("end", tool="ask", x="a")
    lab.until("end", tool="ask", x="b")
    lab.until("gate", gate=gates[0])
    assert lab.kill()
    told = answered(lab).check(1)
    assert told[PAY] == Outcome("resolved", "pay a")
    assert told[LOOK] == Outcome("resolved", "look a")
    for call, text in ((ASK, "ask a yes"), (OTHER, "ask b yes")):
        # An agent delivers in a step of its own, before which another crash can be.
        if setup.face == "node" or told[call].state != "lost":
            assert told[call] == Outcome("resolved", text)
    assert lab.starts("pay", "a") == 1
    (second,) = lab.run(["turn", 2])
    assert second.check(2)["t2b0c0"] == Outcome("resolved", "pay c")
