"""What is right for each dialplan of the lab's context `plans`, whoever tells it.

A call has two sides, the agent's and the customer's, each with a phone or several, and with
whatever the dialplan does there. Of a side is told:

- `answered_by`: "phone" where a phone of that side took the call, at whatever moment; "pbx" where
  only the PBX itself did (a mailbox, an announcement, a queue that nobody took, an `Answer()` of
  the dialplan); null where nobody did.
- `ring_s`: how long the phone rang that answered, else the one that rang last.
- `talk_s`: how long a phone of that side was connected with the other side, once that had
  answered, by a phone or by the PBX. So one who talks to the other's mailbox has seconds of his
  own, and two phones that talk have the same ones; who hears the other ring has none.

The call is `answered` only where phones of both sides were up at once, and then `talk_s` of the
call is how long that was; else it is 0. What a phone of the customer's said decides, whatever the
dialplan does afterwards: an announcement, Congestion, another step. What the agent's phone said
comes before it: without an agent there is no call, though his mailbox may have heard the customer.

Seconds are given as the least and the most that is right, before any tolerance; `TOLERANCE_S` is
what Asterisk's records lose, since they count whole seconds.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

TOLERANCE_S = 1

AnsweredBy = Literal["phone", "pbx"] | None
Seconds = tuple[int, int]

RINGS = ("placed", "accepted", "agent_ringing")
ANSWERS = (*RINGS, "agent_answered")
CUSTOMER_RINGS = (*ANSWERS, "customer_ringing")
TALK = (*CUSTOMER_RINGS, "talking")
# Where the PBX answers for the agent, no phone of his need ring, and whether `agent_answered` is
# told of a mailbox is nobody's loss: `answered_by` says which it was.
PBX_ANSWERS = frozenset({"agent_ringing", "agent_answered"})


@dataclass(frozen=True)
class Side:
    """What is right for one side of a call."""

    answered_by: AnsweredBy
    ring_s: Seconds = (0, 0)
    talk_s: Seconds = (0, 0)

    def differs(self, told: dict[str, Any], tolerance_s: int = TOLERANCE_S) -> dict[str, Any]:
        """Name what is told otherwise, with what was told."""
        is_right = {
            "answered_by": told["answered_by"] == self.answered_by,
            "ring_s": is_within(told["ring_s"], self.ring_s, tolerance_s),
            "talk_s": is_within(told["talk_s"], self.talk_s, tolerance_s),
        }
        return {name: told[name] for name, right in is_right.items() if not right}


def is_within(seconds: float | None, between: Seconds, tolerance_s: int = TOLERANCE_S) -> bool:
    """Tell whether seconds are right; none are 0, for nothing rang or talked."""
    least, most = between
    return least - tolerance_s <= (seconds or 0) <= most + tolerance_s


def phone(ring: int | Seconds, talk: int | Seconds) -> Side:
    """A phone of that side answered."""
    return Side("phone", _seconds(ring), _seconds(talk))


def pbx(ring: int | Seconds, talk: int | Seconds = 0) -> Side:
    """Only the PBX did."""
    return Side("pbx", _seconds(ring), _seconds(talk))


def nobody(ring: int | Seconds) -> Side:
    """Nobody did."""
    return Side(None, _seconds(ring))


def _seconds(value: int | Seconds) -> Seconds:
    return value if isinstance(value, tuple) else (value, value)


@dataclass(frozen=True)
class Plan:
    """One call through a plan: who calls whom, and what is right.

    `may_skip` are phases that may be told or not. `sounds` says with which phones it is tried:
    mute ones, those that send sound (Asterisk then takes its Local channels out), or both: where
    nobody talks, sound changes nothing. What is `brief` has a channel for milliseconds, which a
    list may miss: then nothing at all is known of it. Of what is `watched` whoever dials has been
    answered before the phone is, so no record tells when that was: seconds are as exact as looks
    are frequent.
    """

    extension: str
    number: str
    reasons: frozenset[str]
    phases: tuple[str, ...]
    agent: Side
    customer: Side
    may_skip: frozenset[str] = frozenset()
    versions: tuple[str, ...] = ("16", "22")
    sounds: tuple[bool, ...] = (False, True)
    brief: bool = False
    watched: bool = False

    @property
    def talk_s(self) -> Seconds:
        """How long phones of both sides talked."""
        both = self.agent.answered_by == self.customer.answered_by == "phone"
        return self.customer.talk_s if both else (0, 0)


SILENT = (False,)
OLD = ("16",)
FOUR = phone(2, 4)  # a customer who rings two seconds and talks four
ONE = phone(1, 4)  # an agent who answers after a second, and talks as long


def _talked(extension: str, number: str, agent: Side, customer: Side, **more: Any) -> Plan:
    return Plan(extension, number, frozenset({"answered"}), TALK, agent, customer, **more)


def _of_extension(extension: str, agent: Side = ONE, customer: Side = FOUR, **more: Any) -> Plan:
    """The extension is the plan, the number an ordinary customer's; they talk."""
    return _talked(extension, f"+3752900020{extension[1:]}", agent, customer, **more)


