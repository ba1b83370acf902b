"""Structured answers of `create_agent`, with fast tools and while futures are unfinished.

With fast tools both agents are compared (see `twins`). With slow ones, no placeholder and no
reference gets into an answer, and an answer that came too early is not taken.

| statement | test |
|---|---|
| each strategy, each kind of schema | `test_strategies` |
| ... among tool calls | `test_answer_beside_calls` |
| `handle_errors`: true, text, type, types, function, false | `test_handle_errors` |
| several answers at once are an error | `test_several_answers` |
| `tool_message_content` | `test_tool_message_content` |
| a provider's answer that does not fit raises | `test_provider_answer_that_does_not_fit` |
| no answer is kept from an earlier run | `test_no_stale_answer` |
| an answer that came too early is asked for again | `test_premature_answer` |
| ... also beside other calls | `test_premature_answer_beside_other_calls` |
| ... is the answer with `on_final="settle"` | `test_premature_answer_settles` |
| ... or `"detach"` | `test_premature_answer_detaches` |
| ... is not the answer where something failed | `test_premature_answer_and_a_failure` |
| a reference in an answer becomes the value, type kept | `test_references_in_an_answer` |
| ... of an older, finished future | `test_reference_to_a_finished_future` |
| ... that does not fit is an error as any other | `test_reference_that_does_not_fit` |
| ... to what failed, or to nothing | `test_reference_to_a_failure`, `test_reference_to_nothing` |
| ... in one type of a union | `test_reference_in_a_union` |
| an answer beside slow calls ends the run, with their results | `test_answer_beside_slow_calls` |
| `return_direct` while older futures run | `test_return_direct_with_older_futures` |
"""

from __future__ import annotations

import asyncio
import dataclasses
import json
from typing import Any

import pytest
from langchain.agents import create_agent
from langchain.agents.structured_output import (
    AutoStrategy,
    ProviderStrategy,
    StructuredOutputError,
    StructuredOutputValidationError,
    ToolStrategy,
)
from langchain_core.messages import AIMessage, HumanMessage, ToolMessage
from langchain_core.tools import tool
from pydantic import BaseModel, Field
from typing_extensions import TypedDict

from langchain_asyncfc import AsyncFCMiddleware, effects
from langchain_asyncfc.records import read_thread
from langchain_asyncfc.testing import (
    ScriptedChatModel,
    assert_valid_history,
    call,
    in_virtual_time,
)
from tests.integration.agents.twins import GO, Twins


class Weather(BaseModel):
    """The weather."""

    degrees: int = Field(ge=-50, le=60)
    sky: str = "clear"


class Refusal(BaseModel):
    """No weather."""

    reason: str


@dataclasses.dataclass
class WeatherData:
    """The weather."""

    degrees: int
    sky: str = "clear"


class WeatherDict(TypedDict):
    """The weather."""

    degrees: int


SCHEMA = {
    "title": "WeatherSchema",
    "description": "The weather.",
    "type": "object",
    "properties": {"degrees": {"type": "integer"}},
    "required": ["degrees"],
}


@tool
def add(a: int, b: int) -> int:
    """Add two numbers."""
    return a + b


def ask(*calls: Any, text: str = "") -> AIMessage:
    """The model's message that makes these calls."""
    return AIMessage(text, tool_calls=list(calls))


def agent_of(response_format: Any, **options: Any) -> Any:
    """A function that builds an agent."""

    def build(model: Any, first: Any) -> Any:
        return create_agent(
            model, [add], middleware=first, response_format=response_format, **options
        )

    return build


# -- with fast tools -------------------------------------------------------------------------------


SCHEMAS = [Weather, WeatherData, WeatherDict, SCHEMA]
PROFILE = {"profile": {"structured_output": True}}


@pytest.mark.parametrize("schema", SCHEMAS, ids=["pydantic", "dataclass", "typeddict", "json"])
@pytest.mark.parametrize("strategy", ["tool", "provider", "auto", "auto-provider", "raw"])
def test_strategies(twins: Twins, strategy: str, schema: Any) -> None:
    """After a call of a tool."""
    name = schema["title"] if isinstance(schema, dict) else schema.__name__
    by_text = "provider" in strategy
    answer = json.dumps({"degrees": 3}) if by_text else ask(call(name, degrees=3))
    format_ = {"tool": ToolStrategy, "provider": ProviderStrategy, "raw": lambda schema: schema}
    seen = twins.run(
        agent_of(format_.get(strategy, AutoStrategy)(schema)),
        [ask(call("add", a=1, b=2)), answer],
        model=PROFILE if by_text else {},
    )
    found = seen.state["structured_response"]
    assert (found["degrees"] if isinstance(found, dict) else found.degrees) == 3


