"""A call's body in the API: the same wherever a call is told, in an answer or in an event."""

from __future__ import annotations

from datetime import datetime
from typing import Literal
from uuid import UUID

from pydantic import BaseModel, Field

from shared.asterisk.models import AnsweredBy, CdrState, Kind, Leg, Phase, Reason, Side
from shared.store.calls import Call


class LegOfCall(BaseModel):
    """A phone's channel; `state` is Asterisk's word, null once it has left."""

    channel: str
    party: Literal["agent", "customer"]
    state: str | None


class SideOfCall(BaseModel):
    """What became of one party; `talk_s` is how long its phone talked, to whoever had answered."""

    answered_by: AnsweredBy | None = Field(
        description="`phone`, or `pbx`: a mailbox, an announcement, a dialplan that answers first"
    )
    ring_s: int | None
    talk_s: int | None


class Times(BaseModel):
    """When each phase began; null for one that was not seen."""

    placed: datetime
    accepted: datetime | None
    agent_ringing: datetime | None
    agent_answered: datetime | None
    customer_ringing: datetime | None
    talking: datetime | None
    ended: datetime | None


class CallState(BaseModel):
    """How far a call is, or why it ended.

    `to` is the customer's number; of a monitoring, the tapped extension. `ring_s` and `talk_s` are
    the PBX's own record's once `cdr` is `confirmed`, else what was seen; `disposition` is the
    record's. `ended_by` is `api` after a DELETE, `limit` where the call had lasted MAX_CALL_S, null
    where neither ended it.
    """

    call_id: UUID
    call_status_url: str
    kind: Kind
    from_: str = Field(serialization_alias="from")
    to: str
    action: str | None
    phase: Phase
    reason: Reason | None
    error_code: str | None
    host_ip: str
    times: Times
    ring_s: int | None
    talk_s: int | None
    agent: SideOfCall
    customer: SideOfCall
    disposition: str | None
    cdr: CdrState | None
    cancelled: bool
    ended_by: Literal["api", "limit"] | None
    transferred_to: str | None
    legs: list[LegOfCall]


def status_url(call_id: UUID) -> str:
    """Where a call is told: a path, since a proxy's own address is not known here."""
    return f"/api/calls/{call_id}"


def tell(call: Call) -> CallState:
    """Tell a call as it is known."""
    return CallState(
        call_id=call.call_id,
        call_status_url=status_url(call.call_id),
        kind=call.kind,
        from_=call.code,
        to=call.to,
        action=call.action or None,
        phase=call.phase,
        reason=call.reason,
        error_code=call.error_code,
        host_ip=call.host,
        times=Times(
            placed=call.created_at,
            accepted=call.accepted_at,
            agent_ringing=call.agent_ringing_at,
            agent_answered=call.agent_answered_at,
            customer_ringing=call.customer_ringing_at,
            talking=call.talking_at,
            ended=call.ended_at,
        ),
        ring_s=call.ring_s,
        talk_s=call.talk_s,
        agent=tell_side(call.agent),
        customer=tell_side(call.customer),
        disposition=call.disposition,
        cdr=call.cdr,
        cancelled=call.cancelled_at is not None,
        ended_by=call.ended_by,
        transferred_to=call.transferred_to,
        legs=[_leg(leg) for leg in call.legs],
    )


def tell_side(side: Side) -> SideOfCall:
    """Tell what became of one party."""
    return SideOfCall(answered_by=side.answered_by, ring_s=side.ring_s, talk_s=side.talk_s)


def _leg(leg: Leg) -> LegOfCall:
    return LegOfCall(channel=leg.channel, party=leg.party, state=leg.state)
