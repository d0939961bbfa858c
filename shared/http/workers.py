"""Several processes that serve one port: it is bound once, and each of them accepts from it.

Who started them serves nothing: one thread without a loop, so that it may fork, which waits for
signals and for ends. A worker that dies is replaced; one that cannot begin ends all.
"""

from __future__ import annotations

import logging
import os
import signal
import socket
import sys
import threading
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from shared.settings import SettingsError
from shared.telemetry import LOG

# uvicorn's exit status of what could not begin to serve.
CANNOT_START = 3
# SIGUSR1: another process goes on, see shared/http/handover.py.
_SIGNALS = {signal.SIGTERM, signal.SIGINT, signal.SIGUSR1, signal.SIGCHLD}
# How soon after one replacement the next may be: whoever dies at once takes no whole processor.
_AGAIN_S = 1.0


def addresses_of(host: str, port: int) -> list[tuple[Any, Any, int, str, tuple[Any, ...]]]:
    """List what a host and a port stand for, as getaddrinfo does, each once.

    Raises:
        OSError: there is no such host.
    """
    return list(
        dict.fromkeys(
            socket.getaddrinfo(host or None, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
        )
    )


def bind(host: str, port: int) -> list[socket.socket]:
    """Bind every address of a host, as asyncio would; whoever serves listens.

    Raises:
        SettingsError: that cannot be.
    """
    bound: list[socket.socket] = []
    try:
        for family, kind, protocol, _, address in addresses_of(host, port):
            one = socket.socket(family, kind, protocol)
            bound.append(one)
            one.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            if family == socket.AF_INET6:
                one.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
            one.bind(address)
    except OSError as error:
        for one in bound:
            one.close()
        where = host or "every address"
        raise SettingsError(f"{where}, port {port}: cannot be bound: {error.strerror}") from None
    return bound


class Workers:
    """So many processes, each of which runs `serve(number)` until it is told to end by SIGTERM.

    The number is that of all that were started before it, those that it replaces too. `on_end` is
    told the process id of each that has ended while the others go on.
    """

    def __init__(
        self,
        count: int,
        bound: Sequence[socket.socket],
        serve: Callable[[int], None],
        on_end: Callable[[int], None] = lambda _: None,
    ) -> None:
        self._count = count
        self._bound = bound
        self._serve = serve
        self._on_end = on_end
        self._running: dict[int, int] = {}  # their numbers, by process id
        self._started = 0
        # Nothing is ever written: who reads it learns that whoever holds the other end is gone.
        self._gone, self._here = os.pipe()

    def run(self) -> int:
        """Serve until a signal comes, requests under way are finished first; the exit status."""
        signal.pthread_sigmask(signal.SIG_BLOCK, _SIGNALS)
        for _ in range(self._count):
            self._start()
        status = self._watch()
        told = signal.SIGUSR1 if status is None else signal.SIGTERM
        for one in self._bound:  # from now on connecting is refused, rather than left unanswered
            one.close()
        for pid in self._running:
            os.kill(pid, told)
        while self._running:
            del self._running[os.waitpid(-1, 0)[0]]
        return status or 0

    def _watch(self) -> int | None:
        """Replace what dies, until a signal ends it all, or that one of the first cannot start.

        None: another process goes on.
        """
        replaced_at = 0.0
        while True:
            told = signal.sigtimedwait(_SIGNALS, _AGAIN_S)
            if told is not None and told.si_signo != signal.SIGCHLD:
                return None if told.si_signo == signal.SIGUSR1 else 0
            for pid, number, code in self._ended():
                if code == CANNOT_START and number < self._count:
                    return code
                self._on_end(pid)
                LOG.error("❌ Процесс %d завершился (%d), его заменит другой", pid, code)
            if time.monotonic() - replaced_at >= _AGAIN_S:
                for _ in range(self._count - len(self._running)):
                    self._start()
                    replaced_at = time.monotonic()

    def _ended(self) -> Iterator[tuple[int, int, int]]:
        """Yield those that have ended: process id, number, exit status; negative: the signal."""
        while self._running:
            pid, status = os.waitpid(-1, os.WNOHANG)
            if not pid:
                return
            yield pid, self._running.pop(pid), os.waitstatus_to_exitcode(status)

    def _start(self) -> None:
        try:
            pid = os.fork()
        except OSError as error:  # no process or memory to spare: it is tried again
            LOG.error("❌ Процесс не запускается: %s", error.strerror)
            return
        if pid:
            self._running[pid] = self._started
            self._started += 1
            return
        code: int | str | None = 1
        try:
            os.close(self._here)
            signal.pthread_sigmask(signal.SIG_UNBLOCK, _SIGNALS)
            threading.Thread(target=self._end_with_all, daemon=True).start()
            self._serve(self._started)
            code = 0
        except KeyboardInterrupt:  # Ctrl-C is everybody's
            code = 0
        except SystemExit as end:
            code = end.code
        except BaseException:  # noqa: BLE001 - what called us is another process's
            traceback.print_exc()
        finally:
            try:
                logging.shutdown()
                sys.stdout.flush()
            finally:  # nothing of whoever forked is ever run
                os._exit(code if isinstance(code, int) else 1)

    def _end_with_all(self) -> None:
        """End this process once the one that started it is gone, however that was killed."""
        os.read(self._gone, 1)
        os.kill(os.getpid(), signal.SIGTERM)
