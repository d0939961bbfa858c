"""What is put for the WebSockets of AWS, who is sent what, and what a failing one costs others."""

from __future__ import annotations

import json
from collections import defaultdict
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.asterisk.models import CallElsewhere, Side
from shared.aws.answers import Outcome
from shared.aws.sockets import AT_ONCE
from shared.events.feed import Event, PbxNotice, Told, Wanted, WebhookNotice
from shared.push import afterwards, relaying
from shared.push.outbox import Batch, Connection, Letter, Unreadable, parse_batch, parse_connection
from shared.push.planning import parse_record, plan
from shared.push.pushing import OWED_S, UNASKED_S, Pusher
from shared.push.relaying import batch_of, letter_of
from shared.push.tables import Tables
from shared.settings import Settings
from shared.store.calls import Call

NOW_S = 1_790_000_000.0
NONE: dict[str, Any] = dict.fromkeys(
    (
        *("reason", "error_code", "accepted_at", "agent_ringing_at", "agent_answered_at"),
        *("customer_ringing_at", "talking_at", "ended_at", "cancelled_at", "cut_at", "root"),
        *("transferred_to", "transferred_at", "transfer_state", "disposition", "cdr"),
        *("ring_s", "talk_s"),
    )
)


def call(kind: str = "call", number: int = 1) -> Call:
    """A call of 150's, or a monitoring in which 150 taps 151."""
    return Call(
        **{
            **NONE,
            "call_id": UUID(int=number),
            "enterprise": "0367",
            "host": "192.0.2.10",
            "kind": kind,
            "code": "150",
            "to": "151",
            "action": "",
            "phase": "accepted",
            "created_at": datetime.now(UTC),
            "agent": Side(),
            "customer": Side(),
            "legs": (),
        }
    )


def elsewhere(*took_part: str) -> CallElsewhere:
    """A call that began elsewhere."""
    return CallElsewhere(
        *("1.1", UUID(int=1), 1, "ringing", "incoming", "+375290000001", "150", 0.0),
        took_part=took_part,
    )


ABOUT = [
    ("call.phase", call()),
    ("call.phase", call("monitor", 2)),
    ("pbx.call", elsewhere("150", "151")),
    ("pbx.call", elsewhere()),
    ("pbx.down", PbxNotice("192.0.2.10", "ssh-connect-timeout")),
    ("webhook.disabled", WebhookNotice(UUID(int=3), "https://crm.example.test", "failing")),
]


@given(
    st.sampled_from(ABOUT),
    st.sampled_from([None, "150", "151", "152"]),
    st.sampled_from([None, UUID(int=1), UUID(int=2), UUID(int=3)]),
    st.sampled_from(["mine", "all"]),
)
def test_a_connection_wants_what_every_door_tells(
    about: tuple[str, Any], extension: str | None, call_id: UUID | None, scope: Any
) -> None:
    """A letter is chosen by the rule of the feed, which is looked up without the event."""
    event = Event(1, about[0], datetime.now(UTC), about[1])
    wanted = Wanted(extension, call_id, scope)
    text = None if call_id is None else str(call_id)
    connection = Connection("0367", "one", extension, text, sees_host=scope == "all")
    assert connection.wants(letter_of(event)) == wanted.takes(event)


def test_what_is_put_is_read_again() -> None:
    """A batch and a connection are the same after DynamoDB has had them."""
    letters = (Letter(5, '{"seq":5}', ("150",), "1"), Letter(6, '"ж"', None, None, is_of_host=True))
    batch = Batch("0367", 4, 9, letters, ("gone=",), is_back=True)
    assert parse_batch(batch.item()) == batch
    connection = Connection("0367", "one=", "150", None, sees_host=True, since_s=3, until_s=7)
    assert parse_connection(connection.item()) == connection


