"""One connection per host, a gate before it, and nothing leaked when somebody gives up."""

from __future__ import annotations

import asyncio
import time
from typing import cast

import pytest

from shared.deadline import Deadline
from shared.errors import (
    AuthenticationFailed,
    ConnectFailed,
    ConnectionLost,
    ConnectTimeout,
    HostKeyChanged,
    NotExecuted,
    PbxBusy,
)
from shared.ssh.connection import Connection, Target
from shared.ssh.pool import Pool, Use
from shared.turns import Turn
from tests.unit.conftest import VISITOR

pytestmark = [pytest.mark.anyio, pytest.mark.usefixtures("visitors_leave")]

PBX = Target("10.88.10.19", 5059, "root")
OTHER = Target("10.88.10.20", 5059, "root")


class FakeConnection:
    """What a pool may ask of a connection."""

    def __init__(self, target: Target) -> None:
        self.target = target
        self.used_at = time.monotonic()
        self.leases = 0
        self.closed = False

    def is_closed(self) -> bool:
        """Tell it."""
        return self.closed

    def abort(self) -> None:
        """End it."""
        self.closed = True

    async def close(self) -> None:
        """End it in good order."""
        self.closed = True


class Network:
    """Connects, and remembers; `open` lets connecting finish, `fault` makes it fail."""

    def __init__(self) -> None:
        self.made: list[FakeConnection] = []
        self.attempts = 0
        self.open = asyncio.Event()
        self.open.set()
        self.fault: Exception | None = None

    async def connect(self, target: Target, _deadline: Deadline) -> Connection:
        """Take a moment, as a real log-in does."""
        self.attempts += 1
        await asyncio.sleep(0)
        await self.open.wait()
        if self.fault:
            raise self.fault
        self.made.append(FakeConnection(target))
        return cast("Connection", self.made[-1])

    def pool(
        self,
        *,
        concurrency: int = 3,
        queue_s: float = 5,
        idle_s: float = 3600,
        connect_timeout_s: float = 10,
        retry_s: float = 1e-9,
    ) -> Pool:
        """Make a pool that connects here."""
        return Pool(
            self.connect,
            concurrency=concurrency,
            queue_s=queue_s,
            connect_timeout_s=connect_timeout_s,
            idle_s=idle_s,
            retry_s=retry_s,
        )


class Holder:
    """Holds a lease until it is told to let go."""

    def __init__(
        self, pool: Pool, target: Target = PBX, *, turn: Turn = "call", use: Use = "console"
    ) -> None:
        self._lease = pool.lease(target, Deadline.after(30), turn, use)
        self._enough = asyncio.Event()
        self.connection: Connection | None = None
        self.task = asyncio.create_task(self._hold(), name=VISITOR)

    async def _hold(self) -> None:
        async with self._lease as self.connection:
            await self._enough.wait()

    async def release(self) -> None:
        """End the lease."""
        self._enough.set()
        await self.task

    async def cancel(self) -> None:
        """Give up, wherever it is."""
        self.task.cancel()
        await asyncio.gather(self.task, return_exceptions=True)


async def settle() -> None:
    """Let every task run as far as it can."""
    for _ in range(20):
        await asyncio.sleep(0)


async def lease_once(pool: Pool, target: Target = PBX) -> Connection:
    """Lease and give back."""
    async with pool.lease(target, Deadline.after(30)) as connection:
        return connection


async def test_many_leases_share_one_connection() -> None:
    """A connection carries any number of exchanges at once."""
    network = Network()
    pool = network.pool()
    holders = [Holder(pool) for _ in range(3)]
    await settle()
    assert repr(pool) == "<Pool 1 connected, 3 leased, 0 waiting>"
    assert len({id(holder.connection) for holder in holders}) == 1
    for holder in holders:
        await holder.release()
    assert repr(pool) == "<Pool 1 connected, 0 leased, 0 waiting>"
    assert not network.made[0].closed


async def test_burst_of_first_leases_connects_once() -> None:
    """A burst of requests is no burst of log-ins, which sshd would drop."""
    network = Network()
    network.open.clear()
    pool = network.pool()
    holders = [Holder(pool) for _ in range(3)]
    await settle()
    assert network.attempts == 1
    network.open.set()
    for holder in holders:
        await holder.release()
    assert network.attempts == 1


async def test_each_host_has_its_own_connection_and_gate() -> None:
    """A busy host holds up no other."""
    network = Network()
    pool = network.pool(concurrency=1)
    busy = Holder(pool)
    await settle()
    connection = await lease_once(pool, OTHER)
    assert connection.target == OTHER
    assert len(network.made) == 2
    await busy.release()


