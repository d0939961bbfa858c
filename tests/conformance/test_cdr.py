"""Call detail records over SFTP: which rows a call leaves, and what they say."""

from __future__ import annotations

import csv
import re
from dataclasses import dataclass
from typing import NamedTuple

import anyio
import asyncssh
import pytest

from shared.asterisk.models import Channel
from tests.conformance.site import CDR, LIMIT_S, Host, named

pytestmark = pytest.mark.anyio

TIME = r'"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d"'
TEXT = r'"(?:[^"]|"")*"'
LINE = re.compile(rf'(?:{TEXT},){{9}}{TIME},(?:{TIME})?,{TIME},\d+,\d+,{TEXT},{TEXT},{TEXT},""')


class Row(NamedTuple):
    """One line of Master.csv, in its columns' order."""

    accountcode: str
    src: str
    dst: str
    dcontext: str
    clid: str
    channel: str
    dstchannel: str
    lastapp: str
    lastdata: str
    start: str
    answer: str
    end: str
    duration: str
    billsec: str
    disposition: str
    amaflags: str
    uniqueid: str
    userfield: str


@dataclass(frozen=True, slots=True)
class Rows:
    """What one call left."""

    root: Channel
    rows: tuple[Row, ...]

    def by(self, channel: str, *, dstchannel: bool) -> list[Row]:
        """The rows of one channel, with or without another end."""
        mine = [row for row in self.rows if row.channel == channel]
        return [row for row in mine if bool(row.dstchannel) == dstchannel]

    @property
    def agent(self) -> Row:
        """The row of the root's other half: the agent's phone."""
        (row,) = self.by(f"{self.root.name[:-1]}2", dstchannel=True)
        return row

    @property
    def outcome(self) -> Row:
        """The row that tells what became of the call."""
        (row,) = self.by(self.root.name, dstchannel=True)
        return row


class Ledger:
    """Reads on in Master.csv."""

    def __init__(self, sftp: asyncssh.SFTPClient, size: int) -> None:
        self._sftp = sftp
        self._size = size

    async def text(self) -> str:
        """What was written since this was made."""
        async with self._sftp.open(CDR) as file:
            return str(await file.read(-1, self._size))

    async def rows(self, root: Channel, count: range) -> Rows:
        """Wait for so many rows; more than enough come only later, so these are not too few."""
        with anyio.fail_after(LIMIT_S):
            while (text := await self.text()).count("\n") not in count:
                assert text.count("\n") < count.stop, text
                await anyio.sleep(0.02)
        await anyio.sleep(0.1)
        text = await self.text()
        assert text.endswith("\n")
        for line in text.splitlines():
            assert LINE.fullmatch(line), line
        rows = Rows(root, tuple(Row(*fields) for fields in csv.reader(text.splitlines())))
        assert len(rows.rows) in count, text
        return rows


async def call(host: Host, agent: str, customer: str, count: range) -> Rows:
    """Let a call pass and read its rows."""
    async with host.connection.start_sftp_client() as sftp:
        ledger = Ledger(sftp, await size(sftp))
        root = await host.originate(agent, customer)
        await host.over()
        return await ledger.rows(root, count)


async def size(sftp: asyncssh.SFTPClient) -> int:
    """Where the file ends now; it is there from the first call on."""
    return (await sftp.stat(CDR)).size or 0


def assert_common(rows: Rows, agent: str) -> None:
    """The agent's row, and that which is always there beside it, once he has answered."""
    row = rows.agent
    technology = row.dstchannel.partition("/")[0]
    assert row.dstchannel.startswith(f"{technology}/{agent}-")
    assert (row.dst, row.dcontext, row.lastapp) == (agent, "inoffice", "Dial")
    assert row.lastdata.startswith(f"{technology}/{agent},")
    assert (row.amaflags, row.accountcode, row.userfield) == ("DOCUMENTATION", "", "")
    for row in rows.rows:
        assert row.clid == f'"" <{row.src}>'
        assert (row.answer == "") == (
            row.disposition != "ANSWERED" and row.channel != rows.root.name
        )
        assert row.start <= row.end
        assert int(row.billsec) <= int(row.duration)


