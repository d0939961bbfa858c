"""The lab's PBXs, as tests see them: what happened there, and how to do them harm.

A PBX is brought up by ``tests/pbx/lab/lab.sh up 16`` (or ``22``), as root; ``lab.sh --help`` tells
its numbers. Everything here goes round the code under test: straight to Asterisk, to the phones'
own records and to the processes.
"""

import contextlib
import os
import re
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Self

from tests.processes import is_stopped

PBXS: dict[str, tuple[Literal["SIP", "PJSIP"], int, int, int, int]] = {
    # technology, ssh port, AMI port, SIP port, the UDP port where a test may listen as phone 157
    "16": ("SIP", 25059, 15038, 15160, 15320),
    "22": ("PJSIP", 25060, 15039, 15170, 15520),
}
PLAN_PHONES_OFFSET = 10  # from that port to the one of the plans' phones
TRUNK_OFFSET = -3  # and to the one of the trunk by which others call in
SCRIPT = Path(__file__).parent / "lab" / "lab.sh"
# What becomes of call records: kept back for five minutes, not written, or not to a file.
CDR_SETTINGS = {
    "batch": "enable=yes\nbatch=yes\nsize=100\ntime=300\n",
    "off": "enable=no\n",
    "no-csv": "",
}
# Which of them the tests take: PBX_VERSION names one, so that both may be tested at once.
VERSIONS = os.environ.get("PBX_VERSION", "16 22").split()
# Long enough on a machine that has much else to do.
LIMIT_S = 60.0
POLL_S = 0.02


