"""A key of the service's own that has no shell: what it does at full speed, and what it cannot."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import asyncssh
import pytest

from shared.asterisk.socket_console import SocketConsole
from shared.operate.check import find
from shared.operate.findings import Finding
from shared.settings import the_settings
from shared.store.database import the_database
from tests.pbx.lab import Lab
from tests.pbx.service import SECRET, TALKS, Phones, Services
from tests.pbx.test_following import reach

pytestmark = pytest.mark.anyio

# As docs/security.md has it.
CONFINED = 'restrict,port-forwarding,command="internal-sftp -R"'
DOCS = (Path(__file__).parents[2] / "docs" / "security.md").read_text("utf-8")


@pytest.fixture
def confined(lab: Lab) -> Iterator[dict[str, object]]:
    """The settings of a service whose key root accepts so, and no password."""
    path = lab.root / "root" / ".ssh" / "authorized_keys"
    before = path.read_text()
    key = asyncssh.generate_private_key("ssh-ed25519")
    path.write_text(f"{before}{CONFINED} {key.export_public_key().decode()}")
    yield {"SSH_PASSWORD": "", "SSH_PRIVATE_KEY": key.export_private_key().decode()}
    path.write_text(before)


async def look() -> dict[str, Finding]:
    """What `check` finds, by its names."""
    return {one.name: one async for one in find(the_database(), the_settings(), "0367")}


async def test_it_places_calls_and_reads_their_end(
    phones: Phones, start: Services, confined: dict[str, object]
) -> None:
    """By the control socket, once; the PBX's own records are read."""
    service = await start(**confined)

    answer = await service.call("154", TALKS)

    assert (answer.status_code, service.consoles()) == (200, [SocketConsole])
    await reach(service, answer.json()["call_id"], "ended")  # by its record
    assert await phones.in_the_end() == {"154": 1, "trunktalk": 1}
    headers = {"Authorization": f"Bearer {SECRET}"}
    history = await service.http.get("/api/history", params={"limit": "1"}, headers=headers)
    assert history.status_code == 200, history.text
    assert history.json()["calls"][0]["call_id"] == answer.json()["call_id"]


async def test_it_runs_nothing_and_writes_nothing(
    lab: Lab, start: Services, confined: dict[str, object]
) -> None:
    """No command, no terminal, no file: sshd starts its server of files, read-only, instead."""
    key = asyncssh.import_private_key(str(confined["SSH_PRIVATE_KEY"]))
    async with asyncssh.connect(
        lab.host, lab.ssh_port, username="root", client_keys=[key], known_hosts=None, config=None
    ) as raw:
        done = await raw.run("touch /tmp/was-here; echo out")
        assert done.stdout == "This service allows sftp connections only.\n"
        assert done.exit_status == 1
        assert not (lab.root / "tmp" / "was-here").exists()
        async with raw.start_sftp_client() as sftp:
            assert await sftp.exists("/etc/hosts")
            with pytest.raises(asyncssh.SFTPPermissionDenied):
                await sftp.open("/tmp/was-here", "w")
    service = await start(**confined, ASTERISK_TRANSPORT="exec")
    answer = await service.call("152", TALKS)
    assert (answer.status_code, answer.json()["code"]) == (500, "asterisk-unavailable")
    assert answer.json()["dialled"] == "no"


async def test_check_tells_the_confined_key_from_the_open_one(
    lab: Lab, start: Services, confined: dict[str, object]
) -> None:
    """The one is good in every step but the clock, which no shell tells; the other is named."""
    await start(**confined)
    found = await look()
    assert found["shell"].state == "good"
    assert found["console"].detail.startswith("control socket")
    assert {name for name, one in found.items() if one.state in {"bad", "skipped"}} == {"clock"}
    await start(SSH_PASSWORD="", SSH_PRIVATE_KEY=lab.private_key_path)
    assert CONFINED in (await look())["shell"].remedy


def test_the_docs_have_this_line() -> None:
    """What is recommended is what is tried here."""
    assert CONFINED in DOCS
