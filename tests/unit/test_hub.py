"""What a process keeps of the feed, and how it learns that the feed is another one."""

from __future__ import annotations

import logging
from typing import Any
from uuid import UUID

import pytest

from shared.events import hub as events_hub
from shared.events.feed import Wanted
from shared.events.hub import Hub
from shared.store.connection import Rows
from shared.telemetry import LOG, REQUEST_ID, in_request
from tests.integration.service import until

pytestmark = pytest.mark.anyio


class Counter:
    """A database that tells an enterprise's newest number; None: it was told nothing."""

    newest: int | None = 5

    async def run(self, sql: str, **parameters: Any) -> Rows:
        """Tell it."""
        assert "event_counters" in sql
        (enterprise,) = parameters["enterprises"]
        return [] if self.newest is None else [{"enterprise": enterprise, "seq": self.newest}]


class Purged(Counter):
    """One with an event, of which an operator has had the numbers forgotten meanwhile."""

    async def run(self, sql: str, **parameters: Any) -> Rows:
        """Tell the number, or the event as it was."""
        if "event_counters" in sql:
            return await super().run(sql, **parameters)
        webhook = {"id": str(UUID(int=7)), "origin": "https://crm.example.test", "why": "failing"}
        event = {"seq": 6, "type": "webhook.disabled", "at": "2026-11-28T12:00:00Z"}
        told = {"gone": False, "events": [event | {"webhook": webhook}], "next": 6, "newest": 6}
        return [{"answer": told}]


class Named(Counter):
    """One that takes down whose request asks it, as the lines of the log would."""

    def __init__(self) -> None:
        self.named: list[str] = []

    async def run(self, sql: str, **parameters: Any) -> Rows:
        """Tell the number."""
        self.named.append(REQUEST_ID.get())
        return await super().run(sql, **parameters)


class Faulty(Counter):
    """One whose first question meets a defect."""

    is_asked = False

    async def run(self, sql: str, **parameters: Any) -> Rows:
        """Tell the number, but for the first time."""
        if not self.is_asked:
            self.is_asked = True
            raise ZeroDivisionError
        return await super().run(sql, **parameters)


async def test_a_feed_that_has_begun_anew_is_noticed() -> None:
    """By a backup of before its first event: who waits for more than 0 does not find 5 for good."""
    database = Counter()
    hub = Hub(database, poll_s=0.001)
    hub.join("0367")
    await until(lambda: hub.told_since("0367", 5, Wanted(), 1) is not None)
    database.newest = None
    await until(lambda: hub.told_since("0367", 0, Wanted(), 1) is not None)
    assert hub.told_since("0367", 5, Wanted(), 1) is None
    await hub.leave("0367")


async def test_what_is_not_new_is_read_where_it_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    """`purge` forgets numbers there: what a quiet enterprise was told long ago has them here."""
    database = Purged()
    hub = Hub(database, poll_s=0.001)
    hub.join("0367")
    await until(lambda: hub.told_since("0367", 5, Wanted(), 1) is not None)
    database.newest = 6
    await until(lambda: hub.told_since("0367", 6, Wanted(), 1) is not None)
    told = hub.told_since("0367", 5, Wanted(scope="all"), 1)
    assert told
    assert [event.seq for event in told.events] == [6]
    monkeypatch.setattr(events_hub, "_RING_S", 0.001)
    await until(lambda: hub.told_since("0367", 5, Wanted(), 1) is None)
    assert hub.told_since("0367", 6, Wanted(), 1) is not None
    await hub.leave("0367")


async def test_what_is_asked_for_all_is_no_request_s() -> None:
    """Whoever came first has begun it: the log's lines would name his request for good."""
    database = Named()
    hub = Hub(database, poll_s=0.001)
    with in_request("the-first-listener"):
        hub.join("0367")
    await until(lambda: bool(database.named))
    await hub.leave("0367")
    assert set(database.named) == {"-"}


async def test_a_defect_is_told_and_asked_again(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Else all who listen here would hear nothing more, and nobody learn why."""
    monkeypatch.setattr(events_hub, "_AWAY_S", 0.001)
    hub = Hub(Faulty(), poll_s=0.001)
    with caplog.at_level(logging.ERROR, LOG.name):
        hub.join("0367")
        await until(lambda: hub.told_since("0367", 5, Wanted(), 1) is not None)
        await hub.leave("0367")
    (record,) = caplog.records
    assert record.exc_info
    assert record.exc_info[0] is ZeroDivisionError
