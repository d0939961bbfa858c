"""Who is called by the lab's plans, and what each does: see `tests/plans.py`.

They are a process of their own, ahead of all others: how long a phone rings is what is measured,
and a busy machine must not stretch it.
"""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

from tests.pbx.lab import Lab
from tests.pbx.softphone import Manner, Softphones

NEVER = Manner(then=0)
BUSY = Manner(then=486)
# What has no line of its own: an agent who answers after a second and waits for the customer to
# hang up, and a customer who rings two seconds and talks four.
AGENT = Manner(rings_s=1)
CUSTOMER = Manner(rings_s=2, talks_s=4)


def _refuses(status: int) -> Manner:
    return Manner(rings_s=0, then=status, tells=0)


AGENTS = {
    "201": Manner(rings_s=3),  # the customer, rung meanwhile, answers first
    "202": NEVER,
    "207": NEVER,
    "208": Manner(rings_s=2),
    "209": _refuses(486),
    "210": NEVER,
    "224": Manner(rings_s=1, talks_s=5),
    "228": Manner(rings_s=1, hands_to="351", hands_over_s=5),
    "229": Manner(rings_s=1, hands_to="352", hands_over_s=5, asks_first=True),
    "231": Manner(rings_s=1, hands_to="700", hands_over_s=5),
    "232": NEVER,
    "233": BUSY,
    "234": NEVER,
    "236": NEVER,
    "237": BUSY,
    "238": NEVER,
    "250": NEVER,
    "251": Manner(rings_s=3),
    "252": NEVER,
    "253": NEVER,
    "254": NEVER,
    "255": Manner(rings_s=2),
    "256": NEVER,
    "257": NEVER,
    # Those who hang up: nobody else would.
    "304": Manner(rings_s=1, talks_s=7),
    "305": Manner(rings_s=1, talks_s=4),
    "342": Manner(rings_s=1, talks_s=4),
}
# By the last four digits.
CUSTOMERS = {
    "1002": BUSY,
    "1003": NEVER,
    "1004": NEVER,
    "1009": NEVER,
    "1109": NEVER,
    "1010": NEVER,
    "1012": _refuses(486),
    "1013": _refuses(503),
    "1014": _refuses(404),
    "1015": _refuses(503),
    "1016": Manner(rings_s=2, tells=183, talks_s=4),
    "1017": Manner(rings_s=2, tells=183, then=486),
    "1018": Manner(rings_s=3, tells=183, then=404),
    "1019": _refuses(404),
    "1020": BUSY,
    "1021": NEVER,
    "1022": BUSY,
    "1023": NEVER,
    "1024": _refuses(503),
    "1026": BUSY,
    "1027": NEVER,
    "1028": _refuses(503),
    "1040": Manner(rings_s=2, talks_s=8),
    "1041": NEVER,
    "2001": Manner(rings_s=1, talks_s=6),
    "2017": Manner(rings_s=1, talks_s=4),
    "2024": Manner(rings_s=2),
    "2027": Manner(rings_s=2, talks_s=8),
    "2028": Manner(rings_s=2, talks_s=9),
    "2029": Manner(rings_s=2, talks_s=9),
    "2031": Manner(rings_s=2, talks_s=7),
    "2040": BUSY,
    "2130": Manner(rings_s=3, talks_s=2),
}
# The second trunk wants a digit before the number, as many do.
SECOND_TRUNK = {"1015": BUSY}


def manner_of(user: str) -> Manner:
    """Tell what a phone, or the phone at a number, does with a call."""
    if user.startswith("9+"):
        return SECOND_TRUNK.get(user[-4:], CUSTOMER)
    if user.startswith("+"):
        return CUSTOMERS.get(user[-4:], CUSTOMER)
    return AGENTS.get(user, AGENT)


@contextlib.contextmanager
def plan_phones(lab: Lab, *, has_sound: bool) -> Iterator[None]:
    """Have the phones of a PBX's plans until the block ends; mute ones, or ones that send sound."""
    arguments = [lab.version, "sound" if has_sound else "mute"]
    phones = subprocess.Popen(
        [sys.executable, "-m", "tests.pbx.plan_phones", *arguments],
        cwd=Path(__file__).parents[2],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    with phones:
        assert phones.stdout is not None
        if not phones.stdout.readline():
            raise RuntimeError("the phones do not start")
        yield  # leaving closes their standard input, and waits for them


def live(lab: Lab, *, has_sound: bool) -> None:
    """Be the phones until standard input ends."""
    os.setpriority(os.PRIO_PROCESS, 0, -10)
    phones = Softphones(lab.plan_phones_port, lab.sip_port, manner_of, has_sound=has_sound)
    with phones.running():
        sys.stdout.write("ready\n")
        sys.stdout.flush()
        sys.stdin.read()


if __name__ == "__main__":
    live(Lab.of("16" if sys.argv[1] == "16" else "22"), has_sound=sys.argv[2] == "sound")
