"""A call of unknown outcome that comes up late: found, hung up unless answered, never another's."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from typing import Any
from uuid import UUID, uuid4

import httpx
import pytest

from demo.pbx.faults import Stage
from demo.standin import StandIn
from shared.auth import admission
from shared.following import late
from shared.store import late as stored
from shared.store.database import Database
from tests.integration.service import (
    OTHER_PHONE,
    PHONE,
    SSH_PASSWORD,
    FreezesAfterBanner,
    Service,
    Services,
    until,
)

pytestmark = pytest.mark.anyio

RINGS = "153"  # for six seconds, and nobody answers
SILENT = "157"  # a phone that gives no sign of life
LIFELIKE = 1.0
LISTED = "core show channels concise"


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Look for late calls more often than every second."""
    monkeypatch.setattr(late, "_FIRST_PAUSE_S", 0.03)
    monkeypatch.setattr(late, "_LONGEST_PAUSE_S", 0.06)


async def _start(start: Services, *, scale: float = LIFELIKE, **settings: object) -> Service:
    """Start beside a PBX whose phones ring lifelike, which has served a call already."""
    pbx = FreezesAfterBanner(password=SSH_PASSWORD, time_scale=scale)
    await start.stack.enter_async_context(pbx)
    own: dict[str, object] = {"COMMAND_TIMEOUT_S": 2, "PRECHECK": "off", "PBX_RETRY_S": 1e-9}
    service = await start.on(pbx, **own | settings)
    assert (await service.call("151", OTHER_PHONE)).status_code == 200
    pbx.hang_up_all()
    await until(lambda: not pbx.channels)
    return service


async def _freeze_and_call(service: Service, code: str = RINGS) -> str:
    """Send a call to an Asterisk that stops right before it reads it; its id."""
    assert isinstance(service.pbx, FreezesAfterBanner)
    service.pbx.armed = True
    call_id = _unknown(await service.call(code))
    assert service.pbx.invites[code] == 0
    return call_id


def _unknown(answer: httpx.Response) -> str:
    """Read the id of a call whose outcome the service does not know."""
    assert (answer.status_code, answer.json()["code"]) == (500, "outcome-unknown")
    assert answer.json()["dialled"] == "unknown"
    return str(answer.json()["call_id"])


async def _told(service: Service, call_id: str) -> dict[str, Any]:
    """Wait until the late call is recorded; the record."""
    await until(lambda: service.row(call_id)["state"] == "executed")
    return service.row(call_id)


async def _looked(service: Service, times: int = 4) -> None:
    """Wait until the watch has looked at the channels so often."""
    before = service.pbx.commands.count(LISTED)
    await until(lambda: service.pbx.commands.count(LISTED) >= before + times)


def _hangups(service: Service) -> list[str]:
    return [c for c in service.pbx.commands if c.startswith("channel request hangup")]


async def _assert_hung_up(service: Service, call_id: str, code: str = RINGS) -> None:
    """It is over before anybody answered, recorded, logged, and free to be tried again."""
    row = await _told(service, call_id)
    assert row["error_code"] == "late-call-hung-up"
    told = (await service.http.get(f"/api/calls/{call_id}")).json()
    assert told["ended_by"] is None, "nobody asked for it"
    assert row["root_channel"].startswith(f"Local/{code}@inoffice-")
    assert row["root_uniqueid"]
    assert service.claims(call_id) == 0
    assert f"channel request hangup {row['root_channel']}" in _hangups(service)
    await until(lambda: row["root_channel"] not in service.pbx.channels)
    assert service.pbx.invites[PHONE] == 0
    assert f"Звонок дошёл с опозданием: {call_id} на 127.0.0.1, завершён" in service.log()


