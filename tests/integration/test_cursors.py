"""Cursors over HTTP: one that we did not write for this very caller reaches no PBX."""

from __future__ import annotations

from typing import Any

import pytest

from shared.operate import __main__ as operate
from tests.integration.service import SECRET, Service, Services
from tests.unit.cdr_rows import line

pytestmark = pytest.mark.anyio

JULY = "july-77aa10c2b3d4e5f6"
ENDPOINTS = ["/api/history", "/api/calls"]
endpoints = pytest.mark.parametrize("endpoint", ENDPOINTS)
LETTERS = "Ab0-_"


async def first_page(service: Service, endpoint: str) -> str:
    """Have three calls in the listing and read a page of one; the cursor of the next."""
    if endpoint == "/api/calls":
        for phone in ("+375290000002", "+375290000001", "+375296254070"):
            assert (await service.call(phone=phone)).status_code == 200
    else:
        for number in range(3):
            row = line(f"SIP/trunk-{number:08x}", "SIP/150-00000010", at=60 * number, talks=5)
            service.pbx.write_cdr(row)
    answer = await service.http.get(endpoint, params={"limit": 1})
    assert answer.status_code == 200, answer.text
    cursor = answer.json()["next"]
    assert cursor
    return str(cursor)


async def read(service: Service, endpoint: str, cursor: str, secret: str = SECRET) -> Any:
    """Read the page that a cursor leads to."""
    return await service.http.get(
        endpoint,
        params={"limit": 1, "cursor": cursor},
        headers={"Authorization": f"Bearer {secret}"},
    )


async def is_refused(service: Service, endpoint: str, cursor: str, secret: str = SECRET) -> bool:
    """Tell whether it is a 422 that names the field, and whether the PBX heard nothing of it."""
    before = (service.pbx.connections, service.pbx.sessions, service.pbx.opens)
    answer = await read(service, endpoint, cursor, secret)
    after = (service.pbx.connections, service.pbx.sessions, service.pbx.opens)
    fields = [error["field"] for error in answer.json().get("errors", [])]
    return (answer.status_code, fields, after) == (422, ["cursor"], before)


@endpoints
async def test_no_letter_of_a_cursor_may_be_changed(service: Service, endpoint: str) -> None:
    """An unsigned one told the bytes of a neighbour's records, one request for each guess."""
    cursor = await first_page(service, endpoint)
    assert (await read(service, endpoint, cursor)).status_code == 200
    for index, old in enumerate(cursor):
        new = next(letter for letter in LETTERS if letter != old)
        assert await is_refused(service, endpoint, cursor[:index] + new + cursor[index + 1 :])
    for other in (cursor[:-1], cursor + "A", cursor + "=", cursor.swapcase()):
        assert await is_refused(service, endpoint, other)


@endpoints
async def test_a_cursor_is_its_enterprises_own(start: Services, endpoint: str) -> None:
    """Neither a neighbour on the same PBX nor the other listing takes it."""
    service = await start(SHARED_HOSTS="allow")
    service.postgres.seed_enterprise("0368", "july", "127.0.0.1", JULY)
    cursor = await first_page(service, endpoint)
    assert await is_refused(service, endpoint, cursor, JULY)
    (other,) = set(ENDPOINTS) - {endpoint}
    assert await is_refused(service, other, cursor)
    service.postgres.execute("UPDATE enterprises SET ip = '192.0.2.77' WHERE number = '0367'")
    assert await is_refused(service, endpoint, cursor)


@endpoints
async def test_an_operator_ends_every_cursor(
    service: Service, endpoint: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """With the key renewed the old ones are none, at once; new ones are given out."""
    cursor = await first_page(service, endpoint)
    assert operate.main(["renew-cursor-key"]) == 0
    assert "Every cursor" in capsys.readouterr().out
    assert await is_refused(service, endpoint, cursor)
    again = (await service.http.get(endpoint, params={"limit": 1})).json()["next"]
    assert (await read(service, endpoint, again)).status_code == 200


@endpoints
@pytest.mark.parametrize(
    "moment",
    ["0001-01-01T00:00:00+14:00", "9999-12-31T23:59:59-12:00", "0000-01-01T00:00:00Z"],
)
@pytest.mark.parametrize("name", ["since", "until"])
async def test_a_moment_that_no_clock_shows_is_named(
    service: Service, endpoint: str, name: str, moment: str
) -> None:
    """Its year would lie outside of 1 to 9999: 422 before SSH, never a defect of ours."""
    answer = await service.http.get(endpoint, params={name: moment})
    assert answer.status_code == 422, answer.text
    assert [error["field"] for error in answer.json()["errors"]] == [name]
    assert service.pbx.connections == 0


@endpoints
@pytest.mark.parametrize(
    ("since", "until"),
    [
        ("0001-01-01T00:00:00Z", "9999-12-31T23:59:59Z"),
        ("0001-01-01T14:00:00+14:00", "9999-12-31T11:59:59-12:00"),
        ("9999-12-31T23:59:59Z", "0001-01-01T00:00:00Z"),
    ],
)
async def test_the_first_and_the_last_moment_are_moments(
    service: Service, endpoint: str, since: str, until: str
) -> None:
    """The whole of history, or none of it, as the caller says."""
    await first_page(service, endpoint)
    answer = await service.http.get(endpoint, params={"since": since, "until": until})
    assert answer.status_code == 200, answer.text
    assert len(answer.json()["calls"]) == (3 if since < until else 0)
