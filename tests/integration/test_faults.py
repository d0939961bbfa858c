"""What breaks on a PBX host: no phone rings twice, and no error says less than what is so."""

from __future__ import annotations

import asyncio
import contextlib

import httpx
import pytest

from demo.pbx.faults import Stage
from demo.postgres import free_port
from shared.calls import placing
from shared.deadline import Deadline
from shared.errors import ConnectionLost
from shared.following.late import UnknownCall
from shared.ssh.connection import Target
from shared.ssh.login import Credentials, Security, connect
from tests.integration.service import (
    OTHER_PHONE,
    PHONE,
    SSH_PASSWORD,
    TIME_SCALE,
    FreezesAfterBanner,
    Service,
    Services,
    make_pbx,
    until,
)

pytestmark = pytest.mark.anyio

FAILED = "Call initiation failed: SSH command failed: "


class Unwatched:
    """In the place of the watch over late calls, which has tests of its own (test_late_calls)."""

    def watch(self, call: UnknownCall) -> None:
        """Let go of the socket, as on Lambda."""
        if call.pending is not None:
            call.pending.close()


@pytest.fixture
def unwatched(monkeypatch: pytest.MonkeyPatch) -> None:
    """Leave calls of unknown outcome to themselves, so that their claims are what is tested."""
    monkeypatch.setattr(placing, "the_late_calls", Unwatched)


async def _warm(service: Service) -> None:
    """Place another call, so that the next one of 150 is a single exchange: its originate."""
    assert (await service.call(phone=OTHER_PHONE)).status_code == 200
    await service.rung(OTHER_PHONE)


async def _settle_down(service: Service) -> None:
    """Place a last call: when it rings, whatever Asterisk still had before it is done."""
    assert (await service.call("151", OTHER_PHONE)).status_code == 200
    await service.rung("151")


async def _assert_unknown_and_held(service: Service, answer: httpx.Response) -> None:
    """The answer says `unknown`, and a repeat neither dials nor claims success."""
    body = answer.json()
    assert (answer.status_code, body["code"], body["dialled"]) == (
        500,
        "outcome-unknown",
        "unknown",
    )
    assert body["detail"].startswith(FAILED)
    before = service.originates()
    repeat = await service.call()
    assert (repeat.status_code, repeat.json()["success"]) == (200, False)
    assert (repeat.json()["repeated"], repeat.json()["phase"]) == (True, "unknown")
    assert repeat.json()["call_id"] == body["call_id"]
    assert service.originates() == before
    (row,) = (row for row in service.calls() if str(row["call_id"]) == body["call_id"])
    assert (row["state"], row["error_code"]) == ("unknown", "outcome-unknown")


@pytest.mark.parametrize("warm", [False, True])
async def test_a_link_cut_before_the_banner_is_tried_again_at_once(
    service: Service, *, warm: bool
) -> None:
    """Before the banner nothing was sent: a fresh link places the call, and it rings once."""
    if warm:
        await _warm(service)
    connections = service.pbx.connections
    service.pbx.drop_after(Stage.OPEN)
    answer = await service.call()
    assert (answer.status_code, answer.json()["repeated"]) == (200, False)
    assert service.pbx.connections > connections
    assert len(service.originates(PHONE)) == await service.rung(PHONE) == 1


@pytest.mark.usefixtures("unwatched")
@pytest.mark.parametrize(
    ("transport", "stage", "rings"),
    [
        ("socket", Stage.BANNER, 0),
        ("socket", Stage.WRITTEN, 0),
        ("socket", Stage.EXECUTED, 1),
        ("exec", Stage.WRITTEN, 0),
        ("exec", Stage.EXECUTED, 1),
    ],
)
async def test_a_link_cut_after_the_write_is_unknown(
    start: Services, transport: str, stage: Stage, rings: int
) -> None:
    """Once written nobody can tell: `unknown`, never sent again, and its repeat dials nothing."""
    service = await start(ASTERISK_TRANSPORT=transport)
    await _warm(service)
    service.pbx.drop_after(stage, containing="" if stage is Stage.BANNER else PHONE)
    answer = await service.call()
    await _assert_unknown_and_held(service, answer)
    await _settle_down(service)
    assert await service.rung(PHONE, rings) == len(service.originates(PHONE)) == rings


