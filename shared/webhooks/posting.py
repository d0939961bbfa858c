"""One attempt: a POST to an address that was checked. The only importer of httpcore."""

from __future__ import annotations

import asyncio
import ssl
import time
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from contextvars import ContextVar
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any

import httpcore

from shared.settings import SERVICE, VERSION, Network
from shared.telemetry import LOG, count
from shared.webhooks.addresses import AddressRefused, Target, parse_url, resolve
from shared.webhooks.schedule import Answer

_WHOLE_S = 15.0
_CONNECT_S = 5.0
# What follows the headers is of no interest, but a connection is used again once it was read.
_MOST_BYTES = 8192
_BODY_S = 0.5
_CONNECTIONS = 64
# An answer has a head and those kilobytes, not `100 Continue` for ever.
_MOST_READ = 64 * 1024
# Many a server closes what was idle for 5 s.
_IDLE_S = 4.0
# Whose webhook is sent to: httpcore passes on to its network what stands in the URL alone.
_WHOSE: ContextVar[str] = ContextVar("whose")


class Poster:
    """Sends to webhooks' addresses; `private` are the networks that an operator has allowed.

    No redirect is followed, no proxy of the environment used, and of an answer nothing is kept but
    its status.
    """

    def __init__(self, private: Sequence[Network], whole_s: float = _WHOLE_S) -> None:
        self._private = private
        self._whole_s = whole_s
        self._pools: dict[str, httpcore.AsyncConnectionPool] = {}

    async def post(
        self, url: str, headers: Mapping[str, str], body: bytes, *, whose: str
    ) -> Answer:
        """Send once, for the enterprise `whose`; whatever happens is an answer."""
        _WHOSE.set(whose)
        began = time.monotonic()
        status, error, retry_after_s = None, None, None
        try:
            async with asyncio.timeout(self._whole_s):
                status, retry_after_s = await self._post(parse_url(url), headers, body)
        except AddressRefused:
            error = "address-refused"
        except (TimeoutError, httpcore.TimeoutException):
            error = "timeout"
        except httpcore.ConnectError as failure:
            error = "tls-failed" if _is_of_tls(failure) else "not-connected"
        except (httpcore.NetworkError, httpcore.ProtocolError, OSError):
            error = "no-answer"
        except Exception:  # noqa: BLE001 - it must be tried again later, not at once for ever
            count("InternalErrors")
            LOG.exception("❌ Отправка вебхука")
            error = "internal-error"
        return Answer(status, error, retry_after_s, time.monotonic() - began)

    async def close(self) -> None:
        """Close every connection."""
        while self._pools:
            _, pool = self._pools.popitem()
            await pool.aclose()

    async def _post(
        self, target: Target, headers: Mapping[str, str], body: bytes
    ) -> tuple[int, float | None]:
        url = httpcore.URL(
            scheme=target.scheme, host=target.host, port=target.port, target=target.path
        )
        sent: list[tuple[bytes | str, bytes | str]] = [
            ("host", target.origin.partition("://")[2]),
            ("content-type", "application/json"),
            ("user-agent", f"{SERVICE}/{VERSION}"),
            *headers.items(),
        ]
        pool = self._pool(target.scheme)
        async with pool.stream("POST", url, headers=sent, content=body) as response:
            with suppress(TimeoutError, httpcore.NetworkError, httpcore.ProtocolError):
                async with asyncio.timeout(_BODY_S):
                    await _drain(response)
            return response.status, _retry_after_s(response.headers)

    def _pool(self, scheme: str) -> httpcore.AsyncConnectionPool:
        if scheme not in self._pools:
            self._pools[scheme] = httpcore.AsyncConnectionPool(
                ssl_context=ssl.create_default_context(),
                max_connections=_CONNECTIONS,
                keepalive_expiry=_IDLE_S,
                network_backend=_CheckedNetwork(self._private, is_plain=scheme == "http"),
            )
        return self._pools[scheme]


class _CheckedNetwork(httpcore.AnyIOBackend):
    """Connects to an address that was checked, whatever its name is; TLS has the name still."""

    def __init__(self, private: Sequence[Network], *, is_plain: bool) -> None:
        self._private = private
        self._is_plain = is_plain

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,  # noqa: ARG002, ASYNC109 - httpcore's own signature
        local_address: str | None = None,
        socket_options: Iterable[Any] | None = None,
    ) -> httpcore.AsyncNetworkStream:
        """Resolve, check, connect to the first address that answers.

        Raises:
            AddressRefused: one of them is not allowed.
            httpcore.ConnectError: none answers.
        """
        addresses = await resolve(
            host, port, is_plain=self._is_plain, private=self._private, whose=_WHOSE.get()
        )
        failure: Exception = httpcore.ConnectError("no address")
        for address in addresses:
            try:
                stream = await super().connect_tcp(
                    address, port, _CONNECT_S, local_address, socket_options
                )
            except (httpcore.ConnectError, httpcore.ConnectTimeout) as error:
                failure = error
            else:
                return _Bounded(stream)
        raise failure


class _Bounded(httpcore.AsyncNetworkStream):
    """A connection that reads so much after each request, and then is broken."""

    def __init__(self, stream: httpcore.AsyncNetworkStream) -> None:
        self._stream = stream
        self._read = 0

    async def read(
        self,
        max_bytes: int,
        timeout: float | None = None,  # noqa: ASYNC109 - httpcore's own signature
    ) -> bytes:
        """Read. Raises httpcore.ReadError."""
        if self._read > _MOST_READ:
            raise httpcore.ReadError("more than any answer has")
        part = await self._stream.read(max_bytes, timeout)
        self._read += len(part)
        return part

    async def write(
        self,
        buffer: bytes,
        timeout: float | None = None,  # noqa: ASYNC109 - httpcore's own signature
    ) -> None:
        """Write; what is read then is another answer."""
        self._read = 0
        await self._stream.write(buffer, timeout)

    async def aclose(self) -> None:
        """Close it."""
        await self._stream.aclose()

    async def start_tls(
        self,
        ssl_context: ssl.SSLContext,
        server_hostname: str | None = None,
        timeout: float | None = None,  # noqa: ASYNC109 - httpcore's own signature
    ) -> httpcore.AsyncNetworkStream:
        """Go on by TLS, as bounded."""
        return _Bounded(await self._stream.start_tls(ssl_context, server_hostname, timeout))

    def get_extra_info(self, info: str) -> Any:
        """Tell what the connection tells, such as whether it still stands."""
        return self._stream.get_extra_info(info)


def _is_of_tls(failure: httpcore.ConnectError) -> bool:
    """Tell whether it was not the connection, but its certificate, or what is spoken there."""
    return any(isinstance(cause, ssl.SSLError) for cause in (*failure.args, failure.__context__))


async def _drain(response: httpcore.Response) -> None:
    read = 0
    async for part in response.aiter_stream():
        read += len(part)
        if read > _MOST_BYTES:
            return


def _retry_after_s(headers: Iterable[tuple[bytes, bytes]]) -> float | None:
    """Read Retry-After, seconds or a date; None: there is none that can be understood."""
    text = next((value for name, value in headers if name.lower() == b"retry-after"), b"")
    if text.isdigit():
        return float(text[:10])
    try:
        at = parsedate_to_datetime(text.decode("ascii"))
    except (ValueError, TypeError, OverflowError):  # such as a day of twenty digits
        return None
    at = at if at.tzinfo else at.replace(tzinfo=UTC)
    return max(0.0, (at - datetime.now(UTC)).total_seconds())
