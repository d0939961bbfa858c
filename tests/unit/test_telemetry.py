"""No secret in a log line, whoever writes it; the metrics that the log carries on Lambda."""

from __future__ import annotations

import json
import logging
import stat
from collections.abc import Callable
from contextvars import copy_context
from pathlib import Path
from typing import TypeVar

import pytest

from asterisk import app
from shared.logfile import check_log_file
from shared.settings import Settings
from shared.telemetry import (
    CALL_ID,
    ENDING,
    REQUEST_ID,
    SHOWN_PARAMETERS,
    AddIds,
    Ending,
    HideSecrets,
    KeepToItsLine,
    Sparing,
    WithIds,
    count,
    count_call,
    cut_secret,
    hide_secrets,
    note_enterprise,
    printable,
)

T = TypeVar("T")
# What a terminal obeys, a reader does not see, or a file cannot hold.
UNSEEN = [
    *("\n", "\r", "\x00", "\x1b[2J", "\x7f", "\x85", "\x9b", "\x0b", "\x0c", "\t"),
    *("\u200e", "\u200f", "\u202a", "\u202b", "\u202c", "\u202d", "\u202e", "\u2066", "\u2067"),
    *("\u2068", "\u2069", "\u2028", "\u2029", "\ufeff", "\ud800", "\udcff", "\U000e0041"),
]
SECRET = "d68409d6-1b1c-4f0e"
ACCESS = '%s - "%s %s HTTP/%s" %d'  # uvicorn's


@pytest.mark.parametrize(
    ("secret", "shown"),
    [
        ("d68409d6-1b1c-4f0e-9d51-7c0a52f3b9e1", "d68409d6..."),
        (SECRET, "d684..."),
        ("demo-secret-of-june", "demo..."),
        ("12345678", "12..."),
        ("abc", "..."),
        ("", "..."),
    ],
)
def test_cut_secret_shows_at_most_eight_characters_and_a_quarter(secret: str, shown: str) -> None:
    """The specification's `d68409d6...`; of a shorter secret a quarter is shown."""
    assert shown == cut_secret(secret)


@pytest.mark.parametrize(
    "name",
    ["clientId", "clientid", "CLIENTID", "client%49d", "%63lientId", "%63%6C%69%65%6E%74%49%64"],
)
@pytest.mark.parametrize("before", ["/api/monitor?", "/api/monitor?target=150&"])
@pytest.mark.parametrize("after", ["", "&action=09", " HTTP/1.1"])
def test_secret_in_a_url_is_hidden(name: str, before: str, after: str) -> None:
    """However the name is written or encoded, wherever it stands; the rest stays."""
    expected = f"{before}{name}=***{after}"
    assert expected == hide_secrets(f"{before}{name}={SECRET}{after}")


