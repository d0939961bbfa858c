"""A sandbox: a stand-in PBX in the place of one enterprise's own, a process beside the service.

    ./asterisk.sh sandbox NUMBER [start | stop | status | remove]        without NUMBER: list them

It listens on the enterprise's own `ip`, a port of its own, and shows a host key that is kept in
.run and pinned in the database; nobody has to log in, and no password of the service's is told it.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import fcntl
import logging
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import asyncssh

from demo.numbers import call_in
from demo.pbx.profiles import PROFILES, Places
from demo.standin import StandIn
from shared.errors import DatabaseUnavailable
from shared.operate.command import OperatorError, explain, operator
from shared.operate.sandboxes import find_place, list_sandboxes, remove_sandbox, set_sandbox
from shared.settings import Settings, SettingsError, the_settings
from shared.store.database import Database, the_database

_RUN = Path(".run")  # of the folder that asterisk.sh is in
_STARTS_S, _STOPS_S = 30.0, 10.0
_READY = "Ready"
_NOT_RUNNING = 3
_NEVER_S = 1e9


class SandboxError(Exception):
    """A sandbox cannot be started; the text says why."""


@dataclass(frozen=True, slots=True)
class Files:
    """Where a sandbox's key, process and console are."""

    number: str

    def _path(self, ending: str) -> Path:
        # Any number is a name of a file's: what is none in it is written by its code.
        name = re.sub(r"[^A-Za-z0-9]", lambda sign: f"_{ord(sign[0]):x}_", self.number)
        return _RUN / f"sandbox-{name}.{ending}"

    @property
    def key(self) -> Path:
        """The private host key."""
        return self._path("key")

    @property
    def pid(self) -> Path:
        """The number of its process."""
        return self._path("pid")

    @property
    def console(self) -> Path:
        """What it prints."""
        return self._path("log")

    def running(self) -> int | None:
        """The pid of its process; a file alone may be stale, or name another one's by now."""
        with contextlib.suppress(OSError, ValueError):
            pid = int(self.pid.read_text("ascii"))
            process = Path(f"/proc/{pid}")
            words = (process / "cmdline").read_bytes().split(b"\0")
            is_here = (process / "cwd").samefile(".")
            if is_here and words[1:5] == [b"-m", b"demo.sandbox", self.number.encode(), b"serve"]:
                return pid
        return None

    def host_key(self) -> asyncssh.SSHKey:
        """Read the host key, which is made once."""
        with contextlib.suppress(FileNotFoundError):
            return asyncssh.read_private_key(self.key)
        key = asyncssh.generate_private_key("ssh-ed25519")
        descriptor = os.open(self.key, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "wb") as file:
            file.write(key.export_private_key())
        return key


@contextlib.contextmanager
def _alone() -> Iterator[None]:
    """One start or stop at a time; what is written is nobody else's to read."""
    os.umask(0o077)
    _RUN.mkdir(exist_ok=True)
    with (_RUN / "sandboxes.lock").open("ab") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def start(options: argparse.Namespace) -> int:
    """Start it, unless it runs, and wait until it can be called. Raises SandboxError."""
    files = Files(options.number)
    if pid := files.running():
        print(f"Already running, pid {pid}.")
        return 0
    command = [sys.executable, "-m", "demo.sandbox", options.number, "serve"]
    command += ["--version", options.version] if options.version else []
    command += ["--incoming", str(options.incoming)] if options.incoming else []
    with files.console.open("wb") as console:
        process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=console,
            stderr=console,
            start_new_session=True,
        )
    files.pid.write_text(f"{process.pid}\n", "ascii")
    end = time.monotonic() + _STARTS_S
    while time.monotonic() < end and process.poll() is None:
        if (said := files.console.read_text("utf-8")).startswith(_READY):
            where = said.split()[1]
            print(f"Started, pid {process.pid}: enterprise {options.number} is a sandbox, {where}.")
            print("It rings nobody, and every answer to it says so.")
            return 0
        time.sleep(0.05)
    process.kill()
    files.pid.unlink()
    lines = files.console.read_text("utf-8").splitlines()
    raise SandboxError(lines[-1] if lines else f"It did not start within {_STARTS_S:g} s")


