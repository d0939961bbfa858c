"""What processes tell each other by the database, and what the panel makes of it."""

from __future__ import annotations

import pytest

from shared.errors import DatabaseUnavailable
from shared.notices import SECRET_IN_URL, the_notices
from shared.pbx.hosts import the_pbx
from shared.pbx.telling import Telling, the_telling
from shared.store.database import Database, the_database
from shared.store.told import ToldHost, tell
from tests.integration.panel import TOKEN, Visitor, browser, visit
from tests.integration.service import PHONE, SECRET, Service, Services

pytestmark = pytest.mark.anyio

GATE = {"size": 8, "leased": 3, "waiting": 2}
STATE = {
    "transport": "exec",
    "why": "socket-refused",
    "retry_s": 60.0,
    "version": "22.1.0",
    "latencies_ms": [4.0],
    "gate": GATE,
    "breaker": None,
    "live": {"channels": 17, "ago_s": 1.0},
}


def host(*, is_up: bool | None, lasts_s: float, ago_s: float, error: str | None = None) -> ToldHost:
    """What another process tells of the one host."""
    return ToldHost("127.0.0.1", STATE, is_up, lasts_s, ago_s, error, ago_s if error else None)


async def reach(service: Service) -> tuple[bool, float, str | None]:
    """Whether the host is reached, for how many seconds, and its last error."""
    (row,) = service.postgres.execute(
        "SELECT is_up, extract(epoch FROM clock_timestamp() - since)::float8 AS lasts_s, error_code"
        "  FROM callapi.host_reach"
    )
    return row["is_up"], row["lasts_s"], row["error_code"]


async def test_whoever_asked_last_says_whether_a_host_is_reached(service: Service) -> None:
    """Since the first of those that agree; who has seen it earlier changes nothing."""
    database = the_database()
    await tell(database, "a", [host(is_up=True, lasts_s=900, ago_s=100)], ())
    await tell(database, "b", [host(is_up=True, lasts_s=50, ago_s=50)], ())
    is_up, lasts_s, _ = await reach(service)
    assert is_up
    assert lasts_s >= 900
    away = host(is_up=False, lasts_s=30, ago_s=20, error="ssh-connect-timeout")
    await tell(database, "c", [away], ())
    await tell(database, "a", [host(is_up=True, lasts_s=900, ago_s=60)], ())
    is_up, lasts_s, error = await reach(service)
    assert (is_up, error) == (False, "ssh-connect-timeout")
    assert 30 <= lasts_s < 60
    # It has reached the host all along, as far as it knows; it did not 20 s ago.
    await tell(database, "a", [host(is_up=True, lasts_s=960, ago_s=0)], ())
    is_up, lasts_s, error = await reach(service)
    assert (is_up, error) == (True, "ssh-connect-timeout")
    assert lasts_s < 60


async def test_the_panel_shows_what_another_process_knows(start: Services) -> None:
    """Whichever process answers: the other one's turns, channels and transport are there."""
    panel = await start(ADMIN_TOKEN=TOKEN)
    await tell(the_database(), "other", [host(is_up=True, lasts_s=900, ago_s=1)], ())
    async with browser(panel) as http:
        page = await (await visit(http)).see("/hosts")
    for shown in (
        *("Reachable since", "22.1.0", "exec: slower: the control socket is refused"),
        *("17", "3 used, 2 waiting", "each process has 8", "free to connect"),
        *("4.0 ms; of the last 1: median 4.0 ms, longest 4.0 ms",),
    ):
        assert shown in page
    assert panel.pbx.connections == 0


async def test_what_does_not_change_is_told_once(service: Service) -> None:
    """A process that asks nothing of its hosts asks nothing of the database either."""
    assert (await service.call()).status_code == 200
    telling = Telling(the_database())
    await telling.tell()
    (row,) = service.postgres.execute("SELECT host, state FROM callapi.host_states")
    assert row["host"] == "127.0.0.1"
    assert row["state"]["transport"] == "socket"
    assert row["state"]["why"] == "quickest"
    assert (await reach(service))[0]
    service.postgres.execute("DELETE FROM callapi.host_states")
    observed = the_pbx()._observed["127.0.0.1"]
    observed._seen_at -= 3600  # an hour later
    observed._error = None
    await telling.tell()
    assert service.postgres.execute("SELECT * FROM callapi.host_states") == []
    observed.note_live(3)
    await telling.tell()
    (row,) = service.postgres.execute("SELECT state FROM callapi.host_states")
    assert row["state"]["live"]["channels"] == 3


