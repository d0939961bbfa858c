"""An operator's commands, on a real PostgreSQL."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from shared.operate.__main__ import main
from shared.operate.hostkeys import fingerprint
from shared.store.database import Database
from shared.store.migrations import SCHEMA, load_functions, load_migrations, migrate
from tests.integration.operating import HOST, Operate
from tests.postgres import PASSWORD, Postgres

ROOT = Path(__file__).parents[2]
KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIMUGAw5QDYEa1qmvhW1TwK9yCRExKLKUnK2qQeUKKRxz"
OTHER_KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIHvSFvI7ekkPFwNoBoWVBa1oI3aLq4IYHRBhsMhcVAAA"


@pytest.fixture
def fresh(postgres: Postgres) -> Iterator[Database]:
    """A database of its own, without any table."""
    pool = Database(postgres.settings())
    for sql in ("DROP DATABASE IF EXISTS fresh", "CREATE DATABASE fresh"):
        asyncio.run(pool.run(sql))
    yield Database(postgres.settings(postgres_db="fresh"))
    asyncio.run(pool.run("DROP DATABASE fresh WITH (FORCE)"))
    pool.close()


def test_migrations_are_numbered_without_gaps() -> None:
    """Files are applied in the order of their numbers; the first one stands for those up to it."""
    versions = [migration.version for migration in load_migrations()]
    assert versions == list(range(3, 3 + len(versions)))
    assert len(versions) == len(list(SCHEMA.glob("*.sql")))


def test_migrate_says_what_it_did(fresh: Database, operate: Operate) -> None:
    """The first run applies every migration and function, a line for each; the second none."""
    names = [migration.name for migration in load_migrations()]
    names += [f"function {function.name}" for function in load_functions()]
    assert operate("migrate", POSTGRES_DB="fresh") == (
        0,
        "".join(f"{name}: applied\n" for name in names),
        "",
    )
    assert operate("migrate", POSTGRES_DB="fresh") == (
        0,
        f"Schema callapi is up to date: {len(names)} files\n",
        "",
    )


def test_two_migrations_at_once_are_one(fresh: Database) -> None:
    """Two operators, or two instances that start together, apply each migration once."""
    applied: list[str] = []
    failed: list[BaseException] = []

    def run() -> None:
        try:
            applied.extend(step.name for step in migrate(fresh) if step.applied_now)
        except BaseException as error:  # noqa: BLE001 - a thread's failure is the test's
            failed.append(error)

    threads = [threading.Thread(target=run) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failed == []
    assert len(applied) == len(set(applied))
    assert len(applied) == len([*load_migrations(), *load_functions()])


def test_a_failed_migration_leaves_nothing(fresh: Database, tmp_path: Path) -> None:
    """Each file is all or nothing; those before it stay."""
    first = next(load_migrations())
    (tmp_path / f"{first.name}.sql").write_text(first.sql, "utf-8")
    (tmp_path / "004_broken.sql").write_text("CREATE TABLE callapi.half (); SELECT 1/0;")
    with pytest.raises(Exception, match="22012"):
        list(migrate(fresh, tmp_path))
    with fresh.transaction() as execute:
        assert execute("SELECT version FROM callapi.migrations") == [{"version": 3}]
        assert execute("SELECT to_regclass('callapi.half') AS half") == [{"half": None}]


def test_a_database_away_is_one_line(operate: Operate) -> None:
    """The line names the server and the reason, not the password."""
    code, out, err = operate("migrate", POSTGRES_PORT="1")
    assert (code, out) == (1, "")
    assert err.startswith("PostgreSQL 127.0.0.1:1/postgres is unavailable: ConnectionRefusedError")
    assert err.count("\n") == 1
    assert PASSWORD not in err


def test_a_wrong_setting_is_one_line(operate: Operate) -> None:
    """A setting that cannot be read is named."""
    code, _, err = operate("migrate", POSTGRES_PORT="high")
    assert code == 1
    assert "POSTGRES_PORT" in err
    assert err.count("\n") == 1


def test_a_user_without_rights_reads_what_helps(
    postgres: Postgres, fresh: Database, operate: Operate
) -> None:
    """Who may not create the schema is told what its owner has to do, and that is enough."""
    postgres.execute("DROP ROLE IF EXISTS limited; CREATE ROLE limited LOGIN PASSWORD 'limited'")
    limited = {
        "POSTGRES_DB": "fresh",
        "POSTGRES_USER": "limited",
        "POSTGRES_PASSWORD": "limited",
    }
    code, _, err = operate("migrate", **limited)
    assert code == 1
    assert "CREATE SCHEMA callapi AUTHORIZATION limited" in err
    assert err.count("\n") == 1
    with fresh.transaction() as execute:
        execute("CREATE SCHEMA callapi AUTHORIZATION limited")
    assert operate("migrate", **limited)[0] == 0


def test_the_schema_is_missing_before_migrate(fresh: Database, operate: Operate) -> None:
    """Other commands say what to run first."""
    code, _, err = operate("host-keys", POSTGRES_DB="fresh")
    assert (code, err) == (1, "Database schema callapi is missing: run ./asterisk.sh migrate\n")


def test_a_host_key_is_accepted_listed_and_forgotten(operate: Operate) -> None:
    """A changed key is the operator's decision, and each step shows fingerprints."""
    assert operate("host-keys")[1] == "No host key is pinned yet\n"
    assert operate("accept-host-key", HOST, KEY)[1] == (
        f"Accepted {HOST}:5059 {fingerprint(KEY)}\n"
    )
    assert operate("accept-host-key", HOST, f"{HOST} {OTHER_KEY} root@pbx")[1] == (
        f"Accepted {HOST}:5059 {fingerprint(OTHER_KEY)} instead of {fingerprint(KEY)}\n"
    )
    assert operate("host-keys")[1].startswith(
        f"{HOST}:5059 ssh-ed25519 {fingerprint(OTHER_KEY)} pinned "
    )
    code, _, err = operate("forget-host-key", HOST, "--port", "22")
    assert (code, err) == (1, f"No key of {HOST}:22 is pinned\n")
    code, out, _ = operate("forget-host-key", HOST)
    assert code == 0
    assert out.startswith(f"Forgot {HOST}:5059 {fingerprint(OTHER_KEY)}\n")
    assert operate("host-keys")[1] == "No host key is pinned yet\n"


