"""Which kinds of tools a node runs, and how it treats the objects.

| statement of `ToolNode` and of `BaseTool` | test |
|---|---|
| a tool with one function runs under sync and async entry points | `test_sync_tool` |
| a tool with one coroutine runs under async entry points | `test_coroutine_tool` |
| a tool with both uses the function sync and the coroutine async | `test_tool_with_both` |
| a `BaseTool` with only `_run` | `test_base_tool_with_run` |
| a `BaseTool` with `_run` and `_arun` | `test_base_tool_with_both` |
| `_run` gets the run manager if it asks for it | `test_run_manager` |
| `self` is the tool given: its state persists | `test_stateful_tool`, `test_private_state` |
| ... also of a bound method as a tool | `test_bound_method` |
| a tool's own `invoke` and `ainvoke` are used | `test_own_invoke` |
| ... what they return has to be a message or a command | `test_own_invoke_of_something_else` |
| `args_schema`: a pydantic model, with aliases | `test_args_schema`, `test_alias` |
| tools without arguments | `test_no_arguments` |
| a tool may be named differently than its function | `test_named_tool` |
| a tool made from a runnable | `test_tool_from_a_runnable` |
| sync tools leave the event loop free | `test_sync_tools_leave_the_loop_free` |
| `max_concurrency` of the config limits sync runs | `test_max_concurrency` |
| nulls are values where a parameter takes them | `test_nulls` |
| the tool can run outside of the node as before | `test_tool_outside_of_the_node` |
"""

from __future__ import annotations

import asyncio
import threading
from typing import TYPE_CHECKING, Any

import pytest
from langchain_core.messages import ToolMessage
from langchain_core.runnables import RunnableLambda
from langchain_core.tools import BaseTool, StructuredTool, tool
from pydantic import BaseModel, Field, PrivateAttr

if TYPE_CHECKING:
    from langchain_core.callbacks import CallbackManagerForToolRun

    from tests.conformance.conftest import Ask, MakeNode, Mode, Way


def _answer(content: str, name: str, id_: str = "1") -> ToolMessage:
    return ToolMessage(content, name=name, tool_call_id=id_)


@tool
def double(x: int) -> int:
    """Double a number."""
    return 2 * x


def test_sync_tool(make_node: MakeNode, way: Way) -> None:
    """Under async entry points it runs in a thread."""
    threads: list[int] = []

    @tool
    def where() -> str:
        """Tell the thread."""
        threads.append(threading.get_ident())
        return "here"

    assert way.answer(make_node([where]), ("where", {})) == [_answer("here", "where")]
    if way.mode.is_async:
        assert threads != [threading.get_ident()]


def test_coroutine_tool(make_node: MakeNode, async_way: Way) -> None:
    """It runs on the caller's event loop."""
    threads: list[int] = []

    @tool
    async def where() -> str:
        """Tell the thread."""
        threads.append(threading.get_ident())
        return "here"

    assert async_way.answer(make_node([where]), ("where", {})) == [_answer("here", "where")]
    assert threads == [threading.get_ident()]


def test_tool_with_both(make_node: MakeNode, way: Way) -> None:
    """Each mode uses its own."""

    async def coroutine() -> str:
        return "async"

    both = StructuredTool.from_function(
        func=lambda: "sync", coroutine=coroutine, name="both", description="Both."
    )
    assert way.answer(make_node([both]), ("both", {})) == [_answer(way.mode.name, "both")]


class OnlyRun(BaseTool):
    """A tool class with nothing but `_run`."""

    name: str = "only_run"
    description: str = "Run."
    count: int = 0
    _log: list[int] = PrivateAttr(default_factory=list)

    def _run(self, x: int) -> str:
        self.count += 1
        self._log.append(x)
        return f"run {x}"


class Both(OnlyRun):
    """A tool class with a coroutine as well."""

    async def _arun(self, x: int) -> str:
        self.count += 1
        return f"arun {x}"


def test_base_tool_with_run(make_node: MakeNode, way: Way) -> None:
    """`_run` is enough."""
    assert way.answer(make_node([OnlyRun()]), ("only_run", {"x": 1})) == [
        _answer("run 1", "only_run")
    ]


