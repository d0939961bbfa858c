"""`check` on real Asterisk and sshd: each fault is made, told by its own line, and undone."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import subprocess
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any, TypeAlias

import asyncssh
import pytest

from shared.operate.check import find
from shared.operate.findings import Finding
from shared.settings import Settings
from shared.store.database import Database
from tests.pbx.lab import LIMIT_S, Lab, wait
from tests.pbx.service import environment
from tests.postgres import Postgres

pytestmark = pytest.mark.anyio

Check: TypeAlias = Callable[..., Awaitable[list[Finding]]]

SOCKET = "/var/run/asterisk/asterisk.ctl"
RECORDS = "/var/log/asterisk/cdr-csv"
ROW = '"","150","7","inoffice","","SIP/1","","Dial","","{0}","{0}","{0}",1,1,"ANSWERED","3"\n'


@pytest.fixture
def check(postgres: Postgres, lab: Lab, monkeypatch: pytest.MonkeyPatch) -> Check:
    """Looks at the lab's PBX, with other settings where a test says so."""
    for name in Settings.model_fields:
        monkeypatch.delenv(name.upper(), raising=False)

    async def look(**settings: Any) -> list[Finding]:
        given = environment(postgres, lab, **settings)
        for name, value in given.items():
            monkeypatch.setenv(name, value)
        made = Settings.from_environment(given)
        database = Database(made)
        try:
            found = [one async for one in find(database, made, "0367")]
        finally:
            database.close()
        # What the settings of the test leave open is another test's.
        return [one for one in found if one.enterprise]

    return look


def of(found: list[Finding], name: str) -> Finding:
    """The one finding of that name."""
    (one,) = [finding for finding in found if finding.name == name]
    return one


def bad(found: list[Finding]) -> list[str]:
    """The names of what must be mended."""
    return [one.name for one in found if one.state == "bad"]


async def test_a_healthy_pbx_is_good_and_is_not_called(check: Check, lab: Lab) -> None:
    """Every step is good once the key is pinned, by password and by key; no call is processed."""
    before = lab.calls_processed()
    await check()
    found = await check()
    assert {one.name: one.state for one in found if one.state != "good"} == {}
    assert of(found, "channel drivers").detail == lab.technology
    assert of(found, "version").detail.startswith({"16": "16.28", "22": "22.10"}[lab.version])
    by_key = await check(SSH_PASSWORD="", SSH_PRIVATE_KEY=lab.private_key_path)
    assert bad(by_key) == []
    assert lab.calls_processed() == before
    assert lab.channels() == []


async def test_the_room_is_the_disks_own(check: Check, lab: Lab) -> None:
    """By SFTP of a real sshd, what the file system itself tells."""
    told = os.statvfs(lab.root / RECORDS[1:])
    detail = of(await check(), "disk").detail
    match = re.fullmatch(r"(\d+) of (\d+) MiB are free in " + RECORDS, detail)
    assert match is not None
    assert int(match[2]) == told.f_blocks * told.f_frsize // 2**20
    free = told.f_bavail * told.f_frsize // 2**20
    assert abs(int(match[1]) - free) < free / 10 + 100  # others write meanwhile


# The way there


@pytest.mark.parametrize(
    ("settings", "name", "detail", "remedy"),
    [
        ({"SSH_PORT": "1"}, "port", "Connection refused", "start sshd on 127.0.0.1"),
        ({"SSH_PASSWORD": "wrong"}, "log-in", "127.0.0.1 does not accept", "Set SSH_USER"),
        (
            {
                "SSH_PASSWORD": "",
                "SSH_PRIVATE_KEY": asyncssh.generate_private_key("ssh-ed25519")
                .export_private_key()
                .decode(),
            },
            "log-in",
            "127.0.0.1 does not accept",
            "Set SSH_USER",
        ),
        (
            {"DIALPLAN_CONTEXT": "outside"},
            "dialplan context",
            "the dialplan has no context outside",
            "Set DIALPLAN_CONTEXT",
        ),
        (
            {"CHANNEL_TECHNOLOGY": "IAX2"},
            "channel drivers",
            "CHANNEL_TECHNOLOGY is IAX2",
            "CHANNEL_TECHNOLOGY=auto",
        ),
        (
            {"CDR_FILE": "/var/log/asterisk/cdr-csv/None.csv"},
            "records file",
            "The host has no file",
            "Load Asterisk's module cdr_csv",
        ),
        (
            {"SSH_USER": "operator", "ASTERISK_COMMAND": "/usr/sbin/asterisk"},
            "console",
            f"SSH_USER may not open {SOCKET}",
            "astctlpermissions=0660",
        ),
    ],
)
async def test_a_wrong_setting_is_named(
    check: Check, *, settings: dict[str, Any], name: str, detail: str, remedy: str
) -> None:
    """It is the one bad line."""
    found = await check(**settings)
    assert bad(found) == [name]
    assert detail in of(found, name).detail
    assert remedy in of(found, name).remedy


