"""Handing a customer over: the new extension rings once, or nothing has happened."""

from __future__ import annotations

import asyncio
from typing import Any
from uuid import uuid4

import httpx
import pytest

from demo.pbx.faults import Stage
from tests.integration.followed import NO_ANSWER, TALKS_ON, TALKS_RTP, follow, place, reach, state
from tests.integration.service import OTHER_PHONE, Service, Services, until

pytestmark = pytest.mark.anyio


async def transfer(
    service: Service, call_id: str, to: Any = "151", **headers: str
) -> httpx.Response:
    """Ask for it."""
    return await service.http.post(
        f"/api/calls/{call_id}/transfer", json={"to": to}, headers=headers
    )


def redirects(service: Service) -> list[str]:
    """What the PBX was told."""
    return [command for command in service.pbx.commands if command.startswith("channel redirect")]


async def talking(service: Service, code: str = "154", phone: str = TALKS_ON) -> str:
    """Place a call and wait until both talk; its id."""
    call_id = await place(service, code, phone)
    await reach(service, call_id, "talking")
    return call_id


@pytest.mark.parametrize(("code", "phone"), [("154", TALKS_ON), ("156", TALKS_RTP)])
async def test_a_customer_is_handed_over_once(start: Services, code: str, phone: str) -> None:
    """The same again at once is a repeat: one command, one ring; the call ends as answered."""
    service = await follow(start, time_scale=0.2)
    call_id = await talking(service, code, phone)

    done, again = await transfer(service, call_id), await transfer(service, call_id)

    assert (done.status_code, done.json()["repeated"]) == (200, False), done.text
    assert (again.status_code, again.json()["repeated"]) == (200, True), again.text
    assert await service.rung("151") == 1
    assert len(redirects(service)) == 1
    call = await state(service, call_id)
    assert (call["phase"], call["transferred_to"]) == ("talking", "151")
    await until(lambda: len(service.row(call_id)["legs"]) == 3)
    hung_up = await service.http.delete(f"/api/calls/{call_id}")
    assert hung_up.status_code == 200, hung_up.text
    ended = await reach(service, call_id, "ended")
    assert (ended["reason"], ended["cdr"]) == ("answered", "confirmed")
    assert [leg["party"] for leg in ended["legs"]] == ["agent", "customer", "agent"]


async def test_of_many_at_once_one_is_sent(start: Services) -> None:
    """Two browsers, or one that is impatient."""
    service = await follow(start)
    call_id = await talking(service)
    answers = await asyncio.gather(*(transfer(service, call_id) for _ in range(5)))
    assert {answer.status_code for answer in answers} == {200}
    assert sorted(answer.json()["repeated"] for answer in answers) == [False] + 4 * [True]
    assert len(redirects(service)) == 1


@pytest.mark.parametrize(("stage", "rings"), [(Stage.WRITTEN, 0), (Stage.EXECUTED, 1)])
async def test_a_lost_reply_is_told_and_never_sent_again(
    start: Services, stage: Stage, rings: int
) -> None:
    """Whether the new extension rings is not known; a retry of the client repeats nothing."""
    service = await follow(start)
    call_id = await talking(service)
    service.pbx.drop_after(stage, containing="channel redirect")

    lost, again = await transfer(service, call_id), await transfer(service, call_id)

    assert lost.json()["dialled"] == "unknown", lost.text
    assert (again.status_code, again.json()["repeated"]) == (200, True), again.text
    assert len(redirects(service)) == rings
    assert service.pbx.invites["151"] == rings


async def test_a_transfer_that_was_not_sent_may_be_asked_again(start: Services) -> None:
    """Asterisk is away, then back: the second request is no repeat."""
    service = await follow(start)
    call_id = await talking(service)
    service.pbx.asterisk_down = True
    refused = await transfer(service, call_id)
    assert refused.json()["dialled"] == "no", refused.text
    service.pbx.asterisk_down = False
    done = await transfer(service, call_id)
    assert (done.status_code, done.json()["repeated"]) == (200, False), done.text
    assert len(redirects(service)) == 1


async def refused(
    service: Service, call_id: object, status: int, code: str, to: Any = "151"
) -> dict[str, Any]:
    """See it refused, and nothing sent."""
    answer = await transfer(service, str(call_id), to)
    assert (answer.status_code, answer.json()["code"]) == (status, code), answer.text
    assert answer.json()["dialled"] == "no"
    assert redirects(service) == []
    body: dict[str, Any] = answer.json()
    return body