def test_base_tool_with_both(make_node: MakeNode, way: Way) -> None:
    """Each mode uses its own method."""
    content = "arun 1" if way.mode.is_async else "run 1"
    assert way.answer(make_node([Both()]), ("only_run", {"x": 1})) == [_answer(content, "only_run")]


class Managed(BaseTool):
    """A tool that looks at its run."""

    name: str = "managed"
    description: str = "Run."

    def _run(self, x: int, run_manager: CallbackManagerForToolRun | None = None) -> str:
        return f"{x} {run_manager is not None}"


def test_run_manager(make_node: MakeNode, way: Way) -> None:
    """The run manager is passed under its name."""
    Managed.model_rebuild()
    managed = Managed(args_schema=OneNumber)
    assert way.answer(make_node([managed]), ("managed", {"x": 1})) == [_answer("1 True", "managed")]


class OneNumber(BaseModel):
    """Arguments as a model."""

    x: int = Field(ge=0)


@pytest.mark.parametrize("tool_class", [OnlyRun, Both])
def test_stateful_tool(make_node: MakeNode, way: Way, tool_class: type[OnlyRun]) -> None:
    """What a tool writes to itself is there afterwards, on the object that was given."""
    counter = tool_class()
    node = make_node([counter])
    way.answer(node, ("only_run", {"x": 1}))
    way.answer(node, ("only_run", {"x": 2}))
    assert counter.count == 2


def test_private_state(make_node: MakeNode, way: Way) -> None:
    """The same for private attributes."""
    logger = OnlyRun()
    node = make_node([logger])
    way.answer(node, ("only_run", {"x": 1}))
    way.answer(node, ("only_run", {"x": 2}))
    assert logger._log == [1, 2]


class Account:
    """An object with a method that is given as a tool."""

    balance = 0

    def pay_in(self, amount: int) -> int:
        """Pay in."""
        self.balance += amount
        return self.balance


def test_bound_method(make_node: MakeNode, way: Way) -> None:
    """A method works on its object."""
    account = Account()
    node = make_node([tool(account.pay_in)])
    assert way.answer(node, ("pay_in", {"amount": 5})) == [_answer("5", "pay_in")]
    assert account.balance == 5


class Overriding(BaseTool):
    """A tool with entry points of its own."""

    name: str = "overriding"
    description: str = "Run."
    value: Any = None

    def _run(self) -> str:
        raise AssertionError("not to be called")

    def invoke(self, input: Any, config: Any = None, **kwargs: Any) -> Any:
        """Answer at once."""
        return self.value or ToolMessage(["a", "sync"], tool_call_id=input["id"])

    async def ainvoke(self, input: Any, config: Any = None, **kwargs: Any) -> Any:
        """Answer at once."""
        return self.value or ToolMessage(["an", "async"], tool_call_id=input["id"])


def test_own_invoke(make_node: MakeNode, way: Way) -> None:
    """A tool that overrides how it is invoked is invoked so."""
    content = '["an", "async"]' if way.mode.is_async else '["a", "sync"]'
    assert way.answer(make_node([Overriding()]), ("overriding", {})) == [
        ToolMessage(content, tool_call_id="1")
    ]


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ("text", "Tool overriding returned unexpected type: <class 'str'>"),
        (
            ["text"],
            (
                "Tool overriding returned a list with invalid element types: expected all Command "
                "or ToolMessage"
            ),
        ),
    ],
)
def test_own_invoke_of_something_else(make_node: MakeNode, way: Way, value: Any, text: str) -> None:
    """What comes out of a tool is checked, and a mistake is the tool's error."""
    node = make_node([Overriding(value=value)])
    with pytest.raises(TypeError) as raised:
        way.answer(node, ("overriding", {}))
    assert str(raised.value) == text
    node = make_node([Overriding(value=value)], handle_tool_errors=True)
    [answer] = way.answer(node, ("overriding", {}))
    assert answer.content == f"Error: {TypeError(text)!r}\n Please fix your mistakes."


def test_args_schema(make_node: MakeNode, way: Way) -> None:
    """The model given as a schema checks the arguments."""
    checked = StructuredTool.from_function(
        func=lambda x: f"got {x}", name="checked", description="Check.", args_schema=OneNumber
    )
    good, bad = way.answer(make_node([checked]), ("checked", {"x": "3"}), ("checked", {"x": -3}))
    assert good == _answer("got 3", "checked")
    assert "x: Input should be greater than or equal to 0" in bad.content


