"""Files of a PBX host, over SFTP: what is read, and what each way of failing is called."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import anyio
import pytest

from demo.pbx.files import Files
from demo.standin import StandIn
from shared.deadline import Deadline
from shared.errors import CdrUnreadable, ConnectionLost, SocketRefused
from shared.pbx.connecting import open_pool
from shared.pbx.hosts import Pbx
from shared.settings import Settings
from shared.ssh.connection import Connection, Target
from shared.ssh.files import FileSlice, FileUnreadable
from shared.ssh.login import Credentials, Security, connect
from shared.store.connection import Rows
from tests.integration.service import SSH_PASSWORD, make_pbx, until

pytestmark = pytest.mark.anyio

PATH = "/var/log/asterisk/cdr-csv/Master.csv"
TEXT = b"0123456789"


@asynccontextmanager
async def connected(**faults: object) -> AsyncIterator[tuple[StandIn, Connection]]:
    """A stand-in whose file holds ten digits, and a connection to it."""
    async with make_pbx() as pbx:
        pbx.write_cdr(TEXT.decode())
        for name, value in faults.items():
            setattr(pbx, name, value)
        target = Target("127.0.0.1", pbx.port, "root")
        security = Security(Credentials(password=SSH_PASSWORD), None)
        connection = await connect(target, security, deadline=Deadline.after(20), keepalive_s=0)
        yield pbx, connection
        connection.abort()


class _Forgetful:
    """A database that takes whatever is noted, and keeps nothing."""

    async def run(self, _sql: str, **_parameters: object) -> Rows:
        """Take it."""
        return []


@asynccontextmanager
async def pooled(**options: object) -> AsyncIterator[tuple[StandIn, Pbx]]:
    """The same host behind the pool that the service has."""
    async with make_pbx() as standin:
        standin.write_cdr(TEXT.decode())
        environment = {"SSH_PORT": str(standin.port), "SSH_PASSWORD": SSH_PASSWORD}
        given = {name: str(value) for name, value in options.items()}
        settings = Settings.from_environment(environment | given)
        pbx = Pbx(settings, open_pool(settings, None), _Forgetful())  # type: ignore[arg-type] # fake
        yield standin, pbx
        await pbx.close()


@pytest.mark.parametrize(
    ("offset", "length", "start", "data"),
    [
        (0, 100, 0, TEXT),
        (2, 3, 2, b"234"),
        (10, 5, 10, b""),
        (11, 5, 11, b""),
        (-4, 100, 6, b"6789"),
        (-4, 2, 6, b"67"),
        (-40, 3, 0, b"012"),
    ],
)
async def test_a_part_of_a_file_is_read(offset: int, length: int, start: int, data: bytes) -> None:
    """From an offset or the end; beyond the end there is nothing; the size is always told."""
    async with connected() as (_, connection):
        part = await connection.read_file(PATH, offset, length, Deadline.after(20))
    assert part == FileSlice(10, start, data)


async def test_many_blocks_are_one_answer() -> None:
    """A part that is longer than SFTP's largest answer comes whole."""
    async with connected() as (pbx, connection):
        pbx.replace_cdr(TEXT.decode() * 100_000)
        part = await connection.read_file(PATH, 5, 900_000, Deadline.after(20))
    assert part == FileSlice(1_000_000, 5, (TEXT * 100_000)[5:900_005])


@pytest.mark.parametrize(
    ("path", "faults", "cause"),
    [
        ("/etc/nosuch", {}, "missing"),
        (PATH, {"cdr_missing": True}, "missing"),
        (PATH, {"cdr_denied": True}, "denied"),
        (PATH, {"refuse_sftp": True}, "no-sftp"),
        (PATH, {"sftp_greeting": b"\n"}, "no-sftp"),
        (PATH, {"sftp_greeting": b"Welcome to the PBX\n"}, "no-sftp"),
    ],
)
async def test_an_unreadable_file_says_why(
    path: str, faults: dict[str, object], cause: str
) -> None:
    """No such file, no permission, no SFTP; the connection is as good as before.

    A login shell that greets leaves no SFTP, unless sshd has its own: no other CDR_FILE helps.
    """
    async with connected(**faults) as (pbx, connection):
        with pytest.raises(FileUnreadable) as raised:
            await connection.read_file(path, 0, 10, Deadline.after(20))
        assert raised.value.cause == cause
        for name, value in faults.items():
            setattr(pbx, name, type(value)())
        assert (await connection.read_file(PATH, 0, 10, Deadline.after(20))).data == TEXT


