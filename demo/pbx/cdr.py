"""Call detail records: the rows that Asterisk's cdr_csv writes, in its columns and quoting."""

import time
from dataclasses import dataclass, field

from demo.pbx.channels import Channel

PATH = "/var/log/asterisk/cdr-csv/Master.csv"
ANSWERED, BUSY, FAILED, NO_ANSWER = "ANSWERED", "BUSY", "FAILED", "NO ANSWER"


@dataclass(slots=True)
class Record:
    """One row in the making: what `channel` did with `dst_channel`, which may be nobody.

    `source` is the caller's number as chan_sip and PJSIP tell it; times are seconds of the epoch.
    """

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

    def answered(self) -> None:
        """Note the answer, now."""
        self.answer, self.disposition = time.time(), ANSWERED

    def finish(self) -> None:
        """Note the end, now; what has ended stays so."""
        self.end = self.end or time.time()

    def row(self) -> str:
        """The line of Master.csv: texts are quoted, the two durations are not, nor a missing time.

        `usegmtime=yes`: the times are UTC.
        """
        end = self.end or time.time()
        texts = (
            *("", self.source, self.exten, self.context, f'"" <{self.source}>'),
            *(self.channel, self.dst_channel, self.app, self.data),
        )
        times = (_utc(moment) for moment in (self.start, self.answer, end))
        talk_s = end - self.answer if self.answer else 0.0
        columns = (
            *(_quoted(text) for text in texts),
            *times,
            *(str(int(seconds)) for seconds in (end - self.start, talk_s)),
            *(_quoted(text) for text in (self.disposition, "DOCUMENTATION", self.uniqueid, "")),
        )
        return ",".join(columns) + "\n"


def _quoted(text: str) -> str:
    return '"' + text.replace('"', '""') + '"'


def _utc(moment: float | None) -> str:
    if moment is None:
        return ""
    return _quoted(time.strftime("%Y-%m-%d %H:%M:%S", time.gmtime(moment)))


@dataclass(slots=True)
class Records:
    """The rows of one call that are still in the making."""

    ledger: bytearray
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
            *(channel.name, dst_channel, channel.exten, channel.context),
            *(channel.app, channel.data, source, channel.uniqueid),
            start=channel.born if start is None else start,
        )
        self.open.append(record)
        return record

    def write(self) -> None:
        """Write what is open, as at the end of the call or where its channels change places."""
        for record in self.open:
            self.ledger += record.row().encode()
        self.open.clear()

    def end(self, *, agent_first: bool) -> None:
        """Write what is open as a call ends: whose part is over first has the first row.

        The agent's part, which began first, ends last, unless it was the agent who hung up.
        """
        if not agent_first:
            self.open = [*self.open[3:], *self.open[1:3], *self.open[:1]]
        self.write()

    def lose(self) -> None:
        """Forget what is open: a killed Asterisk writes nothing."""
        self.open.clear()
