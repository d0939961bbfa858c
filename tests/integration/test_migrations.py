"""The schema's way from release to release, on a real PostgreSQL."""

from __future__ import annotations

import asyncio
import contextlib
import json
import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_args
from uuid import UUID, uuid4

import pytest

from shared.asterisk.client import AgentPhase
from shared.asterisk.models import PHASES, CdrState, Kind, Phase, Reason
from shared.errors import DatabaseUnavailable
from shared.operate.command import explain
from shared.store import migrations
from shared.store.calls import get_call
from shared.store.database import Database
from shared.store.migrations import SCHEMA, Step, TooOld, load_functions, migrate
from shared.store.sqlstates import TableHeld
from tests.postgres import Postgres

EARLIER = Path(__file__).parent / "earlier_schema"
# Of the release before this one, those that this one does without.
EARLIER_FUNCTIONS = Path(__file__).parent / "earlier_functions"
SECRET = "june-8d1f04c7a96b4e52"
SHAPE = """
SELECT 'column' AS what, table_name || '.' || column_name AS name, concat_ws(' ', data_type,
       is_nullable, column_default) AS shape
  FROM information_schema.columns WHERE table_schema = 'callapi'
UNION ALL SELECT 'index', indexname, indexdef FROM pg_indexes WHERE schemaname = 'callapi'
UNION ALL SELECT 'check', c.conrelid::regclass || ' ' || c.conname, pg_get_constraintdef(c.oid)
  FROM pg_constraint c WHERE c.connamespace = 'callapi'::regnamespace
UNION ALL SELECT 'options', c.oid::regclass::text, array_to_string(c.reloptions, ' ')
  FROM pg_class c WHERE c.relnamespace = 'callapi'::regnamespace AND c.relkind = 'r'
"""


@pytest.fixture
def fresh(postgres: Postgres) -> Iterator[Database]:
    """A database of its own, with nothing but an empty `enterprises`."""
    pool = Database(postgres.settings())
    for sql in ("DROP DATABASE IF EXISTS fresh", "CREATE DATABASE fresh"):
        asyncio.run(pool.run(sql))
    database = Database(postgres.settings(postgres_db="fresh"))
    execute(
        database,
        "CREATE TABLE enterprises (number text, name text, ip text, secret text, active boolean)",
    )
    yield database
    database.close()
    asyncio.run(pool.run("DROP DATABASE fresh WITH (FORCE)"))
    pool.close()


def execute(database: Database, sql: str, **parameters: Any) -> list[dict[str, Any]]:
    """Execute statements as the owner of `enterprises`, or an earlier process, does."""
    with database.transaction() as run:
        run("SET LOCAL search_path TO DEFAULT")
        return run(sql, **parameters)


def apply_earlier(database: Database, last: int) -> None:
    """Bring a database to where an earlier version's migrations left it."""
    for path in sorted(EARLIER.glob("*.sql"))[:last]:
        execute(database, path.read_text("utf-8"))
        execute(
            database,
            "INSERT INTO callapi.migrations (version, name) VALUES (:version, :name)",
            version=int(path.name[:3]),
            name=path.stem,
        )


def applied(database: Database) -> list[str]:
    """Migrate; the names of what was applied now."""
    return [step.name for step in migrate(database) if step.applied_now]


def shape(database: Database) -> set[tuple[str, ...]]:
    """Describe every table, column, index and constraint of ours."""
    return {(row["what"], row["name"], row["shape"] or "") for row in execute(database, SHAPE)}


def test_an_earlier_database_keeps_its_calls(fresh: Database) -> None:
    """Calls, claims, tokens, keys and rules are there as before; a call is read, a repeat found."""
    apply_earlier(fresh, 3)
    execute(
        fresh, "INSERT INTO enterprises VALUES ('0367', 'june', '192.0.2.10', :s, true)", s=SECRET
    )
    call_id = uuid4()
    admitted = execute(
        fresh,
        "SELECT verdict FROM callapi.admit(:secret, :call, 'call', '150', '+375291234567', '',"
        " 'call:150:+375291234567:', NULL, 120, 86400, 20, 60, 300, 60, NULL, 30, 60, '{}', '{}',"
        " 'refuse')",
        secret=SECRET,
        call=call_id,
    )
    assert admitted == [{"verdict": "new"}]
    execute(fresh, "INSERT INTO callapi.enterprise_rules (enterprise) VALUES ('0367')")
    execute(fresh, "INSERT INTO callapi.host_keys VALUES ('192.0.2.10', 5059, 'ssh-ed25519 AAAA')")
    tables = ("calls", "claims", "rate_limits", "enterprise_rules", "host_keys")
    before = {name: execute(fresh, f"SELECT * FROM callapi.{name} ORDER BY 1") for name in tables}
    assert all(before.values())

    names = applied(fresh)

    assert "003_tables" not in names
    assert {"004_functions_and_cursors", "function claim_order", "function settle_order"} <= set(
        names
    )
    # A column may be added, and nothing else.
    for name, rows in before.items():
        columns = ", ".join(rows[0])
        assert rows == execute(fresh, f"SELECT {columns} FROM callapi.{name} ORDER BY 1")
    call = asyncio.run(get_call(fresh, "0367", call_id))
    assert (call.code, call.to, call.phase) == ("150", "+375291234567", "placing")
    assert admit_again(fresh) == ("repeat", call_id)


