"""Log lines: the specification's own in a file and on the console, JSON by Powertools on Lambda.

A secret is never logged: it is cut where it is named, and hidden in every URL that uvicorn logs.
On Lambda the log carries the metrics too, from which CloudWatch takes them.
"""

from __future__ import annotations

import logging
import re
import sys
from contextvars import ContextVar
from typing import Literal, TypeAlias
from urllib.parse import unquote_plus

from shared.settings import SERVICE, Settings, metrics_namespace, on_lambda

LOG = logging.getLogger("asterisk")
REQUEST_ID: ContextVar[str] = ContextVar("request_id", default="-")

# What is counted; the alarms and the dashboard of template.yaml use these names.
Metric: TypeAlias = Literal[
    "CallsAccepted",  # Asterisk has the call, or the monitoring
    "CallsRepeated",  # a repeat of one: nothing was dialled
    "CallsFailed",  # certainly not dialled, though it was admitted
    "CallsEnded",  # by reason
    "UnknownOutcomes",  # a phone may be ringing of which nobody can tell
    "HostKeysChanged",  # connections refused, since it may be another host
    "HostsUntracked",  # at the watchdog's look, each minute: 0 says that it looked
    "InternalErrors",  # defects of this service
]

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


def count(metric: Metric, value: int = 1, **dimensions: str) -> None:
    """Add to a metric, on Lambda.

    It is written at once: what waits for an invocation's end is lost when that is killed.
    """
    if not on_lambda():
        return
    # The package's import is what costs, and the logger has paid for it.
    from aws_lambda_powertools.metrics import MetricUnit, single_metric  # noqa: PLC0415

    namespace = metrics_namespace()
    with single_metric(metric, MetricUnit.Count, value, namespace=namespace) as written:
        for name, text in {"service": SERVICE, **dimensions}.items():
            written.add_dimension(name, text)