async def test_gate_bounds_the_leases_of_a_host() -> None:
    """No more than `concurrency` leases at once; the next waits its turn."""
    pool = Network().pool(concurrency=2)
    holders = [Holder(pool) for _ in range(5)]
    await settle()
    assert repr(pool) == "<Pool 1 connected, 2 leased, 3 waiting>"
    await holders[0].release()
    await settle()
    assert repr(pool) == "<Pool 1 connected, 2 leased, 2 waiting>"
    for holder in holders[1:]:
        await holder.release()
    assert repr(pool) == "<Pool 1 connected, 0 leased, 0 waiting>"


async def test_whoever_waits_too_long_is_told_when_to_come_back() -> None:
    """No turn in time is `PbxBusy`, which nothing was sent for, with a time to try again."""
    pool = Network().pool(concurrency=1, queue_s=0.01)
    holder = Holder(pool)
    await settle()
    with pytest.raises(PbxBusy) as caught:
        await lease_once(pool)
    assert caught.value.retry_after_s == 0.01
    assert caught.value.dialled == "no"
    assert repr(pool) == "<Pool 1 connected, 1 leased, 0 waiting>"
    await holder.release()
    await lease_once(pool)


async def test_a_call_is_not_behind_a_read() -> None:
    """Of three exchanges one may be a read's; 20 readers leave a call the other two, at once."""
    pool = Network().pool(concurrency=3)
    readers = [Holder(pool, turn="read") for _ in range(20)]
    await settle()
    assert repr(pool) == "<Pool 1 connected, 1 leased, 19 waiting>"
    calls = [Holder(pool) for _ in range(2)]
    await settle()
    assert repr(pool) == "<Pool 1 connected, 3 leased, 19 waiting>"
    assert all(call.connection for call in calls)
    for holder in (*calls, *readers):
        await holder.release()
    assert repr(pool) == "<Pool 1 connected, 0 leased, 0 waiting>"


async def test_reader_who_waits_too_long_is_told_when_to_come_back() -> None:
    """Calls that keep a host busy make a read `PbxBusy`, not a queue without end."""
    pool = Network().pool(concurrency=1, queue_s=0.01)
    call = Holder(pool)
    await settle()
    with pytest.raises(PbxBusy) as caught:
        async with pool.lease(PBX, Deadline.after(5), "read"):
            raise AssertionError("there was no place")
    assert caught.value.retry_after_s == 0.01
    await call.release()


async def test_files_take_no_exchange_and_are_read_two_at_a_time() -> None:
    """One of them at most for those who read: whoever follows calls has the other."""
    pool = Network().pool(concurrency=1)
    readers = [Holder(pool, turn="read", use="file") for _ in range(3)]
    await settle()
    assert repr(pool) == "<Pool 1 connected, 1 leased, 2 waiting>"
    follower, call = Holder(pool, turn="look", use="file"), Holder(pool)
    await settle()
    assert repr(pool) == "<Pool 1 connected, 3 leased, 2 waiting>"
    for holder in (follower, call, *readers):
        await holder.release()
    assert repr(pool) == "<Pool 1 connected, 0 leased, 0 waiting>"


async def test_cancelled_reader_frees_his_place() -> None:
    """In the queue and in the middle of it: the next reader goes on."""
    pool = Network().pool(concurrency=3)
    readers = [Holder(pool, turn="read", use="file") for _ in range(3)]
    await settle()
    await readers[1].cancel()
    await readers[0].cancel()
    await settle()
    assert readers[2].connection is not None
    assert repr(pool) == "<Pool 1 connected, 1 leased, 0 waiting>"
    await readers[2].release()


async def test_retired_connection_serves_its_leases_to_the_end() -> None:
    """It is lent no more, and closed only when its last lease ends."""
    network = Network()
    pool = network.pool()
    first, second = Holder(pool), Holder(pool)
    await settle()
    assert first.connection is not None
    pool.retire(first.connection)
    fresh = await lease_once(pool)
    assert fresh is not first.connection
    await first.release()
    assert not network.made[0].closed
    await second.release()
    assert network.made[0].closed
    assert not network.made[1].closed


async def test_retiring_an_old_connection_leaves_its_successor_alone() -> None:
    """A second report about a dead connection must not take the fresh one away."""
    network = Network()
    pool = network.pool()
    holder = Holder(pool)
    await settle()
    assert holder.connection is not None
    pool.retire(holder.connection)
    fresh = await lease_once(pool)
    pool.retire(holder.connection)
    assert await lease_once(pool) is fresh
    await holder.release()


