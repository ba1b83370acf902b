"""Things of which a process has one."""

from __future__ import annotations

import functools
import threading
from collections.abc import Callable
from typing import TypeVar

__all__ = ["once"]

_T = TypeVar("_T")


def once(make: Callable[[], _T]) -> Callable[[], _T]:
    """Have a function run once in a process, though several threads call it first.

    `functools.cache` alone would let each of them run it.
    """
    lock = threading.Lock()
    made: list[_T] = []

    @functools.wraps(make)
    def get() -> _T:
        if not made:
            with lock:
                if not made:
                    made.append(make())
        return made[0]

    return get
