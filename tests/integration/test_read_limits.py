"""Reads have limits of their own: a reader may be refused, a call and its end never are by them."""

from __future__ import annotations

import asyncio
from typing import Any
from uuid import uuid4

import httpx
import pytest

from shared.auth.under_way import the_waits
from shared.settings import Settings
from shared.ssh import connection, files
from tests.integration.service import Service, Services, until
from tests.integration.test_reading import add

pytestmark = pytest.mark.anyio

JULY = {"Authorization": "Bearer july-77aa10c2b3d4e5f6"}
READS = ["/api/calls", f"/api/calls/{uuid4()}", f"/api/calls/{uuid4()}?wait=1"]
PBX_READS = ["/api/history", "/api/extensions/150", "/api/calls?source=pbx"]


def quota(answer: httpx.Response) -> tuple[int, str | None, str | None]:
    """Status, policy and what is left, without the time."""
    left = answer.headers.get("ratelimit")
    return (
        answer.status_code,
        answer.headers.get("ratelimit-policy"),
        left and left.partition(";t=")[0],
    )


@pytest.mark.parametrize(
    ("setting", "name", "paths"),
    [("RATE_LIMIT_READS", "reads", READS), ("RATE_LIMIT_PBX_READS", "pbx_reads", PBX_READS)],
)
async def test_reads_cost_tokens_of_their_own(
    start: Services, setting: str, name: str, paths: list[str]
) -> None:
    """All that read the same share one limit; used up it is 429, which says when to come back."""
    service = await start(**{setting: f"{len(paths)}/3600"})
    policy = f'"{name}";q={len(paths)};w=3600'
    for path in paths:
        assert (await service.http.get(path)).status_code != 429, path
    for path in paths:
        refused = await service.http.get(path)
        assert quota(refused) == (429, policy, f'"{name}";r=0'), path
        assert refused.json()["code"] == "rate-limited"
        assert int(refused.headers["retry-after"]) > 1000
    assert [row["key"] for row in service.tokens()] == [f"{name}:0367"]


async def test_what_is_left_is_told_with_each_answer(start: Services) -> None:
    """As JSON and as a sheet, in the fields of placing."""
    service = await start(RATE_LIMIT_READS="5/3600", RATE_LIMIT_PBX_READS="5/3600")
    (call_id,) = add(service, 1)
    told = [
        quota(await service.http.get(path))
        for path in (
            "/api/calls",
            f"/api/calls/{call_id}",
            "/api/history",
            "/api/history?format=csv",
            "/api/extensions/150",
        )
    ]
    of_reads, of_pbx = '"reads";q=5;w=3600', '"pbx_reads";q=5;w=3600'
    assert told == [
        (200, of_reads, '"reads";r=4'),
        (200, of_reads, '"reads";r=3'),
        (200, of_pbx, '"pbx_reads";r=4'),
        (200, of_pbx, '"pbx_reads";r=3'),
        (200, of_pbx, '"pbx_reads";r=2'),
    ]


async def test_one_limit_uses_up_no_other(start: Services) -> None:
    """Each enterprise has its own, and the database's is not the PBX's."""
    service = await start(RATE_LIMIT_READS="1/3600", RATE_LIMIT_PBX_READS="1/3600")
    service.postgres.seed_enterprise("0368", "july", "192.0.2.9", "july-77aa10c2b3d4e5f6")
    assert [(await service.http.get("/api/calls")).status_code for _ in range(2)] == [200, 429]
    assert (await service.http.get("/api/history")).status_code == 200
    assert (await service.http.get("/api/calls", headers=JULY)).status_code == 200


async def test_placing_and_ending_are_never_refused_by_it(start: Services) -> None:
    """With both limits used up a call is placed, hung up, and a transfer judged on its merits."""
    service = await start(RATE_LIMIT_READS="1/3600", RATE_LIMIT_PBX_READS="1/3600")
    for path in ("/api/calls", "/api/history") * 2:
        last = await service.http.get(path)
    assert last.status_code == 429
    service.pbx.time_scale = 1  # or the call would soon be over
    placed = await service.call("157")
    assert placed.status_code == 200
    url = placed.json()["call_status_url"]
    handed = await service.http.post(f"{url}/transfer", json={"to": "151"})
    assert (handed.status_code, handed.json()["code"]) == (409, "call-not-ready")
    assert (await service.http.delete(url)).status_code == 200


async def test_a_wrong_request_costs_no_token(service: Service) -> None:
    """What is refused by its parameters reads nothing."""
    for path in ("/api/calls?limit=x", "/api/history?limit=x", "/api/extensions/x"):
        assert (await service.http.get(path)).status_code == 422
    assert service.tokens() == []


