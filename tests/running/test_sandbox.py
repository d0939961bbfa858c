"""Sandboxes: `asterisk.sh sandbox` beside a service, as operators and enterprises see them."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest

from demo.postgres import free_port
from tests.integration.service import SECRET
from tests.postgres import Postgres
from tests.running.test_script import Script, installed

REAL, ONE, TWO = SECRET, "secret-of-0001-aa", "secret-of-0002-bb"
PHONE = "+375290000005"
HOSTS = {ONE: "127.0.0.11", TWO: "127.0.0.12"}


@dataclass
class Site:
    """A running service, an enterprise with a PBX that nobody reaches, two that have sandboxes."""

    script: Script
    postgres: Postgres

    def sandbox(self, *arguments: str) -> tuple[int, str]:
        """Run the command; its exit status and what it says."""
        return self.script("sandbox", *arguments)

    def start(self, number: str) -> None:
        """Start an enterprise's sandbox; if it does not start, the test says why."""
        status, said = self.sandbox(number)
        assert status == 0, said

    def ask(self, path: str, secret: str = ONE, method: str = "GET", **more: Any) -> httpx.Response:
        """Ask the API."""
        headers = {"Authorization": f"Bearer {secret}"} | more.pop("headers", {})
        url = f"http://127.0.0.1:{self.script.port}{path}"
        return httpx.request(method, url, headers=headers, timeout=30, **more)

    def call(self, secret: str = ONE, phone: str = PHONE, **more: Any) -> httpx.Response:
        """Ask for a call."""
        params = {"code": "150", "phone": phone}
        return self.ask("/api/makecallexternal", secret, params=params, **more)

    def rows(self) -> list[dict[str, Any]]:
        """The sandboxes that the database knows."""
        return self.postgres.execute(
            "SELECT s.enterprise, s.host, s.port, k.key FROM callapi.sandboxes s"
            " JOIN callapi.host_keys k ON k.host = s.host AND k.port = s.port ORDER BY s.enterprise"
        )


