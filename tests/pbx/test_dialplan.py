"""Whom the dialplan knows: refused before dialling is only an extension that nobody can be."""

from __future__ import annotations

import asyncio
import socket

import anyio
import pytest

from tests.pbx.lab import Lab
from tests.pbx.service import BUSY, LIMIT_S, SECRET, Phones, Services

pytestmark = pytest.mark.anyio


async def test_an_unknown_extension_is_refused_before_dialling(
    lab: Lab, phones: Phones, start: Services
) -> None:
    """Asterisk would accept the call and say nothing: 422 names the field, the PBX does nothing."""
    service = await start()
    before = lab.calls_processed()

    answers = [
        await service.call("9", BUSY),
        await service.http.post(
            "/api/calls",
            json={"from": "9", "to": BUSY},
            headers={"Authorization": f"Bearer {SECRET}"},
        ),
        await service.monitor("09", monitor_from="9"),
    ]

    bodies = [answer.json() for answer in answers]
    assert [answer.status_code for answer in answers] == [422, 422, 422]
    assert {(body["code"], body["dialled"]) for body in bodies} == {("unknown-extension", "no")}
    fields = [error["field"] for body in bodies for error in body["errors"]]
    assert fields == ["code", "from", "monitor_from"]
    assert (lab.channels(), lab.calls_processed()) == ([], before)
    assert await phones.in_the_end() == {}


async def test_without_the_check_asterisk_accepts_an_unknown_extension(
    lab: Lab, phones: Phones, start: Services
) -> None:
    """PRECHECK=off: no refusal, and nobody rings: why the check is the default.

    Its channel is so brief that it may not be seen; then the outcome is `unknown`.
    """
    service = await start(PRECHECK="off")

    answer = await service.call("9", BUSY)

    assert answer.json()["dialled" if answer.is_error else "phase"] in {"accepted", "unknown"}
    assert await phones.in_the_end() == {}


async def test_an_extension_of_a_pattern_is_rung(lab: Lab, start: Services) -> None:
    """157 is nowhere but in _1XX: its phone, here the test's own socket, gets the INVITE."""
    service = await start()
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as phone:
        phone.bind(("127.0.0.1", lab.free_phone_port))
        phone.setblocking(False)  # noqa: FBT003 - the socket's own signature
        answer = await service.call("157", BUSY)
        with anyio.fail_after(LIMIT_S):
            packet = await asyncio.get_running_loop().sock_recv(phone, 65536)
        lab.hangup_all()
        lab.wait_idle()

    assert answer.status_code == 200
    assert packet.startswith(b"INVITE sip:")


async def test_an_extension_of_an_include_is_not_refused(phones: Phones, start: Services) -> None:
    """7 is only in an included context: it answers, and the customer is called."""
    service = await start()

    answer = await service.call("7", BUSY)

    assert answer.status_code == 200
    assert await phones.in_the_end() == {"trunkbusy": 1}


@pytest.mark.parametrize("context", ["switched", "withswitch"])
async def test_an_extension_behind_a_switch_is_not_refused(
    phones: Phones, start: Services, context: str
) -> None:
    """`dialplan show` does not know it, the switch does: it rings, and so does the customer."""
    service = await start(DIALPLAN_CONTEXT=context)

    answer = await service.call("150", BUSY)

    assert answer.status_code == 200
    assert await phones.in_the_end() == {"150": 1, "trunkbusy": 1}


async def test_a_wrong_context_is_named(lab: Lab, phones: Phones, start: Services) -> None:
    """DIALPLAN_CONTEXT that the PBX does not have: 500 says so, nothing is dialled."""
    service = await start(DIALPLAN_CONTEXT="nosuch")
    before = lab.calls_processed()

    answer = await service.call("150", BUSY)

    body = answer.json()
    assert answer.status_code == 500
    assert (body["code"], body["dialled"]) == ("dialplan-context-missing", "no")
    assert "DIALPLAN_CONTEXT" in body["detail"]
    assert (lab.channels(), lab.calls_processed()) == ([], before)
    assert await phones.in_the_end() == {}
