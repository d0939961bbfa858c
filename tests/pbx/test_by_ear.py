"""Supervision, as it is heard: who gets whose sound in each of the three modes."""

from __future__ import annotations

import asyncio
from statistics import median

import pytest

from tests.pbx.lab import Lab
from tests.pbx.service import Service, Services, until
from tests.pbx.softphone import Leg, Manner, Softphones
from tests.pbx.sound import RATE_HZ, decode, share
from tests.pbx.test_following import place, reach

pytestmark = pytest.mark.anyio

AGENT_HZ, CUSTOMER_HZ, SUPERVISOR_HZ = 440, 700, 1000
TONES = (AGENT_HZ, CUSTOMER_HZ, SUPERVISOR_HZ)
# Whose tone is to be heard by agent, customer and supervisor.
BOTH = {AGENT_HZ, CUSTOMER_HZ}
EARS: dict[str, tuple[set[int], set[int], set[int]]] = {
    "09": ({CUSTOMER_HZ}, {AGENT_HZ}, BOTH),
    "01": ({CUSTOMER_HZ, SUPERVISOR_HZ}, {AGENT_HZ}, BOTH),
    "02": ({CUSTOMER_HZ, SUPERVISOR_HZ}, {AGENT_HZ, SUPERVISOR_HZ}, BOTH),
}
# Two tones of one loudness have half of the power each; one that is not sent has none.
HEARD = 0.1
PACKET_S, WINDOW_S, PART_S = 0.02, 1.0, 0.2


def manner_of(user: str) -> Manner:
    """Agents are 351 to 353, supervisors 354 to 356, all other users are customers' numbers."""
    if user.startswith("+"):
        return Manner(rings_s=4, plays=CUSTOMER_HZ)
    return Manner(rings_s=0.2, plays=AGENT_HZ if user < "354" else SUPERVISOR_HZ)


def heard(leg: Leg) -> set[int]:
    """Tell which tones a phone has received in the last second.

    The sound is measured part by part, and half of the parts decide: a packet that came late makes
    a gap, which spoils the part that it is in.
    """
    last = decode(b"".join(leg.sound.received[-round(WINDOW_S / PACKET_S) :]))
    size = round(PART_S * RATE_HZ)
    parts = [last[at : at + size] for at in range(0, len(last) - size + 1, size)]
    if not parts:
        return set()
    return {tone for tone in TONES if median(share(part, tone) for part in parts) > HEARD}


async def supervise(
    service: Service, lab: Lab, phones: Softphones, action: str, *, number: int, is_late: bool
) -> tuple[str, list[set[int]]]:
    """Have a call tapped; what its three phones hear: what is right, once it is, or in the end."""
    agent, supervisor, customer = f"{351 + number}", f"{354 + number}", f"+37529000300{number}"
    call_id = await place(service, agent, customer)
    await reach(service, call_id, "talking" if is_late else "customer_ringing")
    if is_late:
        await until(lambda: not any(f"{customer}@" in line for line in lab.channels()))
        await until(lambda: not any(f"Local/{agent}@" in line for line in lab.channels()))
    answer = await service.monitor(action, agent, supervisor)
    assert answer.status_code == 200, answer.text
    await until(lambda: all(phones.legs[user] for user in (agent, customer, supervisor)))
    legs = [phones.legs[user][-1] for user in (agent, customer, supervisor)]
    try:
        await until(lambda: [heard(leg) for leg in legs] == list(EARS[action]))
    except TimeoutError:
        pass  # what is heard instead is the test's own to tell
    else:
        # Nothing else comes while it goes on: a window that has nothing of the first one.
        counts = [len(leg.sound.received) for leg in legs]
        more = 2 * WINDOW_S / PACKET_S
        await until(
            lambda: all(
                len(leg.sound.received) >= count + more
                for leg, count in zip(legs, counts, strict=True)
            )
        )
    return action, [heard(leg) for leg in legs]


@pytest.mark.parametrize("is_late", [False, True], ids=["from the start", "in mid-talk"])
async def test_who_hears_whom(start: Services, lab: Lab, *, is_late: bool) -> None:
    """The supervisor hears both; whispering only the agent hears him, barging in both do.

    Tapped in mid-talk the call has no Local channels any more: Asterisk has taken them out.
    """
    service = await start(DIALPLAN_CONTEXT="plans")
    phones = Softphones(lab.plan_phones_port, lab.sip_port, manner_of, packet_s=PACKET_S)
    with phones.running():
        told = await asyncio.gather(
            *(
                supervise(service, lab, phones, action, number=number, is_late=is_late)
                for number, action in enumerate(EARS)
            )
        )
        lab.hangup_all()
        lab.wait_idle()
    assert dict(told) == {action: list(ears) for action, ears in EARS.items()}
