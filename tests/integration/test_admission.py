"""Admission on a real PostgreSQL: a call is claimed once, whoever asks and whatever breaks."""

from __future__ import annotations

import asyncio
import logging
import os
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import anyio
import pytest

from shared.asterisk.models import Channel, Order
from shared.auth.admission import Admitted, Outcome, Settlement, admit, settle
from shared.errors import (
    DatabaseUnavailable,
    InvalidClientId,
    KeyReused,
    LimitExceeded,
    SchemaMissing,
)
from shared.settings import Rate, Settings
from shared.store.database import Database
from shared.store.migrations import migrate
from shared.telemetry import in_request
from tests.orders import call_order, caller_of, monitor_order
from tests.postgres import Postgres, Wire

pytestmark = pytest.mark.anyio

ROOT = Path(__file__).parents[2]
SECRET = "june-secret-51c2"
ORDER = call_order("150", "+375296254070")
OTHER = call_order("151", "+375296254070")
FIRST_LEG = Channel("Local/150@inoffice-1;1", "inoffice", "", "Down", "", "", "", 0, "", "1.1")


class Desk:
    """Admits and settles with the settings of one test."""

    def __init__(self, database: Database, settings: Settings, postgres: Postgres) -> None:
        self.database = database
        self.settings = settings
        self.postgres = postgres

    async def admit(
        self,
        order: Order = ORDER,
        *,
        secret: str = SECRET,
        key: str | None = None,
        call_id: UUID | None = None,
        address: str | None = None,
    ) -> Admitted:
        """Admit an order, by default of a new call_id."""
        return await admit(
            self.database,
            self.settings,
            caller_of(secret, address),
            order,
            call_id=call_id or uuid4(),
            idempotency_key=key,
        )

    async def settle(self, admitted: Admitted, outcome: Outcome, **found: Any) -> None:
        """Record what became of a call."""
        await settle(self.database, self.settings, admitted.call_id, Settlement(outcome, **found))

    async def at_once(self, *orders: Order, key: str | None = None) -> list[Admitted | Exception]:
        """Admit all orders at the same time; refusals are among the results."""
        done: list[Admitted | Exception] = []

        async def one(order: Order) -> None:
            try:
                done.append(await self.admit(order, key=key))
            except (LimitExceeded, KeyReused) as refusal:
                done.append(refusal)

        async with anyio.create_task_group() as group:
            for order in orders:
                group.start_soon(one, order)
        return done

    def pass_time(self, seconds: float) -> None:
        """Let this time pass for everything that is recorded."""
        self.postgres.execute(
            "UPDATE callapi.claims SET until = until - :s * interval '1 second'", s=seconds
        )
        self.postgres.execute(
            "UPDATE callapi.rate_limits SET tat = tat - :s * interval '1 second'", s=seconds
        )
        self.postgres.execute(
            "UPDATE callapi.calls SET created_at = created_at - :s * interval '1 second',"
            " ended_at = ended_at - :s * interval '1 second'",
            s=seconds,
        )

    def end(self, admitted: Admitted, reason: str) -> None:
        """Let a call be over now, as a tracker tells it."""
        self.postgres.execute(
            "UPDATE callapi.calls SET phase = 'ended', reason = :reason,"
            " ended_at = clock_timestamp() WHERE call_id = :call_id",
            reason=reason,
            call_id=admitted.call_id,
        )

    def held_s(self) -> dict[str, float]:
        """For how long each claim holds, by its kind."""
        rows = self.postgres.execute(
            "SELECT split_part(key, ':', 1) AS kind, "
            "extract(epoch FROM until - clock_timestamp())::float8 AS s FROM callapi.claims"
        )
        return {row["kind"]: row["s"] for row in rows}

    def count(self, table: str) -> int:
        """How many rows a table of ours has."""
        return int(self.postgres.execute(f"SELECT count(*) AS n FROM callapi.{table}")[0]["n"])


@pytest.fixture
def desk(database: Database, postgres: Postgres) -> Desk:
    """A desk with one enterprise and the default settings."""
    postgres.seed_enterprise("0367", "june", "10.88.10.19", SECRET)
    return Desk(database, postgres.settings(), postgres)


