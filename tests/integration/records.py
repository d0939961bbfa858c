"""What every logger of the process was told, the libraries' included, however little it matters."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from shared.telemetry import CALL_ID


@dataclass(frozen=True)
class Record:
    """One record: all of it as a text, and what it says of a request's end; empty: it is none.

    `call_id` is what a line of it ends with.
    """

    text: str
    level: str
    call_id: str | None
    fields: dict[str, Any] = field(default_factory=dict)


# The tests' own clients, which say what they send.
_CLIENTS = ("websockets.client", "httpx", "httpcore")
_FIELDS = ("operation", "outcome", "status", "duration_ms", "enterprise", "request_id", "call_id")


@contextmanager
def recording() -> Iterator[list[Record]]:
    """Keep each record that is made within the block."""
    records: list[Record] = []

    class Keeps(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            if record.name.startswith(_CLIENTS):
                return
            text = f"{record.getMessage()} {record.exc_info} {vars(record)}"
            fields = {name: vars(record).get(name) for name in _FIELDS}
            is_end = fields["duration_ms"] is not None
            records.append(Record(text, record.levelname, CALL_ID.get(), fields if is_end else {}))

    handler = Keeps()
    loggers = (logging.getLogger(), logging.getLogger("asterisk"))
    levels = {name: logging.getLogger(name).level for name in ("", "asyncssh")}
    for logger in loggers:
        logger.addHandler(handler)
    for name in levels:
        logging.getLogger(name).setLevel(logging.DEBUG)
    try:
        yield records
    finally:
        for name, level in levels.items():
            logging.getLogger(name).setLevel(level)
        for logger in loggers:
            logger.removeHandler(handler)


def assert_no_secret(records: list[Record], *secrets: str) -> None:
    """Fail on a record that has one."""
    assert secrets
    assert [record for record in records if any(one in record.text for one in secrets)] == []
