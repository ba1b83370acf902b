"""An agent in a process of its own, which tests kill.

    python crash_app.py serve          # forks a process for each file name that it reads
    python crash_app.py run FILE       # is such a process itself

A file says, as JSON, what to do (see `Spec`). The process builds the agent on a checkpointer,
answers the turns that it is asked for, and writes the messages to a file. Whatever happens is
noted in a log that outlives it, by one write a line. Gates, which are files, stop it at a point
until the test opens them: nothing depends on how long anything takes.

The model's answers are a function of the messages, so that another process goes on with them.
Importing LangGraph takes longer than all the rest, so `serve` does it once: it has no threads and
builds nothing, so that a process forked from it knows as little of earlier ones as a new one.
"""

from __future__ import annotations

import asyncio
import faulthandler
import json
import os
import sys
import time
import traceback
import warnings
from collections.abc import Iterable, Iterator, Sequence
from contextlib import AsyncExitStack, ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from langchain_core.messages import (
    AIMessage,
    BaseMessage,
    HumanMessage,
    ToolMessage,
    messages_to_dict,
)
from langchain_core.runnables import RunnableLambda
from langchain_core.tools import BaseTool, StructuredTool
from langgraph.graph import START, MessagesState, StateGraph, add_messages
from langgraph.types import Command, interrupt

from langchain_asyncfc import AsyncFCToolNode, Effects, effects, tools_condition
from langchain_asyncfc.testing import ScriptedChatModel

PATIENCE = 30.0
"""Seconds after which a gate that nobody opens ends the process."""
POLL = 0.002
HANGING = 15.0
"""Seconds after which a process that has not ended says where it stands."""

TOOLS: dict[str, Effects | None] = {
    "pay": None,
    "write_slot": Effects(writes=("slot:{x}",), idempotent=True),
    "look": Effects(),
    "report": Effects(reads=("ledger:",)),
    "ask": None,
}
"""What each tool does; undeclared are `pay`, which must not run twice, and `ask`, which asks."""

SAFE = frozenset({"write_slot", "look", "report"})
"""Those that may run again."""

CONTROL = frozenset({"await_future", "cancel_future"})


@dataclass
class Spec:
    """What a process does.

    Attributes:
        directory: Where log, gates and results are.
        number: The how manieth process of the test it is.
        face: `"node"` or `"middleware"`.
        entry: `"ainvoke"` or `"invoke"`.
        saver: A Postgres DSN, or a file of SQLite.
        durability: As for LangGraph.
        script: For each turn its batches, each a list of calls `[tool, x, of?]`.
        focus: Id of the call whose state names the points at which the checkpointer is met.
        todo: What to do: `["turn", n]` answers the n-th message of the user, or goes on with
            that; `["say", n]` sends it whatever is unfinished; `["answer", value]` answers
            every interrupt.
        closed: Gates that are closed unless a file of that name is there.
        journal: Whether the graph has a store.
        grace: Seconds.
        delivery: As for the node.
        work: Seconds that a tool takes, by name.
    """

    directory: str
    number: int
    face: str
    entry: str
    saver: str
    durability: str
    script: list[list[list[list[Any]]]]
    todo: list[list[Any]]
    focus: str = "t1b0c0"
    closed: list[str] = field(default_factory=list)
    journal: bool = False
    grace: float = 0.0
    delivery: str = "in_place"
    work: dict[str, float] = field(default_factory=dict)

    @property
    def is_async(self) -> bool:
        """Whether the graph runs on an event loop."""
        return self.entry == "ainvoke"


# -- what outlives the process -----------------------------------------------------------------


class Outside:
    """The log and the gates.

    Args:
        spec: Of this process.
    """

    def __init__(self, spec: Spec) -> None:
        self._spec = spec
        self._log = os.open(
            Path(spec.directory, "log"), os.O_APPEND | os.O_CREAT | os.O_WRONLY, 0o600
        )

    def note(self, what: str, **more: Any) -> None:
        """Write a line to the log; it stays there when the process is killed."""
        line = json.dumps({"process": self._spec.number, "what": what, **more})
        os.write(self._log, line.encode() + b"\n")

    def _is_closed(self, gate: str) -> bool:
        return gate in self._spec.closed and not Path(self._spec.directory, gate).exists()

    def _waiting(self, gate: str) -> Iterator[None]:
        if not self._is_closed(gate):
            return
        self.note("gate", gate=gate)
        deadline = time.monotonic() + PATIENCE
        while self._is_closed(gate):
            assert time.monotonic() < deadline, f"nobody opened {gate!r}"
            yield

    def wait(self, gate: str) -> None:
        """Stand at a gate in this thread."""
        for _ in self._waiting(gate):
            time.sleep(POLL)

    async def await_(self, gate: str) -> None:
        """Stand at a gate on this event loop."""
        for _ in self._waiting(gate):
            await asyncio.sleep(POLL)


