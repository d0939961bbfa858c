"""Ending calls that last longer than MAX_CALL_S, counted from their placing."""

from __future__ import annotations

import time
from collections.abc import Container, Iterable
from dataclasses import dataclass
from uuid import UUID

from shared.asterisk.ending import Ending
from shared.deadline import Deadline
from shared.errors import ServiceError
from shared.pbx.hosts import Pbx
from shared.store.followed import FollowedCall
from shared.telemetry import LOG, of_call, of_pbx

# A turn of a tracker must not outlast its lease: the others' turn is the next one.
_AT_ONCE = 3
_TIMEOUT_S = 3.0
# Ten minutes in all, then an operator has to look.
_ATTEMPTS = 8
_FIRST_PAUSE_S, _LONGEST_PAUSE_S = 5.0, 300.0


@dataclass(slots=True)
class _Attempts:
    made: int = 0
    again_at: float = 0.0
    may_be_sent: bool = False


class Cutting:
    """Ends the calls of one host that last too long; `longest_s` of None: none does.

    Only what is known to be a call's own channel is hung up, so a call whose root is not known goes
    on. A call that goes on after a hang-up is hung up again, some times, later each time.
    """

    def __init__(self, host: str, pbx: Pbx, longest_s: float | None) -> None:
        self._host = host
        self._pbx = pbx
        self._longest_s = longest_s
        self._attempts: dict[UUID, _Attempts] = {}

    def due(self, calls: Iterable[FollowedCall], gone: Container[UUID]) -> tuple[FollowedCall, ...]:
        """Choose the calls to end now; `gone` have no channel left at the PBX."""
        longest_s = self._longest_s
        if longest_s is None:
            return ()
        long = [call for call in calls if call.age_s > longest_s and _is_live(call, gone)]
        known = {call.call_id for call in long}
        self._attempts = {one: made for one, made in self._attempts.items() if one in known}
        return tuple(call for call in long if self._is_due(call))[:_AT_ONCE]

    def _is_due(self, call: FollowedCall) -> bool:
        attempts = self._attempts.get(call.call_id)
        if attempts is None:  # another tracker may just have sent it
            return call.cut_s is None or call.cut_s > _FIRST_PAUSE_S
        if time.monotonic() < attempts.again_at:
            return False
        if attempts.made == _ATTEMPTS:
            attempts.again_at = float("inf")
            with of_call(call.call_id):
                LOG.error(
                    "❌ Звонок %s на %s дольше MAX_CALL_S и не завершается; больше не пытаемся",
                    *(call.call_id, self._host),
                    extra=of_pbx(self._host),
                )
        return attempts.made < _ATTEMPTS

    async def end(self, call: FollowedCall) -> bool:
        """Hang a call up; False if that was certainly not sent, neither now nor before."""
        with of_call(call.call_id):
            return await self._end(call)

    async def _end(self, call: FollowedCall) -> bool:
        assert call.root is not None  # noqa: S101 - checked by _is_live
        before = call.cut_s is not None
        attempts = self._attempts.setdefault(call.call_id, _Attempts(may_be_sent=before))
        attempts.again_at = time.monotonic() + min(
            _FIRST_PAUSE_S * 2**attempts.made, _LONGEST_PAUSE_S
        )
        attempts.made += 1
        ending = Ending(call.root, call.legs)
        try:
            await self._pbx.ask(self._host, ending, Deadline.after(_TIMEOUT_S))
        except ServiceError as error:
            LOG.warning(
                "⚠️ Звонок %s на %s дольше MAX_CALL_S, завершить не удалось (%d): %s",
                *(call.call_id, self._host, attempts.made, error),
                extra=of_pbx(self._host),
            )
        if ending.is_done:
            LOG.warning(
                "✂️ Звонок %s на %s завершён: дольше MAX_CALL_S (%g с)",
                *(call.call_id, self._host, self._longest_s),
                extra=of_pbx(self._host),
            )
        attempts.may_be_sent |= ending.may_be_sent
        return attempts.may_be_sent


def _is_live(call: FollowedCall, gone: Container[UUID]) -> bool:
    has_begun = call.phase not in {"placing", "unknown", "ended"}
    return has_begun and call.root is not None and call.call_id not in gone
