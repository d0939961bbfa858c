"""Whether whoever has a stream open may still have it: looked at again now and then."""

from __future__ import annotations

import asyncio
from weakref import WeakValueDictionary

from shared.deadline import Deadline
from shared.errors import DatabaseUnavailable, InvalidClientId
from shared.events.tickets import Grant
from shared.events.watching import keep_watched
from shared.following.wake import the_waker
from shared.process import once
from shared.store.database import Door, the_database
from shared.store.sqlstates import UNAVAILABLE

# A stream asks each 25 s: what it is told is never older than 50 s.
_KNOWN_FOR_S = 25.0
# Whoever waits behind one that has waited in vain has waited, too: they are hundreds, each silent
# meanwhile, and the end of the process would wait for the last of them.
_AWAY_S = 1.0

_HOST = "SELECT callapi.host_of(p_number => :number, p_digest => decode(:digest, 'hex')) AS host"


class Right:
    """That of all streams that one secret has opened: one of them asks for all."""

    def __init__(self, database: Door, grant: Grant) -> None:
        self._database = database
        self._grant = grant
        self._asking = asyncio.Lock()
        self._host = grant.host
        self._known_until = self._watched_until = self._away_until = Deadline.after(0)

    async def check(self, *, sees_host: bool = False) -> None:
        """Go on if the secret is still one of the enterprise's, and that is active.

        `sees_host`: its PBX is to be watched still.

        Raises:
            InvalidClientId: it is not.
            DatabaseUnavailable: not known.
        """
        async with self._asking:
            if self._away_until.remaining_s():
                raise DatabaseUnavailable(UNAVAILABLE)
            try:
                await self._renew(sees_host=sees_host)
            except DatabaseUnavailable:
                self._away_until = Deadline.after(_AWAY_S)
                raise

    async def _renew(self, *, sees_host: bool) -> None:
        number, digest = self._grant.number, self._grant.secret_digest
        if not self._known_until.remaining_s():
            rows = await self._database.run(_HOST, number=number, digest=digest)
            if rows[0]["host"] is None:
                raise InvalidClientId
            self._host = rows[0]["host"]
            self._known_until = Deadline.after(_KNOWN_FOR_S)
        if sees_host and not self._watched_until.remaining_s():
            await keep_watched(self._database, the_waker(), number, self._host)
            self._watched_until = Deadline.after(_KNOWN_FOR_S)


class Rights:
    """One for each secret that has a stream open; whoever has it open keeps it."""

    def __init__(self, database: Door) -> None:
        self._database = database
        self._rights: WeakValueDictionary[Grant, Right] = WeakValueDictionary()

    def of(self, grant: Grant) -> Right:
        """Find that of a grant."""
        return self._rights.setdefault(grant, Right(self._database, grant))


@once
def the_rights() -> Rights:
    """Those of this process."""
    return Rights(the_database().reads)