@pytest.mark.parametrize(
    "image",
    [
        {},
        {"enterprise": {"S": "0367"}, "after": {"N": "1"}, "seq": {"N": "x"}, "told": {"S": "{}"}},
        Batch("0367", 1, 2).item() | {"told": {"S": "[]"}},
        Batch("0367", 1, 2).item() | {"told": {"S": '{"letters":[1],"ended":[]}'}},
        Batch("0367", 1, 2).item() | {"told": {"S": '{"letters":[],"ended":"x"}'}},
        Batch("0367", 1, 2).item() | {"told": "x"},
    ],
)
def test_what_is_no_batch_is_told_to_be_none(image: Any) -> None:
    """Whatever is wrong with it: one error."""
    with pytest.raises(Unreadable):
        parse_batch(image)


def test_a_batch_fits_an_item() -> None:
    """What is too much is put as far as there is room; one goes on after that, and never stands."""
    text = '"😀' * 14_000
    webhook = WebhookNotice(UUID(int=3), text, "failing")
    at = datetime.now(UTC)
    events = tuple(Event(seq, "webhook.disabled", at, webhook) for seq in (7, 8, 9))
    told = Told(events, 12, is_all=True)
    ended = tuple(f"L0SM9cOFvHc{number:04}=" for number in range(5000))
    batch, is_all = batch_of("0367", 6, told, ended)
    assert ([letter.seq for letter in batch.letters], batch.seq, is_all) == ([7], 7, False)
    assert batch.ended == ended
    assert len(json.dumps(batch.item(), ensure_ascii=False).encode()) < 400_000
    batch, is_all = batch_of("0367", 8, Told(events[2:], 12, is_all=True), ())
    assert ([letter.seq for letter in batch.letters], batch.seq, is_all) == ([9], 12, True)


# ---- Sending


class Line:
    """Connections that answer as they are told to; time passes by waiting for them alone."""

    def __init__(self) -> None:
        self.told: dict[str, list[int]] = defaultdict(list)
        self.ends: list[str] = []
        self.closed: list[str] = []
        self.answers: dict[str, list[Outcome]] = {}
        self.now_s = NOW_S

    def post(self, connection: str, text: str) -> Outcome:
        """Take a message, or answer what comes next."""
        message = json.loads(text)
        answers = self.answers.get(connection)
        outcome = answers.pop(0) if answers else "done"
        if outcome == "done":
            if message.get("type") == "error":
                self.ends.append(f"{connection} {message['code']}")
            else:
                self.told[connection].append(message["seq"])
        return outcome

    def close(self, connection: str) -> Outcome:
        """Close it."""
        self.closed.append(connection)
        return "done"

    def clock(self) -> float:
        """Tell the time."""
        return self.now_s

    def sleep(self, seconds: float) -> None:
        """Let time pass."""
        self.now_s += seconds


class Few(Tables):
    """Connections in a dictionary."""

    def __init__(self, *connections: Connection) -> None:
        self.all = {connection.id: connection for connection in connections}

    def connections_of(self, enterprise: str) -> tuple[Connection, ...]:
        """List them."""
        return tuple(one for one in self.all.values() if one.enterprise == enterprise)

    def remove(self, enterprise: str, connection: str) -> None:
        """Forget one."""
        assert self.all[connection].enterprise == enterprise
        del self.all[connection]


def of(enterprise: str, *names: str) -> list[Connection]:
    """Make connections that want everything."""
    return [Connection(enterprise, name, sees_host=True) for name in names]


def record(
    number: int,
    enterprise: str,
    *seqs: int,
    ended: tuple[str, ...] = (),
    kind: str = "MODIFY",
    at_s: float = NOW_S,
    is_back: bool = False,
) -> dict[str, Any]:
    """Make a record of the stream, as Lambda is given it."""
    letters = tuple(Letter(seq, json.dumps({"seq": seq})) for seq in seqs)
    last = max(seqs, default=0)
    image = Batch(enterprise, 0, last, letters, ended, is_back=is_back).item()
    return {
        "eventName": kind,
        "dynamodb": {
            "SequenceNumber": str(number),
            "ApproximateCreationDateTime": at_s,
            "NewImage": image,
        },
    }


