"""Where a webhook may lead, by its address alone."""

from __future__ import annotations

import socket
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.webhooks.addresses import (
    AddressRefused,
    check_address,
    check_url,
    is_public,
    parse_url,
    resolve,
)

PUBLIC = ["8.8.8.8", "172.15.255.255", "172.32.0.1", "100.63.255.255", "2606:4700::1111", "2a00::1"]
CLOSED = [
    *("0.0.0.0", "10.0.0.1", "100.64.0.1", "100.100.100.200", "127.0.0.1", "127.8.8.8"),
    *("169.254.169.254", "172.16.0.1", "172.31.255.255", "192.0.0.192", "192.0.2.1"),
    *("192.88.99.1", "192.168.1.1", "198.18.0.1", "203.0.113.9", "224.0.0.1", "239.1.1.1"),
    *("240.0.0.1", "255.255.255.255", "168.63.129.16"),
    *("::", "::1", "::8.8.8.8", "::ffff:8.8.8.8", "::ffff:10.0.0.1", "64:ff9b::8.8.8.8"),
    *("64:ff9b:1::1", "2002:808:808::1", "2001::1", "2001:db8::1", "3fff::1", "fc00::1"),
    *("fd00:ec2::254", "fe80::1", "fec0::1", "ff02::1", "100::1", "5f00::1"),
]


@pytest.mark.parametrize("text", PUBLIC)
def test_public_address_is_let_through(text: str) -> None:
    """A host's on the Internet."""
    check_address(ip_address(text), is_plain=False, private=())


@pytest.mark.parametrize("text", CLOSED)
def test_every_other_address_is_refused(text: str) -> None:
    """Private, of this machine, of the link, of the cloud, or another one in disguise."""
    with pytest.raises(AddressRefused):
        check_address(ip_address(text), is_plain=False, private=())


@given(st.integers(0, 2**32 - 1).map(IPv4Address))
def test_no_address_is_public_that_python_knows_as_private(address: IPv4Address) -> None:
    """Whatever the standard library says is not global, or is multicast, is refused."""
    if is_public(address):
        assert address.is_global
        assert not address.is_multicast


@given(st.integers(0, 2**128 - 1).map(IPv6Address))
def test_no_ipv6_address_is_public_that_python_knows_as_private(address: IPv6Address) -> None:
    """Likewise; and none carries one of IPv4 within."""
    if is_public(address):
        assert address.is_global
        assert not address.is_multicast
        assert (address.ipv4_mapped, address.sixtofour, address.teredo) == (None, None, None)


@given(st.integers(0, 2**32 - 1).map(IPv4Address))
def test_an_ipv4_address_in_disguise_is_never_public(address: IPv4Address) -> None:
    """Mapped, by 6to4, by NAT64."""
    number = int(address)
    for disguised in (
        IPv6Address((0xFFFF << 32) | number),
        IPv6Address((0x2002 << 112) | (number << 80)),
        IPv6Address((0x0064FF9B << 96) | number),
        IPv6Address(number),
    ):
        assert not is_public(disguised)


def test_what_an_operator_allows_is_let_through_without_tls_too() -> None:
    """That network alone; and a public one still needs TLS."""
    private = (ip_network("10.1.2.0/24"),)
    check_address(ip_address("10.1.2.3"), is_plain=True, private=private)
    for text in ("10.1.3.1", "::ffff:10.1.2.3", "8.8.8.8"):
        with pytest.raises(AddressRefused):
            check_address(ip_address(text), is_plain=True, private=private)


def test_an_address_of_this_machine_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """Though its number is a public one: it can be bound."""
    monkeypatch.setattr("shared.webhooks.addresses.is_public", lambda _: True)
    with pytest.raises(AddressRefused):
        check_address(ip_address("127.0.0.1"), is_plain=False, private=())
    check_address(ip_address("192.0.2.1"), is_plain=False, private=())


class _BindsAnything(socket.socket):
    """A socket as the kernel has them where ip_nonlocal_bind is 1."""

    def __init__(self, *how: int) -> None:
        super().__init__(*how)
        is_4 = self.family == socket.AF_INET
        freebind = (socket.IPPROTO_IP, 15) if is_4 else (socket.IPPROTO_IPV6, 78)
        self.setsockopt(*freebind, 1)


def test_what_can_be_bound_is_not_all_this_machines_own(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where every address can be, a public one may be sent to still, and the machine's may not."""
    monkeypatch.setattr(socket, "socket", _BindsAnything)
    monkeypatch.setattr("shared.webhooks.addresses.is_public", lambda _: True)
    with _BindsAnything(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.bind(("8.8.8.8", 0))
    for text in ("8.8.8.8", "2a00::1"):
        check_address(ip_address(text), is_plain=False, private=())
    for text in ("127.0.0.1", "::1"):
        with pytest.raises(AddressRefused):
            check_address(ip_address(text), is_plain=False, private=())


@pytest.mark.parametrize(
    "url",
    [
        "ftp://example.test/",
        "file:///etc/passwd",
        "https://",
        "https:///path",
        "//example.test/",
        "example.test",
        "https://user@example.test/",
        "https://user:word@example.test/",
        "https://@example.test/",
        "https://example.test/#part",
        "https://example.test:0/",
        "https://example.test:70000/",
        "https://[fe80::1%25eth0]/",
        "https://[::1/",
        "https://example.test\\@127.0.0.1/",
        "https://example.test/a b",
        "https://example.test/\r\nHost: x",
        "https://пример.test/",
        "https://example.test/" + "a" * 1000,
    ],
)
def test_a_url_that_can_be_read_otherwise_is_refused(url: str) -> None:
    """Another scheme, a user, a part that is not sent, or what two readers read differently."""
    with pytest.raises(AddressRefused):
        parse_url(url)


@given(st.text(max_size=60))
def test_any_text_is_a_target_or_refused(text: str) -> None:
    """Nothing else comes of it; and what is sent cannot break a header."""
    for url in (text, f"https://{text}", f"https://example.test/{text}"):
        try:
            target = parse_url(url)
        except AddressRefused:
            continue
        assert not set(target.host + target.path) & set(" \r\n\t\0")


def test_a_url_is_taken_apart_once() -> None:
    """Name, port, path and query; the origin has no path."""
    target = parse_url("https://Hooks.example.test:8443/a/b?token=1")
    assert (target.host, target.port, target.path) == ("hooks.example.test", 8443, "/a/b?token=1")
    assert target.origin == "https://hooks.example.test:8443"
    assert parse_url("http://[2001:db8::1]").origin == "http://[2001:db8::1]"


@pytest.mark.anyio
@pytest.mark.parametrize(
    "host", ["localhost", "127.1", "2130706433", "0x7f000001", "0177.0.0.1", "0", "::1", "[::]"]
)
async def test_every_spelling_of_this_machine_is_refused(host: str) -> None:
    """It is the resolved address that is looked at."""
    with pytest.raises(AddressRefused):
        await check_url(f"https://{host.join('[]') if host == '::1' else host}/", (), "0367")


@pytest.mark.anyio
async def test_one_address_that_may_not_be_refuses_the_name(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Or whoever has the name would have its other ones tried until that is taken."""

    def look_up(host: str, port: int, **_: object) -> list[tuple[object, ...]]:
        return [(socket.AF_INET, 1, 6, "", (text, port)) for text in ("8.8.8.8", "10.0.0.1")]

    monkeypatch.setattr(socket, "getaddrinfo", look_up)
    with pytest.raises(AddressRefused, match="leads to no public address"):
        await resolve("hooks.example.test", 443, is_plain=False, private=(), whose="0367")
