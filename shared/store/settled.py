"""Waiting for the settling of a call, which follows the answer to its placing.

In whichever process that is, some milliseconds later: whoever asks about the call right after that
answer does not find it behind what the answer said.
"""

from __future__ import annotations

import asyncio
from uuid import UUID

from shared.deadline import Deadline
from shared.store.calls import Call, get_call
from shared.store.database import Door

_FIRST_PAUSE_S, _LONGEST_PAUSE_S = 0.01, 0.5


async def get_settled(database: Door, enterprise: str, call_id: UUID, until: Deadline) -> Call:
    """Read one call of an enterprise, once it is no more being placed, or as it is in the end.

    Raises NoSuchCall.
    """
    pause_s = _FIRST_PAUSE_S
    while True:
        call = await get_call(database, enterprise, call_id)
        if call.phase != "placing" or not until.remaining_s():
            return call
        await asyncio.sleep(min(pause_s, until.remaining_s()))
        pause_s = min(2 * pause_s, _LONGEST_PAUSE_S)
