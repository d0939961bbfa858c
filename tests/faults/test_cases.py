"""Every way of failing that real Asterisk was seen to have: what is told is what rang."""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import anyio
import anyio.to_thread
import httpx
import pytest

from shared.asterisk.models import Channel
from shared.auth import admission
from shared.following import late
from tests.faults.harm import Harm, Moment, Moments, assert_true, verdict
from tests.faults.process import Process
from tests.faults.relay import Relay
from tests.pbx.lab import Lab
from tests.pbx.service import LIMIT_S, Client, Phones, Service, Services, environment, until
from tests.postgres import Postgres

pytestmark = pytest.mark.anyio

AGENT = "152"  # rings 1.5 s, so that its channel is there to be seen
RINGS = "153"  # does not answer for 6 s
ANSWERS = "154"  # answers after 1.5 s
WARM_UP = "+375290000009"
NEIGHBOUR = "july-77aa10c2b3d4e5f6"
CUSTOMER = "+375290000001"
BUSY = "+375290000002"
TRANSPORTS = ("socket", "exec")
# UNKNOWN_HOLD_S, and when a caller clicks again; in earnest 120 and 12, 30, 60 s.
EARNEST = "FAULTS_IN_EARNEST" in os.environ
HOLD_S = 120.0 if EARNEST else 20.0
REPEATS_S = tuple(HOLD_S * part for part in (0.1, 0.25, 0.5))


async def rung(phones: Phones, least: int = 0, agent: str = AGENT) -> int:
    """Wait until the agent has rung so often, end what rings, and count in the end."""
    await until(lambda: phones.so_far().get(agent, 0) >= least)
    await anyio.sleep(0.1)
    await anyio.to_thread.run_sync(phones._lab.hangup_all)
    return (await phones.in_the_end()).get(agent, 0)


async def warm(service: Service, phones: Phones, agent: str = AGENT) -> None:
    """Place another call of this agent, so that the next one is one exchange."""
    assert (await service.call(agent, WARM_UP)).status_code == 200
    assert await rung(phones, 1, agent) == 1


async def undo(harm: Harm) -> None:
    """Let the PBX go on."""
    await anyio.to_thread.run_sync(harm.undo)


@pytest.mark.parametrize(
    ("transport", "act", "moment", "told"),
    [
        # Where two are allowed the banner, or the reply, may have been on its way already.
        # Asterisk stands still. Without a banner nothing was sent.
        ("socket", Harm.freeze_asterisk, "banner", {"unknown"}),
        ("socket", Harm.freeze_asterisk, "written", {"unknown", "yes"}),
        ("exec", Harm.freeze_asterisk, "opened", {"unknown"}),
        ("exec", Harm.freeze_asterisk, "written", {"unknown", "yes"}),
        # The host's end of the connection dies: a fresh one is safe only before the write.
        ("socket", Harm.kill_sshd_session, "opened", {"yes", "unknown"}),
        ("socket", Harm.kill_sshd_session, "banner", {"yes", "unknown"}),
        ("socket", Harm.kill_sshd_session, "written", {"unknown", "yes"}),
        ("socket", Harm.kill_sshd_session, "executed", {"unknown"}),
        ("exec", Harm.kill_sshd_session, "opened", {"yes", "unknown"}),
        ("exec", Harm.kill_sshd_session, "written", {"unknown", "yes"}),
        ("exec", Harm.kill_sshd_session, "executed", {"unknown"}),
        # It stands still: only the clock tells.
        ("socket", Harm.freeze_sshd_session, "banner", {"unknown"}),
        ("socket", Harm.freeze_sshd_session, "written", {"unknown", "yes"}),
        ("exec", Harm.freeze_sshd_session, "written", {"unknown", "yes"}),
        # Asterisk dies; its end of file looks like the reply to a good originate.
        ("socket", Harm.kill_asterisk, "opened", {"no", "unknown"}),
        ("socket", Harm.kill_asterisk, "banner", {"unknown"}),
        ("socket", Harm.kill_asterisk, "written", {"unknown", "yes"}),
        ("exec", Harm.kill_asterisk, "opened", {"no"}),
        ("exec", Harm.kill_asterisk, "written", {"no", "unknown", "yes"}),
    ],
)
async def test_harm_at_a_moment_of_the_exchange(
    lab: Lab,
    phones: Phones,
    start: Services,
    moments: Moments,
    harm: Harm,
    transport: str,
    act: Callable[[Harm], None],
    moment: Moment,
    told: set[str],
) -> None:
    """The answer is true, a repeat dials nothing while it is unknown, and it never rings twice."""
    service = await start(
        PBX_AHEAD_S=0,  # the moments are of an exchange that begins with its socket
        ASTERISK_TRANSPORT=transport,
        COMMAND_TIMEOUT_S=3,
        PBX_RETRY_S=0.1,
        REPEAT_WINDOW_S=60,
        REPEAT_AFTER_END_S=60,
        LATE_CALL="keep",
    )
    await warm(service, phones)
    moments.at(moment, lambda: act(harm))
    answer = await service.call(AGENT, CUSTOMER)
    repeat = None if verdict(answer)[2] == "no" else await service.call(AGENT, CUSTOMER)
    await undo(harm)
    lab.rx("core show uptime")  # it has got through all that waited

    dead = act is Harm.kill_asterisk  # which takes a call with it that it had accepted
    count = await rung(phones, 2 if verdict(answer)[2] == "yes" and not dead else 1) - 1
    assert verdict(answer)[2] in told
    assert count <= 1
    if not dead:
        assert_true(answer, count)
    again = await service.call(AGENT, CUSTOMER)
    if repeat is None:
        assert verdict(again) == (200, "accepted", "yes")
        assert await rung(phones, 2) - 1 == 1
    else:
        assert (repeat.status_code, repeat.json()["repeated"]) == (200, True)
        assert again.json()["repeated"]
        assert await rung(phones) - 1 == count


