"""Telling of calls: one, a page of them, and those on the PBX that were not started here."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from datetime import datetime

from shared.asterisk.drivers import device_of
from shared.asterisk.models import PbxCall
from shared.auth.enterprise import Enterprise
from shared.deadline import Deadline
from shared.errors import HostUnverified, ViewUnavailable
from shared.following.wake import Waker
from shared.store import calls
from shared.store.calls import Call, Filter, Position
from shared.store.database import Door
from shared.store.views import ask_for_view, read_view

# As often as another process's tracker may write.
_POLL_S = 0.2
# How long a host is looked at for one who asked; a page that shows it asks again before.
_VIEW_HOLD_S = 15.0
_VIEW_WAIT_S = 5.0


@dataclass(frozen=True, slots=True)
class Page:
    """Some calls, the newest first; `next` is the cursor of those that follow."""

    calls: tuple[Call, ...]
    next: str | None


@dataclass(frozen=True, slots=True)
class OnPbx:
    """The calls that were on a PBX at one moment, the oldest first."""

    calls: tuple[PbxCall, ...]
    taken_at: datetime


async def load_page(
    database: Door, enterprise: Enterprise, wanted: Filter, *, limit: int, cursor: str | None
) -> Page:
    """Read a page of an enterprise's calls. Raises InvalidParameter: no cursor of its own."""
    seal = enterprise.seal("calls")
    before = None if cursor is None else Position.parse(seal.open(cursor))
    page = await calls.list_calls(database, enterprise.number, wanted, limit=limit, before=before)
    return Page(page.calls, seal.sign(page.next.render()) if page.next else None)


async def look_at_pbx(
    database: Door, waker: Waker, enterprise: Enterprise, deadline: Deadline
) -> OnPbx:
    """Have the host's tracker look, and tell what it saw of the enterprise's own.

    Raises SharedHost, HostUnverified, ViewUnavailable.
    """
    is_unverified = False
    try:
        enterprise.check_whole_host()
    except HostUnverified:
        is_unverified = True
    asked = await ask_for_view(database, enterprise.host, hold_s=_VIEW_HOLD_S)
    await waker.see_followed(enterprise.host, tracked=asked.tracked)
    if is_unverified:  # its tracker connects to it, and then it is known
        raise HostUnverified
    deadline = deadline.sooner(_VIEW_WAIT_S)
    view = await read_view(database, enterprise.host, asked.at)
    while not view.is_fresh and deadline.remaining_s():
        await asyncio.sleep(_POLL_S)
        view = await read_view(database, enterprise.host, asked.at)
    if not view.is_fresh or view.taken_at is None:
        cause = f": {view.error_code}" if view.error_code else ""
        raise ViewUnavailable(f"The PBX could not be looked at in time{cause}")
    own = (call for call in view.calls if _takes_part(call, enterprise.extensions))
    return OnPbx(tuple(own), view.taken_at)


def _takes_part(call: PbxCall, extensions: frozenset[str] | None) -> bool:
    """Tell whether a call is one of the extensions' own, by the names of its channels."""
    if extensions is None:
        return True
    devices = (device_of(leg.channel) for leg in call.channels)
    return not extensions.isdisjoint(device.extension for device in devices if device)
