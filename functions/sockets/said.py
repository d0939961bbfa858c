"""What a socket's client says, one thing at a time."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping

import anyio.to_thread
from fastapi import Request

from shared.errors import (
    DatabaseUnavailable,
    FieldError,
    InvalidParameter,
    LimitExceeded,
    TicketExpired,
)
from shared.events.feed import Told, read_feed
from shared.events.filters import AFTER_BELOW, Filters, parse_filters
from shared.events.messages import message_of
from shared.events.tickets import use_ticket
from shared.events.watching import keep_watched
from shared.following.wake import the_waker
from shared.http.origins import Origins
from shared.process import once
from shared.push.outbox import Connection
from shared.push.tables import the_tables
from shared.settings import the_settings
from shared.store.database import the_database
from shared.store.push import LASTS_S, close_connection, keep_connection, open_connection
from shared.telemetry import LOG, note_enterprise

_MOST_ASKED = 1024
_MOST_EVENTS = 100
# A frame; a message may be four of them, of which one that is answered to a ping has no need.
_MOST_ANSWERED_BYTES = 32_000
_RETRY_AFTER_S = 5.0
_TABLES_AWAY = "The table of connections does not answer"


def may_open(headers: Mapping[str, str]) -> bool:
    """Tell whether a page of this origin may call the API."""
    # A sign that UTF-8 has no bytes for is no part of any origin.
    raw = [
        (name.lower().encode(errors="replace"), value.encode(errors="replace"))
        for name, value in headers.items()
    ]
    return the_origins().refuses(Request({"type": "http", "headers": raw}).headers) is None


async def come(connection: str, query: Mapping[str, str]) -> None:
    """Let a client in by its ticket, which has its filters.

    Raises:
        ServiceError: it may not come in, or that is not known.
    """
    if query.keys() - {"ticket"}:  # of which none is repeated: it may be anything, a secret too
        raise InvalidParameter(FieldError("ticket", "must stand alone in a WebSocket's URL"))
    database, settings = the_database().reads, the_settings()
    grant, filters = await use_ticket(database, query.get("ticket", ""))
    is_open = await open_connection(
        database,
        connection,
        enterprise=grant.number,
        digest=grant.secret_digest,
        wanted=filters.model_dump_json(exclude={"after"}, exclude_none=True),
        most=settings.sockets_at_once,
    )
    if not is_open:
        detail = f"{settings.sockets_at_once} WebSockets of this enterprise are open"
        raise LimitExceeded(detail, retry_after_s=_RETRY_AFTER_S)
    wanted = _connection(connection, grant.number, filters)
    try:
        await anyio.to_thread.run_sync(the_tables().add, wanted)
    except Exception as error:
        LOG.exception("⚠️ WebSocket не записан")
        await close_connection(database, connection)
        raise DatabaseUnavailable(_TABLES_AWAY) from error
    if filters.sees_host:
        await keep_watched(database, the_waker(), grant.number, grant.host)
    LOG.info("🔌 WebSocket открыт")


async def go(connection: str) -> None:
    """Forget a client that has gone; where nobody heard of that, it is forgotten by its time."""
    enterprise = await close_connection(the_database().reads, connection)
    if enterprise is not None:
        note_enterprise(enterprise)
        await anyio.to_thread.run_sync(the_tables().remove, enterprise, connection)
        LOG.info("🔌 WebSocket закрыт")


async def hear(connection: str, text: str) -> str:
    """Answer a ping: with what was told after the number it has, else with the newest number.

    Raises:
        InvalidParameter: it is no ping.
        TicketExpired: the connection has no right to be any more, has said too much, or is told
            nothing any more, since it could not be sent to. With a new ticket another one goes on.
        LimitExceeded: its enterprise reads too often.
        EventsGone: what follows is not kept any more, or was never told.
        DatabaseUnavailable: not known.
    """
    database = the_database().reads
    kept = await keep_connection(database, connection, the_settings().rate_limit_reads)
    if kept is None:
        raise TicketExpired
    note_enterprise(kept.enterprise)
    if kept.wait_s:
        raise LimitExceeded("Too many pings of this enterprise", retry_after_s=kept.wait_s)
    if not await _is_told(kept.enterprise, connection):
        await close_connection(database, connection)
        raise TicketExpired
    after = parse_ping(text)
    filters = parse_filters(kept.wanted)
    told = await read_feed(database, kept.enterprise, after, filters.wanted, most=_MOST_EVENTS)
    return answer_of(told)


async def _is_told(enterprise: str, connection: str) -> bool:
    """Tell whether whoever pings is still sent what happens; where nobody knows, it is."""
    try:
        return await anyio.to_thread.run_sync(the_tables().has, enterprise, connection)
    except Exception:  # noqa: BLE001 - whatever boto3 raises: the ping is answered all the same
        LOG.exception("⚠️ Соединение WebSocket не прочитано")
        return True


def parse_ping(text: str) -> int | None:
    """Read `{"type": "ping"}`, which may have `after`. Raises InvalidParameter."""
    try:
        ping = json.loads(text) if len(text) <= _MOST_ASKED else None
    except (ValueError, RecursionError):
        ping = None
    if not isinstance(ping, dict) or ping.get("type") != "ping":
        rule = 'must be {"type": "ping"}, with the number of an event as "after" or without'
        raise InvalidParameter(FieldError("message", rule))
    after = ping.get("after")
    is_number = isinstance(after, int) and not isinstance(after, bool)
    if after is not None and not (is_number and 0 <= after < AFTER_BELOW):
        raise InvalidParameter(FieldError("after", "must be the number of an event"))
    return after if is_number else None


def answer_of(told: Told) -> str:
    """Write what was told, as much as a frame has; nothing of it: up to where nothing is missed."""
    texts: list[str] = []
    seq, size = told.next, 0
    for event in told.events:
        text = message_of(event).model_dump_json(by_alias=True)
        size += len(text.encode())
        if texts and size > _MOST_ANSWERED_BYTES:
            break
        texts.append(text)
        seq = event.seq
    if not texts:
        return json.dumps({"type": "heartbeat", "newest": told.next})
    if len(texts) == len(told.events):
        seq = told.next
    return f'{{"type": "events", "events": [{", ".join(texts)}], "next": {seq}}}'


def _connection(connection: str, enterprise: str, filters: Filters) -> Connection:
    call_id = None if filters.call_id is None else str(filters.call_id)
    since_s = int(time.time())
    return Connection(
        *(enterprise, connection, filters.extension, call_id, filters.sees_host),
        since_s=since_s,
        until_s=since_s + int(LASTS_S),
    )


@once
def the_origins() -> Origins:
    """Which pages may open one."""
    return Origins(the_settings().cors_origins)