def test_answer_beside_calls(twins: Twins) -> None:
    """The calls are made, and the run ends."""
    replies = [ask(call("add", a=1, b=2), call("Weather", degrees=3))]
    seen = twins.run(agent_of(ToolStrategy(Weather)), replies)
    assert seen.state["structured_response"] == Weather(degrees=3)
    assert "3" in seen.texts


@pytest.mark.parametrize(
    "handle",
    [
        True,
        "Once more.",
        StructuredOutputValidationError,
        ValueError,
        (KeyError, StructuredOutputValidationError),
        lambda error: f"no: {type(error).__name__}",
        False,
    ],
    ids=["true", "text", "type", "other-type", "types", "function", "false"],
)
def test_handle_errors(twins: Twins, handle: Any) -> None:
    """Of an answer that does not fit."""
    seen = twins.run(
        agent_of(ToolStrategy(Weather, handle_errors=handle)),
        [ask(call("Weather", degrees=99)), ask(call("Weather", degrees=9))],
    )
    raised = handle is False or handle is ValueError
    assert isinstance(seen.error, StructuredOutputValidationError) == raised
    assert raised or seen.state["structured_response"] == Weather(degrees=9)


@pytest.mark.parametrize("handle", [True, False])
def test_several_answers(twins: Twins, handle: bool) -> None:
    """Of one type or of two."""
    both = ask(call("Weather", degrees=9), call("Refusal", reason="no"))
    strategy = ToolStrategy(Weather | Refusal, handle_errors=handle)
    seen = twins.run(agent_of(strategy), [both, ask(call("Refusal", reason="no"))])
    assert (seen.error is None) == handle


def test_tool_message_content(twins: Twins) -> None:
    """What answers the call that gives the answer."""
    strategy = ToolStrategy(Weather, tool_message_content="Taken.")
    seen = twins.run(agent_of(strategy), [ask(call("Weather", degrees=9))])
    assert seen.texts == ["go", "", "Taken."]


def test_provider_answer_that_does_not_fit(twins: Twins) -> None:
    """The run ends with an error."""
    seen = twins.run(agent_of(ProviderStrategy(Weather)), ["not JSON"])
    assert isinstance(seen.error, StructuredOutputValidationError)


def test_no_stale_answer(twins: Twins) -> None:
    """A later run of the thread that gives none has none."""
    from langgraph.checkpoint.memory import InMemorySaver

    def build(model: Any, first: Any) -> Any:
        return agent_of(ToolStrategy(Weather), checkpointer=InMemorySaver())(model, first)

    seen = twins.run(
        build,
        [ask(call("Weather", degrees=9)), "none"],
        GO,
        GO,
        config={"configurable": {"thread_id": "t"}},
    )
    assert seen.state["structured_response"] is None


# -- while futures are unfinished ------------------------------------------------------------------


@effects()
@tool
async def measure(degrees: int = 7) -> int:
    """Measure."""
    await asyncio.sleep(5)
    return degrees


@effects()
@tool
async def describe(x: Any = None) -> str:
    """Describe."""
    await asyncio.sleep(5)
    return f"described {x}"


@effects()
@tool(return_direct=True)
def direct(x: Any = None) -> str:
    """Answer the user."""
    return f"direct {x}"


@effects()
@tool
async def fails() -> int:
    """Fail."""
    from langchain_core.tools import ToolException

    await asyncio.sleep(5)
    raise ToolException("no sensor")


fails.handle_tool_error = True


class Talk:
    """An agent with slow tools."""

    def __init__(self, response_format: Any, *replies: Any, by_text: bool = False, **options: Any):
        self.model = ScriptedChatModel.replies(
            replies, check_history=True, profile={"structured_output": by_text}
        )
        self.agent = create_agent(
            self.model,
            [measure, describe, fails, direct],
            middleware=[AsyncFCMiddleware(**options)],
            response_format=response_format,
        )

    async def run(self) -> tuple[list[Any], Any]:
        """The final messages, which are valid, and the answer."""
        final = await self.agent.ainvoke({"messages": [HumanMessage("go")]})
        messages = final["messages"]
        assert_valid_history(messages)
        others = asyncio.all_tasks() - {asyncio.current_task()}
        assert not others, others
        assert not read_thread(messages).pending
        return messages, final.get("structured_response")


