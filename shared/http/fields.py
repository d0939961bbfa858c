"""What callers may send: each parameter's type, its rule in words, its pattern in OpenAPI."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from typing import Annotated
from uuid import UUID

from fastapi import Header, Path
from pydantic import AfterValidator, BeforeValidator, WithJsonSchema

from shared.asterisk.models import (
    EXTENSION_PATTERN,
    EXTENSION_RULE,
    PHONE_RULE,
    Extension,
    Phone,
    SpyMode,
)

# What people, and the programs that they copy from, put into a number: spaces, no-break ones too,
# marks of no width, dashes of every length. No slash, which may stand between two numbers.
_SPACES = r"\u00a0\u2000-\u200a\u202f\u205f\u3000"
_UNSEEN = r"\u00ad\u200b-\u200f\u202a-\u202e\u2060-\u2064\u2066-\u2069\ufeff"
_DASHES = r"\u2010-\u2015\u2212\ufe58\ufe63\uff0d-"
_BEFORE = rf"{_SPACES}{_UNSEEN}("
_BETWEEN = rf"{_SPACES}{_UNSEEN} ().{_DASHES}"
_AFTER = rf"{_SPACES}{_UNSEEN} )."

_NUMBER = rf"[0-9](?:[{_BETWEEN}]*[0-9]){{0,19}}[{_AFTER}]*"
PHONE_PATTERN = rf"^(?:[Tt][Ee][Ll]:)?[{_BEFORE} ]*(?:[+][{_BEFORE} ]*)?{_NUMBER}$"
# In a query a space before the number is what became of a + that nobody encoded.
PHONE_IN_URL_PATTERN = rf"^(?:[Tt][Ee][Ll]:)?[{_BEFORE}]*(?:[+][{_BEFORE}]*)?{_NUMBER}$"
_PHONE = re.compile(PHONE_PATTERN)
_PHONE_IN_URL = re.compile(PHONE_IN_URL_PATTERN)
_WRITTEN_RULE = f"{PHONE_RULE}; spaces, dashes, dots, brackets and tel: are left out"
# An area code's 0 is dialled at home only, and never behind a country's code.
_HOME_ZERO = re.compile(rf"\([{_SPACES}{_UNSEEN} ]*0[{_SPACES}{_UNSEEN} ]*\)")
_CALL_ID_PATTERN = "^[0-9a-fA-F]{8}(?:-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}$"
_CALL_ID = re.compile(_CALL_ID_PATTERN)
_CALL_ID_RULE = "a call_id, e.g. 7f1c0f6e-3f0b-4a44-9d53-0a6f6d0a8d11"
_KEY_RULE = "1 to 255 visible ASCII characters"
_MAX_KEY_CHARACTERS = 255
_ACTOR_RULE = "1 to 100 printable characters, in UTF-8"
_MAX_ACTOR_CHARACTERS = 100
_MOMENT_RULE = "a time with its offset, e.g. 2026-11-23T09:00:00+03:00 or ...Z"
_MOMENT = re.compile(
    r"[0-9]{4}-[0-9]{2}-[0-9]{2}[Tt][0-9]{2}:[0-9]{2}:[0-9]{2}(?:[.][0-9]{1,6})?"
    r"(?:[Zz]|[+-][0-9]{2}:[0-9]{2})"
)


def _extension(value: str) -> str:
    return Extension(value).number


def _phone(value: str) -> str:
    if not _PHONE.fullmatch(value):
        raise ValueError(f"must be {PHONE_RULE}{_hint(value)}")
    return _digits(value)


def _phone_in_url(value: str) -> str:
    if not _PHONE_IN_URL.fullmatch(value):
        is_plus_lost = _PHONE.fullmatch(value) is not None
        hint = "; encode + as %2B in a URL" if is_plus_lost else _hint(value)
        raise ValueError(f"must be {PHONE_RULE}{hint}")
    return _digits(value)


def _digits(value: str) -> str:
    """Take out of a number as it is written what is dialled."""
    number = re.sub(r"[^0-9+]", "", value)
    if number.startswith("+") and _HOME_ZERO.search(value):
        raise ValueError(f"must be {PHONE_RULE}; leave out the (0) behind a country's code")
    return Phone(number).number


def _hint(value: str) -> str:
    """Say what to write instead, where that is likely known."""
    if ";" in value:
        return "; parameters such as ;ext= and ;phone-context= are not understood"
    if any(character.isnumeric() and not character.isascii() for character in value):
        return "; write its digits as 0-9"
    if "/" in value:
        return "; one number alone, without a slash"
    return ""


def _spy_mode(value: str) -> str:
    try:
        return SpyMode(value).value
    except ValueError:
        raise ValueError("must be 09 (listen), 01 (whisper) or 02 (barge)") from None


def _moment(value: object) -> datetime:
    text = value if isinstance(value, str) else ""
    try:
        if not _MOMENT.fullmatch(text):
            raise ValueError  # noqa: TRY301 - one message for every way of being wrong
        return datetime.fromisoformat(text.upper()).astimezone(UTC)
    except (ValueError, OverflowError):
        encode = "; encode + as %2B in a URL" if " " in text else ""
        raise ValueError(f"must be {_MOMENT_RULE}{encode}") from None


def _call_id(value: object) -> UUID:
    if not isinstance(value, str) or not _CALL_ID.fullmatch(value):
        raise ValueError(f"must be {_CALL_ID_RULE}")
    return UUID(value)


def _key(value: str) -> str:
    if not 0 < len(value) <= _MAX_KEY_CHARACTERS or not value.isascii() or not value.isprintable():
        raise ValueError(f"must be {_KEY_RULE}")
    return value


def _actor(value: str) -> str:
    """Read a header's bytes, which come one character each, as what a program has written there."""
    try:
        text = value.encode("latin-1").decode().strip()
    except UnicodeError:
        text = ""
    if not 0 < len(text) <= _MAX_ACTOR_CHARACTERS or not text.isprintable():
        raise ValueError(f"must be {_ACTOR_RULE}")
    return text


