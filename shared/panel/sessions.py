"""Who is logged in to the panel: nothing is stored, so every worker and a restart know it.

A session is a moment of its end and a random word, signed; the key is ADMIN_TOKEN's, so that
another token ends all sessions. What is signed proves no more than that somebody knew the token.
"""

from __future__ import annotations

import hashlib
import hmac
import re
import secrets
import time
from collections.abc import Callable
from dataclasses import dataclass

from shared.process import once
from shared.settings import the_settings

COOKIE = "asterisk_panel"
SESSION_S = 8 * 3600
_FORM = re.compile(r"([0-9]{1,12})\.([A-Za-z0-9_-]{22})\.([0-9a-f]{64})", re.ASCII)
# Whoever has a cookie could try tokens against its signature: each try costs him 50 ms, and 16 MB.
_SCRYPT_N, _SCRYPT_R = 2**14, 8


@dataclass(frozen=True, slots=True)
class Session:
    """Somebody's log-in, whose end is a moment of the wall clock.

    `csrf` is what each of its forms carries; `name` tells it from others in the log, and opens
    nothing.
    """

    until: float
    name: str
    csrf: str


class Sessions:
    """Begins sessions, and knows them again."""

    def __init__(self, token: str, clock: Callable[[], float] = time.time) -> None:
        self._token = hashlib.sha256(token.encode()).digest()
        self._key = hashlib.scrypt(
            token.encode(), salt=b"asterisk panel", n=_SCRYPT_N, r=_SCRYPT_R, p=1, dklen=32
        )
        self._clock = clock

    def is_token(self, given: str) -> bool:
        """Tell whether it is ADMIN_TOKEN, in a time that tells nothing of how much of it is."""
        digest = hashlib.sha256(given.encode("utf-8", "replace")).digest()
        return hmac.compare_digest(digest, self._token)

    def begin(self) -> str:
        """Make a session: the cookie's value."""
        body = f"{int(self._clock()) + SESSION_S}.{secrets.token_urlsafe(16)}"
        return f"{body}.{self._sign('session', body)}"

    def find(self, cookie: str) -> Session | None:
        """Read a cookie; None: it is not ours, or has ended."""
        match = _FORM.fullmatch(cookie)
        if match is None:
            return None
        body = f"{match[1]}.{match[2]}"
        if not hmac.compare_digest(self._sign("session", body), match[3]):
            return None
        if int(match[1]) <= self._clock():
            return None
        return Session(int(match[1]), self._sign("name", body)[:8], self._sign("csrf", body))

    def _sign(self, purpose: str, body: str) -> str:
        return hmac.digest(self._key, f"{purpose} {body}".encode(), "sha256").hex()


@once
def the_sessions() -> Sessions:
    """Those of this process's ADMIN_TOKEN, which is set wherever the panel is."""
    return Sessions(the_settings().admin_token.get_secret_value())
