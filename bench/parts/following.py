"""How late a call's phases are told, beside AMI's own events.

Real Asterisk, real sshd, real PostgreSQL. A client waits for each phase by long polls, as a page
would, two more listen to all events, by long polls and over a WebSocket; beside them a listener
hears Asterisk's events over AMI, which needs a user on the PBX.
"""

from __future__ import annotations

import argparse
import contextlib
import http.client
import json
import socket
import statistics
import threading
import time
from collections.abc import Iterator
from typing import Any
from urllib.parse import urlencode

from websockets.exceptions import ConnectionClosed
from websockets.sync.client import connect

from bench.figures import percentile
from bench.machine import versions
from bench.part import Found, Parameter
from bench.progress import Progress
from bench.report import Table
from bench.stage import SECRET, LeftOut, chosen, serving, stage
from tests.pbx.lab import Lab

SUMMARY = "how much later than AMI's events a phase is told"
PARAMETERS = {
    "pbx": Parameter("auto", "auto", "16 or 22, the lab's Asterisk", ("auto", "16", "22")),
    "rounds": Parameter(10, 2, "calls"),
}
AGENT, CUSTOMER = "154", "+375290000001"
PHASES = ("agent_ringing", "agent_answered", "customer_ringing", "talking", "ended")
HEARD_LIMIT_S = 10.0


class Events:
    """AMI's events of one call at a time, with the moments at which they came."""

    def __init__(self, lab: Lab) -> None:
        self._socket = socket.create_connection(("127.0.0.1", lab.ami_port))
        self._technology = lab.technology
        self.seen: dict[str, float] = {}
        login = "Action: Login\r\nUsername: lab\r\nSecret: lab\r\nEvents: call\r\n\r\n"
        self._socket.sendall(login.encode())
        threading.Thread(target=self._listen, daemon=True).start()

    def _listen(self) -> None:
        with self._socket.makefile("r", encoding="utf-8", errors="replace", newline="\r\n") as file:
            message: dict[str, str] = {}
            for line in file:
                name, colon, value = line.strip().partition(": ")
                if colon:
                    message[name] = value
                else:
                    self._note(message)
                    message = {}

    def _note(self, message: dict[str, str]) -> None:
        channel, state = message.get("Channel", ""), message.get("ChannelStateDesc", "")
        party = {
            f"{self._technology}/{AGENT}": "agent",
            f"{self._technology}/trunktalk": "customer",
        }.get(channel.rpartition("-")[0])
        if party is None:
            return
        match message.get("Event"), state:
            case "Newstate", "Ringing":
                self._first(f"{party}_ringing")
            case "Newstate", "Up":
                self._first("agent_answered" if party == "agent" else "talking")
            case "Hangup", _:
                self.seen["ended"] = time.perf_counter()  # the later of the two

    def _first(self, phase: str) -> None:
        self.seen.setdefault(phase, time.perf_counter())


class Client:
    """Places calls and waits for their phases."""

    def __init__(self, port: int) -> None:
        self._port = port

    def ask(self, path: str, **query: Any) -> dict[str, Any]:
        """Get an answer."""
        connection = http.client.HTTPConnection("127.0.0.1", self._port, timeout=60)
        connection.request("GET", f"{path}?{urlencode(query | {'clientId': SECRET})}")
        response = connection.getresponse()
        body: dict[str, Any] = json.loads(response.read())
        if response.status != http.HTTPStatus.OK:
            raise RuntimeError(f"{response.status} {body}")
        return body

    def place(self, phone: str) -> str:
        """Place a call; its id."""
        return str(self.ask("/api/makecallexternal", code=AGENT, phone=phone)["call_id"])

    def watch(self, call_id: str) -> Iterator[tuple[str, float]]:
        """Wait for one phase after the other; each with the moment at which it was known."""
        phase = "accepted"
        while phase != "ended":
            phase = self.ask(f"/api/calls/{call_id}", wait=25, phase=phase)["phase"]
            yield phase, time.perf_counter()


