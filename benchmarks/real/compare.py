"""How sure figures over some tasks are, and how two ways compare on the same tasks."""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final, TypeVar

from benchmarks.summary import percentile

_Z: Final = 1.96
"""Standard deviations to either side that hold 95% of a normal distribution."""

_DRAWS: Final = 2_000
"""Of a bootstrap; its limits then are stable to about a hundredth of their distance."""

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Interval:
    """Limits between which a figure lies with 95% confidence."""

    low: float
    high: float


def share(good: int, number: int) -> Interval:
    """Of a share: Wilson's score interval.

    Source: E. B. Wilson, Journal of the American Statistical Association 22 (1927).
    """
    if not number:
        return Interval(0.0, 1.0)
    found, square = good / number, _Z**2 / number
    middle = (found + square / 2) / (1 + square)
    spread = _Z * math.sqrt(found * (1 - found) / number + square / number / 4) / (1 + square)
    return Interval(max(0.0, middle - spread), min(1.0, middle + spread))


def mcnemar(lost: int, won: int) -> float:
    """The chance of such a difference between equals: McNemar's exact test, two-sided.

    Args:
        lost: Pairs that only the first got right.
        won: Pairs that only the second got right.

    Source: Q. McNemar, Psychometrika 12 (1947).
    """
    number = lost + won
    tail = sum(math.comb(number, k) for k in range(min(lost, won) + 1)) / 2.0**number
    return float(min(1.0, 2 * tail))


def bootstrap(pairs: Sequence[T], figure: Callable[[Sequence[T]], float]) -> Interval:
    """Of any figure over pairs, which are drawn again and again, with the same draws each time.

    Source: B. Efron, Annals of Statistics 7 (1979); the percentile interval.
    """
    rng = random.Random("bootstrap")
    drawn = [figure(rng.choices(pairs, k=len(pairs))) for _ in range(_DRAWS)]
    return Interval(percentile(drawn, 0.025), percentile(drawn, 0.975))
