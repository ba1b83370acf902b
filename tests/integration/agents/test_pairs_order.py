"""Which orders of middleware `create_agent` refuses, and that those it names work."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import pytest
from langchain.agents import create_agent
from langchain.agents.middleware import (
    AgentMiddleware,
    ContextEditingMiddleware,
    FilesystemFileSearchMiddleware,
    HumanInTheLoopMiddleware,
    LLMToolEmulator,
    LLMToolSelectorMiddleware,
    ModelCallLimitMiddleware,
    ModelFallbackMiddleware,
    ModelRetryMiddleware,
    PIIMiddleware,
    ProviderToolSearchMiddleware,
    ShellToolMiddleware,
    SummarizationMiddleware,
    TodoListMiddleware,
    ToolCallLimitMiddleware,
    ToolErrorMiddleware,
    ToolRetryMiddleware,
)
from langchain_core.runnables import Runnable, RunnableLambda
from langgraph.checkpoint.memory import InMemorySaver

from langchain_asyncfc import AsyncFCMiddleware
from langchain_asyncfc.testing import ScriptedChatModel, call
from tests.integration.agents.helpers import PURE, Talk, ask, go, texts
from tests.integration.conftest import Gate, Mode, Workshop

Make = Callable[[], AgentMiddleware[Any, Any, Any]]


def model() -> ScriptedChatModel:
    """A model that is never called."""
    return ScriptedChatModel.replies([])


class Chooser(ScriptedChatModel):
    """Chooses the slow tool."""

    def with_structured_output(self, schema: Any, **_: Any) -> Runnable[Any, Any]:
        """The choice."""
        return RunnableLambda(lambda _: {"tools": ["slow"]})


class OwnRetry(ToolRetryMiddleware):
    """A user's subclass."""


AFTER: dict[str, Make] = {
    "tool retry": lambda: ToolRetryMiddleware(initial_delay=0, jitter=False),
    "a subclass": lambda: OwnRetry(initial_delay=0, jitter=False),
    "tool error": lambda: ToolErrorMiddleware(lambda *_: None),
    "emulator": lambda: LLMToolEmulator(tools=[], model=model()),
    "limit of all": lambda: ToolCallLimitMiddleware(run_limit=9),
    "per call": lambda: HumanInTheLoopMiddleware({"pay": True}, interrupt_mode="per_call"),
}
BEFORE: dict[str, Make] = {
    "batched": lambda: HumanInTheLoopMiddleware({"pay": True}),
    "shell": ShellToolMiddleware,
}
EITHER: dict[str, Make] = {
    "limit of one": lambda: ToolCallLimitMiddleware(tool_name="slow", run_limit=9),
    "model limit": lambda: ModelCallLimitMiddleware(run_limit=9),
    "model retry": ModelRetryMiddleware,
    "fallback": lambda: ModelFallbackMiddleware(model()),
    "todos": TodoListMiddleware,
    "summary": lambda: SummarizationMiddleware(model(), trigger=("messages", 99)),
    "context": ContextEditingMiddleware,
    "pii": lambda: PIIMiddleware("email", apply_to_output=True),
    "selector": lambda: LLMToolSelectorMiddleware(model=Chooser(policy=lambda _: "")),
    "search": ProviderToolSearchMiddleware,
    "files": lambda: FilesystemFileSearchMiddleware(root_path="/nowhere"),
}


def build(*middleware: Any, gate: Gate | None = None) -> tuple[Any, Talk]:
    """An agent with this middleware."""
    gate = gate or Gate()
    talk = Talk([ask(call("slow", x="1"))], gates=[gate])
    tools = [Workshop().tool("slow", gate, does=PURE)]
    agent = create_agent(talk.model, tools, middleware=middleware, checkpointer=InMemorySaver())
    return agent, talk


def works(agent: Any, talk: Talk) -> None:
    """Assert that a slow call is answered late."""
    config = {"configurable": {"thread_id": "t"}}
    messages = Mode("ainvoke").run(agent, go(), config)["messages"]
    assert talk.placeholders == 1
    assert "slow(1)" in (texts(messages)[-1] + messages[-2].text)


def refused(*middleware: Any) -> list[str]:
    """The order that the error names."""
    with pytest.raises(ValueError, match=r"create_agent: .* has to stand") as raised:
        build(*middleware)
    found = re.search(r"middleware=\[(.*)\]\.$", str(raised.value))
    assert found is not None, raised.value
    return found[1].split(", ")


@pytest.mark.parametrize("name", AFTER)
def test_must_stand_after(name: str) -> None:
    """What needs results is refused in front, and works behind, in the order that is named."""
    other = AFTER[name]()
    assert refused(other, AsyncFCMiddleware()) == ["AsyncFCMiddleware", other.name]
    works(*build(AsyncFCMiddleware(), AFTER[name]()))


@pytest.mark.parametrize("name", BEFORE)
def test_must_stand_before(name: str) -> None:
    """What asks for all calls at once, or frees what tools need, is refused behind."""
    other = BEFORE[name]()
    assert refused(AsyncFCMiddleware(), other) == [other.name, "AsyncFCMiddleware"]
    if name != "shell":  # it has tests of its own
        works(*build(BEFORE[name](), AsyncFCMiddleware()))


@pytest.mark.parametrize("first", [True, False])
@pytest.mark.parametrize("name", EITHER)
def test_may_stand_on_either_side(name: str, first: bool) -> None:
    """The others work on either side."""
    other = EITHER[name]()
    own = AsyncFCMiddleware()
    works(*build(*([other, own] if first else [own, other])))


def test_wrong_place_among_many() -> None:
    """The error names the one that stands wrong."""
    right = [TodoListMiddleware(), AsyncFCMiddleware(), ToolRetryMiddleware()]
    wrong = ToolErrorMiddleware(lambda *_: None)
    assert refused(*right[:1], wrong, *right[1:]) == ["AsyncFCMiddleware", wrong.name]


def test_all_of_them_together(entry: Mode, gate: Gate) -> None:
    """Everything that ships, in the documented order, in one agent."""
    agent, talk = build(
        BEFORE["batched"](),
        AsyncFCMiddleware(),
        *[make() for name, make in AFTER.items() if name not in ("per call", "a subclass")],
        *[make() for make in EITHER.values()],
        gate=gate,
    )
    config = {"configurable": {"thread_id": "t"}}
    messages = entry.run(agent, go(), config)["messages"]
    assert talk.placeholders == 1
    assert any("slow(1)" in message.text for message in messages)
