"""What operators' commands say, in a visitor's language; they themselves speak English."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from types import ModuleType
from typing import TypeAlias

from shared.http.language import Language
from shared.operate import hostlines as english_hostlines
from shared.operate import lines as english_lines
from shared.operate.findings import Line, Words
from shared.panel import hostlines, lines
from shared.settings import READ_ON_THE_WAY

Say: TypeAlias = Callable[[str], str]


def _russian() -> dict[str, str]:
    texts = dict(lines.WORDS)
    pairs: tuple[tuple[ModuleType, dict[str, tuple[str, str]]], ...] = (
        (english_lines, lines.LINES),
        (english_hostlines, hostlines.LINES),
    )
    for module, translated in pairs:
        for name, (detail, remedy) in translated.items():
            line: Line = getattr(module, name)
            texts |= {line.detail: detail, line.remedy: remedy}
    for kind, english in english_hostlines.REMEDIES.items():
        texts[kind.code], texts[english] = hostlines.ERRORS[kind.code]
    texts[READ_ON_THE_WAY] = (
        "POSTGRES_TLS=off, а POSTGRES_HOST на другой машине: кто между ними, читает пароль и"
        " секреты предприятий"
    )
    return texts | hostlines.REASONS


# By the English template, or an error's code.
RUSSIAN = _russian()


def say_in(language: Language) -> Say:
    """Return what writes a text of a command's; what has no other language stays as it is."""
    return partial(_say, {} if language == "en" else RUSSIAN)


def _say(texts: dict[str, str], text: object) -> str:
    if not isinstance(text, Words):
        return texts.get(str(text), str(text))
    template = texts.get(text.template)
    if template is None:
        return str(text)
    return template.format(**{name: _say(texts, gap) for name, gap in text.gaps.items()})
