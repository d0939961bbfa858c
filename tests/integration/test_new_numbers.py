"""How many numbers may be called that an enterprise has not called before."""

from __future__ import annotations

import re
from typing import Any

import anyio
import pytest

from shared.auth.admission import Outcome
from shared.errors import LimitExceeded
from shared.operate import __main__ as operate
from shared.store.database import Database
from tests.integration.followed import TALKS_ON, by_either, follow, place, reach, tracked
from tests.integration.service import OTHER_PHONE, PHONE, Services, until
from tests.integration.toll import HOST, SECRETS, TollDesk
from tests.orders import call_order, monitor_order
from tests.postgres import Postgres

pytestmark = pytest.mark.anyio

PHONES = [f"+3752900000{n:02}" for n in range(40)]
PREMIUM = "0900123456"
DAY_S = 86_400


@pytest.fixture
def desk(database: Database, postgres: Postgres) -> TollDesk:
    """Two enterprises on one PBX, and empty tables."""
    for number, secret in SECRETS.items():
        postgres.seed_enterprise(number, f"june {number}", HOST, secret)
    return TollDesk(database, postgres)


async def refused(desk: TollDesk, code: str, phone: str) -> LimitExceeded:
    """See a call refused, and nothing written."""
    before = desk.count()
    with pytest.raises(LimitExceeded) as caught:
        await desk.admit(call_order(code, phone))
    assert desk.count() == before
    return caught.value


async def test_a_number_too_many_is_refused_and_a_known_one_is_not(desk: TollDesk) -> None:
    """The refusal says which limit it was, and when the next new number may be called."""
    desk.limited(rate_limit_new_numbers="2/3600")
    for phone in PHONES[:2]:
        desk.end(await desk.place("150", phone))
    error = await refused(desk, "151", PHONES[2])
    assert str(error) == (
        "Too many calls of this enterprise to numbers that it had not called before;"
        " nothing was dialled, try again later"
    )
    assert (error.code, error.status) == ("rate-limited", 429)
    assert error.retry_after_s is not None
    assert 1700 < error.retry_after_s <= 1800
    assert error.quota is not None
    assert (error.quota.name, error.quota.count, error.quota.remaining) == ("new_numbers", 2, 0)
    for phone in PHONES[:2]:
        desk.end(await desk.place("152", phone))
    desk.postgres.execute("UPDATE callapi.rate_limits SET tat = tat - interval '1801 s'")
    await desk.place("151", PHONES[2])


async def test_of_forty_new_numbers_at_once_as_many_are_admitted_as_may_be(desk: TollDesk) -> None:
    """Each from an extension of its own, so no other limit keeps them apart."""
    desk.limited(rate_limit_new_numbers="5/3600")
    orders = [call_order(str(100 + n), phone) for n, phone in enumerate(PHONES)]
    admitted, rest = await desk.at_once(*orders)
    assert (len(admitted), len(rest)) == (5, 35)
    assert {error.quota and error.quota.name for error in rest} == {"new_numbers"}


async def test_what_is_left_is_told_with_a_new_number_only(desk: TollDesk) -> None:
    """Where it is the limit with the least left; a known number costs nothing of it."""
    desk.limited(rate_limit_new_numbers="9/3600")
    first = await desk.place("150", PHONES[0])
    assert first.quota is not None
    assert (first.quota.name, first.quota.remaining) == ("new_numbers", 8)
    again = await desk.place("151", PHONES[0])
    assert again.quota is not None
    assert again.quota.name != "new_numbers"


async def test_a_repeat_costs_nothing(desk: TollDesk) -> None:
    """It is looked for before."""
    desk.limited(rate_limit_new_numbers="1/3600")
    admitted, rest = await desk.at_once(*[call_order("150", PHONES[0])] * 10)
    assert (len(admitted), rest) == (10, [])


@pytest.mark.parametrize(
    ("before", "now"), [("+375290000001", "375290000001"), ("375290000001", "+375290000001")]
)
async def test_a_plus_makes_no_other_number(desk: TollDesk, before: str, now: str) -> None:
    """The digits are the number."""
    desk.limited(rate_limit_new_numbers="1/3600")
    await desk.place("150", before)
    await desk.place("151", now)
    await refused(desk, "152", "375290000002")


async def test_enterprises_know_numbers_of_their_own(desk: TollDesk) -> None:
    """What one has called is new to another, and each has its own limit."""
    desk.limited(rate_limit_new_numbers="1/3600")
    await desk.place("150", PHONES[0])
    await desk.place("150", PHONES[1], number="0368")
    await refused(desk, "151", PHONES[1])


async def test_what_was_called_before_the_limit_was_set_is_known(desk: TollDesk) -> None:
    """Setting it stops nobody who calls whom he has always called."""
    await desk.place("150", PHONES[0])
    desk.pass_time(29 * DAY_S)
    desk.limited(rate_limit_new_numbers="1/3600")
    await desk.place("151", PHONES[0])
    await desk.place("151", PHONES[1])
    await refused(desk, "152", PHONES[2])


