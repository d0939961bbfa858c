"""GET /metrics of real processes: one answer of all workers, over a restart, of a follower."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import stat
from collections.abc import Callable
from pathlib import Path

import httpx
import pytest
from websockets.asyncio.client import connect

from demo.postgres import free_port
from demo.standin import StandIn
from tests.integration.metrics import Numbers, read
from tests.integration.service import (
    LIMIT_S,
    OTHER_PHONE,
    SECRET,
    Process,
    environment,
    run_process,
    seed,
    until,
)
from tests.postgres import Postgres
from tests.processes import descendants, runs
from tests.running.test_processes import workers_that_answer
from tests.running.test_restart import run, script, supervisor
from tests.running.test_script import Script

__all__ = ["script"]  # a fixture

pytestmark = pytest.mark.anyio

HEADERS = {"Authorization": f"Bearer {SECRET}"}
TOKEN = "scrape-5d20c9e7b1f4"


@pytest.fixture
def settings(postgres: Postgres, pbx: StandIn, tmp_path: Path) -> dict[str, str]:
    """What each process is configured with, a folder of its own for temporary files among it."""
    seed(postgres)
    (tmp_path / "tmp").mkdir()
    own = environment(postgres, pbx.port, str(tmp_path / "service.log"))
    return own | {"TMPDIR": str(tmp_path / "tmp")}


async def tells(url: str, condition: Callable[[Numbers], bool]) -> Numbers:
    """Ask, on a connection of its own each time, until something is told."""
    async with asyncio.timeout(LIMIT_S):
        while not condition(numbers := await read(url)):  # noqa: ASYNC110 - nobody tells
            await asyncio.sleep(0.02)
    return numbers


async def answers(url: str, times: int) -> list[httpx.Response]:
    """Read the metrics so often at once, each on a connection of its own, so that all do."""

    async def ask() -> httpx.Response:
        async with httpx.AsyncClient(timeout=LIMIT_S) as http:
            return await http.get(f"{url}/metrics")

    return await asyncio.gather(*(ask() for _ in range(times)))


async def test_workers_give_one_answer(settings: dict[str, str], tmp_path: Path) -> None:
    """Whichever is asked tells of both: each request and call once. Nobody else can read the files.

    Of one that is killed what it counted stays, and what it had is gone; its successor is told of.
    """
    own = settings | {"SERVICE_WORKERS": "2"}
    async with run_process(tmp_path, own) as process:
        before = await tells(process.url, lambda numbers: numbers("processes") == 2)
        with contextlib.ExitStack() as stack:
            workers = await workers_that_answer(process, stack)
        asked = before("requests_total", route="/health") or 0

        async def ask() -> None:
            async with httpx.AsyncClient(base_url=process.url, headers=HEADERS) as http:
                (await http.get("/health")).raise_for_status()

        await asyncio.gather(*(ask() for _ in range(20)))
        async with httpx.AsyncClient(base_url=process.url, headers=HEADERS) as http:
            query = {"code": "150", "phone": OTHER_PHONE}
            (await http.get("/api/makecallexternal", params=query)).raise_for_status()
        settled = await tells(
            process.url,
            lambda numbers: (
                numbers("requests_total", route="/api/makecallexternal") == 1
                and numbers("ended_total", reason="answered") == 1
                and (numbers("requests_total", route="/health") or 0) >= asked + 20
            ),
        )
        health = settled("requests_total", route="/health")
        for answer in await answers(process.url, 12):
            numbers = Numbers(answer.text)
            assert numbers("requests_total", route="/health") == health
            assert numbers("request_seconds_count", route="/health") == health
            assert numbers("accepted_total") == numbers("ended_total") == 1
            assert numbers("phases_total", phase="ended") == numbers("build_info") == 1
            assert numbers("processes") == 2

        (folder,) = (tmp_path / "tmp").iterdir()
        assert stat.S_IMODE(folder.stat().st_mode) == 0o700
        os.kill(min(workers), signal.SIGKILL)
        await until(lambda: not (folder / f"gauge_liveall_{min(workers)}.db").exists())
        numbers = await tells(process.url, lambda numbers: numbers("processes") == 2)
        assert numbers("requests_total", route="/health") == health
        assert numbers("accepted_total") == numbers("ended_total") == 1
        assert min(workers) not in descendants(process.process.pid)
        # Its successor goes on with its files: whoever dies a thousand times fills no disk.
        assert len(list(folder.glob("*.db"))) == 2 * 3
    assert list((tmp_path / "tmp").iterdir()) == []


async def test_what_a_pbx_counts_every_worker_tells(
    settings: dict[str, str], tmp_path: Path, pbx: StandIn
) -> None:
    """Whichever follows it, and whichever is asked; the files are gone with the processes."""
    pbx.time_scale = 1.0
    async with run_process(tmp_path, settings | {"SERVICE_WORKERS": "2"}) as process:
        await tells(process.url, lambda numbers: numbers("processes") == 2)
        async with httpx.AsyncClient(base_url=process.url, headers=HEADERS) as http:
            query = {"code": "154", "phone": OTHER_PHONE}
            (await http.get("/api/makecallexternal", params=query)).raise_for_status()
        await tells(
            process.url, lambda numbers: numbers.whole("asterisk_endpoints_count") is not None
        )
        for answer in await answers(process.url, 12):
            found = Numbers(answer.text).found("asterisk_endpoints_count")
            assert [labels["pbx"] for labels in found] == ["127.0.0.1"]
    assert list((tmp_path / "tmp").iterdir()) == []


async def test_what_a_killed_service_left_is_no_part_of_the_next(
    settings: dict[str, str], tmp_path: Path
) -> None:
    """Its folder is removed by the next start, which counts from nothing."""
    own = settings | {"SERVICE_WORKERS": "2"}
    async with run_process(tmp_path, own) as process:
        await tells(process.url, lambda numbers: (numbers("requests_total") or 0) > 1)
        workers = descendants(process.process.pid)
        process.process.kill()
        await process.process.wait()
        await until(lambda: not any(map(runs, workers)))
    (left,) = (tmp_path / "tmp").iterdir()
    async with run_process(tmp_path, own) as process:
        numbers = await tells(process.url, lambda numbers: numbers("processes") == 2)
        assert numbers("requests_total", route="/api/makecallexternal") is None
        (folder,) = (tmp_path / "tmp").iterdir()
        assert folder != left


async def test_a_restart_mixes_no_two_generations(script: Script, tmp_path: Path) -> None:
    """While the old ones finish, the new tell of themselves alone; then one folder is left."""
    (tmp_path / "tmp").mkdir()
    own = {"SERVICE_WORKERS": "2", "TMPDIR": str(tmp_path / "tmp")}
    url = f"http://127.0.0.1:{script.port}"
    assert (await run(script, "start", **own))[0] == 0
    before = set(descendants(supervisor(script)))
    async with httpx.AsyncClient(base_url=url, headers=HEADERS, timeout=LIMIT_S) as http:
        query = {"code": "150", "phone": OTHER_PHONE}
        (await http.get("/api/makecallexternal", params=query)).raise_for_status()
        await tells(url, lambda numbers: numbers("accepted_total") == 1)
        (old,) = (tmp_path / "tmp").iterdir()
        # Whoever reads this keeps an old process until the answer comes.
        waits = asyncio.create_task(http.get("/api/events", params={"after": 10**6, "wait": 5}))
        assert (await run(script, "restart", **own))[0] == 0
        numbers = await tells(url, lambda numbers: numbers("processes") == 2)
        assert numbers("accepted_total") == 0
        assert numbers("requests_total", route="/api/makecallexternal") is None
        await waits
    await until(lambda: not before & set(descendants(supervisor(script))))
    (new,) = (tmp_path / "tmp").iterdir()
    assert new != old
    assert (await read(url))("processes") == 2


async def test_a_follower_tells_of_what_it_follows(
    settings: dict[str, str], tmp_path: Path
) -> None:
    """On METRICS_PORT and there alone; the phases are its own, the call is the other process's."""
    port = free_port()
    follower = settings | {"ROLE": "follower", "METRICS_PORT": str(port)}
    async with (
        run_process(tmp_path, settings | {"ROLE": "api"}, name="api") as api,
        run_process(tmp_path, follower, name="follower") as process,
        httpx.AsyncClient(headers=HEADERS) as http,
    ):
        url = f"http://127.0.0.1:{port}"
        assert (await http.get(f"{process.url}/health")).status_code == 200
        assert (await http.get(f"{process.url}/metrics")).status_code == 404
        query = {"code": "150", "phone": OTHER_PHONE}
        (await http.get(f"{api.url}/api/makecallexternal", params=query)).raise_for_status()
        numbers = await tells(url, lambda numbers: numbers("phases_total", phase="ended") == 1)
        assert numbers("ended_total", reason="answered") == 1
        assert numbers("accepted_total") == 0
        assert numbers.labels("build_info", "role") == {"follower"}
        numbers = await read(api.url)
        assert (numbers("accepted_total"), numbers("ended_total")) == (1, 0)


