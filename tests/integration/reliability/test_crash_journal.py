"""The journal: with a store, outcomes are written down when they happen."""

from __future__ import annotations

import pytest

from tests.integration.reliability.conftest import MakeLab
from tests.integration.reliability.conversation import (
    PAY,
    SCRIPT,
    check_end,
)
from tests.integration.reliability.lab import Lab, Setup


@pytest.fixture
def lab(make_lab: MakeLab, setup: Setup) -> Lab:
    """A thread of a graph with a store, whose first turn is about to begin."""
    return make_lab(setup, script=SCRIPT, focus=PAY, journal=True)


def until_kept(lab: Lab) -> None:
    """Wait until the store has the payment's outcome."""
    lab.until("kept", call=PAY, ended=True)


def test_a_result_that_was_not_delivered_is_kept(lab: Lab) -> None:
    """A call that has finished gives its value after the crash, and does not run again."""
    lab.start(["turn", 1], closed=["pay a", "model 1"])
    lab.until("gate", gate="model 1")
    lab.until("saved", by="put", state="pending")
    lab.open("pay a")
    until_kept(lab)
    assert lab.kill()
    check_end(lab, lab.run(["turn", 1], ["turn", 2]), paid=True)
    assert lab.starts("pay", "a") == 1


def test_a_call_without_a_placeholder_does_not_start_twice(lab: Lab) -> None:
    """Killed in the grace period, a call that is not safe to repeat is lost, and not run again."""
    lab.start(["turn", 1], closed=["pay a"], grace=60.0)
    lab.until("saved", by="put", state="called")
    lab.until("start", tool="pay", x="a")
    assert lab.kill()
    check_end(lab, lab.run(["turn", 1], ["turn", 2]), paid=False)
    assert lab.starts("pay", "a") == 1


def test_a_result_without_a_placeholder_is_kept(lab: Lab) -> None:
    """A call that ended in the grace period, but was not answered, gives its value."""
    lab.start(["turn", 1], closed=["look a", "write_slot a"], grace=60.0)
    lab.until("saved", by="put", state="called")
    until_kept(lab)
    assert lab.kill()
    check_end(lab, lab.run(["turn", 1], ["turn", 2]), paid=True)
    assert lab.starts("pay", "a") == 1


def test_a_delivery_that_is_not_saved_is_made_again(lab: Lab) -> None:
    """Killed in a delivery, the value is delivered again from where it was written down."""
    gates = ["before writes answered", "before put answered"]
    lab.start(["turn", 1], closed=["pay a", "model 1", *gates])
    lab.until("gate", gate="model 1")
    lab.until("saved", by="put", state="pending")
    lab.open("pay a")
    until_kept(lab)
    lab.open("model 1")
    lab.until("gate", gate=gates[0])
    assert lab.kill()
    check_end(lab, lab.run(["turn", 1], ["turn", 2]), paid=True)
    assert lab.starts("pay", "a") == 1


def test_a_running_call_is_lost_all_the_same(lab: Lab) -> None:
    """Nobody knows what a call has done that was running; killed twice, it is lost once."""
    lab.start(["turn", 1], closed=["pay a", "model 1"])
    lab.until("start", tool="pay", x="a")
    lab.until("gate", gate="model 1")
    lab.until("saved", by="put", state="pending")
    assert lab.kill()
    lab.start(["turn", 1], closed=["before writes answered", "before put answered"])
    lab.until("gate", gate="before writes answered")
    assert lab.kill()
    check_end(lab, lab.run(["turn", 1], ["turn", 2]), paid=False)
    assert lab.starts("pay", "a") == 1
