"""Streams in bad times: readers that stop, cuts, a database that is away, the process's end."""

from __future__ import annotations

import asyncio
import re
import signal
from contextlib import AsyncExitStack
from pathlib import Path

import anyio
import httpx
import pytest
from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st
from websockets.asyncio.client import connect

from shared.http.server import BoundedProtocol
from tests.integration.doors import (
    BEARER,
    DOORS,
    Heard,
    blocks_of,
    by_socket,
    end_of,
    message_of,
    serving,
)
from tests.integration.service import ROOT, SECRET, Services, environment, run_process, until
from tests.integration.test_feed import tell
from tests.postgres import Postgres

pytestmark = pytest.mark.anyio

OPERATE = (ROOT / "docs" / "operate.md").read_text("utf-8")


async def test_who_does_not_read_is_closed_and_goes_on(
    start: Services, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With 4008, which he finds when he reads on; from his last number he has all the rest."""
    monkeypatch.setattr("shared.http.server._UNREAD_S", 1.0)
    service = await start()
    tell(service.postgres, "0367", 3_000)
    async with serving(service) as served:
        heard = Heard()
        async with served.socket(
            "?after=0", additional_headers=BEARER, max_queue=1, ping_interval=None
        ) as socket:
            heard.hear(await message_of(socket))
            await until(lambda: all(c.transport.is_closing() for c in served.state.connections))
            code, told = await end_of(socket)
        for message in told:
            heard.hear(message)
        assert code in {4008, 1006}, "the rest of it may be lost with the connection"
        assert len(heard.events) < 3_000
        with anyio.fail_after(60):
            await by_socket(served, heard, lambda heard: heard.after >= 3_000)
    assert heard.numbers == list(range(1, 3_001))


async def test_nothing_waits_for_a_connection_that_is_lost(
    start: Services, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its app ends after it, and closes it again: no timer is left to end it once more."""
    monkeypatch.setattr("shared.http.server._UNREAD_S", 0.3)
    monkeypatch.setattr("shared.http.server._LINGER_S", 0.1)
    service = await start()
    tell(service.postgres, "0367", 3_000)
    async with serving(service) as served:
        async with served.socket(
            "?after=0", additional_headers=BEARER, max_queue=1, ping_interval=None
        ) as socket:
            await message_of(socket)
            (connection,) = served.state.connections
            await until(connection.transport.is_closing)
            await end_of(socket)
        await until(lambda: not served.state.connections and not served.state.tasks)
    assert isinstance(connection, BoundedProtocol)
    assert connection._limit is None or connection._limit.cancelled()


CUTS = st.lists(
    st.tuples(st.sampled_from(sorted(DOORS)), st.integers(min_value=1, max_value=9)), max_size=5
)


@settings(
    max_examples=8,
    database=None,
    deadline=None,
    phases=[Phase.explicit, Phase.generate],
    suppress_health_check=list(HealthCheck),
)
@seed(20261127)
@given(cuts=CUTS)
async def test_whoever_is_cut_off_misses_nothing(
    start: Services, cuts: list[tuple[str, int]]
) -> None:
    """At any moment, coming back through any door: he has the list, each event once, in order."""
    async with serving(await start()) as served:
        postgres = served.service.postgres
        postgres.clear()
        postgres.seed_enterprise("0367", "june", "127.0.0.1", SECRET)
        heard = Heard()

        async def write() -> None:
            for _ in range(15):
                await anyio.to_thread.run_sync(tell, postgres, "0367", 2)

        with anyio.fail_after(60):
            async with asyncio.TaskGroup() as group:
                group.create_task(write())
                for door, more in cuts:
                    goal = min(30, len(heard.events) + more)
                    await DOORS[door](served, heard, lambda h, n=goal: len(h.events) >= n)  # type: ignore[misc] # each its own goal
                await by_socket(served, heard, lambda h: len(h.events) >= 30)
    assert heard.numbers == list(range(1, 31))


async def test_the_database_away_ends_no_stream(
    start: Services, own_postgres: Postgres, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is silent but for its heartbeats, and goes on afterwards without a gap."""
    monkeypatch.setattr("shared.events.listening.HEARTBEAT_S", 0.2)
    monkeypatch.setattr("shared.events.listening._LOOKED_AFTER_S", 0.2)
    start.follow = True
    service = await start.beside(own_postgres)
    tell(own_postgres, "0367", 1)
    async with (
        serving(service) as served,
        served.socket("?after=0", additional_headers=BEARER) as socket,
    ):
        heard = Heard()
        heard.hear(await message_of(socket))
        await anyio.to_thread.run_sync(own_postgres.halt)
        with anyio.fail_after(60):
            for _ in range(3):
                assert (await message_of(socket)) == {"type": "heartbeat", "newest": 1}
            await anyio.to_thread.run_sync(own_postgres.restart)
            tell(own_postgres, "0367", 2)
            while len(heard.events) < 3:
                heard.hear(await message_of(socket))
    assert heard.numbers == [1, 2, 3]


async def test_hundreds_listen_and_each_costs_two_tasks(start: Services) -> None:
    """An event reaches them all; nothing is left of them once they have gone."""
    service = await start(WAITS_AT_ONCE=400, MAX_CONNECTIONS=1000)
    tell(service.postgres, "0367", 1)
    async with serving(service) as served:
        before = len(asyncio.all_tasks())
        async with AsyncExitStack() as stack:
            sockets = [
                await stack.enter_async_context(
                    served.socket(additional_headers=BEARER, ping_interval=None)
                )
                for _ in range(200)
            ]
            for socket in sockets:
                assert await message_of(socket) == {"type": "heartbeat", "newest": 1}
            ours = len(served.state.tasks)
            assert ours == 200
            # Beside the request's: one that tells, one that hears; the clients have theirs.
            assert len(asyncio.all_tasks()) - before <= 200 * 5
            tell(service.postgres, "0367", 1)
            with anyio.fail_after(60):
                for socket in sockets:
                    assert (await message_of(socket))["seq"] == 2
        await until(lambda: not served.state.tasks)
        await until(lambda: len(asyncio.all_tasks()) <= before)


async def test_the_process_ends_at_once(start: Services, tmp_path: Path) -> None:
    """Whoever listens is told so, through whichever door, long before his time is over."""
    service = await start()
    tell(service.postgres, "0367", 1)
    own = environment(service.postgres, service.pbx.port, "")
    async with run_process(tmp_path, own) as process:
        address = process.url.replace("http", "ws")
        async with (
            httpx.AsyncClient(base_url=process.url, headers=BEARER, timeout=60) as http,
            connect(f"{address}/api/events", additional_headers=BEARER) as socket,
            http.stream("GET", "/api/events", headers={"Accept": "text/event-stream"}) as answer,
            asyncio.TaskGroup() as group,
        ):
            await message_of(socket)
            poll = group.create_task(http.get("/api/events?after=1&wait=25"))
            blocks = blocks_of(answer)
            await anext(blocks)
            await anyio.sleep(0.5)
            with anyio.fail_after(15):
                process.process.send_signal(signal.SIGTERM)
                assert (await end_of(socket))[0] == 1001
                assert not [block async for block in blocks if "data" in block]
                assert (await poll).json() == {"events": [], "next": 1}
                await process.process.wait()
        assert SECRET not in process.output.read_text()


async def test_the_bare_server_ends_too(start: Services, tmp_path: Path) -> None:
    """By the documents' line: it waits for every answer, and a stream ends with the signal."""
    service = await start()
    own = environment(service.postgres, service.pbx.port, "")
    (line,) = re.findall(r"^\$ (uvicorn asterisk:app .+)$", OPERATE, re.MULTILINE)
    async with run_process(tmp_path, own, arguments=("-m", *line.split())) as process:
        async with (
            httpx.AsyncClient(base_url=process.url, headers=BEARER, timeout=60) as http,
            http.stream("GET", "/api/events", headers={"Accept": "text/event-stream"}) as answer,
        ):
            blocks = blocks_of(answer)
            assert [(await anext(blocks)).get("id") for _ in range(2)] == [None, "0"]
            process.process.send_signal(signal.SIGTERM)
            with anyio.fail_after(60):
                assert [block async for block in blocks] == []
        with anyio.fail_after(60):
            await process.process.wait()
