"""One PBX is one host, however its address is spelled: no tap, no foreign view, no hang-up."""

from __future__ import annotations

import asyncio
from functools import partial
from typing import Any

import asyncssh
import httpx
import pytest

from demo.pbx.faults import Stage
from demo.standin import StandIn
from shared.auth.caller import Caller
from shared.auth.enterprise import identify
from shared.deadline import Deadline
from shared.errors import HostUnverified
from shared.following import late
from shared.operate import __main__ as operate
from shared.pbx import hosts, names
from shared.store.database import Database
from shared.store.sqlstates import TextRefused
from tests.integration.followed import BUSY, follow, place
from tests.integration.service import (
    OTHER_PHONE,
    PHONE,
    SECRET,
    Service,
    Services,
    make_pbx,
    until,
)
from tests.postgres import Postgres

pytestmark = pytest.mark.anyio

OTHER = "july-77aa10c2b3d4e5f6"
THIRD = "august-0c94d1b7e2a6f583"
RINGS = "153"  # for six seconds, and nobody answers
LISTED = "core show channels concise"
# Beside "127.0.0.1"; the last is another address, at which the same host answers.
SPELLINGS = [
    *("localhost", "LOCALHOST", "::ffff:127.0.0.1", "[::ffff:127.0.0.1]", " 127.0.0.1 "),
    *("127.1", "0.0.0.0", "127.0.0.2"),
]


async def _start(start: Services, ip: str, *, scale: float = 0.02, **settings: object) -> Service:
    """Start beside a PBX that answers at all addresses, with another enterprise that has it."""
    pbx = await start.stack.enter_async_context(make_pbx(host="0.0.0.0", time_scale=scale))
    service = await start.on(pbx, **settings)
    service.postgres.seed_enterprise("0368", "july", ip, OTHER)
    return service


async def _get(service: Service, path: str, secret: str = SECRET) -> httpx.Response:
    return await service.http.get(path, headers={"Authorization": f"Bearer {secret}"})


async def _whole_host(service: Service, secret: str) -> list[tuple[int, str]]:
    """Ask for all that would show a neighbour's calls; the codes of the refusals."""
    answers = [
        await service.monitor(target="150", secret=secret),
        await _get(service, "/api/calls?source=pbx", secret),
        await _get(service, "/api/history", secret),
        await _get(service, "/api/extensions/150", secret),
    ]
    return [(a.status_code, a.json().get("code", "")) for a in answers]


def _taps(service: Service) -> list[str]:
    return service.originates("ChanSpy")


def _is_confirmed(service: Service, call_id: str) -> bool:
    return bool(service.row(call_id)["cdr"] == "confirmed")


def _hangups(pbx: StandIn) -> list[str]:
    return [command for command in pbx.commands if command.startswith("channel request hangup")]


@pytest.mark.parametrize("ip", SPELLINGS)
async def test_another_spelling_shares_the_host(start: Services, ip: str) -> None:
    """Where both have called, neither taps the PBX nor sees its calls; each still calls."""
    service = await _start(start, ip)
    for secret in (SECRET, OTHER):
        assert (await service.call(secret=secret)).status_code == 200
    for secret in (SECRET, OTHER):
        assert await _whole_host(service, secret) == [(403, "shared-host")] * 4
    assert _taps(service) == []
    assert await service.rung("150", 2) == 2


@pytest.mark.parametrize("ip", SPELLINGS)
async def test_a_first_request_may_be_a_tap(start: Services, ip: str) -> None:
    """Whoever has never been seen before is connected to first, and then refused."""
    service = await _start(start, ip)
    assert (await service.call()).status_code == 200
    tap = await service.monitor(target="150", secret=OTHER)
    assert (tap.status_code, tap.json()["code"], tap.json()["dialled"]) == (
        403,
        "shared-host",
        "no",
    )
    assert _taps(service) == []
    assert service.claims() == 1
    assert service.pbx.connections <= 2 + 2  # each once to be shown its key, and once for good


