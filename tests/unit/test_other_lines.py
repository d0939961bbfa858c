"""By exec a reply stands among other lines: sudo's, a profile's, whatever the host says."""

from __future__ import annotations

import pytest

from shared.asterisk import parsers
from shared.asterisk.drivers import DRIVERS
from shared.asterisk.exec_console import ExecConsole, Running
from shared.asterisk.models import Technology
from shared.deadline import Deadline

pytestmark = pytest.mark.anyio

OTHER_LINES = (
    "sudo: unable to resolve host pbx\n",
    "sudo: unable to resolve host pbx: Name or service not known\n",
    "Welcome to pbx: 3 updates are available\n\n * Support: https://example.test\n",
    "-bash: warning: setlocale: LC_ALL: cannot change locale (en_US.UTF-8)\n",
)
REPLIES = {
    "parse_channels": "SIP/150-01!inoffice!150!1!Up!Dial!SIP/1!150!!!3!7!b!1.1\n",
    "parse_technologies": "SIP         Session Initiation Protocol (SIP)      yes  yes  yes\n",
    "parse_dialplan": "  '150' =>         1. Dial(SIP/150,30)       [pbx_config]\n",
    "parse_includes": "  Include =>        'outbound'                    [pbx_config]\n",
    "has_switch": "  Alt. Switch =>   'Realtime/@'                  [pbx_config]\n",
    "parse_linkedid": "           LinkedID: 1795380194.11073\n",
    "parse_cdr_mode": "  Logging:         Enabled\n  Mode:            Simple\n    csv\n",
    "find_rejection": "No such command 'channel originate' (type 'core show help')\n",
    "is_hangup": "Requested Hangup on channel 'SIP/150-01'\n",
    "parse_version": "Asterisk 16.28.0 built by nobody @ nowhere\n",
}


@pytest.mark.parametrize("name", REPLIES)
@pytest.mark.parametrize("others", OTHER_LINES)
def test_a_reply_is_found_among_other_lines(name: str, others: str) -> None:
    """Before it, after it, and around it; they alone are no reply."""
    parse, reply = getattr(parsers, name), REPLIES[name]
    expected = parse(reply)
    assert expected
    for text in (others + reply, reply + others, others + reply + others):
        assert parse(text) == expected
    assert parse(others) != expected


@pytest.mark.parametrize("others", OTHER_LINES)
def test_a_phone_is_found_among_other_lines(others: str) -> None:
    """Each driver's device, and that there is none."""
    texts = {
        Technology.SIP: "  Addr->IP     : 192.0.2.7:5060\n  Status       : OK (3 ms)\n",
        Technology.PJSIP: " Endpoint:  150     Not in use    0 of inf\n"
        "        Contact:  150/sip:150@192.0.2.7:5060 2099058f80 Avail   3.1\n",
        Technology.IAX2: "  Addr->IP     : 192.0.2.7 Port 4569\n  Status       : OK (3 ms)\n",
    }
    for technology, text in texts.items():
        assert DRIVERS[technology].parse(others + text + others) == "reachable"
        assert DRIVERS[technology].parse(others) is None


class Apart:
    """A command whose standard error is told amidst a line of its output."""

    has_ended = True
    exit_status = 0
    is_cut = False

    def __init__(self, output: str, errors: str) -> None:
        self.output = bytearray(output.encode())
        self.errors = bytearray(errors.encode())

    async def progress(self, deadline: Deadline) -> None:
        """There is none."""

    def close(self) -> None:
        """End."""


async def test_what_is_told_apart_breaks_no_reply() -> None:
    """The acknowledgement is read from the output alone, whatever sudo says meanwhile."""

    async def start(command: str, _deadline: Deadline) -> Running:
        mark = command.rpartition("echo ")[2]
        return Apart(f"booted\n{mark}\nreply\n{mark}\n", "sudo: unable to resolve host pbx\n" * 2)

    console = ExecConsole(start, asterisk_command="sudo asterisk")
    assert await console.ask("core show version", deadline=Deadline.after(5)) == ("reply\n",)