@pytest.mark.usefixtures("unwatched")
@pytest.mark.parametrize("transport", ["socket", "exec"])
@pytest.mark.parametrize("executed", [False, True])
async def test_asterisk_killed_in_mid_command_is_unknown(
    start: Services, transport: str, *, executed: bool
) -> None:
    """A dead Asterisk's silence looks like success: it is `unknown`, and never sent again."""
    service = await start(ASTERISK_TRANSPORT=transport)
    await _warm(service)
    service.pbx.kill_asterisk_after_write(executed=executed, containing=PHONE)
    answer = await service.call()
    await _assert_unknown_and_held(service, answer)
    service.pbx.restart_asterisk()
    await until(lambda: not service.pbx.asterisk_down)
    await _settle_down(service)
    assert len(service.originates(PHONE)) == int(executed)
    assert service.pbx.invites[PHONE] <= int(executed)


async def test_a_frozen_asterisk_before_the_banner_dials_nothing(start: Services) -> None:
    """No banner, nothing written: `dialled` no stays true when Asterisk goes on, repeat dials."""
    service = await start(COMMAND_TIMEOUT_S=1)
    await _warm(service)
    service.pbx.freeze()
    answer = await service.call()
    assert (answer.status_code, answer.json()["code"]) == (500, "asterisk-no-answer")
    assert answer.json()["dialled"] == "no"
    assert answer.json()["detail"].startswith(FAILED)
    service.pbx.thaw()
    await _settle_down(service)
    assert (service.originates(PHONE), service.pbx.invites[PHONE]) == ([], 0)
    again = await service.call()
    assert (again.status_code, again.json()["repeated"]) == (200, False)
    assert len(service.originates(PHONE)) == await service.rung(PHONE) == 1


@pytest.mark.usefixtures("unwatched")
async def test_asterisk_frozen_after_the_banner_may_dial_later(start: Services) -> None:
    """Written to a frozen Asterisk is `unknown`: the phone rings when it goes on, once."""
    pbx = FreezesAfterBanner(password=SSH_PASSWORD, time_scale=TIME_SCALE)
    await start.stack.enter_async_context(pbx)
    service = await start.on(pbx, COMMAND_TIMEOUT_S=1)
    await _warm(service)
    pbx.armed = True
    answer = await service.call()
    await _assert_unknown_and_held(service, answer)
    assert pbx.invites[PHONE] == 0
    pbx.thaw()
    assert len(service.originates(PHONE)) <= await service.rung(PHONE) == 1
    repeat = await service.call()
    assert repeat.json()["repeated"]
    await _settle_down(service)
    assert len(service.originates(PHONE)) == pbx.invites[PHONE] == 1


@pytest.mark.usefixtures("unwatched")
async def test_exec_on_a_frozen_asterisk_is_unknown(start: Services) -> None:
    """`asterisk -rx` sends its command whenever Asterisk goes on: `unknown`, and it rings once."""
    service = await start(ASTERISK_TRANSPORT="exec", COMMAND_TIMEOUT_S=1)
    await _warm(service)
    service.pbx.freeze()
    answer = await service.call()
    await _assert_unknown_and_held(service, answer)
    service.pbx.thaw()
    await _settle_down(service)
    assert await service.rung(PHONE, len(service.originates(PHONE))) <= 1


async def test_the_claim_of_an_unknown_call_ends_with_its_hold(start: Services) -> None:
    """After UNKNOWN_HOLD_S the same click is a new call and dials."""
    service = await start(UNKNOWN_HOLD_S=0.3, REPEAT_WINDOW_S=0.2)
    service.pbx.drop_after(Stage.WRITTEN, containing=PHONE)
    answer = await service.call()
    assert answer.json()["dialled"] == "unknown"
    await until(lambda: service.claims() == 0)
    again = await service.call()
    assert (again.status_code, again.json()["repeated"]) == (200, False)
    assert len(service.originates()) == await service.rung(PHONE) == 1


