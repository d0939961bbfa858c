"""Which PBX is asked what it counts of itself, and when."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterable
from typing import Any

import pytest

from shared.asterisk.endpoints import Endpoints
from shared.deadline import Deadline
from shared.errors import ConnectionLost, DatabaseUnavailable
from shared.following.counting import Counting
from shared.following.pace import Pace
from shared.measures import the_readers
from shared.telemetry import LOG
from shared.turns import Turn
from tests.unit.test_counts import Answering

HOST = "192.0.2.10"
FOREVER = 3600.0


class Hosts:
    """Every host is this console, over one connection; `fails` is raised in its place."""

    def __init__(self, console: Answering) -> None:
        self.console = console
        self.fails: Exception | None = None
        self.asked = 0

    async def ask(self, _host: str, question: Any, deadline: Deadline, *, turn: Turn) -> object:
        """Put a question, as one who lets all others go first."""
        assert turn == "read"
        self.asked += 1
        if self.fails:
            raise self.fails
        return await question(self.console, deadline=deadline)


class Leases:
    """A database in which these fences are the newest."""

    def __init__(self, *hosts: str) -> None:
        self.hosts = list(hosts)
        self.asked: list[str] = []
        self.defects = 0

    async def run(self, _sql: str, *, leases: str) -> list[dict[str, str]]:
        """Tell of which hosts."""
        self.asked.append(leases)
        if self.defects:
            self.defects -= 1
            raise ZeroDivisionError
        if not self.hosts:
            raise DatabaseUnavailable("away")
        return [{"host": host} for host in self.hosts]


async def go_on(counting: Counting, followed: Iterable[str], turns: int = 40) -> None:
    """Have it go on for so many turns of the loop."""
    the_readers.put(lambda: True)
    task = asyncio.create_task(counting.go_on(set(followed)))
    for _ in range(turns):
        await asyncio.sleep(0)
        await asyncio.sleep(0.001)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


def make(hosts: Hosts, leases: Leases, *, idle_s: float = FOREVER, busy_s: float = 0.0) -> Counting:
    """One that was given the lease of the host."""
    database: Any = leases
    pbx: Any = hosts
    counting = Counting(database, pbx, Pace(count_s=busy_s, count_idle_s=idle_s))
    counting.leased(HOST, 7)
    return counting


def commands(hosts: Hosts, word: str) -> int:
    """Count the exchanges in which a command was."""
    return sum(any(word in command for command in asked) for asked in hosts.console.asked)


def test_a_followed_host_is_counted_often_and_its_devices_seldom() -> None:
    """Who it is and which devices it has is asked once; the database is asked nothing."""
    hosts, leases = Hosts(Answering()), Leases()
    counting = make(hosts, leases)
    asyncio.run(go_on(counting, [HOST]))
    (one,) = counting.counted(60).values()
    assert (one.counts.channels, one.endpoints) == (6, Endpoints(5, 3, 1))
    assert commands(hosts, "core show channels count") > 2
    assert commands(hosts, "core show settings") == commands(hosts, "sip show peers") == 1
    assert leases.asked == []


def test_a_restarted_asterisk_is_asked_anew_who_it_is() -> None:
    """It runs for less long than before: another version may have been installed."""
    hosts = Hosts(Answering())
    counting = make(hosts, Leases())
    asyncio.run(go_on(counting, [HOST]))
    settings = hosts.console.said["core show settings"].replace("13.38.3", "22.10.1")
    hosts.console.said |= {
        "core show settings": settings,
        "core show uptime": "System uptime: 5 seconds\nLast reload: 5 seconds\n",
    }
    asyncio.run(go_on(counting, [HOST]))
    assert counting.counted(60)[HOST].about.version == "22.10.1"
    assert commands(hosts, "core show settings") == 2


def test_a_defect_ends_no_counting(caplog: pytest.LogCaptureFixture) -> None:
    """It is told, and asked again: else no PBX would be counted here until the next start."""
    hosts, leases = Hosts(Answering()), Leases(HOST)
    counting = make(hosts, leases, idle_s=0.0)
    leases.defects = 1
    with caplog.at_level(logging.ERROR, LOG.name):
        asyncio.run(go_on(counting, []))
    assert hosts.asked > 2
    assert [record.exc_info is not None for record in caplog.records] == [True]


def test_an_idle_host_is_asked_by_who_followed_it_last() -> None:
    """So says its fence, as the database has it; a database that is away is asked again."""
    hosts, leases = Hosts(Answering()), Leases()
    counting = make(hosts, leases, idle_s=0.0)
    asyncio.run(go_on(counting, []))
    assert leases.asked
    assert hosts.asked == 0
    leases.hosts = [HOST]
    asyncio.run(go_on(counting, []))
    assert hosts.asked > 2
    assert set(leases.asked) == {'[{"host": "192.0.2.10", "fence": 7}]'}
    leases.hosts = ["192.0.2.99"]
    asyncio.run(go_on(counting, []))
    asked, leases.asked = hosts.asked, []
    asyncio.run(go_on(counting, []))
    assert (hosts.asked, leases.asked) == (asked, [])


def test_a_host_that_fails_is_asked_as_seldom_as_an_idle_one() -> None:
    """What it told before stays, and grows old."""
    hosts = Hosts(Answering())
    counting = make(hosts, Leases())
    asyncio.run(go_on(counting, [HOST]))
    hosts.fails, asked = ConnectionLost("gone"), hosts.asked
    asyncio.run(go_on(counting, [HOST]))
    assert hosts.asked == asked + 1
    assert counting.counted(60)[HOST].counts.channels == 6
    assert counting.counted(0) == {}


def test_devices_that_do_not_come_take_nothing_else_along() -> None:
    """The others are told, and their list is not asked for again soon."""
    hosts = Hosts(Answering())
    lists: list[object] = []
    ask = hosts.ask

    async def fails(host: str, question: Any, deadline: Deadline, *, turn: Turn) -> object:
        if "load_endpoints" in repr(question):
            lists.append(question)
            raise ConnectionLost("too long")
        return await ask(host, question, deadline, turn=turn)

    hosts.ask = fails  # type: ignore[method-assign, assignment] # a script
    counting = make(hosts, Leases(), idle_s=0.0)
    asyncio.run(go_on(counting, [HOST]))
    one = counting.counted(60)[HOST]
    assert (one.counts.channels, one.endpoints) == (6, None)
    assert hosts.asked > 2
    assert len(lists) == 1


def test_nobody_reads_nobody_asks() -> None:
    """As long as that is so."""
    hosts = Hosts(Answering())
    counting = make(hosts, Leases())

    async def wait() -> None:
        task = asyncio.create_task(counting.go_on({HOST}))
        for _ in range(20):
            await asyncio.sleep(0.001)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)

    asyncio.run(wait())
    assert hosts.asked == 0