async def test_no_session_left_is_worth_another_attempt() -> None:
    """Where sshd's MaxSessions are taken, nothing was read: the error says `again`."""
    async with connected(max_sessions=0) as (_, connection):
        with pytest.raises(SocketRefused):
            await connection.read_file(PATH, 0, 10, Deadline.after(20))


async def test_sessions_wait_for_each_other() -> None:
    """What sshd's MaxSessions leaves no room for begins as soon as another of ours has ended."""
    async with pooled() as (standin, pbx):
        standin.max_sessions = 1
        ended: list[int | None] = []

        async def run(connection: Connection) -> None:
            running = await connection.start("true", Deadline.after(20))
            while not running.has_ended:
                await running.progress(Deadline.after(20))
            ended.append(running.exit_status)

        async def read(connection: Connection) -> None:
            part = await connection.read_file(PATH, 0, 10, Deadline.after(20))
            ended.append(0 if part.data == TEXT else None)

        async with anyio.create_task_group() as tasks:
            for use in (run, read) * 4:
                tasks.start_soon(pbx.use, "127.0.0.1", Deadline.after(20), use)
        assert ended == [0] * 8


async def test_each_session_is_closed() -> None:
    """Reading more often than sshd has sessions works: none is kept."""
    async with connected(max_sessions=2) as (pbx, connection):
        for _ in range(10):
            await until(lambda: not pbx.live_sessions)
            await connection.read_file(PATH, 0, 10, Deadline.after(20))
        await until(lambda: not pbx.live_sessions)


async def test_a_cut_link_is_a_lost_connection(monkeypatch: pytest.MonkeyPatch) -> None:
    """A link that breaks while the file is read may be replaced: ConnectionLost says `again`."""
    async with connected() as (pbx, connection):

        def cut(*_: object) -> bytes:
            pbx.cut_connections()
            return b""

        monkeypatch.setattr(Files, "read", cut)
        with pytest.raises(ConnectionLost):
            await connection.read_file(PATH, 0, 10, Deadline.after(20))
        with pytest.raises(ConnectionLost):
            await connection.read_file(PATH, 0, 10, Deadline.after(20))


async def test_a_host_that_stands_still_ends_with_the_deadline(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A read that nothing answers is given up in time, as a connection of no more use."""

    async def stand_still(*_: object) -> bytes:
        await anyio.sleep_forever()
        raise AssertionError

    async with connected() as (_, connection):
        monkeypatch.setattr(Files, "read", stand_still)
        with anyio.fail_after(60), pytest.raises(ConnectionLost):
            await connection.read_file(PATH, 0, 10, Deadline.after(1))


async def test_the_pbx_reads_on_a_fresh_connection(monkeypatch: pytest.MonkeyPatch) -> None:
    """Reading changes nothing, so a cut link costs one more connection and no error."""
    read = Files.read
    async with pooled() as (standin, pbx):
        lives = iter([True])

        def cut_once(self: Files, file: object, offset: int, size: int) -> bytes:
            if next(lives, False):
                standin.cut_connections()
            return read(self, file, offset, size)

        monkeypatch.setattr(Files, "read", cut_once)
        part = await pbx.read_file("127.0.0.1", PATH, 0, 10, Deadline.after(20))
        assert part.data == TEXT
        assert standin.connections == 2


@pytest.mark.parametrize(
    ("fault", "named"),
    [
        ({"cdr_missing": True}, ("cdr_csv", "CDR_FILE", PATH)),
        ({"cdr_denied": True}, ("SSH_USER", "CDR_FILE", PATH)),
        ({"refuse_sftp": True}, ("SFTP", PATH)),
    ],
)
async def test_the_pbx_says_what_to_do(fault: dict[str, bool], named: tuple[str, ...]) -> None:
    """The records' error names the file, the setting and the module; it is not asked again."""
    async with pooled() as (standin, pbx):
        for name, value in fault.items():
            setattr(standin, name, value)
        with pytest.raises(CdrUnreadable) as raised:
            await pbx.read_file("127.0.0.1", PATH, 0, 10, Deadline.after(20))
        assert all(name in raised.value.reason for name in named)
        assert (standin.connections, standin.sessions) == (1, 2)


async def test_a_host_without_sessions_is_unreadable_in_the_end() -> None:
    """Refused sessions are tried again; then the records cannot be had, whatever the cause."""
    async with pooled() as (standin, pbx):
        standin.max_sessions = 0
        with pytest.raises(CdrUnreadable, match="SFTP session"):
            await pbx.read_file("127.0.0.1", PATH, 0, 10, Deadline.after(20))
