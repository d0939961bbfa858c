"""Who did what is noted with it, once, and told to whom it may be told."""

from __future__ import annotations

import asyncio
import hashlib
from typing import Any
from uuid import uuid4

import httpx
import pytest

from demo.pbx.faults import Stage
from shared.auth.admission import Settlement, admit, settle
from shared.auth.caller import Caller
from shared.deadline import Deadline
from shared.store.audit import Noted, list_all_notes
from shared.store.connection import Rows
from shared.store.database import Database, the_database
from tests.integration.followed import TALKS_ON, allow_audit, follow, place, reach
from tests.integration.operating import Operate
from tests.integration.service import OTHER_PHONE, PHONE, SECRET, Service, Services
from tests.orders import call_order
from tests.postgres import Postgres

pytestmark = pytest.mark.anyio

ACTOR = "Мария Ивановна (CRM 17)"


def headers(actor: str, **others: str) -> httpx.Headers:
    """The secret, and the actor as a program writes him: in UTF-8."""
    given = {"Authorization": f"Bearer {SECRET}", "X-Actor": actor, **others}
    return httpx.Headers([(name.encode(), value.encode()) for name, value in given.items()])


def notes(service: Service) -> Rows:
    """What was noted, the oldest first."""
    return service.postgres.execute("SELECT * FROM callapi.audit ORDER BY id")


async def audit(service: Service, secret: str = SECRET, **params: Any) -> httpx.Response:
    """Ask for it as an enterprise."""
    headers = {"Authorization": f"Bearer {secret}"}
    return await service.http.get("/api/audit", params=params, headers=headers)


async def test_a_call_is_noted_with_who_asked_for_it(service: Service) -> None:
    """Which secret, from where, whom in the CRM, by which request; the end is the call's own."""
    allow_audit(service)
    answer = await service.http.get(
        "/api/makecallexternal",
        params={"code": "150", "phone": PHONE},
        headers=headers(ACTOR, **{"X-Request-Id": "crm-42"}),
    )
    call_id = answer.json()["call_id"]
    (note,) = notes(service)
    assert {
        name: note[name]
        for name in ("enterprise", "action", "done_by", "actor", "address", "request_id", "code")
    } == {
        "enterprise": "0367",
        "action": "call",
        "done_by": "client",
        "actor": ACTOR,
        "address": "127.0.0.1",
        "request_id": "crm-42",
        "code": "150",
    }
    assert (str(note["call_id"]), note["whom"]) == (call_id, PHONE)
    (entry,) = (await audit(service)).json()["entries"]
    assert (entry["actor"], entry["call_id"], entry["outcome"]) == (ACTOR, call_id, "executed")
    assert entry["phase"] is not None


async def test_which_secret_is_told_and_the_secret_is_not(service: Service) -> None:
    """The table's own by a fingerprint that nobody can make without the database's key."""
    await service.call()
    (note,) = notes(service)
    name, _, fingerprint = note["secret"].partition(" ")
    assert name == "enterprises"
    assert len(fingerprint) == 12
    digest = hashlib.sha256(SECRET.encode()).hexdigest()
    assert not digest.startswith(fingerprint)
    assert SECRET not in str(note)
    assert SECRET not in service.log()


async def test_another_secret_of_the_enterprise_is_named_as_keys_lists_it(service: Service) -> None:
    """By its name and the beginning of its digest."""
    digest = hashlib.sha256(b"crm-secret-7d20e1").digest()
    service.postgres.execute(
        "INSERT INTO callapi.keys (digest, number, name) VALUES (:digest, '0367', 'crm')",
        digest=digest,
    )
    await service.call(secret="crm-secret-7d20e1")
    (note,) = notes(service)
    assert note["secret"] == f"crm {digest.hex()[:12]}"


async def test_a_repeat_is_no_second_deed(service: Service) -> None:
    """Nobody's phone rang by it; nor did one by what was refused."""
    await service.call()
    assert (await service.call()).json()["repeated"]
    assert (await service.call(phone="+1", secret="nobody-has-this")).status_code == 401
    assert [note["action"] for note in notes(service)] == ["call"]


