"""Eager start through `create_agent` and `AsyncFCMiddleware`."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

import pytest
from langchain.agents import create_agent
from langchain.agents.middleware import (
    AgentMiddleware,
    HumanInTheLoopMiddleware,
    ModelFallbackMiddleware,
    ModelRequest,
    ModelResponse,
    ModelRetryMiddleware,
    PIIMiddleware,
    TodoListMiddleware,
    ToolCallLimitMiddleware,
    ToolRetryMiddleware,
)
from langchain_core.language_models.fake_chat_models import FakeMessagesListChatModel
from langchain_core.messages import AIMessage, HumanMessage, ToolMessage
from langchain_core.tools import BaseTool
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.types import Command

from langchain_asyncfc import AsyncFCMiddleware
from langchain_asyncfc.testing import (
    ManualExecutor,
    ScriptedChatModel,
    assert_valid_history,
    call,
    in_virtual_time,
)
from tests.integration import conftest as parts
from tests.integration import (
    test_rules_failure,
    test_rules_model_view,
    test_rules_order,
    test_rules_state,
)
from tests.integration.agents import test_create_agent_rules as agents
from tests.integration.eager_agents import PACE, Clocked, CutModel
from tests.integration.test_eager_rules import _LEFT_OUT as DIFFERENT

_LEFT_OUT = {*DIFFERENT, *agents._LEFT_OUT}


@pytest.fixture
def mode() -> parts.Mode:
    """On an event loop in virtual time; in threads the node's tests are run."""
    return parts.Mode("ainvoke")


@pytest.fixture
def make_agent() -> parts.MakeAgent:
    """Builds an agent by `create_agent` whose calls may start early."""

    def make(*args: Any, **options: Any) -> Any:
        eager = "executor" not in options
        return agents._make_agent(*args, eager=eager, **options)

    return make


for _module in (test_rules_order, test_rules_model_view, test_rules_failure, test_rules_state):
    globals().update(parts.agent_tests(_module, _LEFT_OUT, prefix="test_rule_"))


# -- what is special to create_agent ---------------------------------------------------------------


def _agent(
    tools: Sequence[BaseTool],
    replies: Sequence[Any],
    *others: AgentMiddleware,
    before: Sequence[AgentMiddleware] = (),
    cuts: Sequence[int | None] = (),
    checkpointer: Any = None,
    **options: Any,
) -> Any:
    """An agent whose model takes its time; see `eager_agents`."""
    script = [*replies, "done"]
    said = iter(range(1000))
    model = CutModel(
        policy=lambda _: script[min(next(said), len(script) - 1)],
        cuts=list(cuts),
        check_history=True,
        **PACE,
    )
    middleware = AsyncFCMiddleware(eager=True, instructions="", **options)
    return create_agent(
        model, list(tools), middleware=[*before, middleware, *others], checkpointer=checkpointer
    )


async def _run(agent: Any) -> list[Any]:
    before = asyncio.all_tasks()
    final = await agent.ainvoke({"messages": [HumanMessage("go")]})
    assert asyncio.all_tasks() == before
    assert_valid_history(final["messages"])
    return list(final["messages"])


TWO = AIMessage("", tool_calls=[call("look", "c1", x=1), call("look", "c2", x=2)])
EARLY = [("look(1)", 3.0), ("look(2)", 5.0)]
LATE = [("look(1)", 5.0), ("look(2)", 5.0)]


@in_virtual_time
async def test_calls_start_when_they_are_written() -> None:
    """By the middleware as by the node."""
    clocked = Clocked()
    messages = await _run(_agent([clocked.tool("look")], [TWO], grace=60))
    assert clocked.starts() == EARLY
    assert [m.text for m in messages[2:]] == ["look of 1", "look of 2", "done"]


class Wraps(AgentMiddleware):
    """Sees tool calls before they run."""

    async def awrap_tool_call(self, request: Any, handler: Any) -> Any:
        return await handler(request)


class Vets(AgentMiddleware):
    """Sees what the model has said before tools run."""

    async def aafter_model(self, state: Any, runtime: Any) -> Any:
        return None


class Prepares(AgentMiddleware):
    """Does its work before the model."""

    async def abefore_model(self, state: Any, runtime: Any) -> Any:
        return None


