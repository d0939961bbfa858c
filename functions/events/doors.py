"""What the doors of streams have in common: who may come in, and what he listens to."""

from __future__ import annotations

import re
from collections.abc import AsyncGenerator, Mapping
from contextlib import asynccontextmanager
from typing import Any, Literal

from shared.auth.caller import Caller
from shared.auth.enterprise import Enterprise, identify
from shared.auth.under_way import the_waits
from shared.errors import FieldError, InvalidParameter
from shared.events.filters import AFTER_BELOW, Filters, parse_filters
from shared.events.hub import the_hub
from shared.events.listening import Listener, LookAfter
from shared.events.rights import the_rights
from shared.events.tickets import Grant
from shared.events.watching import watch
from shared.following.wake import the_waker
from shared.measures import being_there
from shared.settings import the_settings
from shared.store.database import the_database

# In a URL a secret would be in logs and histories for good; a ticket there is used by then.
_SECRETS = {"clientid", "client_id", "secret"}
_NUMBER = re.compile("[0-9]{1,19}")


def refuse_secrets(query: Mapping[str, str]) -> None:
    """Refuse a secret in a stream's URL.

    Raises:
        InvalidParameter: there is one.
    """
    for name in query:
        if name.lower() in _SECRETS:
            rule = "must not stand in a stream's URL; send it in a header, or use a ticket"
            raise InvalidParameter(FieldError("clientId", rule))


def refuse_filters(filters: Filters) -> None:
    """Refuse what would change what a ticket was given for. Raises InvalidParameter."""
    for name in filters.model_dump(exclude_none=True):
        rule = "must not come with a ticket, which was given for filters of its own"
        raise InvalidParameter(FieldError(name, rule))


def filters_in(query: Mapping[str, str]) -> Filters:
    """Read a stream's filters, all of which are text in a query. Raises InvalidParameter."""
    given: dict[str, Any] = dict(query)
    if "after" in given:
        given["after"] = number_in("after", given["after"])
    return parse_filters(given)


def number_in(field: str, text: str) -> int:
    """Read the number of an event. Raises InvalidParameter: it is none."""
    number = int(text) if _NUMBER.fullmatch(text) else AFTER_BELOW
    if number >= AFTER_BELOW:
        raise InvalidParameter(FieldError(field, "must be the number of an event"))
    return number


async def come_in(caller: Caller, filters: Filters) -> Enterprise:
    """Find out whose a secret is, and have its PBX watched where all of its calls are wanted.

    Raises:
        ServiceError: he may not, or it is not known.
    """
    database, sees_host = the_database().reads, filters.sees_host
    enterprise = await identify(database, the_settings(), caller, "reads", sees_host=sees_host)
    if sees_host:
        await watch(database, the_waker(), enterprise)
    return enterprise


@asynccontextmanager
async def listening(
    grant: Grant, filters: Filters, kind: Literal["websocket", "sse"]
) -> AsyncGenerator[tuple[Listener, LookAfter]]:
    """Listen until the block ends, and have one of the enterprise's places meanwhile.

    Raises:
        LimitExceeded: there is none.
        EventsGone: what follows is not kept any more, or was never told.
        DatabaseUnavailable: not known.
    """
    right = the_rights().of(grant)

    async def look_after() -> None:
        """Each 25 s, and before the first event."""
        await right.check(sees_host=filters.sees_host)

    async with the_waits().one_more(grant):
        hub, wanted = the_hub(), filters.wanted
        async with await Listener.begin(hub, grant.number, wanted, filters.after) as listener:
            with being_there("Listeners", kind=kind):
                yield listener, look_after
