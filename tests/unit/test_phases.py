"""What looks at a call tell, dialplan by dialplan, and what no list of channels can undo."""

from __future__ import annotations

from collections.abc import Sequence

from hypothesis import given
from hypothesis import strategies as st

from shared.asterisk.cdr.outcome import confirm
from shared.asterisk.models import PHASES, CallPhase, Channel, Progress, Root, Side
from shared.asterisk.phases import observe, steps
from tests.unit.cdr_rows import records
from tests.unit.test_sides import ANY_ROW, R

ROOT = Root("Local/154@inoffice-0000002a;1", R, "call", "154", "+375290000001")
FIRST, SECOND = ROOT.channel, "Local/154@inoffice-0000002a;2"
HIS, HIS_OTHER = (f"Local/+375290000001@inoffice-0000002b;{half}" for half in "12")
DIALS = "LOCAL/+375290000001@inoffice"
IDS = {FIRST: R}


def channel(
    name: str, state: str = "Up", bridge: str = "", application: str = "AppDial", data: str = ""
) -> Channel:
    """List a channel of the call."""
    uniqueid = IDS.get(name, f"1.{name}")
    return Channel(name, "inoffice", "", state, application, data, "", 0, bridge, uniqueid)


def root(*, second: str, data: str = "", state: str = "Up", bridge: str = "") -> list[Channel]:
    """List both halves of the root, whose second runs an application."""
    return [
        channel(FIRST, state, "b" if bridge else "", "Dial", DIALS),
        channel(SECOND, state, bridge, second, data),
    ]


def his(state: str, bridge: str = "", *, data: str = "SIP/1@trunk,60") -> list[Channel]:
    """List both halves of the customer's Local channel."""
    half = "Ring" if state == "Ringing" else state
    return [
        channel(HIS, state, "b" if state == "Up" else ""),
        channel(HIS_OTHER, half, bridge, "Dial", data),
    ]


def follow(*looks: Sequence[Channel]) -> tuple[list[CallPhase], Progress]:
    """Take looks a second apart: the phases that are told, and what is known."""
    progress, phases = Progress(), list[CallPhase]()
    for at, channels in enumerate(looks):
        ids = {each.uniqueid: ROOT.uniqueid for each in channels}
        seen = observe(ROOT, progress, channels, ids, at_s=float(at))
        phases += steps(progress, seen)
        progress = seen
    return phases, progress


def test_a_customer_who_is_rung_while_a_mailbox_listens() -> None:
    """He rings, and may talk to it: no agent has answered, and nobody talks."""
    mailbox = root(second="VoiceMail", data="154")
    ringing = [*mailbox, *his("Ringing"), channel("SIP/trunk-21", "Ringing")]
    up = [*mailbox, *his("Up", "c"), channel("SIP/trunk-21", "Up", "c")]
    phases, progress = follow(mailbox, ringing, up, up, ())
    assert phases == ["customer_ringing", "ended"]
    assert progress.agent == Side("pbx", None, 0)
    assert progress.customer == Side("phone", 1, 2)


def test_an_extension_whose_dialplan_answers_first_rings_with_the_customer() -> None:
    """Its phone is the agent's, whatever it is called; the talk begins as both are up."""
    dials = root(second="Dial", data="SIP/desk&SIP/soft,30")
    phone = channel("SIP/desk-1f", "Ringing")
    trunk = channel("SIP/trunk-21", "Up", "c")
    waits = [*dials, *his("Up", "c"), phone, trunk]
    up = root(second="Dial", data="SIP/desk&SIP/soft,30", bridge="a")
    talk = [*up, *his("Up", "c"), channel("SIP/desk-1f", "Up", "a"), trunk]
    phases, progress = follow([*dials, phone], waits, talk, talk, talk, ())
    assert phases == ["agent_ringing", "customer_ringing", "talking", "ended"]
    assert progress.agent == Side("phone", 2, 3)
    assert progress.customer == Side("phone", None, 3)
    assert [leg.party for leg in progress.legs] == ["agent", "customer"]


def test_a_trunk_that_answers_183_only_may_ring() -> None:
    """Its channel stays as it was; that there is one is what is known."""
    answered = [*root(second="Dial", data="SIP/154", bridge="a"), channel("SIP/154-1f", "Up", "a")]
    phases, _ = follow(answered, [*answered, *his("Down"), channel("SIP/trunk-21", "Down")])
    assert phases == ["agent_answered", "customer_ringing"]


