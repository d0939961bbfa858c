"""What a look at the service and its PBX hosts finds, and how it is told."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, fields
from typing import Literal, TypeAlias

from shared.errors import ServiceError

State: TypeAlias = Literal["good", "bad", "warning", "skipped"]

MARKS: dict[State, str] = {"good": "✅", "bad": "❌", "warning": "⚠️", "skipped": "➖"}


class Words(str):
    """A text, and what it was made of: whoever tells it in another language fills that anew.

    `template` names the text where a language has another one; `gaps` fill both.
    """

    __slots__ = ("gaps", "template")

    template: str
    gaps: dict[str, object]

    @classmethod
    def of(cls, template: str, **gaps: object) -> Words:
        """Fill a template, as of `str.format`."""
        return cls.named(template, template.format(**gaps), **gaps)

    @classmethod
    def named(cls, template: str, text: str, **gaps: object) -> Words:
        """Have a text stand for a template that is not its own."""
        words = cls(text)
        words.template, words.gaps = template, gaps
        return words


def reason_of(error: ServiceError) -> Words:
    """Write why something failed: by its code, in a language that is not the service's own."""
    return Words.named(error.code, error.reason, reason=error.reason)


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was looked at, and the sentence that helps where it is not good.

    `enterprise` is the number of the one whose PBX it is about; empty: all of them.
    """

    name: str
    state: State
    detail: str
    remedy: str = ""
    enterprise: str = ""


@dataclass(frozen=True, slots=True)
class Line:
    """What may be found: a finding whose detail and remedy have gaps, as of `str.format`."""

    name: str
    state: State
    detail: str
    remedy: str = ""

    def __call__(self, **gaps: object) -> Finding:
        """Fill the gaps; of those that are given some may not be asked for."""
        detail, remedy = Words.of(self.detail, **gaps), Words.of(self.remedy, **gaps)
        return Finding(self.name, self.state, detail, remedy)


def split_remedy(text: str, otherwise: str) -> tuple[str, str]:
    """Split a sentence that has its remedy behind a colon or semicolon; it may have none."""
    detail, *more = re.split("[:;] ", text, maxsplit=1)
    remedy = more[0] if more else otherwise
    return detail, remedy[:1].upper() + remedy[1:]


def as_lines(findings: Iterable[Finding], say: Callable[[str], str] = str) -> Iterator[str]:
    """Write a line for each, as soon as it is found; `say` writes each text in a language."""
    for finding in findings:
        remedy = f". {say(finding.remedy)}" if finding.remedy else ""
        name, detail = say(finding.name), say(finding.detail)
        # A PBX chooses some of the words, and a terminal would obey them.
        yield _printable(f"{MARKS[finding.state]} {name}: {detail}{remedy}")


def as_json(findings: Iterable[Finding]) -> Iterator[str]:
    """Write an array, an element a line, as soon as it is found."""
    mark = "["
    for finding in findings:
        told = {field.name: str(getattr(finding, field.name)) for field in fields(finding)}
        yield f"{mark}{json.dumps(told, ensure_ascii=True)}"
        mark = ","
    yield "]" if mark == "," else "[]"


def _printable(text: str) -> str:
    words = " ".join(text.split())
    return "".join(c if c.isprintable() else "?" for c in words)