async def test_a_new_call_is_admitted(desk: Desk) -> None:
    """The one round trip answers who it is, where to dial, and records the call as placing."""
    call_id = uuid4()
    admitted = await desk.admit(call_id=call_id)
    assert (admitted.call_id, admitted.repeated, admitted.state) == (call_id, False, "placing")
    assert (admitted.enterprise_number, admitted.enterprise_name) == ("0367", "june")
    assert admitted.host == "10.88.10.19"
    row = desk.postgres.execute("SELECT * FROM callapi.calls")[0]
    assert row["created_at"] == admitted.created_at
    assert (row["enterprise"], row["host"], row["kind"]) == ("0367", "10.88.10.19", "call")
    assert (row["code"], row["phone"], row["settled_at"]) == ("150", "+375296254070", None)


async def test_equal_orders_at_once_are_one_call(desk: Desk) -> None:
    """Twenty clicks at once on sixteen connections: one new call, nineteen repeats of it."""
    for round_number in range(10):
        order = call_order("150", f"+37529000000{round_number}")
        done = await desk.at_once(*[order] * 20)
        admitted = [one for one in done if isinstance(one, Admitted)]
        assert Counter(one.repeated for one in admitted) == {False: 1, True: 19}
        assert len({one.call_id for one in admitted}) == 1
    assert desk.count("calls") == 10


async def test_equal_orders_with_different_keys_at_once_are_one_call(desk: Desk) -> None:
    """Clients that make a key for each attempt of their own still ring one phone."""
    done: list[Admitted] = []

    async def one(key: str) -> None:
        done.append(await desk.admit(key=key))

    async with anyio.create_task_group() as group:
        for number in range(20):
            group.start_soon(one, f"key-{number}")
    assert Counter(admitted.repeated for admitted in done) == {False: 1, True: 19}
    assert len({admitted.call_id for admitted in done}) == 1
    again = await desk.admit(key="key-7")
    assert again.repeated
    assert again.call_id == done[0].call_id, "each key now leads to that call"


_PROCESS = """
import asyncio, sys, uuid
from shared.auth.admission import admit
from shared.store.database import the_database
from shared.settings import the_settings
from tests.orders import call_order, caller_of

async def one():
    done = await admit(the_database(), the_settings(), caller_of(sys.argv[1]),
                       call_order("150", "+375296254070"),
                       call_id=uuid.uuid4(), idempotency_key=None)
    return f"{done.call_id} {done.repeated}"

async def main():
    await the_database().connected()
    print("ready", flush=True)
    sys.stdin.readline()
    print("\\n".join(await asyncio.gather(*(one() for _ in range(10)))))
    the_database().close()

asyncio.run(main())
"""


