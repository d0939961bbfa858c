"""Click-to-call: what 200 promises, and whose phones ring how often."""

from __future__ import annotations

import asyncio
import re
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path

import anyio.to_thread
import pytest

from tests.pbx.lab import Lab
from tests.pbx.service import (
    BUSY,
    NO_ANSWER,
    TALKS,
    Phones,
    Service,
    Services,
    environment,
    run_process,
)
from tests.postgres import Postgres

pytestmark = pytest.mark.anyio


async def test_a_crm_connects_an_agent_with_a_customer(
    lab: Lab, postgres: Postgres, phones: Phones, tmp_path: Path
) -> None:
    """Over TCP: the agent rings once; when it has answered, the customer rings once."""
    mark = lab.log_mark()
    async with run_process(tmp_path, environment(postgres, lab)) as crm:
        answer = await crm.call("154", TALKS)
        rung = await phones.in_the_end()

    body = answer.json()
    expected = {
        "success": True,
        "message": f"Call initiated successfully: 154 -> {TALKS}",
        "enterprise": "june",
        "enterprise_number": "0367",
        "from_ext": "154",
        "to_phone": TALKS,
        "host_ip": "127.0.0.1",
        "phase": "accepted",
        "repeated": False,
    }
    assert (answer.status_code, {name: body[name] for name in expected}) == (200, expected)
    assert rung == {"154": 1, "trunktalk": 1}
    (uri,) = phones.dialled("trunktalk")
    assert uri.startswith(f"sip:{TALKS}@")
    log = lab.log_since(mark)
    answered = first(rf"{lab.technology}/154-\S+ answered Local/154@inoffice-", log)
    called = first(rf"Called {lab.technology}/\{TALKS}@trunktalk", log)
    assert answered < called


def first(pattern: str, log: list[str]) -> int:
    """The number of the first line that has this."""
    return next(number for number, line in enumerate(log) if re.search(pattern, line))


@dataclass(frozen=True)
class Fate:
    """What becomes of a call, by the phones that ring."""

    code: str
    phone: str
    rings: tuple[str, ...]
    lasts: bool = True  # for seconds, so that it is sure to be seen among Asterisk's channels


FATES = [
    Fate("152", "+375331000152", ("152",), lasts=False),  # the agent is busy after a while
    Fate("155", "+375331000155", ("155",), lasts=False),  # the agent is busy at once
    Fate("153", "+375331000153", ("153",)),  # the agent does not answer
    Fate("154", BUSY, ("154", "trunkbusy"), lasts=False),
    Fate("156", NO_ANSWER, ("156", "trunkna")),
    # The customer's number does not exist.
    Fate("159", "+375290000004", ("159", "trunk404"), lasts=False),
]


async def test_whatever_becomes_of_a_call_each_phone_rings_once(
    lab: Lab, phones: Phones, start: Services
) -> None:
    """Busy, silent or unknown, agent or customer: accepted, one INVITE each, the root recorded."""
    service = await start()
    mark = lab.log_mark()

    await asyncio.gather(*(accepted_with_its_root(lab, service, fate) for fate in FATES))

    expected = {phone: 1 for fate in FATES for phone in fate.rings}
    assert await phones.in_the_end() == dict(sorted(expected.items()))
    rows = {row["code"]: row for row in service.calls()}
    for fate in FATES:
        # The log knows every channel, also one that was gone before anybody could look.
        pattern = rf"Local/{fate.code}@inoffice-[0-9a-f]+"
        pairs = {name for line in lab.log_since(mark) for name in re.findall(pattern, line)}
        assert {rows[fate.code]["root_channel"]} == {f"{name};1" for name in pairs}


async def accepted_with_its_root(lab: Lab, service: Service, fate: Fate) -> None:
    """Place a call and look at once whether Asterisk has the channel that was recorded."""
    answer = await service.call(fate.code, fate.phone)
    channels = await anyio.to_thread.run_sync(lab.channels)

    body = answer.json()
    assert (answer.status_code, body["phase"]) == (200, "accepted")
    (row,) = [row for row in service.calls() if str(row["call_id"]) == body["call_id"]]
    assert (row["state"], row["error_code"], row["code"]) == ("executed", None, fate.code)
    assert (row["phone"], row["kind"], row["host"]) == (fate.phone, "call", "127.0.0.1")
    live = {line.split("!")[0]: line.split("!")[-1] for line in channels}
    if fate.lasts:
        assert live[row["root_channel"]] == row["root_uniqueid"]


async def test_many_clicks_at_two_services_are_one_call(
    lab: Lab, postgres: Postgres, phones: Phones, tmp_path: Path
) -> None:
    """20 equal requests at once, at two processes: one INVITE, and all are told its call_id."""
    settings = environment(postgres, lab)
    async with AsyncExitStack() as stack:
        crms = await asyncio.gather(
            *(stack.enter_async_context(run_process(tmp_path, settings)) for _ in range(2))
        )
        clicks = (crm.call("154", BUSY) for _ in range(10) for crm in crms)
        answers = await asyncio.gather(*clicks)
        rung = await phones.in_the_end()

    bodies = [answer.json() for answer in answers]
    assert {answer.status_code for answer in answers} == {200}
    assert len({body["call_id"] for body in bodies}) == 1
    assert sorted(body["repeated"] for body in bodies) == [False] + 19 * [True]
    assert {body["phase"] for body in bodies if not body["repeated"]} == {"accepted"}
    assert rung == {"154": 1, "trunkbusy": 1}


async def test_another_number_is_another_call(phones: Phones, start: Services) -> None:
    """The same agent calls two customers, one after the other: two calls, none is a repeat."""
    service = await start()

    answers = [await service.call("155", phone) for phone in (TALKS, BUSY)]

    assert [answer.json()["repeated"] for answer in answers] == [False, False]
    assert len({answer.json()["call_id"] for answer in answers}) == 2
    assert await phones.in_the_end() == {"155": 2}
