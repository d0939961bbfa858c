"""How late a call's phases are told, beside AMI's own events, and what looking costs the PBX.

    sudo python -m bench.following [--version 16|22] [--rounds 10]

Real Asterisk, real sshd, real PostgreSQL. A client waits for each phase by long polls, as a page
would, two more listen to all events, by long polls and over a WebSocket; beside them a listener
hears Asterisk's events over AMI, which needs a user on the PBX. Prints how much later each knew,
and Asterisk's processor time with calls that are followed and with calls that are not.
"""

from __future__ import annotations

import argparse
import contextlib
import http.client
import json
import math
import os
import socket
import statistics
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

from websockets.exceptions import ConnectionClosed
from websockets.sync.client import connect

from bench.hot_path import SECRET, prepared, serving
from tests.pbx.lab import Lab

AGENT, CUSTOMER = "154", "+375290000001"
PHASES = ("agent_ringing", "agent_answered", "customer_ringing", "talking", "ended")
LOAD_CALLS, LOAD_S = 20, 20.0
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


def delays(client: Client, port: int, events: Events, rounds: int) -> None:
    """Print how much later than AMI each phase was known: to who waits, and to who listens."""
    waiter = "GET /api/calls/ID"
    feeds: dict[str, Feed] = {"GET /api/events": Polls(client), "WebSocket": Socket(port)}
    late: dict[str, dict[str, list[float]]] = {
        name: {phase: [] for phase in PHASES} for name in (waiter, *feeds)
    }

    def note(name: str, phase: str, at: float) -> None:
        if phase in events.seen:
            late[name][phase].append((at - events.seen[phase]) * 1000)

    for number in range(rounds):
        events.seen.clear()
        for feed in feeds.values():
            feed.begin()
        for phase, at in client.watch(client.place(CUSTOMER)):
            note(waiter, phase, at)
        for name, feed in feeds.items():
            feed.has_ended.wait(HEARD_LIMIT_S)
            for phase, at in feed.told.items():
                note(name, phase, at)
        progress(f"call {number + 1} of {rounds}")
    for name, of_phases in late.items():
        table(name, of_phases, rounds)


def table(name: str, late: dict[str, list[float]], rounds: int) -> None:
    """Print how late one of them knew each phase."""
    every = [value for values in late.values() for value in values]
    print(f"{name:>18}   p50 ms   p95 ms   max ms   later than AMI, of {rounds} calls")
    for phase, values in {**late, "all": every}.items():
        if values:
            print(
                f"{phase:>18} {statistics.median(values):8.0f} {p95(values):8.0f}"
                f" {max(values):8.0f}   {len(values)}"
            )


def p95(values: list[float]) -> float:
    """Tell what nineteen of twenty do not exceed."""
    return sorted(values)[max(0, math.ceil(len(values) * 0.95) - 1)]


def cost(lab: Lab, client: Client) -> None:
    """Print the processor time that Asterisk takes for calls, followed and not."""
    used = {}
    for name in ("not followed", "followed"):
        for number in range(LOAD_CALLS):
            phone = f"+3752901{number:05}"
            if name == "followed":
                client.place(phone)
            else:
                lab.rx(
                    f"channel originate LOCAL/{AGENT}@inoffice"
                    f" application Dial LOCAL/{phone}@inoffice"
                )
        progress(f"{LOAD_CALLS} calls, {name}: {LOAD_S:.0f} s")
        time.sleep(5)
        before = processor_s(lab)
        time.sleep(LOAD_S)
        used[name] = (processor_s(lab) - before) / LOAD_S * 100
        lab.hangup_all()
        lab.wait_idle()
        time.sleep(3)
    print(f"\n{f'{LOAD_CALLS} calls talk':>18}   Asterisk's share of a core")
    for name, share in used.items():
        print(f"{name:>18} {share:8.2f} %")


def processor_s(lab: Lab) -> float:
    """Read how much processor time Asterisk has taken so far."""
    fields = Path(f"/proc/{lab.pid()}/stat").read_text("utf-8").rpartition(") ")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def progress(text: str) -> None:
    """Tell a person at a terminal how far it is."""
    if sys.stderr.isatty():
        print(f"\r{text:<60}", end="", file=sys.stderr, flush=True)


def main() -> None:
    """Measure, print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--version", choices=["16", "22"], default="16")
    parser.add_argument("--rounds", type=int, default=10)
    options = parser.parse_args()
    with (
        prepared(options.version) as (lab, environment),
        serving("asterisk:app", environment) as port,
    ):
        client = Client(port)
        delays(client, port, Events(lab), options.rounds)
        cost(lab, client)


if __name__ == "__main__":
    main()
