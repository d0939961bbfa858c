"""Whom the service tells its password: the host whose key was seen first, and nobody else."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path

import asyncssh
import pytest

from demo.pbx.sshd import Server
from shared.deadline import Deadline
from shared.operate import __main__ as operate
from shared.pbx.connecting import open_pool
from shared.settings import the_settings
from shared.ssh.connection import Target
from shared.store.database import Database
from shared.store.hostkeys import PinnedKeys
from tests.integration.service import SSH_PASSWORD, Service, Services, make_pbx
from tests.postgres import Postgres

pytestmark = pytest.mark.anyio


@pytest.fixture
def heard(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Every password that a host was told."""
    passwords: list[str] = []
    validate = Server.validate_password

    def listen(server: Server, username: str, password: str) -> bool:
        passwords.append(password)
        return validate(server, username, password)

    monkeypatch.setattr(Server, "validate_password", listen)
    return passwords


def _pinned(postgres: Postgres) -> list[str]:
    return [row["key"] for row in postgres.execute("SELECT key FROM callapi.host_keys")]


def _public(key: asyncssh.SSHKey) -> str:
    return key.export_public_key().decode().strip()


async def _replace_host(start: Services, service: Service) -> Service:
    """Put another host, with another key, at the same address; it may be asked again at once."""
    await start.end()
    pbx = await start.stack.enter_async_context(make_pbx(port=service.pbx.port))
    return await start.on(pbx, PBX_RETRY_S=1e-9)


