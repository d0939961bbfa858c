"""The server's edge: whatever bytes come, in whatever pieces, the answer is sane; nobody waits."""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import math
import socket
import ssl
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any

import pytest
from fastapi import APIRouter, Body
from uvicorn.config import Config
from uvicorn.server import ServerState

from functions.health import handler as health
from shared.http import request as http_request
from shared.http import server, tls
from shared.http.app import create_app
from shared.http.binding import check_bind
from shared.process import forget_all
from shared.settings import Settings, SettingsError
from shared.telemetry import REQUEST_ID
from tests.certificate import make_certificate
from tests.integration.service import run_process, until

pytestmark = pytest.mark.anyio

HEAD = b"GET /health HTTP/1.1\r\nHost: a\r\n"
POST = b"POST /taken HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\n"
LAST = b"Connection: close\r\n\r\n"
WELL = HEAD + LAST


@dataclass
class Edge:
    """A server in the test's loop."""

    state: ServerState
    port: int
    release: asyncio.Event
    taken: list[Any]
    tls: ssl.SSLContext | None = None

    def in_the_clear(self) -> Edge:
        """The same, for who does not speak its TLS."""
        return replace(self, tls=None)

    @contextlib.asynccontextmanager
    async def connected(
        self,
    ) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
        """Open a connection until the block ends."""
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port, ssl=self.tls)
        try:
            yield reader, writer
        finally:
            writer.transport.abort()

    async def ask(self, *parts: bytes) -> bytes:
        """Send the parts, each when the one before was read; return all until the server's end."""
        async with self.connected() as (reader, writer):
            with contextlib.suppress(ConnectionError):
                for part in parts:
                    writer.write(part)
                    await writer.drain()
                    await asyncio.sleep(0)
            return await rest_of(reader)

    async def is_empty(self) -> None:
        """Wait until no connection is left."""
        await until(lambda: not self.state.connections)


async def rest_of(reader: asyncio.StreamReader) -> bytes:
    """Read until the server ends it."""
    read = bytearray()
    with contextlib.suppress(ConnectionError):
        async with asyncio.timeout(30):
            while some := await reader.read(65_536):
                read += some
    return bytes(read)


def status_of(answer: bytes) -> int:
    """The status of the first answer; 0: there is none."""
    return int(answer.split(b" ", 2)[1]) if answer else 0


def problem_of(answer: bytes) -> dict[str, Any]:
    """The one error body, which every refusal has, with the headers of every answer."""
    head, _, body = answer.partition(b"\r\n\r\n")
    fields = head.lower().split(b"\r\n")
    for field in (b"x-content-type-options: nosniff", b"cache-control: no-store"):
        assert fields.count(field) == 1
    problem: dict[str, Any] = json.loads(body)
    assert f"x-request-id: {problem['request_id']}".encode() in fields
    assert b"content-type: application/problem+json" in fields
    assert problem["dialled"] == "no"
    assert problem["status"] == status_of(answer)
    return problem


def pieces(data: bytes, size: int) -> Iterator[bytes]:
    """Cut bytes into parts of a size."""
    return (data[at : at + size] for at in range(0, len(data), size))


