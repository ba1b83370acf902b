"""How long it takes to import the package, over what LangGraph takes by itself."""

from __future__ import annotations

import subprocess
import sys
import time
from typing import Final

from benchmarks.pairs import Effort, Pairs

__all__ = ["import_times"]

_THEIRS: Final = "import langgraph.graph, langgraph.prebuilt"
_OURS: Final = f"{_THEIRS}, langchain_asyncfc"
_TIMED: Final = "import time; began = time.process_time(); {}; print(time.process_time() - began)"


def import_times(effort: Effort) -> Pairs:
    """Microseconds to import a graph and its tool node, without the package and with it.

    Each in a new process, in turn. This process has found the files on the disk already.
    """
    began = time.monotonic()
    pairs = Pairs([], [])
    while len(pairs.ours) < effort.least or time.monotonic() - began < effort.seconds:
        pairs.theirs.append(_seconds(_THEIRS) * 1e6)
        pairs.ours.append(_seconds(_OURS) * 1e6)
    return pairs


def _seconds(statement: str) -> float:
    command = [sys.executable, "-c", _TIMED.format(statement)]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
    return float(done.stdout)
