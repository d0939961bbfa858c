"""A dead PBX is found out once, and then answered for at once; the others never notice."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from functools import partial
from pathlib import Path

import httpx
import pytest

from demo.postgres import free_port
from shared.store.breakers import tell_broken
from shared.store.database import Database
from tests.integration.service import (
    PHONE,
    Process,
    Service,
    Services,
    environment,
    make_pbx,
    run_process,
    seed,
    until,
)
from tests.postgres import Postgres

pytestmark = pytest.mark.anyio

DEAD = "127.0.0.2"
OTHER = "july-77aa10c2b3d4e5f6"


async def _start(start: Services, **settings: object) -> Service:
    """Start with one enterprise on the stand-in, and one whose PBX does not exist."""
    service = await start(**settings)
    service.postgres.seed_enterprise("0368", "july", DEAD, OTHER)
    return service


async def test_a_dead_host_is_answered_for_at_once(start: Services) -> None:
    """The second call gets the first one's 500, `dialled` no and a Retry-After; others are fine."""
    service = await _start(start, PBX_RETRY_S=60)
    first = await service.call(secret=OTHER)
    assert (first.status_code, first.json()["code"]) == (500, "ssh-connect-failed")
    assert "Retry-After" not in first.headers
    for answer in (
        await service.call(secret=OTHER),
        await service.call("151", secret=OTHER),
        await service.monitor(secret=OTHER),
    ):
        assert (answer.status_code, answer.json()["code"]) == (500, "ssh-connect-failed")
        assert answer.json()["dialled"] == "no"
        assert answer.json()["detail"].endswith("SSH command failed: Connection refused")
        assert answer.headers["Retry-After"] == "60"
        row = service.row(answer.json()["call_id"])
        assert (row["state"], row["error_code"]) == ("not_executed", "ssh-connect-failed")
    assert service.claims() == 0
    assert (await service.call()).status_code == 200
    assert len(service.originates()) == await service.rung("150") == 1


@contextlib.asynccontextmanager
async def _silent(port: int) -> AsyncIterator[list[asyncio.StreamWriter]]:
    """Accept connections at the dead address and say nothing; yields them."""
    accepted: list[asyncio.StreamWriter] = []
    async with await asyncio.start_server(
        lambda _reader, writer: accepted.append(writer), DEAD, port
    ):
        yield accepted
        for writer in accepted:
            writer.close()
            with contextlib.suppress(OSError):
                await writer.wait_closed()


@pytest.mark.parametrize("host_keys", ["pin", "off"])
async def test_a_silent_host_is_waited_for_once(start: Services, host_keys: str) -> None:
    """A host that swallows packets costs one caller the time-out, not everybody."""
    service = await _start(start, PBX_RETRY_S=60, SSH_CONNECT_TIMEOUT_S=2, SSH_HOST_KEYS=host_keys)
    async with _silent(service.pbx.port) as accepted:
        first = await service.call(secret=OTHER)
        assert (first.status_code, first.json()["code"]) == (500, "ssh-connect-timeout")
        tried = len(accepted)
        assert tried > 0
        for _ in range(3):
            answer = await service.call(secret=OTHER)
            assert (answer.status_code, answer.json()["code"]) == (500, "ssh-connect-timeout")
            assert (answer.json()["dialled"], answer.headers["Retry-After"]) == ("no", "60")
        assert len(accepted) == tried
    assert (await service.call()).status_code == 200


async def test_who_gave_up_on_a_silent_host_is_told_when_asking_again(
    postgres: Postgres, tmp_path: Path
) -> None:
    """A client of less patience than connecting takes: its repeat learns why, and tries nothing."""
    seed(postgres)
    postgres.seed_enterprise("0368", "july", DEAD, OTHER)
    port = free_port()
    settings = environment(postgres, port, "")
    settings |= {"PBX_RETRY_S": "60", "SSH_CONNECT_TIMEOUT_S": "2", "SSH_HOST_KEYS": "off"}
    query = {"code": "150", "phone": PHONE, "clientId": OTHER}
    async with (
        _silent(port) as accepted,
        run_process(tmp_path, settings) as process,
        httpx.AsyncClient(base_url=process.url, timeout=30) as http,
    ):
        with pytest.raises(httpx.ReadTimeout):
            await http.get("/api/makecallexternal", params=query, timeout=0.5)
        for _ in range(2):
            answer = await http.get("/api/makecallexternal", params=query)
            assert (answer.status_code, answer.json()["code"]) == (500, "ssh-connect-timeout")
            assert answer.json()["dialled"] == "no"
        assert len(accepted) == 1