async def test_a_name_that_does_not_resolve_is_named(check: Check, postgres: Postgres) -> None:
    """Nothing after it is looked at."""
    postgres.execute("UPDATE enterprises SET ip = 'no-such-host.example.test'")
    found = await check()
    assert bad(found) == ["name"]
    assert {one.state for one in found[2:]} == {"skipped"}


async def test_a_changed_host_key_is_named(check: Check, lab: Lab, postgres: Postgres) -> None:
    """Both fingerprints are shown, and no password is sent."""
    other = asyncssh.generate_private_key("ssh-ed25519").export_public_key().decode().strip()
    postgres.execute(
        "INSERT INTO callapi.host_keys (host, port, key) VALUES ('127.0.0.1', :port, :key)",
        port=lab.ssh_port,
        key=other,
    )
    found = await check()
    assert bad(found) == ["host key"]
    assert of(found, "host key").detail.count("SHA256:") == 2
    assert of(found, "log-in").state == "skipped"


async def test_forwarding_that_sshd_forbids_is_named(check: Check, lab: Lab) -> None:
    """A warning while `asterisk -rx` works; bad where it does not."""
    found = await check(SSH_PORT=lab.no_forwarding_port)
    assert bad(found) == []
    console = of(found, "console")
    assert (console.state, f"sshd does not forward to {SOCKET}" in console.detail) == (
        "warning",
        True,
    )
    assert "AllowStreamLocalForwarding" in console.remedy
    found = await check(SSH_PORT=lab.no_forwarding_port, ASTERISK_COMMAND="/opt/asterisk")
    assert bad(found) == ["console"]
    assert "have ASTERISK_COMMAND work" in of(found, "console").remedy


# The control socket


@contextlib.contextmanager
def permissions(path: Path, mode: int) -> Iterator[None]:
    """Have a path's mode be another one for a while."""
    before = path.stat().st_mode & 0o7777
    path.chmod(mode)
    try:
        yield
    finally:
        path.chmod(before)


async def test_a_socket_that_the_user_may_not_open_is_named(check: Check, lab: Lab) -> None:
    """Through sudo a warning, and once all may open it, or its folder is closed, as it is then."""
    operator = {"SSH_USER": lab.plain_user, "ASTERISK_COMMAND": "sudo /usr/sbin/asterisk"}
    slower = await check(**operator)
    assert bad(slower) == []
    assert f"SSH_USER may not open {SOCKET}" in of(slower, "console").detail
    assert "astctlgroup, a group" in of(slower, "console").remedy
    folder = lab.root / "run" / "asterisk"
    with permissions(folder, 0o700):
        closed = await check(**operator)
    assert of(closed, "console") == of(slower, "console")
    with permissions(folder / "asterisk.ctl", 0o777):
        opened = await check(SSH_USER=lab.plain_user)
    assert of(opened, "console").detail == "control socket: milliseconds a command"


@contextlib.contextmanager
def of_the_group(lab: Lab) -> Iterator[None]:
    """Have Asterisk's group, and the plain user in it, open the control socket for a while."""
    path = lab.root / "etc/asterisk/asterisk.conf"
    before = path.read_text()
    inside = ["/usr/sbin/chroot", str(lab.root), "/usr/bin/env", "PATH=/usr/sbin:/usr/bin"]
    path.write_text(f"{before}\n[files]\nastctlpermissions=0660\nastctlgroup=asterisk\n")
    try:
        subprocess.run([*inside, "usermod", "-aG", "asterisk", lab.plain_user], check=True)
        lab.kill()
        lab.restart()
        yield
    finally:
        path.write_text(before)
        subprocess.run([*inside, "gpasswd", "-d", lab.plain_user, "asterisk"], check=False)
        lab.kill()
        lab.restart()


