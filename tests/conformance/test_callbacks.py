"""What callbacks see of a tool's run, and what of a config reaches it.

| statement of `ToolNode` and of `BaseTool` | test |
|---|---|
| each call is one tool run: start, end | `test_one_run_for_each_call` |
| the start has name, description, arguments and tool call id | `test_start` |
| injected arguments are not shown | `test_injected_arguments_are_not_shown` |
| the end has the tool's message | `test_end` |
| an error is reported with the call's id, handled or not | `test_error` |
| bad arguments are an error of the tool run | `test_bad_arguments` |
| an unknown tool has no run | `test_unknown_tool` |
| the parent is the run of the step | `test_parent_is_the_step` |
| outside of a graph there is no parent | `test_no_parent_outside_of_a_graph` |
| a tool's own runs are its children | `test_children_of_a_tool` |
| tags and metadata of the config and of the tool | `test_tags_and_metadata` |
| metadata tells the node | `test_metadata_of_the_step` |
| `run_name` names the tool's run outside of a graph | `test_run_name` |
| a tool's own callbacks | `test_callbacks_of_the_tool` |
| asynchronous handlers are called on the run's event loop | `test_async_handler` |
| `configurable` reaches the tool | `test_configurable` |
| context variables of the caller are visible in a tool, what it sets stays in it | \
`test_context_variables`, `test_context_variables_of_a_coroutine` |
"""

from __future__ import annotations

import asyncio
import contextvars
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Annotated, Any

import pytest
from langchain_core.callbacks import AsyncCallbackHandler, BaseCallbackHandler
from langchain_core.messages import ToolMessage
from langchain_core.runnables import RunnableConfig, RunnableLambda
from langchain_core.tools import BaseTool, tool
from langgraph.prebuilt import InjectedState, ToolRuntime
from langgraph.prebuilt.tool_node import ToolInvocationError
from pydantic import ValidationError

if TYPE_CHECKING:
    from uuid import UUID

    from tests.conformance.conftest import Ask, MakeNode, Mode, Way


@dataclass
class Recorder(BaseCallbackHandler):
    """Keeps what it is told of runs, in order."""

    run_inline = True
    started: list[dict[str, Any]] = field(default_factory=list)
    ended: list[tuple[UUID, Any]] = field(default_factory=list)
    failed: list[tuple[BaseException, Any]] = field(default_factory=list)
    chains: dict[UUID, dict[str, Any]] = field(default_factory=dict)

    def on_tool_start(self, serialized: Any, input_str: str, **kwargs: Any) -> None:
        """Keep everything."""
        self.started.append({"serialized": serialized, "input_str": input_str, **kwargs})

    def on_tool_end(self, output: Any, *, run_id: UUID, **kwargs: Any) -> None:
        """Keep run and output."""
        self.ended.append((run_id, output))

    def on_tool_error(self, error: BaseException, **kwargs: Any) -> None:
        """Keep the error and the call's id."""
        self.failed.append((error, kwargs.get("tool_call_id")))

    def on_chain_start(self, serialized: Any, inputs: Any, *, run_id: UUID, **kwargs: Any) -> None:
        """Keep what is known of a chain."""
        self.chains[run_id] = kwargs


@tool
def add(a: int, b: int) -> int:
    """Add two numbers."""
    return a + b


@tool
def fail() -> str:
    """Fail."""
    raise ValueError("boom")


ADD = ("add", {"a": 1, "b": 2})


def _record(way: Way, node: Any, *calls: Any, config: Any = None, **options: Any) -> Recorder:
    recorder = Recorder()
    way.answer(node, *calls, config={"callbacks": [recorder], **(config or {})}, **options)
    return recorder


def test_one_run_for_each_call(make_node: MakeNode, way: Way) -> None:
    """As many starts as ends, no run twice."""
    recorder = _record(way, make_node([add]), ADD, ADD, ADD)
    ids = [start["run_id"] for start in recorder.started]
    assert len(set(ids)) == 3
    assert sorted(run_id for run_id, _ in recorder.ended) == sorted(ids)
    assert sorted(start["tool_call_id"] for start in recorder.started) == ["1", "2", "3"]


def test_start(make_node: MakeNode, way: Way) -> None:
    """The start tells what is run with what."""
    [start] = _record(way, make_node([add]), ADD).started
    assert start["serialized"]["name"] == "add"
    assert start["serialized"]["description"] == "Add two numbers."
    assert start["inputs"] == {"a": 1, "b": 2}
    assert start["input_str"] == "{'a': 1, 'b': 2}"
    assert start["tool_call_id"] == "1"


