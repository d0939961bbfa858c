"""A person's number is forgotten wherever it is kept; what is out of reach is said."""

from __future__ import annotations

import pytest
from anyio import create_task_group, to_thread

from shared.events.feed import Wanted, read_feed
from shared.operate.__main__ import main
from shared.store.database import Database
from tests.integration.operating import Operate
from tests.integration.service import Services, until
from tests.postgres import Postgres

pytestmark = pytest.mark.anyio

NUMBER = "+375296254070"
OTHER = "+375290000001"
TABLES = ("calls", "call_events", "claims", "audit", "rate_limits", "host_views")


def place(postgres: Postgres, phone: str, *, ended: bool = True, code: str = "150") -> None:
    """A call as its rows are after it: the call, its events, its claim, its note, its view."""
    postgres.execute(
        "WITH placed AS (INSERT INTO callapi.calls (call_id, enterprise, host, kind, code, phone,"
        " phase, ended_at) VALUES (gen_random_uuid(), '0367', '192.0.2.10', 'call', :code, :phone,"
        " 'ended', CASE WHEN CAST(:ended AS boolean) THEN clock_timestamp() END)"
        " RETURNING call_id), claimed AS (INSERT INTO callapi.claims"
        " SELECT '0367', 'same:' || :phone || call_id, call_id, :phone, clock_timestamp()"
        " FROM placed) SELECT callapi.note('0367', 'call', call_id, :code, :phone, NULL,"
        """ '{"done_by": "client"}') FROM placed""",
        phone=phone,
        code=code,
        ended=ended,
    )
    postgres.execute(
        "SELECT callapi.tell('0367', call_id, 'ended', 'answered', clock_timestamp())"
        " FROM callapi.calls c WHERE phone = :phone AND NOT EXISTS (SELECT 1 FROM"
        " callapi.call_events e WHERE e.call_id = c.call_id) ORDER BY created_at",
        phone=phone,
    )


def everything(postgres: Postgres) -> str:
    """All that is kept, as one text."""
    return "\n".join(
        str(row["row"])
        for table in TABLES
        for row in postgres.execute(f"SELECT t::text AS row FROM callapi.{table} t ORDER BY 1")
    )


async def test_a_number_is_forgotten_everywhere(
    postgres: Postgres, database: Database, operate: Operate
) -> None:
    """However it was dialled: no row has it; another person's calls are all there."""
    for phone in (NUMBER, "80296254070", "375296254070", OTHER):
        place(postgres, phone)
    place(postgres, OTHER, code="80296254070")
    postgres.execute(
        "UPDATE callapi.calls SET transferred_to = :number WHERE phone = :other AND code = '150'",
        number=NUMBER.lstrip("+"),
        other=OTHER,
    )
    place(postgres, OTHER)
    postgres.execute(
        "INSERT INTO callapi.host_views (host, wanted_until, calls) VALUES"
        " ('192.0.2.10', clock_timestamp(), CAST(:seen AS jsonb))",
        seen='[{"channels": [{"caller": "+375296254070"}]}]',
    )
    postgres.execute(
        "INSERT INTO callapi.rate_limits VALUES ('x:0367:80296254070', clock_timestamp())"
    )
    assert "296254070" in everything(postgres)

    code, said, _ = operate("purge", "--number", NUMBER, "--yes", REGION="BY")

    assert code == 0
    assert "Forgot 5 calls, 5 events, the number in 5 notes of the audit" in said
    assert "296254070" not in everything(postgres)
    calls = postgres.execute("SELECT phone FROM callapi.calls ORDER BY created_at")
    assert [row["phone"] for row in calls] == [OTHER]
    # Whoever reads the feed finds no gap, and nothing of the number.
    told = await read_feed(database, "0367", 0, Wanted(), most=100)
    assert [getattr(event.about, "to", None) for event in told.events] == [OTHER]
    assert told.is_all


