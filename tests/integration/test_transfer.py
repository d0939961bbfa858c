"""Handing a customer over: the new extension rings once, or nothing has happened."""

from __future__ import annotations

import asyncio
from typing import Any
from uuid import uuid4

import httpx
import pytest

from demo.pbx.faults import Stage
from tests.integration.followed import (
    NO_ANSWER,
    SLOW,
    TALKS_ON,
    TALKS_RTP,
    follow,
    let_sound_talk_on,
    place,
    reach,
    state,
)
from tests.integration.service import Service, Services, until

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
    let_sound_talk_on(start)
    service = await follow(start, time_scale=1.0)
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


async def test_a_call_that_was_just_handed_over_is_ended_with_its_customer(start: Services) -> None:
    """In the moment in which the old channels are there still, and go without him."""
    service = await follow(start, time_scale=1.0)
    for _ in range(3):
        call_id = await talking(service)
        assert (await transfer(service, call_id)).status_code == 200
        hung_up = await service.http.delete(f"/api/calls/{call_id}")
        assert hung_up.status_code == 200, hung_up.text
        await reach(service, call_id, "ended")
        assert service.pbx.channels == []


async def test_a_call_that_is_being_hung_up_is_not_handed_over(start: Services) -> None:
    """Nobody would end the new one; where nothing was hung up, it may be handed over after all."""
    service = await follow(start)
    call_id = await talking(service)
    service.pbx.freeze()
    ending = asyncio.create_task(service.http.delete(f"/api/calls/{call_id}"))
    await until(lambda: bool(service.row(call_id)["hang_ups"]))
    refused = await transfer(service, call_id)
    assert (refused.status_code, refused.json()["code"]) == (409, "call-ended"), refused.text
    assert refused.json()["dialled"] == "no"
    tell(service, call_id, hang_ups="ARRAY[clock_timestamp() - interval '31 s']")
    handing = asyncio.create_task(transfer(service, call_id))
    await until(lambda: service.row(call_id)["transferred_to"] == "151")
    service.pbx.thaw()
    await asyncio.gather(ending, handing)


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
    """Whether the new extension rings is not known: a retry repeats nothing, nor tells success."""
    service = await follow(start)
    call_id = await talking(service)
    service.pbx.drop_after(stage, containing="channel redirect")

    lost, again = await transfer(service, call_id), await transfer(service, call_id)

    assert lost.json()["dialled"] == "unknown", lost.text
    assert (again.status_code, again.json()["repeated"]) == (200, True), again.text
    assert again.json()["success"] is False
    assert "whether it rings is unknown" in again.json()["detail"]
    assert len(redirects(service)) == rings
    assert await service.rung("151", rings) == rings


def tell(service: Service, call_id: str, **columns: object) -> None:
    """Write of a call's transfer what another process would."""
    assignments = ", ".join(f"{name} = {value}" for name, value in columns.items())
    service.postgres.execute(
        f"UPDATE callapi.calls SET {assignments} WHERE call_id = :id",
        id=call_id,
    )


async def test_an_unknown_transfer_blocks_its_repeats_for_the_hold_alone(start: Services) -> None:
    """As an unknown call does; then whoever asks again means it."""
    service = await follow(start)
    call_id = await talking(service)
    service.pbx.drop_after(Stage.WRITTEN, containing="channel redirect")
    await transfer(service, call_id)
    tell(service, call_id, transfer_until="transfer_until - interval '110 s'")
    assert (await transfer(service, call_id)).json()["success"] is False
    tell(service, call_id, transfer_until="transfer_until - interval '10 s'")
    done = await transfer(service, call_id)
    assert (done.json()["success"], done.json()["repeated"]) == (True, False), done.text
    assert await service.rung("151") == 1


async def under_way(
    service: Service, call_id: str, to: str
) -> tuple[asyncio.Task[httpx.Response], asyncio.Task[httpx.Response]]:
    """Ask for a transfer on a PBX that stands still, and for the same again."""
    service.pbx.freeze()
    first = asyncio.create_task(transfer(service, call_id, to))
    await until(lambda: service.row(call_id)["transferred_to"] == to)
    second = asyncio.create_task(transfer(service, call_id, to))
    await asyncio.sleep(0.3)  # it would have been told success by now
    assert not second.done()
    return first, second


async def test_a_repeat_tells_what_became_of_the_first(start: Services) -> None:
    """While that is under way it waits, however short the window is, and sends nothing."""
    service = await follow(start, REPEAT_WINDOW_S=0.01)
    call_id = await talking(service)
    first, second = await under_way(service, call_id, "151")
    service.pbx.thaw()
    done, again = await first, await second
    assert (done.status_code, done.json()["success"], done.json()["repeated"]) == (200, True, False)
    assert (again.status_code, again.json()["success"], again.json()["repeated"]) == (
        *(200, True, True),
    )
    assert len(redirects(service)) == await service.rung("151") == 1


async def test_a_repeat_of_what_was_refused_is_refused_too(start: Services) -> None:
    """Not told that a call was handed over to an extension that is not there."""
    service = await follow(start)
    call_id = await talking(service)
    first, second = await under_way(service, call_id, "9")
    service.pbx.thaw()
    for answer in (await first, await second):
        assert (answer.status_code, answer.json()["code"]) == (422, "unknown-extension")
    assert redirects(service) == []
    assert service.row(call_id)["transferred_to"] is None


