"""`/api/webhooks`: an enterprise manages its own, where an operator has allowed it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any
from uuid import uuid4

import httpx
import pytest

from tests.integration.followed import BUSY, allow_webhooks, follow, place
from tests.integration.receiver import Receiver, receiving
from tests.integration.service import SECRET, Service, Services, until

pytestmark = pytest.mark.anyio

JULY = "july-77aa10c2b3d4e5f6"
LOCAL = "127.0.0.0/8"


@pytest.fixture
async def receiver() -> AsyncIterator[Receiver]:
    """A receiver that accepts everything."""
    async with receiving() as one:
        yield one


@pytest.fixture
async def service(start: Services) -> Service:
    """A service that sends nothing itself; somebody else does, as far as it knows."""
    service = await start(WEBHOOKS_ALLOW_PRIVATE=LOCAL)
    allow_webhooks(service)
    service.postgres.execute("DELETE FROM callapi.webhooks")
    return service


async def ask(
    service: Service, method: str, path: str = "", *, secret: str = SECRET, **options: Any
) -> httpx.Response:
    """Ask for something of webhooks."""
    headers = {"Authorization": f"Bearer {secret}"}
    return await service.http.request(method, f"/api/webhooks{path}", headers=headers, **options)


async def create(service: Service, url: str, **filters: Any) -> tuple[str, str]:
    """Create one: its id and its secret."""
    answer = await ask(service, "POST", json={"url": url, **filters})
    assert answer.status_code == 201, answer.text
    body = answer.json()
    return body["webhook"]["webhook_id"], body["secret"]


def problem(answer: httpx.Response) -> tuple[int, str]:
    """Read a refusal."""
    return answer.status_code, answer.json()["code"]


async def test_a_call_on_the_pbx_arrives_signed(start: Services, receiver: Receiver) -> None:
    """Each phase as `GET /api/events` tells it, in order, by the process that follows the call."""
    service = await follow(start, WEBHOOKS_ALLOW_PRIVATE=LOCAL)
    allow_webhooks(service)
    service.postgres.execute("DELETE FROM callapi.webhooks")
    webhook, secret = await create(service, receiver.url)
    call_id = await place(service, "150", BUSY)
    await until(lambda: any(got.told["call"]["phase"] == "ended" for got in receiver.got))
    assert all(got.is_signed_by(secret) for got in receiver.got)
    # Noted once it was accepted.
    noted = "SELECT count(*) AS n FROM callapi.webhook_deliveries"
    await until(lambda: service.postgres.execute(noted)[0]["n"] == len(receiver.got))
    told = (await service.http.get("/api/events?after=0")).json()["events"]
    assert [got.told for got in receiver.got] == told
    assert {event["call"]["call_id"] for event in told} == {call_id}
    log = (await ask(service, "GET", f"/{webhook}/deliveries")).json()["deliveries"]
    assert [(one["seq"], one["status"]) for one in reversed(log)] == [
        (event["seq"], 200) for event in told
    ]


async def test_all_calls_of_the_pbx_are_watched_for_a_webhook(
    start: Services, receiver: Receiver
) -> None:
    """With scope=all, though nobody listens in any other way."""
    service = await follow(start, WEBHOOKS_ALLOW_PRIVATE=LOCAL)
    allow_webhooks(service)
    service.postgres.execute("DELETE FROM callapi.webhooks")
    await create(service, receiver.url, scope="all", types=["pbx.watched"])
    await until(lambda: len(receiver.got) == 1)
    assert receiver.got[0].told["type"] == "pbx.watched"


async def test_nothing_is_allowed_until_an_operator_says_so(service: Service) -> None:
    """Every page of the specification's kind has the secret: it could send the calls anywhere."""
    service.postgres.execute("UPDATE callapi.enterprise_rules SET webhooks = false")
    one = f"/{uuid4()}"
    for method, path, body in (
        ("POST", "", {"url": "https://example.test/"}),
        ("GET", "", None),
        ("GET", one, None),
        ("PATCH", one, {"enabled": True}),
        ("DELETE", one, None),
        ("POST", f"{one}/rotate", None),
        ("POST", f"{one}/test", None),
        ("POST", f"{one}/resend", {"since": "2026-11-26T09:00:00Z"}),
        ("GET", f"{one}/deliveries", None),
    ):
        answer = await ask(service, method, path, json=body)
        assert problem(answer) == (403, "webhooks-off"), (method, path)


