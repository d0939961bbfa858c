"""What becomes of a call, as the HTTP API tells it: every phase in its order, and the reason."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from typing import Any, Literal

import pytest

from tests.pbx.lab import Lab
from tests.pbx.service import (
    BUSY,
    NO_ANSWER,
    SECRET,
    TALKS,
    Phones,
    Service,
    Services,
    until,
)

pytestmark = pytest.mark.anyio

AUTH = {"clientId": SECRET}
TALKS_RTP = "+375290000006"
TALKS_ON = "+375290000005"
NOT_FOUND = "+375290000004"

# No call of a test has more phases, nor one that lasts so long.
_POLLS = 12
RINGS = ("placed", "accepted", "agent_ringing")
ANSWERS = (*RINGS, "agent_answered")
CUSTOMER_RINGS = (*ANSWERS, "customer_ringing")
TALK = (*CUSTOMER_RINGS, "talking")


def phases(call: dict[str, Any]) -> tuple[str, ...]:
    """The phases that were told, in the order of their times, without the end."""
    told = {name: at for name, at in call["times"].items() if at is not None and name != "ended"}
    return tuple(sorted(told, key=told.__getitem__))


async def state(service: Service, call_id: str, **query: str) -> dict[str, Any]:
    """Read a call."""
    answer = await service.http.get(f"/api/calls/{call_id}", params=AUTH | query)
    assert answer.status_code == 200, answer.text
    body: dict[str, Any] = answer.json()
    return body


async def reach(service: Service, call_id: str, *wanted: str) -> dict[str, Any]:
    """Wait for one of these phases by long polls, as a client would, for some minutes at most."""
    call = await state(service, call_id)
    for _ in range(_POLLS):
        if call["phase"] in wanted:
            return call
        assert call["phase"] != "ended", call
        call = await state(service, call_id, wait="25", phase=call["phase"])
    raise AssertionError(f"none of {wanted} is reached: {call}")


async def place(service: Service, code: str, phone: str) -> str:
    """Place a call; its id."""
    answer = await service.call(code, phone)
    assert answer.status_code == 200, answer.text
    return str(answer.json()["call_id"])


@dataclass(frozen=True)
class Fate:
    """A call, and what must be told of it; `may_skip` are phases that may pass unseen."""

    code: str
    phone: str
    phases: tuple[str, ...]
    reason: str
    cdr: str = "confirmed"
    may_skip: tuple[str, ...] = ()
    settings: dict[str, str] = field(default_factory=dict)


FATES = {
    "answered": Fate("154", TALKS, TALK, "answered"),
    "answered with sound": Fate("156", TALKS_RTP, TALK, "answered"),
    "agent busy": Fate("152", TALKS, RINGS, "agent_busy"),
    # It rings for the moment between two packets, in which a look may fall.
    "agent busy at once": Fate("155", TALKS, RINGS, "agent_busy", may_skip=RINGS[2:]),
    "agent does not answer": Fate("153", TALKS, RINGS, "agent_no_answer"),
    "customer busy": Fate("154", BUSY, CUSTOMER_RINGS, "busy"),
    "customer does not answer": Fate("154", NO_ANSWER, CUSTOMER_RINGS, "no_answer"),
    "agent hangs up while the customer rings": Fate("160", NO_ANSWER, CUSTOMER_RINGS, "cancelled"),
    "customer not found": Fate(
        "154", NOT_FOUND, CUSTOMER_RINGS, "failed", may_skip=CUSTOMER_RINGS[3:]
    ),
    "customer's number leads nowhere": Fate(
        "154", "9", ANSWERS, "failed", may_skip=("agent_answered",)
    ),
    "agent has no phone": Fate(
        "199", TALKS, RINGS[:2], "failed", cdr="none", settings={"UNKNOWN_HOLD_S": "2"}
    ),
    "agent rings longer than an originate may": Fate(
        "162", TALKS, RINGS, "agent_no_answer", settings={"DIALPLAN_CONTEXT": "patient"}
    ),
}
# Its channel lives for milliseconds: the list of channels after the command may miss it.
FLEETING = "agent has no phone"
# Of this one the rows' order tells, and nothing else: some 2 of 100 calls have them otherwise.
SELDOM = {"agent hangs up while the customer rings": "no_answer"}


@pytest.mark.parametrize("name", FATES)
async def test_phases_and_reason(start: Services, name: str) -> None:
    """Each phase in its order, the PBX's own reason, one final event."""
    fate = FATES[name]
    service = await start(**fate.settings)
    answer = await service.call(fate.code, fate.phone)
    call = await reach(service, answer.json()["call_id"], "ended")

    if answer.status_code == 500 and name == FLEETING:
        assert (answer.json()["code"], call["reason"]) == ("originate-without-channel", "unknown")
        return
    assert answer.status_code == 200, answer.text
    told = [phase for phase in phases(call) if phase not in fate.may_skip]
    assert told == [phase for phase in fate.phases if phase not in fate.may_skip]
    assert call["cdr"] == fate.cdr
    assert call["reason"] in {fate.reason, SELDOM.get(name)}
    if fate.reason == "answered":
        assert 3 <= call["talk_s"] <= 5, call
        assert [leg["party"] for leg in call["legs"]] == ["agent", "customer"]
    events = service.postgres.execute("SELECT phase, seq FROM callapi.call_events ORDER BY seq")
    assert [event["seq"] for event in events] == list(range(1, len(events) + 1))
    assert [event["phase"] for event in events].count("ended") == 1


