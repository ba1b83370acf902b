"""`ToolRuntime`: what a tool can know about the run that it is part of.

| statement of `ToolNode` and `ToolRuntime` | test |
|---|---|
| a parameter annotated `ToolRuntime` is injected, generic or not | `test_spellings` |
| a parameter named `runtime` is injected too | `test_parameter_named_runtime` |
| `state`: the state as the node got it | `test_state`, `test_state_of_a_message_list` |
| `state` of a list of tool calls sent in a graph: its channels | `test_state_of_sent_tool_calls` |
| `context` | `test_context` |
| `store`: the graph's, or none | `test_store` |
| `config`: the run's, of this call | `test_config` |
| `tool_call_id` | `test_tool_call_id` |
| `tools`: all tools of the node, the very objects | `test_tools` |
| `stream_writer` | `test_stream_writer` |
| `execution_info`: of this step, none outside of a graph | `test_execution_info` |
| `server_info`: as the `Runtime` has it | `test_server_info` |
| `emit_output_delta`: silent unless "tools" is streamed | `test_emit_output_delta_is_silent` |
| the model can't forge it | `test_forged` |
| a tool that asks for the config instead gets that | `test_config_parameter` |
| LangGraph's own `get_config` and the like work in a tool | `test_ambient_functions` |
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from langchain_core.runnables import RunnableConfig
from langchain_core.tools import tool
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.config import get_config, get_store, get_stream_writer
from langgraph.graph import START, MessagesState, StateGraph
from langgraph.prebuilt import ToolRuntime
from langgraph.runtime import ServerInfo, get_runtime
from langgraph.store.memory import InMemoryStore
from langgraph.types import Send

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.conformance.conftest import Ask, MakeNode, Mode, Way


@dataclass
class Context:
    """The context of a run."""

    user: str


def _spy(seen: list[ToolRuntime]) -> Any:
    """A tool that keeps the runtime it is given.

    Its types are `Any`, as pydantic warns of contexts and states that an unparametrised
    `ToolRuntime` doesn't declare.
    """

    @tool
    def spy(runtime: ToolRuntime[Any, Any]) -> str:
        """Keep the runtime."""
        seen.append(runtime)
        return "ok"

    return spy


def _runtime(
    make_node: MakeNode, call: Callable[[Any], Any], more_tools: tuple[Any, ...] = ()
) -> ToolRuntime:
    """The runtime that a tool gets when `call` runs its node."""
    seen: list[ToolRuntime] = []
    call(make_node([_spy(seen), *more_tools]))
    [runtime] = seen
    assert isinstance(runtime, ToolRuntime)
    return runtime


def test_spellings(make_node: MakeNode, way: Way) -> None:
    """Any parameter name does, when the annotation says `ToolRuntime`."""

    @tool
    def plain(x: int, rt: ToolRuntime) -> str:
        """Take it by type."""
        return f"{x} {rt.tool_call_id}"

    @tool
    def generic(runtime: ToolRuntime[Context, Any]) -> str:
        """Take it with types of its own."""
        return f"{runtime.context.user} {runtime.tool_call_id}"

    node = make_node([plain, generic])
    assert way.answer(node, ("plain", {"x": 1}))[0].content == "1 1"
    assert way.answer(node, ("generic", {}), context=Context("me"))[0].content == "me 1"


def test_parameter_named_runtime(make_node: MakeNode, way: Way) -> None:
    """The name `runtime` is enough, whatever the annotation."""

    @tool
    def named(runtime: Any) -> str:
        """Take it by name."""
        return type(runtime).__name__

    assert way.answer(make_node([named]), ("named", {}))[0].content == "ToolRuntime"


def test_state(make_node: MakeNode, way: Way) -> None:
    """The state has all fields, and the messages up to the call."""
    runtime = _runtime(make_node, lambda node: way.answer(node, ("spy", {}), state={"foo": "bar"}))
    assert runtime.state["foo"] == "bar"
    assert [message.type for message in runtime.state["messages"]] == ["human", "ai"]


def test_state_of_a_message_list(make_node: MakeNode, mode: Mode, ask: Ask) -> None:
    """A message list stays one."""
    messages = [ask(("spy", {}))]
    assert _runtime(make_node, lambda node: mode.bare(node, messages)).state == messages


class FooState(MessagesState, total=False):
    """Messages and a field."""

    foo: str


def test_state_of_sent_tool_calls(make_node: MakeNode, mode: Mode, ask: Ask) -> None:
    """The channels of the graph stand in for the state that was not sent."""

    def call(node: Any) -> None:
        builder = StateGraph(FooState)
        builder.add_node("tools", node)
        builder.add_conditional_edges(
            START, lambda state: [Send("tools", state["messages"][-1].tool_calls)], ["tools"]
        )
        mode.call(builder.compile(), {"messages": [ask(("spy", {}))], "foo": "bar"})

    runtime = _runtime(make_node, call)
    assert runtime.state["foo"] == "bar"
    assert [message.type for message in runtime.state["messages"]] == ["ai"]


def test_context(make_node: MakeNode, way: Way) -> None:
    """The context is the run's, the same object."""
    context = Context("me")
    runtime = _runtime(make_node, lambda node: way.answer(node, ("spy", {}), context=context))
    assert runtime.context is context
    assert _runtime(make_node, lambda node: way.answer(node, ("spy", {}))).context is None


