"""Behind a real nginx with the configuration that is shipped: deploy/nginx.conf."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import re
import shutil
import ssl
import subprocess
import tempfile
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import anyio
import httpx
import pytest
from websockets.asyncio.client import connect

from demo.postgres import free_port
from tests.certificate import make_certificate
from tests.integration.doors import blocks_of, message_of
from tests.integration.service import (
    LIMIT_S,
    PHONE,
    ROOT,
    SECRET,
    environment,
    make_pbx,
    run_process,
    seed,
    until,
)
from tests.integration.test_feed import tell
from tests.postgres import Postgres

pytestmark = pytest.mark.anyio

PROGRAM = shutil.which("nginx") or shutil.which("nginx", path="/usr/sbin")
SHIPPED = (ROOT / "deploy" / "nginx.conf").read_text("utf-8")

_MAIN = """
daemon off;
pid {folder}/pid;
error_log {folder}/main.log info;
events {{ worker_connections 256; }}
http {{
  access_log {folder}/main.access.log;
  client_body_temp_path {folder}/body;
  proxy_temp_path {folder}/proxy;
  fastcgi_temp_path {folder}/fastcgi;
  uwsgi_temp_path {folder}/uwsgi;
  scgi_temp_path {folder}/scgi;
  include {folder}/shipped.conf;
}}
"""


@dataclass
class Nginx:
    """One with the shipped configuration, but for its addresses, its files and one time limit."""

    folder: Path
    port: int
    tls: ssl.SSLContext

    def logs(self) -> str:
        """All that it has logged."""
        return "".join(path.read_text("utf-8") for path in self.folder.glob("*.log"))

    async def access(self, count: int) -> list[str]:
        """The lines of the access log, once there are so many: it is written after an answer."""
        path = self.folder / "asterisk.access.log"
        await until(lambda: path.read_text("utf-8").count("\n") >= count)
        return path.read_text("utf-8").splitlines()

    def client(self, address: str = "127.0.0.1") -> httpx.AsyncClient:
        """Make a client that trusts its certificate, and comes from an address of this machine."""
        url = f"https://127.0.0.1:{self.port}"
        transport = httpx.AsyncHTTPTransport(verify=self.tls, local_address=address)
        return httpx.AsyncClient(base_url=url, transport=transport, timeout=30)

    async def send(self, data: bytes, *, tls: bool = True) -> bytes:
        """Send what no client would, and read until the connection is closed."""
        context = self.tls if tls else None
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port, ssl=context)
        writer.write(data)
        with anyio.fail_after(LIMIT_S):
            try:
                return await reader.read()
            except ConnectionError:
                return b""
            finally:
                writer.close()


def replaced(text: str, *pairs: tuple[str, str]) -> str:
    """Replace what must be there."""
    for old, new in pairs:
        assert old in text, old
        text = text.replace(old, new)
    return text


def prepare(service_port: int, *changed: tuple[str, str]) -> tuple[Nginx, list[str]]:
    """Write its files, have it check them; also the command that runs it."""
    if PROGRAM is None:
        if os.environ.get("CI"):
            pytest.fail("nginx is missing: apt-get install -y nginx")
        pytest.skip("nginx is not installed: apt-get install -y nginx")
    folder = Path(tempfile.mkdtemp(prefix="nginx-"))
    folder.chmod(0o755)  # its workers are another user
    certificate, key = make_certificate(folder)
    port = free_port()
    shipped = replaced(
        SHIPPED,
        ("listen 443 ssl", f"listen 127.0.0.1:{port} ssl"),
        ("/etc/ssl/calls.example.test/fullchain.pem", str(certificate)),
        ("/etc/ssl/calls.example.test/privkey.pem", str(key)),
        ("/var/log/nginx/", f"{folder}/"),
        ("http://127.0.0.1:8018", f"http://127.0.0.1:{service_port}"),
        *changed,
    )
    (folder / "shipped.conf").write_text(shipped)
    (folder / "nginx.conf").write_text(_MAIN.format(folder=folder))
    command = [PROGRAM, "-c", f"{folder}/nginx.conf", "-e", f"{folder}/start.log"]
    tried = subprocess.run([*command, "-t"], capture_output=True, text=True, check=False)
    assert tried.returncode == 0, tried.stderr
    trust = ssl.create_default_context(cafile=str(certificate))
    return Nginx(folder, port, trust), command


@contextlib.asynccontextmanager
async def nginx_before(service_port: int, *changed: tuple[str, str]) -> AsyncIterator[Nginx]:
    """Run one until the block ends; it listens when the block begins."""
    nginx, command = prepare(service_port, *changed)
    process = await asyncio.create_subprocess_exec(*command, stderr=subprocess.DEVNULL)
    try:
        with anyio.fail_after(LIMIT_S):
            while True:
                with contextlib.suppress(OSError):
                    await (await anyio.connect_tcp("127.0.0.1", nginx.port)).aclose()
                    break
                await anyio.sleep(0.02)
        yield nginx
    finally:
        process.terminate()
        await process.wait()
        shutil.rmtree(nginx.folder, ignore_errors=True)


async def test_a_call_goes_through_and_no_log_has_its_secret(
    postgres: Postgres, tmp_path: Path
) -> None:
    """Each header is there once; however the secret is written, no log of nginx has it."""
    seed(postgres)
    async with make_pbx() as pbx:
        log = tmp_path / "service.log"
        settings = environment(postgres, pbx.port, str(log)) | {"TRUSTED_PROXIES": "127.0.0.1"}
        async with (
            run_process(tmp_path, settings) as process,
            nginx_before(int(process.url.rpartition(":")[2])) as nginx,
            nginx.client() as http,
        ):
            query = {"code": "150", "phone": PHONE, "clientId": SECRET}
            call = await http.get("/api/makecallexternal", params=query)
            assert call.status_code == 200
            await until(lambda: pbx.invites["150"] == 1)
            for header, value in (
                ("x-content-type-options", "nosniff"),
                ("cache-control", "no-store"),
            ):
                assert call.headers.get_list(header) == [value]
            headers = {"X-Client-Id": SECRET}
            order = {"from": "151", "to": PHONE}
            assert (await http.post("/api/calls", json=order, headers=headers)).status_code == 201
            for path in (f"/api/{SECRET}", f"/api/calls/clientId={SECRET}", f"/{SECRET}"):
                assert (await http.get(path)).status_code in {401, 404, 422}
            assert (await http.get(f"/health?{'x' * 9_000}")).json()["code"] == "target-too-long"
            large = await http.post("/api/calls", content=b" " * 20_000, headers=headers)
            assert large.status_code == 413
            forged = {"X-Forwarded-For": "203.0.113.9", "X-Client-Id": "nobody-s-secret"}
            assert (await http.get("/api/calls", headers=forged)).status_code == 401
            access = await nginx.access(8)
            logs = nginx.logs()
        assert pbx.invites.total() >= 2
    assert SECRET not in logs
    assert "clientId" not in logs
    assert "с адреса 127.0.0.1" in log.read_text("utf-8")
    assert "203.0.113.9" not in log.read_text("utf-8")
    assert re.search(
        r"^127\.0\.0\.1 \[.*\] GET /api/makecallexternal 200 \d+ [\d.]+ 200 [0-9a-f]{32}$",
        access[0],
    )
    assert call.headers["x-request-id"] in access[0]
    assert " GET - 404 " in access[2]


async def test_events_come_through_as_they_happen(postgres: Postgres, tmp_path: Path) -> None:
    """Over a WebSocket and as server-sent events, each at once; no log has a ticket."""
    seed(postgres)
    settings = environment(postgres, free_port(), "") | {"TRUSTED_PROXIES": "127.0.0.1"}
    headers = {"Authorization": f"Bearer {SECRET}"}
    async with (
        run_process(tmp_path, settings) as process,
        nginx_before(int(process.url.rpartition(":")[2])) as nginx,
        nginx.client() as http,
    ):
        asking = await http.post("/api/events/ticket", headers=headers)
        ticket = asking.json()["ticket"]
        url = f"wss://127.0.0.1:{nginx.port}/api/events?ticket={ticket}"
        stream = {"Accept": "text/event-stream"} | headers
        async with (
            connect(url, ssl=nginx.tls) as socket,
            http.stream("GET", "/api/events", headers=stream) as answer,
        ):
            blocks = blocks_of(answer)
            assert await message_of(socket) == {"type": "heartbeat", "newest": 0}
            tell(postgres, "0367", 1)
            with anyio.fail_after(LIMIT_S):
                assert (await message_of(socket))["seq"] == 1
                while "data" not in await anext(blocks):
                    pass
        assert any(" GET /api/events 101 " in line for line in await nginx.access(3))
        assert ticket not in nginx.logs() + process.output.read_text("utf-8")


@pytest.fixture
def asked() -> list[bytes]:
    """What a service was asked that answers nothing."""
    return []


@contextlib.asynccontextmanager
async def failing(asked: list[bytes]) -> AsyncIterator[int]:
    """Listen as a service that ends each connection when it was asked; its port."""

    async def hang_up(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        asked.append(await reader.readuntil(b"\r\n\r\n"))
        writer.transport.abort()

    server = await asyncio.start_server(hang_up, "127.0.0.1", 0)
    async with server:
        yield server.sockets[0].getsockname()[1]


async def test_a_service_that_fails_is_asked_once(asked: list[bytes]) -> None:
    """Sent again, a call would ring twice; and the failure's log has no secret either."""
    query = {"code": "150", "phone": PHONE, "clientId": SECRET}
    async with failing(asked) as port, nginx_before(port) as nginx, nginx.client() as http:
        assert (await http.get("/api/makecallexternal", params=query)).status_code == 502
        assert (await http.post("/api/calls", params=query, json={})).status_code == 502
        assert len(asked) == 2
        assert SECRET not in nginx.logs()
    async with nginx_before(free_port()) as nginx, nginx.client() as http:
        assert (await http.get("/api/makecallexternal", params=query)).status_code == 502
        assert SECRET not in nginx.logs()


