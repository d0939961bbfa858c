"""Whose request it is: the peer's, unless a proxy that a setting names says otherwise."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from ipaddress import ip_network
from typing import Any

import httpx
import pytest
from fastapi import APIRouter, Request
from hypothesis import example, given
from hypothesis import strategies as st

from shared.http.addresses import client_address, limited_as, parse_address
from shared.http.app import create_app
from shared.settings import Settings, SettingsError

pytestmark = pytest.mark.anyio

TRUSTED = tuple(map(ip_network, ("127.0.0.1", "10.0.0.0/8", "2001:db8:1::/48")))


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("203.0.113.9", "203.0.113.9"),
        (" 203.0.113.9\t", "203.0.113.9"),
        ("203.0.113.9:1234", "203.0.113.9"),
        ("2001:db8::1", "2001:db8::1"),
        ("2001:0DB8:0::0001", "2001:db8::1"),
        ("[2001:db8::1]", "2001:db8::1"),
        ("[2001:db8::1]:443", "2001:db8::1"),
        ("fe80::1%eth0", "fe80::1"),
        ("[fe80::1%25eth0]:80", "fe80::1"),
        ("::ffff:203.0.113.9", "203.0.113.9"),
        ("[::ffff:203.0.113.9]:1", "203.0.113.9"),
        ("::ffff:cb00:7109", "203.0.113.9"),
        *((text, None) for text in ("", "unknown", "_hidden", "203.0.113.9:", "203.0.113", "1")),
        *((text, None) for text in ("203.0.113.9:x", "[2001:db8::1]:x", "[2001:db8::1", "[]:80")),
        *((text, None) for text in ("203.0.113.9/32", "0x7f.1", "010.0.0.1", "a" * 9_000)),
        *((text, None) for text in ("203.0.113.9\0", "２０３.0.113.9", "1.1.1.1:123456", "[::1]1")),
    ],
)
def test_an_address_is_read_as_proxies_write_it(text: str, address: str | None) -> None:
    """With its port, in brackets, an IPv4 one in an IPv6 one's clothes; anything else is none."""
    parsed = parse_address(text)
    assert (parsed and str(parsed)) == address


@pytest.mark.parametrize(
    ("peer", "forwarded", "client"),
    [
        ("203.0.113.1", "203.0.113.9", "203.0.113.1"),
        ("127.0.0.1", "", "127.0.0.1"),
        ("127.0.0.1", "203.0.113.9", "203.0.113.9"),
        ("::ffff:127.0.0.1", "203.0.113.9", "203.0.113.9"),
        ("127.0.0.1", "198.51.100.1, 203.0.113.9", "203.0.113.9"),
        ("127.0.0.1", "198.51.100.1, 203.0.113.9, 10.1.1.1, 10.2.2.2", "203.0.113.9"),
        ("127.0.0.1", "203.0.113.9:50000, [2001:db8:1::5]:443", "203.0.113.9"),
        ("127.0.0.1", "10.9.9.9, 10.1.1.1", "10.9.9.9"),
        ("127.0.0.1", "unknown", "127.0.0.1"),
        ("127.0.0.1", "203.0.113.9, unknown, ,", "127.0.0.1"),
        ("127.0.0.1", "203.0.113.9, unix:", "127.0.0.1"),
        ("127.0.0.1", "203.0.113.9, unix:, 10.1.1.1", "10.1.1.1"),
        ("127.0.0.1", "unknown, 203.0.113.9, 10.1.1.1", "203.0.113.9"),
        ("127.0.0.1", "203.0.113.9, , \t,", "203.0.113.9"),
        ("127.0.0.1", "a" * 9_000, "127.0.0.1"),
        ("127.0.0.1", "203.0.113.9," + "x," * 4_500, "127.0.0.1"),
        ("127.0.0.1", "," * 9_000 + "203.0.113.9", "203.0.113.9"),
        ("", "203.0.113.9", None),
        ("testclient", "203.0.113.9", None),
    ],
)
def test_the_client_is_the_last_that_is_no_proxy_of_ours(
    peer: str, forwarded: str, client: str | None
) -> None:
    """From the right over trusted ones; an untrusted peer itself.

    What is no address ends the way: the proxy that wrote it did not know its peer's, and let pass
    what that peer had written before it, which may name anybody. So the nearest hop that is
    believed counts as the client. An empty element is nobody's word.
    """
    found = client_address(peer, forwarded, TRUSTED)
    assert (found and str(found)) == client
    assert client_address(peer, forwarded, ()) == parse_address(peer)


