"""Whole calls that Asterisk 11, 13, 16 and 22 carried, and what is so of each."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from shared.asterisk.cdr.pastcalls import Disposition
from shared.asterisk.cdr.rows import Record
from shared.asterisk.models import CallPhase, Progress, Root
from shared.asterisk.parsers import parse_channels
from shared.asterisk.phases import observe, steps
from tests.unit.cdr_rows import parse_records

FOLDER = Path(__file__).parents[1] / "transcripts"
# Of 11 and 13 there are fewer calls.
VERSIONS = ("16", "22")
RECORDED = sorted((path.parts[-3], path.stem) for path in FOLDER.glob("*/calls/*.json"))


@dataclass(frozen=True)
class Recording:
    """One recorded call: who was called, what was listed, what was written."""

    root: Root
    snapshots: Sequence[dict[str, Any]]
    rows: tuple[Record, ...]
    actions: Sequence[dict[str, Any]] = ()
    ended_at: float = 0.0

    @classmethod
    @cache
    def load(cls, version: str, name: str, folder: str = "calls") -> Recording:
        """Read it."""
        text = (FOLDER / version / folder / f"{name}.json").read_text("utf-8")
        recorded = json.loads(text)
        command = r"channel originate LOCAL/(\d+)@\S+ application (\w+) [A-Za-z]+/(\+?\d+)"
        match = re.match(command, recorded["command"], re.IGNORECASE)
        assert match is not None, recorded["command"]
        extension, application, phone = match.groups()
        root = Root(
            recorded["root"]["channel"],
            recorded["root"]["uniqueid"],
            "monitor" if application == "ChanSpy" else "call",
            extension,
            phone,
        )
        rows = parse_records(recorded["cdr"])
        return cls(
            root, recorded["snapshots"], rows, recorded.get("actions", ()), recorded["ended_at"]
        )

    def follow(self, every: Iterator[bool] | None = None) -> tuple[list[CallPhase], Progress]:
        """Observe the snapshots, or those that are chosen, and the end; the phases and the last."""
        progress, phases = Progress(), list[CallPhase]()
        linkedids: dict[str, str] = {}
        for snapshot in self.snapshots:
            if every is not None and not next(every):
                continue
            channels = parse_channels(snapshot["channels"])
            known = self.linkedids()
            linkedids |= {c.uniqueid: known[c.uniqueid] for c in channels if c.uniqueid in known}
            seen = observe(self.root, progress, channels, linkedids, at_s=snapshot["at"])
            phases += steps(progress, seen)
            progress = seen
        ended = observe(self.root, progress, (), linkedids, at_s=self.ended_at)
        phases += steps(progress, ended)
        return phases, ended

    def redirected(self) -> tuple[float, str]:
        """Tell when which channel was handed over to another extension."""
        command = next(a for a in self.actions if a["command"].startswith("channel redirect "))
        return command["at"], command["command"].split()[2]

    def linkedids(self) -> dict[str, str]:
        """Whose call each channel belongs to, as Asterisk told in the course of the call."""
        known: dict[str, str] = {}
        for snapshot in self.snapshots:
            known |= snapshot["linkedids"]
        return known


RING: list[CallPhase] = ["agent_ringing"]
ANSWER: list[CallPhase] = [*RING, "agent_answered"]
CUSTOMER_RINGS: list[CallPhase] = [*ANSWER, "customer_ringing"]
TALK: list[CallPhase] = [*CUSTOMER_RINGS, "talking"]
# A customer's number that leads nowhere is gone before the agent's answer can be seen.
CALLS: dict[str, list[CallPhase]] = {
    "answered": TALK,
    "answered-rtp": TALK,
    "agent-no-answer": RING,
    "agent-busy": RING,
    "agent-busy-at-once": [],
    "originate-limit": RING,
    "customer-busy": CUSTOMER_RINGS,
    "customer-no-answer": CUSTOMER_RINGS,
    "customer-no-answer-rtp": CUSTOMER_RINGS,
    "customer-not-found": CUSTOMER_RINGS,
    "agent-hangs-up": CUSTOMER_RINGS,
    "agent-hangs-up-rtp": CUSTOMER_RINGS,
    "cancel-customer-ringing": CUSTOMER_RINGS,
    "cancel-customer-ringing-rtp": CUSTOMER_RINGS,
    "agent-hangs-up-talking": [*ANSWER, "talking"],
    "agent-hangs-up-talking-rtp": TALK,
    "cancel-agent-ringing": RING,
    "cancel-talking": TALK,
    "cancel-talking-rtp": TALK,
    "unknown-agent-context": [],
    "unknown-agent-peer": [],
    "unknown-customer-context": RING,
    "unknown-customer-extension": RING,
    "barge": TALK,
    "barge-supervisor": ANSWER,
    "listen": TALK,
    "listen-supervisor": ["agent_answered"],
    "supervisor-nothing-to-hear": ["agent_answered"],
    "transfer": TALK,
    "transfer-rtp": TALK,
    "transfer-no-answer": TALK,
    "transfer-customer-ringing": TALK,
    "two-calls-at-once": TALK,
    "two-calls-at-once-second": CUSTOMER_RINGS,
}

# Seen while it rang, for some milliseconds.
RANG = {("11", "agent-busy-at-once"), ("13", "agent-busy-at-once")}


def phases_of(version: str, name: str) -> list[CallPhase]:
    """Tell which phases a recorded call went through before its end."""
    return RING if (version, name) in RANG else CALLS[name]


# The call's reason, and what history says of it. A cancelled call is told no differently from one
# that nobody took: whoever cancelled it knows.
JUDGED: dict[str, tuple[str | None, Disposition | None]] = {
    "agent-busy": ("agent_busy", "busy"),
    "agent-busy-at-once": ("agent_busy", "busy"),
    "agent-no-answer": ("agent_no_answer", "no_answer"),
    "originate-limit": ("agent_no_answer", "no_answer"),
    "cancel-agent-ringing": ("agent_no_answer", "no_answer"),
    "answered": ("answered", "answered"),
    "answered-rtp": ("answered", "answered"),
    "agent-hangs-up-talking": ("answered", "answered"),
    "agent-hangs-up-talking-rtp": ("answered", "answered"),
    "cancel-talking": ("answered", "answered"),
    "cancel-talking-rtp": ("answered", "answered"),
    "barge": ("answered", "answered"),
    "barge-supervisor": ("answered", "answered"),
    "listen": ("answered", "answered"),
    "listen-supervisor": ("answered", "answered"),
    "supervisor-nothing-to-hear": ("nothing_heard", "answered"),
    "two-calls-at-once": ("answered", "answered"),
    "transfer": ("answered", "answered"),
    "transfer-rtp": ("answered", "answered"),
    "transfer-no-answer": ("answered", "answered"),
    "transfer-customer-ringing": ("answered", "answered"),
    "customer-busy": ("busy", "busy"),
    "two-calls-at-once-second": ("busy", "busy"),
    "customer-no-answer": ("no_answer", "no_answer"),
    "customer-no-answer-rtp": ("no_answer", "no_answer"),
    "agent-hangs-up": ("no_answer", "no_answer"),
    "agent-hangs-up-rtp": ("no_answer", "no_answer"),
    "cancel-customer-ringing": ("no_answer", "no_answer"),
    "cancel-customer-ringing-rtp": ("no_answer", "no_answer"),
    "customer-not-found": ("failed", "failed"),
    "unknown-customer-context": ("failed", "failed"),
    "unknown-customer-extension": ("failed", "failed"),
    "unknown-agent-context": (None, None),
    "unknown-agent-peer": (None, None),
}
