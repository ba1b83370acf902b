"""Tests of what the middleware reads from the `create_agent` call around it."""

from __future__ import annotations

import threading
from typing import Annotated, Any, NotRequired

import langchain.agents.middleware as shipped
import pytest
from langchain.agents import create_agent
from langchain.agents.middleware import (
    AgentMiddleware,
    AgentState,
    HumanInTheLoopMiddleware,
    ModelRequest,
    ShellToolMiddleware,
    ToolCallLimitMiddleware,
    ToolRetryMiddleware,
)
from langchain_core.messages import HumanMessage
from langchain_core.tools import tool
from langgraph.channels import EphemeralValue, UntrackedValue

from langchain_asyncfc import AsyncFCMiddleware
from langchain_asyncfc.surroundings import Surroundings, running_create_agent
from langchain_asyncfc.testing import ScriptedChatModel

CONTROL = ["await_future", "cancel_future"]


@tool
def pay(amount: int = 1) -> str:
    """Pay."""
    return f"paid {amount}"


def look(place: str) -> str:
    """Look at a place."""
    return f"looked at {place}"


def names(tools: Any) -> list[str]:
    """The names of tools."""
    return [one.name for one in tools]


# -- where there is no such call ------------------------------------------------------------------


def test_outside_of_any_call() -> None:
    """Nothing is known, and the middleware has its tools all the same."""
    assert running_create_agent(AsyncFCMiddleware()) is None
    assert names(AsyncFCMiddleware().tools) == CONTROL


def test_at_the_bottom_of_a_thread() -> None:
    """The frames end before anything is found."""
    found: list[Any] = []
    thread = threading.Thread(target=lambda: found.append(names(AsyncFCMiddleware().tools)))
    thread.start()
    thread.join()
    assert found == [CONTROL]


def test_a_call_that_is_too_far_above() -> None:
    """Only the frames right above are looked at: this is another's business."""

    class Deep(AgentMiddleware):
        seen: Any = "nothing"

        @property
        def tools(self) -> Any:
            """Look from far below."""
            self.seen = self._look(30)
            return ()

        def _look(self, levels: int) -> Any:
            return self._look(levels - 1) if levels else running_create_agent(self)

    deep = Deep()
    create_agent(ScriptedChatModel.replies([]), [pay], middleware=[deep])
    assert deep.seen is None


def test_a_middleware_of_another_agent() -> None:
    """A call that is not given the middleware is not the one that looks at it."""
    other = AsyncFCMiddleware()

    class Curious(AgentMiddleware):
        seen: Any = "nothing"

        @property
        def tools(self) -> Any:
            """Look at a middleware of another agent, and at this one."""
            self.seen = running_create_agent(other), running_create_agent(self)
            assert names(other.tools) == CONTROL
            return ()

    curious = Curious()
    create_agent(ScriptedChatModel.replies([]), [pay], middleware=[curious])
    elsewhere, here = curious.seen
    assert elsewhere is None
    assert here == Surroundings((curious,), (pay,))


# -- tools ----------------------------------------------------------------------------------------


def test_all_tools_of_an_agent() -> None:
    """Those of other middleware first; functions become tools, and what is neither is left out."""
    here = AsyncFCMiddleware()
    other = ToolRetryMiddleware()
    other.tools = [pay]
    around = Surroundings((here, other), (look, object()))
    assert names(around.all_tools(here)) == ["pay", "look"]


def test_a_function_is_known_as_a_tool() -> None:
    """An agent that is given a plain function has it checked like any other tool."""
    middleware = AsyncFCMiddleware(timeout={"look": 5.0})
    create_agent(ScriptedChatModel.replies([]), [look], middleware=[middleware])
    with pytest.raises(ValueError, match="look2"):
        create_agent(
            ScriptedChatModel.replies([]),
            [look],
            middleware=[AsyncFCMiddleware(timeout={"look2": 5.0})],
        )


# -- order ----------------------------------------------------------------------------------------

EARLY: list[Any] = [ToolRetryMiddleware(), ToolCallLimitMiddleware(run_limit=3)]
LATE: list[Any] = [
    ShellToolMiddleware(),
    HumanInTheLoopMiddleware(interrupt_on={"pay": True}),
]