def test_without_yes_nothing_is_changed(postgres: Postgres, operate: Operate) -> None:
    """It says how much there is, and what to add."""
    place(postgres, NUMBER)
    before = everything(postgres)
    code, said, _ = operate("purge", "--number", NUMBER)
    assert (code, said.splitlines()[0]) == (
        0,
        "1 calls, with their events and notes: add --yes to forget them",
    )
    assert everything(postgres) == before


def test_a_call_under_way_is_not_torn_apart(postgres: Postgres, operate: Operate) -> None:
    """Its tracker would write the rest: nothing is forgotten until it is over."""
    place(postgres, NUMBER)
    place(postgres, NUMBER, ended=False)
    before = everything(postgres)
    code, _, said = operate("purge", "--number", NUMBER, "--yes")
    assert code == 1
    assert "1 calls with this number are under way; nothing was forgotten" in said
    assert everything(postgres) == before


async def test_what_was_forgotten_does_not_ring_again(start: Services) -> None:
    """While a client may yet repeat a call by its Idempotency-Key, its number is not forgotten."""
    service = await start()
    assert (await service.call(phone=NUMBER, key="once")).status_code == 200
    service.postgres.execute(
        "UPDATE callapi.calls SET phase = 'ended', ended_at = clock_timestamp()"
    )
    before = everything(service.postgres)
    assert await to_thread.run_sync(main, ["purge", "--number", NUMBER, "--yes"]) == 1
    assert everything(service.postgres) == before
    assert (await service.call(phone=NUMBER, key="once")).status_code == 200
    assert len(service.originates()) == 1
    service.postgres.execute("UPDATE callapi.claims SET until = clock_timestamp()")
    assert await to_thread.run_sync(main, ["purge", "--number", NUMBER, "--yes"]) == 0
    assert "296254070" not in everything(service.postgres)


async def test_a_call_that_is_placed_meanwhile_stays_whole(start: Services) -> None:
    """Its row, its claim, its note, its event: whoever asks for it again hears of it."""
    service = await start()
    place(service.postgres, NUMBER)
    with Database(service.postgres.settings()).transaction() as execute:
        execute("SELECT 1 FROM callapi.audit FOR UPDATE")  # so the purge waits here, half-way
        async with create_task_group() as group:
            purge = ["purge", "--number", NUMBER, "--yes"]
            group.start_soon(to_thread.run_sync, main, purge)
            waits = "SELECT count(*) AS n FROM pg_locks WHERE NOT granted"
            await until(lambda: service.postgres.execute(waits)[0]["n"] > 0)
            call_id = (await service.call(phone=NUMBER)).json()["call_id"]
            execute("COMMIT")
    assert [str(row["call_id"]) for row in service.calls()] == [call_id]
    repeat = await service.call(phone=NUMBER)
    assert (repeat.json()["call_id"], len(service.originates())) == (call_id, 1)
    assert everything(service.postgres).count("296254070") > 3


def test_a_rule_that_was_noted_and_a_claim_without_its_call_are_forgotten(
    postgres: Postgres, operate: Operate
) -> None:
    """Among other words of a note, and where the call itself was removed long ago."""
    place(postgres, OTHER)
    operate("rules", "0367", "--denied", NUMBER, "8029")
    postgres.execute(
        "SELECT callapi.note('0367', 'call', gen_random_uuid(), '150', :other, NULL,"
        """ '{"done_by": "client", "actor": "Maria +375296254070"}')""",
        other=OTHER,
    )
    postgres.execute(
        "INSERT INTO callapi.claims VALUES ('0367', 'same:call:150:+375296254070:',"
        " gen_random_uuid(), 'call:150:+375296254070:', clock_timestamp())"
    )
    assert operate("purge", "--number", NUMBER, "--yes")[0] == 0
    assert "296254070" not in everything(postgres)
    notes = postgres.execute("SELECT whom, actor FROM callapi.audit ORDER BY id LIMIT 3")
    assert [row["whom"] for row in notes] == [OTHER, "--denied forgotten 8029", OTHER]
    assert notes[2]["actor"] == "Maria forgotten"


