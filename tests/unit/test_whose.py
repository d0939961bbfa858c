"""From whom a call was, to whom, and which way: as its channels and dialled numbers tell."""

from __future__ import annotations

from typing import NamedTuple

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.asterisk.cdr.pastcalls import PastCall
from shared.asterisk.cdr.whose import dialled_by, is_extension, number_of, whole
from tests.unit.cdr_rows import EPOCH, group_calls, line, records

NUMBER, CUSTOMER = "80290000009", "+375291112233"
TRUNK, PHONE = "PJSIP/trunk-0000001a", "PJSIP/150-0000001b"


def only(*rows: str) -> PastCall:
    """The one call that the rows are of."""
    (call,) = group_calls(records(*rows))
    return call


def told(call: PastCall) -> tuple[str, str, str]:
    """What a call's parties are."""
    return call.from_, call.to, call.direction


def row(channel: str, dst_channel: str = "", disposition: str = "ANSWERED", **given: object) -> str:
    """A row of a call that rang and was talked, all of one uniqueid."""
    talks = 9 if disposition == "ANSWERED" else 0
    values = {"rings": 3, "talks": talks, "uniqueid": f"{EPOCH}.1"} | given
    return line(channel, dst_channel, disposition, **values)  # type: ignore[arg-type] # as given


class Case(NamedTuple):
    """A call's rows and its parties."""

    name: str
    rows: list[str]
    parties: tuple[str, str, str]


