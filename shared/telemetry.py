"""Log lines: the specification's own in a file and on the console, JSON by Powertools on Lambda.

A secret is never logged: it is cut where it is named, and of every URL that uvicorn logs only what
is known to be none is shown.
On Lambda the log carries the metrics too, from which CloudWatch takes them.
"""

from __future__ import annotations

import contextlib
import json
import logging
import re
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextvars import ContextVar
from dataclasses import dataclass
from urllib.parse import unquote, unquote_plus
from uuid import UUID

from shared.logfile import LogFile, Soon
from shared.measures import Metric, observe
from shared.settings import SERVICE, Settings, metrics_namespace, on_lambda

LOG = logging.getLogger("asterisk")
REQUEST_ID: ContextVar[str] = ContextVar("request_id", default="-")
CALL_ID: ContextVar[str | None] = ContextVar("call_id", default=None)
HOST: ContextVar[str | None] = ContextVar("host", default=None)


@dataclass(slots=True)
class Ending:
    """What the last line of a request tells, as far as it is known by now.

    `enterprise` is the number of whose it is, `host` its PBX; `refusal` the code of the error that
    it was answered with, of which `is_unknown` says that a phone may be ringing; `is_repeat` that
    it did nothing but tell of an earlier request. `limit` is the one that refused it;
    `is_secret_in_url` tells that its secret stood where logs and proxies keep it; `is_sandbox` that
    a stand-in answers it, by an operator's word.
    """

    enterprise: str = ""
    host: str = ""
    refusal: str = ""
    is_unknown: bool = False
    is_repeat: bool = False
    limit: str = ""
    is_secret_in_url: bool = False
    is_sandbox: bool = False


ENDING: ContextVar[Ending | None] = ContextVar("ending", default=None)

_FORMAT = "%(asctime)s - %(name)s - %(levelname)s - %(message)s"
_SHOWN_CHARACTERS = 8
# The parameters of our endpoints whose values are no secrets: clientId, a cursor, a ticket are.
SHOWN_PARAMETERS = frozenset(
    {
        *("code", "phone", "action", "target", "monitor_from", "wait", "phase", "source", "kind"),
        *("reason", "extension", "number", "open", "since", "until", "limit", "disposition"),
        *("format", "direction", "missed", "after", "call_id", "scope", "actor"),
    }
)
_MOST_CHARACTERS = 1000
# Who has encoded a name twice does not hide it from us.
_DECODINGS = 3
_CLIENT_ID = "clientid"
_SPACES = re.compile(r"(\s+)")
_URL_MARK = re.compile(r"[/?#&=;%]")
_PLAIN = re.compile(r"[A-Za-z0-9_.-]*")
_PLAIN_NAME = re.compile(r"[A-Za-z0-9_.-]{1,32}")
_ENDS_A_PATH = re.compile(r"[;?#&=]")


def cut_secret(secret: str) -> str:
    """Show the first 8 characters of a secret, and never more than a quarter: `d68409d6...`."""
    return f"{secret[: min(_SHOWN_CHARACTERS, len(secret) // 4)]}..."


def printable(text: str) -> str:
    """Escape, as JSON does, what a terminal would obey or a reader not see.

    Newlines and control characters, marks that turn the direction of writing, lone surrogates.
    """
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else json.dumps(c)[1:-1] for c in text)


def hide_secrets(text: str) -> str:
    """Hide in each URL of a text what may be a secret, and cut the URL where it is long.

    In a query only the parameters that are known keep their values; of a path goes what follows
    `clientId`, however that is written or encoded, or stands where a parameter may.
    """
    # Strangers choose the text, and the event loop waits for it: every step is linear.
    return "".join(map(_shown_word, _SPACES.split(text)))


def _shown_word(word: str) -> str:
    if len(word) <= _MOST_CHARACTERS and not _URL_MARK.search(word):
        return word
    url, sharp, _ = word[:_MOST_CHARACTERS].partition("#")
    path, mark, query = url.partition("?")
    shown = _shown_path(path) + mark + _shown_query(query) + (sharp and "#***")
    is_cut = max(len(word), len(shown)) > _MOST_CHARACTERS
    return f"{shown[:_MOST_CHARACTERS]}..." if is_cut else shown


def _shown_path(path: str) -> str:
    """Show a path up to the first segment that may carry a secret, of that its plain begin."""
    shown: list[str] = []
    is_named = False
    for segment in path.split("/"):
        decoded = _decoded(segment)
        name = _folded(decoded)
        if is_named:
            shown.append("***")
            break
        if _ENDS_A_PATH.search(decoded) or (_CLIENT_ID in name and name != _CLIENT_ID):
            match = _PLAIN.match(segment)
            begin = match[0] if match and _CLIENT_ID not in _folded(match[0]) else ""
            shown.append(f"{begin}***")
            break
        is_named = name == _CLIENT_ID
        shown.append(segment)
    return "/".join(shown)


def _shown_query(query: str) -> str:
    return "&".join(";".join(map(_shown_pair, pairs.split(";"))) for pairs in query.split("&"))


