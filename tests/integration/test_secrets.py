"""Passwords from Secrets Manager: read once, renewed when refused, never shown."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import TYPE_CHECKING

import anyio
import asyncssh
import pytest

from shared.aws.logins import the_secrets_provider
from shared.operate.__main__ import main
from shared.pbx.hosts import the_pbx
from shared.store.database import the_database
from tests.integration.service import SSH_PASSWORD, Service, Services, forget_process, make_pbx
from tests.postgres import Postgres, Wire

if TYPE_CHECKING:
    from tests.integration.vault import Vault

pytestmark = pytest.mark.anyio

USER = "rotated"
FIRST = "first-5e01c2"
SECOND = "second-9ab47f"
WRONG = {"POSTGRES_USER": "nobody", "POSTGRES_PASSWORD": "wrong-11", "SSH_PASSWORD": "wrong-22"}


@pytest.fixture
def role(postgres: Postgres) -> Iterator[Postgres]:
    """The server, with a user whose password can be changed."""
    postgres.execute(f"CREATE ROLE {USER} LOGIN SUPERUSER PASSWORD '{FIRST}'")
    yield postgres
    # The pool of the service may have its connections yet.
    postgres.execute(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = :user", user=USER
    )
    postgres.execute(f"DROP ROLE {USER}")


async def begin(start: Services, vault: Vault, **settings: object) -> Service:
    """Start the service with both secrets; what the environment says of them is wrong."""
    arns = {
        "POSTGRES_SECRET_ARN": vault.put("database", username=USER, password=FIRST),
        "SSH_SECRET_ARN": vault.put("pbx", password=SSH_PASSWORD),
    }
    return await start(**(WRONG | arns | settings))


async def call_many(service: Service, first: int, count: int) -> list[int]:
    """Place calls to different phones at once; return the answers' statuses."""
    statuses: list[int] = []

    async def call(number: int) -> None:
        answer = await service.call(phone=f"+3752900{number:05}")
        statuses.append(answer.status_code)

    async with anyio.create_task_group() as group:
        for number in range(first, first + count):
            group.start_soon(call, number)
    return statuses


def rotate_database(postgres: Postgres, vault: Vault, password: str) -> None:
    """Change the password as RDS's rotation does: there, and in the secret."""
    postgres.execute(f"ALTER ROLE {USER} PASSWORD '{password}'")
    vault.put("database", username=USER, password=password)


def rotate_pbx(service: Service, vault: Vault, password: str) -> None:
    """Change the password of the host and the secret."""
    service.pbx.password = password
    vault.put("pbx", password=password)


async def test_each_secret_is_read_once(role: Postgres, start: Services, vault: Vault) -> None:
    """A call needs both; the next ones, on new connections too, ask Secrets Manager nothing."""
    service = await begin(start, vault)
    assert (await service.call()).status_code == 200
    the_database().close()
    await the_pbx().close()
    assert await call_many(service, 1, 4) == [200] * 4
    assert sorted(name.split(":")[-1].rsplit("-", 1)[0] for name in vault.reads) == [
        "database",
        "pbx",
    ]
    assert len(service.originates()) == 5


async def test_secret_is_kept_as_long_as_the_setting_says(
    role: Postgres, start: Services, vault: Vault
) -> None:
    """SECRETS_MAX_AGE_S is what Powertools caches by; expired, the secret is read again."""
    service = await begin(start, vault, SECRETS_MAX_AGE_S=86_000)
    assert (await service.call()).status_code == 200
    kept = [value.ttl.timestamp() - time.time() for value in the_secrets_provider().store.values()]
    assert [80_000 < left_s <= 86_000 for left_s in kept] == [True, True]
    the_secrets_provider().clear_cache()
    the_database().close()
    rotate_database(role, vault, SECOND)
    assert await call_many(service, 1, 1) == [200]
    assert len(vault.reads) == 3
    assert "28P01" not in service.log()  # nobody had to be refused first


async def test_rotation_of_the_databases_password_loses_no_request(
    role: Postgres, start: Services, vault: Vault
) -> None:
    """Open connections live on; whoever needs a new one is let in, after one more read in all."""
    service = await begin(start, vault)
    assert (await service.call()).status_code == 200
    rotate_database(role, vault, SECOND)
    assert await call_many(service, 1, 1) == [200]
    assert len(vault.reads) == 2

    the_database().close()
    assert await call_many(service, 10, 6) == [200] * 6
    assert len(vault.reads) == 3

    the_database().close()
    assert await call_many(service, 20, 2) == [200] * 2
    assert len(vault.reads) == 3
    assert len(service.originates()) == 1 + 1 + 6 + 2


