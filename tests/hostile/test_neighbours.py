"""What one enterprise does, however much, leaves another's calls as they are.

One's requests are held where they would hold up others; let go of only when the neighbour's calls
have been placed, followed to their end or hung up. So it is the order that is tested, no time.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections import Counter
from collections.abc import Awaitable, Callable, Iterable, Iterator
from functools import partial
from typing import Self

import httpx
import pytest

from shared.auth.under_way import the_waits
from shared.deadline import Deadline
from shared.pbx.hosts import Pbx
from shared.ssh.connection import Connection
from shared.ssh.pool import Use
from shared.store.database import the_database
from shared.turns import Turn
from tests.integration.followed import QUICK
from tests.integration.service import Service, Services, make_pbx, until
from tests.integration.test_reading import add

pytestmark = pytest.mark.anyio

NEIGHBOUR = "july-77aa10c2b3d4e5f6"
MANY = 30
# History asks which calls go on before it reads, so it is to be held first.
HELD: list[tuple[str, Use]] = [("/api/history", "file"), ("/api/extensions/150", "console")]
WAITING = "<UnderWay {'0367': <Turns 100: 30 read | 0 waiting>}>"


class Crowd:
    """The busy enterprise's requests, which are under way until they are let go of."""

    def __init__(self, service: Service) -> None:
        self._http = service.http
        self._tasks: list[asyncio.Task[httpx.Response]] = []

    def ask(self, path: str, times: int = MANY) -> None:
        """Ask for a path, so often at once."""
        self._tasks += [asyncio.create_task(self._http.get(path)) for _ in range(times)]

    @property
    def pending(self) -> int:
        """How many are not answered."""
        return sum(not task.done() for task in self._tasks)

    async def answers(self) -> Counter[int]:
        """Wait for all of them; how often each status came."""
        answers = await asyncio.gather(*self._tasks)
        return Counter(answer.status_code for answer in answers)


class Flood:
    """Clients, a fixed number of them, each of which asks again as soon as it is answered."""

    def __init__(self, asks: Iterable[Callable[[], Awaitable[httpx.Response]]]) -> None:
        self.statuses: Counter[int] = Counter()
        self._tasks = [asyncio.create_task(self._go_on(ask)) for ask in asks]

    async def _go_on(self, ask: Callable[[], Awaitable[httpx.Response]]) -> None:
        while True:
            self.statuses[(await ask()).status_code] += 1
            await asyncio.sleep(0.01)  # a client is at the other end of a network

    async def __aenter__(self) -> Self:
        """It has begun."""
        return self

    async def __aexit__(self, *_: object) -> None:
        """Let the clients go away, wherever they are."""
        for task in self._tasks:
            task.cancel()
        ends = await asyncio.gather(*self._tasks, return_exceptions=True)
        assert {type(end) for end in ends} == {asyncio.CancelledError}


class Readers:
    """Those who read of a PBX: held in their places there from `hold` on, until `go_on`."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.there: Counter[Use] = Counter()
        self._go_on = asyncio.Event()
        lend = Pbx.use

        async def lend_for_long(
            pbx: Pbx,
            host: str,
            deadline: Deadline,
            use: Callable[[Connection], Awaitable[object]],
            *,
            turn: Turn = "call",
            of: Use = "console",
        ) -> object:
            async def use_for_long(connection: Connection) -> object:
                if turn == "read" and of in self.held:
                    self.there[of] += 1
                    await self._go_on.wait()
                return await use(connection)

            return await lend(pbx, host, deadline, use_for_long, turn=turn, of=of)

        self.held: set[Use] = set()
        monkeypatch.setattr(Pbx, "use", lend_for_long)

    def go_on(self) -> None:
        """Hold nobody any more."""
        self._go_on.set()


@pytest.fixture
def readers(monkeypatch: pytest.MonkeyPatch) -> Readers:
    """The PBX's readers, in the test's hand."""
    return Readers(monkeypatch)


async def beside_neighbour(start: Services, **settings: object) -> Service:
    """Start with two enterprises of one PBX, whose phones ring as long as real ones."""
    pbx = await start.stack.enter_async_context(make_pbx(time_scale=1.0))
    service = await start.on(pbx, **settings)
    service.postgres.seed_enterprise("0368", "july", "127.0.0.1", NEIGHBOUR)
    return service


def name_extensions(service: Service) -> None:
    """Let each have its own phones of the one PBX: then each may read its own calls of it."""
    service.postgres.execute(
        "INSERT INTO callapi.enterprise_rules (enterprise, extensions)"
        " VALUES ('0367', '{150,151}'), ('0368', '{152,153,154,156,157}')"
    )


async def hang_up(service: Service, answer: httpx.Response) -> int:
    """End the neighbour's call."""
    url, headers = answer.json()["call_status_url"], {"Authorization": f"Bearer {NEIGHBOUR}"}
    return (await service.http.delete(url, headers=headers)).status_code


async def call_and_hang_up(service: Service, number: int = 1) -> None:
    """Place the neighbour's call, let its phone ring, once, and end it."""
    rung = service.pbx.invites["157"] + 1
    call = await service.call("157", f"+37529000010{number}", secret=NEIGHBOUR)
    assert call.status_code == 200
    await until(lambda: service.pbx.invites["157"] == rung)  # ended sooner, it rings nobody
    assert await hang_up(service, call) == 200