async def test_two_calls_of_one_extension_at_once(start: Services) -> None:
    """Each has its own customer and its own end, though both began with the same extension."""
    service = await start()
    ids = await asyncio.gather(place(service, "150", TALKS), place(service, "150", BUSY))
    talked, busy = await asyncio.gather(*(reach(service, one, "ended") for one in ids))
    assert (talked["to"], talked["reason"]) == (TALKS, "answered")
    assert (busy["to"], busy["reason"]) == (BUSY, "busy")
    legs = [{leg["channel"] for leg in call["legs"]} for call in (talked, busy)]
    assert not legs[0] & legs[1]


@pytest.mark.parametrize("to", [None, "151"])
@pytest.mark.parametrize("call", [("154", TALKS_ON), ("156", TALKS_RTP)])
async def test_a_call_that_lasts_too_long_is_ended(
    start: Services, lab: Lab, call: tuple[str, str], to: str | None
) -> None:
    """By MAX_CALL_S, also once the customer was handed over; nobody talks any more."""
    service = await start(MAX_CALL_S=7200)
    call_id = await place(service, *call)
    await reach(service, call_id, "talking")
    if to is not None:
        url = f"/api/calls/{call_id}/transfer"
        done = await service.http.post(url, json={"to": to}, params=AUTH)
        assert done.status_code == 200, done.text
    service.postgres.execute("UPDATE callapi.calls SET created_at = created_at - interval '2 h'")
    ended = await reach(service, call_id, "ended")
    assert (ended["reason"], ended["ended_by"], ended["cancelled"]) == ("answered", "limit", False)
    assert lab.channels() == []


@pytest.mark.parametrize(
    ("call", "phase", "reason"),
    [
        (("153", TALKS), "agent_ringing", "cancelled"),
        (("154", NO_ANSWER), "customer_ringing", "cancelled"),
        (("154", TALKS_ON), "talking", "answered"),
        (("156", TALKS_RTP), "talking", "answered"),
    ],
)
async def test_hanging_up_in_every_phase(
    start: Services, lab: Lab, call: tuple[str, str], phase: str, reason: str
) -> None:
    """Nobody rings or talks any more; the reason is the caller's wish, unless both had talked."""
    service = await start()
    call_id = await place(service, *call)
    await reach(service, call_id, phase)

    done = await service.http.delete(f"/api/calls/{call_id}", params=AUTH)

    assert (done.status_code, done.json()["success"]) == (200, True), done.text
    ended = await reach(service, call_id, "ended")
    assert (ended["reason"], ended["cancelled"]) == (reason, True)
    assert lab.channels() == []
    again = await service.http.delete(f"/api/calls/{call_id}", params=AUTH)
    assert (again.status_code, again.json()["code"]) == (409, "call-ended")


