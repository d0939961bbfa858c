"""Every number that rings obeys the same rules, by whatever door it comes in."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

import httpx
import pytest

from shared.operate import __main__ as operate
from tests.integration.followed import TALKS_ON, follow, place, reach
from tests.integration.service import PHONE, Service, Services

pytestmark = pytest.mark.anyio

# The stand-in's dialplan, like many, leads any number of two digits and more to a phone.
PREMIUM = "0900123456"
ALLOWED = "+375"

Door = Callable[[Service, str, str], Awaitable[httpx.Response]]


async def by_code(service: Service, number: str, _talking: str) -> httpx.Response:
    """The extension of the specification's call."""
    return await service.call(code=number)


async def by_phone(service: Service, number: str, _talking: str) -> httpx.Response:
    """Its phone."""
    return await service.call(phone=number)


async def by_from(service: Service, number: str, _talking: str) -> httpx.Response:
    """The modern call's extension."""
    return await service.http.post("/api/calls", json={"from": number, "to": PHONE})


async def by_to(service: Service, number: str, _talking: str) -> httpx.Response:
    """The modern call's phone."""
    return await service.http.post("/api/calls", json={"from": "150", "to": number})


async def by_monitor_from(service: Service, number: str, _talking: str) -> httpx.Response:
    """The supervisor's extension."""
    return await service.monitor(monitor_from=number, target="154")


async def by_transfer(service: Service, number: str, talking: str) -> httpx.Response:
    """The extension to which a customer is handed over."""
    return await service.http.post(f"/api/calls/{talking}/transfer", json={"to": number})


DOORS: list[Door] = [by_code, by_phone, by_from, by_to, by_monitor_from, by_transfer]
doors = pytest.mark.parametrize("door", DOORS)


def rules(*arguments: str) -> None:
    """Set them as an operator does."""
    assert operate.main(["rules", "0367", *arguments]) == 0


def sent(service: Service) -> list[str]:
    """What rings a phone, on the wire."""
    return [
        command
        for command in service.pbx.commands
        if command.startswith(("channel originate", "channel redirect"))
    ]


async def refused(service: Service, door: Door, talking: str, status: int, code: str) -> str:
    """See the number refused at a door, and nothing sent; return what the caller reads."""
    before = sent(service)
    answer = await door(service, PREMIUM, talking)
    body: dict[str, Any] = answer.json()
    assert (answer.status_code, body["code"], body["dialled"]) == (status, code, "no"), body
    assert sent(service) == before
    assert PREMIUM not in service.pbx.invites
    return str(body["detail"])


async def started(start: Services, **settings: Any) -> tuple[Service, str]:
    """Start a service one of whose calls talks; its id."""
    service = await follow(start, **settings)
    talking = await place(service, "154", TALKS_ON)
    await reach(service, talking, "talking")
    return service, talking


@doors
@pytest.mark.parametrize("given_as", ["settings", "rules"])
@pytest.mark.parametrize("allowed", [None, ALLOWED])
async def test_a_destination_obeys_the_rules(
    start: Services, door: Door, given_as: str, allowed: str | None
) -> None:
    """Denied, or not among those allowed: of all or of one enterprise, at each door."""
    option = ("DESTINATIONS_ALLOWED", allowed) if allowed else ("DESTINATIONS_DENIED", "0900")
    settings = dict([option]) if given_as == "settings" else {}
    service, talking = await started(start, **settings)
    if given_as == "rules":
        rules("--allowed" if allowed else "--denied", option[1])
    detail = await refused(service, door, talking, 403, "destination-denied")
    assert detail == f"Calls to {PREMIUM} are not allowed"


@doors
async def test_stopped_dialling_stops_every_door(start: Services, door: Door) -> None:
    """The operator's switch holds for all that rings."""
    service, talking = await started(start)
    rules("--dialling", "off")
    await refused(service, door, talking, 403, "dialling-stopped")


@doors
async def test_a_used_up_limit_holds_at_every_door(start: Services, door: Door) -> None:
    """The enterprise's own limit: another extension each time is no way around it."""
    service, talking = await started(start, RATE_LIMIT_ENTERPRISE="1/3600")
    detail = await refused(service, door, talking, 429, "rate-limited")
    assert detail.startswith("Too many calls of this enterprise")


@pytest.mark.parametrize("door", [door for door in DOORS if door is not by_transfer])
async def test_a_used_up_cap_holds_at_every_door_that_opens_a_call(
    start: Services, door: Door
) -> None:
    """Another extension each time is no way around the enterprise's own."""
    service, talking = await started(start, OPEN_CALLS_ENTERPRISE=1)
    detail = await refused(service, door, talking, 429, "too-many-open-calls")
    assert detail.startswith("Too many calls of this enterprise are open, 1 may be at once")


