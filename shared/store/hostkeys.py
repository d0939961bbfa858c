"""The SSH host keys that the database insists on: the first key of each host, until told otherwise.

A key is OpenSSH's public key text, `ssh-ed25519 AAAA...`, without a comment.
"""

from __future__ import annotations

from shared.store.database import Database

_FIND = "SELECT key FROM callapi.host_keys WHERE host = :host AND port = :port"

# Nothing here could change a key: the service's own database user need not be able to.
_PIN = """
INSERT INTO callapi.host_keys (host, port, key) VALUES (:host, :port, :key)
ON CONFLICT (host, port) DO NOTHING RETURNING key
"""


class PinnedKeys:
    """Host keys pinned on first use, the same for every process and Lambda environment."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def find(self, host: str, port: int) -> str | None:
        """The key that this host must show, None before its first connection."""
        rows = await self._database.run(_FIND, host=host, port=port)
        return str(rows[0]["key"]) if rows else None

    async def pin(self, host: str, port: int, key: str) -> str:
        """Pin `key` unless one is pinned; returns the key that holds, perhaps another's."""
        while True:
            rows = await self._database.run(_PIN, host=host, port=port, key=key)
            # One that is there already is seen by a statement of its own.
            rows = rows or await self._database.run(_FIND, host=host, port=port)
            if rows:  # else an operator forgot it between the two
                return str(rows[0]["key"])
