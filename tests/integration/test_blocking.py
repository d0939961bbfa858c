"""The stand-in as Asterisk 11: who originates waits, whoever else asks is answered."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator

import asyncssh
import pytest

from demo.standin import StandIn
from tests.integration.service import until

pytestmark = pytest.mark.anyio

SOCKET = "/var/run/asterisk/asterisk.ctl"
RINGS = "channel originate LOCAL/153@inoffice application NoOp"
UPTIME = re.compile(r"System uptime: \d+\nLast reload: \d+\n")


@pytest.fixture
async def pbx() -> AsyncIterator[StandIn]:
    """One whose phones take their time."""
    async with StandIn(version="11", password="secret") as pbx:
        yield pbx


@pytest.fixture
async def host(pbx: StandIn) -> AsyncIterator[asyncssh.SSHClientConnection]:
    """A connection to it."""
    async with asyncssh.connect(
        "127.0.0.1",
        pbx.port,
        username="root",
        password="secret",
        known_hosts=None,
        client_keys=None,
        agent_path=None,
        config=None,
    ) as connection:
        yield connection


async def ask(host: asyncssh.SSHClientConnection, *commands: str) -> str:
    """Put the commands in one write; the banner and everything after it."""
    reader, writer = await host.open_unix_connection(SOCKET, encoding="utf-8")
    banner = await reader.readline()
    writer.write("cli quit after " + "".join(f"{command}\0" for command in commands))
    text = await reader.read()
    writer.close()
    return f"{banner}{text}"


async def test_the_banner_tells_the_version(
    pbx: StandIn, host: asyncssh.SSHClientConnection
) -> None:
    """Host, process, 11.25.3."""
    assert await ask(host) == f"standin/{pbx.pid}/11.25.3\n"


async def test_an_originate_holds_its_console_and_no_other(
    pbx: StandIn, host: asyncssh.SSHClientConnection
) -> None:
    """The command behind it waits until the phone rings no more; another console sees it ring."""
    blocked = asyncio.create_task(ask(host, RINGS, "core show uptime seconds"))
    await until(lambda: pbx.invites["153"] == 1)
    rows = (await ask(host, "core show channels concise")).splitlines()[1:]
    (root,) = (row for row in rows if row.partition("!")[0].endswith(";1"))
    assert not blocked.done()
    assert "core show uptime seconds" not in pbx.commands
    await ask(host, f"channel request hangup {root.partition('!')[0]}")
    assert UPTIME.fullmatch((await blocked).partition("\n")[2])


async def test_asterisk_rx_waits_as_well(pbx: StandIn, host: asyncssh.SSHClientConnection) -> None:
    """Its process ends when the phone rings no more, with nothing to say."""
    process = await host.create_process(f"asterisk -rx '{RINGS}'")
    await until(lambda: pbx.invites["153"] == 1)
    await ask(host, "core show channels concise")
    assert process.exit_status is None
    pbx.hang_up_all()
    done = await process.wait()
    assert (done.exit_status, done.stdout) == (0, "")


def test_another_version_is_refused() -> None:
    """There is a recording of each of four."""
    with pytest.raises(ValueError, match="version must be one of 11, 13, 16, 22, not 12"):
        StandIn(version="12")
