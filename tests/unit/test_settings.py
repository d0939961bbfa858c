"""Settings: defaults as documented, wrong values refused by name, secrets never shown."""

from __future__ import annotations

import pytest

from shared.settings import Rate, Settings, SettingsError, load_settings, on_lambda

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
        ("CHANNEL_TECHNOLOGY", "IAX2"),
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


@pytest.mark.parametrize("name", ["POSTGRES_PASSWORD", "SSH_PASSWORD", "SSH_PRIVATE_KEY"])
def test_secrets_are_not_shown(name: str) -> None:
    """Neither str, repr nor JSON of the settings has a secret in it."""
    settings = Settings.from_environment({name: SECRET})
    for text in (str(settings), repr(settings), settings.model_dump_json()):
        assert SECRET not in text
    assert getattr(settings, name.lower()).get_secret_value() == SECRET


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
    first = load_settings()
    monkeypatch.setenv("SSH_PORT", "23")
    assert load_settings() is first
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