@dataclass(frozen=True)
class Lab:
    """One PBX of the lab."""

    version: Literal["16", "22"]
    technology: Literal["SIP", "PJSIP"]
    ssh_port: int
    no_forwarding_port: int
    ami_port: int
    sip_port: int
    free_phone_port: int
    plan_phones_port: int
    trunk_port: int
    directory: Path
    host: str = "127.0.0.1"
    user: str = "root"
    plain_user: str = "operator"
    password: str = "lab-password"

    @classmethod
    def of(cls, version: Literal["16", "22"]) -> Self:
        """Describe the PBX; it need not run."""
        technology, ssh_port, ami_port, sip_port, free_phone_port = PBXS[version]
        return cls(
            version=version,
            technology=technology,
            ssh_port=ssh_port,
            no_forwarding_port=ssh_port + 10,
            ami_port=ami_port,
            sip_port=sip_port,
            free_phone_port=free_phone_port,
            plan_phones_port=free_phone_port + PLAN_PHONES_OFFSET,
            trunk_port=free_phone_port + TRUNK_OFFSET,
            directory=Path(os.environ.get("LAB_DIR", "/var/tmp/asterisk-lab")).resolve(),
        )

    @property
    def private_key_path(self) -> Path:
        """The key that root and operator accept."""
        return self.directory / "id_ed25519"

    @property
    def root(self) -> Path:
        """The folder that is the PBX's ``/``."""
        return self.directory / self.version

    # --- is it there --------------------------------------------------------------------

    def is_up(self) -> bool:
        """Tell whether Asterisk and both sshds run; false too when not root."""
        return self._script("status").returncode == 0

    def up(self) -> None:
        """Start whatever does not run, and wait until Asterisk is fully booted."""
        done = self._script("up")
        if done.returncode:
            raise RuntimeError(done.stderr.strip() or done.stdout.strip())

    def down(self) -> None:
        """Stop what `up` has started."""
        self._script("down")

    def _script(self, verb: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [SCRIPT, verb, self.version],
            capture_output=True,
            text=True,
            check=False,
            env={**os.environ, "LAB_DIR": str(self.directory)},
        )

    # --- what Asterisk says -------------------------------------------------------------

    def rx_bytes(self, command: str) -> bytes:
        """Run a command by the PBX's own ``asterisk -rx``; its output as it came."""
        return subprocess.run(
            ["/usr/sbin/chroot", self.root, "/usr/sbin/asterisk", "-rx", command],
            capture_output=True,
            check=False,
            timeout=LIMIT_S,
        ).stdout

    def rx(self, command: str) -> str:
        """Run a command by the PBX's own ``asterisk -rx``; its output as text."""
        return self.rx_bytes(command).decode(errors="replace")

    def channels(self) -> list[str]:
        """List the lines of ``core show channels concise``."""
        return self.rx("core show channels concise").splitlines()

    def calls_processed(self) -> int:
        """Count the legs that entered the dialplan since Asterisk's start.

        An originate to an agent is one, and the customer's leg is one more when it is dialled.
        """
        text = self.rx("core show channels count")
        found = re.search(r"^(\d+) calls? processed$", text, re.MULTILINE)
        if found is None:
            raise RuntimeError(f"no count of calls in {text!r}")
        return int(found[1])

    @contextlib.contextmanager
    def cdr(self, mode: Literal["batch", "off", "no-csv"]) -> Iterator[None]:
        """Have the PBX keep its call records otherwise, and as before afterwards.

        It is started anew for each: to reload the settings of a batch may hang Asterisk 16.
        """
        path = self.root / "etc/asterisk/cdr.conf"
        before = path.read_text()
        path.write_text(before.replace("[general]\n", f"[general]\n{CDR_SETTINGS[mode]}", 1))
        try:
            self.kill()
            self.restart()
            if mode == "no-csv":
                self.rx("module unload cdr_csv.so")
            yield
        finally:
            path.write_text(before)
            self.kill()
            self.restart()

    def hangup_all(self) -> None:
        """End every call."""
        self.rx("channel request hangup all")

    def wait_idle(self, timeout_s: float = LIMIT_S) -> None:
        """Wait until there is no channel.

        Raises:
            TimeoutError: some are left.
        """
        wait(lambda: not self.channels(), timeout_s, "there are channels still")

    # --- what the phones saw ------------------------------------------------------------

    def dialled(self, phone: str) -> list[str]:
        """List the request URIs that a phone was called by, one for each SIP call.

        Retransmissions do not count. A line is there at most some 20 ms after the INVITE.
        """
        path = self.directory / f"run{self.version}" / "phones" / f"{phone}.invites"
        calls: dict[str, str] = {}
        for line in path.read_text().split("\n")[:-1]:  # a line without its end is half written
            call_id, uri = line.split()
            calls.setdefault(call_id, uri)
        return list(calls.values())

    def invites(self, phone: str) -> int:
        """Count the SIP calls that a phone ("150", "trunktalk") has got since ``up``."""
        return len(self.dialled(phone))

    # --- what the verbose log says ------------------------------------------------------

    @property
    def log_path(self) -> Path:
        """Asterisk's log, verbose up to level 5."""
        return self.root / "var/log/asterisk/full"

    def log_mark(self) -> int:
        """Give the log's present end, to read on from later."""
        return self.log_path.stat().st_size

    def log_since(self, mark: int) -> list[str]:
        """List the lines that the log got after the mark."""
        with self.log_path.open("rb") as log:
            log.seek(mark)
            return log.read().decode(errors="replace").split("\n")[:-1]

    def spied_since(self, mark: int) -> list[str]:
        """List the channels that a ChanSpy began to listen to after the mark, in order."""
        found = (re.search(r"Spying on channel (\S+)", line) for line in self.log_since(mark))
        return [match[1] for match in found if match]

    # --- harm ---------------------------------------------------------------------------

    def pid(self) -> int:
        """Give the process id of Asterisk.

        Raises:
            ProcessLookupError: it does not run.
        """
        return self._pid("asterisk/asterisk.pid")

    def waiting(self) -> int:
        """Count the connections to its control socket that Asterisk has not accepted yet."""
        sockets = subprocess.run(["ss", "-Hxlpn"], capture_output=True, text=True, check=True)
        (listening,) = (
            line.split()
            for line in sockets.stdout.splitlines()
            if "asterisk.ctl" in line and f"pid={self.pid()}," in line
        )
        return int(listening[2])

    def freeze(self) -> None:
        """Stop Asterisk in its tracks: it answers nothing, its sockets stay open."""
        pid = self.pid()
        os.kill(pid, signal.SIGSTOP)
        # Its threads stop one by one; until the last has, one of them may still answer.
        wait(lambda: is_stopped(pid), LIMIT_S, "no freeze")

    def thaw(self) -> None:
        """Let a frozen Asterisk go on."""
        os.kill(self.pid(), signal.SIGCONT)

    def kill(self) -> None:
        """Kill Asterisk at once, and wait until it is gone."""
        pid = self.pid()
        os.kill(pid, signal.SIGKILL)
        wait(lambda: not self._mine(pid), LIMIT_S, "Asterisk does not die")

    def restart(self) -> None:
        """Start Asterisk after a ``kill`` and wait until it is fully booted."""
        self.up()

    def wait_commands(self) -> None:
        """Wait until no `asterisk -rx` runs, nor a shell: one outlives its connection.

        Raises:
            TimeoutError: some do.
        """
        wait(lambda: not self._commands(), LIMIT_S, "a command goes on")

    def end_commands(self) -> None:
        """Kill them."""
        for pid in self._commands():
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        self.wait_commands()

    def _commands(self) -> list[int]:
        own = {self.pid()}
        found = [pid for name in ("asterisk", "sh", "bash") for pid, _ in _processes(name)]
        return [pid for pid in found if pid not in own and self._mine(pid)]

    def sshd_connections(self, port: int | None = None) -> list[int]:
        """List the sshd processes that serve connections to the port (by default, ssh_port).

        A connection may have two: kill all and it is cut, stop all and it stays open and mute.
        """
        listener = self._pid(f"sshd-{port or self.ssh_port}.pid")
        parents = dict(_processes("sshd"))
        family = {listener}
        while more := {pid for pid, parent in parents.items() if parent in family} - family:
            family |= more
        return sorted(family - {listener})

    def _pid(self, name: str) -> int:
        try:
            pid = int((self.root / "run" / name).read_text())
        except (FileNotFoundError, ValueError):
            raise ProcessLookupError(f"{name} of PBX {self.version} is not there") from None
        if not self._mine(pid):
            raise ProcessLookupError(f"{name} of PBX {self.version}: process {pid} is gone")
        return pid

    def _mine(self, pid: int) -> bool:
        """Tell whether the process lives in the PBX: a pid file may outlive its process."""
        try:
            return Path(f"/proc/{pid}/root").readlink() == self.root
        except OSError:
            return False


def _processes(prefix: str) -> Iterator[tuple[int, int]]:
    """Give the id, and its parent's, of every process with such a name."""
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            text = stat.read_text()
        except OSError:
            continue  # it has just ended
        # The state and the parent follow the name, which stands in brackets and may hold anything.
        before, _, after = text.rpartition(")")
        if before.partition("(")[2].startswith(prefix):
            yield int(stat.parent.name), int(after.split()[1])


def wait(condition: Callable[[], bool], timeout_s: float, complaint: str) -> None:
    """Wait until something is so.

    Raises:
        TimeoutError: it is not so in time; its text is the complaint.
    """
    deadline = time.monotonic() + timeout_s
    while not condition():
        if time.monotonic() > deadline:
            raise TimeoutError(complaint)
        time.sleep(POLL_S)
