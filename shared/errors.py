"""Every way in which a request can fail: one tree, a stable code for each.

    ServiceError                     never raised itself
    ├── InvalidParameter         422  the caller's text is not what the field allows
    │   ├── KeyReused            422  the same Idempotency-Key with other parameters
    │   └── UnknownExtension     422  the dialplan does not know whom to ring first
    ├── InvalidClientId          401  no active enterprise has this secret
    ├── TicketExpired            401  the ticket was used, came too late or never was
    ├── Forbidden                403  an operator's rule, or ours, is against it
    │   ├── PrefetchRefused      403  a browser's prefetch, a chat's preview must not ring a phone
    │   ├── DiallingStopped      403  the enterprise's dialling is switched off
    │   ├── DestinationDenied    403  the phone is not among the allowed destinations
    │   ├── ExtensionNotOwned    403  the extension belongs to another enterprise of this PBX
    │   ├── SharedHost           403  monitoring, on a PBX that enterprises share
    │   ├── AuditOff             403  nobody has let the enterprise read who did what
    │   └── WebhooksOff          403  nobody has let the enterprise have webhooks
    ├── NoSuchCall               404  the caller's enterprise has no such call
    ├── NoSuchExtension          404  the PBX has no phone of this number
    ├── NoSuchWebhook            404  the caller's enterprise has no such webhook
    ├── StreamUnavailable        406  answers are sent whole here: nothing can be streamed
    ├── CallEnded                409  the call is over: nothing is left to hang up or transfer
    ├── CallNotReady             409  nothing of the call is there yet to hang up or transfer
    ├── NobodyToHear             409  whom to tap is on no call: nobody was rung
    ├── ChannelAmbiguous         409  Asterisk cannot tell whom to tap from another: nobody was rung
    ├── CallElsewhere            409  the call is on a PBX that is not its enterprise's any more
    ├── NoWebhookSender          409  no process would send to a webhook: only Lambda runs
    ├── TooManyWebhooks          409  the enterprise has as many as it may
    ├── EventsGone               410  what follows is not kept any more
    ├── LimitExceeded            429  too many calls; says when to try again
    │   └── TooManyOpen          429  too many at once; again once one of them has ended
    ├── DatabaseUnavailable      503  PostgreSQL does not answer
    │   ├── SchemaMissing        503  PostgreSQL answers, the migrations were never applied
    │   └── PostgresSecretUnreadable 503  Secrets Manager does not tell what to log in with
    ├── ViewUnavailable          503  the calls of a host could not be listed in time
    ├── HostUnverified           503  not known yet whether another enterprise has the same PBX
    ├── InternalError            500  a defect of ours, before anything was sent
    └── PbxError                      the host or its Asterisk failed us
        ├── NotExecuted               certain: nothing reached Asterisk; never raised itself
        │   ├── PbxBusy          503  this host's queue is full; says when to try again
        │   ├── SshSecretUnreadable 503  Secrets Manager does not tell what to log in with
        │   ├── ConnectTimeout, ConnectFailed, AuthenticationFailed, HostKeyChanged
        │   ├── ConnectionLost, SocketRefused, NoAnswer     (worth another attempt)
        │   ├── TooMuchSent              more than any answer has; it was cut off
        │   ├── AsteriskUnavailable, CommandRejected, ContextMissing, ChannelUnaskable
        │   └── CdrUnreadable    500  the PBX's call records cannot be had; says why
        └── OutcomeUnknown       500  written, never acknowledged: the phone may ring
            └── NoChannel        500  acknowledged, yet no channel appeared

`dialled` says what a caller must know before trying again: "no" (safe) or "unknown" (it may
ring already). It is "no" wherever this request certainly sent no command.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar, Literal, TypeAlias
from uuid import UUID

Dialled: TypeAlias = Literal["no", "unknown"]


@dataclass(frozen=True, slots=True)
class FieldError:
    """One rejected parameter: its name as the caller wrote it, and what it must be."""

    field: str
    message: str


class ServiceError(Exception):
    """Base of the tree; `detail` is the sentence that the caller reads.

    `call_id` is set once the call was admitted: it names the row that records this failure, with
    what `recorded_detail` tells. `repeated`: it is another request's, which this one repeats.
    """

    status: ClassVar[int] = 500
    code: ClassVar[str]
    dialled: ClassVar[Dialled] = "no"
    usual_retry_after_s: ClassVar[float | None] = None

    def __init__(self, detail: str, *, retry_after_s: float | None = None) -> None:
        super().__init__(detail)
        self.reason = detail
        self.retry_after_s = self.usual_retry_after_s if retry_after_s is None else retry_after_s
        self.call_id: UUID | None = None
        self.repeated = False

    @property
    def detail(self) -> str:
        """The sentence for the response body; always a string."""
        return self.reason

    @property
    def recorded_detail(self) -> str:
        """The text from which `recorded` makes this error again."""
        return self.reason


class InvalidParameter(ServiceError):
    """A parameter is missing or malformed; `errors` names each."""

    status = 422
    code = "invalid-parameter"

    def __init__(self, *errors: FieldError) -> None:
        super().__init__("; ".join(f"{error.field}: {error.message}" for error in errors))
        self.errors = errors


class KeyReused(InvalidParameter):
    """The Idempotency-Key belongs to a call with other parameters."""

    code = "idempotency-key-reused"


class UnknownExtension(InvalidParameter):
    """The dialplan has no such extension: nobody would be rung."""

    code = "unknown-extension"

    def __init__(self, message: str, *, field: str = "extension") -> None:
        super().__init__(FieldError(field, message))
        self.message = message

    @property
    def recorded_detail(self) -> str:
        """The message alone: whoever is told names the field."""
        return self.message

    def of(self, field: str) -> UnknownExtension:
        """Make the same error, of the field that the caller wrote."""
        return UnknownExtension(self.message, field=field)


class InvalidClientId(ServiceError):
    """The secret is missing, wrong, or its enterprise is not active."""

    status = 401
    code = "invalid-client-id"

    def __init__(self) -> None:
        super().__init__("Invalid clientId")


class TicketExpired(ServiceError):
    """The ticket was used, came too late, never was, or whoever asked for it has no right left."""

    status = 401
    code = "ticket-expired"

    def __init__(self) -> None:
        super().__init__("This ticket was used, is too old or never was; ask for another")


class Forbidden(ServiceError):
    """The caller may not do this; never raised itself."""

    status = 403


class PrefetchRefused(Forbidden):
    """A browser or a chat asked ahead of the click; ringing a phone for that would be wrong."""

    code = "prefetch-refused"

    def __init__(self) -> None:
        super().__init__("A prefetch or preview does not place calls; send the request itself")


class DiallingStopped(Forbidden):
    """An operator stopped all dialling of this enterprise."""

    code = "dialling-stopped"


class DestinationDenied(Forbidden):
    """The phone's prefix is denied, or not among those allowed."""

    code = "destination-denied"


