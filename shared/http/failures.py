"""Which ways of failing an operation has, and which headers its answers: declared for OpenAPI.

What is declared costs a few small dicts at import; `shared/description` makes the rest of it.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final, TypeAlias

from shared.errors import (
    AsteriskUnavailable,
    AuthenticationFailed,
    CommandRejected,
    ConnectFailed,
    ConnectionLost,
    ConnectTimeout,
    ContextMissing,
    DatabaseUnavailable,
    DestinationDenied,
    DiallingStopped,
    ExtensionNotOwned,
    HostKeyChanged,
    InternalError,
    InvalidClientId,
    InvalidParameter,
    LimitExceeded,
    NoAnswer,
    OutcomeUnknown,
    PbxBusy,
    PostgresSecretUnreadable,
    PrefetchRefused,
    SchemaMissing,
    ServiceError,
    SocketRefused,
    SshSecretUnreadable,
    TooManyOpen,
    TooMuchSent,
    UnknownExtension,
)
from shared.http.problems import phrase

Kinds: TypeAlias = tuple[type[ServiceError], ...]
Responses: TypeAlias = dict[int | str, dict[str, Any]]

CODES: Final = "x-codes"
# What the edge refuses before an operation has it, and what any of them may crash with.
_ANYWHERE = (
    *((403, "origin-not-allowed"), (403, "not-through-edge"), (414, "target-too-long")),
    *((500, InternalError.code), (503, "origin-secret-unreadable")),
)
_OF_BODIES = ((408, "request-timeout"), (413, "body-too-large"))

DATABASE: Final[Kinds] = (DatabaseUnavailable, SchemaMissing, PostgresSecretUnreadable)
# Whoever has a secret, and says something.
ASKING: Final[Kinds] = (InvalidParameter, InvalidClientId, LimitExceeded, *DATABASE)
# Whatever is asked of a PBX.
PBX: Final[Kinds] = (
    *(PbxBusy, SshSecretUnreadable, ConnectTimeout, ConnectFailed, AuthenticationFailed),
    *(HostKeyChanged, ConnectionLost, SocketRefused, NoAnswer, TooMuchSent),
    *(AsteriskUnavailable, CommandRejected, OutcomeUnknown),
)
# Whatever rings a phone.
RINGING: Final[Kinds] = (
    *ASKING,
    *(PrefetchRefused, DiallingStopped, DestinationDenied, ExtensionNotOwned),
    *(TooManyOpen, UnknownExtension, ContextMissing),
    *PBX,
)
QUOTA: Final = ("RateLimit", "RateLimit-Policy")
PLACED: Final = (*QUOTA, "Preference-Applied")


def failing(*kinds: type[ServiceError], has_body: bool = False) -> Responses:
    """Declare how an operation may fail: the codes that each status may have."""
    ways = {(kind.status, kind.code) for kind in kinds}
    ways |= {*_ANYWHERE, *(_OF_BODIES if has_body else ())}
    codes: dict[int, list[str]] = {}
    for status, code in sorted(ways):
        codes.setdefault(status, []).append(code)
    return {
        status: {"description": phrase(status), CODES: those} for status, those in codes.items()
    }


def answering(status: int, *headers: str, **more: Any) -> Responses:
    """Declare what is not the model's of a success: its headers, and `more` of OpenAPI's own."""
    return {status: {**more, "headers": refer(headers)}}


def refer(headers: Iterable[str]) -> dict[str, Any]:
    """Refer to headers that are described once."""
    return {name: {"$ref": f"#/components/headers/{name}"} for name in headers}