async def test_a_burst_at_a_dead_host_tries_it_once(start: Services) -> None:
    """Twenty calls at once wait for one log-in; each is told that nothing was dialled."""
    service = await _start(start, PBX_RETRY_S=60, SSH_CONNECT_TIMEOUT_S=2, SSH_HOST_KEYS="off")
    async with _silent(service.pbx.port) as accepted:
        phones = [f"+3752900000{n:02}" for n in range(20)]
        answers = await asyncio.gather(
            *(service.call(phone=phone, secret=OTHER) for phone in phones),
            service.call(phone=PHONE),
        )
        assert [answer.status_code for answer in answers] == [500] * 20 + [200]
        assert {answer.json()["dialled"] for answer in answers[:20]} == {"no"}
        assert len(accepted) == 1
    assert service.originates() == service.originates(PHONE)


async def test_a_host_that_comes_back_is_used_again(start: Services) -> None:
    """After PBX_RETRY_S one call tries it, and from then on it serves."""
    service = await _start(start, PBX_RETRY_S=1e-9)
    assert (await service.call(secret=OTHER)).status_code == 500
    assert (await service.call(secret=OTHER)).status_code == 500
    revived = await start.stack.enter_async_context(make_pbx(host=DEAD, port=service.pbx.port))
    answer = await service.call(secret=OTHER)
    assert (answer.status_code, answer.json()["repeated"]) == (200, False)
    assert (await service.call("151", secret=OTHER)).status_code == 200
    assert revived.connections == 2  # one fetched the host key before the password was sent
    assert service.pbx.connections == 0


# Shared by processes


class Caller:
    """Somebody who calls by one of two processes."""

    def __init__(self, process: Process) -> None:
        self._url = process.url

    async def call(self, phone: str) -> httpx.Response:
        """Place a call on the host that is dead."""
        query = {"code": "150", "phone": phone, "clientId": OTHER}
        async with httpx.AsyncClient(base_url=self._url, timeout=60) as http:
            return await http.get("/api/makecallexternal", params=query)


@contextlib.asynccontextmanager
async def _two(
    postgres: Postgres, folder: Path, port: int, **settings: str
) -> AsyncIterator[tuple[Caller, Caller]]:
    """Two processes that follow nothing, of one database."""
    seed(postgres)
    postgres.seed_enterprise("0368", "july", DEAD, OTHER)
    own = environment(postgres, port, "") | {"ROLE": "api", "SSH_CONNECT_TIMEOUT_S": "2"}
    own |= {"SSH_HOST_KEYS": "off"} | settings
    async with (
        run_process(folder, own, name="one") as one,
        run_process(folder, own, name="other") as other,
    ):
        yield Caller(one), Caller(other)


_TIME_IS_OVER = "UPDATE callapi.broken_hosts SET until = clock_timestamp()"


async def test_what_one_process_has_found_out_the_others_know(
    postgres: Postgres, tmp_path: Path
) -> None:
    """They do not try it too. When its time is over one of many does, of either process."""
    port = free_port()
    async with (
        _silent(port) as accepted,
        _two(postgres, tmp_path, port, PBX_RETRY_S="60") as (one, other),
    ):
        first = await one.call("+375290000001")
        assert (first.status_code, first.json()["code"]) == (500, "ssh-connect-timeout")
        assert len(accepted) == 1
        told = await other.call("+375290000002")
        assert (told.status_code, told.json()["code"]) == (500, "ssh-connect-timeout")
        assert (told.json()["dialled"], told.json()["detail"]) == ("no", first.json()["detail"])
        assert len(accepted) == 1
        postgres.execute(_TIME_IS_OVER)
        answers = await asyncio.gather(
            *(caller.call(f"+3752900001{n:02}") for n in range(5) for caller in (one, other))
        )
        assert {answer.json()["code"] for answer in answers} == {"ssh-connect-timeout"}
        assert len(accepted) == 2
        (row,) = postgres.execute(
            "SELECT prober, until > clock_timestamp() AS open  FROM callapi.broken_hosts"
        )
        assert row == {"prober": None, "open": True}, "whoever tried it has told how that ended"


