"""Whether calls can be placed: settings, database, and the enterprises' PBX hosts end to end."""

from __future__ import annotations

import argparse
import asyncio
import contextlib
from collections import Counter
from collections.abc import AsyncGenerator, AsyncIterator, Iterable, Iterator
from dataclasses import replace
from datetime import UTC

from shared.auth.weaknesses import GOOD_SECRET_CHARACTERS, is_guessable, opened_hosts
from shared.deadline import Deadline
from shared.errors import DatabaseUnavailable, SchemaMissing
from shared.operate import hostlines, lines
from shared.operate.command import Add, OperatorError, explain, nearest
from shared.operate.findings import Finding, Words, as_json, as_lines, split_remedy
from shared.operate.hosts import HostCheck
from shared.pbx.hosts import Pbx, open_pbx
from shared.pbx.names import Names
from shared.settings import READ_ON_THE_WAY, Settings, doubts
from shared.store.database import Database
from shared.store.enterprises import ListedEnterprise, list_enterprises
from shared.store.hostkeys import PinnedKeys
from shared.store.hosts import load_neighbours
from shared.store.migrations import check_schema
from shared.store.sqlstates import AccessRefused

# What docs/security.md recommends; who has other needs sets another figure.
_RECOMMENDED = {
    "open_calls_enterprise": "20",
    "open_calls_extension": "2",
    "rate_limit_new_numbers": "30/3600",
    "max_call_s": "7200",
}
_CLOSE_LIMIT_S = 5.0
_NAMES_LIMIT_S = 20.0
_MOST_NEIGHBOURS = 5


def add_commands(add: Add) -> None:
    """Add the check."""
    check = add("check", _check, "look at an enterprise's PBX end to end; rings nobody")
    check.add_argument(
        "enterprise", nargs="?", metavar="NUMBER", help="as in enterprises.number; all active ones"
    )
    check.add_argument("--json", action="store_true", help="an array of findings")


def _check(database: Database, settings: Settings, options: argparse.Namespace) -> Iterator[str]:
    bad = 0

    def counted() -> Iterator[Finding]:
        nonlocal bad
        for finding in _in_turn(find(database, settings, options.enterprise)):
            bad += finding.state == "bad"
            yield finding

    try:
        yield from as_json(counted()) if options.json else as_lines(counted())
    finally:
        database.close()
    if bad:
        raise OperatorError(f"{bad} of these must be mended before all calls can be placed")


def _in_turn(findings: AsyncIterator[Finding]) -> Iterator[Finding]:
    """Yield what an asynchronous look finds, as soon as it is found."""

    async def following() -> Finding | None:
        return await anext(findings, None)

    with asyncio.Runner() as runner:
        while (finding := runner.run(following())) is not None:
            yield finding


async def find(
    database: Database, settings: Settings, number: str | None
) -> AsyncGenerator[Finding]:
    """Look at everything that one enterprise's calls need, or all active ones'."""
    for warning in _of_settings(settings):
        yield warning
    listed: tuple[ListedEnterprise, ...] = ()
    try:
        await check_schema(database)
        listed = await list_enterprises(database)
        yield lines.DATABASE()
    except DatabaseUnavailable as error:
        yield _unusable(error, database)
        yield lines.ENTERPRISE_UNKNOWN()
        return
    active = [one for one in listed if one.active]
    for warning in _shared(active, settings):
        yield warning
    wanted = None if number is None else number.strip(" ")
    chosen = active if wanted is None else [one for one in listed if one.number == wanted]
    if not chosen:
        yield _nobody(listed, wanted)
    pbx = open_pbx(settings, database)
    try:
        await Names(database).look_up_new(Deadline.after(_NAMES_LIMIT_S))
        for one in chosen:
            for finding in findings_of_row(one, settings):
                yield replace(finding, enterprise=one.number)
            async for finding in _of_host(one, pbx, settings, PinnedKeys(database)):
                yield replace(finding, enterprise=one.number)
            for neighbour in await _neighbours(one, database, settings):
                yield replace(neighbour, enterprise=one.number)
    finally:
        # A host that hangs does not take part in closing.
        with contextlib.suppress(TimeoutError):
            async with Deadline.after(_CLOSE_LIMIT_S).enforce():
                await pbx.close()


def _of_settings(settings: Settings) -> Iterator[Finding]:
    """Yield what the settings leave open."""
    for doubt in doubts():
        yield lines.DOUBT(doubt=doubt)
    if settings.is_read_on_the_way:
        yield lines.READ_ON_THE_WAY(said=READ_ON_THE_WAY)
    yield from _tolls(settings)


