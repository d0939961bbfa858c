"""Who may read metrics: whoever is on this machine, or has METRICS_TOKEN where that is set."""

from __future__ import annotations

import hmac
import time
from collections.abc import Callable, Sequence
from hashlib import sha256
from typing import TypeAlias

from shared.auth.strangers import log_wrong_secret
from shared.errors import LimitExceeded
from shared.http.addresses import limited_as, parse_address
from shared.settings import Rate, Settings

Fields: TypeAlias = Sequence[tuple[bytes, bytes]]
"""A request's headers, their names in small letters."""

# Whoever sends one speaks for another, who may be anywhere.
_FORWARDING = frozenset(
    {
        *(b"forwarded", b"via", b"x-real-ip", b"x-client-ip", b"x-cluster-client-ip"),
        *(b"true-client-ip", b"cf-connecting-ip", b"fastly-client-ip", b"x-envoy-external-address"),
        *(b"x-originating-ip", b"x-remote-ip", b"x-remote-addr", b"x-proxyuser-ip"),
    }
)
_FORWARDING_BEGINS = (b"x-forwarded", b"x-original-", b"forwarded-")
_MOST_ADDRESSES = 1_000


class Attempts:
    """So many wrong tokens of one address, as RATE_LIMIT_ADDRESS has it, refilled evenly.

    Strangers choose the addresses: at most `most` are known at once, and while all of them wait no
    other one has an attempt.
    """

    def __init__(self, rate: Rate, most: int, clock: Callable[[], float] = time.monotonic) -> None:
        self._rate = rate
        self._most = most
        self._clock = clock
        self._full_at: dict[str, float] = {}  # when all of an address's attempts are there again

    def wait_s(self, address: str) -> float:
        """Take an attempt; else tell how many seconds it takes until there is one."""
        now, each_s = self._clock(), self._rate.per_s / self._rate.count
        if address not in self._full_at and len(self._full_at) >= self._most:
            self._full_at = {a: at for a, at in self._full_at.items() if at > now}
            if len(self._full_at) >= self._most:
                return each_s
        full_at = max(now, self._full_at.get(address, now)) + each_s
        if full_at - now > self._rate.per_s:
            return full_at - now - self._rate.per_s
        self._full_at[address] = full_at
        return 0.0


class Door:
    """Lets in by address, or by token: one of the two, as it is configured."""

    def __init__(self, settings: Settings) -> None:
        token = settings.metrics_token.get_secret_value()
        self._wanted = sha256(f"Bearer {token}".encode()).digest() if token else None
        self._attempts = Attempts(settings.rate_limit_address, _MOST_ADDRESSES)

    def opens(self, peer: str | None, fields: Fields) -> bool:
        """Tell whether whoever sends these headers may read.

        Raises:
            LimitExceeded: too many wrong tokens came from this address; a right one still passes.
        """
        if self._wanted is None:
            return _is_here(peer, fields)
        given = [value for name, value in fields if name == b"authorization"]
        # Digests are equally long, so that the time tells nothing of the token's length either.
        if len(given) == 1 and hmac.compare_digest(sha256(given[0]).digest(), self._wanted):
            return True
        if given:
            self._refuse(limited_as(peer or "") or "-")
        return False

    def _refuse(self, address: str) -> None:
        log_wrong_secret(address, what="METRICS_TOKEN")
        if wait_s := self._attempts.wait_s(address):
            raise LimitExceeded(
                "Too many wrong secrets from this address; try again later", retry_after_s=wait_s
            )


def _is_here(peer: str | None, fields: Fields) -> bool:
    """Tell whether a request comes from this machine, for itself, and by a name of its own.

    By that a page is kept out whose name was turned to this machine's address (DNS rebinding).
    """
    names = [name for name, _ in fields]
    if any(name in _FORWARDING or name.startswith(_FORWARDING_BEGINS) for name in names):
        return False
    hosts = [value for name, value in fields if name == b"host"]
    return len(hosts) == 1 and _is_loopback(peer or "") and _is_own_name(hosts[0])


def _is_own_name(host: bytes) -> bool:
    try:
        text = host.decode("ascii")
    except UnicodeDecodeError:
        return False
    name, colon, port = text.partition(":")
    if name.lower() == "localhost":
        return not colon or (port.isdigit() and len(port) <= len("65535"))
    return _is_loopback(text)


def _is_loopback(text: str) -> bool:
    address = parse_address(text)
    return address is not None and address.is_loopback
