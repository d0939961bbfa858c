"""A Lambda environment: what is done in INIT, and the one loop of all its invocations."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from functools import cache
from typing import Any, TypeVar

from shared.aws.logins import import_early
from shared.aws.snapstart import register_hooks
from shared.settings import the_settings

T = TypeVar("T")


def begin_environment() -> None:
    """Do in INIT what each handler's environment needs; nothing of it uses the network."""
    import_early(the_settings())
    register_hooks(run_pinned)


def run_pinned(work: Coroutine[Any, Any, T]) -> T:
    """Run what no HTTP request asked for on the loop of all invocations."""
    asyncio.set_event_loop(pinned_loop())
    return pinned_loop().run_until_complete(work)


@cache
def pinned_loop() -> asyncio.AbstractEventLoop:
    """Return that loop; it outlives snapshots, and whatever exists once a process."""
    return asyncio.new_event_loop()
