"""What an enterprise may do, and how much of it: told in full, and nothing done when refused."""

from __future__ import annotations

import re
from typing import Any

import httpx
import pytest

from shared.operate import __main__ as operate
from tests.integration.service import OTHER_PHONE, PHONE, SECRET, Service, Services

pytestmark = pytest.mark.anyio

NEIGHBOUR = "july-77aa10c2b3d4e5f6"
LIMITS = {"RATE_LIMIT_ENTERPRISE": "5/3600", "RATE_LIMIT_EXTENSION": "2/3600"}


def _refused(answer: httpx.Response, code: str) -> dict[str, Any]:
    """Read a refusal by a rule."""
    body: dict[str, Any] = answer.json()
    assert (answer.status_code, body["code"], body["dialled"]) == (403, code, "no")
    assert "call_id" not in body
    return body


def _assert_nothing_was_done(service: Service) -> None:
    """No PBX was asked, nothing is claimed or recorded, and no token was taken."""
    assert (service.pbx.connections, service.pbx.commands) == (0, [])
    assert (service.claims(), service.calls(), service.tokens()) == (0, [], [])


def _rules(*arguments: str, number: str = "0367") -> None:
    """Set them as an operator does; they hold from the next request on."""
    assert operate.main(["rules", number, *arguments]) == 0


def _add_neighbour(service: Service, ip: str = "127.0.0.1", *, active: bool = True) -> None:
    """Add another enterprise, by default on the same PBX."""
    service.postgres.seed_enterprise("0368", "july", ip, NEIGHBOUR, active=active)


async def test_a_short_number_rings_as_an_extension_although_its_prefix_is_denied(
    start: Services,
) -> None:
    """Deny-lists are for destinations, as the settings' table says; a phone is always one."""
    service = await start(DESTINATIONS_DENIED="15")
    _rules("--denied", "15")
    assert (await service.call("150", OTHER_PHONE)).status_code == 200
    assert (await service.monitor(target="150", monitor_from="154")).status_code == 200
    _refused(await service.call("151", "154"), "destination-denied")


# Limits


async def test_what_is_left_is_told_with_every_new_call(start: Services) -> None:
    """The limit with the least left is named, with its size and when it is full again."""
    service = await start(**LIMITS)
    told = []
    for code, phone in (("150", PHONE), ("150", OTHER_PHONE), ("151", PHONE), ("153", PHONE)):
        answer = await service.call(code, phone)
        assert answer.status_code == 200
        told.append((answer.headers["RateLimit-Policy"], answer.headers["RateLimit"]))
    extension, enterprise = '"extension";q=2;w=3600', '"enterprise";q=5;w=3600'
    assert told == [
        (extension, '"extension";r=1;t=1800'),
        (extension, '"extension";r=0;t=3600'),
        (extension, '"extension";r=1;t=1800'),
        # Of four calls in all, one is left of the enterprise's five, and one of the extension's.
        (extension, '"extension";r=1;t=1800'),
    ]
    last = await service.call("154")
    assert (last.headers["RateLimit-Policy"], last.headers["RateLimit"]) == (
        enterprise,
        '"enterprise";r=0;t=3600',
    )


async def test_an_extension_over_its_limit_is_told_everything(start: Services) -> None:
    """429 with when to try again and which limit it was; another extension goes on."""
    service = await start(**LIMITS)
    for phone in (PHONE, OTHER_PHONE):
        assert (await service.call(phone=phone)).status_code == 200
    before = (service.tokens(), service.originates(), service.claims())
    limited = await service.call(phone="+375290000002")
    assert (limited.status_code, limited.json()["code"]) == (429, "rate-limited")
    assert limited.json()["dialled"] == "no"
    assert limited.json()["detail"].startswith("Too many calls of extension 150")
    assert 1700 < int(limited.headers["Retry-After"]) <= 1800
    assert limited.headers["RateLimit-Policy"] == '"extension";q=2;w=3600'
    assert limited.headers["RateLimit"] == '"extension";r=0;t=3600'
    assert (service.tokens(), service.originates(), service.claims()) == before
    assert (await service.call("151")).status_code == 200


