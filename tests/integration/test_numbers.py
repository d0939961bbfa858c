"""The numbers to try: what becomes of a call to or by each of them, on the stand-in."""

from __future__ import annotations

import pytest

from demo.numbers import AGENTS, CUSTOMERS
from tests.integration.followed import follow, place
from tests.integration.service import SECRET, Service, Services

pytestmark = pytest.mark.anyio
HEADERS = {"Authorization": f"Bearer {SECRET}"}
PAIRS = [("154", one.number, one.ends) for one in CUSTOMERS]
PAIRS += [(one.number, CUSTOMERS[0].number, one.ends) for one in AGENTS]


async def waited(service: Service, call_id: str, phase: str) -> dict[str, object]:
    """Wait until a call is past a phase; how it is then."""
    params: dict[str, str | int] = {"wait": 25, "phase": phase}
    answer = await service.http.get(f"/api/calls/{call_id}", params=params, headers=HEADERS)
    told: dict[str, object] = answer.json()
    return told


@pytest.mark.parametrize("version", ["11", "16", "22"])
async def test_each_number_does_what_its_table_says(start: Services, version: str) -> None:
    """By the reason of its call, in each version that is imitated; one talks until it is ended."""
    service = await follow(start, 0.05, version=version, RATE_LIMIT_EXTENSION="100/60")
    ids = [await place(service, code, phone) for code, phone, _ in PAIRS]
    ended = {}
    for (code, phone, _), call_id in zip(PAIRS, ids, strict=True):
        told: dict[str, object] = {"phase": "placing"}
        while told["phase"] != "ended":
            told = await waited(service, call_id, str(told["phase"]))
            if told["phase"] == "talking" and phone == CUSTOMERS[4].number:
                await service.http.delete(f"/api/calls/{call_id}", headers=HEADERS)
        ended[code, phone] = told["reason"]
    assert ended == {(code, phone): ends for code, phone, ends in PAIRS}