async def test_an_answered_call_leaves_four_rows(host: Host) -> None:
    """Agent's phone, an empty one to ignore, the outcome, and the talk itself."""
    rows = await call(host, "154", "+375290000001", range(4, 5))
    assert_common(rows, "154")
    assert rows.agent.disposition == "ANSWERED"
    (empty,) = rows.by(rows.root.name, dstchannel=False)
    assert (empty.uniqueid, empty.disposition, empty.billsec) == (
        rows.root.uniqueid,
        "ANSWERED",
        "0",
    )
    row = rows.outcome
    assert (row.uniqueid, row.disposition) == (rows.root.uniqueid, "ANSWERED")
    assert (row.lastapp, row.lastdata) == ("Dial", "LOCAL/+375290000001@inoffice")
    assert row.dstchannel.startswith("Local/+375290000001@inoffice-")
    assert row.dstchannel.endswith(";1")
    (talk,) = rows.by(f"{row.dstchannel[:-1]}2", dstchannel=True)
    assert "/trunktalk-" in talk.dstchannel
    assert (talk.dst, talk.disposition) == ("+375290000001", "ANSWERED")
    assert talk.lastdata.endswith("/+375290000001@trunktalk,60")
    assert int(talk.billsec) <= int(row.billsec)


@pytest.mark.parametrize(
    ("customer", "outcome", "far"),
    [
        ("+375290000002", "BUSY", "BUSY"),
        ("+375290000003", "NO ANSWER", "NO ANSWER"),
        ("+375290000004", "FAILED", "NO ANSWER"),
    ],
)
async def test_a_customer_who_does_not_answer(
    host: Host, customer: str, outcome: str, far: str
) -> None:
    """Four rows again; the outcome's disposition says why, its own talk seconds say nothing."""
    rows = await call(host, "150", customer, range(4, 5))
    assert_common(rows, "150")
    assert rows.agent.disposition == "ANSWERED"
    assert len(rows.by(rows.root.name, dstchannel=False)) == 1
    assert (rows.outcome.uniqueid, rows.outcome.disposition) == (rows.root.uniqueid, outcome)
    (row,) = rows.by(f"{rows.outcome.dstchannel[:-1]}2", dstchannel=True)
    assert (row.disposition, row.answer, row.billsec) == (far, "", "0")


@pytest.mark.parametrize(
    ("agent", "disposition"), [("152", "BUSY"), ("155", "BUSY"), ("153", "NO ANSWER")]
)
async def test_an_agent_who_does_not_answer(host: Host, agent: str, disposition: str) -> None:
    """One row, and none of the root's uniqueid."""
    rows = await call(host, agent, "+375290000001", range(1, 2))
    assert_common(rows, agent)
    row = rows.agent
    assert (row.disposition, row.answer, row.billsec) == (disposition, "", "0")
    assert row.uniqueid != rows.root.uniqueid


async def test_a_call_that_reaches_nobody_leaves_no_row(host: Host) -> None:
    """An extension that the dialplan lacks: nothing tells of the call afterwards."""
    async with host.connection.start_sftp_client() as sftp:
        ledger = Ledger(sftp, await size(sftp))
        await host.ask("channel originate LOCAL/abc@inoffice application NoOp")
        await host.over()
        await anyio.sleep(0.2)
        assert await ledger.text() == ""


@pytest.mark.parametrize("ringing", ["153", "trunkna"])
async def test_a_cancelled_call_is_no_answer(host: Host, ringing: str) -> None:
    """Hung up while the agent rings: one row; while the customer rings: four."""
    agent, customer, count = ("153", "+375290000001", 1)
    if ringing == "trunkna":
        agent, customer, count = ("150", "+375290000003", 4)
    async with host.connection.start_sftp_client() as sftp:
        ledger = Ledger(sftp, await size(sftp))
        root = await host.originate(agent, customer)
        await host.seen(named(f"{host.technology}/{ringing}-", state="Ringing"))
        await host.ask(f"channel request hangup {root.name}")
        await host.over()
        rows = await ledger.rows(root, range(count, count + 1))
    told = rows.agent if ringing == "153" else rows.outcome
    assert told.disposition == "NO ANSWER"