async def test_a_link_lost_while_idle_is_made_anew(service: Service) -> None:
    """A connection that broke between two calls costs the next one nothing but a new one."""
    await _warm(service)
    connections = service.pbx.connections
    service.pbx.cut_connections()
    answer = await service.call()
    assert (answer.status_code, answer.json()["repeated"]) == (200, False)
    assert service.pbx.connections == connections + 1
    assert len(service.originates(PHONE)) == await service.rung(PHONE) == 1


async def test_a_restarted_asterisk_is_waited_for(service: Service) -> None:
    """A new Asterisk loses calls until it has booted: the call waits for that, and rings once."""
    await _warm(service)
    connections = service.pbx.connections
    service.pbx.restart_asterisk(down_s=0, commands_s=5, dialplan_s=5)
    await until(lambda: not service.pbx.asterisk_down)
    service.pbx.commands.clear()
    answer = await service.call()
    assert answer.status_code == 200
    assert service.pbx.commands[0] == "core waitfullybooted"
    assert service.pbx.connections == connections
    assert len(service.originates(PHONE)) == await service.rung(PHONE) == 1


async def test_an_asterisk_that_dies_as_it_boots_is_told(service: Service) -> None:
    """What waits for its boot is asked again, which tells that nobody listens: `dialled` no."""
    service.pbx.kill_asterisk_after_write(executed=False, containing="waitfullybooted")
    answer = await service.call()
    assert (answer.status_code, answer.json()["code"]) == (500, "asterisk-unavailable")
    assert answer.json()["dialled"] == "no"
    service.pbx.restart_asterisk()
    await until(lambda: not service.pbx.asterisk_down)
    assert (await service.call()).json()["repeated"] is False
    assert len(service.originates(PHONE)) == await service.rung(PHONE) == 1


async def test_an_asterisk_that_boots_too_long_dials_nothing(start: Services) -> None:
    """Not booted in time: `dialled` no, no claim, and later the call rings once."""
    service = await start(COMMAND_TIMEOUT_S=1)
    await _warm(service)
    service.pbx.restart_asterisk(down_s=0, commands_s=200, dialplan_s=5)
    await until(lambda: not service.pbx.asterisk_down)
    answer = await service.call()
    assert (answer.status_code, answer.json()["code"]) == (500, "asterisk-no-answer")
    assert answer.json()["dialled"] == "no"
    assert service.originates(PHONE) == []
    await until(lambda: service.pbx.booted)
    assert (await service.call()).json()["repeated"] is False
    assert len(service.originates(PHONE)) == await service.rung(PHONE) == 1


async def test_a_wrong_password_is_told_without_telling_it(start: Services) -> None:
    """A refused log-in is 500 `ssh-authentication-failed`; the password is nowhere."""
    service = await start(SSH_PASSWORD="not-the-password-77")
    answer = await service.call()
    assert (answer.status_code, answer.json()["code"]) == (500, "ssh-authentication-failed")
    assert answer.json()["dialled"] == "no"
    assert answer.json()["detail"] == (
        f"{FAILED}127.0.0.1 does not accept the password or key of root"
    )
    assert "not-the-password-77" not in answer.text + service.log()
    assert (service.pbx.commands, service.claims()) == ([], 0)


async def test_a_closed_port_is_told(start: Services) -> None:
    """Nobody listens on the SSH port: 500 `ssh-connect-failed`, nothing dialled or claimed."""
    service = await start(SSH_PORT=free_port())
    answer = await service.call()
    assert (answer.status_code, answer.json()["code"]) == (500, "ssh-connect-failed")
    assert (answer.json()["dialled"], answer.json()["detail"]) == (
        "no",
        f"{FAILED}Connection refused",
    )
    assert (service.pbx.connections, service.claims()) == (0, 0)
    monitoring = await service.monitor()
    assert monitoring.json()["detail"] == (
        "Monitoring initiation failed: SSH command failed: Connection refused"
    )