CASES = [
    Case(
        "placed over AMI to a Local channel and an extension",
        [
            row("Local/150@ctx-00000001;2", PHONE, dst="150", uniqueid=f"{EPOCH}.2"),
            row(
                *("Local/150@ctx-00000001;1", TRUNK),
                dst=NUMBER,
                data=f"PJSIP/{NUMBER}@trunk,60",
            ),
        ],
        ("150", NUMBER, "out"),
    ),
    Case(
        "placed so, by a Dial of a step of the dialplan",
        [
            row("Local/150@ctx-00000001;2", PHONE, dst="150", uniqueid=f"{EPOCH}.2"),
            row("Local/150@ctx-00000001;1", TRUNK, dst="s", data=f"PJSIP/trunk/sip:{NUMBER}@x,60"),
        ],
        ("150", NUMBER, "out"),
    ),
    Case(
        "placed to a phone, which is shown the customer's number",
        [row(PHONE, TRUNK, src=NUMBER, dst=NUMBER, data=f"PJSIP/{NUMBER}@trunk")],
        ("150", NUMBER, "out"),
    ),
    Case(
        "placed so, and the phone did not answer",
        [row(PHONE, "", "NO ANSWER", src=NUMBER, application="AppDial2", data="(Outgoing Line)")],
        ("150", NUMBER, "out"),
    ),
    Case(
        "an extension that shows the company's number",
        [row(PHONE, TRUNK, src="74951234567", dst=NUMBER, data=f"PJSIP/trunk/{NUMBER},300,T")],
        ("150", NUMBER, "out"),
    ),
    Case(
        "an extension, whose dialplan ends in h",
        [row(PHONE, TRUNK, "BUSY", src="74951234567", dst="h", data=f"PJSIP/{NUMBER}@trunk,300")],
        ("150", NUMBER, "out"),
    ),
    Case(
        "an extension, all circuits busy",
        [
            row(PHONE, TRUNK, "FAILED", dst=NUMBER, data=f"PJSIP/{NUMBER}@trunk"),
            row(PHONE, dst="s", application="Congestion", at=3),
        ],
        ("150", NUMBER, "out"),
    ),
    Case(
        "an extension of an old line to a trunk by DAHDI's group",
        [row("SIP/150-00000001", "DAHDI/1-1", dst=NUMBER, data=f"DAHDI/g0/{NUMBER},60")],
        ("150", NUMBER, "out"),
    ),
    Case(
        "an extension, an emergency number",
        [row(PHONE, TRUNK, dst="101", data="PJSIP/101@trunk,60")],
        ("150", "101", "out"),
    ),
    Case(
        "an extension and another",
        [
            row(
                PHONE,
                "PJSIP/151-0000001c",
                src="150",
                dst="151",
                data="PJSIP/151/sip:151@192.0.2.9",
            )
        ],
        ("150", "151", "internal"),
    ),
    Case(
        "an extension and another's mailbox",
        [
            row(PHONE, "PJSIP/151-0000001c", "NO ANSWER", src="150", dst="vmu151"),
            row(PHONE, application="VoiceMail", dst="vmu151", at=20),
        ],
        ("150", "151", "internal"),
    ),
    Case(
        "a service of the PBX",
        [row(PHONE, application="VoiceMailMain", src="150", dst="*97")],
        ("150", "*97", "internal"),
    ),
    Case(
        "a caller and an extension",
        [row(TRUNK, PHONE, src=CUSTOMER, dst="150")],
        (CUSTOMER, "150", "in"),
    ),
    *(
        Case(
            f"a caller who withholds his number: {src!r}",
            [row(TRUNK, PHONE, src=src, dst="150")],
            ("", "150", "in"),
        )
        for src in (
            "",
            "anonymous",
            "Anonymous",
            "unknown",
            "Unavailable",
            "Restricted",
            " private ",
        )
    ),
    *(
        Case(
            f"a caller whose call ends in {dst}",
            [row(TRUNK, PHONE, "NO ANSWER", src=CUSTOMER, dst=dst)],
            (CUSTOMER, "150", "in"),
        )
        for dst in ("h", "t", "i", "s", "hang", "vmu150", "vmb150", "vms150", "vm150", "")
    ),
    Case(
        "a caller of a whole number, whom an extension took",
        [row(TRUNK, PHONE, src=CUSTOMER, dst="74951234567")],
        (CUSTOMER, "150", "in"),
    ),
    Case(
        "a caller of a whole number, whom nobody took",
        [row(TRUNK, src=CUSTOMER, dst="74951234567", application="Playback")],
        (CUSTOMER, "74951234567", "in"),
    ),
    Case(
        "a caller from a trunk that is named by its number",
        [row("SIP/74951234567-00000001", PHONE, src=CUSTOMER, dst="150")],
        (CUSTOMER, "150", "in"),
    ),
    Case(
        "a caller by an analog line to an analog phone",
        [row("DAHDI/1-1", "DAHDI/5-1", src=CUSTOMER, dst="150", data="DAHDI/5,30")],
        (CUSTOMER, "150", "in"),
    ),
    Case(
        "an analog phone",
        [row("DAHDI/5-1", TRUNK, src="150", dst=NUMBER, data=f"PJSIP/{NUMBER}@trunk")],
        ("150", NUMBER, "out"),
    ),
    Case(
        "a phone that is named by a word",
        [row("PJSIP/alice-00000001", TRUNK, src="150", dst=NUMBER, data=f"PJSIP/{NUMBER}@trunk")],
        ("150", NUMBER, "out"),
    ),
    Case(
        "a caller who says that he is 150",
        [row("PJSIP/trunk-00000001", "PJSIP/151-00000002", src="150", dst="151")],
        ("150", "151", "in"),
    ),
    Case(
        "a queue, whose member follows him by FreePBX's follow-me",
        [
            row(TRUNK, "Local/FMPR-150@from-internal-00000001;1", src=CUSTOMER, dst="700"),
            row(
                *("Local/FMPR-150@from-internal-00000001;2", PHONE),
                src=CUSTOMER,
                dst="FMPR-150",
                uniqueid=f"{EPOCH}.3",
            ),
        ],
        (CUSTOMER, "700", "in"),
    ),
]


@pytest.mark.parametrize("case", CASES, ids=[case.name for case in CASES])
def test_the_parties_took_part(case: Case) -> None:
    """The extension and the number, not what a trunk is called, nor what is shown."""
    assert told(only(*case.rows)) == case.parties


def in_context(context: str, text: str) -> str:
    """Let a row have ended in a context."""
    return text.replace('"inoffice"', f'"{context}"')


