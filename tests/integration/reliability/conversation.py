"""What the processes of the tests talk of, and what has to come of it.

In the first turn the agent pays, looks and writes at once. While that goes on, it asks for a report
(which waits for the payment, as that may do anything), and for something that takes the payment's
result by reference.
"""

from __future__ import annotations

from collections.abc import Sequence

from tests.integration.reliability.lab import Lab, Outcome, Result, Setup

SCRIPT = [
    [
        [["pay", "a"], ["look", "a"], ["write_slot", "a"]],
        [["report", "a"], ["look", "b", "future_1"]],
    ],
    [[["pay", "c"], ["look", "c"]]],
]
PAY, LOOK, WRITE, REPORT, AFTER = "t1b0c0", "t1b0c1", "t1b0c2", "t1b1c0", "t1b1c1"
"""Ids of the first turn's calls."""

SETUPS = [
    Setup("node", "ainvoke", "sqlite", "sync"),
    Setup("node", "invoke", "postgres", "async"),
    Setup("node", "invoke", "sqlite", "async"),
    Setup("middleware", "ainvoke", "postgres", "async"),
    Setup("middleware", "ainvoke", "postgres", "sync"),
    Setup("middleware", "invoke", "sqlite", "sync"),
]
"""Each two of their values stand together in one of them."""


def check_end(lab: Lab, results: Sequence[Result], *, paid: bool) -> dict[str, Outcome]:
    """Check both turns, of which the first was killed.

    Args:
        lab: The lab.
        results: Of the last process, which ended the first turn and answered the second.
        paid: Whether the payment's value was kept; if not, it is lost.

    Returns:
        The outcomes of all calls.
    """
    first, second = results
    told = first.check(1)
    if paid:
        assert told[PAY] == Outcome("resolved", "pay a")
        assert told[AFTER] == Outcome("resolved", "look b of pay a")
    else:
        check_lost(told)
    assert told[LOOK] == Outcome("resolved", "look a")
    assert told[WRITE] == Outcome("resolved", "write_slot a")
    assert told[REPORT] == Outcome("resolved", "report a")
    later = second.check(2)
    assert {call: later[call] for call in told} == told
    assert later["t2b0c0"] == Outcome("resolved", "pay c")
    assert later["t2b0c1"] == Outcome("resolved", "look c")
    assert lab.starts("pay", "c") == 1
    return later


def check_lost(told: dict[str, Outcome]) -> None:
    """Check what the model is told of a lost payment, and of what refers to it."""
    assert told[PAY].state == "lost"
    assert "future_1 was lost" in told[PAY].text
    assert "may or may not have taken effect" in told[PAY].text
    assert told[AFTER].state == "skipped"
    assert "future_5 was not run, because future_1" in told[AFTER].text
    assert "lost" in told[AFTER].text
