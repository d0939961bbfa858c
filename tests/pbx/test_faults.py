"""Harm done to a real PBX: nothing rings twice, and no answer lies about what was dialled."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal

import anyio
import anyio.to_thread
import httpx
import pytest

from shared.asterisk import openings
from shared.asterisk.models import Banner
from shared.asterisk.openings import Stream
from shared.deadline import Deadline
from tests.pbx.lab import Lab
from tests.pbx.service import BUSY, LIMIT_S, TALKS, Phones, Services, until

pytestmark = pytest.mark.anyio

WARM_UP = "+375290000009"  # the customer of the call before the harm


def verdict(answer: httpx.Response) -> tuple[int, str, str]:
    """What a failed call tells."""
    body = answer.json()
    return answer.status_code, body["code"], body["dialled"]


@pytest.mark.parametrize("warm", [False, True])
async def test_a_frozen_asterisk_dials_nothing_later(
    lab: Lab, phones: Phones, start: Services, *, warm: bool
) -> None:
    """No banner, so nothing was sent: 500 says `no`; thawed, nobody rings; asked again, once."""
    service = await start(COMMAND_TIMEOUT_S=4, PBX_AHEAD_S=0)
    if warm:  # else the question for the extension is the one that gets no answer
        await service.call("155", WARM_UP)
    lab.freeze()
    answer = await service.call("155", TALKS)
    lab.thaw()

    assert verdict(answer) == (500, "asterisk-no-answer", "no")
    lab.rx("core show uptime")  # it has got through all that waited
    assert await phones.in_the_end() == ({"155": 1} if warm else {})
    again = await service.call("155", TALKS)
    assert (again.status_code, again.json()["repeated"]) == (200, False)
    assert await phones.in_the_end() == {"155": 2 if warm else 1}


async def test_frozen_after_its_banner_asterisk_dials_once(
    lab: Lab, phones: Phones, start: Services, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Sent, not acknowledged: 500 says `unknown`, a repeat dials nothing, thawed it rings once."""
    service = await start(COMMAND_TIMEOUT_S=4, LATE_CALL="keep", PBX_AHEAD_S=0)
    await service.call("152", WARM_UP)
    await phones.in_the_end()
    read_banner = openings._read_banner
    frozen = asyncio.Event()

    async def read_banner_then_freeze(stream: Stream, deadline: Deadline) -> Banner:
        banner = await read_banner(stream, deadline)
        if not frozen.is_set():  # who follows calls may get one when it is thawed
            frozen.set()
            lab.freeze()
        return banner

    with monkeypatch.context() as patch:
        patch.setattr(openings, "_read_banner", read_banner_then_freeze)
        answer = await service.call("152", TALKS)
    assert verdict(answer) == (500, "outcome-unknown", "unknown")
    repeat = (await service.call("152", TALKS)).json()
    lab.thaw()

    assert (repeat["success"], repeat["phase"], repeat["repeated"]) == (False, "unknown", True)
    assert repeat["call_id"] == answer.json()["call_id"]
    await until(lambda: phones.so_far() == {"152": 2})
    after = (await service.call("152", TALKS)).json()
    assert (after["call_id"], after["repeated"]) == (repeat["call_id"], True)
    assert await phones.in_the_end() == {"152": 2}
    await until(lambda: service.calls()[1]["state"] == "executed")
    assert [row["error_code"] for row in service.calls()] == [None, "late-call"]


async def test_frozen_before_an_exec_the_outcome_is_unknown(
    lab: Lab, phones: Phones, start: Services
) -> None:
    """A hanging `asterisk -rx` may go on by itself: `unknown`, and at most one INVITE, ever."""
    service = await start(COMMAND_TIMEOUT_S=4, ASTERISK_TRANSPORT="exec")
    await service.call("152", WARM_UP)
    await phones.in_the_end()
    lab.freeze()
    answer = await service.call("152", TALKS)
    repeat = await service.call("152", TALKS)
    lab.thaw()

    assert verdict(answer) == (500, "outcome-unknown", "unknown")
    assert repeat.json()["repeated"]
    await anyio.to_thread.run_sync(lab.wait_commands)
    assert await phones.in_the_end() in ({"152": 1}, {"152": 2})


