"""`GET /api/history`: the PBX's own records, as its enterprise may see them."""

from __future__ import annotations

import csv
import io
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import pytest

from shared.history.page import Wanted
from shared.store.connection import Rows
from shared.store.database import Database
from shared.turns import Turn
from tests.integration.service import OTHER_PHONE, SECRET, Service, Services, until
from tests.unit.cdr_rows import EPOCH, line

pytestmark = pytest.mark.anyio

JULY = "july-77aa10c2b3d4e5f6"
PATH = "/var/log/asterisk/cdr-csv/Master.csv"


async def history(service: Service, *, secret: str = SECRET, **params: Any) -> httpx.Response:
    """Ask for a page."""
    given = {name: str(value) for name, value in params.items() if value is not None}
    headers = {"Authorization": f"Bearer {secret}"}
    return await service.http.get("/api/history", params=given, headers=headers)


async def told(service: Service, *, secret: str = SECRET, **params: Any) -> list[dict[str, Any]]:
    """The calls of a page that is answered."""
    answer = await history(service, secret=secret, **params)
    assert answer.status_code == 200, answer.text
    calls: list[dict[str, Any]] = answer.json()["calls"]
    return calls


async def all_pages(service: Service, **params: Any) -> list[list[dict[str, Any]]]:
    """Every page, following `next`."""
    pages, cursor = [], None
    while True:
        answer = await history(service, cursor=cursor, **params)
        assert answer.status_code == 200, answer.text
        pages.append(answer.json()["calls"])
        cursor = answer.json()["next"]
        if cursor is None:
            return pages


def write(service: Service, *lines: str) -> None:
    """Let the PBX have written these."""
    service.pbx.write_cdr("".join(lines))


def inbound(number: int, *, extension: str = "150", at: int = 0, talks: int = 30) -> str:
    """A call from outside that an extension answered: one row."""
    channels = f"SIP/trunk-{2 * number:08x}", f"SIP/{extension}-{2 * number + 1:08x}"
    uniqueid = f"{EPOCH + at}.{2 * number}"
    src = f"+37529{number:07}"
    return line(*channels, at=at, rings=5, talks=talks, uniqueid=uniqueid, src=src, dst=extension)


async def place(service: Service, code: str, phone: str = OTHER_PHONE) -> str:
    """Place a call and wait until it is over; its id."""
    answer = await service.call(code, phone)
    assert answer.status_code == 200
    await service.rung(code)
    await until(lambda: not service.pbx.channels)
    call_id: str = answer.json()["call_id"]
    return call_id


async def test_calls_of_ours_are_told_with_their_ids(service: Service) -> None:
    """One entry a call, the newest first; the extension is `from`, also if it never answered."""
    answered = await place(service, "154")
    unanswered = await place(service, "153")
    service.pbx.replace_cdr(inbound(1) + service.pbx.cdr)
    calls = await told(service)
    shown = [(c["from"], c["to"], c["disposition"], c["legs"], c["call_id"]) for c in calls]
    assert shown == [
        ("153", OTHER_PHONE, "no_answer", 1, unanswered),
        ("154", OTHER_PHONE, "answered", 4, answered),
        ("+375290000001", "150", "answered", 1, None),
    ]


async def test_a_call_with_sound_is_told_when_it_is_over(service: Service) -> None:
    """Its Local channels leave rows as they go; until the talk ends there is no entry."""
    service.pbx.time_scale = 0.5  # the talk would last for half a minute
    call_id = (await service.call("156")).json()["call_id"]
    await until(lambda: "SIP/trunk" in service.pbx.cdr)
    assert await told(service) == []
    service.pbx.hang_up_all()
    await until(lambda: not service.pbx.channels)
    (call,) = await told(service)
    assert (call["call_id"], call["disposition"]) == (call_id, "answered")


