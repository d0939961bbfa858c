"""Cursors are ours and their caller's, letter by letter, or they are none."""

from __future__ import annotations

import string
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.auth.cursors import MAX_CURSOR_CHARACTERS, Seal
from shared.errors import InvalidParameter

SEAL = Seal("0123456789abcdef", "0367", "192.0.2.10", "history")
ALPHABET = string.ascii_letters + string.digits + "-_=+/ "


def is_refused(cursor: str, seal: Seal = SEAL) -> bool:
    """Tell whether a text is no cursor, as the caller is told it: 422 that names the field."""
    try:
        seal.open(cursor)
    except InvalidParameter as error:
        return [wrong.field for wrong in error.errors] == ["cursor"]
    return False


@given(st.binary(max_size=300))
def test_a_cursor_comes_back(content: bytes) -> None:
    """Written as a text that a URL takes as it is, and read again."""
    cursor = SEAL.sign(content)
    assert set(cursor) <= set(string.ascii_letters + string.digits + "-_")
    assert SEAL.open(cursor) == content


@pytest.mark.parametrize("content", [b"", b"x", b"xy", b"xyz", bytes(range(64))])
def test_no_letter_may_be_changed(content: bytes) -> None:
    """Any letter changed, left out, doubled or added, also one whose bits no byte needs."""
    cursor = SEAL.sign(content)
    for index in range(len(cursor) + 1):
        head, tail = cursor[:index], cursor[index:]
        others = {head + letter + rest for letter in ALPHABET for rest in (tail, tail[1:])}
        others |= {head + tail[1:], head, head + tail[:1] + tail}
        for other in others - {cursor}:
            assert is_refused(other), other


@pytest.mark.parametrize(
    "other",
    [
        replace(SEAL, key="0123456789abcdee"),
        replace(SEAL, enterprise="0368"),
        replace(SEAL, host="192.0.2.11"),
        replace(SEAL, listing="calls"),
        # What stands at the end of one part may not count as the begin of the next.
        replace(SEAL, enterprise='0367", "192', host=".0.2.10"),
    ],
)
def test_anothers_cursor_is_none(other: Seal) -> None:
    """It holds for one enterprise, one PBX, one listing, one key."""
    assert is_refused(other.sign(b"content"))
    assert is_refused(SEAL.sign(b"content"), other)


@given(st.text(max_size=80))
def test_any_other_text_is_refused(text: str) -> None:
    """Whatever a caller sends: one error, which names the field."""
    assert is_refused(text)


@pytest.mark.parametrize("text", ["A" * (MAX_CURSOR_CHARACTERS + 1), "A" * 10_000_000, "ä" * 3])
def test_a_text_that_is_too_long_is_not_even_read(text: str) -> None:
    """No cursor of ours has that length."""
    assert is_refused(text)


def test_a_seal_does_not_show_its_key() -> None:
    """Not in a log, not in a traceback."""
    assert SEAL.key not in repr(SEAL)
