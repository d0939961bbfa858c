"""A stand-in for API Gateway's management API of a WebSocket API, which answers as it is told to.

boto3 comes here by `push_endpoint`. A connection that it does not know is 410 there, as on AWS;
what others are answered with a test says, 200 unless it does.
"""

from __future__ import annotations

import json
import threading
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import unquote

_STAGE = "/events/@connections/"


class Sockets:
    """The connections; `told` has each message that one was sent, `closed` who was closed.

    `answer(connection, tries)` is the status of a post, `tries` counts those before it;
    `answer_close(connection)` that of an end, of which only 204 is one.
    """

    def __init__(self, *connections: str) -> None:
        self.open = set(connections)
        self.told: dict[str, list[dict[str, Any]]] = defaultdict(list)
        self.tries: dict[str, int] = defaultdict(int)
        self.closed: list[str] = []
        self.answer: Callable[[str, int], int] = lambda _connection, _tries: 200
        self.answer_close: Callable[[str], int] = lambda _connection: 204
        self.url = ""
        self._guard = threading.Lock()

    def numbers(self, connection: str) -> list[int]:
        """Numbers of the events that a connection was sent, in the order they came."""
        return [told["seq"] for told in self.told[connection]]

    def post(self, connection: str, body: bytes) -> int:
        """Take a message; its status."""
        with self._guard:
            tries, self.tries[connection] = self.tries[connection], self.tries[connection] + 1
            if connection not in self.open:
                return 410
        status = self.answer(connection, tries)  # which may take its time
        with self._guard:
            if status == 200:
                self.told[connection].append(json.loads(body))
        return status

    def delete(self, connection: str) -> int:
        """Close a connection; its status."""
        with self._guard:
            if connection not in self.open:
                return 410
            status = self.answer_close(connection)
            if status == 204:
                self.open.remove(connection)
                self.closed.append(connection)
            return status

    @contextmanager
    def listening(self) -> Iterator[None]:
        """Listen until the block ends."""
        with ThreadingHTTPServer(("127.0.0.1", 0), _handler(self)) as server:
            self.url = f"http://127.0.0.1:{server.server_port}/events"
            thread = threading.Thread(target=server.serve_forever, args=(0.05,))
            thread.start()
            try:
                yield
            finally:
                server.shutdown()
                thread.join()


def _handler(sockets: Sockets) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        """One request of boto3's."""

        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            """Send a message."""
            body = self.rfile.read(int(self.headers["Content-Length"]))
            self._say(sockets.post(self._connection(), body))

        def do_DELETE(self) -> None:
            """Close a connection."""
            self._say(sockets.delete(self._connection()))

        def log_message(self, *_: object) -> None:
            """Say nothing."""

        def _connection(self) -> str:
            assert self.path.startswith(_STAGE)
            return unquote(self.path.removeprefix(_STAGE))

        def _say(self, status: int) -> None:
            self.send_response(status)
            self.send_header("Content-Length", "0")
            self.end_headers()

    return Handler