async def test_an_enterprise_over_its_limit_is_told_everything(start: Services) -> None:
    """Its extensions count together, its calls and monitorings too; its neighbour goes on."""
    service = await start(RATE_LIMIT_ENTERPRISE="2/3600")
    _add_neighbour(service, "127.0.0.2")
    assert (await service.call()).status_code == 200
    assert (await service.monitor()).status_code == 200
    limited = await service.call("154")
    assert (limited.status_code, limited.json()["code"]) == (429, "rate-limited")
    assert limited.json()["detail"].startswith("Too many calls of this enterprise")
    assert 1700 < int(limited.headers["Retry-After"]) <= 1800
    assert limited.headers["RateLimit"] == '"enterprise";r=0;t=3600'
    assert (await service.monitor(monitor_from="153")).status_code == 429
    assert (await service.call(secret=NEIGHBOUR)).json()["code"] == "ssh-connect-failed"
    assert len(service.originates()) == 2


async def test_a_repeat_costs_nothing_and_tells_of_no_limit(start: Services) -> None:
    """A nervous finger takes no token, and is answered when none is left."""
    service = await start(RATE_LIMIT_EXTENSION="1/3600")
    first = await service.call()
    before = service.tokens()
    for _ in range(3):
        again = await service.call()
        assert (again.status_code, again.json()["call_id"]) == (200, first.json()["call_id"])
        assert not {"ratelimit", "ratelimit-policy"} & set(again.headers)
    assert service.tokens() == before
    assert len(service.originates()) == await service.rung("150") == 1


async def test_wrong_secrets_are_limited_by_their_address(start: Services) -> None:
    """Whoever tries secrets is slowed down; a right one from there, or another address, is not."""
    service = await start(RATE_LIMIT_ADDRESS="2/3600")
    params = {"code": "150", "phone": PHONE}

    async def attempt(client: httpx.AsyncClient, secret: str) -> httpx.Response:
        headers = {"Authorization": f"Bearer {secret}"}
        return await client.get("/api/makecallexternal", params=params, headers=headers)

    async with service.from_address("192.0.2.7") as thief, service.from_address("::1") as other:
        for n in range(2):
            answer = await attempt(thief, f"guess-{n}")
            assert (answer.status_code, answer.json()["code"]) == (401, "invalid-client-id")
        limited = await attempt(thief, "guess-3")
        assert (limited.status_code, limited.json()["code"]) == (429, "rate-limited")
        assert limited.json()["detail"].startswith("Too many wrong secrets from this address")
        assert 1700 < int(limited.headers["Retry-After"]) <= 1800
        assert limited.headers["RateLimit-Policy"] == '"address";q=2;w=3600'
        assert limited.json()["dialled"] == "no"
        assert service.pbx.connections == 0
        assert (await attempt(other, "guess-4")).status_code == 401
        tokens = [row for row in service.tokens() if row["key"].startswith("a:")]
        assert (await attempt(thief, SECRET)).status_code == 200
        assert (await attempt(thief, "guess-5")).status_code == 429
        assert [row for row in service.tokens() if row["key"].startswith("a:")] == tokens


# Destinations


@pytest.mark.parametrize("given_as", ["settings", "rules"])
@pytest.mark.parametrize(
    ("allowed", "denied", "phone", "permitted"),
    [
        (["+375", "8029"], [], "+375296254070", True),
        (["+375", "8029"], [], "80296254070", True),
        (["+375", "8029"], [], "375296254070", False),
        (["+375", "8029"], [], "+37", False),
        ([], ["+7", "810"], "+79160000000", False),
        ([], ["+7", "810"], "8107", False),
        ([], ["+7", "810"], "+375296254070", True),
        (["+375"], ["+37529"], "+375296254070", False),
        (["+375"], ["+37529"], "+375256254070", True),
        (["+375"], ["+37529"], "+79160000000", False),
    ],
)
async def test_only_permitted_destinations_are_called(
    start: Services,
    given_as: str,
    allowed: list[str],
    denied: list[str],
    phone: str,
    *,
    permitted: bool,
) -> None:
    """A prefix must be allowed, if any is named, and not denied: of all, or of one enterprise."""
    if given_as == "settings":
        lists = {"DESTINATIONS_ALLOWED": ",".join(allowed), "DESTINATIONS_DENIED": ",".join(denied)}
        service = await start(**lists)
    else:
        service = await start()
        _rules("--allowed", *allowed, "--denied", *denied)
    answer = await service.call(phone=phone)
    if permitted:
        assert answer.status_code == 200
        assert len(service.originates(phone)) == 1
    else:
        assert _refused(answer, "destination-denied")["detail"] == (
            f"Calls to {phone} are not allowed"
        )
        posted = await service.http.post("/api/calls", json={"from": "150", "to": phone})
        _refused(posted, "destination-denied")
        _assert_nothing_was_done(service)


