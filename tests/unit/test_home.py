"""The first page, in both languages: what it says of the numbers, and that it is one page."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from demo.numbers import AGENTS, CUSTOMERS

STATIC = Path(__file__).parents[2] / "shared" / "description" / "static"
PAGES = {name: (STATIC / f"home.{name}.html").read_text("utf-8") for name in ("en", "ru")}


@pytest.mark.parametrize("language", PAGES)
def test_the_numbers_are_those_of_the_stand_in(language: str) -> None:
    """Each with what its phone does and how a call ends, in the page's language."""
    row = r'value="([^"]+)"[^>]*>\1</label></td><td>([^<]*)</td><td><code>(\w+)</code>'
    expected = [
        (n.number, n.does_ru if language == "ru" else n.does, n.ends) for n in (*AGENTS, *CUSTOMERS)
    ]
    assert re.findall(row, PAGES[language]) == expected


def test_both_languages_have_the_same_parts() -> None:
    """Tags, addresses and what a script finds are alike; only words differ."""
    shapes = [
        re.sub(
            r'(lang|hreflang|href="\?lang)="?(en|ru)"?', r"\1", "".join(re.findall("<[^>]+>", page))
        )
        for page in PAGES.values()
    ]
    assert shapes[0] == shapes[1]
    assert len(shapes[0]) > 1000
