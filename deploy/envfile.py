"""Reads a file of settings such as .env; nothing in it is ever executed. Pure.

A line is `NAME=what stands here, to the letter`, `NAME='likewise, over several lines too'`, or
`NAME="..."`, where a backslash takes their meaning from a quote, a backslash, a dollar and a
backtick, as in a shell. `export` may stand before it. A # at a line's begin, or after a space
that is not quoted, begins a comment.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import NamedTuple

_BLANK = re.compile(r"[ \t]*(?:#.*)?")
_NAME = re.compile(r"[ \t]*(?:export[ \t]+)?([A-Za-z_][A-Za-z0-9_]*)=")
_QUOTED = re.compile(r"""[ \t]*(?:'([^']*)'|"((?:[^"\\]|\\.)*)")""", re.DOTALL)
_BEGINS_QUOTED = re.compile(r"""[ \t]*['"]""")
_ESCAPED = re.compile(r'\\([\\"$`])')
_COMMENT = re.compile(r"[ \t]#.*")
# `A=1 B=2` sets both where a shell reads it; here it would be one strange value.
_SECOND = re.compile(r"[ \t][A-Z][A-Z0-9_]+=")


class Malformed(Exception):
    """A line is no setting; the text tells its number and what is wrong, never what it says."""


class Setting(NamedTuple):
    """A setting of the file."""

    name: str
    value: str


def parse(text: str) -> Iterator[Setting]:
    """Yield the settings in their order; of two with one name the later one holds.

    Raises:
        Malformed: what stands there is no setting.
    """
    text = text.removeprefix("\ufeff").replace("\r\n", "\n")
    begin, number = 0, 1
    while begin < len(text):
        end = _end_of_line(text, begin)
        if not _BLANK.fullmatch(text, begin, end):
            name = _NAME.match(text, begin, end)
            if name is None:
                raise _malformed(number, "must be NAME=VALUE, or a comment that begins with #")
            value, end = _value(text, name.end(), end, number)
            yield Setting(name[1], value)
        number += text.count("\n", begin, end + 1)
        begin = end + 1


def _value(text: str, begin: int, end: int, number: int) -> tuple[str, int]:
    """Read a value and where its line ends, which a quoted one may put off."""
    if _BEGINS_QUOTED.match(text, begin, end):
        quoted = _QUOTED.match(text, begin)
        if quoted is None:
            raise _malformed(number, "the quote is not closed")
        end = _end_of_line(text, quoted.end())
        if _COMMENT.sub("", text[quoted.end() : end]).strip(" \t"):
            raise _malformed(number, "something follows the closing quote")
        value = quoted[1] if quoted[2] is None else _ESCAPED.sub(r"\1", quoted[2])
    else:
        value = _COMMENT.sub("", text[begin:end]).strip(" \t")
        if _SECOND.search(value):
            raise _malformed(number, "a second NAME= follows: write one a line, or quote the value")
    if "\0" in value:
        raise _malformed(number, "no value has the character NUL")
    return value, end


def _end_of_line(text: str, begin: int) -> int:
    end = text.find("\n", begin)
    return len(text) if end < 0 else end


def _malformed(number: int, why: str) -> Malformed:
    return Malformed(f"line {number}: {why}")
