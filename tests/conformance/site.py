"""The PBX hosts that must not differ: the stand-in, as either Asterisk, and the real ones."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Literal, Protocol, Self, TypeAlias

import anyio
import asyncssh

from demo.pbx.dialplan import find_destination
from demo.pbx.profiles import PROFILES
from demo.standin import StandIn
from shared.asterisk.commands import SHOW_CHANNELS, SHOW_UPTIME, OriginateCall
from shared.asterisk.models import CallOrder, Channel, Context, Extension, Phone
from shared.asterisk.originating import roots_of
from shared.asterisk.parsers import parse_channels, split_replies
from tests.pbx.lab import Lab

Version: TypeAlias = Literal["16", "22"]

SOCKET = "/var/run/asterisk/asterisk.ctl"
CDR = "/var/log/asterisk/cdr-csv/Master.csv"
PREFIX = b"cli quit after "
LIMIT_S = 60.0
# Each phase lasts long enough to be seen, whatever the machine's load.
TIME_SCALE = 0.3
PASSWORD = "conformance"


class Site(Protocol):
    """One host, seen from outside and from behind."""

    version: Version
    technology: Literal["SIP", "PJSIP"]
    port: int
    password: str

    def invites(self, phone: str) -> int:
        """Count the calls that a phone has got: "150", "trunktalk"."""

    def pid(self) -> int:
        """Asterisk's process id."""

    def spied(self) -> list[str]:
        """List the channels that a ChanSpy has begun to listen to, since the host's start."""

    def waiting(self) -> int:
        """Count the connections to the control socket that Asterisk has not accepted yet."""

    def freeze(self) -> None:
        """Stop Asterisk as SIGSTOP does."""

    def thaw(self) -> None:
        """Let it go on."""

    def kill(self) -> None:
        """Kill Asterisk."""

    async def restart(self) -> None:
        """Start a killed Asterisk and wait until it has booted."""

    def no_forwarding(self) -> contextlib.AbstractContextManager[int]:
        """A port whose sshd forwards no sockets, until the block ends."""

    async def make_peace(self) -> None:
        """End every call, and what a test has broken."""

    def complaints(self) -> list[str]:
        """What was asked for that the host does not imitate; none of a real one's."""


class Imitated:
    """The stand-in."""

    def __init__(self, version: Version, pbx: StandIn) -> None:
        self.version: Version = version
        self.technology: Literal["SIP", "PJSIP"] = "SIP" if version == "16" else "PJSIP"
        self.port = pbx.port
        self.password = PASSWORD
        self._pbx = pbx

    @classmethod
    @contextlib.asynccontextmanager
    async def running(cls, version: Version) -> AsyncIterator[Imitated]:
        """One that runs until the block ends."""
        async with StandIn(password=PASSWORD, version=version, time_scale=TIME_SCALE) as pbx:
            yield cls(version, pbx)

    def invites(self, phone: str) -> int:
        """See Site: the stand-in counts by number, a phone may serve many."""
        return sum(
            count
            for number, count in self._pbx.invites.items()
            if (found := find_destination(number, "inoffice", PROFILES[self.version]))
            and found.peer == phone
        )

    def pid(self) -> int:
        """See Site."""
        return self._pbx.pid

    def spied(self) -> list[str]:
        """See Site."""
        return [tapped for _, tapped in self._pbx.spied]

    def waiting(self) -> int:
        """See Site."""
        return self._pbx.waiting

    def freeze(self) -> None:
        """See Site."""
        self._pbx.freeze()

    def thaw(self) -> None:
        """See Site."""
        self._pbx.thaw()

    def kill(self) -> None:
        """See Site."""
        self._pbx.kill_asterisk()

    async def restart(self) -> None:
        """See Site."""
        self._pbx.restart_asterisk()
        await until(lambda: self._pbx.booted)

    @contextlib.contextmanager
    def no_forwarding(self) -> Iterator[int]:
        """See Site."""
        self._pbx.refuse_forwarding = True
        try:
            yield self.port
        finally:
            self._pbx.refuse_forwarding = False

    async def make_peace(self) -> None:
        """See Site."""
        self._pbx.thaw()
        self._pbx.hang_up_all()
        await until(lambda: not self._pbx.channels)

    def complaints(self) -> list[str]:
        """See Site."""
        return self._pbx.refused


class Real:
    """A real Asterisk of the lab."""

    def __init__(self, lab: Lab) -> None:
        self.version: Version = lab.version
        self.technology: Literal["SIP", "PJSIP"] = lab.technology
        self.port = lab.ssh_port
        self.password = lab.password
        self._lab = lab
        self._mark = lab.log_mark()

    @classmethod
    @contextlib.asynccontextmanager
    async def running(cls, version: Version) -> AsyncIterator[Real]:
        """One that is brought up if it is down; it stays up."""
        lab = Lab.of(version)
        if not lab.is_up():
            await anyio.to_thread.run_sync(lab.up)
        yield cls(lab)

    def invites(self, phone: str) -> int:
        """See Site."""
        return self._lab.invites(phone)

    def pid(self) -> int:
        """See Site."""
        return self._lab.pid()

    def spied(self) -> list[str]:
        """See Site."""
        return self._lab.spied_since(self._mark)

    def waiting(self) -> int:
        """See Site."""
        return self._lab.waiting()

    def freeze(self) -> None:
        """See Site."""
        self._lab.freeze()

    def thaw(self) -> None:
        """See Site."""
        self._lab.thaw()

    def kill(self) -> None:
        """See Site."""
        self._lab.kill()

    async def restart(self) -> None:
        """See Site."""
        await anyio.to_thread.run_sync(self._lab.restart)

    @contextlib.contextmanager
    def no_forwarding(self) -> Iterator[int]:
        """See Site."""
        yield self._lab.no_forwarding_port

    async def make_peace(self) -> None:
        """See Site."""
        with contextlib.suppress(ProcessLookupError):
            self._lab.thaw()
        if not self._lab.is_up():
            await self.restart()
        self._lab.hangup_all()
        await anyio.to_thread.run_sync(self._lab.wait_idle)

    def complaints(self) -> list[str]:
        """See Site."""
        return []


