"""What a snapshot of a Lambda environment must not hold, and what is made anew after it.

With SnapStart, INIT runs once a version; every environment continues from its snapshot. A
connection, a client's credentials or a secret in it would be shared by all of them and outlive
its time, so everything that exists once a process is let go of before it, and made anew after it.

Randomness that matters (call ids, trackers' owners) is drawn from os.urandom by `uuid` and
`secrets`: the kernel's generator, which AWS reseeds in each restored environment. The OpenSSL
inside `cryptography`, of which SSH has its keys, seeds itself at its first use: nothing may log in
to a host before the snapshot is taken, and nothing does.
"""

from __future__ import annotations

import gc
import os
import random
import ssl
from collections.abc import Callable, Coroutine
from functools import partial
from typing import Any

from shared.process import let_go_of_all
from shared.settings import on_lambda

_SEED_BYTES = 32


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
    snapshot_restore_py.register_before_snapshot(partial(_let_go, run))
    snapshot_restore_py.register_after_restore(renew_randomness)


def _let_go(run: Callable[[Coroutine[Any, Any, None]], None]) -> None:
    run(let_go_of_all())
    gc.collect()  # what refers to itself has the passwords still
