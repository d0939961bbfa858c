"""Sending what stands in the outbox's stream to the connections, each on its own.

One that fails holds up no other: it is tried again for a moment, then by the stream, and after some
seconds of that it is given up: forgotten, and closed if there is time for it. Its client comes
back, at the latest when a ping tells it so, and reads on after the number it knows.
"""

from __future__ import annotations

import json
import random
import time
from collections import OrderedDict
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context
from dataclasses import dataclass
from functools import partial
from http import HTTPStatus
from typing import Any, Literal, TypeAlias

from shared.aws.answers import Outcome
from shared.aws.sockets import AT_ONCE, Sockets, the_sockets
from shared.errors import TicketExpired
from shared.process import once
from shared.push.outbox import Connection, Unreadable
from shared.push.planning import Errand, Record, parse_record, plan
from shared.push.tables import Tables, the_tables
from shared.telemetry import LOG, REQUEST_ID, count

# Between two tries of one message, at most; each is a random part of it.
_PAUSES_S = (0.2, 0.6)
# How long a connection may be owed what others have got, where it was asked in vain; and where its
# turn has not come: the stream forgets a record after 120 s.
OWED_S, UNASKED_S = 20.0, 60.0
# So long after the time for asking those may be forgotten whose turn does not come any more.
_FORGETS_S = 4.0
# API Gateway does not know a connection yet whose opening is not answered.
_OPENS_S = 10.0
# Whom this process has sent what; of more of them the oldest is forgotten, and gets some twice.
_MOST_KNOWN = 20_000

Asked: TypeAlias = Outcome | Literal["unasked"]
"""What asking came to; `unasked`: there was no time for it."""


@dataclass(frozen=True, slots=True)
class Done:
    """What became of an errand; `sent` is the last number that was sent, 0 for none."""

    errand: Errand
    outcome: Asked
    sent: int = 0


