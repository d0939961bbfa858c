"""Where the log's lines go: a file that may be moved away, once the event loop comes round."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import stat
import sys
from collections import deque
from contextvars import Context, copy_context
from io import TextIOWrapper
from pathlib import Path

from shared.measures import observe
from shared.settings import Settings, SettingsError


class Soon(logging.Handler):
    """Has lines written once the event loop comes round, as whoever logged them would write them.

    A phone is made to ring before the line that tells of it is on the disk. Outside of a loop, and
    at the process's end, nothing waits.
    """

    def __init__(self, *handlers: logging.Handler) -> None:
        super().__init__()
        self._handlers = handlers
        self._waiting: deque[tuple[Context, logging.LogRecord]] = deque()

    def emit(self, record: logging.LogRecord) -> None:
        """Keep a line until then, behind those that wait already."""
        self._waiting.append((copy_context(), record))
        try:
            loop = asyncio.get_running_loop()
        except RuntimeError:
            self.flush()
        else:
            loop.call_soon(self.flush)

    def flush(self) -> None:
        """Write what waits."""
        with self.lock or contextlib.nullcontext():
            while self._waiting:
                context, record = self._waiting.popleft()
                for handler in self._handlers:
                    context.run(handler.handle, record)

    def close(self) -> None:
        """Write what waits, and let go of where it is written."""
        self.flush()
        for handler in self._handlers:
            handler.close()
        super().close()


class LogFile(logging.FileHandler):
    """The log's file, which fails no request: the console says once that it cannot be written.

    Where another program has moved it away, as logrotate does, the next line opens it anew; until
    that can be done the moved one is written.
    """

    _said = False

    def _open(self) -> TextIOWrapper:
        return _open_log(self.baseFilename)

    def emit(self, record: logging.LogRecord) -> None:
        """Write a line, if that can be done."""
        try:
            self._follow()
        except OSError:
            self.handleError(record)
        try:
            super().emit(record)
        except OSError:  # a file that is opened late is opened here
            self.handleError(record)

    def _follow(self) -> None:
        if self.stream is None:
            return
        try:
            if os.path.samestat(Path(self.baseFilename).stat(), os.fstat(self.stream.fileno())):
                return
        except FileNotFoundError:
            pass
        moved, self.stream = self.stream, self._open()
        moved.close()

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802 - the library's name
        """Say why the file cannot be written; a defect is told as the library does."""
        error = sys.exception()
        if not isinstance(error, OSError):
            super().handleError(record)
            return
        observe("LogWriteErrors")
        if not self._said:
            self._said = True
            with contextlib.suppress(OSError):
                sys.stderr.write(f"⚠️ {_unwritable(self.baseFilename, error)}\n")


def check_log_file(settings: Settings) -> None:
    """Make sure that the log can be written; its file is made where it is not there.

    Raises:
        SettingsError: it cannot.
    """
    if settings.log_file:
        try:
            _open_log(settings.log_file).close()
        except OSError as error:
            raise SettingsError(_unwritable(settings.log_file, error)) from None


def _open_log(path: str) -> TextIOWrapper:
    """Open a log, which is nobody else's to read: it tells who called whom.

    One that is there is taken from all others too; what its owner gave a group stays, since
    programs that ship logs read them so.
    """
    file = open(path, "a", encoding="utf-8", opener=_private)  # noqa: SIM115 - the caller's to close
    mode = os.fstat(file.fileno()).st_mode
    if stat.S_ISREG(mode) and mode & stat.S_IRWXO:
        with contextlib.suppress(OSError):  # somebody else's file: who may read it is his to say
            os.fchmod(file.fileno(), stat.S_IMODE(mode) & ~stat.S_IRWXO)
    return file


def _private(path: str, flags: int) -> int:
    return os.open(path, flags, 0o600)


def _unwritable(path: str, error: OSError) -> str:
    return f"LOG_FILE: {path} cannot be written: {error.strerror}"
