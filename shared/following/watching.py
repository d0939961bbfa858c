"""The calls of a host that began elsewhere, followed while anybody listens to them.

What is known of them the database has, too: whoever goes on after this one tells their ends. It is
loaded at the first look, and again whenever it is not certain what was written.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping
from dataclasses import dataclass

from shared.asterisk.elsewhere import MOST_CHANGES, Elsewhere, observe_elsewhere
from shared.asterisk.listing import Listing
from shared.asterisk.models import CallElsewhere, Channel
from shared.settings import Settings
from shared.store.leases import Lease
from shared.telemetry import LOG, of_pbx

# News of a hostile PBX are not endless: a busy one has some in a second.
_CHANGES_PER_S = 50.0
# Between two looks, more than these may take: calls were missed then, as in a process that stood.
_MISSED_S = 10.0
# What takes longer than a few milliseconds is not for the loop.
_MANY_CHANNELS = 500


@dataclass(frozen=True, slots=True)
class Seen:
    """One look: all channels, whose call each one belongs to, the roots of our own calls."""

    channels: tuple[Channel, ...]
    linkedids: Mapping[str, str]
    ours: frozenset[str]


class Watching:
    """What one tracker knows of its host's calls that began elsewhere."""

    def __init__(self, lease: Lease, settings: Settings) -> None:
        self._lease = lease
        self._digits = settings.extension_digits
        self._may_share = settings.shared_hosts == "allow"
        self._calls: dict[str, CallElsewhere] = {}
        self._is_loaded = False
        self._unwatched = frozenset[str]()
        self._ours = frozenset[str]()
        self._allowance = float(MOST_CHANGES)
        self._allowed_at = time.monotonic()
        self._told_at = time.monotonic()
        self._is_overflow_told = False

    @property
    def rings(self) -> bool:
        """Whether somebody's phone rings: then the next look is soon."""
        return any(call.phase == "ringing" for call in self._calls.values())

    def forget(self) -> None:
        """Nobody listens, or nobody could look: go on later from what the database has."""
        self._calls, self._is_loaded = {}, False

    async def tell(self, seen: Seen | None, error_code: str | None) -> bool:
        """Write what a look has seen, or why it has failed; False: another one has the host.

        Raises DatabaseUnavailable: what was written is loaded the next time.
        """
        if seen is not None and time.monotonic() - self._told_at > _MISSED_S:
            self._is_loaded = False
        if not self._is_loaded and not await self._load(error_code):
            return False
        if seen is None:
            return error_code is None or await self._write(None, error_code)
        return await self._write(await self._observe(seen), None)

    async def _load(self, error_code: str | None) -> bool:
        told = await self._lease.tell_elsewhere(
            (), error_code=error_code, may_share=self._may_share, load=True
        )
        if told is None:
            return False
        self._calls = {call.root_uniqueid: call for call in told.known or ()}
        self._unwatched = frozenset(self._calls)
        self._is_loaded = True
        return True

    async def _observe(self, seen: Seen) -> Elsewhere:
        now_s = time.monotonic()
        self._allowance = min(
            MOST_CHANGES, self._allowance + _CHANGES_PER_S * (now_s - self._allowed_at)
        )
        self._allowed_at = now_s
        at_s, ours = time.time(), self._ours | seen.ours

        def observe() -> Elsewhere:
            return observe_elsewhere(
                self._calls,
                Listing(seen.channels, seen.linkedids),
                at_s,
                ours=ours,
                unwatched=self._unwatched,
                digits=self._digits,
                most_changes=int(self._allowance),
            )

        is_long = len(seen.channels) > _MANY_CHANNELS
        now = await asyncio.to_thread(observe) if is_long else observe()
        self._allowance -= len(now.changes)
        self._tell_of_left_out(now.left_out)
        live = {seen.linkedids.get(c.uniqueid, c.uniqueid) for c in seen.channels}
        self._ours &= live
        return now

    async def _write(self, now: Elsewhere | None, error_code: str | None) -> bool:
        at_s = time.time()
        changes = () if now is None else now.changes
        self._is_loaded = False  # unless it is certain what was written
        told = await self._lease.tell_elsewhere(
            [(call, max(0.0, at_s - call.began_at)) for call in changes],
            error_code=error_code,
            may_share=self._may_share,
            load=False,
        )
        if told is None:
            return False
        self._is_loaded = True
        if now is None:
            self._unwatched = frozenset(self._calls)
        else:
            self._told_at = time.monotonic()
            self._unwatched = frozenset()
            self._ours |= told.ours
            refused = told.ours | told.held
            self._calls = {root: c for root, c in now.calls.items() if root not in refused}
        return True

    def _tell_of_left_out(self, calls: int) -> None:
        if calls and not self._is_overflow_told:
            LOG.warning(
                "⚠️ Трекер %s: чужих звонков больше, чем можно показать, пропущено: %d",
                *(self._lease.host, calls),
                extra=of_pbx(self._lease.host),
            )
        self._is_overflow_told = bool(calls)
