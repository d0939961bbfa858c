"""One number, written otherwise: how a region's numbering plan lets it be dialled.

A table, since libphonenumber's costs 5.5 MB and a tenth of a second of a cold start. It says which
texts are one number; what is dialled stays as it was asked for.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

# E.164: with its country's code a number has so many digits; fewer are no subscriber's.
_FEWEST, _MOST = 8, 15


@dataclass(frozen=True, slots=True)
class Plan:
    """A country's `code`, the digits of its national numbers, what is dialled before them there.

    `trunks` lead to a national number, `abroad` to one with its country's code.
    """

    code: str
    digits: int
    trunks: tuple[str, ...]
    abroad: tuple[str, ...]

    def international(self, number: str) -> str:
        """Write a number with its + and country's code; one that the plan does not know as it is.

        National numbers are told by their length: a shorter one may be an extension, or 112.
        """
        if number.startswith("+"):
            return number
        for trunk in (*self.trunks, self.code, ""):
            rest = number.removeprefix(trunk)
            if number.startswith(trunk) and len(rest) == self.digits and rest[0] != "0":
                return f"+{self.code}{rest}"
        for before in self.abroad:
            rest = number.removeprefix(before)
            is_whole = _FEWEST <= len(rest) <= _MOST and rest[0] != "0"
            if number.startswith(before) and is_whole:
                return f"+{rest}"
        return number

    def spellings(self, number: str) -> Iterator[str]:
        """Yield a number as it is, and then every other text that means the same."""
        yield number
        whole = self.international(number)
        if not whole.startswith("+"):
            return
        plain = whole.removeprefix("+")
        others = [whole, plain, *(before + plain for before in self.abroad)]
        if plain.startswith(self.code):
            national = plain.removeprefix(self.code)
            others += [trunk + national for trunk in (*self.trunks, "")]
        # `84951234567` of +84951234567 is +74951234567 in Russia: another number.
        yield from (o for o in others if o != number and self.international(o) == whole)


# By ISO 3166; of each the numbers of its usual length.
PLANS = {
    "BY": Plan("375", 9, ("80", "8", "0"), ("810", "00")),
    "KZ": Plan("7", 10, ("8",), ("810", "00")),
    "LT": Plan("370", 8, ("0", "8"), ("00",)),
    "LV": Plan("371", 8, (), ("00",)),
    "PL": Plan("48", 9, (), ("00",)),
    "RU": Plan("7", 10, ("8",), ("810", "00")),
    "UA": Plan("380", 9, ("0", "80"), ("00",)),
}


def international(number: str, region: str) -> str:
    """Write a number as all its spellings in a region are; as it is where there is no region."""
    return PLANS[region].international(number) if region else number


def spellings(number: str, region: str) -> tuple[str, ...]:
    """List what means the same number in a region, itself first; itself alone without a region."""
    return tuple(PLANS[region].spellings(number)) if region else (number,)