def admit_again(database: Database) -> tuple[str, UUID]:
    """Ask for the same call as this release does."""
    (row,) = execute(
        database,
        "SELECT verdict, call_id FROM callapi.claim_order(p_secret => :secret, p_call => :call,"
        " p_kind => 'call', p_code => '150', p_phone => '+375291234567', p_action => '',"
        " p_params => 'call:150:+375291234567:', p_key => NULL, p_hold_s => 120,"
        " p_key_hold_s => 86400, p_after_end_s => 3,"
        " p_address => NULL, p_limits => '{}', p_digits => 6, p_allowed => '{}',"
        " p_denied => '{}', p_shared_hosts => 'refuse')",
        secret=SECRET,
        call=uuid4(),
    )
    return row["verdict"], row["call_id"]


def test_an_earlier_process_goes_on_beside_this_release(fresh: Database) -> None:
    """What it calls is still there: a function whose signature changed has got a new name."""
    apply_earlier(fresh, 3)
    earlier = {"admit", "identify", "settle"}
    assert earlier <= functions(fresh)
    applied(fresh)
    assert earlier <= functions(fresh)


def test_the_release_before_admits_and_follows_beside_this_one(fresh: Database) -> None:
    """Its functions, which nobody applies any more, work on this release's tables and functions."""
    applied(fresh)
    for path in sorted(EARLIER_FUNCTIONS.glob("*.sql")):
        execute(fresh, path.read_text("utf-8"))
    execute(
        fresh, "INSERT INTO enterprises VALUES ('0367', 'june', '192.0.2.10', :s, true)", s=SECRET
    )
    call_id = uuid4()
    rules = "p_digits => 6, p_allowed => '{}', p_denied => '{}', p_shared_hosts => 'refuse'"
    rates = (
        "p_extension_count => 20, p_extension_per_s => 60,"
        " p_enterprise_count => 300, p_enterprise_per_s => 60"
    )
    admitted = execute(
        fresh,
        "SELECT verdict FROM callapi.admit_order(p_secret => :secret, p_call => :call,"
        " p_kind => 'call', p_code => '150', p_phone => '+375291234567', p_action => '',"
        " p_params => 'call:150:+375291234567:', p_key => NULL, p_hold_s => 120,"
        " p_key_hold_s => 86400, p_after_end_s => 3, p_address => NULL, p_address_count => 30,"
        f" p_address_per_s => 60, {rates}, {rules})",
        secret=SECRET,
        call=call_id,
    )
    assert admitted == [{"verdict": "new"}]
    assert admit_again(fresh) == ("repeat", call_id)
    handed_over = execute(
        fresh,
        "SELECT verdict FROM callapi.admit_transfer(p_enterprise => '0367',"
        " p_host => '192.0.2.10', p_call => :call, p_to => '151', p_at => clock_timestamp(),"
        f" p_window_s => 10, {rates}, {rules})",
        call=call_id,
    )
    assert handed_over == [{"verdict": "new"}]
    execute(fresh, "SELECT callapi.take_lease('192.0.2.10', 'before', 5)")
    (row,) = execute(
        fresh,
        "SELECT callapi.follow('192.0.2.10', 'before', 1, 5, CAST(:changes AS jsonb), NULL, NULL)"
        " AS answer",
        changes=json.dumps([{"call_id": str(call_id), "phase": "talking"}]),
    )
    assert [call["phase"] for call in row["answer"]["calls"]] == ["talking"]


def functions(database: Database) -> set[str]:
    """Name our functions in the database."""
    sql = "SELECT proname FROM pg_proc WHERE pronamespace = 'callapi'::regnamespace"
    return {row["proname"] for row in execute(database, sql)}


def test_every_way_ends_in_the_same_tables(postgres: Postgres, fresh: Database) -> None:
    """A database that was upgraded has the very columns, indexes and checks of a new one."""
    apply_earlier(fresh, 3)
    applied(fresh)
    new = Database(postgres.settings())
    assert len(shape(fresh)) > 80
    assert shape(fresh) == shape(new)


def test_every_function_has_a_file_of_its_own(postgres: Postgres) -> None:
    """And is applied under the file's name, with no second one that takes other parameters."""
    rows = execute(
        Database(postgres.settings()),
        "SELECT proname AS name, count(*) AS n FROM pg_proc"
        " WHERE pronamespace = 'callapi'::regnamespace GROUP BY proname",
    )
    assert {row["name"]: row["n"] for row in rows} == {f.name: 1 for f in load_functions()}


@pytest.mark.parametrize("last", [1, 2])
def test_a_database_from_before_the_first_release_is_refused(fresh: Database, last: int) -> None:
    """Its migrations are not kept; it is told, and nothing is touched."""
    apply_earlier(fresh, last)
    before = shape(fresh)
    with pytest.raises(TooOld, match=f"is at migration {last}"):
        applied(fresh)
    assert shape(fresh) == before