@pytest.mark.parametrize(
    ("to", "status", "code"),
    [
        ("9", 422, "unknown-extension"),
        ("154", 422, "invalid-parameter"),
        ("abc", 422, "invalid-parameter"),
        ("151,1", 422, "invalid-parameter"),
        ("", 422, "invalid-parameter"),
        (151, 422, "invalid-parameter"),
        (None, 422, "invalid-parameter"),
    ],
)
async def test_a_wrong_target_is_named(start: Services, to: Any, status: int, code: str) -> None:
    """An extension that is not there, the call's own, or none at all; the customer talks on."""
    service = await follow(start)
    call_id = await talking(service)
    body = await refused(service, call_id, status, code, to)
    assert [error["field"].rpartition(".")[2] for error in body["errors"]] == ["to"]
    assert (await state(service, call_id))["phase"] == "talking"


async def test_only_a_customer_who_talks_is_handed_over(start: Services) -> None:
    """Neither one who still rings, nor one who is gone, nor a supervisor's call."""
    service = await follow(start, time_scale=0.2)
    call_id = await place(service, "154", NO_ANSWER)
    await reach(service, call_id, "customer_ringing")
    await refused(service, call_id, 409, "call-not-ready")
    await service.http.delete(f"/api/calls/{call_id}")
    await reach(service, call_id, "ended")
    await refused(service, call_id, 409, "call-ended")

    await talking(service, "150")
    spy = await service.monitor("09", "150", "159")
    await refused(service, spy.json()["call_id"], 409, "call-not-ready")


async def test_a_call_that_is_not_there(start: Services) -> None:
    """An id that no call has, or one of another enterprise: the same answer."""
    service = await follow(start)
    service.postgres.seed_enterprise("0368", "july", "127.0.0.1", "july-secret")
    await refused(service, uuid4(), 404, "no-such-call")
    call_id = await talking(service)
    answer = await transfer(service, call_id, Authorization="Bearer july-secret")
    assert (answer.status_code, answer.json()["code"]) == (404, "no-such-call")
    assert redirects(service) == []


async def test_a_neighbours_extension_is_not_rung(start: Services) -> None:
    """Where each enterprise has its own extensions, a transfer goes to those alone."""
    service = await follow(start)
    service.postgres.execute(
        "INSERT INTO callapi.enterprise_rules (enterprise, extensions)"
        " VALUES ('0367', ARRAY['154', '150'])"
    )
    call_id = await talking(service)
    body = await refused(service, call_id, 403, "extension-not-owned")
    assert "151" in body["detail"]


# Extensions


async def phone(service: Service, number: str) -> dict[str, Any]:
    """Ask what a phone does."""
    answer = await service.http.get(f"/api/extensions/{number}")
    assert answer.status_code == 200, answer.text
    body: dict[str, Any] = answer.json()
    return body


async def test_what_a_phone_does(start: Services) -> None:
    """Free, ringing, on a call; and free again."""
    service = await follow(start, time_scale=0.2)
    assert await phone(service, "154") == {
        "extension": "154",
        "state": "idle",
        "registered": True,
        "device": "SIP/154",
        "technology": "SIP",
        "channels": [],
    }
    call_id = await place(service, "154", TALKS_ON)
    await reach(service, call_id, "agent_ringing")
    assert (await phone(service, "154"))["state"] == "ringing"
    await reach(service, call_id, "talking")
    told = await phone(service, "154")
    assert (told["state"], [one["state"] for one in told["channels"]]) == ("in_use", ["Up"])
    await service.http.delete(f"/api/calls/{call_id}")
    await reach(service, call_id, "ended")
    assert (await phone(service, "154"))["state"] == "idle"


async def test_another_call_is_not_a_phones_own(start: Services) -> None:
    """`SIP/1501` talks, `SIP/150` does not."""
    service = await follow(start)
    await talking(service, "1501", OTHER_PHONE)
    assert (await phone(service, "1501"))["state"] == "in_use"
    assert (await phone(service, "150"))["state"] == "idle"


@pytest.mark.parametrize(
    ("number", "status", "code"),
    [("199", 404, "no-such-extension"), ("abc", 422, "invalid-parameter")],
)
async def test_a_phone_that_is_not_there(
    start: Services, number: str, status: int, code: str
) -> None:
    """No device has the number, or it is none: then the PBX is not asked."""
    service = await start()
    answer = await service.http.get(f"/api/extensions/{number}")
    assert (answer.status_code, answer.json()["code"]) == (status, code), answer.text
    assert bool(service.pbx.commands) is (status == 404)


async def test_a_neighbours_phone_is_not_told(start: Services) -> None:
    """Where each enterprise has its own extensions, of those alone."""
    service = await start()
    service.postgres.execute(
        "INSERT INTO callapi.enterprise_rules (enterprise, extensions)"
        " VALUES ('0367', ARRAY['154'])"
    )
    answer = await service.http.get("/api/extensions/150")
    assert (answer.status_code, answer.json()["code"]) == (403, "extension-not-owned")
    assert service.pbx.commands == []