async def test_ten_clicks_at_once_are_one_note(service: Service) -> None:
    """As they are one call."""
    await asyncio.gather(*(service.call() for _ in range(10)))
    assert len(notes(service)) == 1


@pytest.mark.parametrize(
    ("actor", "fault"),
    [
        (b"", "1 to 100"),
        (b"x" * 101, "1 to 100"),
        (b"tab\there", "1 to 100"),
        (b"\xff\xfe", "UTF-8"),
        ("\u202egnp".encode(), "printable"),
    ],
)
async def test_an_actor_that_cannot_be_told_is_refused(
    service: Service, actor: bytes, fault: str
) -> None:
    """422 names the header, before anything rings."""
    answer = await service.http.get(
        "/api/makecallexternal",
        params={"code": "150", "phone": PHONE},
        headers=[(b"Authorization", f"Bearer {SECRET}".encode()), (b"X-Actor", actor)],
    )
    assert answer.status_code == 422
    (error,) = answer.json()["errors"]
    assert error["field"] == "X-Actor"
    assert fault in error["message"]
    assert service.originates() == []
    assert notes(service) == []


async def test_supervision_a_transfer_and_a_hang_up_are_noted(start: Services) -> None:
    """Whom, by whom, and what became of each."""
    service = await follow(start, time_scale=1.0)
    allow_audit(service)
    call_id = await place(service, "154", TALKS_ON)
    await reach(service, call_id, "talking")
    chief = headers("chief")
    params = {"action": "01", "target": "154", "monitor_from": "156"}
    assert (await service.http.get("/api/monitor", params=params, headers=chief)).is_success
    path = f"/api/calls/{call_id}"
    handed = await service.http.post(f"{path}/transfer", json={"to": "151"}, headers=chief)
    assert handed.is_success, handed.text
    assert (await service.http.delete(path, headers=chief)).is_success
    entries = (await audit(service, actor="chief")).json()["entries"]
    assert [(e["action"], e["code"], e["whom"], e["outcome"]) for e in entries] == [
        ("hang-up", "154", TALKS_ON, "executed"),
        ("transfer", None, "151", "executed"),
        ("monitor", "156", "154", "executed"),
    ]
    await reach(service, call_id, "ended")
    (entry,) = (await audit(service, action="call")).json()["entries"]
    assert (entry["phase"], entry["reason"]) == ("ended", "answered")


async def test_what_was_not_sent_is_said(start: Services) -> None:
    """A hang-up that never left, since the PBX was away, is noted as not executed."""
    service = await follow(start)
    call_id = await place(service, "154", TALKS_ON)
    await reach(service, call_id, "talking")
    service.pbx.kill_asterisk()
    answer = await service.http.delete(
        f"/api/calls/{call_id}", headers={"Authorization": f"Bearer {SECRET}"}
    )
    assert answer.status_code == 500
    assert [(n["action"], n["outcome"]) for n in notes(service)] == [
        ("call", None),
        ("hang-up", "not_executed"),
    ]


async def test_a_call_of_unknown_outcome_is_told_as_unknown(service: Service) -> None:
    """It may have rung somebody: the note says so, where no channel was found since either."""
    allow_audit(service)
    service.pbx.drop_after(Stage.WRITTEN, containing=PHONE)
    answer = await service.call()
    assert answer.json()["dialled"] == "unknown"
    (entry,) = (await audit(service)).json()["entries"]
    assert entry["outcome"] == "unknown"


async def test_only_who_may_reads_it_and_only_its_own(service: Service) -> None:
    """403 until an operator allows it; another enterprise's deeds are never among them."""
    service.postgres.seed_enterprise("0368", "july", "192.0.2.77", "july-4c1d7e90b2a35f68")
    await service.call()
    refused = await audit(service)
    assert (refused.status_code, refused.json()["code"]) == (403, "audit-off")
    allow_audit(service, "0368")
    assert (await audit(service, "july-4c1d7e90b2a35f68")).json() == {"entries": [], "next": None}
    assert (await audit(service)).status_code == 403


