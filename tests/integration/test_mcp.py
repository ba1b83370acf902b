"""Tools of a real MCP server, through `langchain-mcp-adapters`, in a graph and in an agent.

The server says who was in a room with whom: it is the witness of what ran side by side. What the
client side has started is noted by an interceptor of the adapters.
"""

from __future__ import annotations

import asyncio
import gc
import json
import logging
import subprocess
import sys
from collections.abc import Callable, Coroutine, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from typing import Any

import httpx
import jsonschema
import pytest
from langchain.agents import create_agent
from langchain_core.messages import AIMessage, HumanMessage, ToolMessage
from langchain_core.runnables import RunnableLambda
from langchain_core.tools import BaseTool
from langchain_core.utils.function_calling import convert_to_openai_tool
from langchain_mcp_adapters.client import MultiServerMCPClient
from langchain_mcp_adapters.tools import load_mcp_tools
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.graph import START, MessagesState, StateGraph
from langgraph.prebuilt import ToolNode
from langgraph.prebuilt import tools_condition as plain_condition
from langgraph.types import Command
from mcp.shared.exceptions import McpError

from langchain_asyncfc import AsyncFCMiddleware, AsyncFCToolNode, Effects, tools_condition
from langchain_asyncfc.testing import ScriptedChatModel, assert_valid_history, call

SERVER = Path(__file__).with_name("mcp_server.py")
STDIO: Any = {"transport": "stdio", "command": sys.executable, "args": [str(SERVER), "stdio"]}
PATIENCE = 30.0
"""Seconds of wall time after which a test that got stuck fails."""
NEVER = 99
"""More visitors than ever come: the visitor stays until the room is opened."""

Reply = AIMessage | str | Callable[[], Coroutine[Any, Any, AIMessage | str]]


# -- the server ---------------------------------------------------------------------------------


def _http_client(headers: Any = None, timeout: Any = None, auth: Any = None) -> httpx.AsyncClient:
    """A client that does not load certificates, which takes longer than a call."""
    return httpx.AsyncClient(headers=headers, timeout=timeout, auth=auth, verify=False)


@dataclass(slots=True)
class Service:
    """A server that listens over HTTP.

    Attributes:
        process: The server.
        connection: Where it listens.
        tools: Its tools by name, each call of which opens a session of its own.
        started: What the client has started, in order: the tool's name and arguments.
        runtimes: The runtimes with which it has started them.
    """

    process: subprocess.Popen[str]
    connection: Any
    tools: dict[str, BaseTool] = field(default_factory=dict)
    started: list[tuple[str, dict[str, Any]]] = field(default_factory=list)
    runtimes: list[Any] = field(default_factory=list)

    def load(self, **options: Any) -> dict[str, BaseTool]:
        """The server's tools by name."""

        async def note(request: Any, handler: Any) -> Any:
            self.started.append((request.name, request.args))
            self.runtimes.append(request.runtime)
            return await handler(request)

        options = {"tool_interceptors": [note], **options}
        client = MultiServerMCPClient({"workshop": self.connection}, **options)
        return {tool.name: tool for tool in asyncio.run(client.get_tools())}

    async def ask(self, name: str, /, **args: Any) -> Any:
        """Ask the server itself, past the graph and past the protocol."""
        url = self.connection["url"].removesuffix("mcp") + f"ask/{name}"
        async with _http_client(timeout=PATIENCE) as client:
            answer = await client.post(url, json=args)
        assert answer.status_code == 200, answer
        return answer.json()

    async def opened(self, room: str, visitors: int = 1) -> list[str]:
        """Open a room when so many have come; what had happened in it until then."""
        await self.ask("await_visitors", room=room, count=visitors)
        return await self.ask("open_room", room=room)

    def received(self, name: str) -> list[dict[str, Any]]:
        """The arguments that the server was sent with the calls of a tool."""
        return asyncio.run(self.ask("received", name=name))