def _tolls(settings: Settings) -> Iterator[Finding]:
    """Yield which limits are off that keep the price of a stolen secret down."""
    off = {
        name.upper(): figure
        for name, figure in _RECOMMENDED.items()
        if getattr(settings, name) is None
    }
    if off:
        rate, is_anywhere = settings.rate_limit_enterprise, not settings.destinations_allowed
        yield lines.TOLLS(
            off=Words.of("{names} is" if len(off) == 1 else "{names} are", names=", ".join(off)),
            count=rate.count,
            per_s=rate.per_s,
            where=Words.of(", to anywhere") if is_anywhere else "",
            set=Words.of(
                "{figures}, and DESTINATIONS_ALLOWED" if is_anywhere else "{figures}",
                figures=" ".join(f"{name}={figure}" for name, figure in off.items()),
            ),
        )


def _unusable(error: DatabaseUnavailable, database: Database) -> Finding:
    said = explain(error, database)
    match error:
        case SchemaMissing():
            detail, remedy = split_remedy(said, "Create the table, or correct POSTGRES_DB")
            return lines.SCHEMA(said=detail, remedy=remedy)
        case AccessRefused():
            return lines.SCHEMA(said=said, remedy="")
    return lines.DATABASE_AWAY(said=said)


def _shared(active: list[ListedEnterprise], settings: Settings) -> Iterator[Finding]:
    """Yield what one enterprise has from another that it should have of its own."""
    if hosts := opened_hosts(active, settings):
        yield lines.ONE_PASSWORD(hosts=hosts)
    for number, rows in sorted(Counter(one.number for one in active).items()):
        if rows > 1:
            written = {one.written for one in active if one.number == number}
            # What becomes of them, see callapi.enterprise_of.
            line = lines.NUMBERS_REFUSED if len(written) > 1 else lines.NUMBERS_MIXED
            yield line(rows=rows, number=number)


def _nobody(listed: Iterable[ListedEnterprise], number: str | None) -> Finding:
    if number is None:
        return lines.NONE_ACTIVE()
    known = (one.number for one in listed)
    return lines.NO_SUCH_NUMBER(number=number, nearest=nearest(number, known))


def findings_of_row(one: ListedEnterprise, settings: Settings) -> Iterator[Finding]:
    """Yield what the row itself tells."""
    line = lines.ENTERPRISE if one.active else lines.NOT_ACTIVE
    yield (line if one.host else lines.NO_IP)(number=one.number, name=one.name, ip=one.host)
    if one.active and one.holders > 1:
        yield lines.SECRET_SHARED(holders=one.holders)
    elif one.active and one.has_ended and not one.further:
        yield lines.SECRET_ENDED(number=one.number)
    elif is_guessable(one):
        line = lines.SECRET_WEAK
        if one.secret_characters < settings.secret_min:
            is_needed = one.active and not one.further
            line = lines.SECRET_REFUSED if is_needed else lines.SECRET_UNUSED
        count = one.secret_characters
        length = Words.of("{count} characters", count=count) if count else Words.of("blank")
        yield line(length=length, good=GOOD_SECRET_CHARACTERS)
    if one.times_in_url and one.in_url_at:
        at = f"{one.in_url_at.astimezone(UTC):%Y-%m-%d %H:%M} UTC"
        yield lines.SECRET_IN_URL(times=one.times_in_url, at=at)
    if not one.dialling:
        yield lines.DIALLING_STOPPED(number=one.number)


async def _of_host(
    one: ListedEnterprise, pbx: Pbx, settings: Settings, keys: PinnedKeys
) -> AsyncIterator[Finding]:
    if not one.host:
        yield hostlines.NAME_MISSING()
        return
    async for finding in HostCheck(pbx, settings, keys, one.host).findings():
        yield finding


async def _neighbours(
    one: ListedEnterprise, database: Database, settings: Settings
) -> tuple[Finding, ...]:
    """Name who is treated as having the same PBX, and how they spell it, once it was looked at."""
    found = await load_neighbours(database, one.number, one.host) if one.host else ()
    if not found:
        return ()
    named = ", ".join(f"{other.number} (ip {other.host})" for other in found[:_MOST_NEIGHBOURS])
    if more := len(found[_MOST_NEIGHBOURS:]):
        named = Words.of("{named} and {more} more", named=named, more=more)
    is_fine = one.names_extensions or settings.shared_hosts == "allow"
    line = lines.NEIGHBOURS if is_fine else lines.NEIGHBOURS_REFUSED
    return (line(named=named, number=one.number),)