@pytest.fixture
def line() -> Line:
    """All of them healthy."""
    return Line()


def pusher(line: Line, tables: Tables) -> Pusher:
    """Make what is tested; one such is one environment."""
    return Pusher(line, tables, clock=line.clock, sleep=line.sleep)


def test_each_is_told_its_enterprises_events_in_order(line: Line) -> None:
    """And nobody another's, whichever records come together."""
    tables = Few(*of("0367", "a", "b"), *of("0368", "c"))
    records = [record(1, "0367", 1, 2), record(2, "0368", 7), record(3, "0367", 3)]
    assert pusher(line, tables).push(records, 8) == set()
    assert line.told == {"a": [1, 2, 3], "b": [1, 2, 3], "c": [7]}


def test_who_has_gone_is_forgotten(line: Line) -> None:
    """In the midst of a batch, too: it is asked for nothing more, and nothing is tried again."""
    line.answers["a"] = ["done", "gone"]
    tables = Few(*of("0367", "a", "b"))
    assert pusher(line, tables).push([record(1, "0367", 1, 2, 3)], 8) == set()
    assert line.told == {"a": [1], "b": [1, 2, 3]}
    assert set(tables.all) == {"b"}
    assert line.closed == []


def test_who_is_about_to_come_is_not_forgotten(line: Line) -> None:
    """Until its opening is answered API Gateway says 410; then it is told what it was owed."""
    line.answers["a"] = ["gone"] * 3
    (connection,) = of("0367", "a")
    tables = Few(replace(connection, since_s=int(NOW_S) - 1))
    push = pusher(line, tables)
    assert push.push([record(1, "0367", 1)], 8) == {"1"}
    assert set(tables.all) == {"a"}
    assert push.push([record(1, "0367", 1)], 8) == set()
    assert line.told == {"a": [1]}


def test_a_failing_one_holds_up_no_other(line: Line) -> None:
    """All others have everything; the stream comes again with what it owes, from that record on."""
    line.answers["a"] = ["done", "later", "later", "later"]
    tables = Few(*of("0367", "a", "b"), *of("0368", "c"))
    push = pusher(line, tables)
    records = [record(1, "0367", 1), record(2, "0368", 7), record(3, "0367", 2)]
    assert push.push(records, 8) == {"1"}
    assert line.told == {"a": [1], "b": [1, 2], "c": [7]}
    assert push.push(records, 8) == set()
    assert line.told == {"a": [1, 2], "b": [1, 2], "c": [7]}


def test_a_moment_is_waited_for(line: Line) -> None:
    """A throttled message comes with the second or third try of the same invocation."""
    line.answers["a"] = ["later", "later", "done"]
    assert pusher(line, Few(*of("0367", "a"))).push([record(1, "0367", 1)], 8) == set()
    assert line.told == {"a": [1]}
    assert 0 < line.now_s - NOW_S < 1


def test_who_fails_for_long_is_closed(line: Line) -> None:
    """Once a record is that old: its client comes back, and reads on after what it has."""
    tables = Few(*of("0367", "a", "b"))
    push = pusher(line, tables)
    line.answers["a"] = ["later"] * 100
    assert push.push([record(1, "0367", 1)], 8) == {"1"}
    assert line.closed == []
    line.now_s = NOW_S + OWED_S + 1
    assert push.push([record(1, "0367", 1)], 8) == set()
    assert line.closed == ["a"]
    assert set(tables.all) == {"b"}
    assert line.told == {"b": [1]}


def test_nothing_is_tried_when_the_time_is_over(line: Line) -> None:
    """What is left then the stream brings again; the invocation ends in its time."""
    assert pusher(line, Few(*of("0367", "a"))).push([record(1, "0367", 1)], 0) == {"1"}
    assert line.told == {}


