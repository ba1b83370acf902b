"""Rule 22: a process is killed at each kind of point, and another one goes on.

Side effects are counted in a log outside of the processes.
"""

from __future__ import annotations

import pytest

from tests.integration.reliability.conftest import MakeLab
from tests.integration.reliability.conversation import (
    LOOK,
    PAY,
    SCRIPT,
    WRITE,
    check_end,
)
from tests.integration.reliability.lab import Lab, Setup


def test_killed_before_the_placeholder_is_written(lab: Lab) -> None:
    """In the grace period nothing is written yet, so that all runs again, as with `ToolNode`."""
    lab.start(["turn", 1], closed=["pay a"], grace=60.0)
    lab.until("saved", by="put", state="called")
    lab.until("start", tool="pay", x="a")
    assert lab.kill()
    results = lab.run(["turn", 1], ["turn", 2])
    assert PAY in lab.found()["called"]
    assert not lab.found()["pending"]
    check_end(lab, results, paid=True)
    assert lab.starts("pay", "a") == 2


def test_killed_while_tools_run(lab: Lab) -> None:
    """What is safe runs again, and the rest is lost; what refers to that is skipped."""
    lab.start(["turn", 1], closed=["pay a", "look a", "write_slot a", "model 2"])
    lab.until("start", tool="pay", x="a")
    lab.until("start", tool="look", x="a")
    lab.until("start", tool="write_slot", x="a")
    lab.until("gate", gate="model 2")
    lab.until("saved", by="put", state="pending")
    assert lab.kill()
    results = lab.run(["turn", 1], ["turn", 2])
    assert set(lab.found()["pending"]) >= {PAY, LOOK, WRITE}
    check_end(lab, results, paid=False)
    assert lab.starts("pay", "a") == 1
    assert lab.starts("look", "a") == lab.starts("write_slot", "a") == 2


def test_killed_with_a_result_that_is_not_delivered(lab: Lab) -> None:
    """A result that only the process had is lost with it: nobody knows that the tool ended."""
    lab.start(["turn", 1], closed=["pay a", "model 1"])
    lab.until("gate", gate="model 1")
    lab.until("saved", by="put", state="pending")
    lab.open("pay a")
    lab.until("end", tool="pay", x="a")
    assert lab.kill()
    check_end(lab, lab.run(["turn", 1], ["turn", 2]), paid=False)
    assert lab.starts("pay", "a") == 1


def test_killed_during_the_models_call(lab: Lab) -> None:
    """The model is called again, and its calls that follow are made once."""
    lab.start(["turn", 1], closed=["pay a", "model 1"])
    lab.until("gate", gate="model 1")
    lab.until("saved", by="put", state="pending")
    assert lab.kill()
    check_end(lab, lab.run(["turn", 1], ["turn", 2]), paid=False)
    assert lab.starts("pay", "a") == 1
    assert lab.starts("report", "a") == 1
    assert lab.starts("look", "b") == 0


def until_delivery(lab: Lab, *gates: str) -> None:
    """Bring the first turn to where the checkpointer is to save the payment's outcome."""
    lab.start(["turn", 1], closed=["pay a", "model 1", *gates])
    lab.until("gate", gate="model 1")
    lab.until("saved", by="put", state="pending")
    lab.open("pay a")
    lab.until("end", tool="pay", x="a")
    lab.open("model 1")
    lab.until("gate", gate=gates[0])


def test_killed_before_a_delivery_is_saved(lab: Lab) -> None:
    """A delivery of which nothing is saved has not happened."""
    until_delivery(lab, "before writes answered", "before put answered")
    assert lab.kill()
    results = lab.run(["turn", 1], ["turn", 2])
    assert PAY in lab.found()["pending"]
    check_end(lab, results, paid=False)
    assert lab.starts("pay", "a") == 1


def test_killed_with_a_delivery_half_saved(lab: Lab) -> None:
    """What a step had written is kept, even if its checkpoint is not."""
    until_delivery(lab, "before put answered")
    lab.until("saved", by="writes", state="answered")
    assert lab.kill()
    results = lab.run(["turn", 1], ["turn", 2])
    assert PAY in lab.found()["answered"]
    check_end(lab, results, paid=True)
    assert lab.starts("pay", "a") == 1


