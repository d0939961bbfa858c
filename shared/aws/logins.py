"""What the service logs in with: the settings' own values, or secrets of AWS Secrets Manager.

A rotation changes a password under a running service. Whoever is refused asks for the secret
once more and, if it is another by now, tries again. What is logged in already stays so.
"""

from __future__ import annotations

import threading
from typing import Any, Generic, Protocol, TypeVar

from pydantic import BaseModel, ConfigDict, Field, SecretStr, ValidationError, model_validator

from shared.aws.clients import the_clients
from shared.process import once
from shared.settings import Port, Settings
from shared.telemetry import LOG


class SecretUnreadable(Exception):
    """Secrets Manager does not give it, or it is not what it must be; names the setting."""


class PostgresLogin(BaseModel):
    """The part of RDS's form of a secret that matters; where the server is may be left out."""

    model_config = ConfigDict(frozen=True)

    username: str = Field(min_length=1)
    password: SecretStr
    host: str | None = Field(None, min_length=1)
    port: Port | None = None
    dbname: str | None = Field(None, min_length=1)


class SshLogin(BaseModel):
    """A password or a private key; without a username SSH_USER holds."""

    model_config = ConfigDict(frozen=True)

    username: str | None = Field(None, min_length=1)
    password: SecretStr = SecretStr("")
    private_key: SecretStr = SecretStr("")


class _SshSecret(SshLogin):
    """The same as Secrets Manager may hold it: no key's file is there, and nothing is optional."""

    @model_validator(mode="after")
    def _is_enough(self) -> _SshSecret:
        key = self.private_key.get_secret_value()
        if not key and not self.password.get_secret_value():
            raise ValueError("needs password or private_key")
        if key and not key.lstrip().startswith("-----BEGIN"):
            raise ValueError("private_key must be the key itself")
        return self


class OriginSecret(BaseModel):
    """What the edge before the API shows; `next` is taken too, while one replaces the other."""

    model_config = ConfigDict(frozen=True)

    current: SecretStr = Field(min_length=16)
    next: SecretStr | None = Field(None, min_length=16)

    @property
    def values(self) -> tuple[str, ...]:
        """Those that are taken."""
        return tuple(one.get_secret_value() for one in (self.current, self.next) if one)


Login = TypeVar("Login", bound=BaseModel)


class Logins(Protocol[Login]):
    """Where a login comes from; both methods may block."""

    def read(self) -> Login:
        """Return the login that holds. Raises SecretUnreadable."""

    def read_anew(self, refused: Login) -> Login | None:
        """Return the login that has replaced a refused one; None if none has."""


class _Given(Generic[Login]):
    """A login of the settings, which do not change while the process lives."""

    def __init__(self, login: Login) -> None:
        self._login = login

    def read(self) -> Login:
        return self._login

    def read_anew(self, refused: Login) -> None:
        del refused


class _Rotated(Generic[Login]):
    """A login of Secrets Manager: JSON under the ARN that a setting gives."""

    def __init__(self, setting: str, arn: str, form: type[Login], max_age_s: int) -> None:
        self._setting = setting
        self._arn = arn
        self._form = form
        self._max_age_s = max_age_s
        self._last: Login | None = None
        self._guard = threading.Lock()  # many who are refused at once cause one request

    def read(self) -> Login:
        with self._guard:
            try:
                self._last = self._fetch(force=False)
            except SecretUnreadable:
                if self._last is None:
                    raise
            return self._last

    def read_anew(self, refused: Login) -> Login | None:
        with self._guard:
            if self._last is None or self._last == refused:
                try:
                    self._last = self._fetch(force=True)
                except SecretUnreadable:
                    return None  # its log says why; the caller's error is the refusal
            if self._last == refused:
                return None
        LOG.info("🔁 %s: секрет сменился, вход с новым", self._setting)
        return self._last

    def _fetch(self, *, force: bool) -> Login:
        try:
            text = the_secrets_provider().get(self._arn, max_age=self._max_age_s, force_fetch=force)
        except Exception as error:
            why = f"{type(error).__name__}: {error}"
            raise self._unreadable("the secret cannot be read", why) from error
        try:
            return self._form.model_validate_json(text)
        except ValidationError as error:
            # Neither pydantic's own text nor its traceback: both quote the secret.
            why = "; ".join(_described(item) for item in error.errors(include_input=False))
        raise self._unreadable("the secret is not as it must be", why)

    def _unreadable(self, what: str, why: str) -> SecretUnreadable:
        LOG.warning("⚠️ %s: секрет недоступен: %s", self._setting, why)
        return SecretUnreadable(f"{self._setting}: {what}")


def _described(item: Any) -> str:
    field = ".".join(str(part) for part in item["loc"])
    return f"{field}: {item['msg']}" if field else str(item["msg"])


@once
def the_secrets_provider() -> Any:
    """Powertools' reader of secrets, which caches them."""
    from aws_lambda_powertools.utilities.parameters import SecretsProvider  # noqa: PLC0415 - boto3

    return SecretsProvider(boto3_client=the_clients().of("secretsmanager"))


def postgres_logins(settings: Settings) -> Logins[PostgresLogin]:
    """Find out what to log in to PostgreSQL with."""
    arn = settings.postgres_secret_arn
    if arn:
        return _Rotated("POSTGRES_SECRET_ARN", arn, PostgresLogin, settings.secrets_max_age_s)
    password = settings.postgres_password
    return _Given(PostgresLogin(username=settings.postgres_user, password=password))


def located(settings: Settings, login: PostgresLogin) -> Settings:
    """Complete the settings by the login: its user, and where its server is.

    A host, port or database that was set holds: it may be a proxy before that server.
    """
    told = {
        "postgres_host": login.host,
        "postgres_port": login.port,
        "postgres_db": login.dbname,
    }
    missing: dict[str, object] = {
        name: value
        for name, value in told.items()
        if value is not None and name not in settings.model_fields_set
    }
    return settings.model_copy(update=missing | {"postgres_user": login.username})


def ssh_logins(settings: Settings) -> Logins[SshLogin]:
    """Find out what to log in to the PBX hosts with."""
    arn = settings.ssh_secret_arn
    if arn:
        return _Rotated("SSH_SECRET_ARN", arn, _SshSecret, settings.secrets_max_age_s)
    return _Given(SshLogin(password=settings.ssh_password, private_key=settings.ssh_private_key))


def origin_secrets(settings: Settings) -> Logins[OriginSecret] | None:
    """Find out what the edge before the API shows; None: there is none."""
    arn = settings.origin_secret_arn
    if not arn:
        return None
    return _Rotated("ORIGIN_SECRET_ARN", arn, OriginSecret, settings.secrets_max_age_s)


def import_early(settings: Settings) -> None:
    """Import what reading a secret takes: in INIT there is more CPU, and nobody waits."""
    if settings.postgres_secret_arn or settings.ssh_secret_arn or settings.origin_secret_arn:
        import aws_lambda_powertools.utilities.parameters  # noqa: F401, PLC0415 - as above