def test_whose_turn_does_not_come_is_not_blamed(line: Line) -> None:
    """It is not closed as one that fails is, and is asked like any other in the next invocation."""
    line.answers["a"] = ["later", "later", "done"]
    push = pusher(line, Few(*of("0367", "a")))
    line.now_s = NOW_S + OWED_S + 1
    assert push.push([record(1, "0367", 1)], 0) == {"1"}
    assert line.closed == []
    assert push.push([record(1, "0367", 1)], 8) == set()
    assert line.told == {"a": [1]}


def test_whose_turn_never_comes_is_forgotten(line: Line) -> None:
    """Before the stream forgets what it is owed: told what follows, it would never miss that."""
    tables = Few(*of("0367", "a"))
    line.now_s = NOW_S + UNASKED_S + 1
    assert pusher(line, tables).push([record(1, "0367", 1)], 0) == set()
    assert (tables.all, line.told, line.closed) == ({}, {}, [])


@pytest.mark.parametrize("ends", [True, False])
def test_what_hangs_does_not_outlast_the_invocation(line: Line, *, ends: bool) -> None:
    """Once its time is over nobody is asked or closed, however many are left."""
    names = [f"n{number}" for number in range(10 * AT_ONCE)]
    tables = Few(*of("0367", *names))
    asked: list[str] = []

    def hang(connection: str, text: str = "") -> Outcome:
        asked.append(connection + text[:1])
        line.now_s = max(line.now_s, NOW_S + OWED_S + 10)  # ten seconds later
        return "later"

    line.post = line.close = hang  # type: ignore[method-assign]
    line.now_s = NOW_S + OWED_S + 1
    records = [record(1, "0367", *([] if ends else [1]), ended=tuple(names) if ends else ())]
    assert pusher(line, tables).push(records, 8) == {"1"}
    assert 0 < len(asked) <= AT_ONCE
    assert len(tables.all) >= len(names) - AT_ONCE


def test_a_table_that_hangs_does_not_either(line: Line) -> None:
    """Nobody's forgetting begins some seconds after that time."""
    names = [f"n{number}" for number in range(10 * AT_ONCE)]
    tables = Few(*of("0367", *names))
    forgotten: list[str] = []

    def hang(enterprise: str, connection: str) -> None:
        assert enterprise == "0367"
        forgotten.append(connection)
        line.now_s = NOW_S + UNASKED_S + 60

    tables.remove = hang  # type: ignore[method-assign]
    line.now_s = NOW_S + UNASKED_S + 1
    assert pusher(line, tables).push([record(1, "0367", 1)], 0) == {"1"}
    assert 0 < len(forgotten) <= AT_ONCE


def test_who_is_late_for_a_backup_is_told_lower_numbers(line: Line) -> None:
    """After a restored backup numbers come again, for other events; none of those is kept back."""
    push = pusher(line, Few(*of("0367", "a"), *of("0368", "c")))
    assert push.push([record(1, "0367", 1, 2, 3), record(2, "0368", 7)], 8) == set()
    back = [record(3, "0367", is_back=True), record(4, "0367", 2), record(5, "0368", 7)]
    assert push.push(back, 8) == set()
    assert push.push([record(6, "0367", 3)], 8) == set()
    assert line.told == {"a": [1, 2, 3, 2, 3], "c": [7]}


def test_the_same_record_twice_is_told_once(line: Line) -> None:
    """By the same environment; another one does not know, and the number tells the client."""
    tables = Few(*of("0367", "a"))
    push = pusher(line, tables)
    for _ in range(2):
        assert push.push([record(1, "0367", 1, 2)], 8) == set()
    assert line.told == {"a": [1, 2]}
    assert pusher(line, tables).push([record(1, "0367", 1, 2)], 8) == set()
    assert line.told == {"a": [1, 2, 1, 2]}


def test_a_poisoned_record_holds_up_nothing(line: Line, caplog: pytest.LogCaptureFixture) -> None:
    """It is told to the log, never tried again, and what stands beside it is sent."""
    poisoned = record(2, "0367", 2)
    poisoned["dynamodb"]["NewImage"]["told"] = {"S": "{"}
    records = [record(1, "0367", 1), poisoned, {"eventName": "INSERT"}, record(3, "0367", 3)]
    assert pusher(line, Few(*of("0367", "a"))).push(records, 8) == set()
    assert line.told == {"a": [1, 3]}
    assert caplog.text.count("не читается") == 2