async def test_rotation_of_the_hosts_password_loses_no_request(
    role: Postgres, start: Services, vault: Vault
) -> None:
    """The same of SSH: refused, read once more, let in; each command is sent exactly once."""
    service = await begin(start, vault)
    assert (await service.call()).status_code == 200
    rotate_pbx(service, vault, SECOND)
    assert await call_many(service, 1, 1) == [200]
    assert len(vault.reads) == 2

    await the_pbx().close()
    assert await call_many(service, 10, 6) == [200] * 6
    assert len(vault.reads) == 3

    await the_pbx().close()
    assert await call_many(service, 20, 2) == [200] * 2
    assert len(vault.reads) == 3
    assert len(service.originates()) == 1 + 1 + 6 + 2


async def test_database_that_refuses_the_current_secret_is_unavailable(
    role: Postgres, start: Services, vault: Vault
) -> None:
    """An unchanged secret is read once more, not tried once more; then the error is the usual."""
    role.execute(f"ALTER ROLE {USER} PASSWORD '{SECOND}'")
    async with Wire.to(role) as wire:
        service = await begin(start, vault, POSTGRES_PORT=wire.port)
        answer = await service.call()
        assert wire.accepted == 1
    assert (answer.status_code, answer.json()["code"]) == (503, "database-unavailable")
    assert len(vault.reads) == 2
    assert service.log().count("28P01") == 1


async def test_host_that_refuses_the_current_secret_is_told(
    role: Postgres, start: Services, vault: Vault
) -> None:
    """The same of SSH: 500 with the known code, and nothing dialled."""
    service = await begin(start, vault, SSH_HOST_KEYS="off")
    service.pbx.password = SECOND
    answer = await service.call()
    assert (answer.status_code, answer.json()["code"]) == (500, "ssh-authentication-failed")
    assert answer.json()["dialled"] == "no"
    assert vault.reads.count(vault.put("pbx", password=SSH_PASSWORD)) == 2
    assert service.pbx.connections == 1


@pytest.mark.parametrize(
    ("text", "why"),
    [
        (f'{{"username": "{USER}", "passwort": "{FIRST}"}}', "password: Field required"),
        (f'{{"password": "{FIRST}"}}', "username: Field required"),
        (FIRST, "Invalid JSON"),
        (f'["{FIRST}"]', "an object"),
    ],
)
async def test_malformed_secret_of_the_database_is_named(
    start: Services, vault: Vault, text: str, why: str
) -> None:
    """503 with the setting's name; the log says what is wrong, and never quotes the secret."""
    service = await start(POSTGRES_SECRET_ARN=vault.put_text("database", text))
    answer = await service.call()
    body = answer.json()
    assert (answer.status_code, body["code"]) == (503, "postgres-secret-unreadable")
    assert body["detail"] == "POSTGRES_SECRET_ARN: the secret is not as it must be"
    assert (body["dialled"], answer.headers["Retry-After"]) == ("no", "5")
    assert why in service.log()
    assert FIRST not in service.log() + answer.text


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ('{"username": "calls"}', "needs password or private_key"),
        ('{"private_key": "~/.ssh/id_ed25519"}', "private_key must be the key itself"),
        (f"{FIRST}", "Invalid JSON"),
    ],
)
async def test_malformed_secret_of_ssh_is_named(
    start: Services, vault: Vault, text: str, why: str
) -> None:
    """The same, as a failure of which it is certain that nothing was dialled."""
    service = await start(SSH_SECRET_ARN=vault.put_text("pbx", text))
    answer = await service.call()
    body = answer.json()
    assert (answer.status_code, body["code"]) == (503, "ssh-secret-unreadable")
    assert body["detail"].endswith("SSH_SECRET_ARN: the secret is not as it must be")
    assert (body["dialled"], service.originates()) == ("no", [])
    assert why in service.log()
    assert FIRST not in service.log() + answer.text


