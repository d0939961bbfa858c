"""What a stand-in keeps of what was done at it: the latest, since a sandbox runs for months."""

from collections import Counter
from itertools import islice
from typing import TypeVar

T = TypeVar("T")

# More than a test looks at, and no more than some megabytes.
MOST = 20_000
MOST_BYTES = 16 * 2**20


class Latest(list[T]):
    """A list of which twice MOST are kept before the older half goes."""

    def append(self, item: T) -> None:
        """Add one."""
        if len(self) >= 2 * MOST:
            del self[:MOST]
        super().append(item)


class Counts(Counter[str]):
    """A count of so many names, likewise."""

    def __setitem__(self, name: str, count: int) -> None:
        """Set one's."""
        if name not in self and len(self) >= 2 * MOST:
            for oldest in list(islice(self, MOST)):
                del self[oldest]
        super().__setitem__(name, count)


def rotate(ledger: bytearray) -> None:
    """Let the older half of a file go that has more than MOST_BYTES, by whole lines."""
    if len(ledger) > MOST_BYTES:
        del ledger[: ledger.find(b"\n", len(ledger) // 2) + 1]
