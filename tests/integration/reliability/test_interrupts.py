"""Rule 20: `interrupt()` in tools, on both faces, in threads and on event loops.

Each case is compared with the same agent without futures: the history is the same but for
`await_future`, each call ends once, and what asks nobody also begins once.
"""

from __future__ import annotations

from collections.abc import Mapping

import pytest

from langchain_asyncfc import Effects
from tests.integration.reliability.interrupts import (
    FOREGROUND,
    PURE,
    WAYS,
    Case,
    How,
    Way,
    check_same,
    opened,
)

READS = Effects(reads="db:")
WRITES = Effects(writes="db:")

A, B, C = {"x": "a"}, {"x": "b"}, {"x": "c"}
LATE, ASKED = "turn 1", "asked"

ONE = {
    "alone": Case(lambda d: [d.ask()], [[("ask", A)]]),
    "alone-pure": Case(lambda d: [d.ask("ask", PURE)], [[("ask", A)]]),
    "alone-foreground": Case(lambda d: [d.ask("ask", FOREGROUND)], [[("ask", A)]]),
    "with-fast": Case(
        lambda d: [d.ask(), d.work()], [[("work", A), ("ask", A), ("work", B)], [("work", C)]]
    ),
    "with-fast-pure": Case(
        lambda d: [d.ask("ask", PURE), d.work("work", PURE)],
        [[("work", A), ("ask", A), ("work", B)], [("work", C)]],
    ),
    "with-fast-foreground": Case(
        lambda d: [d.ask("ask", FOREGROUND), d.work()],
        [[("work", A), ("ask", A), ("work", B)], [("work", C)]],
    ),
    "with-slow": Case(
        lambda d: [d.ask(), d.work("slow", until=ASKED)],
        [[("slow", A), ("ask", A), ("slow", B)], [("slow", C)]],
    ),
    "with-slow-pure": Case(
        lambda d: [d.ask("ask", PURE), d.work("slow", PURE, until=ASKED)],
        [[("slow", A), ("ask", A), ("slow", B)], [("slow", C)]],
    ),
    "with-slow-foreground": Case(
        lambda d: [d.ask("ask", FOREGROUND), d.work("slow", until="turn 0")],
        [[("slow", A), ("ask", A), ("slow", B)], [("slow", C)]],
    ),
    "older-run": Case(
        lambda d: [d.ask("ask", PURE), d.work("slow", PURE, until=ASKED)],
        [[("slow", A), ("slow", B)], [("ask", A)], [("slow", C)]],
    ),
    "older-run-foreground": Case(
        lambda d: [
            d.ask("ask", Effects(foreground=True)),
            d.work("slow", PURE, until=LATE),
        ],
        [[("slow", A), ("slow", B)], [("ask", A)], [("slow", C)]],
    ),
    "older-write": Case(
        lambda d: [d.ask("ask", WRITES), d.work("slow", READS, until=LATE)],
        [[("slow", A), ("slow", B)], [("ask", A)], [("slow", C)]],
    ),
    "placed": Case(
        lambda d: [d.ask("ask", PURE, until=LATE), d.work("work", PURE)],
        [[("ask", A), ("work", A)], [("work", B)], [("work", C)]],
    ),
    "placed-undeclared": Case(
        lambda d: [d.ask(until=LATE), d.work()],
        [[("ask", A), ("work", A)], [("work", B)], [("work", C)]],
    ),
    "placed-slow": Case(
        lambda d: [
            d.ask("ask", PURE, until=LATE),
            d.work("slow", PURE, until=ASKED),
            d.work("work", PURE),
        ],
        [[("slow", A), ("ask", A)], [("slow", B), ("work", A)], [("work", B)]],
    ),
    "end-of-turn": Case(lambda d: [d.ask(until=LATE), d.work()], [[("ask", A), ("work", A)]]),
    "end-of-turn-slow": Case(
        lambda d: [d.ask("ask", PURE, until=LATE), d.work("slow", PURE, until=ASKED)],
        [[("slow", A), ("ask", A), ("slow", B)]],
    ),
    "await-future": Case(
        lambda d: [d.ask("ask", PURE, until=LATE), d.work("work", PURE)],
        [[("ask", A), ("work", A)], [("await_future", {"futures": ["future_1"]})], [("work", B)]],
    ),
    "await-future-all": Case(
        lambda d: [d.ask("ask", PURE, until=LATE), d.work("slow", PURE, until=ASKED)],
        [[("ask", A), ("slow", A)], [("await_future", {}), ("slow", B)], [("slow", C)]],
    ),
    "await-result": Case(
        lambda d: [d.ask("ask", PURE), d.work("slow", PURE, until=ASKED)],
        [[("ask", {**A, "await_result": True}), ("slow", A)], [("slow", B)]],
    ),
    "await-result-all": Case(
        lambda d: [d.ask("ask", PURE, until=LATE), d.work("work", PURE)],
        [[("ask", A)], [("work", {**A, "await_result": "all"})], [("work", B)]],
    ),
    "referred-to": Case(
        lambda d: [d.ask("ask", PURE), d.work("work", PURE)],
        [[("ask", A), ("work", {"x": "future_1"})], [("work", {"x": "<${future_1}>"})]],
        flat=True,
    ),
    "waited-for": Case(
        lambda d: [d.ask(until=LATE), d.work()], [[("ask", A)], [("work", A)], [("work", B)]]
    ),
    "waited-for-by-write": Case(
        lambda d: [d.ask("ask", WRITES, until=LATE), d.work("work", READS), d.work("other", PURE)],
        [[("ask", A), ("other", A)], [("work", A), ("other", B)], [("work", B)]],
    ),
}
"""One tool asks once."""