class Feed:
    """A listener: when it was told each phase of the call that goes on."""

    def __init__(self) -> None:
        self.told: dict[str, float] = {}
        self.has_ended = threading.Event()

    def begin(self) -> None:
        """Expect another call."""
        self.told.clear()
        self.has_ended.clear()

    def hear(self, events: list[dict[str, Any]]) -> None:
        """Note what came now."""
        at = time.perf_counter()
        for event in events:
            if event["type"] == "call.phase":
                self.told[event["call"]["phase"]] = at
                if event["call"]["phase"] == "ended":
                    self.has_ended.set()


class Polls(Feed):
    """One by long polls."""

    def __init__(self, client: Client) -> None:
        super().__init__()
        self._client = client
        self._after = client.ask("/api/events")["next"]
        threading.Thread(target=self._listen, daemon=True).start()

    def _listen(self) -> None:
        while True:
            try:
                told = self._client.ask("/api/events", after=self._after, wait=25)
            except OSError:  # the service is stopped at the end
                return
            self.hear(told["events"])
            self._after = told["next"]


class Socket(Feed):
    """One over a WebSocket."""

    def __init__(self, port: int) -> None:
        super().__init__()
        self._port = port
        self._is_in = threading.Event()
        threading.Thread(target=self._listen, daemon=True).start()
        self._is_in.wait(HEARD_LIMIT_S)

    def _listen(self) -> None:
        url = f"ws://127.0.0.1:{self._port}/api/events"
        headers = {"Authorization": f"Bearer {SECRET}"}
        with (
            contextlib.suppress(ConnectionClosed),  # the service is stopped at the end
            connect(url, additional_headers=headers, compression=None) as socket,
        ):
            while True:
                self.hear([json.loads(socket.recv())])
                self._is_in.set()  # what comes first is a heartbeat


def run(asked: argparse.Namespace, progress: Progress) -> Found:
    """Measure."""
    if chosen(asked.pbx) == "standin":
        raise LeftOut("It needs real Asterisk's AMI: root, and tests/pbx/lab")
    with (
        stage(asked.pbx) as on,
        serving("asterisk:app", on.environment | {"DIALPLAN_CONTEXT": "inoffice"}) as service,
    ):
        assert on.lab is not None
        tables = delays(on.lab, service.port, asked.rounds, progress)
        return Found(list(tables), versions(on.versions))


def delays(lab: Lab, port: int, rounds: int, progress: Progress) -> Iterator[Table]:
    """Tell how much later than AMI each phase was known: to who waits, and to who listens."""
    client, events = Client(port), Events(lab)
    waiter = "GET /api/calls/ID"
    feeds: dict[str, Feed] = {"GET /api/events": Polls(client), "WebSocket": Socket(port)}
    late: dict[str, dict[str, list[float]]] = {
        name: {phase: [] for phase in PHASES} for name in (waiter, *feeds)
    }

    def note(name: str, phase: str, at: float) -> None:
        if phase in events.seen:
            late[name][phase].append((at - events.seen[phase]) * 1000)

    for _ in progress.over(range(rounds), "calls"):
        events.seen.clear()
        for feed in feeds.values():
            feed.begin()
        for phase, at in client.watch(client.place(CUSTOMER)):
            note(waiter, phase, at)
        for name, feed in feeds.items():
            feed.has_ended.wait(HEARD_LIMIT_S)
            for phase, at in feed.told.items():
                note(name, phase, at)
    for name, of_phases in late.items():
        every = [value for values in of_phases.values() for value in values]
        yield Table(
            f"{name}: later than AMI",
            ("phase", "p50 ms", "p90 ms", "p99 ms", "told"),
            [
                (
                    phase,
                    statistics.median(values),
                    percentile(values, 0.9),
                    percentile(values, 0.99),
                    len(values),
                )
                for phase, values in {**of_phases, "all": every}.items()
                if values
            ],
            f"Of {rounds} calls.",
        )