@pytest.fixture(scope="module")
def anyio_backend() -> tuple[str, dict[str, Any]]:
    """The service's own loop."""
    return "asyncio", {"loop_factory": tls.Loop}


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A self-signed certificate and its key."""
    return make_certificate(tmp_path_factory.mktemp("tls"))


@pytest.fixture
async def edge(caplog: pytest.LogCaptureFixture) -> AsyncIterator[Edge]:
    """A server of at most 20 connections; nothing that it does may leave a traceback in the log."""
    async with serving(caplog) as edge:
        yield edge


@pytest.fixture
async def tls_edge(
    caplog: pytest.LogCaptureFixture, certificate: tuple[Path, Path]
) -> AsyncIterator[Edge]:
    """Such a server with TLS of its own."""
    file, key = map(str, certificate)
    async with serving(caplog, tls_cert_file=file, tls_key_file=key) as edge:
        edge.tls = ssl.create_default_context(cafile=file)
        yield edge


@pytest.fixture(params=["edge", "tls_edge"])
def either(request: pytest.FixtureRequest) -> Edge:
    """Each of the two in turn."""
    edge: Edge = request.getfixturevalue(request.param)
    return edge


@contextlib.asynccontextmanager
async def serving(caplog: pytest.LogCaptureFixture, **more: Any) -> AsyncIterator[Edge]:
    """Serve until the block ends, then look at the log."""
    forget_all()
    release, taken = asyncio.Event(), list[Any]()
    router = APIRouter()

    @router.get("/held")
    async def held() -> str:
        await release.wait()
        return "released"

    @router.post("/taken")
    async def take(body: Annotated[Any, Body()]) -> str:
        taken.append(body)
        return "taken"

    @router.get("/long")
    async def long() -> str:
        return "x" * LONG_BYTES

    settings = Settings(max_connections=20, log_file="", **more)
    app = create_app(health.router, router, settings=settings)
    options = server.server_options(settings)
    config = Config(app, log_config=None, **options)
    config.load()
    state = ServerState()
    listening = await asyncio.get_running_loop().create_server(
        lambda: server.BoundedProtocol(config, state, {}), "127.0.0.1", 0, ssl=config.ssl
    )
    port = listening.sockets[0].getsockname()[1]
    with caplog.at_level(logging.INFO):
        yield Edge(state, port, release, taken)
    release.set()
    listening.close()
    for connection in list(state.connections):
        connection.transport.abort()
    await until(lambda: not state.connections and not state.tasks)
    for record in caplog.records:
        assert record.exc_info is None, caplog.text
        assert record.levelno < logging.ERROR, caplog.text
    forget_all()


# Requests that two readers might read differently

CHUNKED = b"Transfer-Encoding: chunked\r\n"
MALFORMED = {
    "length and coding": POST + b"Content-Length: 5\r\n" + CHUNKED + b"\r\n0\r\n\r\n",
    "coding and length": POST + CHUNKED + b"Content-Length: 5\r\n\r\n0\r\n\r\n",
    "two lengths": POST + b"Content-Length: 5\r\nContent-Length: 6\r\n\r\n[1]  ",
    "one length twice": POST + b"Content-Length: 5\r\nContent-Length: 5\r\n\r\n[1]  ",
    "a list of lengths": POST + b"Content-Length: 5, 5\r\n\r\n[1]  ",
    "a signed length": POST + b"Content-Length: +5\r\n\r\n[1]  ",
    "a length that is none": POST + b"Content-Length: five\r\n\r\n[1]  ",
    "another coding": POST + b"Transfer-Encoding: gzip\r\n\r\n",
    "two codings": POST + b"Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
    "a coding that looks like one": POST + b"Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n",
    "a coding of HTTP/1.0": POST.replace(b"1.1", b"1.0") + CHUNKED + b"\r\n0\r\n\r\n",
    "bare line feeds": WELL.replace(b"\r\n", b"\n"),
    "a bare line feed": HEAD.replace(b"a\r\n", b"a\n") + LAST,
    "a bare line feed at the end": HEAD + b"\n",
    "a bare carriage return": HEAD.replace(b"a\r\n", b"a\rX: b\r\n") + LAST,
    "NUL": HEAD + b"X: a\0b\r\n" + LAST,
    "a control character": HEAD + b"X: a\x01b\r\n" + LAST,
    "a folded header": HEAD + b"X: a\r\n b\r\n" + LAST,
    "a space before the colon": HEAD + b"X : a\r\n" + LAST,
    "a space before the first header": b"GET /health HTTP/1.1\r\n Host: a\r\n" + LAST,
    "a header without a name": HEAD + b": a\r\n" + LAST,
    "two hosts": HEAD + b"Host: b\r\n" + LAST,
    "one host twice": HEAD + b"Host: a\r\n" + LAST,
    "no host": b"GET /health HTTP/1.1\r\n" + LAST,
    "HTTP/0.9": b"GET /health\r\n",
    "HTTP/0.9 by name": b"GET /health HTTP/0.9\r\n\r\n",
    "HTTP/1.2": WELL.replace(b"1.1", b"1.2"),
    "HTTP/2": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    "HTTP/2 by name": WELL.replace(b"1.1", b"2.0"),
    "TLS": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + b"\0" * 64,
    "no method": b"/health HTTP/1.1\r\nHost: a\r\n\r\n",
    "a method that is none": b"DIAL /health HTTP/1.1\r\nHost: a\r\n\r\n",
    "a target that is none": b"GET health HTTP/1.1\r\nHost: a\r\n\r\n",
    "a target of another scheme": b"GET http: HTTP/1.1\r\nHost: a\r\n\r\n",
    "a tunnel": b"CONNECT a:443 HTTP/1.1\r\nHost: a\r\n\r\n",
    "bytes over 127": b"GET /health?\xff HTTP/1.1\r\nHost: a\r\n\r\n",
    "a tab": b"GET /health\tHTTP/1.1\r\nHost: a\r\n\r\n",
    "an upgrade with a body": POST
    + b"Connection: upgrade\r\nUpgrade: h2c\r\nContent-Length: 3\r\n\r\n[1]",
}


@pytest.mark.parametrize("size", [1, 7, 100_000])
@pytest.mark.parametrize("request_", MALFORMED.values(), ids=MALFORMED)
async def test_what_is_ambiguous_is_refused(edge: Edge, request_: bytes, size: int) -> None:
    """400 in the one error body, however the bytes arrive; nothing is served after it."""
    answer = await edge.ask(*pieces(request_ + b"\r\n", size))
    assert problem_of(answer)["code"] == "malformed-request"
    assert answer.count(b"HTTP/1.1 ") == 1
    assert edge.taken == []
    await edge.is_empty()


@pytest.mark.parametrize("size", [1, 100_000])
@pytest.mark.parametrize(
    "body", [b"5\n[1]  \n0\n\n", b"ffffffffffffffffff\r\n", b"-1\r\n", b"5\r\n[1]  x\r\n0\r\n\r\n"]
)
async def test_a_broken_chunk_ends_the_connection(edge: Edge, body: bytes, size: int) -> None:
    """What was sent of a body is never taken for the whole."""
    assert not await edge.ask(*pieces(POST + CHUNKED + b"\r\n" + body, size))
    assert edge.taken == []
    await edge.is_empty()


WELL_FORMED = {
    "absolute": b"GET http://elsewhere.example.test/health HTTP/1.1\r\nHost: a\r\n" + LAST,
    "HTTP/1.0": b"GET /health HTTP/1.0\r\n\r\n",
    "empty lines first": b"\r\n\r\n" + WELL,
    "an upgrade": HEAD + b"Connection: upgrade\r\nUpgrade: websocket\r\n\r\n",
    "an upgrade to HTTP/2": HEAD
    + b"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABk\r\n\r\n",
    "a body that nobody reads": HEAD + b"Content-Length: 3\r\n" + LAST + b"[1]",
    "a fragment": b"GET /health#x HTTP/1.1\r\nHost: a\r\n" + LAST,
    "an empty host": b"GET /health HTTP/1.1\r\nHost:\r\n" + LAST,
    "an expectation that is none": HEAD + b"Expect: wonders\r\n" + LAST,
}


@pytest.mark.parametrize("size", [1, 100_000])
@pytest.mark.parametrize("request_", WELL_FORMED.values(), ids=WELL_FORMED)
async def test_what_is_unusual_is_answered(edge: Edge, request_: bytes, size: int) -> None:
    """As any request is; an upgrade is not made, and after it nothing more is read."""
    answer = await edge.ask(*pieces(request_, size))
    assert status_of(answer) == 200
    assert b"\r\nconnection: close\r\n" in answer
    assert answer.count(b"HTTP/1.1 ") == 1
    await edge.is_empty()


async def test_who_asks_before_sending_a_body_is_told_to(edge: Edge) -> None:
    """`Expect: 100-continue`: 100, then the answer."""
    async with edge.connected() as (reader, writer):
        writer.write(POST + b"Expect: 100-continue\r\nContent-Length: 3\r\n" + LAST)
        assert await reader.readuntil(b"\r\n\r\n") == b"HTTP/1.1 100 Continue\r\n\r\n"
        writer.write(b"[1]")
        assert status_of(await rest_of(reader)) == 200
    assert edge.taken == [[1]]


# Sizes


@pytest.mark.parametrize("size", [1, 4_096, 8_192, 16_384, 65_536, 1_000_000])
@pytest.mark.parametrize(
    ("length", "code"),
    [(8_192, None), (8_193, 414), (9_000, 414), (32_768, 414), (60_000, 414), (1_000_000, 414)],
)
async def test_a_long_target_is_told(edge: Edge, length: int, code: int | None, size: int) -> None:
    """Over 8,192 bytes: 414, whether it comes in one piece or in many, and however long it is."""
    if size == 1 and length > 9_000:
        length = 20_000  # as good, and sooner
    target = (b"/health?" + b"?&=%+" * length)[:length]
    answer = await edge.ask(*pieces(b"GET " + target + b" HTTP/1.1\r\nHost: a\r\n" + LAST, size))
    assert status_of(answer) == (code or 200)
    assert code is None or problem_of(answer)["code"] == "target-too-long"
    await edge.is_empty()


@pytest.mark.parametrize("size", [977, 32_768, 1_000_000])
@pytest.mark.parametrize(
    "headers",
    [
        b"X: " + b"a" * 40_000 + b"\r\n",
        b"a" * 40_000 + b": x\r\n",
        b"X: y\r\n" * 7_000,
        b"X: " + b"a" * 1_000_000 + b"\r\n",
    ],
)
async def test_a_head_of_over_32_kb_is_told(edge: Edge, headers: bytes, size: int) -> None:
    """431, whatever it consists of and however it comes."""
    answer = await edge.ask(*pieces(HEAD + headers + LAST, size))
    assert problem_of(answer)["code"] == "head-too-large"
    await edge.is_empty()


@pytest.mark.parametrize("size", [977, 100_000])
async def test_a_head_just_below_is_served(edge: Edge, size: int) -> None:
    """32,768 bytes are allowed, its end included."""
    room = 32_768 - len(HEAD + b"X: \r\n" + LAST)
    for more in (0, 1):
        request = HEAD + b"X: " + b"a" * (room + more) + b"\r\n" + LAST
        assert status_of(await edge.ask(*pieces(request, size))) == (431 if more else 200)


@pytest.mark.parametrize(
    "endless",
    [b"1\r\n \r\n", b"5;" + b"a" * 10_000, b"0\r\n" + b"X: y\r\n", b"0\r\nX: " + b"a" * 10_000],
    ids=["chunks", "an extension", "trailers", "a trailer"],
)
async def test_a_body_without_an_end_is_ended(edge: Edge, endless: bytes) -> None:
    """No chunks, extensions or trailers are read for ever, nor kept."""
    begin, repeated = endless[:3], endless[3:]
    if endless.startswith(b"1\r\n"):
        begin, repeated = b"", endless

    async with edge.connected() as (reader, writer):
        writer.write(POST + CHUNKED + b"\r\n" + begin)
        with contextlib.suppress(ConnectionError):
            while not writer.is_closing() and not reader.at_eof():
                writer.write(repeated * 100)
                await writer.drain()
                await asyncio.sleep(0)
        answer = await rest_of(reader)
    assert status_of(answer) in {0, 413}
    assert edge.taken == []
    await edge.is_empty()


# Times


async def dribbled(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter, begin: bytes, byte: bytes
) -> bytes:
    """Send a begin at once and then a byte at a time, until there is an answer."""
    reading = asyncio.create_task(rest_of(reader))
    writer.write(begin)
    while not reading.done():
        with contextlib.suppress(ConnectionError):
            writer.write(byte)
        await asyncio.sleep(0.01)
    return await reading


async def test_a_byte_at_a_time_ends_by_itself(edge: Edge, monkeypatch: pytest.MonkeyPatch) -> None:
    """A head has its time, however often a byte of it comes: 408."""
    monkeypatch.setattr(server, "_HEAD_S", 0.1)
    async with edge.connected() as (reader, writer):
        answer = await dribbled(reader, writer, HEAD + b"X: ", b"a")
        assert problem_of(answer)["code"] == "request-timeout"
    await edge.is_empty()


async def test_what_is_no_request_is_named_by_its_own_answer(
    edge: Edge, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The log's line has the id of the answer, not of the request before on that connection.

    Through a proxy that one may be another enterprise's.
    """
    lines = list[tuple[str, str]]()

    class Lines(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            lines.append((REQUEST_ID.get(), record.getMessage()))

    monkeypatch.setattr(logging.getLogger("uvicorn.error"), "handlers", [Lines()])
    async with edge.connected() as (reader, writer):
        (connection,) = edge.state.connections
        monkeypatch.setattr(connection, "timeout_keep_alive", 1)
        monkeypatch.setattr(server, "_HEAD_S", 0.1)
        writer.write(HEAD + b"X-Request-Id: the-one-before\r\n\r\n")
        await reader.readuntil(b"}")
        answer = await dribbled(reader, writer, HEAD + b"X: ", b"a")
    problem = problem_of(answer)
    assert problem["code"] == "request-timeout"
    assert [request_id for request_id, line in lines if " 408 " in line] == [problem["request_id"]]
    await edge.is_empty()


async def test_who_says_nothing_is_let_go(edge: Edge, monkeypatch: pytest.MonkeyPatch) -> None:
    """A connection on which nothing comes is closed without an answer to nothing."""
    monkeypatch.setattr(server, "_HEAD_S", 0.05)
    assert await edge.ask() == b""
    await edge.is_empty()


async def test_a_body_has_its_time(edge: Edge, monkeypatch: pytest.MonkeyPatch) -> None:
    """A byte at a time of it: 408 in the one error body, and nothing of it is used."""
    monkeypatch.setattr(http_request, "_BODY_S", 0.1)
    async with edge.connected() as (reader, writer):
        answer = await dribbled(reader, writer, POST + b"Content-Length: 10000\r\n\r\n", b" ")
        head, _, body = answer.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 408 ")
    assert json.loads(body)["code"] == "request-timeout"
    assert edge.taken == []
    await edge.is_empty()


async def test_an_answer_does_not_wait_for_a_body(
    edge: Edge, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Who is answered before sending all, as by 413, is not read any further."""
    monkeypatch.setattr(server, "_LINGER_S", 0.05)
    async with edge.connected() as (reader, writer):
        writer.write(HEAD + b"Content-Length: 1000000\r\n\r\n")
        answer = await rest_of(reader)
        assert status_of(answer) == 200
        await edge.is_empty()


async def test_an_idle_connection_is_closed(edge: Edge, monkeypatch: pytest.MonkeyPatch) -> None:
    """It serves a second request, and is closed when none comes, or none comes whole."""
    for more in (b"", b"GE"):
        async with edge.connected() as (reader, writer):
            (connection,) = edge.state.connections
            assert isinstance(connection, server.BoundedProtocol)
            for _ in range(2):
                writer.write(HEAD + b"\r\n")
                await reader.readuntil(b"}")
                monkeypatch.setattr(connection, "timeout_keep_alive", 1)
                monkeypatch.setattr(server, "_HEAD_S", 1)
            writer.write(more)
            answer = await rest_of(reader)
            assert status_of(answer) == (408 if more else 0)
        await edge.is_empty()


async def test_who_does_not_read_is_let_go(edge: Edge, monkeypatch: pytest.MonkeyPatch) -> None:
    """An answer that nobody takes holds its connection no longer than its time."""
    monkeypatch.setattr(server, "_UNREAD_S", 2)
    for more in (b"", HEAD + b"\r\n"):
        with socket.create_connection(("127.0.0.1", edge.port)) as client:
            client.sendall(b"GET /long HTTP/1.1\r\nHost: a\r\n\r\n")
            await until(lambda: bool(edge.state.connections))
            (connection,) = edge.state.connections
            await until(lambda: connection.flow.write_paused)  # type: ignore[union-attr] # noqa: B023
            client.sendall(more)
            await edge.is_empty()


LONG = b"GET /long HTTP/1.1\r\nHost: a\r\n"
LONG_BYTES = 8_000_000


@contextlib.asynccontextmanager
async def unread(
    edge: Edge, request: bytes
) -> AsyncIterator[tuple[asyncio.StreamReader, server.BoundedProtocol]]:
    """A client that does not read what it asked for, and the connection that waits for it."""
    before = set(edge.state.connections)
    async with edge.connected() as (reader, writer):
        writer.write(request)
        await until(lambda: bool(edge.state.connections - before))
        (connection,) = edge.state.connections - before
        assert isinstance(connection, server.BoundedProtocol)
        await until(lambda: connection.flow is not None and connection.flow.write_paused)
        yield reader, connection


async def taken(reader: asyncio.StreamReader, most: int) -> int:
    """Read so many bytes, or to the end; how many came."""
    came = 0
    async with asyncio.timeout(30):
        while came < most and (data := await reader.read(min(most - came, 65_536))):
            came += len(data)
    return came


@pytest.mark.parametrize("last", [b"\r\n", LAST], ids=["kept", "closed"])
async def test_who_reads_slowly_gets_all(
    either: Edge, monkeypatch: pytest.MonkeyPatch, last: bytes
) -> None:
    """A long answer has the time that it needs, if its reader takes 64 kB in each 20 s.

    All other times begin once he has it.
    """
    monkeypatch.setattr(server, "_LINGER_S", 0.01)
    monkeypatch.setattr(server, "_HEAD_S", 0.01)
    async with unread(either, LONG + last) as (client, connection):
        monkeypatch.setattr(connection, "timeout_keep_alive", 0.01)
        came = looks = 0
        while connection.flow.write_paused:
            left = connection.link.get_write_buffer_size()
            came += await taken(client, 1_000_000)
            await until(
                lambda: connection.link.get_write_buffer_size() <= max(left - 100_000, 0)  # noqa: B023
            )
            if connection.flow.write_paused:
                connection.look_at_reader()
                looks += 1
        assert looks
        assert came + await taken(client, LONG_BYTES) > LONG_BYTES


async def test_who_has_read_may_ask_again(either: Edge) -> None:
    """A long answer leaves its connection as any other does."""
    async with either.connected() as (reader, writer):
        for _ in range(3):
            writer.write(LONG + b"\r\n")
            await reader.readuntil(b"\r\n\r\n")
            assert await reader.readexactly(LONG_BYTES + 2)


async def test_a_byte_now_and_then_is_no_reading(either: Edge) -> None:
    """Who takes less than 64 kB of an answer in its time is let go."""
    async with unread(either, LONG + b"\r\n") as (reader, connection), asyncio.timeout(30):
        while not connection.link.is_closing():
            assert await reader.read(1)
            connection.look_at_reader()
    await either.is_empty()


# Many at once


async def test_who_does_not_read_stops_nobody(either: Edge) -> None:
    """At the cap who leaves answers unread waits as well, however many he has asked for."""
    async with contextlib.AsyncExitStack() as stack:
        for _ in range(20):
            await stack.enter_async_context(unread(either, (LONG + b"\r\n") * 5))
        for _ in range(30):
            reader, writer = await stack.enter_async_context(either.connected())
            writer.write(HEAD + b"\r\n")
            assert status_of(await reader.readuntil(b"}")) == 200


async def test_who_came_last_is_not_chosen(edge: Edge) -> None:
    """At the cap somebody else goes, as long as anybody waits."""
    async with contextlib.AsyncExitStack() as stack:
        for _ in range(20):
            await stack.enter_async_context(edge.connected())
        await until(lambda: len(edge.state.connections) == 20)
        for connection in edge.state.connections:
            assert isinstance(connection, server.BoundedProtocol)
            connection.waits_since = math.inf
        assert status_of(await edge.ask(WELL)) == 200


async def test_two_hundred_slow_ones_stop_nobody(
    edge: Edge, monkeypatch: pytest.MonkeyPatch
) -> None:
    """At the cap who has waited longest makes room: a neighbour is answered, and they end."""
    async with contextlib.AsyncExitStack() as stack:
        readers = []
        for number in range(200):
            reader, writer = await stack.enter_async_context(edge.connected())
            with contextlib.suppress(ConnectionError):
                writer.write(HEAD[: number % len(HEAD)])
            readers.append(reader)
            if number % 40 == 0:
                assert status_of(await edge.ask(WELL)) == 200
            assert len(edge.state.connections) <= 20
        assert status_of(await edge.ask(WELL)) == 200
        await until(lambda: len(edge.state.connections) <= 20)
        ended = await asyncio.gather(*(rest_of(reader) for reader in readers[:170]))
        assert set(ended) == {b""}


async def test_a_request_under_way_is_never_closed_for_another(edge: Edge) -> None:
    """The cap closes who waits; where all are being answered, the newcomer."""
    async with contextlib.AsyncExitStack() as stack:
        readers = []
        for _ in range(20):
            reader, writer = await stack.enter_async_context(edge.connected())
            writer.write(b"GET /held HTTP/1.1\r\nHost: a\r\n" + LAST)
            readers.append(reader)
        await until(lambda: len(edge.state.tasks) == 20)
        assert await edge.ask(WELL) == b""
        edge.release.set()
        answers = await asyncio.gather(*map(rest_of, readers))
    assert [status_of(answer) for answer in answers] == [200] * 20


async def test_the_cap_is_told_once(edge: Edge, caplog: pytest.LogCaptureFixture) -> None:
    """One line a minute names MAX_CONNECTIONS."""
    async with contextlib.AsyncExitStack() as stack:
        for _ in range(40):
            await stack.enter_async_context(edge.connected())
        await until(lambda: "MAX_CONNECTIONS" in caplog.text)
        await asyncio.sleep(0)
    assert caplog.text.count("MAX_CONNECTIONS") == 1


# Before TLS


async def test_silence_before_tls_is_counted(tls_edge: Edge) -> None:
    """At the cap it makes room: whoever speaks TLS is answered, however many say nothing."""
    async with contextlib.AsyncExitStack() as stack:
        for _ in range(60):
            await stack.enter_async_context(tls_edge.in_the_clear().connected())
        await until(lambda: len(tls_edge.state.connections) == 20)
        for _ in range(30):
            assert status_of(await tls_edge.ask(WELL)) == 200


async def test_a_handshake_has_its_time(tls_edge: Edge, monkeypatch: pytest.MonkeyPatch) -> None:
    """Who does not begin it, or does not end it, is let go and no more counted."""
    hello, unsent = ssl.MemoryBIO(), ssl.MemoryBIO()
    assert tls_edge.tls is not None
    with contextlib.suppress(ssl.SSLWantReadError):
        tls_edge.tls.wrap_bio(unsent, hello, server_hostname="localhost").do_handshake()
    begin = hello.read()
    monkeypatch.setattr(tls, "_HANDSHAKE_S", 0.05)
    for said in (b"", begin[:20], begin):
        assert b"healthy" not in await tls_edge.in_the_clear().ask(said)
        await tls_edge.is_empty()


async def test_what_is_no_tls_is_let_go(tls_edge: Edge) -> None:
    """A request in the clear, or any bytes: nothing is served, nobody is left counted."""
    for said in (WELL, b"\0" * 500, b"\x16\x03\x01\xff\xff" + b"\xff" * 500):
        assert b"HTTP" not in await tls_edge.in_the_clear().ask(said)
        await tls_edge.is_empty()


async def test_the_service_counts_them_too(certificate: tuple[Path, Path], tmp_path: Path) -> None:
    """As it is started with TLS_CERT_FILE: the first of many silent ones makes room at once."""
    file, key = map(str, certificate)
    settings = {"TLS_CERT_FILE": file, "TLS_KEY_FILE": key, "MAX_CONNECTIONS": "10"}
    async with (
        run_process(tmp_path, settings | {"LOG_FILE": "", "POSTGRES_PORT": "1"}) as process,
        contextlib.AsyncExitStack() as stack,
    ):
        port = int(process.url.rpartition(":")[2])
        service = Edge(ServerState(), port, asyncio.Event(), [])
        silent = [await stack.enter_async_context(service.connected()) for _ in range(15)]
        assert await rest_of(silent[0][0]) == b""
        await until(lambda: "MAX_CONNECTIONS (10)" in process.output.read_text("utf-8"))
        assert f"https://127.0.0.1:{port}" in process.output.read_text("utf-8")


async def test_a_closing_connection_is_ended_at_a_shutdown(tls_edge: Edge) -> None:
    """Closing it once more, as uvicorn does then, spares it nothing."""
    async with unread(tls_edge, LONG + LAST) as (_, connection), asyncio.timeout(30):
        await until(connection.transport.is_closing)
        connection.shutdown()
        while not connection.link.is_closing():
            await asyncio.sleep(0)
            connection.look_at_reader()
    await tls_edge.is_empty()


# One after another on one connection


@pytest.mark.parametrize("size", [1, 100_000])
async def test_requests_in_a_row_are_answered_in_a_row(edge: Edge, size: int) -> None:
    """Pipelined requests, bodies among them, are each answered in their order."""
    body = POST + b"Content-Length: 3\r\n\r\n[1]"
    answer = await edge.ask(*pieces(HEAD + b"\r\n" + body + body + WELL, size))
    assert answer.count(b"HTTP/1.1 200 ") == 4
    assert edge.taken == [[1], [1]]
    assert answer.index(b"taken") > answer.index(b"healthy")


async def test_a_row_is_not_endless(edge: Edge) -> None:
    """Who sends thousands without reading is answered some, and then no more is read."""
    answer = await edge.ask((HEAD + b"\r\n") * 5_000)
    assert 1 <= answer.count(b"HTTP/1.1 200 ") <= 20
    await edge.is_empty()


@pytest.mark.parametrize("rubbish", [b"\0\0\0\r\n\r\n", b"GET /" + b"x" * 9_000, HEAD + b"\n"])
async def test_rubbish_behind_a_request_costs_its_own_answer_alone(
    edge: Edge, rubbish: bytes
) -> None:
    """The request before it is answered, whole, and nothing is put before or into its answer."""
    held = b"GET /held HTTP/1.1\r\nHost: a\r\n\r\n"
    async with edge.connected() as (reader, writer):
        writer.write(held + rubbish)
        await until(lambda: len(edge.state.tasks) == 1)
        edge.release.set()
        answer = await rest_of(reader)
    assert answer.count(b"HTTP/1.1 ") == 1
    assert status_of(answer) == 200
    assert answer.endswith(b'"released"')
    assert b"\r\nconnection: close\r\n" in answer
    await edge.is_empty()


# Where it may listen


def bind(**settings: Any) -> None:
    """Check such settings."""
    check_bind(Settings(**settings))


@pytest.mark.parametrize("host", ["127.0.0.1", "127.8.8.8", "::1", "localhost"])
def test_this_machine_alone_needs_nothing(host: str) -> None:
    """Nobody else can reach it."""
    bind(service_host=host)


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "", "192.0.2.1", "pbx.example.test", "127.1.x"])
def test_a_public_bind_wants_tls_before_it_or_in_it(host: str) -> None:
    """Otherwise one sentence names what to set."""
    bind(service_host=host, behind_proxy="yes")
    with pytest.raises(SettingsError, match=r"SERVICE_HOST: .*BEHIND_PROXY=yes.*TLS_CERT_FILE"):
        bind(service_host=host)


def test_tls_files_are_tried_at_once(certificate: tuple[Path, Path], tmp_path: Path) -> None:
    """A file that is missing, is none, or has a password is told by its variable."""
    good, key = map(str, certificate)
    bind(service_host="0.0.0.0", tls_cert_file=good, tls_key_file=key)
    both = tmp_path / "both.pem"
    both.write_text(Path(good).read_text() + Path(key).read_text())
    bind(service_host="0.0.0.0", tls_cert_file=str(both))
    locked, locked_key = map(str, make_certificate(tmp_path, b"made-up"))
    for wrong in (
        {"tls_key_file": key},
        {"tls_cert_file": "/nosuch.pem", "tls_key_file": key},
        {"tls_cert_file": good, "tls_key_file": "/nosuch.pem"},
        {"tls_cert_file": good},
        {"tls_cert_file": key, "tls_key_file": key},
        {"tls_cert_file": __file__, "tls_key_file": key},
        {"tls_cert_file": good, "tls_key_file": locked_key},
        {"tls_cert_file": locked, "tls_key_file": locked_key},
    ):
        with pytest.raises(SettingsError, match=r"TLS_(CERT|KEY)_FILE"):
            bind(**wrong)
