"""What a repeat is told: how far the call is that it repeats. Nothing is dialled, come what may."""

from __future__ import annotations

import asyncio

from shared.asterisk.models import Phase, Reason
from shared.auth.admission import Admitted
from shared.auth.under_way import execution_to_wait
from shared.deadline import Deadline
from shared.errors import DatabaseUnavailable, recorded
from shared.store.calls import Beginning, load_beginning
from shared.store.database import Database

_FIRST_PAUSE_S, _LONGEST_PAUSE_S = 0.05, 0.5


async def how_far(
    database: Database, admitted: Admitted, deadline: Deadline, *, longest_request_s: float
) -> tuple[Phase, Reason | None]:
    """Tell the phase of a repeated call; one that is still being placed is waited for.

    A call that nobody has settled for longer than a request may take will not be: it is unknown.

    Raises:
        ServiceError: why the call that was waited for was not placed, as its own caller is told.
    """
    if admitted.state != "placing":
        return admitted.phase, admitted.reason
    async with execution_to_wait(admitted.enterprise_number) as may_wait:
        until = deadline if may_wait else Deadline.after(0)
        beginning = await _settled(database, admitted, until, longest_request_s)
    if beginning is None:
        return "placing", None
    if beginning.error_code and beginning.phase in {"unknown", "ended"}:
        error = recorded(beginning.error_code, beginning.error_detail)
        if error is not None:
            raise error
    return beginning.phase, beginning.reason


async def _settled(
    database: Database, admitted: Admitted, deadline: Deadline, longest_request_s: float
) -> Beginning | None:
    """Wait until a call was settled, in whichever process; None: not by the deadline."""
    pause_s = _FIRST_PAUSE_S
    while deadline.remaining_s():
        await asyncio.sleep(min(pause_s, deadline.remaining_s()))
        pause_s = min(2 * pause_s, _LONGEST_PAUSE_S)
        try:
            beginning = await load_beginning(
                database, admitted.call_id, longest_request_s=longest_request_s
            )
        except DatabaseUnavailable:
            continue  # the claim holds on; what became of the call may yet be told
        if beginning.phase != "placing":
            return beginning
    return None
