"""Hostile WebSockets: whatever they send or do not read, they end, and the log is short."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator

import anyio
import pytest

from tests.integration.doors import BEARER, Served, message_of, serving
from tests.integration.service import Services, until

pytestmark = pytest.mark.anyio

UPGRADE = (
    b"GET /api/events HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: MDEyMzQ1Njc4OWFiY2RlZg==\r\n"
)
MASK = b"\0\0\0\0"
FLOODS = {
    "garbage": b"\xff" * 300_000,
    "a frame that is not masked": b"\x81\x02{}",
    "a frame of gigabytes": b"\x81\xff" + b"\x00\x00\x00\x7f\xff\xff\xff\xff" + MASK,
    "a message of a megabyte": b"\x81\xfe\xff\xff" + MASK + b"x" * 65_535,
    "endless fragments": b"\x01\x81" + MASK + b"x" + (b"\x00\x81" + MASK + b"x") * 20_000,
    "fragments of nothing": b"\x01\x80" + MASK + (b"\x00\x80" + MASK) * 20_000,
    "pings": (b"\x89\x80" + MASK) * 20_000,
    "pongs": (b"\x8a\x80" + MASK) * 20_000,
}


@pytest.fixture
async def served(start: Services) -> AsyncIterator[Served]:
    """A service of few connections."""
    async with serving(await start(MAX_CONNECTIONS=20)) as served:
        yield served


async def upgraded(served: Served, *headers: bytes) -> asyncio.StreamReader:
    """Open a WebSocket by hand."""
    reader, writer = await asyncio.open_connection("127.0.0.1", served.port)
    writer.write(UPGRADE + b"".join(headers) + b"\r\n")
    head = await reader.readuntil(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 101 "), head
    reader.writer = writer  # type: ignore[attr-defined] # kept with it
    return reader


@pytest.mark.parametrize("flood", FLOODS.values(), ids=FLOODS)
@pytest.mark.parametrize("is_in", [False, True], ids=["before", "after the log-in"])
async def test_a_flood_ends_its_own_connection(
    served: Served, caplog: pytest.LogCaptureFixture, flood: bytes, *, is_in: bool
) -> None:
    """Of a few frames and bytes; the log has a line or two of the connection, none of a frame."""
    header = b"Authorization: " + BEARER["Authorization"].encode() + b"\r\n"
    with caplog.at_level(logging.INFO):
        reader = await upgraded(served, *([header] if is_in else []))
        writer: asyncio.StreamWriter = reader.writer  # type: ignore[attr-defined] # see above
        if is_in:
            assert await reader.read(2)
        writer.write(flood)
        with anyio.fail_after(60):
            try:
                while await reader.read(65_536):
                    pass
            except ConnectionError:
                pass
        writer.transport.abort()
        await until(lambda: not served.state.connections and not served.state.tasks)
    assert len(caplog.records) <= 6, caplog.text
    assert not [record for record in caplog.records if record.levelno >= logging.ERROR]


async def test_who_does_not_log_in_makes_room(served: Served) -> None:
    """At MAX_CONNECTIONS the strangers go, whoever has logged in stays."""
    async with served.socket(additional_headers=BEARER) as socket:
        await message_of(socket)
        strangers = [await upgraded(served) for _ in range(40)]
        assert len(served.state.connections) <= 20
        async with served.http as http:
            assert (await http.get("/health")).status_code == 200
        await (await socket.ping())
        for reader in strangers:
            reader.writer.transport.abort()  # type: ignore[attr-defined] # see above


@pytest.mark.parametrize(
    "request_line",
    [
        b"GET /health HTTP/1.1",
        b"POST /api/events HTTP/1.1",
        b"GET /api/events/ticket HTTP/1.1",
        b"GET /api/eventsx HTTP/1.1",
    ],
)
async def test_nothing_else_is_upgraded(served: Served, request_line: bytes) -> None:
    """It is answered as any request is, and its connection closed."""
    reader, writer = await asyncio.open_connection("127.0.0.1", served.port)
    writer.write(UPGRADE.replace(b"GET /api/events HTTP/1.1", request_line) + b"\r\n")
    with anyio.fail_after(60):
        answer = await reader.read()
    assert answer.startswith(b"HTTP/1.1 ")
    assert not answer.startswith(b"HTTP/1.1 101")
    writer.close()


async def test_a_head_that_two_might_read_differently_is_refused(served: Served) -> None:
    """What the WebSocket's own reader does not take is no request, and ends at once."""
    reader, writer = await asyncio.open_connection("127.0.0.1", served.port)
    writer.write(UPGRADE + b"".join(b"X-%d: a\r\n" % n for n in range(400)) + b"\r\n")
    with anyio.fail_after(60):
        answer = await reader.read()
    assert answer.startswith(b"HTTP/1.1 400 ")
    writer.close()
