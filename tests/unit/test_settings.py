"""Settings: defaults as documented, wrong values refused by name, secrets never shown."""

from __future__ import annotations

import ast
import importlib
import re
import tomllib
from pathlib import Path
from typing import get_args

import pytest

from shared.auth.enterprise import Reading
from shared.settings import (
    VERSION,
    Rate,
    Settings,
    SettingsError,
    doubts,
    on_lambda,
    the_settings,
)

ROOT = Path(__file__).parents[2]
SECRET = "hunter2-hunter2"


def test_defaults_are_the_specifications() -> None:
    """Without any variable the service has the specification's ports, user and limits."""
    settings = Settings.from_environment({})
    assert settings.ssh_port == 5059
    assert settings.ssh_user == "root"
    assert settings.ssh_connect_timeout_s == 10
    assert settings.command_timeout_s == 15
    assert settings.dialplan_context == "inoffice"
    assert settings.service_port == 8018
    assert settings.log_file == "asterisk_service.log"


def test_defaults_are_the_safe_ones() -> None:
    """Without any variable nothing taps a wrong phone, dials twice or trusts any host key."""
    settings = Settings.from_environment({})
    assert settings.monitor_match == "exact"
    assert settings.precheck == "on"
    assert settings.ssh_host_keys == "pin"
    assert settings.request_timeout_s < 30  # API Gateway's limit
    assert settings.unknown_hold_s > settings.request_timeout_s
    assert settings.cors_origins == ()
    assert settings.shared_hosts == "refuse"
    assert settings.late_call == "hangup"


def test_each_variable_is_its_fields_name_in_capitals() -> None:
    """Text from the environment becomes the field's type."""
    settings = Settings.from_environment(
        {
            "SSH_PORT": "22",
            "COMMAND_TIMEOUT_S": "2.5",
            "RATE_LIMIT_EXTENSION": " 5/10 ",
            "CORS_ORIGINS": "https://a.example, https://b.example,",
            "POSTGRES_HOST": "/run/postgresql",
            "RATE_LIMIT_ADDRESS": "7/30",
            "RATE_LIMIT_NEW_NUMBERS": "30/3600",
            "OPEN_CALLS_ENTERPRISE": "20",
            "OPEN_CALLS_EXTENSION": "off",
            "MAX_CALL_S": " 7200 ",
            "DESTINATIONS_ALLOWED": "+375, 8029 ,",
            "DESTINATIONS_DENIED": "",
            "PBX_RETRY_S": "0.5",
            "ssh_user": "ignored",
            "UNRELATED": "ignored",
        }
    )
    assert settings.ssh_port == 22
    assert settings.ssh_user == "root"
    assert settings.command_timeout_s == 2.5
    assert settings.rate_limit_extension == Rate(count=5, per_s=10)
    assert settings.cors_origins == ("https://a.example", "https://b.example")
    assert settings.postgres_host == "/run/postgresql"
    assert settings.rate_limit_address == Rate(count=7, per_s=30)
    assert settings.rate_limit_new_numbers == Rate(count=30, per_s=3600)
    assert (settings.open_calls_enterprise, settings.open_calls_extension) == (20, None)
    assert settings.max_call_s == 7200
    assert settings.destinations_allowed == ("+375", "8029")
    assert settings.destinations_denied == ()
    assert settings.pbx_retry_s == 0.5


