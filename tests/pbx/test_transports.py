"""Every way to Asterisk that a PBX may allow: forwarding or not, password or key, root or sudo."""

from __future__ import annotations

import asyncssh
import pytest

from shared.asterisk.console import Console
from shared.asterisk.exec_console import ExecConsole
from shared.asterisk.socket_console import SocketConsole
from shared.pbx.hosts import the_pbx
from tests.pbx.lab import Lab
from tests.pbx.service import BUSY, SECRET, TALKS, Phones, Services, until

pytestmark = pytest.mark.anyio


def logins(lab: Lab, how: str) -> dict[str, object]:
    """The settings that log in by password or by key, and not by the other."""
    if how == "password":
        return {"SSH_PASSWORD": lab.password}
    path = lab.private_key_path
    key = path.read_text() if how == "key text" else path
    return {"SSH_PASSWORD": "", "SSH_PRIVATE_KEY": key}


@pytest.mark.parametrize(
    ("transport", "forwarding", "console", "login"),
    [
        ("auto", True, SocketConsole, "password"),
        ("auto", True, SocketConsole, "key file"),
        ("socket", True, SocketConsole, "key text"),
        ("exec", True, ExecConsole, "password"),
        ("exec", True, ExecConsole, "key file"),
        # Refused three times, then `asterisk -rx`.
        ("auto", False, ExecConsole, "password"),
        ("auto", False, ExecConsole, "key file"),
    ],
)
async def test_each_way_places_one_call(
    lab: Lab,
    phones: Phones,
    start: Services,
    transport: str,
    *,
    forwarding: bool,
    console: type[Console],
    login: str,
) -> None:
    """The call is placed once and its root channel is found, whatever way it goes."""
    port = lab.ssh_port if forwarding else lab.no_forwarding_port
    settings = logins(lab, login) | {"SSH_PORT": port, "ASTERISK_TRANSPORT": transport}
    service = await start(**settings)

    answer = await service.call("152", TALKS)

    assert (answer.status_code, service.consoles()) == (200, [console])
    await until(lambda: phones.so_far() == {"152": 1})
    lab.hangup_all()
    assert await phones.in_the_end() == {"152": 1}
    (row,) = service.calls()
    assert row["state"] == "executed"
    assert row["root_channel"].startswith("Local/152@inoffice-")


@pytest.mark.parametrize("login", ["password", "key file"])
async def test_a_plain_user_calls_through_sudo(
    lab: Lab, phones: Phones, start: Services, login: str
) -> None:
    """`operator` may not open the control socket; `sudo /usr/sbin/asterisk -rx` takes its place."""
    settings = logins(lab, login) | {"SSH_USER": lab.plain_user}
    service = await start(**settings, ASTERISK_COMMAND="sudo /usr/sbin/asterisk")

    answer = await service.call("152", TALKS)

    assert (answer.status_code, service.consoles()) == (200, [ExecConsole])
    await until(lambda: phones.so_far() == {"152": 1})
    lab.hangup_all()
    assert await phones.in_the_end() == {"152": 1}


@pytest.mark.parametrize("transport", ["socket", "exec"])
async def test_an_agent_that_is_busy_at_once_was_rung(
    phones: Phones, start: Services, transport: str
) -> None:
    """155's call is over within milliseconds; Asterisk accepted it all the same: 200."""
    service = await start(ASTERISK_TRANSPORT=transport)

    answer = await service.call("155", TALKS)

    assert await phones.in_the_end() == {"155": 1}
    assert (answer.status_code, answer.json().get("phase")) == (200, "accepted")


@pytest.mark.parametrize("command", ["asterisk", "/usr/sbin/asterisk"])
async def test_a_plain_user_without_sudo_dials_nothing(
    lab: Lab, phones: Phones, start: Services, command: str
) -> None:
    """Not found or not allowed: the answer says that nothing was dialled."""
    service = await start(SSH_USER=lab.plain_user, ASTERISK_COMMAND=command)

    answer = await service.call("152", TALKS)

    body = answer.json()
    assert answer.status_code == 500
    assert (body["code"], body["dialled"]) == ("asterisk-unavailable", "no")
    assert body["detail"].startswith("Call initiation failed: SSH command failed: ")
    assert await phones.in_the_end() == {}
    assert [row["state"] for row in service.calls()] == ["not_executed"]


async def test_a_wrong_password_dials_nothing(lab: Lab, phones: Phones, start: Services) -> None:
    """The host refuses us: 500, nothing dialled, and no secret in the answer."""
    service = await start(SSH_PASSWORD="not-this-one")

    answer = await service.call("152", TALKS)

    body = answer.json()
    assert answer.status_code == 500
    assert (body["code"], body["dialled"]) == ("ssh-authentication-failed", "no")
    assert "not-this-one" not in answer.text
    assert SECRET not in answer.text
    assert await phones.in_the_end() == {}


@pytest.mark.parametrize("algorithm", ["ssh-ed25519", "ssh-rsa"])
async def test_a_changed_host_key_gets_no_password(
    lab: Lab, phones: Phones, start: Services, algorithm: str
) -> None:
    """Another key is pinned, of the same kind or not: refused before log-in, nothing dialled."""
    service = await start()
    other = asyncssh.generate_private_key(algorithm).export_public_key().decode().strip()
    service.postgres.execute(
        "INSERT INTO callapi.host_keys (host, port, key) VALUES ('127.0.0.1', :port, :key)",
        port=lab.ssh_port,
        key=other,
    )
    log = lab.root / "var/log" / f"sshd-{lab.ssh_port}.log"
    mark = len(log.read_text())

    answer = await service.call("152", TALKS)

    body = answer.json()
    assert answer.status_code == 500
    assert (body["code"], body["dialled"]) == ("ssh-host-key-changed", "no")
    assert await phones.in_the_end() == {}
    assert "password" not in log.read_text()[mark:]  # neither accepted nor failed
    assert [row["state"] for row in service.calls()] == ["not_executed"]


async def test_the_first_key_is_pinned(lab: Lab, phones: Phones, start: Services) -> None:
    """The first call pins the key that the host really has, and a later process accepts it."""
    service = await start()
    answers = [await service.call("155", TALKS)]
    service = await start()
    answers.append(await service.call("155", "+375290000009"))

    assert [answer.status_code for answer in answers] == [200, 200]
    (row,) = service.postgres.execute("SELECT host, port, key FROM callapi.host_keys")
    assert (row["host"], row["port"]) == ("127.0.0.1", lab.ssh_port)
    files = (lab.root / "etc/ssh").glob("ssh_host_*_key.pub")
    assert row["key"] in {" ".join(file.read_text().split()[:2]) for file in files}
    assert await phones.in_the_end() == {"155": 2}


@pytest.mark.parametrize("apart_s", [-100_000, 100_000])
async def test_a_clock_that_is_set_costs_no_call(
    phones: Phones, start: Services, apart_s: int
) -> None:
    """Its uptime is another than was foretold, and Asterisk ends each conversation itself."""
    service = await start()
    assert (await service.call("155", TALKS)).status_code == 200
    (line,) = the_pbx()._lines.values()
    uptime = line.console._uptime  # type: ignore[attr-defined] # of a socket's console
    uptime.learn(apart_s)

    answer = await service.call("155", BUSY)

    assert (answer.status_code, answer.json().get("phase")) == (200, "accepted")
    assert await phones.in_the_end() == {"155": 2}
    assert {row["state"] for row in service.calls()} == {"executed"}
