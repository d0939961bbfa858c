"""Where a webhook may lead: nowhere but to the public Internet, unless an operator has said so.

A name is resolved, each of its addresses is checked, and the connection goes to one that was: were
it resolved again in between, whoever has the name could lead it elsewhere.
"""

from __future__ import annotations

import errno
import socket
from collections.abc import Sequence
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network
from typing import Final, TypeAlias
from urllib.parse import urlsplit

from shared.settings import Network
from shared.webhooks.names import WITHIN_S, the_names

Address: TypeAlias = IPv4Address | IPv6Address

MOST_CHARACTERS: Final = 1000
_PORTS = {"http": 80, "https": 443}
# Reserved, and so no machine's.
_NOBODYS: dict[int, Address] = {4: ip_address("240.0.0.1"), 6: ip_address("100::1")}

# Of IPv4 what is no host's on the Internet, and where clouds keep what their machines may know.
_CLOSED = tuple(
    map(
        ip_network,
        (
            *("0.0.0.0/8", "10.0.0.0/8", "100.64.0.0/10", "127.0.0.0/8", "169.254.0.0/16"),
            *("172.16.0.0/12", "192.0.0.0/24", "192.0.2.0/24", "192.88.99.0/24"),
            *("192.168.0.0/16", "198.18.0.0/15", "198.51.100.0/24", "203.0.113.0/24"),
            *("224.0.0.0/4", "240.0.0.0/4", "168.63.129.16/32"),
            # Of the one range of IPv6 that is public: Teredo and the like, documentation, 6to4.
            *("2001::/23", "2001:db8::/32", "2002::/16", "3fff::/20"),
        ),
    )
)
# Outside of it are loopback, link-local, unique local, multicast, IPv4-mapped and NAT64 ones.
_PUBLIC_IPV6 = ip_network("2000::/3")


class AddressRefused(Exception):
    """A webhook may not lead there; the text says why, to whoever wrote the address."""


@dataclass(frozen=True, slots=True)
class Target:
    """A URL, taken apart once, so that no two readers can understand it otherwise."""

    scheme: str
    host: str
    port: int
    path: str

    @property
    def origin(self) -> str:
        """Where it leads, without what may be a secret of the receiver's."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        port = "" if self.port == _PORTS[self.scheme] else f":{self.port}"
        return f"{self.scheme}://{host}{port}"


def parse_url(url: str) -> Target:
    """Take a URL apart. Raises AddressRefused."""
    if len(url) > MOST_CHARACTERS or not url.isascii() or not url.isprintable() or " " in url:
        raise AddressRefused(f"must be at most {MOST_CHARACTERS} visible ASCII characters")
    try:
        parts = urlsplit(url)
        host, port = parts.hostname, parts.port
    except ValueError:
        raise AddressRefused("is no URL") from None
    if parts.scheme not in _PORTS or not host or "\\" in url:
        raise AddressRefused("must begin with https:// and a host")
    if "@" in parts.netloc:
        raise AddressRefused("must have no user and no password")
    if parts.fragment or "%" in host or port == 0:
        raise AddressRefused("must have no fragment, no zone and no port 0")
    path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    return Target(parts.scheme, host, port or _PORTS[parts.scheme], path)


def is_public(address: Address) -> bool:
    """Tell whether an address is a host's on the Internet, by its number alone."""
    if isinstance(address, IPv6Address) and address not in _PUBLIC_IPV6:
        return False
    return not any(address in network for network in _CLOSED)


def check_address(address: Address, *, is_plain: bool, private: Sequence[Network]) -> None:
    """Refuse an address; `private` are the networks that an operator has allowed.

    Raises:
        AddressRefused: it is neither public nor allowed, this machine's own, or a public one is to
            be sent to without TLS (`is_plain`).
    """
    if any(address in network for network in private):
        return
    if is_plain:
        raise AddressRefused("must begin with https://")
    if not is_public(address) or _is_own(address):
        raise AddressRefused("leads to no public address")  # which, would tell of networks inside


async def resolve(
    host: str, port: int, *, is_plain: bool, private: Sequence[Network], whose: str
) -> tuple[str, ...]:
    """Resolve a name and check each of its addresses: one that may not be refuses them all.

    `whose` is the enterprise that has the webhook.

    Raises:
        AddressRefused: see `check_address`; or there is no such name.
        TimeoutError: it was not found in time.
    """
    try:
        texts = await the_names().look_up(whose, host, port)
    except TimeoutError:
        raise
    except (OSError, UnicodeError):
        raise AddressRefused(f"leads nowhere: there is no host {host}") from None
    for text in texts:
        check_address(ip_address(text), is_plain=is_plain, private=private)
    return texts


async def check_url(url: str, private: Sequence[Network], whose: str) -> Target:
    """Check a URL of an enterprise's as it leads now. Raises AddressRefused."""
    target = parse_url(url)
    try:
        await resolve(
            *(target.host, target.port),
            is_plain=target.scheme == "http",
            private=private,
            whose=whose,
        )
    except TimeoutError:
        rule = f"could not be checked: {target.host} was not found in {WITHIN_S:.0f} s"
        raise AddressRefused(rule) from None
    return target


def _is_own(address: Address) -> bool:
    """Tell whether it is one of this machine's: only those can be bound.

    Where `ip_nonlocal_bind` lets every address be bound, those are this machine's own that are
    reached from themselves; of several on one interface that is the first.
    """
    nobodys = _NOBODYS[address.version]
    return _can_bind(address) and (not _can_bind(nobodys) or _source_to(address) == address)


def _can_bind(address: Address) -> bool:
    try:
        with _probe(address) as probe:
            probe.bind((str(address), 0))
    except OSError as error:
        return error.errno not in {errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT}
    return True


def _source_to(address: Address) -> Address | None:
    """Tell from which address this machine would send to one; None: there is no way."""
    try:
        with _probe(address) as probe:
            probe.connect((str(address), 9))  # sends nothing
            return ip_address(probe.getsockname()[0])
    except OSError:
        return None


def _probe(address: Address) -> socket.socket:
    family = socket.AF_INET if address.version == 4 else socket.AF_INET6  # noqa: PLR2004
    return socket.socket(family, socket.SOCK_DGRAM)
