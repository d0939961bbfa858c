"""What is made of a PBX's bytes, PostgreSQL takes."""

from __future__ import annotations

import asyncio
from typing import Any, cast
from uuid import UUID

from hypothesis import HealthCheck, Phase, given, settings

from shared.auth.admission import Settlement, admit, settle
from shared.store.database import Database
from shared.store.leases import Lease
from tests.integration.service import SECRET
from tests.orders import call_order, caller_of
from tests.postgres import Postgres
from tests.unit.odd import NOISE
from tests.unit.test_any_bytes import CALL_ID, Written, follow

HOST = "192.0.2.1"
ENDED_ID = UUID(int=2)

_AGAIN = (
    "UPDATE callapi.calls SET phase = 'accepted', reason = NULL, ended_at = NULL",
    "DELETE FROM callapi.call_events",
    "DELETE FROM callapi.trackers",
)
_VIEW = "SELECT jsonb_array_length(calls) AS n FROM callapi.host_views WHERE host = :host"


async def place_both(database: Database, postgres: Postgres) -> None:
    """Have the two calls that are followed recorded, and somebody who wants to see all."""
    own = postgres.settings()
    for call_id, phone in ((CALL_ID, "+375290000001"), (ENDED_ID, "+375290000002")):
        order = call_order("150", phone)
        await admit(
            *(database, own, caller_of(SECRET), order), call_id=call_id, idempotency_key=None
        )
        await settle(database, own, call_id, Settlement("executed"))
    await database.run(
        "INSERT INTO callapi.host_views (host, wanted_until)"
        " VALUES (:host, clock_timestamp() + interval '1 day')",
        host=HOST,
    )


async def write(database: Database, written: Written) -> None:
    """Write what a tracker wrote, through a lease of the database's own."""
    for statement in _AGAIN:
        await database.run(statement)
    lease = await Lease.take(database, HOST)
    assert lease is not None
    for change in written.changes:
        told = await lease.write([change])
        assert told is not None
        assert not told.malformed
    for view in written.views:
        assert await lease.write(view=cast("Any", view)) is not None
        (row,) = await database.run(_VIEW, host=HOST)
        assert row["n"] == len(cast("Any", view))


def test_whatever_a_tracker_writes_is_taken(postgres: Postgres, database: Database) -> None:
    """The changes, and the view of all calls, of a PBX that says anything; and read again."""
    postgres.seed_enterprise("0367", "june", HOST, SECRET)
    asyncio.run(place_both(database, postgres))

    @settings(
        max_examples=50,
        deadline=None,
        database=None,
        derandomize=True,
        # What fails is told as it was found: to make it smaller takes hundreds of looks.
        phases=[Phase.generate],
        suppress_health_check=[HealthCheck.too_slow],
    )
    @given(noise=NOISE)
    def is_taken(noise: bytes) -> None:
        asyncio.run(write(database, follow(noise)))

    is_taken()
    (row,) = postgres.execute(
        "SELECT count(*) AS n FROM callapi.calls WHERE legs <> '[]' OR cdr <> 'pending'"
    )
    assert row["n"] > 0  # what was written is there
