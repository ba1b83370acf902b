"""`AsyncFCMiddleware` next to middleware that wraps the model's calls."""

from __future__ import annotations

from typing import Any

import pytest
from langchain.agents import create_agent
from langchain.agents.middleware import (
    AgentMiddleware,
    LLMToolSelectorMiddleware,
    ModelFallbackMiddleware,
    ModelRetryMiddleware,
    ProviderToolSearchMiddleware,
    hook_config,
)
from langchain_core.messages import AIMessage, HumanMessage, SystemMessage
from langchain_core.runnables import Runnable, RunnableLambda
from pydantic import Field

from langchain_asyncfc import AsyncFCMiddleware
from langchain_asyncfc.testing import ScriptedChatModel, assert_valid_history, call
from tests.integration.agents.helpers import (
    PURE,
    Comparison,
    Later,
    Talk,
    ask,
    go,
    quiet,
    texts,
    unfinished,
)
from tests.integration.conftest import Gate, Mode, Workshop

FIRST = pytest.mark.parametrize("first", [True, False])
CONTROL = {"await_future", "cancel_future"}
DOWN = ConnectionError("down")


def tools(workshop: Workshop, gate: Gate) -> list[Any]:
    """A slow tool and a fast one."""
    return [workshop.tool("slow", gate, does=PURE), workshop.tool("fast", does=PURE)]


def two_turns() -> list[Any]:
    """Three calls."""
    return [
        ask(call("slow", "a", x="1"), call("fast", "b", x="2")),
        ask(call("slow", "c", x="3")),
    ]


def beside(fc: list[Any], other: Any, first: bool) -> list[Any]:
    """The middleware with another one, on either side."""
    return [other, *fc] if first else [*fc, other]


# -- ModelRetryMiddleware --------------------------------------------------------------------------


@FIRST
def test_model_retry(entry: Mode, first: bool) -> None:
    """A call of the model that is tried again is sent the same, and no tool runs twice."""

    def turns() -> list[Any]:
        one, two = two_turns()
        return [DOWN, DOWN, one, DOWN, two]

    def around(fc: list[Any]) -> list[Any]:
        return beside(fc, ModelRetryMiddleware(initial_delay=0, jitter=False), first)

    Comparison(tools, around, turns).check(entry)


@FIRST
def test_model_retry_that_raises(entry: Mode, first: bool) -> None:
    """What is left is raised by the run; what ran is cancelled."""

    def around(fc: list[Any]) -> list[Any]:
        retry = ModelRetryMiddleware(
            max_retries=1, on_failure="error", initial_delay=0, jitter=False
        )
        return beside(fc, retry, first)

    Comparison(
        lambda workshop, _: [workshop.tool("fast", does=PURE)],
        around,
        lambda: [ask(call("fast", "a", x="1")), DOWN, DOWN],
    ).check(entry, slow=False)


@FIRST
def test_model_retry_that_gives_up(entry: Mode, gate: Gate, first: bool) -> None:
    """A message that the model failed is an answer that comes too early; the model is asked again.

    Without unfinished calls it is the answer, as without futures.
    """
    retry = ModelRetryMiddleware(max_retries=1, initial_delay=0, jitter=False)

    def open_and_fail(_: Any) -> Any:
        gate.open()
        raise DOWN

    talk = Talk([ask(call("slow", "a", x="1")), open_and_fail, DOWN])
    agent = create_agent(
        talk.model,
        tools(Workshop(), gate),
        middleware=beside([AsyncFCMiddleware()], retry, first),
    )
    messages = entry.run(agent, go())["messages"]
    assert texts(messages) == ["slow(1)"]
    assert messages[-1].text == "done"


# -- ModelFallbackMiddleware -----------------------------------------------------------------------


