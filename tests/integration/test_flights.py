"""How many round trips to the PBX each operation waits for: one may be 200 ms, far away."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import httpx
import pytest

from shared.asterisk.client import list_channels
from shared.deadline import Deadline
from shared.pbx import hosts
from shared.pbx.hosts import the_pbx
from tests.flights import Flights, counting
from tests.integration.followed import BUSY, TALKS_ON, follow, place, reach
from tests.integration.service import Service, Services
from tests.integration.test_transfer import transfer

pytestmark = pytest.mark.anyio


async def counted(flights: Flights, asked: Awaitable[httpx.Response]) -> int:
    """Count those of a request that succeeds."""
    await flights.begin()
    answer = await asked
    assert answer.status_code == httpx.codes.OK, answer.text
    return flights.round_trips


async def far_away(start: Services, *codes: str) -> tuple[Service, Flights, list[str]]:
    """Let them talk, followed by somebody near the PBX; start a service that is far from it.

    What it knows or has ready does not grow old meanwhile, however slow the machine is.
    """
    near = await follow(start)
    calls = [await place(near, code, TALKS_ON) for code in codes]
    for call_id in calls:
        await reach(near, call_id, "talking")
    start.follow = False
    flights = await start.stack.enter_async_context(counting(near.pbx.port))
    start.monkeypatch.setattr(hosts, "_KNOWN_EXTENSION_S", 3600.0)
    return await start.on(near.pbx, SSH_PORT=flights.port, PBX_AHEAD_S=300), flights, calls


async def test_a_process_waits_so_often_for_its_first_call(start: Services) -> None:
    """TCP's handshake comes on top. A host never met before shows its key first, and is left."""
    service, flights, _ = await far_away(start)
    never_met = await counted(flights, service.call("150"))

    service = await start.on(service.pbx, SSH_PORT=flights.port)
    first = await counted(flights, service.call("152"))

    # SSH takes six: its versions half a one, two for the keys, the service, what the host takes,
    # the password. Then open; the boot and the dialplan; send. Two more show the key.
    assert {"never met": never_met, "first": first} == {"never met": 11, "first": 9}


async def test_a_connected_process_waits_so_often(start: Services) -> None:
    """The extension is known or new to the check of the dialplan."""
    service, flights, (call_id, other) = await far_away(start, "154", "156")
    assert (await service.http.get("/api/extensions/150")).is_success
    # Before any call ends: of a file that grows as it is read, the rest is asked for.
    history = await counted(flights, service.http.get("/api/history"))
    assert (await service.call("150")).is_success

    assert {
        "history": history,
        "call, known": await counted(flights, service.call("150", BUSY)),
        "call, new": await counted(flights, service.call("153")),
        "first monitor": await counted(flights, service.monitor(target="154", monitor_from="151")),
        "monitor": await counted(flights, service.monitor(target="154", monitor_from="152")),
        "extension": await counted(flights, service.http.get("/api/extensions/154")),
        "transfer": await counted(flights, transfer(service, call_id, "155")),
        "hang up": await counted(flights, service.http.delete(f"/api/calls/{other}")),
    } == {
        "history": 4,  # session; SFTP and its version; open; read; the channels beside
        "call, known": 1,
        "call, new": 2,  # dialplan; send
        "first monitor": 3,  # dialplan beside opening another; drivers and devices; send
        "monitor": 3,
        "extension": 1,
        "transfer": 3,  # dialplan beside opening another; channels; send
        "hang up": 2,  # channels; send
    }


async def test_a_look_at_calls_leaves_the_way_that_is_ready(start: Services) -> None:
    """Who asks while a look is under way waits no longer than where no call is followed."""
    service, flights, (call_id,) = await far_away(start, "154")
    assert (await service.call("150")).is_success

    asked: dict[str, Callable[[], Awaitable[httpx.Response]]] = {
        "extension": lambda: service.http.get("/api/extensions/154"),
        "call": lambda: service.call("150", BUSY),
        "hang up": lambda: service.http.delete(f"/api/calls/{call_id}"),
    }
    waited = {}
    for name, ask in asked.items():
        await flights.begin()
        look = the_pbx().ask("127.0.0.1", list_channels, Deadline.after(30), turn="look")
        looking = asyncio.ensure_future(look)
        await asyncio.sleep(0)
        answer = await ask()
        waited[name] = flights.round_trips
        assert answer.is_success, answer.text
        assert await looking
    assert waited == {"extension": 1, "call": 1, "hang up": 2}
