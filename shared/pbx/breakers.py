"""The breaker of a PBX that cannot be connected, shared by all processes through the database.

Each has its own in its pool, which it needs anyway; here it tells the others, and heeds what an
admission has read of them.
"""

from __future__ import annotations

from contextlib import suppress

from shared.errors import DatabaseUnavailable, NotExecuted, PbxError, recorded
from shared.settings import Settings
from shared.ssh.connection import Target
from shared.ssh.pool import Pool
from shared.store.breakers import Broken, tell_broken, tell_whole
from shared.store.database import Database
from shared.store.sqlstates import TextRefused
from shared.telemetry import LOG, of_pbx


class Breakers:
    """What this process tells and knows; none of it fails a request."""

    def __init__(self, settings: Settings, pool: Pool, database: Database) -> None:
        self._retry_s = settings.pbx_retry_s
        self._pool = pool
        self._database = database
        self._told: set[str] = set()  # hosts that others take for broken, as far as we know

    def heed(self, host: str, target: Target, broken: Broken | None) -> None:
        """Answer for a host at once, as others do; or be the one who tries it."""
        if broken is None:
            if host in self._told:  # somebody has connected it since
                self._told.discard(host)
                self._pool.forget(target)
            return
        self._told.add(host)
        failure = recorded(broken.code, broken.detail)
        if broken.is_tried:
            self._pool.forget(target)
        elif isinstance(failure, NotExecuted):
            self._pool.know(target, failure, broken.left_s)

    async def note_failure(self, host: str, target: Target, error: PbxError) -> None:
        """Tell the others of a failure to connect that was found out just now, by this request."""
        known = self._pool.failure(target)
        if known is None or known[0] is not error:
            return
        try:
            await tell_broken(
                *(self._database, host),
                code=error.code,
                detail=error.recorded_detail,
                retry_s=self._retry_s,
            )
        except (DatabaseUnavailable, TextRefused):
            LOG.warning(
                "⚠️ АТС %s: другим процессам не сказано, что она недоступна",
                host,
                extra=of_pbx(host),
            )
        else:
            self._told.add(host)

    async def note_connected(self, host: str) -> None:
        """Tell the others, where they may take the host for broken."""
        if host not in self._told:
            return
        self._told.discard(host)
        is_told = False
        try:
            with suppress(DatabaseUnavailable):
                await tell_whole(self._database, host)
                is_told = True
        finally:
            if not is_told:
                self._told.add(host)
