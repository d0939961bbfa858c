"""What a look at the service and its PBX hosts finds, and how it is told."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from typing import Literal, TypeAlias

State: TypeAlias = Literal["good", "bad", "warning", "skipped"]

MARKS: dict[State, str] = {"good": "✅", "bad": "❌", "warning": "⚠️", "skipped": "➖"}


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
        detail, remedy = self.detail.format(**gaps), self.remedy.format(**gaps)
        return Finding(self.name, self.state, detail, remedy)


def split_remedy(text: str, otherwise: str) -> tuple[str, str]:
    """Split a sentence that has its remedy behind a colon or semicolon; it may have none."""
    detail, *more = re.split("[:;] ", text, maxsplit=1)
    remedy = more[0] if more else otherwise
    return detail, remedy[:1].upper() + remedy[1:]


def as_lines(findings: Iterable[Finding]) -> Iterator[str]:
    """Write a line for each, as soon as it is found."""
    for finding in findings:
        remedy = f". {finding.remedy}" if finding.remedy else ""
        # A PBX chooses some of the words, and a terminal would obey them.
        yield _printable(f"{MARKS[finding.state]} {finding.name}: {finding.detail}{remedy}")


def as_json(findings: Iterable[Finding]) -> Iterator[str]:
    """Write an array, an element a line, as soon as it is found."""
    mark = "["
    for finding in findings:
        yield f"{mark}{json.dumps(asdict(finding), ensure_ascii=True)}"
        mark = ","
    yield "]" if mark == "," else "[]"


def _printable(text: str) -> str:
    words = " ".join(text.split())
    return "".join(c if c.isprintable() else "?" for c in words)