async def test_equal_orders_from_two_processes_are_one_call(desk: Desk) -> None:
    """Two workers, or two Lambda environments, agree: ten clicks at each, one call."""
    processes = [
        await asyncio.create_subprocess_exec(
            *(sys.executable, "-c", _PROCESS, SECRET),
            cwd=ROOT,
            env=os.environ | desk.postgres.environment(),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        for _ in range(2)
    ]
    for process in processes:
        assert process.stdout is not None
        assert await process.stdout.readline() == b"ready\n"
    outputs = await asyncio.gather(*(process.communicate(b"go\n") for process in processes))
    answers = [line.split() for out, _ in outputs for line in out.decode().splitlines()]
    assert len({call_id for call_id, _ in answers}) == 1
    assert Counter(repeated for _, repeated in answers) == {"False": 1, "True": 19}


async def test_many_different_orders_at_once_never_deadlock(desk: Desk) -> None:
    """Keys, orders, limits and settlings crossed in every way: each is answered."""
    desk.settings = desk.postgres.settings(
        rate_limit_enterprise=Rate(count=10_000, per_s=1),
        rate_limit_extension=Rate(count=10_000, per_s=1),
    )
    answered = 0

    async def one(number: int) -> None:
        nonlocal answered
        order = call_order(str(150 + number % 3), f"+3752900000{number % 4}")
        try:
            admitted = await desk.admit(order, key=f"key-{number % 7}" if number % 2 else None)
            outcomes: tuple[Outcome, ...] = ("executed", "not_executed", "unknown")
            await desk.settle(admitted, outcomes[number % 3])
        except KeyReused:
            pass
        answered += 1

    async with anyio.create_task_group() as group:
        for number in range(300):
            group.start_soon(one, number)
    assert answered == 300


async def test_another_order_is_another_call(desk: Desk) -> None:
    """Kind, extension, phone and action each make an order of its own."""
    orders: list[Order] = [
        ORDER,
        OTHER,
        call_order("150", "+375290000001"),
        monitor_order("150", "151", "09"),
        monitor_order("150", "151", "01"),
    ]
    done = [await desk.admit(order) for order in orders]
    assert [admitted.repeated for admitted in done] == [False] * len(orders)


async def test_a_double_click_on_monitoring_is_a_repeat(desk: Desk) -> None:
    """A supervisor's phone rings once."""
    order = monitor_order("150", "151", "09")
    first, second = await desk.admit(order), await desk.admit(order)
    assert (second.call_id, second.repeated) == (first.call_id, True)
    row = desk.postgres.execute("SELECT kind, action FROM callapi.calls")
    assert row == [{"kind": "monitor", "action": "09"}]


async def test_enterprises_do_not_meet(desk: Desk) -> None:
    """The same order and the same key of two enterprises are two calls."""
    desk.postgres.seed_enterprise("0368", "july", "10.88.10.20", "july-secret")
    june = await desk.admit(key="k")
    july = await desk.admit(key="k", secret="july-secret")
    assert not july.repeated
    assert (june.host, july.host) == ("10.88.10.19", "10.88.10.20")


async def test_a_burst_is_exact_per_extension(desk: Desk) -> None:
    """Of sixteen different calls of one extension at once, exactly the allowed five are placed."""
    desk.settings = desk.postgres.settings(rate_limit_extension=Rate(count=5, per_s=3600))
    done = await desk.at_once(*(call_order("150", f"+3752900000{n:02}") for n in range(16)))
    refused = [one for one in done if isinstance(one, LimitExceeded)]
    assert len(refused) == 11
    assert all("extension 150" in one.detail for one in refused)
    assert all(700 < (one.retry_after_s or 0) <= 720 for one in refused), "3600 s / 5"
    quotas = [one.quota for one in done if isinstance(one, Admitted)]
    assert sorted(quota.remaining for quota in quotas if quota is not None) == [0, 1, 2, 3, 4]
    assert not (await desk.admit(OTHER)).repeated, "another extension has its own"


async def test_a_burst_is_exact_per_enterprise(desk: Desk) -> None:
    """The enterprise's limit counts all its extensions together."""
    desk.settings = desk.postgres.settings(rate_limit_enterprise=Rate(count=4, per_s=3600))
    done = await desk.at_once(*(call_order(str(n), "+375290000001") for n in range(100, 116)))
    refused = [one for one in done if isinstance(one, LimitExceeded)]
    assert len(refused) == 12
    assert all("enterprise" in one.detail for one in refused)


async def test_a_limit_refills_evenly(desk: Desk) -> None:
    """After the time that Retry-After names, exactly one more call is allowed."""
    desk.settings = desk.postgres.settings(rate_limit_extension=Rate(count=2, per_s=3600))
    phones = iter(f"+3752900000{number:02}" for number in range(20))
    for _ in range(2):
        await desk.admit(call_order("150", next(phones)))
    with pytest.raises(LimitExceeded) as refused:
        await desk.admit(call_order("150", next(phones)))
    desk.pass_time(refused.value.retry_after_s or 0)
    await desk.admit(call_order("150", next(phones)))
    with pytest.raises(LimitExceeded):
        await desk.admit(call_order("150", next(phones)))


async def test_a_refusal_claims_nothing_and_costs_nothing(desk: Desk) -> None:
    """What a limit refused leaves no claim, no call and no token of the other limit."""
    desk.settings = desk.postgres.settings(
        rate_limit_extension=Rate(count=9, per_s=3600),
        rate_limit_enterprise=Rate(count=1, per_s=3600),
    )
    await desk.admit()
    before = desk.postgres.execute("SELECT * FROM callapi.rate_limits ORDER BY key")
    for key in (None, "some-key"):
        with pytest.raises(LimitExceeded):
            await desk.admit(call_order("150", "+375290000002"), key=key)
    assert (desk.count("claims"), desk.count("calls")) == (1, 1)
    assert desk.postgres.execute("SELECT * FROM callapi.rate_limits ORDER BY key") == before


async def test_a_repeat_costs_no_token(desk: Desk) -> None:
    """A nervous finger does not use up the limit, and is answered even when it is used up."""
    desk.settings = desk.postgres.settings(rate_limit_extension=Rate(count=1, per_s=3600))
    first = await desk.admit(key="k")
    for key in (None, "k", "another"):
        repeat = await desk.admit(key=key)
        assert (repeat.repeated, repeat.call_id, repeat.quota) == (True, first.call_id, None)
        assert repeat.created_at == first.created_at


async def test_a_key_with_other_parameters_is_refused(desk: Desk) -> None:
    """One Idempotency-Key is one order: a second one under it is the client's mistake."""
    await desk.admit(key="k")
    with pytest.raises(KeyReused, match="Idempotency-Key"):
        await desk.admit(OTHER, key="k")
    assert (desk.count("calls"), desk.count("claims")) == (1, 2)


async def test_a_key_repeats_for_a_day(desk: Desk) -> None:
    """Long after the repeat window the key still leads to its call; after a day to a new one."""
    first = await desk.admit(key="k")
    await desk.settle(first, "executed")
    desk.pass_time(86_400 - 60)
    again = await desk.admit(key="k")
    assert (again.call_id, again.repeated, again.state) == (first.call_id, True, "executed")
    desk.pass_time(61)
    assert not (await desk.admit(key="k")).repeated


@pytest.mark.parametrize("before", ["sandbox", "PBX"])
async def test_a_repeat_is_told_where_its_call_was(desk: Desk, before: str) -> None:
    """Its enterprise may have another PBX by now, or have had a stand-in, which rang nobody."""
    desk.postgres.execute(
        "INSERT INTO callapi.sandboxes (enterprise, host, port) VALUES ('0367', '127.0.0.2', 22)"
    )
    hosts = ["127.0.0.2", "10.88.10.19"]
    first, second = hosts if before == "sandbox" else reversed(hosts)
    desk.postgres.execute("UPDATE enterprises SET ip = :ip", ip=first)
    with in_request("first") as told:
        call = await desk.admit(key="one")
    assert (call.host, told.is_sandbox) == (first, before == "sandbox")
    await desk.settle(call, "executed", roots=(FIRST_LEG,))
    desk.postgres.execute("UPDATE enterprises SET ip = :ip", ip=second)
    if before == "sandbox":
        desk.postgres.execute("DELETE FROM callapi.sandboxes")
    with in_request("second") as told:
        again = await desk.admit(key="one")
    assert (again.call_id, again.repeated, again.host) == (call.call_id, True, first)
    assert told.is_sandbox is (before == "sandbox")
    with in_request("third") as told:
        other = await desk.admit(OTHER)
    assert (other.host, told.is_sandbox) == (second, before != "sandbox")


@pytest.mark.parametrize("key", ["k" * 10_000, "ключ", "a\0b", "\ud800", "' OR 1=1 --"])
async def test_any_text_is_a_key(desk: Desk, key: str) -> None:
    """No key is too long or too strange to work."""
    first, second = await desk.admit(key=key), await desk.admit(key=key)
    assert (second.call_id, second.repeated) == (first.call_id, True)


async def test_an_executed_call_repeats_within_the_window(desk: Desk) -> None:
    """The window counts from when Asterisk has the call: from then on it may ring."""
    first = await desk.admit()
    desk.pass_time(4)
    await desk.settle(first, "executed", roots=(FIRST_LEG,))
    assert desk.held_s() == {"same": pytest.approx(10, abs=3)}
    repeat = await desk.admit()
    assert (repeat.repeated, repeat.state) == (True, "executed")
    desk.pass_time(10)
    assert not (await desk.admit()).repeated
    row = desk.postgres.execute(
        "SELECT * FROM callapi.calls WHERE call_id = :id", id=first.call_id
    )[0]
    assert (row["root_channel"], row["root_uniqueid"]) == ("Local/150@inoffice-1;1", "1.1")
    assert row["settled_at"] is not None


async def test_a_repeat_ends_soon_after_the_call(desk: Desk) -> None:
    """Within REPEAT_AFTER_END_S of its end it is told, with its reason; then the order is new.

    The key goes on leading to the call that it named.
    """
    desk.settings = desk.postgres.settings(repeat_window_s=100, repeat_after_end_s=40)
    first = await desk.admit(key="k")
    await desk.settle(first, "executed")
    desk.end(first, "busy")
    desk.pass_time(20)
    for key in (None, "k"):
        told = await desk.admit(key=key)
        assert (told.call_id, told.repeated) == (first.call_id, True)
        assert (told.phase, told.reason) == ("ended", "busy")
    desk.pass_time(21)
    second = await desk.admit()
    assert (second.repeated, second.phase, second.reason) == (False, "placing", None)
    again = await desk.admit(key="k")
    assert (again.call_id, again.phase, again.reason) == (first.call_id, "ended", "busy")
    assert (await desk.admit()).call_id == second.call_id


async def test_redials_at_once_after_a_call_are_one(desk: Desk) -> None:
    """Twenty clicks at once after the call's end: one new call, nineteen repeats of that."""
    first = await desk.admit()
    await desk.settle(first, "executed")
    desk.end(first, "agent_busy")
    desk.pass_time(4)
    done = await desk.at_once(*[ORDER] * 20)
    admitted = [one for one in done if isinstance(one, Admitted)]
    assert Counter(one.repeated for one in admitted) == {False: 1, True: 19}
    assert len({one.call_id for one in admitted} | {first.call_id}) == 2


async def test_an_unknown_call_that_was_given_up_is_held_on(desk: Desk) -> None:
    """That nobody waits for it any more does not mean that Asterisk will not dial it."""
    first = await desk.admit()
    await desk.settle(first, "unknown")
    desk.end(first, "unknown")
    desk.pass_time(60)
    told = await desk.admit()
    assert (told.call_id, told.phase, told.reason) == (first.call_id, "ended", "unknown")


async def test_a_call_being_placed_holds_its_repeats(desk: Desk) -> None:
    """Until it is settled a repeat is told `placing`, however long the PBX takes."""
    first = await desk.admit()
    desk.pass_time(60)
    repeat = await desk.admit()
    assert (repeat.call_id, repeat.state) == (first.call_id, "placing")
    desk.pass_time(61)
    assert not (await desk.admit()).repeated, "a process that died settles nothing"


async def test_an_unknown_outcome_is_held_from_now(desk: Desk) -> None:
    """A frozen Asterisk may dial minutes later: the hold begins when the outcome got lost."""
    first = await desk.admit()
    desk.pass_time(25)
    await desk.settle(first, "unknown", error_code="outcome-unknown")
    assert desk.held_s() == {"same": pytest.approx(120, abs=3)}
    assert (await desk.admit()).state == "unknown"
    row = desk.postgres.execute("SELECT error_code FROM callapi.calls")
    assert row == [{"error_code": "outcome-unknown"}]


async def test_a_call_proven_not_executed_may_be_tried_again(desk: Desk) -> None:
    """Nothing rang: the same click, and the same key, are a new attempt."""
    first = await desk.admit(key="k")
    await desk.settle(first, "not_executed", error_code="ssh-connect-timeout")
    assert desk.count("claims") == 0
    second = await desk.admit(key="k")
    assert not second.repeated
    assert second.call_id != first.call_id


async def test_a_key_that_joined_a_failing_call_is_free_again(desk: Desk) -> None:
    """A claim that still leads to a call proven not executed counts for nothing."""
    first = await desk.admit()
    await desk.settle(first, "not_executed")
    # What a repeat leaves that joined in the instant in which the call was settled.
    digest = "2c70e12b7a0646f92279f427c7b38e7334d8e5389cff167a1dc30e73f826b683"
    desk.postgres.execute(
        "INSERT INTO callapi.claims VALUES ('0367', 'key:' || :digest, :call_id, :params, "
        "clock_timestamp() + interval '1 day')",
        digest=digest,
        call_id=first.call_id,
        params="call:150:+375296254070:",
    )
    second = await desk.admit(key="key")
    assert not second.repeated
    assert desk.count("claims") == 2


async def test_only_the_first_settling_counts(desk: Desk) -> None:
    """A settling that is sent twice, or contradicts the first, changes nothing."""
    first = await desk.admit()
    await desk.settle(first, "unknown")
    held = desk.held_s()["same"]
    await desk.settle(first, "executed")
    await desk.settle(first, "not_executed")
    assert desk.held_s()["same"] == pytest.approx(held, abs=3)
    assert (await desk.admit()).state == "unknown"


async def test_settling_a_late_call_leaves_its_successor_alone(desk: Desk) -> None:
    """A call whose claim ran out and was taken over cannot release the new one's claim."""
    first = await desk.admit()
    desk.pass_time(121)
    second = await desk.admit()
    await desk.settle(first, "not_executed")
    repeat = await desk.admit()
    assert (repeat.call_id, repeat.repeated) == (second.call_id, True)


async def test_settling_an_unknown_id_is_harmless(desk: Desk) -> None:
    """There is nothing to settle, and nothing happens."""
    await settle(desk.database, desk.settings, uuid4(), Settlement("executed"))
    assert desk.count("calls") == 0


async def test_a_long_repeat_window_is_kept(desk: Desk) -> None:
    """A window longer than the hold counts from the beginning."""
    desk.settings = desk.postgres.settings(repeat_window_s=600, unknown_hold_s=30)
    first = await desk.admit()
    assert desk.held_s() == {"same": pytest.approx(600, abs=5)}
    await desk.settle(first, "executed")
    assert desk.held_s() == {"same": pytest.approx(600, abs=5)}


async def test_a_claim_outlives_its_request_whatever_the_settings(desk: Desk) -> None:
    """A call that is still being placed, or settled, is not placed beside by its repeat."""
    desk.settings = desk.postgres.settings(
        repeat_window_s=20, unknown_hold_s=20, request_timeout_s=90, postgres_timeout_s=4
    )
    first = await desk.admit()
    desk.pass_time(100)
    repeat = await desk.admit()
    assert (repeat.call_id, repeat.state) == (first.call_id, "placing")
    await desk.settle(first, "executed", roots=(FIRST_LEG,))
    assert (await desk.admit()).repeated
    desk.pass_time(21)
    assert not (await desk.admit()).repeated


async def test_a_lost_reply_is_asked_again(desk: Desk) -> None:
    """The claim was written and the answer lost on its way: it is still this request's call."""
    async with Wire.to(desk.postgres) as wire:
        pool = Database(desk.postgres.settings(postgres_port=wire.port))
        desk.database = pool
        await desk.admit(OTHER)  # from now on the statement is prepared
        call_id = uuid4()
        wire.lose_reply(b"SELECT 1")
        admitted = await desk.admit(call_id=call_id, key="k")
        assert (admitted.call_id, admitted.repeated) == (call_id, False)
        assert wire.accepted == 2, "the reply was really lost"
        wire.lose_reply(b"SELECT 1")
        await desk.settle(admitted, "executed")
        assert (await desk.admit(key="k")).state == "executed"
        pool.close()
    assert desk.count("calls") == 2


async def test_a_lost_reply_to_a_repeat_is_still_a_repeat(desk: Desk) -> None:
    """Asking again must not turn a repeat into a call of its own."""
    first = await desk.admit()
    async with Wire.to(desk.postgres) as wire:
        pool = Database(desk.postgres.settings(postgres_port=wire.port))
        desk.database = pool
        await desk.admit(OTHER)
        wire.lose_reply(b"SELECT 1")
        repeat = await desk.admit(key="k")
        assert (repeat.call_id, repeat.repeated) == (first.call_id, True)
        assert wire.accepted == 2
        pool.close()


async def test_a_hung_database_dials_nothing(desk: Desk) -> None:
    """Without an answer there is no admission, whatever was written."""
    async with Wire.to(desk.postgres) as wire:
        pool = Database(desk.postgres.settings(postgres_port=wire.port, postgres_timeout_s=1.5))
        desk.database = pool
        await desk.admit()
        wire.freeze()
        with anyio.fail_after(60), pytest.raises(DatabaseUnavailable):
            await desk.admit(OTHER)
        pool.close()


async def test_a_wrong_secret_is_nobodys(desk: Desk) -> None:
    """Wrong, empty, of another case, padded: no claim, no call."""
    for secret in ("wrong", "", SECRET.upper(), f"{SECRET} ", f" {SECRET}", SECRET[:-1]):
        with pytest.raises(InvalidClientId):
            await desk.admit(secret=secret)
    assert (desk.count("calls"), desk.count("claims"), desk.count("rate_limits")) == (0, 0, 0)


@pytest.mark.parametrize("active", [False, None])
async def test_an_inactive_enterprise_is_nobody(desk: Desk, active: bool | None) -> None:  # noqa: FBT001
    """Only `active = true` counts; NULL is not true."""
    desk.postgres.execute("UPDATE enterprises SET active = :active", active=active)
    with pytest.raises(InvalidClientId):
        await desk.admit()


@pytest.mark.parametrize(
    "secret",
    [
        "' OR '1'='1",
        "'; DROP TABLE enterprises; --",
        '"; SELECT pg_sleep(10)',
        "%",
        "_" * len(SECRET),
        "\\",
        ":secret",
        "$1",
        "s" * 10_000,
        "\0",
        f"{SECRET}\0",
        "\ud800",
        "пароль🚀",
    ],
)
async def test_a_hostile_secret_is_just_wrong(desk: Desk, secret: str) -> None:
    """Whatever the text, the answer is 401, and the next request works."""
    with pytest.raises(InvalidClientId):
        await desk.admit(secret=secret)
    assert not (await desk.admit()).repeated


@pytest.mark.parametrize("secret", ["' OR '1'='1", "пароль🚀", "s" * 5_000, "\\n%_$1:x"])
async def test_a_strange_secret_works(desk: Desk, secret: str) -> None:
    """An enterprise may have any secret that the database holds."""
    desk.postgres.execute("UPDATE enterprises SET secret = :secret", secret=secret)
    assert (await desk.admit(secret=secret)).enterprise_number == "0367"


async def test_a_secret_of_two_enterprises_is_refused(
    desk: Desk, caplog: pytest.LogCaptureFixture
) -> None:
    """Choosing one would dial on a stranger's PBX; the log tells the operator, not the secret."""
    desk.postgres.seed_enterprise("0368", "july", "10.88.10.20", SECRET)
    with caplog.at_level(logging.WARNING, "asterisk"), pytest.raises(InvalidClientId):
        await desk.admit()
    assert "enterprises" in caplog.text
    assert SECRET not in caplog.text
    desk.postgres.execute("UPDATE enterprises SET active = false WHERE number = '0368'")
    assert (await desk.admit()).enterprise_number == "0367"


async def test_an_enterprise_without_a_number_is_refused(desk: Desk) -> None:
    """Two such enterprises would share their calls and claims."""
    desk.postgres.execute("UPDATE enterprises SET number = ' '")
    with pytest.raises(InvalidClientId):
        await desk.admit()


@pytest.mark.parametrize(("ip", "host"), [(None, ""), ("", ""), (" 10.0.0.1 ", "10.0.0.1")])
async def test_an_enterprise_without_a_host_is_admitted(
    desk: Desk, ip: str | None, host: str
) -> None:
    """What the host is worth is judged by those who connect to it."""
    desk.postgres.execute("UPDATE enterprises SET ip = :ip", ip=ip)
    assert (await desk.admit()).host == host


@pytest.mark.parametrize(
    ("columns", "number"),
    [
        ("number int, name text, ip inet, secret text, active bool", "367"),
        ("number char(9), name char(9), ip char(20), secret char(40), active bool", "0367"),
        ("number bigint, name varchar, ip inet, secret uuid, active bool", "367"),
    ],
)
async def test_the_columns_of_enterprises_may_vary(
    postgres: Postgres, columns: str, number: str
) -> None:
    """Number, address and secret may be of any type that reads as text."""
    secret = "6f1c1a0e-3c52-4a39-9d0a-0c54a3c7c1de"
    pool = Database(postgres.settings())
    for sql in ("DROP DATABASE IF EXISTS other", "CREATE DATABASE other"):
        await pool.run(sql)
    from_other = Database(postgres.settings(postgres_db="other"))
    with from_other.transaction() as execute:
        execute(f"CREATE TABLE public.enterprises ({columns})")
        execute(
            "INSERT INTO public.enterprises VALUES "
            f"('0367', 'june', '10.88.10.19', '{secret}', true), "
            "('0368', 'july', '10.88.10.20', '6f1c1a0e-3c52-4a39-9d0a-000000000000', true)"
        )
    desk = Desk(from_other, postgres.settings(), postgres)
    with pytest.raises(SchemaMissing):
        await desk.admit(secret=secret)
    migrate_all(from_other)
    admitted = await desk.admit(secret=secret)
    assert admitted.enterprise_number == number
    assert admitted.host == "10.88.10.19"
    with pytest.raises(InvalidClientId):
        await desk.admit(secret="not-a-uuid")
    from_other.close()
    await pool.run("DROP DATABASE other WITH (FORCE)")
    pool.close()


def migrate_all(database: Database) -> None:
    """Apply every migration."""
    for _ in migrate(database):
        pass
