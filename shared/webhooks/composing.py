"""What is sent: each event as the feed's other doors tell it, and two messages of our own."""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

from shared.errors import EventsGone
from shared.events.feed import Event
from shared.events.messages import message_of
from shared.webhooks.signing import message_id


@dataclass(frozen=True, slots=True)
class Outgoing:
    """A message; once it is accepted, all up to the number `after` is told."""

    id: str
    type: str
    seq: int | None
    after: int
    body: bytes


def of_event(webhook: UUID, event: Event) -> Outgoing:
    """Compose an event's message."""
    body = message_of(event).model_dump_json(by_alias=True).encode()
    named = message_id(webhook, event.seq, event.at)
    return Outgoing(named, event.type, event.seq, event.seq, body)


def of_gap(webhook: UUID, after: int, gone: EventsGone) -> Outgoing:
    """Compose what says honestly that events are missing: all that follow `after`, up to `seq`."""
    seq = gone.newest if after > gone.newest else gone.oldest - 1
    told = {"after": after, "oldest": gone.oldest, "newest": gone.newest}
    body = _body({"seq": seq, "type": "events.gone", "gone": told})
    return Outgoing(message_id(webhook, after), "events.gone", seq, seq, body)


def of_test(test: UUID, after: int) -> Outgoing:
    """Compose a test, which tells nothing; each has an id of its own."""
    return Outgoing(test_id(test), "webhook.test", None, after, _body({"type": "webhook.test"}))


def test_id(test: UUID) -> str:
    """Name a test's message."""
    return f"msg_{test.hex}"


def _body(told: dict[str, Any]) -> bytes:
    return json.dumps({**told, "at": datetime.now(UTC).isoformat()}).encode()