class Pusher:
    """Pushes; `clock` is Unix time, `sleep` what waits between two tries."""

    def __init__(
        self,
        sockets: Sockets,
        tables: Tables,
        *,
        clock: Callable[[], float] = time.time,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._sockets = sockets
        self._tables = tables
        self._clock = clock
        self._sleep = sleep
        self._sent: OrderedDict[str, int] = OrderedDict()
        self._failing: frozenset[str] = frozenset()

    def push(self, raw: Iterable[Mapping[str, Any]], within_s: float) -> set[str]:
        """Send what these records of the stream tell; the numbers of those to be read again."""
        until_s = self._clock() + within_s
        records = list(_readable(raw))
        again: set[str] = set()
        connections: dict[str, tuple[Connection, ...]] = {}
        for record in records:
            enterprise = record.batch.enterprise
            if enterprise not in connections:
                try:
                    connections[enterprise] = self._tables.connections_of(enterprise)
                except Exception:  # noqa: BLE001 - whatever boto3 raises: the stream comes again
                    LOG.exception("⚠️ Соединения WebSocket не прочитаны")
                    connections[enterprise] = ()
                    again.add(record.number)
            if record.batch.is_back:  # what they have got are other events' numbers now
                for connection in connections[enterprise]:
                    self._sent.pop(connection.id, None)
        errands = plan(records, connections, lambda one: self._sent.get(one, 0))
        # Whoever failed a moment ago has the places that others do not need.
        errands.sort(key=lambda errand: errand.connection.id in self._failing)
        # Each in a context of its own, so that its lines of the log say which invocation it was.
        runs = [partial(copy_context().run, self._run, errand, until_s) for errand in errands]
        with ThreadPoolExecutor(AT_ONCE) as pool:
            done = [running.result() for running in [pool.submit(run) for run in runs]]
        for one in done:
            self._know(one)
        self._failing = frozenset(
            one.errand.connection.id for one in done if one.outcome == "later"
        )
        return again | {one.errand.owed for one in done if one.outcome in {"later", "unasked"}}

    def _run(self, errand: Errand, until_s: float) -> Done:
        """Do an errand; `later` or `unasked`: the stream is to come again with it."""
        if self._clock() >= until_s + _FORGETS_S:
            return Done(errand, "unasked")
        try:
            done = self._end(errand, until_s) if errand.is_end else self._tell(errand, until_s)
            if self._is_given_up(done):
                count("PushesGivenUp")
                LOG.warning("⚠️ WebSocket отстаёт и закрывается, клиент придёт снова")
                if self._clock() < until_s:
                    self._sockets.close(errand.connection.id)
                done = Done(errand, "gone", done.sent)
            if done.outcome == "gone":
                self._tables.remove(errand.connection.enterprise, errand.connection.id)
        except Exception:  # noqa: BLE001 - one connection's, and others are still to be told
            LOG.exception("⚠️ WebSocket: сообщение не отправлено, попытка повторится")
            return Done(errand, "later")
        return done

    def _is_given_up(self, done: Done) -> bool:
        """Tell whether it has been owed for too long."""
        owed_s = self._clock() - done.errand.at_s
        return (done.outcome == "later" and owed_s > OWED_S) or (
            done.outcome == "unasked" and owed_s > UNASKED_S
        )

    def _tell(self, errand: Errand, until_s: float) -> Done:
        sent = 0
        for letter in errand.letters:
            outcome = self._ask(errand, partial(self._sockets.post, text=letter.text), until_s)
            if outcome == "refused":  # as it is it will never be sent; a ping tells what was missed
                count("InternalErrors")
                LOG.error("❌ WebSocket: событие %s не принято шлюзом", letter.seq)
            elif outcome != "done":
                return Done(errand, outcome, sent)
            sent = letter.seq
        return Done(errand, "done", sent)

    def _end(self, errand: Errand, until_s: float) -> Done:
        """Say why, and close it; who is not there any more is closed."""
        if self._clock() < until_s:
            self._sockets.post(errand.connection.id, farewell())
        outcome = self._ask(errand, self._sockets.close, until_s)
        return Done(errand, outcome if outcome in {"later", "unasked"} else "gone")

    def _ask(self, errand: Errand, ask: Callable[[str], Outcome], until_s: float) -> Asked:
        """Ask until there is an outcome, a few times, and not when the time is over.

        Whoever failed a moment ago is asked once: the stream comes again soon.
        """
        name = errand.connection.id
        pauses_s = () if name in self._failing else _PAUSES_S
        outcome: Asked = "unasked"
        for pause_s in (*pauses_s, None):
            if self._clock() >= until_s:
                break
            outcome = ask(name)
            if outcome == "gone" and self._clock() - errand.connection.since_s < _OPENS_S:
                outcome = "later"
            if outcome != "later" or pause_s is None:
                break
            self._sleep(pause_s * random.uniform(0.5, 1.0))  # noqa: S311 - no secret
        return outcome

    def _know(self, done: Done) -> None:
        """Keep in mind what a connection has got, or forget it with its end."""
        name = done.errand.connection.id
        if done.outcome == "gone":
            self._sent.pop(name, None)
        elif done.sent:
            self._sent[name] = done.sent
            self._sent.move_to_end(name)
            while len(self._sent) > _MOST_KNOWN:
                self._sent.popitem(last=False)


def _readable(raw: Iterable[Mapping[str, Any]]) -> Iterable[Record]:
    """Read the records; one that cannot be read is told to nobody but the log."""
    for one in raw:
        try:
            record = parse_record(one)
        except (Unreadable, KeyError, TypeError, ValueError, AttributeError) as error:
            count("InternalErrors")
            LOG.error("❌ Запись потока событий не читается: %s", error)
            continue
        if record is not None:
            yield record


def farewell() -> str:
    """Write why a connection ends, as every door tells an error: another ticket is needed."""
    error = TicketExpired()
    told = {
        "type": "error",
        "title": HTTPStatus(error.status).phrase,
        "status": error.status,
        "detail": error.detail,
        "code": error.code,
        "request_id": REQUEST_ID.get(),
    }
    return json.dumps(told)


@once
def the_pusher() -> Pusher:
    """That of this process."""
    return Pusher(the_sockets(), the_tables())