@pytest.mark.parametrize(
    "context",
    [
        *("from-trunk", "from-trunk-sip-provider", "from-pstn", "from-pstn-toheader"),
        *("from-did-direct", "from-digital", "from-analog", "from-zaptel", "from-dahdi"),
        *("from-sip-external", "ext-did-0001", "incoming", "inbound"),
    ],
)
def test_what_comes_in_by_a_trunk_of_a_short_number(context: str) -> None:
    """FreePBX's and Issabel's contexts for what comes from outside decide, not the trunk's name."""
    call = only(in_context(context, row("SIP/100-00000001", PHONE, src=CUSTOMER, dst="150")))
    assert told(call) == (CUSTOMER, "150", "in")


@pytest.mark.parametrize(
    "context",
    ["ext-group", "ext-queues", "ivr-3", "app-announcement-1", "macro-dial-one", "ext-local"],
)
def test_contexts_in_which_any_call_may_end(context: str) -> None:
    """They tell nothing: whose the channel is does."""
    inbound = only(in_context(context, row(TRUNK, PHONE, src=CUSTOMER, dst="600")))
    internal = only(in_context(context, row(PHONE, "PJSIP/151-0000001c", src="150", dst="600")))
    assert [told(inbound), told(internal)] == [
        (CUSTOMER, "600", "in"),
        ("150", "600", "internal"),
    ]


@pytest.mark.parametrize("context", ["from-internal", "macro-dialout-trunk", "from-internal-xfer"])
def test_what_phones_dial(context: str) -> None:
    """A phone that is named by a word is one there, and its number is what the PBX gave it."""
    call = only(in_context(context, row("PJSIP/alice-1a", "PJSIP/151-1c", src="150", dst="151")))
    assert told(call) == ("150", "151", "internal")


@pytest.mark.parametrize(
    "channels",
    [
        ("Local/FMPR-150@from-internal-00000001;1", ""),
        ("Local/FMGL-150#@from-internal-00000001;2", ""),
        ("Local/RG-600-150@from-internal-00000001;2", ""),
        ("Local/150@from-queue/n-00000001;1", ""),
        ("Local/150@from-queue-00000001;1/n", ""),
        ("SIP/150-0000001a<ZOMBIE>", ""),
        ("Local/150@ctx-0000001a;1<ZOMBIE>", ""),
        ("SCCP/150-0000001a", ""),
        ("IAX2/150-7121", ""),
        ("SIP/trunk-1", "SCCP/150-0000001a"),
        ("SIP/trunk-1", "Local/LC-150@from-internal-00000001;1"),
    ],
)
def test_an_extension_is_found_by_its_channel(channels: tuple[str, str]) -> None:
    """Whatever stands around its number."""
    call = only(row(*channels, src=CUSTOMER, dst="s"))
    assert "150" in call.extensions


def test_an_analog_phone_is_found_by_what_was_dialled() -> None:
    """Its channel names a line; where phones dial, the caller's number is the PBX's own word."""
    called = only(row(TRUNK, "DAHDI/5-1", src=CUSTOMER, dst="150", data="DAHDI/5,30"))
    calling = only(in_context("from-internal", row("DAHDI/5-1", PHONE, src="152", dst="150")))
    assert "150" in called.extensions
    assert {"150", "152"} <= calling.extensions


def test_two_calls_of_one_line_are_two() -> None:
    """An analog line's channel has the same name a second later."""
    first = line("DAHDI/1-1", PHONE, rings=10, talks=20, src=CUSTOMER, dst="150")
    second = line("DAHDI/1-1", "PJSIP/151-1c", at=31, rings=5, talks=9, src=NUMBER, dst="151")
    calls = group_calls(records(first, second))
    assert [(call.duration_s, *told(call)) for call in calls] == [
        (30, CUSTOMER, "150", "in"),
        (14, NUMBER, "151", "in"),
    ]


@pytest.mark.parametrize("uniqueid", [None, "-"])
def test_two_calls_to_one_line_are_two(uniqueid: str | None) -> None:
    """Also where others call it."""
    calls = [
        line(f"SIP/15{n}-{n}", "DAHDI/1-1", at=31 * n, talks=30, uniqueid=uniqueid, dst=NUMBER)
        for n in (0, 1)
    ]
    assert len(group_calls(records(*calls))) == 2


