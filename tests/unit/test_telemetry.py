"""No secret in a log line, whoever writes it; the metrics that the log carries on Lambda."""

from __future__ import annotations

import json
import logging

import pytest

from shared.telemetry import (
    REQUEST_ID,
    AddRequestId,
    HideSecrets,
    count,
    cut_secret,
    hide_secrets,
)

SECRET = "d68409d6-1b1c-4f0e"
ACCESS = '%s - "%s %s HTTP/%s" %d'  # uvicorn's


@pytest.mark.parametrize(
    ("secret", "shown"),
    [
        (SECRET, "d68409d6..."),
        ("demo-secret-of-june", "demo-sec..."),
        ("12345678", "1234..."),
        ("abc", "a..."),
        ("a", "..."),
        ("", "..."),
    ],
)
def test_cut_secret_shows_at_most_eight_characters_and_half(secret: str, shown: str) -> None:
    """The specification's `d68409d6...`; of a short secret at most half is shown."""
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
        "clientId as a word",
        "/api/x?myclientId=1&clientIds=2",
        "/api/x?clientId",
        "a=b?c&d",
        "",
    ],
)
def test_other_parameters_stay(text: str) -> None:
    """Only the value of `clientId` is hidden."""
    assert text == hide_secrets(text)


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
    """A record with named arguments is let through."""
    line = record("%(name)s", {"name": "uvicorn"})
    assert HideSecrets().filter(line)
    assert line.getMessage() == "uvicorn"


def test_record_gets_the_requests_id() -> None:
    """Every line of a request names it; outside of one it is a dash."""
    token = REQUEST_ID.set("request-1")
    try:
        inside = record("message")
        AddRequestId().filter(inside)
    finally:
        REQUEST_ID.reset(token)
    outside = record("message")
    AddRequestId().filter(outside)
    ids = (vars(inside)["request_id"], vars(outside)["request_id"])
    assert ids == ("request-1", "-")


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


def test_nothing_is_counted_in_a_local_process(capsys: pytest.CaptureFixture[str]) -> None:
    """There the log is read by people."""
    count("CallsAccepted")
    assert capsys.readouterr().out == ""
