"""How late a call's phases are told, beside AMI's own events, and what looking costs the PBX.

    sudo python -m bench.following [--version 16|22] [--rounds 10]

Real Asterisk, real sshd, real PostgreSQL. A client waits for each phase by long polls, as a page
would; beside it a listener hears Asterisk's events over AMI, which needs a user on the PBX. Prints
how much later the client knew, and Asterisk's processor time with calls that are followed and with
calls that are not.
"""

from __future__ import annotations

import argparse
import http.client
import json
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

from bench.hot_path import SECRET, prepared, serving
from tests.pbx.lab import Lab

AGENT, CUSTOMER = "154", "+375290000001"
PHASES = ("agent_ringing", "agent_answered", "customer_ringing", "talking", "ended")
LOAD_CALLS, LOAD_S = 20, 20.0


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


def delays(client: Client, events: Events, rounds: int) -> None:
    """Print how much later than AMI the client knew each phase."""
    late: dict[str, list[float]] = {phase: [] for phase in PHASES}
    for number in range(rounds):
        events.seen.clear()
        for phase, at in client.watch(client.place(CUSTOMER)):
            if phase in events.seen:
                late[phase].append((at - events.seen[phase]) * 1000)
        progress(f"call {number + 1} of {rounds}")
    print(f"{'later than AMI':>18}   p50 ms   max ms   seen")
    for phase, values in late.items():
        if values:
            print(
                f"{phase:>18} {statistics.median(values):8.0f} {max(values):8.0f}"
                f"   {len(values)} of {rounds}"
            )


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
        delays(client, Events(lab), options.rounds)
        cost(lab, client)


if __name__ == "__main__":
    main()
