"""The local service's server: uvicorn with httptools, and bounds on what a stranger may hold.

httptools refuses what two readers might read differently: two lengths of one body, a bare line
feed, folded or broken headers. It knows no size and no time; those are here, and once more in
deploy/nginx.conf. On Lambda API Gateway is the server.
"""

from __future__ import annotations

import asyncio
import socket
from typing import Any, NamedTuple, cast

import httptools
from uvicorn.config import Config
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol
from uvicorn.server import ServerState

from shared.http.binding import check_bind
from shared.http.request import (
    MAX_TARGET_BYTES,
    TARGET_RULE,
    render_refusal,
)
from shared.http.sockets import MAX_MESSAGE_BYTES, PING_S, BoundedWebSocket, is_handshake
from shared.process import begin_to_end, has_begun_to_end, makes_way, once
from shared.settings import Settings
from shared.telemetry import LOG, Sparing, in_request

# A target and the headers: browsers and proxies stop at 8 to 16 kB of either.
_MAX_HEAD_BYTES = 32_768
# A body of 16 kB in chunks of two bytes, and more; its trailers.
_MAX_REST_BYTES = 262_144
_MAX_PIPELINED = 16
_HEAD_S = 10.0
# Longer than clients rest theirs, httpx 5 s, aiohttp 15 s: to be cut off as one asks tells nothing.
_KEEP_ALIVE_S = 20
# How long who was answered and still sends keeps its connection.
_LINGER_S = 5.0
# Within each such time so much of an answer is taken, or its rest: 3 kB a second, which every modem
# had. A page of the history takes a minute then; a byte now and then is no reading.
_UNREAD_S = 20.0
_LEAST_READ_BYTES = 65_536
# What the kernel may keep unsent of it, which else is megabytes, and time that nobody measures.
_UNSENT_BYTES = 16_384
_CAP_TOLD_S = 60.0
# Who is gone without a word holds its connection no longer, where something is sent to it.
_UNACKNOWLEDGED_MS = 60_000
# What is left unread of a WebSocket when the process ends.
_ENDING_S = 1.0


class _Refusal(NamedTuple):
    status: int
    code: str
    detail: str


_MALFORMED = _Refusal(400, "malformed-request", "This is no request of HTTP/1.1")
_TOO_LONG = _Refusal(414, "target-too-long", TARGET_RULE)
_TOO_LARGE = _Refusal(
    431, "head-too-large", f"The request's line and headers must not exceed {_MAX_HEAD_BYTES} bytes"
)
_TOO_SLOW = _Refusal(
    408, "request-timeout", f"The request's head did not arrive within {_HEAD_S:g} s"
)


@once
def the_full_house() -> Sparing:
    """When the log last said that the cap is reached."""
    return Sparing(window_s=_CAP_TOLD_S, most=1)


class _Link:
    """A WebSocket's transport, whose end is bounded as any connection's."""

    def __init__(self, connection: BoundedProtocol) -> None:
        self._transport = connection.transport
        self.close = connection.close

    def __getattr__(self, name: str) -> Any:
        return getattr(self._transport, name)


