"""Phones and carriers of a lab PBX, in Python: just enough SIP (UDP) and RTP (PCMU) on loopback.

One socket is all of them: the user of an INVITE's address says who is called, and `manners` what
that one does. They live in a thread of their own, so that whoever uses them may block.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import re
import secrets
import struct
import threading
from collections import defaultdict
from collections.abc import Callable, Coroutine, Iterator
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Any, Literal, cast
from urllib.parse import quote

from tests.pbx.sound import RATE_HZ, tone

HOST = "127.0.0.1"
_ANSWER_S = 30.0  # how long a request of ours may wait for its final answer
_AGAIN_S = 0.5  # when it is sent again, and twice as long each time
_ARRIVES_S = 1.0  # how long a phone waits to be told that whom it handed over has arrived
# And then until it hangs up: a BYE in the very millisecond in which Asterisk 16 parks a channel may
# leave the phone's one in it for good, which nothing ends but a restart.
_LETS_GO_S = 0.2
_PCMU = 0

REASONS = {
    100: "Trying",
    180: "Ringing",
    183: "Session Progress",
    200: "OK",
    404: "Not Found",
    480: "Temporarily Unavailable",
    486: "Busy Here",
    487: "Request Terminated",
    503: "Service Unavailable",
}


@dataclass(frozen=True)
class Manner:
    """What a phone does with a call that it gets.

    It tells `tells` (183: with a session, before any answer), and after `rings_s` seconds `then`
    (0: nothing, for ever). `talks_s` after an answer it hangs up; None: it waits for the other.
    `plays` it sounds a tone of so many Hz, once it has answered or, with 183, at once; 0: it is
    mute. `hands_over_s` after its answer it hands the call over to `hands_to` (REFER), having
    talked to that one first if `asks_first`.
    """

    rings_s: float = 1.0
    then: int = 200
    tells: Literal[0, 180, 183] = 180
    talks_s: float | None = None
    plays: int = 400
    hands_to: str = ""
    hands_over_s: float = 2.0
    asks_first: bool = False


class Message:
    """A SIP request or answer."""

    def __init__(self, text: str) -> None:
        head, _, self.body = text.partition("\r\n\r\n")
        self.start, *lines = head.split("\r\n")
        self.headers = [(name.strip(), value.strip()) for name, _, value in map(_split, lines)]

    def all(self, name: str) -> list[str]:
        """List a header's values."""
        return [value for known, value in self.headers if known.casefold() == name.casefold()]

    def get(self, name: str) -> str:
        """Give a header's first value, or nothing."""
        return next(iter(self.all(name)), "")

    @property
    def method(self) -> str:
        """The request's, or that of the request which this answers."""
        return self.get("CSeq").partition(" ")[2]

    @property
    def number(self) -> int:
        """The place of the request among those of its side."""
        return int(self.get("CSeq").partition(" ")[0])

    @property
    def status(self) -> int:
        """An answer's status; 0 of a request."""
        return int(self.start.split()[1]) if self.start.startswith("SIP/") else 0

    @property
    def user(self) -> str:
        """Who is called."""
        found = re.match(r"\w+ sips?:([^@;>]*)@", self.start)
        return found[1] if found else ""

    @property
    def media(self) -> tuple[str, int] | None:
        """Where the session that it describes wants sound to be sent to."""
        host = re.search(r"^c=IN IP4 (\S+)", self.body, re.MULTILINE)
        port = re.search(r"^m=audio (\d+)", self.body, re.MULTILINE)
        return (host[1], int(port[1])) if host and port else None


def _split(line: str) -> tuple[str, str, str]:
    return line.partition(":")


class _Sound(asyncio.DatagramProtocol):
    """One leg's sound: what it sends, and all that it has received."""

    def __init__(self) -> None:
        self.received: list[bytes] = []
        self._transport: asyncio.DatagramTransport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.DatagramTransport, transport)

    def datagram_received(self, data: bytes, addr: tuple[Any, ...]) -> None:
        del addr
        if len(data) > 12 and data[1] & 0x7F == _PCMU:  # RTP's fixed header
            self.received.append(data[12:])

    @property
    def port(self) -> int:
        assert self._transport is not None
        return int(self._transport.get_extra_info("sockname")[1])

    async def play(self, to: tuple[str, int], sound: bytes, packet_s: float) -> None:
        """Repeat a sound until this is cancelled."""
        assert self._transport is not None
        size = round(RATE_HZ * packet_s)
        source = secrets.randbits(32)
        clock = asyncio.get_running_loop()
        begun = clock.time()
        for number in itertools.count():
            at = number * size % len(sound)
            payload = (sound[at:] + sound)[:size]
            head = struct.pack(
                ">BBHII", 0x80, _PCMU, number & 0xFFFF, number * size & 0xFFFFFFFF, source
            )
            self._transport.sendto(head + payload, to)
            await asyncio.sleep(begun + (number + 1) * packet_s - clock.time())

    def close(self) -> None:
        if self._transport is not None:
            self._transport.close()


