"""The clients of clients/ are of the API's version."""

from __future__ import annotations

import json
import re
from pathlib import Path

import asterisk_calls
import pytest

from shared.settings import VERSION
from tests.integration import node

_CLIENTS = Path(__file__).parents[2] / "clients"


def test_both_have_the_apis_version() -> None:
    """Python's package takes its own from there too."""
    (js,) = re.findall(
        r'^export const VERSION = "(.+)"', (_CLIENTS / "js/calls.js").read_text(), re.MULTILINE
    )
    assert (asterisk_calls.VERSION, js) == (VERSION, VERSION)


@pytest.mark.parametrize("client", ["js", "python"])
def test_each_can_be_read_at_a_sitting(client: str) -> None:
    """They are there to be copied and understood; all files of one together."""
    files = (_CLIENTS / client).rglob("*.[jp][sy]")
    assert sum(len(file.read_text("utf-8").splitlines()) for file in files) in range(100, 300)


AFTERS = ("7", "2592000", "9" * 400)


def test_nobody_waits_for_as_long_as_a_gateway_likes() -> None:
    """An hour at most: a timer of JavaScript's that is set to a month is over at once."""
    errors = [asterisk_calls.CallsError(429, {}, after) for after in AFTERS]
    assert [error.retry_after_s for error in errors] == [7, 3600, 3600]
    script = (
        f"import {{ CallsError }} from '{(_CLIENTS / 'js/calls.js').as_uri()}'\n"
        f"const told = {json.dumps(AFTERS)}.map((after) => new CallsError(429, {{}}, after))\n"
        "console.log(JSON.stringify(told.map((error) => error.retryAfterS)))"
    )
    assert json.loads(node.run("node", "--input-type=module", "-e", script)) == [7, 3600, 3600]


def test_an_error_that_is_a_mere_text_is_an_error() -> None:
    """As JSON, which some gateways write: what may ring is still told to be refused, or unknown."""
    script = (
        f"import {{ Calls }} from '{(_CLIENTS / 'js/calls.js').as_uri()}'\n"
        "globalThis.fetch = async () => new Response('\"no\"', { status: 403 })\n"
        "const told = await new Calls().createCall('150', '1').catch((error) => error)\n"
        "console.log(JSON.stringify([told.name, told.status, told.dialled]))"
    )
    told = json.loads(node.run("node", "--input-type=module", "-e", script))
    assert told == ["CallsError", 403, "no"]
