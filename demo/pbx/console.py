"""One connection to the control socket, as Asterisk's `netconsole` thread serves it."""

import asyncio
from collections.abc import Callable
from typing import TYPE_CHECKING

from demo.pbx.faults import Stage

if TYPE_CHECKING:
    from demo.pbx.daemon import Daemon

PREFIX = b"cli quit after "
READ_SIZE = 512


class Console:
    """Reads NUL-terminated commands, runs them, and sends what they print.

    Asterisk reads at most 512 bytes at once. If a read begins with `cli quit after `, the
    complete commands of that one read are run and the connection is closed: a command cut
    by the limit, or without its NUL, is silently dropped. Otherwise the connection stays.
    """

    def __init__(
        self, daemon: "Daemon", send: Callable[[bytes], None], cut: Callable[[], None]
    ) -> None:
        self.accepted = False
        self.killed = False
        self._daemon = daemon
        self._send = send
        self._cut = cut
        self._inbox = bytearray()
        self._client_gone = False
        self._wake = asyncio.Event()
        self._started = asyncio.Event()

    def start(self) -> None:
        """The way to the client is there; until now it only held a place in the backlog."""
        self._started.set()

    def feed(self, data: bytes) -> None:
        """Take bytes of the client's; Asterisk reads them when it gets to it."""
        self._inbox += data
        self._wake.set()

    def hang_up(self) -> None:
        """The client closed; what it wrote before is still there to be read."""
        self._client_gone = True
        self._started.set()
        self._wake.set()

    async def run(self) -> None:
        """Serve until the client, or `cli quit after`, ends it."""
        faults = self._daemon.faults
        await self._started.wait()
        if faults.strikes_drop(Stage.OPEN):
            self._cut()
            return
        await self._daemon.accept()
        self.accepted = True
        self._send(self._daemon.banner)
        self._daemon.greeted += 1
        if faults.strikes_drop(Stage.BANNER):
            await asyncio.sleep(0.01)  # lets the banner out; nothing is read from here on
            self._cut()
            return
        pending = b""
        while data := await self._read(READ_SIZE - len(pending)):
            if data.startswith(PREFIX):
                await self._run(data[len(PREFIX) :])
                return
            pending += data
            complete, nul, rest = pending.rpartition(b"\0")
            if nul:
                pending = rest
                if not await self._run(complete + nul):
                    return
            elif len(pending) >= READ_SIZE:
                pending = b""  # Asterisk logs "Command too long! Skipping"

    async def _read(self, size: int) -> bytes:
        while not self._inbox and not self._client_gone:
            self._wake.clear()
            await self._wake.wait()
        await self._daemon.clock.while_frozen()
        data = bytes(self._inbox[:size])
        del self._inbox[:size]
        return data

    async def _run(self, data: bytes) -> bool:
        """Run the complete commands in `data`; False if a fault ended the connection."""
        faults = self._daemon.faults
        text = data.decode(errors="replace")
        if faults.strikes_drop(Stage.WRITTEN, text):
            self._cut()
            return False
        if faults.strikes_kill(Stage.WRITTEN, text):
            self._daemon.crash()
            return False
        output: list[str] = []
        for command in text.split("\0")[:-1]:
            if command:
                if self._daemon.blocks(command):  # what came before it is not held up
                    self._send("".join(output).encode())
                    output.clear()
                output.append(await self._daemon.execute(command))
                await asyncio.sleep(0)  # other connections' commands come in between, as in life
        if faults.strikes_drop(Stage.EXECUTED, text):
            self._cut()
            return False
        if faults.strikes_kill(Stage.EXECUTED, text):
            await self._daemon.clock.sleep(0.05)  # long enough for a phone to ring
            self._daemon.crash()
            return False
        if faults.reply_delay_s:
            await asyncio.sleep(faults.reply_delay_s)
        self._send("".join(output).encode())
        return True