async def test_the_first_key_is_pinned_before_the_password_is_sent(
    service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    """When the host is told the password, its key is in callapi.host_keys already."""
    pinned: list[list[str]] = []
    validate = Server.validate_password

    def listen(server: Server, username: str, password: str) -> bool:
        pinned.append(_pinned(service.postgres))
        return validate(server, username, password)

    monkeypatch.setattr(Server, "validate_password", listen)
    assert (await service.call()).status_code == 200
    assert pinned == [[_public(service.pbx.host_key)]]
    assert await service.rung("150") == 1


async def test_another_key_gets_no_password(
    start: Services, service: Service, heard: list[str]
) -> None:
    """A host with another key is 500 `ssh-host-key-changed`: no password, no command, no claim."""
    await service.call("151")
    await service.rung("151")
    heard.clear()
    service = await _replace_host(start, service)
    answer = await service.call()
    assert (answer.status_code, answer.json()["code"]) == (500, "ssh-host-key-changed")
    assert answer.json()["dialled"] == "no"
    assert "127.0.0.1" in answer.json()["detail"]
    assert service.pbx.connections > 0
    assert (heard, service.pbx.commands) == ([], [])
    assert service.postgres.execute(
        "SELECT count(*) AS n FROM callapi.claims WHERE key LIKE 'same:call:150:%'"
    ) == [{"n": 0}]


async def test_another_key_is_counted_on_lambda(
    start: Services, service: Service, metrics: Callable[[], list[str]]
) -> None:
    """An alarm is made of it: somebody has to look."""
    assert (await service.call("151")).status_code == 200
    assert metrics() == ["CallsAccepted"]
    service = await _replace_host(start, service)
    assert (await service.call()).status_code == 500
    assert metrics() == ["HostKeysChanged", "CallsFailed"]


async def test_forgetting_the_key_cures(start: Services, service: Service) -> None:
    """After `forget-host-key` the next connection pins the new key, and the call rings once."""
    await service.call("151")
    await service.rung("151")
    service = await _replace_host(start, service)
    assert (await service.call()).status_code == 500
    assert operate.main(["forget-host-key", "127.0.0.1"]) == 0
    answer = await service.call()
    assert (answer.status_code, answer.json()["repeated"]) == (200, False)
    assert _pinned(service.postgres) == [_public(service.pbx.host_key)]
    assert len(service.originates()) == await service.rung("150") == 1


async def test_accepting_the_key_cures(start: Services, service: Service) -> None:
    """`accept-host-key` pins the key that an operator has checked, before any connection."""
    await service.call("151")
    await service.rung("151")
    service = await _replace_host(start, service)
    assert (await service.call()).status_code == 500
    key = _public(service.pbx.host_key)
    assert operate.main(["accept-host-key", "127.0.0.1", key]) == 0
    assert (await service.call()).status_code == 200
    assert _pinned(service.postgres) == [key]
    assert len(service.originates()) == await service.rung("150") == 1


async def test_two_processes_agree_on_the_first_key(postgres: Postgres, start: Services) -> None:
    """Two pools that meet a host at once pin one key, and both connect."""
    service = await start()
    target = Target("127.0.0.1", service.pbx.port, "root")
    stores = [Database(the_settings()), Database(the_settings())]
    pools = [open_pool(the_settings(), PinnedKeys(store)) for store in stores]

    async def connect(number: int) -> bool:
        async with pools[number].lease(target, Deadline.after(10)) as connection:
            return not connection.is_closed()

    assert all(await asyncio.gather(connect(0), connect(1)))
    assert _pinned(postgres) == [_public(service.pbx.host_key)]
    keys = [f"ssh-ed25519 {letter * 43}=" for letter in "AB"]
    held = await asyncio.gather(
        *(PinnedKeys(s).pin("pbx.test", 22, key) for s, key in zip(stores, keys, strict=True))
    )
    assert held[0] == held[1]
    for pool, store in zip(pools, stores, strict=True):
        await pool.close()
        store.close()


async def test_a_known_hosts_file_decides(
    start: Services, tmp_path: Path, heard: list[str]
) -> None:
    """SSH_HOST_KEYS=known_hosts trusts that file alone; another key gets no password."""
    pbx = await start.stack.enter_async_context(make_pbx())
    known, other = tmp_path / "known", tmp_path / "other"
    known.write_text(f"[127.0.0.1]:{pbx.port} {_public(pbx.host_key)}\n")
    other.write_text(
        f"[127.0.0.1]:{pbx.port} {_public(asyncssh.generate_private_key('ssh-ed25519'))}\n"
    )
    service = await start.on(pbx, SSH_HOST_KEYS="known_hosts", SSH_KNOWN_HOSTS_FILE=known)
    assert (await service.call()).status_code == 200
    assert await service.rung("150") == 1
    assert _pinned(service.postgres) == []
    heard.clear()

    await start.end()
    pbx = await start.stack.enter_async_context(make_pbx(port=pbx.port))
    service = await start.on(pbx, SSH_HOST_KEYS="known_hosts", SSH_KNOWN_HOSTS_FILE=other)
    answer = await service.call("151")
    assert (answer.status_code, answer.json()["code"]) == (500, "ssh-host-key-changed")
    assert (heard, service.pbx.commands) == ([], [])


async def test_a_missing_known_hosts_file_is_named(
    start: Services, tmp_path: Path, heard: list[str]
) -> None:
    """Without the file nobody is trusted, and the error names the setting."""
    service = await start(SSH_HOST_KEYS="known_hosts", SSH_KNOWN_HOSTS_FILE=tmp_path / "nosuch")
    answer = await service.call()
    assert (answer.status_code, answer.json()["dialled"]) == (500, "no")
    assert "SSH_KNOWN_HOSTS_FILE" in answer.json()["detail"]
    assert (heard, service.pbx.commands) == ([], [])


async def test_off_trusts_whoever_answers(start: Services) -> None:
    """SSH_HOST_KEYS=off is the specification's StrictHostKeyChecking=no: nothing is pinned."""
    service = await start(SSH_HOST_KEYS="off")
    assert (await service.call()).status_code == 200
    assert _pinned(service.postgres) == []
    assert await service.rung("150") == 1


@pytest.mark.parametrize("given_as", ["text", "file"])
async def test_a_private_key_instead_of_a_password(
    start: Services, tmp_path: Path, heard: list[str], given_as: str
) -> None:
    """SSH_PRIVATE_KEY is the key itself or its file; no password is needed or sent."""
    key = asyncssh.generate_private_key("ssh-ed25519")
    text = key.export_private_key().decode()
    file = tmp_path / "id_ed25519"
    file.write_text(text)
    pbx = await start.stack.enter_async_context(
        make_pbx(password=None, authorized_keys=_public(key))
    )
    service = await start.on(
        pbx, SSH_PASSWORD="", SSH_PRIVATE_KEY=text if given_as == "text" else file
    )
    assert (await service.call()).status_code == 200
    assert heard == []
    assert len(service.originates()) == await service.rung("150") == 1


@pytest.mark.parametrize(
    "text",
    [
        "-----BEGIN OPENSSH PRIVATE KEY-----\nbm90IGEga2V5\n-----END OPENSSH PRIVATE KEY-----\n",
        "/nosuch/id_ed25519",
    ],
)
async def test_a_bad_private_key_is_named(start: Services, text: str) -> None:
    """A key that cannot be read is a clear 500 that repeats nothing of it."""
    service = await start(SSH_PASSWORD=SSH_PASSWORD, SSH_PRIVATE_KEY=text)
    answer = await service.call()
    assert (answer.status_code, answer.json()["code"]) == (500, "ssh-authentication-failed")
    assert answer.json()["detail"].endswith("SSH_PRIVATE_KEY is not a key that can be read")
    assert answer.json()["dialled"] == "no"
    assert "bm90IGEga2V5" not in answer.text + service.log()
    assert (service.pbx.commands, service.claims()) == ([], 0)