def test_an_announcement_of_our_own_is_no_customer() -> None:
    """No phone of his is rung, and the PBX has answered for him."""
    answered = [*root(second="Dial", data="SIP/154", bridge="a"), channel("SIP/154-1f", "Up", "a")]
    plays = [channel(HIS, "Up", "b"), channel(HIS_OTHER, "Up", "", "Playback", "ss-noservice")]
    phases, progress = follow(answered, [*answered, *plays], [*answered, *plays], ())
    assert phases == ["agent_answered", "ended"]
    assert (progress.agent.talk_s, progress.customer) == (2, Side("pbx", None, 0))


def test_a_phone_that_is_not_let_in_has_not_answered() -> None:
    """It is up, and has to press a key before it is connected."""
    rings = root(second="Dial", data="SIP/154", state="Ringing")
    phases, progress = follow([*rings, channel("SIP/154-1f", "Up")], ())
    assert (phases, progress.agent.answered_by) == (["agent_ringing", "ended"], None)


def test_a_root_that_is_listed_as_it_was_misleads_nobody() -> None:
    """A list is not of one moment: a customer's channel is there, and the root rings still."""
    rings = [
        channel(FIRST, "Ringing", "", "AppDial2"),
        channel(SECOND, "Up", "", "Dial", "SIP/154"),
    ]
    look = [
        *rings,
        channel("SIP/154-1f", "Up", "a"),
        *his("Ringing"),
        channel("SIP/trunk-21", "Down"),
    ]
    phases, progress = follow(look)
    assert phases == ["agent_answered", "customer_ringing"]
    assert [leg.party for leg in progress.legs] == ["agent", "customer"]


def test_members_of_a_queue_are_the_party_s_that_waits_in_it() -> None:
    """What a queue was told names nobody."""
    waits = root(second="Queue", data="sales,,,,20")
    phases, progress = follow(waits, [*waits, channel("SIP/151-30", "Ringing")])
    assert ([leg.party for leg in progress.legs], phases) == (["agent"], ["agent_ringing"])


def test_a_customer_who_is_handed_over_to_a_phone_of_another_call_talks_on() -> None:
    """An attended transfer: whom he talks with now, the agent had called in a call of its own."""
    both = [channel("SIP/154-1f", "Up", "c"), channel("SIP/trunk-21", "Up", "c")]
    up = [*root(second="Dial", data="SIP/154", bridge="a"), channel("SIP/154-1f", "Up", "a")]
    talk = [*up, *his("Up", "c"), channel("SIP/trunk-21", "Up", "c")]
    _, progress = follow(up, talk, both)
    other = Channel("SIP/152-40", "inoffice", "", "Up", "Dial", "", "", 0, "d", "9.9")
    moved = channel("SIP/trunk-21", "Up", "d")
    for at in (3.0, 7.0):
        progress = observe(ROOT, progress, [moved, other], {}, at_s=at)
    progress = observe(ROOT, progress, [], {}, at_s=8.0)
    assert progress.customer == Side("phone", None, 7)


NAMES = [FIRST, SECOND, HIS, HIS_OTHER, "SIP/154-1f", "SIP/trunk-21", "SIP/151-30", "Local/9@x-1;2"]
LOOKS = st.lists(
    st.lists(
        st.builds(
            channel,
            st.sampled_from(NAMES),
            st.sampled_from(["Down", "Ring", "Ringing", "Up", "Busy"]),
            st.sampled_from(["", "a", "b", "c"]),
            st.sampled_from(["Dial", "AppDial", "AppDial2", "Queue", "VoiceMail"]),
            st.sampled_from(["", DIALS, "SIP/154,30", "SIP/1@trunk", "Local/9@x"]),
        ),
        max_size=8,
        unique_by=lambda each: each.name,
    ),
    max_size=6,
)


@given(looks=LOOKS, lines=st.lists(ANY_ROW, max_size=8))
def test_a_phase_never_goes_back_and_no_end_denies_it(
    looks: list[list[Channel]], lines: list[str]
) -> None:
    """Whatever is listed, and whatever rows say in the end."""
    progress = Progress()
    for at, channels in enumerate([*looks, []]):
        ids = {each.uniqueid: ROOT.uniqueid for each in channels}
        seen = observe(ROOT, progress, channels, ids, at_s=float(at))
        told = [progress.phase, *steps(progress, seen)]
        assert told == sorted(told, key=PHASES.index)
        for before, after in ((progress.agent, seen.agent), (progress.customer, seen.customer)):
            assert before.answered_by in {None, "pbx", after.answered_by}
        if "agent_answered" in told[1:]:
            assert seen.agent.answered_by == "phone"
        if seen.talked:
            assert (seen.agent.answered_by, seen.customer.answered_by) == ("phone", "phone")
        progress = seen
    found = confirm(records(*lines), ROOT.channel, ROOT.uniqueid, seen=progress, complete=True)
    if found is not None and progress.talked:
        assert found.reason == "answered"