def test_a_line_that_is_handed_on_is_one_call() -> None:
    """Its channel goes on, under its own uniqueid."""
    first = line("SIP/150-1", "DAHDI/1-1", rings=2, talks=20, uniqueid=f"{EPOCH}.1", dst=NUMBER)
    second = line("DAHDI/1-1", "SIP/151-3", at=22, talks=9, uniqueid=f"{EPOCH}.2", dst="151")
    (call,) = group_calls(records(first, second))
    assert (call.legs, call.talk_s) == (2, 29)


def test_rows_of_one_linkedid_are_one_call() -> None:
    """newcdrcolumns=yes: Asterisk itself says it, also where no channel is common to them."""
    rows = [
        line(f"SIP/15{n}-1", f"SIP/16{n}-1", at=600 * n, talks=9, uniqueid="-") for n in range(2)
    ]
    new = [text.replace("\n", f',"","{EPOCH}.1",{n}\n') for n, text in enumerate(rows)]
    assert len(group_calls(records(*new))) == 1
    assert len(group_calls(records(*rows))) == 2


def test_a_supervisor_dials_himself_in() -> None:
    """Whoever dials a ChanSpy listens: that is no call between the two."""
    call = only(row("SIP/151-1", application="ChanSpy", data="SIP/150-,bq", dst="*222"))
    assert (call.kind, *told(call), call.talk_s) == ("monitor", "151", "150", "internal", 9)


@pytest.mark.parametrize(
    ("data", "dialled"),
    [
        (f"SIP/trunk/{NUMBER}&SIP/150,60,tr", [("SIP", "trunk", NUMBER), ("SIP", "150", "")]),
        (f"PJSIP/{NUMBER}@trunk,60", [("PJSIP", "trunk", NUMBER)]),
        (f"PJSIP/trunk/sip:{NUMBER}@192.0.2.1:5060", [("PJSIP", "trunk", NUMBER)]),
        ("PJSIP/150/sip:150@192.0.2.1;ob", [("PJSIP", "150", "150")]),
        (f"DAHDI/g0/{NUMBER}", [("DAHDI", "g0", NUMBER)]),
        ("(Outgoing Line)", []),
        ("700,t,,,300", []),
        ("", []),
    ],
)
def test_a_dial_names_devices_and_numbers(data: str, dialled: list[tuple[str, str, str]]) -> None:
    """Both ways to write a number that goes by a trunk."""
    assert [tuple(call) for call in dialled_by(data)] == dialled


@pytest.mark.parametrize("digits", [3, 6])
def test_how_long_an_extension_may_be(digits: int) -> None:
    """EXTENSION_DIGITS; a plus makes a number of the world."""
    assert is_extension("1" * digits, digits)
    assert not is_extension("1" * (digits + 1), digits)
    assert not any(is_extension(text, digits) for text in ("", "+12", "s", "abc"))


TEXTS = st.one_of(
    st.text(max_size=12),
    st.sampled_from([TRUNK, PHONE, "DAHDI/1-1", "Local/150@a-1;1", "Local/150@a-1;2", "SIP/a-1"]),
    st.sampled_from(
        [f"SIP/{NUMBER}@a", "SIP/a/&&/@/,|", "s", "h", NUMBER, "150", "vmu", "anonymous"]
    ),
)


@given(st.lists(st.tuples(TEXTS, TEXTS, TEXTS, TEXTS, TEXTS), min_size=1, max_size=6))
def test_any_texts_have_parties(texts: list[tuple[str, str, str, str, str]]) -> None:
    """Nothing raises, and one end is always known to be ours or not."""
    rows = [
        line(channel, dst_channel, src=src, dst=dst, data=data, application="Dial")
        for channel, dst_channel, src, dst, data in texts
    ]
    for call in group_calls(records(*rows)):
        assert call.direction in {"in", "out", "internal"}
        assert "" not in call.extensions | call.numbers
    for channel, *_ in texts:
        number_of(channel)
        whole(channel)
