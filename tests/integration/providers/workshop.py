"""Tools that end when a script says so, in threads and on event loops."""

from __future__ import annotations

import asyncio
import threading
from dataclasses import dataclass, field
from typing import Any

from langchain_core.tools import BaseTool, StructuredTool, ToolException

from langchain_asyncfc import effects

PATIENCE = 20.0
"""Seconds of wall time after which a gate that nobody opens fails its test."""


class Gate:
    """Holds a tool until it is opened, by any thread."""

    def __init__(self, *, is_open: bool = False) -> None:
        self.entered = threading.Event()
        self.left = threading.Event()
        self._lock = threading.Lock()
        self._open = threading.Event()
        self._waiting: list[tuple[asyncio.AbstractEventLoop, asyncio.Event]] = []
        if is_open:
            self._open.set()

    def open(self) -> None:
        """Let everybody through, from now on."""
        with self._lock:
            self._open.set()
            waiting, self._waiting = self._waiting, []
        for loop, event in waiting:
            if not loop.is_closed():
                loop.call_soon_threadsafe(event.set)

    def wait(self) -> None:
        """Stand at the gate in this thread."""
        self.entered.set()
        assert self._open.wait(PATIENCE), "nobody opened the gate"
        self.left.set()

    async def wait_async(self) -> None:
        """Stand at the gate on this event loop."""
        event = asyncio.Event()
        with self._lock:
            if not self._open.is_set():
                self._waiting.append((asyncio.get_running_loop(), event))
            else:
                event.set()
        self.entered.set()
        async with asyncio.timeout(PATIENCE):
            await event.wait()
        self.left.set()


@dataclass(slots=True)
class Workshop:
    """The tools of a test.

    Attributes:
        always_open: Whether gates hold nobody, as in a synchronous run.
        gates: By name.
        inputs: What each tool was called with, in order.
        native: Names of the tools that are marked as asynchronous.
        foreground: Names of the tools that never become futures.
    """

    always_open: bool = False
    gates: dict[str, Gate] = field(default_factory=dict)
    inputs: list[tuple[str, Any]] = field(default_factory=list)
    native: frozenset[str] = frozenset()
    foreground: frozenset[str] = frozenset()

    def gate(self, name: str) -> Gate:
        """The gate of a tool."""
        return self.gates.setdefault(name, Gate(is_open=self.always_open))

    def open(self, *names: str) -> None:
        """Open gates; all of them, when none is named."""
        for name in names or tuple(self.gates):
            self.gate(name).open()

    def tools(self) -> list[BaseTool]:
        """`slow`, `slower` and `broken`, which stand at their gates, and others that do not.

        `blocks` and `empty` stand at the gate of `slow`; one returns two content blocks, the other
        an empty text.
        """
        return [
            self._tool("slow", gate="slow"),
            self._tool("slower", gate="slower"),
            self._tool("broken", gate="broken"),
            self._tool("fast"),
            self._tool("join"),
            self._tool("blocks", gate="slow"),
            self._tool("empty", gate="slow"),
        ]

    def _tool(self, name: str, *, gate: str = "") -> BaseTool:
        held = self.gate(gate) if gate else None

        def end(x: Any) -> Any:
            if name == "broken":
                raise ToolException("the disk is full")
            if name == "blocks":
                return [{"type": "text", "text": f"<blocks:{x}{part}>"} for part in "ab"]
            if name == "empty":
                return ""
            return f"<{name}:{x}>"

        def run(x: Any = None) -> str:
            self.inputs.append((name, x))
            if held is not None:
                held.wait()
            return end(x)

        async def arun(x: Any = None) -> str:
            self.inputs.append((name, x))
            if held is not None:
                await held.wait_async()
            return end(x)

        made = StructuredTool.from_function(
            run,
            arun,
            name=name,
            description=f"The tool {name}.",
            args_schema=_ARGS,
            handle_tool_error=True,  # what every kind of agent does the same with
            extras={"async": True} if name in self.native else None,
        )
        return effects(foreground=name in self.foreground)(made)


_ARGS: dict[str, Any] = {
    "type": "object",
    "properties": {
        "x": {"anyOf": [{"type": "integer"}, {"type": "string"}], "description": "What to take."}
    },
}
