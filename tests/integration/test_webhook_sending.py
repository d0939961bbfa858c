"""Webhooks: each event arrives signed, in order, at least once, whatever the receiver does."""

from __future__ import annotations

import asyncio
import re
import socket
import ssl
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from shared.store import webhooks
from shared.store.database import Database
from shared.webhooks import sending
from shared.webhooks.schedule import DAY_S
from tests.certificate import make_certificate
from tests.integration.hooks import Hooks
from tests.integration.receiver import OK, Receiver, receiving, status
from tests.integration.service import until
from tests.integration.test_feed import tell
from tests.postgres import Postgres

pytestmark = pytest.mark.anyio

NOW = "1970-01-01T00:00:00Z"


@pytest.fixture
async def hooks(postgres: Postgres, database: Database) -> Hooks:
    """Webhooks of two enterprises."""
    postgres.seed_enterprise("0367", "june", "192.0.2.10", "secret-of-june")
    postgres.seed_enterprise("0368", "july", "192.0.2.11", "secret-of-july")
    return Hooks(postgres, database)


@pytest.fixture
async def receiver() -> AsyncIterator[Receiver]:
    """A receiver that accepts everything."""
    async with receiving() as one:
        yield one


async def test_events_arrive_signed_and_in_order(
    hooks: Hooks, receiver: Receiver, postgres: Postgres
) -> None:
    """From the moment on at which it was added; each with a name and a moment of its own."""
    tell(postgres, "0367", 3)
    webhook, secret = await hooks.add(receiver.url)
    tell(postgres, "0367", 50)
    async with hooks.sending():
        await hooks.reach(webhook, 53)
    assert receiver.seqs == list(range(4, 54))
    assert all(got.is_signed_by(secret) for got in receiver.got)
    assert len({got.id for got in receiver.got}) == 50
    (got, *_) = receiver.got
    assert (got.path, got.headers["content-type"]) == ("/hook?token=1", "application/json")
    assert got.headers["host"] == f"127.0.0.1:{receiver.port}"
    assert got.told["type"] == "call.phase"
    assert got.told["call"]["phase"] == "placing"
    assert receiver.most_open == 1


async def test_what_comes_later_is_sent_at_once(
    hooks: Hooks, receiver: Receiver, postgres: Postgres
) -> None:
    """While somebody sends, nothing else is needed."""
    webhook, _ = await hooks.add(receiver.url)
    async with hooks.sending():
        for count in (1, 2, 3):
            tell(postgres, "0367", 1)
            await hooks.reach(webhook, count)
    assert receiver.seqs == [1, 2, 3]


FAILURES: list[tuple[bytes | str, dict[str, Any]]] = [
    (status(500), {"status": 500, "error": None}),
    (status(404), {"status": 404, "error": None}),
    (status(302, "Location: http://127.0.0.1/"), {"status": 302, "error": None}),
    (b"HTTP/1.1 100 Continue\r\n\r\n" + status(503), {"status": 503, "error": None}),
    (b"this is not HTTP\r\n\r\n", {"status": None, "error": "no-answer"}),
    ("cut", {"status": None, "error": "no-answer"}),
    ("hang", {"status": None, "error": "timeout"}),
    ("drip", {"status": None, "error": "timeout"}),
    (b"HTTP/1.1 200 OK\r\nX: " + b"x" * 300_000, {"status": None, "error": "no-answer"}),
]


@pytest.mark.parametrize(("answer", "noted"), FAILURES)
async def test_whatever_fails_is_sent_again_under_the_same_name(
    hooks: Hooks, receiver: Receiver, postgres: Postgres, answer: bytes | str, noted: dict[str, Any]
) -> None:
    """After some seconds, and what follows waits for it."""
    webhook, secret = await hooks.add(receiver.url)
    receiver.answers.append(answer)
    tell(postgres, "0367", 2)
    never_comes = noted["error"] == "timeout"
    async with hooks.sending(whole_s=1.0 if never_comes else 15.0) as senders:
        row = await hooks.attempted(webhook, 1)
        senders._poster._whole_s = 15.0
        assert (row["after_seq"], row["failures"]) == (0, 1)
        pause = (row["due_at"] - row["failed_at"]).total_seconds()
        assert 3 < pause < 7
        hooks.pass_time(webhook, 8)
        await hooks.reach(webhook, 2)
    assert receiver.seqs == [1, 1, 2]
    assert receiver.got[0].id == receiver.got[1].id
    assert receiver.got[1].is_signed_by(secret)
    first = (await hooks.log(webhook))[-1]
    assert {"status": first.status, "error": first.error} == noted
    assert hooks.row(webhook)["failures"] == 0