async def test_an_entry_has_every_field(service: Service) -> None:
    """Times are UTC; the file and its size are told beside the calls."""
    write(service, inbound(7, at=60, talks=9))
    answer = await history(service)
    assert answer.json() == {
        "calls": [
            {
                "started_at": "2026-11-22T20:41:00Z",
                "answered_at": "2026-11-22T20:41:05Z",
                "ended_at": "2026-11-22T20:41:14Z",
                "from": "+375290000007",
                "to": "150",
                "disposition": "answered",
                "duration_s": 14,
                "talk_s": 9,
                "legs": 1,
                "uniqueid": f"{EPOCH + 60}.14",
                "channel": "SIP/trunk-0000000e",
                "call_id": None,
                "kind": "call",
                "direction": "in",
                "agent": {"answered_by": "phone", "ring_s": 5, "talk_s": 9},
                "customer": {"answered_by": "phone", "ring_s": 0, "talk_s": 9},
            }
        ],
        "next": None,
        "cdr": {"file": PATH, "size": len(service.pbx.cdr)},
    }


def moment(at: float) -> str:
    """A time of the test's rows, written with another offset than theirs."""
    zone = timedelta(hours=3)
    time = datetime.fromtimestamp(EPOCH + at, UTC) + zone
    return f"{time:%Y-%m-%dT%H:%M:%S.%f}+03:00"


@pytest.mark.parametrize(
    ("params", "numbers"),
    [
        ({}, [4, 3, 2, 1]),
        ({"since": moment(200)}, [4, 3, 2]),
        ({"since": moment(200.9)}, [4, 3, 2]),  # the rows have whole seconds
        ({"until": moment(200)}, [1]),
        ({"since": moment(200), "until": moment(300)}, [2]),
        ({"extension": "151"}, [2]),
        ({"number": "+375290000003"}, [3]),
        ({"number": "375290000003"}, [3]),
        ({"number": "150"}, [4, 3, 1]),
        ({"disposition": "busy"}, [4]),
        ({"disposition": "failed"}, []),
        ({"limit": 2}, [4, 3]),
    ],
)
async def test_filters(service: Service, params: dict[str, Any], numbers: list[int]) -> None:
    """Each narrows the list; times compare as moments, whatever their offset."""
    write(
        service,
        inbound(1, at=100),
        inbound(2, at=200, extension="151"),
        inbound(3, at=300),
        line("SIP/trunk-9", "SIP/150-a", "BUSY", at=400, src="+375290000004", dst="150"),
    )
    assert [call["from"] for call in await told(service, **params)] == [
        f"+37529000000{number}" for number in numbers
    ]


@pytest.mark.parametrize(
    ("params", "field"),
    [
        ({"since": "yesterday"}, "since"),
        ({"since": "2026-11-23T09:00:00"}, "since"),
        ({"until": "1795380000"}, "until"),
        ({"until": "2026-11-31T09:00:00Z"}, "until"),
        ({"since": "0001-01-01T00:00:00+14:00"}, "since"),
        ({"extension": "15x"}, "extension"),
        ({"number": "bob"}, "number"),
        ({"disposition": "cancelled"}, "disposition"),
        ({"limit": "0"}, "limit"),
        ({"limit": "501"}, "limit"),
        ({"format": "xml"}, "format"),
        ({"cursor": ""}, "cursor"),
        ({"cursor": "AAAA"}, "cursor"),
        ({"cursor": "не курсор"}, "cursor"),
        ({"cursor": "A" * 7_000}, "cursor"),
    ],
)
async def test_a_wrong_parameter_is_named(
    service: Service, params: dict[str, str], field: str
) -> None:
    """422 with the field's name and what it must be; the PBX is not asked."""
    answer = await history(service, **params)
    assert answer.status_code == 422
    assert [error["field"] for error in answer.json()["errors"]] == [field]
    assert service.pbx.connections == 0


async def test_a_plus_that_came_as_a_space_says_so(service: Service) -> None:
    """The offset's plus has to be encoded in a URL."""
    answer = await service.http.get("/api/history?since=2026-11-23T09:00:00+03:00")
    assert answer.status_code == 422
    assert "%2B" in answer.json()["detail"]


