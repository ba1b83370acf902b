"""An MCP server for tests: `python mcp_server.py stdio`, or `python mcp_server.py http`.

Over HTTP it takes a free port of the loopback interface and prints its URL when it listens. All
sessions share its rooms, so that calls can meet, and its notes of what it was sent. No tool waits
for time: a visitor leaves when all whom the room expects have come, or when it is opened.

What a test itself asks of the server are tools as well, for a test that has a session, and stand
at `/ask/<tool>` besides, where a question takes less time than a session.
"""

from __future__ import annotations

import asyncio
import base64
import inspect
import os
import socket
import sys
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import uvicorn
from mcp.server.fastmcp import FastMCP
from mcp.server.fastmcp.exceptions import ToolError
from mcp.types import (
    AudioContent,
    BlobResourceContents,
    ContentBlock,
    EmbeddedResource,
    ImageContent,
    ResourceLink,
    TextContent,
    TextResourceContents,
    ToolAnnotations,
)
from pydantic import AnyUrl, BaseModel, TypeAdapter
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

PIXEL = base64.b64encode(b"a picture").decode()
LATE_SECONDS = 20.0
"""How long a visitor stays in a room that nobody opens; only a broken test gets there."""


@dataclass(slots=True)
class Room:
    """Where calls meet.

    Attributes:
        log: `"<who> came"` and `"<who> left"`, in order.
        opened: Set when everybody may leave.
        changed: Set, and replaced, whenever somebody comes.
    """

    log: list[str] = field(default_factory=list)
    opened: asyncio.Event = field(default_factory=asyncio.Event)
    changed: asyncio.Event = field(default_factory=asyncio.Event)

    def came(self, who: str) -> None:
        """Note a visitor, and wake who waits for one."""
        self.log.append(f"{who} came")
        changed, self.changed = self.changed, asyncio.Event()
        changed.set()

    def visitors(self) -> list[str]:
        """Everybody who came so far."""
        return [entry.removesuffix(" came") for entry in self.log if entry.endswith(" came")]


class Author(BaseModel):
    """Part of a report."""

    name: str
    age: int


class Report(BaseModel):
    """What a tool with structured content returns."""

    title: str
    pages: int
    ratio: float
    final: bool
    author: Author
    tags: list[str]


class Options(BaseModel):
    """An argument that is an object."""

    limit: int
    author: Author | None = None


class Server(FastMCP):
    """A server that notes what it is sent, before anything is checked or converted."""

    received: list[dict[str, Any]]

    async def call_tool(
        self, name: str, arguments: dict[str, Any]
    ) -> Sequence[ContentBlock] | dict[str, Any]:
        """Note the call, then serve it."""
        self.received.append({"name": name, "arguments": arguments})
        return await super().call_tool(name, arguments)


server = Server("workshop", log_level="CRITICAL")
server.received = []
rooms: defaultdict[str, Room] = defaultdict(Room)


async def visit(room: str, who: str, parties: int = 1) -> str:
    """Come into a room; leave when so many visitors have come, or when it is opened."""
    here = rooms[room]
    here.came(who)
    async with asyncio.timeout(LATE_SECONDS):
        while len(here.visitors()) < parties and not here.opened.is_set():
            waits = [asyncio.ensure_future(e.wait()) for e in (here.opened, here.changed)]
            try:
                await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
            finally:
                for wait in waits:
                    wait.cancel()
    here.log.append(f"{who} left")
    return f"{who} was in {room}"


HINTS = {
    "visit": None,
    "look": ToolAnnotations(readOnlyHint=True),
    "wipe": ToolAnnotations(destructiveHint=True),
    "put": ToolAnnotations(readOnlyHint=False, destructiveHint=False, idempotentHint=True),
}
"""The same tool under four names, each with what the server says of it."""

for name, hints in HINTS.items():
    server.add_tool(visit, name, annotations=hints)


@server.tool()
def open_room(room: str) -> list[str]:
    """Let everybody leave a room; who has come and left so far, in order."""
    rooms[room].opened.set()
    return list(rooms[room].log)


@server.tool()
async def await_visitors(room: str, count: int) -> list[str]:
    """Wait until so many have come into a room; who has come and left so far, in order."""
    here = rooms[room]
    async with asyncio.timeout(LATE_SECONDS):
        while len(here.visitors()) < count:
            await here.changed.wait()
    return list(here.log)


