"""Every command that a document tells is run by a test, or says here why it cannot be."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]

_FIRST = "tests/running/test_first_page.py"
# A command, as far as it must be the same, and what runs it: a file, and in it a test or a word.
RUN_BY = {
    "./asterisk.sh demo": "tests/bare/rehearse.sh ./asterisk.sh demo",
    "tests/run": "tests/bare/rehearse.sh tests/run",
    "tests/run deploy": ".ci/run tests/run deploy",
    "curl -H": f"{_FIRST} test_the_calls_are_answered_as_shown",
    "cat .env": f"{_FIRST} test_a_real_pbx_is_set_up_as_shown",
    "./asterisk.sh start": f"{_FIRST} test_a_real_pbx_is_set_up_as_shown",
    "./asterisk.sh check": f"{_FIRST} test_a_real_pbx_is_set_up_as_shown",
    "./asterisk.sh test": f"{_FIRST} test_a_real_pbx_is_set_up_as_shown",
    "./asterisk.sh migrate": "tests/integration/test_operate.py test_migrate_says_what_it_did",
    "./asterisk.sh rules": "tests/integration/test_operate.py test_rules_are_shown_set_and_cleared",
    "./asterisk.sh keys": "tests/integration/test_keys.py test_a_key_ends_by_its_name",
    "./asterisk.sh audit": "tests/integration/test_audit.py test_an_operator_reads_it",
    "./asterisk.sh purge": "tests/integration/test_purge.py test_a_number_is_forgotten_everywhere",
    "./asterisk.sh webhooks": "tests/integration/test_webhooks_command.py test_one_is_added",
    "uvicorn": "tests/integration/test_streams.py test_the_bare_server_ends_too",
    "psql": "tests/integration/test_rights.py test_the_service_needs_no_more_than_its_grants",
    "deploy/deploy": "tests/deploy/test_release.py def test_",
}
NOT_RUN = {
    "docker": "there is no registry to push to",
    "aws": "nothing here asks AWS",
    "task=$(aws": "nothing here asks AWS",
    "export": "sets what the command after it reads",
    "image=": "likewise",
    "cd": "goes where the command after it is run",
    "curl https://ID.execute-api": "nothing here asks AWS",
    "systemctl": "no systemd runs where tests do; test_deployed_files.py reads the units",
    "cp /opt": "likewise",
}


def commands(page: Path) -> list[str]:
    """The command lines of a page, without settings before them and comments behind."""
    lines = re.findall(r"^[$#] (.+)$", "\n".join(blocks(page)), re.MULTILINE)
    return [re.sub(r"^(?:[A-Z_]+=\S+ )+|\s+#.*$", "", line) for line in lines]


def blocks(page: Path) -> list[str]:
    """What a page shows of a console."""
    return re.findall(r"^```console\n(.*?)^```$", page.read_text("utf-8"), re.MULTILINE | re.DOTALL)


ALL = sorted({command for page in PAGES for command in commands(page)})


@pytest.mark.parametrize("command", ALL)
def test_each_command_is_run_by_a_test(command: str) -> None:
    """By one that is there; of two that fit the longer one is meant."""
    known = RUN_BY | NOT_RUN
    fits = [start for start in known if command == start or command.startswith(f"{start} ")]
    fits += [start for start in NOT_RUN if command.startswith(start)]
    assert fits, f"no test runs: {command}"
    by = RUN_BY.get(max(fits, key=len))
    if by is not None:
        path, _, name = by.partition(" ")
        assert name in (ROOT / path).read_text("utf-8")


def test_commands_are_found() -> None:
    """A page that shows none in the expected form would pass unseen."""
    assert len(ALL) > 30
    assert {"./asterisk.sh demo", "tests/run"} <= set(commands(ROOT / "docs" / "ru.md"))


def test_what_is_named_is_told() -> None:
    """No line of the tables is left over from a command that is told no more."""
    for start in RUN_BY | NOT_RUN:
        assert any(command.startswith(start) for command in ALL), start