async def test_streams_are_counted_by_their_kind(settings: dict[str, str], tmp_path: Path) -> None:
    """A WebSocket and server-sent events, while they are open; how long they are is no latency."""
    async with run_process(tmp_path, settings) as process:
        stream = {**HEADERS, "Accept": "text/event-stream"}
        socket = f"{process.url.replace('http', 'ws')}/api/events"
        async with (
            connect(socket, additional_headers=HEADERS),
            httpx.AsyncClient(base_url=process.url, timeout=LIMIT_S) as http,
            http.stream("GET", "/api/events", headers=stream) as answer,
        ):
            assert answer.status_code == 200
            await tells(
                process.url,
                lambda numbers: (
                    numbers("listeners", kind="websocket") == 1
                    and numbers("listeners", kind="sse") == 1
                ),
            )
        numbers = await tells(
            process.url,
            lambda numbers: (
                numbers("listeners") == 0 and numbers("requests_total", route="/api/events") == 2
            ),
        )
        route = {"route": "/api/events", "method": "WEBSOCKET"}
        assert numbers("requests_total", status="101", **route) == 1
        assert numbers("request_seconds_count", **route) == 1


async def test_who_may_not_read_finds_no_such_path(
    settings: dict[str, str], tmp_path: Path
) -> None:
    """Whoever speaks for another, by another name or method: word for word as of no path."""
    async with (
        run_process(tmp_path, settings) as process,
        httpx.AsyncClient(base_url=process.url) as http,
    ):
        unknown = await http.get("/nothing")
        refused = [
            *({name: "127.0.0.1"} for name in ("Forwarded", "Via", "X-Real-IP", "X-Forwarded-For")),
            *({f"X-Forwarded-{name}": "x"} for name in ("Host", "Proto", "Port", "Server", "Any")),
            *(
                {"Host": name}
                for name in ("calls.example.test", "localhost.example.test", "192.0.2.7")
            ),
        ]
        for headers in refused:
            answer = await http.get("/metrics", headers=headers)
            assert told(answer) == told(unknown), headers
        for method in ("POST", "PUT", "DELETE", "OPTIONS", "PROPFIND", "PATCH"):
            assert told(await http.request(method, "/metrics")) == told(unknown), method
        assert (await http.head("/metrics")).status_code == 200
        assert (await http.get("/metrics")).status_code == 200


