"""Every way in which a request can fail: one tree, a stable code for each.

    ServiceError                     never raised itself
    ├── InvalidParameter         422  the caller's text is not what the field allows
    │   ├── KeyReused            422  the same Idempotency-Key with other parameters
    │   └── UnknownExtension     422  the dialplan does not know whom to ring first
    ├── InvalidClientId          401  no active enterprise has this secret
    ├── Forbidden                403  an operator's rule, or ours, is against it
    │   ├── PrefetchRefused      403  a browser's prefetch must not ring a phone
    │   ├── DiallingStopped      403  the enterprise's dialling is switched off
    │   ├── DestinationDenied    403  the phone is not among the allowed destinations
    │   ├── ExtensionNotOwned    403  the extension belongs to another enterprise of this PBX
    │   └── SharedHost           403  monitoring, on a PBX that enterprises share
    ├── NoSuchCall               404  the caller's enterprise has no such call
    ├── NoSuchExtension          404  the PBX has no phone of this number
    ├── CallEnded                409  the call is over: nothing is left to hang up or transfer
    ├── CallNotReady             409  nothing of the call is there yet to hang up or transfer
    ├── LimitExceeded            429  too many calls; says when to try again
    ├── DatabaseUnavailable      503  PostgreSQL does not answer
    │   ├── SchemaMissing        503  PostgreSQL answers, the migrations were never applied
    │   └── PostgresSecretUnreadable 503  Secrets Manager does not tell what to log in with
    ├── ViewUnavailable          503  the calls of a host could not be listed in time
    ├── PbxBusy                  503  this host's queue is full; says when to try again
    └── PbxError                      the host or its Asterisk failed us
        ├── NotExecuted          500  certain: nothing reached Asterisk
        │   ├── SshSecretUnreadable 503  Secrets Manager does not tell what to log in with
        │   ├── ConnectTimeout, ConnectFailed, AuthenticationFailed, HostKeyChanged
        │   ├── ConnectionLost, SocketRefused, NoAnswer     (worth another attempt)
        │   ├── AsteriskUnavailable, CommandRejected, ContextMissing
        │   └── CdrUnreadable    500  the PBX's call records cannot be had; says why
        └── OutcomeUnknown       500  written, never acknowledged: the phone may ring
            └── NoChannel        500  acknowledged, yet no channel appeared

`dialled` says what a caller must know before trying again: "no" (safe) or "unknown" (it may
ring already). It is "no" wherever this request certainly sent no command.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal, TypeAlias

Dialled: TypeAlias = Literal["no", "unknown"]


@dataclass(frozen=True, slots=True)
class FieldError:
    """One rejected parameter: its name as the caller wrote it, and what it must be."""

    field: str
    message: str


class ServiceError(Exception):
    """Base of the tree; `detail` is the sentence that the caller reads.

    `call_id` is set once the call was admitted: it names the row that records this failure.
    """

    status: ClassVar[int] = 500
    code: ClassVar[str]
    dialled: ClassVar[Dialled] = "no"
    usual_retry_after_s: ClassVar[float | None] = None

    def __init__(self, detail: str, *, retry_after_s: float | None = None) -> None:
        super().__init__(detail)
        self.reason = detail
        self.retry_after_s = self.usual_retry_after_s if retry_after_s is None else retry_after_s
        self.call_id: str | None = None

    @property
    def detail(self) -> str:
        """The sentence for the response body; always a string."""
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


class InvalidClientId(ServiceError):
    """The secret is missing, wrong, or its enterprise is not active."""

    status = 401
    code = "invalid-client-id"

    def __init__(self) -> None:
        super().__init__("Invalid clientId")


class Forbidden(ServiceError):
    """The caller may not do this; never raised itself."""

    status = 403


class PrefetchRefused(Forbidden):
    """A browser asked ahead of the click; ringing a phone for that would be wrong."""

    code = "prefetch-refused"

    def __init__(self) -> None:
        super().__init__("A prefetch does not place calls; send the request itself")


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
    """Another active enterprise has the same `ip`: its calls might be heard."""

    code = "shared-host"


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


class CallEnded(ServiceError):
    """The call is over."""

    status = 409
    code = "call-ended"


class CallNotReady(ServiceError):
    """The call is not so far: it is being placed, its outcome is unknown, or nobody talks yet."""

    status = 409
    code = "call-not-ready"
    usual_retry_after_s = 1.0


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


class PbxBusy(ServiceError):
    """More requests wait for this host than can be served in time."""

    status = 503
    code = "pbx-busy"


class PbxError(ServiceError):
    """The host failed; `during` is what the caller wanted, e.g. "Call initiation failed"."""

    during: str | None = None

    @property
    def detail(self) -> str:
        """As in the specification: `Call initiation failed: SSH command failed: REASON`."""
        reason = f"SSH command failed: {self.reason}"
        return f"{self.during}: {reason}" if self.during else reason


class NotExecuted(PbxError):
    """Certain that Asterisk executed nothing; `again` tells that a new attempt may succeed."""

    code = "not-executed"
    again: ClassVar[bool] = False


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


class AsteriskUnavailable(NotExecuted):
    """Neither the control socket nor `asterisk -rx` reaches Asterisk."""

    code = "asterisk-unavailable"


class CommandRejected(NotExecuted):
    """Asterisk does not know the command or its syntax."""

    code = "asterisk-rejected-command"


class ContextMissing(NotExecuted):
    """The dialplan has no such context: a setting of ours is wrong for this host."""

    code = "dialplan-context-missing"


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