async def test_none_is_created_where_nobody_would_send(service: Service) -> None:
    """As on Lambda alone; what is there can be managed all the same."""
    webhook, _ = await create(service, "http://127.0.0.1:9/")
    service.postgres.execute("UPDATE callapi.webhook_sender SET until = clock_timestamp()")
    refused = await ask(service, "POST", json={"url": "http://127.0.0.1:9/"})
    assert problem(refused) == (409, "no-webhook-sender")
    assert "ROLE=all or follower" in refused.json()["detail"]
    assert (await ask(service, "DELETE", f"/{webhook}")).status_code == 200


@pytest.mark.parametrize(
    "url",
    [
        "http://10.0.0.1/",
        "https://localhost/",
        "https://169.254.169.254/latest/",
        "https://[::ffff:127.0.0.1]/",
        "https://user:word@127.0.0.1/",
        "http://8.8.8.8/",
        "https://no-such-host.invalid/",
        "gopher://127.0.0.1/",
    ],
)
async def test_an_address_that_may_not_be_is_refused(start: Services, url: str) -> None:
    """By a field's error that tells nothing of the network inside."""
    service = await start(WEBHOOKS_ALLOW_PRIVATE="192.0.2.0/24")
    allow_webhooks(service)
    refused = await ask(service, "POST", json={"url": url})
    assert problem(refused) == (422, "invalid-parameter")
    assert [error["field"] for error in refused.json()["errors"]] == ["url"]
    assert "10.0.0.1" not in refused.text.replace(url, "")


async def test_a_webhook_has_a_life(service: Service, receiver: Receiver) -> None:
    """Created, listed, told, changed, removed; then it is none's."""
    webhook, secret = await create(service, receiver.url, types=["call.phase"], extension="150")
    told = (await ask(service, "GET", f"/{webhook}")).json()
    assert (await ask(service, "GET")).json() == {"webhooks": [told]}
    assert {k: told[k] for k in ("url", "types", "scope", "extension", "enabled", "failures")} == {
        "url": receiver.url,
        "types": ["call.phase"],
        "scope": "mine",
        "extension": "150",
        "enabled": True,
        "failures": 0,
    }
    assert secret not in str(told)
    change = {"types": None, "extension": "151", "enabled": False}
    changed = (await ask(service, "PATCH", f"/{webhook}", json=change)).json()
    assert (changed["types"], changed["extension"], changed["url"]) == (None, "151", receiver.url)
    assert (changed["enabled"], changed["disabled_why"]) == (False, "client")
    again = (await ask(service, "PATCH", f"/{webhook}", json={"enabled": True})).json()
    assert (again["enabled"], again["disabled_why"], again["extension"]) == (True, None, "151")
    assert (await ask(service, "DELETE", f"/{webhook}")).json() == again
    assert problem(await ask(service, "GET", f"/{webhook}")) == (404, "no-such-webhook")


async def test_a_change_of_the_address_is_checked_too(service: Service) -> None:
    """It is no way round."""
    webhook, _ = await create(service, "http://127.0.0.1:9/")
    refused = await ask(service, "PATCH", f"/{webhook}", json={"url": "https://10.0.0.1/"})
    assert problem(refused) == (422, "invalid-parameter")


async def test_a_secret_is_told_once_and_another_made(service: Service) -> None:
    """Neither is in any other answer, nor in the log."""
    webhook, first = await create(service, "http://127.0.0.1:9/")
    rotated = (await ask(service, "POST", f"/{webhook}/rotate")).json()
    assert rotated["secret"].startswith("whsec_")
    assert rotated["secret"] != first
    assert rotated["webhook"]["previous_secret_until"] is not None
    others = (await ask(service, "GET")).text + service.log()
    assert first not in others
    assert rotated["secret"] not in others


async def test_a_test_and_its_outcome_can_be_seen(start: Services, receiver: Receiver) -> None:
    """What the receiver answered is told by its status alone."""
    service = await follow(start, WEBHOOKS_ALLOW_PRIVATE=LOCAL)
    allow_webhooks(service)
    service.postgres.execute("DELETE FROM callapi.webhooks")
    receiver.usual = b"HTTP/1.1 418 No\r\nContent-Length: 6\r\n\r\nsecret"
    webhook, _ = await create(service, receiver.url)
    answer = await ask(service, "POST", f"/{webhook}/test")
    assert answer.status_code == 202
    await until(lambda: len(receiver.got) == 1)
    await until(
        lambda: (
            service.postgres.execute("SELECT attempts FROM callapi.webhooks")[0]["attempts"] == 1
        )
    )
    told = await ask(service, "GET", f"/{webhook}/deliveries")
    (attempt,) = told.json()["deliveries"]
    assert attempt["message_id"] == answer.json()["message_id"] == receiver.got[0].id
    assert (attempt["type"], attempt["status"], attempt["error"]) == ("webhook.test", 418, None)
    assert "secret" not in told.text