class BoundedProtocol(HttpToolsProtocol):
    """One connection: a head has bounded bytes and time, connections are so many and no more.

    At the cap the one that has waited longest makes room, for a complete request or for its client
    to read, so that whoever sends a request at once and reads is served, however many do not. How
    long a body may take is `RequestContext`'s matter, which can answer.
    """

    def __init__(
        self,
        config: Config,
        server_state: ServerState,
        app_state: dict[str, Any],
        _loop: asyncio.AbstractEventLoop | None = None,
    ) -> None:
        super().__init__(config, server_state, app_state, _loop)
        self._most = self.limit_concurrency
        self.limit_concurrency = None  # uvicorn would refuse whoever comes at the cap
        # The transport, or that below its TLS, whose own can no more be ended once it closes.
        self.link: asyncio.Transport = None  # type: ignore[assignment] # until somebody comes
        self.waits_since = 0.0
        self._limit: asyncio.TimerHandle | None = None
        self._unread: asyncio.TimerHandle | None = None
        self._unread_bytes = 0
        # Of the message that is being read: the bytes of its head, after that those of the rest.
        self._bytes = 0
        self._is_head = True
        self._refusal: _Refusal | None = None
        self._is_over = False  # nothing more is read
        self._is_lost = False
        self._socket: BoundedWebSocket | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override] # as uvicorn's
        """Begin to wait for the first head."""
        super().connection_made(transport)
        if self.link is None:
            self.come(transport)
        self._wait_for_head(_HEAD_S)

    def come(self, link: asyncio.Transport) -> None:
        """Take a place; a TLS handshake may come first."""
        self.link = self.transport = link
        self.connections.add(self)
        self.waits_since = self.loop.time()
        # Who is paused has a part unread, who goes on has read all.
        link.set_write_buffer_limits(high=_LEAST_READ_BYTES, low=0)
        for option, value in (
            (socket.TCP_NOTSENT_LOWAT, _UNSENT_BYTES),
            (socket.TCP_USER_TIMEOUT, _UNACKNOWLEDGED_MS),
        ):
            link.get_extra_info("socket").setsockopt(socket.IPPROTO_TCP, option, value)
        if self._most is not None and len(self.connections) > self._most:
            self._make_room(self._most)

    def connection_lost(self, exc: Exception | None) -> None:
        """End what waits for it; who closes it once more, as an app's end does, begins nothing."""
        self._is_lost = True
        for timer in (self._limit, self._unread):
            if timer is not None:
                timer.cancel()
        super().connection_lost(exc)
        if self._socket is not None:
            self._socket.connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Read so many bytes at a time that what follows does not depend on how they arrive."""
        if self._socket is not None:
            self._socket.data_received(data)
            return
        self._unset_keepalive_if_required()
        while data and not self._is_over:
            room = min(self._most_bytes - self._bytes, _MAX_HEAD_BYTES)
            part, data = data[:room], data[room:]
            self._bytes += len(part)
            try:
                self.parser.feed_data(part)
            except httptools.HttpParserUpgrade:
                if self._should_upgrade():
                    self.handle_websocket_upgrade()
                    return
                # Answered as any request is; what follows is in no language of ours.
                self._is_over = True
                self.cycle.keep_alive = False
            except httptools.HttpParserError:
                self._refuse(self._refusal or _MALFORMED)
            else:
                if self._is_head and self.parser.get_http_version() == "0.9":
                    self._refuse(_MALFORMED)  # a request without headers, whose head has no end
                elif self._bytes >= self._most_bytes:
                    self._refuse(_TOO_LARGE if self._is_head else _MALFORMED)

    def on_url(self, url: bytes) -> None:
        """Bound the target before the head."""
        super().on_url(url)
        if len(self.url) > MAX_TARGET_BYTES:
            self._refusal = _TOO_LONG
            raise ValueError

    def on_header(self, name: bytes, value: bytes) -> None:
        """Keep a header; trailers say nothing here."""
        if self._is_head:
            super().on_header(name, value)

    def on_headers_complete(self) -> None:
        """Serve a request whose head can be read in one way only."""
        names = [name for name, _ in self.headers]
        version = self.parser.get_http_version()
        codings = [value for name, value in self.headers if name == b"transfer-encoding"]
        has_body = codings or any(n == b"content-length" and v != b"0" for n, v in self.headers)
        if (
            version not in {"1.0", "1.1"}
            or names.count(b"host") > 1
            or (version == "1.1" and b"host" not in names)
            or (codings and (version == "1.0" or [c.lower() for c in codings] != [b"chunked"]))
            or (has_body and self.parser.should_upgrade())
            or len(self.pipeline) >= _MAX_PIPELINED
        ):
            raise ValueError
        super().on_headers_complete()
        if has_begun_to_end():
            self.cycle.keep_alive = False
        self._is_head, self._bytes = False, 0
        self._stop_waiting()

    def on_message_complete(self) -> None:
        """Expect another head."""
        super().on_message_complete()
        self._is_head, self._bytes = True, 0

    def on_response_complete(self) -> None:
        """Wait for the next request, unless this one was answered before it had come whole."""
        is_last = not self.pipeline
        super().on_response_complete()
        if is_last and self.cycle.more_body and not self.transport.is_closing():
            self._linger()
        else:
            self._rest()

    def timeout_keep_alive_handler(self) -> None:
        """Close a connection on which nothing came."""
        self.close()

    def pause_writing(self) -> None:
        """Wait for whoever does not read, as long as he reads."""
        super().pause_writing()
        if self._socket is not None:
            self._socket.pause_writing()
        self._wait_for_reader()

    def resume_writing(self) -> None:
        """Go on: all is read."""
        super().resume_writing()
        if self._socket is not None:
            self._socket.resume_writing()
        if self._unread is not None:
            self._unread.cancel()
        self._rest()

    def shutdown(self) -> None:
        """End with the process: what only waits at once, what is being answered once it is.

        Where another process goes on, who rests may be asking just now: that is answered, as the
        last that this connection has, or its time ends as ever.
        """
        begin_to_end()
        if self._socket is None:
            if makes_way() and not self._is_answering:
                return
            super().shutdown()
            if self.transport.is_closing():  # a client of TLS that only rests answers no farewell
                self._rest()
        else:
            self._socket.shutdown()
            self._stop_waiting()
            self._limit = self.loop.call_later(_ENDING_S, self.link.abort)

    def handle_websocket_upgrade(self) -> None:
        """Hand all that comes on to a WebSocket; it is paused by whatever is not read at once."""
        self._socket = BoundedWebSocket(self.config, self.server_state, self.app_state)
        self.waits_since = self.loop.time()
        self.link.set_write_buffer_limits(high=0)
        self._socket.connection_made(cast(asyncio.Transport, _Link(self)))
        fields = (b"%s: %s\r\n" % header for header in self.headers)
        head = b"GET %s HTTP/1.1\r\n%s\r\n" % (self.url, b"".join(fields))
        self._socket.data_received(head)
        if not self._socket.handshake_initiated:  # it reads heads more strictly than we do
            self._socket = None
            self._refuse(_MALFORMED)
        else:  # it has read them for itself, and thousands may stay for hours
            self.headers = []
            del self.scope
            self.parser = None  # type: ignore[assignment] # as uvicorn does at the end

    def _should_upgrade(self) -> bool:
        is_first = not self._is_answering and not self.pipeline
        method = self.parser.get_method()
        return (
            is_first
            and self.ws_protocol_class is not None
            and is_handshake(method, self.url, self.headers)
        )

    @property
    def is_waiting(self) -> bool:
        """Whether no complete request of it is being answered, or the answers are not read."""
        if self._socket is not None:
            return not self._socket.is_in or self.flow.write_paused or self.transport.is_closing()
        if not self._is_answering or self.cycle.more_body:
            return True
        return self.flow.write_paused or self.transport.is_closing()

    @property
    def _is_answering(self) -> bool:
        return self.cycle is not None and not self.cycle.response_complete

    @property
    def _most_bytes(self) -> int:
        return _MAX_HEAD_BYTES if self._is_head else _MAX_REST_BYTES

    def _make_room(self, most: int) -> None:
        others = (
            connection
            for connection in self.connections - {self}
            if isinstance(connection, BoundedProtocol) and connection.is_waiting
        )
        longest = min(others, key=lambda connection: connection.waits_since, default=self)
        self.connections.discard(longest)
        longest.link.abort()
        if (left_out := the_full_house().left_out("")) is not None:
            LOG.warning(
                "⚠️ Открыто MAX_CONNECTIONS (%d) соединений, закрыто дольше всех ждавшее; "
                "так же до этого: %d",
                most,
                left_out,
            )

    def _wait_for_head(self, seconds: float) -> None:
        self._stop_waiting()
        self.waits_since = self.loop.time()
        self._limit = self.loop.call_later(seconds, self._on_too_slow)

    def _wait_for_reader(self) -> None:
        self.waits_since = self.loop.time()
        self._unread_bytes = self.link.get_write_buffer_size()
        self._unread = self.loop.call_later(_UNREAD_S, self.look_at_reader)

    def look_at_reader(self) -> None:
        """End what nobody reads; who reads, however slowly, has the same time again."""
        if self._socket is not None and not self.transport.is_closing():
            if self._unread_bytes <= self.link.get_write_buffer_size():
                self._socket.end_too_slow()
            self._wait_for_reader()
        elif self._unread_bytes - self.link.get_write_buffer_size() < _LEAST_READ_BYTES:
            self.link.abort()
        else:
            self._wait_for_reader()

    def _rest(self) -> None:
        """Wait for the next request or for the end, once what was answered is read."""
        self._stop_waiting()
        self._unset_keepalive_if_required()
        if self.flow.write_paused or self._is_lost:
            return
        if self.transport.is_closing():
            is_read = not self.link.get_write_buffer_size()
            self._limit = self.loop.call_later(_LINGER_S if is_read else _UNREAD_S, self.link.abort)
        elif self._is_answering or self._socket is not None:
            return
        elif self._is_over:
            self._limit = self.loop.call_later(_LINGER_S, self.link.abort)
        else:
            if not self._bytes:
                self.timeout_keep_alive_task = self.loop.call_later(
                    self.timeout_keep_alive, self.timeout_keep_alive_handler
                )
            self._wait_for_head(self.timeout_keep_alive + _HEAD_S)

    def _on_too_slow(self) -> None:
        if self._bytes:
            self._refuse(_TOO_SLOW)
        else:
            self.close()

    def _refuse(self, refusal: _Refusal) -> None:
        """Answer what is no request, after those before it; then read no more."""
        self._is_over = True
        if not self._is_answering:
            answer = render_refusal(*refusal)
            # A timer may have been set by the request before, whose id this is not.
            with in_request(answer.headers["X-Request-Id"]):
                self.logger.warning("%s - %d %s", self.client and self.client[0], *refusal[:2])
            head = b"".join(
                b"%s: %s\r\n" % header
                for header in (*self.server_state.default_headers, *answer.raw_headers)
            )
            self.transport.write(STATUS_LINE[refusal.status] + head + b"\r\n" + bytes(answer.body))
            self._linger()
        elif self.cycle.more_body:  # whoever reads this body must not take a part for the whole
            self.link.abort()
        else:
            self.cycle.keep_alive = False

    def _linger(self) -> None:
        """Let an answer be read that another side does not expect yet, then close."""
        self._is_over = True
        if self.transport.can_write_eof():
            self.transport.write_eof()
            self._rest()
        else:
            self.close()

    def close(self) -> None:
        """Close, also where what was written is never read."""
        self.transport.close()
        self._rest()

    def _stop_waiting(self) -> None:
        if self._limit is not None:
            self._limit.cancel()


def server_options(settings: Settings) -> dict[str, Any]:
    """Tell uvicorn how this service is served.

    Raises:
        SettingsError: it must not be, or cannot be.
    """
    check_bind(settings)
    return {
        "host": settings.service_host,
        "port": settings.port,
        "http": BoundedProtocol,
        "loop": "shared.http.tls:Loop",
        "ws": BoundedWebSocket,
        "ws_max_size": MAX_MESSAGE_BYTES,
        "ws_per_message_deflate": False,
        "ws_ping_interval": PING_S,
        "ws_ping_timeout": PING_S,
        "proxy_headers": False,  # TRUSTED_PROXIES are, by our own reading
        "server_header": False,
        "access_log": False,  # shared/http/ending.py writes its lines
        "limit_concurrency": settings.max_connections,
        "timeout_keep_alive": _KEEP_ALIVE_S,
        "ssl_certfile": settings.tls_cert_file or None,
        "ssl_keyfile": settings.tls_key_file or None,
        "ssl_ciphers": "",  # Python's own choice; uvicorn's are those of TLS 1.0
    }
