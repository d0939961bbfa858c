"""When a webhook's message is sent again, and when its receiver is given up."""

from __future__ import annotations

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from shared.webhooks.schedule import (
    DAY_S,
    FIRST_S,
    GIVEN_UP_AFTER_S,
    SEVERAL,
    Answer,
    Health,
    judge,
    pause_after,
)

REFUSED = Answer(None, "not-connected", None, 0.1)


def answered(status: int, retry_after_s: float | None = None, took_s: float = 0.1) -> Answer:
    """Make an answer of HTTP's."""
    return Answer(status, None, retry_after_s, took_s)


def plainly(low: float, high: float) -> float:
    """Draw the middle."""
    return (low + high) / 2


def outage(for_s: float, answer: Answer = REFUSED) -> tuple[Health, list[float], str | None]:
    """Fail until a time has passed: how it stands, the moments of the attempts, why it ended."""
    health, now, moments = Health(), 0.0, [0.0]
    while True:
        verdict = judge(health, answer, plainly)
        if verdict.disabled_why:
            return verdict.health, moments, verdict.disabled_why
        now += verdict.retry_s
        if now > for_s:
            return verdict.health, moments, None
        moments.append(now)
        failing_s = verdict.health.failing_s
        health = Health(
            verdict.health.failures,
            verdict.retry_s,
            None if failing_s is None else failing_s + verdict.retry_s,
        )


def test_pauses_grow_from_seconds_to_a_day() -> None:
    """Twice as long each time, and never longer than a day."""
    pauses = [pause_after(failures) for failures in range(1, 60)]
    assert pauses[:4] == [5, 10, 20, 40]
    assert pauses[-1] == DAY_S
    assert all(later >= sooner for sooner, later in pairwise(pauses))


def test_an_outage_of_an_hour_costs_few_attempts_and_ends_soon_after() -> None:
    """About ten in that time; the next comes before as much time again has passed."""
    health, moments, why = outage(3600)
    assert (why, 8 <= len(moments) <= 12) == (None, True)
    assert pause_after(health.failures) <= 3600


@given(
    status=st.one_of(st.none(), st.integers(100, 599)),
    failures=st.integers(0, 10_000),
    failed_s=st.floats(0, 2 * DAY_S),
    failing_s=st.one_of(st.none(), st.floats(0, 30 * DAY_S)),
    asked=st.one_of(st.none(), st.floats(0, 1e12)),
)
def test_whatever_is_answered_the_next_attempt_is_bounded(
    status: int | None, failures: int, failed_s: float, failing_s: float | None, asked: float | None
) -> None:
    """Within a day, never sooner than some seconds, never sooner than asked for within that day."""
    error = "timeout" if status is None else None
    verdict = judge(Health(failures, failed_s, failing_s), Answer(status, error, asked, 0.1))
    if status is not None and 200 <= status < 300:
        assert verdict.health == Health()
        assert (verdict.retry_s, verdict.disabled_why) == (0, None)
        return
    assert FIRST_S * 0.75 <= verdict.retry_s <= DAY_S
    assert verdict.retry_s >= min(asked or 0, DAY_S)
    assert (verdict.disabled_why == "answered-410") == (status == 410)


def test_those_that_failed_together_come_back_apart() -> None:
    """A quarter sooner or later."""
    first, last = (judge(Health(9, 1.0, 1.0), REFUSED, pick).retry_s for pick in (min, max))
    assert (first, last) == (pause_after(10) * 0.75, pause_after(10) * 1.25)


def test_redirects_are_failures() -> None:
    """Nothing follows them."""
    assert judge(Health(), answered(302)).health.failures == 1


def test_410_disables_at_once() -> None:
    """The receiver says that it is gone."""
    assert judge(Health(), answered(410)).disabled_why == "answered-410"


def test_after_five_days_of_failures_the_receiver_is_given_up() -> None:
    """Not sooner, and at the first attempt after that."""
    health, moments, why = outage(30 * DAY_S)
    assert why == "failing"
    assert GIVEN_UP_AFTER_S <= moments[-1] <= GIVEN_UP_AFTER_S + DAY_S + 60
    assert health.failing_s is not None


def test_the_clock_starts_after_several_failures() -> None:
    """Within a minute of the first one; a single failure starts none."""
    healths = [Health()]
    for _ in range(SEVERAL):
        healths.append(judge(healths[-1], REFUSED).health)
    assert [health.failing_s for health in healths] == [None, None, None, 0.0]


def test_a_success_stops_the_clock() -> None:
    """It begins anew."""
    assert judge(Health(12, 100.0, 4 * DAY_S), answered(204)).health == Health()


def test_that_nobody_sent_for_days_is_not_the_receivers_fault() -> None:
    """After a silence longer than any pause the clock starts anew."""
    verdict = judge(Health(12, 6 * DAY_S, 6 * DAY_S), REFUSED)
    assert (verdict.disabled_why, verdict.health) == (None, Health(1, 0.0, None))


def test_whoever_answers_late_is_slow() -> None:
    """So that others need not wait behind it, as behind one that fails."""
    assert not judge(Health(), answered(200)).is_slow
    assert judge(Health(), answered(200, took_s=4)).is_slow
    assert judge(Health(), REFUSED).is_slow
