"""What docs/clients.md shows is run as it stands, but for where the service is and its secret."""

from __future__ import annotations

import contextlib
import io
import re
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from anyio import to_thread
from asterisk_calls import Calls, Event

from tests.integration import node
from tests.integration.playing import AGENT, TALKS, Play, playing
from tests.integration.service import ROOT, SECRET
from tests.postgres import Postgres

pytestmark = pytest.mark.anyio

PAGE = (ROOT / "docs" / "clients.md").read_text("utf-8")
# A page's own server passes requests on; here the script is its own, and nobody calls in.
_BROWSER = """
const element = Object.assign(new EventTarget(), { dataset: {}, disabled: false })
const document = { querySelector: (wanted) => (wanted === "#call" ? element : null) }
const popUp = () => {}
const phases = []
setTimeout(() => element.dispatchEvent(new Event("click")), 100)
setInterval(() => {
  const { phase } = element.dataset
  if (phase !== phases.at(-1)) phases.push(phase)
  if (phase === "ended") {
    console.log(element.dataset.reason, phases.at(-1))
    process.exit(0)
  }
}, 20)
"""


class Enough(Exception):
    """Ends what goes on for ever."""


def blocks(kind: str) -> list[str]:
    """The blocks of a kind that the page shows."""
    return re.findall(rf"^```{kind}\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)


def put(block: str, **other: str) -> str:
    """Put something else in the place of what stands there, which does."""
    for old, new in other.items():
        assert old in block, old
        block = block.replace(old, new)
    return block


@pytest.fixture
async def play(postgres: Postgres, tmp_path: Path) -> AsyncIterator[Play]:
    """A process of the service, and its stand-in PBX."""
    async with playing(postgres, tmp_path) as play:
        yield play


async def test_a_call_in_python_is_placed_and_followed(play: Play) -> None:
    """Its first block, and the second, which is told of the same call by the feed."""
    place, follow = blocks("python")
    said = io.StringIO()

    def run() -> None:
        here = {"http://127.0.0.1:8018": play.url, "demo-secret-0001": SECRET}
        with contextlib.redirect_stdout(said):
            exec(put(place, **here), {})

    await to_thread.run_sync(run)
    assert said.getvalue().splitlines()[-1] == "ended answered"

    shown: list[str] = []

    def show(call: dict[str, Any]) -> None:
        shown.append(call["phase"])
        if call["phase"] == "ended":
            raise Enough

    def follow_on() -> None:
        with Calls(play.url, SECRET) as api, pytest.raises(Enough):
            exec(follow, {"api": api, "handled": 0, "show": show})

    await to_thread.run_sync(follow_on)
    assert (shown[0], shown[-1]) == ("accepted", "ended")
    assert (AGENT, TALKS) == ("154", "+375290000001")


async def test_a_gap_is_read_anew_in_python(play: Play) -> None:
    """The branch of the second block that a feed without gaps never takes."""
    gone: Event = {"seq": 7, "type": "events.gone", "at": "2026-11-28T00:00:00Z"}

    class Api:
        def follow(self, after: int) -> list[Event]:
            assert after == 3
            return [gone]

        def list_calls(self, **wanted: bool) -> list[str]:
            assert wanted == {"open": True}
            return ["open calls"]

    read: list[list[str]] = []
    names = {"api": Api(), "handled": 3, "read_anew": read.append}
    exec(blocks("python")[1], names)
    assert (read, names["handled"]) == ([["open calls"]], 7)


async def test_a_button_in_a_page_rings_and_is_told(play: Play, tmp_path: Path) -> None:
    """The block in JavaScript, with a click on its button."""
    (block,) = blocks("js")
    client = (ROOT / "clients" / "js" / "calls.js").as_uri()
    script = tmp_path / "page.mjs"
    here = f'{{ url: "{play.url}", secret: "{SECRET}" }}'
    moved = {'"./calls.js"': f'"{client}"', '{ url: "/my/calls-api" }': here}
    script.write_text(_BROWSER + put(block, **moved), "utf-8")
    told = await to_thread.run_sync(lambda: node.run("node", script))
    assert told.split() == ["answered", "ended"]