@pytest.mark.parametrize(
    ("other", "early"),
    [
        (Wraps, False),
        (Vets, False),
        (lambda: ToolCallLimitMiddleware(tool_name="look", run_limit=9), False),
        (ToolRetryMiddleware, False),
        (lambda: PIIMiddleware("email", apply_to_tool_results=True), False),
        (TodoListMiddleware, True),
        (Prepares, True),
        (ModelRetryMiddleware, True),
    ],
)
@in_virtual_time
async def test_beside_other_middleware(
    other: Any, early: bool, caplog: pytest.LogCaptureFixture
) -> None:
    """Nothing starts early that another middleware may change or refuse, and a warning says so."""
    clocked = Clocked()
    await _run(_agent([clocked.tool("look")], [TWO], other(), grace=60))
    assert clocked.starts() == (EARLY if early else LATE)
    warned = [r.getMessage() for r in caplog.records if "eager=True has no effect" in r.msg]
    assert bool(warned) is not early


@in_virtual_time
async def test_what_a_person_approves_does_not_start() -> None:
    """Other tools beside it do."""
    clocked = Clocked()
    person = HumanInTheLoopMiddleware(interrupt_on={"ask": True})
    both = AIMessage("", tool_calls=[call("ask", x=1), call("look", x=2), call("look", x=3)])
    agent = _agent(
        [clocked.tool("ask"), clocked.tool("look", 0.5)],
        [both],
        before=[person],
        checkpointer=InMemorySaver(),
        grace=60,
    )
    config: Any = {"configurable": {"thread_id": "t"}}
    stopped = await agent.ainvoke({"messages": [HumanMessage("go")]}, config)
    assert stopped["__interrupt__"]
    assert clocked.starts() == [("look(2)", 5.0), ("look(3)", 7.0)]
    approved = Command(resume={"decisions": [{"type": "approve"}]})
    final = await agent.ainvoke(approved, config)
    texts = [m.text for m in final["messages"] if isinstance(m, ToolMessage)]
    assert sorted(texts) == ["ask of 1", "look of 2", "look of 3"]


@in_virtual_time
async def test_a_stream_that_a_middleware_tries_again() -> None:
    """What the first try began is ended; each call has one answer."""
    clocked = Clocked()
    retry = ModelRetryMiddleware(max_retries=1, initial_delay=1.0, jitter=False)
    messages = await _run(_agent([clocked.tool("look")], [TWO, TWO], retry, cuts=[3], grace=60))
    assert clocked.log[:2] == [("look(1) starts", 3.0), ("look(1) cancelled", 5.0)]
    assert len(clocked.starts()) == 3
    assert [m.text for m in messages[2:]] == ["look of 1", "look of 2", "done"]


@in_virtual_time
async def test_a_model_that_another_takes_the_place_of() -> None:
    """What the model that failed began is ended."""
    clocked = Clocked()
    spare = ScriptedChatModel.replies(
        [AIMessage("", tool_calls=[call("look", "other", x=7)]), "done", "done"], **PACE
    )
    messages = await _run(
        _agent([clocked.tool("look")], [TWO], ModelFallbackMiddleware(spare), cuts=[3], grace=60)
    )
    assert clocked.log[:2] == [("look(1) starts", 3.0), ("look(1) cancelled", 5.0)]
    assert [m.text for m in messages if isinstance(m, ToolMessage)] == ["look of 7"]


def test_an_executor_of_ones_own_is_refused() -> None:
    """It runs issued calls only."""
    with pytest.raises(ValueError, match="ManualExecutor"):
        AsyncFCMiddleware(eager=True, executor=ManualExecutor())


@in_virtual_time
async def test_a_middleware_outside_of_create_agent_starts_nothing_early() -> None:
    """Where it is not known what stands around, nothing starts before its message is complete."""
    clocked = Clocked()
    model = ScriptedChatModel.replies([])
    middleware = AsyncFCMiddleware(eager=True)
    request = ModelRequest(
        model=model, messages=[], tools=[clocked.tool("look")], state={"messages": []}
    )
    seen: list[Any] = []

    async def handler(request: Any) -> Any:
        seen.append(request.model)
        return ModelResponse(result=[AIMessage("done")])

    await middleware.awrap_model_call(request, handler)
    assert seen == [model]


class Counting(FakeMessagesListChatModel):
    """LangChain's own fake, which counts its replies in a field."""

    def bind_tools(self, tools: Any, **_: Any) -> Any:
        """The tools do not matter."""
        return self


@in_virtual_time
async def test_a_model_keeps_what_it_notes() -> None:
    """The watched copy of a model is the same at each of its calls."""
    replies = [AIMessage("", tool_calls=[call("look", x=1)]), AIMessage("done")]
    agent = create_agent(
        Counting(responses=replies),
        [Clocked().tool("look", 0.0)],
        middleware=[AsyncFCMiddleware(eager=True)],
    )
    final = await agent.ainvoke({"messages": [HumanMessage("go")]}, {"recursion_limit": 12})
    assert final["messages"][-1].text == "done"