async def test_a_repeat_that_learns_nothing_says_so(start: Services) -> None:
    """A transfer of another process: 409 while it may be under way, then its outcome is unknown."""
    service = await follow(start, REQUEST_TIMEOUT_S=3, POSTGRES_TIMEOUT_S=5)
    call_id = await talking(service)
    tell(
        service,
        call_id,
        transferred_to="'151'",
        transferred_at="clock_timestamp()",
        transfer_state="'sending'",
        transfer_until="clock_timestamp() + interval '120 s'",
    )
    waited = await transfer(service, call_id)
    assert (waited.status_code, waited.json()["code"]) == (409, "call-not-ready"), waited.text
    assert waited.json()["dialled"] == "no"
    assert "still under way" in waited.json()["detail"]
    assert int(waited.headers["retry-after"]) >= 1
    tell(service, call_id, transferred_at="transferred_at - interval '20 s'")
    unknown = await transfer(service, call_id)
    assert (unknown.status_code, unknown.json()["success"]) == (200, False), unknown.text
    assert redirects(service) == []


async def test_a_repeat_whose_first_was_overtaken_sends_nothing(start: Services) -> None:
    """Another extension was meant meanwhile: the customer is not called back."""
    service = await follow(start)
    call_id = await talking(service)
    first, second = await under_way(service, call_id, "151")
    tell(service, call_id, transferred_to="'150'", transferred_at="clock_timestamp()")
    overtaken = await second
    assert (overtaken.status_code, overtaken.json()["code"]) == (409, "call-not-ready")
    service.pbx.thaw()
    assert (await first).status_code == 200
    assert len(redirects(service)) == 1


async def test_the_window_of_a_transfer_ends(start: Services) -> None:
    """After it the same is a wish of its own."""
    service = await follow(start)
    call_id = await talking(service)
    await transfer(service, call_id)
    tell(service, call_id, transfer_until="transfer_until - interval '10 s'")
    again = await transfer(service, call_id)
    assert again.json()["repeated"] is False, again.text
    assert len(redirects(service)) == 2


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


def executed(service: Service, call_id: str) -> tuple[object, ...]:
    """Tell to whom a call is handed over, as its row has it."""
    row = service.row(call_id)
    return row["transferred_to"], row["transfer_state"], row["transfer_before"]


async def test_a_transfer_that_was_not_sent_leaves_the_one_before_as_it_was(
    start: Services,
) -> None:
    """A late retry of that one is still its repeat: the customer is not called back."""
    service = await follow(start)
    call_id = await talking(service)
    assert (await transfer(service, call_id, "151")).status_code == 200
    before = service.row(call_id)
    service.pbx.asterisk_down = True
    assert (await transfer(service, call_id, "150")).json()["dialled"] == "no"
    service.pbx.asterisk_down = False
    columns = [name for name in before if name.startswith("transfer")]
    assert len(columns) == 5
    after = service.row(call_id)
    assert {name: before[name] for name in columns} == {name: after[name] for name in columns}
    retry = await transfer(service, call_id, "151")
    assert (retry.status_code, retry.json()["repeated"]) == (200, True), retry.text
    assert len(redirects(service)) == 1


async def test_who_waits_for_a_transfer_that_is_taken_back_sends_his_own(start: Services) -> None:
    """He is not told that the call is on its way to the one before."""
    service = await follow(start)
    call_id = await talking(service)
    assert (await transfer(service, call_id, "151")).status_code == 200
    first, second = await under_way(service, call_id, "9")
    service.pbx.thaw()
    for answer in (await first, await second):
        assert (answer.status_code, answer.json()["code"]) == (422, "unknown-extension")
    assert executed(service, call_id) == ("151", "executed", None)


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
    service = await follow(start, time_scale=SLOW)
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


async def test_a_call_on_a_former_pbx_is_hung_up_but_not_handed_over(start: Services) -> None:
    """The PBX is a neighbour's now, and so is its 151: our own call may still be ended."""
    service = await follow(start)
    call_id = await talking(service)
    service.postgres.execute("UPDATE enterprises SET ip = '127.0.0.2' WHERE number = '0367'")
    service.postgres.seed_enterprise("0368", "july", "127.0.0.1", "july-secret")
    body = await refused(service, call_id, 409, "call-elsewhere")
    assert "the PBX that this enterprise had before" in body["detail"]
    assert (await service.monitor(target="154")).json()["code"] == "ssh-connect-failed"
    assert service.pbx.spied == []
    assert (await service.http.delete(f"/api/calls/{call_id}")).status_code == 200
    assert (await reach(service, call_id, "ended"))["reason"] == "answered"


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
    service = await follow(start, time_scale=SLOW)
    assert await phone(service, "154") == {
        "extension": "154",
        "state": "idle",
        "registered": True,
        "device": "SIP/154",
        "technology": "SIP",
        "channels": [],
    }
    await reach(service, await place(service, "153", TALKS_ON), "agent_ringing")
    assert (await phone(service, "153"))["state"] == "ringing"
    call_id = await place(service, "154", TALKS_ON)
    await reach(service, call_id, "talking")
    told = await phone(service, "154")
    assert (told["state"], [one["state"] for one in told["channels"]]) == ("in_use", ["Up"])
    await service.http.delete(f"/api/calls/{call_id}")
    await reach(service, call_id, "ended")
    assert (await phone(service, "154"))["state"] == "idle"


async def test_another_call_is_not_a_phones_own(start: Services) -> None:
    """`SIP/1501` talks, `SIP/150` does not."""
    service = await follow(start)
    await talking(service, "1501")
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