@pytest.mark.parametrize("mode", ["off", "known_hosts"])
async def test_without_pinned_keys_address_and_asterisk_count(
    start: Services, mode: str, tmp_path: Any
) -> None:
    """Where no key is pinned, another address is known by what its Asterisk says of itself."""
    known = tmp_path / "known_hosts"
    pbx = await start.stack.enter_async_context(make_pbx(host="0.0.0.0"))
    key = pbx.host_key.export_public_key().decode().strip()
    names = ",".join(f"[{name}]:{pbx.port}" for name in ("127.0.0.1", "127.0.0.2", "localhost"))
    known.write_text(f"{names} {key}\n")
    service = await start.on(pbx, SSH_HOST_KEYS=mode, SSH_KNOWN_HOSTS_FILE=known)
    for number, ip, secret in (("0368", "127.0.0.2", OTHER), ("0369", "localhost", THIRD)):
        service.postgres.execute("DELETE FROM enterprises WHERE number <> '0367'")
        service.postgres.seed_enterprise(number, "other", ip, secret)
        assert (await service.call(secret=secret)).status_code == 200
        assert await _whole_host(service, SECRET) == [(403, "shared-host")] * 4
    assert service.postgres.execute("SELECT * FROM callapi.host_keys") == []
    assert _taps(service) == []


async def test_sharing_ends_with_the_other(start: Services) -> None:
    """An enterprise that is active no more shares nothing."""
    service = await _start(start, "localhost")
    assert (await service.monitor()).status_code == 403
    service.postgres.execute("UPDATE enterprises SET active = false WHERE number = '0368'")
    assert (await service.monitor()).status_code == 200


async def test_shared_hosts_may_be_allowed(start: Services) -> None:
    """SHARED_HOSTS=allow: nobody is looked up, and all may hear each other as before."""
    service = await _start(start, "localhost", SHARED_HOSTS="allow")
    assert (await service.monitor()).status_code == 200
    assert (await _get(service, "/api/extensions/150")).status_code == 200
    assert (await _get(service, "/api/history")).status_code == 200
    rows = service.postgres.execute("SELECT * FROM callapi.hosts WHERE due_at IS NOT NULL")
    assert rows == []


async def test_named_extensions_are_each_ones_own(start: Services) -> None:
    """One owns 150, the other 151: each is monitored and seen by its own alone."""
    service = await _start(start, "localhost")
    assert operate.main(["rules", "0367", "--extensions", "150", "152"]) == 0
    assert operate.main(["rules", "0368", "--extensions", "151", "154"]) == 0
    assert (await service.monitor(target="150", monitor_from="152")).status_code == 200
    for target, monitor_from in (("151", "152"), ("150", "154")):
        foreign = await service.monitor(target=target, monitor_from=monitor_from)
        assert (foreign.status_code, foreign.json()["code"]) == (403, "extension-not-owned")
    own = await service.monitor(target="151", monitor_from="154", secret=OTHER)
    assert own.status_code == 200
    assert (await _get(service, "/api/extensions/150")).status_code == 200
    assert (await _get(service, "/api/extensions/151")).status_code == 403
    assert (await _get(service, "/api/history")).status_code == 200
    assert len(_taps(service)) == 2