def test_killed_after_a_delivery(lab: Lab) -> None:
    """What was delivered stays."""
    lab.start(["turn", 1], closed=["pay a", "model 1", "model 2"])
    lab.until("gate", gate="model 1")
    lab.open("pay a")
    lab.until("end", tool="pay", x="a")
    lab.open("model 1")
    lab.until("gate", gate="model 2")
    lab.until("saved", by="put", state="answered")
    assert lab.kill()
    check_end(lab, lab.run(["turn", 1], ["turn", 2]), paid=True)
    assert lab.starts("pay", "a") == 1


def test_killed_while_the_end_of_the_turn_waits(lab: Lab) -> None:
    """The premature answer is saved; what it waited for is lost, and the model answers again."""
    lab.start(["turn", 1], closed=["pay a"])
    lab.until("end of turn")
    lab.until("saved", by="put", state="pending")  # with "async" it may come later
    assert lab.kill()
    check_end(lab, lab.run(["turn", 1], ["turn", 2]), paid=False)
    assert lab.starts("pay", "a") == 1


def test_killed_again_while_it_resumes(lab: Lab) -> None:
    """A second crash, with the calls running that run again, changes nothing."""
    lab.start(["turn", 1], closed=["pay a", "look a", "write_slot a", "model 1"])
    lab.until("start", tool="pay", x="a")
    lab.until("gate", gate="model 1")
    lab.until("saved", by="put", state="pending")
    assert lab.kill()
    lab.start(["turn", 1], closed=["look a", "write_slot a"])
    lab.until("start", tool="look", x="a")
    lab.until("start", tool="write_slot", x="a")
    assert lab.kill()
    check_end(lab, lab.run(["turn", 1], ["turn", 2]), paid=False)
    assert lab.starts("pay", "a") == 1
    assert lab.starts("look", "a") == lab.starts("write_slot", "a") == 3


def test_killed_again_before_the_loss_is_saved(lab: Lab) -> None:
    """A loss that was told, and not saved, is told again."""
    lab.start(["turn", 1], closed=["pay a", "model 1"])
    lab.until("gate", gate="model 1")
    lab.until("saved", by="put", state="pending")
    assert lab.kill()
    lab.start(["turn", 1], closed=["before writes answered", "before put answered"])
    lab.until("gate", gate="before writes answered")
    assert lab.kill()
    check_end(lab, lab.run(["turn", 1], ["turn", 2]), paid=False)
    assert lab.starts("pay", "a") == 1


def test_a_new_question_instead_of_a_resume(lab: Lab) -> None:
    """A user who just asks something else gets an answer, and loses nothing silently."""
    lab.start(["turn", 1], closed=["pay a", "look a", "model 1"])
    lab.until("start", tool="look", x="a")
    lab.until("start", tool="pay", x="a")
    lab.until("gate", gate="model 1")
    lab.until("saved", by="put", state="pending")
    assert lab.kill()
    (result,) = lab.run(["say", 2])
    told = result.check(2)
    assert told[PAY].state == "lost"
    assert told[LOOK].text == "look a"
    assert told["t2b0c0"].text == "pay c"
    assert (lab.starts("pay", "a"), lab.starts("pay", "c")) == (1, 1)


def test_outcomes_that_ride_are_lost_as_well(make_lab: MakeLab, setup: Setup) -> None:
    """With `delivery="append"` the history is not edited, and a crash is told all the same."""
    lab = make_lab(setup, script=SCRIPT, focus=PAY, delivery="append")
    lab.start(["turn", 1], closed=["pay a", "model 1"])
    lab.until("gate", gate="model 1")
    lab.until("saved", by="put", state="pending")
    assert lab.kill()
    check_end(lab, lab.run(["turn", 1], ["turn", 2]), paid=False)
    assert lab.starts("pay", "a") == 1


@pytest.mark.parametrize("face", ["node", "middleware"])
def test_the_same_with_interpreters_of_their_own(make_lab: MakeLab, face: str) -> None:
    """The processes of the other tests are forked, which must not be what makes them pass."""
    lab = make_lab(Setup(face, "ainvoke", "sqlite", "sync"), fresh=True, script=SCRIPT, focus=PAY)
    lab.start(["turn", 1], closed=["pay a", "model 1"])
    lab.until("gate", gate="model 1")
    lab.until("saved", by="put", state="pending")
    assert lab.kill()
    check_end(lab, lab.run(["turn", 1], ["turn", 2]), paid=False)
    assert lab.starts("pay", "a") == 1
