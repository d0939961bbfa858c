"""The two ways to Asterisk: its control socket through SSH, and `asterisk -rx`."""

from __future__ import annotations

import asyncio

import pytest

from shared.asterisk import originating
from shared.asterisk.models import Channel
from tests.integration.followed import BUSY, follow, place
from tests.integration.service import OTHER_PHONE, PHONE, Service, Services, make_pbx, until

pytestmark = pytest.mark.anyio

WARM_UP = 1  # the one `true` that each new connection runs


async def _cut(service: Service) -> None:
    """Cut every SSH connection of the host."""
    service.pbx.cut_connections()
    await until(lambda: not service.pbx.live_connections)


async def test_the_control_socket_is_the_way(service: Service) -> None:
    """By default a call goes through the control socket; nothing is executed in a shell."""
    assert (await service.call()).status_code == 200
    assert service.pbx.opens > 0
    assert service.pbx.sessions == WARM_UP
    assert len(service.originates()) == await service.rung("150") == 1


async def test_a_refused_socket_gives_way_to_exec(service: Service) -> None:
    """Where sshd forbids the forwarding, `asterisk -rx` takes over, and the phone rings once."""
    service.pbx.refuse_forwarding = True
    answer = await service.call()
    assert (answer.status_code, answer.json()["repeated"]) == (200, False)
    assert service.pbx.opens == 0
    assert service.pbx.sessions > WARM_UP
    assert len(service.originates()) == await service.rung("150") == 1
    (row,) = service.calls()
    assert row["root_channel"].startswith("Local/150@inoffice-")


async def test_the_next_connection_tries_the_socket_again(service: Service) -> None:
    """Exec holds for one connection: once the host allows forwarding, the next one uses it."""
    service.pbx.refuse_forwarding = True
    await service.call()
    service.pbx.refuse_forwarding = False
    await service.call(phone=OTHER_PHONE)
    assert service.pbx.opens == 0
    await _cut(service)
    assert (await service.call("151")).status_code == 200
    assert service.pbx.opens > 0
    assert len(service.originates("LOCAL/151@")) == await service.rung("151") == 1


async def test_a_socket_refused_for_a_moment_is_tried_again(service: Service) -> None:
    """Up to two refusals, as a full backlog makes them, cost a moment and no change of way."""
    refusals = iter([True, True])

    class RefusesTwice:
        def __bool__(self) -> bool:
            return next(refusals, False)

    service.pbx.refuse_forwarding = RefusesTwice()  # type: ignore[assignment]
    assert (await service.call()).status_code == 200
    assert next(refusals, None) is None
    assert service.pbx.sessions == WARM_UP
    assert len(service.originates()) == await service.rung("150") == 1


async def test_socket_alone_never_executes(start: Services) -> None:
    """ASTERISK_TRANSPORT=socket reports the refusal, with both of its causes, and dials nothing."""
    service = await start(ASTERISK_TRANSPORT="socket")
    service.pbx.refuse_forwarding = True
    answer = await service.call()
    assert (answer.status_code, answer.json()["code"]) == (500, "asterisk-unavailable")
    assert answer.json()["dialled"] == "no"
    assert "/var/run/asterisk/asterisk.ctl" in answer.json()["detail"]
    assert "stream-local forwarding" in answer.json()["detail"]
    assert service.pbx.sessions == WARM_UP
    assert (service.pbx.commands, service.pbx.invites.total(), service.claims()) == ([], 0, 0)


async def test_exec_alone_never_opens_the_socket(start: Services) -> None:
    """ASTERISK_TRANSPORT=exec is the specification's way from the start, and finds the root too."""
    service = await start(ASTERISK_TRANSPORT="exec")
    assert (await service.call()).status_code == 200
    assert service.pbx.opens == 0
    assert len(service.originates()) == await service.rung("150") == 1
    (row,) = service.calls()
    assert row["root_channel"] in service.pbx.channels


