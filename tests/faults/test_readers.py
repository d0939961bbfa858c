"""A flood of readers on a real PBX: the neighbour's calls are all accepted, and each rings once."""

from __future__ import annotations

import asyncio
from collections import Counter

import httpx
import pytest

from tests.pbx.lab import Lab
from tests.pbx.service import SECRET, Phones, Services

pytestmark = pytest.mark.anyio

NEIGHBOUR = "july-77aa10c2b3d4e5f6"
READERS = 12
CALLS = 20
RINGS = "152"  # for 1.5 s


@pytest.mark.parametrize("transport", ["socket", "exec"])
async def test_a_flood_of_readers(
    lab: Lab, phones: Phones, start: Services, transport: str
) -> None:
    """One enterprise pages history and asks for phones as fast as it can, beside 20 calls."""
    service = await start(ASTERISK_TRANSPORT=transport, RATE_LIMIT_PBX_READS="100000/1")
    service.postgres.seed_enterprise("0368", "july", lab.host, NEIGHBOUR)
    service.postgres.execute(
        "INSERT INTO callapi.enterprise_rules (enterprise, extensions)"
        " VALUES ('0367', '{150,151}'), ('0368', '{152,153}')"
    )
    statuses: Counter[tuple[str, int]] = Counter()
    placed = asyncio.Event()

    async def ask(path: str, **params: str) -> httpx.Response:
        answer = await service.http.get(path, params={"clientId": SECRET} | params)
        statuses[path.split("/")[2], answer.status_code] += 1
        return answer

    async def read(number: int) -> None:
        cursor: dict[str, str] = {}
        while not placed.is_set():
            if number % 2:
                await ask("/api/extensions/150")
                continue
            page = await ask("/api/history", limit="100", **cursor)
            following = page.json().get("next")
            cursor = {"cursor": following} if following else {}

    readers = [asyncio.create_task(read(number)) for number in range(READERS)]
    try:
        while not {("history", 200), ("extensions", 200)} <= set(statuses):
            await asyncio.sleep(0.01)
            assert not any(reader.done() for reader in readers)
        before = statuses.copy()
        answers = []
        for number in range(CALLS):
            params = {"code": RINGS, "phone": f"+3752900005{number:02}", "clientId": NEIGHBOUR}
            answers.append(await service.http.get("/api/makecallexternal", params=params))
    finally:
        placed.set()
        await asyncio.gather(*readers)
    for what in ("history", "extensions"):
        assert statuses[what, 200] > before[what, 200], "it was read all the time"
    assert {status for _, status in statuses} <= {200, 429, 503}
    assert [(a.status_code, a.json().get("phase")) for a in answers] == [(200, "accepted")] * CALLS
    assert len({answer.json()["call_id"] for answer in answers}) == CALLS
    assert (await phones.in_the_end())[RINGS] == CALLS