async def test_a_number_is_new_again_after_thirty_days(desk: TollDesk) -> None:
    """As one is that was never called."""
    await desk.place("150", PHONES[0])
    desk.pass_time(31 * DAY_S)
    desk.limited(rate_limit_new_numbers="1/3600")
    await desk.place("151", PHONES[1])
    await refused(desk, "152", PHONES[0])


@pytest.mark.parametrize("how", ["not executed", "unknown", "placing", "failed", "rejected"])
async def test_a_call_that_failed_makes_no_number_known(desk: TollDesk, how: str) -> None:
    """Whoever tries numbers until one works pays for each attempt, also of the same number."""
    desk.limited(rate_limit_new_numbers="2/3600")
    outcomes: dict[str, Outcome] = {"not executed": "not_executed", "unknown": "unknown"}
    for code in ("150", "151"):
        admitted = await desk.admit(call_order(code, PHONES[0]))
        if how != "placing":
            await desk.settle(admitted, outcomes.get(how, "executed"))
        if how in {"failed", "rejected"}:
            desk.end(admitted, how)
    await refused(desk, "152", PHONES[0])


@pytest.mark.parametrize("reason", ["answered", "busy", "no_answer", "agent_no_answer", "unknown"])
async def test_a_call_that_asterisk_placed_makes_its_number_known(
    desk: TollDesk, reason: str
) -> None:
    """Who was busy is called again, and the price was paid."""
    desk.limited(rate_limit_new_numbers="1/3600")
    desk.end(await desk.place("150", PHONES[0]), reason)
    desk.end(await desk.place("150", PHONES[0]), reason)


# Every destination


async def test_an_extension_is_no_destination(desk: TollDesk) -> None:
    """However many are rung for a known number, tapped, or handed over to."""
    await desk.place("150", PHONES[0])
    desk.limited(rate_limit_new_numbers="1/3600")
    call = await desk.place("151", PHONES[0])
    await desk.admit(monitor_order("152", PREMIUM, "09"))  # what is tapped is not dialled
    await desk.transfer(call.call_id, "153")
    await desk.place("154", PHONES[1])  # the one new number


async def test_a_long_number_is_one_by_each_field(desk: TollDesk) -> None:
    """`code`, `monitor_from` and a transfer's `to`; known by one of them, known by all."""
    call = await desk.place("150", PHONES[0])
    desk.limited(rate_limit_new_numbers="4/3600")
    await desk.place(PREMIUM[:9] + "1", PHONES[0])
    await desk.settle(await desk.admit(monitor_order(PREMIUM[:9] + "2", "150", "09")))
    await desk.transfer(call.call_id, PREMIUM[:9] + "3")
    await desk.place("150", "+" + PREMIUM[:9] + "4")
    for error in (
        await refused(desk, PREMIUM[:9] + "5", PHONES[0]),
        await refused(desk, "151", PREMIUM[:9] + "5"),
    ):
        assert error.quota is not None
    with pytest.raises(LimitExceeded):
        await desk.admit(monitor_order(PREMIUM[:9] + "5", "150", "09"))
    with pytest.raises(LimitExceeded):
        await desk.transfer(call.call_id, PREMIUM[:9] + "5")
    for known in (PREMIUM[:9] + digit for digit in "234"):
        await desk.place("152", known)
        desk.release()
        await desk.place(known, PHONES[0])


@pytest.mark.parametrize("named", [True, False])
async def test_a_named_extension_is_none(desk: TollDesk, *, named: bool) -> None:
    """As for the rules: an operator who has extensions of ten digits names them."""
    await desk.place("150", PHONES[0])
    desk.postgres.execute(
        "INSERT INTO callapi.enterprise_rules (enterprise, extensions) VALUES ('0367', :named)",
        named=["150", PREMIUM] if named else None,
    )
    desk.limited(rate_limit_new_numbers="1/3600")
    order = await desk.place(PREMIUM, PHONES[0])
    assert order.quota is not None
    assert (order.quota.name == "new_numbers") is not named


async def test_two_new_numbers_of_one_call_cost_two(desk: TollDesk) -> None:
    """One number twice costs one; and where but one is allowed at all, such a call may still be."""
    desk.limited(rate_limit_new_numbers="5/3600")
    first = await desk.place(PREMIUM, PHONES[0])
    assert first.quota is not None
    assert first.quota.remaining == 3
    twice = await desk.place("0900123457", "+0900123457")
    assert twice.quota is not None
    assert twice.quota.remaining == 2
    desk.postgres.execute("DELETE FROM callapi.rate_limits")
    desk.limited(rate_limit_new_numbers="1/3600")
    await desk.place("0900123458", PHONES[1])


