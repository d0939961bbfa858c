"""What a stranger's role, and the service's own, can and cannot do in the database."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest

from shared.operate.__main__ import main
from shared.operate.hostkeys import fingerprint
from shared.store.database import Database
from shared.store.enterprises import list_enterprises
from shared.store.migrations import NoSuchTable, check_schema, load_functions, migrate
from shared.store.sqlstates import UNAVAILABLE, AccessRefused
from tests.integration.followed import BUSY, TALKS_ON, follow, place, reach
from tests.integration.panel import TOKEN, browser, visit
from tests.integration.service import SECRET, Services, seed
from tests.postgres import Postgres

pytestmark = pytest.mark.anyio

GRANTS = Path(__file__).parents[2] / "deploy" / "grants.sql"
SECURITY = GRANTS.parents[1] / "docs" / "security.md"
STRANGER = "stranger_of_public"
SERVICE = "calls_service"

# What he would have run by whoever calls or reads these by their bare names.
TRAPS = """
CREATE FUNCTION public.trap() RETURNS text LANGUAGE plpgsql AS $f$
BEGIN
  INSERT INTO public.caught VALUES (current_user, current_query()); RETURN 'trapped';
EXCEPTION WHEN OTHERS THEN
  RETURN 'trapped';
END $f$;
CREATE FUNCTION public.format(text, varchar) RETURNS text LANGUAGE sql AS 'SELECT public.trap()';
CREATE FUNCTION public.format(text, text) RETURNS text LANGUAGE sql AS 'SELECT public.trap()';
CREATE FUNCTION public.btrim(varchar) RETURNS text LANGUAGE sql AS 'SELECT public.trap()';
CREATE FUNCTION public.make_interval(secs double precision) RETURNS interval LANGUAGE sql
  AS $f$ SELECT pg_catalog.make_interval(mins => length(public.trap())) $f$;
CREATE FUNCTION public.make_interval(secs integer) RETURNS interval LANGUAGE sql
  AS $f$ SELECT pg_catalog.make_interval(mins => length(public.trap())) $f$;
CREATE FUNCTION public.starts_with(varchar, varchar) RETURNS boolean LANGUAGE sql
  AS $f$ SELECT public.trap() IS NOT NULL $f$;
CREATE FUNCTION public.same(varchar, varchar) RETURNS boolean LANGUAGE sql
  AS $f$ SELECT public.trap() IS NOT NULL $f$;
CREATE FUNCTION public.same(varchar, text) RETURNS boolean LANGUAGE sql
  AS $f$ SELECT public.trap() IS NOT NULL $f$;
CREATE OPERATOR public.= (LEFTARG = varchar, RIGHTARG = varchar, FUNCTION = public.same);
CREATE OPERATOR public.= (LEFTARG = varchar, RIGHTARG = text, FUNCTION = public.same);
CREATE FUNCTION public.longer(timestamptz, double precision) RETURNS timestamptz LANGUAGE sql
  AS $f$ SELECT CASE WHEN public.trap() IS NOT NULL THEN $1 END $f$;
CREATE OPERATOR public.- (
  LEFTARG = timestamptz, RIGHTARG = double precision, FUNCTION = public.longer);
CREATE TABLE public.calls (call_id uuid);
CREATE TABLE public.migrations (version integer);
CREATE TABLE public.pg_class (oid oid);
CREATE FUNCTION public.to_regclass(varchar) RETURNS regclass LANGUAGE sql
  AS $f$ SELECT NULLIF(public.trap(), '')::regclass $f$;
