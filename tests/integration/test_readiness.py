"""A call whose control socket was opened before it: what that proves, and what it does not."""

from __future__ import annotations

import pytest

from shared.pbx import readiness
from tests.integration.service import OTHER_PHONE, PHONE, Service, Services, until

pytestmark = pytest.mark.anyio


async def ready(start: Services, **settings: object) -> Service:
    """Start a service that has placed a call, and whose next one has a socket."""
    service = await start(PBX_AHEAD_S=30, **settings)
    assert (await service.call("154", OTHER_PHONE)).is_success
    # One to ask for the extension, one to call it, and one ahead.
    await until(lambda: service.pbx.greeted == 3)
    return service


async def test_it_is_used_and_another_one_is_opened(
    start: Services, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The call opens none; once nobody asks, one is."""
    service = await ready(start)
    with monkeypatch.context() as patched:
        patched.setattr(readiness, "_IDLE_S", 30.0)
        assert (await service.call("154", PHONE)).is_success
    assert service.pbx.opens == 3
    assert (await service.http.get("/api/extensions/154")).is_success
    await until(lambda: service.pbx.opens == 5)


async def test_where_asterisk_froze_meanwhile_the_outcome_is_unknown(start: Services) -> None:
    """Its banner is older: the call was sent, rings once when it thaws, and no repeat dials."""
    service = await ready(start, COMMAND_TIMEOUT_S=0.3, LATE_CALL="keep")
    service.pbx.freeze()
    answer = await service.call("154", PHONE)
    assert (answer.status_code, answer.json()["dialled"]) == (500, "unknown"), answer.text
    assert (await service.call("154", PHONE)).json()["repeated"]
    service.pbx.thaw()
    await until(lambda: len(service.originates(PHONE)) == 1)
    assert (await service.call("154", PHONE)).json()["repeated"]
    assert len(service.originates(PHONE)) == 1


async def test_that_of_an_asterisk_which_is_gone_is_not_used(start: Services) -> None:
    """It has ended: the successor is asked whether it has booted, then called, once."""
    service = await ready(start)
    service.pbx.restart_asterisk()
    await until(lambda: not service.pbx.asterisk_down)
    answer = await service.call("154", PHONE)
    assert answer.status_code == 200, answer.text
    assert len(service.originates(PHONE)) == 1