async def test_a_call_with_sound_ends_with_a_row_from_phone_to_phone(host: Host) -> None:
    """Six to eight rows: the Local channels' as they go, the talk's when the call ends.

    How many are one phone's with nobody, or with a half, is how fast the Local channels go.
    """
    async with host.connection.start_sftp_client() as sftp:
        ledger = Ledger(sftp, await size(sftp))
        root = await host.originate("156", "+375290000006")
        await host.seen(named(f"{host.technology}/trunkrtp-", state="Up"))
        while any(channel.name.startswith("Local/") for channel in await host.channels()):
            pass
        legs = {channel.name: channel.uniqueid for channel in await host.channels()}
        early = (await ledger.text()).splitlines()
        await host.over()
        rows = await ledger.rows(root, range(6, 9))
    outcomes = rows.by(root.name, dstchannel=True)  # once more where the talk was written twice
    assert {row.disposition for row in (rows.agent, *outcomes)} == {"ANSWERED"}
    assert len(outcomes) in {1, 2}
    assert len(rows.by(root.name, dstchannel=False)) == 1
    talks = [row for row in rows.rows if {row.channel, row.dstchannel} == set(legs)]
    talk = talks[-1]
    pair = f'"{talk.channel}","{talk.dstchannel}"'
    assert len(early) >= 4
    assert sum(pair in line for line in early) < len(talks)
    assert (talk.uniqueid, talk.disposition) == (legs[talk.channel], "ANSWERED")
    assert (talk.lastapp, talk.lastdata, talk.dst) == ("AppDial", "(Outgoing Line)", "")


async def test_a_redirected_customer_leaves_a_last_row(host: Host) -> None:
    """The rows so far are written at once, one from the customer to the new agent at the end."""
    async with host.connection.start_sftp_client() as sftp:
        ledger = Ledger(sftp, await size(sftp))
        root = await host.originate("154", "+375290000005")
        channels = await host.seen(named(f"{host.technology}/trunkslow-", state="Up"))
        (leg,) = filter(named(f"{host.technology}/trunkslow-"), channels)
        await host.ask(f"channel redirect {leg.name} inoffice,151,1")
        channels = await host.seen(named(f"{host.technology}/151-", state="Up"))
        (new,) = filter(named(f"{host.technology}/151-"), channels)
        early = await ledger.rows(root, range(4, 5))
        await host.ask(f"channel request hangup {new.name}")
        await host.over()
        rows = await ledger.rows(root, range(5, 6))
    assert_common(early, "154")
    assert {row.disposition for row in early.rows} == {"ANSWERED"}
    last = rows.rows[-1]
    assert (last.channel, last.dstchannel, last.uniqueid) == (leg.name, new.name, leg.uniqueid)
    assert (last.lastapp, last.lastdata) == ("Dial", f"{host.technology}/151,30")
    assert (last.dst, last.disposition) == ("151", "ANSWERED")


async def test_a_spy_leaves_a_row(host: Host) -> None:
    """Channel, application and argument: who listened to whom."""
    spies = f"{host.technology}/150-,bqES"
    async with host.connection.start_sftp_client() as sftp:
        ledger = Ledger(sftp, await size(sftp))
        await host.ask(f"channel originate LOCAL/151@inoffice application ChanSpy {spies}")
        channels = await host.seen(named("Local/151@inoffice-", ";1"))
        root = pick_root(channels)
        await host.over()
        rows = await ledger.rows(root, range(2, 3))
    (row,) = rows.by(root.name, dstchannel=False)
    assert (row.lastapp, row.lastdata, row.dst) == ("ChanSpy", spies, "151")
    assert (row.disposition, row.uniqueid) == ("ANSWERED", root.uniqueid)


def pick_root(channels: tuple[Channel, ...]) -> Channel:
    """The supervisor's root."""
    (root,) = filter(named("Local/151@inoffice-", ";1"), channels)
    return root
