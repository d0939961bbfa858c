"""Whether calls can be placed: settings, database, and the enterprises' PBX hosts end to end."""

from __future__ import annotations

import argparse
import asyncio
import contextlib
from collections import Counter
from collections.abc import AsyncGenerator, AsyncIterator, Iterable, Iterator
from dataclasses import replace

from shared.auth.weaknesses import GOOD_SECRET_CHARACTERS, is_guessable, opened_hosts
from shared.deadline import Deadline
from shared.errors import DatabaseUnavailable, SchemaMissing
from shared.operate.command import Add, OperatorError, explain, nearest
from shared.operate.findings import Finding, as_json, as_lines, split_remedy
from shared.operate.hosts import HostCheck
from shared.pbx.hosts import Pbx, open_pbx
from shared.pbx.neighbours import Neighbours
from shared.settings import READ_ON_THE_WAY, Settings, doubts
from shared.store.database import AccessRefused, Database
from shared.store.enterprises import ListedEnterprise, list_enterprises
from shared.store.hostkeys import PinnedKeys
from shared.store.hosts import load_neighbours
from shared.store.migrations import check_schema

# What README recommends; who has other needs sets another figure.
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
        yield Finding("database", "good", "PostgreSQL answers, and schema callapi is complete")
    except DatabaseUnavailable as error:
        yield _unusable(error, database)
        yield Finding("enterprise", "skipped", "cannot be looked at without the database")
        return
    active = [one for one in listed if one.active]
    for warning in _shared(active, settings):
        yield warning
    chosen = active if number is None else [one for one in listed if one.number == number.strip()]
    if not chosen:
        yield _nobody(listed, number)
    pbx = open_pbx(settings, database)
    try:
        await Neighbours(database, pbx).look_up_new(_NAMES_LIMIT_S)
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
        yield Finding("settings", "warning", doubt)
    if settings.is_read_on_the_way:
        yield Finding(
            "settings",
            "warning",
            READ_ON_THE_WAY,
            "Set POSTGRES_TLS=verify, and POSTGRES_CA_FILE",
        )
    yield from _tolls(settings)


def _tolls(settings: Settings) -> Iterator[Finding]:
    """Yield which limits are off that keep the price of a stolen secret down."""
    off = {
        name.upper(): figure
        for name, figure in _RECOMMENDED.items()
        if getattr(settings, name) is None
    }
    if off:
        rate = settings.rate_limit_enterprise
        yield Finding(
            "tolls",
            "warning",
            f"{', '.join(off)} {'is' if len(off) == 1 else 'are'} off: whoever has an enterprise's"
            f" secret may place {rate.count} calls in {rate.per_s} s"
            + ("" if settings.destinations_allowed else ", to anywhere"),
            f"Set e.g. {' '.join(f'{name}={figure}' for name, figure in off.items())}"
            + ("" if settings.destinations_allowed else ", and DESTINATIONS_ALLOWED"),
        )


def _unusable(error: DatabaseUnavailable, database: Database) -> Finding:
    said = explain(error, database)
    match error:
        case SchemaMissing():
            wanted = split_remedy(said, "Create the table, or correct POSTGRES_DB")
            return Finding("schema", "bad", *wanted)
        case AccessRefused():
            return Finding("schema", "bad", said)
    return Finding("database", "bad", said, "Start it, or correct the settings POSTGRES_*")


def _shared(active: list[ListedEnterprise], settings: Settings) -> Iterator[Finding]:
    """Yield what one enterprise has from another that it should have of its own."""
    if hosts := opened_hosts(active, settings):
        yield Finding(
            "password",
            "warning",
            f"SSH_PASSWORD logs in to {hosts} hosts: whoever breaks into one learns it",
            "Use SSH_PRIVATE_KEY, a key of this service's own, and unset SSH_PASSWORD",
        )
    for number, rows in sorted(Counter(one.number for one in active).items()):
        if rows > 1:
            yield _namesakes(number, [one.written for one in active if one.number == number])


def _namesakes(number: str, written: list[str]) -> Finding:
    """Tell what becomes of enterprises with one number; see callapi.enterprise_of."""
    said = f"{len(written)} active enterprises have the number {number} once it is trimmed"
    remedy = "Give each a number of its own, without spaces around it"
    if len(set(written)) > 1:
        return Finding("numbers", "bad", f"{said}: their requests are refused", remedy)
    return Finding(
        "numbers", "warning", f"{said}: their calls and rules are taken for one's", remedy
    )


def _nobody(listed: Iterable[ListedEnterprise], number: str | None) -> Finding:
    if number is None:
        remedy = "Set active to true for whoever may call"
        return Finding("enterprise", "bad", "none is active", remedy)
    remedy = nearest(number.strip(), (one.number for one in listed))
    return Finding("enterprise", "bad", f"there is no number {number.strip()}", remedy)


def findings_of_row(one: ListedEnterprise, settings: Settings) -> Iterator[Finding]:
    """Yield what the row itself tells."""
    said = f"{one.number} {one.name}, ip {one.host or 'missing'}"
    if not one.host:
        yield Finding("enterprise", "bad", said, "Set its ip to the address of its PBX")
    elif one.active:
        yield Finding("enterprise", "good", f"{said}, active")
    else:
        yield Finding(
            "enterprise",
            "bad",
            f"{said}, not active: its requests are refused",
            "Set active to true if it may call",
        )
    if one.active and one.holders > 1:
        yield Finding(
            "secret",
            "bad",
            f"{one.holders} active enterprises have it: all of them are refused",
            "Give each a secret of its own",
        )
    elif one.active and one.has_ended and not one.further:
        yield Finding(
            "secret",
            "bad",
            "it has ended, and there is no other: every request is refused",
            f"./asterisk.sh keys {one.number} add",
        )
    elif is_guessable(one):
        is_refused = one.secret_characters < settings.secret_min
        length = f"{one.secret_characters} characters" if one.secret_characters else "blank"
        yield Finding(
            "secret",
            "bad" if is_refused and one.active and not one.further else "warning",
            f"{length}: {'it is refused (SECRET_MIN)' if is_refused else 'it can be guessed'}",
            f"Give it one of {GOOD_SECRET_CHARACTERS} random characters or more",
        )
    if not one.dialling:
        yield Finding(
            "dialling",
            "warning",
            "stopped by an operator",
            f"./asterisk.sh rules {one.number} --dialling on",
        )


async def _of_host(
    one: ListedEnterprise, pbx: Pbx, settings: Settings, keys: PinnedKeys
) -> AsyncIterator[Finding]:
    if not one.host:
        yield Finding("name", "skipped", "cannot be looked at without ip")
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
    more = f" and {len(found) - _MOST_NEIGHBOURS} more" if len(found) > _MOST_NEIGHBOURS else ""
    said = f"treated as one PBX with {named}{more}, by address, host key or Asterisk"
    if one.names_extensions or settings.shared_hosts == "allow":
        return (Finding("neighbours", "good", said),)
    return (
        Finding(
            "neighbours",
            "warning",
            f"{said}: monitoring, transfers, history and extension states are refused",
            f"Name its extensions (./asterisk.sh rules {one.number} --extensions ...); PBXs that"
            " are clones need host keys of their own",
        ),
    )
