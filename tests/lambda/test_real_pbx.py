"""The built artifact on real Asterisk behind real sshd."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

import anyio.to_thread
import httpx
import pytest

from tests.emulator.platform import Platform
from tests.integration.gateway import call_to, check_same, load, request, seed
from tests.integration.service import run_process
from tests.pbx.lab import VERSIONS, Lab
from tests.pbx.service import Phones, environment, until
from tests.postgres import Postgres

pytestmark = pytest.mark.anyio

# The others are answered without the PBX, or by what the stand-in does as well.
ON_THE_PBX = [
    *("makecallexternal", "makecallexternal-post", "monitor-listen"),
    *("extensions", "extensions-no-phone", "history"),
]
TALK_ON = "+375290000005", "+375290000009"


@dataclass(frozen=True)
class Site:
    """A PBX, the functions' settings for it, and the address of a uvicorn with the same."""

    lab: Lab
    settings: dict[str, str]
    uvicorn: str

    async def hang_up(self, body: dict[str, Any]) -> None:
        """End a call, or a monitoring that waits for one."""
        async with httpx.AsyncClient(timeout=60) as http:
            url = f"{self.uvicorn}/api/calls/{body['call_id']}"
            done = await http.delete(url, headers={"X-Client-Id": "demo-secret-0001"})
        assert done.status_code == 200

    async def rung(self, phones: Phones, body: dict[str, Any]) -> dict[str, int]:
        """Count which of the events' extensions were rung for an answer, once its call is over."""

        def ours() -> dict[str, int]:
            return {p: n for p, n in phones.so_far().items() if p in {"150", "151"}}

        if "call_id" in body:
            await until(lambda: bool(ours()))
            await self.hang_up(body)
        await phones.in_the_end()
        return ours()


@pytest.fixture(scope="module", params=VERSIONS)
async def site(
    request: pytest.FixtureRequest, postgres: Postgres, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Site]:
    """Each PBX in turn, brought up if it is down.

    Keys are not pinned, since each test forgets everything.
    """
    lab = Lab.of(request.param)
    lab.up()
    own = environment(postgres, lab, SSH_HOST_KEYS="off", MONITOR_IDLE="wait")
    async with run_process(tmp_path_factory.mktemp("uvicorn"), own) as process:
        yield Site(lab, own, process.url)


@pytest.mark.parametrize("name", ON_THE_PBX)
async def test_an_event_is_answered_as_its_request(
    platform: Platform, postgres: Postgres, site: Site, name: str
) -> None:
    """Status, headers and body are uvicorn's, and the same phone rings, once."""
    event = load(name)
    seed(postgres)
    phones = Phones(site.lab)
    async with platform.emulated(name.partition("-")[0], site.settings) as function:
        on_lambda = await function.invoke(event)
    body = json.loads(on_lambda["body"])
    rung_by_lambda = await site.rung(phones, body)
    seed(postgres)  # or the second would be a repeat
    phones = Phones(site.lab)
    over_http = await anyio.to_thread.run_sync(request, site.uvicorn, event)
    rung_over_http = await site.rung(phones, over_http.json())
    check_same(on_lambda, over_http, event)
    assert rung_by_lambda == rung_over_http
    assert sum(rung_by_lambda.values()) == ("call_id" in body)


async def test_calls_before_and_after_a_freeze_ring_once_each(
    platform: Platform, postgres: Postgres, site: Site
) -> None:
    """Two calls of one environment, frozen in between, ring their extension twice in all."""
    seed(postgres)
    phones = Phones(site.lab)
    async with platform.freezing("makecallexternal", site.settings) as environment:
        answers = [await environment.invoke(call_to(phone)) for phone in TALK_ON]
    assert [answer["statusCode"] for answer in answers] == [200, 200]
    await until(lambda: phones.so_far().get("150", 0) >= 2)
    for answer in answers:
        await site.hang_up(json.loads(answer["body"]))
    assert (await phones.in_the_end())["150"] == 2
