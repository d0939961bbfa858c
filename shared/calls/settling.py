"""Recording what became of a placed call; where a process lives on, once its answer has gone out.

A process may die in between. The claim holds, so nothing rings twice, and whoever follows the host
finds the call and settles it: see shared/following/unsettled.py.
"""

from __future__ import annotations

import asyncio

from shared.auth import admission
from shared.auth.admission import Admitted, Settlement
from shared.deadline import Deadline
from shared.errors import DatabaseUnavailable
from shared.following.wake import Waker, the_waker
from shared.process import closed_by
from shared.settings import Settings, on_lambda, the_settings
from shared.store.database import Database, the_database
from shared.telemetry import LOG

_FIRST_PAUSE_S, _LONGEST_PAUSE_S = 0.1, 1.0
# How long the end of a process waits for it.
_CLOSING_S = 5.0


class Settler:
    """Settles the calls that this process has placed; `lives_on`: it goes on after an answer."""

    def __init__(
        self, settings: Settings, database: Database, waker: Waker, *, lives_on: bool
    ) -> None:
        self._settings = settings
        self._database = database
        self._waker = waker
        self._lives_on = lives_on
        self._under_way: set[asyncio.Task[None]] = set()

    async def settle_accepted(self, admitted: Admitted, settlement: Settlement) -> None:
        """Settle a call of which the answer is known; where that can be, once it has gone out.

        That is a task of this process's own, which begins when nobody is busy answering. A database
        that is away is asked again there, for as long as a claim may wait for its settling.
        """
        if self._lives_on:
            self._settle_later(admitted, settlement)
        else:
            await self.settle(admitted, settlement)

    def _settle_later(self, admitted: Admitted, settlement: Settlement) -> None:
        until = Deadline.after(self._settings.settled_within_s)
        settling = self.settle(admitted, settlement, until)
        task = asyncio.get_running_loop().create_task(settling)
        self._under_way.add(task)
        task.add_done_callback(self._under_way.discard)

    async def settle(
        self, admitted: Admitted, settlement: Settlement, until: Deadline | None = None
    ) -> None:
        """Record the outcome, and see to it that the call is followed.

        Without it the claim holds on, so a lost record never dials twice. `until`: asked again
        until then; None: once, and where that can be again after the answer, which waits no longer.
        """
        pause_s = _FIRST_PAUSE_S
        while True:
            try:
                tracked = await admission.settle(
                    self._database, self._settings, admitted.call_id, settlement
                )
            except DatabaseUnavailable:
                if until is not None and until.remaining_s():
                    await asyncio.sleep(min(pause_s, until.remaining_s()))
                    pause_s = min(2 * pause_s, _LONGEST_PAUSE_S)
                    continue
                if until is None and self._lives_on:
                    self._settle_later(admitted, settlement)
                    return
                LOG.error("⚠️ Исход звонка %s не записан: %s", admitted.call_id, settlement.outcome)
            except Exception:  # noqa: BLE001 - the answer is what became of the call
                LOG.exception("❌ Исход звонка %s не записан", admitted.call_id)
            else:
                if settlement.outcome != "not_executed":
                    await self._waker.see_followed(admitted.host, tracked=tracked)
            return

    async def close(self) -> None:
        """Let what is under way be recorded, as far as there is time; a tracker does the rest."""
        await self.wait(_CLOSING_S)
        for task in self._under_way:
            task.cancel()
        await asyncio.gather(*self._under_way, return_exceptions=True)

    async def wait(self, seconds: float) -> None:
        """Wait for what is under way, for so long."""
        if self._under_way:
            await asyncio.wait(self._under_way, timeout=seconds)


@closed_by(Settler.close)
def the_settler() -> Settler:
    """That of this process."""
    return Settler(the_settings(), the_database(), the_waker(), lives_on=not on_lambda())
