"""An upgrade, as docs/operate.md tells it: processes of both releases on one database."""

from __future__ import annotations

import asyncio
import os
import shutil
import subprocess
import sys
import tarfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import anyio
import httpx
import pytest

from tests.integration.followed import BUSY, TALKS_ON
from tests.integration.service import (
    LIMIT_S,
    PHONE,
    ROOT,
    SECRET,
    Process,
    environment,
    make_pbx,
    run_process,
)
from tests.postgres import Postgres

pytestmark = pytest.mark.anyio

HEADERS = {"Authorization": f"Bearer {SECRET}"}
# asterisk.py, shared and functions of the release before this one, as git archive has them, without
# swagger-ui: whoever releases puts the release's own there.
BEFORE = Path(__file__).parent / "release_before.tar.xz"
# A file that the first release has and this one does without.
OF_FIRST = "shared/schema/003_following.sql"


def git(*arguments: str) -> bytes:
    """Ask the project's own history."""
    if shutil.which("git") is None:
        return b""
    done = subprocess.run(["git", *arguments], cwd=ROOT, capture_output=True, check=False)
    return done.stdout if done.returncode == 0 else b""


@pytest.fixture(params=["release", "first"])
def before(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """The code of the release before this one, or of the first one, from the project's history."""
    folder = tmp_path / "before"
    folder.mkdir()
    if request.param == "release":
        with tarfile.open(BEFORE) as archive:
            # Ours; as a setting, which Python 3.11 before its fourth release does not know.
            archive.extraction_filter = lambda member, _: member
            archive.extractall(folder)
        return folder
    removed = git("log", "-1", "--diff-filter=D", "--format=%H", "--", OF_FIRST).decode().strip()
    packed = git("archive", f"{removed}^") if removed else b""
    if not packed:
        pytest.skip("the first release is not here: it needs git, and git fetch --unshallow")
    subprocess.run(["tar", "-x", "-C", str(folder)], input=packed, check=True)
    assert (folder / OF_FIRST).exists()
    return folder


@pytest.fixture
def server() -> Iterator[Postgres]:
    """A server of the test's own, with `enterprises` and nothing of ours."""
    postgres = Postgres()
    try:
        postgres.start().execute(
            "CREATE TABLE enterprises (number varchar(10) PRIMARY KEY,"
            " name varchar(255), ip varchar(45), secret text, active boolean DEFAULT true)"
        )
        postgres.seed_enterprise("0367", "june", "127.0.0.1", SECRET)
        yield postgres
    finally:
        postgres.stop()


def migrate(code: Path, postgres: Postgres) -> str:
    """Migrate by a release's own command; what it says."""
    done = subprocess.run(
        [sys.executable, "-m", "shared.operate", "migrate"],
        cwd=code,
        env={"PATH": os.environ["PATH"], "PYTHONUTF8": "1"} | postgres.environment(),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@dataclass(frozen=True)
class Client:
    """Somebody who calls by one of the processes."""

    process: Process

    async def ask(self, method: str, path: str, **query: Any) -> httpx.Response:
        """Send a request, on a connection of its own."""
        url = self.process.url
        async with httpx.AsyncClient(base_url=url, headers=HEADERS, timeout=LIMIT_S) as http:
            return await http.request(method, path, params=query)

    async def place(self, code: str, phone: str) -> dict[str, Any]:
        """Place a call, or repeat it."""
        answer = await self.ask("GET", "/api/makecallexternal", code=code, phone=phone)
        assert answer.status_code == 200, answer.text
        body: dict[str, Any] = answer.json()
        return body

    async def read(self, call_id: str) -> dict[str, Any]:
        """Read a call."""
        call: dict[str, Any] = (await self.ask("GET", f"/api/calls/{call_id}")).json()
        return call

    async def reach(self, call_id: str, phase: str) -> dict[str, Any]:
        """Wait until a call is in a phase."""
        with anyio.fail_after(LIMIT_S):
            while (call := await self.read(call_id))["phase"] != phase:  # noqa: ASYNC110 - HTTP
                await anyio.sleep(0.05)
        return call

    async def end(self, call_id: str) -> None:
        """Hang it up."""
        assert (await self.ask("DELETE", f"/api/calls/{call_id}")).status_code == 200


async def test_the_release_before_and_this_one_serve_one_database_at_once(
    server: Postgres, before: Path, tmp_path: Path
) -> None:
    """While calls go on the schema is migrated and the new process begins beside the old one.

    Each places, finds the other's calls, repeats them without dialling and ends them. Once the old
    one has gone the new one follows what it left. No phone rings twice, and each end is told once.
    Afterwards the release before may have its place again, on the schema of this one.
    """
    migrate(before, server)
    async with make_pbx(time_scale=0.2) as pbx:
        settings = environment(server, pbx.port, "")
        async with run_process(tmp_path, settings, name="new") as unready:
            # A release that comes before its schema.
            assert (await Client(unready).ask("GET", "/ready")).status_code == 503
        async with run_process(tmp_path, settings, name="old", code=before) as old_process:
            old = Client(old_process)
            first = (await old.place("154", TALKS_ON))["call_id"]
            await old.reach(first, "talking")
            assert ": applied" in migrate(ROOT, server)
            async with run_process(tmp_path, settings, name="new") as new_process:
                new = Client(new_process)
                assert (await new.ask("GET", "/ready")).status_code == 200
                assert (await new.read(first))["phase"] == "talking"
                by_old, by_new = await asyncio.gather(
                    old.place("150", PHONE), new.place("151", TALKS_ON)
                )
                calls = {first, by_old["call_id"], by_new["call_id"]}
                for other, (code, phone), placed in (
                    (new, ("150", PHONE), by_old),
                    (old, ("151", TALKS_ON), by_new),
                ):
                    repeat = await other.place(code, phone)
                    assert (repeat["call_id"], repeat["repeated"]) == (placed["call_id"], True)
                await new.end(first)
                await old.end(by_new["call_id"])
                last = (await old.place("156", TALKS_ON))["call_id"]
                await old.reach(last, "talking")
                calls.add(last)
                old_process.process.terminate()
                await old_process.process.wait()
                busy = (await new.place("154", BUSY))["call_id"]
                await new.end(last)
                calls.add(busy)
                ends = {call: await new.reach(call, "ended") for call in sorted(calls)}
        migrate(before, server)
        async with run_process(tmp_path, settings, name="back", code=before) as back:
            again = await Client(back).place("154", TALKS_ON)
            await Client(back).reach(again["call_id"], "talking")
            await Client(back).end(again["call_id"])
            await Client(back).reach(again["call_id"], "ended")
            calls.add(again["call_id"])
    assert ends[busy]["reason"] == "busy"
    assert ends[first]["reason"] == "answered"
    assert [pbx.invites[code] for code in ("150", "151", "154", "156")] == [1, 1, 3, 1]
    told = server.execute("SELECT seq, call_id, type, phase FROM callapi.call_events ORDER BY seq")
    ended = [str(event["call_id"]) for event in told if event["phase"] == "ended"]
    assert sorted(ended) == sorted(calls), told
    assert [event["seq"] for event in told] == [*range(1, len(told) + 1)]


_COLUMNS = """
SELECT format('%s.%s %s', table_name, column_name, data_type) AS part,
       is_nullable = 'NO' AND column_default IS NULL AS is_needed
  FROM information_schema.columns WHERE table_schema = 'callapi' ORDER BY 1
"""
_FUNCTIONS = """
SELECT format('%s(%s) %s', p.proname, pg_get_function_identity_arguments(p.oid),
              pg_get_function_result(p.oid)) AS part
  FROM pg_proc p WHERE p.pronamespace = 'callapi'::regnamespace ORDER BY 1
"""


@pytest.mark.parametrize("before", ["release"], indirect=True)
async def test_a_release_only_adds_to_the_schema_of_the_one_before(
    server: Postgres, before: Path
) -> None:
    """No column and no function goes or changes its form, and no row needs more than it did.

    What no code needs any more goes a release later: then the one before does not know it, either.
    """
    migrate(before, server)
    columns = server.execute(_COLUMNS)
    functions = {row["part"] for row in server.execute(_FUNCTIONS)}
    migrate(ROOT, server)
    now = {row["part"]: row["is_needed"] for row in server.execute(_COLUMNS)}
    assert {row["part"] for row in columns} <= now.keys()
    known = {row["part"] for row in columns}
    tables = {part.partition(".")[0] for part in known}
    needed_more = {
        part
        for part, is_needed in now.items()
        if is_needed and part not in known and part.partition(".")[0] in tables
    }
    assert needed_more == set()
    assert functions <= {row["part"] for row in server.execute(_FUNCTIONS)}
