"""`asterisk -rx` in a shell: exit statuses and texts, while Asterisk runs and while it does not."""

from __future__ import annotations

import re
import time

import anyio
import asyncssh
import pytest

from shared.asterisk.parsers import find_rejection, parse_banner
from tests.conformance.site import LIMIT_S, Host, Site, until

pytestmark = pytest.mark.anyio

UNABLE = "Unable to connect to remote asterisk (does /var/run/asterisk/asterisk.ctl exist?)\n"


async def test_a_command_is_answered(host: Host) -> None:
    """Exit status 0 and the text alone, no banner."""
    assert await host.execute("asterisk -rx 'core waitfullybooted'") == (
        0,
        "Asterisk has fully booted.\n",
    )
    status, text = await host.execute("asterisk -rx 'core show uptime seconds'")
    assert status == 0
    assert re.fullmatch(r"System uptime: \d+\nLast reload: \d+\n", text)


async def test_an_originate_prints_nothing(host: Host) -> None:
    """Exit status 0 whatever becomes of the call."""
    command = "asterisk -rx 'channel originate LOCAL/abc@inoffice application NoOp'"
    assert await host.execute(command) == (0, "")


async def test_the_exit_status_does_not_tell_a_rejection(host: Host) -> None:
    """An unknown command and a wrong use exit 0: only their texts tell."""
    for command in ("channel originate", "chanel originate x"):
        status, text = await host.execute(f"asterisk -rx '{command}'")
        assert (status, bool(find_rejection(text))) == (0, True)
    host.site.complaints().clear()  # the stand-in takes the second for something it lacks


async def test_an_over_long_command_is_lost_without_a_word(host: Host) -> None:
    """497 bytes: exit status 0, no output."""
    command = "core waitfullybooted".ljust(496, " ") + "x"
    assert await host.execute(f"asterisk -rx '{command}'") == (0, "")


async def test_commands_are_chained(host: Host) -> None:
    """`&&` and `echo`, as the service's mark of success needs them."""
    status, text = await host.execute("asterisk -rx 'core waitfullybooted' && echo done-1")
    assert (status, text) == (0, "Asterisk has fully booted.\ndone-1\n")
    assert await host.execute("true") == (0, "")


async def test_the_clock_is_told_in_whole_seconds(host: Host) -> None:
    """The epoch's digits alone; both hosts of these tests have this machine's clock."""
    before = int(time.time())
    status, text = await host.execute("date +%s")
    assert (status, re.fullmatch(r"[0-9]{10}\n", text) is not None) == (0, True)
    assert before <= int(text) <= time.time()


async def test_a_program_that_is_missing_is_127(host: Host) -> None:
    """As the shell has it."""
    assert await host.execute("nosuchasterisk -rx 'core show version'") == (127, "")
    host.site.complaints().clear()


async def opened_until_refused(host: Host) -> asyncssh.ChannelOpenError:
    """Open the socket until nobody listens: a dying process still takes some connections in."""
    with anyio.fail_after(LIMIT_S):
        while True:
            try:
                wire = await host.open()
            except asyncssh.ChannelOpenError as refused:
                return refused
            assert await wire.rest() == b""
            await wire.close()


async def test_a_killed_asterisk_refuses_both_ways(host: Host, site: Site) -> None:
    """The socket is refused as ever, `asterisk -rx` exits 1 and says why; then a new pid."""
    pid = site.pid()
    site.kill()
    try:
        refused = await opened_until_refused(host)
        assert (refused.code, refused.reason) == (2, "open failed")
        done = await host.connection.run("asterisk -rx 'core waitfullybooted'", check=False)
        assert (done.exit_status, done.stdout, done.stderr) == (1, "", UNABLE)
    finally:
        await site.restart()
    assert await host.execute("asterisk -rx 'core waitfullybooted'") == (
        0,
        "Asterisk has fully booted.\n",
    )
    async with await host.open() as wire:
        banner = parse_banner((await wire.banner()).decode())
    assert banner is not None
    assert banner.pid == site.pid() != pid


async def test_asterisk_killed_in_mid_command_looks_like_success(host: Host, site: Site) -> None:
    """An open socket just ends, as after an originate that was executed."""
    async with await host.open() as wire:
        await wire.banner()
        site.freeze()
        wire.write(b"cli quit after core waitfullybooted\0")
        site.kill()
        assert await wire.rest() == b""
    await site.restart()


async def test_exec_exits_0_when_asterisk_is_killed_in_mid_command(host: Host, site: Site) -> None:
    """Only a line on standard output tells that the command was not answered."""
    site.freeze()
    running = await host.connection.create_process("asterisk -rx 'core waitfullybooted'")
    await until(lambda: site.waiting() > 0)
    site.kill()
    with anyio.fail_after(LIMIT_S):
        done = await running.wait(check=False)
    await site.restart()
    assert (done.exit_status, done.stdout) == (0, "read() failed: Connection reset by peer\n")
