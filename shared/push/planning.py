"""Who is to be sent what of a stream's records; pure.

A record is told again when the stream is read again from an earlier one that was not told to all.
What a connection has got is then known, as long as the process lives; else it gets it twice, and
leaves it out by its number. A message of AWS's own may come twice as well.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import zip_longest
from typing import Any

from shared.push.outbox import Batch, Connection, Letter, parse_batch


@dataclass(frozen=True, slots=True)
class Record:
    """A record of the outbox's stream: its number there, when it was written, what it has."""

    number: str
    at_s: float
    batch: Batch


@dataclass(frozen=True, slots=True)
class Errand:
    """What one connection is to be sent, in this order; or, `is_end`, that it ends.

    `owed` is the number of the first record of which it has not got all.
    """

    connection: Connection
    letters: tuple[Letter, ...]
    owed: str
    at_s: float
    is_end: bool = False


def parse_record(record: Mapping[str, Any]) -> Record | None:
    """Read a record; None: it tells of what has gone, by its time or by hand.

    Raises Unreadable, or a KeyError.
    """
    change = record["dynamodb"]
    if record["eventName"] == "REMOVE":
        return None
    at_s = float(change.get("ApproximateCreationDateTime", 0))
    return Record(str(change["SequenceNumber"]), at_s, parse_batch(change["NewImage"]))


def plan(
    records: Sequence[Record],
    connections: Mapping[str, Sequence[Connection]],
    sent: Callable[[str], int],
) -> list[Errand]:
    """Make an errand for each connection that is to be sent anything of these records.

    `connections` are those of each enterprise, which nobody else's records reach; `sent` tells up
    to which number one has got all. Enterprises take turns, so that none waits for all of another.
    """
    by_enterprise = [
        _errands([one for one in records if one.batch.enterprise == enterprise], all_of, sent)
        for enterprise, all_of in connections.items()
    ]
    return [errand for turn in zip_longest(*by_enterprise) for errand in turn if errand]


def _errands(
    records: Sequence[Record], connections: Iterable[Connection], sent: Callable[[str], int]
) -> list[Errand]:
    ends = {name: record for record in reversed(records) for name in record.batch.ended}
    errands = []
    for connection in connections:
        end = ends.get(connection.id)
        if end is not None:
            errands.append(Errand(connection, (), end.number, end.at_s, is_end=True))
            continue
        known = sent(connection.id)
        wanted = [
            (record, letter)
            for record in records
            for letter in record.batch.letters
            if letter.seq > known and connection.wants(letter)
        ]
        if wanted:
            first, _ = wanted[0]
            letters = tuple(letter for _, letter in wanted)
            errands.append(Errand(connection, letters, first.number, first.at_s))
    return errands
