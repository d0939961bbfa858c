"""Runs the service, and lets new code take the place of the old without a request being lost.

    python deploy/serve.py [NAME]    SIGTERM ends it, SIGHUP starts the folder's asterisk.py anew

The new process is given the listening sockets of the old one; once it serves, the old one accepts
no more and finishes what it has. If the new one cannot start, the old one goes on. Nothing but the
standard library is imported: this process stays, with whatever code it began with.

With NAME the environment of the next process is taken from NAME.environment, if that is there, and
NAME.outcome tells what became of it: `ok`, or `failed`. Its asterisk.py says why on the console.
That, where it is a file, is begun anew at 10 MiB; what was there is in the file `.1` beside it.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import shutil
import signal
import socket
import stat
import subprocess
import sys
import time
from pathlib import Path

_SIGNALS = {signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGCHLD}
_START_LIMIT_S = 30.0
# A connection that rests has 10 s for its last request, which has 27.
_LEAVE_LIMIT_S = 45.0
_LOOK_S = 0.05
_MOST_SOCKETS = 16
_MOST_BYTES = 10 << 20
_END_WITH_PARENT = 1  # prctl's PR_SET_PDEATHSIG
_LIBC = ctypes.CDLL(None)


def _begin_child() -> None:
    """Between fork and exec: end with whoever started it, hear all signals."""
    _LIBC.prctl(_END_WITH_PARENT, signal.SIGTERM)
    signal.pthread_sigmask(signal.SIG_SETMASK, [])


def bound_console() -> None:
    """Begin the console's file anew where it has got too long; all processes append to one file.

    What is written between the copy and the end of the old is lost: the log's own file is another.
    """
    now = os.fstat(sys.stderr.fileno())
    if not stat.S_ISREG(now.st_mode) or now.st_size < _MOST_BYTES:
        return
    with contextlib.suppress(OSError):  # a full disk: shorter it is all the better
        path = Path(f"/proc/self/fd/{sys.stderr.fileno()}").readlink()
        shutil.copyfile(path, f"{path}.1")
    os.ftruncate(sys.stderr.fileno(), 0)


def tell(text: str) -> None:
    """Say it on the console, where that can be written."""
    with contextlib.suppress(OSError):
        sys.stderr.write(f"{text}\n")
        sys.stderr.flush()


class Generation:
    """One run of asterisk.py: what it tells of itself."""

    def __init__(self, listening: list[int], environment: dict[str, str]) -> None:
        self.environment = environment
        self._link, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self.listening: list[int] = []  # descriptors of our own
        self._missing = 1  # workers that do not serve yet
        self.since = time.monotonic()
        with theirs:
            socket.send_fds(self._link, [b"listen"], listening)
            self.process = subprocess.Popen(  # noqa: S603 - our own
                [sys.executable, "asterisk.py", "--supervised", str(theirs.fileno())],
                env=environment,
                stdin=subprocess.DEVNULL,
                pass_fds=[theirs.fileno()],
                preexec_fn=_begin_child,  # noqa: PLW1509 - there are no threads
            )
        self._link.settimeout(0)

    def serves(self) -> bool:
        """Read what it has told; whether all of it serves."""
        with contextlib.suppress(BlockingIOError, ConnectionError):
            while self._missing:
                told, descriptors, _, _ = socket.recv_fds(self._link, 64, _MOST_SOCKETS)
                match told.split():
                    case [b"bound", workers]:
                        self.listening += descriptors
                        self._missing = int(workers)
                    case [b"serves"]:
                        self._missing -= 1
                    case _:  # it is gone
                        break
        return not self._missing

    def has_ended(self) -> bool:
        """Tell whether the process is gone."""
        return self.process.poll() is not None

    def send(self, number: signal.Signals) -> None:
        """Signal it; the time that it has runs from now."""
        self.since = time.monotonic()
        self.process.send_signal(number)

    def close(self) -> None:
        """Let go of its sockets."""
        self._link.close()
        for descriptor in self.listening:
            os.close(descriptor)
        self.listening = []


class Supervisor:
    """One generation that serves; maybe one that comes, and those that leave."""

    def __init__(self, name: Path | None) -> None:
        self._name = name
        self._serving = Generation([], dict(os.environ))
        self._coming: Generation | None = None
        self._leaving: list[Generation] = []
        self._is_wanted = False

    def run(self) -> int:
        """Serve until a signal ends it, or the service ends itself; the exit status."""
        while not self._serving.has_ended():
            waits = self._coming is not None or not self._serving.serves()
            told = signal.sigtimedwait(_SIGNALS, _LOOK_S if waits else 1.0)
            if told is not None and told.si_signo in {signal.SIGTERM, signal.SIGINT}:
                self._end()
                return 0
            self._is_wanted |= told is not None and told.si_signo == signal.SIGHUP
            if self._coming is not None:
                self._look_at(self._coming)
            elif self._is_wanted and self._serving.serves():
                self._is_wanted = False
                self._begin()
            self._leaving = [one for one in self._leaving if not self._has_left(one)]
            if self._name is not None:
                bound_console()
        status = self._serving.process.returncode
        self._end()
        return status if status > 0 else 1

    def _begin(self) -> None:
        """Start the next one; what cannot even be started leaves the one that serves."""
        try:
            if self._name is not None:  # what is told of a restart before is told of no other
                self._name.with_suffix(".outcome").unlink(missing_ok=True)
            self._coming = Generation(self._serving.listening, self._environment())
        except (OSError, ValueError, subprocess.SubprocessError) as error:
            tell(f"⚠️ The new process did not start: {error}; the old one goes on serving")
            self._decide("failed")

    def _environment(self) -> dict[str, str]:
        if self._name is None:
            return self._serving.environment
        file = self._name.with_suffix(".environment")
        try:
            pairs = os.fsdecode(file.read_bytes()).split("\0")
            file.unlink()
        except FileNotFoundError:  # the signal is another's: the settings stay what they are
            return self._serving.environment
        return dict(pair.split("=", 1) for pair in pairs if "=" in pair)

    def _look_at(self, coming: Generation) -> None:
        if coming.serves():
            self._serving.send(signal.SIGUSR1)
            self._serving.close()
            self._leaving.append(self._serving)
            self._serving = coming
            self._decide("ok")
        elif coming.has_ended() or time.monotonic() - coming.since > _START_LIMIT_S:
            coming.process.kill()
            coming.process.wait()
            coming.close()
            tell("⚠️ The new process did not start; the old one goes on serving")
            self._decide("failed")

    def _decide(self, outcome: str) -> None:
        self._coming = None
        if self._name is not None:
            written = self._name.with_suffix(".written")
            with contextlib.suppress(OSError):  # a full disk: who waits is told that nobody answers
                written.write_text(outcome)
                written.replace(self._name.with_suffix(".outcome"))

    def _has_left(self, one: Generation) -> bool:
        if not one.has_ended() and time.monotonic() - one.since > _LEAVE_LIMIT_S:
            one.process.kill()
        return one.has_ended()

    def _end(self) -> None:
        generations = [self._serving, *([self._coming] if self._coming else []), *self._leaving]
        for one in generations:  # from now on connecting is refused, rather than left unanswered
            one.close()
        for one in generations:
            one.send(signal.SIGTERM)
        for one in generations:
            one.process.wait()


def main() -> int:
    """Run it."""
    signal.pthread_sigmask(signal.SIG_BLOCK, _SIGNALS)
    signal.signal(signal.SIGHUP, signal.SIG_DFL)  # nohup would have it ignored
    return Supervisor(Path(sys.argv[1]) if len(sys.argv) > 1 else None).run()


if __name__ == "__main__":
    sys.exit(main())