async def test_interim_answers_without_end_are_no_answer(
    hooks: Hooks, receiver: Receiver, postgres: Postgres
) -> None:
    """Some kilobytes of them are read, and nobody waits for the time-out."""
    webhook, _ = await hooks.add(receiver.url)
    receiver.answers.append(b"HTTP/1.1 100 Continue\r\n\r\n" * 20_000)
    tell(postgres, "0367", 1)
    async with hooks.sending():
        await hooks.attempted(webhook, 1)
    (attempt,) = await hooks.log(webhook)
    assert (attempt.status, attempt.error) == (None, "no-answer")


@pytest.mark.parametrize("answer", ["half", "endless"])
async def test_an_answer_counts_once_its_headers_are_there(
    hooks: Hooks, receiver: Receiver, postgres: Postgres, answer: str
) -> None:
    """Of what follows some kilobytes are read, and nobody waits for the rest."""
    webhook, _ = await hooks.add(receiver.url)
    receiver.answers.append(answer)
    tell(postgres, "0367", 2)
    async with hooks.sending():
        await hooks.reach(webhook, 2)
    assert receiver.seqs == [1, 2]
    assert receiver.sent < 10_000_000


async def test_a_receiver_that_refuses_connections_loses_nothing(
    hooks: Hooks, receiver: Receiver, postgres: Postgres
) -> None:
    """What was told while it was down is there when it is up, in order."""
    webhook, _ = await hooks.add(receiver.url)
    await receiver.stop()
    async with hooks.sending():
        for attempt in range(1, 6):
            tell(postgres, "0367", 7)
            row = await hooks.attempted(webhook, attempt)
            assert row["failures"] == attempt
            hooks.pass_time(webhook, 3600)
        await receiver.start()
        hooks.pass_time(webhook, 3600)
        await hooks.reach(webhook, 35)
    assert receiver.seqs == list(range(1, 36))
    assert {one.error for one in await hooks.log(webhook)} == {None, "not-connected"}


async def test_retry_after_is_obeyed_within_a_day(
    hooks: Hooks, receiver: Receiver, postgres: Postgres
) -> None:
    """Seconds or a date; whoever asks for a year is asked again tomorrow."""
    webhook, _ = await hooks.add(receiver.url)
    receiver.answers += [
        status(429, "Retry-After: 600"),
        status(503, "Retry-After: Fri, 01 Jan 2100 00:00:00 GMT"),
        status(429, "Retry-After: soon"),
    ]
    tell(postgres, "0367", 1)
    pauses = []
    async with hooks.sending():
        for attempt in (1, 2, 3):
            row = await hooks.attempted(webhook, attempt)
            pauses.append((row["due_at"] - row["failed_at"]).total_seconds())
            hooks.pass_time(webhook, pauses[-1])
        await hooks.reach(webhook, 1)
    assert [round(pause) for pause in pauses[:2]] == [600, 86_400]
    assert pauses[2] < 30


@pytest.mark.parametrize(
    "after", ["Mon, 99999999999999999999 Jan 2026 00:00:00 GMT", "9" * 5000, "soon", "-1", "1e9"]
)
async def test_a_retry_after_that_says_nothing_takes_nothing_away(
    hooks: Hooks, receiver: Receiver, postgres: Postgres, after: str
) -> None:
    """A message that was accepted stays so, whatever else the receiver says of it."""
    webhook, _ = await hooks.add(receiver.url)
    receiver.answers.append(status(200, f"Retry-After: {after}"))
    tell(postgres, "0367", 1)
    async with hooks.sending():
        row = await hooks.attempted(webhook, 1)
    assert (row["after_seq"], row["failures"]) == (1, 0)
    assert [one.status for one in await hooks.log(webhook)] == [200]