def _of_number(last: int, customer: Side = FOUR, agent: Side = ONE, **more: Any) -> Plan:
    """The number is the plan, the extension an ordinary agent's; they talk."""
    return _talked(f"3{last % 100:02}", f"+37529000{last}", agent, customer, **more)


def _agent_fails(
    extension: str, reason: str, agent: Side, customer: Side, phases: tuple[str, ...], **more: Any
) -> Plan:
    number = f"+3752900020{extension[1:]}"
    reasons = frozenset(reason.split())
    more = {"sounds": SILENT} | more
    return Plan(extension, number, reasons, phases, agent, customer, **more)


def _mailbox(extension: str, ring: int, customer: Side = FOUR, **more: Any) -> Plan:
    """The agent's mailbox takes the call, and the customer hears it: no agent answered."""
    more = {"may_skip": PBX_ANSWERS, "reason": "agent_no_answer", "sounds": (False, True)} | more
    reason = more.pop("reason")
    return _agent_fails(extension, reason, pbx(ring), customer, CUSTOMER_RINGS, **more)


def _customer_fails(last: int, reason: str, customer: Side, **more: Any) -> Plan:
    """The agent is there; the customer's phone is not reached. Without a ring: none is told."""
    agent = Side("phone", (1, 1), more.pop("agent_talks", (0, 0)))
    phases = ANSWERS if customer.ring_s == (0, 0) else CUSTOMER_RINGS
    more = {"sounds": SILENT} | more
    extension = more.pop("extension", f"3{last % 100:02}")
    reasons = frozenset(reason.split())
    return Plan(extension, f"+37529000{last}", reasons, phases, agent, customer, **more)


# Refused before anything could be seen: the agent may be gone again before a look sees him there.
AT_ONCE = frozenset({"agent_answered"})
# A trunk that refuses at once has a channel for some milliseconds, which may be taken for a ring.
REFUSED = frozenset({"agent_answered", "customer_ringing"})

# By its own settings Asterisk writes no record of a call that was not answered and dialled nobody,
# so nothing tells busy from any other refusal, unless somebody saw the channel while it was.
NOT_WRITTEN = "agent_busy failed"