@pytest.mark.parametrize(
    "text",
    [
        "/api/makecallexternal?code=150&phone=%2B375296254070",
        "/health",
        "/api/history?since=2026-11-23T09:00:00%2B03:00&limit=5;format=csv",
        "/api/calls/5b0f3e7e-3c8e-4a9c-9f0e-0d7f5a1c2b3d/transfer",
        "http://127.0.0.1:8018 (Press CTRL+C to quit)",
        "clientId as a word",
        "/api/x?clientId",
        "/clientId",
        "a?&;b",
        "a  b\n\tc",
        "",
    ],
)
def test_other_text_stays(text: str) -> None:
    """A known parameter, a path of ours and a plain word are shown, space by space."""
    expected = text.replace("a?&;b", "a?&;***")
    assert expected == hide_secrets(text)


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("/x?myclientId=1&clientIds=2", "/x?myclientId=***&clientIds=***"),
        (f"/x?clientID={SECRET};client_id={SECRET}", "/x?clientID=***;client_id=***"),
        (f"/x?client-id={SECRET}&cursor={SECRET}", "/x?client-id=***&cursor=***"),
        (f"/x?Code={SECRET}&code=150", "/x?Code=***&code=150"),
        (f"/x?ClientId%20={SECRET}", "/x?***"),
        (f"/x?client%2549d={SECRET}", "/x?***"),
        (f"/x?clientId%3D{SECRET}=1", "/x?***"),
        (f"/x?clientId%3D{SECRET}", "/x?***"),
        (f"/x?clientId%253D{SECRET}=1", "/x?***"),
        (f"/x?{SECRET}&code=150", "/x?***&code=150"),
        (f"/x?{'n' * 33}=1&{'n' * 32}=1", f"/x?***&{'n' * 32}=***"),
        (f"/x?имя={SECRET}", "/x?***"),
        (f"/x?a?clientId={SECRET}&code=150", "/x?***&code=150"),
        (f"/x?code=1?clientId={SECRET}", "/x?code=***"),
        (f"/x?code=1%26client%49d%3D{SECRET}", "/x?code=***"),
        (f"/x?code=1#{SECRET}?code={SECRET}", "/x?code=1#***"),
    ],
)
def test_only_a_known_parameter_keeps_its_value(text: str, shown: str) -> None:
    """Of any other the name is shown, if it is one, however near it comes to `clientId`."""
    assert shown == hide_secrets(text)


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        (f"/api/monitor;clientId={SECRET}", "/api/monitor***"),
        (f"/api/monitor%3BclientId%3D{SECRET}", "/api/monitor***"),
        (f"/api/monitor%3btoken%3d{SECRET}/x?code=1", "/api/monitor***?code=1"),
        (f"/api/monitor%3FclientId={SECRET}", "/api/monitor***"),
        (f"/api/monitor%2523{SECRET}", "/api/monitor***"),
        (f"/api/monitor&client={SECRET}", "/api/monitor***"),
        (f"/clientId={SECRET}", "/***"),
        (f"clientId%3D{SECRET}", "***"),
        (f"/clientId{SECRET}/x", "/***"),
        (f"/api/makecallexternal/clientId/{SECRET}", "/api/makecallexternal/clientId/***"),
        (f"/api/CLIENT_ID/{SECRET}/{SECRET}", "/api/CLIENT_ID/***"),
        (f"/api/client-%69d/{SECRET}", "/api/client-%69d/***"),
        (f"/api/clientId%2F{SECRET}", "/api/***"),
        (f"/health#{SECRET}", "/health#***"),
    ],
)
def test_secret_in_a_path_is_hidden(text: str, shown: str) -> None:
    """A matrix parameter, a fragment, and whatever follows the name of the secret."""
    assert shown == hide_secrets(text)


@pytest.mark.parametrize("begin", ["/", "/x?", "/x?a=1&", "/x?code=", "", "?=&;", "/clientId/"])
@pytest.mark.parametrize("piece", ["?", "&a=", "a", "%41", "/", ";;", "&", "=", "%"])
def test_logged_target_is_cut(begin: str, piece: str) -> None:
    """However long it is, at most 1,000 characters are shown and that there were more."""
    shown = hide_secrets(f"{begin}{piece * 60_000}{SECRET} HTTP/1.1")
    assert shown.endswith("... HTTP/1.1")
    assert len(shown) <= 1_000 + len("... HTTP/1.1")
    assert SECRET not in shown


def test_what_a_parameter_is_the_endpoints_say() -> None:
    """Every parameter of a query of ours is shown, but the secret, and two tokens."""
    operations = [told for path in app.openapi()["paths"].values() for told in path.values()]
    parameters = [parameter for told in operations for parameter in told.get("parameters", ())]
    names = {parameter["name"] for parameter in parameters if parameter["in"] == "query"}
    assert names - {"clientId", "cursor", "ticket"} == SHOWN_PARAMETERS