async def test_each_endpoint_is_named_in_the_log(asked: list[bytes]) -> None:
    """Every path of the API up to where a caller's own words begin, and no more of it."""
    described = json.loads((ROOT / "docs" / "openapi.json").read_text("utf-8"))
    endpoints = sorted({re.sub(r"(/api/[a-z]+)/.*", r"\1", path) for path in described["paths"]})
    assert "/api/calls" in endpoints
    async with failing(asked) as port, nginx_before(port) as nginx, nginx.client() as http:
        for path in endpoints:
            await http.get(f"{path}/{SECRET}")
        logged = [line.split()[4] for line in await nginx.access(len(endpoints))]
        assert logged == endpoints
        assert SECRET not in nginx.logs()


async def test_metrics_are_not_for_strangers(asked: list[bytes]) -> None:
    """Nginx itself says 404; the service is not asked."""
    async with failing(asked) as port, nginx_before(port) as nginx, nginx.client() as http:
        for path in ("/metrics", "/metrics/", "/%6detrics", "/metrics?clientId=" + SECRET):
            assert (await http.get(path)).status_code == 404
        assert asked == []
        assert SECRET not in nginx.logs()


@pytest.mark.filterwarnings("ignore:ssl.TLSVersion.TLSv1_1 is deprecated")
@pytest.mark.parametrize(
    ("version", "is_served"), [("TLSv1_1", False), ("TLSv1_2", True), ("TLSv1_3", True)]
)
async def test_old_tls_is_refused(asked: list[bytes], version: str, *, is_served: bool) -> None:
    """From 1.2 on a client is served; an older one is told that its version is none."""
    async with failing(asked) as port, nginx_before(port) as nginx:
        nginx.tls.set_ciphers("ALL:@SECLEVEL=0")
        nginx.tls.minimum_version = ssl.TLSVersion.MINIMUM_SUPPORTED
        nginx.tls.maximum_version = ssl.TLSVersion[version]
        opening = asyncio.open_connection("127.0.0.1", nginx.port, ssl=nginx.tls)
        if is_served:
            _, writer = await opening
            writer.close()
        else:
            with pytest.raises(ssl.SSLError, match="ALERT_PROTOCOL_VERSION"):
                await opening


