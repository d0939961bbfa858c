"""How many calls may be open at once, of an enterprise and of an extension."""

from __future__ import annotations

from datetime import datetime

import anyio
import pytest

from shared.auth.admission import Admitted
from shared.errors import LimitExceeded, TooManyOpen
from shared.store.database import Database
from shared.store.followed import Change
from shared.store.leases import Lease
from tests.integration.followed import TALKS_ON, by_either, place, reach, tracked
from tests.integration.service import OTHER_PHONE, Service, Services, until
from tests.integration.toll import HOST, SECRETS, TollDesk
from tests.orders import call_order, monitor_order
from tests.postgres import Postgres

pytestmark = pytest.mark.anyio

PHONES = [f"+3752900000{n:02}" for n in range(40)]


@pytest.fixture
def desk(database: Database, postgres: Postgres) -> TollDesk:
    """Two enterprises on one PBX, and empty tables."""
    for number, secret in SECRETS.items():
        postgres.seed_enterprise(number, f"june {number}", HOST, secret)
    return TollDesk(database, postgres)


async def test_of_forty_at_once_as_many_are_admitted_as_may_be_open(desk: TollDesk) -> None:
    """Whoever comes second counts what the first has committed: the last place is taken once."""
    desk.limited(open_calls_enterprise=5)
    orders = [call_order(str(100 + n), phone) for n, phone in enumerate(PHONES)]
    admitted, refused = await desk.at_once(*orders)
    assert (len(admitted), len(refused)) == (5, 35)
    assert {type(error) for error in refused} == {TooManyOpen}
    assert desk.count() | {"rate_limits": 0} == {"calls": 5, "claims": 5, "rate_limits": 0}


async def test_of_forty_at_once_an_extension_has_its_own_number(desk: TollDesk) -> None:
    """Others' extensions are no matter to it, and the enterprise's cap is another one."""
    desk.limited(open_calls_enterprise=100, open_calls_extension=3)
    admitted, refused = await desk.at_once(*(call_order("150", phone) for phone in PHONES))
    assert (len(admitted), len(refused)) == (3, 37)
    await desk.place("151", PHONES[0])


async def test_an_order_that_comes_forty_times_takes_one_place(desk: TollDesk) -> None:
    """A repeat is looked for before any cap, also of the call that has the last place."""
    desk.limited(open_calls_enterprise=1, open_calls_extension=1)
    admitted, refused = await desk.at_once(*[call_order("150", PHONES[0])] * 40)
    assert (len(admitted), refused) == (40, [])
    assert len({one.call_id for one in admitted}) == 1
    assert sum(not one.repeated for one in admitted) == 1


async def test_a_refusal_says_what_may_be_and_claims_nothing(desk: TollDesk) -> None:
    """Nothing is recorded and no token taken; when a place is free is not known, so not told."""
    desk.limited(open_calls_enterprise=2, open_calls_extension=1)
    await desk.place("150", PHONES[0])
    before = desk.count()
    with pytest.raises(TooManyOpen) as refused:
        await desk.admit(call_order("150", PHONES[1]))
    assert str(refused.value) == (
        "Too many calls of extension 150 are open, 1 may be at once; nothing was dialled,"
        " try again once one has ended"
    )
    assert (refused.value.status, refused.value.code) == (429, "too-many-open-calls")
    assert (refused.value.retry_after_s, refused.value.quota) == (None, None)
    assert desk.count() == before
    await desk.place("151", PHONES[1])
    with pytest.raises(TooManyOpen, match="of this enterprise are open, 2 may be"):
        await desk.admit(call_order("152", PHONES[2]))


async def test_enterprises_are_counted_apart(desk: TollDesk) -> None:
    """Also where they share a PBX and have the same extensions."""
    desk.limited(open_calls_enterprise=1, open_calls_extension=1)
    await desk.place("150", PHONES[0])
    await desk.place("150", PHONES[0], number="0368")


async def test_off_is_no_limit(desk: TollDesk) -> None:
    """As by default."""
    admitted, refused = await desk.at_once(*(call_order("150", phone) for phone in PHONES))
    assert (len(admitted), refused) == (40, [])