async def test_frozen_before_the_banner_nothing_was_sent(
    lab: Lab, phones: Phones, start: Services, harm: Harm
) -> None:
    """No banner: `no`, and thawed it rings nobody; so the next click is placed, and rings once."""
    service = await start(ASTERISK_TRANSPORT="socket", COMMAND_TIMEOUT_S=3, PBX_AHEAD_S=0)
    await warm(service, phones)
    harm.freeze_asterisk()
    answer = await service.call(AGENT, CUSTOMER)
    await undo(harm)
    lab.rx("core show uptime")

    assert verdict(answer) == (500, "asterisk-no-answer", "no")
    assert await rung(phones) - 1 == 0
    again = await service.call(AGENT, CUSTOMER)
    assert (verdict(again)[2], again.json()["repeated"]) == ("yes", False)
    assert await rung(phones, 2) - 1 == 1


@pytest.mark.parametrize("late_call", ["hangup", "keep"])
@pytest.mark.parametrize("transport", TRANSPORTS)
async def test_frozen_then_clicked_again_rings_once(
    lab: Lab,
    phones: Phones,
    start: Services,
    moments: Moments,
    harm: Harm,
    transport: str,
    late_call: str,
) -> None:
    """Unknown, clicked again and again while it is frozen, thawed: one INVITE at most, in all.

    Come up late it is hung up before its agent has answered, or kept: then both are connected.
    """
    service = await start(
        PBX_AHEAD_S=0,  # the moments are of an exchange that begins with its socket
        ASTERISK_TRANSPORT=transport,
        COMMAND_TIMEOUT_S=3,
        UNKNOWN_HOLD_S=HOLD_S,
        REPEAT_WINDOW_S=HOLD_S / 12,
        LATE_CALL=late_call,
        PBX_RETRY_S=0.1,
    )
    agent = RINGS if late_call == "hangup" else ANSWERS
    await warm(service, phones, agent)
    moments.at("banner", harm.freeze_asterisk)
    sent = anyio.current_time()
    answer = await service.call(agent, BUSY)
    assert verdict(answer)[1:] == ("outcome-unknown", "unknown")
    for at_s in REPEATS_S:
        await anyio.sleep(max(0.0, sent + at_s - anyio.current_time()))
        repeat = await service.call(agent, BUSY)
        assert verdict(repeat) == (200, "unknown", "unknown")
        assert repeat.json()["call_id"] == answer.json()["call_id"]
    await undo(harm)
    lab.rx("core show uptime")

    if transport == "socket":
        await until(lambda: service.calls()[-1]["state"] == "executed")
        hung_up = late_call == "hangup"
        row = service.calls()[-1]
        assert row["error_code"] == ("late-call-hung-up" if hung_up else "late-call")
        counts = await phones.in_the_end()
        assert counts == {agent: 2} | ({} if hung_up else {"trunkbusy": 1})
    else:  # the shell may have lost its terminal before it came to the originate
        counts = await phones.in_the_end()
        assert counts[agent] in {1, 2}
        assert counts.get("trunkbusy", 0) <= counts[agent] - 1


