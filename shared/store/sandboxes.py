"""The sandboxes: hosts that are a stand-in, which rings nobody, in the place of a PBX."""

from __future__ import annotations

from dataclasses import dataclass

from shared.store.database import Database

_FIND = "SELECT port FROM callapi.sandboxes WHERE host = :host"


@dataclass(frozen=True, slots=True)
class Sandbox:
    """A stand-in of one enterprise, and where it listens."""

    enterprise: str
    host: str
    port: int


async def find_port(database: Database, host: str) -> int | None:
    """Find the port of a host that is a sandbox; None: it is a PBX, on SSH_PORT.

    Raises DatabaseUnavailable: not known, so nothing may be connected.
    """
    rows = await database.run(_FIND, host=host)
    return int(rows[0]["port"]) if rows else None
