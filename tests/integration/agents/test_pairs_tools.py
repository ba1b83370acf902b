"""`AsyncFCMiddleware` next to middleware that wraps tool calls."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from langchain.agents import create_agent
from langchain.agents.middleware import (
    AgentMiddleware,
    LLMToolEmulator,
    ToolErrorMiddleware,
    ToolRetryMiddleware,
)
from langchain_core.messages import AIMessage, ToolMessage

from langchain_asyncfc import AsyncFCMiddleware, Effects
from langchain_asyncfc.testing import ScriptedChatModel, assert_valid_history, call
from tests.integration.agents.helpers import PURE, Comparison, Talk, answers, ask, go, quiet, texts
from tests.integration.conftest import Gate, Mode, Workshop

RETRY: dict[str, Any] = {"initial_delay": 0.0, "jitter": False, "backoff_factor": 0.0}


class Flaky:
    """Fails as often as it is told, then gives a text."""

    def __init__(self, failures: int) -> None:
        self.left = failures

    def __call__(self, x: Any) -> str:
        if self.left:
            self.left -= 1
            msg = f"{self.left} left"
            raise ConnectionError(msg)
        return f"got {x}"


def flaky_and_steady(failures: int) -> Callable[[Workshop, Gate], list[Any]]:
    """Makes a tool that fails a few times, and one that does not."""

    def make(workshop: Workshop, gate: Gate) -> list[Any]:
        return [
            workshop.tool("flaky", gate, result=Flaky(failures), does=PURE),
            workshop.tool("steady", gate, does=PURE),
        ]

    return make


def two_batches() -> list[Any]:
    """Both tools at once, then one of them again."""
    return [
        ask(call("flaky", "a", x="1"), call("steady", "b", x="2")),
        ask(call("steady", "c", x="3")),
    ]


# -- ToolRetryMiddleware ---------------------------------------------------------------------------


@pytest.mark.parametrize("failures", [0, 1, 5])
def test_tool_retry(entry: Mode, failures: int) -> None:
    """A call that fails in the background is tried again there, and its last result is kept."""
    result = Comparison(
        flaky_and_steady(failures),
        lambda fc: [*fc, ToolRetryMiddleware(max_retries=2, **RETRY)],
        two_batches,
    ).check(entry)
    assert result.workshop.started().count("flaky") == min(failures, 2) + 1


def test_tool_retry_raises(entry: Mode) -> None:
    """What is left after the last try is raised by the run."""
    Comparison(
        flaky_and_steady(5),
        lambda fc: [*fc, ToolRetryMiddleware(max_retries=1, on_failure="error", **RETRY)],
        lambda: [ask(call("flaky", "a", x="1"))],
    ).check(entry)


def test_tool_retry_of_one_tool(entry: Mode) -> None:
    """A tool that is not retried fails as it does without futures."""
    Comparison(
        flaky_and_steady(1),
        lambda fc: [*fc, ToolRetryMiddleware(tools=["steady"], **RETRY)],
        lambda: [ask(call("flaky", "a", x="1"), call("steady", "b", x="2"))],
    ).check(entry)


def test_dependents_of_a_call_that_fails_for_good(entry: Mode, make_gate: type[Gate]) -> None:
    """A call that waits for a retried one is run with its value, or told of its failure."""
    for failures, expected in ((1, "use(got 1)"), (5, "ConnectionError")):
        gate, workshop = make_gate(), Workshop()
        talk = Talk(
            [ask(call("flaky", "a", x="1")), ask(call("use", "b", x="future_1"))], gates=[gate]
        )
        tools = [*flaky_and_steady(failures)(workshop, gate), workshop.tool("use", does=PURE)]
        middleware = [AsyncFCMiddleware(), ToolRetryMiddleware(max_retries=1, **RETRY)]
        final = entry.run(create_agent(talk.model, tools, middleware=middleware), go())
        assert expected in texts(final["messages"])[1]


# -- ToolErrorMiddleware ---------------------------------------------------------------------------


def only_connection_errors(error: Exception, request: Any) -> str | None:
    """What a model is told of connection errors; others are raised."""
    if isinstance(error, ConnectionError):
        return f"{request.tool_call['name']} is down: {error}"
    return None


def test_tool_error(entry: Mode) -> None:
    """An error in the background becomes the text that the middleware gives."""
    result = Comparison(
        flaky_and_steady(1),
        lambda fc: [*fc, ToolErrorMiddleware(only_connection_errors)],
        two_batches,
    ).check(entry)
    assert texts(result.messages)[0] == "flaky is down: 0 left"
    assert answers(result.messages)[0].status == "error"


def test_tool_error_passes_others_on(entry: Mode) -> None:
    """An error that the middleware does not handle is raised by the run."""
    Comparison(
        lambda workshop, gate: [workshop.tool("bad", gate, error=KeyError("x"), does=PURE)],
        lambda fc: [*fc, ToolErrorMiddleware(only_connection_errors)],
        lambda: [ask(call("bad", "a"))],
    ).check(entry)


def test_tool_error_around_retries(entry: Mode) -> None:
    """Three of them: the error middleware sees what the retries leave."""
    Comparison(
        flaky_and_steady(9),
        lambda fc: [
            *fc,
            ToolErrorMiddleware(only_connection_errors),
            ToolRetryMiddleware(max_retries=2, on_failure="error", **RETRY),
        ],
        two_batches,
    ).check(entry)


# -- LLMToolEmulator -------------------------------------------------------------------------------


def emulator(prompts: list[str]) -> ScriptedChatModel:
    """A model that makes up results."""

    def policy(messages: Any) -> str:
        prompts.append(messages[-1].text)
        return f"made up for {messages[-1].text.split('Arguments: ')[1].split(chr(10))[0]}"

    return ScriptedChatModel(policy=policy)


@pytest.mark.parametrize("emulated", [None, ["flaky"]])
def test_emulator(entry: Mode, emulated: Any) -> None:
    """Emulated calls run in the background like others; control calls are never emulated."""
    prompts: list[str] = []
    Comparison(
        flaky_and_steady(0),
        lambda fc: [*fc, LLMToolEmulator(tools=emulated, model=emulator(prompts))],
        two_batches,
    ).check(entry, slow=emulated is not None)
    assert not any("await_future" in prompt for prompt in prompts)


def test_emulator_sees_values(entry: Mode, make_gate: type[Gate]) -> None:
    """The emulating model gets the value of a future, and is never asked for a control call."""
    gate, workshop, prompts = make_gate(), Workshop(), []
    talk = Talk(
        [ask(call("steady", "a", x="1")), ask(call("flaky", "b", x="future_1"))],
        gates=[gate],
    )
    agent = create_agent(
        talk.model,
        flaky_and_steady(0)(workshop, gate),
        middleware=[AsyncFCMiddleware(), LLMToolEmulator(tools=["flaky"], model=emulator(prompts))],
    )
    final = entry.run(agent, go())
    assert texts(final["messages"]) == ["steady(1)", "made up for {'x': 'steady(1)'}"]
    assert len(prompts) == 1


# -- custom middleware -----------------------------------------------------------------------------


class Spy(AgentMiddleware[Any, Any, Any]):
    """Notes what goes through, and marks what comes back."""

    def __init__(self, name: str) -> None:
        super().__init__()
        self._name = name
        self.log: list[tuple[Any, str]] = []

    @property
    def name(self) -> str:
        """One for each."""
        return self._name

    def _done(self, request: Any, result: Any) -> Any:
        self.log.append((request.tool_call["args"].get("x"), result.text))
        return result.model_copy(update={"content": f"{result.text}<{self._name}>"})

    def wrap_tool_call(self, request: Any, handler: Callable[[Any], Any]) -> Any:
        """Around each call."""
        return self._done(request, handler(request))

    async def awrap_tool_call(self, request: Any, handler: Callable[[Any], Awaitable[Any]]) -> Any:
        """Around each call."""
        return self._done(request, await handler(request))


def test_custom_wrapper_inside(entry: Mode) -> None:
    """A wrapper after this middleware sees results, and what it makes of them is kept."""
    spies: list[Spy] = []

    def middleware(fc: list[Any]) -> list[Any]:
        spies.append(Spy("spy"))
        return [*fc, spies[-1]]

    result = Comparison(flaky_and_steady(0), middleware, two_batches).check(entry)
    assert texts(result.messages)[1] == "steady(2)<spy>"
    assert all(sorted(spy.log) == sorted(spies[0].log) for spy in spies)


def test_custom_wrapper_outside(entry: Mode, make_gate: type[Gate]) -> None:
    """A wrapper before this middleware sees references and placeholders, and may mark those."""
    gate, workshop, spy = make_gate(), Workshop(), Spy("spy")
    talk = Talk(
        [ask(call("flaky", "a", x="1")), ask(call("steady", "b", x="future_1"))], gates=[gate]
    )
    agent = create_agent(
        talk.model,
        flaky_and_steady(0)(workshop, gate),
        middleware=[spy, AsyncFCMiddleware()],
    )
    final = entry.run(agent, go())
    assert [args for args, _ in spy.log][:2] == ["1", "future_1"]
    assert all("is running" in text for _, text in spy.log[:2])
    assert texts(final["messages"]) == ["got 1", "steady(got 1)"]


class Adds(AgentMiddleware[Any, Any, Any]):
    """Adds a field to an argument, as one that knows the user would."""

    def _added(self, request: Any) -> Any:
        made = request.tool_call
        args = {"x": {"of": made["args"]["x"], "user": "ann"}}
        return request.override(tool_call={**made, "args": args})

    def wrap_tool_call(self, request: Any, handler: Callable[[Any], Any]) -> Any:
        """Around each call."""
        return handler(self._added(request))

    async def awrap_tool_call(self, request: Any, handler: Callable[[Any], Awaitable[Any]]) -> Any:
        """Around each call."""
        return await handler(self._added(request))


@pytest.mark.parametrize("first", [True, False])
def test_wrapper_that_changes_arguments(entry: Mode, make_gate: type[Gate], first: bool) -> None:
    """What a wrapper puts around an argument leaves the model's reference in it what it is."""
    gate, workshop = make_gate(), Workshop()
    talk = Talk(
        [
            ask(call("flaky", "a", x="1"), call("steady", "b", x="2")),
            ask(call("steady", "c", x="3"), call("steady", "d", x="future_1")),
        ],
        gates=[gate],
    )
    own = AsyncFCMiddleware()
    middleware = [Adds(), own] if first else [own, Adds()]
    agent = create_agent(talk.model, flaky_and_steady(0)(workshop, gate), middleware=middleware)
    with quiet():
        final = entry.run(agent, go())
    value = str({"of": "1", "user": "ann"})
    assert len(workshop.inputs) == 4
    assert ("steady", {"of": f"got {value}", "user": "ann"}) in workshop.inputs
    assert_valid_history(final["messages"])


