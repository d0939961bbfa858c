"""Enterprises do not meet: same key, same phones, same PBX, and each has its own calls."""

from __future__ import annotations

import asyncio

import pytest

from tests.integration.service import PHONE, SECRET, Service, Services

pytestmark = pytest.mark.anyio

OTHER = "july-77aa10c2b3d4e5f6"


async def _start(start: Services, **settings: object) -> Service:
    """Start with two enterprises on one PBX."""
    service = await start(**settings)
    service.postgres.seed_enterprise("0368", "july", "127.0.0.1", OTHER)
    return service


@pytest.mark.parametrize("key", [None, "order-17"])
async def test_equal_calls_of_two_enterprises_are_two_calls(
    start: Services, key: str | None
) -> None:
    """Same extension, phone and Idempotency-Key: each gets its own id, and its own repeat."""
    service = await _start(start)
    ids = {}
    for secret in (SECRET, OTHER):
        answer = await service.call(key=key, secret=secret)
        assert (answer.status_code, answer.json()["repeated"]) == (200, False)
        ids[secret] = answer.json()["call_id"]
    assert ids[SECRET] != ids[OTHER]
    for secret, number in ((SECRET, "0367"), (OTHER, "0368")):
        repeat = (await service.call(key=key, secret=secret)).json()
        assert (repeat["call_id"], repeat["repeated"]) == (ids[secret], True)
        assert repeat["enterprise_number"] == number
        assert service.row(ids[secret])["enterprise"] == number
    assert len(service.originates()) == await service.rung("150", 2) == 2


async def test_equal_calls_of_two_enterprises_at_once_are_two_calls(start: Services) -> None:
    """Ten clicks of each at the same time: two calls, and nobody gets the other's id."""
    service = await _start(start)
    secrets = [SECRET, OTHER] * 10
    answers = await asyncio.gather(*(service.call(key="k", secret=s) for s in secrets))
    assert {answer.status_code for answer in answers} == {200}
    ids = {
        secret: {a.json()["call_id"] for s, a in zip(secrets, answers, strict=True) if s == secret}
        for secret in (SECRET, OTHER)
    }
    assert [len(found) for found in ids.values()] == [1, 1]
    assert not ids[SECRET] & ids[OTHER]
    assert len(service.originates()) == await service.rung("150", 2) == 2


async def test_a_key_of_another_enterprise_is_a_free_key(start: Services) -> None:
    """Another order under the same key is refused to its owner alone."""
    service = await _start(start)
    assert (await service.call(key="k")).status_code == 200
    assert (await service.call("151", key="k", secret=OTHER)).status_code == 200
    reused = await service.call("151", key="k")
    assert (reused.status_code, reused.json()["code"]) == (422, "idempotency-key-reused")


async def test_one_enterprise_uses_up_no_limit_of_another(start: Services) -> None:
    """The same extension number is two extensions, and each enterprise has its own total."""
    service = await _start(start, RATE_LIMIT_EXTENSION="1/3600", RATE_LIMIT_ENTERPRISE="2/3600")
    phones = [f"+37529000000{n}" for n in range(3)]
    mine = [
        (await service.call(code, p)).status_code
        for code, p in zip(("150", "151", "153"), phones, strict=True)
    ]
    assert mine == [200, 200, 429]
    theirs = [
        (await service.call(code, p, secret=OTHER)).status_code
        for code, p in zip(("150", "151", "153"), phones, strict=True)
    ]
    assert theirs == [200, 200, 429]


async def test_a_failed_call_frees_nothing_of_another_enterprise(start: Services) -> None:
    """One's extension is refused and its claim released: the other's claim holds."""
    service = await _start(start, PRECHECK="off")
    first = await service.call(key="k")
    service.pbx.asterisk_down = True
    failed = await service.call(key="k", secret=OTHER)
    assert failed.status_code == 500
    service.pbx.asterisk_down = False
    assert service.claims(failed.json()["call_id"]) == 0
    again = await service.call(key="k")
    assert (again.json()["call_id"], again.json()["repeated"]) == (first.json()["call_id"], True)
    assert (await service.call(key="k", secret=OTHER)).json()["repeated"] is False


async def test_answers_name_the_askers_own_enterprise(start: Services) -> None:
    """No body, header or log line of one request has the other's secret or name in it."""
    service = await _start(start, SHARED_HOSTS="allow")
    for answer in (
        await service.call(phone=PHONE),
        await service.monitor(),
        await service.call("7"),
    ):
        text = answer.text + str(answer.headers)
        assert "july" not in text
        assert OTHER not in text
        assert SECRET not in text
    assert SECRET not in service.log()
