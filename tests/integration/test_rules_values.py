"""Rules 1, 2 and 23 for values of all kinds: whatever a tool returns, the run goes on."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

import pytest
from langchain_core.messages import ToolMessage
from langchain_core.tools import StructuredTool
from langgraph.checkpoint.memory import InMemorySaver
from pydantic import BaseModel, computed_field

from langchain_asyncfc import Effects
from langchain_asyncfc.testing import call

if TYPE_CHECKING:
    from tests.integration.conftest import Agent, Ask, Gate, MakeAgent, Mode, Workshop

PURE = Effects()
THREAD = {"configurable": {"thread_id": "t"}}


class Mute:
    """An object that has no text."""

    def __str__(self) -> str:
        raise ZeroDivisionError

    def __repr__(self) -> str:
        return "Mute()"


class Broken(Mapping[str, Any]):
    """A mapping whose values cannot be read."""

    def __getitem__(self, key: str) -> Any:
        raise ZeroDivisionError

    def __iter__(self) -> Iterator[str]:
        return iter(["a"])

    def __len__(self) -> int:
        return 1


class Computed(BaseModel):
    """A model with a field that cannot be computed."""

    @computed_field
    def size(self) -> int:
        """Its size."""
        raise ZeroDivisionError

    def __repr__(self) -> str:
        return "Computed()"


class Text(BaseModel):
    """A model with a text."""

    text: str


def nested(levels: int) -> list[Any]:
    """A list in a list in a list."""
    value: list[Any] = []
    for _ in range(levels):
        value = [value]
    return value


def loop() -> dict[str, Any]:
    """An object that holds itself."""
    made: dict[str, Any] = {"name": "loop"}
    made["me"] = [made, made]
    return made


# -- rule 23 ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (loop(), "'name': 'loop'"),
        (math.factorial(30), str(math.factorial(30))),
        ({"id": 2**70}, str(2**70)),
        (nested(300), "[[[[]]]]"),
        ("\ud800", "\ud800"),
    ],
    ids=["holds itself", "huge number", "huge number in it", "nested deep", "half a character"],
)
def test_rule_23_a_late_value_of_any_kind_can_be_checkpointed(
    mode: Mode,
    delivery: str,
    make_agent: MakeAgent,
    workshop: Workshop,
    gate: Gate,
    ask: Ask,
    value: Any,
    shown: str,
) -> None:
    """What no checkpoint holds exactly is not kept for later references, and that is all."""

    def early(_: Any) -> str:
        gate.open()
        return "done"

    get = workshop.tool("get", gate, result=value)
    script = [ask(call("get")), early, "seen"]
    agent = make_agent([get], script, delivery=delivery, checkpointer=InMemorySaver())
    messages = agent.run(mode, config=THREAD)
    assert messages[-1].text == "seen"
    assert any(shown in m.text for m in messages if isinstance(m, ToolMessage))
    assert agent.graph.get_state(THREAD).values["messages"][-1].text == "seen"


# -- rule 2: reading a value fails -----------------------------------------------------------------


@pytest.fixture
def passes_on(
    make_agent: MakeAgent, workshop: Workshop, gate: Gate, ask: Ask
) -> Callable[..., Agent]:
    """Builds an agent that passes a value on while another call runs, and then ends its turn."""

    def make(value: Any, reference: str, use: Any = None, **options: Any) -> Agent:
        def early(_: Any) -> str:
            gate.open()
            return "done"

        tools = [
            workshop.tool("get", gate, result=value, does=PURE),
            use or workshop.tool("use", does=PURE),
            workshop.tool("other", gate, does=PURE),
        ]
        calls = ask(call("get"), call("use", x=reference), call("other", x="y"))
        return make_agent(tools, [calls, early, "seen"], **options)

    return make


def told(messages: list[Any]) -> list[ToolMessage]:
    """The answers of the three tools."""
    return [m for m in messages if isinstance(m, ToolMessage) and m.name != "await_future"]


@pytest.mark.parametrize(
    ("value", "reference", "error"),
    [
        (Mute(), "see ${future_1[0]}", "ZeroDivisionError"),
        (Broken(), "future_1[0].a", "ZeroDivisionError"),
        (Computed(), "future_1[0].size", "ZeroDivisionError"),
    ],
    ids=["no text", "not readable", "not computed"],
)
@pytest.mark.parametrize("limit", [None, 1])
def test_rule_2_a_value_that_cannot_be_read_fails_the_call_that_wants_it(
    mode: Mode, passes_on: Callable[..., Agent], value: Any, reference: str, error: str, limit: Any
) -> None:
    """A value is a developer's object, and may raise anything: the model is told, and no more."""
    messages = passes_on([value], reference, max_concurrency=limit).run(mode)
    _, failed, other = told(messages)
    assert failed.status == "error"
    named = reference.removeprefix("see ${").removesuffix("}")
    assert f"{named} cannot be used: to read it raised {error}." in failed.text
    assert "write the value itself" in failed.text
    assert other.text == "other(y)"
    assert messages[-1].text == "seen"


def test_rule_3_a_value_that_cannot_be_read_names_no_resource(
    mode: Mode, passes_on: Callable[..., Agent], workshop: Workshop
) -> None:
    """The resources of a call are worked out when a value comes, outside of every step."""
    use = workshop.tool("use", does=Effects(writes="fs:{x}"))
    messages = passes_on([Broken()], "future_1[0].a", use).run(mode)
    assert [m.status for m in told(messages)] == ["success", "error", "success"]


@pytest.mark.parametrize(
    ("value", "reference", "passed"),
    [
        (Text.model_construct(text="\ud800"), "see ${future_1}", "see text='\\ud800'"),
        (b"\xff", "future_1", "expected array or string, got a bytes (b'\\xff')"),
        (loop(), "future_1", "expected array or string, got an object ({'name': 'loop'"),
        (nested(300)[0], "future_1", ""),
    ],
    ids=["half a character", "bytes", "holds itself", "nested deep"],
)
def test_rule_2_a_value_that_json_cannot_hold_is_passed_on_or_refused(
    mode: Mode, passes_on: Callable[..., Agent], value: Any, reference: str, passed: str
) -> None:
    """Tools of a JSON schema, as those of MCP, are checked as far as can be."""
    taken = []

    async def arun(x: Any) -> str:
        taken.append(x)
        return "used"

    def run(x: Any) -> str:
        taken.append(x)
        return "used"

    types = {"anyOf": [{"type": "string"}, {"type": "array", "items": {}}]}
    schema = {"type": "object", "properties": {"x": types}}
    use = StructuredTool(
        name="use", description="Use.", args_schema=schema, func=run, coroutine=arun
    )
    messages = passes_on(value, reference, use).run(mode)
    _, used, other = told(messages)
    if taken:
        assert taken == [passed or value]
        assert used.text == "used"
    else:
        assert passed in used.text
    assert other.text == "other(y)"
