"""What has expired is removed by whatever process runs: bounded, seldom, harmless if it fails."""

from __future__ import annotations

import logging
import re

import anyio
import pytest

from functions.watchdog import handler as watchdog
from shared.following.expiry import Expiry, the_expiry
from shared.following.pace import Pace
from shared.store.audit import Noted, list_notes
from shared.store.database import Database, the_database
from shared.store.expired import Kept
from shared.store.expired import remove_expired as remove_all_expired
from shared.store.migrations import load_functions
from shared.telemetry import LOG
from tests.integration.followed import follow
from tests.integration.service import Services, until
from tests.postgres import Postgres

pytestmark = pytest.mark.anyio

KEPT = Kept(events_days=7, calls_days=400, audit_days=400)


async def remove_expired(database: Database) -> int:
    """Remove what has expired, and events of over a week ago."""
    return await remove_all_expired(database, KEPT)


def expire(postgres: Postgres, rows: int = 1) -> None:
    """Add claims that expired 25 hours ago, and one of each kind that did an hour ago."""
    postgres.execute(
        "INSERT INTO callapi.claims SELECT '1', 'same:old' || n, gen_random_uuid(), '',"
        " clock_timestamp() - interval '25 hours' FROM generate_series(1, CAST(:rows AS int)) n",
        rows=rows,
    )
    postgres.execute(
        "INSERT INTO callapi.claims VALUES ('1', 'same:young', gen_random_uuid(), '',"
        " clock_timestamp() - interval '1 hour') ON CONFLICT DO NOTHING"
    )


def claims(postgres: Postgres) -> int:
    """How many are left."""
    return int(postgres.execute("SELECT count(*) AS n FROM callapi.claims")[0]["n"])


async def test_each_turn_removes_some_thousand_rows(postgres: Postgres, database: Database) -> None:
    """So that no lock is held for long; the last turn says that none is left."""
    expire(postgres, 4500)
    turns = [await remove_expired(database) for _ in range(4)]
    assert turns == [2000, 2000, 500, 0]
    assert claims(postgres) == 1


async def test_limits_and_views_expire_too(postgres: Postgres, database: Database) -> None:
    """Those of over a day ago, and no younger ones."""
    postgres.execute(
        "INSERT INTO callapi.rate_limits SELECT 'x:' || age,"
        " clock_timestamp() - age * interval '1 hour' FROM unnest(ARRAY[-1, 1, 25]) age;"
        "INSERT INTO callapi.host_views SELECT '192.0.2.' || age,"
        " clock_timestamp() - age * interval '1 hour' FROM unnest(ARRAY[1, 25]) age"
    )
    assert await remove_expired(database) == 2
    keys = postgres.execute("SELECT key FROM callapi.rate_limits ORDER BY key")
    assert [row["key"] for row in keys] == ["x:-1", "x:1"]
    hosts = postgres.execute("SELECT host FROM callapi.host_views")
    assert [row["host"] for row in hosts] == ["192.0.2.1"]


async def test_what_ends_by_itself_is_removed_after_an_hour(
    postgres: Postgres, database: Database
) -> None:
    """Places of whoever waited, and what was known of a PBX."""
    postgres.execute(
        "INSERT INTO callapi.waits SELECT '0367', gen_random_uuid(),"
        " clock_timestamp() - age * interval '1 minute' FROM unnest(ARRAY[59, 61]) age;"
        "INSERT INTO callapi.broken_hosts SELECT '192.0.2.' || age, 'ssh-connect-failed', '',"
        " clock_timestamp() - age * interval '1 minute' FROM unnest(ARRAY[59, 61]) age"
    )
    assert await remove_expired(database) == 2
    assert postgres.execute("SELECT host FROM callapi.broken_hosts") == [{"host": "192.0.2.59"}]