def _shown_pair(pair: str) -> str:
    name, equals, value = pair.partition("=")
    decoded = unquote_plus(name)
    if decoded in SHOWN_PARAMETERS and _CLIENT_ID not in _folded(_decoded(value)):
        return pair
    if not equals:  # a name without a value, or a value without a name
        return pair if not pair or _folded(decoded) == _CLIENT_ID else "***"
    return f"{name}=***" if _PLAIN_NAME.fullmatch(decoded) else "***"


def _decoded(text: str) -> str:
    for _ in range(_DECODINGS):
        text = unquote(text)
    return text


def _folded(text: str) -> str:
    """Write every way of writing `clientId` alike."""
    return "".join(filter(str.isalnum, text)).lower()


class KeepToItsLine(logging.Filter):
    """Makes of each record one line that says what was logged, whoever chose its words.

    A PBX or a row of the database may: its channels, its names, its errors. A traceback has lines
    of its own, each set in.
    """

    def filter(self, record: logging.LogRecord) -> bool:
        """Always lets the record pass."""
        # What cannot be made a message is a defect, which the handler tells as the library does.
        with contextlib.suppress(TypeError, ValueError):
            record.msg, record.args = printable(record.getMessage()), None
        _set_traceback_in(record)
        return True


def _set_traceback_in(record: logging.LogRecord) -> None:
    if record.exc_info and not record.exc_text:
        lines = _TRACEBACKS.formatException(record.exc_info).split("\n")
        record.exc_text = "\n".join(f"  {printable(line)}" for line in lines)


_TRACEBACKS = logging.Formatter()


class HideSecrets(logging.Filter):
    """Cleans what uvicorn logs before anything formats it, as KeepToItsLine does what we log.

    A message that has arguments is one of uvicorn's own texts, and has to keep their places.
    """

    def filter(self, record: logging.LogRecord) -> bool:
        """Always lets the record pass."""
        if isinstance(record.args, tuple):
            record.args = tuple(map(_cleaned, record.args))
        elif record.args:
            record.args = {name: _cleaned(arg) for name, arg in record.args.items()}
        if not record.args:
            record.msg = _cleaned(str(record.msg))
        _set_traceback_in(record)
        return True


def _cleaned(arg: object) -> object:
    return printable(hide_secrets(arg)) if isinstance(arg, str) else arg


