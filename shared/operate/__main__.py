"""An operator's commands: `python -m shared.operate --help`."""

from __future__ import annotations

import argparse
import logging
import sys
from collections.abc import Sequence

from shared.errors import DatabaseUnavailable
from shared.operate import audit, check, hostkeys, keys, purge, rules, schema, webhooks
from shared.operate.command import Command, OperatorError, explain
from shared.settings import SettingsError, the_settings
from shared.store.database import Database
from shared.store.migrations import NoSuchTable, TooOld
from shared.telemetry import LOG, printable


def main(arguments: Sequence[str] | None = None) -> int:
    """Execute one command; 0 if it is done, 1 if not, 2 for a wrong command line."""
    options = _parser().parse_args(arguments)
    # What fails is told in one line on stderr; the service's log line would say it once more.
    LOG.addHandler(logging.NullHandler())
    try:
        settings = the_settings()
        database = Database(settings)
        for line in options.command(database, settings, options):
            sys.stdout.write(f"{printable(line)}\n")
            sys.stdout.flush()  # whoever waits for a slow PBX sees how far it is
    except (OperatorError, SettingsError, NoSuchTable, TooOld) as error:
        return _fail(str(error))
    except DatabaseUnavailable as error:
        return _fail(explain(error, database))
    except KeyboardInterrupt:
        return _fail("Interrupted")
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m shared.operate",
        description="Commands for an operator. The database is the service's: POSTGRES_*.",
    )
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    def add(name: str, command: Command, text: str) -> argparse.ArgumentParser:
        sub = commands.add_parser(name, help=text, description=text)
        sub.set_defaults(command=command)
        return sub

    for room in (check, schema, hostkeys, rules, keys, webhooks, audit, purge):
        room.add_commands(add)
    return parser


def _fail(text: str) -> int:
    sys.stderr.write(f"{printable(' '.join(text.split()))}\n")
    return 1


if __name__ == "__main__":
    sys.exit(main())