@pytest.mark.parametrize("host_keys", ["pin", "off"])
async def test_a_silent_host_is_the_specification_s_timeout(
    start: Services, host_keys: str
) -> None:
    """A host that accepts and says nothing is the specification's own 500, letter by letter."""
    accepted: list[asyncio.StreamWriter] = []
    async with await asyncio.start_server(
        lambda _reader, writer: accepted.append(writer), "127.0.0.1", 0
    ) as silent:
        port = silent.sockets[0].getsockname()[1]
        service = await start(SSH_PORT=port, SSH_CONNECT_TIMEOUT_S=0.3, SSH_HOST_KEYS=host_keys)
        answer = await service.call()
        for writer in accepted:
            writer.close()
            await writer.wait_closed()
    assert accepted
    assert (answer.status_code, answer.json()["code"]) == (500, "ssh-connect-timeout")
    assert answer.json()["detail"] == (
        "Call initiation failed: SSH command failed: Connection timeout"
    )
    assert answer.json()["dialled"] == "no"
    assert service.claims() == 0


async def test_a_host_that_hangs_up_before_log_in_dials_nothing(start: Services) -> None:
    """What sshd's MaxStartups does, each time: tried again, then 500 with `dialled` no."""
    dropped: list[asyncio.StreamWriter] = []

    async def drop(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        dropped.append(writer)
        writer.close()
        await writer.wait_closed()

    async with await asyncio.start_server(drop, "127.0.0.1", 0) as door:
        service = await start(SSH_PORT=door.sockets[0].getsockname()[1])
        answer = await service.call()
    assert len(dropped) > 1
    assert (answer.status_code, answer.json()["dialled"]) == (500, "no")
    assert answer.json()["code"] == "ssh-connection-lost"
    assert service.claims() == 0


async def test_a_log_in_that_sshd_drops_is_tried_again(start: Services) -> None:
    """Over sshd's MaxStartups a log-in is dropped at random; the next one places the call."""
    pbx = await start.stack.enter_async_context(make_pbx())
    dropped = 0

    async def door(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal dropped
        if dropped < 2:
            dropped += 1
            writer.write(b"Exceeded MaxStartups\r\n")
        else:
            inner = await asyncio.open_connection("127.0.0.1", pbx.port)
            await asyncio.gather(_pump(reader, inner[1]), _pump(inner[0], writer))
        writer.close()

    async with await asyncio.start_server(door, "127.0.0.1", 0) as server:
        service = await start.on(pbx, SSH_PORT=server.sockets[0].getsockname()[1])
        answer = await service.call()
        assert (answer.status_code, answer.json()["repeated"]) == (200, False)
        assert dropped == 2
        assert len(service.originates()) == await service.rung("150") == 1
        await start.end()


async def _pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Relay one direction until its end."""
    with contextlib.suppress(OSError):
        while data := await reader.read(65536):
            writer.write(data)
            await writer.drain()
    writer.close()


@pytest.mark.parametrize("ip", ["", "10.0.0.1; reboot", "-oProxyCommand=x"])
async def test_a_bad_ip_in_the_table_is_the_operator_s_mistake(start: Services, ip: str) -> None:
    """An `ip` that is no address is a clear 500; it reaches no resolver and no shell."""
    service = await start()
    service.postgres.execute("UPDATE enterprises SET ip = :ip", ip=ip)
    answer = await service.call()
    assert (answer.status_code, answer.json()["dialled"]) == (500, "no")
    assert answer.json()["detail"] == f"{FAILED}The enterprise's ip is not an address"
    assert (service.pbx.connections, service.claims()) == (0, 0)


async def test_a_socket_that_closed_after_its_banner_takes_no_command() -> None:
    """Writing to a socket that the host has closed is a ConnectionLost: nothing was sent."""
    async with make_pbx() as pbx:
        deadline = Deadline.after(10)
        connection = await connect(
            Target("127.0.0.1", pbx.port, "root"),
            Security(Credentials(password=SSH_PASSWORD), None),
            deadline=deadline,
            keepalive_s=0,
        )
        stream = await connection.open_socket("/var/run/asterisk/asterisk.ctl", deadline)
        assert b"/" in await stream.read()
        pbx.kill_asterisk()
        assert await stream.read() == b""
        with pytest.raises(ConnectionLost):
            stream.write(b"cli quit after core waitfullybooted\0")
        assert pbx.commands == []
        await connection.close()