async def test_a_refusal_takes_no_other_token(desk: TollDesk) -> None:
    """Neither of the extension's rate nor of the enterprise's, and of two new numbers none."""
    desk.limited(rate_limit_new_numbers="2/3600", rate_limit_extension="5/3600")
    await desk.place("150", PHONES[0])
    await refused(desk, PREMIUM, PHONES[1])
    await desk.place("150", PHONES[1])


# How it is found


PLANNED = {
    "was_called": {"calls_of_phone", "calls_of_code", "calls_of_transfer"},
    "take_allowance": {"calls_open"},
}


@pytest.mark.parametrize("function", PLANNED)
async def test_no_admission_reads_through_the_calls(desk: TollDesk, function: str) -> None:
    """With tens of thousands of them, the enterprise's own and others', open and over."""
    desk.postgres.execute(
        "INSERT INTO callapi.calls (call_id, enterprise, host, kind, code, phone, ended_at)"
        " SELECT gen_random_uuid(), CASE WHEN n % 10 = 0 THEN '0367' ELSE n % 50 || '' END,"
        " '192.0.2.' || n % 199, 'call', (100 + n % 300)::text, '+37529' || n,"
        " CASE WHEN n % 7 > 0 THEN clock_timestamp() END"
        " FROM generate_series(1, 30000) n"
    )
    desk.postgres.execute("ANALYZE callapi.calls")
    (found,) = desk.postgres.execute(
        "SELECT prosrc FROM pg_proc WHERE oid = to_regproc('callapi.' || :name)", name=function
    )
    query = found["prosrc"]
    if function == "take_allowance":
        (query,) = re.findall(r"SELECT count\(\*\) AS.*?;", query, re.DOTALL)
        query = query.replace(" INTO v\n", "\n").rstrip(";")
    for name, value in (
        ("p_enterprise", "'0367'"),
        ("p_digits", "'375291'"),
        ("p_since", "(now() - interval '30 days')"),
        ("p_rings", "'150'"),
        ("p_call", "gen_random_uuid()"),
        ("p_limits ->> 'unseen_s'", "'120'"),
    ):
        query = query.replace(name, value)
    lines = desk.postgres.execute(f"EXPLAIN {query}")
    plan = "\n".join(str(line["QUERY PLAN"]) for line in lines)
    assert "Seq Scan on calls" not in plan, plan
    assert set(re.findall(r"calls_\w+", plan)) == PLANNED[function], plan


# Through the door


async def test_it_is_told_at_the_door(start: Services) -> None:
    """429 with `Retry-After` and the limit's name; nothing is sent."""
    service = await follow(start, RATE_LIMIT_NEW_NUMBERS="1/3600")
    first = await service.call("150", PHONE)
    assert first.headers["RateLimit"] == '"new_numbers";r=0;t=3600'
    before = service.originates()
    for answer in (
        await service.call("151", OTHER_PHONE),
        await service.call(PREMIUM, PHONE),
        await service.monitor(monitor_from=PREMIUM, target="154"),
    ):
        body: dict[str, Any] = answer.json()
        assert (answer.status_code, body["code"], body["dialled"]) == (429, "rate-limited", "no")
        assert 3500 < int(answer.headers["Retry-After"]) <= 3600
        assert answer.headers["RateLimit-Policy"] == '"new_numbers";q=1;w=3600'
    assert service.originates() == before
    assert (await service.call("151", PHONE)).status_code == 200


@by_either
async def test_a_transfer_that_is_refused_leaves_the_customer(start: Services, by: str) -> None:
    """And the number that could not be rung at all, as the tracker tells, stays new."""
    async with tracked(start, by, RATE_LIMIT_NEW_NUMBERS="2/3600") as service:
        talking = await place(service, "154", TALKS_ON)
        await reach(service, talking, "talking")
        failed = await place(service, "157", PHONE)
        service.pbx.restart_asterisk()
        await reach(service, failed, "ended")
        assert service.row(failed)["reason"] == "failed"
        answer = await service.call("150", PHONE)
        assert answer.json()["code"] == "rate-limited", answer.text
        again = await place(service, "156", TALKS_ON)
        await reach(service, again, "talking")
        url = f"/api/calls/{again}/transfer"
        refused = await service.http.post(url, json={"to": PREMIUM})
        assert (refused.status_code, refused.json()["code"]) == (429, "rate-limited")
        assert service.row(again)["phase"] == "talking"
        assert PREMIUM not in service.pbx.invites


async def test_an_operator_names_what_is_no_destination(start: Services) -> None:
    """By the rules, for this limit as for the destinations."""
    service = await follow(start, RATE_LIMIT_NEW_NUMBERS="1/3600")
    await place(service, "154", PHONE)
    command = ["rules", "0367", "--extensions", "154", PREMIUM]
    assert await anyio.to_thread.run_sync(operate.main, command) == 0
    assert (await service.call(PREMIUM, PHONE)).status_code == 200
    await until(lambda: service.pbx.invites[PREMIUM] == 1)