async def test_readers_of_a_pbx_hold_up_no_call_of_it(start: Services, readers: Readers) -> None:
    """Dozens page its history and ask for its phones, and hold what places they may have.

    The neighbour's calls are placed, followed to their end, and hung up meanwhile.
    """
    start.follow, start.pace = True, QUICK
    pbx = await start.stack.enter_async_context(make_pbx(time_scale=0.1))
    service = await start.on(pbx, PBX_QUEUE_S=20)
    service.postgres.seed_enterprise("0368", "july", "127.0.0.1", NEIGHBOUR)
    name_extensions(service)
    crowd = Crowd(service)
    for path, of in HELD:
        readers.held.add(of)
        crowd.ask(path)
        await until(partial(readers.there.__contains__, of))
    calls = [await service.call("154", f"+37529000010{n}", secret=NEIGHBOUR) for n in range(3)]
    assert [call.status_code for call in calls] == [200] * 3
    await until(lambda: {row["phase"] for row in service.calls()} == {"ended"})
    assert {row["cdr"] for row in service.calls()} == {"confirmed"}
    service.pbx.time_scale = 1
    last = await service.call("157", secret=NEIGHBOUR)
    assert await hang_up(service, last) == 200
    assert (crowd.pending, readers.there) == (2 * MANY, {"file": 1, "console": 1})
    readers.go_on()
    assert await crowd.answers() == {200: 2 * MANY}
    assert service.pbx.invites["154"] == 3


@pytest.mark.parametrize("size", [2, 8])
async def test_reads_that_hold_the_database_hold_up_no_call(start: Services, size: int) -> None:
    """Each reader stands still in a statement; the last connection is not theirs."""
    service = await beside_neighbour(start, POSTGRES_POOL_SIZE=size, POSTGRES_TIMEOUT_S=20)
    assert (await service.http.get("/api/calls")).status_code == 200  # now it has a row of tokens
    crowd = Crowd(service)
    with the_database().transaction() as execute:
        execute("SELECT tat FROM callapi.rate_limits WHERE key = 'reads:0367' FOR UPDATE")
        crowd.ask("/api/calls")
        await until(lambda: f"{size - 1} in use" in repr(the_database()))
        await call_and_hang_up(service)
        assert crowd.pending == MANY
    assert await crowd.answers() == {200: MANY}


async def test_who_waits_for_a_change_holds_nothing(start: Services) -> None:
    """Dozens of long polls of one, and a call of the other's, on one connection of the database."""
    service = await beside_neighbour(start, POSTGRES_POOL_SIZE=1)
    (call_id,) = add(service, 1, phase="accepted", reason=None)
    crowd = Crowd(service)
    crowd.ask(f"/api/calls/{call_id}?wait=25&phase=accepted")
    await until(lambda: repr(the_waits()) == WAITING)
    await call_and_hang_up(service)
    assert crowd.pending == MANY
    service.postgres.execute(
        "UPDATE callapi.calls SET phase = 'agent_ringing' WHERE enterprise = '0367'"
    )
    assert await crowd.answers() == {200: MANY}


@contextlib.contextmanager
def dead_host(address: str, port: int) -> Iterator[socket.socket]:
    """A host that takes connections and says nothing."""
    with socket.create_server((address, port), backlog=128) as listener:
        yield listener


async def test_a_dead_pbx_holds_up_no_call_of_another(start: Services) -> None:
    """Its enterprise clicks, pages and waits; the neighbour's calls go on meanwhile."""
    service = await beside_neighbour(start, PBX_QUEUE_S=20, SSH_CONNECT_TIMEOUT_S=20)
    service.postgres.execute("UPDATE enterprises SET ip = '127.0.0.9' WHERE number = '0367'")
    crowd = Crowd(service)
    with dead_host("127.0.0.9", service.pbx.port) as listener:
        for number in range(MANY):
            crowd.ask(f"/api/makecallexternal?code=150&phone=8029{number:07}", 1)
        crowd.ask("/api/history")
        crowd.ask("/api/extensions/150")
        await until(lambda: len(service.calls()) == MANY)
        for number in range(3):
            await call_and_hang_up(service, number)
        assert crowd.pending == 3 * MANY
        link, _ = listener.accept()
        link.close()
    assert set(await crowd.answers()) <= {429, 500, 503}
    assert service.pbx.invites["157"] == 3


async def test_wrong_requests_hold_up_no_call(start: Services) -> None:
    """Five clients, wrong each in its way and again at once, and calls that all go well."""
    service = await beside_neighbour(start, SSH_CONNECT_TIMEOUT_S=20)
    name_extensions(service)
    wrong = [
        *(partial(service.call, "7", "nobody"), partial(service.http.get, "/api/calls?limit=0")),
        partial(service.call, secret="nobodys-secret-0000"),
        partial(service.http.get, "/api/history", headers={"Authorization": "Bearer nobodys"}),
        partial(service.http.get, "/api/history?cursor=none"),
    ]
    async with Flood(wrong) as flood:
        await until(lambda: {401, 422} <= set(flood.statuses))
        before = flood.statuses.copy()
        for number in range(5):
            await call_and_hang_up(service, number)
        await until(lambda: all(flood.statuses[status] > before[status] for status in (401, 422)))
    assert set(flood.statuses) <= {401, 422, 429}
    assert service.pbx.invites["157"] == 5