@contextmanager
def _serving() -> Iterator[Service]:
    """A server that listens, until the end of the block."""
    process = subprocess.Popen(
        [sys.executable, str(SERVER), "http"],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    try:
        assert process.stdout is not None
        url = process.stdout.readline().strip()  # it listens when it says where
        assert url, "the server did not start"
        yield Service(
            process,
            {"transport": "streamable_http", "url": url, "httpx_client_factory": _http_client},
        )
    finally:
        process.kill()
        process.communicate()


@pytest.fixture(scope="module")
def shared() -> Iterator[Service]:
    """One server for all tests, and its tools."""
    with _serving() as service:
        service.tools = service.load()
        yield service


@pytest.fixture
def service(shared: Service) -> Service:
    """The server, of which this test has not started anything."""
    shared.started.clear()
    shared.runtimes.clear()
    return shared


_rooms = count(1)


@pytest.fixture
def room() -> str:
    """A room of the server that no other test uses."""
    return f"room {next(_rooms)}"


@pytest.fixture(autouse=True)
def quiet(caplog: pytest.LogCaptureFixture) -> Iterator[None]:
    """Nothing makes asyncio complain, and nothing is left that complains when it is collected."""
    yield
    gc.collect(1)  # what the test has just left; a full collection takes longer than the test
    said = [r for r in caplog.get_records("call") if r.name == "asyncio"]
    assert not [r.getMessage() for r in said if r.levelno >= logging.WARNING]


# -- agents -------------------------------------------------------------------------------------


def _model(replies: Sequence[Reply], *, is_async: bool) -> ScriptedChatModel:
    rest = iter(replies)

    async def policy(messages: Any) -> AIMessage | str:
        reply = next(rest, None)
        assert reply is not None, f"the model was called once more, with {messages}"
        return await reply() if callable(reply) else reply

    def in_thread(messages: Any) -> AIMessage | str:
        return asyncio.run(policy(messages))

    return ScriptedChatModel(policy=policy if is_async else in_thread, check_history=True)


def _graph(node: Any, bind: Any, model: Any, condition: Any, checkpointer: Any) -> Any:
    bound = model.bind_tools(bind)

    def agent(state: MessagesState) -> Any:
        return {"messages": [bound.invoke(state["messages"])]}

    async def aagent(state: MessagesState) -> Any:
        return {"messages": [await bound.ainvoke(state["messages"])]}

    builder = StateGraph(MessagesState)
    builder.add_node("agent", RunnableLambda(agent, aagent))
    builder.add_node("tools", node)
    builder.add_edge(START, "agent")
    builder.add_conditional_edges("agent", condition, ["tools", "__end__"])
    builder.add_edge("tools", "agent")
    return builder.compile(checkpointer=checkpointer)


@dataclass(frozen=True, slots=True)
class Face:
    """A way to build an agent, and an entry point to run it by."""

    kind: str
    entry: str = "ainvoke"

    def __str__(self) -> str:
        return f"{self.kind} {self.entry}"

    @property
    def is_async(self) -> bool:
        """Whether it runs on an event loop."""
        return self.entry.startswith("a")

    def build(
        self, tools: Sequence[BaseTool], replies: Sequence[Reply], checkpointer: Any, **options: Any
    ) -> Any:
        """An agent with these tools."""
        model = _model(replies, is_async=self.is_async)
        if self.kind == "middleware":
            middleware = [AsyncFCMiddleware(**options)]
            return create_agent(model, tools, middleware=middleware, checkpointer=checkpointer)
        if self.kind == "plain agent":
            return create_agent(model, tools, checkpointer=checkpointer)
        if self.kind == "plain":
            return _graph(ToolNode(tools, **options), tools, model, plain_condition, checkpointer)
        node = AsyncFCToolNode(tools, **options)
        return _graph(node, node.model_tools, model, tools_condition, checkpointer)

    def run(
        self,
        tools: Sequence[BaseTool],
        *replies: Reply,
        checkpointer: Any = None,
        config: Any = None,
        **options: Any,
    ) -> list[Any]:
        """The messages of a run."""
        running = self.arun(tools, *replies, checkpointer=checkpointer, config=config, **options)
        if self.is_async:
            return asyncio.run(running)
        running.close()
        graph = self.build(tools, replies, checkpointer, **options)
        messages = graph.invoke({"messages": [HumanMessage("go")]}, config)["messages"]
        assert_valid_history(messages)
        return messages

    async def arun(
        self,
        tools: Sequence[BaseTool],
        *replies: Reply,
        checkpointer: Any = None,
        config: Any = None,
        **options: Any,
    ) -> list[Any]:
        """The same on the running loop, of which no task of ours remains."""
        before = asyncio.all_tasks()
        graph = self.build(tools, replies, checkpointer, **options)
        value = {"messages": [HumanMessage("go")]}
        try:
            if self.entry == "ainvoke":
                final = await graph.ainvoke(value, config)
            else:
                stream = graph.astream(value, config, stream_mode="values")
                final = [state async for state in stream][-1]
        finally:
            assert asyncio.all_tasks() <= before
        assert_valid_history(final["messages"])
        return final["messages"]


FACES = [Face("node"), Face("middleware")]
OTHER_ENTRIES = [Face("node", "astream"), Face("node", "invoke"), Face("middleware", "invoke")]


@pytest.fixture(params=FACES, ids=str)
def face(request: pytest.FixtureRequest) -> Face:
    """The node in a graph, and the middleware of an agent, under `ainvoke`."""
    return request.param


@pytest.fixture(params=[*FACES, *OTHER_ENTRIES], ids=str)
def any_face(request: pytest.FixtureRequest) -> Face:
    """The same by other entry points; `invoke` runs MCP tools on a loop in the background."""
    return request.param


def ask(*calls: Any) -> AIMessage:
    return AIMessage("", tool_calls=list(calls))


def tool_messages(messages: Sequence[Any]) -> list[ToolMessage]:
    """The answers to calls of tools."""
    control = {"await_future", "cancel_future"}
    return [m for m in messages if isinstance(m, ToolMessage) and m.name not in control]


def seen(message: ToolMessage) -> dict[str, Any]:
    """What counts of an answer: without ids, which are made up anew for each."""
    content: Any = message.content
    if isinstance(content, list):
        content = [{k: v for k, v in block.items() if k != "id"} for block in content]
    return {
        "content": content,
        "artifact": message.artifact,
        "status": message.status,
        "name": message.name,
    }


def pick(service: Service, *names: str) -> list[BaseTool]:
    return [service.tools[name] for name in names]


# -- hints --------------------------------------------------------------------------------------


def test_hints_are_in_the_metadata(service: Service) -> None:
    """The adapters keep the server's annotations where the node looks for them."""
    named = ("visit", "look", "wipe", "put")
    hints = ("readOnlyHint", "destructiveHint", "idempotentHint")
    assert {
        name: {hint for hint in hints if (service.tools[name].metadata or {}).get(hint)}
        for name in named
    } == {
        "visit": set(),
        "look": {"readOnlyHint"},
        "wipe": {"destructiveHint"},
        "put": {"idempotentHint"},
    }


EVERYTHING = Effects(reads="/", writes="/")
TRUSTED = {"trust_mcp_hints": True}


def _check_who_meets(
    service: Service, face: Face, room: str, tools: tuple[str, str], together: bool, **options: Any
) -> None:
    """Call two tools in two messages, and see whether both are in the room at once."""
    at_opening: list[str] = []
    started: list[str] = []

    async def open_it() -> str:
        at_opening.extend(await service.opened(room, 2 if together else 1))
        started.extend(args["who"] for _, args in service.started)
        return "let me wait"

    first, second = tools
    face.run(
        pick(service, *set(tools)),
        ask(call(first, room=room, who="a", parties=NEVER)),
        ask(call(second, room=room, who="b", parties=NEVER)),
        open_it,
        "done",
        **options,
    )
    log = asyncio.run(service.ask("room_log", room=room))
    if together:
        assert sorted(at_opening) == ["a came", "b came"]
        assert sorted(log[2:]) == ["a left", "b left"]
    else:
        assert started == ["a"]
        assert at_opening == ["a came"]
        assert log == ["a came", "a left", "b came", "b left"]


@pytest.mark.parametrize(
    ("first", "second", "options", "together"),
    [
        pytest.param("look", "look", TRUSTED, True, id="two readers"),
        pytest.param("look", "look", {}, False, id="two readers, not trusted"),
        pytest.param("look", "visit", TRUSTED, False, id="a reader, then one without hints"),
        pytest.param("visit", "look", TRUSTED, False, id="one without hints, then a reader"),
        pytest.param("look", "wipe", TRUSTED, False, id="a reader, then a destructive one"),
        pytest.param("wipe", "look", TRUSTED, False, id="a destructive one, then a reader"),
        pytest.param("put", "put", TRUSTED, False, id="two idempotent ones"),
        pytest.param(
            "put",
            "look",
            {**TRUSTED, "effects": {"put": Effects(writes="disk:")}},
            False,
            id="a declared writer, then a reader",
        ),
        pytest.param("look", "look", {"effects": {"look": Effects()}}, True, id="effects alone"),
        pytest.param(
            "wipe", "wipe", {**TRUSTED, "effects": {"wipe": Effects()}}, True, id="effects allow"
        ),
        pytest.param(
            "look",
            "look",
            {**TRUSTED, "effects": {"look": EVERYTHING}},
            False,
            id="effects forbid",
        ),
    ],
)
def test_hints_say_what_runs_together(
    service: Service, room: str, first: str, second: str, options: Any, together: bool
) -> None:
    """Calls of two messages are in the room at once exactly if effects or trusted hints allow."""
    _check_who_meets(service, Face("node"), room, (first, second), together, **options)


@pytest.mark.parametrize("trust", [True, False])
def test_the_middleware_takes_hints_alike(service: Service, room: str, trust: bool) -> None:
    """In an agent with the middleware, trust makes the same difference."""
    face = Face("middleware")
    _check_who_meets(service, face, room, ("look", "look"), trust, trust_mcp_hints=trust)


def test_readers_meet(service: Service, any_face: Face, room: str) -> None:
    """Two trusted readers that wait for each other both return, by each entry point."""
    messages = any_face.run(
        pick(service, "look"),
        ask(call("look", room=room, who="a", parties=2)),
        ask(call("look", room=room, who="b", parties=2, await_result="all")),
        "done",
        **TRUSTED,
    )
    assert [m.text for m in tool_messages(messages)] == [f"a was in {room}", f"b was in {room}"]


def test_identical_readers_are_one_call(service: Service, face: Face, room: str) -> None:
    """A trusted reader that is called again while it runs is sent to the server once."""

    async def open_it() -> str:
        await service.opened(room)
        return "let me wait"

    made = {"room": room, "who": "a", "parties": NEVER}
    messages = face.run(
        pick(service, "look"),
        ask(call("look", **made)),
        ask(call("look", **made)),
        open_it,
        "done",
        **TRUSTED,
    )
    assert [args for args in service.received("look") if args["room"] == room] == [made]
    answers = tool_messages(messages)
    assert [m.text for m in answers] == [f"a was in {room}"] * 2
    assert [m.artifact for m in answers] == [answers[0].artifact] * 2
    assert answers[0].artifact == {"structured_content": {"result": f"a was in {room}"}}


def test_a_destructive_tool_is_not_run_after_a_failure(
    service: Service, face: Face, room: str
) -> None:
    """A trusted destructive tool is a fence: the server never hears of the call."""

    async def open_it() -> str:
        await service.opened(room)
        return "let me wait"

    messages = face.run(
        pick(service, "fail", "wipe"),
        ask(call("fail", message="no space", room=room)),
        ask(call("wipe", room=room, who="w")),
        open_it,
        "done",
        **TRUSTED,
    )
    failed, skipped = tool_messages(messages)
    assert failed.status == skipped.status == "error"
    assert "future_1" in skipped.text
    assert "no space" in skipped.text
    assert all(args["room"] != room for args in service.received("wipe"))


# -- values -------------------------------------------------------------------------------------


@pytest.mark.parametrize("held", [True, False], ids=["unfinished", "finished"])
def test_structured_content_is_the_value(
    service: Service, any_face: Face, room: str, held: bool
) -> None:
    """References lead into the structured content, and each value keeps its type."""

    async def open_it() -> str:
        await service.opened(room)
        return "let me wait"

    text = f"${{future_1.title}} by ${{future_1.author.name}} {room}"
    taking = call(
        "take",
        count="future_1.pages",
        ratio="future_1.ratio",
        text=text,
        options={"limit": "future_1.author.age", "author": "future_1.author"},
        tags="future_1.tags",
        authors=["future_1.author", {"name": "future_1.tags[0]", "age": 1}],
    )
    report = call("report", title="T", **({"room": room} if held else {"await_result": True}))
    any_face.run(
        pick(service, "report", "take"),
        ask(report),
        ask(taking),
        open_it if held else "let me wait",
        "done",
        grace=0,
        **TRUSTED,
    )
    ada = {"name": "Ada", "age": 36}
    [got] = [args for args in service.received("take") if room in args["text"]]
    assert got == {
        "count": 12,
        "ratio": 0.5,
        "text": f"T by Ada {room}",
        "options": {"limit": 36, "author": ada},
        "tags": ["a", "b"],
        "authors": [ada, {"name": "a", "age": 1}],
    }
    assert type(got["count"]) is int


@pytest.mark.parametrize("held", [True, False], ids=["delivered late", "answered at once"])
def test_values_are_kept_for_later_runs(
    service: Service, face: Face, room: str, delivery: str, held: bool
) -> None:
    """A later run of the thread gets the values of an earlier one, each with its type."""

    async def open_it() -> str:
        await service.opened(room, 2)
        return "let me wait"

    where = {"room": room} if held else {"await_result": True}
    saver, config = InMemorySaver(), {"configurable": {"thread_id": "1"}}
    options: Any = {"checkpointer": saver, "config": config, "delivery": delivery, **TRUSTED}
    tools = pick(service, "report", "add", "take")
    face.run(
        tools,
        ask(call("report", title="T", **where), call("add", a=1, b=2, **where)),
        *([open_it] if held else []),
        "done",
        **options,
    )
    face.run(
        tools,
        ask(call("take", count="future_2", tags="future_1.tags", text=room, await_result=True)),
        "done",
        **options,
    )
    [got] = [args for args in service.received("take") if args.get("text") == room]
    assert got == {"count": 3, "tags": ["a", "b"], "text": room}


def test_a_number_stays_a_number(service: Service, face: Face, room: str) -> None:
    """A tool that returns a bare number, which MCP wraps into an object, has it as its value."""
    messages = face.run(
        pick(service, "add", "take"),
        ask(call("add", a=1, b=2, await_result=True)),
        ask(call("take", count="future_1", text=f"${{future_1}} {room}", await_result=True)),
        "done",
        **TRUSTED,
    )
    assert tool_messages(messages)[0].text == "3"
    [got] = [args for args in service.received("take") if room in args.get("text", "")]
    assert got == {"count": 3, "text": f"3 {room}"}


def test_a_text_without_structured_content_is_a_text(
    service: Service, face: Face, room: str
) -> None:
    """The value of a tool that returns nothing but a text is that text."""
    face.run(
        pick(service, "plain", "take"),
        ask(call("plain", text="12", await_result=True)),
        ask(call("take", text="future_1", tags=["future_1", room], await_result=True)),
        "done",
        **TRUSTED,
    )
    [got] = [args for args in service.received("take") if room in (args.get("tags") or ())]
    assert got == {"text": "12", "tags": ["12", room]}


def test_a_json_text_without_structured_content_has_paths(
    service: Service, face: Face, room: str
) -> None:
    """Servers that know no structured content send JSON as a text; a path leads into it."""
    face.run(
        pick(service, "plain", "take"),
        ask(call("plain", text='{"rows": [{"id": 7}]}', await_result=True)),
        ask(call("take", count="future_1.rows[0].id", text=room, await_result=True)),
        "done",
        **TRUSTED,
    )
    [got] = [args for args in service.received("take") if args.get("text") == room]
    assert got == {"count": 7, "text": room}


def test_other_blocks_are_the_value(service: Service, face: Face, room: str) -> None:
    """Where there is more than text, the value is the list of content blocks."""
    messages = face.run(
        pick(service, "blocks", "take"),
        ask(call("blocks", kind="image", await_result=True)),
        ask(
            call(
                "take",
                text="future_1[1].mime_type",
                tags=["future_1[0].text", room],
                await_result=True,
            )
        ),
        "done",
        **TRUSTED,
    )
    [got] = [args for args in service.received("take") if room in (args.get("tags") or ())]
    assert got == {"text": "image/png", "tags": ["look:", room]}, messages


# -- messages -----------------------------------------------------------------------------------

SHOWN = ["text", "texts", "image", "resource", "link", "nothing"]


def _kinds(**more: Any) -> AIMessage:
    return ask(*(call("blocks", kind=kind, **more) for kind in SHOWN), call("report", title="T"))


@pytest.fixture(scope="module")
def answers_of_tool_node(shared: Service) -> list[Any]:
    """What `ToolNode` makes of them; it has no `invoke` for such tools."""
    messages = Face("plain").run(pick(shared, "blocks", "report"), _kinds(), "done")
    return [seen(m) for m in tool_messages(messages)]


@pytest.mark.parametrize("is_slow", [True, False], ids=["late", "at once"])
def test_content_blocks_and_artifacts_as_with_tool_node(
    service: Service,
    any_face: Face,
    room: str,
    answers_of_tool_node: list[Any],
    is_slow: bool,
) -> None:
    """In place, the answers are those of `ToolNode`: blocks, artifact, status and name."""

    async def open_it() -> str:
        await service.opened(room, len(SHOWN))
        return "let me wait"

    tools = pick(service, "blocks", "report")
    if is_slow:
        replies: list[Reply] = [_kinds(room=room), open_it, "done"]
        messages = any_face.run(tools, *replies, grace=0)
    else:
        messages = any_face.run(tools, _kinds(), "done", grace=PATIENCE)
    assert [seen(m) for m in tool_messages(messages)] == answers_of_tool_node
    assert tool_messages(messages)[-1].artifact["structured_content"]["pages"] == 12


def test_appended_content_blocks_and_artifacts(
    service: Service, face: Face, room: str, answers_of_tool_node: list[Any]
) -> None:
    """By append, each outcome's blocks follow its future's id, and artifacts arrive as well."""

    async def open_it() -> str:
        await service.opened(room, len(SHOWN))
        return "let me wait"

    tools = pick(service, "blocks", "report")
    messages = face.run(tools, _kinds(room=room), open_it, "done", grace=0, delivery="append")
    [carrier] = [m for m in messages if isinstance(m, ToolMessage) and m.name == "await_future"]
    parts: dict[str, list[Any]] = {}
    for block in seen(carrier)["content"]:
        text = block.get("text", "")
        if text.startswith("[future_"):
            parts[text.strip("[]")] = []
        elif parts:
            parts[list(parts)[-1]].append(block)
    wanted = answers_of_tool_node
    assert [parts[f"future_{n}"] for n in range(1, len(SHOWN) + 2)] == [
        w["content"] for w in wanted
    ]
    got = [m.artifact for m in tool_messages(messages)]
    assert got == [w["artifact"] for w in wanted]


def _ending(run: Callable[[], list[Any]]) -> Any:
    """How a run ends: its tool messages, or its error."""
    try:
        return [seen(m) for m in tool_messages(run())]
    except Exception as error:  # noqa: BLE001 - it is compared
        return type(error), str(error)


@pytest.mark.parametrize("adapter", [True, False], ids=["adapter handles", "adapter raises"])
@pytest.mark.parametrize(
    "failing",
    [call("fail", message="no"), call("blocks", kind="audio")],
    ids=["isError", "a block that the adapters cannot convert"],
)
@pytest.mark.parametrize(
    ("kinds", "options"),
    [
        pytest.param(("plain", "node"), {}, id="node"),
        pytest.param(("plain", "node"), {"handle_tool_errors": True}, id="node handles"),
        pytest.param(("plain agent", "middleware"), {}, id="middleware"),
    ],
)
def test_errors_as_with_tool_node(
    service: Service, kinds: tuple[str, str], options: Any, adapter: bool, failing: Any
) -> None:
    """An error ends as with `ToolNode`: in the same message, or raised by the graph."""
    tools = list(service.load(handle_tool_errors=adapter).values())
    plain, ours = map(Face, kinds)
    wanted = _ending(lambda: plain.run(tools, ask(failing), "done", **options))
    got = _ending(lambda: ours.run(tools, ask(failing), "let me wait", "done", grace=0, **options))
    assert got == wanted
    if failing["name"] == "fail" and not options:
        assert isinstance(wanted, list) is adapter  # it makes a difference


def test_what_depends_on_an_error_is_skipped(service: Service, face: Face, room: str) -> None:
    """A reference to a failed call: the server never hears of it, the model is told the cause."""

    async def open_it() -> str:
        await service.opened(room)
        return "let me wait"

    messages = face.run(
        pick(service, "fail", "take"),
        ask(call("fail", message="no space", room=room)),
        ask(call("take", text=f"{room} ${{future_1}}")),
        open_it,
        "done",
        **TRUSTED,
    )
    failed, skipped = tool_messages(messages)
    assert failed.text == "Error executing tool fail: no space"
    assert "future_2 was not run, because future_1 (fail) failed" in skipped.text
    assert not [args for args in service.received("take") if room in args.get("text", "")]


def test_interceptors_get_the_runtime_as_with_tool_node(service: Service, face: Face) -> None:
    """What the adapters are given of the run, they are given in the background as well."""

    made = call("add", "call_of_add", a=1, b=1)
    tools = pick(service, "add")
    Face("plain").run(tools, ask(made), "done")
    face.run(tools, ask(made), "let me wait", "done", grace=0)
    plain, ours = service.runtimes
    assert type(ours) is type(plain)
    if plain is not None:  # older versions of LangGraph do not give such a tool one
        assert ours.tool_call_id == plain.tool_call_id == "call_of_add"
        assert [m.text for m in ours.state["messages"]] == [m.text for m in plain.state["messages"]]


def _message(call_id: str) -> ToolMessage:
    return ToolMessage("told otherwise", tool_call_id=call_id, artifact={"by": "interceptor"})


def _command(call_id: str) -> Command[Any]:
    return Command(update={"messages": [_message(call_id)]})


@pytest.mark.parametrize("make", [_message, _command], ids=["a message", "a command"])
def test_interceptors_answer_as_with_tool_node(
    service: Service, face: Face, room: str, make: Callable[[str], Any]
) -> None:
    """A message or a command in place of the server's result is the answer, and the value."""

    async def instead(request: Any, handler: Any) -> Any:
        return make("call_of_add") if request.name == "add" else await handler(request)

    tools = list(service.load(tool_interceptors=[instead]).values())
    made = call("add", "call_of_add", a=1, b=1)
    plain = Face("plain").run(tools, ask(made), "done")
    taking = call("take", text="future_1", tags=[room], await_result="all")
    messages = face.run(tools, ask(made), ask(taking), "done", grace=0)
    assert seen(tool_messages(messages)[0]) == seen(tool_messages(plain)[0])
    [got] = [args for args in service.received("take") if args.get("tags") == [room]]
    assert got["text"] == "told otherwise"


# -- schemas ------------------------------------------------------------------------------------


def test_widened_schemas(service: Service) -> None:
    """Every parameter also takes a reference, what was valid stays valid, the tool is unchanged."""
    tool = service.tools["take"]
    before = json.dumps(tool.args_schema)
    node = AsyncFCToolNode([tool])
    [shadow, *_] = node.model_tools
    schema: Any = shadow.args_schema
    author = {"name": "a", "age": 1}
    plain = {"count": 1, "ratio": 0.5, "options": {"limit": 1, "author": author}, "tags": ["a"]}
    refer = {
        "count": "future_1",
        "ratio": "future_1.x",
        "options": {"limit": "future_1.n", "author": "future_2"},
        "tags": "future_1",
        "authors": [{"name": "b", "age": "future_3"}, "future_1[0]"],
        "await_result": "all",
    }
    jsonschema.validate(plain, schema)
    jsonschema.validate(refer, schema)
    jsonschema.validate({**refer, "options": "future_4", "await_result": True}, schema)
    for wrong in ({"count": "one"}, {"options": {"limit": "x"}}, {"await_result": "some"}):
        with pytest.raises(jsonschema.ValidationError):
            jsonschema.validate(wrong, schema)
    function = convert_to_openai_tool(shadow)["function"]
    assert function["name"] == "take"
    assert set(function["parameters"]["properties"]) == {*plain, "authors", "text", "await_result"}
    assert json.dumps(tool.args_schema) == before


def test_nulls_of_a_strict_schema_are_not_sent(service: Service, room: str) -> None:
    """A model says "not given" with null there; only a parameter that takes null gets it."""
    tool = service.tools["take"]
    node = AsyncFCToolNode([tool], grace=PATIENCE)
    absent = dict.fromkeys(["ratio", "options", "tags", "authors", "await_result"])
    model = _model([ask(call("take", count=1, text=room, **absent)), "done"], is_async=True)
    graph = _graph(node, node.strict_model_tools, model, tools_condition, None)
    asyncio.run(graph.ainvoke({"messages": [HumanMessage("go")]}))
    [got] = [args for args in service.received("take") if args.get("text") == room]
    assert got == {"count": 1, "text": room, "options": None, "tags": None, "authors": None}


@pytest.mark.parametrize("flag", [True, False, "all"])
def test_await_result_is_not_sent(service: Service, face: Face, room: str, flag: Any) -> None:
    """The server gets the model's arguments, but not the one that is for the runtime."""
    messages = face.run(
        pick(service, "take"),
        ask(call("take", count=1, text=room, await_result=flag)),
        *([] if flag else ["let me wait"]),
        "done",
        grace=0,
    )
    assert [m.text for m in tool_messages(messages)] == ["taken"]
    [got] = [args for args in service.received("take") if args.get("text") == room]
    assert got == {"count": 1, "text": room}


@pytest.mark.parametrize(
    ("args", "told"),
    [
        ({"count": "future_1.title"}, "expected integer"),
        ({"options": "future_1.author"}, "limit"),
        ({"tags": ["future_1.author"]}, "expected string"),
        ({"text": "future_1.no_such_field"}, "no_such_field"),
        ({"text": "future_9"}, "future_1"),
    ],
    ids=["text for a number", "another object", "object for a text", "no field", "no future"],
)
def test_a_reference_that_does_not_fit_is_not_sent(
    service: Service, face: Face, args: Any, told: str
) -> None:
    """The model is told what was expected; the server never hears of the call."""
    before = len(service.received("take"))
    messages = face.run(
        pick(service, "report", "take"),
        ask(call("report", title="T", await_result=True)),
        ask(call("take", **args, await_result=True)),
        "done",
        **TRUSTED,
    )
    refused = tool_messages(messages)[-1]
    assert refused.status == "error"
    assert told in refused.text
    assert len(service.received("take")) == before


# -- ends before the end ------------------------------------------------------------------------


def test_cancel_future(service: Service, any_face: Face, room: str) -> None:
    """A call that the server still works on is cancelled; the next one is served."""

    async def give_up() -> AIMessage:
        await service.ask("await_visitors", room=room, count=1)
        return ask(call("cancel_future", futures=["future_1"]))

    messages = any_face.run(
        pick(service, "look", "add"),
        ask(call("look", room=room, who="a", parties=NEVER)),
        give_up,
        ask(call("add", a=1, b=1, await_result="all")),
        "done",
        **TRUSTED,
    )
    cancelled, added = tool_messages(messages)
    assert cancelled.status == "error"
    assert "cancelled" in cancelled.text
    assert added.text == "2"


def test_timeout(service: Service, any_face: Face, room: str) -> None:
    """A call that takes too long ends with an error that names tool and limit."""
    messages = any_face.run(
        pick(service, "look", "add"),
        ask(call("look", room=room, who="a", parties=NEVER, await_result=True)),
        ask(call("add", a=1, b=1, await_result=True)),
        "done",
        timeout={"look": 0.05},
        **TRUSTED,
    )
    late, added = tool_messages(messages)
    assert late.status == "error"
    assert "look" in late.text
    assert "0.05" in late.text
    assert added.text == "2"


def test_a_stream_that_is_left_early(service: Service, face: Face, room: str) -> None:
    """Leaving a stream ends the calls that the server works on; no task remains."""

    async def main() -> None:
        before = asyncio.all_tasks()
        graph = face.build(
            pick(service, "look"),
            [ask(call("look", room=room, who="a", parties=NEVER)), "let me wait"],
            None,
            grace=0,
        )
        stream = graph.astream({"messages": [HumanMessage("go")]}, stream_mode="updates")
        async for update in stream:
            if "tools" in update:
                await service.ask("await_visitors", room=room, count=1)
                break
        await stream.aclose()
        assert asyncio.all_tasks() <= before

    asyncio.run(main())
    assert [name for name, _ in service.started] == ["look"]


def test_an_http_server_that_dies(face: Face) -> None:
    """The protocol's client waits for a dead server; the call can still be ended.

    See https://github.com/modelcontextprotocol/python-sdk/issues/1577; a `timeout` ends it too.
    """
    with _serving() as mortal:
        mortal.tools = mortal.load()

        async def kill() -> AIMessage:
            await mortal.ask("await_visitors", room="r", count=1)
            mortal.process.kill()
            mortal.process.wait()
            return ask(call("cancel_future", futures=["future_1"]))

        messages = face.run(
            pick(mortal, "look"),
            ask(call("look", room="r", who="a", parties=NEVER)),
            kill,
            ask(call("await_future")),  # the client asks the dead server first to end the session
            "done",
            **TRUSTED,
        )
        [cancelled] = tool_messages(messages)
        assert cancelled.status == "error"
        assert "cancelled" in cancelled.text


# -- one session over stdio ---------------------------------------------------------------------


def _in_session(main: Callable[[Any, dict[str, BaseTool]], Coroutine[Any, Any, None]]) -> None:
    """Run a test in a session with a server over stdio, which is its alone."""

    async def run() -> None:
        async with MultiServerMCPClient({"own": STDIO}).session("own") as session:
            await main(session, {tool.name: tool for tool in await load_mcp_tools(session)})

    asyncio.run(run())


def test_calls_share_a_session(face: Face) -> None:
    """Two readers meet though they share one session; the value keeps its type."""

    async def main(session: Any, tools: dict[str, BaseTool]) -> None:
        messages = await face.arun(
            list(tools.values()),
            ask(call("look", room="r", who="a", parties=2)),
            ask(call("look", room="r", who="b", parties=2)),
            ask(call("report", title="T")),
            ask(call("take", count="future_3.pages", await_result="all")),
            "done",
            **TRUSTED,
        )
        assert [m.text for m in tool_messages(messages)][:2] == ["a was in r", "b was in r"]
        result = await session.call_tool("received", {"name": "take"})
        assert result.structuredContent == {"result": [{"count": 12}]}

    _in_session(main)


def test_a_session_outlives_a_cancelled_call(face: Face) -> None:
    """Cancelling a call, and a call's timeout, leave the session to the others."""

    async def main(session: Any, tools: dict[str, BaseTool]) -> None:
        async def give_up() -> AIMessage:
            await session.call_tool("await_visitors", {"room": "r", "count": 1})
            return ask(call("cancel_future", futures=["future_1"]))

        messages = await face.arun(
            list(tools.values()),
            ask(call("look", room="r", who="a", parties=NEVER)),
            give_up,
            ask(call("put", room="s", who="b", parties=NEVER, await_result=True)),
            ask(call("add", a=1, b=1, await_result="all")),
            "done",
            timeout={"put": 0.05},
            **TRUSTED,
        )
        cancelled, late, added = tool_messages(messages)
        assert "cancelled" in cancelled.text
        assert "put" in late.text
        assert added.text == "2"

    _in_session(main)


def test_a_stdio_server_that_dies(face: Face) -> None:
    """A server that dies during a call is an error that `ToolNode` raises, and so do we."""

    async def main(session: Any, tools: dict[str, BaseTool]) -> None:
        with pytest.raises(McpError, match="Connection closed"):
            await face.arun(
                list(tools.values()),
                ask(call("look", room="r", who="a", parties=NEVER)),
                ask(call("die")),
                "let me wait",
                "done",
                effects={"die": Effects()},
                **TRUSTED,
            )

    _in_session(main)


def test_the_model_is_told_of_a_stdio_server_that_died() -> None:
    """With errors handled, every call that the server had is answered, and later ones fail."""

    async def main(session: Any, tools: dict[str, BaseTool]) -> None:
        messages = await Face("node").arun(
            list(tools.values()),
            ask(call("look", room="r", who="a", parties=NEVER)),
            ask(call("die", await_result="all")),
            ask(call("add", a=1, b=1, await_result="all")),
            "done",
            effects={"die": Effects()},
            handle_tool_errors=True,
            **TRUSTED,
        )
        looked, died, added = tool_messages(messages)
        assert {looked.status, died.status, added.status} == {"error"}
        assert "Connection closed" in died.text
        assert "Connection closed" in looked.text

    _in_session(main)


def test_a_server_for_each_call() -> None:
    """Tools that open a session for each call start a server over stdio for each, and end it."""
    tools = asyncio.run(MultiServerMCPClient({"own": STDIO}).get_tools())
    messages = Face("node", "invoke").run(
        tools,
        ask(call("report", title="T")),
        ask(call("add", a="future_1.pages", b="future_1.author.age", await_result="all")),
        "done",
        **TRUSTED,
    )
    assert tool_messages(messages)[-1].text == "48"