SEVERAL = {
    "same-message": Case(
        lambda d: [d.ask("ask"), d.ask("ask_too", PURE)],
        [[("ask", A), ("ask_too", A), ("ask", B)]],
    ),
    "same-message-pure": Case(
        lambda d: [d.ask("ask", PURE), d.work("slow", PURE, until=ASKED)],
        [[("ask", A), ("slow", A), ("ask", B), ("ask", C)], [("slow", B)]],
    ),
    "messages": Case(
        lambda d: [d.ask("ask", PURE, until=LATE), d.ask("ask_too", PURE, until=ASKED)],
        [[("ask", A)], [("ask_too", A)]],
        stops=2,
    ),
    "placed-and-not": Case(
        lambda d: [
            d.ask("ask", PURE, until=LATE),
            d.ask("ask_too", PURE),
            d.work("slow", PURE, until=ASKED),
        ],
        [[("ask", A), ("slow", A)], [("ask_too", A), ("slow", B)], [("slow", C)]],
        stops=2,
    ),
    "twice": Case(
        lambda d: [d.ask("ask", PURE, times=2), d.work("work", PURE)],
        [[("ask", A), ("work", A)], [("work", B)]],
        stops=2,
    ),
    "twice-alone": Case(lambda d: [d.ask(times=2)], [[("ask", A)]], stops=2),
    "in-a-loop": Case(
        lambda d: [d.ask("ask", PURE, times=5), d.ask("ask_too", PURE, times=2)],
        [[("ask", A), ("ask_too", A), ("ask", B)]],
        stops=5,
    ),
    "in-a-loop-placed": Case(
        lambda d: [
            d.ask("ask", PURE, times=3, until=LATE),
            d.ask("ask_too", PURE, times=2, until=LATE),
            d.work("work", PURE),
        ],
        [[("ask", A), ("ask_too", A)], [("work", A)], [("work", B)]],
        stops=3,
    ),
    "by-reference": Case(
        lambda d: [d.ask("ask", PURE), d.work("work", PURE)],
        [[("ask", A), ("ask", {"x": "future_1"}), ("work", A)], [("work", B)]],
        stops=2,
        flat=True,
    ),
    "by-reference-placed": Case(
        lambda d: [d.ask("ask", PURE, until=LATE), d.ask("ask_too", PURE), d.work("work", PURE)],
        [[("ask", A)], [("ask_too", {"x": "<${future_1}>"}), ("work", A)]],
        stops=2,
    ),
    "hazard": Case(
        lambda d: [d.ask("ask", WRITES), d.work("work", PURE)],
        [[("ask", A), ("ask", B), ("work", A)], [("work", B)]],
        stops=2,
    ),
    "hazard-placed": Case(
        lambda d: [d.ask("ask", WRITES, until=LATE), d.work("work", PURE)],
        [[("ask", A), ("work", A)], [("ask", B)], [("work", B)]],
        stops=2,
    ),
    "placed-beside-one-that-refers": Case(
        lambda d: [d.ask("ask", PURE, until=LATE), d.ask("ask_too", PURE), d.work("work", PURE)],
        [[("ask", A)], [("work", {"x": "<${future_1}>"}), ("ask_too", A)]],
    ),
    "placed-beside-one-that-writes": Case(
        lambda d: [
            d.ask("ask", WRITES, until=LATE),
            d.ask("ask_too", PURE),
            d.work("work", WRITES),
        ],
        [[("ask", A)], [("work", B), ("ask_too", A)]],
    ),
    "placed-twice-beside-one-that-refers": Case(
        lambda d: [d.ask("ask", PURE, until=LATE, times=2), d.ask("ask_too", PURE)],
        [[("ask", A)], [("ask_too", A), ("ask_too", {"x": "<${future_1}>"})]],
        stops=3,
    ),
    "undeclared-after-another": Case(
        lambda d: [d.ask(until=LATE), d.ask("ask_too"), d.work()],
        [[("ask", A)], [("ask_too", A)], [("work", A)]],
        stops=2,
    ),
    "twins": Case(
        lambda d: [d.ask("ask", PURE), d.work("work", PURE)],
        [[("ask", A), ("ask", A), ("work", A)], [("work", B)]],
        stops=2,
        shared=2,
    ),
    "twins-placed": Case(
        lambda d: [d.ask("ask", PURE, until=LATE), d.work("work", PURE)],
        [[("ask", A), ("work", A)], [("ask", A)], [("work", B)]],
        stops=2,
        shared=2,
    ),
    "one-at-once": Case(
        lambda d: [d.ask("ask", PURE), d.work("work", PURE)],
        [[("ask", A), ("work", A), ("ask", B), ("work", B)], [("work", C)]],
        {"max_concurrency": 1},
    ),
    "one-at-once-placed": Case(
        lambda d: [d.ask("ask", PURE, until=LATE), d.work("work", PURE)],
        [[("ask", A), ("work", A), ("ask", B)], [("work", B)]],
        {"max_concurrency": 1},
    ),
}
"""Several things are asked."""

