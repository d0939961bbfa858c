"""Tables as CSV."""

from __future__ import annotations

import csv
import io

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.http.sheet import render_sheet


def test_a_table() -> None:
    """A header, CRLF, quotes where they are needed, nothing for None."""
    text = render_sheet(["a", "b"], [[1, None], ['say "x"', "y,z"]])
    assert text == 'a,b\r\n1,\r\n"say ""x""","y,z"\r\n'


def test_a_table_for_excel() -> None:
    """With a byte order mark, semicolons and CRLF; a comma needs no quotes, a semicolon does."""
    text = render_sheet(["a", "b"], [["Жданович", "y,z"], ["1;2", None]], for_excel=True)
    assert text == '\ufeffa;b\r\nЖданович;y,z\r\n"1;2";\r\n'


def test_a_formula_is_mere_text_to_excel_too() -> None:
    """Behind a semicolon as behind a comma."""
    assert render_sheet(["a"], [["=1+1"]], for_excel=True) == "\ufeffa\r\n'=1+1\r\n"


@pytest.mark.parametrize(
    "value",
    [
        *("=1+1", "+1+1", "-cmd", "@SUM(A1)", "\t=1", "\r=1", "\n=1", "+", "-"),
        *("\uff1d1", "\uff0b1+1", "\uff0d1", "\uff20A1"),
    ],
)
def test_a_formula_is_mere_text(value: str) -> None:
    """An apostrophe stands before what a spreadsheet would execute."""
    ((cell,),) = list(csv.reader(io.StringIO(render_sheet(["a"], [[value]]), newline="")))[1:]
    assert cell == f"'{value}"


@pytest.mark.parametrize("value", ["+375291234567", "-5", "150", "a=b", "x@y"])
def test_a_number_keeps_its_plus(value: str) -> None:
    """To a spreadsheet it is a number, whatever its sign."""
    assert render_sheet(["a"], [[value]]) == f"a\r\n{value}\r\n"


@given(st.lists(st.text(), min_size=1, max_size=4))
def test_no_cell_begins_like_a_formula(row: list[str]) -> None:
    """But for numbers; and every cell comes back."""
    text = render_sheet(["x"] * len(row), [row])
    (_, *rows) = csv.reader(io.StringIO(text, newline=""))
    cells = rows[0] if rows else row
    for cell, value in zip(cells, row, strict=True):
        assert cell in {value, f"'{value}"}
        assert cell.lstrip("+-").isdecimal() or not cell.startswith(("=", "+", "-", "@", "\t"))