@pytest.fixture(scope="module")
def running(postgres: Postgres, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """A service that was started as an operator starts it."""
    with installed(postgres, tmp_path_factory.mktemp("sandbox")) as script:
        # A PBX's port that nobody listens on: what rings there is no sandbox's.
        script.environment |= {"SSH_PORT": str(free_port()), "PBX_RETRY_S": "0.01"}
        for number, secret in (("0001", ONE), ("0002", TWO)):
            postgres.seed_enterprise(number, "try", HOSTS[secret], secret)
        status, said = script("start")
        assert status == 0, said
        yield Site(script, postgres)
        for number in ("0001", "0002"):
            script("sandbox", number, "stop")


@pytest.fixture
def site(running: Site) -> Iterator[Site]:
    """The same without a sandbox, before and after."""
    yield running
    for row in running.rows():
        running.sandbox(row["enterprise"], "remove")
    running.postgres.execute(
        "UPDATE enterprises SET ip = '127.0.0.1' || substr(number, 4) WHERE number <> '0367'"
    )


def said_so(answer: httpx.Response) -> bool:
    """Whether an answer says by header and body that it is a sandbox's; both say the same."""
    is_so: bool = answer.headers.get("x-sandbox") == "true"
    if "json" in answer.headers["content-type"]:
        assert answer.json().get("sandbox", False) is is_so
    return is_so


def test_every_answer_of_a_sandbox_says_so(site: Site) -> None:
    """Of calls, refusals, lists, tables, events; no other enterprise's does, whatever it sends."""
    status, said = site.sandbox("0001")
    assert status == 0, said
    assert said.startswith("Started, pid ")
    placed = site.call()
    assert placed.status_code == 200, placed.text
    call = placed.json()["call_id"]
    assert placed.json()["host_ip"] == HOSTS[ONE]
    seen = {"phase": "placing"}
    while seen["phase"] != "talking":
        params = {"wait": "25", "phase": seen["phase"]}
        seen = site.ask(f"/api/calls/{call}", params=params).json()
    answers = [
        placed,
        site.call(),  # a repeat
        site.call(phone="x"),  # refused before it is known whose it is
        site.ask("/api/monitor?action=09&target=150&monitor_from=151"),
        *(site.ask(path) for path in (f"/api/calls/{call}", "/api/calls", "/api/calls?source=pbx")),
        *(site.ask(path) for path in ("/api/extensions/150", "/api/events", "/api/webhooks")),
        *(site.ask(path) for path in ("/api/history", "/api/history?format=csv", "/api/audit")),
        site.ask("/api/events/ticket", method="POST", json={}),
        site.ask(f"/api/calls/{call}/transfer", method="POST", json={"to": "151"}),
        site.ask(f"/api/calls/{call}", method="DELETE"),
    ]
    statuses = {answer.request.url.raw_path.decode(): answer.status_code for answer in answers}
    assert [answer for answer in answers if not said_so(answer)] == [answers[2]], statuses
    told = site.ask("/api/events?after=0").json()["events"]
    assert told
    assert all(event["sandbox"] and event["call"]["sandbox"] for event in told)
    assert site.call(REAL, headers={"X-Sandbox": "true"}).json()["code"] == "ssh-connect-failed"
    others = [site.call(REAL), site.ask("/api/calls", REAL), site.ask("/api/events", REAL)]
    others.append(site.ask("/api/makecallexternal?code=150&phone=%2B1&sandbox=true", REAL))
    assert not any(map(said_so, others))
    assert "sandbox" not in others[0].json()


def test_a_sandbox_is_started_once_and_the_same_again(site: Site) -> None:
    """A second start starts nothing; stopped or killed it is refused, and comes back as it was."""
    assert site.sandbox("0001", "status") == (3, "Not running.\n")
    site.start("0001")
    (before,) = site.rows()
    status, said = site.sandbox("0001")
    assert (status, said.split(",")[0]) == (0, "Already running")
    assert site.sandbox("0001", "stop") == (0, "Stopped.\n")
    refused = site.call()
    assert (refused.json()["code"], refused.json()["dialled"]) == ("ssh-connect-failed", "no")
    assert said_so(refused)
    pid = int(site.sandbox("0001", "start")[1].split()[2].rstrip(":"))
    assert site.call(phone="+375290000002").status_code == 200
    # As a machine ends that loses its power: the pid's file stays, and means nothing.
    os.kill(pid, signal.SIGKILL)
    while Path(f"/proc/{pid}/cmdline").exists() and Path(f"/proc/{pid}/cmdline").read_bytes():
        time.sleep(0.01)
    assert site.sandbox("0001", "status") == (3, "Not running.\n")
    site.start("0001")
    assert site.rows() == [before]
    assert site.call(phone="+375290000001").status_code == 200


def test_two_sandboxes_are_two_hosts(site: Site) -> None:
    """Each has its own ip, port and key; calls of one are not the other's; both are listed."""
    for number in ("0001", "0002"):
        site.start(number)
    one, two = site.rows()
    assert [row["host"] for row in (one, two)] == [HOSTS[ONE], HOSTS[TWO]]
    assert one["port"] != two["port"]
    assert one["key"] != two["key"]
    assert site.call(ONE).json()["host_ip"] == HOSTS[ONE]
    assert site.call(TWO).json()["host_ip"] == HOSTS[TWO]
    assert site.ask("/api/extensions/150", TWO).status_code == 200
    status, said = site.sandbox()
    assert status == 0
    assert [line.split(",")[0] for line in said.splitlines()] == [
        f"enterprise {number}: {row['host']}:{row['port']}"
        for number, row in (("0001", one), ("0002", two))
    ]


@pytest.mark.parametrize(
    ("ip", "why"),
    [
        ("127.0.0.12", "is the ip of enterprise 0002 too"),
        ("pbx.example.test", "a sandbox needs an address of this machine"),
        ("0.0.0.0", "a sandbox needs an address of this machine"),
        ("127.0.0.013", "a sandbox needs an address of this machine"),
        ("192.0.2.10", "cannot be listened on"),
        ("127.0.0.99", "is a PBX that the service has connected to"),
    ],
)
def test_what_is_no_host_of_its_own_is_refused(site: Site, ip: str, why: str) -> None:
    """One host twice, another machine's, a real PBX's: nothing is started, and nothing written."""
    site.postgres.execute("UPDATE enterprises SET ip = :ip WHERE number = '0001'", ip=ip)
    site.postgres.execute(
        "INSERT INTO callapi.host_keys (host, port, key) VALUES ('127.0.0.99', 22, 'x')"
        " ON CONFLICT DO NOTHING"
    )
    status, said = site.sandbox("0001")
    assert status == 1
    assert why in said
    assert said.count("\n") == 1
    assert site.rows() == []
    assert site.sandbox("0001", "status")[0] == 3


@pytest.mark.parametrize("seconds", ["-1", "nan", "x"])
def test_callers_without_a_pause_are_refused(site: Site, seconds: str) -> None:
    """They would fill the machine: nothing is started, and one line says why."""
    status, said = site.sandbox("0001", "start", "--incoming", seconds)
    assert status == 2
    assert said.endswith("error: argument --incoming: must be 1 or more seconds\n")
    assert site.rows() == []


def test_a_number_that_nobody_has_is_refused(site: Site) -> None:
    """With those that are nearest, as elsewhere."""
    status, said = site.sandbox("0009")
    assert status == 1
    assert said.startswith("❌ There is no enterprise 0009. The nearest are ")


def test_removed_it_is_a_pbx_again_and_what_was_called_stays_a_sandbox_s(site: Site) -> None:
    """Its ip is asked on SSH_PORT from then on; the calls of before say what they were."""
    site.start("0001")
    call = site.call().json()["call_id"]
    status, said = site.sandbox("0001", "remove")
    assert status == 0, said
    assert site.rows() == []
    assert site.sandbox("0001", "remove") == (
        1,
        "Not running.\n❌ Enterprise 0001 has no sandbox\n",
    )
    real = site.call(phone="+375290000001")
    assert real.json()["code"] == "ssh-connect-failed"
    assert not said_so(real)
    calls = site.ask("/api/calls").json()["calls"]
    assert {one["call_id"]: one["sandbox"] for one in calls}[call] is True
    assert calls[0]["sandbox"] is False
    assert not list((site.script.folder / ".run").glob("sandbox-0001.*"))
    audit = site.script("audit", "0001")[1]
    assert "sandbox" in audit


def test_removed_elsewhere_it_is_asked_nothing_more(site: Site) -> None:
    """Though it runs on, and is connected: no call is told to be placed which rings nobody."""
    site.start("0001")
    assert said_so(site.call())
    note = site.script.folder / ".run" / "sandbox-0001.pid"
    pid = int(note.read_text("ascii"))
    note.unlink()  # as where the command is given in another folder, or on another machine
    try:
        assert site.sandbox("0001", "remove")[0] == 0
        real = site.call(phone="+375290000001")
        assert (real.status_code, real.json()["code"]) == (500, "ssh-connect-failed")
        assert not said_so(real)
    finally:
        os.kill(pid, signal.SIGKILL)


def test_whoever_takes_its_place_is_told_nothing(site: Site) -> None:
    """Who shows another key than its own is refused before anything is said; it is private."""
    # A host that nobody has followed: no connection is open that would see no key.
    host = "127.0.0.22"
    site.postgres.execute("UPDATE enterprises SET ip = :ip WHERE number = '0002'", ip=host)
    for number in ("0001", "0002"):
        site.start(number)
    (one, _) = site.rows()
    assert (site.script.folder / ".run" / "sandbox-0001.key").stat().st_mode & 0o077 == 0
    site.postgres.execute(
        "UPDATE callapi.host_keys SET key = :key WHERE host = :host",
        key=one["key"],
        host=host,
    )
    refused = site.call(TWO)
    assert refused.json()["code"] == "ssh-host-key-changed"
    assert said_so(refused)
    # Whoever starts it anew says again which key is the right one.
    site.sandbox("0002", "stop")
    site.start("0002")
    assert site.call(TWO).status_code == 200