def stop(options: argparse.Namespace) -> int:
    """Stop it; the enterprise stays a sandbox, which cannot be reached until it is started."""
    files = Files(options.number)
    pid = files.running()
    if pid is None:
        print("Not running.", flush=True)
        return 0
    os.kill(pid, signal.SIGTERM)
    end = time.monotonic() + _STOPS_S
    while files.running():
        if time.monotonic() > end:
            os.kill(pid, signal.SIGKILL)
        time.sleep(0.05)
    files.pid.unlink(missing_ok=True)
    print("Stopped.", flush=True)
    return 0


def status(options: argparse.Namespace) -> int:
    """Say whether it runs: 3 if not."""
    pid = Files(options.number).running()
    print(f"Running, pid {pid}." if pid else "Not running.")
    return 0 if pid else _NOT_RUNNING


def remove(options: argparse.Namespace) -> int:
    """Stop it, and have the enterprise's `ip` be a PBX again. Raises OperatorError."""
    stop(options)
    remove_sandbox(the_database(), operator(), options.number)
    files = Files(options.number)
    for path in (files.key, files.console):
        path.unlink(missing_ok=True)
    print(f"Enterprise {options.number} is no sandbox any more: its ip is a PBX.")
    return 0


def show() -> int:
    """List the sandboxes."""
    sandboxes = list_sandboxes(the_database())
    for one in sandboxes:
        pid = Files(one.enterprise).running()
        how = f"pid {pid}" if pid else "not running here"
        print(f"enterprise {one.enterprise}: {one.host}:{one.port}, {how}")
    if not sandboxes:
        print("No enterprise is a sandbox")
    return 0


async def serve(options: argparse.Namespace, settings: Settings, database: Database) -> None:
    """Be the stand-in until a signal comes. Raises SandboxError, OperatorError."""
    stop_now = asyncio.Event()
    for name in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(name, stop_now.set)
    key = Files(options.number).host_key()
    host, port = await asyncio.to_thread(find_place, database, options.number)
    pbx = StandIn(
        host=host,
        port=port,
        is_open=True,
        host_key=key,
        version=options.version or ("22" if settings.channel_technology == "PJSIP" else "16"),
        hostname=f"sandbox-{options.number}",
        asterisk_commands=(settings.asterisk_command.split(),),
        places=Places(settings.dialplan_context, settings.asterisk_socket, settings.cdr_file),
    )
    try:
        await pbx.__aenter__()
    except OSError as error:
        raise SandboxError(
            f"{host}, port {port or 'any'}, cannot be listened on: {error}"
        ) from None
    try:
        public = key.export_public_key().decode().strip()
        await asyncio.to_thread(set_sandbox, database, operator(), options.number, pbx.port, public)
        database.close()
        print(f"{_READY} {host}:{pbx.port}", flush=True)
        async with asyncio.TaskGroup() as group:
            calling = group.create_task(call_in(pbx.call_in, options.incoming or _NEVER_S))
            await stop_now.wait()
            calling.cancel()
    finally:
        await pbx.__aexit__(None, None, None)


def _seconds(text: str) -> float:
    """Read how often somebody calls in: less than a second apart their calls would pile up."""
    with contextlib.suppress(ValueError):
        if 1 <= (seconds := float(text)) <= _NEVER_S:
            return seconds
    raise argparse.ArgumentTypeError("must be 1 or more seconds")


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="./asterisk.sh sandbox",
        description="A stand-in PBX for one enterprise, which rings nobody.",
    )
    parser.add_argument("number", nargs="?", help="the enterprise's; without it they are listed")
    parser.add_argument(
        "what", nargs="?", default="start", choices=["start", "stop", "status", "remove", "serve"]
    )
    parser.add_argument("--version", choices=PROFILES, help="the Asterisk that is imitated")
    parser.add_argument(
        "--incoming", type=_seconds, metavar="S", help="somebody calls in each S seconds, 1 or more"
    )
    return parser.parse_args()


def main() -> int:
    """Do what the command line says; its exit status."""
    options = _parse()
    try:
        if options.number is None:
            return show()
        if options.what == "serve":
            asyncio.run(serve(options, the_settings(), the_database()))
            return 0
        with _alone():
            commands = {"start": start, "stop": stop, "status": status, "remove": remove}
            return commands[options.what](options)
    except (OperatorError, SandboxError, SettingsError) as error:
        said = str(error)
    except DatabaseUnavailable as error:
        said = explain(error, the_database())
    print(f"❌ {said.removeprefix('❌ ')}", file=sys.stderr)
    return 1


if __name__ == "__main__":
    logging.basicConfig(level=logging.ERROR, format="%(levelname)s %(message)s")
    sys.exit(main())
