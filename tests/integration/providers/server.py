"""A local HTTP server in the place of a provider's service."""

from __future__ import annotations

import itertools
import json
import threading
from abc import ABC, abstractmethod
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from tests.integration.providers.conversation import Policy, RefusedError, Reply, Session, View


class Protocol(ABC):
    """A provider's protocol: how requests are checked, read and answered."""

    def __init__(self) -> None:
        self.numbers = itertools.count(1)

    def number(self, prefix: str) -> str:
        """An id that was never given before."""
        return f"{prefix}{next(self.numbers):04d}"

    @abstractmethod
    def read(self, path: str, headers: dict[str, str], body: dict[str, Any]) -> View:
        """Check a request and read the conversation in it.

        Raises:
            RefusedError: When the service would refuse it.
        """

    @abstractmethod
    def streams(self, path: str, body: dict[str, Any]) -> bool:
        """Whether the request asks for a stream."""

    @abstractmethod
    def answer(self, body: dict[str, Any], reply: Reply) -> dict[str, Any]:
        """The answer to a request that was read."""

    @abstractmethod
    def events(self, body: dict[str, Any], answer: dict[str, Any]) -> Iterator[str]:
        """The same answer as lines of server-sent events."""

    @abstractmethod
    def error(self, refused: RefusedError) -> dict[str, Any]:
        """The body of a 400."""


class ProviderServer:
    """Serves one protocol on the loopback; a test at a time opens a session on it."""

    def __init__(self, protocol: Protocol) -> None:
        self.protocol = protocol
        self.session = Session(_nobody)
        self._http = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self._http.daemon_threads = False
        self._thread = threading.Thread(target=self._http.serve_forever, args=(0.02,))
        self._thread.start()

    @property
    def url(self) -> str:
        """Where it listens."""
        return f"http://127.0.0.1:{self._http.server_port}"

    def open(self, policy: Policy) -> Session:
        """Begin a session, with a policy for the model."""
        self.session = Session(policy)
        return self.session

    def close(self) -> None:
        """Stop, and wait for requests that are being answered."""
        self._http.shutdown()
        self._http.server_close()
        self._thread.join()

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        server = self

        class Handler(BaseHTTPRequestHandler):
            # HTTP/1.0 closes each connection with its answer, so no client keeps one open.
            def do_POST(self) -> None:
                raw = self.rfile.read(int(self.headers.get("content-length") or 0))
                headers = {name.lower(): value for name, value in self.headers.items()}
                status, kind, text = server.serve(self.path, headers, json.loads(raw))
                self.send_response(status)
                self.send_header("content-type", kind)
                self.end_headers()
                self.wfile.write(text.encode())

            def log_message(self, format: str, *args: Any) -> None:
                """Keep quiet."""

        return Handler

    def serve(
        self, path: str, headers: dict[str, str], body: dict[str, Any]
    ) -> tuple[int, str, str]:
        """Answer one request: status, content type and body."""
        session, protocol = self.session, self.protocol
        session.bodies.append(body)
        try:
            answer = protocol.answer(body, session.reply(protocol.read(path, headers, body)))
        except RefusedError as refused:
            session.refusals.append(str(refused))
            return 400, "application/json", json.dumps(protocol.error(refused))
        except BaseException as failure:  # noqa: BLE001 - the test raises it again
            session.failures.append(failure)
            refused = RefusedError(f"the script failed: {failure!r}")
            return 400, "application/json", json.dumps(protocol.error(refused))
        session.streamed.append(protocol.streams(path, body))
        if session.streamed[-1]:
            return 200, "text/event-stream", "".join(protocol.events(body, answer))
        return 200, "application/json", json.dumps(answer)


def _nobody(view: View) -> Reply:
    msg = f"no test has opened a session, and the model was sent {view}"
    raise AssertionError(msg)


def event(data: Any, name: str | None = None) -> str:
    """One server-sent event."""
    text = data if isinstance(data, str) else json.dumps(data)
    return f"event: {name}\ndata: {text}\n\n" if name else f"data: {text}\n\n"


def pieces(text: str) -> list[str]:
    """A text in three parts, as a stream brings it."""
    third = -(-len(text) // 3)
    return [text[start : start + third] for start in range(0, len(text), third or 1)]
