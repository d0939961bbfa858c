"""Moments, as an operator writes and reads them."""

from __future__ import annotations

import argparse
import re
from datetime import UTC, datetime, timedelta

SINCE = "2026-12-31: the beginning of that day, UTC; or 2026-12-31T18:00:00+03:00"
UNTIL = "2026-12-31: the end of that day, UTC; or 2026-12-31T18:00:00+03:00"


def since(text: str) -> datetime:
    """Read a moment from which on something is asked."""
    return _read(text, SINCE, timedelta())


def until(text: str) -> datetime:
    """Read a moment at which something ends."""
    return _read(text, UNTIL, timedelta(days=1))


def shown(moment: datetime) -> str:
    """Write a moment."""
    return f"{moment.astimezone(UTC):%Y-%m-%d %H:%M:%S} UTC"


def _read(text: str, rule: str, into_day: timedelta) -> datetime:
    try:
        moment = datetime.fromisoformat(text)
        if re.fullmatch("[0-9]{4}-[0-9]{2}-[0-9]{2}", text, re.ASCII):
            return moment.replace(tzinfo=UTC) + into_day
        if moment.tzinfo is not None:
            return moment.astimezone(UTC)
    except (ValueError, OverflowError):
        pass
    raise argparse.ArgumentTypeError(f"must be {rule}")