async def test_a_call_without_its_local_channels_is_still_followed(
    start: Services, lab: Lab
) -> None:
    """With sound the root vanishes at the customer's answer; the call goes on, and is talking."""
    service = await start()
    call_id = await place(service, "156", TALKS_RTP)
    await reach(service, call_id, "talking")
    for _ in range(100):
        if not any("Local/" in line for line in lab.channels()):
            break
        await asyncio.sleep(0.02)
    await asyncio.sleep(0.7)
    assert lab.channels()
    assert (await state(service, call_id))["phase"] == "talking"
    assert (await reach(service, call_id, "ended"))["reason"] == "answered"


async def test_a_supervisor_who_barges_in_is_a_call_of_its_own(start: Services) -> None:
    """The tapped call goes on and ends as ever; the supervisor's ends with it."""
    service = await start()
    call_id = await place(service, "156", TALKS_RTP)
    await reach(service, call_id, "customer_ringing")
    answer = await service.monitor("02", "156", "159")
    spy_id = answer.json()["call_id"]

    tapped, spy = await asyncio.gather(
        reach(service, call_id, "ended"), reach(service, spy_id, "ended")
    )

    assert (phases(tapped), tapped["reason"]) == (TALK, "answered")
    assert (phases(spy), spy["reason"], spy["kind"]) == (ANSWERS, "answered", "monitor")
    assert not {leg["channel"] for leg in tapped["legs"]} & {leg["channel"] for leg in spy["legs"]}


@pytest.mark.parametrize(
    ("agent", "customer"), [("154", TALKS_ON), ("156", TALKS_RTP)], ids=["silent", "with sound"]
)
async def test_a_customer_is_handed_over(
    start: Services, lab: Lab, phones: Phones, agent: str, customer: str
) -> None:
    """The new extension rings once, also where it is asked twice; the first agent is free."""
    service = await start()
    call_id = await place(service, agent, customer)
    await reach(service, call_id, "talking")
    path = f"/api/calls/{call_id}/transfer"

    done, again = [await service.http.post(path, params=AUTH, json={"to": "151"}) for _ in range(2)]

    assert (done.status_code, done.json()["repeated"]) == (200, False), done.text
    assert (again.status_code, again.json()["repeated"]) == (200, True), again.text
    await until(lambda: bool(devices(lab, "151")) and not devices(lab, agent))
    call = await state(service, call_id)
    assert (call["phase"], call["transferred_to"]) == ("talking", "151")
    lab.hangup_all()
    ended = await reach(service, call_id, "ended")
    assert ended["reason"] == "answered"
    assert phones.so_far()["151"] == 1


@pytest.mark.parametrize("pause_s", [0.0, 0.01])
@pytest.mark.parametrize(
    ("agent", "customer"), [("154", TALKS_ON), ("156", TALKS_RTP)], ids=["silent", "with sound"]
)
async def test_a_call_that_was_just_handed_over_is_ended_whole(
    start: Services, lab: Lab, agent: str, customer: str, pause_s: float
) -> None:
    """At any moment: while Asterisk takes the first agent away, or has the new one rung."""
    service = await start()
    call_id = await place(service, agent, customer)
    await reach(service, call_id, "talking")
    path = f"/api/calls/{call_id}"

    handed = await service.http.post(f"{path}/transfer", params=AUTH, json={"to": "151"})
    assert handed.status_code == 200, handed.text
    await asyncio.sleep(pause_s)
    hung_up = await service.http.delete(path, params=AUTH)

    assert hung_up.status_code == 200, hung_up.text
    await until(lambda: not lab.channels())
    ended = await reach(service, call_id, "ended")
    assert (ended["reason"], ended["cancelled"]) == ("answered", True)


