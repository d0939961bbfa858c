"""Listening to all calls of a PBX: it is followed while anybody does, and for a while after."""

from __future__ import annotations

from shared.auth.enterprise import Enterprise
from shared.errors import HostUnverified
from shared.following.wake import Waker
from shared.store.database import Door
from shared.store.watches import renew

# Whoever asks again within this, or keeps a stream open, is a listener all the time.
WATCH_S = 90.0


async def watch(database: Door, waker: Waker, enterprise: Enterprise) -> None:
    """Have an enterprise's PBX followed for WATCH_S from now on; whoever listens does so in time.

    Raises:
        SharedHost: nobody said which of the PBX's extensions are this enterprise's.
        HostUnverified: whether that must be said is not known yet; it will be, by its tracker.
        DatabaseUnavailable: nobody may be following.
    """
    is_unverified = False
    try:
        enterprise.check_whole_host()
    except HostUnverified:
        is_unverified = True
    await keep_watched(database, waker, enterprise.number, enterprise.host)
    if is_unverified:
        raise HostUnverified


async def keep_watched(database: Door, waker: Waker, number: str, host: str) -> None:
    """Have it followed for as long again, for whoever was let in; its tracker ends what may not be.

    Raises DatabaseUnavailable.
    """
    renewed = await renew(database, number, host, hold_s=WATCH_S)
    if renewed.begun or not renewed.tracked:  # who listens on hurries no look
        await waker.see_followed(host, tracked=renewed.tracked)
