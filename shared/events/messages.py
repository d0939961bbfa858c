"""An event's body in the API: the same through whichever door it is told."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated, Any, Literal, TypeAlias
from uuid import UUID

from pydantic import BaseModel, Field

from shared.asterisk.models import CallElsewhere, PbxDirection, PbxPhase
from shared.calls.fields import Sandbox
from shared.calls.telling import CallState, tell
from shared.events.feed import Event, PbxNotice, WebhookNotice
from shared.store.calls import Call

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
    "pbx": {"host_ip": "192.0.2.10", "error_code": "ssh-connect-timeout"},
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
# What a reader has to expect beside them: types that are to come.
_OTHER: dict[str, Any] = {
    "title": "OtherEvent",
    "description": "An event of a type that is to come: leave it out.",
    "type": "object",
    "properties": {
        "seq": {"type": "integer", "description": "its number"},
        "type": {"type": "string", "description": "what happened"},
        "at": {"type": "string", "format": "date-time", "description": "when, in UTC"},
    },
    "required": ["seq", "type", "at"],
    "additionalProperties": True,
}


def open_types(schema: dict[str, Any]) -> None:
    """Have a list of events, as OpenAPI tells it, take those that are to come."""
    schema["items"]["anyOf"].append(_OTHER)


_Seq = Annotated[int, Field(description="its number; those of an enterprise only grow")]
_At = Annotated[datetime, Field(description="when it was told, in UTC")]


class CallEvent(BaseModel):
    """That something happened to a call, with the call as `GET /api/calls/{call_id}` told it then.

    `call.phase`: it came to another phase. `call.corrected`: more is known of an end that was told,
    as where the PBX's own record came late. Leave out types that you do not know: more will come.
    """

    seq: _Seq = Field(examples=[4711])
    type: str = Field(
        description="what happened",
        examples=["call.phase"],
        json_schema_extra={"x-extensible-enum": ["call.phase", "call.corrected"]},
    )
    at: _At = Field(examples=["2026-11-26T09:00:05.110000Z"])
    call: CallState = Field(description="the call as it was then")
    sandbox: Sandbox = False


class TimesElsewhere(BaseModel):
    """When each of these was seen first; null: it was not."""

    began: datetime = Field(description="when it was new, in UTC")
    ringing: datetime | None = Field(description="when a phone rang, in UTC")
    talking: datetime | None = Field(description="when a phone had answered, in UTC")
    ended: datetime | None = Field(description="when it was over, in UTC")


class CallBegunElsewhere(BaseModel):
    """A call that this service did not start, as it was then."""

    pbx_call_id: UUID = Field(description="names it through its life")
    direction: PbxDirection = Field(description="which way it went; `unknown`: nobody can tell")
    from_: str | None = Field(
        serialization_alias="from",
        description="who calls, as the PBX shows it; null: it shows nobody",
    )
    to: str | None = Field(description="who is called, likewise")
    phase: PbxPhase | Literal["ended"] = Field(
        description="what it does; one may come again: whoever is parked, or handed over, waits"
    )
    extensions: list[str] = Field(description="that ring now")
    answered_by: str | None = Field(description="the extension that talks, or did last")
    times: TimesElsewhere = Field(description="when each phase was seen first")
    ring_s: int | None = Field(
        description="seconds for which it rang until it was answered or ended; null before"
    )
    talk_s: int | None = Field(
        description="seconds of talk; null until it ended, or where nobody looked"
    )


class PbxCallEvent(BaseModel):
    """`pbx.call`: a call that began elsewhere is new, or came to another phase.

    Or other extensions ring, or another one has answered. Only with `scope=all`.
    """

    model_config = {"json_schema_extra": {"examples": [_PBX_CALL]}}

    seq: _Seq
    type: Literal["pbx.call"] = Field(description="what happened")
    at: _At
    pbx_call: CallBegunElsewhere = Field(description="the call as it was then")
    sandbox: Sandbox = False


class PbxState(BaseModel):
    """The PBX, and how it stands with it."""

    host_ip: str = Field(description="the PBX: the enterprise's `ip`")
    error_code: str | None = Field(
        description="the `code` that says why it cannot be looked at; null: it can"
    )


class PbxEvent(BaseModel):
    """How it stands with the PBX while somebody listens with `scope=all`.

    `pbx.watched`: from this number on no call is missed. `pbx.unwatched`: from its moment on calls
    may be, until it is watched again; those that are open then keep their ids. `pbx.down`: it
    cannot be looked at. `pbx.up`: it can again.
    """

    model_config = {"json_schema_extra": {"examples": [_WATCHED, _DOWN]}}

    seq: _Seq
    type: Literal["pbx.watched", "pbx.unwatched", "pbx.down", "pbx.up"] = Field(
        description="what happened"
    )
    at: _At
    pbx: PbxState = Field(description="the PBX")
    sandbox: Sandbox = False


class DisabledWebhook(BaseModel):
    """A webhook of the enterprise's own; of its URL only the beginning is told."""

    webhook_id: UUID = Field(description="the webhook's id")
    origin: str = Field(description="the beginning of its URL")
    why: str = Field(
        description="why", json_schema_extra={"x-extensible-enum": ["answered-410", "failing"]}
    )


class WebhookEvent(BaseModel):
    """`webhook.disabled`: nothing is sent there any more, until somebody enables it again."""

    model_config = {"json_schema_extra": {"examples": [_DISABLED]}}

    seq: _Seq
    type: Literal["webhook.disabled"] = Field(description="what happened")
    at: _At
    webhook: DisabledWebhook = Field(description="the webhook")
    sandbox: Sandbox = False


Message: TypeAlias = CallEvent | PbxCallEvent | PbxEvent | WebhookEvent


def message_of(event: Event) -> Message:
    """Tell an event."""
    told: dict[str, Any] = {"seq": event.seq, "type": event.type, "at": event.at}
    told["sandbox"] = event.sandbox
    match event.about:
        case Call() as call:
            return CallEvent(**told, call=tell(call))
        case CallElsewhere() as call:
            return PbxCallEvent(**told, pbx_call=_tell_elsewhere(call))
        case PbxNotice(host_ip, error_code):
            return PbxEvent(**told, pbx=PbxState(host_ip=host_ip, error_code=error_code))
        case WebhookNotice(webhook_id, origin, why):
            state = DisabledWebhook(webhook_id=webhook_id, origin=origin, why=why)
            return WebhookEvent(**told, webhook=state)


def _tell_elsewhere(call: CallElsewhere) -> CallBegunElsewhere:
    moments = (call.began_at, call.ringing_at, call.talking_at, call.ended_at)
    began, ringing, talking, ended = map(_moment, moments)
    return CallBegunElsewhere(
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