async def test_exec_finds_in_the_records_what_it_could_not_see(
    start: Services, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An extension that is busy at once is gone between two commands: the records tell its end.

    So they do of each that follows: the one before, of which they tell as well, is another's.
    """

    def gone(*_: object) -> tuple[Channel, ...]:
        return ()

    monkeypatch.setattr(originating, "roots_of", gone)
    service = await follow(start, 0.001, ASTERISK_TRANSPORT="exec")
    roots = set()
    for phone in (PHONE, OTHER_PHONE, BUSY):
        call_id = await place(service, "155", phone)
        await until(lambda: service.row(call_id)["phase"] == "ended")  # noqa: B023 - awaited here
        row = service.row(call_id)
        assert (row["reason"], row["cdr"]) == ("agent_busy", "confirmed")
        roots.add(row["root_channel"])
    assert len(roots) == len(service.originates("LOCAL/155@")) == 3


async def test_exec_may_go_through_sudo(start: Services) -> None:
    """ASTERISK_COMMAND is what the host's shell runs, e.g. through sudo."""
    service = await start(ASTERISK_TRANSPORT="exec", ASTERISK_COMMAND="sudo asterisk")
    assert (await service.call()).status_code == 200
    assert len(service.originates()) == await service.rung("150") == 1


async def test_sudo_may_say_something_before_each_reply(start: Services) -> None:
    """Replies are found among other lines: a call is placed, and ended when it is asked to be."""
    service = await start(ASTERISK_TRANSPORT="exec", ASTERISK_COMMAND="sudo asterisk")
    service.pbx.sudo_says = "sudo: unable to resolve host pbx: Name or service not known\n"
    service.pbx.time_scale = 1  # or the call would soon be over
    answer = await service.call()
    assert answer.status_code == 200
    assert await service.rung("150") == 1
    ended = await service.http.delete(f"/api/calls/{answer.json()['call_id']}")
    assert ended.status_code == 200
    await until(lambda: not service.pbx.channels)


async def test_a_wrong_asterisk_command_is_named(start: Services) -> None:
    """A command that the host does not have is named together with its setting."""
    service = await start(ASTERISK_TRANSPORT="exec", ASTERISK_COMMAND="/opt/nosuch/asterisk")
    answer = await service.call()
    assert (answer.status_code, answer.json()["code"]) == (500, "asterisk-unavailable")
    assert answer.json()["detail"] == (
        "Call initiation failed: SSH command failed: "
        "The host cannot run `/opt/nosuch/asterisk`: set ASTERISK_COMMAND"
    )
    assert answer.json()["dialled"] == "no"
    assert (service.pbx.invites.total(), service.claims()) == (0, 0)


@pytest.mark.parametrize("transport", ["auto", "socket", "exec"])
@pytest.mark.parametrize("fault", ["asterisk_down", "not_permitted"])
async def test_a_stopped_asterisk_dials_nothing(
    start: Services, transport: str, fault: str
) -> None:
    """A stopped or forbidden Asterisk is 500, `dialled` no; once it is back the call rings once."""
    service = await start(ASTERISK_TRANSPORT=transport)
    setattr(service.pbx, fault, True)
    answer = await service.call()
    assert (answer.status_code, answer.json()["code"]) == (500, "asterisk-unavailable")
    assert answer.json()["dialled"] == "no"
    assert (service.pbx.commands, service.claims()) == ([], 0)
    setattr(service.pbx, fault, False)
    again = await service.call()
    assert (again.status_code, again.json()["repeated"]) == (200, False)
    assert len(service.originates()) == await service.rung("150") == 1


async def test_a_host_without_exec_serves_by_its_socket(service: Service) -> None:
    """Where sshd opens no session at all, the control socket is enough."""
    service.pbx.max_sessions = 0
    assert (await service.call()).status_code == 200
    assert service.pbx.sessions == 0
    assert len(service.originates()) == await service.rung("150") == 1


@pytest.mark.parametrize("transport", ["auto", "exec"])
async def test_a_host_that_allows_nothing_dials_nothing(start: Services, transport: str) -> None:
    """Neither socket nor exec: a 500 that says so, `dialled` no."""
    service = await start(ASTERISK_TRANSPORT=transport)
    service.pbx.max_sessions = 0
    service.pbx.refuse_forwarding = True
    answer = await service.call()
    assert (answer.status_code, answer.json()["dialled"]) == (500, "no")
    assert answer.json()["code"] in {"asterisk-unavailable", "asterisk-socket-refused"}
    assert (service.pbx.commands, service.claims()) == ([], 0)


async def test_one_session_at_once_is_enough(service: Service) -> None:
    """MaxSessions 1 without forwarding: calls that come together are placed one after the other."""
    service.pbx.refuse_forwarding, service.pbx.max_sessions = True, 1
    extensions = ("150", "151", "154", "156")
    answers = await asyncio.gather(*(service.call(extension) for extension in extensions))
    assert [answer.status_code for answer in answers] == [200] * 4
    assert [await service.rung(extension) for extension in extensions] == [1] * 4


@pytest.mark.parametrize("transport", ["socket", "exec"])
async def test_a_pjsip_host_is_recognised(start: Services, transport: str) -> None:
    """A host with PJSIP alone is spied on by that name, without a setting."""
    pbx = await start.stack.enter_async_context(make_pbx(version="22"))
    service = await start.on(pbx, ASTERISK_TRANSPORT=transport)
    answer = await service.monitor()
    assert (answer.status_code, answer.json()["target_channel"]) == (200, "PJSIP/150")
    assert answer.json()["message"].endswith("PJSIP/150")
    assert service.originates() == [
        "channel originate LOCAL/151@inoffice application ChanSpy PJSIP/150-0,bqE"
    ]
    assert await service.rung("151") == 1
    assert (await service.call()).status_code == 200
    assert await service.rung(PHONE) == 1


async def test_the_technology_may_be_set(start: Services) -> None:
    """CHANNEL_TECHNOLOGY is taken as it is, and the host is not asked."""
    pbx = await start.stack.enter_async_context(make_pbx(version="22"))
    service = await start.on(pbx, CHANNEL_TECHNOLOGY="PJSIP")
    answer = await service.monitor()
    assert answer.json()["target_channel"] == "PJSIP/150"
    assert "core show channeltypes" not in service.pbx.commands
    assert await service.rung("151") == 1
