"""A receiver of webhooks: a real HTTP server that fails in every way, when it is told to."""

from __future__ import annotations

import asyncio
import contextlib
import json
import ssl
from collections import deque
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

from standardwebhooks import Webhook

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"


def status(code: int, *headers: str) -> bytes:
    """An answer without a body."""
    lines = (f"HTTP/1.1 {code} Whatever", "Content-Length: 0", *headers)
    return "".join(f"{line}\r\n" for line in (*lines, "")).encode()


@dataclass
class Got:
    """A request."""

    path: str
    headers: dict[str, str]
    body: bytes

    @property
    def told(self) -> dict[str, Any]:
        """Its message."""
        told: dict[str, Any] = json.loads(self.body)
        return told

    @property
    def id(self) -> str:
        """The message's name."""
        return self.headers["webhook-id"]

    def is_signed_by(self, secret: str) -> bool:
        """Tell whether the specification's own library finds it signed."""
        return bool(Webhook(secret).verify(self.body, self.headers))


class Receiver:
    """Answers in turn what `answers` says, and `usual` when nothing is left of that.

    Bytes are sent as they are; `hang`: it never answers; `cut`: it closes without an answer;
    `half`: it closes in the middle of a body; `drip`: it sends a byte of a header now and then;
    `endless`: a body without end. Until `held` is set, if it is there, no bytes are sent.
    """

    def __init__(self) -> None:
        self.got: list[Got] = []
        self.answers: deque[bytes | str] = deque()
        self.usual: bytes | str = OK
        self.port = 0
        self.open = 0
        self.most_open = 0
        self.sent = 0
        self.held: asyncio.Event | None = None
        self._server: asyncio.Server | None = None
        self._links: set[asyncio.Task[None]] = set()

    @property
    def url(self) -> str:
        """Where it is."""
        return f"http://127.0.0.1:{self.port}/hook?token=1"

    @property
    def seqs(self) -> list[int]:
        """The numbers of the events that it got, in their order."""
        return [got.told["seq"] for got in self.got]

    async def start(self, tls: ssl.SSLContext | None = None) -> None:
        """Listen, on the port of before if there was one."""
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", self.port, ssl=tls)
        self.port = self._server.sockets[0].getsockname()[1]

    async def stop(self) -> None:
        """Refuse connections."""
        if self._server is not None:
            self._server.close()
            self.cut()
            await asyncio.gather(*self._links, return_exceptions=True)
            self._server = None

    def cut(self) -> None:
        """Close the connections that there are, whatever they wait for."""
        for link in self._links:
            link.cancel()

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._links.add(task)
        self.open += 1
        self.most_open = max(self.most_open, self.open)
        try:
            while await self._serve(reader, writer):
                pass
        except (OSError, asyncio.IncompleteReadError, asyncio.CancelledError):
            pass  # the client has gone, or the test ends
        finally:
            self.open -= 1
            self._links.discard(task)
            writer.close()
            with contextlib.suppress(OSError, asyncio.CancelledError):
                await writer.wait_closed()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        head = (await reader.readuntil(b"\r\n\r\n")).decode()
        request, *lines = head.strip().split("\r\n")
        headers = {
            name.lower(): value.strip() for name, _, value in (x.partition(":") for x in lines)
        }
        body = await reader.readexactly(int(headers.get("content-length", "0")))
        self.got.append(Got(request.split(" ")[1], headers, body))
        answer = self.answers.popleft() if self.answers else self.usual
        if isinstance(answer, bytes):
            if self.held is not None:
                await self.held.wait()
            writer.write(answer)
            await writer.drain()
            return True
        if answer == "hang":
            await reader.read()
        elif answer == "half":
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhalf")
            await writer.drain()
        elif answer == "drip":
            writer.write(b"HTTP/1.1 200 OK\r\nX-Slow: ")
            while True:
                writer.write(b"x")
                await writer.drain()
                await asyncio.sleep(0.02)
        elif answer == "endless":
            writer.write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
            while True:
                writer.write(b"10000\r\n" + bytes(65536) + b"\r\n")
                self.sent += 65536
                await writer.drain()
        return False


@contextlib.asynccontextmanager
async def receiving(tls: ssl.SSLContext | None = None) -> AsyncIterator[Receiver]:
    """Run one until the block ends."""
    receiver = Receiver()
    await receiver.start(tls)
    try:
        yield receiver
    finally:
        await receiver.stop()