@pytest.mark.parametrize("other", EARLY, ids=lambda m: type(m).__name__)
def test_what_has_to_stand_after(other: Any) -> None:
    """The message says which order works."""
    here = AsyncFCMiddleware()
    Surroundings((here, other)).check_order(here)
    with pytest.raises(ValueError, match=rf"{other.name} has to stand after AsyncFCMiddleware"):
        Surroundings((other, here)).check_order(here)


@pytest.mark.parametrize("other", LATE, ids=lambda m: type(m).__name__)
def test_what_has_to_stand_before(other: Any) -> None:
    """The message says which order works."""
    here = AsyncFCMiddleware()
    Surroundings((other, here)).check_order(here)
    order = rf"middleware=\[{other.name}, AsyncFCMiddleware\]"
    with pytest.raises(ValueError, match=order):
        Surroundings((here, other)).check_order(here)


def test_an_older_langchain(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where it has no middleware for errors of tools, the others are checked as ever."""
    monkeypatch.delattr(shipped, "ToolErrorMiddleware", raising=False)
    here = AsyncFCMiddleware()
    Surroundings((here, ToolRetryMiddleware())).check_order(here)
    with pytest.raises(ValueError, match="has to stand after"):
        Surroundings((ToolRetryMiddleware(), here)).check_order(here)


# -- state ----------------------------------------------------------------------------------------


def add(left: Any, right: Any) -> Any:
    """A reducer."""
    return [*left, *right]


class State(AgentState[Any]):
    """A state with keys of all kinds."""

    plain: str
    reduced: Annotated[list[str], add]
    maybe: NotRequired[Annotated[list[str], add]]
    brief: Annotated[str, EphemeralValue(str)]
    told: Annotated[str, "a remark"]


class Extended(AgentMiddleware[Any]):
    """A middleware with a state of its own."""

    state_schema = State


@pytest.mark.parametrize(
    ("around", "keys"),
    [
        (Surroundings(state_schema=State), {"reduced", "maybe"}),
        (Surroundings((Extended(),)), {"reduced", "maybe"}),
        (Surroundings((object(),)), set()),
        (Surroundings(), set()),
    ],
    ids=["schema", "middleware", "no-schema", "nothing"],
)
def test_keys_with_a_reducer(around: Surroundings, keys: set[str]) -> None:
    """They take several values a step; channels and remarks are no reducers."""
    found = around.reduced_keys()
    assert "messages" in found
    assert found & {"plain", "reduced", "maybe", "brief", "told"} == keys


def test_a_channel_may_be_named_by_its_class() -> None:
    """LangGraph makes it itself; it takes one value a step."""

    class Named(AgentState[Any]):
        once: Annotated[str, UntrackedValue]

    assert "once" not in Surroundings(state_schema=Named).reduced_keys()


# -- strict schemas -------------------------------------------------------------------------------


class Strict(AgentMiddleware):
    """Has the model bound to strict schemas."""

    def wrap_model_call(self, request: ModelRequest[Any], handler: Any) -> Any:
        """Ask for them."""
        return handler(request.override(model_settings={"strict": True}))


@pytest.mark.parametrize("strict", [True, False])
def test_strict_schemas(strict: bool) -> None:
    """Where the model is bound strictly, every argument is required, also those that are added."""
    model = ScriptedChatModel.replies(["done"])
    own = AsyncFCMiddleware()
    agent = create_agent(model, [pay], middleware=[Strict(), own] if strict else [own])
    agent.invoke({"messages": [HumanMessage("go")]})
    (sent,) = model.call_kwargs
    schemas = {t["function"]["name"]: t["function"]["parameters"] for t in sent["tools"]}
    assert set(schemas) == {"pay", *CONTROL}
    required = {name: set(schema.get("required", ())) for name, schema in schemas.items()}
    assert {"amount", "await_result"} <= set(schemas["pay"]["properties"])
    if strict:
        assert required == {name: set(schema["properties"]) for name, schema in schemas.items()}
    else:
        assert required["pay"] == required["await_future"] == set()