def saw(messages: list[Any], text: str) -> bool:
    """Whether a text is in a tool message."""
    return any(isinstance(m, ToolMessage) and text in m.text for m in messages)


DELIVERIES = pytest.mark.parametrize("delivery", ["in_place", "append"])
FORMS = pytest.mark.parametrize("form", ["tool", "auto", "provider", "auto-provider"])


def _form(form: str) -> tuple[Any, Any]:
    """A response format, and what makes an answer of it."""
    if form == "tool":
        return ToolStrategy(Weather), lambda **args: ask(call("Weather", **args))
    if form == "auto":
        return Weather, lambda **args: ask(call("Weather", **args))
    as_text = lambda **args: json.dumps(args)  # noqa: E731
    return (ProviderStrategy(Weather) if form == "provider" else Weather), as_text


@DELIVERIES
@FORMS
@in_virtual_time
async def test_premature_answer(form: str, delivery: str) -> None:
    """The model is called again with the results, and its last answer is the run's."""
    format_, answer = _form(form)
    talk = Talk(
        format_,
        ask(call("measure")),
        answer(degrees=0),
        answer(degrees=7),
        by_text="provider" in form,
        delivery=delivery,
    )
    messages, found = await talk.run()
    assert found == Weather(degrees=7)
    assert saw(talk.model.calls[2], "7")
    assert len(talk.model.calls) == 3
    assert saw(messages, "7")


@FORMS
@in_virtual_time
async def test_premature_text(form: str) -> None:
    """Text that is no answer, while futures run, is not parsed as one."""
    format_, answer = _form(form)
    talk = Talk(
        format_,
        ask(call("measure")),
        "I am measuring.",
        answer(degrees=7),
        by_text="provider" in form,
    )
    _, found = await talk.run()
    assert found == Weather(degrees=7)


@FORMS
@in_virtual_time
async def test_premature_answer_settles(form: str) -> None:
    """The first answer is the run's; the results are in the history."""
    format_, answer = _form(form)
    talk = Talk(
        format_,
        ask(call("measure")),
        answer(degrees=0),
        by_text="provider" in form,
        on_final="settle",
    )
    messages, found = await talk.run()
    assert found == Weather(degrees=0)
    assert saw(messages, "7")


@FORMS
@in_virtual_time
async def test_premature_answer_and_a_failure(form: str) -> None:
    """The model is called again, also with `"settle"`."""
    format_, answer = _form(form)
    talk = Talk(
        format_,
        ask(call("fails")),
        answer(degrees=0),
        answer(degrees=1),
        by_text="provider" in form,
        on_final="settle",
    )
    messages, found = await talk.run()
    assert found == Weather(degrees=1)
    assert saw(messages, "no sensor")


@in_virtual_time
async def test_premature_answer_detaches() -> None:
    """The run ends at once with the first answer."""
    model = ScriptedChatModel.replies([ask(call("measure")), ask(call("Weather", degrees=0))])
    middleware = AsyncFCMiddleware(on_final="detach")
    agent = create_agent(
        model, [measure], middleware=[middleware], response_format=ToolStrategy(Weather)
    )
    final = await agent.ainvoke({"messages": [HumanMessage("go")]})
    assert final["structured_response"] == Weather(degrees=0)
    assert asyncio.get_running_loop().time() < 1
    assert_valid_history(final["messages"])
    await middleware.aclose()


REFERENCES = [
    ({"degrees": "future_1"}, Weather(degrees=7)),
    ({"degrees": 1, "sky": "future_2"}, Weather(degrees=1, sky="described None")),
    ({"degrees": "future_1", "sky": "future_1"}, Weather(degrees=7, sky="7")),
    ({"degrees": 1, "sky": "${future_1} degrees"}, Weather(degrees=1, sky="7 degrees")),
    ({"degrees": 1, "sky": "\\future_1"}, Weather(degrees=1, sky="future_1")),
]