async def test_two_clones_are_two_hosts(start: Services) -> None:
    """Two PBXs show one key: each has its own calls, followed by itself, and nobody taps either."""
    start.follow = True
    key = asyncssh.generate_private_key("ssh-ed25519")
    one = await start.stack.enter_async_context(make_pbx(host_key=key, hostname="pbx"))
    two = await start.stack.enter_async_context(
        make_pbx(host_key=key, hostname="pbx", host="127.0.0.2", port=one.port)
    )
    service = await start.on(one)
    service.postgres.seed_enterprise("0368", "july", "127.0.0.2", OTHER)
    answers = [await service.call(secret=SECRET), await service.call(secret=OTHER)]
    assert [a.status_code for a in answers] == [200, 200]
    for pbx in (one, two):
        assert len([c for c in pbx.commands if c.startswith("channel originate")]) == 1
    for answer, host in zip(answers, ("127.0.0.1", "127.0.0.2"), strict=True):
        call_id = answer.json()["call_id"]
        assert answer.json()["host_ip"] == service.row(call_id)["host"] == host
        await until(partial(_is_confirmed, service, call_id))
        assert service.row(call_id)["reason"] == "answered"
    trackers = service.postgres.execute("SELECT host FROM callapi.trackers ORDER BY host")
    assert [row["host"] for row in trackers] == ["127.0.0.1", "127.0.0.2"]
    for secret in (SECRET, OTHER):
        assert await _whole_host(service, secret) == [(403, "shared-host")] * 4


async def test_clones_without_pinned_keys_are_apart(start: Services) -> None:
    """Other addresses and other Asterisks: a key that nobody pins makes them no neighbours."""
    key = asyncssh.generate_private_key("ssh-ed25519")
    one = await start.stack.enter_async_context(make_pbx(host_key=key, hostname="pbx"))
    await start.stack.enter_async_context(
        make_pbx(host_key=key, hostname="pbx", host="127.0.0.2", port=one.port)
    )
    service = await start.on(one, SSH_HOST_KEYS="off")
    service.postgres.seed_enterprise("0368", "july", "127.0.0.2", OTHER)
    assert (await service.call(secret=OTHER)).status_code == 200
    assert (await service.monitor()).status_code == 200


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Look for late calls more often than every second."""
    monkeypatch.setattr(late, "_FIRST_PAUSE_S", 0.03)
    monkeypatch.setattr(late, "_LONGEST_PAUSE_S", 0.06)


@pytest.mark.usefixtures("impatient")
@pytest.mark.parametrize("ip", ["127.0.0.1", *SPELLINGS])
async def test_a_lost_call_adopts_and_hangs_up_nothing_of_another_spelling(
    start: Services, ip: str
) -> None:
    """A call that was never executed, while the same extension rings for a neighbour's."""
    own: dict[str, object] = {"COMMAND_TIMEOUT_S": 5, "PRECHECK": "off", "PBX_RETRY_S": 1e-9}
    service = await _start(start, ip, scale=1.0, **own)
    assert (await service.call("151", OTHER_PHONE)).status_code == 200
    service.pbx.hang_up_all()
    service.pbx.drop_after(Stage.WRITTEN, containing=PHONE)
    lost = await service.call(RINGS)
    assert lost.json()["code"] == "outcome-unknown"
    other = await service.call(RINGS, OTHER_PHONE, secret=OTHER)
    assert other.status_code == 200
    before = service.pbx.commands.count(LISTED)
    await until(lambda: service.pbx.commands.count(LISTED) >= before + 4)
    assert service.row(other.json()["call_id"])["root_channel"] in service.pbx.channels
    assert _hangups(service.pbx) == []
    row = service.row(lost.json()["call_id"])
    assert (row["state"], row["root_channel"]) == ("unknown", None)


@pytest.mark.usefixtures("impatient")
async def test_a_lost_call_is_still_found_beside_a_neighbour(start: Services) -> None:
    """A neighbour's calls to other extensions are in nobody's way: the late call is hung up."""
    own: dict[str, object] = {"COMMAND_TIMEOUT_S": 5, "PRECHECK": "off", "PBX_RETRY_S": 1e-9}
    service = await _start(start, "localhost", scale=1.0, **own)
    other = await service.call("157", OTHER_PHONE, secret=OTHER)
    service.pbx.drop_after(Stage.EXECUTED, containing=PHONE)
    lost = (await service.call(RINGS)).json()["call_id"]
    await until(lambda: service.row(lost)["error_code"] == "late-call-hung-up")
    assert service.row(other.json()["call_id"])["root_channel"] in service.pbx.channels
    assert _hangups(service.pbx) == [f"channel request hangup {service.row(lost)['root_channel']}"]


