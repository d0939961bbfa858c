"""Files of a host, by SFTP: a part of one, and why there is none."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import asyncssh
from asyncssh.channel import SSHChannel
from asyncssh.sftp import MIN_SFTP_VERSION, SFTPClientHandler
from asyncssh.stream import SSHClientStreamSession

from shared.errors import SocketRefused
from shared.together import together

# Of the size that a host tells of a file; no file is as long, and SFTP's numbers end above.
_MAX_FILE_BYTES = 2**60
# What a file may have on the way at once: calls share the link, and wait behind it. As asyncssh
# would have it 2 MiB are, some two seconds of a line of 10 Mbit/s. Every sshd sends such a block
# at once.
_BLOCK_BYTES, _BLOCKS = 32_768, 8


@dataclass(frozen=True, slots=True)
class FileSlice:
    """A part of a file, how long the whole file was at that moment, and when it was last written.

    That is in seconds of the epoch; None where the host does not say.
    """

    size: int
    offset: int
    data: bytes
    written_s: float | None = None


@dataclass(frozen=True, slots=True)
class Space:
    """How much room a partition has, in bytes, for whoever is not root; `files` that may be made.

    That is None where the partition has no such limit.
    """

    total: int
    free: int
    files: int | None


class FileUnreadable(Exception):
    """The host does not let us read a file; asking again changes nothing."""

    def __init__(self, cause: Literal["no-sftp", "missing", "denied", "failed"]) -> None:
        super().__init__(cause)
        self.cause = cause


class _Early(SSHClientStreamSession[bytes]):
    """A session that is spoken to at once: the word of it follows the request for SFTP.

    It is among `open_` until the host closes it, and then tells `lost`.
    """

    def __init__(self, open_: set[object], lost: Callable[[], None]) -> None:
        super().__init__()
        self._open = open_
        self._lost = lost
        self.channel: SSHChannel[bytes] | None = None
        self.starting: asyncio.Task[SFTPClientHandler] | None = None

    def connection_made(self, chan: SSHChannel[bytes]) -> None:
        """Begin, once asyncssh has sent what it sends after this, before it awaits anything."""
        super().connection_made(chan)
        self._open.add(self)
        self.channel = chan
        self.starting = asyncio.get_running_loop().create_task(self._start(chan))

    def connection_lost(self, exc: Exception | None) -> None:
        """End."""
        super().connection_lost(exc)
        self._open.discard(self)
        self._lost()

    async def _start(self, chan: SSHChannel[bytes]) -> SFTPClientHandler:
        writer, reader = asyncssh.SSHWriter(self, chan), asyncssh.SSHReader(self, chan)
        loop = asyncio.get_running_loop()
        handler = SFTPClientHandler(loop, "strict", reader, writer, MIN_SFTP_VERSION)
        await handler.start()
        return handler

    async def give_up(self) -> None:
        """Close what there is."""
        if self.starting is not None:
            self.starting.cancel()
            await asyncio.gather(self.starting, return_exceptions=True)
        if self.channel is not None:
            self.channel.close()


async def open_sftp(
    connection: asyncssh.SSHClientConnection, open_: set[object], lost: Callable[[], None]
) -> asyncssh.SFTPClient:
    """Start an SFTP session, as asyncssh does it, but for two round trips.

    It waits for the subsystem before it tells its version, which may follow at once, and asks how
    long a block may be: ours are of a length that every sshd sends. The session is among `open_`
    while it lasts, and then tells `lost`.
    """
    session = _Early(open_, lost)
    try:
        await connection.create_session(lambda: session, subsystem="sftp", encoding=None)
        assert session.starting is not None  # noqa: S101 - it was made before
        handler = await session.starting
    except BaseException:
        await session.give_up()
        raise
    connection.create_task(handler.recv_packets(), handler.logger)
    return asyncssh.SFTPClient(handler, "utf-8", "strict")


async def read_slice(
    sftp: asyncssh.SFTPClient,
    path: str,
    offset: int,
    length: int,
    after: asyncio.Event | None = None,
) -> FileSlice:
    """Read a part of a file; see `Connection.read_file`."""
    opening = sftp.open(path, "rb", block_size=0)  # as asked for: the blocks are ours
    seen = 0
    if offset < 0:  # where its end is, is asked beside
        file, seen = await together(opening, _load_size(sftp, path))
    else:
        file = await opening
    if after is not None:
        await after.wait()
    # Asked of the open file: the path may be another file's by now, and it may have grown.
    guessed = _part(seen, offset, length)
    now, data = await together(file.stat(), _read_blocks(file, *guessed))
    size = now.size or 0
    if size + abs(offset) + length > _MAX_FILE_BYTES:
        raise FileUnreadable("failed")
    start, end = _part(size, offset, length)
    if (start, end) != guessed:
        data = await _read_blocks(file, start, end)
    return FileSlice(size, start, data, now.mtime)


async def _load_size(sftp: asyncssh.SFTPClient, path: str) -> int:
    size = (await sftp.stat(path)).size or 0
    return min(size, _MAX_FILE_BYTES)


def _part(size: int, offset: int, length: int) -> tuple[int, int]:
    """Tell where a part of a file begins and ends."""
    start = max(0, size + offset) if offset < 0 else offset
    return start, start + max(0, min(length, size - start))


async def _read_blocks(file: asyncssh.SFTPClientFile, start: int, end: int) -> bytes:
    on_the_way = asyncio.Semaphore(_BLOCKS)
    blocks = [
        asyncio.ensure_future(_read_block(file, begin, min(_BLOCK_BYTES, end - begin), on_the_way))
        for begin in range(start, end, _BLOCK_BYTES)
    ]
    data = bytearray()
    try:
        for block in blocks:
            data += await block
            if len(data) % _BLOCK_BYTES:
                break  # nothing is after it
    finally:
        for block in blocks:
            block.cancel()
        await asyncio.gather(*blocks, return_exceptions=True)
    return bytes(data)


async def read_space(sftp: asyncssh.SFTPClient, path: str) -> Space:
    """Ask for the room of the partition that a path is on; see `Connection.load_space`."""
    told = await sftp.statvfs(path)
    block = told.frsize or told.bsize
    files = told.favail if told.files else None
    return Space(told.blocks * block, told.bavail * block, files)


async def _read_block(
    file: asyncssh.SFTPClientFile, offset: int, length: int, on_the_way: asyncio.Semaphore
) -> bytes:
    data = bytearray()
    async with on_the_way:
        while len(data) < length:
            piece: bytes = await file.read(length - len(data), offset + len(data))
            if not piece:  # it is shorter than it was
                break
            data += piece[: length - len(data)]
    return bytes(data)


def why_unreadable(error: Exception) -> FileUnreadable | SocketRefused:
    """Say why nothing was read, while the connection itself goes on."""
    match error:
        case asyncssh.ChannelOpenError(code=code) if code != asyncssh.OPEN_REQUEST_SESSION_FAILED:
            return SocketRefused("The host opens no more sessions")
        case asyncssh.SFTPNoSuchFile() | asyncssh.SFTPNoSuchPath():
            return FileUnreadable("missing")
        case asyncssh.SFTPPermissionDenied():
            return FileUnreadable("denied")
        # A forced command, or no such program, accepts the subsystem and ends at once, or says
        # what is no word of SFTP, as a login shell that greets does before the server of files.
        case (
            asyncssh.ChannelOpenError() | asyncssh.SFTPConnectionLost() | asyncssh.SFTPBadMessage()
        ):
            return FileUnreadable("no-sftp")
    return FileUnreadable("failed")