async def test_a_late_call_is_hung_up_before_anybody_answers(start: Services) -> None:
    """A thawed Asterisk dials what the caller was told is unknown: it is hung up, and forgotten."""
    service = await _start(start)
    call_id = await _freeze_and_call(service)
    assert service.row(call_id)["state"] == "unknown"
    assert service.claims(call_id) == 1
    service.pbx.thaw()
    await _assert_hung_up(service, call_id)
    assert len(service.originates(PHONE)) == 1
    again = await service.call(RINGS)
    assert (again.status_code, again.json()["repeated"]) == (200, False)
    assert len(service.originates(PHONE)) == 2
    assert service.row(call_id)["error_code"] == "late-call-hung-up"


async def test_a_key_leads_to_its_late_call_for_ever(start: Services) -> None:
    """Its agent's phone has rung: who asks by the key what became of that rings nobody again."""
    service = await _start(start)
    assert isinstance(service.pbx, FreezesAfterBanner)
    service.pbx.armed = True
    call_id = _unknown(await service.call(RINGS, key="click-1"))
    service.pbx.thaw()
    assert (await _told(service, call_id))["error_code"] == "late-call-hung-up"
    again = (await service.call(RINGS, key="click-1")).json()
    assert (again["call_id"], again["repeated"]) == (call_id, True)
    assert len(service.originates(PHONE)) == 1
    without = (await service.call(RINGS)).json()
    assert (without["repeated"], len(service.originates(PHONE))) == (False, 2)


async def test_a_late_monitoring_is_hung_up_too(start: Services) -> None:
    """A supervisor's phone that rings minutes after the click is hung up."""
    service = await _start(start)
    assert (await service.monitor(monitor_from="152")).status_code == 200  # the driver is known
    assert isinstance(service.pbx, FreezesAfterBanner)
    service.pbx.spared = 1  # is there somebody to hear?
    service.pbx.armed = True
    call_id = _unknown(await service.monitor(monitor_from=RINGS))
    service.pbx.thaw()
    await _assert_hung_up(service, call_id)


async def test_late_calls_may_be_kept(start: Services) -> None:
    """LATE_CALL=keep: the call rings on and is recorded; its repeats dial nothing."""
    service = await _start(start, LATE_CALL="keep")
    call_id = await _freeze_and_call(service)
    service.pbx.thaw()
    row = await _told(service, call_id)
    assert row["error_code"] == "late-call"
    assert row["root_channel"] in service.pbx.channels
    assert _hangups(service) == []
    assert f"{call_id} на 127.0.0.1, оставлен" in service.log()
    repeat = await service.call(RINGS)
    assert (repeat.json()["call_id"], repeat.json()["repeated"]) == (call_id, True)
    assert len(service.originates(PHONE)) == await service.rung(RINGS) == 1


async def test_a_late_call_that_was_answered_is_never_hung_up(start: Services) -> None:
    """The agent picked up at once: the call goes on, and is told as a late one."""
    service = await _start(start, scale=0.1)
    call_id = await _freeze_and_call(service, "150")
    service.pbx.thaw()
    row = await _told(service, call_id)
    assert row["error_code"] == "late-call"
    assert _hangups(service) == []
    assert row["root_channel"] in service.pbx.channels
    assert await service.rung(PHONE) == 1
    assert service.claims(call_id) == 1


async def test_by_exec_a_late_call_is_found_among_the_channels(start: Services) -> None:
    """Nothing can be listened on there: the PBX is asked until the call comes up."""
    service = await _start(start, ASTERISK_TRANSPORT="exec")
    service.pbx.freeze()
    call_id = _unknown(await service.call(RINGS))
    service.pbx.thaw()
    await _assert_hung_up(service, call_id)
    assert len(service.originates(PHONE)) == 1


@pytest.mark.parametrize("transport", ["socket", "exec"])
async def test_after_a_lost_connection_a_call_is_found_among_the_channels(
    start: Services, transport: str
) -> None:
    """The command was executed and its answer lost: the phone rings, and is hung up."""
    service = await _start(start, ASTERISK_TRANSPORT=transport)
    service.pbx.drop_after(Stage.EXECUTED, containing=PHONE)
    call_id = _unknown(await service.call(RINGS))
    await _assert_hung_up(service, call_id)
    assert len(service.originates(PHONE)) == 1


