"""One clock for a record: for its event loop, and for the threads in which its tools run.

An event loop that keeps its own time, as one in virtual time does, is asked for it, from whatever
thread. Any other loop's time is the computer's, and then so is the record's.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Final

__all__ = ["Clock"]

_OWN_TIME: Final = 1.0
"""Seconds by which a loop's time differs from the computer's if it is a time of its own. The two
are the same clock, but a loop may look at it only once a round."""


class Clock:
    """Seconds since the first event, going on from one run to the next.

    Args:
        now: The time, in seconds, where it is not to be found out.
    """

    def __init__(self, now: Callable[[], float] | None = None) -> None:
        self._given = now
        self._now = now
        self._offset = 0.0
        self._last = 0.0
        self._loop: asyncio.AbstractEventLoop | None = None
        self.began: float | None = None

    def look(self) -> None:
        """Find out what time holds here: at the beginning of a run.

        A loop with a time of its own goes on where the last one stopped.
        """
        now = self._given or self._found()
        if self.began is None:
            self.began = time.time()
        elif now == self._now:
            return
        self._offset = self._last - now()
        self._now = now

    def _found(self) -> Callable[[], float]:
        try:
            loop = asyncio.get_running_loop()
        except RuntimeError:
            # Threads that a loop with its own time has started for its sync tools have its time.
            own = self._loop is not None and self._loop.is_running()
            return self._now if own and self._now is not None else time.monotonic
        if abs(loop.time() - time.monotonic()) < _OWN_TIME:
            self._loop = None
            return time.monotonic
        if loop is not self._loop:
            self._loop = loop
            return loop.time
        return self._now or loop.time

    def time(self) -> float:
        """Seconds since the first event."""
        if self._now is None:
            self.look()
        assert self._now is not None  # noqa: S101 - `look` has set it
        self._last = max(self._last, self._now() + self._offset)
        return self._last
