"""The service's settings: environment variables, read once. The only reader of os.environ."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from functools import cache
from typing import Annotated, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, SecretStr, ValidationError

SERVICE = "asterisk-call-management"
VERSION = "1.0.0"


class SettingsError(Exception):
    """A setting has a value that it cannot have; the text names it and what is allowed."""


class Rate(BaseModel):
    """At most `count` calls at once, refilled evenly over `per_s` seconds."""

    model_config = ConfigDict(frozen=True)
    count: int = Field(ge=1, le=1_000_000)
    per_s: int = Field(ge=1, le=86_400)


def _rate(value: object) -> object:
    if not isinstance(value, str):
        return value
    match = re.fullmatch(r"(\d{1,7})/(\d{1,5})", value.strip(), flags=re.ASCII)
    if match is None:
        raise ValueError("must be COUNT/SECONDS, e.g. 20/60")
    return {"count": int(match[1]), "per_s": int(match[2])}


def _list(value: object) -> object:
    if isinstance(value, str):
        return tuple(part.strip() for part in value.split(",") if part.strip())
    return value


RateSetting = Annotated[Rate, BeforeValidator(_rate)]
ListSetting = Annotated[tuple[str, ...], BeforeValidator(_list)]
# A prefix with a typing error would permit, or deny, nothing, and nobody would be told.
Prefix = Annotated[str, Field(pattern=r"^[+]?[0-9]{1,20}$")]
PrefixesSetting = Annotated[tuple[Prefix, ...], BeforeValidator(_list)]
Port = Annotated[int, Field(ge=1, le=65535)]
Seconds = Annotated[float, Field(gt=0, le=86_400)]


class Settings(BaseModel):
    """Each field is the environment variable of the same name in capitals."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    postgres_user: str = Field("postgres", description="PostgreSQL user")
    postgres_password: SecretStr = Field(SecretStr(""), description="its password")
    postgres_secret_arn: str = Field(
        "", description="on AWS: the secret with `username` and `password`, as RDS rotates it"
    )
    postgres_db: str = Field("postgres", description="database that holds `enterprises`")
    postgres_host: str = Field("127.0.0.1", description="host, or the folder of a Unix socket")
    postgres_port: Port = Field(5432, description="PostgreSQL port")
    postgres_tls: Literal["off", "require", "verify"] = Field(
        "off", description="`verify` checks the server's certificate, `require` only encrypts"
    )
    postgres_ca_file: str = Field("", description="CA bundle for `verify`; empty: the system's")
    postgres_pool_size: int = Field(
        8, ge=1, le=100, description="connections a process; 1 on Lambda"
    )
    postgres_timeout_s: Seconds = Field(5, description="limit of connecting and of each query")

    ssh_port: Port = Field(5059, description="SSH port of every PBX host")
    ssh_user: str = Field("root", description="SSH user")
    ssh_password: SecretStr = Field(SecretStr(""), description="SSH password")
    ssh_private_key: SecretStr = Field(
        SecretStr(""), description="instead of the password: the key itself, or its file"
    )
    ssh_secret_arn: str = Field(
        "", description="on AWS: the secret with `password` or `private_key`, and maybe `username`"
    )
    ssh_host_keys: Literal["pin", "known_hosts", "off"] = Field(
        "pin", description="`pin` keeps each host's first key in the database and insists on it"
    )
    ssh_known_hosts_file: str = Field(
        "~/.ssh/known_hosts", description="the file that `known_hosts` reads"
    )
    ssh_connect_timeout_s: Seconds = Field(10, description="limit of connecting to a host")

    command_timeout_s: Seconds = Field(15, description="limit of one Asterisk command")
    request_timeout_s: Seconds = Field(
        27, description="deadline of a whole request; API Gateway gives up at 30"
    )
    pbx_concurrency: int = Field(
        3, ge=1, le=8, description="exchanges at once with one host; 3 at once is clean"
    )
    pbx_queue_s: Seconds = Field(5, description="longest wait for a turn at one host, then 503")

    dialplan_context: str = Field(
        "inoffice",
        pattern=r"^[A-Za-z0-9_-]{1,79}$",
        description="context that knows the extensions and the numbers to call",
    )
    channel_technology: Literal["auto", "SIP", "PJSIP"] = Field(
        "auto", description="what the extensions' channels are called; `auto` asks each host"
    )
    asterisk_transport: Literal["auto", "socket", "exec"] = Field(
        "auto", description="the control socket through SSH, or `asterisk -rx`; `auto` tries both"
    )
    asterisk_socket: str = Field(
        "/var/run/asterisk/asterisk.ctl",
        pattern=r"^/[\x21-\x7e]{1,100}$",
        description="Asterisk's control socket on the PBX",
    )
    asterisk_command: str = Field(
        "asterisk",
        pattern=r"^[A-Za-z0-9_./ -]{1,200}$",
        description="how `exec` calls Asterisk, e.g. `sudo /usr/sbin/asterisk`",
    )
    cdr_file: str = Field(
        "/var/log/asterisk/cdr-csv/Master.csv",
        pattern=r"^/[\x21-\x7e]{1,1000}$",
        description="the file on the PBX to which Asterisk's module cdr_csv writes",
    )
    monitor_match: Literal["exact", "prefix"] = Field(
        "exact",
        description="`prefix` sends the specification's literal `SIP/150`, which taps 1501 too",
    )
    precheck: Literal["on", "off"] = Field(
        "on", description="ask the dialplan for the extension before dialling"
    )

    repeat_window_s: Seconds = Field(
        10, description="the same call again within this time is a repeat and dials nothing"
    )
    unknown_hold_s: Seconds = Field(
        120, description="how long a call of unknown outcome blocks its repeats"
    )
    rate_limit_enterprise: RateSetting = Field(
        Rate(count=300, per_s=60), description="calls of one enterprise, COUNT/SECONDS"
    )
    rate_limit_extension: RateSetting = Field(
        Rate(count=20, per_s=60), description="calls of one extension, COUNT/SECONDS"
    )

    rate_limit_address: RateSetting = Field(
        Rate(count=30, per_s=60), description="wrong secrets from one address, COUNT/SECONDS"
    )
    destinations_allowed: PrefixesSetting = Field(
        (), description="prefixes that may be called, e.g. `+375,8029`; empty: all"
    )
    destinations_denied: PrefixesSetting = Field(
        (), description="prefixes that may not be called, whatever is allowed"
    )
    shared_hosts: Literal["refuse", "allow"] = Field(
        "refuse", description="monitoring where two active enterprises have one `ip`"
    )
    late_call: Literal["hangup", "keep"] = Field(
        "hangup", description="a call of unknown outcome that comes up late, not yet answered"
    )
    pbx_retry_s: Seconds = Field(
        5, description="how long a PBX that could not be connected is not tried again"
    )

    secrets_max_age_s: int = Field(
        300, ge=1, le=86_400, description="how long a secret is used before it is read again"
    )
    tracker_function: str = Field(
        "", description="on AWS: the function that follows calls, by its name or ARN"
    )
    cors_origins: ListSetting = Field(
        (), description="origins whose pages may call the API, comma-separated"
    )
    service_host: str = Field("127.0.0.1", description="address the local service listens on")
    service_port: Port = Field(8018, description="port of the local service")
    log_file: str = Field("asterisk_service.log", description="log file; empty: console only")

    @classmethod
    def from_environment(cls, environment: Mapping[str, str]) -> Settings:
        """Read the settings.

        Raises:
            SettingsError: a value is not allowed; secrets are not repeated in the text.
        """
        named = {name: environment.get(name.upper()) for name in cls.model_fields}
        given = {name: value for name, value in named.items() if value is not None}
        if "postgres_pool_size" not in given and "AWS_LAMBDA_FUNCTION_NAME" in environment:
            given["postgres_pool_size"] = "1"
        try:
            return cls.model_validate(given)
        except ValidationError as error:
            wrong = "; ".join(
                f"{str(item['loc'][0]).upper()}: {item['msg']}" for item in error.errors()
            )
            raise SettingsError(f"Wrong settings: {wrong}") from None


def on_lambda() -> bool:
    """Tell whether this process is an AWS Lambda environment."""
    return "AWS_LAMBDA_FUNCTION_NAME" in os.environ


def metrics_namespace() -> str:
    """Tell which metrics are this deployment's, by Powertools' own variable."""
    return os.environ.get("POWERTOOLS_METRICS_NAMESPACE", SERVICE)


@cache
def load_settings() -> Settings:
    """Settings of this process; tests call `load_settings.cache_clear()`."""
    return Settings.from_environment(os.environ)