class Sparing:
    """Lets one line a window and key be written, and counts those left out meanwhile.

    Strangers choose the keys: at most `most` of them are known at once, and while all of their
    windows last no other key has a line.
    """

    def __init__(
        self, *, window_s: float, most: int, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._window_s = window_s
        self._most = most
        self._clock = clock
        self._begun: dict[str, float] = {}  # the oldest first
        self._left_out: Counter[str] = Counter()
        self._of_others = 0

    def left_out(self, key: str) -> int | None:
        """Tell how many lines were left out before this one; None: leave it out too."""
        now = self._clock()
        begun = self._begun.get(key)
        if begun is not None and now - begun < self._window_s:
            self._left_out[key] += 1
            return None
        if begun is None and len(self._begun) >= self._most:
            oldest = next(iter(self._begun))
            if now - self._begun[oldest] < self._window_s:
                self._of_others += 1
                return None
            del self._begun[oldest]
            self._of_others += self._left_out.pop(oldest, 0)
        self._begun.pop(key, None)
        self._begun[key] = now
        told = self._left_out.pop(key, 0) + self._of_others
        self._of_others = 0
        return told


def note_enterprise(number: str, host: str | None = None, *, sandbox: bool = False) -> None:
    """Have the lines of this request say whose it is; only of whoever showed a right secret.

    Of a `sandbox` its answer says that nobody is rung.
    """
    if ending := ENDING.get():
        ending.enterprise, ending.host, ending.is_sandbox = number, host or "", sandbox


def in_sandbox() -> bool:
    """Tell whether whoever asks has a stand-in for a PBX, as far as it is known by now."""
    ending = ENDING.get()
    return ending is not None and ending.is_sandbox


def note_repeat() -> None:
    """Have the last line of this request say that it repeats another one."""
    if ending := ENDING.get():
        ending.is_repeat = True


def note_refusal(code: str, *, is_unknown: bool) -> None:
    """Have the last line of this request say by which error it is answered."""
    if ending := ENDING.get():
        ending.refusal, ending.is_unknown = code, is_unknown


def note_limit(name: str) -> None:
    """Have what is noticed of this request's enterprise say which limit refused it."""
    if ending := ENDING.get():
        ending.limit = name


def note_secret_in_url() -> None:
    """Have what is noticed of this request's enterprise say that its secret was in the URL."""
    if ending := ENDING.get():
        ending.is_secret_in_url = True


@contextlib.contextmanager
def in_request(request_id: str) -> Iterator[Ending]:
    """Have the lines within the block name a request, its call once known, and how it ends.

    Nothing of it is left afterwards, also where the next one has the same thread or task.
    """
    ending = Ending()
    tokens = REQUEST_ID.set(request_id), CALL_ID.set(None), ENDING.set(ending)
    try:
        yield ending
    finally:
        REQUEST_ID.reset(tokens[0])
        CALL_ID.reset(tokens[1])
        ENDING.reset(tokens[2])


@contextlib.contextmanager
def of_call(call_id: UUID | str) -> Iterator[None]:
    """Have the lines within the block name a call, of which no request tells."""
    token = CALL_ID.set(str(call_id))
    try:
        yield
    finally:
        CALL_ID.reset(token)


@contextlib.contextmanager
def of_host(host: str) -> Iterator[None]:
    """Have the lines within the block name a PBX, whoever asks for it."""
    token = HOST.set(host)
    try:
        yield
    finally:
        HOST.reset(token)


def of_pbx(host: str) -> dict[str, object]:
    """Make the field by which a line that writes a PBX's address is found by it."""
    return {"host": host}


class AddIds(logging.Filter):
    """Gives each record the ids of the request and the call, whose it is, and which PBX's.

    On Lambda they are fields of the line.
    """

    def filter(self, record: logging.LogRecord) -> bool:
        """Always lets the record pass."""
        record.request_id = REQUEST_ID.get()
        if call_id := CALL_ID.get():
            record.call_id = call_id
        if (ending := ENDING.get()) and ending.enterprise:
            record.enterprise = ending.enterprise
        own = getattr(record, "host", None)
        if host := own or HOST.get() or (ending.host if ending else ""):
            record.host = host
        return True


class WithIds(logging.Formatter):
    """Writes them at the end of a line of text, before a traceback; none where there is neither."""

    def __init__(self, lines: logging.Formatter) -> None:
        super().__init__()
        self._lines = lines

    def format(self, record: logging.LogRecord) -> str:
        """Write the line."""
        line, newline, more = self._lines.format(record).partition("\n")
        request_id, call_id = REQUEST_ID.get(), CALL_ID.get()
        if request_id != "-" or call_id:
            line += f" [request_id={request_id} call_id={call_id or '-'}]"
        return line + newline + more


# What a record is given that the log's file is not to have.
CONSOLE_ONLY: dict[str, object] = {"is_kept": False}


def _is_kept(record: logging.LogRecord) -> bool:
    return getattr(record, "is_kept", True)


def configure_logging(settings: Settings) -> None:
    """Set the loggers up, uvicorn's own too, which it makes anew when it begins to serve.

    A second call changes only what is not ours yet.
    """
    for name in ("uvicorn", "uvicorn.access", "uvicorn.error"):
        logger = logging.getLogger(name)
        if not any(isinstance(known, HideSecrets) for known in logger.filters):
            logger.addFilter(HideSecrets())
            # Its debugging shows every header of a WebSocket, and so the secret.
            logger.setLevel(max(logger.level, logging.INFO))
        for handler in logger.handlers:
            if handler.formatter and not isinstance(handler.formatter, WithIds):
                handler.setFormatter(WithIds(handler.formatter))
    logging.getLogger("uvicorn.access").disabled = True  # its lines are ours, with the time
    if LOG.handlers:
        return
    if on_lambda():
        from aws_lambda_powertools import Logger  # noqa: PLC0415 - costs 85 ms, needed here only

        powertools = Logger(service=LOG.name, level="INFO", json_serializer=_as_json)
        powertools.append_keys(application=SERVICE)
    else:
        handlers: list[logging.Handler] = [logging.StreamHandler(sys.stderr)]
        if settings.log_file:
            file = LogFile(settings.log_file, encoding="utf-8", delay=True)
            file.addFilter(_is_kept)
            handlers.append(file)
        for handler in handlers:
            handler.setFormatter(WithIds(logging.Formatter(_FORMAT)))
        LOG.addHandler(Soon(*handlers))
    LOG.addFilter(AddIds())
    LOG.addFilter(KeepToItsLine())
    LOG.setLevel(logging.INFO)
    LOG.propagate = False


def count_call(*, is_accepted: bool) -> None:
    """Count a call as accepted or as failed; the other is written too, as 0.

    An alarm divides them, and what is missing on either side would make the quotient miss.
    """
    count("CallsAccepted", int(is_accepted))
    count("CallsFailed", int(not is_accepted))


def _as_json(log: dict[str, object]) -> str:
    """Write a record whose traceback, too, shows all that is in it."""
    return printable(json.dumps(log, default=str, ensure_ascii=False))


def count(metric: Metric, value: int = 1, **dimensions: str) -> None:
    """Add to a metric: of whoever observes this process, on Lambda of CloudWatch.

    There it is written at once: what waits for an invocation's end is lost when that is killed.
    """
    if not on_lambda():
        observe(metric, value, **dimensions)
        return
    # The package's import is what costs, and the logger has paid for it.
    from aws_lambda_powertools.metrics import MetricUnit, single_metric  # noqa: PLC0415

    namespace = metrics_namespace()
    unit = MetricUnit.Milliseconds if metric == "PlacingMs" else MetricUnit.Count
    with single_metric(metric, unit, value, namespace=namespace) as written:
        for name, text in {"service": SERVICE, **dimensions}.items():
            written.add_dimension(name, text)
