"""`check`: an enterprise's PBX end to end, each thing that is wrong in its turn; nobody rings."""

from __future__ import annotations

import contextlib
import json
import socket
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any, NoReturn, TypeAlias

import anyio
import anyio.to_thread
import asyncssh
import pytest

from demo.pbx.profiles import PROFILES
from demo.pbx.texts import CDR_STATUS
from demo.standin import StandIn
from shared.errors import SocketRefused
from shared.operate.__main__ import main
from shared.operate.check import find
from shared.operate.findings import Finding
from shared.pbx import probing
from shared.process import forget_all
from shared.settings import Settings
from shared.ssh.connection import Connection
from shared.store.database import Database
from tests.integration.service import LIMIT_S, SSH_PASSWORD, make_pbx
from tests.postgres import PASSWORD, Postgres

pytestmark = pytest.mark.anyio

Check: TypeAlias = Callable[..., Awaitable[list[Finding]]]
Operate: TypeAlias = Callable[..., Awaitable[tuple[int, str, str]]]

ROOT = Path(__file__).parents[2]
SECRET = "june-8d1f04c7a96b4e52"
UNKNOWN_KEY = asyncssh.generate_private_key("ssh-ed25519").export_private_key().decode()
STEPS = [
    *("name", "port", "host key", "log-in", "console", "version", "originate"),
    *(
        "channel drivers",
        "dialplan context",
        "call records",
        "SFTP",
        "records file",
        "disk",
        "clock",
    ),
]
ROW = (
    '"","150","+375290000001","inoffice","150","SIP/150-00000001","","Dial","","{start}","{start}",'
    '"{start}",10,5,"ANSWERED","DOCUMENTATION","{uniqueid}",""\n'
)


