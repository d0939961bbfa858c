"""A client of HTTP/1.1 that costs little beside what it measures, on a connection it keeps."""

from __future__ import annotations

import asyncio
import json
import time
from typing import Any, NamedTuple, Self
from urllib.parse import urlencode

from bench.stage import SECRET


class Answer(NamedTuple):
    """What came; `status` is 0 where the connection broke."""

    status: int
    ms: float
    body: bytes

    def json(self) -> Any:
        """Read it; a status that tells of a failure is one. Raises RuntimeError."""
        if not 200 <= self.status < 300:  # noqa: PLR2004 - HTTP's own
            raise RuntimeError(f"{self.status} {self.body.decode(errors='replace')}")
        return json.loads(self.body)


class Client:
    """One connection to a service on this machine; it is opened at the first request."""

    def __init__(self, port: int, secret: str = SECRET) -> None:
        self._port = port
        self._secret = secret
        self._reader: asyncio.StreamReader | None = None
        self._writer: asyncio.StreamWriter | None = None

    async def __aenter__(self) -> Self:
        """Open nothing yet."""
        return self

    async def __aexit__(self, *_: object) -> None:
        """Close it."""
        self.close()

    def close(self) -> None:
        """Close it; the next request opens another."""
        if self._writer is not None:
            self._writer.close()
        self._reader = self._writer = None

    async def get(self, path: str, **query: object) -> Answer:
        """Ask, and wait for the whole answer."""
        return await self.ask("GET", path, query)

    async def ask(
        self,
        method: str,
        path: str,
        query: dict[str, object] | None = None,
        body: dict[str, object] | None = None,
    ) -> Answer:
        """Ask, and wait for the whole answer."""
        target = f"{path}?{urlencode((query or {}) | {'clientId': self._secret})}"
        content = b"" if body is None else json.dumps(body).encode()
        head = f"{method} {target} HTTP/1.1\r\nHost: bench\r\nContent-Length: {len(content)}\r\n"
        if body is not None:
            head += "Content-Type: application/json\r\n"
        began = time.perf_counter()
        try:
            status, answer = await self._exchange(head.encode() + b"\r\n" + content)
        except (OSError, asyncio.IncompleteReadError):
            self.close()
            status, answer = 0, b""
        return Answer(status, (time.perf_counter() - began) * 1000, answer)

    async def _exchange(self, request: bytes) -> tuple[int, bytes]:
        if self._reader is None or self._writer is None:
            self._reader, self._writer = await asyncio.open_connection("127.0.0.1", self._port)
        self._writer.write(request)
        head = (await self._reader.readuntil(b"\r\n\r\n")).decode("latin-1").lower()
        status = int(head.split(" ", 2)[1])
        _, found, rest = head.partition("content-length:")
        length = int(rest.split("\r\n", 1)[0]) if found else 0
        answer = await self._reader.readexactly(length)
        if "connection: close" in head:
            self.close()
        return status, answer

    async def place(self, code: str, phone: str) -> Answer:
        """Place a call."""
        return await self.get("/api/makecallexternal", code=code, phone=phone)