def test_a_message_that_is_refused_is_left_out(
    line: Line, caplog: pytest.LogCaptureFixture
) -> None:
    """As one that is too large: tried again it would be refused for ever; the next one is sent."""
    line.answers["a"] = ["refused"]
    assert pusher(line, Few(*of("0367", "a"))).push([record(1, "0367", 1, 2)], 8) == set()
    assert line.told == {"a": [2]}
    assert "не принято шлюзом" in caplog.text


def test_whose_right_has_ended_is_told_that_alone(line: Line) -> None:
    """Of the same batch it gets no event; it is closed, and forgotten."""
    tables = Few(*of("0367", "a", "b"))
    assert pusher(line, tables).push([record(1, "0367", 1, ended=("a", "unknown"))], 8) == set()
    assert line.told == {"b": [1]}
    assert line.ends == ["a ticket-expired"]
    assert line.closed == ["a"]
    assert set(tables.all) == {"b"}


def test_what_has_expired_by_itself_is_nothing(line: Line) -> None:
    """DynamoDB's own removal of an item is a record, too."""
    removed = record(1, "0367", 1, kind="REMOVE")
    assert pusher(line, Few(*of("0367", "a"))).push([removed], 8) == set()
    assert line.told == {}


def test_connections_that_cannot_be_read_are_read_later(
    line: Line, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The enterprise's record comes again; others are told meanwhile."""
    tables = Few(*of("0367", "a"), *of("0368", "c"))
    read = tables.connections_of

    def fail(enterprise: str) -> tuple[Connection, ...]:
        if enterprise == "0367":
            raise OSError("throttled")
        return read(enterprise)

    monkeypatch.setattr(tables, "connections_of", fail)
    records = [record(1, "0368", 7), record(2, "0367", 1), record(3, "0367", 2)]
    assert pusher(line, tables).push(records, 8) == {"2"}
    assert line.told == {"c": [7]}


def test_enterprises_take_turns() -> None:
    """One with a thousand connections is not all before another's only one."""
    batches = [record(1, "0367", 1), record(2, "0368", 7)]
    many, one = of("0367", *map(str, range(1000))), of("0368", "c")
    parsed = [parsed for raw in batches if (parsed := parse_record(raw))]
    errands = plan(parsed, {"0367": many, "0368": one}, lambda _: 0)
    assert len(errands) == 1001
    assert errands[1].connection.id == "c"


# ---- After a commit


class Left:
    """What Lambda tells of the time that is left."""

    def __init__(self, left_s: float) -> None:
        self._left_s = left_s

    def get_remaining_time_in_millis(self) -> int:
        """Tell it."""
        return round(self._left_s * 1000)


class Noting:
    """A relay that notes how long it may take."""

    def __init__(self) -> None:
        self.within: list[float] = []

    async def put_due(self, within_s: float, *, all_of_them: bool) -> None:
        """Note it."""
        assert not all_of_them
        self.within.append(within_s)


@pytest.mark.anyio
@pytest.mark.parametrize(
    ("table", "left_s", "within"),
    [("", 20, []), ("outbox", 20, [2.0]), ("outbox", 1.5, [1.0]), ("outbox", 0.4, [])],
)
async def test_an_answer_is_held_up_by_what_is_left_alone(
    monkeypatch: pytest.MonkeyPatch, table: str, left_s: float, within: list[float]
) -> None:
    """Two seconds at most, and not at all where WebSockets are told nothing, or it is late."""
    relay = Noting()
    monkeypatch.setattr(relaying, "the_relay", lambda: relay)
    monkeypatch.setattr(afterwards, "the_settings", lambda: Settings(outbox_table=table))
    await afterwards.after_answer(Left(left_s))
    assert relay.within == within