async def test_410_switches_it_off_and_is_told(
    hooks: Hooks, receiver: Receiver, postgres: Postgres, caplog: pytest.LogCaptureFixture
) -> None:
    """The feed has it, so that the enterprise's other listeners know; nothing more is sent.

    Where it led is told however that was written.
    """
    webhook, _ = await hooks.add(receiver.url.replace("http:", "HTTP:"))
    async with receiving() as other:
        beside, _ = await hooks.add(other.url)
        receiver.answers.append(status(410))
        tell(postgres, "0367", 2)
        async with hooks.sending():
            await hooks.attempted(webhook, 1)
            await hooks.reach(beside, 3)
        assert [got.told["type"] for got in other.got] == [
            "call.phase",
            "call.phase",
            "webhook.disabled",
        ]
        assert other.got[-1].told["webhook"] == {
            "webhook_id": str(webhook),
            "origin": f"http://127.0.0.1:{receiver.port}",
            "why": "answered-410",
        }
    assert (await hooks.read(webhook)).disabled_why == "answered-410"
    assert receiver.seqs == [1]


async def test_after_five_days_of_failures_it_is_switched_off(
    hooks: Hooks, receiver: Receiver, postgres: Postgres
) -> None:
    """Not while it fails for less; enabled again, it goes on where it ceased."""
    webhook, _ = await hooks.add(receiver.url)
    receiver.usual = status(500)
    tell(postgres, "0367", 1)
    async with hooks.sending():
        for attempt in range(1, 10):
            row = await hooks.attempted(webhook, attempt)
            if row["disabled_at"]:
                break
            hooks.pass_time(webhook, 86_400)
        assert (row["disabled_why"], attempt) == ("failing", 8)
        receiver.usual = OK
        await hooks.change(webhook, enabled=True)
        await hooks.reach(webhook, 2)
    assert receiver.seqs == [1] * 9 + [2]
    assert [got.told["type"] for got in receiver.got[-2:]] == ["call.phase", "webhook.disabled"]


async def test_what_is_not_kept_any_more_is_told(
    hooks: Hooks, receiver: Receiver, postgres: Postgres
) -> None:
    """In the place of the events that are missing, in their order, and until it is accepted."""
    webhook, _ = await hooks.add(receiver.url)
    tell(postgres, "0367", 10)
    postgres.execute("DELETE FROM callapi.call_events WHERE seq <= 6")
    receiver.answers.append(status(500))
    async with hooks.sending():
        await hooks.attempted(webhook, 1)
        hooks.pass_time(webhook, 10)
        await hooks.reach(webhook, 10)
    assert receiver.seqs == [6, 6, 7, 8, 9, 10]
    told = receiver.got[0].told
    assert (told["type"], told["gone"]) == (
        "events.gone",
        {"after": 0, "oldest": 7, "newest": 10},
    )
    assert receiver.got[0].id == receiver.got[1].id


@pytest.mark.parametrize("answer", ["hang", "410"])
async def test_another_address_does_not_pay_for_the_one_before(
    hooks: Hooks, receiver: Receiver, postgres: Postgres, answer: str
) -> None:
    """What was under way to the old one when it was changed neither delays nor disables it."""
    webhook, _ = await hooks.add(receiver.url)
    tell(postgres, "0367", 1)
    postgres.execute("UPDATE callapi.webhooks SET failures = 20, failed_at = clock_timestamp()")
    receiver.held = asyncio.Event()
    receiver.answers.append("hang" if answer == "hang" else status(410))
    async with receiving() as other, hooks.sending():
        await until(lambda: len(receiver.got) == 1)
        await hooks.change(webhook, url=other.url)
        if answer == "hang":
            receiver.cut()
        receiver.held.set()
        await hooks.reach(webhook, 1)
        assert other.seqs == [1]
    row = hooks.row(webhook)
    assert (row["failures"], row["disabled_why"]) == (0, None)


async def test_what_is_enabled_again_is_tried_at_once(
    hooks: Hooks, receiver: Receiver, postgres: Postgres
) -> None:
    """Also while an attempt of before hangs, after which the next would be a day away."""
    webhook, _ = await hooks.add(receiver.url)
    tell(postgres, "0367", 1)
    postgres.execute("UPDATE callapi.webhooks SET failures = 20, failed_at = clock_timestamp()")
    receiver.answers.append("hang")
    async with hooks.sending():
        await until(lambda: len(receiver.got) == 1)
        await hooks.change(webhook, enabled=True)
        receiver.cut()
        await hooks.reach(webhook, 1)
    assert receiver.seqs == [1, 1]