@pytest.mark.parametrize("transport", TRANSPORTS)
async def test_a_stopped_asterisk_is_told(
    lab: Lab, phones: Phones, start: Services, transport: str
) -> None:
    """Down: `no`, by either way. Started again, the very next click rings once."""
    service = await start(ASTERISK_TRANSPORT=transport, PBX_RETRY_S=0.1, PBX_AHEAD_S=0)
    await warm(service, phones)
    lab.kill()
    down = [await service.call(AGENT, CUSTOMER) for _ in range(2)]
    refused = []
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(anyio.to_thread.run_sync, lab.restart)
        with anyio.fail_after(LIMIT_S):
            while (answer := await service.call(AGENT, CUSTOMER)).is_error:
                refused.append(verdict(answer)[2])

    assert [verdict(answer)[1:] for answer in down] == [("asterisk-unavailable", "no")] * 2
    assert set(refused) <= {"no"}
    assert verdict(answer) == (200, "accepted", "yes")
    assert await rung(phones, 2) - 1 == 1


@pytest.mark.parametrize(
    ("settings", "code"),
    [
        ({"SSH_PASSWORD": "not-this-one"}, "ssh-authentication-failed"),
        ({"SSH_PORT": 1}, "ssh-connect-failed"),
    ],
)
async def test_a_closed_door_is_told(
    phones: Phones, start: Services, settings: dict[str, object], code: str
) -> None:
    """A wrong password, a port where nobody listens: `no`, and nothing rings."""
    service = await start(**settings)
    assert verdict(await service.call(AGENT, CUSTOMER)) == (500, code, "no")
    assert await phones.in_the_end() == {}


@contextlib.contextmanager
def strangers(lab: Lab, count: int) -> Iterator[None]:
    """Hold so many log-ins of somebody else's open, none of which ever ends."""
    with contextlib.ExitStack() as stack:
        for _ in range(count):
            # From another address, or OpenSSH 10 would shut ours out when they leave.
            stack.enter_context(
                socket.create_connection((lab.host, lab.ssh_port), source_address=("127.9.9.9", 0))
            )
        yield


async def test_a_log_in_that_sshd_drops_is_tried_again(
    lab: Lab, phones: Phones, start: Services
) -> None:
    """MaxStartups drops every third of our log-ins and more: each click rings once all the same."""
    customers = [f"+37529000010{n}" for n in range(4)]
    for customer in customers:
        service = await start()  # no connection yet
        with strangers(lab, 30):
            answers = [await service.call(AGENT, customer)]
            while answers[-1].is_error and len(answers) < 10:
                answers.append(await service.call(AGENT, customer))
        assert {verdict(answer)[2] for answer in answers[:-1]} <= {"no"}
        assert verdict(answers[-1]) == (200, "accepted", "yes")
    assert await rung(phones, len(customers)) == len(customers)


async def test_a_log_in_dropped_twice_is_tried_again(
    lab: Lab, phones: Phones, start: Services
) -> None:
    """The host's drop before the log-in is cured unseen: two of them, and the click is answered."""
    async with Relay.to(lab.ssh_port) as relay:
        relay.on_accept = lambda number: number > 2
        service = await start(SSH_PORT=relay.port)
        answer = await service.call(AGENT, CUSTOMER)
        assert relay.accepted > 2
        assert verdict(answer) == (200, "accepted", "yes")
        assert await rung(phones, 1) == 1
        await start.end()  # before the relay


async def test_refused_opens_under_a_burst_are_tried_again(
    lab: Lab, phones: Phones, postgres: Postgres, tmp_path: Path
) -> None:
    """Two processes, each with 8 exchanges at once at a backlog of 2: every click rings once."""
    settings = environment(postgres, lab, PBX_CONCURRENCY=8)
    services = [Process(tmp_path, settings) for _ in range(2)]
    try:
        await asyncio.gather(*(service.start() for service in services))
        customers = [f"+3752900001{n:02d}" for n in range(40)]
        async with httpx.AsyncClient(timeout=LIMIT_S) as http:
            clients = [Clicker(http, service.url) for service in services]
            answers = await asyncio.gather(
                *(clients[n % 2].call(AGENT, customer) for n, customer in enumerate(customers))
            )
        assert {verdict(answer) for answer in answers} == {(200, "accepted", "yes")}
        assert await rung(phones, len(customers)) == len(customers)
    finally:
        for service in services:
            service.terminate()


class Clicker:
    """A client of a service somewhere."""

    def __init__(self, http: httpx.AsyncClient, url: str) -> None:
        self._http = http
        self._url = url

    async def call(self, code: str, phone: str) -> httpx.Response:
        """Ask for a call."""
        client = Client(self._http)
        self._http.base_url = httpx.URL(self._url)
        return await client.call(code, phone)