async def test_a_host_that_is_away_is_told_with_its_remedy(start: Services) -> None:
    """Since when, by which error, and what to do; its breaker holds."""
    panel = await start(ADMIN_TOKEN=TOKEN, SSH_PASSWORD="wrong-0a1b2c3d")
    assert (await panel.call()).status_code == 500
    async with browser(panel) as http:
        page = await (await visit(http)).see("/hosts")
    for shown in ("Away since", "ssh-authentication-failed", "Set SSH_USER", "not to be connected"):
        assert shown in page
    assert "Reachable since" not in page


async def test_a_secret_in_the_url_is_counted_for_its_enterprise(
    panel: Service, visitor: Visitor
) -> None:
    """How often and when last, on its page and in the list; what is made up counts for nobody."""
    params = {"code": "150", "phone": PHONE, "clientId": SECRET}
    async with panel.from_address("192.0.2.9") as http:
        for _ in range(3):
            assert (await http.get("/api/makecallexternal", params=params)).status_code == 200
        for wrong in ("made-up-0123456789abcdef", "0367", "x" * 200):
            answer = await http.get("/api/calls", params={"clientId": wrong})
            assert answer.status_code == 401
    assert (await panel.call()).status_code == 200  # in a header, as it should be
    assert [(one.enterprise, one.what, one.times) for one in the_notices().take()] == [
        ("0367", SECRET_IN_URL, 3)
    ]
    the_notices().note("0367", SECRET_IN_URL)
    page = await visitor.see("/enterprise?number=0367")
    assert "sent in the URL, where logs and proxies keep it; requests: 1, last 20" in page
    assert "Authorization: Bearer" in page
    the_notices().note("0367", SECRET_IN_URL)
    assert "; requests: 2, last 20" in await visitor.see("/enterprise?number=0367")
    assert SECRET not in page


async def test_a_limit_that_refused_is_told_of_its_enterprise(start: Services) -> None:
    """Which one and when last; that of an address is nobody's."""
    panel = await start(
        ADMIN_TOKEN=TOKEN,
        RATE_LIMIT_ENTERPRISE="1/3600",
        RATE_LIMIT_READS="1/3600",
        RATE_LIMIT_ADDRESS="1/3600",
    )
    assert (await panel.call()).status_code == 200
    assert (await panel.call("151")).status_code == 429
    headers = {"Authorization": f"Bearer {SECRET}"}
    for status in (200, 429, 429):
        assert (await panel.http.get("/api/calls", headers=headers)).status_code == status
    for status in (401, 429):
        wrong = {"Authorization": "Bearer made-up-0123456789abcdef"}
        assert (await panel.http.get("/api/calls", headers=wrong)).status_code == status
    async with browser(panel) as http:
        visitor = await visit(http)
        listed = await visitor.see("/enterprises")
        page = await visitor.see("/enterprise?number=0367")
    for text in (listed, page):
        assert "RATE_LIMIT_ENTERPRISE: the enterprise" in text
        assert "RATE_LIMIT_READS: reading calls" in text
    rows = panel.postgres.execute("SELECT enterprise, what, times FROM callapi.notices ORDER BY 2")
    assert [tuple(row.values()) for row in rows] == [
        ("0367", "enterprise", 1),
        ("0367", "reads", 2),
    ]


async def test_while_the_database_is_away_notices_are_kept(
    service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They are told by the next statement that passes."""
    assert service.pbx
    the_notices().note("0367", "reads")
    with monkeypatch.context() as away:

        async def fail(*_: object, **__: object) -> None:
            raise DatabaseUnavailable("away")

        away.setattr(Database, "run", fail)
        with pytest.raises(DatabaseUnavailable):
            await the_telling().tell()
    await the_telling().tell()
    rows = service.postgres.execute("SELECT what, times FROM callapi.notices")
    assert rows == [{"what": "reads", "times": 1}]