async def test_only_what_is_wanted_is_sent(
    hooks: Hooks, receiver: Receiver, postgres: Postgres
) -> None:
    """By type and extension; what is left out is not looked through again."""
    webhook, _ = await hooks.add(receiver.url, extension="151")
    async with receiving() as other:
        beside, _ = await hooks.add(other.url, types=["call.corrected"])
        tell(postgres, "0367", 3)
        (call,) = postgres.execute("SELECT call_id FROM callapi.calls ORDER BY call_id LIMIT 1")
        postgres.execute(
            "SELECT callapi.tell_correction('0367', :call_id)", call_id=call["call_id"]
        )
        async with hooks.sending():
            await hooks.reach(webhook, 4)
            await hooks.reach(beside, 4)
        assert [got.told["type"] for got in other.got] == ["call.corrected"]
    assert receiver.got == []


async def test_two_secrets_sign_while_one_is_changed(
    hooks: Hooks, receiver: Receiver, postgres: Postgres
) -> None:
    """From the next attempt on, in the middle of what is sent, for a day."""
    webhook, old = await hooks.add(receiver.url)
    receiver.answers += [OK, status(500)]
    tell(postgres, "0367", 3)
    new_secret = bytes(range(32))
    new = "whsec_AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8="
    async with hooks.sending():
        await hooks.attempted(webhook, 2)
        await hooks.change(webhook, secret=new_secret.hex(), previous_s=86_400)
        hooks.pass_time(webhook, 10)
        await hooks.reach(webhook, 3)
        hooks.pass_time(webhook, 86_400)
        tell(postgres, "0367", 1)
        await hooks.reach(webhook, 4)
    signatures = [got.headers["webhook-signature"].count("v1,") for got in receiver.got]
    assert signatures == [1, 1, 2, 2, 1]
    assert all(got.is_signed_by(old) for got in receiver.got[:4])
    assert all(got.is_signed_by(new) for got in receiver.got[2:])


async def test_two_followers_never_send_to_one_at_once(
    hooks: Hooks, receiver: Receiver, postgres: Postgres
) -> None:
    """Each event arrives once, in order, though both look for what is due."""
    webhook, _ = await hooks.add(receiver.url)
    async with hooks.sending(), hooks.sending():
        for count in range(1, 41):
            tell(postgres, "0367", 5)
            if count % 8 == 0:
                await hooks.reach(webhook, count * 5)
    assert receiver.seqs == list(range(1, 201))
    # Each has a pool of its own, whose connection stays open a while.
    assert receiver.most_open <= 2