@pytest.mark.parametrize(
    ("name", "value"),
    [
        *(("POSTGRES_PORT", value) for value in ("0", "65536", "x", "", "1.5")),
        ("POSTGRES_TLS", "on"),
        ("POSTGRES_POOL_SIZE", "0"),
        *(("POSTGRES_TIMEOUT_S", value) for value in ("0", "-1", "nan", "inf", "86401")),
        ("SSH_PORT", "-1"),
        ("SSH_HOST_KEYS", "yes"),
        ("SSH_CONNECT_TIMEOUT_S", "ten"),
        ("COMMAND_TIMEOUT_S", "0"),
        ("REQUEST_TIMEOUT_S", "0"),
        ("PBX_CONCURRENCY", "9"),
        ("PBX_QUEUE_S", "0"),
        *(("DIALPLAN_CONTEXT", v) for v in ("", "a b", "a@b", "inoffice\n", "a\0", "a" * 80)),
        ("CHANNEL_TECHNOLOGY", "DAHDI"),
        ("ASTERISK_TRANSPORT", "ami"),
        *(("ASTERISK_SOCKET", v) for v in ("", "asterisk.ctl", "/a b", "/a\n", "/ж")),
        *(
            ("ASTERISK_COMMAND", v)
            for v in ("", "a;b", "a&b", "$(id)", "a'b", 'a"b', "a\nb", "a\n")
        ),
        ("MONITOR_MATCH", "both"),
        ("PRECHECK", "true"),
        ("REPEAT_WINDOW_S", "0"),
        ("UNKNOWN_HOLD_S", "0"),
        ("SERVICE_PORT", "70000"),
        *(
            ("RATE_LIMIT_EXTENSION", value)
            for value in ("", "20", "20/", "/60", "20/60/1", "-1/60", "0/60", "20/0", "a/b")
        ),
        ("RATE_LIMIT_ADDRESS", "many"),
        ("RATE_LIMIT_ENTERPRISE", "off"),
        *(("RATE_LIMIT_NEW_NUMBERS", value) for value in ("20", "0/60", "none", "OFF")),
        *(("OPEN_CALLS_ENTERPRISE", v) for v in ("0", "-1", "1.5", "100001", "many", "OFF")),
        *(("OPEN_CALLS_EXTENSION", value) for value in ("0", "2/60", "none")),
        *(("MAX_CALL_S", value) for value in ("0", "59", "86401", "2h", "nan", "inf")),
        *(("DESTINATIONS_ALLOWED", v) for v in ("+375 +7", "+375;+7", "375%", "+", "+3x", "+7\n8")),
        *(("DESTINATIONS_DENIED", v) for v in ("+7 810", "_810.", "1" * 21, "٣٧٥")),
        ("SHARED_HOSTS", "on"),
        ("LATE_CALL", "off"),
        *(("PBX_RETRY_S", value) for value in ("0", "-1", "soon")),
        ("RATE_LIMIT_ENTERPRISE", "٢٠/60"),
        ("RATE_LIMIT_ENTERPRISE", "9999999/60"),
        ("RATE_LIMIT_ENTERPRISE", "20/99999"),
    ],
)
def test_wrong_value_is_refused_by_its_variables_name(name: str, value: str) -> None:
    """The error names the variable, and no secret that stands beside it."""
    environment = {
        name: value,
        "POSTGRES_PASSWORD": SECRET,
        "SSH_PASSWORD": SECRET,
        "SSH_PRIVATE_KEY": SECRET,
    }
    with pytest.raises(SettingsError, match=f"^Wrong settings: {name}: ") as caught:
        Settings.from_environment(environment)
    assert SECRET not in str(caught.value)
    assert caught.value.__cause__ is None
    assert caught.value.__suppress_context__


def test_every_wrong_value_is_told_at_once() -> None:
    """An operator sees all mistakes together."""
    with pytest.raises(SettingsError) as caught:
        Settings.from_environment({"SSH_PORT": "x", "PRECHECK": "x"})
    assert "SSH_PORT: " in str(caught.value)
    assert "PRECHECK: " in str(caught.value)


def test_rate_says_how_it_is_written() -> None:
    """A rate of another form gets an example."""
    with pytest.raises(SettingsError, match=r"COUNT/SECONDS, e\.g\. 20/60"):
        Settings.from_environment({"RATE_LIMIT_EXTENSION": "20 per minute"})


