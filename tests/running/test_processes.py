"""Several processes: some serve, some follow, and whichever dies, nothing is missed."""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import signal
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from demo.standin import StandIn
from shared.auth import admission
from shared.aws.clients import the_clients
from shared.following import unfollowed
from shared.following.counting import the_counting
from shared.following.expiry import the_expiry
from shared.following.pace import Pace
from shared.following.tracker import Tracker
from shared.following.trackers import Trackers
from shared.following.wake import Waker
from shared.pbx.hosts import the_pbx
from shared.pbx.names import the_names
from shared.settings import the_settings
from shared.store.database import the_database
from tests.integration.followed import SLOW, TALKS_ON, follow, place, reach
from tests.integration.service import (
    LIMIT_S,
    OTHER_PHONE,
    SECRET,
    Process,
    Services,
    environment,
    make_pbx,
    run_process,
    seed,
    until,
)
from tests.postgres import Postgres
from tests.processes import descendants, owner_of, runs, sockets_from

pytestmark = pytest.mark.anyio

HEADERS = {"Authorization": f"Bearer {SECRET}"}
# A phase that is shorter than the time between two looks may be left out, on a busy machine.
PHASES = ("accepted", "agent_ringing", "agent_answered", "customer_ringing", "talking", "ended")


class Listener:
    """Somebody who asks one process again and again what happened since."""

    def __init__(self, process: Process) -> None:
        self.heard: list[dict[str, Any]] = []
        self._http = httpx.AsyncClient(base_url=process.url, headers=HEADERS, timeout=LIMIT_S)
        self._after = 0
        self._listening: asyncio.Task[None] | None = None

    async def begin(self) -> None:
        """Listen from now on."""
        self._after = (await self._http.get("/api/events")).json()["next"]
        self._listening = asyncio.create_task(self._listen())

    async def _listen(self) -> None:
        while True:
            answer = await self._http.get("/api/events", params={"after": self._after, "wait": 1})
            told = answer.raise_for_status().json()
            self.heard += told["events"]
            self._after = told["next"]

    def phases(self, call_id: str) -> list[str]:
        """What was heard of one call, in order."""
        mine = (event for event in self.heard if event["call"]["call_id"] == call_id)
        return [event["call"]["phase"] for event in mine if event["type"] == "call.phase"]

    async def hear(self, call_id: str, phase: str) -> None:
        """Wait until a phase was heard; fail with what ended the listening."""
        assert self._listening is not None
        await until(lambda: phase in self.phases(call_id) or self._listening.done())  # type: ignore[union-attr]
        if self._listening.done():
            await self._listening

    async def close(self) -> None:
        """Listen no more."""
        if self._listening is not None:
            self._listening.cancel()
            await asyncio.gather(self._listening, return_exceptions=True)
        await self._http.aclose()


class Fleet:
    """Processes of several roles around one database and one PBX."""

    def __init__(self, folder: Path, settings: dict[str, str]) -> None:
        self._folder = folder
        self._settings = settings
        self._stack = contextlib.AsyncExitStack()
        self._count = 0

    async def run(self, **settings: str) -> Process:
        """Start one more."""
        self._count += 1
        own = self._settings | settings
        name = f"process-{self._count}"
        return await self._stack.enter_async_context(run_process(self._folder, own, name=name))

    async def listen(self, process: Process) -> Listener:
        """Listen to one."""
        listener = Listener(process)
        self._stack.push_async_callback(listener.close)
        await listener.begin()
        return listener

    async def close(self) -> None:
        """End them all."""
        await self._stack.aclose()


@pytest.fixture
async def pbx() -> AsyncIterator[StandIn]:
    """A PBX whose phases can be kept up with."""
    async with make_pbx(time_scale=SLOW) as standin:
        yield standin


