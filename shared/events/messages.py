"""An event's body in the API: the same through whichever door it is told."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any, Literal, TypeAlias
from uuid import UUID

from pydantic import BaseModel, Field

from shared.asterisk.models import CallElsewhere, PbxDirection, PbxPhase
from shared.calls.telling import CallState, tell
from shared.events.feed import Event, PbxNotice, WebhookNotice
from shared.store.calls import Call

_PHASE: dict[str, Any] = {
    "seq": 4711,
    "type": "call.phase",
    "at": "2026-11-26T09:00:02.310000Z",
    "call": {"call_id": "7f1c0f6e-3f0b-4a44-9d53-0a6f6d0a8d11", "phase": "agent_ringing"},
}
_CORRECTED: dict[str, Any] = {
    "seq": 4718,
    "type": "call.corrected",
    "at": "2026-11-26T09:05:31.002000Z",
    "call": {"call_id": "7f1c0f6e-3f0b-4a44-9d53-0a6f6d0a8d11", "phase": "ended", "talk_s": 34},
}
_PBX_CALL: dict[str, Any] = {
    "seq": 4720,
    "type": "pbx.call",
    "at": "2026-11-26T09:07:12.250000Z",
    "pbx_call": {
        "pbx_call_id": "0b8f5a50-6f0e-4f3f-9a1e-6a1c55f0c7de",
        "direction": "incoming",
        "from": "+375291234567",
        "to": "150",
        "phase": "ringing",
        "extensions": ["150", "151"],
        "answered_by": None,
        "times": {
            "began": "2026-11-26T09:07:11.000000Z",
            "ringing": "2026-11-26T09:07:12.250000Z",
            "talking": None,
            "ended": None,
        },
        "ring_s": None,
        "talk_s": None,
    },
}
_WATCHED: dict[str, Any] = {
    "seq": 4719,
    "type": "pbx.watched",
    "at": "2026-11-26T09:07:01.120000Z",
    "pbx": {"host_ip": "192.0.2.10", "error_code": None},
}
_DOWN: dict[str, Any] = {
    "seq": 4725,
    "type": "pbx.down",
    "at": "2026-11-26T09:11:40.500000Z",
    "pbx": {"host_ip": "192.0.2.10", "error_code": "connect-timeout"},
}
_DISABLED: dict[str, Any] = {
    "seq": 4730,
    "type": "webhook.disabled",
    "at": "2026-11-26T09:15:02.000000Z",
    "webhook": {
        "webhook_id": "5d2f3a0e-8c53-4b1c-9a43-9f1d6f0f2b11",
        "origin": "https://crm.example.test",
        "why": "failing",
    },
}
EXAMPLES = f"for example, shortened: {_PHASE} or {_CORRECTED}"


class CallEvent(BaseModel):
    """That something happened to a call, with the call as `GET /api/calls/{call_id}` told it then.

    `call.phase`: it came to another phase. `call.corrected`: more is known of an end that was told,
    as where the PBX's own record came late. Leave out types that you do not know: more will come.
    """

    seq: int
    type: str = Field(description="`call.phase`, `call.corrected`, or one that is to come")
    at: datetime
    call: CallState


class TimesElsewhere(BaseModel):
    """When each of these was seen first; null: it was not."""

    began: datetime
    ringing: datetime | None
    talking: datetime | None
    ended: datetime | None


class CallOnPbx(BaseModel):
    """A call that this service did not start, as it was then.

    `pbx_call_id` stays the same through its life. A phase may come again: whoever is parked, or
    handed over, waits. `from` and `to` are numbers as the PBX shows them, null where it shows none;
    `direction` is `unknown` where it cannot be told. `ring_s` is how long it rang until it was
    answered or ended, `talk_s` how long it talked, null until it ended or where nobody looked.
    """

    pbx_call_id: UUID
    direction: PbxDirection
    from_: str | None = Field(serialization_alias="from")
    to: str | None
    phase: PbxPhase | Literal["ended"]
    extensions: list[str] = Field(description="that ring now")
    answered_by: str | None = Field(description="the extension that talks, or did last")
    times: TimesElsewhere
    ring_s: int | None
    talk_s: int | None


class PbxCallEvent(BaseModel):
    """`pbx.call`: a call that began elsewhere is new, or came to another phase.

    Or other extensions ring, or another one has answered. Only with `scope=all`.
    """

    model_config = {"json_schema_extra": {"examples": [_PBX_CALL]}}

    seq: int
    type: Literal["pbx.call"]
    at: datetime
    pbx_call: CallOnPbx


class PbxState(BaseModel):
    """The PBX, by `enterprises.ip`; `error_code` says why it cannot be looked at, null: it can."""

    host_ip: str
    error_code: str | None


class PbxEvent(BaseModel):
    """How it stands with the PBX while somebody listens with `scope=all`.

    `pbx.watched`: from this number on no call is missed. `pbx.unwatched`: from its moment on calls
    may be, until it is watched again; those that are open then keep their ids. `pbx.down`: it
    cannot be looked at. `pbx.up`: it can again.
    """

    model_config = {"json_schema_extra": {"examples": [_WATCHED, _DOWN]}}

    seq: int
    type: Literal["pbx.watched", "pbx.unwatched", "pbx.down", "pbx.up"]
    at: datetime
    pbx: PbxState


class WebhookState(BaseModel):
    """A webhook of the enterprise's own; of its URL only the beginning is told."""

    webhook_id: UUID
    origin: str
    why: str = Field(description="`answered-410`, `failing`, or one that is to come")


class WebhookEvent(BaseModel):
    """`webhook.disabled`: nothing is sent there any more, until somebody enables it again."""

    model_config = {"json_schema_extra": {"examples": [_DISABLED]}}

    seq: int
    type: Literal["webhook.disabled"]
    at: datetime
    webhook: WebhookState


Message: TypeAlias = CallEvent | PbxCallEvent | PbxEvent | WebhookEvent


def message_of(event: Event) -> Message:
    """Tell an event."""
    told: dict[str, Any] = {"seq": event.seq, "type": event.type, "at": event.at}
    match event.about:
        case Call() as call:
            return CallEvent(**told, call=tell(call))
        case CallElsewhere() as call:
            return PbxCallEvent(**told, pbx_call=_tell_elsewhere(call))
        case PbxNotice(host_ip, error_code):
            return PbxEvent(**told, pbx=PbxState(host_ip=host_ip, error_code=error_code))
        case WebhookNotice(webhook_id, origin, why):
            state = WebhookState(webhook_id=webhook_id, origin=origin, why=why)
            return WebhookEvent(**told, webhook=state)


def _tell_elsewhere(call: CallElsewhere) -> CallOnPbx:
    moments = (call.began_at, call.ringing_at, call.talking_at, call.ended_at)
    began, ringing, talking, ended = map(_moment, moments)
    return CallOnPbx(
        pbx_call_id=call.pbx_call_id,
        direction=call.direction,
        from_=call.from_ or None,
        to=call.to or None,
        phase=call.phase,
        extensions=list(call.ringing),
        answered_by=call.answered_by,
        times=TimesElsewhere(began=began, ringing=ringing, talking=talking, ended=ended),
        ring_s=call.ring_s,
        talk_s=call.talk_s,
    )


def _moment(at_s: float | None) -> datetime | None:
    return None if at_s is None else datetime.fromtimestamp(at_s, UTC)