def _actor_in_url(value: str) -> str:
    if not 0 < len(value) <= _MAX_ACTOR_CHARACTERS or not value.isprintable():
        raise ValueError(f"must be {_ACTOR_RULE}")
    return value


def _described(rule: str, example: str, **schema: str) -> WithJsonSchema:
    return WithJsonSchema({"type": "string", "description": rule, "examples": [example], **schema})


_EXAMPLE = "+375291234567"
ExtensionText = Annotated[
    str,
    AfterValidator(_extension),
    _described(EXTENSION_RULE, "150", pattern=EXTENSION_PATTERN),
]
# Beside a target: no one listens in on himself.
SupervisorText = Annotated[
    str,
    AfterValidator(_extension),
    _described(EXTENSION_RULE, "151", pattern=EXTENSION_PATTERN),
]
PhoneText = Annotated[
    str, AfterValidator(_phone), _described(_WRITTEN_RULE, _EXAMPLE, pattern=PHONE_PATTERN)
]
PhoneInUrl = Annotated[
    str,
    AfterValidator(_phone_in_url),
    _described(_WRITTEN_RULE, _EXAMPLE, pattern=PHONE_IN_URL_PATTERN),
]
Moment = Annotated[
    datetime,
    BeforeValidator(_moment),
    _described(_MOMENT_RULE, "2026-11-23T09:00:00+03:00", format="date-time"),
]
CallId = Annotated[
    UUID,
    BeforeValidator(_call_id),
    _described(_CALL_ID_RULE, "7f1c0f6e-3f0b-4a44-9d53-0a6f6d0a8d11", pattern=_CALL_ID_PATTERN),
]
CallInPath = Annotated[
    UUID,
    Path(
        description="the call, by the `call_id` of the answer to its placing",
        examples=["7f1c0f6e-3f0b-4a44-9d53-0a6f6d0a8d11"],
    ),
]
SpyModeText = Annotated[
    str,
    AfterValidator(_spy_mode),
    WithJsonSchema({"type": "string", "enum": [mode.value for mode in SpyMode]}),
]
IdempotencyKey = Annotated[
    Annotated[str, AfterValidator(_key)] | None,
    Header(description=f"{_KEY_RULE}; the same key within a day is the same call"),
]
ActorInUrl = Annotated[
    str,
    AfterValidator(_actor_in_url),
    _described(f"X-Actor, as it was sent: {_ACTOR_RULE}", "maria"),
]
ActorText = Annotated[
    Annotated[str, AfterValidator(_actor)] | None,
    Header(
        alias="X-Actor",
        description=f"who does it in the caller's own system, for the audit: {_ACTOR_RULE}",
    ),
]
