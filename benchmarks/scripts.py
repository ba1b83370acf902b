"""What runs under load do, and what must come of it: drawn from a seed.

A run is a script of 20 calls in messages of one to four. A tenth of the calls raise, a tenth are
ended by their timeout, a tenth hang until the model cancels them, and a tenth refer to an earlier
call, which may be one of those. A tenth of the runs are stopped on the way.
"""

from __future__ import annotations

import asyncio
import random
import re
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Final

from langchain_core.messages import AIMessage, BaseMessage, HumanMessage, ToolCall, ToolMessage

from langchain_asyncfc.testing import assert_valid_history

CALLS: Final = 20
SHARE: Final = 0.1
TIMEOUT: Final = 0.05
PATIENCE: Final = 20.0
"""Seconds after which a hanging sync tool gives up; it is let go long before."""


class Fate(StrEnum):
    """What comes of a call."""

    RETURNS = "returned"
    RAISES = "raised"
    TIMES_OUT = "timed out"
    CANCELLED = "cancelled"
    SKIPPED = "skipped"


TEXT: Final = {
    Fate.RAISES: "tool failed on purpose",
    Fate.TIMES_OUT: f"timeout of {TIMEOUT:g} seconds",
    Fate.CANCELLED: "was cancelled",
    Fate.SKIPPED: "was not run, because",
}
_TOOLS: Final = {Fate.RAISES: "fail", Fate.TIMES_OUT: "outlast", Fate.CANCELLED: "hang"}


@dataclass(frozen=True, slots=True)
class Script:
    """One run.

    Attributes:
        fates: What must come of each call.
        results: What each call that returns must return.
        messages: The calls of each message of the model, those to `cancel_future` among them.
        stop: The message before which the run is stopped; `None` if it comes to its end.
        raises: Whether it is stopped by an error of the model; if not, it is cancelled.
    """

    fates: tuple[Fate, ...]
    results: tuple[str, ...]
    messages: tuple[tuple[ToolCall, ...], ...]
    stop: int | None
    raises: bool


def _call(name: str, call_id: str, **args: Any) -> ToolCall:
    return ToolCall(name=name, args=args, id=call_id, type="tool_call")


def write_script(run: int, seed: int) -> Script:
    """Draw a run's script."""
    draw = random.Random(f"{seed}/{run}")
    fates: list[Fate] = []
    results: list[str] = []
    messages: list[tuple[ToolCall, ...]] = []
    hanging: list[str] = []
    while len(fates) < CALLS or hanging:
        calls = []
        if hanging:
            calls = [_call("cancel_future", f"cancel_{len(messages)}", futures=hanging)]
            hanging = []
        for _ in range(min(draw.randint(1, 4), CALLS - len(fates))):
            n, chance = len(fates), int(draw.random() / SHARE)
            fate = dict(enumerate(_TOOLS)).get(chance, Fate.RETURNS)
            args: dict[str, Any] = {"run": run, "n": n}
            result = f"{run}:{n}"
            if fate is Fate.RETURNS:
                args["seconds"] = draw.choice((0.0, 0.0, 0.005, 0.02, 0.1))
                if n and chance == len(_TOOLS):
                    other = draw.randrange(n)
                    args["seen"] = f"future_{other + 1}"
                    fate = Fate.RETURNS if fates[other] is Fate.RETURNS else Fate.SKIPPED
                    result = f"{run}:{n}<{results[other]}"
            if fate is Fate.CANCELLED:
                hanging.append(f"future_{n + 1}")
            calls.append(_call(_TOOLS.get(fate, "work"), f"own_{n}", **args))
            fates.append(fate)
            results.append(result)
        messages.append(tuple(calls))
    stopped = draw.random() < SHARE
    stop = draw.randrange(1, len(messages)) if stopped else None
    return Script(tuple(fates), tuple(results), tuple(messages), stop, draw.random() < 0.5)  # noqa: PLR2004


class RunStopped(Exception):
    """The error of a model, on purpose."""