async def test_a_head_that_comes_slowly_is_ended(asked: list[bytes]) -> None:
    """A byte at a time, the service hears nothing of it, and the connection is closed."""
    sooner = ("client_header_timeout 10s", "client_header_timeout 1s")
    async with failing(asked) as port, nginx_before(port, sooner) as nginx:
        reader, writer = await asyncio.open_connection("127.0.0.1", nginx.port, ssl=nginx.tls)
        reading = asyncio.create_task(reader.read())
        writer.write(f"GET /api/calls?clientId={SECRET} HTTP/1.1\r\nHost: a\r\nX: ".encode())
        while not reading.done():
            with contextlib.suppress(OSError):
                writer.write(b"a")
            await asyncio.sleep(0.05)
        answer = await reading
        writer.close()
        assert not answer or b" 408 " in answer.splitlines()[0]
        assert asked == []
        assert SECRET not in nginx.logs()


async def test_too_many_requests_are_429(asked: list[bytes]) -> None:
    """The whole service has one rate; who is over it is told, and no log has a secret of it."""
    lower = ("rate=100r/s", "rate=1r/m"), ("burst=200 ", "burst=2 ")
    async with (
        failing(asked) as port,
        nginx_before(port, *lower) as nginx,
        nginx.client() as http,
    ):
        query = {"clientId": SECRET}
        answers = [(await http.get("/api/calls", params=query)).status_code for _ in range(5)]
        assert answers == [502, 502, 502, 429, 429]
        assert len(asked) == 3
        assert SECRET not in nginx.logs()


