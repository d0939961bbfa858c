"""What a real Asterisk counts of itself, told while one of its calls is followed."""

from __future__ import annotations

import anyio
import pytest

from tests.integration.metrics import Numbers
from tests.pbx.lab import Lab
from tests.pbx.service import LIMIT_S, Service, Services
from tests.pbx.test_following import place, reach

pytestmark = pytest.mark.anyio

TALKS_ON = "+375290000005"


async def numbers_of(service: Service) -> Numbers:
    """Read its metrics."""
    answer = await service.http.get("/metrics", headers={"Host": "localhost"})
    assert answer.status_code == 200, answer.text
    return Numbers(answer.text)


def is_told(numbers: Numbers) -> bool:
    """Tell whether the call was counted, and the phones."""
    bridges, endpoints = map(numbers.whole, ("asterisk_bridges_count", "asterisk_endpoints_count"))
    return bridges == 3 and endpoints is not None


async def test_a_call_is_counted(start: Services, lab: Lab) -> None:
    """By transport of the socket: everything that res_prometheus would tell of it as a whole."""
    service = await start()
    await numbers_of(service)
    before = lab.calls_processed()
    await reach(service, await place(service, "154", TALKS_ON), "talking")
    with anyio.fail_after(LIMIT_S):
        while not is_told(numbers := await numbers_of(service)):  # noqa: ASYNC110
            await anyio.sleep(0.2)  # it is asked each 15 seconds
    assert numbers.whole("asterisk_channels_count") == 6
    assert numbers.whole("asterisk_calls_count") == 2
    assert numbers.whole("asterisk_calls_sum_total") == before + 2
    assert numbers.whole("asterisk_endpoints_count") == 145
    states = [numbers("pbx_endpoints", state=state) for state in ("online", "offline")]
    assert None not in states
    assert (numbers.whole("asterisk_core_uptime_seconds_total") or 0) > 0
    (properties,) = numbers.found("asterisk_core_properties_total")
    assert properties["version"].startswith(f"{lab.version}.")
    assert properties["eid"] == lab.rx("core show settings").partition("Entity ID:")[2].split()[0]
