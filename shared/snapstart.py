"""What a snapshot of a Lambda environment must not hold, and what is made anew after it.

With SnapStart, INIT runs once a version; every environment continues from its snapshot. A
connection, a client's credentials or a secret in it would be shared by all of them and outlive
its time, so whoever opens such a thing tells here how to let go of it.

Randomness that matters (call ids, trackers' owners) is drawn from os.urandom by `uuid` and
`secrets`: the kernel's generator, which AWS reseeds in each restored environment. The OpenSSL
inside `cryptography`, of which SSH has its keys, seeds itself at its first use: nothing may log in
to a host before the snapshot is taken, and nothing does.
"""

from __future__ import annotations

import inspect
import os
import random
import ssl
from collections.abc import Awaitable, Callable, Coroutine
from functools import cache
from typing import Any, TypeAlias

from shared.settings import on_lambda

LetGo: TypeAlias = Callable[[], Awaitable[None] | None]

_SEED_BYTES = 32


class Snapshot:
    """The things of this process that no snapshot may hold."""

    def __init__(self) -> None:
        self._left_out: list[LetGo] = []

    def leave_out(self, let_go: LetGo) -> None:
        """Call this before each snapshot; what it lets go of opens again when it is needed."""
        self._left_out.append(let_go)

    async def prepare(self) -> None:
        """Let go of everything, the last one first: it may use those before it."""
        for let_go in reversed(self._left_out):
            done = let_go()
            if inspect.isawaitable(done):
                await done


@cache
def load_snapshot() -> Snapshot:
    """That of this process; tests call `load_snapshot.cache_clear()`."""
    return Snapshot()


def renew_randomness() -> None:
    """Seed anew what does not ask the kernel each time: libraries' jitter, and TLS."""
    random.seed(os.urandom(_SEED_BYTES))
    ssl.RAND_add(os.urandom(_SEED_BYTES), _SEED_BYTES)


def register_hooks(run: Callable[[Coroutine[Any, Any, None]], None]) -> None:
    """Tell Lambda's runtime what to do around a snapshot; `run` uses the loop of all requests."""
    if not on_lambda():
        return
    try:
        import snapshot_restore_py  # noqa: PLC0415 - the runtime brings it, from Python 3.12 on
    except ImportError:
        return
    snapshot_restore_py.register_before_snapshot(lambda: run(load_snapshot().prepare()))
    snapshot_restore_py.register_after_restore(renew_randomness)
