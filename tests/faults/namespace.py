"""A host of our own behind a link that can go dead: a network namespace and a veth pair."""

from __future__ import annotations

import ctypes
import os
import socket
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_CLONE_NEWNET = 0x40000000


class FarHost:
    """Reachable at `address` only through the link; what is sent while it is dead is lost.

    Neither side is told: no reset, no ICMP, as when a router forgets a route.
    """

    def __init__(self) -> None:
        network = f"198.{18 + os.getpid() // 250 % 2}.{os.getpid() % 250}"
        self.name = f"far-host-{os.getpid()}"
        self._near, self._far = f"near{os.getpid()}", f"far{os.getpid()}"
        self._near_address, self.address = f"{network}.1", f"{network}.2"

    @classmethod
    @contextmanager
    def up(cls) -> Iterator[FarHost]:
        """Make it, until the block ends."""
        host = cls()
        _ip("netns", "add", host.name)
        try:
            _ip(
                *("link", "add", host._near, "type", "veth"),
                *("peer", "name", host._far, "netns", host.name),
            )
            _ip("address", "add", f"{host._near_address}/24", "dev", host._near)
            _ip("link", "set", host._near, "up")
            _ip("-n", host.name, "address", "add", f"{host.address}/24", "dev", host._far)
            host.restore()
            yield host
        finally:
            _ip("netns", "delete", host.name)  # and with it the pair

    def cut(self) -> None:
        """Lose everything from now on, both ways."""
        _ip("-n", self.name, "link", "set", self._far, "down")

    def restore(self) -> None:
        """Let packets through again."""
        _ip("-n", self.name, "link", "set", self._far, "up")

    def listen(self) -> socket.socket:
        """Listen there on a free port; the socket belongs to the namespace, its owner does not."""
        made: list[socket.socket] = []
        failed: list[OSError] = []

        def in_there() -> None:
            # setns moves the calling thread alone, and this one ends right after.
            libc = ctypes.CDLL(None, use_errno=True)
            with Path(f"/run/netns/{self.name}").open() as namespace:
                if libc.setns(namespace.fileno(), _CLONE_NEWNET):
                    failed.append(OSError(ctypes.get_errno(), "setns"))
                    return
            listener = socket.socket()
            listener.bind((self.address, 0))
            listener.listen(64)
            made.append(listener)

        thread = threading.Thread(target=in_there)
        thread.start()
        thread.join()
        if failed:
            raise failed[0]
        return made[0]


def _ip(*arguments: str) -> None:
    subprocess.run(["ip", *arguments], check=True)
