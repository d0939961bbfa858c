"""Whoever writes events puts them into the outbox, after their commit.

Whoever does puts all that is due, others' too: what one could not put any more the next one does,
and the watchdog once a minute. Nobody waits for another: the outbox itself refuses what comes late.
"""

from __future__ import annotations

import asyncio
from dataclasses import replace

import anyio.to_thread

from shared.asterisk.models import CallElsewhere
from shared.errors import DatabaseUnavailable, EventsGone
from shared.events.feed import Event, PbxNotice, Told, Wanted, WebhookNotice, read_feed
from shared.events.messages import message_of
from shared.process import once
from shared.push.outbox import Batch, Letter
from shared.push.tables import Tables, the_tables
from shared.store.calls import Call
from shared.store.database import Door, the_database
from shared.store.push import MOST_DUE, Due, load_due, note_done
from shared.telemetry import LOG

_ANY = Wanted(scope="all")
_MOST_EVENTS = 100
# An item has at most 400 kB, of which a quoted byte takes two, and those that end 100 kB.
_MOST_BYTES = 100_000
# Of an enterprise that was told very much the next one puts the rest.
_MOST_BATCHES = 10


class Relay:
    """Puts into the outbox what PostgreSQL has, in order and without a gap."""

    def __init__(self, database: Door, tables: Tables) -> None:
        self._database = database
        self._tables = tables

    async def put_due(self, within_s: float, *, all_of_them: bool = False) -> None:
        """Put what is due, and fail nobody: what is not put within the time is put later."""
        try:
            async with asyncio.timeout(within_s):
                is_more = True
                while is_more:
                    due = await load_due(self._database, all_of_them=all_of_them)
                    put = [await self._is_put(one) for one in due]
                    is_more = all_of_them and len(due) == MOST_DUE and any(put)
        except (TimeoutError, DatabaseUnavailable):
            LOG.warning("⚠️ События для WebSocket пока не переданы, их передаст следующий")

    async def _is_put(self, due: Due) -> bool:
        """Put an enterprise's; False: that was refused, which keeps no other one's from it."""
        try:
            await self._put(due)
        except DatabaseUnavailable:
            raise
        except Exception:  # noqa: BLE001 - whatever boto3 raises: no call fails by it
            LOG.exception("⚠️ События для WebSocket не переданы, их передаст следующий")
            return False
        return True

    async def _put(self, due: Due) -> None:
        after, ended, is_back = due.after, due.ended, False
        for _ in range(_MOST_BATCHES):
            try:
                told = await read_feed(
                    self._database, due.enterprise, after, _ANY, most=_MOST_EVENTS
                )
            except EventsGone as gone:
                # As after a restored backup: who pings learns that his number is none any more.
                is_back = True
                if after != due.after:  # it was the outbox that had it
                    after = due.after
                    continue
                told, after = Told((), gone.newest, is_all=True), gone.newest
            batch, is_all = batch_of(due.enterprise, after, told, ended)
            is_put = batch.seq == after and not (ended or is_back)
            stands = None if is_put else await self._into_outbox(replace(batch, is_back=is_back))
            if stands is None:
                await note_done(self._database, due.enterprise, batch.seq, ended, back=is_back)
                after, ended, is_back = batch.seq, (), False
                if is_all:
                    return
            else:  # another one was quicker
                after = stands
                if after == due.newest and not ended:
                    await note_done(self._database, due.enterprise, after, ())
                    return

    async def _into_outbox(self, batch: Batch) -> int | None:
        # Whoever is frozen while it is under way puts it later: in order, or not at all.
        return await anyio.to_thread.run_sync(self._tables.put, batch, abandon_on_cancel=True)


def batch_of(enterprise: str, after: int, told: Told, ended: tuple[str, ...]) -> tuple[Batch, bool]:
    """Make a batch of what was told, as much as one may have; and tell whether that is all."""
    letters: list[Letter] = []
    size = 0
    for letter in map(letter_of, told.events):
        size += len(letter.text.encode())
        if letters and size > _MOST_BYTES:
            return Batch(enterprise, after, letters[-1].seq, tuple(letters), ended), False
        letters.append(letter)
    return Batch(enterprise, after, told.next, tuple(letters), ended), told.is_all


def letter_of(event: Event) -> Letter:
    """Write an event as every door tells it, and by what a connection chooses it."""
    text = message_of(event).model_dump_json(by_alias=True)
    match event.about:
        case Call() as call:
            rings = (call.code, call.to) if call.kind == "monitor" else (call.code,)
            return Letter(event.seq, text, rings, str(call.call_id))
        case CallElsewhere(took_part=took_part):
            return Letter(event.seq, text, tuple(took_part), is_of_host=True)
        case PbxNotice():
            return Letter(event.seq, text, is_of_host=True)
        case WebhookNotice():
            return Letter(event.seq, text)


@once
def the_relay() -> Relay:
    """That of this process."""
    return Relay(the_database().reads, the_tables())
