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
import secrets
import signal
from collections import Counter
from dataclasses import replace
from types import TracebackType
from typing import Self

import asyncssh

from demo.pbx.clock import Clock
from demo.pbx.daemon import Daemon
from demo.pbx.faults import Faults
from demo.pbx.profiles import PROFILES, Places
from demo.pbx.shell import ASTERISK, Shell
from demo.pbx.sshd import Door, Server, listen, read_keys


class StandIn(Faults):
    """One stand-in PBX host, listening while its `async with` block lasts.

    `version` is that of the Asterisk it imitates, as far as recordings of a real one tell: 11, 13
    and 16 with chan_sip (11.25.3, 13.38.3, 16.28.0), 22 with PJSIP (22.10.1).
    `time_scale` 1.0 lets phones ring for realistic seconds. `authorized_keys` is the text of
    such a file; `is_open` lets whoever comes in, without either. `asterisk_commands` are the ways
    its shell knows to start Asterisk, `places` where it has what. `entity_id` is what Asterisk
    makes of its host's MAC address; another one for each unless it is given.
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
        is_open: bool = False,
        host_key: asyncssh.SSHKey | None = None,
        version: str = "16",
        time_scale: float = 1.0,
        hostname: str = "standin",
        entity_id: str | None = None,
        asterisk_commands: tuple[list[str], ...] = ASTERISK,
        places: Places | None = None,
    ) -> None:
        if version not in PROFILES:
            raise ValueError(f"version must be one of {', '.join(PROFILES)}, not {version}")
        super().__init__()
        self.version = version
        self.host = host
        self.port = port
        self.host_key = host_key or asyncssh.generate_private_key("ssh-ed25519")
        self._clock = Clock(time_scale)
        self._daemon = Daemon(
            replace(PROFILES[version], places=places or Places()),
            *(self._clock, self, hostname, entity_id or _made_up_entity_id()),
        )
        shell = Shell(self._daemon, asterisk_commands)
        keys = read_keys(authorized_keys.splitlines())
        self._door = Door(self._daemon, shell, username, password, keys, is_open)
        self._acceptor: asyncssh.SSHAcceptor | None = None

    async def __aenter__(self) -> Self:
        """Start listening; `port` is the real one afterwards."""
        self._acceptor = await listen(
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
    def live_connections(self) -> int:
        """SSH connections that are open now."""
        return len(self._door.live)

    @property
    def live_sessions(self) -> int:
        """Exec and SFTP sessions that are open now."""
        owners = [live.get_owner() for live in self._door.live]
        return sum(owner.running for owner in owners if isinstance(owner, Server))

    @property
    def password(self) -> str | None:
        """What the user must log in with from now on; connections that are open stay."""
        return self._door.password

    @password.setter
    def password(self, password: str | None) -> None:
        self._door.password = password

    @property
    def sessions(self) -> int:
        """Exec sessions ever opened."""
        return self._door.sessions

    @property
    def opens(self) -> int:
        """Control-socket channels ever opened over SSH."""
        return self._door.opens

    @property
    def greeted(self) -> int:
        """How many of them were sent the banner."""
        return self._daemon.greeted

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

    def add_channel(self, name: str, *, bridge: str = "", caller: str = "") -> None:
        """Let there be a channel of another program's call, which stays; in a bridge it talks."""
        channel = self._daemon.exchange.channels.add_foreign(name)
        channel.bridge, channel.caller = bridge, caller

    def call_in(
        self, number: str, extension: str, *, trunk: str = "city", context: str | None = None
    ) -> str:
        """Let somebody with this number call in by a trunk; the name of the channel.

        With an extension's name as the trunk's it is that phone which calls.
        """
        exchange = self._daemon.exchange
        where = context or exchange.profile.places.context
        return exchange.call_in(number, extension, trunk, where).name

    def rename_channel(self, name: str, new_name: str) -> None:
        """Let a live channel be of a peer that is called otherwise."""
        self._daemon.exchange.channels.rename(name, new_name)

    @property
    def uniqueids(self) -> dict[str, str]:
        """The uniqueid of each live channel, by its name."""
        return {live.name: live.uniqueid for live in self._daemon.exchange.channels.snapshot()}

    @property
    def cdr(self) -> str:
        """The call detail records written so far: what SFTP serves as Master.csv."""
        return self._daemon.exchange.ledger.decode()

    @property
    def pid(self) -> int:
        """The process id the banner tells."""
        return self._daemon.pid

    @property
    def waiting(self) -> int:
        """Connections to the control socket that Asterisk has not accepted yet."""
        return self._daemon.waiting

    @property
    def booted(self) -> bool:
        """Whether Asterisk runs and has loaded everything."""
        return self._daemon.booted

    @property
    def time_scale(self) -> float:
        """How long one of its seconds takes; another one holds from the next wait on."""
        return self._clock.time_scale

    @time_scale.setter
    def time_scale(self, time_scale: float) -> None:
        self._clock.time_scale = time_scale

    @property
    def knows_originate(self) -> bool:
        """Whether `channel originate` is loaded; without it Asterisk says `No such command`."""
        return self._daemon.cli.originate_loaded

    @knows_originate.setter
    def knows_originate(self, knows: bool) -> None:
        self._daemon.cli.originate_loaded = knows

    async def run(self, command: str) -> str:
        """Run a CLI command as another program on the host does; what it prints."""
        return await self._daemon.execute(command)

    def write_cdr(self, rows: str) -> None:
        """Let Asterisk have written more call detail records."""
        self._daemon.exchange.ledger += rows.encode()

    def replace_cdr(self, content: str) -> None:
        """Put another file of call detail records in the place of the present one."""
        self._daemon.exchange.ledger[:] = content.encode()

    def age_channels(self, seconds: float) -> None:
        """Let the live channels have begun so much earlier."""
        for channel in self._daemon.exchange.channels.snapshot():
            channel.born -= seconds

    def cut_connections(self) -> None:
        """Break every SSH connection, as a network does; new ones are accepted."""
        for connection in list(self._door.live):
            connection.abort()

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


def _made_up_entity_id() -> str:
    return ":".join(f"{byte:02x}" for byte in (0x02, *secrets.token_bytes(5)))


def parse_arguments() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        prog="python -m demo.standin",
        description="A stand-in PBX: real SSH, imitated Asterisk, no calls. For demonstrations.",
    )
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on")
    parser.add_argument("--port", type=int, default=5059, help="port to listen on, 0 for any")
    parser.add_argument("--password", default="demo", help="password of the user root")
    parser.add_argument("--version", choices=PROFILES, default="16", help="Asterisk to imitate")
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
        version=arguments.version,
        time_scale=arguments.time_scale,
    ) as pbx:
        address = f"root@{pbx.host}:{pbx.port}"
        print(f"stand-in PBX (Asterisk {pbx.version}) listening: {address}", flush=True)
        await stop.wait()


if __name__ == "__main__":
    logging.basicConfig(level=logging.WARNING, format="%(levelname)s %(message)s")
    asyncio.run(serve(parse_arguments()))