async def test_a_host_that_one_process_has_reached_is_used_by_all(
    postgres: Postgres, tmp_path: Path
) -> None:
    """Also by the one that had found it dead, before its own time is over."""
    port = free_port()
    async with _two(postgres, tmp_path, port, PBX_RETRY_S="600") as (one, other):
        assert (await one.call("+375290000001")).json()["code"] == "ssh-connect-failed"
        async with make_pbx(host=DEAD, port=port) as revived:
            assert (await other.call("+375290000002")).status_code == 500
            postgres.execute(_TIME_IS_OVER)
            assert (await other.call("+375290000003")).status_code == 200
            assert postgres.execute("SELECT * FROM callapi.broken_hosts") == []
            assert (await one.call("+375290000004")).status_code == 200
            await until(lambda: revived.invites["150"] == 2)


async def test_who_tries_a_host_and_dies_is_replaced(start: Services) -> None:
    """Its time to try ends by itself; what is older than five minutes nobody knows any more."""
    service = await _start(start, PBX_RETRY_S=600)
    await start.stack.enter_async_context(make_pbx(host=DEAD, port=service.pbx.port))
    broken = (
        "INSERT INTO callapi.broken_hosts VALUES ('127.0.0.2', 'ssh-connect-failed', 'refused',"
        " clock_timestamp() + interval {0}, gen_random_uuid())"
    )
    service.postgres.execute(broken.format("'12 s'"))
    refused = await service.call(secret=OTHER)
    assert (refused.status_code, refused.json()["code"]) == (500, "ssh-connect-failed")
    service.postgres.execute("DELETE FROM callapi.broken_hosts")
    service.postgres.execute(broken.format("'-1 s'"))
    assert (await service.call(secret=OTHER)).status_code == 200
    assert service.postgres.execute("SELECT * FROM callapi.broken_hosts") == []
    service.postgres.execute(broken.format("'-6 minutes'"))
    assert (await service.call("151", secret=OTHER)).status_code == 200
    assert len(service.postgres.execute("SELECT * FROM callapi.broken_hosts")) == 1


async def test_only_who_is_to_try_prolongs_the_time(database: Database) -> None:
    """A follower that has lost its way to a PBX would keep all others from it nearly always."""
    left = (
        "SELECT until < clock_timestamp() + interval '600 s' AS soon FROM callapi.broken_hosts"
        " WHERE host = '192.0.2.1'"
    )
    tell = partial(tell_broken, database, "192.0.2.1", code="ssh-connect-failed", detail="refused")
    await tell(retry_s=600)
    await tell(retry_s=6000)
    assert await database.run(left) == [{"soon": True}]
    await database.run(_TIME_IS_OVER)
    await tell(retry_s=6000)
    assert await database.run(left) == [{"soon": True}]
    tried = "SELECT callapi.broken('192.0.2.1', gen_random_uuid(), 12) ->> 'is_tried' AS is_tried"
    assert await database.run(tried) == [{"is_tried": "true"}]
    await tell(retry_s=6000)
    assert await database.run(left) == [{"soon": False}]


async def test_a_process_that_is_connected_goes_on(start: Services) -> None:
    """What another one could not reach it uses, and tells so."""
    service = await _start(start)
    assert (await service.call()).status_code == 200
    service.postgres.execute(
        "INSERT INTO callapi.broken_hosts VALUES ('127.0.0.1', 'ssh-connect-failed', 'refused',"
        " clock_timestamp() + interval '1 h')"
    )
    assert (await service.call("151")).status_code == 200
    assert service.postgres.execute("SELECT * FROM callapi.broken_hosts") == []