async def test_settings_and_rules_both_hold(start: Services) -> None:
    """An enterprise's own list widens nothing that the service forbids, nor the other way."""
    service = await start(DESTINATIONS_ALLOWED="+375,+7", DESTINATIONS_DENIED="+37533")
    _rules("--allowed", "+37529", "+37533", "+48", "--denied", "+3752900")
    answers = {
        phone: (await service.call(phone=phone)).status_code
        for phone in ("+375296254070", "+375330000000", "+48220000000", "+375290000001", "+79160")
    }
    assert list(answers.values()) == [200, 403, 403, 403, 403]
    assert len(service.originates()) == 1


async def test_the_rules_of_one_enterprise_are_not_anothers(start: Services) -> None:
    """The neighbour calls what this one may not."""
    service = await start()
    _add_neighbour(service)
    _rules("--denied", "+375")
    _refused(await service.call(), "destination-denied")
    assert (await service.call(secret=NEIGHBOUR)).status_code == 200


async def test_monitoring_has_no_destination(start: Services) -> None:
    """Whom it taps is an extension of the PBX: the lists are about phones outside."""
    service = await start(DESTINATIONS_ALLOWED="+375")
    assert (await service.monitor()).status_code == 200


async def test_a_rule_is_asked_before_a_repeat(start: Services) -> None:
    """What was allowed a moment ago is refused at once when it no longer is."""
    service = await start()
    assert (await service.call(key="k")).status_code == 200
    _rules("--denied", "+375")
    _refused(await service.call(key="k"), "destination-denied")
    _rules("--denied")
    assert (await service.call(key="k")).json()["repeated"]
    assert len(service.originates()) == 1


# Stopped


async def test_stopped_dialling_stops_everything_at_once(start: Services) -> None:
    """The operator's switch: every call and monitoring is refused until it is on again."""
    service = await start()
    _add_neighbour(service, "127.0.0.2")
    _rules("--dialling", "off")
    for answer in (
        await service.call(),
        await service.call(key="k"),
        await service.monitor(),
        await service.http.post("/api/calls", json={"from": "150", "to": PHONE}),
    ):
        assert _refused(answer, "dialling-stopped")["detail"] == (
            "Dialling is stopped for this enterprise"
        )
    _assert_nothing_was_done(service)
    assert "❌ 150 -> +375296254070: Dialling is stopped" in service.log()
    assert (await service.call(secret=NEIGHBOUR)).json()["code"] == "ssh-connect-failed"
    _rules("--dialling", "on")
    assert (await service.call()).status_code == 200
    assert len(service.originates()) == await service.rung("150") == 1


async def test_a_wrong_secret_learns_of_no_rule(start: Services) -> None:
    """Who is not known is told that and nothing else."""
    service = await start()
    _rules("--dialling", "off")
    answer = await service.call(secret="wrong")
    assert (answer.status_code, answer.json()["code"]) == (401, "invalid-client-id")


# Two enterprises on one PBX


async def test_on_a_shared_pbx_nobody_is_monitored(start: Services) -> None:
    """Another active enterprise has the same ip: its calls might be heard, so monitoring is 403."""
    service = await start()
    _add_neighbour(service)
    for secret in (SECRET, NEIGHBOUR):
        for action in ("09", "01", "02"):
            body = _refused(await service.monitor(action, secret=secret), "shared-host")
            assert "another enterprise" in body["detail"]
            assert "july" not in body["detail"]
    _assert_nothing_was_done(service)
    for secret in (SECRET, NEIGHBOUR):
        assert (await service.call(secret=secret)).status_code == 200, "calls are not refused"


