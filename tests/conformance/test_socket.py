"""The control socket: what `asterisk -rx` itself relies on, and so the service."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Callable

import anyio
import asyncssh
import pytest

from shared.asterisk.commands import MAX_COMMAND_BYTES, SHOW_UPTIME
from shared.asterisk.parsers import parse_banner, split_replies
from tests.conformance.site import PREFIX, Host, Site, until

pytestmark = pytest.mark.anyio

UPTIME = re.compile(rb"System uptime: \d+\nLast reload: \d+\n")
RELEASES = {"16": "16.28.0", "22": "22.10.1"}
# 155 is busy at once: a call that leaves nothing behind but its INVITE.
RINGS_155 = "channel originate LOCAL/155@inoffice application NoOp"
RINGS_150 = "channel originate LOCAL/150@inoffice application NoOp"


async def settled(host: Host) -> None:
    """Wait until 150 has rung once more: whatever was sent before it is done."""
    before = host.site.invites("150")
    await host.ask(RINGS_150)
    await until(lambda: host.site.invites("150") > before)
    await host.over()


async def test_the_banner_names_the_process(host: Host, site: Site) -> None:
    """The first line is HOST/PID/VERSION, before anything is written."""
    async with await host.open() as wire:
        line = await wire.banner()
    banner = parse_banner(line.decode())
    assert banner is not None
    assert banner.host
    assert banner.pid == site.pid()
    assert banner.version.startswith(RELEASES[site.version])


async def test_commands_of_one_write_run_in_order_to_the_end_of_file(host: Host) -> None:
    """NUL-separated commands after `cli quit after` are all answered, then the socket ends."""
    text = await host.ask("core waitfullybooted", SHOW_UPTIME, "core waitfullybooted", SHOW_UPTIME)
    booted = rb"Asterisk has fully booted.\n"
    assert re.fullmatch(rb"(?:%b%b){2}" % (booted, UPTIME.pattern), text)
    assert split_replies(text.decode()) == ("Asterisk has fully booted.\n",) * 2


async def test_without_the_prefix_the_socket_stays_open(host: Host) -> None:
    """Plain commands are answered one write after the other, with no mark of their end."""
    async with await host.open() as wire:
        await wire.banner()
        for _ in range(3):
            wire.write(b"core waitfullybooted\0")
            assert await wire.read(b"booted.\n") == b"Asterisk has fully booted.\n"


@pytest.mark.parametrize(
    "command",
    [
        RINGS_155,
        "channel originate LOCAL/150@nosuch application NoOp",
        "channel originate LOCAL/abc@inoffice application NoOp",
    ],
)
async def test_an_originate_prints_nothing_whatever_becomes_of_it(host: Host, command: str) -> None:
    """A busy agent, a missing context, a missing extension: the sentinel alone answers."""
    assert UPTIME.fullmatch(await host.ask(command, SHOW_UPTIME))
    await host.over()


async def test_a_command_has_at_most_496_bytes(host: Host, site: Site) -> None:
    """One byte more is lost without a word: the end of file looks as after a success."""
    before = site.invites("155")
    longest = f"{RINGS_155} ".ljust(MAX_COMMAND_BYTES, "x")
    assert await host.ask(f"{longest}x") == b""
    await settled(host)
    assert site.invites("155") == before
    assert await host.ask(longest) == b""
    await until(lambda: site.invites("155") == before + 1)


async def test_what_exceeds_the_one_read_is_dropped(host: Host, site: Site) -> None:
    """512 bytes are read at once: the commands complete within them run, the tail never does."""
    before = site.invites("155")
    filler = f"{SHOW_UPTIME}\0".encode()
    tail = f"{RINGS_155}\0".encode()
    room = 512 - len(PREFIX) - len(filler)
    cut = f"{SHOW_UPTIME}\0".encode() + tail[:-1].ljust(room) + b"\0"
    assert len(PREFIX + cut) == 513
    assert UPTIME.fullmatch(await host.put(cut))
    whole = cut[:-2] + b"\0"
    assert len(PREFIX + whole) == 512
    beyond = await host.put(whole + filler)
    assert UPTIME.fullmatch(beyond)
    await until(lambda: site.invites("155") == before + 1)
    await settled(host)
    assert site.invites("155") == before + 1


async def test_a_command_without_its_nul_is_not_executed(host: Host, site: Site) -> None:
    """Nothing is executed before its NUL has come."""
    before = site.invites("155")
    assert await host.put(RINGS_155.encode()) == b""
    assert UPTIME.fullmatch(await host.put(f"{SHOW_UPTIME}\0{RINGS_155}".encode()))
    await settled(host)
    assert site.invites("155") == before


async def test_a_command_after_its_prefix_comes_too_late(host: Host, site: Site) -> None:
    """The prefix and the command must be one write: the read that has the prefix is the last."""
    before = site.invites("155")
    async with await host.open() as wire:
        await wire.banner()
        wire.write(PREFIX)
        assert await wire.rest() == b""
        with contextlib.suppress(BrokenPipeError):
            wire.write(f"{RINGS_155}\0".encode())
    await settled(host)
    assert site.invites("155") == before


async def test_a_newline_ends_nothing(host: Host, transcript: Callable[[str], bytes]) -> None:
    """It belongs to the last word, which then is none that the command knows."""
    assert await host.ask(f"{SHOW_UPTIME}\n") == transcript("usage-uptime")


async def test_spaces_and_tabs_separate_words_in_any_case(host: Host) -> None:
    """As the console's own command line has it."""
    assert UPTIME.fullmatch(await host.ask("  core   SHOW\tuptime seconds"))


