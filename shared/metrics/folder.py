"""The folder by which several processes tell one answer: their own, and of one generation only."""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

from shared.process import once
from shared.settings import SettingsError

_PREFIX = "asterisk-calls-metrics-"
# The library would make its files grow by holes; to write into one kills the process where the disk
# is full. This has room for thousands of series, of which there are hundreds.
_ROOM = 1 << 20
_COUNTED = ("counter", "histogram")
_KINDS = (*_COUNTED, "gauge_liveall")


@once
def the_folder() -> Path | None:
    """That of this process; None: it is alone."""
    return None


@contextlib.contextmanager
def shared_folder() -> Iterator[Path]:
    """Make one that is nobody else's to read, and remove it; before, what killed ones have left.

    A lock tells that it is used, systemd-tmpfiles too: the processes forked within the block hold
    it as well.

    Raises:
        SettingsError: that cannot be.
    """
    above = Path(tempfile.gettempdir())
    _remove_unused(above)
    try:
        folder, lock = _make_locked(above)
    except OSError as error:
        raise SettingsError(
            f"TMPDIR: {above} cannot have the metrics of several processes: {error.strerror}"
        ) from None
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        os.close(lock)


def make_room(folder: Path) -> None:
    """Have the disk keep what this process will write. Raises OSError: it has no room.

    Others may read meanwhile, and cannot read a file that has no room yet.
    """
    for kind in _KINDS:
        own = folder / f"{kind}_{os.getpid()}.db"
        if own.exists() or (kind in _COUNTED and _take_over(folder, kind, own)):
            continue
        making = own.with_suffix(".new")
        try:
            with making.open("wb") as file:
                os.posix_fallocate(file.fileno(), 0, _ROOM)
            making.rename(own)
        finally:
            making.unlink(missing_ok=True)


def _take_over(folder: Path, kind: str, own: Path) -> bool:
    """Go on with what one that died has counted: else its file would be one more for good."""
    for left in folder.glob(f"{kind}_*.db"):
        if not _runs(int(left.stem.rpartition("_")[2])):
            with contextlib.suppress(FileNotFoundError):  # another successor has it
                left.rename(own)
                return True
    return False


def _runs(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def forget_process(folder: Path, pid: int) -> None:
    """Forget what a process that is gone had at that moment; what it counted stays counted.

    As prometheus_client.multiprocess.mark_process_dead does, in a process that loads no library.
    """
    (folder / f"gauge_liveall_{pid}.db").unlink(missing_ok=True)


def _make_locked(above: Path) -> tuple[Path, int]:
    """Make a folder of mode 0700, again where one who starts too took it for unused just now."""
    while True:
        folder = Path(tempfile.mkdtemp(prefix=_PREFIX, dir=above))
        with contextlib.suppress(FileNotFoundError):
            lock = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
            fcntl.flock(lock, fcntl.LOCK_EX)
            if folder.exists():
                return folder, lock
            os.close(lock)


def _remove_unused(above: Path) -> None:
    for folder in above.glob(f"{_PREFIX}*"):
        with contextlib.suppress(OSError):  # another user's, or removed by another just now
            lock = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                shutil.rmtree(folder, ignore_errors=True)
            finally:
                os.close(lock)
