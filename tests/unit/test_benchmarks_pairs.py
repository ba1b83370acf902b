"""Tests of how two ways to do the same are compared."""

from __future__ import annotations

import pytest
from langchain_core.callbacks import CallbackManager

from benchmarks.pairs import Effort, Pairs, in_turn, unwatched
from langchain_asyncfc.runs import RunWatch, watch_runs


def _is_watched() -> bool:
    return any(isinstance(h, RunWatch) for h in CallbackManager.configure().handlers)


def test_the_side_without_the_package_is_not_watched() -> None:
    """What the hook costs is counted on one side only, and it is there again afterwards."""
    watch_runs()
    seen: dict[str, bool] = {}
    in_turn(
        lambda: seen.update(theirs=_is_watched()),
        lambda: seen.update(ours=_is_watched()),
        effort=Effort(0, least=2),
    )
    assert seen == {"theirs": False, "ours": True}
    assert _is_watched()


def test_the_hook_is_there_again_after_an_error() -> None:
    """An error in a measured function does not leave the process unwatched."""
    watch_runs()
    with pytest.raises(ZeroDivisionError), unwatched():
        raise ZeroDivisionError
    assert _is_watched()


def test_figures_are_medians_of_the_pairs() -> None:
    """One slow pair changes neither the difference nor the ratio."""
    pairs = Pairs([10.0, 10.0, 1000.0], [12.0, 12.0, 5000.0])
    assert pairs.base == 10.0
    assert pairs.extra[1] == 2.0
    assert pairs.ratio == 1.2
    assert pairs.best == 2.0


def test_times_are_given_a_unit() -> None:
    """A function that does several units is counted by what one takes, and each side keeps all."""
    effort = Effort(0, least=4)
    pairs = in_turn(lambda: sum(range(20_000)), lambda: None, effort=effort, units=10)
    assert len(pairs.theirs) == len(pairs.ours) == 4
    assert pairs.base > pairs.extra[1] + pairs.base


def test_quartiles_of_one_pair_are_its_own() -> None:
    pairs = Pairs([10.0], [12.5])
    assert pairs.extra == (2.5, 2.5, 2.5)


def test_a_median_is_known_when_its_pairs_agree() -> None:
    """Few pairs that lie apart do not say it to 2%; many do, and pairs that agree do."""
    apart = [100.0, 110.0, 120.0, 130.0, 140.0]
    assert not Pairs([100.0] * 5, apart).is_exact
    assert Pairs([100.0] * 2_000, apart * 400).is_exact
    assert Pairs([100.0] * 5, [120.0] * 5).is_exact


def test_pairs_end_when_the_median_is_known() -> None:
    """With time left, enough pairs that agree are enough, and never fewer than asked for."""
    calls: list[str] = []

    def theirs() -> None:
        sum(range(50_000))
        calls.append("theirs")

    pairs = in_turn(theirs, lambda: None, effort=Effort(30, least=5, many=8))
    assert 8 <= len(pairs.ours) < 10_000
    assert pairs.is_exact
    assert len(calls) >= len(pairs.ours)


def test_pairs_end_when_the_time_is_up() -> None:
    """A slow side is measured as often as asked for at least, and warmed up once only."""
    calls: list[int] = []
    in_turn(lambda: calls.append(0), lambda: None, effort=Effort(0, least=4, many=4))
    assert len(calls) == 5