async def test_what_was_sent_and_not_noted_is_sent_again_under_the_same_name(
    hooks: Hooks, receiver: Receiver, postgres: Postgres, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As after a kill in between: another follower does, once the lease has ended."""
    webhook, _ = await hooks.add(receiver.url)
    tell(postgres, "0367", 1)

    killed: list[bool] = []

    async def is_killed(*_: object) -> None:
        killed.append(True)
        raise SystemError

    with monkeypatch.context() as patched:
        patched.setattr(sending, "note_delivery", is_killed)
        async with hooks.sending():
            await until(lambda: bool(killed))
    assert len(receiver.got) == 1
    row = hooks.row(webhook)
    assert (row["after_seq"], row["owner"] != "") == (0, True)
    async with hooks.sending():
        postgres.execute("UPDATE callapi.webhooks SET lease_until = clock_timestamp()")
        await hooks.reach(webhook, 1)
    assert receiver.seqs == [1, 1]
    assert receiver.got[0].id == receiver.got[1].id


async def test_whoever_has_lost_the_lease_notes_nothing(
    hooks: Hooks, receiver: Receiver, postgres: Postgres
) -> None:
    """What he has sent is sent again by whoever has it now: the same name."""
    webhook, _ = await hooks.add(receiver.url)
    receiver.answers.append("hang")
    tell(postgres, "0367", 1)
    async with hooks.sending():
        await until(lambda: len(receiver.got) == 1)
        async with hooks.sending():
            postgres.execute("UPDATE callapi.webhooks SET lease_until = clock_timestamp()")
            await hooks.reach(webhook, 1)
        receiver.cut()
        await until(lambda: receiver.open == 0)
    assert receiver.got[0].id == receiver.got[1].id
    row = hooks.row(webhook)
    assert (row["failures"], row["attempts"]) == (0, 1)


async def test_those_that_hang_hinder_no_other(
    hooks: Hooks, receiver: Receiver, postgres: Postgres
) -> None:
    """More of them than may be sent to at once; the one that answers gets all of its events."""
    postgres.execute("UPDATE callapi.webhooks SET enterprise = enterprise")
    async with receiving() as silent:
        silent.usual = "hang"
        hanging = [
            await hooks.add(silent.url, number=f"1{n:02d}") for n in range(70) if _seed(postgres, n)
        ]
        for n in range(70):
            tell(postgres, f"1{n:02d}", 1)
        # They have failed before.
        postgres.execute("UPDATE callapi.webhooks SET slow = true")
        webhook, _ = await hooks.add(receiver.url)
        async with hooks.sending():
            await until(lambda: silent.open == 32)
            for count in range(1, 6):
                tell(postgres, "0367", 10)
                await hooks.reach(webhook, count * 10)
            assert silent.open == 32
    assert len(hanging) == 70
    assert receiver.seqs == list(range(1, 51))


def _seed(postgres: Postgres, n: int) -> bool:
    postgres.seed_enterprise(f"1{n:02d}", "one of many", "192.0.2.1", f"secret-{n}")
    return True


async def test_nobody_gets_anothers_events(
    hooks: Hooks, receiver: Receiver, postgres: Postgres
) -> None:
    """Two enterprises, one receiver: each webhook has its own's alone, and its own secret."""
    june, june_secret = await hooks.add(f"{receiver.url}&of=june")
    july, july_secret = await hooks.add(f"{receiver.url}&of=july", number="0368")
    tell(postgres, "0367", 4)
    tell(postgres, "0368", 6)
    async with hooks.sending():
        await hooks.reach(june, 4)
        await hooks.reach(july, 6)
    for name, count, secret in (("june", 4, june_secret), ("july", 6, july_secret)):
        own = [got for got in receiver.got if got.path.endswith(name)]
        assert [got.told["seq"] for got in own] == list(range(1, count + 1))
        assert all(got.is_signed_by(secret) for got in own)


async def test_nothing_is_sent_while_the_enterprise_is_not_active(
    hooks: Hooks, receiver: Receiver, postgres: Postgres
) -> None:
    """And what it was told meanwhile is, once it is active again."""
    webhook, _ = await hooks.add(receiver.url)
    async with receiving() as other:
        beside, _ = await hooks.add(other.url, number="0368")
        postgres.execute("UPDATE enterprises SET active = false WHERE number = '0367'")
        tell(postgres, "0367", 2)
        async with hooks.sending():
            await until(lambda: hooks.row(webhook)["absent_since"] is not None)
            tell(postgres, "0368", 1)
            await hooks.reach(beside, 1)
        assert receiver.got == []
        postgres.execute("UPDATE enterprises SET active = true WHERE number = '0367'")
        async with hooks.sending():
            await hooks.reach(webhook, 2)
    assert receiver.seqs == [1, 2]


async def test_a_long_pause_is_not_taken_for_an_end(
    hooks: Hooks, receiver: Receiver, postgres: Postgres
) -> None:
    """Nor is its row, away for a moment after days without being active, gone for a day."""
    webhook, _ = await hooks.add(receiver.url)

    async def keep() -> Any:
        await webhooks.keep(hooks.database, watch_s=60.0, gone_s=DAY_S)
        return hooks.row(webhook)

    postgres.execute("UPDATE enterprises SET active = false WHERE number = '0367'")
    assert (await keep())["absent_since"] is not None
    postgres.execute(
        "UPDATE callapi.webhooks SET absent_since = absent_since - interval '48 hours'"
    )
    await keep()
    postgres.execute("DELETE FROM enterprises WHERE number = '0367'")
    assert (await keep())["disabled_at"] is None
    postgres.seed_enterprise("0367", "june", "192.0.2.10", "secret-of-june")
    tell(postgres, "0367", 1)
    async with hooks.sending():
        await hooks.reach(webhook, 1)
    assert receiver.seqs == [1]


async def test_a_removed_enterprises_webhook_is_off_for_good(
    hooks: Hooks, receiver: Receiver, postgres: Postgres
) -> None:
    """After a day: its number may be another's by then, who would be heard by the first one."""
    webhook, _ = await hooks.add(receiver.url)
    postgres.execute("DELETE FROM enterprises WHERE number = '0367'")
    async with hooks.sending():
        await until(lambda: hooks.row(webhook)["absent_since"] is not None)
    assert hooks.row(webhook)["disabled_at"] is None
    postgres.execute(
        "UPDATE callapi.webhooks SET absent_since = absent_since - interval '25 hours'"
    )
    async with hooks.sending():
        await until(lambda: hooks.row(webhook)["disabled_why"] == "enterprise-gone")
    postgres.seed_enterprise("0367", "another", "192.0.2.12", "secret-of-another")
    tell(postgres, "0367", 1)
    async with hooks.sending():
        await until(lambda: hooks.row(webhook)["absent_since"] is None)
    assert receiver.got == []


async def test_what_was_off_before_its_enterprise_was_removed_is_nobodys_too(
    hooks: Hooks, receiver: Receiver, postgres: Postgres
) -> None:
    """Its address is the first one's, and it takes no place of the next one of that number."""
    many = [(await hooks.add(receiver.url))[0] for _ in range(webhooks.MOST)]
    for webhook in many:
        await hooks.change(webhook, enabled=False)
    postgres.execute("DELETE FROM enterprises WHERE number = '0367'")
    postgres.execute(
        "UPDATE callapi.webhooks SET absent_since = clock_timestamp() - interval '25 hours'"
    )
    await webhooks.keep(hooks.database, watch_s=60.0, gone_s=DAY_S)
    assert {hooks.row(webhook)["disabled_why"] for webhook in many} == {"enterprise-gone"}
    assert await webhooks.keep(hooks.database, watch_s=60.0, gone_s=DAY_S) == []
    postgres.seed_enterprise("0367", "another", "192.0.2.12", "secret-of-another")
    await hooks.add(receiver.url)


async def test_whoever_is_removed_meanwhile_gets_nothing_more(
    hooks: Hooks, receiver: Receiver, postgres: Postgres
) -> None:
    """Its log goes with it."""
    webhook, _ = await hooks.add(receiver.url)
    receiver.answers += [OK, "hang"]
    tell(postgres, "0367", 3)
    async with hooks.sending():
        await until(lambda: len(receiver.got) == 2)
        await hooks.change(webhook, remove=True)
        receiver.cut()
        await until(lambda: receiver.open == 0)
    assert postgres.execute("SELECT * FROM callapi.webhook_deliveries") == []
    assert receiver.seqs == [1, 2]


async def test_a_test_is_sent_once_whatever_the_state(
    hooks: Hooks, receiver: Receiver, postgres: Postgres
) -> None:
    """While it is off, or waits: it says nothing of how the receiver stands."""
    webhook, secret = await hooks.add(receiver.url)
    await hooks.change(webhook, enabled=False)
    receiver.answers.append(status(410))
    async with hooks.sending():
        for count, test in ((1, "1" * 32), (2, "2" * 32)):
            await hooks.change(webhook, test=test)
            row = await hooks.attempted(webhook, count)
            assert (row["test"], row["failures"], row["disabled_why"]) == (None, 0, "operator")
    assert [got.told["type"] for got in receiver.got] == ["webhook.test"] * 2
    assert [got.id for got in receiver.got] == ["msg_" + "1" * 32, "msg_" + "2" * 32]
    assert receiver.got[0].is_signed_by(secret)


async def test_events_are_sent_again_from_a_moment_on(
    hooks: Hooks, receiver: Receiver, postgres: Postgres
) -> None:
    """Under the names that they had, in order; what was not sent yet follows."""
    tell(postgres, "0367", 2, days_ago=2)
    webhook, _ = await hooks.add(receiver.url, after=0)
    tell(postgres, "0367", 2)
    async with hooks.sending():
        await hooks.reach(webhook, 4)
        (moment,) = postgres.execute("SELECT CAST(clock_timestamp() - interval '1 day' AS text) t")
        await hooks.change(webhook, since=moment["t"])
        await until(lambda: len(receiver.got) == 6)
    assert receiver.seqs == [1, 2, 3, 4, 3, 4]
    assert [got.id for got in receiver.got[2:4]] == [got.id for got in receiver.got[4:]]


async def test_filters_that_were_changed_meanwhile_skip_nothing(
    hooks: Hooks, receiver: Receiver, postgres: Postgres
) -> None:
    """What only the new ones want lies before a message of the old ones; it is sent, too."""
    webhook, _ = await hooks.add(receiver.url, types=["call.corrected"])
    receiver.held = asyncio.Event()
    tell(postgres, "0367", 3)
    postgres.execute("UPDATE callapi.call_events SET type = 'call.corrected' WHERE seq = 3")
    async with hooks.sending():
        await until(lambda: len(receiver.got) == 1)
        await hooks.change(webhook, wanted={"types": ["call.phase"]})
        await hooks.change(webhook, since=NOW)
        receiver.held.set()
        await hooks.attempted(webhook, 1)
        await hooks.reach(webhook, 3)
    assert receiver.seqs == [3, 1, 2]


async def test_filters_changed_during_an_attempt_that_fails_skip_nothing(
    hooks: Hooks, receiver: Receiver, postgres: Postgres
) -> None:
    """The old ones had gone on over more events than are read at once, before that attempt."""
    webhook, _ = await hooks.add(receiver.url, types=["call.corrected"])
    receiver.answers.append(status(500))
    receiver.held = asyncio.Event()
    tell(postgres, "0367", 25)
    postgres.execute("UPDATE callapi.call_events SET type = 'call.corrected' WHERE seq = 25")
    async with hooks.sending():
        await until(lambda: len(receiver.got) == 1)
        await hooks.change(webhook, wanted={"types": ["call.phase"]})
        receiver.held.set()
        await hooks.attempted(webhook, 1)
        hooks.pass_time(webhook, 8)
        await hooks.reach(webhook, 25)
    assert receiver.seqs == [25, *range(1, 25)]


async def test_a_turn_ends_where_its_own_filters_have_looked(
    hooks: Hooks, receiver: Receiver, postgres: Postgres
) -> None:
    """Those that came before its end have looked at nothing yet; its own move the place."""
    webhook, _ = await hooks.add(receiver.url, types=["call.corrected"])
    tell(postgres, "0367", 3)
    (state,), _ = await webhooks.take(hooks.database, "one", quick=1, slow=1)
    await hooks.change(webhook, wanted={"types": ["call.phase"]})
    await webhooks.give_back(hooks.database, "one", state, after=3)
    assert (hooks.row(webhook)["after_seq"], hooks.row(webhook)["owner"]) == (0, "")
    (state,), _ = await webhooks.take(hooks.database, "two", quick=1, slow=1)
    await webhooks.give_back(hooks.database, "two", state, after=3)
    assert hooks.row(webhook)["after_seq"] == 3


async def test_the_log_has_the_last_thousand_and_no_numbers(
    hooks: Hooks, receiver: Receiver, postgres: Postgres
) -> None:
    """A ring of rows: however much is sent, it does not grow."""
    webhook, _ = await hooks.add(receiver.url)
    postgres.execute("UPDATE callapi.webhooks SET attempts = 998")
    tell(postgres, "0367", 5)
    async with hooks.sending():
        await hooks.reach(webhook, 5)
    rows = postgres.execute("SELECT * FROM callapi.webhook_deliveries ORDER BY attempt")
    assert [row["slot"] for row in rows] == [998, 999, 0, 1, 2]
    assert [one.seq for one in await hooks.log(webhook)] == [5, 4, 3, 2, 1]
    assert "375290000001" not in str(rows)


def lead(monkeypatch: pytest.MonkeyPatch, first: str, later: str) -> list[str]:
    """Have hooks.example.test lead to an address, from the second look on to another; its looks."""
    looks: list[str] = []
    real = socket.getaddrinfo

    def look_up(host: str, port: int, *args: Any, **kwargs: Any) -> Any:
        if host != "hooks.example.test":
            return real(host, port, *args, **kwargs)
        looks.append(host)
        address = first if len(looks) == 1 else later
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, port))]

    monkeypatch.setattr(socket, "getaddrinfo", look_up)
    return looks


