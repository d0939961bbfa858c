"""A failure's body as OpenAPI has it: its fields, and an example for each code."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from pydantic import BaseModel, Field

from shared import errors
from shared.description.schemas import OPEN
from shared.errors import Dialled, ServiceError
from shared.http.problems import phrase

_CALL_ID = "7f1c0f6e-3f0b-4a44-9d53-0a6f6d0a8d11"
_REQUEST_ID = "72b6584cc4b846f59e9b5652d3fb2122"
# Refused by HTTP's own rules, before there is an error of the tree.
FROM_HTTP = {
    "origin-not-allowed": 403,
    "request-timeout": 408,
    "body-too-large": 413,
    "target-too-long": 414,
}
_DETAILS = {
    "asterisk-no-answer": "SSH command failed: Asterisk does not answer on its control socket",
    "asterisk-rejected-command": "SSH command failed: Asterisk refused the command: No such"
    " command",
    "asterisk-socket-refused": "SSH command failed: Asterisk's control socket could not be opened",
    "asterisk-unavailable": "SSH command failed: Asterisk has neither chan_sip nor PJSIP nor IAX2",
    "audit-off": "This enterprise may not read its audit; an operator can allow it",
    "body-too-large": "The body must not exceed 16384 bytes",
    "call-elsewhere": "The call is on a PBX that is not this enterprise's any more",
    "call-ended": "The call is over",
    "call-not-ready": "Which channel is the call's own is not known yet; try again",
    "cdr-unreadable": "SSH command failed: The host opens no SFTP session for us",
    "channel-ambiguous": "Nobody was rung: 150 talks by the channel 'SIP/150-2a', which this"
    " Asterisk cannot tell from channels of another name",
    "channel-unaskable": "SSH command failed: Asterisk cannot be asked about a channel of this"
    " name: 'SIP/\\xe4-0000002a'",
    "database-unavailable": "Database unavailable",
    "destination-denied": "Calls to +375291234567 are not allowed",
    "dialling-stopped": "Dialling is stopped for this enterprise",
    "dialplan-context-missing": "SSH command failed: the dialplan has no context inoffice",
    "events-gone": "Of the events 4000 to 4711 are kept: read the calls anew, then go on after"
    " 4711",
    "extension-not-owned": "Extension 150 is not this enterprise's",
    "host-unverified": "Refused for now: it is not known yet whether another enterprise has the"
    " same PBX",
    "idempotency-key-reused": "Idempotency-Key: belongs to a call with other parameters; use a new"
    " key",
    "internal-error": "Internal error",
    "invalid-client-id": "Invalid clientId",
    "invalid-parameter": "extension: must be an internal extension: 1 to 10 digits 0-9",
    "no-such-call": "No such call",
    "no-such-extension": "The PBX has no phone named 150",
    "no-such-webhook": "No such webhook",
    "no-webhook-sender": "Nobody would send to it: webhooks need a process of ROLE=all or follower,"
    " which Lambda has not",
    "nobody-to-hear": "Nobody to hear: 150 is on no call (idle)",
    "origin-not-allowed": "CORS_ORIGINS does not name https://crm.example.test: its pages may not"
    " call the API",
    "originate-without-channel": "SSH command failed: Asterisk accepted the call but opened no"
    " channel for it",
    "outcome-unknown": "SSH command failed: Asterisk did not acknowledge the command",
    "pbx-busy": "Too many requests wait for this PBX; try again later",
    "pbx-sends-too-much": "SSH command failed: The PBX lists 5001 channels, more than can be"
    " followed",
    "postgres-secret-unreadable": "The secret of POSTGRES_SECRET_ARN cannot be read",
    "prefetch-refused": "A prefetch or preview does not place calls; send the request itself",
    "rate-limited": "This enterprise reads its calls too often; try again later",
    "request-timeout": "The body did not arrive within 20 s",
    "schema-missing": "Database schema callapi is incomplete: run ./asterisk.sh migrate",
    "shared-host": "Another enterprise has the same PBX, and nobody said which extensions are"
    " whose",
    "ssh-authentication-failed": "SSH command failed: The host does not accept the password",
    "ssh-connect-failed": "SSH command failed: Connection refused",
    "ssh-connect-timeout": "SSH command failed: Connection timeout",
    "ssh-connection-lost": "SSH command failed: Connection lost",
    "ssh-host-key-changed": "SSH command failed: The host key is not the pinned one",
    "ssh-secret-unreadable": "SSH command failed: The secret of SSH_SECRET_ARN cannot be read",
    "stream-unavailable": "Events are not streamed here: leave out `Accept: text/event-stream` and"
    " use wait=",
    "target-too-long": "The path and query must not exceed 8192 bytes",
    "ticket-expired": "This ticket was used, is too old or never was; ask for another",
    "too-many-webhooks": "This enterprise has 10 webhooks: remove one first",
    "webhooks-off": "This enterprise may not manage webhooks; an operator can allow it",
    "too-many-open-calls": "Too many calls of this enterprise are open, 10 may be at once; nothing"
    " was dialled, try again once one has ended",
    "view-unavailable": "The PBX could not be looked at in time",
    "unknown-extension": "extension: extension 150 is not in the dialplan of this PBX (context"
    " inoffice)",
}


def kinds_below(kind: type[ServiceError] = ServiceError) -> Iterator[type[ServiceError]]:
    """Yield every error of the tree that has a code of its own."""
    for below in kind.__subclasses__():
        if "code" in vars(below) and below.__module__ == errors.__name__:
            yield below
        yield from kinds_below(below)


KINDS = {kind.code: kind for kind in kinds_below()}
# A PBX that could not be connected is not tried again for a while.
_SAY_WHEN = (
    *(errors.LimitExceeded, errors.PbxBusy, errors.ConnectTimeout, errors.ConnectFailed),
    *(errors.AuthenticationFailed, errors.HostKeyChanged),
)
_CODES: dict[str, Any] = {OPEN: sorted({*KINDS, *FROM_HTTP})}


class WrongField(BaseModel):
    """A parameter that is wrong."""

    field: str = Field(description="its name, as the caller wrote it", examples=["phone"])
    message: str = Field(description="what it must be, in words", examples=["is required"])


class Problem(BaseModel):
    """Every failure's body: RFC 9457, with a `code` for programs and a `detail` for people."""

    title: str = Field(description="the status's name", examples=["Not Found"])
    status: int = Field(description="the answer's HTTP status", examples=[404])
    detail: str = Field(
        description="one sentence for whoever reads it; its words may change",
        examples=["No such call"],
    )
    code: str = Field(
        description="what is wrong, for programs: stable",
        examples=["no-such-call"],
        json_schema_extra=_CODES,
    )
    request_id: str = Field(
        description="the request's own id, as in `X-Request-Id`, by which the log finds it",
        examples=[_REQUEST_ID],
    )
    dialled: Dialled | None = Field(
        None,
        description="where the operation rings phones: `no`, safe to ask again; `unknown`, a phone"
        " may be ringing",
        examples=["no"],
    )
    call_id: str | None = Field(
        None, description="the call, once it was admitted", examples=[_CALL_ID]
    )
    repeated: bool | None = Field(
        None, description="true: the failure is that of the request that this one repeats"
    )
    sandbox: bool | None = Field(
        None, description="true: the enterprise has a sandbox, where no phone rings; else absent"
    )
    errors: list[WrongField] | None = Field(
        None, description="of `invalid-parameter` and its like: each parameter that is wrong"
    )
    oldest: int | None = Field(
        None, description="of `events-gone`: the number of the oldest event that is kept"
    )
    newest: int | None = Field(
        None, description="of `events-gone`: the number of the newest event; go on after it"
    )


def example_of(code: str, status: int, *, rings: bool) -> dict[str, Any]:
    """Make a body that has this code; `rings`: of an operation that rings phones."""
    kind = KINDS.get(code)
    body: dict[str, Any] = {
        "title": phrase(status),
        "status": status,
        "detail": _DETAILS[code],
        "code": code,
        "request_id": _REQUEST_ID,
    }
    if kind is not None and issubclass(kind, errors.InvalidParameter):
        field, _, message = body["detail"].partition(": ")
        body["errors"] = [{"field": field, "message": message}]
    if kind is errors.EventsGone:
        body |= {"oldest": 4000, "newest": 4711}
    if kind is not None and rings:
        # Of a crash nobody knows how far it had got.
        body["dialled"] = "unknown" if kind is errors.InternalError else kind.dialled
        if issubclass(kind, errors.PbxError):
            body["call_id"] = _CALL_ID
    return body


def may_say_when(code: str) -> bool:
    """Tell whether an error of this code may come with `Retry-After`."""
    kind = KINDS.get(code)
    if kind is None or kind is errors.TooManyOpen:
        return False
    return kind.usual_retry_after_s is not None or issubclass(kind, _SAY_WHEN)