@pytest.mark.parametrize("ip", SPELLINGS)
async def test_a_call_is_ended_and_handed_over_by_its_owner_alone(start: Services, ip: str) -> None:
    """DELETE ends the own call of two alike; the other's is 404, and goes on."""
    service = await _start(start, ip, scale=1.0)
    calls = {
        secret: (await service.call(RINGS, phone, secret=secret)).json()["call_id"]
        for secret, phone in ((SECRET, PHONE), (OTHER, OTHER_PHONE))
    }
    mine, theirs = f"/api/calls/{calls[SECRET]}", f"/api/calls/{calls[OTHER]}"
    assert (await service.http.delete(theirs)).status_code == 404
    handed = await service.http.post(f"{theirs}/transfer", json={"to": "151"})
    assert handed.status_code == 404
    assert (await service.http.delete(mine)).status_code == 200
    await until(lambda: service.row(calls[SECRET])["root_channel"] not in service.pbx.channels)
    assert service.row(calls[OTHER])["root_channel"] in service.pbx.channels


async def test_a_name_that_does_not_resolve_is_in_nobodys_way(start: Services) -> None:
    """It is remembered with no address, and so is a text that is none; others go on."""
    service = await _start(start, "nosuch.invalid")
    service.postgres.seed_enterprise("0369", "august", "not an address", THIRD)
    assert (await service.monitor()).status_code == 200
    rows = service.postgres.execute("SELECT host, addresses FROM callapi.hosts ORDER BY host")
    assert {row["host"]: row["addresses"] for row in rows} == {
        "127.0.0.1": ["127.0.0.1"],
        "nosuch.invalid": [],
        "not an address": [],
    }