def test_every_occurrence_is_hidden() -> None:
    """A repeated parameter is hidden each time."""
    text = f"/x?clientId={SECRET}&clientId={SECRET}"
    assert hide_secrets(text) == "/x?clientId=***&clientId=***"


@pytest.mark.parametrize("mark", ["'", '"', "!", "*", "(", ")", "~", "=", "?", "/", "%27", "+"])
def test_secret_with_a_special_character_is_hidden_whole(mark: str) -> None:
    """What encodeURIComponent leaves as it is (' among it) does not end the secret."""
    text = hide_secrets(f"/x?clientId=first{mark}second&code=150")
    assert text == "/x?clientId=***&code=150"


def record(message: str, *args: object) -> logging.LogRecord:
    """Make a record as uvicorn does."""
    return logging.LogRecord("uvicorn.access", logging.INFO, "", 0, message, args, None)


def test_uvicorns_access_line_is_cleaned() -> None:
    """The URL is an argument of uvicorn's record; the other arguments keep their types."""
    line = record(ACCESS, "127.0.0.1:1", "GET", f"/api/x?code=150&clientId={SECRET}", "1.1", 200)
    assert HideSecrets().filter(line)
    assert line.getMessage() == '127.0.0.1:1 - "GET /api/x?code=150&clientId=*** HTTP/1.1" 200'


def test_message_without_arguments_is_cleaned() -> None:
    """A message that has the URL in itself is cleaned too."""
    line = record(f"Invalid request /api/x?clientId={SECRET}")
    assert HideSecrets().filter(line)
    assert line.getMessage() == "Invalid request /api/x?clientId=***"


def test_message_with_a_mapping_passes() -> None:
    """Named arguments are cleaned too, and keep their types."""
    line = record("%(name)s %(count)d", {"name": f"/x?clientId={SECRET}", "count": 1})
    assert HideSecrets().filter(line)
    assert line.getMessage() == "/x?clientId=*** 1"


def test_message_with_arguments_keeps_their_places() -> None:
    """It is a text of uvicorn's own, to which a change may not fit its arguments any more."""
    line = record("> GET %s?limit=%d&x=%s", f"/x?clientId={SECRET}", 5, "y")
    assert HideSecrets().filter(line)
    assert line.getMessage() == "> GET /x?clientId=***?limit=5&x=y"


def test_each_line_of_a_request_tells_whose_it_is_once_that_is_known() -> None:
    """Before a right secret was shown no line names an enterprise, nor does one of no request."""
    told: list[str | None] = []

    def tell() -> None:
        line = logging.makeLogRecord({"msg": "made up"})
        AddIds().filter(line)
        told.append(vars(line).get("enterprise"))

    def request() -> None:
        ENDING.set(Ending())
        tell()
        note_enterprise("0367")
        tell()

    copy_context().run(request)
    copy_context().run(tell)
    assert told == [None, "0367", None]


def within(request_id: str, call_id: str | None, do: Callable[[], T]) -> T:
    """Do something as a part of a request."""

    def inside() -> T:
        REQUEST_ID.set(request_id)
        CALL_ID.set(call_id)
        return do()

    return copy_context().run(inside)


def test_record_gets_the_ids_of_its_request_and_call() -> None:
    """Every record of a request names it, and its call once there is one; outside it is a dash."""

    def ids() -> tuple[str, str | None]:
        line = record("message")
        AddIds().filter(line)
        return vars(line)["request_id"], vars(line).get("call_id")

    assert within("request-1", "call-1", ids) == ("request-1", "call-1")
    assert within("request-1", None, ids) == ("request-1", None)
    assert ids() == ("-", None)