class ExtensionNotOwned(Forbidden):
    """The enterprise has named extensions, and this is none of them."""

    code = "extension-not-owned"


class SharedHost(Forbidden):
    """Another active enterprise has the same PBX: its calls might be heard."""

    code = "shared-host"


class AuditOff(Forbidden):
    """Nobody has let this enterprise read who did what."""

    code = "audit-off"

    def __init__(self) -> None:
        super().__init__("This enterprise may not read its audit; an operator can allow it")


class WebhooksOff(Forbidden):
    """Nobody has let this enterprise have webhooks: every page with its secret could make one."""

    code = "webhooks-off"

    def __init__(self) -> None:
        super().__init__("This enterprise may not manage webhooks; an operator can allow it")


class NoSuchCall(ServiceError):
    """No call of this enterprise has this id; another enterprise's is told no differently."""

    status = 404
    code = "no-such-call"

    def __init__(self) -> None:
        super().__init__("No such call")


class NoSuchExtension(ServiceError):
    """No device of the PBX has this name; a queue or a group has a number, and no phone."""

    status = 404
    code = "no-such-extension"


class NoSuchWebhook(ServiceError):
    """No webhook of this enterprise has this id; another enterprise's is told no differently."""

    status = 404
    code = "no-such-webhook"

    def __init__(self) -> None:
        super().__init__("No such webhook")


