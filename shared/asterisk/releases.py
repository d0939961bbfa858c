"""Which release an Asterisk's version names, and what that means for us; pure."""

from __future__ import annotations

import re
from typing import NamedTuple

# `16.28.0~dfsg-0+deb11u4`, `1.8.32.3`, `certified/11.6-cert18`, `GIT-16-0a1b2c3`,
# `SVN-branch-1.8-r300000`; but not `GIT-master-0a1b2c3` or `SVN-trunk-r300000`.
_VERSION = re.compile(
    r"(?:certified[/-]|(?:GIT|SVN)-(?:branch-)?)?([0-9]{1,3})(?:\.([0-9]{1,3}))?(?![0-9a-z])"
)


class Release(NamedTuple):
    """A release as its releasers count: 1.8, then 10, 11, 12..., whose minor matters little."""

    major: int
    minor: int

    @property
    def branch(self) -> str:
        """What it is called: `1.8`, `16`."""
        return f"1.{self.minor}" if self.major == 1 else str(self.major)


OLDEST = Release(1, 8)
# From 12 on `channel originate` has a thread of its own.
_FIRST_THREADED = Release(12, 0)
# From 13 on ChanSpy has the option `u`.
_FIRST_EXACT_SPY = Release(13, 0)
# The releases that were run, by their branch; what is said of the others is their source's word.
_RUN = {"11": "11.25", "13": "13.38", "16": "16.28", "22": "22.10"}


def parse_release(version: str) -> Release | None:
    """Parse a version as the banner or `core show version` tells it; None where it says none."""
    match = _VERSION.match(version)
    return Release(int(match[1]), int(match[2] or 0)) if match else None


def blocks_console(release: Release) -> bool:
    """Tell whether `channel originate` blocks its console until the extension answers."""
    return release < _FIRST_THREADED


def does_block(version: str | None) -> bool:
    """Tell whether an Asterisk of this version certainly does."""
    release = parse_release(version or "")
    return release is not None and blocks_console(release)


def may_block(version: str | None) -> bool:
    """Tell whether it may, since its version says so, or says nothing."""
    release = parse_release(version or "")
    return release is None or blocks_console(release)


def spies_exactly(version: str | None) -> bool:
    """Tell whether ChanSpy certainly takes one whole name, or a uniqueid, for just that channel."""
    release = parse_release(version or "")
    return release is not None and release >= _FIRST_EXACT_SPY


def how_tried(release: Release) -> str:
    """Tell what is known of a release, and by what."""
    run = _RUN.get(release.branch)
    return f"tried on a real {run}" if run else "known by its source, not tried"
