"""Names of webhooks' receivers, while a server of names hangs."""

from __future__ import annotations

import asyncio
import socket
import threading
from collections.abc import Iterator

import pytest

from shared.webhooks import names
from shared.webhooks.names import AT_ONCE, Names
from tests.integration.service import until

pytestmark = pytest.mark.anyio

NEVER_S = 0.05


class Resolver:
    """Knows every name, and tells of those that begin with "slow" once `free` is set."""

    def __init__(self) -> None:
        self.free = threading.Event()
        self.asked: list[str] = []

    def look_up(self, host: str, port: int, **_: object) -> list[tuple[object, ...]]:
        """Stand in for getaddrinfo."""
        self.asked.append(host)
        if host.startswith("slow"):
            self.free.wait()
        if host.startswith("none"):
            raise socket.gaierror(socket.EAI_NONAME, "unknown")
        return [(socket.AF_INET, 1, 6, "", ("192.0.2.1", port))] * 2


@pytest.fixture
def resolver(monkeypatch: pytest.MonkeyPatch) -> Iterator[Resolver]:
    """A resolver, which hangs for no longer than the test."""
    one = Resolver()
    monkeypatch.setattr(socket, "getaddrinfo", one.look_up)
    yield one
    one.free.set()


async def hang(looking: Names, whose: str, times: int) -> None:
    """Look names up that hang."""
    for number in range(times):
        with pytest.raises(TimeoutError):
            await looking.look_up(whose, f"slow{number}.example.test", 443)


async def test_a_name_that_hangs_has_a_deadline_and_its_threads_a_bound(resolver: Resolver) -> None:
    """Whoever asks for more of them waits for a place, and begins no thread."""
    await hang(Names(NEVER_S), "0367", 3 * AT_ONCE)
    assert len(resolver.asked) == AT_ONCE


async def test_no_enterprises_names_hold_up_anothers(resolver: Resolver) -> None:
    """Each has places of its own."""
    looking = Names(NEVER_S)
    await hang(looking, "0367", AT_ONCE)
    looking._within_s = names.WITHIN_S
    assert await looking.look_up("0368", "quick.example.test", 443) == ("192.0.2.1",)


async def test_a_place_is_free_once_its_name_was_found(resolver: Resolver) -> None:
    """Though nobody waited for it any more."""
    looking = Names(NEVER_S)
    await hang(looking, "0367", AT_ONCE)
    looking._within_s = names.WITHIN_S
    waiting = asyncio.create_task(looking.look_up("0367", "quick.example.test", 443))
    await asyncio.sleep(0)
    resolver.free.set()
    assert await waiting == ("192.0.2.1",)


async def test_what_is_not_found_frees_its_place_too(resolver: Resolver) -> None:
    """And says what getaddrinfo says."""
    looking = Names()
    for number in range(2 * AT_ONCE):
        with pytest.raises(socket.gaierror):
            await looking.look_up("0367", f"none{number}.example.test", 443)
    assert len(resolver.asked) == 2 * AT_ONCE


async def test_nothing_is_kept_of_whoever_looks_nothing_up(resolver: Resolver) -> None:
    """However many enterprises there were."""
    looking = Names()
    for number in range(100):
        await looking.look_up(str(number), "quick.example.test", 443)
    resolver.free.set()
    await until(lambda: not looking._places)  # the last thread tells its end


async def test_a_thread_of_names_keeps_no_process_from_ending(resolver: Resolver) -> None:
    """It is a daemon."""
    await hang(Names(NEVER_S), "0367", 1)
    (thread,) = [one for one in threading.enumerate() if one.name == "name"]
    assert thread.daemon
