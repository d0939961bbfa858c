"""Addresses of hosts in one form, and looking many names up at once, in bounded time."""

from __future__ import annotations

import asyncio
import re
import socket
from collections.abc import Iterable
from ipaddress import IPv4Address, IPv6Address, IPv6Network, ip_address

from anyio import CapacityLimiter, to_thread

from shared.deadline import Deadline
from shared.errors import ConnectFailed

# Threads of their own: slow names must not stand in the way of connecting, which looks up too.
_AT_ONCE = 16
# A name that takes longer does not resolve.
_NAME_TIMEOUT_S = 3.0
_NAT64 = IPv6Network("64:ff9b::/96")


def canonical(address: str) -> str:
    """Write an address in one form: IPv4 within IPv6 is that IPv4, unspecified is loopback.

    A zone (`%eth0`) is left out: rather two hosts are taken for one than one for two. Raises
    ValueError: it is none.
    """
    parsed = ip_address(address.partition("%")[0])
    if isinstance(parsed, IPv6Address):
        inner = parsed.ipv4_mapped or (
            IPv4Address(int(parsed) & 0xFFFFFFFF) if parsed in _NAT64 else None
        )
        parsed = inner or parsed
    if parsed.is_unspecified:  # to connect to it is to connect to this machine
        return "127.0.0.1" if isinstance(parsed, IPv4Address) else "::1"
    return str(parsed)


def checked_host(host: str) -> str:
    """Tell what an `ip` of the enterprises table is connected at.

    Raises ConnectFailed: it is neither an address nor a host name.
    """
    if re.fullmatch(r"(?!-)[A-Za-z0-9._-]{1,253}", host):
        return host
    bracketed = re.fullmatch(r"\[([0-9A-Fa-f:.]{2,45})\]", host)
    try:
        return str(ip_address(bracketed[1] if bracketed else host))
    except ValueError:
        raise ConnectFailed("The enterprise's ip is not an address") from None


async def look_up(names: Iterable[str], deadline: Deadline) -> dict[str, tuple[str, ...]]:
    """Find the addresses of names, none of one that does not resolve.

    A name for which no time was left is left out.
    """
    found: dict[str, tuple[str, ...]] = {}
    turns = asyncio.Semaphore(_AT_ONCE)
    limiter = CapacityLimiter(_AT_ONCE)

    async def find(name: str) -> None:
        async with turns:
            is_enough = deadline.remaining_s() > _NAME_TIMEOUT_S
            try:
                async with deadline.sooner(_NAME_TIMEOUT_S).enforce():
                    # The thread of a name that is given up goes on until the resolver ends it.
                    found[name] = await to_thread.run_sync(
                        _addresses_of, name, abandon_on_cancel=True, limiter=limiter
                    )
            except TimeoutError:
                if is_enough:
                    found[name] = ()

    async with asyncio.TaskGroup() as group:
        for name in names:
            try:
                found[name] = (canonical(name),)
            except ValueError:
                group.create_task(find(name))
    return found


def _addresses_of(name: str) -> tuple[str, ...]:
    try:
        entries = socket.getaddrinfo(name, None, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError):
        return ()
    return tuple(sorted({canonical(str(address[0])) for *_, address in entries}))
