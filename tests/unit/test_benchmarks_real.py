"""The benchmark with a real model: what it keeps, what it guesses, what it calls significant."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from benchmarks.real.cache import Cache, Record, file_name, key
from benchmarks.real.compare import bootstrap, mcnemar, share
from benchmarks.real.costs import Prices, Tokens, in_words
from benchmarks.real.models import is_hopeless, may_pass, status_of, told
from benchmarks.real.report import compared

RECORD = Record(
    key="a",
    model="openai:any",
    workload="W1",
    task="task",
    way="a",
    seed=0,
    at="2026-01-01T00:00:00+00:00",
    versions="",
    concurrency=1,
    valid=True,
    acted=[[0, "cd", {"folder": "ü"}]],
)


def pair(seconds: float, other: float, *, right: tuple[bool, bool]) -> tuple[Record, Record]:
    one = replace(RECORD, seconds=seconds, valid=right[0])
    return one, replace(RECORD, way="d", seconds=other, valid=right[1])


def test_ways_are_compared_on_the_same_tasks() -> None:
    """Speedups are of all time together and of single runs; accuracy counts pairs that differ."""
    found = compared(
        [
            pair(10, 5, right=(True, True)),
            pair(10, 10, right=(True, False)),
            pair(4, 1, right=(False, True)),
            pair(6, 4, right=(False, True)),
        ]
    )
    assert (found.pairs, found.lost, found.won, found.right) == (4, 1, 2, 1)
    assert found.difference == 0.25
    assert found.speedup == 30 / 20
    assert sorted(found.each) == [1.0, 1.5, 2.0, 4.0]
    assert found.speedup_right == 2.0
    assert found.speedup_around.low <= 1.5 <= found.speedup_around.high
    assert compared([pair(1, 1, right=(False, True))]).speedup_right is None


class Answered(Exception):
    """An error of a service, as clients raise it."""

    def __init__(self, status: int) -> None:
        super().__init__(f"status {status}")
        self.status_code = status


def test_records_are_read_again(tmp_path: Path) -> None:
    """What was added is there when the file is opened again, and the last line of a key counts."""
    cache = Cache(tmp_path / "folder" / "runs.jsonl")
    cache.add(replace(RECORD, failure="no answer"))
    cache.add(replace(RECORD, key="b"))
    assert cache.finished("a") is None
    assert cache.last("a") is not None
    cache.add(RECORD)
    again = Cache(cache.path)
    assert again.finished("a") == RECORD
    assert again.finished("b") == replace(RECORD, key="b")
    assert again.torn == 0


@pytest.mark.parametrize("kept", range(1, 60, 7))
def test_a_torn_line_is_left_out(tmp_path: Path, kept: int) -> None:
    """Wherever a line is torn, those before and after it are read."""
    path = tmp_path / "runs.jsonl"
    cache = Cache(path)
    cache.add(RECORD)
    whole = path.read_bytes()
    path.write_bytes(whole + whole[:kept])
    torn = Cache(path)
    assert (torn.finished("a"), torn.torn) == (RECORD, 1)
    torn.add(replace(RECORD, key="b"))
    again = Cache(path)
    assert (again.finished("a"), again.torn) == (RECORD, 1)
    assert again.finished("b") == replace(RECORD, key="b")


def test_a_line_torn_at_its_end_is_whole(tmp_path: Path) -> None:
    """A record whose line break alone is missing counts, and the next one does not touch it."""
    path = tmp_path / "runs.jsonl"
    Cache(path).add(RECORD)
    path.write_bytes(path.read_bytes()[:-1])
    cache = Cache(path)
    cache.add(replace(RECORD, key="b"))
    again = Cache(path)
    assert again.finished("a")
    assert again.finished("b")
    assert again.torn == 0


def test_a_line_with_half_a_letter_is_left_out(tmp_path: Path) -> None:
    """Bytes that are no text are a torn line too."""
    path = tmp_path / "runs.jsonl"
    path.write_bytes(b'{"key": "\xc3\n')
    assert Cache(path).torn == 1


def test_keys_tell_runs_apart() -> None:
    """The same parts have the same key, in any order; others have another."""
    assert key({"a": 1, "b": 2}) == key({"b": 2, "a": 1}) != key({"a": 1, "b": 3})


def test_names_of_models_are_names_of_files() -> None:
    """Nothing in a model's name leads to another folder."""
    assert file_name("openai:org/name-1.5") == "openai-org-name-1.5"


def test_intervals_of_shares() -> None:
    """Wilson's interval, with values from its formula worked out by hand."""
    assert (share(0, 0).low, share(0, 0).high) == (0.0, 1.0)
    assert share(10, 10).low == pytest.approx(0.7225, abs=1e-4)
    assert share(10, 10).high == pytest.approx(1.0)
    assert share(5, 10).low == pytest.approx(0.2366, abs=1e-4)
    assert share(5, 10).high == pytest.approx(0.7634, abs=1e-4)


def test_chance_of_a_difference() -> None:
    """McNemar's exact test is a sign test on the pairs that differ."""
    assert mcnemar(0, 0) == 1.0
    assert mcnemar(3, 3) == 1.0
    assert mcnemar(0, 5) == mcnemar(5, 0) == pytest.approx(2 / 32)
    assert mcnemar(1, 5) == pytest.approx(2 * (1 + 6) / 64)


def test_bootstrap_holds_the_figure() -> None:
    """The limits lie around the mean, nearer the more pairs there are, the same each time."""

    def mean(values: object) -> float:
        assert isinstance(values, list)
        return sum(values) / len(values)

    few, many = (bootstrap([0.0, 1.0] * number, mean) for number in (5, 50))
    assert few.low < many.low < 0.5 < many.high < few.high
    assert many == bootstrap([0.0, 1.0] * 50, mean)


def test_costs_in_words() -> None:
    """Without prices there are tokens, with them dollars too."""
    tokens = Tokens(1_500_000, 20_000) + Tokens(500_000, 0)
    assert in_words(tokens, None) == "2,000,000 tokens in and 20,000 out"
    assert in_words(tokens, Prices(2.0, 10.0)).endswith(" out, 4.20 USD")


@pytest.mark.parametrize(
    ("error", "hopeless", "passing"),
    [
        (Answered(401), True, False),
        (Answered(404), True, False),
        (Answered(400), False, False),
        (Answered(429), False, True),
        (Answered(503), False, True),
        (ConnectionRefusedError("refused"), True, True),
        (TimeoutError("slow"), False, True),
        (TypeError("no key"), True, True),
    ],
)
def test_what_errors_mean(error: Exception, hopeless: bool, passing: bool) -> None:
    """A missing key or service ends everything, a busy one only puts off."""
    assert (is_hopeless(error), may_pass(error)) == (hopeless, passing)


def test_errors_are_told_with_their_cause() -> None:
    """A client's error that hides what happened is told with the error below it, on one line."""
    error = RuntimeError("Connection error.\n")
    error.__cause__ = ConnectionRefusedError("nobody\nlistens")
    assert told(error) == "RuntimeError: Connection error. nobody listens."
    assert status_of(error) is None
    assert len(told(RuntimeError("x" * 10_000))) < 600