def test_a_fingerprint_is_ssh_keygens() -> None:
    """It is the text that an administrator sees on the PBX itself."""
    assert fingerprint(KEY) == "SHA256:03wredCy1S0L0zzD3qPEf0WtIEydakRI5myZYvbVqY4"


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["unknown"],
        ["accept-host-key", HOST, "ssh-ed25519"],
        ["accept-host-key", HOST, "ssh-rsa AAAAC3NzaC1lZDI1NTE5AAAAIMUGAw5QDYEa1qmvhW1TwK9y"],
        ["accept-host-key", HOST, "ssh-ed25519 not/base64=="],
        ["forget-host-key", HOST, "--port", "0"],
        ["forget-host-key", HOST, "--port", "70000"],
    ],
)
def test_a_wrong_command_line_is_refused(
    arguments: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    """Exit code 2 and the usage, before any database is asked."""
    with pytest.raises(SystemExit) as ended:
        main(arguments)
    assert ended.value.code == 2
    assert "usage: python -m shared.operate" in capsys.readouterr().err


@pytest.mark.parametrize("arguments", [("sweep",), ("migrate", "--sweep")])
def test_sweep_removes_only_what_means_nothing(
    postgres: Postgres, operate: Operate, arguments: tuple[str, ...]
) -> None:
    """Claims and limits that expired over a day ago go; younger ones and all calls stay.

    As `start` and `restart` ask for it, after the migrations.
    """
    postgres.execute(
        "INSERT INTO callapi.claims SELECT '1', 'same:' || age, gen_random_uuid(), '', "
        "clock_timestamp() - age * interval '1 hour' FROM unnest(ARRAY[-1, 1, 25]) age;"
        "INSERT INTO callapi.rate_limits SELECT 'x:' || age, "
        "clock_timestamp() - age * interval '1 hour' FROM unnest(ARRAY[-1, 1, 25]) age"
    )
    status, said, errors = operate(*arguments)
    assert (status, said.splitlines()[-1], errors) == (0, "Removed 2 expired rows", "")
    rows = postgres.execute("SELECT key FROM callapi.claims ORDER BY key")
    assert [row["key"] for row in rows] == ["same:-1", "same:1"]


def test_it_is_a_program() -> None:
    """`python -m shared.operate --help` names every command."""
    done = subprocess.run(
        [sys.executable, "-m", "shared.operate", "--help"],
        cwd=ROOT,
        check=True,
        capture_output=True,
        text=True,
    )
    commands = (
        "check",
        "migrate",
        "host-keys",
        "forget-host-key",
        "accept-host-key",
        "rules",
        "sweep",
    )
    assert all(f"    {command}" in done.stdout for command in commands)


# Rules

NONE = "No rules for enterprise 0367\n"


def test_rules_are_shown_set_and_cleared(operate: Operate) -> None:
    """Each option replaces its own list and leaves the others; an empty list clears it."""
    assert operate("rules", "0367") == (0, NONE, "")
    both = ("--allowed", "+375", "8029", "--extensions", "150", "151")
    assert operate("rules", "0367", *both)[1] == (
        "enterprise 0367: dialling on\n"
        "  allowed: +375 8029\n"
        "  denied: none\n"
        "  extensions: 150 151\n"
        "  audit: operators only\n  webhooks: operators only\n"
    )
    assert operate("rules", "0367", "--denied", "+7", "--allowed", "+48")[1] == (
        "enterprise 0367: dialling on\n  allowed: +48\n  denied: +7\n  extensions: 150 151\n"
        "  audit: operators only\n  webhooks: operators only\n"
    )
    assert operate("rules", "0367", "--allowed", "--extensions", "--denied")[1] == (
        "enterprise 0367: dialling on\n  allowed: all\n  denied: none\n  extensions: not named\n"
        "  audit: operators only\n  webhooks: operators only\n"
    )


def test_dialling_is_stopped_and_started(operate: Operate) -> None:
    """The switch keeps the lists; showing changes nothing."""
    operate("rules", "0367", "--denied", "+7")
    stopped = operate("rules", "0367", "--dialling", "off")
    assert stopped[1].startswith("enterprise 0367: dialling STOPPED\n")
    assert operate("rules", "0367") == stopped
    assert "  denied: +7\n" in stopped[1]
    assert operate("rules", "0367", "--dialling", "on")[1].startswith(
        "enterprise 0367: dialling on\n"
    )


def test_rules_are_one_enterprises(operate: Operate) -> None:
    """Another number has its own, and none until somebody sets them."""
    operate("rules", "0368", "--dialling", "off")
    assert operate("rules", "0367")[1] == NONE
    assert operate("rules", "0368", "--allowed")[1].startswith("enterprise 0368: dialling STOPPED")


@pytest.mark.parametrize("options", [[], ["--dialling", "off"], ["--denied", "+7"]])
def test_rules_of_no_enterprise_are_refused(
    operate: Operate, postgres: Postgres, options: list[str]
) -> None:
    """A typing error stops nobody, and says so: exit 1, the nearest numbers, nothing is set."""
    postgres.seed_enterprise("9998", "inactive", HOST, "secret-of-9998", active=False)
    code, out, err = operate("rules", "0376", *options)
    assert (code, out) == (1, "")
    assert err == "There is no enterprise 0376. The nearest are 0368, 0367, 9998\n"
    assert postgres.execute("SELECT * FROM callapi.enterprise_rules") == []
    assert operate("rules", "9998", *options)[0] == 0  # it may be made active again


def test_rules_where_there_is_no_enterprise_at_all(operate: Operate, postgres: Postgres) -> None:
    """Then there is nothing near it either."""
    postgres.clear()
    refused = (1, "", "There is no enterprise 9999. The table has no row\n")
    assert operate("rules", "9999", "--dialling", "off") == refused


def test_a_number_is_trimmed_as_every_request_reads_it(
    operate: Operate, postgres: Postgres
) -> None:
    """The rule is the one that holds for `0367`."""
    postgres.execute("UPDATE enterprises SET number = ' 0367 ' WHERE number = '0367'")
    assert operate("rules", "0367 ", "--dialling", "off")[0] == 0
    rows = postgres.execute("SELECT enterprise, dialling FROM callapi.enterprise_rules")
    assert rows == [{"enterprise": "0367", "dialling": False}]


def test_rules_before_migrate_name_the_command(fresh: Database, operate: Operate) -> None:
    """As every other command does."""
    code, _, err = operate("rules", "0367", "--dialling", "off", POSTGRES_DB="fresh")
    assert (code, err) == (1, "Database schema callapi is missing: run ./asterisk.sh migrate\n")


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["0367", "--dialling"],
        ["0367", "--dialling", "stop"],
        ["0367", "--allowed", "+"],
        ["0367", "--allowed", "++375"],
        ["0367", "--denied", "375%"],
        ["0367", "--denied", "+37 5"],
        ["0367", "--denied", "1" * 21],
        ["0367", "--extensions", "+150"],
        ["0367", "--extensions", "SIP/150"],
        ["0367", "--extensions", "1" * 11],
        ["0367", "0368"],
    ],
)
def test_a_wrong_rule_is_refused(
    operate: Operate, arguments: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    """Exit code 2 and the usage; nothing is set."""
    with pytest.raises(SystemExit) as ended:
        main(["rules", *arguments])
    assert ended.value.code == 2
    assert "usage: python -m shared.operate" in capsys.readouterr().err
    assert operate("rules", "0367")[1] == NONE
