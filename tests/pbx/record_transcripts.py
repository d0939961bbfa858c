"""Record what a real Asterisk prints, for the tests that run without one.

As root: ``tests/pbx/lab/lab.sh up 16 && python -m tests.pbx.record_transcripts 16`` (or ``22``)
writes ``tests/transcripts/16/*.txt``. The PBX must be idle.
"""

import re
import socket
import sys
import time
from collections.abc import Callable
from pathlib import Path

from tests.pbx.lab import Lab

TRANSCRIPTS = Path(__file__).parents[1] / "transcripts"

PLAIN = {
    "version": "core show version",
    "uptime": "core show uptime seconds",
    "uptime-in-words": "core show uptime",
    "bridges-idle": "bridge show all",
    "channels-idle": "core show channels concise",
    "channels-count": "core show channels count",
    "channel-unknown": "core show channel Local/150@inoffice-deadbeef;1",
    "dialplan-exact": "dialplan show 150@inoffice",
    "dialplan-pattern": "dialplan show 157@inoffice",
    "dialplan-plus-pattern": "dialplan show +375331112233@inoffice",
    "dialplan-include": "dialplan show 7@inoffice",
    "dialplan-include-and-pattern": "dialplan show 170@inoffice",
    "dialplan-no-extension": "dialplan show abc9@inoffice",
    "dialplan-no-context": "dialplan show 150@nosuch",
    "dialplan-switch": "dialplan show 199@switched",
    "dialplan-switch-no-extension": "dialplan show abc9@switched",
    "dialplan-included-switch": "dialplan show 199@withswitch",
    "dialplan-context": "dialplan show inoffice",
    "dialplan-context-switch": "dialplan show switched",
    "dialplan-context-included-switch": "dialplan show withswitch",
    "channeltypes": "core show channeltypes",
    "application": "core show application ChanSpy",
    "application-unknown": "core show application NoSuchApp",
    "unknown-command": "chanel originate LOCAL/150@inoffice application NoOp",
    "originate-usage": "channel originate LOCAL/150@inoffice",
    "usage-version": "core show version x",
    "usage-uptime": "core show uptime x",
    "usage-channeltypes": "core show channeltypes x",
    "usage-channel": "core show channel",
    "usage-channels": "core show channels x",
    "usage-calls": "core show calls x",
    "usage-hint": "core show hint",
    "usage-dialplan": "dialplan show a b",
    "usage-hangup": "channel request hangup",
    "usage-redirect": "channel redirect",
    "usage-originate-no-data": "channel originate Local application NoOp",
    "unknown-start": "core show",
    "unknown-end": "core show up seconds x y",
    "dialplan-park": "dialplan show park",
    "dialplan-applications": "dialplan show 902@park",
    "fullybooted": "core waitfullybooted",
    "hangup-unknown": "channel request hangup Local/150@inoffice-deadbeef;1",
    "cdr-status": "cdr show status",
    "hint": "core show hint 150",
    "hint-none": "core show hint 199",
}

DEVICES = {"device": "150", "device-unknown": "999"}
# These two the stand-in has not.
LOST_DEVICES = {"device-unregistered": "163", "device-unreachable": "164"}
DEVICE = {"SIP": "sip show peer", "PJSIP": "pjsip show endpoint"}
DEVICE_LIST = {"SIP": "sip show peers", "PJSIP": "pjsip list endpoints"}


