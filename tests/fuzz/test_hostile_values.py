"""What the fuzzer and thought have found: one test for each, in its smallest form."""

# ruff: noqa: RUF005 - lists of odd things, a line each
from __future__ import annotations

import asyncio
import contextlib
import math
import threading
import time
from collections import defaultdict
from collections.abc import Iterator, Mapping
from typing import Any

import pytest
from langchain_core.messages import AIMessage, BaseMessage, HumanMessage, ToolMessage
from langchain_core.tools import BaseTool, StructuredTool
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.runtime import Runtime
from pydantic import BaseModel

from langchain_asyncfc import AsyncFCToolNode, Effects, tools_condition
from langchain_asyncfc.effects import access_of
from langchain_asyncfc.errors import MalformedReference, ReferencePathError
from langchain_asyncfc.references import Reference, find_references, lookup
from langchain_asyncfc.testing import call
from tests.fuzz.hostile import Parrot, agent, deep, run

BOTH = pytest.mark.parametrize("is_async", [False, True], ids=["sync", "async"])
PURE = Effects()


def _tool(name: str, value: Any, seconds: float = 0.0, schema: Any = None) -> BaseTool:
    def sync(**_: Any) -> Any:
        return value() if callable(value) else value

    async def asynchronous(**_: Any) -> Any:
        await asyncio.sleep(seconds)
        return sync()

    if schema is None:
        schema = {"type": "object", "properties": {"x": True}}
    return StructuredTool(
        name=name, description=name, args_schema=schema, func=sync, coroutine=asynchronous
    )


def _answer(message: AIMessage, *, is_async: bool, **options: Any) -> ToolMessage:
    """The first answer of a bare node to a message."""
    node = AsyncFCToolNode([_tool("look", "ok")], effects={"look": PURE}, **options)
    config = {"configurable": {"__pregel_runtime": Runtime()}}
    given = {"messages": [message]}
    return run(node, given, is_async=is_async, config=config)["messages"][0]


def _final(
    tools: list[BaseTool], message: AIMessage, *, is_async: bool, **options: Any
) -> list[BaseMessage]:
    """The messages of an agent whose model says this, and that it is done."""
    node = AsyncFCToolNode(tools, effects={tool.name: PURE for tool in tools}, grace=0)
    graph = agent(node, Parrot(replies=[message]), **options)
    config = {"configurable": {"thread_id": "1"}}
    return run(graph, {"messages": [HumanMessage("go")]}, is_async=is_async, config=config)[
        "messages"
    ]


@BOTH
@pytest.mark.parametrize(
    "args",
    [
        {"futures": "[" * 100_000},
        {"futures": [10**5000]},
        {"futures": 10**5000},
        {"futures": deep(3000)},
        {"futures": "x" * 1_000_000},
        {"futures": ["x" * 1_000_000]},
        {"timeout": "x" * 1_000_000},
    ],
    ids=["deep text", "huge number", "no list", "deep list", "long text", "long id", "long limit"],
)
def test_a_control_call_is_answered_with_a_short_error(
    args: dict[str, Any], is_async: bool
) -> None:
    """Arguments that cannot be read or shown are answered, with a message of modest length."""
    for name in ("await_future", "cancel_future"):
        if name == "cancel_future" and "timeout" in args:
            continue
        answer = _answer(AIMessage("", tool_calls=[call(name, **args)]), is_async=is_async)
        assert answer.status == "error"
        assert len(answer.text) < 500


@BOTH
@pytest.mark.parametrize("timeout", [10**400, 1e300, math.inf], ids=["int", "float", "inf"])
def test_a_timeout_may_be_any_number(timeout: float, is_async: bool) -> None:
    """A limit that no clock can count to is no limit."""
    tool = _tool("look", lambda: time.sleep(0 if is_async else 0.05) or "ok", seconds=1.0)
    asked = AIMessage(
        "", tool_calls=[call("look"), call("await_future", timeout=timeout)], id="asked"
    )
    final = _final([tool], asked, is_async=is_async)
    answers = [m for m in final if isinstance(m, ToolMessage)]
    assert answers[0].text == "ok"
    assert answers[1].status == "success"