async def test_a_name_that_leads_inside_at_the_second_look_is_refused(
    hooks: Hooks, receiver: Receiver, postgres: Postgres, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is looked up once for each connection, and that look is what is connected to."""
    looks = lead(monkeypatch, "127.0.0.1", "127.0.0.1")
    webhook, _ = await hooks.add(f"https://hooks.example.test:{receiver.port}/")
    tell(postgres, "0367", 1)
    async with hooks.sending(private="10.0.0.0/8"):
        await hooks.attempted(webhook, 1)
    (attempt,) = await hooks.log(webhook)
    assert (attempt.error, looks) == ("address-refused", ["hooks.example.test"])
    assert (receiver.got, receiver.most_open) == ([], 0)


async def test_what_was_checked_is_what_is_connected_to(
    hooks: Hooks, receiver: Receiver, postgres: Postgres, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing looks the name up again in between, when it may lead elsewhere."""
    looks = lead(monkeypatch, "127.0.0.1", "127.0.0.2")
    webhook, _ = await hooks.add(f"http://hooks.example.test:{receiver.port}/")
    tell(postgres, "0367", 1)
    async with hooks.sending():
        await hooks.reach(webhook, 1)
    assert (receiver.seqs, looks) == ([1], ["hooks.example.test"])
    assert receiver.got[0].headers["host"] == f"hooks.example.test:{receiver.port}"


async def test_tls_has_the_name_and_the_connection_the_address(
    hooks: Hooks, postgres: Postgres, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The certificate is that of the name; one of another name is refused."""
    certificate, key = make_certificate(tmp_path)
    tls = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    tls.load_cert_chain(certificate, key)
    names: list[str | None] = []
    tls.sni_callback = lambda _socket, name, _context: names.append(name)
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
    real = socket.getaddrinfo

    def look_up(host: str, port: int, *args: Any, **kwargs: Any) -> Any:
        return real("127.0.0.1" if host.endswith(".test") else host, port, *args, **kwargs)

    monkeypatch.setattr(socket, "getaddrinfo", look_up)
    async with receiving(tls) as receiver:
        webhook, _ = await hooks.add(f"https://localhost:{receiver.port}/")
        beside, _ = await hooks.add(f"https://hooks.example.test:{receiver.port}/")
        tell(postgres, "0367", 1)
        async with hooks.sending():
            await hooks.reach(webhook, 1)
            await hooks.attempted(beside, 1)
        assert receiver.got[0].headers["host"] == f"localhost:{receiver.port}"
        assert len(receiver.got) == 1
    assert sorted(map(str, names)) == ["hooks.example.test", "localhost"]
    assert (await hooks.log(beside))[0].error == "tls-failed"


async def test_without_tls_only_an_allowed_address_is_sent_to(
    hooks: Hooks, receiver: Receiver, postgres: Postgres
) -> None:
    """The setting is taken back: what was allowed is refused from then on."""
    webhook, _ = await hooks.add(receiver.url)
    tell(postgres, "0367", 1)
    async with hooks.sending(private=""):
        await hooks.attempted(webhook, 1)
    assert receiver.got == []
    assert (await hooks.log(webhook))[0].error == "address-refused"


async def test_the_database_goes_away_and_nothing_is_lost(hooks: Hooks, receiver: Receiver) -> None:
    """Each event arrives, in order; what could not be noted twice."""
    with Postgres.running(durable=True) as own:
        own.seed_enterprise("0367", "june", "192.0.2.10", "secret-of-june")
        database = Database(own.settings(postgres_timeout_s=1))
        there = Hooks(own, database)
        webhook, _ = await there.add(receiver.url)
        async with there.sending():
            tell(own, "0367", 20)
            await there.reach(webhook, 20)
            await asyncio.to_thread(own.restart)
            own.execute("UPDATE callapi.webhooks SET lease_until = clock_timestamp()")
            tell(own, "0367", 20)
            await there.reach(webhook, 40)
        database.close()
    assert list(dict.fromkeys(receiver.seqs)) == list(range(1, 41))


async def test_the_log_names_no_path(
    hooks: Hooks, receiver: Receiver, postgres: Postgres, caplog: pytest.LogCaptureFixture
) -> None:
    """What follows the host may be a secret of the receiver's."""
    webhook, _ = await hooks.add(receiver.url)
    receiver.answers += [status(500), status(500), status(500), status(410)]
    tell(postgres, "0367", 1)
    async with hooks.sending():
        for attempt in range(1, 5):
            await hooks.attempted(webhook, attempt)
            hooks.pass_time(webhook, 100)
    lines = [line for line in caplog.messages if str(webhook) in line]
    assert len(lines) == 2
    assert re.search(r"не принимает: http://127\.0\.0\.1:\d+, HTTP 500$", lines[0])
    assert re.search(r"отключён: http://127\.0\.0\.1:\d+, answered-410$", lines[1])
