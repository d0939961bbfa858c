"""Where the local service may listen, and with which certificate."""

from __future__ import annotations

import ssl
from ipaddress import ip_address

from shared.settings import Settings, SettingsError


def check_bind(settings: Settings) -> None:
    """Make sure that no secret comes in the clear from elsewhere, and that the TLS files are good.

    Raises:
        SettingsError: otherwise.
    """
    if settings.tls_key_file and not settings.tls_cert_file:
        raise SettingsError("TLS_KEY_FILE: TLS_CERT_FILE must name its certificate")
    if settings.tls_cert_file:
        _check_certificate(settings.tls_cert_file, settings.tls_key_file)
    elif settings.behind_proxy == "no" and not _is_loopback(settings.service_host):
        where = settings.service_host or "every address"
        raise SettingsError(
            f"SERVICE_HOST: other machines can reach {where}, and secrets would come in the clear:"
            " set BEHIND_PROXY=yes where a proxy before it has TLS, or TLS_CERT_FILE and"
            " TLS_KEY_FILE"
        )


def _check_certificate(certificate: str, key: str) -> None:
    def refuse() -> str:
        raise SettingsError("TLS_KEY_FILE: the key must not need a password")

    try:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificate, key or None, password=refuse)
    except ssl.SSLError as error:
        reason = error.reason or "no certificate and key"
        raise SettingsError(f"TLS_CERT_FILE, TLS_KEY_FILE: {reason}") from None
    except OSError as error:
        raise SettingsError(
            f"TLS_CERT_FILE, TLS_KEY_FILE: cannot be read: {error.strerror}"
        ) from None


def _is_loopback(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def service_url(settings: Settings) -> str:
    """Tell where this machine finds the service, which may listen on all addresses."""
    host = {"0.0.0.0": "127.0.0.1", "": "127.0.0.1", "::": "::1"}.get(  # noqa: S104 - read, not bound
        settings.service_host, settings.service_host
    )
    scheme = "https" if settings.tls_cert_file else "http"
    return f"{scheme}://{f'[{host}]' if ':' in host else host}:{settings.port}"
