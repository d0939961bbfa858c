"""How an SSH connection ends, whichever side ends it, and whatever is under way."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import Callable
from typing import Any

import anyio
import pytest

from demo.pbx.sshd import Listening
from shared.ssh.intake import Intake

pytestmark = pytest.mark.anyio


class Ending(asyncio.Protocol):
    """Ends at the peer's end as asyncssh does: by an abort in the loop's next turn."""

    transport: asyncio.Transport | None = None

    def __init__(self) -> None:
        self.is_made = asyncio.Event()
        self.is_lost = asyncio.Event()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep it."""
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport
        self.is_made.set()

    def eof_received(self) -> None:
        """Abort."""
        self.connection_lost(None)

    def connection_lost(self, exc: Exception | None) -> None:
        """Abort."""
        del exc
        if self.transport is not None:
            asyncio.get_running_loop().call_soon(self.transport.abort)
        self.transport = None
        self.is_lost.set()


async def of_client(protocol: Ending) -> socket.socket:
    """Let the protocol be that of a connection to a host; the host's socket."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        port = listening.getsockname()[1]
        await Intake().create_connection(lambda: protocol, "127.0.0.1", port)
        return listening.accept()[0]


async def of_server(protocol: Ending) -> socket.socket:
    """Let the protocol be that of the stand-in's sshd; the client's socket."""
    server = await Listening().create_server(lambda *_: protocol, "127.0.0.1", 0)
    peer = socket.create_connection(server.sockets[0].getsockname())
    await protocol.is_made.wait()
    server.close()
    return peer


@pytest.mark.parametrize("of_side", [of_client, of_server])
async def test_an_end_while_the_last_bytes_leave_is_quiet(
    of_side: Callable[[Ending], Any],
) -> None:
    """The peer reads what waited and ends in one turn of the loop: nothing is raised."""
    raised: list[dict[str, Any]] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: raised.append(context))
    protocol = Ending()
    with await of_side(protocol) as peer:
        transport = protocol.transport
        assert transport is not None
        while not transport.get_write_buffer_size():
            transport.write(bytes(4096))
        with contextlib.suppress(BlockingIOError):
            while True:
                peer.recv(1 << 20, socket.MSG_DONTWAIT)
        peer.shutdown(socket.SHUT_WR)
        with anyio.fail_after(5):
            await protocol.is_lost.wait()
        await anyio.sleep(0.01)  # some turns of the loop, in which the abort comes
    assert raised == []
