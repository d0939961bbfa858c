"""What makes a break-in easier: told by `check`, and once in the log when the service starts."""

from __future__ import annotations

from collections.abc import Iterable

from shared.errors import DatabaseUnavailable
from shared.settings import Settings
from shared.store.database import Database
from shared.store.enterprises import ListedEnterprise, list_enterprises
from shared.telemetry import LOG

# Of random characters: more than anybody can try.
GOOD_SECRET_CHARACTERS = 16


def opened_hosts(listed: Iterable[ListedEnterprise], settings: Settings) -> int:
    """Count the hosts that one password opens; 0 where there is no password, or only one host.

    Each host that is logged in to by a password learns it, and may log in to the others; beside a
    key, one that refuses the key.
    """
    if not settings.ssh_password.get_secret_value():
        return 0
    hosts = {one.host for one in listed if one.active and one.host}
    return len(hosts) if len(hosts) > 1 else 0


def is_guessable(one: ListedEnterprise) -> bool:
    """Tell whether the secret that stands in the table is short, and holds."""
    return not one.has_ended and one.secret_characters < GOOD_SECRET_CHARACTERS


async def warn(database: Database, settings: Settings) -> None:
    """Log them, of the active enterprises; without the database those of the settings alone."""
    if settings.is_read_on_the_way:
        LOG.warning(
            "⚠️ POSTGRES_TLS=off, а база на другой машине (%s): пароль и secret идут открыто",
            settings.postgres_host,
        )
    try:
        listed = await list_enterprises(database)
    except DatabaseUnavailable:
        return  # each request says so
    short = [one.number for one in listed if one.active and is_guessable(one)]
    if short:
        LOG.warning(
            "⚠️ Короткий secret (меньше %d знаков), его можно подобрать; предприятия: %s",
            GOOD_SECRET_CHARACTERS,
            ", ".join(short),
        )
    if hosts := opened_hosts(listed, settings):
        LOG.warning(
            "⚠️ Один SSH_PASSWORD на %d хостов: взломанный хост узнает его и войдёт на остальные;"
            " лучше SSH_PRIVATE_KEY",
            hosts,
        )