@DELIVERIES
@pytest.mark.parametrize("handle", [True, False], ids=["handled", "raised"])
@pytest.mark.parametrize(("given", "expected"), REFERENCES)
@in_virtual_time
async def test_references_in_an_answer(
    given: Any, expected: Any, handle: bool, delivery: str
) -> None:
    """In a field that takes no text, in one that does, in a longer text, escaped."""
    talk = Talk(
        ToolStrategy(Weather, handle_errors=handle),
        ask(call("measure"), call("describe")),
        ask(call("Weather", **given)),
        ask(call("Weather", degrees=42)),  # an answer that came too early is asked for again
        delivery=delivery,
    )
    messages, found = await talk.run()
    assert found in (expected, Weather(degrees=42))
    taken = [c["args"] for m in messages if isinstance(m, AIMessage) for c in m.tool_calls]
    if "\\" not in str(given) and found == expected:
        assert "future_" not in str(taken[-1])


@in_virtual_time
async def test_references_to_all_that_is_unfinished() -> None:
    """An answer that refers to all futures was made knowing of them: it is not asked for again."""
    talk = Talk(
        ToolStrategy(Weather), ask(call("measure")), ask(call("Weather", degrees="future_1"))
    )
    messages, found = await talk.run()
    assert found == Weather(degrees=7)
    assert messages[-2].tool_calls[0]["args"] == {"degrees": 7}


@pytest.mark.parametrize("sky", ["future_1", "${future_1}"])
@in_virtual_time
async def test_reference_to_a_finished_future(sky: str) -> None:
    """Rule 2: every reference to a finished future stays valid."""
    talk = Talk(
        ToolStrategy(Weather),
        ask(call("measure", await_result=True)),
        ask(call("Weather", degrees="future_1", sky=sky)),
    )
    _, found = await talk.run()
    assert found == Weather(degrees=7, sky="7")


@pytest.mark.parametrize("handle", [True, False], ids=["handled", "raised"])
@in_virtual_time
async def test_reference_that_does_not_fit(handle: bool) -> None:
    """The value is checked as any other."""
    talk = Talk(
        ToolStrategy(Weather, handle_errors=handle),
        ask(call("measure", degrees=99)),
        ask(call("Weather", degrees="future_1")),
        ask(call("Weather", degrees=1)),
    )
    if handle:
        _, found = await talk.run()
        assert found == Weather(degrees=1)
    else:
        with pytest.raises(StructuredOutputError):
            await talk.run()
        assert not asyncio.all_tasks() - {asyncio.current_task()}


@pytest.mark.parametrize("field", ["degrees", "sky"])
@in_virtual_time
async def test_reference_to_a_failure(field: str) -> None:
    """No text of an error and no id gets into an answer."""
    talk = Talk(
        ToolStrategy(Weather),
        ask(call("fails")),
        ask(call("Weather", **{"degrees": 1, field: "future_1"})),
        ask(call("Weather", degrees=2)),
    )
    _, found = await talk.run()
    assert found == Weather(degrees=2)


@pytest.mark.parametrize("sky", ["future_9", "future_1.nope", "future_1["])
@in_virtual_time
async def test_reference_to_nothing(sky: str) -> None:
    """The same: rule 14."""
    talk = Talk(
        ToolStrategy(Weather),
        ask(call("measure", await_result=True)),
        ask(call("Weather", degrees=1, sky=sky)),
        ask(call("Weather", degrees=2)),
    )
    _, found = await talk.run()
    assert "future_" not in found.sky


@pytest.mark.parametrize("form", ["tool", "auto", "json-without-title"])
@in_virtual_time
async def test_reference_in_a_union(form: str) -> None:
    """Each type, and a schema without a name."""
    if form == "json-without-title":
        schema = {k: v for k, v in SCHEMA.items() if k != "title"}
        strategy: Any = ToolStrategy(schema)
        name = strategy.schema_specs[0].name
    else:
        strategy = ToolStrategy(Weather | Refusal) if form == "tool" else Weather | Refusal
        name = "Weather"
    talk = Talk(
        strategy,
        ask(call("measure", await_result=True)),
        ask(call(name, degrees="future_1")),
    )
    _, found = await talk.run()
    assert (found["degrees"] if isinstance(found, dict) else found.degrees) == 7


