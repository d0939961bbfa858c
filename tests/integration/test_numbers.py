"""A number as people write it, and one number in several spellings."""

from __future__ import annotations

from typing import Any

import pytest

from tests.integration.service import Service, Services
from tests.integration.test_history import told, write
from tests.integration.test_reading import add, listed
from tests.integration.test_tolls import DOORS, PREMIUM, Door, refused, rules, started
from tests.unit.cdr_rows import EPOCH, line

pytestmark = pytest.mark.anyio

WHOLE, HOME, PLAIN = "+375290000007", "80290000007", "375290000007"
# Of PREMIUM, as any dialplan of Belarus may be given it.
PREMIUM_ABROAD, PREMIUM_HOME = "+375900", "80900"


@pytest.mark.parametrize(
    ("written", "dialled"),
    [
        ("8 (029) 000-00-07", HOME),
        ("tel:+375-29-000-00-07", WHOLE),
        (" +375\u00a029\u202f000\u201300\u201307", WHOLE),
    ],
)
async def test_a_number_is_dialled_as_its_digits(
    service: Service, written: str, dialled: str
) -> None:
    """The answer says what was read, the PBX gets nothing else, and the call is listed by it."""
    answer = await service.http.post("/api/calls", json={"from": "150", "to": written})
    assert (answer.status_code, answer.json()["to_phone"]) == (201, dialled), answer.text
    (command,) = service.originates()
    assert command.endswith(f" Dial LOCAL/{dialled}@inoffice")
    assert (await service.call(phone=written.strip())).json()["repeated"] is True
    params = {"number": written.strip()}
    listed_calls = (await service.http.get("/api/calls", params=params)).json()["calls"]
    assert [call["to"] for call in listed_calls] == [dialled]


async def place(service: Service, phone: str, **headers: Any) -> dict[str, Any]:
    """Place a call; what is answered."""
    body: dict[str, Any] = (await service.call(phone=phone, **headers)).json()
    return body


@pytest.mark.parametrize("region", ["", "BY"])
@pytest.mark.parametrize("key", [None, "click-1"])
async def test_a_repeat_may_be_written_otherwise(
    start: Services, region: str, key: str | None
) -> None:
    """With a REGION one click in three spellings rings once; without, each is another number."""
    service = await start(REGION=region)
    first = await place(service, WHOLE, key=key)
    for spelling in (HOME, PLAIN):
        again = await place(service, spelling, key=key)
        if region:
            assert (again["repeated"], again["call_id"]) == (True, first["call_id"])
        else:
            assert again.get("code") == ("idempotency-key-reused" if key else None)
            assert key or not again["repeated"]
    assert len(service.originates()) == (3 if not (region or key) else 1)
    assert service.originates()[0].endswith(f" Dial LOCAL/{WHOLE}@inoffice")


async def test_another_number_is_no_repeat(start: Services) -> None:
    """Nor is the same one for another extension."""
    service = await start(REGION="BY")
    await place(service, WHOLE)
    assert not (await place(service, "80290000008"))["repeated"]
    assert not (await service.call("151", HOME)).json()["repeated"]


@pytest.mark.parametrize("door", DOORS)
@pytest.mark.parametrize(
    ("prefix", "given_as"),
    [
        (PREMIUM_ABROAD, "settings"),
        (PREMIUM_HOME, "rules"),
        ("37590", "rules"),
        ("81037590", "settings"),
    ],
)
async def test_a_number_is_denied_in_every_spelling(
    start: Services, door: Door, prefix: str, given_as: str
) -> None:
    """Of all or of one enterprise, at each door; the refusal names the number as it was asked."""
    settings = {"DESTINATIONS_DENIED": prefix} if given_as == "settings" else {}
    service, talking = await started(start, REGION="BY", **settings)
    if given_as == "rules":
        rules("--denied", "7", prefix)
    detail = await refused(service, door, talking, 403, "destination-denied")
    assert detail == f"Calls to {PREMIUM} are not allowed"


async def test_another_enterprise_s_denials_deny_nothing(start: Services) -> None:
    """Each has its own, in whatever spelling."""
    service = await start(REGION="BY")
    service.postgres.execute(
        "INSERT INTO callapi.enterprise_rules (enterprise, denied) VALUES ('0368', '{+37529}')"
    )
    assert (await place(service, HOME))["success"] is True


async def test_without_a_region_a_denial_is_letter_by_letter(start: Services) -> None:
    """As ever."""
    service = await start(DESTINATIONS_DENIED="+37529")
    assert (await service.call(phone=HOME)).status_code == 200
    assert (await service.call(phone=WHOLE)).status_code == 403


async def test_what_is_allowed_is_so_as_it_is_dialled(start: Services) -> None:
    """What a PBX makes of another spelling is not known."""
    service = await start(REGION="BY", DESTINATIONS_ALLOWED="+375")
    assert (await service.call(phone=WHOLE)).status_code == 200
    assert (await service.call(phone=HOME)).status_code == 403


@pytest.mark.parametrize("asked", [WHOLE, HOME, PLAIN])
async def test_a_filter_finds_every_spelling(start: Services, asked: str) -> None:
    """Of the enterprise's calls, and of the PBX's own records."""
    service = await start(REGION="BY")
    add(service, 1)
    ids = [*add(service, 1, phone=WHOLE), *add(service, 1, phone=HOME)]
    write(
        service,
        *(
            line(
                f"SIP/trunk-{n:08x}", f"SIP/150-{n:08x}", talks=9, uniqueid=f"{EPOCH}.{n}", src=src
            )
            for n, src in enumerate((WHOLE, HOME, PLAIN, "+375290000008"))
        ),
    )
    assert sorted(await listed(service, f"?number={asked.replace('+', '%2B')}")) == sorted(ids)
    assert {call["from"] for call in await told(service, number=asked)} == {WHOLE, HOME, PLAIN}
