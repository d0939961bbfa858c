"""What is put for an enterprise's connections, and which of it each of them wants; pure.

The outbox has one item for each enterprise, overwritten each time: its stream has all that was ever
put, each item's in order. So nothing is to be cleared away, and nothing can overtake anything.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from typing import Any


class Unreadable(ValueError):
    """An item is not of its shape; the text says which."""


@dataclass(frozen=True, slots=True)
class Letter:
    """An event as it is sent, and by what it is chosen.

    `extensions` is None where it is everybody's who listens; `is_of_host`: for `scope=all` alone.
    """

    seq: int
    text: str
    extensions: tuple[str, ...] | None = None
    call_id: str | None = None
    is_of_host: bool = False


@dataclass(frozen=True, slots=True)
class Batch:
    """What follows the number `after`, up to `seq`, whatever of that can be told.

    The connections `ended` are told nothing of it, but why they end. `is_back`: its numbers go on
    after lower ones than were told before, as after a restored backup.
    """

    enterprise: str
    after: int
    seq: int
    letters: tuple[Letter, ...] = ()
    ended: tuple[str, ...] = ()
    is_back: bool = False

    def item(self) -> dict[str, Any]:
        """Write it as DynamoDB takes it."""
        told = {
            "letters": [asdict(letter) for letter in self.letters],
            "ended": self.ended,
            "is_back": self.is_back,
        }
        return {
            "enterprise": {"S": self.enterprise},
            "after": {"N": str(self.after)},
            "seq": {"N": str(self.seq)},
            "told": {"S": json.dumps(told, ensure_ascii=False)},
        }


@dataclass(frozen=True, slots=True)
class Connection:
    """A connection of an enterprise, what is wanted there, since and until when, as Unix time."""

    enterprise: str
    id: str
    extension: str | None = None
    call_id: str | None = None
    sees_host: bool = False
    since_s: int = 0
    until_s: int = 0

    def wants(self, letter: Letter) -> bool:
        """Tell whether a letter is wanted, by the same rule as `Wanted.takes` of the feed."""
        return (
            (self.sees_host or not letter.is_of_host)
            and (self.call_id is None or self.call_id == letter.call_id)
            and (
                self.extension is None
                or letter.extensions is None
                or self.extension in letter.extensions
            )
        )

    def item(self) -> dict[str, Any]:
        """Write it as DynamoDB takes it; `expires_at` is when DynamoDB forgets it by itself."""
        wanted = {
            "extension": self.extension,
            "call_id": self.call_id,
            "sees_host": self.sees_host,
        }
        return {
            "enterprise": {"S": self.enterprise},
            "connection": {"S": self.id},
            "wanted": {"S": json.dumps(wanted)},
            "since": {"N": str(self.since_s)},
            "expires_at": {"N": str(self.until_s)},
        }


def parse_batch(image: Mapping[str, Any]) -> Batch:
    """Read an item of the outbox. Raises Unreadable."""
    try:
        told = json.loads(image["told"]["S"])
        return Batch(
            str(image["enterprise"]["S"]),
            int(image["after"]["N"]),
            int(image["seq"]["N"]),
            tuple(map(_letter, told["letters"])),
            _texts(told["ended"]),
            bool(told.get("is_back")),  # nothing, in what the release before has put
        )
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise Unreadable(f"outbox: {type(error).__name__}: {error}") from None


def parse_connection(item: Mapping[str, Any]) -> Connection:
    """Read an item of the connections. Raises Unreadable."""
    try:
        wanted = json.loads(item["wanted"]["S"])
        return Connection(
            str(item["enterprise"]["S"]),
            str(item["connection"]["S"]),
            wanted["extension"],
            wanted["call_id"],
            bool(wanted["sees_host"]),
            int(item["since"]["N"]),
            int(item["expires_at"]["N"]),
        )
    except (ValueError, TypeError, KeyError) as error:
        raise Unreadable(f"connections: {type(error).__name__}: {error}") from None


def _letter(told: Mapping[str, Any]) -> Letter:
    extensions = told["extensions"]
    return Letter(
        int(told["seq"]),
        str(told["text"]),
        None if extensions is None else _texts(extensions),
        told["call_id"],
        bool(told["is_of_host"]),
    )


def _texts(told: Iterable[Any]) -> tuple[str, ...]:
    if not isinstance(told, list):
        raise TypeError("a list was expected")
    return tuple(map(str, told))
