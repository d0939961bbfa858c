"""The alert rules for Prometheus, by its own tool: each rings once, and is silent once."""

from __future__ import annotations

import subprocess
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple

import pytest
import yaml

from tests.integration.service import ROOT
from tests.integration.test_deployed_files import program

RULES = ROOT / "deploy" / "prometheus" / "alerts.yml"


def rules() -> list[dict[str, Any]]:
    """List the alert rules."""
    (group,) = yaml.safe_load(RULES.read_text("utf-8"))["groups"]
    return list(group["rules"])


def test_every_rule_says_what_to_do() -> None:
    """A name of its own, how bad it is, a sentence, and a remedy."""
    names = [rule["alert"] for rule in rules()]
    assert len(names) == len(set(names))
    for rule in rules():
        assert rule["labels"]["severity"] in {"critical", "warning"}
        assert set(rule["annotations"]) == {"summary", "description"}
        assert rule["annotations"]["description"].endswith("."), rule["alert"]


class Trial(NamedTuple):
    """What makes a rule ring and what does not: series by their name, as promtool writes them.

    `labels` are those of its alert, beside the severity.
    """

    rings: dict[str, str]
    silent: dict[str, str]
    labels: Mapping[str, str] = MappingProxyType({})


_A = "asterisk_calls_"
_PBX = {"pbx": "192.0.2.10"}
_OF_PBX = '{pbx="192.0.2.10",eid="02:fc:00:00:00:01"}'
_PHASE = _A + 'phases_total{phase="agent_ringing"}'
_OFFLINE, _ALL = _A + 'pbx_endpoints{pbx="192.0.2.10",state="offline"}', "asterisk_endpoints_count"
TRIALS = {
    "CallServiceDown": Trial(
        {'up{job="asterisk-calls",instance="a:1"}': "0x60"},
        {'up{job="asterisk-calls",instance="a:1"}': "1x57 0 0 0", 'up{job="other"}': "0x60"},
        {"job": "asterisk-calls", "instance": "a:1"},
    ),
    "CallsNotFollowed": Trial(
        {_A + "accepted_total": "0+1x60", _PHASE: "0x60"},
        {_A + "accepted_total": "0+1x60", _PHASE: "0+1x60"},
    ),
    "CallsFail": Trial(
        {_A + "accepted_total": "0+4x60", _A + "failed_total": "0+1x60"},
        {_A + "accepted_total": "0+40x60", _A + "failed_total": "0+1x60"},
    ),
    "OutcomesUnknown": Trial(
        {_A + "unknown_outcomes_total": "0+1x60"}, {_A + "unknown_outcomes_total": "0x50 1x9"}
    ),
    "CallsEndBadly": Trial(
        {
            _A + 'ended_total{reason="rejected"}': "0+1x60",
            _A + 'ended_total{reason="answered"}': "0+1x60",
        },
        {
            _A + 'ended_total{reason="rejected"}': "0+1x60",
            _A + 'ended_total{reason="answered"}': "0+1x60",
            _A + 'ended_total{reason="busy"}': "0+9x60",
        },
    ),
    "PlacingSlow": Trial(
        {
            _A + 'placing_milliseconds_bucket{le="250"}': "0x60",
            _A + 'placing_milliseconds_bucket{le="1000"}': "0+1x60",
            _A + 'placing_milliseconds_bucket{le="+Inf"}': "0+2x60",
            _A + "placing_milliseconds_count": "0+2x60",
        },
        {
            _A + 'placing_milliseconds_bucket{le="250"}': "0+2x60",
            _A + 'placing_milliseconds_bucket{le="+Inf"}': "0+2x60",
            _A + "placing_milliseconds_count": "0+2x60",
        },
    ),
    "CallsWaitForPbx": Trial(
        {_A + 'turns{use="console",state="waiting"}': "1x60"},
        {
            _A + 'turns{use="console",state="waiting"}': "0x56 1x3",
            _A + 'turns{use="console",state="running"}': "3x60",
        },
        {"use": "console"},
    ),
    "PbxAway": Trial(
        {_A + 'pbx_failing{pbx="192.0.2.10"}': "1x60"},
        {_A + 'pbx_failing{pbx="192.0.2.10"}': "0x60"},
        _PBX,
    ),
    "PbxNotSeen": Trial(
        {_A + 'tracker_look_age_seconds{pbx="192.0.2.10"}': "0+60x60"},
        {_A + 'tracker_look_age_seconds{pbx="192.0.2.10"}': "1x60"},
        _PBX,
    ),
    "PbxCountsOld": Trial(
        {_A + 'pbx_counts_age_seconds{pbx="192.0.2.10"}': "200x60"},
        {_A + 'pbx_counts_age_seconds{pbx="192.0.2.10"}': "60x60"},
        _PBX,
    ),
    "AsteriskRestarted": Trial(
        {"asterisk_core_uptime_seconds" + _OF_PBX: "0+60x55 0+60x5"},
        {"asterisk_core_uptime_seconds" + _OF_PBX: "0+60x60"},
        _PBX,
    ),
    "EndpointsOffline": Trial(
        {_OFFLINE: "6x60", _ALL + _OF_PBX: "10x60"},
        {_OFFLINE: "4x60", _ALL + _OF_PBX: "10x60"},
        _PBX,
    ),
    "DatabaseFails": Trial(
        {_A + 'database_statement_seconds_count{outcome="failed"}': "0+5x60"},
        {
            _A + 'database_statement_seconds_count{outcome="failed"}': "9x60",
            _A + 'database_statement_seconds_count{outcome="ok"}': "0+99x60",
        },
    ),
    "DatabaseCrowded": Trial(
        {_A + "database_waiting": "2x60"}, {_A + "database_waiting": "0x57 2 2 2"}
    ),
    "HostKeyChanged": Trial(
        {_A + "host_keys_changed_total": "0x50 1x9"}, {_A + "host_keys_changed_total": "1x60"}
    ),
    "RecordsUnreadable": Trial(
        {_A + "records_skipped_total": "0+1x60"}, {_A + "records_skipped_total": "0x50 5x9"}
    ),
    "ServiceDefect": Trial(
        {_A + "internal_errors_total": "0x50 1x9"}, {_A + "internal_errors_total": "1x60"}
    ),
    "LogNotWritten": Trial(
        {_A + "log_write_errors_total": "0x50 1x9"}, {_A + "log_write_errors_total": "7x60"}
    ),
}


