"""Who did what, as the audit has it: the newest, or what one word of a search finds."""

from __future__ import annotations

import re
from contextlib import suppress
from uuid import UUID

from shared.numbering import spellings
from shared.settings import Settings
from shared.store.audit import Note, Noted, list_all_notes
from shared.store.database import Door

_MOST = 200


async def list_deeds(database: Door, settings: Settings, wanted: str) -> tuple[Note, ...]:
    """List notes, the newest first: of a call_id, a number or extension, or an actor."""
    page = await list_all_notes(database, _noted(wanted.strip(), settings), limit=_MOST)
    return page.notes


def _noted(wanted: str, settings: Settings) -> Noted:
    """Whatever the word may be: a program's users may well have numbers, or ids as calls have."""
    if not wanted:
        return Noted()
    about = [wanted]
    with suppress(ValueError):
        about.append(str(UUID(wanted)))
    if re.fullmatch("[+]?[0-9]{1,20}", wanted):
        about += spellings(wanted, settings.region)
    return Noted(about=tuple(about))