class Recorder:
    """Writes one PBX's transcripts."""

    def __init__(self, lab: Lab) -> None:
        self.lab = lab
        self.folder = TRANSCRIPTS / lab.version
        self.folder.mkdir(parents=True, exist_ok=True)

    def save(self, name: str, output: bytes) -> None:
        """Write a transcript; whose machine it was is nobody's business."""
        output = re.sub(rb"\A[^/\s]+(?=/\d+/)", b"pbx", output)  # the control socket's banner
        output = re.sub(rb"built by \S+ @ \S+", b"built by builder @ pbx", output)
        (self.folder / f"{name}.txt").write_bytes(output)

    def record(self, name: str, command: str) -> None:
        """Write what the command prints."""
        self.save(name, self.lab.rx_bytes(command))

    def ctl(self, *commands: str) -> tuple[bytes, bytes]:
        """Put commands to the control socket in one write; its banner and all that follows."""
        with socket.socket(socket.AF_UNIX) as ctl:
            ctl.connect(str(self.lab.root / "run/asterisk/asterisk.ctl"))
            with ctl.makefile("rb") as stream:
                banner = stream.readline()
                text = "\0".join([f"cli quit after {commands[0]}", *commands[1:], ""])
                ctl.sendall(text.encode())
                return banner, stream.read()

    def call(self, agent: str, customer: str) -> str:
        """Have an agent and a customer talk; the name of the root channel."""
        self.lab.rx(
            f"channel originate LOCAL/{agent}@inoffice application Dial LOCAL/{customer}@inoffice"
        )
        for line in self.lab.channels():
            if re.match(rf"Local/{agent}@\S+;1!", line):
                return line.split("!")[0]
        raise RuntimeError(f"no call of {agent}")

    def until(self, condition: Callable[[list[str]], bool]) -> None:
        """Wait for channels that meet the condition."""
        deadline = time.monotonic() + 15
        while not condition(self.lab.channels()):
            if time.monotonic() > deadline:
                raise TimeoutError(self.lab.channels())
            time.sleep(0.02)

    def state(self, prefix: str, state: str) -> None:
        """Wait until a channel is in a state."""
        self.until(
            lambda lines: any(
                line.startswith(prefix) and line.split("!")[4] == state for line in lines
            )
        )

    def end(self) -> None:
        """End every call."""
        self.lab.hangup_all()
        self.lab.wait_idle()

    def run(self) -> None:
        """Write all transcripts."""
        self.lab.wait_idle(1)
        technology = self.lab.technology
        for name, command in PLAIN.items():
            self.record(name, command)
        for name, number in DEVICES.items():
            self.record(name, f"{DEVICE[technology]} {number}")
        while not re.search(r"UNREACHABLE|Unavail ", self.lab.rx(f"{DEVICE[technology]} 164")):
            time.sleep(0.1)
        for name, number in LOST_DEVICES.items():
            self.record(name, f"{DEVICE[technology]} {number}")
        self.record("device-list", DEVICE_LIST[technology])
        for mode in ("batch", "off", "no-csv"):
            with self.lab.cdr(mode):
                self.record(f"cdr-status-{mode}", PLAIN["cdr-status"])

        banner, reply = self.ctl(
            "core show channels concise",
            "core show uptime seconds",
            "channel originate LOCAL/153@inoffice application NoOp",
            "core show channels concise",
            "core show uptime seconds",
        )
        self.save("ctl-banner", banner)
        self.save("ctl-originate-between-snapshots", reply)
        self.end()

        root = self.call("154", "+375290000005")
        self.state(f"{technology}/154-", "Ringing")
        self.record("channels-agent-ringing", "core show channels concise")
        self.record("channel-root-agent-ringing", f"core show channel {root}")
        self.state(f"{technology}/trunkslow-", "Ringing")
        self.record("channels-customer-ringing", "core show channels concise")
        self.record("channel-root-customer-ringing", f"core show channel {root}")
        self.state(f"{technology}/trunkslow-", "Up")
        self.record("channels-connected", "core show channels concise")
        self.record("bridges-connected", "bridge show all")
        self.record("channel-root-connected", f"core show channel {root}")
        self.record("hangup", f"channel request hangup {root}")
        self.end()

        self.call("156", "+375290000006")
        self.state(f"{technology}/trunkrtp-", "Up")
        self.until(lambda lines: not any(line.startswith("Local/") for line in lines))
        self.record("channels-connected-rtp", "core show channels concise")
        for line in self.lab.channels():
            leg = line.split("!")[0]
            whose = "customer" if "trunk" in leg else "agent"
            self.record(f"channel-{whose}-connected-rtp", f"core show channel {leg}")
        self.end()

        self.call("150", "+375290000005")
        self.state(f"{technology}/trunkslow-", "Up")
        self.lab.rx(
            f"channel originate LOCAL/151@inoffice application ChanSpy {technology}/150-,bqE"
        )
        self.until(lambda lines: any("!ChanSpy!" in line for line in lines))
        self.record("channels-spied", "core show channels concise")
        self.end()


if __name__ == "__main__":
    for arg in sys.argv[1:] or ["16", "22"]:
        if arg not in ("16", "22"):
            sys.exit("usage: python -m tests.pbx.record_transcripts [16] [22]")
        Recorder(Lab.of("16" if arg == "16" else "22")).run()
