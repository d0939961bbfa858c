"""What whoever writes events does after its commit, where WebSockets are told them.

Imports nothing of it where they are not: a cold start would pay for that.
"""

from __future__ import annotations

from typing import Any

from shared.settings import the_settings

# What an answer may be held up by at most, and what is left of the invocation's time after it.
_WITHIN_S, _RESERVE_S = 2.0, 0.5


async def put_due(within_s: float, *, all_of_them: bool = False) -> None:
    """Put what is due, and fail nobody; with `all_of_them` of all who listen, in silence too."""
    if not the_settings().outbox_table or within_s <= 0:
        return
    from shared.push.relaying import the_relay  # noqa: PLC0415 - needed here only

    await the_relay().put_due(within_s, all_of_them=all_of_them)


async def after_answer(context: Any) -> None:
    """Put what is due before an answer goes out, after which nothing runs on AWS."""
    left_s = context.get_remaining_time_in_millis() / 1000 - _RESERVE_S
    await put_due(min(_WITHIN_S, left_s))
