"""A real call, as a webhook's receiver is told of it."""

from __future__ import annotations

import pytest

from tests.integration.receiver import receiving
from tests.pbx.service import BUSY, SECRET, TALKS, Services, until
from tests.pbx.test_following import place

pytestmark = pytest.mark.anyio

BEARER = {"Authorization": f"Bearer {SECRET}"}


@pytest.mark.parametrize(("customer", "reason"), [(TALKS, "answered"), (BUSY, "busy")])
async def test_a_call_arrives_signed(start: Services, customer: str, reason: str) -> None:
    """Each phase, in order, as the feed tells it; from `accepted` to its true end."""
    service = await start(WEBHOOKS_ALLOW_PRIVATE="127.0.0.0/8")
    service.postgres.execute(
        "INSERT INTO callapi.enterprise_rules (enterprise, webhooks)"
        " SELECT number, true FROM enterprises ORDER BY number"
    )
    async with receiving() as receiver:
        made = await service.http.post(
            "/api/webhooks", json={"url": receiver.url, "after": 0}, headers=BEARER
        )
        assert made.status_code == 201, made.text
        call_id = await place(service, "154", customer)
        await until(lambda: bool(receiver.got) and _phase(receiver.got[-1].told) == "ended")
        assert all(got.is_signed_by(made.json()["secret"]) for got in receiver.got)
        told = [got.told for got in receiver.got]
    assert {event["call"]["call_id"] for event in told} == {call_id}
    assert _phase(told[0]) == "accepted"
    assert told[-1]["call"]["reason"] == reason
    feed = (await service.http.get("/api/events?after=0", headers=BEARER)).json()["events"]
    assert feed[: len(told)] == told


def _phase(event: dict[str, dict[str, str]]) -> str:
    return event["call"]["phase"]