@pytest.mark.parametrize("limit", [1, 2, 7, 100])
async def test_pages_cover_everything_once(service: Service, limit: int) -> None:
    """Long calls among short ones, some of which begin on one page and end on another."""
    timed = []
    for number in range(40):
        long = number % 5 == 0
        ends = 100 * number + (1500 if long else 50)
        timed.append((ends, inbound(number, at=100 * number, talks=ends - 100 * number - 5)))
    # One whose first rows lie before all others and whose last after them.
    root, customer = "Local/154@inoffice-2a;", "Local/+375290000001@inoffice-2b;"
    early = (
        line(f"{root}2", "SIP/154-ff", rings=2, talks=3, uniqueid=f"{EPOCH}.8"),
        line(f"{root}1", f"{customer}1", at=2, talks=3, uniqueid=f"{EPOCH}.7"),
        line(f"{customer}2", "SIP/trunk-fe", at=2, rings=3),
    )
    timed += [(5, text) for text in early]
    timed.append((5300, line("SIP/154-ff", "SIP/trunk-fe", at=5, talks=5295)))
    timed.sort(key=lambda pair: pair[0])
    write(service, *(text for _, text in timed))
    pages = await all_pages(service, limit=limit)
    calls = [call for page in pages for call in page]
    assert all(len(page) <= limit for page in pages)
    assert sorted(call["legs"] for call in calls) == [1] * 40 + [4]
    assert len({call["uniqueid"] for call in calls}) == 41
    (long_call,) = (call for call in calls if call["legs"] == 4)
    assert (long_call["from"], long_call["to"]) == ("154", "+375290000001")
    assert long_call["talk_s"] == 5295
    begins = [call["started_at"] for call in calls]
    assert begins == sorted(begins, reverse=True)


async def test_new_calls_move_no_page(service: Service) -> None:
    """A cursor goes on where it was, whatever was written meanwhile."""
    write(service, *(inbound(number, at=100 * number) for number in range(6)))
    first = (await history(service, limit=3)).json()
    write(service, inbound(9, at=900))
    rest = await told(service, cursor=first["next"])
    assert [call["from"][-1] for call in first["calls"] + rest] == list("543210")


