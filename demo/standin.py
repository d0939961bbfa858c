"""A STAND-IN for a PBX host: a real SSH server in front of an imitation of Asterisk's CLI.

It places no calls and speaks no SIP. It is there for demonstrations on a bare machine and
for integration tests; what it does not imitate it refuses loudly (see `StandIn.refused`).

    async with StandIn(port=0, password="secret", time_scale=0.05) as pbx:
        connect_to("127.0.0.1", pbx.port)

Or by itself: `python -m demo.standin --port 5059`.
"""

import argparse
import asyncio
import logging
import signal
from collections import Counter
from types import TracebackType
from typing import Self

import asyncssh

from demo.pbx.clock import Clock
from demo.pbx.daemon import Daemon
from demo.pbx.faults import Faults
from demo.pbx.shell import ASTERISK, Shell
from demo.pbx.sshd import Door, Server, read_keys
from demo.pbx.texts import VERSIONS


class StandIn(Faults):
    """One stand-in PBX host, listening while its `async with` block lasts.

    `technology` SIP imitates Asterisk 16 with chan_sip, PJSIP imitates Asterisk 22.
    `time_scale` 1.0 lets phones ring for realistic seconds. `authorized_keys` is the text of
    such a file. `asterisk_commands` are the ways its shell knows to start Asterisk.
    The faults to inject are attributes and methods inherited from `Faults`.
    """

    def __init__(
        self,
        *,
        host: str = "127.0.0.1",
        port: int = 0,
        username: str = "root",
        password: str | None = None,
        authorized_keys: str = "",
        host_key: asyncssh.SSHKey | None = None,
        technology: str = "SIP",
        time_scale: float = 1.0,
        hostname: str = "standin",
        asterisk_commands: tuple[list[str], ...] = ASTERISK,
    ) -> None:
        if technology not in VERSIONS:
            raise ValueError(f"technology must be SIP or PJSIP, not {technology}")
        super().__init__()
        self.technology = technology
        self.host = host
        self.port = port
        self.host_key = host_key or asyncssh.generate_private_key("ssh-ed25519")
        self._clock = Clock(time_scale)
        self._daemon = Daemon(technology, self._clock, self, hostname)
        shell = Shell(self._daemon, asterisk_commands)
        keys = read_keys(authorized_keys.splitlines())
        self._door = Door(self._daemon, shell, username, password, keys)
        self._acceptor: asyncssh.SSHAcceptor | None = None

    async def __aenter__(self) -> Self:
        """Start listening; `port` is the real one afterwards."""
        self._acceptor = await asyncssh.listen(
            self.host,
            self.port,
            server_factory=lambda: Server(self._door),
            server_host_keys=[self.host_key],
            gss_host=None,
        )
        self.port = self._acceptor.get_port()
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Cut every connection, end every call, and wait until all of it is over."""
        if self._acceptor is not None:
            self._acceptor.close()
        live = list(self._door.live)
        for conn in live:
            conn.abort()
        await self._daemon.aclose()
        await asyncio.gather(*(conn.wait_closed() for conn in live), return_exceptions=True)
        if self._acceptor is not None:
            await self._acceptor.wait_closed()

    @property
    def connections(self) -> int:
        """SSH connections ever accepted, also those that failed to authenticate."""
        return self._door.connections

    @property
    def sessions(self) -> int:
        """Exec sessions ever opened."""
        return self._door.sessions

    @property
    def opens(self) -> int:
        """Control-socket channels ever opened over SSH."""
        return self._door.opens

    @property
    def commands(self) -> list[str]:
        """Every CLI command executed, in order; `clear()` it between the parts of a test."""
        return self._daemon.commands

    @property
    def refused(self) -> list[str]:
        """What was asked for that the stand-in does not imitate; a clean test leaves it empty."""
        return self._daemon.exchange.refused

    @property
    def invites(self) -> Counter[str]:
        """How often each number's phone was rung: `invites["150"]`."""
        return self._daemon.exchange.invites

    @property
    def spied(self) -> list[tuple[str, str]]:
        """(spying channel, tapped channel), in order; real Asterisk tells this only its log."""
        return self._daemon.exchange.spied

    @property
    def channels(self) -> list[str]:
        """The names of the live channels."""
        return [live.name for live in self._daemon.exchange.channels.snapshot()]

    @property
    def cdr(self) -> str:
        """The call detail records written so far: what SFTP serves as Master.csv."""
        return self._daemon.exchange.ledger.decode()

    @property
    def pid(self) -> int:
        """The process id the banner tells."""
        return self._daemon.pid

    @property
    def booted(self) -> bool:
        """Whether Asterisk runs and has loaded everything."""
        return self._daemon.booted

    def freeze(self) -> None:
        """Stop Asterisk as SIGSTOP does: opens get no banner, commands wait and run at `thaw`."""
        self._clock.freeze()

    def thaw(self) -> None:
        """Let Asterisk go on."""
        self._clock.thaw()

    def hang_up_all(self) -> None:
        """End every call, without a command."""
        self._daemon.exchange.hang_up_all()

    def kill_asterisk(self) -> None:
        """Kill Asterisk now; it stays down until `restart_asterisk`."""
        self._daemon.crash()

    def restart_asterisk(
        self, *, down_s: float = 0.3, commands_s: float = 0.5, dialplan_s: float = 0.1
    ) -> None:
        """Kill Asterisk and start it anew, with another pid; times are scaled.

        After `down_s` it answers but knows no `channel originate`; `commands_s` later it
        accepts one, and loses the call; `dialplan_s` later it has booted.
        """
        self._daemon.restart(down_s, commands_s, dialplan_s)


def parse_arguments() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        prog="python -m demo.standin",
        description="A stand-in PBX: real SSH, imitated Asterisk, no calls. For demonstrations.",
    )
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on")
    parser.add_argument("--port", type=int, default=5059, help="port to listen on, 0 for any")
    parser.add_argument("--password", default="demo", help="password of the user root")
    parser.add_argument("--technology", choices=sorted(VERSIONS), default="SIP")
    parser.add_argument("--time-scale", type=float, default=1.0, help="0.1: ten times as quick")
    return parser.parse_args()


async def serve(arguments: argparse.Namespace) -> None:
    """Run one stand-in until it is interrupted."""
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop.set)
    async with StandIn(
        host=arguments.host,
        port=arguments.port,
        password=arguments.password,
        technology=arguments.technology,
        time_scale=arguments.time_scale,
    ) as pbx:
        address = f"root@{pbx.host}:{pbx.port}"
        print(f"stand-in PBX ({pbx.technology}) listening: {address}", flush=True)
        await stop.wait()


if __name__ == "__main__":
    logging.basicConfig(level=logging.WARNING, format="%(levelname)s %(message)s")
    asyncio.run(serve(parse_arguments()))