async def test_closed_connection_is_replaced() -> None:
    """A connection that the host ended is not lent again."""
    network = Network()
    pool = network.pool()
    first = await lease_once(pool)
    network.made[0].closed = True
    assert await lease_once(pool) is not first
    assert repr(pool) == "<Pool 1 connected, 0 leased, 0 waiting>"


async def test_connection_idle_for_too_long_is_replaced_and_closed() -> None:
    """A connection unused for `idle_s` is not trusted, and must not stay open unseen."""
    network = Network()
    pool = network.pool(idle_s=60)
    first = await lease_once(pool)
    network.made[0].used_at -= 61
    assert await lease_once(pool) is not first
    assert network.made[0].closed


async def test_connection_that_nobody_asks_for_is_closed() -> None:
    """A host that was removed is asked nothing more, and would have us logged in for good."""
    network = Network()
    pool = network.pool(idle_s=0.01)
    holder = Holder(pool)
    await settle()
    await asyncio.sleep(0.03)  # what is in use stays, however long
    assert not network.made[0].closed
    await holder.release()
    async with asyncio.timeout(60):
        while not network.made[0].closed:  # noqa: ASYNC110 - nobody tells
            await asyncio.sleep(0.001)
    assert pool.connection(PBX) is None


async def test_connection_that_another_has_let_go_of_meanwhile_is_replaced() -> None:
    """Its loss was found out by whoever used it, while the next one asked whether it is meant."""
    network = Network()

    async def is_meant(connection: Connection) -> bool:
        pool.retire(connection)
        return False

    pool = Pool(
        network.connect,
        concurrency=3,
        queue_s=5,
        idle_s=3600,
        connect_timeout_s=10,
        retry_s=1e-9,
        is_meant=is_meant,
    )
    first = await lease_once(pool)
    assert await lease_once(pool) is not first
    assert network.made[0].closed


async def test_connection_in_use_is_never_too_old() -> None:
    """A lease that takes long keeps its connection in service."""
    network = Network()
    pool = network.pool(idle_s=60)
    holder = Holder(pool)
    await settle()
    network.made[0].used_at -= 61
    assert await lease_once(pool) is holder.connection
    await holder.release()


async def test_failure_to_connect_leaves_the_pool_usable() -> None:
    """The error reaches the caller, and neither permit nor lock stays taken."""
    network = Network()
    network.fault = ConnectFailed("Connection refused")
    pool = network.pool(concurrency=1)
    for _ in range(3):
        with pytest.raises(ConnectFailed):
            await lease_once(pool)
    assert repr(pool) == "<Pool 0 connected, 0 leased, 0 waiting>"
    network.fault = None
    await lease_once(pool)


async def test_connecting_ends_with_the_deadline() -> None:
    """Waiting for a log-in, one's own or another's, is bounded and said in the spec's words."""
    network = Network()
    network.open.clear()
    pool = network.pool(concurrency=2)
    other = Holder(pool)
    await settle()
    with pytest.raises(ConnectTimeout, match=r"^Connection timeout$"):
        async with pool.lease(PBX, Deadline.after(0.01)):
            raise AssertionError("no connection was made")
    network.open.set()
    await other.release()
    await lease_once(pool)
    assert repr(pool) == "<Pool 1 connected, 0 leased, 0 waiting>"


async def test_error_inside_a_lease_gives_the_turn_back() -> None:
    """Whatever the borrower raises, the connection and the permit come back."""
    pool = Network().pool(concurrency=1)
    for _ in range(2):
        with pytest.raises(KeyError):
            async with pool.lease(PBX, Deadline.after(5)):
                raise KeyError
    assert repr(pool) == "<Pool 1 connected, 0 leased, 0 waiting>"


async def test_cancelled_while_waiting_for_a_turn() -> None:
    """Whoever gives up in the queue takes no permit along."""
    pool = Network().pool(concurrency=1)
    holder, waiter = Holder(pool), Holder(pool)
    await settle()
    assert repr(pool) == "<Pool 1 connected, 1 leased, 1 waiting>"
    await waiter.cancel()
    assert repr(pool) == "<Pool 1 connected, 1 leased, 0 waiting>"
    await holder.release()
    await lease_once(pool)