class NoWebhookSender(ServiceError):
    """No process that could send runs; on Lambda alone there is none."""

    status = 409
    code = "no-webhook-sender"


class TooManyWebhooks(ServiceError):
    """The enterprise has as many webhooks as it may."""

    status = 409
    code = "too-many-webhooks"


class StreamUnavailable(ServiceError):
    """Answers are sent whole here, as on AWS: events cannot be told as they come."""

    status = 406
    code = "stream-unavailable"

    def __init__(self) -> None:
        super().__init__(
            "Events are not streamed here: leave out `Accept: text/event-stream` and use wait="
        )


class CallEnded(ServiceError):
    """The call is over."""

    status = 409
    code = "call-ended"


class CallNotReady(ServiceError):
    """The call is not so far: it is being placed, its outcome is unknown, or nobody talks yet."""

    status = 409
    code = "call-not-ready"
    usual_retry_after_s = 1.0


class NobodyToHear(ServiceError):
    """The extension that is to be tapped is on no call: the supervisor would hear silence."""

    status = 409
    code = "nobody-to-hear"


class ChannelAmbiguous(ServiceError):
    """ChanSpy would not tell the channel that is to be tapped from another's: a stranger's call."""

    status = 409
    code = "channel-ambiguous"


class CallElsewhere(ServiceError):
    """The enterprise has another `ip` now: what it may ring there says nothing of this PBX."""

    status = 409
    code = "call-elsewhere"


class EventsGone(ServiceError):
    """What was told after this number is not kept any more, or that number was never told."""

    status = 410
    code = "events-gone"

    def __init__(self, *, oldest: int, newest: int) -> None:
        kept = f"{oldest} to {newest} are kept" if oldest <= newest else "none is kept"
        super().__init__(f"Of the events {kept}: read the calls anew, then go on after {newest}")
        self.oldest = oldest
        self.newest = newest


@dataclass(frozen=True, slots=True)
class Quota:
    """A rate limit: `count` calls in `per_s` seconds, `remaining` of them left at once."""

    name: str
    count: int
    per_s: int
    remaining: int


class LimitExceeded(ServiceError):
    """The enterprise, the extension or the address has used up its rate."""

    status = 429
    code = "rate-limited"

    def __init__(
        self, detail: str, *, quota: Quota | None = None, retry_after_s: float | None = None
    ) -> None:
        super().__init__(detail, retry_after_s=retry_after_s)
        self.quota = quota


class TooManyOpen(LimitExceeded):
    """As many calls are open as may be; when one of them ends is not known."""

    code = "too-many-open-calls"


class DatabaseUnavailable(ServiceError):
    """PostgreSQL does not answer; never reported as a wrong clientId."""

    status = 503
    code = "database-unavailable"
    usual_retry_after_s = 5.0


class SchemaMissing(DatabaseUnavailable):
    """A table or function of ours is not there: an operator has to apply the migrations."""

    code = "schema-missing"


class PostgresSecretUnreadable(DatabaseUnavailable):
    """What POSTGRES_SECRET_ARN names cannot be had, or is malformed: an operator's matter."""

    code = "postgres-secret-unreadable"


class ViewUnavailable(ServiceError):
    """No tracker could look at the host in time."""

    status = 503
    code = "view-unavailable"
    usual_retry_after_s = 5.0


class HostUnverified(ServiceError):
    """It cannot be told yet whether another enterprise has the same PBX; so it is refused."""

    status = 503
    code = "host-unverified"
    usual_retry_after_s = 5.0

    def __init__(self) -> None:
        super().__init__(
            "Refused for now: it is not known yet whether another enterprise has the same PBX"
        )


class InternalError(ServiceError):
    """A defect of this service, its cause, of which is certain that nothing was dialled.

    Of any other defect the answer has the same code, and says that a phone may be ringing.
    """

    code = "internal-error"

    def __init__(self) -> None:
        super().__init__("Internal error")


