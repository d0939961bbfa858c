"""The doors of events as clients come in: over real connections, each with a list of its own."""

from __future__ import annotations

import asyncio
import importlib
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, TypeAlias

import anyio
import httpx
import pytest
from fastapi import FastAPI
from uvicorn import Config
from uvicorn.server import ServerState
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed

from shared.http.server import BoundedProtocol, server_options
from shared.settings import the_settings
from tests.integration.service import SECRET, Service

BEARER = {"Authorization": f"Bearer {SECRET}"}
Message: TypeAlias = dict[str, Any]
"""An event, as each door tells it, or a heartbeat."""


@dataclass
class Port:
    """Where a service can be reached."""

    port: int

    @property
    def http(self) -> httpx.AsyncClient:
        """A client with the secret in a header; whoever asks closes it."""
        return httpx.AsyncClient(base_url=f"http://127.0.0.1:{self.port}", headers=BEARER)

    def socket(self, query: str = "", **options: Any) -> connect:
        """Open a WebSocket, without a secret unless `additional_headers` have one."""
        options.setdefault("compression", None)
        options.setdefault("max_queue", None)  # with one, a client that is behind closes for 10 s
        return connect(f"ws://127.0.0.1:{self.port}/api/events{query}", **options)

    async def ticket(self, **filters: Any) -> str:
        """Ask for a ticket."""
        async with self.http as http:
            answer = await http.post("/api/events/ticket", json=filters)
        assert answer.status_code == 200, answer.text
        return str(answer.json()["ticket"])


@dataclass
class Served(Port):
    """A service on a port, in the test's own loop."""

    service: Service
    state: ServerState


@asynccontextmanager
async def serving(service: Service, app: FastAPI | None = None) -> AsyncIterator[Served]:
    """Serve a service that runs already, as `python asterisk.py` does, until the block ends."""
    app = app or importlib.import_module("asterisk").app
    config = Config(app, log_config=None, lifespan="off", **server_options(the_settings()))
    config.load()
    state = ServerState()
    server = await asyncio.get_running_loop().create_server(
        lambda: BoundedProtocol(config, state, {}), "127.0.0.1", 0
    )
    try:
        yield Served(server.sockets[0].getsockname()[1], service, state)
    finally:
        server.close()
        for connection in list(state.connections):
            connection.transport.abort()
        with anyio.fail_after(60):
            while state.connections or state.tasks:  # noqa: ASYNC110 - nobody tells
                await anyio.sleep(0.01)


@dataclass
class Heard:
    """What one listener was told, and where it would go on."""

    events: list[Message] = field(default_factory=list)
    after: int = 0
    filters: dict[str, str] = field(default_factory=dict)

    def hear(self, message: Message) -> None:
        """Note an event, or the number of a heartbeat."""
        if message.get("type") == "heartbeat":
            self.after = max(self.after, message["newest"])
            return
        assert message["seq"] > self.after, "nothing is told twice, nor behind what was told"
        self.events.append(message)
        self.after = message["seq"]

    @property
    def numbers(self) -> list[int]:
        """The events' numbers."""
        return [event["seq"] for event in self.events]


Enough: TypeAlias = Callable[[Heard], bool]


async def by_poll(port: Port, heard: Heard, enough: Enough) -> None:
    """Listen by long polls until there is enough."""
    async with port.http as http:
        while not enough(heard):
            params = {"after": str(heard.after), "wait": "5", **heard.filters}
            answer = await http.get("/api/events", params=params, timeout=60)
            assert answer.status_code == 200, answer.text
            for event in answer.json()["events"]:
                heard.hear(event)
            heard.after = answer.json()["next"]


async def by_stream(port: Port, heard: Heard, enough: Enough) -> None:
    """Listen to server-sent events; what they are is read as an EventSource does."""
    headers = {"Accept": "text/event-stream", "Last-Event-ID": str(heard.after)}
    async with (
        port.http as http,
        http.stream(
            "GET", "/api/events", params=heard.filters, headers=headers, timeout=60
        ) as answer,
    ):
        assert answer.status_code == 200, await answer.aread()
        async for block in blocks_of(answer):
            if "data" in block:
                event = json.loads(block["data"])
                assert block["event"] == event["type"]
                assert block["id"] == str(event["seq"])
                heard.hear(event)
            elif "id" in block:
                heard.after = max(heard.after, int(block["id"]))
            if enough(heard):
                return


async def blocks_of(answer: httpx.Response) -> AsyncIterator[dict[str, str]]:
    """Read each block of a stream; `:` is its comment."""
    block: dict[str, str] = {}
    async for line in answer.aiter_lines():
        if line:
            name, _, value = line.partition(":")
            block[name or ":"] = value.removeprefix(" ")
        else:
            yield block
            block = {}


async def by_socket(port: Port, heard: Heard, enough: Enough) -> None:
    """Listen over a WebSocket."""
    async with port.socket() as socket:
        first = {"secret": SECRET, "after": heard.after, **heard.filters}
        await socket.send(json.dumps(first))
        while not enough(heard):
            heard.hear(await message_of(socket))


async def message_of(socket: ClientConnection) -> Message:
    """Read the next message."""
    message: Message = json.loads(await socket.recv())
    return message


async def end_of(socket: ClientConnection) -> tuple[int, list[Message]]:
    """Read until it ends: with which code, and what was told before."""
    told: list[Message] = []
    with anyio.fail_after(60):
        try:
            while True:
                told.append(await message_of(socket))
        except ConnectionClosed:
            return socket.close_code or 0, told


def look_after_streams_often(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let a stream's right and watch be looked at again in moments, and silence be told as soon."""
    monkeypatch.setattr("shared.events.rights._KNOWN_FOR_S", 0.0)
    monkeypatch.setattr("shared.events.listening._LOOKED_AFTER_S", 0.1)
    monkeypatch.setattr("shared.events.listening.HEARTBEAT_S", 0.1)


DOORS = {"poll": by_poll, "stream": by_stream, "socket": by_socket}
