"""A host that anybody may have taken over: it sends whatever it likes, and as much as it can."""

from __future__ import annotations

import asyncio
import contextlib
import struct
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any, cast

import asyncssh
from asyncssh.constants import MSG_GLOBAL_REQUEST, MSG_IGNORE
from asyncssh.packet import Boolean, String

from demo.pbx.sshd import listen

BANNER = b"hostile/1234/16.28.0\n"
SENTINEL = b"System uptime: 1\nLast reload: 1\n"
ROW = b"SIP/9-%08x!inoffice!9!1!Up!Dial!SIP/1!9!!!3!7!b!17.%d\n"
RECORD = (
    b'"","9","8","inoffice","","SIP/9-%08x","SIP/8-%08x","Dial","SIP/8",'
    b'"2026-11-26 10:00:00","2026-11-26 10:00:01","2026-11-26 10:00:02",2,1,"ANSWERED","",'
    b'"%d.1",""\n'
)
_PIECE = 32_768
_MOST_UNSENT = 2**20
_PAUSE_S = 0.0005


class Hostile:
    """One such host; `does` is what it does now, `sent` how many bytes of that it got rid of."""

    def __init__(self, does: str = "") -> None:
        self.does = does
        self.sent = 0
        self.port = 0
        self._tasks: set[asyncio.Task[None]] = set()
        self._raw: set[asyncio.StreamWriter] = set()
        self._live: set[asyncssh.SSHServerConnection] = set()
        self._ssh: asyncssh.SSHAcceptor | None = None

    @contextlib.asynccontextmanager
    async def listening(self, host: str = "127.0.0.1", port: int = 0) -> AsyncIterator[Hostile]:
        """Listen until the block ends; then everything is over."""
        key = asyncssh.generate_private_key("ssh-ed25519")
        self._ssh = await listen(
            *(host, 0), server_factory=lambda: _Server(self), server_host_keys=[key]
        )
        inner = self._ssh.get_port()
        server = await asyncio.start_server(
            lambda r, w: self._accept(r, w, host, inner), host, port
        )
        self.port = server.sockets[0].getsockname()[1]
        try:
            yield self
        finally:
            server.close()
            await self.end()
            self._ssh.close()
            await self._ssh.wait_closed()

    async def end(self) -> None:
        """Break every connection, and stop whatever is sent."""
        for writer in self._raw:
            writer.transport.abort()
        for live in list(self._live):
            live.abort()
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def begin(self, work: Awaitable[None]) -> None:
        """Do something beside, until it is done or all is over."""
        task = asyncio.ensure_future(cast("Any", work))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _accept(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, host: str, inner: int
    ) -> None:
        """Misbehave before SSH begins, or pass everything on to the server that does so later."""
        self._raw.add(writer)
        with contextlib.suppress(OSError, asyncio.CancelledError):
            match self.does:
                case "an identification without an end":
                    await self._pour(writer, b"x" * _PIECE)
                case "lines before the identification":
                    await self._pour(writer, b"hello\r\n" * 4_000)
                case "an identification byte by byte":
                    await self._pour(writer, b"x", pause_s=0.01)
                case "an identification that is no text":
                    await self._pour(writer, b"SSH-2.0-\xff\xfe\x00\r\n")
                case "packets of no kind":
                    writer.write(b"SSH-2.0-hostile\r\n")
                    await self._pour(writer, bytes(range(256)) * 128)
                case _:
                    await self._relay(reader, writer, host, inner)
        self._raw.discard(writer)
        writer.close()

    async def _pour(self, writer: asyncio.StreamWriter, data: bytes, pause_s: float = 0.0) -> None:
        while not writer.is_closing():
            writer.write(data)
            await writer.drain()
            self.sent += len(data)
            await asyncio.sleep(pause_s)

    async def _relay(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, host: str, inner: int
    ) -> None:
        there, back = await asyncio.open_connection(host, inner)
        self._raw.add(back)

        async def pump(source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
            with contextlib.suppress(OSError):
                while data := await source.read(_PIECE):
                    if self.does == "every byte by itself" and sink is writer:
                        for byte in data:
                            sink.write(bytes([byte]))
                            await sink.drain()
                            await asyncio.sleep(0.001)
                            self.sent += 1
                    else:
                        sink.write(data)
                        await sink.drain()
            sink.close()

        try:
            await asyncio.gather(pump(reader, back), pump(there, writer))
        finally:
            self._raw.discard(back)
            back.close()

    async def flood_packets(self, conn: asyncssh.SSHServerConnection, *packet: Any) -> None:
        """Send SSH packets of one kind for ever."""
        transport = cast("Any", conn)._transport
        while transport is not None and not transport.is_closing():  # it may be gone before
            if transport.get_write_buffer_size() < _MOST_UNSENT:
                for _ in range(50):
                    conn.send_packet(*packet)
                    self.sent += sum(len(part) for part in packet[1:])
            await asyncio.sleep(0.02)  # the test's own loop has the other host to serve

    async def flood(
        self, session: _Floodable, data: bytes | Callable[[int], bytes], datatype: int | None = None
    ) -> None:
        """Write into a channel for ever, as fast as the other side takes it."""
        number = 0
        while session.channel is not None and not session.channel.is_closing():
            if session.may_write.is_set():
                piece = data if isinstance(data, bytes) else data(number)
                number += 1
                session.channel.write(piece, datatype)
                self.sent += len(piece)
            await asyncio.sleep(_PAUSE_S)


class _Server(asyncssh.SSHServer):
    """What it does once SSH has begun."""

    def __init__(self, host: Hostile) -> None:
        self._host = host
        self._conn: asyncssh.SSHServerConnection | None = None

    def connection_made(self, conn: asyncssh.SSHServerConnection) -> None:
        """Remember it."""
        self._conn = conn
        self._host._live.add(conn)

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget it."""
        self._host._live.discard(cast("Any", self._conn))

    def begin_auth(self, username: str) -> bool:
        """Let everybody in, but flood first where that is the wish."""
        assert self._conn is not None
        match self._host.does:
            case "banners at log-in":
                self._host.begin(self._banners())
                return True
            case "ignored packets at log-in":
                self._host.begin(
                    self._host.flood_packets(self._conn, MSG_IGNORE, String(b"x" * 16))
                )
                return True
            case "prompts" | "rounds of prompts":
                return True
        return False

    async def _banners(self) -> None:
        assert self._conn is not None
        while self._conn in self._host._live:
            self._conn.send_auth_banner("x" * _PIECE)
            self._host.sent += _PIECE
            await asyncio.sleep(_PAUSE_S)

    def password_auth_supported(self) -> bool:
        """None is taken."""
        return self._host.does not in {"prompts", "rounds of prompts"}

    async def validate_password(self, username: str, password: str) -> bool:
        """Think about it for ever."""
        await asyncio.Event().wait()
        return False

    def kbdint_auth_supported(self) -> bool:
        """It has questions."""
        return not self.password_auth_supported()

    def get_kbdint_challenge(self, username: str, lang: str, submethods: str) -> Any:
        """Ask the first."""
        return self._questions()

    def validate_kbdint_response(self, username: str, responses: Any) -> Any:
        """Ask the next."""
        return self._questions()

    def _questions(self) -> Any:
        self._host.sent += 20_000
        if self._host.does == "prompts":
            return "", "y" * 10_000, "", [("", False)] * 20_000
        return "", "y" * 20_000, "", []

    def session_requested(self) -> _Session:
        """Open any."""
        return _Session(self._host)

    def unix_connection_requested(self, dest_path: str) -> _Socket:
        """Open any; then send of its own accord, where that is the wish."""
        assert self._conn is not None
        match self._host.does:
            case "ignored packets later":
                packet: tuple[Any, ...] = (MSG_IGNORE, String(b"x" * 16))
                self._host.begin(self._host.flood_packets(self._conn, *packet))
            case "requests later":
                packet = (MSG_GLOBAL_REQUEST, String(b"keepalive@openssh.com"), Boolean(value=True))
                self._host.begin(self._host.flood_packets(self._conn, *packet))
        return _Socket(self._host)


class _Floodable:
    """Knows its channel, and whether that takes more."""

    def __init__(self, host: Hostile) -> None:
        self.host = host
        self.channel: Any = None
        self.may_write = asyncio.Event()
        self.may_write.set()

    def connection_made(self, chan: Any) -> None:
        self.channel = chan

    def connection_lost(self, exc: Exception | None) -> None:
        self.channel = None

    def pause_writing(self) -> None:
        self.may_write.clear()

    def resume_writing(self) -> None:
        self.may_write.set()


class _Socket(_Floodable, asyncssh.SSHUNIXSession[bytes]):
    """Asterisk's control socket, or what stands in its place."""

    def session_started(self) -> None:
        if self.host.does == "a banner without an end":
            self.host.begin(self.host.flood(self, b"x" * _PIECE))
        elif self.host.does != "no banner":
            self.channel.write(BANNER)

    def data_received(self, data: bytes, datatype: int | None) -> None:
        del datatype
        endless: dict[str, bytes | Callable[[int], bytes]] = {
            "a reply without an end": b"x" * _PIECE,
            "newlines": b"\n" * _PIECE,
            "acknowledgements": SENTINEL * 500,
            "channels": lambda n: b"".join(ROW % (k, k) for k in range(n * 400, n * 400 + 400)),
        }
        asked = data.count(b"uptime")
        if b"waitfullybooted" in data:
            # Who it is, which is asked for with this, it does not say; more may be asked beside.
            self.channel.write(b"Asterisk has fully booted.\n" + 2 * SENTINEL)
            asked -= 2
        if not asked:
            return
        if b"cdr show status" in data:
            self.channel.write(b"Logging: Enabled\nMode: Simple\ncsv\n" + SENTINEL)
        elif self.host.does in endless:
            self.host.begin(self.host.flood(self, endless[self.host.does]))
        elif self.host.does in {"ignored packets later", "requests later", "a reply that waits"}:
            self.host.sent += 1
        else:
            self.channel.write(SENTINEL * asked)

    def eof_received(self) -> bool:
        return True


class _Session(_Floodable, asyncssh.SSHServerSession[bytes]):
    """A command's session, or SFTP's."""

    def __init__(self, host: Hostile) -> None:
        super().__init__(host)
        self._command: str | None = None
        self._received = b""

    def connection_made(self, chan: Any) -> None:
        super().connection_made(chan)
        chan.set_encoding(None)

    def exec_requested(self, command: str) -> bool:
        self._command = command
        return True

    def subsystem_requested(self, subsystem: str) -> bool:
        return True

    def session_started(self) -> None:
        if self._command is None:
            return
        match self.host.does:
            case "a command's output":
                self.host.begin(self.host.flood(self, b"x\n" * (_PIECE // 2)))
            case "a command's errors":
                stderr = asyncssh.EXTENDED_DATA_STDERR
                self.host.begin(self.host.flood(self, b"x" * _PIECE, stderr))
            case _:
                self.channel.exit(0)

    def data_received(self, data: bytes, datatype: int | None) -> None:
        """Answer SFTP, packet by packet."""
        del datatype
        self._received += data
        while len(self._received) >= 4:
            (length,) = struct.unpack(">I", self._received[:4])
            if len(self._received) < 4 + length:
                return
            packet, self._received = self._received[4 : 4 + length], self._received[4 + length :]
            self._answer(packet)

    def _answer(self, packet: bytes) -> None:
        kind, rest = packet[0], packet[1:]
        init, open_, close, read, fstat, stat = 1, 3, 4, 5, 8, 17
        if kind == init:
            if self.host.does == "an SFTP packet without an end":
                self.channel.write(struct.pack(">IB", 4 * 2**20, 2))
                self.host.begin(self.host.flood(self, b"x" * _PIECE))
            elif self.host.does == "SFTP extensions":
                names = b"".join(String(b"%d" % n) + String(b"") for n in range(200_000))
                self._send(struct.pack(">BI", 2, 3) + names)
            else:
                self._send(struct.pack(">BI", 2, 3))
            return
        number = rest[:4]
        if kind == open_:
            self._send(b"\x66" + number + String(b"h"))
        elif kind in {fstat, stat}:
            size = 2**64 - 1 if self.host.does == "a file beyond all sizes" else 2**30
            self._send(b"\x69" + number + struct.pack(">IQ", 1, size))
        elif kind == read:
            self._read(number, rest)
        elif kind == close:
            self._send(b"\x65" + number + struct.pack(">I", 0) + String(b"") + String(b""))
        else:
            self._send(b"\x65" + number + struct.pack(">I", 8) + String(b"") + String(b""))

    def _read(self, number: bytes, rest: bytes) -> None:
        offset, wanted = struct.unpack(">QI", rest[-12:])
        match self.host.does:
            case "more of a file than was asked for":
                self._send(b"\x67" + number + String(b"x" * 2**20))
            case "answers to other questions":
                self._send(b"\x67" + b"\xff\xff\xff\xff" + String(b"x" * wanted))
            case "a byte of a file at a time":
                self._send(b"\x67" + number + String(b"x"))
            case "short records":
                row = b",,,,,,,,,2026-11-26 00:00:00,,2026-11-26 00:00:01,1,1,,,1795651200.1\n"
                self._send(b"\x67" + number + String((row * (wanted // len(row) + 1))[:wanted]))
            case "garbage in the place of a file":
                self._send(b"\x67" + number + b"\xff\xff\xff\xff")
            case _:
                rows = b"".join(
                    RECORD % (n, n, 1_790_000_000 + n)
                    for n in range(offset // 180, (offset + wanted) // 180 + 1)
                )
                self._send(b"\x67" + number + String(rows[:wanted].ljust(wanted, b"\n")))

    def _send(self, packet: bytes) -> None:
        if self.channel is not None and not self.channel.is_closing():
            self.channel.write(struct.pack(">I", len(packet)) + packet)
            self.host.sent += len(packet)
