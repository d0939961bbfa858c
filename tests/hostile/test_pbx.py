"""A hostile PBX costs little memory, and only its own calls."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import anyio
import httpx
import pytest

from demo.standin import StandIn
from shared.errors import PbxError, _tree
from tests.hostile.pbx import Hostile
from tests.integration.service import (
    SECRET,
    SSH_PASSWORD,
    TIME_SCALE,
    Process,
    environment,
    run_process,
    until,
)
from tests.postgres import Postgres

pytestmark = pytest.mark.anyio

HOSTILE_SECRET = "hostile-7f2b9c40d1"
# What one host may cost, of all that the service keeps: 32 MB.
MOST_KB = 32 * 1024
CODES = {error.code for error in _tree(PbxError)}

AT_LOG_IN = (
    *("an identification without an end", "lines before the identification"),
    *("an identification byte by byte", "an identification that is no text"),
    *("packets of no kind", "every byte by itself", "banners at log-in"),
    *("ignored packets at log-in", "prompts", "rounds of prompts"),
)
OF_ASTERISK = (
    *("no banner", "a banner without an end", "a reply without an end", "newlines"),
    *("acknowledgements", "channels", "a reply that waits"),
    *("ignored packets later", "requests later"),
)
BY_EXEC = ("a command's output", "a command's errors")
OF_FILES = (
    *("an SFTP packet without an end", "SFTP extensions", "more of a file than was asked for"),
    *("answers to other questions", "a byte of a file at a time", "a file beyond all sizes"),
    *("short records", "garbage in the place of a file", "a file without an end"),
)


@dataclass
class Ground:
    """A service's process, a host that it can trust, and one that it cannot."""

    process: Process
    http: httpx.AsyncClient
    good: StandIn
    hostile: Hostile
    _phones: itertools.count[int] = field(default_factory=itertools.count)

    async def call(self, secret: str = SECRET) -> httpx.Response:
        """Ask for a call that nobody has asked for yet."""
        phone = f"+3752900{next(self._phones):05}"
        return await self._get("/api/makecallexternal", secret, code="150", phone=phone)

    async def history(self, secret: str = SECRET) -> httpx.Response:
        """Ask for the host's history."""
        return await self._get("/api/history", secret)

    async def _get(self, path: str, secret: str, **params: str) -> httpx.Response:
        headers = {"Authorization": f"Bearer {secret}"}
        return await self.http.get(path, params=params, headers=headers)

    def memory_kb(self, name: str) -> int:
        """Read a line of what the kernel knows of the process's memory."""
        status = Path(f"/proc/{self.process.process.pid}/status").read_text()
        return int(next(line.split()[1] for line in status.splitlines() if line.startswith(name)))

    def forget_peak(self) -> None:
        """Let the kernel measure the largest memory from now on."""
        Path(f"/proc/{self.process.process.pid}/clear_refs").write_text("5")


@pytest.fixture(scope="module")
async def ground(
    postgres: Postgres, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Ground]:
    """Start them all once: hosts that differ by their address, at one port."""
    postgres.clear()
    postgres.seed_enterprise("0367", "june", "127.0.0.2", SECRET)
    postgres.seed_enterprise("0666", "hostile", "127.0.0.1", HOSTILE_SECRET)
    async with Hostile().listening() as hostile:
        good = StandIn(
            host="127.0.0.2", port=hostile.port, password=SSH_PASSWORD, time_scale=TIME_SCALE
        )
        settings = environment(postgres, hostile.port, "") | {
            "SSH_HOST_KEYS": "off",
            "SSH_CONNECT_TIMEOUT_S": "6",
            "COMMAND_TIMEOUT_S": "6",
            "REQUEST_TIMEOUT_S": "12",
            "PBX_RETRY_S": "0.05",
            "UNKNOWN_HOLD_S": "20",
        }
        folder = tmp_path_factory.mktemp("hostile")
        async with (
            good,
            run_process(folder, settings) as process,
            httpx.AsyncClient(
                base_url=process.url, timeout=60, limits=httpx.Limits(max_keepalive_connections=0)
            ) as http,
        ):
            grounded = Ground(process, http, good, hostile)
            for ask in (grounded.call, grounded.history):
                for _ in range(20):  # what a process takes once
                    assert (await ask()).status_code == 200
            yield grounded