async def test_an_enterprise_is_told_no_operator_s_name(service: Service) -> None:
    """Nor his address or his tool; trying names finds nothing either. Operators read all of it."""
    allow_audit(service)
    for done_by, actor in (
        ("operator", "maria"),
        ("panel", "session 1a2b3c4d"),
        ("client", "maria"),
    ):
        service.postgres.execute(
            "INSERT INTO callapi.audit"
            " (enterprise, action, done_by, actor, address, request_id, whom)"
            " VALUES ('0367', 'rules', :done_by, :actor, '192.0.2.7', 'id-1', :actor)",
            done_by=done_by,
            actor=actor,
        )
    client, *operators = (await audit(service)).json()["entries"]
    assert (client["done_by"], client["actor"], client["address"]) == (
        *("client", "maria"),
        "192.0.2.7",
    )
    for entry in operators:
        told = (entry[name] for name in ("done_by", "actor", "address", "request_id"))
        assert tuple(told) == ("operator", None, None, None)
    assert (await audit(service, actor="session 1a2b3c4d")).json()["entries"] == []
    assert (await audit(service, actor="maria")).json()["entries"] == [client]
    page = await list_all_notes(the_database(), Noted(actor="maria"), limit=10)
    assert {note.done_by for note in page.notes} == {"operator", "client"}


async def test_pages_lead_through_all_of_it(service: Service) -> None:
    """Newest first, each once, whatever is new meanwhile; a cursor is its enterprise's own."""
    allow_audit(service)
    for n in range(7):
        await service.call(phone=f"+37529000010{n}")
    seen: list[str] = []
    cursor: dict[str, str] = {}
    while True:
        page = (await audit(service, limit=3, **cursor)).json()
        seen += [entry["whom"] for entry in page["entries"]]
        if page["next"] is None:
            break
        cursor = {"cursor": page["next"]}
        await service.call(phone=OTHER_PHONE)
    assert seen == [f"+37529000010{n}" for n in reversed(range(7))]
    service.postgres.seed_enterprise("0368", "july", "192.0.2.77", "july-4c1d7e90b2a35f68")
    allow_audit(service, "0368")
    foreign = await audit(service, "july-4c1d7e90b2a35f68", **cursor)
    assert foreign.status_code == 422


@pytest.mark.parametrize(
    ("wanted", "found"),
    [
        ({"extension": "151"}, [OTHER_PHONE]),
        ({"number": "80296254070"}, [PHONE]),
        ({"action": "monitor"}, []),
        ({"since": "2100-01-01T00:00:00Z"}, []),
        ({"until": "2000-01-01T00:00:00Z"}, []),
        ({"actor": "nobody"}, []),
    ],
)
async def test_it_is_searched(start: Services, wanted: dict[str, str], found: list[str]) -> None:
    """By each of its filters; a number by every way to write it."""
    service = await start(REGION="BY")
    allow_audit(service)
    await service.call()
    await service.call("151", OTHER_PHONE)
    answer = await audit(service, **wanted)
    assert [entry["whom"] for entry in answer.json()["entries"]] == found


async def test_a_lost_reply_is_asked_again_and_noted_once(start: Services) -> None:
    """The same admission, sent twice, is one call and one note."""
    service = await start()
    await service.call()
    (note,) = notes(service)
    again = service.postgres.execute(
        "SELECT callapi.note(enterprise, action, call_id, code, whom, at,"
        """ '{"done_by": "client"}') FROM callapi.audit"""
    )
    assert len(again) == 1
    assert notes(service) == [note]


def test_an_operator_s_changes_are_noted(postgres: Postgres, operate: Operate) -> None:
    """Each with who he is; what only shows something is none."""
    key = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIMUGAw5QDYEa1qmvhW1TwK9yCRExKLKUnK2qQeUKKRxz"
    operate("rules", "0367", "--dialling", "off", "--denied", "+7", "8")
    operate("rules", "0367")
    _, said, _ = operate("keys", "0367", "add", "--name", "crm")
    operate("keys", "0367")
    operate("keys", "0367", "end", "crm")
    operate("accept-host-key", "192.0.2.10", key)
    operate("forget-host-key", "192.0.2.10")
    rows = postgres.execute("SELECT * FROM callapi.audit ORDER BY id")
    assert {row["done_by"] for row in rows} == {"operator"}
    assert all(row["actor"] for row in rows)
    fingerprint = said.split()[1].rstrip(",")
    told = [(row["enterprise"], row["action"], row["whom"]) for row in rows]
    assert told[:2] == [
        ("0367", "rules", "--dialling off --denied +7 8"),
        ("0367", "keys", f"crm {fingerprint}: without an end"),
    ]
    assert told[2][:2] == ("0367", "keys")
    assert told[2][2].startswith("crm: ENDED")
    assert [(enterprise, action) for enterprise, action, _ in told[3:]] == [("", "host-key")] * 2
    assert said.splitlines()[1] not in str(rows)


