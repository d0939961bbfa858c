"""TLS without a proxy: a connection counts from its first moment on, a handshake has a time."""

from __future__ import annotations

import asyncio
from asyncio.sslproto import SSLProtocol
from collections.abc import Callable
from ssl import SSLContext
from typing import Any

from shared.http.server import BoundedProtocol

_HANDSHAKE_S = 10
# `BoundedProtocol` bounds how an answer is read; asyncio would give the rest of one 30 s in all.
_CLOSING_S = 300


class Handshake(SSLProtocol):
    """asyncio's TLS, which tells the connection behind it what the link below it knows.

    That somebody came, before the handshake; and that he does not read, since whatever is written
    goes down to the link at once.
    """

    def __init__(
        self, loop: asyncio.AbstractEventLoop, bounded: BoundedProtocol, context: SSLContext
    ) -> None:
        super().__init__(
            *(loop, bounded, context),
            waiter=None,  # type: ignore[arg-type] # nobody waits, as in a server of asyncio's own
            server_side=True,
            ssl_handshake_timeout=_HANDSHAKE_S,
            ssl_shutdown_timeout=_CLOSING_S,
        )
        self._bounded = bounded

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override] # as the loop's
        """Count it, then begin the handshake."""
        self._bounded.come(transport)
        super().connection_made(transport)

    def connection_lost(self, exc: BaseException | None) -> None:
        """Count it no more, although the handshake may have failed."""
        super().connection_lost(exc)
        self._bounded.connections.discard(self._bounded)

    def pause_writing(self) -> None:
        """Write no more."""
        super().pause_writing()
        self._bounded.pause_writing()

    def resume_writing(self) -> None:
        """Go on; the rest of TLS's own that is written first may pause it again."""
        self._bounded.resume_writing()
        super().resume_writing()


class Loop(asyncio.SelectorEventLoop):
    """asyncio's loop, whose TLS servers do so."""

    async def create_server(  # type: ignore[override] # of its many parameters two matter
        self,
        protocol_factory: Callable[[], BoundedProtocol],
        *args: Any,
        ssl: SSLContext | None = None,
        **options: Any,
    ) -> asyncio.Server:
        """Listen."""

        def begin() -> asyncio.BaseProtocol:
            bounded = protocol_factory()
            return Handshake(self, bounded, ssl) if ssl else bounded

        return await super().create_server(begin, *args, **options)