@pytest.mark.parametrize("ip", [" 127.0.0.1", "127.0.0.1 "])
async def test_a_shared_ip_is_recognised_however_it_is_written(start: Services, ip: str) -> None:
    """Blanks around an address make no other host of it."""
    service = await start()
    _add_neighbour(service, ip)
    _refused(await service.monitor(), "shared-host")


async def test_an_inactive_neighbour_does_not_count(start: Services) -> None:
    """An enterprise that is switched off has no calls that could be heard."""
    service = await start()
    _add_neighbour(service, active=False)
    assert (await service.monitor()).status_code == 200
    service.postgres.execute("UPDATE enterprises SET active = NULL WHERE number = '0368'")
    assert (await service.monitor("01")).status_code == 200
    service.postgres.execute("UPDATE enterprises SET active = true WHERE number = '0368'")
    _refused(await service.monitor("02"), "shared-host")


async def test_a_neighbour_on_another_pbx_does_not_count(start: Services) -> None:
    """Only the same ip is the same PBX."""
    service = await start()
    _add_neighbour(service, "127.0.0.11")
    assert (await service.monitor()).status_code == 200


async def test_a_shared_pbx_may_be_allowed(start: Services) -> None:
    """SHARED_HOSTS=allow: the operator knows that these enterprises are one."""
    service = await start(SHARED_HOSTS="allow")
    _add_neighbour(service)
    for secret in (SECRET, NEIGHBOUR):
        assert (await service.monitor(secret=secret)).status_code == 200
    assert len(service.originates()) == 2


async def test_named_extensions_allow_monitoring_on_a_shared_pbx(start: Services) -> None:
    """Once it is said whose is whose, each enterprise monitors its own, in either role."""
    service = await start()
    _add_neighbour(service)
    _rules("--extensions", "150", "151")
    _rules("--extensions", "153", "154", number="0368")
    assert (await service.monitor(target="150", monitor_from="151")).status_code == 200
    answer = await service.monitor(target="153", monitor_from="154", secret=NEIGHBOUR)
    assert answer.status_code == 200
    assert len(service.originates()) == 2


@pytest.mark.parametrize("shared", [False, True])
async def test_extensions_of_others_are_refused_in_every_role(
    start: Services, *, shared: bool
) -> None:
    """Neither rung first, nor rung for a monitoring, nor tapped; on a shared PBX or not."""
    service = await start()
    if shared:
        _add_neighbour(service)
    _rules("--extensions", "150", "151")
    for answer in (
        await service.call("153"),
        await service.http.post("/api/calls", json={"from": "1501", "to": PHONE}),
        await service.monitor(target="153", monitor_from="150"),
        await service.monitor(target="150", monitor_from="153"),
        await service.monitor(target="153", monitor_from="154"),
    ):
        body = _refused(answer, "extension-not-owned")
        assert re.fullmatch("Extension (153|154|1501) is not this enterprise's", body["detail"])
    _assert_nothing_was_done(service)
    assert (await service.call("150")).status_code == 200


async def test_the_neighbour_without_named_extensions_still_may_not_monitor(
    start: Services,
) -> None:
    """What one enterprise has named says nothing about the other."""
    service = await start()
    _add_neighbour(service)
    _rules("--extensions", "150", "151")
    _refused(await service.monitor("09", "153", "154", secret=NEIGHBOUR), "shared-host")
    assert service.pbx.connections == 0


@pytest.mark.parametrize("extensions", ["ARRAY['150', NULL]", "ARRAY[NULL]", "ARRAY[]"])
async def test_a_list_with_a_hole_names_the_others_all_the_same(
    start: Services, extensions: str
) -> None:
    """What another program has written there gives nobody the extensions of others."""
    service = await start()
    service.postgres.execute(
        "INSERT INTO callapi.enterprise_rules (enterprise, extensions)"
        f" VALUES ('0367', {extensions}::text[])"
    )
    _refused(await service.call("151"), "extension-not-owned")
    _refused(await service.monitor(target="151", monitor_from="150"), "extension-not-owned")
    _assert_nothing_was_done(service)
