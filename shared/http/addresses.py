"""Whose request it is, as an address: the peer's, or what a trusted proxy says."""

from __future__ import annotations

import re
from collections.abc import Sequence
from ipaddress import IPv4Address, IPv6Address, ip_address

from shared.settings import Network

# A chain of proxies is short, and a stranger may write as many as fit into a header.
_MOST_HOPS = 32
_MOST_CHARACTERS = 64
_IPV6_PREFIX = 64
_WRITTEN = re.compile(
    rf"\[([^]]+)\](?::[0-9]{{1,5}})?|([0-9.]+):[0-9]{{1,5}}|(.{{1,{_MOST_CHARACTERS}}})"
)


def parse_address(text: str) -> IPv4Address | IPv6Address | None:
    """Read an address, perhaps with a port or in brackets; an IPv4 one written as IPv6 is that.

    None: it is no address.
    """
    match = _WRITTEN.fullmatch(text.strip()[: _MOST_CHARACTERS + 1])
    written = next(filter(None, match.groups()), "") if match else ""
    try:
        address = ip_address(written.partition("%")[0])  # the zone is another machine's word
    except ValueError:
        return None
    return getattr(address, "ipv4_mapped", None) or address


def client_address(
    peer: str, forwarded: str, trusted: Sequence[Network]
) -> IPv4Address | IPv6Address | None:
    """Find the client: the peer, or where that is trusted the last in `forwarded` that is not.

    `forwarded` is X-Forwarded-For, to which each proxy adds its own peer at the right. Where that
    is no address (`unknown`, `unix:`), whatever stands to the left of it may be the peer's own
    words: the proxy that wrote it is the client. Empty elements of the list say nothing. None: the
    peer has no address, as that of a Unix socket.
    """
    client = parse_address(peer)
    if client is None or not _is_trusted(client, trusted):
        return client
    for text in reversed(forwarded.rsplit(",", _MOST_HOPS)[-_MOST_HOPS:]):
        if not text.strip(" \t"):
            continue
        address = parse_address(text)
        if address is None:
            break
        client = address
        if not _is_trusted(client, trusted):
            break
    return client


def _is_trusted(address: IPv4Address | IPv6Address, trusted: Sequence[Network]) -> bool:
    return any(address in network for network in trusted)


def limited_as(address: str) -> str | None:
    """Tell what a client is limited by: its address, or the IPv6 network of one subscriber."""
    parsed = parse_address(address)
    if isinstance(parsed, IPv6Address):
        shift = parsed.max_prefixlen - _IPV6_PREFIX
        return f"{IPv6Address(int(parsed) >> shift << shift)}/{_IPV6_PREFIX}"
    return str(parsed) if parsed else None
