"""What the cursors of a file of call records carry."""

from __future__ import annotations

import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.auth.cursors import MAX_CURSOR_CHARACTERS, Seal
from shared.history.tail import Cursor, Replaced

POSITIONS = st.integers(0, 2**40)
CURSORS = st.builds(
    Cursor,
    POSITIONS,
    st.tuples(st.integers(1, 64), st.integers(0, 2**32 - 1)),
    st.none() | st.tuples(POSITIONS, st.integers(0, 10**20), POSITIONS),
    st.lists(st.tuples(POSITIONS, POSITIONS), max_size=8).map(tuple),
    st.frozensets(POSITIONS, max_size=50),
    st.none() | st.integers(-50_000, 50_000),
)


@given(CURSORS)
def test_a_cursor_comes_back(cursor: Cursor) -> None:
    """Written and read again."""
    assert Cursor.parse(cursor.render()) == cursor


def test_a_cursor_stays_short() -> None:
    """It has to fit into a URL: of very many rows the farthest are left out."""
    cursor = Cursor(10**9, (64, 5), told=frozenset(range(0, 10**9, 250_000)))
    content = cursor.render()
    assert len(Cursor.parse(content).told) == 1000
    signed = Seal("key", "0367", "192.0.2.10", "history").sign(content)
    assert len(signed) < MAX_CURSOR_CHARACTERS


def test_a_cursor_of_another_release_is_none() -> None:
    """It says nothing of where to go on: begin again."""
    with pytest.raises(Replaced):
        Cursor.parse(zlib.compress(b"[100,5,[]]"))