async def test_pages_are_the_service_s(postgres: Postgres, tmp_path: Path) -> None:
    """What it answers for /docs and /admin, whatever that is, is what a browser gets."""
    seed(postgres)
    settings = environment(postgres, free_port(), "") | {"TRUSTED_PROXIES": "127.0.0.1"}
    async with (
        run_process(tmp_path, settings) as process,
        nginx_before(int(process.url.rpartition(":")[2])) as nginx,
        httpx.AsyncClient(base_url=process.url) as straight,
        nginx.client() as http,
    ):
        for path in ("/docs", "/admin", "/admin/", "/admin/calls?clientId=" + SECRET):
            ours, theirs = [await client.get(path) for client in (straight, http)]
            assert (ours.status_code, type_of(ours)) == (theirs.status_code, type_of(theirs))
            assert without_ids(ours) == without_ids(theirs)
            assert "x-request-id" in theirs.headers
        logged = [line.split()[4] for line in await nginx.access(4)]
        assert logged == ["/docs", "/admin", "/admin", "/admin"]
        assert SECRET not in nginx.logs()


def type_of(answer: httpx.Response) -> str:
    """Read what an answer's body is."""
    return answer.headers["content-type"]


def without_ids(answer: httpx.Response) -> str:
    """Read a body but for what differs with each request."""
    return re.sub(r"[0-9a-f]{32}", "", answer.text)


async def test_the_client_s_address_is_what_the_service_sees(
    postgres: Postgres, tmp_path: Path
) -> None:
    """Its own, not nginx's, and not one that it wrote."""
    seed(postgres)
    log = tmp_path / "service.log"
    settings = environment(postgres, free_port(), str(log)) | {"TRUSTED_PROXIES": "127.0.0.1"}
    forged = {"X-Forwarded-For": "203.0.113.9", "X-Client-Id": "nobody-s-secret"}
    async with (
        run_process(tmp_path, settings) as process,
        nginx_before(int(process.url.rpartition(":")[2])) as nginx,
        nginx.client("127.0.0.2") as http,
    ):
        assert (await http.get("/api/calls", headers=forged)).status_code == 401
    assert "с адреса 127.0.0.2" in log.read_text("utf-8")
    assert "203.0.113.9" not in log.read_text("utf-8")


async def test_no_connection_to_the_service_rests() -> None:
    """Each request has one of its own: it says that it is the last, and is closed by nginx too."""
    heads: list[bytes] = []
    closed = asyncio.Event()

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        heads.append(await reader.readuntil(b"\r\n\r\n"))
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")  # and rests
        assert await reader.read() == b""
        writer.close()
        closed.set()

    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    async with server, nginx_before(port) as nginx, nginx.client("127.0.0.2") as http:
        for number in (1, 2):
            closed.clear()
            given = {"Host": "calls.example.test", "X-Forwarded-For": "203.0.113.9"}
            assert (await http.get("/api/calls", headers=given)).text == "ok"
            with anyio.fail_after(LIMIT_S):
                await closed.wait()
            assert len(heads) == number
    for head in heads:
        lines = head.decode().lower().splitlines()
        told = [line for line in lines if line.startswith(("connection", "x-forw", "host"))]
        assert sorted(told) == [
            "connection: close",
            "host: calls.example.test",
            "x-forwarded-for: 127.0.0.2",
        ]