class Short(AgentMiddleware[Any, Any, Any]):
    """Answers calls to one tool itself."""

    def __init__(self, tool: str) -> None:
        super().__init__()
        self._tool = tool

    def _short(self, request: Any) -> ToolMessage | None:
        made = request.tool_call
        if made["name"] != self._tool:
            return None
        return ToolMessage("short cut", tool_call_id=made["id"], name=made["name"])

    def wrap_tool_call(self, request: Any, handler: Callable[[Any], Any]) -> Any:
        """Answer, or pass on."""
        return self._short(request) or handler(request)

    async def awrap_tool_call(self, request: Any, handler: Callable[[Any], Awaitable[Any]]) -> Any:
        """Answer, or pass on."""
        return self._short(request) or await handler(request)


@pytest.mark.parametrize(("first", "undeclared"), [(True, True), (False, True), (True, False)])
def test_wrapper_that_answers_itself(entry: Mode, first: bool, undeclared: bool) -> None:
    """A call that another wrapper answers runs nothing, and holds nobody up."""

    def tools(workshop: Workshop, gate: Gate) -> list[Any]:
        return [
            workshop.tool("cached", gate, does=None if undeclared else PURE),
            workshop.tool("steady", gate, does=PURE),
        ]

    result = Comparison(
        tools,
        lambda fc: [Short("cached"), *fc] if first else [*fc, Short("cached")],
        lambda: [
            ask(call("cached", "a", x="1"), call("steady", "b", x="2")),
            ask(call("cached", "c", x="3")),
            ask(call("steady", "d", x="4"), call("cached", "e", x="5")),
        ],
    ).check(entry)
    assert "cached" not in result.workshop.started()