def test_every_rule_is_tried() -> None:
    """Once ringing and once silent, by series that differ."""
    assert list(TRIALS) == [rule["alert"] for rule in rules()]
    assert all(trial.rings != trial.silent for trial in TRIALS.values())


def test_the_rules_are_well_formed() -> None:
    """To Prometheus' own tool."""
    done = subprocess.run(
        [program("promtool", "prometheus"), "check", "rules", RULES],
        capture_output=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("name", TRIALS)
def test_a_rule_rings_and_is_silent(name: str, tmp_path: Path) -> None:
    """After an hour of one series a minute it rings, with its sentences; of another it does not."""
    trial = TRIALS[name]
    (rule,) = (rule for rule in rules() if rule["alert"] == name)
    ringing = {
        "exp_labels": rule["labels"] | dict(trial.labels),
        "exp_annotations": {
            key: filled(text, trial.labels) for key, text in rule["annotations"].items()
        },
    }
    tried = {
        "rule_files": [str(RULES)],
        "evaluation_interval": "1m",
        "tests": [
            {
                "interval": "1m",
                "input_series": [{"series": s, "values": v} for s, v in series.items()],
                "alert_rule_test": [
                    {"eval_time": "59m", "alertname": name, "exp_alerts": expected}
                ],
            }
            for series, expected in ((trial.rings, [ringing]), (trial.silent, []))
        ],
    }
    file = tmp_path / "trial.yml"
    file.write_text(yaml.safe_dump(tried))
    done = subprocess.run(
        [program("promtool", "prometheus"), "test", "rules", file], capture_output=True, check=False
    )
    assert done.returncode == 0, (done.stdout + done.stderr).decode()


def filled(text: str, labels: Mapping[str, str]) -> str:
    """Put an alert's labels into a sentence, as Prometheus does."""
    for label, value in labels.items():
        text = text.replace(f"{{{{ $labels.{label} }}}}", value)
    assert "{{" not in text
    return text