async def test_a_transfer_passes_a_call_on_and_opens_none(start: Services) -> None:
    """With the enterprise's last place taken by that very call."""
    service, talking = await started(start, OPEN_CALLS_ENTERPRISE=1, OPEN_CALLS_EXTENSION=1)
    answer = await by_transfer(service, "151", talking)
    assert answer.is_success, answer.text


@doors
async def test_a_new_number_is_one_at_every_door(start: Services, door: Door) -> None:
    """The call that talks was the one that may be to a new number."""
    service, talking = await started(start, RATE_LIMIT_NEW_NUMBERS="1/3600")
    detail = await refused(service, door, talking, 429, "rate-limited")
    assert detail.startswith("Too many calls of this enterprise to numbers that it had not called")


@pytest.mark.parametrize("door", [by_code, by_from, by_monitor_from, by_transfer])
async def test_an_extension_of_others_is_refused_at_every_door(start: Services, door: Door) -> None:
    """Where extensions are named, whoever else would ring is refused by its number."""
    service, talking = await started(start)
    rules("--extensions", "150", "154")
    detail = await refused(service, door, talking, 403, "extension-not-owned")
    assert detail == f"Extension {PREMIUM} is not this enterprise's"


@doors
async def test_without_a_rule_the_number_rings(start: Services, door: Door) -> None:
    """So it is the rules that refuse it, and not the PBX."""
    service, talking = await started(start)
    answer = await door(service, PREMIUM, talking)
    assert answer.is_success, answer.text
    assert PREMIUM in sent(service)[-1]


@pytest.mark.parametrize("door", [by_code, by_monitor_from, by_transfer])
async def test_a_named_extension_is_no_destination(start: Services, door: Door) -> None:
    """An operator who has extensions of ten digits names them, and they ring."""
    service, talking = await started(start, DESTINATIONS_ALLOWED=ALLOWED)
    rules("--extensions", "154", PREMIUM)
    answer = await door(service, PREMIUM, talking)
    assert answer.is_success, answer.text
    assert PREMIUM in sent(service)[-1]


@pytest.mark.parametrize("door", [by_code, by_monitor_from, by_transfer])
async def test_how_long_an_extension_is_may_be_set(start: Services, door: Door) -> None:
    """EXTENSION_DIGITS=10: then a number of ten digits is an extension like any other."""
    service, talking = await started(start, DESTINATIONS_ALLOWED=ALLOWED, EXTENSION_DIGITS=10)
    assert (await door(service, PREMIUM, talking)).is_success
    assert PREMIUM in sent(service)[-1]


async def test_what_is_tapped_is_no_destination(start: Services) -> None:
    """`target` is never dialled: the lists are not about it, ownership is."""
    service, _ = await started(start, DESTINATIONS_ALLOWED=ALLOWED)
    assert (await service.monitor(target=PREMIUM)).status_code == 200
    rules("--extensions", "150", "151", "154")
    answer = await service.monitor(target=PREMIUM)
    assert answer.json()["code"] == "extension-not-owned"


async def test_a_transfer_costs_what_a_call_costs(start: Services) -> None:
    """Its answer tells what is left; the same once more is a repeat, which costs nothing."""
    service, talking = await started(start, RATE_LIMIT_ENTERPRISE="3/3600")
    first = await by_transfer(service, "151", talking)
    assert first.headers["RateLimit"] == '"enterprise";r=1;t=2400'
    again = await by_transfer(service, "151", talking)
    assert again.json()["repeated"]
    assert "RateLimit" not in again.headers
    second = await by_transfer(service, "150", talking)
    assert second.headers["RateLimit"] == '"enterprise";r=0;t=3600'
    repeated = await by_transfer(service, "150", talking)
    assert (repeated.status_code, repeated.json()["repeated"]) == (200, True)
    assert (await by_transfer(service, "151", talking)).status_code == 429


async def test_a_refused_transfer_takes_no_token(start: Services) -> None:
    """Neither of the extension nor of the enterprise, and the customer talks on."""
    service, talking = await started(start, RATE_LIMIT_ENTERPRISE="1/3600")
    before = service.tokens()
    assert (await by_transfer(service, "151", talking)).status_code == 429
    assert service.tokens() == before
    assert service.row(talking)["transferred_to"] is None
    assert service.row(talking)["phase"] == "talking"