async def test_a_connection_lost_while_listening_is_no_end_of_the_watch(start: Services) -> None:
    """The socket of a frozen Asterisk breaks: from then on its channels are looked at."""
    service = await _start(start)
    call_id = await _freeze_and_call(service)
    service.pbx.cut_connections()
    await until(lambda: not service.pbx.live_connections)
    service.pbx.thaw()
    await _assert_hung_up(service, call_id)


@contextlib.asynccontextmanager
async def _never_executed(start: Services) -> AsyncIterator[Service]:
    """Yield a service that looks for a call that was sent and never executed."""
    service = await _start(start)
    service.pbx.drop_after(Stage.WRITTEN, containing=PHONE)
    call_id = _unknown(await service.call(RINGS))
    yield service
    assert _hangups(service) == []
    assert service.row(call_id)["state"] == "unknown"
    assert service.claims(call_id) == 1


async def test_the_root_of_another_call_is_never_hung_up(start: Services) -> None:
    """A later call of the same extension, known by its root, rings undisturbed."""
    async with _never_executed(start) as service:
        other = await service.call(RINGS, OTHER_PHONE)
        assert other.status_code == 200
        await _looked(service)
        assert service.row(other.json()["call_id"])["root_channel"] in service.pbx.channels


async def test_a_call_that_is_being_placed_is_never_hung_up(
    start: Services, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its root rings before it is recorded whose root it is: until then nothing is an orphan."""
    async with _never_executed(start) as service:
        settle, recorded = admission.settle, asyncio.Event()

        async def settle_late(*args: Any, **values: Any) -> bool:
            await recorded.wait()
            return await settle(*args, **values)

        monkeypatch.setattr(admission, "settle", settle_late)
        placing = asyncio.create_task(service.call(RINGS, OTHER_PHONE))
        await until(lambda: bool(service.originates(OTHER_PHONE)))
        await _looked(service)
        assert service.calls()[-1]["state"] == "placing"
        recorded.set()
        assert (await placing).status_code == 200
        await _looked(service)
        assert service.calls()[-1]["root_channel"] in service.pbx.channels


async def test_a_call_whose_root_is_not_known_is_never_hung_up(start: Services) -> None:
    """Accepted without a root, as two at once are: any root may be its own."""
    async with _never_executed(start) as service:
        other = await service.call(RINGS, OTHER_PHONE)
        service.postgres.execute(
            "UPDATE callapi.calls SET root_channel = NULL, root_uniqueid = NULL "
            "WHERE call_id = CAST(:id AS uuid)",
            id=other.json()["call_id"],
        )
        await _looked(service)
        assert any(name.startswith(f"Local/{RINGS}@") for name in service.pbx.channels)


async def test_an_older_root_is_never_hung_up(start: Services) -> None:
    """Somebody else's call to that extension was there before: it is not ours."""
    service = await _start(start)
    await _stranger(service.pbx)
    service.pbx.age_channels(60)
    strangers = set(service.pbx.channels)
    service.pbx.drop_after(Stage.WRITTEN, containing=PHONE)
    call_id = _unknown(await service.call(RINGS))
    await _looked(service)
    assert strangers <= set(service.pbx.channels)
    assert (_hangups(service), service.row(call_id)["state"]) == ([], "unknown")


async def test_after_its_own_answer_nothing_else_is_taken_for_the_call(start: Services) -> None:
    """Asterisk thaws and refuses the command: the next call to that extension is a stranger's."""
    service = await _start(start)
    call_id = await _freeze_and_call(service)
    service.pbx.knows_originate = False
    service.pbx.thaw()
    await until(lambda: not late.the_late_calls()._watches)
    service.pbx.knows_originate = True
    await _stranger(service.pbx)
    strangers = set(service.pbx.channels)
    assert (await service.call("151", PHONE)).status_code == 200
    assert strangers <= set(service.pbx.channels)
    assert (_hangups(service), service.row(call_id)["state"]) == ([], "unknown")


async def _stranger(pbx: StandIn) -> None:
    """Ring the extension from another program."""
    await pbx.run(f"channel originate LOCAL/{RINGS}@inoffice application Wait 60")
    assert any(name.startswith(f"Local/{RINGS}@") for name in pbx.channels)


async def test_two_unknown_calls_at_once_are_each_accounted_for(start: Services) -> None:
    """Both come up when Asterisk thaws: each is hung up, each recorded with its own root."""
    service = await _start(start)
    service.pbx.accepts_while_frozen = True
    service.pbx.freeze()
    codes = (RINGS, SILENT)
    answers = await asyncio.gather(*(service.call(code) for code in codes))
    call_ids = [_unknown(answer) for answer in answers]
    service.pbx.thaw()
    for call_id, code in zip(call_ids, codes, strict=True):
        await _assert_hung_up(service, call_id, code)
    rows = [service.row(call_id) for call_id in call_ids]
    assert len({row["root_uniqueid"] for row in rows}) == 2
    assert len(service.originates(PHONE)) == len(_hangups(service)) == 2


@pytest.mark.parametrize("transport", ["socket", "exec"])
async def test_closing_with_a_watch_open_leaks_nothing(start: Services, transport: str) -> None:
    """The service ends while Asterisk is still frozen: no task, no connection is left."""
    service = await _start(start, ASTERISK_TRANSPORT=transport)
    before = asyncio.all_tasks()
    if transport == "socket":
        call_id = await _freeze_and_call(service)
    else:
        service.pbx.freeze()
        call_id = _unknown(await service.call(RINGS))
    assert late.the_late_calls()._watches
    await start._running.aclose()
    await until(lambda: not service.pbx.live_connections)
    watches = [task for task in asyncio.all_tasks() - before if "LateCalls" in repr(task)]
    assert watches == []
    assert service.row(call_id)["state"] == "unknown"


async def _unknown_call(database: Database, host: str, root: str | None = None) -> UUID:
    """Record a call of extension 153 on a host, of unknown outcome unless its root is known."""
    call_id = uuid4()
    await database.run(
        "INSERT INTO callapi.calls (call_id, enterprise, host, kind, code, phone, state, phase,"
        " root_channel, root_uniqueid) VALUES (:id, '0367', :host, 'call', '153', '+375291234567',"
        " CASE WHEN CAST(:root AS text) IS NULL THEN 'unknown' ELSE 'executed' END, 'unknown',"
        " CAST(:root AS text), CAST(:root AS text))",
        id=call_id,
        host=host,
        root=root,
    )
    return call_id


@pytest.mark.parametrize("host", ["192.0.2.10", "pbx.example.test"])
async def test_what_a_late_answer_shows_is_ours_unless_another_call_has_it(
    database: Database, host: str
) -> None:
    """By any spelling of its host; two unknown calls do not stand in each other's way."""
    for spelling in ("192.0.2.10", "pbx.example.test"):
        await database.run(
            "INSERT INTO callapi.hosts (host, target, addresses)"
            " VALUES (:host, :host, ARRAY['192.0.2.10'])",
            host=spelling,
        )
    ours = await _unknown_call(database, "192.0.2.10")
    await _unknown_call(database, host)
    await _unknown_call(database, host, "17.7")
    await _unknown_call(database, "192.0.2.99", "17.9")  # another PBX has uniqueids of its own
    free = await stored.load_not_owned(
        database, ours, host="192.0.2.10", uniqueids=["17.7", "17.8", "17.9"]
    )
    assert free == {"17.8", "17.9"}
    await database.run(
        "UPDATE callapi.calls SET root_uniqueid = '17.8' WHERE call_id = :id", id=ours
    )
    assert await stored.load_not_owned(database, ours, host="192.0.2.10", uniqueids=["17.8"]) == {
        "17.8"
    }