# -- tools and model ---------------------------------------------------------------------------


def make_tools(spec: Spec, outside: Outside) -> list[BaseTool]:
    """All tools; the gates of a call are `"<tool> <x>"`."""
    return [_tool(name, does, spec, outside) for name, does in TOOLS.items()]


def _tool(name: str, does: Effects | None, spec: Spec, outside: Outside) -> BaseTool:
    seconds = spec.work.get(name, 0.0)

    def end(x: str, of: Any) -> str:
        answer = interrupt(f"{x}?") if name == "ask" else None
        outside.note("end", tool=name, x=x)
        words = [name, x, *([f"of {of}"] if of is not None else []), *([answer] if answer else [])]
        return " ".join(words)

    def run(x: str, of: Any = None) -> str:
        outside.note("start", tool=name, x=x)
        outside.wait(f"{name} {x}")
        time.sleep(seconds)
        return end(x, of)

    async def arun(x: str, of: Any = None) -> str:
        outside.note("start", tool=name, x=x)
        await outside.await_(f"{name} {x}")
        await asyncio.sleep(seconds)
        return end(x, of)

    made = StructuredTool.from_function(run, arun, name=name, description=f"The tool {name}.")
    if does is None:
        return made
    return effects(reads=does.reads, writes=does.writes, idempotent=does.idempotent)(made)


def own_calls(message: BaseMessage) -> list[Any]:
    """A message's calls to tools."""
    calls = message.tool_calls if isinstance(message, AIMessage) else []
    return [call for call in calls if call["name"] not in CONTROL]


def reply(spec: Spec, messages: Sequence[BaseMessage]) -> AIMessage:
    """What the model says next: the turn's batches one after the other, then "done"."""
    humans = [n for n, message in enumerate(messages) if isinstance(message, HumanMessage)]
    turn = int(messages[humans[-1]].text.split()[-1])
    batch = sum(1 for message in messages[humans[-1] :] if own_calls(message))
    batches = spec.script[turn - 1]
    if batch >= len(batches):
        return AIMessage(f"done {turn}")
    calls = [
        {
            "name": name,
            "args": {"x": x, **({"of": of[0]} if of else {})},
            "id": f"t{turn}b{batch}c{n}",
            "type": "tool_call",
        }
        for n, (name, x, *of) in enumerate(batches[batch])
    ]
    return AIMessage("", tool_calls=calls)


def make_model(spec: Spec, outside: Outside) -> ScriptedChatModel:
    """The model; its gates are `"model <n>"`, n the messages of the history that it answers."""

    def gate(messages: Sequence[BaseMessage]) -> str:
        batch = sum(1 for message in messages if own_calls(message))
        outside.note("model", batch=batch)
        return f"model {batch}"

    def policy(messages: list[BaseMessage]) -> AIMessage:
        outside.wait(gate(messages))
        return reply(spec, messages)

    async def apolicy(messages: list[BaseMessage]) -> AIMessage:
        await outside.await_(gate(messages))
        return reply(spec, messages)

    return ScriptedChatModel(policy=apolicy if spec.is_async else policy, check_history=True)


# -- the checkpointer and the store ------------------------------------------------------------


def _messages_in(value: Any) -> list[BaseMessage]:
    items = value if isinstance(value, list) else [value]
    return [item for item in items if isinstance(item, BaseMessage)]


def state_of(focus: str, messages: Iterable[BaseMessage]) -> str | None:
    """How far a call is in these messages; `None` where they do not name it."""
    found = None
    for message in messages:
        if found is None and any(call["id"] == focus for call in own_calls(message)):
            found = "called"
        if isinstance(message, ToolMessage) and message.tool_call_id == focus:
            record = message.additional_kwargs.get("asyncfc") or {}
            found = "pending" if record.get("state") == "pending" else "answered"
    return found