"""


@pytest.fixture
def fresh(postgres: Postgres) -> Iterator[Postgres]:
    """A database of its own in which a stranger may create in `public`, and has."""
    postgres.execute(f"DROP ROLE IF EXISTS {STRANGER}; CREATE ROLE {STRANGER} LOGIN PASSWORD 'x'")
    pool = Database(postgres.settings())
    for sql in ("DROP DATABASE IF EXISTS trapped", "CREATE DATABASE trapped"):
        asyncio.run(pool.run(sql))
    yield postgres
    asyncio.run(pool.run("DROP DATABASE trapped WITH (FORCE)"))
    postgres.execute(f"DROP ROLE {STRANGER}")
    pool.close()


def execute(database: Database, sql: str, **parameters: Any) -> list[dict[str, Any]]:
    """Execute statements as whoever the pool's user is, with his own search_path."""
    with database.transaction() as run:
        run("SET LOCAL search_path TO DEFAULT")
        return run(sql, **parameters)


def applied(database: Database, **options: Any) -> list[str]:
    """Migrate; the names of what was applied now."""
    return [step.name for step in migrate(database, **options) if step.applied_now]


TABLE = (
    "CREATE TABLE {} (number varchar(10), name varchar, ip varchar, secret varchar,"
    " active boolean, balance numeric)"
)


@pytest.fixture
def trapped(fresh: Postgres) -> Iterator[Database]:
    """Our schema in that database, migrated and used among the stranger's traps."""
    owner = Database(fresh.settings(postgres_db="trapped"))
    execute(owner, TABLE.format("public.enterprises"))
    execute(
        owner,
        "INSERT INTO enterprises VALUES ('0367', 'june', '192.0.2.10', :s, true)",
        s=SECRET,
    )
    execute(owner, "CREATE TABLE public.caught (who text, what text)")
    execute(owner, "GRANT INSERT ON public.caught TO PUBLIC")
    execute(owner, f"GRANT CREATE ON SCHEMA public TO {STRANGER}")
    stranger = Database(
        fresh.settings(postgres_db="trapped", postgres_user=STRANGER, postgres_password="x")
    )
    execute(stranger, TRAPS)
    yield owner
    owner.close()


def caught(database: Database) -> list[dict[str, Any]]:
    """What ran the stranger's code."""
    return execute(database, "SELECT * FROM public.caught")


def test_the_traps_would_catch(trapped: Database) -> None:
    """They do, where nothing is pinned: else the next test would prove nothing."""
    execute(trapped, "SELECT format('%s', x.number) FROM enterprises x")
    execute(trapped, "SELECT btrim(x.number) FROM enterprises x WHERE x.secret = 'a'::varchar")
    execute(trapped, "SELECT clock_timestamp() - make_interval(secs => 1)")
    assert {row["who"] for row in caught(trapped)} == {"postgres"}
    assert len(caught(trapped)) >= 4


