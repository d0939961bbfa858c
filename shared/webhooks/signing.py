"""Secrets and signatures of the Standard Webhooks specification, version 1."""

from __future__ import annotations

import base64
import hashlib
import hmac
import secrets
from collections.abc import Sequence
from datetime import UTC, datetime
from uuid import UUID, uuid5

_SECRET_BYTES = 32
_PREFIX = "whsec_"


def make_secret() -> bytes:
    """Make a secret that signs."""
    return secrets.token_bytes(_SECRET_BYTES)


def show_secret(secret: bytes) -> str:
    """Write a secret as a receiver's library reads it: `whsec_` and base64."""
    return _PREFIX + base64.b64encode(secret).decode()


def message_id(webhook: UUID, seq: int, at: datetime | None = None) -> str:
    """Name an event's message: the same however often it is sent, by whichever process.

    The moment is in it, since a number may come again after a backup was restored. Without one it
    is the message that says that nothing of what follows this number is kept.
    """
    when = "gone" if at is None else at.astimezone(UTC).isoformat()
    return f"msg_{uuid5(webhook, f'{seq} {when}').hex}"


def sign(keys: Sequence[bytes], message: str, timestamp: int, body: bytes) -> dict[str, str]:
    """Make the three headers of an attempt; `timestamp` is its own moment, in seconds.

    With two keys there are two signatures: the receiver goes on whichever of them it has.
    """
    signed = b".".join((message.encode(), str(timestamp).encode(), body))
    digests = (hmac.new(key, signed, hashlib.sha256).digest() for key in keys)
    return {
        "webhook-id": message,
        "webhook-timestamp": str(timestamp),
        "webhook-signature": " ".join(
            f"v1,{base64.b64encode(digest).decode()}" for digest in digests
        ),
    }
