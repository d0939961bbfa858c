"""How texts and times are written in the language that a visitor reads."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

from shared.http.language import Language
from shared.panel.texts import TEXTS

Translate: TypeAlias = Callable[..., str]


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