def _watched(kind: type, spec: Spec, outside: Outside) -> type:
    """A checkpointer class that stops at gates and notes what it has saved.

    The gates are `"before <put|writes> <state>"`, where the state is that of the focus in what
    is saved; `"interrupt"` where an interrupt is, and `"kept"` where the result of a LangGraph task
    is. Of a checkpoint it is noted as well whether the model had given its answer.
    """

    def in_checkpoint(checkpoint: Any) -> tuple[str | None, bool]:
        messages = checkpoint["channel_values"].get("messages", [])
        is_over = bool(messages) and messages[-1].type == "ai" and not own_calls(messages[-1])
        return state_of(spec.focus, messages), is_over

    def in_writes(writes: Sequence[tuple[str, Any]]) -> str | None:
        if any(channel == "__interrupt__" for channel, _ in writes):
            return "interrupt"
        if any(channel == "__return__" and value for channel, value in writes):
            return "kept"
        return state_of(spec.focus, [m for _, value in writes for m in _messages_in(value)])

    class Watched(kind):  # type: ignore[misc]
        def put(self, config: Any, checkpoint: Any, *rest: Any) -> Any:
            state, is_over = in_checkpoint(checkpoint)
            outside.wait(f"before put {state}")
            saved = super().put(config, checkpoint, *rest)
            outside.note("saved", by="put", state=state, over=is_over)
            return saved

        async def aput(self, config: Any, checkpoint: Any, *rest: Any) -> Any:
            state, is_over = in_checkpoint(checkpoint)
            await outside.await_(f"before put {state}")
            saved = await super().aput(config, checkpoint, *rest)
            outside.note("saved", by="put", state=state, over=is_over)
            return saved

        def put_writes(self, config: Any, writes: Any, *rest: Any) -> None:
            state = in_writes(writes)
            outside.wait(f"before writes {state}")
            super().put_writes(config, writes, *rest)
            outside.note("saved", by="writes", state=state)

        async def aput_writes(self, config: Any, writes: Any, *rest: Any) -> None:
            state = in_writes(writes)
            await outside.await_(f"before writes {state}")
            await super().aput_writes(config, writes, *rest)
            outside.note("saved", by="writes", state=state)

    return Watched


def _noting(kind: type, outside: Outside) -> type:
    """A store class that notes what it has kept."""

    class Noting(kind):  # type: ignore[misc]
        def batch(self, ops: Iterable[Any]) -> Any:
            ops = list(ops)
            done = super().batch(ops)
            self._note(ops)
            return done

        async def abatch(self, ops: Iterable[Any]) -> Any:
            ops = list(ops)
            done = await super().abatch(ops)
            self._note(ops)
            return done

        def _note(self, ops: Sequence[Any]) -> None:
            for op in ops:
                if type(op).__name__ == "PutOp" and op.value is not None:
                    outside.note("kept", call=op.value.get("call"), ended="outcome" in op.value)

    return Noting


def open_sync(spec: Spec, outside: Outside, stack: ExitStack) -> tuple[Any, Any]:
    """The checkpointer and the store for `invoke`."""
    saver: Any
    store: Any = None
    if spec.saver.startswith("postgresql:"):
        from langgraph.checkpoint.postgres import PostgresSaver
        from langgraph.store.postgres import PostgresStore

        kind: Any = _watched(PostgresSaver, spec, outside)
        saver = stack.enter_context(kind.from_conn_string(spec.saver))
        if spec.journal:
            keeper: Any = _noting(PostgresStore, outside)
            store = stack.enter_context(keeper.from_conn_string(spec.saver))
    else:
        from langgraph.checkpoint.sqlite import SqliteSaver
        from langgraph.store.sqlite import SqliteStore

        kind = _watched(SqliteSaver, spec, outside)
        saver = stack.enter_context(kind.from_conn_string(spec.saver))
        if spec.journal:
            keeper = _noting(SqliteStore, outside)
            store = stack.enter_context(keeper.from_conn_string(f"{spec.saver}.store"))
            store.setup()
    return saver, store


