"""Faults to inject: what goes wrong on real PBX hosts, on demand."""

from dataclasses import dataclass
from enum import StrEnum


class Stage(StrEnum):
    """How far one exchange with Asterisk has come."""

    OPEN = "open"
    """The connection to Asterisk is accepted, its banner not yet sent."""
    BANNER = "banner"
    """The banner is sent; nothing of what follows is read."""
    WRITTEN = "written"
    """The command is read, not executed."""
    EXECUTED = "executed"
    """The command is executed, no reply sent."""


@dataclass(frozen=True, slots=True)
class Armed:
    """A fault that strikes once, at the first exchange that contains the text."""

    stage: Stage
    containing: str = ""


class Faults:
    """The switches a test turns; all off to begin with.

    Attributes:
        refuse_forwarding: sshd's policy forbids the control socket; exec still works.
        not_permitted: The user may not open the control socket; by sudo he may.
        asterisk_down: Nothing listens on the control socket.
        backlog: How many connections may wait for a banner; one more is refused.
        max_sessions: sshd's MaxSessions, for each SSH connection.
        accepts_while_frozen: A frozen Asterisk still sends its banner: it froze right after.
        accept_delay_s: How long Asterisk takes to accept a connection.
        reply_delay_s: How long an executed command's reply is held back.
        sudo_says: What sudo prints before each program that it starts.
        greeting: What the login shell prints before it runs anything.
        no_shell: A forced command that does nothing stands in the place of every command.
        clock_ahead_s: How far the host's clock is ahead of this machine's.
        refuse_sftp: sshd has no SFTP subsystem.
        sftp_greeting: What the login shell prints before it starts sshd's program for that.
        cdr_missing: There is no file of call detail records.
        cdr_denied: The user may not read it.
        disk_free_bytes: The room on the disk of the call detail records; None does not tell.
        disk_free_files: How many files may be made there.
        cdr_written_s: When it was last written, in seconds of the epoch; None does not tell it.
    """

    def __init__(self) -> None:
        self.refuse_forwarding = False
        self.not_permitted = False
        self.asterisk_down = False
        self.backlog = 3
        self.max_sessions = 10
        self.accepts_while_frozen = False
        self.accept_delay_s = 0.0
        self.reply_delay_s = 0.0
        self.sudo_says = ""
        self.greeting = ""
        self.no_shell = False
        self.clock_ahead_s = 0
        self.refuse_sftp = False
        self.sftp_greeting = b""
        self.cdr_missing = False
        self.cdr_denied = False
        self.disk_free_bytes: int | None = 2**34
        self.disk_free_files = 2**20
        self.cdr_written_s: float | None = None
        self._drop: Armed | None = None
        self._kill: Armed | None = None

    def drop_after(self, stage: Stage | str, *, containing: str = "") -> None:
        """Cut the SSH connection at this stage of the next exchange, once.

        `containing` picks the exchange by its commands; it works from "written" on.
        """
        self._drop = Armed(Stage(stage), containing)

    def kill_asterisk_after_write(self, *, executed: bool = False, containing: str = "") -> None:
        """Kill Asterisk when the next command has arrived, once; it stays down.

        The client sees an empty reply and end of file, executed or not.
        """
        self._kill = Armed(Stage.EXECUTED if executed else Stage.WRITTEN, containing)

    def strikes_drop(self, stage: Stage, text: str = "") -> bool:
        """Whether the connection is to be cut here; asking disarms it."""
        if self._drop is None or self._drop.stage is not stage or self._drop.containing not in text:
            return False
        self._drop = None
        return True

    def strikes_kill(self, stage: Stage, text: str) -> bool:
        """Whether Asterisk dies here; asking disarms it."""
        if self._kill is None or self._kill.stage is not stage or self._kill.containing not in text:
            return False
        self._kill = None
        return True