TARGET = f"/api/makecallexternal?code=150&clientId={SECRET}".encode()
BEARER = f"Authorization: Bearer {SECRET}\r\n".encode()
HEAD = b"GET " + TARGET + b" HTTP/1.1\r\nHost: calls.example.test\r\n"
MALFORMED = {
    "no request line": SECRET.encode() + b"\r\n\r\n",
    "a version that is none": b"GET " + TARGET + b" HTTP/9.9\r\nHost: a\r\n\r\n",
    "a space in the target": b"GET " + TARGET + b" x HTTP/1.1\r\nHost: a\r\n\r\n",
    "a byte that no target has": b"GET " + TARGET + b"\x00 HTTP/1.1\r\nHost: a\r\n\r\n",
    "a method in small letters": b"get " + TARGET + b" HTTP/1.1\r\nHost: a\r\n\r\n",
    "a target that is too long": b"GET " + TARGET + b"x" * 70_000 + b" HTTP/1.1\r\n\r\n",
    "a header that is too long": HEAD + b"X-Client-Id: " + SECRET.encode() * 4_000 + b"\r\n\r\n",
    "too many headers": HEAD + BEARER * 2_000 + b"\r\n",
    "no name of a host": b"GET " + TARGET + b" HTTP/1.1\r\n" + BEARER + b"\r\n",
    "two hosts": HEAD + BEARER + b"Host: b\r\n\r\n",
    "a host that is none": b"GET / HTTP/1.1\r\nHost: " + SECRET.encode() + b"/..\r\n\r\n",
    "a length that is none": HEAD + b"Content-Length: " + SECRET.encode() + b"\r\n\r\n",
    "a coding that is none": HEAD + b"Transfer-Encoding: " + SECRET.encode() + b"\r\n\r\n",
    "a header without its end": HEAD + BEARER + b"X: a\x00" + SECRET.encode() + b"\r\n\r\n",
    "a body that is too large": HEAD + b"Content-Length: 20000\r\n\r\n",
    "a path above the root": b"GET /../" + SECRET.encode() + b" HTTP/1.1\r\nHost: a\r\n\r\n",
}


async def test_what_is_malformed_leaves_no_secret_in_any_log(asked: list[bytes]) -> None:
    """Refused by nginx, of which no log at any level repeats it; the service hears nothing."""
    async with failing(asked) as port, nginx_before(port) as nginx:
        for what, data in MALFORMED.items():
            answer = await nginx.send(data)
            assert re.match(rb"(HTTP/1\.1 [45]|<html>|$)", answer), (what, answer)
            assert SECRET.encode() not in answer, what
            assert SECRET not in nginx.logs(), what
        plain = await nginx.send(HEAD + b"\r\n", tls=False)
        assert plain.startswith(b"HTTP/1.1 400 ")
        assert asked == []
        await nginx.access(len(MALFORMED) - 1)  # the log is there, and was written
        assert SECRET not in nginx.logs()


async def test_time_outs_leave_no_secret_in_any_log() -> None:
    """A body that does not come, a service that does not answer, or answers nonsense."""
    sooner = [
        ("client_body_timeout 10s", "client_body_timeout 1s"),
        ("proxy_read_timeout 35s", "proxy_read_timeout 1s"),
    ]

    async def be_silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        if b"nonsense" in head:
            writer.write(b"HTTP/1.1 200 OK\r\nX: \x00" + SECRET.encode() + b"\r\n\r\n")
        await reader.read()
        writer.close()

    server = await asyncio.start_server(be_silent, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    async with server, nginx_before(port, *sooner) as nginx, nginx.client() as http:
        query = {"clientId": SECRET}
        assert (await http.get("/api/calls", params=query)).status_code == 504
        query["code"] = "nonsense"
        assert (await http.get("/api/calls", params=query)).status_code == 502
        started = HEAD.replace(b"GET", b"POST") + b"Content-Length: 9\r\n\r\n{"
        await nginx.send(started)
        statuses = [line.split()[5] for line in await nginx.access(3)]
        assert statuses == ["504", "502", "408"]
        assert SECRET not in nginx.logs()