@pytest.mark.parametrize("how", ["ended", "not executed"])
async def test_a_place_is_free_once_its_call_is_over(desk: TollDesk, how: str) -> None:
    """However it ended; nobody has to give the place back."""
    desk.limited(open_calls_enterprise=1)
    first = await desk.admit(call_order("150", PHONES[0]))
    if how == "ended":
        await desk.settle(first)
        desk.end(first)
    else:
        await desk.settle(first, "not_executed")
    assert not (await desk.admit(call_order("150", PHONES[0]))).repeated


async def test_a_call_of_unknown_outcome_has_its_place(desk: TollDesk) -> None:
    """It may ring."""
    desk.limited(open_calls_enterprise=1)
    await desk.settle(await desk.admit(call_order("150", PHONES[0])), "unknown")
    with pytest.raises(TooManyOpen):
        await desk.admit(call_order("151", PHONES[1]))


async def test_a_monitoring_has_a_place_too(desk: TollDesk) -> None:
    """It holds the supervisor's phone, which may be any number; the tapped one is not rung."""
    desk.limited(open_calls_enterprise=2, open_calls_extension=1)
    await desk.settle(await desk.admit(monitor_order("151", "150", "09")))
    with pytest.raises(TooManyOpen, match="of extension 151"):
        await desk.admit(call_order("151", PHONES[0]))
    await desk.place("150", PHONES[0])
    with pytest.raises(TooManyOpen, match="of this enterprise"):
        await desk.admit(monitor_order("152", "150", "09"))


# Transfers


async def test_a_transfer_opens_no_call(desk: TollDesk) -> None:
    """Its call passes to another extension: that one's place is taken, the first one's is free."""
    desk.limited(open_calls_enterprise=1, open_calls_extension=1)
    call = await desk.place("150", PHONES[0])
    await desk.transfer(call.call_id, "151")
    desk.limited(open_calls_enterprise=2, open_calls_extension=1)
    with pytest.raises(TooManyOpen, match="of extension 151"):
        await desk.admit(call_order("151", PHONES[1]))
    await desk.place("150", PHONES[1])


async def test_a_transfer_to_an_extension_without_a_place_is_refused(desk: TollDesk) -> None:
    """And stays where it is; a repeat of one that was sent is none the less told so."""
    desk.limited(open_calls_extension=1)
    call, other = await desk.place("150", PHONES[0]), await desk.place("151", PHONES[1])
    with pytest.raises(TooManyOpen, match="of extension 151"):
        await desk.transfer(call.call_id, "151")
    rows = desk.postgres.execute("SELECT transferred_to FROM callapi.calls ORDER BY call_id")
    assert [row["transferred_to"] for row in rows] == [None, None]
    desk.end(other)
    assert not (await desk.transfer(call.call_id, "151")).repeated
    assert (await desk.transfer(call.call_id, "151")).repeated


async def test_of_many_transfers_at_once_one_finds_the_place(desk: TollDesk) -> None:
    """Each is of another call, so only the lock of their enterprise keeps them apart."""
    desk.limited(open_calls_extension=2)
    calls = [await desk.place(str(100 + n), phone) for n, phone in enumerate(PHONES[:16])]
    done: list[str] = []

    async def one(call: Admitted) -> None:
        try:
            await desk.transfer(call.call_id, "200")
            done.append("transferred")
        except TooManyOpen:
            done.append("refused")

    async with anyio.create_task_group() as group:
        for call in calls:
            group.start_soon(one, call)
    assert sorted(done) == ["refused"] * 14 + ["transferred"] * 2


# Calls that nobody sees


async def looked_at(lease: Lease, reached_s: float | None) -> None:
    """Take a tracker's turn that has reached the PBX so long ago, or not at all."""
    assert await lease.write(reached_s=reached_s) is not None


async def test_a_pbx_that_is_away_locks_nobody_out(desk: TollDesk) -> None:
    """A call that no tracker could see for UNKNOWN_HOLD_S is not counted, until one can again."""
    desk.limited(open_calls_enterprise=1, unknown_hold_s=120)
    await desk.place("150", PHONES[0])
    lease = await Lease.take(desk.database, HOST)
    assert lease is not None
    await looked_at(lease, 0.0)
    desk.pass_time(100)
    await looked_at(lease, None)  # it goes on trying
    with pytest.raises(TooManyOpen):
        await desk.admit(call_order("151", PHONES[1]))
    desk.pass_time(30)
    await looked_at(lease, 130.0)
    second = await desk.place("151", PHONES[1])
    desk.end(second)
    await looked_at(lease, 0.0)  # there it is again, and its call with it
    with pytest.raises(TooManyOpen):
        await desk.admit(call_order("151", PHONES[1]))


