"""Addresses in one form, and names that are looked up in bounded time."""

from __future__ import annotations

import threading

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.deadline import Deadline
from shared.pbx import addresses
from shared.pbx.addresses import canonical, look_up

pytestmark = pytest.mark.anyio


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("127.0.0.1", "127.0.0.1"),
        ("::ffff:127.0.0.1", "127.0.0.1"),
        ("::FFFF:7F00:1", "127.0.0.1"),
        ("64:ff9b::7f00:1", "127.0.0.1"),
        ("0.0.0.0", "127.0.0.1"),
        ("::ffff:0.0.0.0", "127.0.0.1"),
        ("::", "::1"),
        ("2001:0db8:0000::0001", "2001:db8::1"),
        ("fe80::1%eth0", "fe80::1"),
    ],
)
def test_one_address_has_one_form(text: str, expected: str) -> None:
    """However it is written, it compares equal."""
    assert canonical(text) == expected


@given(st.ip_addresses())
def test_a_canonical_form_is_its_own(address: object) -> None:
    """To write it in one form once more changes nothing."""
    assert canonical(canonical(str(address))) == canonical(str(address))


@pytest.mark.parametrize("text", ["", "localhost", "127.1", "127.0.0.01", "1.2.3.4.5", "[::1]"])
def test_what_is_no_address_is_refused(text: str) -> None:
    """A name, and what only a resolver can read, are no addresses."""
    with pytest.raises(ValueError, match="address"):
        canonical(text)


async def test_odd_spellings_are_read_as_connecting_reads_them() -> None:
    """Octal, hexadecimal and short forms are the resolver's; what does not resolve has none."""
    names = ["127.1", "0x7f.1", "2130706433", "127.0.0.01", "::ffff:127.0.0.1", "nosuch.invalid"]
    found = await look_up([*names, "a" * 64 + ".test"], Deadline.after(30))
    assert {name for name, own in found.items() if own == ("127.0.0.1",)} == set(names[:-1])
    assert found["nosuch.invalid"] == found["a" * 64 + ".test"] == ()


async def test_a_slow_name_does_not_resolve_and_one_without_time_is_left_out(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A name has a limit of its own; where the caller's is nearer, nothing is said of it."""
    let_go = threading.Event()
    monkeypatch.setattr(addresses, "_addresses_of", lambda _name: let_go.wait() and ())
    monkeypatch.setattr(addresses, "_NAME_TIMEOUT_S", 0.05)
    try:
        assert await look_up(["slow.test"], Deadline.after(60)) == {"slow.test": ()}
        assert await look_up(["slow.test", "192.0.2.1"], Deadline.after(0.01)) == {
            "192.0.2.1": ("192.0.2.1",)
        }
    finally:
        let_go.set()


async def test_no_more_names_than_a_few_are_looked_up_at_once(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """However many there are, so many threads do it."""
    guard, now, most = threading.Lock(), 0, 0

    def addresses_of(_name: str) -> tuple[str, ...]:
        nonlocal now, most
        with guard:
            now += 1
            most = max(most, now)
        threading.Event().wait(0.001)
        with guard:
            now -= 1
        return ("192.0.2.1",)

    monkeypatch.setattr(addresses, "_addresses_of", addresses_of)
    found = await look_up([f"n{n}.test" for n in range(100)], Deadline.after(60))
    assert (len(found), set(found.values())) == (100, {("192.0.2.1",)})
    assert 1 <= most <= addresses._AT_ONCE
