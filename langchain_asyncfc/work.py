"""Work: something that a step has done for it, in a form for threads and one for event loops."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

__all__ = ["Work"]


@dataclass(frozen=True, slots=True)
class Work:
    """Something that a step has done for it; see `waiting`.

    Attributes:
        run: Does it in a thread.
        arun: Does it on an event loop.
    """

    run: Callable[[], Any]
    arun: Callable[[], Awaitable[Any]]
