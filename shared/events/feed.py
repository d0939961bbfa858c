"""What an enterprise was told of its calls, numbered without a gap.

An event is written in the transaction that changes its call, and its number is taken there by a row
that its writer holds until it commits. So whoever has read up to a number finds nothing below it
later, and whoever comes back with it misses nothing that is still kept.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal, TypeAlias
from uuid import UUID

from shared.asterisk.models import CallElsewhere
from shared.errors import EventsGone
from shared.store.calls import Call, parse_call
from shared.store.database import Door
from shared.store.jsonb import Malformed, parse_call_elsewhere
from shared.telemetry import LOG, count

Scope: TypeAlias = Literal["mine", "all"]

# How many events one look goes through for those that match: a question of milliseconds.
_SCANNED = 5000

_READ = """
SELECT callapi.read_events(
  p_enterprise => :enterprise, p_after => CAST(:after AS bigint), p_scope => :scope,
  p_extension => :extension,
  p_call => CAST(:call_id AS uuid), p_most => :most, p_scanned => :scanned) AS answer
"""
_NEWEST = """
SELECT enterprise, seq FROM callapi.event_counters
 WHERE enterprise = ANY (CAST(:enterprises AS text[]))
"""


@dataclass(frozen=True, slots=True)
class Wanted:
    """Which events; None is any.

    `scope` is `mine`, what this service placed, or `all`, what began elsewhere too. `extension` is
    the one that rings first; of a monitoring the tapped one counts too, of a call that began
    elsewhere any that took part. With `call_id` only a call of this service's is meant.
    """

    extension: str | None = None
    call_id: UUID | None = None
    scope: Scope = "mine"

    def takes(self, event: Event) -> bool:
        """Tell whether an event is among them, by the same rule as `callapi.read_events`."""
        match event.about:
            case Call() as call:
                return (self.call_id is None or self.call_id == call.call_id) and (
                    self.extension is None
                    or self.extension == call.code
                    or (call.kind == "monitor" and self.extension == call.to)
                )
            case CallElsewhere(took_part=took_part):
                is_part = self.extension is None or self.extension in took_part
            case PbxNotice():
                is_part = True
            case WebhookNotice():
                return self.call_id is None
        return is_part and self.scope == "all" and self.call_id is None


@dataclass(frozen=True, slots=True)
class PbxNotice:
    """How it stands with a PBX that somebody watches; `error_code`: why it cannot be looked at."""

    host_ip: str
    error_code: str | None


@dataclass(frozen=True, slots=True)
class WebhookNotice:
    """A webhook of the enterprise's own was switched off; `origin` is where it leads."""

    webhook_id: UUID
    origin: str
    why: str


About: TypeAlias = Call | CallElsewhere | PbxNotice | WebhookNotice


@dataclass(frozen=True, slots=True)
class Event:
    """That something happened, to a call as it was then, the PBX or a webhook.

    `sandbox`: on a stand-in, where nobody is rung.
    """

    seq: int
    type: str
    at: datetime
    about: About
    sandbox: bool = False


@dataclass(frozen=True, slots=True)
class Told:
    """Some events in the order of their numbers.

    `next` is the number to go on after; `is_all`, that nothing follows it yet.
    """

    events: tuple[Event, ...]
    next: int
    is_all: bool


async def read_feed(
    database: Door, enterprise: str, after: int | None, wanted: Wanted, *, most: int
) -> Told:
    """Read what was told after a number; without one, only which number is the newest.

    `next` grows by what does not match too, so that it is not looked through again.

    Raises:
        EventsGone: what follows is not kept any more, or was never told.
    """
    rows = await database.run(
        _READ,
        enterprise=enterprise,
        after=after,
        scope=wanted.scope,
        extension=wanted.extension,
        call_id=wanted.call_id,
        most=most,
        scanned=_SCANNED,
    )
    answer: dict[str, Any] = rows[0]["answer"]
    if answer["gone"]:
        raise EventsGone(oldest=answer["oldest"], newest=answer["newest"])
    events = tuple(filter(None, map(_event, answer["events"])))
    return Told(events, answer["next"], is_all=answer["next"] >= answer["newest"])


async def newest_numbers(database: Door, enterprises: list[str]) -> Mapping[str, int]:
    """Tell each enterprise's newest number; one that was told nothing yet is left out."""
    rows = await database.run(_NEWEST, enterprises=enterprises)
    return {row["enterprise"]: row["seq"] for row in rows}


def _event(told: dict[str, Any]) -> Event | None:
    """Read an event; one that cannot be read is told to nobody but the log."""
    try:
        about = _about(told)
    except (Malformed, ValueError, TypeError, KeyError) as error:
        count("InternalErrors")
        LOG.error("❌ Событие %s не читается: %s", told["seq"], error)
        return None
    at = datetime.fromisoformat(told["at"])
    return Event(told["seq"], told["type"], at, about, bool(told.get("sandbox")))


def _about(told: dict[str, Any]) -> About:
    # The function of the release before, which a process of it may have brought back, tells none.
    webhook = told.get("webhook")
    if webhook is not None:
        return WebhookNotice(UUID(webhook["id"]), str(webhook["origin"]), str(webhook["why"]))
    pbx = told["pbx"]
    if pbx is None:
        return parse_call(told["call"])
    if told["type"] == "pbx.call":
        return parse_call_elsewhere(pbx, "callapi.call_events pbx")
    return PbxNotice(str(pbx["host_ip"]), pbx["error_code"])