@dataclass
class Leg:
    """A phone's part in one call."""

    user: str
    manner: Manner
    call_id: str
    ours: str  # From or To of ours, with its tag
    theirs: str
    target: str  # where they want requests to be sent to
    sound: _Sound
    invite: Message | None = None
    last: str = ""  # our answer to the INVITE, to be told again
    sent: int = 0  # requests of ours
    is_over: bool = False
    tasks: list[asyncio.Task[None]] = field(default_factory=list)

    def heard(self) -> bytes:
        """All the sound that this leg has received, as mu-law."""
        return b"".join(self.sound.received)


class Softphones(asyncio.DatagramProtocol):
    """All phones behind one port, of one PBX."""

    def __init__(
        self,
        port: int,
        pbx_port: int,
        manners: Callable[[str], Manner],
        *,
        has_sound: bool = True,
        packet_s: float = 0.06,
    ) -> None:
        self._port = port
        self._pbx = (HOST, pbx_port)
        self._manners = manners
        self._has_sound = has_sound
        self._packet_s = packet_s
        self._legs: dict[str, Leg] = {}
        self._answers: dict[tuple[str, int, str], asyncio.Future[Message]] = {}
        self._transport: asyncio.DatagramTransport | None = None
        self._running: set[asyncio.Task[None]] = set()
        self._loop: asyncio.AbstractEventLoop | None = None
        # Whoever was called, with the legs of that one in their order; read from other threads.
        self.legs: defaultdict[str, list[Leg]] = defaultdict(list)

    @contextlib.contextmanager
    def running(self) -> Iterator[Softphones]:
        """Be there until the block ends."""
        ready, over, loop = threading.Event(), asyncio.Event(), asyncio.new_event_loop()
        self._loop = loop
        failures: list[OSError] = []

        async def serve() -> None:
            try:
                await loop.create_datagram_endpoint(lambda: self, local_addr=(HOST, self._port))
            except OSError as error:
                failures.append(error)
                over.set()
            ready.set()
            await over.wait()
            await self._close()

        def live() -> None:
            loop.run_until_complete(serve())
            loop.close()

        thread = threading.Thread(target=live, name="softphones", daemon=True)
        thread.start()
        ready.wait()
        try:
            if failures:
                raise failures[0]
            yield self
        finally:
            if not failures:
                loop.call_soon_threadsafe(over.set)
            thread.join()

    def call(self, user: str, to: str, *headers: str) -> Future[Leg]:
        """Have somebody call a number of the PBX, from any thread; there once it is answered."""
        assert self._loop is not None
        return asyncio.run_coroutine_threadsafe(self._call(user, to, *headers), self._loop)

    def hang_up(self, leg: Leg) -> None:
        """End a call, from any thread."""
        assert self._loop is not None
        asyncio.run_coroutine_threadsafe(self._bye(leg), self._loop).result()

    async def _close(self) -> None:
        for leg in self._legs.values():
            self._end(leg)
        for task in self._running:
            task.cancel()
        await asyncio.gather(*self._running, return_exceptions=True)
        if self._transport is not None:
            self._transport.close()
        await asyncio.sleep(0)  # or the transports are not closed yet when the loop is

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the socket."""
        self._transport = cast(asyncio.DatagramTransport, transport)

    def datagram_received(self, data: bytes, addr: tuple[Any, ...]) -> None:
        """Take a message; what is no SIP is a keep-alive."""
        del addr
        if not data.strip():
            return
        message = Message(data.decode("utf-8", "replace"))
        if message.status:
            self._answered(message)
        else:
            self._asked(message)

    # --- being asked --------------------------------------------------------------------

    def _asked(self, request: Message) -> None:
        leg = self._legs.get(request.get("Call-ID"))
        method = request.method
        if method == "ACK":
            return
        if method == "INVITE" and leg is None:
            self._spawn(self._invited(request))
        elif method == "INVITE" and leg is not None:
            self._invited_again(leg, request)
        elif leg is None or leg.is_over:
            self._answer(request, 200)
        elif method == "CANCEL":
            self._answer(request, 200)
            if leg.invite is not None and "200 OK" not in leg.last:
                self._end(leg)
                self._reply(leg, leg.invite, 487)
        elif method == "BYE":
            self._answer(request, 200)
            self._end(leg)
        else:
            self._answer(request, 200)
            if method == "NOTIFY" and "SIP/2.0 200" in request.body:
                # Whom it handed over has arrived: an honest phone hangs up now.
                self._spawn(self._hang_up_later(leg, _LETS_GO_S))

    async def _invited(self, request: Message) -> None:
        manner = self._manners(request.user)
        sound = await self._new_sound()
        ours = f"{request.get('To')};tag={secrets.token_hex(6)}"
        contact = re.search(r"<([^>]+)>", request.get("Contact"))
        leg = Leg(
            request.user,
            manner,
            request.get("Call-ID"),
            ours,
            request.get("From"),
            contact[1] if contact else "",
            sound,
            request,
        )
        if self._legs.setdefault(leg.call_id, leg) is not leg:
            sound.close()  # a retransmission, while the socket was made
            return
        self.legs[leg.user].append(leg)
        self._reply(leg, request, 100)
        if manner.tells:
            self._reply(leg, request, manner.tells, with_session=manner.tells == 183)
        if manner.tells == 183:
            self._play(leg, request)
        if manner.then:
            self._spawn(self._decide(leg, request), leg)

    def _invited_again(self, leg: Leg, request: Message) -> None:
        if leg.invite is not None and request.get("CSeq") == leg.invite.get("CSeq"):
            self._send(leg.last)  # it was lost, or came late
        else:
            self._answer(request, 200, self._session(leg))

    async def _decide(self, leg: Leg, request: Message) -> None:
        await asyncio.sleep(leg.manner.rings_s)
        self._reply(leg, request, leg.manner.then, with_session=leg.manner.then == 200)
        if leg.manner.then != 200:
            self._end(leg)
            return
        if leg.manner.tells != 183:
            self._play(leg, request)
        if leg.manner.hands_to:
            self._spawn(self._hand_over(leg), leg)
        if leg.manner.talks_s is not None:
            await asyncio.sleep(leg.manner.talks_s)
            self._spawn(self._bye(leg))

    # --- asking -------------------------------------------------------------------------

    async def _bye(self, leg: Leg) -> None:
        if not leg.is_over:
            self._end(leg)
            await self._request(leg, "BYE")

    async def _hand_over(self, leg: Leg) -> None:
        await asyncio.sleep(leg.manner.hands_over_s)
        to = f"sip:{leg.manner.hands_to}@{HOST}:{self._pbx[1]}"
        # A phone that has handed its customer over hangs up, told of his arrival or not.
        if leg.manner.asks_first:
            other = await self._call(leg.user, leg.manner.hands_to)
            await asyncio.sleep(1.0)  # "I have a customer for you"
            here, there = _tag(other.ours), _tag(other.theirs)
            replaced = f"{other.call_id};to-tag={there};from-tag={here}"
            to += f"?Replaces={quote(replaced, safe='')}"
            self._spawn(self._hang_up_later(other))
        self._spawn(self._hang_up_later(leg))
        await self._request(leg, "REFER", f"Refer-To: <{to}>", f"Referred-By: <{self._me(leg)}>")

    async def _hang_up_later(self, leg: Leg, after_s: float = _ARRIVES_S) -> None:
        await asyncio.sleep(after_s)
        await self._bye(leg)

    async def _call(self, user: str, to: str, *headers: str) -> Leg:
        """Have a phone call somebody, who answers."""
        call_id = f"{secrets.token_hex(8)}@{HOST}"
        target = f"sip:{to}@{HOST}:{self._pbx[1]}"
        ours = f"<sip:{user}@{HOST}:{self._port}>;tag={secrets.token_hex(6)}"
        leg = Leg(
            user,
            Manner(),
            call_id,
            ours,
            f"<{target}>",
            target,
            await self._new_sound(),
        )
        self._legs[call_id] = leg
        answer = await self._request(leg, "INVITE", *headers, session=self._session(leg))
        if answer.status != 200:
            raise RuntimeError(f"{to}: {answer.start}")
        leg.theirs = answer.get("To")
        self._send(self._text(leg, "ACK", leg.sent))
        self._play(leg, answer)
        return leg

    async def _request(self, leg: Leg, method: str, *headers: str, session: str = "") -> Message:
        """Send a request within a call, and wait for its final answer."""
        leg.sent += 1
        key = (leg.call_id, leg.sent, method)
        self._answers[key] = asyncio.get_running_loop().create_future()
        text = self._text(leg, method, leg.sent, *headers, session=session)
        try:
            async with asyncio.timeout(_ANSWER_S):
                again_s = _AGAIN_S
                while True:
                    self._send(text)
                    done, _ = await asyncio.wait({self._answers[key]}, timeout=again_s)
                    if done:
                        return done.pop().result()
                    again_s *= 2
        finally:
            del self._answers[key]

    def _answered(self, answer: Message) -> None:
        future = self._answers.get((answer.get("Call-ID"), answer.number, answer.method))
        if future is not None and not future.done() and answer.status >= 200:
            future.set_result(answer)

    # --- both ---------------------------------------------------------------------------

    def _text(self, leg: Leg, method: str, number: int, *headers: str, session: str = "") -> str:
        lines = [
            f"{method} {leg.target} SIP/2.0",
            f"Via: SIP/2.0/UDP {HOST}:{self._port};branch=z9hG4bK{secrets.token_hex(8)};rport",
            "Max-Forwards: 70",
            f"From: {leg.ours}",
            f"To: {leg.theirs}",
            f"Call-ID: {leg.call_id}",
            f"CSeq: {number} {method}",
            f"Contact: <{self._me(leg)}>",
            *headers,
        ]
        return _with_body(lines, session)

    def _reply(
        self, leg: Leg, request: Message, status: int, *, with_session: bool = False
    ) -> None:
        session = self._session(leg) if with_session else ""
        leg.last = self._answer(request, status, session, to=leg.ours)

    def _answer(self, request: Message, status: int, session: str = "", to: str = "") -> str:
        lines = [
            f"SIP/2.0 {status} {REASONS[status]}",
            *(f"Via: {via}" for via in request.all("Via")),
            f"From: {request.get('From')}",
            f"To: {to or request.get('To')}",
            f"Call-ID: {request.get('Call-ID')}",
            f"CSeq: {request.get('CSeq')}",
            f"Contact: <sip:{request.user}@{HOST}:{self._port}>",
        ]
        text = _with_body(lines, session)
        self._send(text)
        return text

    def _me(self, leg: Leg) -> str:
        return f"sip:{leg.user}@{HOST}:{self._port}"

    @staticmethod
    def _session(leg: Leg) -> str:
        lines = ["v=0", f"o=phone 1 1 IN IP4 {HOST}", "s=-", f"c=IN IP4 {HOST}", "t=0 0"]
        lines += [f"m=audio {leg.sound.port} RTP/AVP {_PCMU}", f"a=rtpmap:{_PCMU} PCMU/{RATE_HZ}"]
        return "\r\n".join([*lines, "a=sendrecv", ""])

    def _send(self, text: str) -> None:
        if self._transport is not None and not self._transport.is_closing():
            self._transport.sendto(text.encode(), self._pbx)

    async def _new_sound(self) -> _Sound:
        loop = asyncio.get_running_loop()
        _, sound = await loop.create_datagram_endpoint(_Sound, local_addr=(HOST, 0))
        return sound

    def _play(self, leg: Leg, offer: Message) -> None:
        if self._has_sound and leg.manner.plays and offer.media:
            sound = tone(leg.manner.plays)
            self._spawn(leg.sound.play(offer.media, sound, self._packet_s), leg)

    def _spawn(self, work: Coroutine[Any, Any, None], leg: Leg | None = None) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._running.add(task)
        task.add_done_callback(self._running.discard)
        if leg is not None:
            leg.tasks.append(task)

    @staticmethod
    def _end(leg: Leg) -> None:
        leg.is_over = True
        current = asyncio.current_task()
        for task in leg.tasks:
            if task is not current:
                task.cancel()
        leg.sound.close()


def _tag(address: str) -> str:
    return address.rpartition(";tag=")[2].partition(";")[0]


def _with_body(lines: list[str], body: str) -> str:
    if body:
        lines = [*lines, "Content-Type: application/sdp"]
    return "\r\n".join([*lines, f"Content-Length: {len(body)}", "", body])
