"""Calls of different extensions that wait for one PBX share its exchanges."""

from __future__ import annotations

import asyncio

import pytest

from tests.integration.service import PHONE, Services

pytestmark = pytest.mark.anyio

LISTED = "core show channels concise"


async def test_a_burst_of_calls_takes_fewer_exchanges_than_calls(start: Services) -> None:
    """Each extension rings once, and each call has its own root."""
    service = await start(PBX_CONCURRENCY=1, PRECHECK="off")
    assert (await service.call("150", "+375290000009")).status_code == 200  # its version is known
    await service.rung("150")
    service.pbx.commands.clear()
    service.pbx.reply_delay_s = 0.5  # long enough for all others to come
    codes = [str(code) for code in range(151, 157)]
    answers = await asyncio.gather(*(service.call(code) for code in codes))
    assert {answer.status_code for answer in answers} == {200}
    for code in codes:
        await service.rung(code)
    assert {service.pbx.invites[code] for code in codes} == {1}
    assert len(service.originates(PHONE)) == len(codes)
    assert service.pbx.commands.count(LISTED) < 2 * len(codes)
    for answer, code in zip(answers, codes, strict=True):
        row = service.row(answer.json()["call_id"])
        assert row["root_channel"].startswith(f"Local/{code}@inoffice-")
    assert len({row["root_uniqueid"] for row in service.calls()}) == 1 + len(codes)