async def test_a_killed_asterisk_is_told_and_its_successor_rings_once(
    lab: Lab, phones: Phones, start: Services
) -> None:
    """Dead: `no` each time. While it boots the click is repeated until 200: it rings once."""
    service = await start(PBX_AHEAD_S=0)  # else the first is sent where its end is not told yet
    await service.call("155", WARM_UP)
    await phones.in_the_end()
    lab.kill()
    dead = await service.call("152", TALKS)
    refusals = []
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(anyio.to_thread.run_sync, lab.restart)
        with anyio.fail_after(LIMIT_S):
            while (answer := await service.call("152", TALKS)).is_error:
                refusals.append(verdict(answer))

    assert verdict(dead) == (500, "asterisk-unavailable", "no")
    assert {(status, dialled) for status, _, dialled in refusals} <= {(500, "no")}
    assert (answer.json()["phase"], answer.json()["repeated"]) == ("accepted", False)
    assert await phones.in_the_end() == {"152": 1, "155": 1}


async def test_after_a_restart_the_first_call_rings_once(
    lab: Lab, phones: Phones, start: Services
) -> None:
    """Another Asterisk behind the same connection: the call at once after its boot rings once."""
    service = await start()
    await service.call("155", WARM_UP)
    await phones.in_the_end()
    lab.kill()
    await anyio.to_thread.run_sync(lab.restart)

    answer = await service.call("154", BUSY)

    assert (answer.status_code, answer.json()["phase"]) == (200, "accepted")
    assert await phones.in_the_end() == {"154": 1, "155": 1, "trunkbusy": 1}


def send(processes: list[int], number: signal.Signals) -> None:
    """Send a signal to those that are there still: one that served a log-in ends by itself."""
    for process in processes:
        with contextlib.suppress(ProcessLookupError):
            os.kill(process, number)


@pytest.mark.parametrize("harm", [signal.SIGKILL, signal.SIGSTOP])
@pytest.mark.parametrize("transport", ["socket", "exec"])
async def test_a_connection_that_died_while_idle_is_replaced(
    lab: Lab, phones: Phones, start: Services, transport: str, harm: signal.Signals
) -> None:
    """The host's end is killed, or stands still: the next call goes over a new one and rings once.

    Standing still costs the 3 s that opening a channel may take.
    """
    service = await start(ASTERISK_TRANSPORT=transport)
    await service.call("152", WARM_UP)
    processes = lab.sshd_connections()
    assert processes
    send(processes, harm)
    try:
        answer = await service.call("152", TALKS)
    finally:
        send(processes, signal.SIGKILL)

    assert (answer.status_code, answer.json()["phase"]) == (200, "accepted")
    # A killed process is seen until its parent has buried it.
    await until(lambda: not set(lab.sshd_connections()) & set(processes))
    await until(lambda: phones.so_far() == {"152": 2})
    lab.hangup_all()
    assert await phones.in_the_end() == {"152": 2}


async def test_a_pbx_that_is_away_dials_nothing(lab: Lab, phones: Phones, start: Services) -> None:
    """Nobody listens on the port: 500 at once, and nothing is dialled."""
    service = await start(SSH_PORT=1)

    answer = await service.call("155", TALKS)

    assert verdict(answer) == (500, "ssh-connect-failed", "no")
    assert await phones.in_the_end() == {}


async def test_a_lost_database_dials_nothing(lab: Lab, phones: Phones, start: Services) -> None:
    """Without admission nothing is sent to the PBX: 503, never 401."""
    service = await start(POSTGRES_PORT=1)
    mark = lab.log_mark()

    answer = await service.call("155", TALKS)

    assert verdict(answer) == (503, "database-unavailable", "no")
    assert not [line for line in lab.log_since(mark) if "Remote UNIX connection" in line]
    assert await phones.in_the_end() == {}
