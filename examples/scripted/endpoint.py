"""An OpenAI-compatible chat-completions service on loopback, in a thread of its own.

It speaks at the pace of a model: nothing until the first token is due, then token by token as
server-sent events, with usage figures. What it says comes from a function of the request. It
keeps no conversation: like the real service, it knows what it is sent.
"""

from __future__ import annotations

import asyncio
import json
import socket
import threading
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Self

import uvicorn
from starlette.applications import Starlette
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route

from examples.scripted.pace import CALL_OVERHEAD, Pace, tokens
from examples.scripted.replies import Reply
from examples.scripted.wire import (
    AssistantMessage,
    BadRequestError,
    Message,
    Request,
    ServiceError,
    parse,
)

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator, Sequence
    from types import TracebackType

    from starlette.requests import Request as HttpRequest

Delta = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Completion:
    """An answer in the service's format, for one request.

    Attributes:
        request: The request.
        reply: What the model says to it.
        prompt_tokens: How long the request was.
    """

    request: Request
    reply: Reply
    prompt_tokens: int

    def tool_calls(self) -> list[dict[str, Any]]:
        """Return the calls as the service writes them; ids are unique in the conversation."""
        number = _called(self.request.messages)
        return [
            {
                "id": action.id or f"call_{number + place:04d}",
                "type": "function",
                "function": {"name": action.name, "arguments": json.dumps(action.arguments)},
            }
            for place, action in enumerate(self.reply.actions, 1)
        ]

    def deltas(self) -> Iterator[tuple[int, Delta]]:
        """Yield what is streamed, each with the number of tokens decoded until then."""
        done = 0
        for token in tokens(self.reply.text):
            done += 1
            yield done, {"content": token}
        for index, call in enumerate(self.tool_calls()):
            function = call["function"]
            done += CALL_OVERHEAD + len(tokens(function["name"]))
            opening = {**call, "index": index, "function": {**function, "arguments": ""}}
            yield done, {"tool_calls": [opening]}
            for token in tokens(function["arguments"]):
                done += 1
                yield done, {"tool_calls": [{"index": index, "function": {"arguments": token}}]}

    def usage(self) -> dict[str, int]:
        """Return the usage figures."""
        completion = max((done for done, _ in self.deltas()), default=0)
        return {
            "prompt_tokens": self.prompt_tokens,
            "completion_tokens": completion,
            "total_tokens": self.prompt_tokens + completion,
        }

    @property
    def finish_reason(self) -> str:
        """Return why the answer ends."""
        return "tool_calls" if self.reply.actions else "stop"

    def head(self, kind: str) -> dict[str, Any]:
        """Return the fields that every object of this answer begins with."""
        messages = len(self.request.messages)
        return {
            "id": f"chatcmpl-{messages:06d}",
            "object": kind,
            "created": int(time.time()),
            "model": self.request.model,
        }

    def whole(self) -> dict[str, Any]:
        """Return the answer as one object."""
        message: dict[str, Any] = {"role": "assistant", "content": self.reply.text or None}
        if calls := self.tool_calls():
            message["tool_calls"] = calls
        choice = {"index": 0, "message": message, "finish_reason": self.finish_reason}
        return {**self.head("chat.completion"), "choices": [choice], "usage": self.usage()}

    def chunks(self) -> Iterator[tuple[int, dict[str, Any]]]:
        """Yield the answer as stream chunks, each with the number of tokens decoded until then."""
        head = self.head("chat.completion.chunk")

        def chunk(delta: Delta, reason: str | None = None) -> dict[str, Any]:
            return {**head, "choices": [{"index": 0, "delta": delta, "finish_reason": reason}]}

        yield 0, chunk({"role": "assistant", "content": ""})
        done = 0
        for done, delta in self.deltas():
            yield done, chunk(delta)
        yield done, chunk({}, self.finish_reason)
        options = self.request.stream_options
        if options and options.include_usage:
            yield done, {**head, "choices": [], "usage": self.usage()}


class Endpoint:
    """The service as a context manager: started on entry, stopped and joined on exit.

    Args:
        pace: How fast the model speaks.
        model: What the model says to a request; it may raise a `ServiceError`.

    Attributes:
        requests: How many valid requests were answered.
        refused: The messages of the errors that were answered.
    """

    def __init__(self, pace: Pace, model: Callable[[Request], Reply]) -> None:
        self.requests = 0
        self.refused: list[str] = []
        self._pace = pace
        self._model = model
        self._socket = socket.socket()
        self._socket.bind(("127.0.0.1", 0))
        route = Route("/v1/chat/completions", self._complete, methods=["POST"])
        config = uvicorn.Config(
            Starlette(routes=[route]), log_config=None, lifespan="off", timeout_graceful_shutdown=1
        )
        self._server = uvicorn.Server(config)
        self._thread = threading.Thread(
            target=self._server.run, args=([self._socket],), name="endpoint", daemon=True
        )

    @property
    def base_url(self) -> str:
        """Return the address to give to a client."""
        return f"http://127.0.0.1:{self._socket.getsockname()[1]}/v1"

    def __enter__(self) -> Self:
        self._socket.listen()
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._server.should_exit = True
        self._thread.join()
        self._socket.close()

    async def _complete(self, http: HttpRequest) -> Response:
        began = time.monotonic()
        body = await http.body()
        try:
            request = parse(_json(body))
            answer = Completion(request, self._model(request), len(tokens(body.decode())))
        except ServiceError as error:
            self.refused.append(error.message)
            return JSONResponse(error.body(), error.status, dict(error.headers))
        self.requests += 1
        if request.stream:
            return StreamingResponse(self._stream(answer, began), media_type="text/event-stream")
        await self._until(began, answer.usage()["completion_tokens"])
        return JSONResponse(answer.whole())

    async def _stream(self, answer: Completion, began: float) -> AsyncIterator[str]:
        for done, chunk in answer.chunks():
            await self._until(began, done)
            yield f"data: {json.dumps(chunk)}\n\n"
        yield "data: [DONE]\n\n"

    async def _until(self, began: float, done: int) -> None:
        """Sleep until `done` tokens are due, measured from the request, so that nothing drifts."""
        await asyncio.sleep(max(0.0, began + self._pace.due(done) - time.monotonic()))


def _called(messages: Sequence[Message]) -> int:
    """Return how many tool calls of any kind the messages have."""
    return sum(
        len(message.tool_calls or ())
        for message in messages
        if isinstance(message, AssistantMessage)
    )


def _json(body: bytes) -> object:
    try:
        return json.loads(body)
    except ValueError as error:
        raise BadRequestError("We could not parse the JSON body of your request.", None) from error