@pytest.mark.parametrize(
    ("name", "nearest"),
    [
        ("SSH_PASWORD", "SSH_PASSWORD"),
        ("SSH_KEY", "SSH_HOST_KEYS"),
        ("POSTGRES_PASS", "POSTGRES_PASSWORD"),
        ("POSTGRES_", "POSTGRES_DB"),
    ],
)
def test_an_unknown_name_is_doubted(name: str, nearest: str) -> None:
    """A misspelt variable is told, with the setting that is nearest, and not with its value."""
    (doubt,) = doubts({name: SECRET, "SSH_PASSWORD": SECRET})
    assert doubt == f"{name} is no setting and has no effect: perhaps {nearest} is meant"


def test_openssh_s_own_variables_are_not_doubted() -> None:
    """They stand in the environment of whoever logs in."""
    others = ("SSH_AUTH_SOCK", "SSH_CONNECTION", "SSH_TTY", "MY_SSH_PORT", "PATH")
    assert list(doubts(dict.fromkeys(others, "x") | {"SSH_PASSWORD": SECRET})) == []


@pytest.mark.parametrize(
    ("environment", "told"),
    [
        ({"POSTGRES_PASSWORD": "", "SSH_PASSWORD": "x"}, ["POSTGRES_PASSWORD"]),
        ({"POSTGRES_PASSWORD": "x", "SSH_PASSWORD": ""}, ["SSH_PASSWORD"]),
        ({"POSTGRES_PASSWORD": "", "SSH_PASSWORD": ""}, ["POSTGRES_PASSWORD", "SSH_PASSWORD"]),
        ({}, ["SSH_PASSWORD"]),  # no password is no mistake where PostgreSQL trusts its socket
        ({"SSH_PASSWORD": "", "SSH_PRIVATE_KEY": "x"}, []),
        ({"POSTGRES_PASSWORD": "", "POSTGRES_SECRET_ARN": "x", "SSH_SECRET_ARN": "x"}, []),
    ],
)
def test_an_empty_password_is_told(environment: dict[str, str], told: list[str]) -> None:
    """Where nothing else stands in its place."""
    assert [doubt.split()[0] for doubt in doubts(environment)] == told


@pytest.mark.parametrize("name", ["POSTGRES_PASSWORD", "SSH_PASSWORD", "SSH_PRIVATE_KEY"])
def test_secrets_are_not_shown(name: str) -> None:
    """Neither str, repr nor JSON of the settings has a secret in it."""
    settings = Settings.from_environment({name: SECRET})
    for text in (str(settings), repr(settings), settings.model_dump_json()):
        assert SECRET not in text
    assert getattr(settings, name.lower()).get_secret_value() == SECRET


@pytest.mark.parametrize(
    ("host", "tls", "exposed"),
    [
        ("127.0.0.1", "off", False),
        ("127.3.2.1", "off", False),
        ("::1", "off", False),
        ("localhost", "off", False),
        ("/var/run/postgresql", "off", False),
        ("192.0.2.1", "off", True),
        ("2001:db8::1", "off", True),
        ("db.example.test", "off", True),
        ("db.example.test", "require", False),
        ("db.example.test", "verify", False),
    ],
)
def test_a_database_elsewhere_is_read_on_the_way(host: str, tls: str, *, exposed: bool) -> None:
    """Where it is not encrypted, and is not this machine or a socket of it."""
    settings = Settings.from_environment({"POSTGRES_HOST": host, "POSTGRES_TLS": tls})
    assert settings.is_read_on_the_way is exposed


def test_settings_do_not_change() -> None:
    """Settings are read once and frozen."""
    settings = Settings.from_environment({})
    with pytest.raises(ValueError, match="frozen"):
        settings.ssh_port = 22  # type: ignore[misc]


def test_lambda_has_one_database_connection() -> None:
    """A Lambda environment serves one request at a time; an explicit size still holds."""
    function = {"AWS_LAMBDA_FUNCTION_NAME": "makecallexternal"}
    assert Settings.from_environment(function).postgres_pool_size == 1
    assert Settings.from_environment({}).postgres_pool_size == 8
    explicit = {**function, "POSTGRES_POOL_SIZE": "3"}
    assert Settings.from_environment(explicit).postgres_pool_size == 3