@server.tool()
def room_log(room: str) -> list[str]:
    """Who has come and left, in order."""
    return list(rooms[room].log)


@server.tool()
def received(name: str) -> list[dict[str, Any]]:
    """The arguments that calls of a tool came with, as the client sent them."""
    return [call["arguments"] for call in server.received if call["name"] == name]


DESK: dict[str, Callable[..., Any]] = {
    "open_room": open_room,
    "await_visitors": await_visitors,
    "room_log": room_log,
    "received": received,
}


@server.custom_route("/ask/{name}", methods=["POST"])
async def answer(request: Request) -> Response:
    """Answer a test's own question."""
    found = DESK[request.path_params["name"]](**await request.json())
    return JSONResponse(await found if inspect.isawaitable(found) else found)


@server.tool(annotations=ToolAnnotations(readOnlyHint=True))
async def report(title: str, room: str = "") -> Report:
    """Write a report; wait until the room is opened, if one is named."""
    if room:
        await visit(room, "report", parties=99)
    author = Author(name="Ada", age=36)
    return Report(title=title, pages=12, ratio=0.5, final=True, author=author, tags=["a", "b"])


@server.tool(annotations=ToolAnnotations(readOnlyHint=True))
async def add(a: int, b: int, room: str = "") -> int:
    """Add two numbers; wait until the room is opened, if one is named."""
    if room:
        await visit(room, "add", parties=99)
    return a + b


@server.tool(annotations=ToolAnnotations(readOnlyHint=True), structured_output=False)
async def plain(text: str, room: str = "") -> str:
    """Return a text and no structured content."""
    if room:
        await visit(room, "plain", parties=99)
    return text


@server.tool(annotations=ToolAnnotations(readOnlyHint=True))
def take(
    count: int = 0,
    ratio: float = 0.0,
    text: str = "",
    options: Options | None = None,
    tags: list[str] | None = None,
    authors: list[Author] | None = None,
) -> str:
    """Take arguments of many types."""
    return "taken"


URI: TypeAdapter[AnyUrl] = TypeAdapter(AnyUrl)

BLOCKS: dict[str, list[ContentBlock]] = {
    "text": [TextContent(type="text", text="one")],
    "texts": [TextContent(type="text", text="one"), TextContent(type="text", text="two")],
    "image": [
        TextContent(type="text", text="look:"),
        ImageContent(type="image", data=PIXEL, mimeType="image/png"),
    ],
    "resource": [
        EmbeddedResource(
            type="resource",
            resource=TextResourceContents(
                uri=URI.validate_python("file:///a.txt"), mimeType="text/plain", text="in a file"
            ),
        ),
        EmbeddedResource(
            type="resource",
            resource=BlobResourceContents(
                uri=URI.validate_python("file:///a.pdf"), mimeType="application/pdf", blob=PIXEL
            ),
        ),
    ],
    "link": [
        ResourceLink(
            type="resource_link",
            name="b",
            uri=URI.validate_python("https://example.org/b.pdf"),
            mimeType="application/pdf",
        )
    ],
    "audio": [AudioContent(type="audio", data=PIXEL, mimeType="audio/wav")],
    "nothing": [],
}


@server.tool(annotations=ToolAnnotations(readOnlyHint=True), structured_output=False)
async def blocks(kind: str, room: str = "") -> list[ContentBlock]:
    """Return content blocks; wait until the room is opened, if one is named."""
    if room:
        await visit(room, kind, parties=99)
    return BLOCKS[kind]


@server.tool(annotations=ToolAnnotations(readOnlyHint=True))
async def fail(message: str, room: str = "") -> str:
    """Fail; wait until the room is opened, if one is named."""
    if room:
        await visit(room, "fail", parties=99)
    raise ToolError(message)


@server.tool()
def die() -> str:
    """End this process in the middle of the call."""
    os._exit(1)


def serve_http() -> None:
    """Serve at a free port, and say where."""
    listening = socket.create_server(("127.0.0.1", 0))
    config = uvicorn.Config(
        server.streamable_http_app(), log_level="critical", timeout_graceful_shutdown=0, ws="none"
    )
    print(f"http://127.0.0.1:{listening.getsockname()[1]}/mcp", flush=True)
    uvicorn.Server(config).run(sockets=[listening])


if __name__ == "__main__":
    if sys.argv[1] == "stdio":
        server.run("stdio")
    else:
        serve_http()