async def test_broken_key_of_a_secret_is_named(start: Services, vault: Vault) -> None:
    """A key that begins like one and is none: the error names the secret's setting."""
    key = "-----BEGIN OPENSSH PRIVATE KEY-----\nbm8ga2V5\n-----END OPENSSH PRIVATE KEY-----\n"
    service = await start(SSH_SECRET_ARN=vault.put("pbx", private_key=key))
    answer = await service.call()
    assert answer.json()["code"] == "ssh-authentication-failed"
    assert answer.json()["detail"].endswith("SSH_SECRET_ARN is not a key that can be read")


@pytest.mark.parametrize("setting", ["POSTGRES_SECRET_ARN", "SSH_SECRET_ARN"])
async def test_missing_secret_is_named(start: Services, vault: Vault, setting: str) -> None:
    """No such secret: 503 with the setting's name, and the log has AWS's own words."""
    arn = "arn:aws:secretsmanager:eu-central-1:123456789012:secret:none-AbCdEf"
    service = await start(**{setting: arn})
    answer = await service.call()
    assert answer.status_code == 503
    assert answer.json()["detail"].endswith(f"{setting}: the secret cannot be read")
    assert "ResourceNotFoundException" in service.log()
    assert "Traceback" not in service.log()


@pytest.mark.parametrize("setting", ["POSTGRES_SECRET_ARN", "SSH_SECRET_ARN"])
async def test_forbidden_secret_is_named(start: Services, vault: Vault, setting: str) -> None:
    """Without the permission: the same; once it is granted, the service works."""
    fields = {"username": "postgres", "password": start.postgres.password}
    if setting == "SSH_SECRET_ARN":
        fields = {"password": SSH_PASSWORD}
    service = await start(**{setting: vault.put("one", **fields)}, PBX_RETRY_S="0.001")
    vault.refuses = True
    answer = await service.call()
    assert answer.status_code == 503
    assert answer.json()["detail"].endswith(f"{setting}: the secret cannot be read")
    assert "AccessDeniedException" in service.log()
    vault.refuses = False
    assert (await service.call()).status_code == 200


async def test_known_secrets_are_used_while_secrets_manager_is_away(
    role: Postgres, start: Services, vault: Vault
) -> None:
    """Expired, and not to be had: the last known ones still open the doors."""
    service = await begin(start, vault)
    assert (await service.call()).status_code == 200
    vault.refuses = True
    the_secrets_provider().clear_cache()
    the_database().close()
    await the_pbx().close()
    assert await call_many(service, 1, 1) == [200]
    assert len(vault.reads) == 4


async def test_private_key_and_its_user_may_be_the_secret(start: Services, vault: Vault) -> None:
    """The host is entered with the secret's key, as the secret's user."""
    key = asyncssh.generate_private_key("ssh-ed25519")
    pbx = make_pbx(
        username="calls", password=None, authorized_keys=key.export_public_key().decode()
    )
    await start.stack.enter_async_context(pbx)
    text = key.export_private_key().decode()
    service = await start.on(
        pbx, SSH_SECRET_ARN=vault.put("pbx", username="calls", private_key=text)
    )
    assert (await service.call()).status_code == 200
    assert text.splitlines()[1] not in service.log()


async def test_secrets_are_shown_nowhere(role: Postgres, start: Services, vault: Vault) -> None:
    """Neither the log nor the text of any object that holds one has a password in it."""
    service = await begin(start, vault)
    await service.call()
    rotate_database(role, vault, SECOND)
    the_database().close()
    await call_many(service, 1, 1)
    logins = the_database()._login._logins
    seen = " ".join(
        [service.log(), repr(the_database()), repr(the_pbx()), repr(logins), str(logins.read())]
    )
    assert "🔁 POSTGRES_SECRET_ARN" in seen
    for password in (FIRST, SECOND, SSH_PASSWORD):
        assert password not in seen


def test_operator_is_told_whose_rights_are_missing(
    postgres: Postgres,
    vault: Vault,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """An operator's command logs in with the secret too, and names its user."""
    postgres.execute(
        "DROP ROLE IF EXISTS rightless; CREATE ROLE rightless LOGIN PASSWORD 'rightless'"
    )
    settings = postgres.environment() | {
        "POSTGRES_USER": "nobody",
        "POSTGRES_SECRET_ARN": vault.put("it", username="rightless", password="rightless"),
    }
    for name, value in settings.items():
        monkeypatch.setenv(name, value)
    forget_process()
    assert main(["migrate"]) == 1
    assert "PostgreSQL user rightless has no right" in capsys.readouterr().err
    forget_process()
