"""What `durability="exit"` keeps: it saves when a run ends, so a crash takes the whole run."""

from __future__ import annotations

import pytest

from tests.integration.reliability.conftest import MakeLab
from tests.integration.reliability.conversation import PAY, SCRIPT
from tests.integration.reliability.lab import Lab, Outcome, Setup

SETUPS = [
    Setup("node", "ainvoke", "postgres", "exit"),
    Setup("node", "invoke", "sqlite", "exit"),
    Setup("middleware", "ainvoke", "sqlite", "exit"),
    Setup("middleware", "invoke", "postgres", "exit"),
]


@pytest.fixture(params=SETUPS, ids=str)
def setup(request: pytest.FixtureRequest) -> Setup:
    """Each face, entry and checkpointer, and each two of them together."""
    return request.param


def test_a_crash_takes_the_whole_run(lab: Lab) -> None:
    """Nothing of the run is there, what it did has been done, and the thread can be used."""
    lab.start(["turn", 1], closed=["pay a", "model 1"])
    lab.until("start", tool="pay", x="a")
    lab.until("gate", gate="model 1")
    assert lab.kill()
    first, second = lab.run(["turn", 1], ["turn", 2])
    assert lab.found()["turns"] == 0
    told = first.check(1)
    assert told[PAY] == Outcome("resolved", "pay a")
    assert lab.starts("pay", "a") == 2
    assert second.check(2)["t2b0c0"].text == "pay c"


def test_a_crash_takes_no_earlier_run(lab: Lab) -> None:
    """What was there when the last run ended is there after the crash."""
    lab.start(["turn", 1], ["turn", 2], closed=["pay c", "model 3"])
    lab.until("start", tool="pay", x="c")
    lab.until("gate", gate="model 3")
    assert lab.kill()
    (result,) = lab.run(["turn", 2])
    assert lab.found()["turns"] == 1
    told = result.check(2)
    assert {outcome.state for outcome in told.values()} == {"resolved"}
    assert (lab.starts("pay", "a"), lab.starts("pay", "c")) == (1, 2)


def test_a_run_that_waits_for_a_human_has_ended(make_lab: MakeLab, setup: Setup) -> None:
    """A run that stopped with an interrupt is saved, and so is what its other calls gave."""
    script = [[[["pay", "a"], ["ask", "a"]]], *SCRIPT[1:]]
    lab = make_lab(setup, script=script, focus=PAY)
    lab.start(["turn", 1], closed=["exit"])
    lab.until("gate", gate="exit")
    assert lab.kill()
    first, _ = lab.run(["answer", "yes"], ["turn", 2])
    told = first.check(1)
    assert told[PAY] == Outcome("resolved", "pay a")
    assert told["t1b0c1"] == Outcome("resolved", "ask a yes")
    assert lab.starts("pay", "a") == 1
