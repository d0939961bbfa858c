"""A table as CSV (RFC 4180), which spreadsheet programs open without harm."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterable, Sequence

_BYTE_ORDER_MARK = "\ufeff"
# A cell that begins so is a formula to them, some read full-width signs alike. A number with its
# plus is nothing but a number, and most of a call history is such numbers: they stay as they are.
_FORMULA = re.compile(r"[=+\-@\t\r\n\uff1d\uff0b\uff0d\uff20]")
_NUMBER = re.compile(r"[+-]?[0-9]+")


def render_sheet(
    head: Sequence[str], rows: Iterable[Sequence[object]], *, for_excel: bool = False
) -> str:
    """Write the table; None is an empty cell, a formula gets an apostrophe in front.

    Where a comma is the decimal sign Excel takes a semicolon for the separator, and without a byte
    order mark no text for UTF-8.
    """
    text = io.StringIO(_BYTE_ORDER_MARK if for_excel else "", newline="")
    text.seek(0, io.SEEK_END)
    writer = csv.writer(text, delimiter=";" if for_excel else ",")
    writer.writerow(head)
    writer.writerows([_cell(value) for value in row] for row in rows)
    return text.getvalue()


def _cell(value: object) -> str:
    text = "" if value is None else str(value)
    return f"'{text}" if _FORMULA.match(text) and not _NUMBER.fullmatch(text) else text