@pytest.fixture
def own(postgres: Postgres, pbx: StandIn, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """Settings that suit the PBX, and no others in the environment."""
    postgres.clear()
    postgres.seed_enterprise("0367", "june", "127.0.0.1", SECRET)
    for name in Settings.model_fields:
        monkeypatch.delenv(name.upper(), raising=False)
    monkeypatch.setenv("SSH_PASSWORD", SSH_PASSWORD)
    return {
        "ssh_port": pbx.port,
        "ssh_password": SSH_PASSWORD,
        # Whoever waits for silence sets less; no other step may end by a slow machine's time.
        "ssh_connect_timeout_s": LIMIT_S,
        "command_timeout_s": LIMIT_S,
        "open_calls_enterprise": 20,
        "open_calls_extension": 2,
        "rate_limit_new_numbers": "30/3600",
        "max_call_s": 7200,
    }


@pytest.fixture
def check(postgres: Postgres, own: dict[str, Any], pbx: StandIn) -> Check:
    """Looks at an enterprise, with other settings than those where a test says so; nobody rings."""

    async def look(number: str | None = "0367", **settings: Any) -> list[Finding]:
        made = postgres.settings(**own | settings)
        database = Database(made)
        try:
            found = [finding async for finding in find(database, made, number)]
        finally:
            database.close()
        assert pbx.invites.total() == 0
        # Without arguments it tells its usage.
        assert {one for one in pbx.commands if one.startswith("channel")} <= {"channel originate"}
        assert all(one.remedy for one in found if one.state in {"bad", "warning"})
        assert not [one for one in found if PASSWORD in str(one) or SSH_PASSWORD in str(one)]
        return found

    return look


def states(found: list[Finding]) -> dict[str, str]:
    """The state of each finding, by its name."""
    return {finding.name: finding.state for finding in found}


def of(found: list[Finding], name: str) -> Finding:
    """The one finding of that name."""
    (one,) = [finding for finding in found if finding.name == name]
    return one


def row(uniqueid: str = "1795424579.1", start: str = "2026-11-23 12:02:59") -> str:
    """A line of Master.csv; by its uniqueid the call began at 09:02:59 UTC."""
    return ROW.format(start=start, uniqueid=uniqueid)


def tell(pbx: StandIn, monkeypatch: pytest.MonkeyPatch, version: str) -> None:
    """Let the PBX tell another version."""
    exchange = pbx._daemon.exchange
    monkeypatch.setattr(pbx._daemon, "_version", version)
    monkeypatch.setattr(exchange, "profile", replace(exchange.profile, version=version))


async def test_a_healthy_pbx_is_good_in_every_step(check: Check, pbx: StandIn) -> None:
    """Every step is told once, in its order, and is good but for a key that was never seen."""
    pbx.write_cdr(row())
    first = await check()
    assert [finding.name for finding in first] == ["database", "enterprise", *STEPS]
    assert {finding.enterprise for finding in first[1:]} == {"0367"}
    assert of(first, "host key").state == "warning"
    again = await check()
    assert set(states(again).values()) == {"good"}
    assert of(again, "host key").detail.endswith(", as pinned")
    assert of(again, "console").detail == "control socket: milliseconds a command"
    assert of(again, "version").detail == f"{PROFILES['16'].version}, tried on a real 16.28"
    assert of(again, "channel drivers").detail == "SIP"
    assert of(again, "records file").detail == (
        "/var/log/asterisk/cdr-csv/Master.csv: 1 of its last 1 lines are records, of 18 columns,"
        " in the zone UTC+03:00"
    )
    assert pbx.refused == []


async def test_asterisk_22_is_looked_at_likewise(check: Check) -> None:
    """Another release, another driver."""
    async with make_pbx(version="22") as pbx:
        found = await check(ssh_port=pbx.port)
    assert of(found, "channel drivers").detail == "PJSIP"
    assert "tried on a real 22.10" in of(found, "version").detail


async def test_a_healthy_check_asks_each_thing_once(check: Check, pbx: StandIn) -> None:
    """What it costs a PBX: one connection, an open for each question, four sessions."""
    await check()  # which pins the key
    before = pbx.connections, pbx.opens, pbx.sessions
    pbx.commands.clear()
    await check()
    # Which logs in: sshd penalises whoever does not, and with him the service, of one address.
    assert pbx.connections - before[0] == 1
    assert pbx.opens - before[1] == 5  # five questions, the first beside whether it has booted
    # `true` after the log-in, the file and the disk by SFTP, `date`.
    assert pbx.sessions - before[2] == 4
    sentinel = "core show uptime seconds"
    assert [command for command in pbx.commands if command != sentinel] == [
        *("core waitfullybooted", "core show settings", "core show version"),
        *("channel originate", "core show channeltypes", "dialplan show inoffice"),
        "cdr show status",
    ]


def arrange(**faults: Any) -> Callable[[StandIn], None]:
    """Make a fault of the PBX's attributes."""

    def harm(pbx: StandIn) -> None:
        for name, value in faults.items():
            setattr(pbx, name, value)

    return harm


@pytest.mark.parametrize(
    ("settings", "harm", "name", "detail", "skipped"),
    [
        ({"ssh_port": 1}, arrange(), "port", "Connection refused", STEPS[2:]),
        ({}, arrange(password="new"), "log-in", "127.0.0.1 does not accept", STEPS[4:]),
        (
            {"ssh_private_key": UNKNOWN_KEY, "ssh_password": ""},
            arrange(),
            "log-in",
            "127.0.0.1 does not accept",
            STEPS[4:],
        ),
        (
            {},
            arrange(not_permitted=True),
            "console",
            "SSH_USER may not open /var/run/asterisk/asterisk.ctl, and `asterisk -rx` does not",
            STEPS[5:10],
        ),
        ({}, arrange(disk_free_bytes=0), "disk", "0 of 65536 MiB are free in /var/log", []),
        ({"ssh_private_key": "/nowhere"}, arrange(), "log-in", "SSH_PRIVATE_KEY is", STEPS[4:]),
        ({}, arrange(asterisk_down=True), "console", "Asterisk is stopped", STEPS[5:10]),
        (
            {"command_timeout_s": 2},
            StandIn.freeze,
            "console",
            "Asterisk does not answer",
            STEPS[5:10],
        ),
        (
            {"asterisk_transport": "exec"},
            arrange(no_shell=True),
            "console",
            "`asterisk -rx` failed with exit status 1",
            [*STEPS[5:10], "clock"],
        ),
        (
            {"dialplan_context": "outside"},
            arrange(),
            "dialplan context",
            "the dialplan has no context outside",
            [],
        ),
        (
            {"channel_technology": "IAX2"},
            arrange(),
            "channel drivers",
            "SIP, and CHANNEL_TECHNOLOGY is IAX2",
            [],
        ),
        ({}, arrange(refuse_sftp=True), "SFTP", "The host's sshd has no SFTP", STEPS[11:13]),
        (
            {},
            arrange(sftp_greeting=b"Welcome\n"),
            "SFTP",
            "The host's sshd has no SFTP",
            STEPS[11:13],
        ),
        (
            {},
            arrange(max_sessions=0),
            "SFTP",
            "The host opens no SFTP session",
            STEPS[11:14],
        ),
        ({}, arrange(cdr_missing=True), "records file", "The host has no file /var", []),
        ({}, arrange(cdr_denied=True), "records file", "SSH_USER may not read", []),
        ({}, lambda pbx: pbx.write_cdr("a,b\n" * 3), "records file", "/var/log", []),
    ],
)
async def test_what_is_bad_is_named_and_what_it_hides_is_skipped(
    check: Check,
    pbx: StandIn,
    *,
    settings: dict[str, Any],
    harm: Callable[[StandIn], None],
    name: str,
    detail: str,
    skipped: list[str],
) -> None:
    """One finding is bad, with its remedy; only what cannot be had without it is skipped."""
    harm(pbx)
    try:
        found = await check(**settings)
    finally:
        pbx.thaw()
    bad = of(found, name)
    assert [one.name for one in found if one.state == "bad"] == [name]
    assert bad.detail.startswith(detail)
    assert [one.name for one in found if one.state == "skipped"] == skipped


@pytest.mark.parametrize("host", ["no-such-host.example.test", "a" * 70, "two words", "-oProxy"])
async def test_a_name_that_leads_nowhere(check: Check, postgres: Postgres, host: str) -> None:
    """A name that does not resolve, or is none, is bad; everything after it is skipped."""
    postgres.execute("UPDATE enterprises SET ip = :ip", ip=host[:45])
    found = await check()
    assert of(found, "name").state == "bad"
    assert [one.name for one in found if one.state == "skipped"] == STEPS[1:]


@pytest.mark.parametrize("answer", [b"", b"HTTP/1.1 400 Bad Request\r\n\r\n", b"\0" * 4096, None])
async def test_whatever_answers_is_no_crash(check: Check, answer: bytes | None) -> None:
    """No SSH server, one that is silent, one that hangs up: the first step that fails says so."""

    async def serve(stream: anyio.abc.ByteStream) -> None:
        async with stream:
            if answer is None:
                await anyio.sleep_forever()
            await stream.send(answer or b"\n")

    listener = await anyio.create_tcp_listener(local_host="127.0.0.1")
    port = listener.extra(anyio.abc.SocketAttribute.local_port)
    async with anyio.create_task_group() as group:
        group.start_soon(listener.serve, serve)
        silence = {"ssh_connect_timeout_s": 1} if answer is None else {}
        found = await check(ssh_port=port, **silence)
        group.cancel_scope.cancel()
    await listener.aclose()
    assert of(found, "port").state == "good"
    assert of(found, "host key").state == "bad"
    assert [one.name for one in found if one.state == "skipped"] == STEPS[3:]


@pytest.mark.parametrize("transport", ["socket", "exec"])
@pytest.mark.parametrize(
    "reply",
    [
        "",
        "\0\x1b]0;x\x07\n",
        "x" * 100_000,
        "ж\n" * 500,
        "No such command 'x'\n",
        "Usage: x\n",
        ":" * 99,
    ],
)
async def test_whatever_asterisk_prints_is_no_crash(
    check: Check, pbx: StandIn, monkeypatch: pytest.MonkeyPatch, reply: str, transport: str
) -> None:
    """Every step is told; what is not understood is not good."""
    run = pbx._daemon.cli.run

    async def answer(line: str) -> str:
        own = ("core show uptime", "core waitfullybooted")
        return await run(line) if line.startswith(own) else reply

    monkeypatch.setattr(pbx._daemon.cli, "run", answer)
    found = await check(asterisk_transport=transport)
    assert [finding.name for finding in found][2:] == STEPS
    assert of(found, "call records").state in {"bad", "skipped"}


@pytest.mark.parametrize(
    ("mode", "state"), [("pin", "bad"), ("off", "warning"), ("known_hosts", "warning")]
)
@pytest.mark.parametrize("kind", ["ssh-ed25519", "ecdsa-sha2-nistp256"])
async def test_a_changed_host_key_is_told_in_every_mode(
    check: Check, postgres: Postgres, pbx: StandIn, *, mode: str, state: str, kind: str
) -> None:
    """Bad where it is insisted on, and then nothing is sent; both fingerprints are shown."""
    other = asyncssh.generate_private_key(kind).export_public_key().decode().strip()
    postgres.execute(
        "INSERT INTO callapi.host_keys (host, port, key) VALUES ('127.0.0.1', :port, :key)",
        port=pbx.port,
        key=other,
    )
    found = await check(ssh_host_keys=mode, ssh_known_hosts_file="/nowhere")
    assert of(found, "host key").state == state
    assert of(found, "host key").detail.startswith("changed: ")
    assert "forget-host-key 127.0.0.1" in of(found, "host key").remedy
    expected = {"pin": "skipped", "off": "good", "known_hosts": "bad"}
    assert of(found, "log-in").state == expected[mode]
    assert ("SSH_KNOWN_HOSTS_FILE" in of(found, "log-in").remedy) == (mode == "known_hosts")


@pytest.mark.parametrize(("mode", "state"), [("off", "warning"), ("known_hosts", "good")])
async def test_a_new_host_key_is_not_pinned_in_other_modes(
    check: Check, postgres: Postgres, mode: str, state: str
) -> None:
    """It is shown, and the database learns nothing."""
    found = await check(ssh_host_keys=mode)
    assert of(found, "host key").state == state
    assert of(found, "host key").detail.startswith("new: SHA256:")
    assert postgres.execute("SELECT * FROM callapi.host_keys") == []


async def test_exec_is_told_with_its_cause(check: Check, pbx: StandIn) -> None:
    """A refused socket is a warning with what sshd needs; exec by a setting is as it should be."""
    pbx.refuse_forwarding = True
    found = await check()
    assert of(found, "console").state == "warning"
    assert "AllowStreamLocalForwarding" in of(found, "console").remedy
    assert of(found, "version").detail.startswith(PROFILES["16"].version)
    pbx.refuse_forwarding = False
    assert of(await check(asterisk_transport="exec"), "console").state == "good"


ELSEWHERE = "/run/elsewhere/asterisk.ctl"
BESIDE = "/run/asterisk/beside.ctl"


@pytest.mark.parametrize(
    ("settings", "faults", "state", "detail", "remedy"),
    [
        ({}, {"asterisk_down": True}, "bad", "Asterisk is stopped: nobody", "Start Asterisk on"),
        ({}, {"not_permitted": True}, "bad", "SSH_USER may not open", "astctlpermissions=0660"),
        (
            {"asterisk_command": "sudo asterisk"},
            {"not_permitted": True},
            "warning",
            "SSH_USER may not open",
            "astctlgroup, a group",
        ),
        (
            {"asterisk_command": "sudo asterisk"},
            {"not_permitted": True, "asterisk_down": True},
            "bad",
            "Asterisk is stopped: nobody",
            "Start Asterisk on",
        ),
        ({}, {"refuse_forwarding": True}, "warning", "sshd does not forward", "AllowStreamLocal"),
        (
            {"asterisk_command": "/opt/asterisk"},
            {"refuse_forwarding": True},
            "bad",
            "The host cannot run `/opt/asterisk`",
            "have ASTERISK_COMMAND work",
        ),
        (
            {"asterisk_command": "/opt/asterisk", "asterisk_transport": "exec"},
            {},
            "bad",
            "The host cannot run `/opt/asterisk`",
            "Correct ASTERISK_COMMAND",
        ),
        (
            {},
            {"refuse_forwarding": True, "no_shell": True},
            "bad",
            "the PBX refuses /var/run/asterisk/asterisk.ctl, and no shell",
            "the key's port-forwarding",
        ),
        ({"asterisk_socket": ELSEWHERE}, {}, "warning", ELSEWHERE, "Correct ASTERISK_SOCKET"),
        ({"asterisk_socket": BESIDE}, {}, "warning", BESIDE, "Correct ASTERISK_SOCKET"),
        (
            {"asterisk_socket": BESIDE},
            {"asterisk_down": True},
            "bad",
            "Asterisk is stopped, or its control socket is elsewhere",
            "or correct ASTERISK_SOCKET",
        ),
        (
            {"asterisk_transport": "socket"},
            {"refuse_forwarding": True},
            "bad",
            "The host refuses /var/run/asterisk/asterisk.ctl",
            "permit sshd's AllowStreamLocalForwarding",
        ),
        (
            {"asterisk_transport": "socket"},
            {"not_permitted": True},
            "bad",
            "SSH_USER may not open",
            "astctlpermissions",
        ),
    ],
)
async def test_why_the_socket_is_refused_is_told(
    check: Check,
    pbx: StandIn,
    *,
    settings: dict[str, Any],
    faults: dict[str, Any],
    state: str,
    detail: str,
    remedy: str,
) -> None:
    """Stopped, not ours to open, forbidden by sshd, elsewhere: each has its line and its remedy."""
    arrange(**faults)(pbx)
    console = of(await check(**settings), "console")
    assert console.state == state
    assert detail in console.detail
    assert remedy in console.remedy


GREETINGS = ["Welcome to the PBX\nIts room: 16\n", "Welcome, this is no shell\nWelcome> "]


@pytest.mark.parametrize("greeting", GREETINGS)
async def test_a_login_shell_may_greet(check: Check, pbx: StandIn, greeting: str) -> None:
    """What it prints before each command hides neither the clock nor why the socket is refused."""
    pbx.greeting = greeting
    pbx.not_permitted = True
    found = await check(asterisk_command="sudo asterisk")
    assert of(found, "clock").state == "good"
    assert "SSH_USER may not open" in of(found, "console").detail


async def test_a_frozen_asterisk_with_others_waiting_hangs(check: Check, pbx: StandIn) -> None:
    """Its socket is refused then, and `asterisk -rx` never ends: it is not taken for stopped."""
    pbx.backlog = 0
    pbx.freeze()
    try:
        console = of(await check(), "console")
    finally:
        pbx.thaw()
    assert console.detail == "Asterisk answers neither on its control socket nor to `asterisk -rx`"
    assert console.remedy == "Asterisk on 127.0.0.1 hangs or is starting: look at it"


async def test_a_forced_command_is_not_taken_for_an_asterisk_that_hangs(
    check: Check, pbx: StandIn, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It succeeds in the place of every command, and nothing tells what Asterisk does."""

    async def succeed(_line: str, write: Callable[[str, str], None], _cut: object) -> int:
        write("Nothing to see here\n", "")
        return 0

    pbx.refuse_forwarding = True
    monkeypatch.setattr(pbx._door.shell, "run", succeed)
    console = of(await check(), "console")
    assert "no shell is permitted that tells why" in console.detail
    assert "port-forwarding" in console.remedy


@pytest.mark.parametrize("transport", ["socket", "exec"])
async def test_an_asterisk_that_cannot_originate_is_named(
    check: Check, pbx: StandIn, transport: str
) -> None:
    """Without res_clioriginate all else is well, and no call can be placed."""
    assert of(await check(asterisk_transport=transport), "originate").state == "good"
    pbx.knows_originate = False
    found = await check(asterisk_transport=transport)
    assert [one.name for one in found if one.state in {"bad", "skipped"}] == ["originate"]
    assert "res_clioriginate" in of(found, "originate").remedy


async def test_an_originate_that_is_not_permitted_is_named(
    check: Check, pbx: StandIn, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By cli_permissions.conf; the module is there."""
    run = pbx._daemon.cli.run

    async def answer(line: str) -> str:
        refusal = f"You don't have permissions to run '{line}' command\n"
        return refusal if line.startswith("channel") else await run(line)

    monkeypatch.setattr(pbx._daemon.cli, "run", answer)
    found = of(await check(), "originate")
    assert (found.state, found.remedy) == ("bad", "Permit it in cli_permissions.conf")


@pytest.mark.parametrize(
    ("version", "state", "said"),
    [
        ("11.25.3", "warning", "tried on a real 11.25; up to 11 `channel originate` holds"),
        ("1.8.32.3", "warning", "known by its source, not tried; up to 11"),
        ("certified/11.6-cert18", "warning", "tried on a real 11.25; up to 11"),
        ("13.38.3", "good", "tried on a real 13.38"),
        ("18.9.0", "good", "known by its source, not tried"),
        ("1.6.2.9", "bad", "older than 1.8"),
        ("GIT-master-0a1b2c3", "warning", "no release that is known"),
        ("\x1b[31mUNKNOWN", "warning", "no release that is known"),
    ],
)
@pytest.mark.parametrize("transport", ["socket", "exec"])
async def test_a_release_is_told_with_what_it_means(
    check: Check,
    pbx: StandIn,
    monkeypatch: pytest.MonkeyPatch,
    *,
    version: str,
    state: str,
    said: str,
    transport: str,
) -> None:
    """What the banner or `core show version` says, how it was tried, and what differs there."""
    tell(pbx, monkeypatch, version)
    found = of(await check(asterisk_transport=transport), "version")
    assert found.state == state
    assert said in found.detail


@pytest.mark.parametrize(
    ("old", "new", "state", "said"),
    [
        ("Logging:                    Enabled", "Logging: Disabled", "bad", "writes none"),
        ("    csv\n", "", "bad", "writes none"),
        ("Mode:                       Simple", "Mode: Batch", "warning", "in batches"),
    ],
)
async def test_records_that_are_not_written_are_told(
    check: Check, monkeypatch: pytest.MonkeyPatch, *, old: str, new: str, state: str, said: str
) -> None:
    """By Asterisk's own word."""
    monkeypatch.setitem(CDR_STATUS, "16", CDR_STATUS["16"].replace(old, new))
    found = of(await check(), "call records")
    assert found.state == state
    assert said in found.detail


@pytest.mark.parametrize(
    ("rows", "state", "said"),
    [
        ("", "good", "has no line yet"),
        (row(start="2026-11-23 03:32:59"), "good", "UTC-05:30"),
        (row(uniqueid=""), "bad", "none tells its zone"),
        (row().replace(',"1795424579.1",""', ""), "bad", "of 16 columns; none tells its zone"),
        (row() + "broken\n", "warning", "1 of its last 2 lines"),
        (row() + row()[:20], "good", "1 of its last 1 lines"),
        (row() * 1000, "good", "are records, of 18 columns"),
    ],
)
async def test_the_records_file_is_read(
    check: Check, pbx: StandIn, rows: str, state: str, said: str
) -> None:
    """Its last 64 kB of whole lines: whether they are records, and in which zone."""
    pbx.write_cdr(rows)
    found = of(await check(), "records file")
    assert found.state == state
    assert said in found.detail


@pytest.mark.parametrize(
    ("ahead_s", "state", "said"),
    [(0, "good", "as this"), (60, "warning", "60 s ahead of"), (-3600, "warning", "3600 s behind")],
)
async def test_a_clock_that_is_wrong_is_told(
    check: Check, pbx: StandIn, ahead_s: int, state: str, said: str
) -> None:
    """Against this machine's."""
    pbx.clock_ahead_s = ahead_s
    found = of(await check(), "clock")
    assert found.state == state
    assert said in found.detail


async def test_a_clock_that_is_told_late_is_not_taken_for_wrong(
    check: Check, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As on a slow line: at some moment of the ten seconds that it took it was told."""
    told = iter([time.time() - 10, time.time()])
    monkeypatch.setattr(probing, "time", SimpleNamespace(time=lambda: next(told)))
    assert of(await check(), "clock").state == "good"


@pytest.mark.parametrize(
    ("free", "state", "said"),
    [
        (2**20 - 1, "bad", "0 of 65536 MiB are free"),
        (2**20, "warning", "1 of 65536 MiB are free"),
        (100 * 2**20 - 1, "warning", "99 of 65536"),
        (100 * 2**20, "good", "100 of 65536"),
        (None, "skipped", "sshd does not tell the room of /var/log/asterisk/cdr-csv"),
    ],
)
async def test_the_disk_of_the_records_is_looked_at(
    check: Check, pbx: StandIn, *, free: int | None, state: str, said: str
) -> None:
    """By SFTP, without a shell; an sshd that does not tell it is no fault."""
    pbx.disk_free_bytes = free
    found = of(await check(), "disk")
    assert found.state == state
    assert said in found.detail


async def test_a_disk_that_could_not_be_asked_for_is_not_one_that_is_not_told(
    check: Check, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A session that the host refuses now is a fault, with its reason; else none would be seen."""

    async def refuse(*_: object) -> NoReturn:
        raise SocketRefused("The host opens no more sessions")

    monkeypatch.setattr(Connection, "load_space", refuse)
    found = of(await check(), "disk")
    assert (found.state, found.detail) == ("bad", "The host opens no SFTP session for us")
    assert "MaxSessions" in found.remedy


async def test_a_disk_that_takes_no_more_files_is_warned_of(check: Check, pbx: StandIn) -> None:
    """What is there may still grow; a disk that is full besides is full."""
    pbx.disk_free_files = 0
    found = of(await check(), "disk")
    assert found.state == "warning"
    assert found.detail == "no more files can be made in /var/log/asterisk/cdr-csv"
    pbx.disk_free_bytes = 0
    assert of(await check(), "disk").state == "bad"


async def test_a_port_that_is_silent_names_the_firewalls(check: Check) -> None:
    """Nobody refuses the connection, and nobody accepts it."""
    with contextlib.ExitStack() as stack:
        full = stack.enter_context(socket.create_server(("127.0.0.1", 0), backlog=0))
        for _ in range(4):  # whoever comes once the queue is full gets no answer
            waiting = stack.enter_context(socket.socket())
            waiting.settimeout(0)
            waiting.connect_ex(full.getsockname())
        port = full.getsockname()[1]
        found = await check(ssh_port=port, ssh_connect_timeout_s=1)
    assert of(found, "port").detail == "Connection timeout"
    assert f"Let port {port} of 127.0.0.1 through each firewall" in of(found, "port").remedy
    assert [one.name for one in found if one.state == "skipped"] == STEPS[2:]


async def test_without_a_shell_the_clock_is_not_known(check: Check, pbx: StandIn) -> None:
    """It is skipped and said; whatever needs no shell is looked at."""
    pbx.no_shell = True
    found = await check()
    assert [one.name for one in found if one.state == "skipped"] == ["clock"]
    assert "no shell" in of(found, "clock").detail


# Enterprises


async def test_an_unknown_number_names_its_nearest(check: Check, postgres: Postgres) -> None:
    """It is bad, and no PBX is asked."""
    postgres.seed_enterprise("0368", "july", "127.0.0.2", "july-8d1f04c7a96b4e52")
    found = await check("0376")
    (bad,) = [one for one in found if one.state == "bad"]
    assert (bad.name, bad.detail) == ("enterprise", "there is no number 0376")
    assert set(bad.remedy.removeprefix("The nearest are ").split(", ")) == {"0367", "0368"}
    assert "host key" not in states(found)


async def test_all_active_enterprises_are_looked_at(check: Check, postgres: Postgres) -> None:
    """Without a number one after the other; who is not active is looked at by its number only."""
    postgres.seed_enterprise("0001", "may", "127.0.0.1", "may-8d1f04c7a96b4e52")
    postgres.seed_enterprise("0002", "april", "127.0.0.1", "april-8d1f04c7a96b4e", active=False)
    found = await check(None)
    assert [one.enterprise for one in found if one.name == "enterprise"] == ["0001", "0367"]
    own = ["enterprise", *STEPS, "neighbours"]
    assert [one.name for one in found if one.enterprise == "0001"] == own
    inactive = await check("0002")
    assert of(inactive, "enterprise").state == "bad"
    assert of(inactive, "log-in").state == "good"
    postgres.execute("UPDATE enterprises SET active = NULL")
    assert of(await check(None), "enterprise").detail == "none is active"


async def test_an_enterprise_without_an_address(check: Check, postgres: Postgres) -> None:
    """There is nothing to look at."""
    postgres.execute("UPDATE enterprises SET ip = ' '")
    found = await check()
    assert states(found) == {"database": "good", "enterprise": "bad", "name": "skipped"}


@pytest.mark.parametrize(
    ("secret", "detail"),
    [
        ("", "blank: it is refused (SECRET_MIN)"),
        ("   ", "blank: it is refused (SECRET_MIN)"),
        ("a", "1 characters: it can be guessed"),
        ("123456789012345", "15 characters: it can be guessed"),
    ],
)
async def test_a_weak_secret_is_warned_of(
    check: Check, postgres: Postgres, secret: str, detail: str
) -> None:
    """Blank, or shorter than 16 characters; it is not shown."""
    postgres.execute("UPDATE enterprises SET secret = :secret", secret=secret)
    assert of(await check(), "secret").detail == detail


async def test_a_secret_that_is_refused_is_bad(check: Check, postgres: Postgres) -> None:
    """Shorter than SECRET_MIN, or ended: unless there is a further one nobody gets in."""
    postgres.execute("UPDATE enterprises SET secret = 'a-short-one'")
    assert of(await check(secret_min=12), "secret").state == "bad"
    assert of(await check(secret_min=11), "secret").state == "warning"
    postgres.execute(
        "INSERT INTO callapi.keys SELECT sha256('a-short-one'), '0367', 'enterprises', true,"
        " now(), now()"
    )
    assert of(await check(), "secret").remedy == "./asterisk.sh keys 0367 add"
    postgres.execute("INSERT INTO callapi.keys SELECT sha256('any'), '0367', 'crm'")
    assert "secret" not in states(await check())


async def test_a_database_on_another_machine_is_to_be_encrypted(check: Check) -> None:
    """Not one on this machine, by whatever name, or by a socket."""
    assert "settings" not in states(await check())
    found = await check(postgres_host="192.0.2.1", postgres_timeout_s=0.1)
    assert of(found, "settings").detail.startswith("POSTGRES_TLS is off")


async def test_a_secret_of_two_is_bad(check: Check, postgres: Postgres) -> None:
    """Nobody who has it can call."""
    postgres.seed_enterprise("0368", "july", "127.0.0.1", SECRET)
    assert of(await check(), "secret").state == "bad"


async def test_stopped_dialling_is_warned_of(check: Check, postgres: Postgres) -> None:
    """It is an operator's will, and yet why no call is placed."""
    postgres.execute("INSERT INTO callapi.enterprise_rules VALUES ('0367', false)")
    assert of(await check(), "dialling").remedy == "./asterisk.sh rules 0367 --dialling on"


async def test_one_password_for_several_hosts_is_warned_of(
    check: Check, postgres: Postgres, own: dict[str, Any]
) -> None:
    """Each of them learns it; with a key there is nothing to learn."""
    assert "password" not in states(await check())
    postgres.seed_enterprise("0368", "july", "127.0.0.2", "july-8d1f04c7a96b4e52")
    assert of(await check(), "password").detail.startswith("SSH_PASSWORD logs in to 2 hosts")
    assert "password" not in states(await check(ssh_password="", ssh_private_key="/nowhere"))
    # A host that refuses the key asks for the password.
    assert "password" in states(await check(ssh_private_key="/nowhere"))


async def test_numbers_that_are_one_once_trimmed_are_warned_of(
    check: Check, postgres: Postgres
) -> None:
    """`0009 ` and `0009` share their rules and their calls."""
    for number in ("0009", "0009 "):
        postgres.seed_enterprise(number, f"nine{number}", "127.0.0.1", f"secret-of-nine-{number}x")
    found = await check()
    assert of(found, "numbers").detail.startswith("2 active enterprises have the number 0009")


# A key that is confined


@pytest.fixture
async def keyed(postgres: Postgres, own: dict[str, Any]) -> AsyncIterator[tuple[StandIn, Check]]:
    """A PBX that accepts a key of ours and no password, and a look at it."""
    key = asyncssh.generate_private_key("ssh-ed25519")
    public = key.export_public_key().decode()
    private = {"ssh_private_key": key.export_private_key().decode(), "ssh_password": ""}
    async with make_pbx(password=None, authorized_keys=public) as standin:

        async def look(**settings: Any) -> list[Finding]:
            made = postgres.settings(**own | private | {"ssh_port": standin.port} | settings)
            database = Database(made)
            found = [finding async for finding in find(database, made, "0367")]
            database.close()
            return found

        yield standin, look


@pytest.mark.parametrize(("confined", "state"), [(False, "warning"), (True, "good")])
async def test_a_key_with_a_shell_is_named(
    keyed: tuple[StandIn, Check], *, confined: bool, state: str
) -> None:
    """It needs none; the line of authorized_keys that takes it away is the remedy."""
    standin, look = keyed
    standin.no_shell = confined
    found = await look()
    shell = of(found, "shell")
    assert shell.state == state
    assert ("internal-sftp -R" in shell.remedy) is not confined
    assert of(found, "console").state == "good"


async def test_a_key_that_needs_its_shell_is_let_be(keyed: tuple[StandIn, Check]) -> None:
    """By `asterisk -rx` nothing goes without one."""
    _, look = keyed
    assert of(await look(asterisk_transport="exec"), "shell").state == "good"


async def test_a_shell_that_does_not_answer_is_one_all_the_same(
    keyed: tuple[StandIn, Check], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The time is not known then; that the key opens a shell is."""
    standin, look = keyed
    run = standin._door.shell.run

    async def hang(line: str, *others: Any) -> int:
        if line.startswith("date"):
            await anyio.sleep(LIMIT_S)
        return await run(line, *others)

    monkeypatch.setattr(standin._door.shell, "run", hang)
    found = await look(ssh_connect_timeout_s=2, command_timeout_s=2)
    assert of(found, "clock").state == "warning"
    assert "does not end in its shell's place" in of(found, "clock").remedy
    assert of(found, "shell").state == "warning"


@pytest.mark.parametrize("greeting", GREETINGS)
async def test_a_shell_that_greets_is_one_all_the_same(
    keyed: tuple[StandIn, Check], greeting: str
) -> None:
    """That a key runs commands is told, whatever is printed before what they print."""
    standin, look = keyed
    standin.greeting = greeting
    assert of(await look(), "shell").state == "warning"


async def test_a_shell_that_has_no_clock_is_one_all_the_same(
    keyed: tuple[StandIn, Check], monkeypatch: pytest.MonkeyPatch
) -> None:
    """As a restricted one, whose PATH may lack `date`: it runs other commands."""
    standin, look = keyed
    builtin = standin._door.shell._builtin

    def lack(words: list[str]) -> tuple[int, str] | None:
        return None if words[0] == "date" else builtin(words)

    monkeypatch.setattr(standin._door.shell, "_builtin", lack)
    found = await look()
    assert of(found, "clock").state == "skipped"
    assert of(found, "shell").state == "warning"


# The database and the settings

TOLLS = {
    "open_calls_enterprise": "20",
    "open_calls_extension": "2",
    "rate_limit_new_numbers": "30/3600",
    "max_call_s": "7200",
}


async def test_limits_that_are_off_are_warned_of_with_figures(check: Check) -> None:
    """As they are by default: what a stolen secret may do then, and what to set."""
    told = of(await check(**dict.fromkeys(TOLLS, "off")), "tolls")
    assert told.state == "warning"
    assert told.detail == (
        "OPEN_CALLS_ENTERPRISE, OPEN_CALLS_EXTENSION, RATE_LIMIT_NEW_NUMBERS, MAX_CALL_S are off:"
        " whoever has an enterprise's secret may place 300 calls in 60 s, to anywhere"
    )
    assert told.remedy == (
        "Set e.g. OPEN_CALLS_ENTERPRISE=20 OPEN_CALLS_EXTENSION=2 RATE_LIMIT_NEW_NUMBERS=30/3600"
        " MAX_CALL_S=7200, and DESTINATIONS_ALLOWED"
    )


@pytest.mark.parametrize("name", TOLLS)
async def test_one_limit_that_is_off_is_the_only_one_named(check: Check, name: str) -> None:
    """What is set needs no word, a list of destinations neither."""
    told = of(await check(**{name: "off"}, destinations_allowed="+375"), "tolls")
    assert told.detail.startswith(f"{name.upper()} is off: ")
    assert told.detail.endswith("300 calls in 60 s")
    assert told.remedy == f"Set e.g. {name.upper()}={TOLLS[name]}"


@pytest.mark.parametrize("name", TOLLS)
def test_what_is_recommended_may_be_set(name: str) -> None:
    """Each figure is one that its setting takes, and docs/security.md recommends the same."""
    assert getattr(Settings.from_environment({name.upper(): TOLLS[name]}), name) is not None
    assert f"{name.upper()}={TOLLS[name]}" in (ROOT / "docs" / "security.md").read_text("utf-8")


@pytest.mark.parametrize("number", ["0376", " 0376 ", "9999"])
async def test_a_number_that_nobody_has_names_the_nearest(
    check: Check, postgres: Postgres, number: str
) -> None:
    """Inactive ones too: they are looked at likewise."""
    postgres.seed_enterprise("0368", "july", "127.0.0.1", "july-8d1f04c7a96b4e52", active=False)
    told = of(await check(number), "enterprise")
    assert (told.state, told.detail) == ("bad", f"there is no number {number.strip()}")
    assert set(told.remedy.removeprefix("The nearest are ").split(", ")) == {"0367", "0368"}


async def test_a_database_that_is_away_is_the_first_finding(check: Check) -> None:
    """The server and the reason are named; nothing else can be looked at."""
    found = await check(postgres_port=1)
    assert states(found) == {"database": "bad", "enterprise": "skipped"}
    assert "PostgreSQL 127.0.0.1:1/postgres is unavailable: Conn" in of(found, "database").detail


async def test_a_schema_that_is_incomplete_names_its_command(
    check: Check, postgres: Postgres
) -> None:
    """As every other command does."""
    postgres.execute("DROP SCHEMA callapi CASCADE")
    try:
        found = await check()
    finally:
        postgres.prepare()
    assert states(found) == {"schema": "bad", "enterprise": "skipped"}
    assert of(found, "schema").remedy == "Run ./asterisk.sh migrate"


# The command


@pytest.fixture
def operate(
    postgres: Postgres,
    own: dict[str, Any],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> Iterator[Operate]:
    """Execute a command beside this loop, in a thread; returns exit status, stdout and stderr."""
    for name, value in (postgres.environment() | own).items():
        monkeypatch.setenv(name.upper(), str(value))

    async def run(*arguments: str) -> tuple[int, str, str]:
        forget_all()
        status = await anyio.to_thread.run_sync(main, arguments)
        said = capsys.readouterr()
        return status, said.out, said.err

    yield run
    forget_all()


async def test_the_command_prints_a_line_a_finding(operate: Operate, pbx: StandIn) -> None:
    """Exit 0 where nothing is bad, 1 where anything is; a line has its remedy."""
    status, out, err = await operate("check", "0367")
    assert (status, err) == (0, "")
    assert len(out.splitlines()) == 2 + len(STEPS)
    assert "✅ enterprise: 0367 june, ip 127.0.0.1, active\n" in out
    pbx.cdr_missing = True
    status, out, err = await operate("check")
    assert (status, err) == (1, "1 of these must be mended before all calls can be placed\n")
    assert (
        "❌ records file: The host has no file /var/log/asterisk/cdr-csv/Master.csv."
        " Load Asterisk's module cdr_csv, or set CDR_FILE\n"
    ) in out


@pytest.mark.parametrize(("number", "status"), [("0367", 0), ("0376", 1)])
async def test_json_is_an_array_of_the_findings(operate: Operate, number: str, status: int) -> None:
    """Each with its five fields, good or not."""
    ended, out, _ = await operate("check", number, "--json")
    found = json.loads(out)
    assert ended == status
    assert {frozenset(one) for one in found} == {
        frozenset({"name", "state", "detail", "remedy", "enterprise"})
    }
    assert any(one["state"] == "bad" for one in found) == bool(status)


async def test_what_a_pbx_says_does_not_steer_the_terminal(
    operate: Operate, pbx: StandIn, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Control characters of a banner are not printed."""
    tell(pbx, monkeypatch, "16.\x1b[31m\x07")
    _, out, _ = await operate("check", "0367")
    assert "\x1b" not in out
    assert "16.?[31m?" in out


@pytest.mark.parametrize("arguments", [["0367", "0368"], ["--jsn"]])
def test_a_wrong_use_is_2(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    """With the usage, before anything is asked."""
    with pytest.raises(SystemExit) as ended:
        main(["check", *arguments])
    assert ended.value.code == 2
    assert "usage: python -m shared.operate" in capsys.readouterr().err