async def test_what_processes_told_expires_too(postgres: Postgres, database: Database) -> None:
    """How one reaches a PBX after a day, whether it is reached and what was noticed after 90."""
    postgres.execute(
        "INSERT INTO callapi.host_states SELECT '192.0.2.1', 'p' || age,"
        " clock_timestamp() - age * interval '1 hour', '{}' FROM unnest(ARRAY[23, 25]) age;"
        "INSERT INTO callapi.host_reach SELECT '192.0.2.' || age, true, clock_timestamp(),"
        " clock_timestamp() - age * interval '1 day' FROM unnest(ARRAY[89, 91]) age;"
        "INSERT INTO callapi.notices SELECT '0367', 'a' || age, 1, clock_timestamp(),"
        " clock_timestamp() - age * interval '1 day' FROM unnest(ARRAY[89, 91]) age"
    )
    assert await remove_expired(database) == 3
    left = postgres.execute(
        "SELECT process AS what FROM callapi.host_states UNION ALL SELECT host FROM"
        " callapi.host_reach UNION ALL SELECT what FROM callapi.notices ORDER BY what"
    )
    assert [row["what"] for row in left] == ["192.0.2.89", "a89", "p23"]


async def test_a_row_that_somebody_holds_is_left_for_another_time(
    postgres: Postgres, database: Database
) -> None:
    """Nobody waits for whoever admits a call just now."""
    expire(postgres, 3)
    with database.transaction() as execute:
        execute("SELECT 1 FROM callapi.claims WHERE key = 'same:old2' FOR UPDATE")
        assert await remove_expired(database) == 2
    assert await remove_expired(database) == 1


async def test_two_processes_remove_at_once(postgres: Postgres, database: Database) -> None:
    """Each row once, and neither waits for the other or fails."""
    expire(postgres, 1500)
    removed: list[int] = []

    async def remove() -> None:
        removed.append(await remove_expired(database))

    async with anyio.create_task_group() as group:
        for _ in range(4):
            group.start_soon(remove)
    assert sum(removed) == 1500


async def test_it_is_done_once_an_hour(postgres: Postgres, database: Database) -> None:
    """At once the first time, all that there is; then not before an hour is over."""
    expiry = Expiry(database, Pace(), KEPT)
    expire(postgres, 2500)
    await expiry.remove_if_due()
    assert claims(postgres) == 1
    expire(postgres)
    await expiry.remove_if_due()
    assert claims(postgres) == 2
    expiry = Expiry(database, Pace(expiry_s=0.0), KEPT)
    for _ in range(2):
        await expiry.remove_if_due()
        assert claims(postgres) == 1
        expire(postgres)


