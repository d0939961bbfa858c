"""Logins from the settings alone, and where a secret says that its server is."""

from __future__ import annotations

from shared.aws.logins import PostgresLogin, located, postgres_logins, ssh_logins
from shared.settings import Settings

TOLD = PostgresLogin.model_validate(
    {
        "username": "calls",
        "password": "made-up-771",
        "engine": "postgres",
        "host": "db.example.test",
        "port": 6432,
        "dbname": "calls",
    }
)


def test_secret_tells_where_its_server_is() -> None:
    """RDS writes it into the secret: nothing else has to be set. What it adds is passed over."""
    settings = located(Settings.from_environment({}), TOLD)
    assert settings.postgres_user == "calls"
    assert settings.postgres_host == "db.example.test"
    assert settings.postgres_port == 6432
    assert settings.postgres_db == "calls"


def test_settings_hold_against_the_secret() -> None:
    """POSTGRES_HOST may be a proxy before the server that the secret names, or its default."""
    given = {"POSTGRES_HOST": "127.0.0.1", "POSTGRES_PORT": "5432", "POSTGRES_DB": "postgres"}
    settings = Settings.from_environment(given | {"POSTGRES_USER": "calls"})
    assert located(settings, TOLD) == settings


def test_secret_may_leave_out_where_its_server_is() -> None:
    """A user and a password are enough."""
    settings = Settings.from_environment({"POSTGRES_USER": "calls"})
    login = PostgresLogin.model_validate({"username": "calls", "password": "made-up-771"})
    assert located(settings, login) == settings


def test_logins_without_an_arn_are_the_settings_own() -> None:
    """Nothing is asked, and nothing is newer."""
    settings = Settings.from_environment(
        {"POSTGRES_USER": "calls", "POSTGRES_PASSWORD": "made-up-771", "SSH_PASSWORD": "made-up-9"}
    )
    postgres, ssh = postgres_logins(settings), ssh_logins(settings)
    login = postgres.read()
    assert (login.username, login.password.get_secret_value()) == ("calls", "made-up-771")
    assert ssh.read().password.get_secret_value() == "made-up-9"
    assert postgres.read_anew(login) is None
    assert ssh.read_anew(ssh.read()) is None


def test_login_hides_its_secrets() -> None:
    """Neither text of one has the password or the key."""
    ssh = ssh_logins(Settings.from_environment({"SSH_PRIVATE_KEY": "made-up-key"})).read()
    assert "made-up" not in f"{ssh} {ssh!r} {TOLD} {TOLD!r}"