async def test_a_call_that_is_looked_at_counts_however_long_it_lasts(desk: TollDesk) -> None:
    """Its age is no matter while its PBX is reached, as each look tells."""
    desk.limited(open_calls_enterprise=1)
    await desk.place("150", PHONES[0])
    desk.pass_time(7 * 86_400)
    lease = await Lease.take(desk.database, HOST)
    assert lease is not None
    await looked_at(lease, 5.0)
    with pytest.raises(TooManyOpen):
        await desk.admit(call_order("151", PHONES[1]))


async def test_a_call_that_no_tracker_ever_saw_counts_for_that_time(desk: TollDesk) -> None:
    """Its process died, and nobody follows: a new one does not have to wait for an operator."""
    desk.limited(open_calls_enterprise=1, unknown_hold_s=60)
    await desk.admit(call_order("150", PHONES[0]))
    desk.pass_time(40)
    with pytest.raises(TooManyOpen):
        await desk.admit(call_order("151", PHONES[1]))
    desk.pass_time(30)
    await desk.admit(call_order("151", PHONES[1]))


async def test_an_older_look_does_not_undo_a_newer_one(desk: TollDesk) -> None:
    """A turn that is late tells of its own look."""
    lease = await Lease.take(desk.database, HOST)
    assert lease is not None
    await looked_at(lease, 0.0)
    before = desk.postgres.execute("SELECT reached_at FROM callapi.trackers")
    await lease.write([Change()] * 0, reached_s=300.0)
    assert desk.postgres.execute("SELECT reached_at FROM callapi.trackers") == before


# Through the door, with either tracker


@by_either
async def test_a_call_too_many_is_429_until_one_has_ended(start: Services, by: str) -> None:
    """The tracker's word frees the place: nobody else has to give it back."""
    async with tracked(start, by, OPEN_CALLS_ENTERPRISE=2) as service:
        first = await place(service, "154", TALKS_ON)
        await place(service, "157", OTHER_PHONE)
        before = service.originates()
        answer = await service.call("150")
        body = answer.json()
        assert (answer.status_code, body["code"]) == (429, "too-many-open-calls"), body
        assert (body["dialled"], "call_id" in body) == ("no", False)
        assert not {"retry-after", "ratelimit", "ratelimit-policy"} & set(answer.headers)
        assert service.originates() == before
        again = await service.call("154", TALKS_ON)
        assert (again.status_code, again.json()["call_id"]) == (200, first)
        await reach(service, first, "talking")
        assert (await service.http.delete(f"/api/calls/{first}")).status_code == 200
        await reach(service, first, "ended")
        assert (await service.call("150")).status_code == 200


@by_either
async def test_a_pbx_that_dies_with_calls_open_locks_nobody_out(start: Services, by: str) -> None:
    """After UNKNOWN_HOLD_S its calls have no place; back again, those that talk on have theirs."""
    async with tracked(start, by, OPEN_CALLS_ENTERPRISE=2) as service:
        for code in ("154", "156"):
            await reach(service, await place(service, code, TALKS_ON), "talking")
        assert (await service.call("150")).json()["code"] == "too-many-open-calls"
        service.pbx.asterisk_down = True
        await until(lambda: "⚠️ Трекер 127.0.0.1" in service.log())
        assert (await service.call("150")).json()["code"] == "too-many-open-calls"
        service.postgres.execute(
            "UPDATE callapi.calls SET created_at = created_at - interval '121 s';"
            "UPDATE callapi.trackers SET reached_at = reached_at - interval '121 s'"
        )
        failed = await service.call("150")  # that it cannot be reached is the error now, no cap is
        assert failed.json()["code"] == "asterisk-unavailable", failed.text
        service.pbx.asterisk_down = False
        before = reached(service)
        await until(lambda: reached(service) > before)
        assert (await service.call("150")).json()["code"] == "too-many-open-calls"


def reached(service: Service) -> datetime:
    """When its tracker has looked at the PBX last."""
    rows = service.postgres.execute("SELECT reached_at FROM callapi.trackers")
    moment: datetime = rows[0]["reached_at"]
    return moment


def test_a_cap_is_an_error_of_limits() -> None:
    """Whoever handles 429 for rates handles it for caps: the code tells them apart."""
    assert issubclass(TooManyOpen, LimitExceeded)
