"""What docs/clients.md shows is run as it stands, but for where the service is and its secret.

So is what listens to events in docs/api.md, and to webhooks in docs/webhooks.md.
"""

from __future__ import annotations

import contextlib
import io
import json
import re
import sys
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from pathlib import Path
from types import ModuleType
from typing import Any

import httpx
import pytest
from anyio import to_thread
from asterisk_calls import Calls, Event
from standardwebhooks import Webhook

from tests.integration import node
from tests.integration.playing import AGENT, TALKS, Play, playing
from tests.integration.service import ROOT, SECRET
from tests.postgres import Postgres

pytestmark = pytest.mark.anyio

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


# One WebSocket hears an event, then nothing for longer than it may; once there is no ticket; of the
# next its events are gone; the third is opened after what was told.
_LISTENER = """
const [asked, shown] = [[], []]
let anew = 0
const show = (call) => shown.push(call.phase)
const readAnew = () => anew++
const gone = { type: "error", code: "events-gone", newest: 20 }
const said = [[{ seq: 8, call: { phase: "talking" } }], [gone], []]
const tickets = ["t1", null, "t2", "t3"]
globalThis.fetch = async (url) => {
  asked.push(url)
  const ticket = tickets.shift()
  if (!ticket) throw new TypeError("away")
  return new Response(JSON.stringify({ ticket }))
}
const slowly = globalThis.setTimeout
const soon = { 45000: 20, 2000: 1 }
globalThis.setTimeout = (act, ms, ...what) => slowly(act, soon[ms] ?? ms, ...what)
console.error = () => {}
globalThis.WebSocket = class {
  constructor() {
    const messages = said.shift()
    slowly(() => {
      for (const message of messages) this.onmessage({ data: JSON.stringify(message) })
      if (messages.length) return
      console.log(JSON.stringify({ asked, shown, anew }))
      process.exit(0)
    })
  }
  close() {}
}
"""


class Enough(Exception):
    """Ends what goes on for ever."""


def blocks(kind: str, page: str = "clients") -> list[str]:
    """The blocks of a kind that a page shows."""
    text = (ROOT / "docs" / f"{page}.md").read_text("utf-8")
    return re.findall(rf"^```{kind}\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)


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


def test_a_loop_over_events_leaves_out_what_is_no_call(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """As that a webhook was switched off, at which it would else end, and again at each start."""
    off = {"seq": 4, "type": "webhook.disabled", "webhook": {"why": "failing"}}
    call = {"seq": 5, "type": "call.phase", "call": {"from": "154", "phase": "ended"}}
    answers = [{"next": 3}, {"events": [off, call], "next": 5}]
    asked: list[str | None] = []

    def answer(request: httpx.Request) -> httpx.Response:
        asked.append(request.url.params.get("after"))
        if not answers:
            raise Enough
        return httpx.Response(200, json=answers.pop(0))

    client = httpx.Client

    def instead(**options: Any) -> httpx.Client:
        return client(transport=httpx.MockTransport(answer), **options)

    monkeypatch.setattr(httpx, "Client", instead)
    (loop,) = blocks("python", "api")
    with pytest.raises(Enough):
        exec(loop, {})
    assert capsys.readouterr().out == "5 call.phase 154 ended\n"
    assert asked == [None, "3", "5"]


async def test_a_listener_by_websocket_goes_on_whatever_breaks(tmp_path: Path) -> None:
    """Silence, a ticket that was not had, events that are gone: each time from where it was."""
    (block,) = blocks("javascript", "api")
    script = tmp_path / "listener.mjs"
    script.write_text(_LISTENER + block, "utf-8")
    told = json.loads(await to_thread.run_sync(lambda: node.run("node", script)))
    assert told["asked"] == [f"/my/ticket?after={after}" for after in ("", 8, 8, 20)]
    assert (told["shown"], told["anew"]) == (["talking"], 1)


@pytest.mark.parametrize(
    ("signature", "status"),
    [(None, 204), ("v1,a", 401), ("v1", 401), ("v1,ю", 401), ("v1," + "A" * 44, 401)],
)
async def test_a_receiver_of_webhooks_refuses_what_is_no_signature(
    signature: str | None, status: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever it is, it is a stranger's, and no failure of the receiver's."""
    secret, body = "whsec_" + "A" * 32, b'{"seq": 1}'
    module = ModuleType("receiver")  # where FastAPI looks its annotations up
    monkeypatch.setitem(sys.modules, "receiver", module)
    remembered: list[str] = []
    module.__dict__["remember"] = lambda name, _: remembered.append(name)
    exec(put(blocks("python", "webhooks")[0], **{"whsec_...": secret}), module.__dict__)
    now = datetime.now(UTC)
    signed = signature or Webhook(secret).sign("msg_1", now, body.decode())
    headers = {
        b"webhook-id": b"msg_1",
        b"webhook-timestamp": str(int(now.timestamp())).encode(),
        b"webhook-signature": signed.encode(),
    }
    transport = httpx.ASGITransport(module.__dict__["app"], raise_app_exceptions=False)
    async with httpx.AsyncClient(transport=transport, base_url="http://crm") as http:
        answer = await http.post("/hooks/calls", content=body, headers=headers)
    assert (answer.status_code, remembered) == (status, ["msg_1"] if status == 204 else [])
