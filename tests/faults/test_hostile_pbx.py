"""A hostile PBX beside a real one: the real one's calls are placed, and followed to their end."""

from __future__ import annotations

import asyncio
from pathlib import Path

import httpx
import pytest

from tests.hostile.pbx import Hostile
from tests.pbx.lab import Lab
from tests.pbx.service import SECRET, Client, Phones, environment, run_process
from tests.postgres import Postgres

pytestmark = pytest.mark.anyio

HOSTILE = "127.0.0.2"
HOSTILE_SECRET = "hostile-7f2b9c40d1"
CALLS = 3
BUSY = "152"  # after 1.5 s


async def followed(client: Client, number: int) -> str | None:
    """Place a call, and tell why it ended."""
    placed = await client.call(BUSY, f"+3752900006{number:02}")
    assert placed.status_code == 200, placed.text
    url, told = placed.json()["call_status_url"], placed.json()
    while told["phase"] != "ended":
        answer = await client.http.get(
            url, params={"wait": "20", "phase": told["phase"], "clientId": SECRET}
        )
        told = answer.json()
    reason: str | None = told["reason"]
    return reason


@pytest.mark.parametrize(
    "does", ["an identification without an end", "newlines", "channels", "short records"]
)
async def test_a_hostile_pbx_holds_up_nobody_elses_calls(
    lab: Lab, phones: Phones, postgres: Postgres, tmp_path: Path, does: str
) -> None:
    """While it floods, each call of the other one rings once and its end is told truly."""
    postgres.seed_enterprise("0666", "hostile", HOSTILE, HOSTILE_SECRET)
    settings = environment(postgres, lab, SSH_HOST_KEYS="off", PBX_RETRY_S="0.05")
    path = "/api/history" if does == "short records" else "/api/makecallexternal"
    are_placed = asyncio.Event()

    async with (
        Hostile(does).listening(HOSTILE, lab.ssh_port) as hostile,
        run_process(tmp_path, settings) as client,
    ):

        async def ask_on(number: int) -> list[httpx.Response]:
            answers: list[httpx.Response] = []
            while not are_placed.is_set():
                params = {"clientId": HOSTILE_SECRET}
                if path != "/api/history":
                    params |= {"code": "150", "phone": f"+37529{number}{len(answers):06}"}
                answers.append(await client.http.get(path, params=params, timeout=60))
            return answers

        asking = asyncio.gather(ask_on(1), ask_on(2))
        try:
            sent = 0
            for number in range(CALLS):
                async with asyncio.timeout(60):
                    while hostile.sent == sent:
                        assert not asking.done()
                        await asyncio.sleep(0.01)
                sent = hostile.sent
                assert await followed(client, number) == "agent_busy"
        finally:
            are_placed.set()
            answers = await asking
        assert all(answers)
        assert (await phones.in_the_end())[BUSY] == CALLS