@FIRST
def test_model_fallback(entry: Mode, first: bool) -> None:
    """The other model gets the same tools and messages, and goes on with the futures."""
    other_calls: list[Any] = []

    def around(fc: list[Any]) -> list[Any]:
        other = ScriptedChatModel.replies([ask(call("fast", "z", x="by the other"))])
        other_calls.append(other)
        return beside(fc, ModelFallbackMiddleware(other), first)

    def turns() -> list[Any]:
        return [two_turns()[0], DOWN, two_turns()[1]]

    result = Comparison(tools, around, turns).check(entry)
    bound = [{tool["function"]["name"] for tool in k["tools"]} for k in other_calls[-1].call_kwargs]
    assert bound == [{"slow", "fast", *CONTROL}]
    assert texts(result.messages)[2] == "fast(by the other)"


# -- LLMToolSelectorMiddleware ---------------------------------------------------------------------


class Selector(ScriptedChatModel):
    """Chooses tools, and keeps what it was offered."""

    chosen: list[str]
    offered: list[set[str]] = Field(default_factory=list)

    def with_structured_output(self, schema: Any, **_: Any) -> Runnable[Any, Any]:
        """The choice."""
        found = str(schema)
        self.offered.append({n for n in ("slow", "fast", *CONTROL) if f"'{n}'" in found})
        return RunnableLambda(lambda _: {"tools": self.chosen})


def bound(talk: Talk) -> list[set[str]]:
    """The names of the tools that the model was bound to, call by call."""
    return [{tool["function"]["name"] for tool in k["tools"]} for k in talk.model.call_kwargs]


@pytest.mark.parametrize("always", [True, False])
@FIRST
def test_tool_selector(first: bool, always: bool) -> None:
    """Only what is selected is bound. Control tools stay where the selector goes first."""

    def around(fc: list[Any]) -> list[Any]:
        keep = sorted(CONTROL) if always and fc else None
        model = Selector(policy=lambda _: "", chosen=["slow"], offered=[])
        selector = LLMToolSelectorMiddleware(model=model, max_tools=1, always_include=keep)
        return beside(fc, selector, first)

    result = Comparison(tools, around, lambda: [ask(call("slow", "a", x="1"))]).check(
        Mode("ainvoke")
    )
    control = CONTROL if first or always else set()
    assert bound(result.talk) == [{"slow", *control}] * 3


def test_tool_selector_is_offered_tools_only(entry: Mode) -> None:
    """With the control tools always included, they take no place from others."""
    model = Selector(policy=lambda _: "", chosen=["fast"], offered=[])
    selector = LLMToolSelectorMiddleware(model=model, max_tools=1, always_include=sorted(CONTROL))
    talk = Talk([])
    agent = create_agent(
        talk.model, tools(Workshop(), Gate()), middleware=[selector, AsyncFCMiddleware()]
    )
    entry.run(agent, go())
    assert model.offered == [{"slow", "fast"}]


# -- ProviderToolSearchMiddleware ------------------------------------------------------------------


class Anthropic(ScriptedChatModel):
    """Says that it is a model by Anthropic."""

    def _get_ls_params(self, stop: Any = None, **kwargs: Any) -> Any:
        return {"ls_provider": "anthropic", "ls_model_type": "chat"}

    def bind_tools(self, tools: Any, **kwargs: Any) -> Any:
        """Keep the tools as they are given."""
        BOUND.append(list(tools))
        return super().bind_tools([t for t in tools if not isinstance(t, dict)], **kwargs)


BOUND: list[list[Any]] = []


@FIRST
def test_provider_tool_search(entry: Mode, gate: Gate, first: bool) -> None:
    """Deferred tools stay deferred when widened, and the search tool is bound as it is."""
    BOUND.clear()
    gate.open()
    talk = Talk([ask(call("slow", "a", x="1")), ask(call("fast", "b", x="future_1"))])
    agent = create_agent(
        Anthropic(policy=talk.model.policy),
        tools(Workshop(), gate),
        middleware=beside(
            [AsyncFCMiddleware()], ProviderToolSearchMiddleware(searchable_tools=["slow"]), first
        ),
    )
    assert texts(entry.run(agent, go())["messages"]) == ["slow(1)", "fast(slow(1))"]
    assert len(BOUND) >= 3
    for tools_ in BOUND:
        own = {tool.name: tool for tool in tools_ if not isinstance(tool, dict)}
        deferred = {n for n, tool in own.items() if (tool.extras or {}).get("defer_loading")}
        assert set(own) == {"slow", "fast", *CONTROL}
        assert deferred == {"slow"}
        assert "await_result" in own["slow"].args
        assert len([tool for tool in tools_ if isinstance(tool, dict)]) == 1