class Ledger:
    """What the model and the tools themselves note of the calls of some runs.

    Attributes:
        scripts: By run.
        tasks: The task of each run on the event loop.
        wrong: What is not as it must be, in words.
    """

    def __init__(self, scripts: Sequence[Script]) -> None:
        self.scripts = scripts
        self.tasks: dict[int, asyncio.Task[Any]] = {}
        self.wrong: list[str] = []
        # Made at once, so that the ledger itself does not grow.
        self.begun = bytearray(len(scripts) * CALLS)
        self.ended = bytearray(len(scripts) * CALLS)
        self._told = bytearray(len(scripts) * CALLS)
        self._news = [threading.Condition() for _ in scripts]
        self._lock = threading.Lock()

    @contextmanager
    def note(self, run: int, n: int) -> Iterator[None]:
        """Note that a call begins and ends, however it ends."""
        with self._lock:
            self.begun[run * CALLS + n] += 1
        try:
            yield
        finally:
            with self._lock:
                self.ended[run * CALLS + n] += 1

    def block(self, run: int, n: int) -> None:
        """Block a thread until the model was told what came of the call."""
        with self._news[run]:
            self._news[run].wait_for(lambda: self._told[run * CALLS + n], PATIENCE)

    def tell(self, run: int, calls: Sequence[int]) -> None:
        """Let go of calls."""
        with self._news[run]:
            for n in calls:
                self._told[run * CALLS + n] = 1
            self._news[run].notify_all()

    def reply(self, messages: Sequence[BaseMessage]) -> AIMessage:
        """The model: the next message of the script that the user's message names."""
        assert_valid_history(messages, for_model_call=True)
        run = int(next(m for m in messages if isinstance(m, HumanMessage)).text)
        self.tell(run, [n for n, _ in delivered(messages)])
        script = self.scripts[run]
        said = [int(str(m.id).split("/")[1]) for m in messages if isinstance(m, AIMessage)]
        turn = max(said, default=-1) + 1
        if turn == script.stop:
            if script.raises or run not in self.tasks:
                raise RunStopped
            self.tasks[run].cancel()
        calls = list(script.messages[turn]) if turn < len(script.messages) else []
        usage = {"input_tokens": 0, "output_tokens": 0, "total_tokens": 0}
        text = "" if calls else "Done."
        return AIMessage(text, id=f"{run}/{turn}", tool_calls=calls, usage_metadata=usage)

    def check(self, run: int, messages: Sequence[BaseMessage] | None) -> None:
        """Compare what came of a run with its script.

        Args:
            run: The run.
            messages: Its messages; `None` if it was stopped.
        """
        script = self.scripts[run]
        if (messages is None) != (script.stop is not None):
            self.wrong.append(f"run {run} did not end as it had to")
        if messages is None:
            return
        assert_valid_history(messages)
        told = list(delivered(messages))
        for n, fate in enumerate(script.fates):
            texts = [text for number, text in told if number == n]
            if len(texts) != 1 or not _fits(texts[0], fate, script.results[n]):
                self.wrong.append(f"run {run}: call {n} {fate}, but {texts} was delivered")

    def check_calls(self) -> None:
        """Check that each call ran at most once and to its end, and those that must ran."""
        for run, script in enumerate(self.scripts):
            for n, fate in enumerate(script.fates):
                begun, ended = self.begun[run * CALLS + n], self.ended[run * CALLS + n]
                least = script.stop is None and fate in (Fate.RETURNS, Fate.RAISES)
                if begun != ended or not least <= begun <= (fate is not Fate.SKIPPED):
                    self.wrong.append(f"run {run}: call {n} began {begun}, ended {ended} times")


def _fits(text: str, fate: Fate, result: str) -> bool:
    return text == result if fate is Fate.RETURNS else TEXT[fate] in text


_RIDER: Final = re.compile(r"(?:^|\n\n)\[future_(\d+)\] ")


def delivered(messages: Sequence[BaseMessage]) -> Iterator[tuple[int, str]]:
    """Every outcome that stands in a history, with its call: as an answer, or riding on one."""
    for message in messages:
        if not isinstance(message, ToolMessage):
            continue
        own, *riders = _RIDER.split(message.text)
        kind, _, number = message.tool_call_id.partition("_")
        if kind == "own" and not own.startswith(f"future_{int(number) + 1} is running"):
            yield int(number), own
        for future, text in zip(riders[::2], riders[1::2], strict=True):
            yield int(future) - 1, text