async def test_a_customer_is_not_handed_over_to_nobody(
    start: Services, lab: Lab, phones: Phones
) -> None:
    """Asterisk would report success and lose the customer: he talks on, and nobody rings."""
    service = await start()
    call_id = await place(service, "154", TALKS_ON)
    await reach(service, call_id, "talking")
    rang = phones.so_far()

    refused = await service.http.post(
        f"/api/calls/{call_id}/transfer", params=AUTH, json={"to": "9"}
    )

    assert (refused.status_code, refused.json()["code"]) == (422, "unknown-extension")
    assert refused.json()["dialled"] == "no"
    assert devices(lab, "154")
    assert (await state(service, call_id))["transferred_to"] is None
    assert phones.so_far() == rang


async def test_a_customer_who_still_rings_is_not_handed_over(
    start: Services, lab: Lab, phones: Phones
) -> None:
    """There is nobody to hand over yet; the call goes on as it was."""
    service = await start()
    call_id = await place(service, "154", NO_ANSWER)
    await reach(service, call_id, "customer_ringing")
    refused = await service.http.post(
        f"/api/calls/{call_id}/transfer", params=AUTH, json={"to": "151"}
    )
    assert (refused.status_code, refused.json()["code"]) == (409, "call-not-ready")
    assert devices(lab, "154")
    assert "151" not in phones.so_far()


def devices(lab: Lab, number: str) -> list[str]:
    """The live channels of a phone."""
    prefix = f"{lab.technology}/{number}-"
    return [line for line in lab.channels() if line.startswith(prefix)]


async def test_an_unknown_context_is_told(start: Services, phones: Phones) -> None:
    """Unchecked, Asterisk says nothing of it and nobody rings; the call failed, if it was seen."""
    service = await start(PRECHECK="off", DIALPLAN_CONTEXT="nowhere", UNKNOWN_HOLD_S=2)
    answer = await service.call("150", TALKS)
    [call] = service.calls()
    ended = await reach(service, str(call["call_id"]), "ended")
    # The channel lives for milliseconds: the list of channels after the command may miss it.
    told = (answer.status_code, ended["reason"], ended["cdr"])
    assert told in {(200, "failed", "none"), (500, "unknown", None)}
    assert phases(ended) in {RINGS[:2], RINGS[:1]}
    assert phones.so_far() == {}


async def test_records_that_come_late_correct_the_end(start: Services, lab: Lab) -> None:
    """Where Asterisk keeps records back the end is told as it was seen, then as it was written."""
    with lab.cdr("batch"):
        service = await start()
        call_id = await place(service, "154", TALKS)
        ended = await reach(service, call_id, "ended")
        assert (ended["reason"], ended["cdr"], ended["disposition"]) == (
            *("answered", "pending"),
            None,
        )
        assert 3 <= ended["talk_s"] <= 6
        lab.rx("cdr submit")
        while ended["cdr"] == "pending":
            ended = await state(service, call_id)
            await asyncio.sleep(0.1)
        assert (ended["reason"], ended["cdr"]) == ("answered", "confirmed")
        assert 3 <= ended["talk_s"] <= 5
        events = service.postgres.execute(
            "SELECT type, phase FROM callapi.call_events ORDER BY seq"
        )
        told = [event["type"] for event in events if event["phase"] == "ended"]
        assert told == ["call.phase", "call.corrected"]


@pytest.mark.parametrize("mode", ["off", "no-csv"])
async def test_without_records_none_are_guessed(
    start: Services, lab: Lab, mode: Literal["off", "no-csv"]
) -> None:
    """What was seen is told, its seconds too, and that no record says so."""
    with lab.cdr(mode):
        service = await start()
        ended = await reach(service, await place(service, "154", TALKS), "ended")
    assert (ended["reason"], ended["cdr"]) == ("answered", "off")
    assert ended["disposition"] is None
    # As exact as looks are frequent, on a machine that may be busy.
    assert (1 <= ended["ring_s"] <= 4, 3 <= ended["talk_s"] <= 6) == (True, True), ended