@BOTH
def test_a_block_with_an_odd_id_is_no_native_call(is_async: bool) -> None:
    """A content block whose id is no text says nothing of calls."""
    message = AIMessage(
        [{"type": "x", "async": True, "id": ["1"]}, {"type": "x", "async": True, "call_id": {}}],
        tool_calls=[call("look")],
    )
    assert _answer(message, is_async=is_async).text == "ok"


@pytest.mark.timeout(20)
@pytest.mark.parametrize(
    "text",
    ["\\" * 100_000 + "future_", "${" * 50_000 + "future_1", "future_1" + ".a" * 50_000 + "["]
    + ["${future_1" * 20_000, "future_1" + "['" * 50_000, "${" + " " * 100_000 + "future_"],
    ids=["backslashes", "openings", "path", "unclosed", "quotes", "blanks"],
)
def test_long_texts_are_searched_in_linear_time(text: str) -> None:
    """No text keeps the search for references busy for seconds."""
    began = time.process_time()
    with contextlib.suppress(MalformedReference):
        find_references({"x": text})
    assert time.process_time() - began < 2


@pytest.mark.parametrize(
    "text", ["future_1[" + "x" * 100_000, "future_1." + " " * 5 + "[" * 100_000]
)
def test_a_malformed_reference_is_quoted_in_short(text: str) -> None:
    """The message for the model does not repeat a long text."""
    with pytest.raises(MalformedReference) as caught:
        find_references({"x": "${" + text + "}"})
    assert len(str(caught.value)) < 500


def test_arguments_that_hold_themselves_are_searched_once() -> None:
    """A list in itself, which only code can make, does not keep the search busy for ever."""
    inner: dict[str, Any] = {"a": "future_1"}
    inner["me"] = [inner, {"b": "${future_2}"}]
    sites = find_references({"x": inner, "y": inner})
    assert [site.location for site in sites] == [
        ("x", "a"),
        ("x", "me", 1, "b"),
        ("y", "a"),
        ("y", "me", 1, "b"),
    ]


class Text(BaseModel):
    """A pydantic model with a text."""

    text: str


class Failing(Mapping[str, Any]):
    """A mapping whose items cannot be read."""

    def __getitem__(self, key: str) -> Any:
        raise ZeroDivisionError

    def __iter__(self) -> Iterator[str]:
        return iter(["a"])

    def __len__(self) -> int:
        return 1

    def __str__(self) -> str:
        return "Failing"


def _in_itself() -> list[Any]:
    value: list[Any] = []
    value.append(value)
    return value


@BOTH
@pytest.mark.timeout(20)
@pytest.mark.parametrize(
    ("value", "argument"),
    [
        (b"\xff", "future_1"),
        (deep(300), "future_1"),
        (_in_itself(), "future_1"),
        (Text(text="\ud800"), "a ${future_1}"),
        (Failing(), "future_1.a"),
        (Failing(), "a ${future_1.a}"),
    ],
    ids=["bytes", "deep", "in itself", "surrogate", "failing", "failing in text"],
)
def test_a_value_that_cannot_be_put_in_ends_the_call(
    value: Any, argument: str, is_async: bool
) -> None:
    """Whatever an object raises when it is read, the call that refers to it ends with an answer."""
    takes_text = {"type": "object", "properties": {"x": {"type": ["string", "array"]}}}
    tools = [_tool("get", lambda: value, seconds=1.0), _tool("use", "used", 0.0, takes_text)]
    asked = AIMessage("", tool_calls=[call("get"), call("use", x=argument)], id="asked")
    final = _final(tools, asked, is_async=is_async)
    answers = [m for m in final if isinstance(m, ToolMessage)]
    assert len(answers) == 3  # with the one to `await_future`
    assert "is running" not in answers[1].text