async def test_a_socket_of_the_users_group_is_his_to_open(check: Check, lab: Lab) -> None:
    """What the remedy says: by astctlpermissions=0660, and a group of Asterisk's own user."""
    with of_the_group(lab):
        found = await check(SSH_USER=lab.plain_user)
    assert of(found, "console").detail == "control socket: milliseconds a command"
    assert of(found, "originate").state == "good"


async def test_a_socket_that_is_elsewhere_is_named(check: Check) -> None:
    """`asterisk -rx` finds it by Asterisk's own settings."""
    found = await check(ASTERISK_SOCKET="/var/run/asterisk/other.ctl")
    assert bad(found) == []
    assert "the PBX has no /var/run/asterisk/other.ctl" in of(found, "console").detail
    assert "Correct ASTERISK_SOCKET" in of(found, "console").remedy


# Asterisk


async def test_a_stopped_asterisk_is_named(check: Check, lab: Lab) -> None:
    """Killed, it leaves its socket; ended in good order, it does not. It is stopped either way."""
    lab.kill()
    try:
        found = await check()
        assert bad(found) == ["console"]
        assert of(found, "console").detail.startswith("Asterisk is stopped: nobody listens")
        assert of(found, "console").remedy == "Start Asterisk on 127.0.0.1"
        lab.restart()
        pid = lab.pid()
        lab.rx("core stop now")
        wait(lambda: not lab._mine(pid), LIMIT_S, "Asterisk does not end")
        found = await check()
        assert bad(found) == ["console"]
        assert of(found, "console").detail.startswith("Asterisk is stopped")
        assert "Start Asterisk on 127.0.0.1" in of(found, "console").remedy
    finally:
        lab.restart()


async def test_a_frozen_asterisk_is_named(check: Check, lab: Lab) -> None:
    """It accepts and says nothing: it hangs, and is not taken for stopped or forbidden."""
    lab.freeze()
    try:
        found = await check(COMMAND_TIMEOUT_S=4)
    finally:
        lab.thaw()
    assert bad(found) == ["console"]
    assert of(found, "console").detail == "Asterisk does not answer on its control socket"
    assert "hangs or is starting" in of(found, "console").remedy
    assert of(found, "SFTP").state == "good"


@contextlib.contextmanager
def unloaded(lab: Lab, module: str) -> Iterator[None]:
    """Have Asterisk do without a module for a while."""
    lab.rx(f"module unload {module}")
    try:
        yield
    finally:
        lab.rx(f"module load {module}")


@pytest.mark.parametrize("transport", ["socket", "exec"])
async def test_an_asterisk_that_cannot_originate_is_named(
    check: Check, lab: Lab, transport: str
) -> None:
    """Without res_clioriginate all else is well."""
    with unloaded(lab, "res_clioriginate.so"):
        found = await check(ASTERISK_TRANSPORT=transport)
    assert bad(found) == ["originate"]
    assert "res_clioriginate" in of(found, "originate").remedy
    assert of(await check(ASTERISK_TRANSPORT=transport), "originate").state == "good"


async def test_an_originate_that_is_not_permitted_is_named(check: Check, lab: Lab) -> None:
    """By cli_permissions.conf, which holds for root too."""
    path = lab.root / "etc/asterisk/cli_permissions.conf"
    before = path.read_text()
    path.write_text("[general]\ndefault_perm=permit\n[root]\ndeny=channel originate\n")
    try:
        lab.rx("cli reload permissions")
        found = await check()
    finally:
        path.write_text(before)
        lab.rx("cli reload permissions")
    assert bad(found) == ["originate"]
    assert of(found, "originate").remedy == "Permit it in cli_permissions.conf"


async def test_records_that_are_not_written_are_named(check: Check, lab: Lab) -> None:
    """Without cdr_csv."""
    with unloaded(lab, "cdr_csv.so"):
        found = await check()
    assert bad(found) == ["call records"]
    assert "Load cdr_csv" in of(found, "call records").remedy
    assert of(await check(), "call records").state == "good"