@pytest.mark.parametrize(
    ("transport", "point", "rings"),
    [
        ("socket", "claimed", {0}),
        ("socket", "written", {1}),
        ("socket", "executed", {1}),
        ("exec", "claimed", {0}),
        ("exec", "written", {0, 1}),
        ("exec", "executed", {1}),
    ],
)
async def test_a_service_that_dies_never_rings_twice(
    lab: Lab,
    phones: Phones,
    start: Services,
    tmp_path: Path,
    transport: str,
    point: str,
    rings: set[int],
) -> None:
    """Killed between claim, write and settling; the same click at another process dials nothing.

    It is told what is so once the dead one would have had to answer: nobody knows.
    """
    other = await start(ASTERISK_TRANSPORT=transport, REQUEST_TIMEOUT_S=3)
    settings = environment(other.postgres, lab, ASTERISK_TRANSPORT=transport)
    doomed = Process(
        tmp_path, settings, point, script=Path(__file__).parent / "service_with_faults.py"
    )
    try:
        await doomed.start()
        async with httpx.AsyncClient(timeout=LIMIT_S) as http:
            with pytest.raises(httpx.TransportError):
                await Clicker(http, doomed.url).call(AGENT, CUSTOMER)
        await anyio.to_thread.run_sync(doomed.wait_ended)
        repeats = [await other.call(AGENT, CUSTOMER) for _ in range(3)]
        assert {verdict(repeat) for repeat in repeats} == {(200, "unknown", "unknown")}
        assert {repeat.json()["repeated"] for repeat in repeats} == {True}
        await anyio.sleep(0.5)
        assert await rung(phones, min(rings)) in rings
    finally:
        doomed.terminate()


@pytest.mark.parametrize("transport", TRANSPORTS)
async def test_a_service_that_dies_once_it_has_answered_is_told_of_to_the_end(
    lab: Lab, phones: Phones, start: Services, tmp_path: Path, transport: str
) -> None:
    """Accepted, never settled: another process finds the call; a repeat dials nothing meanwhile."""
    window = {"REPEAT_WINDOW_S": 60, "REPEAT_AFTER_END_S": 60}
    other = await start(
        ASTERISK_TRANSPORT=transport, REQUEST_TIMEOUT_S=1, POSTGRES_TIMEOUT_S=1, **window
    )
    settings = environment(other.postgres, lab, ASTERISK_TRANSPORT=transport, **window)
    script = Path(__file__).parent / "service_with_faults.py"
    doomed = Process(tmp_path, settings, "answered", script=script)
    try:
        await doomed.start()
        async with httpx.AsyncClient(timeout=LIMIT_S) as http:
            answer = await Clicker(http, doomed.url).call(AGENT, CUSTOMER)
        await anyio.to_thread.run_sync(doomed.wait_ended)
        assert verdict(answer) == (200, "accepted", "yes")
        assert (await other.call(AGENT, CUSTOMER)).json()["repeated"]
        await until(lambda: other.calls()[-1]["phase"] == "ended")
        row = other.calls()[-1]
        assert str(row["call_id"]) == answer.json()["call_id"]
        assert (row["state"], row["reason"]) == ("executed", "agent_busy")
        assert (await other.call(AGENT, CUSTOMER)).json()["repeated"]
        assert await phones.in_the_end() == {AGENT: 1}
    finally:
        doomed.terminate()


@pytest.mark.parametrize("warm_up", [False, True])
async def test_a_link_to_postgresql_cut_at_each_of_its_replies(
    phones: Phones, start: Services, postgres: Postgres, *, warm_up: bool
) -> None:
    """The first reply, the second...: asked again, one INVITE each, and 200 once it is placed."""
    async with Relay.to(postgres.port) as relay:
        service = await start(POSTGRES_PORT=relay.port)
        count = 0
        for number in range(1, 40):
            if warm_up:
                await service.call(AGENT, f"+3752900003{number:02d}")
                count += 1
            else:
                service = await start(POSTGRES_PORT=relay.port)
            relay.cut_at_reply(number)
            answer = await service.call(AGENT, f"+3752900002{number:02d}")
            count += 1
            assert verdict(answer) == (200, "accepted", "yes"), number
            assert await rung(phones, count) == count
            assert {row["state"] for row in service.calls()} == {"executed"}
            if relay.armed:  # there was no such reply
                break
        assert number > (2 if warm_up else 8)
        await start.end()  # before the relay