async def open_async(spec: Spec, outside: Outside, stack: AsyncExitStack) -> tuple[Any, Any]:
    """The checkpointer and the store for `ainvoke`."""
    saver: Any
    store: Any = None
    if spec.saver.startswith("postgresql:"):
        from langgraph.checkpoint.postgres.aio import AsyncPostgresSaver
        from langgraph.store.postgres import AsyncPostgresStore

        kind: Any = _watched(AsyncPostgresSaver, spec, outside)
        saver = await stack.enter_async_context(kind.from_conn_string(spec.saver))
        if spec.journal:
            keeper: Any = _noting(AsyncPostgresStore, outside)
            store = await stack.enter_async_context(keeper.from_conn_string(spec.saver))
    else:
        from langgraph.checkpoint.sqlite.aio import AsyncSqliteSaver
        from langgraph.store.sqlite import AsyncSqliteStore

        kind = _watched(AsyncSqliteSaver, spec, outside)
        saver = await stack.enter_async_context(kind.from_conn_string(spec.saver))
        if spec.journal:
            keeper = _noting(AsyncSqliteStore, outside)
            store = await stack.enter_async_context(keeper.from_conn_string(f"{spec.saver}.store"))
            await store.setup()
    return saver, store


# -- the agent ---------------------------------------------------------------------------------


def build(spec: Spec, outside: Outside, saver: Any, store: Any) -> Any:
    """The compiled graph."""
    model, tools = make_model(spec, outside), make_tools(spec, outside)
    options: dict[str, Any] = {"grace": spec.grace, "delivery": spec.delivery}
    if spec.face == "middleware":
        return _by_middleware(model, tools, options, outside, checkpointer=saver, store=store)
    return _by_node(model, tools, options, outside, checkpointer=saver, store=store)


def _is_over(state: Any) -> bool:
    last = state["messages"][-1]
    return isinstance(last, AIMessage) and not last.tool_calls


def _by_node(
    model: ScriptedChatModel,
    tools: list[BaseTool],
    options: dict[str, Any],
    outside: Outside,
    **stored: Any,
) -> Any:
    class Node(AsyncFCToolNode):
        def invoke(self, input: Any, config: Any = None, **kwargs: Any) -> Any:
            if _is_over(input):
                outside.note("end of turn")
            return super().invoke(input, config, **kwargs)

        async def ainvoke(self, input: Any, config: Any = None, **kwargs: Any) -> Any:
            if _is_over(input):
                outside.note("end of turn")
            return await super().ainvoke(input, config, **kwargs)

    node = Node(tools, **options)
    bound = model.bind_tools(node.model_tools)

    def think(state: MessagesState) -> dict[str, Any]:
        return {"messages": [bound.invoke(state["messages"])]}

    async def athink(state: MessagesState) -> dict[str, Any]:
        return {"messages": [await bound.ainvoke(state["messages"])]}

    builder = StateGraph(MessagesState)
    builder.add_node("agent", RunnableLambda(think, athink))
    builder.add_node("tools", node)
    builder.add_edge(START, "agent")
    builder.add_conditional_edges("agent", tools_condition, ["tools", "__end__"])
    builder.add_edge("tools", "agent")
    return builder.compile(**stored)


def _by_middleware(
    model: ScriptedChatModel,
    tools: list[BaseTool],
    options: dict[str, Any],
    outside: Outside,
    **stored: Any,
) -> Any:
    from langchain.agents import create_agent

    from langchain_asyncfc import AsyncFCMiddleware

    class Middleware(AsyncFCMiddleware):
        def after_model(self, state: Any, runtime: Any) -> Any:
            if _is_over(state):
                outside.note("end of turn")
            return super().after_model(state, runtime)

        async def aafter_model(self, state: Any, runtime: Any) -> Any:
            if _is_over(state):
                outside.note("end of turn")
            return await super().aafter_model(state, runtime)

    return create_agent(model, tools, middleware=[Middleware(**options)], **stored)


# -- the process -------------------------------------------------------------------------------


def _found(tuple_: Any) -> dict[str, Any]:
    """What the checkpointer has of a thread: the ids of calls made, pending and answered."""
    if tuple_ is None:
        return {"turns": 0, "called": [], "pending": [], "answered": []}
    messages = list(tuple_.checkpoint["channel_values"].get("messages", []))
    for _, channel, value in tuple_.pending_writes or ():
        if channel == "messages":
            messages = add_messages(messages, _messages_in(value))  # type: ignore[assignment]
    called = [call["id"] for message in messages for call in own_calls(message)]
    states = {call: state_of(call, messages) for call in called}
    return {
        "turns": sum(isinstance(message, HumanMessage) for message in messages),
        "called": called,
        "pending": [call for call, state in states.items() if state == "pending"],
        "answered": [call for call, state in states.items() if state == "answered"],
    }