@DELIVERIES
@pytest.mark.parametrize("on_final", ["review", "settle"])
@in_virtual_time
async def test_answer_beside_slow_calls(on_final: str, delivery: str) -> None:
    """As in a run with fast tools, the answer is taken; the results stand in the history."""
    talk = Talk(
        ToolStrategy(Weather),
        ask(call("measure"), call("Weather", degrees=3)),
        delivery=delivery,
        on_final=on_final,
    )
    messages, found = await talk.run()
    assert found == Weather(degrees=3)
    assert saw(messages, "7")


@DELIVERIES
@in_virtual_time
async def test_answer_with_references_beside_slow_calls(delivery: str) -> None:
    """References to calls of the same message: the answer is asked for again."""
    talk = Talk(
        ToolStrategy(Weather),
        ask(call("measure"), call("Weather", degrees="future_1")),
        ask(call("Weather", degrees="future_1")),
        delivery=delivery,
    )
    _, found = await talk.run()
    assert found == Weather(degrees=7)


@in_virtual_time
async def test_early_answer_by_a_tool_that_is_not_offered() -> None:
    """A model may repeat a call of an earlier turn although the tool is not bound now."""
    talk = Talk(
        Weather,
        ask(call("measure")),
        ask(call("Weather", degrees=0)),
        ask(call("Weather", degrees=7)),
    )
    _, found = await talk.run()
    assert found == Weather(degrees=7)


@pytest.mark.parametrize("beside", ["describe", "await_future"])
@DELIVERIES
@in_virtual_time
async def test_premature_answer_beside_other_calls(delivery: str, beside: str) -> None:
    """An answer while an *older* future runs is premature, whatever else its message calls."""
    talk = Talk(
        ToolStrategy(Weather),
        ask(call("measure")),
        ask(call(beside), call("Weather", degrees=0)),
        # While the call beside it runs, the next answer is premature as well.
        *[ask(call("Weather", degrees=1))] * (beside == "describe"),
        ask(call("Weather", degrees=7)),
        delivery=delivery,
    )
    _, found = await talk.run()
    assert found == Weather(degrees=7)


# -- return_direct ---------------------------------------------------------------------------------


@DELIVERIES
@pytest.mark.parametrize("on_final", ["review", "settle"])
@in_virtual_time
async def test_return_direct_with_older_futures(on_final: str, delivery: str) -> None:
    """The run ends on the tool's answer, when the older results are there."""
    talk = Talk(
        None,
        ask(call("measure")),
        ask(call("direct", x="future_1")),
        delivery=delivery,
        on_final=on_final,
    )
    messages, _ = await talk.run()
    assert messages[-1].text == "direct 7"
    assert [m.text for m in messages if isinstance(m, ToolMessage)] == ["7", "direct 7"]
    talk = Talk(
        None,
        ask(call("measure"), call("describe")),
        ask(call("direct", x=1)),
        delivery=delivery,
        on_final=on_final,
    )
    messages, _ = await talk.run()
    assert [m.text for m in messages if isinstance(m, ToolMessage)] == [
        "7",
        "described None",
        "direct 1",
    ]
    assert len(talk.model.calls) == 2


# -- in threads ------------------------------------------------------------------------------------


@DELIVERIES
@FORMS
def test_premature_answer_in_threads(form: str, delivery: str, gate: Any, workshop: Any) -> None:
    """The same by `invoke`: the tool ends when the premature answer was given."""
    format_, answer = _form(form)

    def early(_: list[Any]) -> Any:
        gate.open()
        reply = answer(degrees=0)
        return AIMessage(reply) if isinstance(reply, str) else reply

    rest = iter([ask(call("slow")), early, answer(degrees=7)])

    def policy(messages: list[Any]) -> Any:
        reply = next(rest)
        return reply(messages) if callable(reply) else reply

    model = ScriptedChatModel(
        policy=policy, check_history=True, profile={"structured_output": "provider" in form}
    )
    agent = create_agent(
        model,
        [effects()(workshop.tool("slow", gate))],
        middleware=[AsyncFCMiddleware(delivery=delivery, grace=0)],
        response_format=format_,
    )
    final = agent.invoke({"messages": [HumanMessage("go")]})
    assert_valid_history(final["messages"])
    assert not read_thread(final["messages"]).pending
    assert final["structured_response"] == Weather(degrees=7)
    assert saw(final["messages"], "slow()")
    assert len(model.calls) == 3