def test_a_supervisors_panel_does_not_meet_the_defaults() -> None:
    """Each second 50 calls and their list, and the PBX's calls with one page or phone beside."""
    reads, pbx_reads = Settings().rate_limit_reads, Settings().rate_limit_pbx_reads
    assert reads.count / reads.per_s >= 50 + 1
    assert pbx_reads.count / pbx_reads.per_s >= 1 + 1


# One history at a time


class Held:
    """Files of the PBX that are not read before `go_on`; `begun` counts who began."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.begun = 0
        self.go_on = asyncio.Event()
        read = files.read_slice

        async def read_later(*about: Any) -> files.FileSlice:
            self.begun += 1
            await self.go_on.wait()
            return await read(*about)

        monkeypatch.setattr(connection, "read_slice", read_later)


@pytest.fixture
def held(monkeypatch: pytest.MonkeyPatch) -> Held:
    """The PBX's files, in the test's hand."""
    return Held(monkeypatch)


async def test_a_second_history_waits_for_the_first(service: Service, held: Held) -> None:
    """Of ten requests one reads; each gets its page, one after another."""
    pages = [asyncio.create_task(service.http.get("/api/history")) for _ in range(10)]
    await until(lambda: held.begun > 0)
    await service.http.get("/api/extensions/150")  # the others have had time to come as far
    assert held.begun == 1
    held.go_on.set()
    assert {page.status_code for page in await asyncio.gather(*pages)} == {200}
    assert held.begun == 10


async def test_a_history_that_waits_too_long_is_told_to_come_back(
    start: Services, held: Held
) -> None:
    """429, with a time; the enterprise's first one goes on."""
    service = await start(PBX_QUEUE_S=0.05)
    first = asyncio.create_task(service.http.get("/api/history"))
    await until(lambda: held.begun > 0)
    second = await service.http.get("/api/history")
    assert (second.status_code, second.json()["code"]) == (429, "rate-limited")
    assert second.headers["retry-after"] == "1"
    assert not first.done()
    held.go_on.set()
    assert (await first).status_code == 200


async def test_a_client_that_goes_frees_its_place(service: Service, held: Held) -> None:
    """Cancelled in the middle and in the queue: the next one reads."""
    reading = asyncio.create_task(service.http.get("/api/history"))
    await until(lambda: held.begun == 1)
    waiting, last = (asyncio.create_task(service.http.get("/api/history")) for _ in range(2))
    await service.http.get("/api/extensions/150")  # the others have had time to come as far
    for gone in (waiting, reading):
        gone.cancel()
        await asyncio.gather(gone, return_exceptions=True)
    await until(lambda: held.begun == 2)
    held.go_on.set()
    assert (await last).status_code == 200


# Waiting for a change


async def test_so_many_may_wait_and_no_more(start: Services) -> None:
    """429 for who is beyond it; who does not wait, and another enterprise, are answered."""
    service = await start(WAITS_AT_ONCE=2)
    service.postgres.seed_enterprise("0368", "july", "192.0.2.9", "july-77aa10c2b3d4e5f6")
    (call_id,) = add(service, 1, phase="accepted", reason=None)
    (other,) = add(service, 1, phase="accepted", reason=None, enterprise="0368")
    url = f"/api/calls/{call_id}"
    full = "<UnderWay {'0367': <Turns 2: 2 read | 0 waiting>}>"
    waiting = [asyncio.create_task(service.http.get(f"{url}?wait=25")) for _ in range(2)]
    await until(lambda: repr(the_waits()) == full)
    refused = await service.http.get(f"{url}?wait=25")
    assert (refused.status_code, refused.json()["code"]) == (429, "rate-limited")
    assert refused.headers["retry-after"] == "1"
    assert (await service.http.get(url)).status_code == 200
    theirs = await service.http.get(f"/api/calls/{other}?wait=0.1", headers=JULY)
    assert theirs.status_code == 200
    waiting[0].cancel()
    await asyncio.gather(waiting[0], return_exceptions=True)
    assert (await service.http.get(f"{url}?wait=0.1")).status_code == 200
    service.postgres.execute("UPDATE callapi.calls SET phase = 'agent_ringing'")
    service.postgres.execute(
        "SELECT callapi.tell(enterprise, call_id, phase, NULL, clock_timestamp())"
        " FROM callapi.calls WHERE call_id = CAST(:call_id AS uuid)",
        call_id=call_id,
    )
    assert (await waiting[1]).json()["phase"] == "agent_ringing"
    assert repr(the_waits()) == "<UnderWay {}>", "nothing is kept of who is gone"