def test_line_of_text_ends_with_the_ids() -> None:
    """After the message and before a traceback; a line of neither is as it was."""
    formatter = WithIds(logging.Formatter("%(levelname)s - %(message)s"))

    def line() -> str:
        return formatter.format(record("message\nand more"))

    assert line() == "INFO - message\nand more"
    ids = "[request_id=request-1 call_id=call-1]"
    assert within("request-1", "call-1", line) == f"INFO - message {ids}\nand more"
    ids = "[request_id=request-1 call_id=-]"
    assert within("request-1", None, line) == f"INFO - message {ids}\nand more"
    ids = "[request_id=- call_id=call-1]"  # a tracker's
    assert within("-", "call-1", line) == f"INFO - message {ids}\nand more"


def test_metric_is_one_line_of_the_log_on_lambda(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """CloudWatch's embedded format: namespace, name, unit, dimensions; written at once."""
    monkeypatch.setenv("AWS_LAMBDA_FUNCTION_NAME", "tracker")
    monkeypatch.setenv("POWERTOOLS_METRICS_NAMESPACE", "calls-demo")
    count("CallsEnded", reason="busy")
    (line,) = capsys.readouterr().out.splitlines()
    written = json.loads(line)
    del written["_aws"]["Timestamp"]
    assert written == {
        "_aws": {
            "CloudWatchMetrics": [
                {
                    "Namespace": "calls-demo",
                    "Dimensions": [["service", "reason"]],
                    "Metrics": [{"Name": "CallsEnded", "Unit": "Count"}],
                }
            ]
        },
        "service": "asterisk-call-management",
        "reason": "busy",
        "CallsEnded": [1.0],
    }


def test_nothing_found_is_counted_too(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A watchdog that finds nothing writes 0: a missing value tells that it does not look."""
    monkeypatch.setenv("AWS_LAMBDA_FUNCTION_NAME", "tracker")
    count("HostsUntracked", 0)
    assert json.loads(capsys.readouterr().out)["HostsUntracked"] == [0.0]


def test_counting_needs_no_namespace(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Powertools would refuse to write, and a call that is placed would fail of it."""
    monkeypatch.setenv("AWS_LAMBDA_FUNCTION_NAME", "makecallexternal")
    monkeypatch.delenv("POWERTOOLS_METRICS_NAMESPACE", raising=False)
    count("CallsAccepted")
    (metrics,) = json.loads(capsys.readouterr().out)["_aws"]["CloudWatchMetrics"]
    assert metrics["Namespace"] == "asterisk-call-management"


@pytest.mark.parametrize("is_accepted", [True, False])
def test_a_call_is_counted_on_both_sides(
    *, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], is_accepted: bool
) -> None:
    """The rate of failing ones has a value at each of them, where all fail and where none does."""
    monkeypatch.setenv("AWS_LAMBDA_FUNCTION_NAME", "makecallexternal")
    count_call(is_accepted=is_accepted)
    written: dict[str, list[float]] = {}
    for line in capsys.readouterr().out.splitlines():
        written |= json.loads(line)
    assert written["CallsAccepted"] == [float(is_accepted)]
    assert written["CallsFailed"] == [float(not is_accepted)]


def test_nothing_is_counted_in_a_local_process(capsys: pytest.CaptureFixture[str]) -> None:
    """There the log is read by people."""
    count("CallsAccepted")
    assert capsys.readouterr().out == ""


# What others choose the words of


@pytest.mark.parametrize("text", UNSEEN)
def test_what_is_not_seen_is_written_out(text: str) -> None:
    """As JSON does, and nothing else is changed: what is logged can be read back."""
    shown = printable(f"канал {text} 🚀 \\ '\"")
    assert shown.isprintable()
    assert shown.startswith("канал \\")
    assert shown.endswith(" 🚀 \\ '\"")
    shown.encode()


def kept_line(text: str, record: Callable[[str], logging.LogRecord]) -> str:
    """Write a record as the log's file has it."""
    made = record(text)
    KeepToItsLine().filter(made)
    return WithIds(logging.Formatter("%(levelname)s - %(message)s")).format(made)


def as_argument(text: str) -> logging.LogRecord:
    """Log it as what was said."""
    return logging.LogRecord("asterisk", logging.INFO, "", 0, "канал %s", (text,), None)


def as_message(text: str) -> logging.LogRecord:
    """Log it as the message itself."""
    return logging.LogRecord("asterisk", logging.INFO, "", 0, text, None, None)


def as_error(text: str) -> logging.LogRecord:
    """Log an error that has it in its words, by its text."""
    error = ValueError(text)
    return logging.LogRecord("asterisk", logging.INFO, "", 0, "ошибка: %s", (error,), None)


@pytest.mark.parametrize("text", UNSEEN)
@pytest.mark.parametrize("record", [as_argument, as_message, as_error])
def test_a_record_is_one_line(record: Callable[[str], logging.LogRecord], text: str) -> None:
    """Whoever chooses the words writes no line of his own, and moves no cursor."""
    forged = f"{text}2026-11-26 00:00:00,000 - asterisk - INFO - forged"
    line = kept_line(forged, record)
    assert line.isprintable()
    assert line.startswith("INFO - ")


@pytest.mark.parametrize("text", UNSEEN)
def test_a_traceback_has_no_line_that_could_be_a_record(text: str) -> None:
    """Each is set in, whatever its error says."""

    def failed(said: str) -> logging.LogRecord:
        info = (ValueError, ValueError(said), None)
        return logging.LogRecord("asterisk", logging.ERROR, "", 0, "defect", None, info)

    first, *others = kept_line(f"bad{text}\nINFO - forged", failed).split("\n")
    assert first == "ERROR - defect"
    assert others
    assert all(line.startswith("  ") and line.isprintable() for line in others)


@pytest.mark.parametrize("text", UNSEEN)
def test_uvicorns_lines_are_kept_likewise(text: str) -> None:
    """Its access log has the path that a stranger sent, its errors the words of an exception."""
    record = logging.LogRecord("uvicorn.access", logging.INFO, "", 0, ACCESS, None, None)
    record.args = ("192.0.2.1:5", "GET", f"/api{text}x", "1.1", 404)
    HideSecrets().filter(record)
    assert record.getMessage().isprintable()
    record = as_message(f"refused {text}")
    HideSecrets().filter(record)
    assert record.getMessage().isprintable()


# The files


@pytest.mark.parametrize(
    ("before", "after"), [(None, 0o600), (0o600, 0o600), (0o640, 0o640), (0o644, 0o640)]
)
def test_a_log_is_nobody_elses_to_read(tmp_path: Path, before: int | None, after: int) -> None:
    """A new one; one of before is taken from all others, and left to its group."""
    path = tmp_path / "service.log"
    if before is not None:
        path.touch()
        path.chmod(before)
    check_log_file(Settings(log_file=str(path)))
    assert stat.S_IMODE(path.stat().st_mode) == after


def test_a_line_is_told_once_a_window() -> None:
    """The next one says how many were left out meanwhile, of this key."""
    now = 0.0
    sparing = Sparing(window_s=60, most=10, clock=lambda: now)
    assert [sparing.left_out(key) for key in "aaba"] == [0, None, 0, None]
    now = 60.0
    assert [sparing.left_out(key) for key in "aab"] == [2, None, 0]
    now = 1_000.0
    assert sparing.left_out("a") == 1


def test_keys_that_strangers_choose_cost_no_memory_and_few_lines() -> None:
    """At most so many in a window; the next line that is told counts the others too."""
    now = 0.0
    sparing = Sparing(window_s=60, most=10, clock=lambda: now)
    told = [sparing.left_out(str(number)) for number in range(1_000)]
    assert told == [0] * 10 + [None] * 990
    assert len(vars(sparing)["_begun"]) == 10
    assert sparing.left_out("0") is None
    now = 60.0
    assert sparing.left_out("new") == 991
    assert [sparing.left_out(str(number)) for number in range(1, 1_000)].count(0) == 9
    assert len(vars(sparing)["_begun"]) == 10
