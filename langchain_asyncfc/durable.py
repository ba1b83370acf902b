"""What a step has done for good: LangGraph's tasks inside a step.

A step that stops with an interrupt is run again from its beginning when that is answered, and
what it would have returned is lost. A `langgraph.func.task` called in it is not: its result is
written to the checkpointer as soon as it is there, and when the step is run again the same call
gives that result without running. Tasks are known again by the order in which a step calls them.
An interrupt inside a task belongs to the task, so several can be open in one step, and answered in
any order.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

from langgraph.func import task

from langchain_asyncfc.work import Work

__all__ = ["asked", "once_for_all"]


def _look(look: Callable[[], Any]) -> Any:
    return look()


async def _alook(look: Callable[[], Any]) -> Any:
    return look()


def _run(run: Callable[[], Any]) -> Any:
    return run()


async def _arun(run: Callable[[], Awaitable[Any]]) -> Any:
    return await run()


_task: Any = task  # its types do not let functions of functions pass
_keep, _akeep = _task(name="asyncfc_kept")(_look), _task(name="asyncfc_kept")(_alook)
_ask, _aask = _task(name="asyncfc_asked")(_run), _task(name="asyncfc_asked")(_arun)


def once_for_all(look: Callable[[], Any]) -> Work:
    """Look at something once; when the step is run again, what was seen then is given again."""

    async def arun() -> Any:
        return await _akeep(look)

    return Work(lambda: _keep(look).result(), arun)


def asked(runs: Sequence[Callable[[], Any]], aruns: Sequence[Callable[[], Awaitable[Any]]]) -> Work:
    """Run calls beside each other, each of which may stop with an interrupt.

    Args:
        runs: The calls.
        aruns: The same on an event loop.

    Returns:
        Work that gives for each call what it returned, or the exception that it raised.
    """

    def run() -> list[Any]:
        return [_result(future) for future in [_ask(one) for one in runs]]

    async def arun() -> list[Any]:
        return await asyncio.gather(*[_aask(one) for one in aruns], return_exceptions=True)

    return Work(run, arun)


def _result(future: Any) -> Any:
    try:
        return future.result()
    except Exception as error:  # noqa: BLE001 - whoever asked for the result sorts it
        return error
