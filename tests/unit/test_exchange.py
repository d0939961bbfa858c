"""PostgreSQL's replies on the event loop: whole in any pieces, and of any bytes no surprise."""

from __future__ import annotations

import asyncio
import socket
import struct
from collections.abc import Iterator, Sequence
from types import SimpleNamespace
from typing import Any

import pg8000.exceptions
import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.store import connection as own
from shared.store import sqlstates
from shared.store.connection import DRIVER_ERRORS, Connection, Native, Rows
from shared.store.exchange import Replies, Unreadable, exchange

pytestmark = pytest.mark.anyio

KNOWN = frozenset(bytes([code]) for code in b"NRSKZTDEI12tnAcdGHs3C")
SQL = "SELECT :a AS a"


def message(code: bytes, content: bytes = b"") -> bytes:
    """Write one."""
    return code + struct.pack(">i", len(content) + 4) + content


def row(*values: str | None) -> bytes:
    """Write a row of texts."""
    cells = (
        struct.pack(">i", -1) if v is None else struct.pack(">i", len(v.encode())) + v.encode()
        for v in values
    )
    return message(b"D", struct.pack(">h", len(values)) + b"".join(cells))


READY = message(b"Z", b"I")
BOUND = message(b"2")
DONE = message(b"C", b"SELECT 1\0")
NOTICE = message(b"N", b"SNOTICE\0C00000\0Mby the way\0\0")
STATUS = message(b"S", b"TimeZone\0UTC\0")
REFUSED = message(b"E", b"SERROR\0C22021\0Minvalid byte sequence\0\0")
KILLED = message(b"E", b"SFATAL\0C57P01\0Mterminating connection\0\0")
GOOD = BOUND + row("7") + DONE + READY


@st.composite
def pieces(draw: st.DrawFn, stream: bytes) -> list[bytes]:
    """Cut a stream anywhere."""
    cuts = sorted(draw(st.lists(st.integers(0, len(stream)), max_size=12)))
    return [stream[a:b] for a, b in zip([0, *cuts], [*cuts, len(stream)], strict=True)]


SAID = st.lists(st.sampled_from([BOUND, row("7"), row(None), DONE, NOTICE, STATUS, REFUSED]))


@given(data=st.data(), said=SAID)
def test_a_reply_is_whole_with_its_last_byte(data: st.DataObject, said: Sequence[bytes]) -> None:
    """However it is cut; before that it is not, and nothing of it is lost."""
    stream = b"".join(said) + READY
    replies = Replies(KNOWN)
    for piece in data.draw(pieces(stream[:-1])):
        replies.feed(piece)
        assert not replies.is_whole
    replies.feed(stream[-1:])
    assert replies.is_whole
    assert bytes(replies.received) == stream


@given(chunks=st.lists(st.binary(max_size=40), max_size=40))
def test_any_bytes_are_a_reply_or_none(chunks: Sequence[bytes]) -> None:
    """No other error, and nothing that is whole ends in the middle of a message."""
    replies = Replies(KNOWN)
    try:
        for chunk in chunks:
            replies.feed(chunk)
    except Unreadable:
        return
    assert bytes(replies.received) == b"".join(chunks)
    if replies.is_whole:
        assert len(replies.received) == replies._next


@pytest.mark.parametrize(
    "stream",
    [
        *(READY + READY, GOOD + NOTICE),
        *(b"?\0\0\0\x04", b"D\0\0\0\x03", b"D\xff\xff\xff\xff", b"D\x02\0\0\x01"),
    ],
)
def test_what_is_no_reply_is_refused_at_once(stream: bytes) -> None:
    """More than one, an unknown kind, a length that cannot be, or that is too much."""
    with pytest.raises(Unreadable):
        Replies(KNOWN).feed(stream)


class Server:
    """The other end of a connection that is logged in."""

    def __init__(self) -> None:
        ours, self.end = socket.socketpair()
        self.end.sendall(message(b"R", struct.pack(">i", 0)) + READY)
        native = Native("u", sock=ours, ssl_context=False, timeout=5)
        self.end.recv(10_000)
        self.connection = Connection(native, "BEGIN", is_set=True)
        statement = SimpleNamespace(
            name_bin=b"one\0",
            cols=[{"name": "a"}],
            input_funcs=[int],
            statement="SELECT $1 AS a",
            make_vals=lambda given: tuple(given.values()),
        )
        self.connection._statements[SQL] = statement

    async def ask(self, *said: bytes, value: Any = 7, timeout_s: float = 5.0) -> Rows:
        """Have a statement executed, which is answered so, piece by piece; then it hangs up."""

        async def answer() -> None:
            for piece in said:
                await asyncio.sleep(0)
                await asyncio.get_running_loop().sock_sendall(self.end, piece)
            if timeout_s >= 5:
                self.end.shutdown(socket.SHUT_WR)

        self.end.settimeout(0)
        answering = asyncio.create_task(answer())
        try:
            return await self.connection.run_ready(SQL, {"a": value}, timeout_s)
        finally:
            answering.cancel()
            await asyncio.gather(answering, return_exceptions=True)

    def close(self) -> None:
        """End both sides."""
        self.end.close()
        self.connection.close()


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    """One without a pooler."""
    monkeypatch.setattr(own, "_pin_search_path", lambda _: True)
    server = Server()
    yield server
    server.close()


