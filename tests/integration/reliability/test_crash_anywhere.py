"""Processes that are killed anywhere, and what must hold wherever it was.

A number stands for a run: how the agent is built, what it talks of, how long its tools take, and
when it is killed, once or twice. `ASYNCFC_CRASHES=200` makes it 200 numbers instead of a few, and
`ASYNCFC_CRASH_SEED` is the first of them.
"""

from __future__ import annotations

import os
import random
import time
from collections.abc import Iterable
from typing import Any

import pytest

from tests.integration.reliability.conftest import MakeLab
from tests.integration.reliability.crash_app import SAFE
from tests.integration.reliability.lab import Lab, Outcome, Setup

CRASHES = int(os.environ.get("ASYNCFC_CRASHES", "10"))
FIRST = int(os.environ.get("ASYNCFC_CRASH_SEED", "0"))

SCRIPTS: list[list[list[list[Any]]]] = [
    [
        [["pay", "a"], ["look", "a"], ["write_slot", "a"]],
        [["report", "a"], ["look", "b", "future_1"]],
        [["pay", "b"]],
    ],
    [
        [["pay", "a"], ["pay", "b"]],
        [["look", "a", "future_2"], ["write_slot", "a", "future_1"]],
        [["report", "a"], ["pay", "d", "future_3"]],
    ],
    [
        [["look", "a"], ["look", "b"]],
        [["write_slot", "a", "future_1"], ["pay", "a", "future_2"]],
        [["write_slot", "a"], ["report", "a", "future_4"]],
    ],
    [
        [["write_slot", "a"], ["write_slot", "b"]],
        [["report", "a"]],
        [["pay", "a"]],
        [["pay", "b"]],
    ],
]
"""First turns."""
SECOND = [[["pay", "z"], ["look", "z"]]]

LINES = 12
"""How many lines of the log there are for a batch of the model, about."""


def make(rng: random.Random, make_lab: MakeLab) -> Lab:
    """An agent by chance."""
    setup = Setup(
        rng.choice(["node", "middleware"]),
        rng.choice(["ainvoke", "invoke"]),
        rng.choice(["sqlite", "postgres"]),
        rng.choice(["sync", "sync", "async", "async", "exit"]),
    )
    return make_lab(
        setup,
        script=[rng.choice(SCRIPTS), SECOND],
        delivery=rng.choice(["in_place", "append"]),
        journal=rng.random() < 0.3,
        grace=rng.choice([0.0, 0.0, 0.01]),
        work={tool: rng.choice([0.0, 0.005, 0.02, 0.05]) for tool in ("pay", *sorted(SAFE))},
    )


def kill_anywhere(lab: Lab, rng: random.Random) -> bool:
    """Let a process answer the first turn, and kill it at some time.

    The log tells how far it is: in seconds nobody could say, on a machine that has more to do.

    Returns:
        Whether it had not ended before.
    """
    number = len(lab.children) + 1
    steps = len(lab.options["script"][0]) + 2
    after, pause = rng.randrange(LINES * steps), rng.choice([0.0, rng.uniform(0, 0.02)])
    lab.start(["turn", 1])
    lab.until_true(
        lambda: (
            len([e for e in lab.log() if e["process"] == number]) > after
            or lab.children[-1].has_ended()
        ),
        f"line {after} of the log",
    )
    time.sleep(pause)
    return lab.kill()


def check(lab: Lab, told: dict[str, Outcome], killed: bool, journal: bool) -> None:
    """Check what became of the first turn's calls, whatever happened."""
    calls = {
        f"t1b{batch}c{n}": (name, x)
        for batch, made in enumerate(lab.options["script"][0])
        for n, (name, x, *_) in enumerate(made)
    }
    assert calls.keys() <= told.keys()
    lost = [call for call in calls if told[call].state == "lost"]
    assert killed or not lost
    for call, (name, x) in calls.items():
        check_value(lab, name, x, told[call], lost)
    found = lab.noted("found")
    for before in found[1:]:
        # Nothing that was there is gone.
        assert set(before["called"]) <= told.keys()
        check_starts(lab, calls, before, journal)


def check_value(lab: Lab, name: str, x: str, told: Outcome, lost: list[str]) -> None:
    """Check one outcome: what is told has been done, and what is safe is not lost."""
    if told.state == "resolved":
        assert told.text.startswith(f"{name} {x}")
        assert lab.ends(name, x) >= 1
    elif told.state == "lost":
        assert name not in SAFE
        assert f"{name} may or may not have taken effect" in told.text
    else:
        # Only a reference to something lost keeps a call from being run, and says so.
        assert lost
        assert "was not run, because future_" in told.text
        assert "lost" in told.text


def check_starts(
    lab: Lab, calls: dict[str, tuple[str, str]], found: dict[str, Any], journal: bool
) -> None:
    """Check that nothing that must not run twice has, given what a process found.

    Without a journal nobody knows whether a call has been started whose placeholder is written, so
    it never starts later. With one it may, if it was not; and a call whose message is saved does
    not start twice, placeholder or not.
    """
    known = {*found["pending"], *found["answered"]}
    for call, (name, x) in calls.items():
        if name in SAFE:
            continue
        processes = [event["process"] for event in lab.noted("start", tool=name, x=x)]
        later = [process for process in processes if process >= found["process"]]
        if call in (found["called"] if journal else known) and (
            call in found["answered"] or len(later) < len(processes)
        ):
            assert not later, (call, processes)
        if call in known:
            assert len(later) <= 1, (call, processes)


def check_once(lab: Lab, names: Iterable[str]) -> None:
    """Check that the calls of a turn that was not killed ran once."""
    for name in names:
        assert (lab.starts(name, "z"), lab.ends(name, "z")) == (1, 1)


@pytest.mark.parametrize("seed", range(FIRST, FIRST + CRASHES))
def test_killed_anywhere(make_lab: MakeLab, seed: int) -> None:
    """Wherever a process is killed, what it did is told, done once, and talked of on."""
    rng = random.Random(seed)
    lab = make(rng, make_lab)
    killed = kill_anywhere(lab, rng)
    if rng.random() < 0.4:
        killed |= kill_anywhere(lab, rng)
    first, second = lab.run(["turn", 1], ["turn", 2])
    told = first.check(1)
    check(lab, told, killed, lab.options["journal"])
    later = second.check(2)
    assert {call: later[call] for call in told} == told
    check_once(lab, ["pay", "look"])
