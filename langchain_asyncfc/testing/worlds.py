"""A fresh world for each run of a check, in any form that a fixture may have."""

from __future__ import annotations

import inspect
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any, TypeAlias

__all__ = ["World", "entered"]

World: TypeAlias = Callable[[], Any]
"""Makes a fresh world: returns a function that takes a snapshot of it, or a context manager around
one. All of them may be async."""


@asynccontextmanager
async def entered(state: World) -> AsyncIterator[Callable[[], Awaitable[Any]]]:
    """Make a world, and give what takes a snapshot of it.

    Raises:
        TypeError: When `state` does not make a snapshot function.
    """
    async with AsyncExitStack() as stack:
        made = await _awaited(state())
        if hasattr(made, "__aenter__"):
            made = await stack.enter_async_context(made)
        elif hasattr(made, "__enter__"):
            made = stack.enter_context(made)
        if not callable(made):
            msg = (
                f"state must make a function that takes a snapshot of the world, or a context "
                f"manager around one; it made {made!r}."
            )
            raise TypeError(msg)
        snapshot: Callable[[], Any] = made

        async def take() -> Any:
            return await _awaited(snapshot())

        yield take


async def _awaited(value: Any) -> Any:
    return await value if inspect.isawaitable(value) else value
