"""Log lines: the specification's own in a file and on the console, JSON by Powertools on Lambda.

A secret is never logged: it is cut where it is named, and hidden in every URL that uvicorn logs.
"""

from __future__ import annotations

import logging
import re
import sys
from contextvars import ContextVar
from urllib.parse import unquote_plus

from shared.settings import SERVICE, Settings, on_lambda

LOG = logging.getLogger("asterisk")
REQUEST_ID: ContextVar[str] = ContextVar("request_id", default="-")

_FORMAT = "%(asctime)s - %(name)s - %(levelname)s - %(message)s"
_SHOWN_CHARACTERS = 8
_QUERY_PAIR = re.compile(r"([?&])([^=&\s]+)=[^&\s]*")


def cut_secret(secret: str) -> str:
    """Show the first 8 characters of a secret, or half of a shorter one: `demo-sec...`."""
    return f"{secret[: min(_SHOWN_CHARACTERS, len(secret) // 2)]}..."


def hide_secrets(text: str) -> str:
    """Hide the value of `clientId` in a URL, however its name is written or encoded."""
    return _QUERY_PAIR.sub(_hidden, text)


def _hidden(pair: re.Match[str]) -> str:
    return f"{pair[1]}{pair[2]}=***" if unquote_plus(pair[2]).lower() == "clientid" else pair[0]


class HideSecrets(logging.Filter):
    """Cleans the arguments of uvicorn's access lines before anything formats them."""

    def filter(self, record: logging.LogRecord) -> bool:
        """Always lets the record pass."""
        if isinstance(record.args, tuple):
            record.args = tuple(
                hide_secrets(arg) if isinstance(arg, str) else arg for arg in record.args
            )
        record.msg = hide_secrets(str(record.msg))
        return True


class AddRequestId(logging.Filter):
    """Gives each record the id of the request that it belongs to."""

    def filter(self, record: logging.LogRecord) -> bool:
        """Always lets the record pass."""
        record.request_id = REQUEST_ID.get()
        return True


def configure_logging(settings: Settings) -> None:
    """Set the logger up, once a process; a second call changes nothing."""
    for name in ("uvicorn.access", "uvicorn.error"):
        logger = logging.getLogger(name)
        if not any(isinstance(known, HideSecrets) for known in logger.filters):
            logger.addFilter(HideSecrets())
    if LOG.handlers:
        return
    if on_lambda():
        from aws_lambda_powertools import Logger  # noqa: PLC0415 - costs 85 ms, needed here only

        Logger(service=LOG.name, level="INFO").append_keys(application=SERVICE)
    else:
        handlers: list[logging.Handler] = [logging.StreamHandler(sys.stderr)]
        if settings.log_file:
            handlers.append(logging.FileHandler(settings.log_file, encoding="utf-8", delay=True))
        for handler in handlers:
            handler.setFormatter(logging.Formatter(_FORMAT))
            LOG.addHandler(handler)
    LOG.addFilter(AddRequestId())
    LOG.setLevel(logging.INFO)
    LOG.propagate = False