async def test_a_large_file_is_read_a_part_a_request(
    service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    """At most MAX_BYTES a request, be the filter ever so rare; `next` leads to the oldest call."""
    monkeypatch.setattr("shared.history.tail.MAX_BYTES", 100_000)
    monkeypatch.setattr("shared.history.tail._FIRST_BYTES", 10_000)
    write(service, *(inbound(number, at=1000 * number) for number in range(2000)))
    assert len(service.pbx.cdr) > 400_000
    pages = await all_pages(service, number="+375290000000")
    assert len(pages) > 3
    assert [len(page) for page in pages] == [0] * (len(pages) - 1) + [1]
    calls = [call for page in await all_pages(service, limit=500) for call in page]
    assert [call["from"] for call in calls] == [f"+37529{n:07}" for n in reversed(range(2000))]


async def test_what_is_older_than_wanted_is_not_read(
    service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With `since` the file's beginning is left alone, and there is no further page."""
    monkeypatch.setattr("shared.history.tail._FIRST_BYTES", 10_000)
    write(service, *(inbound(number, at=1000 * number) for number in range(2000)))
    answer = (await history(service, since=moment(1_995_000))).json()
    assert (len(answer["calls"]), answer["next"]) == (5, None)


async def test_a_file_of_anything_is_no_history(service: Service) -> None:
    """Lines that are none are passed over, however long; a NUL hurts nobody."""
    write(service, "x" * 200_000, "\n", inbound(1), "\0\0\n", '"unfinished')
    (call,) = await told(service)
    assert call["from"] == "+375290000001"


async def test_no_file_content_is_no_calls(service: Service) -> None:
    """A PBX that has carried no call."""
    assert (await history(service)).json()["calls"] == []


@pytest.mark.parametrize("content", ["", inbound(7) + "other rows\n" * 1000])
async def test_a_rotated_file_ends_its_cursors(service: Service, content: str) -> None:
    """Whether the new file is shorter or longer: 422 that says so, and a fresh start works."""
    write(service, *(inbound(number, at=100 * number) for number in range(6)))
    cursor = (await history(service, limit=3)).json()["next"]
    service.pbx.replace_cdr(content)
    answer = await history(service, cursor=cursor)
    assert (answer.status_code, answer.json()["code"]) == (422, "invalid-parameter")
    assert [error["field"] for error in answer.json()["errors"]] == ["cursor"]
    assert "replaced" in answer.json()["detail"]
    assert len(await told(service)) == bool(content)


@pytest.mark.parametrize(
    ("fault", "hint"),
    [("cdr_missing", "cdr_csv"), ("cdr_denied", "SSH_USER"), ("refuse_sftp", "SFTP")],
)
async def test_records_that_cannot_be_had_say_why(service: Service, fault: str, hint: str) -> None:
    """500 `cdr-unreadable`, with what an operator has to do."""
    setattr(service.pbx, fault, True)
    answer = await history(service)
    assert (answer.status_code, answer.json()["code"]) == (500, "cdr-unreadable")
    assert hint in answer.json()["detail"]
    assert PATH in answer.json()["detail"]
    assert "dialled" not in answer.json()


async def test_another_file_is_read_where_a_setting_says_so(start: Services) -> None:
    """CDR_FILE."""
    service = await start(CDR_FILE="/var/log/elsewhere.csv")
    answer = await history(service)
    assert "/var/log/elsewhere.csv" in answer.json()["detail"]


async def test_history_is_told_while_asterisk_is_down(service: Service) -> None:
    """The file is sshd's to read."""
    write(service, inbound(1))
    service.pbx.asterisk_down = True
    assert len(await told(service)) == 1


async def test_a_wrong_secret_sees_nothing(service: Service) -> None:
    """401, and the PBX is not asked."""
    answer = await history(service, secret="nobodys-secret")
    assert answer.status_code == 401
    assert service.pbx.connections == 0


async def two_enterprises(start: Services, **settings: object) -> Service:
    """Start with two enterprises on one PBX, each of which had a call."""
    service = await start(**settings)
    service.postgres.seed_enterprise("0368", "july", "127.0.0.1", JULY)
    write(service, inbound(1, extension="150"), inbound(2, extension="151", at=100))
    return service


def own(service: Service, number: str, extensions: str) -> None:
    """Name an enterprise's extensions, as an operator does."""
    service.postgres.execute(
        "INSERT INTO callapi.enterprise_rules (enterprise, extensions)"
        " VALUES (:number, CAST(:extensions AS text[]))",
        number=number,
        extensions=extensions,
    )


async def test_a_shared_pbx_shows_nobodys_calls(start: Services) -> None:
    """While nobody said whose extensions are whose, 403; the PBX is not asked."""
    service = await two_enterprises(start)
    for secret in (SECRET, JULY):
        answer = await history(service, secret=secret)
        assert (answer.status_code, answer.json()["code"]) == (403, "shared-host")
    assert service.pbx.connections == 0


async def test_an_owner_may_want_otherwise(start: Services) -> None:
    """SHARED_HOSTS=allow shows everything to both."""
    service = await two_enterprises(start, SHARED_HOSTS="allow")
    for secret in (SECRET, JULY):
        assert len(await told(service, secret=secret)) == 2


async def test_each_enterprise_sees_its_extensions_calls(start: Services) -> None:
    """And is refused when it asks for another's extension."""
    service = await two_enterprises(start)
    own(service, "0367", "{150}")
    own(service, "0368", "{151,152}")
    assert [call["to"] for call in await told(service)] == ["150"]
    assert [call["to"] for call in await told(service, secret=JULY)] == ["151"]
    answer = await history(service, extension="151")
    assert (answer.status_code, answer.json()["code"]) == (403, "extension-not-owned")


async def test_a_caller_cannot_pose_as_an_extension(start: Services) -> None:
    """Whose call it is is told by the channels, not by the number that a caller claims."""
    service = await two_enterprises(start)
    own(service, "0367", "{150}")
    write(service, line("SIP/trunk-77", "SIP/151-78", at=300, src="150", dst="151"))
    assert [call["from"] for call in await told(service)] == ["+375290000001"]


async def test_another_enterprises_call_has_no_id(start: Services) -> None:
    """Where both may see a call, only who placed it gets its `call_id`."""
    service = await two_enterprises(start, SHARED_HOSTS="allow")
    call_id = await place(service, "154")
    assert [call["call_id"] for call in await told(service, extension="154")] == [call_id]
    others = await told(service, secret=JULY, extension="154")
    assert [call["call_id"] for call in others] == [None]


async def test_a_name_that_came_again_is_told_apart_by_its_birth(
    service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Asterisk counts its channels anew in each life: of the namesakes only ours is read."""
    call_id = await place(service, "153")
    service.postgres.execute(
        "INSERT INTO callapi.calls (call_id, enterprise, host, kind, code, phone, root_channel,"
        " root_uniqueid)"
        " SELECT gen_random_uuid(), enterprise, host, kind, code, phone, root_channel,"
        " 'pbx1-' || split_part(root_uniqueid, '.', 1)::bigint + 9 * n || '.1'"
        " FROM callapi.calls, generate_series(1, 50) n"
    )
    found: list[int] = []
    run = Database.run_in_turn

    async def counted(database: Database, turn: Turn, sql: str, parameters: dict[str, Any]) -> Rows:
        rows = await run(database, turn, sql, parameters)
        if "root_channel" in sql:
            found.append(len(rows))
        return rows

    monkeypatch.setattr(Database, "run_in_turn", counted)
    assert [call["call_id"] for call in await told(service)] == [call_id]
    assert found == [1]


async def test_a_table_for_excel(service: Service) -> None:
    """As a file, with a byte order mark and semicolons, in pages as ever."""
    write(service, inbound(1), inbound(2, at=100))
    answer = await history(service, format="excel", limit=1)
    assert answer.headers["content-type"] == "text/csv; charset=utf-8"
    assert answer.headers["content-disposition"] == 'attachment; filename="history.csv"'
    assert answer.content.startswith(b"\xef\xbb\xbfstarted_at;answered_at;")
    assert answer.content.endswith(b"\r\n")
    text = answer.content.decode("utf-8-sig")
    (row,) = csv.DictReader(io.StringIO(text, newline=""), delimiter=";")
    assert (row["from"], row["to"]) == ("+375290000002", "150")
    following = await history(service, format="excel", cursor=answer.headers["x-next-cursor"])
    assert "+375290000001;150;" in following.text
    assert "content-disposition" not in (await history(service, format="csv")).headers


async def test_csv(service: Service) -> None:
    """The same as a table: a header, numbers with their plus, formulas as mere text."""
    evil = line("SIP/trunk-77", "SIP/151-78", at=300, src='=HYPERLINK("http://x")', dst="151")
    write(service, inbound(1), inbound(2, at=100), evil)
    answer = await history(service, format="csv", limit=2)
    assert answer.headers["content-type"] == "text/csv; charset=utf-8"
    rows = list(csv.DictReader(io.StringIO(answer.text)))
    assert [row["from"] for row in rows] == ['\'=HYPERLINK("http://x")', "+375290000002"]
    assert rows[1]["started_at"] == "2026-11-22T20:41:40Z"
    assert rows[1]["call_id"] == ""
    following = answer.headers["x-next-cursor"]
    accept = {"Accept": "text/csv", "Authorization": f"Bearer {SECRET}"}
    params = {"cursor": following}
    last = await service.http.get("/api/history", params=params, headers=accept)
    (row,) = csv.DictReader(io.StringIO(last.text))
    assert row["from"] == "+375290000001"
    assert "x-next-cursor" not in last.headers
    as_json = await service.http.get("/api/history?format=json", headers=accept)
    assert len(as_json.json()["calls"]) == 3


def outbound(number: int, *, at: int) -> str:
    """A call of an extension that shows the company's number: one row."""
    return line(
        *("PJSIP/150-0000c001", "PJSIP/trunk-0000c002"),
        at=at,
        talks=9,
        uniqueid=f"{EPOCH + at}.{number}",
        src="74951234567",
        dst=f"8029{number:07}",
        data=f"PJSIP/8029{number:07}@trunk,60",
    )


@pytest.mark.parametrize(
    ("params", "begins"),
    [
        ({"direction": "in"}, [500, 400, 100]),
        ({"direction": "out"}, [200]),
        ({"direction": "internal"}, [600, 300]),
        ({"missed": "true"}, [500, 400]),
        ({"missed": "false"}, [600, 300, 200, 100]),
        ({"missed": "true", "direction": "out"}, []),
        ({"extension": "150", "direction": "out"}, [200]),
        ({"number": "80290000002"}, [200]),
    ],
)
async def test_calls_by_their_way(
    service: Service, params: dict[str, str], begins: list[int]
) -> None:
    """Missed is what came in and no phone answered: a queue that nobody took is none."""
    queue = line(
        "SIP/trunk-5", at=500, talks=95, application="Queue", src="+375290000005", dst="700"
    )
    write(
        service,
        inbound(1, at=100),
        outbound(2, at=200),
        line("SIP/150-31", "SIP/151-32", at=300, talks=9, src="150", dst="151"),
        line("SIP/trunk-41", "SIP/150-42", "BUSY", at=400, src="+375290000004", dst="150"),
        queue,
        line("SIP/151-61", at=600, talks=9, application="ChanSpy", data="SIP/150-,bq", dst="*222"),
    )
    calls = await told(service, **params)
    assert [datetime.fromisoformat(call["started_at"]).timestamp() for call in calls] == [
        EPOCH + at for at in begins
    ]


async def test_parties_are_told_in_every_form(service: Service) -> None:
    """What came later are the last columns of a table, so that older readers live."""
    write(service, outbound(2, at=200))
    (call,) = await told(service)
    assert (call["from"], call["to"], call["direction"]) == ("150", "80290000002", "out")
    rows = (await history(service, format="csv")).text.splitlines()
    assert rows[0].endswith(
        ",channel,call_id,kind,direction,agent_answered_by,agent_ring_s,agent_talk_s"
        ",customer_answered_by,customer_ring_s,customer_talk_s"
    )
    told_in_full = [call["agent"], call["customer"]]
    cells = [str(value) for side in told_in_full for value in side.values()]
    assert rows[1].endswith(f",call,out,{','.join(cells)}")


async def test_a_call_of_ours_goes_out(service: Service) -> None:
    """Also where the extension never answered, and no record tells whom it was to call."""
    await place(service, "154")
    await place(service, "153")
    told_ = [(c["kind"], c["direction"], c["to"]) for c in await told(service)]
    assert told_ == [("call", "out", OTHER_PHONE)] * 2


async def test_records_of_another_layout_are_unreadable(service: Service) -> None:
    """A history without calls would be untrue: 500 `cdr-unreadable`, and what to do."""
    write(service, '"150","151","2026-11-22 20:43:16","ANSWERED"\n' * 3)
    answer = await history(service)
    assert (answer.status_code, answer.json()["code"]) == (500, "cdr-unreadable")
    assert "CDR_FILE" in answer.json()["detail"]


@pytest.mark.parametrize("written_s", [None, EPOCH + 109.0])
async def test_records_without_uniqueid(service: Service, written_s: float | None) -> None:
    """Their zone is that of the file's last writing; where that tells none, it is said."""
    write(service, line("SIP/1-1", "SIP/2-2", at=100, talks=9, uniqueid="-", zone_h=-5))
    service.pbx.cdr_written_s = written_s
    answer = await history(service)
    if written_s is None:
        assert (answer.status_code, answer.json()["code"]) == (500, "cdr-unreadable")
        assert "loguniqueid" in answer.json()["detail"]
    else:
        (call,) = answer.json()["calls"]
        assert call["started_at"] == "2026-11-22T20:41:40Z"


def test_no_condition_takes_no_list() -> None:
    """An enterprise without extensions of its own is one that may see everything."""
    assert Wanted().owned is None
