"""Every way in which a request can fail: one tree, a stable code for each.

A class is all that is said of its code: the first sentence of its text is its line in the table of
docs/api.md, `example` what an answer's `detail` says, or may say.

    ServiceError
    ├── InvalidParameter             422
    │   ├── KeyReused                422
    │   └── UnknownExtension         422
    ├── InvalidClientId              401
    ├── TicketExpired                401
    ├── Forbidden                    403
    │   ├── PrefetchRefused          403
    │   ├── DiallingStopped          403
    │   ├── DestinationDenied        403
    │   ├── ExtensionNotOwned        403
    │   ├── SharedHost               403
    │   ├── AuditOff                 403
    │   └── WebhooksOff              403
    ├── NoSuchCall                   404
    ├── NoSuchExtension              404
    ├── NoSuchWebhook                404
    ├── StreamUnavailable            406
    ├── CallEnded                    409
    ├── CallNotReady                 409
    ├── NobodyToHear                 409
    ├── ChannelAmbiguous             409
    ├── CallElsewhere                409
    ├── NoWebhookSender              409
    ├── TooManyWebhooks              409
    ├── EventsGone                   410
    ├── LimitExceeded                429
    │   └── TooManyOpen              429
    ├── DatabaseUnavailable          503
    │   ├── SchemaMissing            503
    │   └── PostgresSecretUnreadable 503
    ├── ViewUnavailable              503
    ├── HostUnverified               503
    ├── InternalError                500
    └── PbxError
        ├── NotExecuted
        │   ├── PbxBusy              503
        │   ├── SshSecretUnreadable  503
        │   ├── ConnectTimeout, ConnectFailed, AuthenticationFailed, HostKeyChanged
        │   ├── ConnectionLost, SocketRefused, NoAnswer
        │   ├── TooMuchSent
        │   ├── AsteriskUnavailable, CommandRejected, ContextMissing, ChannelUnaskable
        │   └── CdrUnreadable        500
        └── OutcomeUnknown           500
            └── NoChannel            500

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
    example: ClassVar[str]
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
    example = "extension: must be an internal extension: 1 to 10 digits 0-9"

    def __init__(self, *errors: FieldError) -> None:
        super().__init__("; ".join(f"{error.field}: {error.message}" for error in errors))
        self.errors = errors


class KeyReused(InvalidParameter):
    """That key belongs to a call with other parameters."""

    code = "idempotency-key-reused"
    example = "Idempotency-Key: belongs to a call with other parameters; use a new key"


class UnknownExtension(InvalidParameter):
    """The dialplan has no such extension; nothing was dialled."""

    code = "unknown-extension"
    example = "extension: extension 150 is not in the dialplan of this PBX (context inoffice)"

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
    """No active enterprise has this secret, or it is missing."""

    status = 401
    code = "invalid-client-id"
    example = "Invalid clientId"

    def __init__(self) -> None:
        super().__init__(self.example)


class TicketExpired(ServiceError):
    """It was used, is older than 30 s or never was, or its secret has ended: ask for another."""

    status = 401
    code = "ticket-expired"
    example = "This ticket was used, is too old or never was; ask for another"

    def __init__(self) -> None:
        super().__init__(self.example)


class Forbidden(ServiceError):
    """The caller may not do this; never raised itself."""

    status = 403


class PrefetchRefused(Forbidden):
    """A browser's prefetch, or a chat's preview of a link, places no calls."""

    code = "prefetch-refused"
    example = "A prefetch or preview does not place calls; send the request itself"

    def __init__(self) -> None:
        super().__init__(self.example)


class DiallingStopped(Forbidden):
    """An operator stopped this enterprise's dialling."""

    code = "dialling-stopped"
    example = "Dialling is stopped for this enterprise"


class DestinationDenied(Forbidden):
    """A number's prefix is denied, or not among those allowed."""

    code = "destination-denied"
    example = "Calls to +375291234567 are not allowed"


class ExtensionNotOwned(Forbidden):
    """The enterprise has named its extensions, and this is none of them."""

    code = "extension-not-owned"
    example = "Extension 150 is not this enterprise's"


class SharedHost(Forbidden):
    """Monitoring, transfers and views, where another enterprise has the same PBX.

    Its calls might be heard.
    """

    code = "shared-host"
    example = "Another enterprise has the same PBX, and nobody said which extensions are whose"


class AuditOff(Forbidden):
    """No operator has allowed it: `rules NUMBER --audit on`."""

    code = "audit-off"
    example = "This enterprise may not read its audit; an operator can allow it"

    def __init__(self) -> None:
        super().__init__(self.example)


class WebhooksOff(Forbidden):
    """No operator has allowed it: `rules NUMBER --webhooks on`.

    Else every page with the secret could make one.
    """

    code = "webhooks-off"
    example = "This enterprise may not manage webhooks; an operator can allow it"

    def __init__(self) -> None:
        super().__init__(self.example)


