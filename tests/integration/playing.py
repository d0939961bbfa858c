"""The service as its users meet it: a real process, a port, a stand-in PBX that rings nobody."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

from demo.standin import StandIn
from tests.integration.service import environment, make_pbx, run_process, seed, until
from tests.postgres import Postgres

TALKS, IS_BUSY, NO_ANSWER, TALKS_ON = (f"+37529000000{digit}" for digit in "1235")
AGENT = "154"
# Phones ring for long enough that each phase is seen, by five looks a second.
TIME_SCALE = 0.3


@dataclass
class Play:
    """Where it is, and what is behind it."""

    url: str
    pbx: StandIn
    postgres: Postgres

    async def anew(self) -> None:
        """Begin as if nothing had been: what an earlier test has left open is over first.

        The process follows calls; one that vanished under it would cost the next test seconds.
        """
        self.pbx.hang_up_all()
        await until(lambda: not self._open())
        seed(self.postgres)
        self.pbx.invites.clear()
        self.pbx.time_scale = TIME_SCALE

    def _open(self) -> int:
        sql = "SELECT count(*) AS n FROM callapi.calls WHERE phase <> 'ended'"
        return int(self.postgres.execute(sql)[0]["n"])


@contextlib.asynccontextmanager
async def playing(postgres: Postgres, folder: Path, **settings: str) -> AsyncIterator[Play]:
    """Run it until the block ends; one enterprise is there."""
    seed(postgres)
    async with make_pbx(time_scale=TIME_SCALE) as pbx:
        own = environment(postgres, pbx.port, str(folder / "service.log")) | settings
        async with run_process(folder, own) as process:
            yield Play(process.url, pbx, postgres)
