"""Which language a visitor of our pages reads."""

from __future__ import annotations

import re
from typing import Literal, TypeAlias

Language: TypeAlias = Literal["ru", "en"]

# A browser that asks for Belarusian is better off with Russian than with English.
_RUSSIAN = frozenset({"ru", "be"})
_WEIGHTED = re.compile(
    r"\s*([A-Za-z]{1,8})(?:-[A-Za-z0-9-]{1,40})?\s*(?:;\s*q=([01](?:\.[0-9]{1,3})?))?"
)
_MOST_LANGUAGES = 20


def language_of(accept: str) -> Language:
    """Choose by Accept-Language what it wants most, of two alike the first; else English."""
    wanted: list[tuple[float, Language]] = []
    for part in accept.split(",", _MOST_LANGUAGES)[:_MOST_LANGUAGES]:
        match = _WEIGHTED.fullmatch(part.rstrip())
        if match and (tag := match[1].lower()) in {*_RUSSIAN, "en"}:
            wanted.append((float(match[2] or 1), "en" if tag == "en" else "ru"))
    weight, language = max(wanted, key=lambda one: one[0], default=(0.0, "en"))
    return language if weight else "en"
