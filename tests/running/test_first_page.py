"""What README.md shows is what happens; docs/ru.md shows the same, as tests/unit proves."""

from __future__ import annotations

import contextlib
import json
import os
import re
import shlex
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from anyio import to_thread

from demo.postgres import free_port
from demo.standin import StandIn
from shared.store.connection import Native
from tests.integration.installed import ROOT, install
from tests.integration.service import SSH_PASSWORD
from tests.postgres import PASSWORD, Postgres
from tests.running.test_script import Script

README = (ROOT / "README.md").read_text("utf-8")
_LIMIT_S = 120.0
# What differs each time.
_OTHERS = {"response_time_ms", "call_id", "call_status_url", "request_id", "errors"}


def blocks(kind: str) -> list[str]:
    """The blocks of a kind that the page shows."""
    return re.findall(rf"^```{kind}\n(.*?)^```$", README, re.MULTILINE | re.DOTALL)


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    """The first command of the page; the port of its service."""
    folder = tmp_path_factory.mktemp("demo")
    install(folder)
    port = free_port()
    said = folder / "said"
    with said.open("wb") as output:
        process = subprocess.Popen(
            ["./asterisk.sh", "demo", "--port", str(port)],
            cwd=folder,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            start_new_session=True,
        )
    end = time.monotonic() + _LIMIT_S
    while f"Play in a browser: http://127.0.0.1:{port}/#demo" not in said.read_text("utf-8"):
        assert time.monotonic() < end, said.read_text("utf-8")
        assert process.poll() is None, said.read_text("utf-8")
        time.sleep(0.05)
    # The phases that the page shows, in their order.
    told = re.findall(r"^ +[0-9.]+ s  (\w+)", said.read_text("utf-8"), re.MULTILINE)
    shown = re.findall(
        r"^ +[0-9.]+ s  (\w+)", (ROOT / "README.md").read_text("utf-8"), re.MULTILINE
    )
    assert told == shown
    yield port
    os.killpg(process.pid, signal.SIGINT)
    process.wait(_LIMIT_S)
    assert "Everything that the demo started is stopped." in said.read_text("utf-8")


def test_the_calls_are_answered_as_shown(demo: int) -> None:
    """Each field that the page shows is there with what it shows, and no other."""
    (block,) = (block for block in blocks("console") if "$ curl" in block)
    asked = re.findall(r"^\$ (curl .*)\n(.*(?:\n .*)*)", block, re.MULTILINE)
    assert len(asked) == 2
    for command, shown in asked:
        _, _, header, url = shlex.split(command)
        name, _, value = header.partition(": ")
        url = url.replace("127.0.0.1:8018", f"127.0.0.1:{demo}")
        answer = {"repeated": True}
        while answer.get("repeated"):  # the demo's own call, or another page's, was just before
            answer = httpx.get(url, headers={name: value}, timeout=30).json()
            time.sleep(0.2 if answer.get("repeated") else 0)
        told = json.loads(re.sub(r"\n +", " ", shown).replace("[...]", "[]"))
        assert told | {name: answer[name] for name in _OTHERS & set(answer)} == answer


@pytest.mark.anyio
async def test_a_real_pbx_is_set_up_as_shown(postgres: Postgres, tmp_path: Path) -> None:
    """The table, the settings, start, check and test: on an empty database, with a PBX to reach."""
    (table,) = blocks("sql")
    (block,) = (block for block in blocks("console") if "$ cat .env" in block)
    install(tmp_path)
    port = free_port()
    paste(postgres, "postgres", "DROP DATABASE IF EXISTS pasted", "CREATE DATABASE pasted")
    async with StandIn(password=SSH_PASSWORD) as pbx:
        own = postgres.environment() | {"POSTGRES_DB": "pasted", "SSH_PASSWORD": SSH_PASSWORD}
        settings, *lines = re.split(r"^\$ ", block, flags=re.MULTILINE)[1:]
        names = re.findall(r"^([A-Z_]+)=", settings, re.MULTILINE)
        assert set(names) <= set(own)
        text = "".join(f"{name}={own[name]}\n" for name in names)
        text += f"POSTGRES_PORT={own['POSTGRES_PORT']}\nSSH_PORT={pbx.port}\nSERVICE_PORT={port}\n"
        (tmp_path / ".env").write_text(text, "utf-8")
        inherited = {name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ}
        script = Script(tmp_path, port, inherited | {"PYTHONUTF8": "1"})
        paste(postgres, "pasted", *table.replace("192.0.2.10", "127.0.0.1").strip().splitlines())
        try:
            said = [await run(script, line) for line in lines]
        finally:
            await run(script, "./asterisk.sh stop")
    assert [status for status, _ in said] == [0, 0, 0], said
    assert "✅ ready to place calls" in said[0][1]
    assert "✅ log-in: the PBX lets us in" in said[1][1]


def paste(postgres: Postgres, database: str, *statements: str) -> None:
    """Execute statements as psql does, each by itself."""
    connection = Native(
        "postgres", host="127.0.0.1", port=postgres.port, password=PASSWORD, database=database
    )
    with contextlib.closing(connection):
        for statement in statements:
            connection.run(statement)


async def run(script: Script, line: str) -> tuple[int, str]:
    """Run a command of the page, beside the loop in which the PBX is."""
    words = shlex.split(re.sub(r"\s+#.*", "", line.strip()))
    assert words[0] == "./asterisk.sh"
    return await to_thread.run_sync(script, *words[1:])