class PbxError(ServiceError):
    """The host failed; `during` is what the caller wanted, e.g. "Call initiation failed"."""

    during: str | None = None

    @property
    def detail(self) -> str:
        """As in the specification: `Call initiation failed: SSH command failed: REASON`."""
        reason = f"SSH command failed: {self.reason}"
        return f"{self.during}: {reason}" if self.during else reason


class NotExecuted(PbxError):
    """Certain that Asterisk executed nothing; `again` tells that a new attempt may succeed.

    Never raised itself.
    """

    again: ClassVar[bool] = False


class PbxBusy(NotExecuted):
    """More requests wait for this host than can be served in time."""

    status = 503
    code = "pbx-busy"

    @property
    def detail(self) -> str:
        """The plain sentence: no command of SSH has failed."""
        return self.reason


class ConnectTimeout(NotExecuted):
    """The host did not complete the SSH handshake in time."""

    code = "ssh-connect-timeout"


class ConnectFailed(NotExecuted):
    """The host refused or is unreachable."""

    code = "ssh-connect-failed"


class AuthenticationFailed(NotExecuted):
    """The host does not accept our user, password or key."""

    code = "ssh-authentication-failed"


class SshSecretUnreadable(NotExecuted):
    """What SSH_SECRET_ARN names cannot be had, or is malformed: an operator's matter."""

    status = 503
    code = "ssh-secret-unreadable"
    usual_retry_after_s = 5.0


class HostKeyChanged(NotExecuted):
    """The host's key is not the pinned one; an operator must look before anything is sent."""

    code = "ssh-host-key-changed"


class ConnectionLost(NotExecuted):
    """The connection broke, or stood still, before anything was written."""

    code = "ssh-connection-lost"
    again = True


class SocketRefused(NotExecuted):
    """The control socket could not be opened: policy, backlog or a stopped Asterisk."""

    code = "asterisk-socket-refused"
    again = True


class NoAnswer(NotExecuted):
    """The control socket opened but Asterisk sent no banner, so nothing was written."""

    code = "asterisk-no-answer"


class TooMuchSent(NotExecuted):
    """The host sent more than any answer has: it was cut off."""

    code = "pbx-sends-too-much"


class AsteriskUnavailable(NotExecuted):
    """Neither the control socket nor `asterisk -rx` reaches Asterisk."""

    code = "asterisk-unavailable"


class CommandRejected(NotExecuted):
    """Asterisk does not know the command or its syntax."""

    code = "asterisk-rejected-command"


class ContextMissing(NotExecuted):
    """The dialplan has no such context: a setting of ours is wrong for this host."""

    code = "dialplan-context-missing"


class ChannelUnaskable(NotExecuted):
    """No command can name this channel: not in ASCII, too long, or no channel's name at all."""

    code = "channel-unaskable"


class CdrUnreadable(NotExecuted):
    """The PBX keeps no call records in a file, or does not let us read them."""

    code = "cdr-unreadable"


class OutcomeUnknown(PbxError):
    """Written and not acknowledged. Never tried again: a second phone call may be the price."""

    code = "outcome-unknown"
    dialled = "unknown"


class NoChannel(OutcomeUnknown):
    """Asterisk acknowledged the originate, but no channel of it was seen."""

    code = "originate-without-channel"


def recorded(code: str, detail: str | None) -> ServiceError | None:
    """Make the error again that a call was recorded with; None: no error that placing ends with."""
    kind = _PLACING.get(code)
    return kind(detail) if kind is not None and detail is not None else None


def _tree(kind: type[ServiceError]) -> Iterator[type[ServiceError]]:
    if "code" in vars(kind):
        yield kind
    for below in kind.__subclasses__():
        yield from _tree(below)


# What may go wrong once a call was admitted, by its code.
_PLACING = {
    kind.code: kind
    for branch in (UnknownExtension, NobodyToHear, ChannelAmbiguous, DatabaseUnavailable, PbxError)
    for kind in _tree(branch)
}
