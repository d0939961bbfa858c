"""Moments of an exchange, and what can be done to a PBX at each."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
from collections.abc import Callable
from typing import Any, Literal

import httpx
import pytest

from shared.deadline import Deadline
from shared.following.trackers import Trackers
from shared.ssh import channels, connection
from tests.pbx.lab import Lab

Moment = Literal["opened", "banner", "written", "executed"]
Verdict = tuple[int, str, str]


def follow_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """Start no tracker: its exchanges would come between, where a test waits for a call's own."""
    monkeypatch.setattr(Trackers, "start", lambda _: None)


class Moments:
    """Acts once, at a moment of the next exchange that carries an originate.

    opened    the way to Asterisk is open: on a socket no banner came, of a shell nothing was sent
    banner    the banner was read, nothing is written (a shell has no such moment)
    written   everything was sent, no reply was read
    executed  the first reply has come, of a shell the last, and is kept from the service
    """

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self._monkeypatch = monkeypatch
        self._moment: Moment | None = None
        self._act: Callable[[], None] = lambda: None
        follow_nothing(monkeypatch)
        self._is_placing = False
        self._watch_sockets()
        self._watch_shells()
        self._keep_back_output()

    def at(self, moment: Moment, act: Callable[[], None]) -> None:
        """Act at this moment; after the first call, so that its extension is known."""
        self._moment, self._act = moment, act

    def _is(self, moment: Moment) -> None:
        """Act, if it is the moment."""
        if moment == self._moment:
            self._moment = None
            self._act()

    def _watch_sockets(self) -> None:
        open_socket = connection.Connection.open_socket
        read, write = connection.UnixStream.read, connection.UnixStream.write
        written: set[int] = set()

        async def opens(self_: Any, path: str, deadline: Deadline) -> connection.UnixStream:
            stream = await open_socket(self_, path, deadline)
            written.discard(id(stream))  # that of an earlier one, which is gone
            self._is("opened")
            return stream

        async def reads(stream: connection.UnixStream) -> bytes:
            if id(stream) in written:
                self._is("written")
            data = await read(stream)
            if id(stream) not in written:
                self._is("banner")
            elif self._moment == "executed":
                self._is("executed")
                return await read(stream)
            return data

        def writes(stream: connection.UnixStream, data: bytes) -> None:
            write(stream, data)
            if b"originate" in data:
                written.add(id(stream))

        self._monkeypatch.setattr(connection.Connection, "open_socket", opens)
        self._monkeypatch.setattr(connection.UnixStream, "read", reads)
        self._monkeypatch.setattr(connection.UnixStream, "write", writes)

    def _watch_shells(self) -> None:
        start, made = connection.Connection.start, channels.Session.connection_made

        async def starts(self_: Any, command: str, deadline: Deadline) -> connection.Running:
            self._is_placing = "originate" in command
            if self._is_placing:
                self._is("opened")
                self._is("banner")
            return await start(self_, command, deadline)

        def makes(self_: Any, chan: Any) -> None:
            made(self_, chan)
            if self._is_placing:  # asyncssh sends the command right after this
                asyncio.get_running_loop().call_later(0.01, self._is, "written")

        self._monkeypatch.setattr(channels.Session, "connection_made", makes)
        self._monkeypatch.setattr(connection.Connection, "start", starts)

    def _keep_back_output(self) -> None:
        """Of a shell whose command is to be executed, and no more: all that it says."""
        session = channels.Session
        received, exited = session.data_received, session.exit_status_received
        lost = session.connection_lost

        def is_kept() -> bool:
            return self._is_placing and self._moment == "executed"

        def receives(self_: Any, data: bytes, datatype: Any) -> None:
            if not is_kept():
                received(self_, data, datatype)

        def exits(self_: Any, status: int) -> None:
            if not is_kept():
                exited(self_, status)

        def loses(self_: Any, exc: Exception | None) -> None:
            if is_kept():  # all of it was executed, and the service has heard nothing yet
                self._is("executed")
            lost(self_, exc)

        self._monkeypatch.setattr(session, "data_received", receives)
        self._monkeypatch.setattr(session, "exit_status_received", exits)
        self._monkeypatch.setattr(session, "connection_lost", loses)


class Harm:
    """What a test does to a PBX; `undo` it where that is not the PBX's own affair."""

    def __init__(self, lab: Lab) -> None:
        self._lab = lab
        self._stopped: list[int] = []

    def freeze_asterisk(self) -> None:
        """It answers nothing; what it is sent waits."""
        self._lab.freeze()

    def kill_asterisk(self) -> None:
        """At once, with all its calls."""
        self._lab.kill()

    def kill_sshd_session(self) -> None:
        """The host's end of every connection."""
        for pid in self._lab.sshd_connections():
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)

    def freeze_sshd_session(self) -> None:
        """The host's end stands still."""
        for pid in self._lab.sshd_connections():
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGSTOP)
                self._stopped.append(pid)

    def undo(self) -> None:
        """Let everything go on, and wait for what goes on by itself."""
        for pid in self._stopped:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGCONT)
        self._stopped.clear()
        with contextlib.suppress(ProcessLookupError):
            self._lab.thaw()
        self._lab.up()
        self._lab.wait_commands()


def verdict(answer: httpx.Response) -> Verdict:
    """What an answer tells: status, code, whether it was dialled ("yes" of an accepted call)."""
    body = answer.json()
    if answer.is_success:
        accepted = body["phase"] not in {"placing", "unknown", "ended"}
        return answer.status_code, body["phase"], "yes" if accepted else "unknown"
    return answer.status_code, body["code"], body["dialled"]


def assert_true(answer: httpx.Response, rung: int) -> None:
    """No answer lies: `no` is none, accepted is one, and nothing is ever two."""
    allowed = {"no": {0}, "yes": {1}, "unknown": {0, 1}}
    assert rung in allowed[verdict(answer)[2]], (verdict(answer), rung)