def _value(doing: list[Any], state: Any) -> Any:
    """What to invoke the graph with, from where a thread stands; `False` if there is no need."""
    what, argument = doing
    said = sum(isinstance(m, HumanMessage) for m in state.values.get("messages", []))
    if what == "answer":
        return Command(resume={i.id: argument for i in state.interrupts})
    if what == "say":
        return {"messages": [HumanMessage(f"turn {argument}")]}
    # Not `next`, which is empty when all tasks of a step had written and its end was not saved.
    if state.tasks:
        return None
    return {"messages": [HumanMessage(f"turn {argument}")]} if said < argument else False


class Process:
    """What a process does from its start to its end, or until it is killed.

    Args:
        spec: What to do.
    """

    def __init__(self, spec: Spec) -> None:
        self._spec = spec
        self._outside = Outside(spec)
        self._config: Any = {"configurable": {"thread_id": "t"}, "recursion_limit": 100}
        self._results: list[dict[str, Any]] = []

    def _ended(self, doing: list[Any], state: Any) -> None:
        messages = messages_to_dict(state.values.get("messages", []))
        self._results.append({"messages": messages, "interrupts": len(state.interrupts)})
        path = Path(self._spec.directory, f"result{self._spec.number}")
        path.with_suffix(".new").write_text(json.dumps(self._results))
        path.with_suffix(".new").rename(path)
        self._outside.note("did", doing=doing)

    def run(self) -> None:
        """Do everything in this thread."""
        with ExitStack() as stack:
            saver, store = open_sync(self._spec, self._outside, stack)
            graph = build(self._spec, self._outside, saver, store)
            self._outside.note("found", **_found(saver.get_tuple(self._config)))
            for doing in self._spec.todo:
                value = _value(doing, graph.get_state(self._config))
                if value is not False:
                    graph.invoke(value, self._config, durability=self._spec.durability)
                self._ended(doing, graph.get_state(self._config))
            self._outside.wait("exit")

    async def arun(self) -> None:
        """Do everything on this event loop."""
        async with AsyncExitStack() as stack:
            saver, store = await open_async(self._spec, self._outside, stack)
            graph = build(self._spec, self._outside, saver, store)
            self._outside.note("found", **_found(await saver.aget_tuple(self._config)))
            for doing in self._spec.todo:
                value = _value(doing, await graph.aget_state(self._config))
                if value is not False:
                    await graph.ainvoke(value, self._config, durability=self._spec.durability)
                self._ended(doing, await graph.aget_state(self._config))
            await self._outside.await_("exit")


def run(path: str) -> int:
    """Do what a file says.

    Returns:
        The exit code.
    """
    spec = Spec(**json.loads(Path(path).read_text()))
    errors = os.open(Path(spec.directory, f"errors{spec.number}"), os.O_CREAT | os.O_WRONLY, 0o600)
    os.dup2(errors, 2)
    warnings.simplefilter("error")
    faulthandler.dump_traceback_later(HANGING)
    process = Process(spec)
    try:
        if spec.is_async:
            asyncio.run(process.arun())
        else:
            process.run()
    except BaseException:  # noqa: BLE001 - the test reads it
        traceback.print_exc()
        return 1
    return 0


def _preload() -> None:
    """Import what forked processes need."""
    import importlib

    for name in (
        "aiosqlite",
        "langchain.agents",
        "langchain_asyncfc.middleware",
        "langgraph.checkpoint.postgres.aio",
        "langgraph.checkpoint.sqlite.aio",
        "langgraph.store.postgres",
        "langgraph.store.sqlite",
    ):
        try:
            importlib.import_module(name)
        except ImportError:
            continue  # the tests that need it are skipped


def serve() -> None:
    """Fork a process for each line of the input; write its id, and when it has ended its status."""
    _preload()
    print("ready", flush=True)
    for line in iter(sys.stdin.readline, ""):
        child = os.fork()
        if child == 0:
            os.dup2(os.open(os.devnull, os.O_RDWR), 0)
            os.dup2(2, 1)
            code = run(line.strip())
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(code)
        print(child, flush=True)
        _, status = os.waitpid(child, 0)
        print(os.waitstatus_to_exitcode(status), flush=True)


if __name__ == "__main__":
    if sys.argv[1] == "serve":
        serve()
    else:
        sys.exit(run(sys.argv[2]))