async def test_frozen_and_closed_before_writing_nothing_is_executed(host: Host, site: Site) -> None:
    """No banner, nothing written: when Asterisk goes on, it finds nothing to do."""
    before = site.invites("155")
    site.freeze()
    wire = await host.open()
    with pytest.raises(TimeoutError), anyio.fail_after(0.3):
        await wire.banner()
    await wire.close()
    site.thaw()
    await settled(host)
    assert site.invites("155") == before


@pytest.mark.parametrize("banner", [True, False])
async def test_frozen_and_written_it_is_executed_later(
    host: Host, site: Site, *, banner: bool
) -> None:
    """Written is executed when Asterisk goes on, though the client is long gone."""
    before = site.invites("155")
    wire = await host.open()
    if banner:
        await wire.banner()
    site.freeze()
    wire.write(PREFIX + f"{RINGS_155}\0".encode())
    with pytest.raises(TimeoutError), anyio.fail_after(0.3):
        await (wire.rest() if banner else wire.read(b"\0"))
    await wire.close()
    assert site.invites("155") == before
    site.thaw()
    await until(lambda: site.invites("155") == before + 1)
    await settled(host)
    assert site.invites("155") == before + 1


async def test_frozen_and_kept_open_it_is_answered_later(host: Host, site: Site) -> None:
    """Who keeps the socket gets the whole answer when Asterisk goes on."""
    async with await host.open() as wire:
        await wire.banner()
        site.freeze()
        wire.write(PREFIX + f"core waitfullybooted\0{SHOW_UPTIME}\0".encode())
        with pytest.raises(TimeoutError), anyio.fail_after(0.3):
            await wire.rest()
        site.thaw()
        text = await wire.rest()
    assert split_replies(text.decode()) == ("Asterisk has fully booted.\n",)


async def test_three_may_wait_for_a_frozen_asterisk(host: Host, site: Site) -> None:
    """The listen backlog holds three; the fourth is refused at once, and may be tried again."""
    site.freeze()
    wires = [await host.open() for _ in range(3)]
    with pytest.raises(asyncssh.ChannelOpenError) as refused:
        await host.open()
    assert (refused.value.code, refused.value.reason) == (2, "open failed")
    site.thaw()
    for wire in wires:
        assert parse_banner((await wire.banner()).decode())
        await wire.close()
    assert UPTIME.fullmatch(await host.ask(SHOW_UPTIME))


@pytest.mark.parametrize("path", ["/var/run/asterisk/nosuch.ctl", "/nosuch"])
async def test_another_path_is_refused(host: Host, path: str) -> None:
    """A path where nobody listens looks like every other refusal."""
    with pytest.raises(asyncssh.ChannelOpenError) as refused:
        await host.connection.open_unix_connection(path, encoding=None)
    assert (refused.value.code, refused.value.reason) == (2, "open failed")
    assert not host.connection.is_closed()


async def test_the_socket_has_two_paths(host: Host) -> None:
    """/run and /var/run are one folder."""
    reader, writer = await host.connection.open_unix_connection(
        "/run/asterisk/asterisk.ctl", encoding=None
    )
    assert parse_banner((await reader.readuntil(b"\n")).decode())
    writer.close()


async def test_an_sshd_that_forwards_nothing_still_runs_commands(site: Site) -> None:
    """AllowStreamLocalForwarding=no: the socket is refused as ever, `asterisk -rx` works."""
    with site.no_forwarding() as port:
        async with Host.connect(site, port) as host:
            with pytest.raises(asyncssh.ChannelOpenError) as refused:
                await host.open()
            assert (refused.value.code, refused.value.reason) == (2, "open failed")
            status, text = await host.execute("asterisk -rx 'core waitfullybooted'")
            assert (status, text) == (0, "Asterisk has fully booted.\n")