# -- custom middleware -----------------------------------------------------------------------------


class Prompt(AgentMiddleware[Any, Any, Any]):
    """Notes the system message and the tools, and replaces the former."""

    def __init__(self, text: str | None) -> None:
        super().__init__()
        self._text = text
        self.seen: list[tuple[str, list[str]]] = []

    def _changed(self, request: Any) -> Any:
        old = request.system_message.text if request.system_message else ""
        self.seen.append((old, [tool.name for tool in request.tools]))
        if self._text is None:
            return request
        return request.override(system_message=SystemMessage(self._text))

    def wrap_model_call(self, request: Any, handler: Any) -> Any:
        """Around each call."""
        return handler(self._changed(request))

    async def awrap_model_call(self, request: Any, handler: Any) -> Any:
        """Around each call."""
        return await handler(self._changed(request))


def test_system_message_of_a_middleware(entry: Mode) -> None:
    """Before this middleware, the instructions come after another's system message."""
    prompt = Prompt("Be kind.")
    talk = Talk([])
    agent = create_agent(
        talk.model, tools(Workshop(), Gate()), middleware=[prompt, AsyncFCMiddleware()]
    )
    entry.run(agent, go())
    sent = talk.calls[0][0].text
    assert sent.startswith("Be kind.\n\nTools run in the background.")


def test_what_a_middleware_after_it_sees(entry: Mode) -> None:
    """After this middleware, another sees the widened tools, and may take the instructions away."""
    prompt = Prompt("Be kind.")
    talk = Talk([])
    agent = create_agent(
        talk.model,
        tools(Workshop(), Gate()),
        middleware=[AsyncFCMiddleware(), prompt],
        system_prompt="First.",
    )
    entry.run(agent, go())
    old, names = prompt.seen[0]
    assert old.startswith("First.\n\nTools run in the background.")
    assert sorted(names) == sorted(["slow", "fast", *CONTROL])
    assert talk.calls[0][0].text == "Be kind."


class Guard(AgentMiddleware[Any, Any, Any]):
    """Sends the model's first answer back, or ends the run there."""

    def __init__(self, to: str) -> None:
        super().__init__()
        self._to = to
        self.looked = 0

    @hook_config(can_jump_to=["model", "end"])
    def after_model(self, state: Any, runtime: Any) -> dict[str, Any] | None:
        """Look at what the model says."""
        said_last = next(m for m in reversed(state["messages"]) if isinstance(m, AIMessage))
        if said_last.tool_calls or self.looked:
            return None
        self.looked += 1
        said = [HumanMessage("Are you sure?")] if self._to == "model" else []
        return {"jump_to": self._to, "messages": said}


@pytest.mark.parametrize("delivery", ["in_place", "append"])
@pytest.mark.parametrize("to", ["model", "end"])
@FIRST
def test_a_middleware_that_jumps(first: bool, to: str, delivery: Any) -> None:
    """A jump passes by this middleware's own look at the answer; nothing is lost all the same."""
    talk = Talk([ask(call("slow", "a", x="1")), "too early", ask(call("fast", "b", x="2"))])
    agent = create_agent(
        talk.model,
        tools(Workshop(), Later()),
        middleware=beside([AsyncFCMiddleware(delivery=delivery)], Guard(to), first),
    )
    with quiet():
        messages = Mode("ainvoke").run(agent, go())["messages"]
    assert_valid_history(messages)
    assert not unfinished(messages)
    assert any("slow(1)" in m.text for m in messages)
    assert talk.saw("slow(1)") or (to == "end" and not first)
    assert any(m.text == "Are you sure?" for m in messages) == (to == "model")