def test_injected_arguments_are_not_shown(make_node: MakeNode, way: Way) -> None:
    """State and runtime don't belong into traces."""

    @tool
    def inject(x: int, state: Annotated[Any, InjectedState], runtime: ToolRuntime[Any, Any]) -> int:
        """Take the state."""
        return x

    [start] = _record(way, make_node([inject]), ("inject", {"x": 1})).started
    assert start["inputs"] == {"x": 1}


def test_end(make_node: MakeNode, way: Way) -> None:
    """The end has the message, of the run that was started."""
    recorder = _record(way, make_node([add]), ADD)
    [(run_id, output)] = recorder.ended
    assert run_id == recorder.started[0]["run_id"]
    # In a graph the reducer has set an id on the same object.
    assert output.model_copy(update={"id": None}) == ToolMessage("3", name="add", tool_call_id="1")


def test_error(make_node: MakeNode, way: Way) -> None:
    """A tool's error is seen as it is, whether or not the node handles it."""
    recorder = _record(way, make_node([fail], handle_tool_errors=True), ("fail", {}))
    [(error, tool_call_id)] = recorder.failed
    assert repr(error) == "ValueError('boom')"
    assert tool_call_id == "1"
    assert recorder.ended == []
    with pytest.raises(ValueError, match="boom"):
        _record(way, make_node([fail]), ("fail", {}))


def test_bad_arguments(make_node: MakeNode, way: Way) -> None:
    """The tool's run fails with pydantic's error; the node makes its own of it later."""
    recorder = _record(way, make_node([add]), ("add", {"a": 1}))
    [(error, _)] = recorder.failed
    assert isinstance(error, ValidationError)
    assert not isinstance(error, ToolInvocationError)


def test_unknown_tool(make_node: MakeNode, way: Way) -> None:
    """What isn't run has no run."""
    assert _record(way, make_node([add]), ("other", {})).started == []


def test_parent_is_the_step(make_node: MakeNode, mode: Mode, ask: Ask, graph_of: Any) -> None:
    """The tools' runs are children of the step's run, which is a child of the graph's."""
    recorder = Recorder()
    graph = graph_of(make_node([add]))
    mode.call(graph, {"messages": [ask(ADD, ADD)]}, {"callbacks": [recorder]})
    [parent] = {start["parent_run_id"] for start in recorder.started}
    assert recorder.chains[parent]["name"] == "tools"
    assert recorder.chains[parent]["metadata"]["langgraph_node"] == "tools"
    root = recorder.chains[parent]["parent_run_id"]
    assert recorder.chains[root]["name"] == "LangGraph"
    assert recorder.chains[root]["parent_run_id"] is None
    # The node makes no run of its own.
    assert set(recorder.chains) == {parent, root}


def test_no_parent_outside_of_a_graph(make_node: MakeNode, mode: Mode, ask: Ask) -> None:
    """The node alone makes no run of its own."""
    recorder = Recorder()
    mode.bare(make_node([add]), [ask(ADD)], {"callbacks": [recorder]})
    assert [start["parent_run_id"] for start in recorder.started] == [None]
    assert recorder.chains == {}


def test_children_of_a_tool(make_node: MakeNode, way: Way) -> None:
    """What a tool runs is a child of the tool's run."""
    double: Any = RunnableLambda(lambda x: 2 * x).with_config(run_name="double")

    @tool
    def ambient(x: int) -> int:
        """Run something else, and pass nothing on."""
        return double.invoke(x)

    recorder = _record(way, make_node([ambient]), ("ambient", {"x": 2}))
    [child] = [chain for chain in recorder.chains.values() if chain.get("name") == "double"]
    assert child["parent_run_id"] == recorder.started[0]["run_id"]


def test_tags_and_metadata(make_node: MakeNode, way: Way) -> None:
    """A run has the tags and metadata of the config and those of its tool."""
    tagged = add.model_copy(update={"tags": ["of tool"], "metadata": {"tool": 1}})
    config = {"tags": ["of config"], "metadata": {"config": 2}}
    [start] = _record(way, make_node([tagged]), ADD, config=config).started
    assert {"of tool", "of config"} <= set(start["tags"])
    assert start["metadata"]["tool"] == 1
    assert start["metadata"]["config"] == 2


