"""Cursors that only this service can have written: signed for one enterprise and one PBX. Pure.

A cursor says where a page ends. Changed or made up, it could ask for what is not its caller's, byte
by byte; so any that we did not write for this very caller is refused before anything is read.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import json
from dataclasses import dataclass, field
from typing import Literal, TypeAlias

from shared.errors import FieldError, InvalidParameter

Listing: TypeAlias = Literal["calls", "history", "audit"]

# With its name and filters a request's target must stay under 8 kB, nginx's and our own limit.
MAX_CURSOR_CHARACTERS = 6144
_SIGNATURE_BYTES = 16
_NO_CURSOR = "must be `next` of an earlier answer to the same request, or absent"


@dataclass(frozen=True, slots=True)
class Seal:
    """Signs the cursors of one listing of one enterprise; `key` is the database's."""

    key: str = field(repr=False)
    enterprise: str
    host: str
    listing: Listing

    def sign(self, content: bytes) -> str:
        """Write a cursor."""
        return _encode(self._signature(content) + content)

    def open(self, cursor: str) -> bytes:
        """Return what a cursor says.

        Raises:
            InvalidParameter: it is not one that was signed so, letter by letter.
        """
        refused = InvalidParameter(FieldError("cursor", _NO_CURSOR))
        if len(cursor) > MAX_CURSOR_CHARACTERS:
            raise refused
        try:
            signed = base64.b64decode(cursor + "=" * (-len(cursor) % 4), b"-_", validate=True)
        except (ValueError, binascii.Error):
            raise refused from None
        signature, content = signed[:_SIGNATURE_BYTES], signed[_SIGNATURE_BYTES:]
        # Bits that no byte needs, or a padding, could be changed without changing a byte.
        is_ours = _encode(signed) == cursor
        if not (hmac.compare_digest(signature, self._signature(content)) and is_ours):
            raise refused
        return content

    def _signature(self, content: bytes) -> bytes:
        # JSON keeps the parts apart: no enterprise's name can run into a host's.
        scope = json.dumps([self.listing, self.enterprise, self.host]).encode()
        signed = len(scope).to_bytes(8, "big") + scope + content
        return hmac.digest(self.key.encode(), signed, hashlib.sha256)[:_SIGNATURE_BYTES]


def _encode(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).decode().rstrip("=")