async def test_a_database_that_is_away_is_logged_and_no_more(
    postgres: Postgres, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever follows calls goes on."""
    monkeypatch.setattr(LOG, "propagate", True)
    away = Database(postgres.settings(postgres_port=1))
    with caplog.at_level(logging.WARNING, logger=LOG.name):
        await Expiry(away, Pace(), KEPT).remove_if_due()
    away.close()
    assert "Устаревшие строки не удалены: " in caplog.text


async def test_a_process_that_follows_calls_removes_what_expired(start: Services) -> None:
    """Without a command of an operator's."""
    expire(start.postgres, 3)
    await follow(start)
    await until(lambda: claims(start.postgres) == 1)


async def test_on_aws_the_watchdog_does(start: Services) -> None:
    """Once an hour, though it runs each minute."""
    await follow(start, in_process=False)
    expire(start.postgres, 3)
    the_expiry.put(Expiry(the_database(), Pace(), KEPT))
    await watchdog.look_around(60)
    assert claims(start.postgres) == 1
    expire(start.postgres, 3)
    await watchdog.look_around(60)
    assert claims(start.postgres) == 4


def keep(postgres: Postgres, days: int, count: int = 1, enterprise: str = "0367") -> None:
    """Add calls that were placed so many days ago, each with its note."""
    postgres.execute(
        "WITH placed AS (INSERT INTO callapi.calls (call_id, enterprise, host, kind, code, phone,"
        " phase, reason, state, created_at, ended_at) SELECT gen_random_uuid(), :enterprise,"
        " '192.0.2.1', 'call', '150', '+375290000001', 'ended', 'busy', 'executed',"
        " clock_timestamp() - make_interval(days => :days), clock_timestamp()"
        " FROM generate_series(1, CAST(:count AS int)) RETURNING call_id, created_at)"
        " SELECT callapi.note(:enterprise, 'call', call_id, '150', '+375290000001', created_at,"
        """ '{"done_by": "client"}') FROM placed""",
        enterprise=enterprise,
        days=days,
        count=count,
    )


def left(postgres: Postgres, table: str) -> int:
    """How many rows a table has."""
    return int(postgres.execute(f"SELECT count(*) AS n FROM callapi.{table}")[0]["n"])


async def test_calls_and_notes_go_by_their_age(postgres: Postgres, database: Database) -> None:
    """Each by its own setting, in whatever order their enterprises are, and no younger ones."""
    for days in (5, 399, 401, 4000):
        for enterprise in ("0100", "0367", "9999"):
            keep(postgres, days, enterprise=enterprise)
    while await remove_all_expired(database, KEPT):
        pass
    assert left(postgres, "calls") == 6
    while await remove_all_expired(database, Kept(7, calls_days=30, audit_days=400)):
        pass
    assert left(postgres, "calls") == 3


async def test_notes_go_by_their_age(postgres: Postgres, database: Database) -> None:
    """The oldest first, whatever is kept of the calls."""
    for days in (4000, 401, 399, 5):
        keep(postgres, days)
    while await remove_all_expired(database, Kept(7, calls_days=30, audit_days=400)):
        pass
    assert left(postgres, "audit") == 2


async def test_a_note_keeps_the_end_of_a_call_that_is_gone(
    postgres: Postgres, database: Database
) -> None:
    """Calls may be kept shorter than who placed them: what became of them is told all the same."""
    keep(postgres, 40)
    await remove_all_expired(database, Kept(7, calls_days=30, audit_days=400))
    assert left(postgres, "calls") == 0
    (note,) = (await list_notes(database, "0367", Noted(), limit=10)).notes
    assert (note.outcome, note.phase) == ("busy", None)


async def test_old_calls_go_some_thousand_at_a_time(postgres: Postgres, database: Database) -> None:
    """So that no lock is held for long, however many there are."""
    for enterprise in ("0100", "0367"):
        keep(postgres, 500, 2500, enterprise)
    kept = Kept(7, calls_days=400, audit_days=10_000)
    turns = [await remove_all_expired(database, kept) for _ in range(4)]
    assert turns == [2000, 2000, 1000, 0]


async def test_nobody_waits_for_a_call_that_somebody_holds(
    postgres: Postgres, database: Database
) -> None:
    """Its row is left for another time."""
    keep(postgres, 500, 2)
    kept = Kept(7, calls_days=400, audit_days=10_000)
    with database.transaction() as execute:
        execute("SELECT 1 FROM callapi.calls ORDER BY call_id LIMIT 1 FOR UPDATE")
        assert await remove_all_expired(database, kept) == 1
    assert await remove_all_expired(database, kept) == 1


async def test_a_call_that_may_be_asked_for_again_stays(
    postgres: Postgres, database: Database
) -> None:
    """A claim that leads to no call means nothing, so the repeat would ring: it goes later."""
    keep(postgres, 500)
    postgres.execute(
        "INSERT INTO callapi.claims SELECT '0367', 'key:k', call_id, '',"
        " clock_timestamp() + interval '1 hour' FROM callapi.calls"
    )
    await remove_expired(database)
    assert left(postgres, "calls") == 1
    postgres.execute("UPDATE callapi.claims SET until = clock_timestamp()")
    await remove_expired(database)
    assert left(postgres, "calls") == 0


async def test_the_last_days_cannot_be_swept(postgres: Postgres, database: Database) -> None:
    """Whoever has the service's role alone cannot wipe out what he did, whatever he asks for."""
    keep(postgres, 29)
    keep(postgres, 0)
    await remove_all_expired(database, Kept(7, calls_days=-1, audit_days=-1))
    assert (left(postgres, "calls"), left(postgres, "audit")) == (1, 2)


def test_no_sweep_joins_the_rows_that_it_locks() -> None:
    """Each names them by an array, made once.

    Joined, 2,000 of 4,500 rows took 0.49 s for 0.007, where PostgreSQL had last looked at many
    pages with one row; and each row may lock all of the others again.
    """
    joined = re.compile(r"\bIN\s*\(\s*SELECT\b[^;]*?\bFOR UPDATE\b", re.DOTALL)
    wrong = [function.name for function in load_functions() if joined.search(function.template)]
    assert wrong == []
