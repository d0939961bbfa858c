"""Streams with `scope=all`: as long as one is open its PBX is watched."""

from __future__ import annotations

import json

import anyio
import pytest

from tests.integration.doors import (
    BEARER,
    Message,
    Served,
    end_of,
    look_after_streams_often,
    message_of,
    serving,
)
from tests.integration.followed import follow
from tests.integration.service import Services, until
from tests.integration.test_elsewhere import CALLER, HOST, OTHER_SECRET

pytestmark = pytest.mark.anyio


def watched_for_s(served: Served) -> float:
    """How long the PBX is watched still, if nobody asks again."""
    left = served.service.postgres.execute(
        "SELECT extract(epoch FROM until - clock_timestamp())::float8 AS s FROM callapi.watches"
    )
    return float(left[0]["s"]) if left else 0.0


async def test_a_stream_keeps_its_pbx_watched(
    start: Services, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By a ticket that was asked for so: a caller pops up, and the watch is renewed in silence."""
    look_after_streams_often(monkeypatch)
    service = await follow(start, time_scale=0.1)
    async with serving(service) as served:
        ticket = await served.ticket(scope="all", after=0)
        async with served.socket(f"?ticket={ticket}") as socket:
            told: list[Message] = []

            async def hears(kind: str) -> None:
                with anyio.fail_after(60):
                    while not told or told[-1]["type"] != kind:
                        told.append(await message_of(socket))

            await hears("pbx.watched")
            service.pbx.call_in(CALLER, "150")
            await hears("pbx.call")
            assert (told[-1]["pbx_call"]["from"], told[-1]["pbx_call"]["to"]) == (CALLER, "150")
            service.postgres.execute(
                "UPDATE callapi.watches SET until = clock_timestamp() + interval '20 s'"
            )
            await until(lambda: watched_for_s(served) > 60)


async def test_of_a_shared_pbx_nobody_streams_all(start: Services) -> None:
    """403 before a stream, a ticket for one likewise; over a WebSocket it is close code 4002."""
    service = await start()
    service.postgres.seed_enterprise("0368", "july", HOST, OTHER_SECRET)
    async with serving(service) as served, served.http as http:
        stream = await http.get(
            "/api/events", params={"scope": "all"}, headers={"Accept": "text/event-stream"}
        )
        ticket = await http.post("/api/events/ticket", json={"scope": "all"})
        for refused in (stream, ticket):
            assert (refused.status_code, refused.json()["code"]) == (403, "shared-host")
        async with served.socket("?scope=all", additional_headers=BEARER) as socket:
            code, (said,) = await end_of(socket)
            assert (code, said["code"]) == (4002, "shared-host")
        async with served.socket() as socket:
            await socket.send(json.dumps({"ticket": await served.ticket(), "scope": "all"}))
            code, (said,) = await end_of(socket)
            assert (code, said["errors"][0]["field"]) == (4004, "scope")
