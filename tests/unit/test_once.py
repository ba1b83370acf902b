"""One of a kind in a process."""

from __future__ import annotations

import threading

from langchain_asyncfc.executors.threads import background_loop, worker_pool
from langchain_asyncfc.once import once


def test_first_callers_at_once_get_the_same() -> None:
    """While one thread makes it, the others wait, and all get what it made."""
    begun, go_on = threading.Event(), threading.Event()
    made: list[object] = []

    @once
    def thing() -> object:
        begun.set()
        assert go_on.wait(10)
        made.append(object())
        return made[-1]

    got: list[object] = []
    threads = [threading.Thread(target=lambda: got.append(thing())) for _ in range(4)]
    for thread in threads:
        thread.start()
    assert begun.wait(10)
    go_on.set()
    for thread in threads:
        thread.join(10)
    assert len(made) == 1
    assert got == made * 4


def test_the_runtime_has_one_loop_and_one_pool() -> None:
    """Whoever asks gets the same ones."""
    assert background_loop() is background_loop()
    assert worker_pool() is worker_pool()
