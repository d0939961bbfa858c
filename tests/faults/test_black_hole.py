"""The link to the PBX goes dead without a word: packets are lost, nobody is told."""

from __future__ import annotations

from collections.abc import AsyncIterator

import anyio
import pytest

from shared.asterisk import openings
from shared.asterisk.models import Banner
from shared.deadline import Deadline
from tests.faults.harm import follow_nothing
from tests.faults.namespace import FarHost
from tests.faults.relay import Relay
from tests.pbx.lab import Lab
from tests.pbx.service import Phones, Service, Services, until
from tests.postgres import Postgres

pytestmark = pytest.mark.anyio

AGENT, PHONE = "152", "+375290000001"
QUICK = {
    "COMMAND_TIMEOUT_S": 3,
    "SSH_CONNECT_TIMEOUT_S": 5,
    "REQUEST_TIMEOUT_S": 12,
    "PBX_RETRY_S": 0.05,
    "REPEAT_WINDOW_S": 0.05,
    "UNKNOWN_HOLD_S": 20,
    "PBX_AHEAD_S": 0,  # the link dies before a socket is opened, or after
}


@pytest.fixture
async def far(lab: Lab) -> AsyncIterator[tuple[FarHost, Relay]]:
    """The PBX's sshd, at an address behind a link of its own."""
    with FarHost.up() as host:
        async with Relay.to(lab.ssh_port, listener=host.listen()) as relay:
            yield host, relay


async def _start(start: Services, postgres: Postgres, host: FarHost, relay: Relay) -> Service:
    follow_nothing(start.monkeypatch)
    postgres.execute("UPDATE enterprises SET ip = :ip", ip=host.address)
    service = await start(SSH_PORT=relay.port, **QUICK)
    assert (await service.call(AGENT, "+375290000009")).status_code == 200
    return service


async def test_link_that_is_dead_before_the_click(
    start: Services, postgres: Postgres, far: tuple[FarHost, Relay], phones: Phones
) -> None:
    """Nothing could be sent, and the answer says so; when the link is back a click rings once."""
    host, relay = far
    service = await _start(start, postgres, host, relay)
    host.cut()
    failed = await service.call(AGENT, PHONE)
    assert (failed.status_code, failed.json()["dialled"]) == (500, "no")
    assert await phones.in_the_end() == {AGENT: 1}
    host.restore()
    await anyio.sleep(0.1)
    with anyio.fail_after(120):
        while (placed := await service.call(AGENT, PHONE)).status_code != 200:
            assert placed.json()["dialled"] == "no"
            await anyio.sleep(0.1)
    assert await phones.in_the_end() == {AGENT: 2}


async def test_link_that_dies_between_the_banner_and_the_command(
    start: Services,
    postgres: Postgres,
    far: tuple[FarHost, Relay],
    phones: Phones,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The command is lost on its way: unknown, never sent again, and it rings once, late."""
    host, relay = far
    service = await _start(start, postgres, host, relay)
    read_banner = openings._read_banner

    async def then_cut(stream: openings.Stream, deadline: Deadline) -> Banner:
        banner = await read_banner(stream, deadline)
        host.cut()
        return banner

    with monkeypatch.context() as patch:
        patch.setattr(openings, "_read_banner", then_cut)
        failed = await service.call(AGENT, PHONE)
    assert (failed.status_code, failed.json()["dialled"]) == (500, "unknown")
    repeat = await service.call(AGENT, PHONE)
    assert (repeat.json()["repeated"], repeat.json()["call_id"]) == (
        True,
        failed.json()["call_id"],
    )
    host.restore()
    # TCP sends the lost command once more when the link is back: the call comes up late.
    await until(lambda: phones.so_far().get(AGENT, 0) == 2)
    assert await phones.in_the_end() == {AGENT: 2}