def told(answer: httpx.Response) -> tuple[object, ...]:
    """What a stranger learns of an answer, but for what differs each time."""
    body = answer.json() | {"request_id": ""}
    headers = {name for name, _ in answer.headers.items()}
    return answer.status_code, body, headers


async def raw(process: Process, *lines: bytes) -> bytes:
    """Send a head as it stands; the status line of the answer."""
    url = httpx.URL(process.url)
    reader, writer = await asyncio.open_connection(url.host, url.port)
    writer.write(b"\r\n".join([b"GET /metrics HTTP/1.1", *lines, b"", b""]))
    try:
        return await asyncio.wait_for(reader.readline(), LIMIT_S)
    finally:
        writer.close()


async def test_hostile_bytes_are_refused_and_break_nothing(
    settings: dict[str, str], tmp_path: Path
) -> None:
    """Bytes that are no text in a Host, a token or a header: 404 or 400, and nothing fails."""
    here = b"Host: localhost"
    async with run_process(tmp_path, settings) as process:
        for lines in (
            [b"Host: \xff\xfe"],
            [b"Host: localhost\xe2\x80\x8b"],
            [b"Host: [::1"],
            [b"Host: " + b"1" * 9000],
            [here, b"Via: \xff"],
            [here, b"X-Forwarded-For: \xf0\x28\x8c\xbc, \xff"],
            [here, b'Forwarded: for="\xff"'],
            [here, here],
            [here, b"X-Forwarded-For : 192.0.2.7"],
            [here, b"\xffX-Real-IP: 192.0.2.7"],
        ):
            assert (await raw(process, *lines)).split()[1] in {b"404", b"400"}, lines
        assert (await raw(process, here, b"Authorization: \xff\xfe")).split()[1] == b"200"
    own = settings | {"METRICS_TOKEN": TOKEN}
    async with run_process(tmp_path, own) as process:
        bearer = b"Authorization: Bearer " + TOKEN.encode()
        for line in (b"Authorization: Bearer \xff\xfe", b"Authorization: \xff", bearer + b"\xff"):
            assert (await raw(process, here, line)).split()[1] == b"404", line
        assert (await raw(process, here, bearer)).split()[1] == b"200"
    assert "❌" not in (tmp_path / "service.log").read_text().replace(
        "❌ Неверный METRICS_TOKEN", ""
    )


