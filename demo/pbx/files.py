"""The stand-in's SFTP: it serves one file, the call detail records, to read.

Anything else that is asked for is refused loudly, and kept with what the CLI refused.
"""

import logging
from pathlib import PurePosixPath
from typing import NoReturn, cast

import asyncssh
from asyncssh.channel import SSHChannel

from demo.pbx.calls import Exchange
from demo.pbx.faults import Faults

log = logging.getLogger(__name__)

_BLOCK_BYTES, _DISK_BYTES = 4096, 2**36


class Files(asyncssh.SFTPServer):
    """One SFTP session; the only file's handle is its path."""

    def __init__(self, chan: SSHChannel[bytes], exchange: Exchange, faults: Faults) -> None:
        super().__init__(cast("asyncssh.SSHServerChannel[bytes]", chan))
        self._exchange = exchange
        self._faults = faults
        self._path = exchange.profile.places.cdr_file

    def map_path(self, path: bytes) -> NoReturn:
        """Refuse: whatever would look at this machine's own files comes through here."""
        self._refuse(path, "is not imitated")

    def open(self, path: bytes, pflags: int, attrs: asyncssh.SFTPAttrs) -> bytes:
        """Open the file to read."""
        del attrs
        if pflags != asyncssh.FXF_READ:
            self._refuse(path, "is opened to write")
        return self._find(path)

    def open56(
        self, path: bytes, desired_access: int, flags: int, attrs: asyncssh.SFTPAttrs
    ) -> bytes:
        """Refuse: OpenSSH speaks version 3 only, which has `open`."""
        del desired_access, flags, attrs
        self._refuse(path, "is opened by a newer protocol than OpenSSH's")

    def read(self, file_obj: object, offset: int, size: int) -> bytes:
        """Read what is there by now."""
        del file_obj
        return bytes(self._exchange.ledger[offset : offset + size])

    def write(self, file_obj: object, offset: int, data: bytes) -> int:
        """Refuse."""
        del offset, data
        self._refuse(file_obj, "is written")

    def close(self, file_obj: object) -> None:
        """Nothing is held."""
        del file_obj

    def stat(self, path: bytes) -> asyncssh.SFTPAttrs:
        """Tell the file's size, and when it was last written."""
        self._find(path)
        size, written_s = len(self._exchange.ledger), self._faults.cdr_written_s
        times = {} if written_s is None else {"atime": written_s, "mtime": written_s}
        return asyncssh.SFTPAttrs(size=size, permissions=0o100644, **times)

    def lstat(self, path: bytes) -> asyncssh.SFTPAttrs:
        """Tell the same: it is no link."""
        return self.stat(path)

    def fstat(self, file_obj: object) -> asyncssh.SFTPAttrs:
        """Tell the open file's size."""
        del file_obj
        return self.stat(self._path.encode())

    def statvfs(self, path: bytes) -> asyncssh.SFTPVFSAttrs:
        """Tell the room of the partition that has the file's folder."""
        free = self._faults.disk_free_bytes
        if path != str(PurePosixPath(self._path).parent).encode():
            self._refuse(path, "is not imitated")
        if free is None:
            raise asyncssh.SFTPOpUnsupported("statvfs is not supported")
        blocks = free // _BLOCK_BYTES
        return asyncssh.SFTPVFSAttrs(
            bsize=_BLOCK_BYTES,
            frsize=_BLOCK_BYTES,
            blocks=_DISK_BYTES // _BLOCK_BYTES,
            bfree=blocks,
            bavail=blocks,
            files=2**21,
            ffree=self._faults.disk_free_files,
            favail=self._faults.disk_free_files,
        )

    def fsetstat(self, file_obj: object, attrs: asyncssh.SFTPAttrs) -> None:
        """Refuse."""
        del attrs
        self._refuse(file_obj, "is changed")

    def realpath(self, path: bytes) -> bytes:
        """Give the path back: a client asks for that of the folder it starts in."""
        return b"/root" if path == b"." else path

    def _find(self, path: bytes) -> bytes:
        if path != self._path.encode():
            log.warning("the stand-in has no file %r", path)
            self._exchange.refused.append(f"sftp {path!r}")
            raise asyncssh.SFTPNoSuchFile("No such file")
        if self._faults.cdr_missing:
            raise asyncssh.SFTPNoSuchFile("No such file")
        if self._faults.cdr_denied:
            raise asyncssh.SFTPPermissionDenied("Permission denied")
        return path

    def _refuse(self, path: object, what: str) -> NoReturn:
        log.warning("the stand-in's SFTP: %r %s", path, what)
        self._exchange.refused.append(f"sftp {path!r} {what}")
        raise asyncssh.SFTPPermissionDenied("Permission denied")