def test_metadata_of_the_step(make_node: MakeNode, mode: Mode, ask: Ask, graph_of: Any) -> None:
    """Tools run in the name of the node and the step that issued them."""
    recorder = Recorder()
    graph = graph_of(make_node([add]))
    mode.call(graph, {"messages": [ask(ADD)]}, {"callbacks": [recorder]})
    metadata = recorder.started[0]["metadata"]
    assert metadata["langgraph_node"] == "tools"
    assert metadata["langgraph_step"] == 1
    assert metadata["langgraph_checkpoint_ns"].startswith("tools:")


def test_run_name(make_node: MakeNode, mode: Mode, ask: Ask) -> None:
    """Config given to the bare node is the tools' config."""
    recorder = Recorder()
    config = {"callbacks": [recorder], "run_name": "a name"}
    mode.bare(make_node([add]), [ask(ADD)], config)
    assert [start["name"] for start in recorder.started] == ["a name"]


def test_callbacks_of_the_tool(make_node: MakeNode, way: Way) -> None:
    """Handlers set on a tool hear of its runs alone."""
    recorder = Recorder()
    heard = add.model_copy(update={"name": "heard", "callbacks": [recorder]})
    way.answer(make_node([heard, add]), ("heard", {"a": 1, "b": 2}), ADD)
    assert [start["serialized"]["name"] for start in recorder.started] == ["heard"]


def test_configurable(make_node: MakeNode, way: Way) -> None:
    """Configurable values reach each tool."""

    @tool
    def who(config: RunnableConfig) -> str:
        """Tell the user."""
        return str(config["configurable"]["user"])

    config = {"configurable": {"user": "me"}}
    answers = way.answer(make_node([who]), ("who", {}), ("who", {}), config=config)
    assert [message.content for message in answers] == ["me", "me"]


variable: contextvars.ContextVar[str] = contextvars.ContextVar("variable", default="unset")


@tool
def swap(text: str) -> str:
    """Set the variable and tell what it was."""
    before = variable.get()
    variable.set(text)
    return before


@tool("swap")
async def swap_later(text: str) -> str:
    """Set the variable and tell what it was."""
    before = variable.get()
    variable.set(text)
    return before


SWAPS = ("swap", {"text": "first"}), ("swap", {"text": "second"})


def _swap(way: Way, node: Any) -> list[Any]:
    token = variable.set("the caller's")
    try:
        contents = [message.content for message in way.answer(node, *SWAPS)]
        assert variable.get() == "the caller's"
        return contents
    finally:
        variable.reset(token)


def test_context_variables(make_node: MakeNode, way: Way) -> None:
    """A tool sees the caller's values; what it sets is seen by nobody else."""
    assert _swap(way, make_node([swap])) == ["the caller's"] * 2


def test_context_variables_of_a_coroutine(make_node: MakeNode, async_way: Way) -> None:
    """The same for coroutine tools."""
    assert _swap(async_way, make_node([swap_later])) == ["the caller's"] * 2


class LoopRecorder(AsyncCallbackHandler):
    """Keeps on which event loop it is told of what."""

    def __init__(self) -> None:
        self.heard: list[tuple[str, asyncio.AbstractEventLoop]] = []

    async def on_tool_start(self, *args: Any, **kwargs: Any) -> None:
        """Keep the loop."""
        self.heard.append(("start", asyncio.get_running_loop()))

    async def on_tool_end(self, *args: Any, **kwargs: Any) -> None:
        """Keep the loop."""
        self.heard.append(("end", asyncio.get_running_loop()))


class Shout(BaseTool):
    """A tool class with nothing but `_run`."""

    name: str = "shout"
    description: str = "Shout."

    def _run(self, text: str) -> str:
        return text.upper()


@pytest.mark.parametrize("name", ["shout", "swap"])
def test_async_handler(make_node: MakeNode, ask: Ask, graph_of: Any, name: str) -> None:
    """A handler may use what belongs to its loop.

    Function tools without a coroutine are left out: LangChain runs those in a thread with all
    that belongs to them.
    """

    async def run() -> None:
        handler = LoopRecorder()
        graph = graph_of(make_node([Shout(), swap_later]))
        message = ask((name, {"text": "x"}))
        await graph.ainvoke({"messages": [message]}, {"callbacks": [handler]})
        loop = asyncio.get_running_loop()
        assert handler.heard == [("start", loop), ("end", loop)]

    asyncio.run(run())
