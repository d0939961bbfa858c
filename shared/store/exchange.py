"""One exchange with PostgreSQL on the event loop: bytes go out, those of the whole reply come in.

What they mean is pg8000's to say, in memory: see shared/store/connection.py. Only the frame is read
here, so that nothing waits in the middle of a message: a letter, a length, and so many bytes.
"""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import Container

_READY = ord("Z")
_HEADER_BYTES = 5
_READ_BYTES = 65_536
# The largest answer of ours is a page of events, some hundreds of kB.
_MOST_BYTES = 32 * 1024 * 1024


class Unreadable(ValueError):
    """What came is no reply of PostgreSQL's."""


class Replies:
    """The bytes of a reply as they come, in whatever pieces, up to the message that ends it."""

    def __init__(self, known: Container[bytes]) -> None:
        self.received = bytearray()
        self.is_whole = False
        self._known = known
        self._next = 0  # where the next message begins

    def feed(self, data: bytes) -> None:
        """Take what has come.

        Raises:
            Unreadable: it is of no kind that is known, goes on after its end, or is too long.
        """
        self.received += data
        while not self.is_whole and len(self.received) >= self._next + _HEADER_BYTES:
            begin = self._next
            length = int.from_bytes(self.received[begin + 1 : begin + _HEADER_BYTES], "big")
            if length < _HEADER_BYTES - 1 or begin + 1 + length > _MOST_BYTES:
                raise Unreadable("a message of an impossible length")
            if bytes(self.received[begin : begin + 1]) not in self._known:
                raise Unreadable("a message of an unknown kind")
            if len(self.received) < begin + 1 + length:
                return
            self._next += 1 + length
            self.is_whole = self.received[begin] == _READY
        if self.is_whole and len(self.received) > self._next:
            raise Unreadable("more than a reply")


async def exchange(link: socket.socket, request: bytes, replies: Replies) -> None:
    """Send a request, and read until its reply is whole. The link must not block.

    However it ends before that, the link is of no use any more.

    Raises:
        OSError: the link is broken, or ended.
        Unreadable: what came is no reply.
    """
    sent = 0
    while sent < len(request):
        try:
            sent += link.send(request[sent:])
        except (BlockingIOError, ssl.SSLWantWriteError):
            await _until(link, is_readable=False)
        except ssl.SSLWantReadError:
            await _until(link, is_readable=True)
    while not replies.is_whole:
        try:
            data = link.recv(_READ_BYTES)
        except (BlockingIOError, ssl.SSLWantReadError):
            await _until(link, is_readable=True)
        except ssl.SSLWantWriteError:
            await _until(link, is_readable=False)
        else:
            if not data:
                raise ConnectionResetError("the server has closed the connection")
            replies.feed(data)
            if len(data) == _READ_BYTES:
                await asyncio.sleep(0)  # the loop is others' too, however quick the server is


async def _until(link: socket.socket, *, is_readable: bool) -> None:
    """Wait until something can be read, or written."""
    loop = asyncio.get_running_loop()
    ready = loop.create_future()
    add, remove = (
        (loop.add_reader, loop.remove_reader)
        if is_readable
        else (loop.add_writer, loop.remove_writer)
    )
    add(link, _wake, ready)
    try:
        await ready
    finally:
        remove(link)


def _wake(ready: asyncio.Future[None]) -> None:
    if not ready.done():
        ready.set_result(None)