PLANS: dict[str, Plan] = {
    # --- the extension's side
    # The customer is rung while the agent's phone still is: he answers after 1 s, the agent after
    # 3; he hangs up 6 s after his answer, so both phones are up for 4.
    "extension-answers-first": _of_extension(
        "201", phone(3, 4), phone(1, 4), may_skip=PBX_ANSWERS, watched=True
    ),
    "extension-mailbox-after-no-answer": _mailbox("202", 3),
    "extension-mailbox-at-once": _mailbox("203", 0),
    "extension-busy": _agent_fails("204", NOT_WRITTEN, nobody(0), nobody(0), RINGS[:2], brief=True),
    "extension-congestion": _agent_fails(
        "205", "failed", nobody(0), nobody(0), RINGS[:2], brief=True
    ),
    "extension-hangup-17": _agent_fails(
        "206", NOT_WRITTEN, nobody(0), nobody(0), RINGS[:2], brief=True
    ),
    "extension-ring-group": _of_extension("207", phone(2, 4)),
    # Rung 3 s in vain, then 1 s elsewhere: the phone that rang last, or all that the caller waited.
    "extension-follow-me": _of_extension("210", phone((1, 4), 4)),
    "extension-local-twice": _of_extension("212"),
    # The queue answers: the customer is rung at once, answers after 2 s, the member after 3.
    "extension-queue-taken": _of_extension(
        "215", phone(3, 3), phone(2, 3), may_skip=PBX_ANSWERS, watched=True
    ),
    # He waits from his answer (2 s) until the queue gives up (5 s, or when its members have rung).
    "extension-queue-not-taken": _agent_fails(
        "216",
        "agent_no_answer",
        pbx((1, 5)),
        phone(2, (3, 5)),
        CUSTOMER_RINGS,
        may_skip=PBX_ANSWERS,
    ),
    "extension-queue-left": _agent_fails(
        "217",
        "agent_no_answer",
        pbx((1, 5)),
        phone(1, 4),
        CUSTOMER_RINGS,
        may_skip=PBX_ANSWERS,
    ),
    "extension-queue-unanswered-taken": _of_extension("218", phone(2, 4)),
    "extension-goto": _of_extension("220"),
    "extension-gosub": _of_extension("221"),
    "extension-macro": _of_extension("222", versions=OLD),
    "extension-mixmonitor": _of_extension("223"),
    # The agent hangs up 5 s after his answer, 3 after the customer's; his own dialplan then waits
    # for 3 s, in which the customer hears nobody (with sound it is out of the call by then).
    "extension-dial-g": _of_extension("224", phone(1, (3, 6)), phone(2, (3, 6))),
    # The phone is up for a second before it is connected.
    "extension-dial-u": _of_extension("225", phone((1, 2), 4)),
    "extension-dial-m": _of_extension("226", phone((1, 2), 4), versions=OLD),
    # 6 s from the agent's answer, of which the customer rings 2. With sound the channel that keeps
    # the limit is taken out of the call: the customer hangs up after 8.
    "extension-dial-l": _of_extension("227", phone(1, (4, 8)), phone(2, (4, 8))),
    # He talks for 3 s, hears the second phone ring for 1, talks until 9 s after his answer. Each of
    # two talks may lose a part of a second, and no record tells when the second phone answered:
    # the customer's channel, which dials it, had been answered before.
    "extension-refer-blind": _of_extension("228", phone(1, (7, 8)), phone(2, (7, 8)), watched=True),
    # Nobody puts him on hold: he is connected for all of the 9 s.
    "extension-refer-attended": _of_extension("229", phone(1, (8, 9)), phone(2, (8, 9))),
    # Whoever is parked talks to nobody.
    "extension-parks": _of_extension("231", phone(1, 3), phone(2, 3)),
    "extension-call-waiting-first": _of_extension("230"),
    "extension-call-waiting-second": _talked("230", "+375290002130", phone(1, 2), phone(3, 2)),
    "extension-freepbx-no-answer": _mailbox("232", 3),
    # His phone said busy, and the mailbox has the busy greeting.
    "extension-freepbx-busy": _mailbox("233", 1, reason="agent_busy"),
    "extension-freepbx-no-mailbox": _agent_fails(
        "234", "agent_no_answer", nobody(3), nobody(0), RINGS
    ),
    "extension-freepbx-answered": _of_extension("235"),
    "extension-macros-no-answer": _mailbox("236", 3, versions=OLD),
    "extension-macros-busy": _mailbox("237", 1, reason="agent_busy", versions=OLD),
    "extension-macros-no-mailbox": _agent_fails(
        "238", "agent_no_answer", nobody(3), nobody(0), RINGS, versions=OLD
    ),
    "extension-macros-answered": _of_extension("239", versions=OLD),
    # No agent took the call: that the customer was busy, or did not answer, is told by his side.
    "extension-mailbox-customer-busy": _mailbox("240", 0, nobody(1), sounds=SILENT),
    "extension-mailbox-customer-no-answer": Plan(
        "241",
        "+375290001041",
        frozenset({"agent_no_answer"}),
        CUSTOMER_RINGS,
        pbx(0),
        nobody(4),
        may_skip=PBX_ANSWERS,
        sounds=SILENT,
    ),
    # --- the number's side
    "number-answers-first": _of_number(1001, watched=True),
    # The dialplan's Answer() is no phone's: busy stays busy. Who hears it ring may count, and who
    # hears the tone that Asterisk plays for 10 s at the end of an answered dialplan.
    "number-answers-first-busy": _customer_fails(1002, "busy", pbx(1), agent_talks=(0, 11)),
    "number-answers-first-no-answer": _customer_fails(
        1003, "no_answer", pbx(3), agent_talks=(0, 3)
    ),
    # The agent talks to the mailbox, and hangs up 7 s after his answer, 4 after its.
    "number-mailbox-after-no-answer": _customer_fails(
        1004, "no_answer", pbx(3), agent_talks=(4, 4), sounds=(False, True)
    ),
    "number-mailbox-at-once": _customer_fails(
        1005, "no_answer", pbx(0), agent_talks=(4, 4), sounds=(False, True)
    ),
    "number-busy": _customer_fails(1006, "busy", nobody(0), may_skip=AT_ONCE),
    "number-congestion": _customer_fails(1007, "failed", nobody(0), may_skip=AT_ONCE),
    "number-hangup-17": _customer_fails(1008, "busy", nobody(0), may_skip=AT_ONCE),
    "number-ring-group": _of_number(1009),
    "number-follow-me": _of_number(1010, phone((2, 5), 4)),
    "number-local-twice": _of_number(1011),
    "number-fallback-after-busy": _of_number(1012),
    "number-fallback-after-congestion": _of_number(1013),
    "number-fallback-after-404": _of_number(1014),
    "number-fallback-busy-too": _customer_fails(1015, "busy", nobody(1)),
    # 183 with a session: the customer may ring, for all that anybody knows.
    "number-183": _of_number(1016),
    "number-183-busy": _customer_fails(1017, "busy", nobody(2), sounds=(False, True)),
    "number-announced-by-carrier": _customer_fails(1018, "failed", nobody(3), sounds=(False, True)),
    # Announcements last as long as they do: some seconds.
    "number-announced-after-404": _customer_fails(
        1019, "failed", pbx(0), agent_talks=(1, 9), may_skip=REFUSED
    ),
    "number-announced-after-busy": _customer_fails(1020, "busy", pbx(1), agent_talks=(1, 9)),
    "number-announced-after-no-answer": _customer_fails(
        1021, "no_answer", pbx(3), agent_talks=(1, 9)
    ),
    "number-freepbx-busy": _customer_fails(1022, "busy", nobody(1)),
    "number-freepbx-no-answer": _customer_fails(1023, "no_answer", nobody(4)),
    "number-freepbx-congestion": _customer_fails(1024, "failed", nobody(0), may_skip=REFUSED),
    "number-freepbx-answered": _of_number(1025),
    "number-macros-busy": _customer_fails(1026, "busy", nobody(1), versions=OLD),
    "number-macros-no-answer": _customer_fails(1027, "no_answer", nobody(4), versions=OLD),
    "number-macros-congestion": _customer_fails(
        1028, "failed", nobody(0), versions=OLD, may_skip=REFUSED
    ),
    "number-macros-answered": _of_number(1029, versions=OLD),
    "number-queue-taken": _of_number(1030, watched=True),
    "number-queue-not-taken": _customer_fails(1031, "no_answer", pbx((1, 5)), agent_talks=(4, 7)),
    # The agent leaves: he gave up, or nobody answered him; no field of a record tells which.
    "number-queue-left": _customer_fails(
        1032, "cancelled no_answer", pbx((1, 4)), agent_talks=(4, 4), extension="342"
    ),
    "number-goto": _of_number(1033),
    "number-gosub": _of_number(1034),
    "number-macro": _of_number(1035, versions=OLD),
    "number-mixmonitor": _of_number(1036),
    # The customer hangs up; that the agent then hears the dialplan wait for 3 s is no talk.
    "number-dial-g": _of_number(1037),
    # He is up for a second before he is connected.
    "number-dial-u": _of_number(1038, phone((2, 3), (3, 4)), phone(1, (3, 4))),
    "number-dial-m": _of_number(1039, phone((2, 3), (3, 4)), phone(1, (3, 4)), versions=OLD),
    "number-dial-l": _of_number(1040, phone(2, (4, 8)), phone(1, (4, 8))),
}
