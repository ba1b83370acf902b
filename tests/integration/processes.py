"""Processes that tests start, to interrupt them as Ctrl-C does."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def interruptible() -> Iterator[None]:
    """What is started here can be interrupted, even where the tests themselves cannot.

    A process ignores the signals that the one that started it ignored, and shells start background
    jobs so that they ignore SIGINT.
    """
    before = signal.getsignal(signal.SIGINT)
    if before is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
