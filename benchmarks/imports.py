"""How long it takes to import the package, over what LangGraph takes by itself."""

from __future__ import annotations

import subprocess
import sys
from typing import Final

from benchmarks.pairs import Pairs

__all__ = ["import_times"]

_THEIRS: Final = "import langgraph.graph, langgraph.prebuilt"
_OURS: Final = f"{_THEIRS}, langchain_asyncfc"
_TIMED: Final = "import time; began = time.process_time(); {}; print(time.process_time() - began)"


def import_times(pairs: int) -> Pairs:
    """Microseconds to import a graph and its tool node, without the package and with it.

    Each in a new process, in turn.
    """
    found: tuple[list[float], list[float]] = ([], [])
    for n in range(-1, pairs):
        for side, statement in zip(found, (_THEIRS, _OURS), strict=True):
            seconds = _seconds(statement)
            if n >= 0:  # the first finds the files on the disk
                side.append(seconds * 1e6)
    return Pairs(*found)


def _seconds(statement: str) -> float:
    command = [sys.executable, "-c", _TIMED.format(statement)]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
    return float(done.stdout)