async def test_a_statement_is_sent_as_pg8000_sends_it(server: Server) -> None:
    """Bind, execute, sync; the rows are pg8000's, by name; the connection blocks again."""
    assert server.connection.is_ready(SQL)
    assert await server.ask(GOOD) == [{"a": 7}]
    sent = server.end.recv(10_000)
    assert (sent[:1], sent.count(b"one\0"), sent[-5:]) == (b"B", 1, b"S\0\0\0\x04")
    assert server.connection._native._usock.gettimeout() == 5


async def test_what_the_server_says_beside_it_is_no_row(server: Server) -> None:
    """Notices and parameters come at any moment."""
    assert await server.ask(NOTICE, STATUS + BOUND, row(None), NOTICE + DONE, READY) == [
        {"a": None}
    ]


@pytest.mark.parametrize("said", [REFUSED + READY, BOUND + REFUSED + READY])
async def test_an_error_of_the_server_is_its_own(server: Server, said: bytes) -> None:
    """With its code, by which the pool knows what it means."""
    with pytest.raises(pg8000.exceptions.DatabaseError) as caught:
        await server.ask(said)
    assert caught.value.args[0]["C"] == "22021"


@pytest.mark.parametrize(
    "said",
    [
        *(b"", GOOD[:-1], KILLED, BOUND + KILLED),
        *(b"HTTP/1.1 400 Bad Request\r\n\r\n", GOOD + NOTICE),
        BOUND + message(b"D", b"\0\x01\0\0\0\x40") + READY,  # a cell that is longer than its row
        BOUND + message(b"D") + READY,
        BOUND + row("seven") + READY,
        BOUND + message(b"D", b"\0\x01\0\0\0\x01\xff") + READY,  # no UTF-8
        BOUND + message(b"R", b"\0\0\0\x05abcd") + READY,  # a log-in, now
        BOUND + message(b"E") + READY,
    ],
)
async def test_a_link_that_breaks_is_told_as_lost(server: Server, said: bytes) -> None:
    """End of file in the middle, a killed backend, another protocol, bytes that mean nothing."""
    with pytest.raises(DRIVER_ERRORS) as caught:
        await server.ask(said)
    assert sqlstates.is_lost(caught.value)


PARTS = st.sampled_from([BOUND, row("7"), row("x"), DONE, NOTICE, STATUS, REFUSED, READY, GOOD])
NOISE = st.binary(max_size=12)
MADE = st.builds(message, st.sampled_from(sorted(KNOWN)), NOISE)


# Nothing is drawn within a test that is a coroutine: what ends an example would end its loop.
@given(said=st.lists(st.one_of(PARTS, MADE, NOISE)).map(b"".join).flatmap(pieces))
async def test_no_bytes_are_another_error(said: Sequence[bytes]) -> None:
    """Rows, or an error that the pool knows: whatever a server sends, in whatever pieces."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(own, "_pin_search_path", lambda _: True)
        server = Server()
    try:
        rows = await server.ask(*said)
    except DRIVER_ERRORS:
        return
    finally:
        server.close()
    assert all(set(row) == {"a"} for row in rows)


async def test_a_server_that_is_silent_is_waited_for_so_long_and_no_longer(server: Server) -> None:
    """In the middle of a reply as well."""
    with pytest.raises(TimeoutError):
        await server.ask(GOOD[:9], timeout_s=0.02)
    assert server.connection._native._usock.gettimeout() == 0.02


async def test_text_that_cannot_be_sent_sends_nothing(server: Server) -> None:
    """A lone surrogate; the connection is in order."""
    with pytest.raises(UnicodeEncodeError):
        await server.ask(value="\ud800")
    with pytest.raises(BlockingIOError):
        server.end.recv(1)


async def test_a_long_reply_is_decoded_elsewhere(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The loop has other work; what it says is the same."""
    monkeypatch.setattr(own, "_LONG_REPLY_BYTES", 8)
    assert await server.ask(BOUND, *[row("7")] * 3, DONE + READY) == [{"a": 7}] * 3


async def test_what_came_unasked_is_not_skipped(server: Server) -> None:
    """What pg8000's file has read ahead would be missing on the loop: the thread has it first."""
    native = server.connection._native
    server.end.sendall(NOTICE + NOTICE[:7])
    native._sock.read(1)  # of a message that pg8000 reads; the rest came with it
    server.connection._has_rest = own._has_rest(native)
    assert not server.connection.is_ready(SQL)


async def test_more_than_a_link_takes_is_sent_in_the_end() -> None:
    """A request of megabytes to a server that reads slowly."""
    ours, end = socket.socketpair()
    ours.settimeout(0)
    end.settimeout(0)
    request, got = b"x" * 3_000_000, bytearray()

    async def read_all() -> None:
        loop = asyncio.get_running_loop()
        while len(got) < len(request):
            got.extend(await loop.sock_recv(end, 50_000))
        await loop.sock_sendall(end, READY)

    reading = asyncio.create_task(read_all())
    replies = Replies(KNOWN)
    async with asyncio.timeout(30):
        await exchange(ours, request, replies)
        await reading
    assert bytes(got) == request
    assert replies.is_whole
    ours.close()
    end.close()


def test_a_closed_connection_has_no_descriptor() -> None:
    """Whoever has pg8000's file still, as an error's traceback does, keeps it open no longer."""
    ours, theirs = socket.socketpair()
    theirs.sendall(message(b"R", struct.pack(">i", 0)) + READY)
    native = Native("u", sock=ours, ssl_context=False, timeout=5)
    file = native._sock
    native.close()
    assert (ours.fileno(), file.closed) == (-1, True)
    theirs.close()
