"""Call detail records: the rows that Asterisk's cdr_csv writes, in its columns and quoting."""

import time
from dataclasses import dataclass, field

from demo.pbx.channels import Channel
from demo.pbx.clock import Clock
from demo.pbx.dialplan import Ending
from demo.pbx.kept import rotate
from demo.pbx.profiles import Profile

ANSWERED, BUSY, FAILED, NO_ANSWER = "ANSWERED", "BUSY", "FAILED", "NO ANSWER"
MISSED = {Ending.BUSY: BUSY, Ending.NOT_FOUND: FAILED}


@dataclass(slots=True, eq=False)
class Record:
    """One row in the making: what `channel` did with `dst_channel`, which may be nobody.

    `owner` is the channel with whose end the row is written. `source` is the caller's number as
    chan_sip and PJSIP tell it; times are seconds of the epoch.
    """

    owner: Channel
    channel: str
    dst_channel: str
    exten: str
    context: str
    app: str
    data: str
    source: str
    uniqueid: str
    start: float
    answer: float | None = None
    end: float | None = None
    disposition: str = NO_ANSWER
    settled: bool = False

    def row(self, *, old: bool) -> str:
        """The line of Master.csv: texts are quoted, the two durations are not, nor a missing time.

        `usegmtime=yes`: the times are UTC. Up to Asterisk 11 (`old`) a caller is a bare number, and
        a duration the difference of whole seconds.
        """
        end = self.end or 0.0
        clid = self.source if old else f'"" <{self.source}>'
        texts = (
            *("", self.source, self.exten, self.context, clid),
            *(self.channel, self.dst_channel, self.app, self.data),
        )
        times = (_utc(moment) for moment in (self.start, self.answer, end))
        spans = (end - self.start, end - self.answer if self.answer else 0.0)
        if old:
            spans = (int(end) - int(self.start), int(end) - int(self.answer or end))
        columns = (
            *(_quoted(text) for text in texts),
            *times,
            *(str(int(seconds)) for seconds in spans),
            *(_quoted(text) for text in (self.disposition, "DOCUMENTATION", self.uniqueid, "")),
        )
        return ",".join(columns) + "\n"


def _quoted(text: str) -> str:
    return '"' + text.replace('"', '""') + '"'


def _utc(moment: float | None) -> str:
    if moment is None:
        return ""
    return _quoted(time.strftime("%Y-%m-%d %H:%M:%S", time.gmtime(moment)))


