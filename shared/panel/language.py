"""Which language a visitor reads, and how texts and times are written in it."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Literal, TypeAlias

from shared.panel.texts import TEXTS

Language: TypeAlias = Literal["ru", "en"]
Translate: TypeAlias = Callable[..., str]

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


def translate_to(language: Language) -> Translate:
    """Return what writes a text: `t("restarted", pid=7)`."""
    which = 0 if language == "ru" else 1

    def translate(key: str, **values: object) -> str:
        text = TEXTS[key][which]
        return text.format(**values) if values else text

    return translate


def duration(translate: Translate, seconds: float) -> str:
    """Write a time in its two largest units."""
    left = max(0, int(seconds))
    parts: list[str] = []
    for key, size in (("days", 86_400), ("hours", 3600), ("minutes", 60), ("seconds", 1)):
        n, left = divmod(left, size)
        if n or (key == "seconds" and not parts):
            parts.append(translate(key, n=n))
        elif parts:
            break
    return " ".join(parts[:2])
