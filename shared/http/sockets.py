"""WebSockets of the local service: uvicorn's, with bounds on what a stranger may send or not read.

`BoundedProtocol` stays the connection's protocol and counts it; what comes after the upgrade is
handed on to this. A message is small, frames come no faster than a person types, and there is no
compression, whose memory would be each connection's.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Sequence
from typing import Any

from uvicorn.protocols.utils import ClientDisconnected
from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol
from websockets.protocol import State

PATH = b"/api/events"
# What an upgrade has beside the words that httptools knows (RFC 6455, 4.1).
_KEY = re.compile(rb"[A-Za-z0-9+/]{22}==")
_VERSION = b"13"

MAX_MESSAGE_BYTES = 4_096
PING_S = 20.0
TOO_SLOW = 4008
GOING_AWAY = 1001
# A ping each time, pongs, and the few frames of a log-in.
_FRAMES_AT_ONCE = 64
_FRAMES_PER_S = 4
# Parsed at a time, so that a flood of small frames does not hold the loop.
_SLICE_BYTES = 2_048


def is_handshake(method: bytes, target: bytes, headers: Sequence[tuple[bytes, bytes]]) -> bool:
    """Whether a request opens a WebSocket here; another that would upgrade is an ordinary one."""
    given: dict[bytes, list[bytes]] = {}
    for name, value in headers:
        given.setdefault(name, []).append(value.strip())
    return (
        method == b"GET"
        and target.partition(b"?")[0] == PATH
        and [value.lower() for value in given.get(b"upgrade", ())] == [b"websocket"]
        and given.get(b"sec-websocket-version") == [_VERSION]
        and len(given.get(b"sec-websocket-key", ())) == 1
        and _KEY.fullmatch(given[b"sec-websocket-key"][0]) is not None
    )


class BoundedWebSocket(WebSocketsSansIOProtocol):
    """One WebSocket. It `is_in` once something was sent on it: before that nobody has logged in."""

    is_in = False
    _frames = 0
    _since_s = 0.0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begin; whoever hands it the bytes is counted, not it."""
        super().connection_made(transport)
        self.connections.discard(self)
        self._since_s = self.loop.time()

    def connection_lost(self, exc: Exception | None) -> None:
        """End what waits for it."""
        self.connections.add(self)  # it removes itself
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Read it in slices; whoever sends too many frames is cut off."""
        for begin in range(0, len(data), _SLICE_BYTES):
            if self.transport.is_closing():
                return
            super().data_received(data[begin : begin + _SLICE_BYTES])

    def handle_events(self) -> None:
        """Count them first: empty fragments and pings cost a stranger nothing."""
        self._frames += len(self.conn.events)
        seconds = self.loop.time() - self._since_s
        if self._frames > _FRAMES_AT_ONCE + _FRAMES_PER_S * seconds:
            self._end(1008, "too many frames")
        else:
            super().handle_events()

    def send_receive_event_to_app(self) -> None:
        """Hand a message on; a text that is none would be a traceback in uvicorn's log."""
        if self.curr_msg_data_type == "text" and not _is_utf8(b"".join(self.frames)):
            self.frames = []
            self._end(1007, "a text must be UTF-8")
        else:
            super().send_receive_event_to_app()

    def pause_writing(self) -> None:
        """Read no more either: what is answered to pings would pile up."""
        super().pause_writing()
        self.transport.pause_reading()

    def resume_writing(self) -> None:
        """Go on."""
        super().resume_writing()
        if not self.read_paused and not self.transport.is_closing():
            self.transport.resume_reading()

    async def send(self, message: Any) -> None:
        """Send for the app; what it sends while the connection closes is no defect of its own.

        Raises ClientDisconnected.
        """
        await self.writable.wait()
        if self.transport.is_closing():
            raise ClientDisconnected
        self.is_in = self.is_in or message["type"] == "websocket.send"
        await super().send(message)
        if message["type"] == "websocket.accept" and self.handshake_complete:
            del self.request, self.response  # kilobytes, and the scope has what is needed

    def shutdown(self) -> None:
        """Tell the other side that the service goes away."""
        if self.handshake_complete and not self.close_sent:
            self._end(GOING_AWAY, "the service stops")
        else:
            super().shutdown()

    def end_too_slow(self) -> None:
        """End what nobody reads; whoever reads on finds out why."""
        self._end(TOO_SLOW, "nothing was read for too long; go on with after=")

    def _end(self, code: int, reason: str) -> None:
        """Close it by ourselves; whoever sends for the app learns that it is closed."""
        self.stop_keepalive()
        if self.close_sent or self.transport.is_closing():
            return
        self.queue.put_nowait({"type": "websocket.disconnect", "code": code, "reason": reason})
        if self.handshake_complete:
            if self.conn.state is State.OPEN:  # the other side may have closed it in this moment
                self.conn.send_close(code, reason)
            self.transport.write(b"".join(self.conn.data_to_send()))
        self.close_sent = self.disconnected = True
        self.writable.set()
        self.transport.close()


def _is_utf8(text: bytes) -> bool:
    try:
        text.decode()
    except UnicodeDecodeError:
        return False
    return True