# Files, the disk, the clock


@contextlib.contextmanager
def written(path: Path, text: str) -> Iterator[None]:
    """Have a file for a while."""
    path.write_text(text)
    try:
        yield
    finally:
        path.unlink()


async def test_a_file_of_16_columns_is_named(check: Check, lab: Lab) -> None:
    """As with loguniqueid=no: nothing tells the zone of its times."""
    path = lab.root / "tmp" / "16.csv"
    with written(path, ROW.format("2026-11-23 12:02:59") * 3):
        os.utime(path, (0, 0))  # nor does the time of its last writing
        found = await check(CDR_FILE="/tmp/16.csv")
    assert bad(found) == ["records file"]
    assert "of 16 columns; none tells its zone" in of(found, "records file").detail
    assert "loguniqueid=yes" in of(found, "records file").remedy


@contextlib.contextmanager
def no_room(lab: Lab) -> Iterator[str]:
    """A disk of 2 MiB that is full, within the PBX's own folder; its path there."""
    path = lab.root / "mnt" / "records"
    path.mkdir(parents=True, exist_ok=True)
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", path], check=True)
    try:
        (path / "filler").write_bytes(b"\0" * (2**21 - 2**16))
        yield "/mnt/records"
    finally:
        subprocess.run(["umount", path], check=True)
        path.rmdir()


async def test_a_disk_that_is_full_is_named(check: Check, lab: Lab) -> None:
    """By SFTP of a real sshd; before it is full, it is warned of."""
    with no_room(lab) as folder:
        found = await check(CDR_FILE=f"{folder}/Master.csv")
        (lab.root / "mnt" / "records" / "filler").unlink()
        little = await check(CDR_FILE=f"{folder}/Master.csv")
    disk = of(found, "disk")
    assert (disk.state, disk.detail) == (
        "bad",
        f"0 of 2 MiB are free in {folder}: call records are lost",
    )
    assert "Delete old logs" in disk.remedy
    assert of(little, "disk").state == "warning"
    assert of(little, "disk").detail.startswith("2 of 2 MiB")


@contextlib.contextmanager
def another_sshd(lab: Lab, change: Callable[[str], str]) -> Iterator[int]:
    """The PBX's own sshd once more, with a changed configuration; its port."""
    port = lab.ssh_port + 20
    own = (lab.root / "etc/ssh/lab.conf").read_text().replace(str(lab.ssh_port), str(port))
    path = lab.root / "etc/ssh/another.conf"
    with written(path, change(own)):
        inside = ["/usr/sbin/chroot", str(lab.root)]
        subprocess.run([*inside, "/usr/sbin/sshd", "-f", "/etc/ssh/another.conf"], check=True)
        pid_file = lab.root / "run" / f"sshd-{port}.pid"
        wait(pid_file.exists, LIMIT_S, "sshd does not start")
        try:
            yield port
        finally:
            os.kill(lab._pid(pid_file.name), signal.SIGTERM)
            wait(lambda: not pid_file.exists(), LIMIT_S, "sshd does not end")


async def test_an_sshd_without_sftp_is_named(check: Check, lab: Lab) -> None:
    """No subsystem: neither the file nor the disk can be looked at."""
    with another_sshd(lab, lambda own: own.replace("Subsystem", "#Subsystem")) as port:
        found = await check(SSH_PORT=port)
    assert bad(found) == ["SFTP"]
    assert "Subsystem sftp internal-sftp" in of(found, "SFTP").remedy
    assert {of(found, name).state for name in ("records file", "disk")} == {"skipped"}
    assert of(found, "clock").state == "good"


async def test_a_clock_that_is_wrong_is_named(check: Check, lab: Lab) -> None:
    """The PBX has this machine's clock, so its `date` is another program for a while."""
    path = lab.root / "usr/local/bin/date"
    with written(path, '#!/bin/sh\nexec /bin/date -d "1 hour ago" "$@"\n'):
        path.chmod(0o755)
        found = await check()
    assert bad(found) == []
    assert of(found, "clock").state == "warning"
    assert re.match(r"3[56]\d\d s behind", of(found, "clock").detail)
    assert "NTP" in of(found, "clock").remedy
