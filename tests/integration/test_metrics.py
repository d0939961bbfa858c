"""GET /metrics of real services: what a call moves, who may read, and one answer of all workers."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest

from shared.metrics import states
from shared.metrics.families import FAMILIES
from tests.integration.followed import SLOW, follow, place, reach
from tests.integration.metrics import Numbers
from tests.integration.service import (
    LIMIT_S,
    OTHER_PHONE,
    SECRET,
    Service,
    Services,
)

pytestmark = pytest.mark.anyio

HERE = {"Host": "127.0.0.1"}
PHASES = ("accepted", "agent_ringing", "agent_answered", "customer_ringing", "talking", "ended")


async def numbers_of(service: Service) -> Numbers:
    """Read those of a service in this process."""
    answer = await service.http.get("/metrics", headers=HERE)
    assert answer.status_code == 200, answer.text
    return Numbers(answer.text)


async def tells(service: Service, condition: Callable[[Numbers], bool]) -> Numbers:
    """Read until something is told."""
    async with asyncio.timeout(LIMIT_S):
        while not condition(numbers := await numbers_of(service)):  # noqa: ASYNC110 - as until
            await asyncio.sleep(0.01)
    return numbers


async def test_a_call_moves_its_counters_by_one(start: Services) -> None:
    """Each phase once, one end by its reason, one acceptance; a repeat is one, and no call."""
    service = await follow(start, SLOW)
    call_id = await place(service, "154", OTHER_PHONE)
    assert (await service.call("154", OTHER_PHONE)).json()["repeated"]
    assert (await reach(service, call_id, "ended"))["reason"] == "answered"
    numbers = await numbers_of(service)
    told = {phase: numbers("phases_total", phase=phase) for phase in PHASES if phase != "accepted"}
    assert told == dict.fromkeys(PHASES[1:], 1)
    assert numbers("ended_total") == numbers("ended_total", reason="answered") == 1
    assert numbers("accepted_total") == numbers("repeated_total") == 1
    assert numbers("failed_total") == numbers("unknown_outcomes_total") == 0
    route = {"route": "/api/makecallexternal", "method": "GET"}
    assert numbers("requests_total", status="200", **route) == 2
    assert numbers("request_seconds_count", **route) == 2
    assert (numbers("command_seconds_count", transport="socket", outcome="ok") or 0) > 1
    assert numbers("command_seconds_count", transport="exec") is None
    assert (numbers("database_statement_seconds_count", outcome="ok") or 0) > 1
    assert numbers("ssh_connections") == 1
    assert numbers("internal_errors_total") == numbers("log_write_errors_total") == 0
    assert numbers("build_info") == numbers("processes") == 1


async def test_the_families_are_all_there_and_no_other(start: Services) -> None:
    """From the first answer on, in the table's order; nothing tells of one call or number."""
    service = await start()
    first = await numbers_of(service)
    assert first.names == [family.full_name.removesuffix("_total") for family in FAMILIES]
    await service.call("150", OTHER_PHONE)
    await service.http.get("/api/calls/00000000-0000-4000-8000-000000000000", params={"wait": 0})
    text = (await service.http.get("/metrics", headers=HERE)).text
    assert "/api/calls/{call_id}" in text
    for private in (OTHER_PHONE[1:], SECRET, "0367", "june", "00000000", '"150"'):
        assert private not in text


async def test_refusals_and_strangers_paths_have_bounded_labels(start: Services) -> None:
    """An error by its code; a path that is none, and a method of no endpoint, are `other`."""
    service = await start()
    assert (await service.call("150", "no number")).status_code == 422
    for path in ("/wp-login.php", "/a-b-c", "/api/nothing"):
        assert (await service.http.get(path)).status_code == 404
    await service.http.request("PROPFIND", "/health")
    numbers = await numbers_of(service)
    assert numbers("refusals_total", code="invalid-parameter") == 1
    assert numbers("refusals_total", code="not-found") == 3
    assert numbers("requests_total", route="other", method="GET", status="404") == 3
    assert numbers.labels("requests_total", "method") == {"GET", "other"}


async def test_a_failed_statement_is_timed_too(start: Services) -> None:
    """A database that refuses each log-in: its statements are there, as failed."""
    service = await start(POSTGRES_PASSWORD="wrong", POSTGRES_USER="nobody")
    assert (await service.http.get("/ready")).status_code == 503
    numbers = await numbers_of(service)
    assert numbers("database_statement_seconds_count", outcome="failed") == 1
    assert numbers("database_statement_seconds_count", outcome="ok") == 0
    assert numbers("database_connections", state="in_use") == 0


async def test_a_followed_pbx_is_there_while_it_is_followed(start: Services) -> None:
    """Its lease and the age of its newest look; once nothing is left to follow, neither is told."""
    service = await follow(start, SLOW)
    call_id = await place(service, "154", OTHER_PHONE)
    await reach(service, call_id, "talking")
    numbers = await numbers_of(service)
    assert numbers("tracker_lease", pbx="127.0.0.1") == 1
    assert 0 <= (numbers("tracker_look_age_seconds", pbx="127.0.0.1") or -1) < LIMIT_S
    await reach(service, call_id, "ended")
    numbers = await tells(service, lambda numbers: numbers("tracker_lease") is None)
    assert numbers("tracker_look_age_seconds") is None


async def test_a_pbx_that_was_removed_vanishes(
    start: Services, monkeypatch: pytest.MonkeyPatch
) -> None:
    """While it was asked lately it is told as failing; then it is no more told of."""
    service = await start(SSH_PORT="1")
    assert (await service.call()).status_code == 500
    assert (await numbers_of(service))("pbx_failing", pbx="127.0.0.1") == 1
    service.postgres.execute("DELETE FROM enterprises")
    monkeypatch.setattr(states, "LATELY_S", 0.0)
    numbers = await numbers_of(service)
    assert numbers("pbx_failing") is None
    assert numbers("ssh_connections") == 0


async def test_listeners_are_counted_while_they_listen(start: Services) -> None:
    """A long poll is one of its kind, until it is answered."""
    service = await start()
    poll = asyncio.create_task(service.http.get("/api/events", params={"after": 0, "wait": 25}))
    await tells(service, lambda numbers: numbers("listeners", kind="poll") == 1)
    await service.call()
    assert (await poll).status_code == 200
    numbers = await numbers_of(service)
    assert [numbers("listeners", kind=kind) for kind in ("poll", "sse", "websocket")] == [0, 0, 0]