def test_a_changed_function_is_applied_again_and_no_other(fresh: Database, tmp_path: Path) -> None:
    """By its text alone: no number has to be found for it."""
    shutil.copytree(SCHEMA, tmp_path / "schema")
    assert "function may_dial" in applied(fresh)
    changed = tmp_path / "schema" / "functions" / "may_dial.sql"
    body = "BEGIN RETURN false; END $f$;"
    changed.write_text(changed.read_text("utf-8").split("BEGIN")[0] + body, "utf-8")
    steps = list(migrate(fresh, tmp_path / "schema"))
    assert [step for step in steps if step.applied_now] == [
        Step("function may_dial", applied_now=True)
    ]
    assert execute(fresh, "SELECT callapi.may_dial('+375', '{}', '{}') AS may") == [{"may": False}]
    assert applied(fresh) == ["function may_dial"]
    assert execute(fresh, "SELECT callapi.may_dial('+375', '{}', '{}') AS may") == [{"may": True}]


def test_a_broken_function_changes_none(fresh: Database, tmp_path: Path) -> None:
    """They call each other: all of them are of one release."""
    shutil.copytree(SCHEMA, tmp_path / "schema")
    applied(fresh)
    folder = tmp_path / "schema" / "functions"
    sweep = (folder / "sweep.sql").read_text("utf-8")
    (folder / "sweep.sql").write_text(sweep.replace("1 day", "2 days"), "utf-8")
    (folder / "tell.sql").write_text("CREATE OR REPLACE FUNCTION callapi.tell(", "utf-8")
    with pytest.raises(Exception, match="42601"):
        list(migrate(fresh, tmp_path / "schema"))
    assert applied(fresh) == []


def test_a_table_that_others_read_for_long_holds_up_no_call(
    fresh: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Who waits for a table keeps others from it: so not for long, and again, then never."""
    applied(fresh)
    monkeypatch.setattr(migrations, "_LOCK_TIMEOUT", "50ms")
    folder = tmp_path / "schema"
    shutil.copytree(SCHEMA, folder)
    (folder / "999_note.sql").write_text("ALTER TABLE callapi.calls ADD COLUMN note text")
    with fresh.transaction() as report:
        report("SELECT count(*) FROM callapi.calls")

        def end_report(_s: float) -> None:
            with contextlib.suppress(DatabaseUnavailable):
                report("COMMIT")

        monkeypatch.setattr("time.sleep", lambda _s: None)
        with pytest.raises(TableHeld) as caught:
            list(migrate(fresh, folder))
        assert "run this again" in explain(caught.value, fresh)
        execute(fresh, "SELECT count(*) FROM callapi.calls")
        monkeypatch.setattr("time.sleep", end_report)
        assert Step("999_note", applied_now=True) in list(migrate(fresh, folder))


@pytest.mark.parametrize(
    ("column", "words"),
    [
        ("phase", get_args(Phase)),
        ("reason", get_args(Reason)),
        ("cdr", get_args(CdrState)),
        ("kind", get_args(Kind)),
    ],
)
def test_the_tables_take_the_words_that_the_models_know(
    postgres: Postgres, column: str, words: tuple[str, ...]
) -> None:
    """Each of them and no other, in the one order of `shared.asterisk.models`."""
    (found,) = postgres.execute(
        "SELECT pg_get_constraintdef(oid) AS shape FROM pg_constraint WHERE contype = 'c'"
        " AND conrelid = 'callapi.calls'::regclass AND conname = :name",
        name=f"calls_{column}_check",
    )
    assert tuple(re.findall(r"'(\w+)'", found["shape"])) == words


def constant(postgres: Postgres, name: str) -> tuple[str, ...]:
    """A list of texts that callapi.take_turn declares."""
    (found,) = postgres.execute(
        "SELECT prosrc FROM pg_proc WHERE oid = to_regproc('callapi.take_turn')"
    )
    match = re.search(rf"{name} CONSTANT text\[\] := ARRAY\[(.*?)\];", found["prosrc"], re.DOTALL)
    assert match is not None
    return tuple(re.findall(r"'(\w+)'", match[1]))


def test_the_database_goes_forward_as_the_models_do(postgres: Postgres) -> None:
    """The order of the phases is one, whoever compares two of them."""
    assert constant(postgres, "order_of") == PHASES


def test_the_ends_that_a_hang_up_explains_are_reasons(postgres: Postgres) -> None:
    """In the models' order, and none in which somebody answered or was busy."""
    reasons: tuple[str, ...] = get_args(Reason)
    ends = constant(postgres, "ends_by_api")
    assert ends == tuple(reason for reason in reasons if reason in ends)
    assert not {"answered", "busy", "agent_busy", "cancelled", "rejected"} & set(ends)


def test_what_a_placed_call_is_answered_with_is_a_phase() -> None:
    """The phases until the agent's answer, in the models' order."""
    answered: tuple[str, ...] = get_args(AgentPhase)
    assert answered == tuple(phase for phase in PHASES if phase in answered)