async def test_events_that_are_gone_cannot_be_begun_with(service: Service) -> None:
    """As of the feed's other doors."""
    refused = await ask(service, "POST", json={"url": "http://127.0.0.1:9/", "after": 99})
    assert problem(refused) == (410, "events-gone")


async def test_what_is_told_of_the_pbx_needs_its_scope(service: Service) -> None:
    """A type that would never come is a mistake; so is one that is none."""
    url = "http://127.0.0.1:9/"
    for types in (["pbx.call"], ["call.phases"], []):
        refused = await ask(service, "POST", json={"url": url, "types": types})
        assert problem(refused) == (422, "invalid-parameter")
    webhook, _ = await create(service, url, types=["pbx.call"], scope="all")
    back = await ask(service, "PATCH", f"/{webhook}", json={"scope": None})
    assert problem(back) == (422, "invalid-parameter")


async def test_all_calls_of_a_shared_pbx_are_refused(service: Service) -> None:
    """A neighbour's would be among them."""
    service.postgres.seed_enterprise("0368", "july", "127.0.0.1", JULY)
    refused = await ask(service, "POST", json={"url": "http://127.0.0.1:9/", "scope": "all"})
    assert problem(refused) == (403, "shared-host")


async def test_nobody_sees_or_changes_anothers(service: Service) -> None:
    """Another enterprise's is told no differently from none."""
    webhook, _ = await create(service, "http://127.0.0.1:9/")
    service.postgres.seed_enterprise("0368", "july", "192.0.2.11", JULY)
    service.postgres.execute(
        "INSERT INTO callapi.enterprise_rules (enterprise, webhooks) VALUES ('0368', true)"
    )
    assert (await ask(service, "GET", secret=JULY)).json() == {"webhooks": []}
    for method, path, body in (
        ("GET", "", None),
        ("PATCH", "", {"enabled": False, "extension": "1"}),
        ("DELETE", "", None),
        ("POST", "/rotate", None),
        ("POST", "/test", None),
        ("POST", "/resend", {"since": "2026-11-26T09:00:00Z"}),
        ("GET", "/deliveries", None),
    ):
        answer = await ask(service, method, f"/{webhook}{path}", secret=JULY, json=body)
        assert problem(answer) == (404, "no-such-webhook"), (method, path)
    told = (await ask(service, "GET", f"/{webhook}")).json()
    assert (told["enabled"], told["extension"], told["previous_secret_until"]) == (True, None, None)


async def test_what_an_earlier_enterprise_left_is_nobodys(service: Service) -> None:
    """Its address is not told to whoever has its number now, who cannot enable it either."""
    webhook, _ = await create(service, "http://127.0.0.1:9/")
    service.postgres.execute(
        "UPDATE callapi.webhooks"
        " SET disabled_at = clock_timestamp(), disabled_why = 'enterprise-gone'"
    )
    assert (await ask(service, "GET")).json() == {"webhooks": []}
    enabled = await ask(service, "PATCH", f"/{webhook}", json={"enabled": True})
    assert problem(enabled) == (404, "no-such-webhook")


async def test_an_enterprise_has_ten_at_most(service: Service) -> None:
    """Each costs a place among those that are sent to."""
    for _ in range(10):
        await create(service, "http://127.0.0.1:9/")
    refused = await ask(service, "POST", json={"url": "http://127.0.0.1:9/"})
    assert problem(refused) == (409, "too-many-webhooks")


async def test_every_change_is_in_the_audit(service: Service) -> None:
    """Who did it, and where it leads, without what may be a secret of the receiver's."""
    webhook, _ = await create(service, "http://127.0.0.1:9/hidden?token=hidden")
    await ask(service, "POST", f"/{webhook}/rotate")
    await ask(service, "POST", f"/{webhook}/test")
    await ask(service, "PATCH", f"/{webhook}", json={"enabled": False})
    await ask(service, "DELETE", f"/{webhook}")
    rows = service.postgres.execute("SELECT * FROM callapi.audit ORDER BY id")
    assert {row["action"] for row in rows} == {"webhooks"}
    assert {row["done_by"] for row in rows} == {"client"}
    assert [row["whom"] for row in rows] == [
        f"add {webhook} http://127.0.0.1:9",
        f"rotate {webhook}",
        f"test {webhook}",
        f"change {webhook} disabled",
        f"remove {webhook}",
    ]
    assert "hidden" not in str(rows)
