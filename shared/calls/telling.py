"""A call's body in the API: the same wherever a call is told, in an answer or in an event."""

from __future__ import annotations

from datetime import datetime
from typing import Any, Literal
from uuid import UUID

from pydantic import BaseModel, Field

from shared.asterisk.models import CdrState, Leg, Party, Phase, Side, SpyMode
from shared.calls.fields import (
    AnsweredByWhom,
    CallId,
    EndReason,
    HostIp,
    KindOfCall,
    RingSeconds,
    StatusUrl,
)
from shared.settings import the_settings
from shared.store.calls import Call


class LegOfCall(BaseModel):
    """A phone's channel of a call."""

    channel: str = Field(
        description="the channel's name in Asterisk", examples=["SIP/150-0000002a"]
    )
    party: Party = Field(description="whose phone it is", examples=["agent"])
    state: str | None = Field(
        description="Asterisk's word for what it does, null once it has left", examples=["Up"]
    )


class SideOfCall(BaseModel):
    """What became of one party: the extension (`agent`), or whom it was connected with."""

    answered_by: AnsweredByWhom
    ring_s: RingSeconds
    talk_s: int | None = Field(
        description="seconds for which its phone was connected with whoever had answered for the"
        " other party, the PBX included; null: not known",
        examples=[34],
    )


def _moment(description: str, example: str) -> Any:
    return Field(description=description, examples=[example])


class Times(BaseModel):
    """When each phase began, in UTC; null for one that was not seen."""

    placed: datetime = Field(
        description="when the request was admitted", examples=["2026-11-26T09:00:00.120000Z"]
    )
    accepted: datetime | None = _moment(
        "when Asterisk had accepted the call", "2026-11-26T09:00:00.160000Z"
    )
    agent_ringing: datetime | None = _moment(
        "when the extension rang", "2026-11-26T09:00:00.310000Z"
    )
    agent_answered: datetime | None = _moment(
        "when a phone of the extension had answered", "2026-11-26T09:00:02.310000Z"
    )
    customer_ringing: datetime | None = _moment(
        "when a phone of the customer's was rung", "2026-11-26T09:00:02.510000Z"
    )
    talking: datetime | None = _moment("when phones of both talked", "2026-11-26T09:00:05.110000Z")
    ended: datetime | None = Field(description="when the call was over")


class CallState(BaseModel):
    """How far a call is, or why it ended.

    `to` is the customer's number; of a monitoring, the tapped extension. `ring_s` and `talk_s` are
    the PBX's own record's once `cdr` is `confirmed`, else what was seen; `disposition` is the
    record's. `ended_by` is `api` after a DELETE, `limit` where the call had lasted MAX_CALL_S, null
    where neither ended it.
    """

    call_id: CallId
    call_status_url: StatusUrl
    kind: KindOfCall
    from_: str = Field(
        serialization_alias="from", description="the extension that rings first", examples=["150"]
    )
    to: str = Field(
        description="the customer's number; of a monitoring, the tapped extension",
        examples=["+375291234567"],
    )
    action: str | None = Field(
        description="of a monitoring: `09` listen, `01` whisper, `02` barge; else null",
        json_schema_extra={"x-extensible-enum": [mode.value for mode in SpyMode]},
    )
    phase: Phase = Field(description="how far the call is", examples=["talking"])
    reason: EndReason
    error_code: str | None = Field(
        description="the `code` with which placing it failed; null: it did not"
    )
    host_ip: HostIp
    times: Times = Field(description="when each phase began")
    ring_s: RingSeconds
    talk_s: int | None = Field(
        description="seconds for which phones of both talked; null: it has not ended, or nobody"
        " knows"
    )
    agent: SideOfCall = Field(
        description="what became of the extension; of a monitoring, of the supervisor"
    )
    customer: SideOfCall = Field(description="what became of the customer")
    disposition: str | None = Field(
        description="the word of the PBX's record, such as `ANSWERED` or `NO ANSWER`; null: there"
        " is none yet"
    )
    cdr: CdrState | None = Field(
        description="whether the PBX's record confirms the end: `confirmed`; `pending`, it comes"
        " late; `none`, it wrote none; `off`, it writes none; `unreadable`; null: not ended"
    )
    cancelled: bool = Field(
        description="whether its end was asked for, by a DELETE or MAX_CALL_S", examples=[False]
    )
    ended_by: Literal["api", "limit"] | None = Field(
        description="`api` after a DELETE, `limit` after MAX_CALL_S; null: neither"
    )
    transferred_to: str | None = Field(
        description="the extension to which the customer was handed over; null: to none"
    )
    legs: list[LegOfCall] = Field(description="the phones' channels that were seen")
    sandbox: bool = Field(
        description="true: a stand-in answered in the place of the PBX, and no phone rang",
        examples=[False],
    )


def status_url(call_id: UUID) -> str:
    """Where a call is told: a path, since a proxy's own address is not known here."""
    return f"{the_settings().root_path}/api/calls/{call_id}"


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
        sandbox=call.sandbox,
    )


def tell_side(side: Side) -> SideOfCall:
    """Tell what became of one party."""
    return SideOfCall(answered_by=side.answered_by, ring_s=side.ring_s, talk_s=side.talk_s)


def _leg(leg: Leg) -> LegOfCall:
    return LegOfCall(channel=leg.channel, party=leg.party, state=leg.state)
