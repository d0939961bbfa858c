"""The service's settings: environment variables, read once. The only reader of os.environ."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping
from difflib import get_close_matches
from ipaddress import IPv4Network, IPv6Network, ip_address, ip_network
from pathlib import Path
from typing import Annotated, Literal, TypeAlias

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    SecretStr,
    ValidationError,
)

from shared.process import once

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


def _off(value: object) -> object:
    return None if isinstance(value, str) and value.strip() in {"", "off"} else value


def _list(value: object) -> object:
    if isinstance(value, str):
        return tuple(part.strip() for part in value.split(",") if part.strip())
    return value


Network: TypeAlias = IPv4Network | IPv6Network


def _networks(value: object) -> object:
    try:
        return tuple(map(ip_network, value)) if isinstance(value := _list(value), tuple) else value
    except ValueError:
        raise ValueError(
            "must be addresses or networks, comma-separated, e.g. 127.0.0.1,10.0.0.0/8"
        ) from None


def _bearer_token(value: SecretStr) -> SecretStr:
    if re.fullmatch(r"|[\x21-\x7e]{16,255}", value.get_secret_value()) is None:
        raise ValueError("must be 16 to 255 visible ASCII characters without a space")
    return value


RateSetting = Annotated[Rate, BeforeValidator(_rate)]
# `off`, or nothing at all, is None.
OptionalRate = Annotated[RateSetting | None, BeforeValidator(_off)]
OptionalCount = Annotated[
    Annotated[int, Field(ge=1, le=100_000)] | None,
    BeforeValidator(_off),
]
# Under a minute it is a mistake, of minutes for seconds perhaps.
OptionalSeconds = Annotated[
    Annotated[float, Field(ge=60, le=86_400)] | None,
    BeforeValidator(_off),
]
# A prefix with a typing error would permit, or deny, nothing, and nobody would be told.
Prefix = Annotated[str, Field(pattern=r"^[+]?[0-9]{1,20}$")]
PrefixesSetting = Annotated[tuple[Prefix, ...], BeforeValidator(_list)]
NetworksSetting = Annotated[tuple[Network, ...], BeforeValidator(_networks)]
# As a browser writes an origin: no path, no letter in capitals.
Origin = Annotated[str, Field(pattern=r"^([*]|null|[a-z][a-z0-9+.-]*://[^/?#@\sA-Z]+)$")]
OriginsSetting = Annotated[tuple[Origin, ...], BeforeValidator(_list)]
BearerToken = Annotated[SecretStr, AfterValidator(_bearer_token)]
Port = Annotated[int, Field(ge=1, le=65535)]
OptionalPort = Annotated[Port | None, BeforeValidator(_off)]
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
    postgres_session: Literal["set", "role"] = Field(
        "set",
        description="`role`: nothing is set at log-in or later, as RDS Proxy needs; the role has"
        " it, by deploy/grants.sql",
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
        3, ge=1, le=8, description="exchanges at once with one host, a process; 3 are clean"
    )
    pbx_ahead_s: float = Field(
        30,
        ge=0,
        le=300,
        description="how old a control socket may be that was opened before it is needed;"
        " 0: none is, as on Lambda",
    )
    pbx_queue_s: Seconds = Field(5, description="longest wait for a turn at one host, then 503")

    dialplan_context: str = Field(
        "inoffice",
        pattern=r"^[A-Za-z0-9_-]{1,79}$",
        description="context that knows the extensions and the numbers to call",
    )
    channel_technology: Literal["auto", "SIP", "PJSIP", "IAX2"] = Field(
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
        description="`prefix` sends the specification's literal `SIP/150`, which taps 1501 too;"
        " refused where extensions are named or a PBX is shared",
    )
    monitor_idle: Literal["refuse", "wait"] = Field(
        "refuse",
        description="monitoring of an extension that is on no call; `wait` lets the supervisor"
        " wait for one",
    )
    precheck: Literal["on", "off"] = Field(
        "on", description="ask the dialplan for the extension before dialling"
    )

    repeat_window_s: Seconds = Field(
        10, description="the same call again within this time is a repeat and dials nothing"
    )
    repeat_after_end_s: Seconds = Field(
        3, description="how long after its end a call still has repeats, within that time"
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
    rate_limit_reads: RateSetting = Field(
        Rate(count=6000, per_s=60),
        description="requests of one enterprise that read its calls, COUNT/SECONDS",
    )
    rate_limit_pbx_reads: RateSetting = Field(
        Rate(count=120, per_s=60),
        description="requests of one enterprise that ask its PBX: history, extensions,"
        " `source=pbx`, COUNT/SECONDS",
    )
    waits_at_once: int = Field(
        100,
        ge=1,
        le=100_000,
        description="waits for a change and streams of events of one enterprise at once, a process",
    )
    waits_in_all: int = Field(
        5,
        ge=1,
        le=100_000,
        description="on AWS: requests of one enterprise that wait at once, over all functions;"
        " elsewhere WAITS_AT_ONCE holds",
    )
    waits_together: int = Field(
        10,
        ge=1,
        le=100_000,
        description="on AWS: requests of all enterprises that wait at once, over all functions; at"
        " most half of a function's executions",
    )
    events_keep_days: int = Field(
        7, ge=1, le=3650, description="days for which `GET /api/events` can go back"
    )
    calls_keep_days: int = Field(
        400, ge=1, le=36_500, description="days for which a call is kept after its placing"
    )
    audit_keep_days: int = Field(
        400, ge=30, le=36_500, description="days for which is kept who did what"
    )
    rate_limit_new_numbers: OptionalRate = Field(
        None,
        description="numbers that an enterprise has not called for 30 days, COUNT/SECONDS or `off`",
    )
    open_calls_enterprise: OptionalCount = Field(
        None, description="calls of one enterprise that are open at once, or `off`"
    )
    open_calls_extension: OptionalCount = Field(
        None, description="calls of one extension that are open at once, or `off`"
    )
    max_call_s: OptionalSeconds = Field(
        None, description="how long after its placing a call is hung up, or `off`"
    )
    rate_limit_address: RateSetting = Field(
        Rate(count=30, per_s=60), description="wrong secrets from one address, COUNT/SECONDS"
    )
    destinations_allowed: PrefixesSetting = Field(
        (), description="prefixes that may be called, e.g. `+375,8029`; empty: all"
    )
    destinations_denied: PrefixesSetting = Field(
        (),
        description="prefixes that may not be called, whatever is allowed; a number of up to"
        " EXTENSION_DIGITS digits still rings as an extension (`code`, `monitor_from`, `to`)",
    )
    extension_digits: int = Field(
        6,
        ge=1,
        le=10,
        description="a longer number is a destination, also where an extension is expected,"
        " unless rules name it as one",
    )
    region: Literal["", "BY", "KZ", "LT", "LV", "PL", "RU", "UA"] = Field(
        "",
        description="whose numbering plan tells that `+375291234567` and `80291234567` are one"
        " number, for repeats, denied prefixes and filters: `BY`, `KZ`, `LT`, `LV`, `PL`, `RU` or"
        " `UA`; empty: each spelling is a number of its own",
    )
    shared_hosts: Literal["refuse", "allow"] = Field(
        "refuse",
        description="monitoring and views where two active enterprises have one PBX, however its"
        " address is spelled",
    )
    late_call: Literal["hangup", "keep"] = Field(
        "hangup", description="a call of unknown outcome that comes up late, not yet answered"
    )
    pbx_retry_s: Seconds = Field(
        5, description="how long a PBX that could not be connected is not tried again"
    )

    origin_secret_arn: str = Field(
        "",
        description="on AWS: the secret with `current`, and perhaps `next`, 16 characters at least:"
        " requests whose `X-Origin-Secret` is neither get 403. Empty: none is asked for",
    )
    secrets_max_age_s: int = Field(
        300, ge=1, le=86_400, description="how long a secret is used before it is read again"
    )
    tracker_function: str = Field(
        "", description="on AWS: the function that follows calls, by its name or ARN"
    )
    trackers_at_once: int = Field(
        5,
        ge=1,
        le=100_000,
        description="on AWS: hosts that functions follow at once, fewer than may be executed; more"
        " hosts take turns",
    )
    outbox_table: str = Field(
        "",
        description="on AWS: the table of DynamoDB through which WebSockets are told events; empty:"
        " none is",
    )
    connections_table: str = Field(
        "", description="on AWS: the table of DynamoDB that has those WebSockets"
    )
    push_endpoint: str = Field(
        "", description="on AWS: the URL by which API Gateway sends to those WebSockets"
    )
    sockets_at_once: int = Field(
        1000,
        ge=1,
        le=100_000,
        description="on AWS: WebSockets of one enterprise at once",
    )
    secret_min: int = Field(
        1,
        ge=1,
        le=255,
        description="characters that an enterprise's secret must have; shorter ones are refused,"
        " 16 is good",
    )
    webhooks_allow_private: NetworksSetting = Field(
        (),
        description="networks to which webhooks may lead though they are not public, without TLS"
        " too, comma-separated, e.g. `10.1.2.0/24`; empty: none",
    )
    cors_origins: OriginsSetting = Field(
        (),
        description="origins whose pages may call the API, comma-separated, `http://localhost:*`"
        " with any port; others get 403. Empty: no page may read an answer",
    )
    service_host: str = Field("127.0.0.1", description="address the local service listens on")
    service_port: Port = Field(8018, description="port of the local service")
    service_workers: int = Field(
        1, ge=1, le=64, description="processes that serve that port together"
    )
    role: Literal["all", "api", "follower"] = Field(
        "all",
        description="what the process does: `api` serves and follows no call, `follower` follows"
        " and serves `/health`, `/ready` and `/metrics` alone, on FOLLOWER_PORT",
    )
    follower_port: Port = Field(8019, description="port of a follower, on SERVICE_HOST")
    metrics_port: OptionalPort = Field(
        None,
        description="port of a follower's `/metrics`, on SERVICE_HOST, or `off`: on FOLLOWER_PORT",
    )
    metrics_token: BearerToken = Field(
        SecretStr(""),
        description="who has it reads `/metrics` (`Authorization: Bearer`), 16 characters at least;"
        " empty: whoever is on this machine does",
    )
    behind_proxy: Literal["no", "yes"] = Field(
        "no", description="`yes`: SERVICE_HOST may be a public one, a proxy before it has TLS"
    )
    trusted_proxies: NetworksSetting = Field(
        (),
        description="proxies whose X-Forwarded-For is believed: addresses or networks,"
        " comma-separated",
    )
    tls_cert_file: str = Field("", description="TLS without a proxy: the certificate's file, PEM")
    tls_key_file: str = Field("", description="its key's file, unless both are in one")
    max_connections: int = Field(
        500,
        ge=10,
        le=50_000,
        description="connections at once, a process; then the one that waited longest is closed",
    )
    root_path: str = Field(
        "",
        pattern=r"^(?:/[A-Za-z0-9._~-]{1,100}){0,10}$",
        description="where the API begins on the host of a proxy that leaves this out of what it"
        " passes on, e.g. `/pbx`; part of `call_status_url`, `Location` and the OpenAPI's server",
    )
    admin_token: BearerToken = Field(
        SecretStr(""),
        description="what opens the panel `/admin`, 16 visible ASCII characters or more; empty:"
        " there is no panel",
    )
    log_file: str = Field("asterisk_service.log", description="log file; empty: console only")

    @property
    def port(self) -> int:
        """The port that this process listens on."""
        return self.follower_port if self.role == "follower" else self.service_port

    @property
    def port_of_metrics(self) -> int:
        """The port on which this process serves its metrics."""
        is_follower = self.role == "follower"
        return self.metrics_port or self.port if is_follower else self.port

    @property
    def ports(self) -> tuple[int, ...]:
        """All ports that this process listens on."""
        return tuple(dict.fromkeys((self.port, self.port_of_metrics)))

    @property
    def settled_within_s(self) -> float:
        """How long a claim may wait for its settling, unless its process has died.

        A settling waits for its turn, asks, and asks once more on another connection.
        """
        return self.request_timeout_s + 3 * self.postgres_timeout_s

    @property
    def is_read_on_the_way(self) -> bool:
        """Whether what is asked of the database crosses a network unencrypted, secrets included."""
        host = self.postgres_host
        if self.postgres_tls != "off" or host.startswith("/") or host == "localhost":
            return False
        try:
            return not ip_address(host).is_loopback
        except ValueError:  # a name: elsewhere, as far as anybody can tell
            return True

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


READ_ON_THE_WAY = (
    "POSTGRES_TLS is off, and POSTGRES_HOST is another machine: whoever is between reads the"
    " password and the enterprises' secrets"
)

# OpenSSH's own, which stand in many an environment.
_OPENSSH = frozenset(
    {
        *("SSH_AGENT_PID", "SSH_ASKPASS", "SSH_ASKPASS_REQUIRE", "SSH_AUTH_SOCK", "SSH_CLIENT"),
        *("SSH_CONNECTION", "SSH_ORIGINAL_COMMAND", "SSH_SK_HELPER", "SSH_SK_PROVIDER", "SSH_TTY"),
        "SSH_USER_AUTH",
    }
)


def doubts(environment: Mapping[str, str] = os.environ) -> Iterator[str]:
    """Yield a sentence for each variable that is allowed and yet hardly meant."""
    known = [name.upper() for name in Settings.model_fields]
    for name in sorted(set(environment) - {*known, *_OPENSSH}):
        if name.startswith(("POSTGRES_", "SSH_")):
            (nearest,) = get_close_matches(name, known, n=1, cutoff=0)
            yield f"{name} is no setting and has no effect: perhaps {nearest} is meant"
    if environment.get("POSTGRES_PASSWORD") == "" and not environment.get("POSTGRES_SECRET_ARN"):
        yield "POSTGRES_PASSWORD is empty: PostgreSQL is logged in to without a password"
    if not any(map(environment.get, ("SSH_PASSWORD", "SSH_PRIVATE_KEY", "SSH_SECRET_ARN"))):
        yield "SSH_PASSWORD is empty, and so is SSH_PRIVATE_KEY: no PBX can be logged in to"
    if environment.get("BEHIND_PROXY") == "yes" and not environment.get("TRUSTED_PROXIES"):
        yield (
            "TRUSTED_PROXIES is empty: wrong secrets of all clients count as the proxy's own, since"
            " its X-Forwarded-For is not believed"
        )


def on_lambda() -> bool:
    """Tell whether this process is an AWS Lambda environment."""
    return "AWS_LAMBDA_FUNCTION_NAME" in os.environ


def metrics_namespace() -> str:
    """Tell which metrics are this deployment's, by Powertools' own variable."""
    return os.environ.get("POWERTOOLS_METRICS_NAMESPACE", SERVICE)


def set_library_folder(folder: Path | None) -> None:
    """Tell prometheus_client, which is yet to be imported, what it shares with other processes."""
    for name in ("PROMETHEUS_MULTIPROC_DIR", "prometheus_multiproc_dir"):  # it heeds both
        os.environ.pop(name, None)
    if folder is not None:
        os.environ["PROMETHEUS_MULTIPROC_DIR"] = str(folder)


def release() -> str:
    """Tell which release this is, as the deployment on AWS names it."""
    return os.environ.get("RELEASE", VERSION)


@once
def the_settings() -> Settings:
    """Settings of this process."""
    return Settings.from_environment(os.environ)