def test_a_change_that_is_refused_is_not_noted(postgres: Postgres, operate: Operate) -> None:
    """It was undone, and so is its note."""
    assert operate("rules", "9999", "--dialling", "off")[0] == 1
    assert operate("keys", "0367", "end", "nothing")[0] == 1
    assert postgres.execute("SELECT count(*) AS n FROM callapi.audit") == [{"n": 0}]


async def test_an_operator_reads_it(
    postgres: Postgres, database: Database, operate: Operate
) -> None:
    """A line each, the newest first: when, whom, by whom, what became of it."""
    deadline = Deadline.after(27)
    caller = Caller("secret-of-0367", "127.0.0.1", deadline, client="192.0.2.5", actor=ACTOR)
    settings = postgres.settings(shared_hosts="allow")
    order = call_order("150", PHONE)
    admitted = await admit(
        *(database, settings, caller, order), call_id=uuid4(), idempotency_key=None
    )
    await settle(database, settings, admitted.call_id, Settlement("executed"))
    operate("rules", "0367", "--audit", "on")
    code, said, _ = operate("audit", "0367")
    newest, oldest = said.splitlines()
    assert code == 0
    assert " | 0367 | rules --audit on | by operator " in newest
    assert f" | 0367 | call 150 -> {PHONE} | by client {ACTOR}, secret enterprises " in oldest
    assert f", from 192.0.2.5 | executed | call_id={admitted.call_id} | request_id=-" in oldest
    assert operate("audit", "--number", PHONE)[1].splitlines() == [oldest]
    assert operate("audit", "--call", str(admitted.call_id))[1].splitlines() == [oldest]
    assert operate("audit", "--last", "1")[1].splitlines() == [newest]
    assert operate("audit", "0368")[1] == ""
    code, _, said = operate("audit", "0376")
    assert (code, said.partition(". ")[0]) == (1, "There is no enterprise 0376")
    assert "0367" in said
    postgres.execute("DELETE FROM enterprises WHERE number = '0367'")
    assert operate("audit", "0367", "--last", "1")[1].splitlines() == [newest]


async def test_an_actor_that_nobody_can_be_is_refused(service: Service) -> None:
    """By the rule of X-Actor: what no note can have is asked of no database."""
    allow_audit(service)
    for actor in ("\0", "a\nb", "", "x" * 101):
        answer = await audit(service, actor=actor)
        assert (answer.status_code, answer.json()["code"]) == (422, "invalid-parameter")


def test_an_end_is_noted_once_and_of_a_call_never(postgres: Postgres) -> None:
    """The service's role may note an end, and cannot write another one afterwards."""
    postgres.clear()
    call = "7f1c0f6e-3f0b-4a44-9d53-0a6f6d0a8d11"
    at = "2026-11-23T09:00:00Z"
    for action in ("call", "hang-up"):
        postgres.execute(
            "SELECT callapi.note('0367', :action, :call, '150', '151', :at,"
            """ '{"done_by": "client"}')""",
            action=action,
            call=call,
            at=at,
        )
        for outcome in ("executed", "not_executed", None):
            postgres.execute(
                "SELECT callapi.note_end(:call, :action, :at, :outcome)",
                action=action,
                call=call,
                at=at,
                outcome=outcome,
            )
    rows = postgres.execute("SELECT action, outcome FROM callapi.audit ORDER BY id")
    assert [(row["action"], row["outcome"]) for row in rows] == [
        ("call", None),
        ("hang-up", "executed"),
    ]