def test_settings_of_the_process_are_read_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """A variable that changes later changes nothing."""
    monkeypatch.setenv("SSH_PORT", "22")
    first = the_settings()
    monkeypatch.setenv("SSH_PORT", "23")
    assert the_settings() is first
    assert first.ssh_port == 22


def test_lambda_is_told_by_its_own_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    """AWS sets the function's name in every Lambda environment."""
    assert not on_lambda()
    monkeypatch.setenv("AWS_LAMBDA_FUNCTION_NAME", "health")
    assert on_lambda()


def test_every_setting_is_described() -> None:
    """Each field says in words what it is for."""
    without = [name for name, field in Settings.model_fields.items() if not field.description]
    assert without == []


def test_every_setting_is_asked_for() -> None:
    """By some code that is shipped; one that nobody asks for changes nothing."""
    shipped = [*ROOT.glob("*.py"), *ROOT.glob("shared/**/*.py"), *ROOT.glob("functions/**/*.py")]
    asked = {
        node.attr
        for path in (*shipped, *ROOT.glob("deploy/*.py"))
        for node in ast.walk(ast.parse(path.read_text("utf-8")))
        if isinstance(node, ast.Attribute)
    }
    # By the name of what is read: see shared/auth/enterprise.py.
    asked |= {f"rate_limit_{reading}" for reading in get_args(Reading)}
    assert [name for name in Settings.model_fields if name not in asked] == []


def test_version_stands_in_one_place() -> None:
    """No other text repeats it, but for a release's heading; a lock's `==` is another's version.

    OpenAPI has it too, and is written from it.
    """
    version = re.compile(rf"(?<![\d.=]){re.escape(VERSION)}(?![\d.])")
    ours = {".py", ".md", ".toml", ".yaml", ".sh", ".sql", ".json", ".conf", ".service", ".txt"}
    folders = ("asterisk.py", "shared", "functions", "demo", "deploy", "bench", "tests", "docs")
    paths = [path for name in folders for path in (ROOT / name, *(ROOT / name).rglob("*"))]
    paths += [path for path in ROOT.iterdir() if path.name != "CHANGELOG.md"]
    found = {
        str(path.relative_to(ROOT))
        for path in paths
        if "node_modules" not in path.parts  # npm's, of a test
        and path.is_file()
        and path.suffix in ours
        and version.search(path.read_text("utf-8"))
    }
    written = {
        *("docs/openapi.json", "tests/unit/openapi-released.json"),
        "tests/typescript/package-lock.json",  # others' versions
    }
    assert found - written == {"shared/settings.py"}


def test_package_takes_its_version_from_there() -> None:
    """pyproject.toml names the constant, and has no number of its own."""
    package = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))
    assert "version" in package["project"]["dynamic"]
    module, _, name = package["tool"]["setuptools"]["dynamic"]["version"]["attr"].rpartition(".")
    assert getattr(importlib.import_module(module), name) == VERSION


@pytest.mark.parametrize(
    "token", ["x" * 15, "токен" * 4, "with a space in it", "x" * 256, "\n" * 16]
)
def test_a_token_that_could_be_guessed_or_not_sent_is_refused(token: str) -> None:
    """ADMIN_TOKEN has 16 visible ASCII characters or more; no text repeats what it was."""
    with pytest.raises(SettingsError) as told:
        Settings.from_environment({"ADMIN_TOKEN": token})
    assert "ADMIN_TOKEN: " in str(told.value)
    assert "16 to 255 visible ASCII characters" in str(told.value)
    assert token not in str(told.value)
    settings = Settings.from_environment({"ADMIN_TOKEN": "x" * 16})
    assert settings.admin_token.get_secret_value() == "x" * 16
    assert "x" * 16 not in repr(settings)
    assert Settings.from_environment({}).admin_token.get_secret_value() == ""