async def test_cancelled_in_the_moment_of_getting_a_turn() -> None:
    """A permit handed over to somebody who gives up at once goes to the next."""
    pool = Network().pool(concurrency=1)
    holder, waiter = Holder(pool), Holder(pool)
    await settle()
    holder._enough.set()
    await asyncio.sleep(0)
    await waiter.cancel()
    await holder.task
    await lease_once(pool)
    assert repr(pool) == "<Pool 1 connected, 0 leased, 0 waiting>"


async def test_cancelled_while_connecting() -> None:
    """The log-in is given up with its request, and the next request makes its own."""
    network = Network()
    network.open.clear()
    pool = network.pool(concurrency=1)
    impatient = Holder(pool)
    await settle()
    assert repr(pool) == "<Pool 0 connected, 0 leased, 0 waiting>"
    await impatient.cancel()
    network.open.set()
    await lease_once(pool)
    assert network.attempts == 2
    assert repr(pool) == "<Pool 1 connected, 0 leased, 0 waiting>"


async def test_cancelled_while_another_connects() -> None:
    """Giving up the wait for somebody else's log-in disturbs that log-in not at all."""
    network = Network()
    network.open.clear()
    pool = network.pool(concurrency=2)
    connecting = Holder(pool)
    await settle()
    waiter = Holder(pool)
    await settle()
    await waiter.cancel()
    network.open.set()
    await settle()
    assert repr(pool) == "<Pool 1 connected, 1 leased, 0 waiting>"
    await connecting.release()
    assert network.attempts == 1


async def test_cancelled_inside_a_lease() -> None:
    """A request that is given up in mid-exchange leaves the connection to the others."""
    network = Network()
    pool = network.pool(concurrency=1)
    holder = Holder(pool)
    await settle()
    await holder.cancel()
    assert repr(pool) == "<Pool 1 connected, 0 leased, 0 waiting>"
    assert await lease_once(pool) is holder.connection


async def test_closing_ends_every_connection() -> None:
    """A closed pool has no connection left, to any host."""
    network = Network()
    pool = network.pool()
    await lease_once(pool)
    await lease_once(pool, OTHER)
    await pool.close()
    assert [connection.closed for connection in network.made] == [True, True]
    assert repr(pool) == "<Pool 0 connected, 0 leased, 0 waiting>"


# A host that could not be connected


async def fail_once(pool: Pool, network: Network, error: NotExecuted) -> None:
    """Let one caller find out that the host cannot be connected."""
    network.fault = error
    with pytest.raises(type(error)):
        await lease_once(pool)


@pytest.mark.parametrize(
    "error",
    [
        ConnectFailed("Connection refused"),
        ConnectTimeout("Connection timeout"),
        AuthenticationFailed("10.88.10.19 does not accept the password"),
        HostKeyChanged("Not the known key"),
    ],
)
async def test_host_that_failed_is_answered_for_at_once(error: NotExecuted) -> None:
    """Within `retry_s` nobody connects: the same error again, and when to come back."""
    network = Network()
    pool = network.pool(retry_s=60)
    await fail_once(pool, network, error)
    for _ in range(3):
        with pytest.raises(type(error)) as caught:
            await lease_once(pool)
        assert caught.value is not error, "each request has an error of its own"
        assert (caught.value.reason, caught.value.retry_after_s) == (error.reason, 60)
        assert caught.value.dialled == "no"
    assert network.attempts == 1
    assert repr(pool) == "<Pool 0 connected, 0 leased, 0 waiting>"


async def test_silent_host_is_answered_for_at_once() -> None:
    """A host that never answers the log-in is a failed one too, whoever's clock ended it."""
    network = Network()
    network.open.clear()
    pool = network.pool(connect_timeout_s=0.5, retry_s=60)
    for _ in range(3):
        with pytest.raises(ConnectTimeout, match=r"^Connection timeout$"):
            await lease_once(pool)
    assert network.attempts == 1


async def test_caller_with_little_time_left_does_not_speak_for_the_others() -> None:
    """His time-out says nothing of the host: the next caller connects."""
    network = Network()
    network.open.clear()
    pool = network.pool(connect_timeout_s=10, retry_s=60)
    with pytest.raises(ConnectTimeout):
        async with pool.lease(PBX, Deadline.after(0.01)):
            raise AssertionError("unreachable")
    network.open.set()
    await lease_once(pool)
    assert network.attempts == 2


