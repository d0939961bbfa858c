"""The check of an enterprise's PBX at a click: a line for each finding, as soon as it is found."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import aclosing

from shared.errors import ServiceError
from shared.operate.check import find
from shared.operate.findings import as_lines
from shared.panel.language import Translate
from shared.panel.refusals import Refused, tell
from shared.panel.saying import Say
from shared.process import once
from shared.settings import Settings
from shared.store.database import Database

# A host that answers nothing has each of its steps time out, of which the last ones are skipped.
LIMIT_S = 90.0
_AT_ONCE = 2


@once
def the_places() -> asyncio.Semaphore:
    """So many checks run at once: each connects anew to the hosts that it looks at."""
    return asyncio.Semaphore(_AT_ONCE)


async def check(
    database: Database, settings: Settings, number: str, translate: Translate, say: Say
) -> AsyncIterator[str]:
    """Yield lines, each with its end. Raises Refused before the first: others are checking."""
    if the_places().locked():
        raise Refused("check_busy", status=409)
    return _lines(database, settings, number, translate, say)


async def _lines(
    database: Database,
    settings: Settings,
    number: str,
    translate: Translate,
    say: Say,
) -> AsyncIterator[str]:
    end = asyncio.get_running_loop().time() + LIMIT_S
    async with the_places(), aclosing(find(database, settings, number)) as findings:
        while True:
            try:
                # Not around a yield: the time in which nobody reads is another's to bound.
                async with asyncio.timeout_at(end):
                    finding = await anext(findings, None)
            except TimeoutError:
                yield f"➖ {translate('check_slow', seconds=int(LIMIT_S))}\n"
                return
            except ServiceError as error:
                _, said, remedy = tell(error, translate, say, database)
                yield f"❌ {said} {remedy}".rstrip() + "\n"
                return
            if finding is None:
                break
            for line in as_lines([finding], say):
                yield f"{line}\n"
    yield f"{translate('check_over')}\n"
