"""What callers may send: each parameter's type, its rule in words, its pattern in OpenAPI."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from typing import Annotated

from fastapi import Header
from pydantic import AfterValidator, BeforeValidator, WithJsonSchema

from shared.asterisk.models import (
    EXTENSION_PATTERN,
    EXTENSION_RULE,
    PHONE_PATTERN,
    PHONE_RULE,
    Extension,
    Phone,
    SpyMode,
)

_KEY_RULE = "1 to 255 visible ASCII characters"
_MAX_KEY_CHARACTERS = 255
_MOMENT_RULE = "a time with its offset, e.g. 2026-11-23T09:00:00+03:00 or ...Z"
_MOMENT = re.compile(
    r"[0-9]{4}-[0-9]{2}-[0-9]{2}[Tt][0-9]{2}:[0-9]{2}:[0-9]{2}(?:[.][0-9]{1,6})?"
    r"(?:[Zz]|[+-][0-9]{2}:[0-9]{2})"
)


def _extension(value: str) -> str:
    return Extension(value).number


def _phone(value: str) -> str:
    return Phone(value).number


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


def _key(value: str) -> str:
    if not 0 < len(value) <= _MAX_KEY_CHARACTERS or not value.isascii() or not value.isprintable():
        raise ValueError(f"must be {_KEY_RULE}")
    return value


ExtensionText = Annotated[
    str,
    AfterValidator(_extension),
    WithJsonSchema({"type": "string", "pattern": EXTENSION_PATTERN, "description": EXTENSION_RULE}),
]
PhoneText = Annotated[
    str,
    AfterValidator(_phone),
    WithJsonSchema({"type": "string", "pattern": PHONE_PATTERN, "description": PHONE_RULE}),
]
Moment = Annotated[
    datetime,
    BeforeValidator(_moment),
    WithJsonSchema({"type": "string", "format": "date-time", "description": _MOMENT_RULE}),
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
