"""Asterisk's manager interface over a connection that is kept, and calls followed by its events.

It needs a user in the PBX's manager.conf, which this service does without.
"""

from __future__ import annotations

import asyncio
import itertools
import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from uuid import UUID

from shared.asterisk.models import CallPhase
from shared.store.database import Database
from shared.store.followed import Change
from shared.store.leases import Lease

Message = dict[str, str]
_RESPONSE_S = 10.0
_RENEW_S = 1.0


class Ami:
    """One connection; actions are matched to their responses by ActionID."""

    def __init__(
        self,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        on_event: Callable[[Message], None] | None,
    ) -> None:
        self._reader = reader
        self._writer = writer
        self._on_event = on_event
        self._ids = itertools.count()
        self._waiting: dict[str, asyncio.Future[Message]] = {}
        self._listener = asyncio.create_task(self._listen())

    @classmethod
    async def connect(cls, on_event: Callable[[Message], None] | None = None) -> Ami:
        """Connect and log in; without anybody to tell events to, none are asked for."""
        streams = await asyncio.open_connection("127.0.0.1", int(os.environ["AMI_PORT"]))
        ami = cls(*streams, on_event)
        events = "call" if on_event else "off"
        await ami.send(Action="Login", Username="lab", Secret="lab", Events=events)
        return ami

    async def send(self, **fields: str) -> Message:
        """Send an action and wait for its response."""
        action_id = str(next(self._ids))
        response = self._waiting[action_id] = asyncio.get_running_loop().create_future()
        lines = [f"{name}: {value}" for name, value in (fields | {"ActionID": action_id}).items()]
        self._writer.write(("\r\n".join(lines) + "\r\n\r\n").encode())
        return await asyncio.wait_for(response, _RESPONSE_S)

    async def _listen(self) -> None:
        await self._reader.readline()  # the greeting
        while block := await self._reader.readuntil(b"\r\n\r\n"):
            pairs = (line.partition(": ") for line in block.decode().splitlines() if line)
            message = {name: value for name, _, value in pairs}
            if "Event" in message:
                if self._on_event is not None:
                    self._on_event(message)
                continue
            response = self._waiting.pop(message.get("ActionID", ""), None)
            if "Response" in message and response is not None:
                response.set_result(message)

    def close(self) -> None:
        """End it."""
        self._listener.cancel()
        self._writer.close()


@dataclass
class _Followed:
    """A call: of which channels it has, and which have answered."""

    call_id: UUID
    live: set[str]
    is_answered: bool = False
    is_talking: bool = False


class Following:
    """Writes what events tell of calls as this service's tracker does: by the same statement.

    Phases come from channels' states; the end is that of the last channel, without call records.
    """

    def __init__(self, database: Database, host: str) -> None:
        self._database = database
        self._host = host
        self._calls: dict[str, _Followed] = {}
        self._changes: list[Change] = []
        self._news = asyncio.Event()
        self._task = asyncio.create_task(self._write())

    def begin(self, uniqueid: str, call_id: UUID) -> None:
        """Follow the call whose first channel this is, from before it exists."""
        self._calls[uniqueid] = _Followed(call_id, set())

    def hear(self, event: Message) -> None:
        """Take one event."""
        call = self._calls.get(event.get("Linkedid", ""))
        if call is None:
            return
        channel = event.get("Channel", "")
        match event["Event"], event.get("ChannelStateDesc"):
            case "Newchannel", _:
                call.live.add(channel)
            case "Newstate", "Ringing":
                self._tell(call, "customer_ringing" if call.is_answered else "agent_ringing")
            case "Newstate", "Up" if not call.is_answered:
                call.is_answered = True
                self._tell(call, "agent_answered")
            case "Newstate", "Up" if not channel.startswith("Local/"):
                call.is_talking = True
                self._tell(call, "talking")
            case "Hangup", _:
                call.live.discard(channel)
                if not call.live:
                    del self._calls[event["Linkedid"]]
                    self._tell(call, "ended")

    def _tell(self, call: _Followed, phase: CallPhase) -> None:
        change = Change(call_id=call.call_id, phase=phase)
        if phase == "ended":
            change |= Change(reason="answered" if call.is_talking else "failed", cdr="off")
        self._changes.append(change)
        self._news.set()

    async def _write(self) -> None:
        """Write all that is new at once, and keep the lease."""
        lease: Lease | None = None
        renewed_at = 0.0
        while True:
            try:
                async with asyncio.timeout(_RENEW_S):
                    await self._news.wait()
            except TimeoutError:
                pass
            self._news.clear()
            changes, self._changes = self._changes, []
            if not changes and time.monotonic() - renewed_at < _RENEW_S:
                continue
            lease = lease or await Lease.take(self._database, self._host)
            if lease is not None and await lease.write(changes) is None:
                lease = await Lease.take(self._database, self._host)
                if lease is not None:
                    await lease.write(changes)
            renewed_at = time.monotonic()

    def close(self) -> None:
        """End it."""
        self._task.cancel()
