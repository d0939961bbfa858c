"""The listening sockets are another process's before and after: this one's part of deploy/serve.py.

Whoever starts this process holds the other end of a socket. From it come the sockets on which the
process before listens, if there is one; back go those of this one, and a word once it serves.
"""

from __future__ import annotations

import asyncio
import signal
import socket
from collections.abc import Sequence
from types import FrameType

import uvicorn

from shared.http.workers import addresses_of, bind
from shared.process import begin_to_make_way
from shared.settings import Settings, SettingsError

_MOST_SOCKETS = 16


class Handover:
    """What is taken over, and told to whoever hands it over; without one, nothing is."""

    def __init__(self, descriptor: int | None) -> None:
        self._link = None if descriptor is None else socket.socket(fileno=descriptor)

    def take(self, settings: Settings) -> list[socket.socket]:
        """Return the sockets to listen on; none: the server may bind its own.

        Raises:
            SettingsError: they cannot be bound, or are not those that the settings name.
        """
        workers, host, ports = settings.service_workers, settings.service_host, settings.ports
        if self._link is None:
            return _bind_all(host, ports) if workers > 1 or len(ports) > 1 else []
        _, descriptors, _, _ = socket.recv_fds(self._link, 64, _MOST_SOCKETS)
        bound = [socket.socket(fileno=descriptor) for descriptor in descriptors]
        if not bound:
            bound = _bind_all(host, ports)
        elif {one.getsockname()[:2] for one in bound} != {
            address[:2] for port in ports for *_, address in addresses_of(host, port)
        }:
            raise SettingsError(
                "SERVICE_HOST or a port has changed, which a restart cannot take over:"
                " stop the service, then start it"
            )
        socket.send_fds(self._link, [b"bound %d" % workers], [one.fileno() for one in bound])
        return bound

    def tell_that_it_serves(self) -> None:
        """Say so, of this worker."""
        if self._link is not None:
            self._link.send(b"serves")


def _bind_all(host: str, ports: Sequence[int]) -> list[socket.socket]:
    return [one for port in ports for one in bind(host, port)]


class HandedServer(uvicorn.Server):
    """uvicorn's server, which takes over a port, and lets go of it without losing a connection."""

    def __init__(self, config: uvicorn.Config, handover: Handover) -> None:
        super().__init__(config)
        self._handover = handover

    def run(self, sockets: list[socket.socket] | None = None) -> None:
        """Serve until a signal comes: SIGTERM, or SIGUSR1 where another process goes on."""
        signal.signal(signal.SIGUSR1, _make_way)
        super().run(sockets)

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Begin to serve, and say so."""
        await super().startup(sockets)
        self._handover.tell_that_it_serves()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Accept no more, then end; whoever was accepted just now has a connection first.

        asyncio makes it a turn of the loop later, and would fail once its server is closed.
        """
        for one in _listening(self, sockets or []):
            asyncio.get_running_loop().remove_reader(one)
        for _ in range(2):
            await asyncio.sleep(0)
        await super().shutdown(sockets)


def _listening(server: uvicorn.Server, sockets: Sequence[socket.socket]) -> list[int]:
    own = (one for each in server.servers for one in each.sockets)
    return list({one.fileno() for one in (*sockets, *own)})


def _make_way(_number: int, _frame: FrameType | None) -> None:
    begin_to_make_way()
    signal.raise_signal(signal.SIGTERM)
