"""What has expired is removed by whatever process runs: bounded, seldom, harmless if it fails."""

from __future__ import annotations

import logging

import anyio
import pytest

from functions.tracker import handler as function
from shared.following.expiry import Expiry, the_expiry
from shared.following.pace import Pace
from shared.store.database import Database, the_database
from shared.store.expired import remove_expired as remove_all_expired
from shared.telemetry import LOG
from tests.integration.followed import follow
from tests.integration.service import Services, until
from tests.postgres import Postgres

pytestmark = pytest.mark.anyio


async def remove_expired(database: Database) -> int:
    """Remove what has expired, and events of over a week ago."""
    return await remove_all_expired(database, events_keep_days=7)


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
    expiry = Expiry(database, Pace(), events_keep_days=7)
    expire(postgres, 2500)
    await expiry.remove_if_due()
    assert claims(postgres) == 1
    expire(postgres)
    await expiry.remove_if_due()
    assert claims(postgres) == 2
    expiry = Expiry(database, Pace(expiry_s=0.0), events_keep_days=7)
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
        await Expiry(away, Pace(), events_keep_days=7).remove_if_due()
    away.close()
    assert "Устаревшие строки не удалены: " in caplog.text


async def test_a_process_that_follows_calls_removes_what_expired(start: Services) -> None:
    """Without a command of an operator's."""
    expire(start.postgres, 3)
    await follow(start)
    await until(lambda: claims(start.postgres) == 1)


async def test_on_aws_the_watchdog_and_a_tracker_do(start: Services) -> None:
    """Each in a process of its own; the watchdog once an hour, though it runs each minute."""
    await follow(start, in_process=False)
    for run in (function.start_missing(), function.follow("127.0.0.1", 30)):
        expire(start.postgres, 3)
        the_expiry.put(Expiry(the_database(), Pace(), events_keep_days=7))
        await run
        assert claims(start.postgres) == 1
    expire(start.postgres, 3)
    await function.start_missing()
    assert claims(start.postgres) == 4