class Aliased(BaseModel):
    """Arguments under other names."""

    from_: str = Field(alias="from")


def test_alias(make_node: MakeNode, way: Way) -> None:
    """The model writes the alias, the function gets the name."""
    mail = StructuredTool.from_function(
        func=lambda from_: f"from {from_}", name="mail", description="Mail.", args_schema=Aliased
    )
    assert way.answer(make_node([mail]), ("mail", {"from": "me"})) == [_answer("from me", "mail")]


def test_no_arguments(make_node: MakeNode, way: Way) -> None:
    """A tool without arguments ignores what the model makes up."""

    @tool
    def ping() -> str:
        """Ping."""
        return "pong"

    node = make_node([ping])
    assert way.answer(node, ("ping", {}), ("ping", {"made": "up"})) == [
        _answer("pong", "ping"),
        _answer("pong", "ping", "2"),
    ]


def test_named_tool(make_node: MakeNode, way: Way) -> None:
    """The tool's name counts."""
    named = tool("another_name")(double.func)  # type: ignore[attr-defined]
    assert way.answer(make_node([named]), ("another_name", {"x": 1})) == [
        _answer("2", "another_name")
    ]


class Question(BaseModel):
    """What a chain takes."""

    text: str


@pytest.mark.filterwarnings("ignore:This API is in beta")
def test_tool_from_a_runnable(make_node: MakeNode, way: Way) -> None:
    """A chain can be a tool."""
    chain = RunnableLambda(lambda given: given["text"].upper())
    shout = chain.as_tool(name="shout", description="Shout.", args_schema=Question)
    assert way.answer(make_node([shout]), ("shout", {"text": "hi"})) == [_answer("HI", "shout")]


def test_sync_tools_leave_the_loop_free(make_node: MakeNode, ask: Ask, graph_of: Any) -> None:
    """While a sync tool blocks, the event loop runs on."""
    released = threading.Event()

    @tool
    def block() -> str:
        """Block until released."""
        assert released.wait(30)
        return "released"

    async def run() -> Any:
        graph = graph_of(make_node([block]))
        task = asyncio.create_task(graph.ainvoke({"messages": [ask(("block", {}))]}))
        asyncio.get_running_loop().call_later(0, released.set)
        return await task

    assert asyncio.run(run())["messages"][-1].content == "released"


def test_max_concurrency(make_node: MakeNode, ask: Ask, graph_of: Any) -> None:
    """Sync runs have no more tools at once than the config allows."""
    running, most = 0, 0
    lock = threading.Lock()
    others = threading.Semaphore(0)

    @tool
    def work() -> str:
        """Count how many run."""
        nonlocal running, most
        with lock:
            running += 1
            most = max(most, running)
        # Give a forbidden third one the time to start before leaving.
        others.acquire(timeout=0.02)
        with lock:
            running -= 1
        return "done"

    graph = graph_of(make_node([work]))
    final = graph.invoke({"messages": [ask(*[("work", {})] * 6)]}, {"max_concurrency": 2})
    assert [m.content for m in final["messages"][1:]] == ["done"] * 6
    assert most <= 2


def test_tool_outside_of_the_node(make_node: MakeNode, mode: Mode, ask: Ask) -> None:
    """A node changes nothing about the tools that it is given."""
    before = {name: getattr(double, name) for name in type(double).model_fields}
    schema = double.tool_call_schema.model_json_schema()  # type: ignore[union-attr]
    mode.bare(make_node([double]), [ask(("double", {"x": 1}))])
    assert {name: getattr(double, name) for name in before} == before
    assert double.tool_call_schema.model_json_schema() == schema  # type: ignore[union-attr]
    assert double.invoke({"x": 4}) == 8


def test_nulls(make_node: MakeNode, way: Way) -> None:
    """A null that the schema lets pass reaches the function, on every level."""

    @tool
    def show(a: int | None, b: Any = 1, c: dict[str, Any] | None = None, d: list[Any] = []) -> str:  # noqa: B006
        """Show the arguments."""
        return repr((a, b, c, d))

    args = {"a": None, "b": None, "c": {"x": None, "y": {"z": None}}, "d": [None, {"e": None}]}
    [answer] = way.answer(make_node([show]), ("show", args))
    assert answer.content == repr(tuple(args.values()))
