"""Eager start with every client: its calls start from its stream, and are taken up."""

from __future__ import annotations

from typing import Any

import pytest
from langchain_core.messages import ToolMessage
from langchain_core.tools import BaseTool, tool
from langgraph.config import get_config

from langchain_asyncfc import effects
from tests.integration.providers.clients import Service
from tests.integration.providers.conftest import StartTalk
from tests.integration.providers.conversation import Reply, View, ask, say, script, together
from tests.integration.providers.faces import FACES
from tests.integration.providers.settings import Setting


class Places:
    """A tool that says in which step of the graph it was started.

    Attributes:
        ran: The argument and the step of each run, in order.
    """

    def __init__(self) -> None:
        self.ran: list[tuple[int, str]] = []

    def tools(self) -> list[BaseTool]:
        """The tool."""

        @effects()
        @tool
        async def look(x: int = 0) -> str:
            """Look."""
            step = get_config()["configurable"]["checkpoint_ns"].partition(":")[0]
            self.ran.append((x, step))
            return f"<look:{x}>"

        return [look]

    def open(self) -> None:
        """There is no gate."""


@pytest.mark.parametrize("entry", ["invoke", "ainvoke", "stream", "astream"])
@pytest.mark.parametrize("face", FACES)
def test_calls_start_from_the_stream_and_run_once(
    service: Service, start_talk: StartTalk, entry: Any, face: str
) -> None:
    """Each tool runs once, in the model's step, and the model reads what it returned."""
    places: Any = Places()

    def last(view: View) -> Reply:
        assert view.of("look") == ["<look:1>", "<look:2>"], view
        return say("Done.")

    calls = together(ask("look", x=1, await_result=True), ask("look", x=2, await_result=True))
    talk = start_talk(service, Setting(entry, face=face), places, script(calls, last), eager=True)
    messages = talk.say()
    model_step = "agent" if face == "node" else "model"
    assert sorted(places.ran) == [(1, model_step), (2, model_step)]
    told = [m.text for m in messages if isinstance(m, ToolMessage)]
    assert told == ["<look:1>", "<look:2>"]
    assert all(m.usage_metadata for m in messages if m.type == "ai")
