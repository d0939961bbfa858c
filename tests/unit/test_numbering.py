"""Which texts are one number, by a region's plan."""

from __future__ import annotations

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from shared.numbering import PLANS, international, spellings

ONE = ("+375291234567", "80291234567", "375291234567", "810375291234567", "00375291234567")
numbers = st.from_regex(r"[+]?[0-9]{1,20}", fullmatch=True)


@pytest.mark.parametrize("number", [*ONE, "0291234567", "8291234567", "291234567"])
def test_a_number_of_belarus_is_one_number(number: str) -> None:
    """By trunk prefix, by country code, by the way abroad."""
    assert international(number, "BY") == "+375291234567"
    assert set(ONE) <= set(spellings(number, "BY"))
    assert spellings(number, "BY")[0] == number


@pytest.mark.parametrize(
    ("region", "number", "whole"),
    [
        ("RU", "84951234567", "+74951234567"),
        ("RU", "74951234567", "+74951234567"),
        ("RU", "+84951234567", "+84951234567"),  # Vietnam's
        ("RU", "81084951234567", "+84951234567"),
        ("KZ", "87011234567", "+77011234567"),
        ("UA", "0501234567", "+380501234567"),
        ("PL", "601234567", "+48601234567"),
        ("LV", "21234567", "+37121234567"),
        ("LT", "061234567", "+37061234567"),
        ("BY", "0048601234567", "+48601234567"),
        ("BY", "81048601234567", "+48601234567"),
    ],
)
def test_other_plans_and_the_way_abroad(region: str, number: str, whole: str) -> None:
    """Each country's own trunk prefix and lengths."""
    assert international(number, region) == whole


@pytest.mark.parametrize(
    "number", ["112", "150", "150000", "8029", "80", "8", "0", "810", "00", "+8029", "8" * 20]
)
def test_what_the_plan_does_not_know_is_itself(number: str) -> None:
    """A short number, or one of no length that it has."""
    assert international(number, "BY") == number


def test_a_foreign_number_is_no_domestic_one() -> None:
    """Its digits are another number's, dialled at home: that one is not among its spellings."""
    assert "84951234567" not in spellings("+84951234567", "RU")
    assert "+84951234567" not in spellings("84951234567", "RU")


@pytest.mark.parametrize("number", ONE)
def test_without_a_region_a_text_is_itself_alone(number: str) -> None:
    """As the rules and repeats were before."""
    assert (international(number, ""), spellings(number, "")) == (number, (number,))


@pytest.mark.parametrize("region", PLANS)
@given(number=numbers)
@example("+375291234567")
@example("80291234567")
def test_spellings_are_one_family(region: str, number: str) -> None:
    """Whichever is dialled, the others are the same; none twice, and each is a number."""
    family = spellings(number, region)
    assert number in family
    assert len(set(family)) == len(family)
    assert {international(one, region) for one in family} == {international(number, region)}
    assert all(set(one.removeprefix("+")) <= set("0123456789") for one in family)