@pytest.fixture
async def fleet(postgres: Postgres, pbx: StandIn, tmp_path: Path) -> AsyncIterator[Fleet]:
    """No process yet; those that are started end with the test."""
    seed(postgres)
    started = Fleet(tmp_path, environment(postgres, pbx.port, str(tmp_path / "service.log")))
    yield started
    await started.close()


def told(postgres: Postgres, call_id: str) -> list[str]:
    """The phases of a call that was followed to its end: each once, in their order."""
    rows = postgres.execute(
        "SELECT phase FROM callapi.call_events"
        " WHERE call_id = CAST(:id AS uuid) AND type = 'call.phase' ORDER BY seq",
        id=call_id,
    )
    phases = [row["phase"] for row in rows]
    assert phases == [phase for phase in PHASES if phase in phases]
    assert {"accepted", "talking", "ended"} <= set(phases)
    return phases


async def call(process: Process, phone: str, code: str = "154") -> str:
    """Place a call; its id."""
    async with httpx.AsyncClient(base_url=process.url, headers=HEADERS, timeout=LIMIT_S) as http:
        query = {"code": code, "phone": phone}
        answer = await http.get("/api/makecallexternal", params=query)
    return str(answer.raise_for_status().json()["call_id"])


async def hang_up(process: Process, call_id: str) -> None:
    """End a call."""
    async with httpx.AsyncClient(base_url=process.url, headers=HEADERS, timeout=LIMIT_S) as http:
        (await http.delete(f"/api/calls/{call_id}")).raise_for_status()


async def kill(process: Process) -> None:
    """Kill one at once."""
    process.process.kill()
    await process.process.wait()


async def test_whoever_dies_nothing_is_missed_and_nothing_told_twice(
    fleet: Fleet, postgres: Postgres
) -> None:
    """Two that serve, one that follows: listeners at both hear one list of each call.

    So it is when the follower is killed while they talk, another being there, and when the process
    is killed that has placed the call. A follower serves no API.
    """
    first, second = await fleet.run(ROLE="api"), await fleet.run(ROLE="api")
    follower = await fleet.run(ROLE="follower")
    async with httpx.AsyncClient(base_url=follower.url) as http:
        paths = ("/health", "/ready", "/api/status", "/docs", "/openapi.json")
        assert [(await http.get(p)).status_code for p in paths] == [200, 200, 404, 404, 404]
    at_first, at_second = await fleet.listen(first), await fleet.listen(second)

    call_id = await call(first, OTHER_PHONE)
    for listener in (at_first, at_second):
        await listener.hear(call_id, "ended")
        assert listener.phases(call_id) == told(postgres, call_id)

    await fleet.run(ROLE="follower")
    call_id = await call(second, TALKS_ON)
    await at_first.hear(call_id, "talking")
    await kill(follower)
    await hang_up(first, call_id)
    for listener in (at_first, at_second):
        await listener.hear(call_id, "ended")
        assert listener.phases(call_id) == told(postgres, call_id)

    call_id = await call(first, OTHER_PHONE)
    await at_second.hear(call_id, "agent_ringing")
    await kill(first)
    await at_second.hear(call_id, "ended")
    assert at_second.phases(call_id) == told(postgres, call_id)
    numbers = [event["seq"] for event in at_second.heard]
    assert numbers == list(range(1, len(numbers) + 1))
    assert at_first.heard == at_second.heard[: len(at_first.heard)]