async def until(condition: Callable[[], bool]) -> None:
    """Wait until something is so; a test that never gets there fails."""
    with anyio.fail_after(LIMIT_S):
        while not condition():  # noqa: ASYNC110 - nobody tells
            await anyio.sleep(0.01)


class Host:
    """A site and one SSH connection to it: what a client can do there."""

    def __init__(self, site: Site, connection: asyncssh.SSHClientConnection) -> None:
        self.site = site
        self.connection = connection
        self.technology = site.technology

    @classmethod
    @contextlib.asynccontextmanager
    async def connect(cls, site: Site, port: int | None = None) -> AsyncIterator[Host]:
        """Connect; the connection is closed with the block."""
        async with asyncssh.connect(
            "127.0.0.1",
            port or site.port,
            username="root",
            password=site.password,
            known_hosts=None,
            client_keys=None,
            agent_path=None,
            config=None,
        ) as connection:
            yield cls(site, connection)

    async def open(self) -> Wire:
        """Open the control socket."""
        reader, writer = await self.connection.open_unix_connection(SOCKET, encoding=None)
        return Wire(reader, writer)

    async def ask(self, *commands: str) -> bytes:
        """Put the commands in one write; everything after the banner, to the end."""
        return await self.put("".join(f"{command}\0" for command in commands).encode())

    async def put(self, data: bytes) -> bytes:
        """Write the prefix and these bytes at once; everything after the banner, to the end."""
        async with await self.open() as wire:
            await wire.banner()
            wire.write(PREFIX + data)
            return await wire.rest()

    async def execute(self, command: str) -> tuple[int | None, str]:
        """Run a line of shell; its exit status and standard output."""
        with anyio.fail_after(LIMIT_S):
            done = await self.connection.run(command, check=False)
        return done.exit_status, str(done.stdout)

    async def rows(self) -> list[str]:
        """The lines of `core show channels concise`."""
        return (await self.ask(SHOW_CHANNELS)).decode().splitlines()

    async def channels(self) -> tuple[Channel, ...]:
        """The live channels."""
        return parse_channels("\n".join(await self.rows()))

    async def originate(self, agent: str, customer: str) -> Channel:
        """Place a call; its root, found as the service finds it."""
        command = OriginateCall(CallOrder(Extension(agent), Phone(customer)), Context("inoffice"))
        asked = (SHOW_CHANNELS, command.render(), SHOW_CHANNELS)
        text = await self.ask(*(part for each in asked for part in (each, SHOW_UPTIME)))
        replies = split_replies(text.decode())
        assert replies[1] == ""
        (root,) = roots_of(command, replies)
        return root

    async def seen(self, *wanted: Callable[[Channel], bool]) -> tuple[Channel, ...]:
        """Wait until each of these is true of some channel; all channels of that moment."""
        with anyio.fail_after(LIMIT_S):
            while True:
                channels = await self.channels()
                if all(any(map(is_wanted, channels)) for is_wanted in wanted):
                    return channels
                await anyio.sleep(0.01)

    async def left(self, *wanted: Callable[[Channel], bool]) -> tuple[Channel, ...]:
        """Wait until each of these is true of some channel, and there is no other channel."""
        with anyio.fail_after(LIMIT_S):
            while True:
                if len(channels := await self.seen(*wanted)) == len(wanted):
                    return channels
                await anyio.sleep(0.01)

    async def over(self) -> None:
        """Wait until there is no channel."""
        with anyio.fail_after(LIMIT_S):
            while await self.channels():  # noqa: ASYNC110 - nobody tells
                await anyio.sleep(0.02)


class Wire:
    """An open control socket."""

    def __init__(
        self, reader: asyncssh.SSHReader[bytes], writer: asyncssh.SSHWriter[bytes]
    ) -> None:
        self._reader = reader
        self._writer = writer

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *exc: object) -> None:
        await self.close()

    async def banner(self) -> bytes:
        """The first line."""
        with anyio.fail_after(LIMIT_S):
            return await self._reader.readuntil(b"\n")

    def write(self, data: bytes) -> None:
        """Send in one piece."""
        self._writer.write(data)

    async def read(self, ending: bytes) -> bytes:
        """Read on until the text has such an end; the socket stays open."""
        with anyio.fail_after(LIMIT_S):
            text = b""
            while not text.endswith(ending):
                chunk = await self._reader.read(65536)
                assert chunk, f"the end came after {text!r}"
                text += chunk
            return text

    async def rest(self) -> bytes:
        """Read to the end of file."""
        with anyio.fail_after(LIMIT_S):
            return await self._reader.read(-1)

    async def close(self) -> None:
        """Close, and wait until the host knows."""
        self._writer.close()
        with anyio.fail_after(LIMIT_S):
            await self._writer.wait_closed()


def named(
    beginning: str, ending: str = "", *, state: str | None = None
) -> Callable[[Channel], bool]:
    """Tell a channel by its name and state."""
    return lambda channel: (
        channel.name.startswith(beginning)
        and channel.name.endswith(ending)
        and state in {None, channel.state}
    )


def pick(channels: tuple[Channel, ...], beginning: str, ending: str = "") -> Channel:
    """The only channel with such a name."""
    (found,) = filter(named(beginning, ending), channels)
    return found
