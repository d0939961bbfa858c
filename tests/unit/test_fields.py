"""Numbers as people write them, and what is dialled then."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import TypeAdapter, ValidationError

from shared.http.fields import (
    PHONE_IN_URL_PATTERN,
    PHONE_PATTERN,
    ExtensionText,
    PhoneInUrl,
    PhoneText,
)

BODY, URL, EXTENSION = map(TypeAdapter, (PhoneText, PhoneInUrl, ExtensionText))
RULE = "must be a phone number: 1 to 20 digits 0-9, with at most one leading +"


@pytest.mark.parametrize("edge", [BODY, URL], ids=["body", "url"])
@pytest.mark.parametrize(
    ("written", "dialled"),
    [
        ("80291234567", "80291234567"),
        ("8 (029) 123-45-67", "80291234567"),
        ("+375-29-123-45-67", "+375291234567"),
        ("+375\u00a029\u202f123\u200945\u300067", "+375291234567"),
        ("+375\u201029\u2011123\u201245\u201367", "+375291234567"),
        ("+375\u2014291\u2015234\u2212567", "+375291234567"),
        ("+375.29.123.45.67", "+375291234567"),
        ("(+375) 29 123-45-67", "+375291234567"),
        ("tel:+375-29-123-45-67", "+375291234567"),
        ("TEL:80291234567", "80291234567"),
        ("\u202a+375 29 123-45-67\u202c", "+375291234567"),
        ("\ufeff\u00a0+37529\u200b1234567 ", "+375291234567"),
        ("810 375 29 1234567", "810375291234567"),
        ("8 (0) 29 1234567", "80291234567"),
        ("1" * 20, "1" * 20),
    ],
)
def test_what_is_dialled_are_the_digits(edge: TypeAdapter[str], written: str, dialled: str) -> None:
    """And one leading +; what stands between them only helps the eye."""
    assert edge.validate_python(written) == dialled


def refusal(edge: TypeAdapter[str], written: str) -> str:
    """Why it is refused."""
    with pytest.raises(ValidationError) as refused:
        edge.validate_python(written)
    return str(refused.value.errors()[0]["ctx"]["error"])


@pytest.mark.parametrize("edge", [BODY, URL], ids=["body", "url"])
@pytest.mark.parametrize(
    ("written", "hint"),
    [
        *(
            (text, "")
            for text in ("", "+", "++375291234567", "+375+29", "375291234567+", "-1", ".")
        ),
        *((text, "") for text in ("150 доб 5", "CALL-ME", "*100#", "150*", "callto:150", "tel:")),
        *((text, "") for text in ("1" * 21, "150\n", "15\t0", "150,9", "150&151", "150@x")),
        ("tel:+375291234567;ext=12", "parameters such as ;ext= and ;phone-context= are not"),
        ("tel:1234567;phone-context=+375", "parameters such as ;ext= and ;phone-context= are not"),
        ("80291234567/68", "one number alone"),
        ("８０２９", "write its digits as 0-9"),
        ("٨٠٢٩", "write its digits as 0-9"),
        ("+375 (0) 29 1234567", "leave out the (0)"),
        ("+375(0)291234567", "leave out the (0)"),
    ],
)
def test_what_is_no_number_is_refused(edge: TypeAdapter[str], written: str, hint: str) -> None:
    """Nothing is guessed: neither an extension, nor which of two numbers, nor other digits."""
    why = refusal(edge, written)
    assert why.startswith(RULE)
    assert hint in why
    assert hint or why == RULE


@pytest.mark.parametrize("lost", [" 375291234567", "( 375) 29", "tel: 375291234567", "  8029"])
def test_a_plus_that_became_a_space_stays_wrong_in_a_url(lost: str) -> None:
    """Without it another number would be dialled; in a body a space is a space."""
    assert refusal(URL, lost).endswith("; encode + as %2B in a URL")
    assert BODY.validate_python(lost) == re.sub("[^0-9]", "", lost)


@pytest.mark.parametrize("written", ["1 50", "1-50", " 150", "150\u00a0", "(150)", "tel:150"])
def test_an_extension_is_its_digits_alone(written: str) -> None:
    """A program writes it, not a person."""
    assert refusal(EXTENSION, written).startswith("must be an internal extension")


@given(st.one_of(st.text(max_size=40), st.from_regex(PHONE_PATTERN, fullmatch=True)))
def test_any_text_is_refused_or_is_its_own_digits(text: str) -> None:
    """In their order, none added, none lost; and a + only where one stood before them."""
    try:
        number = BODY.validate_python(text)
    except ValidationError:
        return
    assert re.fullmatch("[+]?[0-9]{1,20}", number)
    assert number.removeprefix("+") == re.sub("[^0-9]", "", text)
    assert number.startswith("+") is ("+" in text)


@given(st.from_regex(PHONE_IN_URL_PATTERN, fullmatch=True))
def test_what_a_url_may_have_a_body_may(text: str) -> None:
    """As the API's description has it."""
    text = text.replace("0", "1")  # the 0 of home is the one thing that no pattern tells
    assert URL.validate_python(text) == BODY.validate_python(text)