@dataclass
class Records:
    """The rows of one call that are still in the making, as Asterisk 12 and later write them.

    There each pair of channels that were dialled or bridged has a row of its own.
    """

    ledger: bytearray
    clock: Clock
    profile: Profile
    open: list[Record] = field(default_factory=list)

    def begin(
        self,
        channel: Channel,
        dst_channel: str = "",
        *,
        source: str = "",
        start: float | None = None,
    ) -> Record:
        """Begin a row about a channel as it is now, by default with its birth as the start."""
        record = Record(
            *(channel, channel.name, dst_channel, channel.exten, channel.context),
            *(channel.app, channel.data, source, channel.record_id),
            start=channel.born if start is None else start,
        )
        self.open.append(record)
        return record

    def answered(self, record: Record) -> None:
        """Note the answer, now."""
        record.answer, record.disposition = self.clock.now(), ANSWERED

    def unanswered(self, record: Record, ending: Ending) -> None:
        """Note how a phone that a dialplan called ended its ringing."""
        if ending is Ending.BUSY:
            record.disposition = BUSY

    def tries(self, record: Record, callee: str) -> None:
        """Note that an answered channel calls somebody, who may not even exist."""

    def dials(self, record: Record, callee: str) -> Record:
        """Note that he exists; the row of that call."""
        record.end = self.clock.now()
        row = self.begin(record.owner, callee, source=record.source, start=record.end)
        row.answer = row.start
        return row

    def reached(self, record: Record, callee: str) -> None:
        """Note that he has answered."""
        del callee
        record.disposition = ANSWERED

    def missed(self, record: Record, ending: Ending) -> None:
        """Note that he has not, and why."""
        record.disposition = MISSED.get(ending, NO_ANSWER)

    def gives_up(self, channel: Channel) -> None:
        """Note that a channel ends while it still calls somebody."""

    def calls(self, channel: Channel, callee: str) -> Record:
        """Begin the row of a channel whose dialplan calls a phone.

        A phone that was sent into the dialplan counts as answered from then on, whoever answers it,
        and if it rings itself only with its end.
        """
        if channel.is_local:
            return self.begin(channel, callee, source=channel.caller)
        is_up = channel.state == "Up"
        start = self.clock.now() if is_up else channel.born
        record = self.begin(channel, callee, source=channel.caller, start=start)
        record.answer = start if is_up else None
        return record

    def answers(self, record: Record) -> None:
        """Note that the phone answers."""
        if record.owner.is_local:
            self.answered(record)
        record.disposition = ANSWERED

    def joined(self, leg: Channel, peer: str) -> None:
        """Begin the row of a phone that talks to another one without the Local channel between."""
        self.answered(self.begin(leg, peer, source=leg.caller, start=self.clock.now()))

    def breaks_off(self) -> None:
        """Note that a phone is sent elsewhere: 22 calls its unanswered calls failed."""
        for record in self.open:
            if record.disposition == NO_ANSWER:
                record.disposition = FAILED

    def taken(self, channel: Channel) -> None:
        """Note that a phone has taken a Local channel's place, which is so up to 11 only."""

    def post(self, channel: Channel) -> None:
        """Write the rows of a channel that hangs up."""
        self._write([record for record in self.open if record.owner is channel])

    def lose(self) -> None:
        """Forget what is open: a killed Asterisk writes nothing."""
        self.open.clear()

    def _write(self, records: list[Record]) -> None:
        for record in list(records):
            self.open.remove(record)
            record.end = record.end or self.clock.now()
            if record.disposition == ANSWERED:
                record.answer = record.answer or record.end
            self.ledger += record.row(old=self.profile.old).encode()
            rotate(self.ledger)


class OldRecords(Records):
    """The rows of one call as Asterisk up to 11 writes them: one for each calling channel.

    It is about all that the channel did: answered once it was itself, with the time of the last
    answer. A row without an answer that names nobody is not written ("Log unanswered calls: No").
    """

    def unanswered(self, record: Record, ending: Ending) -> None:
        """Note how a phone that a dialplan called ended its ringing."""
        if ending is Ending.NOT_FOUND:
            record.disposition = FAILED
        else:
            super().unanswered(record, ending)

    def tries(self, record: Record, callee: str) -> None:
        """Name whom the channel calls in its one row."""
        record.dst_channel = callee

    def dials(self, record: Record, callee: str) -> Record:
        """Go on with the one row."""
        del callee
        return record

    def reached(self, record: Record, callee: str) -> None:
        """Put the answer's time, and whose it was where a phone has taken the channel's place."""
        self.answered(record)
        record.dst_channel, record.settled = callee, True

    def missed(self, record: Record, ending: Ending) -> None:
        """Leave it as answered, unless he was busy."""
        if ending is Ending.BUSY:
            record.disposition = BUSY

    def gives_up(self, channel: Channel) -> None:
        """Call it no answer: so is an end while somebody rings."""
        for record in self.open:
            if record.owner is channel and record.dst_channel and not record.settled:
                record.disposition = NO_ANSWER

    def calls(self, channel: Channel, callee: str) -> Record:
        """Begin the row, that of a phone that was sent into the dialplan as of then.

        One that has taken a Local channel's place has kept its own record from its birth.
        """
        return self.begin(channel, callee, source=channel.caller, start=channel.phone_born)

    def answers(self, record: Record) -> None:
        """Note the answer, now."""
        self.answered(record)
        record.settled = True

    def taken(self, channel: Channel) -> None:
        """Go on with the phone's own record, which knows of no call yet."""
        for record in self.open:
            if record.owner is channel:
                channel.born = record.start = self.clock.now()
                record.channel, record.uniqueid = channel.name, channel.record_id
                record.source = channel.caller
                if not record.settled:
                    record.dst_channel, record.answer = "", None
                    record.disposition = NO_ANSWER

    def _write(self, records: list[Record]) -> None:
        for record in list(records):
            if record.disposition != ANSWERED and not record.dst_channel:
                self.open.remove(record)
        super()._write([record for record in records if record in self.open])
