"""What `sip show peer` and `pjsip show endpoint` print of the stand-in's phones, and their lists.

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
_SIP_ROW = "{:<25} {:<39} {:<3} {:<10} {:<10} {:<3} {:<8} {:<11} {:<32} \n"
_PJSIP_LEGEND = f" Endpoint:  <Endpoint/CID{'.' * 37}>  <State.....>  <Channels.>"
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


def list_devices(profile: Profile) -> str:
    """Answer for all of them; of 11 and 13 the list was not recorded, and is told as 16 does."""
    numbers = sorted(PORTS)
    if profile.technology == "PJSIP":
        rows = "".join(
            f" Endpoint:  {number:<51}  {'Not in use':<12}  0 of inf\n" for number in numbers
        )
        return f"\n{_PJSIP_LEGEND}\n{'=' * 90}\n\n{rows}\nObjects found: {len(numbers)}\n\n"
    first = FIRST_PORT[profile.name]
    rows = "".join(
        _SIP_ROW.format(
            number, "127.0.0.1", "", "Auto (No)", "No", "", first + PORTS[number], "Unmonitored", ""
        )
        for number in numbers
    )
    head = ("Name/username", "Host", "Dyn", "Forcerport", "Comedia", "ACL", "Port", "Status")
    return (
        f"{_SIP_ROW.format(*head, 'Description')}{rows}{len(numbers)} sip peers"
        f" [Monitored: 0 online, 0 offline Unmonitored: {len(numbers)} online, 0 offline]\n"
    )
