"""A client that is generated from OpenAPI places a call, and reads what became of it."""

from __future__ import annotations

import importlib
import subprocess
import sys
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.describe import WRITTEN
from tests.integration.followed import BUSY, NO_ANSWER, follow
from tests.integration.service import PHONE, SECRET, Service, Services

pytestmark = pytest.mark.anyio

_NAME = "generated_calls_client"


@pytest.fixture(scope="module")
def generated(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a client, of which the generator has left out nothing."""
    folder = tmp_path_factory.mktemp("generated")
    config = folder / "config.yaml"
    config.write_text("post_hooks: []\n", "utf-8")
    done = subprocess.run(
        [
            *(sys.executable, "-m", "openapi_python_client", "generate", "--meta", "none"),
            *("--path", str(WRITTEN), "--output-path", str(folder / _NAME)),
            *("--config", str(config), "--fail-on-warning"),
        ],
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return folder


@pytest.fixture
def load(generated: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Load one of the client's modules."""
    monkeypatch.syspath_prepend(str(generated))
    return lambda name: importlib.import_module(f"{_NAME}.{name}")


async def test_a_generated_client_places_a_call_and_finds_it(service: Service, load: Any) -> None:
    """It knows the secret's place, the answers' types, and a failure's code."""
    module = load("client")
    transport = {"transport": httpx.ASGITransport(service.app)}
    client = module.AuthenticatedClient("http://service", SECRET, httpx_args=transport)
    order = load("models").NewCall(from_="150", to=PHONE)
    placed = await load("api.calls.create_call").asyncio(client=client, body=order)
    assert (placed.success, placed.phase, placed.to_phone) == (True, "accepted", PHONE)

    one = load("api.following.get_call")
    state = await one.asyncio(placed.call_id, client=client)
    assert (str(state.call_id), state.from_, state.phase) == (placed.call_id, "150", "accepted")
    listed = await load("api.following.list_calls").asyncio(client=client)
    assert [str(call.call_id) for call in listed.calls] == [placed.call_id]
    events = await load("api.following.list_events").asyncio(client=client, after=0)
    assert events.events[0].call.call_id == state.call_id

    stranger = module.AuthenticatedClient("http://service", "nobody", httpx_args=transport)
    refused = await one.asyncio_detailed(placed.call_id, client=stranger)
    assert refused.parsed.code == "invalid-client-id"


async def test_a_generated_client_follows_a_call_and_lists_everything(
    start: Services, load: Any
) -> None:
    """By waiting for each next phase; of several pages each call once, of the feed each event."""
    service = await follow(start)
    transport = {"transport": httpx.ASGITransport(service.app)}
    client = load("client").AuthenticatedClient("http://service", SECRET, httpx_args=transport)
    create, models = load("api.calls.create_call"), load("models")
    placed = []
    for number in (BUSY, NO_ANSWER):
        order = models.NewCall(from_="150", to=number)
        placed.append((await create.asyncio(client=client, body=order)).call_id)
    get, ends = load("api.following.get_call"), []
    for call_id in placed:
        state = await get.asyncio(call_id, client=client)
        while state.phase != "ended":
            phase = load("models.get_call_phase_type_0").GetCallPhaseType0(state.phase)
            state = await get.asyncio(call_id, client=client, wait=20, phase=phase)
        ends.append((state.reason, state.customer.talk_s))
    assert ends == [("busy", 0), ("no_answer", 0)]

    listed, cursor = [], None
    while True:
        page = await load("api.following.list_calls").asyncio(client=client, limit=1, cursor=cursor)
        listed += [str(call.call_id) for call in page.calls]
        if (cursor := page.next_) is None:
            break
    assert listed == placed[::-1]
    told, after = [], 0
    while events := await load("api.following.list_events").asyncio(
        client=client, after=after, limit=3
    ):
        told += [(str(event.call.call_id), event.call.phase) for event in events.events]
        if not events.events:
            break
        after = events.next_
    assert [call_id for call_id, phase in told if phase == "ended"] == placed


def test_a_generated_client_takes_words_that_are_to_come(load: Any) -> None:
    """A phase, a code, a type of event that it was not generated with."""
    events = load("models").Events.from_dict(
        {
            "events": [{"seq": 1, "type": "call.recorded", "at": "2026-11-26T09:00:00Z"}],
            "next": 1,
        }
    )
    assert events.events[0].type_ == "call.recorded"
    told = {"title": "x", "status": 409, "detail": "x", "code": "to-come", "request_id": "x"}
    assert load("models").Problem.from_dict(told).code == "to-come"