def test_store(make_node: MakeNode, mode: Mode, ask: Ask, graph_of: Any) -> None:
    """The store is the graph's, and `None` without one."""
    store = InMemoryStore()
    value = {"messages": [ask(("spy", {}))]}
    runtime = _runtime(make_node, lambda node: mode.call(graph_of(node, store), value))
    assert runtime.store is not None
    runtime.store.put(("a",), "b", {"c": 1})
    assert store.get(("a",), "b") is not None
    assert _runtime(make_node, lambda node: mode.call(graph_of(node), value)).store is None


def test_config(make_node: MakeNode, way: Way) -> None:
    """The config has the caller's tags, metadata and configurable values."""
    config = {"configurable": {"user": "me"}, "metadata": {"m": 1}, "tags": ["t"]}
    runtime = _runtime(make_node, lambda node: way.answer(node, ("spy", {}), config=config))
    assert runtime.config["configurable"]["user"] == "me"
    assert runtime.config["metadata"]["m"] == 1
    assert "t" in runtime.config["tags"]


def test_tool_call_id(make_node: MakeNode, way: Way) -> None:
    """Each call has a runtime of its own."""
    seen: list[ToolRuntime] = []
    way.answer(make_node([_spy(seen)]), ("spy", {}), ("spy", {}))
    assert sorted(str(runtime.tool_call_id) for runtime in seen) == ["1", "2"]


@tool
def another() -> str:
    """Do something else."""
    return "else"


def test_tools(make_node: MakeNode, way: Way) -> None:
    """The tools are those given to the node, in order and not copied."""
    runtime = _runtime(make_node, lambda node: way.answer(node, ("spy", {})), (another,))
    assert [each.name for each in runtime.tools] == ["spy", "another"]
    assert runtime.tools[1] is another


def test_stream_writer(make_node: MakeNode, mode: Mode, ask: Ask, graph_of: Any) -> None:
    """What is written is streamed as "custom", or handed to the `Runtime`'s writer."""

    @tool
    def write(runtime: ToolRuntime) -> str:
        """Write."""
        runtime.stream_writer({"progress": 1})
        return "ok"

    node = make_node([write])
    value = {"messages": [ask(("write", {}))]}
    assert mode.stream(graph_of(node), value, stream_mode="custom") == [{"progress": 1}]
    written: list[Any] = []
    mode.bare(node, value, stream_writer=written.append)
    assert written == [{"progress": 1}]


def test_execution_info(make_node: MakeNode, mode: Mode, ask: Ask, graph_of: Any) -> None:
    """In a graph: the step's own; outside: none."""
    value = {"messages": [ask(("spy", {}))]}
    config = {"configurable": {"thread_id": "t"}}

    def call(node: Any) -> Any:
        return mode.call(graph_of(node, checkpointer=InMemorySaver()), value, config)

    info = _runtime(make_node, call).execution_info
    assert info is not None
    assert info.thread_id == "t"
    assert info.node_attempt == 1
    assert info.checkpoint_ns == f"tools:{info.task_id}"
    assert _runtime(make_node, lambda node: mode.bare(node, value)).execution_info is None


def test_server_info(make_node: MakeNode, mode: Mode, ask: Ask) -> None:
    """The server's information is passed through."""
    info = ServerInfo(assistant_id="a", graph_id="g")
    value = {"messages": [ask(("spy", {}))]}
    runtime = _runtime(make_node, lambda node: mode.bare(node, value, server_info=info))
    assert runtime.server_info is info
    assert _runtime(make_node, lambda node: mode.bare(node, value)).server_info is None


def test_emit_output_delta_is_silent(make_node: MakeNode, way: Way) -> None:
    """A tool may emit deltas whether or not someone streams them."""

    @tool
    def emit(runtime: ToolRuntime) -> str:
        """Emit a delta."""
        runtime.emit_output_delta("part")
        return "whole"

    assert way.answer(make_node([emit]), ("emit", {}))[0].content == "whole"


def test_forged(make_node: MakeNode, way: Way) -> None:
    """The model's value under the parameter's name is dropped."""
    seen: list[ToolRuntime] = []
    way.answer(make_node([_spy(seen)]), ("spy", {"runtime": {"state": "forged"}}))
    assert isinstance(seen[0], ToolRuntime)


def test_config_parameter(make_node: MakeNode, way: Way) -> None:
    """A parameter annotated `RunnableConfig` is filled in by the tool itself."""

    @tool
    def show(x: int, config: RunnableConfig) -> str:
        """Show the arguments."""
        return f"{x} {config['configurable']['user']}"

    config = {"configurable": {"user": "me"}}
    assert way.answer(make_node([show]), ("show", {"x": 1}), config=config)[0].content == "1 me"


def test_ambient_functions(make_node: MakeNode, mode: Mode, ask: Ask, graph_of: Any) -> None:
    """Config, store, writer and runtime are found without being passed."""
    store = InMemoryStore()

    @tool
    def ambient() -> str:
        """Look around."""
        get_store().put(("a",), "b", {"c": 1})
        get_stream_writer()("written")
        user = get_config()["configurable"]["user"]
        return f"{user} {get_runtime(Context).context.user}"

    chunks = mode.stream(
        graph_of(make_node([ambient]), store),
        {"messages": [ask(("ambient", {}))]},
        {"configurable": {"user": "me"}},
        context=Context("you"),
        stream_mode=["custom", "values"],
    )
    assert ("custom", "written") in chunks
    assert chunks[-1][1]["messages"][-1].content == "me you"
    assert store.get(("a",), "b") is not None