class NoSuchCall(ServiceError):
    """This enterprise has no call of this id; another's is told no differently."""

    status = 404
    code = "no-such-call"
    example = "No such call"

    def __init__(self) -> None:
        super().__init__(self.example)


class NoSuchExtension(ServiceError):
    """The PBX has no phone of this number; a queue or a group has a number, and no phone."""

    status = 404
    code = "no-such-extension"
    example = "The PBX has no phone named 150"


class NoSuchWebhook(ServiceError):
    """This enterprise has no webhook of this id; another's is told no differently."""

    status = 404
    code = "no-such-webhook"
    example = "No such webhook"

    def __init__(self) -> None:
        super().__init__(self.example)


class NoWebhookSender(ServiceError):
    """No process of `ROLE=all` or `follower` runs that would send, as on Lambda alone."""

    status = 409
    code = "no-webhook-sender"
    example = (
        "Nobody would send to it: webhooks need a process of ROLE=all or follower, which Lambda"
        " has not"
    )


class TooManyWebhooks(ServiceError):
    """The enterprise has as many webhooks as it may."""

    status = 409
    code = "too-many-webhooks"
    example = "This enterprise has 10 webhooks: remove one first"


class StreamUnavailable(ServiceError):
    """`Accept: text/event-stream` on AWS, where answers are sent whole: use `wait=`."""

    status = 406
    code = "stream-unavailable"
    example = "Events are not streamed here: leave out `Accept: text/event-stream` and use wait="

    def __init__(self) -> None:
        super().__init__(self.example)


class CallEnded(ServiceError):
    """The call is over, or is being hung up: nothing to hang up or transfer."""

    status = 409
    code = "call-ended"
    example = "The call is over"


class CallNotReady(ServiceError):
    """Which channels are its own is not known yet, or the same transfer is still under way."""

    status = 409
    code = "call-not-ready"
    example = "Which channel is the call's own is not known yet; try again"
    usual_retry_after_s = 1.0


class NobodyToHear(ServiceError):
    """Whom to hear is on no call; nobody was rung. `MONITOR_IDLE=wait` waits for one."""

    status = 409
    code = "nobody-to-hear"
    example = "Nobody to hear: 150 is on no call (idle)"


class ChannelAmbiguous(ServiceError):
    """This Asterisk cannot tell whom to hear from a stranger; nobody was rung.

    Its ChanSpy takes a name's beginning. From 13 on it can, but for who waits for a call
    (`MONITOR_IDLE=wait`).
    """

    status = 409
    code = "channel-ambiguous"
    example = (
        "Nobody was rung: 150 talks by the channel 'SIP/150-2a', which this Asterisk cannot tell"
        " from channels of another name"
    )


class CallElsewhere(ServiceError):
    """The call is on the PBX that the enterprise had before: it can be hung up, not transferred."""

    status = 409
    code = "call-elsewhere"
    example = "The call is on a PBX that is not this enterprise's any more"


class EventsGone(ServiceError):
    """What follows `after` is not kept any more, or was never told; `oldest`, `newest` are kept."""

    status = 410
    code = "events-gone"
    example = "Of the events 4000 to 4711 are kept: read the calls anew, then go on after 4711"

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
    """Too many calls, reads, waits or wrong secrets; `Retry-After` says when to try again."""

    status = 429
    code = "rate-limited"
    example = "This enterprise reads its calls too often; try again later"

    def __init__(
        self, detail: str, *, quota: Quota | None = None, retry_after_s: float | None = None
    ) -> None:
        super().__init__(detail, retry_after_s=retry_after_s)
        self.quota = quota


class TooManyOpen(LimitExceeded):
    """As many calls are open as may be at once; try again once one of them has ended."""

    code = "too-many-open-calls"
    example = (
        "Too many calls of this enterprise are open, 10 may be at once; nothing was dialled, try"
        " again once one has ended"
    )


class DatabaseUnavailable(ServiceError):
    """PostgreSQL does not answer; nothing was dialled."""

    status = 503
    code = "database-unavailable"
    example = "Database unavailable"
    usual_retry_after_s = 5.0


class SchemaMissing(DatabaseUnavailable):
    """PostgreSQL has not our tables: an operator has to run `./asterisk.sh migrate`."""

    code = "schema-missing"
    example = "Database schema callapi is incomplete: run ./asterisk.sh migrate"


class PostgresSecretUnreadable(DatabaseUnavailable):
    """`POSTGRES_SECRET_ARN` cannot be read, or is malformed: an operator must look."""

    code = "postgres-secret-unreadable"
    example = "The secret of POSTGRES_SECRET_ARN cannot be read"