@given(peer=st.text(max_size=20) | st.just("127.0.0.1"), forwarded=st.text(max_size=80))
@example(peer="127.0.0.1", forwarded="\0,[,],%,::%,:")
def test_no_text_is_too_odd(peer: str, forwarded: str) -> None:
    """Whatever stands there is an address or none."""
    assert client_address(peer, forwarded, TRUSTED) is None or peer
    assert limited_as(forwarded) is None or parse_address(forwarded)


@pytest.mark.parametrize(
    ("address", "limited"),
    [
        ("203.0.113.9", "203.0.113.9"),
        ("::ffff:203.0.113.9", "203.0.113.9"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"),
        ("2001:db8:1:2::1", "2001:db8:1:2::/64"),
        ("::1", "::/64"),
        ("testclient", None),
        ("", None),
    ],
)
def test_a_subscriber_has_one_limit(address: str, limited: str | None) -> None:
    """An IPv6 address counts by its /64, which one subscriber has at least."""
    assert limited_as(address) == limited


@asynccontextmanager
async def told(peer: str, **settings: Any) -> AsyncIterator[httpx.AsyncClient]:
    """A client from an address; it is told whose request the service takes it for."""
    router = APIRouter()

    @router.get("/whose")
    async def whose(request: Request) -> list[Any]:
        assert request.client is not None
        return [request.client.host, request.url.scheme]

    app = create_app(router, settings=Settings(log_file="", **settings))
    transport = httpx.ASGITransport(app, client=(peer, 40_000))
    async with httpx.AsyncClient(transport=transport, base_url="http://test") as client:
        yield client


async def test_no_proxy_is_trusted_by_itself() -> None:
    """Not even from this machine: who writes the header would choose its own address."""
    async with told("127.0.0.1") as client:
        for value in ("203.0.113.9", "a" * 9_000, "\xff, ::1"):
            answer = await client.get("/whose", headers=[(b"X-Forwarded-For", value.encode())])
            assert answer.json() == ["127.0.0.1", "http"]


async def test_a_named_proxy_is_believed() -> None:
    """Its header, also in several lines; nonsense in it is no error."""
    async with told("127.0.0.1", trusted_proxies="127.0.0.1, 10.0.0.0/8") as client:
        for lines, address in (
            (["203.0.113.9"], "203.0.113.9"),
            (["198.51.100.1", "203.0.113.9, 10.0.0.1"], "203.0.113.9"),
            ([], "127.0.0.1"),
            (["a" * 9_000], "127.0.0.1"),
        ):
            headers = [("X-Forwarded-For", line) for line in lines]
            answer = await client.get("/whose", headers=headers)
            assert answer.json() == [address, "http"]


@pytest.mark.parametrize("wrong", ["localhost", "10.0.0.1/8", "*", "10.0.0.0/33", "127.0.0.1;::1"])
def test_a_proxy_is_an_address_or_a_network(wrong: str) -> None:
    """A word or a network with a typing error would trust nobody, or somebody else."""
    with pytest.raises(SettingsError, match=r"TRUSTED_PROXIES: .*must be addresses or networks"):
        Settings.from_environment({"TRUSTED_PROXIES": wrong})


@pytest.mark.parametrize(
    "wrong", ["crm.example.test", "https://crm.example.test/", "https://*.a/b"]
)
def test_an_origin_is_as_browsers_write_it(wrong: str) -> None:
    """Anything else would allow nobody, and nobody would be told."""
    with pytest.raises(SettingsError, match=r"CORS_ORIGINS"):
        Settings.from_environment({"CORS_ORIGINS": f"https://a.example.test,{wrong}"})
