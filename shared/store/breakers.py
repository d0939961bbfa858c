"""Which PBXs could not be connected, as all processes know it: each tells, admissions read."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from shared.store.database import Database

_TELL = """
INSERT INTO callapi.broken_hosts AS b (host, code, detail, until)
VALUES (:host, :code, :detail, clock_timestamp() + make_interval(secs => :retry_s))
ON CONFLICT (host) DO UPDATE
  SET code = EXCLUDED.code, detail = EXCLUDED.detail, until = EXCLUDED.until, prober = NULL
WHERE b.prober IS NOT NULL OR b.until <= clock_timestamp() - interval '5 minutes'
"""
_CLEAR = "DELETE FROM callapi.broken_hosts WHERE host = :host"


@dataclass(frozen=True, slots=True)
class Broken:
    """Why a PBX could not be connected, by its error's code and detail.

    For `left_s` seconds nobody is to try; `is_tried`: but the one who was told this.
    """

    code: str
    detail: str
    left_s: float
    is_tried: bool


def parse_broken(told: dict[str, Any] | None) -> Broken | None:
    """Read what `callapi.broken` answers."""
    return None if told is None else Broken(**told | {"left_s": float(told["left_s"])})


async def tell_broken(
    database: Database, host: str, *, code: str, detail: str, retry_s: float
) -> None:
    """Let all know that a PBX was tried just now, in vain; nobody is to try for `retry_s`.

    Only the failure of one whose turn it is to try prolongs that: a follower whose network has lost
    a PBX tries it again and again, and would keep the others from it nearly always.
    """
    await database.run(_TELL, host=host, code=code, detail=detail, retry_s=retry_s)


async def tell_whole(database: Database, host: str) -> None:
    """Let all know that it is connected."""
    await database.run(_CLEAR, host=host)
