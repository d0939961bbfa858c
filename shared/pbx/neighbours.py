"""Which texts of `enterprises.ip` are one host: found out before anything depends on it.

PostgreSQL compares (`callapi.spellings`); names are looked up, and here hosts connected to, which
`Pbx` notes by itself. Nothing is ever sent to one host because it is treated as another.
"""

from __future__ import annotations

import asyncio

from shared.asterisk import client
from shared.deadline import Deadline
from shared.errors import HostUnverified
from shared.pbx.hosts import Pbx, the_pbx
from shared.pbx.names import Names, the_names
from shared.process import once

# How long one request waits for others' names; what is not known then is refused, and known soon.
_REQUEST_S = 5.0


class Neighbours:
    """Finds out what the sharing rules ask for."""

    def __init__(self, names: Names, pbx: Pbx) -> None:
        self._names = names
        self._pbx = pbx
        self._turn = asyncio.Lock()

    async def learn(self, host: str, deadline: Deadline) -> None:
        """Find out what must be known of a host before it can be told who shares it.

        It is connected to, which pins its key and tells its address and Asterisk; and the `ip` of
        every active enterprise is looked up, where nobody ever did.

        Raises:
            HostUnverified: there are too many to look up in time.
            PbxError: the host cannot be connected to.
        """
        until = deadline.sooner(_REQUEST_S)
        try:
            async with until.enforce():
                await self._turn.acquire()
        except TimeoutError:
            raise HostUnverified from None
        try:
            if not await self._names.look_up_new(until):
                raise HostUnverified
        finally:
            self._turn.release()
        await self._pbx.ask(host, client.ping, deadline)


@once
def the_neighbours() -> Neighbours:
    """Those of this process."""
    return Neighbours(the_names(), the_pbx())