def is_going_on(hostile: Hostile, sent: int) -> bool:
    """Tell whether a host has sent more than this."""
    return hostile.sent > sent


async def flooded(
    ground: Ground, does: str, ask: Callable[[str], Awaitable[httpx.Response]]
) -> list[httpx.Response]:
    """Have a host do its worst, again and again, while calls of another one are placed."""
    await ground.hostile.end()
    ground.hostile.does = does
    ground.forget_peak()
    before_kb = ground.memory_kb("VmRSS")
    answers: list[httpx.Response] = []
    is_enough = False

    async def ask_on() -> None:
        while not (is_enough and answers):
            answers.append(await ask(HOSTILE_SECRET))

    # A page of a history is megabytes of rows: however many ask, one is read at a time.
    askers = 3 if does in OF_FILES else 2
    asking = asyncio.gather(*(ask_on() for _ in range(askers)))
    try:
        for _ in range(3):
            if does in BY_EXEC:  # those that a log-in runs
                await ground.hostile.end()
            sent = ground.hostile.sent
            if does != "no banner":
                await until(partial(is_going_on, ground.hostile, sent))
            placed = await ground.call()
            assert placed.status_code == 200, placed.text
            assert not asking.done()  # the other call was placed in the midst of it
            health = await ground.http.get("/health")
            assert health.status_code == 200
    finally:
        is_enough = True
        with anyio.fail_after(60):
            await asking
    assert ground.memory_kb("VmHWM") - before_kb < MOST_KB
    await ground.hostile.end()
    ground.hostile.does = ""
    with anyio.fail_after(60):
        await ask(HOSTILE_SECRET)  # whatever it says: nothing of it hangs
    assert "Traceback" not in ground.process.output.read_text()
    return answers


def check_problems(answers: list[httpx.Response]) -> None:
    """Each is an error of a PBX, by a code that the README explains."""
    problems: list[dict[str, Any]] = [answer.json() for answer in answers]
    assert {problem.get("code") for problem in problems} <= CODES, problems[0]


@pytest.mark.parametrize("does", AT_LOG_IN)
async def test_who_floods_a_log_in_is_cut_off(ground: Ground, does: str) -> None:
    """Nothing was dialled, the answer says, and other hosts' calls are placed meanwhile."""
    answers = await flooded(ground, does, ground.call)
    # A log-in byte by byte may come to its end; then this host knows no extension.
    check_problems([answer for answer in answers if answer.status_code != 422])
    assert {answer.json()["dialled"] for answer in answers} == {"no"}


@pytest.mark.parametrize("does", [*OF_ASTERISK, *BY_EXEC])
async def test_who_floods_an_exchange_is_cut_off(ground: Ground, does: str) -> None:
    """Whatever stands in the place of an answer has an end, here."""
    answers = await flooded(ground, does, ground.call)
    if does in BY_EXEC:
        assert all(answer.status_code in {200, 422, 500} for answer in answers)
    else:  # what acknowledges everything and knows no extension is an answer
        known = [answer for answer in answers if answer.status_code != 422]
        check_problems(known)


@pytest.mark.parametrize("does", OF_FILES)
async def test_who_floods_a_file_is_cut_off(ground: Ground, does: str) -> None:
    """A page of history is made of what was asked for, or is an error; never of more."""
    answers = await flooded(ground, does, ground.history)
    # Whoever waits for another page of the same enterprise too long is 429.
    read = [answer for answer in answers if answer.status_code != 429]
    assert {answer.status_code for answer in read} <= {200, 500}, read[0].text
    check_problems([answer for answer in read if answer.status_code != 200])
    if does in {"short records", "a file without an end"}:
        assert {answer.status_code for answer in read} == {200}, read[0].text