async def test_a_token_is_needed_and_told_nowhere(
    settings: dict[str, str], tmp_path: Path, postgres: Postgres
) -> None:
    """A wrong one is 404, at last 429 with Retry-After; the right one passes all the while.

    No log has either, and the enterprise's secret is of no use. It needs no database.
    """
    away = {"METRICS_TOKEN": TOKEN, "RATE_LIMIT_ADDRESS": "3/600", "POSTGRES_PORT": "1"}
    async with (
        run_process(tmp_path, settings | away) as process,
        httpx.AsyncClient(base_url=process.url) as http,
    ):
        unknown = await http.get("/nothing")
        assert told(await http.get("/metrics")) == told(unknown)
        wrong = {"Authorization": "Bearer wrong-7c1e4a90b2d8"}
        for headers in (HEADERS, wrong, wrong):
            assert told(await http.get("/metrics", headers=headers)) == told(unknown)
        limited = await http.get("/metrics", headers=wrong)
        assert (limited.status_code, limited.json()["code"]) == (429, "rate-limited")
        assert 0 < int(limited.headers["Retry-After"]) <= 200
        for query in ("", f"?token={TOKEN}"):
            right = {"Authorization": f"Bearer {TOKEN}", "X-Forwarded-For": "192.0.2.7"}
            assert (await http.get(f"/metrics{query}", headers=right)).status_code == 200
        assert (await http.get("/metrics", params={"token": TOKEN})).status_code == 404
        log = (tmp_path / "service.log").read_text()
        logs = process.output.read_text() + log
    assert log.count("❌ Неверный METRICS_TOKEN с адреса 127.0.0.1") == 1
    for secret in (TOKEN, wrong["Authorization"].split()[1], SECRET):
        assert secret[8:] not in logs


@pytest.mark.parametrize("token", ["short", "with a space in its middle"])
async def test_a_wrong_token_setting_ends_the_start_in_one_sentence(
    tmp_path: Path, token: str, script: Script
) -> None:
    """It names the variable, and has not its value."""
    status, said = await run(script, "start", METRICS_TOKEN=token)
    assert status == 1
    assert said.splitlines()[-1].startswith("❌ Wrong settings: METRICS_TOKEN: ")
    assert token not in said