class ViewUnavailable(ServiceError):
    """The PBX's calls could not be listed in time."""

    status = 503
    code = "view-unavailable"
    example = "The PBX could not be looked at in time"
    usual_retry_after_s = 5.0


class HostUnverified(ServiceError):
    """Whether another enterprise has the same PBX is not known yet: refused until it is."""

    status = 503
    code = "host-unverified"
    example = "Refused for now: it is not known yet whether another enterprise has the same PBX"
    usual_retry_after_s = 5.0

    def __init__(self) -> None:
        super().__init__(self.example)


class InternalError(ServiceError):
    """A defect of this service; the log has the request's id.

    Raised where it is certain that nothing was dialled. Of any other defect the answer has the same
    code, and says that a phone may be ringing.
    """

    code = "internal-error"
    example = "Internal error"

    def __init__(self) -> None:
        super().__init__(self.example)


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
    """Too many requests wait for this PBX; nothing was dialled."""

    status = 503
    code = "pbx-busy"
    example = "Too many requests wait for this PBX; try again later"

    @property
    def detail(self) -> str:
        """The plain sentence: no command of SSH has failed."""
        return self.reason


class ConnectTimeout(NotExecuted):
    """No SSH connection in time; nothing was dialled."""

    code = "ssh-connect-timeout"
    example = "SSH command failed: Connection timeout"


class ConnectFailed(NotExecuted):
    """The host refused, or is unreachable; nothing was dialled."""

    code = "ssh-connect-failed"
    example = "SSH command failed: Connection refused"


class AuthenticationFailed(NotExecuted):
    """The host does not accept our user, password or key."""

    code = "ssh-authentication-failed"
    example = "SSH command failed: The host does not accept the password"


class SshSecretUnreadable(NotExecuted):
    """`SSH_SECRET_ARN` cannot be read, or is malformed: an operator must look."""

    status = 503
    code = "ssh-secret-unreadable"
    example = "SSH command failed: The secret of SSH_SECRET_ARN cannot be read"
    usual_retry_after_s = 5.0


class HostKeyChanged(NotExecuted):
    """The host's key is not the pinned one: an operator must look before anything is sent."""

    code = "ssh-host-key-changed"
    example = "SSH command failed: The host key is not the pinned one"


class ConnectionLost(NotExecuted):
    """The connection broke, or stood still, before anything was sent."""

    code = "ssh-connection-lost"
    example = "SSH command failed: Connection lost"
    again = True


class SocketRefused(NotExecuted):
    """The control socket could not be opened: policy, backlog or a stopped Asterisk."""

    code = "asterisk-socket-refused"
    example = "SSH command failed: Asterisk's control socket could not be opened"
    again = True


class NoAnswer(NotExecuted):
    """Asterisk is frozen or starting; nothing was sent."""

    code = "asterisk-no-answer"
    example = "SSH command failed: Asterisk does not answer on its control socket"


class TooMuchSent(NotExecuted):
    """The host sent more than any answer has and was cut off; nothing was dialled."""

    code = "pbx-sends-too-much"
    example = "SSH command failed: The PBX lists 5001 channels, more than can be followed"


class AsteriskUnavailable(NotExecuted):
    """Neither the control socket nor `asterisk -rx` reaches an Asterisk that can call."""

    code = "asterisk-unavailable"
    example = "SSH command failed: Asterisk has neither chan_sip nor PJSIP nor IAX2"


class CommandRejected(NotExecuted):
    """Asterisk does not know the command or its syntax."""

    code = "asterisk-rejected-command"
    example = "SSH command failed: Asterisk refused the command: No such command"


class ContextMissing(NotExecuted):
    """`DIALPLAN_CONTEXT` does not exist on this PBX."""

    code = "dialplan-context-missing"
    example = "SSH command failed: the dialplan has no context inoffice"


class ChannelUnaskable(NotExecuted):
    """No command can name this channel: not in ASCII, or too long; nothing was sent."""

    code = "channel-unaskable"
    example = (
        "SSH command failed: Asterisk cannot be asked about a channel of this name:"
        " 'SIP/\\xe4-0000002a'"
    )


class CdrUnreadable(NotExecuted):
    """The PBX keeps no call records in a file, or does not let us read them; `detail` says why."""

    code = "cdr-unreadable"
    example = "SSH command failed: The host opens no SFTP session for us"


class OutcomeUnknown(PbxError):
    """Sent and not acknowledged: a phone may ring; of a `DELETE`, the call may be over.

    An originate is never tried again: a second phone call may be the price.
    """

    code = "outcome-unknown"
    example = "SSH command failed: Asterisk did not acknowledge the command"
    dialled = "unknown"


class NoChannel(OutcomeUnknown):
    """Acknowledged, but no channel was seen: a phone may ring."""

    code = "originate-without-channel"
    example = "SSH command failed: Asterisk accepted the call but opened no channel for it"


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
