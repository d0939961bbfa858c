"""Cursors: what they carry, and what is none."""

from __future__ import annotations

import base64
import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.cdrfile import Cursor

POSITIONS = st.integers(0, 2**40)


@given(POSITIONS, st.integers(0, 2**32 - 1), st.sets(POSITIONS, max_size=50))
def test_a_cursor_comes_back(end: int, mark: int, before: set[int]) -> None:
    """Written as a text that a URL takes as it is, and read again."""
    cursor = Cursor(end, mark, frozenset(end - number for number in before))
    text = cursor.render()
    assert text.replace("-", "").replace("_", "").isalnum()
    assert Cursor.parse(text) == cursor


def test_a_cursor_stays_short() -> None:
    """It has to fit into a URL: of very many lines the farthest are left out."""
    cursor = Cursor(10**9, 5, frozenset(range(0, 10**9, 250_000)))
    assert len(cursor.render()) < 4000
    assert len(Cursor.parse(cursor.render()).told) == 1000


def packed(text: str) -> str:
    """What would be a cursor, were its text one's."""
    return base64.urlsafe_b64encode(zlib.compress(text.encode())).decode().rstrip("=")


@pytest.mark.parametrize(
    "text",
    [
        *("", "A", "AAAA", "курсор", "%", "=" * 5),
        *map(packed, ["", "1", "{}", "[]", "[1,2]", "[1,2,3]", '[1,2,"ab"]', "[1,2,[true]]"]),
        *map(packed, ["[-1,2,[]]", "[1.5,2,[]]", "[1,2,[-3]]", f"[{2**60},2,[]]", "[1,null,[]]"]),
        *map(packed, ["[" * 100_000, "[1,2,[" + "1," * 100_000 + "1]]", "NaN", '"abc"']),
    ],
)
def test_anything_else_is_no_cursor(text: str) -> None:
    """ValueError, whatever is in it, and however much."""
    with pytest.raises(ValueError, match="not a cursor"):
        Cursor.parse(text)


@given(st.text(max_size=60))
def test_any_text_is_a_cursor_or_none(text: str) -> None:
    """Nothing else is raised."""
    try:
        Cursor.parse(text)
    except ValueError:
        return