async def test_a_settling_that_is_lost_is_still_a_placed_call(
    phones: Phones, start: Services, postgres: Postgres, monkeypatch: pytest.MonkeyPatch
) -> None:
    """PostgreSQL dies once it rings: 200; once it is back the call is settled."""
    service = await start(POSTGRES_TIMEOUT_S=1, REQUEST_TIMEOUT_S=6)
    settle, is_down = admission.settle, asyncio.Event()

    async def settle_without(*args: object, **values: object) -> bool:
        if not is_down.is_set():
            await anyio.to_thread.run_sync(postgres.halt)
            is_down.set()
        return await settle(*args, **values)  # type: ignore[arg-type]

    postgres.execute("ALTER DATABASE postgres SET synchronous_commit = on")
    with monkeypatch.context() as patch:
        patch.setattr(admission, "settle", settle_without)
        try:
            answer = await service.call(AGENT, CUSTOMER)
            await is_down.wait()
        finally:
            await anyio.to_thread.run_sync(postgres.restart)
        await until(lambda: service.calls()[-1]["state"] == "executed")
    repeat = await service.call(AGENT, CUSTOMER)

    assert verdict(answer) == (200, "accepted", "yes")
    assert repeat.json()["call_id"] == answer.json()["call_id"]
    assert await rung(phones, 1) == 1


async def test_a_client_that_gives_up_and_repeats_rings_once(
    lab: Lab, phones: Phones, postgres: Postgres, tmp_path: Path
) -> None:
    """It hangs up at once, or in the middle, and clicks again until it is told: one INVITE."""
    service = Process(
        tmp_path, environment(postgres, lab, REPEAT_WINDOW_S=60, REPEAT_AFTER_END_S=60)
    )
    await service.start()
    patience_s = (0.001, 0.01, 0.05, 0.5)
    try:
        for number, limit_s in enumerate(patience_s):
            customer = f"+37529000040{number}"
            async with httpx.AsyncClient(timeout=limit_s) as http:
                for _ in range(4):
                    with contextlib.suppress(httpx.TransportError):
                        await Clicker(http, service.url).call(AGENT, customer)
            async with httpx.AsyncClient(timeout=LIMIT_S) as http:
                answer = await Clicker(http, service.url).call(AGENT, customer)
            assert answer.status_code == 200
        await anyio.sleep(0.5)
        assert await rung(phones, len(patience_s)) == len(patience_s)
    finally:
        service.terminate()


@pytest.mark.parametrize("transport", TRANSPORTS)
async def test_a_lost_call_hangs_up_nothing_of_another_spelling(
    lab: Lab,
    phones: Phones,
    start: Services,
    moments: Moments,
    harm: Harm,
    monkeypatch: pytest.MonkeyPatch,
    transport: str,
) -> None:
    """Its link dies before the reply; the same phone rings for a neighbour, and rings on."""
    monkeypatch.setattr(late, "_FIRST_PAUSE_S", 0.1)
    monkeypatch.setattr(late, "_LONGEST_PAUSE_S", 0.2)
    look, is_alone = late.LateCalls._from_channels, asyncio.Event()

    async def look_later(watch: late.LateCalls, call: late.UnknownCall) -> Channel | None:
        await is_alone.wait()
        return await look(watch, call)

    monkeypatch.setattr(late.LateCalls, "_from_channels", look_later)
    service = await start(
        ASTERISK_TRANSPORT=transport,
        COMMAND_TIMEOUT_S=3,
        PBX_RETRY_S=0.1,
        UNKNOWN_HOLD_S=3,
        PRECHECK="off",
    )
    service.postgres.seed_enterprise("0368", "july", "localhost", NEIGHBOUR)
    await warm(service, phones)
    moments.at("executed", partial(Harm.kill_sshd_session, harm))
    lost = await service.call(RINGS, CUSTOMER)
    assert verdict(lost)[2] == "unknown"
    await anyio.to_thread.run_sync(lab.hangup_all)  # whether it was executed or not
    headers = {"Authorization": f"Bearer {NEIGHBOUR}"}
    params = {"code": RINGS, "phone": WARM_UP}
    other = await service.http.get("/api/makecallexternal", params=params, headers=headers)
    assert verdict(other) == (200, "accepted", "yes")
    is_alone.set()
    await until(lambda: not late.the_late_calls()._watches)

    (root,) = [row for row in service.calls() if str(row["call_id"]) == other.json()["call_id"]]
    assert str(root["root_channel"]) in lab.rx("core show channels concise")
    assert await rung(phones, 1, RINGS) <= 2