async def test_burst_at_a_failing_host_connects_once() -> None:
    """Those who waited for the log-in that failed do not each try their own."""
    network = Network()
    network.open.clear()
    network.fault = ConnectFailed("Connection refused")
    pool = network.pool(retry_s=60)
    leases = [asyncio.create_task(lease_once(pool)) for _ in range(3)]
    await settle()
    network.open.set()
    done = await asyncio.gather(*leases, return_exceptions=True)
    assert [type(error) for error in done] == [ConnectFailed] * 3
    assert network.attempts == 1


async def test_after_the_pause_exactly_one_caller_tries_again() -> None:
    """One probes; until it knows, the others are answered at once, as before."""
    network = Network()
    pool = network.pool(concurrency=3)  # its pause is over at once
    await fail_once(pool, network, ConnectFailed("Connection refused"))
    network.fault = None
    network.open.clear()
    probe = Holder(pool)
    await settle()
    assert network.attempts == 2
    for _ in range(3):
        with pytest.raises(ConnectFailed, match=r"^Connection refused$"):
            await lease_once(pool)
    assert network.attempts == 2
    network.open.set()
    await settle()
    assert probe.connection is not None
    assert await lease_once(pool) is probe.connection
    await probe.release()
    assert network.attempts == 2


async def test_probe_that_fails_too_begins_the_pause_anew() -> None:
    """What is told then is the newer error."""
    network = Network()
    pool = network.pool(retry_s=60)
    await fail_once(pool, network, ConnectFailed("Connection refused"))
    pool._hosts[PBX].failed_at -= 61
    await fail_once(pool, network, ConnectTimeout("Connection timeout"))
    with pytest.raises(ConnectTimeout):
        await lease_once(pool)
    assert network.attempts == 2


async def test_probe_that_is_given_up_leaves_the_next_one_to_probe() -> None:
    """A caller who goes away in the middle of it does not leave the host locked."""
    network = Network()
    pool = network.pool()
    await fail_once(pool, network, ConnectFailed("Connection refused"))
    network.fault = None
    network.open.clear()
    probe = Holder(pool)
    await settle()
    await probe.cancel()
    network.open.set()
    await lease_once(pool)
    assert network.attempts == 3
    assert repr(pool) == "<Pool 1 connected, 0 leased, 0 waiting>"


async def test_success_forgets_the_failure() -> None:
    """A connection that breaks after the host came back is made anew at once."""
    network = Network()
    pool = network.pool(retry_s=60)
    await fail_once(pool, network, ConnectFailed("Connection refused"))
    pool._hosts[PBX].failed_at -= 61
    network.fault = None
    await lease_once(pool)
    network.made[0].closed = True
    await lease_once(pool)
    assert network.attempts == 3


async def test_error_worth_another_attempt_is_no_verdict_on_the_host() -> None:
    """A log-in that sshd drops under load says nothing: such a host is tried again at once."""
    network = Network()
    pool = network.pool(retry_s=60)
    for _ in range(3):
        await fail_once(pool, network, ConnectionLost("Connection closed before log-in"))
    assert network.attempts == 3
    network.fault = None
    await lease_once(pool)


async def test_failed_host_does_not_concern_another() -> None:
    """Each host has its own verdict."""
    network = Network()
    pool = network.pool(retry_s=60)
    await fail_once(pool, network, ConnectFailed("Connection refused"))
    network.fault = None
    assert (await lease_once(pool, OTHER)).target == OTHER
    with pytest.raises(ConnectFailed):
        await lease_once(pool)


# Held beyond the lease


async def test_held_connection_outlives_its_lease_and_its_retirement() -> None:
    """Whoever still listens on it keeps it open, and then it is closed for good."""
    network = Network()
    pool = network.pool()
    async with pool.lease(PBX, Deadline.after(5)) as connection:
        release = pool.hold(connection)
        pool.retire(connection)
    assert not network.made[0].closed
    assert await lease_once(pool) is not connection, "it is lent no more"
    release()
    assert network.made[0].closed
    assert not network.made[1].closed


async def test_held_connection_in_service_stays_open() -> None:
    """Letting go of a connection that was never retired closes nothing."""
    network = Network()
    pool = network.pool()
    connection = await lease_once(pool)
    pool.hold(connection)()
    assert await lease_once(pool) is connection
    assert not network.made[0].closed


async def test_connection_that_was_held_while_the_pool_closed_is_closed_by_its_holder() -> None:
    """After the pool is gone nobody else knows of it."""
    network = Network()
    pool = network.pool()
    async with pool.lease(PBX, Deadline.after(5)) as connection:
        release = pool.hold(connection)
        pool.retire(connection)
    await pool.close()
    assert not network.made[0].closed
    release()
    assert network.made[0].closed
