"""What a PBX counts of itself, in /metrics: of one that is followed, and read by somebody."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest

from demo.pbx.cli import Cli
from demo.pbx.profiles import PROFILES
from shared.metrics import counts, states
from tests.integration.followed import QUICK, SLOW, TALKS_ON, follow, place, reach
from tests.integration.service import Service, Services, until
from tests.integration.test_metrics import numbers_of, tells

pytestmark = pytest.mark.anyio

OFTEN = replace(QUICK, count_s=0.05, count_idle_s=0.1)
COUNTING = ("core show channels count", "core show uptime", "bridge show all")
AGE = "pbx_counts_age_seconds"
LISTS = {"11": "sip show peers", "16": "sip show peers", "22": "pjsip list endpoints"}


def asked(service: Service, *commands: str) -> int:
    """Count how often a PBX was asked any of these."""
    return sum(service.pbx.commands.count(command) for command in commands)


@pytest.mark.parametrize("version", ["11", "13", "16", "22"])
async def test_a_followed_pbx_tells_what_it_counts(start: Services, version: str) -> None:
    """By res_prometheus' names, with its Entity ID and its host; who it is was asked once."""
    service = await follow(start, SLOW, version=version, pace=OFTEN)
    call_id = await place(service, "154", TALKS_ON)
    await reach(service, call_id, "talking")
    numbers = await tells(
        service,
        lambda numbers: (
            (numbers.whole("asterisk_channels_count") or 0) >= 4
            and numbers.whole("asterisk_endpoints_count") is not None
        ),
    )
    bridges = numbers.whole("asterisk_bridges_count")
    assert bridges is None if version == "11" else bridges == 3
    assert numbers.whole("asterisk_calls_count") == 2
    assert numbers.whole("asterisk_calls_sum_total") == 2  # as the reader calls a counter
    assert numbers.whole("asterisk_endpoints_count") == 10
    assert numbers("pbx_endpoints", state="online") == 10
    assert numbers("pbx_endpoints", state="offline") == 0
    for name in ("uptime", "last_reload"):
        assert 0 <= (numbers.whole(f"asterisk_core_{name}_seconds_total") or 0) < 600
    assert numbers.whole("asterisk_core_properties_total", version=PROFILES[version].version) == 1
    (own,) = numbers.found("asterisk_channels_count")
    eid = (await service.pbx.run("core show settings")).partition("Entity ID:")[2].split()[0]
    assert own == {"eid": eid, "pbx": "127.0.0.1"}
    await until(lambda: asked(service, "core show channels count") > 5)
    assert asked(service, "core show channeltypes") == 1
    assert asked(service, "bridge show all") == 1 if version == "11" else True
    assert asked(service, LISTS.get(version, "sip show peers")) >= 1
    assert service.pbx.refused == (["bridge show all"] if version == "11" else [])
    assert service.pbx.connections == 2  # the first one has fetched the host's key
    service.pbx.refused.clear()


async def test_it_is_told_after_its_last_call_as_well(start: Services) -> None:
    """By whoever followed it last, until no enterprise has it any more; then it is gone."""
    service = await follow(start, pace=OFTEN)
    await numbers_of(service)
    await reach(service, await place(service, "150", TALKS_ON), "talking")
    service.pbx.hang_up_all()
    await tells(service, lambda numbers: numbers("tracker_lease") is None)
    was = asked(service, *COUNTING)
    await until(lambda: asked(service, *COUNTING) > was + 9)
    await tells(service, lambda numbers: numbers.whole("asterisk_channels_count") == 0)
    service.postgres.execute("DELETE FROM enterprises")
    await until(was_left(service))
    start.monkeypatch.setattr(states, "LATELY_S", 0.0)
    numbers = await numbers_of(service)
    assert numbers.whole("asterisk_channels_count") is None
    assert numbers(AGE) is None


def was_left(service: Service) -> Callable[[], bool]:
    """Make what tells whether nothing has been asked for a hundred looks at it."""
    seen: list[int] = []

    def is_left() -> bool:
        seen.append(asked(service, *COUNTING))
        return len(seen) > 100 and seen[-100] == seen[-1]

    return is_left


async def test_nobody_asks_while_nobody_reads(
    start: Services, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A call alone has no PBX count; nor has a reader of long ago."""
    service = await follow(start, pace=OFTEN)
    await reach(service, await place(service, "150", TALKS_ON), "talking")
    service.pbx.hang_up_all()
    await until(lambda: service.calls()[0]["phase"] == "ended")
    assert asked(service, *COUNTING) == 0
    await numbers_of(service)
    await until(lambda: asked(service, *COUNTING) > 0)
    monkeypatch.setattr(counts, "_READ_S", 0.0)
    await until(was_left(service))


async def test_nonsense_is_missing_and_disturbs_no_call(
    start: Services, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A PBX that floods where its phones are listed, and says odd things elsewhere."""
    monkeypatch.setattr(Cli, "_devices", lambda *_: "150 127.0.0.1\n" * 30_000)
    monkeypatch.setattr(Cli, "_bridges", lambda *_: "\u65e5\u672c\n" * 1000)
    monkeypatch.setattr(Cli, "_calls", lambda *_: "-3 active calls\n99999999999 calls processed\n")
    service = await follow(start, SLOW, pace=OFTEN)
    await numbers_of(service)
    call_id = await place(service, "154", TALKS_ON)
    await tells(service, lambda numbers: (numbers.whole("asterisk_channels_count") or 0) >= 4)
    await reach(service, call_id, "talking")
    numbers = await numbers_of(service)
    for name in ("calls_count", "calls_sum_total", "bridges_count", "endpoints_count"):
        assert numbers.whole(f"asterisk_{name}") is None, name
    assert numbers(AGE) is not None
    assert numbers("internal_errors_total") == 0
    await until(lambda: asked(service, *COUNTING) > 30)
    assert asked(service, "sip show peers") == 1


async def test_a_pbx_that_is_away_is_old(start: Services) -> None:
    """Its numbers stay as they were, and say of when; the connection is not tried more often."""
    service = await follow(start, SLOW, pace=OFTEN)
    await numbers_of(service)
    await place(service, "154", TALKS_ON)
    await tells(service, lambda numbers: numbers.whole("asterisk_channels_count") is not None)
    service.pbx.kill_asterisk()
    numbers = await tells(service, lambda numbers: (numbers(AGE) or 0) > 1)
    assert numbers.whole("asterisk_channels_count") is not None
    assert "счётчики" not in service.log()