@BOTH
@pytest.mark.timeout(20)
@pytest.mark.parametrize("delivery", ["in_place", "append"])
@pytest.mark.parametrize(
    "value",
    [2**70, {"id": -(2**64)}, deep(900), _in_itself(), ["\ud800"], {"\ud800": 1}],
    ids=["huge", "huge in object", "deep", "in itself", "surrogate", "surrogate key"],
)
def test_a_late_value_does_not_break_the_checkpoint(
    value: Any, delivery: Any, is_async: bool
) -> None:
    """A value that a checkpointer cannot write is not kept; the run goes on as with `ToolNode`."""
    gate = threading.Event()

    def get() -> Any:
        if not is_async:
            assert gate.wait(10)
        return value

    node = AsyncFCToolNode(
        [_tool("get", get, seconds=1.0)], effects={"get": PURE}, grace=0, delivery=delivery
    )
    model = Parrot(replies=[AIMessage("", tool_calls=[call("get")])])
    graph = agent(node, model, checkpointer=InMemorySaver())
    config = {"configurable": {"thread_id": "1"}}
    gate.set()
    final = run(graph, {"messages": [HumanMessage("go")]}, is_async=is_async, config=config)
    assert model.said[-1].text == "done"
    for message in final["messages"]:
        record = message.additional_kwargs.get("asyncfc", {})
        assert "value" not in record
        assert all("value" not in kept for kept in record.get("delivered", {}).values())


def test_resources_of_one_call_are_limited() -> None:
    """Two long lists do not multiply; the template covers its parent instead."""
    names = [str(n) for n in range(5000)]
    access = access_of(Effects(reads="fs:src/{a}/{b}"), {"a": names, "b": names}, frozenset())
    assert access is not None
    assert access.reads == (("fs:", "src"),)
    one = access_of(Effects(reads="fs:{a}"), {"a": names[:500]}, frozenset())
    assert one is not None
    assert len(one.reads) == 500


@pytest.mark.parametrize(
    "value", [deep(3000, "x"), 10**5000, _in_itself()], ids=["deep", "huge", "in itself"]
)
def test_odd_resource_names_are_no_error(value: Any) -> None:
    """What has no name as a resource covers the parent."""
    access = access_of(Effects(reads="fs:{a}"), {"a": value}, frozenset())
    assert access is not None


def test_a_missing_key_is_not_made_up() -> None:
    """A path asks for keys that are there: a mapping that makes up others is not changed."""
    value: defaultdict[str, list[int]] = defaultdict(list, a=[1])
    assert lookup(value, Reference(1, ("a", 0))) == 1
    with pytest.raises(ReferencePathError, match="keys 'a'"):
        lookup(value, Reference(1, ("b",)))
    assert dict(value) == {"a": [1]}


def test_deep_arguments_of_identical_calls_are_compared_or_not() -> None:
    """Arguments too deep to be written as JSON make a call that joins no other."""
    asked = AIMessage("", tool_calls=[call("look", x=deep(150)), call("look", x=deep(150))])
    assert _answer(asked, is_async=True).text == "ok"
    from langchain_asyncfc.calls import Call
    from langchain_asyncfc.toolbox import ToolFacts

    args = {"x": deep(100_000)}
    assert Call(1, call("look"), args, ToolFacts(None)).identity() is None


@pytest.mark.parametrize("calls", [[], [call("look", "a")]], ids=["no message", "answered"])
def test_answered_calls_are_not_run_again_for_a_placeholder(calls: list[Any]) -> None:
    """A placeholder alone leads to the tools only at the end of a turn.

    The tools node runs each call of the last message of the model, also one that is answered.
    """
    record = {"asyncfc": {"future": "future_1", "state": "pending"}}
    asked = [AIMessage("", tool_calls=calls)] if calls else []
    told = ToolMessage("x", tool_call_id="a", additional_kwargs=record)
    thread = [HumanMessage("go"), *asked, told, HumanMessage("go on")]
    assert tools_condition({"messages": thread}) == "__end__"
    assert tools_condition({"messages": [*thread, AIMessage("done")]}) == "tools"