async def test_what_is_not_known_in_time_is_refused(
    start: Services, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No time for others' names: monitoring and views are 503, calls are placed as ever."""

    async def look_up(*_: object) -> dict[str, tuple[str, ...]]:
        return {}

    service = await _start(start, "192.0.2.1")
    with monkeypatch.context() as patched:
        patched.setattr(names, "look_up", look_up)
        assert await _whole_host(service, SECRET) == [(503, "host-unverified")] * 4
        refused = await service.monitor()
        assert (refused.json()["dialled"], refused.headers["Retry-After"]) == ("no", "5")
        assert (await service.call()).status_code == 200
    assert _taps(service) == []
    assert (await service.monitor()).status_code == 200


async def test_a_pbx_that_is_away_is_named_before_its_neighbours_are(start: Services) -> None:
    """It must be met before it may be tapped: until then the error is that of connecting."""
    service = await _start(start, "192.0.2.1", PBX_RETRY_S=1e-9)
    service.postgres.execute("UPDATE enterprises SET ip = '127.0.0.9' WHERE number = '0367'")
    await service.pbx.__aexit__(None, None, None)
    answer = await service.monitor()
    assert (answer.status_code, answer.json()["code"]) == (500, "ssh-connect-failed")
    assert answer.json()["detail"].startswith("Monitoring initiation failed: SSH command failed: ")
    assert (answer.json()["dialled"], service.claims()) == ("no", 0)
    row = service.row(answer.json()["call_id"])
    assert (row["state"], row["error_code"]) == ("not_executed", "ssh-connect-failed")


async def test_who_reads_its_own_calls_compares_no_hosts(postgres: Postgres) -> None:
    """Who shares a PBX is told to what shows the whole of it; to others it is as if not known."""
    postgres.clear()
    postgres.seed_enterprise("0367", "june", "127.0.0.1", SECRET)
    postgres.seed_enterprise("0368", "july", "127.0.0.1", OTHER)
    settings = postgres.settings()
    database = Database(settings)
    caller = Caller(SECRET, None, Deadline.after(20))
    own = await identify(database, settings, caller, "reads")
    whole = await identify(database, settings, caller, "pbx_reads")
    database.close()
    assert (own.shares_host, whole.shares_host) == (None, True)
    with pytest.raises(HostUnverified):
        own.check_whole_host()


async def test_a_plain_call_asks_nothing_of_sharing(
    start: Services, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither names are looked up for it, nor is the database asked more than once before."""
    service = await _start(start, "localhost")
    assert (await service.call("151")).status_code == 200
    asked: list[str] = []
    run = Database.run

    async def listen(database: Database, sql: str, **parameters: Any) -> Any:
        asked.append(sql)
        return await run(database, sql, **parameters)

    monkeypatch.setattr(Database, "run", listen)
    assert (await service.call("150")).status_code == 200
    assert ["claim_order" in sql for sql in asked] == [True, False]  # the other one settles
    rows = service.postgres.execute("SELECT host, due_at FROM callapi.hosts")
    assert rows == [{"host": "127.0.0.1", "due_at": None}]


async def test_thousands_of_enterprises_are_looked_up_once(start: Services) -> None:
    """The first monitoring looks up all that is new; the next one nothing."""
    service = await _start(start, "192.0.2.1")
    service.postgres.execute(
        "INSERT INTO enterprises (number, name, ip, secret) "
        "SELECT 'n' || i, 'n', format('10.%s.%s.1', i / 250, i % 250), 's' || i "
        "FROM generate_series(1, 3000) i"
    )
    assert (await service.monitor()).status_code == 200
    counted = "SELECT count(*) AS n, max(due_at) AS last FROM callapi.hosts"
    before = service.postgres.execute(counted)
    assert before[0]["n"] == 3002
    assert (await service.monitor(monitor_from="152")).status_code == 200
    assert service.postgres.execute(counted) == before
    service.postgres.seed_enterprise("0370", "late", "LocalHost", THIRD)
    assert (await service.monitor(monitor_from="154")).status_code == 403


async def test_names_are_looked_up_in_the_background(start: Services) -> None:
    """The trackers' search looks them up before anybody waits, and forgets removed ones."""
    service = await _start(start, "localhost")
    service.postgres.execute(
        "INSERT INTO callapi.hosts (host, target, due_at) VALUES "
        "('192.0.2.7', '192.0.2.7', clock_timestamp() - interval '2 days')"
    )
    await names.the_names().refresh_if_due()
    rows = service.postgres.execute("SELECT host, addresses FROM callapi.hosts ORDER BY host")
    assert [(row["host"], row["addresses"]) for row in rows] == [
        ("127.0.0.1", ["127.0.0.1"]),
        ("localhost", ["127.0.0.1"]),
    ]


async def test_a_name_that_fails_for_a_while_keeps_its_addresses(
    start: Services, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A resolver that is away makes nobody's neighbour a stranger."""
    service = await _start(start, "localhost")
    assert (await service.monitor()).status_code == 403
    service.postgres.execute("UPDATE callapi.hosts SET due_at = clock_timestamp()")

    async def look_up(names: set[str], _deadline: object) -> dict[str, tuple[str, ...]]:
        return dict.fromkeys(names, ())

    monkeypatch.setattr(names, "look_up", look_up)
    await names.the_names().refresh_if_due()
    assert (await service.monitor()).status_code == 403


@pytest.mark.parametrize("ip", ["127.0.0.1", "localhost"])
async def test_prefixes_tap_nothing_where_extensions_are_others(start: Services, ip: str) -> None:
    """MONITOR_MATCH=prefix: who owns 15 does not hear 151, which is another's or nobody's."""
    service = await _start(start, ip, MONITOR_MATCH="prefix", PRECHECK="off")
    shared = await service.monitor(target="15", monitor_from="150")
    assert (shared.status_code, shared.json()["code"]) == (403, "shared-host")
    operate.main(["rules", "0367", "--extensions", "15", "150"])
    operate.main(["rules", "0368", "--extensions", "151"])
    named = await service.monitor(target="15", monitor_from="150")
    assert (named.status_code, named.json()["code"]) == (403, "extension-not-owned")
    assert "MONITOR_MATCH" in named.json()["detail"]
    assert (service.originates(), service.claims()) == ([], 0)


async def test_prefixes_tap_where_a_host_is_ones_own(start: Services) -> None:
    """MONITOR_MATCH=prefix restores the literal text for whoever is alone, and names nothing."""
    service = await start(MONITOR_MATCH="prefix")
    assert (await service.monitor()).status_code == 200
    assert _taps(service)[0].endswith("ChanSpy SIP/150,bq")


async def test_numbers_that_differ_by_spaces_are_nobodys(
    start: Services, capsys: pytest.CaptureFixture[str]
) -> None:
    """`0009 ` and `0009` would be one enterprise: both are refused, by name in log and check."""
    service = await _start(start, "127.0.0.1")
    service.postgres.seed_enterprise("0009", "june", "127.0.0.1", THIRD)
    service.postgres.seed_enterprise("0009 ", "august", "127.0.0.1", f"{THIRD}2")
    for secret in (THIRD, f"{THIRD}2"):
        assert (await service.call(secret=secret)).status_code == 401
        assert (await _get(service, "/api/calls", secret)).status_code == 401
    assert "отличается от другого лишь пробелами" in service.log()
    assert service.calls() == []
    assert (await service.call()).status_code == 200
    await asyncio.to_thread(operate.main, ["check", "0009"])
    told = capsys.readouterr().out
    assert "❌ numbers: 2 active enterprises have the number 0009 once it is trimmed" in told


async def test_check_names_the_other_spellings(
    start: Services, capsys: pytest.CaptureFixture[str]
) -> None:
    """An operator is told who has the same PBX, and how each spells it."""
    await _start(start, "localhost")
    await asyncio.to_thread(operate.main, ["check", "0367"])
    told = capsys.readouterr().out
    assert "⚠️ neighbours: treated as one PBX with 0368 (ip localhost), by address" in told
    operate.main(["rules", "0367", "--extensions", "150"])
    await asyncio.to_thread(operate.main, ["check", "0367"])
    assert "✅ neighbours: treated as one PBX with 0368 (ip localhost)" in capsys.readouterr().out


async def test_a_host_name_that_is_no_text_is_in_nobodys_way(start: Services) -> None:
    """A NUL in what an Asterisk says of itself costs neither a call nor a view."""
    pbx = await start.stack.enter_async_context(make_pbx(hostname="st\0ndin\x1b["))
    service = await start.on(pbx)
    assert (await service.call()).status_code == 200
    assert (await _get(service, "/api/extensions/150")).status_code == 200
    rows = service.postgres.execute("SELECT asterisk FROM callapi.hosts")
    assert [row["asterisk"].partition(" ")[2] for row in rows] == ["st\ufffdndin\x1b["]


@pytest.mark.parametrize("error", [TextRefused(), ValueError("a defect")])
async def test_a_name_that_cannot_be_noted_costs_nothing(
    start: Services, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    """Whatever the database has against it, calls, views and looks go on; it is tried once."""
    tried: list[str] = []

    async def note(_database: Database, host: str, _asterisk: str) -> None:
        tried.append(host)
        raise error

    monkeypatch.setattr(hosts, "note_asterisk", note)
    service = await follow(start)
    call_id = await place(service, "150", BUSY)
    assert (await _get(service, "/api/extensions/150")).status_code == 200
    await until(lambda: service.row(call_id)["phase"] == "ended")
    assert tried == ["127.0.0.1"]