async def test_what_another_process_places_wakes_a_tracker_that_rests(
    start: Services, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It found the call while that was placed, and would not look again for an hour."""
    rests = asyncio.Event()
    settle, pause = admission.settle, Tracker._pause

    async def settle_late(*args: Any, **values: Any) -> bool:
        await rests.wait()
        return await settle(*args, **values)

    async def tell_and_pause(tracker: Tracker, following: Any) -> None:
        rests.set()
        await pause(tracker, following)

    monkeypatch.setattr(admission, "settle", settle_late)
    monkeypatch.setattr(Tracker, "_pause", tell_and_pause)
    service = await follow(start, ROLE="api")
    elsewhere = Trackers(
        *(the_settings(), the_database(), the_pbx()),
        waker=Waker(the_settings(), the_clients()),
        pace=Pace(busy_s=0.03, talk_s=0.03, idle_s=3600.0, left_behind_s=0.02),
        expiry=the_expiry(),
        names=the_names(),
        counting=the_counting(),
    )
    elsewhere.start()
    try:
        call_id = await place(service, "154", OTHER_PHONE)
        assert (await reach(service, call_id, "ended"))["reason"] == "answered"
    finally:
        await elsewhere.close()


async def test_an_api_without_a_follower_says_so(
    start: Services, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its calls would be `accepted` for ever: the log names what is missing, and the host."""
    monkeypatch.setattr(unfollowed, "_LOOK_S", 0.05)
    service = await follow(start, ROLE="api")
    await place(service, "154", OTHER_PHONE)
    said = "❌ За звонками не следит ни один процесс, нужен ROLE=follower; хостов: 1, 127.0.0.1"
    await until(lambda: said in service.log())


# SERVICE_WORKERS


LINE = re.compile(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d,\d{3} - asterisk - [A-Z]+ - .+")


async def connect(process: Process) -> tuple[asyncio.StreamWriter, int]:
    """Open a connection that stays; which worker has answered on it, as the kernel says."""
    url = httpx.URL(process.url)
    reader, writer = await asyncio.open_connection(url.host, url.port)
    writer.write(b"GET /health HTTP/1.1\r\nHost: localhost\r\n\r\n")
    assert (await reader.readline()).split()[1] == b"200"
    port = writer.get_extra_info("sockname")[1]
    return writer, owner_of(sockets_from(port), descendants(process.process.pid))


async def workers_that_answer(process: Process, stack: contextlib.ExitStack) -> set[int]:
    """Connect until both workers have answered; their process ids."""
    pids: set[int] = set()
    async with asyncio.timeout(LIMIT_S):
        while len(pids) < 2:
            # At once, or the one that rests takes each.
            opened = await asyncio.gather(*(connect(process) for _ in range(10)))
            for writer, pid in opened:
                stack.callback(writer.close)
                pids.add(pid)
    return pids


async def test_workers_serve_one_port_and_are_replaced(
    fleet: Fleet, postgres: Postgres, pbx: StandIn, tmp_path: Path
) -> None:
    """Both answer; one that is killed has a successor; each call is followed once, all its phases.

    The one log has whole lines of all of them, and at the end no process is left.
    """
    process = await fleet.run(SERVICE_WORKERS="2")
    with contextlib.ExitStack() as stack:
        before = await workers_that_answer(process, stack)
        os.kill(min(before), signal.SIGKILL)
    listener = await fleet.listen(process)
    codes = ("150", "151", "154")
    calls = await asyncio.gather(*(call(process, OTHER_PHONE, code) for code in codes))
    for call_id in calls:
        await listener.hear(call_id, "ended")
        assert listener.phases(call_id) == told(postgres, call_id)
    with contextlib.ExitStack() as stack:
        after = await workers_that_answer(process, stack)
    assert len(after - before) == 1
    assert [pbx.invites[code] for code in codes] == [1, 1, 1]

    process.process.terminate()
    assert await asyncio.wait_for(process.process.wait(), LIMIT_S) == 0
    await until(lambda: not any(map(runs, before | after)))
    lines = (tmp_path / "service.log").read_text("utf-8").splitlines()
    assert [line for line in lines if not LINE.fullmatch(line)] == []


async def test_workers_end_with_who_started_them(fleet: Fleet) -> None:
    """However that was killed: none goes on by itself, on a port that nobody could take."""
    process = await fleet.run(SERVICE_WORKERS="2")
    workers = descendants(process.process.pid)
    assert len(workers) == 2
    await kill(process)
    await until(lambda: not any(map(runs, workers)))