class Twice(AgentMiddleware[Any, Any, Any]):
    """Calls its handler twice."""

    def wrap_tool_call(self, request: Any, handler: Callable[[Any], Any]) -> Any:
        """Once, and once more."""
        handler(request)
        return handler(request)

    async def awrap_tool_call(self, request: Any, handler: Callable[[Any], Awaitable[Any]]) -> Any:
        """Once, and once more."""
        await handler(request)
        return await handler(request)


def test_wrapper_that_calls_twice_outside(entry: Mode, make_gate: type[Gate]) -> None:
    """A wrapper that hands a call in twice starts it once, and gets the same future twice."""
    gate, workshop = make_gate(), Workshop()
    talk = Talk([ask(call("steady", "a", x="1"))], gates=[gate])
    tools = [workshop.tool("steady", gate, does=PURE)]
    agent = create_agent(talk.model, tools, middleware=[Twice(), AsyncFCMiddleware()])
    final = entry.run(agent, go())
    assert texts(final["messages"]) == ["steady(1)"]
    assert workshop.started() == ["steady"]


def test_effects_hold_with_wrappers(entry: Mode) -> None:
    """Calls that conflict keep their order, however many wrappers stand around them."""
    log: list[str] = []

    def tools(workshop: Workshop, gate: Gate) -> list[Any]:
        writes = Effects(writes="db:x")
        return [
            workshop.tool("write", gate, result=log.append, does=writes),
            workshop.tool("read", result=lambda _: log[-1], does=Effects(reads="db:x")),
        ]

    result = Comparison(
        tools,
        lambda fc: [*fc, Spy("a"), ToolRetryMiddleware(**RETRY), Spy("b")],
        lambda: [
            ask(call("write", "a", x="1")),
            ask(call("read", "b")),
            ask(call("write", "c", x="2")),
            ask(call("read", "d")),
        ],
    ).check(entry)
    assert [m.text[0] for m in answers(result.messages) if m.name == "read"] == ["1", "2"]
    assert isinstance(result.messages[-1], AIMessage)