def test_tables_of_a_year_are_read_through(postgres: Postgres, operate: Operate) -> None:
    """In a minute, a command's usual limit, that could not be done, however often it is tried."""
    place(postgres, NUMBER)
    postgres.execute(
        "CREATE FUNCTION limited() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN"
        " NEW.outcome := current_setting('statement_timeout'); RETURN NEW; END $$;"
        "CREATE TRIGGER limited BEFORE UPDATE ON callapi.audit FOR EACH ROW EXECUTE FUNCTION"
        " limited()"
    )
    try:
        assert operate("purge", "--number", NUMBER, "--yes")[0] == 0
    finally:
        postgres.execute("DROP FUNCTION limited CASCADE")
    (note,) = postgres.execute("SELECT outcome FROM callapi.audit WHERE action = 'call'")
    assert note["outcome"] == "54min"


def test_what_is_out_of_reach_is_said(postgres: Postgres, operate: Operate) -> None:
    """The PBXs that have records of it, rules that name it, log files, backups."""
    place(postgres, NUMBER)
    postgres.execute(
        "INSERT INTO callapi.enterprise_rules (enterprise, denied) VALUES ('0367', ARRAY[:number])",
        number=NUMBER,
    )
    postgres.execute(
        "INSERT INTO callapi.webhooks (id, enterprise, url, wanted, secret, after_seq) VALUES"
        " (gen_random_uuid(), '0368', 'https://example.test/' || :number, '{}', '', 0)",
        number=NUMBER.lstrip("+"),
    )
    _, said, _ = operate("purge", "--number", NUMBER, "--yes", LOG_FILE="calls.log")
    assert "The rules of enterprise 0367 name it: change them with rules" in said
    assert "A webhook of enterprise 0368 names it: look at webhooks" in said
    assert "The PBXs' own records have it, as of calls through 192.0.2.10" in said
    assert "calls.log" in said
    assert "backups of the database" in said


def test_the_outbox_of_aws_is_out_of_reach_too(postgres: Postgres, operate: Operate) -> None:
    """Where WebSockets are told events it has them, numbers too, for a day."""
    place(postgres, NUMBER)
    _, before, _ = operate("purge", "--number", NUMBER)
    assert "DynamoDB" not in before
    postgres.execute("INSERT INTO callapi.push_places VALUES ('0367', 7)")
    _, said, _ = operate("purge", "--number", NUMBER, "--yes")
    assert "The outbox in DynamoDB, by which WebSockets are told events, may have it" in said


def test_an_extension_is_not_forgotten(operate: Operate) -> None:
    """Its calls are many people's."""
    code, _, said = operate("purge", "--number", "150", "--yes")
    assert code == 1
    assert "150 is an extension, by EXTENSION_DIGITS" in said


@pytest.mark.parametrize("number", ["+37529abc", "", "+375 29", "%"])
def test_what_is_no_number_is_refused(
    operate: Operate, capsys: pytest.CaptureFixture[str], number: str
) -> None:
    """By the command line itself, which says what one is."""
    with pytest.raises(SystemExit):
        operate("purge", "--number", number, "--yes")
    assert "argument --number: must be" in capsys.readouterr().err


def test_the_purge_is_noted_and_the_number_is_not(postgres: Postgres, operate: Operate) -> None:
    """Who did it and how much it was."""
    place(postgres, NUMBER)
    operate("purge", "--number", NUMBER, "--yes")
    (note,) = postgres.execute(
        "SELECT done_by, actor, whom FROM callapi.audit WHERE action = 'purge'"
    )
    assert note["done_by"] == "operator"
    assert note["actor"]
    assert note["whom"] == "1 calls, 1 events, 1 notes"