async def test_a_stranger_in_public_runs_nothing_as_the_service(
    trapped: Database, start: Services
) -> None:
    """Nothing that he has defined runs, nothing that he has put before ours is read.

    Migrating, readiness, the operator's list, a call, its reading, its end, the sweep.
    """
    await asyncio.to_thread(applied, trapped)
    await check_schema(trapped)
    assert [one.number for one in await list_enterprises(trapped)] == ["0367"]
    service = await start(POSTGRES_DB="trapped")
    execute(trapped, "UPDATE public.enterprises SET ip = '127.0.0.1'")
    placed = await service.call()
    assert placed.status_code == 200
    path = f"/api/calls/{placed.json()['call_id']}"
    answers = [
        await service.http.get(path),
        await service.http.get("/api/calls"),
        await service.monitor(),
        await service.http.get("/api/extensions/150"),
        await service.http.get("/api/history"),
        await service.http.post(f"{path}/transfer", json={"to": "152"}),
        await service.http.delete(path),
        await service.http.get("/ready"),
    ]
    assert {answer.status_code // 100 for answer in answers} <= {2, 4}
    await trapped.run("SELECT callapi.sweep()")
    assert caught(trapped) == []


def test_every_function_pins_its_search_path(postgres: Postgres) -> None:
    """Whoever calls it, by whatever path: its names are PostgreSQL's own, or written out."""
    rows = postgres.execute(
        "SELECT proname AS name, proconfig AS set FROM pg_proc"
        " WHERE pronamespace = 'callapi'::regnamespace ORDER BY name"
    )
    assert {row["name"]: row["set"] for row in rows} == {
        function.name: ["search_path=pg_catalog, pg_temp"] for function in load_functions()
    }


def test_no_statement_names_a_table_without_its_schema(postgres: Postgres) -> None:
    """Neither in a function nor in Python."""
    root = Path(__file__).parents[2] / "shared"
    functions = [function.template for function in load_functions()]
    modules = [path.read_text("utf-8") for path in sorted(root.rglob("*.py"))]
    wanted = re.compile(
        r"\b(?:FROM|JOIN|INSERT INTO|UPDATE|DELETE FROM|TRUNCATE) ([a-z_]+)\b(?![.(])"
    )
    named = {name for text in functions + modules for name in wanted.findall(text)}
    assert not {"enterprises", "calls", "claims", "migrations", "host_keys"} & named


def test_the_owners_table_is_found_where_it_is(fresh: Postgres) -> None:
    """By the migrating user's search_path, once: what is put before it later changes nothing.

    Once it was moved the functions that name it are written anew.
    """
    owner = Database(fresh.settings(postgres_db="trapped"))
    execute(owner, 'CREATE SCHEMA "my crm"')
    execute(owner, TABLE.format('"my crm".enterprises'))
    execute(owner, """ALTER DATABASE trapped SET search_path = public, "my crm" """)

    def place() -> str:
        (row,) = execute(owner, "SELECT callapi.enterprises_at() AS place")
        return str(row["place"])

    applied(owner)
    assert place() == '"my crm".enterprises'
    execute(owner, TABLE.format("public.enterprises"))
    assert applied(owner) == []
    assert place() == '"my crm".enterprises'
    moved = [
        "function enterprise_of",
        "function enterprises",
        "function enterprises_at",
        "function host_of",
    ]
    assert applied(owner, enterprises="public.enterprises") == moved
    assert place() == "public.enterprises"
    execute(owner, "DROP TABLE public.enterprises")
    assert applied(owner) == moved
    assert place() == '"my crm".enterprises'
    with pytest.raises(NoSuchTable, match=r"There is no table public\.enterprises"):
        applied(owner, enterprises="public.enterprises")
    owner.close()


def test_a_name_that_could_end_a_functions_text_is_refused(fresh: Postgres) -> None:
    """A `$` in a schema's name would."""
    owner = Database(fresh.settings(postgres_db="trapped"))
    execute(owner, 'CREATE SCHEMA "a$f$"')
    execute(owner, TABLE.format('"a$f$".enterprises'))
    execute(owner, """ALTER DATABASE trapped SET search_path = "a$f$" """)
    with pytest.raises(NoSuchTable, match=r"must have no \$"):
        applied(owner)
    owner.close()


# The service's own role


def grant(postgres: Postgres, *, service: str = SERVICE) -> None:
    """Apply deploy/grants.sql as its head says."""
    script = postgres.folder / "grants.sql"  # PostgreSQL's own user may not read ours
    script.write_bytes(GRANTS.read_bytes())
    script.chmod(0o644)
    address = f"host=127.0.0.1 port={postgres.port} user=postgres password='{postgres.password}'"
    postgres.run_program("psql", "-q", "-X", address, "-v", f"service={service}", "-f", script)


@pytest.fixture
async def least(postgres: Postgres) -> AsyncIterator[Database]:
    """The service's role with what deploy/grants.sql gives it; twice, which changes nothing."""
    seed(postgres)
    postgres.execute("ALTER TABLE enterprises ADD COLUMN IF NOT EXISTS balance numeric DEFAULT 100")
    await asyncio.to_thread(grant, postgres)
    await asyncio.to_thread(grant, postgres)
    postgres.execute(f"ALTER ROLE {SERVICE} PASSWORD '{SERVICE}'")
    pool = Database(postgres.settings(postgres_user=SERVICE, postgres_password=SERVICE))
    yield pool
    pool.close()
    postgres.execute(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = :user", user=SERVICE
    )
    postgres.execute(f"DROP OWNED BY {SERVICE}; DROP ROLE {SERVICE}")
    postgres.execute("ALTER TABLE enterprises DROP COLUMN balance")


ROLE: dict[str, Any] = {"POSTGRES_USER": SERVICE, "POSTGRES_PASSWORD": SERVICE}


async def test_the_service_needs_no_more_than_its_grants(least: Database, start: Services) -> None:
    """All that the service does it does with that role.

    Placing, following to the end, reading, history, monitoring, transfer, hang-up, the sweep.
    """
    service = await follow(start, 0.2, **ROLE)
    assert (await service.http.get("/ready")).status_code == 200
    await reach(service, await place(service, "154", BUSY), "ended")
    call_id = await place(service, "154", TALKS_ON)
    await reach(service, call_id, "talking")
    assert (await service.http.get("/api/calls", params={"source": "pbx"})).status_code == 200
    moved = await service.http.post(f"/api/calls/{call_id}/transfer", json={"to": "151"})
    assert moved.json()["success"] is True
    assert (await service.http.delete(f"/api/calls/{call_id}")).status_code == 200
    await reach(service, call_id, "ended")
    assert len((await service.http.get("/api/history")).json()["calls"]) >= 1
    assert (await service.monitor()).status_code == 200
    assert (await service.call(secret="nobody's")).status_code == 401
    await least.run("SELECT callapi.sweep()")
    assert "42501" not in service.log()


async def test_sessions_of_the_role_end_when_they_rest(least: Database) -> None:
    """And whoever sets nothing has what the service sets (POSTGRES_SESSION=role)."""
    rows = await least.run(
        "SELECT array_agg(x ORDER BY x) AS has FROM pg_roles r, unnest(r.rolconfig) x"
        " WHERE r.rolname = :role",
        role=SERVICE,
    )
    assert rows[0]["has"] == [
        "idle_session_timeout=300s",
        "search_path=pg_catalog, pg_temp",
        "statement_timeout=4500ms",
    ]


@pytest.mark.parametrize(
    "statement",
    [
        "SELECT balance FROM public.enterprises",
        "SELECT * FROM public.enterprises",
        "UPDATE public.enterprises SET active = true",
        "CREATE TABLE callapi.mine ()",
        "CREATE OR REPLACE FUNCTION callapi.rights() RETURNS void LANGUAGE sql AS ''",
        "INSERT INTO callapi.enterprise_rules (enterprise) VALUES ('0367')",
        "UPDATE callapi.enterprise_rules SET dialling = true",
        "UPDATE callapi.cursor_key SET key = 'known'",
        "UPDATE callapi.host_keys SET key = 'ssh-ed25519 AAAA'",
        "DELETE FROM callapi.host_keys",
        "DELETE FROM callapi.calls",
        "INSERT INTO callapi.audit DEFAULT VALUES",
        "UPDATE callapi.audit SET actor = 'somebody else'",
        "DELETE FROM callapi.audit",
        "UPDATE callapi.call_events SET call = NULL",
        "DELETE FROM callapi.functions",
        "TRUNCATE callapi.claims",
    ],
)
async def test_what_is_not_granted_is_refused(least: Database, statement: str) -> None:
    """The user's other columns, the schema, an operator's rules, pinned keys, what happened."""
    with pytest.raises(AccessRefused, match=UNAVAILABLE):
        await least.run(statement)


def test_every_table_has_its_rights(postgres: Postgres) -> None:
    """Whoever adds one has to say in callapi.rights() what the service does with it."""
    tables = postgres.execute(
        "SELECT tablename FROM pg_tables WHERE schemaname = 'callapi' ORDER BY 1"
    )
    named = postgres.execute("SELECT relation FROM callapi.rights() ORDER BY 1")
    assert {row["relation"] for row in named} == {row["tablename"] for row in tables}


def test_every_table_is_accounted_for(postgres: Postgres) -> None:
    """docs/security.md says of each table of ours what it has of whom, but for the schema's own."""
    tables = postgres.execute(
        "SELECT tablename FROM pg_tables WHERE schemaname = 'callapi' ORDER BY 1"
    )
    named = {row["tablename"] for row in tables} - {"migrations", "functions"}
    docs = (GRANTS.parents[1] / "docs" / "security.md").read_text("utf-8")
    _, _, kept = docs.partition("## What is kept")
    assert named <= set(re.findall(r"[a-z_]+", kept))


@pytest.mark.parametrize(
    ("harm", "named"),
    [
        ("REVOKE UPDATE ON callapi.claims FROM", "no UPDATE on callapi.claims"),
        ("REVOKE INSERT, SELECT ON callapi.calls FROM", "no SELECT on callapi.calls, no INSERT"),
        ("REVOKE SELECT (ip) ON enterprises FROM", "permission denied for table enterprises"),
        ("REVOKE USAGE ON SCHEMA callapi FROM", "permission denied for schema callapi"),
    ],
)
async def test_a_missing_right_is_named_in_one_sentence(
    least: Database,
    start: Services,
    capsys: pytest.CaptureFixture[str],
    harm: str,
    named: str,
) -> None:
    """By `/ready`, and by `check`, with the file that grants it."""
    service = await start(**ROLE)
    start.postgres.execute(f"{harm} {SERVICE}")
    answer = await service.http.get("/ready")
    assert (answer.status_code, answer.json()["code"]) == (503, "database-unavailable")
    assert named in answer.json()["detail"]
    assert answer.json()["detail"].endswith("Apply deploy/grants.sql")
    assert await asyncio.to_thread(main, ["check"]) == 1
    (line,) = [line for line in capsys.readouterr().out.splitlines() if "schema" in line][:1]
    assert named in line
    assert "Apply deploy/grants.sql" in line


async def test_migrating_as_the_service_says_who_may(
    least: Database, start: Services, capsys: pytest.CaptureFixture[str]
) -> None:
    """What is up to date needs no right; what has to change is refused in one line."""
    await start(**ROLE)
    assert await asyncio.to_thread(main, ["migrate"]) == 0
    start.postgres.execute("UPDATE callapi.functions SET digest = 'old' WHERE name = 'tell'")
    assert await asyncio.to_thread(main, ["migrate"]) == 1
    assert "run it as the owner" in capsys.readouterr().err
    start.postgres.prepare()


async def test_the_panel_changes_what_it_was_given_rights_to(
    least: Database, start: Services, postgres: Postgres
) -> None:
    """With the service's grants it reads and is refused in a sentence; two more let it change."""
    panel = await start(**ROLE, ADMIN_TOKEN=TOKEN)
    more = re.findall(r"^GRANT .*;$", SECURITY.read_text("utf-8"), re.MULTILINE)
    assert len(more) == 2
    async with browser(panel) as http:
        visitor = await visit(http)
        for path in ("", "/hosts", "/enterprises", "/enterprise?number=0367", "/services"):
            await visitor.see(path)
        form = {"number": "0367", "typed": "0367"}
        for action in ("stop-dialling", "add-key"):
            refused = await visitor.send(f"/do/{action}", **form)
            assert refused.status_code == 503
            assert "may not change this" in refused.text
        for statement in more:
            postgres.execute(statement.replace("calls_service", SERVICE))
        assert (await visitor.send("/do/stop-dialling", **form)).status_code == 303
        assert (await visitor.send("/do/let-dial", **form)).status_code == 303
        assert (await visitor.send("/do/add-key", **form, name="crm")).status_code == 200
        assert (await visitor.send("/do/end-key", **form, key="crm")).status_code == 303
        key = fingerprint(panel.pbx.host_key.export_public_key().decode())
        for _ in range(2):  # to pin one, and in the place of another
            done = await visitor.send("/do/accept-key", host="127.0.0.1", fingerprint=key)
            assert done.status_code == 303
