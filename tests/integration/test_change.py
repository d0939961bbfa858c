"""`GET /api/calls/{call_id}?wait=`: who waits asks nothing while there is no news."""

from __future__ import annotations

import asyncio
from collections import Counter
from typing import Any
from uuid import UUID

import pytest

from shared.events import change
from shared.store.calls import Call, get_call_and_newest
from tests.integration.followed import elsewhere, follow, place, reach
from tests.integration.service import OTHER_PHONE, Services, until

pytestmark = pytest.mark.anyio

WAITERS = 20


async def test_whoever_waits_reads_at_the_begin_and_at_the_news(
    start: Services, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Twenty wait for a call that rings, one for less than that: so many read it again, and then.

    At once is told what is not the phase that somebody knows.
    """
    reads: Counter[UUID] = Counter()

    async def count(database: Any, enterprise: str, call_id: UUID) -> tuple[Call, int]:
        reads[call_id] += 1
        return await get_call_and_newest(database, enterprise, call_id)

    monkeypatch.setattr(change, "get_call_and_newest", count)
    service = await follow(start, time_scale=1.0)
    call_id = await place(service, "153", OTHER_PHONE)
    await reach(service, call_id, "agent_ringing")
    url = f"/api/calls/{call_id}"
    reads.clear()

    known = await service.http.get(url, params={"wait": 20, "phase": "accepted"})
    assert (known.json()["phase"], reads[UUID(call_id)]) == ("agent_ringing", 1)
    async with asyncio.TaskGroup() as group:
        waiting = [
            group.create_task(service.http.get(url, params={"wait": 25})) for _ in range(WAITERS)
        ]
        await until(lambda: reads[UUID(call_id)] == 1 + WAITERS)
        in_vain = await service.http.get(url, params={"wait": 1})
        assert in_vain.json()["phase"] == "agent_ringing"
        assert reads[UUID(call_id)] == 3 + WAITERS
        await elsewhere(service, "channel request hangup all")
    assert {answer.result().json()["phase"] for answer in waiting} == {"ended"}
    assert reads[UUID(call_id)] == 3 + 2 * WAITERS