CASES = {**ONE, **SEVERAL}


def crossed(cases: Mapping[str, Case]) -> pytest.MarkDecorator:
    """Each case in half of the ways: both faces, in threads and on event loops.

    The ways of delivery take turns, so that every two cases are met in all.
    """
    return pytest.mark.parametrize(
        ("case", "way"),
        [
            pytest.param(case, way, id=f"{name}-{way}")
            for number, (name, case) in enumerate(cases.items())
            for way in WAYS
            if (way.delivery == "append") == (number + way.is_async) % 2
        ],
    )


@crossed(CASES)
def test_answered_at_once(case: Case, way: Way) -> None:
    """What is asked together is answered together, and all comes out as without futures."""
    desk, talk = opened(case, way)
    check_same(case, desk, talk.talk("map"))
    assert len(talk.stops) <= case.stops or not way.is_async


@crossed(ONE)
def test_answered_by_a_single_value(case: Case, way: Way) -> None:
    """Where one thing is asked, the answer need not name it."""
    desk, talk = opened(case, way)
    check_same(case, desk, talk.talk("value"))


@pytest.mark.parametrize("how", ["first", "last"])
@crossed(SEVERAL)
def test_answered_one_by_one(case: Case, way: Way, how: How) -> None:
    """The order of answers does not matter."""
    desk, talk = opened(case, way)
    check_same(case, desk, talk.talk(how))
