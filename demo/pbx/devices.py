"""What `sip show peer` and `pjsip show endpoint` print of the stand-in's phones.

The texts are those of real phones that nobody qualifies, while they are idle; what a phone does is
told by the channels alone, also where Asterisk would say it here.
"""

import hashlib
from pathlib import Path

from demo.pbx.profiles import Profile

TEXTS = Path(__file__).parent / "devices"
# Where each phone listens, above the first one; 157 is one that nobody answers.
PORTS = {
    "150": 0,
    "151": 1,
    "1501": 2,
    "152": 51,
    "153": 52,
    "154": 53,
    "155": 54,
    "156": 60,
    "157": 70,
    "159": 62,
}
FIRST_PORT = {"11": 5250, "13": 5250, "16": 15250, "22": 15450}
UNKNOWN = {"SIP": "Peer {number} not found.\n\n", "PJSIP": "Unable to find object {number}.\n\n"}


def show_device(profile: Profile, number: str) -> str:
    """Answer for one phone."""
    if number not in PORTS:
        return UNKNOWN[profile.technology].format(number=number)
    port = FIRST_PORT[profile.name] + PORTS[number]
    contact = f"sip:{number}@127.0.0.1:{port}"
    digest = hashlib.md5(contact.encode(), usedforsecurity=False).hexdigest()[:10]
    name = "SIP-11" if profile.old else profile.technology
    text = (TEXTS / f"{name}.txt").read_text("utf-8")
    return text.format(number=number, port=port, digest=digest)
