"""A version names its release, or none; nothing that a PBX says makes it fail."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.asterisk.parsers import parse_banner, parse_version
from shared.asterisk.releases import (
    OLDEST,
    Release,
    blocks_console,
    does_block,
    how_tried,
    may_block,
    parse_release,
)
from tests.unit.conftest import Transcripts


@pytest.mark.parametrize(
    ("version", "release"),
    [
        ("16.28.0~dfsg-0+deb11u4", (16, 28)),
        ("22.10.1+dfsg+~cs6.17.60671434-1", (22, 10)),
        ("1.8.32.3", (1, 8)),
        ("11.25.3", (11, 25)),
        ("10.12.4-digiumphones", (10, 12)),
        ("20", (20, 0)),
        ("certified/11.6-cert18", (11, 6)),
        ("certified-18.9-cert5", (18, 9)),
        ("GIT-16-0a1b2c3", (16, 0)),
        ("SVN-branch-1.8-r300000", (1, 8)),
        ("GIT-master-0a1b2c3", None),
        ("GIT-0a1b2c3", None),
        ("SVN-trunk-r300000", None),
        ("UNKNOWN__and_probably_unsupported", None),
        ("1000.1", None),
        ("", None),
    ],
)
def test_a_version_names_its_release(version: str, release: tuple[int, int] | None) -> None:
    """As the banners of every kind of build have it; a hash's digits are no release."""
    assert parse_release(version) == release


@pytest.mark.parametrize(
    ("version", "does", "may"),
    [
        ("11.25.3", True, True),
        ("SVN-branch-1.8-r300000", True, True),
        ("12.8.2", False, False),
        ("22.10.1", False, False),
        ("GIT-master-0a1b2c3", False, True),
        (None, False, True),
    ],
)
def test_where_the_version_is_not_plain_an_originate_may_block(
    version: str | None, *, does: bool, may: bool
) -> None:
    """Then behaviour decides: nothing is assumed."""
    assert (does_block(version), may_block(version)) == (does, may)


@given(st.text())
def test_any_text_is_a_release_or_none(text: str) -> None:
    """And so is whatever `core show version` prints."""
    release = parse_release(text)
    assert release is None or release.major < 1000
    assert parse_version(text) is None or "Asterisk " in text


def test_both_ways_tell_one_version(transcript: Transcripts) -> None:
    """The banner's word is that of `core show version`, on real ones."""
    banner = parse_banner(transcript("ctl-banner"))
    assert banner is not None
    assert parse_version(transcript("version")) == banner.version
    assert parse_version(transcript("usage-version")) is None


def test_what_a_release_means() -> None:
    """Up to 11 an originate holds its console; 1.8 is the oldest that is known."""
    branches = [Release(1, 6), Release(1, 8), Release(10, 12), Release(11, 25), Release(12, 0)]
    assert [blocks_console(release) for release in branches] == [True, True, True, True, False]
    assert [release for release in branches if release < OLDEST] == [Release(1, 6)]
    assert OLDEST.branch == "1.8"


def test_how_a_release_was_tried_is_told() -> None:
    """Those that were run are named; the others are known by their source."""
    run = {branch: how_tried(Release(branch, 1)) for branch in range(10, 24)}
    tried = {branch for branch, text in run.items() if text.startswith("tried on a real ")}
    assert tried == {11, 13, 16, 22}
    assert run[18] == "known by its source, not tried"
