"""What a PBX may say, odd or hostile, and whether what is made of it can be kept."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import fields, is_dataclass
from datetime import datetime
from uuid import UUID

from hypothesis import strategies as st

PIECES = (
    *(
        b"\0",
        b"\xff\xfe",
        b"\xed\xa0\x80",
        b"!",
        b"\n",
        b"\r\n",
        b'"',
        b",",
        b"'",
        b"\\",
        b" ",
        b"%",
    ),
    *(
        b"\x0c",
        b"\xe2\x80\xa8",
        b"\xef\xbb\xbf",
        b"(None)",
        b"-1",
        b"0",
        b"1e9",
        b"\xd9\xa1",
        b"9" * 5000,
    ),
    *(
        b"99999999999",
        b"2147483648",
        b"Local/150@inoffice-",
        b";1",
        b";2",
        b"SIP/150-0000002a",
        b"<ZOMBIE>",
    ),
    *(
        b"Up",
        b"Ringing",
        b"Dial",
        b"17.2",
        b"LinkedID: ",
        b"Mode: ",
        b"csv\n",
        b"Endpoint:",
        b"Addr->IP : ",
    ),
    *(
        b"2026-11-26 10:00:00",
        b"0001-01-01",
        b"9999-12-31T23:59:59",
        b"2026-13-40",
        b"ANSWERED",
        b"a" * 9000,
    ),
    *(
        b"host/1/",
        b"System uptime: ",
        b"No such command '",
        b"Include => '",
        b" 1. ",
        b"1795380194.1",
    ),
)
ANY_BYTES = st.one_of(
    st.binary(max_size=300),
    st.lists(st.sampled_from(PIECES), max_size=30).map(b"".join),
)
_ODD_TEXT = st.one_of(st.sampled_from(PIECES), st.binary(max_size=12))
# Rows of a list of channels, and of call records, that are right but for what they hold.
ROWS = st.lists(_ODD_TEXT, min_size=14, max_size=15).map(lambda texts: b"!".join(texts) + b"\n")
RECORDS = st.lists(_ODD_TEXT, min_size=16, max_size=18).map(lambda texts: b",".join(texts) + b"\n")
NOISE = st.lists(st.one_of(ANY_BYTES, ROWS, RECORDS), max_size=6).map(
    lambda parts: b"".join(part + b"\n" for part in parts)
)

_MOST = 2**31


def check_storable(value: object) -> None:
    """Fail where PostgreSQL would refuse a value, in a column or in a jsonb."""
    match value:
        case str():
            value.encode()  # no half of a pair
            assert "\0" not in value
        case bool() | None | UUID() | datetime():
            pass
        case int():
            assert -_MOST <= value < _MOST
        case float():
            assert math.isfinite(value)
        case Mapping():
            for name, part in value.items():
                check_storable(name)
                check_storable(part)
        case Sequence():
            for part in value:
                check_storable(part)
        case _:
            assert is_dataclass(value), value
            for each in fields(value):
                check_storable(getattr(value, each.name))
