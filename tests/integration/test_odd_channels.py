"""Channels of names that no command can carry: whoever is called otherwise is served as ever."""

from __future__ import annotations

import pytest

from shared.asterisk import client
from tests.integration.followed import (
    NO_ANSWER,
    TALKS_ON,
    TALKS_RTP,
    follow,
    let_sound_talk_on,
    place,
    reach,
    state,
)
from tests.integration.service import OTHER_PHONE, Service, Services, until

pytestmark = pytest.mark.anyio

ODD = (
    *("CBAnn/sales room-00000000;1", "SIP/Офис-00000009", "OutgoingSpoolFailed", "Surrogate"),
    *("Local/1'2@x-00000001;1", "PJSIP/My Trunk-0000abcd", f"SIP/{'1' * 596}", 'SIP/"\\-1'),
)


async def beside(start: Services, *names: str) -> Service:
    """Start a service on whose PBX there are such channels."""
    service = await follow(start)
    for name in names:
        service.pbx.add_channel(name)
    return service


@pytest.mark.parametrize("odd", ODD, ids=range(len(ODD)))
async def test_all_other_calls_are_served(start: Services, odd: str) -> None:
    """A call is followed, handed over and hung up; the odd channel is nobody's."""
    service = await beside(start, odd)
    call_id = await place(service, "154", TALKS_ON)
    await reach(service, call_id, "talking")

    done = await service.http.post(f"/api/calls/{call_id}/transfer", json={"to": "151"})
    assert (done.status_code, done.json()["success"]) == (200, True), done.text
    assert await service.rung("151") == 1
    view = await service.http.get("/api/calls", params={"source": "pbx"})
    assert view.status_code == 200, view.text
    hung_up = await service.http.delete(f"/api/calls/{call_id}")
    assert hung_up.status_code == 200, hung_up.text
    assert (await reach(service, call_id, "ended"))["reason"] == "answered"
    assert odd in service.pbx.channels
    assert "Traceback" not in service.log()


# What Asterisk prints itself, but for the seconds: a caller's number may have newlines.
FORGERIES = {
    "an acknowledgement": "x\nSystem uptime: 864000\nLast reload: 5\n",
    "many of them": "System uptime: 864000\n" * 4,
    "a refusal": "x\nNo such command 'y' (type 'core show help y' for other possible commands)\n",
    "a refused acknowledgement": "x\nSystem uptime: 864000\nNo such command 'y'\n",
    "a usage": "x\nSystem uptime: 864000\nUsage: channel originate\n",
    "a row": "x\nLocal/150@inoffice-00000000;1!!!!Up!!!!!!1!!9.9\n",
}


@pytest.mark.parametrize(
    ("what", "version"),
    [*((what, "16") for what in FORGERIES), *(("many of them", other) for other in ("11", "22"))],
)
async def test_a_caller_s_number_is_no_word_of_asterisk_s(
    start: Services, what: str, version: str
) -> None:
    """While he is there, calls are placed, once, followed, listed and ended as ever."""
    service = await follow(start, version=version)
    stranger = "SIP/city-00000009"
    service.pbx.add_channel(stranger, caller=FORGERIES[what])
    call_id = await place(service, "154", TALKS_ON)
    assert (await service.call("154", TALKS_ON)).json()["repeated"] is True
    assert service.row(call_id)["root_channel"].startswith("Local/154@inoffice-")
    await reach(service, call_id, "talking")
    view = (await service.http.get("/api/calls", params={"source": "pbx"})).json()
    assert stranger in [leg["channel"] for call in view["calls"] for leg in call["channels"]]
    hung_up = await service.http.delete(f"/api/calls/{call_id}")
    assert hung_up.status_code == 200, hung_up.text
    assert (await reach(service, call_id, "ended"))["reason"] == "answered"
    assert service.pbx.invites["154"] == 1
    assert stranger in service.pbx.channels


async def test_an_operator_is_told_once(start: Services) -> None:
    """How many there are, though each look meets them again."""
    service = await beside(start, *ODD)
    call_id = await place(service, "154", TALKS_ON)
    await reach(service, call_id, "talking")
    await service.http.delete(f"/api/calls/{call_id}")
    await reach(service, call_id, "ended")
    assert service.log().count("о которых Asterisk не спросить: 4,") == 1


async def named(service: Service, begin: str, name: str) -> None:
    """Give the one channel of this begin another name."""
    (was,) = (channel for channel in service.pbx.channels if channel.startswith(begin))
    service.pbx.rename_channel(was, name)


async def test_a_customer_who_cannot_be_named_is_not_handed_over(start: Services) -> None:
    """The error says why and that nothing was sent, as often as it is asked for."""
    let_sound_talk_on(start)
    service = await follow(start, time_scale=0.5)
    call_id = await place(service, "156", TALKS_RTP)
    await reach(service, call_id, "talking")
    await until(lambda: not any(name.startswith("Local/") for name in service.pbx.channels))
    await named(service, "SIP/trunk", "SIP/Офис-00000009")
    for _ in range(2):
        answer = await service.http.post(f"/api/calls/{call_id}/transfer", json={"to": "151"})
        assert (answer.status_code, answer.json()["code"]) == (500, "channel-unaskable")
        assert answer.json()["dialled"] == "no"
    assert (await state(service, call_id))["transferred_to"] is None
    assert service.pbx.invites["151"] == 0
    hung_up = await service.http.delete(f"/api/calls/{call_id}")
    assert hung_up.status_code == 200, hung_up.text
    await until(lambda: not service.pbx.channels)


async def test_a_call_that_cannot_be_named_is_not_hung_up(start: Services) -> None:
    """The error says so, and the call's end is not told as anybody's wish."""
    service = await start()
    service.pbx.time_scale = 1  # or the call would soon be over
    call_id = await place(service, "157", OTHER_PHONE)
    await named(service, "Local/157@inoffice-00000000;1", "Local/157@Офис-00000000;1")
    await named(service, "Local/157@inoffice-00000000;2", "Local/157@Офис-00000000;2")
    answer = await service.http.delete(f"/api/calls/{call_id}")
    assert (answer.status_code, answer.json()["code"]) == (500, "channel-unaskable"), answer.text
    assert service.row(call_id)["cancelled_at"] is None


async def test_a_defect_before_the_write_undoes_what_was_claimed(
    start: Services, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An error that nobody foresaw leaves neither a transfer nor a wish that was never sent."""
    service = await follow(start, time_scale=0.5)  # there is much to do before it ends
    call_id = await place(service, "154", NO_ANSWER)
    await reach(service, call_id, "customer_ringing")

    async def fail(*_args: object, **_kwargs: object) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr(client, "list_channels", fail)
    for _ in range(2):
        answer = await service.http.post(f"/api/calls/{call_id}/transfer", json={"to": "151"})
        assert (answer.status_code, answer.json()["code"]) == (500, "internal-error")
        assert answer.json()["dialled"] == "no"
        assert service.row(call_id)["transferred_to"] is None
    answer = await service.http.delete(f"/api/calls/{call_id}")
    assert (answer.status_code, answer.json()["code"]) == (500, "internal-error")
    assert service.row(call_id)["cancelled_at"] is None
